//! How long each takes until its speeds are known to 2 %.
//!
//! Ours stops by its rule: at least six repetitions, until the exact interval of both medians is narrow enough, at
//! most thirty. It is timed as a sweep repeats (2 s or 1,024 output tokens), and with repetitions of one request,
//! which is what a sample of llama-bench is. llama-bench has no such rule, so its repetitions are raised, 5, 10, 20,
//! 40 and so on, until its samples' interval, computed in the same way, is as narrow. A person who does that pays for
//! every try; somebody who knew the number before pays for the last one: both are shown.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use domain::ids::Sha256Digest;
use domain::matrix::{RepetitionSettings, WorkloadSpec};
use domain::speeds;
use domain::statistics::bootstrap::Resampler;
use domain::statistics::interval::median_interval;
use domain::statistics::median;

use crate::arms::{Arm, Who};
use crate::{Arguments, shuffled};

/// Half-width that ends a search, as a share of the median.
const TARGET: f64 = 0.02;
/// A search of llama-bench raises its repetitions no further after this long.
const LIMIT: Duration = Duration::from_mins(5);

/// One search.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// From nothing to the result, loading included.
    all_seconds: f64,
    /// Of that, what is left for who knows the effort before: the last try; for our rule, all but loading.
    last_seconds: f64,
    /// Repetitions of the last try.
    repetitions: usize,
    /// Half-widths of prefill and decode.
    widths: (f64, f64),
}

impl Found {
    fn is_narrow(&self) -> bool {
        self.widths.0 <= TARGET && self.widths.1 <= TARGET
    }
}

/// How one arm is searched.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// Repetitions as in a sweep.
    Sweep,
    /// Repetitions of one request.
    Single,
    /// Repetitions raised.
    Raised,
}

/// All searches, in random order, as a table.
pub(crate) fn table(
    arms: &mut [Arm],
    arguments: &Arguments,
    workload: &WorkloadSpec,
) -> Result<String> {
    let rules: Vec<(usize, Rule)> = arms
        .iter()
        .enumerate()
        .flat_map(|(index, arm)| {
            let rules: &[Rule] = match arm.who {
                Who::LlamaBench => &[Rule::Raised],
                Who::LlamaBenchBehind => &[],
                Who::Server | Who::Candle => &[Rule::Sweep, Rule::Single],
            };
            rules.iter().map(move |&rule| (index, rule))
        })
        .collect();
    let mut orders = Resampler::new(Sha256Digest::of(b"searches").0);
    let mut found: Vec<Vec<Found>> = vec![Vec::new(); rules.len()];
    for number in 0..arguments.searches {
        for place in shuffled(rules.len(), &mut orders) {
            let (index, rule) = rules[place];
            let arm = &mut arms[index];
            let search = match rule {
                Rule::Raised => raised(arm, workload)?,
                Rule::Sweep | Rule::Single => ruled(arm, rule, arguments, workload, number)?,
            };
            eprintln!("{}: searched for {:.1} s", arm.label(), search.all_seconds);
            found[place].push(search);
        }
    }

    let mut out = "| until both speeds are known to 2 % | seconds in all | without loading, or the last try alone | repetitions | half-widths of prefill, decode | reached |\n|---|---:|---:|---:|---:|---:|\n".to_owned();
    for ((index, rule), searches) in rules.iter().zip(&found) {
        let how = match rule {
            Rule::Sweep => "repetitions of 2 s or 1,024 tokens",
            Rule::Single => "repetitions of one request",
            Rule::Raised => "-r raised",
        };
        let middle =
            |value: fn(&Found) -> f64| median(&searches.iter().map(value).collect::<Vec<_>>());
        let (Some(all), Some(last), Some(repetitions), Some(prefill), Some(decode)) = (
            middle(|found| found.all_seconds),
            middle(|found| found.last_seconds),
            middle(|found| found.repetitions as f64),
            middle(|found| found.widths.0),
            middle(|found| found.widths.1),
        ) else {
            continue;
        };
        writeln!(
            out,
            "| {}, {how} | {all:.2} | {last:.2} | {repetitions:.0} | {:.1} %, {:.1} % | {} of {} |",
            arms[*index].label(),
            prefill * 100.0,
            decode * 100.0,
            searches.iter().filter(|found| found.is_narrow()).count(),
            searches.len()
        )?;
    }
    Ok(out)
}

/// Our stop rule.
fn ruled(
    arm: &mut Arm,
    rule: Rule,
    arguments: &Arguments,
    workload: &WorkloadSpec,
    number: usize,
) -> Result<Found> {
    let settings = RepetitionSettings {
        min_seconds: match rule {
            Rule::Single => 0.0,
            Rule::Sweep | Rule::Raised => 2.0,
        },
        or_output_tokens: Some(1_024),
        target_half_width_percent: TARGET * 100.0,
        ..RepetitionSettings::default()
    };
    let prompts = Sha256Digest::of(format!("search {}/{number}", arguments.seed).as_bytes());
    arm.unload();
    let began = Instant::now();
    arm.load(&arguments.model)?;
    let loaded = Instant::now();
    let repetitions = arm.time(workload, &settings, prompts)?;
    let (all_seconds, last_seconds) = (
        began.elapsed().as_secs_f64(),
        loaded.elapsed().as_secs_f64(),
    );
    let counted: Vec<_> = repetitions
        .iter()
        .filter(|repetition| !repetition.warmup && repetition.void.is_none())
        .collect();
    let width = |speed: fn(&domain::record::Repetition) -> Option<f64>| {
        half_width(
            &counted
                .iter()
                .filter_map(|one| speed(one))
                .collect::<Vec<_>>(),
        )
    };
    Ok(Found {
        all_seconds,
        last_seconds,
        repetitions: counted.len(),
        widths: (
            width(speeds::prefill_tokens_per_second),
            width(speeds::decode_tokens_per_second),
        ),
    })
}

/// llama-bench with repetitions raised until its interval is narrow enough.
fn raised(arm: &mut Arm, workload: &WorkloadSpec) -> Result<Found> {
    let began = Instant::now();
    let mut repetitions = 5;
    loop {
        let started = Instant::now();
        let (prefill, decode) = arm.own_times(workload, repetitions)?;
        let found = Found {
            all_seconds: began.elapsed().as_secs_f64(),
            last_seconds: started.elapsed().as_secs_f64(),
            repetitions: repetitions as usize,
            widths: (half_width(&prefill), half_width(&decode)),
        };
        if found.is_narrow() || began.elapsed() >= LIMIT {
            return Ok(found);
        }
        repetitions *= 2;
    }
}

/// Half-width of the median's interval as a share of it; infinite where there is no interval.
fn half_width(values: &[f64]) -> f64 {
    median_interval(values)
        .and_then(|interval| interval.relative_half_width())
        .unwrap_or(f64::INFINITY)
}
