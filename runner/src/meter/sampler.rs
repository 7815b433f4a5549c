//! The thread that owns the meters while a cell is measured.
//!
//! Lifecycle: [`Sampler::spawn`] once, then `start`, any number of `mark`s and `stop` per cell;
//! dropping it ends the thread. It polls at 20 Hz at low priority and reads once more at every
//! mark (a phase's edge). Bound: [`Sampler::bound`] readings per meter; when a trace is full,
//! every second reading between marks is dropped and the polling period doubles, so a long cell
//! keeps its edges and an even trace. A read slower than a quarter of the update period is
//! rejected and repeated, at most three times in all.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use domain::record::{MeterTrace, SamplerCost, UnavailableEnergy};
use domain::text::Name;

use super::remote::Along;
use super::{Meter, ReadError};
use crate::clock::Clock;

/// 20 Hz: faster polling of RAPL itself costs run time (arXiv 2604.26815).
const PERIOD: Duration = Duration::from_millis(50);

/// Readings that all traces of one record may hold together.
const TOTAL_READINGS: usize = 4_096;

/// Readings of one trace at most.
const MAX_READINGS: usize = 2_048;

/// How often a slow read is repeated.
const TRIES: u32 = 3;

/// What the meters gave during one cell.
#[derive(Debug, Default)]
pub struct Sampled {
    /// One trace per meter.
    pub traces: Vec<MeterTrace>,
    /// The last failure of a meter, if one failed.
    pub trouble: Option<UnavailableEnergy>,
    /// What reading took.
    pub cost: Option<SamplerCost>,
}

/// Handle to the sampling thread; without meters there is no thread and every trace is empty.
#[derive(Debug)]
pub struct Sampler {
    /// Update periods of the meters.
    updates_ns: Vec<Option<u64>>,
    requests: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
    along: Along,
}

#[derive(Debug)]
enum Request {
    Start { zero_ns: u64, done: SyncSender<()> },
    Mark { done: SyncSender<()> },
    Nudge,
    Stop { done: SyncSender<Sampled> },
}

impl Sampler {
    /// Hands the meters to a thread of their own.
    pub fn spawn(meters: Vec<Box<dyn Meter>>, clock: Arc<dyn Clock>) -> Self {
        let updates_ns = meters.iter().map(|meter| meter.info().update_ns).collect();
        if meters.is_empty() {
            return Self {
                updates_ns,
                requests: None,
                thread: None,
                along: Along::default(),
            };
        }
        // One request at a time is under way: every caller waits for its answer.
        let (requests, inbox) = sync_channel(1);
        let work = move || {
            // Linux gives every thread its own priority; elsewhere the whole process would be
            // slowed down, so it is left alone.
            #[cfg(target_os = "linux")]
            let _ = rustix::process::setpriority_process(None, 10);
            Sampling::new(meters, clock).serve(&inbox);
        };
        let thread = thread::Builder::new().name("meters".to_owned()).spawn(work);
        match thread {
            Ok(thread) => Self {
                updates_ns,
                requests: Some(requests),
                thread: Some(thread),
                along: Along::default(),
            },
            Err(error) => {
                tracing::warn!(%error, "no thread for the power meters: measuring without joules");
                Self {
                    updates_ns,
                    requests: None,
                    thread: None,
                    along: Along::default(),
                }
            }
        }
    }

    /// Whether there is anything to read.
    pub fn has_meters(&self) -> bool {
        (self.requests.is_some() && self.along.here().is_some()) || !self.along.meters().is_empty()
    }

    /// From the next cell on samples these hosts too, and this one only if it is among them.
    pub fn follow(&mut self, along: Along) {
        self.along = along;
    }

    /// Most readings of each of `meters` traces.
    pub fn bound(meters: usize) -> usize {
        (TOTAL_READINGS / meters.max(1)).clamp(64, MAX_READINGS)
    }

    /// Begins a cell whose record counts time from `zero_ns` of the clock.
    pub fn start(&self, zero_ns: u64) {
        self.along.start(zero_ns, || {
            self.ask(|done| Request::Start { zero_ns, done });
        });
    }

    /// Reads every meter now, at a phase's edge.
    pub fn mark(&self) {
        self.along.mark();
        self.ask(|done| Request::Mark { done });
    }

    /// Has every meter read soon, without waiting for it: where something is timed.
    pub fn nudge(&self) {
        if let Some(requests) = &self.requests {
            // A request under way reads as well.
            let _ = requests.try_send(Request::Nudge);
        }
    }

    /// Update period of the slowest of these meters, by their traces' indices; `None` where none
    /// of theirs is known.
    pub fn slowest_update_ns(&self, traces: &[u32]) -> Option<u64> {
        let known = traces
            .iter()
            .filter_map(|at| *self.updates_ns.get(*at as usize)?);
        known.max()
    }

