//! A scripted engine of known joules per token, seen through counters of every update period.

use super::*;
use crate::energy::energy_in_span;
use crate::energy::script::{
    Counter, Dice, ENGINE, Engine, Fault, MS, S, Scene, attributed, sampled,
};
use crate::record::Averaging;
use crate::text::Name;

const PERIODS_NS: [u64; 5] = [MS, 20 * MS, 100 * MS, S, 2_200 * MS];

/// Idle, loops in blocks and real requests, each loop at least 10 s and 100 update periods long.
fn whole_cell(period: u64) -> Scene {
    let mut scene = Scene::new(ENGINE);
    scene.idle(PhaseKind::IdleUnloaded, (30 * S).max(20 * period));
    scene.pause(2 * S);
    scene.idle(PhaseKind::IdleLoaded, (10 * S).max(20 * period));
    scene.repetitions(8, 3, (512, 64), 200 * MS);
    let block = (10 * S).max(100 * period) / 6;
    scene.blocks(PhaseKind::PrefillLoop, 6, block, (512, 1));
    scene.pause(300 * MS);
    scene.blocks(PhaseKind::DecodeLoop, 6, block, (16, 128));
    scene.pause(500 * MS);
    scene.idle(PhaseKind::IdleUnloaded, (30 * S).max(20 * period));
    scene
}

#[test]
fn loops_give_the_joules_of_prefill_decode_and_requests() {
    for period in PERIODS_NS {
        let scene = whole_cell(period);
        for seed in 0..5 {
            let record = scene.record(Counter::every(period, seed), AttributionMethod::Loops);
            let energy = attributed(&record);
            let near = |figure: &Result<PhaseJoules, Missing>,
                        exact: f64,
                        of: fn(&PhaseJoules) -> Joules| {
                let figure = figure.as_ref().expect("resolved");
                let off = of(figure).0 / exact - 1.0;
                assert!(off.abs() < 0.01, "{period}: {off} {figure:?}");
                assert!(
                    off.abs() <= figure.repeatability,
                    "{period}: {off} {figure:?}"
                );
                assert!(
                    figure
                        .accuracy
                        .is_some_and(|share| share > 0.05 && share < 0.1)
                );
            };
            near(
                &energy.prefill,
                ENGINE.joules_per_prompt_token(),
                PhaseJoules::per_token,
            );
            near(
                &energy.decode,
                ENGINE.joules_per_output_token(),
                PhaseJoules::per_token,
            );
            let repetition = energy.decode.as_ref().expect("resolved").repetition;
            assert!(
                repetition.is_some_and(|half| half < 0.02),
                "{period}: {repetition:?}"
            );
            let total = energy.total.expect("no fault");
            assert!(total.share.abs() <= 0.005, "{period}: {total:?}");
            let idle = energy.idle_loaded.expect("idle");
            assert!((idle.watts.0 / 22.0 - 1.0).abs() <= idle.error, "{idle:?}");
            assert!(energy.idle_unloaded.is_ok());
            assert!(energy.drift.is_some_and(|drift| drift.abs() < 0.05));
            // A slow meter does not tell a few seconds of requests within 3 %.
            assert_eq!(energy.closure.is_some(), period <= 100 * MS, "{period}");
            if let Some(closure) = energy.closure {
                assert!(closure.holds(), "{period}: {closure:?}");
                // Without the pauses between repetitions.
                let exact = 512.0 * ENGINE.joules_per_prompt_token()
                    + 63.0 * ENGINE.joules_per_output_token();
                near(&energy.request, exact, PhaseJoules::per_request);
            }
        }
    }
}

/// The share below which 95 % of the values lie.
fn p95(values: &[f64]) -> f64 {
    crate::statistics::quantile::quantile(values, 0.95).expect("some")
}

