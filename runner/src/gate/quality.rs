//! Evidence about answers: greedy texts, then token by token, then items; as far as is needed.
//!
//! Both arms stand loaded at once and are asked in turn, one request at a time: what others do in
//! the same batch must not change an answer. Every arm answers with its own code; of candle that is
//! its build's child, whose own tokenizer reads the texts. What a rung needs of a document is hashed
//! or reduced at once, so that no more than one document's logits are in memory.
//!
//! - Greedy: every text of the suite's corpus is continued by at most [`GREEDY_TOKENS`]. Where logits
//!   can be had, both arms then read the text with the base's tokens behind it, and the bits of all
//!   their logits are hashed; tokens alone say nothing of the text after next.
//! - Forced: both read the corpus itself, as the base's file cuts it into tokens, and its second
//!   parts and ends are compared ([`crate::fidelity`]). The base's own continuation would not do: of
//!   what the base finds likeliest nobody can be surer, so a better candidate would look worse.
//! - Items: as many as the policy says, all of them, because who may stop where it suits decides the
//!   outcome. Answers that are the same are counted, others kept.
//!
//! Bounds: [`MAX_EVIDENCE_BYTES`] of JSON. Seconds for each answer; an arm that fails ends the climb.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::byte_tokenizer::ByteTokenizer;
use domain::corpus::{self, Document};
use domain::gate::ladder::judge_quality;
use domain::gate::policy::QualityPolicy;
use domain::gate::record::{ArmKind, FailureKind, Greedy, ItemPair, ItemsAsked, QualityEvidence};
use domain::ids::Sha256Digest;
use domain::record::{FidelityDoc, Finish, SuiteRef};
use domain::suite::{self, Item};
use domain::text::{Answer, MAX_ANSWER_BYTES, Name};
use sha2::{Digest as _, Sha256};

use super::arm::ArmSpec;
use super::slot::{SlotError, left_behind};
use crate::engine::candle;
use crate::engine::children::Strays;
use crate::engine::{Engine, EngineError, GenerateRequest, Generated, Needs, Prompt, Sampling};
use crate::fidelity::{Sequence, are_usable, compare};
use crate::gguf::Gguf;
use crate::measure::{deadline, json_bytes};
use crate::quality::{Questions, items, room, thinking};
use crate::variant::inspect;

#[cfg(test)]
mod tests;

/// Tokens by which a text is continued at most.
pub const GREEDY_TOKENS: u32 = 32;

/// JSON bytes of one model's evidence at most.
pub const MAX_EVIDENCE_BYTES: usize = 400 << 10;

/// Of those, for all but documents and answers.
const HEAD_BYTES: usize = 4 << 10;

/// No engine is waited for longer.
const PATIENCE: Duration = Duration::from_mins(10);

/// An answer has failed after so long, and a fifth of a second for each token.
const ANSWER_SECONDS: f64 = 120.0;

/// Tokens of a vocabulary of words, where the engine does not say how large its own is: fewer tokens
/// than bytes stand in a text.
const WORDS: u32 = 32_000;

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
/// is done, and of how much. Whatever happens, no process of an arm is left when it returns.
pub fn climb(
    pair: &Pair,
    policy: &QualityPolicy,
    stop: &AtomicBool,
    on_progress: &mut dyn FnMut(u8, u32, u32),
) -> Result<QualityEvidence, SlotError> {
    let engine_of =
        |arm: &ArmSpec, weights: &Path| arm.engine(weights, pair.threads, PATIENCE, None);
    let (base, candidate) = (Strays::watch(), Strays::watch());
    let marked = [
        pair.base.0.marked(&base),
        pair.candidate.0.marked(&candidate),
    ];
    let watched = Pair {
        base: (&marked[0], pair.base.1),
        candidate: (&marked[1], pair.candidate.1),
        ..*pair
    };
    let climbed = climb_with(&engine_of, &watched, policy, stop, on_progress);
    // What has hidden whose it is, is taken for the candidate's: the base is what stood before.
    let left = [
        left_behind(pair.candidate.0, candidate),
        left_behind(pair.base.0, base),
    ];
    let evidence = climbed?;
    left.into_iter().collect::<Result<(), _>>()?;
    Ok(evidence)
}

/// Makes an arm's engine for weights, with nothing loaded.
type EngineOf<'a> = &'a dyn Fn(&ArmSpec, &Path) -> Result<Box<dyn Engine>, EngineError>;

