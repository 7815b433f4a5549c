//! Speeds of timed requests, from their raw stamps: what runner (to know when to stop) and
//! collector (to publish) must compute alike.
//!
//! A speed is a [`Part`]: tokens, and the time they took. Parts of several requests add, so a
//! repetition's speed is a ratio of sums, never a mean of ratios. What was not timed has no part.

use std::collections::BTreeMap;
use std::iter::Sum;
use std::ops::Add;

use crate::record::{Repetition, Request};

/// Tokens, and the seconds they took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Part {
    /// Tokens.
    pub tokens: f64,
    /// Seconds.
    pub seconds: f64,
}

impl Part {
    /// Tokens per second; `None` where there are none of either.
    pub fn per_second(self) -> Option<f64> {
        (self.tokens > 0.0 && self.seconds > 0.0).then(|| self.tokens / self.seconds)
    }
}

impl Add for Part {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            seconds: self.seconds + other.seconds,
        }
    }
}

impl Sum for Part {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Add::add)
    }
}

/// Every token event: nanoseconds since the record's start, and its tokens. Empty without events,
/// or where the stamps go beyond what a clock can say.
pub fn events(request: &Request) -> impl Iterator<Item = (u64, u32)> + '_ {
    let gaps = request.gaps_us.iter().copied();
    let times = request.first_event_ns.into_iter().chain(gaps.scan(
        request.first_event_ns,
        |at, gap_us| {
            *at = at.and_then(|at| at.checked_add(gap_us.checked_mul(1_000)?));
            *at
        },
    ));
    let tokens = request.event_tokens.as_deref();
    times
        .enumerate()
        .map(move |(n, at)| (at, tokens.map_or(1, |k| k.get(n).copied().unwrap_or(0))))
}

/// The last token event, in nanoseconds since the record's start; `None` without one, or beyond
/// what a clock can say.
pub fn last_event_ns(request: &Request) -> Option<u64> {
    let gaps_us = request
        .gaps_us
        .iter()
        .try_fold(0u64, |sum, gap| sum.checked_add(*gap))?;
    request
        .first_event_ns?
        .checked_add(gaps_us.checked_mul(1_000)?)
}

/// Time to the first token, content or reasoning, in seconds.
pub fn ttft_seconds(request: &Request) -> Option<f64> {
    seconds_between(request.sent_ns, request.first_event_ns?)
}

/// Time to the first token that a reader sees, in seconds.
pub fn ttfv_seconds(request: &Request) -> Option<f64> {
    seconds_between(request.sent_ns, request.first_visible_ns?)
}

/// The tokens after the first event, over the time from the first event to the last.
pub fn decode_part(request: &Request) -> Option<Part> {
    let first = request.first_event_ns?;
    let in_first_event = match &request.event_tokens {
        Some(tokens) => *tokens.first()?,
        None => 1,
    };
    let tokens = request.output_tokens.checked_sub(in_first_event)?;
    timed(tokens, seconds_between(first, last_event_ns(request)?)?)
}

/// The prompt tokens that no cache served, over TTFT: a lower bound of prefill, since the first
/// token's own pass and the way to the client are in it.
pub fn prefill_part(request: &Request) -> Option<Part> {
    timed(uncached_tokens(request), ttft_seconds(request)?)
}

/// As [`decode_part`] by the engine's own clock, which runs from the first chosen token to the
/// last choice. A request of an engine that only times itself is of one phase: all of its tokens
/// are in that time.
pub fn engine_decode_part(request: &Request) -> Option<Part> {
    let in_first_choice = u32::from(request.prompt_tokens > 0);
    let tokens = request.output_tokens.checked_sub(in_first_choice)?;
    timed(tokens, request.engine_decode_ns? as f64 / 1e9)
}

/// As [`prefill_part`] by the engine's own clock.
pub fn engine_prefill_part(request: &Request) -> Option<Part> {
    let seconds = request.engine_prefill_ns? as f64 / 1e9;
    timed(uncached_tokens(request), seconds)
}

/// Prompt tokens that no cache served; all of them where the engine does not say.
pub fn uncached_tokens(request: &Request) -> u32 {
    let cached = request.cached_tokens.unwrap_or(0);
    request.prompt_tokens.saturating_sub(cached)
}

/// A part pooled over the requests of a repetition, as tokens per second.
pub fn pooled(repetition: &Repetition, part: impl Fn(&Request) -> Option<Part>) -> Option<f64> {
    let parts = repetition.requests.iter().filter_map(part);
    parts.sum::<Part>().per_second()
}

/// Decode speed of a repetition in the client's view; of several streams that of one of them.
pub fn decode_tokens_per_second(repetition: &Repetition) -> Option<f64> {
    pooled(repetition, decode_part)
}

/// Prefill speed of a repetition in the client's view.
pub fn prefill_tokens_per_second(repetition: &Repetition) -> Option<f64> {
    pooled(repetition, prefill_part)
}

/// Decode speed of a repetition by the engine's own clock.
pub fn engine_decode_tokens_per_second(repetition: &Repetition) -> Option<f64> {
    pooled(repetition, engine_decode_part)
}

