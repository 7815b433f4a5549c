//! The commits that a gate compares, through the `git` program: merge base, the policy as it stood
//! there, a checkout of it, and what the policy builds in each.
//!
//! No shell runs. A repository keeps one checkout in the data folder, moved to the commit that is
//! asked for with its ignored files left alone, so that building the base twice costs little and
//! the disc holds one. Output of builds is told as it comes, and its end is kept for the error.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use domain::gate::record::MAX_POLICY_BYTES;
use domain::text::Name;
use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::engine::children::Group;

/// Where the branch that changes are compared with is looked for, in this order.
pub const BASE_REFS: [&str; 5] = [
    "origin/HEAD",
    "origin/main",
    "origin/master",
    "main",
    "master",
];

/// How git, in its own language, says that a folder lies in no repository. Of one that is broken it
/// says where, instead of `(or any`.
const NO_REPOSITORY: &str = "fatal: not a git repository (or any";

/// Lines of a failed build that its error shows.
const TAIL_LINES: usize = 20;

/// Lines of a build that wait to be told.
const WAITING_LINES: usize = 256;

/// Longest part of a build's line that is read at once.
const MAX_LINE_BYTES: u64 = 4 << 10;

/// How often a running build is asked whether it should stop.
const HEED: Duration = Duration::from_millis(100);

/// Why there is nothing to compare.
#[derive(Debug, Error)]
pub enum CheckoutError {
    /// The program `git` cannot be started.
    #[error("start git: {0}; install it, or name both arms with --base and --candidate")]
    NoGit(#[source] io::Error),
    /// Not inside a repository.
    #[error(
        "find a git repository in {0}: run it inside one, or name both arms with --base and --candidate"
    )]
    NoRepository(PathBuf),
    /// A ref that is not there.
    #[error("find the ref {reference:?}: {hint}")]
    NoRef {
        /// As asked for.
        reference: String,
        /// What to do.
        hint: &'static str,
    },
    /// Two histories that do not meet.
    #[error("find where HEAD and {reference} part: {hint}")]
    NoMergeBase {
        /// The base ref.
        reference: String,
        /// What to do.
        hint: &'static str,
    },
    /// HEAD is the base, and nothing was changed since.
    #[error(
        "compare HEAD with itself: it is the merge base with {reference}, and no file was changed since; \
         commit or change something, or name an earlier commit with --base-ref (HEAD~1)"
    )]
    Unchanged {
        /// The base ref.
        reference: String,
    },
    /// git said no.
    #[error("{doing}: git says: {said}")]
    Git {
        /// What was being done.
        doing: String,
        /// The end of what it said.
        said: String,
    },
    /// A file or folder.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another gate uses the checkout.
    #[error("use the checkout {0}: another gate of this repository is running; wait for it")]
    InUse(PathBuf),
    /// A build command that is none.
    #[error("understand the build command {command:?}: {what}")]
    Command {
        /// As the policy has it.
        command: String,
        /// What is wrong.
        what: String,
    },
    /// A build that failed.
    #[error("build with `{command}` in {folder}: it ended with {status}; its last lines:\n{tail}")]
    Build {
        /// As the policy has it.
        command: String,
        /// Where it ran.
        folder: PathBuf,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        tail: String,
    },
    /// A person stopped it.
    #[error("finish building: it was stopped")]
    Interrupted,
}

impl CheckoutError {
    /// Whether the person's words are at fault, and not the machine or the build.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoRepository(_)
                | Self::NoRef { .. }
                | Self::NoMergeBase { .. }
                | Self::Unchanged { .. }
                | Self::Command { .. }
        )
    }
}

const SHALLOW: &str = "this clone is shallow; fetch the history first \
     (git fetch --unshallow, or `fetch-depth: 0` in actions/checkout)";

/// A repository with its working tree.
#[derive(Debug, Clone)]
pub struct Repository {
    root: PathBuf,
}

/// A checkout in the data folder, one gate's alone until it is dropped.
#[derive(Debug)]
pub struct Checkout {
    folder: PathBuf,
    // Held for its lock alone.
    _lock: File,
}

impl Checkout {
    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Repository {
    /// The repository that `folder` lies in.
    pub fn around(folder: &Path) -> Result<Self, CheckoutError> {
        let output = match git(folder, &["rev-parse", "--show-toplevel"]) {
            // Without git there may be a repository all the same, and a policy in it.
            Err(CheckoutError::NoGit(_)) if !has_git_above(folder) => {
                return Err(CheckoutError::NoRepository(folder.to_owned()));
            }
            output => output?,
        };
        let root = text(&output.stdout);
        if output.status.success() && !root.is_empty() {
            return Ok(Self { root: root.into() });
        }
        // A repository that git does not open, such as another user's, is none that is not there.
        if text(&output.stderr).starts_with(NO_REPOSITORY) {
            return Err(CheckoutError::NoRepository(folder.to_owned()));
        }
        let doing = format!("open the git repository around {}", folder.display());
        Err(refused(doing, &output))
    }

    /// Its working tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The branch that changes are compared with, where nobody named one.
    pub fn base_ref(&self) -> Result<&'static str, CheckoutError> {
        for reference in BASE_REFS {
            if self.commit(reference)?.is_some() {
                return Ok(reference);
            }
        }
        Err(CheckoutError::NoRef {
            reference: BASE_REFS.join(", "),
            hint: "name the branch that the change is compared with by --base-ref, and fetch it \
                   first (git fetch origin main, or `fetch-depth: 0` in actions/checkout)",
        })
    }

