//! Measures one loaded variant: warm-up, repetitions until the interval is narrow enough, a
//! decode loop for joules where there is a counter.
//!
//! Times are taken here, at the client's edge: when a request is sent and when each token comes
//! back. Nothing is deleted: warm-ups and void repetitions stay in the record with the reason.
//!
//! Bounds, so that a record always fits one MiB: [`REPETITIONS_BYTES`] of JSON for all
//! repetitions, [`REPETITION_BYTES`] for one, [`WARMUP_BYTES`] for the warm-ups; what is reached
//! first ends the repetition or the measuring. One request is bounded by the matrix
//! (`MAX_OUTPUT_TOKENS`), quality by `MAX_ITEMS`, traces by the sampler.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domain::ids::Sha256Digest;
use domain::matrix::{RepetitionSettings, WorkloadSpec};
use domain::record::{Context, Finish, Outcome, Phase, PhaseKind, Quality, Repetition, Request};
use domain::statistics::interval::{MedianInterval, median_interval};
use domain::text::Name;

use crate::clock::Clock;
use crate::context::{ContextReader, MAX_PAGED_BYTES};
use crate::engine::{Engine, EngineError, GenerateRequest, Prompt, Sampling};
use crate::meter::sampler::Sampler;
use crate::prompt::Prompts;

/// JSON bytes of all repetitions of a record.
pub const REPETITIONS_BYTES: usize = 512 << 10;
/// JSON bytes of one repetition that is not a single request.
pub const REPETITION_BYTES: usize = 56 << 10;
/// JSON bytes after which no further warm-up is made.
pub const WARMUP_BYTES: usize = 130 << 10;

/// Requests of one warm-up at most.
const WARMUP_REQUESTS: usize = 8;
/// Coefficient of variation of the last three warm-ups at which the engine counts as warm.
const STEADY_CV: f64 = 0.03;
/// Void repetitions in a row that end a cell; two are enough for paging and time limits.
const MAX_VOID: u32 = 3;
/// Prompt of the decode loop: so short that its prefill stays below the 2 % of the joules above
/// which a decode figure from loops is not published.
const LOOP_PROMPT_TOKENS: u32 = 2;
/// Difference of wall and monotonic clock that a running machine does not show in a repetition.
const MAX_CLOCK_DRIFT_MS: u64 = 1_500;

/// What measuring a cell needs of the world.
pub struct Bench<'a> {
    /// The engine.
    pub engine: &'a mut dyn Engine,
    /// The meters' thread.
    pub sampler: &'a Sampler,
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
    /// Prompt and output lengths.
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

    /// Notes the machine's state.
    pub fn note_context(&self, samples: &mut Samples) {
        samples.context.push(self.context.read(self.now(samples)));
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
    /// Prompt tokens.
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

    fn of(repetitions: &[Repetition]) -> Self {
        let mut counts = Self::default();
        for request in repetitions
            .iter()
            .flat_map(|repetition| &repetition.requests)
        {
            counts.add(request.prompt_tokens, request.output_tokens);
        }
        counts
    }
}

/// Warms the engine up, then repeats the workload until its speed is known well enough.
pub fn time_workload(
    bench: &mut Bench,
    timing: Timing,
    samples: &mut Samples,
) -> Result<(), Stopped> {
    let mut prompts = Prompts::new(timing.sweep);
    bench.phase(samples, PhaseKind::Warmup, None, |bench, samples| {
        warm_up(bench, timing, &mut prompts, samples)?;
        Ok(Counts::of(&samples.repetitions))
    })?;
    bench.note_context(samples);
    repeat(bench, timing, &mut prompts, samples)?;
    bench.note_context(samples);
    if bench.sampler.has_meters() {
        match decode_loop(bench, timing, &mut prompts, samples) {
            // What was timed before stands; joules per output token are then unavailable.
            Err(Stopped::Failed { outcome, class }) => {
                tracing::warn!(?outcome, class, "the decode loop for joules failed");
            }
            other => other?,
        }
    }
    Ok(())
}

/// Decode speed of a repetition as the client sees it: output tokens after the first, over the
/// time from the first to the last, pooled over its requests. `None` where nothing was timed.
pub fn decode_tokens_per_second(repetition: &Repetition) -> Option<f64> {
    let timed = repetition.requests.iter().map(|request| {
        (
            request.gaps_us.len() as f64,
            request.gaps_us.iter().sum::<u64>(),
        )
    });
    let (tokens, us) = timed.fold((0.0, 0), |(tokens, us), (n, gap)| (tokens + n, us + gap));
    (us > 0).then(|| tokens / (us as f64 / 1e6))
}

