//! Children that keep to the protocol, and those that do not.

use std::fs;
use std::io::{self, Cursor};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use domain::record::{Finish, Outcome};
use tempfile::TempDir;

use super::*;
use crate::engine::Sampling;
use crate::engine::candle::CandleEngine;
use crate::gguf::fixture::Fixture;

const NEEDS: Needs = Needs {
    context_tokens: 256,
    streams: 1,
};

fn weights() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model.gguf");
    Fixture::tiny().write(&path);
    (folder, path)
}

fn request(tokens: u32) -> GenerateRequest {
    GenerateRequest {
        prompt: Prompt::Text("A kettle on a stove".to_owned()),
        max_output_tokens: tokens,
        ban_eos: true,
        deadline: None,
        sampling: Sampling::Greedy,
        reuse_cache: false,
    }
}

/// What an arm says to these asks, line by line.
fn said(asks: &[Ask]) -> Vec<String> {
    let mut input = Vec::new();
    for ask in asks {
        serde_json::to_writer(&mut input, ask).expect("JSON");
        input.push(b'\n');
    }
    let mut output = Vec::new();
    let mut engine = CandleEngine::new().expect("a CPU");
    serve_arm(&mut engine, Cursor::new(input), &mut output).expect("served");
    let text = String::from_utf8(output).expect("text");
    text.lines().map(str::to_owned).collect()
}

fn answer(line: &str) -> Answer {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn an_arm_says_what_its_engine_says_token_by_token() {
    let (_folder, path) = weights();
    let mut engine = CandleEngine::new().expect("a CPU");
    engine.load(&path, NEEDS).expect("whole");
    let tokens: Vec<u32> = (0..40).collect();
    let logits = tempfile::NamedTempFile::new().expect("a file");
    let lines = said(&[
        Ask::Load {
            weights: path,
            needs: NEEDS,
        },
        Ask::FitPrompt {
            text: "A kettle on a stove".to_owned(),
            tokens: 8,
        },
        Ask::Generate {
            request: request(12),
            left_ms: Some(60_000),
        },
        Ask::Logits {
            tokens: tokens.clone(),
            file: logits.path().to_owned(),
        },
    ]);

    let hello: Hello = serde_json::from_str(&lines[0]).expect("a greeting");
    assert_eq!(hello.joulemark_arm, VERSION);
    assert_eq!(hello.about.facts, engine.facts());
    let Answer::Loaded(about) = answer(&lines[1]) else {
        panic!("{}", lines[1]);
    };
    assert_eq!(about.settings, engine.settings());
    assert!(about.settings.weight_bytes_per_pass.is_some());
    assert_eq!(about.capabilities, engine.capabilities());
    let Answer::Prompt(prompt) = answer(&lines[2]) else {
        panic!("{}", lines[2]);
    };
    let fitted = engine.fit_prompt("A kettle on a stove", 8);
    assert_eq!(prompt, fitted.expect("fits"));

    for line in &lines[3..15] {
        assert!(matches!(answer(line), Answer::Event(_)), "{line}");
    }
    let Answer::Generated(generated) = answer(&lines[15]) else {
        panic!("{}", lines[15]);
    };
    let here = engine.generate(&request(12), &mut |_| ()).expect("answers");
    assert_eq!(generated.output, here.output);
    assert_eq!(generated.text, here.text);
    assert_eq!(generated.finish, Finish::Length);

    let rows = engine.logits(&tokens).expect("logits");
    let bytes: Vec<u8> = rows
        .iter()
        .flatten()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    assert_eq!(fs::read(logits.path()).expect("written"), bytes);
    assert_eq!(lines.len(), 17);
}

#[test]
fn an_engines_error_is_told_and_the_arm_goes_on() {
    let (_folder, path) = weights();
    let lines = said(&[
        Ask::Generate {
            request: request(1),
            left_ms: None,
        },
        Ask::Load {
            weights: path,
            needs: NEEDS,
        },
        Ask::FitPrompt {
            text: "short".to_owned(),
            tokens: 100,
        },
        Ask::Generate {
            request: request(2),
            left_ms: Some(0),
        },
    ]);
    for line in [&lines[1], &lines[3]] {
        assert!(matches!(answer(line), Answer::Failed { .. }), "{line}");
    }
    let Answer::Generated(late) = answer(&lines[4]) else {
        panic!("{}", lines[4]);
    };
    assert_eq!(late.finish, Finish::Timeout);
}

#[test]
fn an_arm_ends_with_its_input_or_its_hearer_and_refuses_garbage() {
    struct Gone;
    impl io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut engine = CandleEngine::new().expect("a CPU");
    serve_arm(&mut engine, Cursor::new(""), Gone).expect("an end");
    serve_arm(&mut engine, Cursor::new(""), io::sink()).expect("an end");
    let error = serve_arm(&mut engine, Cursor::new("{\"fly\":1}\n"), io::sink());
    assert_eq!(
        error.expect_err("garbage").kind(),
        io::ErrorKind::InvalidData
    );
}

/// A child that says what a script says, in a folder of its own.
struct Scripted {
    folder: TempDir,
    engine: ChildEngine,
}

/// Writes the program of a child with this script of a shell, in which `$hello`, `$loaded` and
/// `$event` are lines of the protocol.
pub(crate) fn write_script(folder: &Path, script: &str) -> PathBuf {
    let program = folder.join("arm");
    let hello = said(&[]).remove(0);
    let about: Hello = serde_json::from_str(&hello).expect("a greeting");
    let loaded = serde_json::to_string(&Answer::Loaded(Box::new(about.about))).expect("JSON");
    let event = serde_json::to_string(&Answer::Event(TokenEvent { visible: true }));
    let text = format!(
        "#!/bin/sh\nhello='{hello}'\nloaded='{loaded}'\nevent='{}'\n{script}\n",
        event.expect("JSON")
    );
    // Written aside and moved: a program that is still open for writing cannot be started.
    let draft = folder.join("draft");
    fs::write(&draft, text).expect("writable");
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).expect("ours");
    fs::rename(&draft, &program).expect("one folder");
    program
}

