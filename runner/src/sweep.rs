//! The loop: make a variant, measure it, seal the record, store it; for every cell of the plan.
//!
//! Lifecycle: [`plan_sweep`] for a look ahead, [`run`] to do it. One failing cell does not end the
//! sweep: an engine's error or panic becomes a record that says so, published as failed. A stop
//! request is heeded between two requests to the engine; what was finished is kept, the cell under
//! way is measured again at the next start with the same matrix. Memory is bounded by one cell's
//! samples.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::hardware::Catalogue;
use domain::ids::{ContentId, Sha256Digest};
use domain::matrix::{
    AS_IS, CellFilter, EngineKind, EngineSpec, Matrix, MatrixCell, MatrixError, WeightsForm,
};
use domain::record::{
    Audience, EngineFacts, Fidelity, KvState, Outcome, PhaseKind, Record, Repetition, Settings,
    SuiteRef, VariantFacts,
};
use domain::statistics::interval::MedianInterval;
use domain::text::Name;
use thiserror::Error;

use crate::clock::{Clock, RealClock};
use crate::context::ContextReader;
use crate::engine::{self, Capabilities, Engine, EngineError, Needs};
use crate::fidelity::{self, FidelityError};
use crate::host::{self, Survey};
use crate::keys::RunnerKey;
use crate::machines::{self, MachinesError};
use crate::measure::{
    Bench, Counts, Covering, Progress, Samples, Stopped, Timing, decode_tokens_per_second,
    prefill_tokens_per_second, speed_interval, time_workload,
};
use crate::meter::nvml::GpuUse;
use crate::meter::remote::Along;
use crate::meter::sampler::Sampler;
use crate::meter::wall::MetersFile;
use crate::meter::{self, Estimate, MeterInfo, Meters, headline_or_part};
use crate::plan::{
    Circumstances, Eta, Plan, PlannedCell, SkippedCell, SourceFacts, context_tokens, plan,
};
use crate::probe;
use crate::quality::{self, Questions, Tally, model_context_tokens};
use crate::record::{CellFacts, Machines, SweepFacts, assemble};
use crate::seal::{SealError, seal};
use crate::spool::{Spool, SpoolError};
use crate::state::{FinishedCell, StateError, StateFile};
use crate::variant::{Quantisation, VariantCache, VariantSpec, inspect};

/// Longest model folder listing.
const MAX_MODEL_FILES: usize = 10_000;

/// A comparison with the source is told of each time that so many documents are done.
const COMPARING_STEP: u32 = 100;

/// Degrees by which the machine may be warmer than at the sweep's start, in thousandths.
const WARMER_MC: i64 = 3_000;

