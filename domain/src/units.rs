//! Physical quantities as types, so that watts can become joules in one way only.
//!
//! Bare numbers appear only in SQL and JSON, with the unit last in their name.

use std::fmt;
use std::ops::{Add, Mul, Sub};

/// Energy in joules.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Joules(pub f64);

/// Power in watts.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Watts(pub f64);

/// A duration in seconds.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Seconds(pub f64);

impl Joules {
    /// Joules from the micro-joules that counters and records carry.
    pub fn from_microjoules(uj: u64) -> Self {
        Self(uj as f64 / 1e6)
    }
}

impl Seconds {
    /// The length of a span of the record's clock; `None` when it does not run forward.
    pub fn between_ns(start_ns: u64, end_ns: u64) -> Option<Self> {
        end_ns
            .checked_sub(start_ns)
            .filter(|ns| *ns > 0)
            .map(|ns| Self(ns as f64 / 1e9))
    }
}

impl Mul<Seconds> for Watts {
    type Output = Joules;
    fn mul(self, time: Seconds) -> Joules {
        Joules(self.0 * time.0)
    }
}

impl std::ops::Div<Seconds> for Joules {
    type Output = Watts;
    fn div(self, time: Seconds) -> Watts {
        Watts(self.0 / time.0)
    }
}

impl Add for Joules {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for Joules {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl fmt::Display for Joules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} J", self.0)
    }
}

impl fmt::Display for Watts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} W", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watts_times_seconds_are_joules() {
        let energy = Watts(12.5) * Seconds(4.0);
        assert!((energy.0 - 50.0).abs() < 1e-12);
        assert!(((energy / Seconds(2.0)).0 - 25.0).abs() < 1e-12);
    }

    #[test]
    fn a_span_that_runs_backward_has_no_length() {
        assert_eq!(Seconds::between_ns(5, 5), None);
        assert_eq!(Seconds::between_ns(6, 5), None);
        assert_eq!(Seconds::between_ns(0, 2_000_000_000), Some(Seconds(2.0)));
    }
}
