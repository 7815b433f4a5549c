//! A counter against the integral of the power of the same device: two readers of one truth.

use super::curve::EnergyCurve;
use crate::record::{MeterKind, MeterTrace, PhaseKind, Record};
use crate::scope::Scope;
use crate::units::Joules;

/// Ratios within it agree.
pub const AGREE: (f64, f64) = (0.95, 1.05);

/// Ratios outside of it void both readers.
pub const BELIEVE: (f64, f64) = (0.8, 1.25);

/// A counter and a power meter of one device, over the phases of load that both resolve.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossCheck {
    /// Host.
    pub host: u32,
    /// Device.
    pub device: String,
    /// What both cover.
    pub scope: Scope,
    /// Index of the counter's trace.
    pub counter: u32,
    /// Index of the power meter's trace.
    pub power: u32,
    /// What the counter counted.
    pub counted: Joules,
    /// What the power comes to.
    pub integrated: Joules,
    /// Counted over integrated.
    pub ratio: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// What follows from a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Within [`AGREE`].
    Agrees,
    /// Outside of it: said beside the joules.
    Warns,
    /// Outside of [`BELIEVE`]: neither gives joules.
    Void,
}

/// Every pair of a counter and a power meter of one host, device and scope, where a phase of load
/// is resolved by both.
pub fn cross_check(record: &Record) -> Vec<CrossCheck> {
    let of_kind = |kind: MeterKind| {
        let numbered = (0u32..).zip(&record.meters);
        numbered.filter(move |(_, trace)| trace.kind == kind)
    };
    let mut checks = Vec::new();
    for (counter, counting) in of_kind(MeterKind::Counter) {
        for (power, sampling) in of_kind(MeterKind::Power) {
            let seat = |trace: &MeterTrace| (trace.host, trace.scope, trace.device.clone());
            if seat(counting) != seat(sampling) {
                continue;
            }
            let Some((counted, integrated)) = under_load(record, counting, sampling) else {
                continue;
            };
            let ratio = counted.0 / integrated.0;
            let within = |(low, high): (f64, f64)| (low..=high).contains(&ratio);
            checks.push(CrossCheck {
                host: counting.host,
                device: counting.device.to_string(),
                scope: counting.scope,
                counter,
                power,
                counted,
                integrated,
                ratio,
                verdict: match (within(AGREE), within(BELIEVE)) {
                    (true, _) => Verdict::Agrees,
                    (false, true) => Verdict::Warns,
                    (false, false) => Verdict::Void,
                },
            });
        }
    }
    checks
}

/// Joules by both readers over the phases of load that both resolve; `None` if there are none.
fn under_load(
    record: &Record,
    counting: &MeterTrace,
    sampling: &MeterTrace,
) -> Option<(Joules, Joules)> {
    let (counted, integrated) = (
        EnergyCurve::of(counting).ok()?,
        EnergyCurve::of(sampling).ok()?,
    );
    let loads = [
        PhaseKind::PrefillLoop,
        PhaseKind::DecodeLoop,
        PhaseKind::MixedLoop,
        PhaseKind::Quality,
    ];
    let mut sums = (Joules(0.0), Joules(0.0));
    for phase in &record.phases {
        let span = |curve: &EnergyCurve| curve.in_span(phase.start_ns, phase.end_ns).ok();
        if let (true, Some(one), Some(other)) = (
            loads.contains(&phase.phase),
            span(&counted),
            span(&integrated),
        ) {
            sums = (sums.0 + one.joules, sums.1 + other.joules);
        }
    }
    (sums.1.0 > 0.0).then_some(sums)
}

#[cfg(test)]
mod tests;
