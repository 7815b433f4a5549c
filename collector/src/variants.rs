//! One model's variants side by side: what quantisation and pruning cost in quality, and what they
//! save in bytes, time and joules.
//!
//! Variants are compared within a group: one setup, engine, workload (shape and speculation arm
//! too) and suite. The reference is the group's unquantised, unpruned variant with the most items;
//! every paired figure is against it. Results without answers (failed ones among them) stand in the
//! groups of their setup, engine and workload, with the reason.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use domain::api::{DATA_LICENCE, ModelDetail, VariantGroup, VariantRow};
use domain::ids::Slug;
use domain::query::{FieldError, ModelQuery};
use domain::record::Workload;
use domain::statistics::proportion::clopper_pearson;
use domain::suite::Suite;

use crate::derive::{CellResult, FidelityFigures, MIN_ITEMS};
use crate::difference::{Difference, pairs};
use crate::frontier;
use crate::snapshot::ModelFacts;

/// Labels of weights that are not quantised.
const UNQUANTISED: [&str; 5] = ["F32", "BF16", "F16", "FP32", "FP16"];

/// What is known of a model's variants; a value that no group has is an error that names those
/// that have one.
///
/// # Errors
///
/// A parameter names what no variant of this model was measured with.
pub fn answer(
    model: &ModelFacts,
    results: &[CellResult],
    query: &ModelQuery,
    data_version: &str,
) -> Result<ModelDetail, Vec<FieldError>> {
    let own: Vec<&CellResult> = results
        .iter()
        .filter(|result| result.row.model_slug == model.slug)
        .collect();
    let groups = groups(&own);
    known(query, &groups)?;
    let group = groups.iter().find(|group| group.is_asked(query));
    let reference = group.and_then(Group::reference);
    let unquantised: BTreeSet<&str> = own
        .iter()
        .filter(|cell| is_unquantised(cell))
        .map(|cell| cell.row.variant_sha256.as_str())
        .collect();
    let cells = group.map_or_else(Vec::new, |group| group.cells.clone());
    let corpus = group.and_then(Group::corpus);
    let row = |cell: &&CellResult| {
        let mut row = row(cell);
        publish_fidelity(&mut row, fidelity(cell, &own, corpus), &unquantised);
        if let Some(reference) = reference {
            against(&mut row, cell, reference);
        }
        row
    };
    Ok(ModelDetail {
        data_version: data_version.to_owned(),
        licence: DATA_LICENCE.to_owned(),
        slug: model.slug.clone(),
        name: model.name.clone(),
        arch: model.arch.clone(),
        params_total: model.params_total,
        group: group.map(|group| group.name.clone()),
        reference: reference.map(|cell| cell.row.id.clone()),
        reference_reason: reference.is_none().then(|| {
            if group.is_some() {
                "no unquantised, unpruned variant was measured here with enough items"
            } else {
                "no variant was measured with that setup, engine, workload and suite together"
            }
            .to_owned()
        }),
        variants: cells.iter().map(row).collect(),
        families: cells
            .iter()
            .flat_map(|cell| cell.families.iter().cloned())
            .collect(),
        groups: groups.into_iter().map(|group| group.name).collect(),
    })
}

/// What may be compared: one result of each variant.
struct Group<'a> {
    name: VariantGroup,
    /// When its newest record arrived.
    newest: &'a str,
    /// Most bytes first, the unpruned before the pruned.
    cells: Vec<&'a CellResult>,
}

impl<'a> Group<'a> {
    fn is_asked(&self, query: &ModelQuery) -> bool {
        let is = |asked: &Option<Slug>, name: Option<&str>| {
            asked.is_none() || asked.as_ref() == name.and_then(Slug::from_text).as_ref()
        };
        is(&query.setup, Some(&self.name.setup))
            && is(&query.engine, Some(&self.name.engine))
            && is(&query.workload, Some(&self.name.workload))
            && is(&query.suite, self.name.suite.as_deref())
    }

    /// The suite on whose corpus variants are compared, as one column holds one: the group's own;
    /// where nothing was answered, that of the first variant that was compared.
    fn corpus(&self) -> Option<Suite> {
        match &self.name.suite {
            Some(name) => Suite::from_name(name),
            None => self
                .cells
                .iter()
                .find_map(|cell| Some(cell.fidelity.as_ref().ok()?.suite)),
        }
    }

