//! exo's `bench/exo_bench.py` and `bench/exo_eval.py`.
//!
//! The bench writes `{"runs": [...]}`, a request each, with the rates that the server measured and,
//! since spring 2026, the joules of all nodes from their own sensors of the whole machine
//! (<https://github.com/exo-explore/exo/blob/main/bench/METHODOLOGY.md>). Requests at once share those
//! joules: each reports the same ones. A node without a sensor reports 0 W and makes the sum too
//! low, so there is none then. A prompt found whole in the prefix cache reports the rate of the run
//! that filled it. The bench's own aggregate is its fastest stream times the number of streams, and
//! is not taken over. Its console log says less: `gen_tps` is the fastest repetition's.
//!
//! The evaluation sums the joules of its questions, which overlap when several are asked at once.

use serde_json::{Map, Value};

use super::document::{clipped, count, number, text};
use super::names;
use super::{Claim, Document, Fault, MAX_ROWS, Row, RowKind, Rows};

/// What exo's joules cover.
const SCOPE: &str = "system.dc: whole machines by their own sensors, prompt and output together";

/// Whether a file is the speed bench's.
pub(super) fn claims_bench(document: &Document) -> Claim {
    let is_log = |line: &str| {
        line.contains("prompt_tps=") && line.contains("gen_tps=") && line.contains("gen_tokens=")
    };
    if document.objects().any(|(_, it)| is_bench(it)) || document.text.lines().any(is_log) {
        return Claim::Yes;
    }
    let is_drafter = |it: &Map<String, Value>| {
        it.contains_key("use_drafter") && it.get("requests").is_some_and(Value::is_array)
    };
    if document.objects().any(|(_, it)| is_drafter(it)) {
        return Claim::Looks(
            "exo's A/B bench of drafters (dflash), which is not read; give the JSON of bench/exo_bench.py",
        );
    }
    Claim::No
}

fn is_bench(object: &Map<String, Value>) -> bool {
    let runs = object.get("runs").and_then(Value::as_array);
    let is_empty_run = object.contains_key("cluster") || object.contains_key("system_metrics");
    // The first version wrote the list of runs alone.
    is_run(object)
        || runs.is_some_and(|runs| match runs.first() {
            Some(run) => run.as_object().is_some_and(is_run),
            None => is_empty_run,
        })
}

fn is_run(run: &Map<String, Value>) -> bool {
    run.contains_key("pp_tokens")
        && (run.contains_key("placement_sharding") || run.contains_key("placement_instance_meta"))
}

/// The bench's rows.
pub(super) fn bench(document: &Document) -> Rows {
    let mut runs: Vec<&Map<String, Value>> = Vec::new();
    for (_, object) in document.objects() {
        if is_run(object) {
            runs.push(object);
        } else if is_bench(object) {
            let members = object.get("runs").and_then(Value::as_array);
            let room = (MAX_ROWS + 1).saturating_sub(runs.len());
            let members = members.into_iter().flatten();
            runs.extend(members.filter_map(Value::as_object).take(room));
        }
    }
    runs.truncate(MAX_ROWS + 1);
    let mut rows: Vec<Row> = batches(&runs).iter().map(|it| batch(it)).collect();
    if rows.is_empty() {
        rows = log(document);
    }
    if rows.is_empty() {
        return Err(Fault::new(
            "runs",
            "it is empty: every placement or request failed",
        ));
    }
    Ok((rows, Vec::new()))
}

/// Requests that ran at once, in the file's order.
fn batches<'a>(runs: &[&'a Map<String, Value>]) -> Vec<Vec<&'a Map<String, Value>>> {
    let key = |run: &Map<String, Value>| {
        [
            "model_id",
            "instance_id",
            "pp_tokens",
            "tg",
            "concurrency",
            "repeat_index",
        ]
        .map(|key| run.get(key).cloned().unwrap_or_default())
    };
    let mut batches: Vec<Vec<&Map<String, Value>>> = Vec::new();
    for run in runs {
        let at_once = count(run, "concurrency").unwrap_or(1) > 1;
        match batches.last_mut() {
            // The bench writes the streams of a batch one behind the other, numbered from 0.
            Some(last)
                if at_once
                    && key(last[0]) == key(run)
                    && count(run, "concurrent_index") != count(last[0], "concurrent_index") =>
            {
                last.push(run);
            }
            _ => batches.push(vec![run]),
        }
    }
    batches
}

