//! When one meter is read, and which of its readings are kept.
//!
//! The same on a thread and in simulated time: [`Poller::due_ns`] says when to read next.
//!
//! - A counter that updates every 5 ms or more is polled until it changes. The reading kept is the
//!   change: between the last read of the old value and the first of the new one, which is its
//!   latency.
//! - A faster one, or one of unknown period, is read at 20 Hz and every reading is kept.
//! - Power is read at 20 Hz or half its period, whichever is slower, and kept when it is new.
//! - A meter behind a network is read no more often than five times a second.

use std::time::Duration;

use domain::energy::TICKED_FROM_NS;
use domain::record::{MeterKind, MeterTrace, UnavailableEnergy, UpdateBasis};
use domain::text::Name;

use super::trace::{Sample, Trace, Worth};
use crate::clock::Clock;
use crate::meter::{Meter, MeterInfo, Reach, ReadError, Reading};

const MS: u64 = 1_000_000;

/// 20 Hz: faster polling of RAPL itself costs run time (arXiv 2604.26815).
const PERIOD_NS: u64 = 50 * MS;

/// Polling of such a counter: a fifth of its period within these.
const TICK_POLLS: u64 = 5;
const SLOWEST_TICK_POLL_NS: u64 = PERIOD_NS;
const FASTEST_TICK_POLL_NS: u64 = 4 * MS;

/// Polling next to an edge, for so many periods after it, and while the period is probed.
const FINE_NS: u64 = 2 * MS;
const FINE_PERIODS: u64 = 2;

/// Polling over a network.
const NETWORK_NS: u64 = 200 * MS;

/// Changes that tell the update period, the least that do so when time is up, and that time.
const PROBE_GAPS: usize = 20;
const LEAST_PROBE_GAPS: usize = 8;
const PROBE_NS: u64 = 30_000 * MS;

/// An unchanged counter is noted every so many periods, so that it can be seen to be stale.
const REPEAT_PERIODS: u64 = 5;

/// How often a slow read is repeated.
const TRIES: u32 = 3;

/// One meter in the cells of a sweep.
#[derive(Debug)]
pub(super) struct Poller {
    meter: Box<dyn Meter>,
    /// As the meter has it, but with the period that was probed.
    info: MeterInfo,
    bound: usize,
    probe: Option<Probe>,
    cell: Option<Cell>,
}

/// What lasts for one cell.
#[derive(Debug, Default)]
struct Cell {
    zero_ns: u64,
    due_ns: u64,
    trace: Trace,
    trouble: Option<UnavailableEnergy>,
    /// The last reading, kept or not.
    last: Option<Reading>,
    /// The last edge.
    edge_ns: u64,
    reads: u64,
}

/// A period that is being found out.
#[derive(Debug)]
struct Probe {
    until_ns: u64,
    /// When the value changed last, in this cell.
    changed_ns: Option<u64>,
    /// From one change to the next, in nanoseconds.
    gaps: Vec<u64>,
}

/// What one meter gave.
#[derive(Debug)]
pub(super) struct Polled {
    pub(super) trace: MeterTrace,
    pub(super) trouble: Option<UnavailableEnergy>,
    pub(super) reads: u64,
}

impl Poller {
    pub(super) fn new(meter: Box<dyn Meter>, bound: usize) -> Self {
        let info = meter.info().clone();
        Self {
            meter,
            info,
            bound,
            probe: None,
            cell: None,
        }
    }

    pub(super) fn info(&self) -> &MeterInfo {
        &self.info
    }

    /// When to read next; `None` between cells.
    pub(super) fn due_ns(&self) -> Option<u64> {
        self.cell.as_ref().map(|cell| cell.due_ns)
    }

    /// Begins a cell with a reading.
    pub(super) fn start(&mut self, zero_ns: u64, clock: &dyn Clock) {
        let now_ns = clock.now_ns();
        self.cell = Some(Cell {
            zero_ns,
            edge_ns: now_ns,
            ..Cell::default()
        });
        if let Some(probe) = &mut self.probe {
            probe.changed_ns = None;
        }
        self.read(Worth::Edge, clock);
    }

    /// Polls once.
    pub(super) fn poll(&mut self, clock: &dyn Clock) {
        self.read(Worth::Plain, clock);
    }

