//! Which evaluation items a model answers rightly by greedy generation.

use candle_core::{D, Result};
use domain::suite::{Family, Item, Suite, item};

use crate::data::Packed;
use crate::model::Model;
use crate::parallel::parallel;

/// Items per forward pass.
const PASS: usize = 128;

/// Right answers out of all, for one group of items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) right: u32,
    pub(crate) items: u32,
}

impl Tally {
    pub(crate) fn share(self) -> f64 {
        f64::from(self.right) / f64::from(self.items)
    }

    pub(crate) fn of<'a>(graded: impl IntoIterator<Item = &'a (Item, bool)>) -> Self {
        graded
            .into_iter()
            .fold(Self::default(), |tally, (_, right)| Self {
                right: tally.right + u32::from(*right),
                items: tally.items + 1,
            })
    }

    pub(crate) fn of_family(graded: &[(Item, bool)], family: Family) -> Self {
        Self::of(graded.iter().filter(|(item, _)| item.id.family == family))
    }

    pub(crate) fn of_level(graded: &[(Item, bool)], family: Family, level: u8) -> Self {
        Self::of(
            graded
                .iter()
                .filter(|(item, _)| item.id.family == family && item.id.level == level),
        )
    }
}

/// The first `count` items under `seed`, each with whether the model's greedy answer is right.
///
/// Greedy generation is right exactly when every token of the right answer, and then the end, is
/// the likeliest after the right tokens before it; so one pass over prompt and right answer
/// decides, without generating.
pub(crate) fn grade(
    model: &Model,
    seed: &[u8; 32],
    count: u32,
    workers: usize,
) -> Result<Vec<(Item, bool)>> {
    let items: Vec<Item> = Suite::ReferenceV1
        .plan(count)
        .into_iter()
        .map(|id| item(seed, id))
        .collect();
    let passes: Vec<&[Item]> = items.chunks(PASS).collect();
    let right = parallel(passes.len(), workers, |pass| {
        grade_pass(model, passes[pass])
    })?;
    Ok(items.into_iter().zip(right.into_iter().flatten()).collect())
}

fn grade_pass(model: &Model, items: &[Item]) -> Result<Vec<bool>> {
    let batch = Packed::new(items);
    let likeliest = model.logits(&batch)?.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let mut hits = likeliest
        .into_iter()
        .zip(&batch.targets)
        .map(|(token, target)| token == *target);
    Ok(batch
        .answers
        .iter()
        .map(|&tokens| hits.by_ref().take(tokens).filter(|hit| *hit).count() == tokens)
        .collect())
}
