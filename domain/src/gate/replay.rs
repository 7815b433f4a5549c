//! What the gate would have said of recorded blocks, had other coins fallen.
//!
//! In a gate of a build against itself it does not matter which slot was whose. So the recorded
//! slots are dealt out anew: blocks in a random order, the coin of each tossed again, which says
//! which two of its four slots are the candidate's; looks, alarms and confirmation as in a gate.
//! A known ratio can be planted in the candidate's slots, which gives the power curve on noise that
//! is this machine's. A replayed rate is never merged with a live one: its gates share their noise.
//!
//! Left out are the suite's means, which a gate of several cells of one metric has beside.

use super::looks::{LOOKS, Rule, decide};
use super::record::{Block, GateRecord, StageKind};
use super::verdict::values::{Place, counts, sample, slot_value};
use super::{Arm, Metric, Verdict, order};
use crate::statistics::bootstrap::Resampler;

/// A slot's values of one cell-metric, by block in the order in which they were run: the median of
/// ln(cost per unit) over its repetitions.
pub type SlotValues = Vec<[f64; 4]>;

/// Recorded blocks, and how they would be decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// What each cell-metric is decided by, and its slots; all have the same blocks.
    pub cells: Vec<(Rule, SlotValues)>,
    /// Error of the gate as a whole: what the confirmation divides over what regressed.
    pub alpha: f64,
    /// Blocks after which the last decision falls.
    pub last_look: usize,
}

/// How often replayed gates said what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// Gates replayed.
    pub gates: u32,
    /// Those whose first measurement said REGRESSED.
    pub alarmed: u32,
    /// Those that said REGRESSED: the confirmation did, too.
    pub regressed: u32,
    /// Those in which every cell passed, and one or more improved.
    pub improved: u32,
    /// Those in which every cell passed.
    pub passed: u32,
    /// The rest: undecided, or not confirmed.
    pub inconclusive: u32,
    /// Blocks of all measuring stages together, each until its last cell was decided.
    pub blocks: u64,
}

/// Replays `gates` gates over recorded blocks with `planted`, a share, added to the candidate's
/// cost: 0.02 makes it 2 % more. `None` where there are fewer blocks than the last look needs, no
/// cell, no first look, or a value that is not finite.
pub fn replay(recorded: &Recorded, planted: f64, gates: u32, seed: [u8; 32]) -> Option<Rates> {
    let count = recorded.cells.first()?.1.len();
    let whole = |(_, slots): &(Rule, SlotValues)| {
        slots.len() == count && slots.iter().flatten().all(|value| value.is_finite())
    };
    let planted = planted.ln_1p();
    if count < recorded.last_look
        || recorded.last_look < LOOKS[0].blocks
        || !planted.is_finite()
        || !recorded.cells.iter().all(whole)
    {
        return None;
    }
    let mut draws = Resampler::new(seed);
    let mut rates = Rates::default();
    for _ in 0..gates {
        let (verdict, alarmed, blocks) = one(recorded, planted, &mut draws);
        rates.gates += 1;
        rates.alarmed += u32::from(alarmed);
        rates.blocks += blocks as u64;
        *match verdict {
            Verdict::Regressed => &mut rates.regressed,
            Verdict::Improved => &mut rates.improved,
            Verdict::Pass => &mut rates.passed,
            Verdict::Inconclusive | Verdict::Invalid => &mut rates.inconclusive,
        } += 1;
    }
    Some(rates)
}

/// One gate: its verdict, whether its first measurement was an alarm, and that one's blocks.
fn one(recorded: &Recorded, planted: f64, draws: &mut Resampler) -> (Verdict, bool, usize) {
    let all: Vec<usize> = (0..recorded.cells.len()).collect();
    let first = measure(recorded, &all, planted, None, draws);
    let blocks = first.iter().map(|(_, blocks)| *blocks).max();
    let regressed: Vec<usize> = (first.iter().enumerate())
        .filter(|(_, (verdict, _))| *verdict == Verdict::Regressed)
        .map(|(cell, _)| cell)
        .collect();
    let said = |wanted: Verdict| first.iter().any(|(verdict, _)| *verdict == wanted);
    let verdict = if !regressed.is_empty() {
        let alpha = recorded.alpha / regressed.len() as f64;
        let second = measure(recorded, &regressed, planted, Some(alpha), draws);
        let confirmed = second.iter().any(|(v, _)| *v == Verdict::Regressed);
        if confirmed {
            Verdict::Regressed
        } else {
            Verdict::Inconclusive
        }
    } else if said(Verdict::Inconclusive) {
        Verdict::Inconclusive
    } else if said(Verdict::Improved) {
        Verdict::Improved
    } else {
        Verdict::Pass
    };
    (verdict, !regressed.is_empty(), blocks.unwrap_or(0))
}

/// What each of these cells comes to on blocks that are drawn anew, and after how many blocks.
fn measure(
    recorded: &Recorded,
    cells: &[usize],
    planted: f64,
    alpha: Option<f64>,
    draws: &mut Resampler,
) -> Vec<(Verdict, usize)> {
    let count = recorded.cells[0].1.len();
    let mut places: Vec<usize> = (0..count).collect();
    // The front of a Fisher-Yates shuffle: blocks without replacement.
    let dealt: Vec<(usize, [Arm; 4])> = (0..recorded.last_look)
        .map(|at| {
            let chosen = at + draws.index(count - at);
            places.swap(at, chosen);
            (places[at], order(draws.chance(0.5)))
        })
        .collect();
    let decided = |cell: &usize| {
        let (rule, slots) = &recorded.cells[*cell];
        let values: Vec<f64> = dealt
            .iter()
            .map(|(block, arms)| block_value(&slots[*block], *arms) + planted)
            .collect();
        let rule = Rule {
            alpha: alpha.unwrap_or(rule.alpha),
            ..*rule
        };
        decide(&values, &rule, recorded.last_look).map_or((Verdict::Inconclusive, 0), |seen| {
            (seen.verdict, seen.blocks)
        })
    };
    cells.iter().map(decided).collect()
}