    /// Ends a cell.
    pub fn stop(&self) -> Sampled {
        self.along
            .stop(|| self.ask(|done| Request::Stop { done }).unwrap_or_default())
    }

    fn ask<T>(&self, request: impl FnOnce(SyncSender<T>) -> Request) -> Option<T> {
        let (done, answer) = sync_channel(1);
        self.requests.as_ref()?.send(request(done)).ok()?;
        answer.recv().ok()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// State of the thread.
struct Sampling {
    meters: Vec<Box<dyn Meter>>,
    clock: Arc<dyn Clock>,
    zero_ns: u64,
    traces: Vec<Trace>,
    trouble: Option<UnavailableEnergy>,
    period: Duration,
    bound: usize,
}

/// Readings of one meter; `edge` marks those that are never dropped.
#[derive(Default)]
struct Trace {
    readings: Vec<Sample>,
}

#[derive(Clone, Copy)]
struct Sample {
    t_ns: u64,
    latency_ns: u64,
    source_ns: Option<u64>,
    value: u64,
    edge: bool,
}

impl Sampling {
    fn new(meters: Vec<Box<dyn Meter>>, clock: Arc<dyn Clock>) -> Self {
        let bound = Sampler::bound(meters.len());
        Self {
            meters,
            clock,
            zero_ns: 0,
            traces: Vec::new(),
            trouble: None,
            period: PERIOD,
            bound,
        }
    }

    fn serve(mut self, inbox: &Receiver<Request>) {
        let mut polling = false;
        loop {
            let request = if polling {
                match inbox.recv_timeout(self.period) {
                    Ok(request) => request,
                    Err(RecvTimeoutError::Timeout) => {
                        self.sample(false);
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            } else {
                match inbox.recv() {
                    Ok(request) => request,
                    Err(_) => return,
                }
            };
            // An answer that nobody waits for any more is no error.
            match request {
                Request::Start { zero_ns, done } => {
                    self.begin(zero_ns);
                    polling = true;
                    let _ = done.send(());
                }
                Request::Mark { done } => {
                    self.sample(true);
                    let _ = done.send(());
                }
                Request::Nudge => self.sample(false),
                Request::Stop { done } => {
                    self.sample(true);
                    polling = false;
                    let _ = done.send(self.finish());
                }
            }
        }
    }

    fn begin(&mut self, zero_ns: u64) {
        self.zero_ns = zero_ns;
        self.traces = self.meters.iter().map(|_| Trace::default()).collect();
        self.trouble = None;
        self.period = PERIOD;
        self.sample(true);
    }

    fn sample(&mut self, edge: bool) {
        let mut full = false;
        for (meter, trace) in self.meters.iter_mut().zip(&mut self.traces) {
            match read_promptly(meter.as_mut(), self.clock.as_ref()) {
                Ok((before_ns, after_ns, source_ns, value)) => {
                    let middle = before_ns + (after_ns - before_ns) / 2;
                    trace.readings.push(Sample {
                        t_ns: middle.saturating_sub(self.zero_ns),
                        latency_ns: after_ns - before_ns,
                        source_ns,
                        value,
                        edge,
                    });
                }
                Err(error) => {
                    let detail = Name::cleaned(&format!("{}: {error}", meter.info().device));
                    self.trouble = Some(UnavailableEnergy {
                        reason: error.reason(),
                        detail,
                    });
                }
            }
            full |= trace.readings.len() >= self.bound;
        }
        if full {
            self.thin();
        }
    }

    /// Keeps every edge and every second of the other readings.
    fn thin(&mut self) {
        for trace in &mut self.traces {
            let mut keep = false;
            trace.readings.retain(|sample| {
                keep = !keep;
                sample.edge || keep
            });
        }
        self.period *= 2;
    }

    fn finish(&mut self) -> Sampled {
        let traces = self.meters.iter().zip(self.traces.drain(..));
        let traces = traces
            .map(|(meter, trace)| trace.into_record(meter.as_ref(), self.bound))
            .collect();
        Sampled {
            traces,
            trouble: self.trouble.take(),
            cost: None,
        }
    }
}

impl Trace {
    fn into_record(mut self, meter: &dyn Meter, bound: usize) -> MeterTrace {
        // Edges alone can fill a trace only in a cell of more phases than measuring makes.
        self.readings.truncate(bound);
        let info = meter.info();
        let source: Option<Vec<u64>> = self
            .readings
            .iter()
            .map(|sample| sample.source_ns)
            .collect();
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
            t_ns: self.readings.iter().map(|sample| sample.t_ns).collect(),
            latency_ns: self
                .readings
                .iter()
                .map(|sample| sample.latency_ns)
                .collect(),
            source_t_ns: source.filter(|stamps| !stamps.is_empty()),
            v: self.readings.iter().map(|sample| sample.value).collect(),
        }
    }
}

type Stamped = (u64, u64, Option<u64>, u64);

/// A reading that took at most a quarter of the update period, as its time is then known well.
fn read_promptly(meter: &mut dyn Meter, clock: &dyn Clock) -> Result<Stamped, ReadError> {
    let limit = meter.info().update_ns.map(|period| period / 4);
    let mut latency = 0;
    for _ in 0..TRIES {
        let reading = meter.read(clock)?;
        latency = reading.after_ns.saturating_sub(reading.before_ns);
        if limit.is_none_or(|limit| latency <= limit) {
            return Ok((
                reading.before_ns,
                reading.after_ns,
                reading.source_ns,
                reading.value,
            ));
        }
    }
    Err(ReadError::Transport(format!(
        "reading took {latency} ns, longer than a quarter of its update period"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::VirtualClock;
    use crate::meter::scripted::ScriptedMeter;
    use domain::record::UnavailableReason;
    use domain::scope::Scope;

    fn sampling(meters: Vec<Box<dyn Meter>>) -> (Arc<VirtualClock>, Sampling) {
        let clock = Arc::new(VirtualClock::default());
        (Arc::clone(&clock), Sampling::new(meters, clock))
    }

    #[test]
    fn marks_are_readings_on_the_record_clock() {
        let clock = Arc::new(VirtualClock::default());
        clock.advance(Duration::from_secs(5));
        let sampler = Sampler::spawn(
            vec![Box::new(ScriptedMeter::steady(Scope::CpuPkg, 10))],
            clock.clone(),
        );
        sampler.start(clock.now_ns());
        clock.advance(Duration::from_secs(2));
        sampler.mark();
        let sampled = sampler.stop();
        let trace = &sampled.traces[0];
        let at_two_seconds = trace
            .t_ns
            .iter()
            .position(|t| *t == 2_000_000_000)
            .expect("the mark");
        assert_eq!(
            trace.v[at_two_seconds] - trace.v[0],
            20_000_000,
            "10 W for 2 s"
        );
        assert_eq!(trace.t_ns[0], 0);
        assert!(sampled.trouble.is_none());
    }

    #[test]
    fn a_full_trace_keeps_its_edges_and_its_bound() {
        let (clock, mut sampling) =
            sampling(vec![Box::new(ScriptedMeter::steady(Scope::CpuPkg, 1))]);
        sampling.begin(0);
        for n in 0..20_000 {
            clock.advance(Duration::from_millis(1));
            sampling.sample(n % 1_000 == 0);
        }
        let sampled = sampling.finish();
        let trace = &sampled.traces[0];
        assert!(trace.v.len() <= Sampler::bound(1), "{}", trace.v.len());
        for edge in 0..20 {
            let at = (edge * 1_000 + 1) * 1_000_000;
            assert!(trace.t_ns.contains(&at), "edge at {at} ns");
        }
        assert!(trace.t_ns.is_sorted());
    }

    #[test]
    fn a_failing_meter_is_told_and_spoils_no_other() {
        let failing = ScriptedMeter::counter(Scope::CpuDram, |_| Err(ReadError::NotSupported));
        let (_clock, mut sampling) = sampling(vec![
            Box::new(ScriptedMeter::steady(Scope::CpuPkg, 1)),
            Box::new(failing),
        ]);
        sampling.begin(0);
        sampling.sample(true);
        let sampled = sampling.finish();
        assert_eq!(
            (sampled.traces[0].v.len(), sampled.traces[1].v.len()),
            (2, 0)
        );
        assert_eq!(
            sampled.trouble.map(|why| why.reason),
            Some(UnavailableReason::NotSupported)
        );
    }

    #[test]
    fn a_slow_reading_is_rejected() {
        let clock = Arc::new(VirtualClock::default());
        let slow = Arc::clone(&clock);
        let meter = ScriptedMeter::counter(Scope::CpuPkg, move |_| {
            slow.advance(Duration::from_millis(1));
            Ok(1)
        });
        let mut sampling = Sampling::new(vec![Box::new(meter)], clock);
        sampling.begin(0);
        let sampled = sampling.finish();
        assert!(sampled.traces[0].v.is_empty());
        assert!(sampled.trouble.is_some());
    }

    #[test]
    fn without_meters_nothing_is_sampled() {
        let sampler = Sampler::spawn(Vec::new(), Arc::new(VirtualClock::default()));
        sampler.start(0);
        sampler.mark();
        assert!(!sampler.has_meters() && sampler.stop().traces.is_empty());
    }
}
