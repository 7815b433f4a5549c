//! From raw slots to the verdict: the one decision, made in the runner and again in the collector.
//!
//! Validity goes first and fails closed; then every cell-metric is decided at its planned looks
//! with its part of the error; what regressed must regress again; answers have a ladder of their
//! own ([`super::ladder`]). Speed, energy and answers must each pass: no axis pays for another.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use super::record::{GateRecord, Purpose};
use super::{Metric, Verdict};
use crate::matrix::MatrixError;

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
    let _ = (record, Purpose::Gate);
    unimplemented!("the gate's verdict")
}
