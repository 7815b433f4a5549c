//! Against recorded output of the real program behind a script in its place, against scripts that misbehave, and
//! against the real program where it is installed.
//!
//! `recorded/` holds what `llama-bench` (llama.cpp 0.6.0-dev, built without a repository, so without commit) printed
//! for the smallest reference model on two cores: `shortest.jsonl` with `-p 0 -n 1 -t 2 -r 1`,
//! `pp128-tg64-r6.jsonl` with `-p 128 -n 64 -t 2 -r 6`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use domain::matrix::{Declared, EngineKind, EngineSpec, LlamaBenchSpec};
use domain::record::Outcome;
use tempfile::TempDir;

use super::*;

const NEEDS: Needs = Needs {
    context_tokens: 192,
    streams: 1,
};
const ASKED: SelfTimed = SelfTimed {
    prompt_tokens: 128,
    output_tokens: 64,
    depth_tokens: 0,
    repetitions: 6,
    deadline: None,
};

const SHORTEST: &str = include_str!("recorded/shortest.jsonl");
const RUN: &str = include_str!("recorded/pp128-tg64-r6.jsonl");

fn weights() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../reference-models/joulemark-reference-0.9m-f16.gguf")
}

fn engine(program: &str, args: &[&str]) -> LlamaBenchEngine {
    let spec = EngineSpec {
        name: "llama-bench".to_owned(),
        kind: EngineKind::LlamaBench(LlamaBenchSpec {
            program: program.to_owned(),
            args: args.iter().map(|&word| word.to_owned()).collect(),
        }),
        declared: Declared {
            version: Some("declared".to_owned()),
            flash_attention: Some(true),
            ..Declared::default()
        },
        machines: None,
    };
    LlamaBenchEngine::new(&spec, 2).expect("a llama-bench")
}

/// An executable file. It is written by another process: had this one ever held it open for writing, a test beside
/// this one could pass the handle on to a child, and the system would refuse to run it.
fn executable(folder: &TempDir, name: &str, script: &str) -> String {
    let path = folder.path().join(name);
    let mut shell = Command::new("sh")
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("sh runs");
    let mut stdin = shell.stdin.take().expect("a pipe");
    stdin.write_all(script.as_bytes()).expect("sh reads");
    drop(stdin);
    assert!(shell.wait().expect("sh ends").success());
    path.to_str().expect("UTF-8").to_owned()
}

/// A program that prints the recorded shortest run, and for any other runs `then`.
fn fake(folder: &TempDir, then: &str) -> String {
    std::fs::write(folder.path().join("shortest"), SHORTEST).expect("written");
    std::fs::write(folder.path().join("run"), RUN).expect("written");
    let folder_name = folder.path().display();
    let script = format!(
        "#!/bin/sh\ncd '{folder_name}'\necho \"$*\" >> asked\ncase \"$*\" in *'-n 1 '*) cat shortest; exit;; esac\n{then}\n"
    );
    executable(folder, "llama-bench", &script)
}

/// What `time_itself` answers when the run after loading is `then`.
fn timed(then: &str) -> Result<Vec<SelfTiming>, EngineError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut engine = engine(&fake(&folder, then), &[]);
    engine.load(&weights(), NEEDS).expect("loads");
    engine.time_itself(&ASKED)
}

fn complaint(then: &str) -> String {
    timed(then).expect_err("misbehaves").to_string()
}

#[test]
fn recorded_output_becomes_paired_repetitions() {
    let timings = timed("echo 'load_backend: loaded CPU backend'; cat run; echo done >&2");
    let timings = timings.expect("the recording is whole");
    assert_eq!(timings.len(), 6);
    let first = SelfTiming {
        prefill_ns: 1_029_524,
        decode_ns: 12_117_750,
    };
    assert_eq!(timings[0], first);
    assert_eq!(timings[2].prefill_ns, 9_052_850);
    assert_eq!(timings[4].decode_ns, 171_237_823);
}

#[test]
fn the_program_is_asked_for_separate_tests_at_a_depth() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut engine = engine(&fake(&folder, "cat run"), &["-ub", "256"]);
    engine.load(&weights(), NEEDS).expect("loads");
    engine.time_itself(&ASKED).expect("timed");
    let deep = SelfTimed {
        depth_tokens: 512,
        ..ASKED
    };
    let missing = engine.time_itself(&deep).expect_err("recorded at depth 0");
    assert!(
        missing
            .to_string()
            .ends_with("pp128 tg0 d512 is missing among its tests (pp128 tg0 d0, pp0 tg64 d0)"),
        "{missing}"
    );
    let asked = std::fs::read_to_string(folder.path().join("asked")).expect("written");
    let path = weights();
    let asked: Vec<_> = asked
        .lines()
        .map(|line| line.replace(path.to_str().expect("UTF-8"), "WEIGHTS"))
        .collect();
    assert_eq!(
        asked,
        [
            "-o jsonl -m WEIGHTS -p 0 -n 1 -t 2 -r 1 -ub 256",
            "-o jsonl -m WEIGHTS -p 128 -n 64 -t 2 -r 6 -ub 256",
            "-o jsonl -m WEIGHTS -p 128 -n 64 -t 2 -r 6 -d 512 -ub 256",
        ]
    );
}

