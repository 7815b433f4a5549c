//! Errors that name file, line and key, and suggest what was meant: for every TOML file that a
//! user writes.

use super::MatrixError;

/// A file's text, for errors that name line and key.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The file as it was named.
    pub file: &'a str,
    /// Its text.
    pub text: &'a str,
}

impl Source<'_> {
    /// The line of a byte, counted from 1.
    pub fn line(&self, offset: usize) -> usize {
        1 + self
            .text
            .get(..offset)
            .unwrap_or(self.text)
            .matches('\n')
            .count()
    }

    /// An error at a byte.
    pub fn error(&self, offset: usize, what: String) -> MatrixError {
        self.error_on(self.line(offset), what)
    }

    /// An error at `key` of the table that begins at `offset`.
    pub fn error_in(&self, offset: usize, key: &str, what: String) -> MatrixError {
        let start = self.line(offset);
        let spells_key = |line: &&str| {
            line.split('=')
                .next()
                .is_some_and(|left| left.trim() == key)
        };
        let ahead = self
            .text
            .lines()
            .skip(start.saturating_sub(1))
            .position(|line| spells_key(&line));
        self.error_on(start + ahead.unwrap_or(0), what)
    }

    /// An error on a line.
    pub fn error_on(&self, line: usize, what: String) -> MatrixError {
        MatrixError {
            file: self.file.to_owned(),
            line,
            key: self.key_on(line),
            what,
        }
    }

    /// Table header and key that the line stands under.
    fn key_on(&self, line: usize) -> String {
        let mut table = "";
        let mut key = "";
        for text in self.text.lines().take(line).map(str::trim) {
            if text.starts_with('[')
                && text.trim_end_matches(']').len() < text.len()
                && !text.contains(',')
            {
                (table, key) = (text, "");
            } else if let Some((left, _)) = text.split_once('=') {
                key = left.trim();
            }
        }
        [table, key]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// What TOML says of the text, with the key that was meant if one was misspelt.
    pub fn parse_error(&self, error: &toml::de::Error) -> MatrixError {
        let line = error.span().map_or(1, |span| self.line(span.start));
        let message = error.message().trim().to_owned();
        let mut quoted = message.split('`').skip(1).step_by(2);
        let misspelt =
            message.starts_with("unknown field") || message.starts_with("unknown variant");
        let suggestion = match (misspelt, quoted.next()) {
            (true, Some(wrong)) => {
                closest(wrong, quoted).map(|near| format!("; did you mean `{near}`?"))
            }
            _ => None,
        };
        self.error_on(line, message.clone() + &suggestion.unwrap_or_default())
    }
}

pub(super) fn unknown(axis: &str, value: &str, known: &[String]) -> String {
    let near = closest(value, known.iter().map(String::as_str));
    let hint = near
        .map(|near| format!(" Did you mean {near:?}?"))
        .unwrap_or_default();
    format!(
        "{axis} {value:?} is unknown.{hint} Known: {}",
        known.join(", ")
    )
}

/// The candidate that needs the fewest edits, if they are few.
fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| {
            (
                edits(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}
