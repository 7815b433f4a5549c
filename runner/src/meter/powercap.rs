//! RAPL counters through the Linux powercap tree (Intel and AMD).
//!
//! An own reader, because the common crate adds package, core and psys together and ignores
//! wraps. Zones are found in the flat class folder and nested below their packages; a package
//! that shows up twice, by MSR and by MMIO, is taken once. Reading is for root since Linux 5.10
//! (CVE-2020-8694): then the reason is permission, with the fix, not absence.
//! Layout: <https://docs.kernel.org/power/powercap/powercap.html>.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use domain::record::{Averaging, MeterKind, UpdateBasis};
use domain::scope::Scope;
use domain::text::Name;

use super::{Found, Meter, MeterInfo, Reach, ReadError, Reading, Refusal};
use crate::clock::Clock;
use crate::host::text_of;

/// Running average interval of RAPL counters, about a millisecond (Intel SDM vol. 3B, 16.10).
const UPDATE_NS: u64 = 1_000_000;

/// Sensor prior of the energy method: 5 %.
const SENSOR_PPM: u32 = 50_000;

/// Zones nest no deeper than package and part.
const MAX_DEPTH: u32 = 3;

const FIX: &str =
    "run as root, or let your group read energy_uj by a udev rule (mind CVE-2020-8694)";

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
    counter: File,
}

impl Meter for PowercapMeter {
    fn info(&self) -> &MeterInfo {
        &self.info
    }

    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError> {
        let before_ns = clock.now_ns();
        let value = read_counter(&self.counter)?;
        Ok(Reading {
            before_ns,
            after_ns: clock.now_ns(),
            source_ns: None,
            value,
        })
    }
}

/// Finds every readable zone under `root`.
pub fn discover(root: &Path) -> Found {
    let (meters, refused) = zones(root);
    let refusal = |error| Refusal {
        meter: "powercap",
        device: None,
        error,
    };
    Found {
        meters: meters
            .into_iter()
            .map(|meter| Box::new(meter) as Box<dyn Meter>)
            .collect(),
        refused: refused.map(refusal).into_iter().collect(),
    }
}

/// The counters, and why one that is there cannot be read.
fn zones(root: &Path) -> (Vec<PowercapMeter>, Option<ReadError>) {
    let mut zones = BTreeMap::new();
    collect_zones(&root.join("sys/class/powercap"), MAX_DEPTH, &mut zones);
    let names: BTreeMap<String, String> = zones
        .iter()
        .filter_map(|(id, path)| {
            Some((
                id.clone(),
                fs::read_to_string(path.join("name"))
                    .ok()?
                    .trim()
                    .to_owned(),
            ))
        })
        .collect();

    let (mut found, mut refused) = (Vec::new(), None);
    let mut taken: Vec<Name> = Vec::new();
    // In order of ids `intel-rapl:...` comes after `intel-rapl-mmio:...`; the MSR twin is taken
    // first, as it has every part that the other has.
    for (id, name) in names.iter().rev() {
        let Some(scope) = scope_of(name) else {
            continue;
        };
        let device = Name::cleaned(&device_of(id, name, &names));
        if taken.contains(&device) {
            continue;
        }
        match open(&zones[id], device.clone(), scope) {
            Ok(meter) => {
                taken.push(device);
                found.push(meter);
            }
            Err(error) => refused = Some(error),
        }
    }
    found.sort_by(|a: &PowercapMeter, b| a.info.device.cmp(&b.info.device));
    (found, refused)
}

