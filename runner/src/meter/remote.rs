//! Joules of other hosts: the leading runner asks each host's `joulemark meter serve`.
//!
//! Each host samples on its own clock; the leader sends marks at the edges of phases, fetches the
//! traces at the end, and maps them onto the record's clock by the offset between the two clocks,
//! taken at both ends as that of the smallest of [`PINGS`] round trips.
//!
//! The protocol, version [`PROTOCOL`]: JSON over HTTP, for a trusted network.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/info` | [`Info`]: the host, its meters, and what is there and cannot be read |
//! | `GET /v1/clock` | [`ClockNow`] |
//! | `POST /v1/sessions` | [`Opened`]; 409 while another session is open |
//! | `GET /v1/sessions/{id}` | [`Opened`] again; keeps the session from expiring |
//! | `POST /v1/sessions/{id}/mark` | [`Marked`]: every meter was read now |
//! | `POST /v1/sessions/{id}/stop` | [`Stopped`]: the traces; asked again, the same |
//! | `GET /v1/sessions/{id}/joules?from=0&to=3` | [`SpanJoules`] between two marks, once it stopped |
//!
//! With a token, each request carries `Authorization: Bearer TOKEN`, else 401. A refusal is a
//! [`Problem`]. Bounds: one session at a time, [`MAX_MARKS`] marks, and [`SESSION_SECONDS`]
//! without a request end it.

use domain::record::{Host, MeterTrace, SamplerCost, UnavailableEnergy, UnavailableReason};
use domain::scope::ScopeKey;
use domain::text::Name;
use serde::{Deserialize, Serialize};

use super::Refusal;
use super::replay::MeterFacts;

mod host;
mod service;

pub use host::Along;
pub use service::{Desk, router};

/// Version of the protocol.
pub const PROTOCOL: u32 = 1;

/// Round trips of which the smallest tells the offset of a clock.
pub const PINGS: u32 = 20;

/// A session without a request for so long is given up.
pub const SESSION_SECONDS: u64 = 600;

/// Most marks of a session.
pub const MAX_MARKS: usize = 4_096;

/// What a host says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Info {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// What answers.
    pub program: Name,
    /// The host.
    pub host: Host,
    /// Its meters.
    pub meters: Vec<MeterFacts>,
    /// Meters that are there and cannot be read.
    pub refused: Vec<Refused>,
    /// Why nothing can be read, if nothing can.
    pub unavailable: Option<UnavailableEnergy>,
}

/// A meter that is there and cannot be read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refused {
    /// Kind of source.
    pub meter: Name,
    /// Device, where one is known.
    pub device: Option<Name>,
    /// Why not.
    pub reason: UnavailableReason,
    /// In words, with the fix if there is one.
    pub detail: Name,
}

impl From<&Refusal> for Refused {
    fn from(refusal: &Refusal) -> Self {
        Self {
            meter: Name::cleaned(refusal.meter),
            device: refusal.device.clone(),
            reason: refusal.error.reason(),
            detail: Name::cleaned(&format!("failed to {}", refusal.error)),
        }
    }
}

/// A host's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockNow {
    /// Nanoseconds since some fixed moment of the serving program.
    pub now_ns: u64,
}

/// A session that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Its id.
    pub session: String,
    /// The host's clock when it began: time zero of its traces, and mark 0.
    pub started_ns: u64,
}

/// A mark that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marked {
    /// Its number, from 1; 0 is the session's start.
    pub mark: usize,
    /// The host's clock.
    pub now_ns: u64,
}

/// What a session came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stopped {
    /// The host's clock at the start: time zero of the traces.
    pub started_ns: u64,
    /// The host's clock at the end, which is the last mark.
    pub stopped_ns: u64,
    /// The traces.
    pub traces: Vec<MeterTrace>,
    /// The last failure of a meter, if one failed.
    pub trouble: Option<UnavailableEnergy>,
    /// What reading took.
    pub cost: Option<SamplerCost>,
}

/// Joules between two marks of a session, by its own clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpanJoules {
    /// Start, from the session's start.
    pub from_ns: u64,
    /// End.
    pub to_ns: u64,
    /// Each scope key that the host's meters give, headline first.
    pub keys: Vec<KeyJoules>,
}

/// Joules of one scope key: a number or a reason, never both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyJoules {
    /// What they cover.
    pub scope: ScopeKey,
    /// Joules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_joules: Option<f64>,
    /// Bound of what reading at discrete moments may get wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_joules: Option<f64>,
    /// Update periods within the span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticks: Option<u64>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<UnavailableReason>,
}

/// Why a request was refused.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// In words, with what to do.
    pub error: String,
}

#[cfg(test)]
mod tests;
