//! Every workload against a real llama.cpp server, on the real clock.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use domain::hardware::Catalogue;
use domain::matrix::Matrix;
use domain::plausibility::{self, Rule};
use domain::record::Record;
use domain::scope::Scope;

use super::*;
use crate::clock::RealClock;
use crate::engine::Needs;
use crate::engine::openai::OpenAiEngine;
use crate::meter::scripted::ScriptedMeter;

/// As shortly as allowed: what is tested is that the loop and a real server understand each other.
const SETTINGS: RepetitionSettings = RepetitionSettings {
    min: 6,
    max: 6,
    warmup_max: 3,
    min_seconds: 0.1,
    or_output_tokens: None,
    target_half_width_percent: 50.0,
    minutes_per_cell: 1.0,
    concurrency_seconds: 1.5,
    cool_seconds: 0.0,
    energy_seconds: 0.5,
    idle_unloaded_seconds: 0.0,
    idle_loaded_seconds: 0.0,
};

/// A llama.cpp server that is started for the test, as a matrix describes it; else why not.
fn llama_cpp() -> Result<OpenAiEngine, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = root.join("target/engines/bin/python");
    if !python.exists() {
        return Err("target/engines is missing: run .ci/engines".to_owned());
    }
    let script = root.join("runner/servers/llama_cpp.py");
    let (python, script) = (python.display(), script.display());
    let matrix = format!(
        r#"
quantisations = ["F16"]
[[models]]
path = "a.gguf"
[[workloads]]
id = "any"
prompt_tokens = 16
output_tokens = 2
[[engines]]
name = "llama.cpp"
kind = "openai"
command = ["{python}", "{script}", "--model", "{{weights}}", "--port", "{{port}}", "--threads", "{{threads}}", "--streams", "{{streams}}", "--context", "{{context}}"]
backend = "cpu"
"#
    );
    let matrix = Matrix::parse("test", &matrix).expect("a matrix");
    Ok(OpenAiEngine::new(&matrix.engines()[0], 1).expect("an engine of this kind"))
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../reference-models/joulemark-reference-0.9m-f16.gguf")
}

fn measured(engine: &mut dyn Engine, workload: &WorkloadSpec) -> Samples {
    let needs = Needs {
        context_tokens: workload.context_tokens(),
        streams: workload.concurrency,
    };
    engine.load(&model(), needs).expect("the server starts");
    let clock = std::sync::Arc::new(RealClock::default());
    // Its joules are made up; what is asked for their sake is real.
    let meter = ScriptedMeter::steady(Scope::CpuPkg, 10);
    let sampler = Sampler::spawn(vec![Box::new(meter)], clock.clone());
    let context = ContextReader::new(Path::new("/"), 2);
    let stop = AtomicBool::new(false);
    let mut bench = Bench {
        engine,
        sampler: &sampler,
        meters: Covering {
            traces: vec![0],
            far_update_ns: None,
        },
        clock: clock.as_ref(),
        context: &context,
        stop: &stop,
        on_progress: &mut |_| (),
    };
    let mut samples = Samples::begin(clock.as_ref());
    let timing = Timing {
        workload,
        settings: &SETTINGS,
        sweep: Sha256Digest([9; 32]),
    };
    let ended = time_workload(&mut bench, timing, &mut samples);
    engine.unload();
    assert_eq!(ended, Ok(()), "{workload:?}: {:?}", samples.repetitions);
    samples
}

#[test]
fn every_workload_of_a_real_server_is_timed_and_believed() {
    let mut engine = match llama_cpp() {
        Ok(engine) => engine,
        Err(reason) => return println!("SKIPPED: {reason}"),
    };
    let simple = || WorkloadSpec::simple("pp64-tg32".parse().expect("a slug"), 64, 32);
    let workloads = [
        simple(),
        WorkloadSpec {
            depth_tokens: 256,
            ..simple()
        },
        WorkloadSpec {
            depth_tokens: 256,
            kv_state: KvState::WarmPrefix,
            ..simple()
        },
        WorkloadSpec {
            kv_state: KvState::ExactHit,
            ..simple()
        },
        WorkloadSpec {
            concurrency: 2,
            ..simple()
        },
    ];
    for workload in workloads {
        let samples = measured(&mut engine, &workload);
        let repetitions: Vec<_> = counted(&samples.repetitions).collect();
        assert_eq!(repetitions.len(), 6, "{workload:?}");
        let cached = match workload.kv_state {
            KvState::Cold => 0..=0,
            KvState::WarmPrefix => 240..=256,
            KvState::ExactHit => 58..=64,
        };
        let tokens = workload.depth_tokens + workload.prompt_tokens;
        for request in repetitions.iter().flat_map(|rep| &rep.requests) {
            assert_eq!((request.prompt_tokens, request.output_tokens), (tokens, 32));
            let known = request.cached_tokens.expect("llama.cpp says it");
            assert!(cached.contains(&known), "{known} cached: {workload:?}");
        }
        if workload.concurrency > 1 {
            for rep in &repetitions {
                let part = speeds::aggregate_part(rep).expect("both were active");
                assert!(part.tokens > 0.0);
            }
        }
        let loops = |kind| {
            samples
                .phases
                .iter()
                .filter(move |phase| phase.phase == kind)
        };
        let decode: Vec<_> = loops(PhaseKind::DecodeLoop).collect();
        if workload.kv_state == KvState::ExactHit {
            assert!(decode.is_empty() && loops(PhaseKind::PrefillLoop).next().is_none());
        } else {
            assert!(decode.len() >= 6, "{workload:?}");
            assert!(loops(PhaseKind::PrefillLoop).count() >= 6, "{workload:?}");
            // 16 tokens of a context may be processed again: what is kept is kept in blocks.
            let most = |requests: u32| u64::from(requests) * 16;
            assert!(
                decode
                    .iter()
                    .all(|block| block.tokens_in <= most(block.requests))
            );
        }
        let fixture = include_str!("../../../domain/fixtures/record.json");
        let mut record: Record = serde_json::from_str(fixture).expect("a record");
        record.workload = crate::record::workload(&workload, AttributionMethod::Loops);
        record.repetitions = samples.repetitions;
        record.phases = samples.phases;
        let findings = plausibility::check(&record, &Catalogue::default()).findings;
        // The fixture's model and machine are others.
        let of_measuring = [Rule::Times, Rule::Tokens, Rule::Cold, Rule::Copy];
        let broken: Vec<_> = findings
            .iter()
            .filter(|finding| of_measuring.contains(&finding.rule))
            .collect();
        assert!(broken.is_empty(), "{workload:?}: {broken:?}");
    }
}
