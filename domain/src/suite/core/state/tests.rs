//! Every move told is the move made: the tests read the story and make it again.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::laws::{self, matches};
use super::*;

proptest! {
    #[test]
    fn a_question_is_well_formed(seed: [u8; 32], level in 1_u8..=5) {
        laws::a_question_is_well_formed(draw, seed, level);
    }

    #[test]
    fn a_reader_who_makes_every_move_gives_the_answer(seed: [u8; 32], level in 1_u8..=5) {
        let question = laws::drawn(draw, seed, level);
        let answer: Vec<String> = read(&question.prompt);
        prop_assert_eq!(Check::List(answer), question.check, "{}", question.prompt);
    }
}

#[test]
fn a_blind_guess_is_right_once_in_a_hundred() {
    laws::a_blind_guess_is_right_once_in_a_hundred(draw);
}

#[test]
fn the_published_items_do_not_change() {
    assert_eq!(
        laws::golden(super::super::Family::State),
        "3f8183c2e174517bb90503444908ca1429abd256e0efb33b79667393480ae039"
    );
}

fn names(list: &str) -> Vec<&str> {
    list.split([',', ' '])
        .filter(|word| !matches!(*word, "" | "and" | "the"))
        .collect()
}

fn read(prompt: &str) -> Vec<String> {
    let (story, question) = prompt.split_once("\n\n").expect("a question");
    let mut place: HashMap<&str, &str> = HashMap::new();
    let mut line: Vec<&str> = Vec::new();
    let plain: Vec<String> = story
        .trim_end_matches('.')
        .split(". ")
        .map(|sentence| {
            ["Then ", "Next, ", "After that, "]
                .iter()
                .find_map(|lead| sentence.strip_prefix(lead))
                .map_or_else(|| uncapitalised(sentence), uncapitalised)
        })
        .collect();
    let words: Vec<&'static str> = plain.iter().map(|text| &*text.clone().leak()).collect();
    for sentence in words {
        if let Some((start, after)) = sentence.split_once(" stand in a queue at ") {
            assert!(after.ends_with("front to back"));
            line = names(start);
        } else if line.is_empty() {
            place_move(sentence, &mut place);
        } else {
            queue_step(sentence, &mut line);
        }
    }
    let asked = question.lines().next().expect("a line");
    if let Some(found) = matches(asked, "In which boxes are * now?") {
        names(found[0])
            .iter()
            .map(|thing| place[thing].to_owned())
            .collect()
    } else if let Some(found) = matches(asked, "What do * hold now?") {
        let held = |person: &&str| holder_of(&place, person);
        names(found[0])
            .iter()
            .map(|person| held(person).to_owned())
            .collect()
    } else {
        line.iter().map(|&name| name.to_owned()).collect()
    }
}

/// A name keeps its capital letter: only the words that may open a sentence lose it.
fn uncapitalised(sentence: &str) -> String {
    for word in ["The ", "If ", "Three "] {
        if let Some(rest) = sentence.strip_prefix(word) {
            return format!("{}{rest}", word.to_lowercase());
        }
    }
    sentence.to_owned()
}

/// The thing whose place is that person.
fn holder_of<'a>(place: &HashMap<&'a str, &'a str>, person: &str) -> &'a str {
    let (thing, _) = place
        .iter()
        .find(|&(_, at)| *at == person)
        .expect("holds one");
    thing
}

fn swap_places<'a>(place: &mut HashMap<&'a str, &'a str>, a: &'a str, b: &'a str) {
    for at in place.values_mut() {
        if *at == a {
            *at = b;
        } else if *at == b {
            *at = a;
        }
    }
}

