//! What stands in a file, before anyone asks which tool wrote it: JSON values, tables, text.
//!
//! Result files are seldom clean: a JSON array stands inside a captured terminal log, JSON lines
//! follow a driver's greeting, Python writes `NaN`, a Markdown table is interleaved with progress
//! lines. A [`Document`] finds all values and tables with the lines they begin at and keeps the text
//! between them. Everything is bounded: bytes, nesting, values, and the work done on text that
//! only looks like JSON. Nothing here knows any tool.

use std::ops::Range;

use serde_json::{Map, Number, Value};

use super::{ImportError, MAX_FILE_BYTES, MAX_ROWS};

/// How deep a value may nest.
const MAX_DEPTH: u32 = 96;

/// How many values, inner ones included, one file may hold.
const MAX_VALUES: usize = 300_000;

/// The longest text taken out of a file, in bytes: one label of a megabyte would stand in every row.
const MAX_TEXT_BYTES: usize = 1_024;

/// How many tables are kept of one file.
const MAX_TABLES: usize = 1_000;

/// How often each byte may be looked at as the possible beginning of JSON.
const MAX_PASSES: usize = 8;

/// A file, taken apart.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// Its text: UTF-8 without a byte order mark, line ends `\n`, terminal colours removed.
    pub(super) text: String,
    /// All outermost JSON objects and arrays (or the one YAML mapping), each with the line,
    /// counted from 1, where it begins.
    pub(super) values: Vec<(usize, Value)>,
    /// All Markdown tables.
    pub(super) tables: Vec<Table>,
    /// A comma-separated table, if some line is a header of one.
    pub(super) csv: Option<Table>,
    /// What was done to read it, in words.
    pub(super) notes: Vec<String>,
    /// Where a JSON value begins that the file does not finish. If it is a list, as of a run
    /// that ran out of memory, its whole members stand among the values.
    pub(super) cut: Option<usize>,
    /// Whether nothing but values stands in the file.
    pub(super) only_values: bool,
}

/// A table with named columns.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// The header's line, from 1.
    pub(super) line: usize,
    /// Names of the columns, trimmed.
    pub(super) header: Vec<String>,
    /// Rows with as many cells as the header, trimmed, each with its line.
    pub(super) rows: Vec<(usize, Vec<String>)>,
    /// The lines since the table before, or since the beginning, as indices for
    /// [`Document::lines`].
    pub(super) before: Range<usize>,
    /// The lines from its last row to the next table or the end.
    pub(super) after: Range<usize>,
}

impl Table {
    /// The column of that name, in any case.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.header
            .iter()
            .position(|it| it.eq_ignore_ascii_case(name))
    }

    /// A row as an object of strings, so that it is read like a JSON row.
    pub(super) fn object(&self, cells: &[String]) -> Value {
        let pairs = self.header.iter().zip(cells);
        Value::Object(
            pairs
                .map(|(name, cell)| (name.clone(), Value::String(cell.clone())))
                .collect(),
        )
    }
}

