//! Slots of real processes: those that do what is asked, and those that do not.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use domain::gate::Metric;
use domain::matrix::WorkloadSpec;
use tempfile::TempDir;

use super::*;
use crate::clock::RealClock;
use crate::engine::child::tests::{fitted, generated, is_running, write_script};

const LIMIT: Duration = Duration::from_secs(30);

/// What a slot gave, or which failure of it and in which words.
type Given = Result<Slotted, (FailureKind, String)>;

fn run_within(arm: &ArmSpec, cells: &[AskedCell], limit: Duration) -> Given {
    let clock = RealClock::default();
    let asked = Asked {
        weights: (arm.kind != ArmKind::Command).then_some(Path::new("model.gguf")),
        cells,
        repetitions: 3,
        limit,
        threads: 1,
        prompt_seed: Sha256Digest([5; 32]),
    };
    let around = Around {
        clock: &clock,
        zero_ns: 0,
        sampler: None,
        stop: &AtomicBool::new(false),
    };
    run_slot(arm, &asked, &around).map_err(|error| match error {
        SlotError::Failed { kind, what, label } => {
            assert_eq!(label, arm.label);
            (kind, what)
        }
        SlotError::Together {
            label,
            what,
            whole_ns,
        } => {
            assert_eq!(label, arm.label);
            assert!(whole_ns > 0);
            (FailureKind::Infrastructure, what)
        }
        SlotError::Interrupted => panic!("nobody stopped it"),
    })
}

fn command(script: &str) -> ArmSpec {
    let quoted = shell_words::quote(script);
    ArmSpec::parse(&format!("sh -c {quoted}")).expect("an arm")
}

fn one_command() -> [AskedCell; 1] {
    [AskedCell {
        cell: 4,
        workload: None,
        requests: 1,
    }]
}

fn commanded(script: &str) -> Given {
    run_within(&command(script), &one_command(), LIMIT)
}

/// What an honest command gives: where this machine is too busy to hear its lines apart, again.
fn measured(script: &str) -> Slotted {
    heard(&command(script)).unwrap_or_else(|(_, what)| panic!("{what}"))
}

fn heard(arm: &ArmSpec) -> Given {
    let mut given = (0..10).map(|_| run_within(arm, &one_command(), LIMIT));
    let is_heard = |given: &Given| !matches!(given, Err((_, what)) if what.contains("at once"));
    given
        .find(is_heard)
        .expect("a machine that is not too busy")
}

fn infrastructure(given: Given) -> String {
    let (kind, what) = given.expect_err("it fails");
    assert_eq!(kind, FailureKind::Infrastructure, "{what}");
    what
}

fn other_work(given: Given) -> String {
    let (kind, what) = given.expect_err("it fails");
    assert_eq!(kind, FailureKind::OtherWork, "{what}");
    what
}

/// A loop of repetitions that prints this line after each.
fn printing(line: &str, times: u32) -> String {
    let times: Vec<String> = (0..times).map(|n| n.to_string()).collect();
    format!(
        "for n in {}; do sleep 0.05; echo '{line}'; done",
        times.join(" ")
    )
}