fn climb_with(
    engine_of: EngineOf,
    pair: &Pair,
    policy: &QualityPolicy,
    stop: &AtomicBool,
    on_progress: &mut dyn FnMut(u8, u32, u32),
) -> Result<QualityEvidence, SlotError> {
    let climbed = open(engine_of, pair, policy).and_then(|(base, candidate, vocabulary)| {
        let mut ladder = Ladder {
            base,
            candidate,
            vocabulary,
            policy,
            stop,
            on_progress,
        };
        ladder.climb(pair.model)
    });
    // What a stop ended early failed for no reason of its own.
    match climbed {
        Err(_) if stop.load(Ordering::Relaxed) => Err(SlotError::Interrupted),
        climbed => climbed,
    }
}

/// Both arms, loaded, and the vocabulary that they share where they do.
fn open<'a>(
    engine_of: EngineOf,
    pair: &Pair<'a>,
    policy: &QualityPolicy,
) -> Result<(Side<'a>, Side<'a>, Option<Vocabulary>), SlotError> {
    let vocabulary = Vocabulary::shared(pair)?;
    let size = vocabulary.as_ref().map_or(WORDS, |shared| shared.size);
    let questions = Questions {
        suite: policy.suite,
        seed: policy.suite.public_seed(),
        items: items(policy.suite, &policy.suite.public_seed(), policy.items),
        thinking_tokens: 0,
    };
    let texts = corpus::MAX_DOCUMENT_BYTES as u32 + 2 + GREEDY_TOKENS;
    let needs = Needs {
        context_tokens: texts.max(questions.context_tokens(size)),
        streams: 1,
    };
    let side = |(arm, weights): (&'a ArmSpec, &Path)| {
        let fault = |error: EngineError| SlotError::of_engine(arm, &error);
        let mut engine = engine_of(arm, weights).map_err(fault)?;
        engine.load(weights, needs).map_err(fault)?;
        Ok(Side { arm, engine })
    };
    Ok((side(pair.base)?, side(pair.candidate)?, vocabulary))
}

/// The vocabulary of two files of weights that cut text into the same tokens.
struct Vocabulary {
    tokenizer: ByteTokenizer,
    /// The begin token, where texts begin with one.
    begin: Option<u32>,
    /// Tokens in it.
    size: u32,
}

impl Vocabulary {
    /// Of a pair of candle engines; `None` where theirs differ, and of servers, whose logits nobody
    /// shows.
    fn shared(pair: &Pair) -> Result<Option<Self>, SlotError> {
        let arms = [pair.base, pair.candidate];
        if arms.iter().any(|(arm, _)| arm.kind != ArmKind::Candle) {
            return Ok(None);
        }
        let [base, candidate] = arms.map(|(arm, weights)| {
            inspect(weights).map_err(|error| {
                let what = format!("failed to {error}");
                SlotError::failed(arm, FailureKind::Infrastructure, &what)
            })
        });
        let (base, candidate) = (base?, candidate?);
        let is_shared = base.tokenizer_sha256 == candidate.tokenizer_sha256
            && base.vocab_size == candidate.vocab_size;
        if !is_shared {
            return Ok(None);
        }
        let (arm, weights) = pair.base;
        Self::of(weights, base.vocab_size)
            .map(Some)
            .map_err(|error| SlotError::of_engine(arm, &error))
    }

    fn of(weights: &Path, size: u32) -> Result<Self, EngineError> {
        let (tokenizer, begins) = candle::tokenizer(&Gguf::open(weights)?, size as usize)?;
        Ok(Self {
            begin: begins.then(|| tokenizer.bos()),
            tokenizer,
            size,
        })
    }

    /// The text, and what was chosen after it.
    fn tokens(&self, text: &str, chosen: &[u32]) -> Vec<u32> {
        let text = self.begin.into_iter().chain(self.tokenizer.encode(text));
        text.chain(chosen.iter().copied()).collect()
    }
}

/// One arm, loaded.
struct Side<'a> {
    arm: &'a ArmSpec,
    engine: Box<dyn Engine>,
}

impl Side<'_> {
    /// The likeliest answer to a prompt.
    fn say(&mut self, prompt: Prompt, most: u32) -> Result<Generated, SlotError> {
        let request = GenerateRequest {
            prompt,
            max_output_tokens: most,
            ban_eos: false,
            deadline: deadline(ANSWER_SECONDS + f64::from(most) / 5.0),
            sampling: Sampling::Greedy,
            reuse_cache: false,
        };
        let said = self
            .engine
            .generate(&request, &mut |_| ())
            .map_err(|error| SlotError::of_engine(self.arm, &error))?;
        match said.finish {
            Finish::Stop | Finish::Length => Ok(said),
            _ => Err(self.failed("it did not answer to the end in time")),
        }
    }

    /// Logits behind every token.
    fn logits(&mut self, tokens: &[u32], size: u32) -> Result<Vec<Vec<f32>>, SlotError> {
        let rows = self
            .engine
            .logits(tokens)
            .map_err(|error| SlotError::of_engine(self.arm, &error))?;
        let is_whole = rows.len() == tokens.len();
        if !is_whole || rows.iter().any(|row| row.len() != size as usize) {
            let what = format!(
                "its logits are not those of {} tokens over a vocabulary of {size}",
                tokens.len()
            );
            return Err(SlotError::failed(self.arm, FailureKind::OtherWork, &what));
        }
        if !are_usable(&rows) {
            return Err(self.failed(
                "its logits are not finite or beyond any model's: its weights or its arithmetic are broken",
            ));
        }
        Ok(rows)
    }

    fn failed(&self, what: &str) -> SlotError {
        SlotError::failed(self.arm, FailureKind::Infrastructure, what)
    }
}

