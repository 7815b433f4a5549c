//! Exit codes: one small vocabulary for every verb.

use std::process::ExitCode;

/// How a verb ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Fine.
    Fine,
    /// The answer is no.
    No,
    /// Wrong usage, or a bad input file.
    Usage,
    /// Engine, network, database or disk.
    Infrastructure,
    /// Interrupted; what was finished is kept.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::No => 1,
            Exit::Usage => 2,
            Exit::Infrastructure => 5,
            Exit::Interrupted => 130,
        })
    }
}

/// An error and the code it ends the program with.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The code.
    pub(crate) exit: Exit,
    /// What happened, where, and what to do.
    pub(crate) error: anyhow::Error,
}

/// What a verb returns.
pub(crate) type Outcome = Result<Exit, Failure>;

/// Says which code an error ends with, where it is first seen.
pub(crate) trait OrExit<T> {
    /// The error is the user's: a wrong flag or file.
    fn or_usage(self) -> Result<T, Failure>;
    /// The error is the machine's, the network's or the database's.
    fn or_infrastructure(self) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_usage(self) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            exit: Exit::Usage,
            error: error.into(),
        })
    }

    fn or_infrastructure(self) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            exit: Exit::Infrastructure,
            error: error.into(),
        })
    }
}
