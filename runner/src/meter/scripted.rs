//! Counters on a script, for tests of everything above the meters.
//!
//! A [`PowerTimeline`] says exactly how much power was drawn when; a [`Script`] says how a sensor
//! shows it: how often it updates, what it sees of it, and what goes wrong. They call themselves
//! `scripted` in every record, so their joules cannot pass for measured ones.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::record::{Averaging, MeterKind, UpdateBasis};
use domain::scope::Scope;
use domain::text::Name;

use super::{Meter, MeterInfo, Reach, ReadError, Reading};
use crate::clock::Clock;

/// Power over time, in steps that are only ever added at the end: by a test beforehand, or by a
/// scripted engine as it works.
#[derive(Debug)]
pub struct PowerTimeline {
    idle_watts: f64,
    steps: Mutex<Vec<Step>>,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    from_ns: u64,
    until_ns: u64,
    watts: f64,
    /// Joules drawn until its end.
    joules: f64,
}

impl PowerTimeline {
    /// So many watts whenever nothing else is drawn.
    pub fn idle(watts: f64) -> Arc<Self> {
        Arc::new(Self {
            idle_watts: watts,
            steps: Mutex::default(),
        })
    }

    /// Draws so many watts in a stretch of time, idle watts since the last one. What lies before
    /// its end is settled; a stretch that reaches back begins there.
    pub fn draw(&self, from_ns: u64, until_ns: u64, watts: f64) {
        let mut steps = self.steps();
        let (end_ns, joules) = end_of(&steps);
        let from_ns = from_ns.max(end_ns);
        if until_ns <= from_ns {
            return;
        }
        let idle = self.idle_watts * seconds(from_ns - end_ns);
        let more = watts * seconds(until_ns - from_ns);
        steps.push(Step {
            from_ns,
            until_ns,
            watts,
            joules: joules + idle + more,
        });
    }

    /// Joules drawn until a moment.
    pub fn joules(&self, at_ns: u64) -> f64 {
        let steps = self.steps();
        let step = steps.partition_point(|step| step.until_ns <= at_ns);
        let (end_ns, joules) = end_of(&steps[..step]);
        let Some(step) = steps.get(step) else {
            return joules + self.idle_watts * seconds(at_ns - end_ns);
        };
        let idle_until = at_ns.min(step.from_ns);
        joules
            + self.idle_watts * seconds(idle_until - end_ns)
            + step.watts * seconds(at_ns.saturating_sub(step.from_ns))
    }

    /// Watts drawn at a moment.
    pub fn watts(&self, at_ns: u64) -> f64 {
        let steps = self.steps();
        let step = steps.partition_point(|step| step.until_ns <= at_ns);
        (steps.get(step))
            .filter(|step| step.from_ns <= at_ns)
            .map_or(self.idle_watts, |step| step.watts)
    }

    fn steps(&self) -> MutexGuard<'_, Vec<Step>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end_of(steps: &[Step]) -> (u64, f64) {
    steps
        .last()
        .map_or((0, 0.0), |step| (step.until_ns, step.joules))
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// How a sensor shows a timeline. Made by [`Script::counter`] or [`Script::power`]; faults are
/// fields to be set.
#[derive(Debug, Clone)]
pub struct Script {
    /// What is drawn.
    pub timeline: Arc<PowerTimeline>,
    /// What it says of itself. `update_ns` need not be the truth, which is `period_ns`.
    pub info: MeterInfo,
    /// Time between updates, at least 1.
    pub period_ns: u64,
    /// By how much an update is late at most, evenly drawn; less than the period.
    pub jitter_ns: u64,
    /// Of the jitter and the dropped reads.
    pub seed: u64,
    /// The share of each period, at its end, that the sensor sees and takes for the whole: 1 all.
    pub coverage: f64,
    /// Nothing updates in this time.
    pub frozen_ns: Range<u64>,
    /// When the counter starts again from 0.
    pub reset_ns: Option<u64>,
    /// When the counter falls, and by how many micro-joules.
    pub fall: Option<(u64, u64)>,
    /// Reads fail in this time.
    pub outage_ns: Range<u64>,
    /// The share of reads that fail besides.
    pub dropped: f64,
    /// How long a read takes.
    pub latency_ns: u64,
    /// Readings carry the moment of their update.
    pub is_stamped: bool,
}

impl Script {
    /// An honest counter.
    pub fn counter(scope: Scope, timeline: &Arc<PowerTimeline>, period: Duration) -> Self {
        Self::of(scope, MeterKind::Counter, timeline, period)
    }

