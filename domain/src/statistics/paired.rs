//! Two results on the same items: what one lost and gained, and whether they can be told apart.
//!
//! Items that both answered rightly, or both wrongly, say nothing of a difference: all rests on the
//! items that one of the two lost and the other did not. There is one decision, the exact
//! two-sided McNemar test at 5 % (never the mid-p), and the interval agrees with it: two results
//! can be told apart if and only if p is below 0.05, if and only if the interval leaves out zero.
//!
//! The interval is Tango's score interval of the difference of paired shares (T. Tango, *Equivalence
//! test and confidence interval for the difference in proportions for the paired-sample design*,
//! Statistics in Medicine 17, 1998). Around zero it is the asymptotic McNemar test turned round,
//! which tells apart a little sooner than the exact one; where only it does, the interval is
//! extended to touch zero. By exact enumeration its coverage is 93.3 to 100 % (in 78 of 80 cases
//! 94 % and more) for 100 to 1,000 items of which 1 to 20 % are expected to be discordant, however
//! one-sided.
//!
//! A suite's plan gives every family the same number of items, give or take one, so each item
//! counts once here and families weigh the same to within that one item.

use statrs::distribution::{Binomial, DiscreteCDF};

use crate::api::Told;

/// Two results are told apart when p is below it.
pub const ALPHA: f64 = 0.05;

/// Two-sided 95 % quantile of the normal distribution.
pub(super) const Z95: f64 = 1.959_963_984_540_054;

/// One-sided 95 % quantile of the normal distribution.
pub(super) const Z95_ONE_SIDED: f64 = 1.644_853_626_951_472_2;

/// How two results answered the same items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Paired {
    /// Items that both answered.
    pub items: u32,
    /// Items that the base answered rightly and the other wrongly.
    pub lost: u32,
    /// Items that the other answered rightly and the base wrongly.
    pub gained: u32,
}

impl Paired {
    /// Counts pairs of (base is right, other is right).
    pub fn of(pairs: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let mut paired = Self::default();
        for (base, other) in pairs {
            paired.items += 1;
            paired.lost += u32::from(base && !other);
            paired.gained += u32::from(!base && other);
        }
        paired
    }

    /// Share of right answers of the other less that of the base, -1 to 1; `None` without items.
    pub fn difference(&self) -> Option<f64> {
        let lead = f64::from(self.gained) - f64::from(self.lost);
        (self.items > 0).then(|| lead / f64::from(self.items))
    }

    /// Share of items on which the two differ; `None` without items.
    pub fn discordant(&self) -> Option<f64> {
        let differing = f64::from(self.gained) + f64::from(self.lost);
        (self.items > 0).then(|| differing / f64::from(self.items))
    }

    /// Two-sided p of the exact McNemar test; 1 when no item tells the two apart.
    pub fn mcnemar_p(&self) -> f64 {
        let differing = self.lost.saturating_add(self.gained);
        two_sided_p(self.lost.min(self.gained), differing)
    }

    /// Whether the two can be told apart, and which is better: the other, or the base.
    pub fn told(&self) -> Told {
        if self.mcnemar_p() >= ALPHA {
            Told::NotApart
        } else if self.gained > self.lost {
            Told::Better
        } else {
            Told::Worse
        }
    }

    /// The difference's 95 % interval; it leaves out zero if and only if the two can be told
    /// apart. `None` without items.
    pub fn interval(&self) -> Option<(f64, f64)> {
        if self.items == 0 {
            return None;
        }
        let (low, high) = self.tango(Z95);
        Some(match self.told() {
            Told::NotApart => (low.min(0.0), high.max(0.0)),
            Told::Better | Told::Worse => (low, high),
        })
    }

    /// The largest share of items that the other can have lost on balance, one-sided 95 %: the
    /// upper end of Tango's interval of (lost - gained) / items. `None` without items.
    pub fn most_lost(&self) -> Option<f64> {
        (self.items > 0).then(|| -self.tango(Z95_ONE_SIDED).0)
    }

    /// One-sided p of the exact test that the other is no worse: the probability that of as many
    /// fair coins as items differ at least as many fall on the lost side.
    pub fn worse_p(&self) -> f64 {
        one_sided_p(self.gained, self.lost.saturating_add(self.gained))
    }

