//! What a gate would do: cells, blocks, minutes, what could be detected.

use comfy_table::Table;
use comfy_table::presets::{ASCII_MARKDOWN, UTF8_BORDERS_ONLY};
use runner::gate::run::GatePlan;
use serde_json::{Value, json};

use super::share;
use crate::cli::gate::GateFormat;
use crate::progress::gate::plan_in_words;

/// For a person.
pub(crate) fn text(plan: &GatePlan, format: GateFormat) -> String {
    let mut lines = Vec::new();
    if !plan.detectable.is_empty() {
        let mut table = Table::new();
        table
            .load_style(if format == GateFormat::Md {
                ASCII_MARKDOWN
            } else {
                UTF8_BORDERS_ONLY
            })
            .set_header([
                "cell",
                "found with 90 % power",
                "tolerated",
                "spread known from",
            ]);
        for cell in &plan.detectable {
            let known = match cell.known_from_blocks {
                0 => "nothing: assumed".to_owned(),
                blocks => format!("{blocks} blocks"),
            };
            table.add_row([
                cell.label.clone(),
                found(cell.mde),
                share(cell.tolerance),
                known,
            ]);
        }
        lines.push(table.to_string());
    } else {
        for (cell, metrics) in &plan.cells {
            lines.push(format!("{cell}: {}", metrics.join(", ")));
        }
    }
    let slots: Vec<String> = plan
        .slot_seconds
        .iter()
        .map(|seconds| format!("{seconds:.1} s"))
        .collect();
    if !slots.is_empty() {
        lines.push(format!("a slot takes {}", slots.join(", ")));
    }
    lines.push(plan_in_words(plan));
    if let Some((needed, there)) = plan.items {
        lines.push(format!(
            "answers: the margin needs {needed} items, the suite is asked {there}"
        ));
    }
    lines.push(match &plan.refused {
        Some((exit, why)) => format!("would be refused (exit {exit}): {why}"),
        None => "would run; `joulemark aa` replaces an assumed spread by this machine's".to_owned(),
    });
    lines.join("\n")
}

/// What is found; a look that can reject nothing finds nothing.
fn found(mde: f64) -> String {
    if mde.is_finite() {
        share(mde)
    } else {
        "nothing".to_owned()
    }
}

/// For a program.
pub(crate) fn document(plan: &GatePlan) -> Value {
    json!({
        "cells": plan.cells.iter().map(|(cell, metrics)| json!({
            "cell": cell,
            "metrics": metrics,
        })).collect::<Vec<_>>(),
        "slot_seconds": plan.slot_seconds,
        "last_look": plan.last_look,
        "minutes": plan.minutes,
        "detectable": plan.detectable.iter().map(|cell| json!({
            "cell": cell.label,
            "mde": cell.mde,
            "tolerance": cell.tolerance,
            "known_from_blocks": cell.known_from_blocks,
        })).collect::<Vec<_>>(),
        "items_needed": plan.items.map(|(needed, _)| needed),
        "items": plan.items.map(|(_, there)| there),
        "refused": plan.refused.as_ref().map(|(exit, why)| json!({"exit": exit, "why": why})),
    })
}
