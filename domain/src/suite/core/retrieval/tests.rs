//! The fact stands where it should, once, and the text is as long as it should be.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;

use super::super::tests::{assert_laws, drawn};
use super::*;
use crate::suite::Family;

#[test]
fn items_keep_the_laws_of_the_suite() {
    assert_laws(
        Family::Retrieval,
        40_000,
        "970b7cb9d03c8c87c440f4cf579755de932675543e7002840b6367be8a09ec9d",
    );
}

#[test]
fn the_asked_fact_stands_at_the_depth_of_its_number() {
    for level in 1..=5 {
        for index in 0..20 {
            let item = drawn(Family::Retrieval, level, index);
            let notes: Vec<&str> = item
                .prompt
                .split("\n\n")
                .nth(1)
                .expect("the notes")
                .lines()
                .collect();
            let question = item.prompt.split("Question: ").nth(1).expect("a question");
            let says = |note: &&str, word: &str| {
                note.split(|c: char| !c.is_alphanumeric())
                    .any(|part| part == word)
            };
            let goods: Vec<&str> = GOODS
                .iter()
                .map(|(_, many)| *many)
                .filter(|many| says(&question, many))
                .collect();
            let people: Vec<&str> = FIRST_NAMES
                .into_iter()
                .filter(|name| says(&question, name))
                .collect();
            let places: Vec<usize> = (0..notes.len())
                .filter(|&place| {
                    says(&notes[place], goods[0])
                        && people.iter().any(|name| says(&notes[place], name))
                })
                .collect();
            assert_eq!(goods.len(), 1, "{question}");
            assert_eq!(places.len(), people.len(), "{question}");
            let wanted = at_depth(notes.len() - 1, index % DEPTHS);
            assert!(
                places.contains(&wanted),
                "{places:?} lack {wanted} of {}",
                notes.len()
            );
        }
    }
}

#[test]
fn texts_are_as_long_as_their_level_says() {
    for (words, level) in WORDS.into_iter().zip(1..) {
        for index in 0..20 {
            let item = drawn(Family::Retrieval, level, index);
            let count = item.prompt.split_whitespace().count();
            assert!(
                (words..words + 220).contains(&count),
                "level {level}: {count} words"
            );
        }
    }
}

#[test]
fn moved_goods_are_followed_by_their_code() {
    let mut rng = ChaCha8Rng::from_seed([3; 32]);
    let mut asked = 0;
    for index in 0..40 {
        let item = draw(&mut rng, 3, index);
        if !item.prompt.contains("In which room are they now") {
            continue;
        }
        asked += 1;
        let room = item.answer.trim_start_matches("Answer: ");
        let note = item.prompt.lines().find(|line| {
            let line = line.to_lowercase();
            line.contains(&format!("room {room}"))
                && ["moved", "carried"].iter().any(|word| line.contains(word))
        });
        let note = note.expect("a note of the move");
        let code = note.split([' ', '.', ',']).find(|word| word.contains('-'));
        let code = code.expect("the note's code");
        assert_eq!(item.prompt.matches(code).count(), 2, "{code}");
    }
    assert!(asked > 5);
}
