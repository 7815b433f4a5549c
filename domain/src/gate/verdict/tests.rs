//! Every verdict, by records that are made for it.

use super::*;
use crate::gate::fixtures::{Example, set_values};
use crate::gate::looks::LOOKS;
use crate::gate::record::{Failure, UnavailableMetric};
use crate::gate::{Arm, coin};
use crate::json::parse_strict;
use crate::text::Name;
use proptest::prelude::*;

fn judged(record: &GateRecord) -> Judgement {
    judge(record).expect("the record can be judged")
}

/// A gate of one cell, its blocks and those of its confirmation all of one size but for a spread
/// that is the same on both sides.
fn of_effect(effect: f64) -> Example {
    Example::of("mini", "pp64-tg64", &[(Metric::Decode, effect)])
}

fn regressed() -> Example {
    Example {
        confirmation: 16,
        ..of_effect(0.04)
    }
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
