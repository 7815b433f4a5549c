//! Fake powercap trees: every layout that is known, and what spoils a counter.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use super::super::sysfs::tests::{tree as files, write};
use super::*;
use crate::clock::VirtualClock;
use domain::energy::{EnergyCurve, energy_in_span};
use domain::record::{MeterTrace, UnavailableReason};
use tempfile::TempDir;

const CLASS: &str = "sys/class/powercap";
const INTEL_RANGE: u64 = 262_143_328_850;
const ZEN_RANGE: u64 = 65_532_610_987;

fn tree(zones: &[(&str, &str)]) -> TempDir {
    let root = files(&[]);
    for (zone, name) in zones {
        write(&root, &format!("{CLASS}/{zone}/name"), &format!("{name}\n"));
        set(&root, zone, "energy_uj", "1000");
        set(&root, zone, "max_energy_range_uj", "262143328850");
    }
    root
}

fn set(root: &TempDir, zone: &str, file: &str, text: &str) {
    write(
        root,
        &format!("{CLASS}/{zone}/{file}"),
        &format!("{text}\n"),
    );
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
    symlink("intel-rapl/intel-rapl:0", class.join("intel-rapl:0")).expect("a link");
    // A link that leads back to where it stands.
    symlink(".", class.join("intel-rapl/intel-rapl:7")).expect("a link");
    assert_eq!(devices(&root), expected(&PARTS));
}

#[test]
fn a_package_seen_by_msr_and_mmio_is_taken_once() {
    let root = tree(&[
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl-mmio:0", "package-0"),
        ("intel-rapl-mmio:0:0", "dram"),
        ("intel-rapl-mmio:0:1", "core"),
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
            ("package-0/core", "powercap msr"),
            ("package-0/dram", "powercap mmio"),
            ("package-1", "powercap msr")
        ]
    );
}

#[test]
fn a_twin_stands_in_for_a_counter_that_cannot_be_read() {
    let root = tree(&[
        ("intel-rapl:0", "package-0"),
        ("intel-rapl-mmio:0", "package-0"),
    ]);
    set(&root, "intel-rapl:0", "energy_uj", "unknown");
    let (found, refused) = zones(root.path());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].info.origin.as_str(), "powercap mmio");
    assert!(refused.is_empty(), "the device can be read");
}

#[test]
fn mmio_or_tpmi_alone_is_enough() {
    for (control, origin) in [("mmio", "powercap mmio"), ("tpmi", "powercap tpmi")] {
        let zone = format!("intel-rapl-{control}:0");
        let root = tree(&[(&zone, "package-0")]);
        let (found, _) = zones(root.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].info.origin.as_str(), origin);
    }
}

#[test]
fn parts_of_different_packages_and_dies_are_different_devices() {
    let root = tree(&[
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "dram"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:1:0", "dram"),
        ("intel-rapl:2", "package-2-die-1"),
        // Some kernels give both dies of a package one name.
        ("intel-rapl:3", "package-1"),
        ("intel-rapl:3:0", "dram"),
    ]);
    assert_eq!(
        devices(&root),
        expected(&[
            ("package-0", "cpu.pkg"),
            ("package-0/dram", "cpu.dram"),
            ("package-1", "cpu.pkg"),
            ("package-1 intel-rapl:3", "cpu.pkg"),
            ("package-1 intel-rapl:3/dram", "cpu.dram"),
            ("package-1/dram", "cpu.dram"),
            ("package-2-die-1", "cpu.pkg"),
        ])
    );
}

#[test]
fn a_missing_range_is_unknown_and_a_missing_counter_is_no_meter() {
    let root = tree(&[
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:2", "package-2"),
        ("intel-rapl:3", "package-3"),
    ]);
    let zone = |zone: &str| root.path().join(CLASS).join(zone);
    fs::remove_file(zone("intel-rapl:0").join("max_energy_range_uj")).expect("was there");
    fs::remove_file(zone("intel-rapl:1").join("energy_uj")).expect("was there");
    set(&root, "intel-rapl:2", "max_energy_range_uj", "0");
    set(&root, "intel-rapl:3", "max_energy_range_uj", "much");
    let (found, refused) = zones(root.path());
    let ranges: Vec<_> = found.iter().map(|meter| meter.info.wrap_uj).collect();
    assert_eq!(ranges, [None, None]);
    let refused: Vec<_> = refused.into_iter().collect();
    assert_eq!(
        refused,
        [
            (Name::cleaned("package-1"), ReadError::Absent),
            (
                Name::cleaned("package-3"),
                ReadError::Implausible("much".to_owned())
            )
        ]
    );
}

