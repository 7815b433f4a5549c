//! Asks the suite's items of the very engine that is timed, and keeps the answers.
//!
//! Nothing is scored for publication here: the collector makes the items again and scores the
//! answers. A suite of chat items is asked in the model's own template where the engine applies
//! one, else as a plain prompt; thinking is cut (file `thinking`) and counted, and the record says how
//! it was asked. With several samples of an item every one is kept, with its own time and tokens,
//! and the verifier marks the one that counts.
//!
//! Bounds: an item's tokens and seconds, and the texts by what a record holds (file `room`). An item
//! that the engine does not answer (too long for its context, refused) is a wrong answer without
//! text; `MAX_FAILURES` failures of the engine itself in a row end the cell.

use std::cmp::Reverse;

use domain::ids::Sha256Digest;
use domain::matrix::{QualitySettings, WorkloadSpec};
use domain::record::{
    AnsweredItem, Asking, Finish, PhaseKind, Quality, TemplateSource, Thinking, VariantFacts,
};
use domain::suite::{self, Item, Suite, Verdict};
use domain::text::{Answer, Name};

use crate::engine::{EngineError, GenerateRequest, Generated, Prompt, Sampling};
use crate::measure::{
    ANSWERS_BYTES, Bench, Counts, Progress, REPETITIONS_BYTES, Samples, Stopped, deadline,
    json_bytes,
};

mod context;
pub(crate) mod room;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod thinking;

pub use context::model_context_tokens;
use room::{Whole, fitted};

/// Limit of one answer besides its tokens: a model that needs longer for a few bytes is of no use.
const ITEM_SECONDS: f64 = 120.0;
/// Forward passes in a second that the limit allows for: who is slower is late.
const LEAST_PASSES_PER_SECOND: f64 = 5.0;
/// Failures of the engine in a row that end the cell.
const MAX_FAILURES: u32 = 3;
/// Answers after which a person is told that nothing can be made of them.
const EARLY: usize = 20;
/// Vocabularies of fewer tokens spell bytes.
const BYTE_VOCABULARY: u32 = 1_000;
/// Bytes of a suite's prompt to a token, at least: nine vocabularies of words took 2.8 to 3.7 for a
/// long text of names, codes and numbers.
const BYTES_PER_TOKEN: f64 = 2.5;
/// Tokens that a chat template puts around a message; one in bytes takes as many.
const TEMPLATE_TOKENS: u32 = 256;
/// Guess: tokens in and out of one item of the short suite, as forward passes.
const SHORT_ITEM_PASSES: f64 = 12.0;
/// Guess: prompt tokens that cost as much as one forward pass.
const PROMPT_TOKENS_PER_PASS: f64 = 16.0;
/// Guess: share of its bound that an answer takes.
const TAKEN_OF_BOUND: f64 = 0.5;

/// What is asked of every cell.
#[derive(Debug, Clone)]
pub struct Questions {
    /// The suite.
    pub suite: Suite,
    /// What its items are made from.
    pub seed: [u8; 32],
    /// The items, in the order of the plan.
    pub items: Vec<Item>,
    /// Tokens that a model may think before each answer.
    pub thinking_tokens: u32,
}

impl Questions {
    /// The questions of a matrix under a seed.
    pub fn of(settings: &QualitySettings, seed: [u8; 32]) -> Self {
        Self {
            suite: settings.suite,
            seed,
            items: items(settings.suite, &seed, settings.items),
            thinking_tokens: settings.thinking_tokens,
        }
    }

    /// Tokens of context that the longest item takes with its answer, estimated from above for a
    /// vocabulary of this size; 0 without items.
    pub fn context_tokens(&self, vocab_size: u32) -> u32 {
        // Without a template, the begin token.
        let around = if self.suite.is_chat() {
            TEMPLATE_TOKENS
        } else {
            1
        };
        let of = |item: &Item| {
            prompt_tokens(item, vocab_size)
                .saturating_add(self.most_tokens(item))
                .saturating_add(around)
        };
        self.items.iter().map(of).max().unwrap_or(0)
    }

    /// Guess: forward passes that an answer to an item costs a vocabulary of this size.
    pub fn passes(&self, item: &Item, vocab_size: u32) -> f64 {
        if !self.suite.is_chat() {
            return SHORT_ITEM_PASSES;
        }
        f64::from(prompt_tokens(item, vocab_size)) / PROMPT_TOKENS_PER_PASS
            + f64::from(self.most_tokens(item)) * TAKEN_OF_BOUND
    }

