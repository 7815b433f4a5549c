//! `joulemark sweep`: plan, failure of one cell, interruption and resumption, submission later.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::Installation;
use crate::harness::installed::reference_models;
use crate::quickstart::SHORT_MATRIX;

#[test]
fn a_dry_run_prints_the_plan_and_measures_nothing() {
    let installation = Installation::fresh();
    let matrix = installation.file("short.toml", SHORT_MATRIX);
    let matrix = matrix.to_str().expect("text");
    let plan: Value = serde_json::from_str(&installation.run_fine(&[
        "sweep",
        "--dry-run",
        "--format",
        "json",
        "--matrix",
        matrix,
    ]))
    .expect("JSON");
    assert_eq!(plan["cells"].as_array().expect("cells").len(), 3);
    assert_eq!(plan["suite"], "reference-v1");
    let told = plan["smallest_difference"].as_f64().expect("a share");
    assert!((0.0..1.0).contains(&told) && plan["items"].as_u64() > Some(0));
    let spooled =
        std::fs::read_dir(installation.data().join("spool/new")).map_or(0, Iterator::count);
    assert_eq!(spooled, 0);
}

#[test]
fn a_wrong_matrix_is_refused_with_file_line_and_key() {
    let installation = Installation::fresh();
    let matrix = installation.file(
        "wrong.toml",
        &SHORT_MATRIX.replace("\"Q4_K\"]\np", "\"Q4_Q\"]\np"),
    );
    let output = installation.run(&[
        "sweep",
        "--dry-run",
        "--matrix",
        matrix.to_str().expect("text"),
    ]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for part in ["wrong.toml", "2", "quantisations", "Q4_Q"] {
        assert!(stderr.contains(part), "{part} is not named in: {stderr}");
    }
}

#[test]
fn one_broken_model_costs_no_other_cell_and_is_named() {
    let installation = Installation::fresh();
    let models = tempfile::tempdir().expect("a folder");
    let good = "joulemark-reference-0.9m-f16.gguf";
    let bytes = std::fs::read(reference_models().join(good)).expect("it ships");
    std::fs::write(models.path().join(good), &bytes).expect("writable");
    std::fs::write(models.path().join("broken.gguf"), &bytes[..bytes.len() / 2]).expect("writable");
    let two = "[[models]]\nname = \"broken\"\npath = \"broken.gguf\"\n\n[[workloads]]";
    let matrix = installation.file("two.toml", &SHORT_MATRIX.replace("[[workloads]]", two));
    let output = installation.run(&[
        "sweep",
        "--format",
        "json",
        "--models",
        models.path().to_str().expect("text"),
        "--matrix",
        matrix.to_str().expect("text"),
    ]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let summary: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{stderr}"));
    let measured = summary["cells"].as_array().expect("cells");
    assert!(
        measured.iter().all(|cell| cell["outcome"] == "ok"),
        "{summary:#}"
    );
    let skipped = summary["skipped"].as_array().expect("skipped");
    assert_eq!((measured.len(), skipped.len()), (3, 3), "{summary:#}");
    assert!(skipped.iter().all(|cell| {
        cell["reason"]
            .as_str()
            .is_some_and(|why| why.contains("broken.gguf"))
    }));
}

#[test]
fn an_interrupted_sweep_goes_on_where_it_stopped() {
    let installation = Installation::fresh();
    let matrix = installation.file("short.toml", SHORT_MATRIX);
    let arguments = [
        "sweep",
        "--progress",
        "json",
        "--matrix",
        matrix.to_str().expect("text"),
    ];
    let mut child = installation
        .joulemark(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let finished = |line: &str| line.contains("\"cell_finished\"");
    while !finished(&lines.next().expect("a first cell finishes").expect("text")) {}
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .expect("kill runs")
            .success()
    );
    let mut before = 1 + lines
        .map_while(Result::ok)
        .filter(|line| finished(line))
        .count();
    let status = child.wait().expect("a child");
    if status.code() != Some(130) {
        println!("SKIPPED: the sweep was done before the interrupt arrived");
        return;
    }
    let spooled = std::fs::read_dir(installation.data().join("spool/new"))
        .expect("a spool")
        .count();
    assert_eq!(spooled, before, "what was finished is kept");

    let output = installation.run(&arguments);
    assert!(output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    before += stderr.lines().filter(|line| finished(line)).count();
    assert_eq!(before, 3, "each cell is measured once: {stderr}");
}
