//! One meter's readings as cumulative joules over the record's clock.

use super::{ASSUMED_PERIOD_NS, LONGEST_HOLE_NS, MAX_DEVICE_POWER, MAX_EDGE_SHARE, MIN_TICKS};
use crate::record::{Averaging, MeterKind, MeterTrace, UnavailableReason};
use crate::units::{Joules, Seconds, Watts};

/// Joules of one span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpanEnergy {
    /// Joules, never negative.
    pub joules: Joules,
    /// Bound of what reading at discrete moments and a clock of another host may get wrong, sensor
    /// accuracy apart.
    pub error: Joules,
    /// As `error` without the clock, edges taken to err apart from one another: 95 %.
    pub spread: Joules,
    /// Of `error`, what the clock of another host may get wrong.
    pub clock: Joules,
    /// Update periods of the slowest meter within the span.
    pub ticks: u64,
}

/// Cumulative joules of one meter.
#[derive(Debug, Clone)]
pub struct EnergyCurve {
    knots: Vec<Knot>,
    faults: Vec<Fault>,
    last_reading_ns: u64,
    update_ns: Option<u64>,
    stepped: bool,
}

/// A point of the curve.
#[derive(Debug, Clone, Copy)]
struct Knot {
    at_ns: u64,
    joules: f64,
    /// Sum of squared segment errors so far (power meters).
    squared_error: f64,
}

/// A stretch in which the readings say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Where it begins.
    pub from_ns: u64,
    /// Where it ends.
    pub to_ns: u64,
    /// What is wrong.
    pub reason: UnavailableReason,
}

/// Joules of one meter in one span of the record's clock.
pub fn energy_in_span(
    trace: &MeterTrace,
    start_ns: u64,
    end_ns: u64,
) -> Result<SpanEnergy, UnavailableReason> {
    EnergyCurve::of(trace)?.in_span(start_ns, end_ns)
}

impl EnergyCurve {
    /// The stretches in which the readings say nothing, in order.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The curve of a trace; an error when no part of the trace can be used.
    pub fn of(trace: &MeterTrace) -> Result<Self, UnavailableReason> {
        let times = trace.source_t_ns.as_ref().unwrap_or(&trace.t_ns);
        if trace.kind == MeterKind::Model {
            return Err(UnavailableReason::NotSupported);
        }
        if times.len() != trace.v.len() || trace.t_ns.len() != trace.v.len() {
            return Err(UnavailableReason::Implausible);
        }
        let readings: Vec<_> = times.iter().copied().zip(trace.v.iter().copied()).collect();
        if readings.windows(2).any(|pair| pair[1].0 < pair[0].0) {
            return Err(UnavailableReason::Implausible);
        }
        match trace.kind {
            MeterKind::Counter => Self::of_counter(trace, &readings),
            MeterKind::Power | MeterKind::Model => Self::of_power(trace, &readings),
        }
    }

    fn of_counter(trace: &MeterTrace, readings: &[(u64, u64)]) -> Result<Self, UnavailableReason> {
        let &(first_ns, _) = readings.first().ok_or(UnavailableReason::Gap)?;
        let mut curve = Self::empty(trace, first_ns, true);
        let mut joules = 0.0;
        // The moment of the last change, and of the last reading that showed no newer value.
        let mut unchanged_since = first_ns;
        for pair in readings.windows(2) {
            let ((before_ns, before), (at_ns, value)) = (pair[0], pair[1]);
            curve.last_reading_ns = at_ns;
            if value == before {
                if trace.update_ns.is_some_and(|period| {
                    at_ns - unchanged_since > period.saturating_mul(MIN_TICKS)
                }) {
                    curve.fault(unchanged_since, at_ns, UnavailableReason::Stale);
                }
                continue;
            }
            let step = CounterStep {
                before_uj: before,
                after_uj: value,
                unseen_ns: at_ns - before_ns,
                // One step may carry all that came since the last one, and a period more.
                grown_ns: (at_ns - unchanged_since)
                    .saturating_add(trace.update_ns.unwrap_or(ASSUMED_PERIOD_NS)),
            };
            match step.joules(trace.wrap_uj) {
                Ok(step) => joules += step.0,
                Err(reason) => curve.fault(before_ns, at_ns, reason),
            }
            curve.knot(at_ns, joules, 0.0);
            unchanged_since = at_ns;
        }
        Ok(curve)
    }

