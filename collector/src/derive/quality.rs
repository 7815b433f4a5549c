//! Answers to scores: the items are made again from suite and seed, and scored here.

use std::collections::{BTreeMap, BTreeSet};

use domain::api::{FamilyScore, Figure, VariantFamily};
use domain::ids::Sha256Digest;
use domain::record::{AnsweredItem, Finish, Record};
use domain::statistics::bootstrap::{ratio_interval, ratio_of_sums};
use domain::statistics::proportion::clopper_pearson;
use domain::statistics::stratified::{StratifiedMean, stratified_mean};
use domain::suite::{self, Family, Item, ItemId, Suite, Verdict};

use super::{ItemKey, ItemSample, Text};

/// Items under which no quality is published.
pub(crate) const MIN_ITEMS: usize = 100;

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
    /// No answer could be found in the text that counts: wrong, and counted apart.
    pub unextractable: bool,
    /// Any of its samples is right: what the best verifier could have picked.
    pub any_correct: bool,
    /// The text that counts; `None` where none was picked, or it did not end by itself.
    pub answer: Option<Text>,
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
    let suite = Suite::from_name(asked.version.as_str())
        .filter(|suite| asked.digest.0 == suite.digest())
        .ok_or_else(|| {
            format!(
                "the items of suite {} cannot be made again here",
                asked.version
            )
        })?;
    let mut answers: BTreeMap<ItemId, Vec<&AnsweredItem>> = BTreeMap::new();
    let mut order = Vec::new();
    for answer in &quality.items {
        let family = Family::from_name(answer.family.as_str())
            .filter(|family| family.suite() == suite)
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
    let planned: BTreeSet<ItemId> = suite.plan(order.len() as u32).into_iter().collect();
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
        .map(|id| {
            let item = suite::item(&asked.seed.0, id);
            let chosen = chosen(&answers[&id]);
            let verdict = chosen.map(|answer| judged(&item, answer));
            let right = |answer: &&AnsweredItem| judged(&item, answer) == Verdict::Right;
            ScoredItem {
                id,
                correct: verdict == Some(Verdict::Right),
                unextractable: verdict == Some(Verdict::Unextractable),
                any_correct: answers[&id].iter().any(right),
                answer: chosen.and_then(text_of),
                seconds: seconds(&answers[&id]),
            }
        })
        .collect();
    Ok(ScoredSuite {
        suite: asked.version.to_string(),
        seed: asked.seed,
        items,
    })
}

/// The sample that counts: the only one, or the one that was picked.
fn chosen<'a>(samples: &[&'a AnsweredItem]) -> Option<&'a AnsweredItem> {
    match samples {
        [only] => Some(*only),
        several => {
            let mut picked = several.iter().filter(|sample| sample.picked);
            picked.next().copied().filter(|_| picked.next().is_none())
        }
    }
}

/// What an answer is. One that did not end by itself, truncated or late, is wrong whatever it says.
fn judged(item: &Item, answer: &AnsweredItem) -> Verdict {
    match suite::score(item, answer.answer.as_str()) {
        Verdict::Right if answer.finish != Finish::Stop => Verdict::Wrong,
        verdict => verdict,
    }
}

/// Tells one text from another, by eight bytes of its SHA-256. What an answer that was stopped or
/// failed would have said is not known: two failures do not agree.
fn text_of(answer: &AnsweredItem) -> Option<Text> {
    let kept = answer.answer.as_str().as_bytes();
    let digest = Sha256Digest::of(kept).0;
    (answer.finish == Finish::Stop).then(|| Text {
        digest: u64::from_le_bytes([
            digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
        ]),
        cut: answer.answer_bytes.map(|bytes| (kept.len() as u64, bytes)),
    })
}

fn seconds(samples: &[&AnsweredItem]) -> f64 {
    let first = samples.iter().map(|sample| sample.start_ns).min();
    let last = samples.iter().map(|sample| sample.end_ns).max();
    let ns = last.unwrap_or(0).saturating_sub(first.unwrap_or(0));
    ns as f64 / 1e9
}

/// The mean of the families' shares of right answers, with its interval. An item that several
/// accounts answered counts once: it is one item, however often it was asked.
pub(super) fn figure(items: &BTreeMap<ItemKey, ItemSample>) -> Result<Figure, String> {
    let mean = stratified(items).filter(|_| items.len() >= MIN_ITEMS);
    let mean =
        mean.ok_or_else(|| format!("{} items were asked, {MIN_ITEMS} are needed", items.len()))?;
    Ok(Figure {
        value: mean.value,
        ci95: Some(mean.ci95),
        n: mean.items,
    })
}

/// The suite mean of some answers; `None` without any.
pub(crate) fn stratified(items: &BTreeMap<ItemKey, ItemSample>) -> Option<StratifiedMean> {
    let mut families: BTreeMap<Family, (u32, u32)> = BTreeMap::new();
    for (key, item) in items {
        let family = families.entry(key.family).or_default();
        family.0 += u32::from(item.correct);
        family.1 += 1;
    }
    stratified_mean(&families.into_values().collect::<Vec<_>>())
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

/// Accuracy by family and level, in the suite's order; level 0 stands for all levels.
pub(super) fn families(items: &BTreeMap<ItemKey, ItemSample>, result: &str) -> Vec<VariantFamily> {
    let mut tallies: BTreeMap<(Family, u8), (u32, u32, u32)> = BTreeMap::new();
    for (key, item) in items {
        for level in [0, key.level] {
            let tally = tallies.entry((key.family, level)).or_default();
            tally.0 += u32::from(item.correct);
            tally.1 += 1;
            tally.2 += u32::from(item.unextractable);
        }
    }
    tallies
        .into_iter()
        .map(|((family, level), (correct, n, unextractable))| {
            let (low, high) = clopper_pearson(correct, n, 0.95);
            VariantFamily {
                result: result.to_owned(),
                level,
                score: FamilyScore {
                    family: family.name().to_owned(),
                    description: family.describe().to_owned(),
                    correct,
                    items: n,
                    unextractable,
                    accuracy: f64::from(correct) / f64::from(n),
                    accuracy_ci95_low: low,
                    accuracy_ci95_high: high,
                },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
