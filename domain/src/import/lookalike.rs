//! Files of tools that are not read, told apart from those that are.

use serde_json::{Map, Value};

use super::{Claim, Document, READERS};

/// What an unclaimed file looks like, and what to give instead.
pub(super) fn found(document: &Document, claims: &[Claim; READERS.len()]) -> String {
    let looks = claims.iter().find_map(|claim| match claim {
        Claim::Looks(what) => Some(*what),
        _ => None,
    });
    let known = || document.objects().find_map(|(_, it)| known(it));
    let what = looks
        .or_else(known)
        .or_else(|| table(document))
        .map_or_else(|| shape(document), ToOwned::to_owned);
    let mut what = what;
    for note in document.notes.iter().take(2) {
        what.push_str("; ");
        what.push_str(note);
    }
    what
}

/// Objects that other tools write, by what only they write.
fn known(object: &Map<String, Value>) -> Option<&'static str> {
    let has = |key: &str| object.contains_key(key);
    let first = |key: &str| -> Option<&Map<String, Value>> {
        object.get(key)?.as_array()?.first()?.as_object()
    };
    if has("presets") && has("scraped_at") || has("tokSOut") {
        return Some(
            "rows of the LocalMaxxing leaderboard, which nobody checks and which are not read; give the file of \
             the tool that measured",
        );
    }
    if first("configurations").is_some_and(|it| it.contains_key("energy_per_token_joules")) {
        return Some("build data of the ML.ENERGY leaderboard, which is not read");
    }
    let phase = |key: &str| {
        object
            .get(key)
            .and_then(Value::as_object)
            .is_some_and(|it| {
                ["latency", "energy", "efficiency"]
                    .iter()
                    .all(|key| it.contains_key(*key))
            })
    };
    let is_report = object
        .get("report")
        .and_then(Value::as_object)
        .is_some_and(|it| it.values().any(|it| it.get("latency").is_some()));
    if [
        "prefill",
        "decode",
        "load",
        "forward",
        "load_model",
        "per_token",
    ]
    .iter()
    .any(|it| phase(it))
        || is_report && has("config")
        || text_of(object, &["backend", "_target_"])
            .is_some_and(|it| it.starts_with("optimum_benchmark"))
    {
        return Some("a report of Hugging Face's optimum-benchmark, which is not read");
    }
    if has("doc_id") && has("doc") && (has("resps") || has("filtered_resps") || has("target")) {
        return Some(
            "samples of lm-evaluation-harness, without its scores; give results_<time>.json of the same run",
        );
    }
    if has("benchmark_version") && has("api_backend") && has("traffic_scenario") {
        return Some(
            "the experiment_metadata.json beside genai-bench's results; give the JSON of a run \
             (<scenario>_<task>_<model>_num_concurrency_….json)",
        );
    }
    if has("vllm_image") || has("served_name") && has("server_config") {
        return Some(
            "an author's description of a server (meta.json), without results; give what \
             `vllm bench serve --save-result` wrote",
        );
    }
    if has("bench_executable") && has("bench_arguments") {
        return Some("the environment of a llama-batched-bench run, without its results");
    }
    if has("eval_count") && has("eval_duration") {
        return Some("an answer of Ollama's API, which is no benchmark");
    }
    if has("usage") && has("choices") {
        return Some("an answer of an OpenAI-like server, which is no benchmark");
    }
    None
}

fn text_of<'a>(object: &'a Map<String, Value>, path: &[&str]) -> Option<&'a str> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(object.get(*first)?, |value, key| value.get(*key))?
        .as_str()
}

/// Tables that other tools write.
fn table(document: &Document) -> Option<&'static str> {
    let csv = document.csv.as_ref()?;
    (csv.column("forward.latency(s)").is_some() || csv.column("generate.latency(s)").is_some())
        .then_some("inference results of Hugging Face's optimum-benchmark, which are not read")
}

/// What stands in it, for a person who has to find out which file it is.
fn shape(document: &Document) -> String {
    if let Some(line) = document.cut {
        return format!("the JSON that begins in line {line} is cut off; give the whole file");
    }
    if let Some((_, object)) = document.objects().next() {
        let keys: Vec<String> = object
            .keys()
            .take(8)
            .map(|key| key.chars().take(40).filter(|c| !c.is_control()).collect())
            .collect();
        return format!("JSON or YAML with the keys {}", keys.join(", "));
    }
    if let Some(table) = document.tables.first().or(document.csv.as_ref()) {
        let names: Vec<String> = table
            .header
            .iter()
            .take(12)
            .map(|name| name.chars().take(40).collect())
            .collect();
        return format!("a table with the columns {}", names.join(", "));
    }
    if !document.values.is_empty() {
        return "an empty list: the run gave no results".to_owned();
    }
    "text in which no results of a tool were found".to_owned()
}
