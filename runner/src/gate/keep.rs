//! What outlives a crash: the seed before the first slot, and every block once it is finished.
//!
//! A gate keeps a folder, `gates/<when it started>-<its seed's first digits>`, and one more with a
//! number behind it each time that it is gone on with; each with the files
//! `seed`, `record.json` (the record without what follows) and `blocks.jsonl`: a line when a stage
//! begins, one for each finished block, one when a metric is lost, and a last one when the gate ends.
//! Every write is synced before the next slot starts. [`recover`] makes a record of them again: the
//! gate's own where it ended, else as of a gate that a person stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use domain::gate::record::{Block, Failure, GateRecord, Stage, StageKind, UnavailableMetric};
use serde::{Deserialize, Serialize};

use super::run::GateError;

const SEED: &str = "seed";
const RECORD: &str = "record.json";
const BLOCKS: &str = "blocks.jsonl";

/// The folder of one gate.
#[derive(Debug)]
pub(super) struct Keep {
    folder: PathBuf,
    blocks: File,
}

/// One line of [`BLOCKS`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Line {
    /// A stage begins, or goes on; without its blocks.
    Stage(Stage),
    /// A block of that stage is finished.
    Block(StageKind, Block),
    /// A metric of the cell at this place cannot be measured any more.
    Lost(u32, UnavailableMetric),
    /// The gate ended, and nothing follows.
    Ended(End),
}

/// How a gate ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    ended_ms: u64,
    failure: Option<Failure>,
    interrupted: bool,
}

impl Keep {
    /// Makes the folder below `data` and writes the seed and the record as it stands before the
    /// first slot.
    pub(super) fn begin(data: &Path, record: &GateRecord) -> Result<Self, GateError> {
        let seed = record.seed.to_string();
        let folder = new_folder(
            &data.join("gates"),
            &format!("{}-{}", record.started_ms, &seed[..8]),
        )?;
        write(&folder.join(SEED), seed.as_bytes())?;
        let head = serde_json::to_vec(record).expect("records are JSON");
        write(&folder.join(RECORD), &head)?;
        let path = folder.join(BLOCKS);
        let blocks = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(fault(&path))?;
        // The names of the files, too: without them there is nothing to find after a power cut.
        for made in [&folder, &data.join("gates")] {
            File::open(made)
                .and_then(|folder| folder.sync_all())
                .map_err(fault(made))?;
        }
        Ok(Self { folder, blocks })
    }

    /// Writes the record's head again, with what was learned before the first block.
    pub(super) fn head(&self, record: &GateRecord) -> Result<(), GateError> {
        let next = self.folder.join("record.json.next");
        write(
            &next,
            &serde_json::to_vec(record).expect("records are JSON"),
        )?;
        let path = self.folder.join(RECORD);
        fs::rename(&next, &path).map_err(fault(&path))
    }

    /// Where things of this gate lie.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Notes that a stage begins.
    pub(super) fn stage(&mut self, stage: &Stage) -> Result<(), GateError> {
        self.line(&Line::Stage(Stage {
            blocks: Vec::new(),
            ..stage.clone()
        }))
    }

    /// Notes that a metric of the cell at this place was lost.
    pub(super) fn lost(&mut self, at: u32, lack: &UnavailableMetric) -> Result<(), GateError> {
        self.line(&Line::Lost(at, lack.clone()))
    }

    /// Notes a finished block.
    pub(super) fn block(&mut self, stage: StageKind, block: &Block) -> Result<(), GateError> {
        self.line(&Line::Block(stage, block.clone()))
    }

    /// Notes how the gate ended: what failed does not come back as what was merely stopped.
    pub(super) fn end(&mut self, record: &GateRecord) -> Result<(), GateError> {
        self.line(&Line::Ended(End {
            ended_ms: record.ended_ms,
            failure: record.failure.clone(),
            interrupted: record.interrupted,
        }))
    }

    fn line(&mut self, line: &Line) -> Result<(), GateError> {
        let mut text = serde_json::to_string(line).expect("blocks are JSON");
        text.push('\n');
        self.blocks
            .write_all(text.as_bytes())
            .and_then(|()| self.blocks.sync_data())
            .map_err(fault(&self.folder.join(BLOCKS)))
    }
}

/// The record of a gate, from its folder. Of one that did not come to its end every finished block, as
/// if a person had stopped it after the last of them. A last line that was not finished is left out.
pub fn recover(folder: &Path) -> Result<GateRecord, GateError> {
    let path = folder.join(RECORD);
    let head = fs::read(&path).map_err(fault(&path))?;
    let mut record: GateRecord = serde_json::from_slice(&head).map_err(torn(&path))?;
    let path = folder.join(BLOCKS);
    let text = fs::read_to_string(&path).map_err(fault(&path))?;
    let mut end = None;
    for line in text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
    {
        match serde_json::from_str(line).map_err(torn(&path))? {
            Line::Stage(begun) => match record.stages.iter_mut().find(|s| s.kind == begun.kind) {
                Some(known) => {
                    known.binary_sha256 = begun.binary_sha256;
                    known.unavailable = begun.unavailable;
                }
                None => record.stages.push(begun),
            },
            Line::Block(kind, block) => {
                let stage = record.stages.iter_mut().find(|s| s.kind == kind);
                let stage =
                    stage.ok_or_else(|| torn_by(&path, "a block comes before its stage"))?;
                stage.blocks.push(block);
            }
            Line::Lost(at, lack) => {
                let cell = record.cells.get_mut(at as usize);
                let cell =
                    cell.ok_or_else(|| torn_by(&path, "it names a cell that is not there"))?;
                cell.unavailable.push(lack);
            }
            Line::Ended(how) => end = Some(how),
        }
    }
    let end = end.unwrap_or_else(|| End {
        ended_ms: record.started_ms + last_slot_ms(&record),
        failure: None,
        interrupted: true,
    });
    record.ended_ms = end.ended_ms;
    record.failure = end.failure;
    record.interrupted = end.interrupted;
    Ok(record)
}

/// Milliseconds from a gate's start to the end of its last slot.
fn last_slot_ms(record: &GateRecord) -> u64 {
    let blocks = record.stages.iter().flat_map(|stage| &stage.blocks);
    let ends = blocks
        .flat_map(|block| &block.slots)
        .map(|slot| slot.end_ns);
    ends.max().unwrap_or(0) / 1_000_000
}

/// A folder that nothing was kept in before: the parts of one gate start at one time by one seed.
fn new_folder(gates: &Path, name: &str) -> Result<PathBuf, GateError> {
    fs::create_dir_all(gates).map_err(fault(gates))?;
    let mut folder = gates.join(name);
    let mut part = 1;
    loop {
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => part += 1,
            made => return made.map_err(fault(&folder)).map(|()| folder),
        }
        folder = gates.join(format!("{name}-{part}"));
    }
}

/// Writes a file so that it survives a power cut.
fn write(path: &Path, bytes: &[u8]) -> Result<(), GateError> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(fault(path))
}

fn fault(path: &Path) -> impl FnOnce(io::Error) -> GateError {
    let path = path.to_owned();
    move |source| GateError::Keep { path, source }
}

fn torn(path: &Path) -> impl FnOnce(serde_json::Error) -> GateError {
    let path = path.to_owned();
    move |error| torn_by(&path, &error.to_string())
}

fn torn_by(path: &Path, what: &str) -> GateError {
    GateError::Keep {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, what.to_owned()),
    }
}
