//! Fake hwmon trees: both `spbm` forks, Grace, AMD, Intel, and what is not there.

use super::super::sysfs::tests::{tree, write};
use super::*;
use crate::clock::VirtualClock;
use domain::energy::keys::keys;
use tempfile::TempDir;

/// A chip with a name, in a folder of any number; labels and values by sensor.
fn chip(root: &TempDir, number: u32, driver: &str, files: &[(&str, &str)]) {
    let file = |name: &str| format!("sys/class/hwmon/hwmon{number}/{name}");
    write(root, &file("name"), &format!("{driver}\n"));
    for (name, text) in files {
        write(root, &file(name), &format!("{text}\n"));
    }
}

/// Device, scope, kind and first value of all that is found.
fn read(root: &TempDir) -> Vec<(String, Scope, MeterKind, u64)> {
    let clock = VirtualClock::default();
    discover(root.path())
        .meters
        .iter_mut()
        .map(|meter| {
            let value = meter.read(&clock).expect("was read before").value;
            let info = meter.info();
            (info.device.to_string(), info.scope, info.kind, value)
        })
        .collect()
}

fn refusals(root: &TempDir) -> Vec<(String, ReadError)> {
    discover(root.path())
        .refused
        .into_iter()
        .map(|refusal| (refusal.device.expect("named").to_string(), refusal.error))
        .collect()
}

fn of(device: &str, scope: Scope, kind: MeterKind, value: u64) -> (String, Scope, MeterKind, u64) {
    (device.to_owned(), scope, kind, value)
}

use MeterKind::{Counter, Power};

#[test]
fn both_forks_of_spbm_are_read_by_label() {
    let first = [
        ("power1_label", "sys_total"),
        ("power1_input", "36000000"),
        ("power2_label", "soc_pkg"),
        ("power2_input", "22000000"),
        ("power3_label", "cpu_gpu"),
        ("power3_input", "10000000"),
        ("power9_label", "gpu_out"),
        ("power9_input", "4800000"),
        ("power17_label", "pl1"),
        ("power17_input", "140000000"),
        ("energy1_label", "pkg"),
        ("energy1_input", "4294000000000"),
        ("energy4_label", "gpc"),
        ("energy4_input", "77"),
    ];
    // Later versions: other numbers, other labels, a counter of the GPU.
    let later = [
        ("power2_label", "sys_total"),
        ("power2_input", "36000000"),
        ("power1_label", "soc_pkg"),
        ("power1_input", "22000000"),
        ("power8_label", "gpu"),
        ("power8_input", "4800000"),
        ("power9_label", "prereg"),
        ("power9_input", "8000000"),
        ("energy1_label", "pkg"),
        ("energy1_input", "5294000000000"),
        ("energy4_label", "gpu"),
        ("energy4_input", "99000"),
    ];
    let root = tree(&[]);
    chip(&root, 5, "spbm", &first);
    assert_eq!(
        read(&root),
        [
            of("spbm gpu", Scope::GpuRail, Power, 4_800_000),
            of("spbm soc", Scope::SocPkg, Power, 22_000_000),
            of("spbm soc", Scope::SocPkg, Counter, 4_294_000_000_000),
            of("spbm system", Scope::SystemDc, Power, 36_000_000),
        ]
    );
    let wrap = |root: &TempDir| {
        let found = discover(root.path());
        let counter = found
            .meters
            .iter()
            .find(|meter| meter.info().wrap_uj.is_some());
        counter.map(|meter| meter.info().device.to_string())
    };
    assert_eq!(wrap(&root).as_deref(), Some("spbm soc"));
    let root = tree(&[]);
    chip(&root, 0, "spbm", &later);
    assert_eq!(
        read(&root),
        [
            of("spbm gpu", Scope::GpuRail, Power, 4_800_000),
            of("spbm gpu", Scope::GpuRail, Counter, 99_000),
            of("spbm soc", Scope::SocPkg, Power, 22_000_000),
            of("spbm soc", Scope::SocPkg, Counter, 5_294_000_000_000),
            of("spbm system", Scope::SystemDc, Power, 36_000_000),
        ]
    );
    assert_eq!(
        wrap(&root).as_deref(),
        Some("spbm gpu"),
        "beyond 32 bits it is unwrapped"
    );
}