impl Document {
    /// Takes a file apart; an error if it is no text, or too long.
    pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Self, ImportError> {
        if bytes.len() > MAX_FILE_BYTES {
            return Err(ImportError::TooLong {
                file: file.to_owned(),
                bytes: bytes.len(),
            });
        }
        if let Some(found) = no_text(bytes) {
            return Err(ImportError::Unknown {
                file: file.to_owned(),
                found: found.to_owned(),
            });
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let decoded = String::from_utf8_lossy(bytes);
        let mut document = Self {
            text: plain(&decoded),
            ..Self::default()
        };
        if matches!(decoded, std::borrow::Cow::Owned(_)) {
            document
                .notes
                .push("not all of the file is UTF-8; other bytes were left out".to_owned());
        }
        // First, as texts quoted in it may look like tables or lists.
        let no_yaml = document.find_yaml();
        if document.only_values {
            return Ok(document);
        }
        document.find_values();
        if document.values.is_empty() && document.cut.is_none() {
            document.find_tables();
            document.find_csv();
            if document.tables.is_empty() && document.csv.is_none() {
                document.notes.extend(no_yaml);
            }
        } else if !document.only_values {
            document.find_tables();
        }
        Ok(document)
    }

    /// The lines of the text; line `n` of a file is at index `n - 1`.
    pub(super) fn lines(&self) -> Vec<&str> {
        self.text.split('\n').collect()
    }

    /// The objects in it: the values themselves, and the members of arrays among them, each with
    /// the line where its value begins; no more than one file may give rows.
    pub(super) fn objects(&self) -> impl Iterator<Item = (usize, &Map<String, Value>)> {
        let all = self.values.iter().flat_map(|(line, value)| {
            let members: &[Value] = match value {
                Value::Array(members) => members,
                other => std::slice::from_ref(other),
            };
            members
                .iter()
                .filter_map(move |it| Some((*line, it.as_object()?)))
        });
        all.take(MAX_ROWS + 1)
    }

    /// The only JSON or YAML value of the file, if it is an object.
    pub(super) fn object(&self) -> Option<&Map<String, Value>> {
        match self.values.as_slice() {
            [(_, Value::Object(object))] => Some(object),
            _ => None,
        }
    }

    fn find_values(&mut self) {
        let text = std::mem::take(&mut self.text);
        let mut scan = Scan::new(&text);
        self.only_values = true;
        let (mut at, mut line) = (0, 1);
        let mut work = 0;
        while at < text.len() {
            let rest = &text[at..];
            let indent = rest.len() - rest.trim_start_matches([' ', '\t', ',']).len();
            let begin = at + indent;
            let opens = text[begin..].starts_with(['{', '[']);
            if opens && work > MAX_PASSES * text.len() {
                self.notes.push(format!(
                    "line {line} and what follows is too tangled to be read"
                ));
                self.only_values = false;
                break;
            }
            if opens {
                scan.at = begin;
                let value = scan.value(0);
                work += scan.at - begin;
                match value {
                    Ok(value) => {
                        self.values.push((line, value));
                        line += newlines(&text[at..scan.at]);
                        at = scan.at;
                        continue;
                    }
                    Err(Stop::End) => {
                        self.cut = Some(line);
                        self.values
                            .extend(scan.whole_members(begin).into_iter().map(|it| (line, it)));
                        self.only_values = false;
                        break;
                    }
                    Err(Stop::TooMany) => {
                        self.notes.push(format!(
                            "more than {MAX_VALUES} values; the rest was not read"
                        ));
                        self.only_values = false;
                        break;
                    }
                    Err(Stop::NoJson) => {}
                }
            }
            let end = rest.find('\n').map_or(text.len(), |it| at + it + 1);
            if !text[begin.min(end)..end].trim().is_empty() {
                self.only_values = false;
            }
            line += 1;
            at = end;
        }
        self.notes.extend(scan.notes());
        self.only_values &= !self.values.is_empty();
        self.text = text;
    }

    fn find_tables(&mut self) {
        let lines: Vec<&str> = self.text.split('\n').collect();
        let mut tables: Vec<Table> = Vec::new();
        let mut rows = 0;
        for (index, line) in lines.iter().enumerate() {
            let Some(cells) = cells(line) else { continue };
            if is_rule(&cells) {
                continue;
            }
            let is_header = lines
                .get(index + 1)
                .and_then(|next| self::cells(next))
                .is_some_and(|next| next.len() == cells.len() && is_rule(&next));
            if is_header && tables.len() < MAX_TABLES {
                let begin = tables.last().map_or(0, |it| it.after.start);
                if let Some(last) = tables.last_mut() {
                    last.after.end = index;
                }
                tables.push(Table {
                    line: index + 1,
                    header: cells,
                    rows: Vec::new(),
                    before: begin..index,
                    after: index + 2..lines.len(),
                });
            } else if let Some(table) = tables.last_mut()
                && table.header.len() == cells.len()
                && rows <= MAX_ROWS
            {
                rows += 1;
                table.rows.push((index + 1, cells));
                table.after.start = index + 1;
            }
        }
        self.tables = tables;
    }

    /// A line of names between commas begins it; lines with another number of cells, such as
    /// log lines, are left out.
    fn find_csv(&mut self) {
        let lines: Vec<&str> = self.text.split('\n').collect();
        let Some(first) = lines.iter().position(|line| is_csv_header(line)) else {
            return;
        };
        let begin: usize = lines[..first].iter().map(|line| line.len() + 1).sum();
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(&self.text.as_bytes()[begin..]);
        let mut table = Table {
            line: first + 1,
            before: 0..first,
            after: lines.len()..lines.len(),
            ..Table::default()
        };
        for record in reader.records().take(MAX_ROWS + 2) {
            let Ok(record) = record else { continue };
            let line = first + record.position().map_or(1, |it| it.line() as usize);
            let cells: Vec<String> = record.iter().map(|it| clipped(it).to_owned()).collect();
            if table.header.is_empty() {
                table.header = cells;
            } else if cells.len() == table.header.len() {
                table.rows.push((line, cells));
            }
        }
        self.csv = Some(table);
    }

    /// Takes the file as one YAML mapping, or says why it is none though it begins like one.
    fn find_yaml(&mut self) -> Option<String> {
        let is_yaml = self
            .text
            .lines()
            .map(str::trim_end)
            .find(|line| !line.is_empty() && !line.starts_with('#') && *line != "---")
            .and_then(|line| line.split_once(':'))
            .is_some_and(|(key, after)| {
                let plain = |c: char| c.is_ascii_alphanumeric() || "_-\"'".contains(c);
                !key.is_empty()
                    && key.chars().all(plain)
                    && (after.is_empty() || after.starts_with(' '))
            });
        if !is_yaml {
            return None;
        }
        // Aliases, nesting, merges and documents are bounded by the crate's default budget.
        let mut options = serde_saphyr::options! {
            non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
            duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        };
        if let Some(budget) = &mut options.budget {
            budget.max_nodes = MAX_VALUES;
            budget.max_events = 2 * MAX_VALUES;
        }
        match serde_saphyr::from_str_with_options::<Value>(&self.text, options) {
            Ok(value @ Value::Object(_)) => {
                self.values = vec![(1, value)];
                self.only_values = true;
                None
            }
            Ok(_) => None,
            Err(error) => Some(format!(
                "it begins like YAML, and is not: {}",
                error.to_string().lines().next().unwrap_or_default()
            )),
        }
    }
}

/// What bytes are that are no text, and what to do about it.
fn no_text(bytes: &[u8]) -> Option<&'static str> {
    let begins = |magic: &[u8]| bytes.starts_with(magic);
    if begins(b"\x1f\x8b") {
        Some("it is packed by gzip; unpack it first")
    } else if begins(b"\x28\xb5\x2f\xfd") {
        Some("it is packed by zstd; unpack it first")
    } else if begins(b"\xfd7zXZ\0") || begins(b"BZh") {
        Some("it is packed; unpack it first")
    } else if begins(b"PK\x03\x04") {
        Some("it is a zip archive or a spreadsheet; unpack it, or export JSON")
    } else if begins(b"SQLite format 3\0") {
        Some("it is an SQLite database; export its rows as JSON")
    } else if begins(b"PAR1") {
        Some("it is a Parquet file; export its rows as JSON")
    } else if begins(b"GGUF") {
        Some("it is a model, not a result; `joulemark variant inspect` reads it")
    } else if begins(b"\xff\xfe") || begins(b"\xfe\xff") {
        Some(
            "its text is UTF-16, as PowerShell's `>` writes it; save it as UTF-8 \
             (`| Out-File -Encoding utf8`)",
        )
    } else if bytes.iter().all(u8::is_ascii_whitespace) {
        Some("it is empty; the run wrote nothing")
    } else if bytes.contains(&0) {
        Some("it holds NUL bytes, so it is no text (or text in UTF-16: save it as UTF-8)")
    } else {
        None
    }
}

