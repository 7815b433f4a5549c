//! Speeds of repetitions, and their published figures.

use domain::api::Figure;
use domain::record::{KvState, Record, Repetition, Request};
use domain::statistics::bootstrap::clusters_interval;
use domain::statistics::interval::{MIN_VALUES, median_interval};
use domain::statistics::{coefficient_of_variation, median};

/// Spread of a record's repetitions over which it leaves the medians.
pub(super) const LARGEST_SPREAD: f64 = 0.15;

/// Half-width of the interval, as a share of the median, over which a figure is `unstable`,
/// whatever the sweep aimed at: the record does not say that.
pub(super) const STABLE_HALF_WIDTH: f64 = 0.05;

/// One repetition, in the client's view.
#[derive(Debug, Clone, PartialEq)]
pub struct RepetitionSample {
    /// Number within the record.
    pub rep: u32,
    /// Why it does not count.
    pub void: Option<String>,
    /// Tokens after the first event over the time after it, pooled over its requests.
    pub decode: Option<f64>,
    /// Uncached prompt tokens over TTFT, pooled.
    pub prefill: Option<f64>,
    /// Mean TTFT in milliseconds.
    pub ttft_ms: Option<f64>,
    /// Peak resident memory.
    pub peak_bytes: Option<u64>,
}

/// Every repetition of a record.
pub(super) fn samples(record: &Record) -> Vec<RepetitionSample> {
    record
        .repetitions
        .iter()
        .map(|rep| sample(record, rep))
        .collect()
}

fn sample(record: &Record, rep: &Repetition) -> RepetitionSample {
    let void = match (&rep.void, rep.warmup) {
        (Some(reason), _) => Some(reason.to_string()),
        (None, true) => Some("warm-up".to_owned()),
        (None, false) => None,
    };
    let (tokens, seconds) = pooled(rep, decode_part);
    let (prompt, waited) = pooled(rep, prefill_part);
    let waits = rep
        .requests
        .iter()
        .filter(|request| prefill_part(request).is_some())
        .count();
    // A prompt that is cached whole has a TTFT and no rate.
    let has_rate = record.workload.kv_state != KvState::ExactHit;
    RepetitionSample {
        rep: rep.rep,
        void,
        decode: rate(tokens, seconds),
        prefill: rate(prompt, waited).filter(|_| has_rate),
        ttft_ms: rate(1e3 * waited, waits as f64),
        peak_bytes: rep.peak_bytes,
    }
}

fn pooled(rep: &Repetition, part: impl Fn(&Request) -> Option<(f64, f64)>) -> (f64, f64) {
    rep.requests
        .iter()
        .filter_map(part)
        .fold((0.0, 0.0), |sums, (amount, seconds)| {
            (sums.0 + amount, sums.1 + seconds)
        })
}

fn rate(amount: f64, per: f64) -> Option<f64> {
    (amount > 0.0 && per > 0.0).then(|| amount / per)
}

/// Tokens after the first event, and the seconds from the first event to the last.
pub(super) fn decode_part(request: &Request) -> Option<(f64, f64)> {
    request.first_event_ns?;
    let in_first_event = match &request.event_tokens {
        Some(tokens) => *tokens.first()?,
        None => 1,
    };
    let tokens = request
        .output_tokens
        .checked_sub(in_first_event)
        .filter(|tokens| *tokens > 0)?;
    let micros: f64 = request.gaps_us.iter().map(|gap| *gap as f64).sum();
    (micros > 0.0).then(|| (f64::from(tokens), micros / 1e6))
}

/// Uncached prompt tokens, and the seconds to the first token.
fn prefill_part(request: &Request) -> Option<(f64, f64)> {
    let waited = request
        .first_event_ns?
        .checked_sub(request.sent_ns)
        .filter(|ns| *ns > 0)?;
    let fresh = request
        .prompt_tokens
        .saturating_sub(request.cached_tokens.unwrap_or(0));
    Some((f64::from(fresh), waited as f64 / 1e9))
}

/// The engine's own decode time differs from the client's by more than 5 %.
pub(super) fn views_disagree(record: &Record) -> bool {
    let (mut client, mut engine) = (0.0, 0.0);
    let counting = record
        .repetitions
        .iter()
        .filter(|rep| !rep.warmup && rep.void.is_none());
    for request in counting.flat_map(|rep| &rep.requests) {
        if let (Some((_, seconds)), Some(ns)) = (decode_part(request), request.engine_decode_ns) {
            client += seconds;
            engine += ns as f64 / 1e9;
        }
    }
    client > 0.0 && engine > 0.0 && (client / engine - 1.0).abs() > 0.05
}

/// A published speed and what is said about its spread.
pub(super) struct Published {
    pub(super) figure: Figure,
    /// By account, the values of each record that counts.
    pub(super) accounts: Vec<Vec<Vec<f64>>>,
    /// Largest coefficient of variation of a record behind it.
    pub(super) spread: Option<f64>,
    /// Half-width over median.
    pub(super) half_width: Option<f64>,
}

/// The median of per-account medians. `accounts` holds, by account, the values of each record.
///
/// A record is steady when it has [`MIN_VALUES`] values and they spread over at most
/// [`LARGEST_SPREAD`]; where there are steady ones, only they count. The interval of a single
/// record is exact; that of several resamples records, then their values.
pub(super) fn publish(accounts: &[Vec<Vec<f64>>], seed: [u8; 32]) -> Option<Published> {
    let steady = |values: &Vec<f64>| {
        values.len() >= MIN_VALUES
            && coefficient_of_variation(values).is_some_and(|spread| spread <= LARGEST_SPREAD)
    };
    let any_steady = accounts.iter().flatten().any(steady);
    let counting: Vec<Vec<Vec<f64>>> = accounts
        .iter()
        .map(|records| {
            let counts = |values: &&Vec<f64>| !values.is_empty() && (!any_steady || steady(values));
            records.iter().filter(counts).cloned().collect()
        })
        .filter(|records: &Vec<_>| !records.is_empty())
        .collect();
    let medians: Vec<f64> = counting
        .iter()
        .filter_map(|records| median(&records.concat()))
        .collect();
    let value = median(&medians)?;
    let records: Vec<&Vec<f64>> = counting.iter().flatten().collect();
    let ci95 = match records.as_slice() {
        [alone] => median_interval(alone).map(|interval| (interval.low, interval.high)),
        _ => clusters_interval(&counting, seed),
    };
    Some(Published {
        figure: Figure {
            value,
            ci95,
            n: records.iter().map(|values| values.len()).sum::<usize>() as u32,
        },
        spread: records
            .iter()
            .filter_map(|values| coefficient_of_variation(values))
            .max_by(f64::total_cmp),
        half_width: ci95
            .filter(|_| value > 0.0)
            .map(|(low, high)| (high - value).max(value - low) / value),
        accounts: counting,
    })
}
