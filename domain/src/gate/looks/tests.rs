//! The table of looks, and when they decide.

use super::*;
use crate::gate::rank::quantile;
use proptest::prelude::*;

const ALPHA: f64 = 0.05;

fn rule() -> Rule {
    Rule {
        practical_zero: 0.005_f64.ln_1p(),
        tolerance: 0.02_f64.ln_1p(),
        alpha: ALPHA,
        beta: 0.05,
    }
}

/// Values around `centre`, symmetrical and never twice the same, `spread` at the most.
fn around(centre: f64, spread: f64, blocks: usize) -> Vec<f64> {
    (0..blocks)
        .map(|at| {
            let step = (at / 2 + 1) as f64 / blocks.div_ceil(2) as f64;
            centre + spread * if at % 2 == 0 { step } else { -step }
        })
        .collect()
}

#[test]
fn the_table_of_looks_is_that_of_the_design() {
    let table = [
        (12, 0.10, Some(7), None, None),
        (16, 0.15, Some(21), Some(7), Some(2)),
        (24, 0.25, Some(72), Some(40), Some(27)),
        (32, 0.25, Some(144), Some(94), Some(73)),
        (48, 0.25, Some(370), Some(275), Some(234)),
    ];
    for (look, (blocks, share, one, twelve, all)) in LOOKS.into_iter().zip(table) {
        assert_eq!(look.blocks, blocks);
        assert!((look.share - share).abs() < 1e-12);
        let k = |alpha: f64| quantile(blocks, alpha * share);
        assert_eq!(k(ALPHA), one, "{blocks} blocks, one cell");
        assert_eq!(k(ALPHA / 24.0), twelve, "{blocks} blocks, 12 cells");
        assert_eq!(k(ALPHA / 144.0), all, "{blocks} blocks, 72 cells");
    }
}

#[test]
fn the_looks_spend_the_whole_error_and_no_more() {
    let spent: f64 = LOOKS.iter().map(|look| look.share).sum();
    assert!((spent - 1.0).abs() < 1e-12);
    assert!(LOOKS.is_sorted_by_key(|look| look.blocks));
}

#[test]
fn twelve_blocks_find_no_regression_among_more_than_ten_cells() {
    let k = |m: f64| quantile(12, LOOKS[0].share * ALPHA / (2.0 * m));
    assert_eq!(k(10.0), Some(0));
    assert_eq!(k(11.0), None);
}

#[test]
fn what_is_clear_is_decided_at_the_first_look() {
    for (centre, verdict) in [
        (0.0, Verdict::Pass),
        (0.012, Verdict::Pass),
        (-0.02, Verdict::Improved),
        (0.04, Verdict::Regressed),
    ] {
        let seen = decide(&around(centre, 0.003, 48), &rule(), 48).expect("48 blocks");
        assert_eq!((seen.blocks, seen.verdict), (12, verdict), "{centre}");
    }
}

#[test]
fn no_decision_falls_before_the_first_look_nor_between_looks() {
    assert_eq!(decide(&around(0.04, 0.003, 11), &rule(), 48), None);
    assert_eq!(decide(&around(0.04, 0.003, 48), &rule(), 8), None);
    let seen = decide(&around(0.012, 0.05, 15), &rule(), 48).expect("12 blocks were looked at");
    assert_eq!((seen.blocks, seen.verdict), (12, Verdict::Inconclusive));
    let seen = decide(&around(0.012, 0.05, 48), &rule(), 24).expect("24 blocks were looked at");
    assert_eq!(seen.blocks, 24);
}

#[test]
fn a_value_that_is_none_decides_nothing() {
    let mut values = around(0.0, 0.003, 12);
    values[3] = f64::NAN;
    assert_eq!(decide(&values, &rule(), 48), None);
}

proptest! {
    #[test]
    fn blocks_after_the_deciding_look_change_nothing(
        values in proptest::collection::vec(-0.05_f64..0.05, 48),
        later in proptest::collection::vec(-0.5_f64..0.5, 48),
    ) {
        let seen = decide(&values, &rule(), 48).expect("48 blocks");
        if seen.verdict != Verdict::Inconclusive {
            let mut other = values[..seen.blocks].to_vec();
            other.extend(&later[seen.blocks..]);
            prop_assert_eq!(decide(&other, &rule(), 48), Some(seen));
        }
    }

    #[test]
    fn more_cost_never_gives_a_better_verdict(
        values in proptest::collection::vec(-0.05_f64..0.05, 48),
        more in 0.0_f64..0.05,
    ) {
        let worse: Vec<f64> = values.iter().map(|value| value + more).collect();
        let verdict = |values: &[f64]| decide(values, &rule(), 48).expect("48 blocks").verdict;
        prop_assert!(rank(verdict(&worse)) >= rank(verdict(&values)));
    }
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Improved => 0,
        Verdict::Pass => 1,
        Verdict::Inconclusive => 2,
        Verdict::Regressed => 3,
        Verdict::Invalid => 4,
    }
}