/// The candidate's mean less the base's.
fn block_value(slots: &[f64; 4], arms: [Arm; 4]) -> f64 {
    let signed = slots.iter().zip(arms).map(|(value, arm)| match arm {
        Arm::Candidate => *value,
        Arm::Base => -*value,
    });
    signed.sum::<f64>() / 2.0
}

/// The slots of one cell-metric in blocks that count, in order.
pub fn slot_values<'a>(
    blocks: impl IntoIterator<Item = &'a Block>,
    cell: usize,
    metric: Metric,
) -> SlotValues {
    let place = Place { cell, metric };
    let counted = blocks.into_iter().filter(|block| counts(block));
    counted
        .filter_map(|block| {
            let slots = block.slots.iter();
            let values: Option<Vec<f64>> =
                slots.map(|slot| slot_value(sample(slot, place)?)).collect();
            values?.try_into().ok()
        })
        .collect()
}

/// The blocks of the measuring stages of some records, in order.
pub fn measured(records: &[GateRecord]) -> impl Iterator<Item = &Block> {
    let stages = records.iter().flat_map(|record| &record.stages);
    stages
        .filter(|stage| stage.kind == StageKind::Measuring)
        .flat_map(|stage| &stage.blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule {
        practical_zero: 0.004_987_541_5,
        tolerance: 0.019_802_627,
        alpha: 0.05,
        beta: 0.05,
    };

    /// Slots with a spread that gives blocks a standard deviation of about `sd`, and a ramp over
    /// all of them, as of a machine that grows warm.
    fn recorded(blocks: usize, sd: f64, ramp: f64, rule: Rule) -> Recorded {
        let mut draws = Resampler::new([3; 32]);
        let count = (blocks * 4) as f64;
        let slots = (0..blocks)
            .map(|block| {
                std::array::from_fn(|at| {
                    let drift = ramp * (block * 4 + at) as f64 / count;
                    // Twelve uniform draws less their mean: one standard deviation.
                    let normal = (0..12).map(|_| draws.share()).sum::<f64>() - 6.0;
                    drift + normal * sd
                })
            })
            .collect();
        Recorded {
            cells: vec![(rule, slots)],
            alpha: 0.05,
            last_look: 48,
        }
    }

    #[test]
    fn replays_of_a_build_against_itself_hardly_ever_regress() {
        for ramp in [0.0, 0.5] {
            let rates = replay(&recorded(200, 0.008, ramp, RULE), 0.0, 1_000, [1; 32]);
            let rates = rates.expect("enough blocks");
            assert!(rates.regressed <= 5, "{rates:?}");
            assert!(rates.passed + rates.improved >= 980, "{rates:?}");
            assert_eq!(rates.gates, 1_000);
        }
    }

    #[test]
    fn without_a_practical_zero_alarms_stay_within_the_error_and_confirmation_cuts_them() {
        // With d0 = 0 nothing but the error rates holds alarms back.
        let rule = Rule {
            practical_zero: 0.0,
            tolerance: 1e-6,
            ..RULE
        };
        let rates = replay(&recorded(200, 0.01, 0.0, rule), 0.0, 1_000, [2; 32]);
        let rates = rates.expect("enough blocks");
        assert!((1..=70).contains(&rates.alarmed), "{rates:?}");
        assert!(rates.regressed <= rates.alarmed / 2, "{rates:?}");
    }

    #[test]
    fn a_planted_loss_is_found_and_a_planted_gain_is_one() {
        let noise = recorded(200, 0.008, 0.0, RULE);
        let worse = replay(&noise, 0.05, 300, [4; 32]).expect("enough blocks");
        assert!(worse.regressed >= 297, "{worse:?}");
        assert_eq!(worse.passed + worse.improved, 0);
        let better = replay(&noise, -0.05, 300, [5; 32]).expect("enough blocks");
        assert_eq!(better.improved, 300, "{better:?}");
        assert!(better.blocks <= 300 * 16);
    }

    #[test]
    fn the_same_seed_replays_the_same() {
        let noise = recorded(60, 0.02, 0.0, RULE);
        let again = || replay(&noise, 0.02, 50, [6; 32]);
        assert_eq!(again(), again());
    }

    #[test]
    fn too_few_blocks_say_nothing() {
        assert_eq!(
            replay(&recorded(47, 0.01, 0.0, RULE), 0.0, 10, [0; 32]),
            None
        );
        let mut odd = recorded(48, 0.01, 0.0, RULE);
        odd.cells[0].1[7][2] = f64::NAN;
        assert_eq!(replay(&odd, 0.0, 10, [0; 32]), None);
        odd.cells.clear();
        assert_eq!(replay(&odd, 0.0, 10, [0; 32]), None);
    }

    #[test]
    fn a_block_is_the_candidate_less_the_base() {
        let slots = [1.0, 2.0, 4.0, 8.0];
        assert!((block_value(&slots, order(false)) - (3.0 - 4.5)).abs() < 1e-12);
        assert!((block_value(&slots, order(true)) - (4.5 - 3.0)).abs() < 1e-12);
    }
}
