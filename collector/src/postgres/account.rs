//! As whom PostgreSQL runs: this user, or the account `postgres` when this user is root.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{getegid, geteuid};

use super::{ACCOUNT, PostgresError, find};

/// Who runs PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct Account {
    /// The account's name.
    pub(super) name: String,
    /// This program's own user, who must be let in.
    pub(super) client: String,
    uid: u32,
    gid: u32,
    /// This program is root and runs the server as somebody else.
    changed: bool,
}

impl Account {
    /// The account for this program's user.
    pub(super) fn choose() -> Result<Self, PostgresError> {
        let client = ask_id(&["-un"]).ok_or(PostgresError::Command {
            doing: "ask for this user's name",
            detail: "`id -un` gave none".to_owned(),
        })?;
        if !geteuid().is_root() {
            return Ok(Self {
                name: client.clone(),
                client,
                uid: geteuid().as_raw(),
                gid: getegid().as_raw(),
                changed: false,
            });
        }
        let number = |flag| ask_id(&[flag, ACCOUNT]).and_then(|text| text.parse().ok());
        match (number("-u"), number("-g")) {
            (Some(uid), Some(gid)) => Ok(Self {
                name: ACCOUNT.to_owned(),
                client,
                uid,
                gid,
                changed: true,
            }),
            _ => Err(PostgresError::NoAccount {
                install: find::install_command(),
            }),
        }
    }

    /// A command that runs as this account, with nothing of this program's environment.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir("/")
            .stdin(Stdio::null());
        if self.changed {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Makes sure that `folder` is there, belongs to this account, and is closed to others.
    pub(super) fn own_folder(&self, folder: &Path) -> Result<(), PostgresError> {
        match fs::DirBuilder::new().mode(0o700).create(folder) {
            Ok(()) => self.give(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let found =
                    fs::symlink_metadata(folder).map_err(PostgresError::io("look at", folder))?;
                if found.is_dir() && found.uid() == self.uid && found.mode().trailing_zeros() >= 6 {
                    Ok(())
                } else {
                    Err(PostgresError::Folder {
                        folder: folder.to_owned(),
                        what: "it must be a folder of the account that runs PostgreSQL, mode 0700: \
                               move it away",
                    })
                }
            }
            Err(error) => Err(PostgresError::io("create", folder)(error)),
        }
    }

    /// Hands a file or folder over to this account.
    pub(super) fn give(&self, path: &Path) -> Result<(), PostgresError> {
        if self.changed {
            std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
                .map_err(PostgresError::io("hand over", path))?;
        }
        Ok(())
    }

    /// Creates the data folder. Root's is passable for the account; a user's is closed.
    pub(super) fn create_data_folder(&self, folder: &Path) -> Result<(), PostgresError> {
        if folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(folder).map_err(PostgresError::io("create", folder))?;
        let mode = if self.changed { 0o755 } else { 0o700 };
        fs::set_permissions(folder, fs::Permissions::from_mode(mode))
            .map_err(PostgresError::io("set the mode of", folder))
    }

    /// Checks, as this account, that every folder down to `folder` lets it pass.
    pub(super) fn check_reaches(&self, folder: &Path) -> Result<(), PostgresError> {
        const SCRIPT: &str =
            "for d in \"$@\"; do [ -x \"$d\" ] || { printf %s \"$d\"; exit 1; }; done";
        let mut down: Vec<_> = folder.ancestors().collect();
        down.reverse();
        let output = self
            .command(Path::new("/bin/sh"))
            .args(["-c", SCRIPT, "sh"])
            .args(&down)
            .output()
            .map_err(PostgresError::io("run", Path::new("/bin/sh")))?;
        if output.status.success() {
            return Ok(());
        }
        Err(PostgresError::Barred {
            folder: String::from_utf8_lossy(&output.stdout).into_owned().into(),
            account: self.name.clone(),
        })
    }
}

/// What the command `id` says: it asks the same directories as the system itself.
fn ask_id(arguments: &[&str]) -> Option<String> {
    let output = Command::new("id")
        .args(arguments)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_bars_the_account_is_named() {
        let account = Account::choose().expect("this machine has an account for PostgreSQL");
        if !account.changed {
            println!("SKIPPED: only root runs PostgreSQL as somebody else");
            return;
        }
        let outer = tempfile::tempdir().expect("a temporary folder");
        let barring = outer.path().join("home");
        let inner = barring.join("data");
        fs::create_dir_all(&inner).expect("two folders");
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set the mode");
        };
        set(outer.path(), 0o755);
        set(&inner, 0o755);
        set(&barring, 0o700);
        let error = account
            .check_reaches(&inner)
            .expect_err("0700 of root bars");
        assert!(
            matches!(&error, PostgresError::Barred { folder, .. } if *folder == barring),
            "{error}"
        );
        set(&barring, 0o711);
        account.check_reaches(&inner).expect("0711 lets pass");
    }
}
