//! From raw slots to the verdict: the one decision, made in the runner and again in the collector.
//!
//! Validity goes first and fails closed; then every cell-metric is decided at its planned looks
//! with its part of the error; what regressed must regress again; answers have a ladder of their
//! own ([`super::ladder`]). Speed, energy and answers must each pass: no axis pays for another.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use self::cells::Target;
use self::values::Outputs;
use super::ladder::judge_quality;
use super::policy::{Axis, Policy, Waiver};
use super::record::{FailureKind, GateRecord, PolicyOrigin, Purpose, SeedOrigin, StageKind};
use super::{Metric, Verdict};
use crate::history::BlockValues;
use crate::matrix::MatrixError;

mod cells;
mod say;
mod shape;
mod validity;
pub(super) mod values;

pub use self::shape::ALL_CELLS;

/// What a gate comes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Judgement {
    /// Of everything together.
    pub verdict: Verdict,
    /// How a program that asked ends: 0, 1, 3, 4, 5 or 130.
    pub exit_code: u8,
    /// The verdict in one sentence, with what to do.
    pub headline: String,
    /// One per cell and metric, and one per metric over all its cells where those are several;
    /// worst first.
    pub cells: Vec<CellJudgement>,
    /// Of answers, by model.
    pub quality: Vec<QualityJudgement>,
    /// What speaks against the measurement, in sentences; any makes it INVALID.
    pub findings: Vec<String>,
    /// What is worth knowing beside, in sentences.
    pub notes: Vec<String>,
    /// Blocks that counted, of the measuring stage, of the model with the most.
    pub blocks: u32,
    /// Blocks that were void.
    pub void_blocks: u32,
    /// Time from the first slot to the end.
    pub seconds: f64,
    /// Gated cell-metrics: over how many the error is divided.
    pub multiplicity: u32,
    /// Error of any false REGRESSED.
    pub alpha: f64,
    /// Error of any false PASS.
    pub beta: f64,
    /// The seed of the coins, hexadecimal.
    pub seed: String,
    /// SHA-256 of the policy.
    pub policy_sha256: String,
}

/// What one cell-metric comes to. Effects are shares of the base: 0.02 is 2 % more cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CellJudgement {
    /// The cell's label, or `all cells`.
    pub label: String,
    /// Model.
    pub model: String,
    /// What.
    pub metric: Metric,
    /// Of this cell-metric.
    pub verdict: Verdict,
    /// Why it is INCONCLUSIVE or INVALID although blocks might have decided: `not-confirmed`,
    /// `layout-sensitive`, or why it could not be measured.
    pub reason: Option<String>,
    /// Estimate; `null` without blocks.
    pub effect: Option<f64>,
    /// Lower limit, at the deciding look's part of alpha; `null` where unbounded.
    pub low: Option<f64>,
    /// Upper limit, at its part of beta; `null` where unbounded.
    pub high: Option<f64>,
    /// Blocks it was decided by.
    pub blocks: u32,
    /// Standard deviation of its blocks, as a logarithm.
    pub block_sd: Option<f64>,
    /// Effect that so many blocks of this spread find with 90 % power.
    pub mde: Option<f64>,
    /// What it was decided against.
    pub practical_zero: f64,
    /// What is tolerated.
    pub tolerance: f64,
    /// Worse than the practical zero, though within the tolerance.
    pub small_regression: bool,
    /// Minutes of further blocks that would settle it, by its spread; `null` where it is settled,
    /// or where even every look would not.
    pub minutes_to_settle: Option<f64>,
    /// The waiver that keeps it from failing, in words.
    pub waived: Option<String>,
    /// What the second measurement said, where one was needed.
    pub confirmation: Option<Confirmed>,
    /// Median cost of the base: nanoseconds per token or unit, bytes, microjoules per token.
    pub base_cost: Option<f64>,
    /// Of the candidate.
    pub candidate_cost: Option<f64>,
}

/// A second measurement with a new seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Confirmed {
    /// What it says by itself.
    pub verdict: Verdict,
    /// Estimate.
    pub effect: f64,
    /// Lower limit.
    pub low: Option<f64>,
    /// Upper limit.
    pub high: Option<f64>,
    /// Blocks.
    pub blocks: u32,
}

