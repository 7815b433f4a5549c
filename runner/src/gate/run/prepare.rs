//! Before the first block: what is gated, one slot of each arm tried out, and whether that decides.

use std::path::Path;
use std::time::Duration;

use domain::energy::MIN_TICKS;
use domain::energy::keys::{Seat, keys};
use domain::gate::looks::LOOKS;
use domain::gate::policy::{Axis, GatedWorkload};
use domain::gate::record::{
    ArmFacts, ArmKind, FailureKind, GateCell, GateModel, GateRecord, MAX_CELLS, MAX_GATE_BYTES,
    Purpose, Sample, StageKind, UnavailableMetric,
};
use domain::gate::{Arm, Metric, plan};
use domain::ids::Sha256Digest;
use domain::record::{AttributionMethod, Host, VariantFacts};
use domain::scope::Scope;
use domain::text::Name;

use super::layout::LAYOUT_BLOCKS;
use super::{Detectable, GateError, GateOptions, GatePlan, Hands};
use crate::engine::Processes;
use crate::gate::arm::ArmSpec;
use crate::gate::slot::{Around, Asked, AskedCell, SlotError, Slotted};
use crate::record::workload;
use crate::sweep::Machine;
use crate::variant::inspect;

/// Most requests of one repetition, however short they are.
const MAX_REQUESTS: f64 = 100_000.0;

/// Update periods of the meters that the timed repetitions of a slot last, a fifth more than joules
/// need: a slot may turn out shorter than the one that was tried.
const SLOT_TICKS: u64 = MIN_TICKS + MIN_TICKS / 5;

/// Bytes of a slot in the record beside its samples.
const SLOT_BYTES: usize = 400;

/// Bytes that are left for what is known of the answers.
const ANSWERS_BYTES: usize = 2 << 20;

/// Blocks of a comparison without a budget.
const COMPARED_BLOCKS: usize = 16;

/// What is known before the first block.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) models: Vec<GateModel>,
    pub(super) cells: Vec<GateCell>,
    /// What a slot of each model is asked.
    pub(super) asked: Vec<Vec<AskedCell>>,
    pub(super) base: ArmFacts,
    pub(super) candidate: ArmFacts,
    /// The meters that carry the gated joules, by their place among the machine's.
    pub(super) traces: Vec<u32>,
    /// Seconds of a slot of each model, the rest and the probe before it included; empty where
    /// nothing was tried.
    pub(super) slot_seconds: Vec<f64>,
    /// Nanoseconds of the slots of each model that were tried, the base's and the candidate's; empty
    /// where nothing was tried.
    pub(super) whole_ns: Vec<[u64; 2]>,
    /// Bytes of a slot of each model in the record; empty where nothing was tried.
    slot_bytes: Vec<usize>,
}

impl Prepared {
    /// What the policy gates of these arms and models; nothing is started yet.
    pub(super) fn of(options: &GateOptions) -> Result<Self, GateError> {
        let are_commands = is_command(&options.base);
        if are_commands != is_command(&options.candidate) {
            return Err(usage(
                "one arm is a command and the other an engine: what they print cannot be compared",
            ));
        }
        let models = if are_commands {
            vec![GateModel {
                name: program_name(&options.base),
                base: None,
                candidate: None,
            }]
        } else {
            engine_models(options)?
        };
        let mut prepared = Self {
            models,
            cells: Vec::new(),
            asked: Vec::new(),
            base: facts(&options.base),
            candidate: facts(&options.candidate),
            traces: Vec::new(),
            slot_seconds: Vec::new(),
            whole_ns: Vec::new(),
            slot_bytes: Vec::new(),
        };
        for model in 0..prepared.models.len() as u32 {
            prepared.gate_model(options, model, are_commands);
        }
        if prepared.cells.len() > MAX_CELLS {
            return Err(usage(&format!(
                "{} cells are too many, {MAX_CELLS} are allowed: gate fewer models or workloads",
                prepared.cells.len()
            )));
        }
        Ok(prepared)
    }

