//! Measures one loaded variant: warm-up, repetitions until the interval is narrow enough, and
//! where a meter covers the work what joules by phase need (`joules.rs`, `unforced.rs`).
//!
//! Times are taken here, at the client's edge: when a request is sent and when each token comes
//! back (`request.rs`), in one or several streams (`span.rs`); an engine that only times itself has
//! a way of its own (`self_timed.rs`). Nothing is deleted: warm-ups and void repetitions stay in
//! the record with the reason.
//!
//! Bounds, so that a record always fits one MiB: [`REPETITIONS_BYTES`] of JSON for all
//! repetitions, [`REPETITION_BYTES`] for one, [`WARMUP_BYTES`] for the warm-ups; what is reached
//! first ends the repetition or the measuring. Answers take what repetitions leave, at least
//! [`ANSWERS_BYTES`]. What cannot fit is refused by the plan ([`least_bytes`]). One request is bounded by the matrix (`MAX_OUTPUT_TOKENS`), quality by
//! `MAX_ITEMS`, traces by the sampler.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domain::ids::Sha256Digest;
use domain::matrix::{RepetitionSettings, WorkloadSpec};
use domain::record::{
    AttributionMethod, Context, KvState, Outcome, Phase, PhaseKind, Quality, Repetition,
};
use domain::speeds;
use domain::statistics::coefficient_of_variation;
use domain::statistics::interval::{MedianInterval, median_interval};
use domain::text::Name;

use crate::clock::Clock;
use crate::context::{ContextReader, MAX_PAGED_BYTES};
use crate::engine::{Capabilities, Engine, EngineError, Processes, Prompt};
use crate::meter::nvml::GpuUse;
use crate::meter::sampler::Sampler;
use crate::prompt::Prompts;

mod joules;
mod request;
mod self_timed;
mod span;
mod unforced;

pub use joules::{Covering, SHORT_LOOP, idle_seconds, is_direct, loop_seconds};
use request::{Ask, Fault};
use span::{Length, Ran};

/// JSON bytes of all repetitions of a record.
pub const REPETITIONS_BYTES: usize = 512 << 10;
/// JSON bytes of all answers of a record whose repetitions take all of theirs.
pub const ANSWERS_BYTES: usize = 280 << 10;
/// JSON bytes of one repetition that holds more than the least requests.
pub const REPETITION_BYTES: usize = 56 << 10;
/// JSON bytes after which no further warm-up is made.
pub const WARMUP_BYTES: usize = 130 << 10;

/// Requests that each of several streams finishes in a repetition.
const STREAM_REQUESTS: u32 = 3;
/// Requests of one stream in a warm-up at most.
const WARMUP_REQUESTS: usize = 8;
/// Coefficient of variation of the last three warm-ups at which the engine counts as warm.
const STEADY_CV: f64 = 0.03;
/// Void repetitions in a row that end a cell; two are enough for paging and time limits.
const MAX_VOID: u32 = 3;
/// Most prompts that are made for one span: what an engine of microseconds per token asks for.
const MAX_ASKS: usize = 100_000;
/// Difference of wall and monotonic clock that a running machine does not show in a repetition.
const MAX_CLOCK_DRIFT_MS: u64 = 1_500;
/// JSON bytes of a request besides its gaps: at least, and with long stamps.
const REQUEST_BYTES: (usize, usize) = (300, 450);
/// JSON bytes of a gap with its comma: below ten microseconds, and below a second.
const GAP_BYTES: (usize, usize) = (2, 7);

/// What measuring a cell needs of the world.
pub struct Bench<'a> {
    /// The engine.
    pub engine: &'a mut dyn Engine,
    /// The meters' threads.
    pub sampler: &'a Sampler,
    /// Which of them carry the joules of this engine's machines.
    pub meters: Covering,
    /// The clock.
    pub clock: &'a dyn Clock,
    /// The machine's state.
    pub context: &'a ContextReader,
    /// Set to stop between two requests.
    pub stop: &'a AtomicBool,
    /// Told how far the cell is.
    pub on_progress: &'a mut dyn FnMut(Progress),
}