#[test]
fn an_unreadable_counter_is_a_matter_of_permission() {
    let root = tree(&[("intel-rapl:0", "package-0")]);
    let counter = root.path().join(CLASS).join("intel-rapl:0/energy_uj");
    fs::set_permissions(&counter, fs::Permissions::from_mode(0o000)).expect("own file");
    if fs::File::open(&counter).is_ok() {
        println!("SKIPPED: this user (root) may read every file");
    } else {
        let found = discover(root.path());
        assert!(found.meters.is_empty());
        assert_eq!(found.refused.len(), 1);
        assert!(matches!(
            found.refused[0].error,
            ReadError::Permission { .. }
        ));
    }
    let denied = ReadError::Permission { fix: FIX };
    for told in ["run as root", "udev rule", "CVE-2020-8694"] {
        assert!(denied.to_string().contains(told), "{denied}");
    }
}

#[test]
fn no_tree_is_no_meter() {
    let found = discover(files(&[]).path());
    assert!(found.meters.is_empty() && found.refused.is_empty());
}

/// Reads a counter once per `values`, 1 ms apart; `None` where the file held no number.
fn trace(root: &TempDir, values: &[&str]) -> MeterTrace {
    let mut meter = zones(root.path()).0.pop().expect("one");
    let clock = VirtualClock::default();
    let mut trace = MeterTrace {
        meter: meter.info.meter.clone(),
        host: 0,
        device: meter.info.device.clone(),
        scope: meter.info.scope,
        used: true,
        kind: meter.info.kind,
        averaging: meter.info.averaging,
        window_ns: meter.info.window_ns,
        update_ns: meter.info.update_ns,
        update_basis: meter.info.update_basis,
        wrap_uj: meter.info.wrap_uj,
        sensor_ppm: meter.info.sensor_ppm,
        origin: meter.info.origin.clone(),
        clock_error_ns: None,
        t_ns: Vec::new(),
        latency_ns: Vec::new(),
        source_t_ns: None,
        v: Vec::new(),
    };
    for value in values {
        set(root, "intel-rapl:0", "energy_uj", value);
        if let Ok(reading) = meter.read(&clock) {
            trace.t_ns.push(reading.before_ns);
            trace.latency_ns.push(reading.after_ns - reading.before_ns);
            trace.v.push(reading.value);
        }
        clock.advance(Duration::from_millis(1));
    }
    trace
}

/// 100 W for 41 ms from `start`, a value every millisecond, wrapped at `range`.
fn hundred_watts(start: u64, range: u64) -> Vec<String> {
    (0..=40)
        .map(|ms| ((start + ms * 100_000) % range).to_string())
        .collect()
}

#[test]
fn joules_run_on_over_a_wrap_of_either_maker() {
    for range in [INTEL_RANGE, ZEN_RANGE] {
        let root = tree(&[("intel-rapl:0", "package-0")]);
        set(
            &root,
            "intel-rapl:0",
            "max_energy_range_uj",
            &range.to_string(),
        );
        let values = hundred_watts(range - 1_950_000, range);
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let trace = trace(&root, &values);
        assert!(trace.v.windows(2).any(|pair| pair[1] < pair[0]), "it wraps");
        let energy = energy_in_span(&trace, 0, 40_000_000).expect("measured");
        let off = (energy.joules.0 - 4.0).abs();
        assert!(
            off <= energy.error.0 + 1e-9 && energy.error.0 < 0.1,
            "{energy:?}"
        );
    }
}

#[test]
fn a_wrap_of_unknown_range_a_reset_and_garbage_give_no_joules() {
    let root = tree(&[("intel-rapl:0", "package-0")]);
    let values = hundred_watts(INTEL_RANGE - 1_950_000, INTEL_RANGE);
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let range = root
        .path()
        .join(CLASS)
        .join("intel-rapl:0/max_energy_range_uj");
    fs::remove_file(range).expect("was there");
    let unknown = trace(&root, &values);
    assert_eq!(
        energy_in_span(&unknown, 0, 40_000_000).err(),
        Some(UnavailableReason::Reset)
    );

    set(
        &root,
        "intel-rapl:0",
        "max_energy_range_uj",
        &INTEL_RANGE.to_string(),
    );
    let mut reset: Vec<String> = hundred_watts(100_000_000_000, INTEL_RANGE);
    for (late, value) in reset.iter_mut().skip(20).enumerate() {
        *value = (late * 100_000).to_string();
    }
    let reset: Vec<&str> = reset.iter().map(String::as_str).collect();
    let reset = trace(&root, &reset);
    assert_eq!(
        energy_in_span(&reset, 0, 40_000_000).err(),
        Some(UnavailableReason::Reset)
    );

    let garbage = trace(&root, &["lots"; 41]);
    assert!(garbage.v.is_empty(), "nothing stands for what was not read");
    assert_eq!(
        EnergyCurve::of(&garbage).err(),
        Some(UnavailableReason::Gap)
    );
}