/// The line of a child that has answered a prompt of 20 tokens.
pub(crate) fn generated(tokens: u32, named: usize) -> String {
    let generated = Generated {
        prompt_tokens: 20,
        cached_tokens: Some(0),
        output_tokens: tokens,
        reasoning_tokens: 0,
        output: vec![7; named],
        event_tokens: None,
        token_source: TokenSource::Ids,
        text: String::new(),
        finish: Finish::Length,
        engine_prefill_ns: None,
        engine_decode_ns: None,
        passes: None,
        accepted_tokens: None,
    };
    serde_json::to_string(&Answer::Generated(Box::new(generated))).expect("JSON")
}

/// The line of a child that has cut a prompt of 20 tokens.
pub(crate) fn fitted() -> String {
    let prompt = Prompt::Exact {
        tokens: vec![7; 20],
        text: "seven".to_owned(),
        length: 20,
    };
    serde_json::to_string(&Answer::Prompt(prompt)).expect("JSON")
}

/// A child with this script, as [`write_script`] has it, waited for so long.
fn scripted(script: &str, patience_ms: u64) -> Scripted {
    let folder = tempfile::tempdir().expect("a folder");
    let program = write_script(folder.path(), script);
    let engine = ChildEngine::new(ChildOptions {
        program: Some(program),
        arguments: Vec::new(),
        environment: Vec::new(),
        folder: Some(folder.path().to_owned()),
        threads: 1,
        patience: Duration::from_millis(patience_ms),
        until: None,
        binary_sha256: None,
    });
    Scripted { folder, engine }
}

impl Scripted {
    fn load(&mut self) -> Result<(), EngineError> {
        self.engine.load(Path::new("model.gguf"), NEEDS)
    }

