//! What is run so that joules can be given to prefill and decode, where a meter covers the work.
//!
//! How they are given is chosen once the engine is warm, from what a request lasts and from the
//! update period T of the slowest meter behind the headline. Where both parts of a real request
//! hold enough of T, real requests are enough (`direct`). Else two loops follow the repetitions,
//! one of prompts with a single output token and one of short prompts with long outputs (`loops`),
//! and a brief one that tells what those short prompts took; the repetitions are what their sum is checked against. An engine whose output lengths cannot
//! be forced gets neither (`unforced.rs`).
//!
//! A loop is written as blocks, phases that follow each other without a pause, so that it can be
//! seen how well its figure repeats. Joules are worked out later, from the whole record; what is
//! watched here is the time that a token takes, by the same rule as that of the repetitions.
//!
//! Bounds: [`MAX_BLOCKS`] phases a loop, [`MAX_LOOP_SECONDS`] and [`MAX_IDLE_SECONDS`] for slow
//! meters; a stop is heeded between two requests, and twice a second while idle.

use std::collections::VecDeque;
use std::time::Duration;

use domain::energy::keys::Seat;
use domain::energy::phases::DIRECT_TICKS;
use domain::matrix::{RepetitionSettings, WorkloadSpec};
use domain::record::{AttributionMethod, Host, KvState, Outcome, Phase, PhaseKind};
use domain::speeds;
use domain::statistics::interval::median_interval;

use super::request::Ask;
use super::span::{self, Length, Ran};
use super::{Bench, Counts, Progress, Samples, Stopped, Timing, Watch, ask, begins_with};
use crate::engine::{EngineError, Prompt};
use crate::meter::nvml::GpuUse;
use crate::meter::remote::Along;
use crate::meter::{MeterInfo, headline_or_part};
use crate::prompt::Prompts;

/// Blocks of a loop: as many as an interval needs, and more while it is wide.
const MIN_BLOCKS: u32 = 6;
const MAX_BLOCKS: u32 = 12;

/// Update periods that a loop and an idle phase last at least.
const LOOP_TICKS: f64 = 100.0;
const IDLE_TICKS: f64 = 20.0;

/// To what length a slow meter stretches a loop: ten minutes, for a battery's steps of 36 J.
const MAX_LOOP_SECONDS: f64 = 600.0;

/// To what length a slow meter stretches an idle phase.
const MAX_IDLE_SECONDS: f64 = 120.0;

/// Prompt of the decode loop: so short that its prefill stays below the share of the joules above
/// which a decode figure from loops is not published.
pub(super) const LOOP_PROMPT_TOKENS: u32 = 2;

/// Most prompts that are made ahead for a loop: what an engine of microseconds per token asks for.
const MAX_ASKS: usize = 100_000;

/// Length of the loop of short prompts with one output token each, as a share of the others: its
/// joules are a small share of the decode loop's, which it tells the prefill of.
pub const SHORT_LOOP: f64 = 0.25;

/// How often a stop is looked for while idle.
const SLICE: Duration = Duration::from_millis(500);

/// Least length of a loop, in seconds, for meters that update so often; zero where that is not
/// known.
pub fn loop_seconds(settings: &RepetitionSettings, update: Duration) -> f64 {
    let ticks = (LOOP_TICKS * update.as_secs_f64()).min(MAX_LOOP_SECONDS);
    settings.energy_seconds.max(ticks)
}

/// Length of an idle phase of which so many seconds were asked for; `None` leaves it out.
pub fn idle_seconds(asked_seconds: f64, update: Duration) -> Option<f64> {
    let ticks = (IDLE_TICKS * update.as_secs_f64()).min(MAX_IDLE_SECONDS);
    (asked_seconds > 0.0).then(|| asked_seconds.max(ticks))
}

/// Whether real requests whose parts last so long, one at a time, are resolved without a loop.
pub fn is_direct(
    prefill_seconds: f64,
    decode_seconds: f64,
    streams: u32,
    update: Duration,
) -> bool {
    let least = DIRECT_TICKS as f64 * update.as_secs_f64();
    streams == 1 && !update.is_zero() && prefill_seconds.min(decode_seconds) >= least
}

