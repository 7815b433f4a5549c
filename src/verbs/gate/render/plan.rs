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
    let mut tables = String::new();
    if plan.detectable.is_empty() {
        for (cell, metrics) in &plan.cells {
            lines.push(format!("{cell}: {}", metrics.join(", ")));
        }
    } else {
        tables = format!("{}\n", detectable(plan, format));
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
        Some((exit, why)) => format!("it would be refused (exit {exit}): {why}"),
        None => "it would run".to_owned(),
    });
    if plan
        .detectable
        .iter()
        .any(|cell| cell.known_from_blocks == 0)
    {
        lines.push("how much blocks spread is assumed: `joulemark aa` measures it here".to_owned());
    }
    if format == GateFormat::Md {
        // A line behind a table is a row of it, and lines behind each other are one.
        tables.push('\n');
        lines = lines.into_iter().map(|line| format!("- {line}")).collect();
    }
    tables + &lines.join("\n")
}

/// What could be found, by cell and metric.
fn detectable(plan: &GatePlan, format: GateFormat) -> Table {
    let mut table = Table::new();
    let style = match format {
        GateFormat::Md => ASCII_MARKDOWN,
        GateFormat::Human | GateFormat::Json => UTF8_BORDERS_ONLY,
    };
    table.load_style(style).set_header([
        "cell",
        "least effect found (90 % power)",
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
    table
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

#[cfg(test)]
mod tests {
    use runner::gate::run::Detectable;

    use super::*;

    #[test]
    fn a_plan_is_a_table_and_sentences_that_do_not_run_into_it() {
        let mut plan = GatePlan {
            cells: vec![("sh".to_owned(), vec!["time".to_owned()])],
            slot_seconds: vec![0.3],
            last_look: 48,
            minutes: 1.0,
            detectable: vec![Detectable {
                label: "sh time".to_owned(),
                mde: 0.013,
                tolerance: 0.02,
                known_from_blocks: 0,
            }],
            items: None,
            refused: None,
        };
        let comment = text(&plan, GateFormat::Md);
        let behind = comment.rsplit_once('|').expect("a table").1;
        assert!(
            behind.starts_with("\n\n- a slot takes 0.3 s\n- 1 cell, up to"),
            "{comment}"
        );
        let said = text(&plan, GateFormat::Human);
        assert!(said.ends_with("`joulemark aa` measures it here"), "{said}");
        plan.detectable[0].known_from_blocks = 32;
        let said = text(&plan, GateFormat::Human);
        assert!(said.ends_with("it would run"), "{said}");
    }
}
