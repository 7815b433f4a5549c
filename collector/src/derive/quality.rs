//! Answers to scores: the items are made again from suite and seed, and scored here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use domain::api::{FamilyScore, Figure};
use domain::ids::Sha256Digest;
use domain::record::{AnsweredItem, Finish, Record};
use domain::statistics::bootstrap::{ratio_interval, ratio_of_sums};
use domain::statistics::proportion::clopper_pearson;
use domain::suite::{self, Family, ItemId};

use super::{ItemKey, ItemSample};

/// Items under which no quality is published.
pub(super) const MIN_ITEMS: usize = 100;

static KNOWN_DIGEST: LazyLock<Sha256Digest> = LazyLock::new(|| Sha256Digest(suite::digest()));

/// A record's scored answers.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredSuite {
    /// Suite version.
    pub suite: String,
    /// Seed of the items.
    pub seed: Sha256Digest,
    /// In the order of the answers.
    pub items: Vec<ScoredItem>,
}

/// One scored item, with every span in which the engine worked on it.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredItem {
    /// Which item.
    pub id: ItemId,
    /// Its answer (the picked one of several samples) is right.
    pub correct: bool,
    /// Any of its samples is right: what the best verifier could have picked.
    pub any_correct: bool,
    /// From the first sample's question to the last one's answer.
    pub seconds: f64,
}

impl ScoredSuite {
    /// The key of an item across cells.
    pub fn key(&self, id: ItemId) -> ItemKey {
        ItemKey {
            seed: self.seed,
            family: id.family,
            level: id.level,
            index: id.index,
        }
    }
}

/// Scores a record's answers. The items must be exactly the suite's plan of that many, each
/// with as many answers as the workload asks: who could choose could choose the easy ones.
pub(super) fn scored(record: &Record) -> Result<ScoredSuite, String> {
    let (Some(asked), Some(quality)) = (&record.suite, &record.quality) else {
        return Err("no suite was asked".to_owned());
    };
    if asked.version.as_str() != suite::REFERENCE_V1 || asked.digest != *KNOWN_DIGEST {
        return Err(format!(
            "the items of suite {} cannot be made again here",
            asked.version
        ));
    }
    let mut answers: BTreeMap<ItemId, Vec<&AnsweredItem>> = BTreeMap::new();
    let mut order = Vec::new();
    for answer in &quality.items {
        let family = Family::from_name(answer.family.as_str())
            .ok_or_else(|| format!("{} is no family of suite {}", answer.family, asked.version))?;
        let id = ItemId {
            family,
            level: answer.level,
            index: answer.index,
        };
        let samples = answers.entry(id).or_default();
        if samples.is_empty() {
            order.push(id);
        }
        samples.push(answer);
    }
    let planned: BTreeSet<ItemId> = suite::plan(order.len() as u32).into_iter().collect();
    if !planned.iter().eq(answers.keys()) {
        return Err("the answered items are not those that the suite plans".to_owned());
    }
    let samples = record.workload.samples as usize;
    if let Some((id, given)) = answers.iter().find(|(_, given)| given.len() != samples) {
        return Err(format!(
            "item {id} has {} answers, {samples} are asked of each",
            given.len()
        ));
    }
    let items = order
        .into_iter()
        .map(|id| ScoredItem {
            id,
            correct: is_correct(asked.seed, id, &answers[&id]),
            any_correct: answers[&id].iter().any(|one| is_right(asked.seed, id, one)),
            seconds: seconds(&answers[&id]),
        })
        .collect();
    Ok(ScoredSuite {
        suite: asked.version.to_string(),
        seed: asked.seed,
        items,
    })
}

/// Right only if exactly one sample was picked, it ended by itself, and it is the answer:
/// truncated, empty and late answers are wrong.
fn is_correct(seed: Sha256Digest, id: ItemId, samples: &[&AnsweredItem]) -> bool {
    let chosen = match samples {
        [only] => Some(*only),
        several => {
            let mut picked = several.iter().filter(|sample| sample.picked);
            picked.next().copied().filter(|_| picked.next().is_none())
        }
    };
    chosen.is_some_and(|answer| is_right(seed, id, answer))
}

fn is_right(seed: Sha256Digest, id: ItemId, answer: &AnsweredItem) -> bool {
    answer.finish == Finish::Stop && suite::score(&suite::item(&seed.0, id), answer.answer.as_str())
}

fn seconds(samples: &[&AnsweredItem]) -> f64 {
    let first = samples.iter().map(|sample| sample.start_ns).min();
    let last = samples.iter().map(|sample| sample.end_ns).max();
    let ns = last.unwrap_or(0).saturating_sub(first.unwrap_or(0));
    ns as f64 / 1e9
}

/// The share of right answers with its Clopper-Pearson interval. An item that several accounts
/// answered counts once: it is one item, however often it was asked.
pub(super) fn figure(items: &BTreeMap<ItemKey, ItemSample>) -> Result<Figure, String> {
    if items.len() < MIN_ITEMS {
        return Err(format!(
            "{} items were asked, {MIN_ITEMS} are needed",
            items.len()
        ));
    }
    let (correct, n) = tally(items.values());
    Ok(Figure {
        value: f64::from(correct) / f64::from(n),
        ci95: Some(clopper_pearson(correct, n, 0.95)),
        n,
    })
}

/// Share of items of which any sample is right.
pub(super) fn oracle(items: &BTreeMap<ItemKey, ItemSample>) -> Option<f64> {
    let right = items.values().filter(|item| item.any_correct).count();
    (!items.is_empty()).then(|| right as f64 / items.len() as f64)
}

/// Mean seconds from question to answer, with an interval over items within families.
pub(super) fn seconds_per_answer(
    items: &BTreeMap<ItemKey, ItemSample>,
    seed: [u8; 32],
) -> Option<Figure> {
    let mut families: BTreeMap<Family, Vec<(f64, f64)>> = BTreeMap::new();
    for (key, item) in items {
        let family = families.entry(key.family).or_default();
        family.push((item.seconds, 1.0));
    }
    let families: Vec<_> = families.into_values().collect();
    Some(Figure {
        value: ratio_of_sums(families.iter().flatten())?,
        ci95: ratio_interval(&families, seed),
        n: items.len() as u32,
    })
}

/// Accuracy by family, in the suite's order.
pub(super) fn families(items: &BTreeMap<ItemKey, ItemSample>) -> Vec<FamilyScore> {
    Family::ALL
        .into_iter()
        .filter_map(|family| {
            let (correct, n) = tally(
                items
                    .iter()
                    .filter(|(key, _)| key.family == family)
                    .map(|(_, item)| item),
            );
            let (low, high) = clopper_pearson(correct, n, 0.95);
            (n > 0).then(|| FamilyScore {
                family: family.name().to_owned(),
                description: family.describe().to_owned(),
                correct,
                items: n,
                accuracy: f64::from(correct) / f64::from(n),
                accuracy_ci95_low: low,
                accuracy_ci95_high: high,
            })
        })
        .collect()
}

fn tally<'a>(items: impl Iterator<Item = &'a ItemSample>) -> (u32, u32) {
    items.fold((0, 0), |(correct, n), item| {
        (correct + u32::from(item.correct), n + 1)
    })
}
