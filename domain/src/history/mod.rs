//! The history: how a figure of one setup, variant, engine and workload moved, and where it changed.
//!
//! A series has one *epoch* per state of everything but the engine's code (harness, operating
//! system, driver, device); a new epoch is a break and no alert. A change starts as *suspect*,
//! found on append; it may become *certified* by a stricter test that pays for choosing the split;
//! only a paired gate of the last good against the first bad build makes it *confirmed*, and only
//! that alerts ([`change`]).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::gate::Verdict;
use crate::gate::verdict::Judgement;

pub mod change;

/// Everything about changes: `GET /api/v1/regressions`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RegressionsAnswer {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// The licence of these data.
    pub licence: String,
    /// The engine asked about, as addresses spell it; `null` for all.
    pub engine: Option<String>,
    /// Changes and gates from this day on, `YYYY-MM-DD` UTC; `null` from the first.
    pub from: Option<String>,
    /// Until the end of this day; `null` until now.
    pub to: Option<String>,
    /// Engines that have series or gates, as addresses spell them.
    pub engines: Vec<String>,
    /// Changes, confirmed first, then by effect over noise.
    pub changes: Vec<ChangeRow>,
    /// The newest gates, newest first; `/api/v1/gates` has all.
    pub gates: Vec<GateRow>,
    /// Series without their points, by name.
    pub series: Vec<SeriesRow>,
    /// What hides below the tolerance, the largest sum first.
    pub ledger: Vec<LedgerRow>,
}

/// What gates let pass although it was worse, summed up: of one cell of one engine on one setup.
///
/// Of several gates of the same two builds the newest counts. Gates of changes that were never
/// taken in are summed too: nobody tells the collector which were.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct LedgerRow {
    /// Setup, or the machine's kind where no setup is known.
    pub setup: String,
    /// Engine, or `command`.
    pub engine: String,
    /// Its name in addresses.
    pub engine_slug: String,
    /// The cell's label.
    pub cell: String,
    /// Metric, as gates name it.
    pub metric: String,
    /// Gates that let something pass here: small regressions, and waived ones.
    pub gates: u32,
    /// Sum of their effects as logarithms of candidate / base.
    pub sum_ln: f64,
    /// The same as a share: 0.03 is 3 % more cost.
    pub effect: f64,
    /// When the newest of them was run, RFC 3339 UTC.
    pub latest_at: String,
}

/// Gates: `GET /api/v1/gates`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatesAnswer {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// The licence of these data.
    pub licence: String,
    /// Gates, newest first, from the cursor on.
    pub rows: Vec<GateRow>,
    /// Opaque cursor of the next page, if there is one.
    pub next: Option<String>,
}

/// One series: `GET /api/v1/series/{id}` with its points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeriesAnswer {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// The licence of these data.
    pub licence: String,
    /// What it is.
    pub series: SeriesRow,
    /// Its points, oldest first.
    pub points: Vec<SeriesPoint>,
    /// Where an epoch begins, and what changed there.
    pub epochs: Vec<EpochRow>,
    /// Its changes.
    pub changes: Vec<ChangeRow>,
}

/// What a series is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct SeriesRow {
    /// Names it in addresses, `[a-z0-9-]`.
    pub id: String,
    /// The key that signed its records: what one runner saw is one series.
    pub key_id: String,
    /// Setup, or the machine's kind where no setup is known.
    pub setup: String,
    /// Model.
    pub model: String,
    /// Variant as people call it, such as `Q4_K`.
    pub variant: String,
    /// SHA-256 of its weights.
    pub variant_sha256: String,
    /// Engine.
    pub engine: String,
    /// Its name in addresses.
    pub engine_slug: String,
    /// Such as `cpu`, `cuda`, `metal`.
    pub backend: String,
    /// Workload.
    pub workload: String,
    /// Metric, as in tables: `decode_tokens_per_second`, `prefill_tokens_per_second`, `ttft_ms`,
    /// `joules_per_output_token`, `peak_bytes`; of engines that time
    /// themselves `engine_decode_tokens_per_second` and `engine_prefill_tokens_per_second`.
    pub metric: String,
    /// What joules cover.
    pub energy_scope: Option<String>,
    /// Points.
    pub points: u32,
    /// Epochs.
    pub epochs: u32,
    /// The latest value.
    pub latest: Option<f64>,
    /// A canary, a pinned build, was measured in the same sweeps: its latest epoch's changes are
    /// sought in value / canary.
    pub has_canary: bool,
}

