//! How far a sweep is, on standard error: a bar on a terminal, one plain line per cell and phase
//! elsewhere, or JSON lines.
//!
//! Nothing is drawn while a repetition is timed: the runner reports between them, and the bar
//! has no clock of its own.

use std::io::IsTerminal as _;

use domain::record::{Outcome, PhaseKind};
use domain::statistics::interval::MedianInterval;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use runner::measure;
use runner::plan::Plan;
use runner::sweep::{CellSummary, SweepEvent};
use serde_json::json;

use crate::cli;
use crate::output::say;

pub(crate) mod gate;

/// Tells of a sweep's events.
#[derive(Debug)]
pub(crate) struct Progress {
    style: Style,
}

#[derive(Debug)]
enum Style {
    Bar(ProgressBar),
    Lines { last: Option<Shown> },
    Json,
    Never,
}

/// A line that stands for a while: the phase, and how many quarters of it are done.
type Shown = (PhaseKind, u32);

impl Progress {
    /// The style that was asked for, or that fits where standard error goes.
    pub(crate) fn new(asked: cli::Progress) -> Self {
        let style = match asked {
            cli::Progress::Never => Style::Never,
            cli::Progress::Json => Style::Json,
            cli::Progress::Auto if std::io::stderr().is_terminal() => {
                let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
                bar.set_style(
                    ProgressStyle::with_template("{prefix:>9} {bar:24} {wide_msg}")
                        .expect("the template is right")
                        .progress_chars("━━╌"),
                );
                Style::Bar(bar)
            }
            cli::Progress::Auto => Style::Lines { last: None },
        };
        Self { style }
    }

    /// Tells of one event.
    pub(crate) fn tell(&mut self, event: &SweepEvent) {
        match &mut self.style {
            Style::Never => {}
            Style::Json => say(&json_line(event)),
            Style::Lines { last } => tell_line(last, event),
            Style::Bar(bar) => tell_bar(bar, event),
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }
}

/// `12 cells, about 6 min, 140 MB of memory`.
pub(crate) fn plan_in_words(plan: &Plan) -> String {
    let mut words = vec![format!(
        "{} cells, about {}, {} MB of memory",
        plan.cells.len(),
        minutes(plan.seconds()),
        plan.memory_bytes() >> 20,
    )];
    if plan.finished > 0 {
        words.push(format!(
            "{} measured before the interruption",
            plan.finished
        ));
    }
    if !plan.skipped.is_empty() {
        words.push(format!("{} skipped", plan.skipped.len()));
    }
    words.join("; ")
}

/// A rounded duration.
pub(crate) fn minutes(seconds: f64) -> String {
    if seconds < 90.0 {
        format!("{seconds:.0} s")
    } else {
        format!("{:.0} min", seconds / 60.0)
    }
}

/// What a cell came to, in one line.
fn summary_in_words(cell: &CellSummary) -> String {
    if cell.outcome != Outcome::Ok {
        let class = cell.outcome_class.as_deref().unwrap_or("no reason given");
        return format!("{}: failed ({class}); published as failed", cell.label);
    }
    let mut words = Vec::new();
    if let Some(answers) = cell.answers {
        words.push(format!("{} of {} right", answers.right, answers.items));
        if answers.unextractable > 0 {
            words.push(format!("{} without an answer", answers.unextractable));
        }
    }
    if let Some(decode) = cell.decode {
        words.push(format!("decode {} tok/s", rate(decode)));
    }
    if let Some(prefill) = cell.prefill {
        words.push(format!("prefill {} tok/s", rate(prefill)));
    }
    words.push(format!("{:.0} s", cell.seconds));
    format!("{}: {}", cell.label, words.join(", "))
}

fn rate(interval: MedianInterval) -> String {
    format!(
        "{:.0} ({:.0}–{:.0})",
        interval.median, interval.low, interval.high
    )
}

fn phase_in_words(phase: PhaseKind) -> &'static str {
    match phase {
        PhaseKind::Load => "loading",
        PhaseKind::Warmup => "warm-up",
        PhaseKind::MixedLoop => "repetition",
        PhaseKind::PrefillLoop => "prefill loop",
        PhaseKind::DecodeLoop => "decode loop",
        PhaseKind::Quality => "item",
        PhaseKind::IdleUnloaded | PhaseKind::IdleLoaded => "idle",
    }
}

fn progress_in_words(progress: &measure::Progress) -> String {
    let words = format!(
        "{} {}/{}",
        phase_in_words(progress.phase),
        progress.done,
        progress.of
    );
    match (progress.tokens_per_second, progress.seconds_left) {
        (Some(rate), _) => format!("{words}, {rate:.0} tok/s"),
        (None, Some(left)) => format!("{words}, about {} left", minutes(left)),
        (None, None) => words,
    }
}

