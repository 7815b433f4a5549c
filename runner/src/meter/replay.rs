//! Recorded traces: written by `joulemark meter watch --record`, read by `joulemark meter replay`.
//!
//! What a trace comes to is worked out by `domain::energy` alone, as for every record, so that a
//! trace which somebody sends in shows what the collector would make of such a meter.

use std::collections::BTreeMap;

use domain::energy::check::{AGREE, BELIEVE};
use domain::energy::keys::{KeyMeters, Seat, keys};
use domain::energy::{EnergyCurve, Fault, SpanEnergy, energy_in_span};
use domain::record::{Averaging, Host, MeterKind, MeterTrace, UnavailableReason};
use domain::scope::ScopeKey;
use domain::units::{Joules, Watts};

pub(super) mod file;

pub use file::{
    FORMAT, Header, MAX_LINE_BYTES, MAX_MARKS, MAX_METERS, MAX_TRACE_BYTES, Mark, MeterFacts,
    RecordedMeter, Recorder, Recording, Stamped, TraceError,
};

/// What a trace comes to.
#[derive(Debug)]
pub struct Replay {
    /// One per meter, in the order of the file.
    pub meters: Vec<ReplayedMeter>,
    /// Every key that the meters give, headline first.
    pub keys: Vec<ReplayedKey>,
    /// Every counter beside the integral of the power of the same device.
    pub checks: Vec<Check>,
}

/// What one meter of a trace comes to.
#[derive(Debug)]
pub struct ReplayedMeter {
    /// What it is.
    pub facts: MeterFacts,
    /// Readings.
    pub readings: usize,
    /// Failed reads by reason.
    pub failures: BTreeMap<&'static str, usize>,
    /// Update period seen.
    pub seen_update_ns: Option<u64>,
    /// The span that the joules are of: from and to on the trace's clock.
    pub span_ns: (u64, u64),
    /// Joules of the span.
    pub energy: Result<SpanEnergy, UnavailableReason>,
    /// What spoils the readings within the span.
    pub faults: Vec<Fault>,
}

/// Joules of one scope key in a trace.
#[derive(Debug)]
pub struct ReplayedKey {
    /// What the sum covers.
    pub scope: ScopeKey,
    /// Ids of the meters that are added.
    pub meters: Vec<String>,
    /// The first of them that holds the work is the headline.
    pub is_headline: bool,
    /// Joules of the time that all of them cover.
    pub energy: Result<KeyEnergy, UnavailableReason>,
}

/// Joules of several meters in one span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyEnergy {
    /// Their sum.
    pub joules: Joules,
    /// Bound of what reading at discrete moments may get wrong.
    pub error: Joules,
    /// Update periods of the slowest of them.
    pub ticks: u64,
}

/// Every key that traces of these hosts give, headline first, with its joules between two moments
/// that `span` names for the meters that are added.
pub fn keyed(
    traces: &[&MeterTrace],
    hosts: &[Host],
    span: impl Fn(&[usize]) -> (u64, u64),
) -> Vec<(KeyMeters, Result<KeyEnergy, UnavailableReason>)> {
    let seats: Vec<Seat<'_>> = traces.iter().map(|trace| Seat::from(*trace)).collect();
    keys(&seats, hosts)
        .into_iter()
        .map(|key| {
            let chosen: Vec<usize> = key.meters.iter().map(|index| *index as usize).collect();
            let (from, to) = span(&chosen);
            let parts = chosen
                .iter()
                .map(|index| energy_in_span(traces[*index], from, to));
            let energy = sum(parts);
            (key, energy)
        })
        .collect()
}

/// A counter beside the integral of power.
#[derive(Debug)]
pub struct Check {
    /// The counter's id.
    pub counter: String,
    /// The power meter's id.
    pub power: String,
    /// Counted joules over integrated ones.
    pub ratio: Result<f64, UnavailableReason>,
}

impl Check {
    /// What the ratio says.
    pub fn verdict(&self) -> &'static str {
        let within = |(low, high): (f64, f64), ratio: f64| (low..=high).contains(&ratio);
        match self.ratio {
            Err(_) => "not to be told",
            Ok(ratio) if within(AGREE, ratio) => "agree",
            Ok(ratio) if within(BELIEVE, ratio) => "differ: warned of",
            Ok(_) => "contradict each other: neither counts",
        }
    }
}

impl ReplayedMeter {
    /// Mean power over the span.
    pub fn mean_watts(&self) -> Option<Watts> {
        let energy = self.energy.as_ref().ok()?;
        let seconds = self.span_ns.1.checked_sub(self.span_ns.0)? as f64 / 1e9;
        Some(Watts(energy.joules.0 / seconds))
    }
}

