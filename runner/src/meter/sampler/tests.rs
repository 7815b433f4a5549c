//! The sampler in simulated time, and its threads.

use super::*;
use crate::clock::RealClock;
use crate::meter::ReadError;
use crate::meter::scripted::{PowerTimeline, Script, ScriptedMeter};
use domain::record::UpdateBasis;
use domain::scope::Scope;

const MS: u64 = 1_000_000;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A machine that is now at 10, now at 100 W.
fn busy(seconds: u64) -> Arc<PowerTimeline> {
    let timeline = PowerTimeline::idle(10.0);
    for second in (0..seconds).step_by(2) {
        timeline.draw(second * 1_000 * MS, (second + 1) * 1_000 * MS, 100.0);
    }
    timeline
}

/// A cell of such length in simulated time, with a mark every so often.
fn cell(meters: Vec<Box<dyn Meter>>, length_ms: u64, mark_ms: u64) -> Sampled {
    let clock = Arc::new(VirtualClock::default());
    let sampler = Sampler::on_virtual_clock(meters, &clock);
    sampler.start(0);
    for _ in 0..length_ms / mark_ms {
        clock.advance(ms(mark_ms));
        sampler.mark();
    }
    sampler.stop()
}

#[test]
fn marks_are_readings_on_the_record_clock() {
    let clock = Arc::new(VirtualClock::default());
    clock.advance(Duration::from_secs(5));
    let meter = ScriptedMeter::steady(Scope::CpuPkg, 10);
    let sampler = Sampler::on_virtual_clock(vec![Box::new(meter)], &clock);
    sampler.start(clock.now_ns());
    clock.advance(Duration::from_secs(2));
    sampler.mark();
    let sampled = sampler.stop();
    let trace = &sampled.traces[0];
    let mark = trace.t_ns.iter().position(|t| *t == 2_000 * MS);
    let mark = mark.expect("the mark");
    assert_eq!(trace.v[mark] - trace.v[0], 20_000_000, "10 W for 2 s");
    assert_eq!(trace.t_ns[0], 0);
    assert!(trace.v.len() >= 40, "20 Hz in between");
    assert!(sampled.trouble.is_none());
    assert_eq!(sampled.cost, None, "no thread, no time of a thread");
}

#[test]
fn every_tick_is_found_within_its_stated_width() {
    for (period_ms, jitter_ms) in [
        (5, 1),
        (20, 4),
        (100, 0),
        (100, 30),
        (1_000, 200),
        (2_200, 500),
    ] {
        let length_ms = (period_ms * 60).clamp(5_000, 60_000);
        let timeline = busy(length_ms / 1_000 + 1);
        let mut script = Script::counter(Scope::GpuBoard, &timeline, ms(period_ms));
        (script.jitter_ns, script.seed) = (jitter_ms * MS, period_ms);
        let trace = cell(vec![script.clone().meter()], length_ms, length_ms / 2)
            .traces
            .remove(0);
        let widest = (period_ms * MS / 5).clamp(4 * MS, 50 * MS);
        let mut found = 0;
        for n in 1..trace.v.len() {
            if trace.v[n] == trace.v[n - 1] {
                continue;
            }
            found += 1;
            let (t, half) = (trace.t_ns[n], trace.latency_ns[n].div_ceil(2));
            assert!(
                trace.latency_ns[n] <= widest,
                "{period_ms} ms: {}",
                trace.latency_ns[n]
            );
            // A counter's value tells of which update it is: joules never stand still here.
            let until = |at_ns| (timeline.joules(at_ns) * 1e6).round() as u64;
            assert!(
                until(t - half) <= trace.v[n] + 1 && trace.v[n] <= until(t + half) + 1,
                "{period_ms} ms: the tick is not within {t} +- {half}"
            );
        }
        let due = length_ms / period_ms;
        assert!(
            found + 2 >= due.min(1_000),
            "{period_ms} ms: {found} of {due}"
        );
        assert!(trace.t_ns.is_sorted());
    }
}

#[test]
fn next_to_an_edge_ticks_are_found_within_two_milliseconds() {
    let script = Script::counter(Scope::GpuBoard, &busy(20), ms(100));
    let trace = cell(vec![script.meter()], 10_000, 1_030).traces.remove(0);
    for mark in (1..9).map(|n| n * 1_030 * MS) {
        let fine = (1..trace.v.len()).any(|n| {
            trace.v[n] != trace.v[n - 1]
                && (mark..mark + 100 * MS).contains(&trace.t_ns[n])
                && trace.latency_ns[n] <= 2 * MS
        });
        assert!(fine, "after {mark}");
        assert!(trace.t_ns.contains(&mark));
    }
}