fn batch(streams: &[&Map<String, Value>]) -> Row {
    let first = streams[0];
    let concurrency = count(first, "concurrency").unwrap_or(1).max(1);
    let stats: Vec<&Map<String, Value>> = streams
        .iter()
        .filter_map(|it| it.get("stats")?.as_object())
        .filter(|it| number(it, "generation_tps").is_some_and(|it| it > 0.0))
        .collect();
    let nodes = count(first, "placement_nodes").unwrap_or(0);
    let mut row = Row {
        kind: Some(RowKind::Serving),
        model: text(first, "model_id")
            .or_else(|| text(first, "model_short_id"))
            .as_deref()
            .map(names::model),
        engine: Some("exo".to_owned()),
        backend: text(first, "placement_instance_meta").filter(|it| it != "reused"),
        hardware: (nodes > 1).then(|| format!("{nodes} nodes")),
        prompt_tokens: stats
            .first()
            .and_then(|it| count(it, "prompt_tokens"))
            .or_else(|| count(first, "pp_tokens")),
        output_tokens: stats
            .first()
            .and_then(|it| count(it, "generation_tokens"))
            .or_else(|| count(first, "tg")),
        concurrency: u32::try_from(concurrency).ok(),
        n: Some(stats.len() as u64),
        failed_requests: Some(concurrency.saturating_sub(stats.len() as u64)),
        ..Row::default()
    };
    row.quant = row.model.as_deref().and_then(names::quantisation);
    row.test = format!(
        "pp{}+tg{} (c{concurrency})",
        count(first, "pp_tokens").unwrap_or(0),
        count(first, "tg").unwrap_or(0)
    );
    if let Some(sharding) = text(first, "placement_sharding").filter(|it| it != "reused") {
        row.notes.push(format!("{sharding} over {nodes} nodes"));
    }
    if stats.is_empty() {
        row.failed = Some("no request gave tokens".to_owned());
        return row;
    }
    let hits: Vec<String> = stats
        .iter()
        .filter_map(|it| text(it, "prefix_cache_hit"))
        .collect();
    if hits.iter().any(|it| it == "exact") {
        let note = "the prompt came whole from the prefix cache; its rate is an older run's and was left out";
        row.notes.push(note.to_owned());
    } else {
        row.prefill_tokens_per_second = mean(&stats, "prompt_tps");
        if hits.iter().any(|it| it == "partial") {
            let note =
                "a part of the prompt came from the prefix cache; the rate is that of the rest";
            row.notes.push(note.to_owned());
        }
    }
    row.decode_tokens_per_second = mean(&stats, "generation_tps");
    if concurrency == 1 {
        row.request_ms = number(first, "elapsed_s").map(|it| it * 1e3);
    } else {
        row.notes
            .push("rates are the mean of the streams".to_owned());
    }
    match joules(streams, nodes) {
        Ok(None) => {}
        Ok(Some(joules)) => {
            row.energy_joules = Some(joules);
            row.energy_scope = Some(SCOPE.to_owned());
            if concurrency > 1 {
                row.notes
                    .push("the joules are those of all streams together".to_owned());
            }
        }
        Err(why) => row.notes.push(why),
    }
    row
}

