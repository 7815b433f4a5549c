//! One verb per file.

mod arm;
mod completions;
mod doctor;
mod gate;
mod import;
mod key;
mod man;
mod measuring;
mod meter;
mod quickstart;
mod serve;
mod service;
mod submit;
mod sweep;
mod variant;

use crate::cli::{Cli, Quickstart, Sweep, Verb};
use crate::config::Config;
use crate::exit::{Failure, OrExit as _, Outcome};
use crate::threads;

/// Does what was typed.
pub(crate) fn run(cli: Cli) -> Outcome {
    if let Verb::Quickstart(Quickstart { measuring, .. }) | Verb::Sweep(Sweep { measuring, .. }) =
        &cli.verb
    {
        threads::settle(measuring.threads.map(usize::from))?;
    }
    let config = || Config::resolve(cli.folders);
    match cli.verb {
        Verb::Quickstart(args) => asynchronous(quickstart::run(args, config()?)),
        Verb::Serve(args) => asynchronous(serve::run(args, config()?)),
        Verb::Sweep(args) => asynchronous(sweep::run(args, config()?)),
        Verb::Doctor(args) => asynchronous(doctor::run(args, config()?)),
        Verb::Meter(verb) => asynchronous(meter::run(verb, config()?)),
        Verb::Import(args) => asynchronous(import::run(args, config()?)),
        Verb::Gate(args) => asynchronous(gate::gate(*args, config()?)),
        Verb::Compare(args) => asynchronous(gate::compare(*args, config()?)),
        Verb::Aa(args) => asynchronous(gate::aa(*args, config()?)),
        Verb::Submit(args) => asynchronous(submit::run(args, config()?)),
        Verb::Key(args) => key::run(&args, &config()?),
        Verb::Variant(args) => variant::run(args, &config()?),
        Verb::Arm => arm::run(),
        Verb::Completions { shell } => completions::run(shell),
        Verb::Man { dir } => man::run(&dir),
    }
}

fn asynchronous(verb: impl Future<Output = Outcome>) -> Outcome {
    // Two workers: serving and submitting must not take cores from what is measured.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .or_infrastructure()?;
    let outcome = runtime.block_on(verb);
    // A measurement that was interrupted twice is not waited for, nor are the servers it started.
    runner::engine::children::stop_all();
    runtime.shutdown_background();
    outcome
}

/// Resolves on Ctrl-C, SIGTERM, or when the terminal goes.
async fn interrupted() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).or_infrastructure()?;
    let mut terminate = signal(SignalKind::terminate()).or_infrastructure()?;
    let mut hang_up = signal(SignalKind::hangup()).or_infrastructure()?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}
