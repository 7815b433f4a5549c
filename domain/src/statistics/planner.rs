//! How many items it takes to see a difference, or to show that none matters, and which difference
//! so many items can show.
//!
//! For two results on the same items, by the very decision of [`super::paired`]: the exact McNemar
//! test at 5 %. Power is the probability that the better one is told to be better, and is computed,
//! not approximated: the number of discordant items is binomial, and given it so is the number
//! that was lost. It depends on the difference and on the share of discordant items alone.

use statrs::distribution::{Binomial, ContinuousCDF, Discrete, DiscreteCDF, Normal};

use super::paired::{ALPHA, Z95, Z95_ONE_SIDED, tango_score, two_sided_p};

/// Power that published numbers of items aim at.
pub const POWER: f64 = 0.8;

/// Share of discordant items to plan with while nothing is known: that of two results that are each
/// right on half of the items, independently of each other. Variants of one model agree far more,
/// and need fewer items.
pub const DISCORDANT_UNKNOWN: f64 = 0.5;

/// The most items that are planned for.
pub const MOST_ITEMS: u32 = 1_000_000;

/// Numbers of discordant items that a power is summed over at most; of more, every so many-th.
const TERMS: u64 = 400;

/// Probability that `items` items tell two results apart, the better one as better, that differ by
/// `difference` (0 to 1, of the share of right answers) and answer a share `discordant` of items
/// differently. No fewer items than the difference itself can be discordant.
pub fn power(difference: f64, discordant: f64, items: u32) -> f64 {
    let difference = difference.abs().min(1.0);
    let discordant = discordant.clamp(difference, 1.0);
    if discordant <= 0.0 || difference <= 0.0 {
        return 0.0;
    }
    chance(difference, discordant, items, most_against)
}

/// Probability that of the discordant items, whose number is not known beforehand, no more speak
/// for the worse of the two than the decision allows for that number.
fn chance(
    difference: f64,
    discordant: f64,
    items: u32,
    allowed: impl Fn(u32) -> Option<u32>,
) -> f64 {
    let against = if discordant > 0.0 {
        (1.0 - difference / discordant) / 2.0
    } else {
        0.5
    };
    let Ok(differing) = Binomial::new(discordant, u64::from(items)) else {
        return 0.0;
    };
    let mean = discordant * f64::from(items);
    let reach = 6.0 * (mean * (1.0 - discordant)).sqrt() + 3.0;
    let from = (mean - reach).max(0.0) as u64;
    let to = ((mean + reach) as u64).min(u64::from(items));
    // Odd, so that even and odd numbers take turns: the test is finer on one than on the other.
    let step = ((to - from) / TERMS) | 1;
    let (mut told, mut all) = (0.0, 0.0);
    for coins in (from..=to).step_by(step as usize) {
        let weight = differing.pmf(coins);
        all += weight;
        let fewer = Binomial::new(against, coins).ok();
        if let Some((most, fewer)) = allowed(coins as u32).zip(fewer) {
            told += weight * fewer.cdf(u64::from(most));
        }
    }
    if all > 0.0 { told / all } else { 0.0 }
}

/// The most discordant items that may speak for the worse of the two while the test still tells
/// them apart; `None` below six, which never do.
fn most_against(coins: u32) -> Option<u32> {
    let n = f64::from(coins);
    // By the normal law, and then to where the exact one turns.
    let mut most = ((n - Z95 * n.sqrt()) / 2.0).max(0.0) as u32;
    while two_sided_p(most + 1, coins) < ALPHA {
        most += 1;
    }
    while two_sided_p(most, coins) >= ALPHA {
        most = most.checked_sub(1)?;
    }
    Some(most)
}

/// Probability that `items` items show that an unchanged result lost no more than `margin` (a share
/// of them) on balance, one-sided 95 % ([`super::paired::Paired::most_lost`]), if a share
/// `discordant` of them is answered differently, as often to its gain as to its loss.
pub fn power_to_show(margin: f64, discordant: f64, items: u32) -> f64 {
    chance(0.0, discordant.clamp(0.0, 1.0), items, |coins| {
        most_lost(margin, coins, items)
    })
}