fn mean(stats: &[&Map<String, Value>], key: &str) -> Option<f64> {
    let values: Vec<f64> = stats
        .iter()
        .filter_map(|it| number(it, key))
        .filter(|it| *it > 0.0)
        .collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The joules of a batch, which all its streams report alike; why there are none.
fn joules(streams: &[&Map<String, Value>], nodes: u64) -> Result<Option<f64>, String> {
    let usages: Vec<&Map<String, Value>> = streams
        .iter()
        .filter_map(|it| it.get("power_usage")?.as_object())
        .collect();
    let mut totals = Vec::new();
    for usage in usages {
        let given: Vec<Option<f64>> = usage
            .get("nodes")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .map(|it| number(it, "avg_sys_power"))
            .collect();
        if given.is_empty() || given.iter().any(|it| it.is_none_or(|watts| watts <= 0.0)) {
            return Err("a node reports 0 W, which is no sensor: joules were left out".to_owned());
        }
        if (given.len() as u64) < nodes {
            return Err("not every node reports its power: joules were left out".to_owned());
        }
        totals.extend(number(usage, "total_energy_joules").filter(|it| *it > 0.0));
    }
    // Streams end at different times; the longest window covers the batch.
    Ok(totals.into_iter().reduce(f64::max))
}

/// What a console log has said before a line.
#[derive(Default)]
struct State {
    model: Option<String>,
    placement: Option<String>,
    nodes: u64,
    cached: bool,
    /// Where the rows of this placement begin.
    placed_at: usize,
    /// `pp`, `tg` and concurrency of the block that has given no result yet.
    open: Option<(u64, u64, u64)>,
    repeats: u64,
    failed: u64,
}

fn log(document: &Document) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut state = State::default();
    for line in document.lines() {
        if rows.len() > MAX_ROWS {
            break;
        }
        let said = line.rsplit_once(" - ").map_or(line, |(_, said)| said);
        if let Some((_, id)) = line.split_once("full_id=") {
            state.model = id
                .split_whitespace()
                .next()
                .map(|it| clipped(it).to_owned());
        } else if let Some(id) = line
            .strip_prefix("model ")
            .and_then(|it| it.trim().strip_prefix("= "))
        {
            state.model = Some(clipped(id.trim()).to_owned());
        } else if line.starts_with("=== iter ") {
            state.cached = line.contains("(cached)");
        } else if line.contains("--use-prefix-cache: prompt TPS") {
            state.cached = true;
        } else if line.starts_with("Wrote results JSON") {
            state.cached = false;
        } else if let Some((_, placement)) = line.split_once("PLACEMENT: ") {
            close(&mut state, &mut rows);
            state.placed_at = rows.len();
            let parts: Vec<&str> = placement.split(" / ").collect();
            state.placement = parts.get(1).map(|it| clipped(it).to_owned());
            state.nodes = value(placement, "nodes").map_or(0, |it| it as u64);
        } else if said.starts_with("--- pp=") || line.contains("--- pp=") {
            close(&mut state, &mut rows);
            let get = |key| value(line, key).map_or(0, |it| it as u64);
            state.open = Some((get("pp"), get("tg"), get("concurrency").max(1)));
            (state.repeats, state.failed) = (0, 0);
        } else if line.contains("  repeat ") && line.contains("gen_tps=") {
            state.repeats += 1;
        } else if line.contains("Concurrent request failed") {
            state.failed += 1;
        } else if line.contains("prompt_tps=") && line.contains("gen_tokens=") {
            rows.push(summary(&state, line));
            state.open = None;
        } else if line.contains("W avg")
            && line.contains("GPU ")
            && value_before(line, "W avg") == Some(0.0)
        {
            for row in &mut rows[state.placed_at..] {
                row.energy_joules = None;
                row.energy_scope = None;
                row.notes.push(
                    "a node reports 0 W, which is no sensor: joules were left out".to_owned(),
                );
            }
            state.placed_at = rows.len();
        }
    }
    // The last block of a log may simply be cut off.
    rows.truncate(MAX_ROWS + 1);
    rows
}

/// A block that ended without a summary gave no result.
fn close(state: &mut State, rows: &mut Vec<Row>) {
    if let Some((pp, tg, concurrency)) = state.open.take() {
        rows.push(Row {
            failed: Some("the log has no result for this block: every request failed".to_owned()),
            concurrency: u32::try_from(concurrency).ok(),
            ..block(state, pp, tg, concurrency)
        });
    }
}

