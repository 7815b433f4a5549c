//! `InferenceX` (before: `InferenceMAX`) results of one point, and lists of them.
//!
//! Three generations and a sibling, all by SemiAnalysisAI/InferenceX:
//!
//! - fixed lengths, `utils/process_result.py`: the keys of vLLM's benchmark in **seconds**, rates **per
//!   GPU**. `output_tput_per_gpu` = output tokens a second / GPUs, where the GPUs are
//!   `tp * pp * pcp_size`, or, prefill and decode apart, those that decode (`num_decode_gpu`, if
//!   any). `intvty` = 1 / TPOT, so its deviation means nothing and is not read. `isl` and `osl` are
//!   what was asked, not what came;
//! - agent traces, flat, `utils/process_agentic_result.py`: `users` or `conc`, `ttlt` or `e2el`,
//!   whole rates as `output_tput_tps`; a `tpot` there is `itl` under another name;
//! - agent traces, nested, `utils/agentic/aggregation/`: `request_metrics{latency, throughput,
//!   tokens}`, where TPOT is (latency - TTFT) / (output tokens - 1) of each request;
//! - baselines of one node: `metrics` in milliseconds and whole rates, and the power of all its cards.
//!
//! Joules (`utils/aggregate_power.py`, whole deployment, boards as the vendor's tool reports them) are read
//! if `power_valid` is 1 and `power_metric_schema_version` is 2: before that the same keys meant
//! the joules of one role, or an average that was not checked.

use super::document::{as_number, flag};
use super::figures::{
    Object, at, count_at, differ, figure, model, object_at, per_second, scaled, text_at, tokens,
};
use super::{Claim, Document, Fault, Row, RowKind, Rows};

const MS_PER_S: f64 = 1000.0;

/// Whether a file is one of these.
pub(super) fn claims(document: &Document) -> Claim {
    let mut objects = document.objects().peekable();
    if objects.peek().is_some() && objects.all(|(_, object)| is_point(object)) {
        Claim::Yes
    } else {
        Claim::No
    }
}

fn is_point(object: &Object) -> bool {
    let text = |key: &str| text_at(object, &[key]).is_some();
    let has = |key: &str| object.contains_key(key);
    let number = |key: &str| object.get(key).and_then(as_number).is_some();
    let labelled = text("hw") && text("model") && (number("tp") || has("is_multinode"));
    // The first files had neither framework nor precision.
    let flat = number("tput_per_gpu") && (text("framework") || has("mean_intvty"));
    let agentic = text("infmax_model_prefix") && text("framework") && has("num_requests_total");
    labelled && (flat || agentic || is_baseline(object))
}

fn is_baseline(object: &Object) -> bool {
    text_at(object, &["framework"]).is_some()
        && at(object, &["conc"]).is_some()
        && at(object, &["metrics", "output_token_throughput"]).is_some()
        && at(object, &["metrics", "successful_requests"]).is_some()
}

/// Its rows.
pub(super) fn rows(document: &Document) -> Rows {
    let mut rows = Vec::new();
    for (line, object) in document.objects() {
        if !is_point(object) {
            return Err(Fault::new(
                format!("line {line}"),
                "this one among several points is none",
            ));
        }
        rows.push(if is_baseline(object) {
            baseline(object)
        } else {
            point(object)
        });
    }
    let notes = vec![
        "times were seconds and are milliseconds here; one user's decode rate is 1 / mean TPOT; \
         input tokens a second are no prefill rate and were left out"
            .to_owned(),
    ];
    Ok((rows, notes))
}

/// What all generations say alike.
fn labels(object: &Object) -> Row {
    let text = |key: &str| text_at(object, &[key]).map(str::to_owned);
    let mut row = Row {
        kind: Some(RowKind::Serving),
        model: text_at(object, &["model"]).and_then(model),
        quant: text("precision"),
        hardware: text("hw"),
        engine: text("framework"),
        engine_version: text_at(object, &["image"]).and_then(image_version),
        concurrency: count_at(object, &["conc"])
            .or_else(|| count_at(object, &["users"]))
            .and_then(|it| u32::try_from(it).ok()),
        prompt_tokens: count_at(object, &["isl"]),
        output_tokens: count_at(object, &["osl"]),
        ..Row::default()
    };
    let shape = match (row.prompt_tokens, row.output_tokens) {
        (Some(input), Some(output)) => format!("{input}/{output}"),
        _ => text("scenario_type").unwrap_or_else(|| "serving".to_owned()),
    };
    row.test = match row.concurrency {
        Some(users) => format!("{shape}, {users} at once"),
        None => shape,
    };
    let speculation = text("spec_decoding").or_else(|| text("mtp"));
    if let Some(method) = speculation.filter(|it| !matches!(it.as_str(), "none" | "off")) {
        row.notes.push(format!(
            "speculative decoding: {method}; the gap between events is not the time per token"
        ));
    }
    if flag(object, "dp_attention") == Some(true) {
        row.notes.push("attention runs data-parallel".to_owned());
    }
    row
}

