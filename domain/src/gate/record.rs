//! What one gate measured, raw: every coin, every slot, every sample; no derived number.
//!
//! Strict as records are: no floats, no maps, no unknown fields. Times are nanoseconds since the
//! gate's start, wall times Unix milliseconds. Whoever holds these bytes can decide the gate again.

use serde::{Deserialize, Serialize};

use super::{Arm, Metric};
use crate::ids::{ContentId, Sha256Digest};
use crate::record::{
    Audience, EngineFacts, FidelityDoc, Host, RunnerFacts, Settings, SetupRef, SuiteRef,
    VariantFacts, Workload,
};
use crate::scope::Scope;
use crate::text::{Answer, Name};

/// The `schema` of this version.
pub const SCHEMA: &str = "joulemark.gate.v1";

/// The DSSE payload type of this version.
pub const PAYLOAD_TYPE: &str = "application/vnd.joulemark.gate.v1+json";

/// Most blocks of one model in one stage, void ones included.
pub const MAX_BLOCKS: usize = 63;

/// Most cells of one gate.
pub const MAX_CELLS: usize = 256;

/// Longest payload of a gate, in bytes: some hundred cell-metrics in every block of all stages.
pub const MAX_GATE_BYTES: usize = 8 << 20;

/// Longest policy, in bytes.
pub const MAX_POLICY_BYTES: usize = 64 << 10;

/// One gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateRecord {
    /// [`SCHEMA`].
    pub schema: Name,
    /// The collector it is meant for.
    pub audience: Audience,
    /// What was asked.
    pub purpose: Purpose,
    /// What the gate goes by.
    pub policy: PolicyUsed,
    /// Seed of every coin, fixed before the first slot.
    pub seed: Sha256Digest,
    /// Where it came from.
    pub seed_origin: SeedOrigin,
    /// The record that this one goes on from: same seed and arms, its blocks included here.
    pub continues: Option<ContentId>,
    /// Blocks after which the last decision falls: the budget, fixed beforehand.
    pub last_look: u32,
    /// Wall clock at the first slot.
    pub started_ms: u64,
    /// Wall clock at the end.
    pub ended_ms: u64,
    /// The measuring program.
    pub runner: RunnerFacts,
    /// The setup.
    pub setup: SetupRef,
    /// Its machines.
    pub hosts: Vec<Host>,
    /// What stood before.
    pub base: ArmFacts,
    /// What changed.
    pub candidate: ArmFacts,
    /// Models in the order in which they take turns; of commands one without a variant.
    pub models: Vec<GateModel>,
    /// What is gated.
    pub cells: Vec<GateCell>,
    /// Blocks in the order in which they were run: measuring, then what confirms.
    pub stages: Vec<Stage>,
    /// What was asked of the answers; absent where the policy asks nothing of them.
    pub quality: Vec<QualityEvidence>,
    /// Blocks of this setup measured against itself, for what could be detected; in parts per
    /// million of a logarithm, by metric. Absent: not known.
    pub known_block_sds: Vec<KnownSd>,
    /// What went wrong so that the gate ended: of which arm, and how.
    pub failure: Option<Failure>,
    /// A person stopped it.
    pub interrupted: bool,
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A verdict by a policy.
    Gate,
    /// How the two differ, without a verdict.
    Compare,
    /// The gate against itself.
    Aa,
}

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyUsed {
    /// SHA-256 of its text.
    pub sha256: Sha256Digest,
    /// Its text, verbatim.
    pub text: String,
    /// Where it was read.
    pub origin: PolicyOrigin,
    /// Commit that it was read from, 40 hexadecimal digits.
    pub commit: Option<Name>,
}

/// Where a policy was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyOrigin {
    /// From the base ref: the change under test cannot loosen it.
    BaseRef,
    /// From a file that was named.
    File,
    /// None was there: the built-in one.
    BuiltIn,
    /// One of these, with the models or workloads that were typed in place of its own.
    Typed,
}

/// Where the seed came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeedOrigin {
    /// The operating system's randomness, written to disk before the first slot.
    System,
    /// The collector's challenge.
    Collector,
    /// Typed: a replay, which decides nothing that is required.
    Given,
}

/// One arm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmFacts {
    /// What drives it.
    pub kind: ArmKind,
    /// What to call it: a ref, a program's name, a setting.
    pub label: Name,
    /// Commit that it was built from, 40 hexadecimal digits.
    pub commit: Option<Name>,
    /// SHA-256 of its program; where words of its command line name files, such as the script of an
    /// interpreter, of the digests of all of them.
    pub binary_sha256: Option<Sha256Digest>,
    /// SHA-256 of its command line, as typed: which paths and secrets it names stays here.
    pub command_sha256: Sha256Digest,
    /// The engine's own word, once it was loaded; absent for commands.
    pub engine: Option<EngineFacts>,
    /// Its settings; absent for commands.
    pub settings: Option<Settings>,
}

/// What drives an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArmKind {
    /// A build of this program, whose candle engine runs as a child.
    Candle,
    /// A server started for each slot.
    Server,
    /// A command that prints a line of JSON for each repetition.
    Command,
}

/// One model: its slots hold all its cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateModel {
    /// Its name; part of what coins are drawn from.
    pub name: Name,
    /// The base's weights; absent for commands.
    pub base: Option<VariantFacts>,
    /// The candidate's; the same unless weights are what changed.
    pub candidate: Option<VariantFacts>,
}

/// One gated cell: a workload of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateCell {
    /// Names it in policies and reports, such as `mini pp64/tg64`.
    pub label: Name,
    /// Its model's place in `models`.
    pub model: u32,
    /// What is asked; absent for commands.
    pub workload: Option<Workload>,
    /// What is gated of it.
    pub metrics: Vec<Metric>,
    /// Of those, which cannot be measured, and why.
    pub unavailable: Vec<UnavailableMetric>,
    /// What its joules cover.
    pub scope: Option<Scope>,
}

