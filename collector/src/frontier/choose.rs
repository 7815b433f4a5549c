//! What is weighed, who is compared, and why the others are not.

use std::collections::{BTreeMap, BTreeSet};

use domain::api::{Objective, ResultRow};
use domain::ids::Slug;
use domain::query::FrontierQuery;
use domain::tier::Tier;

use super::{Candidate, words};
use crate::derive::{CellResult, ScopeEnergy};
use crate::numbers::number;

/// The comparison that a question leads to.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    pub(super) objectives: Vec<Objective>,
    pub(super) objectives_reason: Option<String>,
    /// Suite version that the rows share, when quality is weighed.
    pub(super) suite: Option<String>,
    /// Workload that the rows share.
    pub(super) workload: Option<String>,
    /// Its shape and speculation arm.
    comparable: Option<String>,
    /// Energy scope at which joules are shown where they were measured: the reader's, or that of
    /// the most results when joules are weighed or bounded.
    pub(super) scope: Option<String>,
    /// Joules are weighed or bounded.
    joules: bool,
    /// The reader puts joules of different scopes side by side.
    across_scopes: bool,
}

impl Choice {
    /// Energy scope that the rows' joules must share.
    pub(super) fn shared_scope(&self) -> Option<&str> {
        let shared = self.joules && !self.across_scopes;
        self.scope.as_deref().filter(|_| shared)
    }
}

/// Whether the reader's facets include a cell.
pub(super) fn is_asked(cell: &CellResult, query: &FrontierQuery) -> bool {
    let row = &cell.row;
    let any_of = |asked: &BTreeSet<Slug>, value: &str| {
        asked.is_empty() || Slug::from_text(value).is_some_and(|slug| asked.contains(&slug))
    };
    any_of(&query.engines, &row.engine)
        && any_of(&query.models, &row.model_slug)
        && any_of(&query.setups, &row.setup)
        && (query.vendors.is_empty() || !query.vendors.is_disjoint(&cell.vendors))
}

/// Chooses objectives and the group of equals: the reader's, or a plain workload's before others,
/// then the one with most results, then the first by name.
pub(super) fn choose(asked: &[Candidate], query: &FrontierQuery, tier_floor: Tier) -> Choice {
    let weighs = |objective| {
        query
            .objectives
            .as_ref()
            .is_none_or(|all| all.contains(&objective))
    };
    let needs_quality = weighs(Objective::Quality);
    let mut groups: BTreeMap<(Option<&str>, &str), Vec<&Candidate>> = BTreeMap::new();
    for candidate in asked {
        let row = &candidate.row;
        let named = |asked: &Option<Slug>, value: Option<&str>| {
            asked
                .as_ref()
                .is_none_or(|slug| value.and_then(Slug::from_text).as_ref() == Some(slug))
        };
        let fits = row.tier >= Some(tier_floor)
            && candidate.cell.failed.is_none()
            && (!needs_quality || row.quality.is_some())
            && named(&query.workload, Some(&row.workload))
            && named(&query.suite, row.suite.as_deref());
        if fits {
            let suite = row.suite.as_deref().filter(|_| needs_quality);
            groups
                .entry((suite, &candidate.cell.comparable))
                .or_default()
                .push(candidate);
        }
    }
    // What a buyer means who names no workload: one request at a time, from nothing.
    let weight = |members: &Vec<&Candidate>| {
        let plain = members.iter().any(|member| is_plain(&member.row));
        (plain, members.len())
    };
    let most = groups.values().map(weight).max();
    let largest = groups
        .into_iter()
        .find(|(_, members)| Some(weight(members)) == most);
    let members = largest.as_ref().map_or(&[][..], |(_, members)| members);
    let (objectives, objectives_reason) = match &query.objectives {
        Some(objectives) => (objectives.clone(), None),
        None => default_objectives(members, query.budget_usd),
    };
    let joules = objectives.contains(&Objective::Joules) || query.max_joules.is_some();
    let scope = match &query.scope {
        Some(scope) => Some(scope.to_string()),
        None if joules && !query.across_scopes => most_frequent_scope(members),
        None => None,
    };
    Choice {
        objectives,
        objectives_reason,
        suite: largest
            .as_ref()
            .and_then(|((suite, _), _)| suite.map(str::to_owned)),
        workload: members.first().map(|member| member.row.workload.clone()),
        comparable: largest
            .as_ref()
            .map(|((_, comparable), _)| (*comparable).to_owned()),
        scope,
        joules,
        across_scopes: query.across_scopes,
    }
}

