//! Every verdict, by records that are made for it.

use super::*;
use crate::corpus;
use crate::gate::fixtures::{Example, set_values};
use crate::gate::record::{
    Block, Failure, Greedy, QualityEvidence, Slot, Stage, UnavailableMetric,
};
use crate::gate::{Arm, coin};
use crate::ids::Sha256Digest;
use crate::json::parse_strict;
use crate::suite::Suite;
use crate::text::Name;
use proptest::prelude::*;

mod doubt;
mod shapes;

const LABEL: &str = "mini pp64-tg64";

fn judged(record: &GateRecord) -> Judgement {
    judge(record).expect("the record can be judged")
}

/// A gate of one cell, decode, that costs so much more.
fn of_effect(effect: f64) -> Example {
    Example::of("mini", "pp64-tg64", &[(Metric::Decode, effect)])
}

/// One that regressed, and regressed again.
fn regressed() -> Example {
    Example {
        confirmation: 16,
        ..of_effect(0.04)
    }
}

/// Values on two sides of `centre` in turn.
fn two_sided(centre: f64, spread: f64, blocks: usize) -> Vec<f64> {
    (0..blocks)
        .map(|at| centre + if at % 2 == 0 { spread } else { -spread })
        .collect()
}

/// A gate of 16 blocks that decide nothing, though 32 like them would.
fn undecided() -> GateRecord {
    let mut record = of_effect(0.0).record();
    let values = two_sided(0.012, 0.015, 16);
    set_values(
        &mut record,
        StageKind::Measuring,
        0,
        Metric::Decode,
        &values,
    );
    record
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a short plain text")
}

fn slots(record: &mut GateRecord) -> impl Iterator<Item = &mut Slot> {
    (record.stages.iter_mut())
        .flat_map(|stage| &mut stage.blocks)
        .flat_map(|block| &mut block.slots)
}

fn fail(record: &mut GateRecord, kind: FailureKind) {
    record.failure = Some(Failure {
        arm: Some(Arm::Candidate),
        kind,
        what: name("it died in block 9"),
    });
}

#[test]
fn what_did_not_change_passes() {
    let judgement = judged(&of_effect(0.0).record());
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert_eq!(judgement.exit_code, 0);
    assert_eq!(judgement.cells.len(), 1);
    assert_eq!(judgement.multiplicity, 1);
    assert!(
        judgement.headline.starts_with("PASS: nothing is worse"),
        "{}",
        judgement.headline
    );
    let cell = &judgement.cells[0];
    assert_eq!(cell.blocks, 12);
    assert!(cell.high.expect("12 blocks bound it") < 0.02);
    assert!((cell.base_cost.expect("measured") / 5e6 - 1.0).abs() < 0.01);
    assert!(cell.mde.expect("a look was taken") > 0.005);
}

#[test]
fn what_got_faster_improved() {
    let judgement = judged(&of_effect(-0.05).record());
    assert_eq!(judgement.verdict, Verdict::Improved);
    assert_eq!(judgement.exit_code, 0);
    assert!(
        judgement.headline.contains("% faster ("),
        "{}",
        judgement.headline
    );
}

#[test]
fn what_got_slower_twice_regressed() {
    let judgement = judged(&regressed().record());
    assert_eq!(judgement.verdict, Verdict::Regressed);
    assert_eq!(judgement.exit_code, 1);
    let cell = &judgement.cells[0];
    let second = cell.confirmation.as_ref().expect("it was measured again");
    assert_eq!(second.verdict, Verdict::Regressed);
    assert!((cell.effect.expect("measured") - 0.04).abs() < 0.01);
    assert!(
        judgement
            .headline
            .starts_with("REGRESSED: decode of mini pp64-tg64 is")
            && judgement.headline.contains("% slower (")
            && judgement
                .headline
                .ends_with("confirmed by a second measurement"),
        "{}",
        judgement.headline
    );
}

