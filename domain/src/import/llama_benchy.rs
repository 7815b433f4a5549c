//! `llama-benchy`: JSON, CSV or its Markdown table.
//!
//! A client of a server. Each metric is `{mean, std, values}`, `std` that of the population;
//! `pp_throughput` is prompt tokens over `est_ppt`, the time to the first response less the
//! latency of an empty request; with several requests at once `pp_throughput` and `tg_throughput`
//! are those of all, `pp_req_throughput` and `tg_req_throughput` of one. Times are milliseconds,
//! `e2e_ttft` is the time to the first token (<https://github.com/eugr/llama-benchy>). With a
//! context, a phase of its own fills the prefix cache first; without the cache the context is part
//! of the prompt that is timed.

use serde_json::{Map, Value};

use super::document::{Table, clipped, count, flag, number, text};
use super::llama_bench::{AGREES, differs, mean_and_deviation};
use super::names;
use super::{Claim, Document, Fault, MAX_ROWS, Row, RowKind, Rows};

/// Whether a file is one of these.
pub(super) fn claims(document: &Document) -> Claim {
    let tables = document.tables.iter().any(is_table);
    let csv = document.csv.as_ref().is_some_and(is_csv);
    if tables || csv || document.objects().any(|(_, it)| is_report(it)) {
        Claim::Yes
    } else {
        Claim::No
    }
}

/// Its rows.
pub(super) fn rows(document: &Document) -> Rows {
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for (_, report) in document.objects().filter(|(_, it)| is_report(it)) {
        if rows.len() > MAX_ROWS {
            break;
        }
        let (found, about) = self::report(report);
        rows.extend(found);
        notes.extend(about);
    }
    let lines = document.lines();
    for table in document.tables.iter().filter(|it| is_table(it)) {
        rows.extend(self::table(&lines, table));
        let note = "± is the deviation of the population of a number of runs that the table does not name; left out";
        notes.push(note.to_owned());
    }
    if let Some(csv) = document.csv.as_ref().filter(|it| is_csv(it)) {
        rows.extend(self::csv(csv));
        notes.push(
            "deviations are those of the population of an unnamed number of runs; left out"
                .to_owned(),
        );
    }
    if rows.is_empty() {
        return Err(Fault::new(
            "benchmarks",
            "it is empty: no result was collected",
        ));
    }
    Ok((rows, notes))
}

fn is_report(object: &Map<String, Value>) -> bool {
    object.get("benchmarks").is_some_and(Value::is_array)
        && object.contains_key("latency_mode")
        && object.contains_key("model")
}

fn is_table(table: &Table) -> bool {
    let has = |begin: &str| table.header.iter().any(|it| it.starts_with(begin));
    has("model") && has("test") && has("t/s") && has("ttfr")
}

fn is_csv(table: &Table) -> bool {
    ["test_name", "t_s_mean", "ttfr_mean"]
        .iter()
        .all(|it| table.column(it).is_some())
}

