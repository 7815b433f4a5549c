//! Joules of one record, at every scope that it measured: over its questions, per item, by phase.
//!
//! `domain::energy` integrates and attributes; here its answers are put beside the record's
//! questions, and what spoils them is said. Nothing is taken from the record's word: a claim that
//! names other meters than those that may be added gives no joules at all.

use std::collections::BTreeMap;

use domain::energy::ScopeMeters;
use domain::energy::check::{self, Verdict};
use domain::energy::keys::KeyMeters;
use domain::energy::phases::{self, PhaseEnergy, leading_phases};
use domain::record::{AnsweredItem, EnergyClaim, MeterKind, MeterTrace, PhaseKind, Record};
use domain::scope::Scope;
use domain::statistics::trend::trend;
use domain::suite::{Family, ItemId};

use super::trouble::Trouble;
use super::void;
use crate::numbers::number;

/// Sizes of the fixed groups that items too short for the meter are pooled in.
const GROUP_SIZES: [usize; 4] = [1, 5, 10, 20];

/// Half-width of joules per token over which they are `unstable`.
const STABLE_JOULES: f64 = 0.02;

/// Phases and gaps may differ from the total by this share.
const TOTAL_SHARE: f64 = 0.005;

/// Time that reading the meters may take of a processor.
const SAMPLER_SHARE: f64 = 0.005;

/// A record's joules.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordEnergy {
    /// Every scope key that was measured, the headline first.
    pub keys: Vec<KeyEnergy>,
    /// Why there are none, if there are none.
    pub missing: Option<String>,
    /// CPU time of reading the meters, as a share of the time over which they were read.
    pub sampler_share: Option<f64>,
}

/// Joules of one scope key.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyEnergy {
    /// What they cover.
    pub scope: String,
    /// The record's headline.
    pub is_headline: bool,
    /// It is known to contain every processor that worked.
    pub holds_the_work: bool,
    /// The meters, in words.
    pub meters: String,
    /// The joules, or why there are none.
    pub joules: Result<KeyJoules, String>,
}

/// What one scope key's meters measured.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyJoules {
    /// Over the questions, or why not.
    pub questions: Result<QuestionEnergy, String>,
    /// By phase.
    pub phases: PhaseEnergy,
    /// Update period of the slowest meter, in nanoseconds.
    pub update_ns: Option<u64>,
    /// Stated accuracy of the worst sensor, as a share.
    pub sensor_share: Option<f64>,
    /// Energy of the hosts' full batteries in joules, where the joules are those of batteries.
    pub battery_joules: Option<f64>,
    /// What to beware of.
    pub troubles: Vec<Trouble>,
}

/// Joules over all questions.
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionEnergy {
    /// Within the question spans; gaps between them belong to none.
    pub joules: f64,
    /// Length of those spans.
    pub seconds: f64,
    /// Update periods of the slowest meter from the first question to the last answer.
    pub ticks: u64,
    /// By item, when the meter resolves at least groups of 20.
    pub by_item: Option<BTreeMap<ItemId, f64>>,
}

impl RecordEnergy {
    /// The headline, or why there is none.
    pub fn headline(&self) -> Result<&KeyEnergy, String> {
        let why = || {
            self.missing
                .clone()
                .unwrap_or_else(|| NO_HEADLINE.to_owned())
        };
        self.keys.iter().find(|key| key.is_headline).ok_or_else(why)
    }

    /// The joules of one scope key, if it was measured and stands.
    pub fn at(&self, scope: &str) -> Option<&KeyJoules> {
        let key = self.keys.iter().find(|key| key.scope == scope)?;
        key.joules.as_ref().ok()
    }
}

const NO_HEADLINE: &str = "no meter covers all that worked";

