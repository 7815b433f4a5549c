//! Variants of the fixtures' model: against their reference, without one, and in other places.

use std::ops::Range;

use domain::api::Told;
use domain::hardware::Catalogue;
use domain::ids::Sha256Digest;
use domain::record::{AnsweredItem, Finish, Outcome, PruningMethod, Record};
use domain::suite::Suite;
use domain::text::{Answer, Name};

use super::*;
use crate::derive::tests::{compared, received};
use crate::derive::{derive, results};
use crate::fixtures;

/// The fixtures' model under a label, with weights of its own; every fifth answer is wrong.
fn variant(number: u8, quant: &str, bytes: u64) -> Record {
    let mut record = fixtures::metered(u64::from(number));
    record.variant.sha256 = Sha256Digest([number; 32]);
    record.variant.quant = Name::cleaned(quant);
    record.variant.files[0].bytes = bytes;
    record
}

/// Wrong from here to there as well.
fn failing(mut record: Record, places: Range<usize>) -> Record {
    for item in &mut record.quality.as_mut().expect("answered").items[places] {
        item.answer = Answer::cleaned("?");
    }
    record
}

fn pruned(mut record: Record, recipe: &str) -> Record {
    record.variant.pruning.method = PruningMethod::Layer;
    record.variant.pruning.ratio_ppm = 250_000;
    record.variant.pruning.recipe = Some(Name::cleaned(recipe));
    record
}

fn model() -> ModelFacts {
    ModelFacts {
        slug: "fixture-1l".to_owned(),
        name: "fixture-1l".to_owned(),
        arch: "llama".to_owned(),
        params_total: 900_000,
    }
}

fn cells(records: &[Record]) -> Vec<CellResult> {
    let derived: Vec<_> = (1..)
        .zip(records)
        .map(|(number, record)| derive(record, received(number, 1)))
        .collect();
    results(&derived, &Catalogue::default())
}

fn asked(records: &[Record], query: &str) -> Result<ModelDetail, Vec<FieldError>> {
    let query = ModelQuery::parse(query).expect("a question");
    answer(&model(), &cells(records), &query, "v")
}

fn shown(records: &[Record]) -> ModelDetail {
    asked(records, "").expect("no parameter is wrong")
}

fn quants(detail: &ModelDetail) -> Vec<&str> {
    detail
        .variants
        .iter()
        .map(|row| row.quant.as_str())
        .collect()
}

