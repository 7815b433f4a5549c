//! One cell's joules at each scope: columns, intervals, reasons.
//!
//! A figure per phase is the median over accounts of their records' medians. Its interval has two
//! parts whose squares add: how well the least repeatable record repeats, and, of several records,
//! how far a bootstrap over accounts and records moves the median. A figure over questions is a
//! ratio of sums (wrong answers pay); its interval resamples items within families, of several
//! accounts the accounts first.

use std::collections::BTreeMap;

use domain::api::{EnergyRow, Figure, ResultRow};
use domain::energy::phases::{Missing, PhaseEnergy, PhaseJoules};
use domain::record::AttributionMethod;
use domain::statistics::bootstrap::{Resampler, percentile_interval};
use domain::statistics::median;
use domain::suite::Family;

use super::energy::{KeyEnergy, KeyJoules};
use super::row::{beware, seed};
use super::{DerivedRecord, ItemKey};

/// A cell's row with the joules of one scope key.
#[derive(Debug, Clone, PartialEq)]
pub struct ScopeEnergy {
    /// What the joules cover.
    pub scope: String,
    /// The published row carries it.
    pub is_headline: bool,
    /// It is known to contain every processor that worked.
    pub holds_the_work: bool,
    /// The meters, in words.
    pub meters: String,
    /// The row as it reads at this scope.
    pub row: ResultRow,
}

impl ScopeEnergy {
    /// The line of a listing by scope.
    pub fn line(&self) -> EnergyRow {
        let row = &self.row;
        let phases = [
            ("prefill", &row.prefill_energy_reason),
            ("decode", &row.decode_energy_reason),
        ];
        let phases = phases
            .into_iter()
            .filter_map(|(phase, reason)| Some(format!("{phase}: {}", reason.as_ref()?)));
        let reasons: Vec<String> = row.energy_reason.iter().cloned().chain(phases).collect();
        EnergyRow {
            scope: self.scope.clone(),
            is_headline: self.is_headline,
            holds_the_work: self.holds_the_work,
            meters: self.meters.clone(),
            joules_per_correct_answer: row.joules_per_correct_answer,
            joules_per_correct_answer_ci95_low: row.joules_per_correct_answer_ci95_low,
            joules_per_correct_answer_ci95_high: row.joules_per_correct_answer_ci95_high,
            joules_per_prompt_token: row.joules_per_prompt_token,
            joules_per_output_token: row.joules_per_output_token,
            mean_watts: row.mean_watts,
            idle_loaded_watts: row.idle_loaded_watts,
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
        }
    }
}

/// The records of a cell that joules are published from.
pub(super) struct Sources<'a> {
    /// By account, oldest first.
    pub(super) accounts: &'a [Vec<&'a DerivedRecord>],
    /// The latest scored one of each account, oldest first.
    pub(super) scored: &'a [&'a DerivedRecord],
    /// Whose keys are published.
    pub(super) newest: &'a DerivedRecord,
}

/// The row at every scope that the newest record measured, the headline first. `base` is the row
/// without joules.
pub(super) fn at_every_scope(base: &ResultRow, sources: &Sources) -> Vec<ScopeEnergy> {
    let keys = sources.newest.energy.keys.iter();
    keys.map(|key| {
        let mut row = base.clone();
        match &key.joules {
            Ok(joules) => {
                row.energy_scope = Some(key.scope.clone());
                publish(&mut row, key, joules, sources);
            }
            Err(reason) => row.energy_reason = Some(reason.clone()),
        }
        ScopeEnergy {
            scope: key.scope.clone(),
            is_headline: key.is_headline,
            holds_the_work: key.holds_the_work,
            meters: key.meters.clone(),
            row,
        }
    })
    .collect()
}

/// Joules of each scored item at each scope of the newest record, where the meters could be read;
/// of an item that several accounts answered, the newest answer's.
pub(super) fn by_item(sources: &Sources) -> BTreeMap<String, BTreeMap<ItemKey, f64>> {
    let scopes = sources.newest.energy.keys.iter().map(|key| &key.scope);
    scopes
        .map(|scope| {
            let mut joules = BTreeMap::new();
            for record in sources.scored {
                let Ok(suite) = &record.quality else { continue };
                let own = questions(record, scope);
                for (position, item) in suite.items.iter().enumerate() {
                    let key = suite.key(item.id);
                    match &own {
                        Some(own) => joules.insert(key, own[position].joules),
                        None => joules.remove(&key),
                    };
                }
            }
            (scope.clone(), joules)
        })
        .collect()
}

