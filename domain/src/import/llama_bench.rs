//! llama.cpp's `llama-bench`: JSON, JSON lines, CSV, and its Markdown table, also within logs.
//!
//! A test of `n_prompt` tokens with `n_gen` 0 is prefill, one of `n_gen` with `n_prompt` 0 is
//! decode, one of both is a single rate of all tokens. `avg_ts` is the mean of the runs' rates,
//! not tokens over the mean time, and `stddev_ts` their sample deviation
//! (<https://github.com/ggml-org/llama.cpp/tree/master/tools/llama-bench>). `n_depth` tokens stand
//! in the cache before the timed part. The schema grew from 2023 to 2026; only the shape of the
//! test, the rate and the build are relied on.

use serde_json::{Map, Value};

use super::document::{Table, as_number, clipped, count, flag, number, text};
use super::names;
use super::{Claim, Document, Fault, MAX_ROWS, Row, RowKind, Rows};

/// How far a figure may be from what its own samples give.
pub(super) const AGREES: f64 = 0.01;

/// Whether a file is one of these.
pub(super) fn claims(document: &Document) -> Claim {
    let any = document
        .objects()
        .any(|(_, it)| is_row(it) || wrapped(it).next().is_some());
    let csv = document.csv.as_ref().is_some_and(|it| {
        ["n_prompt", "n_gen", "avg_ts"]
            .iter()
            .all(|name| it.column(name).is_some())
    });
    if any || csv || document.tables.iter().any(is_table) {
        return Claim::Yes;
    }
    if document.text.contains("INSERT INTO test (build_commit")
        || document
            .text
            .contains("INSERT INTO llama_bench (build_commit")
    {
        return Claim::Looks(
            "llama-bench's SQL; run it with `-o jsonl`, or export the rows as JSON",
        );
    }
    Claim::No
}

/// Its rows.
pub(super) fn rows(document: &Document) -> Rows {
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for (line, object) in document.objects() {
        let before = rows.len();
        if before > MAX_ROWS {
            break;
        }
        if is_row(object) {
            rows.push(row(object));
            continue;
        }
        rows.extend(wrapped(object).take(MAX_ROWS + 1).map(row));
        if rows.len() > before {
            let note = "the rows are wrapped by another program; what it added (power, memory, times of the \
                 whole call with loading) was left out";
            notes.push(note.to_owned());
        } else if document.values.len() > 1 {
            notes.push(format!("line {line}: no row of llama-bench; left out"));
        }
    }
    if let Some(csv) = &document.csv {
        rows.extend(
            csv.rows
                .iter()
                .filter_map(|(_, cells)| csv.object(cells).as_object().map(row)),
        );
        if csv.rows.is_empty() {
            rows.push(Row {
                failed: Some(
                    "there is a header and no row: the run failed, its error went elsewhere"
                        .to_owned(),
                ),
                ..Row::default()
            });
        }
    }
    let lines = document.lines();
    let tables: Vec<&Table> = document.tables.iter().filter(|it| is_table(it)).collect();
    for (index, table) in tables.iter().enumerate() {
        let around = Around::of(&lines, table);
        let mut found = self::table(table, &around);
        if tables.len() > 1 {
            let of = format!("table {} of {}", index + 1, tables.len());
            let note = match &around.heading {
                Some(heading) => format!("{of}: {heading}"),
                None => of,
            };
            for row in &mut found {
                row.notes.insert(0, note.clone());
            }
        }
        rows.extend(found);
    }
    if tables.len() > 1 {
        notes.push(format!(
            "{} tables: configurations of their own, not repetitions",
            tables.len()
        ));
    }
    if rows.is_empty() {
        return Err(Fault::new("the file", "it has no row of llama-bench"));
    }
    Ok((rows, notes))
}

fn is_row(object: &Map<String, Value>) -> bool {
    ["n_prompt", "n_gen"]
        .iter()
        .all(|key| object.contains_key(*key))
        && (object.contains_key("avg_ts") || object.contains_key("samples_ts"))
        && (object.contains_key("build_commit") || object.contains_key("model_type"))
}