/// Prefill speed of a repetition as the client sees it: prompt tokens over time to first token.
pub fn prefill_tokens_per_second(repetition: &Repetition) -> Option<f64> {
    let timed = repetition.requests.iter().filter_map(|request| {
        let ttft_ns = request.first_event_ns?.checked_sub(request.sent_ns)?;
        Some((f64::from(request.prompt_tokens), ttft_ns))
    });
    let (tokens, ns) = timed.fold((0.0, 0), |(tokens, ns), (n, ttft)| (tokens + n, ns + ttft));
    (ns > 0).then(|| tokens / (ns as f64 / 1e9))
}

/// Median and interval of a speed over the repetitions that count.
pub fn speed_interval(
    repetitions: &[Repetition],
    speed: fn(&Repetition) -> Option<f64>,
) -> Option<MedianInterval> {
    median_interval(&counted(repetitions).filter_map(speed).collect::<Vec<_>>())
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
) -> Result<(), Stopped> {
    let limit = timing.settings.warmup_max;
    let deadline_ns = bench.clock.now_ns() as f64 + timing.settings.minutes_per_cell * 60e9;
    let (mut used, mut void_in_a_row) = (0, 0);
    for done in 0..limit {
        let warmup = repetition(bench, timing, prompts, samples, true)?;
        let speed = decode_tokens_per_second(&warmup);
        used += json_bytes(&warmup);
        void_in_a_row = if warmup.void.is_some() {
            void_in_a_row + 1
        } else {
            0
        };
        samples.repetitions.push(warmup);
        give_up(
            &samples.repetitions[samples.repetitions.len() - 1],
            void_in_a_row,
        )?;
        let progress = Progress {
            phase: PhaseKind::Warmup,
            done: done + 1,
            of: limit,
            tokens_per_second: speed,
        };
        (bench.on_progress)(progress);
        let speeds: Vec<_> = samples
            .repetitions
            .iter()
            .filter_map(decode_tokens_per_second)
            .collect();
        let steady = speeds.len() >= 3 && variation(&speeds[speeds.len() - 3..]) <= STEADY_CV;
        let late = bench.clock.now_ns() as f64 >= deadline_ns;
        if steady || late || (done >= 1 && used >= WARMUP_BYTES) {
            break;
        }
    }
    Ok(())
}

fn repeat(
    bench: &mut Bench,
    timing: Timing,
    prompts: &mut Prompts,
    samples: &mut Samples,
) -> Result<(), Stopped> {
    let settings = timing.settings;
    let began_ns = bench.clock.now_ns();
    let limit_ns = settings.minutes_per_cell * 60e9;
    let mut used = json_bytes(&samples.repetitions);
    let mut largest = 0;
    let mut void_in_a_row = 0;
    for done in 0..settings.max {
        let number = samples.repetitions.len() as u32;
        bench.phase(
            samples,
            PhaseKind::MixedLoop,
            Some(number),
            |bench, samples| {
                let repetition = repetition(bench, timing, prompts, samples, false)?;
                let counts = Counts::of(std::slice::from_ref(&repetition));
                samples.repetitions.push(repetition);
                Ok(counts)
            },
        )?;
        let latest = samples.repetitions.last().expect("one was pushed");
        let tokens_per_second = decode_tokens_per_second(latest);
        (bench.on_progress)(Progress {
            phase: PhaseKind::MixedLoop,
            done: done + 1,
            of: settings.max,
            tokens_per_second,
        });

        void_in_a_row = if latest.void.is_some() {
            void_in_a_row + 1
        } else {
            0
        };
        give_up(latest, void_in_a_row)?;
        let bytes = json_bytes(latest);
        used += bytes;
        largest = largest.max(bytes);
        let full = used + largest > REPETITIONS_BYTES;
        let late = bench.clock.now_ns().saturating_sub(began_ns) as f64 >= limit_ns;
        let enough = counted(&samples.repetitions).count() >= settings.min as usize;
        if full
            || late
            || (enough && is_narrow(&samples.repetitions, settings.target_half_width_percent))
        {
            break;
        }
    }
    Ok(())
}

