//! `IOReport`'s energy model: modelled energy of processor, graphics, neural engine and memory.
//!
//! A breakdown only: the model has been seen to rise by 65 W while the machine drew 179 W more.
//! Channels count energy in the unit of their label (mJ, uJ or nJ); what comes is the difference
//! since the last call. A part's power is the energy between two moments at which its channels
//! moved, over the time between: macOS 27 moves some of them only about every 2 s, so a step of
//! zero is no power of 0 W. A negative step (a channel that began anew) is dropped with the
//! interval. A part that has not moved for ten seconds is [`ReadError::Stale`]; a power of zero is
//! never told. All parts share one subscription, asked at most ten times a second.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use domain::record::{Averaging, MeterKind, UpdateBasis};
use domain::scope::Scope;
use domain::text::Name;

use crate::clock::Clock;
use crate::meter::sysfs::{self, implausible};
use crate::meter::{Meter, MeterInfo, Reach, ReadError, Reading};

/// How often the subscription is asked at most.
const ASKED_NS: u64 = 100_000_000;

/// Shortest interval over which a power is worked out.
const INTERVAL_NS: u64 = 500_000_000;

/// Standing still for so long is frozen.
const FROZEN_NS: u64 = 10_000_000_000;

/// What one channel counted since the last call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its group, such as `Energy Model`.
    pub group: String,
    /// Its name, such as `CPU Energy`.
    pub channel: String,
    /// Label of its unit: `mJ`, `uJ` or `nJ`.
    pub unit: String,
    /// Energy, in that unit.
    pub delta: i64,
}

/// What subscribes to the model.
pub trait EnergyModel: Send + fmt::Debug {
    /// Every channel's energy since the last call.
    fn deltas(&mut self) -> Result<Vec<Channel>, ReadError>;
}

/// A part of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All processor clusters.
    Cpu,
    /// The graphics processor.
    Gpu,
    /// The neural engine.
    Ane,
    /// Memory.
    Dram,
}

impl Part {
    const ALL: [Self; 4] = [Self::Cpu, Self::Gpu, Self::Ane, Self::Dram];

    /// Its name in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::Ane => "ane",
            Self::Dram => "dram",
        }
    }

    /// Whether a channel counts for it; chips of two dies put `DIE_0_` before the processor's.
    fn counts(self, channel: &Channel) -> bool {
        let name = channel.channel.as_str();
        channel.group == "Energy Model"
            && match self {
                Self::Cpu => name.ends_with("CPU Energy"),
                Self::Gpu => name == "GPU Energy",
                Self::Ane => name.starts_with("ANE"),
                Self::Dram => name.starts_with("DRAM"),
            }
    }
}

/// What the channels gave so far.
#[derive(Debug)]
pub struct Gathered<M> {
    source: M,
    asked_ns: Option<u64>,
    parts: [PartState; 4],
}

#[derive(Debug, Default)]
struct PartState {
    /// Energy since `since_ns`.
    nanojoules: u128,
    since_ns: u64,
    moved_ns: u64,
    power_uw: Option<u64>,
    broken: Option<ReadError>,
}

impl<M: EnergyModel> Gathered<M> {
    /// Subscribes: the first call is only the start of an interval, and tells which parts there
    /// are. Refused: a model without any.
    pub fn open(mut source: M) -> Result<(Self, Vec<Part>), ReadError> {
        let channels = source.deltas()?;
        let there = |part: &Part| channels.iter().any(|channel| part.counts(channel));
        let parts: Vec<Part> = Part::ALL.into_iter().filter(there).collect();
        if parts.is_empty() {
            return Err(ReadError::Absent);
        }
        let gathered = Self {
            source,
            asked_ns: None,
            parts: Default::default(),
        };
        Ok((gathered, parts))
    }

    fn power_uw(&mut self, part: Part, now_ns: u64) -> Result<u64, ReadError> {
        let due = |at_ns| now_ns.saturating_sub(at_ns) >= ASKED_NS;
        if self.asked_ns.is_none_or(due) {
            let first = self.asked_ns.is_none();
            let channels = self.source.deltas()?;
            self.asked_ns = Some(now_ns);
            for (part, state) in Part::ALL.into_iter().zip(&mut self.parts) {
                if first {
                    // What came before this moment has no known beginning.
                    state.restart(now_ns);
                    state.moved_ns = now_ns;
                } else {
                    state.take(nanojoules(part, &channels), now_ns);
                }
            }
        }
        self.parts[part as usize].now(now_ns)
    }
}

impl PartState {
    fn restart(&mut self, now_ns: u64) {
        self.nanojoules = 0;
        self.since_ns = now_ns;
    }