#[test]
fn what_blocks_do_not_tell_is_inconclusive_with_the_minutes_that_would() {
    let record = undecided();
    let judgement = judged(&record);
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
    assert_eq!(judgement.exit_code, 3);
    let cell = &judgement.cells[0];
    assert_eq!((cell.blocks, cell.reason.as_deref()), (16, None));
    // 16 more blocks of four slots of 1.1 seconds.
    let minutes = cell.minutes_to_settle.expect("32 blocks like these decide");
    assert!((minutes - 16.0 * 4.4 / 60.0).abs() < 1e-9, "{minutes}");
    assert_eq!(
        judgement.headline,
        "INCONCLUSIVE: could have detected 2.2 % in decode of mini pp64-tg64, asked for 2 %; \
         2 more minutes would settle it (--continue)"
    );
    assert_eq!(
        unsettled(&record, StageKind::Measuring).expect("judged"),
        [] as [u32; 0]
    );
}

#[test]
fn where_no_look_would_settle_it_that_is_said() {
    let mut record = of_effect(0.0).record();
    let values: Vec<f64> = (two_sided(0.0, 0.3, 16).into_iter().enumerate())
        .map(|(at, value)| 0.012 + value * (at / 2 + 1) as f64 / 8.0)
        .collect();
    set_values(
        &mut record,
        StageKind::Measuring,
        0,
        Metric::Decode,
        &values,
    );
    let judgement = judged(&record);
    assert_eq!(judgement.cells[0].minutes_to_settle, None);
    assert!(
        judgement.headline.contains("even 48 blocks like these"),
        "{}",
        judgement.headline
    );
}

#[test]
fn too_few_blocks_decide_nothing() {
    let record = Example {
        blocks: 11,
        ..of_effect(0.0)
    }
    .record();
    let judgement = judged(&record);
    assert_eq!(judgement.exit_code, 3);
    assert!(
        judgement.headline.contains("has 11 blocks, too few"),
        "{}",
        judgement.headline
    );
    let cell = &judgement.cells[0];
    assert!(cell.effect.is_some() && cell.low.is_none() && cell.mde.is_none());
    assert_eq!(
        unsettled(&record, StageKind::Measuring).expect("judged"),
        [0]
    );
}

#[test]
fn what_a_second_measurement_does_not_say_again_is_not_confirmed() {
    let example = regressed();
    let absent = Example {
        confirmation: 0,
        ..example.clone()
    };
    let short = Example {
        confirmation: 11,
        ..example.clone()
    };
    let mut denied = example.record();
    let nothing = two_sided(0.0, 0.001, 16);
    set_values(
        &mut denied,
        StageKind::Confirmation,
        0,
        Metric::Decode,
        &nothing,
    );
    for (record, needs) in [
        (absent.record(), true),
        (short.record(), true),
        (denied, false),
    ] {
        let judgement = judged(&record);
        assert_eq!(judgement.exit_code, 3);
        assert_eq!(judgement.cells[0].verdict, Verdict::Inconclusive);
        assert_eq!(judgement.cells[0].reason.as_deref(), Some("not-confirmed"));
        assert!(
            judgement.headline.contains("second measurement"),
            "{}",
            judgement.headline
        );
        let wanted: &[u32] = if needs { &[0] } else { &[] };
        let models = unsettled(&record, StageKind::Confirmation).expect("judged");
        assert_eq!(models, wanted);
    }
}

#[test]
fn what_blocks_of_another_stage_say_does_not_decide_this_one() {
    // The first measurement passes: a confirmation that would regress is not asked.
    let mut record = regressed().record();
    let nothing = two_sided(0.0, 0.001, 16);
    set_values(
        &mut record,
        StageKind::Measuring,
        0,
        Metric::Decode,
        &nothing,
    );
    let judgement = judged(&record);
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert_eq!(judgement.cells[0].confirmation, None);
}