/// One measurement of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeriesPoint {
    /// Content id of its record.
    pub record: String,
    /// When it was measured, RFC 3339 UTC.
    pub measured_at: String,
    /// When it was measured, Unix seconds.
    pub measured_seconds: f64,
    /// The engine's build: version, commit where known.
    pub build: String,
    /// The engine's commit.
    pub commit: Option<String>,
    /// Median of the record's repetitions.
    pub value: f64,
    /// Lower end of its 95 % interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// The canary's value in the same sweep, in the value's unit.
    pub canary: Option<f64>,
    /// Number of its epoch, from 0.
    pub epoch: u32,
}

/// An epoch of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EpochRow {
    /// Number, from 0.
    pub epoch: u32,
    /// When it begins, RFC 3339 UTC.
    pub begins_at: String,
    /// What changed, in words; empty for the first.
    pub changed: String,
}

/// How far a change is proven.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeState {
    /// A paired gate of both builds said so.
    Confirmed,
    /// Found by the test that pays for choosing the split.
    Certified,
    /// Found on append.
    Suspect,
    /// The canary moved with it: the machine or its surroundings.
    Environment,
    /// A paired gate did not find it.
    NotReproduced,
    /// Later points are back where they were.
    WentAway,
}

/// One change of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangeRow {
    /// Names it in addresses, `[a-z0-9-]`.
    pub id: String,
    /// Shared by the changes of one engine between the same two builds.
    pub group: String,
    /// Its series.
    pub series: SeriesRow,
    /// How far it is proven.
    pub state: ChangeState,
    /// Why it is no further, or what is odd about it, in a sentence.
    pub note: Option<String>,
    /// Worse, where true; better otherwise.
    pub is_regression: bool,
    /// Share by which the figure's cost moved: 0.03 is 3 % more cost.
    pub effect: f64,
    /// Effect over the standard deviation of the segment before.
    pub effect_over_noise: Option<f64>,
    /// p of the test that found it; of one that only a gate found, the error that the gate allows.
    pub p: f64,
    /// Last build before.
    pub last_good: String,
    /// First build after.
    pub first_bad: String,
    /// Commit of the last good build.
    pub last_good_commit: Option<String>,
    /// Commit of the first bad build.
    pub first_bad_commit: Option<String>,
    /// When the first point after was measured, RFC 3339 UTC.
    pub at: String,
    /// Unix seconds of that.
    pub at_seconds: f64,
    /// When its state was reached: when the gate or the newest point that says so came, RFC 3339 UTC.
    pub updated_at: String,
    /// Points before, since the change before or the epoch's begin.
    pub points_before: u32,
    /// Points after, until the next change or the epoch's end.
    pub points_after: u32,
    /// The paired run that would tell, as a command.
    pub paired_run: String,
    /// Content ids of the gates that were run for it.
    pub gates: Vec<String>,
}

/// One gate, as listed.
///
/// Quarantined ones are listed and count nowhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GateRow {
    /// Its content id: leads to the signed bytes.
    pub content_id: String,
    /// The key that signed.
    pub key_id: String,
    /// How far the key is trusted.
    pub tier: crate::tier::Tier,
    /// When it came, RFC 3339 UTC.
    pub received_at: String,
    /// When it was run, RFC 3339 UTC.
    pub measured_at: String,
    /// `gate`, `compare` or `aa`.
    pub purpose: String,
    /// Setup, or the machine's kind.
    pub setup: String,
    /// Engine, or `command`.
    pub engine: String,
    /// Its name in addresses.
    pub engine_slug: String,
    /// Base.
    pub base: String,
    /// Candidate.
    pub candidate: String,
    /// Recomputed here, from the raw samples.
    pub verdict: Verdict,
    /// In one sentence.
    pub headline: String,
    /// The cell furthest from passing.
    pub worst_cell: Option<String>,
    /// Its effect.
    pub effect: Option<f64>,
    /// What it could have detected.
    pub mde: Option<f64>,
    /// Blocks.
    pub blocks: u32,
    /// Time it took.
    pub seconds: f64,
}

/// One gate in full: `GET /api/v1/gates/{content_id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GateAnswer {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// The licence of these data.
    pub licence: String,
    /// As listed.
    pub row: GateRow,
    /// The ed25519 key that signed, 64 hexadecimal digits: `joulemark gate --judge` takes it.
    pub public_key: String,
    /// Recomputed here, from the raw samples.
    pub judgement: Judgement,
    /// Value of every counted block: ln(candidate / base), by cell-metric in the order of the
    /// judgement's cells, where such were measured.
    pub blocks: Vec<BlockValues>,
}

/// The blocks of one cell-metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BlockValues {
    /// The cell's label.
    pub label: String,
    /// What.
    pub metric: crate::gate::Metric,
    /// ln(candidate / base) of each.
    pub values: Vec<f64>,
}
