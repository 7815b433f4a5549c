//! Results side by side: what differs, by how much, and what must not be divided.
//!
//! The first result is the base. A quotient needs equals: quality and joules per right answer one
//! suite version and sampling, joules one number of items too; speeds and joules one workload; joules
//! one scope key. Quality is compared by the items that one lost and gained (file `difference`). Of
//! joules per right answer, both sides' items are resampled together where they are the same: the
//! interval is that of the paired log ratio. Speeds resample accounts, records and repetitions of
//! each side. Two results can be told apart if the interval leaves out no change.

use std::collections::BTreeMap;

use domain::api::{CompareAnswer, DATA_LICENCE, Delta, DifferingLine, Figure, ResultRow, Told};
use domain::ids::Sha256Digest;
use domain::record::Workload;
use domain::statistics::bootstrap::{Resampler, percentile_interval};
use domain::suite::Family;

use crate::derive::{CellResult, ItemKey, ScopeEnergy};
use crate::difference::Difference;
use crate::frontier;

/// Two to six results, the first as the base.
pub fn answer(results: &[&CellResult], data_version: &str) -> CompareAnswer {
    let scope = results
        .first()
        .and_then(|base| base.row.energy_scope.clone());
    let sides: Vec<Side> = results
        .iter()
        .map(|cell| Side::of(cell, scope.as_deref()))
        .collect();
    let deltas = sides.split_first().map_or_else(Vec::new, |(base, others)| {
        let against_base = |other: &Side| deltas(base, other);
        others.iter().flat_map(against_base).collect()
    });
    CompareAnswer {
        data_version: data_version.to_owned(),
        licence: DATA_LICENCE.to_owned(),
        deltas,
        differs: differing(results),
        rows: sides.into_iter().map(|side| side.row.clone()).collect(),
    }
}

/// A result, at the base's energy scope if it was measured there too.
struct Side<'a> {
    cell: &'a CellResult,
    row: &'a ResultRow,
    energy: Option<&'a ScopeEnergy>,
}

impl<'a> Side<'a> {
    fn of(cell: &'a CellResult, scope: Option<&str>) -> Self {
        let shared = scope.and_then(|scope| cell.at_scope(scope));
        let row = shared.map_or(&cell.row, |energy| &energy.row);
        Self {
            cell,
            row,
            energy: row
                .energy_scope
                .as_deref()
                .and_then(|own| cell.at_scope(own)),
        }
    }
}

/// A figure of a row.
type Column = fn(&ResultRow) -> Option<Figure>;

/// An interval, and whether the same items are behind both sides.
type Interval = (Option<(f64, f64)>, bool);

fn deltas(base: &Side, other: &Side) -> Vec<Delta> {
    let figures: [(&str, Column); 7] = [
        ("quality", ResultRow::quality),
        ("decode_tokens_per_second", ResultRow::decode),
        ("prefill_tokens_per_second", ResultRow::prefill),
        ("ttft_ms", ResultRow::ttft),
        ("joules_per_correct_answer", ResultRow::joules_per_correct),
        ("accuracy_per_joule", ResultRow::accuracy_per_joule),
        (
            "joules_per_output_token",
            ResultRow::joules_per_output_token,
        ),
    ];
    figures
        .into_iter()
        .map(|(figure, of)| {
            let delta = both(figure, of, base, other).and_then(|(before, after)| {
                if figure == "quality" {
                    quality(base, other)
                } else {
                    ratio(figure, &before, &after, [base, other])
                }
            });
            Delta {
                id: other.row.id.clone(),
                figure: figure.to_owned(),
                ..delta.unwrap_or_else(|reason| Delta {
                    reason: Some(reason),
                    ..Delta::default()
                })
            }
        })
        .collect()
}

/// A figure of both sides, if the two may be compared.
fn both(figure: &str, of: Column, base: &Side, other: &Side) -> Result<(Figure, Figure), String> {
    let value = |name: &str, side: &Side| {
        of(side.row).ok_or_else(|| {
            let reason = missing(figure, side.row).unwrap_or("not recorded");
            format!("{name} has none: {reason}")
        })
    };
    let values = (value("the base", base)?, value("this result", other)?);
    unequal(figure, base, other).map_or(Ok(values), Err)
}

/// The difference in points.
fn quality(base: &Side, other: &Side) -> Result<Delta, String> {
    let [one, two] = [base, other].map(|side| &side.cell.samples.items);
    let of = Difference::between(one, two).ok_or("not recorded")?;
    Ok(Delta {
        value: Some(of.points),
        ci95_low: Some(of.ci95.0),
        ci95_high: Some(of.ci95.1),
        paired: of.paired.is_some(),
        told: Some(of.told),
        paired_items: of.paired.map(|paired| paired.items),
        lost: of.paired.map(|paired| paired.lost),
        gained: of.paired.map(|paired| paired.gained),
        mcnemar_p: of.paired.map(|paired| paired.mcnemar_p()),
        items_needed: of.items_needed,
        ..Delta::default()
    })
}

