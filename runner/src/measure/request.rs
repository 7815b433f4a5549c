//! One timed request: sent, stamped at this edge, and judged.

use std::fmt;

use domain::matrix::WARM_SHARE;
use domain::record::{Finish, KvState, Request};

use super::{Timing, deadline};
use crate::engine::{EngineError, GenerateRequest, Prompt, Sampling, Stream};

/// Why a repetition does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// A bound on time was hit.
    Timeout,
    /// The output has another length than was forced.
    Length { emitted: u32, asked: u32 },
    /// Events and their tokens do not make up the output.
    Events { events: u64, emitted: u32 },
    /// Another prompt was processed than was sent.
    Prompt { processed: u32, sent: u32 },
    /// A cold prompt was not cold.
    Cached { tokens: u32 },
    /// What was loaded before was not kept.
    NotCached { tokens: u32, of: u32 },
    /// A stream of several finished fewer requests than the others waited for.
    Short { finished: u32, least: u32 },
    /// The machine slept, or somebody set its clock.
    Suspended,
    /// Memory did not suffice.
    Paged { bytes: u64 },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("the time limit was hit"),
            Self::Length { emitted, asked } => {
                write!(f, "{emitted} tokens came back, {asked} were asked for")
            }
            Self::Events { events, emitted } => write!(
                f,
                "{events} pieces of output do not add up to the {emitted} tokens that were counted"
            ),
            Self::Prompt { processed, sent } => {
                write!(
                    f,
                    "{processed} prompt tokens were processed, {sent} were sent"
                )
            }
            Self::Cached { tokens } => {
                write!(
                    f,
                    "{tokens} prompt tokens of a cold request came from a cache"
                )
            }
            Self::NotCached { tokens, of } => write!(
                f,
                "{tokens} of {of} prompt tokens that were loaded before came from the cache"
            ),
            Self::Short { finished, least } => write!(
                f,
                "a stream finished {finished} requests, {least} are needed"
            ),
            Self::Suspended => f.write_str("the machine was suspended, or its wall clock was set"),
            Self::Paged { bytes } => write!(f, "{bytes} bytes were paged in"),
        }
    }
}

/// One prompt to be timed.
#[derive(Debug)]
pub(super) struct Ask {
    /// Loaded into the engine's cache before, untimed.
    pub(super) before: Option<Prompt>,
    /// The prompt.
    pub(super) prompt: Prompt,
}

/// What one timed request came to.
pub(super) struct Timed {
    pub(super) request: Request,
    /// Output token ids, where the engine says them.
    pub(super) output: Vec<u32>,
    pub(super) fault: Option<Fault>,
}

/// Sends `prompt` and stamps what comes back; `now` is the record's clock, `edge` is told when the
/// request is about to be sent, when its first token is stamped and when it ended, and must not
/// wait. Nothing happens between an event's arrival and its stamp, and no memory is taken while
/// events come.
pub(super) fn timed_request(
    stream: &mut dyn Stream,
    number: u32,
    prompt: Prompt,
    timing: Timing,
    now: impl Fn() -> u64,
    edge: impl Fn(),
) -> Result<Timed, EngineError> {
    let workload = timing.workload;
    let Prompt::Exact { length: sent, .. } = prompt else {
        unreachable!("timed prompts have an exact length");
    };
    let asked = workload.output_tokens;
    let request = GenerateRequest {
        prompt,
        max_output_tokens: asked,
        ban_eos: true,
        deadline: deadline(timing.settings.minutes_per_cell * 60.0),
        sampling: Sampling::Greedy,
        reuse_cache: workload.kv_state != KvState::Cold,
    };
    // An event holds at least one token: one more than asked shows that there are too many.
    let most = asked as usize + 1;
    let mut stamps = Vec::with_capacity(most);
    let mut first_visible_ns = None;
    let mut events: u64 = 0;
    edge();
    let sent_ns = now();
    let generated = stream.generate(&request, &mut |event| {
        let at = now();
        if event.visible && first_visible_ns.is_none() {
            first_visible_ns = Some(at);
        }
        if stamps.len() < most {
            stamps.push(at);
        }
        events += 1;
        if events == 1 {
            edge();
        }
    })?;
    edge();

    let emitted = generated.output_tokens;
    let tokens = generated.event_tokens.as_deref();
    let adds_up = match tokens {
        Some(tokens) => {
            let sum: u64 = tokens.iter().map(|k| u64::from(*k)).sum();
            tokens.len() as u64 == events && sum == u64::from(emitted)
        }
        None => events == u64::from(emitted),
    };
    let fault = if generated.finish == Finish::Timeout {
        Some(Fault::Timeout)
    } else if emitted != asked {
        Some(Fault::Length { emitted, asked })
    } else if !adds_up {
        Some(Fault::Events { events, emitted })
    } else if generated.prompt_tokens != sent {
        Some(Fault::Prompt {
            processed: generated.prompt_tokens,
            sent,
        })
    } else {
        let loaded = match workload.kv_state {
            KvState::WarmPrefix => workload.depth_tokens,
            KvState::Cold | KvState::ExactHit => sent,
        };
        cache_fault(workload.kv_state, generated.cached_tokens, loaded)
    };
    let request = Request {
        stream: number,
        sent_ns,
        first_visible_ns,
        first_event_ns: stamps.first().copied(),
        gaps_us: gaps_us(&stamps),
        // What does not add up would not fit the stamps either.
        event_tokens: generated.event_tokens.filter(|_| adds_up),
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
    Ok(Timed {
        request,
        output: generated.output,
        fault,
    })
}

/// Whether the cache was in the state that was asked for; `loaded` tokens were loaded before.
/// A cold request without a count stays: the record says that nothing is known.
fn cache_fault(state: KvState, cached: Option<u32>, loaded: u32) -> Option<Fault> {
    let tokens = cached.unwrap_or(0);
    match state {
        KvState::Cold => (tokens > 0).then_some(Fault::Cached { tokens }),
        KvState::WarmPrefix | KvState::ExactHit => {
            let enough = f64::from(tokens) >= WARM_SHARE * f64::from(loaded);
            (!enough).then_some(Fault::NotCached { tokens, of: loaded })
        }
    }
}

/// Gaps between stamps. Every stamp is rounded, not every gap, so that the gaps of a long output
/// still add up to its duration.
pub(super) fn gaps_us(stamps: &[u64]) -> Vec<u64> {
    let rounded = |ns: u64| (ns + 500) / 1_000;
    stamps
        .windows(2)
        .map(|pair| rounded(pair[1]) - rounded(pair[0]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_add_up_to_the_whole() {
        let stamps: Vec<u64> = (0..1_000).map(|n| n * 1_333_333).collect();
        let gaps = gaps_us(&stamps);
        assert_eq!(gaps.iter().sum::<u64>(), (999 * 1_333_333 + 500) / 1_000);
    }
}
