//! The ladder of answers: identical, then token by token, then items; the first rung that decides ends it.
//!
//! 1. Greedy texts of the whole corpus and every logit are the same bits: PASS, exact. Tokens that
//!    are the same without logits to show do not decide: a difference may be waiting in the next text.
//! 2. Teacher-forced on the corpus: upper limits (one-sided 95 %, documents drawn anew) of the mean
//!    change of the negative log likelihood and of the mean KL divergence below what is tolerated:
//!    PASS. A lower limit of the change (at the policy's alpha) above it: REGRESSED.
//! 3. Items: at most the margin lost (Tango, one-sided 95 %): PASS, never because a difference was
//!    not significant. More lost than fair coins would (exact, at the policy's alpha): REGRESSED.
//!
//! As with speed, what is shown to be within the tolerance passes even if it is shown to be worse.
//! Evidence that contradicts itself, leaves something out or shows nothing is INVALID.

use std::fmt::Write as _;

use super::Verdict;
use super::policy::QualityPolicy;
use super::record::{ItemPair, ItemsAsked, QualityEvidence};
use super::verdict::QualityJudgement;
use crate::corpus;
use crate::fidelity::{self, Compared};
use crate::ids::Sha256Digest;
use crate::statistics::paired::Paired;
use crate::statistics::planner;
use crate::suite::{self, ItemId};
use crate::text::Answer;

/// Most items that are asked.
pub const MAX_ITEMS: u32 = 20_000;

/// Probability with which planned items show what they are planned for.
const POWER: f64 = 0.9;

/// Share of draws above an upper limit.
const TAIL: f64 = 0.05;

/// Put before what the draws of documents are seeded with.
const DRAWS: &[u8] = b"joulemark-gate-quality-v1";

/// What a rung comes to.
enum Rung {
    /// It decides: the verdict, and what was seen.
    Decides(Verdict, String),
    /// It does not: what was seen.
    Climbs(String),
    /// It was not taken.
    Untaken,
    /// The evidence cannot be: what is wrong with it.
    Contradicts(String),
}

/// What was seen of one model's answers, judged. `policy` is this model's own part
/// ([`QualityPolicy::for_each_of`]): its alpha is that of one rung. Pure: the same evidence gives the same judgement,
/// and what stands after a rung is judged as if nothing came after it.
pub fn judge_quality(
    evidence: &QualityEvidence,
    policy: &QualityPolicy,
    model: &str,
) -> QualityJudgement {
    let mut judgement = QualityJudgement {
        model: model.to_owned(),
        verdict: Verdict::Invalid,
        rung: None,
        said: String::new(),
        dnll_nats: None,
        kld_nats: None,
        kld_p999_nats: None,
        top1_agreement: None,
        items: None,
    };
    if evidence.corpus_sha256.0 != corpus::digest(policy.suite) {
        judgement.said = format!(
            "the texts that were compared are not those of {} as this version makes them",
            policy.suite
        );
        return judgement;
    }
    let rungs: [fn(&QualityEvidence, &QualityPolicy, &mut QualityJudgement) -> Rung; 3] =
        [identical, token_by_token, items];
    let mut seen: Vec<String> = Vec::new();
    // The last rung there is may end undecided; any other that does was not climbed from.
    let last = if policy.items == 0 { 2 } else { 3 };
    for (number, rung) in (1..=last).zip(rungs) {
        match rung(evidence, policy, &mut judgement) {
            Rung::Decides(verdict, said) => {
                (judgement.verdict, judgement.rung) = (verdict, Some(number));
                seen.push(said);
                judgement.said = seen.join("; ");
                return judgement;
            }
            Rung::Climbs(said) => {
                seen.push(said);
                if number == last {
                    (judgement.verdict, judgement.rung) = (Verdict::Inconclusive, Some(last));
                }
            }
            // Nothing replaces the first: what an engine shows there decides what it must show next.
            Rung::Untaken if number == 1 => break,
            Rung::Untaken => {}
            Rung::Contradicts(wrong) => {
                judgement.said = format!("the evidence about answers contradicts itself: {wrong}");
                return judgement;
            }
        }
    }
    if judgement.verdict == Verdict::Invalid {
        seen.push(match &evidence.unavailable {
            Some(why) => format!("no rung decides: {why}"),
            None => "no rung decides, and the ladder was not climbed to its end".to_owned(),
        });
    }
    judgement.said = seen.join("; ");
    judgement
}

