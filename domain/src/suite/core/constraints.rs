//! The family `constraints`.

use rand_core::Rng;

use super::Drawn;

/// One checkable demand on a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::suite) enum Constraint {}

pub(super) fn draw(_rng: &mut impl Rng, _level: u8) -> Drawn {
    todo!()
}