/// The most items that may be lost, of so many that differ, while it still shows that no more than
/// `margin` was lost; `None` where even to gain all of them does not.
fn most_lost(margin: f64, coins: u32, items: u32) -> Option<u32> {
    let shown = |lost: u32| {
        let [gained, lost, items] = [coins - lost, lost, items].map(f64::from);
        tango_score(gained, lost, items, -margin) > Z95_ONE_SIDED
    };
    if !shown(0) {
        return None;
    }
    let (mut fits, mut fails) = (0, coins + 1);
    while fails - fits > 1 {
        let middle = u32::midpoint(fits, fails);
        if shown(middle) {
            fits = middle;
        } else {
            fails = middle;
        }
    }
    Some(fits)
}

/// Items that show it with at least that power, to three figures; `None` where more than
/// [`MOST_ITEMS`] would be needed. The power rises in teeth, because items are whole: the number is
/// where it passes what is wanted, and a few items more can fall below it by a percent.
pub fn items_to_show(margin: f64, discordant: f64, wanted: f64) -> Option<u32> {
    if !(margin > 0.0 && margin < 1.0 && (0.0..=1.0).contains(&discordant)) {
        return None;
    }
    if !(wanted > 0.0 && wanted < 1.0) {
        return None;
    }
    let quantiles = Z95_ONE_SIDED + Normal::standard().inverse_cdf(wanted);
    let about = quantiles * quantiles * discordant / (margin * margin);
    fewest(about, |items| {
        power_to_show(margin, discordant, items) >= wanted
    })
}

/// Items that tell a difference with at least that power, to three figures; `None` where no
/// difference is to be seen, or where more than [`MOST_ITEMS`] would be needed.
pub fn items_needed(difference: f64, discordant: f64, wanted: f64) -> Option<u32> {
    let difference = difference.abs();
    if !(difference > 0.0 && difference <= 1.0 && wanted > 0.0 && wanted < 1.0) {
        return None;
    }
    let normal = Normal::standard();
    let quantiles = Z95 + normal.inverse_cdf(wanted);
    let about =
        quantiles * quantiles * discordant.clamp(difference, 1.0) / (difference * difference);
    fewest(about, |items| {
        power(difference, discordant, items) >= wanted
    })
}

/// The fewest items that are enough, to three figures, from a number near it; `None` above
/// [`MOST_ITEMS`].
fn fewest(about: f64, enough: impl Fn(u32) -> bool) -> Option<u32> {
    if about > 2.0 * f64::from(MOST_ITEMS) {
        return None;
    }
    // Widened until it is enough, then halved to where it just is.
    let mut fails = 0;
    let mut fits = (about as u32).clamp(1, MOST_ITEMS);
    while !enough(fits) {
        if fits == MOST_ITEMS {
            return None;
        }
        fails = fits;
        fits = fits.saturating_add(fits / 4 + 4).min(MOST_ITEMS);
    }
    while fits - fails > 1 + fits / 1_000 {
        let middle = u32::midpoint(fails, fits);
        if enough(middle) {
            fits = middle;
        } else {
            fails = middle;
        }
    }
    Some(fits)
}