    /// Its error once it is asked for four tokens.
    fn fails(mut self) -> EngineError {
        self.load().expect("it greets and loads");
        let mut seen = 0;
        let error = self.engine.generate(&request(4), &mut |_| seen += 1);
        assert!(seen <= 5, "{seen} tokens");
        let error = error.expect_err("it misbehaves");
        assert!(
            !matches!(error, EngineError::InChild { .. }) || self.engine.running.is_some(),
            "an engine's own error ends nothing"
        );
        error
    }
}

const GREETED: &str = "echo \"$hello\"; read ask; echo \"$loaded\"; read ask;";
const PATIENT_MS: u64 = 20_000;

#[test]
fn a_child_that_is_no_arm_is_refused_with_what_it_said() {
    let text = |script| {
        let error = scripted(script, PATIENT_MS).load().expect_err("no arm");
        error.to_string()
    };
    let other = text("echo usage: something");
    assert!(other.contains("no greeting"), "{other}");
    let silent = text("echo unknown verb >&2; exit 2");
    assert!(silent.contains("exit status: 2"), "{silent}");
    assert!(silent.contains("unknown verb"), "{silent}");
    let newer = text("echo '{\"joulemark_arm\":2,\"more\":[]}'");
    assert!(newer.contains("version 2"), "{newer}");
    let torn = text("echo '{\"joulemark_arm\":1,\"about\":'; sleep 60");
    assert!(torn.contains("no greeting"), "{torn}");
    let about = text("echo '{\"joulemark_arm\":1}'");
    assert!(about.contains("greeting"), "{about}");
}

#[test]
fn a_child_that_dies_in_an_answer_is_a_crash_with_its_last_words() {
    let script = format!("{GREETED} echo \"$event\"; echo 'out of cheese' >&2; exit 3");
    let error = scripted(&script, PATIENT_MS).fails();
    let text = error.to_string();
    assert_eq!(error.outcome(), Outcome::Crash);
    assert!(text.contains("exit status: 3"), "{text}");
    assert!(text.contains("out of cheese"), "{text}");
}

#[test]
fn a_child_that_falls_silent_is_given_up() {
    let script = format!("{GREETED} echo \"$event\"; sleep 60");
    let error = scripted(&script, 300).fails();
    assert!(
        matches!(&error, EngineError::Stalled { events: 1, .. }),
        "{error}"
    );
    let mut late = scripted(&format!("{GREETED} sleep 60"), PATIENT_MS);
    late.engine.options.until = Some(Instant::now() + Duration::from_millis(400));
    let error = late.fails();
    assert!(matches!(&error, EngineError::NotFinished { .. }), "{error}");
}

#[test]
fn a_child_that_does_not_listen_holds_nobody_up() {
    let mut deaf = scripted("echo \"$hello\"; read ask; echo \"$loaded\"; sleep 60", 300);
    deaf.load().expect("loads");
    // More than a pipe holds.
    let error = deaf.engine.fit_prompt(&"a".repeat(1 << 20), 4);
    let error = error.expect_err("nobody reads");
    assert!(matches!(&error, EngineError::Stalled { .. }), "{error}");
    assert!(deaf.engine.running.is_none());
}

#[test]
fn garbage_and_answers_to_other_asks_are_refused() {
    for (says, why) in [
        ("echo 'tok tok'", "no answer"),
        ("echo '{\"event\":{\"visible\":true},'", "no answer"),
        ("printf '\\377\\376\\n'", "no answer"),
        ("echo \"$loaded\"", "not asked for"),
        (
            "echo '{\"logits\":{\"rows\":1,\"columns\":1}}'",
            "not asked for",
        ),
    ] {
        let error = scripted(&format!("{GREETED} {says}; sleep 60"), PATIENT_MS).fails();
        assert!(error.to_string().contains(why), "{says}: {error}");
        assert!(matches!(error, EngineError::Output { .. }), "{error:?}");
    }
    let endless = format!("{GREETED} head -c 20000000 /dev/zero; sleep 60");
    let error = scripted(&endless, PATIENT_MS).fails();
    assert!(error.to_string().contains("more than"), "{error}");
}