    fn gate_model(&mut self, options: &GateOptions, model: u32, is_command: bool) {
        let name = self.models[model as usize].name.as_str().to_owned();
        let workloads: Vec<Option<&GatedWorkload>> = if is_command {
            vec![None]
        } else {
            options.policy.workloads.iter().map(Some).collect()
        };
        let mut asked = Vec::new();
        for gated in workloads {
            asked.push(AskedCell {
                cell: self.cells.len() as u32,
                workload: gated.cloned(),
                requests: 1,
            });
            let label = gated.map_or_else(
                || name.clone(),
                |gated| format!("{name} {}", gated.workload.id),
            );
            self.cells.push(GateCell {
                label: Name::cleaned(&label),
                model,
                workload: gated.map(|gated| workload(&gated.workload, AttributionMethod::Direct)),
                // A command says what it measures when it is tried.
                metrics: gated.map_or_else(|| vec![Metric::Time], |gated| gated.metrics.clone()),
                unavailable: Vec::new(),
                scope: None,
            });
        }
        self.asked.push(asked);
    }

    /// Tries one slot of each arm on each model: facts, how many requests fill a repetition, how
    /// long a slot takes, and what cannot be measured.
    pub(super) fn try_out(
        &mut self,
        options: &GateOptions,
        machine: &Machine,
        hands: &mut Hands,
    ) -> Result<(), (Arm, SlotError)> {
        let probe_started_ns = machine.clock.now_ns();
        (hands.probe)();
        let probe_seconds = seconds(machine.clock.now_ns() - probe_started_ns);
        for model in 0..self.models.len() {
            let base = self
                .try_arm(options, machine, hands, (model, Arm::Base))
                .map_err(|error| (Arm::Base, error))?;
            if model == 0 {
                learn(&mut self.base, &base);
                self.cover(machine, &base);
            }
            if is_command(&options.base) {
                self.cells[0].metrics = metrics_of(&base.samples);
            }
            self.choose_requests(options, machine, model, &[&base]);
            let tried = self.asked[model].clone();
            let candidate = self
                .try_arm(options, machine, hands, (model, Arm::Candidate))
                .map_err(|error| (Arm::Candidate, error))?;
            let spec = &options.candidate;
            check_told(spec, model as u32, &self.cells, &candidate)
                .map_err(|error| (Arm::Candidate, error))?;
            if model == 0 {
                learn(&mut self.candidate, &candidate);
            }
            self.choose_requests(options, machine, model, &[&base, &candidate]);
            self.find_missing(model, &base, &candidate);
            let whole = [&base, &candidate].map(|slotted| slotted.end_ns - slotted.start_ns);
            self.whole_ns.push(whole);
            let slot = seconds(whole[0].max(whole[1]))
                + self.not_tried_seconds(options, model, &tried, [&base, &candidate]);
            self.slot_bytes.push(self.bytes_of_slot(model, &candidate));
            let rest = options.policy.cool_down_seconds;
            self.slot_seconds.push(slot + rest + probe_seconds);
        }
        if self.backend(Arm::Base) != self.backend(Arm::Candidate) {
            self.lose_joules("the arms compute on different devices, which no one meter covers");
        }
        // What was lost before stays lost: a gate that goes on has no second try.
        let before = options
            .continues
            .iter()
            .flat_map(|(_, record)| &record.cells);
        for (now, then) in self.cells.iter_mut().zip(before) {
            for lack in &then.unavailable {
                lose(now, lack.metric, lack.reason.as_str());
            }
        }
        Ok(())
    }

    fn try_arm(
        &self,
        options: &GateOptions,
        machine: &Machine,
        hands: &mut Hands,
        (model, arm): (usize, Arm),
    ) -> Result<Slotted, SlotError> {
        // Joules are not read in a slot that does not count.
        let cells: Vec<AskedCell> = (self.asked[model].iter().cloned())
            .map(|mut cell| {
                if let Some(gated) = &mut cell.workload {
                    gated.metrics.retain(|metric| *metric != Metric::Energy);
                }
                cell
            })
            .collect();
        let around = Around {
            clock: machine.clock.as_ref(),
            zero_ns: machine.clock.now_ns(),
            sampler: None,
            stop: &options.stop,
        };
        let prompt_seed = Sha256Digest::of(b"joulemark-gate-tried-out");
        let asked = asked(options, (model, arm), &cells, prompt_seed);
        (hands.slot)(arm, arm_of(options, arm), &asked, &around)
    }

