//! The family `tables`: questions about a Markdown table, or about dates.
//!
//! Two items of three ask about a table: filters and sums at first, then products, groups and, at
//! the fifth level, two tables that belong together. One of three asks about dates of the Gregorian
//! calendar. Where an answer would be a mere name or weekday, which a guess could hit, the total or
//! the date belongs to the answer.

use rand_core::Rng;

use super::super::draw::below;
use super::words::answer_tokens;
use super::{Check, Drawn};

mod calendar;
mod rows;

pub(super) fn draw(rng: &mut impl Rng, level: u8) -> Drawn {
    let asked = match below(rng, 3) {
        0 => calendar::ask(rng, level),
        _ => rows::ask(rng, level),
    };
    let answer = match &asked.check {
        Check::List(words) => words.join(", "),
        Check::Text(text) => text.clone(),
        Check::Number { hundredths } => (hundredths / 100).to_string(),
        other => unreachable!("{other:?} is not asked for"),
    };
    Drawn {
        prompt: format!(
            "{}\nEnd with one line that starts with \"Answer:\" followed by {}.",
            asked.question, asked.form
        ),
        answer: format!("Answer: {answer}"),
        max_answer_tokens: answer_tokens(level),
        check: asked.check,
    }
}

/// A question, and the form that its answer has.
struct Asked {
    question: String,
    /// Follows "followed by".
    form: String,
    check: Check,
}

/// The check of a whole number.
const fn whole(number: i64) -> Check {
    Check::Number {
        hundredths: number * 100,
    }
}

#[cfg(test)]
mod tests;
