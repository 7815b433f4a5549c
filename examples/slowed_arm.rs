//! An arm that is slower by a known amount of real work, to see whether a gate finds it.
//!
//! `joulemark gate --base 'candle:PROGRAM' --candidate 'candle:slowed_arm --repeat-pass-every 20'`
//! compares a build with one whose decode takes exactly 1 + 1/20 passes per token.
//! Its answers are the same, bit for bit.

use std::io;
use std::num::NonZeroU32;

use anyhow::Result;
use clap::{Parser, Subcommand};
use runner::engine::candle::{Burden, CandleEngine};
use runner::engine::child::serve_arm;

/// What was typed.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve the slowed engine on standard input and output, as `joulemark arm` does its own.
    Arm {
        /// Compute every k-th decode pass twice.
        #[arg(long, value_name = "K")]
        repeat_pass_every: Option<NonZeroU32>,
        /// Process every k-th prompt twice.
        #[arg(long, value_name = "K")]
        repeat_prompt_every: Option<NonZeroU32>,
        /// Read so many bytes of memory once more for every token.
        #[arg(long, value_name = "BYTES", default_value_t = 0)]
        read_bytes_per_token: usize,
    },
}

fn main() -> Result<()> {
    let Verb::Arm {
        repeat_pass_every,
        repeat_prompt_every,
        read_bytes_per_token,
    } = Cli::parse().verb;
    let mut engine = CandleEngine::new()?.burdened(Burden {
        repeat_pass_every,
        repeat_prompt_every,
        read_bytes_per_token,
    });
    serve_arm(&mut engine, io::stdin().lock(), io::stdout().lock())?;
    Ok(())
}
