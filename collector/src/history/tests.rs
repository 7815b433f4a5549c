//! Planted changes are found, named and proven only by gates; what did not change stays silent.

use std::sync::LazyLock;

use domain::gate::record::{GateRecord, Purpose, SeedOrigin};
use domain::gate::verdict::CellJudgement;
use domain::history::ChangeState;
use domain::ids::{KeyId, Sha256Digest};
use domain::record::Record;
use domain::text::Name;
use domain::tier::Tier;

use super::*;
use crate::derive::{self, Received};
use crate::fixtures::{self, at_commit, gate_of, slowed};

const DAY_MS: u64 = 86_400_000;

/// The fixture without its answers: making and scoring them takes long, and no series is of them.
static UNASKED: LazyLock<Record> = LazyLock::new(|| {
    let mut record = fixtures::record(0);
    record.quality = None;
    record.suite = None;
    record
});

/// A nightly measurement: of a commit named by a digit, so much slower in decode. Gaps scatter as
/// the fixture's do.
fn nightly(night: u64, commit: char, slower: f64) -> Record {
    let mut record = UNASKED.clone();
    for (repetition, rep) in record.repetitions.iter_mut().zip(0..) {
        for (gap_us, gap) in repetition.requests[0].gaps_us.iter_mut().zip(0..) {
            *gap_us = 500 + (night * 7 + rep * 3 + gap * 5) % 23;
        }
    }
    record.sweep = Sha256Digest::of(&night.to_be_bytes());
    record.started_ms += night * DAY_MS;
    at_commit(slowed(record, slower), commit)
}

/// Derived as received by one key, at once.
fn received_by(key: u8, records: &[Record]) -> Vec<DerivedRecord> {
    let derived = records.iter().map(|record| {
        let json = serde_json::to_vec(record).expect("JSON");
        let mut bytes = vec![key];
        bytes.extend(json);
        let received = Received {
            content_id: ContentId(Sha256Digest::of(&bytes).0),
            key_id: KeyId([key; 32]),
            tier: Tier::SelfReported,
            received_ms: record.started_ms.cast_signed() + 1_000,
            findings: Vec::new(),
        };
        derive::derive(record, received)
    });
    derived.collect()
}

fn received(records: &[Record]) -> Vec<DerivedRecord> {
    received_by(1, records)
}

/// Twelve nights of commit `a`, then so many of `b`, slower by that share.
fn changed(after: u64, slower: f64) -> Vec<Record> {
    let before = (0..12).map(|night| nightly(night, 'a', 0.0));
    before
        .chain((12..12 + after).map(|night| nightly(night, 'b', slower)))
        .collect()
}

fn told(records: &[DerivedRecord], gates: &[Arc<JudgedGate>]) -> History {
    build(records, gates, &mut Found::default())
}

/// Of decode alone: the fixture's prefill, waits and memory never change.
fn states(history: &History) -> Vec<ChangeState> {
    history
        .changes()
        .iter()
        .map(|change| change.state)
        .collect()
}

/// The fixture's cell gated between two commits.
fn gated(good: char, bad: char, effect: f64, number: u8) -> Arc<JudgedGate> {
    judged(&gate_of(good, bad, effect), number)
}

fn judged(record: &GateRecord, number: u8) -> Arc<JudgedGate> {
    let received = Received {
        content_id: ContentId([number; 32]),
        key_id: KeyId([1; 32]),
        tier: Tier::SelfReported,
        received_ms: 1_800_000_000_000 + i64::from(number),
        findings: Vec::new(),
    };
    let gate = JudgedGate::judge(record, received, [1; 32]);
    Arc::new(gate.expect("an example is no contradiction"))
}

/// The same gate by other rules.
fn by_policy(mut gate: GateRecord, rules: &str) -> GateRecord {
    let text = rules.to_owned() + &gate.policy.text;
    gate.policy.sha256 = Sha256Digest::of(text.as_bytes());
    gate.policy.text = text;
    gate
}

