//! How many threads the engine computes with.
//!
//! By default one core stays free, for the system and for our own collector: candle's threads
//! wait for each other by spinning, so a single one that loses its core to another process stalls
//! them all (with both of two cores busy, decode fell from 1,800 to 40 tok/s). The number stands
//! in every record, and other numbers are other cells.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;
use runner::engine::candle::{THREADS_VARIABLES, threads};

use crate::exit::{Exit, Failure, OrExit as _};

/// Makes the engine compute with `asked` threads, or with all cores but one.
///
/// candle reads the number from the environment, which a running program cannot change safely.
/// So where it is not what is wanted, the program starts itself anew, in its own place.
pub(crate) fn settle(asked: Option<usize>) -> Result<(), Failure> {
    let wanted = wanted(asked);
    if threads() == wanted {
        return Ok(());
    }
    let program = std::env::current_exe()
        .context("failed to find this program's file")
        .or_infrastructure()?;
    let mut anew = Command::new(program);
    anew.args(std::env::args_os().skip(1));
    for variable in THREADS_VARIABLES {
        anew.env(variable, wanted.to_string());
    }
    Err(Failure {
        exit: Exit::Infrastructure,
        error: anyhow::Error::new(anew.exec())
            .context("failed to start anew with another number of threads"),
    })
}

/// What an engine gets: what was asked for, or all cores but one.
pub(crate) fn wanted(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(all_but_one)
}

fn all_but_one() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.saturating_sub(1).max(1)
}