/// Integrates a record's readings.
pub(super) fn of(record: &Record) -> RecordEnergy {
    let none = |missing: String| RecordEnergy {
        keys: Vec::new(),
        missing: Some(missing),
        sampler_share: sampler_share(record),
    };
    let claim = match &record.energy {
        EnergyClaim::Measured(claim) => claim,
        EnergyClaim::Unavailable(why) => return none(why.reason.in_words().to_owned()),
        EnergyClaim::Estimated(_) => {
            return none("only an estimate was asked for, which is no measurement".to_owned());
        }
    };
    if let Err(words) = void::claimed(record) {
        return none(words);
    }
    let mut keys: Vec<KeyEnergy> = ScopeMeters::every(record)
        .into_iter()
        .map(|(key, meters)| {
            let joules = match (void::of(record, &key.scope), meters) {
                (Some(words), _) => Err(words),
                (None, Err(reason)) => {
                    Err(doubted(record, &key).unwrap_or_else(|| reason.in_words().to_owned()))
                }
                (None, Ok(meters)) => Ok(measured(record, &key, &meters)),
            };
            KeyEnergy {
                is_headline: key.scope == claim.scope,
                scope: key.scope.to_string(),
                holds_the_work: key.holds_the_work,
                meters: in_words(key.meters.iter().filter_map(|index| trace(record, *index))),
                joules,
            }
        })
        .collect();
    keys.sort_by_key(|key| !key.is_headline);
    RecordEnergy {
        missing: keys.is_empty().then(|| NO_HEADLINE.to_owned()),
        keys,
        sampler_share: sampler_share(record),
    }
}

fn sampler_share(record: &Record) -> Option<f64> {
    let cost = record.sampler.filter(|cost| cost.span_ns > 0)?;
    Some(cost.cpu_ns as f64 / cost.span_ns as f64)
}

fn trace(record: &Record, index: u32) -> Option<&MeterTrace> {
    record.meters.get(index as usize)
}

fn measured(record: &Record, key: &KeyMeters, meters: &ScopeMeters) -> KeyJoules {
    let phases = phases::attribute(record, meters);
    let troubles = troubles(record, key, meters, &phases);
    KeyJoules {
        questions: questions(record, meters),
        phases,
        update_ns: meters.slowest_update_ns(),
        sensor_share: meters.sensor_share(),
        battery_joules: (key.scope.scopes() == [Scope::Battery])
            .then(|| battery_joules(record))
            .flatten(),
        troubles,
    }
}

/// `None` unless every host says what its battery holds.
fn battery_joules(record: &Record) -> Option<f64> {
    let full = |host: &domain::record::Host| Some(host.battery_full_uwh? as f64 * 3_600.0 / 1e6);
    record.hosts.iter().map(full).sum()
}

/// The pair of readers of one device that contradict each other, in words.
fn doubted(record: &Record, key: &KeyMeters) -> Option<String> {
    let mut checks = check::cross_check(record).into_iter();
    let check = checks.find(|check| {
        let own = |index| key.meters.contains(&index);
        check.verdict == Verdict::Void && (own(check.counter) || own(check.power))
    })?;
    Some(format!(
        "the counter of {} says {} times what its power comes to: one of them is wrong",
        check.device,
        number(check.ratio)
    ))
}

