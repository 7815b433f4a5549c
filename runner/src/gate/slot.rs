//! One slot: a fresh process of one arm, loaded, warmed up, asked for every cell of a model.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use domain::gate::policy::GatedWorkload;
use domain::gate::record::{FailureKind, Sample};
use domain::ids::Sha256Digest;
use domain::record::{EngineFacts, Settings};
use thiserror::Error;

use super::arm::ArmSpec;
use crate::clock::Clock;
use crate::meter::sampler::Sampler;

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
    /// The meters' threads, where joules are gated.
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
    /// Costs by cell and metric.
    pub samples: Vec<Sample>,
    /// The program that ran.
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
    /// A person stopped it.
    #[error("finish the slot: it was stopped")]
    Interrupted,
}

/// Runs one slot. Blocking. Whatever happens, no process of the arm is left when it returns.
pub fn run_slot(arm: &ArmSpec, asked: &Asked, around: &Around) -> Result<Slotted, SlotError> {
    let _ = (arm, asked, around);
    unimplemented!("slots")
}

impl std::fmt::Debug for Around<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").finish_non_exhaustive()
    }
}