/// Rows within another program's object: one alone, or a list of them, as the tool wrote them.
fn wrapped(object: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    object
        .values()
        .flat_map(|value| match value {
            Value::Array(members) => members.as_slice(),
            other => std::slice::from_ref(other),
        })
        .filter_map(Value::as_object)
        .filter(|it| is_row(it))
}

/// The columns that only this tool's table has; `llama-benchy` imitates the rest.
fn is_table(table: &Table) -> bool {
    ["model", "test", "t/s"]
        .iter()
        .all(|name| table.column(name).is_some())
        && ["backend", "size", "params", "ngl"]
            .iter()
            .any(|name| table.column(name).is_some())
        && !table.header.iter().any(|name| name.starts_with("ttfr"))
}

fn row(object: &Map<String, Value>) -> Row {
    let n_prompt = count(object, "n_prompt").unwrap_or(0);
    let n_gen = count(object, "n_gen").unwrap_or(0);
    let depth = count(object, "n_depth");
    let file_name = text(object, "model_filename");
    let model_type = text(object, "model_type");
    let mut row = Row {
        test: test_name(n_prompt, n_gen, depth.unwrap_or(0)),
        kind: Some(kind(n_prompt, n_gen)),
        model: file_name
            .as_deref()
            .map(names::model)
            .or_else(|| model_type.clone()),
        model_bytes: count(object, "model_size").filter(|it| *it > 0),
        params_total: count(object, "model_n_params").filter(|it| *it > 0),
        engine: Some("llama.cpp".to_owned()),
        engine_version: build(object),
        backend: backend(object),
        measured_at: text(object, "test_time"),
        prompt_tokens: Some(n_prompt).filter(|it| *it > 0),
        output_tokens: Some(n_gen).filter(|it| *it > 0),
        depth_tokens: depth,
        concurrency: Some(1),
        ..Row::default()
    };
    row.tool_version.clone_from(&row.engine_version);
    row.hardware =
        text(object, "gpu_info").or_else(|| text(object, "cpu_info").filter(|it| it != "CPU"));
    let (quant, doubt) = quantisation(file_name.as_deref(), model_type.as_deref());
    row.quant = quant;
    row.notes.extend(doubt);
    row.notes.extend(settings(object));
    measured(&mut row, object, n_prompt + n_gen);
    row
}

/// The rate, checked against the times it was made of.
fn measured(row: &mut Row, object: &Map<String, Value>, tokens: u64) {
    let rate = number(object, "avg_ts");
    let deviation = number(object, "stddev_ts");
    let samples: Vec<f64> = object
        .get("samples_ns")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(as_number)
        .filter(|ns| *ns > 0.0)
        .map(|ns| tokens as f64 * 1e9 / ns)
        .collect();
    row.n = Some(samples.len() as u64).filter(|it| *it > 0);
    let Some(rate) = rate.filter(|it| *it > 0.0) else {
        row.failed = Some("the rate is 0 or missing: the run gave no result".to_owned());
        return;
    };
    if tokens == 0 {
        row.failed = Some("no tokens were processed".to_owned());
        return;
    }
    let mean_ns = number(object, "avg_ns").filter(|it| *it > 0.0);
    if samples.is_empty() {
        // The mean of rates lies above the rate of the mean time, by about the square of the spread.
        let spread = deviation.unwrap_or(0.0) / rate;
        if let Some(ns) = mean_ns {
            contradicts(
                row,
                rate,
                tokens as f64 * 1e9 / ns,
                AGREES + 2.0 * spread * spread,
            );
        }
    } else {
        let mean = samples.iter().sum::<f64>() / samples.len() as f64;
        contradicts(row, rate, mean, AGREES);
    }
    if row.failed.is_some() {
        return;
    }
    let deviation = deviation.filter(|it| *it > 0.0 && samples.len() != 1);
    figure(row, rate, deviation);
}

/// Whether a figure is further from what implies it than that part of it.
pub(super) fn differs(said: f64, implied: f64, tolerance: f64) -> bool {
    let off = (said / implied - 1.0).abs();
    off.is_nan() || off > tolerance
}

