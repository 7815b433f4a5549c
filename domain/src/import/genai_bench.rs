//! genai-bench runs: the JSON of one run.
//!
//! By sgl-project/genai-bench, `genai_bench/metrics/`:
//!
//! - `tpot` of a request = (latency - TTFT) / (output tokens - 1); `output_inference_speed` and
//!   `output_throughput` = 1 / `tpot`: one user's; the file has the mean of those rates, which lies
//!   above 1 / mean `tpot`;
//! - `input_throughput` = prompt tokens / TTFT with waiting and cached prefixes in it: no prefill rate;
//! - `mean_output_throughput_tokens_per_s` = all output tokens / `run_duration`: the whole server's. Files
//!   without a `run_duration` (those with `requests_per_minute`) meant something else by it;
//! - `_time_unit` is of TTFT, TPOT and the two latencies, seconds where it is missing;
//! - what writes no tokens (embeddings, images) has zeros for all output figures.
//!
//! Model, engine and hardware stand in `experiment_metadata.json` beside it, with the whole command
//! line; that file is no run.

use super::figures::{Object, count_at, figure, object_at, scaled, text_at, tokens};
use super::{Claim, Document, Fault, Row, RowKind, Rows};

/// Whether a file is one of these.
pub(super) fn claims(document: &Document) -> Claim {
    let mut claim = Claim::No;
    for (_, object) in document.objects() {
        let has = |key: &str| object.contains_key(key);
        if has("experiment_folder_name") && has("api_backend") && has("traffic_scenario") {
            return Claim::Looks(
                "genai-bench's experiment_metadata.json, which only describes its runs; \
                 give the file of a run",
            );
        }
        if object_at(object, &["aggregated_metrics", "stats", "ttft"]).is_none()
            || count_at(object, &["aggregated_metrics", "num_completed_requests"]).is_none()
            || !has("individual_request_metrics")
        {
            return Claim::No;
        }
        claim = Claim::Yes;
    }
    claim
}

/// Its rows.
pub(super) fn rows(document: &Document) -> Rows {
    let mut rows = Vec::new();
    for (line, object) in document.objects() {
        rows.push(row(object).map_err(|what| Fault::new(format!("line {line}"), what))?);
    }
    let notes = vec![
        "one user's decode rate is the mean of the requests' rates; model, engine and hardware \
         are not in a run's file"
            .to_owned(),
        "prompt tokens over TTFT hold waiting and cached prefixes: no prefill rate was taken"
            .to_owned(),
    ];
    Ok((rows, notes))
}

fn row(object: &Object) -> Result<Row, String> {
    let to_ms = match text_at(object, &["_time_unit"]).unwrap_or("s") {
        "s" => 1000.0,
        "ms" => 1.0,
        other => return Err(format!("_time_unit is {other}, neither s nor ms")),
    };
    let run = object_at(object, &["aggregated_metrics"])
        .ok_or_else(|| "aggregated_metrics is no object".to_owned())?;
    let ms = |metric: &str, statistic: &str| scaled(run, &["stats", metric, statistic], to_ms);
    let mean = |metric: &str| figure(run, &["stats", metric, "mean"]);
    let iterates = text_at(run, &["iteration_type"]).unwrap_or("num_concurrency");
    let concurrency = count_at(run, &["num_concurrency"]).and_then(|it| u32::try_from(it).ok());
    let completed = count_at(run, &["num_completed_requests"]);
    let scenario = text_at(run, &["scenario"]).unwrap_or("unnamed scenario");
    let is_timed = figure(run, &["run_duration"]).is_some();
    let mut row = Row {
        kind: Some(RowKind::Serving),
        test: match concurrency {
            Some(users) => format!("{scenario}, {users} at once"),
            None => scenario.to_owned(),
        },
        concurrency,
        n: completed,
        failed_requests: count_at(run, &["num_error_requests"]),
        prompt_tokens: tokens(mean("num_input_tokens")),
        output_tokens: tokens(mean("num_output_tokens")),
        decode_tokens_per_second: mean("output_inference_speed")
            .or_else(|| mean("output_throughput")),
        aggregate_decode_tokens_per_second: figure(run, &["mean_output_throughput_tokens_per_s"])
            .filter(|_| is_timed),
        ttft_ms: ms("ttft", "mean"),
        ttft_ms_p50: ms("ttft", "p50"),
        ttft_ms_p99: ms("ttft", "p99"),
        tpot_ms: ms("tpot", "mean"),
        tpot_ms_p50: ms("tpot", "p50"),
        request_ms: ms("e2e_latency", "mean"),
        ..Row::default()
    };
    if completed == Some(0) {
        let asked = count_at(run, &["num_requests"]).unwrap_or(0);
        row.failed = Some(format!("none of {asked} requests was completed"));
    } else if row.output_tokens.is_none() {
        row.failed = Some("no output tokens: a run of embeddings or images".to_owned());
    }
    if !is_timed {
        row.notes.push(
            "this older file does not say how long it ran, and its throughput is no rate of the \
             whole server; it was left out"
                .to_owned(),
        );
    }
    if let Some(size) = count_at(run, &["batch_size"]).filter(|it| *it > 1) {
        row.notes
            .push(format!("{size} inputs in one request ({iterates})"));
    }
    Ok(row)
}

#[cfg(test)]
mod tests;
