//! How far a gate is, on standard error: a bar on a terminal, a plain line now and then elsewhere,
//! or JSON lines. Nothing is drawn while a slot runs: the runner reports before it.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use domain::gate::Verdict;
use domain::gate::record::StageKind;
use domain::gate::verdict::Judgement;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use runner::gate::run::{GateEvent, GatePlan};
use serde_json::json;

use super::minutes;
use crate::cli;
use crate::output::say;

/// How often a build's line is told where lines stay.
const BUILD_LINE_EVERY: Duration = Duration::from_secs(10);

/// Tells of a gate's events.
#[derive(Debug)]
pub(crate) struct GateProgress {
    style: Style,
    /// Which of several gates was told of last.
    gate: u32,
}

#[derive(Debug)]
enum Style {
    Bar(ProgressBar),
    Lines {
        /// The stage and block that were told last.
        last: Option<(StageKind, u32)>,
        /// The rung of answers that was told last.
        rung: Option<u8>,
        /// When a build's line was told last.
        built: Option<Instant>,
    },
    Json,
    Never,
}

impl GateProgress {
    /// The style that was asked for, or that fits where standard error goes.
    pub(crate) fn new(asked: cli::Progress) -> Self {
        let style = match asked {
            cli::Progress::Never => Style::Never,
            cli::Progress::Json => Style::Json,
            cli::Progress::Auto if std::io::stderr().is_terminal() => {
                let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
                bar.set_style(
                    ProgressStyle::with_template("{prefix:>12} {bar:24} {wide_msg}")
                        .expect("the template is right")
                        .progress_chars("━━╌"),
                );
                Style::Bar(bar)
            }
            cli::Progress::Auto => Style::Lines {
                last: None,
                rung: None,
                built: None,
            },
        };
        Self { style, gate: 0 }
    }

    /// A sentence for the person waiting.
    pub(crate) fn note(&self, sentence: &str) {
        match &self.style {
            Style::Never => {}
            Style::Json => say(&json!({"event": "note", "note": sentence}).to_string()),
            Style::Lines { .. } => say(sentence),
            Style::Bar(bar) => bar.println(sentence),
        }
    }

    /// A line that a build printed.
    pub(crate) fn building(&mut self, line: &str) {
        match &mut self.style {
            Style::Never => {}
            Style::Json => say(&json!({"event": "building", "line": line}).to_string()),
            Style::Lines { built, .. } => {
                if built.is_none_or(|last| last.elapsed() >= BUILD_LINE_EVERY) {
                    *built = Some(Instant::now());
                    say(&format!("  {line}"));
                }
            }
            Style::Bar(bar) => bar.set_message(line.to_owned()),
        }
    }

    /// Tells of one event.
    pub(crate) fn tell(&mut self, event: &GateEvent) {
        match &mut self.style {
            Style::Never => {}
            Style::Json => say(&json_line(event)),
            Style::Lines { last, rung, .. } => tell_line(last, rung, event),
            Style::Bar(bar) => tell_bar(bar, event),
        }
    }

    /// Tells of one event of one of several gates.
    pub(crate) fn tell_of(&mut self, gate: u32, of: u32, event: &GateEvent) {
        if self.gate != gate {
            self.gate = gate;
            if let Style::Lines { last, rung, .. } = &mut self.style {
                (*last, *rung) = (None, None);
            }
            self.note(&format!("gate {gate} of {of}"));
        }
        self.tell(event);
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if let Style::Bar(bar) = &self.style {
            bar.finish_and_clear();
        }
    }
}

/// `2 cells, up to 48 blocks in up to 7 min`.
pub(crate) fn plan_in_words(plan: &GatePlan) -> String {
    let cells = plan.cells.len();
    format!(
        "{cells} {}, up to {} blocks in up to {}",
        if cells == 1 { "cell" } else { "cells" },
        plan.last_look,
        minutes(60.0 * plan.minutes),
    )
}

fn stage_in_words(stage: StageKind) -> &'static str {
    match stage {
        StageKind::Measuring => "measuring",
        StageKind::Confirmation => "confirming",
        StageKind::Layout => "layout",
    }
}

