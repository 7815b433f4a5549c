//! The choices that the data offers.

use std::collections::BTreeMap;

use domain::api::{Facet, Facets};
use domain::ids::Slug;
use domain::tier::Tier;

use crate::derive::CellResult;

/// Choices among the cells at or above the floor, by slug.
pub(super) fn of(cells: &[&CellResult], tier_floor: Tier) -> Facets {
    let rows = || {
        cells
            .iter()
            .map(|cell| &cell.row)
            .filter(|row| row.tier >= Some(tier_floor))
    };
    Facets {
        workloads: count(rows().map(|row| (row.workload.as_str(), row.workload.as_str()))),
        engines: count(rows().map(|row| (row.engine.as_str(), row.engine.as_str()))),
        models: count(rows().map(|row| (row.model_slug.as_str(), row.model.as_str()))),
        setups: count(rows().map(|row| (row.setup.as_str(), row.setup_name.as_str()))),
        suites: count(
            rows()
                .filter_map(|row| row.suite.as_deref())
                .map(|suite| (suite, suite)),
        ),
        // Every scope that a result was measured at and can be compared at. A scope's name holds dots and plus signs; it is no slug, and is shown as it is.
        scopes: tally(
            cells
                .iter()
                .filter(|cell| cell.row.tier >= Some(tier_floor))
                .flat_map(|cell| &cell.energies)
                .filter(|energy| energy.row.energy_scope.is_some() && energy.holds_the_work)
                .map(|energy| (energy.scope.clone(), energy.scope.clone())),
        ),
    }
}

fn count<'a>(values: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Facet> {
    tally(
        values.filter_map(|(value, name)| {
            Some((Slug::from_text(value)?.to_string(), name.to_owned()))
        }),
    )
}

/// Counts by value; a value's name is the first in order.
fn tally(values: impl Iterator<Item = (String, String)>) -> Vec<Facet> {
    let mut counts: BTreeMap<String, (String, u32)> = BTreeMap::new();
    for (value, name) in values {
        let entry = counts.entry(value).or_insert_with(|| (name.clone(), 0));
        if name < entry.0 {
            entry.0 = name;
        }
        entry.1 += 1;
    }
    counts
        .into_iter()
        .map(|(value, (name, count))| Facet { value, name, count })
        .collect()
}
