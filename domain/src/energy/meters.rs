//! The meters whose joules are added under one scope key, read together.

use super::MAX_EDGE_SHARE;
use super::check::{self, Verdict};
use super::curve::{EnergyCurve, SpanEnergy};
use super::keys::{KeyMeters, Seat, keys};
use crate::record::{
    AttributionMethod, EnergyClaim, MeasuredEnergy, MeterTrace, Record, UnavailableReason,
};
use crate::scope::ScopeKey;
use crate::units::Joules;

/// The meters of one scope key, on all hosts.
#[derive(Debug, Clone)]
pub struct ScopeMeters {
    /// What their sum covers.
    pub scope: ScopeKey,
    /// How the record gives joules to phases.
    pub method: AttributionMethod,
    readers: Vec<Reader>,
}

/// One of the meters.
#[derive(Debug, Clone)]
struct Reader {
    curve: EnergyCurve,
    update_ns: Option<u64>,
    sensor_ppm: Option<u32>,
}

impl ScopeMeters {
    /// The meters that the record claims as its headline. Refused: a claim without a measurement,
    /// and every set of meters that [`keys`] would not add on all hosts for a headline: a device
    /// counted twice or left out, scopes that overlap, hosts that differ, work that is not held.
    pub fn of(record: &Record) -> Result<Self, UnavailableReason> {
        let claim = claim_of(record)?;
        let mut claimed = claim.meters.clone();
        claimed.sort_unstable();
        let key = keys_of(record)
            .into_iter()
            .find(|key| key.scope == claim.scope)
            .filter(|key| key.meters == claimed && key.holds_the_work)
            .ok_or(UnavailableReason::ScopeMismatch)?;
        Self::reading(record, &key, claim.method)
    }

    /// Every key that was measured on all hosts, the headline first, with its meters or why they
    /// give no joules. Empty where the record claims no measurement.
    pub fn every(record: &Record) -> Vec<(KeyMeters, Result<Self, UnavailableReason>)> {
        let Ok(claim) = claim_of(record) else {
            return Vec::new();
        };
        keys_of(record)
            .into_iter()
            .map(|key| {
                let meters = Self::reading(record, &key, claim.method);
                (key, meters)
            })
            .collect()
    }

    fn reading(
        record: &Record,
        key: &KeyMeters,
        method: AttributionMethod,
    ) -> Result<Self, UnavailableReason> {
        let doubted = check::cross_check(record)
            .into_iter()
            .filter(|check| check.verdict == Verdict::Void)
            .any(|check| key.meters.contains(&check.counter) || key.meters.contains(&check.power));
        if doubted {
            return Err(UnavailableReason::Implausible);
        }
        Self::of_traces(&record.meters, key, method)
    }

    /// These meters of some traces. What is wrong with one of them is wrong with their sum.
    pub fn of_traces(
        traces: &[MeterTrace],
        key: &KeyMeters,
        method: AttributionMethod,
    ) -> Result<Self, UnavailableReason> {
        let readers = key
            .meters
            .iter()
            .map(|index| {
                let trace = traces
                    .get(*index as usize)
                    .ok_or(UnavailableReason::Absent)?;
                Ok(Reader {
                    curve: EnergyCurve::of(trace)?,
                    update_ns: trace.update_ns,
                    sensor_ppm: trace.sensor_ppm,
                })
            })
            .collect::<Result<Vec<_>, UnavailableReason>>()?;
        Ok(Self {
            scope: key.scope.clone(),
            method,
            readers,
        })
    }

    /// Update period of the slowest of them, in nanoseconds; `None` if one is not known.
    pub fn slowest_update_ns(&self) -> Option<u64> {
        let known: Option<Vec<u64>> = self.readers.iter().map(|one| one.update_ns).collect();
        known?.into_iter().max()
    }

    /// The worst of their sensors' stated accuracies, as a share; `None` if one states none.
    pub fn sensor_share(&self) -> Option<f64> {
        let stated: Option<Vec<u32>> = self.readers.iter().map(|one| one.sensor_ppm).collect();
        stated?.into_iter().max().map(|ppm| f64::from(ppm) / 1e6)
    }