    /// Reads at a phase's edge.
    pub(super) fn mark(&mut self, clock: &dyn Clock) {
        self.read(Worth::Edge, clock);
    }

    /// Reads at an event within a phase.
    pub(super) fn nudge(&mut self, clock: &dyn Clock) {
        self.read(Worth::Near, clock);
    }

    /// Ends a cell with a reading.
    pub(super) fn stop(&mut self, clock: &dyn Clock) -> Polled {
        self.read(Worth::Edge, clock);
        let cell = self.cell.take().unwrap_or_default();
        Polled {
            trace: cell.trace.into_record(&self.info),
            trouble: cell.trouble,
            reads: cell.reads,
        }
    }

    /// Finds out the update period from now on, unless it is known.
    pub(super) fn probe(&mut self, clock: &dyn Clock) {
        let known = self.info.update_basis == UpdateBasis::Probed && self.info.update_ns.is_some();
        if known || self.probe.is_some() {
            return;
        }
        let now_ns = clock.now_ns();
        self.probe = Some(Probe {
            until_ns: now_ns + PROBE_NS,
            changed_ns: None,
            gaps: Vec::new(),
        });
        let soon_ns = now_ns + self.shortest_poll_ns();
        if let Some(cell) = &mut self.cell {
            cell.due_ns = cell.due_ns.min(soon_ns);
        }
    }

    fn read(&mut self, worth: Worth, clock: &dyn Clock) {
        let Some(mut cell) = self.cell.take() else {
            return;
        };
        let read = read_promptly(self.meter.as_mut(), &self.info, clock, &mut cell.reads);
        if worth == Worth::Edge {
            cell.edge_ns = clock.now_ns();
            cell.trace.edge(self.bound);
        }
        match read {
            Ok(reading) => {
                self.keep(&mut cell, &reading, worth);
                self.learn(&cell, &reading);
                cell.last = Some(reading);
            }
            Err(error) => {
                let detail = Name::cleaned(&format!("{}: {error}", self.info.device));
                cell.trouble = Some(UnavailableEnergy {
                    reason: error.reason(),
                    detail,
                });
            }
        }
        let now_ns = clock.now_ns();
        self.end_probe(now_ns);
        cell.due_ns = now_ns + self.poll_ns(&cell, now_ns);
        self.cell = Some(cell);
    }

    /// Keeps what is new, what is at an edge, and now and then what is neither.
    fn keep(&self, cell: &mut Cell, reading: &Reading, worth: Worth) {
        let sample = |after_ns: u64, before_ns: u64, worth| Sample {
            t_ns: before_ns.midpoint(after_ns).saturating_sub(cell.zero_ns),
            latency_ns: after_ns - before_ns,
            source_ns: reading.source_ns.map(|ns| ns.saturating_sub(cell.zero_ns)),
            value: reading.value,
            worth,
        };
        let now = sample(reading.after_ns, reading.before_ns, worth);
        let since = cell.last.as_ref().map(|last| last.before_ns);
        let is_new =
            |last: &Reading| (last.value, last.source_ns) != (reading.value, reading.source_ns);
        let changed = cell.last.as_ref().is_none_or(is_new);
        let near = self
            .info
            .update_ns
            .is_some_and(|period| reading.before_ns < cell.edge_ns + FINE_PERIODS * period);
        let beside = if near { Worth::Near } else { Worth::Plain };
        let age_ns =
            (cell.trace.last()).map_or(u64::MAX, |kept| now.t_ns.saturating_sub(kept.t_ns));
        match since.filter(|_| changed && self.is_ticked()) {
            Some(since) => {
                let change = sample(reading.after_ns, since, beside);
                cell.trace.change(change, self.bound);
                if worth > Worth::Plain {
                    cell.trace.repeat(now, self.bound);
                }
            }
            None if worth > Worth::Plain => cell.trace.repeat(now, self.bound),
            None if changed || self.keeps_all() => cell.trace.change(now, self.bound),
            None if age_ns >= self.repeat_ns() => cell.trace.repeat(now, self.bound),
            None => {}
        }
    }

