//! One meter's readings as cumulative joules over the record's clock.
//!
//! A counter is known at its *knots*: moments at which it took a new value. What it shows then is
//! all that was used until then, and nothing is known of how the joules of one step lie within it.
//! A span's edge nearly always falls within a step, half of which may be idle and half at load, so
//! a straight line through the step would be biased. The steps that lie wholly within the span
//! tell its mean power; that reaches from the first and last of them to the edges, but never
//! beyond what the knots around an edge allow. These knots also bound the error, with one
//! assumption: within the part of a step that a span cuts off, power is at most [`EDGE_PEAK`] times
//! the highest mean of a step within the span.
//!
//! When a knot was is itself known only within a bracket. Where readings wait for a change
//! ([`TICKED_FROM_NS`]) the bracket is the stated width of the change; what was read without
//! waiting ([`LONGEST_READ_NS`]) may be up to a period old. A faster counter is read now
//! and then, and at every phase's edge: what it shows is up to a period old, and where a reading is
//! next to the edge, a straight line serves, at an error of a tick.
//!
//! Power is integrated: a straight line between samples, or the last one held if the device holds
//! it; samples that are means of a window stand in the window's middle.

use super::{LONGEST_HOLE_NS, MAX_DEVICE_POWER, MAX_EDGE_SHARE, MIN_TICKS, TICKED_FROM_NS};
use crate::record::{Averaging, MeterKind, MeterTrace, UnavailableReason};
use crate::units::{Joules, Seconds, Watts};

/// Update period taken for a counter that states none, in nanoseconds: the slowest polled.
const ASSUMED_PERIOD_NS: u64 = 1_000_000_000;

/// A read takes less. A change that was waited for is hardly ever known better, so a reading that
/// took less did not wait.
const LONGEST_READ_NS: u64 = 1_000_000;

/// Power is polled this often, or every half period.
const POLL_NS: u64 = 50_000_000;

/// Power at the edge of a span is taken to be at most so many times the highest mean between two
/// knots of the span (and, on a fast counter, next to it).
const EDGE_PEAK: f64 = 2.0;

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
    shape: Shape,
    knots: Vec<Knot>,
    faults: Vec<Fault>,
    first_reading_ns: u64,
    last_reading_ns: u64,
    update_ns: Option<u64>,
    clock_error_ns: u64,
}

/// How a curve runs between its knots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A counter whose every update is seen.
    Ticks,
    /// A counter that updates much faster than it is read.
    Polled,
    /// Samples of power, each of which speaks of this much time.
    Power { reach_ns: u64, held: bool },
}

/// A point of the curve.
#[derive(Debug, Clone, Copy)]
struct Knot {
    at_ns: u64,
    /// When it was for certain not yet, and already, so.
    from_ns: u64,
    to_ns: u64,
    joules: f64,
    /// Joules thought to have been used since what a fast counter showed was true.
    lag: f64,
    /// The sample (power meters).
    watts: f64,
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

/// The curve at a span's edge, and the two knots that bound it.
#[derive(Debug, Clone, Copy)]
struct Edge {
    joules: f64,
    low: f64,
    high: f64,
    from_ns: u64,
    to_ns: u64,
}

impl Edge {
    fn error(&self) -> f64 {
        (self.high - self.joules).max(self.joules - self.low)
    }

    /// Sets it, within its bounds.
    fn set(&mut self, joules: f64) {
        self.joules = joules.clamp(self.low, self.high);
    }

    /// Bounds it by what may have been used since the knots before it and until those after it.
    fn tighten(&mut self, at_ns: u64, peak_watts: f64, knots: &[Knot]) {
        let between = |from: u64, to: u64| peak_watts * to.saturating_sub(from) as f64 / 1e9;
        for knot in knots {
            self.low = self.low.max(knot.joules - between(at_ns, knot.to_ns));
            self.high = self.high.min(knot.joules + between(knot.from_ns, at_ns));
        }
        self.high = self.high.max(self.low);
        self.set(self.joules);
    }

