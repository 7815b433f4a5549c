//! The fact stands where it should, once, and the text is as long as it should be.

use std::collections::BTreeMap;

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
        "4e5429d74dbf179fc6cfb8c17295ee26fa83390c8edd447175b4af5300d1874d",
    );
}

/// The places of the notes about what is asked, and how many notes there are.
fn places(level: u8, index: u32) -> (Vec<usize>, usize) {
    let item = drawn(Family::Retrieval, level, index);
    let notes: Vec<&str> = item
        .prompt
        .split("\n\n")
        .nth(1)
        .expect("the notes")
        .lines()
        .collect();
    let question = item.prompt.split("Question: ").nth(1).expect("a question");
    let says = |note: &str, word: &str| {
        note.split(|c: char| !c.is_alphanumeric())
            .any(|part| part == word)
    };
    let goods: Vec<&str> = GOODS
        .iter()
        .map(|(_, many)| *many)
        .filter(|many| says(question, many))
        .collect();
    let mut people: Vec<&str> = FIRST_NAMES
        .into_iter()
        .filter(|name| says(question, name))
        .collect();
    people.sort_unstable_by_key(|name| question.find(name));
    let mut places = Vec::new();
    for name in &people {
        let about = |note: &str| says(note, goods[0]) && says(note, name);
        places.extend((0..notes.len()).filter(|&place| about(notes[place])));
    }
    assert_eq!(goods.len(), 1, "{question}");
    assert_eq!(places.len(), people.len(), "{question}");
    (places, notes.len())
}

#[test]
fn the_asked_fact_stands_at_the_depth_of_its_number() {
    for level in 1..=5 {
        for index in 0..20 {
            let (places, notes) = places(level, index);
            let (start, length) = stretch(notes - 1, index % DEPTHS);
            let (first, last) = (start / 20, (start + length - 1) / 20);
            assert!(
                places
                    .iter()
                    .any(|&place| (first..=last).contains(&(place as u32))),
                "{places:?} lack {first} to {last} of {notes}"
            );
        }
    }
}

#[test]
fn stretches_lie_around_their_depths_from_the_first_place_to_the_last() {
    for count in 4..400 {
        let places = 20 * (count as u32 + 1);
        let mut end = 0;
        for depth in 0..DEPTHS {
            let (start, length) = stretch(count, depth);
            assert!(start >= end && length > 0, "{count}");
            end = start + length;
        }
        assert_eq!((stretch(count, 0).0, end), (0, places), "{count}");
    }
}

#[test]
fn no_place_of_a_text_holds_the_fact_often() {
    // Percent of 1,000 items in which one place, told from the beginning or from the end, is right.
    for (level, most) in (1..=5).zip([12, 6, 3, 3, 3]) {
        let mut times = BTreeMap::<(bool, usize), u32>::new();
        for index in 0..1_000 {
            let (places, notes) = places(level, index);
            *times.entry((false, places[0])).or_default() += 1;
            *times.entry((true, notes - 1 - places[0])).or_default() += 1;
        }
        let (place, most_times) = times
            .iter()
            .max_by_key(|&(_, times)| times)
            .expect("items were drawn");
        assert!(
            most_times <= &(10 * most),
            "level {level}: {place:?} is right {most_times} times"
        );
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
