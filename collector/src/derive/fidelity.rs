//! How far a variant's choices are from the reference's, token by token, on a corpus of ours.
//!
//! It never replaces items. What a comparison may say, and its figures, are [`domain::fidelity`]'s.
//! A record that contradicts itself or compares less than the whole corpus is refused
//! when it comes in ([`contradictions`]); one that was stored before gives no figures.

use domain::api::Figure;
use domain::corpus;
use domain::fidelity::{self, Compared, Mean};
use domain::ids::Sha256Digest;
use domain::record::{Fidelity, Record};
use domain::suite::Suite;

use super::Received;

/// What a record says of its variant's fidelity.
#[derive(Debug, Clone, PartialEq)]
pub struct FidelityFigures {
    /// Whose corpus was read: figures on two of them are never set side by side.
    pub suite: Suite,
    /// The weights it was compared with.
    pub reference_sha256: Sha256Digest,
    /// Mean KL divergence per token in nats; n counts tokens, as in all of them.
    pub kl_mean: Figure,
    /// 99.9th percentile of the tokens' divergences in nats, where there are enough of them.
    pub kl_p999: Option<f64>,
    /// Mean change of the negative log likelihood per token in nats.
    pub delta_nll: Figure,
    /// Share of tokens whose most likely choice is the reference's.
    pub top1: Figure,
}

/// Where a comparison contradicts itself, leaves out some of its corpus or says what no runner can:
/// RFC 6901 pointers, and what is wrong there. Of a corpus that is not known here nothing is
/// published.
pub(crate) fn contradictions(fidelity: &Fidelity) -> Vec<(String, &'static str)> {
    fidelity::contradictions(&fidelity.docs, suite_of(fidelity))
        .into_iter()
        .map(|(at, wrong)| (format!("/fidelity/docs{at}"), wrong))
        .collect()
}

/// Whose corpus was read; `None` of one that is not ours.
fn suite_of(fidelity: &Fidelity) -> Option<Suite> {
    let is_of = |suite: &Suite| corpus::digest(*suite) == fidelity.corpus_sha256.0;
    Suite::ALL.into_iter().find(is_of)
}

