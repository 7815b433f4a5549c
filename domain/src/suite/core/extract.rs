//! Taking the answer out of what a model wrote, and judging it: the rule that the suite publishes.
//!
//! **What is read.** The last 16 KiB of the text, and of that what follows the last `</think>`, up
//! to a `<think>` that is never closed.
//!
//! **Where the answer stands.** After the last line that starts with `Answer:`, in any case, with
//! Markdown around it (`**Answer:** 42`, `# Answer: 42`, `- answer: 42`): in that line or, where
//! nothing follows the colon, in the next one that says something. Some kinds of answer are longer:
//!
//! - list: where a line holds one numbered or bulleted entry, the lines that go on with it as well,
//!   whether blank lines stand between or not; under an empty `Answer:` all lines up to a blank one;
//! - lines: of several the last fenced block, else all lines after `Answer:`; of a single one the
//!   last fenced block only where there is no `Answer:`;
//! - JSON: the last fenced block that is an object or a list, else the last object or list that
//!   stands anywhere in the text, nested at most 64 deep.
//!
//! Of a long text only the end is kept, and that may begin within a block. So blocks are found from
//! the end: a bare fence closes what the nearest fence of its kind before it opens. One that names a
//! language, or is the only one, opens a block that nothing closes.
//!
//! A text under constraints is what follows `Answer:`, or the whole; of that the last fenced block
//! where there is one. Where nothing stands in the place, nothing could be extracted.
//!
//! **When it is right.**
//!
//! - Number: exactly one value stands in the line, however often: `$1,234.50`, `1234.5 kg`, `\boxed{7}`,
//!   `-3 %`; of an equation what follows the last `=`. `42 or 43` is wrong, `1e3` is no number.
//! - Text: equal but for case, spaces, quotes, emphasis, closing punctuation and an article.
//! - List: the same texts in the same order, separated by commas, semicolons, `and`, `then`, arrows or
//!   lines, numbered or not; a closing `(from first to last)` does not count. A number of a list is
//!   compared as one: `Mei, 5,220`, `Mei, 5220.00 km` and `Mei (5220)` are `Mei, 5220`.
//! - Lines: equal but for spaces at both ends of each, and blank lines before the first and after
//!   the last; of a single one emphasis around it does not count.
//! - JSON: the same value; 1 is 1.0, strings are trimmed, keys stand in any order, and none is missing,
//!   added or given twice.
//! - Constraints: every one holds; quotes and emphasis around the whole text do not count.
//!
//! Typographic quotes, hyphens, minus signs and spaces are the plain ones everywhere but under
//! constraints.
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
        Check::List(expected) => after_answer(text).and_then(|after| same_list(expected, after)),
        Check::Lines(expected) => match expected.as_slice() {
            [only] => only_line(text).map(|line| same_line(only, line)),
            several => lines(text).map(|given| {
                let same = |(given, wanted): (&&str, &String)| same_marks(given, wanted.trim());
                given.len() == several.len() && given.iter().zip(several).all(same)
            }),
        },
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
    let fence = line.strip_prefix("```");
    line.is_empty()
        || fence.is_some_and(|info| !info.trim_start_matches('`').contains("```"))
        || ["**", "$$", "\\[", "\\("].contains(&line)
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

/// The plain form of typographic quotes, spaces, hyphens and minus signs.
fn ascii_mark(c: char) -> char {
    match c {
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        '\u{2010}'..='\u{2013}' | '\u{2212}' => '-',
        '\u{a0}' | '\u{2009}' | '\u{202f}' => ' ',
        other => other,
    }
}

