//! The history: how a figure moved on one setup, where it changed, and what paired gates say of it.
//!
//! A pure function of the derived records and the judged gates, made again for every snapshot; what
//! was searched once is not searched again ([`Found`], by the digest of what was searched). Records
//! become series with epochs (`series`); an epoch's points are searched for changes, which stand at
//! the border of two builds (`changes`); gates of those builds confirm a change or do not (`states`);
//! what gates let pass below the tolerance is summed up (`ledger`).
//!
//! What a reader is told as confirmed was always found by a paired gate with fair coins, never by a
//! trend alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::history::{ChangeRow, EpochRow, LedgerRow, SeriesPoint, SeriesRow};
use domain::ids::ContentId;

use crate::derive::{DerivedRecord, rfc3339};
use crate::gates::JudgedGate;

mod build;
mod changes;
mod ledger;
mod series;
mod states;

pub use build::Build;
pub use changes::Found;

/// Changes whenever the same records and gates would tell another history.
pub const RULES_VERSION: u32 = 3;

/// Points of one series, the newest: more would make a rebuild slow and a trend no clearer.
const MAX_POINTS: usize = 1_000;

/// Everything about series.
#[derive(Debug, Default)]
pub struct History {
    series: Vec<Series>,
    changes: Vec<ChangeRow>,
    ledger: Vec<LedgerRow>,
    engines: Vec<String>,
}

/// One series.
#[derive(Debug)]
pub struct Series {
    /// What it is.
    pub row: SeriesRow,
    /// Where its epochs begin.
    pub epochs: Vec<EpochRow>,
    points: Vec<Point>,
}

/// One measurement of a series.
#[derive(Debug)]
struct Point {
    record: ContentId,
    started_ms: u64,
    received_ms: i64,
    build: Arc<Build>,
    value: f64,
    interval: Option<(f64, f64)>,
    canary: Option<f64>,
    epoch: u32,
}

impl Point {
    /// When it was measured, RFC 3339 UTC; empty for a moment outside of the calendar.
    fn measured_at(&self) -> String {
        i64::try_from(self.started_ms)
            .map(rfc3339)
            .unwrap_or_default()
    }
}

impl History {
    /// Every series, by name.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// One series.
    pub fn one(&self, id: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.row.id == id)
    }

    /// Every change, confirmed first, then by effect over noise.
    pub fn changes(&self) -> &[ChangeRow] {
        &self.changes
    }

    /// What hides below the tolerance, the largest sum first.
    pub fn ledger(&self) -> &[LedgerRow] {
        &self.ledger
    }

    /// Engines that have series or gates, as addresses spell them.
    pub fn engines(&self) -> &[String] {
        &self.engines
    }
}

impl Series {
    /// Its points, oldest first.
    pub fn points(&self) -> impl Iterator<Item = SeriesPoint> {
        self.points.iter().map(|point| SeriesPoint {
            record: point.record.to_string(),
            measured_at: point.measured_at(),
            measured_seconds: point.started_ms as f64 / 1e3,
            build: point.build.label(),
            commit: point.build.commit().map(str::to_owned),
            value: point.value,
            low: point.interval.map(|(low, _)| low),
            high: point.interval.map(|(_, high)| high),
            canary: point.canary,
            epoch: point.epoch,
        })
    }
}

/// Everything about series, from the records that count. `gates` are newest first.
pub fn build(records: &[DerivedRecord], gates: &[Arc<JudgedGate>], found: &mut Found) -> History {
    let gathered = series::gather(records);
    let changes = changes::search(&gathered, found);
    let changes = states::settle(&gathered, changes, gates);
    let engines: BTreeSet<String> = (gathered.iter())
        .map(|one| one.series.row.engine_slug.clone())
        .chain(gates.iter().map(|gate| gate.row.engine_slug.clone()))
        .collect();
    History {
        changes,
        ledger: ledger::rows(gates),
        engines: engines.into_iter().collect(),
        series: gathered.into_iter().map(|one| one.series).collect(),
    }
}

#[cfg(test)]
mod tests;
