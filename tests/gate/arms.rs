//! Arms of a gate with real programs: this build as a child, slowed, and a llama.cpp server.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use domain::gate::Metric;
use domain::gate::policy::GatedWorkload;
use domain::ids::Sha256Digest;
use domain::matrix::WorkloadSpec;
use runner::clock::RealClock;
use runner::engine::candle::CandleEngine;
use runner::engine::{Engine, GenerateRequest, Needs, Processes, Sampling};
use runner::gate::arm::ArmSpec;
use runner::gate::slot::{Around, Asked, AskedCell, Slotted, run_slot};
use runner::prompt::TEXT;

use crate::installed::{engines_python, reference_models};

const LIMIT: Duration = Duration::from_mins(2);

fn model() -> PathBuf {
    reference_models().join("joulemark-reference-0.9m-f16.gguf")
}

fn this_build() -> ArmSpec {
    ArmSpec::parse(concat!("candle:", env!("CARGO_BIN_EXE_joulemark"))).expect("an arm")
}

fn slot(arm: &ArmSpec) -> Slotted {
    let cells = [("pp64-tg16", 64, 16), ("pp16-tg32", 16, 32)];
    let cells: Vec<_> = (0..)
        .zip(cells)
        .map(|(cell, (id, prompt, output))| AskedCell {
            cell,
            workload: Some(GatedWorkload {
                workload: WorkloadSpec::simple(id.parse().expect("a slug"), prompt, output),
                metrics: vec![Metric::Decode, Metric::Prefill, Metric::PeakBytes],
            }),
            requests: 2,
        })
        .collect();
    let asked = Asked {
        weights: Some(&model()),
        cells: &cells,
        repetitions: 3,
        limit: LIMIT,
        threads: 1,
        prompt_seed: Sha256Digest([9; 32]),
    };
    let clock = RealClock::default();
    let around = Around {
        clock: &clock,
        zero_ns: 0,
        sampler: None,
        stop: &AtomicBool::new(false),
    };
    run_slot(arm, &asked, &around).unwrap_or_else(|error| panic!("failed to {error}"))
}

#[test]
fn a_build_in_a_child_answers_bit_for_bit_as_it_does_in_process() {
    let needs = Needs {
        context_tokens: 512,
        streams: 1,
    };
    let mut here = CandleEngine::new().expect("a CPU");
    let mut child = this_build()
        .engine(&model(), 1, LIMIT, None)
        .expect("an engine");
    for engine in [&mut here as &mut dyn Engine, child.as_mut()] {
        engine.load(&model(), needs).expect("loads");
    }
    assert_eq!(child.settings(), here.settings());
    assert_eq!(child.capabilities(), here.capabilities());
    let Processes::Children(pids) = child.processes() else {
        panic!("an arm is another process");
    };
    assert_ne!(pids, [std::process::id()]);

    let prompt = here.fit_prompt(TEXT, 200).expect("fits");
    assert_eq!(child.fit_prompt(TEXT, 200).expect("fits"), prompt);
    let request = GenerateRequest {
        prompt,
        max_output_tokens: 64,
        ban_eos: true,
        deadline: None,
        sampling: Sampling::Greedy,
        reuse_cache: false,
    };
    let [mut seen_here, mut seen_there] = [0, 0];
    let answer = here.generate(&request, &mut |_| seen_here += 1);
    let other = child.generate(&request, &mut |_| seen_there += 1);
    let (answer, other) = (answer.expect("answers"), other.expect("answers"));
    assert_eq!((seen_here, seen_there), (64, 64));
    assert_eq!(answer.output, other.output);
    assert_eq!(answer.text, other.text);

    let tokens: Vec<u32> = (0..200).map(|n| n % 256).collect();
    let bits = |rows: Vec<Vec<f32>>| -> Vec<Vec<u32>> {
        rows.into_iter()
            .map(|row| row.into_iter().map(f32::to_bits).collect())
            .collect()
    };
    let expected = bits(here.logits(&tokens).expect("logits"));
    assert_eq!(bits(child.logits(&tokens).expect("logits")), expected);
}

#[test]
fn two_slots_of_one_build_do_the_same_work_in_processes_of_their_own() {
    let arm = this_build();
    let (one, other) = (slot(&arm), slot(&arm));
    assert_eq!(one.output_sha256, other.output_sha256);
    assert_eq!(one.binary_sha256, other.binary_sha256);
    let units: Vec<_> = one
        .samples
        .iter()
        .map(|sample| (sample.cell, sample.metric, sample.units))
        .collect();
    assert_eq!(units[0], (0, Metric::Decode, 2 * 15));
    assert_eq!(units[1], (0, Metric::Prefill, 2 * 64));
    let same: Vec<_> = other
        .samples
        .iter()
        .map(|sample| (sample.cell, sample.metric, sample.units))
        .collect();
    assert_eq!(units, same);
    for sample in &one.samples {
        assert_eq!(sample.costs.len(), 3);
        assert!(sample.costs.iter().all(|cost| *cost > 0), "{sample:?}");
    }
    let engine = one.engine.expect("an engine");
    assert_eq!(engine.name.as_str(), "candle");
    assert_eq!(engine.args[0].as_str(), "threads=1");

    let slowed = Path::new(env!("CARGO_BIN_EXE_joulemark"))
        .with_file_name("examples")
        .join("slowed_arm");
    if !slowed.exists() {
        return println!("SKIPPED: examples/slowed_arm is not built");
    }
    let slowed = format!(
        "candle:{} --repeat-pass-every 1 --repeat-prompt-every 1 --read-bytes-per-token 4096",
        slowed.display()
    );
    let slowed = slot(&ArmSpec::parse(&slowed).expect("an arm"));
    assert_eq!(
        slowed.output_sha256, one.output_sha256,
        "extra work changes no answer"
    );
    assert_ne!(slowed.binary_sha256, one.binary_sha256);
}

#[test]
fn a_server_is_an_arm_and_is_started_for_each_slot() {
    let python = match engines_python() {
        Ok(python) => python,
        Err(reason) => return println!("SKIPPED: {reason}"),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("runner/servers/llama_cpp.py");
    let arm = format!(
        "server:{} {} --model {{weights}} --port {{port}} --threads {{threads}} \
         --streams {{streams}} --context {{context}}",
        python.display(),
        script.display()
    );
    let arm = ArmSpec::parse(&arm).expect("an arm");
    let (one, other) = (slot(&arm), slot(&arm));
    assert_eq!(one.samples.len(), 6, "{:?}", one.samples);
    assert_eq!(one.output_sha256, other.output_sha256);
    assert!(one.output_sha256.is_some());
}

#[test]
fn the_arms_verb_is_hidden_and_ends_with_its_input() {
    let joulemark = || Command::new(env!("CARGO_BIN_EXE_joulemark"));
    let help = joulemark().arg("--help").output().expect("runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(
        !help
            .lines()
            .any(|line| line.trim_start().starts_with("arm "))
    );
    let mut child = joulemark()
        .arg("arm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut input = child.stdin.take().expect("a pipe");
    let ask = b"{\"fit-prompt\":{\"text\":\"a\",\"tokens\":1}}\n";
    input.write_all(ask).expect("it listens");
    drop(input);
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("{\"joulemark_arm\":1"), "{text}");
    assert!(lines[1].contains("no weights are loaded"), "{text}");
}
