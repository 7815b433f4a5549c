//! guidellm reports, JSON or YAML, 0.1 to 0.7.
//!
//! By vllm-project/guidellm:
//!
//! - `inter_token_latency_ms` of a request = (last token - first token) / (output tokens - 1), and its
//!   mean is weighted by tokens (`src/guidellm/schemas/request_stats.py`, 0.2:
//!   `benchmark/benchmark.py`): what other tools call TPOT, so it is `tpot_ms` here. Gaps between
//!   events are not in the file;
//! - `time_per_output_token_ms` divides by all output tokens, and since 0.4 counts from the request's
//!   start, so it holds the first token; it is not read;
//! - `request_latency` is seconds, the others milliseconds;
//! - `output_tokens_per_second` is a rate over time of all requests together: the whole server's;
//! - figures are `successful` ones; `incomplete` requests were cut off when the run ended;
//! - zeros stand for what no request gave.
//!
//! 0.1 wrote requests without summaries (`core/result.py`); the summaries its own report made of them
//! are made here. Targets, arguments, prompts and outputs are never read.

use serde_json::Value;

use super::document::as_number;
use super::figures::{
    Object, at, count_at, figure, model, object_at, per_second, scaled, text_at, tokens, utc,
};
use super::{Claim, Document, Fault, MAX_ROWS, Row, RowKind, Rows};

const MS_PER_S: f64 = 1000.0;

/// Whether a file is one of these.
pub(super) fn claims(document: &Document) -> Claim {
    let Some(report) = document.object() else {
        return Claim::No;
    };
    let says_so = at(report, &["metadata", "guidellm_version"]).is_some();
    let benchmarks = benchmarks(report);
    if benchmarks.is_empty() {
        return if says_so { Claim::Yes } else { Claim::No };
    }
    if benchmarks.iter().all(|it| is_benchmark(it)) || is_first_version(report) {
        Claim::Yes
    } else {
        Claim::No
    }
}

fn benchmarks(report: &Object) -> Vec<&Object> {
    let members = report.get("benchmarks").and_then(Value::as_array);
    members
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .collect()
}

fn is_benchmark(it: &Object) -> bool {
    let Some(metrics) = object_at(it, &["metrics"]) else {
        return false;
    };
    at(metrics, &["request_latency", "successful"]).is_some()
        && (it.contains_key("run_stats") || it.contains_key("scheduler_metrics"))
        || text_at(it, &["type_"]) == Some("generative_benchmark")
}

fn is_first_version(report: &Object) -> bool {
    let runs = first_version(report);
    !runs.is_empty()
        && runs.iter().all(|(_, it)| {
            text_at(it, &["mode"]).is_some()
                && it.get("results").is_some_and(Value::is_array)
                && it.get("concurrencies").is_some_and(Value::is_array)
        })
}

/// The runs of a report of 0.1, each with the report they stand in.
fn first_version(report: &Object) -> Vec<(&Object, &Object)> {
    let groups = benchmarks(report).into_iter();
    groups
        .flat_map(|group| benchmarks(group).into_iter().map(move |run| (group, run)))
        .collect()
}

/// Its rows.
pub(super) fn rows(document: &Document) -> Rows {
    let report = document
        .object()
        .ok_or_else(|| Fault::new("the file", "it is not one report"))?;
    let notes = vec![
        "TPOT is guidellm's inter-token latency, (last - first token) / (tokens - 1); its own TPOT \
         counts the first token and was left out; the aggregate is the whole server's"
            .to_owned(),
    ];
    let first = first_version(report);
    if !first.is_empty() {
        let rows = first
            .into_iter()
            .take(MAX_ROWS + 1)
            .map(|(group, run)| first_row(group, run))
            .collect();
        return Ok((rows, notes));
    }
    let rows = benchmarks(report)
        .into_iter()
        .take(MAX_ROWS + 1)
        .map(|it| row(report, it))
        .collect();
    Ok((rows, notes))
}

fn row(report: &Object, benchmark: &Object) -> Row {
    let of = |metric: &str, statistic: &str| {
        figure(benchmark, &["metrics", metric, "successful", statistic])
    };
    let tail = |metric: &str| {
        figure(
            benchmark,
            &["metrics", metric, "successful", "percentiles", "p99"],
        )
    };
    let requests = |status: &str| {
        count_at(benchmark, &["metrics", "request_totals", status])
            .or_else(|| count_at(benchmark, &["request_totals", status]))
    };
    let strategy = object_at(benchmark, &["config", "strategy"])
        .or_else(|| object_at(benchmark, &["args", "strategy"]))
        .or_else(|| object_at(benchmark, &["scheduler", "strategy"]));
    let tpot_ms = of("inter_token_latency_ms", "mean");
    let successful = requests("successful");
    let errored = requests("errored");
    let mut row = Row {
        kind: Some(RowKind::Serving),
        test: strategy.map_or_else(|| "unnamed strategy".to_owned(), test),
        model: model_of(report, benchmark),
        tool_version: text_at(report, &["metadata", "guidellm_version"]).map(str::to_owned),
        measured_at: figure(benchmark, &["start_time"]).and_then(utc),
        prompt_tokens: tokens(of("prompt_token_count", "mean")),
        output_tokens: tokens(of("output_token_count", "mean")),
        concurrency: strategy.and_then(streams),
        n: successful,
        failed_requests: errored,
        decode_tokens_per_second: per_second(tpot_ms),
        aggregate_decode_tokens_per_second: of("output_tokens_per_second", "mean"),
        ttft_ms: of("time_to_first_token_ms", "mean"),
        ttft_ms_p50: of("time_to_first_token_ms", "median"),
        ttft_ms_p99: tail("time_to_first_token_ms"),
        tpot_ms,
        tpot_ms_p50: of("inter_token_latency_ms", "median"),
        request_ms: of("request_latency", "mean").map(|it| it * MS_PER_S),
        ..Row::default()
    };
    if successful == Some(0) || successful.is_none() && row.request_ms.is_none() {
        row.failed = Some("no request succeeded".to_owned());
    } else if row.output_tokens.is_none() {
        row.failed = Some("no output tokens".to_owned());
    }
    if let Some(cut) = requests("incomplete").filter(|it| *it > 0) {
        row.notes.push(format!(
            "cut off by the end of the run and in no figure: {cut} of its requests"
        ));
    }
    if row.concurrency.is_none()
        && let Some(mean) = of("request_concurrency", "mean")
    {
        row.notes
            .push(format!("{mean:.1} requests at once on average"));
    }
    if let Some(held) = of("iter_tokens_per_iteration", "mean").filter(|it| *it > 1.05) {
        row.notes
            .push(format!("an event held {held:.2} tokens on average"));
    }
    row
}