/// A metric that cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnavailableMetric {
    /// Which.
    pub metric: Metric,
    /// Why.
    pub reason: Name,
}

/// Blocks that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// What for.
    pub kind: StageKind,
    /// Seed of its coins.
    pub seed: Sha256Digest,
    /// Its blocks.
    pub blocks: Vec<Block>,
    /// Of the layout stage: the program of the shuffled base.
    pub binary_sha256: Option<Sha256Digest>,
    /// Why it could not be run, where it should have been.
    pub unavailable: Option<Name>,
}

/// What a stage is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageKind {
    /// The first verdict.
    Measuring,
    /// What regressed, again, with a new seed.
    Confirmation,
    /// The base against itself, linked in another order (as the candidate).
    Layout,
}

/// Four slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Its model's place in `models`.
    pub model: u32,
    /// Its number among this model's of this stage, void ones counted; what its coin is drawn from.
    pub index: u32,
    /// Its coin.
    pub coin: bool,
    /// Why it does not count: a disturbance that neither arm caused.
    pub void: Option<Name>,
    /// In the order in which they were run; four unless the gate ended here.
    pub slots: Vec<Slot>,
}

/// One fresh engine process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// Whose.
    pub arm: Arm,
    /// When the process was started.
    pub start_ns: u64,
    /// When it had ended.
    pub end_ns: u64,
    /// The control probe beforehand: a fixed multiplication of matrices, by the runner.
    pub control_multiply_ns: u64,
    /// A fixed copy of memory, by the runner.
    pub control_copy_ns: u64,
    /// How long the machine held its clocks down meanwhile; absent where it does not say.
    pub throttled_ns: Option<u64>,
    /// Cost by cell and metric.
    pub samples: Vec<Sample>,
    /// SHA-256 over what it put out while it was timed; absent where there was none. Both arms of a
    /// block are asked the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_sha256: Option<Sha256Digest>,
}

/// What one slot says of one metric of one cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The cell's place in `cells`.
    pub cell: u32,
    /// What.
    pub metric: Metric,
    /// Units of work in each repetition: tokens, or what a command counts; 1 for times and bytes.
    pub units: u64,
    /// Cost of each repetition, warm-up left out: nanoseconds, bytes or microjoules.
    pub costs: Vec<u64>,
    /// Of times: for how long the slot went on behind what was stamped of them, nanoseconds. Of a
    /// command from its last line to its end; of an engine from the last token of each request to
    /// the answer's end, added up as `costs` are. Absent of bytes and joules, and only of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail_ns: Option<u64>,
    /// What a command says of its own time, nanoseconds for each repetition; never gated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_ns: Option<Vec<u64>>,
}

/// A block standard deviation known beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownSd {
    /// Of which metric.
    pub metric: Metric,
    /// Parts per million of a logarithm.
    pub ppm: u64,
    /// Blocks it was taken from.
    pub blocks: u32,
}

/// Why a gate ended early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Whose fault; absent where it is neither's.
    pub arm: Option<Arm>,
    /// Which kind.
    pub kind: FailureKind,
    /// What happened, in words, without paths.
    pub what: Name,
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// It did not start, died, fell silent, or printed nothing.
    Infrastructure,
    /// It did other work than was asked: another number of tokens, other weights, another program
    /// than at the start.
    OtherWork,
    /// A clock, a counter or the machine did what makes the measurement void.
    Environment,
}

/// What was seen of one model's answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityEvidence {
    /// The model's place in `models`.
    pub model: u32,
    /// SHA-256 of the texts that were read.
    pub corpus_sha256: Sha256Digest,
    /// First rung; absent only where `unavailable` says why.
    pub greedy: Option<Greedy>,
    /// Second rung, teacher-forced on the base's tokens, where it was reached and the engine gives
    /// logits.
    pub forced: Option<Vec<FidelityDoc>>,
    /// Third rung, where it was reached.
    pub items: Option<ItemsAsked>,
    /// Why a rung that was reached could not be taken.
    pub unavailable: Option<Name>,
}

/// Greedy continuations of the fixed texts, sequential, one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Greedy {
    /// Texts continued.
    pub documents: u32,
    /// Tokens chosen by the base.
    pub tokens: u64,
    /// SHA-256 over what the base said after each text: how many tokens it read, which it chose
    /// where it says them, what they spell, and whether it ended by itself.
    pub base_tokens_sha256: Sha256Digest,
    /// Over the candidate's.
    pub candidate_tokens_sha256: Sha256Digest,
    /// SHA-256 over the bits of the base's logits at every position of each text and of what the base
    /// chose after it; absent where the engine shows none.
    pub base_logits_sha256: Option<Sha256Digest>,
    /// Of the candidate's, over the same tokens.
    pub candidate_logits_sha256: Option<Sha256Digest>,
}

/// What a suite's items told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemsAsked {
    /// The suite and the seed that its items are drawn from.
    pub suite: SuiteRef,
    /// Items that both answered.
    pub asked: u32,
    /// Those that were answered differently; all others are equal, byte for byte.
    pub differing: Vec<ItemPair>,
}

/// One item that both answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemPair {
    /// Family, level and index name the item in its suite.
    pub family: Name,
    /// Level.
    pub level: u8,
    /// Index.
    pub index: u32,
    /// The base's answer.
    pub base: Answer,
    /// It ended by itself; one that was cut off is wrong whatever it says.
    pub base_ended: bool,
    /// The candidate's.
    pub candidate: Answer,
    /// Likewise.
    pub candidate_ended: bool,
}
