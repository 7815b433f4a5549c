//! `joulemark man`: man pages, one per verb.

use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::exit::{Exit, OrExit as _, Outcome};
use crate::output;

/// Writes the pages into `dir`.
pub(crate) fn run(dir: &Path) -> Outcome {
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .with_context(|| format!("failed to write man pages into {}", dir.display()))
        .or_infrastructure()?;
    output::say(&format!("man pages are in {}", dir.display()));
    Ok(Exit::Fine)
}