/// Prefill speed of a repetition by the engine's own clock.
pub fn engine_prefill_tokens_per_second(repetition: &Repetition) -> Option<f64> {
    pooled(repetition, engine_prefill_part)
}

/// Mean TTFT of a repetition in seconds.
pub fn mean_ttft_seconds(repetition: &Repetition) -> Option<f64> {
    let waits: Vec<f64> = repetition
        .requests
        .iter()
        .filter_map(ttft_seconds)
        .collect();
    (!waits.is_empty()).then(|| waits.iter().sum::<f64>() / waits.len() as f64)
}

/// All tokens that were emitted while every stream was active, over the length of that span.
///
/// A stream is active from sending its first request to its last token: it asks again at once
/// when an answer ends. The span so holds whole rounds of prefill and decode, as the users of a
/// server see them, and neither the start's nor the end's unequal rest.
pub fn aggregate_part(repetition: &Repetition) -> Option<Part> {
    let mut streams: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for request in &repetition.requests {
        let last = last_event_ns(request)?;
        let active = streams
            .entry(request.stream)
            .or_insert((request.sent_ns, last));
        *active = (active.0.min(request.sent_ns), active.1.max(last));
    }
    let from = streams.values().map(|active| active.0).max()?;
    let until = streams.values().map(|active| active.1).min()?;
    let tokens: u64 = repetition
        .requests
        .iter()
        .flat_map(events)
        .filter(|(at, _)| from < *at && *at <= until)
        .map(|(_, tokens)| u64::from(tokens))
        .sum();
    let seconds = seconds_between(from, until)?;
    (tokens > 0).then_some(Part {
        tokens: tokens as f64,
        seconds,
    })
}

/// [`aggregate_part`] as tokens per second.
pub fn aggregate_tokens_per_second(repetition: &Repetition) -> Option<f64> {
    aggregate_part(repetition)?.per_second()
}

/// Decode speed of each stream, pooled over its requests, in the order of their numbers.
pub fn stream_decode_tokens_per_second(repetition: &Repetition) -> Vec<f64> {
    let mut streams: BTreeMap<u32, Part> = BTreeMap::new();
    for request in &repetition.requests {
        if let Some(part) = decode_part(request) {
            let sum = streams.entry(request.stream).or_default();
            *sum = *sum + part;
        }
    }
    streams.into_values().filter_map(Part::per_second).collect()
}

fn seconds_between(from_ns: u64, to_ns: u64) -> Option<f64> {
    let ns = to_ns.checked_sub(from_ns).filter(|ns| *ns > 0)?;
    Some(ns as f64 / 1e9)
}

