//! Gates: the stored raw slots, judged again.
//!
//! The verdict is made by `domain::gate::verdict` from the signed bytes, with the runner's own code,
//! at admission and at every start; nothing of it is stored.

use domain::api::{DATA_LICENCE, RecordSummary};
use domain::gate::record::{ArmFacts, GateRecord, Purpose, SeedOrigin};
use domain::gate::verdict::{self, CellJudgement, JudgeError, Judgement};
use domain::gate::{Metric, Verdict};
use domain::history::{BlockValues, GateAnswer, GateRow};
use domain::ids::Sha256Digest;
use domain::record::{SpeculationMethod, Workload};
use domain::tier::Tier;

use crate::derive::{Received, cell, rfc3339};
use crate::history::Build;

/// Changes whenever the same gates would be judged otherwise.
pub const RULES_VERSION: u32 = 4;

/// A policy laxer than these, the defaults of policies, says nothing of anybody's series: errors of
/// both kinds above it, or a practical zero below it.
const MOST_ERROR: f64 = 0.05;
const LEAST_ZERO: f64 = 0.005;

/// What commands are gated as: they are no engine.
const COMMAND: &str = "command";

/// One stored gate.
#[derive(Debug, Clone)]
pub struct JudgedGate {
    /// Its way here.
    pub received: Received,
    /// Its line in a listing.
    pub row: GateRow,
    /// What it comes to.
    pub judgement: Judgement,
    /// The blocks of every cell-metric, in the judgement's order.
    pub blocks: Vec<BlockValues>,
    /// When it was run, Unix milliseconds.
    pub started_ms: u64,
    /// What was compared.
    pub arms: Arms,
    /// The key that signed: with it anybody judges the bytes again.
    public_key: [u8; 32],
    /// Its cells.
    cells: Vec<GatedCell>,
    /// A gate by coins that nobody typed, and by errors as small as the default policy's.
    is_verdict: bool,
}

/// Both builds.
#[derive(Debug, Clone)]
pub struct Arms {
    /// The engine's name; `None` for commands. Of servers it is what the arm was called.
    pub engine: Option<String>,
    /// What stood before.
    pub base: Build,
    /// What changed.
    pub candidate: Build,
}

/// One cell, as a series names it.
#[derive(Debug, Clone)]
struct GatedCell {
    label: String,
    /// The weights, where both arms had the same.
    variant: Option<Sha256Digest>,
    workload: Option<Workload>,
    /// What computed, where it was the same for both arms.
    backend: Option<String>,
    speculation: Option<SpeculationMethod>,
    scope: Option<String>,
}

/// What a series asks a gate about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Setup, as series name it.
    pub setup: &'a str,
    /// Whose series it is: nobody else's gate says anything of it, but for the farm's.
    pub key: &'a str,
    /// What computes.
    pub backend: &'a str,
    /// Weights.
    pub variant: Sha256Digest,
    /// Workload.
    pub workload: &'a Workload,
    /// How tokens are guessed ahead.
    pub speculation: SpeculationMethod,
    /// Metric.
    pub metric: Metric,
    /// What joules cover.
    pub scope: Option<&'a str>,
}

impl Arms {
    /// Whether these are the builds of an engine: what stood before, and what came next.
    pub fn are(&self, engine: &str, builds: (&Build, &Build)) -> bool {
        let has_same_name = self.engine.as_deref() == Some(engine);
        builds.0.is_arm(&self.base, has_same_name)
            && builds.1.is_arm(&self.candidate, has_same_name)
    }
}

impl JudgedGate {
    /// Judges a gate; refuses one that contradicts itself.
    pub fn judge(
        record: &GateRecord,
        received: Received,
        public_key: [u8; 32],
    ) -> Result<Self, JudgeError> {
        let judgement = verdict::judge(record)?;
        let setup = cell::setup_slug(&record.setup, &record.hosts);
        let name = record.base.engine.as_ref();
        let engine = name.map(|engine| engine.name.to_string());
        let shown = engine.clone().unwrap_or_else(|| COMMAND.to_owned());
        let worst = judgement.cells.first();
        let row = GateRow {
            content_id: received.content_id.to_string(),
            key_id: received.key_id.to_string(),
            tier: received.tier,
            received_at: rfc3339(received.received_ms),
            measured_at: i64::try_from(record.started_ms)
                .map(rfc3339)
                .unwrap_or_default(),
            purpose: purpose(record.purpose).to_owned(),
            setup,
            engine_slug: cell::engine_slug(&shown),
            engine: shown,
            base: arm(&record.base),
            candidate: arm(&record.candidate),
            verdict: judgement.verdict,
            headline: judgement.headline.clone(),
            worst_cell: worst.map(|cell| format!("{} {}", cell.metric.as_str(), cell.label)),
            effect: worst.and_then(|cell| cell.effect),
            mde: worst.and_then(|cell| cell.mde),
            blocks: judgement.blocks,
            seconds: judgement.seconds,
        };
        Ok(Self {
            row,
            blocks: verdict::block_values(record),
            started_ms: record.started_ms,
            arms: Arms {
                engine,
                base: Build::of_arm(&record.base),
                candidate: Build::of_arm(&record.candidate),
            },
            cells: cells(record),
            is_verdict: record.purpose == Purpose::Gate
                && record.seed_origin != SeedOrigin::Given
                && is_strict(&judgement),
            judgement,
            received,
            public_key,
        })
    }

