//! One run of the whole chain: a sweep of one cell, sealed, opened again, and attributed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use domain::energy::ScopeMeters;
use domain::energy::phases::{PhaseEnergy, attribute};
use domain::envelope;
use domain::hardware::Catalogue;
use domain::matrix::{CellFilter, Matrix};
use domain::record::{Audience, PAYLOAD_TYPE, Record};
use domain::suite::Suite;
use runner::clock::Clock;
use runner::context::ContextReader;
use runner::host;
use runner::keys::RunnerKey;
use runner::meter::wall::MetersFile;
use runner::meter::{Meter, Meters};
use runner::spool::Spool;
use runner::sweep::{Engines, Machine, SweepOptions};
use tempfile::TempDir;

/// Folders and key that runs share.
pub(crate) struct Bed {
    folder: TempDir,
    models: PathBuf,
    key: Arc<RunnerKey>,
    runs: u32,
}

impl Bed {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let key = Arc::new(RunnerKey::load_or_make(&folder.path().join("key.pem"))?);
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference-models");
        Ok(Self {
            folder,
            models,
            key,
            runs: 0,
        })
    }

    /// Sweeps a matrix of one cell on this clock, with these meters alone.
    pub(crate) fn sweep(
        &mut self,
        matrix: &str,
        clock: Arc<dyn Clock>,
        meters: Vec<Box<dyn Meter>>,
        engines: Engines,
    ) -> Result<Record> {
        self.runs += 1;
        let root = self.folder.path();
        let nowhere = root.join("nowhere");
        let options = SweepOptions {
            matrix: Matrix::parse("known_joules", matrix)?,
            filter: CellFilter::default(),
            models: self.models.clone(),
            data: root.join("data"),
            meters: MetersFile::default(),
            spool: Arc::new(Spool::open(&root.join(format!("spool-{}", self.runs)))?),
            key: Arc::clone(&self.key),
            audience: Audience::Any,
            catalogue: Catalogue::default(),
            suite_seed: Suite::ReferenceV1.public_seed(),
            estimate: None,
            fresh: true,
            stop: Arc::default(),
        };
        // A machine without counters, heat or load of its own: what is metered is the script.
        let mut survey = host::survey(&nowhere);
        survey.host.gpus.clear();
        let machine = Machine {
            context: ContextReader::new(&nowhere, 2),
            clock,
            meters: Meters {
                meters,
                refused: Vec::new(),
                unavailable: None,
            },
            available_bytes: None,
            is_probed: false,
            survey,
        };
        let report = runner::sweep::run(&options, machine, engines, &mut |_| ())?;
        if let Some((label, reason)) = report.lost.first() {
            bail!("{label} was lost: {reason}");
        }
        let id = options.spool.pending()?;
        let id = id.first().context("the sweep left no record")?;
        let stored = options.spool.read(*id)?.context("the record is torn")?;
        let opened = envelope::open(&stored.bytes)?;
        let verified = opened.verify::<Record>(&options.key.public(), PAYLOAD_TYPE)?;
        Ok(verified.value().clone())
    }
}

/// What the collector would derive.
pub(crate) fn energy(record: &Record) -> Result<PhaseEnergy> {
    let meters = ScopeMeters::of(record)
        .map_err(|reason| anyhow::anyhow!("no joules: {}", reason.in_words()))?;
    Ok(attribute(record, &meters))
}