#[test]
fn the_confirmation_divides_the_error_over_what_regressed() {
    let of = |effects: &[(Metric, f64)]| {
        let mut record = Example {
            confirmation: 12,
            ..Example::of("mini", "pp64-tg64", effects)
        }
        .record();
        // Of 12 blocks only the seventh in size is below the practical zero: W is 7. At the first
        // look one cell's part of 5 % lets W be 7, half of it no more than 5.
        let zero = 0.005_f64.ln_1p();
        let values: Vec<f64> = (1..=12)
            .map(|size| zero + 0.004 * f64::from(if size == 7 { -size } else { size }))
            .collect();
        for (metric, _) in effects {
            let kind = StageKind::Confirmation;
            set_values(&mut record, kind, 0, *metric, &values);
        }
        judged(&record)
    };
    assert_eq!(of(&[(Metric::Decode, 0.04)]).exit_code, 1);
    let both = of(&[(Metric::Decode, 0.04), (Metric::Prefill, 0.04)]);
    assert_eq!(both.exit_code, 3);
    for cell in &both.cells {
        assert_eq!(cell.reason.as_deref(), Some("not-confirmed"));
    }
}

/// Two programs, and a policy that says how the base is linked again.
fn relinked(layout: u32) -> GateRecord {
    let mut record = Example {
        layout,
        policy: "[arms]\nkind = \"candle\"\nbuild = [\"make\"]\nrun = \"out/program\"\n\
                 layout_build = [\"make ORDER={seed}\"]\n"
            .to_owned(),
        ..regressed()
    }
    .record();
    record.candidate.binary_sha256 = Some(Sha256Digest::of(b"another program"));
    record
}

#[test]
fn a_regression_that_another_order_of_linking_makes_too_is_layout_sensitive() {
    let mut record = relinked(16);
    let judgement = judged(&record);
    assert_eq!(judgement.verdict, Verdict::Regressed);
    assert_eq!(judgement.notes, [] as [String; 0]);

    let half = two_sided(-0.03, 0.001, 16);
    set_values(&mut record, StageKind::Layout, 0, Metric::Decode, &half);
    let judgement = judged(&record);
    assert_eq!(judgement.exit_code, 3);
    assert_eq!(
        judgement.cells[0].reason.as_deref(),
        Some("layout-sensitive")
    );
    assert!(
        judgement.headline.contains("another order"),
        "{}",
        judgement.headline
    );
}

#[test]
fn a_regression_whose_layout_could_not_be_told_stands_with_a_note() {
    let mut record = relinked(15);
    let needs = |record: &GateRecord| unsettled(record, StageKind::Layout).expect("judged");
    assert_eq!(needs(&record), [0]);
    let judgement = judged(&record);
    assert_eq!(judgement.verdict, Verdict::Regressed);
    assert!(judgement.notes[0].contains("not measured to the end"));

    record.stages[2].unavailable = Some(name("the linker takes no order"));
    assert_eq!(needs(&record), [] as [u32; 0]);
    let judgement = judged(&record);
    assert_eq!(judgement.verdict, Verdict::Regressed);
    assert!(judgement.notes[0].contains("the linker takes no order"));

    let mut same = relinked(0);
    same.candidate.binary_sha256 = same.base.binary_sha256;
    assert_eq!(needs(&same), [] as [u32; 0]);
    assert_eq!(judged(&same).notes, [] as [String; 0]);
}

/// Six models, one cell each.
fn six(effect: f64, sd: f64) -> Example {
    let mut example = Example::of("model-0", "pp64-tg64", &[(Metric::Decode, effect)]);
    for at in 1..6 {
        let model = format!("model-{at}");
        example = example.with(&model, "pp64-tg64", &[(Metric::Decode, effect)]);
    }
    example.block_sd = sd;
    example.blocks = 24;
    example.last_look = 24;
    example
}

