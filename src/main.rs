//! `joulemark`: measures local AI on this machine, serves what was measured, and says what to buy.
//!
//! The command line is wiring only. `cli` says what was typed, `config` what it means, one file
//! under `verbs` does each verb, `exit` turns errors into the one vocabulary of exit codes, and
//! `output` is the only place that writes to standard output.

mod cli;
mod config;
mod exit;
mod output;
mod progress;
mod telemetry;
mod threads;
mod verbs;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    telemetry::start(cli.verbose);
    match verbs::run(cli) {
        Ok(code) => code.into(),
        Err(failure) => {
            output::failure(&failure);
            failure.exit.into()
        }
    }
}