    /// Finds the meters of the gated joules, now that it is known what computes.
    fn cover(&mut self, machine: &Machine, base: &Slotted) {
        let is_gated = |cell: &GateCell| cell.metrics.contains(&Metric::Energy);
        if !self.cells.iter().any(is_gated) {
            return;
        }
        let backend = base
            .engine
            .as_ref()
            .map_or("", |engine| engine.backend.as_str());
        match covering(machine, backend) {
            Ok((scope, traces)) => {
                self.traces = traces;
                for cell in self.cells.iter_mut().filter(|cell| is_gated(cell)) {
                    cell.scope = Some(scope);
                }
            }
            Err(reason) => self.lose_joules(&reason),
        }
    }

    fn lose_joules(&mut self, reason: &str) {
        self.traces.clear();
        for cell in &mut self.cells {
            cell.scope = None;
            lose(cell, Metric::Energy, reason);
        }
    }

    /// So many requests in each repetition that all timed ones of a workload together last as long
    /// as the policy and the meters ask for, going by the faster of the arms that were tried; the same
    /// for both. A gate that is gone on with asks what it asked before. The base was tried first.
    fn choose_requests(
        &mut self,
        options: &GateOptions,
        machine: &Machine,
        model: usize,
        tried: &[&Slotted],
    ) {
        if is_command(&options.base) {
            return;
        }
        // None where no joules are gated.
        let update = update(machine, &self.traces);
        let joules_seconds = SLOT_TICKS as f64 * update.as_secs_f64();
        let least = options.policy.slot_seconds.max(joules_seconds);
        let repetitions = f64::from(options.policy.repetitions);
        let earlier = options.continues.as_ref().map(|(_, record)| record);
        for (at, cell) in self.asked[model].iter_mut().enumerate() {
            let before = (earlier.zip(tried.first()))
                .and_then(|(record, base)| requests_before(record, cell.cell, base));
            if let Some(before) = before {
                cell.requests = before;
                continue;
            }
            let seconds = tried.iter().filter_map(|arm| arm.request_seconds.get(at));
            let fastest = seconds.copied().fold(f64::INFINITY, f64::min);
            let needed = (least / (repetitions * fastest)).ceil();
            cell.requests = if needed.is_finite() {
                needed.clamp(1.0, MAX_REQUESTS) as u32
            } else {
                1
            };
        }
    }

    /// Seconds by which a slot of the slower arm may last longer than that of the candidate that was
    /// tried: as many requests as were chosen since, and a repetition more for the warm-up.
    fn not_tried_seconds(
        &self,
        options: &GateOptions,
        model: usize,
        tried: &[AskedCell],
        [base, candidate]: [&Slotted; 2],
    ) -> f64 {
        let cells = self.asked[model].iter().zip(tried);
        let requests = base.request_seconds.iter().zip(&candidate.request_seconds);
        let more = cells.zip(requests).map(|((now, then), (base, candidate))| {
            f64::from(now.requests) * base.max(*candidate) - f64::from(then.requests) * candidate
        });
        let seconds = more.sum::<f64>() * f64::from(options.policy.repetitions + 1);
        if is_command(&options.base) {
            0.0
        } else {
            seconds.max(0.0)
        }
    }

    /// Bytes of a slot of this model in the record, joules included.
    fn bytes_of_slot(&self, model: usize, tried: &Slotted) -> usize {
        let json = |samples: &[Sample]| {
            let text = serde_json::to_string(samples).expect("samples are JSON");
            text.len()
        };
        let joules = Sample {
            cell: MAX_CELLS as u32,
            metric: Metric::Energy,
            units: MAX_REQUESTS as u64,
            costs: vec![u64::from(u32::MAX)],
            tail_ns: None,
            claimed_ns: None,
        };
        let of_model = |cell: &&GateCell| cell.model as usize == model && cell.scope.is_some();
        let metered = self.cells.iter().filter(of_model).count();
        SLOT_BYTES + json(&tried.samples) + metered * json(&[joules])
    }

