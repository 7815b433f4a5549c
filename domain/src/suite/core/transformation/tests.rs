//! Steps do what they say.

use super::super::super::{Verdict, score};
use super::super::tests::{assert_laws, drawn};
use super::*;
use crate::suite::Family;

#[test]
fn items_keep_the_laws_of_the_suite() {
    assert_laws(
        Family::Transformation,
        6_000,
        "422ca9f1f66a43a6879b37cf4014472633abfeff494e438311e48be2494b5c83",
    );
}

fn text(lines: &[&str]) -> Text {
    lines
        .iter()
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect()
}

#[test]
fn each_step_does_what_it_tells() {
    let given = text(&["cow ant", "bee fly", "owl yak"]);
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    for (step, wanted) in [
        (
            Step::SpacesForCommas,
            ["cow ant", "bee fly", "owl yak"].as_slice(),
        ),
        (Step::SortLines, &["bee fly", "cow ant", "owl yak"]),
        (Step::ReverseLines, &["owl yak", "bee fly", "cow ant"]),
        (Step::ReverseWords, &["ant cow", "fly bee", "yak owl"]),
        (Step::SwapLines(0, 1), &["bee fly", "cow ant", "owl yak"]),
        (Step::FirstToEnd, &["ant cow", "fly bee", "yak owl"]),
        (Step::DropWord(1), &["cow", "bee", "owl"]),
        (
            Step::DropLinesWith(vec!["fly".to_owned()]),
            &["cow ant", "owl yak"],
        ),
        (Step::KeepEvery(2), &["bee fly"]),
        (Step::KeepEvery(3), &["owl yak"]),
        (
            Step::Replace(vec![pair("ant", "bat"), pair("owl", "ape")]),
            &["cow bat", "bee fly", "ape yak"],
        ),
        (Step::Capitals(0), &["COW ant", "BEE fly", "OWL yak"]),
        (Step::ReverseLetters(1), &["cow tna", "bee ylf", "owl kay"]),
        (
            Step::NumberLines,
            &["1. cow ant", "2. bee fly", "3. owl yak"],
        ),
        (Step::JoinWords("-"), &["cow-ant", "bee-fly", "owl-yak"]),
        (Step::Shift(2), &["eqy cpv", "dgg hna", "qyn acm"]),
    ] {
        assert_eq!(step.applied(&given), text(wanted), "{}", step.told());
    }
    assert_eq!(shifted(b'Z', 1), 'A');
}

#[test]
fn case_order_and_marks_count() {
    for index in 0..50 {
        let item = drawn(Family::Transformation, 2, index);
        let upper = item.answer.to_uppercase();
        let mut lines: Vec<&str> = item.answer.lines().collect();
        assert_eq!(score(&item, &upper), Verdict::Wrong);
        lines.swap(1, 2);
        assert_eq!(score(&item, &lines.join("\n")), Verdict::Wrong);
    }
}