/// One kind of line end, and no terminal colours.
fn plain(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\r', '\u{1b}']) {
        kept.push_str(&rest[..at]);
        let special = &rest[at..];
        rest = if let Some(after) = special.strip_prefix("\r\n") {
            kept.push('\n');
            after
        } else if let Some(after) = special.strip_prefix('\r') {
            // A progress bar rewrites its line.
            kept.push('\n');
            after
        } else if let Some(after) = special.strip_prefix("\u{1b}[") {
            let end = after.find(|c: char| !c.is_ascii_digit() && c != ';');
            match end.map(|end| (end, after.as_bytes()[end])) {
                Some((end, b'A'..=b'Z' | b'a'..=b'z')) => &after[end + 1..],
                Some((end, _)) => &after[end..],
                None => "",
            }
        } else {
            &special[1..]
        };
    }
    kept.push_str(rest);
    kept
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|it| *it == b'\n').count()
}

/// The cells of a Markdown table's line.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line
        .trim()
        .trim_start_matches("> ")
        .strip_prefix('|')?
        .strip_suffix('|')?;
    let cells: Vec<String> = inner
        .split('|')
        .map(|cell| clipped(cell.trim()).to_owned())
        .collect();
    (cells.len() > 1).then_some(cells)
}

/// Whether a line's cells are the dashes under a header.
fn is_rule(cells: &[String]) -> bool {
    cells
        .iter()
        .all(|cell| cell.contains('-') && cell.chars().all(|c| matches!(c, '-' | ':' | ' ')))
}

