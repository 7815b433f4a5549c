//! Which program an arm runs: the digest of its file, and of those that its command line names.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use domain::ids::Sha256Digest;

use super::super::arm::ArmSpec;
use crate::engine::EngineError;
use crate::variant::digest_of_file;

/// A file as the system tells it from others, and from itself once it was written to: device,
/// number, length, and the moments of its last write and change in seconds and nanoseconds.
type Identity = (u64, u64, u64, [i64; 4]);

/// Digests of the programs of this process's gates: a few.
static KNOWN: Mutex<BTreeMap<Identity, Sha256Digest>> = Mutex::new(BTreeMap::new());

/// SHA-256 that tells what the arm runs: of its program's file (of a script with `#!` the script, not
/// what reads it); where further words of its command line name files, as in `python3 x.py` or
/// `--config=x.toml`, over the program's digest and then, in the order of the words, the word's place
/// (64 bits, little-endian) and the file's digest. A file is read again only once it has changed.
pub fn binary_sha256(arm: &ArmSpec) -> Result<Sha256Digest, EngineError> {
    let program = program_sha256(arm)?;
    let mut all = program.0.to_vec();
    for (place, word) in (0_u64..).zip(&arm.words).skip(1) {
        if let Some(file) = named_file(arm, word) {
            all.extend(place.to_le_bytes());
            all.extend(digest(arm, &file)?.0);
        }
    }
    Ok(if all.len() == program.0.len() {
        program
    } else {
        Sha256Digest::of(&all)
    })
}

/// SHA-256 of the file of the arm's program alone.
pub fn program_sha256(arm: &ArmSpec) -> Result<Sha256Digest, EngineError> {
    digest(arm, &arm.program()?)
}

/// The file that a word names, all of it or what stands behind its first `=`, seen from the arm's
/// folder.
fn named_file(arm: &ArmSpec, word: &str) -> Option<PathBuf> {
    let folder = arm.folder.as_deref().unwrap_or(Path::new("."));
    let value = word.split_once('=').map(|(_, value)| value);
    let paths = [Some(word), value].into_iter().flatten();
    paths
        .map(|path| folder.join(path))
        .find(|path| path.is_file())
}

fn digest(arm: &ArmSpec, file: &Path) -> Result<Sha256Digest, EngineError> {
    let unreadable = |reason: String| EngineError::NotStarted {
        program: arm.label.clone(),
        reason: format!("{} cannot be read: {reason}", file.display()),
    };
    let metadata = file
        .metadata()
        .map_err(|error| unreadable(error.to_string()))?;
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let identity = identity(&metadata);
    if let Some(digest) = known().get(&identity) {
        return Ok(*digest);
    }
    let digest = digest_of_file(file).map_err(|error| unreadable(error.to_string()))?;
    known().insert(identity, digest);
    Ok(digest)
}

fn identity(file: &Metadata) -> Identity {
    let moments = [
        file.mtime(),
        file.mtime_nsec(),
        file.ctime(),
        file.ctime_nsec(),
    ];
    (file.dev(), file.ino(), file.len(), moments)
}
