//! The committed blocks of a build against itself: gates replayed over them cry wolf no more often
//! than is promised.

use std::fs::read_to_string;

use domain::gate::Metric;
use domain::gate::looks::Rule;
use domain::gate::policy::Policy;
use domain::gate::record::Block;
use domain::gate::replay::{Recorded, replay, slot_values};

/// Gates replayed.
const GATES: u32 = 2_000;

/// What was recorded, to be decided as the campaign's policy decides.
fn recorded() -> Recorded {
    let file = "examples/gate_campaign/policy.toml";
    let text = read_to_string(file).expect("the campaign's policy is there");
    let policy = Policy::parse(file, &text).expect("the campaign's policy can be read");
    let lines = read_to_string("docs/gate/aa-blocks.jsonl").expect("the blocks are committed");
    let blocks: Vec<Block> = lines
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).expect("a line is a block"))
        .collect();
    let slots = slot_values(&blocks, 0, Metric::Decode);
    assert!(slots.len() >= 200, "{} blocks are too few", slots.len());
    let rule = Rule {
        practical_zero: policy.practical_zero.ln_1p(),
        tolerance: policy.tolerance(Metric::Decode).ln_1p(),
        alpha: policy.alpha,
        beta: policy.beta,
    };
    Recorded {
        cells: vec![(rule, slots)],
        alpha: policy.alpha,
        last_look: 48,
    }
}

#[test]
fn replayed_gates_of_a_build_against_itself_regress_at_most_once_in_a_hundred() {
    let rates = replay(&recorded(), 0.0, GATES, [60; 32]).expect("there are blocks enough");
    assert!(
        rates.regressed * 100 <= rates.gates,
        "{} of {} gates said REGRESSED",
        rates.regressed,
        rates.gates
    );
}

#[test]
fn replayed_gates_find_what_is_planted() {
    let rates = replay(&recorded(), 0.10, GATES, [61; 32]).expect("there are blocks enough");
    assert!(
        rates.regressed * 100 >= rates.gates * 95,
        "{} of {} gates found +10 %",
        rates.regressed,
        rates.gates
    );
}