fn publish(row: &mut ResultRow, key: &KeyEnergy, newest: &KeyJoules, sources: &Sources) {
    let phases = &newest.phases;
    row.energy_method = Some(method_word(phases.method).to_owned());
    row.energy_update_ms = newest.update_ns.map(|ns| ns as f64 / 1e6);
    row.energy_ticks = fewest_ticks(newest);
    row.energy_accuracy = accuracy(newest);
    row.energy_closure = phases.closure.map(|closure| closure.ratio);
    row.sampler_share = sources.newest.energy.sampler_share;
    publish_phases(row, key, newest, sources);
    let watts = |figure: Option<(f64, u64)>| {
        figure.map(|(value, ticks)| Figure {
            value,
            ci95: None,
            n: u32::try_from(ticks).unwrap_or(u32::MAX),
        })
    };
    let of_phase = |phase: &Result<PhaseJoules, Missing>| {
        let phase = phase.as_ref().ok()?;
        Some((phase.watts.0, phase.ticks))
    };
    let idle = |power: &Result<domain::energy::phases::MeanPower, Missing>| {
        let power = power.as_ref().ok()?;
        Some((power.watts.0, power.ticks))
    };
    for (column, figure) in [
        ("prefill_watts", watts(of_phase(&phases.prefill))),
        ("decode_watts", watts(of_phase(&phases.decode))),
        ("idle_loaded_watts", watts(idle(&phases.idle_loaded))),
        ("idle_unloaded_watts", watts(idle(&phases.idle_unloaded))),
    ] {
        if let Some(figure) = figure {
            row.set_figure(column, figure);
        }
    }
    row.battery_hours = newest
        .battery_joules
        .zip(row.decode_watts)
        .map(|(joules, watts)| joules / watts / 3_600.0);
    publish_questions(row, key, sources);
    for trouble in &newest.troubles {
        beware(row, trouble.flag, &trouble.words);
    }
}

/// The word of a method, as in records.
fn method_word(method: AttributionMethod) -> &'static str {
    match method {
        AttributionMethod::Direct => "direct",
        AttributionMethod::Loops => "loops",
        AttributionMethod::Regression => "regression",
    }
}

fn resolved(phases: &PhaseEnergy) -> impl Iterator<Item = &PhaseJoules> {
    let all = [&phases.prefill, &phases.decode, &phases.request];
    all.into_iter().filter_map(|phase| phase.as_ref().ok())
}

/// Of the phases that joules are published of, else of the questions.
fn fewest_ticks(joules: &KeyJoules) -> Option<f64> {
    let phases = resolved(&joules.phases).map(|phase| phase.ticks).min();
    let questions = joules.questions.as_ref().ok().map(|all| all.ticks);
    phases.or(questions).map(|ticks| ticks as f64)
}

/// What sensor and clock add to the interval.
fn accuracy(joules: &KeyJoules) -> Option<f64> {
    let of_phase = |phase: &PhaseJoules| {
        let all = phase.accuracy?;
        Some(
            (all * all - phase.repeatability * phase.repeatability)
                .max(0.0)
                .sqrt(),
        )
    };
    let decode = joules.phases.decode.as_ref().ok();
    decode.map_or(joules.sensor_share, of_phase)
}

/// What a column shows of one record.
type PhaseColumn<'a> = &'a dyn Fn(&KeyJoules) -> Option<OfRecord>;

/// One record's figure, its half-width at 95 %, and what it was counted over.
struct OfRecord {
    value: f64,
    half: f64,
    n: f64,
}