/// Why a sweep ended.
#[derive(Debug, Error)]
pub enum SweepError {
    /// The matrix.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
    /// What was picked out of it.
    #[error("pick cells: {0}")]
    Filter(String),
    /// The models folder.
    #[error("list the models in {folder}: {source}; name the folder with --models")]
    Models {
        /// Where.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The outbox.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The data folder.
    #[error("make the data folder {folder}: {source}")]
    Data {
        /// Where.
        folder: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The machines an engine runs on.
    #[error(transparent)]
    Machines(#[from] MachinesError),
    /// No randomness for the sweep's id.
    #[error("begin a sweep: the system has no randomness")]
    Randomness,
}

/// What to sweep and where to keep things.
#[derive(Debug)]
pub struct SweepOptions {
    /// The matrix.
    pub matrix: Matrix,
    /// What to pick out of it.
    pub filter: CellFilter,
    /// Folder of source weights.
    pub models: PathBuf,
    /// Folder for variants and the sweep's state.
    pub data: PathBuf,
    /// The meters that the user named.
    pub meters: MetersFile,
    /// The outbox.
    pub spool: Arc<Spool>,
    /// Signs the records.
    pub key: Arc<RunnerKey>,
    /// Whom the records are for.
    pub audience: Audience,
    /// Known hardware.
    pub catalogue: Catalogue,
    /// Seed of the suite's items.
    pub suite_seed: [u8; 32],
    /// Watts to assume where no counter is, if the user asked.
    pub estimate: Option<Estimate>,
    /// Forget an interrupted sweep.
    pub fresh: bool,
    /// Set to stop.
    pub stop: Arc<AtomicBool>,
}

/// The machine that is measured on.
#[derive(Debug)]
pub struct Machine {
    /// What it is.
    pub survey: Survey,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Its state.
    pub context: ContextReader,
    /// Its power counters.
    pub meters: Meters,
    /// Its free memory.
    pub available_bytes: Option<u64>,
    /// Memory and arithmetic are probed before the first cell.
    pub is_probed: bool,
}

impl Machine {
    /// This machine, with the meters that the user named.
    pub fn here(named: &MetersFile) -> Self {
        let root = Path::new("/");
        let survey = host::survey(root);
        Self {
            context: ContextReader::new(root, survey.host.cpu_cores),
            meters: meter::discover(root, &survey.host, named),
            available_bytes: host::available_memory_bytes(root),
            clock: Arc::new(RealClock::default()),
            is_probed: true,
            survey,
        }
    }
}

/// What happens, as it happens.
#[derive(Debug, Clone)]
pub enum SweepEvent {
    /// The plan is made.
    Planned(Plan),
    /// A cell is not measured.
    Skipped(SkippedCell),
    /// A cell begins.
    CellStarted {
        /// Which, from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// The cell in one line.
        label: String,
        /// Estimated time until the sweep's end, this cell included.
        eta_seconds: f64,
    },
    /// A cell goes on.
    Progress(Progress),
    /// The measured variant is being compared with its source.
    Comparing {
        /// Documents done.
        done: u32,
        /// Documents in all.
        of: u32,
    },
    /// A record is in the outbox; a failed cell's too.
    CellFinished(CellSummary),
    /// A cell failed before there was anything to record: no weights, or no seal.
    CellLost {
        /// The cell.
        label: String,
        /// Why.
        reason: String,
    },
}

/// A recorded cell, for the runner's own display; what is published is the collector's sum.
#[derive(Debug, Clone)]
pub struct CellSummary {
    /// The cell in one line.
    pub label: String,
    /// Its record.
    pub content_id: ContentId,
    /// How it ended.
    pub outcome: Outcome,
    /// In a few words, if not well.
    pub outcome_class: Option<String>,
    /// Output tokens per second.
    pub decode: Option<MedianInterval>,
    /// Prompt tokens per second.
    pub prefill: Option<MedianInterval>,
    /// How its answers came out.
    pub answers: Option<Tally>,
    /// Time it took.
    pub seconds: f64,
}

/// What a sweep came to.
#[derive(Debug)]
pub struct SweepReport {
    /// Its id.
    pub sweep: Sha256Digest,
    /// Recorded now, failed ones included.
    pub recorded: Vec<CellSummary>,
    /// Failed without a record: label and reason.
    pub lost: Vec<(String, String)>,
    /// Not measured, and why.
    pub skipped: Vec<SkippedCell>,
    /// Recorded before an interruption.
    pub finished_before: Vec<FinishedCell>,
    /// A person stopped it.
    pub interrupted: bool,
}

impl SweepReport {
    /// Every planned cell was measured well, or skipped for a stated reason.
    pub fn is_whole(&self) -> bool {
        let before = self.finished_before.iter().map(|cell| cell.outcome);
        let now = self.recorded.iter().map(|cell| cell.outcome);
        let well = before.chain(now).all(|outcome| outcome == Outcome::Ok);
        well && self.lost.is_empty() && !self.interrupted
    }
}

/// The engines of a matrix, opened when a cell first needs them.
pub struct Engines {
    open: Box<OpenEngine>,
    opened: BTreeMap<String, Box<dyn Engine>>,
}

/// Makes the engine of a spec, with nothing loaded.
type OpenEngine = dyn FnMut(&EngineSpec) -> Result<Box<dyn Engine>, EngineError> + Send;

impl fmt::Debug for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engines")
            .field("opened", &self.opened.keys())
            .finish_non_exhaustive()
    }
}

impl Engines {
    /// The real ones; servers that are started compute with so many threads.
    pub fn real(threads: u32) -> Self {
        Self::opened_by(move |spec| engine::open(spec, threads))
    }

