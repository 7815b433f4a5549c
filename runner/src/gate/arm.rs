//! An arm as it is typed: which program, driven how.
//!
//! `candle:PROGRAM` is a build of this program, whose candle engine runs as a child (`candle:` alone is
//! this very program); `server:COMMAND LINE` a server of the `OpenAI` protocol started for each slot,
//! with `{weights}`, `{port}`, `{threads}`, `{streams}` and `{context}` filled in; anything else a
//! command that prints one line of JSON for each repetition. Words are split as a shell would, no
//! shell runs; leading `NAME=value` words go into the environment.

use std::path::PathBuf;

use domain::gate::record::ArmKind;
use thiserror::Error;

/// One arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArmSpec {
    /// What drives it.
    pub kind: ArmKind,
    /// Put into the environment of its process.
    pub environment: Vec<(String, String)>,
    /// Program and arguments; of `candle` the program alone, empty for this very program.
    pub words: Vec<String>,
    /// What to call it.
    pub label: String,
    /// As typed.
    pub text: String,
    /// Folder it runs in; absent: the current one.
    pub folder: Option<PathBuf>,
    /// Commit it was built from, where it was.
    pub commit: Option<String>,
}

/// What is wrong with an arm as typed.
#[derive(Debug, Error)]
#[error("understand the arm {text:?}: {what}")]
pub struct ArmSpecError {
    /// As typed.
    pub text: String,
    /// What is wrong and what to do.
    pub what: String,
}

impl ArmSpec {
    /// Reads what was typed.
    pub fn parse(text: &str) -> Result<Self, ArmSpecError> {
        let _ = text;
        unimplemented!("arms")
    }
}