    /// Notes what one of the arms did not tell.
    fn find_missing(&mut self, model: usize, base: &Slotted, candidate: &Slotted) {
        for cell in &self.asked[model] {
            let cell = cell.cell;
            for metric in self.cells[cell as usize].metrics.clone() {
                if metric == Metric::Energy {
                    continue;
                }
                let told = |slotted: &Slotted| sample(&slotted.samples, cell, metric).is_some();
                let silent = [(base, "base"), (candidate, "candidate")]
                    .into_iter()
                    .find(|(slotted, _)| !told(slotted));
                if let Some((_, arm)) = silent {
                    let reason = format!("the {arm} arm gave none when it was tried");
                    lose(&mut self.cells[cell as usize], metric, &reason);
                }
            }
        }
    }

    /// What an arm computes on; empty for commands.
    pub(super) fn backend(&self, arm: Arm) -> &str {
        let facts = match arm {
            Arm::Base => &self.base,
            Arm::Candidate => &self.candidate,
        };
        facts
            .engine
            .as_ref()
            .map_or("", |engine| engine.backend.as_str())
    }

    /// The plan, refused where it cannot decide.
    pub(super) fn plan(&self, options: &GateOptions, machine: &Machine) -> GatePlan {
        let per_block = 4.0 * self.slot_seconds.iter().sum::<f64>();
        let (last_look, no_look) = match last_look(options, per_block) {
            Ok(look) => (look, None),
            Err(refused) => (LOOKS[0].blocks, Some(refused)),
        };
        let detectable = self.detectable(options, last_look);
        let quality = options.policy.quality.as_ref();
        let refused = if options.purpose == Purpose::Gate {
            (self.unmeasured(options).map(|what| (4, what)))
                .or(self.never(options, last_look).map(|what| (2, what)))
                .or(no_look)
                .or_else(|| self.too_little(options, &detectable, per_block))
        } else {
            no_look
        };
        let name = |metric: &Metric| metric.as_str().to_owned();
        let refused = (self.too_long(options, last_look).map(|what| (2, what))).or(refused);
        GatePlan {
            cells: (self.cells.iter())
                .map(|cell| {
                    let metrics = available(cell).iter().map(name).collect();
                    (cell.label.to_string(), metrics)
                })
                .collect(),
            slot_seconds: self.slot_seconds.clone(),
            last_look: last_look as u32,
            minutes: last_look as f64 * per_block / 60.0,
            detectable,
            items: quality.map(|quality| (plan::least_items(quality.margin), quality.items)),
            refused: self
                .differs_from_before(options, machine)
                .map(|what| (2, what))
                .or(refused),
        }
    }

    /// The metric of every cell-metric that can be measured.
    fn gated(&self) -> Vec<Metric> {
        self.cells.iter().flat_map(available).collect()
    }

    fn never(&self, options: &GateOptions, last_look: usize) -> Option<String> {
        plan::never_decides(&options.policy, &self.gated(), last_look)
    }

    /// What the policy requires and nothing here measures.
    fn unmeasured(&self, options: &GateOptions) -> Option<String> {
        self.cells.iter().find_map(|cell| {
            let lacking =
                |lack: &&UnavailableMetric| options.policy.required.contains(&axis(lack.metric));
            let lack = cell.unavailable.iter().find(lacking)?;
            Some(format!(
                "the policy requires {} of {}, which cannot be measured here: {}",
                lack.metric.as_str(),
                cell.label,
                lack.reason
            ))
        })
    }

