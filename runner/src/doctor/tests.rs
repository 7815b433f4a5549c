//! Machines as trees of files: a good one, a bad one, an empty one.

use std::fs;
use std::sync::Arc;

use domain::hardware::Catalogue;
use domain::record::BandwidthPoint;
use domain::scope::Scope;
use domain::text::Name;
use serde_json::json;

use super::engines::{Missing, program};
use super::measured::{Blocks, Percentiles, Stamps, lateness, sampler_cost, stamps};
use super::*;
use crate::clock::{Clock, RealClock, VirtualClock};
use crate::host::{recognise, survey};
use crate::meter::scripted::ScriptedMeter;
use crate::meter::{Meters, ReadError, Refusal};
use crate::probe::{Bandwidth, ProbeError};

const PROFILE: &str = r#"
    profile = "hardware"
    slug = "maker-box-64gb"
    name = "Box"
    vendor = "Maker"
    kind = "soc"
    memory_bandwidth_gb_s = 100
    sources = []
    confidence = "medium"
    [recognise]
    chip = "Maker Chip 7"
"#;

const GOOD: [(&str, &str); 12] = [
    (
        "proc/cpuinfo",
        "model name\t: Maker Chip 7\nflags\t\t: fpu\n",
    ),
    (
        "proc/meminfo",
        "MemTotal: 67108864 kB\nMemAvailable: 60000000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
    ),
    ("proc/loadavg", "0.08 0.1 0.1 1/100 4242\n"),
    (
        "proc/pressure/cpu",
        "some avg10=0.30 avg60=0 avg300=0 total=1\n",
    ),
    ("sys/class/dmi/id/product_name", "Box One\n"),
    ("sys/class/thermal/thermal_zone0/type", "x86_pkg_temp"),
    ("sys/class/thermal/thermal_zone0/temp", "41000"),
    ("sys/class/power_supply/AC/online", "1"),
    (
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "performance",
    ),
    ("sys/class/powercap/intel-rapl:0/name", "package-0\n"),
    ("sys/class/powercap/intel-rapl:0/energy_uj", "1000\n"),
    (
        "sys/devices/system/clocksource/clocksource0/current_clocksource",
        "tsc\n",
    ),
];

const BAD: [(&str, &str); 14] = [
    (
        "proc/cpuinfo",
        "model name\t: Maker Chip 8\nflags\t\t: fpu hypervisor\n",
    ),
    (
        "proc/meminfo",
        "MemTotal: 4000000 kB\nMemAvailable: 1000 kB\nSwapTotal: 2000000 kB\nSwapFree: 0 kB\n",
    ),
    ("proc/loadavg", "7.50 1 1 1/100 4242\n"),
    (
        "proc/pressure/cpu",
        "some avg10=80.00 avg60=0 avg300=0 total=1\n",
    ),
    (".dockerenv", ""),
    ("sys/class/thermal/thermal_zone0/type", "cpu-thermal"),
    ("sys/class/thermal/thermal_zone0/temp", "97000"),
    ("sys/class/power_supply/BAT0/status", "Discharging"),
    (
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "powersave",
    ),
    (
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
        "800000",
    ),
    (
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
        "9",
    ),
    (
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_total_time_ms",
        "2500",
    ),
    ("sys/class/drm/card0/device/vendor", "0x10de"),
    (
        "sys/devices/system/clocksource/clocksource0/current_clocksource",
        "hpet\n",
    ),
];

fn measured() -> Measured {
    Measured {
        stamps: Stamps {
            cost_ns: Percentiles { p50: 21, p99: 25 },
            resolution_ns: Some(1),
            backwards: 0,
        },
        lateness_ns: Percentiles {
            p50: 60_000,
            p99: 110_000,
        },
        sampler: None,
        bandwidth: Ok(Bandwidth {
            memory_bytes_s: Some(84_000_000_000),
            curve: vec![BandwidthPoint {
                working_set_bytes: 256 << 20,
                bytes_s: 84_000_000_000,
            }],
            cache_bytes: Some(32 << 20),
        }),
        compute_flop_s: Ok(1_200_000_000_000),
    }
}

fn around() -> Surroundings {
    Surroundings {
        data: "/data".into(),
        disk_free_bytes: Some(100 << 30),
        models: "/models".into(),
        model_files: vec![ModelFile {
            name: "a.gguf".to_owned(),
            bytes: 7 << 30,
        }],
        threads: 1,
        engines: Some(vec![EngineFinding {
            name: "candle".to_owned(),
            found: Ok("in this program".to_owned()),
        }]),
        meters: MetersFile::default(),
        further: Vec::new(),
    }
}

