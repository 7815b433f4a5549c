//! Seeded resampling: the same bytes give the same interval on every machine.
//!
//! Draws come from `ChaCha8` seeded with 32 bytes that the caller derives from signed data, so
//! anybody who recomputes a published number finds the same interval.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::{median, median_of_sorted};

/// Draws behind every published bootstrap interval.
pub const DRAWS: usize = 2_000;

/// A seeded source of draws.
#[derive(Debug, Clone)]
pub struct Resampler(ChaCha8Rng);

impl Resampler {
    /// The stream that `seed` names.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(seed))
    }

    /// An index below `n`; 0 when `n` is 0. Multiply and shift: for the counts met here (below
    /// 2^20) no index is favoured by more than one part in 4,000.
    pub fn index(&mut self, n: usize) -> usize {
        ((u64::from(self.0.next_u32()) * n as u64) >> 32) as usize
    }

    /// The median of as many values as there are, drawn with replacement from `values`.
    pub fn median_of(&mut self, values: &[f64], scratch: &mut Vec<f64>) -> Option<f64> {
        scratch.clear();
        for _ in 0..values.len() {
            scratch.push(values[self.index(values.len())]);
        }
        scratch.sort_unstable_by(f64::total_cmp);
        median_of_sorted(scratch)
    }

    /// The median over groups, drawn with replacement, of the median of each one's values,
    /// drawn with replacement too: accounts, then an account's repetitions.
    pub fn median_of_medians(
        &mut self,
        groups: &[Vec<f64>],
        scratch: &mut Vec<f64>,
    ) -> Option<f64> {
        let mut medians = Vec::with_capacity(groups.len());
        for _ in 0..groups.len() {
            let group = &groups[self.index(groups.len())];
            medians.extend(self.median_of(group, scratch));
        }
        median(&medians)
    }
}

/// The 95 % percentile interval of a statistic over [`DRAWS`] seeded draws. A draw without a
/// value counts as infinite; an interval with an infinite end is none.
pub fn percentile_interval(
    seed: [u8; 32],
    mut statistic: impl FnMut(&mut Resampler) -> Option<f64>,
) -> Option<(f64, f64)> {
    let mut resampler = Resampler::new(seed);
    let mut draws: Vec<f64> = (0..DRAWS)
        .map(|_| statistic(&mut resampler).unwrap_or(f64::INFINITY))
        .collect();
    draws.sort_by(f64::total_cmp);
    let (low, high) = (draws[DRAWS / 40], draws[DRAWS - 1 - DRAWS / 40]);
    (low.is_finite() && high.is_finite()).then_some((low, high))
}

/// Sum of numerators over sum of denominators; `None` when the denominators sum to nothing.
pub fn ratio_of_sums<'a>(pairs: impl IntoIterator<Item = &'a (f64, f64)>) -> Option<f64> {
    let (top, bottom) = pairs
        .into_iter()
        .fold((0.0, 0.0), |sums, pair| (sums.0 + pair.0, sums.1 + pair.1));
    (bottom > 0.0).then(|| top / bottom)
}

/// The interval of a ratio of sums, resampling `(numerator, denominator)` items within each
/// family. `None` when too many draws hold no denominator at all.
pub fn ratio_interval(families: &[Vec<(f64, f64)>], seed: [u8; 32]) -> Option<(f64, f64)> {
    percentile_interval(seed, |resampler| {
        let (mut top, mut bottom) = (0.0, 0.0);
        for family in families {
            for _ in 0..family.len() {
                let item = family[resampler.index(family.len())];
                top += item.0;
                bottom += item.1;
            }
        }
        (bottom > 0.0).then(|| top / bottom)
    })
}

/// The interval of the median of accounts' medians. `None` for fewer than two accounts: one
/// account has the exact interval of [`super::interval`].
pub fn accounts_interval(accounts: &[Vec<f64>], seed: [u8; 32]) -> Option<(f64, f64)> {
    if accounts.len() < 2 {
        return None;
    }
    let mut scratch = Vec::new();
    percentile_interval(seed, |resampler| {
        resampler.median_of_medians(accounts, &mut scratch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; 32] = [7; 32];

    #[test]
    fn one_seed_gives_one_interval() {
        let accounts = vec![vec![10.0, 11.0, 12.0], vec![10.5, 11.5], vec![9.0, 13.0]];
        let first = accounts_interval(&accounts, SEED);
        assert_eq!(first, accounts_interval(&accounts, SEED));
        let (low, high) = first.expect("three accounts");
        assert!(
            (9.0..=11.0).contains(&low) && (11.0..=13.0).contains(&high),
            "{low} {high}"
        );
    }

    #[test]
    fn wrong_answers_pay_in_a_ratio_of_sums() {
        let family: Vec<_> = (0..100)
            .map(|i| (2.0, f64::from(u8::from(i % 4 != 0))))
            .collect();
        let ratio = ratio_of_sums(&family).expect("some are right");
        assert!((ratio - 200.0 / 75.0).abs() < 1e-12);
        let (low, high) = ratio_interval(&[family], SEED).expect("finite");
        assert!(
            low < ratio && ratio < high && high - low < 1.0,
            "{low} {high}"
        );
    }

    #[test]
    fn none_correct_has_neither_ratio_nor_interval() {
        let family = vec![(2.0, 0.0); 50];
        assert_eq!(ratio_of_sums(&family), None);
        assert_eq!(ratio_interval(&[family], SEED), None);
    }

    #[test]
    fn an_index_stays_below_its_bound() {
        let mut resampler = Resampler::new(SEED);
        let mut seen = [false; 7];
        for _ in 0..1_000 {
            seen[resampler.index(7)] = true;
        }
        assert!(seen.iter().all(|seen| *seen));
        assert_eq!(resampler.index(0), 0);
    }
}