    /// Takes what came since the last call; `None` is a negative step.
    fn take(&mut self, step: Result<Option<u128>, ReadError>, now_ns: u64) {
        match step {
            Ok(Some(0)) => {}
            Ok(Some(step)) => {
                self.broken = None;
                self.nanojoules += step;
                self.moved_ns = now_ns;
                let elapsed_ns = now_ns.saturating_sub(self.since_ns);
                if elapsed_ns >= INTERVAL_NS {
                    let power = self.nanojoules * 1_000_000 / u128::from(elapsed_ns);
                    self.power_uw = u64::try_from(power).ok().filter(|power| *power > 0);
                    self.restart(now_ns);
                }
            }
            Ok(None) => self.restart(now_ns),
            Err(error) => {
                self.broken = Some(error);
                self.restart(now_ns);
            }
        }
    }

    fn now(&self, now_ns: u64) -> Result<u64, ReadError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        if now_ns.saturating_sub(self.moved_ns) > FROZEN_NS {
            return Err(ReadError::Stale);
        }
        self.power_uw
            .ok_or_else(|| ReadError::Transport("the first interval is not over".to_owned()))
    }
}

/// Energy of a part's channels; `None` if one went backwards.
fn nanojoules(part: Part, channels: &[Channel]) -> Result<Option<u128>, ReadError> {
    let mut sum = 0;
    let mut there = false;
    for channel in channels.iter().filter(|channel| part.counts(channel)) {
        there = true;
        let Ok(delta) = u128::try_from(channel.delta) else {
            return Ok(None);
        };
        sum += delta
            * match channel.unit.trim() {
                "mJ" => 1_000_000,
                "uJ" => 1_000,
                "nJ" => 1,
                other => return Err(implausible(format!("energy in {other:?}"))),
            };
    }
    if there {
        Ok(Some(sum))
    } else {
        Err(ReadError::Absent)
    }
}

/// One part of the model.
#[derive(Debug)]
pub struct ModelMeter<M> {
    info: MeterInfo,
    part: Part,
    gathered: Arc<Mutex<Gathered<M>>>,
}

impl<M: EnergyModel> ModelMeter<M> {
    /// The meter of one part of what is gathered.
    pub fn new(part: Part, gathered: Arc<Mutex<Gathered<M>>>) -> Self {
        let info = MeterInfo {
            meter: Name::cleaned("ioreport"),
            device: Name::cleaned(part.as_str()),
            scope: Scope::SocModel,
            kind: MeterKind::Model,
            averaging: Averaging::Held,
            window_ns: None,
            update_ns: None,
            update_basis: UpdateBasis::Assumed,
            wrap_uj: None,
            sensor_ppm: None,
            origin: Name::cleaned("IOReport Energy Model"),
            privilege: "everyone",
            reach: Reach::Local,
        };
        Self {
            info,
            part,
            gathered,
        }
    }
}

