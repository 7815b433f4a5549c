//! What the machine is like right now: load, clocks, heat, power source, memory of the process.
//!
//! Read at phase edges, outside of timed spans. Every fact is optional; what cannot be read is
//! left out. Linux only for now: elsewhere every fact is unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use domain::record::Context;
use domain::text::Name;

use crate::engine::Processes;
use crate::host::{linux_is_container, meminfo, text_of};
use crate::meter::nvml::{self, GpuUse, Gpus};
use crate::meter::powercap;

/// Paged bytes above which a repetition is void: memory did not suffice.
pub const MAX_PAGED_BYTES: u64 = 1 << 20;

/// Reads this machine's state under a root that tests replace.
#[derive(Debug, Clone)]
pub struct ContextReader {
    root: PathBuf,
    cores: u32,
    page_bytes: u64,
    gpus: Option<Gpus>,
}

impl ContextReader {
    /// A reader under `root` (`/` outside of tests) of a machine with so many cores.
    pub fn new(root: &Path, cores: u32) -> Self {
        Self {
            root: root.to_owned(),
            cores: cores.max(1),
            page_bytes: page_bytes(root).unwrap_or(4_096),
            gpus: nvml::here(root).ok().flatten(),
        }
    }

    /// With these graphics processors in place of the machine's own.
    #[cfg(test)]
    pub(crate) fn with_gpus(self, gpus: Gpus) -> Self {
        Self {
            gpus: Some(gpus),
            ..self
        }
    }

    /// The machine's state at `at_ns` of the record's clock, without its graphics processors.
    pub fn read(&self, at_ns: u64) -> Context {
        let throttle = self.throttle();
        Context {
            at_ns,
            host: 0,
            power_source: self.power_source().map(Name::cleaned),
            power_mode: self
                .text("sys/firmware/acpi/platform_profile")
                .map(|text| Name::cleaned(&text)),
            governor: self
                .text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                .map(|text| Name::cleaned(&text)),
            thermal_level: self.thermal_level().map(|text| Name::cleaned(&text)),
            temp_mc: self.cpu_temp_mc(),
            clock_mhz: self.clock_mhz(),
            power_limit_mw: powercap::power_limit_mw(&self.root),
            pstate: None,
            throttle_reasons: throttle.as_ref().map(|throttle| {
                throttle
                    .reasons
                    .iter()
                    .copied()
                    .map(Name::cleaned)
                    .collect()
            }),
            throttle_ns: throttle.and_then(|throttle| throttle.ns),
            foreign_gpu_processes: None,
            load_ppm: self.load_ppm(),
            pressure_ppm: self.pressure_ppm(),
            swap_bytes: self.swap_bytes(),
            driver: None,
            firmware: None,
        }
    }

    /// The machine's state at `at_ns` of the record's clock while an engine works: that of the
    /// graphics processors where it uses some, beside what the processor alone can tell.
    pub fn read_with(&self, at_ns: u64, processes: &Processes, backend: &str) -> Context {
        let mut context = self.read(at_ns);
        if let Some(gpus) = &self.gpus {
            gpus.describe(&self.gpus_in_use(processes, backend), &mut context);
        }
        context
    }

    /// Which graphics processors of this machine an engine uses, to be asked while it works or is loaded.
    pub fn gpus_in_use(&self, processes: &Processes, backend: &str) -> GpuUse {
        let Some(gpus) = &self.gpus else {
            return GpuUse::elsewhere(backend);
        };
        let pids = match processes {
            Processes::Here => Some(BTreeSet::from([std::process::id()])),
            Processes::Children(_) => self.family(processes),
            Processes::Unknown => None,
        };
        let lists_are_whole = !linux_is_container(&self.root);
        gpus.in_use(pids.as_ref(), lists_are_whole, backend)
    }

    /// Every process that computes on a graphics processor of this machine, as its driver numbers
    /// them.
    pub fn gpu_clients(&self) -> BTreeSet<u32> {
        self.gpus.as_ref().map(Gpus::clients).unwrap_or_default()
    }

    /// Temperature in thousandths of a degree Celsius that has to come down between two cells:
    /// that of the processor or of a graphics processor, whichever is hotter.
    pub fn temp_mc(&self) -> Option<i64> {
        self.cpu_temp_mc()
            .max(self.gpus.as_ref().and_then(Gpus::temp_mc))
    }

