//! One number in a JSON page: where it stands, in which unit, and when it is none.
//!
//! Anything but a finite number that is not negative is an error: a missing field, `null`, a text
//! that is no number, a stamp that is too old. Pointers are those of RFC 6901.

use std::fmt;

use domain::energy::MAX_DEVICE_POWER;
use domain::record::MeterKind;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::super::ReadError;

/// Where Home Assistant's sensors stand that have no value, or none yet.
const NO_VALUE: [&str; 3] = ["unavailable", "unknown", "none"];

/// Counters over it cannot be told apart from nonsense; it still holds 2,500,000 kWh.
const MAX_MICRO: f64 = 9e18;

/// Characters of an answer that an error repeats.
const QUOTED_CHARS: usize = 40;

/// A unit of power or energy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Unit {
    MilliWatt,
    Watt,
    KiloWatt,
    MicroJoule,
    MilliJoule,
    Joule,
    WattMinute,
    WattHour,
    KiloWattHour,
    MegaWattHour,
}

impl Unit {
    const ALL: [Self; 10] = [
        Self::MilliWatt,
        Self::Watt,
        Self::KiloWatt,
        Self::MicroJoule,
        Self::MilliJoule,
        Self::Joule,
        Self::WattMinute,
        Self::WattHour,
        Self::KiloWattHour,
        Self::MegaWattHour,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::MilliWatt => "mW",
            Self::Watt => "W",
            Self::KiloWatt => "kW",
            Self::MicroJoule => "uJ",
            Self::MilliJoule => "mJ",
            Self::Joule => "J",
            Self::WattMinute => "Wmin",
            Self::WattHour => "Wh",
            Self::KiloWattHour => "kWh",
            Self::MegaWattHour => "MWh",
        }
    }

    /// Micro-watts or micro-joules of one.
    fn micro(self) -> f64 {
        match self {
            Self::MicroJoule => 1.0,
            Self::MilliWatt | Self::MilliJoule => 1e3,
            Self::Watt | Self::Joule => 1e6,
            Self::KiloWatt => 1e9,
            Self::WattMinute => 60e6,
            Self::WattHour => 3.6e9,
            Self::KiloWattHour => 3.6e12,
            Self::MegaWattHour => 3.6e15,
        }
    }

    /// Power, or energy counted up.
    pub(super) fn kind(self) -> MeterKind {
        match self {
            Self::MilliWatt | Self::Watt | Self::KiloWatt => MeterKind::Power,
            _ => MeterKind::Counter,
        }
    }

    /// So many of it in micro-watts or micro-joules; an error if that cannot be.
    pub(super) fn to_micro(self, value: f64) -> Result<u64, ReadError> {
        let micro = (value * self.micro()).round();
        let most = match self.kind() {
            MeterKind::Power => MAX_DEVICE_POWER.0 * 1e6,
            MeterKind::Counter | MeterKind::Model => MAX_MICRO,
        };
        // Written so that NaN fails too.
        if value >= 0.0 && micro <= most {
            Ok(micro as u64)
        } else {
            Err(ReadError::Implausible(format!("{value} {self}")))
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Unit {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|unit| unit.as_str() == text);
        found.ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.map(Self::as_str).to_vec();
            format!("{text:?} is no unit: write one of {}", known.join(", "))
        })
    }
}

/// How a unit is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum UnitFrom {
    /// It is always this one.
    Fixed(Unit),
    /// Each page says it, at this pointer.
    Page(String),
}

/// When a page was made, and how old it may be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stamp {
    pub(super) pointer: String,
    pub(super) max_age_ms: u64,
}

