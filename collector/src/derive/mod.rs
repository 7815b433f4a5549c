//! From signed records to published numbers, by pure functions.
//!
//! [`derive()`] reads one record: the speed of each repetition, the score of each answer (items
//! are made again from suite and seed), the joules of each span. [`results`] groups records by
//! cell and publishes medians with intervals. Both are functions of the bytes alone: the order
//! in which records arrive changes nothing, and everything can be rebuilt from the raw store.
//!
//! Which records count: plausible ones ([`Tier::SelfReported`] or better) with outcome `ok`.
//! Failed ones are listed with their reason; quarantined and imported ones enter no cell.
//!
//! Published speed is the median of per-account medians, an account being one key. A single
//! record has the exact order-statistic interval of its repetitions; several have a bootstrap
//! seeded by the newest content id, which draws records and then their repetitions, as those
//! of one record share its drift. A record with fewer than six repetitions gives no interval.
//! Records whose repetitions spread over 15 %, or are too few to tell, leave the medians when
//! the cell has steady ones; where it has none they stand alone, flagged if they spread.
//!
//! Percentiles of gaps and waits are those of all of a record's waits together (file `waits`);
//! the roofline's columns compare the published speeds with what the newest record's machine
//! and weights allow (`theory`); what spoils a record raises a flag with its numbers (`trouble`).
//!
//! Joules stand at every scope that was measured: over questions, by phase, net of idling (files
//! `energy` and `joules`); what makes them void is in `void`.
//!
//! Quality is not a median: it is the mean of the families' shares of right answers, and where
//! several accounts answered the same item, it is right or wrong as for most of them; of one account
//! the newest answer counts. A cell publishes one suite, that of its newest answers. Fidelity (file
//! `fidelity`) is that of the newest record that has it, on that suite's corpus if there is one.

pub(crate) mod cell;
mod energy;
mod fidelity;
mod joules;
mod power;
mod provenance;
mod quality;
mod row;
mod speed;
mod theory;
mod trouble;
mod void;
mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::api::{
    PowerSeries, ProvenanceLine, RecordSummary, RepetitionPoint, ResultDetail, ResultRow,
    VariantFamily,
};
use domain::hardware::Catalogue;
use domain::ids::{ContentId, KeyId, Sha256Digest, Slug};
use domain::record::{Outcome, Record, Workload};
use domain::suite::Family;
use domain::tier::Tier;

pub use cell::CellFacts;
pub use energy::{KeyEnergy, KeyJoules, QuestionEnergy, RecordEnergy};
pub use fidelity::FidelityFigures;
pub(crate) use fidelity::contradictions;
pub use joules::ScopeEnergy;
pub(crate) use provenance::quoted;
pub(crate) use quality::{MIN_ITEMS, stratified};
pub use quality::{ScoredItem, ScoredSuite};
pub use speed::RepetitionSample;
pub use trouble::Trouble;
pub use waits::{Percentile, Waits};

/// Changes whenever the same records would give other numbers.
pub const RULES_VERSION: u32 = 6;

/// How a record reached the collector, and what it was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Names the signed bytes.
    pub content_id: ContentId,
    /// The key that signed: one account.
    pub key_id: KeyId,
    /// The tier it entered at.
    pub tier: Tier,
    /// When it arrived, Unix milliseconds.
    pub received_ms: i64,
    /// Broken plausibility rules, in words.
    pub findings: Vec<String>,
}

/// One record, reduced to what publishing needs.
#[derive(Debug, Clone)]
pub struct DerivedRecord {
    /// Its way here.
    pub received: Received,
    /// The cell it measures: 16 hex digits.
    pub cell: String,
    /// What was measured on what.
    pub facts: CellFacts,
    /// The runner's claim, Unix milliseconds.
    pub started_ms: u64,
    /// How measuring ended.
    pub outcome: Outcome,
    /// `ok`, or how it failed in words.
    pub outcome_words: String,
    /// Every repetition; void ones and warm-ups with the reason.
    pub repetitions: Vec<RepetitionSample>,
    /// Percentiles of its gaps and of its times to the first token.
    pub waits: Waits,
    /// The engine timed itself, and nobody else did: there is no client view.
    pub engine_only: bool,
    /// Output tokens per pass; `None` when it speculates and nobody counted the passes.
    pub tokens_per_pass: Option<f64>,
    /// What to beware of.
    pub troubles: Vec<Trouble>,
    /// The scored answers, or why there are none.
    pub quality: Result<ScoredSuite, String>,
    /// How far its choices are from the reference's, or why that is not known.
    pub fidelity: Result<FidelityFigures, String>,
    /// Joules by scope, or why there are none.
    pub energy: RecordEnergy,
    /// Power over time, one series per meter.
    pub power: Arc<[PowerSeries]>,
}

