//! What other tools' rules say of the recorded blocks, as their users would have measured them.
//!
//! A/A, as such tools are used: every base run first, then every candidate run, one after another in
//! the recorded order; and once with the slots as the gate's coins dealt them, which those tools do
//! not do. Each comparison has as many runs as a gate of 12 blocks: 24 of each arm.

use domain::gate::rivals::{self, Said};
use domain::gate::{Arm, order};
use domain::statistics::bootstrap::Resampler;

/// Slots of one comparison, both arms together.
const SLOTS: usize = 48;

/// How often a rule said what.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) comparisons: u32,
    pub(crate) worse: u32,
    pub(crate) better: u32,
}

/// One rule.
pub(crate) struct RuleOf {
    pub(crate) name: &'static str,
    say: fn(&[f64], &[f64]) -> Said,
}

/// The rules, with what decides in each.
pub(crate) const RULES: [RuleOf; 3] = [
    RuleOf {
        name: "criterion",
        say: |base, candidate| rivals::criterion(base, candidate, [0; 32]),
    },
    RuleOf {
        name: "hyperfine",
        say: rivals::hyperfine,
    },
    RuleOf {
        name: "Welch's t-test, 5 %",
        say: rivals::t_test,
    },
];

/// How the slots are dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dealt {
    /// The first half is the base's, the second the candidate's.
    OneAfterTheOther,
    /// By coins, block for block.
    ByCoins,
}

/// What `rule` says of `count` comparisons, with `planted` added to the candidate's logarithms.
/// `slots` are ln(cost per unit) in the order in which they were run; windows of them begin at
/// random blocks.
pub(crate) fn count(
    rule: &RuleOf,
    slots: &[[f64; 4]],
    dealt: Dealt,
    planted: f64,
    comparisons: u32,
) -> Counts {
    let mut random = Resampler::new([11; 32]);
    let mut counts = Counts::default();
    let blocks = SLOTS / 4;
    for _ in 0..comparisons {
        let from = random.index(slots.len() - blocks + 1);
        let window = &slots[from..from + blocks];
        let (mut base, mut candidate) = (Vec::new(), Vec::new());
        for (at, block) in window.iter().enumerate() {
            let arms = match dealt {
                Dealt::OneAfterTheOther if at < blocks / 2 => [Arm::Base; 4],
                Dealt::OneAfterTheOther => [Arm::Candidate; 4],
                Dealt::ByCoins => order(random.chance(0.5)),
            };
            for (value, arm) in block.iter().zip(arms) {
                match arm {
                    Arm::Base => base.push(value.exp()),
                    Arm::Candidate => candidate.push((value + planted).exp()),
                }
            }
        }
        counts.comparisons += 1;
        match (rule.say)(&base, &candidate) {
            Said::Worse => counts.worse += 1,
            Said::Better => counts.better += 1,
            Said::NoChange => {}
        }
    }
    counts
}