    /// Those that `open` makes.
    pub fn opened_by(
        open: impl FnMut(&EngineSpec) -> Result<Box<dyn Engine>, EngineError> + Send + 'static,
    ) -> Self {
        Self {
            open: Box::new(open),
            opened: BTreeMap::new(),
        }
    }

    /// Lends the engine of a spec until it is put back.
    fn take(&mut self, spec: &EngineSpec) -> Result<Box<dyn Engine>, EngineError> {
        match self.opened.remove(&spec.name) {
            Some(engine) => Ok(engine),
            None => (self.open)(spec),
        }
    }

    fn put_back(&mut self, spec: &EngineSpec, engine: Box<dyn Engine>) {
        self.opened.insert(spec.name.clone(), engine);
    }

    /// What the engine of a spec says before it is loaded.
    fn before_load(
        &mut self,
        spec: &EngineSpec,
    ) -> Result<(EngineFacts, Capabilities), EngineError> {
        let engine = self.take(spec)?;
        let said = (engine.facts(), engine.capabilities());
        self.put_back(spec, engine);
        Ok(said)
    }
}

/// What a sweep would do now.
pub fn plan_sweep(
    options: &SweepOptions,
    machine: &Machine,
    engines: &mut Engines,
) -> Result<Plan, SweepError> {
    Ok(prepare(options, machine, engines)?.0)
}

/// Sweeps. Blocking; `on_event` is called from this thread.
pub fn run(
    options: &SweepOptions,
    mut machine: Machine,
    mut engines: Engines,
    on_event: &mut dyn FnMut(SweepEvent),
) -> Result<SweepReport, SweepError> {
    let (plan, state) = prepare(options, &machine, &mut engines)?;
    let finished_before = state.state.finished.clone();
    let questions = Questions::of(&options.matrix.quality, options.suite_seed);
    let facts = sweep_facts(options, &machine, plan.sweep, !questions.items.is_empty());
    if machine.is_probed && !plan.cells.is_empty() {
        // What the machine could do is the measure of what its engines do; without it their
        // figures stand alone.
        if let Err(error) = probe::apply(&mut machine.survey.host, Path::new("/")) {
            tracing::warn!("failed to {error}");
        }
    }
    let machines = machines(options, &mut machine)?;
    let infos = infos(&machine);
    let meters = std::mem::take(&mut machine.meters.meters);
    let sampler = match Arc::clone(&machine.clock).simulated() {
        Some(clock) => Sampler::on_virtual_clock(meters, &clock),
        None => Sampler::spawn(meters, Arc::clone(&machine.clock)),
    };
    on_event(SweepEvent::Planned(plan.clone()));
    for skipped in &plan.skipped {
        on_event(SweepEvent::Skipped(skipped.clone()));
    }
    let variants = VariantCache::new(options.data.join("variants"));
    let mut sweep = Sweep {
        options,
        machine: &machine,
        engines,
        machines,
        infos,
        on_event,
        sampler,
        questions,
        facts,
        state,
        variants,
        start_temp_mc: machine.context.temp_mc(),
        probed: false,
        fidelities: BTreeMap::new(),
        recorded: Vec::new(),
        lost: Vec::new(),
    };
    let interrupted = sweep.measure_all(&plan)?;
    Ok(SweepReport {
        sweep: plan.sweep,
        recorded: sweep.recorded,
        lost: sweep.lost,
        skipped: plan.skipped,
        finished_before,
        interrupted,
    })
}

/// A sweep under way.
struct Sweep<'a> {
    options: &'a SweepOptions,
    machine: &'a Machine,
    engines: Engines,
    /// By engine, this machine's where the matrix names none.
    machines: BTreeMap<String, Machines>,
    /// This machine's meters.
    infos: Vec<MeterInfo>,
    on_event: &'a mut dyn FnMut(SweepEvent),
    sampler: Sampler,
    questions: Questions,
    facts: SweepFacts,
    state: StateFile,
    variants: VariantCache,
    start_temp_mc: Option<i64>,
    /// The meters' update periods were asked for.
    probed: bool,
    /// By variant: every record of it says how far it is from its source, which is measured once.
    fidelities: BTreeMap<Sha256Digest, Option<Fidelity>>,
    recorded: Vec<CellSummary>,
    lost: Vec<(String, String)>,
}

