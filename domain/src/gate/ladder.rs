//! The ladder of answers: identical, then token by token, then items; the first rung that decides ends it.

use super::policy::QualityPolicy;
use super::record::QualityEvidence;
use super::verdict::QualityJudgement;

/// What was seen of one model's answers, judged. Pure: the same evidence gives the same judgement.
/// A contradiction in the evidence is INVALID, as is evidence that shows nothing.
pub fn judge_quality(
    evidence: &QualityEvidence,
    policy: &QualityPolicy,
    model: &str,
) -> QualityJudgement {
    let _ = (evidence, policy, model);
    unimplemented!("the ladder")
}

/// Items that show with 90 % probability that an unchanged model is within `margin` (a share of the
/// items), if a share `psi` of them flips; `None` where more than can be planned for would be needed.
pub fn items_needed(margin: f64, psi: f64) -> Option<u32> {
    let _ = (margin, psi);
    unimplemented!("items")
}
