//! A gate under way: stages of blocks of slots, until nothing is undecided or the last look was taken.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use domain::gate::looks::LOOKS;
use domain::gate::record::{
    Block, Failure, FailureKind, GateRecord, MAX_BLOCKS, Purpose, Sample, Slot, Stage, StageKind,
};
use domain::gate::verdict::{judge, unsettled};
use domain::gate::{Arm, Metric, coin, order, stage_seed};
use domain::ids::Sha256Digest;
use domain::record::UnavailableReason;
use domain::text::Name;

use super::prepare::{Prepared, asked, available, check_told, is_command, lose, sample};
use super::watch::{Watch, throttled_ns};
use super::{GateError, GateEvent, GateOptions, Hands};
use crate::gate::arm::ArmSpec;
use crate::gate::energy;
use crate::gate::keep::Keep;
use crate::gate::quality::Pair;
use crate::gate::slot::{Around, CHANGED, SlotError, Slotted};
use crate::meter::sampler::{Sampled, Sampler};
use crate::sweep::Machine;

/// A slot of a block is not stopped: the block is finished first.
static NEVER: AtomicBool = AtomicBool::new(false);

/// Void blocks of a stage that are forgiven: two, or a tenth of all.
const FORGIVEN: usize = 2;
const FORGIVEN_SHARE: usize = 10;

/// A slot lasts as long as another where they differ by at most this part of the other.
const LIKE_PART: u64 = 4;

/// Why a slot is in no block that counts.
enum Unmeasured {
    /// What may be chance made it worthless: the block is void.
    Chance(String),
    /// The arm failed, or a person stopped it.
    Failed(SlotError),
}

impl From<SlotError> for Unmeasured {
    fn from(error: SlotError) -> Self {
        Self::Failed(error)
    }
}

/// A gate from its first block to its last.
pub(super) struct Gate<'a> {
    pub(super) options: &'a GateOptions,
    pub(super) machine: &'a Machine,
    pub(super) hands: Hands<'a>,
    pub(super) on_event: &'a mut dyn FnMut(GateEvent),
    pub(super) prepared: Prepared,
    pub(super) record: GateRecord,
    pub(super) keep: Keep,
    pub(super) sampler: Option<Sampler>,
    /// When this part of the gate started, by the machine's clock.
    pub(super) zero_ns: u64,
    /// How long the parts before it had lasted, where it goes on from a record.
    pub(super) earlier_ns: u64,
    /// Weights files as they were tried out: length, and when they were last written.
    pub(super) weights: Vec<Option<(u64, SystemTime)>>,
}

/// One stage: who is compared, and for how long at most.
#[derive(Clone, Copy)]
pub(super) struct Turns<'a> {
    pub(super) kind: StageKind,
    pub(super) base: &'a ArmSpec,
    pub(super) candidate: &'a ArmSpec,
    /// Blocks of each model at most.
    pub(super) blocks: u32,
}

/// Goes on, or ends here: the record says why.
pub(super) type Going = Result<ControlFlow<()>, GateError>;

