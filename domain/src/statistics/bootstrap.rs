//! Seeded resampling: the same bytes give the same interval on every machine.
//!
//! Draws come from `ChaCha8` seeded with 32 bytes that the caller derives from signed data, so
//! anybody who recomputes a published number finds the same interval.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::interval::MIN_VALUES;
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

    /// A number from 0 to 1, 1 left out.
    pub fn share(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }

    /// True with probability `share`.
    pub fn chance(&mut self, share: f64) -> bool {
        self.share() < share
    }

    /// The median of one account's values: as many records as there are, drawn with
    /// replacement, and of each as many of its values, drawn with replacement too. Values of
    /// one record share its drift, so they are drawn together or not at all.
    pub fn median_of_clusters(
        &mut self,
        records: &[Vec<f64>],
        scratch: &mut Vec<f64>,
    ) -> Option<f64> {
        scratch.clear();
        for _ in 0..records.len() {
            let record = &records[self.index(records.len())];
            for _ in 0..record.len() {
                scratch.push(record[self.index(record.len())]);
            }
        }
        scratch.sort_unstable_by(f64::total_cmp);
        median_of_sorted(scratch)
    }

    /// The median over accounts, drawn with replacement, of each one's
    /// [`Self::median_of_clusters`]. `accounts` holds, by account, the values of each record.
    pub fn median_of_medians(
        &mut self,
        accounts: &[Vec<Vec<f64>>],
        scratch: &mut Vec<f64>,
    ) -> Option<f64> {
        let mut medians = Vec::with_capacity(accounts.len());
        for _ in 0..accounts.len() {
            let account = &accounts[self.index(accounts.len())];
            medians.extend(self.median_of_clusters(account, scratch));
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

/// The interval of the median of accounts' medians; `accounts` holds, by account, the values of
/// each record. `None` for fewer than two records in all, as one has the exact interval of
/// [`super::interval`], and when a record has fewer than [`MIN_VALUES`] values.
pub fn clusters_interval(accounts: &[Vec<Vec<f64>>], seed: [u8; 32]) -> Option<(f64, f64)> {
    let records = || accounts.iter().flatten();
    if records().count() < 2 || records().any(|values| values.len() < MIN_VALUES) {
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
        let accounts = vec![
            vec![around(11.0, 6)],
            vec![around(10.5, 7)],
            vec![around(11.5, 8)],
        ];
        let first = clusters_interval(&accounts, SEED);
        assert_eq!(first, clusters_interval(&accounts, SEED));
        let (low, high) = first.expect("three accounts");
        assert!(
            (9.0..=11.0).contains(&low) && (11.0..=13.0).contains(&high),
            "{low} {high}"
        );
    }

    /// So many values within 1 % of a center.
    fn around(center: f64, values: u32) -> Vec<f64> {
        let place = |i| f64::from(i) / f64::from(values - 1) - 0.5;
        (0..values)
            .map(|i| center * (1.0 + 0.02 * place(i)))
            .collect()
    }

    #[test]
    fn drift_between_the_records_of_one_account_stays_in_its_interval() {
        let records: Vec<_> = [90.0, 97.0, 104.0, 110.0]
            .map(|center| around(center, 30))
            .into();
        let (low, high) = clusters_interval(std::slice::from_ref(&records), SEED).expect("four");
        // As if they were one record: far too narrow.
        let pooled = super::super::interval::median_interval(&records.concat()).expect("many");
        assert!(
            high - low > 10.0 && high - low >= pooled.high - pooled.low,
            "{low} {high}"
        );
    }

    #[test]
    fn short_records_and_single_ones_have_no_clusters_interval() {
        let long = || around(10.0, 6);
        assert!(clusters_interval(&[vec![long(), long()]], SEED).is_some());
        assert_eq!(clusters_interval(&[vec![long()]], SEED), None);
        assert_eq!(
            clusters_interval(&[vec![long()], vec![around(10.0, 5)]], SEED),
            None
        );
        assert_eq!(clusters_interval(&[], SEED), None);
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
