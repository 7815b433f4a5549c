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
    /// What was planned decides nothing.
    Inconclusive,
    /// The measurement does not count.
    Invalid,
    /// Engine, network, database or disk.
    Infrastructure,
    /// Interrupted; what was finished is kept.
    Interrupted,
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Inconclusive => 3,
            Self::Invalid => 4,
            Self::Infrastructure => 5,
            Self::Interrupted => 130,
        }
    }

    /// The end of a gate whose judgement, or whose refusal, says so. A number that means nothing
    /// here is never fine.
    pub(crate) fn of_gate(code: u8) -> Self {
        match code {
            0 => Self::Fine,
            1 => Self::No,
            2 => Self::Usage,
            3 => Self::Inconclusive,
            4 => Self::Invalid,
            130 => Self::Interrupted,
            _ => Self::Infrastructure,
        }
    }

    /// Of two ends of a gate the one that counts: nothing that went wrong hides that the answer is
    /// no, and nothing but that hides that something went wrong.
    pub(crate) fn or_worse(self, other: Self) -> Self {
        let rank = |exit| match exit {
            Self::Fine => 0,
            Self::Inconclusive => 1,
            Self::Invalid => 2,
            Self::Interrupted => 3,
            Self::Usage => 4,
            Self::Infrastructure => 5,
            Self::No => 6,
        };
        if rank(other) > rank(self) {
            other
        } else {
            self
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
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

impl Failure {
    /// The error and its causes in one line. A cause that the message before it names already, as
    /// many of the libraries' and our own do, is not told twice.
    pub(crate) fn told(&self) -> String {
        let mut told = String::new();
        for cause in self.error.chain().map(ToString::to_string) {
            if told.is_empty() {
                told = cause;
            } else if !told.contains(&cause) {
                told = format!("{told}: {cause}");
            }
        }
        told
    }
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

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cause_that_was_named_already_is_told_once() {
        let failed = |error| Failure {
            exit: Exit::Usage,
            error,
        };
        let named = anyhow!("no such file")
            .context("read the key k: no such file")
            .context("failed to show the key");
        assert_eq!(
            failed(named).told(),
            "failed to show the key: read the key k: no such file"
        );
        let unnamed = anyhow!("no such file").context("failed to read k");
        assert_eq!(failed(unnamed).told(), "failed to read k: no such file");
    }
}
