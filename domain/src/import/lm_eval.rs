//! `EleutherAI`'s lm-evaluation-harness, results files of 0.2 to 0.4.
//!
//! One row for each task, metric and filter, by EleutherAI/lm-evaluation-harness:
//!
//! - 0.2 and 0.3 (`lm_eval/evaluator.py`): `results{task{acc, acc_stderr}}`, `versions`, `config`;
//! - 0.4 (`lm_eval/evaluator.py`, `lm_eval/loggers/evaluation_tracker.py`): keys `acc,none` and
//!   `acc_stderr,none`, which are metric and filter; a standard error may be the text "N/A";
//!   `n-samples{task{original, effective}}`; later `name`, `sample_len`, `sample_count` among them;
//! - a group's row averages its tasks, weighted by size or not, and each metric over those tasks that
//!   have it, so it is no test of its own: it is kept and says so;
//! - perplexities, bits and likelihoods stand in their own units: only `higher_is_better` says more.
//!
//! `model_args` can hold keys, addresses and paths: only the model's name and what says how its
//! weights are stored are taken of it. These scores never meet ours.

use serde_json::Value;

use super::document::{as_number, clipped, flag};
use super::figures::{Object, at, count_at, model, object_at, text_at, utc};
use super::{Claim, Document, Fault, MAX_ROWS, Row, RowKind, Rows, names};

/// Keys of a result that are no metrics.
const LABELS: [&str; 5] = ["alias", "name", "sample_len", "sample_count", "samples"];

/// How many arguments of a model are looked at.
const MAX_ARGUMENTS: usize = 1_000;

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
    if has("doc_id") && has("target") && (has("resps") || has("filtered_resps")) {
        return Claim::Looks(
            "lm-eval's samples, one line an item; give the results_*.json beside them",
        );
    }
    let Some(results) = object_at(object, &["results"]) else {
        return Claim::No;
    };
    if has("config_general") && !has("n-shot") && at(object, &["config", "model_args"]).is_none() {
        return Claim::Looks("results of lighteval, whose tasks and metrics are others");
    }
    let is_run = object_at(object, &["versions"]).is_some()
        && at(object, &["config", "model"]).is_some()
        && (at(object, &["config", "model_args"]).is_some()
            || has("lm_eval_version")
            || has("n-shot"));
    let has_tasks = !results.is_empty() && results.values().all(Value::is_object);
    if is_run && has_tasks {
        Claim::Yes
    } else {
        Claim::No
    }
}

/// Its rows.
pub(super) fn rows(document: &Document) -> Rows {
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for (line, object) in document.objects() {
        let results = object_at(object, &["results"])
            .ok_or_else(|| Fault::new(format!("line {line}"), "it has no results"))?;
        let run = Run::new(object);
        for (task, result) in results {
            let Some(result) = result.as_object() else {
                return Err(Fault::new(format!("results.{task}"), "it is no object"));
            };
            let before = rows.len();
            run.rows(task, result, &mut rows);
            if rows.len() > MAX_ROWS {
                break;
            }
            if rows.len() == before {
                notes.push(format!("{} has no metric of its own", clipped(task)));
            }
        }
        notes.extend(run.notes);
        if rows.len() > MAX_ROWS {
            break;
        }
    }
    Ok((rows, notes))
}

