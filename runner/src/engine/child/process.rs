//! A program of a process group of its own, driven line by line through its standard input and output.
//!
//! Whoever reads a line reads it from the pipe itself, without a thread in between, so that a stamp
//! taken on its return is as near to the write as the system allows. Bounds: every wait has an end,
//! every line a longest length. When it is ended or dropped, its whole group is killed before it is
//! reaped, so that the group's number cannot be another's yet.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid,
};
use thiserror::Error;

use crate::engine::children::{Group, Tail};

/// How often is looked whether it ended, or a person stopped it, while it is silent: seldom, as it is being timed.
const GLANCE: Duration = Duration::from_millis(500);
/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 16;
/// How far what it wrote last may be behind its end.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// Shortest and longest pause between two looks at whether it has ended.
const PAUSES: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(5));

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    reaped: bool,
    input: Option<ChildStdin>,
    output: ChildStdout,
    /// What was read; the first `taken` bytes of it were handed out.
    read: Vec<u8>,
    taken: usize,
    /// What is read into.
    piece: Box<[u8]>,
    /// Nothing more will come.
    closed: bool,
    tail: Tail,
    _group: Group,
}

/// Why a line was not heard, or not sent.
#[derive(Debug, Error)]
pub(crate) enum Unheard {
    /// The wait has ended.
    #[error("hear from it in time")]
    Late,
    /// A person stopped it.
    #[error("wait for it: it was stopped")]
    Stopped,
    /// A line without an end.
    #[error("read a line of more than {0} bytes")]
    TooLong(usize),
    /// The pipe failed.
    #[error("use its pipe: {0}")]
    Pipe(#[from] io::Error),
}

impl Process {
    /// Starts it. Without `talks` its standard input is empty.
    pub(crate) fn start(mut command: Command, talks: bool) -> io::Result<Self> {
        let command = command
            .stdin(if talks { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let (mut child, group) = Group::start(command)?;
        let tail = Tail::default();
        tail.keep(child.stderr.take().expect("standard error is a pipe"));
        let process = Self {
            pid: Pid::from_child(&child),
            reaped: false,
            input: child.stdin.take(),
            output: child.stdout.take().expect("standard output is a pipe"),
            read: Vec::new(),
            taken: 0,
            piece: vec![0; PIECE_BYTES].into_boxed_slice(),
            closed: false,
            tail,
            _group: group,
            child,
        };
        if let Some(input) = &process.input {
            // Or a program that does not read could hold its caller up for ever.
            ioctl_fionbio(input, true)?;
        }
        Ok(process)
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line, without its end and of at most so many bytes; `None` after the last.
    pub(crate) fn line(
        &mut self,
        most: usize,
        until: Instant,
        stop: Option<&AtomicBool>,
    ) -> Result<Option<&[u8]>, Unheard> {
        self.read.drain(..self.taken);
        self.taken = 0;
        let mut looked = 0;
        loop {
            let end = self.read[looked..].iter().position(|byte| *byte == b'\n');
            let end = end.map(|at| looked + at);
            looked = self.read.len();
            if end.unwrap_or(looked) > most {
                return Err(Unheard::TooLong(most));
            }
            if let Some(end) = end {
                self.taken = end + 1;
                return Ok(Some(&self.read[..end]));
            }
            if self.closed {
                self.taken = looked;
                return Ok((looked > 0).then_some(&self.read[..looked]));
            }
            self.listen(until, stop)?;
        }
    }

    /// Whether a whole line has come that was not handed out yet.
    pub(crate) fn holds_line(&self) -> bool {
        self.read[self.taken..].contains(&b'\n')
    }

    /// Sends a line, end included.
    pub(crate) fn send(&mut self, line: &[u8], until: Instant) -> Result<(), Unheard> {
        let input = self.input.as_ref().expect("only what talks is talked to");
        let mut rest = line;
        while !rest.is_empty() {
            match rustix::io::write(input, rest) {
                Ok(length) => rest = &rest[length..],
                Err(Errno::AGAIN) => {
                    if !wait(input, PollFlags::OUT, until)? && Instant::now() >= until {
                        return Err(Unheard::Late);
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(Unheard::Pipe(error.into())),
            }
        }
        Ok(())
    }

    /// Lets it end by itself for so long, kills what is left of its group, and says how it ended
    /// and whether it did so by itself.
    pub(crate) fn end(&mut self, grace: Duration) -> io::Result<(ExitStatus, bool)> {
        // An arm ends with its input.
        self.input = None;
        let until = Instant::now() + grace;
        let mut pause = PAUSES.0;
        while !self.has_ended() && Instant::now() < until {
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSES.1);
        }
        let by_itself = self.has_ended();
        self.kill();
        let status = self.child.wait()?;
        self.reaped = true;
        Ok((status, by_itself))
    }

    /// What it wrote last to standard error, for an error's end.
    pub(crate) fn last_words(&self) -> String {
        thread::sleep(LAST_WORDS);
        self.tail.last_words()
    }

    /// Waits for output and reads some.
    fn listen(&mut self, until: Instant, stop: Option<&AtomicBool>) -> Result<(), Unheard> {
        let mut ended = false;
        loop {
            if stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                return Err(Unheard::Stopped);
            }
            if wait(&self.output, PollFlags::IN, until)? {
                return match self.output.read(&mut self.piece) {
                    Ok(length) => {
                        self.closed = length == 0;
                        self.read.extend_from_slice(&self.piece[..length]);
                        Ok(())
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
                    Err(error) => Err(error.into()),
                };
            }
            if ended {
                // What it started holds its output open and will be killed with it.
                self.closed = true;
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(Unheard::Late);
            }
            ended = self.has_ended();
        }
    }

    /// Whether it has ended; it stays to be reaped.
    fn has_ended(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid), look)
            .map_or(true, |status: Option<WaitIdStatus>| status.is_some())
    }

    fn kill(&self) {
        // It may have ended by itself, and nothing of it be left.
        let _ = kill_process_group(self.pid, Signal::KILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits for a pipe, at most until then or for one [`GLANCE`]; whether it is ready.
fn wait(pipe: impl AsFd, what: PollFlags, until: Instant) -> io::Result<bool> {
    let left = until.saturating_duration_since(Instant::now()).min(GLANCE);
    let left = Timespec::try_from(left).expect("a glance is short");
    match poll(&mut [PollFd::new(&pipe, what)], Some(&left)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
