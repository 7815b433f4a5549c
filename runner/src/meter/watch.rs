//! What a meter says now, for `joulemark meter watch`.
//!
//! A [`Gauge`] takes the readings of one meter as they come and tells watts of the last seconds and
//! joules since the first reading, both by `domain::energy`: what it would not publish is not shown
//! here either. It holds at most `MAX_READINGS` readings: when that many are there, the older
//! half is settled to joules and dropped, so that watching may go on for ever.

use std::collections::VecDeque;
use std::time::Duration;

use domain::energy::energy_in_span;
use domain::record::{MeterKind, MeterTrace, UnavailableReason};
use domain::units::{Joules, Watts};

use super::replay::{MeterFacts, Stamped, window_shift_ns};
use super::{MeterInfo, Reach, ReadError, Reading};

/// Readings that a gauge holds.
const MAX_READINGS: usize = 4_096;

/// Changes that tell the update period.
const MAX_CHANGES: usize = 64;

/// What is called "now", the first that the meter resolves.
const NOW: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_mins(1),
];

/// A meter that does not change is noted so often.
const UNCHANGED: Duration = Duration::from_secs(1);

/// Counters of this update period or more are polled until they change.
const TICKED_FROM_NS: u64 = 5_000_000;

/// How often a meter is polled while it is watched.
pub fn polling_period(info: &MeterInfo) -> Duration {
    let period = Duration::from_nanos(info.update_ns.unwrap_or(0));
    match info.reach {
        Reach::Local => (period / 5).clamp(Duration::from_millis(50), Duration::from_secs(1)),
        Reach::Network => (period / 2).clamp(Duration::from_millis(200), Duration::from_secs(1)),
    }
}

/// What one meter says.
#[derive(Debug)]
pub struct Gauge {
    facts: MeterFacts,
    trace: MeterTrace,
    /// Joules of the readings that were dropped, or what spoilt them.
    settled: Result<Joules, UnavailableReason>,
    first_ns: Option<u64>,
    /// The last reading, kept or not.
    last: Option<Stamped>,
    changes: VecDeque<u64>,
    trouble: Option<ReadError>,
}

/// Joules since the first reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Total {
    /// Joules.
    pub joules: Joules,
    /// Time that they were used in.
    pub seconds: f64,
}

impl Gauge {
    /// A gauge without readings.
    pub fn new(facts: MeterFacts) -> Self {
        Self {
            trace: facts.trace(0),
            facts,
            settled: Ok(Joules(0.0)),
            first_ns: None,
            last: None,
            changes: VecDeque::new(),
            trouble: None,
        }
    }

    /// What the meter is.
    pub fn facts(&self) -> &MeterFacts {
        &self.facts
    }

    /// Takes a reading, on a clock whose zero is `zero_ns`. What is answered is to be recorded:
    /// a reading that shows nothing new is left out, once a second apart.
    pub fn take(&mut self, reading: &Reading, zero_ns: u64) -> Option<Stamped> {
        let mut now = Stamped::of(reading, zero_ns);
        let seen = now;
        self.trouble = None;
        self.first_ns.get_or_insert(now.t_ns);
        let changed = self
            .last
            .is_none_or(|last| (last.value, last.source_ns) != (now.value, now.source_ns));
        if let Some(last) = self.last.replace(seen) {
            let kept_ns = self.trace.t_ns.last().copied().unwrap_or(0);
            if !changed && now.t_ns.saturating_sub(kept_ns) < UNCHANGED.as_nanos() as u64 {
                return None;
            }
            let is_ticked = self.facts.kind == MeterKind::Counter
                && self
                    .facts
                    .update_ns
                    .is_some_and(|period| period >= TICKED_FROM_NS);
            if changed && is_ticked && now.t_ns > last.t_ns {
                // It changed at some moment since it was last seen unchanged.
                now.latency_ns = now.t_ns - last.t_ns;
                now.t_ns = last.t_ns + now.latency_ns / 2;
            }
        }
        if changed {
            self.changes.push_back(now.t_ns);
            if self.changes.len() > MAX_CHANGES {
                self.changes.pop_front();
            }
        }
        self.keep(now);
        Some(now)
    }

