//! What is run for joules, with scripted meters on a virtual clock.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::record::Phase;
use domain::scope::Scope;
use domain::text::Name;

use super::super::tests::{
    NEEDS, Run, behind, engine, plain, quickstart, run, streams, void_reasons, workload,
};
use super::super::unforced::UNFORCED;
use super::super::{Sampler, counted, time_workload};
use super::*;
use crate::clock::{Clock, VirtualClock};
use crate::context::ContextReader;
use crate::engine::Engine;
use crate::engine::scripted::ScriptedEngine;
use crate::meter::scripted::ScriptedMeter;
use crate::meter::{Meter, MeterInfo, ReadError, Reading};

/// A scripted meter that says that it updates so often.
#[derive(Debug)]
struct Every(MeterInfo, ScriptedMeter);

impl Meter for Every {
    fn info(&self) -> &MeterInfo {
        &self.0
    }

    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError> {
        self.1.read(clock)
    }
}

fn every(update: Duration) -> Vec<Box<dyn Meter>> {
    let meter = ScriptedMeter::steady(Scope::CpuPkg, 20);
    let info = MeterInfo {
        update_ns: Some(update.as_nanos() as u64),
        ..meter.info().clone()
    };
    vec![Box::new(Every(info, meter))]
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Blocks of a loop, those of the brief one of short prompts left out.
fn of_kind(run: &Run, kind: PhaseKind) -> Vec<&Phase> {
    let phases = run.samples.phases.iter();
    phases
        .filter(|phase| phase.phase == kind && !is_short(phase))
        .collect()
}

fn is_short(phase: &Phase) -> bool {
    let prompts = u64::from(phase.requests) * u64::from(LOOP_PROMPT_TOKENS);
    phase.phase == PhaseKind::PrefillLoop && phase.tokens_in <= prompts
}

fn lasted(phases: &[&Phase]) -> f64 {
    let ns: u64 = phases.iter().map(|one| one.end_ns - one.start_ns).sum();
    ns as f64 / 1e9
}

fn steady(_: u64) -> Duration {
    millis(2)
}

#[test]
fn loops_follow_the_repetitions_in_blocks_that_tile() {
    let clock = Arc::new(VirtualClock::default());
    for (update_ms, least_seconds) in [(1, 3.0), (100, 10.0), (1_000, 100.0)] {
        let (engine, meters) = (engine(&clock, steady), every(millis(update_ms)));
        let run = run(&clock, engine, &workload(), &quickstart(), meters);
        assert_eq!(run.ended, Ok(()));
        assert_eq!(run.samples.method, Some(AttributionMethod::Loops));
        let mut kinds: Vec<_> = run.samples.phases.iter().map(|one| one.phase).collect();
        kinds.dedup();
        let in_order = [
            PhaseKind::Warmup,
            PhaseKind::MixedLoop,
            PhaseKind::PrefillLoop,
            PhaseKind::DecodeLoop,
            PhaseKind::PrefillLoop,
        ];
        assert_eq!(kinds, in_order);
        let short: Vec<_> = run
            .samples
            .phases
            .iter()
            .filter(|one| is_short(one))
            .collect();
        assert!(!short.is_empty() && lasted(&short) < least_seconds / 2.0);
        assert!(
            short
                .iter()
                .all(|one| one.tokens_out == u64::from(one.requests))
        );
        for kind in [PhaseKind::PrefillLoop, PhaseKind::DecodeLoop] {
            let blocks = of_kind(&run, kind);
            assert_eq!(blocks.len(), 6, "a steady engine needs no more");
            for (number, block) in (0..).zip(&blocks) {
                assert_eq!(block.rep, Some(number));
                assert!(lasted(&[*block]) >= least_seconds / 6.0);
            }
            let tiles = |pair: &[&Phase]| pair[0].end_ns == pair[1].start_ns;
            assert!(blocks.windows(2).all(tiles), "no pause between blocks");
            assert!(lasted(&blocks) >= least_seconds, "{update_ms} ms");
            let most_seconds = least_seconds + 6.0 * 0.4;
            assert!(lasted(&blocks) < most_seconds, "but for whole requests");
        }
        for block in of_kind(&run, PhaseKind::PrefillLoop) {
            let requests = u64::from(block.requests);
            assert_eq!(
                (block.tokens_in, block.tokens_out),
                (128 * requests, requests)
            );
        }
        for block in of_kind(&run, PhaseKind::DecodeLoop) {
            let requests = u64::from(block.requests);
            let counts = (block.tokens_in, block.tokens_out);
            assert_eq!(
                counts,
                (2 * requests, 190 * requests),
                "192 tokens of context"
            );
        }
    }
}

#[test]
fn requests_that_the_meter_resolves_need_no_loops() {
    let clock = Arc::new(VirtualClock::default());
    for (prefill_ms, method) in [
        (60, AttributionMethod::Direct),
        (40, AttributionMethod::Loops),
    ] {
        let ticking = Arc::clone(&clock);
        let engine = ScriptedEngine::new().works(move |work| {
            use crate::engine::scripted::Work;
            ticking.advance(match work {
                Work::Prefill(_) => millis(prefill_ms),
                Work::Load | Work::Token => millis(2),
            });
        });
        let run = run(&clock, engine, &workload(), &quickstart(), every(millis(1)));
        assert_eq!(run.samples.method, Some(method));
        let has_loops = !of_kind(&run, PhaseKind::DecodeLoop).is_empty();
        assert_eq!(has_loops, method == AttributionMethod::Loops);
        if method == AttributionMethod::Direct {
            let read = &run.sampled.traces[0].t_ns;
            for request in counted(&run.samples.repetitions).flat_map(|one| &one.requests) {
                let first_ns = request.first_event_ns.expect("has one");
                assert!(read.contains(&first_ns), "the meter is read at the split");
            }
        }
    }
    let second = Duration::from_secs(1);
    assert!(is_direct(50.0, 60.0, 1, second) && !is_direct(49.0, 60.0, 1, second));
    assert!(!is_direct(60.0, 60.0, 2, second), "streams overlap");
    assert!(
        !is_direct(60.0, 60.0, 1, Duration::ZERO),
        "the period is not known"
    );
}

#[test]
fn an_uneven_pace_takes_more_blocks() {
    let clock = Arc::new(VirtualClock::default());
    let uneven = |n: u64| millis(2 + n / 250 % 3);
    let (engine, meters) = (engine(&clock, uneven), every(millis(1)));
    let run = run(&clock, engine, &workload(), &quickstart(), meters);
    let blocks = of_kind(&run, PhaseKind::DecodeLoop).len();
    assert!((7..=12).contains(&blocks), "{blocks}");
}

#[test]
fn without_a_meter_nothing_is_run_for_joules() {
    let clock = Arc::new(VirtualClock::default());
    let engine = engine(&clock, steady);
    let run = run(&clock, engine, &workload(), &quickstart(), Vec::new());
    let only = [PhaseKind::Warmup, PhaseKind::MixedLoop];
    assert!(
        run.samples
            .phases
            .iter()
            .all(|one| only.contains(&one.phase))
    );
}

#[test]
fn a_loop_behind_a_context_loads_it_once_and_outside() {
    for kv_state in [KvState::Cold, KvState::WarmPrefix] {
        let clock = Arc::new(VirtualClock::default());
        let engine = plain(&clock).caching(|_, held| Some(held));
        let workload = behind(1_000, kv_state);
        let run = run(&clock, engine, &workload, &quickstart(), every(millis(20)));
        assert_eq!(run.ended, Ok(()));
        assert!(void_reasons(&run).is_empty(), "{:?}", void_reasons(&run));
        let decode = of_kind(&run, PhaseKind::DecodeLoop);
        assert!(decode.len() >= 6, "{kv_state:?}");
        for block in decode {
            let requests = u64::from(block.requests);
            assert!(
                block.tokens_in <= 2 * requests,
                "the context is there: {block:?}"
            );
            assert_eq!(block.tokens_out, 190 * requests);
        }
        let fresh = if kv_state == KvState::Cold {
            1_128
        } else {
            128
        };
        for block in of_kind(&run, PhaseKind::PrefillLoop) {
            let each = block.tokens_in / u64::from(block.requests);
            assert!(
                (fresh - 2..=fresh).contains(&each),
                "{each} at {kv_state:?}"
            );
        }
    }
}

#[test]
fn what_cannot_be_looped_is_left_out() {
    let kinds = |run: &Run| {
        let has = |kind| !of_kind(run, kind).is_empty();
        (has(PhaseKind::PrefillLoop), has(PhaseKind::DecodeLoop))
    };
    let slow = || every(millis(100));
    let clock = Arc::new(VirtualClock::default());
    let cold = behind(1_000, KvState::Cold);
    let no_cache = run(&clock, plain(&clock), &cold, &quickstart(), slow());
    assert_eq!(kinds(&no_cache), (true, false));
    let hit = behind(0, KvState::ExactHit);
    let engine = plain(&clock).caching(|_, held| Some(held));
    assert_eq!(
        kinds(&run(&clock, engine, &hit, &quickstart(), slow())),
        (false, false)
    );
    let crash = |number| {
        (number > 100).then(|| EngineError::Crashed {
            reason: "scripted".to_owned(),
        })
    };
    let engine = plain(&clock).failing_requests(crash);
    let failed = run(&clock, engine, &workload(), &quickstart(), slow());
    assert_eq!(failed.ended, Ok(()), "what was timed before stands");
}

#[test]
fn the_loops_keep_every_stream_busy() {
    let clock = Arc::new(VirtualClock::default());
    let mut settings = quickstart();
    settings.concurrency_seconds = 2.0;
    let engine = plain(&clock).streaming(2);
    let run = run(&clock, engine, &streams(2), &settings, every(millis(1)));
    assert_eq!(run.ended, Ok(()));
    for kind in [PhaseKind::PrefillLoop, PhaseKind::DecodeLoop] {
        let blocks = of_kind(&run, kind);
        assert!(lasted(&blocks) >= 3.0 && blocks.iter().all(|block| block.requests >= 2));
    }
}

#[test]
fn an_engine_that_cannot_be_forced_is_asked_requests_of_varied_length() {
    let clock = Arc::new(VirtualClock::default());
    let short = || {
        plain(&clock)
            .unforced()
            .emitting(|n, asked| asked - asked.min(n % 3 + 1) / 2 - 1)
    };
    let fitted = run(
        &clock,
        short(),
        &workload(),
        &quickstart(),
        every(millis(1)),
    );
    assert_eq!(fitted.ended, Ok(()));
    assert_eq!(fitted.samples.method, Some(AttributionMethod::Regression));
    let repetitions = &fitted.samples.repetitions;
    let varied: Vec<_> = repetitions.iter().filter(|one| !one.warmup).collect();
    assert!(varied.len() >= 30);
    for one in &varied {
        assert_eq!(one.void.as_ref().map(Name::as_str), Some(UNFORCED));
    }
    let mut lengths: Vec<_> = varied
        .iter()
        .map(|one| (one.requests[0].prompt_tokens, one.requests[0].output_tokens))
        .collect();
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() >= 12, "{lengths:?}");
    assert_eq!(of_kind(&fitted, PhaseKind::MixedLoop).len(), varied.len());
    assert!(of_kind(&fitted, PhaseKind::DecodeLoop).is_empty());

    let unmetered = run(&clock, short(), &workload(), &quickstart(), Vec::new());
    let class = "its output length cannot be forced";
    let refused = Err(Stopped::failed(Outcome::Unsupported, class));
    assert_eq!(unmetered.ended, refused);
    let obeying = plain(&clock).unforced();
    let run = run(
        &clock,
        obeying,
        &workload(),
        &quickstart(),
        every(millis(20)),
    );
    assert_eq!(run.samples.method, Some(AttributionMethod::Loops));
}

