//! A gate run for a verb: built, planned, measured on a thread of its own, interruptible, sealed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use domain::gate::record::GateRecord;
use domain::gate::verdict::{Judgement, judge};
use domain::ids::ContentId;
use domain::record::Audience;
use runner::gate::run::{self, GateError, GatePlan};
use runner::gate::slot::SlotError;
use runner::keys::RunnerKey;
use runner::seal::{Sealed, seal_gate};
use runner::spool::Spool;
use runner::submit::{DrainOptions, drain};

use super::options::{Here, Wanted};
use crate::cli;
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::output;
use crate::progress::gate::GateProgress;
use crate::verbs::{interrupted, submit};

/// A record and what it comes to.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) record: GateRecord,
    pub(super) judgement: Judgement,
    /// Sealed, or why it could not be: the judgement stands either way.
    pub(super) sealed: Result<Sealed, Failure>,
}

impl Measured {
    /// The envelope's bytes, where there is one.
    pub(super) fn envelope(&self) -> Option<&[u8]> {
        self.sealed.as_ref().ok().map(|sealed| &sealed.bytes[..])
    }

    /// The envelope's name, where there is one.
    pub(super) fn content_id(&self) -> Option<ContentId> {
        self.sealed.as_ref().ok().map(|sealed| sealed.content_id)
    }
}

/// Key and outbox, opened before anything is measured.
#[derive(Debug)]
pub(super) struct Kept {
    key: RunnerKey,
    spool: Spool,
}

impl Kept {
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        config.make_data_folder()?;
        Ok(Self {
            key: RunnerKey::load_or_make(&config.key())
                .context("failed to get the signing key")
                .or_infrastructure()?,
            spool: Spool::open(&config.spool())
                .context("failed to open the spool")
                .or_infrastructure()?,
        })
    }

    /// Judges a record and seals it. Nothing is written yet.
    pub(super) fn judge(&self, record: GateRecord) -> Result<Measured, Failure> {
        let judgement = judge(&record)
            .context("failed to judge what was measured")
            .or_infrastructure()?;
        let sealed = seal_gate(&record, &self.key)
            .context("failed to seal what was measured")
            .or_infrastructure();
        Ok(Measured {
            record,
            judgement,
            sealed,
        })
    }

    /// Puts what was sealed into the outbox.
    pub(super) fn put(&self, sealed: &Sealed) -> Result<(), Failure> {
        self.spool
            .put(sealed)
            .context("failed to keep the result in the spool")
            .or_infrastructure()
    }

    /// Sends what the outbox holds, if a collector was named. An interrupt ends it, and loses nothing.
    pub(super) async fn send(
        &self,
        collector: Option<&str>,
        audience: Audience,
    ) -> Result<(), Failure> {
        let Some(url) = collector else {
            return Ok(());
        };
        let options = DrainOptions {
            audience: match audience {
                Audience::Collector(id) => Some(id),
                Audience::Any => None,
            },
            ..DrainOptions::default()
        };
        let drained = tokio::select! {
            drained = drain(&self.spool, url, options) => drained,
            signalled = interrupted() => {
                signalled?;
                return Err(Failure {
                    exit: Exit::Interrupted,
                    error: anyhow::anyhow!(
                        "interrupted while submitting to {url}: the result is kept, and `joulemark \
                         submit --collector {url}` sends it"
                    ),
                });
            }
        };
        let drained = drained
            .with_context(|| format!("failed to submit to {url}; the result is kept"))
            .or_infrastructure()?;
        match submit::tell(&drained) {
            Exit::Fine => Ok(()),
            // A collector that refuses a record says nothing of what was measured.
            _ => Err(Failure {
                exit: Exit::Infrastructure,
                error: anyhow::anyhow!("{url} did not take all that was sent; it is kept"),
            }),
        }
    }
}

/// Whom a record is for.
pub(super) async fn audience(collector: Option<&str>) -> Result<Audience, Failure> {
    match collector {
        Some(url) => Ok(Audience::Collector(submit::id_of(url).await?)),
        None => Ok(Audience::Any),
    }
}

/// What a gate would do.
pub(super) async fn plan(
    wanted: Wanted,
    config: &Config,
    progress: cli::Progress,
) -> Result<GatePlan, Failure> {
    config.make_data_folder()?;
    let gates = config.data().join("gates");
    let config = config.clone();
    stoppable(&gates, progress, move |stop, progress| {
        let here = Here::look(&config, wanted.asked.setup.as_deref())?;
        let prepared = wanted.prepare(&config, &here, stop, progress)?;
        run::plan(&prepared.options, &here.machine).map_err(failed)
    })
    .await
}

/// Runs one gate.
pub(super) async fn record(
    wanted: Wanted,
    config: &Config,
    progress: cli::Progress,
) -> Result<GateRecord, Failure> {
    let gates = config.data().join("gates");
    let config = config.clone();
    stoppable(&gates, progress, move |stop, progress| {
        let here = Here::look(&config, wanted.asked.setup.as_deref())?;
        let prepared = wanted.prepare(&config, &here, stop, progress)?;
        run::run(&prepared.options, here.machine, &mut |event| {
            progress.tell(&event);
        })
        .map_err(failed)
    })
    .await
}

/// Works on a thread of its own. The first interrupt sets the flag, after which the work ends with
/// what it has; the second ends at once, and costs the block under way. Blocks are kept in `gates`.
pub(super) async fn stoppable<T: Send + 'static>(
    gates: &Path,
    progress: cli::Progress,
    work: impl FnOnce(&Arc<AtomicBool>, &mut GateProgress) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let heeded = Arc::clone(&stop);
    let mut progress = GateProgress::new(progress);
    let mut work = tokio::task::spawn_blocking(move || {
        let done = work(&heeded, &mut progress);
        progress.end();
        done
    });
    loop {
        tokio::select! {
            ended = &mut work => {
                return ended.context("the gate ended in a panic").or_infrastructure()?;
            }
            signalled = interrupted() => signalled?,
        }
        if stop.swap(true, Ordering::Relaxed) {
            return Err(Failure {
                exit: Exit::Interrupted,
                error: anyhow::anyhow!(
                    "interrupted twice: the block under way is dropped; finished blocks are in the \
                     newest folder of {}, from which `joulemark gate --continue FOLDER` goes on",
                    gates.display()
                ),
            });
        }
        output::say("stopping after this block; finished blocks are kept (again: at once)");
    }
}

/// The code that a gate's error ends with.
pub(super) fn failed(error: GateError) -> Failure {
    let exit = match &error {
        GateError::Refused { exit, .. } => Exit::of_gate(*exit),
        GateError::Slot(SlotError::Interrupted) => Exit::Interrupted,
        GateError::Keep { .. }
        | GateError::Randomness
        | GateError::Machine(_)
        | GateError::Slot(SlotError::Failed { .. } | SlotError::Together { .. })
        | GateError::Judge(_) => Exit::Infrastructure,
    };
    let what = match &error {
        GateError::Refused { .. } => "refused before measuring",
        _ => "failed to gate",
    };
    Failure {
        exit,
        error: anyhow::Error::new(error).context(what),
    }
}