/// Whether a line names the columns of a comma-separated table.
pub(super) fn is_csv_header(line: &str) -> bool {
    let names: Vec<&str> = line
        .split(',')
        .map(|name| name.trim().trim_matches('"'))
        .collect();
    names.len() >= 3
        && names.iter().all(|name| {
            name.len() < 80
                && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_-.%()/ :".contains(c))
        })
        && (line.contains('_') || line.contains('('))
}

/// Why a text is not a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Something else stands there.
    NoJson,
    /// The text ends within the value.
    End,
    /// [`MAX_VALUES`] were read.
    TooMany,
}

/// A reader of JSON that keeps what `serde_json` hides: where a value ends, doubled keys, and the
/// literals that only Python writes.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    values: usize,
    no_numbers: usize,
    doubled: Option<(String, usize)>,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            values: 0,
            no_numbers: 0,
            doubled: None,
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.no_numbers > 0 {
            notes.push(format!(
                "{} values are written NaN, Infinity or beyond what a number holds; they were read as absent",
                self.no_numbers
            ));
        }
        if let Some((key, at)) = &self.doubled {
            notes.push(format!(
                "line {}: the key {key:?} stands twice in one object; the last was read",
                newlines(&self.text[..*at]) + 1
            ));
        }
        notes
    }

    fn peek(&mut self) -> Result<u8, Stop> {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = rest
            .iter()
            .take_while(|it| matches!(it, b' ' | b'\t' | b'\n'))
            .count();
        self.at += blank;
        rest.get(blank).copied().ok_or(Stop::End)
    }

    fn value(&mut self, depth: u32) -> Result<Value, Stop> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Stop::TooMany);
        }
        if depth > MAX_DEPTH {
            return Err(Stop::NoJson);
        }
        match self.peek()? {
            b'{' => self.members(depth),
            b'[' => {
                self.at += 1;
                let mut members = Vec::new();
                if self.peek()? == b']' {
                    self.at += 1;
                    return Ok(Value::Array(members));
                }
                loop {
                    members.push(self.value(depth + 1)?);
                    if self.ends_after_comma(b']')? {
                        return Ok(Value::Array(members));
                    }
                }
            }
            b'"' => self.string().map(Value::String),
            _ => self.literal(),
        }
    }

    /// The members of the list that begins here, up to the one that is cut off.
    fn whole_members(&mut self, begin: usize) -> Vec<Value> {
        let mut members = Vec::new();
        self.at = begin;
        self.values = 0;
        if self.peek() != Ok(b'[') {
            return members;
        }
        self.at += 1;
        while let Ok(member) = self.value(1) {
            members.push(member);
            if self.ends_after_comma(b']') != Ok(false) {
                break;
            }
        }
        members
    }

    fn members(&mut self, depth: u32) -> Result<Value, Stop> {
        self.at += 1;
        let mut members = Map::new();
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            if self.peek()? != b'"' {
                return Err(Stop::NoJson);
            }
            let key_at = self.at;
            let key = self.string()?;
            if self.peek()? != b':' {
                return Err(Stop::NoJson);
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            if members.insert(key.clone(), value).is_some() && self.doubled.is_none() {
                self.doubled = Some((key, key_at));
            }
            if self.ends_after_comma(b'}')? {
                return Ok(Value::Object(members));
            }
        }
    }

    fn ends_after_comma(&mut self, end: u8) -> Result<bool, Stop> {
        let next = self.peek()?;
        if next != b',' && next != end {
            return Err(Stop::NoJson);
        }
        self.at += 1;
        Ok(next == end)
    }

    fn string(&mut self) -> Result<String, Stop> {
        let begin = self.at;
        let bytes = self.text.as_bytes();
        let mut at = begin + 1;
        loop {
            match bytes.get(at).ok_or(Stop::End)? {
                b'"' => break,
                b'\\' => at += 2,
                // A raw line end in a string is a quote in a log, not JSON.
                0..0x20 => return Err(Stop::NoJson),
                _ => at += 1,
            }
        }
        let quoted = self.text.get(begin..=at).ok_or(Stop::NoJson)?;
        self.at = at + 1;
        serde_json::from_str(quoted)
            .or_else(|_| serde_json::from_str(&without_lone_surrogates(quoted)))
            .map_err(|_| Stop::NoJson)
    }

    fn literal(&mut self) -> Result<Value, Stop> {
        let rest = &self.text[self.at..];
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c))
            .unwrap_or(rest.len());
        let word = &rest[..end];
        let value = match word {
            "" => return Err(Stop::NoJson),
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            "NaN" | "nan" | "-nan" | "Infinity" | "-Infinity" | "inf" | "-inf" => {
                self.no_numbers += 1;
                Value::Null
            }
            number => {
                if let Ok(number) = serde_json::from_str::<Number>(number) {
                    Value::Number(number)
                } else if number.starts_with(|c: char| c.is_ascii_digit() || c == '-')
                    && number.parse::<f64>().is_ok_and(f64::is_infinite)
                {
                    self.no_numbers += 1;
                    Value::Null
                } else if self.at + end == self.text.len() {
                    return Err(Stop::End);
                } else {
                    return Err(Stop::NoJson);
                }
            }
        };
        self.at += end;
        Ok(value)
    }
}

