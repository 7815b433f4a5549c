//! The suite `core-v1`: what people ask language models for, generated and scored by exact rules.
//!
//! Nine families of five levels. A prompt is one chat message in plain English that ends by saying
//! how to answer; answers are free text, so blind guessing is right at most once in a hundred times.
//! The answer is first taken out of the text and then judged, by the rule that `extract.rs` states;
//! what cannot be found is unextractable, which is wrong and counted apart.

use rand_core::Rng;

use super::{Family, Verdict};

mod arithmetic;
mod constraints;
mod extract;
mod extraction;
#[cfg(test)]
mod laws;
mod ordering;
mod retrieval;
mod state;
mod tables;
mod tracing;
mod transformation;
mod words;

/// Levels of difficulty per family, numbered from one.
pub const LEVELS: u8 = 5;

/// One generated question.
pub(super) struct Drawn {
    pub(super) prompt: String,
    /// The shortest right answer.
    pub(super) answer: String,
    pub(super) max_answer_tokens: u32,
    pub(super) check: Check,
}

/// How an answer is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Check {
    /// A number in hundredths, however it is written: `1,234.50`, `$1234.5`.
    Number { hundredths: i64 },
    /// A word or phrase; letter case, quotes and closing punctuation do not count.
    Text(String),
    /// Words in this order, separated by commas.
    List(Vec<String>),
    /// These lines, exactly but for space at their ends.
    Lines(Vec<String>),
    /// This JSON value; the order of keys does not count.
    Json(serde_json::Value),
    /// All of these hold of the text.
    Constraints(Vec<constraints::Constraint>),
}

/// The question that a stream of random numbers gives; `level` is from one to [`LEVELS`].
pub(super) fn draw(rng: &mut impl Rng, family: Family, level: u8, index: u32) -> Drawn {
    match family {
        Family::Arithmetic => arithmetic::draw(rng, level),
        Family::State => state::draw(rng, level),
        Family::Ordering => ordering::draw(rng, level),
        Family::Retrieval => retrieval::draw(rng, level, index),
        Family::Extraction => extraction::draw(rng, level),
        Family::Constraints => constraints::draw(rng, level),
        Family::Tracing => tracing::draw(rng, level),
        Family::Tables => tables::draw(rng, level),
        Family::Transformation => transformation::draw(rng, level),
        other => unreachable!("{other} is no family of this suite"),
    }
}

/// Judges a text that a model wrote. The work is linear in its length.
pub(super) fn score(check: &Check, text: &str) -> Verdict {
    extract::score(check, text)
}

#[cfg(test)]
mod tests;