impl Replay {
    /// Works a trace out between two moments of its clock, or over all that each meter covers.
    pub fn of(recording: &Recording, from_ns: Option<u64>, to_ns: Option<u64>) -> Self {
        let covered = |trace: &MeterTrace| {
            let (first, last) = extent(trace);
            (from_ns.unwrap_or(first), to_ns.unwrap_or(last))
        };
        let meters: Vec<_> = recording
            .meters
            .iter()
            .map(|meter| replayed(meter, covered(&meter.trace)))
            .collect();
        let traces: Vec<&MeterTrace> = recording.meters.iter().map(|meter| &meter.trace).collect();
        let together = |chosen: &[usize]| {
            let spans = chosen.iter().map(|index| covered(traces[*index]));
            spans.fold((0, u64::MAX), |(from, to), span| {
                (from.max(span.0), to.min(span.1))
            })
        };
        let id = |index: usize| meters[index].facts.id.to_string();
        let host = std::slice::from_ref(&recording.header.host);
        let keys = keyed(&traces, host, together)
            .into_iter()
            .enumerate()
            .map(|(place, (key, energy))| ReplayedKey {
                scope: key.scope,
                meters: key.meters.iter().map(|index| id(*index as usize)).collect(),
                is_headline: place == 0 && key.holds_the_work,
                energy,
            })
            .collect();
        let mut checks = Vec::new();
        for (counter, counts) in traces.iter().enumerate() {
            for (power, draws) in traces.iter().enumerate() {
                let kinds = (counts.kind, draws.kind) == (MeterKind::Counter, MeterKind::Power);
                let same = (&counts.device, counts.scope) == (&draws.device, draws.scope);
                if !(kinds && same) {
                    continue;
                }
                let (from, to) = together(&[counter, power]);
                let counted = energy_in_span(counts, from, to);
                let ratio = counted.and_then(|counted| {
                    let integrated = energy_in_span(draws, from, to)?;
                    let ratio = counted.joules.0 / integrated.joules.0;
                    Some(ratio)
                        .filter(|ratio| ratio.is_finite())
                        .ok_or(UnavailableReason::BelowResolution)
                });
                checks.push(Check {
                    counter: id(counter),
                    power: id(power),
                    ratio,
                });
            }
        }
        Self {
            meters,
            keys,
            checks,
        }
    }

    /// Whether any meter gave joules.
    pub fn gives_joules(&self) -> bool {
        self.meters.iter().any(|meter| meter.energy.is_ok())
    }
}

fn replayed(meter: &RecordedMeter, span_ns: (u64, u64)) -> ReplayedMeter {
    let (from, to) = span_ns;
    let curve = EnergyCurve::of(&meter.trace);
    let mut failures = BTreeMap::new();
    for (_, reason) in &meter.failures {
        *failures.entry(reason.in_words()).or_insert(0) += 1;
    }
    ReplayedMeter {
        facts: meter.facts.clone(),
        readings: meter.trace.v.len(),
        failures,
        seen_update_ns: seen_update_ns(&meter.trace),
        span_ns,
        faults: curve.as_ref().map_or_else(
            |_| Vec::new(),
            |curve| {
                let within = |fault: &&Fault| fault.from_ns < to && fault.to_ns > from;
                curve.faults().iter().filter(within).copied().collect()
            },
        ),
        energy: curve.and_then(|curve| curve.in_span(from, to)),
    }
}

/// The time that a trace covers.
fn extent(trace: &MeterTrace) -> (u64, u64) {
    let times = trace.source_t_ns.as_ref().unwrap_or(&trace.t_ns);
    let shift = window_shift_ns(trace);
    match (times.first(), times.last()) {
        (Some(first), Some(last)) => (first.saturating_sub(shift), last.saturating_sub(shift)),
        _ => (0, 0),
    }
}

/// The mean of a window stands for its middle, so its readings tell of so much earlier.
pub(super) fn window_shift_ns(trace: &MeterTrace) -> u64 {
    match (trace.averaging, trace.window_ns) {
        (Averaging::Window, Some(window)) => window / 2,
        _ => 0,
    }
}

/// The median time from one change of the value to the next.
pub fn seen_update_ns(trace: &MeterTrace) -> Option<u64> {
    let times = trace.source_t_ns.as_ref().unwrap_or(&trace.t_ns);
    let changes: Vec<u64> = trace
        .v
        .windows(2)
        .zip(times.iter().skip(1))
        .filter(|(pair, _)| pair[0] != pair[1])
        .map(|(_, at)| *at)
        .collect();
    let mut gaps: Vec<u64> = changes
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]))
        .collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied()
}

/// Joules of a sum of meters; one missing part leaves none, and a sum of nothing is no energy.
fn sum(
    parts: impl Iterator<Item = Result<SpanEnergy, UnavailableReason>>,
) -> Result<KeyEnergy, UnavailableReason> {
    let mut whole: Option<KeyEnergy> = None;
    for part in parts {
        let part = part?;
        let before = whole.unwrap_or(KeyEnergy {
            joules: Joules(0.0),
            error: Joules(0.0),
            ticks: u64::MAX,
        });
        whole = Some(KeyEnergy {
            joules: before.joules + part.joules,
            error: before.error + part.error,
            ticks: before.ticks.min(part.ticks),
        });
    }
    whole.ok_or(UnavailableReason::Absent)
}

#[cfg(test)]
mod tests;
