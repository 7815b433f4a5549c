//! The checks: pure judgements of what was read, timed or found.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use domain::hardware::Catalogue;
use domain::record::{Host, UnavailableReason};
use domain::text::Name;

use super::{Check, Measured, Status, Surroundings, or_unknown};
use crate::context::ContextReader;
use crate::host::{Survey, available_memory_bytes, text_of};
use crate::meter::{Meters, ReadError, Refusal};

use Status::{Fail, Pass, Skip, Warn};

const GIB: f64 = 1_073_741_824.0;

/// Above this temperature processors are near the point where they slow down.
const HOT_MC: i64 = 85_000;
/// Above this share of the cores, something else computes.
const BUSY_PPM: u64 = 250_000;
/// Above this share of time, something waits for a core.
const PRESSED_PPM: u64 = 100_000;
/// Room that variants and records need at least, and comfortably.
const LEAST_DISK_BYTES: u64 = 1 << 28;
const FEW_DISK_BYTES: u64 = 4 << 30;
/// A loaded model needs its file's bytes and about a quarter for context and work.
const LOADED_SHARE: f64 = 1.25;
/// Promises of the energy method: a stamp at most 50 us, the sampler at most 0.5 %.
const STAMP_NS: u64 = 50_000;
const SAMPLER_COST: f64 = 0.005;

/// Machine, its state and its folders.
pub(super) fn machine(
    root: &Path,
    survey: &Survey,
    catalogue: &Catalogue,
    around: &Surroundings,
) -> Vec<Check> {
    let state = ContextReader::new(root, survey.host.cpu_cores).read(0);
    vec![
        setup(survey, catalogue),
        isolation(&survey.host),
        power_supply(state.power_source.as_ref().map(domain::text::Name::as_str)),
        heat(
            state.temp_mc,
            state.thermal_level.as_ref().map(domain::text::Name::as_str),
        ),
        throttling(state.throttle_ns, state.throttle_reasons.as_deref()),
        governor(
            state.governor.as_ref().map(domain::text::Name::as_str),
            state.clock_mhz,
        ),
        match state.power_limit_mw {
            Some(limit) => Check::new("power-limit", Pass, format!("{} W for long", limit / 1_000)),
            None => Check::new("power-limit", Skip, "the processor's driver says none"),
        },
        processors(survey.host.cpu_cores, around.threads),
        load(state.load_ppm, survey.host.cpu_cores),
        pressure(state.pressure_ppm),
        swap(state.swap_bytes),
        memory(available_memory_bytes(root), around),
        disk(around),
        gpu(root),
    ]
}

fn setup(survey: &Survey, catalogue: &Catalogue) -> Check {
    let host = &survey.host;
    let facts = format!(
        "chip {:?}, machine {:?}, {}",
        or_unknown(host.chip.as_ref()),
        survey.machine.as_deref().unwrap_or("unknown"),
        host.memory_bytes.map_or_else(
            || "memory unknown".to_owned(),
            |bytes| gib(bytes) + " memory"
        ),
    );
    if let Some(slug) = &host.profile {
        return Check::new("setup", Pass, format!("{slug} ({facts})"));
    }
    let check = Check::new(
        "setup",
        Warn,
        format!(
            "none of {} profiles fits: {facts}",
            catalogue.all_hardware().len()
        ),
    );
    if host.is_virtual == Some(true) {
        return check.fix("virtual machines are never recognised; results have no price here");
    }
    check.fix(
        "add hardware-profiles/NAME.toml with these facts under [recognise]; \
         without it results have no price",
    )
}

fn isolation(host: &Host) -> Check {
    let (status, evidence) = match (host.is_virtual, host.container) {
        (Some(true), Some(true)) => (Warn, "a container in a virtual machine"),
        (Some(true), _) => (Warn, "a virtual machine"),
        (_, Some(true)) => (Warn, "a container"),
        (Some(false), _) => (Pass, "bare machine"),
        (None, _) => (Skip, "nothing says whether this is a virtual machine"),
    };
    let check = Check::new("isolation", status, evidence);
    if status == Warn {
        check.fix(
            "neighbours are out of sight and power counters hidden: measure on the bare machine",
        )
    } else {
        check
    }
}

fn power_supply(source: Option<&str>) -> Check {
    match source {
        Some("battery") => Check::new("power-supply", Warn, "on battery: processors slow down")
            .fix("connect the charger"),
        Some(other) => Check::new("power-supply", Pass, other),
        None => Check::new("power-supply", Skip, "no power supply is reported"),
    }
}

