//! Evidence about answers: greedy texts, then token by token, then items; as far as is needed.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use domain::gate::policy::QualityPolicy;
use domain::gate::record::QualityEvidence;

use super::arm::ArmSpec;
use super::slot::SlotError;

/// Both arms of one model.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// The model's place in the record.
    pub model: u32,
    /// What stood before, and its weights.
    pub base: (&'a ArmSpec, &'a Path),
    /// What changed, and its weights.
    pub candidate: (&'a ArmSpec, &'a Path),
    /// Threads to compute with.
    pub threads: u32,
}

/// Climbs the ladder until a rung decides. Blocking; `on_progress` is told the rung, how much of it
/// is done, and of how much.
pub fn climb(
    pair: &Pair,
    policy: &QualityPolicy,
    stop: &AtomicBool,
    on_progress: &mut dyn FnMut(u8, u32, u32),
) -> Result<QualityEvidence, SlotError> {
    let _ = (pair, policy, stop, on_progress);
    unimplemented!("the ladder's evidence")
}
