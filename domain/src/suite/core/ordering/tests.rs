//! The clues as they are written leave exactly one order: the tests read them and try every order.

use proptest::prelude::*;

use super::super::laws;
use super::*;

proptest! {
    #[test]
    fn a_question_is_well_formed(seed: [u8; 32], level in 1_u8..=5) {
        laws::a_question_is_well_formed(draw, seed, level);
    }

    #[test]
    fn the_written_clues_leave_one_order(seed: [u8; 32], level in 1_u8..=5) {
        let question = laws::drawn(draw, seed, level);
        let Check::List(answer) = &question.check else {
            panic!("a list")
        };
        let clues: Vec<Clue> = question
            .prompt
            .lines()
            .filter_map(|line| line.strip_prefix("- "))
            .map(|clue| read(clue, answer))
            .collect();
        // The answer numbers the things, so the right order is 0, 1, 2, ...
        let possible: Vec<Vec<usize>> = permutations(answer.len())
            .into_iter()
            .filter(|order| clues.iter().all(|clue| clue.holds(&places(order))))
            .collect();
        let right: Vec<usize> = (0..answer.len()).collect();
        prop_assert_eq!(possible, vec![right], "{}", question.prompt);
    }
}

/// What a sentence says, by its words alone.
fn read(sentence: &str, names: &[String]) -> Clue {
    let sentence = sentence.to_lowercase();
    let words: Vec<&str> = sentence.split(|c: char| !c.is_ascii_alphabetic()).collect();
    let things: Vec<usize> = words
        .iter()
        .filter_map(|word| names.iter().position(|name| name.to_lowercase() == *word))
        .collect();
    let at: Vec<usize> = words
        .iter()
        .filter_map(|word| (1..=7).find(|&place| ordinal(place) == *word))
        .map(|place| place - 1)
        .collect();
    let says = |text: &str| sentence.contains(text);
    let next = says("next to each other") || says("neighbouring") || says("after the other");
    match *things.as_slice() {
        [a, b, c, d] if says("if ") => Clue::Implies([a, b, c, d]),
        [a, b] if sentence.starts_with("either ") => Clue::OneOf(a, b, at[0]),
        [a, b] if says("exactly ") => {
            let others = (1..=7).find(|&n| words[1] == number(n)).expect("a number");
            Clue::Gap(a, b, others)
        }
        [a, b] if says("it is not the case") && next => Clue::Apart(a, b),
        [a, b, c] if says("between") => Clue::Between(a, b, c),
        [a] if says(" either ") => Clue::Either(a, at[0], at[1]),
        [a] if says(" not ") => Clue::NotAt(a, at[0]),
        [a] => Clue::At(a, at[0]),
        [a, b] if next => Clue::Adjacent(a, b),
        [a, b] if says("directly") => Clue::Directly(a, b),
        [a, b] => Clue::Before(a, b),
        _ => panic!("not understood: {sentence}"),
    }
}

#[test]
fn all_orders_are_tried() {
    let orders = permutations(5);
    assert_eq!(orders.len(), 120);
    let different: std::collections::HashSet<_> = orders.iter().collect();
    assert_eq!(different.len(), 120);
}

#[test]
fn a_blind_guess_is_right_once_in_a_hundred() {
    laws::a_blind_guess_is_right_once_in_a_hundred(draw);
}

#[test]
fn the_published_items_do_not_change() {
    assert_eq!(
        laws::golden(super::super::Family::Ordering),
        "5249bc3b0d54b0ee3423c318fb7b4d360361da33151cee0a90ea4cf2a2b350b3"
    );
}
