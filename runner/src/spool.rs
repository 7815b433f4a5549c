//! The durable outbox: what was measured survives a crash, a power cut and a missing network.
//!
//! Folders `{tmp,new,sent,bad}`; one file is one envelope, named by its content id. An envelope
//! is written to `tmp`, synced, renamed to `new/{content id}`, and both folders are synced: only
//! then does its cell count as finished. After a failed sync a new file is written, as the old
//! one's pages may be lost. What lies in `tmp` at opening was never finished and is removed. One
//! process owns a spool at a time (a lock the system frees with the process). Bound: below
//! [`MIN_FREE_BYTES`] of free disc nothing is put in.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use domain::api::Problem;
use domain::envelope::{self, MAX_ENVELOPE_BYTES};
use domain::ids::ContentId;
use rustix::fs::{FlockOperation, flock, statvfs};
use thiserror::Error;

use crate::seal::Sealed;

/// Free disc below which a sweep stops.
pub const MIN_FREE_BYTES: u64 = 1 << 30;

/// Why the outbox failed.
#[derive(Debug, Error)]
pub enum SpoolError {
    /// The file system refused.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process owns it.
    #[error(
        "open the spool {path}: another joulemark (process {owner}) is using it; wait for it or stop it"
    )]
    InUse {
        /// Where.
        path: PathBuf,
        /// Its process id as far as known.
        owner: String,
    },
    /// Too little disc.
    #[error(
        "put a record into {path}: {free} bytes are free, {MIN_FREE_BYTES} are needed; free some disc space"
    )]
    DiskFull {
        /// Where.
        path: PathBuf,
        /// What is free.
        free: u64,
    },
}

/// The outbox.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    min_free_bytes: u64,
    // Held for its lock alone.
    _lock: File,
}

/// A file of the outbox.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Its name.
    pub content_id: ContentId,
    /// The envelope's exact bytes.
    pub bytes: Vec<u8>,
}

impl Spool {
    /// Opens or makes the outbox in `folder` and takes its lock.
    pub fn open(folder: &Path) -> Result<Self, SpoolError> {
        Self::open_with(folder, MIN_FREE_BYTES)
    }