    /// Joules of all of them between two moments.
    pub fn in_span(&self, start_ns: u64, end_ns: u64) -> Result<SpanEnergy, UnavailableReason> {
        self.sum(|curve| curve.in_span(start_ns, end_ns))
    }

    /// As [`Self::in_span`], however few ticks.
    pub(super) fn measured(
        &self,
        start_ns: u64,
        end_ns: u64,
    ) -> Result<SpanEnergy, UnavailableReason> {
        self.sum(|curve| curve.measured(start_ns, end_ns))
    }

    /// What all of them count until a span's start and until its end, as the span itself tells:
    /// only differences mean anything.
    pub(super) fn edges(
        &self,
        start_ns: u64,
        end_ns: u64,
    ) -> Result<(f64, f64), UnavailableReason> {
        let mut sum = (0.0, 0.0);
        for one in &self.readers {
            let (began, ended) = one.curve.edges(start_ns, end_ns)?;
            sum = (sum.0 + began, sum.1 + ended);
        }
        Ok(sum)
    }

    /// Joules within several spans that follow each other, gaps between them left out. The
    /// stretch from the first start to the last end must be resolved. Two measurements hold: the
    /// spans one by one, with an error at each edge, or the stretch less its gaps; that of the
    /// smaller error stands, and its error must itself be small.
    pub fn over(&self, spans: &[(u64, u64)]) -> Result<SpanEnergy, UnavailableReason> {
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
            return Err(UnavailableReason::BelowResolution);
        };
        let whole = self.in_span(first.0, last.1)?;
        let mut parts = NOTHING;
        for (start_ns, end_ns) in spans {
            parts = parts.and(&self.measured(*start_ns, *end_ns)?);
        }
        let mut gaps = NOTHING;
        for pair in spans.windows(2) {
            match pair[1].0.checked_sub(pair[0].1) {
                None => return Err(UnavailableReason::Implausible),
                Some(0) => {}
                Some(_) => gaps = gaps.and(&self.measured(pair[0].1, pair[1].0)?),
            }
        }
        let rest = SpanEnergy {
            joules: Joules((whole.joules - gaps.joules).0.max(0.0)),
            ..whole.and(&gaps)
        };
        let best = if rest.error.0 < parts.error.0 {
            rest
        } else {
            parts
        };
        if best.error.0 > MAX_EDGE_SHARE * best.joules.0 {
            return Err(UnavailableReason::BelowResolution);
        }
        if best.joules.0 <= 0.0 {
            return Err(UnavailableReason::Stale);
        }
        Ok(SpanEnergy {
            ticks: whole.ticks,
            ..best
        })
    }

    fn sum(
        &self,
        of: impl Fn(&EnergyCurve) -> Result<SpanEnergy, UnavailableReason>,
    ) -> Result<SpanEnergy, UnavailableReason> {
        let mut sum = NOTHING;
        for one in &self.readers {
            sum = sum.and(&of(&one.curve)?);
        }
        Ok(sum)
    }
}

/// What any joules are added to.
const NOTHING: SpanEnergy = SpanEnergy {
    joules: Joules(0.0),
    error: Joules(0.0),
    spread: Joules(0.0),
    clock: Joules(0.0),
    ticks: u64::MAX,
};

impl SpanEnergy {
    /// Both, edges taken to err apart from one another; ticks are those of the shorter.
    fn and(&self, other: &Self) -> Self {
        Self {
            joules: self.joules + other.joules,
            error: self.error + other.error,
            spread: Joules(self.spread.0.hypot(other.spread.0)),
            clock: self.clock + other.clock,
            ticks: self.ticks.min(other.ticks),
        }
    }
}

fn claim_of(record: &Record) -> Result<&MeasuredEnergy, UnavailableReason> {
    match &record.energy {
        EnergyClaim::Measured(claim) => Ok(claim),
        EnergyClaim::Unavailable(none) => Err(none.reason),
        EnergyClaim::Estimated(_) => Err(UnavailableReason::Absent),
    }
}

fn keys_of(record: &Record) -> Vec<KeyMeters> {
    let seats: Vec<Seat<'_>> = record.meters.iter().map(Seat::from).collect();
    keys(&seats, &record.hosts)
}

#[cfg(test)]
mod tests;
