//! Time as an argument: one monotonic clock for everything that is measured.
//!
//! The wall clock only labels, and tells a suspended machine from a running one.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant, SystemTime};

/// A monotonic clock with a label.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Nanoseconds since some fixed moment; does not run while the machine is suspended.
    fn now_ns(&self) -> u64;
    /// Unix time in milliseconds: a label, never a duration.
    fn unix_ms(&self) -> u64;
    /// Waits.
    fn sleep(&self, duration: Duration);
    /// This clock, if a test moves it: what polls must then be stepped by it.
    fn simulated(self: Arc<Self>) -> Option<Arc<VirtualClock>> {
        None
    }
}

/// This machine's clock.
#[derive(Debug)]
pub struct RealClock {
    origin: Instant,
}

impl Default for RealClock {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Clock for RealClock {
    fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |elapsed| elapsed.as_millis() as u64)
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// Something that happens in simulated time, such as a meter being polled.
pub trait Listener: Send + Sync + fmt::Debug {
    /// When it is due next; `None` while it waits for nothing.
    fn due_ns(&self) -> Option<u64>;
    /// Does what is due. Sleeping in it takes this listener's time, nobody else's: it is as if it
    /// had a thread of its own.
    fn step(&self, clock: &VirtualClock);
}

/// A clock that a test moves by hand. What listens to it is stepped in order of time whenever it
/// is moved.
#[derive(Debug, Default)]
pub struct VirtualClock {
    ns: AtomicU64,
    suspended_ms: AtomicU64,
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
    /// One thread moves time at once.
    moving: Mutex<()>,
    /// The thread in which a listener is stepped, and how long it has slept in that step.
    stepping: Mutex<Option<(ThreadId, u64)>>,
}

impl VirtualClock {
    /// Moves time forward, through all that is due until then.
    pub fn advance(&self, duration: Duration) {
        let more = duration.as_nanos() as u64;
        if let Some((thread, slept)) = self.stepping().as_mut()
            && *thread == thread::current().id()
        {
            *slept += more;
            return;
        }
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let target = self.ns.load(Ordering::Acquire) + more;
        while let Some((due_ns, listener)) = self.first_due(target) {
            self.ns.fetch_max(due_ns, Ordering::AcqRel);
            self.in_step(|| listener.step(self));
        }
        self.ns.fetch_max(target, Ordering::AcqRel);
    }

    /// Moves only the wall clock, as a suspended machine does.
    pub fn suspend(&self, duration: Duration) {
        self.suspended_ms
            .fetch_add(duration.as_millis() as u64, Ordering::Relaxed);
    }

    /// Steps a listener whenever it is due, for as long as it lives.
    pub fn listen(&self, listener: Weak<dyn Listener>) {
        self.listeners().push(listener);
    }

    /// Does something whose sleeps take nobody else's time; how long it slept, in nanoseconds.
    pub fn in_step(&self, work: impl FnOnce()) -> u64 {
        *self.stepping() = Some((thread::current().id(), 0));
        work();
        self.stepping().take().map_or(0, |(_, slept)| slept)
    }

    fn first_due(&self, target: u64) -> Option<(u64, Arc<dyn Listener>)> {
        let mut listeners = self.listeners();
        listeners.retain(|listener| listener.strong_count() > 0);
        let alive = listeners.iter().filter_map(Weak::upgrade);
        alive
            .filter_map(|listener| Some((listener.due_ns()?, listener)))
            .filter(|(due_ns, _)| *due_ns <= target)
            .min_by_key(|(due_ns, _)| *due_ns)
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Weak<dyn Listener>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn stepping(&self) -> MutexGuard<'_, Option<(ThreadId, u64)>> {
        self.stepping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for VirtualClock {
    fn now_ns(&self) -> u64 {
        let slept = match *self.stepping() {
            Some((thread, slept)) if thread == thread::current().id() => slept,
            _ => 0,
        };
        self.ns.load(Ordering::Acquire) + slept
    }

    fn unix_ms(&self) -> u64 {
        const START: u64 = 1_800_000_000_000;
        START + self.now_ns() / 1_000_000 + self.suspended_ms.load(Ordering::Relaxed)
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }

    fn simulated(self: Arc<Self>) -> Option<Arc<VirtualClock>> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Ticker {
        due_ns: AtomicU64,
        every_ns: u64,
        slept_ns: u64,
        seen: Mutex<Vec<u64>>,
    }

    impl Listener for Ticker {
        fn due_ns(&self) -> Option<u64> {
            Some(self.due_ns.load(Ordering::Relaxed))
        }

        fn step(&self, clock: &VirtualClock) {
            let mut seen = self.seen.lock().expect("no panic");
            seen.push(clock.now_ns());
            clock.sleep(Duration::from_nanos(self.slept_ns));
            self.due_ns
                .store(clock.now_ns() + self.every_ns, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_due_happens_in_order_and_a_slow_one_delays_no_other() {
        let clock = VirtualClock::default();
        let [fast, slow] = [(10, 0), (10, 25)].map(|(every_ns, slept_ns)| {
            let ticker = Arc::new(Ticker {
                due_ns: AtomicU64::new(every_ns),
                every_ns,
                slept_ns,
                seen: Mutex::default(),
            });
            let listener: Arc<dyn Listener> = ticker.clone();
            clock.listen(Arc::downgrade(&listener));
            ticker
        });
        clock.advance(Duration::from_nanos(50));
        assert_eq!(clock.now_ns(), 50);
        assert_eq!(*fast.seen.lock().expect("whole"), [10, 20, 30, 40, 50]);
        assert_eq!(*slow.seen.lock().expect("whole"), [10, 45]);
        drop(fast);
        clock.advance(Duration::from_nanos(50));
        assert_eq!(slow.seen.lock().expect("whole").len(), 3);
    }
}
