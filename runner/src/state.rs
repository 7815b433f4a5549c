//! How far a sweep is, on disc: so that it can be interrupted, killed and resumed.
//!
//! A cell is finished once its record is in the spool. The state names the record *before* it
//! is put there, so that a crash between the two neither loses nor repeats a cell: at the next
//! start the spool tells which of the two happened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use domain::ids::{ContentId, Sha256Digest};
use domain::record::Outcome;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::spool::Spool;

/// Why the state is unusable.
#[derive(Debug, Error)]
pub enum StateError {
    /// The file system refused.
    #[error("{doing} the sweep's state {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a state.
    #[error("read the sweep's state {path}: {what}; remove it, or sweep with --fresh")]
    Malformed {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A sweep under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepState {
    /// What is swept and how.
    pub matrix: Sha256Digest,
    /// The sweep's id.
    pub sweep: Sha256Digest,
    /// Cells whose record is in the spool.
    pub finished: Vec<FinishedCell>,
    /// A cell whose record was about to be put there.
    pub sealing: Option<FinishedCell>,
    /// Nothing is left to measure: the next sweep is a new one.
    pub complete: bool,
}

/// A finished cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinishedCell {
    /// The cell.
    pub cell: Sha256Digest,
    /// Its record.
    pub record: ContentId,
    /// How it ended.
    pub outcome: Outcome,
}

/// The state's file.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// The state as last written.
    pub state: SweepState,
}

impl StateFile {
    /// Continues the sweep of `path` if it is of the same matrix and not complete, else begins a
    /// new one with the id `new_sweep`. Nothing is written yet.
    pub fn resume_or_begin(
        path: &Path,
        matrix: Sha256Digest,
        new_sweep: Sha256Digest,
        fresh: bool,
        spool: &Spool,
    ) -> Result<Self, StateError> {
        let begun = SweepState {
            matrix,
            sweep: new_sweep,
            finished: Vec::new(),
            sealing: None,
            complete: false,
        };
        let found = if fresh { None } else { read(path)? };
        let mut state = found
            .filter(|state| state.matrix == matrix && !state.complete)
            .unwrap_or(begun);
        if let Some(cell) = state.sealing.take().filter(|cell| spool.holds(cell.record)) {
            state.finished.push(cell);
        }
        Ok(Self {
            path: path.to_owned(),
            state,
        })
    }

    /// Keys of the finished cells.
    pub fn finished(&self) -> Vec<Sha256Digest> {
        self.state
            .finished
            .iter()
            .map(|finished| finished.cell)
            .collect()
    }

    /// To be called before the record is put into the spool.
    pub fn sealing(&mut self, cell: FinishedCell) -> Result<(), StateError> {
        self.state.sealing = Some(cell);
        self.write()
    }

    /// To be called once it is there.
    pub fn sealed(&mut self) -> Result<(), StateError> {
        self.state.finished.extend(self.state.sealing.take());
        self.write()
    }

    /// Nothing is left.
    pub fn complete(&mut self) -> Result<(), StateError> {
        self.state.complete = true;
        self.write()
    }

    fn write(&self) -> Result<(), StateError> {
        let text = serde_json::to_vec_pretty(&self.state).expect("a state is JSON");
        write_atomically(&self.path, &text).map_err(|source| StateError::Io {
            doing: "write",
            path: self.path.clone(),
            source,
        })
    }
}

fn read(path: &Path) -> Result<Option<SweepState>, StateError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(StateError::Io {
                doing: "read",
                path: path.to_owned(),
                source,
            });
        }
    };
    let malformed = |error: serde_json::Error| StateError::Malformed {
        path: path.to_owned(),
        what: error.to_string(),
    };
    serde_json::from_slice(&text).map(Some).map_err(malformed)
}

/// Whoever reads the file finds the old or the new content, also after a power cut.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::tests::{sealed, spool};

    const MATRIX: Sha256Digest = Sha256Digest([1; 32]);

    fn open(path: &Path, spool: &Spool, new: u8) -> StateFile {
        StateFile::resume_or_begin(path, MATRIX, Sha256Digest([new; 32]), false, spool)
            .expect("readable")
    }

    #[test]
    fn a_crash_before_or_after_the_spool_neither_loses_nor_repeats_a_cell() {
        let (folder, spool) = spool();
        let path = folder.path().join("sweep.json");
        let record = sealed(b"{}");
        let cell = FinishedCell {
            cell: Sha256Digest([5; 32]),
            record: record.content_id,
            outcome: Outcome::Ok,
        };

        let mut state = open(&path, &spool, 7);
        state.sealing(cell.clone()).expect("written");
        drop(state);
        assert!(
            open(&path, &spool, 8).finished().is_empty(),
            "the record never reached the spool"
        );

        spool.put(&record).expect("stored");
        let mut resumed = open(&path, &spool, 9);
        assert_eq!(resumed.finished(), [cell.cell]);
        assert_eq!(
            resumed.state.sweep,
            Sha256Digest([7; 32]),
            "it is the same sweep"
        );
        resumed.complete().expect("written");
        assert_eq!(
            open(&path, &spool, 10).state.sweep,
            Sha256Digest([10; 32]),
            "the next one is new"
        );
    }

    #[test]
    fn another_matrix_or_a_fresh_start_is_another_sweep() {
        let (folder, spool) = spool();
        let path = folder.path().join("sweep.json");
        let mut state = open(&path, &spool, 1);
        state
            .sealing(FinishedCell {
                cell: MATRIX,
                record: sealed(b"1").content_id,
                outcome: Outcome::Oom,
            })
            .expect("written");
        let of = |matrix, fresh| {
            StateFile::resume_or_begin(&path, matrix, Sha256Digest([2; 32]), fresh, &spool)
                .expect("readable")
                .state
                .sweep
        };
        assert_eq!(of(MATRIX, false), Sha256Digest([1; 32]));
        assert_eq!(of(MATRIX, true), Sha256Digest([2; 32]));
        assert_eq!(of(Sha256Digest([9; 32]), false), Sha256Digest([2; 32]));
        fs::write(&path, "{").expect("own file");
        assert!(matches!(
            StateFile::resume_or_begin(&path, MATRIX, MATRIX, false, &spool),
            Err(StateError::Malformed { .. })
        ));
    }
}
