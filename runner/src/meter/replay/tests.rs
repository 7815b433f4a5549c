//! What recorded traces come to.

use std::path::Path;

use super::file::tests::{header, info};
use super::*;

/// A trace in which each meter reads what `values` says, every 100 ms.
fn recording(meters: &[(MeterKind, &dyn Fn(u64) -> u64)], readings: u64) -> Recording {
    let infos: Vec<_> = meters.iter().map(|(kind, _)| info("p", *kind)).collect();
    let meters = MeterFacts::of(&infos)
        .into_iter()
        .zip(meters)
        .map(|(facts, (_, value))| {
            let mut trace = facts.trace(0);
            for n in 0..readings {
                trace.t_ns.push(n * 100_000_000);
                trace.latency_ns.push(0);
                trace.v.push(value(n));
            }
            RecordedMeter {
                facts,
                trace,
                failures: Vec::new(),
            }
        })
        .collect();
    Recording {
        header: header(),
        meters,
        marks: Vec::new(),
        torn: None,
    }
}

#[test]
fn a_counter_and_the_power_of_one_device_are_checked_and_never_added() {
    let counter = |n: u64| n * 5_000_000;
    // A power that never changes would be stale.
    let power = |n: u64| 50_000_000 + n % 2;
    let trace = recording(
        &[(MeterKind::Counter, &counter), (MeterKind::Power, &power)],
        101,
    );
    let replay = Replay::of(&trace, None, None);
    for meter in &replay.meters {
        let energy = meter.energy.as_ref().expect("measured");
        let allowed = energy.error.0 + 0.001;
        assert!((energy.joules.0 - 500.0).abs() <= allowed, "{energy:?}");
        let watts = meter.mean_watts().expect("measured").0;
        assert!((watts - 50.0).abs() <= allowed / 10.0, "{watts}");
        assert_eq!(meter.seen_update_ns, Some(100_000_000));
        assert!(meter.faults.is_empty());
    }
    let [key] = replay.keys.as_slice() else {
        panic!("one key: {:?}", replay.keys);
    };
    assert!(key.is_headline);
    assert_eq!(key.meters, ["scripted p counter"]);
    let energy = key.energy.expect("measured");
    let off = (energy.joules.0 - 500.0).abs();
    assert!(off <= energy.error.0 + 0.001, "{energy:?}");
    let [check] = replay.checks.as_slice() else {
        panic!("one pair: {:?}", replay.checks);
    };
    assert_eq!(check.verdict(), "agree");
    assert!(replay.gives_joules());
}

#[test]
fn readers_that_contradict_each_other_are_told() {
    let verdict = |watts: u64| {
        let counter = |n: u64| n * 5_000_000;
        let power = move |n: u64| watts * 1_000_000 + n % 2;
        let trace = recording(
            &[(MeterKind::Counter, &counter), (MeterKind::Power, &power)],
            101,
        );
        Replay::of(&trace, None, None).checks[0].verdict()
    };
    assert_eq!(verdict(50), "agree");
    assert_eq!(verdict(45), "differ: warned of");
    assert!(verdict(20).starts_with("contradict"));
}

#[test]
fn a_reset_spoils_the_spans_that_it_touches_and_no_other() {
    let counter = |n: u64| {
        if n < 200 {
            7_000_000_000 + n * 1_000_000
        } else {
            (n - 200) * 1_000_000
        }
    };
    let trace = recording(&[(MeterKind::Counter, &counter)], 401);
    let whole = Replay::of(&trace, None, None);
    assert_eq!(
        whole.meters[0].energy.as_ref().err(),
        Some(&UnavailableReason::Reset)
    );
    assert!(!whole.gives_joules());
    let [fault] = whole.meters[0].faults.as_slice() else {
        panic!("one fault: {:?}", whole.meters[0].faults);
    };
    assert_eq!(fault.reason, UnavailableReason::Reset);
    assert!(fault.from_ns <= 19_900_000_000 && fault.to_ns >= 20_000_000_000);
    let before = Replay::of(&trace, None, Some(15_000_000_000));
    let energy = before.meters[0].energy.expect("measured");
    let off = (energy.joules.0 - 150.0).abs();
    assert!(off <= energy.error.0 + 0.001, "{energy:?}");
    assert!(before.meters[0].faults.is_empty());
}

#[test]
fn what_was_not_read_gives_nothing() {
    let counter = |n: u64| n;
    for readings in [0, 1] {
        let trace = recording(&[(MeterKind::Counter, &counter)], readings);
        let replay = Replay::of(&trace, None, None);
        assert!(!replay.gives_joules());
        assert!(replay.keys.iter().all(|key| key.energy.is_err()));
        assert_eq!(replay.meters[0].mean_watts().map(|watts| watts.0), None);
        assert_eq!(replay.meters[0].seen_update_ns, None);
    }
}

#[test]
fn the_traces_that_ship_say_what_their_names_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/traces");
    let replay = |name: &str| {
        let recording = Recording::read(&folder.join(name)).expect("it ships");
        Replay::of(&recording, None, None)
    };
    let good = replay("counter.jsonl");
    let joules = good.keys[0].energy.expect("measured").joules.0;
    assert!((joules - 120.0).abs() < 0.5, "6 s at 20 W: {joules}");
    assert!(good.keys[0].is_headline);
    let reset = replay("reset.jsonl");
    assert_eq!(
        reset.meters[0].energy.as_ref().err(),
        Some(&UnavailableReason::Reset)
    );
}