    /// An honest power meter, instantaneous unless `info.averaging` is set otherwise. With a window
    /// it shows the mean of `info.window_ns`, of a period if there is none.
    pub fn power(scope: Scope, timeline: &Arc<PowerTimeline>, period: Duration) -> Self {
        Self::of(scope, MeterKind::Power, timeline, period)
    }

    fn of(scope: Scope, kind: MeterKind, timeline: &Arc<PowerTimeline>, period: Duration) -> Self {
        let period_ns = (period.as_nanos() as u64).max(1);
        Self {
            timeline: Arc::clone(timeline),
            info: info(scope, kind, Some(period_ns)),
            period_ns,
            jitter_ns: 0,
            seed: 0,
            coverage: 1.0,
            frozen_ns: 0..0,
            reset_ns: None,
            fall: None,
            outage_ns: 0..0,
            dropped: 0.0,
            latency_ns: 0,
            is_stamped: false,
        }
    }

    /// The meter.
    pub fn meter(self) -> Box<dyn Meter> {
        Box::new(SensorMeter {
            script: self,
            update: 0,
            shown_ns: 0,
            sensed_uj: 0.0,
            lost_uj: 0.0,
            shown: 0,
            reads: 0,
        })
    }

    /// When an update happens.
    fn update_at(&self, update: u64) -> u64 {
        let jitter = self.share(update) * self.jitter_ns.min(self.period_ns - 1) as f64;
        update * self.period_ns + jitter as u64
    }

    /// A number in [0, 1) that only the seed and `n` decide (the finaliser of `SplitMix64`,
    /// <https://prng.di.unimi.it/splitmix64.c>).
    fn share(&self, n: u64) -> f64 {
        let mut x = (self.seed ^ n.rotate_left(32)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) as f64 / 2f64.powi(64)
    }
}

/// A sensor of a timeline.
#[derive(Debug)]
struct SensorMeter {
    script: Script,
    /// Updates so far, and when the one that is shown was.
    update: u64,
    shown_ns: u64,
    /// All that was sensed, and what of it a reset or a fall took away.
    sensed_uj: f64,
    lost_uj: f64,
    shown: u64,
    reads: u64,
}

impl SensorMeter {
    /// Lives through all updates until a moment.
    fn update_until(&mut self, now_ns: u64) {
        let Script { timeline, .. } = &self.script;
        let timeline = Arc::clone(timeline);
        loop {
            let at_ns = self.script.update_at(self.update + 1);
            if at_ns > now_ns {
                return;
            }
            self.update += 1;
            if self.script.frozen_ns.contains(&at_ns) {
                continue;
            }
            let before_ns = self.shown_ns;
            let seen_ns = ((at_ns - before_ns) as f64 * self.script.coverage).max(1.0) as u64;
            let seen = timeline.joules(at_ns) - timeline.joules(at_ns - seen_ns);
            let whole = (at_ns - before_ns) as f64 / seen_ns as f64;
            self.sensed_uj += seen * whole * 1e6;
            let passed = |moment: u64| before_ns < moment && moment <= at_ns;
            if self.script.reset_ns.is_some_and(passed) {
                self.lost_uj = self.sensed_uj;
            }
            if let Some((moment, fall_uj)) = self.script.fall
                && passed(moment)
            {
                self.lost_uj += fall_uj as f64;
            }
            self.shown_ns = at_ns;
            self.shown = match self.script.info.kind {
                MeterKind::Counter => {
                    let total = (self.sensed_uj - self.lost_uj).max(0.0).round() as u64;
                    self.script.info.wrap_uj.map_or(total, |wrap| total % wrap)
                }
                MeterKind::Power | MeterKind::Model => {
                    (self.watts_at(&timeline, at_ns) * 1e6).round() as u64
                }
            };
        }
    }

