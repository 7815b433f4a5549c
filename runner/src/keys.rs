//! This machine's signing key: made on first use, kept in one file.
//!
//! PKCS#8 PEM, created exclusively with mode 0600 in a folder of mode 0700. A key file that
//! group or others may read is refused: its signatures could be anybody's.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use domain::envelope;
use domain::ids::KeyId;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{SigningKey, VerifyingKey};
use thiserror::Error;

/// A key file is a few lines; more is something else.
const MAX_KEY_BYTES: u64 = 4_096;

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file system refused.
    #[error("{doing} the key {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Somebody else may read it.
    #[error(
        "use the key {path}: its mode is {mode:03o}, so others may have read it; make a new one, or chmod 600 if nobody did"
    )]
    Exposed {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a key.
    #[error("use the key {path}: it is no ed25519 key in PKCS#8 PEM")]
    Malformed {
        /// Where.
        path: PathBuf,
    },
    /// No randomness.
    #[error("make a key: the system has no randomness")]
    Randomness,
}

/// A key that signs records.
pub struct RunnerKey {
    signing: SigningKey,
}

impl fmt::Debug for RunnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerKey")
            .field("key_id", &self.key_id())
            .finish_non_exhaustive()
    }
}

impl RunnerKey {
    /// Reads the key at `path`, or makes it there on first use.
    pub fn load_or_make(path: &Path) -> Result<Self, KeyError> {
        match Self::load(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        match Self::make(path) {
            // Another process was faster: its key is the key.
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                Self::load(path)
            }
            other => other,
        }
    }

    /// Reads the key at `path`.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let fault = io_fault("read", path);
        let mut file = File::open(path).map_err(&fault)?;
        let mode = file.metadata().map_err(&fault)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let mut pem = String::new();
        (&mut file)
            .take(MAX_KEY_BYTES)
            .read_to_string(&mut pem)
            .map_err(&fault)?;
        let signing = SigningKey::from_pkcs8_pem(&pem).map_err(|_| KeyError::Malformed {
            path: path.to_owned(),
        })?;
        Ok(Self { signing })
    }

    /// Makes a new key at `path`, where nothing may be yet.
    pub fn make(path: &Path) -> Result<Self, KeyError> {
        let fault = io_fault("make", path);
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(&fault)?;
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|_| KeyError::Randomness)?;
        let signing = SigningKey::from_bytes(&secret);
        let pem = signing
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| KeyError::Malformed {
                path: path.to_owned(),
            })?;
        // The whole file appears at once under its name, so that a crash leaves no torn key.
        let fresh = path.with_extension(format!("{}.tmp", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)
            .and_then(|mut file| {
                file.write_all(pem.as_bytes())
                    .and_then(|()| file.sync_all())
            })
            .and_then(|()| fs::hard_link(&fresh, path));
        let _ = fs::remove_file(&fresh);
        written.map_err(&fault)?;
        Ok(Self { signing })
    }

    /// The public half.
    pub fn public(&self) -> VerifyingKey {
        self.signing.verifying_key()
    }

    /// SHA-256 of the public half.
    pub fn key_id(&self) -> KeyId {
        envelope::key_id(&self.public())
    }

    pub(crate) fn signing(&self) -> &SigningKey {
        &self.signing
    }
}

fn io_fault(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> KeyError {
    move |source| KeyError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let folder = folder();
        let path = folder.path().join("keys/runner.pem");
        let made = RunnerKey::load_or_make(&path).expect("made");
        let found = RunnerKey::load_or_make(&path).expect("found");
        assert_eq!(made.key_id(), found.key_id());
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(
            (mode(&path), mode(path.parent().expect("has one"))),
            (0o600, 0o700)
        );
        assert_eq!(
            fs::read_dir(path.parent().expect("has one"))
                .expect("readable")
                .count(),
            1,
            "nothing is left over"
        );
        assert!(
            RunnerKey::make(&path).is_err(),
            "an existing key is never replaced"
        );
    }

    #[test]
    fn an_exposed_or_torn_key_is_refused() {
        let folder = folder();
        let path = folder.path().join("runner.pem");
        RunnerKey::make(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("own file");
        assert!(matches!(
            RunnerKey::load_or_make(&path),
            Err(KeyError::Exposed { mode: 0o640, .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("own file");
        fs::write(&path, "-----BEGIN PRIVATE KEY-----\n").expect("own file");
        assert!(matches!(
            RunnerKey::load_or_make(&path),
            Err(KeyError::Malformed { .. })
        ));
    }

    #[test]
    fn the_secret_is_not_in_the_debug_text() {
        let folder = folder();
        let key = RunnerKey::make(&folder.path().join("k.pem")).expect("made");
        let text = format!("{key:?}");
        assert!(text.contains(&key.key_id().to_string()));
        assert!(!text.contains(&hex::encode(key.signing().to_bytes())));
    }
}
