//! Which setup is the cheapest that surely passes a kind of task.
//!
//! Surely: the low end of the Clopper-Pearson 95 % interval of its right answers is not below the
//! pass mark. That needs items: of 80 %, no fewer than 17, all right.

use std::collections::BTreeMap;

use domain::api::{DATA_LICENCE, FamilyScore, PassingResult, TaskRow, TasksAnswer};
use domain::ids::Slug;
use domain::query::{FieldError, TasksQuery};
use domain::statistics::proportion::clopper_pearson;
use domain::suite::{Family, Suite};
use domain::tier::Tier;

use crate::derive::CellResult;
use crate::numbers::number;

/// One row per family and level of the asked suite.
///
/// # Errors
///
/// A suite that there is not.
pub fn answer(
    results: &[CellResult],
    query: &TasksQuery,
    tier_floor: Tier,
    data_version: &str,
) -> Result<TasksAnswer, Vec<FieldError>> {
    let scored: Vec<&CellResult> = results
        .iter()
        .filter(|cell| cell.row.quality.is_some() && cell.row.tier >= Some(tier_floor))
        .collect();
    let mut counts: BTreeMap<Suite, usize> = BTreeMap::new();
    for suite in scored.iter().filter_map(|cell| suite_of(cell)) {
        *counts.entry(suite).or_default() += 1;
    }
    let suite = chosen(query.suite.as_ref(), &counts)?;
    let of_suite: Vec<&CellResult> = scored
        .into_iter()
        .filter(|cell| suite_of(cell) == Some(suite))
        .collect();
    let pass = query.pass_percent / 100.0;
    let rows = suite
        .families()
        .iter()
        .flat_map(|&family| (0..=suite.levels()).map(move |level| (family, level)))
        .map(|(family, level)| row(&of_suite, family, level, pass))
        .collect();
    Ok(TasksAnswer {
        data_version: data_version.to_owned(),
        licence: DATA_LICENCE.to_owned(),
        suite: suite.name().to_owned(),
        suites: counts.keys().map(ToString::to_string).collect(),
        pass,
        rows,
    })
}

fn suite_of(cell: &CellResult) -> Option<Suite> {
    Suite::from_name(cell.row.suite.as_deref()?)
}

/// The asked suite; else `core-v1` where it has results, else the one with the most.
fn chosen(asked: Option<&Slug>, counts: &BTreeMap<Suite, usize>) -> Result<Suite, Vec<FieldError>> {
    let Some(asked) = asked else {
        let core = counts.contains_key(&Suite::CoreV1);
        let most = counts.iter().max_by_key(|(_, count)| **count);
        return Ok(match most {
            Some((suite, _)) if !core => *suite,
            _ => Suite::CoreV1,
        });
    };
    Suite::from_name(asked.as_str()).ok_or_else(|| {
        let names = Suite::ALL.map(Suite::name).join(", ");
        vec![FieldError {
            field: "suite".to_owned(),
            message: format!("no such suite; there are: {names}"),
            given: asked.to_string(),
        }]
    })
}

/// A result and its answers to one family at one level.
type Answered<'a> = (&'a CellResult, &'a FamilyScore);

fn row(cells: &[&CellResult], family: Family, level: u8, pass: f64) -> TaskRow {
    let answered: Vec<Answered> = cells
        .iter()
        .filter_map(|cell| {
            let of = |one: &&domain::api::VariantFamily| {
                one.level == level && one.score.family == family.name()
            };
            Some((*cell, &cell.families.iter().find(of)?.score))
        })
        .collect();
    let passing: Vec<Answered> = answered
        .iter()
        .copied()
        .filter(|(_, score)| score.accuracy_ci95_low >= pass)
        .collect();
    let cheapest = cheapest(&passing);
    TaskRow {
        family: family.name().to_owned(),
        description: family.describe().to_owned(),
        level,
        results: answered.len() as u32,
        passing: passing.len() as u32,
        reason: cheapest
            .is_none()
            .then(|| why_none(&answered, passing.len(), pass)),
        cheapest,
    }
}

/// The lowest price, then the highest speed.
fn cheapest(passing: &[Answered]) -> Option<PassingResult> {
    let priced = passing
        .iter()
        .filter_map(|(cell, score)| Some((cell.row.price_usd?, cell, score)));
    let speed = |cell: &CellResult| cell.row.decode_tokens_per_second.unwrap_or(0.0);
    let (price_usd, cell, score) = priced.min_by(|a, b| {
        a.0.total_cmp(&b.0)
            .then(speed(b.1).total_cmp(&speed(a.1)))
            .then(a.1.row.id.cmp(&b.1.row.id))
    })?;
    let row = &cell.row;
    Some(PassingResult {
        id: row.id.clone(),
        model: row.model.clone(),
        quant: row.quant.clone(),
        setup: row.setup.clone(),
        setup_name: row.setup_name.clone(),
        price_usd,
        price_date: row.price_date.clone().unwrap_or_default(),
        decode_tokens_per_second: row.decode_tokens_per_second,
        correct: score.correct,
        items: score.items,
        accuracy_ci95_low: score.accuracy_ci95_low,
        accuracy_ci95_high: score.accuracy_ci95_high,
    })
}

fn why_none(answered: &[Answered], passing: usize, pass: f64) -> String {
    let most = answered.iter().map(|(_, score)| score.items).max();
    let mark = number(100.0 * pass);
    let needed = least_items(pass);
    match most {
        None => "no result has answers to it".to_owned(),
        Some(_) if passing > 0 => "none of those that pass has a price".to_owned(),
        Some(most) if most < needed => format!(
            "no result has enough items: {needed}, all answered rightly, are the least that surely pass {mark} %, and the most asked is {most}"
        ),
        Some(_) => format!("no result is surely above {mark} %"),
    }
}

/// The fewest items that surely pass, all of them right.
fn least_items(pass: f64) -> u32 {
    let passes = |items: &u32| clopper_pearson(*items, *items, 0.95).0 >= pass;
    (1..1_000).find(passes).unwrap_or(1_000)
}

#[cfg(test)]
mod tests;