    /// Takes a failed read.
    pub fn fail(&mut self, error: ReadError) {
        self.trouble = Some(error);
    }

    /// Why the last read failed, if it did.
    pub fn trouble(&self) -> Option<&ReadError> {
        self.trouble.as_ref()
    }

    /// Mean power of the last seconds; the reason where the meter does not resolve a minute.
    pub fn watts(&self) -> Result<Watts, UnavailableReason> {
        if let Some(error) = &self.trouble {
            return Err(error.reason());
        }
        let (first, last) = self.extent().ok_or(UnavailableReason::BelowResolution)?;
        let mut reason = UnavailableReason::BelowResolution;
        for span in NOW {
            let from = last.saturating_sub(span.as_nanos() as u64).max(first);
            match energy_in_span(&self.trace, from, last) {
                Ok(energy) => return Ok(Watts(energy.joules.0 / ((last - from) as f64 / 1e9))),
                Err(why) => reason = why,
            }
            if from == first {
                break;
            }
        }
        Err(reason)
    }

    /// Joules since the first reading.
    pub fn total(&self) -> Result<Total, UnavailableReason> {
        let settled = self.settled?;
        let (first, last) = self.extent().ok_or(UnavailableReason::BelowResolution)?;
        let energy = energy_in_span(&self.trace, first, last)?;
        let began = self.first_ns.unwrap_or(first);
        Ok(Total {
            joules: settled + energy.joules,
            seconds: last.saturating_sub(began) as f64 / 1e9,
        })
    }

    /// Median time from one change to the next.
    pub fn seen_update_ns(&self) -> Option<u64> {
        let changes = self.changes.iter().zip(self.changes.iter().skip(1));
        let mut gaps: Vec<u64> = changes
            .map(|(one, next)| next.saturating_sub(*one))
            .collect();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied()
    }

    /// Time since the value last changed, at `now_ns` of the same clock.
    pub fn age_ns(&self, now_ns: u64) -> Option<u64> {
        self.changes.back().map(|at| now_ns.saturating_sub(*at))
    }

    /// The time that the readings held now can be integrated over.
    fn extent(&self) -> Option<(u64, u64)> {
        let times = self.trace.source_t_ns.as_ref().unwrap_or(&self.trace.t_ns);
        let shift = window_shift_ns(&self.trace);
        let (first, last) = (times.first()?, times.last()?);
        Some((first.saturating_sub(shift), last.saturating_sub(shift)))
            .filter(|(first, last)| first < last)
    }

    fn keep(&mut self, reading: Stamped) {
        let trace = &mut self.trace;
        // A stamp that is there now and then is of no use.
        let stamped = trace.v.is_empty() || trace.source_t_ns.is_some();
        match reading.source_ns.filter(|_| stamped) {
            Some(at) => trace.source_t_ns.get_or_insert_default().push(at),
            None => trace.source_t_ns = None,
        }
        // Two polls of one moment, or a clock that an edge was moved on, never go back.
        let floor = trace.t_ns.last().copied().unwrap_or(0);
        trace.t_ns.push(reading.t_ns.max(floor));
        trace.latency_ns.push(reading.latency_ns);
        trace.v.push(reading.value);
        if trace.v.len() >= MAX_READINGS {
            self.settle();
        }
    }