/// One stream, a cold cache, no context before the prompt, one sample.
fn is_plain(row: &ResultRow) -> bool {
    row.concurrency <= 1 && row.depth_tokens == 0 && row.kv_state == "cold" && row.samples <= 1
}

/// Price and quality; quality and decode speed where the prices within the budget cannot tell
/// results apart.
fn default_objectives(members: &[&Candidate], budget: f64) -> (Vec<Objective>, Option<String>) {
    let prices = || members.iter().filter_map(|member| member.row.price_usd);
    let known: BTreeSet<u64> = prices().map(f64::to_bits).collect();
    let within: BTreeSet<u64> = prices()
        .filter(|price| *price <= budget)
        .map(f64::to_bits)
        .collect();
    let only = within.first().map(|bits| words::usd(f64::from_bits(*bits)));
    let why = match (known.len(), within.len(), only) {
        (0, ..) => "No price is known for these results".to_owned(),
        (_, 0, _) => "No known price is within the budget".to_owned(),
        (1, 1, Some(only)) => format!("Only one price is known ({only})"),
        (_, 1, Some(only)) => format!("Only one known price is within the budget ({only})"),
        _ => return (vec![Objective::Price, Objective::Quality], None),
    };
    (
        vec![Objective::Quality, Objective::Decode],
        Some(format!(
            "{why}, so quality is weighed against decode speed."
        )),
    )
}

/// The scope at which the most results can be compared; of equals, the one that is the most
/// results' headline.
fn most_frequent_scope(members: &[&Candidate]) -> Option<String> {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for energy in members.iter().flat_map(|member| &member.cell.energies) {
        if energy.row.joules_per_correct_answer.is_some() && why_barred(energy).is_none() {
            let count = counts.entry(&energy.scope).or_default();
            count.0 += 1;
            count.1 += usize::from(energy.is_headline);
        }
    }
    let most = counts.values().copied().max();
    counts
        .into_iter()
        .find(|(_, count)| Some(*count) == most)
        .map(|(scope, _)| scope.to_owned())
}

/// Why joules that were measured are on no front.
pub(crate) fn why_barred(energy: &ScopeEnergy) -> Option<(&'static str, String)> {
    let row = &energy.row;
    if !energy.holds_the_work {
        return Some((
            "partial-scope",
            format!("joules of {} leave out part of what worked", energy.scope),
        ));
    }
    if row.energy_method.as_deref() == Some("regression") {
        let words = "joules told apart by a regression are compared with nothing";
        return Some(("regression", words.to_owned()));
    }
    row.flags
        .split(' ')
        .any(|flag| flag == "not-closed")
        .then(|| {
            let words = "the joules of its phases do not add up to those of real requests";
            ("not-closed", words.to_owned())
        })
}

/// Why a candidate is not compared: a code and a reason in words. `None` when it is.
pub(super) fn why_left_out(
    candidate: &Candidate,
    query: &FrontierQuery,
    choice: &Choice,
    tier_floor: Tier,
) -> Option<(&'static str, String)> {
    unmeasured(candidate, choice, tier_floor)
        .or_else(|| unequal(candidate, choice))
        .or_else(|| lacking(candidate, choice))
        .or_else(|| outside(candidate, query))
}

fn unmeasured(
    candidate: &Candidate,
    choice: &Choice,
    tier_floor: Tier,
) -> Option<(&'static str, String)> {
    let row = &candidate.row;
    if row.tier < Some(tier_floor) {
        let tier = row.tier.map_or("without a tier", Tier::as_str);
        return Some((
            "below-tier",
            format!("{tier}; {} or better is asked", tier_floor.as_str()),
        ));
    }
    if let Some(reason) = &candidate.cell.failed {
        return Some(("failed", reason.clone()));
    }
    let weighs_quality = choice.objectives.contains(&Objective::Quality);
    (weighs_quality && row.quality.is_none())
        .then(|| ("no-quality", or_not_recorded(row.quality_reason.as_ref())))
}