#[test]
fn a_gate_of_somebody_else_or_by_a_laxer_policy_says_nothing_of_a_series() {
    let records = received(&changed(12, 0.03));
    let state = |gate: &Arc<JudgedGate>| states(&told(&records, &[Arc::clone(gate)]));
    let own = gated('a', 'b', 0.03, 1);
    assert_eq!(state(&own), [ChangeState::Confirmed]);
    let mut foreign = JudgedGate::clone(&own);
    foreign.row.key_id = KeyId([9; 32]).to_string();
    assert_eq!(state(&Arc::new(foreign.clone())), [ChangeState::Certified]);
    foreign.received.tier = Tier::Farm;
    assert_eq!(state(&Arc::new(foreign)), [ChangeState::Confirmed]);
    for (lax, holds) in [
        ("alpha_percent = 20.0\n", false),
        ("beta_percent = 20.0\n", false),
        ("practical_zero_percent = 0.1\n", false),
        ("alpha_percent = 1.0\npractical_zero_percent = 0.5\n", true),
    ] {
        let gate = judged(&by_policy(gate_of('a', 'b', 0.03), lax), 1);
        assert_eq!(gate.decides(), holds, "{lax}");
    }
}

#[test]
fn what_a_gate_let_pass_within_its_tolerance_is_confirmed_and_only_what_it_excludes_is_not() {
    let small = received(&changed(12, 0.012));
    let state = |records: &[DerivedRecord], effect: f64| {
        let gate = gated('a', 'b', effect, 1);
        assert_eq!(gate.row.verdict, domain::gate::Verdict::Pass);
        states(&told(records, &[gate]))
    };
    assert_eq!(state(&small, 0.012), [ChangeState::Confirmed]);
    assert_eq!(state(&small, 0.0), [ChangeState::NotReproduced]);
    // A PASS that includes the shift but does not show it leaves things as they were.
    let better = received(&changed(12, -0.012));
    assert_eq!(state(&better, 0.012), [ChangeState::NotReproduced]);
    let sure = judged(&gate_of('a', 'b', 0.012), 1);
    let cell = CellJudgement {
        small_regression: false,
        low: Some(-0.002),
        high: Some(0.015),
        ..sure.judgement.cells[0].clone()
    };
    assert_eq!(states::reproduces(&cell, 0.012_f64.ln_1p()), None);
    assert_eq!(states::reproduces(&cell, 0.02), Some(false));
}

#[test]
fn the_same_work_on_another_backend_is_another_series() {
    let records = received(&changed(12, 0.03));
    let mut gate = gate_of('a', 'b', 0.03);
    for arm in [&mut gate.base, &mut gate.candidate] {
        arm.engine.as_mut().expect("an engine").backend = Name::cleaned("cuda");
    }
    let history = told(&records, &[judged(&gate, 1)]);
    assert_eq!(states(&history), [ChangeState::Certified]);
}

#[test]
fn another_machine_that_measured_the_same_builds_has_to_agree() {
    let with = |slower: f64, after: u64| {
        let mut elsewhere = changed(after, slower);
        for record in &mut elsewhere {
            record.hosts[0].fingerprint = Sha256Digest([3; 32]);
        }
        let mut records = received(&changed(12, 0.03));
        records.extend(received_by(2, &elsewhere));
        told(&records, &[gated('a', 'b', 0.03, 1)])
    };
    let history = with(0.0, 12);
    assert_eq!(states(&history), [ChangeState::Certified]);
    let note = history.changes()[0].note.as_ref().expect("why");
    assert!(note.contains("did not move that way"), "{note}");
    assert_eq!(
        states(&with(0.0, 2)),
        [ChangeState::Confirmed],
        "too few points there to say anything"
    );
    // A gate there that did not find it.
    let mut elsewhere = changed(12, 0.03);
    for record in &mut elsewhere {
        record.hosts[0].fingerprint = Sha256Digest([3; 32]);
    }
    let mut records = received(&changed(12, 0.03));
    records.extend(received_by(2, &elsewhere));
    let mut gate = gate_of('a', 'b', 0.0);
    gate.hosts[0].fingerprint = Sha256Digest([3; 32]);
    let mut denied = JudgedGate::clone(&judged(&gate, 2));
    denied.row.key_id = KeyId([2; 32]).to_string();
    let history = told(&records, &[gated('a', 'b', 0.03, 1), Arc::new(denied)]);
    let mut found = states(&history);
    found.sort();
    let expected = [ChangeState::Certified, ChangeState::NotReproduced];
    assert_eq!(found, expected);
}

