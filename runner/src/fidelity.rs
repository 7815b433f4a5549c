//! Compares a variant with its unquantised, unpruned source, token by token: how much of the source is left.
//!
//! Both stand in memory at once and read the same documents of the project's corpus ([`domain::corpus`]), each token
//! after the right ones before it. Of every compared token the record keeps the KL divergence of the variant's
//! distribution from the source's; of every document the change of its text's negative log likelihood and how often
//! the likeliest token is the same (of equals the one of lower number). Sums are made in `f64`; each token's
//! divergence is rounded to a billionth of a nat, and a document's divergence is the sum of the rounded ones.
//!
//! Compared are the tokens of a document's second part and its end token. For `reference-v1` that is the answer: the
//! characters of its prompts are random, and were no target of the training either. What a variant does there tells
//! noise from noise, and is most of the mean where it is counted: of the 3.5m reference model, dropping a layer and
//! zeroing half of the weights diverge equally over the prompts (0.60 and 0.61 nats a token), though 23 and 41 of 398
//! right answers of 420 are lost; over the answers they diverge by 0.018 and 0.057, in the order of the answers lost.
//!
//! Bounds: the corpus's, and [`MAX_FIDELITY_BYTES`] of JSON in a record. Nothing is timed or metered here.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use domain::byte_tokenizer::ByteTokenizer;
use domain::corpus::{self, Document};
use domain::ids::Sha256Digest;
use domain::record::{Fidelity, FidelityDoc, PruningMethod, VariantFacts};
use domain::suite::Suite;
use thiserror::Error;

use crate::engine::candle::{self, CandleEngine};
use crate::engine::{Engine as _, EngineError, Needs};
use crate::gguf::{Gguf, GgufError};
use crate::variant::{VariantError, inspect};

#[cfg(test)]
mod tests;

/// JSON bytes of a comparison in a record: the largest corpus in single bytes, at twelve characters a token.
pub const MAX_FIDELITY_BYTES: usize = 160 << 10;

/// No model's logits come near this; beyond it their differences would not fit a record.
const LARGEST_LOGIT: f32 = 1e5;

/// Billionths in a nat.
const NNAT: f64 = 1e9;

/// Types of weights that nothing was lost by.
const UNQUANTISED: [&str; 3] = ["F32", "F16", "BF16"];

/// Why there is no comparison.
#[derive(Debug, Error)]
pub enum FidelityError {
    /// The weights cannot be read.
    #[error(transparent)]
    Variant(#[from] VariantError),
    /// The weights cannot be read as a GGUF.
    #[error(transparent)]
    File(#[from] GgufError),
    /// One of the two cannot be computed with.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The source was quantised or pruned itself.
    #[error("compare with {}: it {why}, and a comparison starts from unquantised, unpruned weights", path.display())]
    NoReference {
        /// The source.
        path: PathBuf,
        /// What was done to it.
        why: String,
    },
    /// Both are the same file.
    #[error("compare {} with its source: they are the same weights", path.display())]
    SameWeights {
        /// The file.
        path: PathBuf,
    },
    /// Different numbers of tokens.
    #[error(
        "compare token by token: the source knows {source_tokens} tokens and the variant {variant_tokens}"
    )]
    Vocabulary {
        /// Tokens of the source.
        source_tokens: u32,
        /// Tokens of the variant.
        variant_tokens: u32,
    },
    /// Different tokenizers.
    #[error(
        "compare token by token: source and variant cut text into different tokens; make the variant from this source"
    )]
    Tokenizer,
    /// Logits that are no numbers.
    #[error("compare document {document}: {} gives logits that are not finite or beyond any model's; make or fetch the file again", path.display())]
    Logits {
        /// Which document, from 1.
        document: usize,
        /// Whose.
        path: PathBuf,
    },
    /// The result does not fit a record.
    #[error(
        "keep the comparison: its {0} bytes are more than the {MAX_FIDELITY_BYTES} that a record has for it"
    )]
    TooLong(usize),
    /// A person stopped it.
    #[error("compare to the end: it was stopped")]
    Stopped,
}

/// Compares `variant` with the `source` that it was made from, on the corpus of `suite`.
///
/// Blocking; `stop` is heeded between documents, of which `on_progress` is told how many are done, and of how many.
pub fn measure(
    source: &Path,
    variant: &Path,
    suite: Suite,
    stop: &AtomicBool,
    on_progress: &mut dyn FnMut(u32, u32),
) -> Result<Fidelity, FidelityError> {
    let reference = inspect(source)?;
    comparable(&reference, source, &inspect(variant)?, variant)?;
    let gguf = Gguf::open(source)?;
    let (tokenizer, begins) = candle::tokenizer(&gguf, reference.vocab_size as usize)?;
    let begin = begins.then(|| tokenizer.bos());
    let (mut exact, mut lossy) = (Model::open(source)?, Model::open(variant)?);

    let documents = corpus::documents(suite);
    let of = documents.len() as u32;
    let mut docs = Vec::with_capacity(documents.len());
    for (number, document) in (1..).zip(&documents) {
        if stop.load(Ordering::Relaxed) {
            return Err(FidelityError::Stopped);
        }
        let sequence = Sequence::of(document, &tokenizer, begin);
        let exact = exact.logits(sequence.read(), number)?;
        let lossy = lossy.logits(sequence.read(), number)?;
        docs.push(compare(&exact, &lossy, &sequence));
        on_progress(number as u32, of);
    }
    let fidelity = Fidelity {
        reference_sha256: reference.sha256,
        corpus_sha256: Sha256Digest(corpus::digest(suite)),
        docs,
    };
    match json_bytes(&fidelity) {
        bytes if bytes > MAX_FIDELITY_BYTES => Err(FidelityError::TooLong(bytes)),
        _ => Ok(fidelity),
    }
}

