//! What each rung says, and what it must never say.

use super::*;
use crate::gate::record::Greedy;
use crate::record::{FidelityDoc, SuiteRef};
use crate::suite::{Item, Suite};
use crate::text::Name;

const SUITE: Suite = Suite::ReferenceV1;
const ITEMS: u32 = 700;

fn policy() -> QualityPolicy {
    QualityPolicy {
        suite: SUITE,
        items: ITEMS,
        alpha: 0.01,
        margin: 0.01,
        dnll_nats: 0.002,
        kld_nats: 0.01,
    }
}

fn greedy(tokens_differ: bool, logits: Option<bool>) -> Greedy {
    let digest = |differs: bool| Sha256Digest([u8::from(differs); 32]);
    Greedy {
        documents: corpus::documents(SUITE).len() as u32,
        tokens: 3_000,
        base_tokens_sha256: digest(false),
        candidate_tokens_sha256: digest(tokens_differ),
        base_logits_sha256: logits.map(|_| digest(false)),
        candidate_logits_sha256: logits.map(digest),
    }
}

fn evidence(greedy: Greedy) -> QualityEvidence {
    QualityEvidence {
        model: 0,
        corpus_sha256: Sha256Digest(corpus::digest(SUITE)),
        greedy: Some(greedy),
        forced: None,
        items: None,
        unavailable: None,
    }
}

/// Every document of the corpus; each token diverges by `kld`, and the text of document n is
/// `dnll(n)` billionths of a nat a token less likely.
fn forced(kld: i64, dnll: impl Fn(i64) -> i64) -> Vec<FidelityDoc> {
    let documents = corpus::documents(SUITE);
    let doc = |(n, scored): (i64, usize)| {
        let tokens = i64::try_from(scored).expect("documents are short") + 1;
        FidelityDoc {
            tokens: tokens as u32,
            kld_nnat: kld * tokens,
            dnll_nnat: dnll(n) * tokens,
            top1_agree: tokens as u32 - u32::from(n % 10 == 0),
            token_kld_nnat: vec![kld; tokens as usize],
        }
    };
    let scored = documents.iter().map(|document| document.scored.len());
    (0..).zip(scored).map(doc).collect()
}

/// The mean by which a text is less likely, in billionths, with a spread of 5 thousandths around it.
fn around(mean: i64) -> impl Fn(i64) -> i64 {
    move |n| mean + if n % 2 == 0 { 5_000_000 } else { -5_000_000 }
}

/// Items of which the first `lost` were answered rightly by the base alone, and the next `gained` by
/// the candidate alone.
fn asked(lost: usize, gained: usize) -> ItemsAsked {
    let seed = SUITE.public_seed();
    let pair = |(place, id): (usize, ItemId)| {
        let item = suite::item(&seed, id);
        let (right, wrong) = (answer(&item), Answer::cleaned("no idea"));
        let (base, candidate) = if place < lost {
            (right, wrong)
        } else {
            (wrong, right)
        };
        ItemPair {
            family: Name::cleaned(id.family.name()),
            level: id.level,
            index: id.index,
            base,
            base_ended: true,
            candidate,
            candidate_ended: true,
        }
    };
    let plan = SUITE.plan(ITEMS).into_iter().enumerate();
    ItemsAsked {
        suite: SuiteRef {
            version: Name::cleaned(SUITE.name()),
            digest: Sha256Digest(SUITE.digest()),
            seed: Sha256Digest(seed),
        },
        asked: ITEMS,
        differing: plan.take(lost + gained).map(pair).collect(),
    }
}

fn answer(item: &Item) -> Answer {
    Answer::cleaned(&item.answer)
}

fn judged(evidence: &QualityEvidence) -> QualityJudgement {
    judge_quality(evidence, &policy(), "mini")
}

fn with_forced(docs: Vec<FidelityDoc>) -> QualityJudgement {
    judged(&QualityEvidence {
        forced: Some(docs),
        ..evidence(greedy(true, Some(true)))
    })
}

fn with_items(items: ItemsAsked) -> QualityJudgement {
    judged(&QualityEvidence {
        forced: Some(forced(0, around(2_000_000))),
        items: Some(items),
        ..evidence(greedy(true, Some(true)))
    })
}

#[test]
fn the_same_bits_pass_at_the_first_rung() {
    let judgement = judged(&evidence(greedy(false, Some(false))));
    assert_eq!(
        (judgement.verdict, judgement.rung),
        (Verdict::Pass, Some(1))
    );
    assert!(judgement.said.contains("bit for bit"), "{}", judgement.said);
}

#[test]
fn the_same_tokens_without_logits_decide_nothing() {
    let mut seen = evidence(greedy(false, None));
    seen.unavailable = Some(Name::cleaned("the server gives no logits"));
    let judgement = judged(&seen);
    assert_eq!(
        (judgement.verdict, judgement.rung),
        (Verdict::Invalid, None)
    );
    let said = &judgement.said;
    assert!(
        said.contains("decides nothing") && said.contains("gives no logits"),
        "{said}"
    );
    // All answers equal: enough of them show that no more than the margin is lost.
    seen.items = Some(asked(0, 0));
    let judgement = judged(&seen);
    assert_eq!(
        (judgement.verdict, judgement.rung),
        (Verdict::Pass, Some(3))
    );
    assert_eq!(judgement.items, Some((ITEMS, 0, 0)));
}

