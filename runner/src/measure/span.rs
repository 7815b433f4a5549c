//! A closed loop of one or several streams: each asks again as soon as it was answered.
//!
//! Lifecycle: prompts are made before, all streams start together, and go on until one common
//! condition holds; then every stream ends with the request under way. So every stream works
//! until the others send nothing new, and no span has an idle stream but for its last answers.
//! Bounds: the prompts that were made, [`Length::max_bytes`], and the deadline of each request.
//! A stream that fails or panics ends the span for all.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use domain::record::{AttributionMethod, KvState, Request};
use domain::speeds::{last_event_ns, uncached_tokens};

use super::request::{Ask, Fault, timed_request};
use super::{Bench, Counts, Samples, Stopped, Timing, deadline, json_bytes};
use crate::clock::Clock;
use crate::engine::{
    Engine, EngineError, GenerateRequest, Generated, Prompt, Sampling, Stream, TokenEvent,
};
use crate::meter::sampler::Sampler;

/// When a span is long enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Length {
    /// Every stream finished so many requests,
    pub(super) least: u32,
    /// and it lasted so long,
    pub(super) min_ns: u64,
    /// or emitted so many tokens,
    pub(super) max_tokens: u64,
    /// or would take more bytes of JSON with the requests under way.
    pub(super) max_bytes: usize,
}

/// What a span came to.
pub(super) struct Ran {
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    /// By stream, then by time.
    pub(super) requests: Vec<Request>,
    /// Output token ids in the same order, as bytes.
    pub(super) transcript: Vec<u8>,
    pub(super) fault: Option<Fault>,
    /// What was processed, contexts loaded before included.
    pub(super) counts: Counts,
}

/// Runs a closed loop over `asks` with as many streams as the workload has; those that were not
/// asked stay.
pub(super) fn run(
    bench: &mut Bench,
    timing: Timing,
    samples: &Samples,
    asks: &mut VecDeque<Ask>,
    length: Length,
) -> Result<Ran, Stopped> {
    let count = timing.workload.concurrency;
    let span = Span {
        timing,
        length,
        clock: bench.clock,
        zero_ns: samples.zero_ns,
        stop: bench.stop,
        splitting: (samples.method == Some(AttributionMethod::Direct)).then_some(bench.sampler),
        state: Mutex::new(State {
            asks: std::mem::take(asks),
            finished: vec![0; count as usize],
            ..State::default()
        }),
        begun: Condvar::new(),
    };
    let stints = if count == 1 {
        // On this thread: an engine in process need not be fit for another.
        span.begin();
        vec![span.stint(0, &mut Only(&mut *bench.engine))]
    } else {
        span.together(bench.engine.streams(count)?)
    };
    let mut state = span
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    *asks = state.asks;
    let mut ran = Ran {
        start_ns: state.start_ns,
        end_ns: state.start_ns,
        requests: Vec::new(),
        transcript: Vec::new(),
        fault: state.fault.take(),
        counts: Counts::default(),
    };
    for stint in stints {
        let stint = stint?;
        ran.requests.extend(stint.requests);
        ran.transcript.extend(stint.transcript);
        ran.counts += stint.counts;
        ran.end_ns = ran.end_ns.max(stint.end_ns);
    }
    let finished = state.finished.into_iter().min().unwrap_or(0);
    if finished < length.least && ran.fault.is_none() {
        let least = length.least;
        ran.fault = Some(Fault::Short { finished, least });
    }
    Ok(ran)
}

/// Puts a context into the engine's cache; one token of output, since not every server processes a
/// prompt for none.
pub(super) fn loading(prompt: Prompt, timing: Timing) -> GenerateRequest {
    GenerateRequest {
        prompt,
        max_output_tokens: 1,
        ban_eos: true,
        deadline: deadline(timing.settings.minutes_per_cell * 60.0),
        sampling: Sampling::Greedy,
        reuse_cache: true,
    }
}

/// What all streams share.
struct Span<'a> {
    timing: Timing<'a>,
    length: Length,
    clock: &'a dyn Clock,
    zero_ns: u64,
    stop: &'a AtomicBool,
    /// Reads the meters at the edges of each request's parts, where joules are split there.
    splitting: Option<&'a Sampler>,
    state: Mutex<State>,
    begun: Condvar,
}

#[derive(Default)]
struct State {
    asks: VecDeque<Ask>,
    /// Requests finished, by stream.
    finished: Vec<u32>,
    start_ns: u64,
    begun: bool,
    over: bool,
    /// Time in timed requests, of all streams together.
    busy_ns: u64,
    tokens: u64,
    bytes: usize,
    largest: usize,
    fault: Option<Fault>,
}

