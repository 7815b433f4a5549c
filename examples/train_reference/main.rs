//! Trains, evaluates and exports the reference models.
//!
//! `cargo run --release --example train_reference -- train --size s --minutes 12 --out
//! /tmp/reference` trains one of the three sizes on the training part of the suite `reference-v1`,
//! on the CPU, and writes the model as GGUF, its learning curve as CSV and a checkpoint that
//! `--resume` goes on from.
//! Training is background work: start it under `nice`.

mod checkpoint;
mod data;
mod evaluate;
mod export;
mod model;
mod ops;
mod optimiser;
mod parallel;
mod train;

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use domain::statistics::proportion::clopper_pearson;
use domain::suite::reference::LEVELS;
use domain::suite::{Family, Suite};

use crate::evaluate::{Tally, grade};
use crate::model::Size;
use crate::train::{Length, Plan, Start};

#[derive(Debug, Parser)]
#[command(about = "Trains, evaluates and exports the reference models")]
struct Arguments {
    /// Set by the program itself when it starts again under [`SETTINGS`].
    #[arg(long, hide = true)]
    settled: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Train a model from random weights, or go on from its checkpoint.
    #[command(group(ArgGroup::new("length").required(true).args(["minutes", "steps"])))]
    Train {
        /// Which model: one, two or four layers.
        #[arg(long)]
        size: Size,
        /// Train for this long; the learning rate follows the clock.
        #[arg(long)]
        minutes: Option<f64>,
        /// Train for so many steps; the learning rate follows the steps.
        #[arg(long)]
        steps: Option<u64>,
        /// Parts that a step's items are worked on in.
        #[arg(long, default_value_t = 8)]
        parts: usize,
        /// Highest learning rate, as a share of the optimiser's own.
        #[arg(long, default_value_t = 0.4)]
        peak: f64,
        /// Seed of the weights and the batches.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Threads.
        #[arg(long, default_value_t = 2)]
        workers: usize,
        /// Steps between rows of the learning curve.
        #[arg(long, default_value_t = 100)]
        curve_every: u64,
        /// Folder for the checkpoint, the curve and the model.
        #[arg(long)]
        out: PathBuf,
        /// Start from the checkpoint of a shallower model, whose size goes before it: `s=FILE`.
        #[arg(long, value_parser = shallower, conflicts_with = "resume")]
        grow_from: Option<(Size, PathBuf)>,
        /// Go on from the checkpoint in the folder.
        #[arg(long)]
        resume: bool,
    },
    /// Grade a GGUF file that this program wrote, on the published items, and print a table in
    /// Markdown.
    Evaluate {
        /// The GGUF file.
        model: PathBuf,
        /// How many items.
        #[arg(long, default_value_t = 4200)]
        items: u32,
        /// Also write every item and whether its answer was right, to check against other engines.
        #[arg(long)]
        list: Option<PathBuf>,
        /// Threads.
        #[arg(long, default_value_t = 2)]
        workers: usize,
    },
    /// Write the model of a checkpoint as GGUF.
    Export {
        /// Which model the checkpoint holds.
        #[arg(long)]
        size: Size,
        /// The checkpoint.
        checkpoint: PathBuf,
        /// The GGUF file to write.
        to: PathBuf,
    },
}

/// What must be set before the first allocation or matrix product: one thread per product, since
/// batches are already spread over threads, and memory that is kept rather than returned to the
/// system after every tensor.
const SETTINGS: [(&str, &str); 4] = [
    ("RAYON_NUM_THREADS", "1"),
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "33554432"),
    ("MALLOC_TRIM_THRESHOLD_", "17179869184"),
];

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if !arguments.settled {
        let program = std::env::current_exe().context("find this program's own file")?;
        let status = Command::new(program)
            .arg("--settled")
            .args(std::env::args_os().skip(1))
            .envs(SETTINGS)
            .status()?;
        return Ok(if status.success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    match arguments.action {
        Action::Train {
            size,
            minutes,
            steps,
            parts,
            peak,
            seed,
            workers,
            curve_every,
            out,
            grow_from,
            resume,
        } => {
            let length = match (steps, minutes) {
                (Some(steps), _) => Length::Steps(steps),
                (None, minutes) => Length::Minutes(minutes.expect("clap demands one of the two")),
            };
            let start = match grow_from {
                _ if resume => Start::Resume,
                Some((size, checkpoint)) => Start::Grow { size, checkpoint },
                None => Start::Random,
            };
            let plan = Plan {
                size,
                length,
                parts,
                peak,
                seed,
                workers,
                curve_every,
                folder: out,
                start,
            };
            let file = train::train(&plan)?;
            writeln!(stdout(), "{}", file.display())?;
        }
        Action::Evaluate {
            model,
            items,
            list,
            workers,
        } => evaluate(&model, items, list.as_deref(), workers)?,
        Action::Export {
            size,
            checkpoint,
            to,
        } => {
            let (model, _, progress) = checkpoint::load(&checkpoint, size.layers())?;
            export::write(&to, &model, size)?;
            writeln!(stdout(), "{} after {} steps", to.display(), progress.step)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shallower(text: &str) -> Result<(Size, PathBuf), String> {
    let (size, file) = text
        .split_once('=')
        .ok_or("give the size and the checkpoint as s=FILE")?;
    Ok((Size::from_str(size, true)?, PathBuf::from(file)))
}

fn evaluate(file: &Path, items: u32, list: Option<&Path>, workers: usize) -> Result<()> {
    let graded = grade(
        &export::read(file)?,
        &Suite::ReferenceV1.public_seed(),
        items,
        workers,
    )?;
    if let Some(list) = list {
        let mut writer = csv::Writer::from_path(list)
            .with_context(|| format!("write the list of items {}", list.display()))?;
        writer.write_record(["item", "prompt", "answer", "right"])?;
        for (item, right) in &graded {
            let (id, right) = (item.id.to_string(), right.to_string());
            writer.write_record([&id, &item.prompt, &item.answer, &right])?;
        }
        writer.flush()?;
    }
    let mut out = stdout().lock();
    writeln!(
        out,
        "| task | right | items | accuracy | 95 % interval | level 1 | level 2 | level 3 |"
    )?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|---:|---:|")?;
    let mut row = |name: &str, tally: Tally, levels: [Tally; LEVELS as usize]| {
        let (low, high) = clopper_pearson(tally.right, tally.items, 0.95);
        let levels = levels.map(|level| percent(level.share())).join(" | ");
        writeln!(
            out,
            "| {name} | {} | {} | {} | {} to {} | {levels} |",
            tally.right,
            tally.items,
            percent(tally.share()),
            percent(low),
            percent(high),
        )
    };
    for family in Family::REFERENCE {
        let levels = [1, 2, 3].map(|level| Tally::of_level(&graded, family, level));
        row(family.name(), Tally::of_family(&graded, family), levels)?;
    }
    let levels =
        [1, 2, 3].map(|level| Tally::of(graded.iter().filter(|(item, _)| item.id.level == level)));
    row("all", Tally::of(&graded), levels)?;
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
