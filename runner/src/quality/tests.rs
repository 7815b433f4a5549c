//! Items are asked of a scripted engine: what is kept, cut, picked, forgiven.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use domain::matrix::Verifier;

use super::*;
use crate::clock::{Clock, RealClock, VirtualClock};
use crate::context::ContextReader;
use crate::engine::candle::CandleEngine;
use crate::engine::scripted::{ScriptedEngine, Work};
use crate::engine::{Engine, Needs, SelfTiming};
use crate::measure::Covering;
use crate::meter::sampler::Sampler;

fn questions(items: Vec<Item>) -> Questions {
    Questions {
        suite: items[0].id.family.suite(),
        seed: items[0].id.family.suite().public_seed(),
        items,
        thinking_tokens: 0,
    }
}

fn public_items(count: u32) -> Vec<Item> {
    items(Suite::ReferenceV1, &Suite::ReferenceV1.public_seed(), count)
}

pub(crate) fn workload(samples: u32) -> WorkloadSpec {
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

/// Asks the items of an engine that takes a millisecond per token.
fn asked(engine: ScriptedEngine, items: &[Item], workload: &WorkloadSpec) -> Samples {
    let questions = questions(items.to_vec());
    try_asking(engine, &questions, workload).expect("asks").0
}

/// The same, with every report of progress.
fn try_asking(
    engine: ScriptedEngine,
    questions: &Questions,
    workload: &WorkloadSpec,
) -> Result<(Samples, Vec<Progress>), Stopped> {
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
    let clock: Arc<dyn Clock> = clock;
    ask_loaded(&mut engine, &clock, questions, workload)
}

/// Asks an engine that is loaded.
pub(crate) fn ask_loaded(
    engine: &mut dyn Engine,
    clock: &Arc<dyn Clock>,
    questions: &Questions,
    workload: &WorkloadSpec,
) -> Result<(Samples, Vec<Progress>), Stopped> {
    let sampler = Sampler::spawn(Vec::new(), Arc::clone(clock));
    let folder = tempfile::tempdir().expect("a folder");
    let context = ContextReader::new(folder.path(), 2);
    let stop = AtomicBool::new(false);
    let mut seen = Vec::new();
    let mut bench = Bench {
        engine,
        sampler: &sampler,
        meters: Covering::default(),
        clock: clock.as_ref(),
        context: &context,
        stop: &stop,
        on_progress: &mut |progress| seen.push(progress),
    };
    let mut samples = Samples::begin(clock.as_ref());
    let variant = crate::plan::tests::facts(1_000, 1);
    ask(&mut bench, questions, &variant, workload, &mut samples)?;
    Ok((samples, seen))
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
    assert_eq!(tally(&items, &quality).right, 14);
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
    assert_eq!((quality.items.len(), tally(&items, &quality).right), (7, 4));
}

#[test]
fn of_equals_the_first_is_picked_and_what_did_not_end_has_no_vote() {
    let (a, b) = (Some("a"), Some("b"));
    assert_eq!(most_frequent(&[a, b, b]), Some(1));
    assert_eq!(most_frequent(&[b, a, a, b]), Some(0));
    assert_eq!(most_frequent(&[None, None, b]), Some(2));
    assert_eq!(most_frequent(&[None, None]), Some(0));
    assert_eq!(most_frequent(&[]), None);
}

#[test]
fn answers_that_reason_differently_and_say_the_same_have_one_vote() {
    let texts = [
        "Two and two.\nAnswer: 5",
        "I count.\n**Answer:** 4.",
        "answer: 4",
    ];
    let votes = texts.map(|text| Some(said(text)));
    assert_eq!(most_frequent(&votes), Some(1));
    assert_eq!(said("Answer: 3, no.\nAnswer: 4"), "4");
    assert_eq!(said(" {\"a\": 1}\n"), "{\"a\": 1}");
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

fn too_long() -> EngineError {
    EngineError::PromptTooLong {
        prompt: 9_000,
        output: 16,
        context: 512,
    }
}

fn dead() -> EngineError {
    EngineError::Unreachable {
        url: "http://127.0.0.1:1".to_owned(),
        reason: "connection refused".to_owned(),
    }
}

#[test]
fn an_item_that_is_not_answered_is_wrong_and_the_rest_goes_on() {
    let items = public_items(14);
    let engine = knowing(&items, |_| true).failing_requests(|number| match number {
        3..=8 => Some(too_long()),
        10 | 11 => Some(dead()),
        _ => None,
    });
    let quality = asked(engine, &items, &workload(1)).quality.expect("asked");
    let unanswered: Vec<usize> = (0..14)
        .filter(|at| quality.items[*at].finish == Finish::Error)
        .collect();
    assert_eq!(unanswered, [3, 4, 5, 6, 7, 8, 10, 11]);
    for answer in unanswered.iter().map(|at| &quality.items[*at]) {
        assert_eq!(
            (answer.answer.as_str(), answer.tokens_in, answer.tokens_out),
            ("", 0, 0)
        );
        assert!(answer.picked && answer.end_ns > answer.start_ns);
    }
    let tally = tally(&items, &quality);
    assert_eq!((tally.items, tally.right), (14, 6));
}

#[test]
fn three_failures_of_the_engine_in_a_row_end_the_cell() {
    let items = public_items(14);
    let engine = knowing(&items, |_| true).failing_requests(|number| (number >= 5).then(dead));
    let ended = try_asking(engine, &questions(items), &workload(1)).expect_err("it is dead");
    assert_eq!(
        ended,
        Stopped::Failed {
            outcome: domain::record::Outcome::Crash,
            class: "server unreachable".to_owned(),
        }
    );
}

#[test]
fn the_time_that_is_left_falls_to_nothing() {
    let items = public_items(14);
    let engine = knowing(&items, |_| true);
    let (_, seen) = try_asking(engine, &questions(items), &workload(1)).expect("asks");
    let left: Vec<f64> = seen
        .iter()
        .map(|progress| progress.seconds_left.expect("known"))
        .collect();
    assert_eq!((seen.len(), seen[13].done, seen[13].of), (14, 14, 14));
    assert!(
        left[0] > left[12] && left[12] > 0.0 && left[13] == 0.0,
        "{left:?}"
    );
}

/// So many answers of a megabyte each, hostile in every way, as a record of so much room holds them.
pub(crate) fn hostile(answers: u32, samples: u32, room: usize) -> (Vec<AnsweredItem>, u32) {
    let items = public_items(answers / samples);
    let texts = ["\"\\\n", "\0\u{202e}", "\u{fffd}", "x"].map(|part| part.repeat(1 << 18));
    let mut at = 0;
    let wholes: Vec<Whole> = items
        .iter()
        .flat_map(|item| (0..samples).map(move |sample| (item, sample)))
        .map(|(item, sample)| {
            at += 1;
            let answered = AnsweredItem {
                family: Name::cleaned("transformation"),
                level: 5,
                index: item.id.index,
                sample,
                answer: Answer::default(),
                answer_bytes: None,
                picked: false,
                tokens_in: 40_000,
                tokens_out: 33_000,
                reasoning_tokens: 32_000,
                finish: Finish::Timeout,
                start_ns: 864_000_000_000_000,
                end_ns: 864_000_000_000_000,
            };
            Whole::new(answered, item, &texts[at % texts.len()])
        })
        .collect();
    fitted(&wholes, room)
}

#[test]
fn answers_are_cut_by_as_little_as_the_record_needs() {
    for (answers, samples) in [(200, 1), (800, 4), (1_000, 1)] {
        for room in [ANSWERS_BYTES, ANSWERS_BYTES + REPETITIONS_BYTES] {
            let (kept, bound) = hostile(answers, samples, room);
            let bytes = json_bytes(&kept);
            assert!(bytes <= room, "{answers}: {bytes} in {room}");
            let longest = kept.iter().map(|answer| answer.answer.as_str().len()).max();
            assert!(longest <= Some((bound as usize).max(100)), "{bound}");
            assert!(
                bound == domain::text::MAX_ANSWER_BYTES as u32 || 10 * bytes > 9 * room,
                "{answers}: {bytes} of {room}"
            );
            assert!(
                kept.iter()
                    .all(|answer| answer.answer_bytes >= Some(1 << 18))
            );
        }
    }
}

#[test]
fn what_fits_is_kept_whole_and_says_nothing_of_its_length() {
    let items = public_items(1);
    let quality = asked(knowing(&items, |_| true), &items, &workload(1)).quality;
    let answered = quality.expect("asked").items.remove(0);
    let of = |text: &str| {
        let (kept, _) = fitted(
            &[Whole::new(answered.clone(), &items[0], text)],
            ANSWERS_BYTES,
        );
        (kept[0].answer.as_str().len(), kept[0].answer_bytes)
    };
    assert_eq!(of("Answer: 4"), (9, None));
    assert_eq!(of("a\0b"), (5, None), "cleaned, not cut");
    assert_eq!(of(&"x".repeat(2_048)), (2_048, None));
    assert_eq!(of(&"x".repeat(2_049)), (2_048, Some(2_049)));
    assert_eq!(
        of(&"\0".repeat(1_000)),
        (2_046, Some(1_000)),
        "grew, then cut"
    );
}

mod core_suite {
    //! What only chat items meet.

    use super::*;

    fn core_questions(count: u32, thinking_tokens: u32) -> Questions {
        let settings = QualitySettings {
            suite: Suite::CoreV1,
            items: count,
            thinking_tokens,
            fidelity: true,
        };
        Questions::of(&settings, Suite::CoreV1.public_seed())
    }

    /// An engine that says `before` and then the right answer.
    fn after(questions: &Questions, before: &'static str) -> ScriptedEngine {
        let known: Vec<_> = questions
            .items
            .iter()
            .map(|item| (item.prompt.clone(), item.answer.clone()))
            .collect();
        ScriptedEngine::new().answers(move |prompt| {
            let (_, answer) = known
                .iter()
                .find(|(question, _)| question == prompt)
                .expect("an item");
            format!("{before}{answer}")
        })
    }

    fn quality_of(engine: ScriptedEngine, questions: &Questions) -> Quality {
        let (samples, _) = try_asking(engine, questions, &workload(1)).expect("asks");
        samples.quality.expect("asked")
    }

    #[test]
    fn the_record_says_where_the_template_came_from() {
        let questions = core_questions(9, 0);
        let asking = |engine: ScriptedEngine| quality_of(engine, &questions).asking;
        let plain = Asking {
            template: TemplateSource::None,
            thinking: Thinking::None,
            thinking_tokens: 0,
            answer_bytes: 2_048,
        };
        assert_eq!(asking(after(&questions, "")), Some(plain.clone()));
        assert_eq!(
            asking(after(&questions, "").chatting()),
            Some(Asking {
                template: TemplateSource::Server,
                ..plain
            })
        );
        let items = public_items(7);
        let short = asked(knowing(&items, |_| true), &items, &workload(1)).quality;
        assert_eq!(short.expect("asked").asking, None, "as it ever was");
    }

    #[test]
    fn right_answers_are_right_with_thinking_and_without() {
        // One byte is one token here: the bound of the longest answers is too narrow for bytes.
        let mut questions = core_questions(90, 4_000);
        questions
            .items
            .retain(|item| item.answer.len() < item.max_answer_tokens as usize);
        assert!(questions.items.len() > 45);
        for (before, thinking) in [
            ("", Thinking::None),
            (
                "<think>Let me see.\nAnswer: no\n</think>\n\n",
                Thinking::Tags,
            ),
            ("Let me see.</think>", Thinking::Tags),
        ] {
            let quality = quality_of(after(&questions, before).chatting(), &questions);
            let tally = tally(&questions.items, &quality);
            assert_eq!(tally.right, tally.items, "{before}");
            assert_eq!(quality.asking.expect("chat").thinking, thinking);
            for (item, answer) in questions.items.iter().zip(&quality.items) {
                assert_eq!(answer.answer.as_str(), item.answer);
                let thought = before.len() as u32;
                assert!(answer.reasoning_tokens.abs_diff(thought) <= 2, "{answer:?}");
            }
        }
    }

    #[test]
    fn thinking_that_the_server_keeps_apart_is_counted_and_no_answer() {
        let mut questions = core_questions(45, 4_000);
        questions
            .items
            .retain(|item| item.answer.len() < item.max_answer_tokens as usize);
        let engine = after(&questions, "0123456789").reasoning(10).chatting();
        let quality = quality_of(engine, &questions);
        assert_eq!(
            quality.asking.as_ref().expect("chat").thinking,
            Thinking::Apart
        );
        assert!(
            quality
                .items
                .iter()
                .all(|answer| answer.reasoning_tokens == 10)
        );
        let tally = tally(&questions.items, &quality);
        assert_eq!(tally.right, tally.items);
    }

    #[test]
    fn what_thinking_leaves_of_its_tokens_is_not_the_answers() {
        let questions = core_questions(9, 30_000);
        let chatter = |prompt: &str| {
            let _ = prompt;
            "well ".repeat(1_000)
        };
        let quality = quality_of(
            ScriptedEngine::new().answers(chatter).chatting(),
            &questions,
        );
        let lengths = quality.items.iter().map(|answer| answer.finish);
        assert!(lengths.into_iter().all(|finish| finish == Finish::Length));
    }

    #[test]
    fn a_model_that_never_stops_thinking_answered_nothing() {
        let questions = core_questions(9, 50);
        let engine = ScriptedEngine::new().answers(|_| "<think>".to_owned() + &"hm ".repeat(9_999));
        let quality = quality_of(engine.chatting(), &questions);
        for answer in &quality.items {
            assert_eq!(
                (answer.answer.as_str(), answer.finish),
                ("", Finish::Length)
            );
            assert_eq!(answer.reasoning_tokens, answer.tokens_out);
        }
        let tally = tally(&questions.items, &quality);
        assert_eq!((tally.right, tally.unextractable), (0, 9));
    }

    #[test]
    fn answers_without_an_answer_are_told_early_with_what_may_be_wrong() {
        let questions = core_questions(18, 0);
        let trouble = |texts: &[String], finish: Finish| {
            let workload = workload(1);
            let asker = Asker {
                questions: &questions,
                workload: &workload,
                template: TemplateSource::Model,
                thinking: Thinking::None,
                transcript: Vec::new(),
                answers: Vec::new(),
                unanswered: 0,
                failures: 0,
            };
            let quality = quality_of(after(&questions, ""), &questions);
            let answers = texts.iter().zip(&questions.items).zip(quality.items);
            let whole = |((text, item), answered): ((&String, &Item), AnsweredItem)| {
                Whole::new(AnsweredItem { finish, ..answered }, item, text)
            };
            Asker {
                answers: answers.map(whole).collect(),
                ..asker
            }
            .trouble()
        };
        let none = vec![String::new(); 18];
        let said = trouble(&none, Finish::Stop).expect("nothing came");
        assert!(
            said.contains("18 of 18") && said.contains("chat template"),
            "{said}"
        );
        let said = trouble(&none, Finish::Length).expect("all were cut");
        assert!(said.contains("thinking_tokens"), "{said}");
        let mut some = none.clone();
        let answers = questions.items.iter().map(|item| item.answer.clone());
        for (text, answer) in some.iter_mut().zip(answers).take(4) {
            *text = answer;
        }
        let said = trouble(&some, Finish::Stop).expect("most have none");
        assert!(said.contains("14 of 18"), "{said}");
        some[4].clone_from(&questions.items[4].answer);
        assert_eq!(trouble(&some, Finish::Stop), None);
        assert_eq!(
            trouble(&none, Finish::Error),
            None,
            "the engine's errors say more"
        );
    }

    #[test]
    fn an_answer_behind_much_reasoning_is_scored_by_its_kept_end() {
        let questions = core_questions(90, 0);
        let reasoning = "First I look at it once more.\n".repeat(200);
        let quality = quality_of(after(&questions, ""), &questions);
        let mut kept_right = 0;
        for (item, answered) in questions.items.iter().zip(quality.items) {
            let text = format!("{reasoning}{}", item.answer);
            let verdict = suite::score(item, &text);
            let (kept, _) = fitted(&[Whole::new(answered, item, &text)], ANSWERS_BYTES);
            assert_eq!(kept[0].answer_bytes, Some(text.len() as u64));
            assert_eq!(
                suite::score(item, kept[0].answer.as_str()),
                verdict,
                "{}",
                item.id
            );
            kept_right += u32::from(verdict == Verdict::Right);
        }
        assert!(kept_right > 60, "{kept_right} of 90");
    }

    #[test]
    fn the_longest_item_says_how_long_a_context_has_to_be() {
        let questions = core_questions(45, 1_000);
        let longest = questions.items.iter().map(|item| item.prompt.len()).max();
        let longest = longest.expect("items") as u32;
        let (bytes, words) = (
            questions.context_tokens(288),
            questions.context_tokens(32_000),
        );
        assert!(bytes > longest + 1_000 && bytes < longest + 4_000);
        assert!(words > longest * 2 / 5 + 1_000 && words < longest * 2 / 5 + 4_000);
        let workload = workload(1);
        let loaded = |model| crate::plan::context_tokens(&workload, bytes, model);
        assert_eq!((loaded(None), loaded(Some(512))), (bytes, 512));
        assert_eq!(loaded(Some(u32::MAX)), bytes);
    }

    #[test]
    fn candle_is_asked_the_same_text_as_a_plain_prompt() {
        let weights = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../reference-models/joulemark-reference-0.9m-f16.gguf");
        let mut engine = CandleEngine::new().expect("candle");
        let needs = Needs {
            context_tokens: 8_192,
            streams: 1,
        };
        engine.load(&weights, needs).expect("it ships");
        let questions = core_questions(2, 0);
        let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
        let asked = ask_loaded(&mut engine, &clock, &questions, &workload(1));
        let quality = asked.expect("asks").0.quality.expect("asked");
        assert_eq!(
            quality.asking.map(|asking| asking.template),
            Some(TemplateSource::None)
        );
        for (item, answer) in questions.items.iter().zip(&quality.items) {
            // With the begin token, one byte is one token.
            assert_eq!(answer.tokens_in as usize, item.prompt.len() + 1);
            assert_ne!(answer.finish, Finish::Error);
        }
    }
}