    /// Tango's interval of (gained - lost) / items: the differences whose score is within `z`.
    fn tango(&self, z: f64) -> (f64, f64) {
        let [gained, lost, items] = [self.gained, self.lost, self.items].map(f64::from);
        let score = |difference| tango_score(gained, lost, items, difference);
        // The score falls as the difference grows; NaN (nothing against nothing) ends the search.
        let crosses = |level: f64, mut from: f64, mut to: f64| {
            for _ in 0..50 {
                let middle = f64::midpoint(from, to);
                if score(middle) > level {
                    from = middle;
                } else {
                    to = middle;
                }
            }
            f64::midpoint(from, to)
        };
        let seen = (gained - lost) / items;
        (crosses(z, -1.0, seen), crosses(-z, seen, 1.0))
    }
}

/// Probability that of so many fair coins at most `fewer` fall on one side or on the other.
pub(super) fn two_sided_p(fewer: u32, coins: u32) -> f64 {
    (2.0 * one_sided_p(fewer, coins)).min(1.0)
}

/// Probability that of so many fair coins at most `fewer` fall on one side; 1 without coins.
fn one_sided_p(fewer: u32, coins: u32) -> f64 {
    if coins == 0 {
        return 1.0;
    }
    let fair = Binomial::new(0.5, u64::from(coins)).expect("one half is a probability");
    fair.cdf(u64::from(fewer))
}

