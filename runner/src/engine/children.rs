//! Programs that engines started, so that none outlives this one.
//!
//! Each runs in a process group of its own, which a terminal's interrupt does not reach. Engines
//! stop theirs when they are dropped; a program that ends without waiting for its threads (a
//! second Ctrl-C) calls [`stop_all`]. Bounded by the programs that run at once: one per engine.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

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
