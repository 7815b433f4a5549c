//! `joulemark sweep`: measures a matrix on this machine.

use domain::matrix::{CellFilter, QualitySettings};
use domain::record::Audience;
use domain::statistics::interval::MedianInterval;
use domain::statistics::planner::{DISCORDANT_UNKNOWN, POWER, smallest_difference};
use runner::plan::Plan;
use runner::sweep::{CellSummary, Machine, SweepReport, plan_sweep};
use serde_json::{Value, json};

use crate::cli::Sweep;
use crate::config::Config;
use crate::exit::{Exit, OrExit as _, Outcome};
use crate::output::Report;
use crate::progress::{minutes, plan_in_words};
use crate::verbs::measuring::{self, Destination, Job};
use crate::verbs::submit;

/// Plans, and unless it is a dry run measures.
pub(crate) async fn run(args: Sweep, config: Config) -> Outcome {
    let matrix = measuring::read_matrix(&args.matrix)?;
    let destination = match args.collector.filter(|_| !args.dry_run) {
        None => None,
        Some(url) => {
            let audience = submit::id_of(&url).await?;
            Some(Destination { url, audience })
        }
    };
    // Records that are not yet meant for a collector may be sent to any.
    let audience = destination
        .as_ref()
        .map_or(Audience::Any, |there| Audience::Collector(there.audience));
    let filter = CellFilter {
        models: args.model,
        quantisations: args.quant,
        pruning: args.prune,
        engines: args.engine,
        workloads: args.workload,
    };
    let job = Job {
        matrix,
        filter,
        fresh: args.fresh,
        audience,
    };
    let options = measuring::options(&config, &args.measuring, job)?;
    if args.dry_run {
        let plan = plan_sweep(
            &options,
            &Machine::here(&options.meters),
            &mut measuring::engines(),
        )
        .map_err(measuring::failure)?;
        plan_report(&plan, &options.matrix.quality)
            .print(args.format)
            .or_infrastructure()?;
        return Ok(Exit::Fine);
    }
    let (report, drained) = measuring::run(options, &args.measuring, destination).await?;
    sweep_report(&report)
        .print(args.format)
        .or_infrastructure()?;
    let submitted = drained.as_ref().map_or(Exit::Fine, submit::tell);
    Ok(match measuring::exit(&report) {
        Exit::Fine => submitted,
        other => other,
    })
}

fn plan_report(plan: &Plan, quality: &QualitySettings) -> Report {
    let planned = plan.cells.iter().map(|cell| {
        vec![
            cell.cell.label(),
            minutes(cell.seconds),
            format!("{}", cell.memory_bytes >> 20),
            String::new(),
        ]
    });
    let skipped = plan.skipped.iter().map(|skipped| {
        vec![
            skipped.cell.label(),
            String::new(),
            String::new(),
            format!("skipped: {}", skipped.reason),
        ]
    });
    Report {
        header: vec!["cell", "about", "memory MB", "note"],
        rows: planned.chain(skipped).collect(),
        json: json!({
            "cells": plan.cells.iter().map(|cell| json!({
                "cell": cell.cell.label(),
                "seconds": cell.seconds,
                "memory_bytes": cell.memory_bytes,
            })).collect::<Vec<_>>(),
            "skipped": plan.skipped.iter().map(|skipped| json!({
                "cell": skipped.cell.label(),
                "reason": skipped.reason,
            })).collect::<Vec<_>>(),
            "finished_before": plan.finished,
            "seconds": plan.seconds(),
            "memory_bytes": plan.memory_bytes(),
            "suite": quality.suite,
            "items": quality.items,
            "thinking_tokens": quality.thinking_tokens,
            "smallest_difference": smallest_difference(quality.items, DISCORDANT_UNKNOWN, POWER),
        }),
        notes: vec![plan_in_words(plan), quality_in_words(quality)],
    }
}

/// What is asked of every cell.
fn quality_in_words(quality: &QualitySettings) -> String {
    let QualitySettings {
        suite,
        items,
        thinking_tokens,
        fidelity: _,
    } = quality;
    if *items == 0 {
        return "No quality is measured: [quality] items = 0.".to_owned();
    }
    let thinking = if *thinking_tokens > 0 {
        format!(", each with {thinking_tokens} tokens to think")
    } else {
        String::new()
    };
    format!(
        "Quality: {items} items of {suite} for every cell{thinking}; {}.",
        told_in_words(*items)
    )
}

/// Which differences so many items show.
fn told_in_words(items: u32) -> String {
    let points = smallest_difference(items, DISCORDANT_UNKNOWN, POWER);
    let power = 100.0 * POWER;
    match points {
        Some(points) => format!(
            "{items} items tell differences of {:.0} points or more apart ({power:.0} % power)",
            (100.0 * points).ceil()
        ),
        None => format!("{items} items are too few to tell any difference ({power:.0} % power)"),
    }
}

fn sweep_report(report: &SweepReport) -> Report {
    let recorded = report.recorded.iter().map(|cell| {
        let outcome = cell
            .outcome_class
            .clone()
            .unwrap_or_else(|| "measured".to_owned());
        let quality = cell.answers.map_or_else(String::new, |tally| {
            format!("{}/{}", tally.right, tally.items)
        });
        vec![
            cell.label.clone(),
            quality,
            rate(cell.decode),
            rate(cell.prefill),
            outcome,
        ]
    });
    let without =
        |label: String, why: String| vec![label, String::new(), String::new(), String::new(), why];
    let lost = report
        .lost
        .iter()
        .map(|(label, why)| without(label.clone(), format!("lost: {why}")));
    let skipped = report
        .skipped
        .iter()
        .map(|s| without(s.cell.label(), format!("skipped: {}", s.reason)));
    Report {
        header: vec!["cell", "right", "decode tok/s", "prefill tok/s", "outcome"],
        rows: recorded.chain(lost).chain(skipped).collect(),
        json: json!({
            "sweep": report.sweep,
            "finished_before": report.finished_before.len(),
            "interrupted": report.interrupted,
            "cells": report.recorded.iter().map(cell_json).collect::<Vec<_>>(),
            "lost": report.lost.iter().map(|(cell, reason)| json!({"cell": cell, "reason": reason})).collect::<Vec<_>>(),
            "skipped": report.skipped.iter().map(|skipped| json!({
                "cell": skipped.cell.label(),
                "reason": skipped.reason,
            })).collect::<Vec<_>>(),
        }),
        notes: vec![
            "Published numbers are the collector's: it derives them again from the signed samples."
                .to_owned(),
        ],
    }
}

fn rate(interval: Option<MedianInterval>) -> String {
    interval.map_or_else(String::new, |i| {
        format!("{:.0} ({:.0}–{:.0}, n = {})", i.median, i.low, i.high, i.n)
    })
}

fn cell_json(cell: &CellSummary) -> Value {
    json!({
        "cell": cell.label,
        "content_id": cell.content_id,
        "outcome": cell.outcome,
        "outcome_class": cell.outcome_class,
        "correct": cell.answers.map(|tally| tally.right),
        "items": cell.answers.map(|tally| tally.items),
        "unextractable": cell.answers.map(|tally| tally.unextractable),
        "decode_tokens_per_second": cell.decode.map(|i| i.median),
        "prefill_tokens_per_second": cell.prefill.map(|i| i.median),
        "seconds": cell.seconds,
    })
}