#[test]
fn a_counter_and_a_power_of_one_device_are_never_added() {
    let root = tree(&[]);
    let files = [
        ("power1_label", "soc_pkg"),
        ("power1_input", "22000000"),
        ("energy1_label", "pkg"),
        ("energy1_input", "1000"),
    ];
    chip(&root, 1, "spbm", &files);
    let meters = discover(root.path()).meters;
    let seats: Vec<_> = meters.iter().map(|meter| meter.info().seat(0)).collect();
    let host = crate::host::survey(root.path()).host;
    let found = keys(&seats, &[host]);
    let soc: Vec<_> = found
        .iter()
        .filter(|key| key.scope.to_string() == "soc.pkg")
        .flat_map(|key| &key.meters)
        .map(|index| meters[*index as usize].info().kind)
        .collect();
    assert_eq!(soc, [Counter]);
}

#[test]
fn grace_is_read_by_its_own_words_wherever_they_stand() {
    let root = tree(&[]);
    for (number, label, value) in [
        (1, "CPU Power Socket 0", "42000000"),
        (2, "Module Power Socket 0", "160000000"),
        (3, "Grace Power Socket 0", "62000000"),
        (4, "SysIO Power Socket 0", "18000000"),
    ] {
        let files = [
            ("device/power1_oem_info", label),
            ("device/power1_average", value),
            ("device/power1_average_interval", "50"),
        ];
        chip(&root, number, "power_meter", &files);
    }
    let newer = [
        ("power1_oem_info", "Grace Power Socket 1"),
        ("power1_average", "61000000"),
    ];
    chip(&root, 5, "power_meter", &newer);
    assert_eq!(
        read(&root),
        [
            of("CPU Power Socket 0", Scope::CpuCore, Power, 42_000_000),
            of("Grace Power Socket 0", Scope::CpuPkg, Power, 62_000_000),
            of("Grace Power Socket 1", Scope::CpuPkg, Power, 61_000_000),
            of("Module Power Socket 0", Scope::Module, Power, 160_000_000),
        ]
    );
    let found = discover(root.path());
    assert!(found.refused.is_empty());
    let windows: Vec<_> = found
        .meters
        .iter()
        .map(|meter| (meter.info().averaging, meter.info().window_ns))
        .collect();
    assert_eq!(windows[0], (Averaging::Window, Some(50_000_000)));
    assert_eq!(windows[2], (Averaging::Unknown, None), "not said");
}

#[test]
fn a_power_meter_of_unknown_coverage_is_refused() {
    let root = tree(&[]);
    chip(&root, 1, "power_meter", &[("power1_average", "200000000")]);
    let files = [
        ("power1_oem_info", "PSU 1"),
        ("power1_average", "200000000"),
    ];
    chip(&root, 2, "power_meter", &files);
    assert_eq!(read(&root), []);
    let devices: Vec<_> = refusals(&root)
        .into_iter()
        .map(|(device, _)| device)
        .collect();
    assert_eq!(devices, ["power_meter", "PSU 1"]);
}

/// An AMD card or APU with one power sensor.
fn amd(root: &TempDir, number: u32, slot: &str, more: &[(&str, &str)]) {
    let event = format!("DRIVER=amdgpu\nPCI_ID=1002:744C\nPCI_SLOT_NAME={slot}");
    let mut files = vec![("device/uevent", event.as_str()), ("power1_label", "PPT")];
    files.extend(more);
    chip(root, number, "amdgpu", &files);
}

#[test]
fn amd_cards_are_told_from_apus_by_the_north_bridge_voltage() {
    let root = tree(&[]);
    amd(&root, 7, "0000:03:00.0", &[("power1_average", "290000000")]);
    let apu = [
        ("power1_average", "33000000"),
        ("in0_label", "vddgfx"),
        ("in1_label", "vddnb"),
    ];
    amd(&root, 2, "0000:c5:00.0", &apu);
    let vangogh = [
        ("power1_label", "slowPPT"),
        ("power1_average", "9000000"),
        ("power2_label", "fastPPT"),
        ("power2_average", "9100000"),
        ("in1_label", "vddnb"),
    ];
    amd(&root, 3, "0000:04:00.0", &vangogh);
    let mi300a = [
        (
            "device/uevent",
            "PCI_ID=1002:74A0\nPCI_SLOT_NAME=0001:01:00.0",
        ),
        ("power1_input", "120000000"),
    ];
    amd(&root, 4, "", &mi300a);
    assert_eq!(
        read(&root),
        [
            of("amdgpu 0000:03:00.0", Scope::GpuBoard, Power, 290_000_000),
            of("amdgpu 0000:04:00.0", Scope::SocPkg, Power, 9_000_000),
            of("amdgpu 0000:c5:00.0", Scope::SocPkg, Power, 33_000_000),
            of("amdgpu 0001:01:00.0", Scope::SocPkg, Power, 120_000_000),
        ]
    );
}

