//! Where series changed: suspects and certified changes of each epoch, at the border of two builds.
//!
//! Searched are costs, or costs over the canary's. What was found is kept by the digest of what was
//! searched, so that a rebuild searches only epochs that grew.

use std::collections::HashMap;

use domain::history::ChangeState;
use domain::history::change::{self, Change};
use domain::statistics::median;
use sha2::{Digest as _, Sha256};

use super::series::Gathered;
use super::{Build, Point};

/// A split found by a trend may be off by so many points: the nearest border of two builds counts.
const NEAR: usize = 3;

/// Of a figure's shift, at least so much must be the canary's for the surroundings to be the reason.
const CANARY_SHARE: f64 = 0.5;

/// What was found in every epoch that was searched.
#[derive(Debug, Default)]
pub struct Found {
    trends: HashMap<[u8; 32], Vec<Trend>>,
    /// How many of them the last search did not know.
    anew: usize,
}

#[cfg(test)]
impl Found {
    /// Epochs that were searched, and the canaries of epochs.
    pub(super) fn searched(&self) -> usize {
        self.trends.len()
    }

    /// Of those, how many were not known before.
    pub(super) fn searched_anew(&self) -> usize {
        self.anew
    }
}

/// One change that a trend shows.
#[derive(Debug, Clone, Copy)]
struct Trend {
    change: Change,
    state: ChangeState,
}

/// A change of a series, before gates are asked. Indices are those of the series' points.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// Which series.
    pub(super) series: usize,
    pub(super) state: ChangeState,
    pub(super) note: Option<String>,
    /// ln(cost after / cost before).
    pub(super) shift: f64,
    /// Standard deviation of the segment before, as a logarithm.
    pub(super) noise: Option<f64>,
    pub(super) p: f64,
    /// Last point before, and first point after.
    pub(super) border: (usize, usize),
    pub(super) before: usize,
    pub(super) after: usize,
    /// Last point of the epoch: it says that the change is there.
    pub(super) newest: usize,
}

impl Candidate {
    /// The builds on both sides.
    pub(super) fn builds<'a>(&self, points: &'a [Point]) -> (&'a Build, &'a Build) {
        let (good, bad) = self.border;
        (&points[good].build, &points[bad].build)
    }
}

/// The points of one epoch that are searched, and their costs.
pub(super) struct Epoch {
    /// Places among the series' points.
    pub(super) places: Vec<usize>,
    costs: Vec<f64>,
    canary: Option<Vec<f64>>,
}

impl Epoch {
    /// What is searched: costs, over the canary's where there is one.
    pub(super) fn values(&self) -> Vec<f64> {
        match &self.canary {
            Some(canary) => (self.costs.iter().zip(canary))
                .map(|(cost, canary)| cost / canary)
                .collect(),
            None => self.costs.clone(),
        }
    }
}

/// The epochs of a series. Where a canary ran, points without one are left out.
pub(super) fn epochs(gathered: &Gathered<'_>) -> Vec<Epoch> {
    let points = &gathered.series.points;
    let mut places: Vec<usize> = (0..points.len()).collect();
    let mut all = Vec::new();
    while let Some(first) = places.first() {
        let epoch = points[*first].epoch;
        let end = places.partition_point(|place| points[*place].epoch == epoch);
        let rest = places.split_off(end);
        let mut own = std::mem::replace(&mut places, rest);
        let watched = own.iter().any(|place| points[*place].canary.is_some());
        own.retain(|place| !watched || points[*place].canary.is_some());
        let cost = |value: f64| gathered.metric.cost(value);
        all.push(Epoch {
            costs: own.iter().map(|place| cost(points[*place].value)).collect(),
            canary: watched.then(|| {
                let canary = own.iter().filter_map(|place| points[*place].canary);
                canary.map(cost).collect()
            }),
            places: own,
        });
    }
    all
}

