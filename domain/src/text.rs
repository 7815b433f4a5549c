//! Hostile text: every model, host or task name that reaches us is one of these.
//!
//! Length-capped, and free of control characters (NUL ends in a database error) and of bidi
//! controls (they reorder what a reader sees). Escaping is the page's work, not this type's.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest name in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 256;

/// Longest answer to a task item in bytes of UTF-8.
pub const MAX_ANSWER_BYTES: usize = 2_048;

/// Why a text was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TextError {
    /// Too long.
    #[error("accept a text of {0} bytes: at most {1} are allowed")]
    TooLong(usize, usize),
    /// A character that could deceive a reader or break a store.
    #[error("accept the character U+{0:04X}: control and bidi characters are refused")]
    Refused(u32),
}

/// A single-line name of at most [`MAX_NAME_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// Checks and wraps a text.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        check(&text, MAX_NAME_BYTES, |_| false)?;
        Ok(Self(text))
    }

    /// Wraps a text of this machine, dropping what would be refused: for facts that a
    /// runner reads of itself, where a cut name is better than a lost measurement.
    pub fn cleaned(text: &str) -> Self {
        let mut kept = String::new();
        for c in text.trim().chars().filter(|c| !is_refused(*c)) {
            if kept.len() + c.len_utf8() > MAX_NAME_BYTES {
                break;
            }
            kept.push(c);
        }
        Self(kept)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

/// A model's answer: at most [`MAX_ANSWER_BYTES`]; line breaks and tabs are allowed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Answer(String);

impl Answer {
    /// Checks and wraps a text.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        check(&text, MAX_ANSWER_BYTES, |c| c == '\n' || c == '\t')?;
        Ok(Self(text))
    }

    /// Wraps whatever a model produced: line breaks become `\n`, refused characters U+FFFD, the rest
    /// is cut at the cap. A weak model may emit any byte; its answer is then wrong, not lost.
    pub fn cleaned(text: &str) -> Self {
        let text = &*with_plain_breaks(text);
        let mut cleaned = String::new();
        for c in text.chars().map(kept) {
            if cleaned.len() + c.len_utf8() > MAX_ANSWER_BYTES {
                break;
            }
            cleaned.push(c);
        }
        Self(cleaned)
    }

    /// As [`Answer::cleaned`], but of a text that is too long its end is kept: where reasoning
    /// comes first, the answer stands there. At most `max_bytes`, and never more than the cap.
    pub fn ending(text: &str, max_bytes: usize) -> Self {
        let text = &*with_plain_breaks(text);
        let most = max_bytes.min(MAX_ANSWER_BYTES);
        let mut room = most;
        let mut start = text.len();
        for (at, c) in text.char_indices().rev() {
            let Some(left) = room.checked_sub(kept(c).len_utf8()) else {
                break;
            };
            (room, start) = (left, at);
        }
        Self(text[start..].chars().map(kept).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text with `\n` for every `\r\n` and every other `\r`.
fn with_plain_breaks(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The character that stands for this one in an answer.
fn kept(c: char) -> char {
    if c != '\n' && c != '\t' && is_refused(c) {
        '\u{fffd}'
    } else {
        c
    }
}

impl TryFrom<String> for Answer {
    type Error = TextError;
    fn try_from(text: String) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl From<Answer> for String {
    fn from(answer: Answer) -> String {
        answer.0
    }
}

fn check(text: &str, max_bytes: usize, allowed: impl Fn(char) -> bool) -> Result<(), TextError> {
    if text.len() > max_bytes {
        return Err(TextError::TooLong(text.len(), max_bytes));
    }
    match text.chars().find(|c| is_refused(*c) && !allowed(*c)) {
        Some(c) => Err(TextError::Refused(u32::from(c))),
        None => Ok(()),
    }
}

/// Control characters and the bidi controls of Unicode TR9.
fn is_refused(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nul_bidi_and_line_breaks_are_refused_in_names() {
        for hostile in ["a\0b", "abc\u{202e}cba", "one\ntwo", "\u{2066}x"] {
            assert!(Name::new(hostile).is_err(), "{hostile:?}");
        }
        assert!(Name::new("x".repeat(257)).is_err());
        assert!(Name::new("Llama-3.2 1B · Q4_K <b>").is_ok());
    }

    #[test]
    fn the_end_of_a_long_answer_is_kept_and_cut_between_characters() {
        let long = format!("{}Answer: 42", "x".repeat(1 << 20));
        let end = Answer::ending(&long, 12);
        assert_eq!(end.as_str(), "xxAnswer: 42");
        assert_eq!(
            Answer::ending(&long, usize::MAX).as_str().len(),
            MAX_ANSWER_BYTES
        );
        assert_eq!(Answer::ending("ä€ö", 6).as_str(), "€ö");
        assert_eq!(
            Answer::ending("ab\0\u{202e}c", 7).as_str(),
            "\u{fffd}\u{fffd}c"
        );
        assert_eq!(Answer::ending("short\nend", 2_048).as_str(), "short\nend");
    }

    #[test]
    fn every_line_break_of_an_answer_is_a_plain_one() {
        for text in ["a\nb\n\nc", "a\r\nb\r\n\r\nc", "a\rb\r\rc"] {
            assert_eq!(Answer::cleaned(text).as_str(), "a\nb\n\nc", "{text:?}");
            assert_eq!(Answer::ending(text, 100).as_str(), "a\nb\n\nc", "{text:?}");
            assert_eq!(Answer::ending(text, 4).as_str(), "b\n\nc", "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_ending_is_acceptable_and_within_its_bound(text in any::<String>(), most in 0_usize..3_000) {
            let end = Answer::ending(&text, most);
            prop_assert!(Answer::new(end.as_str()).is_ok() && end.as_str().len() <= most);
        }

        #[test]
        fn cleaning_always_yields_an_acceptable_text(text in any::<String>()) {
            prop_assert!(Name::new(Name::cleaned(&text).as_str()).is_ok());
            prop_assert!(Answer::new(Answer::cleaned(&text).as_str()).is_ok());
        }
    }
}