/// Another workload, suite or scope than the rows share.
fn unequal(candidate: &Candidate, choice: &Choice) -> Option<(&'static str, String)> {
    let row = &candidate.row;
    if Some(&candidate.cell.comparable) != choice.comparable.as_ref() {
        let shared = choice.workload.as_deref().unwrap_or("another one");
        let reason = if shared == row.workload {
            format!(
                "another form of workload {shared}: streams, depth, cache, samples or speculation differ"
            )
        } else {
            format!(
                "measured with workload {}; this frontier compares {shared}",
                row.workload
            )
        };
        return Some(("other-workload", reason));
    }
    if choice.suite.is_some() && row.suite != choice.suite {
        let (own, shared) = (
            row.suite.as_deref().unwrap_or("none"),
            choice.suite.as_deref().unwrap_or("none"),
        );
        return Some((
            "other-suite",
            format!("answered suite {own}; this frontier compares {shared}"),
        ));
    }
    if !choice.joules || row.joules_per_correct_answer.is_none() {
        return None;
    }
    let own = row.energy_scope.as_deref();
    if let Some(shared) = choice.shared_scope().filter(|shared| own != Some(shared)) {
        return Some((
            "other-scope",
            format!(
                "joules of {}; this frontier compares {shared}",
                own.unwrap_or("no scope")
            ),
        ));
    }
    candidate.energy().and_then(why_barred)
}

/// An objective that was not measured, or without the repetitions that an interval needs.
fn lacking(candidate: &Candidate, choice: &Choice) -> Option<(&'static str, String)> {
    let row = &candidate.row;
    choice
        .objectives
        .iter()
        .find_map(|objective| match objective {
            Objective::Decode if row.decode_tokens_per_second.is_none() => {
                Some(("no-decode", or_not_recorded(row.decode_reason.as_ref())))
            }
            Objective::Decode if row.decode_tokens_per_second_ci95_low.is_none() => {
                let n = row.decode_tokens_per_second_n.unwrap_or(0);
                Some((
                    "no-interval",
                    format!("{n} repetitions; an interval needs six"),
                ))
            }
            Objective::Price if row.price_usd.is_none() => {
                Some(("no-price", or_not_recorded(row.price_reason.as_ref())))
            }
            Objective::Joules if row.joules_per_correct_answer.is_none() => {
                Some(("no-joules", or_not_recorded(row.energy_reason.as_ref())))
            }
            _ => None,
        })
}

/// Beyond what the reader allows. An unknown price is over no budget.
fn outside(candidate: &Candidate, query: &FrontierQuery) -> Option<(&'static str, String)> {
    let row = &candidate.row;
    if let Some(price) = row.price_usd.filter(|price| *price > query.budget_usd) {
        let over = words::usd(price - query.budget_usd);
        return Some((
            "over-budget",
            format!("{}: {over} over the budget", words::usd(price)),
        ));
    }
    if let Some(least) = query.min_decode {
        match row.decode_tokens_per_second {
            None => return Some(("no-decode", or_not_recorded(row.decode_reason.as_ref()))),
            Some(speed) if speed < least => {
                let (speed, least) = (number(speed), number(least));
                return Some(("too-slow", format!("{speed} tok/s; {least} are asked")));
            }
            Some(_) => {}
        }
    }
    if let Some(least) = query.min_quality_percent {
        match row.quality {
            None => return Some(("no-quality", or_not_recorded(row.quality_reason.as_ref()))),
            Some(quality) if 100.0 * quality < least => {
                return Some((
                    "below-quality",
                    format!("{:.1} %; {least} % are asked", 100.0 * quality),
                ));
            }
            Some(_) => {}
        }
    }
    let most = query.max_joules?;
    match row.joules_per_correct_answer {
        None => Some(("no-joules", or_not_recorded(row.energy_reason.as_ref()))),
        Some(joules) => (joules > most).then(|| {
            (
                "too-many-joules",
                format!(
                    "{} J per correct answer; at most {} are asked",
                    number(joules),
                    number(most)
                ),
            )
        }),
    }
}

fn or_not_recorded(reason: Option<&String>) -> String {
    reason.cloned().unwrap_or_else(|| "not recorded".to_owned())
}
