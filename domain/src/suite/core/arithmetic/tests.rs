//! The stories are read and worked out again, from their words alone.

use proptest::prelude::*;

use super::super::laws::{self, matches};
use super::*;

proptest! {
    #[test]
    fn a_question_is_well_formed(seed: [u8; 32], level in 1_u8..=5) {
        laws::a_question_is_well_formed(draw, seed, level);
    }

    #[test]
    fn a_reader_who_works_it_out_gives_the_answer(seed: [u8; 32], level in 1_u8..=5) {
        let question = laws::drawn(draw, seed, level);
        let (amount, steps) = read(&question.prompt);
        let factor = if question.prompt.contains("in dollars alone") { 1 } else { 100 };
        let hundredths = amount * factor;
        prop_assert_eq!(Check::Number { hundredths }, question.check, "{}", question.prompt);
        prop_assert_eq!(steps, [2, 3, 4, 6, 8][level as usize - 1], "{}", question.prompt);
    }
}

#[test]
fn a_blind_guess_is_right_once_in_a_hundred() {
    laws::a_blind_guess_is_right_once_in_a_hundred(draw);
}

#[test]
fn the_published_items_do_not_change() {
    assert_eq!(
        laws::golden(super::super::Family::Arithmetic),
        "8a2980a9ab390e138dbb464120768cab1eee8af21755d7b644fe984df4231ceb"
    );
}

/// What a sentence does to the amount, by its pattern; `*` stands for what the numbers are read from.
const PATTERNS: [(&str, char); 38] = [
    // How the amount begins.
    ("* runs a shop in * and has * in stock", '='),
    ("On * morning, a shop in * has * in stock", '='),
    ("There are * in a warehouse in *", '='),
    (
        "* sets out from * and covers * kilometres on the first day",
        '=',
    ),
    ("* lives in * and has * in a savings box", '='),
    ("The order begins with * at * each", '*'),
    (
        "In the first hour, * machines make * each, and all of them go into the store",
        '*',
    ),
    // Products that come or go.
    ("A delivery brings * boxes with * in each", 'p'),
    ("* adds * at * each", 'p'),
    (
        "Then comes a train ride of * hours at * kilometres per hour",
        'p',
    ),
    ("* cycles for * hours at * kilometres per hour", 'p'),
    ("For * days, * walks * kilometres a day", 'p'),
    (
        "* works * hours for * an hour and puts all the pay into the box",
        'p',
    ),
    (
        "Then * workers make * each by hand and put them into the store",
        'p',
    ),
    ("Then * customers buy * each", 'q'),
    ("* buys * at * each with money from the box", 'q'),
    (
        "From the store, * boxes of * each are sent to customers",
        'q',
    ),
    // What comes.
    ("Another * are delivered", '+'),
    ("Customers bring back *, which go back into stock", '+'),
    ("One * for * is added", '+'),
    ("A fee of * for * is added", '+'),
    ("Next, a bus takes * kilometres further", '+'),
    ("* drives another * kilometres in a rented car", '+'),
    ("* sells an old * for *, which goes into the box", '+'),
    ("An aunt sends *, which goes into the box too", '+'),
    ("Another factory brings * to the store", '+'),
    // What goes.
    (
        "After that, * of the * in the store are sent to a shop",
        '/',
    ),
    ("After that, * are sold", '-'),
    (
        "It turns out that * of the * are damaged, and they are thrown away",
        '-',
    ),
    ("A voucher takes * off the total so far", '-'),
    ("* takes out * to pay for a *", '-'),
    (
        "* checks the store, finds * faulty * and throws them away",
        '-',
    ),
    ("Next, * of the * then in stock are sold", '/'),
    ("* then gives * of the money in the box to *", '/'),
    ("A discount of * percent is taken off the total so far", '%'),
    // Factors.
    (
        "A large delivery arrives and doubles the number of * in stock",
        '2',
    ),
    ("Then * goes back to * by the same way", '2'),
    (
        "Finally, all the * in the store are shared out equally among * shops",
        's',
    ),
];

/// Sentences that do nothing, by words of theirs.
const ASIDES: [&str; 23] = [
    "puts together an order",
    "is buying things for",
    "orders from a catalogue",
    "years old",
    "has worked in the building",
    "o'clock",
    "kilometres away",
    "catalogue has",
    "ordered",
    "parcel will weigh",
    "Delivery takes",
    "backpack weighs",
    "made a journey of",
    "night in a hostel",
    "bus to work",
    "shares a flat",
    "an hour elsewhere",
    "flat is on floor",
    "hall is",
    "work the night shift",
    "Each machine uses",
    "lorry can carry",
    "A factory in",
];

/// The numbers of a text; amounts of money in cents.
fn numbers(text: &str) -> Vec<i64> {
    text.split_whitespace()
        .filter_map(|word| {
            let word = word.trim_end_matches([',', '.', '?']);
            let Some(dollars) = word.strip_prefix('$') else {
                return word.parse().ok();
            };
            let (whole, cents) = dollars.split_once('.').unwrap_or((dollars, "00"));
            [whole, cents].concat().parse().ok()
        })
        .collect()
}

/// The amount at the end, and the steps that lead to it.
fn read(prompt: &str) -> (i64, i64) {
    let story = prompt.lines().next().expect("a story");
    let mut amount = 0;
    let mut steps = 0;
    for sentence in story.split(". ") {
        if sentence.ends_with('?') || ASIDES.iter().any(|words| sentence.contains(words)) {
            continue;
        }
        let (_, kind) = PATTERNS
            .iter()
            .find(|(pattern, _)| matches(sentence, pattern).is_some())
            .unwrap_or_else(|| panic!("not understood: {sentence}"));
        let n = numbers(sentence);
        let parts = || {
            let (_, parts) = [
                ("half", 2),
                ("a third", 3),
                ("a quarter", 4),
                ("a fifth", 5),
            ]
            .into_iter()
            .find(|(word, _)| sentence.contains(&format!("{word} of the ")))
            .expect("a part");
            parts
        };
        let (after, made) = match kind {
            '=' => (n[0], 0),
            '*' => (n[0] * n[1], 1),
            'p' => (amount + n[0] * n[1], 2),
            'q' => (amount - n[0] * n[1], 2),
            '+' => (amount + n[0], 1),
            '-' => (amount - n[0], 1),
            '/' => (amount - amount / parts(), 2),
            '%' => (amount - amount * n[0] / 100, 2),
            '2' => (amount * 2, 1),
            's' => (amount / n[0], 1),
            other => panic!("{other}: {sentence}"),
        };
        amount = after;
        steps += made;
    }
    (amount, steps)
}
