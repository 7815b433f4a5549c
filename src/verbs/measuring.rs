//! A sweep run for a verb: planned, shown, interruptible, submitted as it goes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use domain::ids::Sha256Digest;
use domain::matrix::{CellFilter, Matrix};
use domain::record::Audience;
use domain::text::Name;
use runner::engine::candle::threads;
use runner::keys::RunnerKey;
use runner::meter::Estimate;
use runner::spool::Spool;
use runner::submit::{DrainOptions, DrainReport, drain};
use runner::sweep::{Engines, Machine, SweepError, SweepEvent, SweepOptions, SweepReport};
use tokio::runtime::Handle;

use crate::cli::Measuring;
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::output;
use crate::progress::Progress;
use crate::verbs::interrupted;

/// Longest pause between two cells for a collector; what it does not take then is sent at the end.
const BETWEEN_CELLS: Duration = Duration::from_secs(10);

/// What a verb measures, and for whom.
#[derive(Debug)]
pub(crate) struct Job {
    /// The matrix.
    pub(crate) matrix: Matrix,
    /// What to pick out of it.
    pub(crate) filter: CellFilter,
    /// Forget an interrupted sweep.
    pub(crate) fresh: bool,
    /// Whom the records are for.
    pub(crate) audience: Audience,
}

/// Reads a matrix file.
pub(crate) fn read_matrix(path: &Path) -> Result<Matrix, Failure> {
    let text = std::fs::read_to_string(path)
        .with_context(|| {
            format!(
                "failed to read the matrix {}: name it with --matrix",
                path.display()
            )
        })
        .or_usage()?;
    Matrix::parse(&path.display().to_string(), &text).or_usage()
}

/// The options of a sweep, with this installation's key and spool.
pub(crate) fn options(
    config: &Config,
    measuring: &Measuring,
    job: Job,
) -> Result<SweepOptions, Failure> {
    config.make_data_folder()?;
    let key = RunnerKey::load_or_make(&config.key())
        .context("failed to get the signing key")
        .or_infrastructure()?;
    let spool = Spool::open(&config.spool())
        .context("failed to open the spool")
        .or_infrastructure()?;
    Ok(SweepOptions {
        suite_seed: job.matrix.quality.suite.public_seed(),
        matrix: job.matrix,
        filter: job.filter,
        models: config.models().to_owned(),
        data: config.data().to_owned(),
        meters: config.meters()?,
        spool: Arc::new(spool),
        key: Arc::new(key),
        audience: job.audience,
        catalogue: config.catalogue()?,
        estimate: estimate(measuring)?,
        fresh: job.fresh,
        stop: Arc::new(AtomicBool::new(false)),
    })
}

/// Where records go as they are measured.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    /// Address of the collector.
    pub(crate) url: String,
    /// Its id.
    pub(crate) audience: Sha256Digest,
}

