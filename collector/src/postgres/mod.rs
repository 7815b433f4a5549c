//! The private PostgreSQL: one cluster in the program's data folder, run by the program itself.
//!
//! Used unless `DATABASE_URL` names another server. It listens on a unix socket only, keeps
//! fsync on, is stopped with the program, taken over when the program was killed, and started
//! again when it was killed itself. As root its processes run as the account `postgres`,
//! because PostgreSQL refuses to run as root.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

mod account;
mod cluster;
mod find;
mod server;
mod test_database;

pub use cluster::{ClusterOptions, PrivateCluster};
pub use test_database::TestDatabase;

/// The oldest major version that the queries are written for.
pub const OLDEST_MAJOR: u32 = 15;

/// The account that runs PostgreSQL when the program is root.
pub const ACCOUNT: &str = "postgres";

/// The data folder when the program runs as root: a root home (0700) bars the account
/// `postgres`. `None` for an ordinary user, whose own data folder is right.
pub fn data_folder_of_root() -> Option<PathBuf> {
    rustix::process::geteuid()
        .is_root()
        .then(|| PathBuf::from("/var/lib/joulemark"))
}

/// Major versions of every PostgreSQL that is installed and new enough, the preferred one first.
pub fn installed_majors() -> Vec<u32> {
    find::installed()
        .iter()
        .map(|binaries| binaries.major)
        .collect()
}

/// Why the private PostgreSQL does not run.
#[derive(Debug, Error)]
pub enum PostgresError {
    /// No binaries, and none could be fetched.
    #[error(
        "find PostgreSQL {OLDEST_MAJOR} or newer on this machine, and to download it ({download}): \
         install it with `{install}`, or set DATABASE_URL to a server of yours"
    )]
    NoBinaries {
        /// Why the download failed, or that it was not tried.
        download: String,
        /// The one command for this platform.
        install: &'static str,
    },
    /// The data was written by another major version.
    #[error(
        "open {folder}: it was made by PostgreSQL {data}, and only {found} is installed: \
         install PostgreSQL {data}, or use another data folder", folder = folder.display()
    )]
    OtherMajor {
        /// The cluster's folder.
        folder: PathBuf,
        /// Major version of the data.
        data: String,
        /// Major versions found.
        found: String,
    },
    /// Root, and nobody to run PostgreSQL as.
    #[error(
        "run PostgreSQL as root: it refuses to, and the account `{ACCOUNT}` is missing: create it \
         with `{install}`, or start this program as an ordinary user"
    )]
    NoAccount {
        /// The one command for this platform.
        install: &'static str,
    },
    /// A folder above the data folder bars the account.
    #[error(
        "reach {folder} as the account {account}: allow it to pass (`chmod a+x`), or choose \
         another data folder", folder = folder.display()
    )]
    Barred {
        /// The first folder that bars.
        folder: PathBuf,
        /// Who is barred.
        account: String,
    },
    /// Another program holds the data folder.
    #[error(
        "open {folder}: the program with process id {pid} is using it: stop that one, or choose \
         another data folder", folder = folder.display()
    )]
    InUse {
        /// The data folder.
        folder: PathBuf,
        /// Who holds it.
        pid: String,
    },
    /// A folder that should be ours alone is not.
    #[error("use {folder}: {what}", folder = folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What is wrong with it, and what to do.
        what: &'static str,
    },
    /// A command of PostgreSQL failed.
    #[error("{doing}: {detail}")]
    Command {
        /// What was tried.
        doing: &'static str,
        /// The end of what it said.
        detail: String,
    },
    /// Reading, writing or running something of this machine failed.
    #[error("{doing} {path}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The server runs, but the database could not be made.
    #[error("prepare the database")]
    Database(#[source] crate::store::StoreError),
}

impl PostgresError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }
}