/// What the answers of one model come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QualityJudgement {
    /// The model.
    pub model: String,
    /// Of its answers.
    pub verdict: Verdict,
    /// The rung that decided: 1 identical, 2 token by token, 3 items.
    pub rung: Option<u8>,
    /// What was seen, in one sentence.
    pub said: String,
    /// Mean change of the negative log likelihood per token, nats: estimate and limits.
    pub dnll_nats: Option<(f64, f64, f64)>,
    /// Mean KL divergence per token, nats: estimate and upper limit.
    pub kld_nats: Option<(f64, f64)>,
    /// 99.9th percentile of the tokens' KL divergence.
    pub kld_p999_nats: Option<f64>,
    /// Share of positions at which both find the same token the likeliest.
    pub top1_agreement: Option<f64>,
    /// Items: asked, lost, gained.
    pub items: Option<(u32, u32, u32)>,
}

/// Why a record cannot be judged.
#[derive(Debug, Error)]
pub enum JudgeError {
    /// Its policy is none.
    #[error("read the policy in the record: {0}")]
    Policy(#[from] MatrixError),
    /// It contradicts itself: a coin, a place, a count.
    #[error("judge the record: {0}")]
    Contradiction(String),
}

/// Judges a record by its own policy. Pure: the same bytes give the same judgement everywhere.
/// For [`Purpose::Compare`] every cell is described and nothing decides the exit code but failures.
pub fn judge(record: &GateRecord) -> Result<Judgement, JudgeError> {
    Ok(Assessed::of(record)?.judged().0)
}

/// The blocks that count of the measuring stage, by cell-metric in the order of the judgement's
/// cells; none where a cell has none. A record that cannot be judged has none at all.
pub fn block_values(record: &GateRecord) -> Vec<BlockValues> {
    Assessed::of(record).map_or(Vec::new(), |assessed| assessed.judged().1)
}

/// Places of the models that a stage still needs blocks of, in the order of the record; none when
/// it is done.
///
/// The measuring stage needs them while a cell is undecided and its looks are not over; the
/// confirmation while what regressed, or the mean over cells that did, is undecided there; the layout
/// stage until what was confirmed has its blocks.
pub fn unsettled(record: &GateRecord, kind: StageKind) -> Result<Vec<u32>, JudgeError> {
    let assessed = Assessed::of(record)?;
    let last_look = record.last_look as usize;
    let asks = |target: &Target| match kind {
        _ if target.flaw.is_some() => false,
        StageKind::Measuring => {
            let open =
                target.first() == Verdict::Inconclusive || record.purpose == Purpose::Compare;
            !target.is_suite && open && target.values.len() < last_look
        }
        _ if record.purpose == Purpose::Compare || !target.alarms() => false,
        StageKind::Confirmation => {
            let second = target.second.map(|seen| seen.verdict);
            second.is_none_or(|verdict| verdict == Verdict::Inconclusive)
                && target.second_blocks < last_look
        }
        StageKind::Layout => {
            target.is_confirmed()
                && cells::wants_layout(record, &assessed.policy)
                && target.layout_blocks < cells::LAYOUT_BLOCKS
        }
    };
    let asking: BTreeSet<u32> = (assessed.targets.iter())
        .filter(|target| asks(target))
        .flat_map(|target| &target.members)
        .map(|place| record.cells[place.cell].model)
        .collect();
    Ok(asking.into_iter().collect())
}

/// A record whose shape was checked, with everything that is decided of single cells.
struct Assessed<'a> {
    record: &'a GateRecord,
    policy: Policy,
    /// Waivers that are over.
    expired: Vec<Waiver>,
    targets: Vec<Target>,
}

impl<'a> Assessed<'a> {
    fn of(record: &'a GateRecord) -> Result<Self, JudgeError> {
        shape::check(record)?;
        let policy = Policy::parse("the policy in the record", &record.policy.text)?;
        if policy.quality.is_none() && !record.quality.is_empty() {
            return Err(JudgeError::Contradiction(
                "it tells of answers, which its policy does not ask for".to_owned(),
            ));
        }
        let day = day(record.started_ms)?;
        let (in_force, expired): (Vec<Waiver>, Vec<Waiver>) =
            (policy.waivers.iter().cloned()).partition(|waiver| day <= waiver.expires);
        Ok(Self {
            record,
            targets: cells::decided(record, &policy, &in_force),
            policy,
            expired,
        })
    }