    fn detectable(&self, options: &GateOptions, last_look: usize) -> Vec<Detectable> {
        let gated = self.gated();
        let policy = &options.policy;
        let zero = policy.practical_zero.ln_1p();
        let cells = self.cells.iter();
        cells
            .flat_map(|cell| {
                available(cell)
                    .into_iter()
                    .map(move |metric| (cell, metric))
            })
            .map(|(cell, metric)| {
                let share = plan::cell_share(metric, &gated);
                let (sd, blocks) = plan::block_sd(&options.known_block_sds, metric);
                let mde = plan::mde(sd, last_look, policy.alpha, share, zero);
                Detectable {
                    label: format!("{} {}", cell.label, metric.as_str()),
                    mde: mde.map_or(f64::INFINITY, f64::exp_m1),
                    tolerance: policy.tolerance(metric),
                    known_from_blocks: blocks,
                }
            })
            .collect()
    }

    /// Why so few blocks find too little, and how long it would take to find enough.
    fn too_little(
        &self,
        options: &GateOptions,
        detectable: &[Detectable],
        per_block: f64,
    ) -> Option<(u8, String)> {
        let over = |found: &&Detectable| found.mde > found.tolerance;
        let ratio = |found: &Detectable| found.mde / found.tolerance;
        let worst = detectable
            .iter()
            .filter(over)
            .max_by(|a, b| ratio(a).total_cmp(&ratio(b)))?;
        let gated = self.gated();
        let policy = &options.policy;
        let needed = |metric: &Metric| {
            plan::blocks_needed(
                plan::block_sd(&options.known_block_sds, *metric).0,
                policy.alpha,
                plan::cell_share(*metric, &gated),
                policy.practical_zero.ln_1p(),
                policy.tolerance(*metric).ln_1p(),
            )
        };
        let blocks: Option<Vec<usize>> = gated.iter().map(needed).collect();
        let advice = match blocks.and_then(|blocks| blocks.into_iter().max()) {
            Some(blocks) => format!(
                "a budget of {:.0} minutes ({blocks} blocks) would do",
                (blocks as f64 * per_block / 60.0).ceil()
            ),
            None => format!(
                "not even {} blocks would do: gate fewer cells, allow more, or measure on a quieter machine",
                plan::most_blocks()
            ),
        };
        let known = match worst.known_from_blocks {
            0 => format!(
                "assuming blocks that spread by {:.1} %",
                100.0 * plan::ASSUMED_BLOCK_SD
            ),
            blocks => format!("going by {blocks} blocks of this machine against itself"),
        };
        Some((
            3,
            format!(
                "{} finds {:.1} % with 90 % power ({known}), and {:.1} % is tolerated: {advice}",
                worst.label,
                100.0 * worst.mde,
                100.0 * worst.tolerance
            ),
        ))
    }

    /// Why the record of so many blocks could not be sealed.
    fn too_long(&self, options: &GateOptions, last_look: usize) -> Option<String> {
        let blocks = match options.purpose {
            Purpose::Compare => last_look,
            // At worst everything regresses: measured, confirmed, and the base linked again.
            Purpose::Gate | Purpose::Aa => 2 * last_look + LAYOUT_BLOCKS as usize,
        };
        let is_asked = options.policy.quality.is_some() && !is_command(&options.base);
        let answers = if is_asked { ANSWERS_BYTES } else { 0 };
        let bytes = 4 * blocks * self.slot_bytes.iter().sum::<usize>() + answers;
        (bytes > MAX_GATE_BYTES).then(|| {
            format!(
                "the result may have {bytes} bytes, and no more than {MAX_GATE_BYTES} can be \
                 sealed: gate fewer models, workloads or metrics, or plan a smaller budget"
            )
        })
    }

