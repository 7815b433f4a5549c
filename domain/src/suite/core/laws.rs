//! What every generator of the suite owes, as tests that each family's own tests call.

use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::super::{Family, ItemId, Suite, Verdict, hash, item};
use super::{Check, Drawn, LEVELS, score};

/// Longest prompt in bytes of the families that compute.
pub(super) const MAX_PROMPT_BYTES: usize = 4_000;

/// A generator on a seeded stream.
pub(super) type Generator = fn(&mut ChaCha8Rng, u8) -> Drawn;

/// The question that a seed gives.
pub(super) fn drawn(generator: Generator, seed: [u8; 32], level: u8) -> Drawn {
    generator(&mut ChaCha8Rng::from_seed(seed), level)
}

/// The same seed gives the same question, printable, bounded, with an answer that fits its check.
pub(super) fn a_question_is_well_formed(generator: Generator, seed: [u8; 32], level: u8) {
    let question = drawn(generator, seed, level);
    let again = drawn(generator, seed, level);
    assert_eq!(question.prompt, again.prompt);
    assert_eq!(question.answer, again.answer);
    assert_eq!(question.check, again.check);
    assert!(
        question.prompt.len() <= MAX_PROMPT_BYTES,
        "{} bytes",
        question.prompt.len()
    );
    let printable = |byte: u8| byte == b'\n' || byte == b' ' || byte.is_ascii_graphic();
    assert!(
        question.prompt.bytes().all(printable),
        "{}",
        question.prompt
    );
    assert!(
        question.answer.bytes().all(printable),
        "{}",
        question.answer
    );
    let (_, last) = question.prompt.rsplit_once('\n').expect("several lines");
    assert!(last.contains("\"Answer:\" followed by"), "{last}");
    assert!(question.max_answer_tokens >= 512);
    assert_eq!(score(&question.check, &question.answer), Verdict::Right);
    let told = question
        .answer
        .strip_prefix("Answer: ")
        .expect("a marked answer");
    let same = match &question.check {
        Check::Number { hundredths } => {
            let (whole, part) = told.split_once('.').unwrap_or((told, "00"));
            assert_eq!(part.len(), 2, "{told}");
            let digits: i64 = [whole, part].concat().parse().expect("digits");
            digits == *hundredths
        }
        Check::Text(text) => told == text,
        Check::List(words) => told == words.join(", "),
        Check::Lines(lines) => told == lines.join("\n"),
        Check::Json(_) | Check::Constraints(_) => unreachable!("not of these families"),
    };
    assert!(same, "{} is not {:?}", question.answer, question.check);
}

/// No answer is right for more than one question in a hundred.
pub(super) fn a_blind_guess_is_right_once_in_a_hundred(generator: Generator) {
    const QUESTIONS: u32 = 2_000;
    for level in 1..=LEVELS {
        let mut rng = ChaCha8Rng::from_seed([level; 32]);
        let mut answers: HashMap<String, u32> = HashMap::new();
        for _ in 0..QUESTIONS {
            *answers
                .entry(generator(&mut rng, level).answer)
                .or_default() += 1;
        }
        let (answer, times) = answers
            .iter()
            .max_by_key(|&(_, times)| times)
            .expect("questions were drawn");
        assert!(
            times * 100 <= QUESTIONS,
            "level {level}: {answer} is right {times} times of {QUESTIONS}"
        );
    }
}

/// Identifies the published items of a family: a hash over the first twenty of each level.
pub(super) fn golden(family: Family) -> String {
    let seed = Suite::CoreV1.public_seed();
    let mut texts = Vec::new();
    for level in 1..=LEVELS {
        for index in 0..20 {
            let id = ItemId {
                family,
                level,
                index,
            };
            let item = item(&seed, id);
            texts.extend([id.to_string(), item.prompt, item.answer]);
        }
    }
    let parts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    hex::encode(hash(&parts))
}

/// The words that stand for each `*` of a pattern such as `the * is in the * box`, if it fits.
pub(super) fn matches<'a>(sentence: &'a str, pattern: &str) -> Option<Vec<&'a str>> {
    let mut found = Vec::new();
    let mut marks = pattern.split('*');
    let mut rest = sentence.strip_prefix(marks.next()?)?;
    let mut marks = marks.peekable();
    while let Some(mark) = marks.next() {
        if marks.peek().is_none() {
            found.push(rest.strip_suffix(mark)?);
            return Some(found);
        }
        let (word, after) = rest.split_once(mark)?;
        found.push(word);
        rest = after;
    }
    None
}

/// Prints the first published items:
/// `cargo test -p domain --lib shows_the_published_items -- --ignored --nocapture`.
#[test]
#[ignore = "prints items for a reader, and checks nothing"]
fn shows_the_published_items() {
    for &family in Suite::CoreV1.families() {
        for level in 1..=LEVELS {
            for index in 0..4 {
                let id = ItemId {
                    family,
                    level,
                    index,
                };
                let item = item(&Suite::CoreV1.public_seed(), id);
                println!("==== {id}\n{}\n---- {}\n", item.prompt, item.answer);
            }
        }
    }
}
