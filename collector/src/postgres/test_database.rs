//! Databases for tests: one cluster per test binary, one database per test.
//!
//! Nothing needs to be installed, started or cleaned up by hand. Statics are not dropped when a
//! test binary ends, so a small shell process watches a pipe from it: when the binary ends,
//! however it ends, the pipe closes, and the shell stops the server and removes its folder.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use tokio::sync::OnceCell;

use super::account::Account;
use super::server::{Durability, Server, cluster_folder};
use super::{PostgresError, find};
use crate::store::{Store, database};

/// The database that every test's database is a copy of.
const TEMPLATE: &str = "migrated";

/// Starts the server in the background, waits for the end of its input, stops it, cleans up.
const WATCH: &str = "trap '' INT HUP TERM
folder=$1; shift
\"$@\" & server=$!
while read -r _; do :; done
kill -INT \"$server\"; wait \"$server\"
rm -rf \"$folder\"";

static CLUSTER: OnceCell<TestCluster> = OnceCell::const_new();

/// A fresh, migrated, empty database of its own for one test. **For tests only**: it survives
/// a killed server, but not a power cut.
#[derive(Debug)]
pub struct TestDatabase {
    options: PgConnectOptions,
}

#[derive(Debug)]
struct TestCluster {
    server: Server,
    made: AtomicU32,
    /// Holds the pipe open as long as this program lives.
    _watcher: Child,
}

impl TestDatabase {
    /// A new database on the test binary's cluster, which the first call starts.
    ///
    /// # Panics
    ///
    /// When no database can be had: a test without one has failed.
    pub async fn fresh() -> Self {
        let cluster = CLUSTER
            .get_or_try_init(TestCluster::start)
            .await
            .unwrap_or_else(|error| {
                panic!("failed to {error}: {:?}", std::error::Error::source(&error))
            });
        let name = format!("test_{}", cluster.made.fetch_add(1, Ordering::Relaxed));
        let admin = cluster.server.connect_options("postgres");
        database::copy(&admin, &name, TEMPLATE)
            .await
            .unwrap_or_else(|error| panic!("failed to copy the template database: {error:?}"));
        Self {
            options: cluster.server.connect_options(&name),
        }
    }

    /// How to reach it.
    pub fn connect_options(&self) -> PgConnectOptions {
        self.options.clone()
    }
}

impl TestCluster {
    async fn start() -> Result<Self, PostgresError> {
        let account = Account::choose()?;
        let kept = tempfile::Builder::new()
            .prefix("joulemark-test-")
            .tempdir()
            .map_err(PostgresError::io("create a folder in", Path::new("/tmp")))?
            .keep();
        let folder = std::fs::canonicalize(&kept).map_err(PostgresError::io("find", &kept))?;
        account.give(&folder)?;
        account.check_reaches(&folder)?;
        // One download serves every test binary of this checkout.
        let downloads = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/postgresql"));
        let notice: fn(&str) = |message| tracing::info!("{message}");
        let binaries =
            find::choose(None, &cluster_folder(&folder), Some(&downloads), notice).await?;
        let server = Server::prepare(&folder, binaries, account, Durability::ProcessOnly)?;
        let watcher = server
            .command(Path::new("/bin/sh"))
            .args(["-c", WATCH, "sh"])
            .arg(&folder)
            .args(server.command_line())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(server.fresh_log()?)
            .spawn()
            .map_err(PostgresError::io("run", Path::new("/bin/sh")))?;
        let cluster = Self {
            server,
            made: AtomicU32::new(0),
            _watcher: watcher,
        };
        cluster.await_ready().await?;
        cluster.make_template().await?;
        Ok(cluster)
    }

    async fn await_ready(&self) -> Result<(), PostgresError> {
        let options = self.server.connect_options("postgres");
        let begun = Instant::now();
        while !database::answers(&options).await {
            if begun.elapsed() > Duration::from_mins(1) {
                return Err(PostgresError::Command {
                    doing: "start PostgreSQL for tests",
                    detail: self.server.log_tail(),
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn make_template(&self) -> Result<(), PostgresError> {
        let prepare = async {
            database::create(&self.server.connect_options("postgres"), TEMPLATE).await?;
            Store::migrate(&self.server.connect_options(TEMPLATE)).await
        };
        prepare.await.map_err(PostgresError::Database)
    }
}