fn examined(files: &[(&str, &str)], around: Surroundings, measured: &Measured) -> Diagnosis {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("has one")).expect("a folder");
        fs::write(path, text).expect("writable");
    }
    let catalogue = Catalogue::parse([("a.toml", PROFILE)]).expect("valid");
    let mut machine = survey(root.path());
    // The one fact that comes from this machine and not from the tree.
    machine.host.cpu_cores = 8;
    recognise(&mut machine, &catalogue);
    examine(root.path(), machine, &catalogue, around, measured)
}

fn bad() -> Diagnosis {
    let mut around = around();
    around.threads = 9;
    around.disk_free_bytes = Some(1 << 20);
    around.engines = Some(vec![EngineFinding {
        name: "far".to_owned(),
        found: Err(Missing {
            evidence: "http://127.0.0.1:1 does not answer: refused".to_owned(),
            fix: "start the server".to_owned(),
        }),
    }]);
    let mut timed = measured();
    timed.stamps.cost_ns.p99 = 90_000;
    timed.lateness_ns.p99 = 30_000_000;
    timed.bandwidth = Ok(Bandwidth {
        memory_bytes_s: None,
        curve: vec![BandwidthPoint {
            working_set_bytes: 16 << 20,
            bytes_s: 90_000_000_000,
        }],
        cache_bytes: Some(480 << 20),
    });
    examined(&BAD, around, &timed)
}

fn status(diagnosis: &Diagnosis, id: &str) -> Status {
    let check = diagnosis.checks.iter().find(|check| check.id == id);
    check
        .unwrap_or_else(|| panic!("{id} was not looked at"))
        .status
}

/// The flags of this build differ from machine to machine.
fn redacted(diagnosis: &mut Diagnosis) {
    for check in &mut diagnosis.checks {
        if check.id == "candle" {
            check.evidence = "[flags]".to_owned();
            check.status = Status::Pass;
            check.fix = None;
        }
    }
}

#[test]
fn a_good_machine_is_fit_and_its_meter_is_named() {
    let mut good = examined(&GOOD, around(), &measured());
    assert!(good.fit && !good.incomplete);
    assert_eq!(good.can_measure.joules.scope.as_deref(), Some("cpu.pkg"));
    assert_eq!(good.host.bandwidth_probe_bytes_s, Some(84_000_000_000));
    assert_eq!(good.host.compute_probe_flop_s, Some(1_200_000_000_000));
    redacted(&mut good);
    insta::assert_snapshot!(render(&good, false));
}

#[test]
fn a_bad_machine_is_unfit_and_every_fix_is_said() {
    let mut bad = bad();
    assert!(!bad.fit);
    assert!(!bad.can_measure.speed.can && !bad.can_measure.quality.can);
    assert_eq!(
        bad.host.bandwidth_probe_bytes_s, None,
        "a cache is no memory"
    );
    for id in ["memory", "disk", "engines far"] {
        assert_eq!(status(&bad, id), Status::Fail, "{id}");
    }
    redacted(&mut bad);
    insta::assert_snapshot!(render(&bad, false));
}

#[test]
fn a_machine_that_says_nothing_is_fit_and_nothing_is_made_up() {
    let odd = examined(&[], around(), &measured());
    assert!(odd.fit);
    for id in [
        "power-supply",
        "heat",
        "throttling",
        "governor",
        "power-limit",
        "load",
        "pressure",
        "swap",
        "memory",
        "gpu",
        "sampler-cost",
        "isolation",
    ] {
        assert_eq!(status(&odd, id), Status::Skip, "{id}");
    }
    assert!(!odd.can_measure.joules.can);
}

#[test]
fn colour_adds_only_escapes() {
    let diagnosis = bad();
    let mut plain = render(&diagnosis, true);
    for code in ["0", "1", "2", "31", "32", "33"] {
        plain = plain.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(plain, render(&diagnosis, false));
}

#[test]
fn the_json_has_verdict_abilities_checks_and_a_host_that_reads_back() {
    let value = serde_json::to_value(bad()).expect("JSON");
    let keys: Vec<_> = value.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["fit", "can_measure", "checks", "host"]);
    assert_eq!(value["fit"], json!(false));
    for check in value["checks"].as_array().expect("checks") {
        let keys: Vec<_> = check.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["id", "status", "evidence", "fix", "doc"]);
    }
    let host: domain::record::Host =
        serde_json::from_value(value["host"].clone()).expect("a record's host");
    assert_eq!(host.cpu_cores, 8);
}

#[test]
fn a_probe_that_could_not_run_is_no_judgement_of_the_machine() {
    let mut timed = measured();
    timed.bandwidth = Err(ProbeError::Memory { bytes: 1 << 30 });
    let diagnosis = examined(&GOOD, around(), &timed);
    assert!(diagnosis.fit && diagnosis.incomplete);
    assert_eq!(status(&diagnosis, "bandwidth"), Status::Skip);
}