fn publish_phases(row: &mut ResultRow, key: &KeyEnergy, newest: &KeyJoules, sources: &Sources) {
    let method = newest.phases.method;
    let accounts: Vec<Vec<&KeyJoules>> = sources
        .accounts
        .iter()
        .map(|records| {
            let own = records.iter().filter_map(|r| r.energy.at(&key.scope));
            own.filter(|joules| joules.phases.method == method)
                .collect()
        })
        .filter(|records: &Vec<_>| !records.is_empty())
        .collect();
    let per_token = |phase: &PhaseJoules| OfRecord {
        value: phase.per_token().0,
        half: phase.per_token().0 * phase.repeatability,
        n: phase.tokens,
    };
    let prefill = |joules: &KeyJoules| joules.phases.prefill.as_ref().ok().map(per_token);
    let decode = |joules: &KeyJoules| joules.phases.decode.as_ref().ok().map(per_token);
    let request = |joules: &KeyJoules| {
        let request = joules.phases.request.as_ref().ok()?;
        Some(OfRecord {
            value: request.per_request().0,
            half: request.per_request().0 * request.repeatability,
            n: request.requests,
        })
    };
    let net = |joules: &KeyJoules| {
        let decode = joules.phases.decode.as_ref().ok()?;
        let idle = joules.phases.idle_loaded.as_ref().ok()?;
        let idle_joules = idle.watts.0 * decode.seconds;
        let value = (decode.joules.0 - idle_joules) / decode.tokens;
        let half = (decode.joules.0 * decode.repeatability).hypot(idle_joules * idle.error);
        (value > 0.0).then_some(OfRecord {
            value,
            half: half / decode.tokens,
            n: decode.tokens,
        })
    };
    let columns: [(&str, PhaseColumn); 4] = [
        ("joules_per_prompt_token", &prefill),
        ("joules_per_output_token", &decode),
        ("joules_per_request", &request),
        ("net_joules_per_output_token", &net),
    ];
    for (column, of_record) in columns {
        let seed = seed(sources.newest, &format!("{column} {}", key.scope));
        if let Some(figure) = over_records(&accounts, seed, of_record) {
            row.set_figure(column, figure);
        }
    }
    let why = |value: Option<f64>, phase: &Result<PhaseJoules, Missing>| {
        let missing = phase.as_ref().err().filter(|_| value.is_none());
        missing.map(|missing| missing.words.clone())
    };
    row.prefill_energy_reason = why(row.joules_per_prompt_token, &newest.phases.prefill);
    row.decode_energy_reason = why(row.joules_per_output_token, &newest.phases.decode);
}

fn over_records(
    accounts: &[Vec<&KeyJoules>],
    seed: [u8; 32],
    of_record: PhaseColumn,
) -> Option<Figure> {
    let accounts: Vec<Vec<OfRecord>> = accounts
        .iter()
        .map(|records| {
            records
                .iter()
                .filter_map(|joules| of_record(joules))
                .collect()
        })
        .filter(|records: &Vec<_>| !records.is_empty())
        .collect();
    // Each record is a cluster of one value.
    let clusters: Vec<Vec<Vec<f64>>> = accounts
        .iter()
        .map(|records| records.iter().map(|record| vec![record.value]).collect())
        .collect();
    let medians: Option<Vec<f64>> = clusters.iter().map(|one| median(&one.concat())).collect();
    let value = median(&medians?)?;
    let all = || accounts.iter().flatten();
    let within = all().map(|record| record.half).fold(0.0, f64::max);
    let between = if all().count() < 2 {
        Some((value, value))
    } else {
        let mut scratch = Vec::new();
        percentile_interval(seed, |resampler| {
            resampler.median_of_medians(&clusters, &mut scratch)
        })
    };
    let ends = |(low, high): (f64, f64)| {
        let low = value - (value - low).hypot(within);
        (low.max(0.0), value + (high - value).hypot(within))
    };
    Some(Figure {
        value,
        ci95: between.map(ends),
        n: all().map(|record| record.n).sum::<f64>() as u32,
    })
}

/// One scored item and what it took.
struct Question {
    family: Family,
    joules: f64,
    seconds: f64,
    correct: bool,
}

/// What some items came to.
#[derive(Default)]
struct Sums {
    asked: f64,
    correct: f64,
    joules: f64,
    seconds: f64,
}

impl Sums {
    fn of<'a>(questions: impl IntoIterator<Item = &'a Question>) -> Self {
        let mut sums = Self::default();
        for question in questions {
            sums.asked += 1.0;
            sums.correct += f64::from(u8::from(question.correct));
            sums.joules += question.joules;
            sums.seconds += question.seconds;
        }
        sums
    }

    fn per_correct(&self, joules: f64) -> Option<f64> {
        (self.correct > 0.0).then(|| joules / self.correct)
    }
}

/// A record's items in order, each with its own joules where the meter resolves them, else with an
/// even share. Their seconds add up to those of the question spans.
fn questions(record: &DerivedRecord, scope: &str) -> Option<Vec<Question>> {
    let suite = record.quality.as_ref().ok()?;
    let spans = record.energy.at(scope)?.questions.as_ref().ok()?;
    let even = spans.joules / suite.items.len().max(1) as f64;
    let told: f64 = suite.items.iter().map(|item| item.seconds).sum();
    let questions = suite.items.iter().map(|item| {
        let own = spans.by_item.as_ref();
        Some(Question {
            family: item.id.family,
            joules: own.map_or(Some(even), |own| own.get(&item.id).copied())?,
            seconds: if told > 0.0 {
                item.seconds * spans.seconds / told
            } else {
                0.0
            },
            correct: item.correct,
        })
    });
    questions.collect()
}

