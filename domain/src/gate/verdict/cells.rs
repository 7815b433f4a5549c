//! Every cell-metric and every mean over cells: decided at its looks, confirmed, checked for layout.

use super::shape::ALL_CELLS;
use super::validity;
use super::values::{
    Place, mean_values, median_cost, stage, standard_deviation, values, was_measured,
};
use super::{CellJudgement, Confirmed};
use crate::gate::looks::{LOOKS, Rule, Seen, decide, look};
use crate::gate::plan::{cell_share, mde, suite_share};
use crate::gate::policy::{Policy, Waiver};
use crate::gate::rank::Walsh;
use crate::gate::record::{GateRecord, Purpose, StageKind};
use crate::gate::{Arm, Metric, Verdict};

/// Blocks of the base against itself, linked in another order.
pub(super) const LAYOUT_BLOCKS: usize = 16;

/// Part of a regression that another order of linking may make by itself.
const LAYOUT_PART: f64 = 0.5;

/// Reason of what a second measurement did not say again.
pub(super) const NOT_CONFIRMED: &str = "not-confirmed";

/// Reason of what another order of linking does as well.
pub(super) const LAYOUT_SENSITIVE: &str = "layout-sensitive";

/// A cell-metric, or the mean over the cells of a metric, as far as it is decided.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Cells it is about: one, or those that the mean is over.
    pub(super) members: Vec<Place>,
    pub(super) metric: Metric,
    pub(super) is_suite: bool,
    /// Why it cannot be measured.
    pub(super) unavailable: Option<String>,
    /// Part of alpha.
    pub(super) share: f64,
    pub(super) rule: Rule,
    /// Its blocks of the measuring stage.
    pub(super) values: Vec<f64>,
    /// What speaks against it.
    pub(super) flaw: Option<String>,
    pub(super) seen: Option<Seen>,
    /// The second measurement: its rule's alpha over what regressed, and what it saw.
    pub(super) second: Option<Seen>,
    /// Blocks of the second measurement.
    pub(super) second_blocks: usize,
    /// Effect of another order of linking, once its blocks are whole.
    pub(super) layout: Option<f64>,
    /// Blocks of that.
    pub(super) layout_blocks: usize,
    pub(super) waiver: Option<Waiver>,
}

impl Target {
    /// What the first measurement says.
    pub(super) fn first(&self) -> Verdict {
        (self.seen).map_or(Verdict::Inconclusive, |seen| seen.verdict)
    }

    /// Whether it regressed in the first measurement, and nothing speaks against that.
    pub(super) fn alarms(&self) -> bool {
        self.flaw.is_none() && self.first() == Verdict::Regressed
    }

    /// Whether it regressed in both.
    pub(super) fn is_confirmed(&self) -> bool {
        let second = self.second.map(|seen| seen.verdict);
        self.alarms() && second == Some(Verdict::Regressed)
    }

    /// Whether another order of linking does as well what the change seems to.
    fn is_layout_sensitive(&self) -> bool {
        (self.layout.zip(self.seen))
            .is_some_and(|(layout, seen)| layout.abs() >= LAYOUT_PART * seen.effect.abs())
    }

    /// Its verdict, were the measurement as a whole beyond doubt, and why it is undecided although
    /// its blocks decide.
    fn verdict(&self, purpose: Purpose) -> (Verdict, Option<String>) {
        if let Some(why) = &self.unavailable {
            return (Verdict::Invalid, Some(format!("unavailable: {why}")));
        }
        if let Some(flaw) = &self.flaw {
            return (Verdict::Invalid, Some(flaw.clone()));
        }
        // A comparison describes; it is no alarm that a second measurement could clear.
        if purpose == Purpose::Compare || self.first() != Verdict::Regressed {
            (self.first(), None)
        } else if !self.is_confirmed() {
            (Verdict::Inconclusive, Some(NOT_CONFIRMED.to_owned()))
        } else if self.is_layout_sensitive() {
            (Verdict::Inconclusive, Some(LAYOUT_SENSITIVE.to_owned()))
        } else {
            (Verdict::Regressed, None)
        }
    }

    /// The first later look that would decide if further blocks were like those so far: these,
    /// repeated, as many as it wants. `None` before the first look, which nothing is known from.
    pub(super) fn settles_after(&self) -> Option<usize> {
        self.seen?;
        (LOOKS.into_iter())
            .filter(|planned| planned.blocks > self.values.len())
            .find(|planned| {
                let like: Vec<f64> = (self.values.iter().copied().cycle())
                    .take(planned.blocks)
                    .collect();
                look(&like, planned.share, &self.rule)
                    .is_some_and(|seen| seen.verdict != Verdict::Inconclusive)
            })
            .map(|planned| planned.blocks)
    }
}