    /// The commit of a ref that must be there, 40 hexadecimal digits.
    pub fn resolve(&self, reference: &str) -> Result<String, CheckoutError> {
        match self.commit(reference)? {
            Some(commit) => Ok(commit),
            None => Err(CheckoutError::NoRef {
                reference: reference.to_owned(),
                hint: if self.is_shallow()? {
                    SHALLOW
                } else {
                    "it is no commit here; fetch it first (git fetch origin BRANCH), and spell \
                     it as git does (origin/main)"
                },
            }),
        }
    }

    /// Where HEAD left the base ref.
    pub fn merge_base(&self, reference: &str) -> Result<String, CheckoutError> {
        let theirs = self.resolve(reference)?;
        let output = git(&self.root, &["merge-base", "HEAD", &theirs])?;
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(CheckoutError::NoMergeBase {
            reference: reference.to_owned(),
            hint: if self.is_shallow()? {
                SHALLOW
            } else {
                "their histories do not meet; name another with --base-ref"
            },
        })
    }

    /// HEAD's commit, if the working tree is just that.
    pub fn head_if_clean(&self) -> Result<Option<String>, CheckoutError> {
        let changed = self.must(
            "read the state of the working tree",
            &["status", "--porcelain", "--untracked-files=no"],
        )?;
        if changed.is_empty() {
            self.resolve("HEAD").map(Some)
        } else {
            Ok(None)
        }
    }

    /// A file as it stands at a commit; `None` where it is not there.
    pub fn file_at(&self, commit: &str, path: &str) -> Result<Option<String>, CheckoutError> {
        let listed = self.must(
            &format!("look for {path} at {commit}"),
            &["ls-tree", "--name-only", "--full-tree", commit, "--", path],
        )?;
        if listed.is_empty() {
            return Ok(None);
        }
        let object = format!("{commit}:{path}");
        let output = git(&self.root, &["show", "--no-textconv", &object])?;
        let doing = format!("read {path} at {commit}");
        if !output.status.success() {
            return Err(refused(doing, &output));
        }
        if output.stdout.len() > MAX_POLICY_BYTES {
            return Err(CheckoutError::Git {
                doing,
                said: format!("it is longer than {MAX_POLICY_BYTES} bytes"),
            });
        }
        let kept = String::from_utf8(output.stdout).map_err(|_| CheckoutError::Git {
            doing,
            said: "it is no UTF-8 text".to_owned(),
        })?;
        Ok(Some(kept))
    }

    /// The repository's checkout below `data`, made to be `commit`. Ignored files stay, so that a
    /// build goes on from the last one.
    pub fn check_out(&self, commit: &str, data: &Path) -> Result<Checkout, CheckoutError> {
        let common = self.must(
            "find the repository's folder",
            &["rev-parse", "--path-format=absolute", "--git-common-dir"],
        )?;
        // Of the root too: working trees of one repository build beside each other.
        let name = Sha256::new()
            .chain_update(common.as_bytes())
            .chain_update([0])
            .chain_update(self.root.as_os_str().as_encoded_bytes())
            .finalize();
        let parent = data.join("checkouts");
        let folder = parent.join(hex::encode(&name[..8]));
        std::fs::create_dir_all(&parent).map_err(|source| CheckoutError::Io {
            doing: "make the folder of checkouts",
            path: parent.clone(),
            source,
        })?;
        let lock = locked(&folder)?;
        let is_there = folder.join(".git").exists() && {
            let output = git(&folder, &["rev-parse", "--git-dir"])?;
            output.status.success()
        };
        let path = folder.display().to_string();
        if is_there {
            let here = Self {
                root: folder.clone(),
            };
            here.must(
                &format!("check {commit} out in {path}"),
                &["checkout", "--quiet", "--detach", "--force", commit],
            )?;
            here.must(
                &format!("take stray files out of {path}"),
                &["clean", "-ffdq"],
            )?;
        } else {
            // What a crash or another data folder left behind.
            if folder.exists() {
                std::fs::remove_dir_all(&folder).map_err(|source| CheckoutError::Io {
                    doing: "remove the broken checkout",
                    path: folder.clone(),
                    source,
                })?;
            }
            self.must("forget lost checkouts", &["worktree", "prune"])?;
            self.must(
                &format!("check {commit} out in {path}"),
                &["worktree", "add", "--quiet", "--detach", &path, commit],
            )?;
        }
        Ok(Checkout {
            folder,
            _lock: lock,
        })
    }

