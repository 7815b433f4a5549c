//! Taking the answer out of what a model wrote, and judging it: the rule that the suite publishes.
//!
//! **What is read.** The last 16 KiB of the text, and of that what follows the last `</think>`, up
//! to a `<think>` that is never closed.
//!
//! **Where the answer stands.** After the last line that starts with `Answer:`, in any case, with
//! Markdown around it (`**Answer:** 42`, `# Answer: 42`, `- answer: 42`): in that line or, where
//! nothing follows the colon, in the next one that says something. Two kinds of answer are a block:
//!
//! - lines: the last fenced block, else all lines after `Answer:`;
//! - JSON: the last fenced block that is an object or a list, else the last object or list that
//!   stands anywhere in the text, nested at most 64 deep.
//!
//! A text under constraints is what follows `Answer:`, or the whole; of that the last fenced block
//! where there is one. Where nothing stands in the place, nothing could be extracted.
//!
//! **When it is right.**
//!
//! - Number: exactly one value stands in the line, however often: `$1,234.50`, `1234.5 kg`, `\boxed{7}`,
//!   `-3 %`; of an equation what follows the last `=`. `42 or 43` is wrong, `1e3` is no number.
//! - Text: equal but for case, spaces, quotes, emphasis, closing punctuation and an article.
//! - List: the same texts in the same order, separated by commas, semicolons, `and`, arrows or lines,
//!   numbered or not.
//! - Lines: equal but for spaces at both ends of each, and blank lines before the first and after
//!   the last.
//! - JSON: the same value; 1 is 1.0, strings are trimmed, keys stand in any order, and none is missing,
//!   added or given twice.
//! - Constraints: every one holds; quotes and emphasis around the whole text do not count.
//!
//! Work is linear in the text's length: each part is read a bounded number of times, whatever it
//! holds.

use std::cmp::Ordering;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::super::Verdict;
use super::Check;

/// Of a longer text only so much of its end is read.
const READ_BYTES: usize = 16 * 1024;
/// Deepest nesting of JSON that is read; the parser itself refuses 128.
const MAX_JSON_DEPTH: usize = 64;
/// Digits that a number may have; no answer has as many.
const MAX_DIGITS: usize = 15;

/// Judges a text that a model wrote.
pub(super) fn score(check: &Check, text: &str) -> Verdict {
    let text = visible(text);
    let right = match check {
        Check::Number { hundredths } => answer_line(text).map(|line| {
            let found = numbers(line);
            !found.is_empty() && found.iter().all(|value| *value == Some(*hundredths))
        }),
        Check::Text(expected) => answer_line(text).map(|line| same_text(expected, line)),
        Check::List(expected) => after_answer(text).map(list).and_then(|given| {
            let expected = expected.iter().map(|text| plain(text));
            (!given.is_empty()).then(|| expected.eq(given))
        }),
        Check::Lines(expected) => lines(text).map(|given| {
            given
                .into_iter()
                .eq(expected.iter().map(|line| line.trim()))
        }),
        Check::Json(expected) => {
            json(text).map(|given| !given.repeated && same_json(expected, &given.value))
        }
        Check::Constraints(constraints) => constrained(text)
            .map(|text| constraints.iter().all(|constraint| constraint.holds(text))),
    };
    match right {
        Some(true) => Verdict::Right,
        Some(false) => Verdict::Wrong,
        None => Verdict::Unextractable,
    }
}

/// The part of a text that is read: its end, without thinking.
fn visible(text: &str) -> &str {
    let end = &text[text.ceil_char_boundary(text.len().saturating_sub(READ_BYTES))..];
    let spoken = end.rsplit_once("</think>").map_or(end, |(_, after)| after);
    spoken
        .split_once("<think>")
        .map_or(spoken, |(before, _)| before)
}

/// What follows the colon of the last line that starts with `Answer:`, to the end of the text.
fn after_answer(text: &str) -> Option<&str> {
    let (mut found, mut end) = (None, 0);
    for line in text.split_inclusive('\n') {
        end += line.len();
        if let Some(value) = answer_value(line) {
            found = Some(&text[end - value.len()..]);
        }
    }
    found
}