impl fmt::Debug for Sweep<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweep")
            .field("sweep", &self.facts.sweep)
            .finish_non_exhaustive()
    }
}

impl Sweep<'_> {
    /// Measures every planned cell; `true` if a person stopped it.
    fn measure_all(&mut self, plan: &Plan) -> Result<bool, SweepError> {
        let mut eta = Eta::default();
        let mut left = plan.seconds();
        for (number, planned) in (1..).zip(&plan.cells) {
            self.cool();
            if self.options.stop.load(Ordering::Relaxed) {
                return Ok(true);
            }
            let label = planned.cell.label();
            let (of, eta_seconds) = (plan.cells.len(), eta.of(left));
            (self.on_event)(SweepEvent::CellStarted {
                number,
                of,
                label: label.clone(),
                eta_seconds,
            });
            let began_ns = self.machine.clock.now_ns();
            let place = Place {
                is_first: number == 1,
                is_last: number == of,
            };
            match self.cell(planned, place)? {
                CellEnd::Recorded(summary) => {
                    (self.on_event)(SweepEvent::CellFinished(summary.clone()));
                    self.recorded.push(summary);
                }
                CellEnd::Lost(reason) => {
                    tracing::warn!(cell = label, reason, "a cell failed without a record");
                    (self.on_event)(SweepEvent::CellLost {
                        label: label.clone(),
                        reason: reason.clone(),
                    });
                    self.lost.push((label, reason));
                }
                CellEnd::Interrupted => return Ok(true),
            }
            let seconds = self.machine.clock.now_ns().saturating_sub(began_ns) as f64 / 1e9;
            eta.finished(planned.seconds, seconds);
            left -= planned.seconds;
        }
        // What was lost is tried again at the next start; without losses the next sweep is new.
        if self.lost.is_empty() {
            self.state.complete()?;
        }
        Ok(false)
    }

    /// One cell, from source weights to the outbox.
    fn cell(&mut self, planned: &PlannedCell, place: Place) -> Result<CellEnd, SweepError> {
        let spec = engine_spec(self.options, &planned.cell);
        let source = self.options.models.join(&planned.cell.file);
        let recipe = match variant_spec(&source, &planned.cell) {
            Ok(recipe) => recipe,
            Err(reason) => return Ok(CellEnd::Lost(reason)),
        };
        let made = match spec.weights() {
            WeightsForm::Gguf => self.variants.make(&recipe),
            WeightsForm::HuggingFace => self.variants.make_huggingface(&recipe),
        };
        let made = made.and_then(|weights| Ok((inspect(&weights)?, weights)));
        let (variant, weights) = match made {
            Ok(made) => made,
            Err(error) => return Ok(CellEnd::Lost(error.to_string())),
        };

        let mut engine = match self.engines.take(spec) {
            Ok(engine) => engine,
            Err(error) => return Ok(CellEnd::Lost(format!("failed to {error}"))),
        };
        let along = Along::of(spec.machines.as_ref(), &self.machine.clock);
        self.sampler.follow(along);
        let mut samples = Samples::begin(self.machine.clock.as_ref());
        self.sampler.start(samples.zero_ns);
        let loading = Loading {
            weights: &weights,
            variant: &variant,
        };
        let (ended, said) = self.measure(planned, place, engine.as_mut(), loading, &mut samples);
        let mut sampled = self.sampler.stop();
        let gives_logits = engine.capabilities().logits;
        self.engines.put_back(spec, engine);
        let (outcome, outcome_class) = match ended {
            Ok(()) => (Outcome::Ok, None),
            Err(Stopped::Failed { outcome, class }) => (outcome, Some(class)),
            Err(Stopped::Interrupted) => return Ok(CellEnd::Interrupted),
        };

        let mut machines = self.machines[&spec.name].clone();
        said.cards.apply(&mut machines.hosts, &mut sampled.traces);
        meter::leave_idle_cards(&mut sampled.traces, said.facts.backend.as_str());
        let ended_ms = self.machine.clock.unix_ms();
        let is_compared =
            gives_logits && outcome == Outcome::Ok && variant.sha256 != planned.source_sha256;
        let fidelity = is_compared
            .then(|| self.fidelity(&source, &weights, variant.sha256))
            .flatten();
        let cell = CellFacts {
            machines,
            engine: said.facts,
            settings: said.settings,
            variant,
            workload: planned.cell.workload.clone(),
            ended_ms,
            samples,
            sampled,
            fidelity,
            outcome,
            outcome_class,
        };
        let mut record = assemble(&self.facts, cell);
        let mut sealed = seal(&record, &self.options.key);
        if let Err(SealError::TooLong { bytes, .. }) = sealed
            && record.fidelity.take().is_some()
        {
            tracing::warn!(
                bytes,
                "the comparison with the source is left out: with it the record is too long"
            );
            sealed = seal(&record, &self.options.key);
        }
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(error) => return Ok(CellEnd::Lost(error.to_string())),
        };
        self.state.sealing(FinishedCell {
            cell: planned.key,
            record: sealed.content_id,
            outcome,
        })?;
        self.options.spool.put(&sealed)?;
        self.state.sealed()?;
        Ok(CellEnd::Recorded(self.summary(
            planned,
            &record,
            sealed.content_id,
        )))
    }

    /// How far a variant is from its source; without it a cell is whole all the same.
    fn fidelity(
        &mut self,
        source: &Path,
        weights: &Path,
        variant: Sha256Digest,
    ) -> Option<Fidelity> {
        let quality = &self.options.matrix.quality;
        if !quality.fidelity || self.questions.items.is_empty() {
            return None;
        }
        if let Some(known) = self.fidelities.get(&variant) {
            return known.clone();
        }
        let on_event = &mut *self.on_event;
        let mut on_progress = |done: u32, of: u32| {
            if done.is_multiple_of(COMPARING_STEP) || done == of {
                on_event(SweepEvent::Comparing { done, of });
            }
        };
        let (suite, stop) = (quality.suite, &self.options.stop);
        let work =
            AssertUnwindSafe(|| fidelity::measure(source, weights, suite, stop, &mut on_progress));
        let measured = match catch_unwind(work) {
            Ok(Ok(fidelity)) => Some(fidelity),
            Ok(Err(FidelityError::Stopped)) => return None,
            Ok(Err(error)) => {
                tracing::warn!(variant.sha256 = %variant, "failed to {error}");
                None
            }
            Err(panic) => {
                tracing::error!(panic = panic_text(panic.as_ref()), "comparing panicked");
                None
            }
        };
        self.fidelities.insert(variant, measured.clone());
        measured
    }

    fn summary(
        &self,
        planned: &PlannedCell,
        record: &Record,
        content_id: ContentId,
    ) -> CellSummary {
        // A prompt that is cached whole tells the time to first token alone.
        let has_rates = record.workload.kv_state != KvState::ExactHit;
        let speed = |of: fn(&Repetition) -> Option<f64>| {
            speed_interval(&record.repetitions, of).filter(|_| has_rates)
        };
        CellSummary {
            label: planned.cell.label(),
            content_id,
            outcome: record.outcome,
            outcome_class: record.outcome_class.as_ref().map(Name::to_string),
            decode: speed(decode_tokens_per_second),
            prefill: speed(prefill_tokens_per_second),
            answers: record
                .quality
                .as_ref()
                .map(|quality| quality::tally(&self.questions.items, quality)),
            seconds: record.ended_ms.saturating_sub(record.started_ms) as f64 / 1e3,
        }
    }

    /// Loads, times, asks and unloads. A panic of the engine is a crash of this cell alone.
    fn measure(
        &mut self,
        planned: &PlannedCell,
        place: Place,
        engine: &mut dyn Engine,
        loading: Loading,
        samples: &mut Samples,
    ) -> (Result<(), Stopped>, Said) {
        let hosts = &self.machines[&planned.cell.engine].hosts;
        let covering =
            |cards: &GpuUse| Covering::of(&self.infos, self.sampler.along(), hosts, cards);
        let on_event = &mut *self.on_event;
        let mut on_progress = |progress: Progress| on_event(SweepEvent::Progress(progress));
        let mut bench = Bench {
            engine,
            sampler: &self.sampler,
            meters: covering(&GpuUse::default()),
            clock: self.machine.clock.as_ref(),
            context: &self.machine.context,
            stop: &self.options.stop,
            on_progress: &mut on_progress,
        };
        let settings = &self.options.matrix.repetitions;
        let timing = Timing {
            workload: &planned.cell.workload,
            settings,
            sweep: self.facts.sweep,
        };
        // A server that runs on by itself holds its weights before and after.
        let unloads = !engine_spec(self.options, &planned.cell).is_running();
        let questions = &self.questions;
        let Loading { weights, variant } = loading;
        let needs = Needs {
            context_tokens: context_tokens(
                timing.workload,
                questions.context_tokens(variant.vocab_size),
                model_context_tokens(weights),
            ),
            streams: timing.workload.concurrency,
        };
        let work = AssertUnwindSafe(|| {
            bench.note_context(samples);
            if place.is_first && unloads {
                let seconds = settings.idle_unloaded_seconds;
                bench.idle(samples, PhaseKind::IdleUnloaded, seconds)?;
            }
            bench.phase(samples, PhaseKind::Load, None, |bench, _| {
                bench.engine.load(weights, needs)?;
                Ok(Counts::default())
            })?;
            bench.note_context(samples);
            // Which cards work shows once weights are on them.
            bench.meters = covering(&bench.cards());
            bench.idle(samples, PhaseKind::IdleLoaded, settings.idle_loaded_seconds)?;
            if !self.probed {
                // Not waited for: the first warm-up is the load.
                self.sampler.probe();
                self.probed = true;
            }
            time_workload(&mut bench, timing, samples)?;
            quality::ask(&mut bench, questions, variant, timing.workload, samples)
        });
        let ended = catch_unwind(work).unwrap_or_else(|panic| {
            // The message may hold paths: it is for this machine's log, not for the record.
            tracing::error!(panic = panic_text(panic.as_ref()), "the engine panicked");
            Err(Stopped::Failed {
                outcome: Outcome::Crash,
                class: "engine panicked".to_owned(),
            })
        });
        if ended.is_err() {
            bench.note_context(samples);
        }
        // As it is now: a loaded server says more than one that is not.
        let said = Said {
            facts: bench.engine.facts(),
            settings: bench.engine.settings(),
            cards: bench.cards(),
        };
        // The next cell's load replaces the weights; until then they are not needed.
        let _ = catch_unwind(AssertUnwindSafe(|| bench.engine.unload()));
        if place.is_last && unloads && ended.is_ok() {
            let seconds = settings.idle_unloaded_seconds;
            // Stopped here, the cell is whole but for this phase.
            if let Err(stopped) = bench.idle(samples, PhaseKind::IdleUnloaded, seconds) {
                tracing::info!(?stopped, "the last idle phase was cut short");
            }
        }
        (ended, said)
    }

    /// Waits until the machine is about as cool as at the start, where it says how warm it is.
    fn cool(&self) {
        let settings = &self.options.matrix.repetitions;
        let deadline = self.machine.clock.now_ns() as f64 + settings.cool_seconds * 1e9;
        let is_warm = || {
            let now = self.machine.context.temp_mc();
            now.zip(self.start_temp_mc)
                .is_some_and(|(now, start)| now > start + WARMER_MC)
        };
        while is_warm()
            && (self.machine.clock.now_ns() as f64) < deadline
            && !self.options.stop.load(Ordering::Relaxed)
        {
            self.machine.clock.sleep(Duration::from_millis(500));
        }
    }
}