/// Two arms on their way up.
struct Ladder<'a> {
    base: Side<'a>,
    candidate: Side<'a>,
    vocabulary: Option<Vocabulary>,
    policy: &'a QualityPolicy,
    stop: &'a AtomicBool,
    on_progress: &'a mut dyn FnMut(u8, u32, u32),
}

impl Ladder<'_> {
    fn climb(&mut self, model: u32) -> Result<QualityEvidence, SlotError> {
        let documents = corpus::documents(self.policy.suite);
        let offer = |side: &Side| side.engine.capabilities().logits;
        let logits = offer(&self.base) && offer(&self.candidate);
        // Nothing can be compared token by token over two vocabularies.
        let vocabulary = self.vocabulary.take().filter(|_| logits);
        let mut evidence = QualityEvidence {
            model,
            corpus_sha256: Sha256Digest(corpus::digest(self.policy.suite)),
            greedy: Some(self.greedy(&documents, vocabulary.as_ref())?),
            forced: None,
            items: None,
            unavailable: None,
        };
        if self.is_decided(&evidence) {
            return Ok(evidence);
        }
        match vocabulary {
            Some(vocabulary) => evidence.forced = Some(self.forced(&documents, &vocabulary)?),
            None => {
                evidence.unavailable = Some(Name::cleaned(if logits {
                    "the arms cut text into different tokens"
                } else {
                    "the engine shows no logits"
                }));
            }
        }
        if self.is_decided(&evidence) || self.policy.items == 0 {
            return Ok(evidence);
        }
        let room = MAX_EVIDENCE_BYTES.saturating_sub(json_bytes(&evidence) + HEAD_BYTES);
        evidence.items = self.items(room)?;
        if evidence.items.is_none() {
            let what = "the answers that differ are too long to be kept";
            evidence.unavailable = Some(Name::cleaned(what));
        }
        Ok(evidence)
    }

    fn is_decided(&self, evidence: &QualityEvidence) -> bool {
        judge_quality(evidence, self.policy, "").rung.is_some()
    }

    /// The first rung.
    fn greedy(
        &mut self,
        documents: &[Document],
        vocabulary: Option<&Vocabulary>,
    ) -> Result<Greedy, SlotError> {
        let [mut base_said, mut candidate_said] = [Sha256::new(), Sha256::new()];
        let [mut base_logits, mut candidate_logits] = [Sha256::new(), Sha256::new()];
        let mut tokens = 0;
        for (number, Document { given, .. }) in documents.iter().enumerate() {
            self.progress(1, number, documents.len())?;
            let prompt = || Prompt::Text(given.clone());
            let said = self.base.say(prompt(), GREEDY_TOKENS)?;
            hash_said(&mut base_said, &said);
            let candidate = self.candidate.say(prompt(), GREEDY_TOKENS)?;
            hash_said(&mut candidate_said, &candidate);
            tokens += u64::from(said.output_tokens);
            if let Some(vocabulary) = vocabulary {
                let read = vocabulary.tokens(given, &said.output);
                let size = vocabulary.size;
                hash_rows(&mut base_logits, &self.base.logits(&read, size)?);
                hash_rows(&mut candidate_logits, &self.candidate.logits(&read, size)?);
            }
        }
        let digest = |hasher: Sha256| Sha256Digest(hasher.finalize().into());
        Ok(Greedy {
            documents: documents.len() as u32,
            tokens,
            base_tokens_sha256: digest(base_said),
            candidate_tokens_sha256: digest(candidate_said),
            base_logits_sha256: vocabulary.map(|_| digest(base_logits)),
            candidate_logits_sha256: vocabulary.map(|_| digest(candidate_logits)),
        })
    }

    /// The second rung.
    fn forced(
        &mut self,
        documents: &[Document],
        vocabulary: &Vocabulary,
    ) -> Result<Vec<FidelityDoc>, SlotError> {
        let mut docs = Vec::with_capacity(documents.len());
        for (number, document) in documents.iter().enumerate() {
            self.progress(2, number, documents.len())?;
            let sequence = Sequence::of(document, &vocabulary.tokenizer, vocabulary.begin);
            let base = self.base.logits(sequence.read(), vocabulary.size)?;
            let candidate = self.candidate.logits(sequence.read(), vocabulary.size)?;
            docs.push(compare(&base, &candidate, &sequence));
        }
        Ok(docs)
    }

    /// The third rung; `None` where what differs does not fit into `room` bytes of JSON.
    fn items(&mut self, room: usize) -> Result<Option<ItemsAsked>, SlotError> {
        let suite = self.policy.suite;
        let seed = suite.public_seed();
        let items = items(suite, &seed, self.policy.items);
        let mut differing = Vec::new();
        for (number, item) in items.iter().enumerate() {
            self.progress(3, number, items.len())?;
            let (base, base_ended) = answer(&mut self.base, item)?;
            let (candidate, candidate_ended) = answer(&mut self.candidate, item)?;
            if (&base, base_ended) == (&candidate, candidate_ended) {
                continue;
            }
            let pair = ItemPair {
                family: Name::cleaned(item.id.family.name()),
                level: item.id.level,
                index: item.id.index,
                base,
                base_ended,
                candidate,
                candidate_ended,
            };
            differing.push((item, pair));
        }
        Ok(fitted(&differing, room).map(|differing| ItemsAsked {
            suite: SuiteRef {
                version: Name::cleaned(suite.name()),
                digest: Sha256Digest(suite.digest()),
                seed: Sha256Digest(seed),
            },
            asked: items.len() as u32,
            differing,
        }))
    }

    /// Tells how far a rung is, or that it ends here.
    fn progress(&mut self, rung: u8, done: usize, of: usize) -> Result<(), SlotError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(SlotError::Interrupted);
        }
        (self.on_progress)(rung, done as u32, of as u32);
        Ok(())
    }
}

