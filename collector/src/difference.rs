//! The difference in quality of two results, by the one rule that pages and API share.
//!
//! Where both answered enough of the same items these are compared one by one; else the two means
//! are. Either way zero lies in the interval if and only if the two cannot be told apart.

use std::collections::BTreeMap;

use domain::api::Told;
use domain::statistics::paired::Paired;
use domain::statistics::planner::{POWER, items_needed};
use domain::statistics::stratified::{StratifiedMean, unpaired_difference};

use crate::derive::{ItemKey, ItemSample, MIN_ITEMS, stratified};

/// Answers by item.
type Items = BTreeMap<ItemKey, ItemSample>;

/// Quality of one result less that of its base.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    /// In points of 100.
    pub(crate) points: f64,
    /// Its 95 % interval, in points.
    pub(crate) ci95: (f64, f64),
    /// The items that both answered, where there are enough.
    pub(crate) paired: Option<Paired>,
    /// Whether the two can be told apart.
    pub(crate) told: Told,
    /// Items, the same for both, that would tell a difference of this size.
    pub(crate) items_needed: Option<u32>,
}

impl Difference {
    /// `None` where a side has no answers.
    pub(crate) fn between(base: &Items, other: &Items) -> Option<Self> {
        let paired =
            Paired::of(pairs(base, other).map(|(base, other)| (base.correct, other.correct)));
        if paired.items as usize >= MIN_ITEMS {
            Self::one_by_one(paired)
        } else {
            Some(Self::of_means(&stratified(base)?, &stratified(other)?))
        }
    }

    fn one_by_one(paired: Paired) -> Option<Self> {
        let (share, (low, high)) = (paired.difference()?, paired.interval()?);
        Some(Self {
            points: 100.0 * share,
            ci95: (100.0 * low, 100.0 * high),
            told: paired.told(),
            items_needed: items_needed(share, paired.discordant()?, POWER),
            paired: Some(paired),
        })
    }

    fn of_means(base: &StratifiedMean, other: &StratifiedMean) -> Self {
        let (share, (low, high)) = unpaired_difference(base, other);
        // As many items would differ if the two answered independently of each other.
        let discordant = base.value * (1.0 - other.value) + other.value * (1.0 - base.value);
        Self {
            points: 100.0 * share,
            ci95: (100.0 * low, 100.0 * high),
            paired: None,
            told: match (low > 0.0, high < 0.0) {
                (true, _) => Told::Better,
                (_, true) => Told::Worse,
                _ => Told::NotApart,
            },
            items_needed: items_needed(share, discordant, POWER),
        }
    }
}

/// The answers of both to each item that both answered.
pub(crate) fn pairs<'a>(
    base: &'a Items,
    other: &'a Items,
) -> impl Iterator<Item = (&'a ItemSample, &'a ItemSample)> {
    base.iter()
        .filter_map(|(key, sample)| Some((sample, other.get(key)?)))
}

#[cfg(test)]
mod tests {
    use domain::ids::Sha256Digest;
    use domain::suite::Suite;

    use super::*;

    /// The first items of a plan, some of them right.
    fn answers(seed: u8, items: u32, right: impl Fn(u32) -> bool) -> Items {
        let ids = (0..items).zip(Suite::ReferenceV1.plan(items));
        ids.map(|(place, id)| {
            let key = ItemKey {
                seed: Sha256Digest([seed; 32]),
                family: id.family,
                level: id.level,
                index: id.index,
            };
            (key, ItemSample::of(right(place)))
        })
        .collect()
    }

    #[test]
    fn the_same_items_are_compared_one_by_one() {
        let base = answers(1, 210, |place| place % 5 != 0);
        let other = answers(1, 140, |place| place % 5 != 0 && place % 7 != 1);
        let difference = Difference::between(&base, &other).expect("answered");
        let paired = difference.paired.expect("140 in common");
        assert_eq!((paired.items, paired.lost, paired.gained), (140, 16, 0));
        assert!((difference.points + 1_600.0 / 140.0).abs() < 1e-9);
        assert_eq!(difference.told, Told::Worse);
        assert!(difference.ci95.1 < 0.0);
        assert!(difference.items_needed.is_some_and(|items| items < 140));
    }

    #[test]
    fn other_items_are_compared_by_their_means() {
        let base = answers(1, 210, |place| place % 5 != 0);
        let other = answers(2, 210, |place| place % 5 != 0 && place % 7 != 1);
        let apart = Difference::between(&base, &other).expect("answered");
        assert_eq!(apart.paired, None);
        let paired = Difference::between(&base, &answers(1, 210, |p| p % 5 != 0 && p % 7 != 1));
        let width = |difference: &Difference| difference.ci95.1 - difference.ci95.0;
        assert!(width(&apart) > width(&paired.expect("answered")));
    }

    #[test]
    fn equals_cannot_be_told_apart_by_any_number_of_items() {
        let items = answers(1, 210, |place| place % 3 != 0);
        let same = Difference::between(&items, &items).expect("answered");
        assert_eq!((same.told, same.items_needed), (Told::NotApart, None));
        assert!(same.ci95.0 < 0.0 && same.ci95.1 > 0.0);
        assert_eq!(Difference::between(&items, &Items::new()), None);
    }
}