fn place_move(sentence: &'static str, place: &mut HashMap<&'static str, &'static str>) {
    if sentence.starts_with("There are ") || sentence.ends_with(" each hold one thing") {
        return;
    }
    if let Some(m) = matches(
        sentence,
        "if the * is in the * box, * puts the * into the * box; otherwise, * puts the * into the * box",
    ) {
        assert_eq!(m[3], m[6]);
        let to = if place[m[0]] == m[1] { m[4] } else { m[7] };
        place.insert(m[3], to);
    } else if let Some(m) = matches(
        sentence,
        "if * holds the *, * and * swap what they hold; otherwise, * and * swap what they hold",
    ) {
        let (a, b) = if place[m[1]] == m[0] {
            (m[2], m[3])
        } else {
            (m[4], m[5])
        };
        swap_places(place, a, b);
    } else if let Some(m) = matches(
        sentence,
        "* takes everything out of the * box and puts it into the * box",
    ) {
        for at in place.values_mut().filter(|at| **at == m[1]) {
            *at = m[2];
        }
    } else if let Some(m) = matches(sentence, "* swaps the contents of the * box and the * box") {
        swap_places(place, m[1], m[2]);
    } else if let Some(m) = matches(sentence, "* moves the * to the box that the * is in") {
        place.insert(m[1], place[m[2]]);
    } else if let Some(m) = matches(sentence, "* moves the * to the * box") {
        place.insert(m[1], m[2]);
    } else if let Some(m) = matches(
        sentence,
        "three of them pass on what they hold at the same time: * to *, * to * and * to *",
    ) {
        let before = place.clone();
        for (from, to) in [(m[0], m[1]), (m[2], m[3]), (m[4], m[5])] {
            place.insert(holder_of(&before, from), to);
        }
    } else if let Some(m) = matches(sentence, "* swaps with whoever holds the *") {
        swap_places(place, m[0], place[m[1]]);
    } else if let Some(m) = matches(sentence, "* and * trade the * for the *") {
        assert_eq!((place[m[2]], place[m[3]]), (m[0], m[1]));
        swap_places(place, m[0], m[1]);
    } else if let Some(m) = matches(sentence, "* and * swap what they hold") {
        swap_places(place, m[0], m[1]);
    } else if let Some(m) = matches(sentence, "the * is in the * box") {
        place.insert(m[0], m[1]);
    } else if let Some(m) = matches(sentence, "* holds the *") {
        place.insert(m[1], m[0]);
    } else {
        panic!("not understood: {sentence}");
    }
}

fn queue_step(sentence: &'static str, line: &mut Vec<&'static str>) {
    let at = |line: &[&str], name: &str| {
        line.iter()
            .position(|it| *it == name)
            .expect("stands in the queue")
    };
    if let Some(m) = matches(
        sentence,
        "if * stands somewhere ahead of *, the two of them swap places; otherwise, * goes to the \
         very back of the queue",
    ) {
        let (a, b) = (at(line, m[0]), at(line, m[1]));
        if a < b {
            line.swap(a, b);
        } else {
            assert_eq!(m[0], m[2]);
            line[a..].rotate_left(1);
        }
    } else if sentence == "the last person in the queue gives up and leaves" {
        line.pop();
    } else if sentence == "the first and the last person in the queue swap places" {
        let last = line.len() - 1;
        line.swap(0, last);
    } else if let Some(m) = matches(sentence, "* reaches the counter, is served and leaves")
        .or_else(|| matches(sentence, "*, who is at the front, is served and leaves"))
    {
        assert_eq!(line.remove(0), m[0]);
    } else if let Some(m) = matches(sentence, "* is called to the very front of the queue") {
        let place = at(line, m[0]);
        line[..=place].rotate_right(1);
    } else if let Some(m) = matches(sentence, "* joins the queue at the back") {
        line.push(m[0]);
    } else if let Some(m) = matches(
        sentence,
        "* arrives and steps into the queue directly ahead of *",
    ) {
        let place = at(line, m[1]);
        line.insert(place, m[0]);
    } else if let Some(m) = matches(sentence, "* and * swap places") {
        let (a, b) = (at(line, m[0]), at(line, m[1]));
        line.swap(a, b);
    } else {
        panic!("not understood: {sentence}");
    }
}