/// What to beware of in the joules of one key.
fn troubles(
    record: &Record,
    key: &KeyMeters,
    meters: &ScopeMeters,
    phases: &PhaseEnergy,
) -> Vec<Trouble> {
    let percent = |share: f64| format!("{} %", number(100.0 * share));
    let mut found = Vec::new();
    let mut trouble = |flag, words| found.push(Trouble { flag, words });
    if let Some(closure) = phases.closure.filter(|closure| !closure.holds()) {
        trouble(
            "not-closed",
            format!(
                "real requests took {} times the joules that prefill and decode add up to",
                number(closure.ratio)
            ),
        );
    } else if let Some(total) = phases.total.filter(|t| t.share.abs() > TOTAL_SHARE) {
        let apart = percent(total.share.abs());
        trouble(
            "not-closed",
            format!("phases and gaps differ from the total joules by {apart}"),
        );
    }
    for (name, phase) in [("prompt", &phases.prefill), ("output", &phases.decode)] {
        let wide = phase.as_ref().ok().map(|phase| phase.repeatability);
        if let Some(wide) = wide.filter(|half| *half > STABLE_JOULES) {
            let words = format!(
                "joules per {name} token are known to within {}",
                percent(wide)
            );
            trouble("unstable", words);
        }
    }
    if let Some(words) = warming(record, meters, phases) {
        trouble("not-thermally-stable", words);
    }
    if let Some(drift) = phases.drift.filter(|d| d.abs() > phases::DRIFT_LIMIT) {
        trouble(
            "idle-drift",
            format!("idle power changed by {} over the sweep", percent(drift)),
        );
    }
    for check in check::cross_check(record) {
        let own = |index| key.meters.contains(&index);
        if check.verdict == Verdict::Warns && (own(check.counter) || own(check.power)) {
            trouble(
                "counter-disagrees",
                format!(
                    "the counter of {} says {} times what its power comes to",
                    check.device,
                    number(check.ratio)
                ),
            );
        }
    }
    if let Some(share) = sampler_share(record).filter(|share| *share > SAMPLER_SHARE) {
        let words = format!("reading the meters took {} of a core", percent(share));
        trouble("sampler-cost", words);
    }
    found
}

/// Joules per token that drift over the decode loop's blocks by more than their interval is wide,
/// where the drift is told apart from scatter.
fn warming(record: &Record, meters: &ScopeMeters, phases: &PhaseEnergy) -> Option<String> {
    let decode = phases.decode.as_ref().ok()?;
    let mut blocks: Vec<_> = leading_phases(record)
        .filter(|phase| phase.phase == PhaseKind::DecodeLoop)
        .collect();
    blocks.sort_by_key(|phase| phase.start_ns);
    let per_token: Option<Vec<f64>> = blocks
        .iter()
        .map(|phase| {
            let energy = meters.in_span(phase.start_ns, phase.end_ns).ok()?;
            let tokens = phase.tokens_out as f64 - f64::from(phase.requests);
            (tokens > 0.0).then(|| energy.joules.0 / tokens)
        })
        .collect();
    let trend = trend(&per_token?)?;
    let value = decode.per_token().0;
    let interval = 2.0 * decode.repeatability * value;
    (trend.is_told_from_none() && trend.total().abs() > interval).then(|| {
        format!(
            "joules per output token drifted by {} % over {} blocks",
            number(100.0 * trend.total() / value),
            trend.n
        )
    })
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
    let energy = meters
        .over(&spans)
        .map_err(|reason| reason.in_words().to_owned())?;
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
        ticks: energy.ticks,
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

/// Meters with kind and update period, joined by semicolons.
fn in_words<'a>(meters: impl Iterator<Item = &'a MeterTrace>) -> String {
    let words = meters.map(|meter| {
        let kind = match meter.kind {
            MeterKind::Counter => "energy counter",
            MeterKind::Power => "power samples",
            MeterKind::Model => "vendor's model",
        };
        let period = match meter.update_ns {
            Some(ns) => format!("period {} ms", ns as f64 / 1e6),
            None => "period not recorded".to_owned(),
        };
        format!(
            "{} {} ({}, {kind}, {period})",
            meter.meter, meter.device, meter.scope
        )
    });
    words.collect::<Vec<_>>().join("; ")
}

/// The meters behind the headline, or why there is none.
pub(super) fn meters_in_words(record: &Record) -> String {
    match &record.energy {
        EnergyClaim::Measured(claim) => {
            let claimed = claim.meters.iter();
            in_words(claimed.filter_map(|index| trace(record, *index)))
        }
        EnergyClaim::Unavailable(none) => {
            format!("none: {} ({})", none.reason.in_words(), none.detail)
        }
        EnergyClaim::Estimated(guess) => format!("none: estimated from {}", guess.basis),
    }
}
