//! The suite `reference-v1`: short tasks that models of a few million parameters can learn.
//!
//! Every prompt starts with a marker byte of its family and ends with `=`.
//! Numbers in answers are written least significant digit first, the order in which carries are
//! computed; that keeps the arithmetic within reach of models of a few million parameters.
//! Guessing without reading the prompt is right at most once in fifty times, in every family and
//! level.

use rand_core::Rng;

use super::draw::{below, distinct, pick};
use super::{Check, Family, Item, ItemId, Suite, hash};

/// Levels of difficulty per family, numbered from one.
pub const LEVELS: u8 = 3;

/// The most bytes that a prompt and its answer have together.
pub const MAX_ITEM_BYTES: usize = 32;

/// One prompt in this many belongs to evaluation, the others to training.
const EVALUATION_SHARE: u8 = 8;

const LOWER: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";
const UPPER: &[u8; 26] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const OPENING: &[u8; 4] = b"([{<";
const CLOSING: &[u8; 4] = b")]}>";

/// A fresh item for training: never a prompt that [`super::item`] can return, whatever its seed.
///
/// Its index is zero, since training items are not numbered.
pub fn training_item(rng: &mut impl Rng, family: Family, level: u8) -> Item {
    draw_until(
        rng,
        ItemId {
            family,
            level,
            index: 0,
        },
        false,
    )
}

/// Whether a prompt belongs to evaluation rather than to training, by its hash.
pub fn is_evaluation_prompt(prompt: &str) -> bool {
    let parts: [&[u8]; 3] = [
        b"joulemark suite split",
        Suite::ReferenceV1.name().as_bytes(),
        prompt.as_bytes(),
    ];
    hash(&parts)[0].is_multiple_of(EVALUATION_SHARE)
}

/// A model ends its answer with the end token, for which one token more is allowed.
pub(super) fn draw_until(rng: &mut impl Rng, id: ItemId, evaluation: bool) -> Item {
    loop {
        let (prompt, answer) = draw(rng, id.family, id.level);
        if is_evaluation_prompt(&prompt) == evaluation {
            return Item {
                id,
                max_answer_tokens: answer.len() as u32 + 1,
                prompt,
                answer,
                check: Check::Bytes,
            };
        }
    }
}

/// One random prompt of this family and its answer.
fn draw(rng: &mut impl Rng, family: Family, level: u8) -> (String, String) {
    let step = usize::from(effective_level(level) - 1);
    match family {
        Family::Addition => addition(rng, SUMMAND_DIGITS[step]),
        Family::Copy => {
            let letters = word_letters(rng, step);
            let word = word(rng, letters);
            (format!("\"{word}="), word)
        }
        Family::Reverse => {
            let letters = word_letters(rng, step);
            let word = word(rng, letters);
            (format!("~{word}="), word.chars().rev().collect())
        }
        Family::Sort => {
            let count = word_letters(rng, step);
            let mut letters = distinct(rng, LOWER, count);
            let prompt = format!("&{}=", text(&letters));
            letters.sort_unstable();
            (prompt, text(&letters))
        }
        Family::Recall => recall(rng, KEYS[step]),
        Family::Modular => {
            let modulus = match step {
                0 => 100,
                1 => 10 * (5 + below(rng, 5)),
                _ => 50 + below(rng, 50),
            };
            modular(rng, modulus)
        }
        Family::Brackets => brackets(rng, OPEN_AND_CLOSED[step]),
        other => unreachable!("{other} is no family of this suite"),
    }
}

/// Digits of each summand at each level.
const SUMMAND_DIGITS: [usize; 3] = [3, 4, 6];
/// Fewest letters of a word at each level; up to two more are drawn.
const FEWEST_LETTERS: [usize; 3] = [4, 7, 10];
/// Keys in the prompt at each level.
const KEYS: [usize; 3] = [3, 5, 7];
/// Brackets left open, and pairs closed within the prompt, at each level.
const OPEN_AND_CLOSED: [(usize, usize); 3] = [(4, 2), (5, 3), (6, 4)];

/// `level` brought into the range from one to [`LEVELS`].
fn effective_level(level: u8) -> u8 {
    level.clamp(1, LEVELS)
}

fn addition(rng: &mut impl Rng, digits: usize) -> (String, String) {
    let bound = 10_u32.pow(digits as u32);
    let (left, right) = (below(rng, bound), below(rng, bound));
    let prompt = format!("+{left:0digits$}+{right:0digits$}=");
    (prompt, least_digit_first(left + right, digits + 1))
}

fn modular(rng: &mut impl Rng, modulus: u32) -> (String, String) {
    let (left, right) = (below(rng, modulus), below(rng, modulus));
    let prompt = format!("%{left:02}+{right:02}:{modulus}=");
    (prompt, least_digit_first((left + right) % modulus, 2))
}

fn recall(rng: &mut impl Rng, pairs: usize) -> (String, String) {
    let keys = distinct(rng, UPPER, pairs);
    let letters = distinct(rng, LOWER, 2 * pairs);
    let asked = below(rng, pairs as u32) as usize;
    let values: Vec<&[u8]> = letters.chunks_exact(2).collect();
    let mut prompt = String::from("?");
    for (&key, value) in keys.iter().zip(&values) {
        prompt.push(char::from(key));
        prompt.push_str(&text(value));
    }
    prompt.push('=');
    prompt.push(char::from(keys[asked]));
    (prompt, text(values[asked]))
}

/// A random order of `open + closed` opening and `closed` closing brackets in which no bracket
/// closes too early.
fn brackets(rng: &mut impl Rng, (open, closed): (usize, usize)) -> (String, String) {
    let (mut opens_left, mut closes_left) = (open + closed, closed);
    let mut stack = Vec::new();
    let mut prompt = String::from("!");
    while opens_left + closes_left > 0 {
        let turn = below(rng, (opens_left + closes_left) as u32) as usize;
        let may_close = !stack.is_empty() && closes_left > 0;
        if may_close && (opens_left == 0 || turn < closes_left) {
            closes_left -= 1;
            prompt.extend(stack.pop().map(char::from));
        } else {
            opens_left -= 1;
            let kind = below(rng, OPENING.len() as u32) as usize;
            stack.push(CLOSING[kind]);
            prompt.push(char::from(OPENING[kind]));
        }
    }
    prompt.push('=');
    stack.reverse();
    (prompt, text(&stack))
}

fn word_letters(rng: &mut impl Rng, step: usize) -> usize {
    FEWEST_LETTERS[step] + below(rng, 3) as usize
}

fn word(rng: &mut impl Rng, letters: usize) -> String {
    (0..letters).map(|_| char::from(pick(rng, LOWER))).collect()
}

fn least_digit_first(number: u32, digits: usize) -> String {
    format!("{number:0digits$}").chars().rev().collect()
}

fn text(ascii: &[u8]) -> String {
    ascii.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests;
