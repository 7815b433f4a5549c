//! Which build of an engine: what tells two of them apart, and what makes them one.

use domain::gate::record::ArmFacts;
use domain::ids::Sha256Digest;
use domain::matrix::CANDLE;
use domain::record::{EngineFacts, RunnerFacts};

/// Digits of a commit or digest that readers are shown.
const SHOWN_DIGITS: usize = 12;

/// A build of an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Build {
    version: String,
    commit: Option<String>,
    binary: Option<Sha256Digest>,
    flags: Vec<String>,
}

impl Build {
    /// The build that a record measured. The engine in the runner's own process is built with the
    /// runner, and has its commit and program.
    pub fn of(engine: &EngineFacts, runner: &RunnerFacts) -> Self {
        let inside = engine.name.as_str() == CANDLE;
        let text = |name: &domain::text::Name| name.to_string();
        let commit = engine.commit.as_ref();
        Self {
            version: engine.version.to_string(),
            commit: commit
                .or(runner.commit.as_ref().filter(|_| inside))
                .map(text),
            binary: engine
                .binary_sha256
                .or(runner.binary_sha256.filter(|_| inside)),
            flags: engine.build_flags.iter().map(text).collect(),
        }
    }

    /// The build that was an arm of a gate.
    pub fn of_arm(arm: &ArmFacts) -> Self {
        let text = |name: &domain::text::Name| name.to_string();
        let engine = arm.engine.as_ref();
        let own = engine.and_then(|engine| engine.commit.as_ref());
        Self {
            version: engine.map_or_else(String::new, |engine| engine.version.to_string()),
            commit: own.or(arm.commit.as_ref()).map(text),
            binary: engine
                .and_then(|engine| engine.binary_sha256)
                .or(arm.binary_sha256),
            flags: engine.map_or_else(Vec::new, |engine| {
                engine.build_flags.iter().map(text).collect()
            }),
        }
    }

    /// The source's commit.
    pub fn commit(&self) -> Option<&str> {
        self.commit.as_deref()
    }

    /// As people read it: version, commit (or the program's digest), flags.
    pub fn label(&self) -> String {
        let short = |text: &str| text.chars().take(SHOWN_DIGITS).collect::<String>();
        let which = match (&self.commit, self.binary) {
            (Some(commit), _) => Some(short(commit)),
            (None, Some(binary)) => Some(format!("sha256:{}", short(&binary.to_string()))),
            (None, None) => None,
        };
        let parts = [self.version.clone()].into_iter().chain(which);
        let parts: Vec<String> = parts.chain(self.flags.iter().cloned()).collect();
        parts.join(" ")
    }

    /// Whether something tells it from another build of the same version.
    pub fn is_told(&self) -> bool {
        self.commit.is_some() || self.binary.is_some()
    }

    /// Whether a gate's arm was this build: built from the same commit by the same flags; where no
    /// commit is known, the same program; where none is known either, of the same version and flags
    /// under the same name. A program may be the same although libraries beside it are not, so commits
    /// that differ decide.
    pub fn is_arm(&self, arm: &Self, has_same_name: bool) -> bool {
        // An arm without a version never was asked what it is, so that its flags are not known.
        let has_same_flags = arm.version.is_empty() || self.flags == arm.flags;
        match (&self.commit, &arm.commit, self.binary, arm.binary) {
            (Some(one), Some(other), _, _) => is_same_commit(one, other) && has_same_flags,
            (_, _, Some(one), Some(other)) => one == other,
            _ => {
                has_same_name
                    && has_same_flags
                    && !self.version.is_empty()
                    && self.version == arm.version
            }
        }
    }

    /// Its identity as text, for digests.
    pub(super) fn key(&self) -> String {
        let binary = self.binary.map(|digest| digest.to_string());
        crate::derive::cell::json(&(&self.version, &self.commit, binary, &self.flags))
    }
}

/// Whether two spellings are one commit: engines say the first seven digits or more.
fn is_same_commit(one: &str, other: &str) -> bool {
    one == other
        || one.len().min(other.len()) >= 7 && (one.starts_with(other) || other.starts_with(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(version: &str, commit: Option<&str>, binary: Option<u8>) -> Build {
        Build {
            version: version.to_owned(),
            commit: commit.map(str::to_owned),
            binary: binary.map(|byte| Sha256Digest([byte; 32])),
            flags: Vec::new(),
        }
    }

    #[test]
    fn an_arm_is_the_build_of_its_commit_or_program_and_by_version_only_where_neither_is_known() {
        let nightly = build("1", Some("aaaaaaaa"), Some(1));
        assert!(nightly.is_arm(&build("2", None, Some(1)), false));
        let again = build("1", Some("aaaaaaaa"), Some(2));
        assert!(nightly.is_arm(&again, false), "built again");
        assert!(nightly.is_arm(&build("1", Some("aaaaaaa"), None), false));
        assert!(!nightly.is_arm(&build("1", Some("aaa"), None), false));
        let other_library = build("1", Some("bbbbbbbb"), Some(1));
        assert!(!nightly.is_arm(&other_library, true));
        assert!(nightly.is_arm(&build("1", None, None), true));
        assert!(
            !nightly.is_arm(&build("1", None, None), false),
            "of another name"
        );
        assert!(!build("", None, None).is_arm(&build("", None, None), true));
    }

    #[test]
    fn one_commit_built_by_other_flags_is_another_build() {
        let with = |flag: &str, of: Build| Build {
            flags: vec![flag.to_owned()],
            ..of
        };
        let nightly = with("cuda", build("1", Some("aaaaaaaa"), None));
        assert!(nightly.is_arm(&with("cuda", build("1", Some("aaaaaaaa"), None)), true));
        assert!(!nightly.is_arm(&with("cpu", build("1", Some("aaaaaaaa"), None)), true));
        assert!(!nightly.is_arm(&with("cpu", build("1", None, None)), true));
        assert!(
            nightly.is_arm(&build("", Some("aaaaaaaa"), None), true),
            "never asked"
        );
    }

    #[test]
    fn a_build_is_shown_by_what_tells_it_best() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(
            build("1.2", Some(commit), Some(1)).label(),
            "1.2 0123456789ab"
        );
        assert_eq!(
            build("1.2", None, Some(1)).label(),
            "1.2 sha256:010101010101"
        );
        assert_eq!(build("b4000", None, None).label(), "b4000");
    }
}
