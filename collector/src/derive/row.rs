//! One cell's records to its published row.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::api::{RepetitionPoint, ResultRow};
use domain::hardware::Catalogue;
use domain::ids::{KeyId, Sha256Digest, Slug};
use domain::record::{Host, KvState, PruningMethod, SplitMethod};

use super::joules::{self, Sources};
use super::speed::{self, LARGEST_SPREAD, Published, RepetitionSample, STABLE_HALF_WIDTH};
use super::theory::{Theory, milliseconds_each};
use super::waits::{self, Percentile, Waits};
use super::{
    CellFacts, CellResult, DerivedRecord, FidelityFigures, ItemKey, ItemSample, Samples,
    ScoredItem, cell, provenance, quality, rfc3339,
};
use crate::numbers::number;

/// Spread of decode over which a record is `noisy`.
const NOISY_DECODE: f64 = 0.05;

/// Spread of prefill over which a record is `noisy`.
const NOISY_PREFILL: f64 = 0.10;

/// Share of the items that several accounts answered on which they may disagree.
const ANSWERS_APART: f64 = 0.05;

/// Publishes a cell. `records` are its plausible ones, oldest first; `None` without any.
pub(super) fn publish(records: &[&DerivedRecord], catalogue: &Catalogue) -> Option<CellResult> {
    let counting: Vec<&DerivedRecord> = records
        .iter()
        .copied()
        .filter(|record| record.counts())
        .collect();
    let newest = *counting.last().or(records.last())?;
    let theory = Theory::of(newest, catalogue);
    let mut result = CellResult {
        row: identity(newest, catalogue),
        energies: Vec::new(),
        power: records
            .iter()
            .rev()
            .find(|record| !record.power.is_empty())
            .map(|record| Arc::clone(&record.power))
            .unwrap_or_default(),
        families: Vec::new(),
        fidelity: newest.fidelity.clone(),
        pruning_recipe: pruning_recipe(&newest.facts),
        repetitions: points(records),
        provenance: provenance::lines(newest, &theory),
        records: records
            .iter()
            .rev()
            .map(|record| record.summary())
            .collect(),
        reproduce: provenance::command(&newest.facts),
        vendors: vendors(&newest.facts, catalogue),
        workload: newest.facts.workload.clone(),
        comparable: cell::comparable(&newest.facts),
        failed: counting.is_empty().then(|| newest.outcome_words.clone()),
        samples: Samples::default(),
    };
    let shown = if counting.is_empty() {
        records
    } else {
        &counting
    };
    result.row.tier = shown.iter().map(|record| record.received.tier).min();
    result.row.records = shown.len() as u32;
    if let Some(reason) = &result.failed {
        result.row.quality_reason = Some(reason.clone());
        result.row.decode_reason = Some(reason.clone());
        result.row.energy_reason = Some(reason.clone());
        result.row.roofline_reason = Some(reason.clone());
        return Some(result);
    }
    let accounts = by_account(&counting);
    publish_speeds(&mut result, &accounts, newest);
    if let Some(words) = theory.publish(&mut result.row, newest) {
        beware(&mut result.row, "above-roofline", &words);
    }
    publish_answers(&mut result, &accounts, newest);
    if let Some(figures) = newest_fidelity(&counting, result.row.suite.as_deref()) {
        result.fidelity = Ok(figures.clone());
    }
    Some(result)
}

/// That of the newest record that has it, on the corpus of the published suite where there is one.
fn newest_fidelity<'a>(
    counting: &[&'a DerivedRecord],
    suite: Option<&str>,
) -> Option<&'a FidelityFigures> {
    let known = counting
        .iter()
        .filter_map(|record| record.fidelity.as_ref().ok());
    // Of equals the last is the largest.
    known.max_by_key(|figures| Some(figures.suite.name()) == suite)
}

fn pruning_recipe(facts: &CellFacts) -> Option<String> {
    facts
        .variant
        .pruning
        .recipe
        .as_ref()
        .map(ToString::to_string)
}

/// Records of each key, oldest first.
fn by_account<'a>(records: &[&'a DerivedRecord]) -> Vec<Vec<&'a DerivedRecord>> {
    let mut accounts: BTreeMap<KeyId, Vec<&DerivedRecord>> = BTreeMap::new();
    for record in records {
        accounts
            .entry(record.received.key_id)
            .or_default()
            .push(record);
    }
    accounts.into_values().collect()
}

