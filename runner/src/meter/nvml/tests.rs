//! NVML as each kind of machine answers it, by a stub library that is compiled here.
//!
//! Every stub is a file of its own, so that one test binary holds many machines at once: a library
//! is global to its process, and its copies are apart.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use domain::energy::energy_in_span;
use domain::record::{Averaging, Context, Gpu, Host, MeterKind, MeterTrace, UnavailableReason};
use domain::scope::Scope;

use super::*;
use crate::clock::{Clock, VirtualClock};
use crate::context::ContextReader;
use crate::engine::Processes;
use crate::meter::{Meter, MeterInfo, Reading};

/// Two cards of a desktop; the first computes for process 70.
const RTX: &str = "init ok\ndriver 570.133.20\ncount 2
0.uuid GPU-aaaaaaaa-1111-2222-3333-444444444444\n0.name NVIDIA GeForce RTX 4090
0.memory_bytes 25757220864\n0.limit_mw 450000\n0.mig !3\n0.virtualization 0\n0.chip 8.9
0.energy_mj 1000000\n0.usage_mw 300000\n0.instant_mw 310000\n0.stamp_us 1800000000000000
0.celsius 66\n0.clock_mhz 2520\n0.pstate 2\n0.reasons 4\n0.violation1_ns 5000\n0.pids 70 71\n0.vbios 95.02
1.uuid GPU-bbbbbbbb-1111-2222-3333-444444444444\n1.name NVIDIA GeForce RTX 4090
1.memory_bytes 25757220864\n1.limit_mw 400000\n1.virtualization 0\n1.chip 8.9
1.energy_mj 2000000\n1.usage_mw 20000\n1.instant_mw 21000\n1.stamp_us 1800000000000000
1.celsius 40\n1.clock_mhz 210\n1.pstate 8\n1.reasons 1\n1.violation1_ns 0\n1.pids \n";

/// DGX Spark: a rail of an `SoC`, with neither memory, limit nor fan of its own.
const GB10: &str = "init ok\ndriver 580.95.05\ncount 1
0.uuid GPU-cccccccc-1111-2222-3333-444444444444\n0.name NVIDIA GB10\n0.chip 12.1
0.energy_mj 500\n0.usage_mw 4000\n0.instant_mw 4100\n0.stamp_us 1800000000000000\n0.pids \n";

/// A module that names its graphics part, and supports nothing else.
const JETSON: &str = "init ok\ndriver 540.4.0\ncount 1\n0.uuid dddddddd-1111-2222-3333-444444444444
0.name Orin (nvgpu)\n";

/// Pascal: no counter, no field 186, but samples with the driver's stamps.
const PRE_VOLTA: &str = "init ok\ndriver 535.1\ncount 1
0.uuid GPU-eeeeeeee-1111-2222-3333-444444444444\n0.name NVIDIA GeForce GTX 1080\n0.chip 6.1
0.memory_bytes 8589934592\n0.usage_mw 90000
0.samples 1799999999900000:80000 1799999999980000:91000\n";

/// A slice of an A100: what the whole board uses is still there to be read.
const MIG: &str = "init ok\ndriver 570.1\ncount 1
0.uuid GPU-ffffffff-1111-2222-3333-444444444444\n0.name NVIDIA A100-SXM4-40GB\n0.chip 8.0
0.memory_bytes 42949672960\n0.mig 1\n0.energy_mj 77\n0.usage_mw 60000\n0.instant_mw 60000\n";

/// Grace Hopper.
const GH200: &str = "init ok\ndriver 570.1\ncount 1
0.uuid GPU-99999999-1111-2222-3333-444444444444\n0.name NVIDIA GH200 480GB\n0.chip 9.0
0.memory_bytes 102005473280\n0.energy_mj 77\n0.instant_mw 300000\n0.module_mw 480000
0.stamp_us 1800000000000000\n";

/// A library of its own in a folder of its own.
struct Stub {
    _folder: tempfile::TempDir,
    stub: PathBuf,
}

