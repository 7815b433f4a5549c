//! Linux hwmon sensors, found by driver name and label, never by index.
//!
//! | driver | label | scope | unit |
//! |---|---|---|---|
//! | `spbm` (GB10, out of tree) | `sys_total` | system.dc | uW, 100 ms |
//! | | `soc_pkg`; energy `pkg` | soc.pkg | uW; uJ |
//! | | `gpu` or `gpu_out`; energy `gpu` | gpu.rail | uW; uJ |
//! | `power_meter` (ACPI, Grace) | `Module Power Socket N` | module | uW, mean of 50 ms to 1 s |
//! | | `Grace Power Socket N` | cpu.pkg | uW |
//! | | `CPU Power Socket N` (one rail of that socket) | cpu.core | uW |
//! | `amdgpu` | `PPT`, `slowPPT` | gpu.board; soc.pkg of an APU | uW |
//! | `xe` | energy `card` | gpu.board | uJ |
//! | `xe`, `i915` | energy `pkg`; the device's | gpu.rail: the chip without its memory | uJ |
//!
//! Everyone may read them. A driver's number (`hwmon3`) and a sensor's (`power1`) change between
//! boots and forks, so a sensor's name in a record is the driver with the card's PCI address or
//! its part. A power of 0 W is no reading of a machine that runs this program, and 0xFFFF is
//! AMD's word for a sensor that is not there: both are errors. A label that stands twice tells
//! nothing and is refused. Where a counter and a power cover one device, they share its name:
//! the counter is summed, the power checks it.
//!
//! Pitfalls: `spbm` is not NVIDIA's and its sensor is unverified; an idle AMD card that sleeps
//! refuses to be read; the power that an APU tells moves with a limit's window (`slowPPT`).
//! Which chip says what: the `chips` module.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use domain::record::{Averaging, MeterKind, UpdateBasis};
use domain::scope::Scope;
use domain::text::Name;

use super::sysfs::{self, Attribute, implausible};
use super::{Found, Meter, MeterInfo, Reach, ReadError, Reading, Refusal};
use crate::clock::Clock;
use crate::host::text_of;

mod chips;

const FIX: &str = "run as root; a card that sleeps or is being reset cannot be read either";

/// GB10's power telemetry, which only `spbm` reads.
const GB10: &str = "sys/bus/acpi/devices/NVDA8800:00";

/// What AMD's firmware says for a sensor that it does not have, as the driver hands it on: raw,
/// in milli-watts, in watts.
const ABSENT_UW: [u64; 3] = [0xFFFF, 0xFFFF * 1_000, 0xFFFF * 1_000_000];

/// One driver's folder.
struct Chip {
    folder: PathBuf,
    driver: String,
}

/// One sensor that covers something.
#[derive(Debug)]
struct Sensor {
    file: PathBuf,
    device: String,
    scope: Scope,
    kind: MeterKind,
    averaging: Averaging,
    window_ns: Option<u64>,
    update_ns: Option<u64>,
    wrap_uj: Option<u64>,
}

/// One sensor's meter.
#[derive(Debug)]
struct HwmonMeter {
    info: MeterInfo,
    value: Attribute,
}

impl Meter for HwmonMeter {
    fn info(&self) -> &MeterInfo {
        &self.info
    }

    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError> {
        sysfs::stamped(clock, || self.value())
    }
}

impl HwmonMeter {
    fn open(driver: &str, sensor: &Sensor) -> Result<Self, ReadError> {
        let info = MeterInfo {
            meter: Name::cleaned("hwmon"),
            device: Name::cleaned(&sensor.device),
            scope: sensor.scope,
            kind: sensor.kind,
            averaging: sensor.averaging,
            window_ns: sensor.window_ns,
            update_ns: sensor.update_ns,
            update_basis: UpdateBasis::Assumed,
            wrap_uj: sensor.wrap_uj,
            sensor_ppm: None,
            origin: Name::cleaned(&format!("hwmon {driver}")),
            privilege: "everyone",
            reach: Reach::Local,
        };
        let value = Attribute::open(&sensor.file, FIX)?;
        let mut meter = Self { info, value };
        let now = meter.value()?;
        // A fork that undoes the wrap itself has left the range behind.
        meter.info.wrap_uj = sensor.wrap_uj.filter(|range| now < *range);
        Ok(meter)
    }

    fn value(&self) -> Result<u64, ReadError> {
        let value = self.value.number()?;
        match self.info.kind {
            MeterKind::Counter => Ok(value),
            _ if ABSENT_UW.contains(&value) => Err(ReadError::NotSupported),
            _ if value == 0 => Err(implausible("0 W")),
            _ => Ok(value),
        }
    }
}

/// Every sensor of the known drivers under `root`.
pub fn discover(root: &Path) -> Found {
    let mut found = Found::default();
    let chips = chips(root);
    if root.join(GB10).exists() && chips.iter().all(|chip| chip.driver != "spbm") {
        found.refused.push(Refusal {
            meter: "hwmon",
            device: Some(Name::cleaned("spbm")),
            error: ReadError::Absent,
        });
    }
    for chip in chips {
        for (device, sensor) in chips::sensors(&chip) {
            match sensor.and_then(|sensor| HwmonMeter::open(&chip.driver, &sensor)) {
                Ok(meter) => found.meters.push(Box::new(meter)),
                Err(error) => found.refused.push(Refusal {
                    meter: "hwmon",
                    device: Some(Name::cleaned(&device)),
                    error,
                }),
            }
        }
    }
    found
        .meters
        .sort_by(|a, b| a.info().device.cmp(&b.info().device));
    found
}

fn chips(root: &Path) -> Vec<Chip> {
    let Ok(folders) = fs::read_dir(root.join("sys/class/hwmon")) else {
        return Vec::new();
    };
    let chip = |folder: PathBuf| {
        let driver = text_of(&folder, "name")?;
        Some(Chip { folder, driver })
    };
    let mut chips: Vec<Chip> = folders
        .filter_map(Result::ok)
        .filter_map(|entry| chip(entry.path()))
        .collect();
    chips.sort_by(|a, b| a.folder.cmp(&b.folder));
    chips
}

impl Chip {
    /// Sensors of one kind (`power`, `energy`) by label, such as `sys_total` -> `power3`; an
    /// error for a label that stands twice.
    fn labelled(&self, kind: &str) -> BTreeMap<String, Result<String, ReadError>> {
        let mut sensors = BTreeMap::new();
        let entries = fs::read_dir(&self.folder).into_iter().flatten();
        for entry in entries.filter_map(Result::ok) {
            let file = entry.file_name().to_string_lossy().into_owned();
            let Some(sensor) = file.strip_suffix("_label") else {
                continue;
            };
            let number = sensor.strip_prefix(kind).unwrap_or_default();
            if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            let Some(label) = text_of(&self.folder, &file) else {
                continue;
            };
            let twice = implausible(format!("the label {label} twice"));
            sensors
                .entry(label)
                .and_modify(|sensor| *sensor = Err(twice))
                .or_insert(Ok(sensor.to_owned()));
        }
        sensors
    }

    /// The device's line of its `uevent`, such as `PCI_SLOT_NAME`.
    fn event(&self, key: &str) -> Option<String> {
        let text = text_of(&self.folder, "device/uevent")?;
        let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned());
        text.lines().find_map(value)
    }

    /// What a card is called: the driver and where it sits.
    fn card(&self) -> String {
        match self.event("PCI_SLOT_NAME") {
            Some(slot) => format!("{} {slot}", self.driver),
            None => self.driver.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