    fn judged(&self) -> (Judgement, Vec<BlockValues>) {
        let (record, policy) = (self.record, &self.policy);
        let mut findings = validity::of_measurement(record, policy, &cells::gated(record));
        let void = (record.failure.as_ref())
            .is_some_and(|failure| failure.kind == FailureKind::Environment);
        let doubted = void || !findings.is_empty();
        let mut told: Vec<(CellJudgement, &Target)> = (self.targets.iter())
            .map(|target| (cells::told(record, policy, target, doubted), target))
            .collect();
        told.sort_by(|(a, at), (b, bt)| worst_first((a, at), (b, bt)));
        for (cell, target) in &told {
            if let (Some(flaw), None, false) = (&target.flaw, &target.unavailable, target.is_suite)
            {
                findings.push(format!("{}: {flaw}", say::subject(cell)));
            }
        }
        let quality = self.quality(&mut findings);
        if let Some(failure) = &record.failure {
            let whose = failure.arm.map_or(String::new(), |arm| {
                format!("the {} arm failed: ", arm.as_str())
            });
            findings.insert(0, format!("{whose}{}", failure.what));
        }
        let notes = self.notes(&told, &quality);
        let values = (told.iter())
            .map(|(cell, target)| BlockValues {
                label: cell.label.clone(),
                metric: cell.metric,
                values: target.values.clone(),
            })
            .collect();
        let holds_up: Vec<bool> = told.iter().map(holds_up).collect();
        let cells: Vec<CellJudgement> = told.into_iter().map(|(cell, _)| cell).collect();
        let open: Vec<&CellJudgement> = (cells.iter().zip(holds_up))
            .filter(|(_, holds_up)| *holds_up)
            .map(|(cell, _)| cell)
            .collect();
        let (verdict, exit_code) = self.ending(&cells, &quality, &findings, !open.is_empty());
        let mut judgement = Judgement {
            verdict,
            exit_code,
            headline: String::new(),
            cells: cells.clone(),
            quality,
            findings,
            notes,
            blocks: self.most_blocks(),
            void_blocks: (record.stages.iter())
                .flat_map(|stage| &stage.blocks)
                .filter(|block| !values::counts(block))
                .count() as u32,
            seconds: (record.ended_ms - record.started_ms) as f64 / 1e3,
            multiplicity: cells::gated(record).len() as u32,
            alpha: policy.alpha,
            beta: policy.beta,
            seed: record.seed.to_string(),
            policy_sha256: record.policy.sha256.to_string(),
        };
        judgement.headline = say::headline(record, &judgement, &open);
        (judgement, values)
    }

    /// The verdict of all, and how a program ends that asked: 1 before 5 before 4 before 3 before 0,
    /// so that nothing incomplete hides a regression that was confirmed.
    fn ending(
        &self,
        cells: &[CellJudgement],
        quality: &[QualityJudgement],
        findings: &[String],
        is_open: bool,
    ) -> (Verdict, u8) {
        let regressed = (cells.iter())
            .any(|cell| cell.verdict == Verdict::Regressed && cell.waived.is_none())
            || quality.iter().any(|of| of.verdict == Verdict::Regressed);
        let open_answers =
            self.requires_answers() && quality.iter().any(|of| of.verdict == Verdict::Inconclusive);
        let shown = |verdict| matches!(verdict, Verdict::Pass | Verdict::Improved);
        let is_anything_shown = (cells.iter())
            .any(|cell| cell.waived.is_some() || shown(cell.verdict))
            || quality.iter().any(|of| shown(of.verdict));
        let compares = self.record.purpose == Purpose::Compare;
        let failure = self.record.failure.as_ref().map(|failure| failure.kind);
        if regressed && !compares {
            (Verdict::Regressed, 1)
        } else if self.record.interrupted {
            (Verdict::Inconclusive, 130)
        } else if failure == Some(FailureKind::Infrastructure) {
            (Verdict::Invalid, 5)
        } else if !findings.is_empty() {
            (Verdict::Invalid, 4)
        } else if regressed {
            (Verdict::Regressed, 0)
        } else if is_open || open_answers || !is_anything_shown {
            (Verdict::Inconclusive, if compares { 0 } else { 3 })
        } else if cells.iter().any(|cell| cell.verdict == Verdict::Improved) {
            (Verdict::Improved, 0)
        } else {
            (Verdict::Pass, 0)
        }
    }

    fn requires_answers(&self) -> bool {
        self.record.purpose != Purpose::Compare && self.policy.required.contains(&Axis::Quality)
    }