impl Stub {
    /// `None`, and a word of it, where there is no compiler.
    fn answering(answers: &str) -> Option<Self> {
        Self::built(answers, &[])
    }

    fn built(answers: &str, arguments: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let library = folder.path().join("libnvidia-ml.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/meter/nvml/stub.rs");
        let beside = Path::new(env!("CARGO")).with_file_name("rustc");
        let rustc = if beside.exists() {
            beside
        } else {
            PathBuf::from("rustc")
        };
        let compiled = Command::new(rustc)
            .args(["--edition=2024", "--crate-type=cdylib", "--crate-name=stub"])
            .args(["-Cpanic=abort", "-o"])
            .arg(&library)
            .args(arguments)
            .arg(source)
            .output();
        match compiled {
            Ok(output) => assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            ),
            Err(error) => {
                println!("SKIPPED: no rustc to compile the stub of NVML: {error}");
                return None;
            }
        }
        let stub = Self {
            _folder: folder,
            stub: library,
        };
        stub.answer(answers);
        Some(stub)
    }

    fn answer(&self, answers: &str) {
        fs::write(self.stub.with_extension("so.txt"), answers).expect("writable");
    }

    fn open(&self) -> Result<Option<Gpus>, ReadError> {
        Gpus::open(Some(&self.stub))
    }

    fn gpus(&self) -> Gpus {
        self.open().expect("starts").expect("has devices")
    }
}

