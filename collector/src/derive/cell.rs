//! What makes two records the same cell.

use domain::ids::{Sha256Digest, Slug};
use domain::record::{
    Context, EngineFacts, Host, Record, RunnerFacts, Settings, SetupRef, SuiteRef, VariantFacts,
    Workload,
};

/// The facts of a record that publishing shows.
#[derive(Debug, Clone)]
pub struct CellFacts {
    /// As one can buy it.
    pub setup: SetupRef,
    /// The machines.
    pub hosts: Vec<Host>,
    /// The inference program.
    pub engine: EngineFacts,
    /// Its settings.
    pub settings: Settings,
    /// The weights.
    pub variant: VariantFacts,
    /// What was asked while it was timed.
    pub workload: Workload,
    /// The suite that was asked.
    pub suite: Option<SuiteRef>,
    /// The program that measured.
    pub runner: RunnerFacts,
    /// Groups the cells of one sweep.
    pub sweep: Sha256Digest,
    /// The machine's condition at the start.
    pub context: Option<Context>,
    /// One line per meter, or why there is none.
    pub meters: Vec<String>,
    /// Warm-up repetitions.
    pub warmups: u32,
}

impl CellFacts {
    /// Copies the facts out of a record.
    pub fn of(record: &Record) -> Self {
        Self {
            setup: record.setup.clone(),
            hosts: record.hosts.clone(),
            engine: record.engine.clone(),
            settings: record.settings.clone(),
            variant: record.variant.clone(),
            workload: record.workload.clone(),
            suite: record.suite.clone(),
            runner: record.runner.clone(),
            sweep: record.sweep,
            context: record.context.first().cloned(),
            meters: super::energy::meters_in_words(record),
            warmups: record.repetitions.iter().filter(|rep| rep.warmup).count() as u32,
        }
    }

    /// The setup's slug; `unknown-` and eight digits of the first machine's fingerprint where
    /// the machine is no known setup.
    pub fn setup_slug(&self) -> String {
        match (&self.setup.slug, self.hosts.first()) {
            (Some(slug), _) => slug.to_string(),
            (None, Some(host)) => format!("unknown-{}", &host.fingerprint.to_string()[..8]),
            (None, None) => "unknown".to_owned(),
        }
    }

    /// The model's name in URLs.
    pub fn model_slug(&self) -> String {
        Slug::from_text(self.variant.model.as_str()).map_or_else(
            || format!("unnamed-{}", &self.variant.sha256.to_string()[..8]),
            |slug| slug.to_string(),
        )
    }

    /// Commit if known, and flags; empty when nothing of the build is known.
    pub fn engine_build(&self) -> String {
        let commit = self
            .engine
            .commit
            .iter()
            .map(|commit| commit.as_str().chars().take(12).collect());
        let flags = self
            .engine
            .build_flags
            .iter()
            .map(|flag| flag.as_str().to_owned());
        commit.chain(flags).collect::<Vec<String>>().join(" ")
    }
}

/// The first 16 hex digits of SHA-256 over the length-prefixed parts of the cell's identity:
/// weights, engine build, settings, workload, setup. Prompt digest and sampling seed vary from
/// run to run and are left out; so is the executable's digest, which every rebuild changes.
pub(super) fn id(record: &Record) -> String {
    let engine = &record.engine;
    let mut parts = vec![
        record.variant.sha256.to_string(),
        engine.name.to_string(),
        engine.version.to_string(),
        engine
            .commit
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        list(engine.build_flags.iter()),
        engine.backend.to_string(),
        list(engine.args.iter()),
        json(&record.settings),
        shape(&record.workload),
    ];
    match &record.setup.slug {
        Some(slug) => parts.push(slug.to_string()),
        None => parts.extend(record.hosts.iter().map(|host| host.fingerprint.to_string())),
    }
    short_digest(&parts)
}

/// Names a workload's shape and the speculation arm: results are compared within one only.
pub(super) fn comparable(facts: &CellFacts) -> String {
    let workload = &facts.workload;
    format!(
        "{} {}",
        workload.id,
        short_digest(&[shape(workload), json(&facts.settings.speculation.method)])
    )
}

fn shape(workload: &Workload) -> String {
    json(&Workload {
        prompt_sha256: None,
        seed: None,
        ..workload.clone()
    })
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain structs of a record are JSON")
}

fn list<'a>(names: impl Iterator<Item = &'a domain::text::Name>) -> String {
    json(&names.map(domain::text::Name::as_str).collect::<Vec<_>>())
}

fn short_digest(parts: &[String]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Sha256Digest::of(&bytes).to_string()[..16].to_owned()
}
