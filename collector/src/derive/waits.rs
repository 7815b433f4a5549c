//! Waits of a reader: percentiles of the gaps between token events, and of TTFT.
//!
//! A percentile is that of all waits of a record's repetitions together. Its interval comes from
//! the spread of the repetitions' own percentiles: gaps follow each other too closely to count
//! as independent.

use domain::api::Figure;
use domain::record::{Record, Repetition};
use domain::speeds;
use domain::statistics::median;
use domain::statistics::quantile::{quantile_of_sorted, section_interval};

use super::speed::counting;

/// A percentile of one record's waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Percentile {
    /// Milliseconds, over all repetitions that count.
    pub pooled_ms: f64,
    /// Milliseconds, of each of those repetitions by itself.
    pub by_repetition_ms: Vec<f64>,
    /// Waits behind it.
    pub n: u32,
}

/// The percentiles that are published.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Waits {
    /// Median gap.
    pub gap_p50: Option<Percentile>,
    /// 90th percentile of the gaps; from 10 gaps on.
    pub gap_p90: Option<Percentile>,
    /// 99th percentile of the gaps; from 100 gaps on.
    pub gap_p99: Option<Percentile>,
    /// 95th percentile of TTFT; from 20 requests on.
    pub ttft_p95: Option<Percentile>,
}

impl Waits {
    /// The waits of a record's counting repetitions.
    pub(super) fn of(record: &Record) -> Self {
        let gaps = by_repetition(record, |rep| {
            let gaps = rep.requests.iter().flat_map(|request| &request.gaps_us);
            gaps.map(|gap| *gap as f64 / 1e3).collect()
        });
        let ttft = by_repetition(record, |rep| {
            let waits = rep.requests.iter().filter_map(speeds::ttft_seconds);
            waits.map(|seconds| 1e3 * seconds).collect()
        });
        let all_gaps = sorted(gaps.concat());
        Self {
            gap_p50: percentile(&all_gaps, &gaps, 0.50, 2),
            gap_p90: percentile(&all_gaps, &gaps, 0.90, 10),
            gap_p99: percentile(&all_gaps, &gaps, 0.99, 100),
            ttft_p95: percentile(&sorted(ttft.concat()), &ttft, 0.95, 20),
        }
    }
}

/// The waits of each repetition that has some, sorted.
fn by_repetition(record: &Record, waits: impl Fn(&Repetition) -> Vec<f64>) -> Vec<Vec<f64>> {
    counting(record)
        .map(|rep| sorted(waits(rep)))
        .filter(|waits| !waits.is_empty())
        .collect()
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// `None` below `least` waits: fewer hold no such percentile.
fn percentile(all: &[f64], parts: &[Vec<f64>], share: f64, least: usize) -> Option<Percentile> {
    if all.len() < least {
        return None;
    }
    Some(Percentile {
        pooled_ms: quantile_of_sorted(all, share)?,
        by_repetition_ms: parts
            .iter()
            .filter_map(|part| quantile_of_sorted(part, share))
            .collect(),
        n: all.len() as u32,
    })
}

/// The median over accounts of the median over an account's records; every repetition of all of
/// them counts for the interval.
pub(super) fn publish(accounts: &[Vec<&Percentile>]) -> Option<Figure> {
    let medians: Vec<f64> = accounts
        .iter()
        .filter_map(|records| {
            let pooled: Vec<f64> = records.iter().map(|record| record.pooled_ms).collect();
            median(&pooled)
        })
        .collect();
    let value = median(&medians)?;
    let records = || accounts.iter().flatten();
    let sections: Vec<f64> = records()
        .flat_map(|record| &record.by_repetition_ms)
        .copied()
        .collect();
    Some(Figure {
        value,
        ci95: section_interval(value, &sections),
        n: records().fold(0, |sum, record| sum.saturating_add(record.n)),
    })
}
