//! Is the gate honest? What it says of no change, and of slow-downs that are known, on this machine.
//!
//! `examples/gate_campaign/run.sh` builds and runs these steps, two processes at a time, each with
//! what it measures held on a core of its own. Everything finished is kept in `--out` (default
//! `docs/gate`): interrupted, or run again with a greater number, it goes on where it stopped.
//!
//! - `aa-blocks`: records 200 blocks of an arm against itself, one slot about a second.
//! - `calibrate`: records 60 blocks each of an arm against one that computes every decode pass twice
//!   and against one that computes every 4th twice, which says what share of a token's time a pass is;
//!   and 120 blocks each of an arm against itself with one more argument that asks for no work.
//! - `live`: gates an arm against itself (30), against one that computes every 19th decode pass
//!   twice (+5 % of its time, 20) and every 48th (+2 %, 20), the first two with other programs loading
//!   the core at random times (6 each), and, with answers gated, against one that answers alike and
//!   one with a tensor rounded to 2 bits (3 each), in an order drawn beforehand.
//! - `report`: reads what was kept and prints docs/gate-honesty.md: re-randomised replays of the
//!   recorded blocks with and without a planted ratio, the live rates, and the rules of other tools on the same
//!   blocks. Live and replayed rates are never merged.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use clap::{Parser, ValueEnum};
use domain::gate::policy::Policy;
use runner::gate::arm::ArmSpec;

mod blocks;
mod burn;
mod live;
mod report;
mod rules;

use live::Lane;

/// What is measured: the smallest workload whose slot lasts about a second here.
const POLICY: &str = include_str!("policy.toml");

/// What a program is told that repeats no pass: as many characters as one that does, the same code.
const NEVER: &str = " --repeat-pass-every 4294967295";

/// Blocks of each calibration.
const CALIBRATION_BLOCKS: u32 = 60;

/// Blocks of each recording of an argument that asks for no work: what it does is small.
const ARGUMENT_BLOCKS: u32 = 120;

/// The campaign.
#[derive(Debug, Parser)]
struct Cli {
    /// What to do.
    #[arg(value_enum)]
    step: Step,
    /// Where everything is kept.
    #[arg(long, default_value = "docs/gate")]
    out: PathBuf,
    /// Folder of the reference models.
    #[arg(long, default_value = "reference-models")]
    models: PathBuf,
    /// Folder of the built examples.
    #[arg(long, default_value = "target/release/examples")]
    programs: PathBuf,
    /// Blocks to record of an arm against itself.
    #[arg(long, default_value_t = 200)]
    blocks: u32,
    /// Of the live gates and the calibrations this process runs each `lanes`-th, from this one on.
    #[arg(long, default_value_t = 0)]
    lane: usize,
    /// Processes that share them.
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    lanes: NonZeroUsize,
    /// Seconds after which `burn` ends.
    #[arg(long, default_value_t = 1.0, hide = true)]
    seconds: f64,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Records blocks of an arm against itself.
    AaBlocks,
    /// Records blocks of slow-downs that are great, and of arguments that do nothing.
    Calibrate,
    /// Gates with known truths.
    Live,
    /// Prints what it comes to.
    Report,
    /// Loads one core: the disturbance.
    #[value(hide = true)]
    Burn,
}

/// What every step needs.
struct Campaign {
    out: PathBuf,
    /// Name of the model: its file's, without the ending.
    model: String,
    weights: PathBuf,
    policy: Policy,
    programs: PathBuf,
    stop: Arc<AtomicBool>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let policy = Policy::parse("examples/gate_campaign/policy.toml", POLICY)?;
    let [pattern] = policy.models.as_slice() else {
        anyhow::bail!("failed to read the policy: one model is measured");
    };
    let weights = cli.models.join(pattern);
    std::fs::create_dir_all(&cli.out).context("failed to make the folder")?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_ctrl_c(&stop);
    let campaign = Campaign {
        out: cli.out,
        model: pattern.trim_end_matches(".gguf").to_owned(),
        weights,
        policy,
        programs: cli.programs,
        stop,
    };
    let lane = Lane {
        number: cli.lane,
        of: cli.lanes.get(),
    };
    if !matches!(cli.step, Step::Report | Step::Burn) {
        ensure!(
            campaign.weights.is_file(),
            "failed to find {}: name the folder with --models",
            campaign.weights.display()
        );
    }
    match cli.step {
        Step::AaBlocks => blocks::record(&campaign, &blocks::AA, cli.blocks),
        Step::Calibrate => {
            for (_, (_, recording)) in lane.of_these(&blocks::REPEATED) {
                blocks::record(&campaign, recording, CALIBRATION_BLOCKS)?;
            }
            for (_, (displaced, recording)) in lane.of_these(&blocks::ARGUMENTS) {
                if *displaced {
                    blocks::record(&campaign, recording, ARGUMENT_BLOCKS)?;
                }
            }
            Ok(())
        }
        Step::Live => live::run_all(&campaign, lane),
        Step::Report => report::print(&campaign),
        Step::Burn => burn::burn(cli.seconds),
    }
}

impl Campaign {
    /// An arm with these arguments. Each is the same program, so that they differ in what it is told and nothing else.
    fn arm(&self, arguments: &str) -> anyhow::Result<ArmSpec> {
        let program = std::path::absolute(self.programs.join("slowed_arm"))?;
        ensure!(
            program.is_file(),
            "failed to find {}: run cargo build --release --example slowed_arm",
            program.display()
        );
        let text = format!("candle:'{}'{arguments}", program.display());
        Ok(ArmSpec::parse(&text)?)
    }
}

/// The block or gate under way is given up, what was finished is kept.
fn stop_on_ctrl_c(stop: &Arc<AtomicBool>) {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime
            && runtime.block_on(tokio::signal::ctrl_c()).is_ok()
        {
            stop.store(true, Ordering::Relaxed);
        }
    });
}