    /// Tokens that an answer may have, thinking included.
    fn most_tokens(&self, item: &Item) -> u32 {
        item.max_answer_tokens.saturating_add(self.thinking_tokens)
    }
}

/// The items of a run.
pub fn items(suite: Suite, seed: &[u8; 32], count: u32) -> Vec<Item> {
    suite
        .plan(count)
        .into_iter()
        .map(|id| suite::item(seed, id))
        .collect()
}

fn prompt_tokens(item: &Item, vocab_size: u32) -> u32 {
    let bytes = item.prompt.len() as f64;
    let tokens = if vocab_size < BYTE_VOCABULARY {
        bytes
    } else {
        bytes / BYTES_PER_TOKEN
    };
    tokens.ceil() as u32
}

/// Asks every item, as often as the workload samples answers.
pub fn ask(
    bench: &mut Bench,
    questions: &Questions,
    variant: &VariantFacts,
    workload: &WorkloadSpec,
    samples: &mut Samples,
) -> Result<(), Stopped> {
    if questions.items.is_empty() {
        return Ok(());
    }
    let can = bench.engine.capabilities();
    if !can.client_view {
        tracing::info!("no items are asked: the engine only times itself");
        return Ok(());
    }
    let mut asker = Asker {
        questions,
        workload,
        template: match (
            questions.suite.is_chat() && can.chat,
            variant.template_sha256,
        ) {
            (false, _) => TemplateSource::None,
            (true, Some(_)) => TemplateSource::Model,
            (true, None) => TemplateSource::Server,
        },
        thinking: Thinking::None,
        transcript: Vec::new(),
        answers: Vec::new(),
        unanswered: 0,
        failures: 0,
    };
    bench.phase(samples, PhaseKind::Quality, None, |bench, samples| {
        let counts = asker.ask_all(bench, variant.vocab_size, samples)?;
        samples.quality = Some(asker.quality(samples));
        Ok(counts)
    })?;
    bench.note_context(samples);
    Ok(())
}

/// How picked answers came out, for the runner's own display; what is published is the collector's
/// count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Picked answers: one of each item.
    pub items: u32,
    /// Of those, right.
    pub right: u32,
    /// Of those, without anything that could be an answer.
    pub unextractable: u32,
}

/// Counts picked answers.
pub fn tally(items: &[Item], quality: &Quality) -> Tally {
    let mut tally = Tally::default();
    let picked = quality.items.iter().filter(|answered| answered.picked);
    for (item, answered) in items.iter().zip(picked) {
        tally.items += 1;
        match suite::score(item, answered.answer.as_str()) {
            // As the collector does: an answer that did not end is wrong.
            Verdict::Right if answered.finish == Finish::Stop => tally.right += 1,
            Verdict::Right | Verdict::Wrong => {}
            Verdict::Unextractable => tally.unextractable += 1,
        }
    }
    tally
}

/// Questions on their way.
struct Asker<'a> {
    questions: &'a Questions,
    workload: &'a WorkloadSpec,
    template: TemplateSource,
    /// What was seen of it so far.
    thinking: Thinking,
    transcript: Vec<u8>,
    answers: Vec<Whole>,
    /// Answers that the engine did not give.
    unanswered: u32,
    /// The engine's failures in a row.
    failures: u32,
}

