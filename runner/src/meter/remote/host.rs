//! The leader's side: one thread per host, which asks and never holds up what is measured.
//!
//! Lifecycle: [`Along::of`] once per cell, then `start`, any number of `mark`s and `stop`; dropping a
//! [`Remote`] gives its session up. Starting and stopping wait for the host, at most some seconds;
//! a mark is sent along and not waited for. A host that does not answer gives no trace and the
//! reason `transport`: nothing of what the others read is touched.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use domain::matrix::{HERE, MachineHost, Machines};
use domain::record::{MeterTrace, UnavailableEnergy, UnavailableReason};
use domain::text::Name;
use reqwest::Method;
use reqwest::blocking::Client;
use reqwest::redirect::Policy;
use serde::de::DeserializeOwned;

use super::{ClockNow, Info, Marked, Opened, PINGS, PROTOCOL, Problem, Stopped};
use crate::clock::Clock;
use crate::meter::replay::MeterFacts;
use crate::meter::sampler::Sampled;

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Longest answer: the traces of a session.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// How often a stop is tried.
const STOPS: u32 = 3;

/// Marks that may wait to be sent; what is beyond is left out, and costs precision at an edge.
const WAITING: usize = 64;

/// A session that nothing is asked of is kept alive so often.
const KEEP: Duration = Duration::from_mins(1);

/// Most traces and readings that a host may answer.
const MAX_TRACES: usize = 64;
const MAX_READINGS: usize = 16_384;

/// Two clocks may drift apart by so much, in millionths; beyond, one of them is not to be believed.
const MAX_DRIFT_PPM: u64 = 1_000;

/// A host whose meters are sampled along.
#[derive(Debug)]
struct Remote {
    host: u32,
    requests: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Request {
    Meters { done: SyncSender<Vec<MeterFacts>> },
    Start { zero_ns: u64, done: SyncSender<()> },
    Mark,
    Stop { done: SyncSender<Sampled> },
}

/// The machines that are sampled besides this one's own meters, and whether this one counts.
///
/// It stands beside the sampler of this machine, which asks it at every edge.
#[derive(Debug)]
pub struct Along {
    /// This machine's number in the record; `None` where it is only the client.
    here: Option<u32>,
    remotes: Vec<Remote>,
    meters: Vec<(u32, MeterFacts)>,
}

impl Default for Along {
    /// This machine alone.
    fn default() -> Self {
        Self {
            here: Some(0),
            remotes: Vec::new(),
            meters: Vec::new(),
        }
    }
}

impl Along {
    /// The hosts of an engine that name their `joulemark meter serve`, and this machine if it is
    /// one of them. `clock` is the record's.
    pub fn of(machines: Option<&Machines>, clock: &Arc<dyn Clock>) -> Self {
        let Some(machines) = machines else {
            return Self::default();
        };
        let numbered = || (0..).zip(&machines.hosts);
        // A host that serves its meters is read there, even if it is this one.
        let is_here = |host: &MachineHost| host.survey == HERE && host.meter.is_none();
        let here = numbered().find(|(_, host)| is_here(host));
        let remotes: Vec<_> = numbered()
            .filter_map(|(number, host)| {
                let address = host.meter.clone()?;
                let token_file = host.meter_token_file.clone();
                let clock = Arc::clone(clock);
                Some(Remote::connect(number, address, token_file, clock))
            })
            .collect();
        let asked: Vec<_> = remotes.iter().map(|one| (one.host, one.meters())).collect();
        Self {
            here: here.map(|(number, _)| number),
            meters: asked
                .into_iter()
                .flat_map(|(host, answer)| {
                    let facts = answer.recv().unwrap_or_default();
                    facts.into_iter().map(move |facts| (host, facts))
                })
                .collect(),
            remotes,
        }
    }

    /// This machine's number in the record, if its own readings belong into it.
    pub fn here(&self) -> Option<u32> {
        self.here
    }

    /// What the other hosts' meters are, of those that answered at first: each with its host's
    /// number, in the order of their traces.
    pub fn meters(&self) -> &[(u32, MeterFacts)] {
        &self.meters
    }

    /// Begins a cell on every host, while `own` begins it here.
    pub fn start(&self, zero_ns: u64, own: impl FnOnce()) {
        let begun: Vec<_> = self.remotes.iter().map(|one| one.start(zero_ns)).collect();
        own();
        for answer in begun {
            // A thread that is gone has said so in the log, and its host gives no trace.
            let _ = answer.recv();
        }
    }

    /// Has every host read, without waiting for it.
    pub fn mark(&self) {
        self.remotes.iter().for_each(Remote::mark);
    }

