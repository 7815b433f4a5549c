//! Joules of one record: over its questions, per item, per output token.

use std::collections::BTreeMap;

use domain::energy::HeadlineMeters;
use domain::record::{
    AnsweredItem, AttributionMethod, EnergyClaim, MeterKind, Phase, PhaseKind, Record,
    UnavailableReason,
};
use domain::speeds;
use domain::suite::{Family, ItemId};

use super::speed::counting;

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
    for request in counting(record).flat_map(|rep| &rep.requests) {
        let (Some(first), Some(last), Some(decoded)) = (
            request.first_event_ns,
            speeds::last_event_ns(request),
            speeds::decode_part(request),
        ) else {
            continue;
        };
        spans.push((first, last));
        tokens += decoded.tokens;
    }
    if spans.is_empty() {
        return Err("no request was timed from its first token to its last".to_owned());
    }
    // Requests of several streams stand stream by stream.
    spans.sort_unstable();
    let overlap = spans.windows(2).any(|pair| pair[1].0 < pair[0].1);
    if overlap {
        return Err("requests overlap: their phases cannot be told apart".to_owned());
    }
    let energy = meters.over(&spans).map_err(in_words)?;
    Ok((energy.joules.0, tokens))
}

/// Joules, requests and tokens of all phases of one kind on the leading host.
struct Loop {
    joules: f64,
    requests: f64,
    tokens_in: f64,
    /// Output tokens without each request's first, which belongs to prefill.
    tokens_out: f64,
}

impl Loop {
    /// `None` when no such phase holds requests.
    fn of(
        record: &Record,
        meters: &HeadlineMeters,
        kind: PhaseKind,
    ) -> Result<Option<Self>, String> {
        let phases = || {
            record
                .phases
                .iter()
                .filter(|phase| phase.phase == kind && phase.host == 0)
        };
        let total = |amount: fn(&Phase) -> f64| phases().map(amount).sum::<f64>();
        let requests = total(|phase| f64::from(phase.requests));
        if requests <= 0.0 {
            return Ok(None);
        }
        let spans: Vec<_> = phases()
            .map(|phase| (phase.start_ns, phase.end_ns))
            .collect();
        Ok(Some(Self {
            joules: meters.over(&spans).map_err(in_words)?.joules.0,
            requests,
            tokens_in: total(|phase| phase.tokens_in as f64),
            tokens_out: total(|phase| phase.tokens_out as f64) - requests,
        }))
    }
}

/// Decode loops less what their prefill took. That is told by prefill loops, or else by the
/// loops of real requests: with another ratio of prompt to output tokens they give a second
/// equation for the joules of one prompt token and of one output token.
fn loops(record: &Record, meters: &HeadlineMeters) -> Result<(f64, f64), String> {
    let decode = Loop::of(record, meters, PhaseKind::DecodeLoop)?
        .filter(|decode| decode.tokens_out > 0.0)
        .ok_or("no decode loop was run")?;
    let of_prefill = if decode.tokens_in <= 0.0 {
        0.0
    } else if let Some(prefill) = Loop::of(record, meters, PhaseKind::PrefillLoop)? {
        decode.requests * prefill.joules / prefill.requests
    } else if let Some(mixed) = Loop::of(record, meters, PhaseKind::MixedLoop)? {
        let determinant = decode.tokens_out * mixed.tokens_in - mixed.tokens_out * decode.tokens_in;
        if determinant <= 0.0 {
            return Err("the decode loop has no larger share of output tokens".to_owned());
        }
        let per_prompt_token =
            (decode.tokens_out * mixed.joules - mixed.tokens_out * decode.joules) / determinant;
        // Noise may push a share that is nearly nothing below nothing.
        (decode.tokens_in * per_prompt_token).max(0.0)
    } else {
        return Err("no other loop tells the share of prefill".to_owned());
    };
    if of_prefill > PREFILL_SHARE * decode.joules {
        return Err("prefill takes more than 2 % of the decode loop".to_owned());
    }
    Ok((decode.joules - of_prefill, decode.tokens_out))
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