/// What an arm says to an item, as far as a record keeps it, and whether it ended by itself.
fn answer(side: &mut Side, item: &Item) -> Result<(Answer, bool), SlotError> {
    let is_chat = item.id.family.suite().is_chat();
    let prompt = if is_chat && side.engine.capabilities().chat {
        Prompt::Chat(item.prompt.clone())
    } else {
        Prompt::Text(item.prompt.clone())
    };
    let said = side.say(prompt, item.max_answer_tokens)?;
    let text = if is_chat {
        thinking::cut(&said.text).answer
    } else {
        said.text
    };
    let kept = Answer::ending(&text, MAX_ANSWER_BYTES);
    Ok((kept, said.finish == Finish::Stop))
}

/// The pairs, their answers cut to one bound where they are too long together; `None` where that
/// would make another answer of one, or of two that differ the same.
fn fitted(differing: &[(&Item, ItemPair)], room: usize) -> Option<Vec<ItemPair>> {
    let cut = |most: usize| -> Vec<ItemPair> {
        let of = |(_, pair): &(&Item, ItemPair)| ItemPair {
            base: Answer::ending(pair.base.as_str(), most),
            candidate: Answer::ending(pair.candidate.as_str(), most),
            ..pair.clone()
        };
        differing.iter().map(of).collect()
    };
    let most = room::largest(|most| json_bytes(&cut(most)) <= room)?;
    let fitted = cut(most);
    let same = |item: &Item, whole: &Answer, kept: &Answer| {
        suite::score(item, whole.as_str()) == suite::score(item, kept.as_str())
    };
    let is_kept = |((item, whole), kept): (&(&Item, ItemPair), &ItemPair)| {
        same(item, &whole.base, &kept.base)
            && same(item, &whole.candidate, &kept.candidate)
            && (&kept.base, kept.base_ended) != (&kept.candidate, kept.candidate_ended)
    };
    let is_kept = differing.iter().zip(&fitted).all(is_kept);
    is_kept.then_some(fitted)
}

/// What was read and said, so that nothing of it can differ unseen.
fn hash_said(hasher: &mut Sha256, said: &Generated) {
    hasher.update(said.prompt_tokens.to_le_bytes());
    hasher.update((said.output.len() as u64).to_le_bytes());
    for token in &said.output {
        hasher.update(token.to_le_bytes());
    }
    hasher.update((said.text.len() as u64).to_le_bytes());
    hasher.update(&said.text);
    hasher.update([u8::from(said.finish == Finish::Stop)]);
}

fn hash_rows(hasher: &mut Sha256, rows: &[Vec<f32>]) {
    hasher.update((rows.len() as u64).to_le_bytes());
    for row in rows {
        let bytes: Vec<u8> = row.iter().flat_map(|logit| logit.to_le_bytes()).collect();
        hasher.update(bytes);
    }
}