#[test]
fn a_gate_that_decided_nothing_hides_none_in_the_ledger() {
    let mut undecided = gate_of('a', 'b', 0.03);
    undecided.stages.truncate(1);
    let undecided = judged(&undecided, 2);
    assert_eq!(undecided.row.verdict, domain::gate::Verdict::Inconclusive);
    let history = told(&[], &[undecided, gated('a', 'b', 0.011, 1)]);
    assert_eq!(history.ledger().len(), 1);
}

#[test]
fn a_series_has_its_points_in_the_order_in_which_they_were_measured() {
    let mut records = changed(2, 0.0);
    records.reverse();
    let history = told(&received(&records), &[]);
    let named = |metric: &str| {
        let found = history.series().iter().find(|one| one.row.metric == metric);
        found.unwrap_or_else(|| panic!("no series of {metric}"))
    };
    let decode = named("decode_tokens_per_second");
    assert_eq!((decode.row.points, decode.row.epochs), (14, 1));
    assert_eq!(decode.epochs[0].changed, "");
    let points: Vec<SeriesPoint> = decode.points().collect();
    assert!(points.is_sorted_by(|a, b| a.measured_seconds < b.measured_seconds));
    assert_eq!(points[0].measured_at, "2025-11-20T16:00:00.000Z");
    assert_eq!(points[13].build, "1 bbbbbbbbbbbb");
    assert_eq!(decode.row.latest, Some(points[13].value));
    assert!(points.iter().all(|point| {
        let (low, high) = (
            point.low.expect("7 repetitions"),
            point.high.expect("likewise"),
        );
        low <= point.value && point.value <= high
    }));
    for metric in ["prefill_tokens_per_second", "ttft_ms", "peak_bytes"] {
        assert_eq!(named(metric).row.points, 14);
    }
    assert_eq!(history.engines(), ["scripted"]);
    assert_eq!(
        history.one(&decode.row.id).expect("found").row.id,
        decode.row.id
    );
}

#[test]
fn where_nothing_changed_nothing_is_said() {
    let records: Vec<Record> = (0..60)
        .map(|night| nightly(night, if night < 30 { 'a' } else { 'b' }, 0.0))
        .collect();
    assert_eq!(told(&received(&records), &[]).changes(), []);
}

#[test]
fn a_planted_change_is_suspect_after_some_nights_and_certified_after_more() {
    assert_eq!(states(&told(&received(&changed(1, 0.03)), &[])), []);
    let history = told(&received(&changed(4, 0.03)), &[]);
    assert_eq!(states(&history), [ChangeState::Suspect]);
    let suspect = history.changes()[0].clone();
    let history = told(&received(&changed(12, 0.03)), &[]);
    assert_eq!(states(&history), [ChangeState::Certified]);
    let certified = &history.changes()[0];
    assert_eq!(certified.id, suspect.id, "it is the same change all along");
    assert_eq!(
        (certified.last_good.as_str(), certified.first_bad.as_str()),
        ("1 aaaaaaaaaaaa", "1 bbbbbbbbbbbb")
    );
    assert!(certified.is_regression && (certified.effect - 0.03).abs() < 0.005);
    assert!(certified.effect_over_noise.expect("it has noise") > 3.0);
    assert_eq!((certified.points_before, certified.points_after), (12, 12));
    assert_eq!(certified.at, "2025-12-02T16:00:00.000Z");
    let good = "a".repeat(40);
    let bad = "b".repeat(40);
    assert_eq!(
        certified.paired_run,
        format!(
            "git switch --detach {bad} && joulemark gate --base-ref {good} --model model.gguf --workload 16/17"
        )
    );
}

/// The paired run and the note of the one change that such records show.
fn asked_for(change: fn(&mut Record)) -> (String, Option<String>) {
    let mut records = changed(12, 0.03);
    for record in &mut records {
        change(record);
    }
    let history = told(&received(&records), &[]);
    let [found] = history.changes() else {
        panic!("one change: {:?}", history.changes());
    };
    (found.paired_run.clone(), found.note.clone())
}

