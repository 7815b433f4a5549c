//! What reads the meters while a cell is measured.
//!
//! Lifecycle: [`Sampler::spawn`] once, then `start`, any number of `mark`s and `stop` per cell;
//! dropping it ends its threads. Every meter has a thread of its own, of low priority, so that a
//! slow one delays no other. When it is polled and what is kept: the `poller` room; at a mark (a phase's
//! edge) every meter is read, and the caller waits for those of this machine. Bound:
//! [`Sampler::bound`] readings per meter; when a trace is full, every second reading between marks
//! is dropped, so a long cell keeps its edges and an even trace. A read slower than a quarter of
//! the update period is rejected and repeated, at most three times in all.
//!
//! On a [`VirtualClock`] the same happens in simulated time, without threads
//! ([`Sampler::on_virtual_clock`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use domain::record::{MeterTrace, SamplerCost, UnavailableEnergy, UnavailableReason};
use domain::text::Name;
use rustix::time::{ClockId, clock_gettime};

use super::remote::Along;
use super::{Meter, MeterInfo, Reach};
use crate::clock::{Clock, Listener, VirtualClock};
use poller::{Polled, Poller};
use trace::Trace;

mod poller;
#[cfg(test)]
mod tests;
mod trace;

/// Readings that all traces of one record may hold together.
const TOTAL_READINGS: usize = 4_096;

/// Readings of one trace at most.
const MAX_READINGS: usize = 2_048;

/// Requests that wait for a meter that is being read. More marks than these are one mark.
const WAITING: usize = 4;

/// What the meters gave during one cell.
#[derive(Debug, Default)]
pub struct Sampled {
    /// One trace per meter.
    pub traces: Vec<MeterTrace>,
    /// The last failure of a meter, if one failed.
    pub trouble: Option<UnavailableEnergy>,
    /// What reading took; `None` in simulated time.
    pub cost: Option<SamplerCost>,
}

/// Handle to the meters; without any, every trace is empty.
#[derive(Debug)]
pub struct Sampler {
    clock: Arc<dyn Clock>,
    meters: Vec<Seat>,
    began_ns: AtomicU64,
    along: Along,
}

/// A meter and what reads it.
#[derive(Debug)]
struct Seat {
    info: MeterInfo,
    /// Update period, 0 while it is not known.
    update_ns: Arc<AtomicU64>,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    Thread {
        requests: SyncSender<Request>,
        thread: JoinHandle<()>,
    },
    Virtual {
        simulated: Arc<Simulated>,
        clock: Arc<VirtualClock>,
    },
}

#[derive(Debug)]
enum Request {
    Start { zero_ns: u64, done: SyncSender<()> },
    Mark { done: SyncSender<()> },
    Nudge,
    Probe,
    Stop { done: SyncSender<Done> },
}

/// What one meter gave, and the time its thread took on a processor.
#[derive(Debug)]
struct Done {
    polled: Polled,
    cpu_ns: Option<u64>,
}

/// A meter in simulated time.
#[derive(Debug)]
struct Simulated {
    poller: Mutex<Poller>,
    update_ns: Arc<AtomicU64>,
}

impl Sampler {
    /// Hands every meter to a thread of its own.
    pub fn spawn(meters: Vec<Box<dyn Meter>>, clock: Arc<dyn Clock>) -> Self {
        let bound = Self::bound(meters.len());
        let seats: std::io::Result<Vec<Seat>> = meters
            .into_iter()
            .map(|meter| Seat::on_thread(Poller::new(meter, bound), &clock))
            .collect();
        // All or none, as traces are told apart by their order.
        let meters = seats.unwrap_or_else(|error| {
            tracing::warn!(%error, "no threads for the power meters: measuring without joules");
            Vec::new()
        });
        Self {
            meters,
            clock,
            began_ns: AtomicU64::new(0),
            along: Along::default(),
        }
    }

    /// Reads the meters in simulated time, whenever the clock is moved.
    pub fn on_virtual_clock(meters: Vec<Box<dyn Meter>>, clock: &Arc<VirtualClock>) -> Self {
        let bound = Self::bound(meters.len());
        let seats = meters
            .into_iter()
            .map(|meter| Seat::in_simulation(Poller::new(meter, bound), clock));
        Self {
            meters: seats.collect(),
            clock: clock.clone(),
            began_ns: AtomicU64::new(0),
            along: Along::default(),
        }
    }

    /// Whether there is anything to read.
    pub fn has_meters(&self) -> bool {
        (!self.meters.is_empty() && self.along.here().is_some()) || !self.along.meters().is_empty()
    }

    /// From the next cell on samples these hosts too, and this one only if it is among them.
    pub fn follow(&mut self, along: Along) {
        self.along = along;
    }

    /// The hosts that are sampled along.
    pub fn along(&self) -> &Along {
        &self.along
    }

