//! `joulemark completions`: a shell's completion script.

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::exit::{Exit, OrExit as _, Outcome};
use crate::output;

/// Prints the script for `shell`.
pub(crate) fn run(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "joulemark", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end()).or_infrastructure()?;
    Ok(Exit::Fine)
}
