//! An open perf event of the `power` unit; the crate holds the system calls.

use std::fmt;

use perf_event::events::Software;
use perf_event::{Builder, Counter};

use super::{PowerEvent, info, microjoules, open_error};
use crate::clock::Clock;
use crate::meter::{Meter, MeterInfo, ReadError, Reading, sysfs};

/// One domain's counter.
pub(super) struct PerfMeter {
    info: MeterInfo,
    counter: Counter,
}

impl fmt::Debug for PerfMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerfMeter")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl PerfMeter {
    /// Opens the event and reads it once.
    pub(super) fn open(event: &PowerEvent) -> Result<Self, ReadError> {
        let mut counter = counter(event).map_err(|error| open_error(&error))?;
        counter.read().map_err(|error| open_error(&error))?;
        Ok(Self {
            info: info(event),
            counter,
        })
    }
}

impl Meter for PerfMeter {
    fn info(&self) -> &MeterInfo {
        &self.info
    }

    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError> {
        sysfs::stamped(clock, || {
            let count = self.counter.read().map_err(|error| open_error(&error))?;
            Ok(microjoules(count))
        })
    }
}

/// Counts all that runs: the unit refuses every filter.
fn counter(event: &PowerEvent) -> std::io::Result<Counter> {
    let mut builder = Builder::new(Software::DUMMY);
    let attributes = builder.attrs_mut();
    attributes.type_ = event.unit;
    attributes.config = event.config;
    builder
        .any_pid()
        .one_cpu(event.cpu as usize)
        .include_kernel()
        .include_hv()
        .enabled(true)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RealClock;
    use domain::scope::Scope;
    use domain::text::Name;
    use std::hint::black_box;

    /// The kernel's own unit of software events, and its processor clock in nanoseconds.
    const SOFTWARE: u32 = 1;
    const CPU_CLOCK: u64 = 0;

    fn event(unit: u32) -> PowerEvent {
        PowerEvent {
            device: Name::cleaned("package-0"),
            scope: Scope::CpuPkg,
            unit,
            config: CPU_CLOCK,
            cpu: 0,
        }
    }

    #[test]
    fn an_event_of_a_processor_counts_up() {
        let mut meter = match PerfMeter::open(&event(SOFTWARE)) {
            Ok(meter) => meter,
            Err(error) => {
                println!(
                    "SKIPPED: this machine does not let a processor's events be opened: {error}"
                );
                return;
            }
        };
        let clock = RealClock::default();
        let first = meter.read(&clock).expect("open").value;
        let mut last = first;
        while last == first {
            black_box((0..1_000_000_u64).sum::<u64>());
            let reading = meter.read(&clock).expect("open");
            assert!(reading.value >= last && reading.after_ns >= reading.before_ns);
            last = reading.value;
        }
    }

    #[test]
    fn a_unit_that_the_kernel_does_not_have_is_no_number() {
        assert!(PerfMeter::open(&event(4_000_000)).is_err());
    }
}