#[test]
fn a_fast_counter_is_read_at_twenty_hertz() {
    let script = Script::counter(Scope::CpuPkg, &busy(10), ms(1));
    let sampled = cell(vec![script.meter()], 10_000, 10_000);
    let readings = sampled.traces[0].v.len();
    assert!((199..=203).contains(&readings), "{readings}");
}

#[test]
fn power_is_kept_when_it_is_new_and_once_a_period() {
    let steady = PowerTimeline::idle(10.0);
    for (timeline, period, readings) in [
        (busy(20), 100, 100..=110),
        (steady.clone(), 100, 100..=110),
        (steady, 1_000, 9..=13),
    ] {
        let script = Script::power(Scope::GpuBoard, &timeline, ms(period));
        let trace = cell(vec![script.meter()], 10_000, 10_000).traces.remove(0);
        assert!(
            readings.contains(&trace.v.len()),
            "{period}: {}",
            trace.v.len()
        );
        let gap = trace.t_ns.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(gap.expect("readings") <= 2 * period * MS);
    }
}

#[test]
fn a_slow_meter_delays_no_other_and_no_phase() {
    let timeline = busy(20);
    let fast = Script::counter(Scope::CpuPkg, &timeline, ms(1));
    let mut slow = Script::power(Scope::WallAc, &timeline, ms(1_000));
    slow.latency_ns = 240 * MS;
    slow.info.reach = Reach::Network;
    let clock = Arc::new(VirtualClock::default());
    let sampler = Sampler::on_virtual_clock(vec![fast.meter(), slow.meter()], &clock);
    sampler.start(0);
    for second in 1..=10 {
        clock.advance(ms(1_000));
        sampler.mark();
        assert_eq!(clock.now_ns(), second * 1_000 * MS, "no mark waits for it");
    }
    let sampled = sampler.stop();
    let gaps = sampled.traces[0]
        .t_ns
        .windows(2)
        .map(|pair| pair[1] - pair[0]);
    assert!(gaps.max().expect("readings") <= 50 * MS);
    assert!(
        sampled.traces[1]
            .latency_ns
            .iter()
            .all(|took| *took == 240 * MS)
    );
    assert!(sampled.traces[1].v.len() >= 10);
    assert!(sampled.trouble.is_none(), "{:?}", sampled.trouble);
}

#[test]
fn another_meter_changes_no_trace() {
    let timeline = busy(20);
    let tested = || {
        let mut script = Script::counter(Scope::GpuBoard, &timeline, ms(20));
        script.jitter_ns = 3 * MS;
        script.meter()
    };
    let mut other = Script::counter(Scope::WallAc, &timeline, ms(100));
    (other.latency_ns, other.dropped) = (10 * MS, 0.3);
    other.info.reach = Reach::Network;
    let alone = cell(vec![tested()], 10_000, 1_000);
    let beside = cell(vec![other.meter(), tested()], 10_000, 1_000);
    assert_eq!(alone.traces[0], beside.traces[1]);
}

#[test]
fn a_period_is_probed_within_a_tenth() {
    for (period, told, reach) in [
        (5, Some(1), Reach::Local),
        (20, None, Reach::Local),
        (100, Some(20), Reach::Local),
        (1_000, None, Reach::Local),
        (1_000, Some(3_000), Reach::Network),
        (2_200, None, Reach::Local),
    ] {
        let clock = Arc::new(VirtualClock::default());
        let mut script = Script::counter(Scope::GpuBoard, &busy(200), ms(period));
        script.info.update_ns = told.map(|told| told * MS);
        script.info.reach = reach;
        script.jitter_ns = period * MS / 10;
        let sampler = Sampler::on_virtual_clock(vec![script.meter()], &clock);
        assert_eq!(sampler.slowest_update_ns(&[0]), told.map(|told| told * MS));
        sampler.start(0);
        sampler.probe();
        // Probing goes on from cell to cell.
        clock.advance(ms(11_000));
        sampler.stop();
        sampler.start(clock.now_ns());
        clock.advance(ms(30_000));
        let found = sampler.slowest_update_ns(&[0]).expect("probed") as f64;
        let truth = (period * MS) as f64;
        assert!((found / truth - 1.0).abs() < 0.1, "{period} ms: {found} ns");
        let trace = &sampler.stop().traces[0];
        assert_eq!(trace.update_basis, UpdateBasis::Probed);
        assert_eq!(trace.update_ns.map(|ns| ns as f64), Some(found));
    }
}

