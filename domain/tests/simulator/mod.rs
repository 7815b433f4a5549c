//! Machines on a script: what disturbs them, how slots are ordered, and what is said of them; and series
//! of figures that nothing, or one thing, changed.
//!
//! Everything is drawn from a fixed seed. Costs are logarithms; what disturbs a machine depends on
//! when a slot runs and not on whose it is, so whatever a design takes for an effect of the
//! candidate beyond the one that was planted is the design's fault.

use std::f64::consts::TAU;

use domain::gate::looks::{LOOKS, Rule, Seen, decide};
use domain::gate::plan::{cell_share, suite_share};
use domain::gate::rank::Walsh;
use domain::gate::{Arm, Metric, Verdict, coin, order};
use domain::history::change::Change;
use domain::statistics::bootstrap::Resampler;

/// What disturbs a machine, beside each slot's own noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noise {
    /// Nothing.
    None,
    /// It gets hot: 10 % slower, evenly, from first to last slot.
    Ramp,
    /// Something begins: 6 % slower from some slot of the middle half on.
    Step,
    /// Something returns every four slots: a wave of 2 %, in any phase.
    Periodic,
    /// It wanders: each slot starts 0.3 % (one standard deviation) from where the last one was.
    Walk,
    /// Three processes in ten are unlucky with their memory: 4 % slower.
    Bimodal,
}

impl Noise {
    pub(crate) const ALL: [Self; 6] = [
        Self::None,
        Self::Ramp,
        Self::Step,
        Self::Periodic,
        Self::Walk,
        Self::Bimodal,
    ];

    /// What it adds to each of so many slots.
    pub(crate) fn over(self, slots: usize, dice: &mut Dice) -> Vec<f64> {
        let at = dice.0.share();
        let mut wandered = 0.0;
        (0..slots)
            .map(|slot| {
                let part = slot as f64 / slots as f64;
                match self {
                    Self::Ramp => part * 0.10_f64.ln_1p(),
                    Self::Step if part >= 0.25 + 0.5 * at => 0.06_f64.ln_1p(),
                    Self::Periodic => 0.02 * (TAU * (slot as f64 / 4.0 + at)).sin(),
                    Self::Walk => {
                        wandered += 0.003 * dice.normal();
                        wandered
                    }
                    Self::Bimodal if dice.0.chance(0.3) => 0.04_f64.ln_1p(),
                    Self::None | Self::Step | Self::Bimodal => 0.0,
                }
            })
            .collect()
    }
}

/// In which order slots are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Design {
    /// The gate's own: ABBA or BAAB by a coin.
    Coin,
    /// ABAB, always.
    Abab,
    /// ABBA, always.
    Abba,
    /// All of the base, then all of the candidate.
    InTurn,
}

impl Design {
    /// Whose each slot is, and of which block.
    fn slots(self, blocks: usize, dice: &mut Dice) -> Vec<(usize, Arm)> {
        use Arm::{Base, Candidate};
        if self == Self::InTurn {
            let all = |arm| (0..2 * blocks).map(move |slot| (slot / 2, arm));
            return all(Base).chain(all(Candidate)).collect();
        }
        let seed = dice.seed();
        (0..blocks)
            .flat_map(|block| {
                let arms = match self {
                    Self::Coin => order(coin(&seed, "simulated", block as u32)),
                    Self::Abab => [Base, Candidate, Base, Candidate],
                    Self::Abba | Self::InTurn => [Base, Candidate, Candidate, Base],
                };
                arms.map(|arm| (block, arm))
            })
            .collect()
    }
}

/// How often a slot's own noise is far out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tails {
    /// Normal.
    Normal,
    /// Student's t with four degrees of freedom.
    T4,
    /// The same of whole blocks, whose slots are quiet.
    T4Blocks,
}

/// A seeded source of numbers.
pub(crate) struct Dice(Resampler);

