//! The family `retrieval`: the item's number chooses the depth at which the fact stands.

use rand_core::Rng;

use super::Drawn;

pub(super) fn draw(_rng: &mut impl Rng, _level: u8, _index: u32) -> Drawn {
    todo!()
}