#[test]
fn what_cannot_be_probed_keeps_what_it_had() {
    // Faster than it is polled, and too slow to be seen.
    for period in [1, 8_000] {
        let clock = Arc::new(VirtualClock::default());
        let script = Script::counter(Scope::CpuPkg, &busy(200), ms(period));
        let sampler = Sampler::on_virtual_clock(vec![script.meter()], &clock);
        sampler.start(0);
        sampler.probe();
        clock.advance(ms(40_000));
        let trace = &sampler.stop().traces[0];
        assert_eq!(trace.update_ns, Some(period * MS));
        assert_eq!(trace.update_basis, UpdateBasis::Assumed);
    }
}

#[test]
fn the_slowest_of_the_named_meters_counts() {
    let of = |period| Script::counter(Scope::CpuPkg, &busy(1), ms(period)).meter();
    let clock = Arc::new(VirtualClock::default());
    let mut silent = Script::counter(Scope::CpuPkg, &busy(1), ms(1));
    silent.info.update_ns = None;
    let sampler = Sampler::on_virtual_clock(vec![of(1), of(100), silent.meter()], &clock);
    for (named, slowest) in [
        (&[0, 1][..], Some(100)),
        (&[0, 2], Some(1)),
        (&[2], None),
        (&[], None),
    ] {
        assert_eq!(
            sampler.slowest_update_ns(named),
            slowest.map(|slowest| slowest * MS)
        );
    }
}

#[test]
fn a_full_trace_keeps_its_edges_and_its_bound() {
    let timeline = busy(2_000);
    for (period, mark_ms) in [
        (1, 1_000),
        (1, 7_000),
        (5, 3_000),
        (20, 10_000),
        (100, 10_000),
    ] {
        let script = Script::counter(Scope::CpuPkg, &timeline, ms(period));
        let trace = cell(vec![script.meter()], 400_000, mark_ms)
            .traces
            .remove(0);
        assert!(trace.v.len() <= Sampler::bound(1), "{}", trace.v.len());
        for mark in 1..=400_000 / mark_ms {
            let at = mark * mark_ms * MS;
            assert!(trace.t_ns.contains(&at), "{period} ms: edge at {at} ns");
        }
        assert!(trace.t_ns.is_sorted() && trace.v.is_sorted());
        // What is left still tells the truth: a change lies within its width.
        for n in (1..trace.v.len()).filter(|n| trace.v[*n] != trace.v[n - 1]) {
            let half = trace.latency_ns[n].div_ceil(2) + if period < 5 { period * MS } else { 0 };
            let until = |at_ns| (timeline.joules(at_ns) * 1e6).round() as u64;
            let t = trace.t_ns[n];
            assert!(until(t - half) <= trace.v[n] + 1 && trace.v[n] <= until(t + half) + 1);
        }
    }
    let crowded = Script::counter(Scope::CpuPkg, &timeline, ms(20));
    let trace = cell(vec![crowded.meter()], 60_000, 10).traces.remove(0);
    assert!(trace.v.len() <= Sampler::bound(1), "even of edges alone");
    assert!(
        trace.t_ns.last().expect("readings") + 5_000 * MS > 60_000 * MS,
        "nothing is cut off"
    );
}

#[test]
fn a_failing_meter_is_told_and_spoils_no_other() {
    let failing = ScriptedMeter::counter(Scope::CpuDram, |_| Err(ReadError::NotSupported));
    let steady = ScriptedMeter::steady(Scope::CpuPkg, 1);
    let sampled = cell(vec![Box::new(steady), Box::new(failing)], 1_000, 500);
    assert!(sampled.traces[0].v.len() >= 20);
    assert!(sampled.traces[1].v.is_empty());
    let reason = sampled.trouble.map(|why| why.reason);
    assert_eq!(reason, Some(UnavailableReason::NotSupported));
}

#[test]
fn a_gap_stays_a_gap() {
    let mut script = Script::power(Scope::GpuBoard, &busy(20), ms(100));
    script.outage_ns = 3_000 * MS..5_000 * MS;
    let sampled = cell(vec![script.meter()], 10_000, 10_000);
    let trace = &sampled.traces[0];
    assert!(
        trace
            .t_ns
            .iter()
            .all(|t| !(3_000 * MS..5_000 * MS).contains(t))
    );
    assert!(trace.t_ns.iter().any(|t| *t > 5_000 * MS));
    assert!(sampled.trouble.is_some());
    let within = domain::energy::energy_in_span(trace, 2_000 * MS, 6_000 * MS);
    assert_eq!(within.expect_err("a hole"), UnavailableReason::Gap);
}