fn contradicts(row: &mut Row, said: f64, implied: f64, tolerance: f64) {
    if differs(said, implied, tolerance) {
        row.failed = Some(format!(
            "the rate is said to be {said:.2} tokens/s, and its own times give {implied:.2}"
        ));
    }
}

fn figure(row: &mut Row, rate: f64, deviation: Option<f64>) {
    match row.kind {
        Some(RowKind::Prefill) => {
            row.prefill_tokens_per_second = Some(rate);
            row.prefill_tokens_per_second_sd = deviation;
            if row.prompt_tokens == Some(1) {
                let note = "a prompt of 1 token costs what a decode step costs; no rate of prompts";
                row.notes.push(note.to_owned());
            }
        }
        Some(RowKind::Decode) => {
            row.decode_tokens_per_second = Some(rate);
            row.decode_tokens_per_second_sd = deviation;
        }
        _ => row.mixed_tokens_per_second = Some(rate),
    }
}

fn kind(n_prompt: u64, n_gen: u64) -> RowKind {
    match (n_prompt, n_gen) {
        (_, 0) => RowKind::Prefill,
        (0, _) => RowKind::Decode,
        _ => RowKind::Mixed,
    }
}

fn test_name(n_prompt: u64, n_gen: u64, depth: u64) -> String {
    let test = match (n_prompt, n_gen) {
        (_, 0) => format!("pp{n_prompt}"),
        (0, _) => format!("tg{n_gen}"),
        _ => format!("pp{n_prompt}+tg{n_gen}"),
    };
    if depth > 0 {
        format!("{test} @ d{depth}")
    } else {
        test
    }
}

fn build(object: &Map<String, Value>) -> Option<String> {
    let commit = text(object, "build_commit").filter(|it| it != "unknown");
    let number = count(object, "build_number").filter(|it| *it > 0);
    match (commit, number) {
        (Some(commit), Some(number)) => Some(format!("b{number} ({commit})")),
        (Some(commit), None) => Some(commit),
        (None, number) => number.map(|it| format!("b{it}")),
    }
}

/// `backends` since 2024, one flag for each before.
fn backend(object: &Map<String, Value>) -> Option<String> {
    if let Some(backends) = text(object, "backends") {
        return Some(backends);
    }
    let flags = [
        ("cuda", "CUDA"),
        ("hipblas", "ROCm"),
        ("vulkan", "Vulkan"),
        ("kompute", "Kompute"),
        ("metal", "Metal"),
        ("sycl", "SYCL"),
        ("opencl", "OpenCL"),
        ("rpc", "RPC"),
        ("gpu_blas", "GPU BLAS"),
        ("blas", "BLAS"),
    ];
    let is_old = flags.iter().any(|(key, _)| object.contains_key(*key));
    let set = flags
        .iter()
        .find(|(key, _)| flag(object, key) == Some(true));
    match set {
        Some((_, name)) => Some((*name).to_owned()),
        None => is_old.then(|| "CPU".to_owned()),
    }
}

/// The weights' quantisation: the file name's, if the model's own type does not say otherwise.
pub(super) fn quantisation(
    file_name: Option<&str>,
    model_type: Option<&str>,
) -> (Option<String>, Option<String>) {
    let named = file_name.and_then(names::quantisation);
    let typed = model_type.and_then(type_tail);
    match (named, typed) {
        (Some(named), Some(typed)) if family(&named) == family(&typed) => (Some(named), None),
        (Some(named), Some(typed)) => {
            let note = format!("the file is named {named}, its own type is {typed}");
            (Some(typed), Some(note))
        }
        (named, typed) => (named.or(typed), None),
    }
}

/// `q4`, `iq3`, `f16`: what two spellings of one quantisation share.
fn family(quant: &str) -> String {
    let quant = quant.to_ascii_lowercase();
    let quant = quant.strip_prefix("ud-").unwrap_or(&quant);
    quant.split('_').next().unwrap_or(quant).to_owned()
}