#[test]
fn a_command_is_timed_by_when_its_lines_arrive_and_never_by_its_own_word() {
    let line = r#"{"units": 16, "seconds": 1e-9, "output": "x", "more": [1]}"#;
    let slotted = measured(&printing(line, 5));
    let [sample] = &slotted.samples[..] else {
        panic!("{:?}", slotted.samples);
    };
    assert_eq!(
        (sample.cell, sample.metric, sample.units),
        (4, Metric::Time, 16)
    );
    assert_eq!(sample.costs.len(), 4, "the first line warms up");
    assert_eq!(sample.claimed_ns, Some(vec![1; 4]));
    assert!(sample.costs.iter().all(|cost| *cost > 1_000), "{sample:?}");
    let all: u64 = sample.costs.iter().sum();
    assert!(slotted.end_ns - slotted.start_ns > all);
    assert!(slotted.engine.is_none() && slotted.settings.is_none());
    assert!(slotted.spans.is_empty());

    let again = measured(&printing(line, 5));
    assert_eq!(again.output_sha256, slotted.output_sha256);
    assert_eq!(again.binary_sha256, slotted.binary_sha256);
    let other = measured(&printing(r#"{"output": "y"}"#, 5));
    assert_ne!(other.output_sha256, slotted.output_sha256);
    let silent = measured(&printing("{}", 4));
    assert_eq!(silent.output_sha256, None);
    assert_eq!(silent.samples[0].claimed_ns, None);
    assert_eq!(silent.samples[0].costs.len(), 3);
}

#[test]
fn each_metric_of_a_command_has_its_own_warm_up_and_units() {
    // An empty line before a counted one, written together with it, takes no time and is no line.
    let script = "for n in 1 2 3 4; do sleep 0.05; echo '{\"metric\":\"prefill\",\"units\":64}'; \
                  sleep 0.05; printf '\\n{\"metric\":\"decode\",\"units\":8,\"ns\":7}\\n'; done";
    let slotted = measured(script);
    let seen: Vec<_> = slotted
        .samples
        .iter()
        .map(|sample| (sample.metric, sample.units, sample.costs.len()))
        .collect();
    assert_eq!(seen, [(Metric::Prefill, 64, 3), (Metric::Decode, 8, 3)]);
    assert_eq!(slotted.samples[1].claimed_ns, Some(vec![7; 3]));
}

#[test]
fn a_command_that_prints_nothing_or_garbage_or_too_little_has_failed() {
    let lines = |script: &str| infrastructure(commanded(script));
    assert!(lines("exit 0").contains("printed nothing"));
    let died = lines("echo '{}'; echo 'no such kernel in /usr/lib/x.so' >&2; exit 3");
    assert!(died.contains("exit status: 3"), "{died}");
    assert!(died.contains("no such kernel in x.so"), "{died}");
    for (garbage, why) in [
        ("12 tok/s", "no JSON object"),
        ("[1, 2]", "no JSON object"),
        ("{\"units\": -1}", "no JSON object"),
        ("{\"units\": 0}", "0 units"),
        ("{\"seconds\": -1}", "-1 s"),
        ("{\"metric\": \"energy\"}", "metric \"energy\""),
        ("{", "no JSON object"),
    ] {
        let what = lines(&printing(garbage, 5));
        assert!(what.contains(why), "{garbage}: {what}");
    }
    let few = lines(&printing("{}", 3));
    assert!(few.contains("3 lines of time and needs 4"), "{few}");
    let changing = lines("for n in 1 2 3 4 5; do sleep 0.05; echo \"{\\\"units\\\":$n}\"; done");
    assert!(
        changing.contains("every one has to do the same"),
        "{changing}"
    );
    let long = lines("head -c 100000 /dev/zero | tr '\\0' ' '; echo");
    assert!(long.contains("more than 65536 bytes"), "{long}");
    let many = lines("yes '{}'");
    assert!(many.contains("more than 1000 lines"), "{many}");
}

#[test]
fn lines_that_come_all_at_once_time_nothing() {
    let what = infrastructure(commanded("sleep 0.2; printf '{}\\n{}\\n{}\\n{}\\n{}\\n'"));
    assert!(what.contains("at once"), "{what}");
    // Half of them at no cost, so that their median would be none either.
    let pairs = "for n in 1 2 3 4; do sleep 0.1; printf '{}\\n{}\\n'; done; sleep 0.1; echo '{}'";
    let what = infrastructure(commanded(pairs));
    assert!(what.contains("at once"), "{what}");
}

#[test]
fn work_behind_the_last_line_is_other_work() {
    let script = format!("{}; sleep 3", printing("{}", 4));
    let what = other_work(commanded(&script));
    assert!(what.contains("after its last line"), "{what}");
    // Also where nobody could see it in the output any more.
    let closed = format!("{}; exec >&-; sleep 20", printing("{}", 4));
    other_work(commanded(&closed));
}

#[test]
fn how_long_a_command_goes_on_behind_its_last_line_is_told() {
    let script = format!("{}; sleep 0.02", printing("{}", 4));
    let slotted = measured(&script);
    let [sample] = &slotted.samples[..] else {
        panic!("{:?}", slotted.samples);
    };
    let tail_ns = sample.tail_ns.expect("of a time");
    assert!(tail_ns >= 20_000_000, "{tail_ns}");
    let rest_ns = slotted.end_ns - slotted.start_ns - sample.costs.iter().sum::<u64>();
    assert!(tail_ns < rest_ns, "the warm-up is no part of it");
}

/// Waits until a process whose number stands in this file has ended, if it does within ten seconds.
fn has_ended(file: &Path) -> bool {
    let pid = fs::read_to_string(file).expect("started");
    let until = Instant::now() + Duration::from_secs(10);
    while is_running(pid.trim()) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    !is_running(pid.trim())
}

#[test]
fn what_leaves_its_group_does_not_outlive_its_slot_and_is_told_of() {
    let found = which::which("setsid").is_ok() && Path::new("/proc/self/stat").exists();
    if !found || cfg!(not(target_os = "linux")) {
        return println!("SKIPPED: this system has no setsid, or does not list its processes");
    }
    let folder = tempfile::tempdir().expect("a folder");
    // Twice forked, in a session of its own, with a child of its own there.
    let daemon = "(setsid sh -c 'sleep 600 & echo $! > second; echo $$ > first; exec sleep 601' \
                  > /dev/null 2>&1 &); while [ ! -s first ]; do sleep 0.01; done;";
    let mut arm = command(&format!("{daemon} {}", printing("{}", 4)));
    arm.folder = Some(folder.path().to_owned());
    let what = other_work(run_within(&arm, &one_command(), LIMIT));
    assert!(
        what.contains("was killed (") && what.contains("sleep"),
        "{what}"
    );
    for file in ["first", "second"] {
        assert!(has_ended(&folder.path().join(file)), "{file}");
    }
}

#[test]
fn what_stays_in_its_group_ends_with_it_and_nobody_is_blamed() {
    if !Path::new("/proc/self/stat").exists() {
        return println!("SKIPPED: this system does not list its processes");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let beside = "sleep 600 > /dev/null 2>&1 & echo $! > beside;";
    let mut arm = command(&format!("{beside} {}", printing("{}", 4)));
    arm.folder = Some(folder.path().to_owned());
    for _ in 0..3 {
        heard(&arm).expect("measured");
        assert!(has_ended(&folder.path().join("beside")));
    }
}

#[test]
fn a_command_that_hangs_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut arm = command("sleep 600 & echo $! > grandchild; echo '{}'; sleep 600");
    arm.folder = Some(folder.path().to_owned());
    let limit = Duration::from_millis(700);
    let what = infrastructure(run_within(&arm, &one_command(), limit));
    assert!(what.contains("having printed 1 line"), "{what}");
    if !Path::new("/proc/self/stat").exists() {
        return println!("SKIPPED: this system does not list its processes");
    }
    assert!(has_ended(&folder.path().join("grandchild")));
}

#[test]
fn a_slot_that_a_person_stops_is_no_failure_of_its_arm() {
    let clock = RealClock::default();
    let asked = Asked {
        weights: None,
        cells: &one_command(),
        repetitions: 3,
        limit: LIMIT,
        threads: 1,
        prompt_seed: Sha256Digest([5; 32]),
    };
    let stop = AtomicBool::new(false);
    let around = Around {
        clock: &clock,
        zero_ns: 0,
        sampler: None,
        stop: &stop,
    };
    let error = std::thread::scope(|scope| {
        let slot = scope.spawn(|| run_slot(&command("sleep 600"), &asked, &around));
        stop.store(true, Ordering::Relaxed);
        slot.join().expect("no panic").expect_err("stopped")
    });
    assert!(matches!(error, SlotError::Interrupted), "{error}");
}

#[test]
fn a_program_is_known_by_its_file_and_read_again_once_that_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = write_script(folder.path(), "exit 0");
    let arm = ArmSpec::parse(&program.display().to_string()).expect("an arm");
    let digest = || binary_sha256(&arm).expect("readable");
    let whole = || Sha256Digest::of(&fs::read(&program).expect("there"));
    assert_eq!(digest(), whole());
    assert_eq!(digest(), whole());
    let before = digest();
    write_script(folder.path(), "exit 1");
    assert_eq!(digest(), whole());
    assert_ne!(digest(), before);
    fs::remove_file(&program).expect("ours");
    assert!(binary_sha256(&arm).is_err());
}

#[test]
fn files_that_the_command_line_names_are_part_of_what_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("x.sh");
    let config = folder.path().join("a.toml");
    fs::write(&script, "exit 0").expect("writable");
    fs::write(&config, "a = 1").expect("writable");
    let digest = |text: &str| {
        let mut arm = ArmSpec::parse(text).expect("an arm");
        arm.folder = Some(folder.path().to_owned());
        (binary_sha256(&arm), program_sha256(&arm))
    };
    let of = |text: &str| digest(text).0.expect("readable");
    let (all, program) = digest("sh -e no-such-file 4 .");
    let program = program.expect("readable");
    assert_eq!(all.expect("readable"), program);
    let before = [of("sh x.sh"), of("sh --config=a.toml")];
    assert_ne!(before[0], program);
    assert_ne!(before[1], program);
    assert_ne!(of("sh -e x.sh"), before[0], "the place counts");
    assert_eq!(of("sh x.sh"), before[0]);
    fs::write(&script, "exit 1").expect("writable");
    fs::write(&config, "a = 2").expect("writable");
    assert_ne!(of("sh x.sh"), before[0]);
    assert_ne!(of("sh --config=a.toml"), before[1]);
}