/// `answers` with the line of a key replaced.
fn with(answers: &str, key: &str, value: &str) -> String {
    let lines = answers.lines().map(|line| {
        if line.starts_with(&format!("{key} ")) {
            format!("{key} {value}\n")
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

type Told = (String, Scope, MeterKind, Averaging, String);

fn told(found: &Found) -> Vec<Told> {
    let tell = |info: &MeterInfo| {
        (
            info.device.to_string(),
            info.scope,
            info.kind,
            info.averaging,
            info.origin.to_string(),
        )
    };
    found
        .meters
        .iter()
        .map(|meter| tell(meter.info()))
        .collect()
}

fn meter(device: &str, scope: Scope, kind: MeterKind, origin: &str) -> Told {
    let averaging = Averaging::Instant;
    (device.to_owned(), scope, kind, averaging, origin.to_owned())
}

const COUNTER: &str = "nvmlDeviceGetTotalEnergyConsumption";
const INSTANT: &str = "NVML field 186";

#[test]
fn every_kind_of_machine_has_its_meters() {
    use MeterKind::{Counter, Power};
    use Scope::{GpuBoard, GpuRail, Module};
    for (answers, expected) in [
        (
            RTX,
            vec![
                meter("gpu-aaaaaaaa", GpuBoard, Counter, COUNTER),
                meter("gpu-aaaaaaaa", GpuBoard, Power, INSTANT),
                meter("gpu-bbbbbbbb", GpuBoard, Counter, COUNTER),
                meter("gpu-bbbbbbbb", GpuBoard, Power, INSTANT),
            ],
        ),
        (
            GB10,
            vec![
                meter("gpu-cccccccc", GpuRail, Counter, COUNTER),
                meter("gpu-cccccccc", GpuRail, Power, INSTANT),
            ],
        ),
        (
            PRE_VOLTA,
            vec![meter(
                "gpu-eeeeeeee",
                GpuBoard,
                Power,
                "nvmlDeviceGetSamples",
            )],
        ),
        (
            GH200,
            vec![
                meter("gpu-99999999", GpuBoard, Counter, COUNTER),
                meter("gpu-99999999", GpuBoard, Power, INSTANT),
                meter(
                    "module-99999999",
                    Module,
                    Power,
                    "NVML field 186 of the module",
                ),
            ],
        ),
    ] {
        let Some(stub) = Stub::answering(answers) else {
            return;
        };
        let found = stub.gpus().meters();
        assert_eq!(told(&found), expected);
        assert_eq!(found.refused, []);
    }
}

#[test]
fn a_card_whose_power_is_not_told_is_refused_with_the_reason() {
    let vgpu = with(RTX, "0.virtualization", "2");
    let cards_off_the_bus = with(&with(RTX, "0.energy_mj", "!15"), "0.uuid", "!15");
    for (answers, device, words) in [
        (JETSON, Some("gpu-dddddddd"), "does not support"),
        (MIG, Some("gpu-ffffffff"), "nvidia-smi -mig 0"),
        (vgpu.as_str(), Some("gpu-aaaaaaaa"), "measure on the host"),
        (cards_off_the_bus.as_str(), None, "find the power counter"),
    ] {
        let Some(stub) = Stub::answering(answers) else {
            return;
        };
        let found = stub.gpus().meters();
        let refused = found.refused.first().expect("refused");
        assert_eq!(refused.device.as_ref().map(Name::as_str), device);
        assert!(refused.error.to_string().contains(words), "{refused:?}");
        let others = found.meters.iter().map(|meter| meter.info());
        assert!(
            others
                .into_iter()
                .all(|info| info.device.as_str() == "gpu-bbbbbbbb"),
            "its neighbour is read all the same"
        );
    }
}

#[test]
fn power_of_chips_after_ga100_is_a_mean_where_only_the_old_call_is_there() {
    for (chip, averaging, window_ns) in [
        ("8.0", Averaging::Instant, None),
        ("8.6", Averaging::Window, Some(1_000_000_000)),
        ("!3", Averaging::Unknown, None),
    ] {
        let answers = with(&with(RTX, "0.instant_mw", "!3"), "0.chip", chip);
        let Some(stub) = Stub::answering(&answers) else {
            return;
        };
        let found = stub.gpus().meters();
        let info = found.meters[1].info();
        assert_eq!(info.origin.as_str(), "nvmlDeviceGetPowerUsage");
        assert_eq!((info.averaging, info.window_ns), (averaging, window_ns));
    }
}

#[test]
fn a_way_to_power_that_fails_gives_way_to_the_next_and_all_failing_is_told() {
    // A sensor that says 0 W, and samples that are not there yet.
    let silent = with(RTX, "0.instant_mw", "0");
    let unready = with(PRE_VOLTA, "0.samples", "!6");
    for (answers, at) in [(silent, 1), (unready, 0)] {
        let Some(stub) = Stub::answering(&answers) else {
            return;
        };
        let found = stub.gpus().meters();
        let origin = &found.meters[at].info().origin;
        assert_eq!(origin.as_str(), "nvmlDeviceGetPowerUsage");
        assert_eq!(found.refused, []);
    }
    let mut nothing = RTX.to_owned();
    for key in ["0.energy_mj", "0.instant_mw", "0.usage_mw"] {
        nothing = with(&nothing, key, "!4");
    }
    let no_counter = with(RTX, "0.energy_mj", "!4");
    for (answers, meters) in [(nothing, 2), (no_counter, 3)] {
        let Some(stub) = Stub::answering(&answers) else {
            return;
        };
        let found = stub.gpus().meters();
        assert_eq!(found.meters.len(), meters);
        let reasons: Vec<_> = found.refused.iter().map(|one| one.error.reason()).collect();
        assert_eq!(reasons, [UnavailableReason::Permission]);
    }
}

#[test]
fn a_machine_without_a_driver_says_nothing_and_a_broken_one_says_why() {
    let nowhere = Gpus::open(Some(Path::new("/nowhere/libnvidia-ml.so")));
    assert!(matches!(nowhere, Ok(None)));
    assert!(matches!(here(Path::new("/nowhere")), Ok(None)));
    for (init, expected) in [
        ("!9", None),
        ("!18", Some("different versions")),
        ("!4", Some("/dev/nvidiactl")),
        ("!999", Some("internal driver error")),
    ] {
        let Some(stub) = Stub::answering(&with(RTX, "init", init)) else {
            return;
        };
        let opened = stub.open();
        match expected {
            None => assert!(matches!(opened, Ok(None)), "{opened:?}"),
            Some(words) => {
                let error = opened.expect_err("refused").to_string();
                assert!(error.contains(words), "{error}");
            }
        }
    }
    let Some(empty) = Stub::answering(&with(RTX, "count", "0")) else {
        return;
    };
    assert!(matches!(empty.open(), Ok(None)));
}

#[test]
fn a_function_that_a_driver_lacks_fails_alone() {
    let Some(stub) = Stub::built(RTX, &["--cfg", "bare"]) else {
        return;
    };
    let gpus = stub.gpus();
    let found = gpus.meters();
    assert_eq!(told(&found), []);
    assert_eq!(found.refused.len(), 2);
    assert!(
        found
            .refused
            .iter()
            .all(|refused| refused.error == ReadError::NotSupported)
    );
    let facts = gpus.facts();
    assert_eq!(facts[0].name.as_str(), "NVIDIA GeForce RTX 4090");
    assert_eq!(
        (facts[0].memory_bytes, facts[0].power_limit_mw),
        (None, None)
    );
    assert!(
        !gpus.share_memory(),
        "a missing function says nothing of memory"
    );
}

#[test]
fn a_failing_read_is_an_error_and_never_a_number() {
    let Some(stub) = Stub::answering(RTX) else {
        return;
    };
    let clock = VirtualClock::default();
    let mut found = stub.gpus().meters();
    let counter = found.meters[0].read(&clock).expect("reads");
    assert_eq!(counter.value, 1_000_000_000);
    assert_eq!(
        found.meters[1].read(&clock).expect("reads").value,
        310_000_000
    );
    let permission = ReadError::Permission {
        fix: PERMISSION_FIX,
    };
    for (at, key) in [(0, "0.energy_mj"), (1, "0.instant_mw")] {
        for (answer, error) in [
            ("!3", ReadError::NotSupported),
            ("!4", permission.clone()),
            ("!15", ReadError::Absent),
            (
                "!999",
                ReadError::Transport("an internal driver error occurred".to_owned()),
            ),
            // A code that no version of the wrapper knows.
            (
                "!4711",
                ReadError::Transport("unexpected enum variant value: 4711".to_owned()),
            ),
        ] {
            stub.answer(&with(RTX, key, answer));
            assert_eq!(found.meters[at].read(&clock), Err(error), "{key} {answer}");
        }
    }
    stub.answer(&with(RTX, "0.instant_mw", "0"));
    let silent = found.meters[1].read(&clock);
    assert!(
        matches!(silent, Err(ReadError::Implausible(_))),
        "{silent:?}"
    );
    stub.answer(&with(RTX, "0.energy_mj", "18446744073709551615"));
    let full = found.meters[0].read(&clock);
    assert!(matches!(full, Err(ReadError::Implausible(_))), "{full:?}");
}

/// A trace as the sampler makes it, of every reading.
fn trace(meter: &dyn Meter, readings: &[Reading]) -> MeterTrace {
    let info = meter.info();
    MeterTrace {
        meter: info.meter.clone(),
        host: 0,
        device: info.device.clone(),
        scope: info.scope,
        used: true,
        kind: info.kind,
        averaging: info.averaging,
        window_ns: info.window_ns,
        update_ns: info.update_ns,
        update_basis: info.update_basis,
        wrap_uj: info.wrap_uj,
        sensor_ppm: info.sensor_ppm,
        origin: info.origin.clone(),
        clock_error_ns: None,
        t_ns: readings.iter().map(|reading| reading.before_ns).collect(),
        latency_ns: vec![0; readings.len()],
        source_t_ns: readings.iter().map(|reading| reading.source_ns).collect(),
        v: readings.iter().map(|reading| reading.value).collect(),
    }
}

#[test]
fn counter_and_power_of_one_card_tell_the_same_joules() {
    let Some(stub) = Stub::answering(RTX) else {
        return;
    };
    let clock = VirtualClock::default();
    clock.advance(Duration::from_secs(1));
    let mut found = stub.gpus().meters();
    let (mut counted, mut powered) = (Vec::new(), Vec::new());
    let mut energy_mj = 1_000_000;
    for tick in 0..200_u64 {
        // 50 W, then 300 W from the fifth second on, with a sensor's unrest; the driver's stamp is
        // 40 ms old.
        let watts = if tick < 50 { 50 } else { 300 } + tick % 2;
        energy_mj += watts * 100;
        clock.advance(Duration::from_millis(100));
        let stamp_us = clock.unix_ms() * 1_000 - 40_000;
        let mut answers = with(RTX, "0.energy_mj", &energy_mj.to_string());
        answers = with(&answers, "0.instant_mw", &(watts * 1_000).to_string());
        stub.answer(&with(&answers, "0.stamp_us", &stamp_us.to_string()));
        counted.push(found.meters[0].read(&clock).expect("reads"));
        powered.push(found.meters[1].read(&clock).expect("reads"));
    }
    let placed = powered[10].source_ns.expect("stamped");
    let late_ns = powered[10].after_ns.abs_diff(placed);
    assert!(late_ns.abs_diff(40_000_000) <= 1_000_000, "{late_ns}");
    // Ten seconds of 300 or 301 W.
    let span = (8_000_000_000, 18_000_000_000);
    for (meter, readings) in [(&found.meters[0], &counted), (&found.meters[1], &powered)] {
        let trace = trace(meter.as_ref(), readings);
        let energy = energy_in_span(&trace, span.0, span.1).expect("measured");
        let joules = energy.joules.0;
        assert!(
            (joules - 3_005.0).abs() < 2.0,
            "{joules} of {:?}",
            trace.kind
        );
    }
}

#[test]
fn a_stamp_that_makes_no_sense_is_left_out_and_one_sample_stays_where_it_was() {
    let Some(stub) = Stub::answering(RTX) else {
        return;
    };
    let clock = VirtualClock::default();
    clock.advance(Duration::from_secs(100));
    let mut found = stub.gpus().meters();
    let mut stamped = |stamp_us: &str| {
        stub.answer(&with(RTX, "0.stamp_us", stamp_us));
        clock.advance(Duration::from_millis(7));
        found.meters[1].read(&clock).expect("reads").source_ns
    };
    let first = stamped("1800000100000000").expect("a fresh stamp");
    assert_eq!(stamped("1800000100000000"), Some(first));
    for none in ["0", "123456", "1800000000000000", "1900000000000000"] {
        assert_eq!(stamped(none), None, "{none}");
    }
}

#[test]
fn cards_are_told_apart_in_whatever_order_they_are_listed() {
    let swapped: String = RTX
        .lines()
        .map(|line| match line.split_once('.') {
            Some(("0", rest)) => format!("1.{rest}\n"),
            Some(("1", rest)) => format!("0.{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let clock = VirtualClock::default();
    let mut seen = Vec::new();
    for answers in [RTX, &swapped] {
        let Some(stub) = Stub::answering(answers) else {
            return;
        };
        let mut values: Vec<(String, u64)> = stub
            .gpus()
            .meters()
            .meters
            .iter_mut()
            .map(|meter| {
                let value = meter.read(&clock).expect("reads").value;
                (
                    format!("{} {}", meter.info().device, meter.info().origin),
                    value,
                )
            })
            .collect();
        values.sort();
        let mut facts = stub.gpus().facts();
        facts.sort_by_key(|gpu| gpu.power_limit_mw);
        let hashes: Vec<_> = facts.iter().map(|gpu| gpu.uuid_hash).collect();
        seen.push((values, hashes));
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0].1[0], seen[0].1[1]);
}

#[test]
fn the_facts_of_a_card_are_what_the_driver_says() {
    let Some(stub) = Stub::answering(RTX) else {
        return;
    };
    let gpu = &stub.gpus().facts()[0];
    assert_eq!(gpu.driver.as_ref().map(Name::as_str), Some("570.133.20"));
    assert_eq!(
        (gpu.memory_bytes, gpu.power_limit_mw, gpu.used),
        (Some(25_757_220_864), Some(450_000), false)
    );
    for (answers, name, shares) in [
        (GB10, "NVIDIA GB10", true),
        (MIG, "NVIDIA A100-SXM4-40GB (MIG on)", false),
    ] {
        let Some(stub) = Stub::answering(answers) else {
            return;
        };
        let gpus = stub.gpus();
        assert_eq!(gpus.facts()[0].name.as_str(), name);
        assert_eq!(gpus.share_memory(), shares);
    }
}

fn used(usage: &GpuUse) -> Vec<bool> {
    usage.cards.iter().map(|card| card.used).collect()
}

#[test]
fn the_card_that_lists_the_engine_is_used_and_its_idle_neighbour_is_not() {
    let Some(stub) = Stub::answering(RTX) else {
        return;
    };
    let gpus = stub.gpus();
    let usage = gpus.in_use(Some(&[70, 72].into()), true, "unknown");
    assert_eq!((used(&usage), usage.foreign), (vec![true, false], Some(1)));
    let usage = gpus.in_use(Some(&[70, 71].into()), true, "cpu");
    assert_eq!((used(&usage), usage.foreign), (vec![true, false], Some(0)));

    let mut host = crate::host::survey(Path::new("/nowhere")).host;
    let mut far = host.clone();
    host.gpus = gpus.facts();
    far.gpus = vec![Gpu {
        uuid_hash: None,
        ..host.gpus[0].clone()
    }];
    let mut hosts = [host, far];
    let found = gpus.meters();
    let mut traces: Vec<MeterTrace> = found
        .meters
        .iter()
        .map(|meter| trace(meter.as_ref(), &[]))
        .collect();
    traces.push(MeterTrace {
        meter: Name::cleaned("powercap"),
        ..traces[3].clone()
    });
    usage.apply(&mut hosts, &mut traces);
    let flags: Vec<bool> = traces.iter().map(|trace| trace.used).collect();
    assert_eq!(flags, [true, true, false, false, true]);
    let worked = |hosts: &[Host]| -> Vec<bool> {
        let gpus = hosts.iter().flat_map(|host| &host.gpus);
        gpus.map(|gpu| gpu.used).collect()
    };
    assert_eq!(worked(&hosts), [true, false, false]);
    // Nobody here can ask the driver of another machine.
    for (backend, far) in [("cuda", true), ("unknown", true), ("cpu", false)] {
        let usage = gpus.in_use(Some(&[70].into()), true, backend);
        usage.apply(&mut hosts, &mut traces);
        assert_eq!(worked(&hosts), [true, false, far], "{backend}");
    }
}

#[test]
fn where_processes_are_out_of_sight_the_backend_tells() {
    let Some(stub) = Stub::answering(RTX) else {
        return;
    };
    let gpus = stub.gpus();
    let pids = [4711].into();
    for (pids, lists_are_whole, backend, all) in [
        (Some(&pids), false, "cuda", true),
        (Some(&pids), true, "cuda", true),
        (Some(&pids), true, "cpu", false),
        (None, true, "cpu", false),
        (Some(&pids), false, "CUDA,BLAS", true),
        (Some(&pids), false, "rocm", false),
        (None, true, "unknown", true),
        (Some(&pids), false, "unknown", true),
        (Some(&pids), true, "unknown", false),
    ] {
        let usage = gpus.in_use(pids, lists_are_whole, backend);
        assert_eq!(used(&usage), [all, all], "{backend}");
        assert_eq!(usage.foreign, None, "nobody can be told apart");
    }
}

fn context() -> Context {
    let nothing = tempfile::tempdir().expect("a folder");
    ContextReader::new(nothing.path(), 4).read(0)
}

#[test]
fn the_state_is_that_of_the_cards_in_use() {
    // Software power cap, heat by software, power brake with the hardware's slowdown.
    let busy = with(RTX, "0.reasons", &(0x04 | 0x20 | 0x80 | 0x08).to_string());
    let Some(stub) = Stub::answering(&busy) else {
        return;
    };
    let gpus = stub.gpus();
    let mut state = context();
    gpus.describe(&gpus.in_use(Some(&[70].into()), true, "cuda"), &mut state);
    assert_eq!(
        (state.temp_mc, state.clock_mhz, state.power_limit_mw),
        (Some(66_000), Some(2_520), Some(450_000))
    );
    let text = |name: &Option<Name>| name.as_ref().map(Name::to_string).unwrap_or_default();
    assert_eq!(
        (
            text(&state.pstate),
            text(&state.driver),
            text(&state.firmware)
        ),
        ("P2".to_owned(), "570.133.20".to_owned(), "95.02".to_owned())
    );
    let reasons = state.throttle_reasons.expect("known");
    assert_eq!(
        reasons.iter().map(Name::as_str).collect::<Vec<_>>(),
        [
            "gpu-power-cap",
            "hw-slowdown",
            "hw-power-brake",
            "sw-thermal-slowdown"
        ]
    );
    assert_eq!(
        (state.throttle_ns, state.foreign_gpu_processes),
        (Some(5_000), Some(1))
    );

    // Both are taken to be in use: the hottest, the slowest, both limits.
    let mut state = context();
    gpus.describe(&gpus.in_use(None, true, "cuda"), &mut state);
    assert_eq!(
        (state.temp_mc, state.clock_mhz, state.power_limit_mw),
        (Some(66_000), Some(210), Some(850_000))
    );
    assert_eq!(text(&state.pstate), "P8");

    let mut state = context();
    gpus.describe(&gpus.in_use(None, true, "cpu"), &mut state);
    let alone = Context {
        throttle_ns: Some(5_000),
        ..context()
    };
    assert_eq!(state, alone, "a processor's work is told by the processor");
}

#[test]
fn a_server_is_found_by_what_it_started_and_in_a_container_by_its_backend() {
    let Some(stub) = Stub::answering(RTX) else {
        return;
    };
    let root = tempfile::tempdir().expect("a folder");
    for (pid, parent) in [(7, 1), (70, 7), (71, 7)] {
        let folder = root.path().join(format!("proc/{pid}"));
        fs::create_dir_all(&folder).expect("a folder");
        let stat = format!("{pid} (server) S {parent} 2 3 4 5 6 7 8 9 10\n");
        fs::write(folder.join("stat"), stat).expect("writable");
    }
    let reader = ContextReader::new(root.path(), 4).with_gpus(stub.gpus());
    let server = Processes::Children(vec![7]);
    let usage = reader.gpus_in_use(&server, "unknown");
    assert_eq!((used(&usage), usage.foreign), (vec![true, false], Some(0)));
    let state = reader.read_with(3, &server, "unknown");
    assert_eq!((state.at_ns, state.temp_mc), (3, Some(66_000)));
    assert_eq!(reader.temp_mc(), Some(66_000));

    stub.answer(&with(RTX, "0.pids", "4711"));
    assert_eq!(
        used(&reader.gpus_in_use(&server, "unknown")),
        [false, false]
    );
    fs::write(root.path().join(".dockerenv"), "").expect("writable");
    for unseen in [&server, &Processes::Here, &Processes::Unknown] {
        assert_eq!(used(&reader.gpus_in_use(unseen, "unknown")), [true, true]);
        assert_eq!(used(&reader.gpus_in_use(unseen, "cpu")), [false, false]);
    }
}

#[test]
fn what_a_card_does_not_say_stays_unknown() {
    let Some(stub) = Stub::answering(GB10) else {
        return;
    };
    let gpus = stub.gpus();
    let mut state = context();
    gpus.describe(&gpus.in_use(None, true, "cuda"), &mut state);
    let expected = Context {
        driver: Some(Name::cleaned("580.95.05")),
        ..context()
    };
    assert_eq!(state, expected);
}