/// `Q4_K_M` of `qwen3 4B Q4_K - Medium`, `Q4_0` of `llama 7B mostly Q4_0`.
fn type_tail(model_type: &str) -> Option<String> {
    let words: Vec<&str> = model_type.split_whitespace().collect();
    let at = words
        .iter()
        .rposition(|word| names::is_quantisation(word))?;
    let size = match words.get(at + 1..) {
        // What is called Q2_K is written "Q2_K - Medium"; llama.cpp's names of its file types.
        Some(["-", "Medium", ..]) if words[at] == "Q2_K" => "",
        Some(["mix", ..]) if words[at] == "IQ3_S" => return Some("IQ3_M".to_owned()),
        Some(["-", "Small", ..]) => "_S",
        Some(["-", "Medium", ..]) => "_M",
        Some(["-", "Large", ..]) => "_L",
        _ => "",
    };
    Some(format!("{}{size}", words[at]))
}

/// The settings that change a speed, in one line, and the cache's type apart from the weights'.
fn settings(object: &Map<String, Value>) -> Vec<String> {
    let mut notes = Vec::new();
    let mut words = Vec::new();
    for (key, label) in [
        ("n_gpu_layers", "gpu layers"),
        ("n_batch", "batch"),
        ("n_ubatch", "ubatch"),
        ("n_threads", "threads"),
        ("split_mode", "split"),
        ("n_cpu_moe", "MoE layers on the CPU"),
        ("tensor_split", "tensor split"),
    ] {
        let value = count(object, key)
            .map(|it| it.to_string())
            .or_else(|| number(object, key).map(|it| it.to_string()))
            .or_else(|| text(object, key));
        // A tensor split of 0 is none.
        let nothing = ["0", "0.00", "none"];
        let is_plain = key == "n_gpu_layers" || key == "n_threads";
        if let Some(value) = value.filter(|it| is_plain || !nothing.contains(&it.as_str())) {
            words.push(format!("{label} {value}"));
        }
    }
    match number(object, "flash_attn").or_else(|| flag(object, "flash_attn").map(f64::from)) {
        Some(it) if it < 0.0 => words.push("flash attention automatic".to_owned()),
        Some(it) if it > 0.0 => words.push("flash attention on".to_owned()),
        Some(_) => words.push("flash attention off".to_owned()),
        None => {}
    }
    for (key, label) in [
        ("no_kv_offload", "cache not on the GPU"),
        ("embeddings", "embeddings"),
    ] {
        if flag(object, key) == Some(true) {
            words.push(label.to_owned());
        }
    }
    if !words.is_empty() {
        notes.push(words.join(", "));
    }
    let cache: Vec<String> = [("type_k", "K"), ("type_v", "V")]
        .into_iter()
        .filter_map(|(key, label)| Some((label, text(object, key)?)))
        .filter(|(_, it)| it != "f16")
        .map(|(label, it)| format!("{label} {it}"))
        .collect();
    if !cache.is_empty() {
        notes.push(format!(
            "cache of type {}; the weights are not",
            cache.join(" and ")
        ));
    }
    notes
}

/// How many devices of one machine are named.
const MAX_DEVICES: usize = 64;

/// What the log around a table says of it.
struct Around {
    heading: Option<String>,
    devices: Vec<String>,
    build: Option<String>,
}

impl Around {
    fn of(lines: &[&str], table: &Table) -> Self {
        let before = &lines[table.before.clone()];
        // Log lines also stand between a header and its rows.
        let last_row = table.rows.last().map_or(table.line, |(line, _)| *line);
        let within = &lines[table.line..last_row];
        let after = &lines[table.after.clone()];
        let mut devices = devices(before);
        if devices.is_empty() {
            devices = self::devices(within);
        }
        let heading = before
            .iter()
            .rev()
            .map(|line| line.trim())
            .find(|line| {
                line.starts_with('#') || line.starts_with("===") || line.starts_with("---")
            })
            .map(|line| clipped(line.trim_matches(['#', '=', '-', ' '])).to_owned())
            .filter(|it| !it.is_empty());
        let build = after
            .iter()
            .chain(within)
            .find_map(|line| line.trim().strip_prefix("build: ").map(clipped))
            .and_then(|it| {
                let (commit, number) = it.split_once(" (")?;
                let number = number.strip_suffix(')')?;
                Some(format!("b{number} ({commit})"))
            });
        Self {
            heading,
            devices,
            build,
        }
    }