    fn open_with(folder: &Path, min_free_bytes: u64) -> Result<Self, SpoolError> {
        for part in ["tmp", "new", "sent", "bad"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).map_err(fault("make the folder", &path))?;
        }
        let lock = take_lock(folder)?;
        let spool = Self {
            folder: folder.to_owned(),
            min_free_bytes,
            _lock: lock,
        };
        for entry in spool.entries("tmp")? {
            fs::remove_file(&entry).map_err(fault("remove the unfinished", &entry))?;
        }
        Ok(spool)
    }

    /// Stores an envelope so that it survives a power cut. Storing it again changes nothing.
    pub fn put(&self, sealed: &Sealed) -> Result<(), SpoolError> {
        let free = statvfs(&self.folder)
            .map_err(|errno| fault("ask the free space of", &self.folder)(errno.into()))?;
        let free = free.f_bavail.saturating_mul(free.f_frsize);
        if free < self.min_free_bytes {
            return Err(SpoolError::DiskFull {
                path: self.folder.clone(),
                free,
            });
        }
        self.write_once(sealed, 0).or_else(|error| {
            // A sync that failed may have dropped the file's pages: only a new file can be trusted.
            tracing::warn!(%error, "a record is written to the spool once more");
            self.write_once(sealed, 1)
        })
    }

    /// Whether an envelope was put in, whatever became of it since.
    pub fn holds(&self, content_id: ContentId) -> bool {
        ["new", "sent", "bad"]
            .iter()
            .any(|part| self.path(part, content_id).exists())
    }

    /// What waits to be sent, the first put in first: a collector lists what it has by arrival. Torn
    /// files go to `bad` on the way.
    pub fn pending(&self) -> Result<Vec<ContentId>, SpoolError> {
        let mut waiting = Vec::new();
        for path in self.entries("new")? {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            match name.parse() {
                Ok(content_id) => {
                    let written = fs::metadata(&path).and_then(|facts| facts.modified());
                    waiting.push((
                        written.map_err(fault("read the age of", &path))?,
                        content_id,
                    ));
                }
                Err(_) => self.park_file(&path, "its name is no content id")?,
            }
        }
        waiting.sort();
        Ok(waiting
            .into_iter()
            .map(|(_, content_id)| content_id)
            .collect())
    }

    /// Reads one waiting file; `None` if it was torn (and went to `bad`) or is gone.
    pub fn read(&self, content_id: ContentId) -> Result<Option<Pending>, SpoolError> {
        let path = self.path("new", content_id);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| {
            file.take(MAX_ENVELOPE_BYTES as u64 + 1)
                .read_to_end(&mut bytes)
        }) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault("read", &path)(error)),
        }
        match envelope::open(&bytes) {
            Ok(opened) if opened.content_id() == content_id => {
                Ok(Some(Pending { content_id, bytes }))
            }
            _ => {
                self.park_file(&path, "torn: its content does not fit its name")?;
                Ok(None)
            }
        }
    }

    /// The collector has it.
    pub fn acknowledge(&self, content_id: ContentId) -> Result<(), SpoolError> {
        self.rename(
            &self.path("new", content_id),
            "sent",
            &content_id.to_string(),
        )
    }

    /// The collector refused it for good: the reason is kept beside it.
    pub fn park(&self, content_id: ContentId, problem: &Problem) -> Result<(), SpoolError> {
        let beside = self
            .folder
            .join("bad")
            .join(format!("{content_id}.problem.json"));
        let text = serde_json::to_vec_pretty(problem).map_err(io::Error::from);
        text.and_then(|text| fs::write(&beside, text))
            .map_err(fault("write", &beside))?;
        self.rename(
            &self.path("new", content_id),
            "bad",
            &content_id.to_string(),
        )
    }

    /// How many files lie in `bad`, problems not counted.
    pub fn parked(&self) -> Result<usize, SpoolError> {
        let is_envelope = |path: &PathBuf| path.extension().is_none();
        Ok(self
            .entries("bad")?
            .iter()
            .filter(|path| is_envelope(path))
            .count())
    }

    fn write_once(&self, sealed: &Sealed, attempt: u32) -> Result<(), SpoolError> {
        let unfinished = self
            .folder
            .join("tmp")
            .join(format!("{}.{attempt}", sealed.content_id));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&unfinished)
            .and_then(|mut file| file.write_all(&sealed.bytes).and_then(|()| file.sync_all()));
        if let Err(error) = written {
            let _ = fs::remove_file(&unfinished);
            return Err(fault("write", &unfinished)(error));
        }
        self.rename(&unfinished, "new", &sealed.content_id.to_string())
    }

    fn rename(&self, from: &Path, part: &str, name: &str) -> Result<(), SpoolError> {
        let folder = self.folder.join(part);
        let to = folder.join(name);
        fs::rename(from, &to).map_err(fault("move a record to", &to))?;
        for folder in [Some(folder.as_path()), from.parent()]
            .into_iter()
            .flatten()
        {
            File::open(folder)
                .and_then(|file| file.sync_all())
                .map_err(fault("sync", folder))?;
        }
        Ok(())
    }

    fn park_file(&self, path: &Path, why: &str) -> Result<(), SpoolError> {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        tracing::warn!(file = %name, why, "a file of the spool was put aside in bad");
        self.rename(path, "bad", &name)
    }

    fn entries(&self, part: &str) -> Result<Vec<PathBuf>, SpoolError> {
        let folder = self.folder.join(part);
        let read = fs::read_dir(&folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        read.map_err(fault("list", &folder))
    }

    fn path(&self, part: &str, content_id: ContentId) -> PathBuf {
        self.folder.join(part).join(content_id.to_string())
    }
}

fn take_lock(folder: &Path) -> Result<File, SpoolError> {
    let path = folder.join("lock");
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let mut lock = open.map_err(fault("open the lock", &path))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut owner = String::new();
        let _ = (&lock).take(20).read_to_string(&mut owner);
        return Err(SpoolError::InUse {
            path: folder.to_owned(),
            owner: owner.trim().to_owned(),
        });
    }
    // The number only helps a person: the lock itself goes with the process.
    let _ = lock
        .set_len(0)
        .and_then(|()| write!(lock, "{}", std::process::id()));
    Ok(lock)
}