/// The smallest difference, 0 to 1, that so many items tell with at least that power; `None` where
/// not even the largest is told.
pub fn smallest_difference(items: u32, discordant: f64, wanted: f64) -> Option<f64> {
    let told = |difference: f64| power(difference, discordant, items) >= wanted;
    if !told(1.0) {
        return None;
    }
    let (mut fails, mut fits) = (0.0, 1.0);
    for _ in 0..20 {
        let middle = f64::midpoint(fails, fits);
        if told(middle) {
            fits = middle;
        } else {
            fails = middle;
        }
    }
    Some(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Told;
    use crate::statistics::bootstrap::Resampler;
    use crate::statistics::paired::Paired;

    /// Share of simulated runs in which the other is told to be worse. Of each family the chance
    /// that an item is lost, that it is gained, and its items.
    fn simulated(resampler: &mut Resampler, families: &[(f64, f64, u32)]) -> f64 {
        const RUNS: u32 = 3_000;
        let told = (0..RUNS)
            .filter(|_| {
                let mut paired = Paired::default();
                for &(lost, gained, items) in families {
                    for _ in 0..items {
                        let drawn = resampler.share();
                        paired.items += 1;
                        paired.lost += u32::from(drawn < lost);
                        paired.gained += u32::from(drawn >= 1.0 - gained);
                    }
                }
                paired.told() == Told::Worse
            })
            .count();
        told as f64 / f64::from(RUNS)
    }

    fn shares(difference: f64, discordant: f64) -> (f64, f64) {
        let lost = f64::midpoint(discordant, difference);
        (lost, discordant - lost)
    }

    #[test]
    fn promised_power_is_found_by_simulation() {
        let mut resampler = Resampler::new([3; 32]);
        for (difference, discordant) in [
            (0.01, 0.02),
            (0.02, 0.05),
            (0.02, 0.15),
            (0.03, 0.03),
            (0.05, 0.1),
            (0.05, 0.3),
            (0.1, 0.12),
            (0.1, 0.5),
            (0.2, 0.3),
            (0.4, 0.6),
        ] {
            let (lost, gained) = shares(difference, discordant);
            for items in [50, 100, 200, 450, 1_000] {
                let promised = power(difference, discordant, items);
                let found = simulated(&mut resampler, &[(lost, gained, items)]);
                assert!(
                    (promised - found).abs() < 0.03,
                    "{difference} {discordant} {items}: promised {promised}, found {found}"
                );
            }
        }
    }

    #[test]
    fn planned_items_have_the_power_that_was_asked_for() {
        let mut resampler = Resampler::new([4; 32]);
        for wanted in [0.5, 0.8, 0.95] {
            for (difference, discordant) in [
                (0.02, 0.06),
                (0.05, 0.1),
                (0.05, 0.25),
                (0.1, 0.2),
                (0.1, 0.5),
            ] {
                let items = items_needed(difference, discordant, wanted).expect("below the most");
                let (lost, gained) = shares(difference, discordant);
                let found = simulated(&mut resampler, &[(lost, gained, items)]);
                assert!(
                    (found - wanted).abs() < 0.03,
                    "{difference} {discordant}: {items} items for {wanted}, found {found}"
                );
            }
        }
    }

    #[test]
    fn promised_power_holds_where_families_differ() {
        let mut resampler = Resampler::new([5; 32]);
        // A third of the families lose all of it, and a third never differ.
        for (difference, discordant) in [(0.04, 0.1), (0.06, 0.2), (0.1, 0.2)] {
            let items = items_needed(difference, discordant, POWER).expect("below the most");
            let each = items.div_ceil(9);
            let (hard, easy) = (shares(2.5 * difference, 2.5 * discordant), (0.0, 0.0));
            let middle = shares(0.5 * difference, 0.5 * discordant);
            let families = [hard, middle, easy].repeat(3);
            let families: Vec<_> = families.into_iter().map(|(l, g)| (l, g, each)).collect();
            let found = simulated(&mut resampler, &families);
            let promised = power(difference, discordant, 9 * each);
            assert!((found - promised).abs() < 0.03, "{found} for {promised}");
        }
    }

    #[test]
    fn power_is_what_sums_over_every_outcome_give() {
        for (difference, discordant, items) in [(0.05, 0.2, 300), (0.2, 0.2, 40), (0.3, 0.9, 60)] {
            let (lost, gained) = shares(difference, discordant);
            let mut sum = 0.0;
            let (all, given) = (
                Binomial::new(lost, u64::from(items)).expect("a share"),
                gained / (1.0 - lost),
            );
            for l in 0..=items {
                let rest = Binomial::new(given, u64::from(items - l)).expect("a share");
                for g in 0..l {
                    let paired = Paired {
                        items,
                        lost: l,
                        gained: g,
                    };
                    if g <= items - l && paired.told() == Told::Worse {
                        sum += all.pmf(u64::from(l)) * rest.pmf(u64::from(g));
                    }
                }
            }
            let found = power(difference, discordant, items);
            assert!((found - sum).abs() < 1e-6, "{found} {sum}");
        }
    }

    #[test]
    fn thinned_sums_agree_with_whole_ones() {
        // 200,000 items at 30 % spread over 2,460 numbers of discordant items.
        let (difference, discordant, items) = (0.003f64, 0.3f64, 200_000);
        let normal = Normal::standard();
        let z = difference * f64::from(items).sqrt() / discordant.sqrt() - Z95;
        let found = power(difference, discordant, items);
        assert!((found - normal.cdf(z)).abs() < 2e-3, "{found}");
    }

    #[test]
    fn the_two_questions_answer_each_other() {
        for items in [100, 200, 1_000, 20_000] {
            for discordant in [0.05, 0.2, DISCORDANT_UNKNOWN] {
                let least = smallest_difference(items, discordant, POWER).expect("told");
                let needed = items_needed(least, discordant, POWER).expect("below the most");
                let near = f64::from(needed) / f64::from(items);
                assert!(
                    (0.97..=1.01).contains(&near),
                    "{items} {discordant}: {needed}"
                );
            }
        }
    }

    #[test]
    fn more_power_and_smaller_differences_take_more_items() {
        let needed = |difference, wanted| items_needed(difference, 0.2, wanted).expect("few");
        assert!(needed(0.05, 0.9) > needed(0.05, 0.8));
        assert!(needed(0.02, 0.8) > 5 * needed(0.05, 0.8));
    }

    #[test]
    fn an_unchanged_result_is_shown_as_often_as_simulation_finds() {
        const RUNS: u32 = 3_000;
        let mut resampler = Resampler::new([6; 32]);
        for (margin, discordant, items) in [(0.02, 0.02, 400), (0.03, 0.05, 520), (0.05, 0.2, 700)]
        {
            let shown = (0..RUNS)
                .filter(|_| {
                    let flip = discordant / 2.0;
                    let drawn = (0..items).map(|_| resampler.share());
                    let paired = Paired::of(drawn.map(|drawn| (drawn >= flip, drawn < 1.0 - flip)));
                    paired.most_lost().is_some_and(|most| most < margin)
                })
                .count();
            let found = shown as f64 / f64::from(RUNS);
            let promised = power_to_show(margin, discordant, items);
            assert!(
                (promised - found).abs() < 0.03,
                "{margin} {discordant} {items}: promised {promised}, found {found}"
            );
        }
    }

    #[test]
    fn what_is_shown_grows_with_items_and_margin_and_needs_some() {
        // None differs: z^2 / (n + z^2) < margin.
        assert_eq!(items_to_show(0.01, 0.0, 0.9), Some(268));
        let needed = |margin, discordant| items_to_show(margin, discordant, 0.9).expect("few");
        assert!(needed(0.01, 0.02) > needed(0.02, 0.02));
        assert!(needed(0.01, 0.05) > needed(0.01, 0.02));
        assert_eq!(items_to_show(0.0, 0.1, 0.9), None);
        assert_eq!(items_to_show(1e-4, 0.5, 0.9), None);
        assert_eq!(items_to_show(0.01, f64::NAN, 0.9), None);
    }

    #[test]
    fn no_difference_is_never_planned_for() {
        assert_eq!(items_needed(0.0, 0.2, POWER), None);
        assert_eq!(items_needed(1e-4, 0.5, POWER), None);
        assert_eq!(items_needed(f64::NAN, 0.5, POWER), None);
        assert_eq!(smallest_difference(5, 0.2, POWER), None);
        assert!(power(0.0, 0.2, 1_000) < 1e-9);
        assert!(power(0.1, 0.2, 0) < 1e-9);
    }
}