    fn hardware(&self) -> Option<String> {
        let (first, rest) = self.devices.split_first()?;
        Some(if rest.is_empty() {
            first.clone()
        } else if rest.iter().all(|it| it == first) {
            format!("{} × {first}", self.devices.len())
        } else {
            self.devices.join(" + ")
        })
    }
}

/// The devices that the last start of a backend greeted with.
fn devices(lines: &[&str]) -> Vec<String> {
    let mut devices: Vec<String> = Vec::new();
    for line in lines {
        let line = line.trim();
        let name = if let Some((head, name)) = line.split_once(" = ")
            && let Some(index) = head.strip_prefix("ggml_vulkan: ")
            && index.chars().all(|c| c.is_ascii_digit())
        {
            Some((index, name.split(" | ").next().unwrap_or(name)))
        } else if let Some(rest) = line.strip_prefix("Device ")
            && let Some((index, name)) = rest.split_once(": ")
            && index.chars().all(|c| c.is_ascii_digit())
        {
            Some((index, name.split(", ").next().unwrap_or(name)))
        } else if line.starts_with("ggml_metal") {
            line.split_once("GPU name:")
                .or_else(|| line.split_once("picking default device:"))
                .map(|(_, name)| ("0", name.trim()))
        } else {
            None
        };
        if let Some((index, name)) = name {
            if index == "0" {
                devices.clear();
            }
            if devices.len() == MAX_DEVICES {
                continue;
            }
            devices.push(clipped(name).trim_end_matches(" (radv)").to_owned());
        }
    }
    devices
}

fn table(table: &Table, around: &Around) -> Vec<Row> {
    let known = ["model", "size", "params", "backend", "test", "t/s"];
    let cell = |cells: &[String], name: &str| {
        table
            .column(name)
            .map(|at| cells[at].clone())
            .filter(|it| !it.is_empty())
    };
    let mut rows = Vec::new();
    for (_, cells) in &table.rows {
        let model = cell(cells, "model");
        let test = cell(cells, "test").unwrap_or_default();
        let shape = Shape::of(&test);
        let mut row = Row {
            test: test.clone(),
            kind: shape.as_ref().map(|it| kind(it.n_prompt, it.n_gen)),
            quant: model.as_deref().and_then(type_tail),
            model_bytes: cell(cells, "size").and_then(|it| scaled(&it, &BYTES)),
            params_total: cell(cells, "params").and_then(|it| scaled(&it, &PARAMS)),
            hardware: around.hardware(),
            engine: Some("llama.cpp".to_owned()),
            engine_version: around.build.clone(),
            tool_version: around.build.clone(),
            backend: cell(cells, "backend"),
            concurrency: Some(1),
            model,
            ..Row::default()
        };
        let note = "the table names the model's architecture and size, not the model; bytes and parameters are rounded";
        row.notes.push(note.to_owned());
        let settings: Vec<String> = table
            .header
            .iter()
            .zip(cells)
            .filter(|(name, cell)| !known.contains(&name.as_str()) && !cell.is_empty())
            .map(|(name, cell)| format!("{name} {cell}"))
            .collect();
        if !settings.is_empty() {
            row.notes.push(clipped(&settings.join(", ")).to_owned());
        }
        match shape {
            Some(shape) => {
                row.prompt_tokens = Some(shape.n_prompt).filter(|it| *it > 0);
                row.output_tokens = Some(shape.n_gen).filter(|it| *it > 0);
                row.depth_tokens = Some(shape.depth);
            }
            None => row.failed = Some(format!("the test {test:?} is of no known shape")),
        }
        match mean_and_deviation(&cell(cells, "t/s").unwrap_or_default()) {
            Some((rate, deviation)) if rate > 0.0 => {
                if row.failed.is_none() {
                    figure(&mut row, rate, deviation.filter(|it| *it > 0.0));
                }
            }
            _ => row.failed = Some("the rate is 0 or missing: the run gave no result".to_owned()),
        }
        rows.push(row);
    }
    if rows.is_empty() {
        rows.push(Row {
            failed: Some("the table has a header and no row: the run failed".to_owned()),
            hardware: around.hardware(),
            engine: Some("llama.cpp".to_owned()),
            ..Row::default()
        });
    }
    rows
}