/// Every zone folder by its id; links into the device tree lead to folders met before.
fn collect_zones(folder: &Path, depth: u32, zones: &mut BTreeMap<String, PathBuf>) {
    let Some(entries) = fs::read_dir(folder).ok().filter(|_| depth > 0) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let id = entry.file_name().to_string_lossy().into_owned();
        if !id.starts_with("intel-rapl") || zones.contains_key(&id) {
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

/// A zone's device: its own name, below its package's if it is a part. Twins share it.
fn device_of(id: &str, name: &str, names: &BTreeMap<String, String>) -> String {
    match id
        .rsplit_once(':')
        .and_then(|(parent, _)| names.get(parent))
    {
        Some(package) => format!("{package}/{name}"),
        None => name.to_owned(),
    }
}

fn open(zone: &Path, device: Name, scope: Scope) -> Result<PowercapMeter, ReadError> {
    let counter = File::open(zone.join("energy_uj")).map_err(|error| read_error(&error))?;
    read_counter(&counter)?;
    // Without the range a wrap cannot be told from a reset, so the interval is dropped later.
    let range = fs::read_to_string(zone.join("max_energy_range_uj")).ok();
    let wrap_uj = range
        .and_then(|text| text.trim().parse().ok())
        .filter(|range| *range > 0);
    let origin = if zone.to_string_lossy().contains("mmio") {
        "powercap mmio"
    } else {
        "powercap msr"
    };
    let info = MeterInfo {
        meter: Name::cleaned("powercap"),
        device,
        scope,
        kind: MeterKind::Counter,
        averaging: Averaging::Instant,
        window_ns: None,
        update_ns: Some(UPDATE_NS),
        update_basis: UpdateBasis::Assumed,
        wrap_uj,
        sensor_ppm: Some(SENSOR_PPM),
        origin: Name::cleaned(origin),
        privilege: "root since Linux 5.10",
        reach: Reach::Local,
    };
    Ok(PowercapMeter { info, counter })
}

fn read_counter(counter: &File) -> Result<u64, ReadError> {
    // The longest u64 has 20 digits.
    let mut buffer = [0; 32];
    let length = counter
        .read_at(&mut buffer, 0)
        .map_err(|error| read_error(&error))?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    text.trim()
        .parse()
        .map_err(|_| ReadError::Implausible(text.trim().to_owned()))
}

fn read_error(error: &io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::NotFound => ReadError::Absent,
        io::ErrorKind::PermissionDenied => ReadError::Permission { fix: FIX },
        io::ErrorKind::Unsupported => ReadError::NotSupported,
        _ => ReadError::Transport(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use tempfile::TempDir;

    const CLASS: &str = "sys/class/powercap";

    fn tree(zones: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, name) in zones {
            let zone = root.path().join(CLASS).join(path);
            fs::create_dir_all(&zone).expect("a folder");
            fs::write(zone.join("name"), format!("{name}\n")).expect("writable");
            fs::write(zone.join("energy_uj"), "1000\n").expect("writable");
            fs::write(zone.join("max_energy_range_uj"), "262143328850\n").expect("writable");
        }
        root
    }

    fn devices(root: &TempDir) -> Vec<(String, String)> {
        let (meters, _) = zones(root.path());
        meters
            .iter()
            .map(|meter| (meter.info.device.to_string(), meter.info.scope.to_string()))
            .collect()
    }

    fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(device, scope)| ((*device).to_owned(), (*scope).to_owned()))
            .collect()
    }

    const PARTS: [(&str, &str); 4] = [
        ("package-0", "cpu.pkg"),
        ("package-0/core", "cpu.core"),
        ("package-0/dram", "cpu.dram"),
        ("psys", "platform.psys"),
    ];

    #[test]
    fn a_flat_tree_gives_every_zone_its_scope() {
        let root = tree(&[
            ("intel-rapl", "intel-rapl"),
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"),
            ("intel-rapl:1", "psys"),
            ("dtpm", "package-9"),
        ]);
        assert_eq!(devices(&root), expected(&PARTS));
    }

    #[test]
    fn a_nested_and_linked_tree_gives_the_same() {
        let root = tree(&[
            ("intel-rapl/intel-rapl:0", "package-0"),
            ("intel-rapl/intel-rapl:0/intel-rapl:0:0", "core"),
            ("intel-rapl/intel-rapl:0/intel-rapl:0:1", "dram"),
            ("intel-rapl/intel-rapl:1", "psys"),
        ]);
        let class = root.path().join(CLASS);
        std::os::unix::fs::symlink("intel-rapl/intel-rapl:0", class.join("intel-rapl:0"))
            .expect("a link");
        assert_eq!(devices(&root), expected(&PARTS));
    }

    #[test]
    fn a_package_seen_by_msr_and_mmio_is_taken_once() {
        let root = tree(&[
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:1", "package-1"),
            ("intel-rapl-mmio:0", "package-0"),
            ("intel-rapl-mmio:0:0", "dram"),
        ]);
        let (found, _) = zones(root.path());
        let of: Vec<_> = found
            .iter()
            .map(|m| (m.info.device.as_str(), m.info.origin.as_str()))
            .collect();
        assert_eq!(
            of,
            [
                ("package-0", "powercap msr"),
                ("package-0/dram", "powercap mmio"),
                ("package-1", "powercap msr")
            ]
        );
    }

    #[test]
    fn a_reading_is_the_file_now_and_a_wrap_is_left_to_the_integration() {
        let root = tree(&[("intel-rapl:0", "package-0")]);
        let mut meter = zones(root.path()).0.pop().expect("one");
        assert_eq!(meter.info.wrap_uj, Some(262_143_328_850));
        let clock = VirtualClock::default();
        let file = root.path().join(CLASS).join("intel-rapl:0/energy_uj");
        for value in [262_143_328_000_u64, 12] {
            fs::write(&file, format!("{value}\n")).expect("writable");
            assert_eq!(meter.read(&clock).map(|reading| reading.value), Ok(value));
        }
        fs::write(&file, "lots\n").expect("writable");
        assert!(matches!(meter.read(&clock), Err(ReadError::Implausible(_))));
    }

    #[test]
    fn a_missing_range_is_unknown_and_a_missing_counter_is_no_meter() {
        let root = tree(&[("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1")]);
        fs::remove_file(
            root.path()
                .join(CLASS)
                .join("intel-rapl:0/max_energy_range_uj"),
        )
        .expect("was there");
        fs::remove_file(root.path().join(CLASS).join("intel-rapl:1/energy_uj")).expect("was there");
        let (found, refused) = zones(root.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].info.wrap_uj, None);
        assert_eq!(refused, Some(ReadError::Absent));
    }

    #[test]
    fn an_unreadable_counter_is_a_matter_of_permission() {
        use std::os::unix::fs::PermissionsExt;
        let root = tree(&[("intel-rapl:0", "package-0")]);
        let counter = root.path().join(CLASS).join("intel-rapl:0/energy_uj");
        fs::set_permissions(&counter, fs::Permissions::from_mode(0o000)).expect("own file");
        if File::open(&counter).is_ok() {
            println!("SKIPPED: this user (root) may read every file");
        } else {
            let (found, refused) = zones(root.path());
            assert!(found.is_empty());
            assert!(matches!(refused, Some(ReadError::Permission { .. })));
        }
        let denied = read_error(&io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(denied.to_string().contains("run as root"), "{denied}");
    }

    #[test]
    fn no_tree_is_no_meter() {
        let root = tempfile::tempdir().expect("a folder");
        let found = discover(root.path());
        assert!(found.meters.is_empty() && found.refused.is_empty());
    }
}
