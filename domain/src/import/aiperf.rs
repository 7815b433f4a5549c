//! NVIDIA `AIPerf`'s `profile_export_aiperf.json`, and the export of GenAI-Perf, whose form it took over.
//!
//! Metrics are objects with a `unit` and `avg`, at the top level (schema 1, GenAI-Perf) or under
//! `records` (the first releases of 2025, which say `ttft` for `time_to_first_token`). Units are read, as
//! they changed. By ai-dynamo/aiperf, `src/aiperf/metrics/types/`:
//!
//! - `inter_token_latency` of a request = (latency - TTFT) / (output tokens - 1): what other tools
//!   call TPOT, so it is `tpot_ms` here; `inter_chunk_latency` = the gaps between events: `itl_ms`;
//! - `output_token_throughput_per_user` = 1 / `inter_token_latency` of each request, and `avg` the mean of
//!   those rates; GenAI-Perf's `..._per_request` divides by the whole latency and is not read;
//! - `output_token_throughput` = all output tokens / duration: the whole server's;
//! - `prefill_throughput(_per_user)` = whole prompt / TTFT: cached prefixes of a conversation and waiting
//!   are in it, so it is no prefill rate;
//! - `output_sequence_length` has the reasoning tokens in it, `output_token_count` has not;
//! - `total_gpu_energy` = the boards' energy counters over the run, all boards of the endpoints that
//!   were polled, idle ones too.
//!
//! Addresses, host names and the command line in `input_config` and `telemetry_data` are never read.

use serde_json::Value;

use super::document::{as_number, clipped, flag};
use super::figures::{Object, at, count_at, model, object_at, text_at, tokens};
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
    if at(object, &["metadata", "aggregation_type"]).is_some() && has("metrics") {
        return Claim::Looks(
            "AIPerf's aggregate of several runs; give each run's profile_export_aiperf.json",
        );
    }
    if at(object, &["metadata", "x_request_id"]).is_some() && has("metrics") {
        return Claim::Looks("AIPerf's record of single requests; give profile_export_aiperf.json");
    }
    if has("timeslices") && has("input_config") {
        return Claim::Looks("AIPerf's time slices of a run; give profile_export_aiperf.json");
    }
    let metrics = metrics(object);
    let stated = [
        "request_latency",
        "request_throughput",
        "request_count",
        "output_token_throughput",
        "inter_token_latency",
        "output_sequence_length",
    ];
    let stated = stated
        .iter()
        .filter(|it| at(metrics, &[it, "unit"]).is_some() && at(metrics, &[it, "avg"]).is_some());
    // A run in which every request failed has no metrics.
    let all_failed = object_at(object, &["input_config"]).is_some()
        && has("error_summary")
        && has("was_cancelled");
    if stated.count() >= 3 || all_failed {
        Claim::Yes
    } else {
        Claim::No
    }
}

fn metrics(object: &Object) -> &Object {
    object_at(object, &["records"]).unwrap_or(object)
}

/// Its rows.
pub(super) fn rows(document: &Document) -> Rows {
    let mut rows = Vec::new();
    for (line, object) in document.objects() {
        rows.push(row(object).map_err(|what| Fault::new(format!("line {line}"), what))?);
    }
    let notes = vec![
        "TPOT is AIPerf's inter_token_latency, ITL its inter_chunk_latency; one user's decode rate \
         is the mean of the requests' rates; the aggregate is the whole server's"
            .to_owned(),
        "prompt over TTFT holds waiting and cached prefixes: no prefill rate was taken".to_owned(),
    ];
    Ok((rows, notes))
}

/// What a unit is in milliseconds, joules, tokens, or tokens a second; none if it is not known.
fn factor(unit: &str) -> Option<f64> {
    let mut parts = unit.split('/').map(str::trim);
    match (parts.next()?, parts.next()) {
        ("tokens" | "requests" | "count" | "J", None) | ("tokens", Some("J")) => Some(1.0),
        ("mJ", None) => Some(1e-3),
        ("kJ", None) => Some(1e3),
        ("MJ", None) => Some(1e6),
        ("tokens" | "requests", Some(time)) => Some(1e3 / milliseconds(time)?),
        (time, None) => milliseconds(time),
        _ => None,
    }
}