/// The quotient of any other figure.
fn ratio(
    figure: &str,
    before: &Figure,
    after: &Figure,
    sides: [&Side; 2],
) -> Result<Delta, String> {
    if before.value <= 0.0 || after.value <= 0.0 {
        return Err("one of them is zero".to_owned());
    }
    let (ci95, paired) = ratio_interval(figure, before, after, sides);
    let lower_is_better = matches!(
        figure,
        "ttft_ms" | "joules_per_correct_answer" | "joules_per_output_token"
    );
    let told = ci95.map(|(low, high)| match (low > 1.0, high < 1.0) {
        (true, _) if lower_is_better => Told::Worse,
        (true, _) => Told::Better,
        (_, true) if lower_is_better => Told::Better,
        (_, true) => Told::Worse,
        _ => Told::NotApart,
    });
    Ok(Delta {
        value: Some(after.value / before.value),
        ci95_low: ci95.map(|ends| ends.0),
        ci95_high: ci95.map(|ends| ends.1),
        paired,
        told,
        ..Delta::default()
    })
}

fn ratio_interval(figure: &str, before: &Figure, after: &Figure, sides: [&Side; 2]) -> Interval {
    let both_have = before.ci95.is_some() && after.ci95.is_some();
    match figure {
        "joules_per_correct_answer" | "accuracy_per_joule" => {
            let scope = sides[0].row.energy_scope.as_deref();
            let (ends, paired) = items_interval(sides, "joules", scope, |base, other| {
                let per_correct = |sums: &Sums| sums.joules / sums.correct;
                let drawn = per_correct(other) / per_correct(base);
                (!drawn.is_nan()).then_some(drawn)
            });
            let ends = ends.filter(|_| both_have);
            let turned = |(low, high): (f64, f64)| (1.0 / high, 1.0 / low);
            let ends = if figure == "accuracy_per_joule" {
                ends.map(turned).filter(|(_, high)| high.is_finite())
            } else {
                ends
            };
            (ends, paired)
        }
        "joules_per_output_token" => (product_of_intervals(before, after), false),
        _ => {
            let ends = repetitions_interval(sides, figure).filter(|_| both_have);
            (ends, false)
        }
    }
}

/// Why a row lacks a figure.
fn missing<'a>(figure: &str, row: &'a ResultRow) -> Option<&'a str> {
    let reason = match figure {
        "quality" => &row.quality_reason,
        "joules_per_output_token" if row.decode_energy_reason.is_some() => {
            &row.decode_energy_reason
        }
        name if is_joules(name) => &row.energy_reason,
        _ => &row.decode_reason,
    };
    reason.as_deref()
}

fn is_joules(figure: &str) -> bool {
    figure.contains("joule")
}

/// Why two figures must not be divided.
fn unequal(figure: &str, base: &Side, other: &Side) -> Option<String> {
    let (one, two) = (base.row, other.row);
    let by_items = matches!(
        figure,
        "quality" | "joules_per_correct_answer" | "accuracy_per_joule"
    );
    if by_items && one.suite != two.suite {
        let name = |row: &ResultRow| row.suite.clone().unwrap_or_else(|| "none".to_owned());
        return Some(format!("suite {} against suite {}", name(two), name(one)));
    }
    if by_items && one.samples != two.samples {
        return Some(format!(
            "best of {} against best of {}",
            two.samples, one.samples
        ));
    }
    let (first, second) = (&base.cell.workload, &other.cell.workload);
    if by_items && sampling(first) != sampling(second) {
        return Some("answers were sampled in another way".to_owned());
    }
    if by_items && figure != "quality" && one.quality_n != two.quality_n {
        let n = |row: &ResultRow| row.quality_n.unwrap_or(0);
        return Some(format!("{} items against {} items", n(two), n(one)));
    }
    if figure != "quality" && shape(first) != shape(second) {
        return Some(if first.id == second.id {
            format!("another form of workload {}", first.id)
        } else {
            format!("workload {} against workload {}", second.id, first.id)
        });
    }
    if !is_joules(figure) {
        return None;
    }
    if one.energy_scope != two.energy_scope {
        let name = |row: &ResultRow| row.energy_scope.clone().unwrap_or_default();
        return Some(format!("joules of {} against {}", name(two), name(one)));
    }
    let barred = [base, other].into_iter().filter_map(|side| side.energy);
    barred
        .filter_map(frontier::why_barred)
        .map(|(_, reason)| reason)
        .next()
}

/// How answers were drawn and picked.
fn sampling(workload: &Workload) -> impl PartialEq + '_ {
    (
        workload.temperature_ppm,
        workload.top_p_ppm,
        workload.top_k,
        workload.verifier.as_ref(),
    )
}

/// What was asked while it was timed; sampling is the engine's own affair there, as the lengths
/// are forced.
fn shape(workload: &Workload) -> impl PartialEq {
    (
        workload.prompt_tokens,
        workload.output_tokens,
        workload.depth_tokens,
        workload.concurrency,
        workload.kv_state,
        workload.eos_banned,
    )
}

/// What some items came to.
#[derive(Default)]
struct Sums {
    correct: f64,
    joules: f64,
}