    fn of_power(trace: &MeterTrace, readings: &[(u64, u64)]) -> Result<Self, UnavailableReason> {
        let shift = match (trace.averaging, trace.window_ns) {
            (Averaging::Window, Some(window)) => window / 2,
            _ => 0,
        };
        let held = trace.averaging == Averaging::Held;
        let samples: Vec<_> = readings
            .iter()
            .map(|(at, v)| (at.saturating_sub(shift), *v))
            .collect();
        let &(first_ns, _) = samples.first().ok_or(UnavailableReason::Gap)?;
        let longest_hole = trace.update_ns.map_or(LONGEST_HOLE_NS, |period| {
            (period.saturating_mul(5))
                .min(LONGEST_HOLE_NS)
                .max(period.saturating_mul(2))
        });
        let mut curve = Self::empty(trace, first_ns, false);
        let (mut joules, mut squared_error) = (0.0, 0.0);
        let mut unchanged_since = first_ns;
        for pair in samples.windows(2) {
            let ((before_ns, before), (at_ns, value)) = (pair[0], pair[1]);
            if at_ns == before_ns {
                continue;
            }
            curve.last_reading_ns = at_ns;
            let time = Seconds((at_ns - before_ns) as f64 / 1e9);
            let (left, right) = (microwatts(before), microwatts(value));
            if left.0.max(right.0) > MAX_DEVICE_POWER.0 {
                curve.fault(before_ns, at_ns, UnavailableReason::Implausible);
            } else if at_ns - before_ns > longest_hole {
                curve.fault(before_ns, at_ns, UnavailableReason::Gap);
            }
            if value == before && !held {
                if trace.update_ns.is_some_and(|period| {
                    at_ns - unchanged_since > period.saturating_mul(MIN_TICKS)
                }) {
                    curve.fault(unchanged_since, at_ns, UnavailableReason::Stale);
                }
            } else {
                unchanged_since = at_ns;
            }
            let mean = if held {
                left
            } else {
                Watts(f64::midpoint(left.0, right.0))
            };
            joules += (mean * time).0;
            let half_step = (Watts((right.0 - left.0).abs() / 2.0) * time).0;
            squared_error += half_step * half_step;
            curve.knot(at_ns, joules, squared_error);
        }
        Ok(curve)
    }

    fn empty(trace: &MeterTrace, first_ns: u64, stepped: bool) -> Self {
        let start = Knot {
            at_ns: first_ns,
            joules: 0.0,
            squared_error: 0.0,
        };
        Self {
            knots: vec![start],
            faults: Vec::new(),
            last_reading_ns: first_ns,
            update_ns: trace.update_ns.filter(|period| *period > 0),
            stepped,
        }
    }

    fn knot(&mut self, at_ns: u64, joules: f64, squared_error: f64) {
        match self.knots.last_mut() {
            // Two readings of one moment: the later value stands.
            Some(last) if last.at_ns == at_ns => {
                *last = Knot {
                    at_ns,
                    joules,
                    squared_error,
                }
            }
            _ => self.knots.push(Knot {
                at_ns,
                joules,
                squared_error,
            }),
        }
    }

    fn fault(&mut self, from_ns: u64, to_ns: u64, reason: UnavailableReason) {
        match self.faults.last_mut() {
            Some(last) if last.reason == reason && last.to_ns >= from_ns => last.to_ns = to_ns,
            _ => self.faults.push(Fault {
                from_ns,
                to_ns,
                reason,
            }),
        }
    }

    /// Joules between two moments. Refused: a span that reaches beyond the readings or over a
    /// fault, holds fewer than [`MIN_TICKS`] update periods, or whose edges are known too
    /// loosely ([`MAX_EDGE_SHARE`]).
    pub fn in_span(&self, start_ns: u64, end_ns: u64) -> Result<SpanEnergy, UnavailableReason> {
        let energy = self.measured(start_ns, end_ns)?;
        if energy.ticks < MIN_TICKS || energy.error.0 > MAX_EDGE_SHARE * energy.joules.0 {
            return Err(UnavailableReason::BelowResolution);
        }
        Ok(energy)
    }

