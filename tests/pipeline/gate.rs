//! The gate through the whole program: what it ends with, writes, seals, and judges again.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::harness::Installation;

/// A command that does its work in four repetitions.
const WORKS: &str =
    "for i in 1 2 3 4; do sleep 0.02; echo '{\"units\": 10, \"output\": \"7\"}'; done\n";

/// The folder beside the data folder, nobody's repository.
fn folder(installation: &Installation) -> PathBuf {
    installation.data().parent().expect("a folder").to_owned()
}

/// The program in a folder, outside of any job.
fn program(installation: &Installation, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = installation.joulemark(arguments);
    for variable in [
        "GITHUB_ACTIONS",
        "GITHUB_OUTPUT",
        "GITHUB_STEP_SUMMARY",
        "JOULEMARK_BASE_REF",
        "JOULEMARK_COLLECTOR",
    ] {
        command.env_remove(variable);
    }
    command.current_dir(folder);
    command
}

/// Runs the program in an empty folder, as nobody's repository.
fn run(installation: &Installation, arguments: &[&str]) -> Output {
    let mut command = program(installation, &folder(installation), arguments);
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

/// What a program ended with, and all it said.
fn ended(output: &Output) -> (Option<i32>, String) {
    let said = text(&output.stdout) + &text(&output.stderr);
    (output.status.code(), said)
}

#[test]
fn a_file_that_cannot_be_written_is_refused_before_anything_runs() {
    let installation = Installation::fresh();
    installation.file("works.sh", &format!("touch ran\n{WORKS}"));
    for file in ["--out", "--junit"] {
        let pair = ["--base", "sh works.sh", "--candidate", "sh works.sh"];
        let arguments = [&["gate", file, "none/of/these"], &pair[..]].concat();
        let (code, said) = ended(&run(&installation, &arguments));
        assert_eq!(code, Some(2), "{said}");
        assert!(
            said.contains(file) && said.contains("none/of/these"),
            "{said}"
        );
    }
    assert!(!folder(&installation).join("ran").exists());
    // One that could be opened is gone again where nothing came to be written.
    let refused = ["gate", "--out", "r.json", "--policy", "none.toml"];
    let pair = ["--base", "sh works.sh", "--candidate", "sh works.sh"];
    let (code, said) = ended(&run(&installation, &[&refused[..], &pair].concat()));
    assert_eq!(code, Some(2), "{said}");
    assert!(!folder(&installation).join("r.json").exists());
}

/// Says its id to whoever asks, and takes nothing.
fn busy_collector() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let health = json!({
        "status": "ok",
        "audience": "5e".repeat(32),
        "data_version": "1",
        "records": 0,
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a request");
            let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
            let mut first = String::new();
            reader.read_line(&mut first).expect("a request");
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok() && line.trim() != "" {
                let lower = line.to_lowercase();
                if let Some(bytes) = lower.strip_prefix("content-length:") {
                    length = bytes.trim().parse().expect("a length");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            let (status, body) = if first.starts_with("GET") {
                ("200 OK", health.to_string())
            } else {
                ("503 Service Unavailable", String::new())
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).expect("an answer");
        }
    });
    url
}

#[test]
fn submitting_ends_with_the_first_signal_and_keeps_the_result() {
    let installation = Installation::fresh();
    installation.file("works.sh", WORKS);
    installation.file("dies.sh", "exit 3\n");
    let url = busy_collector();
    let arguments = [
        "gate",
        "--base",
        "sh works.sh",
        "--candidate",
        "sh dies.sh",
        "--collector",
        &url,
    ];
    let mut child = program(&installation, &folder(&installation), &arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // The verdict stands before it is sent anywhere.
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let verdict = lines.next().expect("a verdict").expect("text");
    assert!(verdict.contains("INVALID"), "{verdict}");
    let spool = installation.data().join("spool/new");
    let deadline = Instant::now() + Duration::from_mins(1);
    while std::fs::read_dir(&spool).map_or(0, Iterator::count) == 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    // So that it is waiting between two attempts, which it goes on with for minutes.
    std::thread::sleep(Duration::from_secs(1));
    let pid = child.id().to_string();
    let asked = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(asked.expect("kill runs").success());
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().expect("it was running");
            panic!("it did not stop at SIGTERM");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("piped");
    stderr.read_to_string(&mut said).expect("text");
    // The arm that died counts for more than the submission that did not come to its end.
    assert_eq!(status.code(), Some(5), "{said}");
    assert!(said.contains("interrupted while submitting"), "{said}");
    assert_eq!(std::fs::read_dir(&spool).expect("a spool").count(), 1);
}

/// The record in a sealed result.
fn opened(file: &Path) -> Value {
    let sealed: Value =
        serde_json::from_slice(&std::fs::read(file).expect("a result")).expect("JSON");
    let payload = sealed["payload"].as_str().expect("a payload");
    let payload = base64::engine::general_purpose::STANDARD.decode(payload);
    serde_json::from_slice(&payload.expect("base 64")).expect("a record")
}

#[test]
fn a_gate_that_was_killed_is_sealed_from_its_folder_and_gone_on_with() {
    let installation = Installation::fresh();
    // Long repetitions: on a busy machine short ones look as if their lines came at once.
    installation.file("works.sh", &WORKS.replace("0.02", "0.1"));
    // So wide that twelve blocks decide, whatever else this machine does.
    installation.file(
        "gate.toml",
        "practical_zero_percent = 20.0\nbudget_minutes = 30.0\n[margins]\ndecode = 90.0\n\
         prefill = 90.0\nttft = 90.0\npeak-bytes = 90.0\nenergy = 90.0\ntime = 90.0\n",
    );
    let gate = [
        "gate",
        "--policy",
        "gate.toml",
        "--base",
        "sh works.sh",
        "--candidate",
        "sh works.sh",
    ];
    let mut child = program(&installation, &folder(&installation), &gate)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let gates = installation.data().join("gates");
    let only = || {
        let mut folders = std::fs::read_dir(&gates).ok()?;
        Some(folders.next()?.ok()?.path())
    };
    let blocks = |folder: &Path| {
        let kept = std::fs::read_to_string(folder.join("blocks.jsonl")).unwrap_or_default();
        kept.lines()
            .filter(|line| line.contains("\"block\""))
            .count()
    };
    let deadline = Instant::now() + Duration::from_mins(2);
    while only().is_none_or(|folder| blocks(&folder) < 2) {
        assert!(Instant::now() < deadline, "no block was finished");
        let ended = child.try_wait().expect("a child");
        assert_eq!(ended, None, "it ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("it was running");
    child.wait().expect("it was running");
    let left = only().expect("a folder");
    let kept = blocks(&left);

    // Of another folder nothing is taken, sealed or not.
    let here = folder(&installation);
    let elsewhere = here.join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("writable");
    for file in ["record.json", "blocks.jsonl", "seed"] {
        std::fs::copy(left.join(file), elsewhere.join(file)).expect("there");
    }
    let (code, said) = ended(&run(
        &installation,
        &[&gate[..1], &["--continue", "elsewhere"], &gate[3..]].concat(),
    ));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("data/gates"), "{said}");

    let left = left.to_str().expect("text");
    let goes_on = [
        &gate[..1],
        &["--continue", left, "--out", "r.json"],
        &gate[3..],
    ]
    .concat();
    let (code, said) = ended(&run(&installation, &goes_on));
    assert!(said.contains("recovered"), "{said}");
    assert!(said.contains("it was stopped after"), "{said}");
    let record = opened(&here.join("r.json"));
    assert!(record["continues"].is_string(), "{said}");
    let measured = record["stages"][0]["blocks"].as_array().expect("blocks");
    assert!(measured.len() >= 12 && measured.len() >= kept, "{said}");
    // What the machine did meanwhile may void blocks; it never ends in anything else.
    assert!(matches!(code, Some(0 | 4)), "{said}");
    let spool = std::fs::read_dir(installation.data().join("spool/new")).expect("a spool");
    assert_eq!(spool.count(), 2, "what was recovered, and the whole");
}

/// A repository whose branch `main` has the policy, and whose working tree is a commit ahead of it;
/// none where there is no git.
fn repository(installation: &Installation, files: &[(&str, &str)]) -> Option<PathBuf> {
    if Command::new("git").arg("--version").output().is_err() {
        return None;
    }
    let here = folder(installation).join("repository");
    std::fs::create_dir_all(here.join(".joulemark")).expect("writable");
    let git = |arguments: &[&str]| {
        let ended = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
            .args(arguments)
            .current_dir(&here)
            .output()
            .expect("git runs");
        assert!(ended.status.success(), "{arguments:?}: {ended:?}");
    };
    git(&["init", "-q", "-b", "main"]);
    for (name, text) in files {
        std::fs::write(here.join(name), text).expect("writable");
    }
    std::fs::write(here.join("version"), "old\n").expect("writable");
    git(&["add", "--all"]);
    git(&["commit", "-qm", "base"]);
    git(&["checkout", "-qb", "change"]);
    std::fs::write(here.join("version"), "new\n").expect("writable");
    git(&["commit", "-qam", "change"]);
    Some(here)
}

#[test]
fn two_commands_are_gated_where_the_policy_is_for_models_but_not_as_required() {
    let installation = Installation::fresh();
    let policy = "models = [\"mini-*.gguf\"]\n[[workloads]]\nid = \"pp64-tg64\"\n\
        prompt_tokens = 64\noutput_tokens = 64\n";
    let files = [(".joulemark/gate.toml", policy), ("works.sh", WORKS)];
    let Some(here) = repository(&installation, &files) else {
        return println!("SKIPPED: there is no git");
    };
    let gate = |more: &[&str]| {
        let pair = ["--base", "sh works.sh", "--candidate", "sh works.sh"];
        let arguments = [&["gate", "--dry-run"], &pair[..], more].concat();
        let output = program(&installation, &here, &arguments).output();
        ended(&output.expect("the program starts"))
    };
    let (code, said) = gate(&[]);
    assert_eq!(
        said.matches("the built-in policy is used").count(),
        1,
        "{said}"
    );
    assert!(matches!(code, Some(0 | 3)), "{said}");
    for refused in [
        &["--mode", "required"][..],
        &["--policy", ".joulemark/gate.toml"],
    ] {
        let (code, said) = gate(refused);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("commands have none"), "{said}");
    }
    let one = ["gate", "--dry-run", "--base", "sh works.sh"];
    let output = program(&installation, &here, &one).output();
    let (code, said) = ended(&output.expect("the program starts"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("name both arms"), "{said}");
}

#[test]
fn a_required_gate_wants_a_base_ref_that_git_can_read() {
    let installation = Installation::fresh();
    let Some(here) = repository(&installation, &[("works.sh", WORKS)]) else {
        return println!("SKIPPED: there is no git");
    };
    installation.file("works.sh", WORKS);
    let gate = |folder: &Path, more: &[&str]| {
        let pair = ["--base", "sh works.sh", "--candidate", "sh works.sh"];
        let arguments = [&["gate", "--dry-run"], &pair[..], more].concat();
        let output = program(&installation, folder, &arguments).output();
        ended(&output.expect("the program starts"))
    };
    let required = ["--mode", "required"];
    let nowhere = folder(&installation);
    let (code, said) = gate(&nowhere, &required);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("a required gate goes by"), "{said}");
    let (code, said) = gate(&nowhere, &[]);
    assert!(matches!(code, Some(0 | 3)), "{said}");

    // It is there, and git does not open it: not the same as none.
    std::fs::write(here.join(".git/config"), "[core\n").expect("writable");
    let (code, said) = gate(&here, &required);
    assert_eq!(code, Some(2), "{said}");
    let (code, said) = gate(&here, &[]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("bad config"), "{said}");
}

#[test]
fn a_build_that_touches_the_other_arm_is_told_of() {
    let installation = Installation::fresh();
    let shared = folder(&installation).join("shared");
    std::fs::create_dir(&shared).expect("writable");
    let policy = |build: &str, run: &str| {
        format!("[arms]\nkind = \"command\"\nbuild = [\"sh {build}\"]\nrun = \"{run}\"\n")
    };
    let shared_program = format!("{}/program", shared.display());
    // Into one place, as a shared build folder would; with what differs, and without.
    let makes = |what: &str, place: &str| {
        format!(
            "{{ echo '#!/bin/sh'; echo '# {what}'; cat works.sh; }} > {place}\nchmod +x {place}\n"
        )
    };
    let differs = makes("'\"$(cat version)\"'", &shared_program);
    let same = makes("same", &shared_program);
    let own = makes("'\"$(cat version)\"'", "program");
    // As cargo does where its build folder is shared: made once, found again, and linked.
    let kept = shared.join("kept").display().to_string();
    let linked = format!(
        "[ -e {kept} ] || {{\n{}}}\nln -f {kept} program\n",
        makes("'\"$(cat version)\"'", &kept)
    );
    for (name, build, run, wanted) in [
        (
            "differs",
            &differs,
            shared_program.as_str(),
            "changed the base's program",
        ),
        ("same", &same, &shared_program, "would run the same"),
        ("linked", &linked, "./program", "would run the same"),
        ("own", &own, "./program", ""),
    ] {
        let installation = Installation::fresh();
        let text = policy("build.sh", run);
        let files = [
            (".joulemark/gate.toml", text.as_str()),
            ("build.sh", build),
            ("works.sh", WORKS),
            (".gitignore", "program\n"),
        ];
        let Some(here) = repository(&installation, &files) else {
            return println!("SKIPPED: there is no git");
        };
        let output = program(&installation, &here, &["gate", "--dry-run"]).output();
        let (code, said) = ended(&output.expect("the program starts"));
        if wanted.is_empty() {
            assert!(matches!(code, Some(0 | 3)), "{name}: {said}");
        } else {
            assert_eq!(code, Some(5), "{name}: {said}");
            assert!(said.contains(wanted), "{name}: {said}");
        }
    }
}
