//! Meters that a user names in `meters.toml`: wall plugs and whatever answers HTTP with a number.

use thiserror::Error;

use super::Found;

/// The meters that a user named.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetersFile {}

/// What is wrong with a file of meters, and where.
#[derive(Debug, Error)]
#[error("read the meters: {file}: {reason}")]
pub struct MetersFileError {
    /// The file.
    pub file: String,
    /// Line, key and reason.
    pub reason: String,
}

impl MetersFile {
    /// Reads the text of `file`.
    pub fn parse(_file: &str, _text: &str) -> Result<Self, MetersFileError> {
        Ok(Self {})
    }
}

/// What of them answers.
pub fn discover(_named: &MetersFile) -> Found {
    Found::default()
}
