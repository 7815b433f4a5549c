//! Measuring on a virtual clock with a scripted engine.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use domain::matrix::Matrix;
use domain::scope::Scope;

use super::*;
use crate::clock::VirtualClock;
use crate::engine::scripted::{ScriptedEngine, Work};
use crate::meter::Meter;
use crate::meter::scripted::ScriptedMeter;

const PREFILL: Duration = Duration::from_millis(20);
const TOKEN: Duration = Duration::from_millis(2);

const NEEDS: crate::engine::Needs = crate::engine::Needs {
    context_tokens: 4_096,
    streams: 1,
};

fn workload() -> WorkloadSpec {
    let id = "pp128-tg64".parse().expect("a slug");
    WorkloadSpec::simple(id, 128, 64)
}

fn quickstart() -> RepetitionSettings {
    Matrix::parse("quickstart", crate::plan::QUICKSTART_MATRIX)
        .expect("valid")
        .repetitions
}

/// An engine whose work moves the clock: `token` says how long the n-th token of all takes.
fn engine(
    clock: &Arc<VirtualClock>,
    mut token: impl FnMut(u64) -> Duration + Send + 'static,
) -> ScriptedEngine {
    let clock = Arc::clone(clock);
    let mut emitted = 0;
    ScriptedEngine::new().works(move |work| match work {
        Work::Load => clock.advance(Duration::from_secs(1)),
        Work::Prefill(_) => clock.advance(PREFILL),
        Work::Token => {
            emitted += 1;
            clock.advance(token(emitted));
        }
    })
}

struct Run {
    samples: Samples,
    ended: Result<(), Stopped>,
    sampled: crate::meter::sampler::Sampled,
}