/// How far a cell is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub phase: PhaseKind,
    /// Units done: warm-ups, repetitions or items.
    pub done: u32,
    /// Units planned; repetitions may end earlier.
    pub of: u32,
    /// Output tokens per second in the last unit, as the client sees them.
    pub tokens_per_second: Option<f64>,
    /// Time until this phase's end, where what is left is known.
    pub seconds_left: Option<f64>,
}

/// The raw samples of one cell, filled as it is measured.
#[derive(Debug, Default)]
pub struct Samples {
    /// Where the record's clock begins.
    pub zero_ns: u64,
    /// Wall clock at the start.
    pub started_ms: u64,
    /// Repetitions and warm-ups.
    pub repetitions: Vec<Repetition>,
    /// Spans.
    pub phases: Vec<Phase>,
    /// How joules can be given to prefill and decode; `None` where that was not reached.
    pub method: Option<AttributionMethod>,
    /// The machine's state at phase edges.
    pub context: Vec<Context>,
    /// Answers.
    pub quality: Option<Quality>,
}

impl Samples {
    /// Begins a record now.
    pub fn begin(clock: &dyn Clock) -> Self {
        Self {
            zero_ns: clock.now_ns(),
            started_ms: clock.unix_ms(),
            ..Self::default()
        }
    }
}

/// Why a cell ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// It failed: to be published as failed.
    Failed {
        /// How.
        outcome: Outcome,
        /// In a few words, without paths.
        class: String,
    },
    /// A person stopped it: to be measured again.
    Interrupted,
}

impl Stopped {
    fn failed(outcome: Outcome, class: impl Into<String>) -> Self {
        Self::Failed {
            outcome,
            class: class.into(),
        }
    }
}

impl From<EngineError> for Stopped {
    fn from(error: EngineError) -> Self {
        tracing::warn!(%error, "the engine failed");
        Self::failed(error.outcome(), error.class())
    }
}

/// The workload as measured.
#[derive(Debug, Clone, Copy)]
pub struct Timing<'a> {
    /// What is asked.
    pub workload: &'a WorkloadSpec,
    /// How often and how long.
    pub settings: &'a RepetitionSettings,
    /// Seeds the prompts.
    pub sweep: Sha256Digest,
}

impl std::fmt::Debug for Bench<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench")
            .field("engine", &self.engine.facts().name)
            .finish_non_exhaustive()
    }
}

impl Bench<'_> {
    /// Time of the record that `samples` belongs to.
    pub fn now(&self, samples: &Samples) -> u64 {
        self.clock.now_ns().saturating_sub(samples.zero_ns)
    }

    /// Runs `work` as one phase: readings at both edges, counts from `work`.
    pub fn phase(
        &mut self,
        samples: &mut Samples,
        kind: PhaseKind,
        rep: Option<u32>,
        work: impl FnOnce(&mut Self, &mut Samples) -> Result<Counts, Stopped>,
    ) -> Result<(), Stopped> {
        self.sampler.mark();
        let start_ns = self.now(samples);
        let counts = work(self, samples)?;
        let end_ns = self.now(samples);
        self.sampler.mark();
        let Counts {
            requests,
            tokens_in,
            tokens_out,
        } = counts;
        samples.phases.push(Phase {
            phase: kind,
            rep,
            host: 0,
            start_ns,
            end_ns,
            requests,
            tokens_in,
            tokens_out,
        });
        Ok(())
    }

    /// Which graphics processors the engine uses, to be asked while it is loaded.
    pub fn cards(&self) -> GpuUse {
        let (processes, facts) = (self.engine.processes(), self.engine.facts());
        let backend = facts.backend.as_str();
        self.context.gpus_in_use(&processes, backend)
    }

    /// Notes the machine's state.
    pub fn note_context(&self, samples: &mut Samples) {
        let (processes, facts) = (self.engine.processes(), self.engine.facts());
        let at_ns = self.now(samples);
        let state = self
            .context
            .read_with(at_ns, &processes, facts.backend.as_str());
        samples.context.push(state);
    }

    /// An error if a person wants to stop.
    pub fn check_stop(&self) -> Result<(), Stopped> {
        if self.stop.load(Ordering::Relaxed) {
            Err(Stopped::Interrupted)
        } else {
            Ok(())
        }
    }
}