    /// In what these arms and cells differ from those of the record that is gone on with.
    fn differs_from_before(&self, options: &GateOptions, machine: &Machine) -> Option<String> {
        let (_, before) = options.continues.as_ref()?;
        let arm = |now: &ArmFacts, then: &ArmFacts| {
            (now.binary_sha256, now.command_sha256) != (then.binary_sha256, then.command_sha256)
        };
        let how = |now: &ArmFacts, then: &ArmFacts| {
            (&now.engine, &now.settings) != (&then.engine, &then.settings)
        };
        let gated = |cell: &GateCell| {
            let GateCell {
                label,
                model,
                workload,
                metrics,
                ..
            } = cell.clone();
            (label, model, workload, metrics)
        };
        let what = if before.failure.is_some() {
            "it ended with a failure, which more blocks do not mend"
        } else if before.purpose != options.purpose {
            "it was measured for another purpose"
        } else if before.policy.sha256 != options.policy_used.sha256 {
            "the policy is another"
        } else if arm(&self.base, &before.base) {
            "the base is another program or command"
        } else if arm(&self.candidate, &before.candidate) {
            "the candidate is another program or command"
        } else if how(&self.base, &before.base) {
            "the base's engine, its arguments (such as threads) or its settings are others"
        } else if how(&self.candidate, &before.candidate) {
            "the candidate's engine, its arguments (such as threads) or its settings are others"
        } else if options.setup != before.setup {
            "the setup is another"
        } else if !is_same_machine(&machine.survey.host, before.hosts.first()) {
            "the machine, its system or a driver is another"
        } else if self.models != before.models {
            "the weights are others"
        } else if !self
            .cells
            .iter()
            .map(gated)
            .eq(before.cells.iter().map(gated))
        {
            "other cells are measured"
        } else if lacks_more(&self.cells, &before.cells) {
            "something that was measured then cannot be measured now"
        } else {
            return None;
        };
        Some(format!(
            "the result cannot be gone on with: {what}; start a new gate"
        ))
    }
}

/// Whether a machine is that of a record: its kind, its system, and what drives its processors.
fn is_same_machine(now: &Host, then: Option<&Host>) -> bool {
    let facts = |host: &Host| {
        let gpus = host.gpus.iter();
        let gpus: Vec<_> = (gpus.map(|gpu| (gpu.name.clone(), gpu.driver.clone()))).collect();
        let system = (
            host.os.clone(),
            host.os_version.clone(),
            host.kernel.clone(),
        );
        (host.fingerprint, host.cpu_cores, system, gpus)
    };
    then.is_some_and(|then| facts(now) == facts(then))
}

/// Whether a metric is missing now that was not missing then.
fn lacks_more(now: &[GateCell], then: &[GateCell]) -> bool {
    (now.iter().zip(then)).any(|(now, then)| available(now) != available(then))
}

/// Blocks of the last look that the budget allows. What a record that is gone on with has measured
/// is paid for; where a person had stopped it, its own last look may still be reached.
fn last_look(options: &GateOptions, per_block: f64) -> Result<usize, (u8, String)> {
    let minutes = (options.budget.map(|budget| budget.as_secs_f64() / 60.0))
        .or(options.policy.budget_minutes);
    let before = options.continues.as_ref().map(|(_, record)| record);
    if before.is_none() && minutes.is_none() && options.purpose == Purpose::Compare {
        return Ok(COMPARED_BLOCKS);
    }
    let done = before.map_or(0, measured_blocks);
    // Looks that were planned are never taken back, whichever model they were reached by.
    let planned = before.map_or(0, |record| record.last_look as usize);
    let was_stopped = before.is_some_and(|record| record.interrupted);
    let later: Vec<usize> = (LOOKS.iter().map(|look| look.blocks))
        .filter(|blocks| *blocks > planned || (was_stopped && *blocks == planned))
        .collect();
    let Some(next) = later.first() else {
        let what =
            format!("the result has had its last look after {done} blocks: start a new gate");
        return Err((2, what));
    };
    let minutes_of = |blocks: usize| blocks.saturating_sub(done) as f64 * per_block / 60.0;
    let fits = |blocks: &&usize| minutes.is_none_or(|minutes| minutes_of(**blocks) <= minutes);
    later.iter().rev().find(fits).copied().ok_or_else(|| {
        let what = format!(
            "{:.1} minutes end before the next decision after {next} blocks: allow {:.0} minutes or more",
            minutes.unwrap_or(0.0),
            minutes_of(*next).ceil()
        );
        (2, what)
    })
}

