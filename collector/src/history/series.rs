//! From records to series: who belongs together, in which order, and where an epoch begins.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::gate::Metric as Gated;
use domain::history::{EpochRow, SeriesRow};
use domain::ids::{KeyId, Sha256Digest};
use domain::record::{PruningMethod, Settings};
use domain::statistics::interval::median_interval;
use domain::statistics::median;

use super::{Build, MAX_POINTS, Point, Series};
use crate::derive::{CellFacts, DerivedRecord, RepetitionSample, cell};

/// Ends the name of an engine that is a pinned build of the engine named before it.
const CANARY: &str = "-canary";

/// A figure that is followed.
#[derive(Debug)]
pub(super) struct Metric {
    /// As in tables.
    name: &'static str,
    /// What gates call it; `None` where they do not gate it.
    pub(super) gated: Option<Gated>,
    /// More is better: its cost is its inverse.
    is_speed: bool,
    of: fn(&DerivedRecord) -> Option<Figure>,
}

impl Metric {
    /// What more of is worse, in proportion.
    pub(super) fn cost(&self, value: f64) -> f64 {
        if self.is_speed { value.recip() } else { value }
    }
}

/// What one record says of a metric.
struct Figure {
    value: f64,
    interval: Option<(f64, f64)>,
    scope: Option<String>,
}

/// What is followed.
static METRICS: [Metric; 7] = [
    Metric {
        name: "decode_tokens_per_second",
        gated: Some(Gated::Decode),
        is_speed: true,
        of: |record| of_repetitions(record, |rep| rep.decode),
    },
    Metric {
        name: "prefill_tokens_per_second",
        gated: Some(Gated::Prefill),
        is_speed: true,
        of: |record| of_repetitions(record, |rep| rep.prefill),
    },
    Metric {
        name: "ttft_ms",
        gated: Some(Gated::Ttft),
        is_speed: false,
        of: |record| of_repetitions(record, |rep| rep.ttft_ms),
    },
    Metric {
        name: "joules_per_output_token",
        gated: Some(Gated::Energy),
        is_speed: false,
        of: joules,
    },
    Metric {
        name: "peak_bytes",
        gated: Some(Gated::PeakBytes),
        is_speed: false,
        of: |record| of_repetitions(record, |rep| rep.peak_bytes.map(|bytes| bytes as f64)),
    },
    Metric {
        name: "engine_decode_tokens_per_second",
        gated: None,
        is_speed: true,
        of: |record| by_engine_alone(record, |rep| rep.engine_decode),
    },
    Metric {
        name: "engine_prefill_tokens_per_second",
        gated: None,
        is_speed: true,
        of: |record| by_engine_alone(record, |rep| rep.engine_prefill),
    },
];

fn of_repetitions(
    record: &DerivedRecord,
    of: fn(&RepetitionSample) -> Option<f64>,
) -> Option<Figure> {
    let counting = record.repetitions.iter().filter(|rep| rep.void.is_none());
    let values: Vec<f64> = counting.filter_map(of).collect();
    Some(Figure {
        value: median(&values)?,
        interval: median_interval(&values).map(|interval| (interval.low, interval.high)),
        scope: None,
    })
}

fn by_engine_alone(
    record: &DerivedRecord,
    of: fn(&RepetitionSample) -> Option<f64>,
) -> Option<Figure> {
    record
        .engine_only
        .then(|| of_repetitions(record, of))
        .flatten()
}

/// Of the headline's meters.
fn joules(record: &DerivedRecord) -> Option<Figure> {
    let key = record.energy.headline().ok()?;
    let decode = key.joules.as_ref().ok()?.phases.decode.as_ref().ok()?;
    let value = decode.per_token().0;
    let half = value * decode.repeatability;
    Some(Figure {
        value,
        interval: Some((value - half, value + half)),
        scope: Some(key.scope.clone()),
    })
}

/// A series with what was measured last, for whoever asks gates about it.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    pub(super) series: Series,
    pub(super) metric: &'static Metric,
    pub(super) facts: &'a CellFacts,
    pub(super) variant: Sha256Digest,
    /// Nothing of this setup and key came for a long time: nobody can run a pair there.
    pub(super) is_gone: bool,
}

/// A setup and key from which nothing came for so long is gone, in milliseconds: 90 days.
const GONE_AFTER_MS: i64 = 90 * 86_400_000;

/// What the records of one series have in common, metric and scope apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    engine: String,
    setup: String,
    model: String,
    variant: Sha256Digest,
    work: String,
    backend: String,
    key: KeyId,
}

impl Subject {
    fn of(record: &DerivedRecord) -> Self {
        let facts = &record.facts;
        Self {
            engine: facts.engine.name.to_string(),
            setup: facts.setup_slug(),
            model: facts.variant.model.to_string(),
            variant: facts.variant.sha256,
            work: cell::comparable(facts),
            backend: facts.engine.backend.to_string(),
            key: record.received.key_id,
        }
    }