fn block(state: &State, pp: u64, tg: u64, concurrency: u64) -> Row {
    let mut row = Row {
        kind: Some(RowKind::Serving),
        test: format!("pp{pp}+tg{tg} (c{concurrency})"),
        model: state.model.as_deref().map(names::model),
        engine: Some("exo".to_owned()),
        backend: state.placement.clone(),
        hardware: (state.nodes > 1).then(|| format!("{} nodes", state.nodes)),
        prompt_tokens: Some(pp).filter(|it| *it > 0),
        output_tokens: Some(tg).filter(|it| *it > 0),
        ..Row::default()
    };
    row.quant = row.model.as_deref().and_then(names::quantisation);
    row
}

fn summary(state: &State, line: &str) -> Row {
    let whole = |key| value(line, key).map(|it| it as u64);
    let (pp, tg, concurrency) = state.open.unwrap_or((
        whole("prompt_tokens").unwrap_or(0),
        whole("gen_tokens").unwrap_or(0),
        1,
    ));
    let mut row = block(state, pp, tg, concurrency);
    row.concurrency = u32::try_from(concurrency).ok();
    row.n = Some(state.repeats).filter(|it| *it > 0);
    row.failed_requests = Some(state.failed).filter(|it| *it > 0);
    // loguru's "2026-04-15 00:27:58.397 | INFO | ..."
    row.measured_at = line
        .split_once(" | ")
        .map(|(time, _)| clipped(time.trim()).to_owned());
    let rate = value(line, "gen_tps").filter(|it| *it > 0.0);
    if concurrency == 1 {
        row.decode_tokens_per_second = rate;
        if state.repeats != 1 {
            row.notes.push(
                "the decode rate is that of the fastest repetition, if there were several"
                    .to_owned(),
            );
        }
    } else if let Some(rate) = rate {
        row.notes.push(format!(
            "the log's gen_tps {rate:.2} is the fastest stream times {concurrency}: no rate of all streams"
        ));
    }
    let prefill = value(line, "prompt_tps").filter(|it| *it > 0.0);
    if state.cached {
        let note = "run with the prefix cache: the prompt's rate is approximate or an older run's and was left out";
        row.notes.push(note.to_owned());
    } else {
        row.prefill_tokens_per_second = prefill;
    }
    if rate.is_none() && prefill.is_none() {
        row.failed = Some("all rates are 0: the run gave no result".to_owned());
    }
    if let Some(joules) = value(line, "energy").filter(|it| *it > 0.0) {
        row.energy_joules = Some(joules);
        row.energy_scope = Some(SCOPE.to_owned());
        if state.repeats > 1 {
            row.notes
                .push("the joules are those of all repetitions together".to_owned());
        }
    }
    if let Some(joules) = value(line, "gen_energy") {
        row.notes.push(format!(
            "of one request's joules {joules:.1} were the output's"
        ));
    }
    row
}

/// The number behind `key=`.
fn value(line: &str, key: &str) -> Option<f64> {
    let at = line.match_indices(key).find_map(|(at, _)| {
        let is_word = line[..at]
            .chars()
            .next_back()
            .is_none_or(|c| !c.is_alphanumeric() && c != '_');
        let after = line[at + key.len()..].strip_prefix('=')?;
        is_word.then_some(after)
    })?;
    let end = at
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(at.len());
    at[..end].parse().ok()
}

/// The number right before a text.
fn value_before(line: &str, text: &str) -> Option<f64> {
    let before = &line[..line.find(text)?];
    let begin = before
        .rfind(|c: char| !c.is_ascii_digit() && c != '.')
        .map_or(0, |it| {
            it + before[it..].chars().next().map_or(1, char::len_utf8)
        });
    before[begin..].parse().ok()
}

