//! What a suspect asks for, run as it stands: its paired run goes through the real command line, weights
//! and collector, and settles it.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use domain::history::{ChangeRow, ChangeState, GatesAnswer, RegressionsAnswer};
use domain::ids::Sha256Digest;
use domain::record::Record;
use domain::text::Name;
use runner::keys::RunnerKey;
use runner::seal::seal;
use runner::spool::Spool;

use crate::harness::installed::reference_models;
use crate::harness::{Installation, Serving};
use crate::quickstart::SHORT_MATRIX;

const MODEL: &str = "joulemark-reference-0.9m-f16.gguf";

/// Nights of the build that was good, and of the one after it.
const BEFORE: u64 = 12;
const AFTER: u64 = 4;

const DAY_MS: u64 = 86_400_000;

/// What a night's build is in a record.
type Built<'a> = &'a dyn Fn(&mut Record);

/// Measures one cell of a file as it is, and takes its record out of the spool.
fn measured(installation: &Installation) -> Record {
    let matrix = installation.file("one.toml", SHORT_MATRIX);
    let matrix = matrix.to_str().expect("text");
    installation.run_fine(&[
        "sweep", "--matrix", matrix, "--quant", "F16", "--prune", "none",
    ]);
    installation.allow_own_key();
    let spooled = std::fs::read_dir(installation.data().join("spool/new"))
        .expect("a spool")
        .next()
        .expect("one envelope")
        .expect("an entry")
        .path();
    let envelope = std::fs::read(&spooled).expect("readable");
    std::fs::remove_file(spooled).expect("its owner");
    let envelope: serde_json::Value = serde_json::from_slice(&envelope).expect("an envelope");
    let payload = base64::engine::general_purpose::STANDARD
        .decode(envelope["payload"].as_str().expect("a payload"))
        .expect("base64");
    serde_json::from_slice(&payload).expect("a record")
}

