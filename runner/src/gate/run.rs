//! The run: coins, blocks, looks, confirmation; from a plan to a record.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use domain::gate::Arm;
use domain::gate::policy::Policy;
use domain::gate::record::{GateRecord, KnownSd, PolicyUsed, Purpose, SeedOrigin, StageKind};
use domain::gate::verdict::Judgement;
use domain::ids::{ContentId, Sha256Digest};
use domain::record::Audience;
use thiserror::Error;

use super::arm::ArmSpec;
use crate::sweep::Machine;

/// What to gate.
#[derive(Debug)]
pub struct GateOptions {
    /// What was asked.
    pub purpose: Purpose,
    /// The policy, read and as text.
    pub policy: Policy,
    /// As it goes into the record.
    pub policy_used: PolicyUsed,
    /// What stood before.
    pub base: ArmSpec,
    /// What changed.
    pub candidate: ArmSpec,
    /// Weights of each model: the base's and the candidate's; empty for commands.
    pub models: Vec<ModelPair>,
    /// A seed that was typed, for replays; absent: of the operating system, or the record's that is continued.
    pub seed: Option<(Sha256Digest, SeedOrigin)>,
    /// Time for the measuring stage, in place of the policy's.
    pub budget: Option<Duration>,
    /// A record to go on from, and its id.
    pub continues: Option<(ContentId, GateRecord)>,
    /// Commands that link the base again in another order, run in this folder.
    pub layout: Option<LayoutBuild>,
    /// Block standard deviations of this machine against itself.
    pub known_block_sds: Vec<KnownSd>,
    /// Whom the record is for.
    pub audience: Audience,
    /// Folder for what must outlive a crash: the seed, blocks as they are finished.
    pub data: PathBuf,
    /// Threads to compute with.
    pub threads: u32,
    /// Set to stop.
    pub stop: Arc<AtomicBool>,
}

/// Weights of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPair {
    /// The model's name.
    pub name: String,
    /// The base's weights.
    pub base: PathBuf,
    /// The candidate's.
    pub candidate: PathBuf,
}

/// How the base is linked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutBuild {
    /// Command lines, with `{seed}` filled in.
    pub commands: Vec<String>,
    /// Where they run: the base's checkout.
    pub folder: PathBuf,
    /// What they make, relative to it.
    pub program: String,
}

/// What a gate would do.
#[derive(Debug, Clone, PartialEq)]
pub struct GatePlan {
    /// Cells by label, with their metrics.
    pub cells: Vec<(String, Vec<String>)>,
    /// Slot times as tried out, seconds, by model; empty where nothing was tried.
    pub slot_seconds: Vec<f64>,
    /// Blocks after which the last decision falls.
    pub last_look: u32,
    /// Most minutes of the measuring stage.
    pub minutes: f64,
    /// Effect that is found with 90 % power, and tolerance, by cell-metric.
    pub detectable: Vec<Detectable>,
    /// Items of the third rung that the margin needs, and that there are.
    pub items: Option<(u32, u32)>,
    /// Why it would be refused, and the exit code of that: 2 never decides, 3 detects too little.
    pub refused: Option<(u8, String)>,
}

/// What can be detected.
#[derive(Debug, Clone, PartialEq)]
pub struct Detectable {
    /// Cell and metric.
    pub label: String,
    /// Share of the base found with 90 % power.
    pub mde: f64,
    /// Share that is tolerated.
    pub tolerance: f64,
    /// Blocks that the standard deviation was taken from; 0 where it is assumed.
    pub known_from_blocks: u32,
}

/// What happens, as it happens.
#[derive(Debug, Clone)]
pub enum GateEvent {
    /// The plan is made.
    Planned(Box<GatePlan>),
    /// The seed is on disk.
    Seeded(Sha256Digest),
    /// A slot begins.
    Slot {
        /// Of which stage.
        stage: StageKind,
        /// Block, from 1.
        block: u32,
        /// Blocks of this stage at most.
        of: u32,
        /// Whose.
        arm: Arm,
        /// Time until the stage's end at the latest.
        eta_seconds: f64,
    },
    /// A planned look.
    Looked {
        /// After so many blocks.
        blocks: u32,
        /// As it stands.
        judgement: Box<Judgement>,
    },
    /// A block is void, and why.
    Void(String),
    /// The answers are compared: rung, done, of how many.
    Quality(u8, u32, u32),
    /// A sentence for the person waiting.
    Note(String),
}

/// Why a gate gave no record.
#[derive(Debug, Error)]
pub enum GateError {
    /// The plan was refused before measuring.
    #[error("{what}")]
    Refused {
        /// Exit code.
        exit: u8,
        /// Why, and what to do.
        what: String,
    },
    /// What must outlive a crash could not be written.
    #[error("keep {path}: {source}")]
    Keep {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No randomness.
    #[error("toss a coin: the system has no randomness")]
    Randomness,
    /// The machine cannot be used.
    #[error("{0}")]
    Machine(String),
}

/// What a gate would do here and now: tries one slot of each arm.
pub fn plan(options: &GateOptions, machine: &Machine) -> Result<GatePlan, GateError> {
    let _ = (options, machine);
    unimplemented!("the plan")
}

/// Runs the gate. Blocking. A failing arm is part of the record; so is a stop.
pub fn run(
    options: &GateOptions,
    machine: Machine,
    on_event: &mut dyn FnMut(GateEvent),
) -> Result<GateRecord, GateError> {
    let _ = (options, machine, on_event);
    unimplemented!("the run")
}
