//! From the fixture's record to published numbers, and back to hand computation.

use domain::corpus;
use domain::hardware::Catalogue;
use domain::json::parse_strict;
use domain::record::{
    AnsweredItem, Context, EnergyClaim, Fidelity, FidelityDoc, Finish, KvState, MeasuredEnergy,
    MeterTrace, PhaseKind, PruningMethod, Quality, Record, Request, Split, SplitMethod, SuiteRef,
};
use domain::scope::{Scope, ScopeKey};
use domain::suite::{self, Suite};
use domain::text::{Answer, Name};
use proptest::prelude::*;

use super::*;

/// A speed-only record of an unknown machine: two warm-ups, six repetitions.
pub(crate) fn record() -> Record {
    parse_strict(include_bytes!("../../../domain/fixtures/record.json"))
        .expect("the fixture is a record")
}

/// Answers the first `items` of `reference-v1`, 5 ms each; `right` tells which correctly.
pub(crate) fn answering(record: Record, items: u32, right: impl Fn(u32) -> bool) -> Record {
    answering_suite(record, Suite::ReferenceV1, items, right)
}

/// The same of any suite, with its public seed.
pub(crate) fn answering_suite(
    mut record: Record,
    suite: Suite,
    items: u32,
    right: impl Fn(u32) -> bool,
) -> Record {
    record.suite = Some(SuiteRef {
        version: Name::cleaned(suite.name()),
        digest: Sha256Digest(suite.digest()),
        seed: Sha256Digest(suite.public_seed()),
    });
    let answered = (0..items).zip(suite.plan(items)).map(|(position, id)| {
        let item = suite::item(&suite.public_seed(), id);
        let start_ns = 2_000_000_000 + u64::from(position) * 5_000_000;
        AnsweredItem {
            family: Name::cleaned(id.family.name()),
            level: id.level,
            index: id.index,
            sample: 0,
            answer: Answer::cleaned(if right(position) { &item.answer } else { "?" }),
            answer_bytes: None,
            picked: true,
            tokens_in: 10,
            tokens_out: 5,
            reasoning_tokens: 0,
            finish: Finish::Stop,
            start_ns,
            end_ns: start_ns + 5_000_000,
        }
    });
    record.quality = Some(Quality {
        items: answered.collect(),
        transcript_sha256: None,
        asking: None,
    });
    record
}

/// Compared with the reference weights of that number on the suite's whole corpus: each byte is a
/// token that diverges by 0.005 nats, and one of each document's is another choice.
pub(crate) fn compared(mut record: Record, suite: Suite, reference: u8) -> Record {
    let doc = |document: corpus::Document| {
        let tokens = document.scored.len() as u32 + 1;
        FidelityDoc {
            tokens,
            kld_nnat: i64::from(tokens) * 5_000_000,
            dnll_nnat: i64::from(tokens) * 2_000_000,
            top1_agree: tokens - 1,
            token_kld_nnat: vec![5_000_000; tokens as usize],
        }
    };
    record.fidelity = Some(Fidelity {
        reference_sha256: Sha256Digest([reference; 32]),
        corpus_sha256: Sha256Digest(corpus::digest(suite)),
        docs: corpus::documents(suite).into_iter().map(doc).collect(),
    });
    record
}

/// A counter of `watts` that was read every 2 ms over the record's 10 s.
fn metered(mut record: Record, watts: u64) -> Record {
    let t_ns: Vec<u64> = (0..5_000u64).map(|i| i * 2_000_000).collect();
    let trace: MeterTrace = serde_json::from_value(serde_json::json!({
        "meter": "scripted", "host": 0, "device": "package-0", "scope": "cpu.pkg", "used": true,
        "kind": "counter", "averaging": "unknown", "window_ns": null, "update_ns": 1_000_000,
        "update_basis": "assumed", "wrap_uj": null, "sensor_ppm": null, "origin": "script",
        "latency_ns": vec![1_000; t_ns.len()], "source_t_ns": null,
        "v": t_ns.iter().map(|t| t / 1_000 * watts).collect::<Vec<_>>(), "t_ns": t_ns,
    }))
    .expect("a meter");
    record.meters.push(trace);
    record.energy = EnergyClaim::Measured(MeasuredEnergy {
        scope: ScopeKey::of(&[Scope::CpuPkg]).expect("one scope"),
        meters: vec![0],
        method: domain::record::AttributionMethod::Direct,
    });
    record
}

pub(crate) fn received(number: u8, account: u8) -> Received {
    Received {
        content_id: ContentId([number; 32]),
        key_id: KeyId([account; 32]),
        tier: Tier::SelfReported,
        received_ms: 1_790_000_100_000 + i64::from(number),
        findings: Vec::new(),
    }
}

pub(crate) fn published(records: &[Record]) -> CellResult {
    let derived: Vec<_> = records
        .iter()
        .zip(1..)
        .map(|(record, number)| derive(record, received(number, 1)))
        .collect();
    let mut results = results(&derived, &Catalogue::default());
    assert_eq!(results.len(), 1, "one cell");
    results.remove(0)
}

/// Every repetition `factor` times as slow.
fn slowed(mut record: Record, factor: u64) -> Record {
    for request in record
        .repetitions
        .iter_mut()
        .flat_map(|rep| &mut rep.requests)
    {
        request.gaps_us.iter_mut().for_each(|gap| *gap *= factor);
    }
    record
}

fn close(value: Option<f64>, expected: f64) -> bool {
    value.is_some_and(|value| (value / expected - 1.0).abs() < 1e-9)
}