#[test]
fn phase_joules_of_two_hundred_engines_keep_the_promises() {
    for (period, promised) in [(MS, 0.01), (20 * MS, 0.01), (100 * MS, 0.01), (S, 0.02)] {
        let (mut off, mut apart, mut outside) = (Vec::new(), Vec::new(), 0);
        for seed in 0..200 {
            let mut dice = Dice::new(seed);
            let mut drawn = |low: f64, high: f64| low + (high - low) * dice.share();
            let engine = Engine {
                prefill_tok_s: drawn(2_000.0, 8_000.0),
                prefill_watts: drawn(100.0, 300.0),
                decode_tok_s: drawn(20.0, 200.0),
                decode_watts: drawn(60.0, 200.0),
                idle_watts: drawn(5.0, 50.0),
            };
            let mut scene = Scene::new(engine);
            let block = (10 * S).max(100 * period) / 6;
            scene.repetitions(4, 3, (512, 64), 200 * MS);
            scene.blocks(PhaseKind::PrefillLoop, 6, block, (512, 1));
            scene.pause(300 * MS);
            scene.blocks(PhaseKind::DecodeLoop, 6, block, (8, 256));
            let record = scene.record(Counter::every(period, seed), AttributionMethod::Loops);
            let energy = attributed(&record);
            apart.push(energy.total.expect("no fault").share.abs());
            for (figure, exact) in [
                (energy.prefill, engine.joules_per_prompt_token()),
                (energy.decode, engine.joules_per_output_token()),
            ] {
                let figure = figure.expect("resolved");
                let share = (figure.per_token().0 / exact - 1.0).abs();
                off.push(share);
                outside += usize::from(share > figure.repeatability);
            }
        }
        println!(
            "{period} off {:.5} apart {:.5} outside {outside}",
            p95(&off),
            p95(&apart)
        );
        assert!(p95(&off) <= promised, "{period}: {}", p95(&off));
        assert!(p95(&apart) <= 0.005, "{period}: {}", p95(&apart));
        assert!(
            outside <= 20,
            "{period}: {outside} of 400 outside of the interval"
        );
    }
}

#[test]
fn real_requests_that_take_more_than_their_parts_do_not_close() {
    let mut scene = whole_cell(20 * MS);
    for phase in &mut scene.phases {
        if phase.phase == PhaseKind::MixedLoop {
            // As if a twentieth of the tokens had not been counted.
            phase.tokens_in -= phase.tokens_in / 20;
            phase.tokens_out -= phase.tokens_out / 20;
        }
    }
    let record = scene.record(Counter::every(20 * MS, 2), AttributionMethod::Loops);
    let closure = attributed(&record).closure.expect("all three");
    assert!(!closure.holds() && closure.ratio > 1.04, "{closure:?}");
}

#[test]
fn an_engine_that_only_times_itself_has_no_joules_of_a_request() {
    let mut scene = whole_cell(20 * MS);
    for request in scene
        .repetitions
        .iter_mut()
        .flat_map(|rep| &mut rep.requests)
    {
        request.first_event_ns = None;
        request.gaps_us.clear();
    }
    let energy = attributed(&scene.record(Counter::every(20 * MS, 2), AttributionMethod::Loops));
    assert!(energy.request.is_err() && energy.closure.is_none());
    assert!(energy.prefill.is_ok() && energy.decode.is_ok());
}

