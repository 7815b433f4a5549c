//! RAPL counters through the kernel's perf events, where powercap gives nothing to read.
//!
//! The `power` unit of the kernel counts the same registers as powercap, so its devices carry
//! powercap's names (`package-0`, `package-0/core`, `psys`) and are offered only where powercap
//! reads none of that name: a second reader of one device would never be added, and would cost
//! a system call per reading. One event is opened per domain and package, on the first processor
//! that the unit's `cpumask` names there. The kernel counts units of 2^-32 J in 64 bits from the
//! moment of opening, without wraps, a new value about every millisecond; readings are
//! micro-joules, worked out in whole numbers.
//!
//! Opening is for `CAP_PERFMON` (Linux 5.8), `CAP_SYS_ADMIN`, or everyone where
//! `kernel.perf_event_paranoid` is 0 or less; containers usually filter the system call.
//! Layout: <https://docs.kernel.org/admin-guide/perf-security.html> and
//! <https://www.kernel.org/doc/Documentation/ABI/testing/sysfs-bus-event_source-devices-events>.

use std::collections::BTreeSet;
use std::path::Path;

use domain::scope::Scope;
use domain::text::Name;

use super::sysfs::{self, implausible};
use super::{Found, Meter, ReadError, Refusal, powercap};
use crate::host::text_of;

#[cfg(target_os = "linux")]
mod open;

const UNIT: &str = "sys/bus/event_source/devices/power";

/// Events of the unit, what they cover, and the part's name as powercap has it.
const DOMAINS: [(&str, Scope, Option<&str>); 5] = [
    ("energy-pkg", Scope::CpuPkg, None),
    ("energy-cores", Scope::CpuCore, Some("core")),
    ("energy-gpu", Scope::CpuUncore, Some("uncore")),
    ("energy-ram", Scope::CpuDram, Some("dram")),
    ("energy-psys", Scope::PlatformPsys, None),
];

/// 2^-32, as every kernel since 3.14 writes it.
const SCALE: &str = "2.3283064365386962890625e-10";

const FIX: &str = "run as root, give the program CAP_PERFMON (setcap cap_perfmon+ep), or set \
                   kernel.perf_event_paranoid to 0 (mind CVE-2020-8694)";

/// One event that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PowerEvent {
    device: Name,
    scope: Scope,
    /// The unit's number among the kernel's event sources.
    unit: u32,
    /// The event's number within the unit.
    config: u64,
    /// Processor that counts it.
    cpu: u32,
}

/// What powercap does not read and perf can.
pub fn discover(root: &Path) -> Found {
    let mut found = Found::default();
    let mut refuse = |device, error| {
        found.refused.push(Refusal {
            meter: "perf",
            device,
            error,
        });
    };
    let events = match events(root) {
        Ok(events) => events,
        Err(error) => {
            refuse(None, error);
            return found;
        }
    };
    let by_powercap: BTreeSet<Name> = powercap::discover(root)
        .meters
        .iter()
        .map(|meter| meter.info().device.clone())
        .collect();
    let mut meters = Vec::new();
    for event in events {
        if by_powercap.contains(&event.device) {
            continue;
        }
        match open(&event) {
            Ok(meter) => meters.push(meter),
            Err(error) => refuse(Some(event.device), error),
        }
    }
    found.meters = meters;
    found
}

#[cfg(target_os = "linux")]
fn open(event: &PowerEvent) -> Result<Box<dyn Meter>, ReadError> {
    Ok(Box::new(open::PerfMeter::open(event)?))
}

#[cfg(not(target_os = "linux"))]
fn open(_event: &PowerEvent) -> Result<Box<dyn Meter>, ReadError> {
    Err(ReadError::NotSupported)
}