/// What a loaded engine says of itself, and which cards it used.
struct Said {
    facts: EngineFacts,
    settings: Settings,
    cards: GpuUse,
}

/// What is loaded.
#[derive(Debug, Clone, Copy)]
struct Loading<'a> {
    weights: &'a Path,
    variant: &'a VariantFacts,
}

/// Where a cell stands in a sweep.
#[derive(Debug, Clone, Copy)]
struct Place {
    is_first: bool,
    is_last: bool,
}

enum CellEnd {
    Recorded(CellSummary),
    Lost(String),
    Interrupted,
}

/// Expands the matrix, finds out how far an earlier sweep came, and plans the rest.
fn prepare(
    options: &SweepOptions,
    machine: &Machine,
    engines: &mut Engines,
) -> Result<(Plan, StateFile), SweepError> {
    let states = options.data.join("sweeps");
    fs::create_dir_all(&states).map_err(|source| SweepError::Data {
        folder: states.clone(),
        source,
    })?;
    let cells = options.matrix.expand(&model_files(&options.models)?)?;
    let cells = options.filter.pick(cells).map_err(SweepError::Filter)?;
    let known: BTreeMap<String, Result<(EngineFacts, Capabilities), String>> = options
        .matrix
        .engines()
        .iter()
        .filter(|spec| cells.iter().any(|cell| cell.engine == spec.name))
        .map(|spec| {
            let said = engines.before_load(spec);
            (
                spec.name.clone(),
                said.map_err(|error| format!("failed to {error}")),
            )
        })
        .collect();
    let builds: Vec<&EngineFacts> = known.values().flatten().map(|(facts, _)| facts).collect();
    let digest = job_digest(options.matrix.digest(&cells), options.audience, &builds);
    let mut id = [0; 32];
    getrandom::fill(&mut id).map_err(|_| SweepError::Randomness)?;
    // One file a matrix: a quickstart does not forget another matrix's interrupted sweep.
    let path = states.join(format!("{}.json", &digest.to_string()[..16]));
    let state = StateFile::resume_or_begin(
        &path,
        digest,
        Sha256Digest(id),
        options.fresh,
        &options.spool,
    )?;

    let (mut kept, mut refused) = (Vec::new(), Vec::new());
    for cell in cells {
        match unmeasurable(engine_spec(options, &cell), &known[&cell.engine], &cell) {
            None => kept.push(cell),
            Some(reason) => refused.push(SkippedCell { cell, reason }),
        }
    }
    let mut sources: BTreeMap<String, Result<SourceFacts, String>> = BTreeMap::new();
    let source = |file: &str| {
        let facts = sources
            .entry(file.to_owned())
            .or_insert_with(|| source_facts(&options.models, file));
        facts.clone()
    };
    let circumstances = Circumstances {
        sweep: state.state.sweep,
        repetitions: &options.matrix.repetitions,
        questions: &Questions::of(&options.matrix.quality, options.suite_seed),
        available_bytes: machine.available_bytes,
        engines: options.matrix.engines(),
        update: update(machine).or(has_remote_meters(options).then_some(Duration::ZERO)),
        finished: &state.finished(),
    };
    let mut plan = plan(kept, source, &circumstances);
    plan.skipped.extend(refused);
    Ok((plan, state))
}

