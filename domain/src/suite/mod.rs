//! The suite `reference-v1`: short procedural tasks whose items and scores anybody can regenerate.
//!
//! An item is a pure function of the suite version, a 32-byte seed and an [`ItemId`], so a record
//! carries only the answers: the collector draws the same items again and scores them itself.
//! Training and evaluation never share a prompt, because which of the two a prompt belongs to is
//! decided by its hash (see [`is_evaluation_prompt`]).
//! Any change that alters an item changes [`digest`] and needs a new suite version.

mod draw;
mod family;

use std::fmt;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

pub use family::Family;

/// The name and version of the only suite so far.
pub const REFERENCE_V1: &str = "reference-v1";

/// The seed of the published items.
///
/// It is the SHA-256 of the ASCII phrase `joulemark reference-v1 public seed`.
pub const PUBLIC_SEED: [u8; 32] = [
    0x0f, 0xcb, 0x7e, 0x2b, 0xe5, 0x64, 0x71, 0xe0, 0x82, 0x2e, 0xb2, 0x38, 0x2b, 0x71, 0x1e, 0x40,
    0xff, 0xd2, 0x11, 0x34, 0x08, 0x17, 0x3a, 0x59, 0x65, 0x2c, 0x63, 0xbe, 0x92, 0xe6, 0xde, 0x90,
];

/// Levels of difficulty per family, numbered from one.
pub const LEVELS: u8 = 3;

/// The most bytes that a prompt and its answer have together.
pub const MAX_ITEM_BYTES: usize = 32;

/// One prompt in this many belongs to evaluation, the others to training.
const EVALUATION_SHARE: u8 = 8;

/// Items per family and level that enter [`digest`].
const GOLDEN_ITEMS: u32 = 4;

/// Which item of the suite: written `family/level/index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId {
    /// The kind of task.
    pub family: Family,
    /// Difficulty from one to [`LEVELS`]; a level outside is read as the nearest one.
    pub level: u8,
    /// Number of the item within its family and level, from zero.
    pub index: u32,
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.family, self.level, self.index)
    }
}

/// A question and its one right answer, both printable ASCII and together at most
/// [`MAX_ITEM_BYTES`] long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Which item this is.
    pub id: ItemId,
    /// What the model is given: the family's marker, the question, and `=`.
    pub prompt: String,
    /// What the model must generate before it ends the sequence.
    pub answer: String,
}

/// The ids of a run of `items` items: spread evenly over the families, then over the levels.
///
/// Families take turns, so that any prefix of the plan is balanced as well.
pub fn plan(items: u32) -> Vec<ItemId> {
    let families = Family::ALL.len() as u32;
    let levels = u32::from(LEVELS);
    (0..items)
        .map(|position| {
            let round = position / families;
            ItemId {
                family: Family::ALL[(position % families) as usize],
                level: (round % levels) as u8 + 1,
                index: round / levels,
            }
        })
        .collect()
}

/// The item `id` under `seed`, drawn from the evaluation part of the prompts.
pub fn item(seed: &[u8; 32], id: ItemId) -> Item {
    let level = [family::effective_level(id.level)];
    let index = id.index.to_le_bytes();
    let parts: [&[u8]; 6] = [
        b"joulemark suite item",
        REFERENCE_V1.as_bytes(),
        seed,
        id.family.name().as_bytes(),
        &level,
        &index,
    ];
    let mut rng = ChaCha8Rng::from_seed(hash(&parts));
    draw_until(&mut rng, id, true)
}

/// A fresh item for training: never a prompt that [`item`] can return, whatever its seed.
///
/// Its index is zero, since training items are not numbered.
pub fn training_item(rng: &mut impl Rng, family: Family, level: u8) -> Item {
    draw_until(
        rng,
        ItemId {
            family,
            level,
            index: 0,
        },
        false,
    )
}

/// Whether `answer` is right: it equals the item's answer byte for byte.
///
/// The engine stops at the end-of-sequence token or one token past the length of the right answer,
/// so an answer that goes on too long is wrong as well.
pub fn score(item: &Item, answer: &str) -> bool {
    item.answer == answer
}

/// Whether a prompt belongs to evaluation rather than to training, by its hash.
pub fn is_evaluation_prompt(prompt: &str) -> bool {
    let parts: [&[u8]; 3] = [
        b"joulemark suite split",
        REFERENCE_V1.as_bytes(),
        prompt.as_bytes(),
    ];
    hash(&parts)[0].is_multiple_of(EVALUATION_SHARE)
}

/// Identifies the generators: a hash over the version and the first items of every family and
/// level.
pub fn digest() -> [u8; 32] {
    let mut texts = vec![REFERENCE_V1.to_owned()];
    for id in plan(GOLDEN_ITEMS * u32::from(LEVELS) * Family::ALL.len() as u32) {
        let item = item(&PUBLIC_SEED, id);
        texts.extend([id.to_string(), item.prompt, item.answer]);
    }
    let parts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    hash(&parts)
}

fn draw_until(rng: &mut impl Rng, id: ItemId, evaluation: bool) -> Item {
    loop {
        let (prompt, answer) = id.family.draw(rng, id.level);
        if is_evaluation_prompt(&prompt) == evaluation {
            return Item { id, prompt, answer };
        }
    }
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
mod tests;
