//! What this machine is: the facts of a record's host, and whether it is a known hardware.
//!
//! Linux is read from files under a root that tests replace; macOS from `sysctl`. Nothing that
//! names one single machine or its user (serial numbers, host name, addresses) is read.

use std::fs;
use std::path::Path;
use std::thread;

use domain::hardware::{Catalogue, HardwareKind, HardwareProfile};
use domain::ids::{Sha256Digest, Slug};
use domain::record::{Host, RunnerFacts, SetupRef};
use domain::text::Name;
use sha2::{Digest, Sha256};

use crate::meter::{battery, nvml};

const GIB: f64 = 1_073_741_824.0;

/// A machine's own facts, and the name it gives itself, which stays out of records.
#[derive(Debug, Clone)]
pub struct Survey {
    /// The facts.
    pub host: Host,
    /// Model name by the maker: DMI product, device tree, `hw.model`.
    pub machine: Option<String>,
}

/// Surveys this machine; `root` is `/` outside of tests.
pub fn survey(root: &Path) -> Survey {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    if cfg!(target_os = "macos") {
        survey_macos(cores)
    } else {
        survey_linux(root, cores)
    }
}

/// Finds the machine among the profiles and writes the finding into its facts.
///
/// Every fact that a profile asks for must fit, and exactly one profile may fit: a machine that
/// is not told from its neighbours stays unknown.
pub fn recognise(survey: &mut Survey, catalogue: &Catalogue) -> SetupRef {
    let mut fitting = catalogue
        .all_hardware()
        .iter()
        .filter(|hardware| fits(survey, hardware));
    let found = match (fitting.next(), fitting.next()) {
        (Some(hardware), None) => Some(hardware),
        _ => None,
    };
    survey.host.profile = found.map(|hardware| hardware.slug.clone());
    survey.host.unified = found
        .and_then(|hardware| hardware.unified)
        .or(survey.host.unified);
    SetupRef {
        slug: found.and_then(|hardware| setup_of(hardware, catalogue)),
        interconnect: None,
        split: None,
    }
}

/// This program's own facts.
pub fn runner_facts() -> RunnerFacts {
    let executable = std::env::current_exe()
        .ok()
        .and_then(|path| fs::read(path).ok());
    RunnerFacts {
        version: Name::cleaned(env!("CARGO_PKG_VERSION")),
        // A build cannot tell for certain which commit it is of; its own digest it can.
        commit: None,
        binary_sha256: executable.map(|bytes| Sha256Digest::of(&bytes)),
        target: Name::cleaned(env!("JOULEMARK_TARGET")),
    }
}

/// Memory that can still be used without paging, where the system says.
pub fn available_memory_bytes(root: &Path) -> Option<u64> {
    meminfo(root, "MemAvailable")
}

/// Space that is left for this user where `folder` is or will be made; `None` where the system
/// does not say.
pub fn free_disk_bytes(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|folder| folder.is_dir())?;
    let found = rustix::fs::statvfs(there).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}

/// One line of `/proc/meminfo`.
pub(crate) fn meminfo(root: &Path, key: &str) -> Option<u64> {
    let text = text_of(root, "proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1_024)
}

/// A small text file under `root`, trimmed; `None` if it cannot be read or is empty.
pub(crate) fn text_of(root: &Path, path: &str) -> Option<String> {
    let bytes = fs::read(root.join(path)).ok()?;
    let text = String::from_utf8_lossy(&bytes)
        .trim_matches(|c: char| c.is_whitespace() || c == '\0')
        .to_owned();
    (!text.is_empty()).then_some(text)
}

fn setup_of(hardware: &HardwareProfile, catalogue: &Catalogue) -> Option<Slug> {
    let alone = |parts: &[domain::hardware::Part]| matches!(parts, [part] if part.hardware == hardware.slug && part.count == 1);
    let setup = catalogue
        .all_setups()
        .iter()
        .find(|setup| alone(&setup.parts))?;
    (hardware.kind == HardwareKind::Soc).then(|| setup.slug.clone())
}

fn fits(survey: &Survey, hardware: &HardwareProfile) -> bool {
    let Some(wanted) = &hardware.recognise else {
        return false;
    };
    let same = |given: Option<&str>, asked: &str| {
        given.is_some_and(|given| given.trim().eq_ignore_ascii_case(asked))
    };
    let chip = same(survey.host.chip.as_ref().map(Name::as_str), &wanted.chip)
        || survey
            .host
            .gpus
            .iter()
            .any(|gpu| same(Some(gpu.name.as_str()), &wanted.chip));
    let machine = wanted
        .machine
        .as_ref()
        .is_none_or(|asked| same(survey.machine.as_deref(), asked));
    // What the system reports is a little less than what is sold: firmware takes its share.
    let installed = survey.host.memory_bytes.map(|bytes| bytes as f64 / GIB);
    let memory = wanted.memory_gb.is_none_or(|sold| {
        installed.is_some_and(|installed| (0.85 * sold..=1.02 * sold).contains(&installed))
    });
    chip && machine && memory && survey.host.is_virtual != Some(true)
}

fn survey_linux(root: &Path, cpu_cores: u32) -> Survey {
    let cpuinfo = text_of(root, "proc/cpuinfo").unwrap_or_default();
    let cpu_key = |key: &str| {
        let value = |line: &str| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        };
        cpuinfo
            .lines()
            .find_map(value)
            .filter(|value| !value.is_empty())
    };
    let machine = text_of(root, "sys/class/dmi/id/product_name")
        .or_else(|| text_of(root, "proc/device-tree/model"));
    let release = text_of(root, "etc/os-release").unwrap_or_default();
    let pretty = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|name| name.trim_matches('"'));
    let host = Host {
        host: 0,
        profile: None,
        fingerprint: Sha256Digest([0; 32]),
        os: Name::cleaned("linux"),
        os_version: pretty.map(Name::cleaned),
        kernel: text_of(root, "proc/sys/kernel/osrelease").map(|text| Name::cleaned(&text)),
        chip: cpu_key("model name")
            .or_else(|| cpu_key("Model"))
            .map(|text| Name::cleaned(&text)),
        cpu_cores,
        memory_bytes: meminfo(root, "MemTotal"),
        unified: None,
        is_virtual: linux_is_virtual(root, cpu_key("flags").as_deref()),
        container: Some(linux_is_container(root)),
        bandwidth_probe_bytes_s: None,
        bandwidth_curve: Vec::new(),
        compute_probe_flop_s: None,
        battery_full_uwh: battery::full_uwh(root),
        gpus: Vec::new(),
    };
    Survey {
        host: with_fingerprint(with_gpus(host, root)),
        machine,
    }
}