#[test]
fn a_frozen_counter_is_seen_to_be_stale() {
    let mut script = Script::counter(Scope::GpuBoard, &busy(20), ms(20));
    script.frozen_ns = 3_000 * MS..u64::MAX;
    let sampled = cell(vec![script.meter()], 10_000, 10_000);
    let within = domain::energy::energy_in_span(&sampled.traces[0], 1_000 * MS, 9_000 * MS);
    assert_eq!(within.expect_err("frozen"), UnavailableReason::Stale);
}

#[test]
fn a_slow_reading_is_rejected() {
    let mut slow = Script::counter(Scope::CpuPkg, &busy(2), ms(20));
    slow.latency_ns = 6 * MS;
    let sampled = cell(vec![slow.meter()], 100, 100);
    assert!(sampled.traces[0].v.is_empty());
    let detail = sampled.trouble.expect("told").detail;
    assert!(
        detail.as_str().contains("longer than a quarter"),
        "{detail}"
    );
}

#[test]
fn stamps_are_on_the_record_clock() {
    let clock = Arc::new(VirtualClock::default());
    let mut script = Script::counter(Scope::GpuBoard, &busy(20), ms(100));
    script.is_stamped = true;
    let sampler = Sampler::on_virtual_clock(vec![script.meter()], &clock);
    clock.advance(ms(5_000));
    sampler.start(clock.now_ns());
    clock.advance(ms(1_000));
    let trace = sampler.stop().traces.remove(0);
    let stamps = trace.source_t_ns.expect("stamped");
    assert_eq!(stamps[..2], [0, 100 * MS]);
}

#[test]
fn without_meters_nothing_is_sampled() {
    let sampler = Sampler::spawn(Vec::new(), Arc::new(VirtualClock::default()));
    sampler.start(0);
    sampler.mark();
    assert!(!sampler.has_meters() && sampler.stop().traces.is_empty());
}

#[test]
fn threads_read_as_the_simulation_does_and_their_cost_is_counted() {
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    let timeline = PowerTimeline::idle(10.0);
    let mut far = Script::power(Scope::WallAc, &timeline, ms(1_000));
    (far.info.reach, far.latency_ns) = (Reach::Network, 100 * MS);
    let near = Script::counter(Scope::CpuPkg, &timeline, ms(20));
    let sampler = Sampler::spawn(vec![near.meter(), far.meter()], Arc::clone(&clock));
    for _ in 0..2 {
        let zero_ns = clock.now_ns();
        sampler.start(zero_ns);
        sampler.nudge();
        clock.sleep(ms(300));
        let before_ns = clock.now_ns() - zero_ns;
        sampler.mark();
        let after_ns = clock.now_ns() - zero_ns;
        let sampled = sampler.stop();
        let [near, far] = &sampled.traces[..] else {
            panic!("two traces");
        };
        let mark = |t: &u64| (before_ns..=after_ns).contains(t);
        assert!(near.t_ns.iter().any(mark), "an edge is waited for");
        assert!(near.v.len() > 5 && !far.v.is_empty());
        assert!(sampled.trouble.is_none(), "{:?}", sampled.trouble);
        let cost = sampled.cost.expect("a thread's clock");
        assert!(cost.cpu_ns > 0 && cost.span_ns >= 300 * MS && cost.reads > 10);
        assert!(cost.cpu_ns < cost.span_ns);
    }
}

#[test]
fn a_thread_that_ended_leaves_an_empty_trace_in_its_place() {
    let broken = ScriptedMeter::counter(Scope::CpuDram, |_| panic!("a driver's fault"));
    let steady = ScriptedMeter::steady(Scope::CpuPkg, 1);
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    let sampler = Sampler::spawn(vec![Box::new(broken), Box::new(steady)], clock);
    sampler.start(0);
    sampler.mark();
    let sampled = sampler.stop();
    assert_eq!(sampled.traces[0].scope, Scope::CpuDram);
    assert!(sampled.traces[0].v.is_empty() && sampled.traces[1].v.len() >= 2);
    assert!(sampled.trouble.is_some());
}