    fn reference(&self) -> Option<&'a CellResult> {
        self.cells
            .iter()
            .copied()
            .filter(|cell| is_unquantised(cell) && cell.row.quality.is_some())
            .max_by_key(|cell| {
                (
                    cell.row.quality_n,
                    cell.row.variant_bytes,
                    Reverse(&cell.row.id),
                )
            })
    }
}

fn is_unquantised(cell: &CellResult) -> bool {
    let label = cell.row.quant.to_ascii_uppercase();
    UNQUANTISED.contains(&label.as_str()) && cell.row.pruning == "none"
}

/// Every group, the one with the most variants first, then the newest.
fn groups<'a>(own: &[&'a CellResult]) -> Vec<Group<'a>> {
    // Setup, engine, workload, its form; then suite.
    let mut places: BTreeMap<[&str; 4], BTreeMap<Option<&str>, Vec<&CellResult>>> = BTreeMap::new();
    for cell in own {
        let row = &cell.row;
        places
            .entry([
                &row.setup,
                &row.engine_slug,
                &row.workload,
                &cell.comparable,
            ])
            .or_default()
            .entry(row.suite.as_deref())
            .or_default()
            .push(cell);
    }
    let mut groups = Vec::new();
    for ([setup, engine, workload, _], mut suites) in places {
        let without = suites.remove(&None).unwrap_or_default();
        if suites.is_empty() {
            suites.insert(None, Vec::new());
        }
        for (suite, mut cells) in suites {
            cells.extend(&without);
            let cells = one_per_variant(cells);
            groups.push(Group {
                name: VariantGroup {
                    setup: setup.to_owned(),
                    engine: engine.to_owned(),
                    workload: workload.to_owned(),
                    suite: suite.map(str::to_owned),
                    variants: cells.len() as u32,
                },
                newest: cells
                    .iter()
                    .map(|cell| cell.row.received_at.as_str())
                    .max()
                    .unwrap_or_default(),
                cells,
            });
        }
    }
    groups.sort_by(|a, b| {
        let rank = |group: &Group<'a>| (Reverse(group.name.variants), Reverse(group.newest));
        rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name))
    });
    // Two forms of one workload have one name: the first has more variants.
    let mut named = BTreeSet::new();
    groups.retain(|group| {
        let name = &group.name;
        named.insert([
            name.setup.clone(),
            name.engine.clone(),
            name.workload.clone(),
            name.suite.clone().unwrap_or_default(),
        ])
    });
    groups
}

/// Of each variant the result with the most items, then the newest.
fn one_per_variant(cells: Vec<&CellResult>) -> Vec<&CellResult> {
    let mut best: BTreeMap<&str, &CellResult> = BTreeMap::new();
    let rank = |cell: &CellResult| (cell.row.quality_n, cell.row.received_at.clone());
    for cell in cells {
        best.entry(&cell.row.variant_sha256)
            .and_modify(|known| {
                if rank(cell) > rank(known) {
                    *known = cell;
                }
            })
            .or_insert(cell);
    }
    let mut cells: Vec<_> = best.into_values().collect();
    cells.sort_by_key(|cell| {
        let row = &cell.row;
        (
            row.pruning != "none",
            // Of one kind of pruning the least first; what removes nothing is told apart by size.
            &row.pruning,
            (row.pruning_percent * 1e4) as u64,
            Reverse(row.variant_bytes),
            &row.variant_sha256,
        )
    });
    cells
}