    /// Ends a cell on every host, while `own` ends it here; all traces with their hosts' numbers.
    pub fn stop(&self, own: impl FnOnce() -> Sampled) -> Sampled {
        let ending: Vec<_> = self.remotes.iter().map(Remote::stop).collect();
        let mut sampled = own();
        match self.here {
            Some(here) => sampled.traces.iter_mut().for_each(|one| one.host = here),
            None => sampled = Sampled::default(),
        }
        for answer in ending {
            let other = answer.recv().unwrap_or_default();
            // A host without any reading is why there is no total, whatever else went wrong.
            let is_silent = other.traces.is_empty();
            if is_silent || sampled.trouble.is_none() {
                sampled.trouble = other.trouble.or(sampled.trouble);
            }
            sampled.traces.extend(other.traces);
        }
        sampled
    }
}

impl Remote {
    /// Makes ready to ask the host of this number in the record.
    fn connect(
        host: u32,
        address: String,
        token_file: Option<String>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (requests, inbox) = sync_channel(WAITING);
        let work = move || {
            let mut worker = Worker {
                host,
                wire: Wire::new(&address, token_file.as_deref()),
                clock,
                session: None,
                trouble: None,
            };
            worker.serve(&inbox);
        };
        let thread = thread::Builder::new().name(format!("meters of host {host}"));
        match thread.spawn(work) {
            Ok(thread) => Self {
                host,
                requests: Some(requests),
                thread: Some(thread),
            },
            Err(error) => {
                tracing::warn!(%error, host, "no thread for the meters of another host");
                Self {
                    host,
                    requests: None,
                    thread: None,
                }
            }
        }
    }

    /// What its meters are; none if it does not answer.
    fn meters(&self) -> Receiver<Vec<MeterFacts>> {
        let (done, answer) = sync_channel(1);
        self.send(Request::Meters { done });
        answer
    }

    /// Begins a cell whose record counts time from `zero_ns` of the record's clock. Whoever waits
    /// for the answer knows that the host samples, or that it cannot.
    fn start(&self, zero_ns: u64) -> Receiver<()> {
        let (done, answer) = sync_channel(1);
        self.send(Request::Start { zero_ns, done });
        answer
    }

    /// Has every meter read, soon.
    fn mark(&self) {
        if let Some(requests) = &self.requests {
            let _ = requests.try_send(Request::Mark);
        }
    }

    /// Ends a cell; the answer holds the traces on the record's clock, or why there are none.
    fn stop(&self) -> Receiver<Sampled> {
        let (done, answer) = sync_channel(1);
        self.send(Request::Stop { done });
        answer
    }