#[test]
fn other_logits_or_other_tokens_do_not_pass_the_first_rung() {
    for greedy in [
        greedy(false, Some(true)),
        greedy(true, Some(false)),
        greedy(true, Some(true)),
    ] {
        let judgement = judged(&evidence(greedy));
        assert_eq!(
            (judgement.verdict, judgement.rung),
            (Verdict::Invalid, None)
        );
        assert!(judgement.said.contains("not climbed"), "{}", judgement.said);
    }
}

#[test]
fn a_small_change_of_likelihood_passes_and_a_large_one_regresses_at_the_second() {
    let pass = with_forced(forced(2_000_000, around(500_000)));
    assert_eq!((pass.verdict, pass.rung), (Verdict::Pass, Some(2)));
    let (mean, low, high) = pass.dnll_nats.expect("compared");
    assert!((mean - 0.0005).abs() < 1e-4 && low < mean && mean < high && high < 0.002);
    let (kld, most) = pass.kld_nats.expect("compared");
    assert!((kld - 0.002).abs() < 1e-9 && (most - 0.002).abs() < 1e-9);
    assert!((pass.kld_p999_nats.expect("many tokens") - 0.002).abs() < 1e-9);
    assert!((0.98..0.99).contains(&pass.top1_agreement.expect("compared")));

    let regressed = with_forced(forced(2_000_000, around(4_000_000)));
    assert_eq!(
        (regressed.verdict, regressed.rung),
        (Verdict::Regressed, Some(2))
    );
}

#[test]
fn better_texts_whose_choices_moved_far_climb_on() {
    // Likelier texts, but a divergence beyond the margin: neither shown to be near nor to be worse.
    let judgement = with_forced(forced(50_000_000, around(-3_000_000)));
    assert_eq!(
        (judgement.verdict, judgement.rung),
        (Verdict::Invalid, None)
    );
    assert!(judgement.said.contains("KL divergence 0.05"));
    // At the margin itself.
    let judgement = with_forced(forced(0, around(2_000_000)));
    assert_eq!(judgement.rung, None, "{}", judgement.said);
}

#[test]
fn an_error_smaller_than_the_draws_can_show_never_regresses_there() {
    let strict = QualityPolicy {
        alpha: 1e-5,
        ..policy()
    };
    let seen = QualityEvidence {
        forced: Some(forced(0, |_| 900_000_000)),
        ..evidence(greedy(true, None))
    };
    assert_eq!(judge_quality(&seen, &strict, "mini").rung, None);
    assert_eq!(judged(&seen).verdict, Verdict::Regressed);
}

#[test]
fn what_came_after_a_rung_does_not_change_it() {
    let alone = with_forced(forced(0, around(1_700_000)));
    let beside = judged(&QualityEvidence {
        forced: Some(forced(0, around(1_700_000))),
        items: Some(asked(5, 3)),
        ..evidence(greedy(true, Some(true)))
    });
    assert_eq!(alone.dnll_nats, beside.dnll_nats);
}

#[test]
fn lost_items_regress_and_few_losses_decide_nothing() {
    // Fair coins: 7 of 7 fall on one side with p 0.0078, 6 of 6 with 0.0156.
    let regressed = with_items(asked(7, 0));
    assert_eq!(
        (regressed.verdict, regressed.rung),
        (Verdict::Regressed, Some(3))
    );
    assert_eq!(regressed.items, Some((ITEMS, 7, 0)));
    let open = with_items(asked(6, 0));
    assert_eq!((open.verdict, open.rung), (Verdict::Inconclusive, Some(3)));
    // p of 10 of 12 is 0.019: not told apart, which is not the same as within the margin.
    let open = with_items(asked(10, 2));
    assert_eq!(open.verdict, Verdict::Inconclusive, "{}", open.said);
    let needed = items_needed(0.01, 12.0 / f64::from(ITEMS)).expect("few");
    assert!(
        open.said.contains(&format!("{needed} items")),
        "{}",
        open.said
    );
    let gained = with_items(asked(0, 9));
    assert_eq!((gained.verdict, gained.rung), (Verdict::Pass, Some(3)));
}

#[test]
fn a_loss_shown_to_be_within_the_margin_passes() {
    let wide = QualityPolicy {
        margin: 0.05,
        ..policy()
    };
    let seen = QualityEvidence {
        items: Some(asked(9, 0)),
        ..evidence(greedy(true, None))
    };
    let judgement = judge_quality(&seen, &wide, "mini");
    assert_eq!(judgement.verdict, Verdict::Pass, "{}", judgement.said);
}

