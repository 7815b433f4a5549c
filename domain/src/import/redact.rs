//! Command lines and secrets never leave the file they were found in.
//!
//! Bytes are looked at as text of no particular format, because the same secret stands in JSON, in
//! YAML, in a shell prompt of a log. Whole values are blanked where a key or a prompt says that a
//! command line, an environment or a secret follows; elsewhere only what has the shape of a key,
//! a password in an address, or a user's name in a path. A blanked byte becomes `x`, so lengths,
//! quotes and line ends stay, and the file is still read alike.

use std::ops::Range;

use super::document::is_csv_header;

/// The bytes with every command line and secret replaced by as many `x`, and how many places those
/// were. Everything else stays as it is, so the file is still read alike.
pub fn redact(bytes: &[u8]) -> (Vec<u8>, u32) {
    let (mut kept, mut places) = once(bytes);
    // What is taken out can make a longer name of what stood around it: until nothing is found.
    let mut found = places;
    for _ in 0..MAX_PASSES {
        if found == 0 {
            break;
        }
        let (again, more) = once(&kept);
        (kept, places, found) = (again, places.saturating_add(more), more);
    }
    (kept, places)
}

/// How often a file is gone through again after something was found in it.
const MAX_PASSES: usize = 8;

fn once(bytes: &[u8]) -> (Vec<u8>, u32) {
    let mut blanks = Blanks {
        bytes,
        ranges: Vec::new(),
        numbers: Vec::new(),
        plain_until: 0,
    };
    blanks.keyed();
    blanks.columns();
    blanks.lines();
    blanks.flagged();
    blanks.shaped();
    blanks.addresses();
    blanks.homes();
    blanks.private_keys();
    blanks.applied()
}

/// A text of a row without what [`redact`] would take out.
pub(super) fn scrub(text: &str) -> String {
    String::from_utf8_lossy(&redact(text.as_bytes()).0).into_owned()
}

/// What a key says of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// A command line, an environment, headers: all text in it goes.
    Command,
    /// A command line if it has flags, else settings.
    Arguments,
    /// A secret.
    Secret,
    /// A secret by the end of its name: one unless it is a number or one token of a text.
    Named,
    /// A secret, unless it is a count or one token of a text.
    Token,
    /// A machine's or a person's name.
    Place,
    /// An address that may lack its scheme: what stands before its path goes.
    Address,
}

/// The words of a name, small and with `_` between, also those of `camelCase`.
fn words_of(name: &[u8]) -> String {
    let mut words = String::with_capacity(name.len() + 8);
    let mut before = 0_u8;
    for &byte in name.iter().skip_while(|it| **it == b'-') {
        if byte.is_ascii_uppercase() && before.is_ascii_lowercase() {
            words.push('_');
        }
        words.push(match byte {
            b'-' | b'.' => '_',
            other => char::from(other.to_ascii_lowercase()),
        });
        before = byte;
    }
    words
}

fn key(name: &[u8]) -> Option<Key> {
    if name.is_empty() {
        return None;
    }
    let name = words_of(name);
    let one = name.strip_suffix('s').unwrap_or(&name);
    let ends = |ends: &[&str]| {
        [name.as_str(), one].iter().any(|name| {
            ends.iter().any(|end| {
                name.strip_suffix(end)
                    .is_some_and(|before| before.is_empty() || before.ends_with('_'))
            })
        })
    };
    if ends(COMMANDS) {
        Some(Key::Command)
    } else if ends(ARGUMENTS) {
        Some(Key::Arguments)
    } else if ends(SECRETS) {
        Some(Key::Secret)
    } else if one == "token" {
        Some(Key::Token)
    } else if ends(PLACES) || matches!(name.as_str(), "user" | "server") {
        Some(Key::Place)
    } else if ends(ADDRESSES) || name == "target" {
        Some(Key::Address)
    } else if ends(PASSES) {
        Some(Key::Named)
    } else if let Some((before, "token" | "key")) = one.rsplit_once('_') {
        let last = before.rsplit('_').next().unwrap_or_default();
        (!TOKENS_OF_TEXT.contains(&last)).then_some(Key::Named)
    } else {
        None
    }
}

const COMMANDS: &[&str] = &[
    "cmd",
    "command",
    "command_line",
    "commandline",
    "commandsnippet",
    "command_snippet",
    "cli_command",
    "cmdline",
    "cmd_line",
    "argv",
    "invocation",
    "env",
    "env_var",
    "environ",
    "environment",
    "environment_variable",
    "header",
    "cookie",
];

const ARGUMENTS: &[&str] = &["arg", "argument", "flag", "option"];

