//! `joulemark arm`: this build's engine, for the gate that started this process to drive and to time.
//!
//! Hidden, as nobody types it. It reads no configuration and ends with its input.

use std::io;

use runner::engine::candle::CandleEngine;
use runner::engine::child::serve_arm;

use crate::exit::{Exit, OrExit as _, Outcome};
use crate::output;

/// Serves until the gate goes.
pub(crate) fn run() -> Outcome {
    let mut engine = CandleEngine::new().or_infrastructure()?;
    serve_arm(&mut engine, io::stdin().lock(), output::pipe()).or_infrastructure()?;
    Ok(Exit::Fine)
}