fn tell_bar(bar: &ProgressBar, event: &SweepEvent) {
    match event {
        SweepEvent::Planned(plan) => {
            bar.println(plan_in_words(plan));
            bar.set_length(plan.cells.len() as u64);
        }
        SweepEvent::Skipped(skipped) => {
            bar.println(format!(
                "skipped {}: {}",
                skipped.cell.label(),
                skipped.reason
            ));
        }
        SweepEvent::CellStarted {
            number,
            of,
            label,
            eta_seconds,
        } => {
            bar.set_prefix(format!("{number}/{of}"));
            bar.set_position(*number as u64 - 1);
            bar.set_message(format!("{label} · about {} left", minutes(*eta_seconds)));
        }
        SweepEvent::Progress(progress) => {
            let message = bar.message();
            let label = message.split(" — ").next().unwrap_or_default();
            bar.set_message(format!("{label} — {}", progress_in_words(progress)));
        }
        SweepEvent::Comparing { done, of } => {
            let message = bar.message();
            let label = message.split(" — ").next().unwrap_or_default();
            bar.set_message(format!("{label} — comparing with the source {done}/{of}"));
        }
        SweepEvent::CellFinished(cell) => {
            bar.inc(1);
            bar.println(summary_in_words(cell));
        }
        SweepEvent::CellLost { label, reason } => bar.println(format!("{label}: lost: {reason}")),
    }
}

fn tell_line(last: &mut Option<Shown>, event: &SweepEvent) {
    match event {
        SweepEvent::Planned(plan) => say(&plan_in_words(plan)),
        SweepEvent::Skipped(skipped) => {
            say(&format!(
                "skipped {}: {}",
                skipped.cell.label(),
                skipped.reason
            ));
        }
        SweepEvent::CellStarted {
            number,
            of,
            label,
            eta_seconds,
        } => {
            *last = None;
            say(&format!(
                "[{number}/{of}] {label}, about {} left",
                minutes(*eta_seconds)
            ));
        }
        SweepEvent::Progress(progress) => {
            // The first report of a phase stands for it; items take long enough for a line per
            // quarter.
            let quarter = match progress.phase {
                PhaseKind::Quality => 4 * progress.done / progress.of.max(1),
                _ => 0,
            };
            let shown = (progress.phase, quarter);
            if last.replace(shown) != Some(shown) {
                say(&format!("  {}", progress_in_words(progress)));
            }
        }
        SweepEvent::Comparing { done, of } => {
            if done == of {
                say(&format!("  compared with the source, {of} documents"));
            }
        }
        SweepEvent::CellFinished(cell) => say(&format!("  {}", summary_in_words(cell))),
        SweepEvent::CellLost { label, reason } => say(&format!("  {label}: lost: {reason}")),
    }
}

fn json_line(event: &SweepEvent) -> String {
    let value = match event {
        SweepEvent::Planned(plan) => json!({
            "event": "planned",
            "cells": plan.cells.len(),
            "skipped": plan.skipped.len(),
            "finished_before": plan.finished,
            "seconds": plan.seconds(),
            "memory_bytes": plan.memory_bytes(),
        }),
        SweepEvent::Skipped(skipped) => json!({
            "event": "skipped",
            "cell": skipped.cell.label(),
            "reason": skipped.reason,
        }),
        SweepEvent::CellStarted {
            number,
            of,
            label,
            eta_seconds,
        } => json!({
            "event": "cell_started",
            "number": number,
            "of": of,
            "cell": label,
            "eta_seconds": eta_seconds,
        }),
        SweepEvent::Progress(progress) => json!({
            "event": "progress",
            "phase": progress.phase,
            "done": progress.done,
            "of": progress.of,
            "tokens_per_second": progress.tokens_per_second,
            "seconds_left": progress.seconds_left,
        }),
        SweepEvent::Comparing { done, of } => json!({
            "event": "comparing",
            "done": done,
            "of": of,
        }),
        SweepEvent::CellFinished(cell) => json!({
            "event": "cell_finished",
            "cell": cell.label,
            "content_id": cell.content_id,
            "outcome": cell.outcome,
            "outcome_class": cell.outcome_class,
            "seconds": cell.seconds,
        }),
        SweepEvent::CellLost { label, reason } => json!({
            "event": "cell_lost",
            "cell": label,
            "reason": reason,
        }),
    };
    value.to_string()
}