impl Dice {
    /// Above 0 and below 1.
    fn inside(&mut self) -> f64 {
        self.0.share() + 0.5 / (f64::from(u32::MAX) + 1.0)
    }

    /// By Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.inside().ln()).sqrt() * (TAU * self.inside()).cos()
    }

    /// Of standard deviation 1.
    pub(crate) fn of(&mut self, tails: Tails) -> f64 {
        match tails {
            Tails::Normal => self.normal(),
            Tails::T4 | Tails::T4Blocks => {
                // Chi squared with four degrees of freedom, over four; t4's variance is 2.
                let chi = -0.5 * (self.inside() * self.inside()).ln();
                self.normal() / chi.sqrt() / 2.0_f64.sqrt()
            }
        }
    }

    /// What coins or resamples are drawn from.
    pub(crate) fn seed(&mut self) -> [u8; 32] {
        std::array::from_fn(|_| self.0.index(256) as u8)
    }
}

/// A machine with two arms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) noise: Noise,
    pub(crate) tails: Tails,
    /// Standard deviation of a block by the slots' own noise: that of one slot, since a block is the
    /// difference of two means of two.
    pub(crate) block_sd: f64,
    /// Share by which the candidate costs more.
    pub(crate) effect: f64,
}

impl Machine {
    /// Log costs of each arm in the order in which they were run, with their blocks.
    fn run(
        &self,
        slots: &[(usize, Arm)],
        around: &[f64],
        dice: &mut Dice,
    ) -> Vec<(usize, Arm, f64)> {
        let is_of_blocks = self.tails == Tails::T4Blocks;
        // Half of a block's noise goes to each arm, in opposite directions.
        let whole: Vec<f64> = (0..slots.len() / 4)
            .map(|_| {
                if is_of_blocks {
                    0.5 * self.block_sd * dice.of(self.tails)
                } else {
                    0.0
                }
            })
            .collect();
        (slots.iter().zip(around))
            .map(|(&(block, arm), around)| {
                let own = match arm {
                    _ if !is_of_blocks => self.block_sd * dice.of(self.tails),
                    Arm::Base => -whole[block],
                    Arm::Candidate => whole[block],
                };
                let planted = if arm == Arm::Candidate {
                    self.effect.ln_1p()
                } else {
                    0.0
                };
                (block, arm, around + own + planted)
            })
            .collect()
    }

    /// Block values of so many cells, which share slots and what disturbs them; by cell.
    pub(crate) fn cells(
        &self,
        design: Design,
        blocks: usize,
        cells: usize,
        dice: &mut Dice,
    ) -> Vec<Vec<f64>> {
        let slots = design.slots(blocks, dice);
        let around = self.noise.over(slots.len(), dice);
        (0..cells)
            .map(|_| {
                let mut values = vec![0.0; blocks];
                for (block, arm, cost) in self.run(&slots, &around, dice) {
                    values[block] += match arm {
                        Arm::Base => -cost / 2.0,
                        Arm::Candidate => cost / 2.0,
                    };
                }
                values
            })
            .collect()
    }

    /// Block values of one cell.
    pub(crate) fn values(&self, design: Design, blocks: usize, dice: &mut Dice) -> Vec<f64> {
        self.cells(design, blocks, 1, dice).swap_remove(0)
    }

    /// What tools without blocks see: costs of the base, and of the candidate.
    pub(crate) fn costs(
        &self,
        design: Design,
        blocks: usize,
        dice: &mut Dice,
    ) -> (Vec<f64>, Vec<f64>) {
        let slots = design.slots(blocks, dice);
        let around = self.noise.over(slots.len(), dice);
        let ran = self.run(&slots, &around, dice);
        let of = |wanted| {
            (ran.iter().filter(|(_, arm, _)| *arm == wanted))
                .map(|(_, _, cost)| cost.exp())
                .collect()
        };
        (of(Arm::Base), of(Arm::Candidate))
    }
}