#[test]
fn a_paired_run_names_what_the_reader_has_to_find_and_none_is_asked_for_that_no_gate_can_measure() {
    let (run, _) = asked_for(|record| {
        let bad = record.engine.commit.take().expect("a commit").as_str() == "b".repeat(40);
        record.engine.name = Name::cleaned("candle");
        record.engine.args = vec![Name::cleaned("threads=3")];
        record.runner.binary_sha256 = Some(Sha256Digest([if bad { 0xbb } else { 0xaa }; 32]));
        record.variant.path = None;
    });
    let weights = Sha256Digest::of(b"weights").to_string();
    let (good, bad) = ("a".repeat(12), "b".repeat(12));
    assert_eq!(
        run,
        format!(
            "joulemark gate --base 'candle:<program of candle 1 sha256:{good}>' \
             --candidate 'candle:<program of candle 1 sha256:{bad}>' \
             --model '<weights of fixture-1l F16 sha256:{}>' --workload 16/17 --threads 3",
            &weights[..12]
        )
    );
    for ask_otherwise in [
        (|record| record.workload.depth_tokens = 64) as fn(&mut Record),
        |record| record.workload.eos_banned = false,
        |record| record.workload.temperature_ppm = 700_000,
    ] {
        let (run, note) = asked_for(ask_otherwise);
        assert_eq!(run, "");
        assert!(note.expect("why").contains("no paired run can tell"));
    }
}

#[test]
fn only_a_paired_gate_confirms_and_the_newest_one_that_decided_counts() {
    let records = received(&changed(12, 0.03));
    let state = |gates: &[Arc<JudgedGate>]| states(&told(&records, gates));
    let regressed = || gated('a', 'b', 0.03, 1);
    assert_eq!(regressed().row.verdict, domain::gate::Verdict::Regressed);
    assert_eq!(state(&[regressed()]), [ChangeState::Confirmed]);
    let history = told(&records, &[regressed()]);
    let confirmed = &history.changes()[0];
    assert_eq!(confirmed.gates, [regressed().row.content_id.clone()]);
    assert_eq!(confirmed.updated_at, regressed().row.received_at);
    let same = || gated('a', 'b', 0.0, 2);
    assert_eq!(same().row.verdict, domain::gate::Verdict::Pass);
    assert_eq!(state(&[same()]), [ChangeState::NotReproduced]);
    assert_eq!(state(&[same(), regressed()]), [ChangeState::NotReproduced]);
    assert_eq!(state(&[regressed(), same()]), [ChangeState::Confirmed]);
    // Of other builds, the other way round, of other weights, or replayed: nothing.
    assert_eq!(state(&[gated('a', 'c', 0.0, 3)]), [ChangeState::Certified]);
    assert_eq!(state(&[gated('b', 'a', 0.0, 3)]), [ChangeState::Certified]);
    let spoiled: [fn(&mut GateRecord); 6] = [
        |gate| gate.seed_origin = SeedOrigin::Given,
        |gate| gate.purpose = Purpose::Compare,
        |gate| gate.purpose = Purpose::Aa,
        |gate| gate.hosts[0].fingerprint = Sha256Digest([5; 32]),
        |gate| {
            let model = &mut gate.models[0];
            for weights in [&mut model.base, &mut model.candidate] {
                weights.as_mut().expect("weights").sha256 = Sha256Digest([5; 32]);
            }
        },
        |gate| gate.cells[0].workload.as_mut().expect("one").output_tokens += 1,
    ];
    for (number, spoil) in spoiled.into_iter().enumerate() {
        let mut gate = gate_of('a', 'b', 0.0);
        spoil(&mut gate);
        assert_eq!(
            state(&[judged(&gate, 3)]),
            [ChangeState::Certified],
            "{number}"
        );
    }
    let mut quarantined = JudgedGate::clone(&same());
    quarantined.received.tier = Tier::Quarantined;
    assert_eq!(state(&[Arc::new(quarantined)]), [ChangeState::Certified]);
}

#[test]
fn a_gate_that_decides_nothing_leaves_a_change_as_it_was() {
    let records = received(&changed(12, 0.03));
    let mut undecided = gate_of('a', 'b', 0.03);
    // Without its confirmation it has not regressed.
    undecided.stages.truncate(1);
    let undecided = judged(&undecided, 1);
    assert_eq!(undecided.row.verdict, domain::gate::Verdict::Inconclusive);
    let history = told(&records, &[undecided]);
    assert_eq!(states(&history), [ChangeState::Certified]);
}