const SECRETS: &[&str] = &[
    "api_key",
    "apikey",
    "api_token",
    "authorization",
    "access_token",
    "auth_token",
    "refresh_token",
    "hf_token",
    "hub_token",
    "github_token",
    "bearer_token",
    "session_token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "secret_key",
    "secret_access_key",
    "access_key",
    "access_key_id",
    "private_key",
    "credential",
];

/// Names of secrets that may also be names of counts.
const PASSES: &[&str] = &["pass", "pwd", "sig", "signature", "jwt", "bearer"];

/// What a token or key is of that is no secret.
const TOKENS_OF_TEXT: &[&str] = &[
    "eos",
    "bos",
    "pad",
    "unk",
    "sep",
    "cls",
    "mask",
    "image",
    "stop",
    "special",
    "per",
    "first",
    "last",
    "next",
    "new",
    "prompt",
    "input",
    "output",
    "total",
    "completion",
    "max",
    "min",
    "metric",
    "sort",
    "primary",
    "cache",
    "group",
    "stats",
];

const PLACES: &[&str] = &[
    "host",
    "hostname",
    "host_name",
    "ip",
    "ip_address",
    "username",
    "user_name",
    "email",
];

const ADDRESSES: &[&str] = &["url", "uri", "endpoint"];

/// Hosts that are everybody's, or this one.
const PUBLIC_HOSTS: &[&[u8]] = &[
    b"huggingface.co",
    b"hf.co",
    b"github.com",
    b"localhost",
    b"127.0.0.1",
    b"0.0.0.0",
];

fn is_public(host: &[u8]) -> bool {
    let host = host.split(|it| *it == b':').next().unwrap_or(host);
    let host = host.to_ascii_lowercase();
    PUBLIC_HOSTS.iter().any(|public| {
        host.strip_suffix(*public)
            .is_some_and(|before| before.is_empty() || before.ends_with(b"."))
    })
}

struct Blanks<'a> {
    bytes: &'a [u8],
    ranges: Vec<Range<usize>>,
    /// Secret numbers of JSON, which must stay numbers.
    numbers: Vec<Range<usize>>,
    /// Up to where no flags stand, so that nested settings are not searched again.
    plain_until: usize,
}