impl Asker<'_> {
    fn ask_all(
        &mut self,
        bench: &mut Bench,
        vocab_size: u32,
        samples: &Samples,
    ) -> Result<Counts, Stopped> {
        let questions = self.questions;
        let passes = |item: &Item| questions.passes(item, vocab_size);
        let mut left: f64 = questions.items.iter().map(passes).sum();
        let (mut gone, began_ns) = (0.0, bench.now(samples));
        let mut counts = Counts::default();
        for (done, item) in (1..).zip(&questions.items) {
            let first = self.answers.len();
            for sample in 0..self.workload.samples {
                bench.check_stop()?;
                let whole = self.ask_once(bench, item, sample, samples)?;
                counts.add(whole.answered.tokens_in, whole.answered.tokens_out);
                self.answers.push(whole);
            }
            if let Some(picked) = self.picked(first) {
                self.answers[first + picked].answered.picked = true;
            }
            gone += passes(item);
            left -= passes(item);
            if done == EARLY.min(questions.items.len())
                && let Some(trouble) = self.trouble()
            {
                tracing::warn!("{trouble}");
            }
            let spent = bench.now(samples).saturating_sub(began_ns) as f64 / 1e9;
            (bench.on_progress)(Progress {
                phase: PhaseKind::Quality,
                done: done as u32,
                of: questions.items.len() as u32,
                tokens_per_second: None,
                seconds_left: Some(spent * left.max(0.0) / gone),
            });
        }
        if self.unanswered > 0 {
            tracing::warn!(
                "{} of {} answers were not given by the engine; they count as wrong",
                self.unanswered,
                self.answers.len()
            );
        }
        Ok(counts)
    }

    fn ask_once(
        &mut self,
        bench: &mut Bench,
        item: &Item,
        sample: u32,
        samples: &Samples,
    ) -> Result<Whole, Stopped> {
        let most = self.questions.most_tokens(item);
        let passes = f64::from(most) + item.prompt.len() as f64 / PROMPT_TOKENS_PER_PASS;
        let request = GenerateRequest {
            prompt: match self.template {
                TemplateSource::None => Prompt::Text(item.prompt.clone()),
                TemplateSource::Model | TemplateSource::Server => Prompt::Chat(item.prompt.clone()),
            },
            max_output_tokens: most,
            ban_eos: false,
            deadline: deadline(ITEM_SECONDS + passes / LEAST_PASSES_PER_SECOND),
            sampling: match self.workload.temperature_ppm {
                0 => Sampling::Greedy,
                temperature_ppm => Sampling::Drawn {
                    temperature_ppm,
                    seed: sample_seed(&self.questions.seed, item, sample),
                },
            },
            reuse_cache: false,
        };
        let start_ns = bench.now(samples);
        let mut answered = AnsweredItem {
            family: Name::cleaned(item.id.family.name()),
            level: item.id.level,
            index: item.id.index,
            sample,
            answer: Answer::default(),
            answer_bytes: None,
            picked: false,
            tokens_in: 0,
            tokens_out: 0,
            reasoning_tokens: 0,
            finish: Finish::Error,
            start_ns,
            end_ns: start_ns,
        };
        let text = match bench.engine.generate(&request, &mut |_| ()) {
            Ok(generated) => {
                self.failures = 0;
                self.understand(item, generated, &mut answered)
            }
            Err(error) => {
                self.forgive(item, error)?;
                String::new()
            }
        };
        // Who refuses at once takes some time too.
        answered.end_ns = bench.now(samples).max(start_ns + 1);
        Ok(Whole::new(answered, item, &text))
    }

    /// Takes what came back apart; the text without thinking.
    fn understand(
        &mut self,
        item: &Item,
        generated: Generated,
        answered: &mut AnsweredItem,
    ) -> String {
        let bytes = generated
            .output
            .iter()
            .flat_map(|token| token.to_le_bytes());
        self.transcript.extend(bytes);
        answered.tokens_in = generated.prompt_tokens;
        answered.tokens_out = generated.output_tokens;
        answered.reasoning_tokens = generated.reasoning_tokens;
        answered.finish = generated.finish;
        if !self.questions.suite.is_chat() {
            return generated.text;
        }
        let cut = thinking::cut(&generated.text);
        if cut.bytes > 0 {
            self.thinking = Thinking::Tags;
            // Nobody counts them: their share of the text.
            let visible = generated.output_tokens - generated.reasoning_tokens;
            let share = cut.bytes as f64 / generated.text.len() as f64;
            answered.reasoning_tokens += (f64::from(visible) * share).round() as u32;
        } else if generated.reasoning_tokens > 0 && self.thinking == Thinking::None {
            self.thinking = Thinking::Apart;
        }
        // What thinking left of its tokens is not the answer's to use.
        let visible = answered
            .tokens_out
            .saturating_sub(answered.reasoning_tokens);
        if answered.finish == Finish::Stop && visible > item.max_answer_tokens {
            answered.finish = Finish::Length;
        }
        cut.answer
    }

    /// Lets an item go unanswered, or ends the cell where the engine keeps failing.
    fn forgive(&mut self, item: &Item, error: EngineError) -> Result<(), Stopped> {
        if error.is_of_the_request() {
            self.failures = 0;
        } else {
            self.failures += 1;
            if self.failures == MAX_FAILURES {
                return Err(error.into());
            }
        }
        if self.unanswered == 0 {
            tracing::warn!("item {} counts as wrong: failed to {error}", item.id);
        } else {
            tracing::debug!(item = %item.id, %error, "an item counts as wrong");
        }
        self.unanswered += 1;
        Ok(())
    }

    /// What a person has to be told where nothing can be made of most answers so far. Texts under
    /// constraints are answers whatever they say, so it is never all of them.
    fn trouble(&self) -> Option<String> {
        let samples = self.workload.samples as usize;
        let asked = self.questions.items.iter();
        let each = asked.flat_map(|item| std::iter::repeat_n(item, samples));
        // Of those that were not given, the engine's errors say more.
        let given: Vec<(&Whole, &Item)> = self
            .answers
            .iter()
            .zip(each)
            .filter(|(whole, _)| whole.answered.finish != Finish::Error)
            .collect();
        let count = |is: &dyn Fn(&Whole, &Item) -> bool| {
            given.iter().filter(|(whole, item)| is(whole, item)).count()
        };
        let lost =
            count(&|whole, item| suite::score(item, whole.text.as_str()) == Verdict::Unextractable);
        if lost == 0 || 4 * lost < 3 * given.len() {
            return None;
        }
        let cut = count(&|whole, _| whole.answered.finish == Finish::Length);
        let hint = if 2 * cut > given.len() {
            format!(
                "{cut} were cut at their bound; if the model thinks, give it thinking_tokens in \
                 [quality]"
            )
        } else {
            "is the chat template right?".to_owned()
        };
        Some(format!(
            "{lost} of {} answers had no \"Answer:\" line and no JSON: {hint}",
            given.len()
        ))
    }

    /// What the record says of all this.
    fn quality(&mut self, samples: &Samples) -> Quality {
        let left = REPETITIONS_BYTES.saturating_sub(json_bytes(&samples.repetitions));
        let (items, answer_bytes) = fitted(&self.answers, ANSWERS_BYTES + left);
        Quality {
            items,
            transcript_sha256: (!self.transcript.is_empty())
                .then(|| Sha256Digest::of(&self.transcript)),
            asking: self.questions.suite.is_chat().then_some(Asking {
                template: self.template,
                thinking: self.thinking,
                thinking_tokens: self.questions.thinking_tokens,
                answer_bytes,
            }),
        }
    }

    /// The verifier's choice among the answers from `first` on: see [`most_frequent`].
    fn picked(&self, first: usize) -> Option<usize> {
        let votes: Vec<Option<&str>> = self.answers[first..]
            .iter()
            .map(|whole| {
                let text = whole.text.as_str();
                let is_chat = self.questions.suite.is_chat();
                let said = if is_chat { said(text) } else { text };
                (whole.answered.finish == Finish::Stop).then_some(said)
            })
            .collect();
        most_frequent(&votes)
    }
}