fn fault(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> SpoolError {
    move |source| SpoolError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;
    use tempfile::TempDir;

    /// An envelope of any payload.
    pub(crate) fn sealed(payload: &[u8]) -> Sealed {
        let (content_id, envelope) = envelope::sign(
            "application/example",
            payload,
            &SigningKey::from_bytes(&[9; 32]),
        );
        Sealed {
            content_id,
            bytes: serde_json::to_vec(&envelope).expect("an envelope is JSON"),
        }
    }

    pub(crate) fn spool() -> (TempDir, Spool) {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::open_with(folder.path(), 0).expect("opens");
        (folder, spool)
    }

    #[test]
    fn what_was_put_in_is_read_back_byte_for_byte() {
        let (_folder, spool) = spool();
        let record = sealed(b"{}");
        spool.put(&record).expect("stored");
        spool.put(&record).expect("stored again");
        assert_eq!(spool.pending().expect("listed"), [record.content_id]);
        let read = spool
            .read(record.content_id)
            .expect("readable")
            .expect("there");
        assert_eq!(read.bytes, record.bytes);
        spool.acknowledge(record.content_id).expect("moved");
        assert!(spool.pending().expect("listed").is_empty() && spool.holds(record.content_id));
    }

    #[test]
    fn what_was_put_in_first_is_sent_first() {
        let (folder, spool) = spool();
        let records = [&b"{\"a\":1}"[..], b"{\"a\":2}", b"{\"a\":3}"].map(sealed);
        let second = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (record, age) in records.iter().zip([2, 3, 1]) {
            spool.put(record).expect("stored");
            let path = folder
                .path()
                .join("new")
                .join(record.content_id.to_string());
            let file = File::options().write(true).open(path).expect("own file");
            file.set_modified(second(age)).expect("own file");
        }
        let expected = [2, 0, 1].map(|place: usize| records[place].content_id);
        assert_eq!(spool.pending().expect("listed"), expected);
    }

    #[test]
    fn a_torn_file_goes_to_bad_and_blocks_nothing() {
        let (folder, spool) = spool();
        let (whole, torn) = (sealed(b"{\"a\":1}"), sealed(b"{\"a\":2}"));
        spool.put(&whole).expect("stored");
        spool.put(&torn).expect("stored");
        let path = folder.path().join("new").join(torn.content_id.to_string());
        fs::write(&path, &torn.bytes[..torn.bytes.len() / 2]).expect("own file");
        fs::write(folder.path().join("new/garbage"), "x").expect("own file");
        assert_eq!(spool.pending().expect("listed").len(), 2);
        assert!(spool.read(torn.content_id).expect("answers").is_none());
        assert!(spool.read(whole.content_id).expect("answers").is_some());
        assert_eq!(spool.parked().expect("listed"), 2);
    }

    #[test]
    fn what_a_crash_left_unfinished_is_removed_at_opening() {
        let (folder, spool) = spool();
        spool.put(&sealed(b"{}")).expect("stored");
        fs::write(folder.path().join("tmp/half.0"), "half").expect("own file");
        drop(spool);
        let again = Spool::open_with(folder.path(), 0).expect("opens");
        assert_eq!(again.entries("tmp").expect("listed").len(), 0);
        assert_eq!(again.pending().expect("listed").len(), 1);
    }

    #[test]
    fn a_spool_has_one_owner() {
        let (folder, spool) = spool();
        let error = Spool::open(folder.path()).expect_err("in use");
        assert!(
            error.to_string().contains(&std::process::id().to_string()),
            "{error}"
        );
        drop(spool);
        assert!(Spool::open(folder.path()).is_ok());
    }

    #[test]
    fn a_full_disc_takes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let spool = Spool::open_with(folder.path(), u64::MAX).expect("opens");
        assert!(matches!(
            spool.put(&sealed(b"{}")),
            Err(SpoolError::DiskFull { .. })
        ));
        assert!(spool.pending().expect("listed").is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_damage_to_a_waiting_file_is_noticed(cut in 0_usize..400, flip in any::<prop::sample::Index>()) {
            let (folder, spool) = spool();
            let record = sealed(b"{\"decode\":[1,2,3,4]}");
            spool.put(&record).expect("stored");
            let path = folder.path().join("new").join(record.content_id.to_string());
            let mut bytes = record.bytes.clone();
            if cut < bytes.len() {
                bytes.truncate(cut);
            } else {
                // Inside the payload: its base64 begins after the type.
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let start = text.find("\"payload\":\"").expect("has one") + 11;
                let at = start + flip.index(20);
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            }
            fs::write(&path, &bytes).expect("own file");
            prop_assert!(spool.read(record.content_id).expect("answers").is_none());
            prop_assert_eq!(spool.parked().expect("listed"), 1);
        }
    }
}
