//! The file in which a collector's operator allows keys.
//!
//! One key per line, 64 hexadecimal digits and then, if wanted, a label; or a PEM block as
//! `openssl pkey -pubout` prints it; `#` starts a comment. The file is read at the start, and
//! again when an unknown key comes, but at most once a second, so that a stranger's envelopes
//! cannot keep the disk busy. A key that was taken out of the file stays allowed: what it signed
//! is stored already, and taking back is what revoking is for.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use domain::envelope::{VerifyingKey, read_public_key};
use domain::text::Name;
use tokio::io::AsyncReadExt as _;
use tokio::sync::Mutex;

/// A longer file is refused.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// How long after one reading the next may follow.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A key that the file allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowedKey {
    pub(crate) key: VerifyingKey,
    pub(crate) label: Name,
}

/// The file and when it was read.
#[derive(Debug)]
pub(crate) struct AllowedKeys {
    file: Option<PathBuf>,
    read: Mutex<Option<Instant>>,
}

impl AllowedKeys {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            read: Mutex::new(None),
        }
    }

    /// The keys that the file allows now: none when it was read a moment ago, when it is not
    /// there, or for the lines that are no keys, which are logged with what to do.
    pub(crate) async fn read(&self) -> Vec<AllowedKey> {
        let Some(file) = &self.file else {
            return Vec::new();
        };
        let mut read = self.read.lock().await;
        if read.is_some_and(|at| at.elapsed() < READ_AGAIN_AFTER) {
            return Vec::new();
        }
        *read = Some(Instant::now());
        let text = match read_bounded(file).await {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "the file of allowed keys was not read");
                return Vec::new();
            }
        };
        let (keys, refused) = parse(&text);
        for (line, why) in refused {
            tracing::warn!(file = %file.display(), line, why, "a line of the allowed keys was skipped");
        }
        keys
    }
}

async fn read_bounded(file: &std::path::Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = tokio::fs::File::open(file).await?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .await?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other("it is longer than 1 MiB: shorten it"));
    }
    Ok(text)
}

/// The keys of a file, and the lines that are none, with the reason.
fn parse(text: &str) -> (Vec<AllowedKey>, Vec<(usize, String)>) {
    let (mut keys, mut refused) = (Vec::new(), Vec::new());
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (spelling, label) = if line.starts_with("-----BEGIN ") {
            let mut block = format!("{line}\n");
            for (_, line) in lines.by_ref() {
                block.push_str(line.trim());
                block.push('\n');
                if line.trim().starts_with("-----END ") {
                    break;
                }
            }
            (block, Name::default())
        } else {
            let (key, label) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            (key.to_owned(), Name::cleaned(label))
        };
        match read_public_key(&spelling) {
            Ok(key) => keys.push(AllowedKey { key, label }),
            Err(error) => refused.push((index + 1, format!("failed to {error}"))),
        }
    }
    (keys, refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn keys_are_read_in_hex_and_pem_and_bad_lines_are_named() {
        let key = fixtures::signing_key().verifying_key();
        let hex = hex::encode(key.as_bytes());
        let pem = "-----BEGIN PUBLIC KEY-----\n\
                   MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
                   -----END PUBLIC KEY-----";
        let text = format!("# runners\n{hex} the old laptop\n\nnot-a-key\n{pem}\n");
        let (keys, refused) = parse(&text);
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0].key, key);
        assert_eq!(keys[0].label.as_str(), "the old laptop");
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].0, 4);
    }
}
