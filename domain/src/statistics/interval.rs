//! The exact interval of a median, from order statistics alone.
//!
//! Between the k-th smallest and the k-th largest of n values lies the median with
//! probability 1 - 2 P(B <= k - 1), B binomial(n, 1/2), whatever the distribution
//! (David and Nagaraja, *Order Statistics*, section 7.1). The published interval takes the
//! largest k that still covers 95 %. With five values even the extremes cover only 93.75 %,
//! so six are the least.

use statrs::distribution::{Binomial, DiscreteCDF};

use super::median_of_sorted;

/// Least number of values with a 95 % interval.
pub const MIN_VALUES: usize = 6;

/// A median and its exact order-statistic interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MedianInterval {
    /// The median.
    pub median: f64,
    /// The k-th smallest value.
    pub low: f64,
    /// The k-th largest value.
    pub high: f64,
    /// Number of values.
    pub n: u32,
    /// Probability that the interval holds the median: at least 0.95.
    pub coverage: f64,
}

impl MedianInterval {
    /// The larger distance from the median to an end, as a share of the median; `None` for a
    /// median that is not positive.
    pub fn relative_half_width(&self) -> Option<f64> {
        let half = (self.high - self.median).max(self.median - self.low);
        (self.median > 0.0).then(|| half / self.median)
    }
}

/// The median's exact 95 % interval; `None` below [`MIN_VALUES`] values.
pub fn median_interval(values: &[f64]) -> Option<MedianInterval> {
    if values.len() < MIN_VALUES {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (rank, coverage) = rank_and_coverage(sorted.len())?;
    Some(MedianInterval {
        median: median_of_sorted(&sorted)?,
        low: sorted[rank - 1],
        high: sorted[sorted.len() - rank],
        n: sorted.len() as u32,
        coverage,
    })
}

/// The largest symmetric rank k (from 1) whose interval covers 95 %, and its coverage.
fn rank_and_coverage(n: usize) -> Option<(usize, f64)> {
    let below = Binomial::new(0.5, n as u64).ok()?;
    let coverage = |rank: usize| 1.0 - 2.0 * below.cdf(rank as u64 - 1);
    let (mut fits, mut fails) = (1, n / 2 + 1);
    while fails - fits > 1 {
        let middle = usize::midpoint(fits, fails);
        if coverage(middle) >= 0.95 {
            fits = middle;
        } else {
            fails = middle;
        }
    }
    Some((fits, coverage(fits)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranks_and_coverages_agree_with_published_tables() {
        // Tables of the sign test: n, k, exact coverage.
        for (n, rank, coverage) in [
            (6, 1, 0.968_75),
            (7, 1, 0.984_375),
            (8, 1, 0.992_187_5),
            (9, 2, 0.960_937_5),
            (10, 2, 0.978_515_625),
            (20, 6, 0.958_610_534_667_968_8),
            (30, 10, 0.957_226_054_742_932_3),
        ] {
            let (k, c) = rank_and_coverage(n).expect("valid");
            assert_eq!(k, rank, "n = {n}");
            assert!((c - coverage).abs() < 1e-9, "n = {n}: {c}");
        }
    }

    #[test]
    fn five_values_have_no_interval() {
        assert_eq!(median_interval(&[1.0, 2.0, 3.0, 4.0, 5.0]), None);
        let six = median_interval(&[6.0, 5.0, 4.0, 3.0, 2.0, 1.0]).expect("six");
        assert_eq!(
            (six.low.to_bits(), six.high.to_bits()),
            (1f64.to_bits(), 6f64.to_bits())
        );
    }

    proptest! {
        #[test]
        fn the_interval_holds_its_median_and_covers_enough(values in prop::collection::vec(0.1..1e6f64, 6..300)) {
            let interval = median_interval(&values).expect("six or more");
            prop_assert!(interval.low <= interval.median && interval.median <= interval.high);
            prop_assert!((0.95..1.0).contains(&interval.coverage));
        }
    }
}