/// x86 says it in a CPU flag, the hypervisor in its own file, firmware in its maker's name.
/// Arm has no flag: without readable firmware names it stays unknown.
fn linux_is_virtual(root: &Path, flags: Option<&str>) -> Option<bool> {
    const MAKERS: [&str; 10] = [
        "qemu",
        "kvm",
        "vmware",
        "virtualbox",
        "innotek",
        "xen",
        "bochs",
        "parallels",
        "virtual machine",
        "google compute engine",
    ];
    let flag = flags.map(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    let firmware: Vec<_> = [
        "sys/class/dmi/id/sys_vendor",
        "sys/class/dmi/id/product_name",
        "proc/device-tree/compatible",
    ]
    .iter()
    .filter_map(|path| text_of(root, path))
    .map(|text| text.to_lowercase())
    .collect();
    let named = firmware
        .iter()
        .any(|text| MAKERS.iter().any(|maker| text.contains(maker)) || text.contains("dummy-virt"));
    if flag == Some(true) || named || text_of(root, "sys/hypervisor/type").is_some() {
        return Some(true);
    }
    flag.or_else(|| (!firmware.is_empty()).then_some(false))
}

/// Adds what NVIDIA's driver shows. One that does not start says why where its meters are looked
/// for.
fn with_gpus(mut host: Host, root: &Path) -> Host {
    if let Ok(Some(gpus)) = nvml::here(root) {
        host.gpus = gpus.facts();
        host.unified = gpus.share_memory().then_some(true);
    }
    host
}

pub(crate) fn linux_is_container(root: &Path) -> bool {
    let marked = [".dockerenv", "run/.containerenv", "run/systemd/container"]
        .iter()
        .any(|path| root.join(path).exists());
    let grouped = text_of(root, "proc/1/cgroup").is_some_and(|text| {
        ["docker", "kubepods", "lxc", "containerd"]
            .iter()
            .any(|name| text.contains(name))
    });
    marked || grouped
}

fn survey_macos(cpu_cores: u32) -> Survey {
    let apple_silicon = cfg!(target_arch = "aarch64");
    let host = Host {
        host: 0,
        profile: None,
        fingerprint: Sha256Digest([0; 32]),
        os: Name::cleaned("macos"),
        os_version: sysctl("kern.osproductversion").map(|text| Name::cleaned(&text)),
        kernel: sysctl("kern.osrelease").map(|text| Name::cleaned(&text)),
        chip: sysctl("machdep.cpu.brand_string").map(|text| Name::cleaned(&text)),
        cpu_cores,
        memory_bytes: sysctl("hw.memsize").and_then(|text| text.parse().ok()),
        unified: apple_silicon.then_some(true),
        is_virtual: sysctl("kern.hv_vmm_present").map(|text| text == "1"),
        container: None,
        bandwidth_probe_bytes_s: None,
        bandwidth_curve: Vec::new(),
        compute_probe_flop_s: None,
        battery_full_uwh: battery::full_uwh(Path::new("/")),
        gpus: Vec::new(),
    };
    Survey {
        host: with_fingerprint(host),
        machine: sysctl("hw.model"),
    }
}

fn sysctl(name: &str) -> Option<String> {
    let output = std::process::Command::new("/usr/sbin/sysctl")
        .args(["-n", name])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// The kind of machine, so that two measurements of one kind can be told from two machines'
/// worth of evidence; memory is rounded because firmware and kernel take varying shares.
fn with_fingerprint(mut host: Host) -> Host {
    let memory_gb = host
        .memory_bytes
        .map(|bytes| format!("{:.0}", bytes as f64 / GIB));
    let mut parts = vec![
        host.os.to_string(),
        host.chip.as_ref().map(Name::to_string).unwrap_or_default(),
        host.cpu_cores.to_string(),
        memory_gb.unwrap_or_default(),
    ];
    parts.extend(host.gpus.iter().map(|gpu| gpu.name.to_string()));
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    host.fingerprint = Sha256Digest(hasher.finalize().into());
    host
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"
        profile = "hardware"
        slug = "maker-box-64gb"
        name = "Box"
        vendor = "Maker"
        kind = "soc"
        memory_gb = 64
        unified = true
        sources = []
        confidence = "medium"
        [recognise]
        chip = "Maker Chip 7"
        machine = "Box One"
        memory_gb = 64
    "#;
    const SETUP: &str = r#"
        profile = "setup"
        slug = "maker-box-64gb"
        name = "Box"
        [[parts]]
        hardware = "maker-box-64gb"
        count = 1
    "#;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Survey) {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("has one")).expect("a folder");
            fs::write(path, text).expect("writable");
        }
        let survey = survey_linux(root.path(), 8);
        (root, survey)
    }

    const BARE: [(&str, &str); 5] = [
        (
            "proc/cpuinfo",
            "processor\t: 0\nmodel name\t: Maker Chip 7\nflags\t\t: fpu sse\n",
        ),
        (
            "proc/meminfo",
            "MemTotal:       65011712 kB\nMemAvailable:    1024 kB\n",
        ),
        ("proc/sys/kernel/osrelease", "6.12.1\n"),
        (
            "etc/os-release",
            "NAME=\"Some\"\nPRETTY_NAME=\"Some Linux 13\"\n",
        ),
        ("sys/class/dmi/id/product_name", "Box One\n"),
    ];

    fn catalogue() -> Catalogue {
        Catalogue::parse([("a.toml", PROFILE), ("b.toml", SETUP)]).expect("valid")
    }

    #[test]
    fn a_bare_machine_is_described_and_recognised() {
        let (_root, mut survey) = machine(&BARE);
        assert_eq!(
            survey.host.os_version.as_ref().map(Name::as_str),
            Some("Some Linux 13")
        );
        assert_eq!(
            (survey.host.is_virtual, survey.host.container),
            (Some(false), Some(false))
        );
        let setup = recognise(&mut survey, &catalogue());
        assert_eq!(
            setup.slug.as_ref().map(Slug::as_str),
            Some("maker-box-64gb")
        );
        assert_eq!(survey.host.profile, setup.slug);
        assert_eq!(survey.host.unified, Some(true));
    }

    #[test]
    fn a_machine_that_differs_in_one_fact_stays_unknown() {
        for (path, text) in [
            (
                "proc/cpuinfo",
                "model name\t: Maker Chip 8\nflags\t\t: fpu\n",
            ),
            (
                "proc/cpuinfo",
                "model name\t: Maker Chip 7\nflags\t\t: fpu hypervisor\n",
            ),
            ("proc/meminfo", "MemTotal:       32011712 kB\n"),
            ("sys/class/dmi/id/product_name", "Box Two\n"),
        ] {
            let mut files = BARE.to_vec();
            files.push((path, text));
            let (_root, mut survey) = machine(&files);
            assert_eq!(
                recognise(&mut survey, &catalogue()).slug,
                None,
                "{path}: {text}"
            );
            assert_eq!(survey.host.profile, None);
        }
    }

    #[test]
    fn virtual_machines_and_containers_are_told() {
        let (_root, survey) =
            machine(&[("sys/class/dmi/id/sys_vendor", "QEMU"), (".dockerenv", "")]);
        assert_eq!(
            (survey.host.is_virtual, survey.host.container),
            (Some(true), Some(true))
        );
        let (_root, survey) = machine(&[]);
        assert_eq!(survey.host.is_virtual, None, "nothing is readable");
        assert_eq!(survey.host.chip, None);
    }

    #[test]
    fn the_fingerprint_is_that_of_the_kind() {
        let (_a, first) = machine(&BARE);
        let mut files = BARE.to_vec();
        files.push(("proc/meminfo", "MemTotal:       65000000 kB\n"));
        files.push(("proc/sys/kernel/osrelease", "6.13.0\n"));
        let (_b, second) = machine(&files);
        assert_eq!(first.host.fingerprint, second.host.fingerprint);
        files.push(("proc/meminfo", "MemTotal:       33000000 kB\n"));
        let (_c, third) = machine(&files);
        assert_ne!(first.host.fingerprint, third.host.fingerprint);
    }
}