#[test]
fn a_repetition_pools_tokens_over_time() {
    let record = record();
    let derived = derive(&record, received(1, 1));
    let rep = &record.repetitions[2];
    let micros: u64 = rep
        .requests
        .iter()
        .flat_map(|request| &request.gaps_us)
        .sum();
    let sample = &derived.repetitions[2];
    // 24 tokens each, the first one outside: it belongs to prefill.
    assert!(close(sample.decode, 46.0 / (micros as f64 / 1e6)));
    let ttft: u64 = rep
        .requests
        .iter()
        .map(|r| r.first_event_ns.expect("tokens") - r.sent_ns)
        .sum();
    assert!(close(sample.prefill, 64.0 / (ttft as f64 / 1e9)));
    assert!(close(sample.ttft_ms, ttft as f64 / 2e6));
    assert_eq!(derived.repetitions[0].void.as_deref(), Some("warm-up"));
}

#[test]
fn the_median_of_six_repetitions_has_its_exact_interval() {
    let result = published(&[record()]);
    let mut speeds: Vec<f64> = derive(&record(), received(1, 1)).repetitions[2..]
        .iter()
        .filter_map(|rep| rep.decode)
        .collect();
    speeds.sort_by(f64::total_cmp);
    let figure = result.row.decode().expect("measured");
    assert_eq!((figure.n, figure.ci95), (6, Some((speeds[0], speeds[5]))));
    assert!(close(
        Some(figure.value),
        f64::midpoint(speeds[2], speeds[3])
    ));
    assert_eq!(result.repetitions.len(), 8);
    assert_eq!(result.row.flags, "");
}

#[test]
fn an_unknown_machine_has_a_name_and_no_price() {
    let row = published(&[record()]).row;
    assert_eq!(row.setup, "unknown-bbbbbbbb");
    assert_eq!(
        row.setup_name,
        "unknown hardware (Example CPU, 2 cores, 8 GiB)"
    );
    assert_eq!(row.price_usd, None);
    assert_eq!(
        row.price_reason.as_deref(),
        Some("not recorded: this machine is not a known setup")
    );
    assert_eq!(row.model_slug, "reference-3-5m");
    assert_eq!(row.received_at, "2026-09-21T14:15:00.001Z");
}

#[test]
fn a_known_setup_carries_its_newest_price() {
    let hardware = "profile = \"hardware\"\nslug = \"mini\"\nname = \"Mini\"\nvendor = \"Some Maker\"\nkind = \"soc\"\nsources = [\"a\"]\nconfidence = \"high\"\n";
    let setup = "profile = \"setup\"\nslug = \"mini\"\nname = \"Mini 16 GB\"\n[[parts]]\nhardware = \"mini\"\ncount = 1\n[[prices]]\nusd = 599\ndate = \"2024-11\"\nkind = \"launch\"\nsource = \"a\"\n";
    let catalogue = Catalogue::parse([("h.toml", hardware), ("s.toml", setup)]).expect("valid");
    let mut record = record();
    record.setup.slug = Some("mini".parse().expect("a slug"));
    let result = results(&[derive(&record, received(1, 1))], &catalogue).remove(0);
    assert_eq!(
        (
            result.row.setup_name.as_str(),
            result.row.price_date.as_deref()
        ),
        ("Mini 16 GB", Some("2024-11"))
    );
    assert!(close(result.row.price_usd, 599.0));
    assert_eq!(
        result.vendors.iter().map(Slug::as_str).collect::<Vec<_>>(),
        ["some-maker"]
    );
}

#[test]
fn answers_are_scored_against_items_made_again() {
    let result = published(&[answering(record(), 210, |position| position % 7 != 3)]);
    let quality = result.row.quality().expect("published");
    assert_eq!(quality.n, 210);
    assert!(close(Some(quality.value), 180.0 / 210.0));
    let (low, high) = quality.ci95.expect("exact");
    assert!(low < quality.value && quality.value < high && high - low < 0.11);
    let detail = result.detail("v");
    assert_eq!((detail.families.len(), detail.levels.len()), (7, 21));
    // The plan goes round the families: every seventh item is of one of them.
    let wrong: Vec<_> = result
        .detail("v")
        .families
        .into_iter()
        .filter(|family| family.correct == 0)
        .collect();
    assert_eq!(wrong.len(), 1);
    assert_eq!(result.row.suite.as_deref(), Some(Suite::ReferenceV1.name()));
    assert_eq!(result.row.flags, "public-seed");
    assert_eq!(result.samples.items.len(), 210);
}

#[test]
fn chosen_or_repeated_items_are_not_scored() {
    for change in [
        |items: &mut Vec<AnsweredItem>| drop(items.remove(5)),
        |items: &mut Vec<AnsweredItem>| items[5].index = 9_999,
        |items: &mut Vec<AnsweredItem>| items[5].family = Name::cleaned("poetry"),
        |items: &mut Vec<AnsweredItem>| items[5].level = 200,
    ] {
        let mut record = answering(record(), 210, |_| true);
        change(&mut record.quality.as_mut().expect("answered").items);
        let row = published(&[record]).row;
        assert_eq!(row.quality, None);
        assert!(row.quality_reason.is_some());
    }
    let mut other = answering(record(), 210, |_| true);
    other.suite.as_mut().expect("asked").digest = Sha256Digest([1; 32]);
    assert!(
        published(&[other])
            .row
            .quality_reason
            .is_some_and(|reason| reason.contains("made again"))
    );
}

#[test]
fn an_item_asked_twice_needs_one_picked_sample() {
    let mut record = answering(record(), 210, |_| true);
    record.workload.samples = 2;
    let items = &mut record.quality.as_mut().expect("answered").items;
    let mut again = items.clone();
    for second in &mut again {
        (second.sample, second.picked) = (1, false);
    }
    items.extend(again);
    assert!(close(published(&[record.clone()]).row.quality, 1.0));
    let items = &mut record.quality.as_mut().expect("answered").items;
    items[215].picked = true;
    assert!(close(
        published(&[record.clone()]).row.quality,
        209.0 / 210.0
    ));
    let items = &mut record.quality.as_mut().expect("answered").items;
    items.truncate(419);
    assert!(
        published(&[record])
            .row
            .quality_reason
            .is_some_and(|reason| reason.ends_with("has 1 answers, 2 are asked of each"))
    );
}

