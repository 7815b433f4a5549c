//! Runs a program to its end: bounded in time and in what it may print, and leaving no process behind.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use domain::ids::Sha256Digest;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid,
};
use sha2::{Digest, Sha256};

use super::{EngineError, HOW_TO_GET};
use crate::engine::children::Group;
use crate::gguf::cleaned;

/// Most bytes of standard output: thousands of repetitions fit.
const STDOUT_BYTES: usize = 16 << 20;
/// What is kept of the end of standard error.
const STDERR_BYTES: usize = 4 << 10;
/// Lines of it that an error shows.
const LAST_LINES: usize = 3;
/// How often is looked whether the program ended while it keeps its output open: seldom, as it is being timed.
const GLANCE: Duration = Duration::from_secs(1);
/// How long a program may live after it closed its output.
const EXIT_GRACE: Duration = Duration::from_secs(10);

/// A program that ended well.
#[derive(Debug)]
pub(super) struct Finished {
    /// All it printed; bytes that are no UTF-8 became U+FFFD.
    pub(super) stdout: String,
    /// Digest of its executable, where the system tells which file that is and it is no script.
    pub(super) binary_sha256: Option<Sha256Digest>,
}

/// Why waiting ended.
enum Ended {
    Itself,
    Deadline,
    Silent,
}

/// Runs `command` until it ends or the deadline passes. Whatever it started in its process group is killed with it.
pub(super) fn run(
    mut command: Command,
    program: &str,
    deadline: Option<Instant>,
) -> Result<Finished, EngineError> {
    let began = Instant::now();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = Group::start(&mut command);
    let (mut child, _group) = started.map_err(|error| not_started(program, &error))?;
    let pid = Pid::from_child(&child);
    let executable = executable(pid, program);
    let mut stdout = child.stdout.take().expect("standard output is a pipe");
    let mut stderr = child.stderr.take().expect("standard error is a pipe");
    let (open, closed) = sync_channel::<()>(0);

    let (ended, status, stdout, stderr) = thread::scope(|scope| {
        let stdout = scope.spawn(move || {
            let read = head(&mut stdout);
            drop(open);
            read
        });
        let stderr = scope.spawn(move || tail(&mut stderr));
        let ended = wait(pid, &closed, deadline);
        // The program is not reaped yet, so its group cannot be another's; without it nothing holds the pipes open.
        let _ = kill_process_group(pid, Signal::KILL);
        let status = child.wait();
        (ended, status, stdout.join(), stderr.join())
    });
    let died = |what: String| EngineError::Crashed {
        reason: format!("{program} {what}"),
    };
    let stdout = stdout.map_err(|_| died("was lost".to_owned()))?;
    let stderr = stderr.map_err(|_| died("was lost".to_owned()))?;
    let words = last_lines(&stderr);
    if matches!(ended, Ended::Deadline) {
        return Err(EngineError::NotFinished {
            program: program.to_owned(),
            seconds: began.elapsed().as_secs_f64(),
        });
    }
    // Before the status: a program whose output is no longer read may end with an error of its own.
    let stdout = stdout.ok_or_else(|| EngineError::Output {
        program: program.to_owned(),
        what: format!("it is longer than {} MiB", STDOUT_BYTES >> 20),
    })?;
    if matches!(ended, Ended::Silent) {
        return Err(died(format!("stopped printing and did not end{words}")));
    }
    let status = status.map_err(|error| died(format!("could not be waited for: {error}")))?;
    if !status.success() {
        return Err(died(format!("{}{words}", how_it_ended(status))));
    }
    Ok(Finished {
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        binary_sha256: executable.and_then(digest),
    })
}

/// Waits for the program's end without reaping it.
fn wait(pid: Pid, closed: &Receiver<()>, deadline: Option<Instant>) -> Ended {
    let mut closed_at = None;
    loop {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(pid), look)
            .map_or(true, |status: Option<WaitIdStatus>| status.is_some())
        {
            return Ended::Itself;
        }
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Ended::Deadline;
        }
        if closed_at.is_some_and(|at| now - at >= EXIT_GRACE) {
            return Ended::Silent;
        }
        let left = deadline.map_or(GLANCE, |deadline| (deadline - now).min(GLANCE));
        if closed_at.is_some() {
            thread::sleep(left.min(Duration::from_millis(2)));
        } else if closed.recv_timeout(left) == Err(RecvTimeoutError::Disconnected) {
            closed_at = Some(Instant::now());
        }
    }
}

/// The executable that the system started, held open for its digest. `None` where the system does not tell, and for
/// a script: its interpreter is not the engine.
fn executable(pid: Pid, program: &str) -> Option<File> {
    let folder = format!("/proc/{}", pid.as_raw_nonzero());
    let words = std::fs::read(format!("{folder}/cmdline")).ok()?;
    let is_itself = words.split(|&byte| byte == 0).next() == Some(program.as_bytes());
    let file = File::open(format!("{folder}/exe"));
    is_itself.then_some(file.ok()).flatten()
}

fn digest(mut file: File) -> Option<Sha256Digest> {
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece).ok()? {
            0 => return Some(Sha256Digest(hasher.finalize().into())),
            length => hasher.update(&piece[..length]),
        }
    }
}

/// All that is printed; `None` beyond the bound, or where reading fails.
fn head(pipe: &mut impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let bound = STDOUT_BYTES as u64 + 1;
    pipe.take(bound).read_to_end(&mut bytes).ok()?;
    (bytes.len() <= STDOUT_BYTES).then_some(bytes)
}

/// The end of what is printed.
fn tail(pipe: &mut impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut piece = [0; 1 << 12];
    while let Ok(length @ 1..) = pipe.read(&mut piece) {
        kept.extend_from_slice(&piece[..length]);
        let spare = kept.len().saturating_sub(STDERR_BYTES);
        kept.drain(..spare);
    }
    kept
}

/// The last lines for an error's end; nothing where nothing was printed.
fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut lines: Vec<_> = text
        .lines()
        .rev()
        .map(cleaned)
        .filter(|line| !line.is_empty())
        .take(LAST_LINES)
        .collect();
    lines.reverse();
    if lines.is_empty() {
        String::new()
    } else {
        format!("; its last words: {}", lines.join(" | "))
    }
}

fn how_it_ended(status: ExitStatus) -> String {
    match status.signal() {
        Some(9) => "was killed (signal 9), perhaps for want of memory".to_owned(),
        Some(signal) => format!("was ended by signal {signal}"),
        None => format!("ended with {status}"),
    }
}

fn not_started(program: &str, error: &io::Error) -> EngineError {
    let reason = if error.kind() == io::ErrorKind::NotFound {
        format!("there is no such program; {HOW_TO_GET}")
    } else {
        error.to_string()
    };
    EngineError::NotStarted {
        program: program.to_owned(),
        reason,
    }
}
