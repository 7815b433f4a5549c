//! Processes of a started program that left its group (`setsid`, forked twice), found and ended.
//!
//! Linux gives a process whose parent has ended to the nearest of its forebears that asks for
//! such: once something is watched, this process asks. So whatever a program leaves behind becomes a
//! child of this process, which tells it from children of its own by a variable that the program was
//! started with, and where it has dropped that by its group. Elsewhere none is found.
//!
//! Bounds: one look at every process of the machine when a watch begins, and a few when it ends;
//! what was killed is waited for no longer than `PATIENCE`.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use domain::text::Name;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, waitid};

use super::{Groups, groups};

/// The variable.
const VARIABLE: &str = "JOULEMARK_SLOT";

/// For how long is waited until what was killed is gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// Values of the variable that are watched for, and the next.
static WATCHED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A watch over a program and all that it starts.
#[derive(Debug)]
pub(crate) struct Strays {
    mark: String,
    /// Children of this process when the watch began.
    before: BTreeSet<i32>,
}

/// A child of this process, as the system lists it.
#[derive(Debug)]
struct Child {
    id: Pid,
    name: String,
    is_alive: bool,
    group: i32,
    session: i32,
}

/// Whose child one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// This process's own, or that of a program that runs.
    Other,
    /// Of a group that was ended: killed already.
    Ended,
    /// What the watch is about.
    Stray,
}

impl Strays {
    /// Begins before the program is started.
    pub(crate) fn watch() -> Self {
        adopt();
        // Always of one length: what stands in the environment moves the stack, and with it timings.
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{:08x}{next:08x}", getpid().as_raw_nonzero());
        watched().insert(mark.clone());
        Self {
            mark,
            before: children().iter().map(|child| raw(child.id)).collect(),
        }
    }

    /// What has to stand in the program's environment.
    pub(crate) fn variable(&self) -> (String, String) {
        (VARIABLE.to_owned(), self.mark.clone())
    }

    /// Once the program has ended and its group was killed: kills what it left behind, and says the
    /// names of what still ran.
    pub(crate) fn end(self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let until = Instant::now() + PATIENCE;
        // What a killed one had started comes to this process only then.
        while self.sweep(&mut found) && Instant::now() < until {
            thread::sleep(PAUSE);
        }
        found
    }

    /// Kills and reaps once; whether there was something.
    fn sweep(&self, found: &mut BTreeSet<String>) -> bool {
        // Held, so that nothing is started meanwhile that is in no group yet.
        let mut groups = groups();
        let mut is_any = false;
        for child in children() {
            match self.whose(&child, &groups) {
                Whose::Other => continue,
                Whose::Stray if child.is_alive => {
                    found.insert(child.name);
                }
                Whose::Ended | Whose::Stray => {}
            }
            is_any = true;
            // It may have ended by itself.
            let _ = kill_process(child.id, Signal::KILL);
            let reap = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let _ = waitid(WaitId::Pid(child.id), reap);
        }
        groups.forget_empty();
        is_any
    }

    fn whose(&self, child: &Child, groups: &Groups) -> Whose {
        let is_own = own_group_and_session() == Some((child.group, child.session));
        if groups.ended.contains(&child.group) {
            return Whose::Ended;
        }
        if groups.running.contains(&child.group) {
            return Whose::Other;
        }
        match mark_of(child.id) {
            Some(mark) if mark == self.mark => Whose::Stray,
            // Of what runs beside it.
            Some(mark) if watched().contains(&mark) => Whose::Other,
            _ if self.before.contains(&raw(child.id)) || is_own => Whose::Other,
            _ => Whose::Stray,
        }
    }
}

impl Drop for Strays {
    fn drop(&mut self) {
        watched().remove(&self.mark);
    }
}

/// Asks the system for whatever its descendants leave behind.
fn adopt() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_child_subreaper(Some(getpid())) {
        tracing::warn!(%error, "what a program leaves behind cannot be found");
    }
}

fn raw(id: Pid) -> i32 {
    id.as_raw_nonzero().get()
}