#[test]
fn truncated_answers_are_wrong_and_too_few_are_unpublished() {
    let mut truncated = answering(record(), 210, |_| true);
    for item in &mut truncated.quality.as_mut().expect("answered").items {
        item.finish = Finish::Length;
    }
    assert!(
        published(&[truncated])
            .row
            .quality
            .is_some_and(|quality| quality < 1e-9)
    );
    let few = published(&[answering(record(), 99, |_| true)]);
    assert_eq!(
        few.row.quality_reason.as_deref(),
        Some("99 items were asked, 100 are needed")
    );
    assert!(few.families.is_empty());
}

#[test]
fn joules_are_those_of_the_questions_over_the_right_answers() {
    let result = published(&[metered(
        answering(record(), 210, |position| position % 2 == 0),
        40,
    )]);
    let joules = result.row.joules_per_correct().expect("metered");
    // 210 questions of 5 ms at 40 W are 42 J; 105 are right.
    assert!((joules.value - 0.4).abs() < 1e-9, "{joules:?}");
    let (low, high) = joules.ci95.expect("groups of ten are resolved");
    assert!(low < 0.4 && 0.4 < high);
    assert!(close(result.row.mean_watts, 40.0));
    assert_eq!(result.row.energy_scope.as_deref(), Some("cpu.pkg"));
    // Direct decode spans hold about 15 ticks each: too few to be split.
    assert_eq!(result.row.joules_per_output_token, None);
}

#[test]
fn a_decode_loop_loses_what_its_prefill_took() {
    let mut record = metered(answering(record(), 210, |_| true), 40);
    let EnergyClaim::Measured(claim) = &mut record.energy else {
        panic!("metered")
    };
    claim.method = domain::record::AttributionMethod::Loops;
    let phase = |phase, start_s: u64, seconds: u64, tokens_in, tokens_out| domain::record::Phase {
        phase,
        rep: None,
        host: 0,
        start_ns: start_s * 1_000_000_000,
        end_ns: (start_s + seconds) * 1_000_000_000,
        requests: 10,
        tokens_in,
        tokens_out,
    };
    // Each of the ten requests' first token belongs to prefill.
    // At 40 W: 120 J = 2,000 e_in + 990 e_out and 160 J = 20 e_in + 1,580 e_out.
    record.phases = vec![
        phase(PhaseKind::MixedLoop, 1, 3, 2_000, 1_000),
        phase(PhaseKind::DecodeLoop, 4, 4, 20, 1_590),
    ];
    let per_token = published(&[record.clone()]).row.joules_per_output_token;
    let exact = (160.0 * 2_000.0 - 120.0 * 20.0) / (1_580.0 * 2_000.0 - 990.0 * 20.0);
    assert!(
        per_token.is_some_and(|joules| (joules / exact - 1.0).abs() < 1e-6),
        "{per_token:?} {exact}"
    );
    // Half of the loop's tokens in the prompt: its prefill is no small share.
    record.phases[1].tokens_in = 800;
    let row = published(&[record]).row;
    assert_eq!(row.joules_per_output_token, None);
    assert_eq!(
        row.decode_energy_reason.as_deref(),
        Some("prefill takes more than 2 % of the decode loop")
    );
    assert!(row.joules_per_correct_answer.is_some(), "of the questions");
}

#[test]
fn what_has_no_meter_says_why() {
    let row = published(&[answering(record(), 210, |_| true)]).row;
    assert_eq!(row.joules_per_correct_answer, None);
    assert_eq!(
        row.energy_reason.as_deref(),
        Some("a virtual machine without a power counter")
    );
    let none = published(&[metered(answering(record(), 210, |_| false), 40)]).row;
    assert_eq!(none.joules_per_correct_answer, None);
    assert_eq!(
        none.energy_reason.as_deref(),
        Some("no question was answered correctly")
    );
}

#[test]
fn failed_and_quarantined_records_count_nowhere_and_stay_listed() {
    let good = derive(&record(), received(1, 1));
    let mut failed = record();
    failed.outcome = Outcome::Oom;
    failed.outcome_class = Some(Name::cleaned("alloc"));
    let failed = derive(&slowed(failed, 3), received(2, 1));
    let mut lie = received(3, 2);
    lie.tier = Tier::Quarantined;
    let lie = derive(&slowed(record(), 1), lie);
    let catalogue = Catalogue::default();
    let alone = results(std::slice::from_ref(&good), &catalogue).remove(0);
    let together = results(&[good.clone(), failed.clone(), lie.clone()], &catalogue).remove(0);
    assert_eq!(together.row, alone.row);
    let listed: Vec<_> = together
        .records
        .iter()
        .map(|r| (r.outcome.as_str(), r.result.is_some()))
        .collect();
    assert_eq!(listed, [("out of memory: alloc", false), ("ok", true)]);
    assert_eq!(lie.summary().result, None);
    // A cell that only failed is a row without numbers; one that only lied is none.
    let only_failed = results(&[failed], &catalogue).remove(0);
    assert_eq!(
        only_failed.row.decode_reason.as_deref(),
        Some("out of memory: alloc")
    );
    assert_eq!(only_failed.row.decode_tokens_per_second, None);
    assert!(results(&[lie], &catalogue).is_empty());
}

#[test]
fn several_accounts_publish_the_median_of_their_medians() {
    let records = [(1, 1, 1), (2, 1, 1), (3, 2, 2), (4, 3, 4)];
    let derived: Vec<_> = records
        .into_iter()
        .map(|(number, account, factor)| {
            derive(&slowed(record(), factor), received(number, account))
        })
        .collect();
    let middle = published(&[slowed(record(), 2)])
        .row
        .decode_tokens_per_second;
    let row = results(&derived, &Catalogue::default()).remove(0).row;
    assert_eq!(row.decode_tokens_per_second, middle);
    assert_eq!((row.records, row.decode_tokens_per_second_n), (4, Some(24)));
    assert!(
        row.decode_tokens_per_second_ci95_low < middle
            && middle < row.decode_tokens_per_second_ci95_high
    );
}

