//! One cluster on disk and the command that serves it.

use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use domain::ids::Sha256Digest;
use rustix::process::{Pid, test_kill_process};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::PostgresError;
use super::account::Account;
use super::find::Binaries;

/// The database's own superuser; only the accounts in the ident map may be it.
const USER: &str = "joulemark";

/// A unix socket's path may be 104 bytes on macOS, 108 on Linux; `/.s.PGSQL.5432` is 14.
const LONGEST_SOCKET_FOLDER: usize = 86;

/// So much of the end of the server's log goes into an error.
const LOG_TAIL_BYTES: u64 = 2_000;

/// Whether a committed transaction survives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It does: what the product runs with.
    Full,
    /// It survives a killed server only: enough for tests, and much faster.
    ProcessOnly,
}

/// One cluster: its folders, its binaries, and as whom it runs.
#[derive(Debug, Clone)]
pub(super) struct Server {
    binaries: Binaries,
    account: Account,
    durability: Durability,
    folder: PathBuf,
    cluster: PathBuf,
    socket: PathBuf,
}

/// Where a data folder keeps its cluster.
pub(super) fn cluster_folder(data_folder: &Path) -> PathBuf {
    data_folder.join("cluster")
}

impl Server {
    /// Prepares the data folder: makes the cluster if there is none, the socket's folder, and
    /// the rules about who is let in. `data_folder` is absolute and exists.
    pub(super) fn prepare(
        data_folder: &Path,
        binaries: Binaries,
        account: Account,
        durability: Durability,
    ) -> Result<Self, PostgresError> {
        let server = Self {
            cluster: cluster_folder(data_folder),
            socket: socket_folder(data_folder),
            folder: data_folder.to_owned(),
            binaries,
            account,
            durability,
        };
        if !server.cluster.join("PG_VERSION").exists() {
            server.make_cluster()?;
        }
        server.account.own_folder(&server.socket)?;
        server.write_access_rules()?;
        Ok(server)
    }