/// Requests and tokens of a phase.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Requests.
    pub requests: u32,
    /// Prompt tokens processed: those that no cache served.
    pub tokens_in: u64,
    /// Output tokens.
    pub tokens_out: u64,
}

impl Counts {
    /// Adds one request.
    pub fn add(&mut self, tokens_in: u32, tokens_out: u32) {
        self.requests += 1;
        self.tokens_in += u64::from(tokens_in);
        self.tokens_out += u64::from(tokens_out);
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.tokens_in += other.tokens_in;
        self.tokens_out += other.tokens_out;
    }
}

/// Warms the engine up, then repeats the workload until its speed is known well enough. An engine
/// that cannot do what the workload asks fails at once, before anything is timed.
pub fn time_workload(
    bench: &mut Bench,
    timing: Timing,
    samples: &mut Samples,
) -> Result<(), Stopped> {
    let capabilities = bench.engine.capabilities();
    if let Some(lack) = lack(&capabilities, timing.workload) {
        return Err(Stopped::failed(Outcome::Unsupported, lack));
    }
    if !capabilities.client_view {
        return self_timed::time_itself(bench, timing, samples);
    }
    let mut prompts = Prompts::new(timing.sweep, samples.started_ms);
    match time_requests(bench, timing, &mut prompts, samples) {
        Err(Stopped::Failed { .. }) if unforced::is_unforced(bench, timing, samples) => {
            return unforced::requests(bench, timing, &mut prompts, samples);
        }
        timed => timed?,
    }
    if bench.has_joules() && samples.method == Some(AttributionMethod::Loops) {
        joules::loops(bench, timing, &mut prompts, samples)?;
    }
    Ok(())
}

fn time_requests(
    bench: &mut Bench,
    timing: Timing,
    prompts: &mut Prompts,
    samples: &mut Samples,
) -> Result<(), Stopped> {
    bench.phase(samples, PhaseKind::Warmup, None, |bench, samples| {
        warm_up(bench, timing, prompts, samples)
    })?;
    bench.note_context(samples);
    samples.method = Some(joules::method(bench, timing, samples));
    repeat(bench, timing, prompts, samples)?;
    bench.note_context(samples);
    Ok(())
}

/// What the engine lacks for the workload, in words for a record.
fn lack(capabilities: &Capabilities, workload: &WorkloadSpec) -> Option<String> {
    let streams = workload.concurrency;
    let cold = workload.kv_state == KvState::Cold;
    if !capabilities.client_view {
        if streams > 1 {
            return Some(format!("it times itself, never {streams} requests at once"));
        }
        return match (workload.kv_state, workload.depth_tokens) {
            (KvState::Cold, 0) | (KvState::WarmPrefix, _) => None,
            (KvState::Cold, _) => Some(
                "it times itself behind a context that is loaded before: warm_prefix, not cold"
                    .to_owned(),
            ),
            (KvState::ExactHit, _) => Some("it times itself, without a cache".to_owned()),
        };
    }
    if !cold && !capabilities.reuses_prefix {
        Some("no prefix cache".to_owned())
    } else if !cold && !capabilities.reports_cached_tokens {
        Some("it does not say what its cache served".to_owned())
    } else if streams > capabilities.max_streams {
        let most = capabilities.max_streams;
        Some(format!("{streams} requests at once: it takes {most}"))
    } else {
        None
    }
}

