//! What the sensors of each known driver cover.
//!
//! Sources:
//! - `spbm`: <https://github.com/antheas/spark_hwmon>, whose first version labels the GPU
//!   `gpu_out` and later ones `gpu`, and the fork `spbm-hwmon` by `RollingTheRock`. The firmware
//!   writes milli-watts and 32 bits of milli-joules in a 100 ms control loop; the first hands the
//!   counter on as it is, the fork undoes its wrap.
//! - `power_meter`: <https://docs.kernel.org/hwmon/acpi_power_meter.html>; Grace's labels as
//!   NVIDIA's DCGM reads them (`DcgmSystemMonitor.cpp`) and its tuning guide explains them:
//!   <https://docs.nvidia.com/grace-perf-tuning-guide/power-thermals.html#power-telemetry>.
//! - `amdgpu`: <https://docs.kernel.org/gpu/amdgpu/thermal.html>. Only an APU has the voltage
//!   `vddnb` (`hwmon_attributes_visible` in `amdgpu_pm.c`); the one exception is MI300A, told by
//!   its PCI id.
//! - `xe`: `sysfs-driver-intel-xe-hwmon` in the kernel's ABI: `card` is the whole card, `pkg` the
//!   chip. `i915`'s one counter reads the chip's register too, whatever its document calls it
//!   (<https://www.kernel.org/doc/Documentation/ABI/testing/sysfs-driver-intel-i915-hwmon>); a
//!   tile's (`i915_gt0`) is not taken.

use domain::record::{Averaging, MeterKind};
use domain::scope::Scope;

use super::{Chip, FIX, Sensor};
use crate::host::text_of;
use crate::meter::ReadError;
use crate::meter::sysfs::{self, implausible};

/// The firmware's control loop.
const SPBM_UPDATE_NS: u64 = 100_000_000;

/// 2^32 milli-joules.
const SPBM_WRAP_UJ: u64 = (1 << 32) * 1_000;

/// AMD's MI300A: an APU without `vddnb`.
const MI300A: &str = "1002:74A0";

/// A device and its sensor, or why it has none.
type Told = (String, Result<Sensor, ReadError>);