#[test]
fn the_mean_over_cells_sees_a_slow_down_of_all_that_no_cell_sees() {
    let mut record = Example {
        confirmation: 24,
        ..six(0.0, 0.01)
    }
    .record();
    for kind in [StageKind::Measuring, StageKind::Confirmation] {
        for cell in 0..6 {
            // Three are high where three are low: their mean is steady.
            let spread = if cell % 2 == 0 { 0.05 } else { -0.05 };
            let values = two_sided(0.03, spread, 24);
            set_values(&mut record, kind, cell, Metric::Decode, &values);
        }
    }
    let judgement = judged(&record);
    assert_eq!(judgement.verdict, Verdict::Regressed);
    assert_eq!(judgement.exit_code, 1);
    assert_eq!(judgement.multiplicity, 6);
    let worst = &judgement.cells[0];
    assert_eq!((worst.label.as_str(), worst.blocks), (ALL_CELLS, 12));
    assert!((worst.effect.expect("measured") - 0.03_f64.exp_m1()).abs() < 1e-6);
    let others = &judgement.cells[1..];
    assert!(
        others
            .iter()
            .all(|cell| cell.verdict == Verdict::Inconclusive)
    );

    record.stages.pop();
    let models = unsettled(&record, StageKind::Confirmation).expect("judged");
    assert_eq!(models, [0, 1, 2, 3, 4, 5]);
    let judgement = judged(&record);
    let mean = judgement.cells.iter().find(|cell| cell.label == ALL_CELLS);
    let mean = mean.expect("there are six cells");
    assert_eq!(mean.reason.as_deref(), Some("not-confirmed"));
    assert_eq!(judgement.exit_code, 3);
}

#[test]
fn an_undecided_mean_over_cells_holds_nothing_up() {
    let mut record = Example {
        blocks: 16,
        last_look: 16,
        ..six(0.0, 0.004)
    }
    .record();
    for cell in 0..6 {
        // One wild block of 16 does not keep a cell from passing; six of them keep the mean.
        let mut values = two_sided(0.0, 0.001, 16);
        values[2 * cell as usize] = 0.5;
        set_values(
            &mut record,
            StageKind::Measuring,
            cell,
            Metric::Decode,
            &values,
        );
    }
    let judgement = judged(&record);
    assert_eq!((judgement.verdict, judgement.exit_code), (Verdict::Pass, 0));
    let open: Vec<&CellJudgement> = (judgement.cells.iter())
        .filter(|cell| cell.verdict != Verdict::Pass)
        .collect();
    assert_eq!(open.len(), 1);
    assert_eq!(
        (open[0].label.as_str(), open[0].verdict),
        (ALL_CELLS, Verdict::Inconclusive)
    );
}

#[test]
fn one_regressed_cell_fails_the_gate_whatever_the_others_are() {
    let mut record = Example {
        confirmation: 24,
        ..six(0.0, 0.004)
    }
    .record();
    for kind in [StageKind::Measuring, StageKind::Confirmation] {
        let worse = two_sided(0.05, 0.001, 24);
        set_values(&mut record, kind, 3, Metric::Decode, &worse);
    }
    let open = two_sided(0.012, 0.06, 24);
    set_values(&mut record, StageKind::Measuring, 1, Metric::Decode, &open);
    let judgement = judged(&record);
    assert_eq!(
        (judgement.verdict, judgement.exit_code),
        (Verdict::Regressed, 1)
    );
    assert_eq!(judgement.cells[0].model, "model-3");
    assert_eq!(judgement.cells[1].verdict, Verdict::Inconclusive);
    assert_eq!(judgement.cells[1].model, "model-1");
    let blocks = block_values(&record);
    assert_eq!(blocks.len(), judgement.cells.len());
    for (values, cell) in blocks.iter().zip(&judgement.cells) {
        assert_eq!((&values.label, values.metric), (&cell.label, cell.metric));
    }
    assert!((blocks[0].values[0] - 0.051).abs() < 1e-6);
}

#[test]
fn a_small_regression_passes_and_is_told() {
    let mut record = of_effect(0.0).record();
    let values = two_sided(0.012, 0.001, 16);
    set_values(
        &mut record,
        StageKind::Measuring,
        0,
        Metric::Decode,
        &values,
    );
    let judgement = judged(&record);
    assert_eq!((judgement.verdict, judgement.exit_code), (Verdict::Pass, 0));
    assert!(judgement.cells[0].small_regression);
    assert!(judgement.notes[0].contains("small regression, 1.2 %"));
    assert!(
        judgement
            .headline
            .ends_with("one small regression within its tolerance")
    );
}

