//! The last look at every row: no hostile text, no figure that cannot be one, nothing private.

use crate::text::Name;

use super::Row;
use super::redact::scrub;

/// How many notes are kept of a row or file.
const MAX_NOTES: usize = 32;

/// No machine gives more tokens a second: what is above is another unit or a slip.
const MAX_RATE: f64 = 1e7;

/// Cleans a row's texts; takes away what is no figure, and says so; empties a failed row.
pub(super) fn row(row: &mut Row) {
    row.test = clean(&row.test);
    let texts = [
        &mut row.failed,
        &mut row.model,
        &mut row.quant,
        &mut row.hardware,
        &mut row.engine,
        &mut row.engine_version,
        &mut row.backend,
        &mut row.tool_version,
        &mut row.measured_at,
        &mut row.energy_scope,
        &mut row.task,
        &mut row.metric,
    ];
    for text in texts {
        *text = text.take().map(|it| clean(&it)).filter(|it| !it.is_empty());
    }
    let failed = row.failed.is_some();
    let mut refused = Vec::new();
    for (name, figure, may_be_negative) in figures(row) {
        let Some(value) = *figure else { continue };
        let is_possible = !name.ends_with("rate") || value <= MAX_RATE;
        let is_figure = value.is_finite() && (value >= 0.0 || may_be_negative) && is_possible;
        if !is_figure {
            refused.push(format!("{name} is given as {value}, which is no figure"));
        }
        if failed || !is_figure {
            *figure = None;
        }
    }
    row.notes.extend(refused);
    notes(&mut row.notes);
}

/// Cleans notes, drops repeated ones, caps their number.
pub(super) fn notes(notes: &mut Vec<String>) {
    let mut kept: Vec<String> = Vec::new();
    for note in notes.drain(..) {
        let note = clean(&note);
        if !note.is_empty() && !kept.contains(&note) && kept.len() < MAX_NOTES {
            kept.push(note);
        }
    }
    *notes = kept;
}

fn clean(text: &str) -> String {
    Name::cleaned(&without_addresses(&scrub(text)))
        .as_str()
        .to_owned()
}

/// Addresses name somebody's server: only their kind is kept.
fn without_addresses(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let begin = rest[..at]
            .rfind(|c: char| !c.is_ascii_alphanumeric() && c != '+')
            .map_or(0, |it| {
                it + rest[it..].chars().next().map_or(1, char::len_utf8)
            });
        kept.push_str(&rest[..begin]);
        kept.push_str("[address]");
        let after = &rest[at + 3..];
        let end = after
            .find(|c: char| c.is_whitespace() || "\"'<>|,;)".contains(c))
            .unwrap_or(after.len());
        rest = &after[end..];
    }
    kept.push_str(rest);
    kept
}

/// Every figure with its name, and whether it may be below zero.
fn figures(row: &mut Row) -> [(&'static str, &mut Option<f64>, bool); 18] {
    [
        ("prefill rate", &mut row.prefill_tokens_per_second, false),
        (
            "prefill deviation",
            &mut row.prefill_tokens_per_second_sd,
            false,
        ),
        ("decode rate", &mut row.decode_tokens_per_second, false),
        (
            "decode deviation",
            &mut row.decode_tokens_per_second_sd,
            false,
        ),
        ("mixed rate", &mut row.mixed_tokens_per_second, false),
        (
            "aggregate decode rate",
            &mut row.aggregate_decode_tokens_per_second,
            false,
        ),
        (
            "aggregate prefill rate",
            &mut row.aggregate_prefill_tokens_per_second,
            false,
        ),
        ("TTFT", &mut row.ttft_ms, false),
        ("median TTFT", &mut row.ttft_ms_p50, false),
        ("p99 TTFT", &mut row.ttft_ms_p99, false),
        ("TPOT", &mut row.tpot_ms, false),
        ("median TPOT", &mut row.tpot_ms_p50, false),
        ("inter-token latency", &mut row.itl_ms, false),
        ("request time", &mut row.request_ms, false),
        ("energy", &mut row.energy_joules, false),
        (
            "joules per output token",
            &mut row.joules_per_output_token,
            false,
        ),
        // A log likelihood or a correlation is a score below zero.
        ("score", &mut row.score, true),
        ("standard error of the score", &mut row.score_se, false),
    ]
}
