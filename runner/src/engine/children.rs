//! Programs that engines started, so that none outlives this one.
//!
//! Each runs in a process group of its own, which a terminal's interrupt does not reach; what leaves
//! it is found by a watch (`strays`). Engines
//! stop theirs when they are dropped; a program that ends without waiting for its threads (a
//! second Ctrl-C) calls [`stop_all`]. Bounded by the programs that run at once: one per engine.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use domain::text::Name;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

mod strays;

pub(crate) use strays::Strays;

/// Lines of an output that are kept for error messages.
const KEPT_LINES: usize = 8;

/// Bytes of a line that are read at once.
const MAX_LINE_BYTES: u64 = 4_096;

static GROUPS: Mutex<Groups> = Mutex::new(Groups {
    running: BTreeSet::new(),
    ended: BTreeSet::new(),
});

/// Groups that were started.
#[derive(Debug)]
struct Groups {
    /// Those that were not ended yet.
    running: BTreeSet<i32>,
    /// Those that were, and that may have members still: killed ones, or ones that nobody reaped.
    ended: BTreeSet<i32>,
}

/// A started program's process group, known until this is dropped.
#[derive(Debug)]
pub(crate) struct Group(i32);

impl Group {
    /// Starts a program in a group that it leads.
    pub(crate) fn start(command: &mut Command) -> io::Result<(Child, Self)> {
        // Held meanwhile, so that no other thread sees it before its group is known.
        let mut groups = groups();
        let child = command.process_group(0).spawn()?;
        let group = i32::try_from(child.id()).expect("process ids are small");
        groups.running.insert(group);
        groups.ended.remove(&group);
        Ok((child, Self(group)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut groups = groups();
        groups.running.remove(&self.0);
        groups.ended.insert(self.0);
    }
}

impl Groups {
    /// Forgets the ended groups that have no members left: their numbers are free to be others'.
    fn forget_empty(&mut self) {
        self.ended.retain(|group| {
            let group = Pid::from_raw(*group).expect("a process had it");
            test_kill_process_group(group) != Err(Errno::SRCH)
        });
    }
}

/// The last lines that a program wrote, cleaned, for error messages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    /// Reads an output on a thread that ends with it.
    pub(super) fn keep(&self, output: impl Read + Send + 'static) {
        let tail = self.clone();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            loop {
                line.clear();
                match (&mut output)
                    .take(MAX_LINE_BYTES)
                    .read_until(b'\n', &mut line)
                {
                    Ok(0) | Err(_) => return,
                    Ok(_) => tail.push(&String::from_utf8_lossy(&line)),
                }
            }
        });
    }

    /// For an error's end.
    pub(super) fn last_words(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.is_empty() {
            return "; it wrote nothing".to_owned();
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        format!("; its last lines: {}", lines.join(" | "))
    }

    fn push(&self, line: &str) {
        let text = Name::cleaned(line).to_string();
        if text.is_empty() {
            return;
        }
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }
}

/// Kills every program that was started and has not ended.
pub fn stop_all() {
    let groups = groups();
    for group in (groups.running.iter()).filter_map(|group| Pid::from_raw(*group)) {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn groups() -> std::sync::MutexGuard<'static, Groups> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}