fn heat(temp_mc: Option<i64>, level: Option<&str>) -> Check {
    let degrees = temp_mc.map(|temp| format!("{:.0} °C", temp as f64 / 1e3));
    let evidence = match (&degrees, level) {
        (None, None) => {
            return Check::new("heat", Skip, "no temperature of the processor is readable");
        }
        (degrees, level) => [
            degrees.clone(),
            level.map(|level| format!("slowed by cooling: {level}")),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", "),
    };
    let hot = temp_mc.is_some_and(|temp| temp >= HOT_MC);
    if hot || level.is_some_and(|level| level != "none") {
        Check::new("heat", Warn, evidence)
            .fix("let it cool, and free its air; a sweep waits between cells")
    } else {
        Check::new("heat", Pass, evidence)
    }
}

fn throttling(ns: Option<u64>, reasons: Option<&[domain::text::Name]>) -> Check {
    let Some(reasons) = reasons else {
        return Check::new(
            "throttling",
            Skip,
            "the processor has no readable throttle counters",
        );
    };
    if reasons.is_empty() {
        return Check::new("throttling", Pass, "never since the machine started");
    }
    let names: Vec<&str> = reasons.iter().map(domain::text::Name::as_str).collect();
    let time = ns.map_or_else(String::new, |ns| {
        format!(", {:.1} s in all", ns as f64 / 1e9)
    });
    Check::new(
        "throttling",
        Warn,
        format!("since the machine started: {}{time}", names.join(", ")),
    )
    .fix("better cooling, or a lower power limit; records say how long each phase was throttled")
}

fn governor(governor: Option<&str>, clock_mhz: Option<u64>) -> Check {
    let clock = clock_mhz.map_or_else(String::new, |mhz| format!(", now {mhz} MHz"));
    match governor {
        Some("powersave" | "conservative") if clock_mhz.is_some() => {
            let name = governor.unwrap_or_default();
            Check::new("governor", Warn, format!("{name}{clock}")).fix(
                "cpupower frequency-set -g performance (with intel_pstate powersave may be fine)",
            )
        }
        Some(name) => Check::new("governor", Pass, format!("{name}{clock}")),
        None => Check::new(
            "governor",
            Skip,
            format!("no frequency governor is visible{clock}"),
        ),
    }
}

fn processors(cores: u32, threads: u32) -> Check {
    let evidence = format!("{cores} cores; threads of an engine: {threads}");
    if threads > cores {
        Check::new("processors", Warn, evidence).fix(format!(
            "--threads {cores} or fewer: threads that share a core stall each other"
        ))
    } else if threads == cores && cores > 1 {
        Check::new("processors", Warn, evidence)
            .fix("leave a core to the system: --threads or JOULEMARK_THREADS")
    } else {
        Check::new("processors", Pass, evidence)
    }
}

fn load(ppm: Option<u64>, cores: u32) -> Check {
    let Some(ppm) = ppm else {
        return Check::new("load", Skip, "no load average is readable");
    };
    let evidence = format!(
        "{:.2} of {cores} cores over the last minute",
        ppm as f64 / 1e6 * f64::from(cores)
    );
    if ppm > BUSY_PPM {
        Check::new("load", Warn, evidence)
            .fix("end what else computes, and look again after a minute")
    } else {
        Check::new("load", Pass, evidence)
    }
}

fn pressure(ppm: Option<u64>) -> Check {
    let Some(ppm) = ppm else {
        return Check::new("pressure", Skip, "no pressure figures are readable");
    };
    let evidence = format!(
        "something waited for a core {:.1} % of the last 10 s",
        ppm as f64 / 1e4
    );
    if ppm > PRESSED_PPM {
        Check::new("pressure", Warn, evidence).fix("end what else computes")
    } else {
        Check::new("pressure", Pass, evidence)
    }
}

fn swap(bytes: Option<u64>) -> Check {
    match bytes {
        None => Check::new("swap", Skip, "no swap figures are readable"),
        Some(0) => Check::new("swap", Pass, "none in use"),
        Some(bytes) => Check::new("swap", Warn, format!("{} in use", gib(bytes)))
            .fix("free memory: a repetition that pages is void"),
    }
}

