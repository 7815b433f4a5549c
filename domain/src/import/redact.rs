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
    let mut blanks = Blanks {
        bytes,
        ranges: Vec::new(),
        numbers: Vec::new(),
        plain_until: 0,
    };
    blanks.keyed();
    blanks.columns();
    blanks.lines();
    blanks.shaped();
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
    /// A secret, unless it is a count or one token of a text.
    Token,
}

fn key(name: &[u8]) -> Option<Key> {
    let name = String::from_utf8_lossy(name)
        .trim_start_matches('-')
        .to_ascii_lowercase()
        .replace(['-', '.'], "_");
    if name == "token" {
        return Some(Key::Token);
    }
    let ends = |ends: &[&str]| {
        ends.iter()
            .any(|end| name == *end || name.ends_with(&format!("_{end}")))
    };
    if ends(&[
        "cmd",
        "cmds",
        "command",
        "commands",
        "command_line",
        "commandline",
        "commandsnippet",
        "cli_command",
        "cmdline",
        "argv",
        "invocation",
        "env",
        "env_vars",
        "environ",
        "environment",
        "environment_variables",
        "headers",
        "cookie",
        "cookies",
    ]) {
        Some(Key::Command)
    } else if ends(&["args", "arguments", "flags", "extra_args", "options"]) {
        Some(Key::Arguments)
    } else if ends(&[
        "api_key",
        "apikey",
        "api_token",
        "authorization",
        "access_token",
        "auth_token",
        "refresh_token",
        "hf_token",
        "github_token",
        "bearer_token",
        "password",
        "passwd",
        "passphrase",
        "secret",
        "secret_key",
        "client_secret",
        "secret_access_key",
        "access_key",
        "access_key_id",
        "private_key",
        "credential",
        "credentials",
    ]) {
        Some(Key::Secret)
    } else {
        None
    }
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
            let kind = key(&self.bytes[begin..end]);
            let quoted = end < at && !matches!(self.bytes[end], b' ' | b'\t');
            at += 1;
            if let Some(kind) = kind {
                at = self.value(kind, at, begin, quoted).max(at);
            }
        }
    }

    /// Cells of a comma-separated table under a key's name.
    fn columns(&mut self) {
        let Some(text) = self.bytes.split(|it| *it == b'\n').position(|line| {
            std::str::from_utf8(line).is_ok_and(is_csv_header)
                && line.split(|it| *it == b',').any(is_secret_column)
        }) else {
            return;
        };
        let mut at = 0;
        for _ in 0..text {
            at = self.line_end(at) + 1;
        }
        let end = self.line_end(at);
        let secret: Vec<bool> = self.bytes[at..end]
            .split(|it| *it == b',')
            .map(is_secret_column)
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
            if secret.get(column) == Some(&true) {
                self.blank(begin..at.min(self.bytes.len()));
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
                let end = if matches!(kind, Key::Secret | Key::Token) {
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
                // `command = x` is a setting of a log's header unless it has flags.
                let kind = match (kind, self.at(after - 1)) {
                    (Key::Command, b'=') => Key::Arguments,
                    _ => kind,
                };
                if kind == Key::Arguments && end <= self.plain_until {
                    return at;
                }
                if self.blank_text(kind, at..end) {
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
            Key::Token => text.len() >= 12 && text.iter().any(u8::is_ascii_digit),
        };
        if is_secret {
            self.blank(range);
        }
        is_secret
    }

    /// All strings within brackets, keys of objects excepted.
    fn nested(&mut self, kind: Key, open: usize) -> usize {
        let is_list = self.at(open) == b'[';
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

    /// Prompts, captured commands, and blocks of shell in Markdown.
    fn lines(&mut self) {
        let mut at = 0;
        let mut in_shell = false;
        let mut continues = false;
        while at < self.bytes.len() {
            let end = self.line_end(at);
            let text = self.bytes[at..end].trim_ascii();
            let begin =
                at + self.bytes[at..end].len() - self.bytes[at..end].trim_ascii_start().len();
            if text.starts_with(b"```") {
                let language = text[3..].trim_ascii();
                in_shell = !in_shell
                    && [
                        b"bash".as_slice(),
                        b"sh",
                        b"shell",
                        b"zsh",
                        b"console",
                        b"powershell",
                        b"cmd",
                        b"shell-session",
                    ]
                    .contains(&language);
                continues = false;
            } else if in_shell || continues || is_command(text) {
                if !text.is_empty() {
                    self.blank(begin..begin + text.len());
                }
                continues = text.ends_with(b"\\");
            }
            at = end + 1;
        }
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
                if len >= *least && rest[..len].iter().any(u8::is_ascii_digit) {
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
        let mut from = 0;
        while let Some(at) = find(self.bytes, from, b"://") {
            from = at + 3;
            let len = self.bytes[from..]
                .iter()
                .take_while(|it| is_token_byte(**it) || b":%@!$&*+~".contains(*it))
                .count();
            if let Some(user) = self.bytes[from..from + len]
                .iter()
                .rposition(|it| *it == b'@')
            {
                self.blank(from..from + user);
            }
        }
        for home in [b"/home".as_slice(), b"/Users", b"\\Users", b"\\home"] {
            let mut from = 0;
            while let Some(at) = find(self.bytes, from, home) {
                from = at + home.len();
                let mut begin = from;
                while matches!(self.at(begin), b'/' | b'\\') && begin < from + 3 {
                    begin += 1;
                }
                let mut len = self.bytes[begin..]
                    .iter()
                    .take_while(|it| is_token_byte(**it) || !it.is_ascii())
                    .count();
                // A name on Windows may have blanks.
                if home.starts_with(b"\\") {
                    let whole = self.bytes[begin..]
                        .iter()
                        .take(64)
                        .take_while(|it| !b"\\/\"'\n\r".contains(it))
                        .count();
                    if self.at(begin + whole) == b'\\' {
                        len = whole;
                    }
                }
                let name = &self.bytes[begin..begin + len];
                if begin > from && len > 0 && !matches!(name, b"Shared" | b"Public") {
                    self.blank(begin..begin + len);
                }
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

fn is_secret_column(name: &[u8]) -> bool {
    let name = name.trim_ascii();
    let name = name.strip_prefix(b"\"").unwrap_or(name);
    let kind = key(name.strip_suffix(b"\"").unwrap_or(name));
    matches!(kind, Some(Key::Command | Key::Secret))
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
    is_call && words.any(|word| word.starts_with('-') && word.len() > 1)
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

#[cfg(test)]
mod tests;