/// Refuses values that no group has.
fn known(query: &ModelQuery, groups: &[Group]) -> Result<(), Vec<FieldError>> {
    type Name = fn(&VariantGroup) -> Option<&str>;
    let asked: [(&str, &Option<Slug>, Name); 4] = [
        ("setup", &query.setup, |name| Some(&name.setup)),
        ("engine", &query.engine, |name| Some(&name.engine)),
        ("workload", &query.workload, |name| Some(&name.workload)),
        ("suite", &query.suite, |name| name.suite.as_deref()),
    ];
    let errors: Vec<FieldError> = asked
        .into_iter()
        .filter_map(|(field, asked, name)| {
            let asked = asked.as_ref()?;
            let names: BTreeSet<&str> = groups
                .iter()
                .filter_map(|group| name(&group.name))
                .collect();
            let is_known = names
                .iter()
                .any(|name| Slug::from_text(name).as_ref() == Some(asked));
            (!is_known).then(|| FieldError {
                field: field.to_owned(),
                message: format!(
                    "no variant of this model was measured with it; there are: {}",
                    names.into_iter().collect::<Vec<_>>().join(", ")
                ),
                given: asked.to_string(),
            })
        })
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// What the variant's own result says.
fn row(cell: &CellResult) -> VariantRow {
    let row = &cell.row;
    VariantRow {
        result: row.id.clone(),
        variant_sha256: row.variant_sha256.clone(),
        quant: row.quant.clone(),
        pruning: row.pruning.clone(),
        pruning_recipe: cell.pruning_recipe.clone(),
        pruning_percent: row.pruning_percent,
        variant_bytes: row.variant_bytes,
        bits_per_weight: row.bits_per_weight,
        quality: row.quality,
        quality_ci95_low: row.quality_ci95_low,
        quality_ci95_high: row.quality_ci95_high,
        quality_n: row.quality_n,
        quality_reason: row.quality_reason.clone(),
        unextractable: row.quality.map(|_| {
            let items = cell.samples.items.values();
            items.filter(|item| item.unextractable).count() as u32
        }),
        decode_tokens_per_second: row.decode_tokens_per_second,
        decode_tokens_per_second_ci95_low: row.decode_tokens_per_second_ci95_low,
        decode_tokens_per_second_ci95_high: row.decode_tokens_per_second_ci95_high,
        decode_reason: row.decode_reason.clone(),
        joules_per_correct_answer: row.joules_per_correct_answer,
        joules_per_correct_answer_ci95_low: row.joules_per_correct_answer_ci95_low,
        joules_per_correct_answer_ci95_high: row.joules_per_correct_answer_ci95_high,
        joules_per_output_token: row.joules_per_output_token,
        energy_scope: row.energy_scope.clone(),
        energy_reason: row.energy_reason.clone(),
        ..VariantRow::default()
    }
}

/// On that corpus the cell's own, else that of the newest result of the same weights by the same
/// engine: it is a property of these two.
fn fidelity<'a>(
    cell: &'a CellResult,
    own: &[&'a CellResult],
    corpus: Option<Suite>,
) -> Result<&'a FidelityFigures, String> {
    let mut same: Vec<&CellResult> = own
        .iter()
        .copied()
        .filter(|other| {
            other.row.variant_sha256 == cell.row.variant_sha256
                && other.row.engine_slug == cell.row.engine_slug
        })
        .collect();
    same.sort_by_key(|other| (other.row.id != cell.row.id, Reverse(&other.row.received_at)));
    let known = || same.iter().filter_map(|other| other.fidelity.as_ref().ok());
    if let Some(figures) = known().find(|figures| Some(figures.suite) == corpus) {
        return Ok(figures);
    }
    Err(match (known().next(), corpus) {
        (Some(figures), Some(corpus)) => format!(
            "compared on the corpus of {}, not on that of {corpus}",
            figures.suite
        ),
        _ => cell.fidelity.as_ref().err().cloned().unwrap_or_default(),
    })
}

fn publish_fidelity(
    row: &mut VariantRow,
    found: Result<&FidelityFigures, String>,
    unquantised: &BTreeSet<&str>,
) {
    let figures = match found {
        Ok(figures) => figures,
        Err(reason) => {
            row.fidelity_reason = Some(reason);
            return;
        }
    };
    let reference = figures.reference_sha256.to_string();
    if !unquantised.contains(reference.as_str()) {
        row.fidelity_reason = Some(format!(
            "compared with weights {}, which are no measured unquantised variant of this model",
            &reference[..8]
        ));
        return;
    }
    let ends = |ci95: Option<(f64, f64)>| (ci95.map(|ends| ends.0), ci95.map(|ends| ends.1));
    row.kl_mean_nats = Some(figures.kl_mean.value);
    (row.kl_mean_nats_ci95_low, row.kl_mean_nats_ci95_high) = ends(figures.kl_mean.ci95);
    row.kl_p999_nats = figures.kl_p999;
    row.delta_nll_nats = Some(figures.delta_nll.value);
    (row.delta_nll_nats_ci95_low, row.delta_nll_nats_ci95_high) = ends(figures.delta_nll.ci95);
    row.top1_agreement = Some(figures.top1.value);
    (row.top1_agreement_ci95_low, row.top1_agreement_ci95_high) = ends(figures.top1.ci95);
    row.fidelity_tokens = Some(figures.kl_mean.n);
}