/// Half a surrogate pair, as a cut answer leaves it, becomes U+FFFD.
fn without_lone_surrogates(quoted: &str) -> String {
    let mut kept = String::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(at) = rest.find('\\') {
        kept.push_str(&rest[..at]);
        let escape = &rest[at..];
        let half = |text: &str| {
            let hex = text.strip_prefix("\\u")?.get(..4)?;
            u32::from_str_radix(hex, 16)
                .ok()
                .filter(|it| (0xd800..0xe000).contains(it))
        };
        let len = match (half(escape), escape.get(6..).and_then(half)) {
            (Some(high), Some(low)) if high < 0xdc00 && low >= 0xdc00 => {
                kept.push_str(&escape[..12]);
                12
            }
            (Some(_), _) => {
                kept.push('\u{fffd}');
                6
            }
            _ => {
                let len = escape.chars().take(2).map(char::len_utf8).sum();
                kept.push_str(&escape[..len]);
                len
            }
        };
        rest = &escape[len..];
    }
    kept.push_str(rest);
    kept
}

/// The number under a key, also where it is written as a string.
pub(super) fn number(object: &Map<String, Value>, key: &str) -> Option<f64> {
    as_number(object.get(key)?)
}

/// A value as a number, also where it is written as a string; NaN and infinities are none.
pub(super) fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|it: &f64| it.is_finite()),
        _ => None,
    }
}

/// The whole number under a key, also where it is written as a string or as `5.0`.
pub(super) fn count(object: &Map<String, Value>, key: &str) -> Option<u64> {
    as_count(object.get(key)?)
}

/// A value as a whole number.
pub(super) fn as_count(value: &Value) -> Option<u64> {
    if let Some(count) = value.as_u64() {
        return Some(count);
    }
    if let Value::String(text) = value
        && let Ok(count) = text.trim().parse()
    {
        return Some(count);
    }
    as_number(value)
        .filter(|it| (0.0..=9.0e15).contains(it) && it.fract() == 0.0)
        .map(|it| it as u64)
}

/// The text under a key, trimmed and clipped; an empty one is none.
pub(super) fn text(object: &Map<String, Value>, key: &str) -> Option<String> {
    let text = object.get(key)?.as_str()?.trim();
    (!text.is_empty()).then(|| clipped(text).to_owned())
}

/// As much of a text as is ever taken over.
pub(super) fn clipped(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The truth under a key, also where it is written as 0, 1, "true" or "False".
pub(super) fn flag(object: &Map<String, Value>, key: &str) -> Option<bool> {
    match object.get(key)? {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => Some(number.as_f64()? != 0.0),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Some(true),
            "false" | "0" | "no" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
