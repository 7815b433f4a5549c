//! The regression gate: did this change make it slower, hungrier or worse?
//!
//! Two *arms*, base and candidate, differ in one thing. They take turns in *blocks* of four *slots*,
//! each one fresh engine process, ABBA or BAAB by a coin that was fixed before the first slot
//! ([`order()`]). A block says one number for each gated cell and metric: the candidate's mean log
//! cost less the base's. What stands on these numbers rests on our own coin flips and not on
//! assumptions about the noise: the Hodges-Lehmann estimate with exact signed-rank limits
//! ([`rank`]), looked at after a planned number of blocks ([`looks`]).
//!
//! A value's way: a [`policy`] says what is gated and with which margins; the runner measures a
//! [`record::GateRecord`] of raw samples and coins and seals it; [`verdict::judge()`] makes every
//! decision from those bytes, in the runner and again in the collector, with the same code.
//! [`ladder`] decides about the answers, [`plan`] says beforehand what can be decided at all.
//!
//! Effects are natural logarithms of candidate / base; shares such as 0.02 become `ln_1p(0.02)`.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use self::record::StageKind;

pub mod fixtures;
pub mod ladder;
pub mod looks;
pub mod plan;
pub mod policy;
pub mod rank;
pub mod record;
pub mod replay;
pub mod rivals;
pub mod verdict;

/// Put before what a coin is drawn from, so that no other digest of the program can be one.
const COIN: &[u8] = b"joulemark-gate-v1";

/// Put before what a later stage's seed is drawn from.
const STAGE: &[u8] = b"joulemark-gate-stage-v1";

/// One of the two that are compared.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Arm {
    /// What was there before.
    Base,
    /// What changed.
    Candidate,
}

impl Arm {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Candidate => "candidate",
        }
    }
}

/// What is gated. Each is a cost: more is worse.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Nanoseconds per output token after the first.
    Decode,
    /// Nanoseconds per prompt token until the first output token.
    Prefill,
    /// Nanoseconds until the first output token.
    Ttft,
    /// Bytes of memory at the most.
    PeakBytes,
    /// Microjoules per token of prompt and output, in one scope of one meter.
    Energy,
    /// Nanoseconds per unit of work of a command that is no language model.
    Time,
}

impl Metric {
    /// Every metric, in the order of display.
    pub const ALL: [Self; 6] = [
        Self::Decode,
        Self::Prefill,
        Self::Ttft,
        Self::PeakBytes,
        Self::Energy,
        Self::Time,
    ];

    /// As policies, records and readers spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
            Self::Ttft => "ttft",
            Self::PeakBytes => "peak-bytes",
            Self::Energy => "energy",
            Self::Time => "time",
        }
    }

    /// In which direction a greater cost is, in a word.
    pub fn worse(self) -> &'static str {
        match self {
            Self::Decode | Self::Prefill | Self::Ttft | Self::Time => "slower",
            Self::PeakBytes => "larger",
            Self::Energy => "hungrier",
        }
    }

    /// In which direction a smaller cost is, in a word.
    pub fn better(self) -> &'static str {
        match self {
            Self::Decode | Self::Prefill | Self::Ttft | Self::Time => "faster",
            Self::PeakBytes => "smaller",
            Self::Energy => "thriftier",
        }
    }

    /// Share of the base by which it may be worse where the policy says nothing.
    pub fn tolerance(self) -> f64 {
        match self {
            Self::Decode | Self::Prefill | Self::PeakBytes | Self::Time => 0.02,
            Self::Energy => 0.03,
            Self::Ttft => 0.05,
        }
    }
}

/// What the gate says, of a cell or of all.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "SCREAMING-KEBAB-CASE")]
pub enum Verdict {
    /// Shown to be no worse than the tolerance allows.
    Pass,
    /// So, and shown to be better by more than the practical zero.
    Improved,
    /// Shown to be worse by more than the practical zero, and not shown to be within the tolerance.
    Regressed,
    /// The blocks that were planned decide nothing.
    Inconclusive,
    /// The measurement does not count.
    Invalid,
}

impl Verdict {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Improved => "IMPROVED",
            Self::Regressed => "REGRESSED",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Invalid => "INVALID",
        }
    }
}

/// The coin of block `index`: the low bit of the last byte of SHA-256 over `joulemark-gate-v1`, the seed, the
/// name of the model whose turn it is, and the block's index as eight bytes, high byte first.
pub fn coin(seed: &[u8; 32], model: &str, index: u32) -> bool {
    let digest = Sha256::new()
        .chain_update(COIN)
        .chain_update(seed)
        .chain_update(model.as_bytes())
        .chain_update(u64::from(index).to_be_bytes())
        .finalize();
    digest[31] & 1 == 1
}

/// The seed of a stage's coins: the gate's own for the measuring stage, and for every later one
/// SHA-256 over its own label, the gate's seed, and the stage's kind as records spell it. A record has
/// one stage of a kind; going on adds blocks to it.
pub fn stage_seed(seed: &[u8; 32], kind: StageKind) -> [u8; 32] {
    let name: &[u8] = match kind {
        StageKind::Measuring => return *seed,
        StageKind::Confirmation => b"confirmation",
        StageKind::Layout => b"layout",
    };
    Sha256::new()
        .chain_update(STAGE)
        .chain_update(seed)
        .chain_update(name)
        .finalize()
        .into()
}

/// The four slots of a block: ABBA, or BAAB where the coin shows.
pub fn order(coin: bool) -> [Arm; 4] {
    if coin {
        [Arm::Candidate, Arm::Base, Arm::Base, Arm::Candidate]
    } else {
        [Arm::Base, Arm::Candidate, Arm::Candidate, Arm::Base]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coin_is_fixed_by_seed_model_and_index_and_is_fair() {
        let seed = [7; 32];
        let heads = (0..10_000).filter(|i| coin(&seed, "m", *i)).count();
        // Four standard deviations of a fair coin.
        assert!(heads.abs_diff(5_000) < 200, "{heads}");
        assert_eq!(coin(&seed, "m", 3), coin(&seed, "m", 3));
        let differs = |other: &dyn Fn(u32) -> bool| {
            (0..64).any(|index| other(index) != coin(&seed, "m", index))
        };
        assert!(differs(&|index| coin(&seed, "n", index)));
        assert!(differs(&|index| coin(&[8; 32], "m", index)));
    }

    #[test]
    fn every_stage_has_a_seed_of_its_own_that_follows_from_the_first() {
        let seed = [7; 32];
        let seeds = [
            StageKind::Measuring,
            StageKind::Confirmation,
            StageKind::Layout,
        ]
        .map(|kind| stage_seed(&seed, kind));
        assert_eq!(seeds[0], seed);
        assert!(seeds[1] != seeds[0] && seeds[2] != seeds[0] && seeds[1] != seeds[2]);
        assert_ne!(stage_seed(&[8; 32], StageKind::Layout), seeds[2]);
    }

    #[test]
    fn every_arm_has_two_slots_that_balance_a_straight_drift() {
        for coin in [false, true] {
            let places = |arm| -> usize {
                let slots = order(coin).into_iter().enumerate();
                slots.filter(|(_, of)| *of == arm).map(|(at, _)| at).sum()
            };
            assert_eq!(places(Arm::Base), 3);
            assert_eq!(places(Arm::Candidate), 3);
        }
    }
}
