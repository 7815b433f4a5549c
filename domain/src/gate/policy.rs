//! The policy of a gate: what is gated, with which margins, what is waived until when.
//!
//! It is a TOML file, `.joulemark/gate.toml`, read from the base ref, so that no change loosens its
//! own gate. Its text travels in the result; whoever holds that reads the same policy.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::Metric;
use super::record::ArmKind;
use crate::matrix::{MatrixError, WorkloadSpec};
use crate::suite::Suite;

mod parse;

/// Most items of the third rung that a policy may ask for.
pub const MAX_ITEMS: u32 = 10_000;

/// Most commands of a build.
pub const MAX_COMMANDS: usize = 32;

/// Longest command line, in bytes.
pub const MAX_COMMAND_BYTES: usize = 4 << 10;

/// Where a repository keeps it.
pub const PATH: &str = ".joulemark/gate.toml";

/// What holds where a repository has none: every default below, one command as each arm.
pub const BUILT_IN: &str = "# Joulemark's built-in gate policy: every default.\n";

/// A checked policy. Shares are of 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// What must be known and good; the rest is shown where it was measured.
    pub required: Vec<Axis>,
    /// Error of any REGRESSED while nothing is worse than the practical zero.
    pub alpha: f64,
    /// Error of PASS while something is worse than its tolerance.
    pub beta: f64,
    /// Effect that counts as none.
    pub practical_zero: f64,
    /// By metric, where it differs from [`Metric::tolerance`].
    pub tolerances: BTreeMap<Metric, f64>,
    /// Time for the measuring stage; absent: as many blocks as there are looks.
    pub budget_minutes: Option<f64>,
    /// Timed repetitions of a slot, 3 or more.
    pub repetitions: u32,
    /// The least that the timed repetitions of one workload of a slot take together.
    pub slot_seconds: f64,
    /// Rest before every slot.
    pub cool_down_seconds: f64,
    /// After so long a slot has failed.
    pub slot_limit_seconds: f64,
    /// How answers are judged; absent: they are not looked at.
    pub quality: Option<QualityPolicy>,
    /// How arms are made and started, where the command line does not say.
    pub arms: Option<ArmsPolicy>,
    /// Weights files, relative to the models folder, as patterns.
    pub models: Vec<String>,
    /// What each is asked.
    pub workloads: Vec<GatedWorkload>,
    /// What does not fail within its limit, until when.
    pub waivers: Vec<Waiver>,
}

/// One workload and what is gated of it.
#[derive(Debug, Clone, PartialEq)]
pub struct GatedWorkload {
    /// What is asked.
    pub workload: WorkloadSpec,
    /// What is gated.
    pub metrics: Vec<Metric>,
}

/// What a gate is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Axis {
    /// Decode, prefill, time to first token, time.
    Speed,
    /// Peak bytes.
    Memory,
    /// Joules.
    Energy,
    /// Answers.
    Quality,
}

impl Axis {
    /// As policies spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Memory => "memory",
            Self::Energy => "energy",
            Self::Quality => "quality",
        }
    }

    /// The metrics that it is about; none for answers, which have a ladder instead.
    pub fn metrics(self) -> &'static [Metric] {
        match self {
            Self::Speed => &[Metric::Decode, Metric::Prefill, Metric::Ttft, Metric::Time],
            Self::Memory => &[Metric::PeakBytes],
            Self::Energy => &[Metric::Energy],
            Self::Quality => &[],
        }
    }
}

/// How answers are judged.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityPolicy {
    /// The suite, and the corpus that goes with it.
    pub suite: Suite,
    /// Items of the third rung.
    pub items: u32,
    /// Error of any REGRESSED of answers.
    pub alpha: f64,
    /// Share of items that may be lost.
    pub margin: f64,
    /// Mean change of the negative log likelihood per token that is tolerated, nats.
    pub dnll_nats: f64,
    /// Mean KL divergence per token that is tolerated, nats.
    pub kld_nats: f64,
}

impl QualityPolicy {
    /// The same for each of so many models: each has an equal part of the error, and each of the two
    /// rungs that may say REGRESSED half of that.
    #[must_use]
    pub fn for_each_of(&self, models: usize) -> Self {
        Self {
            alpha: self.alpha / (2.0 * models.max(1) as f64),
            ..self.clone()
        }
    }
}

/// How arms are made and started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArmsPolicy {
    /// What drives them.
    pub kind: ArmKind,
    /// Commands run in a checkout of each arm's commit; none: nothing is built.
    pub build: Vec<String>,
    /// The program or command line, relative to the checkout. In a server's, `{weights}`, `{port}`,
    /// `{threads}`, `{streams}` and `{context}` are filled in.
    pub run: String,
    /// Commands that link the base again in another order, with `{seed}` filled in; none: whether
    /// a difference is one of layout cannot be told.
    pub layout_build: Vec<String>,
}

/// A cell that may be worse for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiver {
    /// The cell's label.
    pub cell: String,
    /// Which metric.
    pub metric: Metric,
    /// Share of the base that it may be worse by.
    pub limit: f64,
    /// Why.
    pub reason: String,
    /// The last day it holds.
    pub expires: Date,
}

/// What is wrong with a policy: file, line, key, and what to do.
pub type PolicyError = MatrixError;

/// The policy's text with other models or workloads in place of its own, for a record to show what was
/// typed. Empty: as they are; `models` are patterns as the policy's are.
///
/// Each workload is gated by every metric that the policy gates of any, so that what it requires,
/// tolerates and waives keeps its meaning.
pub fn typed(
    file: &str,
    text: &str,
    models: &[String],
    workloads: &[WorkloadSpec],
) -> Result<String, PolicyError> {
    if models.is_empty() && workloads.is_empty() {
        return Ok(text.to_owned());
    }
    parse::typed(file, text, models, workloads)
}

impl Policy {
    /// Reads and checks a policy; `file` names it in errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, PolicyError> {
        parse::parse(file, text)
    }

    /// What a metric may be worse by, as a share of the base.
    pub fn tolerance(&self, metric: Metric) -> f64 {
        self.tolerances
            .get(&metric)
            .copied()
            .unwrap_or(metric.tolerance())
    }
}

#[cfg(test)]
mod tests;