    fn watts_at(&self, timeline: &PowerTimeline, at_ns: u64) -> f64 {
        let info = &self.script.info;
        match info.averaging {
            Averaging::Window => {
                let window_ns = info.window_ns.unwrap_or(self.script.period_ns).min(at_ns);
                let joules = timeline.joules(at_ns) - timeline.joules(at_ns - window_ns);
                joules / seconds(window_ns.max(1))
            }
            _ => timeline.watts(at_ns),
        }
    }
}

impl Meter for SensorMeter {
    fn info(&self) -> &MeterInfo {
        &self.script.info
    }

    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError> {
        let before_ns = clock.now_ns();
        let half = Duration::from_nanos(self.script.latency_ns / 2);
        if !half.is_zero() {
            clock.sleep(half);
        }
        let now_ns = clock.now_ns();
        self.update_until(now_ns);
        if !half.is_zero() {
            clock.sleep(half);
        }
        self.reads += 1;
        let is_dropped = self.script.share(!self.reads) < self.script.dropped;
        if is_dropped || self.script.outage_ns.contains(&now_ns) {
            return Err(ReadError::Transport("the script drops it".to_owned()));
        }
        Ok(Reading {
            before_ns,
            after_ns: clock.now_ns(),
            source_ns: self.script.is_stamped.then_some(self.shown_ns),
            value: self.shown,
        })
    }
}

/// The counter's value at a time of the clock.
type Values = Box<dyn FnMut(u64) -> Result<u64, ReadError> + Send>;

/// A counter whose value is a function of the clock.
pub struct ScriptedMeter {
    info: MeterInfo,
    values: Values,
}

impl ScriptedMeter {
    /// A counter of `scope` in micro-joules.
    pub fn counter(
        scope: Scope,
        values: impl FnMut(u64) -> Result<u64, ReadError> + Send + 'static,
    ) -> Self {
        Self {
            info: info(scope, MeterKind::Counter, Some(1_000_000)),
            values: Box::new(values),
        }
    }