impl Blanks<'_> {
    fn at(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    fn blank(&mut self, range: Range<usize>) {
        let blanked = self.bytes[range.clone()]
            .iter()
            .any(|it| *it != b'x' && !it.is_ascii_whitespace());
        if blanked {
            self.ranges.push(range);
        }
    }

    /// Values behind `key:` and `key=`, however quoted.
    fn keyed(&mut self) {
        let mut at = 0;
        while at < self.bytes.len() {
            let sign = self.at(at);
            if sign == b',' {
                self.pair(at);
            }
            if sign != b':' && sign != b'=' {
                at += 1;
                continue;
            }
            let mut end = at;
            while end > 0 && matches!(self.bytes[end - 1], b' ' | b'\t' | b'"' | b'\'' | b'\\') {
                end -= 1;
            }
            let mut begin = end;
            while begin > 0 && is_key_byte(self.bytes[begin - 1]) && end - begin < 64 {
                begin -= 1;
            }
            let name = &self.bytes[begin..end];
            let mut kind = key(name);
            if sign == b'=' {
                let is_query = begin > 0 && matches!(self.bytes[begin - 1], b'?' | b'&');
                let is_named = matches!(kind, Some(Key::Token | Key::Named)) || name == b"key";
                if is_query && is_named {
                    kind = Some(Key::Secret);
                } else if kind == Some(Key::Token) {
                    kind = Some(Key::Named);
                }
            }
            let quoted = end < at && !matches!(self.bytes[end], b' ' | b'\t');
            at += 1;
            if let Some(kind) = kind {
                at = self.value(kind, at, begin, quoted).max(at);
            }
        }
    }

    /// `["api_key", "x"]` and `{"name": "api_key", "value": "x"}`: around this comma.
    fn pair(&mut self, comma: usize) {
        let back = |mut at: usize| {
            while at > 0 && comma - at < 128 && self.bytes[at - 1].is_ascii_whitespace() {
                at -= 1;
            }
            at
        };
        let word = |end: usize| {
            let is_quote = |it: u8| matches!(it, b'"' | b'\'');
            let end = end.checked_sub(1).filter(|it| is_quote(self.bytes[*it]))?;
            let mut begin = end;
            while begin > 0 && end - begin < 64 && is_key_byte(self.bytes[begin - 1]) {
                begin -= 1;
            }
            let open = begin
                .checked_sub(1)
                .filter(|it| is_quote(self.bytes[*it]))?;
            Some((open, begin..end))
        };
        let Some((open, name)) = word(back(comma)) else {
            return;
        };
        let kind = key(&self.bytes[name]);
        if !matches!(kind, Some(Key::Secret | Key::Named)) {
            return;
        }
        let before = back(open);
        let mut at = comma + 1;
        match before.checked_sub(1).map(|it| self.bytes[it]) {
            Some(b'[' | b'(') => {}
            Some(b':') => {
                let label = word(back(before - 1)).map(|(_, it)| &self.bytes[it]);
                let is_name = label.is_some_and(|it| {
                    [b"name".as_slice(), b"key", b"header", b"variable"]
                        .iter()
                        .any(|name| it.eq_ignore_ascii_case(name))
                });
                let next = self.quoted(at);
                let Some(next) = next
                    .filter(|it| is_name && self.bytes[it.clone()].eq_ignore_ascii_case(b"value"))
                else {
                    return;
                };
                at = next.end + 1;
                while self.at(at).is_ascii_whitespace() {
                    at += 1;
                }
                if self.at(at) != b':' {
                    return;
                }
                at += 1;
            }
            _ => return,
        }
        if let Some(value) = self.quoted(at) {
            self.blank(value);
        }
    }

    /// The text of the string that begins here or after blanks.
    fn quoted(&self, from: usize) -> Option<Range<usize>> {
        let mut at = from;
        while self.at(at).is_ascii_whitespace() && at - from < 128 {
            at += 1;
        }
        let quote = self.at(at);
        matches!(quote, b'"' | b'\'').then(|| at + 1..self.string_end(at + 1, quote))
    }

    /// Cells of a comma-separated table under a key's name.
    fn columns(&mut self) {
        let Some(text) = self.bytes.split(|it| *it == b'\n').position(|line| {
            std::str::from_utf8(line).is_ok_and(is_csv_header)
                && line
                    .split(|it| *it == b',')
                    .any(|it| column_key(it).is_some())
        }) else {
            return;
        };
        let mut at = 0;
        for _ in 0..text {
            at = self.line_end(at) + 1;
        }
        let end = self.line_end(at);
        let secret: Vec<Option<Key>> = self.bytes[at..end]
            .split(|it| *it == b',')
            .map(column_key)
            .collect();
        at = end + 1;
        let mut column = 0;
        while at < self.bytes.len() {
            let quoted = self.at(at) == b'"';
            let begin = at + usize::from(quoted);
            at = begin;
            while at < self.bytes.len() {
                let ends = if quoted {
                    self.at(at) == b'"'
                } else {
                    matches!(self.at(at), b',' | b'\n')
                };
                // A doubled quote is one within the cell.
                if ends && quoted && self.at(at + 1) == b'"' {
                    at += 1;
                } else if ends {
                    break;
                }
                at += 1;
            }
            if let Some(Some(kind)) = secret.get(column) {
                self.blank_text(*kind, begin..at.min(self.bytes.len()));
            }
            at += usize::from(quoted);
            column = if self.at(at) == b',' { column + 1 } else { 0 };
            at += 1;
        }
    }

    /// Blanks the value that begins here; where to go on.
    fn value(&mut self, kind: Key, after: usize, key_at: usize, quoted: bool) -> usize {
        let mut at = after;
        while matches!(self.at(at), b' ' | b'\t')
            || (quoted && matches!(self.at(at), b'\n' | b'\r'))
        {
            at += 1;
        }
        match self.at(at) {
            quote @ (b'"' | b'\'') => {
                let end = self.string_end(at + 1, quote);
                if self.blank_text(kind, at + 1..end) {
                    end + 1
                } else {
                    at + 1
                }
            }
            b'\\' if matches!(self.at(at + 1), b'"' | b'\'') => {
                let end = find(self.bytes, at + 2, b"\\").unwrap_or(self.bytes.len());
                if self.blank_text(kind, at + 2..end) {
                    end
                } else {
                    at + 2
                }
            }
            b'[' | b'{' => self.nested(kind, at),
            _ if quoted => {
                // JSON: a number, true, null. Only a secret may be a number.
                let end = self.bare_end(at);
                let number = &self.bytes[at..end];
                let known = number.iter().all(|it| *it == b'1');
                if kind == Key::Secret && !known && number.iter().all(u8::is_ascii_digit) {
                    self.numbers.push(at..end);
                }
                end
            }
            b'\n' | b'\r' | b'|' | b'>' if self.at(after - 1) == b':' && kind == Key::Command => {
                self.block(key_at, at)
            }
            b'\n' | b'\r' | 0 => at,
            _ => {
                // `command = x` is a setting of a log's header unless it has flags.
                let kind = match (kind, self.at(after - 1)) {
                    (Key::Command, b'=') => Key::Arguments,
                    _ => kind,
                };
                if kind == Key::Arguments && at < self.plain_until {
                    return at;
                }
                let is_word = !matches!(kind, Key::Command | Key::Arguments);
                let end = if is_word {
                    // `Authorization: Bearer abc`, `api_key=abc, ...`
                    let word = self.bare_end(at);
                    let scheme = ["Bearer", "Basic", "Token"]
                        .iter()
                        .any(|it| self.bytes[at..word].eq_ignore_ascii_case(it.as_bytes()));
                    if scheme {
                        self.bare_end(word + 1)
                    } else {
                        word
                    }
                } else {
                    self.line_end(at)
                };
                if self.blank_text(kind, at..end) || kind != Key::Arguments {
                    end
                } else {
                    self.plain_until = end;
                    at
                }
            }
        }
    }

    /// Whether the text was blanked.
    fn blank_text(&mut self, kind: Key, range: Range<usize>) -> bool {
        let mut range = range;
        let text = &self.bytes[range.clone()];
        let nothing = [
            b"None".as_slice(),
            b"null",
            b"none",
            b"~",
            b"true",
            b"false",
            b"True",
            b"False",
        ];
        if nothing.contains(&text.trim_ascii()) {
            return false;
        }
        let is_secret = match kind {
            Key::Command | Key::Secret => true,
            Key::Arguments => has_flag(text),
            // No token of a vocabulary is that long and has digits.
            Key::Token => {
                text.len() >= 12 && text.iter().any(u8::is_ascii_digit)
                    || text.len() >= 30 && !text.contains(&b' ')
            }
            Key::Named => {
                let text = text.trim_ascii();
                !is_number(text) && !text.starts_with(b"<") && !text.starts_with(b"[")
            }
            Key::Place => !is_public(text) && !is_number(text.trim_ascii()),
            Key::Address => {
                let host = text
                    .iter()
                    .take_while(|it| !it.is_ascii_whitespace() && !b"/\\?#".contains(it))
                    .count();
                let text = &text[..host];
                range.end = range.start + host;
                // One with its scheme is found by that.
                !text.ends_with(b":")
                    && (text.contains(&b':') || text.contains(&b'.'))
                    && !is_public(text)
            }
        };
        if is_secret {
            self.blank(range);
        }
        is_secret
    }

    /// All strings within brackets, keys of objects excepted.
    fn nested(&mut self, kind: Key, open: usize) -> usize {
        let is_list = self.at(open) == b'[';
        if !matches!(kind, Key::Command | Key::Secret | Key::Arguments) {
            return open + 1;
        }
        if kind == Key::Arguments && (!is_list || open < self.plain_until) {
            // Settings: what is secret in them has its own key.
            return open + 1;
        }
        let mut strings = Vec::new();
        let (mut at, mut depth) = (open, 0_usize);
        while at < self.bytes.len() {
            match self.at(at) {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                quote @ (b'"' | b'\'') => {
                    let end = self.string_end(at + 1, quote);
                    let mut next = end + 1;
                    while self.at(next).is_ascii_whitespace() {
                        next += 1;
                    }
                    if self.at(next) != b':' {
                        strings.push(at + 1..end);
                    }
                    at = end;
                }
                _ => {}
            }
            at += 1;
        }
        let has_flags = strings.iter().any(|it| has_flag(&self.bytes[it.clone()]));
        if kind == Key::Arguments && !has_flags {
            self.plain_until = at;
            return open + 1;
        }
        for range in strings {
            self.blank(range);
        }
        at + 1
    }

    /// The lines of a YAML block or list that belong to the key.
    fn block(&mut self, key_at: usize, from: usize) -> usize {
        let indent = |line: &[u8]| line.iter().take_while(|it| **it == b' ').count();
        let line_begin = self.bytes[..key_at]
            .iter()
            .rposition(|it| *it == b'\n')
            .map_or(0, |it| it + 1);
        let own = indent(&self.bytes[line_begin..]);
        let mut at = (self.line_end(from) + 1).min(self.bytes.len());
        while at < self.bytes.len() {
            let end = self.line_end(at);
            let line = &self.bytes[at..end];
            let its = indent(line);
            let item = line[its..].starts_with(b"- ");
            if !line.trim_ascii().is_empty() && its <= own && !(item && its == own) {
                break;
            }
            let begin = at + its + if item { 2 } else { 0 };
            if begin < end {
                self.blank_but_quotes(begin..end);
            }
            at = (end + 1).min(self.bytes.len());
        }
        at
    }

    /// A YAML scalar: its quotes stay, or one that was quoted would be read otherwise.
    fn blank_but_quotes(&mut self, range: Range<usize>) {
        let text = self.bytes[range.clone()].trim_ascii_end();
        let quote = text
            .first()
            .copied()
            .filter(|it| matches!(it, b'"' | b'\''));
        match quote {
            Some(quote) if text.len() > 1 && text.last() == Some(&quote) => {
                self.blank(range.start + 1..range.start + text.len() - 1);
            }
            _ => self.blank(range.start..range.start + text.len()),
        }
    }

    /// Prompts, captured commands, and those in blocks of shell in Markdown. Such a block may hold
    /// the results too, so only what is a command goes; one that never ends is none.
    fn lines(&mut self) {
        let mut last_fence = 0;
        let mut at = 0;
        while at < self.bytes.len() {
            let end = self.line_end(at);
            if self.bytes[at..end].trim_ascii_start().starts_with(b"```") {
                last_fence = at;
            }
            at = end + 1;
        }
        let (mut in_shell, mut is_first, mut continues) = (false, false, false);
        at = 0;
        while at < self.bytes.len() {
            let end = self.line_end(at);
            let text = self.bytes[at..end].trim_ascii();
            let begin =
                at + self.bytes[at..end].len() - self.bytes[at..end].trim_ascii_start().len();
            if text.starts_with(b"```") {
                let language = text[3..].trim_ascii().to_ascii_lowercase();
                in_shell = !in_shell && at < last_fence && SHELLS.contains(&language.as_slice());
                (is_first, continues) = (in_shell, false);
            } else if !text.is_empty() {
                let is_result =
                    text.starts_with(b"|") || text.starts_with(b"{") || text.starts_with(b"[");
                let is_call = in_shell && (is_first || calls(text) || has_flag(text));
                if !is_result && (is_call || continues || is_command(text)) {
                    self.blank(begin..begin + text.len());
                    continues = text.ends_with(b"\\");
                } else {
                    continues = false;
                }
                // A prompt may stand alone in its first line, and a comment before the call.
                is_first = is_first && text.starts_with(b"#");
            }
            at = end + 1;
        }
    }

    /// Texts with two flags or more are command lines, under whatever key.
    fn flagged(&mut self) {
        let is_table = self
            .bytes
            .split(|it| *it == b'\n')
            .any(|line| std::str::from_utf8(line).is_ok_and(is_csv_header));
        let mut begin = 0;
        let (mut flags, mut in_row) = (0, false);
        for at in 0..=self.bytes.len() {
            let byte = self.bytes.get(at).copied().unwrap_or(b'\n');
            if at == begin && (at == 0 || self.bytes[at - 1] == b'\n') {
                in_row = byte == b'|';
            }
            let is_end = byte == b'\n'
                || byte == b'"' && (at == 0 || self.bytes[at - 1] != b'\\')
                || byte == b'|' && in_row
                || byte == b',' && is_table;
            if !is_end {
                let is_flag = byte == b'-'
                    && at > begin
                    && self.bytes[at - 1] == b' '
                    && self.at(at + 1) == b'-'
                    && self.at(at + 2).is_ascii_alphabetic();
                flags += u32::from(is_flag);
                continue;
            }
            if flags >= 2 {
                let from = self.after_label(begin..at);
                self.blank(from..at);
            }
            (begin, flags) = (at + 1, 0);
        }
    }

    /// Where a line's text begins: behind its indentation, its dash, and its `key: `.
    fn after_label(&self, line: Range<usize>) -> usize {
        let mut at = line.start;
        while at < line.end && matches!(self.bytes[at], b' ' | b'\t' | b'-' | b'>' | b'#') {
            at += 1;
        }
        let name = self.bytes[at..line.end]
            .iter()
            .take_while(|it| is_key_byte(**it))
            .count();
        if name > 0 && self.bytes[at + name..line.end].starts_with(b": ") {
            at += name + 2;
        }
        at
    }

    /// What has the shape of a secret wherever it stands.
    fn shaped(&mut self) {
        for (prefix, least) in PREFIXES {
            let mut from = 0;
            while let Some(at) = find(self.bytes, from, prefix) {
                from = at + prefix.len();
                if at > 0 && self.bytes[at - 1].is_ascii_alphanumeric() {
                    continue;
                }
                let rest = &self.bytes[from..];
                let len = rest.iter().take_while(|it| is_token_byte(**it)).count();
                let has_digit = rest[..len].iter().any(u8::is_ascii_digit);
                if len >= *least && has_digit || len >= 30 {
                    self.blank(at..from + len);
                }
                from += len;
            }
        }
        for flag in SECRET_FLAGS {
            let mut from = 0;
            while let Some(at) = find(self.bytes, from, flag) {
                from = at + flag.len();
                match self.at(from) {
                    b' ' | b'=' => {
                        let end = self.bare_end(from + 1);
                        self.blank(from + 1..end);
                        from = end;
                    }
                    quote @ (b'"' | b'\'') => self.blank_next_string(from + 1, quote),
                    _ => {}
                }
            }
        }
        for scheme in [b"Bearer ".as_slice(), b"bearer "] {
            let mut from = 0;
            while let Some(at) = find(self.bytes, from, scheme) {
                from = at + scheme.len();
                let len = self.bytes[from..]
                    .iter()
                    .take_while(|it| is_token_byte(**it) || **it == b'=')
                    .count();
                if len >= 8 {
                    self.blank(from..from + len);
                }
            }
        }
        for flag in [b"-u ".as_slice(), b"--user ", b"--user="] {
            let mut from = 0;
            while let Some(at) = find(self.bytes, from, flag) {
                from = at + flag.len();
                let end = self.bare_end(from);
                let is_own = at == 0 || self.bytes[at - 1].is_ascii_whitespace();
                if is_own && self.bytes[from..end].contains(&b':') {
                    self.blank(from..end);
                }
            }
        }
    }

    /// Users, passwords and hosts of addresses, and private addresses by their numbers.
    fn addresses(&mut self) {
        for slashes in [b"://".as_slice(), b":\\/\\/"] {
            let mut from = 0;
            // Where the blank or quote after an address stands, and the last @ before it: looked
            // for once, however many addresses come before it.
            let (mut end, mut last_at) = (0, None);
            while let Some(at) = find(self.bytes, from, slashes) {
                from = at + slashes.len();
                let rest = &self.bytes[from..];
                if from >= end {
                    end = from
                        + rest
                            .iter()
                            .take_while(|it| !it.is_ascii_whitespace() && !b"\"'<>|`".contains(it))
                            .count();
                    let last = self.bytes[from..end].iter().rposition(|it| *it == b'@');
                    last_at = last.map(|it| from + it);
                }
                let whole = end - from;
                let host = |text: &[u8]| {
                    text.iter()
                        .take_while(|it| !b"/\\?#,;)]}@".contains(it))
                        .count()
                };
                let first = host(&rest[..whole]);
                if is_public(&rest[..first]) && rest.get(first) != Some(&b'@') {
                    from += first;
                    continue;
                }
                let user = last_at.and_then(|it| it.checked_sub(from));
                let server = user.map_or(0, |it| it + 1);
                let len = host(&rest[server..whole]);
                if let Some(user) = user {
                    self.blank(from..from + user);
                }
                if !is_public(&self.bytes[from + server..from + server + len]) {
                    self.blank(from + server..from + server + len);
                }
                from += server + len;
            }
        }
        let mut at = 0;
        while at < self.bytes.len() {
            if !self.bytes[at].is_ascii_digit() {
                at += 1;
                continue;
            }
            let len = self.bytes[at..]
                .iter()
                .take_while(|it| it.is_ascii_digit() || **it == b'.' || **it == b':')
                .count();
            let is_own = at == 0 || !is_token_byte(self.bytes[at - 1]);
            if is_own && is_private(&self.bytes[at..at + len]) {
                self.blank(at..at + len);
            }
            at += len;
        }
    }

    /// Users' names in paths.
    fn homes(&mut self) {
        for (home, is_shared) in HOMES {
            let mut from = 0;
            while let Some(at) = find_any_case(self.bytes, from, home) {
                from = at + home.len();
                let mut begin = from;
                while matches!(self.at(begin), b'/' | b'\\') && begin < from + 3 {
                    begin += 1;
                }
                let mut len = self.bytes[begin..]
                    .iter()
                    .take_while(|it| is_token_byte(**it) || !it.is_ascii())
                    .count();
                // A name on Windows or a Mac may have blanks.
                if home.ends_with(b"users") {
                    let whole = self.bytes[begin..]
                        .iter()
                        .take(64)
                        .take_while(|it| !b"\\/\"'\n\r,=|".contains(it))
                        .count();
                    let end = self.at(begin + whole);
                    let mut before = self.bytes[..at].iter().rev().take(3);
                    let has_drive = before.find(|it| **it != b'\\') == Some(&b':');
                    if matches!(end, b'\\' | b'/') || has_drive && matches!(end, b'"' | b'\'') {
                        len = whole;
                    }
                }
                let name = &self.bytes[begin..begin + len];
                let is_folder = matches!(self.at(begin + len), b'/' | b'\\');
                let is_whole = begin > from && len > 0 && (is_folder || !is_shared);
                if is_whole
                    && !matches!(name, b"Shared" | b"Public")
                    && !name.starts_with(b"models--")
                {
                    self.blank(begin..begin + len);
                }
            }
        }
    }

    /// Private keys in PEM, up to their end or that of the string they stand in.
    fn private_keys(&mut self) {
        let mut from = 0;
        while let Some(at) = find(self.bytes, from, b"PRIVATE KEY-----") {
            from = at + 16;
            let end = self.bytes[from..]
                .iter()
                .position(|it| *it == b'"')
                .map_or(self.bytes.len(), |it| from + it);
            let end = find(&self.bytes[..end], from, b"-----END").unwrap_or(end);
            if end > from {
                self.blank(from..end);
                from = end;
            }
            // The line that ends a key names it too.
            if let Some(after) = self.bytes[from..].strip_prefix(b"-----END") {
                let rest = after.len().min(40);
                let own = find(&after[..rest], 0, b"PRIVATE KEY-----");
                from += own.map_or(8, |it| 8 + it + 16);
            }
        }
    }

    /// The string after a comma: the next member of a list.
    fn blank_next_string(&mut self, from: usize, quote: u8) {
        let gap = self.bytes[from.min(self.bytes.len())..]
            .iter()
            .take_while(|it| it.is_ascii_whitespace() || **it == b',')
            .count();
        let begin = from + gap;
        if gap > 0 && self.at(begin) == quote {
            let end = self.string_end(begin + 1, quote);
            self.blank(begin + 1..end);
        }
    }

    fn applied(mut self) -> (Vec<u8>, u32) {
        let mut bytes = self.bytes.to_vec();
        self.ranges.sort_by_key(|it| (it.start, it.end));
        let mut places = 0;
        let mut end = 0;
        for range in &self.ranges {
            if range.start >= end {
                places += 1;
            }
            end = end.max(range.end);
            for byte in &mut bytes[range.clone()] {
                match byte {
                    b'\n' | b'\r' | b' ' | b'\t' => {}
                    _ => *byte = b'x',
                }
            }
        }
        for range in &self.numbers {
            bytes[range.clone()].fill(b'1');
            places += 1;
        }
        (bytes, places)
    }

    fn string_end(&self, from: usize, quote: u8) -> usize {
        let mut at = from;
        while at < self.bytes.len() {
            match self.at(at) {
                b'\\' => at += 1,
                b'\n' => return at,
                byte if byte == quote => return at,
                _ => {}
            }
            at += 1;
        }
        self.bytes.len()
    }

    fn bare_end(&self, from: usize) -> usize {
        let from = from.min(self.bytes.len());
        from + self.bytes[from..]
            .iter()
            .take_while(|it| !it.is_ascii_whitespace() && !b",;\"'\\`|)]}&".contains(*it))
            .count()
    }

    fn line_end(&self, from: usize) -> usize {
        find(self.bytes, from, b"\n").unwrap_or(self.bytes.len())
    }
}

