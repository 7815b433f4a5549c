//! `joulemark meter watch`: every meter of this machine, live.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use domain::record::{Host, UnavailableReason};
use domain::text::Name;
use runner::clock::{Clock, RealClock};
use runner::meter::replay::{FORMAT, Header, MeterFacts, Recorder};
use runner::meter::watch::{Gauge, polling_period};
use runner::meter::{Meter, Meters, ReadError, Reading};
use serde_json::{Value, json};

use super::{here, tell_what_is_missing};
use crate::cli::{Format, Lines, MeterWatch};
use crate::config::Config;
use crate::exit::{Exit, OrExit as _, Outcome};
use crate::output::{self, Report};
use crate::verbs::interrupted;

/// How often what is seen is shown.
const SHOWN: Duration = Duration::from_secs(1);

/// Readings that may wait to be shown; a meter that is faster than that waits itself.
const WAITING: usize = 1_024;

/// Watches until Ctrl-C, or for the seconds that were asked.
pub(crate) async fn run(args: MeterWatch, config: Config) -> Outcome {
    let (host, meters) = here(&config)?;
    tell_what_is_missing(&meters);
    if let Some(why) = &meters.unavailable {
        if args.format == Lines::Json {
            let line = json!({"meters": [], "unavailable": why});
            output::line(&line.to_string()).or_infrastructure()?;
        } else {
            output::line(why.detail.as_str()).or_infrastructure()?;
        }
        return Ok(Exit::Fine);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    let mut watching = tokio::task::spawn_blocking(move || watch(&args, host, meters, &stopping));
    tokio::select! {
        ended = &mut watching => return ended.or_infrastructure()?,
        signalled = interrupted() => signalled?,
    }
    stop.store(true, Ordering::Relaxed);
    watching.await.or_infrastructure()?
}

/// A reading of the meter of this number.
type Read = (usize, u64, Result<Reading, ReadError>);

fn watch(args: &MeterWatch, host: Host, meters: Meters, stop: &Arc<AtomicBool>) -> Outcome {
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    let facts = MeterFacts::of(meters.meters.iter().map(|meter| meter.info()));
    let header = Header {
        format: FORMAT.to_owned(),
        program: Name::cleaned(concat!("joulemark ", env!("CARGO_PKG_VERSION"))),
        started_ms: clock.unix_ms(),
        host,
    };
    let mut recorder = match &args.record {
        None => None,
        Some(file) => Some(
            Recorder::create(file, &header, &facts)
                .with_context(|| format!("failed to record to {}: name a new file", file.display()))
                .or_usage()?,
        ),
    };
    let mut gauges: Vec<Gauge> = facts.into_iter().map(Gauge::new).collect();
    let zero_ns = clock.now_ns();
    let (readings, inbox) = sync_channel::<Read>(WAITING);
    for (number, meter) in meters.meters.into_iter().enumerate() {
        poll(number, meter, &clock, readings.clone(), stop).or_infrastructure()?;
    }
    drop(readings);

    let mut screen = Screen::new(args.format);
    let end_ns = args.seconds.map(|seconds| zero_ns + (seconds * 1e9) as u64);
    let mut shown = Instant::now();
    loop {
        let now_ns = clock.now_ns();
        if stop.load(Ordering::Relaxed) || end_ns.is_some_and(|end| now_ns >= end) {
            break;
        }
        match inbox.recv_timeout(SHOWN.saturating_sub(shown.elapsed())) {
            Ok((number, at_ns, read)) => {
                let t_ns = at_ns.saturating_sub(zero_ns);
                let fits = take(&mut gauges[number], zero_ns, t_ns, read, recorder.as_mut());
                if !fits.context("failed to record").or_infrastructure()? {
                    output::say("the recording is as long as a trace may be: it ends here");
                    recorder = None;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Every meter's thread is gone.
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if shown.elapsed() >= SHOWN {
            shown = Instant::now();
            if let Some(recorder) = &mut recorder {
                recorder
                    .flush()
                    .context("failed to record")
                    .or_infrastructure()?;
            }
            let now_ns = clock.now_ns().saturating_sub(zero_ns);
            screen.show(&gauges, now_ns).or_infrastructure()?;
        }
    }
    stop.store(true, Ordering::Relaxed);
    if let Some(recorder) = &mut recorder {
        recorder
            .flush()
            .context("failed to record")
            .or_infrastructure()?;
    }
    let now_ns = clock.now_ns().saturating_sub(zero_ns);
    screen.end(&gauges, now_ns).or_infrastructure()?;
    Ok(Exit::Fine)
}

/// Reads one meter on a thread of its own, so that a slow one holds up no other.
fn poll(
    number: usize,
    mut meter: Box<dyn Meter>,
    clock: &Arc<dyn Clock>,
    readings: SyncSender<Read>,
    stop: &Arc<AtomicBool>,
) -> io::Result<()> {
    let (clock, stop) = (Arc::clone(clock), Arc::clone(stop));
    let period = polling_period(meter.info());
    thread::Builder::new().spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let read = meter.read(clock.as_ref());
            if readings.send((number, clock.now_ns(), read)).is_err() {
                return;
            }
            thread::sleep(period);
        }
    })?;
    Ok(())
}

/// False once the recording is full.
fn take(
    gauge: &mut Gauge,
    zero_ns: u64,
    t_ns: u64,
    read: Result<Reading, ReadError>,
    recorder: Option<&mut Recorder>,
) -> io::Result<bool> {
    match read {
        Ok(reading) => {
            let kept = gauge.take(&reading, zero_ns);
            match (kept, recorder) {
                (Some(stamped), Some(recorder)) => recorder.reading(gauge.facts(), &stamped),
                _ => Ok(true),
            }
        }
        Err(error) => {
            let is_new = gauge.trouble() != Some(&error);
            let fits = match recorder.filter(|_| is_new) {
                Some(recorder) => recorder.failure(gauge.facts(), t_ns, &error),
                None => Ok(true),
            };
            gauge.fail(error);
            fits
        }
    }
}

/// Where it is shown.
struct Screen {
    lines: Lines,
    is_terminal: bool,
    /// Lines of the table on the terminal, which the next one is drawn over.
    drawn: usize,
}

impl Screen {
    fn new(lines: Lines) -> Self {
        Self {
            lines,
            is_terminal: io::stdout().is_terminal(),
            drawn: 0,
        }
    }

    fn show(&mut self, gauges: &[Gauge], now_ns: u64) -> io::Result<()> {
        match self.lines {
            Lines::Json => output::line(&as_json("reading", gauges, now_ns).to_string()),
            Lines::Human if self.is_terminal => {
                let table = table(gauges, now_ns).text(Format::Human);
                output::redraw(self.drawn, &table)?;
                self.drawn = table.lines().count();
                Ok(())
            }
            Lines::Human => output::line(&plain(gauges, now_ns)),
        }
    }

    fn end(&mut self, gauges: &[Gauge], now_ns: u64) -> io::Result<()> {
        match self.lines {
            Lines::Json => output::line(&as_json("total", gauges, now_ns).to_string()),
            Lines::Human => output::redraw(self.drawn, &table(gauges, now_ns).text(Format::Human)),
        }
    }
}

fn plain(gauges: &[Gauge], now_ns: u64) -> String {
    let each = gauges.iter().map(|gauge| {
        let [watts, joules] = numbers(gauge);
        format!("{} {watts} W, {joules} J", gauge.facts().id)
    });
    let each: Vec<_> = each.collect();
    format!("{:.0} s: {}", now_ns as f64 / 1e9, each.join("; "))
}

fn table(gauges: &[Gauge], now_ns: u64) -> Report {
    let row = |gauge: &Gauge| {
        let [watts, joules] = numbers(gauge);
        let facts = gauge.facts();
        vec![
            facts.scope.to_string(),
            facts.id.to_string(),
            watts,
            joules,
            gauge
                .seen_update_ns()
                .map_or_else(|| "—".to_owned(), period),
            gauge.age_ns(now_ns).map_or_else(|| "—".to_owned(), period),
            gauge
                .trouble()
                .map_or_else(String::new, |error| format!("failed to {error}")),
        ]
    };
    Report {
        header: vec![
            "scope",
            "meter",
            "W now",
            "J since start",
            "update",
            "unchanged",
            "note",
        ],
        rows: gauges.iter().map(row).collect(),
        json: Value::Null,
        notes: Vec::new(),
    }
}

/// Watts and joules, or in few words why there are none.
fn numbers(gauge: &Gauge) -> [String; 2] {
    let none = |why: UnavailableReason| match why {
        UnavailableReason::BelowResolution => "(below resolution)".to_owned(),
        other => format!("({})", other.in_words()),
    };
    [
        gauge
            .watts()
            .map_or_else(none, |watts| format!("{:.2}", watts.0)),
        gauge
            .total()
            .map_or_else(none, |total| format!("{:.2}", total.joules.0)),
    ]
}

fn as_json(event: &str, gauges: &[Gauge], now_ns: u64) -> Value {
    let each = gauges.iter().map(|gauge| {
        let facts = gauge.facts();
        let (watts, total) = (gauge.watts(), gauge.total());
        json!({
            "meter": facts.id,
            "device": facts.device,
            "scope": facts.scope,
            "watts": watts.ok().map(|watts| watts.0),
            "watts_unavailable": watts.err(),
            "energy_joules": total.ok().map(|total| total.joules.0),
            "energy_seconds": total.ok().map(|total| total.seconds),
            "energy_unavailable": total.err(),
            "seen_update_ns": gauge.seen_update_ns(),
            "unchanged_ns": gauge.age_ns(now_ns),
            "trouble": gauge.trouble().map(|error| format!("failed to {error}")),
        })
    });
    json!({
        "event": event,
        "t_ns": now_ns,
        "meters": each.collect::<Vec<_>>(),
    })
}

/// A short duration.
pub(super) fn period(ns: u64) -> String {
    if ns < 10_000_000_000 {
        format!("{:.0} ms", ns as f64 / 1e6)
    } else {
        format!("{:.0} s", ns as f64 / 1e9)
    }
}