    /// What the ladder says of each model's answers; of commands, which have no ladder to climb, what
    /// they put out; what is required and was not told is a finding.
    fn quality(&self, findings: &mut Vec<String>) -> Vec<QualityJudgement> {
        let Some(policy) = &self.policy.quality else {
            return Vec::new();
        };
        let policy = &policy.for_each_of(self.record.models.len());
        let mut judged = Vec::new();
        for (at, model) in (0..).zip(&self.record.models) {
            let name = model.name.as_str();
            let evidence = self.record.quality.iter().find(|of| of.model == at);
            let of = match evidence {
                Some(of) => Some(judge_quality(of, policy, name)),
                None if model.base.is_none() => of_outputs(values::outputs(self.record, at), name),
                None => None,
            };
            let is_identical =
                (of.as_ref()).is_some_and(|of| of.verdict == Verdict::Pass && of.rung == Some(1));
            if evidence.is_some() && is_identical {
                findings.extend(told_apart(values::outputs(self.record, at), name));
            }
            if self.requires_answers() {
                match &of {
                    None => findings.push(format!(
                        "the policy requires quality, and the answers of {name} were not compared"
                    )),
                    Some(of) if of.verdict == Verdict::Invalid => {
                        findings.push(format!("the answers of {name}: {}", of.said));
                    }
                    Some(_) => {}
                }
            }
            judged.extend(of);
        }
        judged
    }

    fn most_blocks(&self) -> u32 {
        let Some(stage) = values::stage(self.record, StageKind::Measuring) else {
            return 0;
        };
        (0..self.record.models.len() as u32)
            .map(|model| values::counted(stage, model).count() as u32)
            .max()
            .unwrap_or(0)
    }

    fn notes(
        &self,
        told: &[(CellJudgement, &Target)],
        quality: &[QualityJudgement],
    ) -> Vec<String> {
        let record = self.record;
        let mut notes = Vec::new();
        if record.seed_origin == SeedOrigin::Given {
            notes.push(
                "the seed was typed: a replay, which decides nothing that is required".into(),
            );
        }
        if record.purpose == Purpose::Gate && record.policy.origin != PolicyOrigin::BaseRef {
            notes.push(match record.policy.origin {
                PolicyOrigin::BuiltIn => {
                    "no policy was found: the built-in one was gone by".to_owned()
                }
                PolicyOrigin::Typed => {
                    "what is gated was typed: the policy's own models or workloads were left out"
                        .to_owned()
                }
                PolicyOrigin::File | PolicyOrigin::BaseRef => {
                    "the policy is a file that was named, not that of the base ref".to_owned()
                }
            });
        }
        if let Some(before) = record.continues {
            notes.push(format!("it goes on from {before}, with the same coins"));
        }
        for (cell, target) in told {
            notes.extend(self.notes_of(cell, target));
        }
        for (at, model) in (0..).zip(&record.models) {
            let slower = |(cell, _): &&(CellJudgement, &Target)| {
                cell.model == model.name.as_str() && cell.verdict == Verdict::Regressed
            };
            // What is slower is slower in its warm-up, too.
            if told.iter().find(slower).is_none() {
                notes.extend(validity::uncounted(record, at));
            }
        }
        for waiver in &self.expired {
            notes.push(format!(
                "the waiver of {} of {} expired on {}",
                waiver.metric.as_str(),
                waiver.cell,
                waiver.expires
            ));
        }
        if !self.requires_answers() {
            for (at, model) in (0..).zip(&record.models) {
                if quality.iter().any(|of| of.model == model.name.as_str()) {
                    continue;
                }
                let Outputs { blocks, apart, .. } = values::outputs(record, at);
                if apart > 0 && validity::other_outputs(record, &self.policy, at).is_none() {
                    notes.push(format!(
                        "the arms put out different things in {apart} of {blocks} blocks of {}, and \
                         nothing asks whether they are as good",
                        model.name
                    ));
                }
            }
            let undecided = |of: &&QualityJudgement| {
                matches!(of.verdict, Verdict::Inconclusive | Verdict::Invalid)
            };
            for of in quality.iter().filter(undecided) {
                notes.push(format!("the answers of {}: {}", of.model, of.said));
            }
        }
        notes
    }

    fn notes_of(&self, cell: &CellJudgement, target: &Target) -> Vec<String> {
        let subject = say::subject(cell);
        let mut notes = Vec::new();
        if let Some(why) = &target.unavailable {
            notes.push(format!("{subject} could not be measured: {why}"));
        }
        if cell.small_regression {
            notes.push(format!(
                "{subject} has a small regression, {}, within the {} that are tolerated",
                say::percent(cell.effect.unwrap_or(0.0)),
                say::percent(cell.tolerance)
            ));
        }
        if let Some(waived) = &cell.waived {
            notes.push(format!("{subject} is waived: it {waived}"));
        }
        if cell.verdict == Verdict::Regressed && self.record.purpose != Purpose::Compare {
            notes.extend(self.layout_note(&subject, target));
        }
        notes
    }