fn timed(tokens: u32, seconds: f64) -> Option<Part> {
    (tokens > 0 && seconds > 0.0).then(|| Part {
        tokens: f64::from(tokens),
        seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Finish, TokenSource};
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    /// `tokens` single-token events, the first `ttft_ms` after `sent_ms`, the others `gap_us` apart.
    fn request(stream: u32, sent_ms: u64, ttft_ms: u64, gap_us: u64, tokens: u32) -> Request {
        let first = (sent_ms + ttft_ms) * MS;
        Request {
            stream,
            sent_ns: sent_ms * MS,
            first_visible_ns: Some(first),
            first_event_ns: Some(first),
            gaps_us: vec![gap_us; tokens as usize - 1],
            event_tokens: None,
            prompt_tokens: 100,
            cached_tokens: None,
            output_tokens: tokens,
            reasoning_tokens: 0,
            passes: None,
            accepted_tokens: None,
            token_source: TokenSource::Ids,
            finish: Finish::Length,
            engine_prefill_ns: None,
            engine_decode_ns: None,
        }
    }

    fn repetition(requests: Vec<Request>) -> Repetition {
        Repetition {
            rep: 0,
            warmup: false,
            void: None,
            start_ns: 0,
            end_ns: requests.iter().filter_map(last_event_ns).max().unwrap_or(1),
            peak_bytes: None,
            paged_bytes: None,
            requests,
            transcript_sha256: None,
        }
    }

    fn close(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value / expected - 1.0).abs() < 1e-12)
    }

    #[test]
    fn the_first_event_belongs_to_prefill_and_cached_tokens_to_nobody() {
        let mut cold = request(0, 5, 50, 10_000, 11);
        assert!(close(decode_part(&cold).and_then(Part::per_second), 100.0));
        assert!(close(
            prefill_part(&cold).and_then(Part::per_second),
            2_000.0
        ));
        cold.cached_tokens = Some(90);
        assert!(close(prefill_part(&cold).and_then(Part::per_second), 200.0));
        cold.cached_tokens = Some(100);
        assert_eq!(prefill_part(&cold), None, "a whole hit has a TTFT, no rate");
        assert!(close(ttft_seconds(&cold), 0.05));
    }

    #[test]
    fn an_event_of_several_tokens_counts_them_all() {
        let mut spoken = request(0, 0, 50, 10_000, 4);
        spoken.event_tokens = Some(vec![3, 2, 1, 4]);
        spoken.output_tokens = 10;
        let part = decode_part(&spoken).expect("timed");
        assert!((part.tokens - 7.0).abs() < 1e-12 && (part.seconds - 0.03).abs() < 1e-12);
        let seen: Vec<_> = events(&spoken).collect();
        assert_eq!(seen[0], (50 * MS, 3));
        assert_eq!(seen[3], (80 * MS, 4));
    }

    #[test]
    fn the_engines_own_clock_counts_all_tokens_of_a_request_of_one_phase() {
        let mut served = request(0, 0, 50, 10_000, 11);
        served.engine_decode_ns = Some(100 * MS);
        served.engine_prefill_ns = Some(25 * MS);
        assert!(close(
            engine_decode_part(&served).and_then(Part::per_second),
            100.0
        ));
        assert!(close(
            engine_prefill_part(&served).and_then(Part::per_second),
            4_000.0
        ));
        let alone = Request {
            prompt_tokens: 0,
            first_event_ns: None,
            gaps_us: Vec::new(),
            ..served
        };
        assert!(close(
            engine_decode_part(&alone).and_then(Part::per_second),
            110.0
        ));
        assert_eq!(decode_part(&alone), None);
        assert_eq!(events(&alone).count(), 0);
    }

    #[test]
    fn the_aggregate_covers_the_span_in_which_all_streams_are_active() {
        // Stream 0 runs from 0 to 200 ms, stream 1 from 10 to 110 ms, both a token every 10 ms.
        let rep = repetition(vec![
            request(0, 0, 10, 10_000, 20),
            request(1, 10, 10, 10_000, 10),
        ]);
        let part = aggregate_part(&rep).expect("timed");
        assert!((part.seconds - 0.1).abs() < 1e-12, "{part:?}");
        assert!((part.tokens - 20.0).abs() < 1e-12, "{part:?}");
        let streams = stream_decode_tokens_per_second(&rep);
        assert_eq!(streams.len(), 2);
        assert!(streams.iter().all(|speed| close(Some(*speed), 100.0)));
    }

    #[test]
    fn streams_that_never_ran_together_have_no_aggregate() {
        let rep = repetition(vec![
            request(0, 0, 10, 1_000, 5),
            request(1, 100, 10, 1_000, 5),
        ]);
        assert_eq!(aggregate_part(&rep), None);
        assert_eq!(aggregate_part(&repetition(Vec::new())), None);
    }

    #[test]
    fn stamps_beyond_any_clock_are_no_times() {
        let mut broken = request(0, 0, 10, 1_000, 3);
        broken.gaps_us = vec![u64::MAX, 1];
        assert_eq!(last_event_ns(&broken), None);
        assert_eq!(decode_part(&broken), None);
        assert_eq!(events(&broken).count(), 1);
        assert_eq!(aggregate_part(&repetition(vec![broken])), None);
    }

    /// One stream's requests back to back, none faster than its gap.
    fn stream(number: u32) -> impl Strategy<Value = (u64, Vec<Request>)> {
        let round = (0..40u64, 1..30u32);
        (1..20u64, 0..50u64, prop::collection::vec(round, 1..5)).prop_map(
            move |(gap_ms, start, rounds)| {
                let mut sent = start;
                let made = |(extra, tokens): (u64, u32)| {
                    let made = request(number, sent, gap_ms + extra, gap_ms * 1_000, tokens);
                    sent = last_event_ns(&made).expect("has events") / MS;
                    made
                };
                (gap_ms, rounds.into_iter().map(made).collect())
            },
        )
    }

    proptest! {
        #[test]
        fn no_aggregate_exceeds_what_its_streams_can_emit(
            one in stream(0), two in stream(1), three in stream(2)
        ) {
            let fastest: f64 = [one.0, two.0, three.0].iter().map(|gap| 1e3 / *gap as f64).sum();
            let total: u32 = [&one.1, &two.1, &three.1]
                .iter()
                .flat_map(|requests| requests.iter())
                .map(|request| request.output_tokens)
                .sum();
            let rep = repetition([one.1, two.1, three.1].concat());
            if let Some(part) = aggregate_part(&rep) {
                prop_assert!(part.tokens <= f64::from(total));
                // A token may have been under way in each stream when the span began.
                let emitted = part.per_second().expect("both above 0");
                prop_assert!(emitted <= fastest + 3.0 / part.seconds + 1e-9);
            }
        }

        #[test]
        fn events_hold_every_token_and_end_with_the_last(
            gaps in prop::collection::vec(0..5_000u64, 0..40), first in 1..1_000u64
        ) {
            let mut spoken = request(0, 0, first, 1, 1);
            let tokens: Vec<u32> = (0..=gaps.len() as u32).map(|n| n % 3 + 1).collect();
            spoken.output_tokens = tokens.iter().sum();
            spoken.gaps_us = gaps;
            spoken.event_tokens = Some(tokens);
            prop_assert_eq!(events(&spoken).map(|(_, k)| k).sum::<u32>(), spoken.output_tokens);
            prop_assert_eq!(events(&spoken).last().map(|(at, _)| at), last_event_ns(&spoken));
        }
    }
}
