//! A laptop's battery while it discharges: joules of the whole machine, panel included.
//!
//! All batteries of a machine are one meter, because the machine draws from them together or by
//! turns: a part of them would be a part of the joules. Read only while one discharges, none
//! charges and no mains is on line; else [`ReadError::OnMains`], every time anew.
//!
//! Linux, `/sys/class/power_supply` (<https://docs.kernel.org/power/power_supply_class.html>),
//! everyone may read: `energy_now` (uWh) makes a counter of what was used since the meter was
//! opened, in the gauge's steps of usually 10 mWh, which are 36 J; `power_now` (uW), or
//! `current_now` times `voltage_now`, is its power. Batteries that count charge instead of energy
//! (`charge_now`) have only the power: their voltage falls as they empty, so charge is no
//! energy. Gauges tell a new value every 1 to 30 s; a span wants 10 minutes. Mice and headsets
//! (`scope` Device) are left out.
//!
//! macOS: the `smart` module.

use std::fs;
use std::path::{Path, PathBuf};

use domain::record::{Averaging, MeterKind, UpdateBasis};
use domain::scope::Scope;
use domain::text::Name;

use super::sysfs::{self, Attribute, implausible};
use super::{Found, Meter, MeterInfo, Reach, ReadError, Reading, Refusal};
use crate::clock::Clock;
use crate::host::text_of;

pub mod smart;

/// The slowest gauges.
const UPDATE_NS: u64 = 30_000_000_000;

/// 1 uWh.
const MICROJOULES: u64 = 3_600;

const FIX: &str = "run as root";

/// What there is.
pub fn discover(root: &Path) -> Found {
    if cfg!(target_os = "macos") {
        return smart::discover(smart::ioreg);
    }
    let cells = cells(root);
    let mut found = Found::default();
    if cells.is_empty() {
        return found;
    }
    let names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
    let device = Name::cleaned(&names.join("+"));
    let mut errors = Vec::new();
    for kind in [MeterKind::Counter, MeterKind::Power] {
        match BatteryMeter::open(root, &cells, device.clone(), kind) {
            Ok(meter) => found.meters.push(Box::new(meter)),
            // A battery that does not have the one quantity may have the other.
            Err(ReadError::NotSupported) => {}
            Err(error) => errors.push(error),
        }
    }
    if found.meters.is_empty() && errors.is_empty() {
        errors.push(ReadError::NotSupported);
    }
    errors.dedup();
    found
        .refused
        .extend(errors.into_iter().map(|error| Refusal {
            meter: "battery",
            device: Some(device.clone()),
            error,
        }));
    found
}

/// Energy that all batteries hold when full, in micro-watt-hours; `None` without one, or where
/// one does not say.
pub fn full_uwh(root: &Path) -> Option<u64> {
    if cfg!(target_os = "macos") {
        return smart::parse(&smart::ioreg().ok()?).ok()?.full_uwh;
    }
    let cells = cells(root);
    let full = |cell: &Cell| {
        let number = |file: &str| text_of(&cell.folder, file)?.parse::<u64>().ok();
        let by_charge = || {
            // uAh times uV is pWh.
            let volts = number("voltage_min_design")?;
            Some(number("charge_full")?.checked_mul(volts)? / 1_000_000)
        };
        number("energy_full").or_else(by_charge)
    };
    let sum: u64 = cells.iter().map(full).sum::<Option<u64>>()?;
    (sum > 0).then_some(sum)
}

/// One battery of the machine.
struct Cell {
    name: String,
    folder: PathBuf,
}

fn cells(root: &Path) -> Vec<Cell> {
    let batteries = supplies(root).into_iter().filter(|supply| {
        let is = |file: &str, word: &str| text_of(&supply.folder, file).as_deref() == Some(word);
        is("type", "Battery") && !is("scope", "Device") && !is("present", "0")
    });
    batteries.collect()
}

fn supplies(root: &Path) -> Vec<Cell> {
    let entries = fs::read_dir(root.join("sys/class/power_supply"));
    let mut supplies: Vec<Cell> = entries
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| Cell {
            name: entry.file_name().to_string_lossy().into_owned(),
            folder: entry.path(),
        })
        .collect();
    supplies.sort_by(|a, b| a.name.cmp(&b.name));
    supplies
}

/// All batteries, read as one.
#[derive(Debug)]
struct BatteryMeter {
    info: MeterInfo,
    states: Vec<Attribute>,
    /// Mains, USB and wireless chargers.
    mains: Vec<Attribute>,
    gauges: Vec<Gauge>,
}

