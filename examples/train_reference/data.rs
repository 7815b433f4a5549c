//! Batches of items as tokens, laid end to end without padding.

use std::sync::Arc;

use domain::byte_tokenizer::{BOS, ByteTokenizer, EOS};
use domain::suite::reference::{LEVELS, training_item};
use domain::suite::{Family, Item};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use sha2::{Digest, Sha256};

use crate::model::Size;

/// Items of each level that a batch holds: more of the families that are learnt last.
const ITEMS_PER_LEVEL: [(Family, usize); 7] = [
    (Family::Addition, 20),
    (Family::Copy, 8),
    (Family::Reverse, 10),
    (Family::Sort, 7),
    (Family::Recall, 16),
    (Family::Modular, 16),
    (Family::Brackets, 7),
];

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
/// It depends on the seed, the size and the step alone, so a resumed run sees what an uninterrupted one would
/// have seen.
pub(crate) fn training_batch(seed: u64, size: Size, step: u64, parts: usize) -> Vec<Packed> {
    let mut rng = stream(size.name(), seed, step);
    let mut split: Vec<Vec<Item>> = (0..parts).map(|_| Vec::new()).collect();
    let mut next = 0;
    for (family, items) in ITEMS_PER_LEVEL {
        for level in 1..=LEVELS {
            for _ in 0..items {
                split[next % parts].push(training_item(&mut rng, family, level));
                next += 1;
            }
        }
    }
    split.iter().map(|items| Packed::new(items)).collect()
}

/// A random stream for one purpose of a training run.
pub(crate) fn stream(purpose: &str, seed: u64, step: u64) -> ChaCha8Rng {
    let text = format!("joulemark training {purpose} {seed} {step}");
    ChaCha8Rng::from_seed(Sha256::digest(text).into())
}