    /// Mean power between the two knots.
    fn watts(&self) -> f64 {
        let seconds = (self.to_ns - self.from_ns) as f64 / 1e9;
        if seconds > 0.0 {
            (self.high - self.low) / seconds
        } else {
            0.0
        }
    }
}

/// Joules of one meter in one span of the record's clock.
pub fn energy_in_span(
    trace: &MeterTrace,
    start_ns: u64,
    end_ns: u64,
) -> Result<SpanEnergy, UnavailableReason> {
    EnergyCurve::of(trace)?.in_span(start_ns, end_ns)
}

/// One reading as a curve needs it.
#[derive(Clone, Copy)]
struct Reading {
    t_ns: u64,
    latency_ns: u64,
    source_ns: Option<u64>,
    v: u64,
}

/// One sample of power in its place.
#[derive(Clone, Copy)]
struct Sample {
    at_ns: u64,
    v: u64,
    stamped_anew: bool,
}

impl EnergyCurve {
    /// The stretches in which the readings say nothing, in order.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The curve of a trace; an error when no part of the trace can be used.
    pub fn of(trace: &MeterTrace) -> Result<Self, UnavailableReason> {
        let count = trace.v.len();
        let stamps = trace.source_t_ns.as_ref();
        if trace.kind == MeterKind::Model {
            return Err(UnavailableReason::NotSupported);
        }
        let ragged = [trace.t_ns.len(), trace.latency_ns.len()] != [count; 2]
            || stamps.is_some_and(|stamps| stamps.len() != count);
        let backward = |times: &Vec<u64>| !times.is_sorted();
        if ragged || backward(&trace.t_ns) || stamps.is_some_and(backward) {
            return Err(UnavailableReason::Implausible);
        }
        let readings: Vec<Reading> = (0..count)
            .map(|i| Reading {
                t_ns: trace.t_ns[i],
                latency_ns: trace.latency_ns[i],
                source_ns: stamps.map(|stamps| stamps[i]),
                v: trace.v[i],
            })
            .collect();
        match trace.kind {
            MeterKind::Counter => Self::of_counter(trace, &readings),
            MeterKind::Power | MeterKind::Model => Self::of_power(trace, &readings),
        }
    }

    fn of_counter(trace: &MeterTrace, readings: &[Reading]) -> Result<Self, UnavailableReason> {
        let first = *readings.first().ok_or(UnavailableReason::Gap)?;
        let period = trace.update_ns.filter(|period| *period > 0);
        let fast = period.filter(|period| *period < TICKED_FROM_NS && first.source_ns.is_none());
        let stale_after = period.unwrap_or(LONGEST_HOLE_NS).saturating_mul(MIN_TICKS);
        let shape = if fast.is_some() {
            Shape::Polled
        } else {
            Shape::Ticks
        };
        let bracket = |last_old_ns: u64, reading: &Reading| {
            let half = reading.latency_ns / 2;
            let to_ns = reading.t_ns.saturating_add(half);
            let from_ns = match (reading.source_ns, period) {
                (Some(stamp), _) => return (stamp, stamp),
                // Updates jitter: what is shown may be older than one period.
                (None, Some(period)) if reading.latency_ns < LONGEST_READ_NS || fast.is_some() => {
                    (reading.t_ns.saturating_sub(half)).saturating_sub(period.saturating_mul(3) / 2)
                }
                (None, Some(_)) => reading.t_ns.saturating_sub(half),
                (None, None) => 0,
            };
            (from_ns.max(last_old_ns), to_ns)
        };
        let mut curve = Self::empty(trace, shape, first.source_ns.unwrap_or(first.t_ns));
        // What is shown first may be of any time before.
        let (_, to_ns) = bracket(0, &first);
        let mut last_change = (to_ns.saturating_sub(period.unwrap_or(0)), to_ns);
        curve.knot(0.0, last_change);
        let mut joules = 0.0;
        for pair in readings.windows(2) {
            let (before, now) = (pair[0], pair[1]);
            curve.last_reading_ns = now.t_ns.max(now.source_ns.unwrap_or(0));
            if now.v == before.v {
                if now.t_ns.saturating_sub(last_change.1) > stale_after {
                    curve.fault(last_change.1, now.t_ns, UnavailableReason::Stale);
                }
                continue;
            }
            let change = bracket(before.t_ns, &now);
            let step = CounterStep {
                before_uj: before.v,
                after_uj: now.v,
                unseen_ns: now.t_ns - before.t_ns,
                // One step may carry all that came since the last one, and a period more.
                grown_ns: (change.1.saturating_sub(last_change.0))
                    .saturating_add(period.unwrap_or(ASSUMED_PERIOD_NS)),
            };
            match step.joules(trace.wrap_uj) {
                Ok(step) => joules += step.0,
                Err(reason) => curve.fault(before.t_ns, now.t_ns, reason),
            }
            match fast {
                Some(period) => curve.polled(joules, change, now.t_ns, period),
                None => curve.knot(joules, change),
            }
            last_change = change;
        }
        Ok(curve)
    }