/// The events of every package; none where the kernel has no such unit.
fn events(root: &Path) -> Result<Vec<PowerEvent>, ReadError> {
    let folder = root.join(UNIT);
    let Some(unit) = sysfs::number(&folder.join("type"), FIX)? else {
        return Ok(Vec::new());
    };
    let mask = text_of(&folder, "cpumask").ok_or(ReadError::Absent)?;
    let packages = packages(root, &cpus(&mask)?)?;
    let mut events = Vec::new();
    for (event, scope, part) in DOMAINS {
        let Some(config) = config_of(&folder.join("events"), event)? else {
            continue;
        };
        for (package, cpu) in &packages {
            let device = match (scope, part) {
                (Scope::PlatformPsys, _) => "psys".to_owned(),
                (_, Some(part)) => format!("{package}/{part}"),
                (_, None) => package.clone(),
            };
            events.push(PowerEvent {
                device: Name::cleaned(&device),
                scope,
                unit,
                config,
                cpu: *cpu,
            });
            // Every package would tell the one platform's counter.
            if scope == Scope::PlatformPsys {
                break;
            }
        }
    }
    Ok(events)
}

/// The number of an event; `None` where the unit does not have it. An event in other units than
/// the known ones is refused.
fn config_of(folder: &Path, event: &str) -> Result<Option<u64>, ReadError> {
    let Some(text) = text_of(folder, event) else {
        return Ok(None);
    };
    let config = text
        .strip_prefix("event=0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| implausible(&text))?;
    for (suffix, expected) in [("scale", SCALE), ("unit", "Joules")] {
        let said = text_of(folder, &format!("{event}.{suffix}")).unwrap_or_default();
        if said != expected {
            return Err(implausible(format!("{event}.{suffix} {said}")));
        }
    }
    Ok(Some(config))
}

/// Packages, by powercap's names, and the processor that counts for each: with several dies in
/// one package the die is part of the name.
fn packages(root: &Path, cpus: &[u32]) -> Result<Vec<(String, u32)>, ReadError> {
    let topology = |cpu: u32, file: &str| {
        let folder = root.join(format!("sys/devices/system/cpu/cpu{cpu}/topology"));
        sysfs::number::<u32>(&folder.join(file), FIX)
    };
    let mut seats = Vec::new();
    for cpu in cpus {
        let package = topology(*cpu, "physical_package_id")?.ok_or(ReadError::Absent)?;
        seats.push((package, topology(*cpu, "die_id")?, *cpu));
    }
    let of_package: BTreeSet<u32> = seats.iter().map(|(package, ..)| *package).collect();
    let several_dies = of_package.len() < seats.len();
    let mut named: Vec<(String, u32)> = Vec::new();
    for (package, die, cpu) in seats {
        let name = match (several_dies, die) {
            (false, _) => format!("package-{package}"),
            (true, Some(die)) => format!("package-{package}-die-{die}"),
            (true, None) => return Err(implausible(format!("two dies of package-{package}"))),
        };
        // The mask names one processor per counter; were there two, one is enough.
        if named.iter().all(|(other, _)| *other != name) {
            named.push((name, cpu));
        }
    }
    Ok(named)
}

/// A kernel's list of processors, such as `0,24-25`.
fn cpus(mask: &str) -> Result<Vec<u32>, ReadError> {
    /// More counters than packages of any machine.
    const MOST: u32 = 4_096;
    let mut cpus = Vec::new();
    for range in mask.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (first.parse::<u32>(), last.parse::<u32>()) {
            (Ok(first), Ok(last)) if first <= last && last < MOST => cpus.extend(first..=last),
            _ => return Err(implausible(mask)),
        }
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::super::sysfs::tests::{tree, write};
    use super::*;
    use tempfile::TempDir;

    /// Two sockets with every domain.
    fn xeon() -> TempDir {
        let root = tree(&[
            ("sys/bus/event_source/devices/power/type", "23\n"),
            ("sys/bus/event_source/devices/power/cpumask", "0,24\n"),
        ]);
        for (number, (event, ..)) in (1..).zip(DOMAINS) {
            let file = |suffix: &str| format!("{UNIT}/events/{event}{suffix}");
            write(&root, &file(""), &format!("event=0x{number:02x}\n"));
            write(&root, &file(".scale"), "2.3283064365386962890625e-10\n");
            write(&root, &file(".unit"), "Joules\n");
        }
        for (cpu, package) in [(0, 0), (24, 1)] {
            seat(&root, cpu, package, 0);
        }
        root
    }

    fn seat(root: &TempDir, cpu: u32, package: u32, die: u32) {
        let file = |name: &str| format!("sys/devices/system/cpu/cpu{cpu}/topology/{name}");
        write(root, &file("physical_package_id"), &format!("{package}\n"));
        write(root, &file("die_id"), &format!("{die}\n"));
    }

    fn devices(root: &TempDir) -> Vec<(String, u64, u32)> {
        let events = events(root.path()).expect("well-formed");
        events
            .into_iter()
            .map(|event| (event.device.to_string(), event.config, event.cpu))
            .collect()
    }

    #[test]
    fn every_domain_of_every_package_is_one_event_on_its_first_processor() {
        let of = |device: &str, config, cpu| (device.to_owned(), config, cpu);
        assert_eq!(
            devices(&xeon()),
            [
                of("package-0", 1, 0),
                of("package-1", 1, 24),
                of("package-0/core", 2, 0),
                of("package-1/core", 2, 24),
                of("package-0/uncore", 3, 0),
                of("package-1/uncore", 3, 24),
                of("package-0/dram", 4, 0),
                of("package-1/dram", 4, 24),
                of("psys", 5, 0),
            ]
        );
    }

    #[test]
    fn dies_of_one_package_are_told_apart_as_powercap_does() {
        let root = xeon();
        seat(&root, 24, 0, 1);
        let found = devices(&root);
        let packages: Vec<_> = found[..2]
            .iter()
            .map(|(device, ..)| device.as_str())
            .collect();
        assert_eq!(packages, ["package-0-die-0", "package-0-die-1"]);
    }

    #[test]
    fn no_unit_and_no_event_are_no_meter() {
        let root = tree(&[]);
        assert_eq!(events(root.path()), Ok(Vec::new()));
        let found = discover(root.path());
        assert!(found.meters.is_empty() && found.refused.is_empty());
    }

    #[test]
    fn malformed_files_are_refused() {
        for (file, text) in [
            ("type", "power"),
            ("cpumask", "0,x"),
            ("cpumask", "4-1"),
            ("cpumask", "0-4000000000"),
            ("events/energy-pkg", "event=pkg"),
            ("events/energy-pkg", "event=0x02,umask=0x1"),
            ("events/energy-pkg.scale", "1e-9"),
            ("events/energy-ram.unit", "Watts"),
        ] {
            let root = xeon();
            write(&root, &format!("{UNIT}/{file}"), text);
            let error = events(root.path()).expect_err(file);
            assert!(
                matches!(error, ReadError::Implausible(_)),
                "{file}: {error}"
            );
            let found = discover(root.path());
            assert!(found.meters.is_empty());
            assert_eq!(found.refused[0].error, error);
        }
        let root = xeon();
        std::fs::remove_file(root.path().join(UNIT).join("cpumask")).expect("was there");
        assert_eq!(events(root.path()), Err(ReadError::Absent));
    }

    #[test]
    fn what_powercap_reads_is_not_read_twice() {
        let root = xeon();
        // A unit that no kernel has: what is left for perf cannot be opened, and is refused.
        write(&root, &format!("{UNIT}/type"), "4000000\n");
        write(&root, "sys/class/powercap/intel-rapl:0/name", "package-0\n");
        write(&root, "sys/class/powercap/intel-rapl:0/energy_uj", "1000\n");
        let found = discover(root.path());
        assert!(found.meters.is_empty());
        let refused: Vec<_> = found
            .refused
            .iter()
            .filter_map(|refusal| refusal.device.as_ref().map(Name::as_str))
            .collect();
        assert_eq!(refused.len(), 8);
        assert!(!refused.contains(&"package-0"), "{refused:?}");
    }
}
