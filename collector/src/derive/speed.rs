//! Speeds of repetitions, and their published figures.

use domain::api::Figure;
use domain::record::{KvState, Record, Repetition, Request, SpeculationMethod};
use domain::speeds;
use domain::statistics::bootstrap::clusters_interval;
use domain::statistics::interval::{MIN_VALUES, median_interval};
use domain::statistics::quantile::quantile;
use domain::statistics::{coefficient_of_variation, median};

/// Spread of a record's repetitions over which it leaves the medians.
pub(super) const LARGEST_SPREAD: f64 = 0.15;

/// Half-width of the interval, as a share of the median, over which a figure is `unstable`,
/// whatever the sweep aimed at: the record does not say that.
pub(super) const STABLE_HALF_WIDTH: f64 = 0.05;

/// Streams that are slower than this share of them.
const SLOW_SHARE: f64 = 0.10;

/// One repetition. Speeds are tokens per second, in the client's view where no other is named.
#[derive(Debug, Clone, PartialEq)]
pub struct RepetitionSample {
    /// Number within the record.
    pub rep: u32,
    /// Why it does not count.
    pub void: Option<String>,
    /// Tokens after the first event over the time after it, pooled over its requests; of several
    /// streams, the median over streams.
    pub decode: Option<f64>,
    /// Of several streams: all tokens of the span in which all are active, over its length.
    pub aggregate: Option<f64>,
    /// Of several streams: the 10th percentile of their decode speeds.
    pub slow_stream: Option<f64>,
    /// Uncached prompt tokens over TTFT, pooled.
    pub prefill: Option<f64>,
    /// Decode by the engine's own clock.
    pub engine_decode: Option<f64>,
    /// Prefill by the engine's own clock.
    pub engine_prefill: Option<f64>,
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

/// The repetitions of a record that count.
pub(super) fn counting(record: &Record) -> impl Iterator<Item = &Repetition> {
    record
        .repetitions
        .iter()
        .filter(|rep| !rep.warmup && rep.void.is_none())
}

fn sample(record: &Record, rep: &Repetition) -> RepetitionSample {
    let void = match (&rep.void, rep.warmup) {
        (Some(reason), _) => Some(reason.to_string()),
        (None, true) => Some("warm-up".to_owned()),
        (None, false) => None,
    };
    let several = record.workload.concurrency > 1;
    let streams = if several {
        speeds::stream_decode_tokens_per_second(rep)
    } else {
        Vec::new()
    };
    // A prompt that is cached whole has a TTFT and no rates, and no prefill rate has one of which
    // nobody says how much was cached.
    let only_waits = record.workload.kv_state == KvState::ExactHit;
    let all_counted = || rep.requests.iter().all(|r| r.cached_tokens.is_some());
    let has_rate = match record.workload.kv_state {
        KvState::Cold => true,
        KvState::WarmPrefix => all_counted(),
        KvState::ExactHit => false,
    };
    RepetitionSample {
        rep: rep.rep,
        void,
        decode: if several {
            median(&streams)
        } else {
            speeds::decode_tokens_per_second(rep)
        }
        .filter(|_| !only_waits),
        aggregate: speeds::aggregate_tokens_per_second(rep).filter(|_| several && !only_waits),
        slow_stream: quantile(&streams, SLOW_SHARE).filter(|_| !only_waits),
        prefill: speeds::prefill_tokens_per_second(rep).filter(|_| has_rate),
        engine_decode: speeds::engine_decode_tokens_per_second(rep).filter(|_| !only_waits),
        engine_prefill: speeds::engine_prefill_tokens_per_second(rep).filter(|_| has_rate),
        ttft_ms: speeds::mean_ttft_seconds(rep).map(|seconds| 1e3 * seconds),
        peak_bytes: rep.peak_bytes,
    }
}

/// Output tokens per pass: 1 without speculation.
pub(super) fn tokens_per_pass(record: &Record) -> Option<f64> {
    if record.settings.speculation.method == SpeculationMethod::None {
        return Some(1.0);
    }
    let (mut tokens, mut passes) = (0.0, 0.0);
    for request in counting(record).flat_map(|rep| &rep.requests) {
        tokens += f64::from(request.output_tokens);
        passes += f64::from(request.passes?);
    }
    (passes > 0.0).then(|| (tokens / passes).max(1.0))
}

/// Some requests count, and the engine alone timed them all: there is no client view.
pub(super) fn is_engine_only(record: &Record) -> bool {
    let requests = || counting(record).flat_map(|rep| &rep.requests);
    let by_engine = |request: &Request| {
        request.first_event_ns.is_none()
            && (request.engine_prefill_ns.is_some() || request.engine_decode_ns.is_some())
    };
    requests().next().is_some() && requests().all(by_engine)
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