    fn of_power(trace: &MeterTrace, readings: &[Reading]) -> Result<Self, UnavailableReason> {
        let held = trace.averaging == Averaging::Held;
        let window = match trace.averaging {
            Averaging::Window => trace.window_ns.or(trace.update_ns).unwrap_or(0),
            _ => 0,
        };
        // A held value is as old as its stamp when it is first read, and still so when read again.
        let mut stamp_seen = None;
        let samples: Vec<Sample> = readings
            .iter()
            .scan(0, |last_ns: &mut u64, reading| {
                let again = reading.source_ns.is_some() && stamp_seen == reading.source_ns;
                stamp_seen = reading.source_ns;
                let at_ns = reading
                    .source_ns
                    .filter(|_| !(held && again))
                    .unwrap_or(reading.t_ns);
                *last_ns = at_ns.saturating_sub(window / 2).max(*last_ns);
                Some(Sample {
                    at_ns: *last_ns,
                    v: reading.v,
                    stamped_anew: reading.source_ns.is_some() && !again,
                })
            })
            .collect();
        let first = *samples.first().ok_or(UnavailableReason::Gap)?;
        let period = trace.update_ns.filter(|period| *period > 0);
        let stale_after = period.unwrap_or(LONGEST_HOLE_NS).saturating_mul(MIN_TICKS);
        // A sampler keeps at least one reading in five periods and notices so at its next poll; of
        // a long run it keeps fewer, evenly.
        let spaced = samples.last().map_or(0, |last| {
            (last.at_ns - first.at_ns) / (samples.len() as u64 - 1).max(1)
        });
        let longest_hole = period.map_or(LONGEST_HOLE_NS, |period| {
            let kept = (period.saturating_mul(5))
                .max(spaced.saturating_mul(4))
                .min(LONGEST_HOLE_NS)
                .max(period.saturating_mul(2));
            kept.saturating_add(POLL_NS.max(period / 2))
        });
        let reach_ns = window.max(period.filter(|_| held).unwrap_or(0));
        let mut curve = Self::empty(trace, Shape::Power { reach_ns, held }, first.at_ns);
        curve.sample(first.at_ns, 0.0, microwatts(first.v), 0.0);
        let (mut joules, mut squared_error) = (0.0, 0.0);
        let mut unchanged_since = first.at_ns;
        for pair in samples.windows(2) {
            let (before_ns, at_ns) = (pair[0].at_ns, pair[1].at_ns);
            if at_ns == before_ns {
                continue;
            }
            curve.last_reading_ns = at_ns;
            let time = Seconds((at_ns - before_ns) as f64 / 1e9);
            let (left, right) = (microwatts(pair[0].v), microwatts(pair[1].v));
            // A device that works draws something: 0 W is a sensor that says nothing.
            let impossible = |power: Watts| power.0 <= 0.0 || power.0 > MAX_DEVICE_POWER.0;
            if impossible(left) || impossible(right) {
                curve.fault(before_ns, at_ns, UnavailableReason::Implausible);
            } else if at_ns - before_ns > longest_hole {
                curve.fault(before_ns, at_ns, UnavailableReason::Gap);
            }
            // The same value under a new stamp of the device is a fresh one.
            if pair[1].v != pair[0].v || pair[1].stamped_anew {
                unchanged_since = at_ns;
            } else if at_ns - unchanged_since > stale_after {
                curve.fault(unchanged_since, at_ns, UnavailableReason::Stale);
            }
            let mean = if held {
                left
            } else {
                Watts(f64::midpoint(left.0, right.0))
            };
            joules += (mean * time).0;
            let half_step = (Watts((right.0 - left.0).abs() / 2.0) * time).0;
            squared_error += half_step * half_step;
            curve.sample(at_ns, joules, right, squared_error);
        }
        Ok(curve)
    }

