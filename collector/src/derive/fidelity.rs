//! How far a variant's choices are from the reference's, token by token, on a corpus of ours.
//!
//! Teacher-forced, so it needs no right answers and far fewer tokens than items would; it never
//! replaces them. Tokens of one document follow from each other, so the intervals draw whole
//! documents. A record that contradicts itself is refused when it comes in ([`contradictions`]);
//! one that was stored before gives no figures.

use domain::api::Figure;
use domain::corpus;
use domain::ids::Sha256Digest;
use domain::record::{Fidelity, Record};
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

/// Documents under which no interval is given.
const MIN_DOCS: usize = 6;

/// A divergence is never below zero but for rounding: a millionth of a nat per token.
const ROUNDING_NNAT: i64 = -1_000;

const NNAT: f64 = 1e9;

/// What a record says of its variant's fidelity.
#[derive(Debug, Clone, PartialEq)]
pub struct FidelityFigures {
    /// The weights it was compared with.
    pub reference_sha256: Sha256Digest,
    /// Mean KL divergence per token in nats; n counts tokens, as in all of them.
    pub kl_mean: Figure,
    /// 99.9th percentile of the tokens' divergences in nats, where every token's is recorded.
    pub kl_p999: Option<f64>,
    /// Mean change of the negative log likelihood per token in nats.
    pub delta_nll: Figure,
    /// Share of tokens whose most likely choice is the reference's.
    pub top1: Figure,
}

/// Where a comparison contradicts itself or is longer than any of ours: RFC 6901 pointers, and what
/// is wrong there.
pub(crate) fn contradictions(fidelity: &Fidelity) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    if fidelity.docs.is_empty() || fidelity.docs.len() > MAX_DOCS {
        found.push((
            "/fidelity/docs".to_owned(),
            "1 to 2000 documents are needed",
        ));
        return found;
    }
    let tokens = fidelity.docs.iter().map(|doc| u64::from(doc.tokens));
    if tokens.sum::<u64>() > MAX_TOKENS {
        found.push(("/fidelity/docs".to_owned(), "more than 40000 tokens"));
    }
    for (index, doc) in fidelity.docs.iter().enumerate() {
        let mut need = |holds: bool, field: &str, wrong: &'static str| {
            if !holds {
                found.push((format!("/fidelity/docs/{index}/{field}"), wrong));
            }
        };
        need(doc.tokens > 0, "tokens", "a document without tokens");
        need(
            doc.top1_agree <= doc.tokens,
            "top1_agree",
            "more agree than there are tokens",
        );
        need(
            doc.kld_nnat >= ROUNDING_NNAT.saturating_mul(i64::from(doc.tokens)),
            "kld_nnat",
            "a divergence below zero",
        );
        let each = &doc.token_kld_nnat;
        if each.is_empty() {
            continue;
        }
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
        let sum: i128 = each.iter().copied().map(i128::from).sum();
        need(
            sum == i128::from(doc.kld_nnat),
            "kld_nnat",
            "not the sum of its tokens' divergences",
        );
    }
    found
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
    let is_ours = |suite: &Suite| corpus::digest(*suite) == fidelity.corpus_sha256.0;
    if !Suite::ALL.iter().any(is_ours) {
        return Err("compared on a corpus that is not known here".to_owned());
    }
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
        ci95,
        n: tokens,
    };
    let each: Vec<f64> = fidelity
        .docs
        .iter()
        .flat_map(|doc| &doc.token_kld_nnat)
        .map(|kld| *kld as f64 / NNAT)
        .collect();
    let every_token = each.len() == tokens as usize && each.len() >= MIN_P999_TOKENS;
    Ok(FidelityFigures {
        reference_sha256: fidelity.reference_sha256,
        kl_mean: figure(kl, kl_ci),
        kl_p999: quantile(&each, 0.999).filter(|_| every_token),
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
fn intervals(docs: &[[f64; 4]], received: &Received) -> [Option<(f64, f64)>; 3] {
    if docs.len() < MIN_DOCS {
        return [None; 3];
    }
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
        Some((values[DRAWS / 40], values[DRAWS - 1 - DRAWS / 40]))
    })
}