/// One cell's published numbers and what stands behind them.
#[derive(Debug, Clone)]
pub struct CellResult {
    /// The published numbers.
    pub row: ResultRow,
    /// The row at every scope that was measured, the published one first; empty where none was.
    pub energies: Vec<ScopeEnergy>,
    /// Power over time in the newest record with readings.
    pub power: Arc<[PowerSeries]>,
    /// Accuracy by family and level, in the suite's order; level 0 stands for all levels.
    pub families: Vec<VariantFamily>,
    /// How far its choices are from the reference's, or why that is not known.
    pub fidelity: Result<FidelityFigures, String>,
    /// What was removed of the weights.
    pub pruning_recipe: Option<String>,
    /// Every repetition of the cell's records.
    pub repetitions: Vec<RepetitionPoint>,
    /// Provenance of the newest record.
    pub provenance: Vec<ProvenanceLine>,
    /// The records, newest first.
    pub records: Vec<RecordSummary>,
    /// The command that measures it again.
    pub reproduce: String,
    /// Makers of the setup's hardware; empty for unknown hardware.
    pub vendors: BTreeSet<Slug>,
    /// What was asked while it was timed.
    pub workload: Workload,
    /// Shape of the workload and speculation arm: only equals are compared.
    pub comparable: String,
    /// No record measured the cell: how the newest one failed.
    pub failed: Option<String>,
    /// What the frontier resamples.
    pub samples: Samples,
}

/// Observations behind a cell's numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// Decode speeds of the repetitions that count, by account and record.
    pub decode: Vec<Vec<Vec<f64>>>,
    /// Prefill speeds, likewise.
    pub prefill: Vec<Vec<Vec<f64>>>,
    /// Times to the first token, likewise.
    pub ttft: Vec<Vec<Vec<f64>>>,
    /// The answers behind the published quality.
    pub items: BTreeMap<ItemKey, ItemSample>,
    /// By scope, each item's share of its record's joules.
    pub joules: BTreeMap<String, BTreeMap<ItemKey, f64>>,
}

/// An item of a suite: cells that answered the same one are compared on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemKey {
    /// Seed it was made from.
    pub seed: Sha256Digest,
    /// Family.
    pub family: Family,
    /// Level.
    pub level: u8,
    /// Number.
    pub index: u32,
}

/// How one item went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ItemSample {
    /// Answered correctly.
    pub correct: bool,
    /// No answer could be found in the text that counts.
    pub unextractable: bool,
    /// Any of its samples is right.
    pub any_correct: bool,
    /// The text that counts; `None` where none was picked, or it did not end by itself.
    pub answer: Option<Text>,
    /// From the first sample's question to the last one's answer.
    pub seconds: f64,
}

/// Enough of an answer's text to tell it from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// Digest of what was kept of it.
    pub digest: u64,
    /// Bytes that were kept, of how many, where only its end was.
    pub cut: Option<(u64, u64)>,
}

impl Text {
    /// Whether two texts are the same; `None` where they were cut differently, so that nobody can
    /// tell.
    pub fn agrees(self, other: Self) -> Option<bool> {
        (self.cut == other.cut).then_some(self.digest == other.digest)
    }
}

impl From<&ScoredItem> for ItemSample {
    fn from(item: &ScoredItem) -> Self {
        Self {
            correct: item.correct,
            unextractable: item.unextractable,
            any_correct: item.any_correct,
            answer: item.answer,
            seconds: item.seconds,
        }
    }
}

#[cfg(test)]
impl ItemSample {
    /// An answer in 5 ms, right or wrong; two right ones have one text.
    pub(crate) fn of(correct: bool) -> Self {
        Self {
            correct,
            unextractable: false,
            any_correct: correct,
            answer: Some(Text {
                digest: u64::from(correct),
                cut: None,
            }),
            seconds: 0.005,
        }
    }
}