    /// Turns the older half of the readings into joules.
    fn settle(&mut self) {
        let half = MAX_READINGS / 2;
        let shift = window_shift_ns(&self.trace);
        let times = self.trace.source_t_ns.as_ref().unwrap_or(&self.trace.t_ns);
        let (first, middle) = (
            times[0].saturating_sub(shift),
            times[half].saturating_sub(shift),
        );
        let energy = energy_in_span(&self.trace, first, middle);
        self.settled = self.settled.and_then(|before| Ok(before + energy?.joules));
        let trace = &mut self.trace;
        let columns = [&mut trace.t_ns, &mut trace.latency_ns, &mut trace.v];
        for column in columns.into_iter().chain(trace.source_t_ns.as_mut()) {
            column.drain(..half);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::replay::file::tests::info as file_info;
    use proptest::prelude::*;

    fn gauge(kind: MeterKind, update_ns: Option<u64>) -> Gauge {
        let mut info = file_info("p", kind);
        info.update_ns = update_ns;
        Gauge::new(MeterFacts::of([&info]).remove(0))
    }

    fn at(ns: u64, value: u64) -> Reading {
        Reading {
            before_ns: ns,
            after_ns: ns,
            source_ns: None,
            value,
        }
    }

    #[test]
    fn a_long_watch_holds_few_readings_and_loses_no_joule() {
        let mut gauge = gauge(MeterKind::Counter, Some(1_000_000));
        for n in 0..100_000_u64 {
            gauge.take(&at(n * 50_000_000, n * 1_000_000), 0);
            assert!(gauge.trace.v.len() < MAX_READINGS);
        }
        let total = gauge.total().expect("measured");
        assert!((total.joules.0 - 99_999.0).abs() < 1.0, "{total:?}");
        assert!((total.seconds - 4_999.95).abs() < 0.1, "{total:?}");
        let watts = gauge.watts().expect("measured").0;
        assert!((watts - 20.0).abs() < 0.1, "{watts}");
        assert_eq!(gauge.seen_update_ns(), Some(50_000_000));
    }

    #[test]
    fn a_slow_counter_shows_nothing_until_ten_ticks() {
        let mut gauge = gauge(MeterKind::Counter, Some(1_000_000_000));
        let mut first_shown = None;
        for n in 0..600_u64 {
            // 20 W in steps of a second, polled every 50 ms.
            gauge.take(&at(n * 50_000_000, n / 20 * 20_000_000), 0);
            if gauge.watts().is_ok() && first_shown.is_none() {
                first_shown = Some(n / 20);
            }
            if n < 200 {
                assert_eq!(
                    gauge.watts().err(),
                    Some(UnavailableReason::BelowResolution)
                );
            }
        }
        assert!(
            first_shown.is_some_and(|second| second >= 10),
            "{first_shown:?}"
        );
        assert!(gauge.trace.v.len() < 100, "unchanged polls are left out");
        let seen = gauge.seen_update_ns().expect("changes");
        assert!((950_000_000..=1_050_000_000).contains(&seen), "{seen}");
    }

    #[test]
    fn what_spoils_the_readings_spoils_the_total_for_good() {
        let mut gauge = gauge(MeterKind::Counter, Some(1_000_000));
        for n in 0..20_000_u64 {
            let value = if n < 5_000 {
                9_000_000_000 + n
            } else {
                n * 1_000_000 - 4_999_000_000
            };
            gauge.take(&at(n * 50_000_000, value), 0);
        }
        assert!(gauge.watts().is_ok(), "the last seconds are well");
        assert_eq!(gauge.total().err(), Some(UnavailableReason::Reset));
    }

    #[test]
    fn a_failing_meter_shows_its_reason_and_no_number() {
        let mut gauge = gauge(MeterKind::Counter, Some(1_000_000));
        for n in 0..100_u64 {
            gauge.take(&at(n * 50_000_000, n * 1_000_000), 0);
        }
        gauge.fail(ReadError::Stale);
        assert_eq!(gauge.watts().err(), Some(UnavailableReason::Stale));
        assert_eq!(gauge.trouble(), Some(&ReadError::Stale));
        gauge.take(&at(5_000_000_000, 100_000_000), 0);
        assert!(gauge.watts().is_ok(), "it is there again");
    }

    proptest! {
        #[test]
        fn no_reading_makes_a_negative_or_endless_number(
            readings in prop::collection::vec((0_u64..1 << 40, prop::option::of(any::<u64>()), any::<u64>()), 0..200),
            power in any::<bool>(),
        ) {
            let kind = if power { MeterKind::Power } else { MeterKind::Counter };
            let mut gauge = gauge(kind, Some(1_000_000));
            for (ns, source_ns, value) in readings {
                gauge.take(&Reading { source_ns, ..at(ns, value) }, 0);
                for number in [gauge.watts().ok().map(|w| w.0), gauge.total().ok().map(|t| t.joules.0)] {
                    prop_assert!(number.is_none_or(|number| number.is_finite() && number >= 0.0));
                }
            }
        }
    }
}