/// How often something happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) count: u32,
    pub(crate) runs: u32,
}

impl Rate {
    /// In so many seeded runs.
    pub(crate) fn of(runs: u32, seed: u8, mut happens: impl FnMut(&mut Dice) -> bool) -> Self {
        let mut dice = Dice(Resampler::new([seed; 32]));
        let count = (0..runs).filter(|_| happens(&mut dice)).count() as u32;
        Self { count, runs }
    }

    pub(crate) fn percent(self) -> f64 {
        100.0 * f64::from(self.count) / f64::from(self.runs)
    }
}

/// How often a design says REGRESSED of an unchanged candidate after 16 blocks, by one signed-rank
/// test at 1 %.
pub(crate) fn false_alarms(noise: Noise, design: Design, runs: u32) -> Rate {
    let machine = Machine {
        noise,
        tails: Tails::Normal,
        block_sd: 0.01,
        effect: 0.0,
    };
    Rate::of(runs, 1, |dice| {
        let values = machine.values(design, 16, dice);
        Walsh::of(&values).expect("sixteen values").lower(0.01) > 0.0
    })
}

/// The rule of one of `multiplicity` cells of one metric, at the defaults of a policy.
pub(crate) fn rule(multiplicity: usize) -> Rule {
    Rule {
        practical_zero: 0.005_f64.ln_1p(),
        tolerance: Metric::Decode.tolerance().ln_1p(),
        alpha: 0.05 * cell_share(Metric::Decode, &vec![Metric::Decode; multiplicity]),
        beta: 0.05,
    }
}

/// The rule of the mean over those cells.
fn rule_of_mean(rule: Rule) -> Rule {
    Rule {
        alpha: 0.05 * suite_share(&[Metric::Decode]),
        ..rule
    }
}

/// The rule that any effect above none breaks, and none passes: what error the looks spend in all.
pub(crate) fn bare(rule: Rule) -> Rule {
    Rule {
        practical_zero: 0.0,
        tolerance: f64::NEG_INFINITY,
        ..rule
    }
}

/// How often a gate's looks, up to `last`, say REGRESSED of an unchanged candidate, alpha 5 % and no
/// practical zero.
pub(crate) fn sequential_false_alarms(
    noise: Noise,
    design: Design,
    last: usize,
    runs: u32,
) -> Rate {
    let machine = Machine {
        noise,
        tails: Tails::Normal,
        block_sd: 0.01,
        effect: 0.0,
    };
    Rate::of(runs, 2, |dice| {
        verdict(&machine, design, &bare(rule(1)), last, dice) == Verdict::Regressed
    })
}

fn verdict(
    machine: &Machine,
    design: Design,
    rule: &Rule,
    last: usize,
    dice: &mut Dice,
) -> Verdict {
    seen(machine, design, rule, last, dice).verdict
}

fn seen(machine: &Machine, design: Design, rule: &Rule, last: usize, dice: &mut Dice) -> Seen {
    let values = machine.values(design, last, dice);
    decide(&values, rule, last).expect("a look at twelve blocks or more")
}

/// What a gate says of one cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    pub(crate) regressed: Rate,
    /// PASS or IMPROVED.
    pub(crate) passed: Rate,
    pub(crate) inconclusive: Rate,
    /// Blocks that it took, on average.
    pub(crate) blocks: f64,
}

/// What the gate says of one of `multiplicity` cells, with looks up to `last` blocks.
pub(crate) fn said(machine: &Machine, multiplicity: usize, last: usize, runs: u32) -> Said {
    let rule = rule(multiplicity);
    let (mut regressed, mut passed, mut blocks) = (0, 0, 0);
    let inconclusive = Rate::of(runs, 3, |dice| {
        let seen = seen(machine, Design::Coin, &rule, last, dice);
        regressed += u32::from(seen.verdict == Verdict::Regressed);
        passed += u32::from(matches!(seen.verdict, Verdict::Pass | Verdict::Improved));
        blocks += seen.blocks;
        seen.verdict == Verdict::Inconclusive
    });
    let rate = |count| Rate { count, runs };
    Said {
        regressed: rate(regressed),
        passed: rate(passed),
        inconclusive,
        blocks: blocks as f64 / f64::from(runs),
    }
}

