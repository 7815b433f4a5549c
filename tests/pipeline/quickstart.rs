//! `joulemark quickstart`, as a newcomer types it, over a matrix of a few short cells.

use serde_json::Value;

use crate::harness::Installation;

/// Two quantisations and a pruning of the smallest reference model, timed as shortly as allowed.
pub(crate) const SHORT_MATRIX: &str = r#"
quantisations = ["F16", "Q4_K"]
pruning = ["none", "magnitude-30%"]

[[models]]
name = "joulemark-reference-0.9m"
path = "joulemark-reference-0.9m-f16.gguf"

[[workloads]]
id = "pp32-tg16"
prompt_tokens = 32
output_tokens = 16

[[exclude]]
quantisation = ["F16"]
pruning = ["magnitude-30%"]

[quality]
suite = "reference-v1"
items = 105

[repetitions]
min = 6
max = 6
min_seconds = 0.05
target_half_width_percent = 50.0
minutes_per_cell = 1.0
"#;

const CELLS: usize = 3;

#[test]
fn every_planned_cell_is_measured_verified_stored_and_on_the_page() {
    let installation = Installation::fresh();
    let matrix = installation.file("short.toml", SHORT_MATRIX);
    let matrix = matrix.to_str().expect("text");
    // Without profiles no machine is a known setup, whatever this test runs on.
    let profiles = tempfile::tempdir().expect("a folder");
    let quickstart = [
        "quickstart",
        "--profiles",
        profiles.path().to_str().expect("text"),
        "--exit-when-done",
        "--format",
        "json",
        "--matrix",
        matrix,
    ];

    let first: Value = serde_json::from_str(&installation.run_fine(&quickstart)).expect("JSON");
    let rows = first["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), CELLS, "{first:#}");
    for row in rows {
        assert!(
            ["on", "tied", "dominated"].contains(&row["membership"].as_str().expect("membership"))
        );
        assert_eq!(row["quality_n"], 105);
        assert!(row["quality_ci95_low"].as_f64() <= row["quality"].as_f64());
        assert_eq!(row["decode_tokens_per_second_n"], 6);
        assert!(
            row["decode_tokens_per_second_ci95_low"]
                .as_f64()
                .expect("an interval")
                > 0.0
        );
        assert_eq!(row["tier"], "self-reported");
        assert_eq!(
            row["price_usd"],
            Value::Null,
            "this machine is no known setup"
        );
        assert!(row["price_reason"].is_string());
        let has_joules = row["joules_per_correct_answer"].is_number();
        assert_ne!(
            has_joules,
            row["energy_reason"].is_string(),
            "joules or the reason, never both"
        );
        assert_eq!(row["records"], 1);
    }
    assert_eq!(
        first["objectives"],
        serde_json::json!(["quality", "decode"])
    );
    assert!(
        first["objectives_reason"].is_string(),
        "why price is no axis here"
    );

    // Run again, it adds to the same data.
    let second: Value = serde_json::from_str(&installation.run_fine(&quickstart)).expect("JSON");
    let rows = second["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), CELLS);
    for row in rows {
        assert_eq!(row["records"], 2);
        // Both runs' repetitions, or the steadier run's if the other scattered by over 15 %.
        let n = row["decode_tokens_per_second_n"].as_u64().expect("a count");
        assert!(n == 12 || n == 6, "{row:#}");
        assert_eq!(
            row["quality_n"], 105,
            "the same items are not counted twice"
        );
    }

    let mut serving = installation.serve(&["serve", "--listen", "127.0.0.1:0"]);
    the_site_shows(&serving, &second);
    assert!(serving.stop().success());
}

fn the_site_shows(serving: &crate::harness::Serving, frontier: &Value) {
    let home = serving.page("/");
    assert!(home.contains("<svg"), "a chart");
    for row in frontier["rows"].as_array().expect("rows") {
        let id = row["id"].as_str().expect("an id");
        assert!(
            home.contains(&format!("/results/{id}")),
            "the home page links {id}"
        );
        let page = serving.page(&format!("/results/{id}"));
        assert!(page.contains("not recorded"), "a missing price reads so");
        assert!(
            page.contains("joulemark sweep"),
            "the command that reproduces it"
        );
        let record = row["record"].as_str().expect("a content id");
        let detail = serving.json(&format!("/api/v1/records/{record}"));
        assert_eq!(detail["signature_valid"], true);
        let envelope = serving.json(&format!("/api/v1/records/{record}/envelope"));
        assert_eq!(
            envelope["payloadType"],
            "application/vnd.joulemark.record.v1+json"
        );
    }
    for page in ["/models", "/hardware", "/methodology"] {
        serving.page(page);
    }
    for page in ["/", "/models", "/hardware", "/methodology"] {
        let text = serving.page(page);
        assert!(
            !text.contains("src=\"http") && !text.contains("@import"),
            "{page} fetches from elsewhere"
        );
    }
    let csv = serving.page("/frontier.csv");
    assert_eq!(csv.lines().count(), 1 + CELLS, "{csv}");
    let json = serving.json("/frontier.json");
    assert_eq!(
        json["rows"],
        serving.json("/api/v1/frontier")["rows"],
        "the twin is the API's answer"
    );

    let openapi = serving.json("/api/v1/openapi.json");
    for path in [
        "/api/v1/frontier",
        "/api/v1/results",
        "/api/v1/records",
        "/api/v1/models",
        "/api/v1/hardware",
    ] {
        assert!(openapi["paths"][path].is_object(), "{path} is described");
    }
    assert_eq!(serving.get("/api/v1/frontier?budget=lots").status(), 400);
    assert_eq!(serving.get("/frontier?budget=lots").status(), 400);
    assert_eq!(serving.get("/results/0000000000000000").status(), 404);
    assert_eq!(serving.get("/api/v1/nothing").status(), 404);
}
