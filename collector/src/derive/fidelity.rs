//! How far a variant's choices are from the reference's, token by token, on a corpus of ours.
//!
//! Teacher-forced, so it needs no right answers and far fewer tokens than items would; it never
//! replaces them. Tokens of one document follow from each other, so the intervals draw whole
//! documents. A record that contradicts itself or compares less than the whole corpus is refused
//! when it comes in ([`contradictions`]); one that was stored before gives no figures.

use std::sync::LazyLock;

use domain::api::Figure;
use domain::corpus;
use domain::ids::Sha256Digest;
use domain::record::{Fidelity, FidelityDoc, Record};
use domain::statistics::bootstrap::{DRAWS, Resampler};
use domain::statistics::quantile::quantile;
use domain::suite::Suite;

use super::Received;

/// Documents of one record: more than any corpus of ours has.
const MAX_DOCS: usize = 2_000;

/// Tokens of all of its documents.
const MAX_TOKENS: u64 = 40_000;

/// Tokens under which the 99.9th percentile would be the largest value by another name.
const MIN_P999_TOKENS: usize = 1_000;

/// A divergence is never below zero but for rounding: a millionth of a nat per token.
const ROUNDING_NNAT: i64 = -1_000;

/// The most that logits which a runner takes can differ by: twice 1e5, and the logarithm of how
/// many tokens there are.
const MOST_NNAT: i64 = 200_100 * 1_000_000_000;

const NNAT: f64 = 1e9;

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
/// RFC 6901 pointers, and what is wrong there.
pub(crate) fn contradictions(fidelity: &Fidelity) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    let mut need_of_all = |holds: bool, wrong: &'static str| {
        if !holds {
            found.push(("/fidelity/docs".to_owned(), wrong));
        }
        holds
    };
    let docs = &fidelity.docs;
    let are_few = (1..=MAX_DOCS).contains(&docs.len());
    if !need_of_all(are_few, "1 to 2000 documents are needed") {
        return found;
    }
    let tokens = docs.iter().map(|doc| u64::from(doc.tokens)).sum::<u64>();
    need_of_all(tokens <= MAX_TOKENS, "more than 40000 tokens");
    // Of a corpus that is not known here nothing is published.
    let longest = suite_of(fidelity).map(longest);
    let is_whole = longest.is_none_or(|longest| longest.len() == docs.len());
    need_of_all(is_whole, "not the documents of its corpus, each once");
    for (index, doc) in docs.iter().enumerate() {
        let most = longest.and_then(|longest| longest.get(index)).copied();
        contradict(doc, most, |field, wrong| {
            found.push((format!("/fidelity/docs/{index}/{field}"), wrong));
        });
    }
    found
}

/// What is wrong with one document, which has `most` tokens if each is a single byte.
fn contradict(doc: &FidelityDoc, most: Option<u32>, mut found: impl FnMut(&str, &'static str)) {
    const TOO_FAR: &str = "more than logits can differ by";
    let mut need = |holds: bool, field: &str, wrong: &'static str| {
        if !holds {
            found(field, wrong);
        }
    };
    need(doc.tokens > 0, "tokens", "a document without tokens");
    need(
        most.is_none_or(|most| doc.tokens <= most),
        "tokens",
        "more than the document has bytes",
    );
    need(
        doc.top1_agree <= doc.tokens,
        "top1_agree",
        "more agree than there are tokens",
    );
    let each = &doc.token_kld_nnat;
    need(
        each.len() == doc.tokens as usize,
        "token_kld_nnat",
        "one for each token is needed",
    );
    need(
        each.iter().all(|kld| *kld >= ROUNDING_NNAT),
        "token_kld_nnat",
        "a divergence below zero",
    );
    need(
        each.iter().all(|kld| *kld <= MOST_NNAT),
        "token_kld_nnat",
        TOO_FAR,
    );
    let sum: i128 = each.iter().copied().map(i128::from).sum();
    need(
        sum == i128::from(doc.kld_nnat),
        "kld_nnat",
        "not the sum of its tokens' divergences",
    );
    let dnll = u128::from(doc.dnll_nnat.unsigned_abs());
    let most = u128::from(doc.tokens) * u128::from(MOST_NNAT.unsigned_abs());
    need(dnll <= most, "dnll_nnat", TOO_FAR);
}

