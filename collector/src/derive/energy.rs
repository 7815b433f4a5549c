//! Joules of one record: over its questions, per item, per output token.

use std::collections::BTreeMap;

use domain::energy::HeadlineMeters;
use domain::record::{
    AnsweredItem, AttributionMethod, EnergyClaim, MeterKind, Phase, PhaseKind, Record,
    UnavailableReason,
};
use domain::suite::{Family, ItemId};

use super::speed::decode_part;

/// Sizes of the fixed groups that items too short for the meter are pooled in.
const GROUP_SIZES: [usize; 4] = [1, 5, 10, 20];

/// Share of a decode loop that its prefill may take.
const PREFILL_SHARE: f64 = 0.02;

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
    let meters = HeadlineMeters::of(record).map_err(in_words)?;
    Ok(RecordEnergy {
        scope: meters.scope.to_string(),
        questions: questions(record, &meters),
        decode: decode(record, &meters),
    })
}

fn in_words(reason: UnavailableReason) -> String {
    reason.in_words().to_owned()
}

fn questions(record: &Record, meters: &HeadlineMeters) -> Result<QuestionEnergy, String> {
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
    meters: &HeadlineMeters,
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

fn decode(record: &Record, meters: &HeadlineMeters) -> Result<(f64, f64), String> {
    match &record.energy {
        EnergyClaim::Measured(claim) => match claim.method {
            AttributionMethod::Loops => loops(record, meters),
            AttributionMethod::Direct => direct(record, meters),
            AttributionMethod::Regression => {
                Err("joules from a regression are in no published figure".to_owned())
            }
        },
        EnergyClaim::Unavailable(none) => Err(in_words(none.reason)),
        EnergyClaim::Estimated(_) => Err("only an estimate".to_owned()),
    }
}

/// Real requests, from the first token to the last.
fn direct(record: &Record, meters: &HeadlineMeters) -> Result<(f64, f64), String> {
    let mut spans = Vec::new();
    let mut tokens = 0.0;
    let counting = record
        .repetitions
        .iter()
        .filter(|rep| !rep.warmup && rep.void.is_none());
    for request in counting.flat_map(|rep| &rep.requests) {
        let (Some(first), Some((emitted, seconds))) =
            (request.first_event_ns, decode_part(request))
        else {
            continue;
        };
        spans.push((first, first.saturating_add((seconds * 1e9) as u64)));
        tokens += emitted;
    }
    let overlap = spans.windows(2).any(|pair| pair[1].0 < pair[0].1);
    if overlap {
        return Err("requests overlap: their phases cannot be told apart".to_owned());
    }
    let energy = meters.over(&spans).map_err(in_words)?;
    Ok((energy.joules.0, tokens))
}

/// Decode loops less what their prefill took, which prefill loops tell.
fn loops(record: &Record, meters: &HeadlineMeters) -> Result<(f64, f64), String> {
    let of_kind = |kind| {
        record
            .phases
            .iter()
            .filter(move |phase| phase.phase == kind && phase.host == 0)
    };
    let sum = |phases: &[&Phase]| -> Result<f64, String> {
        phases.iter().try_fold(0.0, |sum, phase| {
            meters
                .in_span(phase.start_ns, phase.end_ns)
                .map(|e| sum + e.joules.0)
                .map_err(in_words)
        })
    };
    let decode: Vec<_> = of_kind(PhaseKind::DecodeLoop).collect();
    let prefill: Vec<_> = of_kind(PhaseKind::PrefillLoop).collect();
    let tokens: f64 = decode.iter().map(|phase| phase.tokens_out as f64).sum();
    if decode.is_empty() || tokens <= 0.0 {
        return Err("no decode loop was run".to_owned());
    }
    let joules = sum(&decode)?;
    if decode.iter().all(|phase| phase.tokens_in == 0) {
        return Ok((joules, tokens));
    }
    let requests = |phases: &[&Phase]| {
        phases
            .iter()
            .map(|phase| f64::from(phase.requests))
            .sum::<f64>()
    };
    if requests(&prefill) <= 0.0 {
        return Err("no prefill loop tells the share of prefill".to_owned());
    }
    let of_prefill = requests(&decode) * sum(&prefill)? / requests(&prefill);
    if of_prefill > PREFILL_SHARE * joules {
        return Err("prefill takes more than 2 % of the decode loop".to_owned());
    }
    Ok((joules - of_prefill, tokens))
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