fn column_key(name: &[u8]) -> Option<Key> {
    let name = name.trim_ascii();
    let name = name.strip_prefix(b"\"").unwrap_or(name);
    key(name.strip_suffix(b"\"").unwrap_or(name))
        .filter(|it| !matches!(it, Key::Arguments | Key::Token))
}

/// Beginnings of the keys that services give out, and how long the rest is at least.
const PREFIXES: &[(&[u8], usize)] = &[
    (b"sk-", 16),
    (b"sk_live_", 12),
    (b"hf_", 16),
    (b"ghp_", 16),
    (b"gho_", 16),
    (b"ghu_", 16),
    (b"ghs_", 16),
    (b"ghr_", 16),
    (b"github_pat_", 16),
    (b"glpat-", 16),
    (b"xoxb-", 16),
    (b"xoxp-", 16),
    (b"AKIA", 12),
    (b"ASIA", 12),
    (b"AIza", 30),
    (b"nvapi-", 16),
    (b"gsk_", 16),
    (b"r8_", 16),
    (b"eyJ", 40),
];

/// Flags whose next word is a secret.
const SECRET_FLAGS: &[&[u8]] = &[
    b"--api-key",
    b"--api_key",
    b"--apikey",
    b"--token",
    b"--hf-token",
    b"--hf_token",
    b"--auth-token",
    b"--password",
    b"--secret",
    b"--access-key",
    b"--secret-key",
];

