//! An open perf event of the `power` unit; the crate holds the system calls.

use std::{fmt, io};

use domain::record::{Averaging, MeterKind, UpdateBasis};
use domain::text::Name;
use perf_event::events::Software;
use perf_event::{Builder, Counter};

use super::{FIX, PowerEvent};
use crate::clock::Clock;
use crate::meter::powercap::{SENSOR_PPM, UPDATE_NS};
use crate::meter::{Meter, MeterInfo, Reach, ReadError, Reading, sysfs};

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
fn counter(event: &PowerEvent) -> io::Result<Counter> {
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

/// Micro-joules of a count of 2^-32 J, rounded down: 64 bits hold 4 GJ, which as micro-joules fit
/// 64 bits again.
fn microjoules(count: u64) -> u64 {
    ((u128::from(count) * 1_000_000) >> 32) as u64
}

/// What opening an event failed with.
fn open_error(error: &io::Error) -> ReadError {
    /// "Invalid argument": what the kernel answers for an event that it does not count.
    const EINVAL: i32 = 22;
    match error.raw_os_error() {
        Some(EINVAL) => ReadError::NotSupported,
        _ => sysfs::read_error(error, FIX),
    }
}

fn info(event: &PowerEvent) -> MeterInfo {
    MeterInfo {
        meter: Name::cleaned("perf"),
        device: event.device.clone(),
        scope: event.scope,
        kind: MeterKind::Counter,
        averaging: Averaging::Instant,
        window_ns: None,
        update_ns: Some(UPDATE_NS),
        update_basis: UpdateBasis::Assumed,
        wrap_uj: None,
        sensor_ppm: Some(SENSOR_PPM),
        origin: Name::cleaned("perf power"),
        privilege: "root, CAP_PERFMON, or perf_event_paranoid 0",
        reach: Reach::Local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RealClock;
    use domain::scope::Scope;
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

    #[test]
    fn counts_become_microjoules_without_drift() {
        assert_eq!(microjoules(0), 0);
        assert_eq!(microjoules(1 << 32), 1_000_000);
        assert_eq!(microjoules(4_295), 1);
        assert_eq!(microjoules(4_294), 0);
        assert_eq!(microjoules(u64::MAX), 4_294_967_295_999_999);
        // A float of 53 bits would lose the last micro-joule here.
        let year = (3_153_600_000 << 32) + 4_295;
        assert_eq!(microjoules(year), 3_153_600_000_000_001);
    }

    #[test]
    fn a_forbidden_event_is_a_matter_of_permission() {
        let of = |code| open_error(&io::Error::from_raw_os_error(code));
        assert_eq!(of(13), ReadError::Permission { fix: FIX });
        assert_eq!(of(1), ReadError::Permission { fix: FIX });
        assert_eq!(of(22), ReadError::NotSupported);
        assert!(of(13).to_string().contains("cap_perfmon"));
    }
}