fn infos(machine: &Machine) -> Vec<MeterInfo> {
    let meters = machine.meters.meters.iter();
    meters.map(|meter| meter.info().clone()).collect()
}

/// How often the slowest meter updates that carries the joules of this machine; zero where that is
/// not known, `None` where none does.
fn update(machine: &Machine) -> Option<Duration> {
    let infos = infos(machine);
    let seats: Vec<_> = infos.iter().map(|info| info.seat(0)).collect();
    let chosen = headline_or_part(&seats, slice::from_ref(&machine.survey.host));
    let slowest = chosen
        .iter()
        .map(|at| infos[*at as usize].update_ns)
        .max()?;
    Some(Duration::from_nanos(slowest.unwrap_or(0)))
}

/// Whether a machine of any engine serves its meters.
fn has_remote_meters(options: &SweepOptions) -> bool {
    let engines = options.matrix.engines().iter();
    let mut hosts = engines.flat_map(|spec| spec.machines.iter().flat_map(|named| &named.hosts));
    hosts.any(|host| host.meter.is_some())
}

/// The engine that a cell names.
fn engine_spec<'a>(options: &'a SweepOptions, cell: &MatrixCell) -> &'a EngineSpec {
    let mut engines = options.matrix.engines().iter();
    engines
        .find(|spec| spec.name == cell.engine)
        .expect("cells are made of the matrix's engines")
}