#[test]
fn facts_are_its_own_words_before_what_was_declared() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = fake(&folder, "exit 1");
    let args = ["-ub", "512", "-hft", "secret", "-ot", "/etc/x=CPU"];
    let mut engine = engine(&program, &args);
    assert_eq!(engine.facts().backend.as_str(), "unknown");
    engine.load(&weights(), NEEDS).expect("loads");
    let facts = engine.facts();
    assert_eq!(facts.backend.as_str(), "cpu");
    // The recorded build knows neither number nor commit.
    assert_eq!(facts.version.as_str(), "declared");
    assert_eq!(facts.commit, None);
    assert_eq!(facts.binary_sha256, None, "a script is not the engine");
    let args: Vec<_> = facts.args.iter().map(Name::as_str).collect();
    assert_eq!(
        args,
        [
            "threads=2",
            "n_batch=2048",
            "n_ubatch=512",
            "-ub",
            "512",
            "-hft",
            "-ot"
        ]
    );
    let settings = engine.settings();
    assert_eq!(settings.kv_type_k.expect("said").as_str(), "f16");
    assert_eq!(settings.gpu_layers, None);
    assert_eq!(settings.flash_attention, Some(true), "-1 says nothing");
    assert!(!engine.capabilities().client_view);
    assert!(matches!(
        engine.fit_prompt("text", 4),
        Err(EngineError::NotOffered { .. })
    ));
}

#[test]
fn newer_and_older_programs_are_understood() {
    let row = |changed: &str, to: &str| {
        assert!(SHORTEST.contains(changed), "{changed}");
        let rows = output::rows(&SHORTEST.replace(changed, to)).expect("a row");
        rows.into_iter().next().expect("one")
    };
    let built = row(
        "\"unknown\", \"build_number\": 0",
        "\"0a1b2c3d\", \"build_number\": 6123",
    );
    assert_eq!(built.version().as_deref(), Some("b6123"));
    assert_eq!(built.commit().as_deref(), Some("0a1b2c3d"));
    let flash = |to: &str| {
        let row = row("\"flash_attn\": -1", &format!("\"flash_attn\": {to}"));
        row.flash_attn.expect("said").is_on()
    };
    assert_eq!(
        [
            flash("-1"),
            flash("0"),
            flash("1"),
            flash("false"),
            flash("true")
        ],
        [None, Some(false), Some(true), Some(false), Some(true)]
    );
    let on_gpu = "\"gpu_info\": \"NVIDIA GeForce RTX 4090\"";
    let gpu = row("\"gpu_info\": \"\"", on_gpu);
    assert_eq!(
        (gpu.gpu(), gpu.gpu_layers()),
        (Some("NVIDIA GeForce RTX 4090"), None)
    );
    let without_depth = row("\"n_depth\": 0, ", "");
    assert!(output::one(&[without_depth], 0, 1, 0).is_ok());
}

#[test]
fn a_missing_program_is_named_with_the_way_to_get_it() {
    let error = engine("llama-bench-that-nobody-has", &[])
        .load(&weights(), NEEDS)
        .expect_err("there is none");
    let text = error.to_string();
    assert!(
        text.starts_with(
            "start llama-bench-that-nobody-has: there is no such program; install llama.cpp"
        ) && text.contains("PATH"),
        "{text}"
    );
}

#[test]
fn a_failing_program_is_quoted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let load = |script: &str| {
        let program = executable(&folder, "llama-bench", &format!("#!/bin/sh\n{script}\n"));
        let mut engine = engine(&program, &[]);
        let error = engine.load(&weights(), NEEDS).expect_err("fails");
        assert!(matches!(
            engine.time_itself(&ASKED),
            Err(EngineError::NotLoaded)
        ));
        error
    };
    let failed = load("seq 1000 >&2; echo 'error: failed to load model' >&2; exit 1");
    assert!(
        failed.to_string().ends_with(
            "ended with exit status: 1; its last words: 999 | 1000 | error: failed to load model"
        ),
        "{failed}"
    );
    assert_eq!(failed.class(), "engine crashed");
    let killed = load("kill -9 $$").to_string();
    assert!(
        killed.contains("was killed (signal 9), perhaps for want of memory"),
        "{killed}"
    );
    let full = load("echo 'ggml: failed to allocate buffer of size 99' >&2; exit 1");
    assert_eq!(full.outcome(), Outcome::Oom);
    let strange = load("echo \"error loading model: unknown model architecture: 'x'\" >&2; exit 1");
    assert_eq!(strange.outcome(), Outcome::Unsupported);
}

