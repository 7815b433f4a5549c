//! The seven families of tasks and how each draws a question.
//!
//! Every prompt starts with a marker byte of its family and ends with `=`.
//! Numbers in answers are written least significant digit first, the order in which carries are
//! computed; that keeps the arithmetic within reach of models of a few million parameters.
//! Guessing without reading the prompt is right at most once in fifty times, in every family and
//! level.

use std::fmt;

use rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::LEVELS;
use super::draw::{below, distinct, pick};

const LOWER: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";
const UPPER: &[u8; 26] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const OPENING: &[u8; 4] = b"([{<";
const CLOSING: &[u8; 4] = b")]}>";

/// A kind of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Add two numbers of three, four or six digits.
    Addition,
    /// Repeat a word of four to twelve letters.
    Copy,
    /// Spell a word of four to twelve letters backwards.
    Reverse,
    /// Put four to twelve different letters in alphabetical order.
    Sort,
    /// Give the two-letter value of one of three, five or seven keys.
    Recall,
    /// Add two numbers modulo 100, a multiple of ten from 50 on, or any number from 50 on.
    Modular,
    /// Close the brackets that are still open.
    Brackets,
}

impl Family {
    /// Every family, in the order of the plan.
    pub const ALL: [Self; 7] = [
        Self::Addition,
        Self::Copy,
        Self::Reverse,
        Self::Sort,
        Self::Recall,
        Self::Modular,
        Self::Brackets,
    ];

    /// The name used in records, lower-case ASCII.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Copy => "copy",
            Self::Reverse => "reverse",
            Self::Sort => "sort",
            Self::Recall => "recall",
            Self::Modular => "modular",
            Self::Brackets => "brackets",
        }
    }

    /// The family of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    /// One sentence for people, with an example.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Addition => {
                "Adds two numbers of 3, 4 or 6 digits, answer last digit first: +047+985= gives 2301."
            }
            Self::Copy => "Repeats a word of 4 to 12 letters: \"qzab= gives qzab.",
            Self::Reverse => "Spells a word of 4 to 12 letters backwards: ~qzab= gives bazq.",
            Self::Sort => "Puts 4 to 12 letters in alphabetical order: &qzab= gives abqz.",
            Self::Recall => {
                "Looks up one of 3, 5 or 7 keys, each with a two-letter value: ?KmpTazWre=T gives az."
            }
            Self::Modular => {
                "Adds two numbers modulo 50 to 100, answer last digit first: %47+35:60= gives 22."
            }
            Self::Brackets => {
                "Closes the 4 to 6 brackets that are still open: !([]{(<= gives >)})."
            }
        }
    }

    /// One random prompt of this family and its answer.
    pub(super) fn draw(self, rng: &mut impl Rng, level: u8) -> (String, String) {
        let step = usize::from(effective_level(level) - 1);
        match self {
            Self::Addition => addition(rng, SUMMAND_DIGITS[step]),
            Self::Copy => {
                let letters = word_letters(rng, step);
                let word = word(rng, letters);
                (format!("\"{word}="), word)
            }
            Self::Reverse => {
                let letters = word_letters(rng, step);
                let word = word(rng, letters);
                (format!("~{word}="), word.chars().rev().collect())
            }
            Self::Sort => {
                let count = word_letters(rng, step);
                let mut letters = distinct(rng, LOWER, count);
                let prompt = format!("&{}=", text(&letters));
                letters.sort_unstable();
                (prompt, text(&letters))
            }
            Self::Recall => recall(rng, KEYS[step]),
            Self::Modular => {
                let modulus = match step {
                    0 => 100,
                    1 => 10 * (5 + below(rng, 5)),
                    _ => 50 + below(rng, 50),
                };
                modular(rng, modulus)
            }
            Self::Brackets => brackets(rng, OPEN_AND_CLOSED[step]),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
pub(super) fn effective_level(level: u8) -> u8 {
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
