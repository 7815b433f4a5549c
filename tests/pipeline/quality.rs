//! What quantisation costs, and a suite for real language models, through the whole program.

use serde_json::Value;

use crate::harness::installed::engines_python;
use crate::harness::{Installation, Serving};

const SHORT: &str = r#"
[[models]]
name = "joulemark-reference-0.9m"
path = "joulemark-reference-0.9m-f16.gguf"

[[workloads]]
id = "pp64-tg32"
prompt_tokens = 64
output_tokens = 32

[repetitions]
min = 6
max = 6
warmup_max = 3
min_seconds = 0.1
target_half_width_percent = 50.0
minutes_per_cell = 1.0
cool_seconds = 0.0
"#;

/// A collector that has the cells of `matrix`.
fn swept(installation: &Installation, matrix: &str, cells: u64) -> Serving {
    let matrix = installation.file("quality.toml", matrix);
    installation.allow_own_key();
    let serving = installation.serve(&["serve", "--listen", "127.0.0.1:0"]);
    installation.run_fine(&[
        "sweep",
        "--collector",
        &serving.url,
        "--matrix",
        matrix.to_str().expect("text"),
    ]);
    assert_eq!(serving.stored_once(cells), cells);
    serving
}

#[test]
fn a_models_page_says_what_quantisation_costs_and_kl_agrees() {
    let installation = Installation::fresh();
    let matrix = format!(
        "quantisations = [\"F16\", \"Q8_0\", \"Q2_K\"]\n{SHORT}\n[quality]\nsuite = \"reference-v1\"\nitems = 420\n"
    );
    let serving = swept(&installation, &matrix, 3);

    let detail = serving.json("/api/v1/models/joulemark-reference-0-9m");
    let variants = detail["variants"].as_array().expect("variants");
    let of = |quant: &str| {
        let found = variants.iter().find(|row| row["quant"] == quant);
        found.unwrap_or_else(|| panic!("{quant} is missing: {detail:#}"))
    };
    assert_eq!(detail["reference"], of("F16")["result"]);
    assert_eq!(of("Q2_K")["paired_items"], 420);
    assert_eq!(of("Q2_K")["told"], "worse", "{:#}", of("Q2_K"));
    assert_eq!(of("Q8_0")["told"], "not-apart", "{:#}", of("Q8_0"));
    let number = |row: &Value, key: &str| {
        row[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key}: {row:#}"))
    };
    let kl = |quant: &str| number(of(quant), "kl_mean_nats");
    assert!(
        0.0 <= kl("Q8_0") && kl("Q8_0") < kl("Q2_K"),
        "{} {}",
        kl("Q8_0"),
        kl("Q2_K")
    );
    assert!(number(of("Q2_K"), "top1_agreement") < number(of("Q8_0"), "top1_agreement"));
    assert!(number(of("Q2_K"), "greedy_agreement") < number(of("Q8_0"), "greedy_agreement"));

    let page = serving.page("/models/joulemark-reference-0-9m");
    for part in [
        "loss-wide-title",
        "speed-wide-title",
        "cannot be told apart",
        "addition",
        "by level",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let tasks = serving.json("/api/v1/tasks?suite=reference-v1");
    let passing = tasks["rows"].as_array().expect("rows").iter();
    assert!(
        passing.clone().any(|row| row["passing"].as_u64() > Some(0)),
        "{tasks:#}"
    );
    assert!(serving.page("/tasks").contains("addition"));
}

#[test]
fn core_v1_goes_through_a_real_server_and_what_has_no_answer_is_counted_apart() {
    let python = match engines_python() {
        Ok(python) => python,
        Err(reason) => return println!("SKIPPED: {reason}"),
    };
    let installation = Installation::fresh();
    let matrix = format!(
        r#"quantisations = ["F16"]
{SHORT}
[[engines]]
name = "llama.cpp"
kind = "openai"
command = ["{}", "runner/servers/llama_cpp.py", "--model", "{{weights}}", "--port", "{{port}}", "--threads", "{{threads}}", "--streams", "{{streams}}", "--context", "{{context}}"]
backend = "cpu"

[quality]
suite = "core-v1"
items = 108
"#,
        python.display()
    );
    let serving = swept(&installation, &matrix, 1);
    let rows = serving.json("/api/v1/results");
    let row = &rows["rows"][0];
    assert_eq!(
        (&row["suite"], &row["quality_n"]),
        (&"core-v1".into(), &108.into()),
        "{row:#}"
    );
    // A model of 0.9 million parameters that knows no language: next to nothing is right.
    assert!(row["quality"].as_f64().expect("scored") < 0.1, "{row:#}");
    let id = row["id"].as_str().expect("an id");
    let detail = serving.json(&format!("/api/v1/results/{id}"));
    let families = detail["families"].as_array().expect("families");
    assert_eq!(families.len(), 9, "{families:#?}");
    let apart: u64 = families
        .iter()
        .map(|family| family["unextractable"].as_u64().expect("counted"))
        .sum();
    assert!(apart > 50, "{families:#?}");
}
