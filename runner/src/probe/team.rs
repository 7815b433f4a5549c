//! Threads that start a piece of work together and say how long the slowest took.
//!
//! Lifecycle: [`Team::gather`] starts the threads, each with a state of its own that it keeps
//! between pieces of work; dropping the team ends them. A start that fails half-way leaves no
//! thread waiting: those that run find their orders gone.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::ProbeError;

/// A piece of work, given the thread's state.
type Work<S> = Arc<dyn Fn(&mut S) + Send + Sync>;

/// The threads.
pub(super) struct Team<S> {
    members: Vec<Member<S>>,
}

struct Member<S> {
    // `None` only while the member is dropped.
    orders: Option<SyncSender<Order<S>>>,
    spans: Receiver<(Instant, Instant)>,
    thread: Option<JoinHandle<()>>,
}

struct Order<S> {
    together: Arc<Barrier>,
    work: Work<S>,
}

impl<S: Default + 'static> Team<S> {
    /// Starts so many threads.
    pub(super) fn gather(threads: usize) -> Result<Self, ProbeError> {
        let members = (0..threads)
            .map(|_| Member::start())
            .collect::<Result<_, _>>()?;
        Ok(Self { members })
    }

    /// Has every thread do `work`; the time from the first start to the last end.
    pub(super) fn run(
        &self,
        work: impl Fn(&mut S) + Send + Sync + 'static,
    ) -> Result<Duration, ProbeError> {
        let together = Arc::new(Barrier::new(self.members.len()));
        let work: Work<S> = Arc::new(work);
        for member in &self.members {
            let order = Order {
                together: Arc::clone(&together),
                work: Arc::clone(&work),
            };
            let orders = member.orders.as_ref().ok_or(ProbeError::Died)?;
            orders.send(order).map_err(|_| ProbeError::Died)?;
        }
        let mut whole: Option<(Instant, Instant)> = None;
        for member in &self.members {
            let (start, end) = member.spans.recv().map_err(|_| ProbeError::Died)?;
            whole = Some(whole.map_or((start, end), |(first, last)| {
                (first.min(start), last.max(end))
            }));
        }
        whole
            .map(|(first, last)| last - first)
            .ok_or(ProbeError::Died)
    }
}

impl<S: Default + 'static> Member<S> {
    fn start() -> Result<Self, ProbeError> {
        // One order at a time is under way: whoever gives it waits for the span.
        let (orders, inbox) = sync_channel::<Order<S>>(1);
        let (outbox, spans) = sync_channel(1);
        let work = move || {
            let mut state = S::default();
            for order in inbox {
                order.together.wait();
                let start = Instant::now();
                (order.work)(&mut state);
                let span = (start, Instant::now());
                if outbox.send(span).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("probe".to_owned())
            .spawn(work)
            .map_err(ProbeError::Thread)?;
        Ok(Self {
            orders: Some(orders),
            spans,
            thread: Some(thread),
        })
    }
}

impl<S> Drop for Member<S> {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}