/// Ends the cell when repetitions keep being void.
fn give_up(latest: &Repetition, void_in_a_row: u32) -> Result<(), Stopped> {
    let Some(reason) = &latest.void else {
        return Ok(());
    };
    let paging = latest
        .paged_bytes
        .is_some_and(|bytes| bytes > MAX_PAGED_BYTES);
    let late = latest
        .requests
        .iter()
        .any(|request| request.finish == Finish::Timeout);
    match (paging, late) {
        (true, _) if void_in_a_row >= 2 => Err(Stopped::failed(Outcome::Paging, "paging")),
        (_, true) if void_in_a_row >= 2 => Err(Stopped::failed(Outcome::Timeout, "time limit")),
        _ if void_in_a_row >= MAX_VOID => Err(Stopped::failed(Outcome::Crash, reason.to_string())),
        _ => Ok(()),
    }
}

fn is_narrow(repetitions: &[Repetition], target_percent: f64) -> bool {
    [
        decode_tokens_per_second as fn(&Repetition) -> Option<f64>,
        prefill_tokens_per_second,
    ]
    .into_iter()
    .all(|speed| {
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

/// One repetition or warm-up: requests until it lasted long enough.
fn repetition(
    bench: &mut Bench,
    timing: Timing,
    prompts: &mut Prompts,
    samples: &Samples,
    warmup: bool,
) -> Result<Repetition, Stopped> {
    let peak_was_reset = bench.context.reset_peak();
    let paged_before = bench.context.paged_bytes();
    let wall_before_ms = bench.clock.unix_ms();
    let min_ns = (timing.settings.min_seconds * 1e9) as u64;
    let max_tokens = timing.settings.or_output_tokens.map_or(u64::MAX, u64::from);

    let mut requests: Vec<Request> = Vec::new();
    let mut transcript = Vec::new();
    let mut void = None;
    let (mut tokens, mut used, mut largest) = (0, 0, 0);
    let start_ns = bench.now(samples);
    let end_ns = loop {
        bench.check_stop()?;
        let text = prompts.next(timing.workload.prompt_tokens);
        let prompt = bench
            .engine
            .fit_prompt(&text, timing.workload.prompt_tokens)?;
        let (request, output, fault) = timed_request(
            bench,
            timing,
            samples,
            prompt,
            timing.workload.output_tokens,
        )?;
        let now = bench.now(samples);
        transcript.extend(output.iter().flat_map(|token| token.to_le_bytes()));
        tokens += u64::from(request.output_tokens);
        let bytes = json_bytes(&request);
        used += bytes;
        largest = largest.max(bytes);
        requests.push(request);
        void = void.or(fault);
        let long_enough = now - start_ns >= min_ns || tokens >= max_tokens;
        let full =
            used + largest > REPETITION_BYTES || (warmup && requests.len() >= WARMUP_REQUESTS);
        if long_enough || full || void.is_some() {
            break now;
        }
    };

    let wall_ms = bench.clock.unix_ms().abs_diff(wall_before_ms);
    if wall_ms.abs_diff((end_ns - start_ns) / 1_000_000) > MAX_CLOCK_DRIFT_MS {
        void = void
            .or_else(|| Some("the machine was suspended, or its wall clock was set".to_owned()));
    }
    let paged_bytes = bench
        .context
        .paged_bytes()
        .zip(paged_before)
        .map(|(after, before)| after.saturating_sub(before));
    if let Some(paged) = paged_bytes.filter(|paged| *paged > MAX_PAGED_BYTES) {
        void = void.or_else(|| Some(format!("{paged} bytes were paged in")));
    }
    Ok(Repetition {
        rep: samples.repetitions.len() as u32,
        warmup,
        void: void.map(|reason| Name::cleaned(&reason)),
        start_ns,
        end_ns,
        peak_bytes: bench.context.peak_bytes(peak_was_reset),
        paged_bytes,
        requests,
        transcript_sha256: Some(Sha256Digest::of(&transcript)),
    })
}

/// One cold request with forced length, stamped at this edge; with the reason if it is void.
fn timed_request(
    bench: &mut Bench,
    timing: Timing,
    samples: &Samples,
    prompt: Prompt,
    output_tokens: u32,
) -> Result<(Request, Vec<u32>, Option<String>), Stopped> {
    let Prompt::Exact { length: asked, .. } = prompt else {
        unreachable!("timed prompts have an exact length");
    };
    let request = GenerateRequest {
        prompt,
        max_output_tokens: output_tokens,
        ban_eos: true,
        deadline: deadline(timing.settings.minutes_per_cell * 60.0),
        sampling: Sampling::Greedy,
        reuse_cache: false,
    };
    let (clock, zero_ns) = (bench.clock, samples.zero_ns);
    let now = || clock.now_ns().saturating_sub(zero_ns);
    let mut stamps = Vec::with_capacity(output_tokens as usize);
    let sent_ns = now();
    let generated = bench
        .engine
        .generate(&request, &mut |_| stamps.push(now()))?;

    let emitted = generated.output_tokens;
    let cached = generated.cached_tokens.unwrap_or(0);
    let fault = if generated.finish == Finish::Timeout {
        Some("the time limit was hit".to_owned())
    } else if emitted != output_tokens {
        Some(format!(
            "{emitted} tokens ({} events) came back, {output_tokens} were asked for",
            stamps.len()
        ))
    } else if generated.prompt_tokens != asked {
        Some(format!(
            "{} prompt tokens were processed, {asked} were sent",
            generated.prompt_tokens
        ))
    } else if cached > 0 {
        Some(format!(
            "{cached} prompt tokens of a cold request came from a cache"
        ))
    } else {
        None
    };
    let recorded = Request {
        stream: 0,
        sent_ns,
        first_visible_ns: stamps.first().copied(),
        first_event_ns: stamps.first().copied(),
        gaps_us: gaps_us(&stamps),
        event_tokens: generated.event_tokens,
        prompt_tokens: generated.prompt_tokens,
        cached_tokens: generated.cached_tokens,
        output_tokens: emitted,
        reasoning_tokens: generated.reasoning_tokens,
        passes: generated.passes,
        accepted_tokens: generated.accepted_tokens,
        token_source: generated.token_source,
        finish: generated.finish,
        engine_prefill_ns: generated.engine_prefill_ns,
        engine_decode_ns: generated.engine_decode_ns,
    };
    Ok((recorded, generated.output, fault))
}

/// Decoding alone for so long that a counter resolves it: as long a context as the workload's,
/// almost all of it output.
fn decode_loop(
    bench: &mut Bench,
    timing: Timing,
    prompts: &mut Prompts,
    samples: &mut Samples,
) -> Result<(), Stopped> {
    let workload = timing.workload;
    let output_tokens = (workload.prompt_tokens + workload.output_tokens)
        .saturating_sub(LOOP_PROMPT_TOKENS)
        .max(2);
    let min_ns = (timing.settings.energy_seconds * 1e9) as u64;
    bench.phase(samples, PhaseKind::DecodeLoop, None, |bench, samples| {
        let mut counts = Counts::default();
        let start_ns = bench.now(samples);
        while bench.now(samples) - start_ns < min_ns {
            bench.check_stop()?;
            let text = prompts.next(LOOP_PROMPT_TOKENS);
            let prompt = bench.engine.fit_prompt(&text, LOOP_PROMPT_TOKENS)?;
            let (request, _, fault) = timed_request(bench, timing, samples, prompt, output_tokens)?;
            if let Some(reason) = fault {
                return Err(Stopped::failed(Outcome::Crash, reason));
            }
            counts.add(request.prompt_tokens, request.output_tokens);
        }
        (bench.on_progress)(Progress {
            phase: PhaseKind::DecodeLoop,
            done: 1,
            of: 1,
            tokens_per_second: None,
        });
        Ok(counts)
    })
}

/// A moment so many seconds from now; none if that is beyond what the clock can say.
pub(crate) fn deadline(seconds: f64) -> Option<Instant> {
    Instant::now().checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

/// Gaps between stamps. Every stamp is rounded, not every gap, so that the gaps of a long output
/// still add up to its duration.
fn gaps_us(stamps: &[u64]) -> Vec<u64> {
    let rounded = |ns: u64| (ns + 500) / 1_000;
    stamps
        .windows(2)
        .map(|pair| rounded(pair[1]) - rounded(pair[0]))
        .collect()
}

/// Coefficient of variation.
fn variation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / (n - 1.0);
    variance.sqrt() / mean
}

fn json_bytes<T: serde::Serialize>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

#[cfg(test)]
#[path = "measure/tests.rs"]
mod tests;