#[test]
fn variants_stand_against_the_unquantised_one() {
    let mut frugal = failing(variant(3, "Q4_K_M", 500_000), 1..10);
    for v in &mut frugal.meters[1].v {
        *v /= 2;
    }
    let detail = shown(&[
        pruned(failing(variant(4, "F16", 1_400_000), 1..3), "layers-at-1"),
        failing(variant(2, "Q2_K", 300_000), 0..60),
        frugal,
        variant(1, "F16", 1_800_000),
    ]);
    assert_eq!(quants(&detail), ["F16", "Q4_K_M", "Q2_K", "F16"]);
    let [reference, q4, q2, pruned] = detail.variants.as_slice() else {
        panic!("four variants")
    };
    assert_eq!(detail.reference.as_ref(), Some(&reference.result));
    assert_eq!(
        (reference.bytes_of_reference, reference.told),
        (Some(1.0), None)
    );
    assert_eq!(
        reference.fidelity_reason.as_deref(),
        Some("the reference itself")
    );
    // Of places 1 to 9 the reference answers 8 rightly, of 0 to 59 it answers 48.
    assert_eq!(
        (q4.lost, q4.gained, q4.paired_items),
        (Some(8), Some(0), Some(105))
    );
    assert!(
        q4.quality_points
            .is_some_and(|points| (points + 800.0 / 105.0).abs() < 1e-9)
    );
    assert!(
        q4.mcnemar_p
            .is_some_and(|p| (p - 2.0 / 256.0).abs() < 1e-12)
    );
    assert!(
        q4.items_needed
            .is_some_and(|items| (80..=120).contains(&items)),
        "{q4:?}"
    );
    assert_eq!((q4.told, q2.told), (Some(Told::Worse), Some(Told::Worse)));
    assert_eq!(q2.lost, Some(48));
    assert_eq!((pruned.lost, pruned.told), (Some(2), Some(Told::NotApart)));
    assert!(
        pruned.quality_points_ci95_low < Some(0.0) && pruned.quality_points_ci95_high >= Some(0.0)
    );
    assert!(pruned.items_needed > q4.items_needed);
    assert_eq!(pruned.pruning_recipe.as_deref(), Some("layers-at-1"));
    // The wrong answers are one text: all but the lost ones agree.
    assert!(
        q4.greedy_agreement
            .is_some_and(|share| (share - 97.0 / 105.0).abs() < 1e-12)
    );
    assert!(q4.greedy_agreement_ci95_low < q4.greedy_agreement);
    assert!(
        q4.bytes_of_reference
            .is_some_and(|share| (share - 5.0 / 18.0).abs() < 1e-12)
    );
    assert!(
        q4.decode_of_reference
            .is_some_and(|share| (0.9..1.1).contains(&share))
    );
    assert!(
        q4.joules_of_reference
            .is_some_and(|share| (share - 0.5).abs() < 1e-3),
        "{q4:?}"
    );
    // Seven families of three levels, and of all levels.
    assert_eq!(detail.families.len(), 4 * 7 * 4);
    let levels: Vec<u8> = detail.families[..5].iter().map(|one| one.level).collect();
    assert_eq!(levels, [0, 1, 2, 3, 0]);
}

#[test]
fn without_an_unquantised_variant_nothing_is_set_against_another() {
    let detail = shown(&[variant(2, "Q2_K", 300_000), variant(3, "Q4_K_M", 500_000)]);
    assert_eq!(detail.reference, None);
    assert!(
        detail
            .reference_reason
            .is_some_and(|reason| reason.contains("unquantised"))
    );
    for row in &detail.variants {
        assert!(row.quality.is_some());
        assert_eq!(
            (row.told, row.quality_points, row.bytes_of_reference),
            (None, None, None)
        );
    }
    // Pruned weights are no reference, and too few answers make none.
    let mut few = variant(1, "F16", 1_800_000);
    few.quality.as_mut().expect("answered").items.truncate(90);
    let detail = shown(&[pruned(variant(4, "BF16", 1_400_000), "heads"), few]);
    assert_eq!(detail.reference, None);
}

#[test]
fn a_variant_alone_is_its_own_reference() {
    let detail = shown(&[variant(1, "bf16", 1_800_000)]);
    assert_eq!(detail.group.as_ref().map(|group| group.variants), Some(1));
    let row = &detail.variants[0];
    assert_eq!(detail.reference.as_ref(), Some(&row.result));
    assert_eq!((row.decode_of_reference, row.lost), (Some(1.0), None));
}

#[test]
fn a_variant_that_failed_is_listed_with_its_reason() {
    let mut failed = variant(2, "Q8_0", 900_000);
    failed.outcome = Outcome::Oom;
    let detail = shown(&[variant(1, "F16", 1_800_000), failed]);
    assert_eq!(quants(&detail), ["F16", "Q8_0"]);
    assert_eq!(detail.groups.len(), 1, "{:?}", detail.groups);
    let row = &detail.variants[1];
    assert_eq!(row.quality_reason.as_deref(), Some("out of memory"));
    assert_eq!((row.quality, row.told), (None, None));
}

#[test]
fn other_items_are_compared_by_means() {
    let mut other = failing(variant(2, "Q8_0", 900_000), 1..10);
    other.suite.as_mut().expect("asked").seed = Sha256Digest([9; 32]);
    let detail = shown(&[variant(1, "F16", 1_800_000), other]);
    let row = &detail.variants[1];
    assert_eq!(
        (row.paired_items, row.lost, row.mcnemar_p),
        (None, None, None)
    );
    assert_eq!(
        row.told,
        Some(Told::Worse),
        "none of its answers is right: {row:?}"
    );
    assert_eq!(row.greedy_agreement, None);
}

