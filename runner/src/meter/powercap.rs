//! RAPL counters through the Linux powercap tree (Intel and AMD).
//!
//! Covers `cpu.pkg`, `cpu.core`, `cpu.uncore`, `cpu.dram` and `platform.psys`; micro-joules,
//! counting up to `max_energy_range_uj` (262 kJ on Intel, 65.5 kJ on Zen: 234 s at 280 W) and
//! then from 0 again; a new value about every millisecond. An own reader, because the common
//! crate adds package, core and psys together and ignores wraps. Zones are found in the flat
//! class folder and nested below their packages, linked or not. One package may be told by
//! several control types (MSR, MMIO, TPMI): a zone of the same name below the same package is
//! then its twin, and is taken once, from the MSR where that can be read. Within one control
//! type a repeated name is a second die, with a device of its own. Where the range is missing, a
//! wrap cannot be told from a reset, so the integration drops that interval.
//!
//! Reading is for root since Linux 5.10 (CVE-2020-8694): then the reason is permission, with the
//! fix, not absence. Containers and virtual machines usually have no such tree.
//! Layout: <https://docs.kernel.org/power/powercap/powercap.html>.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use domain::record::{Averaging, MeterKind, UpdateBasis};
use domain::scope::Scope;
use domain::text::Name;

use super::sysfs::{self, Attribute};
use super::{Found, Meter, MeterInfo, Reach, ReadError, Reading, Refusal};
use crate::clock::Clock;
use crate::host::text_of;

/// Running average interval of RAPL counters, about a millisecond (Intel SDM vol. 3B, 16.10).
pub(super) const UPDATE_NS: u64 = 1_000_000;

/// Sensor prior of the energy method: 5 %.
pub(super) const SENSOR_PPM: u32 = 50_000;

/// Zones nest no deeper than package and part.
const MAX_DEPTH: u32 = 3;

/// The control type that has every part that the others have.
const MSR: &str = "intel-rapl";

const FIX: &str = "run as root, or let your group read energy_uj by a udev rule, which joulemark \
                   doctor prints (mind CVE-2020-8694)";

/// Long-term power limits of all packages together, where the processor's driver says them.
pub fn power_limit_mw(root: &Path) -> Option<u64> {
    let zones = fs::read_dir(root.join("sys/class/powercap")).ok()?;
    let limits: Vec<u64> = zones
        .filter_map(Result::ok)
        // The MMIO twin of a package says its limit once more.
        .filter(|zone| {
            zone.file_name()
                .to_string_lossy()
                .starts_with("intel-rapl:")
        })
        .map(|zone| zone.path())
        .filter(|zone| text_of(zone, "name").is_some_and(|name| name.starts_with("package-")))
        .filter_map(|zone| text_of(&zone, "constraint_0_power_limit_uw")?.parse().ok())
        .collect();
    (!limits.is_empty()).then(|| limits.iter().sum::<u64>() / 1_000)
}

/// One zone's counter.
#[derive(Debug)]
pub struct PowercapMeter {
    info: MeterInfo,
    counter: Attribute,
}

impl Meter for PowercapMeter {
    fn info(&self) -> &MeterInfo {
        &self.info
    }

    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError> {
        sysfs::stamped(clock, || self.counter.number())
    }
}

/// Finds every readable zone under `root`.
pub fn discover(root: &Path) -> Found {
    let (meters, refused) = zones(root);
    let refusal = |(device, error)| Refusal {
        meter: "powercap",
        device: Some(device),
        error,
    };
    Found {
        meters: meters
            .into_iter()
            .map(|meter| Box::new(meter) as Box<dyn Meter>)
            .collect(),
        refused: refused.into_iter().map(refusal).collect(),
    }
}

/// A zone that covers something.
struct Zone {
    path: PathBuf,
    control: String,
    device: Name,
    scope: Scope,
}