/// The meters that carry the headline joules of an engine's machines, or where there is none the
/// first sum that is read on all of them. Without any, nothing is run for joules alone.
#[derive(Debug, Clone, Default)]
pub struct Covering {
    /// Indices of their traces, this machine's first.
    pub traces: Vec<u32>,
    /// Update period of the slowest of another machine, in nanoseconds.
    pub far_update_ns: Option<u64>,
}

impl Covering {
    /// Of this machine's meters and those of the machines that are sampled along, as far as their
    /// cards are at work.
    pub fn of(own: &[MeterInfo], along: &Along, hosts: &[Host], cards: &GpuUse) -> Self {
        let mut hosts = hosts.to_vec();
        cards.apply(&mut hosts, &mut []);
        let own = along.here().map_or(&[][..], |_| own);
        let here = along.here().unwrap_or_default();
        let far = along.meters();
        let seats: Vec<Seat<'_>> = own
            .iter()
            .map(|info| Seat {
                used: !cards.is_idle(info),
                ..info.seat(here)
            })
            .chain(far.iter().map(|(host, facts)| facts.seat(*host)))
            .collect();
        let traces = headline_or_part(&seats, &hosts);
        let others = traces
            .iter()
            .filter_map(|at| far.get((*at as usize).checked_sub(own.len())?));
        let far_update_ns = others.filter_map(|(_, facts)| facts.update_ns).max();
        Self {
            traces,
            far_update_ns,
        }
    }
}

impl Bench<'_> {
    /// A meter covers the work, so that joules are worth running something for.
    pub(super) fn has_joules(&self) -> bool {
        !self.meters.traces.is_empty()
    }

    /// Update period of the slowest meter that covers the work; zero where it is not known.
    fn update(&self) -> Duration {
        let slowest = self.sampler.slowest_update_ns(&self.meters.traces);
        Duration::from_nanos(slowest.max(self.meters.far_update_ns).unwrap_or(0))
    }

    /// Does nothing for so many seconds, longer for slow meters; 0 leaves it out, as does a
    /// machine without meters. Interrupted within half a second.
    pub fn idle(
        &mut self,
        samples: &mut Samples,
        kind: PhaseKind,
        asked_seconds: f64,
    ) -> Result<(), Stopped> {
        let Some(seconds) =
            idle_seconds(asked_seconds, self.update()).filter(|_| self.has_joules())
        else {
            return Ok(());
        };
        self.phase(samples, kind, None, |bench, samples| {
            let began_ns = bench.now(samples);
            let whole = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            loop {
                bench.check_stop()?;
                let spent = Duration::from_nanos(bench.now(samples) - began_ns);
                (bench.on_progress)(Progress {
                    phase: kind,
                    done: spent.as_secs() as u32,
                    of: seconds.ceil() as u32,
                    tokens_per_second: None,
                    seconds_left: None,
                });
                let left = whole.saturating_sub(spent);
                if left.is_zero() {
                    return Ok(Counts::default());
                }
                bench.clock.sleep(SLICE.min(left));
            }
        })?;
        self.note_context(samples);
        Ok(())
    }
}

/// How joules will be given to prefill and decode, going by the last warm-up.
pub(super) fn method(bench: &Bench, timing: Timing, samples: &Samples) -> AttributionMethod {
    let requests = samples.repetitions.last().map(|last| &last.requests[..]);
    let mean = |part: &dyn Fn(&domain::record::Request) -> Option<f64>| {
        let parts: Vec<f64> = requests
            .unwrap_or_default()
            .iter()
            .filter_map(part)
            .collect();
        parts.iter().sum::<f64>() / parts.len().max(1) as f64
    };
    let prefill_seconds = mean(&speeds::ttft_seconds);
    let decode_seconds = mean(&|request| Some(speeds::decode_part(request)?.seconds));
    let streams = timing.workload.concurrency;
    if is_direct(prefill_seconds, decode_seconds, streams, bench.update()) {
        AttributionMethod::Direct
    } else {
        AttributionMethod::Loops
    }
}