    fn id(&self, metric: &Metric, scope: Option<&str>) -> String {
        cell::short_digest(&[
            self.engine.clone(),
            self.setup.clone(),
            self.model.clone(),
            self.variant.to_string(),
            self.work.clone(),
            self.backend.clone(),
            self.key.to_string(),
            metric.name.to_owned(),
            scope.unwrap_or_default().to_owned(),
        ])
    }
}

/// One record's place in its series.
struct Sample<'a> {
    record: &'a DerivedRecord,
    canary: Option<&'a DerivedRecord>,
    build: Arc<Build>,
    state: State,
}

/// Everything that may move a figure, but for the engine's build: what it is, and what it was.
type State = Vec<(&'static str, String)>;

/// The state's entry for the canary's build.
const CANARY_BUILD: &str = "canary";

/// Every series, by name: of records that count, oldest point first.
pub(super) fn gather(records: &[DerivedRecord]) -> Vec<Gathered<'_>> {
    let counting = || records.iter().filter(|record| record.counts());
    let canaries: BTreeMap<(Sha256Digest, Subject), &DerivedRecord> = counting()
        .filter_map(|record| {
            let mut subject = Subject::of(record);
            let pinned = subject.engine.strip_suffix(CANARY)?.to_owned();
            subject.engine = pinned;
            Some(((record.facts.sweep, subject), record))
        })
        .collect();
    let mut subjects: BTreeMap<Subject, Vec<Sample<'_>>> = BTreeMap::new();
    let mut last_seen: BTreeMap<(KeyId, String), i64> = BTreeMap::new();
    for record in counting() {
        let subject = Subject::of(record);
        let seen = last_seen
            .entry((subject.key, subject.setup.clone()))
            .or_insert(i64::MIN);
        *seen = record.received.received_ms.max(*seen);
        if subject.engine.ends_with(CANARY) {
            continue;
        }
        let in_sweep = (record.facts.sweep, subject.clone());
        let canary = canaries.get(&in_sweep).copied();
        subjects.entry(subject).or_default().push(Sample {
            record,
            canary,
            build: Arc::new(build(record)),
            state: state(&record.facts, canary),
        });
    }
    let newest_ms = last_seen.values().copied().max().unwrap_or_default();
    let gone = |subject: &Subject| {
        let seen = last_seen.get(&(subject.key, subject.setup.clone()));
        seen.is_some_and(|seen| newest_ms - seen > GONE_AFTER_MS)
    };
    subjects
        .into_iter()
        .flat_map(|(subject, samples)| of_subject(&subject, samples, gone(&subject)))
        .collect()
}

fn build(record: &DerivedRecord) -> Build {
    Build::of(&record.facts.engine, &record.facts.runner)
}

fn of_subject<'a>(
    subject: &Subject,
    mut samples: Vec<Sample<'a>>,
    is_gone: bool,
) -> Vec<Gathered<'a>> {
    samples.sort_by_key(|sample| {
        let received = &sample.record.received;
        (
            sample.record.started_ms,
            received.received_ms,
            received.content_id,
        )
    });
    samples.drain(..samples.len().saturating_sub(MAX_POINTS));
    let Some(facts) = samples.last().map(|sample| &sample.record.facts) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for metric in &METRICS {
        let mut by_scope: BTreeMap<Option<String>, Vec<(&Sample<'_>, Figure)>> = BTreeMap::new();
        for sample in &samples {
            let figure = (metric.of)(sample.record);
            // Costs are compared by their ratios.
            if let Some(figure) = figure.filter(|one| one.value.is_finite() && one.value > 0.0) {
                by_scope
                    .entry(figure.scope.clone())
                    .or_default()
                    .push((sample, figure));
            }
        }
        for (scope, measured) in by_scope {
            let series = series(subject, facts, metric, scope, measured);
            all.push(Gathered {
                series,
                metric,
                facts,
                variant: subject.variant,
                is_gone,
            });
        }
    }
    all
}