fn identity(newest: &DerivedRecord, catalogue: &Catalogue) -> ResultRow {
    let facts = &newest.facts;
    let variant = &facts.variant;
    let bytes: u64 = variant
        .files
        .iter()
        .fold(0, |sum, file| sum.saturating_add(file.bytes));
    let mut row = ResultRow {
        id: newest.cell.clone(),
        model: variant.model.to_string(),
        model_slug: facts.model_slug(),
        quant: variant.quant.to_string(),
        pruning: pruning_word(variant.pruning.method).to_owned(),
        pruning_percent: f64::from(variant.pruning.ratio_ppm) / 1e4,
        variant_sha256: variant.sha256.to_string(),
        variant_bytes: bytes,
        params_total: variant.params_total,
        bits_per_weight: bytes as f64 * 8.0 / (variant.params_total.max(1)) as f64,
        setup: facts.setup_slug(),
        chip: chip(facts),
        engine: facts.engine.name.to_string(),
        engine_version: facts.engine.version.to_string(),
        engine_build: facts.engine_build(),
        engine_slug: facts.engine_slug(),
        engine_build_id: facts.engine_build_id(),
        backend: facts.engine.backend.to_string(),
        workload: facts.workload.id.to_string(),
        depth_tokens: facts.workload.depth_tokens,
        kv_state: kv_state_word(facts.workload.kv_state).to_owned(),
        concurrency: facts.workload.concurrency,
        samples: facts.workload.samples,
        received_at: rfc3339(newest.received.received_ms),
        record: newest.received.content_id.to_string(),
        ..ResultRow::default()
    };
    let known = facts
        .setup
        .slug
        .as_ref()
        .and_then(|slug| catalogue.setup(slug));
    row.setup_name = match known {
        Some(setup) => setup.name.to_string(),
        None => unknown_setup(facts, catalogue),
    };
    match known.map(|setup| setup.price()) {
        Some(Some(price)) => {
            row.price_usd = Some(price.usd);
            row.price_date = Some(price.date.clone());
            row.price_kind = Some(price.kind);
        }
        Some(None) => {
            row.price_reason = Some("not recorded: this setup has no dated price yet".to_owned());
        }
        None => {
            row.price_reason = Some("not recorded: this machine is not a known setup".to_owned());
        }
    }
    row
}

/// The word of a pruning method, as in records.
pub(super) fn pruning_word(method: PruningMethod) -> &'static str {
    match method {
        PruningMethod::None => "none",
        PruningMethod::Expert => "expert",
        PruningMethod::Layer => "layer",
        PruningMethod::Head => "head",
        PruningMethod::Width => "width",
        PruningMethod::NM => "n_m",
        PruningMethod::Unstructured => "unstructured",
    }
}

/// The word of a cache's state, as in records.
fn kv_state_word(state: KvState) -> &'static str {
    match state {
        KvState::Cold => "cold",
        KvState::WarmPrefix => "warm_prefix",
        KvState::ExactHit => "exact_hit",
    }
}

/// The word of a split, as in records.
pub(super) fn split_word(method: SplitMethod) -> &'static str {
    match method {
        SplitMethod::Tensor => "tensor",
        SplitMethod::Pipeline => "pipeline",
        SplitMethod::Expert => "expert",
        SplitMethod::PrefillDecode => "prefill-decode",
        SplitMethod::Replica => "replica",
    }
}

/// The graphics processors that were used, else the processor.
fn chip(facts: &CellFacts) -> String {
    let gpus = facts
        .hosts
        .iter()
        .flat_map(|host| &host.gpus)
        .filter(|gpu| gpu.used);
    let mut names: Vec<String> = gpus.map(|gpu| gpu.name.to_string()).collect();
    if names.is_empty() {
        names = facts
            .hosts
            .iter()
            .filter_map(|host| host.chip.as_ref())
            .map(ToString::to_string)
            .collect();
    }
    names.dedup();
    names.join(" + ")
}

/// The machine by what it says of itself; several machines by their names and how they are
/// connected.
fn unknown_setup(facts: &CellFacts, catalogue: &Catalogue) -> String {
    let host = match facts.hosts.as_slice() {
        [] => return "unknown hardware".to_owned(),
        [alone] => alone,
        several => return several_hosts(facts, several, catalogue),
    };
    let chip = host
        .chip
        .as_ref()
        .map_or("chip not recorded", domain::text::Name::as_str);
    let memory = host.memory_bytes.map_or_else(
        || "memory not recorded".to_owned(),
        |bytes| format!("{:.0} GiB", bytes as f64 / f64::from(1u32 << 30)),
    );
    format!(
        "unknown hardware ({chip}, {} cores, {memory})",
        host.cpu_cores
    )
}