/// Runs the loops. What was timed before stands, whatever becomes of them: without a loop, its
/// joules are unavailable.
pub(super) fn loops(
    bench: &mut Bench,
    timing: Timing,
    prompts: &mut Prompts,
    samples: &mut Samples,
) -> Result<(), Stopped> {
    let decode = decode_workload(bench, timing.workload);
    let short = decode.as_ref().and_then(prefill_workload);
    let loops = [
        (
            PhaseKind::PrefillLoop,
            prefill_workload(timing.workload),
            1.0,
        ),
        (PhaseKind::DecodeLoop, decode, 1.0),
        (PhaseKind::PrefillLoop, short, SHORT_LOOP),
    ];
    for (kind, workload, share) in loops {
        let Some(workload) = workload else {
            tracing::info!(?kind, "no such loop for joules: this workload has none");
            continue;
        };
        let timing = Timing {
            workload: &workload,
            ..timing
        };
        match run(bench, timing, prompts, samples, (kind, share)) {
            Err(Stopped::Failed { outcome, class }) => {
                tracing::warn!(?outcome, class, ?kind, "a loop for joules failed");
            }
            other => other?,
        }
        bench.note_context(samples);
    }
    Ok(())
}

/// The same prompts, behind the same context, with one token of output. A prompt that is cached
/// whole has no prefill.
fn prefill_workload(asked: &WorkloadSpec) -> Option<WorkloadSpec> {
    (asked.kv_state != KvState::ExactHit).then(|| WorkloadSpec {
        output_tokens: 1,
        ..asked.clone()
    })
}

/// As long a context as the workload's, almost all of it output. Behind a context only where the
/// engine can keep it from one request to the next, and says so: loading it each time would be
/// most of the joules.
fn decode_workload(bench: &Bench, asked: &WorkloadSpec) -> Option<WorkloadSpec> {
    let can = bench.engine.capabilities();
    let keeps = can.reuses_prefix && can.reports_cached_tokens && asked.concurrency == 1;
    let kv_state = match (asked.kv_state, asked.depth_tokens) {
        (KvState::Cold, 0) => KvState::Cold,
        (KvState::Cold | KvState::WarmPrefix, _) if keeps => KvState::WarmPrefix,
        _ => return None,
    };
    Some(WorkloadSpec {
        prompt_tokens: LOOP_PROMPT_TOKENS,
        output_tokens: (asked.prompt_tokens + asked.output_tokens)
            .saturating_sub(LOOP_PROMPT_TOKENS)
            .max(2),
        kv_state,
        ..asked.clone()
    })
}