    fn learn(&mut self, cell: &Cell, reading: &Reading) {
        let Some(probe) = &mut self.probe else {
            return;
        };
        let Some(last) = &cell.last else {
            return;
        };
        if (last.value, last.source_ns) == (reading.value, reading.source_ns) {
            return;
        }
        let at_ns = reading
            .source_ns
            .unwrap_or_else(|| last.before_ns.midpoint(reading.after_ns));
        if let Some(before_ns) = probe.changed_ns.replace(at_ns) {
            probe.gaps.push(at_ns.saturating_sub(before_ns));
        }
    }

    /// Takes the period when enough is known, and gives up when time is up.
    fn end_probe(&mut self, now_ns: u64) {
        let Some(probe) = &self.probe else {
            return;
        };
        let is_late = now_ns >= probe.until_ns;
        let enough = if is_late {
            LEAST_PROBE_GAPS
        } else {
            PROBE_GAPS
        };
        if probe.gaps.len() >= enough {
            if let Some(period) = typical(&probe.gaps, self.shortest_poll_ns()) {
                self.info.update_ns = Some(period);
                self.info.update_basis = UpdateBasis::Probed;
            }
            self.probe = None;
        } else if is_late {
            self.probe = None;
        }
    }

    /// Whether its readings are changes.
    fn is_ticked(&self) -> bool {
        self.info.kind == MeterKind::Counter
            && self
                .info
                .update_ns
                .is_some_and(|period| period >= TICKED_FROM_NS)
    }

    fn keeps_all(&self) -> bool {
        !self.is_ticked() && (self.info.kind == MeterKind::Counter || self.info.update_ns.is_none())
    }

    /// A power that stays the same is noted once a period: a longer silence would be a gap.
    fn repeat_ns(&self) -> u64 {
        let period = self.info.update_ns.unwrap_or(PERIOD_NS);
        if self.is_ticked() {
            REPEAT_PERIODS * period
        } else {
            period
        }
    }

    fn shortest_poll_ns(&self) -> u64 {
        match self.info.reach {
            Reach::Local => FINE_NS,
            Reach::Network => NETWORK_NS,
        }
    }

    fn poll_ns(&self, cell: &Cell, now_ns: u64) -> u64 {
        if self.probe.is_some() {
            return self.shortest_poll_ns();
        }
        let half = self.info.update_ns.map_or(PERIOD_NS, |period| period / 2);
        match self.info.update_ns {
            _ if self.info.reach == Reach::Network => half.max(NETWORK_NS),
            Some(period) if self.is_ticked() => {
                if now_ns < cell.edge_ns + FINE_PERIODS * period {
                    FINE_NS
                } else {
                    (period / TICK_POLLS).clamp(FASTEST_TICK_POLL_NS, SLOWEST_TICK_POLL_NS)
                }
            }
            _ if self.info.kind == MeterKind::Counter => PERIOD_NS,
            _ => half.max(PERIOD_NS),
        }
    }
}

/// The mean of the gaps near their median, as polling rounds every single one; `None` if the value
/// was new at nearly every poll, as the period may then be any shorter one.
fn typical(gaps: &[u64], poll_ns: u64) -> Option<u64> {
    let mut sorted = gaps.to_vec();
    sorted.sort_unstable();
    let median = *sorted.get(sorted.len() / 2)?;
    let near = |gap: &&u64| **gap >= median / 2 && **gap <= median + median / 2;
    let (sum, count) =
        (sorted.iter().filter(near)).fold((0, 0), |(sum, n), gap| (sum + gap, n + 1));
    let mean = sum / u64::max(count, 1);
    (mean >= poll_ns * 2).then_some(mean)
}

/// A reading that took at most a quarter of the update period, as its time is then known well.
fn read_promptly(
    meter: &mut dyn Meter,
    info: &MeterInfo,
    clock: &dyn Clock,
    reads: &mut u64,
) -> Result<Reading, ReadError> {
    let limit = info.update_ns.map(|period| period / 4);
    let mut latency = 0;
    for _ in 0..TRIES {
        *reads += 1;
        let mut reading = meter.read(clock)?;
        // Clocks of two threads may differ by a hair.
        reading.after_ns = reading.after_ns.max(reading.before_ns);
        latency = reading.after_ns - reading.before_ns;
        if limit.is_none_or(|limit| latency <= limit) {
            return Ok(reading);
        }
    }
    let latency = Duration::from_nanos(latency);
    Err(ReadError::Transport(format!(
        "reading took {latency:?}, longer than a quarter of its update period"
    )))
}
