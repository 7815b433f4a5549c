//! The run: coins, blocks, looks, confirmation; from a plan to a record.
//!
//! Lifecycle: one slot of each arm is tried out and the plan is made; what could not decide is
//! refused before anything is measured. Then the seed is on disk, and blocks follow until no cell is
//! undecided or the last look was taken; what regressed is measured again, and where it regressed
//! again the base is linked anew. A failing arm, a disturbed machine or a stop end the gate with
//! the record as it stands. Bounds: `MAX_BLOCKS` blocks a model and stage, the policy's
//! limit for each slot.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use domain::gate::Arm;
use domain::gate::policy::{Policy, QualityPolicy};
use domain::gate::record::{
    GateRecord, KnownSd, PolicyUsed, Purpose, QualityEvidence, SCHEMA, SeedOrigin, StageKind,
};
use domain::gate::verdict::{JudgeError, Judgement, judge};
use domain::ids::{ContentId, Sha256Digest};
use domain::record::{Audience, SetupRef};
use domain::text::Name;
use thiserror::Error;

use super::arm::ArmSpec;
use super::checkout;
use super::control::{Control, Probed};
use super::keep::Keep;
use super::quality::{Pair, climb};
use super::slot::{Around, Asked, SlotError, Slotted, run_slot};
use crate::clock::Clock;
use crate::host;
use crate::meter::sampler::Sampler;
use crate::sweep::Machine;
use blocks::{Gate, end_by};
use prepare::Prepared;

mod blocks;
mod layout;
mod prepare;
#[cfg(test)]
mod tests;

mod watch;

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
    /// The setup, as [`host::recognise`] finds it.
    pub setup: SetupRef,
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
    /// Why it would be refused, and the exit code of that: 2 never decides, 3 detects too little, 4
    /// what is required cannot be measured here.
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
    /// An arm failed when it was tried out for a plan.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The record cannot be judged.
    #[error(transparent)]
    Judge(#[from] JudgeError),
}

/// Runs one slot of an arm.
type RunSlot<'a> = dyn FnMut(Arm, &ArmSpec, &Asked, &Around) -> Result<Slotted, SlotError> + 'a;

/// Climbs the ladder of answers.
type Climb<'a> = dyn FnMut(
        &Pair,
        &QualityPolicy,
        &AtomicBool,
        &mut dyn FnMut(u8, u32, u32),
    ) -> Result<QualityEvidence, SlotError>
    + 'a;

/// Runs build commands in a folder; what it says on failure is without paths.
type Build<'a> =
    dyn FnMut(&[String], &Path, &AtomicBool, &mut dyn FnMut(&str)) -> Result<(), String> + 'a;

/// What does the work: processes, or a test's script.
struct Hands<'a> {
    slot: Box<RunSlot<'a>>,
    climb: Box<Climb<'a>>,
    probe: Box<dyn FnMut() -> Probed + 'a>,
    build: Box<Build<'a>>,
}

impl Hands<'static> {
    /// Real processes, and the probe by the machine's clock.
    fn real(clock: Arc<dyn Clock>) -> Self {
        let mut control = Control::default();
        Self {
            slot: Box::new(|_, arm, asked, around| run_slot(arm, asked, around)),
            climb: Box::new(climb),
            probe: Box::new(move || control.probe(clock.as_ref())),
            build: Box::new(|commands, folder, stop, tell| {
                checkout::build(commands, folder, stop, tell).map_err(|error| {
                    tracing::warn!(%error, "the base could not be linked again");
                    "the commands of layout_build failed".to_owned()
                })
            }),
        }
    }
}

/// What a gate would do here and now: tries one slot of each arm.
pub fn plan(options: &GateOptions, machine: &Machine) -> Result<GatePlan, GateError> {
    plan_with(options, machine, Hands::real(Arc::clone(&machine.clock)))
}

fn plan_with(
    options: &GateOptions,
    machine: &Machine,
    mut hands: Hands,
) -> Result<GatePlan, GateError> {
    let mut prepared = Prepared::of(options)?;
    prepared
        .try_out(options, machine, &mut hands)
        .map_err(|(_, error)| error)?;
    Ok(prepared.plan(options, machine))
}

/// Runs the gate. Blocking. A failing arm is part of the record; so is a stop.
pub fn run(
    options: &GateOptions,
    mut machine: Machine,
    on_event: &mut dyn FnMut(GateEvent),
) -> Result<GateRecord, GateError> {
    let hands = Hands::real(Arc::clone(&machine.clock));
    run_with(options, &mut machine, hands, on_event)
}