/// Such as "Mini + Mini (Thunderbolt 5, tensor)".
fn several_hosts(facts: &CellFacts, hosts: &[Host], catalogue: &Catalogue) -> String {
    let name = |host: &Host| {
        let profile = host
            .profile
            .as_ref()
            .and_then(|slug| catalogue.hardware(slug));
        match (profile, &host.chip) {
            (Some(profile), _) => profile.name.to_string(),
            (None, Some(chip)) => chip.to_string(),
            (None, None) => "unknown machine".to_owned(),
        }
    };
    let interconnect = facts.setup.interconnect.as_ref().map_or_else(
        || "interconnect not recorded".to_owned(),
        ToString::to_string,
    );
    let split = match &facts.setup.split {
        Some(split) => split_word(split.method),
        None => "split not recorded",
    };
    let names: Vec<String> = hosts.iter().map(name).collect();
    format!("{} ({interconnect}, {split})", names.join(" + "))
}

fn vendors(facts: &CellFacts, catalogue: &Catalogue) -> BTreeSet<Slug> {
    let setup = facts
        .setup
        .slug
        .as_ref()
        .and_then(|slug| catalogue.setup(slug));
    setup
        .iter()
        .flat_map(|setup| &setup.parts)
        .filter_map(|part| catalogue.hardware(&part.hardware))
        .filter_map(|hardware| Slug::from_text(hardware.vendor.as_str()))
        .collect()
}

fn points(records: &[&DerivedRecord]) -> Vec<RepetitionPoint> {
    let of_record = |record: &&DerivedRecord| {
        let content_id = record.received.content_id.to_string();
        let failed = (!record.counts()).then(|| record.outcome_words.clone());
        record
            .repetitions
            .iter()
            .map(move |rep| RepetitionPoint {
                record: content_id.clone(),
                rep: rep.rep,
                void: rep.void.clone().or(failed.clone()),
                decode_tokens_per_second: rep.decode,
                prefill_tokens_per_second: rep.prefill,
                ttft_ms: rep.ttft_ms,
            })
            .collect::<Vec<_>>()
    };
    records.iter().flat_map(of_record).collect()
}

/// Seed of a column's bootstrap: the newest content id and the column's name.
pub(super) fn seed(newest: &DerivedRecord, column: &str) -> [u8; 32] {
    let mut bytes = newest.received.content_id.0.to_vec();
    bytes.extend_from_slice(column.as_bytes());
    Sha256Digest::of(&bytes).0
}

fn publish_speeds(
    result: &mut CellResult,
    accounts: &[Vec<&DerivedRecord>],
    newest: &DerivedRecord,
) {
    let column = |name: &str, value: &dyn Fn(&RepetitionSample) -> Option<f64>| {
        let values: Vec<Vec<Vec<f64>>> = accounts
            .iter()
            .map(|records| {
                let of_record = |record: &&DerivedRecord| {
                    record
                        .repetitions
                        .iter()
                        .filter(|rep| rep.void.is_none())
                        .filter_map(value)
                        .collect()
                };
                records.iter().map(of_record).collect()
            })
            .collect();
        speed::publish(&values, seed(newest, name))
    };
    let decode = column("decode", &|rep| rep.decode);
    let prefill = column("prefill", &|rep| rep.prefill);
    let ttft = column("ttft", &|rep| rep.ttft_ms);
    let engine_decode = column("engine decode", &|rep| rep.engine_decode);
    let engine_prefill = column("engine prefill", &|rep| rep.engine_prefill);
    // Of an engine that times itself nothing else can be noisy.
    let (decode_steady, prefill_steady) = if newest.engine_only {
        (&engine_decode, &engine_prefill)
    } else {
        (&decode, &prefill)
    };
    beware_of_spread(
        &mut result.row,
        decode_steady.as_ref(),
        prefill_steady.as_ref(),
    );
    beware_of_troubles(&mut result.row, accounts);
    if decode.is_none() {
        result.row.decode_reason = Some(
            if newest.engine_only {
                "timed by the engine itself"
            } else if newest.facts.workload.kv_state == KvState::ExactHit {
                "a prompt that is cached whole tells the time to first token alone"
            } else {
                "no repetition counts"
            }
            .to_owned(),
        );
    }
    if let Some(published) = &decode {
        let figure = milliseconds_each(published.figure);
        result.row.set_figure("tpot_ms", figure);
    }
    for (name, published) in [
        ("decode_tokens_per_second", &decode),
        ("prefill_tokens_per_second", &prefill),
        ("engine_decode_tokens_per_second", &engine_decode),
        ("engine_prefill_tokens_per_second", &engine_prefill),
        ("ttft_ms", &ttft),
        (
            "aggregate_decode_tokens_per_second",
            &column("aggregate", &|rep| rep.aggregate),
        ),
        (
            "stream_decode_tokens_per_second_p10",
            &column("slow stream", &|rep| rep.slow_stream),
        ),
        (
            "peak_memory_bytes",
            &column("memory", &|rep| rep.peak_bytes.map(|bytes| bytes as f64)),
        ),
    ] {
        if let Some(published) = published {
            result.row.set_figure(name, published.figure);
        }
    }
    publish_waits(&mut result.row, accounts);
    let values = |published: Option<Published>| published.map(|one| one.accounts);
    result.samples.decode = values(decode).unwrap_or_default();
    result.samples.prefill = values(prefill).unwrap_or_default();
    result.samples.ttft = values(ttft).unwrap_or_default();
}

