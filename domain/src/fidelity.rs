//! Two models compared token by token: what such a comparison may say, and what it comes to.
//!
//! Teacher-forced on a corpus of ours ([`crate::corpus`]), so it needs no right answers and far
//! fewer tokens than items would. Tokens of one document follow from each other, so limits draw
//! whole documents. Shared by what is published of a variant and by the gate's second rung.

use std::sync::LazyLock;

use crate::corpus;
use crate::record::FidelityDoc;
use crate::statistics::bootstrap::{DRAWS, Resampler};
use crate::statistics::quantile::quantile;
use crate::suite::Suite;

/// Documents of one comparison: more than any corpus of ours has.
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

/// Billionths in a nat.
const NNAT: f64 = 1e9;

/// Where a comparison contradicts itself, leaves out some of its corpus or says what no runner can:
/// RFC 6901 pointers from the list of documents, and what is wrong there. Of a corpus that is not
/// known here (`None`) any number of documents is whole.
pub fn contradictions(docs: &[FidelityDoc], suite: Option<Suite>) -> Vec<(String, &'static str)> {
    let mut found = Vec::new();
    let mut need_of_all = |holds: bool, wrong: &'static str| {
        if !holds {
            found.push((String::new(), wrong));
        }
        holds
    };
    let are_few = (1..=MAX_DOCS).contains(&docs.len());
    if !need_of_all(are_few, "1 to 2000 documents are needed") {
        return found;
    }
    let tokens = docs.iter().map(|doc| u64::from(doc.tokens)).sum::<u64>();
    need_of_all(tokens <= MAX_TOKENS, "more than 40000 tokens");
    let longest = suite.map(longest);
    let is_whole = longest.is_none_or(|longest| longest.len() == docs.len());
    need_of_all(is_whole, "not the documents of its corpus, each once");
    for (index, doc) in docs.iter().enumerate() {
        let most = longest.and_then(|longest| longest.get(index)).copied();
        contradict(doc, most, |field, wrong| {
            found.push((format!("/{index}/{field}"), wrong));
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

/// What documents without [`contradictions`] come to, per token.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// Tokens compared.
    pub tokens: u32,
    /// Mean KL divergence, nats.
    pub kld_nats: Mean,
    /// Mean change of the negative log likelihood, nats.
    pub dnll_nats: Mean,
    /// Share of tokens whose most likely choice is the same.
    pub top1: Mean,
    /// 99.9th percentile of the tokens' divergences in nats, where there are enough of them.
    pub kld_p999_nats: Option<f64>,
}

/// A mean over tokens, and the same of [`DRAWS`] draws of documents.
#[derive(Debug, Clone, PartialEq)]
pub struct Mean {
    /// The mean.
    pub value: f64,
    /// Sorted.
    draws: Vec<f64>,
}

impl Mean {
    /// The limit that a share `tail` of the draws lies below; none where that is less than one draw.
    pub fn low(&self, tail: f64) -> Option<f64> {
        Some(self.draws[place(tail)?])
    }

    /// The limit that a share `tail` of the draws lies above; none where that is less than one draw.
    pub fn high(&self, tail: f64) -> Option<f64> {
        Some(self.draws[DRAWS - 1 - place(tail)?])
    }

    /// The 95 % percentile interval.
    pub fn ci95(&self) -> (f64, f64) {
        (self.draws[DRAWS / 40], self.draws[DRAWS - 1 - DRAWS / 40])
    }
}

/// Draws in a tail.
fn place(tail: f64) -> Option<usize> {
    // Shares such as 0.01 are a little off in binary.
    let draws = (tail * DRAWS as f64 + 1e-6).floor();
    (draws >= 1.0 && draws < DRAWS as f64).then_some(draws as usize)
}

impl Compared {
    /// Of documents without [`contradictions`]. `seed` comes from the signed bytes.
    pub fn of(docs: &[FidelityDoc], seed: [u8; 32]) -> Self {
        let sums: Vec<[f64; 4]> = docs
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
        let mut resampler = Resampler::new(seed);
        let mut drawn: [Vec<f64>; 3] = Default::default();
        for _ in 0..DRAWS {
            let draw = (0..sums.len()).map(|_| &sums[resampler.index(sums.len())]);
            for (values, value) in drawn.iter_mut().zip(per_token(draw)) {
                values.push(value);
            }
        }
        let [kld, dnll, top1] = drawn.map(|mut draws| {
            draws.sort_by(f64::total_cmp);
            draws
        });
        let values = per_token(sums.iter());
        let mean = |value, draws| Mean { value, draws };
        let each: Vec<f64> = docs
            .iter()
            .flat_map(|doc| &doc.token_kld_nnat)
            .map(|kld| *kld as f64 / NNAT)
            .collect();
        Self {
            tokens: docs.iter().map(|doc| doc.tokens).sum(),
            kld_nats: mean(values[0], kld),
            dnll_nats: mean(values[1], dnll),
            top1: mean(values[2], top1),
            kld_p999_nats: quantile(&each, 0.999).filter(|_| each.len() >= MIN_P999_TOKENS),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(tokens: u32, dnll_nnat: i64) -> FidelityDoc {
        FidelityDoc {
            tokens,
            kld_nnat: 1_000 * i64::from(tokens),
            dnll_nnat,
            top1_agree: tokens,
            token_kld_nnat: vec![1_000; tokens as usize],
        }
    }

    #[test]
    fn limits_lie_around_the_mean_and_widen_with_what_is_promised() {
        let docs: Vec<_> = (0..100)
            .map(|n| doc(4, (n % 10) * 1_000_000_000 - 4_500_000_000))
            .collect();
        let compared = Compared::of(&docs, [1; 32]);
        assert_eq!(compared, Compared::of(&docs, [1; 32]));
        let mean = &compared.dnll_nats;
        assert!(mean.value.abs() < 1e-9, "{}", mean.value);
        let low = [0.01, 0.05, 0.25].map(|tail| mean.low(tail).expect("many draws"));
        let high = [0.25, 0.05, 0.01].map(|tail| mean.high(tail).expect("many draws"));
        assert!(low.is_sorted_by(|a, b| a < b) && high.is_sorted_by(|a, b| a < b));
        assert!(low[2] < mean.value && mean.value < high[0]);
        // 2.87 nats a document over 4 tokens and 100 documents: 1.645 standard errors.
        assert!((high[1] - 1.645 * 0.0718).abs() < 0.02, "{}", high[1]);
        assert!(compared.kld_p999_nats.is_none(), "400 tokens have no tail");
    }

    #[test]
    fn a_tail_of_less_than_a_draw_has_no_limit() {
        let compared = Compared::of(&[doc(3, 0), doc(5, 9)], [2; 32]);
        assert_eq!(compared.dnll_nats.low(1e-5), None);
        assert_eq!(compared.dnll_nats.high(0.0), None);
        assert!(compared.dnll_nats.high(0.01).is_some());
    }
}
