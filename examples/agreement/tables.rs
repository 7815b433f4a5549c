//! Medians, intervals and ratios as Markdown.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use domain::statistics::interval::{MedianInterval, median_interval};
use runner::variant::inspect;

use crate::arms::{Arm, Figure, Slot, Who};

const FIGURES: [(Figure, &str); 4] = [
    (Figure::PrefillClient, "prefill, client"),
    (Figure::PrefillEngine, "prefill, engine"),
    (Figure::DecodeClient, "decode, client"),
    (Figure::DecodeEngine, "decode, engine"),
];

/// One figure of one engine.
type Of = (Who, Figure);

/// Ratios worth looking at: what, numerator, denominator.
const RATIOS: [(&str, Of, Of); 11] = [
    (
        "server: client / its own timings, decode",
        (Who::Server, Figure::DecodeClient),
        (Who::Server, Figure::DecodeEngine),
    ),
    (
        "server: client / its own timings, prefill",
        (Who::Server, Figure::PrefillClient),
        (Who::Server, Figure::PrefillEngine),
    ),
    (
        "candle: client / engine, decode",
        (Who::Candle, Figure::DecodeClient),
        (Who::Candle, Figure::DecodeEngine),
    ),
    (
        "candle: client / engine, prefill",
        (Who::Candle, Figure::PrefillClient),
        (Who::Candle, Figure::PrefillEngine),
    ),
    (
        "server's timings / llama-bench, prefill",
        (Who::Server, Figure::PrefillEngine),
        (Who::LlamaBench, Figure::PrefillEngine),
    ),
    (
        "server's timings / llama-bench, decode",
        (Who::Server, Figure::DecodeEngine),
        (Who::LlamaBench, Figure::DecodeEngine),
    ),
    (
        "server's timings / llama-bench behind the prompt, decode",
        (Who::Server, Figure::DecodeEngine),
        (Who::LlamaBenchBehind, Figure::DecodeEngine),
    ),
    (
        "candle / llama-bench, prefill, engine view",
        (Who::Candle, Figure::PrefillEngine),
        (Who::LlamaBench, Figure::PrefillEngine),
    ),
    (
        "candle / llama-bench behind the prompt, decode, engine view",
        (Who::Candle, Figure::DecodeEngine),
        (Who::LlamaBenchBehind, Figure::DecodeEngine),
    ),
    (
        "candle / server, prefill, client",
        (Who::Candle, Figure::PrefillClient),
        (Who::Server, Figure::PrefillClient),
    ),
    (
        "candle / server, decode, client",
        (Who::Candle, Figure::DecodeClient),
        (Who::Server, Figure::DecodeClient),
    ),
];

/// What was measured, on what: a list.
pub(crate) fn machine(threads: u32, weights: &Path, arms: &[Arm]) -> Result<String> {
    let host = runner::host::survey(Path::new("/")).host;
    let variant = inspect(weights)?;
    let unknown = || "unknown".to_owned();
    let mut out = format!(
        "- Machine: {}, {} logical cores, {}, {}; {threads} thread(s) for each engine.\n- Weights: {}, {}, {} parameters, SHA-256 {}.",
        host.chip.map_or_else(unknown, |name| name.to_string()),
        host.cpu_cores,
        host.memory_bytes.map_or_else(unknown, |bytes| format!(
            "{:.1} GiB",
            bytes as f64 / 1_073_741_824.0
        )),
        host.os,
        variant.model,
        variant.quant,
        variant.params_total,
        variant.sha256,
    );
    for arm in arms {
        let (facts, settings) = arm.facts();
        let cache = settings
            .kv_type_k
            .map_or_else(unknown, |name| name.to_string());
        write!(
            out,
            "\n- {}: version {}, commit {}, {}, keys cached as {cache}.",
            arm.label(),
            facts.version,
            facts.commit.map_or_else(unknown, |name| name.to_string()),
            facts.backend,
        )?;
    }
    Ok(out)
}

/// Speeds of each arm.
pub(crate) fn speeds(arms: &[Arm], rounds: &[Vec<Slot>]) -> String {
    let titles: Vec<_> = FIGURES.iter().map(|(_, title)| *title).collect();
    let mut out = format!(
        "| tokens per second | {} |\n|---|{}\n",
        titles.join(" | "),
        "---:|".repeat(FIGURES.len())
    );
    for (index, arm) in arms.iter().enumerate() {
        let cells = FIGURES.map(|(figure, _)| {
            let values = rounds.iter().map(|slots| slots[index].figure(figure));
            over(values).map_or_else(|| "-".to_owned(), |found| shown(found, 0))
        });
        let _ = writeln!(out, "| {} | {} |", arm.label(), cells.join(" | "));
    }
    for (index, arm) in arms.iter().enumerate() {
        let beyond = over(rounds.iter().map(|slots| slots[index].beyond_ms));
        if let Some(beyond) = beyond {
            let _ = write!(
                out,
                "\n{}: the time to the first token is {} ms longer than the engine's own prompt time.\n",
                arm.label(),
                shown(beyond, 3)
            );
        }
    }
    out
}

/// Ratios within each round, then over the rounds.
pub(crate) fn ratios(arms: &[Arm], rounds: &[Vec<Slot>]) -> String {
    let mut out =
        "| ratio of two speeds, by round | median and 95 % interval |\n|---|---:|\n".to_owned();
    let place = |who: Who| arms.iter().position(|arm| arm.who == who);
    for (title, (above, a), (below, b)) in RATIOS {
        let Some((above, below)) = place(above).zip(place(below)) else {
            continue;
        };
        let values = rounds
            .iter()
            .map(|slots| Some(slots[above].figure(a)? / slots[below].figure(b)?));
        let cell = over(values).map_or_else(|| "-".to_owned(), |found| shown(found, 4));
        let _ = writeln!(out, "| {title} | {cell} |");
    }
    out
}

/// Median and interval; `None` where a round lacks the figure.
fn over(values: impl Iterator<Item = Option<f64>>) -> Option<MedianInterval> {
    median_interval(&values.collect::<Option<Vec<_>>>()?)
}

fn shown(found: MedianInterval, digits: usize) -> String {
    let MedianInterval {
        median, low, high, ..
    } = found;
    format!("{median:.digits$} [{low:.digits$}, {high:.digits$}]")
}
