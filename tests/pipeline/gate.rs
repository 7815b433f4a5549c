//! The gate through the whole program: what it ends with, writes, seals, and judges again.

use std::process::Output;

use serde_json::Value;

use crate::harness::Installation;

/// A command that does its work in four repetitions.
const WORKS: &str =
    "for i in 1 2 3 4; do sleep 0.02; echo '{\"units\": 10, \"output\": \"7\"}'; done\n";

/// Runs the program in an empty folder, as nobody's repository.
fn run(installation: &Installation, arguments: &[&str]) -> Output {
    let mut command = installation.joulemark(arguments);
    for variable in ["GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"] {
        command.env_remove(variable);
    }
    command.current_dir(installation.data().parent().expect("a folder"));
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_candidate_that_dies_never_passes_and_its_sealed_result_says_so_again() {
    let installation = Installation::fresh();
    installation.file("works.sh", WORKS);
    installation.file("dies.sh", "echo 'no such kernel' >&2\nexit 3\n");
    let pair = ["--base", "sh works.sh", "--candidate", "sh dies.sh"];
    let mut gate = vec!["gate", "--out", "result.json", "--junit", "gate.xml"];
    gate.extend(pair);
    let ended = run(&installation, &gate);
    let said = text(&ended.stdout) + &text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(5), "{said}");
    assert!(
        said.contains("candidate") && said.contains("INVALID"),
        "{said}"
    );

    let folder = installation.data().parent().expect("a folder").to_owned();
    let report = std::fs::read_to_string(folder.join("gate.xml")).expect("a report");
    assert!(report.contains("<error"), "{report}");

    let judged = run(&installation, &["gate", "--judge", "result.json"]);
    assert_eq!(judged.status.code(), Some(5), "{}", text(&judged.stderr));

    // One letter of the payload is another one: the signature does not fit, nothing is judged.
    let sealed = std::fs::read_to_string(folder.join("result.json")).expect("a result");
    let at = sealed.find("\"payload\":\"").expect("a payload") + 40;
    let other = if &sealed[at..=at] == "A" { "B" } else { "A" };
    let tampered = format!("{}{other}{}", &sealed[..at], &sealed[at + 1..]);
    installation.file("tampered.json", &tampered);
    let judged = run(&installation, &["gate", "--judge", "tampered.json"]);
    assert_eq!(judged.status.code(), Some(2), "{}", text(&judged.stdout));

    // Nor is it without the key that sealed it.
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let judged = run(
        &installation,
        &["gate", "--judge", "result.json", "--key", key],
    );
    assert_eq!(judged.status.code(), Some(2));
    assert!(
        text(&judged.stderr).contains("--key"),
        "{}",
        text(&judged.stderr)
    );
}

#[test]
fn a_required_gate_takes_nothing_that_loosens_it() {
    let installation = Installation::fresh();
    installation.file("works.sh", WORKS);
    let policy = installation.file("gate.toml", "alpha_percent = 1.0\n");
    let seed = "0".repeat(64);
    for loosening in [
        ["--seed", seed.as_str()],
        ["--policy", policy.to_str().expect("text")],
    ] {
        let mut gate = vec!["gate", "--mode", "required"];
        gate.extend(["--base", "sh works.sh", "--candidate", "sh works.sh"]);
        gate.extend(loosening);
        let ended = run(&installation, &gate);
        assert_eq!(ended.status.code(), Some(2), "{}", text(&ended.stdout));
        assert!(text(&ended.stderr).contains(loosening[0]));
    }
}

#[test]
fn a_job_is_told_even_when_nothing_was_measured() {
    let installation = Installation::fresh();
    let output = installation.file("output", "");
    let summary = installation.file("summary", "");
    let ended = installation
        .joulemark(&["gate", "--policy", "none.toml", "--mode", "required"])
        .args(["--base", "sh works.sh", "--candidate", "sh works.sh"])
        .current_dir(output.parent().expect("a folder"))
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_OUTPUT", &output)
        .env("GITHUB_STEP_SUMMARY", &summary)
        .output()
        .expect("the program starts");
    assert_eq!(ended.status.code(), Some(2));
    let outputs = std::fs::read_to_string(output).expect("outputs");
    assert!(
        outputs.contains("exit-code=2\nconclusion=failure\n"),
        "{outputs}"
    );
    let summary = std::fs::read_to_string(summary).expect("a summary");
    assert!(summary.contains("nothing was measured"), "{summary}");
}

#[test]
fn a_comparison_is_sealed_and_its_document_holds_every_slot() {
    let installation = Installation::fresh();
    installation.file("works.sh", WORKS);
    let ended = run(
        &installation,
        &[
            "compare",
            "--base",
            "sh works.sh",
            "--candidate",
            "sh works.sh",
            "--format",
            "json",
            "--out",
            "compared.json",
        ],
    );
    let said = text(&ended.stderr);
    let document: Value = serde_json::from_slice(&ended.stdout).expect(&said);
    // A busy machine may make it invalid; the code is the judgement's in any case.
    let code = document["judgement"]["exit_code"].as_i64().expect("a code");
    assert_eq!(ended.status.code().map(i64::from), Some(code), "{said}");
    let blocks = document["record"]["stages"][0]["blocks"].as_array();
    let blocks = blocks.expect("blocks");
    assert!(blocks.len() >= 12, "{said}");
    assert!(
        blocks
            .iter()
            .all(|block| block["slots"].as_array().is_some_and(|s| s.len() == 4))
    );
    assert_eq!(document["judgement"]["seed"], document["record"]["seed"]);
    assert!(document["envelope"]["signatures"][0]["sig"].is_string());

    // It has no verdict, so that no required check passes by it.
    for mode in ["required", "advisory"] {
        let judge = ["gate", "--judge", "compared.json", "--mode", mode];
        let judged = run(&installation, &judge);
        assert_eq!(judged.status.code(), Some(2), "{}", text(&judged.stdout));
        assert!(text(&judged.stderr).contains("joulemark compare"));
    }
}
