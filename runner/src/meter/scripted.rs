//! A counter on a script, for tests of everything above the meters.
//!
//! It calls itself `scripted` in every record, so its joules cannot pass for measured ones.

use std::fmt;

use domain::record::{Averaging, MeterKind, UpdateBasis};
use domain::scope::Scope;
use domain::text::Name;

use super::{Meter, MeterInfo, Reach, ReadError, Reading};
use crate::clock::Clock;

/// The counter's value at a time of the clock.
type Script = Box<dyn FnMut(u64) -> Result<u64, ReadError> + Send>;

/// A counter whose value is a function of the clock.
pub struct ScriptedMeter {
    info: MeterInfo,
    script: Script,
}

impl ScriptedMeter {
    /// A counter of `scope` in micro-joules.
    pub fn counter(
        scope: Scope,
        script: impl FnMut(u64) -> Result<u64, ReadError> + Send + 'static,
    ) -> Self {
        let info = MeterInfo {
            meter: Name::cleaned("scripted"),
            device: Name::cleaned(scope.as_str()),
            scope,
            kind: MeterKind::Counter,
            averaging: Averaging::Instant,
            window_ns: None,
            update_ns: Some(1_000_000),
            update_basis: UpdateBasis::Assumed,
            wrap_uj: None,
            sensor_ppm: None,
            origin: Name::cleaned("scripted"),
            privilege: "none",
            reach: Reach::Local,
        };
        Self {
            info,
            script: Box::new(script),
        }
    }

    /// A steady power.
    pub fn steady(scope: Scope, watts: u64) -> Self {
        Self::counter(scope, move |now_ns| Ok(now_ns / 1_000 * watts))
    }
}

impl fmt::Debug for ScriptedMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedMeter")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl Meter for ScriptedMeter {
    fn info(&self) -> &MeterInfo {
        &self.info
    }

    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError> {
        let before_ns = clock.now_ns();
        let value = (self.script)(before_ns)?;
        Ok(Reading {
            before_ns,
            after_ns: clock.now_ns(),
            source_ns: None,
            value,
        })
    }
}
