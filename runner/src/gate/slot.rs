//! One slot: a fresh process of one arm, loaded, warmed up, asked for every cell of a model.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::gate::policy::GatedWorkload;
use domain::gate::record::{ArmKind, FailureKind, Sample};
use domain::ids::Sha256Digest;
use domain::record::{EngineFacts, Settings};
use thiserror::Error;

use super::arm::ArmSpec;
use crate::clock::Clock;
use crate::engine::EngineError;
use crate::engine::children::Strays;
use crate::gguf::cleaned;
use crate::meter::sampler::Sampler;

mod binary;
mod command;
mod engine;
#[cfg(test)]
mod tests;

pub use binary::{binary_sha256, program_sha256};

/// What is said of an arm whose [`binary_sha256`] is not what it was.
pub(super) const CHANGED: &str = "its program, or a file that its command line names, changed on disk \
     while the gate ran: name nothing there that it writes";

/// What a slot is asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The arm's weights; absent for commands.
    pub weights: Option<&'a Path>,
    /// Every workload of the model with the cell it is, in their fixed order; of a command one cell
    /// without a workload.
    pub cells: &'a [AskedCell],
    /// Timed repetitions.
    pub repetitions: u32,
    /// After so long it has failed.
    pub limit: Duration,
    /// Threads to compute with.
    pub threads: u32,
    /// What prompts are made from; the same for both arms of a block.
    pub prompt_seed: Sha256Digest,
}

/// One cell of a slot.
#[derive(Debug, Clone, PartialEq)]
pub struct AskedCell {
    /// Its place in the record.
    pub cell: u32,
    /// What is asked and gated; absent for commands.
    pub workload: Option<GatedWorkload>,
    /// Requests in one repetition, so that it lasts long enough.
    pub requests: u32,
}

/// The world around a slot.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// The clock whose zero is the gate's start.
    pub clock: &'a dyn Clock,
    /// When the gate started, by that clock.
    pub zero_ns: u64,
    /// The meters' threads, where joules are gated, started by the caller: the edges of each timed
    /// repetition are marked.
    pub sampler: Option<&'a Sampler>,
    /// Set to stop.
    pub stop: &'a AtomicBool,
}

/// What a slot gave.
#[derive(Debug, Clone)]
pub struct Slotted {
    /// When the process was started.
    pub start_ns: u64,
    /// When it had ended.
    pub end_ns: u64,
    /// Costs by cell and metric; what cannot be measured here is missing, and so are joules, which the
    /// caller takes from its traces over `spans`.
    pub samples: Vec<Sample>,
    /// Timed repetitions of engines, in the order of time.
    pub spans: Vec<TimedSpan>,
    /// What ran, as [`binary_sha256`] tells it; it was the same before and after.
    pub binary_sha256: Option<Sha256Digest>,
    /// The engine's own word; absent for commands.
    pub engine: Option<EngineFacts>,
    /// Its settings.
    pub settings: Option<Settings>,
    /// SHA-256 over all output of the timed repetitions, in order: tokens, or what a command calls its output;
    /// absent where there was none.
    pub output_sha256: Option<Sha256Digest>,
    /// Seconds of one request of each cell as measured, for planning.
    pub request_seconds: Vec<f64>,
}

/// One timed repetition of one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedSpan {
    /// The cell's place in the record.
    pub cell: u32,
    /// When its first request was sent.
    pub start_ns: u64,
    /// When its last answer had come.
    pub end_ns: u64,
    /// Tokens of prompts and output.
    pub tokens: u64,
}

/// Why a slot gave nothing.
#[derive(Debug, Error)]
pub enum SlotError {
    /// The arm failed.
    #[error("measure the {label} arm: {what}")]
    Failed {
        /// The arm's label.
        label: String,
        /// Which kind of failure.
        kind: FailureKind,
        /// What happened, without paths.
        what: String,
    },
    /// Its lines were read together, so that nothing could be timed: it wrote them so, or this program
    /// was late to read them.
    #[error("time the {label} arm: {what}")]
    Together {
        /// The arm's label.
        label: String,
        /// What happened, and what to do if it is the arm's doing.
        what: String,
        /// From its start to its end.
        whole_ns: u64,
    },
    /// A person stopped it.
    #[error("finish the slot: it was stopped")]
    Interrupted,
}

/// Runs one slot. Blocking. Whatever happens, no process of the arm is left when it returns.
pub fn run_slot(arm: &ArmSpec, asked: &Asked, around: &Around) -> Result<Slotted, SlotError> {
    let strays = Strays::watch();
    let marked = arm.marked(&strays);
    let slotted = match arm.kind {
        ArmKind::Candle | ArmKind::Server => engine::run(&marked, asked, around),
        ArmKind::Command => command::run(&marked, asked, around),
    };
    let left = left_behind(arm, strays);
    match slotted {
        // What a stop ended early failed for no reason of its own.
        Err(_) if around.stopped() => Err(SlotError::Interrupted),
        Err(error @ SlotError::Failed { .. }) => Err(error),
        slotted => left
            .and(slotted)
            .and_then(|slotted| unchanged(arm, slotted)),
    }
}

/// Ends what an arm left behind, which is none of its slots any more: work that nobody times, beside
/// whatever is timed next.
pub(super) fn left_behind(arm: &ArmSpec, strays: Strays) -> Result<(), SlotError> {
    let names = strays.end();
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = names.into_iter().collect();
    let what = format!(
        "what it had started went on after it, outside of its process group, and was killed ({}): \
         start nothing in the background that outlives it",
        names.join(", ")
    );
    Err(SlotError::failed(arm, FailureKind::OtherWork, &what))
}

/// The slot, if what ran is still what was started.
fn unchanged(arm: &ArmSpec, slotted: Slotted) -> Result<Slotted, SlotError> {
    let now = binary_sha256(arm).map_err(|error| SlotError::of_engine(arm, &error))?;
    if slotted.binary_sha256 == Some(now) {
        return Ok(slotted);
    }
    Err(SlotError::failed(arm, FailureKind::OtherWork, CHANGED))
}

impl Around<'_> {
    /// Nanoseconds since the gate's start.
    fn now_ns(&self) -> u64 {
        self.clock.now_ns().saturating_sub(self.zero_ns)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl SlotError {
    /// A failure of this arm; paths in `what` lose their folders.
    pub fn failed(arm: &ArmSpec, kind: FailureKind, what: &str) -> Self {
        Self::Failed {
            label: arm.label.clone(),
            kind,
            what: without_folders(what),
        }
    }

    /// What an engine's error means for this arm.
    pub fn of_engine(arm: &ArmSpec, error: &EngineError) -> Self {
        let kind = match error {
            EngineError::OtherWork { .. } | EngineError::OtherWeights { .. } => {
                FailureKind::OtherWork
            }
            _ => FailureKind::Infrastructure,
        };
        Self::failed(arm, kind, &format!("failed to {error}"))
    }
}

/// A text without control characters, its paths without their folders: failures are published.
fn without_folders(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        if word.contains("://") {
            return word;
        }
        let path = word.trim_end_matches('/');
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    });
    cleaned(&words.collect::<Vec<_>>().join(" "))
}

impl std::fmt::Debug for Around<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").finish_non_exhaustive()
    }
}
