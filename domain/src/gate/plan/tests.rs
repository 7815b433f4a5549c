//! What can be decided at all.

use super::*;
use crate::gate::policy::BUILT_IN;
use crate::statistics::paired::Paired;
use proptest::prelude::*;

fn policy() -> Policy {
    Policy::parse("built in", BUILT_IN).expect("the built-in policy is one")
}

#[test]
fn the_table_is_met_where_it_was_simulated() {
    for (blocks, row) in [16, 24, 48].into_iter().zip(FACTORS) {
        for (share, expected) in [1.0, 1.0 / 24.0, 1.0 / 144.0].into_iter().zip(row) {
            let factor = factor(blocks, 0.05, share).expect("these looks can reject");
            assert!((factor - expected).abs() < 1e-12, "{blocks} {share}");
        }
    }
    let mde = mde(0.01, 24, 0.05, 1.0 / 24.0, 0.005).expect("24 blocks can reject");
    assert!((mde - 0.0159).abs() < 1e-12, "{mde}");
}

#[test]
fn what_no_look_can_reject_has_no_detectable_effect() {
    assert_eq!(factor(8, 0.05, 1.0), None);
    assert!(factor(12, 0.05, 1.0).is_some());
    assert_eq!(factor(12, 0.05, 1.0 / 24.0), None);
    assert_eq!(mde(0.01, 12, 0.05, 1.0 / 24.0, 0.005), None);
    // A look that is taken can only add to what the earlier ones find.
    assert_eq!(factor(30, 0.05, 1.0 / 2e9), None);
}

#[test]
fn a_lone_cell_takes_all_and_parts_add_up_to_all() {
    use Metric::{Decode, Energy, Prefill};
    assert!((cell_share(Decode, &[Decode]) - 1.0).abs() < 1e-12);
    assert!((cell_share(Decode, &[Decode, Prefill]) - 0.5).abs() < 1e-12);
    assert!((cell_share(Decode, &[Decode; 12]) - 1.0 / 24.0).abs() < 1e-12);
    for gated in [
        vec![Decode],
        vec![Decode; 5],
        vec![Decode, Decode, Prefill],
        vec![Decode, Prefill, Energy, Energy, Decode, Decode],
    ] {
        let cells: f64 = gated.iter().map(|metric| cell_share(*metric, &gated)).sum();
        let several = [Decode, Prefill, Energy]
            .into_iter()
            .filter(|metric| gated.iter().filter(|other| *other == metric).count() > 1)
            .count();
        let all = cells + several as f64 * suite_share(&gated);
        assert!((all - 1.0).abs() < 1e-12, "{gated:?}: {all}");
    }
    assert!(cell_share(Decode, &[]).abs() < 1e-12);
}

#[test]
fn the_budget_ends_the_looks() {
    assert_eq!(last_look_within(12.0, 28.0), Some(24));
    assert_eq!(last_look_within(22.4, 28.0), Some(48));
    assert_eq!(last_look_within(5.5, 28.0), None);
    assert_eq!(last_look_within(5.6, 28.0), Some(12));
}

#[test]
fn more_spread_needs_more_blocks() {
    let needed = |sd| blocks_needed(sd, 0.05, 1.0 / 24.0, 0.005, 0.02);
    assert_eq!(needed(0.006), Some(16));
    assert_eq!(needed(0.0137), Some(24));
    assert_eq!(needed(0.020), Some(48));
    assert_eq!(needed(0.030), None);
}

#[test]
fn what_is_known_of_the_spread_goes_before_what_is_assumed() {
    let known = [KnownSd {
        metric: Metric::Decode,
        ppm: 8_000,
        blocks: 200,
    }];
    assert_eq!(block_sd(&known, Metric::Decode), (0.008, 200));
    assert_eq!(block_sd(&known, Metric::Energy), (ASSUMED_BLOCK_SD, 0));
}

#[test]
fn a_policy_that_can_never_decide_is_told_with_what_to_do() {
    let mut policy = policy();
    policy.quality = None;
    assert_eq!(never_decides(&policy, &[Metric::Decode], 12), None);
    assert!(never_decides(&policy, &[], 48).is_some());
    let why = never_decides(&policy, &[Metric::Decode; 12], 12).expect("12 blocks are too few");
    assert!(why.contains("plan 16 blocks"), "{why}");
    assert_eq!(never_decides(&policy, &[Metric::Decode; 12], 16), None);
    policy.alpha = 1e-14;
    let why = never_decides(&policy, &[Metric::Decode], 48).expect("2^-48 is more");
    assert!(why.contains("greater error"), "{why}");
    policy.alpha = 0.05;
    policy.beta = 0.000_5;
    let why = never_decides(&policy, &[Metric::Decode], 12).expect("nothing can pass at 12");
    assert!(why.contains("PASS"), "{why}");
}

#[test]
fn items_that_cannot_pass_even_unchanged_are_told() {
    // z² (1 - margin) / margin = 267.8, 132.6, 87.5
    assert_eq!(least_items(0.01), 268);
    assert_eq!(least_items(0.02), 133);
    assert_eq!(least_items(0.03), 88);
    let most_lost = |items| {
        let unchanged = Paired {
            items,
            ..Paired::default()
        };
        unchanged.most_lost().expect("items were asked")
    };
    assert!(most_lost(268) < 0.01 && most_lost(267) >= 0.01);

    let text = |items| format!("[quality]\nitems = {items}\nmargin_points = 1.0\n");
    let said = |items| {
        let policy = Policy::parse("gate.toml", &text(items)).expect("valid");
        never_decides(&policy, &[Metric::Decode], 48)
    };
    assert_eq!(said(280), None);
    let why = said(140).expect("140 items cannot pass");
    assert!(why.contains("ask 268 or more"), "{why}");
}

proptest! {
    #[test]
    fn more_blocks_or_fewer_cells_never_detect_less(
        m in 1_usize..200,
        at in 0_usize..LOOKS.len() - 1,
    ) {
        let share = |m: usize| if m == 1 { 1.0 } else { 0.5 / m as f64 };
        let effect = |blocks, m| factor(blocks, 0.05, share(m)).unwrap_or(f64::INFINITY);
        let (blocks, later) = (LOOKS[at].blocks, LOOKS[at + 1].blocks);
        prop_assert!(effect(later, m) <= effect(blocks, m));
        prop_assert!(effect(blocks, m) <= effect(blocks, m + 1));
    }
}