impl Gate<'_> {
    /// The answers first, since they are what a change must not touch; then the measuring stage and
    /// what it makes necessary.
    pub(super) fn measure(&mut self) -> Going {
        if self.compare_answers()?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let options = self.options;
        let turns = Turns {
            kind: StageKind::Measuring,
            base: &options.base,
            candidate: &options.candidate,
            blocks: self.record.last_look,
        };
        if self.stage(turns)?.is_break() || options.purpose == Purpose::Compare {
            return Ok(ControlFlow::Break(()));
        }
        let confirmation = Turns {
            kind: StageKind::Confirmation,
            ..turns
        };
        if self.stage(confirmation)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.layout()
    }

    /// Climbs the ladder of answers for every model of which the record has no evidence.
    fn compare_answers(&mut self) -> Going {
        let options = self.options;
        let Some(policy) = &options.policy.quality else {
            return Ok(ControlFlow::Continue(()));
        };
        if is_command(&options.base) || options.purpose == Purpose::Compare {
            return Ok(ControlFlow::Continue(()));
        }
        let policy = &policy.for_each_of(options.models.len());
        for (model, pair) in (0..).zip(&options.models) {
            if self.record.quality.iter().any(|known| known.model == model) {
                continue;
            }
            let pair = Pair {
                model,
                base: (&options.base, &pair.base),
                candidate: (&options.candidate, &pair.candidate),
                threads: options.threads,
            };
            let on_event = &mut *self.on_event;
            let mut tell = |rung, done, of| on_event(GateEvent::Quality(rung, done, of));
            match (self.hands.climb)(&pair, policy, &options.stop, &mut tell) {
                Ok(evidence) => self.record.quality.push(evidence),
                Err(error) => {
                    let arm = failed_arm(options, &error);
                    self.end_by(arm, error);
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        self.keep.head(&self.record)?;
        Ok(ControlFlow::Continue(()))
    }

    /// Block after block of every model that needs some, in turn; a look when all of them have
    /// reached one.
    pub(super) fn stage(&mut self, turns: Turns) -> Going {
        let mut models = self.needing(turns.kind)?;
        if models.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        self.begin(turns.kind)?;
        while !models.is_empty() {
            let fewest = models
                .iter()
                .map(|model| self.counted(turns.kind, *model))
                .min();
            let fewest = fewest.unwrap_or(0);
            for model in &models {
                // After an interruption some may be ahead by one.
                if self.counted(turns.kind, *model) > fewest {
                    continue;
                }
                while self.counted(turns.kind, *model) == fewest {
                    if self.block(turns, *model, models.len())?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            let is_look = LOOKS.iter().any(|look| look.blocks as u32 == fewest + 1);
            if is_look {
                self.look(fewest + 1)?;
            }
            models = self.needing(turns.kind)?;
            // Without looks there is nothing that could go on for ever.
            models.retain(|model| self.counted(turns.kind, *model) < turns.blocks);
        }
        Ok(ControlFlow::Continue(()))
    }

    pub(super) fn needing(&mut self, kind: StageKind) -> Result<Vec<u32>, GateError> {
        self.record.ended_ms = self.machine.clock.unix_ms().max(self.record.started_ms);
        Ok(unsettled(&self.record, kind)?)
    }

    fn look(&mut self, blocks: u32) -> Result<(), GateError> {
        self.record.ended_ms = self.machine.clock.unix_ms().max(self.record.started_ms);
        let judgement = Box::new(judge(&self.record)?);
        (self.on_event)(GateEvent::Looked { blocks, judgement });
        Ok(())
    }

    /// Makes the stage's place in the record, unless the record that is gone on with has it.
    pub(super) fn begin(&mut self, kind: StageKind) -> Result<(), GateError> {
        if !self.record.stages.iter().any(|stage| stage.kind == kind) {
            self.record.stages.push(Stage {
                kind,
                seed: Sha256Digest(stage_seed(&self.record.seed.0, kind)),
                blocks: Vec::new(),
                binary_sha256: None,
                unavailable: None,
            });
        }
        let stage = self.record.stages.iter().find(|stage| stage.kind == kind);
        self.keep.stage(stage.expect("it was just made"))
    }

    pub(super) fn stage_of(&mut self, kind: StageKind) -> &mut Stage {
        let mut stages = self.record.stages.iter_mut();
        stages
            .find(|stage| stage.kind == kind)
            .expect("a stage has begun before its blocks")
    }

    /// Blocks of a model in a stage that count.
    fn counted(&self, kind: StageKind, model: u32) -> u32 {
        let stages = self.record.stages.iter().filter(|stage| stage.kind == kind);
        stages
            .flat_map(|stage| &stage.blocks)
            .filter(|block| block.model == model && counts(block))
            .count() as u32
    }

    /// One block, counted or void. A stop is heeded between blocks: one that was cut off would be
    /// measured in vain.
    fn block(&mut self, turns: Turns, model: u32, models: usize) -> Going {
        if self.options.stop.load(Ordering::Relaxed) {
            self.record.interrupted = true;
            return Ok(ControlFlow::Break(()));
        }
        let name = self.record.models[model as usize].name.clone();
        let stage = self.stage_of(turns.kind);
        let seed = stage.seed;
        let index = (stage.blocks.iter())
            .filter(|block| block.model == model)
            .count() as u32;
        let mut block = Block {
            model,
            index,
            coin: coin(&seed.0, name.as_str(), index),
            void: None,
            slots: Vec::new(),
        };
        let prompt_seed = prompt_seed(seed, &name, index);
        let backend = self.prepared.backend(Arm::Base).to_owned();
        let watch = Watch::begin(self.machine, &backend);
        let missing = self.missing();
        let mut ended = None;
        for arm in order(block.coin) {
            self.tell_slot(turns, model, models, arm);
            let slot = self.slot(turns, &block, (model, arm), prompt_seed);
            let mut disturbance = watch.disturbance(self.machine, &backend);
            match slot {
                Ok(slot) => block.slots.push(slot),
                Err(Unmeasured::Failed(SlotError::Interrupted)) => {
                    ended = Some((arm, SlotError::Interrupted));
                    break;
                }
                // What a disturbance broke is not the arm's failure.
                Err(_) if disturbance.is_some() => {}
                Err(Unmeasured::Chance(why)) => disturbance = Some(why),
                Err(Unmeasured::Failed(error)) => {
                    ended = Some((arm, error));
                    break;
                }
            }
            if let Some(why) = disturbance {
                block.void = Some(Name::cleaned(&why));
                break;
            }
        }
        if ended.is_none() && block.void.is_none() {
            ended = self.other_work(&block, turns);
        }
        if index == 0 && turns.kind == StageKind::Measuring {
            // What the first block already lacks was never there; later losses show in the samples.
            for slot in &mut block.slots {
                slot.samples.retain(|told| is_gated(&self.record, told));
            }
        }
        for (at, (cell, known)) in (0..).zip(self.record.cells.iter().zip(&missing)) {
            for lack in &cell.unavailable[*known..] {
                self.keep.lost(at, lack)?;
            }
        }
        self.keep.block(turns.kind, &block)?;
        let void = block.void.clone();
        self.stage_of(turns.kind).blocks.push(block);
        if let Some((arm, error)) = ended {
            self.end_by(Some(arm), error);
            return Ok(ControlFlow::Break(()));
        }
        if let Some(why) = void {
            (self.on_event)(GateEvent::Void(why.to_string()));
            return Ok(self.forgive(turns.kind, &why));
        }
        if index + 1 >= MAX_BLOCKS as u32 && self.counted(turns.kind, model) < turns.blocks {
            self.fail(
                None,
                FailureKind::Environment,
                "too many blocks do not count",
            );
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    }

    /// How many metrics of each cell are missing.
    fn missing(&self) -> Vec<usize> {
        let cells = self.record.cells.iter();
        cells.map(|cell| cell.unavailable.len()).collect()
    }

    /// Whether so many void blocks may still be chance.
    fn forgive(&mut self, kind: StageKind, why: &Name) -> ControlFlow<()> {
        let blocks = &self.stage_of(kind).blocks;
        // Those that ended with a slot that was stopped are not what disturbed the machine.
        let void = blocks.iter().filter(|block| block.void.is_some()).count();
        if void <= FORGIVEN.max(blocks.len() / FORGIVEN_SHARE) {
            return ControlFlow::Continue(());
        }
        let what = format!(
            "{void} of {} blocks do not count, the last because {why}",
            blocks.len()
        );
        self.fail(None, FailureKind::Environment, &what);
        ControlFlow::Break(())
    }

    fn tell_slot(&mut self, turns: Turns, model: u32, models: usize, arm: Arm) {
        let done = self.counted(turns.kind, model);
        let seconds = &self.prepared.slot_seconds;
        let mean = seconds.iter().sum::<f64>() / seconds.len().max(1) as f64;
        let left = f64::from(turns.blocks.saturating_sub(done)) * 4.0 * models as f64;
        (self.on_event)(GateEvent::Slot {
            stage: turns.kind,
            block: done + 1,
            of: turns.blocks,
            arm,
            eta_seconds: left * mean,
        });
    }

    /// Rests, probes the machine, and runs one slot.
    fn slot(
        &mut self,
        turns: Turns,
        block: &Block,
        (model, arm): (u32, Arm),
        prompt_seed: Sha256Digest,
    ) -> Result<Slot, Unmeasured> {
        let backend = &self.prepared.backend(Arm::Base).to_owned();
        let spec = match arm {
            Arm::Base => turns.base,
            Arm::Candidate => turns.candidate,
        };
        self.rest();
        self.check_weights(spec)?;
        let probed = (self.hands.probe)();
        let throttled_before = throttled_ns(self.machine, backend);
        // The shuffled base of the layout stage stands in the candidate's place with its own weights.
        let weights = match turns.kind {
            StageKind::Layout => Arm::Base,
            StageKind::Measuring | StageKind::Confirmation => arm,
        };
        let cells = &self.prepared.asked[model as usize];
        let asked = asked(self.options, (model as usize, weights), cells, prompt_seed);
        let around = Around {
            clock: self.machine.clock.as_ref(),
            zero_ns: self.zero_ns,
            sampler: self.sampler.as_ref(),
            stop: &NEVER,
        };
        if let Some(sampler) = &self.sampler {
            sampler.start(self.zero_ns);
        }
        let slotted = (self.hands.slot)(arm, spec, &asked, &around);
        let sampled = self.sampler.as_ref().map(Sampler::stop);
        let mut slotted = slotted.map_err(|error| self.unmeasured(error, block, arm))?;
        if let Some(sampled) = sampled {
            self.add_joules(model, &mut slotted, &sampled)
                .map_err(Unmeasured::Chance)?;
        }
        let throttled = throttled_ns(self.machine, backend).zip(throttled_before);
        self.check_program(turns, arm, spec, &slotted)?;
        check_told(spec, model, &self.record.cells, &slotted)?;
        // What an arm lacked when it was tried, the other may tell of.
        slotted.samples.retain(|told| is_gated(&self.record, told));
        self.check_samples(model, spec, &slotted)?;
        Ok(Slot {
            arm,
            start_ns: self.earlier_ns + slotted.start_ns,
            end_ns: self.earlier_ns + slotted.end_ns,
            control_multiply_ns: probed.multiply_ns,
            control_copy_ns: probed.copy_ns,
            throttled_ns: throttled.map(|(after, before)| after.saturating_sub(before)),
            samples: slotted.samples,
            output_sha256: slotted.output_sha256,
        })
    }

    /// What it means that a slot gave nothing. Lines that were read together while the slot lasted as
    /// long as others may be this program's own lateness on a busy machine; the second time it is the
    /// arm's doing.
    fn unmeasured(&self, error: SlotError, block: &Block, arm: Arm) -> Unmeasured {
        let SlotError::Together { whole_ns, .. } = &error else {
            return Unmeasured::Failed(error);
        };
        let why = format!("lines of the {} arm were read together", arm.as_str());
        let tried = self.prepared.whole_ns[block.model as usize];
        let tried_ns = match arm {
            Arm::Base => tried[0],
            Arm::Candidate => tried[1],
        };
        let stages = self.record.stages.iter();
        let mut others_ns = (stages.flat_map(|stage| &stage.blocks).chain([block]))
            .filter(|other| other.model == block.model)
            .flat_map(|other| &other.slots)
            .filter(|slot| slot.arm == arm)
            .map(|slot| slot.end_ns - slot.start_ns)
            .chain([tried_ns]);
        let is_like = |other_ns: u64| whole_ns.abs_diff(other_ns) <= other_ns / LIKE_PART;
        if others_ns.any(is_like) && self.is_first(&why) {
            Unmeasured::Chance(why)
        } else {
            Unmeasured::Failed(error)
        }
    }

    /// Whether no block was void for this yet.
    fn is_first(&self, why: &str) -> bool {
        let why = Name::cleaned(why);
        let mut blocks = self.record.stages.iter().flat_map(|stage| &stage.blocks);
        !blocks.any(|block| block.void.as_ref() == Some(&why))
    }

    /// Whether the meters failed as they may once by chance, in a gate that has joules of the cell: the
    /// block is then void, and the next time they are lost.
    fn may_be_chance(&self, cell: u32, reason: UnavailableReason, why: &str) -> bool {
        let is_hole = matches!(
            reason,
            UnavailableReason::Gap | UnavailableReason::Transport
        );
        let blocks = self.record.stages.iter().flat_map(|stage| &stage.blocks);
        let mut slots = (blocks.filter(|block| counts(block))).flat_map(|block| &block.slots);
        let was_measured = slots.any(|slot| sample(&slot.samples, cell, Metric::Energy).is_some());
        is_hole && was_measured && self.is_first(why)
    }

    /// Adds the joules of every cell that gates them. What cannot be told is lost to the gate, unless
    /// it may be chance: why the block is void then.
    fn add_joules(
        &mut self,
        model: u32,
        slotted: &mut Slotted,
        sampled: &Sampled,
    ) -> Result<(), String> {
        let mut lost = Vec::new();
        for (at, cell) in (0..).zip(&self.record.cells) {
            let Some(scope) = cell.scope.filter(|_| cell.model == model) else {
                continue;
            };
            if !available(cell).contains(&Metric::Energy) {
                continue;
            }
            match energy::sample(at, scope, &self.prepared.traces, sampled, &slotted.spans) {
                Ok(sample) => slotted.samples.push(sample),
                Err(reason) => {
                    let why = format!("joules of {}: {}", cell.label, reason.in_words());
                    if self.may_be_chance(at, reason, &why) {
                        return Err(why);
                    }
                    lost.push((at, reason));
                }
            }
        }
        for (at, reason) in lost {
            let cell = &mut self.record.cells[at as usize];
            let reason = reason.in_words();
            (self.on_event)(GateEvent::Note(format!("{}: {reason}", cell.label)));
            lose(cell, Metric::Energy, reason);
        }
        Ok(())
    }

    /// Lets the machine cool down.
    fn rest(&self) {
        let rest = self.options.policy.cool_down_seconds;
        (self.machine.clock).sleep(Duration::try_from_secs_f64(rest).unwrap_or_default());
    }

    /// The weights are the files that were read before the first slot.
    fn check_weights(&self, spec: &ArmSpec) -> Result<(), SlotError> {
        if super::weights_now(self.options) == self.weights {
            return Ok(());
        }
        Err(other_work(
            spec,
            "the weights changed on disk while the gate ran",
        ))
    }

    /// The program and the engine are those that were tried out.
    fn check_program(
        &self,
        turns: Turns,
        arm: Arm,
        spec: &ArmSpec,
        slotted: &Slotted,
    ) -> Result<(), SlotError> {
        let planned = match arm {
            Arm::Candidate if turns.kind == StageKind::Layout => return Ok(()),
            Arm::Candidate => &self.record.candidate,
            Arm::Base => &self.record.base,
        };
        if slotted.binary_sha256 != planned.binary_sha256 {
            return Err(other_work(spec, CHANGED));
        }
        let word = |facts: &domain::record::EngineFacts| {
            (
                facts.name.clone(),
                facts.version.clone(),
                facts.backend.clone(),
            )
        };
        if slotted.engine.as_ref().map(word) != planned.engine.as_ref().map(word) {
            return Err(other_work(
                spec,
                "its engine is not the one that was tried out",
            ));
        }
        Ok(())
    }

    /// Everything that is gated was told.
    fn check_samples(
        &self,
        model: u32,
        spec: &ArmSpec,
        slotted: &Slotted,
    ) -> Result<(), SlotError> {
        for (at, cell) in (0..).zip(&self.record.cells) {
            if cell.model != model {
                continue;
            }
            let told = |metric: &Metric| sample(&slotted.samples, at, *metric).is_some();
            if let Some(metric) = available(cell).into_iter().find(|metric| !told(metric)) {
                let what = format!("it gave no {} of {}", metric.as_str(), cell.label);
                return Err(other_work(spec, &what));
            }
        }
        Ok(())
    }

    /// Whose slot of a block did another amount of work than the record's first slot of the base.
    fn other_work(&self, block: &Block, turns: Turns) -> Option<(Arm, SlotError)> {
        let measured = self.record.stages.iter().flat_map(|stage| &stage.blocks);
        let first = measured
            .chain([block])
            .filter(|other| other.model == block.model)
            .flat_map(|other| &other.slots)
            .find(|slot| slot.arm == Arm::Base)?;
        for slot in &block.slots {
            for told in &slot.samples {
                let Some(wanted) = sample(&first.samples, told.cell, told.metric) else {
                    continue;
                };
                if wanted.units != told.units {
                    let spec = match slot.arm {
                        Arm::Base => turns.base,
                        Arm::Candidate => turns.candidate,
                    };
                    let what = format!(
                        "it did {} units of work of {} where the base did {}",
                        told.units,
                        told.metric.as_str(),
                        wanted.units
                    );
                    return Some((slot.arm, other_work(spec, &what)));
                }
            }
        }
        None
    }

    /// Ends the gate as a slot did: stopped, or by a failure of that arm.
    fn end_by(&mut self, arm: Option<Arm>, error: SlotError) {
        end_by(&mut self.record, arm, error);
    }

    fn fail(&mut self, arm: Option<Arm>, kind: FailureKind, what: &str) {
        fail(&mut self.record, arm, kind, what);
    }
}

/// Whether a sample is of a metric that is gated and not missing.
fn is_gated(record: &GateRecord, told: &Sample) -> bool {
    let cell = record.cells.get(told.cell as usize);
    cell.is_some_and(|cell| available(cell).contains(&told.metric))
}

/// Whether a block counts: whole, and nothing disturbed it.
pub(super) fn counts(block: &Block) -> bool {
    block.void.is_none() && block.slots.len() == order(block.coin).len()
}

/// Ends a record as a slot did: stopped, or by a failure of that arm.
pub(super) fn end_by(record: &mut GateRecord, arm: Option<Arm>, error: SlotError) {
    match error {
        SlotError::Interrupted => record.interrupted = true,
        SlotError::Failed { kind, what, .. } => fail(record, arm, kind, &what),
        SlotError::Together { what, .. } => fail(record, arm, FailureKind::Infrastructure, &what),
    }
}

fn fail(record: &mut GateRecord, arm: Option<Arm>, kind: FailureKind, what: &str) {
    record.failure = Some(Failure {
        arm,
        kind,
        what: Name::cleaned(what),
    });
}

/// What prompts of a block are made from: the same for its four slots, others for every block.
fn prompt_seed(stage: Sha256Digest, model: &Name, index: u32) -> Sha256Digest {
    let from = [
        b"joulemark-gate-prompts",
        &stage.0[..],
        model.as_str().as_bytes(),
        &index.to_be_bytes(),
    ];
    Sha256Digest::of(&from.concat())
}

/// Which arm an error of both names, where their labels tell.
fn failed_arm(options: &GateOptions, error: &SlotError) -> Option<Arm> {
    let SlotError::Failed { label, .. } = error else {
        return None;
    };
    match (
        *label == options.base.label,
        *label == options.candidate.label,
    ) {
        (true, false) => Some(Arm::Base),
        (false, true) => Some(Arm::Candidate),
        _ => None,
    }
}

fn other_work(spec: &ArmSpec, what: &str) -> SlotError {
    SlotError::Failed {
        label: spec.label.clone(),
        kind: FailureKind::OtherWork,
        what: what.to_owned(),
    }
}