#[test]
fn real_requests_are_split_at_the_first_token_where_the_meter_resolves_it() {
    let mut scene = Scene::new(ENGINE);
    scene.repetitions(6, 4, (512, 64), 50 * MS);
    let energy = attributed(&scene.record(Counter::every(MS, 3), AttributionMethod::Direct));
    for (figure, exact) in [
        (energy.prefill, ENGINE.joules_per_prompt_token()),
        (energy.decode, ENGINE.joules_per_output_token()),
    ] {
        let figure = figure.expect("resolved");
        let off = figure.per_token().0 / exact - 1.0;
        assert!(
            off.abs() < 0.01 && off.abs() <= figure.repeatability,
            "{off} {figure:?}"
        );
    }
    // 256 ms of prefill are 12 ticks of 20 ms.
    let energy = attributed(&scene.record(Counter::every(20 * MS, 3), AttributionMethod::Direct));
    let missing = energy.prefill.expect_err("too short");
    assert_eq!(missing.words, "below meter resolution (12 of 50 ticks)");
    assert_eq!(missing.reason, Some(UnavailableReason::BelowResolution));
    assert!(energy.decode.is_ok());
    // Requests of two streams run at once.
    scene.repetitions[0].requests[1].sent_ns -= MS;
    let energy = attributed(&scene.record(Counter::every(MS, 3), AttributionMethod::Direct));
    assert!(energy.prefill.is_ok());
    let missing = {
        scene.repetitions[0].requests[1].sent_ns -= 100 * MS;
        scene.repetitions[0].requests[1].first_event_ns =
            scene.repetitions[0].requests[0].first_event_ns;
        attributed(&scene.record(Counter::every(MS, 3), AttributionMethod::Direct)).decode
    };
    assert!(missing.is_err_and(|missing| missing.words.contains("overlap")));
}

#[test]
fn requests_of_varied_length_give_joules_by_regression() {
    let mut scene = Scene::new(ENGINE);
    let mut dice = Dice::new(5);
    for _ in 0..40 {
        let lengths = (dice.between(64, 4_000) as u32, dice.between(20, 300) as u32);
        scene.repetitions(1, 1, lengths, 100 * MS);
    }
    for repetition in &mut scene.repetitions {
        repetition.void = Some(Name::cleaned("its output length cannot be forced"));
    }
    let energy =
        attributed(&scene.record(Counter::every(20 * MS, 4), AttributionMethod::Regression));
    for (figure, exact) in [
        (energy.prefill, ENGINE.joules_per_prompt_token()),
        (energy.decode, ENGINE.joules_per_output_token()),
    ] {
        let figure = figure.expect("resolved");
        let off = figure.per_token().0 / exact - 1.0;
        assert!(off.abs() < 0.03, "{off} {figure:?}");
    }
    scene.repetitions.truncate(29);
    let energy =
        attributed(&scene.record(Counter::every(20 * MS, 4), AttributionMethod::Regression));
    assert!(
        energy
            .decode
            .is_err_and(|missing| missing.words.contains("30 requests"))
    );
    let mut alike = Scene::new(ENGINE);
    alike.repetitions(40, 1, (512, 64), 100 * MS);
    let energy =
        attributed(&alike.record(Counter::every(20 * MS, 4), AttributionMethod::Regression));
    assert!(
        energy
            .prefill
            .is_err_and(|missing| missing.words.contains("varied"))
    );
}

#[test]
fn a_decode_loop_of_long_prompts_and_a_cell_without_loops_have_no_joules_per_token() {
    let mut scene = Scene::new(ENGINE);
    scene.blocks(PhaseKind::PrefillLoop, 6, 2 * S, (512, 1));
    scene.blocks(PhaseKind::DecodeLoop, 6, 2 * S, (512, 64));
    let energy = attributed(&scene.record(Counter::every(MS, 3), AttributionMethod::Loops));
    assert!(
        energy
            .decode
            .is_err_and(|missing| missing.words.contains("more than 10 %"))
    );
    assert!(energy.prefill.is_ok());
    let mut bare = Scene::new(ENGINE);
    bare.repetitions(4, 4, (512, 64), 0);
    let energy = attributed(&bare.record(Counter::every(MS, 3), AttributionMethod::Loops));
    let words = |figure: Result<PhaseJoules, Missing>| figure.expect_err("no loop").words;
    assert_eq!(words(energy.prefill), "no prefill loop was run");
    assert_eq!(words(energy.decode), "no decode loop was run");
    assert!(energy.request.is_ok() && energy.closure.is_none());
    assert!(energy.idle_loaded.is_err() && energy.drift.is_none());
}

