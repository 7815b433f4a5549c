//! What is installed for the tests, or ships with the project.

use std::path::{Path, PathBuf};

/// The interpreter of the real engines, where `.ci/engines` installed them; else why not.
pub(crate) fn engines_python() -> Result<PathBuf, String> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/engines/bin/python");
    if python.exists() {
        Ok(python)
    } else {
        Err("target/engines is missing: run .ci/engines".to_owned())
    }
}

/// The reference models that ship with the project.
pub(crate) fn reference_models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("reference-models")
}