/// Why a cell cannot be measured, as far as that is known before its engine is loaded.
fn unmeasurable(
    spec: &EngineSpec,
    said: &Result<(EngineFacts, Capabilities), String>,
    cell: &MatrixCell,
) -> Option<String> {
    let (_, can) = match said {
        Ok(said) => said,
        Err(reason) => return Some(reason.clone()),
    };
    if spec.weights() == WeightsForm::HuggingFace
        && !["F16", AS_IS].contains(&cell.quantisation.as_str())
    {
        return Some(format!(
            "{} loads Hugging Face folders, which are written in F16 only",
            spec.name
        ));
    }
    // A server tells what it can do once it is loaded.
    if matches!(spec.kind, EngineKind::OpenAi(_)) {
        return None;
    }
    let workload = &cell.workload;
    if workload.concurrency > can.max_streams {
        return Some(format!(
            "{} answers {} requests at once, the workload asks {}",
            spec.name, can.max_streams, workload.concurrency
        ));
    }
    if workload.kv_state != KvState::Cold && !can.reuses_prefix {
        return Some(format!("{} keeps no prompt cache to measure", spec.name));
    }
    if workload.samples > 1 && !can.client_view {
        return Some(format!("{} answers no questions", spec.name));
    }
    None
}

/// What an interrupted sweep is told apart by: cells finished with another engine build, number
/// of threads or for another collector are other cells.
fn job_digest(matrix: Sha256Digest, audience: Audience, builds: &[&EngineFacts]) -> Sha256Digest {
    let job = serde_json::to_vec(&(matrix, audience, builds)).expect("facts are JSON");
    Sha256Digest::of(&job)
}

