//! The running private cluster: started or taken over, kept running, stopped with the program.
//!
//! One thread owns the server process for the program's whole life. It stays the parent and
//! waits, so that a killed server leaves no zombie (whose lock would keep the next one out),
//! and starts it again. A server that outlived a killed program is adopted; the file
//! `postmaster.pid` is never deleted.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, test_kill_process, waitid,
};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::oneshot;

use super::account::Account;
use super::server::{Durability, Server, cluster_folder};
use super::{PostgresError, find};
use crate::collector::off_the_loop;
use crate::store::database;

/// The product's database.
const DATABASE: &str = "joulemark";

/// A server that does not answer by then has failed. Recovery after a crash replays at most
/// one checkpoint's worth of log (`max_wal_size`, 1 GB), which takes seconds.
const READY_WITHIN: Duration = Duration::from_mins(2);

/// Failed starts in a row after which the server is given up.
const START_ATTEMPTS: u32 = 5;

/// Wait before the next start, times the number of failures.
const BEFORE_RESTART: Duration = Duration::from_millis(400);

/// How often an adopted server, for which one cannot wait, is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a stop may take before it gets harder: fast, immediate, killed.
const STOP_WITHIN: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(20)),
    (Signal::QUIT, Duration::from_secs(10)),
    (Signal::KILL, Duration::from_secs(5)),
];

/// What a caller decides about its private cluster.
#[derive(Debug, Clone, Copy)]
pub struct ClusterOptions {
    /// Fetch PostgreSQL when none is installed.
    pub download: bool,
    /// Told in words what takes long (the download).
    pub notice: fn(&str),
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            download: true,
            notice: |message| tracing::info!("{message}"),
        }
    }
}

/// A running PostgreSQL of this program's own. Dropping it stops the server and waits for it.
#[derive(Debug)]
pub struct PrivateCluster {
    server: Arc<Server>,
    shared: Arc<Shared>,
    supervisor: Option<JoinHandle<()>>,
    /// Held until the server has stopped: a second program is refused.
    _lock: File,
}

/// What the supervising thread and the others agree on.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopping: bool,
    /// The server's process, as long as its id cannot have been given to another one.
    pid: Option<Pid>,
    ended: bool,
}

impl PrivateCluster {
    /// Starts (or takes over) the cluster of `data_dir`, makes it first if there is none, and
    /// returns once it answers and the product's database is there.
    pub async fn start(data_dir: &Path, options: ClusterOptions) -> Result<Self, PostgresError> {
        let account = Account::choose()?;
        let given = std::path::absolute(data_dir).map_err(PostgresError::io("find", data_dir))?;
        account.create_data_folder(&given)?;
        let folder = fs::canonicalize(&given).map_err(PostgresError::io("find", &given))?;
        account.check_reaches(&folder)?;
        let lock = lock(&folder)?;

        let cluster = cluster_folder(&folder);
        let major = fs::read_to_string(cluster.join("PG_VERSION")).ok();
        let download_into = options.download.then(|| folder.join("binaries"));
        let binaries = find::choose(
            major.as_deref().map(str::trim),
            &cluster,
            download_into.as_deref(),
            options.notice,
        )
        .await?;
        let server =
            off_the_loop(move || Server::prepare(&folder, binaries, account, Durability::Full))
                .await?;
        let cluster = Self::supervise(Arc::new(server), lock).await?;
        database::create(&cluster.server.connect_options("postgres"), DATABASE)
            .await
            .map_err(PostgresError::Database)?;
        Ok(cluster)
    }

    /// How to reach the product's database: over the unix socket, as a peer.
    pub fn connect_options(&self) -> PgConnectOptions {
        self.server.connect_options(DATABASE)
    }

    /// Process id of the server while it runs.
    pub fn server_process(&self) -> Option<u32> {
        let pid = self.shared.lock().pid?;
        u32::try_from(pid.as_raw_nonzero().get()).ok()
    }

    /// Stops the server and waits until it has. Close pools first: a fast shutdown ends their
    /// connections.
    pub async fn stop(mut self) {
        off_the_loop(move || self.stop_and_wait()).await;
    }

    async fn supervise(server: Arc<Server>, lock: File) -> Result<Self, PostgresError> {
        let shared = Arc::new(Shared::default());
        let (ready, answer) = oneshot::channel();
        let supervisor = std::thread::Builder::new()
            .name("postgres-supervisor".to_owned())
            .spawn({
                let (server, shared) = (Arc::clone(&server), Arc::clone(&shared));
                move || supervise(&server, &shared, ready)
            })
            .map_err(PostgresError::io(
                "start a thread for",
                Path::new("postgres"),
            ))?;
        let cluster = Self {
            server,
            shared,
            supervisor: Some(supervisor),
            _lock: lock,
        };
        match answer.await {
            Ok(result) => result.map(|()| cluster),
            Err(_) => Err(PostgresError::Command {
                doing: "start PostgreSQL",
                detail: "it was told to stop".to_owned(),
            }),
        }
    }

    fn stop_and_wait(&mut self) {
        let Some(supervisor) = self.supervisor.take() else {
            return;
        };
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        for (signal, patience) in STOP_WITHIN {
            self.shared.signal(signal);
            if self.shared.wait_until(patience, |state| state.ended) {
                break;
            }
            tracing::warn!(
                postgres.signal = signal.as_raw(),
                "PostgreSQL is slow to stop"
            );
        }
        if supervisor.join().is_err() {
            tracing::error!("the thread that watches PostgreSQL panicked");
        }
    }
}

