//! `LocalScore` submissions: the JSON a client posts.
//!
//! Each result is one prompt and its output, timed apart: `prompt_tps` is `n_prompt` over the
//! prompt's time, `gen_tps` is `n_gen` over the output's. `samples_ns`, where it has two values, is
//! those two times of one run, not repetitions. `ttft_ms` is the prompt's time and one token's
//! (<https://github.com/cjpais/LocalScore>). 0 stands for what was not measured. Power is the higher
//! of two readings and is left out; the score is made by the client and is left out too.

use serde_json::{Map, Value};

use super::document::{as_number, count, number, text};
use super::llama_bench::quantisation;
use super::names;
use super::{Claim, Document, Fault, MAX_ROWS, Row, RowKind, Rows};

/// Whether a file is one of these.
pub(super) fn claims(document: &Document) -> Claim {
    match document.object() {
        Some(it) if is_submission(it) => Claim::Yes,
        _ => Claim::No,
    }
}

fn is_submission(object: &Map<String, Value>) -> bool {
    object.contains_key("accelerator_info")
        && object.contains_key("runtime_info")
        && object.get("results").is_some_and(Value::is_array)
}

/// Its rows.
pub(super) fn rows(document: &Document) -> Rows {
    let submission = document
        .object()
        .ok_or_else(|| Fault::new("the file", "it is no submission"))?;
    let rows: Vec<Row> = submission
        .get("results")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .take(MAX_ROWS + 1)
        .filter_map(Value::as_object)
        .map(|it| row(submission, it))
        .collect();
    if rows.is_empty() {
        return Err(Fault::new("results", "it is empty: the run gave no result"));
    }
    let note = "power readings and the score are not taken over: the one is the higher of two, the other the client's";
    Ok((rows, vec![note.to_owned()]))
}

fn row(submission: &Map<String, Value>, result: &Map<String, Value>) -> Row {
    let about = |part: &str, key: &str| text(submission.get(part)?.as_object()?, key);
    let n_prompt = count(result, "n_prompt").unwrap_or(0);
    let n_gen = count(result, "n_gen").unwrap_or(0);
    let file_name = text(result, "model_filename");
    let model_name = text(result, "model_name");
    let (quant, doubt) = quantisation(
        file_name.as_deref().or(model_name.as_deref()),
        text(result, "model_type").as_deref(),
    );
    let quant = quant.or_else(|| {
        // "Medium" is the tail of "Q4_K - Medium".
        let quant = text(result, "model_quant_str")?;
        let first = quant.split_whitespace().next()?;
        names::is_quantisation(first).then(|| quantisation(None, Some(&quant)).0)?
    });
    let mut row = Row {
        kind: Some(RowKind::Serving),
        test: text(result, "name").unwrap_or_else(|| format!("pp{n_prompt}+tg{n_gen}")),
        // The model's own name is often only that of its architecture.
        model: file_name.as_deref().map(names::model).or(model_name),
        quant,
        model_bytes: count(result, "model_size").filter(|it| *it > 0),
        params_total: count(result, "model_n_params").filter(|it| *it > 0),
        hardware: about("accelerator_info", "name").or_else(|| about("system_info", "cpu_name")),
        engine: about("runtime_info", "name"),
        engine_version: about("runtime_info", "version"),
        measured_at: text(result, "test_time"),
        prompt_tokens: Some(n_prompt).filter(|it| *it > 0),
        output_tokens: Some(n_gen).filter(|it| *it > 0),
        concurrency: Some(1),
        ..Row::default()
    };
    row.notes.extend(doubt);
    let given = |key: &str| number(result, key).filter(|it| *it > 0.0);
    row.prefill_tokens_per_second = given("prompt_tps").filter(|_| n_prompt > 0);
    row.prefill_tokens_per_second_sd = given("prompt_tps_stddev");
    row.decode_tokens_per_second = given("gen_tps").filter(|_| n_gen > 0);
    row.decode_tokens_per_second_sd = given("gen_tps_stddev");
    row.ttft_ms = given("ttft_ms");
    if row.ttft_ms.is_some() {
        row.notes
            .push("TTFT is the prompt's time and one output token's".to_owned());
    }
    if row.prefill_tokens_per_second.is_none() && row.decode_tokens_per_second.is_none() {
        row.failed = Some("all rates are 0 or missing: the run gave no result".to_owned());
    }
    check(&mut row, result, n_prompt, n_gen);
    row
}

/// Two samples that make up the whole time are the two parts of one run; the rates must be theirs.
fn check(row: &mut Row, result: &Map<String, Value>, n_prompt: u64, n_gen: u64) {
    let samples: Vec<f64> = result
        .get("samples_ns")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(as_number)
        .collect();
    let (&[prompt_ns, output_ns], Some(whole_ms)) =
        (samples.as_slice(), number(result, "avg_time_ms"))
    else {
        return;
    };
    let near = |a: f64, b: f64| (a / b - 1.0).abs() <= 0.01;
    if !near((prompt_ns + output_ns) / 1e6, whole_ms) {
        return;
    }
    row.n = Some(1);
    row.prefill_tokens_per_second_sd = None;
    row.decode_tokens_per_second_sd = None;
    for (label, rate, tokens, ns) in [
        (
            "prompt_tps",
            row.prefill_tokens_per_second,
            n_prompt,
            prompt_ns,
        ),
        ("gen_tps", row.decode_tokens_per_second, n_gen, output_ns),
    ] {
        let Some(rate) = rate else { continue };
        let implied = tokens as f64 * 1e9 / ns;
        if !near(rate, implied) {
            row.failed = Some(format!(
                "{label} is said to be {rate:.2} tokens/s, and its own time gives {implied:.2}"
            ));
        }
    }
}
