//! The suites: procedural tasks whose items and scores anybody can regenerate.
//!
//! An item is a pure function of the suite version, a 32-byte seed and an [`ItemId`], so a record
//! carries only the answers: the collector draws the same items again and scores them itself.
//! Any change that alters an item changes [`Suite::digest`] and needs a new suite version.
//!
//! - [`Suite::ReferenceV1`]: short tasks for the reference models, seven families of three levels,
//!   prompts of bytes. Training and evaluation never share a prompt, because which of the two a
//!   prompt belongs to is decided by its hash ([`reference::is_evaluation_prompt`]).
//! - [`Suite::CoreV1`]: natural-language tasks for language models, nine families of five levels,
//!   each asked as one chat message that says how to answer; the answer is taken out of the text by
//!   a fixed rule ([`core`]).

use std::fmt;
use std::sync::LazyLock;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub mod core;
mod draw;
mod family;
pub mod reference;

pub use family::Family;

/// A versioned set of task families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Suite {
    /// Short tasks for the reference models.
    #[serde(rename = "reference-v1")]
    ReferenceV1,
    /// What people ask language models for.
    #[serde(rename = "core-v1")]
    CoreV1,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 2] = [Self::ReferenceV1, Self::CoreV1];

    /// Name and version, as in records and matrices.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReferenceV1 => "reference-v1",
            Self::CoreV1 => "core-v1",
        }
    }

    /// The suite of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    /// The seed of the published items: the SHA-256 of the ASCII phrase `joulemark {name} public seed`.
    pub fn public_seed(self) -> [u8; 32] {
        Sha256::digest(format!("joulemark {} public seed", self.name())).into()
    }

    /// Its families, in the order of the plan.
    pub const fn families(self) -> &'static [Family] {
        match self {
            Self::ReferenceV1 => &Family::REFERENCE,
            Self::CoreV1 => &Family::CORE,
        }
    }

    /// Levels of difficulty per family, numbered from one.
    pub const fn levels(self) -> u8 {
        match self {
            Self::ReferenceV1 => reference::LEVELS,
            Self::CoreV1 => core::LEVELS,
        }
    }

    /// Items are asked as a chat message, with the model's own template; else as plain text.
    pub const fn is_chat(self) -> bool {
        matches!(self, Self::CoreV1)
    }

    /// The ids of a run of `items` items: spread evenly over the families, then over the levels.
    ///
    /// Families take turns, so that any prefix of the plan is balanced as well.
    pub fn plan(self, items: u32) -> Vec<ItemId> {
        let families = self.families().len() as u32;
        let levels = u32::from(self.levels());
        (0..items)
            .map(|position| {
                let round = position / families;
                ItemId {
                    family: self.families()[(position % families) as usize],
                    level: (round % levels) as u8 + 1,
                    index: round / levels,
                }
            })
            .collect()
    }

    /// Identifies the generators: a hash over the version and the first items of every family and
    /// level.
    pub fn digest(self) -> [u8; 32] {
        static REFERENCE: LazyLock<[u8; 32]> = LazyLock::new(|| digest(Suite::ReferenceV1));
        static CORE: LazyLock<[u8; 32]> = LazyLock::new(|| digest(Suite::CoreV1));
        match self {
            Self::ReferenceV1 => *REFERENCE,
            Self::CoreV1 => *CORE,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which item of a suite (the family says which suite): written `family/level/index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId {
    /// The kind of task.
    pub family: Family,
    /// Difficulty from one to [`Suite::levels`]; a level outside is read as the nearest one.
    pub level: u8,
    /// Number of the item within its family and level, from zero.
    pub index: u32,
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.family, self.level, self.index)
    }
}

/// A question, and how an answer to it is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Which item this is.
    pub id: ItemId,
    /// What the model is given.
    pub prompt: String,
    /// An answer that is right: the shortest text that a model would have to write.
    pub answer: String,
    /// Tokens that an answer may have, thinking not counted; a longer one is cut, and wrong.
    pub max_answer_tokens: u32,
    check: Check,
}

/// The rule that an answer is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Check {
    /// Equal to the item's answer byte for byte, nothing before or after it.
    Bytes,
    /// By a rule of [`core`], on what its extraction finds.
    Core(core::Check),
}

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Right.
    Right,
    /// An answer was given, and it is not right.
    Wrong,
    /// No answer could be found in the text: wrong too, and counted apart.
    Unextractable,
}

/// The item `id` under `seed`.
pub fn item(seed: &[u8; 32], id: ItemId) -> Item {
    let suite = id.family.suite();
    let level = [id.level.clamp(1, suite.levels())];
    let index = id.index.to_le_bytes();
    let parts: [&[u8]; 6] = [
        b"joulemark suite item",
        suite.name().as_bytes(),
        seed,
        id.family.name().as_bytes(),
        &level,
        &index,
    ];
    let mut rng = ChaCha8Rng::from_seed(hash(&parts));
    match suite {
        Suite::ReferenceV1 => reference::draw_until(&mut rng, id, true),
        Suite::CoreV1 => {
            let drawn = core::draw(&mut rng, id.family, level[0], id.index);
            Item {
                id,
                prompt: drawn.prompt,
                answer: drawn.answer,
                max_answer_tokens: drawn.max_answer_tokens,
                check: Check::Core(drawn.check),
            }
        }
    }
}

/// Judges an answer. Whatever the text is, the work is bounded by its length.
pub fn score(item: &Item, answer: &str) -> Verdict {
    match &item.check {
        Check::Bytes if item.answer == answer => Verdict::Right,
        Check::Bytes => Verdict::Wrong,
        Check::Core(check) => core::score(check, answer),
    }
}

/// Items per family and level that enter [`Suite::digest`].
const GOLDEN_ITEMS: u32 = 4;

fn digest(suite: Suite) -> [u8; 32] {
    let mut texts = vec![suite.name().to_owned()];
    let items = GOLDEN_ITEMS * u32::from(suite.levels()) * suite.families().len() as u32;
    let seed = suite.public_seed();
    for id in suite.plan(items) {
        let item = item(&seed, id);
        texts.extend([id.to_string(), item.prompt, item.answer]);
    }
    let parts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    hash(&parts)
}

/// SHA-256 of the parts, each preceded by its length, so that no two lists of parts hash alike.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_balanced_at_every_length() {
        for suite in Suite::ALL {
            for items in [0, 1, 100, 200, 1_000] {
                let plan = suite.plan(items);
                assert_eq!(plan.len(), items as usize);
                let of = |family| plan.iter().filter(|id| id.family == family).count();
                let counts: Vec<usize> =
                    suite.families().iter().map(|&family| of(family)).collect();
                let (least, most) = (counts.iter().min(), counts.iter().max());
                assert!(
                    most.zip(least)
                        .is_some_and(|(most, least)| most - least <= 1)
                );
            }
        }
    }

    #[test]
    fn names_lead_back_to_suites_and_families() {
        for suite in Suite::ALL {
            assert_eq!(Suite::from_name(suite.name()), Some(suite));
            for &family in suite.families() {
                assert_eq!(family.suite(), suite);
                assert_eq!(Family::from_name(family.name()), Some(family));
            }
        }
        assert_eq!(Family::from_name("Addition"), None);
    }
}
