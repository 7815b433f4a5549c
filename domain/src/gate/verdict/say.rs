//! The verdict in one sentence.

use super::cells::{LAYOUT_SENSITIVE, NOT_CONFIRMED};
use super::{CellJudgement, Judgement};
use crate::gate::plan::most_blocks;
use crate::gate::record::{GateRecord, Purpose};
use crate::gate::{Metric, Verdict};

/// The headline of a judgement that is otherwise complete; `open` are the cells that hold it up.
pub(super) fn headline(
    record: &GateRecord,
    judgement: &Judgement,
    open: &[&CellJudgement],
) -> String {
    if record.purpose == Purpose::Compare && judgement.exit_code == 0 {
        return compared(judgement);
    }
    let word = judgement.verdict.as_str();
    let said = match judgement.verdict {
        Verdict::Regressed => regressed(judgement),
        _ if record.interrupted => interrupted(judgement),
        Verdict::Invalid => match judgement.findings.as_slice() {
            [] => "the measurement does not count".to_owned(),
            [one] => one.clone(),
            [one, more @ ..] => format!("{one} (and {} more)", more.len()),
        },
        Verdict::Inconclusive => inconclusive(judgement, open),
        Verdict::Improved => improved(judgement),
        Verdict::Pass => passed(judgement),
    };
    format!("{word}: {said}")
}

/// What is measured of what, such as `decode of mini pp64-tg64`.
pub(super) fn subject(cell: &CellJudgement) -> String {
    format!("{} of {}", cell.metric.as_str(), cell.label)
}

/// A share in percent, without a needless decimal: `2 %`, `3.4 %`.
pub(super) fn percent(share: f64) -> String {
    let text = format!("{:.1}", 100.0 * share);
    let text = text.strip_suffix(".0").unwrap_or(&text);
    format!("{} %", if text == "-0" { "0" } else { text })
}

/// An effect with its limits, in the direction it points: `2.4 % slower (1.6 to 3.1 %)`.
fn effect(metric: Metric, effect: f64, low: Option<f64>, high: Option<f64>) -> String {
    let worse = effect >= 0.0;
    let (word, from, to) = if worse {
        (metric.worse(), low, high)
    } else {
        (metric.better(), high.map(|high| -high), low.map(|low| -low))
    };
    let limits = match (from, to) {
        (Some(from), Some(to)) => {
            format!(" ({:.1} to {:.1} %)", 100.0 * from, 100.0 * to)
        }
        (Some(from), None) => format!(" ({:.1} % or more)", 100.0 * from),
        (None, Some(to)) => format!(" ({:.1} % or less)", 100.0 * to),
        (None, None) => String::new(),
    };
    format!("{} {word}{limits}", percent(effect.abs()))
}

fn whole(cell: &CellJudgement) -> String {
    let said = (cell.effect).map_or("not measured".to_owned(), |estimate| {
        effect(cell.metric, estimate, cell.low, cell.high)
    });
    format!("{} is {said}", subject(cell))
}

fn regressed(judgement: &Judgement) -> String {
    let cells: Vec<&CellJudgement> = (judgement.cells.iter())
        .filter(|cell| cell.verdict == Verdict::Regressed && cell.waived.is_none())
        .collect();
    let answers = (judgement.quality.iter()).find(|of| of.verdict == Verdict::Regressed);
    let speed = cells.first().map(|cell| {
        let more = match cells.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        format!("{}{more}, confirmed by a second measurement", whole(cell))
    });
    let answers = answers.map(|of| format!("the answers of {} are worse: {}", of.model, of.said));
    let said: Vec<String> = speed.into_iter().chain(answers).collect();
    said.join("; ")
}

fn interrupted(judgement: &Judgement) -> String {
    format!(
        "it was stopped after {} blocks; --continue goes on from here",
        judgement.blocks
    )
}