    fn empty(trace: &MeterTrace, shape: Shape, first_ns: u64) -> Self {
        Self {
            shape,
            knots: Vec::new(),
            faults: Vec::new(),
            first_reading_ns: first_ns,
            last_reading_ns: first_ns,
            update_ns: trace.update_ns.filter(|period| *period > 0),
            clock_error_ns: trace.clock_error_ns.unwrap_or(0),
        }
    }

    /// A new value of a counter, taken at some moment of the bracket.
    fn knot(&mut self, joules: f64, (from_ns, to_ns): (u64, u64)) {
        let last = self.knots.last().copied();
        let from_ns = last.map_or(from_ns, |last| from_ns.max(last.from_ns));
        let to_ns = last
            .map_or(to_ns, |last| to_ns.max(last.to_ns))
            .max(from_ns);
        let at_ns = from_ns.midpoint(to_ns);
        let knot = Knot {
            at_ns: last.map_or(at_ns, |last| at_ns.max(last.at_ns)),
            from_ns,
            to_ns,
            joules,
            lag: 0.0,
            watts: 0.0,
            squared_error: 0.0,
        };
        self.knots.push(knot);
    }

    /// A reading of a fast counter: what it shows is half a period old in the mean, and the power
    /// of that time is that of the time before.
    fn polled(&mut self, joules: f64, bracket: (u64, u64), t_ns: u64, period: u64) {
        let last_ns = self.knots.last().map_or(0, |last| last.at_ns);
        self.knot(joules, bracket);
        let long_before = t_ns.saturating_sub(MIN_TICKS * period);
        let earlier = self
            .knots
            .iter()
            .rev()
            .find(|knot| knot.at_ns <= long_before && knot.at_ns < t_ns);
        let lag = earlier.map_or(0.0, |knot| {
            (joules - knot.joules) / (t_ns - knot.at_ns) as f64 * (period / 2) as f64
        });
        if let Some(knot) = self.knots.last_mut() {
            (knot.at_ns, knot.lag) = (t_ns.max(last_ns), lag);
        }
    }

