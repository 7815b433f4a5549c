//! The cheapest that passes, and every reason why there is none.

use domain::hardware::Catalogue;
use domain::record::Record;

use super::*;
use crate::derive::tests::{answering, received, record};
use crate::derive::{derive, results};

/// Two setups with a price.
fn catalogue() -> Catalogue {
    let hardware = "profile = \"hardware\"\nslug = \"chip\"\nname = \"Chip\"\nvendor = \"Maker\"\nkind = \"soc\"\nsources = [\"a\"]\nconfidence = \"high\"\n";
    let setup = |slug: &str, usd: u32| {
        format!(
            "profile = \"setup\"\nslug = \"{slug}\"\nname = \"Setup {slug}\"\n[[parts]]\nhardware = \"chip\"\ncount = 1\n[[prices]]\nusd = {usd}\ndate = \"2026-11\"\nkind = \"street\"\nsource = \"a\"\n"
        )
    };
    let (cheap, dear) = (setup("cheap", 500), setup("dear", 2_000));
    Catalogue::parse([("h.toml", hardware), ("c.toml", &cheap), ("d.toml", &dear)]).expect("valid")
}

/// 210 answers on a setup; of 30 items of each family, `right` tells which are right.
fn on(setup: Option<&str>, right: impl Fn(u32) -> bool) -> Record {
    let mut record = answering(record(), 210, right);
    record.setup.slug = setup.map(|slug| slug.parse().expect("a slug"));
    record
}

fn asked(records: &[Record], query: &str) -> Result<TasksAnswer, Vec<FieldError>> {
    let derived: Vec<_> = (1..)
        .zip(records)
        .map(|(number, record)| derive(record, received(number, 1)))
        .collect();
    let query = TasksQuery::parse(query).expect("a question");
    answer(
        &results(&derived, &catalogue()),
        &query,
        Tier::SelfReported,
        "v",
    )
}

fn shown(records: &[Record], query: &str) -> TasksAnswer {
    asked(records, query).expect("a known suite")
}

fn row_of<'a>(answer: &'a TasksAnswer, family: &str, level: u8) -> &'a TaskRow {
    let found = answer
        .rows
        .iter()
        .find(|row| (row.family.as_str(), row.level) == (family, level));
    found.expect("a row for every family and level")
}

#[test]
fn the_cheapest_of_those_that_surely_pass_is_named() {
    // Families take turns: the second one is all wrong on the cheap setup.
    let records = [
        on(Some("dear"), |_| true),
        on(Some("cheap"), |place| place % 7 != 1),
    ];
    let answer = shown(&records, "");
    assert_eq!(
        (answer.suite.as_str(), answer.rows.len()),
        ("reference-v1", 7 * 4)
    );
    let addition = row_of(&answer, "addition", 0);
    assert_eq!((addition.results, addition.passing), (2, 2));
    let cheapest = addition.cheapest.as_ref().expect("both have a price");
    assert_eq!(
        (cheapest.setup.as_str(), cheapest.correct, cheapest.items),
        ("cheap", 30, 30)
    );
    assert!(cheapest.accuracy_ci95_low > 0.88, "{cheapest:?}");
    let copy = row_of(&answer, "copy", 0);
    assert_eq!((copy.results, copy.passing), (2, 1));
    assert_eq!(
        copy.cheapest.as_ref().map(|one| one.setup.as_str()),
        Some("dear")
    );
}

#[test]
fn without_one_that_passes_the_reason_is_given() {
    let reason = |records: &[Record], query: &str, level| {
        let answer = shown(records, query);
        let row = row_of(&answer, "sort", level).clone();
        assert_eq!(row.cheapest, None);
        row.reason.expect("a reason")
    };
    let perfect = || on(Some("dear"), |_| true);
    assert_eq!(
        reason(&[], "suite=reference-v1", 0),
        "no result has answers to it"
    );
    assert_eq!(
        reason(&[on(None, |_| true)], "", 0),
        "none of those that pass has a price"
    );
    assert_eq!(
        reason(&[perfect()], "", 1),
        "no result has enough items: 17, all answered rightly, are the least that surely pass 80 %, and the most asked is 10"
    );
    assert_eq!(
        reason(&[on(Some("dear"), |place| place % 2 == 0)], "", 0),
        "no result is surely above 80 %"
    );
    // 30 of 30 are surely above 88 %, not above 90.
    assert!(reason(&[perfect()], "pass=90", 0).contains("36, all answered rightly"));
}

#[test]
fn a_suite_that_there_is_not_is_refused_by_name() {
    let errors = asked(&[], "suite=poetry").expect_err("unknown");
    assert_eq!(
        errors[0].message,
        "no such suite; there are: reference-v1, core-v1"
    );
    assert_eq!(shown(&[], "").suite, "core-v1");
}

#[test]
fn what_is_below_the_floor_passes_nothing() {
    let derived = derive(&on(Some("dear"), |_| true), received(1, 1));
    let cells = results(&[derived], &catalogue());
    let query = TasksQuery {
        suite: Slug::from_text("reference-v1"),
        ..TasksQuery::default()
    };
    let answer = answer(&cells, &query, Tier::Corroborated, "v").expect("a known suite");
    assert!(answer.rows.iter().all(|row| row.results == 0) && answer.suites.is_empty());
}
