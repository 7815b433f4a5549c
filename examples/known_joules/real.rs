//! Runs in real time: the endpoint is a server behind HTTP, the counter is read by the sampler's
//! own threads.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use domain::scope::Scope;
use runner::clock::RealClock;
use runner::meter::Meter;
use runner::meter::scripted::ScriptedMeter;
use runner::sweep::Engines;

use crate::Outcome;
use crate::chain::{Bed, energy};
use crate::endpoint::{Costs, KnownJoules, Style};

/// Update periods whose loops take seconds, not minutes.
pub(crate) const PERIODS: [Duration; 3] = [
    Duration::from_millis(1),
    Duration::from_millis(20),
    Duration::from_millis(100),
];

const COSTS: Costs = Costs {
    prompt_token_seconds: 0.002,
    prompt_token_joules: 0.3,
    output_token_seconds: 0.008,
    output_token_joules: 0.84,
    idle_watts: 14.0,
};

pub(crate) fn run(bed: &mut Bed, period: Duration) -> Result<Outcome> {
    let server = KnownJoules::start(COSTS, Style::default(), period.as_secs_f64());
    let matrix = format!(
        r#"
quantisations = ["F16"]
[[models]]
path = "joulemark-reference-0.9m-f16.gguf"
[[workloads]]
id = "pp256-tg64"
prompt_tokens = 256
output_tokens = 64
[[engines]]
name = "known-joules"
kind = "openai"
url = "{}"
backend = "none"
[quality]
items = 0
[repetitions]
min = 6
max = 6
warmup_max = 3
min_seconds = 1.0
cool_seconds = 0.0
idle_unloaded_seconds = 2.0
idle_loaded_seconds = 2.0
"#,
        server.url
    );
    let ledger = Arc::clone(&server.ledger);
    let seconds = period.as_secs_f64();
    let meter = ScriptedMeter::counter(Scope::CpuPkg, move |_| {
        let shown = (ledger.now() / seconds).floor() * seconds;
        Ok((ledger.joules_at(shown) * 1e6) as u64)
    })
    .updating_every(period);
    let meters = vec![Box::new(meter) as Box<dyn Meter>];
    let record = bed.sweep(
        &matrix,
        Arc::new(RealClock::default()),
        meters,
        Engines::real(1),
    )?;
    Ok(Outcome::of(
        &energy(&record)?,
        COSTS.gross_prompt_token_joules(),
        COSTS.gross_output_token_joules(),
    ))
}