fn memory(available: Option<u64>, around: &Surroundings) -> Check {
    let Some(available) = available else {
        return Check::new("memory", Skip, "free memory is not readable");
    };
    let files = &around.model_files;
    let largest = files.iter().max_by_key(|file| file.bytes);
    let Some(largest) = largest else {
        return Check::new(
            "memory",
            Warn,
            format!(
                "{} free; no .gguf in {}",
                gib(available),
                around.models.display()
            ),
        )
        .fix("name the folder of models with --models DIR");
    };
    let fits = |bytes: u64| bytes as f64 * LOADED_SHARE <= available as f64;
    let fitting = files.iter().filter(|file| fits(file.bytes)).count();
    let evidence = format!(
        "{} free; {fitting} of {} models fit, the largest file is {}",
        gib(available),
        files.len(),
        gib(largest.bytes)
    );
    match fitting {
        0 => Check::new("memory", Fail, evidence).fix("free memory, or take smaller models"),
        n if n < files.len() => Check::new("memory", Warn, evidence)
            .fix("free memory; a cell that does not fit is recorded as out of memory"),
        _ => Check::new("memory", Pass, evidence),
    }
}

fn disk(around: &Surroundings) -> Check {
    let folder = around.data.display();
    match around.disk_free_bytes {
        None => Check::new(
            "disk",
            Skip,
            format!("free space of {folder} is not readable"),
        ),
        Some(bytes) if bytes < LEAST_DISK_BYTES => {
            Check::new("disk", Fail, format!("{} free in {folder}", gib(bytes)))
                .fix("free some, or name another folder with --data DIR")
        }
        Some(bytes) if bytes < FEW_DISK_BYTES => {
            Check::new("disk", Warn, format!("{} free in {folder}", gib(bytes)))
                .fix("variants of large models need as much as their sources")
        }
        Some(bytes) => Check::new("disk", Pass, format!("{} free in {folder}", gib(bytes))),
    }
}

/// Makers of graphics processors by PCI vendor.
const GPU_MAKERS: [(&str, &str); 3] =
    [("0x10de", "NVIDIA"), ("0x1002", "AMD"), ("0x8086", "Intel")];

fn gpu(root: &Path) -> Check {
    let mut found: Vec<&str> = fs::read_dir(root.join("sys/class/drm"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        // `card0` is a device, `card0-DP-1` one of its sockets.
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.strip_prefix("card")
                .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
        })
        .filter_map(|card| text_of(&card.path(), "device/vendor"))
        .filter_map(|vendor| GPU_MAKERS.iter().find(|(id, _)| *id == vendor))
        .map(|(_, maker)| *maker)
        .collect();
    let driver = root.join("proc/driver/nvidia/version").exists();
    if driver && !found.contains(&"NVIDIA") {
        found.push("NVIDIA");
    }
    let built = match (cfg!(feature = "cuda"), cfg!(feature = "metal")) {
        (true, _) => "with cuda",
        (_, true) => "with metal",
        _ => "for the processor alone",
    };
    if found.is_empty() && !cfg!(feature = "metal") {
        return Check::new(
            "gpu",
            Skip,
            format!("none found; this program is built {built}"),
        );
    }
    found.sort_unstable();
    let evidence = format!(
        "{}; this program is built {built}",
        if found.is_empty() {
            "Apple".to_owned()
        } else {
            found.join(", ")
        }
    );
    let nvidia = found.contains(&"NVIDIA");
    if nvidia && !driver {
        Check::new(
            "gpu",
            Warn,
            format!("{evidence}; NVIDIA's driver is not loaded"),
        )
        .fix("install and load NVIDIA's driver")
    } else if nvidia && !cfg!(feature = "cuda") {
        Check::new("gpu", Warn, evidence)
            .fix("build with `--features cuda`, or measure a server that uses it")
    } else if cfg!(any(feature = "cuda", feature = "metal")) {
        Check::new("gpu", Pass, evidence)
    } else {
        Check::new("gpu", Warn, evidence)
            .fix("our own engine cannot use it: measure a server that does")
    }
}

/// Power counters: each that reads, or why none does; then each that is there and does not.
pub(super) fn meters(found: &Meters) -> Vec<Check> {
    let mut checks: Vec<Check> = found
        .meters
        .iter()
        .map(|meter| {
            let info = meter.info();
            Check::new(
                "meters",
                Pass,
                format!("{} {} reads {}", info.meter, info.device, info.scope),
            )
        })
        .collect();
    if checks.is_empty() {
        checks.push(no_meters(found));
    }
    let mut devices: BTreeMap<(&str, String), Vec<&Refusal>> = BTreeMap::new();
    for refusal in &found.refused {
        let why = format!("failed to {}", refusal.error);
        devices
            .entry((refusal.meter, why))
            .or_default()
            .push(refusal);
    }
    for ((meter, why), refusals) in devices {
        let names: Vec<&str> = refusals
            .iter()
            .filter_map(|refusal| refusal.device.as_ref().map(Name::as_str))
            .collect();
        let evidence = if names.is_empty() {
            format!("{meter}: {why}")
        } else {
            format!("{meter} ({}): {why}", names.join(", "))
        };
        let check = Check::new("meters", Warn, evidence);
        checks.push(match refusals.first().and_then(|refusal| fix_of(refusal)) {
            Some(fix) => check.fix(fix),
            None => check,
        });
    }
    checks
}