#[test]
fn a_program_that_does_not_end_is_stopped_with_all_its_children() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let child = folder.path().join("child");
    let program = fake(&folder, "sleep 600 & echo $! > child; wait");
    let mut engine = engine(&program, &[]);
    engine.load(&weights(), NEEDS).expect("loads");
    // The deadline passes while the program certainly sleeps: it is 600 s from ending by itself.
    let asked = SelfTimed {
        deadline: Some(Instant::now() + Duration::from_millis(500)),
        ..ASKED
    };
    let error = engine.time_itself(&asked).expect_err("sleeps");
    assert!(matches!(error, EngineError::NotFinished { .. }), "{error}");
    assert_eq!(error.outcome(), Outcome::Timeout);
    let Ok(pid) = std::fs::read_to_string(child) else {
        println!("SKIPPED: the script was stopped before it had started its child");
        return;
    };
    let stat = format!("/proc/{}/stat", pid.trim());
    for _ in 0..500 {
        // Killed but not yet collected by its new parent reads `Z`.
        match std::fs::read_to_string(&stat) {
            Ok(stat) if !stat.contains(") Z ") => std::thread::sleep(Duration::from_millis(10)),
            _ => return,
        }
    }
    panic!("the child {pid} lives on");
}

#[test]
fn output_that_is_none_is_told_from_output_that_is_wrong() {
    let page = complaint("echo '<html><body>502 Bad Gateway</body></html>'");
    assert!(
        page.ends_with(
            "no line of it is JSON; it begins with \"<html><body>502 Bad Gateway</body></html>\""
        ),
        "{page}"
    );
    assert!(complaint("true").ends_with("it is empty"));
    let cut = complaint("head -c 1500 run");
    assert!(
        cut.contains("line 2 is cut off or lacks something"),
        "{cut}"
    );
    let lacking = complaint("sed 's/\"samples_ns\"/\"other\"/' run");
    assert!(lacking.contains("missing field `samples_ns`"), "{lacking}");
    let half = complaint("head -n 1 run");
    assert!(
        half.ends_with("pp0 tg64 d0 is missing among its tests (pp128 tg0 d0)"),
        "{half}"
    );
    let double = complaint("cat run run");
    assert!(
        double.contains("several tests are pp128 tg0 d0"),
        "{double}"
    );
    let endless = complaint("yes '{'");
    assert!(endless.ends_with("it is longer than 16 MiB"), "{endless}");
}

#[test]
fn times_that_contradict_themselves_are_refused() {
    let none = complaint("sed 's/\"samples_ns\": [^]]*/\"samples_ns\": [/' run");
    assert!(
        none.ends_with("0 times for pp128 tg0, 6 repetitions were asked for"),
        "{none}"
    );
    let few = complaint("sed 's/1029524, //' run");
    assert!(few.contains("5 times for pp128 tg0"), "{few}");
    let other = complaint("sed 's/957752/857752/' run");
    assert!(
        other.contains("the times for pp128 tg0 have a mean of 2297886 ns, it says 2314552 ns"),
        "{other}"
    );
    let nothing = complaint("sed 's/1029524/0/' run");
    assert!(nothing.contains("a time of 0 ns"), "{nothing}");
}

#[test]
fn another_model_is_refused() {
    let error = timed("sed 's/926464/996464/' run").expect_err("another model");
    assert!(matches!(error, EngineError::OtherWeights { .. }), "{error}");
    assert!(error.to_string().contains("996464 parameters"), "{error}");
}

#[test]
fn the_real_program_agrees_with_its_reader() {
    let mut engine = engine("llama-bench", &[]);
    match engine.load(&weights(), NEEDS) {
        Err(EngineError::NotStarted { .. }) => {
            println!("SKIPPED: no llama-bench on PATH");
            return;
        }
        other => other.expect("the real program runs the reference model"),
    }
    let facts = engine.facts();
    assert_ne!(facts.backend.as_str(), "unknown");
    if cfg!(target_os = "linux") {
        assert!(facts.binary_sha256.is_some());
    }
    for depth_tokens in [0, 64] {
        let asked = SelfTimed {
            depth_tokens,
            ..ASKED
        };
        let timings = engine.time_itself(&asked).expect("timed");
        assert_eq!(timings.len(), 6);
        assert!(
            timings
                .iter()
                .all(|timing| timing.prefill_ns > 0 && timing.decode_ns > 0)
        );
    }
    let broken = tempfile::tempdir().expect("a temporary folder");
    let cut = broken.path().join("cut.gguf");
    let whole = std::fs::read(weights()).expect("readable");
    std::fs::write(&cut, &whole[..whole.len() / 2]).expect("written");
    assert!(matches!(
        engine.load(&cut, NEEDS),
        Err(EngineError::File(_))
    ));
}
