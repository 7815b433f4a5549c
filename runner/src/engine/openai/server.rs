//! A server that is started here: filled in, waited for, watched and stopped.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::ids::Sha256Digest;
use rustix::process::{Pid, Signal, kill_process_group};

use super::Surroundings;
use super::wire::{Target, Wire};
use crate::engine::children::{Group, Tail};
use crate::engine::{EngineError, Needs};

/// Pause between two looks at whether it answers.
const POLL: Duration = Duration::from_millis(50);
/// How long a look may take.
const LOOK: Duration = Duration::from_secs(1);
/// How long a stopped server may take before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A running child and its group; stopped when dropped.
#[derive(Debug)]
pub(super) struct Launched {
    program: String,
    child: Mutex<Child>,
    pid: u32,
    tail: Tail,
    _group: Group,
}

/// The command with its holes filled, and the port it was given.
pub(super) fn filled(
    command: &[String],
    weights: &Path,
    threads: u32,
    needs: Needs,
    port: u16,
) -> Vec<String> {
    command
        .iter()
        .map(|word| {
            word.replace("{port}", &port.to_string())
                .replace("{threads}", &threads.to_string())
                .replace("{streams}", &needs.streams.to_string())
                .replace("{context}", &needs.context_tokens.to_string())
                .replace("{weights}", &weights.to_string_lossy())
        })
        .collect()
}

/// A port that nothing listens on; another program could still take it before the server does.
pub(super) fn free_port() -> Result<u16, EngineError> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| EngineError::NotStarted {
            program: "a server".to_owned(),
            reason: format!("no free port: {error}"),
        })
}

impl Launched {
    /// Starts it in a process group of its own.
    pub(super) fn start(
        words: &[String],
        surroundings: &Surroundings,
    ) -> Result<Self, EngineError> {
        let program = words.first().cloned().unwrap_or_default();
        let mut command = Command::new(&program);
        if let Some(folder) = &surroundings.folder {
            command.current_dir(folder);
        }
        let environment = surroundings.environment.iter();
        command
            .args(words.get(1..).unwrap_or_default())
            .envs(environment.map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let started = Group::start(&mut command);
        let (mut child, group) = started.map_err(|error| EngineError::NotStarted {
            program: program.clone(),
            reason: error.to_string(),
        })?;
        let tail = Tail::default();
        if let Some(output) = child.stdout.take() {
            tail.keep(output);
        }
        if let Some(output) = child.stderr.take() {
            tail.keep(output);
        }
        Ok(Self {
            program,
            pid: child.id(),
            _group: group,
            child: Mutex::new(child),
            tail,
        })
    }

    /// Waits until it answers; what it answers with is the caller's to check.
    pub(super) fn wait(&self, target: &Target, ready: Duration) -> Result<(), EngineError> {
        let mut wire = Wire::new(target)?;
        let until = Instant::now() + ready;
        loop {
            if let Some(status) = self.exited() {
                return Err(self.not_started(&format!("it ended with {status}")));
            }
            let left = || LOOK.min(until.saturating_duration_since(Instant::now()));
            // Servers without /health have /v1/models.
            wire.set_stall(left());
            let mut answer = wire.get("/health");
            if matches!(&answer, Ok(answer) if answer.status == 404) {
                wire.set_stall(left());
                answer = wire.get("/v1/models");
            }
            let why = match answer {
                Ok(answer) if answer.status == 200 => return Ok(()),
                // MLX says so when the thread that loads the weights has died, and stays up.
                Ok(answer) if answer.body["status"] == "unavailable" => {
                    return Err(self.not_started("it says that it is unavailable"));
                }
                Ok(answer) => format!("it still answers {}", answer.status),
                Err(error) => format!("failed to {error}"),
            };
            if Instant::now() >= until {
                let seconds = ready.as_secs_f64();
                return Err(self.not_started(&format!("not ready after {seconds} s: {why}")));
            }
            std::thread::sleep(POLL);
        }
    }

    /// How it ended, if it has.
    pub(super) fn exited(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        child.try_wait().ok().flatten()
    }

    /// The error that it has ended, if it has; `Ok` while it runs.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        match self.exited() {
            None => Ok(()),
            Some(status) => Err(EngineError::Crashed {
                reason: format!("{} ended with {status}{}", self.program, self.last_words()),
            }),
        }
    }

    /// It and all its descendants.
    pub(super) fn processes(&self) -> Vec<u32> {
        let mut found = vec![self.pid];
        let parents = parents();
        let mut at = 0;
        while at < found.len() {
            let parent = found[at];
            found.extend(
                parents
                    .iter()
                    .filter(|&&(_, of)| of == parent)
                    .map(|&(pid, _)| pid),
            );
            at += 1;
        }
        found
    }

    /// Digest of the program's file.
    pub(super) fn digest(&self) -> Option<Sha256Digest> {
        let running = Path::new("/proc").join(self.pid.to_string()).join("exe");
        let path = if running.exists() {
            running
        } else {
            Path::new(&self.program).to_owned()
        };
        crate::variant::digest_of_file(&path).ok()
    }

    fn not_started(&self, why: &str) -> EngineError {
        EngineError::NotStarted {
            program: self.program.clone(),
            reason: format!("{why}{}", self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        // The reader may be a moment behind the end.
        std::thread::sleep(POLL);
        self.tail.last_words()
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // It may have ended by itself.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let until = Instant::now() + GRACE;
        while self.exited().is_none() && Instant::now() < until {
            std::thread::sleep(POLL);
        }
        // Descendants that outlived it, and itself if it would not hear.
        self.signal(Signal::KILL);
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.wait();
    }
}

/// Every process of this machine with its parent, where the system tells.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let pid: u32 = name.to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The program's name, in parentheses, may hold anything.
            let (_, rest) = stat.rsplit_once(')')?;
            let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}