#[test]
fn records_that_spread_too_far_leave_the_medians_of_steadier_ones() {
    let mut wild = record();
    for rep in [3, 5] {
        for request in &mut wild.repetitions[rep].requests {
            request.gaps_us.iter_mut().for_each(|gap| *gap *= 3);
        }
    }
    let steady = published(&[record()]).row;
    let both = published(&[record(), wild.clone()]).row;
    assert_eq!(
        both.decode_tokens_per_second,
        steady.decode_tokens_per_second
    );
    let alone = published(&[wild]).row;
    assert!(alone.decode_tokens_per_second.is_some());
    assert_eq!(
        alone.flags,
        "noisy spread-over-15-percent unstable views-disagree"
    );
}

#[test]
fn too_few_repetitions_neither_evict_others_nor_take_their_interval() {
    let short = |mut record: Record| {
        record.repetitions.truncate(5);
        record
    };
    let mut wild = record();
    for request in &mut wild.repetitions[3].requests {
        request.gaps_us.iter_mut().for_each(|gap| *gap *= 3);
    }
    // Steady ones stay alone.
    let steady = published(&[record()]).row;
    let both = published(&[record(), short(slowed(record(), 2))]).row;
    assert_eq!(both.decode(), steady.decode());
    // A wild one is not evicted by three equal values, and with them has no interval.
    let both = published(&[wild, short(record())]).row;
    assert_eq!(both.decode_tokens_per_second_n, Some(9));
    assert_eq!(both.decode_tokens_per_second_ci95_low, None);
}

#[test]
fn what_two_sweeps_drift_apart_stays_in_the_interval() {
    let mut later = record();
    for request in later
        .repetitions
        .iter_mut()
        .flat_map(|rep| &mut rep.requests)
    {
        for gap in &mut request.gaps_us {
            *gap += *gap / 10;
        }
    }
    let alone = |record: &Record| {
        let row = published(std::slice::from_ref(record)).row;
        row.decode_tokens_per_second.expect("measured")
    };
    let (slow, fast) = (alone(&later), alone(&record()));
    let (low, high) = published(&[record(), later])
        .row
        .decode()
        .and_then(|decode| decode.ci95)
        .expect("two records of six");
    assert!(low <= slow && fast <= high, "{low} {slow} {fast} {high}");
}

#[test]
fn joules_of_another_scope_are_not_drawn() {
    let board = metered(answering(record(), 210, |_| true), 40);
    let mut wall = board.clone();
    wall.meters[0].scope = Scope::WallAc;
    let EnergyClaim::Measured(claim) = &mut wall.energy else {
        panic!("metered")
    };
    claim.scope = ScopeKey::of(&[Scope::WallAc]).expect("one scope");
    // Two accounts answered half of the items each last; the newest is at the wall.
    let mut half = wall.clone();
    half.quality.as_mut().expect("answered").items.truncate(105);
    let derived = [
        derive(&board, received(1, 1)),
        derive(&half, received(2, 2)),
    ];
    let result = results(&derived, &Catalogue::default()).remove(0);
    assert_eq!(result.row.energy_scope.as_deref(), Some("wall.ac"));
    assert_eq!(result.samples.joules["wall.ac"].len(), 105);
    assert_eq!(result.samples.items.len(), 210);
    assert_eq!(result.row.mean_watts_n, Some(105));
}

#[test]
fn another_build_or_workload_is_another_cell() {
    let id = |change: fn(&mut Record)| {
        let mut record = record();
        change(&mut record);
        derive(&record, received(1, 1)).cell
    };
    let same = id(|_| {});
    assert_eq!(same.len(), 16);
    assert_eq!(
        same,
        id(|r| r.workload.prompt_sha256 = Some(Sha256Digest([9; 32])))
    );
    assert_eq!(same, id(|r| r.sweep = Sha256Digest([9; 32])));
    for change in [
        (|r: &mut Record| r.engine.version = Name::cleaned("0.12.0")) as fn(&mut Record),
        |r| r.engine.build_flags.clear(),
        |r| r.variant.sha256 = Sha256Digest([9; 32]),
        |r| r.workload.output_tokens = 25,
        |r| r.settings.flash_attention = Some(true),
        |r| r.hosts[0].fingerprint = Sha256Digest([9; 32]),
    ] {
        assert_ne!(same, id(change));
    }
}

#[test]
fn the_command_to_copy_holds_no_command_of_strangers() {
    let mut record = record();
    record.variant.model = Name::cleaned("a'; rm -rf ~ #");
    let command = published(&[record]).reproduce;
    let first = command.lines().next().expect("a command");
    assert_eq!(
        first,
        r"joulemark sweep --model 'a'\''; rm -rf ~ #' --quant F16 --prune none --engine candle --workload pp32-tg24"
    );
    assert!(command.lines().skip(1).all(|line| line.starts_with("# ")));
}