#[test]
fn what_a_gate_found_is_confirmed_before_a_trend_shows_it() {
    let records = received(&changed(1, 0.03));
    let history = told(&records, &[gated('a', 'b', 0.03, 1)]);
    assert_eq!(states(&history), [ChangeState::Confirmed]);
    let change = &history.changes()[0];
    assert!(
        change
            .note
            .as_ref()
            .expect("it says so")
            .contains("no trend")
    );
    assert!((change.effect - 0.03).abs() < 0.01, "{}", change.effect);
    let later = told(&received(&changed(12, 0.03)), &[gated('a', 'b', 0.03, 1)]);
    assert_eq!(later.changes()[0].id, change.id);
    assert_eq!(later.changes().len(), 1);
    // Of builds that are no neighbours, no series shows a change.
    assert_eq!(states(&told(&records, &[gated('0', 'b', 0.03, 1)])), []);
    assert_eq!(states(&told(&records, &[gated('a', 'b', 0.0, 1)])), []);
}

#[test]
fn an_improvement_is_confirmed_by_improved_and_contradicted_by_regressed() {
    let records = received(&changed(12, -0.03));
    let history = told(&records, &[gated('a', 'b', -0.03, 1)]);
    assert_eq!(states(&history), [ChangeState::Confirmed]);
    assert!(!history.changes()[0].is_regression);
    let contradicted = told(&records, &[gated('a', 'b', 0.03, 1)]);
    assert_eq!(states(&contradicted), [ChangeState::NotReproduced]);
}

#[test]
fn a_change_within_one_build_is_not_the_code() {
    let mut records = changed(12, 0.03);
    for record in &mut records {
        *record = at_commit(record.clone(), 'a');
    }
    let history = told(&received(&records), &[]);
    assert_eq!(states(&history), [ChangeState::Environment]);
    for record in &mut records {
        record.engine.commit = None;
    }
    // By its version alone a build is not known to be the same.
    let history = told(&received(&records), &[]);
    assert_eq!(states(&history), [ChangeState::Certified]);
    assert!(history.changes()[0].note.is_some());
}

#[test]
fn with_the_canary_it_is_the_surroundings_and_without_it_the_code() {
    let canary = |night: u64, slower: f64| {
        let mut record = nightly(night, 'f', slower);
        record.engine.name = Name::cleaned("scripted-canary");
        record
    };
    let nights = |with: f64| -> Vec<Record> {
        let records = changed(12, 0.03).into_iter().zip(0..);
        records
            .flat_map(|(record, night)| {
                let slower = if night < 12 { 0.0 } else { with };
                [record, canary(night, slower)]
            })
            .collect()
    };
    let moved = told(&received(&nights(0.03)), &[]);
    assert_eq!(states(&moved), [ChangeState::Environment]);
    assert!((moved.changes()[0].effect - 0.03).abs() < 0.005);
    let alone = told(&received(&nights(0.0)), &[]);
    assert_eq!(states(&alone), [ChangeState::Certified]);
    for history in [&moved, &alone] {
        assert_eq!(history.engines(), ["scripted"], "a canary has no series");
        let decode = &history.series()[0];
        assert!(decode.row.has_canary && decode.points().all(|point| point.canary.is_some()));
    }
    // A night without the canary is left out, and is no new epoch.
    let mut missed = nights(0.0);
    missed.remove(9);
    let history = told(&received(&missed), &[]);
    assert_eq!(history.series()[0].row.epochs, 1);
    assert_eq!(states(&history), [ChangeState::Certified]);
}

#[test]
fn a_new_kernel_begins_an_epoch_and_is_no_change() {
    let mut records = changed(12, 0.03);
    for record in &mut records[12..] {
        record.hosts[0].kernel = Some(Name::cleaned("6.18.1"));
        record.runner.version = Name::cleaned("0.2.0");
    }
    let history = told(&received(&records), &[]);
    assert_eq!(states(&history), []);
    let epochs = &history.series()[0].epochs;
    assert_eq!(epochs.len(), 2);
    assert_eq!(
        epochs[1].changed,
        "runner: 0.1.0 to 0.2.0; kernel: not recorded to 6.18.1"
    );
    assert_eq!(epochs[1].begins_at, "2025-12-02T16:00:00.000Z");
}