    /// Sets the time of receipt, once the database gave it.
    pub(crate) fn received_at(&mut self, received_ms: i64) {
        self.received.received_ms = received_ms;
        self.row.received_at = rfc3339(received_ms);
    }

    /// Whether it may say something about a change: plausible, a gate, by fair coins, and not by a
    /// laxer policy than the default one.
    pub fn decides(&self) -> bool {
        self.is_verdict && self.received.tier >= Tier::SelfReported
    }

    /// What it found of a series' metric, where it gated that.
    pub fn answer(&self, asked: &Asked<'_>) -> Option<&CellJudgement> {
        let is_scope = |cell: &GatedCell| {
            asked.metric != Metric::Energy || cell.scope.as_deref() == asked.scope
        };
        let is_asked = |cell: &&GatedCell| {
            cell.variant == Some(asked.variant)
                && cell.backend.as_deref() == Some(asked.backend)
                && cell.speculation == Some(asked.speculation)
                && is_scope(cell)
                && cell
                    .workload
                    .as_ref()
                    .is_some_and(|workload| cell::is_same_work(workload, asked.workload))
        };
        let may_say = self.row.key_id == asked.key || self.received.tier == Tier::Farm;
        if self.row.setup != asked.setup || !may_say {
            return None;
        }
        let cell = self.cells.iter().find(is_asked)?;
        self.judgement
            .cells
            .iter()
            .find(|one| one.label == cell.label && one.metric == asked.metric)
            .filter(|one| decided(one.verdict))
    }

    /// Its line in a listing of envelopes.
    pub fn summary(&self) -> RecordSummary {
        RecordSummary {
            content_id: self.row.content_id.clone(),
            key_id: self.row.key_id.clone(),
            tier: self.received.tier,
            received_at: self.row.received_at.clone(),
            started_at: self.row.measured_at.clone(),
            outcome: format!("{}: {}", self.row.purpose, self.row.verdict.as_str()),
            result: None,
            findings: self.received.findings.clone(),
        }
    }

    /// The answer of `/gates/{content_id}`.
    pub fn detail(&self, data_version: &str) -> GateAnswer {
        GateAnswer {
            data_version: data_version.to_owned(),
            licence: DATA_LICENCE.to_owned(),
            row: self.row.clone(),
            public_key: hex::encode(self.public_key),
            judgement: self.judgement.clone(),
            blocks: self.blocks.clone(),
        }
    }
}

/// Whether its errors and its zero are those of the default policy or stricter: one that calls noise a
/// regression could prove anything. The tolerance needs no bound, as a PASS speaks by its interval.
fn is_strict(judgement: &Judgement) -> bool {
    judgement.alpha <= MOST_ERROR
        && judgement.beta <= MOST_ERROR
        && (judgement.cells.iter()).all(|cell| cell.practical_zero >= LEAST_ZERO)
}

/// Whether a verdict says something about a change.
pub(crate) fn decided(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Pass | Verdict::Improved | Verdict::Regressed
    )
}

fn cells(record: &GateRecord) -> Vec<GatedCell> {
    let speculation = |arm: &ArmFacts| Some(arm.settings.as_ref()?.speculation.method);
    let guessed =
        speculation(&record.base).filter(|method| speculation(&record.candidate) == Some(*method));
    let backend = |arm: &ArmFacts| Some(arm.engine.as_ref()?.backend.to_string());
    let computes =
        backend(&record.base).filter(|one| backend(&record.candidate).as_ref() == Some(one));
    let cell = |cell: &domain::gate::record::GateCell| {
        let model = record.models.get(cell.model as usize);
        let pair = model.and_then(|model| model.base.as_ref().zip(model.candidate.as_ref()));
        GatedCell {
            label: cell.label.to_string(),
            variant: pair
                .filter(|(base, candidate)| base.sha256 == candidate.sha256)
                .map(|(base, _)| base.sha256),
            workload: cell.workload.clone(),
            backend: computes.clone(),
            speculation: guessed,
            scope: cell.scope.map(|scope| scope.as_str().to_owned()),
        }
    };
    record.cells.iter().map(cell).collect()
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Gate => "gate",
        Purpose::Compare => "compare",
        Purpose::Aa => "aa",
    }
}

/// What an arm is called, with its commit where the name does not say it: the runner's names end in the
/// first seven digits.
fn arm(facts: &ArmFacts) -> String {
    let label = facts.label.as_str();
    let digits = |count: usize| {
        let commit = facts.commit.as_ref()?.as_str();
        Some(commit.get(..count).unwrap_or(commit))
    };
    match (digits(7), digits(12)) {
        (Some(least), Some(short)) if !label.contains(least) => format!("{label} ({short})"),
        _ => label.to_owned(),
    }
}
