//! Other engines than our own: real servers side by side, servers that misbehave, two machines.

use serde_json::Value;

use crate::harness::Installation;
use crate::harness::installed::{engines_python, reference_models};
use crate::harness::servers::{LlamaServer, Misbehaviour, balancer, misbehaving};

const MODEL: &str = "joulemark-reference-0.9m-f16.gguf";

/// One small model, timed as shortly as allowed; engines and rules are each test's own.
const BASE: &str = r#"
quantisations = ["F16"]

[[models]]
name = "joulemark-reference-0.9m"
path = "joulemark-reference-0.9m-f16.gguf"

[quality]
suite = "reference-v1"
items = 105

[repetitions]
min = 6
max = 6
warmup_max = 3
min_seconds = 0.1
target_half_width_percent = 50.0
minutes_per_cell = 1.0
concurrency_seconds = 1.0
cool_seconds = 0.0

[[workloads]]
id = "pp64-tg32"
prompt_tokens = 64
output_tokens = 32
"#;

/// The collector's rows of a sweep of `matrix`, and the page of the site at `/`.
fn swept(installation: &Installation, matrix: &str) -> (Vec<Value>, crate::harness::Serving) {
    let matrix = installation.file("engines.toml", matrix);
    installation.allow_own_key();
    let serving = installation.serve(&["serve", "--listen", "127.0.0.1:0"]);
    let output = installation.run(&[
        "sweep",
        "--collector",
        &serving.url,
        "--format",
        "json",
        "--matrix",
        matrix.to_str().expect("text"),
    ]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let summary: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{stderr}"));
    assert!(output.status.success(), "{summary:#}\n{stderr}");
    let measured = summary["cells"].as_array().expect("cells").len() as u64;
    assert_eq!(serving.stored_once(measured), measured);
    let rows = serving.json("/api/v1/results")["rows"]
        .as_array()
        .expect("rows")
        .clone();
    (rows, serving)
}

#[test]
fn one_model_through_three_engines_stands_side_by_side() {
    let python = match engines_python() {
        Ok(python) => python,
        Err(reason) => return println!("SKIPPED: {reason}"),
    };
    let python = python.display();
    let installation = Installation::fresh();
    let matrix = format!(
        r#"{BASE}
[[engines]]
name = "candle"
kind = "candle"

[[engines]]
name = "llama.cpp"
kind = "openai"
command = ["{python}", "runner/servers/llama_cpp.py", "--model", "{{weights}}", "--port", "{{port}}", "--threads", "{{threads}}", "--streams", "{{streams}}", "--context", "{{context}}"]
backend = "cpu"

[[engines]]
name = "mlx"
kind = "openai"
command = ["{python}", "-m", "mlx_lm", "server", "--model", "{{weights}}", "--port", "{{port}}", "--prompt-cache-size", "0"]
weights = "huggingface"
backend = "cpu"

[[workloads]]
id = "pp64-tg32-c2"
prompt_tokens = 64
output_tokens = 32
concurrency = 2

[[include]]
workload = ["pp64-tg32"]

[[include]]
engine = ["llama.cpp"]
workload = ["pp64-tg32-c2"]
"#
    );
    let (rows, serving) = swept(&installation, &matrix);
    assert_eq!(rows.len(), 4, "{rows:#?}");
    for engine in ["candle", "llama.cpp", "mlx"] {
        let row = rows
            .iter()
            .find(|row| row["engine"] == engine && row["concurrency"] == 1)
            .unwrap_or_else(|| panic!("no row of {engine}: {rows:#?}"));
        assert!(row["decode_tokens_per_second"].is_number(), "{row:#}");
        assert!(row["ttft_ms"].is_number(), "{row:#}");
        assert_eq!(row["quality_n"], 105, "{row:#}");
        assert_ne!(row["engine_version"], "", "{row:#}");
        let share = row["decode_of_theory"].is_number();
        assert_ne!(share, row["roofline_reason"].is_string(), "{row:#}");
    }
    let builds: std::collections::BTreeSet<_> = rows
        .iter()
        .map(|row| row["engine_build_id"].as_str().expect("text"))
        .collect();
    assert_eq!(builds.len(), 3);
    let both = rows
        .iter()
        .find(|row| row["engine"] == "llama.cpp" && row["concurrency"] == 1)
        .expect("asked above");
    assert!(
        both["engine_decode_tokens_per_second"].is_number(),
        "the server's own clock: {both:#}"
    );
    let together = rows
        .iter()
        .find(|row| row["concurrency"] == 2)
        .expect("two streams");
    assert!(
        together["aggregate_decode_tokens_per_second"].is_number(),
        "{together:#}"
    );
    // The models answer alike whatever runs them: greedy answers of the same weights.
    let quality = |engine: &str| {
        let mut of_engine = rows.iter().filter(|row| row["engine"] == engine);
        of_engine.next().expect("asked above")["quality"]
            .as_f64()
            .expect("a share")
    };
    assert!((quality("candle") - quality("llama.cpp")).abs() < 0.03);
    assert!((quality("candle") - quality("mlx")).abs() < 0.03);

    let home = serving.page("/");
    for engine in ["candle", "llama.cpp", "mlx"] {
        assert!(home.contains(engine), "{engine} is not told apart");
    }
    for row in &rows {
        let (slug, build) = (
            row["engine_slug"].as_str().expect("text"),
            row["engine_build_id"].as_str().expect("text"),
        );
        let page = serving.page(&format!("/engines/{slug}/{build}"));
        assert!(page.contains(row["id"].as_str().expect("text")));
    }
}

#[test]
fn a_bad_server_ends_its_own_cell_and_the_sweep_goes_on() {
    let installation = Installation::fresh();
    let gone = "http://127.0.0.1:9".to_owned();
    let servers = [
        ("down", gone, "unreachable"),
        ("html", misbehaving(Misbehaviour::Html), "protocol"),
        (
            "stalls",
            misbehaving(Misbehaviour::StallsMidStream),
            "silent",
        ),
        ("closes", misbehaving(Misbehaviour::ClosesEarly), "protocol"),
        (
            "endless",
            misbehaving(Misbehaviour::EndlessLine),
            "protocol",
        ),
        (
            "lies",
            misbehaving(Misbehaviour::LiesAboutUsage),
            "protocol",
        ),
    ];
    let engine = |(name, url, _): &(&str, String, &str)| {
        format!(
            "\n[[engines]]\nname = \"{name}\"\nkind = \"openai\"\nurl = \"{url}\"\nstall_seconds = 0.5\n"
        )
    };
    let bad: String = servers.iter().map(engine).collect();
    let matrix = format!("{BASE}\n[[engines]]\nname = \"candle\"\nkind = \"candle\"\n{bad}");
    let matrix = installation.file("bad.toml", &matrix);
    let output = installation.run(&[
        "sweep",
        "--format",
        "json",
        "--matrix",
        matrix.to_str().expect("text"),
    ]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let summary: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{stderr}"));
    assert_eq!(output.status.code(), Some(1), "the answer is no: {stderr}");
    let cells = summary["cells"].as_array().expect("cells");
    assert_eq!(
        cells.len(),
        1 + servers.len(),
        "each is recorded: {summary:#}"
    );
    let cell = |suffix: &str| {
        cells
            .iter()
            .find(|cell| cell["cell"].as_str().expect("text").ends_with(suffix))
            .unwrap_or_else(|| panic!("no cell {suffix}: {summary:#}"))
    };
    assert_eq!(cell("pp64-tg32")["outcome"], "ok", "{summary:#}");
    for (name, _, class) in &servers {
        let failed = cell(&format!(" on {name}"));
        let said = failed["outcome_class"].as_str().unwrap_or_default();
        assert!(said.contains(class), "{name}: {failed:#}");
    }
}

#[test]
fn two_servers_behind_one_address_are_one_setup_of_two_hosts() {
    let python = match engines_python() {
        Ok(python) => python,
        Err(reason) => return println!("SKIPPED: {reason}"),
    };
    let installation = Installation::fresh();
    // The second host is described by what the doctor says, here of this machine.
    let report = installation.run(&["doctor", "--json"]);
    let survey = installation.file("second.json", &String::from_utf8_lossy(&report.stdout));
    let model = reference_models().join(MODEL);
    let servers = [(); 2].map(|()| LlamaServer::start(&python, &model));
    let url = balancer(servers.iter().map(|server| server.port).collect());
    let survey = survey.display();
    let matrix = format!(
        r#"{BASE}
[[engines]]
name = "llama.cpp-pair"
kind = "openai"
url = "{url}"
backend = "cpu"

[engines.machines]
interconnect = "loopback"
split = {{ method = "replica", layout = "one server on each host, connections in turn" }}
hosts = [{{ survey = "here" }}, {{ survey = "{survey}" }}]

[[workloads]]
id = "pp64-tg32-c2"
prompt_tokens = 64
output_tokens = 32
concurrency = 2

[[include]]
workload = ["pp64-tg32-c2"]
"#
    );
    let (rows, serving) = swept(&installation, &matrix);
    let [row] = rows.as_slice() else {
        panic!("one result: {rows:#?}");
    };
    assert!(
        row["aggregate_decode_tokens_per_second"].is_number(),
        "{row:#}"
    );
    assert_eq!(row["joules_per_correct_answer"], Value::Null);
    let id = row["id"].as_str().expect("text");
    let detail = serving.json(&format!("/api/v1/results/{id}")).to_string();
    for part in ["loopback", "one server on each host"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert!(serving.page(&format!("/results/{id}")).contains("loopback"));
}