impl<M: EnergyModel> Meter for ModelMeter<M> {
    fn info(&self) -> &MeterInfo {
        &self.info
    }

    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError> {
        sysfs::stamped(clock, || {
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            gathered.power_uw(self.part, clock.now_ns())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use std::collections::VecDeque;
    use std::time::Duration;

    /// Steps of the processor's channels, one list per call; then no channel at all.
    #[derive(Debug)]
    struct Trace(VecDeque<Vec<Channel>>);

    impl EnergyModel for Trace {
        fn deltas(&mut self) -> Result<Vec<Channel>, ReadError> {
            Ok(self.0.pop_front().unwrap_or_default())
        }
    }

    fn channel(name: &str, unit: &str, delta: i64) -> Channel {
        Channel {
            group: "Energy Model".to_owned(),
            channel: name.to_owned(),
            unit: unit.to_owned(),
            delta,
        }
    }

    /// Reads the processor's power every 100 ms over steps in mJ, one per read; the first two
    /// calls (which parts there are, the start of the first interval) are added.
    fn played(steps: &[i64]) -> Vec<Result<u64, ReadError>> {
        let step = |delta: &i64| vec![channel("CPU Energy", "mJ", *delta)];
        let start = [77, 77];
        play(start.iter().chain(steps).map(step).collect())
    }

    fn play(calls: Vec<Vec<Channel>>) -> Vec<Result<u64, ReadError>> {
        let reads = calls.len() - 1;
        let (gathered, parts) = Gathered::open(Trace(calls.into())).expect("has a processor");
        assert_eq!(parts, [Part::Cpu]);
        let mut meter = ModelMeter::new(Part::Cpu, Arc::new(Mutex::new(gathered)));
        let clock = VirtualClock::default();
        let mut read = || {
            let answer = meter.read(&clock).map(|reading| reading.value);
            clock.advance(Duration::from_millis(100));
            answer
        };
        (0..reads).map(|_| read()).skip(1).collect()
    }

    #[test]
    fn steps_become_a_mean_power_over_half_a_second() {
        let answers = played(&[1_000; 12]);
        assert!(
            answers[..4].iter().all(Result::is_err),
            "no interval is over yet"
        );
        assert!(answers[4..].iter().all(|answer| *answer == Ok(10_000_000)));
    }

    #[test]
    fn channels_in_batches_of_two_seconds_give_the_same_power_and_never_zero() {
        let steps: Vec<i64> = (1..=100)
            .map(|read| if read % 20 == 0 { 20_000 } else { 0 })
            .collect();
        let answers = played(&steps);
        assert!(answers[..19].iter().all(Result::is_err));
        assert!(answers[19..].iter().all(|answer| *answer == Ok(10_000_000)));
    }

    #[test]
    fn a_frozen_channel_is_stale_and_zero_is_never_told() {
        let mut steps = vec![1_000; 10];
        steps.extend([0; 120]);
        let answers = played(&steps);
        assert!(
            answers[9..=109]
                .iter()
                .all(|answer| *answer == Ok(10_000_000))
        );
        assert!(
            answers[110..]
                .iter()
                .all(|answer| *answer == Err(ReadError::Stale))
        );
        let dead = played(&[0; 120]);
        assert!(dead.iter().all(Result::is_err), "no channel ever moved");
        assert_eq!(dead.last(), Some(&Err(ReadError::Stale)));
    }

    #[test]
    fn a_step_backwards_is_dropped_with_its_interval() {
        let mut steps = vec![1_000; 7];
        steps.push(-900_000);
        steps.extend([1_000; 10]);
        let answers = played(&steps);
        assert!(
            answers[4..].iter().all(|answer| *answer == Ok(10_000_000)),
            "{answers:?}"
        );
    }

    #[test]
    fn dies_are_added_and_every_unit_is_read_by_its_label() {
        let call = || {
            vec![
                channel("DIE_0_CPU Energy", "mJ ", 400),
                channel("DIE_1_CPU Energy", "uJ", 500_000),
                channel("CPU Energy", "nJ", 100_000_000),
                channel("ECPU", "mJ", 9_000),
                Channel {
                    group: "PMP".to_owned(),
                    ..channel("CPU Energy", "mJ", 9_000)
                },
            ]
        };
        let answers = play(std::iter::repeat_with(call).take(9).collect());
        assert_eq!(answers.last(), Some(&Ok(10_000_000)));
        assert_eq!(
            nanojoules(Part::Cpu, &[channel("CPU Energy", "kWh", 1)]),
            Err(ReadError::Implausible("energy in \"kWh\"".to_owned()))
        );
    }

    #[test]
    fn an_unknown_unit_or_a_lost_channel_is_no_number() {
        for later in [channel("CPU Energy", "", 5), channel("GPU", "mJ", 5)] {
            let mut calls = vec![vec![channel("CPU Energy", "mJ", 1_000)]; 9];
            calls.extend(vec![vec![later]; 3]);
            let answers = play(calls);
            assert!(answers[6].is_ok());
            assert!(answers[7..].iter().all(Result::is_err), "{answers:?}");
        }
        let none = Gathered::open(Trace(vec![vec![channel("ECPU", "mJ", 1)]].into()));
        assert_eq!(none.err(), Some(ReadError::Absent));
    }

    #[test]
    fn all_parts_share_one_question() {
        let calls: Vec<Vec<Channel>> = (0..40)
            .map(|_| {
                vec![
                    channel("CPU Energy", "mJ", 1_000),
                    channel("ANE0", "mJ", 100),
                ]
            })
            .collect();
        let (gathered, parts) = Gathered::open(Trace(calls.into())).expect("two parts");
        assert_eq!(parts, [Part::Cpu, Part::Ane]);
        let gathered = Arc::new(Mutex::new(gathered));
        let meter = |part| ModelMeter::new(part, Arc::clone(&gathered));
        let (mut cpu, mut ane) = (meter(Part::Cpu), meter(Part::Ane));
        let clock = VirtualClock::default();
        for _ in 0..20 {
            let _ = (cpu.read(&clock), ane.read(&clock));
            clock.advance(Duration::from_millis(50));
        }
        let value = |meter: &mut ModelMeter<Trace>| meter.read(&clock).map(|r| r.value);
        assert_eq!(value(&mut cpu), Ok(10_000_000));
        assert_eq!(value(&mut ane), Ok(1_000_000));
    }
}