/// Whether a file is the evaluation's.
pub(super) fn claims_eval(document: &Document) -> Claim {
    if document.objects().any(|(_, it)| is_eval(it)) {
        return Claim::Yes;
    }
    let is_checkpoint = |it: &Map<String, Value>| {
        ["question_id", "gold_answer", "extracted_answer", "correct"]
            .iter()
            .all(|key| it.contains_key(*key))
    };
    if document.objects().any(|(_, it)| is_checkpoint(it)) {
        return Claim::Looks(
            "a checkpoint of exo_eval.py, without its scores; give the JSON of the finished run (c1_….json)",
        );
    }
    Claim::No
}

fn is_eval(object: &Map<String, Value>) -> bool {
    let scores = object.get("scores").and_then(Value::as_object);
    object.contains_key("benchmark")
        && object.contains_key("model")
        && scores.is_some_and(|it| it.contains_key("accuracy") && it.contains_key("total"))
}

/// The evaluation's rows.
pub(super) fn eval(document: &Document) -> Rows {
    let rows: Vec<Row> = document
        .objects()
        .filter(|(_, it)| is_eval(it))
        .filter_map(|(_, it)| Some(evaluation(it, it.get("scores")?.as_object()?)))
        .collect();
    if rows.is_empty() {
        return Err(Fault::new("scores", "there are none"));
    }
    Ok((rows, Vec::new()))
}

fn evaluation(run: &Map<String, Value>, scores: &Map<String, Value>) -> Row {
    let task = text(run, "benchmark");
    let concurrency = count(run, "concurrency").unwrap_or(1).max(1);
    let results: Vec<&Map<String, Value>> = run
        .get("results")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .collect();
    let errors = count(scores, "errors").unwrap_or_else(|| {
        results
            .iter()
            .filter(|it| text(it, "error").is_some())
            .count() as u64
    });
    let (items, correct) = (count(scores, "total"), count(scores, "correct"));
    let mut row = Row {
        kind: Some(RowKind::Quality),
        test: format!("{} accuracy", task.as_deref().unwrap_or("unnamed")),
        model: text(run, "model").as_deref().map(names::model),
        engine: Some("exo".to_owned()),
        concurrency: u32::try_from(concurrency).ok(),
        task,
        metric: Some("accuracy".to_owned()),
        score: number(scores, "accuracy"),
        items,
        correct,
        failed_requests: Some(errors),
        ..Row::default()
    };
    row.quant = row.model.as_deref().and_then(names::quantisation);
    if errors > 0 {
        row.notes.push(format!(
            "{errors} questions ended in an error and count as wrong"
        ));
    }
    if let Some(none) = count(scores, "no_extract").filter(|it| *it > 0) {
        row.notes.push(format!(
            "of {none} answers nothing could be extracted; they count as wrong"
        ));
    }
    let joules = number(scores, "total_energy_joules").filter(|it| *it > 0.0);
    if let Some(joules) = joules {
        row.energy_joules = Some(joules);
        row.energy_scope = Some(SCOPE.to_owned());
        if concurrency > 1 {
            row.notes.push(format!(
                "{concurrency} questions ran at once and each counted the whole machine: the joules are at most these, \
                 and none of one question's"
            ));
        }
    }
    match (items, correct, row.score) {
        (None | Some(0), ..) => row.failed = Some("no question was asked".to_owned()),
        (Some(items), ..) if errors >= items => {
            row.failed = Some("every question ended in an error".to_owned());
        }
        (Some(items), Some(correct), Some(score)) => {
            let ratio = correct as f64 / items as f64;
            if (ratio - score).abs() > 0.001 {
                row.failed = Some(format!("accuracy {score} is not {correct} of {items}"));
            }
        }
        _ => {}
    }
    let counted = results
        .iter()
        .filter(|it| it.get("correct") == Some(&Value::Bool(true)))
        .count() as u64;
    if row.failed.is_none() && !results.is_empty() && correct.is_some_and(|it| it != counted) {
        row.failed = Some(format!(
            "{} answers are said to be right, {counted} are",
            correct.unwrap_or(0)
        ));
    }
    row
}

#[cfg(test)]
mod tests;
