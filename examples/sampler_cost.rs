//! What sampling power takes from the machine that is measured.
//!
//! `cargo run --release --example sampler_cost` does the same arithmetic on all cores in 24 pairs of
//! blocks, with the sampler off and on in alternating order, and prints the ratio of speeds with its
//! 95 % interval and the CPU time of the sampler's threads. It does so with this machine's meters;
//! where there are none, with a powercap tree of its own in a temporary folder, read through the
//! same reader; and with scripted counters of several update periods. Takes about a minute.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use domain::record::Host;
use domain::scope::Scope;
use runner::clock::{Clock, RealClock};
use runner::doctor::measured::{Blocks, SamplerLoad, sampler_cost};
use runner::host;
use runner::meter::scripted::{PowerTimeline, Script};
use runner::meter::wall::MetersFile;
use runner::meter::{self, Meter};

/// Files of a processor's package, and what they say.
const TREE: &str = "\
sys/class/powercap/intel-rapl:0/name package-0
sys/class/powercap/intel-rapl:0/energy_uj 1000000
sys/class/powercap/intel-rapl:0/max_energy_range_uj 262143328850
";

/// Update periods of the scripted counters.
const PERIODS_MS: [u64; 3] = [1, 20, 100];

fn main() -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    let host = host::survey(Path::new("/")).host;
    let threads = host.cpu_cores.max(1) as usize;
    let mut out = std::io::stdout().lock();
    let Blocks { pairs, length } = Blocks::WHOLE;
    writeln!(
        out,
        "{pairs} pairs of {length:?}, arithmetic on {threads} threads"
    )?;
    let mut show = |what: &str, meters: Vec<Box<dyn Meter>>| -> anyhow::Result<()> {
        let load = sampler_cost(meters, &clock, threads, Blocks::WHOLE)
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("failed to measure with {what}"))?;
        writeln!(out, "{}", told(what, &load))?;
        Ok(())
    };

    let own = meter::discover(Path::new("/"), &host, &MetersFile::default()).meters;
    if own.is_empty() {
        let folder = tempfile::tempdir()?;
        let meters = powercap_in(folder.path(), &host)?;
        show(
            "no meter here: the powercap reader on files of our own",
            meters,
        )?;
    } else {
        let names: Vec<String> = own
            .iter()
            .map(|meter| meter.info().device.to_string())
            .collect();
        show(
            &format!("this machine's meters ({})", names.join(", ")),
            own,
        )?;
    }
    for period_ms in PERIODS_MS {
        let timeline = PowerTimeline::idle(50.0);
        let period = Duration::from_millis(period_ms);
        let meter = Script::counter(Scope::CpuPkg, &timeline, period).meter();
        show(
            &format!("a scripted counter of {period_ms} ms"),
            vec![meter],
        )?;
    }
    Ok(())
}

/// The meters of a powercap tree written below `root`.
fn powercap_in(root: &Path, host: &Host) -> anyhow::Result<Vec<Box<dyn Meter>>> {
    for line in TREE.lines() {
        let (path, value) = line.split_once(' ').context("a path and a value")?;
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        std::fs::write(path, value)?;
    }
    Ok(meter::discover(root, host, &MetersFile::default()).meters)
}

fn told(what: &str, load: &SamplerLoad) -> String {
    let speed = load.speed;
    let cpu = match (load.cpu_share(), load.cost) {
        (Some(share), Some(cost)) => format!(
            "{:.3} % of a core in {} reads over {:.1} s",
            share * 100.0,
            cost.reads,
            cost.span_ns as f64 / 1e9
        ),
        _ => "no clock of a thread".to_owned(),
    };
    format!(
        "{what}: speed on / off {:.4} (95 % interval {:.4} to {:.4}, n = {}), sampler {cpu}",
        speed.median, speed.low, speed.high, speed.n
    )
}
