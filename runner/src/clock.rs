//! Time as an argument: one monotonic clock for everything that is measured.
//!
//! The wall clock only labels, and tells a suspended machine from a running one.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A monotonic clock with a label.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Nanoseconds since some fixed moment; does not run while the machine is suspended.
    fn now_ns(&self) -> u64;
    /// Unix time in milliseconds: a label, never a duration.
    fn unix_ms(&self) -> u64;
    /// Waits.
    fn sleep(&self, duration: Duration);
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

/// A clock that a test moves by hand.
#[derive(Debug, Default)]
pub struct VirtualClock {
    ns: AtomicU64,
    suspended_ms: AtomicU64,
}

impl VirtualClock {
    /// Moves time forward.
    pub fn advance(&self, duration: Duration) {
        self.ns
            .fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Moves only the wall clock, as a suspended machine does.
    pub fn suspend(&self, duration: Duration) {
        self.suspended_ms
            .fetch_add(duration.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now_ns(&self) -> u64 {
        self.ns.load(Ordering::Relaxed)
    }

    fn unix_ms(&self) -> u64 {
        const START: u64 = 1_800_000_000_000;
        START + self.now_ns() / 1_000_000 + self.suspended_ms.load(Ordering::Relaxed)
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}
