//! Joules of one record: over its questions, per item, per output token.

use std::collections::BTreeMap;

use domain::energy::{ScopeMeters, phases};
use domain::record::{
    AnsweredItem, AttributionMethod, EnergyClaim, MeterKind, Record, UnavailableReason,
};
use domain::suite::{Family, ItemId};

/// Sizes of the fixed groups that items too short for the meter are pooled in.
const GROUP_SIZES: [usize; 4] = [1, 5, 10, 20];

/// A record's joules, all of one scope.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordEnergy {
    /// What they cover.
    pub scope: String,
    /// Over the questions, or why not.
    pub questions: Result<QuestionEnergy, String>,
    /// Joules and tokens of decoding, or why not.
    pub decode: Result<(f64, f64), String>,
}

/// Joules over all questions.
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionEnergy {
    /// Within the question spans; gaps between them belong to none.
    pub joules: f64,
    /// Length of those spans.
    pub seconds: f64,
    /// By item, when the meter resolves at least groups of 20.
    pub by_item: Option<BTreeMap<ItemId, f64>>,
}

/// Integrates a record's readings.
pub(super) fn of(record: &Record) -> Result<RecordEnergy, String> {
    if matches!(record.energy, EnergyClaim::Estimated(_)) {
        return Err("only an estimate was asked for, which is no measurement".to_owned());
    }
    let meters = ScopeMeters::of(record).map_err(in_words)?;
    Ok(RecordEnergy {
        scope: meters.scope.to_string(),
        questions: questions(record, &meters),
        decode: decode(record, &meters),
    })
}

fn in_words(reason: UnavailableReason) -> String {
    reason.in_words().to_owned()
}

fn questions(record: &Record, meters: &ScopeMeters) -> Result<QuestionEnergy, String> {
    let mut answers: Vec<&AnsweredItem> = record
        .quality
        .iter()
        .flat_map(|quality| &quality.items)
        .collect();
    if answers.is_empty() {
        return Err("no suite was asked".to_owned());
    }
    answers.sort_by_key(|answer| (answer.start_ns, answer.end_ns));
    let spans = union(&answers);
    let energy = meters.over(&spans).map_err(in_words)?;
    let seconds = spans
        .iter()
        .map(|(start, end)| (end - start) as f64 / 1e9)
        .sum();
    // Spans that overlap share their joules: only the total can be told.
    let apart = spans.len() == answers.len();
    let by_item = if apart {
        GROUP_SIZES
            .into_iter()
            .find_map(|size| grouped(&answers, meters, size))
    } else {
        None
    };
    Ok(QuestionEnergy {
        joules: energy.joules.0,
        seconds,
        by_item,
    })
}

/// Spans in order, those that overlap made one.
fn union(answers: &[&AnsweredItem]) -> Vec<(u64, u64)> {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for answer in answers {
        match spans.last_mut() {
            Some(last) if answer.start_ns < last.1 => last.1 = last.1.max(answer.end_ns),
            _ => spans.push((answer.start_ns, answer.end_ns.max(answer.start_ns))),
        }
    }
    spans
}

/// Joules by item, each group of `size` neighbours sharing evenly; the last group takes the
/// remainder. `None` when a group is below the meter's resolution.
fn grouped(
    answers: &[&AnsweredItem],
    meters: &ScopeMeters,
    size: usize,
) -> Option<BTreeMap<ItemId, f64>> {
    let mut by_item = BTreeMap::new();
    let groups = (answers.len() / size).max(1);
    for group in 0..groups {
        let end = if group + 1 == groups {
            answers.len()
        } else {
            (group + 1) * size
        };
        let members = &answers[group * size..end];
        let spans: Vec<_> = members
            .iter()
            .map(|answer| (answer.start_ns, answer.end_ns))
            .collect();
        let share = meters.over(&spans).ok()?.joules.0 / members.len() as f64;
        for answer in members {
            let family = Family::from_name(answer.family.as_str())?;
            let id = ItemId {
                family,
                level: answer.level,
                index: answer.index,
            };
            *by_item.entry(id).or_insert(0.0) += share;
        }
    }
    Some(by_item)
}

fn decode(record: &Record, meters: &ScopeMeters) -> Result<(f64, f64), String> {
    if meters.method == AttributionMethod::Regression {
        return Err("joules from a regression are in no published figure".to_owned());
    }
    let decode = phases::attribute(record, meters).decode;
    decode
        .map(|decode| (decode.joules.0, decode.tokens))
        .map_err(|missing| missing.words)
}

/// One line per meter behind the headline, or why there is none.
pub(super) fn meters_in_words(record: &Record) -> Vec<String> {
    match &record.energy {
        EnergyClaim::Measured(claim) => claim
            .meters
            .iter()
            .filter_map(|index| record.meters.get(*index as usize))
            .map(|meter| {
                let kind = match meter.kind {
                    MeterKind::Counter => "energy counter",
                    MeterKind::Power => "power samples",
                    MeterKind::Model => "vendor's model",
                };
                let period = meter
                    .update_ns
                    .map_or("period not recorded".to_owned(), |ns| {
                        format!("period {} ms", ns as f64 / 1e6)
                    });
                format!(
                    "{} {} ({}, {kind}, {period})",
                    meter.meter, meter.device, meter.scope
                )
            })
            .collect(),
        EnergyClaim::Unavailable(none) => vec![format!(
            "none: {} ({})",
            none.reason.in_words(),
            none.detail
        )],
        EnergyClaim::Estimated(guess) => vec![format!("none: estimated from {}", guess.basis)],
    }
}