fn run(
    clock: &Arc<VirtualClock>,
    mut engine: ScriptedEngine,
    workload: &WorkloadSpec,
    settings: &RepetitionSettings,
    meters: Vec<Box<dyn Meter>>,
) -> Run {
    engine.load(Path::new("any.gguf"), NEEDS).expect("loads");
    let sampler = Sampler::spawn(meters, clock.clone());
    let folder = tempfile::tempdir().expect("a folder");
    let context = ContextReader::new(folder.path(), 2);
    let stop = AtomicBool::new(false);
    let mut on_progress = |progress: Progress| {
        if progress.phase == PhaseKind::MixedLoop && progress.done > progress.of {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let mut bench = Bench {
        engine: &mut engine,
        sampler: &sampler,
        clock: clock.as_ref(),
        context: &context,
        stop: &stop,
        on_progress: &mut on_progress,
    };
    let mut samples = Samples::begin(clock.as_ref());
    sampler.start(samples.zero_ns);
    let timing = Timing {
        workload,
        settings,
        sweep: Sha256Digest([4; 32]),
    };
    let ended = time_workload(&mut bench, timing, &mut samples);
    Run {
        samples,
        ended,
        sampled: sampler.stop(),
    }
}

fn steady(_: u64) -> Duration {
    TOKEN
}

#[test]
fn a_steady_engine_is_warm_after_three_and_known_after_six() {
    let clock = Arc::new(VirtualClock::default());
    clock.advance(Duration::from_secs(99));
    let run = run(
        &clock,
        engine(&clock, steady),
        &workload(),
        &quickstart(),
        Vec::new(),
    );
    assert_eq!(run.ended, Ok(()));
    let repetitions = &run.samples.repetitions;
    assert_eq!(
        repetitions
            .iter()
            .filter(|repetition| repetition.warmup)
            .count(),
        3
    );
    assert_eq!(counted(repetitions).count(), 6);
    for (number, repetition) in (0..).zip(repetitions) {
        assert_eq!(repetition.rep, number);
        assert!(
            repetition.end_ns - repetition.start_ns >= 250_000_000,
            "at least a quarter of a second"
        );
        assert_eq!(repetition.requests.len(), 2, "148 ms each");
    }
    let decode = speed_interval(repetitions, decode_tokens_per_second).expect("six values");
    assert!((decode.median - 500.0).abs() < 1e-6, "{decode:?}");
    // The first token's own time belongs to prefill.
    let prefill = speed_interval(repetitions, prefill_tokens_per_second).expect("six values");
    assert!((prefill.median - 128.0 / 0.022).abs() < 1e-6, "{prefill:?}");
}

#[test]
fn requests_are_stamped_at_the_edge_and_phases_carry_exact_counts() {
    let clock = Arc::new(VirtualClock::default());
    let run = run(
        &clock,
        engine(&clock, steady),
        &workload(),
        &quickstart(),
        Vec::new(),
    );
    let repetition = counted(&run.samples.repetitions).next().expect("one");
    let request = &repetition.requests[1];
    assert_eq!(request.first_event_ns, Some(request.sent_ns + 22_000_000));
    assert_eq!(
        (
            request.gaps_us.len(),
            request.output_tokens,
            request.prompt_tokens
        ),
        (63, 64, 128)
    );
    assert!(request.gaps_us.iter().all(|gap| *gap == 2_000));

    let phases = &run.samples.phases;
    let kinds: Vec<_> = phases.iter().map(|phase| phase.phase).collect();
    assert_eq!(kinds[0], PhaseKind::Warmup);
    assert_eq!(kinds[1..], [PhaseKind::MixedLoop; 6]);
    for phase in &phases[1..] {
        assert_eq!(
            (phase.requests, phase.tokens_in, phase.tokens_out),
            (2, 256, 128)
        );
        let repetition = &run.samples.repetitions[phase.rep.expect("has one") as usize];
        assert_eq!(
            (phase.start_ns, phase.end_ns),
            (repetition.start_ns, repetition.end_ns)
        );
    }
}

#[test]
fn a_noisy_engine_is_repeated_to_the_cap() {
    let clock = Arc::new(VirtualClock::default());
    let noisy = |n: u64| TOKEN * (1 + (n / 200 % 3) as u32);
    let run = run(
        &clock,
        engine(&clock, noisy),
        &workload(),
        &quickstart(),
        Vec::new(),
    );
    assert_eq!(counted(&run.samples.repetitions).count(), 12);
    assert_eq!(
        run.samples
            .repetitions
            .iter()
            .filter(|repetition| repetition.warmup)
            .count(),
        4
    );
}

#[test]
fn a_miscounting_request_voids_its_repetition_and_another_is_made() {
    let clock = Arc::new(VirtualClock::default());
    let engine = engine(&clock, steady)
        .emitting(|number, asked| if number == 7 { asked - 1 } else { asked });
    let run = run(&clock, engine, &workload(), &quickstart(), Vec::new());
    assert_eq!(run.ended, Ok(()));
    let void: Vec<_> = run
        .samples
        .repetitions
        .iter()
        .filter_map(|repetition| repetition.void.clone())
        .collect();
    assert_eq!(void.len(), 1);
    assert!(void[0].as_str().starts_with("63 tokens"), "{void:?}");
    assert_eq!(counted(&run.samples.repetitions).count(), 6);
}

#[test]
fn an_engine_that_always_miscounts_fails_the_cell() {
    let clock = Arc::new(VirtualClock::default());
    let engine = engine(&clock, steady).emitting(|_, asked| asked / 2);
    let run = run(&clock, engine, &workload(), &quickstart(), Vec::new());
    assert!(
        matches!(
            run.ended,
            Err(Stopped::Failed {
                outcome: Outcome::Crash,
                ..
            })
        ),
        "{:?}",
        run.ended
    );
    let tried = run.samples.repetitions;
    assert_eq!(
        tried.len(),
        3,
        "three void warm-ups are enough, and nothing is deleted"
    );
    assert!(tried.iter().all(|repetition| repetition.void.is_some()));
}

#[test]
fn a_crash_keeps_what_was_measured_before() {
    let clock = Arc::new(VirtualClock::default());
    let crash = |number| {
        (number == 9).then(|| EngineError::Crashed {
            reason: "scripted".to_owned(),
        })
    };
    let run = run(
        &clock,
        engine(&clock, steady).failing_requests(crash),
        &workload(),
        &quickstart(),
        Vec::new(),
    );
    let class = "engine crashed".to_owned();
    assert_eq!(
        run.ended,
        Err(Stopped::Failed {
            outcome: Outcome::Crash,
            class
        })
    );
    assert_eq!(run.samples.repetitions.len(), 4);
}

#[test]
fn a_suspended_machine_voids_the_repetition() {
    let clock = Arc::new(VirtualClock::default());
    let sleeper = Arc::clone(&clock);
    let token = move |n| {
        if n == 600 {
            sleeper.suspend(Duration::from_mins(1));
        }
        TOKEN
    };
    let run = run(
        &clock,
        engine(&clock, token),
        &workload(),
        &quickstart(),
        Vec::new(),
    );
    let void: Vec<_> = run
        .samples
        .repetitions
        .iter()
        .filter_map(|repetition| repetition.void.clone())
        .collect();
    assert_eq!(void.len(), 1);
    assert!(void[0].as_str().contains("suspended"));
}

#[test]
fn a_counter_adds_a_decode_loop_with_readings_at_its_edges() {
    let clock = Arc::new(VirtualClock::default());
    let meter = ScriptedMeter::steady(Scope::CpuPkg, 20);
    let run = run(
        &clock,
        engine(&clock, steady),
        &workload(),
        &quickstart(),
        vec![Box::new(meter)],
    );
    let phase = run.samples.phases.last().expect("has phases");
    assert_eq!(phase.phase, PhaseKind::DecodeLoop);
    assert!(phase.end_ns - phase.start_ns >= 3_000_000_000);
    assert_eq!(
        phase.tokens_in,
        u64::from(phase.requests * LOOP_PROMPT_TOKENS)
    );
    assert_eq!(
        phase.tokens_out,
        u64::from(phase.requests * (128 + 64 - LOOP_PROMPT_TOKENS)),
        "as long a context as the workload's"
    );
    let trace = &run.sampled.traces[0];
    for phase in &run.samples.phases {
        assert!(
            trace.t_ns.contains(&phase.start_ns) && trace.t_ns.contains(&phase.end_ns),
            "{phase:?}"
        );
    }
}

#[test]
fn repetitions_stay_within_their_bytes_however_fast_or_slow_the_engine_is() {
    let mut settings = quickstart();
    settings.max = 30;
    settings.warmup_max = 10;
    settings.target_half_width_percent = 0.1;
    settings.minutes_per_cell = 600.0;
    let jittery = |step: Duration| move |n: u64| step + step / 7 * (n % 5) as u32;
    for (step, output_tokens, min_seconds) in [
        (Duration::from_micros(3), 64, 5.0),
        (Duration::from_micros(3), 2, 5.0),
        (Duration::from_millis(700), 4_096, 60.0),
        (Duration::from_millis(1), 4_096, 60.0),
    ] {
        let clock = Arc::new(VirtualClock::default());
        settings.min_seconds = min_seconds;
        let workload = WorkloadSpec {
            output_tokens,
            ..workload()
        };
        let run = run(
            &clock,
            engine(&clock, jittery(step)),
            &workload,
            &settings,
            Vec::new(),
        );
        assert_eq!(run.ended, Ok(()));
        let repetitions = &run.samples.repetitions;
        let bytes = json_bytes(repetitions);
        assert!(
            bytes <= REPETITIONS_BYTES,
            "{bytes} bytes at {step:?} and {output_tokens} tokens"
        );
        assert!(counted(repetitions).count() >= 6, "{step:?}");
    }
}

#[test]
fn gaps_add_up_to_the_whole() {
    let stamps: Vec<u64> = (0..1_000).map(|n| n * 1_333_333).collect();
    let gaps = gaps_us(&stamps);
    assert_eq!(gaps.iter().sum::<u64>(), (999 * 1_333_333 + 500) / 1_000);
}
