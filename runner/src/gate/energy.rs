//! Joules of a slot: what the covering meters counted while its repetitions were timed.
//!
//! The same curves as in a sweep (`domain::energy`): edges are bounded, gaps between repetitions are
//! left out, and a span of fewer than ten update periods has no figure.

use domain::energy::keys::KeyMeters;
use domain::energy::{MIN_TICKS, ScopeMeters};
use domain::gate::Metric;
use domain::gate::record::Sample;
use domain::record::{AttributionMethod, UnavailableReason};
use domain::scope::{Scope, ScopeKey};

use super::slot::TimedSpan;
use crate::meter::sampler::Sampled;

/// Microjoules of one cell in all timed repetitions of a slot together, as one cost; or why there
/// are none. `traces` are the meters that are added, all of one scope.
pub(super) fn sample(
    cell: u32,
    scope: Scope,
    traces: &[u32],
    sampled: &Sampled,
    spans: &[TimedSpan],
) -> Result<Sample, UnavailableReason> {
    if let Some(trouble) = &sampled.trouble {
        return Err(trouble.reason);
    }
    let key = KeyMeters {
        scope: ScopeKey::of(&[scope]).map_err(|_| UnavailableReason::ScopeMismatch)?,
        meters: traces.to_vec(),
        holds_the_work: true,
    };
    let meters = ScopeMeters::of_traces(&sampled.traces, &key, AttributionMethod::Direct)?;
    let own = || spans.iter().filter(|span| span.cell == cell);
    let edges: Vec<(u64, u64)> = own().map(|span| (span.start_ns, span.end_ns)).collect();
    let timed_ns: u64 = edges.iter().map(|(start, end)| end - start).sum();
    let period_ns = meters.slowest_update_ns().unwrap_or(0);
    if timed_ns < MIN_TICKS * period_ns {
        return Err(UnavailableReason::BelowResolution);
    }
    let energy = meters.over(&edges)?;
    Ok(Sample {
        cell,
        metric: Metric::Energy,
        units: own().map(|span| span.tokens).sum(),
        costs: vec![(energy.joules.0 * 1e6).round() as u64],
        tail_ns: None,
        claimed_ns: None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock as _, VirtualClock};
    use crate::meter::sampler::Sampler;
    use crate::meter::scripted::{PowerTimeline, Script};

    const SECOND_NS: u64 = 1_000_000_000;

    /// Ten watts all the time, read by a counter of this period while two seconds pass.
    fn sampled(period: Duration) -> Sampled {
        let clock = Arc::new(VirtualClock::default());
        let timeline = PowerTimeline::idle(10.0);
        let meter = Script::counter(Scope::CpuPkg, &timeline, period).meter();
        let sampler = Sampler::on_virtual_clock(vec![meter], &clock);
        sampler.start(0);
        for _ in 0..20 {
            clock.advance(Duration::from_millis(100));
            sampler.mark();
        }
        assert_eq!(clock.now_ns(), 2 * SECOND_NS);
        sampler.stop()
    }

    fn span(cell: u32, start_ms: u64, end_ms: u64) -> TimedSpan {
        TimedSpan {
            cell,
            start_ns: start_ms * 1_000_000,
            end_ns: end_ms * 1_000_000,
            tokens: 50,
        }
    }

    #[test]
    fn joules_are_those_of_the_cells_own_repetitions() {
        let spans = [
            span(0, 200, 600),
            span(1, 600, 1_200),
            span(0, 1_200, 1_600),
        ];
        let sampled = sampled(Duration::from_millis(20));
        let told = sample(0, Scope::CpuPkg, &[0], &sampled, &spans).expect("resolved");
        assert_eq!((told.metric, told.units), (Metric::Energy, 100));
        let joules = told.costs[0] as f64 / 1e6;
        assert!((joules - 8.0).abs() < 0.1, "{joules}");
    }

    #[test]
    fn repetitions_of_fewer_than_ten_updates_have_no_joules() {
        let spans = [span(0, 200, 600), span(0, 1_200, 1_600)];
        let coarse = sampled(Duration::from_millis(100));
        let told = sample(0, Scope::CpuPkg, &[0], &coarse, &spans);
        assert_eq!(told, Err(UnavailableReason::BelowResolution));
        let none = sample(0, Scope::CpuPkg, &[1], &coarse, &spans);
        assert_eq!(none, Err(UnavailableReason::Absent));
        assert!(sample(7, Scope::CpuPkg, &[0], &coarse, &spans).is_err());
    }
}
