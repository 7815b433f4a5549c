//! Scripted meters on a virtual clock: the truth is known, the curve must bound it.

use proptest::prelude::*;

use super::*;
use crate::energy::script::{self, Counter, Dice, MS, Power, S, sampled};

const PERIODS_NS: [u64; 5] = [MS, 20 * MS, 100 * MS, S, 2_200 * MS];

fn trace(
    kind: MeterKind,
    update_ns: u64,
    wrap_uj: Option<u64>,
    readings: &[(u64, u64)],
) -> MeterTrace {
    let mut trace = script::trace(kind, Some(update_ns), wrap_uj);
    trace.t_ns = readings.iter().map(|r| r.0).collect();
    trace.latency_ns = readings.iter().map(|_| 1_000).collect();
    trace.v = readings.iter().map(|r| r.1).collect();
    trace
}

/// Idle, then load in steps of at least `step_ns` that differ by up to a factor of two, then idle
/// or more load; start and end of the load.
fn loaded(seed: u64, step_ns: u64, load_ns: u64, after_ns: u64) -> (Power, u64, u64) {
    let mut dice = Dice::new(seed);
    let mut power = Power::default();
    power.push(
        dice.between(500 * MS, 6 * S),
        5.0 + 400.0 * dice.share().powi(4),
    );
    let start = power.end_ns();
    let base = 20.0 + 150.0 * dice.share();
    while power.end_ns() < start + load_ns {
        let length = dice.between(step_ns, 20 * step_ns);
        power.push(length, base * (1.0 + dice.share()));
    }
    let end = power.end_ns();
    power.push(after_ns, 5.0 + 400.0 * dice.share().powi(4));
    (power, start, end)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_truth_lies_within_the_stated_error(
        period in prop::sample::select(PERIODS_NS.to_vec()),
        seed in any::<u64>(),
        ticks in 12u64..150,
        marked in any::<bool>(),
        wraps in any::<bool>(),
        waits in any::<bool>(),
    ) {
        let (power, start, end) = loaded(seed, 100 * MS, (period * ticks).max(500 * MS), 3 * period + S);
        let mut counter = Counter::every(period, seed ^ 1);
        counter.waits &= waits;
        if wraps {
            // In the midst of the load.
            let until = power.joules(start.midpoint(end));
            counter.offset_uj = 262_143_328_850 - (until * 1e6) as u64;
        }
        let marks = if marked { vec![start, end] } else { Vec::new() };
        let exact = power.joules_between(start, end);
        match energy_in_span(&counter.read(&power, &marks), start, end) {
            Ok(energy) => prop_assert!(
                (energy.joules.0 - exact).abs() <= energy.error.0 + 1e-5,
                "{energy:?}, exact {exact}"
            ),
            // Only where few ticks are held.
            Err(reason) => {
                prop_assert_eq!(reason, UnavailableReason::BelowResolution);
                prop_assert!((end - start) / period < 25 || !marked || !waits, "{}", (end - start) / period);
            }
        }
    }

    #[test]
    fn phases_and_gaps_make_the_total(
        period in prop::sample::select(PERIODS_NS.to_vec()),
        seed in any::<u64>(),
    ) {
        let (power, start, end) = loaded(seed, 100 * MS, 120 * period.max(100 * MS), 3 * period + S);
        let mut dice = Dice::new(seed ^ 2);
        let mut cuts: Vec<u64> = (0..5).map(|_| dice.between(start, end)).collect();
        cuts.extend([start, end]);
        cuts.sort_unstable();
        let curve = EnergyCurve::of(&Counter::every(period, seed ^ 1).read(&power, &cuts)).expect("no fault");
        let whole = curve.measured(start, end).expect("no fault");
        let parts: Vec<_> = cuts
            .windows(2)
            .filter(|cut| cut[0] < cut[1])
            .map(|cut| curve.measured(cut[0], cut[1]).expect("no fault"))
            .collect();
        let sum: f64 = parts.iter().map(|part| part.joules.0).sum();
        let bound: f64 = parts.iter().map(|part| part.error.0).sum();
        prop_assert!((sum - whole.joules.0).abs() <= bound + whole.error.0, "{sum} {whole:?}");
    }

    #[test]
    fn any_readings_give_joules_that_are_not_negative_or_a_reason(
        readings in prop::collection::vec((any::<u32>(), any::<u64>(), any::<u32>(), any::<u32>()), 0..40),
        stamped in any::<bool>(),
        averaging in prop::sample::select(vec![Averaging::Instant, Averaging::Window, Averaging::Held]),
        start in any::<u32>(),
        end in any::<u32>(),
        update in prop_oneof![Just(1u64), 1_000..30 * MS, any::<u64>()],
        wrap in prop::option::of(any::<u64>()),
        counter in any::<bool>(),
        // Readings that say something likely: no more than so many bits, and rising.
        bits in prop::sample::select(vec![16u32, 28, 64]),
        rising in any::<bool>(),
    ) {
        let mut readings = readings;
        readings.sort_unstable();
        let mut values: Vec<u64> = readings.iter().map(|reading| reading.1 >> (64 - bits)).collect();
        if rising {
            values.sort_unstable();
        }
        let kind = if counter { MeterKind::Counter } else { MeterKind::Power };
        let mut meter = script::trace(kind, Some(update), wrap);
        meter.averaging = averaging;
        meter.t_ns = readings.iter().map(|reading| u64::from(reading.0)).collect();
        meter.latency_ns = readings.iter().map(|reading| u64::from(reading.2)).collect();
        meter.v = values;
        if stamped {
            let mut stamps: Vec<u64> = readings.iter().map(|reading| u64::from(reading.3)).collect();
            stamps.sort_unstable();
            meter.source_t_ns = Some(stamps);
        }
        meter.clock_error_ns = wrap;
        if let Ok(energy) = energy_in_span(&meter, u64::from(start), u64::from(end)) {
            prop_assert!(energy.joules.0.is_finite() && energy.joules.0 > 0.0 && energy.error.0 >= 0.0);
            prop_assert!(energy.spread.0 >= 0.0 && energy.clock.0 >= 0.0);
        }
    }

    #[test]
    fn power_is_integrated_between_its_samples(
        seed in any::<u64>(),
        period in prop::sample::select(vec![10 * MS, 100 * MS, S]),
        how in prop::sample::select(vec![Averaging::Instant, Averaging::Held, Averaging::Window]),
    ) {
        let (power, start, end) = loaded(seed, 4 * period, 100 * period, 4 * period + S);
        let window = if how == Averaging::Window { 2 * period } else { 0 };
        let meter = sampled(&power, period, how, window);
        let exact = power.joules_between(start, end);
        match energy_in_span(&meter, start, end) {
            Ok(energy) => prop_assert!(
                (energy.joules.0 - exact).abs() <= energy.error.0 + 0.005 * exact,
                "{energy:?}, exact {exact}"
            ),
            Err(reason) => prop_assert_eq!(reason, UnavailableReason::BelowResolution),
        }
    }
}