impl Sums {
    fn add(&mut self, item: &Item) {
        self.correct += item.correct;
        self.joules += item.joules;
    }
}

struct Item {
    correct: f64,
    joules: f64,
}

/// The items of a side by family, in the order of their keys.
fn items(side: &Side, scope: Option<&str>) -> Option<BTreeMap<Family, Vec<(ItemKey, Item)>>> {
    let samples = &side.cell.samples;
    let joules = match scope {
        Some(scope) => Some(samples.joules.get(scope)?),
        None => None,
    };
    let mut families: BTreeMap<Family, Vec<(ItemKey, Item)>> = BTreeMap::new();
    for (key, item) in &samples.items {
        let joules = match joules {
            Some(all) => *all.get(key)?,
            None => 0.0,
        };
        let correct = f64::from(u8::from(item.correct));
        let own = Item { correct, joules };
        families.entry(key.family).or_default().push((*key, own));
    }
    Some(families)
}

/// The interval of a statistic of both sides' items: drawn together where they are the same ones.
fn items_interval(
    sides: [&Side; 2],
    figure: &str,
    scope: Option<&str>,
    statistic: impl Fn(&Sums, &Sums) -> Option<f64>,
) -> Interval {
    let [Some(base), Some(other)] = sides.map(|side| items(side, scope)) else {
        return (None, false);
    };
    let keys = |side: &Side| side.cell.samples.items.keys().copied().collect::<Vec<_>>();
    let paired = keys(sides[0]) == keys(sides[1]);
    let interval = percentile_interval(seed(sides, figure), |resampler| {
        let (mut one, mut two) = (Sums::default(), Sums::default());
        if paired {
            for (own, others) in base.values().zip(other.values()) {
                for _ in 0..own.len() {
                    let index = resampler.index(own.len());
                    one.add(&own[index].1);
                    two.add(&others[index].1);
                }
            }
        } else {
            for (families, sums) in [(&base, &mut one), (&other, &mut two)] {
                for family in families.values() {
                    for _ in 0..family.len() {
                        sums.add(&family[resampler.index(family.len())].1);
                    }
                }
            }
        }
        statistic(&one, &two)
    });
    (interval, paired)
}

/// The interval of a quotient of medians, each resampled by itself.
fn repetitions_interval(sides: [&Side; 2], figure: &str) -> Option<(f64, f64)> {
    let values = sides.map(|side| {
        let samples = &side.cell.samples;
        match figure {
            "decode_tokens_per_second" => &samples.decode,
            "prefill_tokens_per_second" => &samples.prefill,
            _ => &samples.ttft,
        }
    });
    let mut scratch = Vec::new();
    percentile_interval(seed(sides, figure), |resampler: &mut Resampler| {
        let base = resampler.median_of_medians(values[0], &mut scratch)?;
        let other = resampler.median_of_medians(values[1], &mut scratch)?;
        (base > 0.0).then(|| other / base)
    })
}

/// The interval of a quotient of two figures that were measured apart: squares of their
/// half-widths add, in logarithms.
fn product_of_intervals(before: &Figure, after: &Figure) -> Option<(f64, f64)> {
    let half = |figure: &Figure| {
        let (low, high) = figure.ci95.filter(|(low, _)| *low > 0.0)?;
        Some(f64::midpoint(
            (high / figure.value).ln(),
            (figure.value / low).ln(),
        ))
    };
    let half = half(before)?.hypot(half(after)?);
    let ratio = after.value / before.value;
    Some((ratio * (-half).exp(), ratio * half.exp()))
}

/// Seed of a column's draws: both newest records and the column.
fn seed(sides: [&Side; 2], figure: &str) -> [u8; 32] {
    let [base, other] = sides.map(|side| side.row.record.as_str());
    Sha256Digest::of(format!("joulemark compare {base} {other} {figure}").as_bytes()).0
}

/// Lines of provenance that are not the same everywhere; of several lines of one label, the first
/// of each result stand together, then the second.
fn differing(results: &[&CellResult]) -> Vec<DifferingLine> {
    let lines: Vec<BTreeMap<(&str, usize), Option<&String>>> = results
        .iter()
        .map(|cell| {
            let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
            let mut lines = BTreeMap::new();
            for line in &cell.provenance {
                let number = seen.entry(&line.label).or_default();
                lines.insert((line.label.as_str(), *number), line.value.as_ref());
                *number += 1;
            }
            lines
        })
        .collect();
    let mut told: Vec<(&str, usize)> = Vec::new();
    for cell in results {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for line in &cell.provenance {
            let number = seen.entry(&line.label).or_default();
            let name = (line.label.as_str(), *number);
            *number += 1;
            if !told.contains(&name) {
                told.push(name);
            }
        }
    }
    told.into_iter()
        .filter_map(|name| {
            let values: Vec<Option<String>> = lines
                .iter()
                .map(|own| own.get(&name).copied().flatten().cloned())
                .collect();
            let differs = values.iter().any(|value| *value != values[0]);
            differs.then(|| DifferingLine {
                label: name.0.to_owned(),
                values,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