/// JSON bytes of the fewest repetitions and warm-ups that a workload can be measured with.
pub fn least_bytes(workload: &WorkloadSpec, settings: &RepetitionSettings) -> usize {
    let request = REQUEST_BYTES.1 + GAP_BYTES.1 * workload.output_tokens as usize;
    let streams = workload.concurrency as usize;
    let repetitions = settings.min as usize * least_requests(workload) as usize;
    (2 + repetitions) * streams * request
}

/// Requests that every stream finishes in a repetition.
fn least_requests(workload: &WorkloadSpec) -> u32 {
    if workload.concurrency > 1 {
        STREAM_REQUESTS
    } else {
        1
    }
}

/// Decode speed of a repetition: as the client sees it, of several streams that of one of them;
/// by the engine's own clock where that is all there is. `None` where nothing was timed.
pub fn decode_tokens_per_second(repetition: &Repetition) -> Option<f64> {
    speeds::decode_tokens_per_second(repetition)
        .or_else(|| speeds::engine_decode_tokens_per_second(repetition))
}

/// Prefill speed of a repetition, likewise.
pub fn prefill_tokens_per_second(repetition: &Repetition) -> Option<f64> {
    speeds::prefill_tokens_per_second(repetition)
        .or_else(|| speeds::engine_prefill_tokens_per_second(repetition))
}

/// Median and interval of a speed over the repetitions that count.
pub fn speed_interval(
    repetitions: &[Repetition],
    speed: fn(&Repetition) -> Option<f64>,
) -> Option<MedianInterval> {
    median_interval(&counted(repetitions).filter_map(speed).collect::<Vec<_>>())
}

/// A figure of a repetition.
type Speed = fn(&Repetition) -> Option<f64>;

/// The figures that must be known well enough; the first also tells whether the engine is warm.
fn watched(workload: &WorkloadSpec, client_view: bool) -> Vec<Speed> {
    if !client_view {
        return vec![
            speeds::engine_decode_tokens_per_second,
            speeds::engine_prefill_tokens_per_second,
        ];
    }
    match workload.kv_state {
        KvState::ExactHit => vec![speeds::mean_ttft_seconds],
        _ if workload.concurrency > 1 => vec![speeds::aggregate_tokens_per_second],
        KvState::Cold | KvState::WarmPrefix => vec![
            speeds::decode_tokens_per_second,
            speeds::prefill_tokens_per_second,
        ],
    }
}

fn counted(repetitions: &[Repetition]) -> impl Iterator<Item = &Repetition> {
    repetitions
        .iter()
        .filter(|repetition| !repetition.warmup && repetition.void.is_none())
}

fn warm_up(
    bench: &mut Bench,
    timing: Timing,
    prompts: &mut Prompts,
    samples: &mut Samples,
) -> Result<Counts, Stopped> {
    let limit = timing.settings.warmup_max;
    let deadline_ns = bench.clock.now_ns() as f64 + timing.settings.minutes_per_cell * 60e9;
    let speed = watched(timing.workload, true)[0];
    let mut counts = Counts::default();
    let mut voids = Voids::default();
    let mut used = 0;
    for done in 0..limit {
        let asks = asks(bench, timing, prompts, samples, true)?;
        let (warmup, fault, added) = repetition(bench, timing, samples, asks, true)?;
        counts += added;
        used += json_bytes(&warmup);
        samples.repetitions.push(warmup);
        voids.after(samples.repetitions.last(), fault)?;
        report(bench, timing, samples, PhaseKind::Warmup, done + 1, limit);
        let speeds: Vec<_> = samples.repetitions.iter().filter_map(speed).collect();
        let steady = speeds.len() >= 3
            && coefficient_of_variation(&speeds[speeds.len() - 3..])
                .is_some_and(|spread| spread <= STEADY_CV);
        let late = bench.clock.now_ns() as f64 >= deadline_ns;
        if steady || late || (done >= 1 && used >= WARMUP_BYTES) {
            break;
        }
    }
    Ok(counts)
}