/// What follows `Answer:` in a line that starts with it.
fn answer_value(line: &str) -> Option<&str> {
    const WORD: &str = "answer";
    let bare =
        line.trim_start_matches(|c: char| c.is_whitespace() || "#>*-+_`~\u{2022}".contains(c));
    let (word, rest) = bare.split_at_checked(WORD.len())?;
    if !word.eq_ignore_ascii_case(WORD) {
        return None;
    }
    let value = rest
        .trim_start_matches([' ', '*', '_', '`'])
        .strip_prefix([':', '\u{ff1a}'])?;
    Some(
        value
            .trim_start_matches(['*', '_', '`'])
            .trim_start_matches([' ', '\t']),
    )
}

/// The line that holds the answer.
fn answer_line(text: &str) -> Option<&str> {
    after_answer(text)?
        .lines()
        .map(str::trim)
        .find(|line| !only_opens(line))
}

/// Nothing but the opening of a block of code or a formula.
fn only_opens(line: &str) -> bool {
    line.is_empty() || line.starts_with("```") || ["**", "$$", "\\[", "\\("].contains(&line)
}

/// What the last `\boxed{}` holds, and of that what a `\text{}` around it holds; else the whole.
fn unboxed(value: &str) -> &str {
    let boxed = value.rsplit_once("\\boxed{");
    let value = boxed.map_or(value, |(_, inner)| braced(inner)).trim();
    value.strip_prefix("\\text{").map_or(value, braced)
}

/// The text up to the brace that closes one opened before it.
fn braced(inner: &str) -> &str {
    let mut open = 1_usize;
    let end = inner.find(|c| {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        open == 0
    });
    &inner[..end.unwrap_or(inner.len())]
}

/// Every number in a line in hundredths; `None` for one that has no such value.
fn numbers(line: &str) -> Vec<Option<i64>> {
    let line = unboxed(line).rsplit('=').next().unwrap_or_default();
    let line = line.replace("{,}", ",").replace("\\,", ",");
    let line: String = line.chars().map(ascii_mark).collect();
    let bytes = line.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if !(digit(at) || bytes[at] == b'.' && digit(at + 1)) {
            at += 1;
            continue;
        }
        let before = &line[..at];
        let (value, end) = number(bytes, at);
        at = end;
        // Digits of a name or a unit (`m2`, `x_1`) are no numbers.
        if !before.ends_with(|c: char| c.is_alphanumeric() || c == '^' || c == '_') {
            let sign = if is_negated(before) { -1 } else { 1 };
            found.push(value.map(|value| sign * value));
        }
    }
    found
}

/// The number that starts at `at`, in hundredths, and where it ends.
fn number(bytes: &[u8], mut at: usize) -> (Option<i64>, usize) {
    let digits_at = |at: usize| {
        bytes[at..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count()
    };
    let mut whole = digits_at(at);
    let mut digits = bytes[at..at + whole].to_vec();
    at += whole;
    if (1..=3).contains(&whole) {
        let separator = bytes.get(at).copied().filter(|b| b", '_".contains(b));
        while separator.is_some() && bytes.get(at).copied() == separator {
            // Four are enough to tell three digits from more, and keep the look ahead short.
            let group = bytes[at + 1..].iter().take(4);
            if group.take_while(|b| b.is_ascii_digit()).count() != 3 {
                break;
            }
            digits.extend(&bytes[at + 1..at + 4]);
            whole += 3;
            at += 4;
        }
    }
    let mut fraction = 0;
    if bytes.get(at) == Some(&b'.') {
        fraction = digits_at(at + 1);
        if fraction > 0 {
            digits.extend(&bytes[at + 1..=at + fraction]);
            at += 1 + fraction;
        }
    }
    let rest = &bytes[at..];
    let another_point =
        fraction > 0 && rest.first() == Some(&b'.') && rest.get(1).is_some_and(u8::is_ascii_digit);
    let signed = usize::from(rest.get(1).is_some_and(|b| b"+-".contains(b)));
    let exponent = rest.first().is_some_and(|b| b"eE".contains(b))
        && rest.get(1 + signed).is_some_and(u8::is_ascii_digit);
    if another_point || exponent {
        let more = rest
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric() || b".+-".contains(b));
        return (None, at + more.count());
    }
    (hundredths(&digits[..whole], &digits[whole..]), at)
}