/// The roots of users' folders, and whether files of no user lie beside those.
const HOMES: &[(&[u8], bool)] = &[
    (b"/home", false),
    (b"\\home", false),
    (b"/users", false),
    (b"\\users", false),
    (b"/scratch", true),
    (b"/workspace", true),
];

/// What a block of shell is called in Markdown.
const SHELLS: &[&[u8]] = &[
    b"bash",
    b"sh",
    b"shell",
    b"zsh",
    b"console",
    b"powershell",
    b"cmd",
    b"shell-session",
];

/// Programs whose call in a log is a command line if a flag follows.
const PROGRAMS: &[&str] = &[
    "llama-bench",
    "llama-batched-bench",
    "llama-server",
    "llama-cli",
    "llama-benchy",
    "llamafile",
    "localscore",
    "vllm",
    "sglang",
    "python",
    "python3",
    "uv",
    "uvx",
    "pip",
    "docker",
    "podman",
    "srun",
    "guidellm",
    "genai-bench",
    "aiperf",
    "lm_eval",
    "lm-eval",
    "accelerate",
    "mlx_lm",
    "ollama",
    "curl",
    "wget",
    "ssh",
    "sudo",
    "env",
    "export",
    "bash",
    "sh",
    "exo",
];

/// Whether a line of a log is a command: one behind a prompt, one that a wrapper wrote down, or the
/// call of a known program with a flag.
fn is_command(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else {
        return false;
    };
    // Rows of results are never commands.
    if line.starts_with(['{', '[', '"', '|']) {
        return false;
    }
    let bare = line
        .trim_start_matches(['#', '>', '*', ' '])
        .to_ascii_lowercase();
    let wrote_down = [
        "cmd:",
        "command:",
        "cmdline:",
        "command line:",
        "env:",
        "args:",
        "running:",
        "executing:",
    ];
    if line.starts_with('#') && wrote_down.iter().any(|it| bare.starts_with(it)) {
        return true;
    }
    if ["$ ", "❯ ", "➜ ", "+ ", "PS ", "% "]
        .iter()
        .any(|it| line.starts_with(it))
        && line.len() > 4
    {
        return true;
    }
    // user@machine:~$ command
    if let Some((prompt, _)) = line.split_once(['$', '#', '%'])
        && prompt.len() < 80
        && prompt.contains('@')
        && !prompt.trim().contains(' ')
    {
        return true;
    }
    let (is_call, mut words) = call(line);
    is_call && words.any(|word| word.starts_with('-') && word.len() > 1)
}