fn no_meters(found: &Meters) -> Check {
    let Some(why) = &found.unavailable else {
        return Check::new("meters", Warn, "no power counter was found");
    };
    let check = Check::new("meters", Warn, why.detail.as_str());
    match why.reason {
        UnavailableReason::VirtualMachine => check,
        _ => check.fix(
            "results are published without joules, or --estimate-watts states them as an estimate",
        ),
    }
}

/// What makes a refused meter readable, and what that risks.
fn fix_of(refusal: &Refusal) -> Option<&'static str> {
    match (refusal.meter, &refusal.error) {
        ("powercap", ReadError::Permission { .. }) => Some(
            "as root, if you accept the risk that any local program can then watch power\n\
             finely enough to guess secrets (PLATYPUS, CVE-2020-8694):\n\
             echo 'SUBSYSTEM==\"powercap\", ACTION==\"add\", RUN+=\"/bin/chgrp power /sys%p/energy_uj\", \
             RUN+=\"/bin/chmod g+r /sys%p/energy_uj\"' > /etc/udev/rules.d/70-powercap.rules",
        ),
        ("perf", ReadError::Permission { .. }) => Some(
            "as root, if you accept the same risk from this program alone:\n\
             setcap cap_perfmon+ep \"$(command -v joulemark)\"",
        ),
        ("hwmon", ReadError::Absent)
            if refusal
                .device
                .as_ref()
                .is_some_and(|device| device.as_str() == "spbm") =>
        {
            Some(
                "GB10's own telemetry needs a driver that is neither NVIDIA's nor the kernel's: read it,\n\
             then build spbm from https://github.com/antheas/spark_hwmon at your own risk",
            )
        }
        _ => None,
    }
}

/// Engines: our own build, and those of the matrix.
pub(super) fn engines(around: &Surroundings) -> Vec<Check> {
    let flags = env!("JOULEMARK_BUILD_FLAGS");
    let own = if flags.contains("profile=debug") {
        Check::new("candle", Warn, flags).fix("cargo build --release: a debug build is slower")
    } else if flags.contains("target-cpu=") || flags.contains("target-feature=") {
        Check::new("candle", Pass, flags)
    } else {
        Check::new("candle", Warn, format!("{flags}: built for any processor of its kind"))
            .fix("RUSTFLAGS=\"-C target-cpu=native\" cargo build --release: candle picks its kernels when it is built")
    };
    let mut checks = vec![own];
    match &around.engines {
        None => checks.push(Check::new("engines", Skip, "no matrix: pass --matrix FILE")),
        Some(engines) => {
            let none = !engines.is_empty() && engines.iter().all(|engine| engine.found.is_err());
            checks.extend(engines.iter().map(|engine| {
                let id = format!("engines {}", engine.name);
                match &engine.found {
                    Ok(evidence) => Check::new(&id, Pass, evidence.as_str()),
                    Err(missing) => {
                        let status = if none { Fail } else { Warn };
                        Check::new(&id, status, missing.evidence.as_str()).fix(missing.fix.as_str())
                    }
                }
            }));
        }
    }
    checks
}

/// Clock, timer and sampler.
pub(super) fn timing(root: &Path, measured: &Measured) -> Vec<Check> {
    let source = text_of(
        root,
        "sys/devices/system/clocksource/clocksource0/current_clocksource",
    );
    let stamps = &measured.stamps;
    let resolution = stamps.resolution_ns.map_or_else(
        || "it does not move".to_owned(),
        |ns| format!("steps of {ns} ns"),
    );
    let named = source.as_deref().unwrap_or("of the system");
    let clock = if stamps.backwards > 0 || stamps.resolution_ns.is_none() {
        Check::new(
            "clock",
            Fail,
            format!("{named}: {resolution}, {} steps back", stamps.backwards),
        )
        .fix("choose another clock source; durations from this one are wrong")
    } else if matches!(source.as_deref(), Some("hpet" | "acpi_pm" | "jiffies")) {
        Check::new("clock", Warn, format!("{named}: {resolution}"))
            .fix("a slow clock source: see why the kernel distrusts the processor's (dmesg)")
    } else {
        Check::new("clock", Pass, format!("{named}: {resolution}"))
    };
    let cost = stamps.cost_ns;
    let evidence = format!("p50 {} ns, p99 {} ns", cost.p50, cost.p99);
    let stamp = if cost.p99 > STAMP_NS {
        Check::new("stamp-cost", Warn, evidence)
            .fix("stamps disturb what is timed: choose a faster clock source")
    } else {
        Check::new("stamp-cost", Pass, evidence)
    };
    let late = measured.lateness_ns;
    let evidence = format!(
        "a sleep of 1 ms ends {:.2} ms late, p99 {:.2} ms",
        late.p50 as f64 / 1e6,
        late.p99 as f64 / 1e6
    );
    let timer = if late.p99 > 5_000_000 {
        Check::new("timer", Warn, evidence)
            .fix("the machine is busy, or its timer coarse: sampling is uneven")
    } else {
        Check::new("timer", Pass, evidence)
    };
    vec![clock, stamp, timer, sampler(measured)]
}