/// Tango's score of a difference of (gained - lost) / items, standard normal where it is the truth.
pub(super) fn tango_score(gained: f64, lost: f64, items: f64, difference: f64) -> f64 {
    let lead = gained - lost - items * difference;
    // The share of lost items that is likeliest given the difference.
    let b = (2.0 * items - gained + lost) * difference - gained - lost;
    let c = -lost * difference * (1.0 - difference);
    let likeliest = ((b * b - 8.0 * items * c).max(0.0).sqrt() - b) / (4.0 * items);
    let variance = items * (2.0 * likeliest + difference * (1.0 - difference));
    if variance > 0.0 {
        lead / variance.sqrt()
    } else {
        lead * f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::Discrete;

    fn paired(items: u32, lost: u32, gained: u32) -> Paired {
        Paired {
            items,
            lost,
            gained,
        }
    }

    #[test]
    fn p_is_that_of_the_sign_test() {
        // As binom.test(fewer, differing)$p.value of R.
        for (lost, gained, p) in [
            (0, 0, 1.0),
            (3, 3, 1.0),
            (0, 5, 0.0625),
            (6, 0, 0.031_25),
            (1, 7, 0.070_312_5),
            (1, 8, 0.039_062_5),
            (10, 25, 0.016_673_85),
        ] {
            let found = paired(100, lost, gained).mcnemar_p();
            assert!((found - p).abs() < 1e-7, "{lost} {gained}: {found}");
        }
    }

    #[test]
    fn the_interval_is_tangos() {
        // No discordant item of n: z^2 / (n + z^2) to both sides.
        let (low, high) = paired(200, 0, 0).tango(Z95);
        let known = Z95 * Z95 / (200.0 + Z95 * Z95);
        assert!((high - known).abs() < 1e-9 && (low + known).abs() < 1e-9);
        // All gained: the whole range is used.
        let (low, high) = paired(50, 0, 50).tango(Z95);
        assert!(low > 0.8 && (high - 1.0).abs() < 1e-9, "{low} {high}");
    }

    #[test]
    fn the_ends_are_where_the_score_test_turns() {
        // The likeliest shares under a fixed difference, found by plain search.
        let by_search = |gained: f64, lost: f64, items: f64, difference: f64| {
            let likelihood = |q: f64| {
                let both = items - gained - lost;
                let term = |count: f64, share: f64| {
                    if count > 0.0 { count * share.ln() } else { 0.0 }
                };
                term(gained, q + difference)
                    + term(lost, q)
                    + term(both, 1.0 - 2.0 * q - difference)
            };
            let (from, to) = ((-difference).max(0.0), (1.0 - difference) / 2.0);
            let steps = 200_000;
            let q = (1..steps)
                .map(|step| from + (to - from) * f64::from(step) / f64::from(steps))
                .max_by(|a, b| likelihood(*a).total_cmp(&likelihood(*b)))
                .expect("many steps");
            (gained - lost - items * difference)
                / (items * (2.0 * q + difference * (1.0 - difference))).sqrt()
        };
        for (gained, lost, items) in [(12, 3, 100), (2, 9, 200), (40, 35, 150)] {
            let paired = paired(items, lost, gained);
            let score = |z: f64| {
                let [gained, lost, items] = [gained, lost, items].map(f64::from);
                let (low, high) = paired.tango(z);
                [low, high].map(|end| by_search(gained, lost, items, end))
            };
            for z in [Z95, Z95_ONE_SIDED] {
                let [low, high] = score(z);
                assert!((low - z).abs() < 1e-3 && (high + z).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn what_can_be_lost_at_the_most_is_the_lower_end_turned_round() {
        // No discordant item of n: z^2 / (n + z^2).
        let z = Z95_ONE_SIDED * Z95_ONE_SIDED;
        let most = paired(300, 0, 0).most_lost().expect("items");
        assert!((most - z / (300.0 + z)).abs() < 1e-9, "{most}");
        let (low, _) = paired(300, 9, 2).interval().expect("items");
        let most = paired(300, 9, 2).most_lost().expect("items");
        assert!(
            7.0 / 300.0 < most && most < -low,
            "one-sided is nearer: {most}"
        );
        assert!(paired(300, 2, 9).most_lost().expect("items") < most);
        assert_eq!(Paired::default().most_lost(), None);
    }

    #[test]
    fn p_of_being_worse_is_one_tail() {
        // As pbinom(gained, lost + gained, 0.5) of R.
        for (lost, gained, p) in [
            (0, 0, 1.0),
            (7, 0, 0.007_812_5),
            (6, 0, 0.015_625),
            (1, 8, 0.998_046_875),
            (25, 10, 0.008_336_925),
        ] {
            let found = paired(100, lost, gained).worse_p();
            assert!((found - p).abs() < 1e-7, "{lost} {gained}: {found}");
        }
    }

    #[test]
    fn told_apart_exactly_where_p_is_small_and_zero_is_left_out() {
        for items in [100, 200, 1_000] {
            for differing in 0..=items.min(300) {
                for lost in 0..=differing {
                    let paired = paired(items, lost, differing - lost);
                    let (low, high) = paired.interval().expect("items");
                    let told = match paired.told() {
                        Told::Better => low > 0.0,
                        Told::Worse => high < 0.0,
                        Told::NotApart => low <= 0.0 && high >= 0.0,
                    };
                    assert!(told, "{paired:?}: {low} to {high}");
                    assert_eq!(
                        paired.told() == Told::NotApart,
                        paired.mcnemar_p() >= ALPHA,
                        "{paired:?}"
                    );
                    let seen = paired.difference().expect("items");
                    assert!(low <= seen && seen <= high, "{paired:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_in_common_is_not_told_apart() {
        assert_eq!(Paired::default().interval(), None);
        assert_eq!(Paired::default().told(), Told::NotApart);
        let same = Paired::of([(true, true), (false, false)]);
        assert_eq!((same.items, same.told()), (2, Told::NotApart));
        assert_eq!(
            Paired::of([(true, false), (false, true), (false, true)]),
            paired(3, 1, 2)
        );
    }

    /// Probability that the interval holds the truth: over every outcome that is not too rare.
    fn coverage(items: u32, lost: f64, gained: f64) -> f64 {
        let law = Binomial::new(lost, u64::from(items)).expect("a share");
        let most = |share: f64| {
            let mean = f64::from(items) * share;
            ((mean + 6.0 * mean.sqrt() + 8.0) as u32).min(items)
        };
        let mut covered = 0.0;
        for l in 0..=most(lost) {
            let left = u64::from(items - l);
            let others = Binomial::new(gained / (1.0 - lost), left).expect("a share");
            for g in 0..=most(gained).min(items - l) {
                let (low, high) = paired(items, l, g).interval().expect("items");
                if low <= gained - lost && gained - lost <= high {
                    covered += law.pmf(u64::from(l)) * others.pmf(u64::from(g));
                }
            }
        }
        covered
    }

    #[test]
    fn the_interval_covers_with_few_discordant_items_too() {
        for items in [100, 200, 400, 1_000] {
            for discordant in [0.01, 0.03, 0.1, 0.2] {
                for lean in [0.0, 0.3, 0.6, 0.9, 0.99] {
                    let lost = discordant * (1.0 + lean) / 2.0;
                    let found = coverage(items, lost, discordant - lost);
                    assert!(found >= 0.933, "{items} {discordant} {lean}: {found}");
                }
            }
        }
    }
}