fn repeat(
    bench: &mut Bench,
    timing: Timing,
    prompts: &mut Prompts,
    samples: &mut Samples,
) -> Result<(), Stopped> {
    let (workload, settings) = (timing.workload, timing.settings);
    let watched = watched(workload, true);
    let began_ns = bench.clock.now_ns();
    let limit_ns = settings.minutes_per_cell * 60e9;
    let mut used = json_bytes(&samples.repetitions);
    let mut voids = Voids::default();
    let (mut largest, mut lasted_ns) = (0, 0);
    for done in 0..settings.max {
        let number = Some(samples.repetitions.len() as u32);
        let asks = asks(bench, timing, prompts, samples, false)?;
        let mut fault = None;
        bench.phase(samples, PhaseKind::MixedLoop, number, |bench, samples| {
            let (repetition, spoiled, counts) = repetition(bench, timing, samples, asks, false)?;
            samples.repetitions.push(repetition);
            fault = spoiled;
            Ok(counts)
        })?;
        voids.after(samples.repetitions.last(), fault)?;
        report(
            bench,
            timing,
            samples,
            PhaseKind::MixedLoop,
            done + 1,
            settings.max,
        );
        let latest = samples.repetitions.last().expect("one was pushed");
        lasted_ns += latest.end_ns - latest.start_ns;
        let bytes = json_bytes(latest);
        used += bytes;
        largest = largest.max(bytes);
        let full = used + largest > REPETITIONS_BYTES;
        let late = bench.clock.now_ns().saturating_sub(began_ns) as f64 >= limit_ns;
        let enough = counted(&samples.repetitions).count() >= settings.min as usize
            && (workload.concurrency == 1
                || lasted_ns as f64 >= settings.concurrency_seconds * 1e9);
        let target = settings.target_half_width_percent;
        if full || late || (enough && is_narrow(&samples.repetitions, &watched, target)) {
            break;
        }
    }
    Ok(())
}

fn report(
    bench: &mut Bench,
    timing: Timing,
    samples: &Samples,
    phase: PhaseKind,
    done: u32,
    of: u32,
) {
    let has_rate = timing.workload.kv_state != KvState::ExactHit;
    let speed = watched(timing.workload, true)[0];
    let tokens_per_second = samples
        .repetitions
        .last()
        .filter(|_| has_rate)
        .and_then(speed);
    (bench.on_progress)(Progress {
        phase,
        done,
        of,
        tokens_per_second,
        seconds_left: None,
    });
}

/// Counts void repetitions, and ends the cell when they keep coming.
#[derive(Default)]
struct Voids {
    in_a_row: u32,
}

impl Voids {
    fn after(&mut self, latest: Option<&Repetition>, fault: Option<Fault>) -> Result<(), Stopped> {
        let Some(fault) = fault else {
            self.in_a_row = 0;
            return Ok(());
        };
        self.in_a_row += 1;
        let paging = latest
            .and_then(|latest| latest.paged_bytes)
            .is_some_and(|bytes| bytes > MAX_PAGED_BYTES);
        let (most, outcome, class) = match fault {
            _ if paging => (2, Outcome::Paging, "paging".to_owned()),
            Fault::Timeout => (2, Outcome::Timeout, "time limit".to_owned()),
            Fault::Cached { .. } => (
                MAX_VOID,
                Outcome::Unsupported,
                "its cache cannot be kept out of cold requests".to_owned(),
            ),
            Fault::NotCached { .. } => (
                MAX_VOID,
                Outcome::Unsupported,
                "its cache does not keep what was loaded".to_owned(),
            ),
            other => (MAX_VOID, Outcome::Crash, other.to_string()),
        };
        if self.in_a_row >= most {
            Err(Stopped::failed(outcome, class))
        } else {
            Ok(())
        }
    }
}