/// Figures against the reference; the reference itself has only the quotients, all 1.
fn against(row: &mut VariantRow, cell: &CellResult, reference: &CellResult) {
    let (one, other) = (&reference.row, &cell.row);
    let over = |value: Option<f64>, base: Option<f64>| {
        let base = base.filter(|base| *base > 0.0)?;
        Some(value? / base)
    };
    row.bytes_of_reference = over(
        Some(other.variant_bytes as f64),
        Some(one.variant_bytes as f64),
    );
    row.decode_of_reference = over(other.decode_tokens_per_second, one.decode_tokens_per_second);
    joules_against(row, cell, reference);
    if one.id == other.id {
        if row.kl_mean_nats.is_none() {
            row.fidelity_reason = Some("the reference itself".to_owned());
        }
        return;
    }
    let (base, items) = (&reference.samples.items, &cell.samples.items);
    if let Some(of) = Difference::between(base, items) {
        row.quality_points = Some(of.points);
        row.quality_points_ci95_low = Some(of.ci95.0);
        row.quality_points_ci95_high = Some(of.ci95.1);
        row.told = Some(of.told);
        row.items_needed = of.items_needed;
        if let Some(paired) = of.paired {
            row.paired_items = Some(paired.items);
            row.lost = Some(paired.lost);
            row.gained = Some(paired.gained);
            row.mcnemar_p = Some(paired.mcnemar_p());
        }
    }
    if is_greedy(&reference.workload) && is_greedy(&cell.workload) {
        let agreeing =
            pairs(base, items).filter_map(|(one, other)| one.answer?.agrees(other.answer?));
        let (same, n) = agreeing.fold((0, 0), |(same, n), agrees| {
            (same + u32::from(agrees), n + 1)
        });
        if n as usize >= MIN_ITEMS {
            let (low, high) = clopper_pearson(same, n, 0.95);
            row.greedy_agreement = Some(f64::from(same) / f64::from(n));
            row.greedy_agreement_ci95_low = Some(low);
            row.greedy_agreement_ci95_high = Some(high);
            row.greedy_agreement_n = Some(n);
        }
    }
}

/// Joules at the reference's scope, where the variant was measured there too.
fn joules_against(row: &mut VariantRow, cell: &CellResult, reference: &CellResult) {
    let Some(scope) = reference.row.energy_scope.as_deref() else {
        return;
    };
    let Some(shared) = cell.at_scope(scope) else {
        return;
    };
    let own = &shared.row;
    row.energy_scope.clone_from(&own.energy_scope);
    row.energy_reason.clone_from(&own.energy_reason);
    row.joules_per_correct_answer = own.joules_per_correct_answer;
    row.joules_per_correct_answer_ci95_low = own.joules_per_correct_answer_ci95_low;
    row.joules_per_correct_answer_ci95_high = own.joules_per_correct_answer_ci95_high;
    row.joules_per_output_token = own.joules_per_output_token;
    let barred = [Some(shared), reference.at_scope(scope)]
        .into_iter()
        .flatten()
        .any(|energy| frontier::why_barred(energy).is_some());
    let base = reference
        .row
        .joules_per_output_token
        .filter(|base| *base > 0.0);
    row.joules_of_reference = own
        .joules_per_output_token
        .zip(base)
        .map(|(joules, base)| joules / base)
        .filter(|_| !barred);
}

/// One answer, the likeliest one.
fn is_greedy(workload: &Workload) -> bool {
    workload.temperature_ppm == 0 && workload.samples == 1
}

#[cfg(test)]
mod tests;