fn milliseconds(unit: &str) -> Option<f64> {
    match unit {
        "ns" => Some(1e-6),
        "us" | "µs" => Some(1e-3),
        "ms" => Some(1.0),
        "s" | "sec" | "second" | "seconds" => Some(1e3),
        _ => None,
    }
}

/// A statistic of the first of these metrics that has it, in milliseconds, joules, tokens, or
/// tokens a second.
fn statistic(metrics: &Object, names: &[&str], statistic: &str) -> Result<Option<f64>, String> {
    for name in names {
        let Some(value) = at(metrics, &[name, statistic]).and_then(as_number) else {
            continue;
        };
        if value == 0.0 {
            continue;
        }
        let unit = text_at(metrics, &[name, "unit"]).unwrap_or_default();
        let factor = factor(unit).ok_or_else(|| format!("{name} has the unit {unit:?}"))?;
        return Ok(Some(value * factor));
    }
    Ok(None)
}

fn row(object: &Object) -> Result<Row, String> {
    let metrics = metrics(object);
    let of = |names: &[&str], which: &str| statistic(metrics, names, which);
    let empty = Object::new();
    let config = object_at(object, &["input_config"]).unwrap_or(&empty);
    let ttft = ["time_to_first_token", "ttft"];
    let errors = errors(object, metrics);
    let mut row = Row {
        kind: Some(RowKind::Serving),
        model: model_of(config),
        hardware: hardware(object),
        tool_version: text_at(object, &["aiperf_version"]).map(str::to_owned),
        measured_at: text_at(object, &["start_time"]).map(str::to_owned),
        prompt_tokens: tokens(of(&["input_sequence_length", "isl"], "avg")?),
        output_tokens: tokens(of(&["output_sequence_length", "osl"], "avg")?),
        concurrency: concurrency(config),
        n: tokens(of(&["request_count"], "avg")?),
        failed_requests: errors,
        decode_tokens_per_second: of(&["output_token_throughput_per_user"], "avg")?,
        aggregate_decode_tokens_per_second: of(&["output_token_throughput"], "avg")?,
        ttft_ms: of(&ttft, "avg")?,
        ttft_ms_p50: of(&ttft, "p50")?,
        ttft_ms_p99: of(&ttft, "p99")?,
        tpot_ms: of(&["inter_token_latency"], "avg")?,
        tpot_ms_p50: of(&["inter_token_latency"], "p50")?,
        itl_ms: of(&["inter_chunk_latency"], "avg")?,
        request_ms: of(&["request_latency"], "avg")?,
        energy_joules: of(&["total_gpu_energy"], "avg")?,
        joules_per_output_token: of(&["output_tokens_per_joule"], "avg")?.map(|it| 1.0 / it),
        ..Row::default()
    };
    row.test = test(config, &row);
    if row.energy_joules.is_some() || row.joules_per_output_token.is_some() {
        row.energy_scope =
            Some("gpu.board: all boards of the polled endpoints, idle ones too".to_owned());
    }
    if row.request_ms.is_none() && row.aggregate_decode_tokens_per_second.is_none() {
        row.failed = Some(match errors {
            Some(errors) if errors > 0 => format!("no request succeeded, {errors} failed"),
            _ => "no request succeeded".to_owned(),
        });
    } else if row.output_tokens.is_none() && row.aggregate_decode_tokens_per_second.is_none() {
        row.failed = Some("no output tokens: a run of embeddings, rankings or images".to_owned());
    }
    if flag(config, "streaming").or_else(|| flag(object_at(config, &["endpoint"])?, "streaming"))
        == Some(false)
    {
        // The whole answer arrives at once, so the first token's time is the last one's.
        row.ttft_ms = None;
        row.ttft_ms_p50 = None;
        row.ttft_ms_p99 = None;
        row.notes
            .push("answers were not streamed, so there is no time to the first token".to_owned());
    }
    notes(object, config, metrics, &mut row)?;
    Ok(row)
}