/// Runs `work` until the first progress of `kind`, after which a stop is asked for.
fn stopped_at(
    kind: PhaseKind,
    clock: &Arc<VirtualClock>,
    work: impl FnOnce(&mut Bench, &mut Samples) -> Result<(), Stopped>,
) -> (Result<(), Stopped>, u64) {
    let mut engine = plain(clock);
    engine.load(Path::new("any.gguf"), NEEDS).expect("loads");
    let sampler = Sampler::on_virtual_clock(every(millis(100)), clock);
    let folder = tempfile::tempdir().expect("a folder");
    let context = ContextReader::new(folder.path(), 2);
    let stop = AtomicBool::new(false);
    let mut asked_ns = 0;
    let mut on_progress = |progress: Progress| {
        if progress.phase == kind && !stop.swap(true, Ordering::Relaxed) {
            asked_ns = clock.now_ns();
        }
    };
    let mut bench = Bench {
        engine: &mut engine,
        sampler: &sampler,
        meters: Covering {
            traces: vec![0],
            far_update_ns: None,
        },
        clock: clock.as_ref(),
        context: &context,
        stop: &stop,
        on_progress: &mut on_progress,
    };
    let mut samples = Samples::begin(clock.as_ref());
    sampler.start(samples.zero_ns);
    let ended = work(&mut bench, &mut samples);
    (ended, clock.now_ns() - asked_ns)
}