#[test]
fn an_answer_that_did_not_end_is_wrong() {
    let mut items = asked(0, 9);
    for pair in &mut items.differing {
        pair.candidate_ended = false;
    }
    assert_eq!(with_items(items).items, Some((ITEMS, 0, 0)));
}

#[test]
fn a_ladder_without_items_ends_at_the_second_rung() {
    let short = QualityPolicy {
        items: 0,
        ..policy()
    };
    let seen = QualityEvidence {
        forced: Some(forced(0, around(2_000_000))),
        ..evidence(greedy(true, None))
    };
    let judgement = judge_quality(&seen, &short, "mini");
    assert_eq!(
        (judgement.verdict, judgement.rung),
        (Verdict::Inconclusive, Some(2))
    );
}

#[test]
fn evidence_that_cannot_be_is_invalid() {
    type Spoilt = (fn(&mut QualityEvidence), &'static str);
    let spoilt: [Spoilt; 16] = [
        (
            |e| e.items.as_mut().expect("i").suite.seed.0[0] ^= 1,
            "public seed",
        ),
        (|e| e.forced = None, "token by token before"),
        (|e| e.corpus_sha256.0[0] ^= 1, "not those of reference-v1"),
        (
            |e| e.greedy.as_mut().expect("g").documents -= 1,
            "the corpus has",
        ),
        (
            |e| e.greedy.as_mut().expect("g").base_logits_sha256 = None,
            "the other does not",
        ),
        (|e| drop(e.forced.as_mut().expect("f").pop()), "each once"),
        (
            |e| e.forced.as_mut().expect("f")[3].kld_nnat += 1,
            "/forced/3/kld_nnat",
        ),
        (
            |e| e.items.as_mut().expect("i").suite.digest.0[0] ^= 1,
            "items are not those",
        ),
        (
            |e| e.items.as_mut().expect("i").suite.version = Name::cleaned("core-v1"),
            "items are not those",
        ),
        (
            |e| e.items.as_mut().expect("i").asked -= 1,
            "policy asks 700",
        ),
        (
            |e| e.items.as_mut().expect("i").asked = 0,
            "policy asks 700",
        ),
        (
            |e| e.items.as_mut().expect("i").differing.swap(0, 1),
            "out of turn",
        ),
        (
            |e| {
                let differing = &mut e.items.as_mut().expect("i").differing;
                differing.push(differing[0].clone());
            },
            "comes twice",
        ),
        (
            |e| e.items.as_mut().expect("i").differing[2].index = 90_000,
            "was not asked",
        ),
        (
            |e| e.items.as_mut().expect("i").differing[2].family = Name::cleaned("magic"),
            "was not asked",
        ),
        (
            |e| {
                let pair = &mut e.items.as_mut().expect("i").differing[0];
                pair.candidate = pair.base.clone();
            },
            "does not",
        ),
    ];
    for (change, says) in spoilt {
        let mut seen = QualityEvidence {
            forced: Some(forced(0, around(2_000_000))),
            items: Some(asked(9, 0)),
            ..evidence(greedy(true, Some(true)))
        };
        assert_eq!(judged(&seen).verdict, Verdict::Regressed);
        change(&mut seen);
        let judgement = judged(&seen);
        assert_eq!(
            (judgement.verdict, judgement.rung),
            (Verdict::Invalid, None),
            "{says}: {}",
            judgement.said
        );
        assert!(judgement.said.contains(says), "{says}: {}", judgement.said);
    }
}

#[test]
fn nothing_is_never_a_pass() {
    let judgement = judged(&QualityEvidence {
        greedy: None,
        unavailable: Some(Name::cleaned("the engine answers nothing")),
        ..evidence(greedy(false, Some(false)))
    });
    assert_eq!(
        (judgement.verdict, judgement.rung),
        (Verdict::Invalid, None)
    );
    assert!(judgement.said.contains("answers nothing"));
}

#[test]
fn nothing_stands_for_the_first_rung() {
    let judgement = judged(&QualityEvidence {
        greedy: None,
        forced: Some(forced(0, |_| 0)),
        items: Some(asked(0, 0)),
        ..evidence(greedy(false, Some(false)))
    });
    assert_eq!(
        (judgement.verdict, judgement.rung),
        (Verdict::Invalid, None)
    );
    assert!(judgement.said.contains("not climbed"), "{}", judgement.said);
}

#[test]
fn planned_items_are_those_of_the_design() {
    // By enumeration, in steps of one per cent; power rises in teeth, so two searches may stop at
    // neighbouring ones.
    for (psi, table) in [
        (0.01, [1_067, 354, 199]),
        (0.02, [1_834, 532, 265]),
        (0.05, [4_360, 1_124, 520]),
    ] {
        for (margin, expected) in [0.01, 0.02, 0.03].into_iter().zip(table) {
            let found = items_needed(margin, psi).expect("few");
            let off = f64::from(found) / f64::from(expected) - 1.0;
            assert!(off.abs() <= 0.01, "{psi} {margin}: {found}, not {expected}");
            assert!(planner::power_to_show(margin, psi, expected) >= POWER);
        }
    }
}