impl DerivedRecord {
    /// Plausible and measured to the end: its numbers count.
    pub fn counts(&self) -> bool {
        self.outcome == Outcome::Ok && self.is_plausible()
    }

    fn is_plausible(&self) -> bool {
        self.received.tier >= Tier::SelfReported
    }

    /// The record's line in a listing.
    pub fn summary(&self) -> RecordSummary {
        RecordSummary {
            content_id: self.received.content_id.to_string(),
            key_id: self.received.key_id.to_string(),
            tier: self.received.tier,
            received_at: rfc3339(self.received.received_ms),
            started_at: i64::try_from(self.started_ms)
                .map(rfc3339)
                .unwrap_or_default(),
            outcome: self.outcome_words.clone(),
            result: self.counts().then(|| self.cell.clone()),
            findings: self.received.findings.clone(),
        }
    }
}

impl CellResult {
    /// The cell's joules of one scope key.
    pub fn at_scope(&self, scope: &str) -> Option<&ScopeEnergy> {
        self.energies.iter().find(|energy| energy.scope == scope)
    }

    /// The answer of `/results/{id}`.
    pub fn detail(&self, data_version: &str) -> ResultDetail {
        let (families, levels): (Vec<_>, Vec<_>) = self
            .families
            .iter()
            .cloned()
            .partition(|one| one.level == 0);
        ResultDetail {
            energies: self.energies.iter().map(ScopeEnergy::line).collect(),
            power: self.power.to_vec(),
            data_version: data_version.to_owned(),
            licence: domain::api::DATA_LICENCE.to_owned(),
            row: self.row.clone(),
            families: families.into_iter().map(|one| one.score).collect(),
            levels,
            repetitions: self.repetitions.clone(),
            provenance: self.provenance.clone(),
            records: self.records.clone(),
            reproduce: self.reproduce.clone(),
        }
    }
}

/// Reads one record. Pure and total: whatever a record lacks is a reason in the result.
pub fn derive(record: &Record, received: Received) -> DerivedRecord {
    DerivedRecord {
        cell: cell::id(record),
        facts: CellFacts::of(record),
        started_ms: record.started_ms,
        outcome: record.outcome,
        outcome_words: outcome_in_words(record),
        repetitions: speed::samples(record),
        waits: Waits::of(record),
        engine_only: speed::is_engine_only(record),
        tokens_per_pass: speed::tokens_per_pass(record),
        troubles: trouble::of(record),
        quality: quality::scored(record),
        fidelity: fidelity::figures(record, &received),
        energy: energy::of(record),
        power: power::series(record).into(),
        received,
    }
}

/// Groups records by cell and publishes each cell, by id. Cells without a plausible record are
/// not published.
pub fn results(records: &[DerivedRecord], catalogue: &Catalogue) -> Vec<CellResult> {
    let mut cells: BTreeMap<&str, Vec<&DerivedRecord>> = BTreeMap::new();
    for record in records.iter().filter(|record| record.is_plausible()) {
        cells.entry(&record.cell).or_default().push(record);
    }
    cells
        .into_values()
        .filter_map(|mut records| {
            records.sort_by_key(|record| (record.received.received_ms, record.received.content_id));
            row::publish(&records, catalogue)
        })
        .collect()
}

fn outcome_in_words(record: &Record) -> String {
    let words = match record.outcome {
        Outcome::Ok => "ok",
        Outcome::Oom => "out of memory",
        Outcome::Paging => "memory was paged to disk",
        Outcome::Timeout => "a time limit was hit",
        Outcome::Crash => "the engine failed",
        Outcome::Unsupported => "the engine cannot run this variant",
        Outcome::Interrupted => "interrupted",
    };
    match &record.outcome_class {
        Some(class) if record.outcome != Outcome::Ok => format!("{words}: {class}"),
        _ => words.to_owned(),
    }
}

/// RFC 3339 UTC with milliseconds; empty for a moment outside of the calendar.
pub(crate) fn rfc3339(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms)
        .map(|at| format!("{at:.3}"))
        .unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests;