fn sampler(measured: &Measured) -> Check {
    match &measured.sampler {
        None => Check::new("sampler-cost", Skip, "no meter to sample"),
        Some(Err(reason)) => Check::new(
            "sampler-cost",
            Skip,
            format!("could not be measured: {reason}"),
        ),
        Some(Ok(load)) => {
            let ratio = load.speed;
            let percent = |ratio: f64| (1.0 - ratio) * 100.0;
            let cpu = load.cpu_share().map_or_else(String::new, |share| {
                format!(", its threads {:.2} % of a core", share * 100.0)
            });
            let evidence = format!(
                "{:.2} % of speed ({:.2} to {:.2}, n = {}){cpu}",
                percent(ratio.median),
                percent(ratio.high),
                percent(ratio.low),
                ratio.n
            );
            // Only a cost that the whole interval shows is one.
            if 1.0 - ratio.high > SAMPLER_COST {
                Check::new("sampler-cost", Warn, evidence)
                    .fix("leave a core free for the sampler: --threads")
            } else {
                Check::new("sampler-cost", Pass, evidence)
            }
        }
    }
}

/// What memory and arithmetic give, beside the data sheet.
pub(super) fn probes(host: &Host, catalogue: &Catalogue, measured: &Measured) -> Vec<Check> {
    let profile = host
        .profile
        .as_ref()
        .and_then(|slug| catalogue.hardware(slug));
    let sheet = profile.and_then(|profile| profile.memory_bandwidth_gb_s);
    let memory = match &measured.bandwidth {
        Err(error) => Check::new(
            "bandwidth",
            Skip,
            format!("could not run: failed to {error}"),
        ),
        Ok(found) => {
            let largest = found
                .curve
                .last()
                .map_or(0, |point| point.working_set_bytes)
                >> 20;
            let cache = found.cache_bytes.unwrap_or_default() >> 20;
            match found.memory_bytes_s {
                None => Check::new(
                    "bandwidth",
                    Warn,
                    format!("the largest set, {largest} MiB, is under four times the caches of {cache} MiB: they may have served part of it"),
                )
                .fix("free memory, so that a larger set can be read"),
                Some(bytes_s) => {
                    let gb_s = bytes_s as f64 / 1e9;
                    let share = sheet.map_or_else(
                        || "no data sheet to compare with".to_owned(),
                        |sheet| format!("{:.0} % of its sheet's {sheet}", gb_s / sheet * 100.0),
                    );
                    let evidence = format!("{gb_s:.1} GB/s over {largest} MiB; {share}");
                    if sheet.is_some_and(|sheet| gb_s / sheet < 0.5) {
                        Check::new("bandwidth", Warn, evidence).fix(
                            "under half of the sheet: fill every memory channel, enable the memory's profile, end what else runs",
                        )
                    } else {
                        Check::new("bandwidth", Pass, evidence)
                    }
                }
            }
        }
    };
    let compute = match &measured.compute_flop_s {
        Err(error) => Check::new("compute", Skip, format!("could not run: failed to {error}")),
        // The sheets' peak is of FP16 on other units, so no share is said.
        Ok(flop_s) => Check::new(
            "compute",
            Pass,
            format!(
                "{:.1} GFLOP/s, FP32 on the vector units",
                *flop_s as f64 / 1e9
            ),
        ),
    };
    vec![memory, compute]
}

/// Binary units, two digits where it is small.
pub(super) fn gib(bytes: u64) -> String {
    let gib = bytes as f64 / GIB;
    if gib < 1.0 {
        format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
    } else {
        format!("{gib:.1} GiB")
    }
}
