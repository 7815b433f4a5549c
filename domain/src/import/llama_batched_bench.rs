//! llama.cpp's `llama-batched-bench`: JSON lines or its table, also within logs.
//!
//! `pp` and `tg` are tokens of one sequence, `pl` sequences run together; times are seconds.
//! `speed_pp` is `pl * pp / t_pp`, or `pp / t_pp` where the prompt is shared, `speed_tg` is
//! `pl * tg / t_tg`: the rate of all sequences, of which each gets one `pl`th
//! (<https://github.com/ggml-org/llama.cpp/tree/master/tools/batched-bench>). A line is one run
//! and names no model.

use serde_json::{Map, Value};

use super::document::{Table, count, flag, number};
use super::{Claim, Document, Fault, Row, RowKind, Rows};

/// The table's columns, and the keys that the JSON lines have for them.
const COLUMNS: [(&str, &str); 10] = [
    ("PP", "pp"),
    ("TG", "tg"),
    ("B", "pl"),
    ("N_KV", "n_kv"),
    ("T_PP s", "t_pp"),
    ("S_PP t/s", "speed_pp"),
    ("T_TG s", "t_tg"),
    ("S_TG t/s", "speed_tg"),
    ("T s", "t"),
    ("S t/s", "speed"),
];

/// Whether a file is one of these.
pub(super) fn claims(document: &Document) -> Claim {
    if document.objects().any(|(_, it)| is_row(it)) || document.tables.iter().any(is_table) {
        return Claim::Yes;
    }
    let is_environment = document.object().is_some_and(|it| {
        it.contains_key("bench_executable") && it.contains_key("bench_arguments")
    });
    if is_environment {
        return Claim::Looks(
            "the environment written beside a llama-batched-bench run, without results; give its output, \
             the lines with pp, tg and pl",
        );
    }
    Claim::No
}

/// Its rows.
pub(super) fn rows(document: &Document) -> Rows {
    let mut rows: Vec<Row> = document
        .objects()
        .filter(|(_, it)| is_row(it))
        .map(|(_, it)| row(it, true))
        .collect();
    for table in document.tables.iter().filter(|it| is_table(it)) {
        for (_, cells) in &table.rows {
            let object: Map<String, Value> = COLUMNS
                .iter()
                .filter_map(|(column, key)| {
                    let cell = &cells[table.column(column)?];
                    Some(((*key).to_owned(), Value::String(cell.clone())))
                })
                .collect();
            rows.push(row(&object, false));
        }
        if table.rows.is_empty() {
            rows.push(Row {
                failed: Some("the table has a header and no row: the run failed".to_owned()),
                ..Row::default()
            });
        }
    }
    if rows.is_empty() {
        return Err(Fault::new(
            "the file",
            "it has no row of llama-batched-bench",
        ));
    }
    let notes = vec!["neither model nor machine is named in this format".to_owned()];
    Ok((rows, notes))
}

fn is_row(object: &Map<String, Value>) -> bool {
    ["pp", "tg", "pl", "speed_pp", "speed_tg"]
        .iter()
        .all(|key| object.contains_key(*key))
}

fn is_table(table: &Table) -> bool {
    COLUMNS[..8]
        .iter()
        .all(|(column, _)| table.column(column).is_some())
}

fn row(object: &Map<String, Value>, exact: bool) -> Row {
    let get = |key| count(object, key).unwrap_or(0);
    let (pp, tg, pl) = (get("pp"), get("tg"), get("pl"));
    let mut row = Row {
        kind: Some(RowKind::Serving),
        test: format!("pp{pp}+tg{tg} x{pl}"),
        engine: Some("llama.cpp".to_owned()),
        prompt_tokens: Some(pp).filter(|it| *it > 0),
        output_tokens: Some(tg).filter(|it| *it > 0),
        concurrency: u32::try_from(pl).ok().filter(|it| *it > 0),
        n: Some(1),
        ..Row::default()
    };
    if pl == 0 || pp + tg == 0 {
        row.failed = Some("no sequence or no tokens: the run gave no result".to_owned());
        return row;
    }
    let shared =
        flag(object, "is_pp_shared").unwrap_or_else(|| get("n_kv") == pp + pl * tg && pl > 1);
    let separate = flag(object, "is_tg_separate") == Some(true);
    let prompts = if shared { pp } else { pl * pp };
    let outputs = pl * tg;
    let prefill = checked(&mut row, object, ("speed_pp", "t_pp"), prompts, exact);
    let decode = checked(&mut row, object, ("speed_tg", "t_tg"), outputs, exact);
    if prefill.is_none() && decode.is_none() && row.failed.is_none() {
        row.failed = Some("all rates are 0 or missing: the run gave no result".to_owned());
    }
    if pl == 1 || shared {
        row.prefill_tokens_per_second = prefill;
    } else {
        row.aggregate_prefill_tokens_per_second = prefill;
    }
    // One after the other, each sequence has the machine to itself.
    row.decode_tokens_per_second = decode.map(|it| if separate { it } else { it / pl as f64 });
    if pl > 1 && !separate {
        row.aggregate_decode_tokens_per_second = decode;
    }
    if shared {
        row.notes
            .push("all sequences share one prompt, processed once".to_owned());
    }
    if separate {
        row.notes
            .push("the sequences generate one after the other".to_owned());
    }
    row.notes.extend(settings(object));
    row
}

/// A rate, if it is one; the row fails where the rate's own time gives another.
fn checked(
    row: &mut Row,
    object: &Map<String, Value>,
    (speed, time): (&str, &str),
    tokens: u64,
    exact: bool,
) -> Option<f64> {
    let rate = number(object, speed).filter(|it| *it > 0.0)?;
    if tokens == 0 {
        return None;
    }
    if let Some(seconds) = number(object, time).filter(|it| *it > 0.0) {
        let implied = tokens as f64 / seconds;
        // The table rounds times to a millisecond.
        let rounding = if exact { 0.0 } else { 0.0006 / seconds };
        if (rate / implied - 1.0).abs() > 0.01 + rounding {
            row.failed = Some(format!(
                "{speed} is said to be {rate:.2} tokens/s, and {time} gives {implied:.2}"
            ));
        }
    }
    Some(rate)
}

fn settings(object: &Map<String, Value>) -> Option<String> {
    let mut words: Vec<String> = [
        ("n_kv_max", "cache of"),
        ("n_batch", "batch"),
        ("n_ubatch", "ubatch"),
        ("n_threads", "threads"),
    ]
    .into_iter()
    .filter_map(|(key, label)| Some(format!("{label} {}", count(object, key)?)))
    .collect();
    if let Some(layers) = number(object, "n_gpu_layers") {
        words.push(format!(
            "gpu layers asked for {layers}, which does not say that there was a GPU"
        ));
    }
    match number(object, "flash_attn").or_else(|| flag(object, "flash_attn").map(f64::from)) {
        Some(it) if it < 0.0 => words.push("flash attention automatic".to_owned()),
        Some(it) if it > 0.0 => words.push("flash attention on".to_owned()),
        Some(_) => words.push("flash attention off".to_owned()),
        None => {}
    }
    (!words.is_empty()).then(|| words.join(", "))
}