/// How often a gate of `cells` cells of one metric says REGRESSED of any by `of_cells`, or of their
/// mean.
pub(crate) fn family_alarms(machine: &Machine, cells: usize, of_cells: Rule, runs: u32) -> Rate {
    let of_mean = rule_of_mean(of_cells);
    let last = LOOKS[LOOKS.len() - 1].blocks;
    let regressed = |values: &[f64], rule: &Rule| {
        decide(values, rule, last).is_some_and(|seen| seen.verdict == Verdict::Regressed)
    };
    Rate::of(runs, 4, |dice| {
        let values = machine.cells(Design::Coin, last, cells, dice);
        let mean: Vec<f64> = (0..last)
            .map(|block| values.iter().map(|cell| cell[block]).sum::<f64>() / cells as f64)
            .collect();
        regressed(&mean, &of_mean) || values.iter().any(|cell| regressed(cell, &of_cells))
    })
}

/// How often an effect of practical zero + `c` standard deviations of a block is told from the
/// practical zero by `last` blocks: 90 % for the detectable effect of a plan.
pub(crate) fn power_at(c: f64, multiplicity: usize, last: usize, tails: Tails, runs: u32) -> Rate {
    let block_sd = 0.01;
    let rule = bare(rule(multiplicity));
    let machine = Machine {
        noise: Noise::None,
        tails,
        block_sd,
        effect: (c * block_sd).exp_m1(),
    };
    Rate::of(runs, 5, |dice| {
        verdict(&machine, Design::Coin, &rule, last, dice) == Verdict::Regressed
    })
}

/// A series of a figure that nothing changes, with a spread of [`Series::SD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Series {
    /// Points that know nothing of each other.
    Iid,
    /// Each point keeps half of how far its neighbour was off.
    Dependent,
    /// One point in twenty is ten standard deviations too large.
    Spiky,
}

impl Series {
    /// Standard deviation, as a logarithm.
    pub(crate) const SD: f64 = 0.01;

    fn values(self, points: usize, dice: &mut Dice) -> Vec<f64> {
        let mut off = dice.normal();
        (0..points)
            .map(|_| {
                let fresh = dice.normal();
                off = match self {
                    Self::Dependent => 0.5 * off + 0.75_f64.sqrt() * fresh,
                    Self::Spiky if dice.0.chance(0.05) => fresh + 10.0,
                    Self::Iid | Self::Spiky => fresh,
                };
                (Self::SD * off).exp()
            })
            .collect()
    }

    /// How often `finds` sees any change in 100 points without one.
    pub(crate) fn false_changes(
        self,
        finds: impl Fn(&[f64], [u8; 32]) -> Vec<Change>,
        runs: u32,
    ) -> Rate {
        Rate::of(runs, 10, |dice| {
            let values = self.values(100, dice);
            !finds(&values, dice.seed()).is_empty()
        })
    }
}

/// How often `finds` sees a shift of two standard deviations, at most three points from where it is,
/// with 48 independent points before it and so many after.
pub(crate) fn shifts_found(
    finds: impl Fn(&[f64], [u8; 32]) -> Vec<Change>,
    after: usize,
    runs: u32,
) -> Rate {
    let before = 48;
    Rate::of(runs, 11, |dice| {
        let mut values = Series::Iid.values(before + after, dice);
        for value in &mut values[before..] {
            *value *= (2.0 * Series::SD).exp();
        }
        (finds(&values, dice.seed()).iter()).any(|change| change.at.abs_diff(before) <= 3)
    })
}