/// Such as `concurrent, 8 at once` or `constant, 1.55 requests/s`.
fn test(strategy: &Object) -> String {
    let kind = text_at(strategy, &["type_"])
        .or_else(|| text_at(strategy, &["kind"]))
        .unwrap_or("unnamed strategy");
    let rate = figure(strategy, &["rate"]).map(|it| format!(", {it:.4} requests/s"));
    let at_once = count_at(strategy, &["streams"]).map(|it| format!(", {it} at once"));
    format!(
        "{kind}{}{}",
        rate.unwrap_or_default(),
        at_once.unwrap_or_default()
    )
}

fn streams(strategy: &Object) -> Option<u32> {
    let kind = text_at(strategy, &["type_"]).or_else(|| text_at(strategy, &["kind"]));
    match kind? {
        "synchronous" => Some(1),
        "concurrent" => u32::try_from(count_at(strategy, &["streams"])?).ok(),
        _ => None,
    }
}

/// Where each version puts the model, the benchmark's own word first, the tokenizer's name last.
fn model_of(report: &Object, benchmark: &Object) -> Option<String> {
    let own: [&[&str]; 4] = [
        &["worker", "backend_model"],
        &["config", "backend", "model"],
        &["config", "requests", "model"],
        &["benchmarker", "backend", "model"],
    ];
    let shared: [&[&str]; 4] = [
        &["args", "model"],
        &["args", "backend_kwargs", "model"],
        &["config", "spec", "backend", "model"],
        &["config", "backend", "model"],
    ];
    own.iter()
        .find_map(|path| text_at(benchmark, path))
        .or_else(|| shared.iter().find_map(|path| text_at(report, path)))
        .or_else(|| text_at(benchmark, &["request_loader", "processor"]))
        .and_then(model)
}

/// A run of 0.1, which has its requests and nothing else.
fn first_row(group: &Object, run: &Object) -> Row {
    let results: Vec<&Object> = run
        .get("results")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .collect();
    let of_all = |value: &dyn Fn(&Object) -> Option<f64>| mean(results.iter().map(|it| value(it)));
    let span = |it: &Object| Some(figure(it, &["end_time"])? - figure(it, &["start_time"])?);
    let began = results.first().and_then(|it| figure(it, &["start_time"]));
    let ended = results.last().and_then(|it| figure(it, &["end_time"]));
    let output: f64 = results
        .iter()
        .filter_map(|it| figure(it, &["output_token_count"]))
        .sum();
    let gaps = results.iter().flat_map(|it| {
        let gaps = at(it, &["decode_times", "data"]).and_then(Value::as_array);
        gaps.into_iter().flatten().map(as_number)
    });
    let mode = text_at(run, &["mode"]).unwrap_or("unnamed mode");
    let mut row = Row {
        kind: Some(RowKind::Serving),
        test: match figure(run, &["rate"]) {
            Some(rate) => format!("{mode}, {rate:.4} requests/s"),
            None => mode.to_owned(),
        },
        model: text_at(group, &["args", "model"]).and_then(model),
        measured_at: began.and_then(utc),
        prompt_tokens: tokens(of_all(&|it| figure(it, &["prompt_token_count"]))),
        output_tokens: tokens(of_all(&|it| figure(it, &["output_token_count"]))),
        concurrency: (mode == "synchronous").then_some(1),
        n: Some(results.len() as u64),
        failed_requests: run
            .get("errors")
            .and_then(Value::as_array)
            .map(|it| it.len() as u64),
        aggregate_decode_tokens_per_second: began
            .zip(ended)
            .map(|(began, ended)| output / (ended - began))
            .filter(|it| it.is_finite() && *it > 0.0),
        ttft_ms: of_all(&|it| scaled(it, &["first_token_time"], MS_PER_S)),
        itl_ms: mean(gaps).map(|it| it * MS_PER_S),
        request_ms: of_all(&span).map(|it| it * MS_PER_S),
        ..Row::default()
    };
    row.notes.push(
        "guidellm 0.1 wrote requests only; the means are those its report made of them".to_owned(),
    );
    if results.is_empty() {
        row.failed = Some("no request succeeded".to_owned());
    }
    row
}

/// The mean of those that are there.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) = values
        .flatten()
        .fold((0.0, 0_u32), |(sum, count), it| (sum + it, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests;