impl Drop for PrivateCluster {
    fn drop(&mut self) {
        self.stop_and_wait();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopping(&self) -> bool {
        self.lock().stopping
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Signals the server if it runs. Under the lock its process id is still its own.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.lock().pid
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::warn!(%error, "PostgreSQL cannot be signalled");
        }
    }

    /// Waits at most `patience`; whether `done` holds then.
    fn wait_until(&self, patience: Duration, done: impl Fn(&State) -> bool) -> bool {
        let waiting = |state: &mut State| !done(state);
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        done(&state)
    }
}

/// The server process of one run.
enum Process {
    /// Started here: one can wait for it.
    Own(Child),
    /// Outlived the program that started it.
    Adopted(Pid),
}

impl Process {
    fn pid(&self) -> Pid {
        match self {
            Self::Own(child) => Pid::from_child(child),
            Self::Adopted(pid) => *pid,
        }
    }

    /// Whether it has ended; its id is kept from reuse until [`Process::reap`].
    fn has_ended(&self, server: &Server) -> bool {
        match self {
            Self::Own(child) => {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
                !matches!(
                    waitid(WaitId::Pid(Pid::from_child(child)), options),
                    Ok(None)
                )
            }
            Self::Adopted(pid) => test_kill_process(*pid).is_err() || !server.is_named_by(*pid),
        }
    }

    fn wait(&self, server: &Server) {
        match self {
            Self::Own(child) => {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                while let Err(rustix::io::Errno::INTR) =
                    waitid(WaitId::Pid(Pid::from_child(child)), options)
                {}
            }
            Self::Adopted(_) => {
                while !self.has_ended(server) {
                    std::thread::sleep(LOOK_EVERY);
                }
            }
        }
    }

    fn reap(&mut self) {
        if let Self::Own(child) = self
            && let Err(error) = child.wait()
        {
            tracing::warn!(%error, "PostgreSQL's exit status was lost");
        }
    }
}

/// The supervising thread: start or adopt, wait, start again, until told to stop.
fn supervise(server: &Server, shared: &Shared, ready: oneshot::Sender<Result<(), PostgresError>>) {
    let mut ready = Some(ready);
    let mut failures = 0;
    while !shared.stopping() {
        let announce = || {
            if let Some(ready) = ready.take() {
                // Nobody listens any more when the start was given up: then a stop follows.
                let _ = ready.send(Ok(()));
            }
        };
        match run_once(server, shared, announce) {
            Ok(()) if shared.stopping() => break,
            Ok(()) => {
                failures = 0;
                tracing::warn!("PostgreSQL ended by itself: starting it again");
            }
            Err(error) => {
                failures += 1;
                if failures >= START_ATTEMPTS {
                    if let Some(ready) = ready.take() {
                        drop(ready.send(Err(error)));
                    } else {
                        tracing::error!(%error, "PostgreSQL is given up");
                    }
                    break;
                }
            }
        }
        shared.wait_until(BEFORE_RESTART * (failures + 1), |state| state.stopping);
    }
    shared.set(|state| state.ended = true);
}

/// One run of the server, from start or adoption to its end; an error if it never answered.
fn run_once(
    server: &Server,
    shared: &Shared,
    announce: impl FnOnce(),
) -> Result<(), PostgresError> {
    let mut process = match server.orphan() {
        Some(pid) => {
            tracing::info!(
                postgres.pid = pid.as_raw_nonzero(),
                "taking over the running PostgreSQL"
            );
            Process::Adopted(pid)
        }
        None => Process::Own(server.spawn()?),
    };
    shared.set(|state| state.pid = Some(process.pid()));
    let answers = await_ready(server, shared, &process);
    match answers {
        Ok(true) => announce(),
        // A stop that came before the process id was known reached nobody.
        Ok(false) => shared.signal(Signal::INT),
        Err(_) => shared.signal(Signal::QUIT),
    }
    process.wait(server);
    // From here on the id may be reused, so nobody may signal it.
    shared.set(|state| {
        state.pid = None;
        process.reap();
    });
    answers.map(|_| ())
}

/// Waits until the server answers: true. False when it is to stop; an error when it ended or
/// took too long. `postmaster.pid` counts only when it names the very process.
fn await_ready(server: &Server, shared: &Shared, process: &Process) -> Result<bool, PostgresError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(PostgresError::io(
            "make a runtime for",
            Path::new("postgres"),
        ))?;
    let options = server.connect_options("postgres");
    let failed = |what: &str| PostgresError::Command {
        doing: "start PostgreSQL",
        detail: format!("{what}; its log ends with: {}", server.log_tail()),
    };
    let begun = Instant::now();
    while begun.elapsed() < READY_WITHIN {
        if shared.stopping() {
            return Ok(false);
        }
        if process.has_ended(server) {
            return Err(failed("it ended at once"));
        }
        if server.pid_in_file() == Some(process.pid())
            && runtime.block_on(database::answers(&options))
        {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(failed("it did not answer in time"))
}

/// Locks the data folder for this program; the lock ends with the program, however it ends.
fn lock(folder: &Path) -> Result<File, PostgresError> {
    let path: PathBuf = folder.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(PostgresError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            return Err(PostgresError::InUse {
                folder: folder.to_owned(),
                pid: if known {
                    pid.trim().to_owned()
                } else {
                    "unknown".to_owned()
                },
            });
        }
        Err(TryLockError::Error(error)) => return Err(PostgresError::io("lock", &path)(error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(PostgresError::io("write", &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests;