/// Every change that a trend shows, of every series; `found` keeps what this search found.
pub(super) fn search(gathered: &[Gathered<'_>], found: &mut Found) -> Vec<Candidate> {
    let mut kept = Found::default();
    let mut candidates = Vec::new();
    for (series, one) in gathered.iter().enumerate() {
        let points = &one.series.points;
        for epoch in epochs(one) {
            let id = &one.series.row.id;
            let mut search = |values: &[f64]| trends(id, values, one.is_gone, found, &mut kept);
            let own = search(&epoch.values());
            let moved = epoch.canary.as_ref().map(|canary| search(canary));
            let at_border = |trend: &Trend| border(&epoch, trend, points);
            candidates.extend(own.iter().map(|trend| {
                let mut candidate = at_border(trend);
                candidate.series = series;
                if one.is_gone {
                    candidate.note.get_or_insert_with(|| {
                        "unconfirmed: nothing has come from this machine for 90 days".to_owned()
                    });
                }
                candidate
            }));
            let surroundings = moved.into_iter().flatten().filter(|trend| {
                trend.state == ChangeState::Certified
                    && own
                        .iter()
                        .all(|one| one.change.at.abs_diff(trend.change.at) > NEAR)
            });
            candidates.extend(surroundings.filter_map(|trend| {
                let shift = moved_with(&epoch, &trend)?;
                let mut candidate = at_border(&trend);
                candidate.series = series;
                candidate.shift = shift;
                candidate.state = ChangeState::Environment;
                candidate.note = Some("the canary, a pinned build, moved with it".to_owned());
                Some(candidate)
            }));
        }
    }
    *found = kept;
    candidates
}

/// What a trend shows in one epoch's values: certified changes, and a suspect after the last.
fn trends(
    series: &str,
    values: &[f64],
    is_gone: bool,
    found: &Found,
    kept: &mut Found,
) -> Vec<Trend> {
    let mut hasher = Sha256::new_with_prefix(series);
    hasher.update([u8::from(is_gone)]);
    for value in values {
        hasher.update(value.to_bits().to_be_bytes());
    }
    let seed: [u8; 32] = hasher.finalize().into();
    let trends = found.trends.get(&seed).cloned().unwrap_or_else(|| {
        kept.anew += 1;
        let splits = splits(values, is_gone, seed);
        let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
        let begin = |place: usize| splits.get(place).map_or(logs.len(), |split| split.at);
        let described = splits.iter().enumerate().map(|(place, split)| {
            let from = place.checked_sub(1).map_or(0, begin);
            Trend {
                change: change::described(&logs, [from, split.at, begin(place + 1)], split.p),
                state: split.state,
            }
        });
        described.collect()
    });
    kept.trends.insert(seed, trends.clone());
    trends
}

/// Where a trend splits an epoch.
#[derive(Debug, Clone, Copy)]
struct Split {
    at: usize,
    p: f64,
    state: ChangeState,
}

/// Certified splits, and where the points after the last of them are suspect, in their order.
fn splits(values: &[f64], is_gone: bool, seed: [u8; 32]) -> Vec<Split> {
    let certified = |from: usize, to: usize| -> Vec<Split> {
        let values = &values[from..to];
        let found = if is_gone {
            change::certified_in_chunks(values, seed)
        } else {
            change::certified(values, seed)
        };
        let split = |change: &Change| Split {
            at: from + change.at,
            p: change.p,
            state: ChangeState::Certified,
        };
        found.iter().map(split).collect()
    };
    let suspect = |from: usize| {
        let found = change::suspect(&values[from..])?;
        Some(Split {
            at: from + found.at,
            p: found.p,
            state: ChangeState::Suspect,
        })
    };
    let last = |splits: &[Split]| splits.last().map_or(0, |split| split.at);
    let mut all = certified(0, values.len());
    let from = last(&all);
    let Some(mut open) = suspect(from) else {
        return all;
    };
    // A change that was taken back hides in the whole: there is nearly as much before as after it.
    // On one side of it what took it back is plain, and without that, it is as well.
    let before = certified(from, open.at);
    let after = certified(open.at, values.len());
    if before.is_empty() && after.is_empty() {
        all.push(open);
        return all;
    }
    let begin = from.max(last(&before));
    let end = after.first().map_or(values.len(), |split| split.at);
    if let [alone] = certified(begin, end)[..] {
        open = alone;
    }
    all.extend(before);
    all.push(open);
    all.extend(after);
    let newest = suspect(last(&all));
    all.extend(newest.filter(|_| open.at != last(&all)));
    all
}

/// How far the cost itself moved where its canary did; `None` where it moved less than half as far,
/// or the other way.
fn moved_with(epoch: &Epoch, trend: &Trend) -> Option<f64> {
    let Change {
        at, before, after, ..
    } = trend.change;
    let middle = |from, to| median(&epoch.costs[from..to]).map(f64::ln);
    let shift = middle(at, at + after)? - middle(at - before, at)?;
    (trend.change.shift / shift >= CANARY_SHARE).then_some(shift)
}

/// A trend as a change between two builds: the same build on both sides cannot be what changed.
fn border(epoch: &Epoch, trend: &Trend, points: &[Point]) -> Candidate {
    let places = &epoch.places;
    let build = |at: usize| &points[places[at]].build;
    let found = trend.change.at;
    let differs = |at: &usize| build(*at - 1) != build(*at);
    let near = found.saturating_sub(NEAR).max(1)..=(found + NEAR).min(places.len() - 1);
    let nearest = near
        .filter(differs)
        .min_by_key(|at| (at.abs_diff(found), *at));
    let at = nearest.unwrap_or(found);
    let mut candidate = Candidate {
        series: 0,
        state: trend.state,
        note: None,
        shift: trend.change.shift,
        noise: Some(trend.change.noise).filter(|noise| *noise > 0.0),
        p: trend.change.p,
        border: (places[at - 1], places[at]),
        before: trend.change.before,
        after: trend.change.after,
        newest: places[places.len() - 1],
    };
    if nearest.is_none() {
        if build(at).is_told() {
            candidate.state = ChangeState::Environment;
            candidate.note = Some("the same build stands on both sides of it".to_owned());
        } else {
            candidate.note =
                Some("nothing recorded tells the builds on both sides apart".to_owned());
        }
    }
    candidate
}

#[cfg(test)]
mod tests {
    use domain::statistics::bootstrap::Resampler;

    use super::*;

    /// Costs that scatter evenly by 2 %, with levels that begin where they say.
    fn costs(seed: u8, levels: &[(usize, f64)]) -> Vec<f64> {
        let mut draws = Resampler::new([seed; 32]);
        let each = levels
            .iter()
            .flat_map(|(points, level)| vec![*level; *points]);
        each.map(|level| level * (0.99 + 0.02 * draws.share()))
            .collect()
    }

    fn certified(values: &[f64]) -> Vec<usize> {
        let splits = splits(values, false, [1; 32]);
        assert!(splits.is_sorted_by(|a, b| a.at < b.at), "{splits:?}");
        let certain = splits
            .iter()
            .filter(|split| split.state == ChangeState::Certified);
        certain.map(|split| split.at).collect()
    }

    #[test]
    fn what_was_taken_back_is_mostly_found_where_the_whole_mostly_hides_it() {
        let is_both = |found: &[usize]| {
            let near = |at: usize, begins: usize| at.abs_diff(begins) <= NEAR;
            matches!(found, [slow, fixed] if near(*slow, 40) && near(*fixed, 52))
        };
        let (mut both, mut of_the_whole) = (0, 0);
        for seed in 0..20 {
            let values = costs(seed, &[(40, 1.0), (12, 1.05), (12, 1.0)]);
            let whole = change::certified(&values, [1; 32]);
            let whole: Vec<usize> = whole.iter().map(|change| change.at).collect();
            of_the_whole += usize::from(is_both(&whole));
            both += usize::from(is_both(&certified(&values)));
        }
        // Three of four are expected, so fewer than half once in a hundred; of the whole one of four.
        assert!(both >= 10 && both > of_the_whole, "{both}, {of_the_whole}");
    }

    #[test]
    fn where_nothing_changed_next_to_nothing_is_certain() {
        let false_ones = (0..200).filter(|seed| {
            let found = certified(&costs(*seed, &[(80, 1.0)]));
            !found.is_empty()
        });
        // At 0.5 % and a little, one or two are expected, and more than six once in a thousand.
        assert!(false_ones.count() <= 6);
    }
}
