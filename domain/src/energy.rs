//! From raw readings to joules in a span: the one place where power becomes energy.
//!
//! A meter's readings become an [`EnergyCurve`], cumulative joules over the record's clock;
//! a span's joules are a difference on that curve. A counter's curve passes through its
//! readings, wraps undone; a power meter's curve is the integral of its samples. Between the
//! two readings that bound a span's edge the curve is straight, and what that may get wrong is
//! the stated error. Whatever spoils the readings within a span makes the span
//! [`crate::record::UnavailableReason`]: nothing is invented, nothing is negative, no partial total exists.

use crate::units::Watts;

pub mod check;
mod curve;
pub mod keys;
mod meters;
pub mod phases;
pub mod regression;

pub use curve::{EnergyCurve, Fault, SpanEnergy, energy_in_span};
pub use meters::ScopeMeters;

/// No single metered device draws more; a reading above it is impossible.
pub const MAX_DEVICE_POWER: Watts = Watts(5_000.0);

/// Update periods that a span must hold.
pub const MIN_TICKS: u64 = 10;

/// Largest error as a share of a span's joules; beyond it the span is below resolution.
pub const MAX_EDGE_SHARE: f64 = 0.2;

/// Holes in polled power when the update period is unknown, in nanoseconds.
const LONGEST_HOLE_NS: u64 = 3_000_000_000;

/// Counters that update no more often than this are read at their changes (see
/// [`crate::record::MeterTrace::t_ns`]), in nanoseconds; faster ones now and then.
pub const TICKED_FROM_NS: u64 = 5_000_000;

#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;
