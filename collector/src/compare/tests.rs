//! Quotients of scripted results, and the ones that are refused.

use domain::hardware::Catalogue;
use domain::record::{EnergyClaim, Record};
use domain::text::{Answer, Name};

use super::*;
use crate::derive::tests::received;
use crate::derive::{derive, results};
use crate::fixtures;

fn cell(record: &Record, number: u8) -> CellResult {
    results(
        &[derive(record, received(number, number))],
        &Catalogue::default(),
    )
    .remove(0)
}

/// The result of one and the same cell under another build.
fn other(change: impl FnOnce(&mut Record)) -> CellResult {
    let mut record = fixtures::metered(2);
    record.engine.version = Name::cleaned("2");
    change(&mut record);
    cell(&record, 2)
}

fn compared(base: &CellResult, other: &CellResult) -> Vec<Delta> {
    answer(&[base, other], "v").deltas
}

fn delta<'a>(deltas: &'a [Delta], figure: &str) -> &'a Delta {
    deltas
        .iter()
        .find(|delta| delta.figure == figure)
        .expect(figure)
}

fn base() -> CellResult {
    cell(&fixtures::metered(1), 1)
}

#[test]
fn the_same_work_for_half_the_joules_is_told_with_its_interval() {
    let base = base();
    let frugal = other(|record| {
        for v in &mut record.meters[1].v {
            *v /= 2;
        }
    });
    let deltas = compared(&base, &frugal);
    assert_eq!(deltas.len(), 7);
    for (figure, expected) in [
        ("joules_per_correct_answer", 0.5),
        ("accuracy_per_joule", 2.0),
        ("joules_per_output_token", 0.5),
    ] {
        let delta = delta(&deltas, figure);
        let value = delta.value.expect(figure);
        assert!((value / expected - 1.0).abs() < 1e-3, "{delta:?}");
        let (low, high) = (
            delta.ci95_low.expect(figure),
            delta.ci95_high.expect(figure),
        );
        assert!(
            low <= value && value <= high && high / low < 1.1,
            "{delta:?}"
        );
    }
    assert!(delta(&deltas, "joules_per_correct_answer").paired);
    let quality = delta(&deltas, "quality");
    assert_eq!((quality.value, quality.paired), (Some(0.0), true));
    // No item of 105 differs, which leaves room for a few that would.
    assert!(
        quality
            .ci95_low
            .is_some_and(|low| (-4.0..0.0).contains(&low)),
        "{quality:?}"
    );
    assert_eq!(quality.told, Some(Told::NotApart));
    assert_eq!((quality.lost, quality.gained), (Some(0), Some(0)));
    assert_eq!(quality.items_needed, None);
    let told = |figure| delta(&deltas, figure).told;
    assert_eq!(told("joules_per_correct_answer"), Some(Told::Better));
    assert_eq!(told("accuracy_per_joule"), Some(Told::Better));
    let decode = delta(&deltas, "decode_tokens_per_second");
    assert!(decode.ci95_low < decode.value && decode.value < decode.ci95_high);
    assert!(!decode.paired && decode.reason.is_none());
}

#[test]
fn pairs_are_told_apart_better_than_strangers() {
    let worse = |record: &mut Record| {
        let items = &mut record.quality.as_mut().expect("answered").items;
        for item in items.iter_mut().skip(1).step_by(5).take(10) {
            item.answer = Answer::cleaned("?");
        }
    };
    let width = |delta: &Delta| {
        delta.ci95_high.expect("an interval") - delta.ci95_low.expect("an interval")
    };
    let base = base();
    let paired = compared(&base, &other(worse));
    let points = delta(&paired, "quality");
    assert!(
        points
            .value
            .is_some_and(|value| (value + 1_000.0 / 105.0).abs() < 1e-9)
    );
    assert!(
        points.ci95_high.is_some_and(|high| high < 0.0),
        "{points:?}"
    );
    assert_eq!(
        (points.told, points.paired_items, points.lost, points.gained),
        (Some(Told::Worse), Some(105), Some(10), Some(0))
    );
    assert!(
        points
            .mcnemar_p
            .is_some_and(|p| (p - 2.0 / 1_024.0).abs() < 1e-12)
    );
    assert!(
        points
            .items_needed
            .is_some_and(|items| (50..105).contains(&items))
    );
    let strangers = compared(
        &base,
        &other(|record| {
            worse(record);
            // The same answers under another seed are not the same items.
            record.suite.as_mut().expect("asked").seed = Sha256Digest([9; 32]);
        }),
    );
    let apart = delta(&strangers, "quality");
    assert!(!apart.paired && points.paired);
    assert!(width(apart) > width(points), "{apart:?} {points:?}");
    // They answer other items, and so are all wrong.
    assert_eq!((apart.told, apart.lost), (Some(Told::Worse), None));
}

#[test]
fn what_must_not_be_divided_says_why() {
    let base = base();
    let refused = |figure: &str, change: fn(&mut Record)| {
        let deltas = compared(&base, &other(change));
        let delta = delta(&deltas, figure);
        assert_eq!((delta.value, delta.ci95_low), (None, None), "{delta:?}");
        delta.reason.clone().expect("a reason")
    };
    let only_package = |record: &mut Record| {
        let package = fixtures::metered_package(2);
        (record.meters, record.energy) = (package.meters, package.energy);
    };
    assert_eq!(
        refused("joules_per_correct_answer", only_package),
        "joules of cpu.pkg against wall.ac"
    );
    assert_eq!(
        refused("joules_per_output_token", |record| {
            record.meters.clear();
            record.energy = fixtures::record(2).energy;
        }),
        "this result has none: a virtual machine without a power counter"
    );
    assert_eq!(
        refused("decode_tokens_per_second", |r| r.workload.concurrency = 2),
        "another form of workload pp16-tg17"
    );
    assert_eq!(
        refused("joules_per_correct_answer", |r| r.workload.depth_tokens =
            64),
        "another form of workload pp16-tg17"
    );
    assert_eq!(
        refused("quality", |r| r.workload.temperature_ppm = 700_000),
        "answers were sampled in another way"
    );
    assert_eq!(
        refused("quality", |r| r.quality = None),
        "this result has none: no suite was asked"
    );
    assert_eq!(
        refused("joules_per_output_token", |record| {
            let EnergyClaim::Measured(claim) = &mut record.energy else {
                panic!("metered")
            };
            claim.method = domain::record::AttributionMethod::Direct;
        }),
        "this result has none: below meter resolution (1 of 50 ticks)"
    );
}

#[test]
fn a_base_at_the_package_meets_others_at_the_package() {
    let base = cell(&fixtures::metered_package(1), 1);
    let answer = answer(&[&base, &other(|_| {})], "v");
    assert_eq!(answer.rows[1].energy_scope.as_deref(), Some("cpu.pkg"));
    let delta = delta(&answer.deltas, "joules_per_correct_answer");
    assert!(
        delta.value.is_some_and(|value| (value - 1.0).abs() < 1e-6),
        "{delta:?}"
    );
}

#[test]
fn only_what_differs_is_listed() {
    let answer = answer(&[&base(), &other(|_| {})], "v");
    let line = |label: &str| answer.differs.iter().find(|line| line.label == label);
    let engine = line("Engine").expect("it differs");
    let values: Vec<_> = engine.values.iter().flatten().map(String::as_str).collect();
    assert_eq!(values, ["scripted 1, cpu", "scripted 2, cpu"]);
    assert_eq!(line("Suite"), None);
    assert_eq!(line("Meter"), None);
}