/// Whether a line of a shell calls a known program, or sets a variable.
fn calls(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else {
        return false;
    };
    let is_setting = line.split_once('=').is_some_and(|(name, _)| {
        let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        !name.is_empty() && name.chars().all(is_name)
    });
    let is_shell = ["cd ", "source ", "git ", "set "]
        .iter()
        .any(|it| line.starts_with(it));
    is_setting || is_shell || call(line).0
}

/// Whether the line's program is a known one, and the words after it.
fn call(line: &str) -> (bool, impl Iterator<Item = &str>) {
    let mut words = line.split_whitespace().skip_while(|word| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        })
    });
    let program = words.next().unwrap_or_default();
    let name = program.rsplit(['/', '\\']).next().unwrap_or(program);
    let name = name.strip_suffix(".exe").unwrap_or(name);
    let is_call = PROGRAMS.contains(&name)
        || program.starts_with("./")
        || [".py", ".sh"].iter().any(|it| name.ends_with(it));
    (is_call, words)
}

/// Whether digits, points and colons are the address of a private network, or one with a port.
fn is_private(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let (numbers, port) = match text.split_once(':') {
        Some((numbers, port)) => (numbers, !port.is_empty()),
        None => (text, false),
    };
    let octets: Result<Vec<u8>, _> = numbers
        .trim_end_matches('.')
        .split('.')
        .map(str::parse)
        .collect();
    match octets.as_deref() {
        Ok([127, ..] | [0, 0, 0, 0]) => false,
        Ok([10, _, _, _] | [192, 168, _, _] | [172, 16..=31, _, _] | [100, 64..=127, _, _]) => true,
        Ok([_, _, _, _]) => port,
        _ => false,
    }
}

fn is_number(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|it| it.parse::<f64>().is_ok())
}

/// Whether a text is or begins with a flag, or holds one.
fn has_flag(text: &[u8]) -> bool {
    let flag = |at: usize| {
        text.get(at) == Some(&b'-')
            && text
                .get(at + 1)
                .is_some_and(|it| *it == b'-' || it.is_ascii_alphabetic())
    };
    flag(0) || (1..text.len()).any(|at| text[at - 1] == b' ' && flag(at))
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|it| *it == first)?;
        if bytes[at..].starts_with(what) {
            return Some(at);
        }
        at += 1;
    }
}

/// As [`find`], but letters are alike in any case; `what` is small and begins with no letter.
fn find_any_case(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut at = from;
    loop {
        at += bytes.get(at..)?.iter().position(|it| *it == first)?;
        let found = bytes.get(at..at + what.len())?;
        if found.eq_ignore_ascii_case(what) {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests;