/// `whole.fraction` in hundredths, unless it is finer or too large.
fn hundredths(whole: &[u8], fraction: &[u8]) -> Option<i64> {
    let zeros = whole.iter().take_while(|&&b| b == b'0').count();
    let whole = &whole[zeros..];
    if whole.len() > MAX_DIGITS || fraction.iter().skip(2).any(|&b| b != b'0') {
        return None;
    }
    let cents = fraction.iter().chain(b"00").take(2);
    Some(
        whole
            .iter()
            .chain(cents)
            .fold(0, |sum, b| 10 * sum + i64::from(b - b'0')),
    )
}

/// A minus stands directly before, not one between two operands.
fn is_negated(before: &str) -> bool {
    let before = before.trim_end_matches(['$', '\u{20ac}', '\u{a3}', '\u{a5}', '\\']);
    before
        .strip_suffix('-')
        .is_some_and(|left| !left.ends_with(|c: char| c.is_alphanumeric() || c == ')'))
}

/// The plain form of typographic quotes, spaces and minus signs.
fn ascii_mark(c: char) -> char {
    match c {
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        '\u{2212}' | '\u{2013}' => '-',
        '\u{a0}' | '\u{2009}' | '\u{202f}' => ' ',
        other => other,
    }
}

/// A text without what does not count: case, spaces, quotes, emphasis, closing punctuation.
fn plain(value: &str) -> String {
    let value = unboxed(value.trim().trim_matches('$'));
    let words: Vec<&str> = value.split_whitespace().collect();
    let text: String = words.join(" ").chars().map(ascii_mark).collect();
    let text = text.to_lowercase();
    let bare = text
        .trim_start_matches([' ', '"', '\'', '`', '*', '_'])
        .trim_end_matches([' ', '"', '\'', '`', '*', '_', '.', ',', ';', ':', '!', '?']);
    // Marks alone are an answer too: then they count.
    if bare.is_empty() {
        text
    } else {
        bare.to_owned()
    }
}

fn same_text(expected: &str, given: &str) -> bool {
    let (expected, given) = (plain(expected), plain(given));
    let without = |article| given.strip_prefix(article) == Some(&expected);
    given == expected
        || ["the ", "a ", "an "].into_iter().any(without)
        || expected.strip_prefix("the ") == Some(&given)
}

/// The entries of a list that stands in one line or, where that is empty, in the next ones.
fn list(after: &str) -> Vec<String> {
    let mut rest = after
        .lines()
        .map(str::trim)
        .skip_while(|line| only_opens(line));
    let text = if after
        .lines()
        .next()
        .is_some_and(|line| !only_opens(line.trim()))
    {
        rest.next().unwrap_or_default().to_owned()
    } else {
        let entries = rest.take_while(|line| !only_opens(line));
        entries
            .map(|line| line.trim_start_matches(['-', '*', '+', ' ', '\u{2022}']))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let text =
        unboxed(&text).trim_matches(['[', ']', '(', ')', '{', '}', ' ', '.', '*', '`', '"', '$']);
    text.split([',', ';', '>', '\n', '\u{2192}'])
        .map(|part| part.trim().trim_end_matches(['-', '=']))
        .flat_map(|part| part.split(" and "))
        .map(|part| {
            let part = part.trim();
            plain(unnumbered(part.strip_prefix("and ").unwrap_or(part)))
        })
        .filter(|entry| !entry.is_empty())
        .collect()
}

/// An entry without its number: `2. Ada` and `2) Ada` are `Ada`.
fn unnumbered(entry: &str) -> &str {
    let rest = entry.trim_start_matches(|c: char| c.is_ascii_digit());
    match rest.strip_prefix(['.', ')']) {
        Some(text) if rest.len() < entry.len() && text.starts_with(' ') => text.trim_start(),
        _ => entry,
    }
}

/// The lines of the answer, trimmed, from the first to the last that is not blank.
fn lines(text: &str) -> Option<Vec<&str>> {
    let block = blocks(text).pop().or_else(|| after_answer(text))?.trim();
    let mut lines: Vec<&str> = block.lines().map(str::trim).collect();
    if let [only] = lines.as_mut_slice() {
        *only = only.trim_matches('`');
    }
    (!block.is_empty()).then_some(lines)
}

/// The fenced blocks of a text that are not blank; one left open ends with the text.
fn blocks(text: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut open: Option<(char, usize, usize)> = None;
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        let start = end;
        end += line.len();
        let marked = answer_value(line).unwrap_or(line).trim();
        let fence = if marked.starts_with('~') { '~' } else { '`' };
        let rest = marked.trim_start_matches(fence);
        let marks = marked.len() - rest.len();
        match open {
            Some((opening, least, from))
                if opening == fence && marks >= least && rest.is_empty() =>
            {
                blocks.push(&text[from..start]);
                open = None;
            }
            None if marks >= 3 => match rest.split_once("```") {
                Some((inner, _)) => blocks.push(inner),
                None => open = Some((fence, marks, end)),
            },
            _ => {}
        }
    }
    blocks.extend(open.map(|(_, _, from)| &text[from..]));
    blocks.retain(|block| !block.trim().is_empty());
    blocks
}

