//! What goes wrong once a verdict is spoken: told of when it happens, and never in the verdict's way.

use crate::exit::{Exit, Failure};
use crate::output;

/// How a program ends that has spoken.
#[derive(Debug)]
pub(super) struct After {
    exit: Exit,
    trouble: Option<String>,
}

impl After {
    /// Nothing went wrong since a verdict that ends so.
    pub(super) fn of(verdict: Exit) -> Self {
        Self {
            exit: verdict,
            trouble: None,
        }
    }

    /// What was made, or `None` once it is told why not.
    pub(super) fn take<T>(&mut self, made: Result<T, Failure>) -> Option<T> {
        let failure = match made {
            Ok(made) => return Some(made),
            Err(failure) => failure,
        };
        output::failure(&failure);
        self.exit = self.exit.or_worse(failure.exit);
        self.trouble.get_or_insert_with(|| failure.told());
        None
    }

    /// How the program ends.
    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// What went wrong first.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_behind_a_verdict_is_told_and_hides_no_regression() {
        let ended = |verdict, exit| {
            let mut after = After::of(verdict);
            assert_eq!(after.take(Ok(7)), Some(7));
            let lost: Result<(), Failure> = Err(Failure {
                exit,
                error: anyhow::anyhow!("the disk is full"),
            });
            assert_eq!(after.take(lost), None);
            assert_eq!(after.trouble(), Some("the disk is full"));
            after.exit()
        };
        assert_eq!(ended(Exit::No, Exit::Infrastructure), Exit::No);
        assert_eq!(
            ended(Exit::Fine, Exit::Infrastructure),
            Exit::Infrastructure
        );
        assert_eq!(
            ended(Exit::Inconclusive, Exit::Infrastructure),
            Exit::Infrastructure
        );
        assert_eq!(
            ended(Exit::Infrastructure, Exit::Interrupted),
            Exit::Infrastructure
        );
        assert_eq!(ended(Exit::Fine, Exit::Interrupted), Exit::Interrupted);
    }
}