/// The cell-metrics that are gated and could be measured, those among them that were lost since.
pub(super) fn gated(record: &GateRecord) -> Vec<Place> {
    every(record)
        .filter(|(place, lack)| lack.is_none() || was_measured(record, *place))
        .map(|(place, _)| place)
        .collect()
}

/// Every cell-metric, and why it cannot be measured.
fn every(record: &GateRecord) -> impl Iterator<Item = (Place, Option<String>)> {
    record.cells.iter().enumerate().flat_map(|(at, cell)| {
        cell.metrics.iter().map(move |metric| {
            let lack = cell.unavailable.iter().find(|lack| lack.metric == *metric);
            let place = Place {
                cell: at,
                metric: *metric,
            };
            (place, lack.map(|lack| lack.reason.to_string()))
        })
    })
}

/// Every cell-metric and, of metrics with several cells, the mean; decided as far as there are
/// blocks. `waivers` are those in force.
pub(super) fn decided(record: &GateRecord, policy: &Policy, waivers: &[Waiver]) -> Vec<Target> {
    let mut targets = measured(record, policy, waivers);
    let alarms = targets.iter().filter(|target| target.alarms()).count();
    for target in targets.iter_mut().filter(|target| target.alarms()) {
        let rule = Rule {
            alpha: policy.alpha / alarms as f64,
            ..target.rule
        };
        let second = values_of(record, StageKind::Confirmation, &target.members);
        target.second_blocks = second.len();
        target.second = decide(&second, &rule, record.last_look as usize);
        let layout = values_of(record, StageKind::Layout, &target.members);
        target.layout_blocks = layout.len();
        target.layout = (layout.get(..LAYOUT_BLOCKS))
            .and_then(Walsh::of)
            .map(|walsh| walsh.effect());
    }
    targets
}

/// Every target by its first measurement.
fn measured(record: &GateRecord, policy: &Policy, waivers: &[Waiver]) -> Vec<Target> {
    let metrics: Vec<Metric> = gated(record).iter().map(|place| place.metric).collect();
    let mut targets: Vec<Target> = Vec::new();
    for (place, lack) in every(record) {
        let label = record.cells[place.cell].label.as_str();
        let share = cell_share(place.metric, &metrics);
        let mut target = target(record, policy, vec![place], share);
        let is_lost = lack.is_some() && was_measured(record, place);
        target.flaw = match &lack {
            // A loss under way may be the candidate's doing: it is never just left out.
            Some(why) if is_lost => Some(format!("it was measured at first and then lost: {why}")),
            Some(why) => Some(why.clone()),
            None => validity::of_cell(record, policy, place),
        };
        target.unavailable = lack.filter(|_| !is_lost);
        target.waiver = waiver(waivers, label, place.metric);
        targets.push(target);
    }
    let suites: Vec<Target> = (Metric::ALL.into_iter())
        .filter_map(|metric| {
            // What is waived would make every cell's mean worse by what it may be worse.
            let members: Vec<&Target> = (targets.iter())
                .filter(|target| target.metric == metric)
                .filter(|target| target.unavailable.is_none() && target.waiver.is_none())
                .collect();
            if members.len() < 2 {
                return None;
            }
            let places = members.iter().flat_map(|target| target.members.clone());
            let mut suite = target(record, policy, places.collect(), suite_share(&metrics));
            suite.is_suite = true;
            suite.flaw = (members.iter().any(|target| target.flaw.is_some()))
                .then(|| "a cell of it does not count".to_owned());
            suite.waiver = waiver(waivers, ALL_CELLS, metric);
            Some(suite)
        })
        .collect();
    targets.extend(suites);
    targets
}

fn waiver(waivers: &[Waiver], label: &str, metric: Metric) -> Option<Waiver> {
    (waivers.iter())
        .find(|waiver| waiver.cell == label && waiver.metric == metric)
        .cloned()
}

/// One or several cells of one metric, decided by `share` of alpha.
fn target(record: &GateRecord, policy: &Policy, members: Vec<Place>, share: f64) -> Target {
    let metric = members[0].metric;
    let rule = Rule {
        practical_zero: policy.practical_zero.ln_1p(),
        tolerance: policy.tolerance(metric).ln_1p(),
        alpha: policy.alpha * share,
        beta: policy.beta,
    };
    let values = values_of(record, StageKind::Measuring, &members);
    Target {
        metric,
        is_suite: false,
        unavailable: None,
        share,
        rule,
        seen: decide(&values, &rule, record.last_look as usize),
        values,
        flaw: None,
        second: None,
        second_blocks: 0,
        layout: None,
        layout_blocks: 0,
        waiver: None,
        members,
    }
}