    /// The hottest sensor that names the processor.
    fn cpu_temp_mc(&self) -> Option<i64> {
        let zones = fs::read_dir(self.root.join("sys/class/thermal")).ok()?;
        zones
            .filter_map(Result::ok)
            .filter_map(|zone| {
                let kind = text_of(&zone.path(), "type")?.to_lowercase();
                let of_processor = ["x86_pkg_temp", "cpu", "soc", "k10temp", "coretemp"]
                    .iter()
                    .any(|name| kind.contains(name));
                text_of(&zone.path(), "temp")
                    .filter(|_| of_processor)?
                    .parse::<i64>()
                    .ok()
            })
            .filter(|temp| (-50_000..200_000).contains(temp))
            .max()
    }

    /// [`Self::paged_bytes`] of an engine, wherever it runs here; `None` where that is out of
    /// sight, or one of the engine's processes is gone.
    pub fn paged_bytes_of(&self, processes: &Processes) -> Option<u64> {
        match processes {
            Processes::Here => self.paged_bytes(),
            Processes::Children(_) => {
                let pids = self.family(processes)?;
                let faults = self.sum_of(&pids, |stat, _| stat_field(stat, MAJOR_FAULTS))?;
                Some((faults + self.swapped_in()?) * self.page_bytes)
            }
            Processes::Unknown => None,
        }
    }

    /// [`Self::reset_peak`] of all of an engine's processes; `false` if one could not be reset.
    pub fn reset_peak_of(&self, processes: &Processes) -> bool {
        match processes {
            Processes::Here => self.reset_peak(),
            Processes::Children(_) => self.family(processes).is_some_and(|pids| {
                // Each is tried: a peak that stays is in no figure, as `false` says.
                pids.iter().fold(true, |all, pid| {
                    let file = self.root.join(format!("proc/{pid}/clear_refs"));
                    fs::write(file, "5").is_ok() && all
                })
            }),
            Processes::Unknown => false,
        }
    }

    /// [`Self::peak_bytes`] of an engine: the peaks of its processes added up, which is at least
    /// what they held at one time. Pages that they share are counted for each.
    pub fn peak_bytes_of(&self, processes: &Processes, peak_was_reset: bool) -> Option<u64> {
        match processes {
            Processes::Here => self.peak_bytes(peak_was_reset),
            Processes::Children(_) if peak_was_reset => {
                let pids = self.family(processes)?;
                self.sum_of(&pids, |_, pid| self.peak_of(&pid.to_string()))
            }
            Processes::Children(_) | Processes::Unknown => None,
        }
    }

    /// The named processes and everything that they started; `None` if a named one is gone.
    fn family(&self, processes: &Processes) -> Option<BTreeSet<u32>> {
        let Processes::Children(named) = processes else {
            return None;
        };
        let mut parents: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let entries = fs::read_dir(self.root.join("proc")).ok()?;
        for entry in entries.filter_map(Result::ok) {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let parent = text_of(&entry.path(), "stat").and_then(|stat| stat_field(&stat, PARENT));
            if let Some(parent) = parent {
                parents.entry(parent as u32).or_default().push(pid);
            }
        }
        let mut found = BTreeSet::new();
        let mut todo = named.clone();
        // Ends: a process is looked at once.
        while let Some(pid) = todo.pop() {
            if found.insert(pid) {
                todo.extend(parents.get(&pid).into_iter().flatten());
            }
        }
        let alive = |pid: &u32| self.root.join(format!("proc/{pid}")).exists();
        (!named.is_empty() && named.iter().all(alive)).then_some(found)
    }

    /// One figure over processes. One that ended since they were listed has no more figures, and
    /// leaves the sum unknown.
    fn sum_of(
        &self,
        pids: &BTreeSet<u32>,
        figure: impl Fn(&str, u32) -> Option<u64>,
    ) -> Option<u64> {
        pids.iter()
            .map(|pid| figure(&self.text(&format!("proc/{pid}/stat"))?, *pid))
            .sum()
    }

    /// Bytes paged in so far: this process's major faults and the host's swap-ins.
    pub fn paged_bytes(&self) -> Option<u64> {
        let faults = stat_field(&self.text("proc/self/stat")?, MAJOR_FAULTS)?;
        Some((faults + self.swapped_in()?) * self.page_bytes)
    }

