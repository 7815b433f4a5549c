//! `joulemark meter replay`: what a recorded trace comes to.

use anyhow::Context as _;
use domain::record::UnavailableReason;
use runner::meter::replay::{Check, KeyEnergy, Recording, Replay, ReplayedKey, ReplayedMeter};
use serde_json::{Value, json};

use super::watch::period;
use crate::cli::MeterReplay;
use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::output::Report;

/// Reads, works out, prints.
pub(crate) fn run(args: &MeterReplay) -> Outcome {
    let recording = Recording::read(&args.trace)
        .map_err(|error| anyhow::anyhow!("failed to {error}"))
        .or_usage()?;
    let (from, to) = (
        nanoseconds("--from", args.from)?,
        nanoseconds("--to", args.to)?,
    );
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        return usage("--from must be before --to");
    }
    let replay = Replay::of(&recording, from, to);
    report(&recording, &replay)
        .print(args.format)
        .context("failed to print the result")
        .or_infrastructure()?;
    Ok(if replay.gives_joules() {
        Exit::Fine
    } else {
        Exit::No
    })
}

fn nanoseconds(flag: &str, seconds: Option<f64>) -> Result<Option<u64>, Failure> {
    match seconds {
        None => Ok(None),
        Some(seconds) if (0.0..=1e9).contains(&seconds) => Ok(Some((seconds * 1e9) as u64)),
        Some(seconds) => usage(&format!("{flag} {seconds}: seconds from the trace's start")),
    }
}

fn usage<T>(what: &str) -> Result<T, Failure> {
    Err(Failure {
        exit: Exit::Usage,
        error: anyhow::anyhow!("{what}"),
    })
}

fn report(recording: &Recording, replay: &Replay) -> Report {
    let mut notes = Vec::new();
    for meter in &replay.meters {
        for fault in &meter.faults {
            notes.push(format!(
                "{}: {} from {} s to {} s",
                meter.facts.id,
                fault.reason.in_words(),
                seconds(fault.from_ns),
                seconds(fault.to_ns)
            ));
        }
        for (reason, count) in &meter.failures {
            notes.push(format!(
                "{}: {count} reads failed: {reason}",
                meter.facts.id
            ));
        }
    }
    notes.extend(replay.checks.iter().map(check_in_words));
    notes.extend(replay.keys.iter().map(key_in_words));
    if !replay.keys.iter().any(|key| key.is_headline) {
        notes.push("no key holds all that worked: no headline".to_owned());
    }
    notes.extend(recording.marks.iter().map(|mark| {
        let at = seconds(mark.t_ns);
        format!("mark at {at} s: {}", mark.mark)
    }));
    if let Some(line) = recording.torn {
        notes.push(format!(
            "line {line} is cut off and was left out: recording ended there"
        ));
    }
    Report {
        header: vec![
            "meter", "scope", "readings", "update", "span s", "joules", "mean W", "ticks", "reason",
        ],
        rows: replay.meters.iter().map(row).collect(),
        json: json!({
            "program": recording.header.program,
            "meters": replay.meters.iter().map(meter_json).collect::<Vec<_>>(),
            "keys": replay.keys.iter().map(key_json).collect::<Vec<_>>(),
            "headline": replay.keys.iter().find(|key| key.is_headline).map(|key| &key.scope),
            "checks": replay.checks.iter().map(check_json).collect::<Vec<_>>(),
            "marks": recording.marks,
            "torn_line": recording.torn,
        }),
        notes,
    }
}

fn row(meter: &ReplayedMeter) -> Vec<String> {
    let (from, to) = meter.span_ns;
    let mut row = vec![
        meter.facts.id.to_string(),
        meter.facts.scope.to_string(),
        meter.readings.to_string(),
        meter.seen_update_ns.map_or_else(|| "—".to_owned(), period),
        format!("{}–{}", seconds(from), seconds(to)),
    ];
    match (&meter.energy, meter.mean_watts()) {
        (Ok(energy), Some(watts)) => row.extend([
            format!("{:.3} ± {:.3}", energy.joules.0, energy.error.0),
            format!("{:.3}", watts.0),
            energy.ticks.to_string(),
            String::new(),
        ]),
        (energy, _) => {
            let why = energy.as_ref().err().map_or("", |why| why.in_words());
            row.extend(["—", "—", "—", why].map(str::to_owned));
        }
    }
    row
}

fn key_in_words(key: &ReplayedKey) -> String {
    let what = if key.is_headline {
        "the headline would be "
    } else {
        "beside it "
    };
    let joules = match &key.energy {
        Ok(KeyEnergy { joules, error, .. }) => format!("{:.3} ± {:.3} J", joules.0, error.0),
        Err(why) => why.in_words().to_owned(),
    };
    format!("{what}{} ({}): {joules}", key.scope, key.meters.join(" + "))
}

fn check_in_words(check: &Check) -> String {
    let ratio = match check.ratio {
        Ok(ratio) => format!("{ratio:.3} times"),
        Err(why) => format!("({}) against", why.in_words()),
    };
    let (counter, power) = (&check.counter, &check.power);
    format!(
        "{counter} counts {ratio} what {power} integrates to: {}",
        check.verdict()
    )
}

fn meter_json(meter: &ReplayedMeter) -> Value {
    let energy = meter.energy.as_ref().ok();
    json!({
        "meter": meter.facts,
        "readings": meter.readings,
        "failed_reads": meter.failures,
        "seen_update_ns": meter.seen_update_ns,
        "from_ns": meter.span_ns.0,
        "to_ns": meter.span_ns.1,
        "energy_joules": energy.map(|energy| energy.joules.0),
        "error_joules": energy.map(|energy| energy.error.0),
        "ticks": energy.map(|energy| energy.ticks),
        "mean_watts": meter.mean_watts().map(|watts| watts.0),
        "unavailable": meter.energy.as_ref().err(),
        "faults": meter.faults.iter().map(|fault| json!({
            "from_ns": fault.from_ns,
            "to_ns": fault.to_ns,
            "reason": fault.reason,
        })).collect::<Vec<_>>(),
    })
}

fn key_json(key: &ReplayedKey) -> Value {
    json!({
        "scope": key.scope,
        "meters": key.meters,
        "is_headline": key.is_headline,
        "energy_joules": key.energy.ok().map(|energy| energy.joules.0),
        "error_joules": key.energy.ok().map(|energy| energy.error.0),
        "ticks": key.energy.ok().map(|energy| energy.ticks),
        "unavailable": key.energy.err(),
    })
}

fn check_json(check: &Check) -> Value {
    json!({
        "counter": check.counter,
        "power": check.power,
        "ratio": check.ratio.ok(),
        "unavailable": check.ratio.err().map(UnavailableReason::in_words),
        "verdict": check.verdict(),
    })
}

fn seconds(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1e9)
}