fn is_narrow(repetitions: &[Repetition], watched: &[Speed], target_percent: f64) -> bool {
    watched.iter().all(|speed| {
        let values: Vec<_> = counted(repetitions).filter_map(speed).collect();
        match median_interval(&values) {
            Some(interval) => interval
                .relative_half_width()
                .is_some_and(|half| half * 100.0 <= target_percent),
            // Fewer values than an interval needs were asked for.
            None => true,
        }
    })
}

/// The prompts of one repetition, made before it begins: as many as it will need, going by the
/// one before.
fn asks(
    bench: &mut Bench,
    timing: Timing,
    prompts: &mut Prompts,
    samples: &Samples,
    warmup: bool,
) -> Result<Vec<Ask>, Stopped> {
    let workload = timing.workload;
    let streams = workload.concurrency as usize;
    let length = length(timing, warmup);
    let by_tokens = length
        .max_tokens
        .div_ceil(u64::from(workload.output_tokens));
    let by_tokens = usize::try_from(by_tokens).unwrap_or(usize::MAX);
    let pace = samples.repetitions.last().and_then(mean_request_ns);
    let mut each = match pace {
        // A quarter more than the last one's pace asks for, and not one of the very long ones.
        Some(request_ns) => {
            let by_time = (length.min_ns as f64 / request_ns * 1.25 + 0.5).ceil();
            by_tokens.min(by_time as usize)
        }
        None if warmup => 2,
        None => by_tokens,
    };
    if warmup {
        each = each.min(WARMUP_REQUESTS);
    }
    let shortest = REQUEST_BYTES.0 + GAP_BYTES.0 * workload.output_tokens as usize;
    let by_bytes = length.max_bytes / shortest + streams;
    // A fast stream may take more than its share before a slow one has its least.
    let least = if streams > 1 {
        (length.least as usize + 2) * streams
    } else {
        1
    };
    let count = each.saturating_mul(streams).min(by_bytes).min(MAX_ASKS);
    (0..count.max(least))
        .map(|_| Ok(ask(bench.engine, workload, prompts)?))
        .collect()
}

/// Mean time from sending a request to its last token.
fn mean_request_ns(repetition: &Repetition) -> Option<f64> {
    let times: Vec<f64> = repetition
        .requests
        .iter()
        .filter_map(|request| speeds::last_event_ns(request)?.checked_sub(request.sent_ns))
        .map(|ns| ns as f64)
        .collect();
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    (mean > 0.0).then_some(mean)
}

/// The next prompt, with what is loaded before it.
fn ask(
    engine: &mut dyn Engine,
    workload: &WorkloadSpec,
    prompts: &mut Prompts,
) -> Result<Ask, EngineError> {
    let tokens = workload.depth_tokens + workload.prompt_tokens;
    let text = prompts.next(tokens);
    let prompt = engine.fit_prompt(&text, tokens)?;
    let before = match workload.kv_state {
        KvState::Cold => None,
        KvState::ExactHit => Some(prompt.clone()),
        KvState::WarmPrefix => {
            let context = engine.fit_prompt(&text, workload.depth_tokens)?;
            if !begins_with(&prompt, &context) {
                return Err(EngineError::NoPrompt {
                    tokens,
                    reason: "it does not begin with the context that is loaded before".to_owned(),
                });
            }
            Some(context)
        }
    };
    Ok(Ask { before, prompt })
}

/// By tokens where both say them, else by text: there, the token at the cut may be another.
fn begins_with(prompt: &Prompt, context: &Prompt) -> bool {
    match (prompt, context) {
        (
            Prompt::Exact { tokens, text, .. },
            Prompt::Exact {
                tokens: context_tokens,
                text: context_text,
                ..
            },
        ) if tokens.is_empty() || context_tokens.is_empty() => text.starts_with(context_text),
        (
            Prompt::Exact { tokens, .. },
            Prompt::Exact {
                tokens: context_tokens,
                ..
            },
        ) => tokens.starts_with(context_tokens),
        _ => false,
    }
}