#[test]
fn another_number_of_tokens_than_was_said_or_asked_is_other_work() {
    let events = |count: usize| "echo \"$event\"; ".repeat(count);
    for (sent, said, named) in [(6, 4, 4), (3, 4, 4), (4, 3, 3), (5, 5, 5), (4, 4, 3)] {
        let script = format!(
            "{GREETED} {}echo '{}'; sleep 60",
            events(sent),
            generated(said, named)
        );
        let error = scripted(&script, PATIENT_MS).fails();
        assert!(
            matches!(error, EngineError::OtherWork { .. }),
            "{sent} {said} {named}: {error}"
        );
    }
    let honest = format!("{GREETED} {}echo '{}'", events(4), generated(4, 4));
    let mut honest = scripted(&honest, PATIENT_MS);
    honest.load().expect("loads");
    let mut seen = 0;
    honest
        .engine
        .generate(&request(4), &mut |_| seen += 1)
        .expect("it keeps to what was asked");
    assert_eq!(seen, 4);
}

#[test]
fn logits_have_to_be_whole() {
    let (tokens, columns) = (3_u64, 5_u64);
    for (rows, values, is_whole) in [(3, 15, true), (3, 14, false), (2, 10, false)] {
        // The file's name is the last text of the ask.
        let script = format!(
            "echo \"$hello\"; read ask; echo \"$loaded\"; read ask; file=${{ask##*:\\\"}}; \
             file=${{file%%\\\"*}}; head -c {} /dev/zero > \"$file\"; \
             echo '{{\"logits\":{{\"rows\":{rows},\"columns\":{columns}}}}}'; read end",
            values * 4
        );
        let mut child = scripted(&script, PATIENT_MS);
        child.load().expect("loads");
        let logits = child.engine.logits(&vec![1; tokens as usize]);
        match logits {
            Ok(rows) => {
                assert!(is_whole);
                assert_eq!(rows, vec![vec![0.0; 5]; 3]);
            }
            Err(error) => assert!(!is_whole, "{error}"),
        }
    }
}

/// Whether a process runs; one that was killed and that nobody reaped does not.
pub(crate) fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn what_a_child_started_ends_with_it() {
    if !Path::new("/proc/self/stat").exists() {
        return println!("SKIPPED: this system does not list its processes");
    }
    for dies in [true, false] {
        let end = if dies { "exit 1" } else { "sleep 600" };
        let script = format!("{GREETED} sleep 600 & echo $! > grandchild; {end}");
        let mut child = scripted(&script, 1_000);
        child.load().expect("loads");
        child
            .engine
            .generate(&request(4), &mut |_| ())
            .expect_err("no answer");
        let pid = fs::read_to_string(child.folder.path().join("grandchild")).expect("started");
        assert!(child.engine.running.is_none());
        // A signal takes a moment.
        let until = Instant::now() + Duration::from_secs(10);
        while is_running(pid.trim()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!is_running(pid.trim()), "{pid} outlived its arm");
    }
}

#[test]
fn a_fresh_load_is_a_fresh_process_and_unloading_ends_it() {
    let mut child = scripted(
        "echo \"$hello\"; read ask; echo \"$loaded\"; read ask",
        5_000,
    );
    let Processes::Children(none) = child.engine.processes() else {
        panic!("its processes are children");
    };
    assert!(none.is_empty());
    let mut seen = Vec::new();
    for _ in 0..2 {
        child.load().expect("loads");
        let Processes::Children(pids) = child.engine.processes() else {
            panic!("its processes are children");
        };
        assert_eq!(pids.len(), 1);
        seen.extend(pids);
    }
    assert_ne!(seen[0], seen[1]);
    child.engine.unload();
    assert!(matches!(
        child.engine.fit_prompt("a", 1),
        Err(EngineError::NotLoaded)
    ));
}
