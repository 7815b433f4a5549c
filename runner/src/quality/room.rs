//! How much of each answer a record can hold.
//!
//! Answers are kept whole up to the cap of a text ([`MAX_ANSWER_BYTES`]). Only where all of them
//! together are more than the record has room for is one bound lowered for all, as little as
//! needed; but an answer that has to be long (JSON, a rewritten text) keeps at least twice what the
//! right one takes, so that a bound which chatter made necessary does not cut what is right.

use domain::record::AnsweredItem;
use domain::suite::Item;
use domain::text::{Answer, MAX_ANSWER_BYTES};

use crate::measure::json_bytes;

/// An answer whose text is not yet cut.
#[derive(Debug)]
pub(super) struct Whole {
    /// All but its text.
    pub(super) answered: AnsweredItem,
    /// The text without thinking: at most its last [`MAX_ANSWER_BYTES`].
    pub(super) text: Answer,
    /// Length of the text before that.
    pub(super) bytes: u64,
    /// Nothing of it was lost.
    pub(super) is_complete: bool,
    /// Bytes that are kept in any case.
    pub(super) least: usize,
}

impl Whole {
    /// An answer to an item that says `text`.
    pub(super) fn new(answered: AnsweredItem, item: &Item, text: &str) -> Self {
        let end = Answer::ending(text, MAX_ANSWER_BYTES);
        Self {
            answered,
            // Cleaning changes lengths, but never the number of characters.
            is_complete: end.as_str().chars().count() == text.chars().count(),
            text: end,
            bytes: text.len() as u64,
            least: (2 * item.answer.len() + 64).min(MAX_ANSWER_BYTES),
        }
    }

    /// As a record holds it, its text cut to `most` bytes.
    fn cut(&self, most: usize) -> AnsweredItem {
        let answer = Answer::ending(self.text.as_str(), most);
        let is_complete = self.is_complete && answer == self.text;
        AnsweredItem {
            answer_bytes: (!is_complete).then_some(self.bytes),
            answer,
            ..self.answered.clone()
        }
    }
}

/// The answers as they fit `room` bytes of JSON, and the bound on their texts: the least that is
/// kept of those that have to be long may be more.
pub(super) fn fitted(answers: &[Whole], room: usize) -> (Vec<AnsweredItem>, u32) {
    let cut = |most: usize, keeps_least: bool| -> Vec<AnsweredItem> {
        let of = |whole: &Whole| whole.cut(most.max(if keeps_least { whole.least } else { 0 }));
        answers.iter().map(of).collect()
    };
    for keeps_least in [true, false] {
        if let Some(most) = largest(|most| json_bytes(&cut(most, keeps_least)) <= room) {
            return (cut(most, keeps_least), most as u32);
        }
    }
    // The plan's bound on answers leaves room for all but their texts.
    (cut(0, false), 0)
}

/// The largest bound up to the cap that holds, of bounds that hold the more the smaller they are.
pub(crate) fn largest(holds: impl Fn(usize) -> bool) -> Option<usize> {
    if holds(MAX_ANSWER_BYTES) {
        return Some(MAX_ANSWER_BYTES);
    }
    if !holds(0) {
        return None;
    }
    let (mut fits, mut fails) = (0, MAX_ANSWER_BYTES);
    while fails - fits > 1 {
        let middle = usize::midpoint(fits, fails);
        if holds(middle) {
            fits = middle;
        } else {
            fails = middle;
        }
    }
    Some(fits)
}
