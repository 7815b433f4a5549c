//! Measuring on a virtual clock with a scripted engine.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use domain::hardware::Catalogue;
use domain::matrix::Matrix;
use domain::plausibility::{self, Rule};
use domain::record::{Record, Request};
use domain::scope::Scope;
use domain::statistics::median;
use proptest::prelude::*;

use super::*;
use crate::clock::VirtualClock;
use crate::engine::SelfTiming;
use crate::engine::scripted::{ScriptedEngine, Work};
use crate::meter::Meter;
use crate::meter::scripted::ScriptedMeter;

const PREFILL: Duration = Duration::from_millis(20);
const TOKEN: Duration = Duration::from_millis(2);

pub(super) const NEEDS: crate::engine::Needs = crate::engine::Needs {
    context_tokens: 4_096,
    streams: 1,
};

pub(super) fn workload() -> WorkloadSpec {
    let id = "pp128-tg64".parse().expect("a slug");
    WorkloadSpec::simple(id, 128, 64)
}

pub(super) fn quickstart() -> RepetitionSettings {
    Matrix::parse("quickstart", crate::plan::QUICKSTART_MATRIX)
        .expect("valid")
        .repetitions
}

/// An engine whose work moves the clock: `token` says how long the n-th token of all takes.
pub(super) fn engine(
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

pub(super) struct Run {
    pub(super) samples: Samples,
    pub(super) ended: Result<(), Stopped>,
    pub(super) sampled: crate::meter::sampler::Sampled,
}

pub(super) fn run(
    clock: &Arc<VirtualClock>,
    engine: ScriptedEngine,
    workload: &WorkloadSpec,
    settings: &RepetitionSettings,
    meters: Vec<Box<dyn Meter>>,
) -> Run {
    let root = tempfile::tempdir().expect("a folder");
    run_under(root.path(), clock, engine, workload, settings, meters)
}

fn run_under(
    root: &Path,
    clock: &Arc<VirtualClock>,
    mut engine: ScriptedEngine,
    workload: &WorkloadSpec,
    settings: &RepetitionSettings,
    meters: Vec<Box<dyn Meter>>,
) -> Run {
    engine.load(Path::new("any.gguf"), NEEDS).expect("loads");
    let covering = Covering {
        traces: (0..).take(meters.len()).collect(),
        far_update_ns: None,
    };
    let sampler = Sampler::on_virtual_clock(meters, clock);
    let context = ContextReader::new(root, 2);
    let stop = AtomicBool::new(false);
    let mut on_progress = |progress: Progress| {
        if progress.phase == PhaseKind::MixedLoop && progress.done > progress.of {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let mut bench = Bench {
        engine: &mut engine,
        sampler: &sampler,
        meters: covering,
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

/// An engine of fixed speed whose prefill costs 100 microseconds per token that no cache served.
pub(super) fn plain(clock: &Arc<VirtualClock>) -> ScriptedEngine {
    let clock = Arc::clone(clock);
    ScriptedEngine::new().works(move |work| {
        clock.advance(match work {
            Work::Load => Duration::from_secs(1),
            Work::Prefill(tokens) => Duration::from_micros(100) * tokens,
            Work::Token => TOKEN,
        });
    })
}

pub(super) fn streams(count: u32) -> WorkloadSpec {
    WorkloadSpec {
        concurrency: count,
        ..workload()
    }
}

pub(super) fn behind(depth_tokens: u32, kv_state: KvState) -> WorkloadSpec {
    WorkloadSpec {
        depth_tokens,
        kv_state,
        ..workload()
    }
}

pub(super) fn void_reasons(run: &Run) -> Vec<String> {
    let repetitions = run.samples.repetitions.iter();
    repetitions
        .filter_map(|repetition| Some(repetition.void.as_ref()?.to_string()))
        .collect()
}

fn timed(run: &Run) -> impl Iterator<Item = &Request> {
    counted(&run.samples.repetitions).flat_map(|repetition| &repetition.requests)
}

fn unsupported(class: &str) -> Result<(), Stopped> {
    Err(Stopped::failed(Outcome::Unsupported, class))
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
    let void = void_reasons(&run);
    assert_eq!(void.len(), 1);
    assert!(void[0].starts_with("63 tokens"), "{void:?}");
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
    let void = void_reasons(&run);
    assert_eq!(void.len(), 1);
    assert!(void[0].contains("suspended"));
}

#[test]
fn every_phase_has_readings_at_its_edges() {
    let clock = Arc::new(VirtualClock::default());
    let meter = ScriptedMeter::steady(Scope::CpuPkg, 20);
    let run = run(
        &clock,
        engine(&clock, steady),
        &workload(),
        &quickstart(),
        vec![Box::new(meter)],
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
fn streams_begin_together_and_all_work_until_the_end() {
    let clock = Arc::new(VirtualClock::default());
    let engine = plain(&clock).streaming(4);
    let run = run(&clock, engine, &streams(4), &quickstart(), Vec::new());
    assert_eq!(run.ended, Ok(()));
    assert!(counted(&run.samples.repetitions).count() >= 6);
    for repetition in counted(&run.samples.repetitions) {
        let mut finished: BTreeMap<u32, u32> = BTreeMap::new();
        for request in &repetition.requests {
            *finished.entry(request.stream).or_default() += 1;
            assert!(request.sent_ns >= repetition.start_ns);
            assert!(speeds::last_event_ns(request) <= Some(repetition.end_ns + 64_000));
        }
        assert_eq!(finished.len(), 4);
        assert!(finished.values().all(|count| *count >= STREAM_REQUESTS));
        for pair in repetition.requests.windows(2) {
            let place = |request: &Request| (request.stream, request.sent_ns);
            assert!(place(&pair[0]) < place(&pair[1]), "by stream, then by time");
            let ended = speeds::last_event_ns(&pair[0]).expect("has events");
            assert!(
                pair[0].stream != pair[1].stream || ended <= pair[1].sent_ns + 64_000,
                "one stream asks one thing at a time"
            );
        }
        let of_streams = |moment: fn(&Request) -> Option<u64>| {
            let last = (0..4).map(move |stream| {
                let requests = repetition.requests.iter();
                requests
                    .filter(|request| request.stream == stream)
                    .filter_map(moment)
                    .max()
            });
            last.collect::<Vec<_>>()
        };
        let sent = of_streams(|request| Some(request.sent_ns));
        let ended = of_streams(speeds::last_event_ns);
        assert!(
            sent.iter().max() <= ended.iter().min(),
            "none goes on alone"
        );
        let part = speeds::aggregate_part(repetition).expect("all were active");
        assert!(part.tokens <= part.seconds * 500.0 + 4.0, "{part:?}");
    }
    let aggregates: Vec<_> = counted(&run.samples.repetitions)
        .filter_map(speeds::aggregate_tokens_per_second)
        .collect();
    // 64 tokens for 12.8 ms of prefill and 128 ms of decoding.
    let aggregate = median(&aggregates).expect("measured");
    assert!((aggregate / 454.5 - 1.0).abs() < 0.03, "{aggregate}");
    // A stream waits for the three others between two tokens of its own.
    let decode = speed_interval(&run.samples.repetitions, decode_tokens_per_second);
    assert!((decode.expect("six values").median / 125.0 - 1.0).abs() < 0.1);
}

#[test]
fn several_streams_are_measured_for_the_time_that_was_set() {
    let clock = Arc::new(VirtualClock::default());
    let mut settings = quickstart();
    settings.concurrency_seconds = 12.0;
    settings.target_half_width_percent = 50.0;
    let engine = plain(&clock).streaming(2);
    let run = run(&clock, engine, &streams(2), &settings, Vec::new());
    assert_eq!(run.ended, Ok(()));
    let lasted: u64 = counted(&run.samples.repetitions)
        .map(|repetition| repetition.end_ns - repetition.start_ns)
        .sum();
    assert!(lasted >= 12_000_000_000, "{lasted} ns");
    let repetitions = counted(&run.samples.repetitions).count();
    assert!((6..=8).contains(&repetitions), "{repetitions}");
}

#[test]
fn a_failing_stream_ends_the_repetition_for_all() {
    let clock = Arc::new(VirtualClock::default());
    let crash = |number| {
        (number == 17).then(|| EngineError::Crashed {
            reason: "scripted".to_owned(),
        })
    };
    let engine = plain(&clock).streaming(4).failing_requests(crash);
    let run = run(&clock, engine, &streams(4), &quickstart(), Vec::new());
    assert_eq!(
        run.ended,
        Err(Stopped::failed(Outcome::Crash, "engine crashed"))
    );
    assert!(void_reasons(&run).is_empty());
}

#[test]
fn a_panicking_stream_leaves_no_other_waiting() {
    let clock = Arc::new(VirtualClock::default());
    let mut tokens = 0;
    let engine = ScriptedEngine::new().streaming(3).works(move |work| {
        tokens += u32::from(work == Work::Token);
        assert!(tokens != 700, "the script ends here");
    });
    let work = || run(&clock, engine, &streams(3), &quickstart(), Vec::new()).ended;
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("the panic goes on");
    assert!(
        panic
            .downcast_ref::<&str>()
            .is_some_and(|text| text.contains("the script"))
    );
}

#[test]
fn a_miscounting_stream_voids_the_repetition_of_all() {
    let clock = Arc::new(VirtualClock::default());
    let engine = plain(&clock)
        .streaming(2)
        .emitting(|number, asked| if number == 30 { asked + 1 } else { asked });
    let run = run(&clock, engine, &streams(2), &quickstart(), Vec::new());
    assert_eq!(run.ended, Ok(()));
    let void = void_reasons(&run);
    assert_eq!(void, ["65 tokens came back, 64 were asked for"]);
}

#[test]
fn what_an_engine_does_not_offer_is_said_before_anything_is_timed() {
    let silent = || {
        ScriptedEngine::new()
            .caching(|_, held| Some(held))
            .silent_about_caches()
    };
    let own_clock = || {
        ScriptedEngine::new().timing_itself(|_| SelfTiming {
            prefill_ns: 1,
            decode_ns: 1,
        })
    };
    let cases = [
        (
            ScriptedEngine::new(),
            behind(256, KvState::WarmPrefix),
            "no prefix cache",
        ),
        (
            ScriptedEngine::new(),
            behind(0, KvState::ExactHit),
            "no prefix cache",
        ),
        (
            silent(),
            behind(256, KvState::WarmPrefix),
            "it does not say what its cache served",
        ),
        (
            ScriptedEngine::new().streaming(2),
            streams(4),
            "4 requests at once: it takes 2",
        ),
        (
            own_clock(),
            streams(2),
            "it times itself, never 2 requests at once",
        ),
        (
            own_clock(),
            behind(0, KvState::ExactHit),
            "it times itself, without a cache",
        ),
        (
            own_clock(),
            behind(256, KvState::Cold),
            "it times itself behind a context that is loaded before: warm_prefix, not cold",
        ),
    ];
    for (engine, workload, class) in cases {
        let clock = Arc::new(VirtualClock::default());
        let run = run(&clock, engine, &workload, &quickstart(), Vec::new());
        assert_eq!(run.ended, unsupported(class));
        assert!(run.samples.repetitions.is_empty() && run.samples.phases.is_empty());
    }
}

#[test]
fn a_cold_prompt_from_a_cache_never_counts() {
    let clock = Arc::new(VirtualClock::default());
    let once = plain(&clock).caching(|number, _| Some(u32::from(number == 7)));
    let run_once = run(&clock, once, &workload(), &quickstart(), Vec::new());
    assert_eq!(run_once.ended, Ok(()));
    let void = void_reasons(&run_once);
    assert_eq!(
        void,
        ["1 prompt tokens of a cold request came from a cache"]
    );
    assert!(timed(&run_once).all(|request| request.cached_tokens == Some(0)));

    let always = plain(&clock).caching(|_, _| Some(100));
    let run = run(&clock, always, &workload(), &quickstart(), Vec::new());
    assert_eq!(
        run.ended,
        unsupported("its cache cannot be kept out of cold requests")
    );
    assert_eq!(run.samples.repetitions.len(), 3);
}

#[test]
fn an_engine_that_is_silent_about_its_cache_is_recorded_as_silent() {
    let clock = Arc::new(VirtualClock::default());
    let engine = plain(&clock).silent_about_caches();
    let run = run(&clock, engine, &workload(), &quickstart(), Vec::new());
    assert_eq!(run.ended, Ok(()));
    assert!(timed(&run).all(|request| request.cached_tokens.is_none()));
}

#[test]
fn a_cold_context_is_part_of_the_prompt() {
    let clock = Arc::new(VirtualClock::default());
    let workload = behind(1_000, KvState::Cold);
    let run = run(&clock, plain(&clock), &workload, &quickstart(), Vec::new());
    assert_eq!(run.ended, Ok(()));
    assert!(timed(&run).all(|request| request.prompt_tokens == 1_128));
    let prefill = speed_interval(&run.samples.repetitions, prefill_tokens_per_second);
    let expected = 1_128.0 / (0.112_8 + 0.002);
    assert!((prefill.expect("six").median / expected - 1.0).abs() < 1e-9);
}

#[test]
fn a_warm_context_is_loaded_untimed_and_only_what_follows_is_prefill() {
    let clock = Arc::new(VirtualClock::default());
    let engine = plain(&clock).caching(|_, held| Some(held));
    let workload = behind(1_000, KvState::WarmPrefix);
    let run = run(&clock, engine, &workload, &quickstart(), Vec::new());
    assert_eq!(run.ended, Ok(()));
    assert!(void_reasons(&run).is_empty(), "{:?}", void_reasons(&run));
    for request in timed(&run) {
        assert_eq!(
            (request.prompt_tokens, request.cached_tokens),
            (1_128, Some(1_000))
        );
        let ttft = request.first_event_ns.expect("has one") - request.sent_ns;
        assert_eq!(ttft, 128 * 100_000 + 2_000_000);
    }
    let prefill = speed_interval(&run.samples.repetitions, prefill_tokens_per_second);
    assert!((prefill.expect("six").median / (128.0 / 0.0148) - 1.0).abs() < 1e-9);
    for phase in &run.samples.phases[1..] {
        let repetition = &run.samples.repetitions[phase.rep.expect("has one") as usize];
        let requests = repetition.requests.len() as u32;
        assert_eq!(phase.phase, PhaseKind::MixedLoop);
        assert_eq!(
            phase.requests,
            2 * requests,
            "loads count, where joules are shared out"
        );
        // The begin token, perhaps a letter, is still there from the request before.
        let fresh = phase.tokens_in / u64::from(requests);
        assert!((1_120..1_128).contains(&fresh), "{fresh} per timed request");
        assert_eq!(phase.tokens_out, u64::from(requests) * 65);
        let busy: u64 = repetition
            .requests
            .iter()
            .map(|request| speeds::last_event_ns(request).expect("ends") - request.sent_ns)
            .sum();
        assert!(
            busy >= 250_000_000,
            "loading does not make a repetition long enough"
        );
    }
}

#[test]
fn a_context_that_is_not_kept_ends_the_cell() {
    let clock = Arc::new(VirtualClock::default());
    let engine = plain(&clock).caching(|_, held| Some(held * 8 / 10));
    let workload = behind(1_000, KvState::WarmPrefix);
    let run = run(&clock, engine, &workload, &quickstart(), Vec::new());
    assert_eq!(
        run.ended,
        unsupported("its cache does not keep what was loaded")
    );
    let void = void_reasons(&run);
    assert_eq!(void.len(), 3);
    assert_eq!(
        void[0],
        "800 of 1000 prompt tokens that were loaded before came from the cache"
    );
}

#[test]
fn an_exact_hit_is_known_by_its_time_to_first_token() {
    let clock = Arc::new(VirtualClock::default());
    let engine = plain(&clock).caching(|_, held| Some(held));
    let workload = behind(0, KvState::ExactHit);
    let run = run(&clock, engine, &workload, &quickstart(), Vec::new());
    assert_eq!(run.ended, Ok(()));
    assert!(timed(&run).all(|request| request.cached_tokens == Some(128)));
    let ttft = speed_interval(&run.samples.repetitions, speeds::mean_ttft_seconds);
    let ttft = ttft.expect("six values");
    assert!(
        (ttft.median - 0.002).abs() < 1e-12 && ttft.n == 6,
        "{ttft:?}"
    );
    let prefill = speed_interval(&run.samples.repetitions, prefill_tokens_per_second);
    assert_eq!(prefill, None, "nothing was processed");
}

#[test]
fn reasoning_comes_before_what_a_reader_sees() {
    let clock = Arc::new(VirtualClock::default());
    let engine = plain(&clock).reasoning(10);
    let run = run(&clock, engine, &workload(), &quickstart(), Vec::new());
    for request in timed(&run) {
        let (first, visible) = (request.first_event_ns, request.first_visible_ns);
        let (first, visible) = (first.expect("has one"), visible.expect("has one"));
        assert_eq!(visible - first, 10 * 2_000_000);
        assert_eq!((request.reasoning_tokens, request.output_tokens), (10, 64));
    }
}

#[test]
fn tokens_are_counted_not_events() {
    let clock = Arc::new(VirtualClock::default());
    let engine = plain(&clock).chunking(|tokens| Some(vec![4; tokens as usize / 4]));
    let run = run(&clock, engine, &workload(), &quickstart(), Vec::new());
    assert_eq!(run.ended, Ok(()));
    assert!(timed(&run).all(|request| request.gaps_us.len() == 15));
    let decode = speed_interval(&run.samples.repetitions, decode_tokens_per_second);
    assert!((decode.expect("six values").median - 500.0).abs() < 1e-6);
}

#[test]
fn events_that_do_not_add_up_void_the_repetition() {
    let clock = Arc::new(VirtualClock::default());
    let engine = plain(&clock).chunking(|tokens| Some(vec![1; tokens as usize - 1]));
    let run = run(&clock, engine, &workload(), &quickstart(), Vec::new());
    let reason = "63 pieces of output do not add up to the 64 tokens that were counted";
    assert_eq!(run.ended, Err(Stopped::failed(Outcome::Crash, reason)));
    assert_eq!(void_reasons(&run), [reason; 3]);
}

#[test]
fn more_events_than_any_output_has_are_counted_and_not_kept() {
    let clock = Arc::new(VirtualClock::default());
    let engine = plain(&clock).chunking(|_| Some(vec![0; 5_000]));
    let run = run(&clock, engine, &workload(), &quickstart(), Vec::new());
    assert!(void_reasons(&run)[0].starts_with("5000 pieces"));
    let request = &run.samples.repetitions[0].requests[0];
    assert_eq!((request.gaps_us.len(), &request.event_tokens), (64, &None));
}

#[test]
fn an_engine_that_times_itself_is_recorded_by_its_own_clock() {
    let clock = Arc::new(VirtualClock::default());
    let engine = plain(&clock).timing_itself(|_| SelfTiming {
        prefill_ns: 10_000_000,
        decode_ns: 100_000_000,
    });
    let workload = behind(256, KvState::WarmPrefix);
    let run = run(&clock, engine, &workload, &quickstart(), Vec::new());
    assert_eq!(run.ended, Ok(()));
    let repetitions = &run.samples.repetitions;
    assert_eq!((repetitions.len(), counted(repetitions).count()), (6, 6));
    for (number, repetition) in (0..).zip(repetitions) {
        assert_eq!(repetition.rep, number);
        assert!(repetition.end_ns > repetition.start_ns);
        let [prefill, decode] = repetition.requests.as_slice() else {
            panic!("two requests of one phase each");
        };
        assert_eq!((prefill.prompt_tokens, prefill.output_tokens), (128, 0));
        assert_eq!((decode.prompt_tokens, decode.output_tokens), (0, 64));
        assert_eq!(prefill.engine_prefill_ns, Some(10_000_000));
        assert_eq!(decode.engine_decode_ns, Some(100_000_000));
        assert_eq!(
            (prefill.first_event_ns, decode.first_event_ns),
            (None, None)
        );
    }
    let decode = speed_interval(repetitions, decode_tokens_per_second).expect("six");
    let prefill = speed_interval(repetitions, prefill_tokens_per_second).expect("six");
    assert!((decode.median - 640.0).abs() < 1e-9 && (prefill.median - 12_800.0).abs() < 1e-9);
    let phases = &run.samples.phases;
    assert_eq!(
        (phases.len(), phases[0].phase, phases[0].rep),
        (1, PhaseKind::MixedLoop, None)
    );
    assert_eq!(
        (
            phases[0].requests,
            phases[0].tokens_in,
            phases[0].tokens_out
        ),
        (12, 768, 384)
    );
}

#[test]
fn a_noisy_engine_that_times_itself_is_called_again_up_to_the_cap() {
    let clock = Arc::new(VirtualClock::default());
    let engine = plain(&clock).timing_itself(|number| SelfTiming {
        prefill_ns: 10_000_000 * u64::from(number % 3 + 1),
        decode_ns: 100_000_000,
    });
    let mut settings = quickstart();
    settings.max = 15;
    let run = run(&clock, engine, &workload(), &settings, Vec::new());
    assert_eq!(run.ended, Ok(()));
    assert_eq!(run.samples.repetitions.len(), 15);
    let calls: Vec<_> = run
        .samples
        .phases
        .iter()
        .map(|phase| phase.requests)
        .collect();
    assert_eq!(calls, [12, 12, 6]);
}

#[test]
fn paging_ends_the_cell_after_two() {
    let root = tempfile::tempdir().expect("a folder");
    let proc = root.path().join("proc/self");
    fs::create_dir_all(&proc).expect("a folder");
    fs::write(root.path().join("proc/vmstat"), "pswpin 0\n").expect("writable");
    let faults = move |count: u32| {
        let stat = format!("1 (x) S 1 2 3 4 5 6 7 8 {count} 10\n");
        fs::write(proc.join("stat"), stat).expect("writable");
    };
    faults(0);
    let clock = Arc::new(VirtualClock::default());
    let (now, mut prefills) = (Arc::clone(&clock), 0);
    let engine = ScriptedEngine::new().works(move |work| {
        now.advance(TOKEN);
        if matches!(work, Work::Prefill(_)) {
            prefills += 1;
            // 300 pages of 4 KiB, once the engine is warm.
            faults(if prefills > 8 { 300 * prefills } else { 0 });
        }
    });
    let run = run_under(
        root.path(),
        &clock,
        engine,
        &workload(),
        &quickstart(),
        Vec::new(),
    );
    assert_eq!(run.ended, Err(Stopped::failed(Outcome::Paging, "paging")));
    let void = void_reasons(&run);
    assert_eq!(void.len(), 2);
    assert!(
        void.iter()
            .all(|reason| reason.ends_with("bytes were paged in")),
        "{void:?}"
    );
}

/// Makes an engine on a clock.
type Make<'a> = &'a dyn Fn(&Arc<VirtualClock>) -> ScriptedEngine;

#[test]
fn what_is_measured_honestly_breaks_no_rule_of_the_collector() {
    let own_clock = |clock: &Arc<VirtualClock>| {
        plain(clock).timing_itself(|_| SelfTiming {
            prefill_ns: 12_000_000,
            decode_ns: 120_000_000,
        })
    };
    let caching: Make = &|clock| plain(clock).caching(|_, held| Some(held));
    let cases: [(WorkloadSpec, Make); 6] = [
        (workload(), &plain),
        (behind(1_000, KvState::Cold), &plain),
        (behind(1_000, KvState::WarmPrefix), caching),
        (behind(0, KvState::ExactHit), caching),
        (streams(4), &|clock| plain(clock).streaming(4)),
        (workload(), &own_clock),
    ];
    for (workload, engine) in cases {
        let clock = Arc::new(VirtualClock::default());
        let run = run(&clock, engine(&clock), &workload, &quickstart(), Vec::new());
        assert_eq!(run.ended, Ok(()));
        let fixture = include_str!("../../../domain/fixtures/record.json");
        let mut record: Record = serde_json::from_str(fixture).expect("a record");
        record.workload = crate::record::workload(&workload, AttributionMethod::Loops);
        record.repetitions = run.samples.repetitions;
        record.phases = run.samples.phases;
        let findings = plausibility::check(&record, &Catalogue::default()).findings;
        let of_measuring = [Rule::Times, Rule::Tokens, Rule::Cold];
        let broken: Vec<_> = findings
            .iter()
            .filter(|finding| of_measuring.contains(&finding.rule))
            .collect();
        assert!(broken.is_empty(), "{workload:?}: {broken:?}");
    }
}

#[test]
fn what_cannot_fit_a_record_is_known_before() {
    let mut settings = RepetitionSettings::default();
    let of = |concurrency, output_tokens| WorkloadSpec {
        concurrency,
        output_tokens,
        ..workload()
    };
    for (concurrency, output_tokens, fits) in [
        (1, 4_096, true),
        (8, 256, true),
        (16, 128, true),
        (64, 128, false),
    ] {
        let bytes = least_bytes(&of(concurrency, output_tokens), &settings);
        assert_eq!(
            bytes <= REPETITIONS_BYTES,
            fits,
            "{concurrency} streams: {bytes}"
        );
    }
    settings.min = 1;
    assert!(least_bytes(&of(64, 128), &settings) <= REPETITIONS_BYTES);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn void_repetitions_never_count(
        short in prop::collection::btree_set(0..60u32, 0..12),
        warm in prop::collection::btree_set(0..60u32, 0..6),
    ) {
        let clock = Arc::new(VirtualClock::default());
        let (lost, held) = (short.clone(), warm.clone());
        let engine = engine(&clock, steady)
            .emitting(move |number, asked| asked - u32::from(lost.contains(&number)))
            .caching(move |number, _| Some(u32::from(held.contains(&number))));
        let run = run(&clock, engine, &workload(), &quickstart(), Vec::new());
        let sound = |request: &Request| {
            request.output_tokens == 64 && request.cached_tokens == Some(0)
        };
        for repetition in &run.samples.repetitions {
            prop_assert_eq!(repetition.void.is_none(), repetition.requests.iter().all(sound));
        }
        let counts = counted(&run.samples.repetitions).count();
        let interval = speed_interval(&run.samples.repetitions, decode_tokens_per_second);
        prop_assert_eq!(interval.map_or(0, |known| known.n as usize), if counts < 6 { 0 } else { counts });
        if run.ended.is_ok() {
            prop_assert!(counts >= 6 || run.samples.repetitions.len() >= 12);
        }
    }
}