/// Equal but for the form of quotes, spaces, hyphens and minus signs.
fn same_marks(expected: &str, given: &str) -> bool {
    let plain = |text: &str| text.chars().map(ascii_mark).collect::<String>();
    plain(expected) == plain(given)
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

/// Whether what follows `Answer:` is this list; `None` where it has no entry.
fn same_list(expected: &[String], after: &str) -> Option<bool> {
    let text: String = list_lines(after).chars().map(ascii_mark).collect();
    let text = text.to_lowercase();
    let given = entries(without_note(unboxed(&text)));
    let same = |given: &[String]| {
        let mut pairs = expected.iter().zip(given);
        given.len() == expected.len() && pairs.all(|(expected, given)| same_entry(expected, given))
    };
    let has_number = expected.iter().any(|entry| whole_number(entry).is_some());
    let right = same(&given) || has_number && same(&entries(&numbers_apart(unboxed(&text))));
    (!given.is_empty()).then_some(right)
}

/// Equal as numbers where one is expected, else as texts.
fn same_entry(expected: &str, given: &str) -> bool {
    match whole_number(expected) {
        Some(number) => numbers(given) == [Some(number)],
        None => same_text(expected, given),
    }
}

/// An entry that is a whole number, in hundredths.
fn whole_number(entry: &str) -> Option<i64> {
    entry.parse::<i64>().ok()?.checked_mul(100)
}

/// The lines that hold a list, without the bullets and numbers before them.
fn list_lines(after: &str) -> String {
    let mut lines = after.lines().map(str::trim);
    let own = lines.next().unwrap_or_default();
    let is_own = !only_opens(own);
    let first = if is_own {
        own
    } else {
        lines.find(|line| !only_opens(line)).unwrap_or_default()
    };
    // `1. Ada, 2. Bob` is a list already.
    let single = !first.contains([',', ';', '>', '\u{2192}']);
    let unmarked = |line| str::trim_start_matches(line, ['-', '*', '+', ' ', '\u{2022}']);
    let mut found = Vec::new();
    match list_item(first) {
        Some((mut before, entry)) if single || !is_own => {
            found.push(entry);
            for line in lines.filter(|line| !line.is_empty()) {
                match list_item(line) {
                    Some((next, entry)) if before.may_precede(next) => {
                        found.push(entry);
                        before = next;
                    }
                    _ => break,
                }
            }
        }
        _ if is_own => found.push(first),
        _ => {
            found.push(unmarked(first));
            found.extend(lines.take_while(|line| !only_opens(line)).map(unmarked));
        }
    }
    found.join("\n")
}

/// What stands before an entry that has a line of its own.
#[derive(Clone, Copy)]
enum Item {
    Bullet,
    Number(u32),
}

impl Item {
    /// The next entry of the same list may have this; Markdown may number all with one.
    fn may_precede(self, next: Self) -> bool {
        match (self, next) {
            (Self::Bullet, Self::Bullet) => true,
            (Self::Number(number), Self::Number(next)) => {
                next == number || next == number.saturating_add(1)
            }
            _ => false,
        }
    }
}

/// The bullet or number of a line, and what follows it.
fn list_item(line: &str) -> Option<(Item, &str)> {
    let bullet = line.strip_prefix(['-', '*', '+', '\u{2022}']);
    if let Some(rest) = bullet.and_then(|rest| rest.strip_prefix(' ')) {
        return Some((Item::Bullet, rest.trim_start()));
    }
    let entry = unnumbered(line);
    let (number, _) = line.split_once(['.', ')'])?;
    (entry.len() < line.len()).then_some((Item::Number(number.parse().ok()?), entry))
}

/// A list without a closing `(from first to last)`.
fn without_note(text: &str) -> &str {
    let end = text.trim_end_matches([' ', '.', '*', '`', '_']);
    let inner = end.strip_suffix(')').and_then(|end| end.rsplit_once('('));
    let is_order = |note: &str| {
        note.starts_with("from ")
            || note.ends_with("order")
            || ["first to last", "front to back", "left to right"].contains(&note)
    };
    match inner {
        Some((list, note)) if is_order(note) => list,
        _ => text,
    }
}

/// The entries of a list in small letters.
fn entries(text: &str) -> Vec<String> {
    let text = text.trim_matches(['[', ']', '(', ')', '{', '}', ' ', '.', '*', '`', '"', '$']);
    text.split([',', ';', '>', '\n', '\u{2192}'])
        .map(|part| part.trim().trim_end_matches(['-', '=']))
        .map(|part| part.strip_prefix("and ").unwrap_or(part).trim_start())
        .flat_map(|part| part.split(" and "))
        .flat_map(|part| part.split(" then "))
        .map(|part| {
            let part = part.trim();
            plain(unnumbered(part.strip_prefix("then ").unwrap_or(part)))
        })
        .filter(|entry| !entry.is_empty())
        .collect()
}

/// A list with its digits in one piece (`5,220` is `5220`), and a comma before a number that stands
/// in brackets.
fn numbers_apart(text: &str) -> String {
    let text = text.replace("{,}", ",").replace("\\,", ",");
    let (mut apart, mut at) = (String::new(), 0);
    while let Some(c) = text[at..].chars().next() {
        let (end, piece) = match c {
            '0'..='9' => (number(text.as_bytes(), at).1, None),
            '(' => {
                let told = text[at + 1..].trim_start_matches(['$', '\\', '-', '+', ' ']);
                let opens = told.starts_with(|c: char| c.is_ascii_digit());
                (at + 1, Some(if opens { ',' } else { c }))
            }
            other => (at + other.len_utf8(), Some(other)),
        };
        match piece {
            Some(piece) => apart.push(piece),
            None => apart.extend(text[at..end].chars().filter(|&c| c != ',')),
        }
        at = end;
    }
    apart
}

/// An entry without its number: `2. Ada` and `2) Ada` are `Ada`.
fn unnumbered(entry: &str) -> &str {
    let rest = entry.trim_start_matches(|c: char| c.is_ascii_digit());
    match rest.strip_prefix(['.', ')']) {
        Some(text) if rest.len() < entry.len() && text.starts_with(' ') => text.trim_start(),
        _ => entry,
    }
}

/// The answer that is one line: that of `Answer:`, or where there is none the last block.
fn only_line(text: &str) -> Option<&str> {
    let line = match after_answer(text) {
        Some(_) => answer_line(text)?,
        None => blocks(text).first()?.trim(),
    };
    Some(line)
}

/// Equal but for emphasis around it.
fn same_line(expected: &str, given: &str) -> bool {
    let bare = given.trim_matches(['`', '*', '_', ' ']);
    same_marks(expected.trim(), given) || !bare.is_empty() && same_marks(expected.trim(), bare)
}

/// The lines of the answer, trimmed, from the first to the last that is not blank.
fn lines(text: &str) -> Option<Vec<&str>> {
    let block = blocks(text).first().copied();
    let block = block.or_else(|| after_answer(text))?.trim();
    (!block.is_empty()).then(|| block.lines().map(str::trim).collect())
}

/// A line that opens or closes a block.
struct Fence<'a> {
    mark: char,
    /// How many marks there are.
    count: usize,
    /// Cannot close a block: it names a language or stands after `Answer:`.
    only_opens: bool,
    /// The block, where it ends in the same line.
    inner: Option<&'a str>,
}