/// The sensors of a chip that cover a scope; none of a driver that is not known.
pub(super) fn sensors(chip: &Chip) -> Vec<Told> {
    match chip.driver.as_str() {
        "spbm" => spbm(chip),
        "power_meter" => power_meter(chip),
        "amdgpu" => amdgpu(chip).into_iter().collect(),
        "xe" => xe(chip).into_iter().collect(),
        "i915" => i915(chip).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn spbm(chip: &Chip) -> Vec<Told> {
    const PARTS: [(&str, &[&str], &str, Scope); 5] = [
        ("power", &["sys_total"], "spbm system", Scope::SystemDc),
        ("power", &["soc_pkg"], "spbm soc", Scope::SocPkg),
        ("power", &["gpu", "gpu_out"], "spbm gpu", Scope::GpuRail),
        ("energy", &["pkg"], "spbm soc", Scope::SocPkg),
        ("energy", &["gpu"], "spbm gpu", Scope::GpuRail),
    ];
    let mut told = Vec::new();
    for (kind, labels, device, scope) in PARTS {
        let mut labelled = chip.labelled(kind);
        let Some(sensor) = labels.iter().find_map(|label| labelled.remove(*label)) else {
            continue;
        };
        let counter = kind == "energy";
        let sensor = sensor.map(|sensor| Sensor {
            file: chip.folder.join(format!("{sensor}_input")),
            device: device.to_owned(),
            scope,
            kind: if counter {
                MeterKind::Counter
            } else {
                MeterKind::Power
            },
            averaging: Averaging::Instant,
            window_ns: None,
            update_ns: Some(SPBM_UPDATE_NS),
            wrap_uj: counter.then_some(SPBM_WRAP_UJ),
        });
        told.push((device.to_owned(), sensor));
    }
    told
}

/// ACPI gives one meter a chip of its own; its label stands in `power1_oem_info`, on older
/// kernels beside the device.
fn power_meter(chip: &Chip) -> Vec<Told> {
    let folders = [chip.folder.clone(), chip.folder.join("device")];
    let Some((folder, label)) = folders
        .iter()
        .find_map(|folder| Some((folder, text_of(folder, "power1_oem_info")?)))
    else {
        let nameless = implausible("no label of what it covers");
        return vec![(chip.driver.clone(), Err(nameless))];
    };
    let scope = match label.split_once(" Power Socket ") {
        Some(("Module", _)) => Scope::Module,
        Some(("Grace", _)) => Scope::CpuPkg,
        Some(("CPU", _)) => Scope::CpuCore,
        // A rail of the socket that no scope is about.
        Some(("SysIO", _)) => return Vec::new(),
        _ => {
            let unknown = implausible(format!("{label}, whose coverage is not known"));
            return vec![(label, Err(unknown))];
        }
    };
    let interval = sysfs::number::<u64>(&folder.join("power1_average_interval"), FIX);
    let sensor = interval.map(|interval_ms| {
        let window_ns = interval_ms
            .filter(|ms| *ms > 0)
            .and_then(|ms| ms.checked_mul(1_000_000));
        Sensor {
            file: folder.join("power1_average"),
            device: label.clone(),
            scope,
            kind: MeterKind::Power,
            averaging: match window_ns {
                Some(_) => Averaging::Window,
                None => Averaging::Unknown,
            },
            window_ns,
            update_ns: window_ns,
            wrap_uj: None,
        }
    });
    vec![(label, sensor)]
}

fn amdgpu(chip: &Chip) -> Option<Told> {
    let mut labelled = chip.labelled("power");
    let sensor = ["PPT", "slowPPT"]
        .iter()
        .find_map(|label| labelled.remove(*label))
        // Older kernels give their one power no label.
        .or_else(|| labelled.is_empty().then(|| Ok("power1".to_owned())))?;
    let apu = chip.labelled("in").contains_key("vddnb")
        || chip.event("PCI_ID").as_deref() == Some(MI300A);
    let device = chip.card();
    let sensor = sensor.and_then(|sensor| {
        // Not every card has both; a mean loses nothing between two readings.
        let names = [
            (format!("{sensor}_average"), Averaging::Unknown),
            (format!("{sensor}_input"), Averaging::Instant),
        ];
        let mut told = Err(ReadError::NotSupported);
        for (name, averaging) in names {
            let file = chip.folder.join(name);
            let usable = match sysfs::number::<u64>(&file, FIX) {
                Ok(None) => continue,
                Ok(Some(value)) => value > 0 && !super::ABSENT_UW.contains(&value),
                Err(_) => false,
            };
            told = Ok(Sensor {
                file,
                device: device.clone(),
                scope: if apu { Scope::SocPkg } else { Scope::GpuBoard },
                kind: MeterKind::Power,
                averaging,
                window_ns: None,
                update_ns: None,
                wrap_uj: None,
            });
            // Otherwise opening it tells why not, unless the other one is better.
            if usable {
                break;
            }
        }
        told
    });
    Some((device, sensor))
}

fn xe(chip: &Chip) -> Option<Told> {
    let mut labelled = chip.labelled("energy");
    let (sensor, device, scope) = if let Some(card) = labelled.remove("card") {
        (card, chip.card(), Scope::GpuBoard)
    } else {
        let device = format!("{} chip", chip.card());
        (labelled.remove("pkg")?, device, Scope::GpuRail)
    };
    let sensor = sensor.map(|sensor| intel(chip, &sensor, &device, scope));
    Some((device, sensor))
}

fn i915(chip: &Chip) -> Option<Told> {
    let device = format!("{} chip", chip.card());
    let there = chip.folder.join("energy1_input").exists();
    there.then(|| {
        let sensor = intel(chip, "energy1", &device, Scope::GpuRail);
        (device, Ok(sensor))
    })
}

/// Intel's drivers gather their 32-bit registers in 64 bits.
fn intel(chip: &Chip, sensor: &str, device: &str, scope: Scope) -> Sensor {
    Sensor {
        file: chip.folder.join(format!("{sensor}_input")),
        device: device.to_owned(),
        scope,
        kind: MeterKind::Counter,
        averaging: Averaging::Instant,
        window_ns: None,
        update_ns: None,
        wrap_uj: None,
    }
}