#[test]
fn a_stop_is_heeded_while_idle_and_within_a_loop() {
    let clock = Arc::new(VirtualClock::default());
    let kind = PhaseKind::IdleLoaded;
    let idle = |bench: &mut Bench, samples: &mut Samples| bench.idle(samples, kind, 30.0);
    let (ended, took_ns) = stopped_at(kind, &clock, idle);
    assert_eq!(ended, Err(Stopped::Interrupted));
    assert!(took_ns < 1_000_000_000, "{took_ns}");
    for kind in [PhaseKind::PrefillLoop, PhaseKind::DecodeLoop] {
        let (asked, settings) = (workload(), quickstart());
        let (ended, took_ns) = stopped_at(kind, &clock, |bench, samples| {
            let timing = Timing {
                workload: &asked,
                settings: &settings,
                sweep: domain::ids::Sha256Digest([4; 32]),
            };
            time_workload(bench, timing, samples)
        });
        assert_eq!(ended, Err(Stopped::Interrupted));
        assert!(took_ns < 1_000_000_000, "{took_ns}");
    }
}

#[test]
fn slow_meters_stretch_idle_and_loops_within_bounds() {
    let settings = quickstart();
    let seconds = Duration::from_secs;
    assert_eq!(idle_seconds(0.0, seconds(1)), None);
    for (update, idle, whole_loop) in [
        (Duration::ZERO, 10.0, 3.0),
        (millis(100), 10.0, 10.0),
        (seconds(1), 20.0, 100.0),
        (seconds(30), 120.0, 600.0),
    ] {
        let (found, of_loop) = (idle_seconds(10.0, update), loop_seconds(&settings, update));
        assert!(
            found.is_some_and(|found| (found - idle).abs() < 1e-9),
            "{found:?}"
        );
        assert!((of_loop - whole_loop).abs() < 1e-9, "{of_loop}");
    }
}