    /// A steady power.
    pub fn steady(scope: Scope, watts: u64) -> Self {
        Self::counter(scope, move |now_ns| Ok(now_ns / 1_000 * watts))
    }
}

fn info(scope: Scope, kind: MeterKind, update_ns: Option<u64>) -> MeterInfo {
    MeterInfo {
        meter: Name::cleaned("scripted"),
        device: Name::cleaned(scope.as_str()),
        scope,
        kind,
        averaging: Averaging::Instant,
        window_ns: None,
        update_ns,
        update_basis: UpdateBasis::Assumed,
        wrap_uj: None,
        sensor_ppm: None,
        origin: Name::cleaned("scripted"),
        privilege: "none",
        reach: Reach::Local,
    }
}

impl fmt::Debug for ScriptedMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedMeter")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl Meter for ScriptedMeter {
    fn info(&self) -> &MeterInfo {
        &self.info
    }

    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError> {
        let before_ns = clock.now_ns();
        let value = (self.values)(before_ns)?;
        Ok(Reading {
            before_ns,
            after_ns: clock.now_ns(),
            source_ns: None,
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;

    const MS: u64 = 1_000_000;

    /// What a meter shows at these moments, in milliseconds.
    fn shown(script: Script, at_ms: &[u64]) -> Vec<Option<u64>> {
        let clock = VirtualClock::default();
        let mut meter = script.meter();
        let mut read = |at_ms: &u64| {
            clock.advance(Duration::from_nanos(at_ms * MS - clock.now_ns()));
            meter.read(&clock).ok().map(|reading| reading.value)
        };
        at_ms.iter().map(&mut read).collect()
    }

    fn stepped() -> Arc<PowerTimeline> {
        let timeline = PowerTimeline::idle(10.0);
        timeline.draw(1_000 * MS, 2_000 * MS, 100.0);
        timeline.draw(3_000 * MS, 4_000 * MS, 50.0);
        timeline
    }

    fn tenths() -> Script {
        Script::counter(Scope::CpuPkg, &stepped(), Duration::from_millis(100))
    }

    #[test]
    fn a_timeline_knows_its_joules_at_every_moment() {
        let timeline = stepped();
        for (at_ms, joules, watts) in [
            (0, 0.0, 10.0),
            (500, 5.0, 10.0),
            (1_000, 10.0, 100.0),
            (1_250, 35.0, 100.0),
            (2_000, 110.0, 10.0),
            (2_500, 115.0, 10.0),
            (4_000, 170.0, 10.0),
            (5_000, 180.0, 10.0),
        ] {
            let at_ns = at_ms * MS;
            assert!((timeline.joules(at_ns) - joules).abs() < 1e-9, "{at_ms} ms");
            assert!((timeline.watts(at_ns) - watts).abs() < 1e-9, "{at_ms} ms");
        }
        timeline.draw(0, 3_500 * MS, 1_000.0);
        assert!(
            (timeline.joules(4_000 * MS) - 170.0).abs() < 1e-9,
            "the past is settled"
        );
    }

    #[test]
    fn a_sensor_shows_its_last_update_and_its_faults() {
        let some = |values: &[u64]| values.iter().map(|v| Some(*v)).collect::<Vec<_>>();
        assert_eq!(
            shown(tenths(), &[99, 100, 199, 1_150]),
            some(&[0, 1_000_000, 1_000_000, 20_000_000])
        );
        let mut wrapping = tenths();
        wrapping.info.wrap_uj = Some(15_000_000);
        assert_eq!(
            shown(wrapping, &[1_000, 1_100]),
            some(&[10_000_000, 5_000_000])
        );
        let frozen = Script {
            frozen_ns: 500 * MS..900 * MS,
            ..tenths()
        };
        assert_eq!(shown(frozen, &[800, 900]), some(&[4_000_000, 9_000_000]));
        let reset = Script {
            reset_ns: Some(250 * MS),
            ..tenths()
        };
        assert_eq!(
            shown(reset, &[200, 300, 400]),
            some(&[2_000_000, 0, 1_000_000])
        );
        let fallen = Script {
            fall: Some((250 * MS, 500_000)),
            ..tenths()
        };
        assert_eq!(shown(fallen, &[200, 300]), some(&[2_000_000, 2_500_000]));
        let out = Script {
            outage_ns: 150 * MS..250 * MS,
            ..tenths()
        };
        assert_eq!(
            shown(out, &[100, 200, 300]),
            [Some(1_000_000), None, Some(3_000_000)]
        );
        let mut half = tenths();
        half.coverage = 0.25;
        half.period_ns = 400 * MS;
        // Of 800 to 1,200 ms it sees the last 100 ms, which are all at 100 W.
        assert_eq!(shown(half, &[800, 1_200]), some(&[8_000_000, 48_000_000]));
        let dropping = Script {
            dropped: 0.5,
            ..tenths()
        };
        let read = shown(dropping, &(1..1_000).collect::<Vec<_>>());
        let lost = read.iter().filter(|value| value.is_none()).count();
        assert!((400..600).contains(&lost), "{lost} of 999");
    }

    #[test]
    fn a_power_sensor_shows_the_moment_or_its_windows_mean() {
        let script = Script::power(Scope::GpuBoard, &stepped(), Duration::from_millis(100));
        let instant = shown(script.clone(), &[950, 1_050]);
        assert_eq!(instant, [Some(10_000_000), Some(100_000_000)]);
        let mut windowed = script;
        windowed.info.averaging = Averaging::Window;
        windowed.info.window_ns = Some(500 * MS);
        assert_eq!(shown(windowed, &[1_250]), [Some(46_000_000)]);
    }

    #[test]
    fn jitter_is_seeded_and_within_its_bound() {
        let jittery = |seed| Script {
            jitter_ns: 30 * MS,
            seed,
            ..tenths()
        };
        let moments = |seed| {
            (1..100)
                .map(|n| jittery(seed).update_at(n))
                .collect::<Vec<_>>()
        };
        assert_eq!(moments(1), moments(1));
        assert_ne!(moments(1), moments(2));
        for (n, at_ns) in (1..).zip(moments(3)) {
            assert!((0..30 * MS).contains(&(at_ns - n * 100 * MS)));
        }
    }
}
