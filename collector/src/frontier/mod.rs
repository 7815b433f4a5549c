//! The frontier: what cannot be beaten within a budget, as far as the measurements can tell.
//!
//! [`answer`] is a pure function of the published cells and the question. It compares equals
//! only (one suite version, one workload and speculation arm, one energy scope when joules are
//! weighed, unless the reader asks to cross scopes), lists what it leaves out with the reason, and decides membership by seeded draws
//! that resample repetitions and suite items (file `membership`).

mod choose;
mod facets;
pub mod imported;
mod membership;
mod words;

use std::cmp::Ordering;

use domain::api::{DATA_LICENCE, FrontierAnswer, LeftOut, Membership, Objective, ResultRow};
use domain::hardware::PriceKind;
use domain::ids::Slug;
use domain::query::FrontierQuery;
use domain::tier::Tier;

use crate::derive::{CellResult, ScopeEnergy};

pub(crate) use choose::why_barred;
use membership::Standing;

/// A cell in question: its row, with the reader's price if there is one, at the energy scope that
/// is compared if the cell was measured there too.
#[derive(Debug, Clone)]
struct Candidate<'a> {
    row: ResultRow,
    cell: &'a CellResult,
}

impl<'a> Candidate<'a> {
    fn of(cell: &'a CellResult, scope: Option<&str>, query: &FrontierQuery) -> Self {
        let row = scope
            .and_then(|scope| cell.at_scope(scope))
            .map_or(&cell.row, |energy| &energy.row);
        Self {
            row: priced(row, query),
            cell,
        }
    }

    /// Its joules as they stand in its row, if they were measured.
    fn energy(&self) -> Option<&'a ScopeEnergy> {
        self.cell.at_scope(self.row.energy_scope.as_deref()?)
    }
}

/// Answers a question from the published cells.
///
/// `default_tier` is the collector's floor where the question names none; `data_version` seeds
/// the draws, so that one version of the data gives one answer.
pub fn answer(
    results: &[CellResult],
    query: &FrontierQuery,
    default_tier: Tier,
    data_version: &str,
) -> FrontierAnswer {
    let tier_floor = query.tier.unwrap_or(default_tier);
    let mut sorted: Vec<&CellResult> = results.iter().collect();
    sorted.sort_by(|a, b| a.row.id.cmp(&b.row.id));
    let facets = facets::of(&sorted, tier_floor);
    let asked: Vec<Candidate> = sorted
        .into_iter()
        .filter(|cell| choose::is_asked(cell, query))
        .map(|cell| Candidate::of(cell, None, query))
        .collect();
    let choice = choose::choose(&asked, query, tier_floor);
    let asked: Vec<Candidate> = asked
        .into_iter()
        .map(|candidate| Candidate::of(candidate.cell, choice.scope.as_deref(), query))
        .collect();
    let (mut shown, mut left_out) = (Vec::new(), Vec::new());
    let measured: Vec<&Candidate> = asked
        .iter()
        .filter(|candidate| {
            candidate.cell.failed.is_none() && candidate.row.tier >= Some(tier_floor)
        })
        .collect();
    let unpriced = measured
        .iter()
        .filter(|candidate| candidate.row.price_usd.is_none())
        .count();
    let measured = measured.len();
    for candidate in asked {
        match choose::why_left_out(&candidate, query, &choice, tier_floor) {
            None => shown.push(candidate),
            Some((code, reason)) => {
                left_out.push(LeftOut {
                    row: candidate.row,
                    code: code.to_owned(),
                    reason,
                });
            }
        }
    }
    left_out.sort_by(|a, b| (&a.code, &a.row.id).cmp(&(&b.code, &b.row.id)));
    let draws = membership::draws(&shown, &choice.objectives);
    let standings = membership::standings(&shown, &choice.objectives, data_version);
    let sentence = words::sentence(&shown, &standings, query, &left_out);
    let rows = ordered(shown, &standings, &choice.objectives);
    let count = |membership| {
        rows.iter()
            .filter(|row| row.membership == Some(membership))
            .count() as u32
    };
    FrontierAnswer {
        energy_scope: choice.shared_scope().map(str::to_owned),
        across_scopes: query.across_scopes,
        data_version: data_version.to_owned(),
        licence: DATA_LICENCE.to_owned(),
        query: query.canonical(),
        objectives: choice.objectives,
        objectives_reason: choice.objectives_reason,
        budget_usd: query.budget_usd,
        suite: choice.suite,
        workload: choice.workload,
        tier_floor,
        answer: sentence,
        measured: measured as u32,
        on: count(Membership::On),
        tied: count(Membership::Tied),
        unpriced: unpriced as u32,
        draws,
        rows,
        left_out,
        imported: Vec::new(),
        imported_reason: None,
        facets,
    }
}

/// The row with the reader's price in place of a recorded one.
fn priced(row: &ResultRow, query: &FrontierQuery) -> ResultRow {
    let mut row = row.clone();
    let given = row
        .setup
        .parse::<Slug>()
        .ok()
        .and_then(|setup| query.prices.get(&setup));
    if let Some(usd) = given {
        row.price_usd = Some(*usd);
        row.price_kind = Some(PriceKind::Reader);
        row.price_date = None;
        row.price_reason = None;
    }
    row
}

/// On, tied, dominated; within each by the first objective, best first, then by id.
fn ordered(
    shown: Vec<Candidate<'_>>,
    standings: &[Standing],
    objectives: &[Objective],
) -> Vec<ResultRow> {
    let ids: Vec<String> = shown
        .iter()
        .map(|candidate| candidate.row.id.clone())
        .collect();
    let mut rows: Vec<ResultRow> = shown
        .into_iter()
        .zip(standings)
        .map(|(candidate, standing)| ResultRow {
            membership: Some(standing.membership),
            p_on_frontier: Some(standing.p),
            dominated_by: standing.dominated_by.map(|index| ids[index].clone()),
            ..candidate.row
        })
        .collect();
    rows.sort_by(|a, b| {
        let best_first = objectives
            .first()
            .map_or(Ordering::Equal, |objective| better(*objective, a, b));
        a.membership
            .cmp(&b.membership)
            .then(best_first)
            .then(a.id.cmp(&b.id))
    });
    rows
}

/// `Less` when `a` is better in an objective; what is unknown comes last.
fn better(objective: Objective, a: &ResultRow, b: &ResultRow) -> Ordering {
    let turned = |row: &ResultRow| {
        objective
            .of(row)
            .map_or(f64::NEG_INFINITY, |value| turned(objective, value))
    };
    turned(b).total_cmp(&turned(a))
}

/// A value turned so that more is better.
fn turned(objective: Objective, value: f64) -> f64 {
    if objective.higher_is_better() {
        value
    } else {
        -value
    }
}

#[cfg(test)]
mod tests;
