//! Scores of whole records: which answers count, and what becomes of those that say nothing.

use domain::hardware::Catalogue;
use domain::record::AnsweredItem;
use domain::text::{Answer, Name};

use super::*;
use crate::derive::tests::{answering, answering_suite, published, received, record};
use crate::derive::{CellResult, derive, results};

/// Every answer of a record, replaced.
fn saying(mut record: Record, text: &str) -> Record {
    for item in &mut record.quality.as_mut().expect("answered").items {
        item.answer = Answer::cleaned(text);
    }
    record
}

fn unextractable(result: &CellResult) -> u32 {
    let scores = result.detail("v").families;
    scores.iter().map(|score| score.unextractable).sum()
}

#[test]
fn families_weigh_the_same_however_many_items_they_were_asked() {
    // Of 103 items five families have 15 and two have 14; one of these is all wrong.
    let row = published(&[answering(record(), 103, |place| place % 7 != 6)]).row;
    assert!(
        row.quality
            .is_some_and(|mean| (mean - 6.0 / 7.0).abs() < 1e-12),
        "{row:?}"
    );
    assert_eq!(row.quality_n, Some(103));
}

#[test]
fn families_of_another_suite_are_not_scored() {
    let mut mixed = answering(record(), 210, |_| true);
    mixed.quality.as_mut().expect("answered").items[3].family = Name::cleaned("arithmetic");
    assert_eq!(
        published(&[mixed]).row.quality_reason.as_deref(),
        Some("arithmetic is no family of suite reference-v1")
    );
    let mut named_wrongly = answering(record(), 210, |_| true);
    named_wrongly.suite.as_mut().expect("asked").version = Name::cleaned(Suite::CoreV1.name());
    let reason = published(&[named_wrongly]).row.quality_reason;
    assert!(reason.is_some_and(|reason| reason.contains("cannot be made again")));
}

#[test]
fn a_cell_publishes_the_suite_that_was_answered_last() {
    let reference = answering(record(), 210, |_| true);
    let core = answering_suite(record(), Suite::CoreV1, 180, |_| true);
    let result = published(&[reference.clone(), core.clone()]);
    assert_eq!(result.row.suite.as_deref(), Some("core-v1"));
    assert_eq!(result.row.quality_n, Some(180));
    assert_eq!(result.detail("v").families.len(), 9);
    assert_eq!(result.detail("v").levels.len(), 45);
    let result = published(&[core, reference]);
    assert_eq!(result.row.suite.as_deref(), Some("reference-v1"));
    assert_eq!(
        (result.row.quality_n, result.detail("v").families.len()),
        (Some(210), 7)
    );
}

#[test]
fn a_suite_that_is_not_shown_is_said() {
    let reference = answering(record(), 210, |_| true);
    let core = answering_suite(record(), Suite::CoreV1, 180, |_| true);
    let row = published(&[reference.clone(), core]).row;
    assert_eq!(row.flags, "other-suite public-seed");
    assert_eq!(
        row.noise_reason.as_deref(),
        Some("reference-v1 was answered too, and another suite after it")
    );
    assert_eq!(published(&[reference]).row.flags, "public-seed");
}

/// The cell of records of accounts, oldest first.
fn of_accounts(records: &[(u8, &Record)]) -> CellResult {
    let derived: Vec<_> = (1..)
        .zip(records)
        .map(|(number, (account, record))| derive(record, received(number, *account)))
        .collect();
    results(&derived, &Catalogue::default()).remove(0)
}