/// Submits nights of the record's cell: its decode takes half as long again since the second build.
fn submit_nights(
    installation: &Installation,
    serving: &Serving,
    record: &Record,
    builds: [Built<'_>; 2],
) {
    let spool = Spool::open(&installation.data().join("spool")).expect("a spool");
    let key = RunnerKey::load(&installation.data().join("keys/runner.pem")).expect("a key");
    for night in 0..BEFORE + AFTER {
        let mut copy = record.clone();
        let is_after = night >= BEFORE;
        builds[usize::from(is_after)](&mut copy);
        copy.sweep = Sha256Digest::of(&night.to_le_bytes());
        let earlier_ms = (BEFORE + AFTER - night) * DAY_MS;
        copy.started_ms -= earlier_ms;
        copy.ended_ms -= earlier_ms;
        (copy.quality, copy.suite) = (None, None);
        // Shares of what was measured, so that no request outlasts its repetition.
        let share = if is_after { 0.9 } else { 0.6 } + 0.002 * (night * 7 % 5) as f64;
        for request in copy
            .repetitions
            .iter_mut()
            .flat_map(|rep| &mut rep.requests)
        {
            for gap in &mut request.gaps_us {
                *gap = (*gap as f64 * share).round() as u64;
            }
        }
        let sealed = seal(&copy, &key).expect("a record");
        spool.put(&sealed).expect("room");
    }
    // It is one program's at a time.
    drop(spool);
    installation.run_fine(&["submit", "--collector", &serving.url]);
    assert_eq!(serving.stored_once(BEFORE + AFTER), BEFORE + AFTER);
}

/// The one change of decode that the collector tells.
fn change(serving: &Serving) -> ChangeRow {
    let answer: RegressionsAnswer =
        serde_json::from_value(serving.json("/api/v1/regressions")).expect("an answer");
    let mut of_decode = answer.changes.into_iter();
    let change = of_decode
        .find(|change| change.series.metric == "decode_tokens_per_second")
        .expect("a change of decode");
    assert!(of_decode.all(|other| other.series.metric != change.series.metric));
    change
}

fn suspect(serving: &Serving) -> ChangeRow {
    let change = change(serving);
    let open = [ChangeState::Suspect, ChangeState::Certified];
    assert!(open.contains(&change.state), "{change:?}");
    assert!(change.is_regression && change.gates.is_empty());
    change
}

/// A repository of an engine on its branch main, with this policy.
fn repository(installation: &Installation, policy: &str) -> PathBuf {
    let data = installation.data();
    let folder = data.parent().expect("a folder").join("engine");
    std::fs::create_dir_all(folder.join(".joulemark")).expect("writable");
    std::fs::write(folder.join(".joulemark/gate.toml"), policy).expect("writable");
    git(&folder, &["init", "--quiet", "--initial-branch", "main"]);
    folder
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=test", "-c", "user.email=test@example.org"])
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("git starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A script that is an engine's program: it starts this one instead of itself.
fn program(path: &Path, program: &Path, flags: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let text = format!("#!/bin/sh\nexec '{}' \"$@\" {flags}\n", program.display());
    std::fs::write(path, text).expect("writable");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, executable).expect("its owner");
}

/// Runs a command line in a shell, as a reader would: only where program, data and collector are is said
/// beforehand.
fn run(
    installation: &Installation,
    serving: &Serving,
    folder: &Path,
    line: &str,
) -> std::process::Output {
    let here = Path::new(env!("CARGO_BIN_EXE_joulemark"));
    let programs = here.parent().expect("a folder").display();
    let mut shell = Command::new("sh");
    for variable in [
        "DATABASE_URL",
        "GITHUB_ACTIONS",
        "GITHUB_OUTPUT",
        "GITHUB_STEP_SUMMARY",
    ] {
        shell.env_remove(variable);
    }
    shell
        .args(["-c", &format!("PATH='{programs}':\"$PATH\"\n{line}")])
        .env("JOULEMARK_DATA", installation.data())
        .env("JOULEMARK_COLLECTOR", &serving.url)
        .current_dir(folder)
        .output()
        .expect("a shell starts")
}

/// The change after its paired run, or, where that came to something else than what was planted, why
/// nothing can be said here.
fn settled(
    serving: &Serving,
    ran: &std::process::Output,
    expected: domain::gate::Verdict,
) -> Result<ChangeRow, String> {
    let said = String::from_utf8_lossy(&ran.stderr) + String::from_utf8_lossy(&ran.stdout);
    assert_ne!(ran.status.code(), Some(2), "the command is wrong: {said}");
    assert_eq!(
        serving.stored_once(BEFORE + AFTER + 1),
        BEFORE + AFTER + 1,
        "{said}"
    );
    let gates: GatesAnswer =
        serde_json::from_value(serving.json("/api/v1/gates")).expect("an answer");
    let [gate] = gates.rows.as_slice() else {
        panic!("one gate: {said}");
    };
    if gate.verdict != expected {
        return Err(format!("this machine let the gate say: {}", gate.headline));
    }
    let change = change(serving);
    assert_eq!(
        change.gates,
        std::slice::from_ref(&gate.content_id),
        "{said}"
    );
    Ok(change)
}

fn can_run() -> Result<(), &'static str> {
    if !reference_models().join(MODEL).is_file() {
        return Err("the reference models are not here");
    }
    let git = Command::new("git").arg("--version").output();
    git.map_or(Err("git is not installed"), |_| Ok(()))
}

#[test]
fn the_paired_run_of_a_suspect_confirms_what_two_commits_differ_by() {
    let slowed = Path::new(env!("CARGO_BIN_EXE_joulemark"))
        .with_file_name("examples")
        .join("slowed_arm");
    if let Err(reason) = can_run() {
        return println!("SKIPPED: {reason}");
    }
    if !slowed.exists() {
        return println!("SKIPPED: examples/slowed_arm is not built");
    }
    let installation = Installation::fresh();
    let record = measured(&installation);
    let folder = repository(
        &installation,
        "slot_seconds = 0.3\nmodels = [\"other.gguf\"]\n\
         [[workloads]]\nid = \"own\"\nprompt_tokens = 16\noutput_tokens = 8\nmetrics = [\"decode\"]\n\
         [arms]\nkind = \"candle\"\nrun = \"./engine.sh\"\n",
    );
    let commit = |engine: &Path, flags: &str| {
        program(&folder.join("engine.sh"), engine, flags);
        git(&folder, &["add", "--all"]);
        git(&folder, &["commit", "--quiet", "--message", "a build"]);
        git(&folder, &["rev-parse", "HEAD"])
    };
    let good = commit(Path::new(env!("CARGO_BIN_EXE_joulemark")), "");
    let bad = commit(&slowed, "--repeat-pass-every 1");

    let mut serving = installation.serve(&["serve", "--listen", "127.0.0.1:0"]);
    let of = |commit: &str| {
        let commit = Name::cleaned(commit);
        move |record: &mut Record| record.engine.commit = Some(commit.clone())
    };
    submit_nights(&installation, &serving, &record, [&of(&good), &of(&bad)]);
    let suspect = suspect(&serving);
    let ran = run(&installation, &serving, &folder, &suspect.paired_run);
    match settled(&serving, &ran, domain::gate::Verdict::Regressed) {
        Err(reason) => println!("SKIPPED: {reason}"),
        Ok(change) => {
            assert_eq!(change.id, suspect.id);
            assert_eq!(change.state, ChangeState::Confirmed, "{change:?}");
        }
    }
    assert!(serving.stop().success());
}

#[test]
fn the_paired_run_of_two_programs_does_not_reproduce_what_they_do_not_differ_by() {
    if let Err(reason) = can_run() {
        return println!("SKIPPED: {reason}");
    }
    let installation = Installation::fresh();
    let record = measured(&installation);
    assert_eq!(
        record.engine.commit, None,
        "builds are told by their program"
    );
    // So much is tolerated that noise passes; what speaks against the change is the interval.
    let folder = repository(
        &installation,
        "slot_seconds = 0.3\n\
         [[workloads]]\nid = \"own\"\nprompt_tokens = 16\noutput_tokens = 8\nmetrics = [\"decode\"]\n\
         [margins]\ndecode = 40.0\n\
         [arms]\nkind = \"candle\"\nrun = \"./engine.sh\"\n",
    );
    let joulemark = Path::new(env!("CARGO_BIN_EXE_joulemark"));
    let programs = ["good.sh", "bad.sh"].map(|name| folder.join(name));
    for path in &programs {
        let name = path.file_name().expect("a name").to_string_lossy();
        program(path, joulemark, &format!("# {name}"));
    }
    git(&folder, &["add", "--all"]);
    git(&folder, &["commit", "--quiet", "--message", "two builds"]);

    let mut serving = installation.serve(&["serve", "--listen", "127.0.0.1:0"]);
    let [good, bad] = [0, 1].map(|at: usize| {
        let bytes = std::fs::read(&programs[at]).expect("readable");
        let digest = Sha256Digest::of(&bytes);
        move |record: &mut Record| record.runner.binary_sha256 = Some(digest)
    });
    submit_nights(&installation, &serving, &record, [&good, &bad]);
    let suspect = suspect(&serving);
    // The reader says where the programs are that the command tells by their digests.
    let mut line = suspect.paired_run.clone();
    for path in &programs {
        let bytes = std::fs::read(path).expect("readable");
        let digest = Sha256Digest::of(&bytes).to_string();
        let (start, rest) = line.split_once('<').expect("something to fill in");
        let (gap, rest) = rest.split_once('>').expect("it ends");
        assert!(gap.contains(&digest[..12]), "{gap}");
        line = format!("{start}{}{rest}", path.display());
    }
    let ran = run(&installation, &serving, &folder, &line);
    match settled(&serving, &ran, domain::gate::Verdict::Pass) {
        Err(reason) => println!("SKIPPED: {reason}"),
        Ok(change) => {
            assert_eq!(change.id, suspect.id);
            assert_eq!(change.state, ChangeState::NotReproduced, "{change:?}");
        }
    }
    assert!(serving.stop().success());
}