    /// Most readings of each of `meters` traces.
    pub fn bound(meters: usize) -> usize {
        (TOTAL_READINGS / meters.max(1)).clamp(64, MAX_READINGS)
    }

    /// Begins a cell whose record counts time from `zero_ns` of the clock.
    pub fn start(&self, zero_ns: u64) {
        self.along.start(zero_ns, || {
            self.began_ns.store(self.clock.now_ns(), Ordering::Relaxed);
            self.ask_all(
                |poller, clock| poller.start(zero_ns, clock),
                |requests, done| requests.send(Request::Start { zero_ns, done }).is_ok(),
            );
        });
    }

    /// Reads every meter now, at a phase's edge, and waits for those of this machine.
    pub fn mark(&self) {
        self.along.mark();
        self.ask_all(Poller::mark, |requests, done| {
            // A full queue holds a mark already, and that is read later than now, too.
            requests.try_send(Request::Mark { done }).is_ok()
        });
    }

    /// Has every meter read soon, without waiting for it: where something is timed.
    pub fn nudge(&self) {
        self.tell_all(Poller::nudge, |requests| {
            // With a full queue it is about to be read anyway.
            let _ = requests.try_send(Request::Nudge);
        });
    }

    /// Finds out the update periods that are only assumed or not known, from now on and without
    /// waiting: best under load, as an idle counter may stand still.
    pub fn probe(&self) {
        self.tell_all(Poller::probe, |requests| {
            let _ = requests.send(Request::Probe);
        });
    }

    /// Update period of the slowest of these meters, by their traces' indices; `None` where none
    /// of theirs is known.
    pub fn slowest_update_ns(&self, traces: &[u32]) -> Option<u64> {
        // Where this machine is only the client, the first traces are those of others.
        self.along.here()?;
        let periods = traces
            .iter()
            .filter_map(|at| self.meters.get(*at as usize))
            .map(|meter| meter.update_ns.load(Ordering::Relaxed));
        periods.max().filter(|period| *period > 0)
    }

    /// Ends a cell.
    pub fn stop(&self) -> Sampled {
        self.along.stop(|| self.stop_here())
    }

    fn stop_here(&self) -> Sampled {
        if self.meters.is_empty() {
            return Sampled::default();
        }
        let waiting: Vec<_> = self.meters.iter().map(Seat::begin_to_stop).collect();
        let mut sampled = Sampled::default();
        let (mut reads, mut cpu_ns) = (0, Some(0));
        for (meter, answer) in self.meters.iter().zip(waiting) {
            if let Ok(done) = answer.recv() {
                reads += done.polled.reads;
                cpu_ns = cpu_ns.zip(done.cpu_ns).map(|(sum, more)| sum + more);
                sampled.trouble = done.polled.trouble.or(sampled.trouble);
                sampled.traces.push(done.polled.trace);
            } else {
                let detail = Name::cleaned(&format!("{}: its thread ended", meter.info.device));
                sampled.trouble = Some(UnavailableEnergy {
                    reason: UnavailableReason::Transport,
                    detail,
                });
                // Traces are told apart by their order.
                let nothing = Trace::default().into_record(&meter.info);
                sampled.traces.push(nothing);
            }
        }
        let span_ns = self.clock.now_ns() - self.began_ns.load(Ordering::Relaxed);
        sampled.cost = cpu_ns.map(|cpu_ns| SamplerCost {
            cpu_ns,
            span_ns,
            reads,
        });
        sampled
    }

    /// Has every meter do something, and waits for those of this machine.
    fn ask_all(
        &self,
        simulate: impl Fn(&mut Poller, &dyn Clock),
        send: impl Fn(&SyncSender<Request>, SyncSender<()>) -> bool,
    ) {
        let mut waiting = Vec::new();
        let mut slept_ns = 0;
        for meter in &self.meters {
            match &meter.reader {
                Reader::Thread { requests, .. } => {
                    let (done, answer) = sync_channel(1);
                    if send(requests, done) && meter.info.reach == Reach::Local {
                        waiting.push(answer);
                    }
                }
                Reader::Virtual { simulated, clock } => {
                    let took = simulated.act(clock, &simulate);
                    if meter.info.reach == Reach::Local {
                        slept_ns = took.max(slept_ns);
                    }
                }
            }
        }
        for answer in waiting {
            // A thread that ended is told of by `stop`.
            let _ = answer.recv();
        }
        if slept_ns > 0 {
            self.clock.sleep(Duration::from_nanos(slept_ns));
        }
    }