    /// Where a regression was not told from one that any order of linking makes: why.
    fn layout_note(&self, subject: &str, target: &Target) -> Option<String> {
        let programs = (self.record.base.binary_sha256).zip(self.record.candidate.binary_sha256);
        if programs.is_none_or(|(base, candidate)| base == candidate) || target.layout.is_some() {
            return None;
        }
        let stage = values::stage(self.record, StageKind::Layout);
        let why = match stage.and_then(|stage| stage.unavailable.as_ref()) {
            Some(why) => why.to_string(),
            None if cells::wants_layout(self.record, &self.policy) => {
                "it was not measured to the end".to_owned()
            }
            None => "the policy names no layout_build".to_owned(),
        };
        Some(format!(
            "whether {subject} depends on the order of linking is not known: {why}"
        ))
    }
}

/// What outputs say of answers where nothing else does: the same bytes in every block are the same
/// answers; others may be as good, which nothing here could tell. `None` without outputs.
fn of_outputs(outputs: Outputs, model: &str) -> Option<QualityJudgement> {
    let Outputs {
        blocks,
        apart,
        unsteady,
    } = outputs;
    if blocks == 0 {
        return None;
    }
    let (verdict, said) = if unsteady > 0 {
        let said = format!(
            "in {unsteady} of {blocks} blocks the base did not put out one thing twice, so that the \
             candidate cannot be held against it"
        );
        (Verdict::Inconclusive, said)
    } else if apart > 0 {
        let said = format!(
            "in {apart} of {blocks} blocks the arms put out different things, and whether they are \
             as good nothing tells"
        );
        (Verdict::Inconclusive, said)
    } else {
        let said = format!("in {blocks} blocks all that was put out is the same, byte for byte");
        (Verdict::Pass, said)
    };
    Some(QualityJudgement {
        model: model.to_owned(),
        verdict,
        rung: (verdict == Verdict::Pass).then_some(1),
        said,
        dnll_nats: None,
        kld_nats: None,
        kld_p999_nats: None,
        top1_agreement: None,
        items: None,
    })
}

/// What speaks against answers that are the same, bit for bit, on the fixed texts, and are not where they
/// were timed: a candidate that knows when it is timed, or a path that those texts never take.
fn told_apart(outputs: Outputs, model: &str) -> Option<String> {
    let Outputs { blocks, apart, .. } = outputs;
    outputs.are_others().then(|| {
        format!(
            "the answers of {model} are identical on the fixed texts, and in {apart} of {blocks} blocks \
             the candidate put out something else than the base while it was timed: that is other work \
             than the texts show, or work on lengths that they do not have"
        )
    })
}

/// Whether a cell keeps the gate from passing without failing it. A mean over cells does so only
/// where it raised an alarm: its cells must pass one by one.
fn holds_up((cell, target): &(CellJudgement, &Target)) -> bool {
    cell.verdict == Verdict::Inconclusive
        && cell.waived.is_none()
        && (!target.is_suite || target.first() == Verdict::Regressed)
}

/// REGRESSED, INVALID, INCONCLUSIVE, PASS, IMPROVED, and of each the greatest effect first; what is
/// waived after what is not, what could not be measured at the end.
fn worst_first(a: (&CellJudgement, &Target), b: (&CellJudgement, &Target)) -> Ordering {
    let rank = |(cell, target): (&CellJudgement, &Target)| match cell.verdict {
        _ if target.unavailable.is_some() => 6,
        _ if cell.waived.is_some() => 3,
        Verdict::Regressed => 0,
        Verdict::Invalid => 1,
        Verdict::Inconclusive => 2,
        Verdict::Pass => 4,
        Verdict::Improved => 5,
    };
    let effect = |cell: &CellJudgement| cell.effect.unwrap_or(f64::NEG_INFINITY);
    (rank(a).cmp(&rank(b))).then_with(|| effect(b.0).total_cmp(&effect(a.0)))
}

/// The day, UTC, of a wall clock's milliseconds.
fn day(unix_ms: u64) -> Result<Date, JudgeError> {
    i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map(|at| Offset::UTC.to_datetime(at).date())
        .ok_or_else(|| JudgeError::Contradiction("its start is no day of any calendar".to_owned()))
}

#[cfg(test)]
mod tests;