#[test]
fn a_short_loop_is_below_the_meters_resolution() {
    let mut scene = Scene::new(ENGINE);
    scene.pause(20 * S);
    scene.blocks(PhaseKind::PrefillLoop, 1, 6 * S, (512, 1));
    scene.pause(20 * S);
    let energy = attributed(&scene.record(Counter::every(S, 3), AttributionMethod::Loops));
    let words = energy.prefill.expect_err("six ticks").words;
    assert_eq!(words, "below meter resolution (6 of 10 ticks)");
}

#[test]
fn one_block_says_nothing_of_repetition() {
    let mut scene = Scene::new(ENGINE);
    scene.blocks(PhaseKind::PrefillLoop, 1, 10 * S, (512, 1));
    // Each of these blocks is too short for the meter: they are pooled.
    scene.blocks(PhaseKind::DecodeLoop, 40, S, (4, 24));
    let energy = attributed(&scene.record(Counter::every(200 * MS, 3), AttributionMethod::Loops));
    let prefill = energy.prefill.expect("resolved");
    assert_eq!(prefill.repetition, None);
    assert!(prefill.repeatability > 0.0);
    assert!(energy.decode.expect("resolved").repetition.is_some());
}

#[test]
fn any_fault_spoils_the_spans_that_it_touches() {
    let mut scene = Scene::new(ENGINE);
    scene.blocks(PhaseKind::PrefillLoop, 1, 30 * S, (512, 1));
    scene.pause(10 * S);
    scene.blocks(PhaseKind::DecodeLoop, 1, 30 * S, (16, 128));
    let spans: Vec<(u64, u64)> = scene
        .phases
        .iter()
        .map(|p| (p.start_ns, p.end_ns))
        .collect();
    let middle = spans[1].0.midpoint(spans[1].1);
    for period in [MS, 20 * MS, 100 * MS, S] {
        for (fault, expected) in [
            (Fault::Freeze(middle), UnavailableReason::Stale),
            (Fault::Reset(middle), UnavailableReason::Reset),
            (
                Fault::Negative(middle, 200_000_000),
                UnavailableReason::Reset,
            ),
        ] {
            let counter = Counter {
                fault,
                ..Counter::every(period, 3)
            };
            let record = scene.record(counter, AttributionMethod::Loops);
            let energy = attributed(&record);
            assert!(energy.prefill.is_ok(), "{period} {fault:?}");
            let missing = energy.decode.expect_err("spoiled");
            assert_eq!(missing.reason, Some(expected), "{period} {fault:?}");
            assert!(energy.total.is_none(), "{period} {fault:?}");
        }
        // Nothing is read over an edge: it is known too loosely, and no number stands in for it.
        let counter = Counter {
            fault: Fault::Outage(spans[1].0 - 5 * S, spans[1].0 + 15 * S),
            ..Counter::every(period, 3)
        };
        let energy = attributed(&scene.record(counter, AttributionMethod::Loops));
        assert!(energy.prefill.is_ok());
        let missing = energy.decode.expect_err("an edge is missing");
        assert_eq!(missing.reason, Some(UnavailableReason::BelowResolution));
    }
    // Power that was not sampled for four seconds is a hole, never power times time.
    let mut hole = sampled(&scene.power, 100 * MS, Averaging::Instant, 0);
    let keep: Vec<bool> = hole
        .t_ns
        .iter()
        .map(|t| !(middle..middle + 4 * S).contains(t))
        .collect();
    for values in [&mut hole.t_ns, &mut hole.latency_ns, &mut hole.v] {
        let mut keep = keep.iter();
        values.retain(|_| *keep.next().expect("as long"));
    }
    assert_eq!(
        energy_in_span(&hole, spans[1].0, spans[1].1),
        Err(UnavailableReason::Gap)
    );
    assert!(energy_in_span(&hole, spans[0].0, spans[0].1).is_ok());
}