#[test]
fn a_change_that_is_taken_back_went_away() {
    let commit = |night| match night {
        0..40 => ('a', 0.0),
        40..52 => ('b', 0.03),
        _ => ('c', 0.0),
    };
    let records: Vec<Record> = (0..64)
        .map(|night| nightly(night, commit(night).0, commit(night).1))
        .collect();
    let history = told(&received(&records), &[]);
    let mut found = states(&history);
    found.sort();
    assert_eq!(found, [ChangeState::Certified, ChangeState::WentAway]);
    let gone = history.changes().iter().find(|change| change.is_regression);
    let gone = gone.expect("the slow-down");
    assert_eq!(gone.state, ChangeState::WentAway);
    assert!(gone.note.as_ref().expect("since when").contains("cccc"));
}

#[test]
fn another_machine_that_moved_the_other_way_takes_the_confirmation_back() {
    let mut elsewhere = changed(12, -0.03);
    for record in &mut elsewhere {
        record.hosts[0].fingerprint = Sha256Digest([3; 32]);
    }
    let mut records = received(&changed(12, 0.03));
    records.extend(received_by(2, &elsewhere));
    let history = told(&records, &[gated('a', 'b', 0.03, 1)]);
    assert_eq!(states(&history), [ChangeState::Certified; 2]);
    let here = history.changes().iter().find(|change| change.is_regression);
    let here = here.expect("the slow-down");
    assert!(here.note.as_ref().expect("why").contains("the other way"));
    assert_eq!(here.gates.len(), 1);
    assert_eq!(history.changes()[0].group, history.changes()[1].group);
    let mut agreeing = received(&changed(12, 0.03));
    let mut elsewhere = changed(12, 0.02);
    for record in &mut elsewhere {
        record.hosts[0].fingerprint = Sha256Digest([3; 32]);
    }
    agreeing.extend(received_by(2, &elsewhere));
    let history = told(&agreeing, &[gated('a', 'b', 0.03, 1)]);
    let expected = [ChangeState::Confirmed, ChangeState::Certified];
    assert_eq!(states(&history), expected);
}

#[test]
fn nobody_elses_records_enter_a_series_and_no_quarantined_ones() {
    let mut records = received(&changed(12, 0.0));
    records.extend(received_by(2, &changed(12, 0.03)[12..]));
    let history = told(&records, &[]);
    assert_eq!(states(&history), []);
    let decode = history.series().iter();
    let decode = decode.filter(|one| one.row.metric == "decode_tokens_per_second");
    assert_eq!(
        decode.map(|one| one.row.points).collect::<Vec<_>>(),
        [24, 12]
    );
    let mut planted = received(&changed(12, 0.03));
    for record in &mut planted[12..] {
        record.received.tier = Tier::Quarantined;
    }
    let history = told(&planted, &[]);
    assert_eq!(history.series()[0].row.points, 12);
}

#[test]
fn one_among_very_many_of_a_day_stays_suspect() {
    // Workloads that do not change: their series are tested on the same days.
    let others = (0..30).flat_map(|other| {
        (0..24).map(move |night| {
            let mut record = nightly(night, if night < 12 { 'a' } else { 'b' }, 0.0);
            record.workload.prompt_tokens += 1 + other;
            record.workload.id = format!("other-{other}").parse().expect("a slug");
            record
        })
    });
    let mut records = changed(12, 0.03);
    records.extend(others);
    let history = told(&received(&records), &[]);
    let planted: Vec<&ChangeRow> = (history.changes().iter())
        .filter(|change| change.series.workload == "pp16-tg17")
        .collect();
    assert_eq!(planted.len(), 1);
    assert_eq!(planted[0].state, ChangeState::Suspect);
    let note = planted[0].note.as_ref().expect("why");
    assert!(note.contains("of that day"), "{note}");
}

