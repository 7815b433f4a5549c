//! Asks the suite's items of the very engine that is timed, and keeps the answers.
//!
//! Nothing is scored here: the collector makes the items again and scores the answers. An answer
//! may be one token longer than the right one, so that one that does not end shows as wrong.

use domain::ids::Sha256Digest;
use domain::record::{AnsweredItem, Finish, PhaseKind, Quality};
use domain::suite::{self, Item};
use domain::text::{Answer, Name};

use crate::engine::{GenerateRequest, Prompt, Sampling};
use crate::measure::{Bench, Counts, Progress, Samples, Stopped, deadline};

/// Limit of one answer: a model that needs longer for a few bytes is of no use.
const ITEM_SECONDS: f64 = 120.0;

/// The items of a run.
pub fn items(seed: &[u8; 32], count: u32) -> Vec<Item> {
    suite::plan(count)
        .into_iter()
        .map(|id| suite::item(seed, id))
        .collect()
}

/// Asks every item once.
pub fn ask(bench: &mut Bench, items: &[Item], samples: &mut Samples) -> Result<(), Stopped> {
    if items.is_empty() {
        return Ok(());
    }
    bench.phase(samples, PhaseKind::Quality, None, |bench, samples| {
        let mut counts = Counts::default();
        let mut answers = Vec::with_capacity(items.len());
        let mut transcript = Vec::new();
        for (done, item) in (1..).zip(items) {
            bench.check_stop()?;
            let (answer, output) = ask_one(bench, item, samples)?;
            counts.add(answer.tokens_in, answer.tokens_out);
            transcript.extend(output.iter().flat_map(|token| token.to_le_bytes()));
            answers.push(answer);
            let of = items.len() as u32;
            (bench.on_progress)(Progress {
                phase: PhaseKind::Quality,
                done,
                of,
                tokens_per_second: None,
            });
        }
        samples.quality = Some(Quality {
            items: answers,
            transcript_sha256: Some(Sha256Digest::of(&transcript)),
        });
        Ok(counts)
    })?;
    bench.note_context(samples);
    Ok(())
}

/// How many answers are right, for the runner's own display; what is published is the
/// collector's count.
pub fn correct(items: &[Item], quality: &Quality) -> u32 {
    // As the collector does: an answer that did not end is wrong.
    let right = |(item, answered): &(&Item, &AnsweredItem)| {
        answered.finish == Finish::Stop && suite::score(item, answered.answer.as_str())
    };
    items.iter().zip(&quality.items).filter(right).count() as u32
}

fn ask_one(
    bench: &mut Bench,
    item: &Item,
    samples: &Samples,
) -> Result<(AnsweredItem, Vec<u32>), Stopped> {
    let request = GenerateRequest {
        prompt: Prompt::Text(item.prompt.clone()),
        max_output_tokens: item.answer.len() as u32 + 1,
        ban_eos: false,
        deadline: deadline(ITEM_SECONDS),
        sampling: Sampling::Greedy,
        reuse_cache: false,
    };
    let start_ns = bench.now(samples);
    let generated = bench.engine.generate(&request, &mut |_| ())?;
    let answered = AnsweredItem {
        family: Name::cleaned(item.id.family.name()),
        level: item.id.level,
        index: item.id.index,
        sample: 0,
        answer: Answer::cleaned(&generated.text),
        picked: true,
        tokens_in: generated.prompt_tokens,
        tokens_out: generated.output_tokens,
        reasoning_tokens: generated.reasoning_tokens,
        finish: generated.finish,
        start_ns,
        end_ns: bench.now(samples),
    };
    Ok((answered, generated.output))
}