#[test]
fn what_amd_does_not_measure_does_not_exist() {
    for (absent, error) in [
        ("65535", ReadError::NotSupported),
        ("65535000", ReadError::NotSupported),
        ("65535000000", ReadError::NotSupported),
        ("0", ReadError::Implausible("0 W".to_owned())),
        ("N/A", ReadError::Implausible("N/A".to_owned())),
    ] {
        let root = tree(&[]);
        amd(&root, 1, "0000:03:00.0", &[("power1_average", absent)]);
        assert_eq!(read(&root), [], "{absent}");
        assert_eq!(refusals(&root), [("amdgpu 0000:03:00.0".to_owned(), error)]);
        // The other figure stands in where it is one.
        amd(&root, 1, "0000:03:00.0", &[("power1_input", "31000000")]);
        let card = of("amdgpu 0000:03:00.0", Scope::GpuBoard, Power, 31_000_000);
        assert_eq!(read(&root), [card], "{absent}");
    }
    let root = tree(&[]);
    amd(&root, 1, "0000:03:00.0", &[]);
    let none = ("amdgpu 0000:03:00.0".to_owned(), ReadError::NotSupported);
    assert_eq!(refusals(&root), [none]);
}

#[test]
fn a_reading_that_fails_later_is_no_number_either() {
    let root = tree(&[]);
    amd(&root, 1, "0000:03:00.0", &[("power1_average", "30000000")]);
    let mut meter = discover(root.path()).meters.remove(0);
    let clock = VirtualClock::default();
    for bad in ["0", "65535000000", "", "-3", "many"] {
        write(&root, "sys/class/hwmon/hwmon1/power1_average", bad);
        assert!(meter.read(&clock).is_err(), "{bad:?}");
    }
    write(&root, "sys/class/hwmon/hwmon1/power1_average", "31000000");
    assert_eq!(
        meter.read(&clock).map(|reading| reading.value),
        Ok(31_000_000)
    );
}

#[test]
fn intel_cards_are_told_from_their_chips_by_label() {
    let root = tree(&[]);
    let battlemage = [
        ("device/uevent", "PCI_SLOT_NAME=0000:08:00.0"),
        ("energy1_label", "pkg"),
        ("energy1_input", "70"),
        ("energy2_label", "card"),
        ("energy2_input", "100"),
    ];
    chip(&root, 1, "xe", &battlemage);
    let alchemist = [
        ("device/uevent", "PCI_SLOT_NAME=0000:09:00.0"),
        ("energy2_label", "pkg"),
        ("energy2_input", "60"),
    ];
    chip(&root, 2, "xe", &alchemist);
    let older = [
        ("device/uevent", "PCI_SLOT_NAME=0000:0a:00.0"),
        ("energy1_input", "50"),
    ];
    chip(&root, 3, "i915", &older);
    chip(&root, 4, "i915_gt0", &[("energy1_input", "40")]);
    assert_eq!(
        read(&root),
        [
            of("i915 0000:0a:00.0 chip", Scope::GpuRail, Counter, 50),
            of("xe 0000:08:00.0", Scope::GpuBoard, Counter, 100),
            of("xe 0000:09:00.0 chip", Scope::GpuRail, Counter, 60),
        ]
    );
}

#[test]
fn a_label_that_stands_twice_is_refused_and_others_are_left_alone() {
    let root = tree(&[]);
    let twice = [
        ("power1_label", "sys_total"),
        ("power1_input", "30000000"),
        ("power2_label", "sys_total"),
        ("power2_input", "31000000"),
        ("power3_label", "soc_pkg"),
        ("power3_input", "20000000"),
        ("powerful_label", "soc_pkg"),
    ];
    chip(&root, 1, "spbm", &twice);
    chip(
        &root,
        2,
        "nvme",
        &[("power1_input", "5"), ("power1_label", "sys_total")],
    );
    assert_eq!(
        read(&root),
        [of("spbm soc", Scope::SocPkg, Power, 20_000_000)]
    );
    assert_eq!(refusals(&root)[0].0, "spbm system");
}

#[test]
fn a_gb10_without_its_driver_is_told() {
    let root = tree(&[("sys/bus/acpi/devices/NVDA8800:00/hid", "NVDA8800\n")]);
    assert_eq!(refusals(&root), [("spbm".to_owned(), ReadError::Absent)]);
    let files = [("power1_label", "sys_total"), ("power1_input", "30000000")];
    chip(&root, 1, "spbm", &files);
    assert_eq!(refusals(&root), []);
}

#[test]
fn no_sensors_are_no_meter() {
    let found = discover(tree(&[]).path());
    assert!(found.meters.is_empty() && found.refused.is_empty());
}