fn source_facts(models: &Path, file: &str) -> Result<SourceFacts, String> {
    let path = models.join(file);
    if !path.exists() {
        return Err(format!(
            "{file} is not in {}: put it there, or name its folder with --models",
            models.display()
        ));
    }
    let facts = inspect(&path).map_err(|error| error.to_string())?;
    Ok((facts, model_context_tokens(&path)))
}

/// Names of the files in a folder of weights, at most ten thousand, sorted.
pub fn model_files(folder: &Path) -> Result<Vec<String>, SweepError> {
    let fault = |source| SweepError::Models {
        folder: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(fault)?.take(MAX_MODEL_FILES) {
        files.extend(entry.map_err(fault)?.file_name().into_string());
    }
    files.sort();
    Ok(files)
}

fn variant_spec(source: &Path, cell: &MatrixCell) -> Result<VariantSpec, String> {
    let quant = cell
        .quantisation
        .parse::<Quantisation>()
        .map_err(|error| error.to_string())?;
    Ok(VariantSpec {
        source: source.to_owned(),
        quant,
        prune: cell.pruning.clone(),
    })
}

/// The machines that each engine runs on.
fn machines(
    options: &SweepOptions,
    machine: &mut Machine,
) -> Result<BTreeMap<String, Machines>, MachinesError> {
    let setup = host::recognise(&mut machine.survey, &options.catalogue);
    let here = Machines {
        setup,
        hosts: vec![machine.survey.host.clone()],
        here: Some(0),
    };
    let of = |spec: &EngineSpec| match &spec.machines {
        Some(named) => machines::resolve(named, &machine.survey.host, &options.catalogue),
        None => Ok(here.clone()),
    };
    let engines = options.matrix.engines().iter();
    engines
        .map(|spec| Ok((spec.name.clone(), of(spec)?)))
        .collect()
}

fn sweep_facts(
    options: &SweepOptions,
    machine: &Machine,
    sweep: Sha256Digest,
    asks_suite: bool,
) -> SweepFacts {
    let suite = asks_suite.then(|| SuiteRef {
        version: Name::cleaned(options.matrix.quality.suite.name()),
        digest: Sha256Digest(options.matrix.quality.suite.digest()),
        seed: Sha256Digest(options.suite_seed),
    });
    SweepFacts {
        audience: options.audience,
        sweep,
        suite,
        runner: host::runner_facts(),
        estimate: options.estimate.clone(),
        no_meters: machine.meters.unavailable.clone(),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

#[cfg(test)]
#[path = "sweep/tests.rs"]
mod tests;