    /// Pages that the host swapped in.
    fn swapped_in(&self) -> Option<u64> {
        self.text("proc/vmstat")?
            .lines()
            .find_map(|line| line.strip_prefix("pswpin "))?
            .trim()
            .parse()
            .ok()
    }

    /// Forgets the process's memory peak, so that the next one is of one repetition; `false`
    /// where the system does not allow it.
    pub fn reset_peak(&self) -> bool {
        // Writing 5 resets VmHWM (proc_pid_clear_refs(5)).
        fs::write(self.root.join("proc/self/clear_refs"), "5").is_ok()
    }

    /// Peak resident memory of this process since [`Self::reset_peak`], if that worked: the peak
    /// of a whole program says nothing of one repetition. The engine runs inside this process;
    /// whatever else it does (in a quickstart, collector and site) is in the figure.
    pub fn peak_bytes(&self, peak_was_reset: bool) -> Option<u64> {
        if !peak_was_reset {
            return None;
        }
        self.peak_of("self")
    }

    fn peak_of(&self, process: &str) -> Option<u64> {
        let status = self.text(&format!("proc/{process}/status"))?;
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        value
            .trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()?
            .checked_mul(1_024)
    }

    fn text(&self, path: &str) -> Option<String> {
        text_of(&self.root, path)
    }

    fn power_source(&self) -> Option<&'static str> {
        let supplies = fs::read_dir(self.root.join("sys/class/power_supply")).ok()?;
        let supplies: Vec<_> = supplies
            .filter_map(Result::ok)
            .map(|supply| supply.path())
            .collect();
        let any = |file: &str, value: &str| {
            supplies
                .iter()
                .any(|path| text_of(path, file).as_deref() == Some(value))
        };
        match (any("online", "1"), any("status", "Discharging")) {
            (_, true) => Some("battery"),
            (true, false) => Some("mains"),
            _ => None,
        }
    }

    /// Cooling that slows the processor down: `none`, or how far of how many steps.
    fn thermal_level(&self) -> Option<String> {
        let devices = fs::read_dir(self.root.join("sys/class/thermal")).ok()?;
        let steps = |path: &Path| {
            let kind = text_of(path, "type")?.to_lowercase();
            let slows = kind.contains("processor") || kind.contains("cpufreq");
            let now: u64 = text_of(path, "cur_state").filter(|_| slows)?.parse().ok()?;
            Some((now, text_of(path, "max_state")?.parse::<u64>().ok()?))
        };
        let worst = devices
            .filter_map(Result::ok)
            .filter_map(|device| steps(&device.path()))
            .max()?;
        Some(match worst {
            (0, _) => "none".to_owned(),
            (now, max) => format!("{now} of {max}"),
        })
    }

    /// What the processor's own throttle counters say (Intel only): for each CPU the longer of its
    /// core's and its package's time, and of these the mean, so that it grows no faster than time
    /// does and no CPU's throttling is lost.
    fn throttle(&self) -> Option<Throttle> {
        let cpus = fs::read_dir(self.root.join("sys/devices/system/cpu")).ok()?;
        let folders: Vec<PathBuf> = cpus
            .filter_map(Result::ok)
            .map(|cpu| cpu.path().join("thermal_throttle"))
            .filter(|folder| folder.is_dir())
            .collect();
        if folders.is_empty() {
            return None;
        }
        let number = |folder: &Path, file: &str| text_of(folder, file)?.parse::<u64>().ok();
        let times: Vec<u64> = folders
            .iter()
            .filter_map(|folder| {
                number(folder, "core_throttle_total_time_ms")
                    .max(number(folder, "package_throttle_total_time_ms"))
            })
            .collect();
        let counted = |file: &str| {
            folders
                .iter()
                .any(|folder| number(folder, file).is_some_and(|count| count > 0))
        };
        let reasons = [
            ("core-thermal", "core_throttle_count"),
            ("package-thermal", "package_throttle_count"),
        ];
        Some(Throttle {
            ns: (!times.is_empty())
                .then(|| times.iter().sum::<u64>() * 1_000_000 / times.len() as u64),
            reasons: reasons
                .into_iter()
                .filter(|(_, file)| counted(file))
                .map(|(reason, _)| reason)
                .collect(),
        })
    }

    fn clock_mhz(&self) -> Option<u64> {
        let scaled = self
            .text("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
            .and_then(|khz| khz.parse::<u64>().ok());
        scaled.map(|khz| khz / 1_000).or_else(|| {
            let cpuinfo = self.text("proc/cpuinfo")?;
            let line = cpuinfo.lines().find(|line| line.starts_with("cpu MHz"))?;
            line.split_once(':')?
                .1
                .trim()
                .parse::<f64>()
                .ok()
                .map(|mhz| mhz as u64)
        })
    }

    fn load_ppm(&self) -> Option<u64> {
        let load: f64 = self
            .text("proc/loadavg")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()?;
        Some((load / f64::from(self.cores) * 1e6) as u64)
    }

    fn pressure_ppm(&self) -> Option<u64> {
        let text = self.text("proc/pressure/cpu")?;
        let some = text.lines().find(|line| line.starts_with("some"))?;
        let percent: f64 = some
            .split_whitespace()
            .find_map(|word| word.strip_prefix("avg10="))?
            .parse()
            .ok()?;
        Some((percent * 1e4) as u64)
    }

    fn swap_bytes(&self) -> Option<u64> {
        meminfo(&self.root, "SwapTotal")?.checked_sub(meminfo(&self.root, "SwapFree")?)
    }
}

