//! `vllm bench serve --save-result`, and `benchmark_serving.py`, which it was before.
//!
//! One JSON object a run; appended runs are one object after another. By
//! `calculate_metrics` in vllm-project/vllm, `vllm/benchmarks/serve.py` (before that
//! `benchmarks/benchmark_serving.py`):
//!
//! - `output_throughput` = all output tokens / duration: the whole server's, not one user's;
//! - TPOT of a request = (latency - TTFT) / (output tokens - 1), so the first token is outside; the
//!   file has the mean over requests, and one user decodes 1000 / `mean_tpot_ms` tokens a second;
//! - ITL = gaps between streamed chunks, and a chunk may hold several tokens;
//! - there is no prefill rate: input tokens / duration has the decoding in it;
//! - `p50_*` is `median_*`; a metric of 0 with completed requests was not measured (no streaming).
//!
//! The runs keep texts, errors and times of every request when asked to; none of that is read.
//! `backend` names the client's request format. Where that is not one of `OpenAI`'s it also names
//! the server.

use super::document::as_number;
use super::figures::{Object, at, count_at, differ, figure, model, per_second, text_at, tokens};
use super::{Claim, Document, Fault, Row, RowKind, Rows};

/// Whether a file is one of these.
pub(super) fn claims(document: &Document) -> Claim {
    let mut claim = Claim::No;
    for (_, object) in document.objects() {
        match claim_of(object) {
            Claim::Yes => claim = Claim::Yes,
            other => return other,
        }
    }
    claim
}

fn claim_of(object: &Object) -> Claim {
    let has = |key: &str| object.contains_key(key);
    let all = |keys: &[&str]| keys.iter().all(|it| has(it));
    if all(&["completed", "request_throughput", "duration"]) {
        if has("total_output_tokens_retokenized") || has("mean_e2e_latency_ms") {
            return Claim::Looks(
                "a run of SGLang's bench_serving, which shares vLLM's names and counts tokens \
                 otherwise; `vllm bench serve --backend sglang` measures the same server",
            );
        }
        if has("input_sequence_throughput") || has("total_input_sequences") {
            return Claim::Looks("`vllm bench serve` of an embedding model, which decodes nothing");
        }
    }
    if all(&["elapsed_time", "num_requests", "tokens_per_second"]) {
        return Claim::Looks(
            "`vllm bench throughput`, which gives prompt and output tokens in one figure; \
             give a result of `vllm bench serve --save-result`",
        );
    }
    if all(&["avg_latency", "latencies", "percentiles"]) {
        return Claim::Looks(
            "`vllm bench latency`, which gives prompt and output in one time; \
             give a result of `vllm bench serve --save-result`",
        );
    }
    if all(&["benchmark", "model", "metric"]) && object["metric"].get("benchmark_values").is_some()
    {
        return Claim::Looks(
            "vLLM's result in PyTorch's benchmark format; give the JSON that --save-result writes",
        );
    }
    let numbers = [
        "duration",
        "completed",
        "total_input_tokens",
        "total_output_tokens",
        "request_throughput",
        "output_throughput",
    ];
    let means = [
        "mean_ttft_ms",
        "mean_tpot_ms",
        "mean_itl_ms",
        "mean_e2el_ms",
    ];
    let is_run = numbers
        .iter()
        .all(|it| object.get(*it).is_some_and(|it| as_number(it).is_some()))
        && all(&["model_id", "tokenizer_id", "num_prompts", "date"])
        && means.iter().any(|it| has(it));
    if is_run { Claim::Yes } else { Claim::No }
}

/// Its rows.
pub(super) fn rows(document: &Document) -> Rows {
    let mut rows = Vec::new();
    for (line, object) in document.objects() {
        rows.push(row(object).map_err(|what| Fault::new(format!("line {line}"), what))?);
    }
    let notes = vec![
        "one user's decode rate is 1000 / mean TPOT; the aggregate is the whole server's; \
         vLLM gives no prefill rate"
            .to_owned(),
    ];
    Ok((rows, notes))
}