fn report(report: &Map<String, Value>) -> (Vec<Row>, Vec<String>) {
    let cached = flag(report, "prefix_caching_enabled");
    let rows = report
        .get("benchmarks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .take(MAX_ROWS + 1)
        .filter_map(Value::as_object)
        .map(|it| benchmark(report, it, cached == Some(true)))
        .collect();
    let mut notes = Vec::new();
    if let Some(latency) = number(report, "latency_ms") {
        let mode = text(report, "latency_mode").unwrap_or_else(|| "unnamed".to_owned());
        notes.push(format!(
            "a latency of {latency:.1} ms ({mode}) is taken off the prompt's time, not off the TTFT"
        ));
    }
    (rows, notes)
}

fn benchmark(report: &Map<String, Value>, run: &Map<String, Value>, cached: bool) -> Row {
    let concurrency = count(run, "concurrency").unwrap_or(1);
    let context = count(run, "context_size").unwrap_or(0);
    let prompt = count(run, "prompt_size");
    let output = count(run, "response_size");
    let is_context = flag(run, "is_context_prefill_phase") == Some(true);
    let mut row = Row {
        kind: Some(RowKind::Serving),
        model: text(report, "model").as_deref().map(names::model),
        tool_version: text(report, "version"),
        measured_at: text(report, "timestamp"),
        prompt_tokens: if is_context { Some(context) } else { prompt },
        output_tokens: output,
        depth_tokens: Some(if is_context { 0 } else { context }),
        concurrency: u32::try_from(concurrency).ok(),
        ..Row::default()
    };
    row.quant = row.model.as_deref().and_then(names::quantisation);
    row.test = if is_context {
        format!("ctx_pp+ctx_tg @ d{context}")
    } else {
        let depth = if context > 0 {
            format!(" @ d{context}")
        } else {
            String::new()
        };
        format!("pp{}+tg{}{depth}", prompt.unwrap_or(0), output.unwrap_or(0))
    };
    if concurrency > 1 {
        row.test = format!("{} (c{concurrency})", row.test);
    }
    if is_context {
        row.notes
            .push("the phase that fills the cache with the context".to_owned());
    } else if context > 0 && !cached {
        let note = "without a prefix cache the context is part of the timed prompt: the prefill rate counts both";
        row.notes.push(note.to_owned());
    } else if context > 0 {
        row.notes
            .push("the context is meant to come from the prefix cache".to_owned());
    }
    let mut bad = Vec::new();
    let mut get = |key: &str| match metric(run, key) {
        Some(metric) if metric.contradicts => {
            bad.push(key.to_owned());
            None
        }
        other => other,
    };
    let (pp, tg) = (get("pp_throughput"), get("tg_throughput"));
    let (one_pp, one_tg) = (get("pp_req_throughput"), get("tg_req_throughput"));
    let times = ["e2e_ttft", "ttfr", "est_ppt"].map(get);
    if concurrency > 1 {
        row.aggregate_prefill_tokens_per_second = pp.as_ref().map(|it| it.mean);
        row.aggregate_decode_tokens_per_second = tg.as_ref().map(|it| it.mean);
    }
    let alone = |one: Option<Metric>, all: Option<Metric>| one.or(all.filter(|_| concurrency == 1));
    let (one_pp, one_tg) = (alone(one_pp, pp), alone(one_tg, tg));
    row.n = one_tg.as_ref().or(one_pp.as_ref()).and_then(|it| it.n);
    row.prefill_tokens_per_second = one_pp.as_ref().map(|it| it.mean);
    row.prefill_tokens_per_second_sd = one_pp.and_then(|it| it.deviation);
    row.decode_tokens_per_second = one_tg.as_ref().map(|it| it.mean);
    row.decode_tokens_per_second_sd = one_tg.and_then(|it| it.deviation);
    let [ttft, ttfr, est_ppt] = times;
    row.ttft_ms = ttft.map(|it| it.mean);
    row.notes.extend(response_note(
        ttfr.map(|it| it.mean),
        est_ppt.map(|it| it.mean),
    ));
    if !bad.is_empty() {
        row.failed = Some(format!(
            "{}: the mean is not that of the values beside it",
            bad.join(", ")
        ));
    } else if row.prefill_tokens_per_second.is_none()
        && row.decode_tokens_per_second.is_none()
        && row.aggregate_decode_tokens_per_second.is_none()
        && row.aggregate_prefill_tokens_per_second.is_none()
    {
        row.failed = Some("no rate: no request gave tokens".to_owned());
    }
    row
}

fn response_note(ttfr: Option<f64>, est_ppt: Option<f64>) -> Option<String> {
    let words: Vec<String> = [
        ("first response after", ttfr),
        ("estimated time for the prompt", est_ppt),
    ]
    .into_iter()
    .filter_map(|(label, ms)| Some(format!("{label} {:.1} ms", ms?)))
    .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

struct Metric {
    mean: f64,
    deviation: Option<f64>,
    n: Option<u64>,
    contradicts: bool,
}

/// A metric with its population deviation turned into that of a sample; 0 is no measurement.
fn metric(run: &Map<String, Value>, key: &str) -> Option<Metric> {
    let metric = run.get(key)?.as_object()?;
    let mean = number(metric, "mean").filter(|it| *it > 0.0)?;
    let values: Vec<f64> = metric
        .get("values")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .collect();
    let n = values.len() as f64;
    let deviation = number(metric, "std")
        .filter(|_| values.len() > 1)
        .map(|it| it * (n / (n - 1.0)).sqrt());
    let of_values = values.iter().sum::<f64>() / n;
    Some(Metric {
        mean,
        deviation,
        n: Some(values.len() as u64).filter(|it| *it > 0),
        contradicts: !values.is_empty() && differs(mean, of_values, AGREES),
    })
}

/// Rows of a table: prompt and output have a line each.
fn table(lines: &[&str], table: &Table) -> Vec<Row> {
    let column = |begin: &str| table.header.iter().position(|it| it.starts_with(begin));
    let about = About::of(lines, table);
    let all = column("t/s (total)");
    let one = column("t/s (req)").or_else(|| table.column("t/s"));
    table
        .rows
        .iter()
        .map(|(_, cells)| {
            let rate = |at: Option<usize>| {
                at.and_then(|it| mean_and_deviation(&cells[it]))
                    .map(|it| it.0)
            };
            let name = |at: Option<usize>| at.map(|it| cells[it].as_str()).unwrap_or_default();
            let figures = Figures {
                all: rate(all),
                one: rate(one),
                ttfr: rate(column("ttfr")),
                est_ppt: rate(column("est_ppt")),
                ttft: rate(column("e2e_ttft")),
            };
            about.row(name(column("model")), name(column("test")), &figures)
        })
        .collect()
}

fn csv(table: &Table) -> Vec<Row> {
    table
        .rows
        .iter()
        .filter_map(|(_, cells)| {
            let object = table.object(cells);
            let object = object.as_object()?;
            let figures = Figures {
                all: number(object, "t_s_mean"),
                one: number(object, "t_s_req_mean"),
                ttfr: number(object, "ttfr_mean"),
                est_ppt: number(object, "est_ppt_mean"),
                ttft: number(object, "e2e_ttft_mean"),
            };
            let model = text(object, "model").unwrap_or_default();
            let test = text(object, "test_name").unwrap_or_default();
            Some(About::default().row(&model, &test, &figures))
        })
        .collect()
}

/// What a line of a table or CSV gives.
struct Figures {
    all: Option<f64>,
    one: Option<f64>,
    ttfr: Option<f64>,
    est_ppt: Option<f64>,
    ttft: Option<f64>,
}

/// What the text around a table says of it.
#[derive(Default)]
struct About {
    version: Option<String>,
    measured_at: Option<String>,
}

impl About {
    fn of(lines: &[&str], table: &Table) -> Self {
        let around = || {
            lines[table.after.clone()]
                .iter()
                .chain(&lines[table.before.clone()])
        };
        let version = around()
            .find_map(|line| line.trim().strip_prefix("llama-benchy ("))
            .and_then(|it| it.split_once(')'))
            .map(|(version, _)| clipped(version).to_owned());
        let measured_at = around()
            .find_map(|line| {
                let line = line.trim();
                line.strip_prefix("date: ")
                    .or_else(|| line.strip_prefix("Date: "))
            })
            .map(|it| clipped(it.split(" | ").next().unwrap_or(it)).to_owned());
        Self {
            version,
            measured_at,
        }
    }

    fn row(&self, model: &str, test: &str, figures: &Figures) -> Row {
        let mut row = Row {
            test: test.to_owned(),
            model: Some(names::model(model)).filter(|it| !it.is_empty()),
            quant: names::quantisation(model),
            tool_version: self.version.clone(),
            measured_at: self.measured_at.clone(),
            ..Row::default()
        };
        let Some(shape) = Shape::of(test) else {
            row.failed = Some(format!("the test {test:?} is of no known shape"));
            return row;
        };
        row.concurrency = Some(shape.concurrency);
        row.depth_tokens = Some(if shape.is_context { 0 } else { shape.depth });
        let is_alone = shape.concurrency == 1;
        let one = figures
            .one
            .or(figures.all.filter(|_| is_alone))
            .filter(|it| *it > 0.0);
        let all = figures.all.filter(|it| *it > 0.0 && !is_alone);
        if one.is_none() && all.is_none() {
            row.failed = Some("no rate: no request gave tokens".to_owned());
        }
        let tokens = if shape.is_context {
            Some(shape.depth)
        } else {
            shape.tokens
        };
        if shape.is_prompt {
            row.kind = Some(RowKind::Prefill);
            row.prompt_tokens = tokens;
            row.prefill_tokens_per_second = one;
            row.aggregate_prefill_tokens_per_second = all;
            row.ttft_ms = figures.ttft.filter(|it| *it > 0.0);
            row.notes
                .extend(response_note(figures.ttfr, figures.est_ppt));
        } else {
            row.kind = Some(RowKind::Decode);
            row.output_tokens = shape.tokens;
            row.decode_tokens_per_second = one;
            row.aggregate_decode_tokens_per_second = all;
        }
        if shape.is_context {
            row.notes
                .push("the phase that fills the cache with the context".to_owned());
        }
        row
    }
}

/// `pp2048`, `tg128 @ d4096 (c5)`, `ctx_pp @ d4096`.
struct Shape {
    is_prompt: bool,
    is_context: bool,
    tokens: Option<u64>,
    depth: u64,
    concurrency: u32,
}

impl Shape {
    fn of(test: &str) -> Option<Self> {
        let mut words = test.split_whitespace();
        let first = words.next()?;
        let (is_context, first) = match first.strip_prefix("ctx_") {
            Some(rest) => (true, rest),
            None => (false, first),
        };
        let (is_prompt, tokens) = match (first.strip_prefix("pp"), first.strip_prefix("tg")) {
            (Some(tokens), _) => (true, tokens),
            (_, Some(tokens)) => (false, tokens),
            _ => return None,
        };
        let mut shape = Self {
            is_prompt,
            is_context,
            tokens: tokens.parse().ok(),
            depth: 0,
            concurrency: 1,
        };
        for word in words {
            if let Some(depth) = word.strip_prefix('d') {
                shape.depth = depth.parse().ok()?;
            } else if let Some(users) = word.strip_prefix("(c") {
                shape.concurrency = users.strip_suffix(')')?.parse().ok()?;
            } else if word != "@" {
                return None;
            }
        }
        (shape.tokens.is_some() || is_context).then_some(shape)
    }
}