/// Items that show with 90 % probability that an unchanged model is within `margin` (a share of the
/// items), if a share `psi` of them flips; `None` where more than can be planned for would be needed.
pub fn items_needed(margin: f64, psi: f64) -> Option<u32> {
    planner::items_to_show(margin, psi, POWER)
}

/// The first rung.
fn identical(
    evidence: &QualityEvidence,
    policy: &QualityPolicy,
    _judgement: &mut QualityJudgement,
) -> Rung {
    let Some(greedy) = &evidence.greedy else {
        return Rung::Untaken;
    };
    let documents = corpus::documents(policy.suite).len();
    if greedy.documents as usize != documents {
        return Rung::Contradicts(format!(
            "{} texts were continued, and the corpus has {documents}",
            greedy.documents
        ));
    }
    let same_tokens = greedy.base_tokens_sha256 == greedy.candidate_tokens_sha256;
    let logits = match (greedy.base_logits_sha256, greedy.candidate_logits_sha256) {
        (Some(base), Some(candidate)) => Some(base == candidate),
        (None, None) => None,
        _ => {
            return Rung::Contradicts("one arm shows its logits and the other does not".to_owned());
        }
    };
    let tokens = greedy.tokens;
    match (same_tokens, logits) {
        (true, Some(true)) => Rung::Decides(
            Verdict::Pass,
            format!(
                "identical: {tokens} greedy tokens after {documents} texts and every logit, bit for bit"
            ),
        ),
        // The tokens follow from the logits, so the same logits cannot have given others unless
        // one of the two does not repeat itself.
        (false, _) => Rung::Climbs(format!("greedy tokens differ over {documents} texts")),
        (true, Some(false)) => Rung::Climbs(format!(
            "{tokens} greedy tokens after {documents} texts are identical, their logits are not"
        )),
        (true, None) => Rung::Climbs(format!(
            "{tokens} greedy tokens after {documents} texts are identical, which decides nothing while the engine shows no logits"
        )),
    }
}

/// The second rung.
fn token_by_token(
    evidence: &QualityEvidence,
    policy: &QualityPolicy,
    judgement: &mut QualityJudgement,
) -> Rung {
    let Some(docs) = &evidence.forced else {
        let greedy = evidence.greedy.as_ref();
        let shows_logits = greedy.is_some_and(|greedy| greedy.base_logits_sha256.is_some());
        // Who may leave a rung out chooses the one that judges.
        return if shows_logits && evidence.items.is_some() {
            Rung::Contradicts(
                "items were asked of engines that show their logits, and those were not compared \
                 token by token before"
                    .to_owned(),
            )
        } else {
            Rung::Untaken
        };
    };
    if let Some((at, wrong)) = fidelity::contradictions(docs, Some(policy.suite)).first() {
        return Rung::Contradicts(format!("at /forced{at}: {wrong}"));
    }
    let mut seed = DRAWS.to_vec();
    // Of this rung alone: what came after it must not change what it says.
    seed.extend(serde_json::to_vec(docs).expect("numbers are JSON"));
    let compared = Compared::of(docs, Sha256Digest::of(&seed).0);
    let (dnll, kld) = (&compared.dnll_nats, &compared.kld_nats);
    // An error below what the draws can show is never reached.
    let low = dnll.low(policy.alpha).unwrap_or(f64::NEG_INFINITY);
    let high = dnll.high(TAIL).expect("a twentieth of the draws is many");
    let kld_high = kld.high(TAIL).expect("a twentieth of the draws is many");
    judgement.dnll_nats = low.is_finite().then_some((dnll.value, low, high));
    judgement.kld_nats = Some((kld.value, kld_high));
    judgement.kld_p999_nats = compared.kld_p999_nats;
    judgement.top1_agreement = Some(compared.top1.value);

    let mut said = format!(
        "over {} tokens the text is {:+.5} nats a token less likely [{low:+.5}, {high:+.5}], tolerated {}; \
         KL divergence {:.5} nats a token, at most {kld_high:.5}, tolerated {}",
        compared.tokens, dnll.value, policy.dnll_nats, kld.value, policy.kld_nats
    );
    if let Some(p999) = compared.kld_p999_nats {
        let _ = write!(said, ", 99.9th percentile {p999:.4}");
    }
    let _ = write!(
        said,
        ", same first choice for {:.2} %",
        100.0 * compared.top1.value
    );
    if high < policy.dnll_nats && kld_high < policy.kld_nats {
        Rung::Decides(Verdict::Pass, said)
    } else if low > policy.dnll_nats {
        Rung::Decides(Verdict::Regressed, said)
    } else {
        Rung::Climbs(said)
    }
}

