//! An arm as it is typed: which program, driven how.
//!
//! `candle:PROGRAM` is a build of this program, whose candle engine runs as a child (`candle:` alone is
//! this very program; further words are its arguments, behind the verb `arm`); `server:COMMAND LINE` a
//! server of the `OpenAI` protocol started for each slot, with `{weights}`, `{port}`, `{threads}`,
//! `{streams}` and `{context}` filled in; anything else a command that prints one line of JSON for
//! each repetition. Words are split as a shell would, no shell runs; leading `NAME=value` words go
//! into the environment.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::gate::record::ArmKind;
use domain::matrix::{Declared, Endpoint, EngineKind, EngineSpec, OpenAiSpec, Server, WeightsForm};
use thiserror::Error;

use super::slot::program_sha256;
use crate::engine::child::{ChildEngine, ChildOptions};
use crate::engine::children::Strays;
use crate::engine::openai::{OpenAiEngine, Surroundings};
use crate::engine::{Engine, EngineError};

/// One arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArmSpec {
    /// What drives it.
    pub kind: ArmKind,
    /// Put into the environment of its process.
    pub environment: Vec<(String, String)>,
    /// Program and arguments; of `candle` empty for this very program.
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
        let fault = |what: &str| ArmSpecError {
            text: text.to_owned(),
            what: what.to_owned(),
        };
        let mut words = shell_words::split(text)
            .map_err(|_| fault("a quotation mark is not closed: close it, or escape it with \\"))?;
        if words.iter().any(|word| word.contains('\0')) {
            return Err(fault("no program takes a word with a NUL character"));
        }
        let mut environment = leading_variables(&mut words);
        let kind = words
            .first_mut()
            .and_then(driver)
            .unwrap_or(ArmKind::Command);
        if words.first().is_some_and(String::is_empty) {
            words.remove(0);
        }
        // `candle:` may stand before its variables, too.
        environment.extend(leading_variables(&mut words));
        match kind {
            ArmKind::Server if words.is_empty() => {
                return Err(fault(
                    "`server:` is followed by the command line that starts it",
                ));
            }
            ArmKind::Server if !words.iter().any(|word| word.contains("{port}")) => {
                return Err(fault(
                    "the server has to be told where to listen: put {port} where its command \
                     line names the port, as in `--port {port}`",
                ));
            }
            ArmKind::Command if words.is_empty() => {
                return Err(fault(
                    "it names no program: give `candle:PROGRAM`, `server:COMMAND LINE`, or a \
                     command that prints one line of JSON for each repetition",
                ));
            }
            ArmKind::Candle | ArmKind::Server | ArmKind::Command => {}
        }
        let program = words.first().map(Path::new);
        let label = program.and_then(Path::file_name).map_or_else(
            || "this build".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        Ok(Self {
            kind,
            environment,
            words,
            label,
            text: text.to_owned(),
            folder: None,
            commit: None,
        })
    }

    /// With a variable in its environment by which its offspring is known.
    pub(super) fn marked(&self, strays: &Strays) -> Self {
        let mut arm = self.clone();
        arm.environment.push(strays.variable());
        arm
    }

    /// Where its program lies: relative to its folder, or on its PATH; of `candle:` alone this very
    /// program.
    pub fn program(&self) -> Result<PathBuf, EngineError> {
        let Some(program) = self.words.first() else {
            return std::env::current_exe().map_err(|error| EngineError::NotStarted {
                program: self.label.clone(),
                reason: error.to_string(),
            });
        };
        let not_found = || EngineError::NotStarted {
            program: self.label.clone(),
            reason: "there is no such program: build it, or correct its path".to_owned(),
        };
        let folder = std::path::absolute(self.folder.as_deref().unwrap_or(Path::new(".")))
            .map_err(|_| not_found())?;
        let paths = self
            .environment
            .iter()
            .rev()
            .find(|(name, _)| name == "PATH");
        let found = match paths {
            Some((_, paths)) => which::which_in(program, Some(OsStr::new(paths)), folder),
            None if program.contains('/') => which::which_in(program, None::<&OsStr>, folder),
            None => which::which(program),
        };
        found.map_err(|_| not_found())
    }

    /// Its engine, with nothing started: where it is loaded, with these weights, a fresh process is
    /// started. No answer of it is waited for longer than `patience`, nor past `until`. An error for
    /// commands, which are no engines.
    pub fn engine(
        &self,
        weights: &Path,
        threads: u32,
        patience: Duration,
        until: Option<Instant>,
    ) -> Result<Box<dyn Engine>, EngineError> {
        match self.kind {
            ArmKind::Candle => Ok(Box::new(ChildEngine::new(ChildOptions {
                program: Some(self.program()?),
                arguments: self.words.iter().skip(1).cloned().collect(),
                environment: self.environment.clone(),
                folder: self.folder.clone(),
                threads,
                patience,
                until,
                binary_sha256: Some(program_sha256(self)?),
            }))),
            ArmKind::Server => {
                let spec = self.server(weights, patience)?;
                let surroundings = Surroundings {
                    environment: self.environment.clone(),
                    folder: self.folder.clone(),
                };
                let engine = OpenAiEngine::new(&spec, threads)?;
                Ok(Box::new(engine.in_surroundings(surroundings)))
            }
            ArmKind::Command => Err(EngineError::NotOffered {
                what: format!(
                    "answers of {}, a command that times work of its own",
                    self.label
                ),
            }),
        }
    }

    /// A server as a matrix would describe it.
    fn server(&self, weights: &Path, patience: Duration) -> Result<EngineSpec, EngineError> {
        let program = self.program()?.to_string_lossy().into_owned();
        let arguments = self.words.iter().skip(1).cloned();
        Ok(EngineSpec {
            name: self.label.clone(),
            kind: EngineKind::OpenAi(OpenAiSpec {
                server: Server::Launched {
                    command: std::iter::once(program).chain(arguments).collect(),
                    ready_seconds: patience.as_secs_f64(),
                },
                weights: if weights.is_dir() {
                    WeightsForm::HuggingFace
                } else {
                    WeightsForm::Gguf
                },
                endpoint: Endpoint::Completions,
                model: None,
                tokenizer: None,
                system_prompt: None,
                api_key_file: None,
                stall_seconds: patience.as_secs_f64(),
            }),
            declared: Declared::default(),
            machines: None,
        })
    }
}