fn waived(limit_percent: f64, expires: &str) -> Judgement {
    let policy = format!(
        "[[waivers]]\ncell = {LABEL:?}\nmetric = \"decode\"\nlimit_percent = {limit_percent:.1}\n\
         reason = \"a safer kernel\"\nexpires = {expires}\n"
    );
    judged(
        &Example {
            policy,
            ..regressed()
        }
        .record(),
    )
}

#[test]
fn a_waiver_in_force_keeps_a_regression_from_failing_but_not_from_being_seen() {
    // The gate ran on 2026-05-01, which is the last day.
    let judgement = waived(8.0, "2026-05-01");
    assert_eq!((judgement.verdict, judgement.exit_code), (Verdict::Pass, 0));
    let cell = &judgement.cells[0];
    assert_eq!(cell.verdict, Verdict::Regressed);
    let words = cell.waived.as_ref().expect("it is waived");
    assert!(
        words.contains("8.0 %") && words.contains("a safer kernel"),
        "{words}"
    );
    assert!(
        judgement
            .notes
            .iter()
            .any(|note| note.contains("is waived"))
    );
}

#[test]
fn a_waiver_that_is_over_or_too_narrow_waives_nothing() {
    let over = waived(8.0, "2026-04-30");
    assert_eq!(over.exit_code, 1);
    assert!(
        over.notes
            .iter()
            .any(|note| note.contains("expired on 2026-04-30"))
    );
    // The estimate is 4 %, its upper limit more.
    let narrow = waived(4.0, "2026-12-31");
    assert_eq!(narrow.exit_code, 1);
    assert_eq!(narrow.cells[0].waived, None);
}

#[test]
fn a_comparison_describes_and_fails_nobody() {
    let record = Example {
        purpose: Purpose::Compare,
        ..of_effect(0.04)
    }
    .record();
    let judgement = judged(&record);
    assert_eq!(judgement.exit_code, 0);
    assert_eq!(judgement.cells[0].verdict, Verdict::Regressed);
    assert!(
        judgement
            .headline
            .starts_with("compared: decode of mini pp64-tg64 is"),
        "{}",
        judgement.headline
    );
    let needs = |kind| unsettled(&record, kind).expect("judged");
    assert_eq!(needs(StageKind::Confirmation), [] as [u32; 0]);
    let mut died = record.clone();
    fail(&mut died, FailureKind::Infrastructure);
    assert_eq!(judged(&died).exit_code, 5);
}

#[test]
fn a_record_that_is_read_back_is_judged_the_same() {
    for record in [regressed().record(), undecided(), six(0.01, 0.02).record()] {
        let bytes = serde_json::to_vec(&record).expect("records are JSON");
        let read: GateRecord = parse_strict(&bytes).expect("its own words");
        assert_eq!(read, record);
        assert_eq!(judged(&read), judged(&record));
    }
}

#[test]
fn a_typed_seed_and_a_foreign_policy_are_noted() {
    let mut record = of_effect(0.0).record();
    record.seed_origin = SeedOrigin::Given;
    record.policy.origin = PolicyOrigin::File;
    let notes = judged(&record).notes;
    assert!(
        notes[0].contains("a replay") && notes[1].contains("was named"),
        "{notes:?}"
    );
}

#[test]
fn later_blocks_do_not_move_a_cell_that_is_decided() {
    let twelve = judged(
        &Example {
            blocks: 12,
            ..of_effect(0.0)
        }
        .record(),
    );
    let mut record = of_effect(0.0).record();
    let mut values: Vec<f64> = block_values(&record)[0].values.clone();
    values[12..].fill(0.5);
    set_values(
        &mut record,
        StageKind::Measuring,
        0,
        Metric::Decode,
        &values,
    );
    let judgement = judged(&record);
    assert_eq!(judgement.verdict, Verdict::Pass);
    let difference =
        judgement.cells[0].effect.expect("measured") - twelve.cells[0].effect.expect("measured");
    assert!(difference.abs() < 1e-6, "{difference}");
}

