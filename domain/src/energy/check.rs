//! A counter against the integral of the power of the same device: two readers of one truth.

use crate::record::Record;
use crate::scope::Scope;
use crate::units::Joules;

/// Ratios within it agree.
pub const AGREE: (f64, f64) = (0.95, 1.05);

/// Ratios outside of it void both readers.
pub const BELIEVE: (f64, f64) = (0.8, 1.25);

/// A counter and a power meter of one device, over the phases of load that both resolve.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossCheck {
    /// Host.
    pub host: u32,
    /// Device.
    pub device: String,
    /// What both cover.
    pub scope: Scope,
    /// Index of the counter's trace.
    pub counter: u32,
    /// Index of the power meter's trace.
    pub power: u32,
    /// What the counter counted.
    pub counted: Joules,
    /// What the power comes to.
    pub integrated: Joules,
    /// Counted over integrated.
    pub ratio: f64,
    /// What follows.
    pub verdict: Verdict,
}

/// What follows from a ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Within [`AGREE`].
    Agrees,
    /// Outside of it: said beside the joules.
    Warns,
    /// Outside of [`BELIEVE`]: neither gives joules.
    Void,
}

/// Every pair of a counter and a power meter of one host, device and scope.
pub fn cross_check(_record: &Record) -> Vec<CrossCheck> {
    Vec::new()
}