/// One loop, block after block until its pace is known well enough, in as many streams as are
/// timed.
fn run(
    bench: &mut Bench,
    timing: Timing,
    prompts: &mut Prompts,
    samples: &mut Samples,
    (kind, share): (PhaseKind, f64),
) -> Result<(), Stopped> {
    let (workload, settings) = (timing.workload, timing.settings);
    let Some(mut request_seconds) = expected_seconds(samples, workload, kind) else {
        return Ok(());
    };
    let least_seconds = share * loop_seconds(settings, bench.update());
    let block_seconds = least_seconds / f64::from(MIN_BLOCKS);
    let most_seconds = if share < 1.0 {
        least_seconds
    } else {
        least_seconds.max(settings.minutes_per_cell * 60.0)
    };
    let length = Length {
        least: 1,
        min_ns: (block_seconds * 1e9) as u64,
        max_tokens: u64::MAX,
        max_bytes: usize::MAX,
    };
    let context = load_context(bench, timing, prompts)?;
    let mut asks = VecDeque::new();
    let (mut paces, mut lasted_seconds) = (Vec::new(), 0.0);
    let first_phase = samples.phases.len();
    let watch = Watch::begin(bench);
    let mut start_ns = 0;
    for block in 0..MAX_BLOCKS {
        // Prompts of the first blocks are made before the loop; those of further ones only if
        // they are needed, in a pause.
        let blocks = if block == 0 { MIN_BLOCKS } else { 1 };
        // Half as many again: short contexts decode faster than those that were timed.
        let each = 2.0 + f64::from(blocks) * block_seconds / request_seconds * 1.5;
        let needed = (each as usize * workload.concurrency as usize).min(MAX_ASKS);
        if asks.len() < needed {
            while asks.len() < needed {
                asks.push_back(next_ask(bench, workload, prompts, context.as_ref())?);
            }
            bench.sampler.mark();
            start_ns = bench.now(samples);
        }
        let Ran { fault, counts, .. } = span::run(bench, timing, samples, &mut asks, length)?;
        bench.check_stop()?;
        let end_ns = bench.now(samples);
        bench.sampler.mark();
        if let Some(fault) = fault {
            return Err(Stopped::failed(Outcome::Crash, fault.to_string()));
        }
        samples.phases.push(Phase {
            phase: kind,
            rep: Some(block),
            host: 0,
            start_ns,
            end_ns,
            requests: counts.requests,
            tokens_in: counts.tokens_in,
            tokens_out: counts.tokens_out,
        });
        let seconds = (end_ns - start_ns) as f64 / 1e9;
        lasted_seconds += seconds;
        request_seconds = seconds * f64::from(workload.concurrency) / f64::from(counts.requests);
        let tokens = match kind {
            PhaseKind::PrefillLoop => counts.tokens_in,
            _ => counts.tokens_out,
        };
        paces.push(seconds / tokens.max(1) as f64);
        (bench.on_progress)(Progress {
            phase: kind,
            done: block + 1,
            of: MIN_BLOCKS.max(block + 1),
            tokens_per_second: Some(tokens as f64 / seconds),
            seconds_left: None,
        });
        let is_narrow = median_interval(&paces)
            .and_then(|interval| interval.relative_half_width())
            .is_some_and(|half| half * 100.0 <= settings.target_half_width_percent);
        if is_narrow || lasted_seconds >= most_seconds {
            break;
        }
        start_ns = end_ns;
    }
    let (_, _, trouble) = watch.end(bench, (lasted_seconds * 1e9) as u64);
    if let Some(trouble) = trouble {
        samples.phases.truncate(first_phase);
        return Err(Stopped::failed(Outcome::Crash, trouble.to_string()));
    }
    Ok(())
}

/// What a request of a loop will take, going by the last repetition; `None` where nothing was
/// timed.
fn expected_seconds(samples: &Samples, workload: &WorkloadSpec, kind: PhaseKind) -> Option<f64> {
    let last = super::counted(&samples.repetitions).last()?;
    let seconds = if kind == PhaseKind::PrefillLoop {
        speeds::mean_ttft_seconds(last)?
    } else {
        f64::from(workload.output_tokens) / super::decode_tokens_per_second(last)?
    };
    (seconds > 0.0).then_some(seconds)
}

/// Puts the context that all requests of a loop share into the engine's cache, once and outside
/// of every phase.
fn load_context(
    bench: &mut Bench,
    timing: Timing,
    prompts: &mut Prompts,
) -> Result<Option<Prompt>, Stopped> {
    let depth = timing.workload.depth_tokens;
    if timing.workload.kv_state != KvState::WarmPrefix {
        return Ok(None);
    }
    let context = bench.engine.fit_prompt(&prompts.next(depth), depth)?;
    let loading = span::loading(context.clone(), timing);
    bench.engine.generate(&loading, &mut |_| ())?;
    Ok(Some(context))
}

/// The next prompt of a loop, behind what was loaded before.
fn next_ask(
    bench: &mut Bench,
    workload: &WorkloadSpec,
    prompts: &mut Prompts,
    context: Option<&Prompt>,
) -> Result<Ask, EngineError> {
    let Some(context) = context else {
        return ask(bench.engine, workload, prompts);
    };
    let (Prompt::Exact { text, .. } | Prompt::Text(text) | Prompt::Chat(text)) = context;
    let tokens = workload.depth_tokens + workload.prompt_tokens;
    // Behind a space, so that no tokenizer joins the two.
    let text = format!("{text} {}", prompts.next(workload.prompt_tokens));
    let prompt = bench.engine.fit_prompt(&text, tokens)?;
    if !begins_with(&prompt, context) {
        return Err(EngineError::NoPrompt {
            tokens,
            reason: "it does not begin with the context that is loaded before".to_owned(),
        });
    }
    Ok(Ask {
        before: None,
        prompt,
    })
}

#[cfg(test)]
mod tests;