    /// As [`Self::in_span`], however few ticks: for the parts of a span that is itself resolved.
    pub(super) fn measured(
        &self,
        start_ns: u64,
        end_ns: u64,
    ) -> Result<SpanEnergy, UnavailableReason> {
        if end_ns <= start_ns {
            return Err(UnavailableReason::BelowResolution);
        }
        if start_ns < self.knots[0].at_ns || end_ns > self.last_reading_ns {
            return Err(UnavailableReason::Gap);
        }
        let (start, end) = (self.edge(start_ns), self.edge(end_ns));
        let spoiled = self
            .faults
            .iter()
            .find(|f| f.from_ns < end.to_ns && f.to_ns > start.from_ns);
        if let Some(fault) = spoiled {
            return Err(fault.reason);
        }
        let joules = (end.joules - start.joules).max(0.0);
        let error = if self.stepped {
            // Whatever happened between the bounding readings, the truth lies in between.
            let least = (end.low - start.high).max(0.0);
            (end.high - start.low - joules).max(joules - least)
        } else {
            let inner = (end.squared_error - start.squared_error).max(0.0);
            inner.sqrt()
        };
        let knots_until = |at: u64| self.knots.partition_point(|knot| knot.at_ns <= at);
        let ticks = match self.update_ns {
            Some(period) => (end_ns - start_ns) / period,
            None => (knots_until(end_ns) - knots_until(start_ns)) as u64,
        };
        Ok(SpanEnergy {
            joules: Joules(joules),
            error: Joules(error.max(0.0)),
            spread: Joules(error.max(0.0)),
            clock: Joules(0.0),
            ticks,
        })
    }

    /// The curve at a moment within the readings.
    fn edge(&self, at_ns: u64) -> Edge {
        let after = self.knots.partition_point(|knot| knot.at_ns <= at_ns);
        let left = self.knots[after.saturating_sub(1)];
        let Some(right) = self.knots.get(after) else {
            // Nothing changed any more up to the last reading: at most one more step is due.
            let step = match self.knots.len() {
                0 | 1 => 0.0,
                n => left.joules - self.knots[n - 2].joules,
            };
            let due = if self.stepped && at_ns > left.at_ns {
                step
            } else {
                0.0
            };
            return Edge {
                joules: left.joules,
                low: left.joules,
                high: left.joules + due,
                squared_error: left.squared_error,
                from_ns: left.at_ns,
                to_ns: at_ns,
            };
        };
        if at_ns == left.at_ns {
            return Edge {
                joules: left.joules,
                low: left.joules,
                high: left.joules,
                squared_error: left.squared_error,
                from_ns: at_ns,
                to_ns: at_ns,
            };
        }
        let share = (at_ns - left.at_ns) as f64 / (right.at_ns - left.at_ns) as f64;
        Edge {
            joules: left.joules + share * (right.joules - left.joules),
            low: left.joules,
            high: right.joules,
            squared_error: left.squared_error + share * (right.squared_error - left.squared_error),
            from_ns: left.at_ns,
            to_ns: right.at_ns,
        }
    }
}

/// The curve at a span's edge, and the two readings that bound it.
struct Edge {
    joules: f64,
    low: f64,
    high: f64,
    squared_error: f64,
    from_ns: u64,
    to_ns: u64,
}

fn microwatts(v: u64) -> Watts {
    Watts(v as f64 / 1e6)
}

/// Two readings of a counter that differ.
struct CounterStep {
    before_uj: u64,
    after_uj: u64,
    /// Time between the two readings, in which a wrap could go unseen.
    unseen_ns: u64,
    /// Time in which the step's energy may have been used.
    grown_ns: u64,
}

impl CounterStep {
    /// Joules of the step. A smaller value is a wrap when the range is known and the implied
    /// power possible, else a reset. Readings so far apart that the counter could have gone
    /// round unseen are a gap.
    fn joules(&self, wrap_uj: Option<u64>) -> Result<Joules, UnavailableReason> {
        let most_in = |ns: u64| MAX_DEVICE_POWER * Seconds(ns as f64 / 1e9);
        let most = most_in(self.grown_ns);
        if wrap_uj.is_some_and(|range| self.before_uj.max(self.after_uj) > range) {
            return Err(UnavailableReason::Implausible);
        }
        if wrap_uj.is_some_and(|range| Joules::from_microjoules(range) < most_in(self.unseen_ns)) {
            return Err(UnavailableReason::Gap);
        }
        match (self.after_uj.checked_sub(self.before_uj), wrap_uj) {
            (Some(step), _) if Joules::from_microjoules(step) <= most => {
                Ok(Joules::from_microjoules(step))
            }
            (Some(_), _) => Err(UnavailableReason::Implausible),
            (None, Some(range)) => {
                let step = Joules::from_microjoules(range - self.before_uj + self.after_uj);
                if step <= most {
                    Ok(step)
                } else {
                    Err(UnavailableReason::Reset)
                }
            }
            (None, None) => Err(UnavailableReason::Reset),
        }
    }
}