/// The counters, one per device, and why those that are there cannot be read.
fn zones(root: &Path) -> (Vec<PowercapMeter>, BTreeMap<Name, ReadError>) {
    let mut found: Vec<PowercapMeter> = Vec::new();
    let mut refused = BTreeMap::new();
    for zone in named(root) {
        if found.iter().any(|meter| meter.info.device == zone.device) {
            continue;
        }
        match open(&zone) {
            Ok(meter) => found.push(meter),
            // What is told of a device is why its first reader fails.
            Err(error) => {
                refused.entry(zone.device).or_insert(error);
            }
        }
    }
    refused.retain(|device, _| found.iter().all(|meter| meter.info.device != *device));
    found.sort_by(|a, b| a.info.device.cmp(&b.info.device));
    (found, refused)
}

/// Every zone with its device: the zone's name, below its package's if it is a part. Twins share
/// it; the MSR's come first.
fn named(root: &Path) -> Vec<Zone> {
    let mut folders = BTreeMap::new();
    collect_zones(&root.join("sys/class/powercap"), MAX_DEPTH, &mut folders);
    let mut devices: BTreeMap<String, String> = BTreeMap::new();
    let mut given: BTreeSet<(String, String)> = BTreeSet::new();
    let mut zones = Vec::new();
    // A package's id is a prefix of its parts' and comes before them.
    for (id, path) in folders {
        let Some(name) = text_of(&path, "name") else {
            continue;
        };
        let control = id.split(':').next().unwrap_or(&id).to_owned();
        let package = id
            .rsplit_once(':')
            .and_then(|(parent, _)| devices.get(parent));
        let plain = match package {
            Some(package) => format!("{package}/{name}"),
            None => name.clone(),
        };
        let device = if given.insert((control.clone(), plain.clone())) {
            plain
        } else {
            format!("{plain} {id}")
        };
        devices.insert(id, device.clone());
        if let Some(scope) = scope_of(&name) {
            zones.push(Zone {
                path,
                control,
                device: Name::cleaned(&device),
                scope,
            });
        }
    }
    zones.sort_by_key(|zone| zone.control != MSR);
    zones
}

/// Every zone folder by its id; links into the device tree lead to folders met before.
fn collect_zones(folder: &Path, depth: u32, zones: &mut BTreeMap<String, PathBuf>) {
    let Some(entries) = fs::read_dir(folder).ok().filter(|_| depth > 0) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let id = entry.file_name().to_string_lossy().into_owned();
        if !id.starts_with(MSR) || zones.contains_key(&id) {
            continue;
        }
        if id.contains(':') {
            zones.insert(id, entry.path());
        }
        collect_zones(&entry.path(), depth - 1, zones);
    }
}

fn scope_of(name: &str) -> Option<Scope> {
    match name {
        "core" => Some(Scope::CpuCore),
        "uncore" => Some(Scope::CpuUncore),
        "dram" => Some(Scope::CpuDram),
        "psys" => Some(Scope::PlatformPsys),
        _ => name.starts_with("package-").then_some(Scope::CpuPkg),
    }
}

fn open(zone: &Zone) -> Result<PowercapMeter, ReadError> {
    let counter = Attribute::open(&zone.path.join("energy_uj"), FIX)?;
    counter.number::<u64>()?;
    let range = sysfs::number(&zone.path.join("max_energy_range_uj"), FIX)?;
    let origin = match zone.control.strip_prefix("intel-rapl-") {
        Some(other) => format!("powercap {other}"),
        None => "powercap msr".to_owned(),
    };
    let info = MeterInfo {
        meter: Name::cleaned("powercap"),
        device: zone.device.clone(),
        scope: zone.scope,
        kind: MeterKind::Counter,
        averaging: Averaging::Instant,
        window_ns: None,
        update_ns: Some(UPDATE_NS),
        update_basis: UpdateBasis::Assumed,
        // Some drivers say 0 for a range that they do not know.
        wrap_uj: range.filter(|range: &u64| *range > 0),
        sensor_ppm: Some(SENSOR_PPM),
        origin: Name::cleaned(&origin),
        privilege: "root since Linux 5.10",
        reach: Reach::Local,
    };
    Ok(PowercapMeter { info, counter })
}

#[cfg(test)]
mod tests;
