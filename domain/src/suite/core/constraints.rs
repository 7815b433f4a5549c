//! The family `constraints`: a text of the model's own that keeps to rules a program can check.
//!
//! Higher levels have more rules that touch each other: lines whose first letters spell a word, of
//! so many words each, without a letter, with given words in a given order.
//! Every item is solvable: its answer is a text that the generator wrote and checked.

use std::collections::BTreeSet;
use std::fmt;

use rand_core::Rng;

use super::super::draw::below;
use super::{Check, Drawn};

/// One checkable demand on a text.
///
/// A word is what stands between spaces, without marks around it and in any case; what has no
/// letter or digit is none. Blank lines do not count, and the number of a numbered line is no part
/// of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::suite) enum Constraint {
    /// Exactly so many words.
    Words(usize),
    /// At most so many words.
    AtMostWords(usize),
    /// Exactly so many sentences, the last one ended.
    Sentences(usize),
    /// Exactly so many lines.
    Lines(usize),
    /// Exactly so many words in every line.
    WordsPerLine(usize),
    /// This word occurs.
    Contains(String),
    /// The first occurrence of one word comes before that of the other.
    Before(String, String),
    /// This letter, in lower case, does not occur in either case.
    Without(char),
    /// No word has more letters.
    LongestWord(usize),
    /// No capital letter.
    LowerCase,
    /// This is the first word.
    First(String),
    /// These are the last words.
    Last(Vec<String>),
    /// Every line starts with this word.
    EveryLineStarts(String),
    /// Lines are numbered from one: `1. `, `2. `.
    Numbered,
    /// The first words of the lines are in alphabetical order.
    Sorted,
    /// The first letters of the lines spell this word.
    Acrostic(String),
    /// No word is used twice.
    NoWordTwice,
}

impl Constraint {
    /// Whether a text keeps to it.
    pub(in crate::suite) fn holds(&self, text: &str) -> bool {
        let lines: Vec<&str> = lines(text).collect();
        let words: Vec<String> = lines.iter().copied().flat_map(words).collect();
        let place = |wanted: &str| words.iter().position(|word| word == wanted);
        match self {
            Self::Words(count) => words.len() == *count,
            Self::AtMostWords(count) => words.len() <= *count,
            Self::Sentences(count) => sentences(text) == Some(*count),
            Self::Lines(count) => lines.len() == *count,
            Self::WordsPerLine(count) => lines
                .iter()
                .copied()
                .all(|line| self::words(line).count() == *count),
            Self::Contains(word) => place(word).is_some(),
            Self::Before(left, right) => place(left)
                .zip(place(right))
                .is_some_and(|(left, right)| left < right),
            Self::Without(letter) => !text.chars().any(|c| c.to_ascii_lowercase() == *letter),
            Self::LongestWord(letters) => words
                .iter()
                .all(|word| word.chars().filter(|c| c.is_alphabetic()).count() <= *letters),
            Self::LowerCase => !text.chars().any(char::is_uppercase),
            Self::First(word) => words.first() == Some(word),
            Self::Last(phrase) => words.ends_with(phrase),
            Self::EveryLineStarts(word) => lines
                .iter()
                .copied()
                .all(|line| self::words(line).next().as_ref() == Some(word)),
            Self::Numbered => {
                let bodies = text.lines().map(str::trim).filter(|line| !line.is_empty());
                bodies
                    .zip(1..)
                    .all(|(line, number)| line.starts_with(&format!("{number}. ")))
            }
            Self::Sorted => {
                let firsts = lines.iter().copied().map(|line| self::words(line).next());
                firsts.is_sorted()
            }
            Self::Acrostic(word) => {
                let initials = lines
                    .iter()
                    .filter_map(|line| line.chars().find(|c| c.is_alphanumeric()));
                initials.map(|c| c.to_ascii_lowercase()).eq(word.chars())
            }
            Self::NoWordTwice => words.iter().collect::<BTreeSet<_>>().len() == words.len(),
        }
    }
}

/// The rule as the prompt states it.
impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(count) => write!(f, "The text has exactly {count} words."),
            Self::AtMostWords(count) => write!(f, "The text has at most {count} words."),
            Self::Sentences(count) => write!(
                f,
                "The text has exactly {count} sentences; each ends with a full stop, a question mark or an exclamation \
                 mark, and these marks are used for nothing else."
            ),
            Self::Lines(count) => write!(f, "The text has exactly {count} lines."),
            Self::WordsPerLine(count) => write!(f, "Every line has exactly {count} words."),
            Self::Contains(word) => write!(f, "The word \"{word}\" occurs."),
            Self::Before(left, right) => {
                write!(f, "The word \"{left}\" occurs for the first time before the word \"{right}\" does.")
            }
            Self::Without(letter) => write!(f, "The letter \"{letter}\" does not occur anywhere."),
            Self::LongestWord(letters) => write!(f, "No word has more than {letters} letters."),
            Self::LowerCase => f.write_str("There are no capital letters at all."),
            Self::First(word) => write!(f, "The first word of the text is \"{word}\"."),
            Self::Last(phrase) => {
                let (count, phrase) = (phrase.len(), phrase.join(" "));
                write!(f, "The last {count} words of the text are \"{phrase}\".")
            }
            Self::EveryLineStarts(word) => write!(f, "Every line starts with the word \"{word}\"."),
            Self::Numbered => f.write_str(
                "The lines are numbered: the first starts with \"1. \", the second with \"2. \" and so on. The numbers \
                 do not count as words.",
            ),
            Self::Sorted => f.write_str("The first words of the lines are in alphabetical order."),
            Self::Acrostic(word) => {
                write!(f, "The first letters of the lines, read from top to bottom, spell \"{word}\".")
            }
            Self::NoWordTwice => f.write_str("No word is used more than once, not even short ones like \"the\"."),
        }
    }
}

/// The lines that are not blank, trimmed and without numbers.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| {
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        match rest.strip_prefix(". ") {
            Some(body) if rest.len() < line.len() => body.trim_start(),
            _ => line,
        }
    })
}

fn words(line: &str) -> impl Iterator<Item = String> {
    line.split_whitespace()
        .map(|word| {
            word.trim_matches(|c: char| !c.is_alphanumeric())
                .to_lowercase()
        })
        .filter(|word| !word.is_empty())
}

/// How many sentences a text has; none where its last one is not ended.
fn sentences(text: &str) -> Option<usize> {
    let closing = ['"', '\'', ')', '*', '_', '\u{201d}', '\u{2019}'];
    let ends = |word: &&str| word.trim_end_matches(closing).ends_with(['.', '!', '?']);
    let last = text.split_whitespace().next_back()?;
    ends(&last).then(|| text.split_whitespace().filter(ends).count())
}

pub(super) fn draw(_rng: &mut impl Rng, _level: u8) -> Drawn {
    todo!()
}