fn publish_questions(row: &mut ResultRow, key: &KeyEnergy, sources: &Sources) {
    let scope = key.scope.as_str();
    let same_scope: Vec<&DerivedRecord> = sources
        .scored
        .iter()
        .copied()
        .filter(|record| record.energy.at(scope).is_some())
        .collect();
    let Some(latest) = same_scope.last() else {
        row.energy_reason = row.quality_reason.clone();
        return;
    };
    let spans = latest.energy.at(scope).map(|joules| &joules.questions);
    let spans = match spans {
        Some(Ok(spans)) => spans,
        Some(Err(reason)) => {
            row.energy_reason = Some(reason.clone());
            return;
        }
        None => return,
    };
    if row.quality.is_none() {
        row.energy_reason = row.quality_reason.clone();
        return;
    }
    let accounts: Vec<Vec<Question>> = same_scope
        .iter()
        .filter_map(|record| questions(record, scope))
        .collect();
    let resolved = same_scope.iter().all(|record| {
        let spans = record.energy.at(scope).map(|joules| &joules.questions);
        spans.is_some_and(|spans| spans.as_ref().is_ok_and(|spans| spans.by_item.is_some()))
    });
    let idle = latest.energy.at(scope).and_then(|joules| {
        let idle = joules.phases.idle_loaded.as_ref().ok()?;
        Some(idle.watts.0)
    });
    let n = accounts.iter().map(Vec::len).sum::<usize>() as u32;
    let mut figure = |column: &str, statistic: &dyn Fn(&Sums) -> Option<f64>| {
        let seed = seed(sources.newest, &format!("{column} {scope}"));
        let found = over_questions(&accounts, resolved, seed, statistic)
            .filter(|(value, _)| *value > 0.0)
            .map(|(value, ci95)| Figure { value, ci95, n });
        if let Some(found) = found {
            row.set_figure(column, found);
        }
        found
    };
    let per_correct = figure("joules_per_correct_answer", &|sums| {
        sums.per_correct(sums.joules)
    });
    if let Some(idle) = idle {
        figure("net_joules_per_correct_answer", &|sums| {
            sums.per_correct(sums.joules - idle * sums.seconds)
        });
    }
    figure("ipw", &|sums| {
        let positive = sums.joules > 0.0 && sums.asked > 0.0;
        positive.then(|| sums.correct / sums.asked * sums.seconds / sums.joules)
    });
    match per_correct {
        Some(joules) => row.set_figure(
            "accuracy_per_joule",
            Figure {
                value: 1.0 / joules.value,
                ci95: joules.ci95.map(|(low, high)| (1.0 / high, 1.0 / low)),
                n,
            },
        ),
        None => row.energy_reason = Some("no question was answered correctly".to_owned()),
    }
    if spans.seconds > 0.0 {
        row.set_figure(
            "mean_watts",
            Figure {
                value: spans.joules / spans.seconds,
                ci95: None,
                n: latest.quality.as_ref().map_or(0, |suite| suite.items.len()) as u32,
            },
        );
    }
}

/// The median over accounts of a statistic of their items, and its interval: none where the meter
/// could not tell the items' joules apart, or an end of it would be infinite.
fn over_questions(
    accounts: &[Vec<Question>],
    resolved: bool,
    seed: [u8; 32],
    statistic: &dyn Fn(&Sums) -> Option<f64>,
) -> Option<(f64, Option<(f64, f64)>)> {
    let values: Option<Vec<f64>> = accounts
        .iter()
        .map(|items| statistic(&Sums::of(items)))
        .collect();
    let value = median(&values?)?;
    if !resolved {
        return Some((value, None));
    }
    let families: Vec<Vec<Vec<&Question>>> =
        accounts.iter().map(|items| by_family(items)).collect();
    let ci95 = percentile_interval(seed, |resampler| {
        if let [alone] = families.as_slice() {
            return statistic(&drawn(alone, resampler));
        }
        let draws: Option<Vec<f64>> = (0..families.len())
            .map(|_| {
                let account = resampler.index(families.len());
                statistic(&drawn(&families[account], resampler))
            })
            .collect();
        median(&draws?)
    });
    Some((value, ci95))
}

fn by_family(items: &[Question]) -> Vec<Vec<&Question>> {
    let mut families: BTreeMap<Family, Vec<&Question>> = BTreeMap::new();
    for item in items {
        families.entry(item.family).or_default().push(item);
    }
    families.into_values().collect()
}

/// As many items of each family as it has, drawn with replacement.
fn drawn(families: &[Vec<&Question>], resampler: &mut Resampler) -> Sums {
    let mut picked = Vec::new();
    for family in families {
        for _ in 0..family.len() {
            picked.push(family[resampler.index(family.len())]);
        }
    }
    Sums::of(picked)
}

#[cfg(test)]
mod tests;
