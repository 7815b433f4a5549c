//! A gate run for a verb: built, planned, measured on a thread of its own, interruptible, sealed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use domain::gate::record::GateRecord;
use domain::gate::verdict::{Judgement, judge};
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

/// A result that is kept.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) record: GateRecord,
    pub(super) judgement: Judgement,
    pub(super) sealed: Sealed,
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

    /// Judges, seals and puts a record into the outbox.
    pub(super) fn put(&self, record: GateRecord) -> Result<Measured, Failure> {
        let judgement = judge(&record)
            .context("failed to judge what was measured")
            .or_infrastructure()?;
        let sealed = seal_gate(&record, &self.key).context("failed to seal what was measured");
        let kept = sealed.and_then(|sealed| {
            let kept = self.spool.put(&sealed);
            kept.context("failed to keep the result in the spool")?;
            Ok(sealed)
        });
        let sealed = kept.map_err(|error| unkept(&judgement, error))?;
        Ok(Measured {
            record,
            judgement,
            sealed,
        })
    }

    /// Sends what the outbox holds, if a collector was named; else says what does.
    pub(super) async fn send(
        &self,
        collector: Option<&str>,
        audience: Audience,
    ) -> Result<Exit, Failure> {
        let Some(url) = collector else {
            return Ok(Exit::Fine);
        };
        let options = DrainOptions {
            audience: match audience {
                Audience::Collector(id) => Some(id),
                Audience::Any => None,
            },
            ..DrainOptions::default()
        };
        let drained = drain(&self.spool, url, options)
            .await
            .with_context(|| format!("failed to submit to {url}; the result is kept"))
            .or_infrastructure()?;
        Ok(submit::tell(&drained))
    }
}

/// A result that could not be kept, with what it came to: a disk that is full makes no regression
/// undone.
fn unkept(judgement: &Judgement, error: anyhow::Error) -> Failure {
    let exit = match Exit::of_gate(judgement.exit_code) {
        Exit::No => Exit::No,
        _ => Exit::Infrastructure,
    };
    let came_to = format!("{}; the result could not be kept", judgement.headline);
    Failure {
        exit,
        error: error.context(came_to),
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
    let config = config.clone();
    stoppable(progress, move |stop, progress| {
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
    let config = config.clone();
    stoppable(progress, move |stop, progress| {
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
/// what it has; the second ends at once, and costs the block under way.
pub(super) async fn stoppable<T: Send + 'static>(
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
                     gates folder of the data folder"
                ),
            });
        }
        output::say("stopping after this block; finished blocks are kept (again: at once)");
    }
}

/// Writes a sealed result where it was asked for.
pub(super) fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(file, bytes)
        .with_context(|| format!("failed to write {}", file.display()))
        .or_infrastructure()
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

#[cfg(test)]
mod tests {
    use domain::gate::Metric;
    use domain::gate::fixtures::Example;

    use super::*;

    #[test]
    fn a_regression_that_could_not_be_kept_is_one() {
        let lost = |effect: f64, confirmation: u32| {
            let example = Example {
                confirmation,
                block_sd: 0.003,
                ..Example::of("mini", "pp1-tg1", &[(Metric::Decode, effect)])
            };
            let judgement = judge(&example.record()).expect("no contradiction");
            let failure = unkept(&judgement, anyhow::anyhow!("the disk is full"));
            let said = format!("{:#}", failure.error);
            assert!(said.contains(&judgement.headline) && said.contains("the disk is full"));
            failure.exit
        };
        assert_eq!(lost(0.05, 16), Exit::No);
        assert_eq!(lost(0.0, 0), Exit::Infrastructure);
    }
}
