//! The Hodges-Lehmann estimate and its exact signed-rank limits.
//!
//! Of n values symmetrical around theta, theta lies below the (k+1)-th smallest of the
//! n(n+1)/2 Walsh averages (means of pairs, each value with itself too) with probability
//! P(W <= k), where W is Wilcoxon's signed-rank statistic. (M. Hollander, D. A. Wolfe, E. Chicken,
//! *Nonparametric Statistical Methods*, 3rd ed. 2014, sections 3.1 to 3.3.) Symmetry is what the
//! coin of each block makes true, whatever the noise: `gate` says how. Ties only widen.

use crate::statistics::median_of_sorted;

/// Most values that the counts below are exact for.
pub const MAX_VALUES: usize = 63;

/// Walsh averages of some values, sorted.
#[derive(Debug, Clone, PartialEq)]
pub struct Walsh {
    n: usize,
    sorted: Vec<f64>,
}

impl Walsh {
    /// Of `values`, at most [`MAX_VALUES`], all finite; `None` of none, of more, or of others.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 || n > MAX_VALUES || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut sorted: Vec<f64> = (0..n)
            .flat_map(|i| (i..n).map(move |j| (i, j)))
            .map(|(i, j)| f64::midpoint(values[i], values[j]))
            .collect();
        sorted.sort_unstable_by(f64::total_cmp);
        Some(Self { n, sorted })
    }

    /// The Hodges-Lehmann estimate: their median.
    #[expect(
        clippy::missing_panics_doc,
        reason = "there is at least one Walsh average"
    )]
    pub fn effect(&self) -> f64 {
        median_of_sorted(&self.sorted).expect("there is at least one Walsh average")
    }

    /// The value that theta lies below with probability of at most `alpha`; minus infinity where
    /// so few values cannot say.
    pub fn lower(&self, alpha: f64) -> f64 {
        quantile(self.n, alpha).map_or(f64::NEG_INFINITY, |k| self.sorted[k])
    }

    /// The value that theta lies above with probability of at most `alpha`; infinity where so few
    /// values cannot say.
    pub fn upper(&self, alpha: f64) -> f64 {
        quantile(self.n, alpha).map_or(f64::INFINITY, |k| self.sorted[self.sorted.len() - 1 - k])
    }
}

/// The largest k with P(W <= k) <= `alpha` for `n` values; `None` where not even k = 0 is so rare.
pub fn quantile(n: usize, alpha: f64) -> Option<usize> {
    let outcomes = (n as f64).exp2();
    let mut at_most = 0_u64;
    counts(n)
        .into_iter()
        .take_while(|count| {
            at_most += count;
            at_most as f64 / outcomes <= alpha
        })
        .count()
        .checked_sub(1)
}

/// P(W <= `k`) for `n` values.
pub fn probability(k: usize, n: usize) -> f64 {
    let at_most: u64 = counts(n).into_iter().take(k + 1).sum();
    at_most as f64 / (n as f64).exp2()
}

/// In how many of the 2^n outcomes W is 0, 1, 2, ...: subsets of 1..=n by their sum.
fn counts(n: usize) -> Vec<u64> {
    assert!(n <= MAX_VALUES, "counts fit 64 bits up to 63 values");
    let mut counts = vec![0_u64; n * (n + 1) / 2 + 1];
    counts[0] = 1;
    for rank in 1..=n {
        for sum in (rank..counts.len()).rev() {
            counts[sum] += counts[sum - rank];
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_distribution_is_wilcoxons() {
        for (k, n, p) in [
            (17, 12, 0.046_143),
            (35, 16, 0.046_722),
            (91, 24, 0.047_548),
        ] {
            assert!((probability(k, n) - p).abs() < 5e-7, "{k} of {n}");
            assert_eq!(quantile(n, 0.05), Some(k));
        }
    }

    #[test]
    fn few_values_cannot_say() {
        assert_eq!(quantile(5, 0.03), None);
        let walsh = Walsh::of(&[1.0, 2.0]).expect("two values");
        assert!(walsh.lower(0.05) < f64::MIN && walsh.upper(0.05) > f64::MAX);
        assert!(Walsh::of(&[]).is_none());
        assert!(Walsh::of(&[1.0, f64::NAN]).is_none());
        assert!(Walsh::of(&[0.0; 64]).is_none());
    }

    #[test]
    fn every_outcome_is_counted_once() {
        for n in [1, 12, 48, 63] {
            assert_eq!(counts(n).iter().sum::<u64>(), 1_u64 << n);
        }
    }

    #[test]
    fn the_limits_hold_theta_as_often_as_they_say() {
        // All sign patterns of fixed sizes: exact, without chance.
        let sizes = [0.3, 0.7, 1.1, 1.3, 2.0, 2.9, 3.1, 4.7, 5.3, 6.1];
        let n = sizes.len();
        let alpha = 0.05;
        let missed = (0_u32..1 << n)
            .filter(|signs| {
                let values: Vec<f64> = (sizes.iter().enumerate())
                    .map(|(at, size)| if signs >> at & 1 == 1 { *size } else { -size })
                    .collect();
                Walsh::of(&values).expect("finite").lower(alpha) > 0.0
            })
            .count();
        let k = quantile(n, alpha).expect("ten values can say");
        let share = missed as f64 / (n as f64).exp2();
        assert!((share - probability(k, n)).abs() < 1e-12, "{share}");
    }

    proptest! {
        #[test]
        fn shifted_values_shift_everything(
            values in proptest::collection::vec(-1.0_f64..1.0, 12..30),
            shift in -1.0_f64..1.0,
        ) {
            let moved: Vec<f64> = values.iter().map(|value| value + shift).collect();
            let (here, there) = (Walsh::of(&values).expect("some"), Walsh::of(&moved).expect("some"));
            prop_assert!((there.effect() - here.effect() - shift).abs() < 1e-12);
            prop_assert!((there.lower(0.05) - here.lower(0.05) - shift).abs() < 1e-12);
            prop_assert!((there.upper(0.05) - here.upper(0.05) - shift).abs() < 1e-12);
        }

        #[test]
        fn mirrored_values_mirror_the_limits(
            values in proptest::collection::vec(-1.0_f64..1.0, 6..30),
            alpha in 0.0001_f64..0.5,
        ) {
            let mirrored: Vec<f64> = values.iter().map(|value| -value).collect();
            let (here, there) = (Walsh::of(&values).expect("some"), Walsh::of(&mirrored).expect("some"));
            prop_assert!((there.effect() + here.effect()).abs() < 1e-12);
            let mirror = -here.upper(alpha);
            prop_assert_eq!(there.lower(alpha).partial_cmp(&mirror), Some(Ordering::Equal));
            prop_assert!(here.lower(alpha) <= here.upper(alpha));
        }
    }
}