#[test]
fn the_command_names_the_pruning_as_a_matrix_does() {
    // Four layers of 852,288 parameters and an embedding of 73,728 that stays.
    let label = |method, ratio_ppm, layers: u32| {
        let mut record = record();
        let variant = &mut record.variant;
        variant.pruning.method = method;
        variant.pruning.ratio_ppm = ratio_ppm;
        variant.kv[0].layers = layers;
        variant.dense_bytes = 2 * 852_288 * u64::from(layers);
        variant.params_total = 73_728 + 852_288 * u64::from(layers);
        let command = published(&[record]).reproduce;
        let rest = command
            .split("--prune ")
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        rest.split(" --engine")
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(label(PruningMethod::None, 0, 4), "none");
    assert_eq!(label(PruningMethod::Layer, 244_707, 3), "layers-1");
    assert_eq!(label(PruningMethod::Layer, 489_415, 2), "layers-2");
    assert_eq!(
        label(PruningMethod::Unstructured, 293_649, 4),
        "'magnitude-30%'"
    );
    for (method, ratio_ppm) in [
        (PruningMethod::Layer, 300_000),
        (PruningMethod::Unstructured, 298_500),
        (PruningMethod::Head, 244_707),
    ] {
        assert_eq!(label(method, ratio_ppm, 3), "", "no recipe is made up");
    }
    let mut nameless = record();
    nameless.variant.pruning.method = PruningMethod::Head;
    let command = published(&[nameless]).reproduce;
    assert!(command.contains("which names no recipe"), "{command}");
    // Of magnitude on types without a zero the share says what is left of it, not what was meant.
    let mut record = record();
    record.variant.pruning.method = PruningMethod::Unstructured;
    record.variant.pruning.ratio_ppm = 16_700;
    record.variant.pruning.recipe = Some(Name::cleaned("magnitude-50%"));
    let command = published(&[record]).reproduce;
    assert!(command.contains("--prune 'magnitude-50%'"), "{command}");
}

#[test]
fn the_command_repeats_the_threads() {
    let mut record = record();
    record.engine.args = vec![Name::cleaned("threads=3")];
    let command = published(&[record]).reproduce;
    assert!(
        command
            .lines()
            .next()
            .is_some_and(|line| line.ends_with(" --threads 3")),
        "{command}"
    );
}

/// Its requests, warm-ups' too.
fn requests(record: &mut Record) -> impl Iterator<Item = &mut Request> {
    record
        .repetitions
        .iter_mut()
        .flat_map(|rep| &mut rep.requests)
}

#[test]
fn percentiles_are_of_all_gaps_together() {
    let record = record();
    let mut gaps: Vec<u64> = record.repetitions[2..]
        .iter()
        .flat_map(|rep| &rep.requests)
        .flat_map(|request| request.gaps_us.clone())
        .collect();
    gaps.sort_unstable();
    let row = published(std::slice::from_ref(&record)).row;
    let p50 = row.itl_p50().expect("276 gaps");
    assert_eq!((gaps.len(), p50.n), (276, 276));
    let middle = f64::midpoint(gaps[137] as f64, gaps[138] as f64) / 1e3;
    assert!(close(Some(p50.value), middle));
    let (low, high) = p50.ci95.expect("six repetitions");
    assert!(low <= middle && middle <= high && high - low < 0.05 * middle);
    assert!(row.itl_ms_p50 < row.itl_ms_p90 && row.itl_ms_p90 < row.itl_ms_p99);
    assert_eq!(row.ttft_ms_p95, None, "12 requests have no 95th percentile");
    assert!(close(
        row.tpot_ms
            .zip(row.decode_tokens_per_second)
            .map(|(ms, speed)| ms * speed),
        1e3
    ));
    assert!(row.tpot_ms_ci95_low < row.tpot_ms && row.tpot_ms < row.tpot_ms_ci95_high);
    // Two repetitions hold 92 gaps: no 99th percentile, and no interval of the others.
    let mut short = record;
    short.repetitions.truncate(4);
    let row = published(&[short]).row;
    assert_eq!((row.itl_ms_p99, row.itl_ms_p90_ci95_low), (None, None));
    assert_eq!(row.itl_ms_p90_n, Some(92));
}

#[test]
fn twenty_requests_have_a_95th_percentile() {
    let mut many = record();
    for rep in &mut many.repetitions {
        rep.requests.extend(rep.requests.clone());
    }
    let row = published(&[many]).row;
    assert_eq!(row.ttft_ms_p95_n, Some(24));
    assert!(row.ttft_ms_p95 >= row.ttft_ms);
}

#[test]
fn both_views_stand_side_by_side() {
    let row = published(&[record()]).row;
    let ratio = row
        .decode_tokens_per_second
        .zip(row.engine_decode_tokens_per_second);
    assert!(ratio.is_some_and(|(client, engine)| (client / engine - 1.0).abs() < 0.05));
    assert_eq!(row.engine_prefill_tokens_per_second_n, Some(6));
    assert_eq!((row.flags.as_str(), row.noise_reason), ("", None));
    let row = published(&[slowed(record(), 2)]).row;
    assert_eq!(row.flags, "views-disagree");
    let words = row.noise_reason.expect("said");
    let shown = |speed: Option<f64>| crate::numbers::number(speed.expect("measured"));
    assert!(words.starts_with("the client saw ") && words.contains(" where the engine says "));
    // Both medians are near the pooled speeds that the words give.
    let engine = row.engine_decode_tokens_per_second;
    assert!(words.contains(&shown(engine)[..3]), "{words} {engine:?}");
}

/// The records phases with two readings of the machine: before and after the repetitions.
fn read(mut record: Record, change: impl Fn(&mut Context, bool)) -> Record {
    let end_ns = record.repetitions.last().map_or(1, |rep| rep.end_ns);
    record.context = [(0, false), (end_ns + 1, true)]
        .into_iter()
        .map(|(at_ns, after)| {
            let mut context: Context = serde_json::from_value(serde_json::json!({
                "at_ns": at_ns, "host": 0, "power_source": null, "power_mode": null,
                "governor": null, "thermal_level": null, "temp_mc": null, "clock_mhz": null,
                "power_limit_mw": null, "pstate": null, "throttle_reasons": null,
                "throttle_ns": 0, "foreign_gpu_processes": null, "load_ppm": 600_000,
                "pressure_ppm": 20_000, "swap_bytes": 0, "driver": null, "firmware": null,
            }))
            .expect("a context");
            change(&mut context, after);
            context
        })
        .collect();
    record
}

#[test]
fn what_spoils_a_record_is_said_with_its_numbers() {
    let one_thread = || {
        let mut record = record();
        record.engine.args = vec![Name::cleaned("threads=1")];
        record
    };
    // Two cores, load 1.2: the engine's own thread and a little of the system.
    let quiet = published(&[read(one_thread(), |_, _| {})]).row;
    assert_eq!((quiet.flags.as_str(), quiet.noise_reason), ("", None));
    let said = |change: fn(&mut Context, bool)| {
        let row = published(&[read(one_thread(), change)]).row;
        (row.flags, row.noise_reason.unwrap_or_default())
    };
    let (flags, words) = said(|context, _| context.load_ppm = Some(1_600_000));
    assert_eq!(flags, "busy");
    assert_eq!(words, "beside the engine 2.2 other tasks were at work");
    let (flags, words) = said(|context, after| {
        context.pressure_ppm = Some(if after { 250_000 } else { 0 });
    });
    assert_eq!(flags, "busy");
    assert_eq!(words, "some task waited for a core 25 % of the time");
    let before = said(|context, after| {
        context.pressure_ppm = Some(if after { 0 } else { 250_000 });
    });
    assert_eq!(
        before.0, "",
        "what was before the repetitions did not spoil them"
    );
    let (flags, words) = said(|context, after| {
        context.throttle_ns = Some(if after { context.at_ns / 20 } else { 0 });
    });
    assert_eq!(
        (flags.as_str(), words.as_str()),
        ("throttled", "the processor was slowed down 5 % of the time")
    );
    let (flags, words) = said(|context, after| {
        context.swap_bytes = Some(if after { 70_000_000 } else { 1_000 });
    });
    assert_eq!(
        (flags.as_str(), words.as_str()),
        ("swapping", "swap grew by 70 MB")
    );
}

#[test]
fn a_cold_cache_that_nobody_counted_is_unproven() {
    let mut record = record();
    requests(&mut record).for_each(|request| request.cached_tokens = None);
    let row = published(&[record]).row;
    assert_eq!(row.flags, "cold-unproven");
    assert!(row.prefill_tokens_per_second.is_some());
}

#[test]
fn warm_ups_that_never_settle_are_said() {
    let mut record = record();
    record.repetitions[2].warmup = true;
    let flags = |record: &Record| published(std::slice::from_ref(record)).row.flags;
    assert_eq!(flags(&record), "");
    for request in &mut record.repetitions[2].requests {
        request.gaps_us.iter_mut().for_each(|gap| *gap += *gap / 4);
    }
    assert_eq!(flags(&record), "unsteady");
}

/// As llama-bench reports it.
fn timed_by_the_engine() -> Record {
    let mut record = record();
    for rep in &mut record.repetitions {
        for (request, is_prefill) in rep.requests.iter_mut().zip([true, false]) {
            (request.first_event_ns, request.first_visible_ns) = (None, None);
            request.gaps_us.clear();
            request.cached_tokens = None;
            if is_prefill {
                (request.output_tokens, request.engine_decode_ns) = (0, None);
            } else {
                (request.prompt_tokens, request.engine_prefill_ns) = (0, None);
            }
        }
    }
    record
}

#[test]
fn an_engine_that_times_itself_fills_its_own_columns_only() {
    let mut record = timed_by_the_engine();
    record.hosts[0].bandwidth_probe_bytes_s = Some(40_000_000_000);
    let result = published(&[record]);
    let row = &result.row;
    assert_eq!(row.decode_tokens_per_second, None);
    assert_eq!(row.prefill_tokens_per_second, None);
    assert_eq!(
        (row.ttft_ms, row.tpot_ms, row.itl_ms_p50),
        (None, None, None)
    );
    assert_eq!(
        row.decode_reason.as_deref(),
        Some("timed by the engine itself")
    );
    assert_eq!(row.engine_decode_tokens_per_second_n, Some(6));
    assert_eq!(row.engine_prefill_tokens_per_second_n, Some(6));
    assert_eq!(row.flags, "", "its cache is not asked of it");
    assert!(row.decode_of_theory.is_some());
    assert!(
        row.roofline
            .as_deref()
            .is_some_and(|text| text.contains("by the engine's own clock"))
    );
    assert_eq!(result.samples.decode, Vec::<Vec<Vec<f64>>>::new());
}

/// Every repetition with a second stream that is `factor` times as slow.
fn in_two_streams(mut record: Record, factor: u64) -> Record {
    record.workload.concurrency = 2;
    for rep in &mut record.repetitions {
        let mut second = rep.requests.clone();
        for request in &mut second {
            request.stream = 1;
            request.gaps_us.iter_mut().for_each(|gap| *gap *= factor);
        }
        rep.requests.extend(second);
    }
    record
}

#[test]
fn several_streams_have_a_median_a_slow_one_and_a_sum() {
    let alone = published(&[record()]).row;
    assert_eq!(alone.aggregate_decode_tokens_per_second, None);
    assert_eq!(alone.stream_decode_tokens_per_second_p10, None);
    let row = published(&[in_two_streams(record(), 2)]).row;
    let one = alone.decode_tokens_per_second.expect("measured");
    let at = |value: Option<f64>, share: f64| {
        value.is_some_and(|v| (v / one / share - 1.0).abs() < 0.02)
    };
    assert!(
        at(row.decode_tokens_per_second, 0.75),
        "the median of 1 and 1/2"
    );
    assert!(at(row.stream_decode_tokens_per_second_p10, 0.55));
    let sum = row.aggregate_decode().expect("they run together");
    assert_eq!(sum.n, 6);
    assert!(sum.value > row.decode_tokens_per_second.unwrap_or(f64::MAX));
    assert_eq!(
        (row.concurrency, row.samples, row.kv_state.as_str()),
        (2, 1, "cold")
    );
}

#[test]
fn a_cached_context_counts_in_no_rate() {
    let mut warm = record();
    warm.workload.kv_state = KvState::WarmPrefix;
    warm.workload.depth_tokens = 96;
    for request in requests(&mut warm) {
        (request.prompt_tokens, request.cached_tokens) = (128, Some(96));
    }
    let cold = published(&[record()]).row.prefill_tokens_per_second;
    let row = published(std::slice::from_ref(&warm)).row;
    assert_eq!(
        row.prefill_tokens_per_second, cold,
        "the same 32 tokens took as long"
    );
    assert_eq!(
        (row.depth_tokens, row.kv_state.as_str()),
        (96, "warm_prefix")
    );
    requests(&mut warm).for_each(|request| request.cached_tokens = None);
    let row = published(std::slice::from_ref(&warm)).row;
    assert_eq!(
        row.prefill_tokens_per_second, None,
        "nobody knows of how many tokens"
    );
    assert_eq!(row.flags, "");
    warm.workload.kv_state = KvState::ExactHit;
    requests(&mut warm).for_each(|request| request.cached_tokens = Some(127));
    let row = published(&[warm]).row;
    assert_eq!(row.prefill_tokens_per_second, None);
    assert!(row.ttft_ms.is_some());
}

#[test]
fn best_of_n_pays_for_all_samples_and_publishes_the_picked_ones() {
    let mut record = metered(answering(record(), 105, |position| position % 3 == 0), 40);
    record.workload.samples = 2;
    let items = &mut record.quality.as_mut().expect("answered").items;
    let right = Suite::ReferenceV1.plan(105);
    let twice = items
        .iter()
        .zip(right)
        .enumerate()
        .flat_map(|(position, (first, id))| {
            let start_ns = 2_000_000_000 + 10_000_000 * position as u64;
            let mut first = first.clone();
            (first.start_ns, first.end_ns) = (start_ns, start_ns + 5_000_000);
            let mut second = first.clone();
            (second.sample, second.picked) = (1, false);
            (second.start_ns, second.end_ns) = (start_ns + 5_000_000, start_ns + 10_000_000);
            if position % 3 == 1 {
                second.answer =
                    Answer::cleaned(&suite::item(&Suite::ReferenceV1.public_seed(), id).answer);
            }
            [first, second]
        });
    *items = twice.collect();
    let result = published(&[record]);
    let row = &result.row;
    assert!(close(row.quality, 35.0 / 105.0));
    assert_eq!(row.quality_n, Some(105), "two samples are no two items");
    assert!(close(row.oracle_quality, 70.0 / 105.0));
    assert_eq!(result.samples.items.len(), 105);
    let seconds = row.seconds_per_answer().expect("answered");
    assert_eq!(seconds.n, 105);
    assert!(
        close(Some(seconds.value), 0.010),
        "from the first question to the last answer"
    );
    // 210 spans of 5 ms at 40 W are 42 J, 35 are right.
    let joules = row.joules_per_correct().expect("metered");
    assert!((joules.value - 1.2).abs() < 1e-9, "{joules:?}");
    let single = published(&[answering(self::record(), 105, |_| true)]).row;
    assert_eq!(single.oracle_quality, None);
    assert!(close(single.seconds_per_answer, 0.005));
}

#[test]
fn a_speed_stands_against_what_the_machine_allows() {
    let mut record = record();
    let bare = published(std::slice::from_ref(&record)).row;
    assert_eq!(bare.decode_of_theory, None);
    assert_eq!(
        bare.roofline_reason.as_deref(),
        Some("the memory bandwidth was not probed, and no data sheet of it is known")
    );
    let curve = |bytes_s: u64| domain::record::BandwidthPoint {
        working_set_bytes: 1 << 30,
        bytes_s,
    };
    record.hosts[0].bandwidth_curve = vec![curve(42_000_000_000)];
    record.hosts[0].compute_probe_flop_s = Some(200_000_000_000);
    let result = published(std::slice::from_ref(&record));
    let row = &result.row;
    // 7,047,456 bytes of weights, 44 tokens of 2,048 elements in f32.
    assert!(close(row.bytes_per_pass, 7_407_904.0));
    let ceiling = 42e9 / 7_407_904.0;
    assert!(close(row.decode_ceiling_tokens_per_second, ceiling));
    let speed = row.decode_tokens_per_second.expect("measured");
    let share = row.decode_of_theory().expect("a ceiling");
    assert!(close(Some(share.value), speed / ceiling) && share.n == 6 && share.ci95.is_some());
    assert_eq!(row.bandwidth_basis.as_deref(), Some("probe"));
    let text = row.roofline.as_deref().expect("a sentence");
    assert!(
        text.ends_with(
            " % of what this machine reads at 7.41 MB (cache-resident: 42 GB/s by probe)"
        ),
        "{text}"
    );
    assert!(
        row.prefill_of_theory
            .is_some_and(|share| share > 0.0 && share < 1.0)
    );
    assert_eq!(row.flags, "");
    let lines = |label: &str| {
        let found = result.provenance.iter().find(|line| line.label == label);
        found
            .and_then(|line| line.value.clone())
            .unwrap_or_default()
    };
    assert_eq!(lines("Bandwidth by working set"), "1,024 MiB: 42 GB/s");
    assert_eq!(lines("FP32 arithmetic, probed"), "200 GFLOP/s");
    assert_eq!(lines("Weights read per pass"), "7.05 MB, as in the file");
    assert_eq!(lines("Tokens counted by"), "token ids seen by the runner");
    record.hosts[0].bandwidth_curve = vec![curve(7_000_000_000)];
    let row = published(std::slice::from_ref(&record)).row;
    assert_eq!(row.flags, "above-roofline", "shown, not hidden");
    assert!(row.decode_of_theory.is_some_and(|share| share > 1.05));
    record.settings.speculation.method = domain::record::SpeculationMethod::Ngram;
    let row = published(&[record]).row;
    assert_eq!(row.flags, "");
    assert_eq!(
        row.roofline_reason.as_deref(),
        Some("tokens are guessed ahead, and the passes were not counted")
    );
}

#[test]
fn a_probe_below_the_sheet_shows_both_losses() {
    let chip = "profile = \"hardware\"\nslug = \"chip\"\nname = \"Chip\"\nvendor = \"Maker\"\nkind = \"soc\"\nsources = [\"a\"]\nconfidence = \"high\"\nmemory_bandwidth_gb_s = 25\n";
    let catalogue = Catalogue::parse([("h.toml", chip)]).expect("valid");
    let mut record = record();
    record.hosts[0].profile = Some("chip".parse().expect("a slug"));
    record.hosts[0].bandwidth_probe_bytes_s = Some(20_000_000_000);
    let row = results(&[derive(&record, received(1, 1))], &catalogue)
        .remove(0)
        .row;
    let text = row.roofline.expect("a sentence");
    assert!(
        text.contains(
            " % of what this memory delivers (20 GB/s by probe, 80 % of its data sheet), "
        ),
        "{text}"
    );
    assert!(text.ends_with(" % of the sheet"), "{text}");
}

#[test]
fn machines_that_work_together_are_named_together() {
    let mut record = record();
    let mut second = record.hosts[0].clone();
    second.host = 1;
    record.hosts.push(second);
    record.setup.interconnect = Some(Name::cleaned("Thunderbolt 5"));
    let split = |method| {
        Some(Split {
            method,
            layout: Name::cleaned("even"),
        })
    };
    record.setup.split = split(SplitMethod::Tensor);
    let tensor = published(std::slice::from_ref(&record));
    assert_eq!(
        tensor.row.setup_name,
        "Example CPU + Example CPU (Thunderbolt 5, tensor)"
    );
    assert_ne!(
        tensor.row.setup, "unknown-bbbbbbbb",
        "one of them is another setup"
    );
    let split_line = tensor.provenance.iter().find(|line| line.label == "Split");
    assert_eq!(
        split_line.and_then(|line| line.value.as_deref()),
        Some("tensor: even")
    );
    record.setup.split = split(SplitMethod::Pipeline);
    let pipeline = published(&[record]).row;
    assert_ne!(
        (pipeline.id, pipeline.setup),
        (tensor.row.id, tensor.row.setup)
    );
}

#[test]
fn one_build_has_one_name_whatever_it_runs() {
    let row = |change: fn(&mut Record)| {
        let mut record = record();
        change(&mut record);
        published(&[record]).row
    };
    let same = row(|_| {});
    assert_eq!(
        (same.engine_slug.as_str(), same.engine_build_id.len()),
        ("candle", 12)
    );
    for unchanged in [
        (|r: &mut Record| r.variant.sha256 = Sha256Digest([9; 32])) as fn(&mut Record),
        |r| r.engine.args = vec![Name::cleaned("threads=3")],
    ] {
        assert_eq!(row(unchanged).engine_build_id, same.engine_build_id);
    }
    for changed in [
        (|r: &mut Record| r.engine.version = Name::cleaned("0.12.0")) as fn(&mut Record),
        |r| r.engine.build_flags.clear(),
        |r| r.engine.backend = Name::cleaned("cuda"),
        |r| r.engine.commit = Some(Name::cleaned("abc")),
    ] {
        assert_ne!(row(changed).engine_build_id, same.engine_build_id);
    }
    let odd = row(|r| r.engine.name = Name::cleaned("***"));
    assert!(
        odd.engine_slug.starts_with("unnamed-"),
        "{}",
        odd.engine_slug
    );
}

#[test]
fn only_equals_share_a_comparison() {
    let comparable = |change: fn(&mut Record)| {
        let mut record = record();
        change(&mut record);
        published(&[record]).comparable
    };
    let same = comparable(|_| {});
    assert_eq!(
        same,
        comparable(|r| r.engine.name = Name::cleaned("llama.cpp"))
    );
    assert_eq!(
        same,
        comparable(|r| r.settings.weight_bytes_per_pass = Some(14_000_000))
    );
    for change in [
        (|r: &mut Record| r.workload.concurrency = 2) as fn(&mut Record),
        |r| r.workload.depth_tokens = 4_096,
        |r| r.workload.kv_state = KvState::WarmPrefix,
        |r| r.workload.samples = 4,
    ] {
        assert_ne!(same, comparable(change));
    }
}

#[test]
fn what_an_engine_says_of_its_weights_makes_no_other_cell() {
    let mut record = record();
    let before = derive(&record, received(1, 1)).cell;
    record.settings.weight_bytes_per_pass = Some(14_000_000);
    assert_eq!(derive(&record, received(1, 1)).cell, before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_order_of_arrival_changes_nothing(order in Just((0..6u8).collect::<Vec<_>>()).prop_shuffle()) {
        let derived: Vec<DerivedRecord> = (0..6u8)
            .map(|number| {
                let mut record = metered(answering(slowed(record(), 1 + u64::from(number % 2)), 140, |p| p % 5 != 0), 30);
                if number == 4 {
                    record.variant.sha256 = Sha256Digest([4; 32]);
                }
                derive(&record, received(number, number % 3))
            })
            .collect();
        let shuffled: Vec<_> = order.iter().map(|i| derived[usize::from(*i)].clone()).collect();
        let bytes = |records: &[DerivedRecord]| {
            let results = results(records, &Catalogue::default());
            let details: Vec<_> = results.iter().map(|result| result.detail("v")).collect();
            serde_json::to_string(&details).expect("JSON")
        };
        prop_assert_eq!(bytes(&derived), bytes(&shuffled));
    }
}
