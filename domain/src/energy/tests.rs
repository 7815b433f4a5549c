//! Scripted meters on a virtual clock: the truth is known, the curve must bound it.

use proptest::prelude::*;

use super::*;
use crate::record::{Averaging, MeterKind, MeterTrace, UnavailableReason, UpdateBasis};
use crate::scope::Scope;
use crate::text::Name;

const MS: u64 = 1_000_000;

fn trace(
    kind: MeterKind,
    update_ns: u64,
    wrap_uj: Option<u64>,
    readings: &[(u64, u64)],
) -> MeterTrace {
    MeterTrace {
        meter: Name::cleaned("scripted"),
        host: 0,
        device: Name::cleaned("package-0"),
        scope: Scope::CpuPkg,
        used: true,
        kind,
        averaging: if kind == MeterKind::Counter {
            Averaging::Unknown
        } else {
            Averaging::Instant
        },
        window_ns: None,
        update_ns: Some(update_ns),
        update_basis: UpdateBasis::Assumed,
        wrap_uj,
        sensor_ppm: None,
        origin: Name::cleaned("script"),
        clock_error_ns: None,
        t_ns: readings.iter().map(|r| r.0).collect(),
        latency_ns: readings.iter().map(|_| 1_000).collect(),
        source_t_ns: None,
        v: readings.iter().map(|r| r.1).collect(),
    }
}

/// True joules at a moment for a power that steps through `watts` every 100 ms, repeating.
fn truth(watts: &[u16], at_ns: u64) -> f64 {
    let step = 100 * MS;
    let whole = at_ns / step;
    let power = |i: u64| f64::from(watts[(i % watts.len() as u64) as usize]);
    let done: f64 = (0..whole).map(|i| power(i) * 0.1).sum();
    done + power(whole) * (at_ns % step) as f64 / 1e9
}

/// A counter that updates every `period` and is polled every `poll`.
fn counter(watts: &[u16], period: u64, poll: u64, wrap: u64, offset: u64, end: u64) -> MeterTrace {
    let readings: Vec<_> = (0..=end / poll)
        .map(|i| {
            let seen = (i * poll) / period * period;
            (
                i * poll,
                (offset + (truth(watts, seen) * 1e6) as u64) % wrap,
            )
        })
        .collect();
    trace(MeterKind::Counter, period, Some(wrap), &readings)
}

fn watts() -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(5u16..300, 1..8)
}

proptest! {
    #[test]
    fn the_truth_lies_within_the_stated_error(
        watts in watts(),
        period_ms in prop::sample::select(vec![1u64, 10, 100]),
        poll_ms in prop::sample::select(vec![2u64, 7, 50]),
        offset in 0u64..65_000_000_000,
        start_ms in 200u64..3_000,
        length_ms in 2_000u64..6_000,
    ) {
        let meter = counter(&watts, period_ms * MS, poll_ms * MS, 65_532_610_987, offset, 10_000 * MS);
        let (start, end) = (start_ms * MS, (start_ms + length_ms) * MS);
        let energy = energy_in_span(&meter, start, end).expect("no fault");
        let exact = truth(&watts, end) - truth(&watts, start);
        // A reading may show an update as old as one period, first seen one poll later.
        let lag = 300.0 * (period_ms + poll_ms) as f64 / 1e3;
        prop_assert!(energy.joules.0 >= 0.0);
        prop_assert!((energy.joules.0 - exact).abs() <= energy.error.0 + lag, "{energy:?}, exact {exact}");
    }

    #[test]
    fn phases_and_gaps_make_the_total(watts in watts(), cut_ms in 2_000u64..5_000) {
        let meter = counter(&watts, MS, 20 * MS, 1 << 40, 0, 8_000 * MS);
        let joules = |a: u64, b: u64| energy_in_span(&meter, a * MS, b * MS).expect("no fault").joules.0;
        prop_assert!((joules(500, cut_ms) + joules(cut_ms, 7_500) - joules(500, 7_500)).abs() < 1e-6);
    }

    #[test]
    fn any_readings_give_joules_that_are_not_negative_or_a_reason(
        readings in prop::collection::vec((any::<u32>(), any::<u64>()), 0..40),
        start in any::<u32>(),
        end in any::<u32>(),
        update in any::<u64>(),
        wrap in prop::option::of(any::<u64>()),
        counter in any::<bool>(),
    ) {
        let mut readings: Vec<_> = readings.into_iter().map(|(t, v)| (u64::from(t), v)).collect();
        readings.sort_unstable();
        let kind = if counter { MeterKind::Counter } else { MeterKind::Power };
        let meter = trace(kind, update, wrap, &readings);
        if let Ok(energy) = energy_in_span(&meter, u64::from(start), u64::from(end)) {
            prop_assert!(energy.joules.0.is_finite() && energy.joules.0 >= 0.0 && energy.error.0 >= 0.0);
        }
    }

    #[test]
    fn power_is_integrated_between_its_samples(watts in watts(), start_ms in 100u64..2_000) {
        let readings: Vec<_> = (0..600u64)
            .map(|i| (i * 10 * MS, u64::from(watts[(i / 10) as usize % watts.len()]) * 1_000_000 + i % 2))
            .collect();
        let meter = trace(MeterKind::Power, 10 * MS, None, &readings);
        let (start, end) = (start_ms * MS, (start_ms + 3_000) * MS);
        let exact = truth(&watts, end) - truth(&watts, start);
        match energy_in_span(&meter, start, end) {
            Ok(energy) => prop_assert!((energy.joules.0 - exact).abs() < 300.0 * 0.01 * 31.0),
            Err(reason) => prop_assert_eq!(reason, UnavailableReason::BelowResolution),
        }
    }
}