fn series(
    subject: &Subject,
    facts: &CellFacts,
    metric: &'static Metric,
    scope: Option<String>,
    measured: Vec<(&Sample<'_>, Figure)>,
) -> Series {
    let (mut points, mut epochs) = (Vec::<Point>::new(), Vec::<EpochRow>::new());
    let mut before: Option<State> = None;
    for (sample, figure) in measured {
        let canary = sample.canary.and_then(|canary| (metric.of)(canary));
        let canary = canary.filter(|one| one.scope == scope && one.value > 0.0);
        let mut point = Point {
            record: sample.record.received.content_id,
            started_ms: sample.record.started_ms,
            received_ms: sample.record.received.received_ms,
            build: Arc::clone(&sample.build),
            value: figure.value,
            interval: figure.interval,
            canary: canary.map(|one| one.value),
            epoch: 0,
        };
        let state = carried(before.as_ref(), &sample.state);
        let changed = before
            .as_ref()
            .map_or_else(String::new, |before| in_words(before, &state));
        if before.is_none() || !changed.is_empty() {
            epochs.push(EpochRow {
                epoch: epochs.len() as u32,
                begins_at: point.measured_at(),
                changed,
            });
        }
        point.epoch = epochs.len() as u32 - 1;
        points.push(point);
        before = Some(state);
    }
    let in_last = |point: &&Point| point.epoch + 1 == epochs.len() as u32;
    let row = SeriesRow {
        id: subject.id(metric, scope.as_deref()),
        key_id: subject.key.to_string(),
        setup: subject.setup.clone(),
        model: subject.model.clone(),
        variant: variant(facts),
        variant_sha256: subject.variant.to_string(),
        engine: subject.engine.clone(),
        engine_slug: facts.engine_slug(),
        backend: subject.backend.clone(),
        workload: facts.workload.id.to_string(),
        metric: metric.name.to_owned(),
        energy_scope: scope,
        points: points.len() as u32,
        epochs: epochs.len() as u32,
        latest: points.last().map(|point| point.value),
        has_canary: points
            .iter()
            .filter(in_last)
            .any(|point| point.canary.is_some()),
    };
    Series {
        row,
        epochs,
        points,
    }
}

/// Such as `Q4_K`, or `Q4_K, layers-1`.
fn variant(facts: &CellFacts) -> String {
    let variant = &facts.variant;
    match (&variant.pruning.recipe, variant.pruning.method) {
        (_, PruningMethod::None) => variant.quant.to_string(),
        (Some(recipe), _) => format!("{}, {recipe}", variant.quant),
        (None, _) => {
            let percent = f64::from(variant.pruning.ratio_ppm) / 1e4;
            format!("{}, pruned by {percent:.1} %", variant.quant)
        }
    }
}

fn state(facts: &CellFacts, canary: Option<&DerivedRecord>) -> State {
    let text = |name: Option<&domain::text::Name>| {
        name.map_or_else(|| "not recorded".to_owned(), ToString::to_string)
    };
    let mut state = vec![
        ("runner", facts.runner.version.to_string()),
        (
            "engine arguments",
            in_one_line(facts.engine.args.iter().map(domain::text::Name::as_str)),
        ),
    ];
    state.extend(settings(&facts.settings));
    for host in &facts.hosts {
        state.push(("machine", host.fingerprint.to_string()));
        state.push(("operating system", host.os.to_string()));
        state.push(("its version", text(host.os_version.as_ref())));
        state.push(("kernel", text(host.kernel.as_ref())));
        for gpu in host.gpus.iter().filter(|gpu| gpu.used) {
            let limit = gpu.power_limit_mw.map(|mw| format!("{} W", mw / 1_000));
            state.push(("GPU", gpu.name.to_string()));
            state.push(("GPU driver", text(gpu.driver.as_ref())));
            state.push((
                "GPU power limit",
                limit.unwrap_or_else(|| "not recorded".to_owned()),
            ));
        }
    }
    state.push((
        CANARY_BUILD,
        canary.map_or_else(String::new, |canary| build(canary).label()),
    ));
    state
}

fn settings(settings: &Settings) -> [(&'static str, String); 5] {
    let unknown = || "not recorded".to_owned();
    let text = |name: Option<&domain::text::Name>| name.map_or_else(unknown, ToString::to_string);
    [
        ("cached keys", text(settings.kv_type_k.as_ref())),
        ("cached values", text(settings.kv_type_v.as_ref())),
        (
            "GPU layers",
            settings
                .gpu_layers
                .map_or_else(unknown, |layers| layers.to_string()),
        ),
        (
            "flash attention",
            settings
                .flash_attention
                .map_or_else(unknown, |on| if on { "on" } else { "off" }.to_owned()),
        ),
        ("speculation", cell::json(&settings.speculation)),
    ]
}

fn in_one_line<'a>(args: impl Iterator<Item = &'a str>) -> String {
    args.collect::<Vec<_>>().join(" ")
}

/// A sweep in which the canary failed is no other epoch: the canary stays what it was.
fn carried(before: Option<&State>, state: &State) -> State {
    let canary = |state: &State| {
        let found = state.iter().find(|(what, _)| *what == CANARY_BUILD);
        found.map(|(_, build)| build.clone()).unwrap_or_default()
    };
    let mut state = state.clone();
    if let Some(before) = before
        && let Some((_, build)) = state.iter_mut().find(|(what, _)| *what == CANARY_BUILD)
        && build.is_empty()
    {
        *build = canary(before);
    }
    state
}

/// What changed from one state to the next; empty where nothing did.
fn in_words(before: &State, after: &State) -> String {
    if before.len() != after.len() {
        return "other machines or graphics processors".to_owned();
    }
    let shown = |text: &str| {
        if text.is_empty() {
            "none".to_owned()
        } else {
            text.chars().take(80).collect()
        }
    };
    let changed = before.iter().zip(after).filter(|(old, new)| old != new);
    let words = changed.map(|((old_what, old), (what, new))| {
        if old_what == what {
            format!("{what}: {} to {}", shown(old), shown(new))
        } else {
            "other machines or graphics processors".to_owned()
        }
    });
    let mut words: Vec<String> = words.collect();
    words.dedup();
    words.join("; ")
}
