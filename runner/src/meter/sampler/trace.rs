//! The readings of one meter in one cell, within a bound.
//!
//! Readings of one value follow each other in a *run*, whose first tells when the value changed. A
//! run is dropped whole or keeps its first, as the others alone would look like a change of their
//! own time.

use domain::record::MeterTrace;

use crate::meter::MeterInfo;

/// How much a reading is worth keeping, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    /// Between phases' edges.
    Plain,
    /// Next to an edge, or at an event within a phase.
    Near,
    /// At an edge.
    Edge,
}

/// One reading on the record's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) t_ns: u64,
    pub(super) latency_ns: u64,
    pub(super) source_ns: Option<u64>,
    pub(super) value: u64,
    pub(super) worth: Worth,
}

impl Sample {
    /// The device has said nothing new since.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        (self.value, self.source_ns) == (other.value, other.source_ns)
    }
}

/// Readings within a bound.
#[derive(Debug, Default)]
pub(super) struct Trace {
    samples: Vec<Sample>,
    /// The last change that was left out, as it came too soon after another.
    left_out: Option<Sample>,
    /// Least time between plain changes; 0 until the trace was full once.
    spacing_ns: u64,
}

impl Trace {
    /// The last reading that was kept, or a change that was left out after it.
    pub(super) fn last(&self) -> Option<&Sample> {
        self.left_out.as_ref().or(self.samples.last())
    }

    /// Takes a change, unless it is a plain one too soon after another.
    pub(super) fn change(&mut self, sample: Sample, bound: usize) {
        let since =
            (self.samples.last()).map_or(u64::MAX, |last| sample.t_ns.saturating_sub(last.t_ns));
        if sample.worth == Worth::Plain && since < self.spacing_ns {
            self.left_out = Some(sample);
        } else {
            self.left_out = None;
            self.push(sample, bound);
        }
    }

    /// Takes a reading of the value that was shown last.
    pub(super) fn repeat(&mut self, sample: Sample, bound: usize) {
        if let Some(change) = self.left_out.take() {
            self.push(change, bound);
        }
        self.push(sample, bound);
    }

    /// An edge is here: the last change before it is worth keeping.
    pub(super) fn edge(&mut self, bound: usize) {
        if let Some(change) = self.left_out.take() {
            self.push(change, bound);
        }
        if let Some(last) = self.samples.last_mut() {
            last.worth = last.worth.max(Worth::Near);
        }
    }

    fn push(&mut self, sample: Sample, bound: usize) {
        self.samples.push(sample);
        if self.samples.len() >= bound {
            self.thin(bound / 4 * 3);
        }
    }

    /// Drops every second run of little worth, then of more, until few enough are left.
    fn thin(&mut self, few: usize) {
        for worth in [Worth::Plain, Worth::Near, Worth::Edge] {
            let mut before = usize::MAX;
            while self.samples.len() > few && self.samples.len() < before {
                before = self.samples.len();
                self.drop_runs(worth);
            }
        }
        let span = match (self.samples.first(), self.samples.last()) {
            (Some(first), Some(last)) => last.t_ns - first.t_ns,
            _ => 0,
        };
        self.spacing_ns = span / self.samples.len().max(1) as u64;
    }

    /// Drops every second run none of whose readings is worth more than `worth`; of the others,
    /// all but the first, the last and those that are worth more.
    fn drop_runs(&mut self, worth: Worth) {
        let mut kept: Vec<Sample> = Vec::with_capacity(self.samples.len());
        let mut keep = false;
        for run in self.samples.chunk_by(Sample::says_the_same) {
            if run.iter().all(|sample| sample.worth <= worth) {
                keep = !keep;
                if !keep {
                    continue;
                }
            }
            let last = run.len() - 1;
            let inner = run.iter().enumerate().filter(|(at, sample)| {
                *at == 0 || (*at == last && worth == Worth::Plain) || sample.worth > worth
            });
            kept.extend(inner.map(|(_, sample)| sample));
        }
        self.samples = kept;
    }

    /// As a record has it.
    pub(super) fn into_record(self, info: &MeterInfo) -> MeterTrace {
        let column = |of: fn(&Sample) -> u64| self.samples.iter().map(of).collect::<Vec<u64>>();
        let source: Option<Vec<u64>> = self.samples.iter().map(|sample| sample.source_ns).collect();
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
            t_ns: column(|sample| sample.t_ns),
            latency_ns: column(|sample| sample.latency_ns),
            source_t_ns: source.filter(|stamps| !stamps.is_empty()),
            v: column(|sample| sample.value),
        }
    }
}