    fn sample(&mut self, at_ns: u64, joules: f64, watts: Watts, squared_error: f64) {
        self.knots.push(Knot {
            at_ns,
            from_ns: at_ns,
            to_ns: at_ns,
            joules,
            lag: 0.0,
            watts: watts.0,
            squared_error,
        });
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
    /// loosely ([`MAX_EDGE_SHARE`]), or in which nothing at all was used.
    pub fn in_span(&self, start_ns: u64, end_ns: u64) -> Result<SpanEnergy, UnavailableReason> {
        let energy = self.measured(start_ns, end_ns)?;
        if energy.ticks < MIN_TICKS || energy.error.0 > MAX_EDGE_SHARE * energy.joules.0 {
            return Err(UnavailableReason::BelowResolution);
        }
        if energy.joules.0 <= 0.0 {
            return Err(UnavailableReason::Stale);
        }
        Ok(energy)
    }

    /// As [`Self::in_span`], however few ticks: for the parts of a span that is itself resolved.
    pub(super) fn measured(
        &self,
        start_ns: u64,
        end_ns: u64,
    ) -> Result<SpanEnergy, UnavailableReason> {
        let (start, end, inner) = self.settled(start_ns, end_ns)?;
        let joules = (end.joules - start.joules).max(0.0);
        // Whatever happened between the bounding knots, the truth lies in between.
        let least = (end.low - start.high).max(0.0);
        let bound = (end.high - start.low - joules).max(joules - least) + inner.sqrt();
        let seconds = (end_ns - start_ns) as f64 / 1e9;
        let watts = (joules / seconds).max(start.watts()).max(end.watts());
        let clock = watts * self.clock_error_ns as f64 / 1e9;
        let spread = start.error().hypot(end.error()).hypot(inner.sqrt());
        let knots_until = |at: u64| self.knots.partition_point(|knot| knot.at_ns <= at);
        let ticks = match self.update_ns {
            Some(period) => (end_ns - start_ns) / period,
            None => (knots_until(end_ns) - knots_until(start_ns)) as u64,
        };
        Ok(SpanEnergy {
            joules: Joules(joules),
            error: Joules(bound.max(0.0) + clock),
            spread: Joules(spread),
            clock: Joules(clock),
            ticks,
        })
    }

    /// The curve at both edges of a span, as the span itself tells them: joules of a difference.
    pub(super) fn edges(
        &self,
        start_ns: u64,
        end_ns: u64,
    ) -> Result<(f64, f64), UnavailableReason> {
        let (start, end, _) = self.settled(start_ns, end_ns)?;
        Ok((start.joules, end.joules))
    }

    /// Both edges of a span, and the squared error of what is between them.
    fn settled(&self, start_ns: u64, end_ns: u64) -> Result<(Edge, Edge, f64), UnavailableReason> {
        if end_ns <= start_ns {
            return Err(UnavailableReason::BelowResolution);
        }
        if start_ns < self.first_reading_ns || end_ns > self.last_reading_ns {
            return Err(UnavailableReason::Gap);
        }
        let (mut start, mut end) = (self.edge(start_ns), self.edge(end_ns));
        let spoiled = self
            .faults
            .iter()
            .find(|f| f.from_ns < end.to_ns && f.to_ns > start.from_ns);
        if let Some(fault) = spoiled {
            return Err(fault.reason);
        }
        let inner = match self.shape {
            Shape::Ticks | Shape::Polled => {
                self.settle((start_ns, &mut start), (end_ns, &mut end));
                0.0
            }
            Shape::Power { reach_ns, held } => {
                self.loosen(start_ns, &mut start, reach_ns, held);
                self.loosen(end_ns, &mut end, reach_ns, held);
                self.squared_error_between(start_ns, end_ns)
            }
        };
        Ok((start, end, inner))
    }

    /// The curve at a moment within the readings: on a straight line between its neighbours, and
    /// at least what the last knot that was for certain before it shows, at most what the first
    /// that was for certain after it shows.
    fn edge(&self, at_ns: u64) -> Edge {
        let before = self.knots.partition_point(|knot| knot.to_ns <= at_ns);
        let after = self.knots.partition_point(|knot| knot.from_ns < at_ns);
        let left = self.knots[before.saturating_sub(1)];
        // Nothing changed any more up to the last reading: at most one more step is due.
        let steps = self.knots.windows(2).map(|k| k[1].joules - k[0].joules);
        let right = self.knots.get(after).map_or_else(
            || {
                (
                    left.joules + steps.fold(0.0, f64::max),
                    self.last_reading_ns,
                )
            },
            |right| (right.joules, right.to_ns),
        );
        Edge {
            joules: self
                .straight(at_ns)
                .clamp(left.joules, right.0.max(left.joules)),
            low: left.joules,
            high: right.0.max(left.joules),
            from_ns: left.from_ns.min(at_ns),
            to_ns: right.1.max(at_ns),
        }
    }

    /// On the straight line between two knots; flat, or held, after the last one.
    fn straight(&self, at_ns: u64) -> f64 {
        let after = self.knots.partition_point(|knot| knot.at_ns <= at_ns);
        let left = self.knots[after.saturating_sub(1)];
        let Some(right) = self.knots.get(after).filter(|_| at_ns > left.at_ns) else {
            return left.joules + left.lag;
        };
        let share = (at_ns - left.at_ns) as f64 / (right.at_ns - left.at_ns) as f64;
        let used = |knot: &Knot| knot.joules + knot.lag;
        used(&left) + share * (used(right) - used(&left))
    }

    /// Bounds both edges of a counter's span, and sets them within these bounds: to the straight
    /// line where a fast counter was read next to the edge, else to where the mean power of the
    /// steps wholly within the span leads. With no such step the straight line stays.
    fn settle(&self, (start_ns, start): (u64, &mut Edge), (end_ns, end): (u64, &mut Edge)) {
        let first = self.knots.partition_point(|knot| knot.at_ns < start_ns);
        let beyond = self.knots.partition_point(|knot| knot.at_ns <= end_ns);
        let inner = self.knots.get(first..beyond).unwrap_or_default();
        let period = self.update_ns.unwrap_or(0);
        if self.shape == Shape::Polled {
            // The steps over the edges may hold more power than those within.
            let around = first.saturating_sub(2)..self.knots.len().min(beyond + 2);
            let peak = peak_watts(&self.knots[around], period);
            for (at_ns, edge) in [(start_ns, &mut *start), (end_ns, &mut *end)] {
                let next = self.knots.partition_point(|knot| knot.at_ns <= at_ns);
                let near = next.saturating_sub(2)..self.knots.len().min(next + 2);
                edge.tighten(at_ns, peak, &self.knots[near]);
            }
        }
        let [head, .., tail] = inner else {
            return;
        };
        if self.shape == Shape::Ticks && inner.len() > 2 {
            let peak = peak_watts(inner, 0);
            start.tighten(start_ns, peak, &[*head]);
            end.tighten(end_ns, peak, &[*tail]);
        }
        let seconds = |from: u64, to: u64| (to - from) as f64 / 1e9;
        let inside = seconds(head.at_ns, tail.at_ns);
        let used = |knot: &Knot| knot.joules + knot.lag;
        if inside > 0.0 {
            let watts = (used(tail) - used(head)) / inside;
            let read_at = |at_ns: u64| {
                let near = |knot: &Knot| knot.at_ns.abs_diff(at_ns) <= 2 * period;
                let next = self.knots.partition_point(|knot| knot.at_ns <= at_ns);
                self.shape == Shape::Polled
                    && (self.knots.get(next).is_some_and(near)
                        || near(&self.knots[next.saturating_sub(1)]))
            };
            if !read_at(start_ns) {
                start.set(used(head) - watts * seconds(start_ns, head.at_ns));
            }
            if !read_at(end_ns) {
                end.set(used(tail) + watts * seconds(tail.at_ns, end_ns));
            }
        }
    }

    /// How far integrated power may be off at an edge: power may have changed at any moment
    /// between the samples around it.
    fn loosen(&self, at_ns: u64, edge: &mut Edge, reach_ns: u64, held: bool) {
        let after = self.knots.partition_point(|knot| knot.at_ns <= at_ns);
        let (left, right) = (
            self.knots[after.saturating_sub(1)],
            self.knots[after.min(self.knots.len() - 1)],
        );
        let reach = reach_ns.max(right.at_ns - left.at_ns);
        let within = |knot: &&Knot| {
            knot.at_ns.abs_diff(at_ns) <= reach
                || knot.at_ns == left.at_ns
                || knot.at_ns == right.at_ns
        };
        let near = || self.knots.iter().filter(within).map(|knot| knot.watts);
        let range = near().fold(0.0, f64::max) - near().fold(f64::INFINITY, f64::min);
        let share = if held { 1.0 } else { 0.5 };
        let error = share * range.max(0.0) * reach as f64 / 1e9;
        edge.joules = self.straight(at_ns);
        (edge.low, edge.high) = (edge.joules - error, edge.joules + error);
    }

    /// Squared errors of the samples wholly within a span.
    fn squared_error_between(&self, start_ns: u64, end_ns: u64) -> f64 {
        let first = self.knots.partition_point(|knot| knot.at_ns < start_ns);
        let beyond = self.knots.partition_point(|knot| knot.at_ns <= end_ns);
        match self.knots.get(first..beyond) {
            Some([first, .., last]) => (last.squared_error - first.squared_error).max(0.0),
            _ => 0.0,
        }
    }
}

/// The highest power that is taken to be possible among these knots, which may be closer than
/// `least_ns` only by chance.
fn peak_watts(knots: &[Knot], least_ns: u64) -> f64 {
    let watts = |pair: &[Knot]| {
        let ns = (pair[1].at_ns.saturating_sub(pair[0].at_ns))
            .max(least_ns)
            .max(1);
        (pair[1].joules - pair[0].joules) / (ns as f64 / 1e9)
    };
    EDGE_PEAK * knots.windows(2).map(watts).fold(0.0, f64::max)
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

#[cfg(test)]
mod tests;