fn steady(kind: MeterKind, change: impl Fn(usize, u64) -> u64) -> MeterTrace {
    let readings: Vec<_> = (0..200usize)
        .map(|i| (i as u64 * 50 * MS, change(i, i as u64 * 2_000_000)))
        .collect();
    let period = if kind == MeterKind::Counter { 4 } else { 10 };
    trace(kind, period * MS, Some(262_143_328_850), &readings)
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
    assert_eq!(energy.ticks, 1_750);
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
        (1_000, 1_036, UnavailableReason::BelowResolution),
        // Twelve periods, but the readings are too sparse to see the edges.
        (1_020, 1_068, UnavailableReason::BelowResolution),
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

/// The share below which 95 % of the errors lie.
fn p95(errors: impl Iterator<Item = f64>) -> f64 {
    let errors: Vec<f64> = errors.map(f64::abs).collect();
    crate::statistics::quantile::quantile(&errors, 0.95).expect("some")
}

#[test]
fn loops_are_as_exact_as_promised_for_every_update_period() {
    // Period, length of the loop, promised error.
    for (period, length, promised) in [
        (MS, 500 * MS, 0.002),
        (MS, 10 * S, 0.002),
        (20 * MS, 10 * S, 0.01),
        (100 * MS, 10 * S, 0.01),
        (S, 100 * S, 0.01),
    ] {
        let errors = (0..200u64).map(|seed| {
            let mut dice = Dice::new(seed);
            let mut power = Power::default();
            power.push(dice.between(S, 4 * S), 20.0);
            let start = power.end_ns();
            // Steady decoding: short prompts between long outputs.
            while power.end_ns() < start + length {
                power.push(dice.between(5 * MS, 15 * MS), 180.0);
                power.push(dice.between(300 * MS, 900 * MS), 118.0 + 4.0 * dice.share());
            }
            let end = power.end_ns();
            power.push(3 * period + S, 20.0);
            let meter = Counter::every(period, seed + 77).read(&power, &[start, end]);
            let energy = energy_in_span(&meter, start, end).expect("resolved");
            energy.joules.0 / power.joules_between(start, end) - 1.0
        });
        let error = p95(errors);
        assert!(error <= promised, "{period} ns over {length} ns: {error}");
    }
}

#[test]
fn power_that_stands_still_is_stale_and_a_pushed_value_is_fresh_while_it_is_pushed() {
    let mut power = Power::default();
    power.push(60 * S, 120.0);
    for how in [Averaging::Instant, Averaging::Held] {
        let mut frozen = sampled(&power, 100 * MS, how, 0);
        assert!(energy_in_span(&frozen, 5 * S, 50 * S).is_ok());
        frozen.v[200..].fill(120_000_000);
        assert_eq!(
            energy_in_span(&frozen, 5 * S, 50 * S),
            Err(UnavailableReason::Stale)
        );
        assert!(energy_in_span(&frozen, 5 * S, 19 * S).is_ok());
        // A period that nobody knows is no excuse.
        frozen.update_ns = None;
        assert_eq!(
            energy_in_span(&frozen, 5 * S, 58 * S),
            Err(UnavailableReason::Stale)
        );
    }
    let mut pushed = sampled(&power, 100 * MS, Averaging::Held, 0);
    pushed.v.fill(120_000_000);
    // Each push is read 30 ms later.
    let stamps = pushed.t_ns.iter().map(|t| t.saturating_sub(30 * MS));
    pushed.source_t_ns = Some(stamps.collect());
    let energy = energy_in_span(&pushed, 5 * S, 50 * S).expect("fresh");
    assert!((energy.joules.0 - 45.0 * 120.0).abs() < 1e-3, "{energy:?}");
}

#[test]
fn readings_that_were_thinned_evenly_are_no_holes_and_an_outage_among_them_is_one() {
    let mut power = Power::default();
    for step in 0..60u32 {
        power.push(S, 100.0 + f64::from(step % 7));
    }
    let mut thinned = sampled(&power, 400 * MS, Averaging::Instant, 0);
    thinned.update_ns = Some(20 * MS);
    let energy = energy_in_span(&thinned, 5 * S, 50 * S).expect("even");
    assert!((energy.joules.0 / power.joules_between(5 * S, 50 * S) - 1.0).abs() < 0.01);
    for at in &mut thinned.t_ns[60..] {
        *at += 2 * S;
    }
    assert_eq!(
        energy_in_span(&thinned, 5 * S, 50 * S),
        Err(UnavailableReason::Gap)
    );
}

#[test]
fn a_window_speaks_of_its_middle_and_a_held_value_of_what_follows() {
    let mut power = Power::default();
    power.push(10 * S, 20.0);
    power.push(20 * S, 200.0);
    power.push(10 * S, 20.0);
    for (how, window) in [(Averaging::Window, S), (Averaging::Held, 0)] {
        let meter = sampled(&power, 100 * MS, how, window);
        let energy = energy_in_span(&meter, 10 * S, 30 * S).expect("resolved");
        let off = energy.joules.0 - 4_000.0;
        assert!(
            off.abs() < 50.0 && off.abs() <= energy.error.0,
            "{how:?} {energy:?}"
        );
    }
    // Taken for instant samples, the means of a window lag behind by half of it.
    let mut late = sampled(&power, 100 * MS, Averaging::Window, S);
    late.averaging = Averaging::Instant;
    let energy = energy_in_span(&late, 10 * S, 20 * S).expect("resolved");
    assert!((energy.joules.0 - 2_000.0 + 90.0).abs() < 1.0, "{energy:?}");
}