/// `3229.07 ± 53.81`, also where the sign between was lost to an encoding.
pub(super) fn mean_and_deviation(cell: &str) -> Option<(f64, Option<f64>)> {
    let cell = cell.replace('±', " ± ");
    let words: Vec<&str> = cell.split_whitespace().collect();
    match words.as_slice() {
        [mean] => Some((cell_number(mean)?, None)),
        [mean, sign, deviation] if !sign.contains(|c: char| c.is_ascii_alphanumeric()) => {
            Some((cell_number(mean)?, cell_number(deviation)))
        }
        _ => None,
    }
}

/// A number that fills its cell; thousands may be grouped by commas, decimals follow a point.
fn cell_number(cell: &str) -> Option<f64> {
    let whole = cell.split('.').next().unwrap_or_default();
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let is_group = |it: &str| it.len() == 3 && it.bytes().all(|it| it.is_ascii_digit());
    let is_grouped = whole.contains(',');
    if is_grouped && !((1..=3).contains(&first.len()) && groups.all(is_group)) {
        return None;
    }
    let number: f64 = cell.replace(',', "").parse().ok()?;
    number.is_finite().then_some(number)
}

const BYTES: [(&str, f64); 3] = [
    ("MiB", 1024.0 * 1024.0),
    ("GiB", 1024.0 * 1024.0 * 1024.0),
    ("TiB", 1024.0 * 1024.0 * 1024.0 * 1024.0),
];

const PARAMS: [(&str, f64); 3] = [("M", 1e6), ("B", 1e9), ("T", 1e12)];

fn scaled(cell: &str, units: &[(&str, f64)]) -> Option<u64> {
    let (value, unit) = cell.split_once(' ')?;
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim())?;
    let value: f64 = value
        .parse()
        .ok()
        .filter(|it: &f64| it.is_finite() && *it > 0.0)?;
    Some((value * scale).round() as u64)
}

/// The shape of a test, as the table names it: `pp512`, `tg 128`, `pp512+tg128`, `… @ d4096`.
struct Shape {
    n_prompt: u64,
    n_gen: u64,
    depth: u64,
}

impl Shape {
    fn of(test: &str) -> Option<Self> {
        let mut shape = Self {
            n_prompt: 0,
            n_gen: 0,
            depth: 0,
        };
        let (parts, depth) = match test.split_once('@') {
            Some((parts, depth)) => (parts, Some(depth)),
            None => (test, None),
        };
        if let Some(depth) = depth {
            // ik_llama.cpp writes a filled cache as `tg128@pp4096`.
            let depth = depth.trim();
            let tokens = depth
                .strip_prefix('d')
                .or_else(|| depth.strip_prefix("pp"))?;
            shape.depth = tokens.trim().parse().ok()?;
        }
        for part in parts.split('+') {
            let part = part.trim();
            if let Some(n) = part.strip_prefix("pp") {
                shape.n_prompt = n.trim().parse().ok()?;
            } else if let Some(n) = part.strip_prefix("tg") {
                shape.n_gen = n.trim().parse().ok()?;
            } else if let Some(n) = part.strip_prefix("pg") {
                let (prompt, output) = n.trim().split_once(',')?;
                shape.n_prompt = prompt.trim().parse().ok()?;
                shape.n_gen = output.trim().parse().ok()?;
            } else {
                return None;
            }
        }
        (shape.n_prompt + shape.n_gen > 0).then_some(shape)
    }
}