/// Evidence of answers that are the same, or of tokens that are not.
fn evidence(is_same: bool) -> QualityEvidence {
    let of = |text: &str| Sha256Digest::of(text.as_bytes());
    let candidate = if is_same { "the same" } else { "another" };
    QualityEvidence {
        model: 0,
        corpus_sha256: Sha256Digest(corpus::digest(Suite::ReferenceV1)),
        greedy: Some(Greedy {
            documents: corpus::documents(Suite::ReferenceV1).len() as u32,
            tokens: 1_000,
            base_tokens_sha256: of("the same"),
            candidate_tokens_sha256: of(candidate),
            base_logits_sha256: Some(of("the same")),
            candidate_logits_sha256: Some(of(candidate)),
        }),
        forced: None,
        items: None,
        unavailable: None,
    }
}

fn asking_of_answers() -> Example {
    Example {
        policy: "[quality]\nsuite = \"reference-v1\"\nitems = 420\n".to_owned(),
        ..of_effect(0.0)
    }
}

#[test]
fn answers_that_are_the_same_pass() {
    let mut record = asking_of_answers().record();
    record.quality = vec![evidence(true)];
    let judgement = judged(&record);
    assert_eq!((judgement.verdict, judgement.exit_code), (Verdict::Pass, 0));
    assert_eq!(judgement.quality[0].rung, Some(1));
}

#[test]
fn answers_that_were_not_compared_to_the_end_invalidate_what_requires_them() {
    let mut record = asking_of_answers().record();
    let judgement = judged(&record);
    assert_eq!(
        (judgement.verdict, judgement.exit_code),
        (Verdict::Invalid, 4)
    );
    assert!(judgement.findings[0].contains("the answers of mini were not compared"));
    record.quality = vec![evidence(false)];
    assert_eq!(judged(&record).exit_code, 4);

    let mut shown = Example {
        policy_head: "required = [\"speed\"]".to_owned(),
        ..asking_of_answers()
    }
    .record();
    shown.quality = vec![evidence(false)];
    let judgement = judged(&shown);
    assert_eq!(judgement.exit_code, 0);
    assert!(judgement.notes[0].contains("the answers of mini"));
}

#[test]
fn outputs_of_commands_that_differ_leave_required_answers_open() {
    let mut record = Example {
        policy: asking_of_answers().policy,
        ..Example::of("sh", "", &[(Metric::Time, 0.0)])
    }
    .record();
    for slot in slots(&mut record) {
        slot.output_sha256 = Some(Sha256Digest::of(b"42"));
    }
    assert_eq!(judged(&record).exit_code, 0);
    // Another output, and none at all, which is no less another.
    for other in [Some(Sha256Digest::of(b"43")), None] {
        for slot in slots(&mut record).filter(|slot| slot.arm == Arm::Candidate) {
            slot.output_sha256 = other;
        }
        let judgement = judged(&record);
        assert_eq!(
            (judgement.verdict, judgement.exit_code),
            (Verdict::Inconclusive, 3)
        );
        assert!(
            judgement.headline.contains("put out different things"),
            "{}",
            judgement.headline
        );
    }
    // One block in which the candidate kept silent once.
    for slot in slots(&mut record) {
        slot.output_sha256 = Some(Sha256Digest::of(b"42"));
    }
    let silent = slots(&mut record).find(|slot| slot.arm == Arm::Candidate);
    silent.expect("there are slots").output_sha256 = None;
    assert_eq!(judged(&record).exit_code, 3);

    let mut unasked = of_effect(0.0).record();
    for (at, slot) in (0_usize..).zip(slots(&mut unasked)) {
        slot.output_sha256 = Some(Sha256Digest::of(&at.to_be_bytes()));
    }
    let judgement = judged(&unasked);
    assert_eq!(judgement.exit_code, 0);
    assert!(judgement.notes[0].contains("in 16 of 16 blocks"));
}