#[cfg(test)]
mod tests {
    use domain::record::FidelityDoc;

    use super::*;
    use crate::derive::tests::{received, record};

    /// So many documents of ten tokens, of which one diverges by what its number says.
    fn compared(docs: i64) -> Record {
        let doc = |number: i64| {
            let mut token_kld_nnat = vec![1_000_000; 9];
            token_kld_nnat.push(1_000_000 * (number + 1));
            FidelityDoc {
                tokens: 10,
                kld_nnat: token_kld_nnat.iter().sum(),
                dnll_nnat: -500_000 * number,
                top1_agree: if number % 2 == 0 { 10 } else { 9 },
                token_kld_nnat,
            }
        };
        let mut record = record();
        record.fidelity = Some(Fidelity {
            reference_sha256: Sha256Digest([5; 32]),
            corpus_sha256: Sha256Digest(corpus::digest(Suite::ReferenceV1)),
            docs: (0..docs).map(doc).collect(),
        });
        record
    }

    fn spoiled(change: impl FnOnce(&mut Fidelity)) -> Record {
        let mut record = compared(20);
        change(record.fidelity.as_mut().expect("compared"));
        record
    }

    #[test]
    fn sums_over_documents_become_means_over_tokens() {
        let figures = figures(&compared(100), &received(1, 1)).expect("consistent");
        // Nine tokens of 0.001 and one of 0.001 (k + 1), k = 0..99.
        let expected = (900.0 * 1e-3 + 1e-3 * 5_050.0) / 1_000.0;
        assert!((figures.kl_mean.value - expected).abs() < 1e-12);
        assert_eq!(figures.kl_mean.n, 1_000);
        let (low, high) = figures.kl_mean.ci95.expect("many documents");
        assert!(
            low < expected && expected < high && high - low < 0.002,
            "{low} {high}"
        );
        assert!((figures.top1.value - 0.95).abs() < 1e-12);
        assert!((figures.delta_nll.value + 500e-6 * 4_950.0 / 1_000.0).abs() < 1e-12);
        // Of 1,000 values the 99.9th percentile lies just above the last but one.
        let p999 = figures.kl_p999.expect("1,000 tokens");
        assert!((0.099..0.1).contains(&p999), "{p999}");
        assert_eq!(
            figures,
            super::figures(&compared(100), &received(1, 1)).expect("same")
        );
    }

    #[test]
    fn few_documents_have_no_interval_and_few_tokens_no_tail() {
        let figures = figures(&compared(5), &received(1, 1)).expect("consistent");
        assert_eq!((figures.kl_mean.ci95, figures.kl_p999), (None, None));
        let mut without_tokens = compared(100);
        let fidelity = without_tokens.fidelity.as_mut().expect("compared");
        fidelity.docs[3].token_kld_nnat.clear();
        let figures = super::figures(&without_tokens, &received(1, 1)).expect("consistent");
        assert_eq!(figures.kl_p999, None);
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        for (change, pointer) in [
            (
                (|f: &mut Fidelity| f.docs[2].tokens = 0) as fn(&mut Fidelity),
                "/fidelity/docs/2/tokens",
            ),
            (|f| f.docs[2].tokens = 11, "/fidelity/docs/2/token_kld_nnat"),
            (|f| f.docs[2].top1_agree = 11, "/fidelity/docs/2/top1_agree"),
            (|f| f.docs[2].kld_nnat += 1, "/fidelity/docs/2/kld_nnat"),
            (
                |f| {
                    f.docs[2].token_kld_nnat.clear();
                    f.docs[2].kld_nnat = -10_001;
                },
                "/fidelity/docs/2/kld_nnat",
            ),
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
        ] {
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
        assert!(contradictions(compared(20).fidelity.as_ref().expect("compared")).is_empty());
    }

    #[test]
    fn another_corpus_and_none_have_reasons() {
        let foreign = spoiled(|f| f.corpus_sha256 = Sha256Digest([1; 32]));
        let reason = figures(&foreign, &received(1, 1)).expect_err("foreign");
        assert!(reason.contains("not known here"), "{reason}");
        assert!(figures(&record(), &received(1, 1)).is_err());
    }
}
