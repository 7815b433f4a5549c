//! Which program an arm runs: the digest of its file.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};

use domain::ids::Sha256Digest;

use super::super::arm::ArmSpec;
use crate::engine::EngineError;
use crate::variant::digest_of_file;

/// A file as the system tells it from others, and from itself once it was written to: device,
/// number, length, and the moments of its last write and change in seconds and nanoseconds.
type Identity = (u64, u64, u64, [i64; 4]);

/// Digests of the programs of this process's gates: two or three.
static KNOWN: Mutex<BTreeMap<Identity, Sha256Digest>> = Mutex::new(BTreeMap::new());

/// SHA-256 of the arm's program: of a script the script, not what reads it. A file is read again only
/// once it has changed.
pub fn binary_sha256(arm: &ArmSpec) -> Result<Sha256Digest, EngineError> {
    let program = arm.program()?;
    let unreadable = |reason: String| EngineError::NotStarted {
        program: arm.label.clone(),
        reason,
    };
    let metadata = program
        .metadata()
        .map_err(|error| unreadable(error.to_string()))?;
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let identity = identity(&metadata);
    if let Some(digest) = known().get(&identity) {
        return Ok(*digest);
    }
    let digest = digest_of_file(&program).map_err(|error| unreadable(error.to_string()))?;
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