fn values_of(record: &GateRecord, kind: StageKind, members: &[Place]) -> Vec<f64> {
    match members {
        [place] => values(record, kind, *place),
        several => mean_values(record, kind, several),
    }
}

/// Whether a regression must be told from one that any order of linking makes: two programs, and a
/// policy that says how the base is linked again.
pub(super) fn wants_layout(record: &GateRecord, policy: &Policy) -> bool {
    let programs = (record.base.binary_sha256).zip(record.candidate.binary_sha256);
    let asks = (policy.arms.as_ref()).is_some_and(|arms| !arms.layout_build.is_empty());
    let lacking = stage(record, StageKind::Layout).is_some_and(|stage| stage.unavailable.is_some());
    programs.is_some_and(|(base, candidate)| base != candidate) && asks && !lacking
}

/// What one target comes to. `doubted`: something speaks against the whole measurement.
pub(super) fn told(
    record: &GateRecord,
    policy: &Policy,
    target: &Target,
    doubted: bool,
) -> CellJudgement {
    let (mut verdict, mut reason) = target.verdict(record.purpose);
    if doubted && verdict != Verdict::Invalid {
        (verdict, reason) = (Verdict::Invalid, None);
    }
    let place = target.members[0];
    let cell = &record.cells[place.cell];
    let seen = target.seen;
    let effect = match seen {
        Some(seen) => Some(seen.effect),
        None => Walsh::of(&target.values).map(|walsh| walsh.effect()),
    };
    let sd = standard_deviation(&target.values);
    let found = sd.zip(seen).and_then(|(sd, seen)| {
        let zero = target.rule.practical_zero;
        mde(sd, seen.blocks, policy.alpha, target.share, zero)
    });
    let costs = |arm| (!target.is_suite).then(|| median_cost(record, place, arm))?;
    let waived = target.waiver.as_ref().filter(|waiver| {
        matches!(verdict, Verdict::Regressed | Verdict::Inconclusive)
            && seen.is_some_and(|seen| seen.high < waiver.limit.ln_1p())
    });
    let small =
        verdict == Verdict::Pass && seen.is_some_and(|seen| seen.low > target.rule.practical_zero);
    CellJudgement {
        label: if target.is_suite {
            ALL_CELLS.to_owned()
        } else {
            cell.label.to_string()
        },
        model: if target.is_suite {
            String::new()
        } else {
            record.models[cell.model as usize].name.to_string()
        },
        metric: target.metric,
        verdict,
        reason,
        effect: effect.map(f64::exp_m1),
        low: seen.and_then(|seen| bounded(seen.low)),
        high: seen.and_then(|seen| bounded(seen.high)),
        blocks: seen.map_or(target.values.len(), |seen| seen.blocks) as u32,
        block_sd: sd,
        mde: found.map(f64::exp_m1),
        practical_zero: policy.practical_zero,
        tolerance: policy.tolerance(target.metric),
        small_regression: small,
        minutes_to_settle: minutes_to_settle(record, target, verdict),
        waived: waived.map(|waiver| {
            format!(
                "may be {:.1} % {} until {}: {}",
                100.0 * waiver.limit,
                target.metric.worse(),
                waiver.expires,
                waiver.reason
            )
        }),
        confirmation: target.second.map(|second| Confirmed {
            verdict: second.verdict,
            effect: second.effect.exp_m1(),
            low: bounded(second.low),
            high: bounded(second.high),
            blocks: second.blocks as u32,
        }),
        base_cost: costs(Arm::Base),
        candidate_cost: costs(Arm::Candidate),
    }
}

/// A limit as a share of the base; `None` where it is unbounded.
fn bounded(limit: f64) -> Option<f64> {
    limit.is_finite().then(|| limit.exp_m1())
}

/// Minutes of further blocks of its model until it is settled, where its spread lets one tell.
fn minutes_to_settle(record: &GateRecord, target: &Target, verdict: Verdict) -> Option<f64> {
    let open = verdict == Verdict::Inconclusive && target.first() == Verdict::Inconclusive;
    if !open || target.is_suite {
        return None;
    }
    let more = target.settles_after()? - target.values.len();
    let model = record.cells[target.members[0].cell].model;
    Some(more as f64 * super::values::block_seconds(record, model)? / 60.0)
}