/// The third rung.
fn items(
    evidence: &QualityEvidence,
    policy: &QualityPolicy,
    judgement: &mut QualityJudgement,
) -> Rung {
    let Some(asked) = &evidence.items else {
        return Rung::Untaken;
    };
    let paired = match paired(asked, policy) {
        Ok(paired) => paired,
        Err(wrong) => return Rung::Contradicts(wrong),
    };
    let Paired {
        items,
        lost,
        gained,
    } = paired;
    judgement.items = Some((items, lost, gained));
    let most = paired.most_lost().expect("items were asked");
    let said = format!(
        "of {items} items {lost} were lost and {gained} gained, so at most {:.2} points were lost, tolerated {:.2}",
        100.0 * most,
        100.0 * policy.margin
    );
    if most < policy.margin {
        return Rung::Decides(Verdict::Pass, said);
    }
    if paired.worse_p() <= policy.alpha {
        let said = format!(
            "{said}; p {:.2e} that fair coins lose as many",
            paired.worse_p()
        );
        return Rung::Decides(Verdict::Regressed, said);
    }
    let flip = 100.0 * paired.discordant().expect("items were asked");
    Rung::Climbs(match items_needed(policy.margin, flip / 100.0) {
        Some(needed) if needed > items => format!(
            "{said}; while {flip:.2} % of them flip, {needed} items would show an unchanged model to be within"
        ),
        Some(needed) => format!(
            "{said}; {needed} items would mostly have shown an unchanged model to be within, so it may well be worse: ask more of them"
        ),
        None => format!(
            "{said}; while {flip:.2} % of them flip, no number of items shows an unchanged model to be within"
        ),
    })
}

/// Scores what was answered differently; all else is equal. `Err` says what cannot be.
fn paired(asked: &ItemsAsked, policy: &QualityPolicy) -> Result<Paired, String> {
    let suite = policy.suite;
    let is_suite = asked.suite.version.as_str() == suite.name();
    if !is_suite || asked.suite.digest.0 != suite.digest() {
        return Err(format!(
            "the items are not those of {suite} as this version makes them"
        ));
    }
    if asked.suite.seed.0 != suite.public_seed() {
        return Err(format!(
            "the items are not drawn from the public seed of {suite}"
        ));
    }
    // Who may stop when it suits decides the outcome.
    if asked.asked != policy.items || asked.asked > MAX_ITEMS {
        return Err(format!(
            "{} items were asked, and the policy asks {}, at most {MAX_ITEMS}",
            asked.asked, policy.items
        ));
    }
    let mut paired = Paired {
        items: asked.asked,
        ..Paired::default()
    };
    let mut differing = asked.differing.iter().peekable();
    for id in suite.plan(asked.asked) {
        let Some(pair) = differing.next_if(|pair| is_of(pair, id)) else {
            continue;
        };
        if (&pair.base, pair.base_ended) == (&pair.candidate, pair.candidate_ended) {
            return Err(format!("item {id} is said to differ and does not"));
        }
        let item = suite::item(&asked.suite.seed.0, id);
        // As everywhere: an answer that did not end is wrong.
        let right = |answer: &Answer, ended: bool| {
            ended && suite::score(&item, answer.as_str()) == suite::Verdict::Right
        };
        let base = right(&pair.base, pair.base_ended);
        let candidate = right(&pair.candidate, pair.candidate_ended);
        paired.lost += u32::from(base && !candidate);
        paired.gained += u32::from(!base && candidate);
    }
    match differing.next() {
        None => Ok(paired),
        Some(pair) => Err(format!(
            "item {}/{}/{} was not asked, is out of turn, or comes twice",
            pair.family.as_str(),
            pair.level,
            pair.index
        )),
    }
}

fn is_of(pair: &ItemPair, id: ItemId) -> bool {
    pair.family.as_str() == id.family.name() && pair.level == id.level && pair.index == id.index
}

#[cfg(test)]
mod tests;
