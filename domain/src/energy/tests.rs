//! What was not measured does not exist.

use super::phases::attribute;
use super::script::{S, attributed, measured};
use super::*;
use crate::record::{
    Averaging, EnergyClaim, EstimatedEnergy, MeterKind, MeterTrace, Record, UnavailableEnergy,
    UnavailableReason,
};
use crate::scope::Scope;
use crate::text::Name;

/// Whether any figure at all comes out of a record.
fn gives_a_number(record: &Record) -> bool {
    let of = |meters: &ScopeMeters| {
        let energy = attribute(record, meters);
        energy.prefill.is_ok()
            || energy.decode.is_ok()
            || energy.request.is_ok()
            || energy.total.is_some()
            || energy.closure.is_some()
            || energy.idle_loaded.is_ok()
            || energy.idle_unloaded.is_ok()
            || energy.drift.is_some()
    };
    let headline = ScopeMeters::of(record);
    let every = ScopeMeters::every(record);
    headline.iter().any(of) || every.iter().flat_map(|(_, meters)| meters).any(of)
}

/// A way to break a record, and how.
type Break = (&'static str, Box<dyn Fn(&mut Record)>);

/// Keeps the readings at these places.
fn keep_every(trace: &mut MeterTrace, kept: &dyn Fn(usize) -> bool) {
    for values in [&mut trace.t_ns, &mut trace.latency_ns, &mut trace.v] {
        let mut index = 0..;
        values.retain(|_| kept(index.next().expect("endless")));
    }
}

fn broken_readings(last: usize) -> Vec<Break> {
    vec![
        ("no trace", Box::new(|r| r.meters.clear())),
        (
            "no readings",
            Box::new(move |r| keep_every(&mut r.meters[0], &|_| false)),
        ),
        (
            "one reading",
            Box::new(move |r| keep_every(&mut r.meters[0], &|i| i == 0)),
        ),
        (
            "two readings",
            Box::new(move |r| keep_every(&mut r.meters[0], &|i| i == 0 || i == last)),
        ),
        (
            "only the last",
            Box::new(move |r| keep_every(&mut r.meters[0], &|i| i == last)),
        ),
        (
            "values missing",
            Box::new(|r| {
                r.meters[0].v.pop();
            }),
        ),
        (
            "times missing",
            Box::new(|r| {
                r.meters[0].t_ns.pop();
            }),
        ),
        (
            "widths missing",
            Box::new(|r| {
                r.meters[0].latency_ns.pop();
            }),
        ),
        (
            "stamps missing",
            Box::new(|r| r.meters[0].source_t_ns = Some(vec![1])),
        ),
        ("backward", Box::new(|r| r.meters[0].t_ns.reverse())),
        ("all equal", Box::new(|r| r.meters[0].v.fill(5))),
        (
            "all equal, period unknown",
            Box::new(|r| {
                r.meters[0].v.fill(5);
                r.meters[0].update_ns = None;
            }),
        ),
        ("all nothing", Box::new(|r| r.meters[0].v.fill(0))),
        (
            "all the largest",
            Box::new(|r| r.meters[0].v.fill(u64::MAX)),
        ),
        (
            "largest now and then",
            Box::new(|r| {
                for v in r.meters[0].v.iter_mut().step_by(7) {
                    *v = u64::MAX;
                }
            }),
        ),
        (
            "power of nothing",
            Box::new(|r| {
                r.meters[0].kind = MeterKind::Power;
                r.meters[0].v.fill(0);
            }),
        ),
        (
            "power of nothing, held",
            Box::new(|r| {
                r.meters[0].kind = MeterKind::Power;
                r.meters[0].averaging = Averaging::Held;
                r.meters[0].update_ns = None;
                r.meters[0].v.fill(0);
            }),
        ),
        (
            "power at all bits",
            Box::new(|r| {
                r.meters[0].kind = MeterKind::Power;
                r.meters[0].v.fill(0xFFFF_FFFF_FFFF);
            }),
        ),
    ]
}

fn broken_facts() -> Vec<Break> {
    let estimated = EnergyClaim::Estimated(EstimatedEnergy {
        basis: Name::cleaned("the box says so"),
        mean_mw: 100_000,
    });
    let unavailable = EnergyClaim::Unavailable(UnavailableEnergy {
        reason: UnavailableReason::Permission,
        detail: Name::cleaned("no"),
    });
    vec![
        ("a model", Box::new(|r| r.meters[0].kind = MeterKind::Model)),
        (
            "a modelled scope",
            Box::new(|r| r.meters[0].scope = Scope::SocModel),
        ),
        ("an idle neighbour", Box::new(|r| r.meters[0].used = false)),
        ("another host's", Box::new(|r| r.meters[0].host = 7)),
        (
            "an estimate",
            Box::new(move |r| r.energy = estimated.clone()),
        ),
        (
            "a refusal",
            Box::new(move |r| r.energy = unavailable.clone()),
        ),
        ("no hosts", Box::new(|r| r.hosts.clear())),
        (
            "no phases",
            Box::new(|r| {
                r.phases.clear();
                r.repetitions.clear();
            }),
        ),
        (
            "phases before the readings",
            Box::new(|r| {
                let by = 10_000 * S;
                for t in &mut r.meters[0].t_ns {
                    *t += by;
                }
            }),
        ),
        (
            "phases that run backward",
            Box::new(|r| {
                for phase in &mut r.phases {
                    std::mem::swap(&mut phase.start_ns, &mut phase.end_ns);
                }
                r.repetitions.clear();
            }),
        ),
    ]
}

#[test]
fn no_missing_reading_becomes_a_number() {
    let good = measured();
    assert!(gives_a_number(&good));
    let last = good.meters[0].v.len() - 1;
    for (what, spoil) in broken_readings(last).into_iter().chain(broken_facts()) {
        let mut record = good.clone();
        spoil(&mut record);
        assert!(!gives_a_number(&record), "{what}");
    }
    // Without loops' counts there are joules of spans, and none of a token.
    let mut uncounted = good.clone();
    for phase in &mut uncounted.phases {
        (phase.requests, phase.tokens_in, phase.tokens_out) = (0, 0, 0);
    }
    let energy = attributed(&uncounted);
    assert!(energy.prefill.is_err() && energy.decode.is_err() && energy.request.is_err());
}