fn fence(line: &str) -> Option<Fence<'_>> {
    let answer = answer_value(line);
    let marked = answer.unwrap_or(line).trim();
    let mark = if marked.starts_with('~') { '~' } else { '`' };
    let rest = marked.trim_start_matches(mark);
    let count = marked.len() - rest.len();
    (count >= 3).then(|| Fence {
        mark,
        count,
        only_opens: answer.is_some() || !rest.is_empty(),
        inner: rest.split_once("```").map(|(inner, _)| inner),
    })
}

/// The fenced blocks of a text that are not blank, the last one first.
fn blocks(text: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    // A bare fence that waits for the one that opens its block.
    let mut waiting: Option<Waiting> = None;
    let (mut start, mut next) = (text.len(), text.len());
    for line in text.split_inclusive('\n').rev() {
        let end = start;
        start -= line.len();
        let Some(fence) = fence(line) else {
            continue;
        };
        if let Some(closing) = &waiting {
            if (fence.mark, fence.count) != closing.kind || fence.inner.is_some() {
                continue;
            }
            let block = &text[end..closing.start];
            // Two bare fences with nothing between: the first one may close another block.
            if fence.only_opens || !block.trim().is_empty() {
                blocks.push(block);
                (waiting, next) = (None, start);
                continue;
            }
            next = closing.start;
        } else if fence.only_opens {
            blocks.push(fence.inner.unwrap_or(&text[end..next]));
            next = start;
            continue;
        }
        waiting = Some(Waiting {
            kind: (fence.mark, fence.count),
            start,
            after: &text[end..next],
        });
    }
    blocks.retain(|block| !block.trim().is_empty());
    if blocks.is_empty() {
        let left_open = waiting.map(|fence| fence.after);
        blocks.extend(left_open.filter(|block| !block.trim().is_empty()));
    }
    blocks
}

/// A bare fence, while its block is read from the end.
struct Waiting<'a> {
    kind: (char, usize),
    start: usize,
    /// What stands between it and the next fence: the block, should it open one.
    after: &'a str,
}

/// The text that constraints are held against.
fn constrained(text: &str) -> Option<&str> {
    let body = after_answer(text).unwrap_or(text);
    let body = blocks(body).first().copied().unwrap_or(body);
    let body = body
        .trim()
        .trim_matches(['"', '*', '_', '\u{201c}', '\u{201d}'])
        .trim();
    (!body.is_empty()).then_some(body)
}

/// The JSON of an answer.
fn json(text: &str) -> Option<Tree> {
    let fenced = blocks(text).into_iter().find_map(|block| {
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
        (Value::String(expected), Value::String(given)) => {
            same_marks(expected.trim(), given.trim())
        }
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