#[test]
fn sampled_answers_have_no_greedy_agreement() {
    let mut warm = [variant(1, "F16", 1_800_000), variant(2, "Q8_0", 900_000)];
    for record in &mut warm {
        record.workload.temperature_ppm = 700_000;
    }
    let detail = shown(&warm);
    assert_eq!(detail.variants[1].greedy_agreement, None);
    assert!(detail.variants[1].told.is_some());
}

#[test]
fn the_place_with_the_most_variants_is_shown_unless_another_is_asked() {
    let elsewhere = |mut record: Record| {
        record.engine.name = Name::cleaned("Other Engine");
        record
    };
    let records = [
        variant(1, "F16", 1_800_000),
        variant(2, "Q8_0", 900_000),
        elsewhere(variant(3, "Q4_K_M", 500_000)),
        elsewhere(variant(2, "Q8_0", 900_000)),
        elsewhere(variant(1, "F16", 1_800_000)),
    ];
    let engines = |detail: &ModelDetail| {
        let groups = detail.groups.iter();
        groups
            .map(|group| (group.engine.clone(), group.variants))
            .collect::<Vec<_>>()
    };
    let detail = shown(&records);
    assert_eq!(
        engines(&detail),
        [("other-engine".to_owned(), 3), ("scripted".to_owned(), 2)]
    );
    assert_eq!(quants(&detail), ["F16", "Q8_0", "Q4_K_M"]);
    let detail = asked(&records, "engine=scripted&suite=reference-v1").expect("known");
    assert_eq!(quants(&detail), ["F16", "Q8_0"]);
    let errors = asked(&records, "engine=candle&setup=nowhere").expect_err("unknown");
    assert_eq!(errors.len(), 2);
    assert!(
        errors[1]
            .message
            .ends_with("there are: other-engine, scripted"),
        "{errors:?}"
    );
    // Each is known, but not together.
    let mut tenth = elsewhere(variant(10, "Q6_K", 700_000));
    tenth.workload.id = "pp32-tg17".parse().expect("a slug");
    let mut records = records.to_vec();
    records.push(tenth);
    let detail = asked(&records, "engine=scripted&workload=pp32-tg17").expect("known");
    assert_eq!((detail.group, detail.variants.len()), (None, 0));
    assert!(
        detail
            .reference_reason
            .is_some_and(|reason| reason.contains("together"))
    );
}

#[test]
fn fidelity_is_that_of_the_same_weights_by_the_same_engine() {
    let compared = |record: Record, reference: u8| compared(record, Suite::ReferenceV1, reference);
    let mut at_depth = compared(variant(2, "Q8_0", 900_000), 1);
    at_depth.workload.depth_tokens = 64;
    let detail = shown(&[
        variant(1, "F16", 1_800_000),
        variant(2, "Q8_0", 900_000),
        at_depth,
        compared(variant(3, "Q4_K_M", 500_000), 200),
    ]);
    let [_, q8, q4] = detail.variants.as_slice() else {
        panic!("three variants")
    };
    assert!(
        q8.kl_mean_nats
            .is_some_and(|nats| (nats - 0.005).abs() < 1e-12)
    );
    assert!(
        q8.top1_agreement
            .is_some_and(|share| (share - (1.0 - 693.0 / 4_505.0)).abs() < 1e-12)
    );
    assert_eq!(
        (q8.fidelity_tokens, q8.kl_p999_nats),
        (Some(4_505), Some(0.005))
    );
    assert!(q8.kl_mean_nats_ci95_high.is_some() && q8.fidelity_reason.is_none());
    assert_eq!(q4.kl_mean_nats, None);
    assert!(
        q4.fidelity_reason
            .as_ref()
            .is_some_and(|reason| reason.contains("weights c8c8c8c8")),
        "{q4:?}"
    );
}