/// What holds for all rows of a file.
struct Run<'a> {
    object: &'a Object,
    labels: Row,
    notes: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(object: &'a Object) -> Self {
        let empty = Object::new();
        let config = object_at(object, &["config"]).unwrap_or(&empty);
        let given = arguments(config);
        let argument = |key: &str| {
            given
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value.as_str())
        };
        let kind = text_at(config, &["model"]).unwrap_or_default();
        let file = ["gguf_file", "gguf", "path"]
            .iter()
            .find_map(|it| argument(it))
            .and_then(model);
        let named = ["pretrained", "model", "engine"]
            .iter()
            .find_map(|it| argument(it))
            .or_else(|| text_at(object, &["model_name"]))
            .and_then(model)
            .or_else(|| file.clone());
        let is_transformers = kind.starts_with("hf") || kind == "huggingface";
        let version = text_at(object, &["transformers_version"]).filter(|_| is_transformers);
        let labels = Row {
            kind: Some(RowKind::Quality),
            quant: quantisation(config, &argument, named.as_deref(), file.as_deref()),
            model: named,
            params_total: count_at(config, &["model_num_parameters"]).filter(|it| *it > 0),
            hardware: at(object, &["pretty_env_info"])
                .and_then(Value::as_str)
                .and_then(gpus),
            engine: match kind {
                "" => None,
                _ if is_transformers => Some("transformers".to_owned()),
                _ if kind.starts_with("local-") || kind.starts_with("openai-") => None,
                other => Some(other.to_owned()),
            },
            engine_version: version.map(str::to_owned),
            tool_version: text_at(object, &["lm_eval_version"])
                .or_else(|| text_at(object, &["git_hash"]))
                .map(str::to_owned),
            measured_at: at(object, &["date"]).and_then(|it| {
                as_number(it)
                    .and_then(utc)
                    .or_else(|| it.as_str().map(|it| clipped(it).to_owned()))
            }),
            ..Row::default()
        };
        let notes = run_notes(object, config, kind, &argument);
        Self {
            object,
            labels,
            notes,
        }
    }

    /// Adds a task's rows, no more than one file may give.
    fn rows(&self, task: &str, result: &Object, rows: &mut Vec<Row>) {
        let found = result.iter().filter_map(|(key, value)| {
            let (metric, filter) = match key.split_once(',') {
                Some((metric, filter)) => (metric, Some(filter)),
                None => (key.as_str(), None),
            };
            let is_blank = value.as_str().is_some_and(|it| it.trim().is_empty());
            if metric.ends_with("_stderr") || LABELS.contains(&metric) || is_blank {
                return None;
            }
            Some(self.row(task, result, key, (metric, filter), value))
        });
        let room = (MAX_ROWS + 1).saturating_sub(rows.len());
        rows.extend(found.take(room));
    }

    fn row(
        &self,
        task: &str,
        result: &Object,
        key: &str,
        (metric, filter): (&str, Option<&str>),
        value: &Value,
    ) -> Row {
        let error = match filter {
            Some(filter) => format!("{metric}_stderr,{filter}"),
            None => format!("{metric}_stderr"),
        };
        let is_group = at(self.object, &["groups", task]).is_some()
            || at(self.object, &["group_subtasks", task])
                .and_then(Value::as_array)
                .is_some_and(|it| !it.is_empty());
        let effective = count_at(self.object, &["n-samples", task, "effective"]);
        let sample_len = count_at(result, &["sample_len"]).filter(|_| !is_group);
        let mut row = Row {
            test: format!("{} {}", clipped(task), clipped(key)),
            task: Some(clipped(task).to_owned()),
            metric: Some(clipped(key).to_owned()),
            score: as_number(value),
            score_se: result.get(&error).and_then(as_number),
            items: count_at(result, &["sample_count", key])
                .or(effective)
                .or(sample_len),
            ..self.labels.clone()
        };
        if row.score.is_none() {
            row.failed = Some(match value.as_str() {
                Some(text) => format!("the file says {:?} in place of a score", clipped(text)),
                None => "the file has no number for this metric".to_owned(),
            });
        }
        if is_group {
            let tasks = at(self.object, &["group_subtasks", task])
                .and_then(Value::as_array)
                .map_or(0, Vec::len);
            row.notes.push(if tasks > 0 {
                format!("an average over {tasks} tasks, each metric over those that have it")
            } else {
                "an average over a group's tasks".to_owned()
            });
        }
        let original = count_at(self.object, &["n-samples", task, "original"]);
        if let (Some(original), Some(effective)) = (original, effective)
            && effective < original
        {
            row.notes
                .push(format!("only {effective} of {original} items"));
        }
        if at(self.object, &["higher_is_better", task, metric]).and_then(Value::as_bool)
            == Some(false)
        {
            row.notes.push("lower is better".to_owned());
        }
        let shots = count_at(self.object, &["n-shot", task])
            .or_else(|| count_at(self.object, &["config", "num_fewshot"]));
        if let Some(shots) = shots {
            row.notes.push(format!("{shots} examples in the prompt"));
        }
        row
    }
}

/// The model's arguments as pairs, whether they are an object, or text of it, or `key=value,...`.
fn arguments(config: &Object) -> Vec<(String, String)> {
    let plain = |value: &Value| match value {
        Value::String(text) => clipped(text).to_owned(),
        Value::Object(_) | Value::Array(_) => String::new(),
        other => other.to_string(),
    };
    let pairs = |object: &Object| {
        object
            .iter()
            .take(MAX_ARGUMENTS)
            .map(|(key, value)| (clipped(key).to_owned(), plain(value)))
            .collect()
    };
    match config.get("model_args") {
        Some(Value::Object(object)) => pairs(object),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(object)) => pairs(&object),
            _ => text
                .split(',')
                .filter_map(|it| it.split_once('='))
                .take(MAX_ARGUMENTS)
                .map(|(key, value)| (clipped(key.trim()), clipped(value.trim())))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        },
        _ => Vec::new(),
    }
}

