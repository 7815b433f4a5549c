//! The whole chain against an endpoint that knows its joules: the built program sweeps it over
//! HTTP, reads its energy over HTTP, signs and submits; the collector publishes joules per token.

use serde_json::Value;

use crate::harness::Installation;
use crate::harness::installed::reference_models;
use crate::harness::known_joules::{Costs, KnownJoules, Style};

const COSTS: Costs = Costs {
    prompt_token_seconds: 0.002,
    prompt_token_joules: 0.3,
    output_token_seconds: 0.008,
    output_token_joules: 0.84,
    idle_watts: 14.0,
};

/// Several tokens an event, and characters that are several tokens.
const STYLE: Style = Style {
    tokens_per_event: 4,
    says_usage: true,
    text: "the quick brown fox jümps over the lazy dog and rüns ",
};

/// Other tests share the two cores, so that requests stand in line longer than they are paced.
const MOST_ERROR: f64 = 0.05;

fn matrix(url: &str) -> String {
    format!(
        r#"
quantisations = ["F16"]
[[models]]
name = "joulemark-reference-0.9m"
path = "joulemark-reference-0.9m-f16.gguf"
[[workloads]]
id = "pp128-tg64"
prompt_tokens = 128
output_tokens = 64
[[engines]]
name = "known-joules"
kind = "openai"
url = "{url}"
backend = "none"
[quality]
items = 105
[repetitions]
min = 6
max = 6
warmup_max = 2
min_seconds = 0.5
energy_seconds = 4.0
idle_unloaded_seconds = 0.0
idle_loaded_seconds = 2.0
cool_seconds = 0.0
"#
    )
}

#[test]
fn joules_per_token_of_an_endpoint_that_knows_them_are_published() {
    let server = KnownJoules::start(COSTS, STYLE, 0.1);
    let installation = Installation::fresh();
    let matrix = installation.file("matrix.toml", &matrix(&server.url));
    let meters = installation.file(
        "meters.toml",
        &format!(
            "[[meter]]\nname = \"ledger\"\nkind = \"json\"\nurl = \"{}/energy\"\n\
             scope = \"system.dc\"\npointer = \"/energy/total\"\nunit = \"J\"\nupdate_seconds = 0.1\n",
            server.url
        ),
    );
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
        "--meters",
        meters.to_str().expect("text"),
        "--models",
        reference_models().to_str().expect("text"),
    ]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(serving.stored_once(1), 1);
    let seconds = server.ledger.now();
    let worked = server.ledger.joules_at(seconds) - COSTS.idle_watts * seconds;
    assert!(worked > 0.0, "the endpoint was asked");
    let row = &serving.json("/api/v1/results")["rows"][0];
    assert_eq!(row["energy_scope"], "system.dc", "{row:#}");
    assert_eq!(row["energy_method"], "loops", "{row:#}");
    for (column, truth) in [
        ("joules_per_prompt_token", COSTS.gross_prompt_token_joules()),
        ("joules_per_output_token", COSTS.gross_output_token_joules()),
    ] {
        let stated = row[column]
            .as_f64()
            .unwrap_or_else(|| panic!("{column}: {row:#}"));
        let error = stated / truth - 1.0;
        assert!(
            error.abs() < MOST_ERROR,
            "{column}: {stated} J, in truth {truth} J"
        );
        let half: Vec<f64> = ["low", "high"]
            .iter()
            .filter_map(|end| row[format!("{column}_ci95_{end}")].as_f64())
            .collect();
        assert!(
            half.len() == 2 && half[0] < stated && stated < half[1],
            "{column} has an interval"
        );
    }
    let page = serving.page(&format!("/results/{}", row["id"].as_str().expect("an id")));
    assert!(
        page.contains("system.dc, loops"),
        "the page names scope and method"
    );
    assert_eq!(
        row["joules_per_correct_answer"],
        Value::Null,
        "nothing was answered right"
    );
}