fn steady(kind: MeterKind, change: impl Fn(usize, u64) -> u64) -> MeterTrace {
    let readings: Vec<_> = (0..200usize)
        .map(|i| (i as u64 * 50 * MS, change(i, i as u64 * 2_000_000)))
        .collect();
    trace(kind, 10 * MS, Some(262_143_328_850), &readings)
}

fn reason(meter: &MeterTrace) -> UnavailableReason {
    energy_in_span(meter, 1_010 * MS, 8_010 * MS).expect_err("spoiled")
}

#[test]
fn a_steady_counter_is_a_straight_line() {
    // 2 J every 50 ms are 40 W.
    let energy = energy_in_span(
        &steady(MeterKind::Counter, |_, v| v),
        1_010 * MS,
        8_010 * MS,
    )
    .expect("no fault");
    assert!((energy.joules.0 - 280.0).abs() < 1e-9, "{energy:?}");
    assert_eq!(energy.ticks, 700);
}

#[test]
fn a_wrap_is_undone_and_a_reset_is_not_taken_for_one() {
    let range = 262_143_328_850;
    let wrapped = steady(MeterKind::Counter, |_, v| (range - 100_000_000 + v) % range);
    let energy = energy_in_span(&wrapped, 1_010 * MS, 8_010 * MS).expect("a wrap is no fault");
    assert!((energy.joules.0 - 280.0).abs() < 1e-3, "{energy:?}");
    let reset = steady(MeterKind::Counter, |i, v| {
        if i < 100 { 9_000_000_000 + v } else { v }
    });
    assert_eq!(reason(&reset), UnavailableReason::Reset);
    // Outside of the span it does no harm.
    assert!(energy_in_span(&reset, 1_010 * MS, 4_010 * MS).is_ok());
}

#[test]
fn every_fault_yields_its_reason() {
    let frozen = steady(
        MeterKind::Counter,
        |i, v| if i < 100 { v } else { 200_000_000 },
    );
    assert_eq!(reason(&frozen), UnavailableReason::Stale);
    let jump = steady(MeterKind::Counter, |i, v| {
        if i < 100 { v } else { v + 10_000_000_000 }
    });
    assert_eq!(reason(&jump), UnavailableReason::Implausible);
    let hot = steady(MeterKind::Power, |i, _| {
        if i == 100 {
            6_000_000_000
        } else {
            40_000_000 + i as u64
        }
    });
    assert_eq!(reason(&hot), UnavailableReason::Implausible);
    let mut hole = steady(MeterKind::Power, |i, _| 40_000_000 + i as u64);
    hole.t_ns
        .iter_mut()
        .skip(100)
        .for_each(|t| *t += 4_000 * MS);
    assert_eq!(reason(&hole), UnavailableReason::Gap);
    let mut ragged = steady(MeterKind::Counter, |_, v| v);
    ragged.v.pop();
    assert_eq!(reason(&ragged), UnavailableReason::Implausible);
    let modelled = steady(MeterKind::Model, |_, v| v);
    assert_eq!(reason(&modelled), UnavailableReason::NotSupported);
    let empty = trace(MeterKind::Counter, MS, None, &[]);
    assert_eq!(reason(&empty), UnavailableReason::Gap);
}

#[test]
fn a_span_beyond_the_readings_or_too_short_has_no_joules() {
    let meter = steady(MeterKind::Counter, |_, v| v);
    for (start, end, expected) in [
        (9_000, 11_000, UnavailableReason::Gap),
        (1_000, 1_090, UnavailableReason::BelowResolution),
        // Twelve periods, but the readings are too sparse to see the edges.
        (1_010, 1_130, UnavailableReason::BelowResolution),
        (2_000, 1_000, UnavailableReason::BelowResolution),
    ] {
        assert_eq!(
            energy_in_span(&meter, start * MS, end * MS),
            Err(expected),
            "{start} {end}"
        );
    }
}

#[test]
fn readings_so_rare_that_the_counter_may_have_gone_round_are_a_gap() {
    let readings: Vec<_> = (0..20u64)
        .map(|i| (i * 60_000 * MS, i * 1_000_000_000))
        .collect();
    let meter = trace(MeterKind::Counter, MS, Some(65_532_610_987), &readings);
    assert_eq!(
        energy_in_span(&meter, 0, 600_000 * MS),
        Err(UnavailableReason::Gap)
    );
}
