//! The file in which a collector's operator allows keys.
//!
//! One key per line, 64 hexadecimal digits and then, if wanted, a label; or a PEM block as
//! `openssl pkey -pubout` prints it; `#` starts a comment. The file is read at the start, and
//! again when an unknown key comes and the file has changed since: a stranger's envelopes cost
//! one look at its time and length each, and a file that cannot be read is tried again only after
//! a rest. A key that was taken out of the file stays allowed:
//! what it signed is stored already, and taking back is what revoking is for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use domain::envelope::{VerifyingKey, read_public_key};
use domain::text::Name;
use tokio::io::AsyncReadExt as _;

/// A longer file is refused.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// So long a file that could not be read is left alone.
const REST: Duration = Duration::from_secs(10);

/// A key that the file allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllowedKey {
    pub(crate) key: VerifyingKey,
    pub(crate) label: Name,
}

/// The file, and which of its states was taken over.
#[derive(Debug)]
pub(crate) struct AllowedKeys {
    file: Option<PathBuf>,
    taken: Mutex<Option<FileState>>,
    /// When it could not be read.
    unread: Mutex<Option<Instant>>,
}

/// When the file was changed last, and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileState(SystemTime, u64);

impl AllowedKeys {
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            taken: Mutex::new(None),
            unread: Mutex::new(None),
        }
    }

    /// The keys of the file, if it changed since it was taken over, and the state to take over
    /// then. Lines that are no keys are logged with what to do; a file that is not there is empty.
    pub(crate) async fn changed(&self) -> Option<(FileState, Vec<AllowedKey>)> {
        let file = self.file.as_ref()?;
        if self.rests() {
            return None;
        }
        let state = match state_of(file).await {
            Ok(state) => state,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                self.note_unread(file, &error);
                return None;
            }
        };
        if *self.taken.lock().unwrap_or_else(PoisonError::into_inner) == Some(state) {
            return None;
        }
        let text = read_bounded(file)
            .await
            .inspect_err(|error| self.note_unread(file, error))
            .ok()?;
        let (keys, refused) = parse(&text);
        for (line, why) in refused {
            let file = file.display();
            tracing::warn!(%file, line, why, "a line of the allowed keys was skipped");
        }
        Some((state, keys))
    }

    /// The keys of this state are allowed now.
    pub(crate) fn take(&self, state: FileState) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
    }

    fn note_unread(&self, file: &Path, error: &io::Error) {
        tracing::warn!(file = %file.display(), %error, "the file of allowed keys was not read");
        *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn rests(&self) -> bool {
        let unread = *self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        unread.is_some_and(|at| at.elapsed() < REST)
    }
}

async fn state_of(file: &Path) -> io::Result<FileState> {
    let found = tokio::fs::metadata(file).await?;
    Ok(FileState(found.modified()?, found.len()))
}

async fn read_bounded(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = tokio::fs::File::open(file).await?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .await?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is longer than 1 MiB: shorten it"));
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

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_left_alone_for_a_while() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), b"\xff").expect("written");
        let keys = AllowedKeys::new(Some(file.path().to_owned()));
        assert!(keys.changed().await.is_none());
        std::fs::write(file.path(), "# readable now\n").expect("written");
        assert!(keys.changed().await.is_none());
        *keys.unread.lock().expect("not poisoned") = None;
        assert!(keys.changed().await.is_some());
    }

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