/// Blocks that count of the model of a record that has the fewest.
fn measured_blocks(record: &GateRecord) -> usize {
    let stages = record.stages.iter();
    let mut measuring = stages.filter(|stage| stage.kind == StageKind::Measuring);
    let blocks = measuring.next().map_or(&[][..], |stage| &stage.blocks);
    let of = |model: u32| {
        let own = blocks.iter().filter(|block| block.model == model);
        own.filter(|block| super::blocks::counts(block)).count()
    };
    (0..record.models.len() as u32).map(of).min().unwrap_or(0)
}

fn engine_models(options: &GateOptions) -> Result<Vec<GateModel>, GateError> {
    if options.models.is_empty() {
        return Err(usage(
            "no weights to run: name them with --model or list models in the policy",
        ));
    }
    let mut models: Vec<GateModel> = Vec::new();
    for pair in &options.models {
        let name = Name::cleaned(&pair.name);
        if models.iter().any(|model| model.name == name) {
            return Err(usage(&format!("two models are called {name}: rename one")));
        }
        let base = facts_of_weights(&pair.base)?;
        let candidate = if pair.base == pair.candidate {
            base.clone()
        } else {
            facts_of_weights(&pair.candidate)?
        };
        models.push(GateModel {
            name,
            base: Some(base),
            candidate: Some(candidate),
        });
    }
    Ok(models)
}

fn facts_of_weights(path: &Path) -> Result<VariantFacts, GateError> {
    inspect(path).map_err(|error| GateError::Machine(format!("failed to {error}")))
}

/// What is known of an arm before it runs.
fn facts(arm: &ArmSpec) -> ArmFacts {
    ArmFacts {
        kind: arm.kind,
        label: Name::cleaned(&arm.label),
        commit: arm.commit.as_deref().map(Name::cleaned),
        binary_sha256: None,
        command_sha256: Sha256Digest::of(arm.text.as_bytes()),
        engine: None,
        settings: None,
    }
}

fn learn(facts: &mut ArmFacts, slotted: &Slotted) {
    facts.binary_sha256 = slotted.binary_sha256;
    facts.engine.clone_from(&slotted.engine);
    facts.settings.clone_from(&slotted.settings);
}

/// The meters that hold all the work of this machine in one scope, by their place among its meters.
fn covering(machine: &Machine, backend: &str) -> Result<(Scope, Vec<u32>), String> {
    let usage = machine.context.gpus_in_use(&Processes::Unknown, backend);
    let mut hosts = vec![machine.survey.host.clone()];
    usage.apply(&mut hosts, &mut []);
    let infos = machine.meters.meters.iter().map(|meter| meter.info());
    let seats: Vec<Seat> = infos
        .map(|info| Seat {
            used: !usage.is_idle(info),
            ..info.seat(hosts[0].host)
        })
        .collect();
    let found = keys(&seats, &hosts).into_iter().find_map(|key| {
        let [scope] = key.scope.scopes() else {
            return None;
        };
        key.holds_the_work.then_some((*scope, key.meters))
    });
    found.ok_or_else(|| {
        let none = machine.meters.unavailable.as_ref();
        none.map_or_else(
            || "no meter of this machine covers all that works".to_owned(),
            |none| none.detail.to_string(),
        )
    })
}

/// Update period of the slowest of these meters; zero where it is not known, or of none.
fn update(machine: &Machine, traces: &[u32]) -> Duration {
    let meters = traces
        .iter()
        .filter_map(|at| machine.meters.meters.get(*at as usize));
    let slowest = meters.filter_map(|meter| meter.info().update_ns).max();
    Duration::from_nanos(slowest.unwrap_or(0))
}

/// What one slot of a model is asked.
pub(super) fn asked<'a>(
    options: &'a GateOptions,
    (model, arm): (usize, Arm),
    cells: &'a [AskedCell],
    prompt_seed: Sha256Digest,
) -> Asked<'a> {
    let weights = options.models.get(model).map(|pair| match arm {
        Arm::Base => pair.base.as_path(),
        Arm::Candidate => pair.candidate.as_path(),
    });
    Asked {
        weights: weights.filter(|_| !is_command(&options.base)),
        cells,
        repetitions: options.policy.repetitions,
        limit: Duration::try_from_secs_f64(options.policy.slot_limit_seconds)
            .unwrap_or(Duration::MAX),
        threads: options.threads,
        prompt_seed,
    }
}