/// A column and the percentile of a record that it shows.
type WaitColumn = (&'static str, fn(&Waits) -> Option<&Percentile>);

fn publish_waits(row: &mut ResultRow, accounts: &[Vec<&DerivedRecord>]) {
    let columns: [WaitColumn; 4] = [
        ("itl_ms_p50", |waits| waits.gap_p50.as_ref()),
        ("itl_ms_p90", |waits| waits.gap_p90.as_ref()),
        ("itl_ms_p99", |waits| waits.gap_p99.as_ref()),
        ("ttft_ms_p95", |waits| waits.ttft_p95.as_ref()),
    ];
    for (column, percentile) in columns {
        let of_accounts: Vec<Vec<&Percentile>> = accounts
            .iter()
            .map(|records| {
                records
                    .iter()
                    .copied()
                    .filter_map(|record| percentile(&record.waits))
                    .collect()
            })
            .collect();
        if let Some(figure) = waits::publish(&of_accounts) {
            row.set_figure(column, figure);
        }
    }
}

/// `noisy`, `spread-over-15-percent` and `unstable`, with the numbers behind them.
fn beware_of_spread(row: &mut ResultRow, decode: Option<&Published>, prefill: Option<&Published>) {
    let speeds = [
        ("decode", decode, NOISY_DECODE),
        ("prefill", prefill, NOISY_PREFILL),
    ];
    let spread = |published: Option<&Published>| published.and_then(|p| p.spread);
    let half = |published: Option<&Published>| published.and_then(|p| p.half_width);
    let percent = |share: f64| format!("{} %", number(100.0 * share));
    let mut over = |flag: &str, words: Vec<String>| {
        if !words.is_empty() {
            beware(row, flag, &words.join(", "));
        }
    };
    let spreading = |limit: fn(f64) -> f64| {
        speeds
            .iter()
            .filter_map(|(name, published, noisy)| {
                let spread = spread(*published).filter(|spread| *spread > limit(*noisy))?;
                Some(format!("{name} spreads by {}", percent(spread)))
            })
            .collect::<Vec<_>>()
    };
    over("noisy", spreading(|noisy| noisy));
    // The same numbers again would say nothing new.
    if !spreading(|_| LARGEST_SPREAD).is_empty() {
        over(
            "spread-over-15-percent",
            vec!["no steadier record takes its place".to_owned()],
        );
    }
    let wide = speeds
        .iter()
        .filter_map(|(name, published, _)| {
            let half = half(*published).filter(|half| *half > STABLE_HALF_WIDTH)?;
            Some(format!("{name} is known to within {}", percent(half)))
        })
        .collect();
    over("unstable", wide);
}

/// Each trouble of the records once, in the words of the newest that has it.
fn beware_of_troubles(row: &mut ResultRow, accounts: &[Vec<&DerivedRecord>]) {
    let mut records: Vec<&&DerivedRecord> = accounts.iter().flatten().collect();
    records.sort_by_key(|record| (record.received.received_ms, record.received.content_id));
    let mut raised: BTreeSet<&str> = BTreeSet::new();
    for trouble in records.iter().rev().flat_map(|record| &record.troubles) {
        if raised.insert(trouble.flag) {
            beware(row, trouble.flag, &trouble.words);
        }
    }
}

/// A flag, and what it rests on.
pub(super) fn beware(row: &mut ResultRow, flag: &str, words: &str) {
    raise(row, flag);
    let said = row.noise_reason.get_or_insert_default();
    if !said.is_empty() {
        said.push_str("; ");
    }
    said.push_str(words);
}

fn raise(row: &mut ResultRow, flag: &str) {
    if row.flags.split(' ').any(|raised| raised == flag) {
        return;
    }
    if !row.flags.is_empty() {
        row.flags.push(' ');
    }
    row.flags.push_str(flag);
}

/// The answers of several accounts, one of each item.
struct Counted {
    items: BTreeMap<ItemKey, ItemSample>,
    /// Items that several accounts answered.
    shared: u32,
    /// Of those, the ones on which not all were right, and not all wrong.
    disputed: u32,
}

/// Each item as most accounts answered it, rightly or wrongly (of as many of each, as the first
/// one did), by the newest such answer: one account alone does not speak for the others. `latest`
/// has one record of each account, oldest first.
fn counted(latest: &[&DerivedRecord]) -> Counted {
    let mut answers: BTreeMap<ItemKey, Vec<&ScoredItem>> = BTreeMap::new();
    for suite in latest.iter().filter_map(|one| one.quality.as_ref().ok()) {
        for item in &suite.items {
            answers.entry(suite.key(item.id)).or_default().push(item);
        }
    }
    let (mut shared, mut disputed) = (0, 0);
    let mut items = BTreeMap::new();
    for (key, given) in answers {
        let right = given.iter().filter(|item| item.correct).count();
        shared += u32::from(given.len() > 1);
        disputed += u32::from((1..given.len()).contains(&right));
        let verdict = match (2 * right).cmp(&given.len()) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => given[0].correct,
        };
        let newest = given.iter().rev().find(|item| item.correct == verdict);
        items.extend(newest.map(|item| (key, ItemSample::from(*item))));
    }
    Counted {
        items,
        shared,
        disputed,
    }
}