/// How a page says that its number is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Veto {
    /// `false` at this pointer.
    Flag(&'static str),
    /// A fault of the meter among the texts at this pointer.
    Faults(&'static str),
    /// Anything at this pointer: a login is asked for.
    Login(&'static str),
}

/// One number in a page.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) pointer: String,
    pub(super) unit: UnitFrom,
    pub(super) stamp: Option<Stamp>,
    pub(super) veto: Option<Veto>,
}

impl Field {
    /// A number of a known unit.
    pub(super) fn new(pointer: &str, unit: Unit, veto: Option<Veto>) -> Self {
        Self {
            pointer: pointer.to_owned(),
            unit: UnitFrom::Fixed(unit),
            stamp: None,
            veto,
        }
    }

    pub(super) fn fixed_unit(&self) -> Option<Unit> {
        match &self.unit {
            UnitFrom::Fixed(unit) => Some(*unit),
            UnitFrom::Page(_) => None,
        }
    }

    /// The number's unit in this page.
    pub(super) fn unit(&self, body: &Value) -> Result<Unit, ReadError> {
        match &self.unit {
            UnitFrom::Fixed(unit) => Ok(*unit),
            UnitFrom::Page(pointer) => match at(body, pointer)? {
                Value::String(text) => Unit::try_from(quoted(text)).map_err(ReadError::Implausible),
                other => Err(no_number(other)),
            },
        }
    }

    /// The number in micro-watts or micro-joules; `unix_ms` is now.
    pub(super) fn value(&self, body: &Value, unix_ms: u64) -> Result<u64, ReadError> {
        if let Some(veto) = self.veto {
            veto.allows(body)?;
        }
        if let Some(stamp) = &self.stamp {
            stamp.is_fresh(body, unix_ms)?;
        }
        self.unit(body)?.to_micro(number(at(body, &self.pointer)?)?)
    }
}

impl Veto {
    fn allows(self, body: &Value) -> Result<(), ReadError> {
        match self {
            Self::Flag(pointer) => match body.pointer(pointer) {
                Some(Value::Bool(false)) => {
                    let what = format!("{} is false", pointer.trim_start_matches('/'));
                    Err(ReadError::Implausible(what))
                }
                _ => Ok(()),
            },
            Self::Faults(pointer) => {
                let faults = body.pointer(pointer).and_then(Value::as_array);
                let mut faults = faults.into_iter().flatten().filter_map(Value::as_str);
                let is_ours = |fault: &&str| {
                    fault.starts_with("power_meter_failure") || fault.starts_with("out_of_range")
                };
                match faults.find(is_ours) {
                    Some(fault) => Err(ReadError::Implausible(quoted(fault))),
                    None => Ok(()),
                }
            }
            Self::Login(pointer) => match body.pointer(pointer) {
                Some(_) => Err(super::http::login()),
                None => Ok(()),
            },
        }
    }
}

impl Stamp {
    fn is_fresh(&self, body: &Value, unix_ms: u64) -> Result<(), ReadError> {
        let stamped = at(body, &self.pointer)?;
        let stamp_ms = stamp_ms(stamped).ok_or_else(|| {
            ReadError::Implausible(format!("{} as a time", quoted(&stamped.to_string())))
        })?;
        if unix_ms.saturating_sub(stamp_ms) > self.max_age_ms {
            return Err(ReadError::Stale);
        }
        let ahead_ms = stamp_ms.saturating_sub(unix_ms);
        if ahead_ms > self.max_age_ms {
            let what = format!("a stamp {} s ahead of this clock", ahead_ms / 1_000);
            return Err(ReadError::Implausible(what));
        }
        Ok(())
    }
}

/// Unix milliseconds of a stamp: RFC 3339, or a number of seconds or milliseconds, which differ
/// enough for every date from 1973 to 5138.
fn stamp_ms(stamp: &Value) -> Option<u64> {
    const SMALLEST_MS: f64 = 1e11;
    let as_number = match stamp {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    match (as_number, stamp) {
        (Some(number), _) if number.is_finite() && number >= 0.0 => {
            let seconds = if number < SMALLEST_MS { 1e3 } else { 1.0 };
            Some((number * seconds) as u64)
        }
        (None, Value::String(text)) => {
            let time: Timestamp = text.trim().parse().ok()?;
            u64::try_from(time.as_millisecond()).ok()
        }
        _ => None,
    }
}

fn at<'a>(body: &'a Value, pointer: &str) -> Result<&'a Value, ReadError> {
    body.pointer(pointer)
        .ok_or_else(|| ReadError::Transport(format!("the answer has nothing at {pointer:?}")))
}

/// A number, or a text that is one: Home Assistant and Prometheus quote theirs.
fn number(value: &Value) -> Result<f64, ReadError> {
    let found = match value {
        Value::Null => return Err(ReadError::Absent),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => {
            let text = text.trim();
            if text.is_empty() || NO_VALUE.contains(&text.to_lowercase().as_str()) {
                return Err(ReadError::Absent);
            }
            text.parse().ok()
        }
        _ => None,
    };
    found
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| no_number(value))
}

fn no_number(value: &Value) -> ReadError {
    ReadError::Implausible(match value {
        Value::String(text) => quoted(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => quoted(&other.to_string()),
    })
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS).collect()
}
