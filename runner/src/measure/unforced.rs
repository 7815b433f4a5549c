//! Requests of varied length, for an engine whose output lengths cannot be forced.
//!
//! Their speeds compare with nothing, so each is void; but spans and tokens of enough of them tell
//! the joules of a prompt token from those of an output token (`regression`).

use domain::matrix::WorkloadSpec;
use domain::record::{AttributionMethod, KvState, Outcome, PhaseKind};
use domain::text::Name;

use super::request::Fault;
use super::{
    Bench, GAP_BYTES, Progress, REPETITIONS_BYTES, REQUEST_BYTES, Samples, Stopped, Timing, Voids,
    ask, json_bytes, repetition,
};
use crate::prompt::Prompts;

/// Why such a request does not count.
pub(super) const UNFORCED: &str = "its output length cannot be forced: joules by regression only";

/// Four lengths of prompts times three of outputs, three times over: more than the 30 that a fit
/// needs.
const REQUESTS: u32 = 36;

/// Shortest prompt: the begin token, and letters that make it unique.
const MIN_PROMPT_TOKENS: u32 = 16;

/// Whether the last request shows that the engine, which does not offer it, was not forced.
pub(super) fn is_unforced(bench: &Bench, timing: Timing, samples: &Samples) -> bool {
    let last = samples
        .repetitions
        .last()
        .and_then(|last| last.requests.last());
    !bench.engine.capabilities().bans_eos
        && last.is_some_and(|last| last.output_tokens != timing.workload.output_tokens)
}

/// Asks requests of varied length, one at a time, each a phase of its own. Without a meter, or
/// where several streams are asked for, there is nothing to learn from them.
pub(super) fn requests(
    bench: &mut Bench,
    timing: Timing,
    prompts: &mut Prompts,
    samples: &mut Samples,
) -> Result<(), Stopped> {
    if !bench.has_joules() || timing.workload.concurrency > 1 {
        let class = "its output length cannot be forced";
        return Err(Stopped::failed(Outcome::Unsupported, class));
    }
    samples.method = Some(AttributionMethod::Regression);
    let deadline_ns = bench.clock.now_ns() as f64 + timing.settings.minutes_per_cell * 60e9;
    let left = REPETITIONS_BYTES.saturating_sub(json_bytes(&samples.repetitions));
    let each = (left / REQUESTS as usize).saturating_sub(2 * REQUEST_BYTES.1);
    let most_tokens = (each / GAP_BYTES.1) as u32;
    let mut voids = Voids::default();
    for done in 0..REQUESTS {
        let workload = varied(timing.workload, done, most_tokens);
        let number = Some(samples.repetitions.len() as u32);
        let asks = vec![ask(bench.engine, &workload, prompts)?];
        let timing = Timing {
            workload: &workload,
            ..timing
        };
        let mut fault = None;
        bench.phase(samples, PhaseKind::MixedLoop, number, |bench, samples| {
            let (mut void, spoiled, counts) = repetition(bench, timing, samples, asks, false)?;
            fault = spoiled.filter(|fault| !matches!(fault, Fault::Length { .. }));
            if fault.is_none() {
                void.void = Some(Name::cleaned(UNFORCED));
            }
            samples.repetitions.push(void);
            Ok(counts)
        })?;
        voids.after(samples.repetitions.last(), fault)?;
        (bench.on_progress)(Progress {
            phase: PhaseKind::MixedLoop,
            done: done + 1,
            of: REQUESTS,
            tokens_per_second: None,
            seconds_left: None,
        });
        if bench.clock.now_ns() as f64 >= deadline_ns {
            break;
        }
    }
    bench.note_context(samples);
    Ok(())
}

/// The n-th request: lengths change from one to the next, so that a machine that warms up favours
/// none.
fn varied(asked: &WorkloadSpec, n: u32, most_output_tokens: u32) -> WorkloadSpec {
    let prompt = asked.depth_tokens + asked.prompt_tokens;
    let output = asked.output_tokens.min(most_output_tokens);
    WorkloadSpec {
        prompt_tokens: (prompt * (n % 4 + 1) / 4).max(MIN_PROMPT_TOKENS),
        output_tokens: (output * (n / 4 % 3 + 1) / 3).max(2),
        depth_tokens: 0,
        kv_state: KvState::Cold,
        ..asked.clone()
    }
}