/// The most frequent vote, of equals the one that came first. An answer that did not end has no
/// vote, unless none ended.
fn most_frequent(votes: &[Option<&str>]) -> Option<usize> {
    let same = |vote: &str| votes.iter().filter(|other| **other == Some(vote)).count();
    let voting = votes.iter().enumerate();
    let most = voting
        .filter_map(|(at, vote)| Some((same((*vote)?), at)))
        .max_by_key(|(votes, at)| (*votes, Reverse(*at)));
    most.map(|(_, at)| at).or((!votes.is_empty()).then_some(0))
}

/// What an answer comes down to: what follows its last `Answer:`, else the whole. Two that reason
/// differently and say the same have one vote together.
fn said(text: &str) -> &str {
    const MARK: &[u8] = b"answer:";
    let mut marks = text.as_bytes().windows(MARK.len());
    let last = marks
        .rposition(|window| window.eq_ignore_ascii_case(MARK))
        .map_or(text, |at| &text[at + MARK.len()..]);
    last.trim_matches(|c: char| c.is_whitespace() || "*_`.".contains(c))
}

/// The seed of one answer's draws: whoever asks the same item again draws the same.
fn sample_seed(seed: &[u8; 32], item: &Item, sample: u32) -> u64 {
    let text = format!("{} {} {sample}", hex::encode(seed), item.id);
    let digest = Sha256Digest::of(text.as_bytes());
    let (first, _) = digest.0.split_first_chunk().expect("a digest has 32 bytes");
    u64::from_le_bytes(*first)
}