    /// The commit that a ref stands for, if it is there.
    fn commit(&self, reference: &str) -> Result<Option<String>, CheckoutError> {
        let wanted = format!("{reference}^{{commit}}");
        let output = git(
            &self.root,
            &[
                "rev-parse",
                "--quiet",
                "--verify",
                "--end-of-options",
                &wanted,
            ],
        )?;
        match output.status.code() {
            Some(0) => Ok(Some(text(&output.stdout))),
            // What is not there; anything else could not be read.
            Some(1) => Ok(None),
            _ => Err(refused(format!("read the ref {reference:?}"), &output)),
        }
    }

    fn is_shallow(&self) -> Result<bool, CheckoutError> {
        let output = git(&self.root, &["rev-parse", "--is-shallow-repository"])?;
        Ok(text(&output.stdout) == "true")
    }

    fn must(&self, doing: &str, arguments: &[&str]) -> Result<String, CheckoutError> {
        let output = git(&self.root, arguments)?;
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(refused(doing.to_owned(), &output))
        }
    }
}

/// Runs build commands in a folder, one after the other; each line they print is told.
pub fn build(
    commands: &[String],
    folder: &Path,
    stop: &AtomicBool,
    on_line: &mut dyn FnMut(&str),
) -> Result<(), CheckoutError> {
    for command in commands {
        build_with(command, folder, stop, on_line)?;
    }
    Ok(())
}

fn build_with(
    command: &str,
    folder: &Path,
    stop: &AtomicBool,
    on_line: &mut dyn FnMut(&str),
) -> Result<(), CheckoutError> {
    let bad = |what: String| CheckoutError::Command {
        command: command.to_owned(),
        what,
    };
    let words = shell_words::split(command).map_err(|error| bad(error.to_string()))?;
    let Some((program, arguments)) = words.split_first() else {
        return Err(bad("it is empty".to_owned()));
    };
    let failed = |status: String, tail: String| CheckoutError::Build {
        command: command.to_owned(),
        folder: folder.to_owned(),
        status,
        tail,
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (mut child, _group) = Group::start(&mut command)
        .map_err(|error| failed(format!("an error: {error}"), String::new()))?;
    let (sender, lines) = sync_channel(WAITING_LINES);
    let streams: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|it| Box::new(it) as _),
        child.stderr.take().map(|it| Box::new(it) as _),
    ];
    for stream in streams.into_iter().flatten() {
        let sender = sender.clone();
        thread::spawn(move || read_lines(stream, &sender));
    }
    drop(sender);
    let Some(tail) = tell_lines(&lines, stop, on_line) else {
        end(&mut child);
        return Err(CheckoutError::Interrupted);
    };
    let status = child
        .wait()
        .map_err(|error| failed(format!("an error: {error}"), String::new()))?;
    if status.success() {
        return Ok(());
    }
    Err(failed(
        status.to_string(),
        tail.into_iter().collect::<Vec<_>>().join("\n"),
    ))
}

/// Tells every line until the build closes its output, and keeps the last; `None` once stopped.
fn tell_lines(
    lines: &Receiver<String>,
    stop: &AtomicBool,
    on_line: &mut dyn FnMut(&str),
) -> Option<VecDeque<String>> {
    let mut tail = VecDeque::with_capacity(TAIL_LINES);
    loop {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        match lines.recv_timeout(HEED) {
            Ok(line) => {
                on_line(&line);
                if tail.len() == TAIL_LINES {
                    tail.pop_front();
                }
                tail.push_back(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Some(tail),
        }
    }
}

fn read_lines(stream: impl Read, sender: &SyncSender<String>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let read = reader
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) {
            return;
        }
        // Without control characters, which could redraw the reader's terminal.
        let shown = Name::cleaned(&String::from_utf8_lossy(&line));
        if !shown.as_str().is_empty() && sender.send(shown.to_string()).is_err() {
            return;
        }
    }
}

fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

/// The lock beside a checkout, which the system frees with the process.
fn locked(folder: &Path) -> Result<File, CheckoutError> {
    use rustix::fs::{FlockOperation, flock};
    let path = folder.with_extension("lock");
    let lock = File::create(&path).map_err(|source| CheckoutError::Io {
        doing: "make the lock",
        path: path.clone(),
        source,
    })?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| CheckoutError::InUse(folder.to_owned()))?;
    Ok(lock)
}

fn git(folder: &Path, arguments: &[&str]) -> Result<Output, CheckoutError> {
    Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        // Where git runs us as a hook, these name its repository and not the one asked for.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .stdin(Stdio::null())
        .output()
        .map_err(CheckoutError::NoGit)
}

/// Whether git would find a repository around a folder.
fn has_git_above(folder: &Path) -> bool {
    let here = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    here.ancestors()
        .any(|folder| folder.join(".git").symlink_metadata().is_ok())
}

fn refused(doing: String, output: &Output) -> CheckoutError {
    let said = text(&output.stderr);
    // Behind the error stands what to do about it; before it, what else went on.
    let from = said.find("fatal: ").unwrap_or_else(|| {
        let last = said.rfind('\n');
        last.map_or(0, |at| at + 1)
    });
    let said: Vec<&str> = said[from..].split_whitespace().collect();
    CheckoutError::Git {
        doing,
        said: match said.as_slice() {
            [] => "nothing".to_owned(),
            words => words.join(" "),
        },
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

#[cfg(test)]
mod tests;