/// The text that constraints are held against.
fn constrained(text: &str) -> Option<&str> {
    let body = after_answer(text).unwrap_or(text);
    let body = blocks(body).pop().unwrap_or(body);
    let body = body
        .trim()
        .trim_matches(['"', '*', '_', '\u{201c}', '\u{201d}'])
        .trim();
    (!body.is_empty()).then_some(body)
}

/// The JSON of an answer.
fn json(text: &str) -> Option<Tree> {
    let fenced = blocks(text).into_iter().rev().find_map(|block| {
        let tree: Tree = serde_json::from_str(block).ok()?;
        tree.is_answer().then_some(tree)
    });
    fenced.or_else(|| last_json(text))
}

/// The last object or list in a text that stands in no other.
///
/// Of the places where one could start, those that stay open at the same time are nested or in
/// each other's strings; so no byte is read more often than twice the parser's limit of nesting.
fn last_json(text: &str) -> Option<Tree> {
    let (mut last, mut at) = (None, 0);
    while let Some(opening) = text[at..].find(['{', '[']) {
        at += opening;
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Tree>();
        match values.next() {
            Some(Ok(tree)) => {
                at += values.byte_offset();
                last = tree.is_answer().then_some(tree).or(last);
            }
            _ => at += 1,
        }
    }
    last
}

/// A JSON value, and what `Value` does not tell of the text that it was read from.
struct Tree {
    value: Value,
    /// Levels of objects and lists.
    depth: usize,
    /// Some object has a key twice.
    repeated: bool,
}

impl Tree {
    fn leaf(value: impl Into<Value>) -> Self {
        Self {
            value: value.into(),
            depth: 0,
            repeated: false,
        }
    }

    fn is_answer(&self) -> bool {
        (1..=MAX_JSON_DEPTH).contains(&self.depth)
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::leaf(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::leaf(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::leaf(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::leaf(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::leaf(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::leaf(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let (mut values, mut depth, mut repeated) = (Vec::new(), 0, false);
        while let Some(tree) = entries.next_element::<Tree>()? {
            depth = depth.max(tree.depth);
            repeated |= tree.repeated;
            values.push(tree.value);
        }
        Ok(Tree {
            value: Value::Array(values),
            depth: depth + 1,
            repeated,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let (mut map, mut depth, mut repeated) = (Map::new(), 0, false);
        while let Some((key, tree)) = entries.next_entry::<String, Tree>()? {
            depth = depth.max(tree.depth);
            repeated |= tree.repeated | map.insert(key, tree.value).is_some();
        }
        Ok(Tree {
            value: Value::Object(map),
            depth: depth + 1,
            repeated,
        })
    }
}

/// Equal by value. Not deeper than `expected`, whatever is given.
fn same_json(expected: &Value, given: &Value) -> bool {
    match (expected, given) {
        (Value::Number(expected), Value::Number(given)) => same_number(expected, given),
        (Value::String(expected), Value::String(given)) => expected.trim() == given.trim(),
        (Value::Array(expected), Value::Array(given)) => {
            expected.len() == given.len()
                && expected
                    .iter()
                    .zip(given)
                    .all(|(expected, given)| same_json(expected, given))
        }
        (Value::Object(expected), Value::Object(given)) => {
            expected.len() == given.len()
                && expected.iter().all(|(key, expected)| {
                    given
                        .get(key)
                        .is_some_and(|given| same_json(expected, given))
                })
        }
        (expected, given) => expected == given,
    }
}

fn same_number(expected: &Number, given: &Number) -> bool {
    match (expected.as_i64(), given.as_i64()) {
        (Some(expected), Some(given)) => expected == given,
        _ => expected
            .as_f64()
            .partial_cmp(&given.as_f64())
            .is_some_and(Ordering::is_eq),
    }
}

#[cfg(test)]
mod tests;