/// Measures, on a thread of its own, and submits between two cells, so that sending and deriving
/// never run beside what is timed. What the collector did not take then is sent at the end, with
/// more patience. The second part of the answer is what became of the spool, if it was submitted.
///
/// The first interrupt stops between two requests; the second ends at once, and costs the cell
/// under way, which is measured again.
pub(crate) async fn run(
    options: SweepOptions,
    measuring: &Measuring,
    destination: Option<Destination>,
) -> Result<(SweepReport, Option<DrainReport>), Failure> {
    let stop = Arc::clone(&options.stop);
    let spool = Arc::clone(&options.spool);
    let mut progress = Progress::new(measuring.progress);
    let between = destination.clone();
    let runtime = Handle::current();
    let mut sweep = tokio::task::spawn_blocking(move || {
        let mut drained = DrainReport::default();
        let machine = Machine::here(&options.meters);
        let report = runner::sweep::run(&options, machine, engines(), &mut |event| {
            progress.tell(&event);
            if let (SweepEvent::CellFinished(_), Some(destination)) = (&event, &between) {
                let once = DrainOptions {
                    retries: 0,
                    timeout: BETWEEN_CELLS,
                    ..patience(destination)
                };
                let round = async {
                    tokio::time::timeout(
                        BETWEEN_CELLS,
                        drain(&options.spool, &destination.url, once),
                    )
                    .await
                };
                match runtime.block_on(round) {
                    Ok(Ok(round)) => add(&mut drained, round),
                    Ok(Err(error)) => tracing::warn!("submitting is put off: {error}"),
                    Err(_) => tracing::warn!("submitting is put off: the collector is slow"),
                }
            }
        });
        progress.end();
        report.map(|report| (report, drained)).map_err(failure)
    });
    let (report, mut drained) = loop {
        tokio::select! {
            ended = &mut sweep => break ended.context("the sweep ended in a panic").or_infrastructure()??,
            signalled = interrupted() => signalled?,
        }
        if stop.swap(true, Ordering::Relaxed) {
            return Err(interruption(
                "interrupted twice: the cell under way is dropped, what was finished is kept",
            ));
        }
        output::say("stopping after this request; what was finished is kept (again: at once)");
    };
    let Some(destination) = destination else {
        return Ok((report, None));
    };
    let mut patience = patience(&destination);
    if report.interrupted {
        patience.retries = 0;
    }
    let last = tokio::select! {
        last = drain(&spool, &destination.url, patience) => last,
        signalled = interrupted() => {
            signalled?;
            return Err(interruption("interrupted while submitting: what waits in the spool is kept"));
        }
    };
    let last = last
        .with_context(|| format!("failed to submit to {}", destination.url))
        .or_infrastructure()?;
    add(&mut drained, last);
    Ok((report, Some(drained)))
}

/// The engines of this machine; servers that are started compute with as many threads as our own
/// engine.
pub(crate) fn engines() -> Engines {
    Engines::real(u32::try_from(threads()).unwrap_or(1))
}

fn patience(destination: &Destination) -> DrainOptions {
    DrainOptions {
        audience: Some(destination.audience),
        ..DrainOptions::default()
    }
}

fn interruption(what: &'static str) -> Failure {
    Failure {
        exit: Exit::Interrupted,
        error: anyhow::anyhow!(what),
    }
}

/// Adds a later round: what was sent accumulates, what waits is what waits now.
fn add(total: &mut DrainReport, round: DrainReport) {
    total.accepted.extend(round.accepted);
    total.already.extend(round.already);
    total.refused.extend(round.refused);
    total.torn += round.torn;
    total.elsewhere = round.elsewhere;
    total.left = round.left;
    total.last_failure = round.last_failure;
}

/// The exit code of a finished sweep.
pub(crate) fn exit(report: &SweepReport) -> Exit {
    if report.interrupted {
        Exit::Interrupted
    } else if report.is_whole() {
        Exit::Fine
    } else {
        Exit::No
    }
}

/// The code that a sweep's error ends with.
pub(crate) fn failure(error: SweepError) -> Failure {
    let exit = match error {
        SweepError::Matrix(_)
        | SweepError::Filter(_)
        | SweepError::Models { .. }
        | SweepError::Machines(_) => Exit::Usage,
        SweepError::Spool(_)
        | SweepError::State(_)
        | SweepError::Data { .. }
        | SweepError::Randomness => Exit::Infrastructure,
    };
    Failure {
        exit,
        error: anyhow::Error::new(error).context("failed to sweep"),
    }
}

fn estimate(measuring: &Measuring) -> Result<Option<Estimate>, Failure> {
    let Some(watts) = measuring.estimate_watts else {
        return Ok(None);
    };
    if !(watts.is_finite() && watts > 0.0 && watts <= 5_000.0) {
        return Err(Failure {
            exit: Exit::Usage,
            error: anyhow::anyhow!(
                "--estimate-watts {watts}: a mean power above 0 and up to 5000 watts is needed"
            ),
        });
    }
    Ok(Some(Estimate {
        mean_mw: (watts * 1e3) as u64,
        basis: Name::cleaned("--estimate-watts, stated by the user"),
    }))
}
