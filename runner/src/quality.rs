//! Asks the suite's items of the very engine that is timed, and keeps the answers.
//!
//! Nothing is scored here: the collector makes the items again and scores the answers. An answer
//! may be one token longer than the right one, so that one that does not end shows as wrong.
//! With several samples of an item every one is kept, with its own time and tokens, and the
//! verifier marks the one that counts.

use std::cmp::Reverse;

use domain::ids::Sha256Digest;
use domain::matrix::WorkloadSpec;
use domain::record::{AnsweredItem, Finish, PhaseKind, Quality};
use domain::suite::{self, Item, Suite, Verdict};
use domain::text::{Answer, Name};

use crate::engine::{GenerateRequest, Prompt, Sampling};
use crate::measure::{Bench, Counts, Progress, Samples, Stopped, deadline};

/// Limit of one answer: a model that needs longer for a few bytes is of no use.
const ITEM_SECONDS: f64 = 120.0;

/// The items of a run.
pub fn items(suite: Suite, seed: &[u8; 32], count: u32) -> Vec<Item> {
    suite
        .plan(count)
        .into_iter()
        .map(|id| suite::item(seed, id))
        .collect()
}

/// Asks every item, as often as the workload samples answers.
pub fn ask(
    bench: &mut Bench,
    items: &[Item],
    seed: &[u8; 32],
    workload: &WorkloadSpec,
    samples: &mut Samples,
) -> Result<(), Stopped> {
    if items.is_empty() {
        return Ok(());
    }
    if !bench.engine.capabilities().client_view {
        tracing::info!("no items are asked: the engine only times itself");
        return Ok(());
    }
    bench.phase(samples, PhaseKind::Quality, None, |bench, samples| {
        let mut counts = Counts::default();
        let mut answers = Vec::with_capacity(items.len() * workload.samples as usize);
        let mut transcript = Vec::new();
        for (done, item) in (1..).zip(items) {
            let first = answers.len();
            for sample in 0..workload.samples {
                bench.check_stop()?;
                let sampling = match workload.temperature_ppm {
                    0 => Sampling::Greedy,
                    temperature_ppm => Sampling::Drawn {
                        temperature_ppm,
                        seed: sample_seed(seed, item, sample),
                    },
                };
                let (mut answer, output) = ask_once(bench, item, sampling, samples)?;
                answer.sample = sample;
                counts.add(answer.tokens_in, answer.tokens_out);
                transcript.extend(output.iter().flat_map(|token| token.to_le_bytes()));
                answers.push(answer);
            }
            if let Some(picked) = picked(&answers[first..]) {
                answers[first + picked].picked = true;
            }
            (bench.on_progress)(Progress {
                phase: PhaseKind::Quality,
                done,
                of: items.len() as u32,
                tokens_per_second: None,
            });
        }
        samples.quality = Some(Quality {
            items: answers,
            transcript_sha256: (!transcript.is_empty()).then(|| Sha256Digest::of(&transcript)),
            asking: None,
        });
        Ok(counts)
    })?;
    bench.note_context(samples);
    Ok(())
}

/// How many picked answers are right, for the runner's own display; what is published is the
/// collector's count.
pub fn correct(items: &[Item], quality: &Quality) -> u32 {
    // As the collector does: an answer that did not end is wrong.
    let right = |(item, answered): &(&Item, &AnsweredItem)| {
        answered.finish == Finish::Stop
            && suite::score(item, answered.answer.as_str()) == Verdict::Right
    };
    let picked = quality.items.iter().filter(|answered| answered.picked);
    items.iter().zip(picked).filter(right).count() as u32
}

/// The verifier's choice among one item's answers: the most frequent text, of equals the one that
/// came first. An answer that did not end has no vote, unless none ended.
fn picked(answers: &[AnsweredItem]) -> Option<usize> {
    let ended = |answer: &&AnsweredItem| answer.finish == Finish::Stop;
    let votes = |text: &Answer| {
        let same = answers
            .iter()
            .filter(ended)
            .filter(|other| other.answer == *text);
        same.count()
    };
    let candidates = answers.iter().enumerate();
    let most = candidates
        .filter(|(_, answer)| ended(answer))
        .map(|(at, answer)| (votes(&answer.answer), at))
        .max_by_key(|(votes, at)| (*votes, Reverse(*at)));
    most.map(|(_, at)| at)
        .or((!answers.is_empty()).then_some(0))
}