/// `other-suite`: answers to a suite that is not the published one.
fn beware_of_other_suites(row: &mut ResultRow, accounts: &[Vec<&DerivedRecord>]) {
    let suites: BTreeSet<&str> = accounts
        .iter()
        .flatten()
        .filter_map(|record| Some(record.quality.as_ref().ok()?.suite.as_str()))
        .collect();
    for suite in suites {
        if row.suite.as_deref() != Some(suite) {
            let words = format!("{suite} was answered too, and another suite after it");
            beware(row, "other-suite", &words);
        }
    }
}

/// Quality and joules, each from the latest record per account that has them, of the suite that was
/// answered last. Flags of the joules stand in the row of their scope.
fn publish_answers(
    result: &mut CellResult,
    accounts: &[Vec<&DerivedRecord>],
    newest: &DerivedRecord,
) {
    let when = |record: &&DerivedRecord| (record.received.received_ms, record.received.content_id);
    let suite_of = |record: &DerivedRecord| Some(record.quality.as_ref().ok()?.suite.clone());
    let answered = accounts.iter().flatten().copied();
    let newest_suite = answered
        .filter(|record| record.quality.is_ok())
        .max_by_key(when)
        .and_then(suite_of);
    let mut latest: Vec<&DerivedRecord> = accounts
        .iter()
        .filter_map(|records| {
            let mut newest_first = records.iter().rev().copied();
            newest_first.find(|record| newest_suite.is_some() && suite_of(record) == newest_suite)
        })
        .collect();
    latest.sort_by_key(when);
    result.row.suite.clone_from(&newest_suite);
    let Counted {
        items,
        shared,
        disputed,
    } = counted(&latest);
    match quality::figure(&items) {
        Ok(figure) => {
            result.row.set_figure("quality", figure);
            result.families = quality::families(&items, &result.row.id);
            if result.row.samples > 1 {
                result.row.oracle_quality = quality::oracle(&items);
            }
            let seconds = quality::seconds_per_answer(&items, seed(newest, "seconds"));
            if let Some(figure) = seconds {
                result.row.set_figure("seconds_per_answer", figure);
            }
        }
        Err(_) if latest.is_empty() => {
            result.row.quality_reason = newest.quality.as_ref().err().cloned();
        }
        Err(reason) => result.row.quality_reason = Some(reason),
    }
    let sources = Sources {
        accounts,
        scored: &latest,
        newest,
    };
    if result.row.quality.is_some() {
        if f64::from(disputed) > ANSWERS_APART * f64::from(shared) {
            let words = format!(
                "accounts disagree on {disputed} of {shared} items that several of them answered"
            );
            beware(&mut result.row, "answers-disagree", &words);
        }
        beware_of_other_suites(&mut result.row, accounts);
        let public = |key: &ItemKey| key.seed.0 == key.family.suite().public_seed();
        if items.keys().any(public) {
            raise(&mut result.row, "public-seed");
        }
        result.samples.items = items;
        result.samples.joules = joules::by_item(&sources);
    }
    result.row.energy_reason.clone_from(&newest.energy.missing);
    result.energies = joules::at_every_scope(&result.row, &sources);
    if let Some(headline) = result.energies.iter().find(|energy| energy.is_headline) {
        result.row = headline.row.clone();
    }
}
