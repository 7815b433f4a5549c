//! Programs that engines started, so that none outlives this one.
//!
//! Each runs in a process group of its own, which a terminal's interrupt does not reach. Engines
//! stop theirs when they are dropped; a program that ends without waiting for its threads (a
//! second Ctrl-C) calls [`stop_all`]. Bounded by the programs that run at once: one per engine.

use std::collections::{BTreeSet, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use domain::text::Name;
use rustix::process::{Pid, Signal, kill_process_group};

/// Lines of an output that are kept for error messages.
const KEPT_LINES: usize = 8;

/// Bytes of a line that are read at once.
const MAX_LINE_BYTES: u64 = 4_096;

static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// A started program's process group, known until this is dropped.
#[derive(Debug)]
pub(crate) struct Group(i32);

impl Group {
    /// The group that the process leads.
    pub(crate) fn led_by(process: u32) -> Self {
        let group = i32::try_from(process).expect("process ids are small");
        groups().insert(group);
        Self(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        groups().remove(&self.0);
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
    for group in groups().iter().filter_map(|group| Pid::from_raw(*group)) {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn groups() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}