/// From where its children's are read, too: in a container either may be 0, that of a process outside,
/// which `getpgrp` and `getsid` of `rustix` do not allow for.
fn own_group_and_session() -> Option<(i32, i32)> {
    let id = raw(getpid());
    let stat = fs::read(format!("/proc/{id}/stat")).ok()?;
    let (_, own) = Child::of_stat(id, &String::from_utf8_lossy(&stat))?;
    Some((own.group, own.session))
}

/// The variable's value in the environment that a process was started with.
fn mark_of(id: Pid) -> Option<String> {
    let environment = fs::read(format!("/proc/{}/environ", raw(id))).ok()?;
    let text = String::from_utf8_lossy(&environment);
    let mut variables = text.split('\0').filter_map(|word| word.split_once('='));
    let (_, mark) = variables.find(|(name, _)| *name == VARIABLE)?;
    Some(mark.to_owned())
}

/// Every child of this process; none where the system does not list them.
fn children() -> Vec<Child> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let own = raw(getpid());
    entries
        .filter_map(|entry| {
            let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(format!("/proc/{id}/stat")).ok()?;
            let (parent, child) = Child::of_stat(id, &String::from_utf8_lossy(&stat))?;
            (parent == own).then_some(child)
        })
        .collect()
}

impl Child {
    /// A line of `/proc/ID/stat`, and the parent's number.
    fn of_stat(id: i32, stat: &str) -> Option<(i32, Self)> {
        // The name, in parentheses, may hold anything.
        let (start, rest) = stat.rsplit_once(')')?;
        let (_, name) = start.split_once('(')?;
        let mut words = rest.split_whitespace();
        let state = words.next()?;
        let mut number = || words.next()?.parse::<i32>().ok();
        let (parent, group, session) = (number()?, number()?, number()?);
        let child = Self {
            id: Pid::from_raw(id)?,
            name: Name::cleaned(name).to_string(),
            is_alive: !matches!(state, "Z" | "X"),
            group,
            session,
        };
        Some((parent, child))
    }
}

fn watched() -> std::sync::MutexGuard<'static, BTreeSet<String>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_system_is_read_whatever_the_program_is_called() {
        let stat = "71 (a) R) (b) S 12 70 69 0 -1 4194560 1 2";
        let (parent, child) = Child::of_stat(71, stat).expect("read");
        assert_eq!((parent, child.group, child.session), (12, 70, 69));
        assert_eq!(child.name, "a) R) (b");
        assert!(child.is_alive);
        let stat = "71 (sleep) Z 12 70 69 0";
        assert!(!Child::of_stat(71, stat).expect("read").1.is_alive);
        assert!(Child::of_stat(71, "71 (sleep) Z").is_none());
    }

    #[test]
    fn what_has_no_mark_is_told_by_group_and_session() {
        let watch = Strays::watch();
        // No process has this number, so that none has a mark.
        let id = Pid::from_raw(i32::MAX).expect("a number");
        let child = |group, session| Child {
            id,
            name: "daemon".to_owned(),
            is_alive: true,
            group,
            session,
        };
        let Some((group, session)) = own_group_and_session() else {
            eprintln!("SKIPPED: this system does not list its processes in /proc");
            return;
        };
        // Numbers that are not this process's, which in a container are small themselves.
        let [running, ended, free] = [1, 2, 3].map(|above| group.max(session) + above);
        let groups = Groups {
            running: BTreeSet::from([running]),
            ended: BTreeSet::from([ended]),
        };
        let whose = |group, session| watch.whose(&child(group, session), &groups);
        assert_eq!(whose(group, session), Whose::Other);
        assert_eq!(whose(running, session), Whose::Other);
        assert_eq!(whose(ended, session), Whose::Ended);
        // A session of its own, or a group of its own in this session.
        assert_eq!(whose(free, free), Whose::Stray);
        assert_eq!(whose(free, session), Whose::Stray);
        let mut later = Strays::watch();
        later.before.insert(i32::MAX);
        assert_eq!(later.whose(&child(free, free), &groups), Whose::Other);
    }
}