/// What it takes in a record.
fn json_bytes(fidelity: &Fidelity) -> usize {
    let json = serde_json::to_vec(fidelity);
    json.expect("numbers and digests are JSON").len()
}

/// Whether a token of one means the same as that token of the other, and the source is a reference.
fn comparable(
    reference: &VariantFacts,
    source: &Path,
    variant: &VariantFacts,
    path: &Path,
) -> Result<(), FidelityError> {
    let why = if !UNQUANTISED.contains(&reference.quant.as_str()) {
        Some(format!("is stored as {}", reference.quant))
    } else if reference.pruning.method != PruningMethod::None {
        Some("is pruned".to_owned())
    } else {
        None
    };
    if let Some(why) = why {
        return Err(FidelityError::NoReference {
            path: source.to_owned(),
            why,
        });
    }
    if reference.sha256 == variant.sha256 {
        return Err(FidelityError::SameWeights {
            path: path.to_owned(),
        });
    }
    if reference.vocab_size != variant.vocab_size {
        return Err(FidelityError::Vocabulary {
            source_tokens: reference.vocab_size,
            variant_tokens: variant.vocab_size,
        });
    }
    if reference.tokenizer_sha256 != variant.tokenizer_sha256 {
        return Err(FidelityError::Tokenizer);
    }
    Ok(())
}

/// Weights that are loaded, and where they came from.
struct Model {
    engine: CandleEngine,
    path: PathBuf,
}

impl Model {
    fn open(path: &Path) -> Result<Self, EngineError> {
        let mut engine = CandleEngine::new()?;
        let needs = Needs {
            context_tokens: corpus::MAX_DOCUMENT_BYTES as u32 + 2,
            streams: 1,
        };
        engine.load(path, needs)?;
        Ok(Self {
            engine,
            path: path.to_owned(),
        })
    }

    /// One row of finite logits for each of `tokens`.
    fn logits(&mut self, tokens: &[u32], document: usize) -> Result<Vec<Vec<f32>>, FidelityError> {
        let rows = self.engine.logits(tokens)?;
        if are_usable(&rows) {
            Ok(rows)
        } else {
            Err(FidelityError::Logits {
                document,
                path: self.path.clone(),
            })
        }
    }
}

/// Whether all logits are numbers, and such as a model may have.
pub(crate) fn are_usable(rows: &[Vec<f32>]) -> bool {
    rows.iter()
        .flatten()
        .all(|logit| logit.abs() <= LARGEST_LOGIT)
}

/// A document's tokens, of which the end is compared.
pub(crate) struct Sequence {
    tokens: Vec<u32>,
    /// The first that is compared.
    first: usize,
}

impl Sequence {
    /// The begin token, where there is one, both parts, and the end token.
    pub(crate) fn of(document: &Document, tokenizer: &ByteTokenizer, begin: Option<u32>) -> Self {
        let given = tokenizer.encode(&document.given);
        let mut tokens: Vec<u32> = begin.into_iter().chain(given).collect();
        // Nothing comes before the first token to predict it from.
        let first = tokens.len().max(1);
        tokens.extend(tokenizer.encode(&document.scored));
        tokens.push(tokenizer.eos());
        Self { tokens, first }
    }

    /// What is read; nothing is predicted from the last token.
    pub(crate) fn read(&self) -> &[u32] {
        &self.tokens[..self.tokens.len() - 1]
    }
}

/// Compares two models' logits behind every token that was read: as many rows as that, each as wide
/// as the vocabulary.
pub(crate) fn compare(exact: &[Vec<f32>], lossy: &[Vec<f32>], sequence: &Sequence) -> FidelityDoc {
    let compared = sequence.first..sequence.tokens.len();
    let mut doc = FidelityDoc {
        tokens: compared.len() as u32,
        kld_nnat: 0,
        dnll_nnat: 0,
        top1_agree: 0,
        token_kld_nnat: Vec::with_capacity(compared.len()),
    };
    let mut dnll = 0.0;
    for place in compared {
        // The logits behind a token predict the next one.
        let token = Token::of(&exact[place - 1], &lossy[place - 1], sequence.tokens[place]);
        let kld_nnat = (token.kld * NNAT).round() as i64;
        doc.token_kld_nnat.push(kld_nnat);
        doc.kld_nnat += kld_nnat;
        doc.top1_agree += u32::from(token.agrees);
        dnll += token.dnll;
    }
    doc.dnll_nnat = (dnll * NNAT).round() as i64;
    doc
}

/// What two distributions over the next token have to do with each other, in nats.
struct Token {
    kld: f64,
    dnll: f64,
    agrees: bool,
}

impl Token {
    fn of(exact: &[f32], lossy: &[f32], next: u32) -> Self {
        let (p, q) = (log_softmax(exact), log_softmax(lossy));
        let kld: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
        Self {
            // Below zero only by rounding.
            kld: kld.max(0.0),
            dnll: p[next as usize] - q[next as usize],
            agrees: likeliest(exact) == likeliest(lossy),
        }
    }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted = logits
        .iter()
        .map(|logit| f64::from(*logit) - f64::from(most));
    let sum: f64 = shifted.clone().map(f64::exp).sum();
    shifted.map(|logit| logit - sum.ln()).collect()
}

/// Place of the largest, of equals the first.
fn likeliest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (place, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = place;
        }
    }
    best
}