#[test]
fn a_machine_that_is_gone_is_searched_by_chunks() {
    let gone = changed(12, 0.03);
    let mut elsewhere = nightly(24 + 92, 'b', 0.0);
    elsewhere.hosts[0].fingerprint = Sha256Digest([3; 32]);
    let mut records = gone.clone();
    let before = states(&told(&received(&records), &[]));
    records.push(elsewhere);
    let after = told(&received(&records), &[]);
    assert_eq!(before, [ChangeState::Certified]);
    // Five chunks have too few orders to be certain; the suspicion stays and says why.
    assert_eq!(states(&after), [ChangeState::Suspect]);
    let note = after.changes()[0].note.as_ref().expect("why");
    assert!(note.starts_with("unconfirmed"), "{note}");
}

#[test]
fn a_rebuild_searches_only_what_grew_and_says_the_same() {
    let mut found = Found::default();
    let records = received(&changed(12, 0.03));
    let first = build(&records, &[], &mut found);
    let searched = found.searched();
    let again = build(&records, &[], &mut found);
    assert_eq!(first.changes(), again.changes());
    assert_eq!((found.searched(), found.searched_anew()), (searched, 0));
    let more = received(&changed(13, 0.03));
    build(&more, &[], &mut found);
    // Decode, prefill, waits and memory each have one more point.
    assert_eq!((found.searched(), found.searched_anew()), (searched, 4));
    let mut shuffled = records.clone();
    shuffled.reverse();
    let other_order = told(&shuffled, &[]);
    assert_eq!(first.changes(), other_order.changes());
}

#[test]
fn hostile_names_stay_names() {
    let hostile = "x'; rm -rf ~; '$(id)` <script>";
    let mut records = changed(12, 0.03);
    for record in &mut records {
        record.engine.name = Name::cleaned(hostile);
        record.engine.commit = None;
        record.variant.path = Some(Name::cleaned("-o'evil'.gguf"));
    }
    let history = told(&received(&records), &[]);
    let change = &history.changes()[0];
    let slug = &change.series.engine_slug;
    assert!(
        slug.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
        "{slug}"
    );
    // Every quote of the names is closed and opened again around an escaped one.
    assert!(
        change
            .paired_run
            .contains(r"--base '<command of x'\''; rm -rf ~; '\''$(id)` <script> 1>'")
    );
    assert!(change.paired_run.contains(r"--model '-o'\''evil'\''.gguf'"));
}

#[test]
fn what_passed_although_it_was_worse_is_summed_up_once_per_pair() {
    let small = |good, bad, number| {
        let gate = gated(good, bad, 0.011, number);
        assert!(
            gate.judgement.cells[0].small_regression,
            "{:?}",
            gate.judgement
        );
        gate
    };
    let gates = [
        small('b', 'c', 4),
        small('a', 'b', 3),
        small('a', 'b', 2),
        gated('c', 'd', 0.0, 1),
    ];
    let history = told(&[], &gates);
    let [row] = history.ledger() else {
        panic!("one row: {:?}", history.ledger());
    };
    assert_eq!((row.gates, row.cell.as_str()), (2, "fixture-1l pp16-tg17"));
    assert!(
        (row.sum_ln - 2.0 * 0.011_f64.ln_1p()).abs() < 0.004,
        "{row:?}"
    );
    assert!((row.effect - row.sum_ln.exp_m1()).abs() < 1e-12);
    assert_eq!(row.engine_slug, "scripted");
}

#[test]
fn joules_and_engine_clocks_are_followed_where_they_were_measured() {
    let records = received(&[fixtures::metered(1)]);
    assert_eq!(records[0].energy.missing, None);
    let history = told(&records, &[]);
    let joules = history.series().iter();
    let mut joules = joules.filter(|one| one.row.metric == "joules_per_output_token");
    let one = joules.next().expect("a series of joules");
    assert_eq!(one.row.energy_scope.as_deref(), Some("wall.ac"));
    let point = one.points().next().expect("a point");
    // 60 W at the plug while 800 tokens of 4 s are decoded, prefill taken off.
    let decode = records[0].energy.headline().expect("metered");
    let decode = decode
        .joules
        .as_ref()
        .expect("joules")
        .phases
        .decode
        .as_ref();
    let same = decode.expect("decode").per_token().0;
    assert_eq!(point.value.to_bits(), same.to_bits());
    let timed = |metric: &str| history.series().iter().any(|one| one.row.metric == metric);
    assert!(
        !timed("engine_decode_tokens_per_second"),
        "the runner timed it"
    );
}
