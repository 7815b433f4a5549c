//! The meters whose joules are added under one scope key, read together.

use super::MAX_EDGE_SHARE;
use super::check::{self, Verdict};
use super::curve::{EnergyCurve, SpanEnergy};
use super::keys::{KeyMeters, Seat, keys};
use crate::record::{AttributionMethod, EnergyClaim, MeasuredEnergy, Record, UnavailableReason};
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
        let readers = key
            .meters
            .iter()
            .map(|index| {
                let trace = &record.meters[*index as usize];
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

    /// Joules within several spans that follow each other, gaps between them left out. The
    /// stretch from the first start to the last end must be resolved. Two bounds of the error
    /// hold: the spans' own edges, or the stretch's edges and all that the gaps took; the
    /// smaller one is stated, and must itself be small.
    pub fn over(&self, spans: &[(u64, u64)]) -> Result<SpanEnergy, UnavailableReason> {
        let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
            return Err(UnavailableReason::BelowResolution);
        };
        let whole = self.in_span(first.0, last.1)?;
        let (mut joules, mut edges) = (Joules(0.0), Joules(0.0));
        for (start_ns, end_ns) in spans {
            let part = self.measured(*start_ns, *end_ns)?;
            joules = joules + part.joules;
            edges = edges + part.error;
        }
        let gaps = Joules((whole.joules - joules).0.max(0.0));
        let error = Joules(edges.0.min((whole.error + gaps).0));
        if error.0 > MAX_EDGE_SHARE * joules.0 {
            return Err(UnavailableReason::BelowResolution);
        }
        Ok(SpanEnergy {
            joules,
            error,
            spread: error,
            clock: whole.clock,
            ticks: whole.ticks,
        })
    }

    fn sum(
        &self,
        of: impl Fn(&EnergyCurve) -> Result<SpanEnergy, UnavailableReason>,
    ) -> Result<SpanEnergy, UnavailableReason> {
        let none = SpanEnergy {
            joules: Joules(0.0),
            error: Joules(0.0),
            spread: Joules(0.0),
            clock: Joules(0.0),
            ticks: u64::MAX,
        };
        self.readers
            .iter()
            .map(|one| of(&one.curve))
            .try_fold(none, |sum, one| {
                let one = one?;
                Ok(SpanEnergy {
                    joules: sum.joules + one.joules,
                    error: sum.error + one.error,
                    spread: Joules(sum.spread.0.hypot(one.spread.0)),
                    clock: sum.clock + one.clock,
                    ticks: sum.ticks.min(one.ticks),
                })
            })
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