/// The figures of a record, or why there are none.
pub(super) fn figures(record: &Record, received: &Received) -> Result<FidelityFigures, String> {
    let Some(fidelity) = &record.fidelity else {
        return Err("not compared token by token with a reference".to_owned());
    };
    if let Some((pointer, wrong)) = contradictions(fidelity).first() {
        return Err(format!(
            "the record contradicts itself at {pointer}: {wrong}"
        ));
    }
    let Some(suite) = suite_of(fidelity) else {
        return Err("compared on a corpus that is not known here".to_owned());
    };
    let mut seed = received.content_id.0.to_vec();
    seed.extend_from_slice(b"fidelity");
    let compared = Compared::of(&fidelity.docs, Sha256Digest::of(&seed).0);
    let figure = |mean: &Mean| Figure {
        value: mean.value,
        ci95: Some(mean.ci95()),
        n: compared.tokens,
    };
    Ok(FidelityFigures {
        suite,
        reference_sha256: fidelity.reference_sha256,
        kl_mean: figure(&compared.kld_nats),
        kl_p999: compared.kld_p999_nats,
        delta_nll: figure(&compared.dnll_nats),
        top1: figure(&compared.top1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derive::tests::{compared, received, record};

    fn spoiled(change: impl FnOnce(&mut Fidelity)) -> Record {
        let mut record = compared(record(), Suite::ReferenceV1, 5);
        change(record.fidelity.as_mut().expect("compared"));
        record
    }

    /// One token of each document diverges by what its number says.
    fn diverging() -> Record {
        spoiled(|fidelity| {
            for (number, doc) in (0..).zip(&mut fidelity.docs) {
                doc.token_kld_nnat[0] = 1_000_000 * number;
                doc.kld_nnat = doc.token_kld_nnat.iter().sum();
                doc.dnll_nnat = -500_000 * number;
                doc.top1_agree = doc.tokens - u32::from(number % 2 == 0);
            }
        })
    }

    #[test]
    fn sums_over_documents_become_means_over_tokens() {
        let figures = figures(&diverging(), &received(1, 1)).expect("consistent");
        // 693 documents, k = 0..692; 3,812 bytes and as many ends as documents are compared.
        let (docs, tokens) = (693.0, 4_505.0);
        let sum = docs * (docs - 1.0) / 2.0;
        // One token of each document by 0.001 k, the others by the fixture's 0.005.
        let expected = (5e-3 * (tokens - docs) + 1e-3 * sum) / tokens;
        assert!((figures.kl_mean.value - expected).abs() < 1e-12);
        assert_eq!(
            (figures.kl_mean.n, figures.suite),
            (4_505, Suite::ReferenceV1)
        );
        let (low, high) = figures.kl_mean.ci95.expect("many documents");
        assert!(
            low < expected && expected < high && high - low < 0.01,
            "{low} {high}"
        );
        assert!((figures.top1.value - (tokens - 347.0) / tokens).abs() < 1e-12);
        assert!((figures.delta_nll.value + 500e-6 * sum / tokens).abs() < 1e-12);
        // One in a thousand of 4,505 lies between the fifth and the sixth from above.
        let p999 = figures.kl_p999.expect("more than 1,000 tokens");
        assert!((0.687..=0.688).contains(&p999), "{p999}");
        assert_eq!(
            figures,
            super::figures(&diverging(), &received(1, 1)).expect("same")
        );
    }

    #[test]
    fn few_tokens_have_no_tail() {
        let short = spoiled(|fidelity| {
            for doc in &mut fidelity.docs {
                doc.tokens = 1;
                doc.top1_agree = 1;
                doc.token_kld_nnat.truncate(1);
                doc.kld_nnat = doc.token_kld_nnat[0];
            }
        });
        let figures = figures(&short, &received(1, 1)).expect("consistent");
        assert_eq!((figures.kl_mean.n, figures.kl_p999), (693, None));
    }

    /// A change, and the place that is named for it.
    type Spoilt = (fn(&mut Fidelity), &'static str);

    fn refuses(spoilt: &[Spoilt]) {
        for (change, pointer) in spoilt {
            let record = spoiled(change);
            let found = contradictions(record.fidelity.as_ref().expect("compared"));
            assert!(
                found.iter().any(|(at, _)| at == pointer),
                "{pointer}: {found:?}"
            );
            let reason = figures(&record, &received(1, 1)).expect_err(pointer);
            assert!(
                reason.starts_with("the record contradicts itself"),
                "{reason}"
            );
        }
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        refuses(&[
            (|f| f.docs[2].tokens = 0, "/fidelity/docs/2/tokens"),
            (|f| f.docs[2].tokens -= 1, "/fidelity/docs/2/token_kld_nnat"),
            (
                |f| f.docs[2].top1_agree = f.docs[2].tokens + 1,
                "/fidelity/docs/2/top1_agree",
            ),
            (|f| f.docs[2].kld_nnat += 1, "/fidelity/docs/2/kld_nnat"),
            (
                |f| {
                    f.docs[2].token_kld_nnat[0] = i64::MIN;
                    f.docs[2].token_kld_nnat[1] = i64::MIN;
                },
                "/fidelity/docs/2/token_kld_nnat",
            ),
            (|f| f.docs.clear(), "/fidelity/docs"),
            (
                |f| f.docs = vec![f.docs[0].clone(); 2_001],
                "/fidelity/docs",
            ),
            (
                |f| {
                    for doc in &mut f.docs {
                        doc.tokens = u32::MAX;
                    }
                },
                "/fidelity/docs",
            ),
        ]);
        for suite in Suite::ALL {
            let whole = compared(record(), suite, 5).fidelity.expect("compared");
            assert_eq!(contradictions(&whole), []);
        }
    }

    #[test]
    fn a_part_of_the_corpus_is_not_the_corpus() {
        refuses(&[
            (|f| f.docs.truncate(692), "/fidelity/docs"),
            (|f| f.docs.push(f.docs[0].clone()), "/fidelity/docs"),
            (
                |f| {
                    let doc = &mut f.docs[2];
                    doc.tokens += 1;
                    doc.token_kld_nnat.push(0);
                },
                "/fidelity/docs/2/tokens",
            ),
            (
                |f| {
                    f.docs[2].token_kld_nnat.clear();
                    f.docs[2].kld_nnat = 0;
                },
                "/fidelity/docs/2/token_kld_nnat",
            ),
        ]);
    }

    #[test]
    fn what_no_logits_can_differ_by_is_refused() {
        let by = |nats: i64| {
            spoiled(|fidelity| {
                for doc in &mut fidelity.docs {
                    doc.token_kld_nnat.fill(nats * 1_000_000_000);
                    doc.kld_nnat = doc.token_kld_nnat.iter().sum();
                    doc.dnll_nnat = -doc.kld_nnat;
                }
            })
        };
        let far = figures(&by(200_000), &received(1, 1)).expect("possible");
        assert!((far.kl_mean.value - 2e5).abs() < 1e-3);
        assert!(figures(&by(200_101), &received(1, 1)).is_err());
        refuses(&[
            (
                |f| {
                    let doc = &mut f.docs[2];
                    doc.token_kld_nnat[0] = i64::MAX;
                    doc.kld_nnat = doc
                        .token_kld_nnat
                        .iter()
                        .copied()
                        .fold(0, i64::wrapping_add);
                },
                "/fidelity/docs/2/token_kld_nnat",
            ),
            (
                |f| f.docs[2].dnll_nnat = i64::MIN,
                "/fidelity/docs/2/dnll_nnat",
            ),
            (
                |f| f.docs[2].dnll_nnat = i64::MAX,
                "/fidelity/docs/2/dnll_nnat",
            ),
        ]);
    }

    #[test]
    fn another_corpus_and_none_have_reasons() {
        let foreign = spoiled(|f| f.corpus_sha256 = Sha256Digest([1; 32]));
        let reason = figures(&foreign, &received(1, 1)).expect_err("foreign");
        assert!(reason.contains("not known here"), "{reason}");
        assert!(figures(&record(), &received(1, 1)).is_err());
    }
}
