//! Rules hold of what keeps to them and of nothing else; items can be solved and not be guessed.

use super::super::super::{Verdict, score};
use super::super::tests::{assert_laws, drawn};
use super::*;
use crate::suite::Family;

#[test]
fn items_keep_the_laws_of_the_suite() {
    assert_laws(
        Family::Constraints,
        6_000,
        "b28f8abf46e3dac849ec5b4e3bc5a3b5f4a383e372393a6bb82bb6001b5ce46c",
    );
}

fn word(text: &str) -> String {
    text.to_owned()
}

#[test]
fn each_rule_holds_of_the_right_text_only() {
    use Constraint::{
        Acrostic, AtMostWords, Before, Contains, EveryLineStarts, First, Last, Lines, LongestWord,
        LowerCase, NoWordTwice, Numbered, Sentences, Sorted, Without, Words, WordsPerLine,
    };
    for (rule, right, wrong) in [
        (Words(3), "One - two, \"three\"!", "one two"),
        (AtMostWords(2), "one two", "one two three"),
        (Sentences(2), "Is it 3.5? \"Yes.\"", "Is it? Yes"),
        (Sentences(1), "Wait...", "Wait... no."),
        (Lines(2), "a\n\n b", "a b"),
        (WordsPerLine(2), "1. a b\n2. c - d", "a b\nc"),
        (Contains(word("lamp")), "A Lamp!", "lamps"),
        (Before(word("a"), word("b")), "a b a", "b a b"),
        (Before(word("a"), word("b")), "a b", "a"),
        (Without('e'), "A big rain", "On thE way"),
        (LongestWord(4), "It's (four)", "fives"),
        (LowerCase, "all small 1.", "One big"),
        (First(word("now")), "- \"Now\" then", "then now"),
        (
            Last(vec![word("the"), word("end")]),
            "It is The End.",
            "the end is",
        ),
        (EveryLineStarts(word("so")), "So a\nso b", "so a\nb so"),
        (Numbered, "1. a\n2. b", "1. a\n3. b"),
        (Sorted, "1. ant\n2. Bee\n3. bee", "bee\nant"),
        (Acrostic(word("abc")), "**A**nt\n\"bee\"\nCow", "ant\nbee"),
        (NoWordTwice, "one two", "One two one"),
    ] {
        assert!(rule.holds(right), "{rule} {right}");
        assert!(!rule.holds(wrong), "{rule} {wrong}");
    }
}

/// The text that one item's answer gives is right for hardly any other item.
#[test]
fn one_text_does_not_answer_many_items() {
    for level in 1..=5 {
        let items: Vec<_> = (0..300)
            .map(|index| drawn(Family::Constraints, level, index))
            .collect();
        let mut right = 0;
        for (place, item) in items.iter().enumerate() {
            let others = items
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != place);
            right += others
                .filter(|(_, other)| score(other, &item.answer) == Verdict::Right)
                .count();
        }
        assert!(
            right * 1_000 <= items.len() * items.len(),
            "level {level}: {right}"
        );
    }
}