#[test]
fn a_script_that_is_another_after_its_slot_is_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = format!("{}\necho '#' >> x.sh\n", printing("{}", 4));
    fs::write(folder.path().join("x.sh"), script).expect("writable");
    let mut arm = ArmSpec::parse("sh x.sh").expect("an arm");
    arm.folder = Some(folder.path().to_owned());
    let what = other_work(heard(&arm));
    assert!(what.contains("changed on disk"), "{what}");
}

/// Two cells of prompts of 20 tokens and outputs of 4.
fn two_cells() -> [AskedCell; 2] {
    [(0, 2), (1, 1)].map(|(cell, requests)| AskedCell {
        cell,
        workload: Some(GatedWorkload {
            workload: WorkloadSpec::simple("pp20-tg4".parse().expect("a slug"), 20, 4),
            metrics: vec![
                Metric::Decode,
                Metric::Prefill,
                Metric::Ttft,
                Metric::PeakBytes,
                Metric::Energy,
            ],
        }),
        requests,
    })
}

/// A candle arm that answers each request by this script.
fn candle(answer: &str) -> (TempDir, ArmSpec) {
    let folder = tempfile::tempdir().expect("a folder");
    let script = format!(
        "echo \"$hello\"; read ask; echo \"$loaded\"; n=0; event=\"$event\"; \
         while read -r ask; do case \"$ask\" in \
         '{{\"fit-prompt\"'*) echo '{}';; \
         '{{\"generate\"'*) n=$((n+1)); {answer};; esac; done",
        fitted()
    );
    let program: PathBuf = write_script(folder.path(), &script);
    let arm = ArmSpec::parse(&format!("candle:{}", program.display())).expect("an arm");
    (folder, arm)
}