/// How the weights are stored: the file's or an argument's word; a data type only if the model's
/// name does not say that it is quantised, as it then is the type computed in.
fn quantisation<'a>(
    config: &Object,
    argument: &impl Fn(&str) -> Option<&'a str>,
    name: Option<&str>,
    file: Option<&str>,
) -> Option<String> {
    let is = |key: &str| argument(key).is_some_and(|it| it.eq_ignore_ascii_case("true"));
    let of_file = file.and_then(names::quantisation);
    let of_argument = || {
        if is("load_in_4bit") {
            return Some("4 bit (bitsandbytes)".to_owned());
        }
        if is("load_in_8bit") {
            return Some("8 bit (bitsandbytes)".to_owned());
        }
        if argument("autogptq").is_some_and(|it| !it.eq_ignore_ascii_case("false"))
            || is("gptqmodel")
        {
            return Some("GPTQ".to_owned());
        }
        let method = argument("quantization").filter(|it| !matches!(*it, "None" | "null" | ""));
        method.map(str::to_owned)
    };
    let of_name = || name.and_then(names::quantisation);
    let of_type = || {
        argument("dtype")
            .filter(|it| !matches!(*it, "auto" | "None" | "null" | ""))
            .or_else(|| text_at(config, &["model_dtype"]))
            .map(|it| it.trim_start_matches("torch.").to_owned())
    };
    of_file
        .or_else(of_argument)
        .or_else(of_name)
        .or_else(of_type)
}

/// The GPUs that the environment lists, such as `2 x NVIDIA H100 80GB HBM3`.
fn gpus(environment: &str) -> Option<String> {
    let names: Vec<&str> = environment
        .lines()
        .filter_map(|line| {
            let line = line.trim();
            let line = line
                .strip_prefix("GPU models and configuration:")
                .map_or(line, str::trim);
            let (index, name) = line.strip_prefix("GPU ")?.split_once(':')?;
            index.parse::<u32>().ok()?;
            Some(name.trim())
        })
        .filter(|it| !it.is_empty())
        .collect();
    let first = *names.first()?;
    let are_alike = names.iter().all(|it| *it == first);
    let first = clipped(first);
    Some(match names.len() {
        1 => first.to_owned(),
        count if are_alike => format!("{count} x {first}"),
        _ => clipped(&names.join(", ")).to_owned(),
    })
}

fn run_notes<'a>(
    object: &Object,
    config: &Object,
    kind: &str,
    argument: &impl Fn(&str) -> Option<&'a str>,
) -> Vec<String> {
    let mut notes = vec![
        "scores of another tool and its prompts: they stand beside ours and are never mixed with \
         them"
            .to_owned(),
    ];
    notes.push(
        match (object.get("chat_template"), object.get("chat_template_sha")) {
            (None, None) => "the file does not say whether a chat template was used",
            (None | Some(Value::Null), None | Some(Value::Null)) => "without a chat template",
            _ => "with the model's chat template",
        }
        .to_owned(),
    );
    if text_at(object, &["system_instruction"]).is_some() {
        notes.push("with a system instruction".to_owned());
    }
    if kind.starts_with("local-") || kind.starts_with("openai-") {
        notes.push(format!(
            "through a server's API ({kind}); the server is not named"
        ));
    }
    if let Some(limit) = at(config, &["limit"]).and_then(as_number) {
        notes.push(if limit < 1.0 {
            format!("limited to {} % of each task's items", 100.0 * limit)
        } else {
            format!("limited to {limit} items of each task")
        });
    }
    let revision = argument("revision")
        .or_else(|| text_at(config, &["model_revision"]))
        .filter(|it| *it != "main");
    if let Some(revision) = revision {
        notes.push(format!("revision {revision} of the model"));
    }
    if argument("peft").is_some() {
        notes.push("with an adapter over the model's weights".to_owned());
    }
    if flag(config, "use_cache") == Some(true) {
        notes.push("some answers may come from an earlier run's cache".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests;