/// One stream's part.
#[derive(Default)]
struct Stint {
    requests: Vec<Request>,
    transcript: Vec<u8>,
    counts: Counts,
    end_ns: u64,
}

/// Ends the span for all streams when one leaves it, however it leaves.
struct Leaving<'a, 'b>(&'a Span<'b>);

impl Drop for Leaving<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.begun.notify_all();
    }
}

impl Span<'_> {
    fn together(&self, streams: Vec<Box<dyn Stream + '_>>) -> Vec<Result<Stint, EngineError>> {
        thread::scope(|scope| {
            // Should a thread not start, the others must not wait for it.
            let _leaving = Leaving(self);
            let threads: Vec<_> = (0..)
                .zip(streams)
                .map(|(number, mut stream)| {
                    scope.spawn(move || self.stint(number, stream.as_mut()))
                })
                .collect();
            self.begin();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        })
    }

    fn stint(&self, number: u32, stream: &mut dyn Stream) -> Result<Stint, EngineError> {
        let _leaving = Leaving(self);
        let mut stint = Stint::default();
        self.wait();
        while let Some(ask) = self.next() {
            if let Some(context) = ask.before {
                let loaded = stream.generate(&loading(context, self.timing), &mut |_| ())?;
                let cached = loaded.cached_tokens.unwrap_or(0);
                stint.counts.add(
                    loaded.prompt_tokens.saturating_sub(cached),
                    loaded.output_tokens,
                );
            }
            let (now, edge) = (|| self.now(), || self.edge());
            let timed = timed_request(stream, number, ask.prompt, self.timing, now, edge)?;
            stint.end_ns = self.now();
            self.finished(number, &timed.request, timed.fault);
            stint
                .counts
                .add(uncached_tokens(&timed.request), timed.request.output_tokens);
            let bytes = timed.output.iter().flat_map(|token| token.to_le_bytes());
            stint.transcript.extend(bytes);
            stint.requests.push(timed.request);
        }
        Ok(stint)
    }

    /// The next prompt, unless the span is over.
    fn next(&self) -> Option<Ask> {
        let mut state = self.lock();
        state.over |= self.stop.load(Ordering::Relaxed) || self.is_long_enough(&state);
        if state.over {
            return None;
        }
        let ask = state.asks.pop_front();
        if ask.is_none() {
            tracing::debug!("a repetition ends with the prompts that were made for it");
            state.over = true;
        }
        ask
    }

    fn is_long_enough(&self, state: &State) -> bool {
        let Length {
            least,
            min_ns,
            max_tokens,
            max_bytes,
        } = self.length;
        // Loading a context does not lengthen what is timed.
        let lasted_ns = match self.timing.workload.kv_state {
            KvState::Cold => self.now().saturating_sub(state.start_ns),
            KvState::WarmPrefix | KvState::ExactHit => state.busy_ns,
        };
        let under_way = state.largest * state.finished.len();
        state.finished.iter().all(|finished| *finished >= least)
            && (lasted_ns >= min_ns
                || state.tokens >= max_tokens
                || state.bytes + under_way > max_bytes)
    }

    fn finished(&self, number: u32, request: &Request, fault: Option<Fault>) {
        let bytes = json_bytes(request);
        let end_ns = last_event_ns(request).unwrap_or(request.sent_ns);
        let mut state = self.lock();
        state.finished[number as usize] += 1;
        state.busy_ns += end_ns.saturating_sub(request.sent_ns);
        state.tokens += u64::from(request.output_tokens);
        state.bytes += bytes;
        state.largest = state.largest.max(bytes);
        if fault.is_some() {
            state.over = true;
            state.fault = state.fault.take().or(fault);
        }
    }

    fn begin(&self) {
        let mut state = self.lock();
        state.start_ns = self.now();
        state.begun = true;
        self.begun.notify_all();
    }

    fn wait(&self) {
        let mut state = self.lock();
        while !state.begun && !state.over {
            state = self
                .begun
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn edge(&self) {
        if let Some(sampler) = self.splitting {
            sampler.nudge();
        }
    }

    fn now(&self) -> u64 {
        self.clock.now_ns().saturating_sub(self.zero_ns)
    }

    /// Every change of the state is whole: a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine itself as the only stream.
struct Only<'a>(&'a mut dyn Engine);

impl Stream for Only<'_> {
    fn generate(
        &mut self,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError> {
        self.0.generate(request, on_event)
    }
}
