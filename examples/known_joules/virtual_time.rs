//! Seeded runs in simulated time: costs, jitter of tokens and of the counter, all drawn from the
//! seed; the engine books what it uses on the timeline that the counter shows.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use domain::scope::Scope;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use runner::clock::{Clock as _, VirtualClock};
use runner::engine::scripted::{ScriptedEngine, Work};
use runner::meter::scripted::{PowerTimeline, Script};
use runner::sweep::Engines;

use crate::Outcome;
use crate::chain::{Bed, energy};
use crate::endpoint::Costs;

/// From powercap to a slow battery.
pub(crate) const PERIODS: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_millis(2_200),
];

const MATRIX: &str = r#"
quantisations = ["F16"]
[[models]]
path = "joulemark-reference-0.9m-f16.gguf"
[[workloads]]
id = "pp256-tg64"
prompt_tokens = 256
output_tokens = 64
[quality]
items = 0
[repetitions]
min = 6
max = 6
warmup_max = 3
cool_seconds = 0.0
"#;

/// Of the workload.
const PROMPT_TOKENS: f64 = 256.0;

/// Numbers of a seed.
struct Draws(ChaCha8Rng);

impl Draws {
    /// Evenly between the two.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * f64::from(self.0.next_u32()) / f64::from(u32::MAX)
    }

    /// Evenly by order of magnitude.
    fn about(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }
}

pub(crate) fn run(bed: &mut Bed, period: Duration, seed: u64) -> Result<Outcome> {
    let mut draws = Draws(ChaCha8Rng::seed_from_u64(seed));
    let mut costs = Costs {
        prompt_token_seconds: draws.about(0.000_2, 0.004),
        prompt_token_joules: 0.0,
        output_token_seconds: draws.about(0.004, 0.08),
        output_token_joules: 0.0,
        idle_watts: draws.about(4.0, 60.0),
    };
    // Decoding draws more than idling, processing prompts more than decoding.
    let decode_watts = costs.idle_watts * draws.between(1.3, 8.0);
    let prefill_watts = decode_watts * draws.between(0.9, 1.8);
    costs.prompt_token_joules = (prefill_watts - costs.idle_watts) * costs.prompt_token_seconds;
    costs.output_token_joules = (decode_watts - costs.idle_watts) * costs.output_token_seconds;

    let clock = Arc::new(VirtualClock::default());
    // Whatever the machine did before: the counter's ticks lie anywhere.
    clock.advance(Duration::from_micros(draws.between(0.0, 5e6) as u64));
    let timeline = PowerTimeline::idle(costs.idle_watts);
    let jitter_ns = (draws.between(0.0, 0.2) * period.as_nanos() as f64) as u64;
    let script = Script {
        jitter_ns,
        seed,
        ..Script::counter(Scope::CpuPkg, &timeline, period)
    };

    let (ticking, booked) = (Arc::clone(&clock), Arc::clone(&timeline));
    let engine = ScriptedEngine::new().works(move |work| {
        let (tokens, token_seconds, token_joules) = match work {
            Work::Load => (1.0, 0.3, 4.0),
            Work::Prefill(tokens) => (
                f64::from(tokens),
                costs.prompt_token_seconds,
                costs.gross_prompt_token_joules(),
            ),
            Work::Token => (
                1.0,
                costs.output_token_seconds,
                costs.gross_output_token_joules(),
            ),
        };
        // Tokens take longer or shorter, and use what they use.
        let seconds = tokens * token_seconds * draws.between(0.9, 1.1);
        let from_ns = ticking.now_ns();
        let until_ns = from_ns + (seconds * 1e9) as u64;
        booked.draw(
            from_ns,
            until_ns,
            tokens * token_joules / ((until_ns - from_ns) as f64 / 1e9),
        );
        ticking.advance(Duration::from_nanos(until_ns - from_ns));
    });
    let mut engine = Some(engine);
    let engines = Engines::opened_by(move |_| Ok(Box::new(engine.take().expect("opened once"))));
    let record = bed.sweep(MATRIX, clock, vec![script.meter()], engines)?;
    // The scripted engine makes a request's first token in a pass of its own; it belongs to prefill.
    let first = costs.gross_output_token_joules() / PROMPT_TOKENS;
    Ok(Outcome::of(
        &energy(&record)?,
        costs.gross_prompt_token_joules() + first,
        costs.gross_output_token_joules(),
    ))
}
