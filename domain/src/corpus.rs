//! The corpus that variants are compared on token by token: texts made by the project, the same everywhere.
//!
//! A pure function of the suite, with a seed of its own, so that no item of a published run stands in it and there is
//! nothing to download. Bounds: at most [`MAX_DOCUMENTS`] documents of at most [`MAX_DOCUMENT_BYTES`] each, of which
//! at most [`MAX_SCORED_BYTES`] are compared; all documents together have at most [`MAX_CORPUS_SCORED_BYTES`] of those.
//! Any change that alters a document changes [`digest`], and figures on different corpora are never compared.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use crate::suite::{Item, ItemId, Suite, item};

/// Most documents.
pub const MAX_DOCUMENTS: usize = 1_000;
/// Longest document in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 4_096;
/// Most bytes of one document that are compared.
pub const MAX_SCORED_BYTES: usize = 192;
/// Most bytes of all documents that are compared.
pub const MAX_CORPUS_SCORED_BYTES: usize = 10_500;

/// Items of each family and level in the corpus of `reference-v1`.
const REFERENCE_ITEMS: u32 = 33;
/// Items of each family and level in the corpus of `core-v1`.
const CORE_ITEMS: u32 = 2;
/// Levels of `core-v1` whose items are taken, from one.
const CORE_LEVELS: u8 = 3;

/// One text of a corpus. A sequence is the begin token, where the model has one, then both parts, then the end token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What the model is given; not compared.
    pub given: String,
    /// What follows, and is compared, the end token with it.
    pub scored: String,
}

impl Document {
    /// Both parts.
    pub fn text(&self) -> String {
        format!("{}{}", self.given, self.scored)
    }
}

/// The documents of a suite's corpus, in order.
///
/// - `reference-v1`: one item each, prompt and right answer, which is what the reference models were trained on.
///   The answer is compared: prompts are random letters that no model was trained to predict.
/// - `core-v1`: prompt and right answer of the easier items of every family, plain English. The end is compared,
///   question and answer alike; of a longer text the beginning is left out.
pub fn documents(suite: Suite) -> Vec<Document> {
    let (levels, items) = match suite {
        Suite::ReferenceV1 => (suite.levels(), REFERENCE_ITEMS),
        Suite::CoreV1 => (CORE_LEVELS, CORE_ITEMS),
    };
    let seed = seed(suite);
    let mut documents = Vec::new();
    for index in 0..items {
        for level in 1..=levels {
            for &family in suite.families() {
                let id = ItemId {
                    family,
                    level,
                    index,
                };
                documents.push(document(suite, item(&seed, id)));
            }
        }
    }
    documents
}

/// SHA-256 over the suite's name and all documents, each part preceded by its length.
pub fn digest(suite: Suite) -> [u8; 32] {
    static REFERENCE: LazyLock<[u8; 32]> = LazyLock::new(|| digest_of(Suite::ReferenceV1));
    static CORE: LazyLock<[u8; 32]> = LazyLock::new(|| digest_of(Suite::CoreV1));
    match suite {
        Suite::ReferenceV1 => *REFERENCE,
        Suite::CoreV1 => *CORE,
    }
}

fn digest_of(suite: Suite) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut add = |part: &str| {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    add(suite.name());
    for document in documents(suite) {
        add(&document.given);
        add(&document.scored);
    }
    hasher.finalize().into()
}

/// The seed of the corpus: the SHA-256 of the ASCII phrase `joulemark {name} corpus seed`.
fn seed(suite: Suite) -> [u8; 32] {
    Sha256::digest(format!("joulemark {} corpus seed", suite.name())).into()
}

fn document(suite: Suite, item: Item) -> Document {
    match suite {
        Suite::ReferenceV1 => Document {
            given: item.prompt,
            scored: item.answer,
        },
        Suite::CoreV1 => {
            let text = format!("{}\n\n{}", item.prompt, item.answer);
            let text = &text[start_of_end(&text, MAX_DOCUMENT_BYTES)..];
            let (given, scored) = text.split_at(start_of_end(text, MAX_SCORED_BYTES));
            Document {
                given: given.to_owned(),
                scored: scored.to_owned(),
            }
        }
    }
}

/// Where the longest end of `text` begins that has at most `bytes` bytes of whole characters.
fn start_of_end(text: &str, bytes: usize) -> usize {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::reference::is_evaluation_prompt;

    fn bounded(suite: Suite) {
        let documents = documents(suite);
        assert!(documents.len() <= MAX_DOCUMENTS);
        for document in &documents {
            assert!(document.text().len() <= MAX_DOCUMENT_BYTES);
            assert!((1..=MAX_SCORED_BYTES).contains(&document.scored.len()));
        }
        let scored: usize = documents.iter().map(|document| document.scored.len()).sum();
        assert!(scored <= MAX_CORPUS_SCORED_BYTES, "{scored} bytes");
    }

    #[test]
    fn the_reference_corpus_is_what_it_always_was() {
        bounded(Suite::ReferenceV1);
        let documents = documents(Suite::ReferenceV1);
        assert_eq!(documents.len(), 693);
        let bytes: usize = documents.iter().map(|document| document.text().len()).sum();
        let scored: usize = documents.iter().map(|document| document.scored.len()).sum();
        assert_eq!((bytes, scored), (12_046, 3_812));
        assert_eq!(documents[0].text(), "+865+281=6411");
        assert_eq!(
            hex::encode(digest(Suite::ReferenceV1)),
            "0e1c1e2093ef9db0458ee4f90aa01db3186ad49b0f50f4fe4de083cf54362474"
        );
    }

    #[test]
    fn the_core_corpus_is_what_it_always_was() {
        bounded(Suite::CoreV1);
        let documents = documents(Suite::CoreV1);
        assert_eq!(documents.len(), 54);
        let bytes: usize = documents.iter().map(|document| document.text().len()).sum();
        let scored: usize = documents.iter().map(|document| document.scored.len()).sum();
        assert_eq!((bytes, scored), (46_387, 10_368));
        assert!(documents.iter().all(|document| document.text().is_ascii()));
        assert_eq!(
            hex::encode(digest(Suite::CoreV1)),
            "ef781e110b99041eefebea1db6b358d01cbd7e39af06b7a7a297528dbc34cc10"
        );
    }

    #[test]
    fn no_document_of_the_reference_corpus_was_trained_on_or_is_asked_in_public() {
        let suite = Suite::ReferenceV1;
        let corpus = documents(suite);
        assert!(
            corpus
                .iter()
                .all(|document| is_evaluation_prompt(&document.given))
        );
        // Prompts of three digits and the like are few: some coincide by chance.
        let asked: Vec<String> = suite
            .plan(693)
            .into_iter()
            .map(|id| item(&suite.public_seed(), id).prompt)
            .collect();
        let both = corpus
            .iter()
            .filter(|document| asked.contains(&document.given))
            .count();
        assert!(both < corpus.len() / 50, "{both} documents are asked too");
    }

    #[test]
    fn an_end_is_cut_between_characters() {
        assert_eq!(start_of_end("abc", 2), 1);
        assert_eq!(start_of_end("aéé", 3), 3);
        assert_eq!(start_of_end("é", 9), 0);
    }
}
