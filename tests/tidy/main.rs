//! The house keeps its shape: arrows, SQL, power counters and documents are where
//! `ARCHITECTURE.md` says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` with this extension, as (path from the root, text).
fn files(folder: &str, extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut todo = vec![root().join(folder)];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a readable folder");
            todo.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push((
                relative(&path),
                std::fs::read_to_string(&path).expect("text"),
            ));
        }
    }
    found.sort();
    assert!(
        !found.is_empty(),
        "{folder} has no .{extension} file: the test looks at nothing"
    );
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .map_or_else(|_| path.to_path_buf(), PathBuf::from)
        .display()
        .to_string()
}

fn all_sources() -> Vec<(String, String)> {
    ["domain", "runner", "collector", "site", "src", "examples"]
        .into_iter()
        .flat_map(|folder| files(folder, "rs"))
        .collect()
}

/// What ships: without test modules and test files, which may look at everything.
fn shipped(sources: Vec<(String, String)>) -> Vec<(String, String)> {
    let is_test = |path: &str| {
        path.ends_with("/tests.rs") || path.contains("/tests/") || path.ends_with("fixtures.rs")
    };
    let mut sources: Vec<_> = sources
        .into_iter()
        .filter(|(path, _)| !is_test(path))
        .collect();
    for (_, text) in &mut sources {
        if let Some(tests) = text.find("#[cfg(test)]\nmod tests {") {
            text.truncate(tests);
        }
    }
    sources
}

#[test]
fn only_the_allowed_arrows_stand_between_the_crates() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut arrows = BTreeSet::new();
    for package in packages {
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let name = dependency["name"].as_str().expect("a name");
            if ours.contains(name) {
                arrows.insert((name, package["name"].as_str().expect("a name")));
            }
        }
    }
    let allowed = BTreeSet::from([
        ("domain", "runner"),
        ("domain", "collector"),
        ("domain", "site"),
        ("domain", "joulemark"),
        ("runner", "joulemark"),
        ("collector", "joulemark"),
        ("site", "joulemark"),
    ]);
    assert_eq!(arrows, allowed);
}

#[test]
fn invariant_1_the_domain_reads_no_clock_file_or_environment() {
    for (path, text) in shipped(files("domain/src", "rs")) {
        for banned in [
            "SystemTime::now",
            "Instant::now",
            "std::fs",
            "std::env",
            "std::net",
            "async fn",
            "tokio",
        ] {
            assert!(!text.contains(banned), "{path} uses {banned}");
        }
    }
}

#[test]
fn invariant_2_only_the_envelope_builds_a_verified_payload() {
    for (path, text) in all_sources() {
        assert!(
            path == "domain/src/envelope.rs" || !text.contains("Verified {"),
            "{path} builds a Verified payload"
        );
    }
}

#[test]
fn invariant_8_sql_counters_and_keys_each_have_one_room() {
    for (path, text) in shipped(all_sources()) {
        let sql = ["sqlx::query", "query!(", "query_as!(", "query_scalar!("]
            .iter()
            .any(|s| text.contains(s));
        assert!(
            !sql || path.starts_with("collector/src/store/"),
            "{path} holds SQL"
        );
        let counter = text.contains("energy_uj\"") || text.contains("class/powercap\"");
        assert!(
            !counter || path.starts_with("runner/src/meter/"),
            "{path} reads a power counter"
        );
        let keys = text.contains("verify_strict(");
        assert!(
            !keys || path == "domain/src/envelope.rs",
            "{path} verifies signatures itself"
        );
    }
}

#[test]
fn every_source_file_opens_with_its_purpose() {
    for (path, text) in all_sources() {
        assert!(
            text.starts_with("//!"),
            "{path} does not open with a `//!` sentence"
        );
    }
}

#[test]
fn ci_runs_the_command_that_the_readme_names() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let ci = std::fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    for command in [
        "cargo run --release -- quickstart",
        "cargo test --workspace",
    ] {
        assert!(
            readme.contains(command),
            "README.md does not name `{command}`"
        );
    }
    assert!(ci.contains("cargo test --workspace"));
}