    /// How to reach `database` on this server.
    pub(super) fn connect_options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.socket)
            .port(5432)
            .username(USER)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// The command that serves the cluster, in a process group of its own: Ctrl-C reaches this
    /// program first, which drains before it stops the server.
    pub(super) fn spawn(&self) -> Result<Child, PostgresError> {
        use std::os::unix::process::CommandExt as _;
        let log = self.fresh_log()?;
        self.command(&self.binaries.postgres)
            .args(self.arguments())
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(PostgresError::io("run", &self.binaries.postgres))
    }

    /// A command as the server's account.
    pub(super) fn command(&self, program: &Path) -> Command {
        self.account.command(program)
    }

    /// The server's program and its arguments.
    pub(super) fn command_line(&self) -> Vec<OsString> {
        let program = self.binaries.postgres.clone().into_os_string();
        std::iter::once(program).chain(self.arguments()).collect()
    }

    /// A server of this very cluster that outlived the program that started it: the process
    /// named in `postmaster.pid`, if it lives and its command line names the cluster's folder.
    /// The file alone proves nothing: it stays behind after a kill.
    pub(super) fn orphan(&self) -> Option<Pid> {
        let pid = self.pid_in_file()?;
        (test_kill_process(pid).is_ok() && self.is_named_by(pid)).then_some(pid)
    }

    /// The process id in the first line of `postmaster.pid`.
    pub(super) fn pid_in_file(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.cluster.join("postmaster.pid")).ok()?;
        Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
    }

    /// A process of this cluster: its command line names the cluster's folder.
    pub(super) fn is_named_by(&self, pid: Pid) -> bool {
        let Some(folder) = self.cluster.to_str() else {
            return false;
        };
        let pid = pid.as_raw_nonzero();
        let line = fs::read(format!("/proc/{pid}/cmdline")).or_else(|_| {
            // No /proc on macOS.
            let asked = Command::new("ps")
                .args(["-ww", "-o", "command=", "-p", &pid.to_string()])
                .output();
            asked.map(|output| output.stdout)
        });
        line.is_ok_and(|line| String::from_utf8_lossy(&line).contains(folder))
    }

    /// The end of what the server said.
    pub(super) fn log_tail(&self) -> String {
        let read = || {
            let mut file = fs::File::open(self.log())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        read().unwrap_or_else(|error| format!("its log cannot be read: {error}"))
    }

    /// An empty log; the one before it is kept as `postgres.log.old`.
    pub(super) fn fresh_log(&self) -> Result<fs::File, PostgresError> {
        let log = self.log();
        if log.exists() {
            fs::rename(&log, self.folder.join("postgres.log.old"))
                .map_err(PostgresError::io("keep", &log))?;
        }
        fs::File::create(&log).map_err(PostgresError::io("create", &log))
    }

    fn log(&self) -> PathBuf {
        self.folder.join("postgres.log")
    }

    fn arguments(&self) -> Vec<OsString> {
        let setting = |name: &str, value: &str| OsString::from(format!("{name}={value}"));
        let path = |path: &Path| quoted(&path.to_string_lossy());
        let fsync = match self.durability {
            Durability::Full => "on",
            Durability::ProcessOnly => "off",
        };
        let settings = [
            setting("listen_addresses", ""),
            setting("unix_socket_directories", &path(&self.socket)),
            setting("unix_socket_permissions", "0700"),
            setting("port", "5432"),
            setting(
                "hba_file",
                &self.folder.join("pg_hba.conf").to_string_lossy(),
            ),
            setting(
                "ident_file",
                &self.folder.join("pg_ident.conf").to_string_lossy(),
            ),
            setting("fsync", fsync),
            setting("full_page_writes", fsync),
            setting("synchronous_commit", "on"),
            setting("timezone", "UTC"),
            setting("log_timezone", "UTC"),
            setting("logging_collector", "off"),
        ];
        let mut arguments = vec![OsString::from("-D"), self.cluster.clone().into_os_string()];
        for setting in settings {
            arguments.extend([OsString::from("-c"), setting]);
        }
        arguments
    }

    /// Makes the cluster beside its place and moves it there, so that a cluster is whole or absent.
    fn make_cluster(&self) -> Result<(), PostgresError> {
        let unfinished = self.folder.join("cluster.new");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(PostgresError::io("remove", &unfinished))?;
        }
        self.account.own_folder(&unfinished)?;
        let sync: &[&str] = match self.durability {
            Durability::Full => &[],
            Durability::ProcessOnly => &["--no-sync"],
        };
        let output = self
            .command(&self.binaries.initdb)
            .arg("-D")
            .arg(&unfinished)
            .args([
                "--username",
                USER,
                "--encoding=UTF8",
                "--no-locale",
                "--data-checksums",
            ])
            .args([
                "--auth-local=peer",
                "--auth-host=reject",
                "--no-instructions",
            ])
            .args(sync)
            .output()
            .map_err(PostgresError::io("run", &self.binaries.initdb))?;
        if !output.status.success() {
            return Err(PostgresError::Command {
                doing: "make a new cluster with initdb",
                detail: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            });
        }
        fs::rename(&unfinished, &self.cluster)
            .and_then(|()| fs::File::open(&self.folder)?.sync_all())
            .map_err(PostgresError::io("move into place", &self.cluster))
    }

    /// Only peers on the unix socket, and of those only the server's account and this
    /// program's user.
    fn write_access_rules(&self) -> Result<(), PostgresError> {
        let mut accounts = vec![&self.account.name, &self.account.client];
        accounts.dedup();
        let map: Vec<_> = accounts
            .iter()
            .map(|name| format!("joulemark {} {USER}\n", quoted(name)))
            .collect();
        let map = map.concat();
        for (file, text) in [
            ("pg_hba.conf", "local all all peer map=joulemark\n"),
            ("pg_ident.conf", &map),
        ] {
            let path = self.folder.join(file);
            fs::write(&path, text).map_err(PostgresError::io("write", &path))?;
            self.account.give(&path)?;
        }
        Ok(())
    }
}

/// A folder for the socket: in the data folder when its path is short enough, else a folder
/// under `/tmp` that is named after the data folder and must belong to the server's account.
fn socket_folder(data_folder: &Path) -> PathBuf {
    let near = data_folder.join("socket");
    if near.as_os_str().len() <= LONGEST_SOCKET_FOLDER {
        return near;
    }
    let digest = Sha256Digest::of(data_folder.as_os_str().as_encoded_bytes()).to_string();
    PathBuf::from(format!("/tmp/joulemark-{}", &digest[..16]))
}

/// A name in PostgreSQL's configuration files and lists.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_is_short_whatever_the_data_folder() {
        for folder in [
            "/var/lib/joulemark".to_owned(),
            format!("/home/{}", "x".repeat(200)),
        ] {
            let socket = socket_folder(Path::new(&folder)).join(".s.PGSQL.5432");
            assert!(
                socket.is_absolute() && socket.as_os_str().len() <= 100,
                "{socket:?}"
            );
        }
    }

    #[test]
    fn names_are_quoted_for_configuration_files() {
        assert_eq!(quoted("a \"b\", c"), "\"a \"\"b\"\", c\"");
    }
}
