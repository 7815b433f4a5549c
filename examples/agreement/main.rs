//! The same weights through llama-bench, a llama.cpp server and candle, alternating: how far do they agree?
//!
//! `cargo run --release --example agreement` prints Markdown: speeds of each in both views, ratios of what belongs
//! together, and how long each takes until its speeds are known to 2 %. llama-bench is found on PATH or named with
//! `--llama-bench`; the server is the one that `.ci/engines` installs, or the command that `--server` gives. What is
//! not there is left out and said. `docs/agreement.md` explains the method and what the ratios mean.

mod arms;
mod search;
mod tables;

use std::io::{Write as _, stdout};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use domain::ids::Sha256Digest;
use domain::matrix::WorkloadSpec;
use domain::statistics::bootstrap::Resampler;
use domain::statistics::interval::MIN_VALUES;
use runner::context::ContextReader;
use runner::engine::candle::{THREADS_VARIABLES, threads};

use crate::arms::{Arm, Slot};

#[derive(Debug, Parser)]
#[command(about = "Compares llama-bench, a llama.cpp server and candle on one weights file")]
struct Arguments {
    /// Weights that all of them load.
    #[arg(
        long,
        default_value = "reference-models/joulemark-reference-0.9m-f16.gguf"
    )]
    model: PathBuf,
    /// The program; found on PATH when it is a bare name.
    #[arg(long, default_value = "llama-bench")]
    llama_bench: String,
    /// Command that starts a llama.cpp server, with {weights}, {port}, {threads}, {streams} and {context}.
    #[arg(long)]
    server: Option<String>,
    /// Threads that each computes with [default: all cores but one].
    #[arg(long)]
    threads: Option<u32>,
    /// Rounds, in each of which every engine has one slot.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Seconds of one slot.
    #[arg(long, default_value_t = 1.0)]
    slot_seconds: f64,
    /// Prompt tokens of a request.
    #[arg(long, default_value_t = 512)]
    prompt_tokens: u32,
    /// Output tokens of a request.
    #[arg(long, default_value_t = 128)]
    output_tokens: u32,
    /// How often each is timed until its speeds are known; 0 leaves that part out.
    #[arg(long, default_value_t = 3)]
    searches: usize,
    /// Seed of prompts and orders.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let arguments = Arguments::parse();
    ensure!(
        arguments.rounds >= MIN_VALUES,
        "--rounds {} is too few: {MIN_VALUES} make an interval",
        arguments.rounds
    );
    let threads = settle(arguments.threads)?;
    let workload = WorkloadSpec::simple(
        format!(
            "pp{}-tg{}",
            arguments.prompt_tokens, arguments.output_tokens
        )
        .parse()?,
        arguments.prompt_tokens,
        arguments.output_tokens,
    );
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let context = ContextReader::new(Path::new("/"), cores);
    let loads = || context.read(0).load_ppm.map(|ppm| ppm as f64 / 1e6);
    let load_before = loads();

    let (mut arms, absent) = arms::all(&arguments, &workload, threads)?;
    for arm in &mut arms {
        arm.load(&arguments.model)
            .with_context(|| format!("failed to load the weights into {}", arm.label()))?;
    }
    let machine = tables::machine(threads, &arguments.model, &arms)?;
    let (rounds, void) = rounds(&mut arms, &arguments, &workload)?;
    let speeds = tables::speeds(&arms, &rounds);
    let ratios = tables::ratios(&arms, &rounds);
    let searches = if arguments.searches == 0 {
        String::new()
    } else {
        search::table(&mut arms, &arguments, &workload)?
    };

    let mut out = stdout().lock();
    writeln!(out, "{machine}")?;
    for reason in absent {
        writeln!(out, "- Left out: {reason}.")?;
    }
    writeln!(
        out,
        "- {} rounds in random order, slots of {} s, {} requests; {void} rounds left out because a slot was void.",
        rounds.len(),
        arguments.slot_seconds,
        workload.id
    )?;
    if let (Some(before), Some(after)) = (load_before, loads()) {
        writeln!(
            out,
            "- Load average per core: {before:.2} before, {after:.2} after (the measuring itself included)."
        )?;
    }
    writeln!(out, "\n{speeds}\n{ratios}\n{searches}")?;
    Ok(())
}

/// Every arm once per round, in a new order each time. A round with a void slot is left out as a whole, since its
/// other slots have nothing to be paired with.
fn rounds(
    arms: &mut [Arm],
    arguments: &Arguments,
    workload: &WorkloadSpec,
) -> Result<(Vec<Vec<Slot>>, usize)> {
    let mut orders = Resampler::new(Sha256Digest::of(&arguments.seed.to_le_bytes()).0);
    let mut rounds = Vec::new();
    let mut void = 0;
    for number in 0..arguments.rounds {
        let prompts = Sha256Digest::of(format!("{}/{number}", arguments.seed).as_bytes());
        let mut slots = vec![None; arms.len()];
        for index in shuffled(arms.len(), &mut orders) {
            slots[index] = arms[index].slot(workload, prompts, arguments.slot_seconds)?;
        }
        match slots.into_iter().collect::<Option<Vec<Slot>>>() {
            Some(slots) => rounds.push(slots),
            None => void += 1,
        }
        eprintln!("round {} of {}", number + 1, arguments.rounds);
    }
    ensure!(
        rounds.len() >= MIN_VALUES,
        "only {} rounds without a void slot: {MIN_VALUES} make an interval",
        rounds.len()
    );
    Ok((rounds, void))
}

/// The numbers below `n` in random order.
fn shuffled(n: usize, draws: &mut Resampler) -> Vec<usize> {
    let mut order: Vec<_> = (0..n).collect();
    for last in (1..n).rev() {
        order.swap(last, draws.index(last + 1));
    }
    order
}

/// candle reads its number of threads from the environment, so the program starts itself anew with the right one.
fn settle(asked: Option<u32>) -> Result<u32> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    let wanted = asked.unwrap_or(cores.saturating_sub(1)).max(1);
    if threads() == wanted as usize {
        return Ok(wanted);
    }
    let mut anew = Command::new(std::env::current_exe()?);
    anew.args(std::env::args_os().skip(1));
    for variable in THREADS_VARIABLES {
        anew.env(variable, wanted.to_string());
    }
    bail!(
        "failed to start anew with {wanted} threads: {}",
        anew.exec()
    )
}