/// What a look saw: how many are decided, and how.
fn look_in_words(blocks: u32, judgement: &Judgement) -> String {
    let all = judgement.cells.len();
    let open = judgement
        .cells
        .iter()
        // What alarmed is decided here, and measured again.
        .filter(|cell| cell.verdict == Verdict::Inconclusive && cell.reason.is_none())
        .count();
    format!("after {blocks} blocks: {} of {all} decided", all - open)
}

fn quality_in_words(rung: u8, done: u32, of: u32) -> String {
    let what = match rung {
        1 => "the same texts?",
        2 => "token by token",
        _ => "task items",
    };
    format!("answers, {what} {done}/{of}")
}

fn tell_bar(bar: &ProgressBar, event: &GateEvent) {
    match event {
        GateEvent::Planned(plan) => bar.println(plan_in_words(plan)),
        GateEvent::Seeded(seed) => bar.println(format!("seed {seed}")),
        GateEvent::Slot {
            stage,
            block,
            of,
            arm,
            eta_seconds,
        } => {
            bar.set_prefix(stage_in_words(*stage));
            bar.set_length(u64::from(*of));
            bar.set_position(u64::from(block.saturating_sub(1)));
            bar.set_message(format!(
                "block {block}/{of}, {}; up to {} left",
                arm.as_str(),
                minutes(*eta_seconds)
            ));
        }
        GateEvent::Looked { blocks, judgement } => bar.println(look_in_words(*blocks, judgement)),
        GateEvent::Void(why) => bar.println(format!("a block is void: {why}")),
        GateEvent::Quality(rung, done, of) => {
            bar.set_prefix("quality");
            bar.set_length(u64::from(*of));
            bar.set_position(u64::from(*done));
            bar.set_message(quality_in_words(*rung, *done, *of));
        }
        GateEvent::Note(sentence) => bar.println(sentence),
    }
}

fn tell_line(last: &mut Option<(StageKind, u32)>, told_rung: &mut Option<u8>, event: &GateEvent) {
    match event {
        GateEvent::Planned(plan) => say(&plan_in_words(plan)),
        GateEvent::Seeded(seed) => say(&format!("seed {seed}")),
        GateEvent::Slot {
            stage,
            block,
            of,
            eta_seconds,
            ..
        } => {
            // One line for every fourth block of a stage.
            let shown = (*stage, (block.saturating_sub(1)) / 4);
            if last.replace(shown) != Some(shown) {
                say(&format!(
                    "{}: block {block}/{of}, up to {} left",
                    stage_in_words(*stage),
                    minutes(*eta_seconds)
                ));
            }
        }
        GateEvent::Looked { blocks, judgement } => {
            say(&format!("  {}", look_in_words(*blocks, judgement)));
        }
        GateEvent::Void(why) => say(&format!("  a block is void: {why}")),
        GateEvent::Quality(rung, done, of) => {
            if told_rung.replace(*rung) != Some(*rung) || done == of {
                say(&format!("  {}", quality_in_words(*rung, *done, *of)));
            }
        }
        GateEvent::Note(sentence) => say(sentence),
    }
}

fn json_line(event: &GateEvent) -> String {
    let value = match event {
        GateEvent::Planned(plan) => json!({
            "event": "planned",
            "cells": plan.cells,
            "last_look": plan.last_look,
            "minutes": plan.minutes,
            "refused": plan.refused.as_ref().map(|(_, why)| why),
        }),
        GateEvent::Seeded(seed) => json!({"event": "seeded", "seed": seed}),
        GateEvent::Slot {
            stage,
            block,
            of,
            arm,
            eta_seconds,
        } => json!({
            "event": "slot",
            "stage": stage,
            "block": block,
            "of": of,
            "arm": arm,
            "eta_seconds": eta_seconds,
        }),
        GateEvent::Looked { blocks, judgement } => json!({
            "event": "looked",
            "blocks": blocks,
            "verdict": judgement.verdict,
        }),
        GateEvent::Void(why) => json!({"event": "void", "why": why}),
        GateEvent::Quality(rung, done, of) => json!({
            "event": "quality",
            "rung": rung,
            "done": done,
            "of": of,
        }),
        GateEvent::Note(sentence) => json!({"event": "note", "note": sentence}),
    };
    value.to_string()
}