fn tokens(count: usize) -> String {
    "echo \"$event\"; ".repeat(count)
}

fn asked(answer: &str) -> Given {
    let (_folder, arm) = candle(answer);
    run_within(&arm, &two_cells(), LIMIT)
}

#[test]
fn an_engine_is_asked_for_every_cell_and_its_costs_are_those_of_tokens() {
    // A little work before the first token and before each further one.
    let token = "sleep 0.01; echo \"$event\"; ";
    let answer = format!("{}sleep 0.01; echo '{}'", token.repeat(4), generated(4, 4));
    let slotted = asked(&answer).expect("measured");
    let of = |cell, metric| {
        let mut samples = slotted.samples.iter();
        samples.find(|sample| sample.cell == cell && sample.metric == metric)
    };
    for (cell, requests) in [(0, 2), (1, 1)] {
        for (metric, units) in [
            (Metric::Decode, requests * 3),
            (Metric::Prefill, requests * 20),
            (Metric::Ttft, 1),
        ] {
            let sample = of(cell, metric).expect("measured");
            assert_eq!((sample.units, sample.costs.len()), (units, 3), "{metric:?}");
            assert!(sample.costs.iter().all(|cost| *cost > 0), "{sample:?}");
            // Of every request of three repetitions, or of one of each.
            let ends = if metric == Metric::Ttft { 1 } else { requests };
            let tail_ns = sample.tail_ns.expect("of times");
            assert!(tail_ns >= 3 * ends * 10_000_000, "{sample:?}");
        }
        assert!(
            of(cell, Metric::Energy).is_none(),
            "joules are the caller's"
        );
        if crate::context::ContextReader::new(Path::new("/"), 1).reset_peak() {
            let peak = of(cell, Metric::PeakBytes).expect("this system tells");
            assert!(peak.costs.iter().all(|bytes| *bytes > 100_000), "{peak:?}");
            assert_eq!(peak.tail_ns, None);
        }
    }
    let cells: Vec<_> = slotted.spans.iter().map(|span| span.cell).collect();
    assert_eq!(cells, [0, 1, 0, 1, 0, 1], "every cell in every repetition");
    assert!(slotted.spans.is_sorted_by(|a, b| a.end_ns <= b.start_ns));
    assert_eq!(slotted.spans[0].tokens, 2 * 24);
    for (span, at) in slotted.spans.iter().step_by(2).zip(0..) {
        let cost = |metric| of(0, metric).expect("measured").costs[at];
        let inside = span.end_ns - span.start_ns;
        assert!(cost(Metric::Prefill) + cost(Metric::Decode) <= inside);
        assert_eq!(cost(Metric::Ttft), cost(Metric::Prefill) / 2);
    }
    assert!(slotted.output_sha256.is_some() && slotted.binary_sha256.is_some());
    assert_eq!(slotted.request_seconds.len(), 2);
    assert_eq!(slotted.engine.expect("it says so").name.as_str(), "candle");
}

