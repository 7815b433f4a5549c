//! Fake power supplies: laptops with one battery and two, on mains and off.

use std::time::Duration;

use super::super::sysfs::tests::{tree, write};
use super::*;
use crate::clock::VirtualClock;
use tempfile::TempDir;

fn supply(root: &TempDir, name: &str, files: &[(&str, &str)]) {
    for (file, text) in files {
        let path = format!("sys/class/power_supply/{name}/{file}");
        write(root, &path, &format!("{text}\n"));
    }
}

/// A laptop on battery: 50 Wh when full, 40 Wh left, at 12.5 W.
fn laptop() -> TempDir {
    let root = tree(&[]);
    supply(&root, "AC", &[("type", "Mains"), ("online", "0")]);
    let battery = [
        ("type", "Battery"),
        ("status", "Discharging"),
        ("present", "1"),
        ("energy_full", "50000000"),
        ("energy_now", "40000000"),
        ("power_now", "12500000"),
    ];
    supply(&root, "BAT0", &battery);
    let mouse = [
        ("type", "Battery"),
        ("scope", "Device"),
        ("status", "Discharging"),
        ("energy_now", "1"),
    ];
    supply(&root, "hidpp_battery_0", &mouse);
    root
}

fn read(root: &TempDir) -> Vec<(String, MeterKind, u64)> {
    let clock = VirtualClock::default();
    let mut meters = discover(root.path()).meters;
    let one = |meter: &mut Box<dyn Meter>| {
        let value = meter.read(&clock).expect("was read before").value;
        let info = meter.info();
        assert_eq!(info.scope, Scope::Battery);
        (info.device.to_string(), info.kind, value)
    };
    meters.iter_mut().map(one).collect()
}

fn refusal(root: &TempDir) -> ReadError {
    let mut found = discover(root.path());
    assert!(found.meters.is_empty());
    assert_eq!(found.refused.len(), 1);
    found.refused.remove(0).error
}

#[test]
fn a_discharging_battery_is_a_counter_and_a_power_of_one_device() {
    assert_eq!(
        read(&laptop()),
        [
            ("BAT0".to_owned(), MeterKind::Counter, 36_000_000_000),
            ("BAT0".to_owned(), MeterKind::Power, 12_500_000),
        ]
    );
}

#[test]
fn energy_that_is_left_counts_up_as_joules_used() {
    let root = laptop();
    let mut meters = discover(root.path()).meters;
    let clock = VirtualClock::default();
    let first = meters[0].read(&clock).expect("on battery").value;
    clock.advance(Duration::from_mins(1));
    // One step of the gauge: 10 mWh.
    supply(&root, "BAT0", &[("energy_now", "39990000")]);
    let later = meters[0].read(&clock).expect("on battery").value;
    assert_eq!(later - first, 36_000_000);
    supply(&root, "BAT0", &[("energy_now", "50000001")]);
    assert!(matches!(
        meters[0].read(&clock),
        Err(ReadError::Implausible(_))
    ));
}

#[test]
fn two_batteries_are_one_meter_even_while_one_of_them_rests() {
    let root = laptop();
    let resting = [
        ("type", "Battery"),
        ("status", "Not charging"),
        ("energy_full", "20000000"),
        ("energy_now", "20000000"),
        ("power_now", "0"),
    ];
    supply(&root, "BAT1", &resting);
    assert_eq!(
        read(&root),
        [
            ("BAT0+BAT1".to_owned(), MeterKind::Counter, 36_000_000_000),
            ("BAT0+BAT1".to_owned(), MeterKind::Power, 12_500_000),
        ]
    );
    // What one of them does not tell is not told of both.
    supply(&root, "BAT1", &[("power_now", "?")]);
    let found = discover(root.path());
    assert_eq!(found.meters.len(), 1);
    assert_eq!(found.meters[0].info().kind, MeterKind::Counter);
    let why = ReadError::Implausible("?".to_owned());
    assert_eq!(found.refused[0].error, why);
    supply(&root, "BAT1", &[("present", "0")]);
    assert_eq!(read(&root)[0].0, "BAT0", "an empty bay is no battery");
}

#[test]
fn on_mains_there_is_no_reading_at_the_start_or_later() {
    for (name, files) in [
        ("AC", [("online", "1"), ("type", "Mains")]),
        ("ucsi-1", [("online", "1"), ("type", "USB")]),
        ("BAT0", [("status", "Charging"), ("type", "Battery")]),
        ("BAT0", [("status", "Full"), ("type", "Battery")]),
        ("BAT0", [("status", "Unknown"), ("type", "Battery")]),
    ] {
        let root = laptop();
        supply(&root, name, &files);
        assert_eq!(refusal(&root), ReadError::OnMains, "{name} {files:?}");
    }
    assert!(ReadError::OnMains.to_string().contains("on mains"));
    let root = laptop();
    let mut meters = discover(root.path()).meters;
    supply(&root, "AC", &[("online", "1")]);
    for meter in &mut meters {
        let read = meter.read(&VirtualClock::default());
        assert_eq!(read, Err(ReadError::OnMains));
    }
}

#[test]
fn a_battery_of_charge_has_power_but_no_energy() {
    let root = laptop();
    let folder = root.path().join("sys/class/power_supply/BAT0");
    for file in ["energy_now", "energy_full", "power_now"] {
        fs::remove_file(folder.join(file)).expect("was there");
    }
    let charge = [
        ("charge_full", "5000000"),
        ("charge_now", "4000000"),
        ("current_now", "-1500000"),
        ("voltage_now", "11800000"),
        ("voltage_min_design", "11400000"),
    ];
    supply(&root, "BAT0", &charge);
    assert_eq!(
        read(&root),
        [("BAT0".to_owned(), MeterKind::Power, 17_700_000)]
    );
    assert_eq!(full_uwh(root.path()), Some(57_000_000));
}

#[test]
fn what_a_battery_does_not_say_is_no_number() {
    let root = laptop();
    supply(&root, "BAT0", &[("power_now", "0"), ("energy_now", "")]);
    let found = discover(root.path());
    assert!(found.meters.is_empty());
    let why: Vec<_> = found.refused.into_iter().map(|one| one.error).collect();
    let said = |text: &str| ReadError::Implausible(text.to_owned());
    assert_eq!(why, [said(""), said("0 W while it discharges")]);
    let folder = root.path().join("sys/class/power_supply/BAT0");
    for file in ["energy_now", "power_now"] {
        fs::remove_file(folder.join(file)).expect("was there");
    }
    assert_eq!(refusal(&root), ReadError::NotSupported);
    supply(&root, "AC", &[("online", "yes")]);
    assert!(matches!(refusal(&root), ReadError::Implausible(_)));
}

#[test]
fn a_full_battery_is_stated_only_where_it_is_known() {
    assert_eq!(full_uwh(laptop().path()), Some(50_000_000));
    assert_eq!(full_uwh(tree(&[]).path()), None);
    let root = laptop();
    supply(&root, "BAT1", &[("type", "Battery")]);
    assert_eq!(
        full_uwh(root.path()),
        None,
        "one of two is not the machine's"
    );
}

#[test]
fn a_machine_without_a_battery_has_no_such_meter() {
    let root = tree(&[]);
    supply(&root, "AC", &[("type", "Mains"), ("online", "1")]);
    let found = discover(root.path());
    assert!(found.meters.is_empty() && found.refused.is_empty());
}
