//! Batches of items as tokens, laid end to end without padding.

use std::sync::Arc;

use domain::byte_tokenizer::{BOS, ByteTokenizer, EOS};
use domain::suite::{Family, Item, LEVELS, training_item};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// Family and level: every batch holds as many items of each.
pub(crate) const CELLS: usize = Family::ALL.len() * LEVELS as usize;

/// Sequences of begin token, prompt and answer, and where and what the model must predict.
pub(crate) struct Packed {
    /// Every input token, sequence after sequence.
    pub(crate) tokens: Vec<u32>,
    /// Input tokens per sequence.
    pub(crate) lengths: Arc<Vec<usize>>,
    /// Places in `tokens` at which an answer token or the end is predicted.
    pub(crate) predicting: Vec<u32>,
    /// What is to be predicted there.
    pub(crate) targets: Vec<u32>,
    /// Predictions per sequence.
    pub(crate) answers: Vec<usize>,
}

impl Packed {
    pub(crate) fn new(items: &[Item]) -> Self {
        let tokenizer = ByteTokenizer::reference();
        let (mut tokens, mut predicting, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        let (mut lengths, mut answers) = (Vec::new(), Vec::new());
        for item in items {
            let (prompt, answer) = (
                tokenizer.encode(&item.prompt),
                tokenizer.encode(&item.answer),
            );
            lengths.push(1 + prompt.len() + answer.len());
            answers.push(answer.len() + 1);
            tokens.push(BOS);
            tokens.extend(&prompt);
            let first = tokens.len() - 1;
            predicting.extend((first..=first + answer.len()).map(|place| place as u32));
            tokens.extend(&answer);
            targets.extend(answer);
            targets.push(EOS);
        }
        Self {
            tokens,
            lengths: Arc::new(lengths),
            predicting,
            targets,
            answers,
        }
    }
}

/// The batch of a training step, in `parts` parts of equal mixture.
///
/// It depends on the seed and the step alone, so a resumed run sees what an uninterrupted one would
/// have seen.
pub(crate) fn training_batch(
    seed: u64,
    step: u64,
    items_per_cell: usize,
    parts: usize,
) -> Vec<Packed> {
    let mut rng = stream("batch", seed, step);
    let mut split: Vec<Vec<Item>> = (0..parts).map(|_| Vec::new()).collect();
    for round in 0..items_per_cell {
        for (cell, (family, level)) in cells().enumerate() {
            split[(round * CELLS + cell) % parts].push(training_item(&mut rng, family, level));
        }
    }
    split.iter().map(|items| Packed::new(items)).collect()
}

/// A random stream for one purpose of a training run.
pub(crate) fn stream(purpose: &str, seed: u64, step: u64) -> ChaCha8Rng {
    let text = format!("joulemark training {purpose} {seed} {step}");
    ChaCha8Rng::from_seed(Sha256::digest(text).into())
}

fn cells() -> impl Iterator<Item = (Family, u8)> {
    Family::ALL
        .into_iter()
        .flat_map(|family| (1..=LEVELS).map(move |level| (family, level)))
}
