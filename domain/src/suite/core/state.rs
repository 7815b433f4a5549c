//! The family `state`.

use rand_core::Rng;

use super::Drawn;

pub(super) fn draw(_rng: &mut impl Rng, _level: u8) -> Drawn {
    todo!()
}