#[test]
fn an_engine_that_does_other_work_than_was_asked_is_found_out() {
    let few = other_work(asked(&format!("{}echo '{}'", tokens(3), generated(3, 3))));
    assert!(few.contains("3 tokens where 4"), "{few}");
    let many = other_work(asked(&format!("{}echo '{}'", tokens(5), generated(4, 4))));
    assert!(many.contains("more than 4"), "{many}");
    let counted = other_work(asked(&format!("{}echo '{}'", tokens(3), generated(4, 4))));
    assert!(counted.contains("3 pieces of output"), "{counted}");
    let cached = generated(4, 4).replace("\"cached_tokens\":0", "\"cached_tokens\":9");
    let cached = other_work(asked(&format!("{}echo '{cached}'", tokens(4))));
    assert!(cached.contains("came from a cache"), "{cached}");
    let prompt = generated(4, 4).replace("\"prompt_tokens\":20", "\"prompt_tokens\":19");
    other_work(asked(&format!("{}echo '{prompt}'", tokens(4))));
    // Tokens that are said before they are made.
    let late = format!("{}sleep 0.2; echo '{}'", tokens(4), generated(4, 4));
    let late = other_work(asked(&late));
    assert!(late.contains("after its last token"), "{late}");
}

#[test]
fn an_engine_that_dies_or_hangs_in_a_slot_has_failed_without_its_folder() {
    let good = format!("{}echo '{}'", tokens(4), generated(4, 4));
    let dies = format!("if [ $n = 3 ]; then echo \"$event\"; exit 9; fi; {good}");
    let died = infrastructure(asked(&dies));
    assert!(died.contains("exit status: 9"), "{died}");
    let (folder, arm) = candle(&format!("if [ $n = 3 ]; then sleep 600; fi; {good}"));
    let limit = Duration::from_millis(1_500);
    let hung = infrastructure(run_within(&arm, &two_cells(), limit));
    assert!(hung.contains("failed to"), "{hung}");
    let name = folder.path().display().to_string();
    assert!(!hung.contains(&name) && !died.contains(&name), "{hung}");
    let gone = ArmSpec::parse("candle:/no/such/folder/build").expect("an arm");
    let gone = infrastructure(run_within(&gone, &two_cells(), LIMIT));
    assert!(gone.contains("no such program"), "{gone}");
    assert!(!gone.contains("/no/such"), "{gone}");
}

#[test]
fn what_a_gate_cannot_ask_is_refused_before_anything_is_started() {
    let (_folder, arm) = candle("exit 1");
    let mut cells = two_cells();
    let workload = cells[0].workload.as_mut().expect("a workload");
    workload.workload.concurrency = 2;
    let refused = infrastructure(run_within(&arm, &cells, LIMIT));
    assert!(refused.contains("one cold request at a time"), "{refused}");
    let refused = infrastructure(run_within(&arm, &one_command(), LIMIT));
    assert!(refused.contains("needs a workload"), "{refused}");
    let refused = infrastructure(run_within(&command("true"), &two_cells(), LIMIT));
    assert!(refused.contains("one cell"), "{refused}");
}
