//! How wrong is the chain from reading to joules per token? An endpoint "uses" a known number of
//! joules per prompt token and per output token; a scripted counter shows them as slowly as real
//! ones do; everything between, sealing included, is what a sweep runs.
//!
//! `cargo run --release --example known_joules` prints Markdown: seeded runs on a virtual clock for
//! each update period (`--runs`, 200), then runs in real time against a server over HTTP
//! (`--real`, 3 of each period that fits). `--out FILE` writes the table there as well.

mod chain;
#[path = "../../tests/harness/known_joules.rs"]
mod endpoint;
mod real;
mod virtual_time;

use std::fmt::Write as _;
use std::fs;
use std::io::{Write as _, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use domain::energy::phases::{Missing, PhaseEnergy, PhaseJoules};

use crate::chain::Bed;

#[derive(Debug, Parser)]
#[command(about = "States the error of joules per token against an endpoint that knows them")]
struct Arguments {
    /// Seeded runs on the virtual clock for each update period.
    #[arg(long, default_value_t = 200)]
    runs: u32,
    /// Runs in real time for each update period that fits.
    #[arg(long, default_value_t = 3)]
    real: u32,
    /// Where to write the table as well.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// One run's result against the truth, as shares.
#[derive(Debug, Clone)]
struct Outcome {
    method: &'static str,
    prefill: Result<Error, String>,
    decode: Result<Error, String>,
    closure: Option<f64>,
    total: Option<f64>,
}

/// Error of one figure.
#[derive(Debug, Clone, Copy)]
struct Error {
    /// Stated over true, less one.
    share: f64,
    /// The stated 95 % interval holds the truth.
    held: bool,
}

impl Outcome {
    fn of(energy: &PhaseEnergy, prompt_token: f64, output_token: f64) -> Self {
        let error = |stated: &Result<PhaseJoules, Missing>, truth: f64| match stated {
            Ok(figure) => {
                let share = figure.per_token().0 / truth - 1.0;
                Ok(Error {
                    share,
                    held: share.abs() <= figure.repeatability * figure.per_token().0 / truth,
                })
            }
            Err(missing) => Err(missing.words.clone()),
        };
        Self {
            method: match energy.method {
                domain::record::AttributionMethod::Direct => "direct",
                domain::record::AttributionMethod::Loops => "loops",
                domain::record::AttributionMethod::Regression => "regression",
            },
            prefill: error(&energy.prefill, prompt_token),
            decode: error(&energy.decode, output_token),
            closure: energy.closure.map(|closure| (closure.ratio - 1.0).abs()),
            total: energy.total.map(|total| total.share.abs()),
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut bed = Bed::new()?;
    let mut table = String::from(
        "| clock | update period | method | runs | prompt token, p95 error | output token, p95 error | interval holds the truth | real requests against the sum, p95 | phases and gaps against the total, p95 (worst) |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for period in virtual_time::PERIODS {
        let mut outcomes = Vec::new();
        for seed in 0..arguments.runs {
            outcomes.push(virtual_time::run(&mut bed, period, u64::from(seed))?);
        }
        row(&mut table, "virtual", period.as_secs_f64(), &outcomes)?;
        progress(&table)?;
    }
    for period in real::PERIODS {
        let mut outcomes = Vec::new();
        for _ in 0..arguments.real {
            outcomes.push(real::run(&mut bed, period)?);
        }
        if !outcomes.is_empty() {
            row(&mut table, "real, HTTP", period.as_secs_f64(), &outcomes)?;
            progress(&table)?;
        }
    }
    if let Some(file) = arguments.out {
        fs::write(file, table)?;
    }
    Ok(())
}

/// The last line at once: the whole takes minutes.
fn progress(table: &str) -> Result<()> {
    let lines: Vec<&str> = table.lines().collect();
    let from = if lines.len() == 3 { 0 } else { lines.len() - 1 };
    for line in &lines[from..] {
        writeln!(stdout(), "{line}")?;
    }
    Ok(())
}

fn row(table: &mut String, clock: &str, period: f64, outcomes: &[Outcome]) -> Result<()> {
    let errors = |of: fn(&Outcome) -> &Result<Error, String>| -> (Vec<f64>, usize, Vec<String>) {
        let found: Vec<&Error> = outcomes
            .iter()
            .filter_map(|one| of(one).as_ref().ok())
            .collect();
        let mut missing: Vec<String> = outcomes
            .iter()
            .filter_map(|one| of(one).as_ref().err().cloned())
            .collect();
        missing.sort();
        missing.dedup();
        let held = found.iter().filter(|error| error.held).count();
        (
            found.iter().map(|error| error.share.abs()).collect(),
            held,
            missing,
        )
    };
    let (prefill, prefill_held, prefill_missing) = errors(|one| &one.prefill);
    let (decode, decode_held, decode_missing) = errors(|one| &one.decode);
    let cell = |values: &[f64], missing: &[String]| {
        let mut text = p95(values).map_or_else(|| "none".to_owned(), percent);
        if !missing.is_empty() {
            let count = outcomes.len() - values.len();
            let _ = write!(text, "; {count} without: {}", missing.join(", "));
        }
        text
    };
    let mut methods: Vec<&str> = outcomes.iter().map(|one| one.method).collect();
    methods.sort_unstable();
    methods.dedup();
    let figures = prefill.len() + decode.len();
    let closures: Vec<f64> = outcomes.iter().filter_map(|one| one.closure).collect();
    let totals: Vec<f64> = outcomes.iter().filter_map(|one| one.total).collect();
    let worst = totals.iter().copied().fold(0.0, f64::max);
    let total = p95(&totals).map(|share| format!("{} ({})", percent(share), percent(worst)));
    writeln!(
        table,
        "| {clock} | {} ms | {} | {} | {} | {} | {} of {figures} | {} | {} |",
        period * 1e3,
        methods.join(", "),
        outcomes.len(),
        cell(&prefill, &prefill_missing),
        cell(&decode, &decode_missing),
        prefill_held + decode_held,
        p95(&closures).map_or_else(|| "none".to_owned(), percent),
        total.unwrap_or_else(|| "none".to_owned()),
    )?;
    Ok(())
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// The smallest value that 95 % do not exceed.
fn p95(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (0.95 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.checked_sub(1)?).copied()
}