#[test]
fn one_engine_of_two_is_enough_to_measure() {
    let mut around = around();
    if let Some(engines) = &mut around.engines {
        engines.push(EngineFinding {
            name: "gone".to_owned(),
            found: program("no-such-program-of-joulemark").map(|_| String::new()),
        });
    }
    let diagnosis = examined(&GOOD, around, &measured());
    assert_eq!(status(&diagnosis, "engines gone"), Status::Warn);
    assert!(diagnosis.fit);
}

#[test]
fn a_program_is_found_by_name_and_by_path() {
    let by_name = program("sh").expect("every unix has a shell");
    assert_eq!(program(&by_name), Ok(by_name.clone()));
    assert!(program("/dev/null").is_err(), "no program");
}

#[tokio::test]
async fn a_server_that_is_not_there_does_not_answer() {
    // A port that was just free.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    drop(listener);
    let text = format!(
        "quantisations = [\"F16\"]\nmodels = [{{ path = \"a.gguf\" }}]\n\
         [[workloads]]\nid = \"w\"\nprompt_tokens = 16\noutput_tokens = 16\n\
         [[engines]]\nname = \"far\"\nkind = \"openai\"\nurl = \"http://127.0.0.1:{port}\"\n"
    );
    let matrix = domain::matrix::Matrix::parse("m.toml", &text).expect("valid");
    let finding = engines::look_for(&matrix.engines()[0]).await;
    let missing = finding.found.expect_err("nothing listens");
    assert!(missing.evidence.contains("does not answer"), "{missing:?}");
}

#[test]
fn stamps_and_sleeps_are_counted_on_any_clock() {
    let still = VirtualClock::default();
    assert_eq!(
        stamps(&still).resolution_ns,
        None,
        "it never moves by itself"
    );
    assert_eq!(lateness(&still).p99, 0, "its sleeps end in time");
    let real = stamps(&RealClock::default());
    assert_eq!(real.backwards, 0);
    assert!(real.cost_ns.p50 <= real.cost_ns.p99);
}

#[test]
fn the_samplers_cost_is_a_ratio_with_an_interval() {
    let root = tempfile::tempdir().expect("a folder");
    let zone = root.path().join("sys/class/powercap/intel-rapl:0");
    fs::create_dir_all(&zone).expect("a folder");
    fs::write(zone.join("name"), "package-0").expect("writable");
    fs::write(zone.join("energy_uj"), "1000").expect("writable");
    let found = meter::discover(
        root.path(),
        &survey(root.path()).host,
        &MetersFile::default(),
    );
    assert_eq!(found.meters[0].info().scope, Scope::CpuPkg);
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    let load = sampler_cost(found.meters, &clock, 1, Blocks::BRIEF).expect("it runs");
    let ratio = load.speed;
    assert!(ratio.low <= ratio.median && ratio.median <= ratio.high && ratio.low > 0.0);
    let cost = load.cost.expect("a thread's clock");
    assert!(cost.cpu_ns > 0 && cost.reads >= 2 * Blocks::BRIEF.pairs as u64);
    assert!(cost.span_ns >= 1_000_000_000, "of all blocks");
}

#[test]
fn a_meter_that_is_refused_is_told_with_its_fix_beside_those_that_read() {
    let permission = ReadError::Permission { fix: "ask" };
    let refused = |meter, device: &str, error: &ReadError| Refusal {
        meter,
        device: Some(Name::cleaned(device)),
        error: error.clone(),
    };
    let found = Meters {
        meters: vec![Box::new(ScriptedMeter::counter(Scope::SystemDc, |_| Ok(1)))],
        refused: vec![
            refused("powercap", "package-0", &permission),
            refused("powercap", "package-1", &permission),
            refused("perf", "package-0", &permission),
            refused("hwmon", "spbm", &ReadError::Absent),
            refused("battery", "BAT0", &ReadError::OnMains),
        ],
        unavailable: None,
    };
    let checks = checks::meters(&found);
    let told: Vec<_> = checks
        .iter()
        .map(|check| (check.status, check.evidence.as_str(), check.fix.is_some()))
        .collect();
    assert_eq!(told.len(), 5, "{told:?}");
    assert_eq!(told[0].0, Status::Pass);
    assert!(told[1].1.starts_with("battery (BAT0)") && !told[1].2);
    assert!(told[2].1.starts_with("hwmon (spbm)"));
    assert!(told[4].1.starts_with("powercap (package-0, package-1)"));
    for (index, word) in [(2, "own risk"), (3, "setcap"), (4, "PLATYPUS")] {
        let fix = checks[index].fix.as_deref().unwrap_or_default();
        assert!(fix.contains(word), "{fix}");
    }
}

#[test]
fn every_check_is_explained_where_it_says() {
    let text = include_str!("../../../docs/doctor.md");
    for diagnosis in [bad(), examined(&GOOD, around(), &measured())] {
        for check in diagnosis.checks {
            let heading = check.doc.strip_prefix("docs/doctor.md#").expect("there");
            assert!(text.contains(&format!("\n## {heading}\n")), "{heading}");
        }
    }
}