fn run_with(
    options: &GateOptions,
    machine: &mut Machine,
    mut hands: Hands,
    on_event: &mut dyn FnMut(GateEvent),
) -> Result<GateRecord, GateError> {
    let mut prepared = Prepared::of(options)?;
    let mut record = blank(options, machine, &prepared)?;
    on_event(GateEvent::Note("trying one slot of each arm".to_owned()));
    if let Err((arm, error)) = prepared.try_out(options, machine, &mut hands) {
        // Blocks that were measured before stay as they were.
        end_by(&mut record, Some(arm), error);
        record.ended_ms = machine.clock.unix_ms().max(record.started_ms);
        return Ok(record);
    }
    let plan = prepared.plan(options, machine);
    on_event(GateEvent::Planned(Box::new(plan.clone())));
    if let Some((exit, what)) = plan.refused {
        return Err(GateError::Refused { exit, what });
    }
    record.last_look = plan.last_look;
    record.base = prepared.base.clone();
    record.candidate = prepared.candidate.clone();
    record.cells.clone_from(&prepared.cells);
    // What cannot be judged is not worth measuring.
    judge(&record)?;
    let keep = Keep::begin(&options.data, &record)?;
    on_event(GateEvent::Seeded(record.seed));
    let sampler = (!prepared.traces.is_empty()).then(|| {
        let meters = std::mem::take(&mut machine.meters.meters);
        match Arc::clone(&machine.clock).simulated() {
            Some(clock) => Sampler::on_virtual_clock(meters, &clock),
            None => Sampler::spawn(meters, Arc::clone(&machine.clock)),
        }
    });
    let ends = record.stages.iter().flat_map(|stage| &stage.blocks);
    let earlier_ns = ends
        .flat_map(|block| &block.slots)
        .map(|slot| slot.end_ns)
        .max();
    let mut gate = Gate {
        options,
        machine,
        hands,
        on_event,
        prepared,
        record,
        keep,
        sampler,
        zero_ns: machine.clock.now_ns(),
        earlier_ns: earlier_ns.unwrap_or(0),
        weights: weights_now(options),
    };
    // Whether it came to its end or ended early is in the record.
    let _over = gate.measure()?;
    let mut record = gate.record;
    record.ended_ms = machine.clock.unix_ms().max(record.started_ms);
    if let Err(error) = gate.keep.end(&record) {
        // The record itself is here.
        tracing::warn!(%error, "how the gate ended is not in its folder");
    }
    Ok(record)
}

/// The record before the first slot; that which is gone on with, with its blocks.
fn blank(
    options: &GateOptions,
    machine: &Machine,
    prepared: &Prepared,
) -> Result<GateRecord, GateError> {
    if let Some((before, record)) = &options.continues {
        return Ok(GateRecord {
            continues: Some(*before),
            audience: options.audience,
            interrupted: false,
            known_block_sds: options.known_block_sds.clone(),
            ..record.clone()
        });
    }
    let (seed, seed_origin) = if let Some(given) = options.seed {
        given
    } else {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| GateError::Randomness)?;
        (Sha256Digest(seed), SeedOrigin::System)
    };
    let started_ms = machine.clock.unix_ms();
    Ok(GateRecord {
        schema: Name::cleaned(SCHEMA),
        audience: options.audience,
        purpose: options.purpose,
        policy: options.policy_used.clone(),
        seed,
        seed_origin,
        continues: None,
        last_look: domain::gate::looks::LOOKS[0].blocks as u32,
        started_ms,
        ended_ms: started_ms,
        runner: host::runner_facts(),
        setup: options.setup.clone(),
        hosts: vec![machine.survey.host.clone()],
        base: prepared.base.clone(),
        candidate: prepared.candidate.clone(),
        models: prepared.models.clone(),
        cells: prepared.cells.clone(),
        stages: Vec::new(),
        quality: Vec::new(),
        known_block_sds: options.known_block_sds.clone(),
        failure: None,
        interrupted: false,
    })
}

/// Length and last change of every weights file, by model and arm; none where one cannot be asked.
fn weights_now(options: &GateOptions) -> Vec<Option<(u64, SystemTime)>> {
    let paths = options
        .models
        .iter()
        .flat_map(|pair| [&pair.base, &pair.candidate]);
    paths
        .map(|path| {
            let facts = path.metadata().ok()?;
            Some((facts.len(), facts.modified().ok()?))
        })
        .collect()
}