fn inconclusive(judgement: &Judgement, open: &[&CellJudgement]) -> String {
    let with = |reason: &str| (open.iter()).find(|cell| cell.reason.as_deref() == Some(reason));
    if let Some(cell) = with(NOT_CONFIRMED) {
        let second = match &cell.confirmation {
            Some(second) => format!(
                "a second measurement did not confirm it ({})",
                effect(cell.metric, second.effect, second.low, second.high)
            ),
            None => "there was no second measurement to confirm it".to_owned(),
        };
        return format!("{}, but {second}", whole(cell));
    }
    if let Some(cell) = with(LAYOUT_SENSITIVE) {
        return format!(
            "{}, but linking the base in another order moves it by half of that or more",
            whole(cell)
        );
    }
    let Some(cell) = open.first() else {
        let answers = (judgement.quality.iter()).find(|of| of.verdict == Verdict::Inconclusive);
        return answers.map_or("nothing was decided".to_owned(), |of| {
            format!("the answers of {}: {}", of.model, of.said)
        });
    };
    let could = match cell.mde {
        Some(mde) => format!(
            "could have detected {} in {}, asked for {}",
            percent(mde),
            subject(cell),
            percent(cell.tolerance)
        ),
        None => format!(
            "{} has {} blocks, too few to decide by",
            subject(cell),
            cell.blocks
        ),
    };
    match minutes(open) {
        Some(minutes) => format!("{could}; {minutes:.0} more minutes would settle it (--continue)"),
        None if cell.mde.is_some() => format!(
            "{could}; even {} blocks like these would not settle it: calm the machine, or tolerate more",
            most_blocks()
        ),
        None => could,
    }
}

/// Minutes until all open cells are settled, full ones: models take turns, the cells of one share
/// its slots.
fn minutes(open: &[&CellJudgement]) -> Option<f64> {
    let mut by_model: Vec<(&str, f64)> = Vec::new();
    for cell in open {
        let minutes = cell.minutes_to_settle?;
        match by_model.iter_mut().find(|(model, _)| *model == cell.model) {
            Some((_, most)) => *most = most.max(minutes),
            None => by_model.push((&cell.model, minutes)),
        }
    }
    let all: f64 = by_model.iter().map(|(_, minutes)| minutes).sum();
    (!by_model.is_empty()).then(|| all.ceil().max(1.0))
}

fn improved(judgement: &Judgement) -> String {
    let best = (judgement.cells.iter())
        .filter(|cell| cell.verdict == Verdict::Improved)
        .min_by(|a, b| f64::total_cmp(&a.effect.unwrap_or(0.0), &b.effect.unwrap_or(0.0)));
    let best = best.map_or("something improved".to_owned(), whole);
    format!("{best}; nothing is worse than it may be")
}

fn passed(judgement: &Judgement) -> String {
    let worst = (judgement.cells.iter())
        .filter(|cell| cell.verdict == Verdict::Pass && !cell.model.is_empty())
        .max_by(|a, b| f64::total_cmp(&a.effect.unwrap_or(0.0), &b.effect.unwrap_or(0.0)));
    let small = judgement
        .cells
        .iter()
        .filter(|cell| cell.small_regression)
        .count();
    let notes = match small {
        0 => String::new(),
        1 => "; one small regression within its tolerance".to_owned(),
        more => format!("; {more} small regressions within their tolerance"),
    };
    let most = worst.map_or(String::new(), |cell| {
        format!(" (the most: {})", whole(cell))
    });
    format!("nothing is worse than it may be{most}{notes}")
}

fn compared(judgement: &Judgement) -> String {
    let mut cells: Vec<&CellJudgement> = (judgement.cells.iter())
        .filter(|cell| cell.effect.is_some() && !cell.model.is_empty())
        .collect();
    cells.sort_by(|a, b| f64::total_cmp(&size(b), &size(a)));
    match cells.as_slice() {
        [] => "compared: nothing was measured".to_owned(),
        [one] => format!("compared: {}", whole(one)),
        [one, more @ ..] => format!("compared: {}; {} more differ less", whole(one), more.len()),
    }
}

fn size(cell: &CellJudgement) -> f64 {
    cell.effect.map_or(0.0, |effect| effect.ln_1p().abs())
}