#[test]
fn one_account_does_not_overwrite_what_most_found() {
    let right = answering(record(), 210, |_| true);
    let wrong = answering(record(), 210, |_| false);
    let quality = |records: &[(u8, &Record)]| {
        let row = of_accounts(records).row;
        (row.quality.map(f64::round), row.flags)
    };
    let disputed = "answers-disagree public-seed".to_owned();
    let two_of_three = [(1, &right), (2, &right), (3, &wrong)];
    assert_eq!(quality(&two_of_three), (Some(1.0), disputed.clone()));
    let two_of_three = [(1, &right), (2, &wrong), (3, &wrong)];
    assert_eq!(quality(&two_of_three), (Some(0.0), disputed.clone()));
    // Of one against one the older stands.
    assert_eq!(
        quality(&[(1, &right), (2, &wrong)]),
        (Some(1.0), disputed.clone())
    );
    assert_eq!(quality(&[(1, &wrong), (2, &right)]), (Some(0.0), disputed));
    // One account corrects itself, and has one voice however often it speaks.
    let agreed = "public-seed".to_owned();
    assert_eq!(
        quality(&[(1, &wrong), (1, &right)]),
        (Some(1.0), agreed.clone())
    );
    let (score, _) = quality(&[
        (1, &right),
        (2, &right),
        (3, &wrong),
        (3, &wrong),
        (3, &wrong),
    ]);
    assert_eq!(score, Some(1.0));
    assert_eq!(quality(&[(1, &right), (2, &right)]), (Some(1.0), agreed));
}

#[test]
fn accounts_that_differ_on_a_few_items_are_not_said_to_disagree() {
    let all = answering(record(), 200, |_| true);
    let row = |missed: u32| {
        let other = answering(record(), 200, |place| place >= missed);
        of_accounts(&[(1, &all), (2, &other)]).row
    };
    assert_eq!(row(10).flags, "public-seed");
    let row = row(11);
    assert_eq!(row.flags, "answers-disagree public-seed");
    assert_eq!(
        row.noise_reason.as_deref(),
        Some("accounts disagree on 11 of 200 items that several of them answered")
    );
}

#[test]
fn right_answers_to_every_family_of_core_are_scored_right() {
    let result = published(&[answering_suite(record(), Suite::CoreV1, 225, |_| true)]);
    for score in result.detail("v").families {
        assert_eq!((score.correct, score.items), (25, 25), "{}", score.family);
    }
}

#[test]
fn answers_in_which_nothing_is_found_are_wrong_and_counted_apart() {
    let core = answering_suite(record(), Suite::CoreV1, 180, |_| true);
    let result = published(&[saying(core, " ")]);
    assert!(result.row.quality.is_some_and(|quality| quality < 1e-12));
    assert_eq!(unextractable(&result), 180);
    // Bytes for bytes there is always something to compare.
    let reference = answering(record(), 210, |_| true);
    assert_eq!(unextractable(&published(&[saying(reference, "?")])), 0);
}

#[test]
fn hostile_answers_are_wrong_and_nothing_more() {
    let core = answering_suite(record(), Suite::CoreV1, 180, |_| true);
    for hostile in [
        "[".repeat(2_000),
        "{\"a\":".repeat(400),
        format!("Answer: {}", "9".repeat(1_900)),
        "Answer: \u{202e}24\u{202c} \u{2066}x".to_owned(),
        "Answer:\0\u{7}\u{1b}[31m".to_owned(),
        "<think>".repeat(280),
        "```json\n".repeat(250),
        "Answer: 1e999999999 NaN Infinity -0".to_owned(),
    ] {
        let result = published(&[saying(core.clone(), &hostile)]);
        let quality = result.row.quality.expect("it was asked");
        // A text that keeps to some constraint may be right by chance; no more than that.
        assert!(quality < 0.05, "{hostile:.20}: {quality}");
    }
}

#[test]
fn equal_texts_have_equal_digests_and_cut_ones_do_not() {
    let answers = |change: fn(&mut AnsweredItem)| {
        let mut record = answering(record(), 105, |_| true);
        change(&mut record.quality.as_mut().expect("answered").items[0]);
        published(&[record]).samples.items
    };
    let plain = answers(|_| {});
    let differing = |changed: &BTreeMap<ItemKey, ItemSample>| {
        let pairs = plain.values().zip(changed.values());
        pairs
            .filter(|(one, other)| one.answer != other.answer)
            .count()
    };
    assert_eq!(differing(&answers(|_| {})), 0);
    assert_eq!(
        differing(&answers(|item| item.answer = Answer::cleaned("?"))),
        1
    );
    assert_eq!(
        differing(&answers(|item| item.answer_bytes = Some(4_096))),
        1
    );
    let stopped = answers(|item| item.finish = Finish::Length);
    assert_eq!(stopped.values().next().and_then(|item| item.answer), None);
}