    fn send(&self, request: Request) {
        // A thread that is gone drops the request, and with it the sender of its answer.
        if let Some(requests) = &self.requests {
            let _ = requests.send(request);
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// State of the thread.
struct Worker {
    host: u32,
    wire: Result<Wire, String>,
    clock: Arc<dyn Clock>,
    session: Option<Session>,
    trouble: Option<UnavailableEnergy>,
}

/// A session on the host.
struct Session {
    id: String,
    /// Time zero of the record, on the leader's clock.
    zero_ns: u64,
    at_start: Offset,
}

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "a name ends in its unit")]
struct Offset {
    leader_ns: u64,
    host_ns: u64,
    round_trip_ns: u64,
}

impl Worker {
    fn serve(&mut self, inbox: &Receiver<Request>) {
        loop {
            let request = match inbox.recv_timeout(KEEP) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => {
                    if let (Ok(wire), Some(session)) = (&self.wire, &self.session) {
                        let path = format!("v1/sessions/{}", session.id);
                        let _ = wire.ask::<Opened>(Method::GET, &path);
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            // An answer that nobody waits for any more is no error.
            match request {
                Request::Meters { done } => {
                    let _ = done.send(self.info().map(|info| info.meters).unwrap_or_default());
                }
                Request::Start { zero_ns, done } => {
                    self.trouble = None;
                    match self.begin(zero_ns) {
                        Ok(session) => self.session = Some(session),
                        Err(what) => self.note(UnavailableReason::Transport, &what),
                    }
                    let _ = done.send(());
                }
                Request::Mark => {
                    if let (Ok(wire), Some(session)) = (&self.wire, &self.session) {
                        let path = format!("v1/sessions/{}/mark", session.id);
                        if let Err(what) = wire.ask::<Marked>(Method::POST, &path) {
                            tracing::debug!(host = self.host, what, "a mark was not taken");
                        }
                    }
                }
                Request::Stop { done } => {
                    let _ = done.send(self.end());
                }
            }
        }
        // A cell that was given up leaves the host free for the next leader.
        if let (Ok(wire), Some(session)) = (&self.wire, self.session.take()) {
            let path = format!("v1/sessions/{}/stop", session.id);
            let _ = wire.ask::<Stopped>(Method::POST, &path);
        }
    }

    fn info(&self) -> Result<Info, String> {
        let wire = self.wire.as_ref().map_err(Clone::clone)?;
        let info: Info = wire.ask(Method::GET, "v1/info")?;
        if info.protocol == PROTOCOL {
            Ok(info)
        } else {
            Err(format!(
                "it speaks version {} of the protocol, this program {PROTOCOL}: update the older",
                info.protocol
            ))
        }
    }

    fn begin(&self, zero_ns: u64) -> Result<Session, String> {
        self.info()?;
        let wire = self.wire.as_ref().map_err(Clone::clone)?;
        let at_start = wire.offset(self.clock.as_ref())?;
        let opened: Opened = wire.ask(Method::POST, "v1/sessions")?;
        Ok(Session {
            id: opened.session,
            zero_ns,
            at_start,
        })
    }

    fn end(&mut self) -> Sampled {
        let mut sampled = Sampled::default();
        if let Some(session) = self.session.take() {
            match self.fetch(&session) {
                Ok(stopped) => {
                    sampled.traces = stopped.traces;
                    sampled.cost = stopped.cost;
                    if let Some(why) = stopped.trouble {
                        self.note(why.reason, why.detail.as_str());
                    }
                }
                Err((reason, what)) => self.note(reason, &what),
            }
        }
        sampled.trouble = self.trouble.take();
        sampled
    }

    /// The traces of a session, on the record's clock.
    fn fetch(&self, session: &Session) -> Result<Stopped, (UnavailableReason, String)> {
        let transport = |what: String| (UnavailableReason::Transport, what);
        let wire = self.wire.as_ref().map_err(|what| transport(what.clone()))?;
        let path = format!("v1/sessions/{}/stop", session.id);
        let mut asked = wire.ask::<Stopped>(Method::POST, &path);
        for _ in 1..STOPS {
            if asked.is_err() {
                thread::sleep(Duration::from_millis(500));
                asked = wire.ask(Method::POST, &path);
            }
        }
        let mut stopped = asked.map_err(transport)?;
        let at_stop = wire.offset(self.clock.as_ref()).map_err(transport)?;
        let implausible = |what: &str| (UnavailableReason::Implausible, what.to_owned());
        let map = ClockMap::between(session.at_start, at_stop)
            .ok_or_else(|| implausible("its clock ran differently from the leader's"))?;
        if !is_sound(&stopped.traces) {
            return Err(implausible("its traces are not what the protocol says"));
        }
        for trace in &mut stopped.traces {
            trace.host = self.host;
            trace.clock_error_ns = Some(map.error_ns());
            for at in trace
                .t_ns
                .iter_mut()
                .chain(trace.source_t_ns.iter_mut().flatten())
            {
                let host_ns = stopped.started_ns.saturating_add(*at);
                *at = map.leader_ns(host_ns).saturating_sub(session.zero_ns);
            }
        }
        Ok(stopped)
    }

    /// What ails this host; its address stays out of the record.
    fn note(&mut self, reason: UnavailableReason, what: &str) {
        let detail = Name::cleaned(&format!("host {}: {what}", self.host));
        tracing::warn!("joules of {detail}");
        self.trouble = Some(UnavailableEnergy { reason, detail });
    }
}

fn is_sound(traces: &[MeterTrace]) -> bool {
    let readings: usize = traces.iter().map(|trace| trace.v.len()).sum();
    let whole = |trace: &MeterTrace| {
        let n = trace.v.len();
        let stamps = trace.source_t_ns.as_ref().map_or(n, Vec::len);
        trace.t_ns.len() == n && trace.latency_ns.len() == n && stamps == n
    };
    traces.len() <= MAX_TRACES && readings <= MAX_READINGS && traces.iter().all(whole)
}

/// From the host's clock to the leader's: the line through two moments.
#[derive(Debug, Clone, Copy)]
struct ClockMap {
    at_start: Offset,
    at_stop: Offset,
}

impl ClockMap {
    /// `None` where the two clocks did not run alike.
    fn between(at_start: Offset, at_stop: Offset) -> Option<Self> {
        let leader = at_stop.leader_ns.checked_sub(at_start.leader_ns)?;
        let host = at_stop.host_ns.checked_sub(at_start.host_ns)?;
        let allowed =
            leader / (1_000_000 / MAX_DRIFT_PPM) + at_start.round_trip_ns + at_stop.round_trip_ns;
        (host > 0 && leader.abs_diff(host) <= allowed).then_some(Self { at_start, at_stop })
    }

    fn leader_ns(&self, host_ns: u64) -> u64 {
        let (start, stop) = (self.at_start, self.at_stop);
        let leader = i128::from(stop.leader_ns - start.leader_ns);
        let host = i128::from(stop.host_ns - start.host_ns);
        let since = i128::from(host_ns) - i128::from(start.host_ns);
        let at = i128::from(start.leader_ns) + since * leader / host;
        u64::try_from(at.max(0)).unwrap_or(u64::MAX)
    }

    /// By how much a time may be off: half of the larger round trip.
    fn error_ns(&self) -> u64 {
        let (start, stop) = (self.at_start, self.at_stop);
        start.round_trip_ns.max(stop.round_trip_ns).div_ceil(2)
    }
}

/// A connection to a host.
struct Wire {
    client: Client,
    base: String,
    token: Option<String>,
}

impl Wire {
    fn new(address: &str, token_file: Option<&str>) -> Result<Self, String> {
        let read = |file: &str| {
            let token = fs::read_to_string(Path::new(file));
            token.map(|token| token.trim().to_owned()).map_err(|error| {
                // A record may quote this: the path is for this machine's log alone.
                tracing::warn!(file, %error, "a meter_token_file cannot be read");
                format!("its meter_token_file cannot be read: {}", error.kind())
            })
        };
        let token = token_file.map(read).transpose()?;
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(2))
            .timeout(ANSWER)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            client,
            base: address.trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// Asks; the error is for a record, so that it holds no address.
    fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, String> {
        let mut request = self.client.request(method, format!("{}/{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request
            .send()
            .map_err(|error| in_words(&error).to_owned())?;
        let status = answer.status();
        let mut body = Vec::new();
        answer
            .take(MAX_ANSWER_BYTES)
            .read_to_end(&mut body)
            .map_err(|_| "its meter server broke off".to_owned())?;
        if status.is_success() {
            serde_json::from_slice(&body)
                .map_err(|_| "what answers is no joulemark meter server".to_owned())
        } else {
            let said = serde_json::from_slice::<Problem>(&body);
            let said =
                said.map_or_else(|_| String::new(), |problem| format!(": {}", problem.error));
            Err(format!(
                "its meter server answers {}{said}",
                status.as_u16()
            ))
        }
    }

    /// The offset of the host's clock, by the smallest round trip.
    fn offset(&self, clock: &dyn Clock) -> Result<Offset, String> {
        let mut best: Option<Offset> = None;
        for _ in 0..PINGS {
            let before_ns = clock.now_ns();
            let ClockNow { now_ns: host_ns } = self.ask(Method::GET, "v1/clock")?;
            let round_trip_ns = clock.now_ns().saturating_sub(before_ns);
            if best.is_none_or(|best| round_trip_ns < best.round_trip_ns) {
                best = Some(Offset {
                    leader_ns: before_ns + round_trip_ns / 2,
                    host_ns,
                    round_trip_ns,
                });
            }
        }
        best.ok_or_else(|| "its clock was not asked".to_owned())
    }
}

fn in_words(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "its meter server does not answer in time"
    } else if error.is_builder() {
        "the address of its meter server is no URL"
    } else {
        "its meter server cannot be reached; start `joulemark meter serve` there"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offset(leader_ns: u64, host_ns: u64) -> Offset {
        Offset {
            leader_ns,
            host_ns,
            round_trip_ns: 2_000,
        }
    }

    proptest! {
        #[test]
        fn a_time_is_mapped_back_to_within_half_a_round_trip(
            ahead in 0_u64..1 << 50,
            drift_ppm in 0_u64..900,
            span_ns in 1_000_000_000_u64..3_600_000_000_000,
            share in 0.0..1.0_f64,
            skew in prop::array::uniform2(0_u64..=2_000),
        ) {
            let host = |leader_ns: u64| ahead + leader_ns + leader_ns * drift_ppm / 1_000_000;
            // The stamp lies anywhere within the round trip, the middle is what is taken.
            let ping = |at: u64, skew: u64| offset(at + 1_000, host(at + skew));
            let start = ping(5_000_000, skew[0]);
            let stop = ping(5_000_000 + span_ns, skew[1]);
            let map = ClockMap::between(start, stop).expect("they run alike");
            let truth = 5_000_000 + (span_ns as f64 * share) as u64;
            let off = map.leader_ns(host(truth)).abs_diff(truth);
            prop_assert!(off <= map.error_ns() + 3, "{off}");
        }
    }

    #[test]
    fn a_clock_that_went_back_or_away_is_not_believed() {
        let start = offset(0, 1_000_000_000);
        let second = 1_000_000_000;
        assert!(ClockMap::between(start, offset(second, 2 * second)).is_some());
        assert!(ClockMap::between(start, offset(second, 5)).is_none());
        assert!(ClockMap::between(start, offset(second, 3 * second)).is_none());
        assert!(ClockMap::between(start, start).is_none());
    }
}