/// The seed of one answer's draws: whoever asks the same item again draws the same.
fn sample_seed(seed: &[u8; 32], item: &Item, sample: u32) -> u64 {
    let text = format!("{} {} {sample}", hex::encode(seed), item.id);
    let digest = Sha256Digest::of(text.as_bytes());
    let (first, _) = digest.0.split_first_chunk().expect("a digest has 32 bytes");
    u64::from_le_bytes(*first)
}

fn ask_once(
    bench: &mut Bench,
    item: &Item,
    sampling: Sampling,
    samples: &Samples,
) -> Result<(AnsweredItem, Vec<u32>), Stopped> {
    let request = GenerateRequest {
        prompt: Prompt::Text(item.prompt.clone()),
        max_output_tokens: item.max_answer_tokens,
        ban_eos: false,
        deadline: deadline(ITEM_SECONDS),
        sampling,
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
        answer_bytes: None,
        picked: false,
        tokens_in: generated.prompt_tokens,
        tokens_out: generated.output_tokens,
        reasoning_tokens: generated.reasoning_tokens,
        finish: generated.finish,
        start_ns,
        end_ns: bench.now(samples),
    };
    Ok((answered, generated.output))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use domain::matrix::Verifier;

    use super::*;
    use crate::clock::VirtualClock;
    use crate::context::ContextReader;
    use crate::engine::scripted::{ScriptedEngine, Work};
    use crate::engine::{Engine, Needs, SelfTiming};
    use crate::measure::Covering;
    use crate::meter::sampler::Sampler;

    fn public_items(count: u32) -> Vec<Item> {
        items(Suite::ReferenceV1, &Suite::ReferenceV1.public_seed(), count)
    }

    fn workload(samples: u32) -> WorkloadSpec {
        let simple = WorkloadSpec::simple("pp16-tg2".parse().expect("a slug"), 16, 2);
        if samples == 1 {
            return simple;
        }
        WorkloadSpec {
            samples,
            verifier: Some(Verifier::Majority),
            temperature_ppm: 700_000,
            ..simple
        }
    }

    /// Asks `count` items of an engine whose n-th answer to an item is made by `answer`.
    fn asked(engine: ScriptedEngine, items: &[Item], workload: &WorkloadSpec) -> Samples {
        let clock = Arc::new(VirtualClock::default());
        let ticking = Arc::clone(&clock);
        let mut engine = engine.works(move |work| {
            if work == Work::Token {
                ticking.advance(Duration::from_millis(1));
            }
        });
        let needs = Needs {
            context_tokens: 64,
            streams: 1,
        };
        engine.load(Path::new("any.gguf"), needs).expect("loads");
        let sampler = Sampler::spawn(Vec::new(), clock.clone());
        let folder = tempfile::tempdir().expect("a folder");
        let context = ContextReader::new(folder.path(), 2);
        let stop = AtomicBool::new(false);
        let mut bench = Bench {
            engine: &mut engine,
            sampler: &sampler,
            meters: Covering::default(),
            clock: clock.as_ref(),
            context: &context,
            stop: &stop,
            on_progress: &mut |_| (),
        };
        let mut samples = Samples::begin(clock.as_ref());
        ask(
            &mut bench,
            items,
            &Suite::ReferenceV1.public_seed(),
            workload,
            &mut samples,
        )
        .expect("asks");
        samples
    }

    fn knowing(
        items: &[Item],
        mut right: impl FnMut(usize) -> bool + Send + 'static,
    ) -> ScriptedEngine {
        let answers: Vec<_> = items
            .iter()
            .map(|item| (item.prompt.clone(), item.answer.clone()))
            .collect();
        let mut number = 0;
        ScriptedEngine::new().answers(move |prompt| {
            let known = answers.iter().find(|(question, _)| question == prompt);
            number += 1;
            match known {
                Some((_, answer)) if right(number - 1) => answer.clone(),
                _ => "?".to_owned(),
            }
        })
    }

    #[test]
    fn the_majority_of_several_answers_is_picked_and_all_are_kept() {
        let items = public_items(14);
        // Two of three answers are right, whichever.
        let engine = knowing(&items, |number| number % 3 != (number / 3) % 3);
        let samples = asked(engine, &items, &workload(3));
        let quality = samples.quality.expect("asked");
        assert_eq!(quality.items.len(), 42);
        for (item, answers) in items.iter().zip(quality.items.chunks(3)) {
            assert_eq!(answers.iter().filter(|answer| answer.picked).count(), 1);
            let numbers: Vec<_> = answers.iter().map(|answer| answer.sample).collect();
            assert_eq!(numbers, [0, 1, 2]);
            assert!(answers.iter().all(|answer| answer.index == item.id.index));
            assert!(
                answers
                    .windows(2)
                    .all(|pair| pair[0].end_ns <= pair[1].start_ns)
            );
        }
        assert_eq!(correct(&items, &quality), 14);
        let phase = &samples.phases[0];
        let tokens: u64 = quality
            .items
            .iter()
            .map(|item| u64::from(item.tokens_out))
            .sum();
        assert_eq!(
            (phase.requests, phase.tokens_out),
            (42, tokens),
            "all samples are paid for"
        );
    }

    #[test]
    fn one_sample_is_picked_as_it_is() {
        let items = public_items(7);
        let engine = knowing(&items, |number| number % 2 == 0);
        let quality = asked(engine, &items, &workload(1)).quality.expect("asked");
        assert!(
            quality
                .items
                .iter()
                .all(|item| item.picked && item.sample == 0)
        );
        assert_eq!((quality.items.len(), correct(&items, &quality)), (7, 4));
    }

    #[test]
    fn of_equals_the_first_is_picked_and_what_did_not_end_has_no_vote() {
        let items = public_items(1);
        let quality = asked(knowing(&items, |_| true), &items, &workload(1)).quality;
        let template = quality.expect("asked").items.remove(0);
        let answers = |texts: &[(&str, Finish)]| -> Vec<AnsweredItem> {
            let made = |(text, finish): &(&str, Finish)| AnsweredItem {
                answer: Answer::cleaned(text),
                answer_bytes: None,
                finish: *finish,
                ..template.clone()
            };
            texts.iter().map(made).collect()
        };
        let (stop, cut) = (Finish::Stop, Finish::Length);
        let pick = |texts: &[(&str, Finish)]| picked(&answers(texts));
        assert_eq!(pick(&[("a", stop), ("b", stop), ("b", stop)]), Some(1));
        assert_eq!(
            pick(&[("b", stop), ("a", stop), ("a", stop), ("b", stop)]),
            Some(0)
        );
        assert_eq!(pick(&[("a", cut), ("a", cut), ("b", stop)]), Some(2));
        assert_eq!(pick(&[("a", cut), ("b", Finish::Timeout)]), Some(0));
        assert_eq!(pick(&[]), None);
    }

    #[test]
    fn every_sample_of_every_item_draws_its_own_way_again_and_again() {
        let items = public_items(60);
        let seeds: BTreeSet<_> = items
            .iter()
            .flat_map(|item| {
                (0..16).map(|sample| sample_seed(&Suite::ReferenceV1.public_seed(), item, sample))
            })
            .collect();
        assert_eq!(seeds.len(), 60 * 16);
        assert_eq!(
            sample_seed(&Suite::ReferenceV1.public_seed(), &items[3], 2),
            sample_seed(&Suite::ReferenceV1.public_seed(), &items[3], 2)
        );
        assert_ne!(
            sample_seed(&Suite::ReferenceV1.public_seed(), &items[3], 2),
            sample_seed(&[0; 32], &items[3], 2)
        );
    }

    #[test]
    fn an_engine_that_only_times_itself_is_asked_nothing() {
        let items = public_items(7);
        let engine = knowing(&items, |_| true).timing_itself(|_| SelfTiming {
            prefill_ns: 1,
            decode_ns: 1,
        });
        let samples = asked(engine, &items, &workload(1));
        assert_eq!(samples.quality, None);
        assert!(samples.phases.is_empty());
    }
}