#[test]
fn one_column_holds_comparisons_on_one_corpus() {
    let reference = variant(1, "F16", 1_800_000);
    let q8 = compared(variant(2, "Q8_0", 900_000), Suite::ReferenceV1, 1);
    let q4 = compared(variant(3, "Q4_K_M", 500_000), Suite::CoreV1, 1);
    let detail = shown(&[reference.clone(), q8.clone(), q4.clone()]);
    let kl: Vec<_> = detail.variants.iter().map(|row| row.kl_mean_nats).collect();
    assert!(kl[1].is_some() && kl[2].is_none(), "{kl:?}");
    assert_eq!(
        detail.variants[2].fidelity_reason.as_deref(),
        Some("compared on the corpus of core-v1, not on that of reference-v1")
    );
    // Of one variant's comparisons that of the group's suite stands, also if another is newer.
    let again = compared(q8.clone(), Suite::CoreV1, 1);
    let detail = shown(&[reference.clone(), q8.clone(), again.clone()]);
    assert_eq!(detail.variants[1].fidelity_tokens, Some(4_505));
    let mut at_depth = again;
    at_depth.workload.depth_tokens = 64;
    let detail = shown(&[reference.clone(), q8.clone(), at_depth]);
    assert_eq!(detail.variants[1].fidelity_tokens, Some(4_505));
    // Where no variant was asked anything, the first comparison decides.
    let unasked = |mut record: Record| {
        record.suite = None;
        record.quality = None;
        record
    };
    let detail = shown(&[reference, q8, q4].map(unasked));
    let tokens = detail.variants.iter().map(|row| row.fidelity_tokens);
    assert_eq!(tokens.collect::<Vec<_>>(), [None, Some(4_505), None]);
    assert!(
        detail.variants[2]
            .fidelity_reason
            .as_ref()
            .is_some_and(|reason| reason.contains("not on that of reference-v1"))
    );
}

#[test]
fn only_texts_that_can_be_told_apart_count_in_greedy_agreement() {
    let agreement = |change: fn(&mut AnsweredItem), other: fn(&mut AnsweredItem)| {
        let of = |number, quant, change: fn(&mut AnsweredItem)| {
            let mut record = variant(number, quant, 900_000);
            let items = &mut record.quality.as_mut().expect("answered").items;
            items[..3].iter_mut().for_each(change);
            record
        };
        let detail = shown(&[of(1, "F16", change), of(2, "Q8_0", other)]);
        let row = &detail.variants[1];
        (row.greedy_agreement, row.greedy_agreement_n)
    };
    let plain: fn(&mut AnsweredItem) = |_| {};
    let failed: fn(&mut AnsweredItem) = |item| {
        item.finish = Finish::Error;
        item.answer = Answer::cleaned("");
    };
    let cut: fn(&mut AnsweredItem) = |item| {
        item.answer = Answer::cleaned("end");
        item.answer_bytes = Some(4_096);
    };
    let cut_longer: fn(&mut AnsweredItem) = |item| {
        item.answer = Answer::cleaned("the end");
        item.answer_bytes = Some(4_096);
    };
    let differing: fn(&mut AnsweredItem) = |item| {
        item.answer = Answer::cleaned("dne");
        item.answer_bytes = Some(4_096);
    };
    assert_eq!(agreement(plain, plain), (Some(1.0), Some(105)));
    // Two failures agree on nothing, nor do a text and a part of it.
    assert_eq!(agreement(failed, failed), (Some(1.0), Some(102)));
    assert_eq!(agreement(plain, failed), (Some(1.0), Some(102)));
    assert_eq!(agreement(plain, cut), (Some(1.0), Some(102)));
    assert_eq!(agreement(cut_longer, cut), (Some(1.0), Some(102)));
    assert_eq!(agreement(cut, cut), (Some(1.0), Some(105)));
    assert_eq!(agreement(differing, cut), (Some(102.0 / 105.0), Some(105)));
}