/// The tag of a container image, where it is a version.
fn image_version(image: &str) -> Option<String> {
    let (_, tag) = image.rsplit_once(':')?;
    let digits = tag.strip_prefix('v').unwrap_or(tag);
    let is_version = digits.starts_with(|c: char| c.is_ascii_digit()) && !tag.contains('/');
    is_version.then(|| tag.to_owned())
}

/// The GPUs of a deployment: all of them, and those that output tokens are divided by.
struct Gpus {
    total: f64,
    decoding: f64,
    said: String,
}

fn gpus(object: &Object) -> Option<Gpus> {
    let count = |key: &str| figure(object, &[key]);
    if let Some(prefill) = count("num_prefill_gpu") {
        let decode = count("num_decode_gpu").unwrap_or(0.0);
        let total = prefill + decode;
        return Some(if decode > 0.0 {
            Gpus {
                total,
                decoding: decode,
                said: format!("{prefill} GPUs prefill and {decode} decode"),
            }
        } else {
            Gpus {
                total,
                decoding: total,
                said: format!("{total} GPUs"),
            }
        });
    }
    let tp = count("tp")?;
    let total = tp * count("pp").unwrap_or(1.0) * count("pcp_size").unwrap_or(1.0);
    Some(Gpus {
        total,
        decoding: total,
        said: format!("{total} GPUs"),
    })
}

fn point(object: &Object) -> Row {
    let mut row = labels(object);
    let nested = object_at(object, &["request_metrics"]);
    let is_trace = text_at(object, &["scenario_type"]).is_some() && row.prompt_tokens.is_none();
    let ms = |names: &[&str], statistics: &[&str]| {
        names.iter().find_map(|name| {
            statistics.iter().find_map(|statistic| match nested {
                Some(nested) => scaled(nested, &["latency", name, statistic], MS_PER_S),
                None => scaled(object, &[&format!("{statistic}_{name}")], MS_PER_S),
            })
        })
    };
    row.ttft_ms = ms(&["ttft"], &["mean"]);
    row.ttft_ms_p50 = ms(&["ttft"], &["median", "p50"]);
    row.ttft_ms_p99 = ms(&["ttft"], &["p99"]);
    row.request_ms = ms(&["e2el", "ttlt"], &["mean"]);
    row.itl_ms = ms(&["itl"], &["mean"]);
    row.tpot_ms = ms(&["tpot"], &["mean"]);
    row.tpot_ms_p50 = ms(&["tpot"], &["median", "p50"]);
    if is_trace && nested.is_none() && row.tpot_ms.is_some() && row.tpot_ms == row.itl_ms {
        row.tpot_ms = None;
        row.tpot_ms_p50 = None;
        row.notes.push(
            "tpot is the gap between events under another name here and was left out".to_owned(),
        );
    }
    if nested.is_some() {
        // Both are the mean time per token of a request; gaps between events are not in the file.
        row.itl_ms = None;
    }
    row.decode_tokens_per_second = per_second(row.tpot_ms);
    aggregate(object, nested, &mut row);
    requests(object, nested, &mut row);
    energy(object, &mut row);
    row
}

/// Output tokens a second of the whole deployment.
fn aggregate(object: &Object, nested: Option<&Object>, row: &mut Row) {
    let whole = match nested {
        Some(nested) => figure(nested, &["throughput", "output", "tokens_per_second"]),
        None => figure(object, &["output_tput_tps"]),
    };
    let Some(gpus) = gpus(object) else { return };
    if whole.is_some() {
        row.aggregate_decode_tokens_per_second = whole;
        row.notes.push(format!("{} served", gpus.said));
        return;
    }
    let Some(output) = figure(object, &["output_tput_per_gpu"]) else {
        row.notes
            .push("the file gives prompt and output tokens a second in one figure only".to_owned());
        return;
    };
    let output = output * gpus.decoding;
    let input = figure(object, &["input_tput_per_gpu"]);
    // Files of November 2025 divide by GPUs that they do not name: the sum shows it.
    if let (Some(both), Some(input)) = (figure(object, &["tput_per_gpu"]), input) {
        let prefilling = figure(object, &["num_prefill_gpu"]).unwrap_or(gpus.total);
        if differ(both * gpus.total, output + input * prefilling) {
            row.notes.push(format!(
                "the rates per GPU do not add up over {}; no aggregate was made of them",
                gpus.said
            ));
            return;
        }
    }
    row.aggregate_decode_tokens_per_second = Some(output);
    row.notes.push(format!(
        "the aggregate is the rate per GPU times the GPUs that output was counted over: {}",
        gpus.said
    ));
}