/// Whose corpus was read; `None` of one that is not ours.
fn suite_of(fidelity: &Fidelity) -> Option<Suite> {
    let is_of = |suite: &Suite| corpus::digest(*suite) == fidelity.corpus_sha256.0;
    Suite::ALL.into_iter().find(is_of)
}

/// The most tokens that can be compared of each document: its bytes and the end.
fn longest(suite: Suite) -> &'static [u32] {
    type Longest = LazyLock<Vec<u32>>;
    fn of(suite: Suite) -> Vec<u32> {
        let documents = corpus::documents(suite);
        let tokens = documents.iter().map(|one| one.scored.len() as u32 + 1);
        tokens.collect()
    }
    static REFERENCE: Longest = LazyLock::new(|| of(Suite::ReferenceV1));
    static CORE: Longest = LazyLock::new(|| of(Suite::CoreV1));
    match suite {
        Suite::ReferenceV1 => &REFERENCE,
        Suite::CoreV1 => &CORE,
    }
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
    let docs: Vec<[f64; 4]> = fidelity
        .docs
        .iter()
        .map(|doc| {
            [
                f64::from(doc.tokens),
                doc.kld_nnat as f64 / NNAT,
                doc.dnll_nnat as f64 / NNAT,
                f64::from(doc.top1_agree),
            ]
        })
        .collect();
    let tokens: u32 = fidelity.docs.iter().map(|doc| doc.tokens).sum();
    let [kl, nll, top1] = per_token(docs.iter());
    let [kl_ci, nll_ci, top1_ci] = intervals(&docs, received);
    let figure = |value, ci95| Figure {
        value,
        ci95: Some(ci95),
        n: tokens,
    };
    let each: Vec<f64> = fidelity
        .docs
        .iter()
        .flat_map(|doc| &doc.token_kld_nnat)
        .map(|kld| *kld as f64 / NNAT)
        .collect();
    Ok(FidelityFigures {
        suite,
        reference_sha256: fidelity.reference_sha256,
        kl_mean: figure(kl, kl_ci),
        kl_p999: quantile(&each, 0.999).filter(|_| each.len() >= MIN_P999_TOKENS),
        delta_nll: figure(nll, nll_ci),
        top1: figure(top1, top1_ci),
    })
}

/// The three sums of documents over their tokens.
fn per_token<'a>(docs: impl Iterator<Item = &'a [f64; 4]>) -> [f64; 3] {
    let [tokens, kl, nll, top1] = docs.fold([0.0; 4], |mut sums, doc| {
        for (sum, part) in sums.iter_mut().zip(doc) {
            *sum += part;
        }
        sums
    });
    [kl / tokens, nll / tokens, top1 / tokens]
}

/// The 95 % percentile interval of each, over one set of seeded draws of documents.
fn intervals(docs: &[[f64; 4]], received: &Received) -> [(f64, f64); 3] {
    let mut seed = received.content_id.0.to_vec();
    seed.extend_from_slice(b"fidelity");
    let mut resampler = Resampler::new(Sha256Digest::of(&seed).0);
    let mut drawn: [Vec<f64>; 3] = Default::default();
    for _ in 0..DRAWS {
        let draw = (0..docs.len()).map(|_| &docs[resampler.index(docs.len())]);
        for (values, value) in drawn.iter_mut().zip(per_token(draw)) {
            values.push(value);
        }
    }
    drawn.map(|mut values| {
        values.sort_by(f64::total_cmp);
        (values[DRAWS / 40], values[DRAWS - 1 - DRAWS / 40])
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