/// Two commands of equal cost, one of which puts out what it is told to in every slot.
fn commands(base: Option<&str>, candidate: Option<&str>) -> GateRecord {
    let mut record = Example::of("sh", "", &[(Metric::Time, 0.0)]).record();
    for slot in slots(&mut record) {
        let text = match slot.arm {
            Arm::Base => base,
            Arm::Candidate => candidate,
        };
        slot.output_sha256 = text.map(|text| Sha256Digest::of(text.as_bytes()));
    }
    record
}

#[test]
fn commands_that_do_not_compute_the_same_are_no_pair() {
    for same in [Some("42"), None] {
        assert_eq!(judged(&commands(same, same)).exit_code, 0);
    }
    // Another output, and none where the base has one.
    for other in [Some("43"), None] {
        let judgement = judged(&commands(Some("42"), other));
        assert_eq!(
            (judgement.verdict, judgement.exit_code),
            (Verdict::Invalid, 4)
        );
        assert_eq!(judgement.cells[0].verdict, Verdict::Invalid);
        assert!(
            judgement.findings[0].contains("do not compute the same: in 16 of 16 blocks"),
            "{:?}",
            judgement.findings
        );
        assert_eq!(judgement.notes, [] as [String; 0]);
    }
    // Once is enough: the base never did.
    let mut once = commands(Some("42"), Some("42"));
    let slot = slots(&mut once).find(|slot| slot.arm == Arm::Candidate);
    slot.expect("there are slots").output_sha256 = Some(Sha256Digest::of(b"43"));
    assert_eq!(judged(&once).exit_code, 4);
    // It is known after a block, and nobody waits for more.
    let mut first = commands(Some("42"), Some("43"));
    first.stages[0].blocks.truncate(1);
    let needs = |record: &GateRecord| unsettled(record, StageKind::Measuring).expect("judged");
    assert_eq!(needs(&first), [] as [u32; 0]);
    first.stages[0].blocks = commands(Some("42"), Some("42")).stages[0].blocks[..1].to_vec();
    assert_eq!(needs(&first), [0]);
    // Nor is what was slower at it a regression of the same work.
    let mut slower = commands(Some("42"), Some("43"));
    let values = two_sided(0.05, 0.001, 16);
    set_values(&mut slower, StageKind::Measuring, 0, Metric::Time, &values);
    assert_eq!(judged(&slower).exit_code, 4);
}

#[test]
fn outputs_that_nothing_can_be_held_against_are_noted() {
    let mut restless = commands(None, Some("42"));
    let silent = judged(&restless);
    for (at, slot) in (0_usize..).zip(slots(&mut restless)) {
        slot.output_sha256 = Some(Sha256Digest::of(&at.to_be_bytes()));
    }
    // One that compares two ways to two answers, and one that allows them.
    let compared = GateRecord {
        purpose: Purpose::Compare,
        ..commands(Some("42"), Some("43"))
    };
    let mut allowed = Example {
        policy_head: "required = [\"speed\"]".to_owned(),
        policy: asking_of_answers().policy,
        ..Example::of("sh", "", &[(Metric::Time, 0.0)])
    }
    .record();
    allowed.stages = commands(Some("42"), Some("43")).stages;
    for judgement in [
        silent,
        judged(&restless),
        judged(&compared),
        judged(&allowed),
    ] {
        assert_eq!(judgement.exit_code, 0, "{:?}", judgement.findings);
        assert!(
            judgement
                .notes
                .iter()
                .any(|note| note.contains("16 of 16 blocks")),
            "{:?}",
            judgement.notes
        );
    }
}

