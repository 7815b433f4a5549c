//! The SMC's system power `PSTR`: the whole machine behind its supply.
//!
//! It is a 32-bit float of watts that changes about once a second. It has been seen to freeze
//! until the machine restarts: bits that stay the same over ten update periods and ten reads are
//! [`ReadError::Stale`] until they change, since no machine draws the same power to the last bit
//! for so long. What is not a positive, finite, possible power is an error, 0 W above all.

use std::fmt;

use domain::energy::MAX_DEVICE_POWER;
use domain::record::{Averaging, MeterKind, UpdateBasis};
use domain::scope::Scope;
use domain::text::Name;

use crate::clock::Clock;
use crate::meter::sysfs::{self, implausible};
use crate::meter::{Meter, MeterInfo, Reach, ReadError, Reading};

/// How often the value changes.
const UPDATE_NS: u64 = 1_000_000_000;

/// Update periods, and reads, without a change that make a frozen sensor.
const FROZEN: u32 = 10;

/// Sensor prior of the energy method: 5 %.
const SENSOR_PPM: u32 = 50_000;

/// What reads the SMC.
pub trait SystemPower: Send + fmt::Debug {
    /// Watts now.
    fn watts(&mut self) -> Result<f32, ReadError>;
}

/// The machine's power.
#[derive(Debug)]
pub struct SystemMeter<S> {
    info: MeterInfo,
    source: S,
    last: Option<Unchanged>,
}

/// A value, and how long it has stood.
#[derive(Debug, Clone, Copy)]
struct Unchanged {
    bits: u32,
    since_ns: u64,
    reads: u32,
}

impl<S: SystemPower> SystemMeter<S> {
    /// A meter over `source`. Refused: a sensor that does not tell a power now.
    pub fn open(mut source: S) -> Result<Self, ReadError> {
        microwatts(source.watts()?)?;
        let info = MeterInfo {
            meter: Name::cleaned("smc"),
            device: Name::cleaned("PSTR"),
            scope: Scope::SystemDc,
            kind: MeterKind::Power,
            averaging: Averaging::Unknown,
            window_ns: None,
            update_ns: Some(UPDATE_NS),
            update_basis: UpdateBasis::Assumed,
            wrap_uj: None,
            sensor_ppm: Some(SENSOR_PPM),
            origin: Name::cleaned("SMC PSTR"),
            privilege: "everyone",
            reach: Reach::Local,
        };
        Ok(Self {
            info,
            source,
            last: None,
        })
    }

    fn value(&mut self, now_ns: u64) -> Result<u64, ReadError> {
        let watts = self.source.watts()?;
        let value = microwatts(watts)?;
        let bits = watts.to_bits();
        let last = match self.last {
            Some(last) if last.bits == bits => Unchanged {
                reads: last.reads.saturating_add(1),
                ..last
            },
            _ => Unchanged {
                bits,
                since_ns: now_ns,
                reads: 1,
            },
        };
        self.last = Some(last);
        let stood_ns = now_ns.saturating_sub(last.since_ns);
        if last.reads > FROZEN && stood_ns > u64::from(FROZEN) * UPDATE_NS {
            return Err(ReadError::Stale);
        }
        Ok(value)
    }
}

impl<S: SystemPower> Meter for SystemMeter<S> {
    fn info(&self) -> &MeterInfo {
        &self.info
    }

    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError> {
        sysfs::stamped(clock, || self.value(clock.now_ns()))
    }
}

fn microwatts(watts: f32) -> Result<u64, ReadError> {
    let watts = f64::from(watts);
    if watts > 0.0 && watts <= MAX_DEVICE_POWER.0 {
        Ok((watts * 1e6).round() as u64)
    } else {
        Err(implausible(format!("{watts} W")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use std::collections::VecDeque;
    use std::time::Duration;

    #[derive(Debug)]
    struct Trace(VecDeque<Result<f32, ReadError>>);

    impl SystemPower for Trace {
        fn watts(&mut self) -> Result<f32, ReadError> {
            self.0.pop_front().unwrap_or(Err(ReadError::Absent))
        }
    }

    /// A meter that reads 20 W at its opening and then the trace.
    fn meter(trace: impl IntoIterator<Item = f32>) -> SystemMeter<Trace> {
        let values = std::iter::once(20.0).chain(trace).map(Ok);
        SystemMeter::open(Trace(values.collect())).expect("20 W")
    }

    fn read(meter: &mut SystemMeter<Trace>, clock: &VirtualClock) -> Result<u64, ReadError> {
        meter.read(clock).map(|reading| reading.value)
    }

    #[test]
    fn watts_become_microwatts() {
        let clock = VirtualClock::default();
        let mut meter = meter([21.5, 4_999.5]);
        assert_eq!(read(&mut meter, &clock), Ok(21_500_000));
        assert_eq!(read(&mut meter, &clock), Ok(4_999_500_000));
        assert_eq!(read(&mut meter, &clock), Err(ReadError::Absent), "gone");
    }

    #[test]
    fn what_is_no_power_is_no_number() {
        let bad = [
            0.0,
            -0.0,
            -3.0,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            5_001.0,
        ];
        let clock = VirtualClock::default();
        let mut meter = meter(bad);
        for watts in bad {
            let read = read(&mut meter, &clock);
            assert!(matches!(read, Err(ReadError::Implausible(_))), "{watts}");
            assert!(SystemMeter::open(Trace([Ok(watts)].into())).is_err());
        }
    }

    #[test]
    fn a_frozen_sensor_is_stale_until_it_moves_again() {
        let clock = VirtualClock::default();
        // 20 reads a second: 12 s frozen, then one value more.
        let frozen = std::iter::repeat_n(33.25, 240);
        let mut meter = meter(frozen.chain([33.5]));
        let mut answers = Vec::new();
        for _ in 0..240 {
            answers.push(read(&mut meter, &clock));
            clock.advance(Duration::from_millis(50));
        }
        // Up to 10 s it might have been a steady machine.
        assert!(
            answers[..=200]
                .iter()
                .all(|answer| *answer == Ok(33_250_000))
        );
        assert!(
            answers[201..]
                .iter()
                .all(|answer| *answer == Err(ReadError::Stale))
        );
        assert_eq!(read(&mut meter, &clock), Ok(33_500_000));
    }

    #[test]
    fn a_value_that_stands_between_updates_is_not_frozen() {
        let clock = VirtualClock::default();
        let steps = (0..600).map(|read| 20.0 + (read / 20) as f32);
        let mut meter = meter(steps);
        for _ in 0..600 {
            assert!(read(&mut meter, &clock).is_ok());
            clock.advance(Duration::from_millis(50));
        }
    }

    #[test]
    fn few_reads_far_apart_are_not_called_frozen() {
        let clock = VirtualClock::default();
        let mut meter = meter([30.0; 5]);
        for _ in 0..5 {
            assert!(read(&mut meter, &clock).is_ok());
            clock.advance(Duration::from_mins(1));
        }
    }
}
