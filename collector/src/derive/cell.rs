//! What makes two records the same cell.

use std::collections::BTreeSet;

use domain::ids::{Sha256Digest, Slug};
use domain::record::{
    Asking, Context, EngineFacts, Host, Record, RunnerFacts, Settings, SetupRef, SuiteRef,
    TokenSource, VariantFacts, Workload,
};
use domain::roofline::Subject;

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
    /// How its items were put to the model; `None` where they were its plain prompt.
    pub asking: Option<Asking>,
    /// The program that measured.
    pub runner: RunnerFacts,
    /// Groups the cells of one sweep.
    pub sweep: Sha256Digest,
    /// The machine's condition at the start.
    pub context: Option<Context>,
    /// The meters behind the headline, or why there is none.
    pub meters: String,
    /// Warm-up repetitions.
    pub warmups: u32,
    /// Who counted the tokens of the timed requests, in words.
    pub token_sources: BTreeSet<&'static str>,
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
            asking: record.quality.as_ref().and_then(|all| all.asking.clone()),
            runner: record.runner.clone(),
            sweep: record.sweep,
            context: record.context.first().cloned(),
            meters: super::energy::meters_in_words(record),
            warmups: record.repetitions.iter().filter(|rep| rep.warmup).count() as u32,
            token_sources: super::speed::counting(record)
                .flat_map(|rep| &rep.requests)
                .map(|request| token_source_in_words(request.token_source))
                .collect(),
        }
    }

    /// What the ceilings rest on.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            variant: &self.variant,
            settings: &self.settings,
            workload: &self.workload,
            engine: &self.engine,
            hosts: &self.hosts,
            setup: &self.setup,
        }
    }

    /// The setup's slug; where it is no known one, `unknown-` and eight digits of the machine's
    /// fingerprint, or of all machines' and how they are connected.
    pub fn setup_slug(&self) -> String {
        setup_slug(&self.setup, &self.hosts)
    }

    /// The model's name in URLs.
    pub fn model_slug(&self) -> String {
        Slug::from_text(self.variant.model.as_str()).map_or_else(
            || format!("unnamed-{}", &self.variant.sha256.to_string()[..8]),
            |slug| slug.to_string(),
        )
    }

    /// The engine's name in URLs.
    pub fn engine_slug(&self) -> String {
        engine_slug(self.engine.name.as_str())
    }

    /// Names the engine's build in URLs: 12 hex digits of the digest of name, version, commit,
    /// flags and backend.
    pub fn engine_build_id(&self) -> String {
        short_digest(&build(&self.engine))[..12].to_owned()
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
/// run to run and are left out; so is the executable's digest, which every rebuild changes, and
/// what the engine says of its weights, which follows from the rest.
pub(super) fn id(record: &Record) -> String {
    let engine = &record.engine;
    let mut parts = vec![record.variant.sha256.to_string()];
    parts.extend(build(engine));
    parts.extend([
        list(engine.args.iter()),
        json(&Settings {
            weight_bytes_per_pass: None,
            ..record.settings.clone()
        }),
        shape(&record.workload),
    ]);
    match &record.setup.slug {
        Some(slug) => parts.push(slug.to_string()),
        None => parts.extend(fingerprints(&record.hosts)),
    }
    parts.extend(connection(&record.setup));
    short_digest(&parts)
}

/// See [`CellFacts::setup_slug`].
pub(crate) fn setup_slug(setup: &SetupRef, hosts: &[Host]) -> String {
    match (&setup.slug, hosts) {
        (Some(slug), _) => slug.to_string(),
        (None, []) => "unknown".to_owned(),
        (None, [alone]) => format!("unknown-{}", &alone.fingerprint.to_string()[..8]),
        (None, several) => {
            let mut parts = fingerprints(several);
            parts.extend(connection(setup));
            format!("unknown-{}", &short_digest(&parts)[..8])
        }
    }
}

/// An engine's name in URLs.
pub(crate) fn engine_slug(name: &str) -> String {
    Slug::from_text(name).map_or_else(
        || {
            let digest = Sha256Digest::of(name.as_bytes()).to_string();
            format!("unnamed-{}", &digest[..8])
        },
        |slug| slug.to_string(),
    )
}

/// Whether two workloads ask the same, whatever they are called.
pub(crate) fn is_same_work(one: &Workload, other: &Workload) -> bool {
    let renamed = Workload {
        id: one.id.clone(),
        ..other.clone()
    };
    shape(one) == shape(&renamed)
}

/// What tells one build of an engine from another.
fn build(engine: &EngineFacts) -> [String; 5] {
    [
        engine.name.to_string(),
        engine.version.to_string(),
        engine
            .commit
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        list(engine.build_flags.iter()),
        engine.backend.to_string(),
    ]
}

fn fingerprints(hosts: &[Host]) -> Vec<String> {
    hosts
        .iter()
        .map(|host| host.fingerprint.to_string())
        .collect()
}

/// How several machines are connected and share the work; nothing of one machine.
fn connection(setup: &SetupRef) -> Vec<String> {
    let interconnect = setup.interconnect.as_ref().map(ToString::to_string);
    let split = setup.split.as_ref().map(json);
    interconnect.into_iter().chain(split).collect()
}

/// The engine's threads, where it says them.
pub(crate) fn threads(engine: &EngineFacts) -> Option<u16> {
    let said = |arg: &domain::text::Name| arg.as_str().strip_prefix("threads=")?.parse().ok();
    engine.args.iter().find_map(said)
}

fn token_source_in_words(source: TokenSource) -> &'static str {
    match source {
        TokenSource::Ids => "token ids seen by the runner",
        TokenSource::Usage => "the server's usage",
        TokenSource::Timings => "the server's timings",
        TokenSource::Retokenized => "the runner's tokenizer, over the joined text",
        TokenSource::Apportioned => {
            "the server's usage, shared out over the events by the length of their texts"
        }
    }
}

/// Names a workload's shape and the speculation arm: results are compared within one only.
pub(crate) fn comparable(facts: &CellFacts) -> String {
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

pub(crate) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("plain structs of a record are JSON")
}

fn list<'a>(names: impl Iterator<Item = &'a domain::text::Name>) -> String {
    json(&names.map(domain::text::Name::as_str).collect::<Vec<_>>())
}

/// The first 16 hex digits of SHA-256 over length-prefixed parts.
pub(crate) fn short_digest(parts: &[String]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Sha256Digest::of(&bytes).to_string()[..16].to_owned()
}