/// Requests and what they really were, where a trace was replayed.
fn requests(object: &Object, nested: Option<&Object>, row: &mut Row) {
    let succeeded = count_at(object, &["num_requests_successful"]);
    let total = count_at(object, &["num_requests_total"]);
    row.n = succeeded;
    // Later files say which of the rest were the warm-up.
    row.failed_requests = count_at(object, &["request_accounting", "records_error_dropped"])
        .or_else(|| Some(total?.saturating_sub(succeeded?)));
    if succeeded == Some(0) {
        row.failed = Some(match total {
            Some(total) => format!("none of {total} requests succeeded"),
            None => "no request succeeded".to_owned(),
        });
        return;
    }
    let mean = |flat: &str, key: &str| match nested {
        Some(nested) => figure(nested, &["tokens", key, "mean"]),
        None => figure(object, &[flat]),
    };
    let actual = mean("mean_output_tokens_actual", "output_actual");
    row.prompt_tokens = row
        .prompt_tokens
        .or(tokens(mean("mean_input_tokens", "input")));
    row.output_tokens = row.output_tokens.or(tokens(actual));
    if let (Some(actual), Some(expected)) = (
        actual,
        mean("mean_output_tokens_expected", "output_expected"),
    ) && !(0.5..=2.0).contains(&(actual / expected))
    {
        row.notes.push(format!(
            "outputs have {actual:.0} tokens where the trace has {expected:.0}"
        ));
    }
    if let Some(rate) = figure(object, &["server_gpu_cache_hit_rate"])
        .or_else(|| figure(object, &["server_metrics", "cache", "gpu_cache_hit_rate"]))
    {
        row.notes.push(format!(
            "{:.0} % of the prompt tokens came from the server's cache",
            100.0 * rate
        ));
    }
    if object.contains_key("isl") {
        row.notes
            .push("prompt and output lengths are those asked for".to_owned());
    }
    if row.decode_tokens_per_second.is_none()
        && row.aggregate_decode_tokens_per_second.is_none()
        && row.ttft_ms.is_none()
    {
        row.failed = Some("the file has no figure".to_owned());
    }
}

fn energy(object: &Object, row: &mut Row) {
    let valid = count_at(object, &["power_valid"]) == Some(1)
        || at(object, &["power_valid"]).and_then(serde_json::Value::as_bool) == Some(true);
    let version = count_at(object, &["power_metric_schema_version"]);
    if valid && version == Some(2) {
        row.energy_joules = figure(object, &["total_gpu_energy_j"]);
        row.joules_per_output_token = figure(object, &["joules_per_output_token"]);
        if row.energy_joules.is_some() || row.joules_per_output_token.is_some() {
            row.energy_scope = Some("gpu.board: all GPU boards of the deployment".to_owned());
        }
    } else if object.contains_key("power_valid") && !valid {
        row.notes
            .push("the power readings were found invalid; no joules".to_owned());
    } else if object.contains_key("avg_power_w") || object.contains_key("joules_per_output_token") {
        row.notes.push(
            "joules are of a version before 2 of the power figures, which meant other things; \
             none were taken"
                .to_owned(),
        );
    }
}

/// One node's baseline: milliseconds, whole rates.
fn baseline(object: &Object) -> Row {
    let mut row = labels(object);
    let metric = |key: &str| figure(object, &["metrics", key]);
    row.measured_at = text_at(object, &["ts"]).map(str::to_owned);
    row.n = count_at(object, &["metrics", "successful_requests"]);
    row.failed_requests = count_at(object, &["metrics", "failed_requests"]);
    if row.n == Some(0) {
        row.failed = Some("no request succeeded".to_owned());
    }
    row.aggregate_decode_tokens_per_second = metric("output_token_throughput");
    row.ttft_ms = metric("mean_ttft_ms");
    row.ttft_ms_p50 = metric("median_ttft_ms");
    row.ttft_ms_p99 = metric("p99_ttft_ms");
    row.tpot_ms = metric("mean_tpot_ms");
    row.tpot_ms_p50 = metric("median_tpot_ms");
    row.itl_ms = metric("mean_itl_ms");
    row.request_ms = metric("mean_e2el_ms");
    row.decode_tokens_per_second = per_second(row.tpot_ms);
    if row.tpot_ms.is_none() && row.tpot_ms_p50.is_some() {
        row.notes
            .push("medians only: no mean rate of one user".to_owned());
    }
    if let (Some(requests), Some(output), Some(total)) = (
        metric("request_throughput"),
        row.aggregate_decode_tokens_per_second,
        metric("total_token_throughput"),
    ) {
        let (asked_in, asked_out) = (row.prompt_tokens, row.output_tokens);
        row.prompt_tokens = tokens(Some((total - output) / requests));
        row.output_tokens = tokens(Some(output / requests));
        if let (Some(input), Some(output), Some(got_in), Some(got_out)) =
            (asked_in, asked_out, row.prompt_tokens, row.output_tokens)
            && (got_in, got_out) != (input, output)
        {
            row.notes.push(format!(
                "asked for {input}/{output} tokens a request; by its rates they were {got_in}/{got_out}"
            ));
        }
    }
    if let Some(watts) = figure(object, &["gpu", "total_avg_power_w"]) {
        let cards = figure(object, &["gpu", "n_gpus"]).unwrap_or(0.0);
        let used = figure(object, &["tp"]).unwrap_or(0.0);
        row.notes.push(if cards > used {
            format!(
                "{watts} W are of {cards} cards while {used} served: idle ones are in it, \
                 so no joules were made of it"
            )
        } else {
            format!("{watts} W on average; a mean power is no measured energy")
        });
    }
    row
}

#[cfg(test)]
mod tests;