fn row(run: &Object) -> Result<Row, &'static str> {
    let completed = count_at(run, &["completed"]).ok_or("completed is no count of requests")?;
    let asked = count_at(run, &["num_prompts"]);
    let output_tokens = figure(run, &["total_output_tokens"]);
    let backend = text_at(run, &["backend"]);
    let concurrency = count_at(run, &["max_concurrency"]).and_then(|it| u32::try_from(it).ok());
    let failed = if completed == 0 {
        Some(match asked {
            Some(asked) => format!("none of {asked} requests was completed"),
            None => "no request was completed".to_owned(),
        })
    } else if output_tokens.is_none() {
        Some("the completed requests gave no output tokens".to_owned())
    } else {
        None
    };
    let a_request = |total: Option<f64>| tokens(total.map(|it| it / completed as f64));
    let tpot_ms = figure(run, &["mean_tpot_ms"]);
    let median = |metric: &str| {
        figure(run, &[&format!("median_{metric}_ms")])
            .or_else(|| figure(run, &[&format!("p50_{metric}_ms")]))
    };
    let mut row = Row {
        kind: Some(RowKind::Serving),
        test: test(run, concurrency),
        model: text_at(run, &["model_id"]).and_then(model),
        engine: backend
            .filter(|it| !it.starts_with("openai") && !it.ends_with("-chat"))
            .map(str::to_owned),
        measured_at: text_at(run, &["date"]).map(str::to_owned),
        prompt_tokens: a_request(figure(run, &["total_input_tokens"])),
        output_tokens: a_request(output_tokens),
        concurrency,
        n: Some(completed),
        failed_requests: count_at(run, &["failed"])
            .or_else(|| asked.map(|it| it.saturating_sub(completed))),
        decode_tokens_per_second: per_second(tpot_ms),
        aggregate_decode_tokens_per_second: figure(run, &["output_throughput"]),
        ttft_ms: figure(run, &["mean_ttft_ms"]),
        ttft_ms_p50: median("ttft"),
        ttft_ms_p99: figure(run, &["p99_ttft_ms"]),
        tpot_ms,
        tpot_ms_p50: median("tpot"),
        itl_ms: figure(run, &["mean_itl_ms"]),
        request_ms: figure(run, &["mean_e2el_ms"]),
        failed,
        ..Row::default()
    };
    row.notes = notes(run, &row);
    Ok(row)
}

/// How requests were sent.
fn test(run: &Object, concurrency: Option<u32>) -> String {
    let rate = at(run, &["request_rate"])
        .and_then(as_number)
        .map(|it| format!("{it} requests/s"));
    let limit = concurrency.map(|it| format!("at most {it} at once"));
    match (rate, limit) {
        (Some(rate), Some(limit)) => format!("{rate}, {limit}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "all at once".to_owned(),
    }
}

fn notes(run: &Object, row: &Row) -> Vec<String> {
    let mut notes = Vec::new();
    if row.concurrency.is_none() {
        notes.push(match count_at(run, &["max_concurrent_requests"]) {
            Some(most) => format!("no limit of concurrency; up to {most} requests ran at once"),
            None => "no limit of concurrency: requests overlap as they come".to_owned(),
        });
    }
    if let Some(burstiness) = figure(run, &["burstiness"])
        && at(run, &["request_rate"]).and_then(as_number).is_some()
        && differ(burstiness, 1.0)
    {
        notes.push(format!("burstiness {burstiness}"));
    }
    if let (Some(itl), Some(tpot)) = (row.itl_ms, row.tpot_ms)
        && itl > 1.25 * tpot
    {
        notes.push(format!(
            "about {:.1} tokens arrive in one event (speculative decoding, or chunks), so the gap \
             between events is not the time per token",
            itl / tpot
        ));
    }
    if let Some(length) = figure(run, &["spec_decode_acceptance_length"]) {
        notes.push(format!("speculative decoding, {length:.2} tokens a step"));
    }
    if let (Some(total), Some(seconds), Some(rate)) = (
        figure(run, &["total_output_tokens"]),
        figure(run, &["duration"]),
        row.aggregate_decode_tokens_per_second,
    ) && differ(total / seconds, rate)
    {
        notes.push(format!(
            "output_throughput contradicts the file's own tokens and seconds ({:.1} a second)",
            total / seconds
        ));
    }
    if text_at(run, &["backend"]).is_some_and(|it| it.starts_with("openai")) {
        notes.push("the server is not named; the client spoke OpenAI's protocol".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests;