/// Takes the prefix that names a driver off a word.
fn driver(word: &mut String) -> Option<ArmKind> {
    for (prefix, kind) in [("candle:", ArmKind::Candle), ("server:", ArmKind::Server)] {
        if let Some(rest) = word.strip_prefix(prefix) {
            *word = rest.to_owned();
            return Some(kind);
        }
    }
    None
}

/// Takes leading `NAME=value` words off.
fn leading_variables(words: &mut Vec<String>) -> Vec<(String, String)> {
    let count = words
        .iter()
        .take_while(|word| variable(word).is_some())
        .count();
    words
        .drain(..count)
        .filter_map(|word| variable(&word).map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect()
}

/// A word as the setting of a variable, if it is one.
fn variable(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> ArmSpec {
        ArmSpec::parse(text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn refused(text: &str) -> String {
        let error = ArmSpec::parse(text).expect_err("refused").to_string();
        assert!(error.contains(&format!("{text:?}")), "{error}");
        error
    }

    #[test]
    fn words_are_split_as_a_shell_would_and_prefixes_name_the_driver() {
        let candle = parsed("A=1 B='two words' candle:target/release/joulemark --flag 3");
        assert_eq!(candle.kind, ArmKind::Candle);
        assert_eq!(candle.words, ["target/release/joulemark", "--flag", "3"]);
        let pairs = [("A", "1"), ("B", "two words")];
        assert_eq!(
            candle.environment,
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(candle.label, "joulemark");

        let server = parsed("server:llama-server -m '{weights}' --port {port}");
        assert_eq!(server.kind, ArmKind::Server);
        assert_eq!(
            server.words,
            ["llama-server", "-m", "{weights}", "--port", "{port}"]
        );
        assert_eq!(parsed("server: X=1 a {port}").environment.len(), 1);

        let command = parsed(r#"sh -c "echo '{}'""#);
        assert_eq!(command.kind, ArmKind::Command);
        assert_eq!(command.words, ["sh", "-c", "echo '{}'"]);
        // A setting behind the program is the program's.
        assert_eq!(parsed("env A=1 b").words, ["env", "A=1", "b"]);
        assert_eq!(parsed("./a=b c").words, ["./a=b", "c"]);
    }

    #[test]
    fn candle_alone_is_this_very_program() {
        let arm = parsed("candle:");
        assert!(arm.words.is_empty());
        assert_eq!(arm.label, "this build");
        let here = std::env::current_exe().expect("a program");
        assert_eq!(arm.program().expect("found"), here);
    }

    #[test]
    fn what_cannot_be_an_arm_is_refused_with_what_to_do() {
        assert!(refused("").contains("names no program"));
        assert!(refused("A=1").contains("names no program"));
        assert!(refused("sh -c 'echo").contains("not closed"));
        assert!(refused("server:").contains("command line"));
        assert!(refused("server:llama-server --port 8080").contains("{port}"));
    }

    #[test]
    fn programs_are_found_in_their_folder_or_on_their_path() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("build");
        std::fs::write(&program, "#!/bin/sh\n").expect("writable");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, executable).expect("ours");
        let mut arm = parsed("./build");
        assert!(arm.program().is_err(), "not in the current folder");
        arm.folder = Some(folder.path().to_owned());
        let same = |found: PathBuf| found.canonicalize().expect("there");
        assert_eq!(same(arm.program().expect("found")), same(program.clone()));
        let by_path = parsed(&format!("PATH={} build", folder.path().display()));
        assert_eq!(same(by_path.program().expect("found")), same(program));
        assert!(parsed("sh").program().expect("on the path").is_absolute());
        let error = parsed("no-such-program-here").program().expect_err("none");
        assert!(error.to_string().contains("no such program"), "{error}");
    }
}