/// Throttling since the machine started.
struct Throttle {
    ns: Option<u64>,
    reasons: Vec<&'static str>,
}

/// Fields of `/proc/PID/stat` after the command, which may hold spaces: the first after its
/// closing parenthesis is number 3, the parent number 4, the major faults number 12
/// (`proc_pid_stat(5)`).
const PARENT: usize = 1;
const MAJOR_FAULTS: usize = 9;

fn stat_field(stat: &str, field: usize) -> Option<u64> {
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(field)?
        .parse()
        .ok()
}

/// The page size from the auxiliary vector, entry 6 (getauxval(3), `AT_PAGESZ`).
fn page_bytes(root: &Path) -> Option<u64> {
    let vector = fs::read(root.join("proc/self/auxv")).ok()?;
    let words: Vec<u64> = vector
        .chunks_exact(8)
        .filter_map(|word| Some(u64::from_ne_bytes(word.try_into().ok()?)))
        .collect();
    words
        .chunks_exact(2)
        .find(|entry| entry[0] == 6)
        .map(|entry| entry[1])
        .filter(|bytes| bytes.is_power_of_two())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(files: &[(&str, &str)]) -> (tempfile::TempDir, ContextReader) {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("has one")).expect("a folder");
            fs::write(path, text).expect("writable");
        }
        let reader = ContextReader::new(root.path(), 4);
        (root, reader)
    }

    #[test]
    fn the_state_is_read_where_it_is_readable() {
        let (_root, reader) = reader(&[
            ("proc/loadavg", "2.00 1.0 0.5 1/100 4242\n"),
            (
                "proc/pressure/cpu",
                "some avg10=12.50 avg60=0 avg300=0 total=1\n",
            ),
            ("proc/meminfo", "SwapTotal: 100 kB\nSwapFree: 40 kB\n"),
            ("sys/class/thermal/thermal_zone0/type", "acpitz"),
            ("sys/class/thermal/thermal_zone0/temp", "90000"),
            ("sys/class/thermal/thermal_zone1/type", "x86_pkg_temp"),
            ("sys/class/thermal/thermal_zone1/temp", "55000"),
            ("sys/class/power_supply/AC/online", "1"),
            ("sys/class/power_supply/BAT0/status", "Discharging"),
            (
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
                "3100000",
            ),
        ]);
        let context = reader.read(7);
        assert_eq!(
            (context.at_ns, context.load_ppm, context.pressure_ppm),
            (7, Some(500_000), Some(125_000))
        );
        assert_eq!(
            (context.swap_bytes, context.temp_mc, context.clock_mhz),
            (Some(61_440), Some(55_000), Some(3_100))
        );
        assert_eq!(
            context.power_source.as_ref().map(Name::as_str),
            Some("battery")
        );
        assert_eq!(context.governor, None);
    }

    #[test]
    fn paged_bytes_count_faults_and_swap_ins() {
        let (_root, reader) = reader(&[
            ("proc/self/stat", "12 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 11\n"),
            ("proc/vmstat", "pgpgin 5\npswpin 20\n"),
        ]);
        assert_eq!(reader.paged_bytes(), Some(29 * 4_096));
    }

    #[test]
    fn throttling_is_the_mean_over_the_cores() {
        let cpu = |number: u32, file: &str| {
            format!("sys/devices/system/cpu/cpu{number}/thermal_throttle/{file}")
        };
        let files = [
            (cpu(0, "core_throttle_total_time_ms"), "300"),
            (cpu(0, "package_throttle_total_time_ms"), "100"),
            (cpu(0, "core_throttle_count"), "7"),
            (cpu(0, "package_throttle_count"), "0"),
            (cpu(1, "core_throttle_total_time_ms"), "0"),
            (cpu(1, "package_throttle_total_time_ms"), "100"),
            (cpu(1, "core_throttle_count"), "0"),
        ];
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        let (_root, reader) = reader(&files);
        let context = reader.read(0);
        assert_eq!(context.throttle_ns, Some(200_000_000));
        let reasons = context.throttle_reasons.expect("known");
        assert_eq!(
            reasons.iter().map(Name::as_str).collect::<Vec<_>>(),
            ["core-thermal"]
        );
    }

    #[test]
    fn cooling_and_power_limits_are_read_where_they_are() {
        let (_root, reader) = reader(&[
            ("sys/class/thermal/cooling_device0/type", "Processor"),
            ("sys/class/thermal/cooling_device0/cur_state", "2"),
            ("sys/class/thermal/cooling_device0/max_state", "10"),
            ("sys/class/thermal/cooling_device1/type", "Fan"),
            ("sys/class/thermal/cooling_device1/cur_state", "3"),
            ("sys/class/thermal/cooling_device1/max_state", "3"),
            ("sys/class/powercap/intel-rapl:0/name", "package-0"),
            (
                "sys/class/powercap/intel-rapl:0/constraint_0_power_limit_uw",
                "65000000",
            ),
            ("sys/class/powercap/intel-rapl:1/name", "psys"),
            (
                "sys/class/powercap/intel-rapl:1/constraint_0_power_limit_uw",
                "90000000",
            ),
        ]);
        let context = reader.read(0);
        assert_eq!(
            context.thermal_level.as_ref().map(Name::as_str),
            Some("2 of 10")
        );
        assert_eq!(context.power_limit_mw, Some(65_000));
    }

    #[test]
    fn a_server_is_counted_with_what_it_started() {
        let (root, reader) = reader(&[
            ("proc/7/stat", "7 (server (a)) S 1 2 3 4 5 6 7 8 10 0\n"),
            ("proc/7/status", "Name: a\nVmHWM:\t 100 kB\n"),
            ("proc/7/clear_refs", ""),
            ("proc/8/stat", "8 (worker) S 7 2 3 4 5 6 7 8 20 0\n"),
            ("proc/8/status", "VmHWM:\t 30 kB\n"),
            ("proc/8/clear_refs", ""),
            ("proc/9/stat", "9 (other) S 1 2 3 4 5 6 7 8 99 0\n"),
            ("proc/9/status", "VmHWM:\t 999 kB\n"),
            ("proc/vmstat", "pswpin 4\n"),
        ]);
        let server = Processes::Children(vec![7]);
        assert_eq!(reader.paged_bytes_of(&server), Some(34 * 4_096));
        assert!(reader.reset_peak_of(&server));
        assert_eq!(
            fs::read_to_string(root.path().join("proc/8/clear_refs")).expect("written"),
            "5"
        );
        assert_eq!(reader.peak_bytes_of(&server, true), Some(130 * 1_024));
        assert_eq!(reader.peak_bytes_of(&server, false), None);
        for unseen in [Processes::Unknown, Processes::Children(vec![7, 70])] {
            assert_eq!(reader.paged_bytes_of(&unseen), None);
            assert_eq!(reader.peak_bytes_of(&unseen, true), None);
            assert!(!reader.reset_peak_of(&unseen));
        }
    }

    #[test]
    fn an_unreadable_machine_has_no_facts() {
        let (_root, reader) = reader(&[]);
        let context = reader.read(0);
        assert_eq!(
            (context.load_ppm, context.temp_mc, context.power_source),
            (None, None, None)
        );
        assert_eq!(
            (reader.paged_bytes(), reader.peak_bytes(false)),
            (None, None)
        );
        assert!(!reader.reset_peak());
    }
}