/// How long a repetition or warm-up lasts.
fn length(timing: Timing, warmup: bool) -> Length {
    let (workload, settings) = (timing.workload, timing.settings);
    let several = workload.concurrency > 1;
    let seconds = if several && !warmup {
        let share = settings.concurrency_seconds / f64::from(settings.min);
        share.max(settings.min_seconds)
    } else {
        settings.min_seconds
    };
    Length {
        least: if warmup { 1 } else { least_requests(workload) },
        min_ns: (seconds * 1e9) as u64,
        // Several streams emit that many long before they are steady.
        max_tokens: settings
            .or_output_tokens
            .filter(|_| !several)
            .map_or(u64::MAX, u64::from),
        max_bytes: REPETITION_BYTES,
    }
}

/// One repetition or warm-up, with the reason if it does not count.
fn repetition(
    bench: &mut Bench,
    timing: Timing,
    samples: &Samples,
    asks: Vec<Ask>,
    warmup: bool,
) -> Result<(Repetition, Option<Fault>, Counts), Stopped> {
    let watch = Watch::begin(bench);
    let Ran {
        start_ns,
        end_ns,
        requests,
        transcript,
        fault,
        counts,
    } = span::run(
        bench,
        timing,
        samples,
        &mut asks.into(),
        length(timing, warmup),
    )?;
    bench.check_stop()?;
    let (peak_bytes, paged_bytes, trouble) = watch.end(bench, end_ns - start_ns);
    let fault = fault.or(trouble);
    let repetition = Repetition {
        rep: samples.repetitions.len() as u32,
        warmup,
        void: fault.as_ref().map(void_reason),
        start_ns,
        end_ns,
        peak_bytes,
        paged_bytes,
        requests,
        transcript_sha256: (!transcript.is_empty()).then(|| Sha256Digest::of(&transcript)),
    };
    Ok((repetition, fault, counts))
}

fn void_reason(fault: &Fault) -> Name {
    Name::cleaned(&fault.to_string())
}

/// What may befall the machine during a repetition.
struct Watch {
    processes: Processes,
    peak_was_reset: bool,
    paged_bytes: Option<u64>,
    wall_ms: u64,
}

impl Watch {
    fn begin(bench: &Bench) -> Self {
        let processes = bench.engine.processes();
        Self {
            peak_was_reset: bench.context.reset_peak_of(&processes),
            paged_bytes: bench.context.paged_bytes_of(&processes),
            wall_ms: bench.clock.unix_ms(),
            processes,
        }
    }

    /// Peak memory, paged bytes, and what spoils a repetition that lasted so long.
    fn end(&self, bench: &Bench, lasted_ns: u64) -> (Option<u64>, Option<u64>, Option<Fault>) {
        let wall_ms = bench.clock.unix_ms().abs_diff(self.wall_ms);
        let suspended = wall_ms.abs_diff(lasted_ns / 1_000_000) > MAX_CLOCK_DRIFT_MS;
        let paged_bytes = bench
            .context
            .paged_bytes_of(&self.processes)
            .zip(self.paged_bytes)
            .map(|(after, before)| after.saturating_sub(before));
        let paged = paged_bytes
            .filter(|bytes| *bytes > MAX_PAGED_BYTES)
            .map(|bytes| Fault::Paged { bytes });
        let trouble = suspended.then_some(Fault::Suspended).or(paged);
        let peak = bench
            .context
            .peak_bytes_of(&self.processes, self.peak_was_reset);
        (peak, paged_bytes, trouble)
    }
}

/// A moment so many seconds from now; none if that is beyond what the clock can say.
pub(crate) fn deadline(seconds: f64) -> Option<Instant> {
    Instant::now().checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

pub(crate) fn json_bytes<T: serde::Serialize>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

#[cfg(test)]
mod real_server;
#[cfg(test)]
mod tests;