fn notes(object: &Object, config: &Object, metrics: &Object, row: &mut Row) -> Result<(), String> {
    if is_genai_perf(config) {
        row.notes
            .push("written by GenAI-Perf, which AIPerf replaced".to_owned());
    }
    if flag(object, "was_cancelled") == Some(true) {
        row.notes
            .push("the run was cancelled before its end".to_owned());
    }
    if datasets(config).any(|it| text_at(it, &["format"]) == Some("multi_turn"))
        || text_at(config, &["input", "custom_dataset_type"]) == Some("multi_turn")
    {
        row.notes.push(
            "conversations of several turns: prompts repeat what came before, and a server's cache \
             shortens TTFT"
                .to_owned(),
        );
    }
    if let Some(tokenizer) = text_at(config, &["tokenizer", "name"]).and_then(model)
        && row.model.as_ref() != Some(&tokenizer)
    {
        row.notes
            .push(format!("counted with the tokenizer of {tokenizer}"));
    }
    if let Some(missed) = statistic(metrics, &["osl_mismatch_count"], "avg")? {
        row.notes.push(format!(
            "{missed:.0} outputs are not as long as was asked for"
        ));
    }
    if let (Some(tpot), Some(itl)) = (row.tpot_ms, row.itl_ms)
        && itl > 1.25 * tpot
    {
        row.notes.push(format!(
            "about {:.1} tokens arrive in one event",
            itl / tpot
        ));
    }
    Ok(())
}

fn is_genai_perf(config: &Object) -> bool {
    ["subcommand", "formatted_model_name", "perf_analyzer"]
        .iter()
        .any(|it| config.contains_key(*it))
}

/// Requests that failed: their count, or the sum of the kinds of errors.
fn errors(object: &Object, metrics: &Object) -> Option<u64> {
    if let Some(count) = count_at(metrics, &["error_request_count", "avg"]) {
        return Some(count);
    }
    let kinds = object.get("error_summary")?.as_array()?;
    Some(
        kinds
            .iter()
            .filter_map(|it| count_at(it.as_object()?, &["count"]))
            .fold(0, u64::saturating_add),
    )
}

fn datasets(config: &Object) -> impl Iterator<Item = &Object> {
    members(config, "datasets")
}

fn members<'a>(config: &'a Object, key: &str) -> impl Iterator<Item = &'a Object> + use<'a> {
    let members = config.get(key).and_then(Value::as_array);
    members.into_iter().flatten().filter_map(Value::as_object)
}

fn model_of(config: &Object) -> Option<String> {
    let lists: [&[&str]; 4] = [
        &["endpoint", "model_names"],
        &["models", "items"],
        &["model_names"],
        &["model"],
    ];
    let first = lists
        .iter()
        .find_map(|path| at(config, path)?.as_array()?.first())
        .or_else(|| at(config, &["model"]))?;
    first
        .as_str()
        .or_else(|| first.get("name")?.as_str())
        .and_then(model)
}

fn concurrency(config: &Object) -> Option<u32> {
    let counted = members(config, "phases")
        .filter(|it| flag(it, "exclude_from_results") != Some(true))
        .find_map(|it| count_at(it, &["concurrency"]));
    let paths: [&[&str]; 3] = [
        &["loadgen", "concurrency"],
        &["perf_analyzer", "stimulus", "concurrency"],
        &["concurrency"],
    ];
    counted
        .or_else(|| paths.iter().find_map(|path| count_at(config, path)))
        .and_then(|it| u32::try_from(it).ok())
        .filter(|it| *it > 0)
}

/// The names of the GPUs whose telemetry the run holds.
fn hardware(object: &Object) -> Option<String> {
    let endpoints = object_at(object, &["telemetry_data", "endpoints"])?;
    let mut names: Vec<&str> = endpoints
        .values()
        .filter_map(|it| it.get("gpus")?.as_object())
        .flat_map(Object::values)
        .filter_map(|it| it.get("gpu_name")?.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| clipped(&names.join(", ")).to_owned())
}

fn test(config: &Object, row: &Row) -> String {
    let shape = match (row.prompt_tokens, row.output_tokens) {
        (Some(input), Some(output)) => format!("{input}/{output}"),
        _ => "serving".to_owned(),
    };
    let rate = at(config, &["loadgen", "request_rate"]).and_then(as_number);
    match (row.concurrency, rate) {
        (Some(users), _) => format!("{shape}, {users} at once"),
        (None, Some(rate)) => format!("{shape}, {rate} requests/s"),
        (None, None) => shape,
    }
}

#[cfg(test)]
mod tests;