#[test]
fn answers_that_are_the_same_only_where_nobody_times_them_are_other_work() {
    let with = |put_out: &dyn Fn(usize, Arm) -> String| {
        let mut record = asking_of_answers().record();
        record.quality = vec![evidence(true)];
        for (at, slot) in (0_usize..).zip(slots(&mut record)) {
            let text = put_out(at, slot.arm);
            slot.output_sha256 = Some(Sha256Digest::of(text.as_bytes()));
        }
        judged(&record)
    };
    // Every block is asked another text, which both arms answer alike.
    assert_eq!(with(&|at, _| format!("{}", at / 4)).exit_code, 0);
    let judgement = with(&|at, arm| format!("{} {}", at / 4, arm.as_str()));
    assert_eq!(
        (judgement.verdict, judgement.exit_code),
        (Verdict::Invalid, 4)
    );
    assert!(
        judgement.findings[0].contains("identical on the fixed texts")
            && judgement.findings[0].contains("in 16 of 16 blocks"),
        "{:?}",
        judgement.findings
    );
    // Where the base does not repeat itself nothing can be said.
    assert_eq!(with(&|at, _| at.to_string()).exit_code, 0);
}

#[test]
fn timed_outputs_of_an_engine_do_not_stand_for_its_answers() {
    let mut record = asking_of_answers().record();
    for slot in slots(&mut record) {
        slot.output_sha256 = Some(Sha256Digest::of(b"42"));
    }
    let judgement = judged(&record);
    assert_eq!(judgement.exit_code, 4);
    assert!(judgement.quality.is_empty());
    assert!(judgement.findings[0].contains("the answers of mini were not compared"));
}

fn rank(judgement: &Judgement) -> u8 {
    match judgement.verdict {
        Verdict::Improved => 0,
        Verdict::Pass => 1,
        Verdict::Inconclusive => 2,
        Verdict::Regressed => 3,
        Verdict::Invalid => 4,
    }
}

/// A gate and its confirmation of these blocks.
fn of_values(first: &[f64], second: &[f64]) -> GateRecord {
    let mut record = regressed().record();
    set_values(&mut record, StageKind::Measuring, 0, Metric::Decode, first);
    set_values(
        &mut record,
        StageKind::Confirmation,
        0,
        Metric::Decode,
        second,
    );
    record
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_dearer_candidate_never_gets_a_better_verdict(
        first in proptest::collection::vec(-0.03_f64..0.05, 16),
        second in proptest::collection::vec(-0.03_f64..0.05, 16),
        more in 0.0_f64..0.06,
    ) {
        let dearer = |values: &[f64]| values.iter().map(|value| value + more).collect::<Vec<_>>();
        let before = judged(&of_values(&first, &second));
        let after = judged(&of_values(&dearer(&first), &dearer(&second)));
        prop_assert!(rank(&after) >= rank(&before), "{} {}", before.headline, after.headline);
    }

    #[test]
    fn arms_that_change_places_change_the_sign(
        values in proptest::collection::vec(-0.05_f64..0.05, 12),
    ) {
        let mirrored: Vec<f64> = values.iter().map(|value| -value).collect();
        let effect = |values: &[f64]| {
            let mut record = Example { blocks: 12, last_look: 12, ..of_effect(0.0) }.record();
            set_values(&mut record, StageKind::Measuring, 0, Metric::Decode, values);
            judged(&record).cells[0].effect.expect("measured").ln_1p()
        };
        prop_assert!((effect(&values) + effect(&mirrored)).abs() < 1e-6);
    }

    #[test]
    fn names_of_models_and_cells_decide_nothing_but_coins(
        values in proptest::collection::vec(-0.05_f64..0.05, 16),
        model in "[a-z]{1,12}",
    ) {
        let of = |model: &str| {
            let mut record = Example::of(model, "pp64-tg64", &[(Metric::Decode, 0.0)]).record();
            set_values(&mut record, StageKind::Measuring, 0, Metric::Decode, &values);
            let judgement = judged(&record);
            (judgement.verdict, judgement.cells[0].effect)
        };
        prop_assert_eq!(of(&model), of("mini"));
    }
}