pub(super) fn arm_of(options: &GateOptions, arm: Arm) -> &ArmSpec {
    match arm {
        Arm::Base => &options.base,
        Arm::Candidate => &options.candidate,
    }
}

/// How many requests each repetition of a cell had, going by its units then and those of one
/// request now; `None` where its metrics count nothing.
fn requests_before(record: &GateRecord, cell: u32, tried: &Slotted) -> Option<u32> {
    let slots = (record.stages.iter()).flat_map(|stage| stage.blocks.iter().flat_map(|b| &b.slots));
    let before = slots
        .flat_map(|slot| &slot.samples)
        .filter(|sample| sample.cell == cell);
    before
        .filter(|sample| matches!(sample.metric, Metric::Decode | Metric::Prefill))
        .find_map(|then| {
            let now = sample(&tried.samples, cell, then.metric)?;
            (then.units.checked_div(now.units)?).try_into().ok()
        })
}

/// Refuses what is told and not gated: work that has lines of its own is in no figure, and so it would
/// be taken off those that are gated.
pub(super) fn check_told(
    spec: &ArmSpec,
    model: u32,
    cells: &[GateCell],
    slotted: &Slotted,
) -> Result<(), SlotError> {
    let is_asked = |told: &&Sample| {
        let cell = cells.get(told.cell as usize);
        cell.is_some_and(|cell| cell.model == model && cell.metrics.contains(&told.metric))
    };
    let Some(more) = slotted.samples.iter().find(|told| !is_asked(told)) else {
        return Ok(());
    };
    let what = format!(
        "it tells of {}, of which the base told nothing when it was tried: work in lines of its own \
         would be in no figure. Let both arms tell of the same metrics",
        more.metric.as_str()
    );
    Err(SlotError::failed(spec, FailureKind::OtherWork, &what))
}

pub(super) fn sample(samples: &[Sample], cell: u32, metric: Metric) -> Option<&Sample> {
    samples
        .iter()
        .find(|sample| (sample.cell, sample.metric) == (cell, metric))
}

/// Gated metrics of a cell that can be measured.
pub(super) fn available(cell: &GateCell) -> Vec<Metric> {
    let is_lost = |metric: &Metric| cell.unavailable.iter().any(|lack| lack.metric == *metric);
    (cell.metrics.iter().copied())
        .filter(|metric| !is_lost(metric))
        .collect()
}

/// Notes that a gated metric of a cell cannot be measured, and why.
pub(super) fn lose(cell: &mut GateCell, metric: Metric, reason: &str) {
    if available(cell).contains(&metric) {
        cell.unavailable.push(UnavailableMetric {
            metric,
            reason: Name::cleaned(reason),
        });
    }
}

fn metrics_of(samples: &[Sample]) -> Vec<Metric> {
    let mut metrics = Vec::new();
    for sample in samples {
        if !metrics.contains(&sample.metric) {
            metrics.push(sample.metric);
        }
    }
    metrics
}

fn axis(metric: Metric) -> Axis {
    match metric {
        Metric::Decode | Metric::Prefill | Metric::Ttft | Metric::Time => Axis::Speed,
        Metric::PeakBytes => Axis::Memory,
        Metric::Energy => Axis::Energy,
    }
}

/// The file name of a command's program. Not its label, which names the commit where one was built:
/// waivers and histories of the next commit go by the same cell.
fn program_name(arm: &ArmSpec) -> Name {
    let program = arm.words.first().map_or("", String::as_str);
    let file = Path::new(program).file_name();
    Name::cleaned(&file.map_or(program.into(), std::ffi::OsStr::to_string_lossy))
}

pub(super) fn is_command(arm: &ArmSpec) -> bool {
    arm.kind == ArmKind::Command
}

fn usage(what: &str) -> GateError {
    GateError::Refused {
        exit: 2,
        what: what.to_owned(),
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
