//! What the machine is like right now: load, clocks, heat, power source, memory of the process.
//!
//! Read at phase edges, outside of timed spans. Every fact is optional; what cannot be read is
//! left out. Linux only for now: elsewhere every fact is unknown.

use std::fs;
use std::path::{Path, PathBuf};

use domain::record::Context;
use domain::text::Name;

use crate::engine::Processes;
use crate::host::{meminfo, text_of};

/// Paged bytes above which a repetition is void: memory did not suffice.
pub const MAX_PAGED_BYTES: u64 = 1 << 20;

/// Reads this machine's state under a root that tests replace.
#[derive(Debug, Clone)]
pub struct ContextReader {
    root: PathBuf,
    cores: u32,
    page_bytes: u64,
}

impl ContextReader {
    /// A reader under `root` (`/` outside of tests) of a machine with so many cores.
    pub fn new(root: &Path, cores: u32) -> Self {
        Self {
            root: root.to_owned(),
            cores: cores.max(1),
            page_bytes: page_bytes(root).unwrap_or(4_096),
        }
    }

    /// The machine's state at `at_ns` of the record's clock.
    pub fn read(&self, at_ns: u64) -> Context {
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
            thermal_level: None,
            temp_mc: self.temp_mc(),
            clock_mhz: self.clock_mhz(),
            power_limit_mw: None,
            pstate: None,
            throttle_reasons: None,
            throttle_ns: None,
            foreign_gpu_processes: None,
            load_ppm: self.load_ppm(),
            pressure_ppm: self.pressure_ppm(),
            swap_bytes: self.swap_bytes(),
            driver: None,
            firmware: None,
        }
    }

    /// Processor temperature in thousandths of a degree Celsius: the hottest sensor that names
    /// the processor.
    pub fn temp_mc(&self) -> Option<i64> {
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

    /// Bytes paged in so far: the major faults of the engine's processes and the host's swap-ins.
    /// Unknown where the engine is out of sight.
    pub fn paged_bytes_of(&self, processes: &Processes) -> Option<u64> {
        // The command may hold spaces: fields are counted after its closing parenthesis, where
        // the first is number 3 and the major faults number 12 (proc_pid_stat(5)).
        let faults = |folder: &String| {
            let stat = self.text(&format!("{folder}/stat"))?;
            stat.rsplit_once(')')?
                .1
                .split_whitespace()
                .nth(9)?
                .parse::<u64>()
                .ok()
        };
        let faults: u64 = process_folders(processes)?
            .iter()
            .map(faults)
            .sum::<Option<_>>()?;
        let vmstat = self.text("proc/vmstat")?;
        let swapped: u64 = vmstat
            .lines()
            .find_map(|line| line.strip_prefix("pswpin "))?
            .trim()
            .parse()
            .ok()?;
        Some((faults + swapped) * self.page_bytes)
    }

    /// Forgets the memory peak of the engine's processes, so that the next one is of one
    /// repetition; `false` where the system does not allow it.
    pub fn reset_peak_of(&self, processes: &Processes) -> bool {
        // Writing 5 resets VmHWM (proc_pid_clear_refs(5)).
        let reset =
            |folder: &String| fs::write(self.root.join(folder).join("clear_refs"), "5").is_ok();
        process_folders(processes).is_some_and(|folders| folders.iter().all(reset))
    }

    /// Peak resident memory of the engine's processes since [`Self::reset_peak_of`], if that
    /// worked: the peak of a whole program says nothing of one repetition. Where the engine runs
    /// inside this process, whatever else it does (in a quickstart, collector and site) is in the
    /// figure.
    pub fn peak_bytes_of(&self, processes: &Processes, peak_was_reset: bool) -> Option<u64> {
        if !peak_was_reset {
            return None;
        }
        let peak = |folder: &String| {
            let status = self.text(&format!("{folder}/status"))?;
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
        };
        process_folders(processes)?.iter().map(peak).sum()
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

/// Where the system describes them; `None` for processes out of sight.
fn process_folders(processes: &Processes) -> Option<Vec<String>> {
    match processes {
        Processes::Here => Some(vec!["proc/self".to_owned()]),
        Processes::Children(pids) if !pids.is_empty() => {
            Some(pids.iter().map(|pid| format!("proc/{pid}")).collect())
        }
        Processes::Children(_) | Processes::Unknown => None,
    }
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
        assert_eq!(reader.paged_bytes_of(&Processes::Here), Some(29 * 4_096));
    }

    #[test]
    fn an_engine_in_other_processes_is_read_there() {
        let stat = "9 (server) S 1 2 3 4 5 6 7 8 4 10 11\n";
        let (_root, reader) = reader(&[
            ("proc/9/stat", stat),
            ("proc/10/stat", stat),
            ("proc/9/status", "VmHWM:\t  100 kB\n"),
            ("proc/10/status", "VmHWM:\t  28 kB\n"),
            ("proc/vmstat", "pswpin 2\n"),
        ]);
        let both = Processes::Children(vec![9, 10]);
        assert_eq!(reader.paged_bytes_of(&both), Some(10 * 4_096));
        assert!(reader.reset_peak_of(&both));
        assert_eq!(reader.peak_bytes_of(&both, true), Some(131_072));
        assert_eq!(reader.peak_bytes_of(&both, false), None);
        assert_eq!(reader.paged_bytes_of(&Processes::Unknown), None);
        assert!(!reader.reset_peak_of(&Processes::Unknown));
        let ended = Processes::Children(vec![9, 11]);
        assert_eq!(reader.paged_bytes_of(&ended), None);
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
            (
                reader.paged_bytes_of(&Processes::Here),
                reader.peak_bytes_of(&Processes::Here, true)
            ),
            (None, None)
        );
        assert!(!reader.reset_peak_of(&Processes::Here));
    }
}