    /// Has every meter do something, and waits for none.
    fn tell_all(
        &self,
        simulate: impl Fn(&mut Poller, &dyn Clock),
        tell: impl Fn(&SyncSender<Request>),
    ) {
        for meter in &self.meters {
            match &meter.reader {
                Reader::Thread { requests, .. } => tell(requests),
                Reader::Virtual { simulated, clock } => {
                    simulated.act(clock, &simulate);
                }
            }
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // All are told to end before any is waited for.
        let threads: Vec<_> = (self.meters.drain(..))
            .filter_map(|meter| match meter.reader {
                Reader::Thread { thread, .. } => Some(thread),
                Reader::Virtual { .. } => None,
            })
            .collect();
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Seat {
    fn on_thread(poller: Poller, clock: &Arc<dyn Clock>) -> std::io::Result<Self> {
        let (requests, inbox) = sync_channel(WAITING);
        let info = poller.info().clone();
        let update_ns = Arc::new(AtomicU64::new(period_of(&poller)));
        let (clock, shown) = (Arc::clone(clock), Arc::clone(&update_ns));
        let work = move || {
            // Linux gives every thread its own priority; elsewhere the whole process would be
            // slowed down, so it is left alone.
            #[cfg(target_os = "linux")]
            let _ = rustix::process::setpriority_process(None, 10);
            serve(poller, &inbox, clock.as_ref(), &shown);
        };
        let thread = thread::Builder::new()
            .name("meter".to_owned())
            .spawn(work)?;
        Ok(Self {
            info,
            update_ns,
            reader: Reader::Thread { requests, thread },
        })
    }

    fn in_simulation(poller: Poller, clock: &Arc<VirtualClock>) -> Self {
        let update_ns = Arc::new(AtomicU64::new(period_of(&poller)));
        let info = poller.info().clone();
        let simulated = Arc::new(Simulated {
            poller: Mutex::new(poller),
            update_ns: Arc::clone(&update_ns),
        });
        let listener: Arc<dyn Listener> = simulated.clone();
        clock.listen(Arc::downgrade(&listener));
        Self {
            info,
            update_ns,
            reader: Reader::Virtual {
                simulated,
                clock: Arc::clone(clock),
            },
        }
    }

    /// Where its last word of the cell will come.
    fn begin_to_stop(&self) -> Receiver<Done> {
        let (done, answer) = sync_channel(1);
        match &self.reader {
            Reader::Thread { requests, .. } => {
                // Where the thread has ended, the answer's sender is dropped with the request.
                let _ = requests.send(Request::Stop { done });
            }
            Reader::Virtual { simulated, clock } => {
                clock.in_step(|| {
                    let polled = simulated.poller().stop(clock.as_ref());
                    let _ = done.send(Done {
                        polled,
                        cpu_ns: None,
                    });
                });
            }
        }
        answer
    }
}

impl Simulated {
    /// Does something in this meter's own time; how long that took, in nanoseconds.
    fn act(&self, clock: &VirtualClock, work: impl Fn(&mut Poller, &dyn Clock)) -> u64 {
        clock.in_step(|| {
            let mut poller = self.poller();
            work(&mut poller, clock);
            self.update_ns.store(period_of(&poller), Ordering::Relaxed);
        })
    }

    fn poller(&self) -> MutexGuard<'_, Poller> {
        self.poller.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Simulated {
    fn due_ns(&self) -> Option<u64> {
        self.poller().due_ns()
    }

    fn step(&self, clock: &VirtualClock) {
        let mut poller = self.poller();
        poller.poll(clock);
        self.update_ns.store(period_of(&poller), Ordering::Relaxed);
    }
}

/// Update period, 0 if it is not known.
fn period_of(poller: &Poller) -> u64 {
    poller.info().update_ns.unwrap_or(0)
}

/// The work of a meter's thread.
fn serve(mut poller: Poller, inbox: &Receiver<Request>, clock: &dyn Clock, update_ns: &AtomicU64) {
    let mut began_cpu_ns = 0;
    loop {
        let request = match poller.due_ns() {
            Some(due_ns) => {
                let wait = Duration::from_nanos(due_ns.saturating_sub(clock.now_ns()));
                match inbox.recv_timeout(wait) {
                    Ok(request) => Some(request),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            None => match inbox.recv() {
                Ok(request) => Some(request),
                Err(_) => return,
            },
        };
        // An answer that nobody waits for any more is no error.
        match request {
            None => poller.poll(clock),
            Some(Request::Start { zero_ns, done }) => {
                began_cpu_ns = thread_cpu_ns();
                poller.start(zero_ns, clock);
                let _ = done.send(());
            }
            Some(Request::Mark { done }) => {
                poller.mark(clock);
                let _ = done.send(());
            }
            Some(Request::Nudge) => poller.nudge(clock),
            Some(Request::Probe) => poller.probe(clock),
            Some(Request::Stop { done }) => {
                let polled = poller.stop(clock);
                let cpu_ns = Some(thread_cpu_ns() - began_cpu_ns);
                let _ = done.send(Done { polled, cpu_ns });
            }
        }
        update_ns.store(period_of(&poller), Ordering::Relaxed);
    }
}

/// Time that this thread was on a processor.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