/// What one battery tells.
#[derive(Debug)]
enum Gauge {
    /// Micro-watt-hours left, of those that it held at most.
    Energy { full_uwh: u64, now: Attribute },
    /// Micro-watts, negative on some.
    Power(Attribute),
    /// Micro-amperes and micro-volts.
    Current(Attribute, Attribute),
}

impl Meter for BatteryMeter {
    fn info(&self) -> &MeterInfo {
        &self.info
    }

    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError> {
        sysfs::stamped(clock, || self.value())
    }
}

impl BatteryMeter {
    fn open(root: &Path, cells: &[Cell], device: Name, kind: MeterKind) -> Result<Self, ReadError> {
        let info = MeterInfo {
            meter: Name::cleaned("battery"),
            device,
            scope: Scope::Battery,
            kind,
            averaging: match kind {
                MeterKind::Counter => Averaging::Instant,
                _ => Averaging::Unknown,
            },
            window_ns: None,
            update_ns: Some(UPDATE_NS),
            update_basis: UpdateBasis::Assumed,
            wrap_uj: None,
            sensor_ppm: None,
            origin: Name::cleaned("power_supply"),
            privilege: "everyone",
            reach: Reach::Local,
        };
        let is_mains = |supply: &&Cell| {
            text_of(&supply.folder, "type")
                .is_some_and(|kind| ["Mains", "USB", "Wireless"].contains(&kind.as_str()))
        };
        let open = |cell: &Cell, file: &str| Attribute::open(&cell.folder.join(file), FIX);
        let mut mains = Vec::new();
        for supply in supplies(root).iter().filter(is_mains) {
            match open(supply, "online") {
                Ok(online) => mains.push(online),
                Err(ReadError::Absent) => {}
                Err(error) => return Err(error),
            }
        }
        let states = cells.iter().map(|cell| open(cell, "status"));
        let mut meter = Self {
            info,
            states: states.collect::<Result<_, _>>()?,
            mains,
            gauges: Vec::new(),
        };
        meter.on_battery()?;
        for cell in cells {
            meter.gauges.push(Gauge::open(cell, kind)?);
        }
        meter.value()?;
        Ok(meter)
    }

    fn on_battery(&self) -> Result<(), ReadError> {
        let states = self.states.iter().map(Attribute::text);
        let states = states.collect::<Result<Vec<String>, _>>()?;
        let any = |word: &str| states.iter().any(|state| state == word);
        let mut on_line = false;
        for online in &self.mains {
            on_line |= online.number::<u32>()? > 0;
        }
        if any("Discharging") && !any("Charging") && !on_line {
            Ok(())
        } else {
            Err(ReadError::OnMains)
        }
    }

    fn value(&self) -> Result<u64, ReadError> {
        self.on_battery()?;
        let values = self.gauges.iter().map(Gauge::value);
        let sum: u64 = values.sum::<Result<u64, ReadError>>()?;
        match self.info.kind {
            MeterKind::Counter => sum
                .checked_mul(MICROJOULES)
                .ok_or_else(|| implausible(format!("{sum} uWh"))),
            _ if sum == 0 => Err(implausible("0 W while it discharges")),
            _ => Ok(sum),
        }
    }
}

impl Gauge {
    fn open(cell: &Cell, kind: MeterKind) -> Result<Self, ReadError> {
        let path = |file: &str| cell.folder.join(file);
        let open = |file: &str| match Attribute::open(&path(file), FIX) {
            Err(ReadError::Absent) => Err(ReadError::NotSupported),
            opened => opened,
        };
        if kind == MeterKind::Counter {
            let now = open("energy_now")?;
            let held = sysfs::number::<u64>(&path("energy_full"), FIX)?;
            return Ok(Self::Energy {
                full_uwh: held.ok_or(ReadError::NotSupported)?.max(now.number()?),
                now,
            });
        }
        match open("power_now") {
            Err(ReadError::NotSupported) => {
                Ok(Self::Current(open("current_now")?, open("voltage_now")?))
            }
            power => Ok(Self::Power(power?)),
        }
    }

    /// Micro-watt-hours used, or micro-watts.
    fn value(&self) -> Result<u64, ReadError> {
        match self {
            Self::Energy { full_uwh, now } => {
                let now = now.number()?;
                full_uwh
                    .checked_sub(now)
                    .ok_or_else(|| implausible(format!("{now} uWh of {full_uwh}")))
            }
            Self::Power(power) => Ok(power.number::<i64>()?.unsigned_abs()),
            Self::Current(current, voltage) => {
                let amperes = current.number::<i64>()?.unsigned_abs();
                let power = u128::from(amperes) * u128::from(voltage.number::<u64>()?) / 1_000_000;
                u64::try_from(power).map_err(|_| implausible(format!("{power} uW")))
            }
        }
    }
}

#[cfg(test)]
mod tests;
