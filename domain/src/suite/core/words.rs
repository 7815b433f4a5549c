//! Names and things that the generators draw from, and the small grammar they share.
//!
//! The order of every list is part of the suite: an entry moved or added changes the items.

use rand_core::Rng;

use super::super::draw::below;

/// Given names of one ASCII word, no two of which begin alike for long.
pub(super) const FIRST_NAMES: [&str; 72] = [
    "Adam", "Alice", "Amir", "Anna", "Arjun", "Astrid", "Ben", "Bianca", "Boris", "Carmen",
    "Cedric", "Chloe", "Dalia", "Dmitri", "Dora", "Edgar", "Elena", "Emil", "Esther", "Fatima",
    "Felix", "Fiona", "Gemma", "George", "Greta", "Hana", "Hector", "Hugo", "Ingrid", "Iris",
    "Ivan", "Jamal", "Jasper", "Judith", "Kai", "Karim", "Kira", "Lars", "Leila", "Louis", "Lucia",
    "Magnus", "Mei", "Milo", "Nadia", "Nina", "Noah", "Olga", "Omar", "Otto", "Paula", "Pedro",
    "Petra", "Quinn", "Rahul", "Rita", "Rosa", "Samir", "Selma", "Simon", "Tara", "Theo", "Tomas",
    "Uma", "Vera", "Victor", "Wanda", "Yara", "Yusuf", "Zara", "Zelda", "Zoran",
];

/// Cities of one ASCII word.
pub(super) const PLACES: [&str; 48] = [
    "Amsterdam",
    "Athens",
    "Bergen",
    "Berlin",
    "Bologna",
    "Boston",
    "Bristol",
    "Cairo",
    "Chicago",
    "Cork",
    "Dakar",
    "Denver",
    "Dublin",
    "Florence",
    "Geneva",
    "Ghent",
    "Hamburg",
    "Hanoi",
    "Helsinki",
    "Jakarta",
    "Krakow",
    "Kyoto",
    "Lagos",
    "Leeds",
    "Lima",
    "Lisbon",
    "Lyon",
    "Madrid",
    "Manila",
    "Montreal",
    "Mumbai",
    "Nairobi",
    "Oslo",
    "Perth",
    "Prague",
    "Quito",
    "Riga",
    "Rome",
    "Rotterdam",
    "Seattle",
    "Seville",
    "Tallinn",
    "Toronto",
    "Tunis",
    "Utrecht",
    "Vienna",
    "Warsaw",
    "Zagreb",
];

/// Small things that a hand can hold, in the singular.
pub(super) const OBJECTS: [&str; 48] = [
    "anchor", "apple", "ball", "battery", "bell", "book", "bottle", "brush", "button", "candle",
    "card", "clock", "coin", "comb", "compass", "cup", "dart", "envelope", "feather", "flute",
    "fork", "glove", "hammer", "key", "knife", "lamp", "lemon", "magnet", "map", "marble",
    "mirror", "needle", "onion", "nail", "pebble", "pencil", "ribbon", "ring", "ruler", "scarf",
    "shell", "spoon", "stamp", "stone", "ticket", "torch", "watch", "whistle",
];

/// Animals, in the singular.
pub(super) const ANIMALS: [&str; 44] = [
    "badger", "bat", "bear", "beaver", "bison", "camel", "cat", "cobra", "crab", "crow", "deer",
    "dog", "donkey", "duck", "eagle", "falcon", "ferret", "fox", "frog", "goat", "goose", "hare",
    "hawk", "heron", "horse", "jackal", "koala", "lion", "lizard", "llama", "mole", "moose",
    "otter", "owl", "panda", "parrot", "rabbit", "raven", "salmon", "seal", "tiger", "turtle",
    "wolf", "zebra",
];

/// Colours of one word, easily told apart by name.
pub(super) const COLOURS: [&str; 20] = [
    "amber", "beige", "black", "blue", "brown", "crimson", "golden", "green", "grey", "indigo",
    "ivory", "maroon", "olive", "orange", "pink", "purple", "red", "silver", "white", "yellow",
];

/// The months, January first.
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The days of the week, Monday first.
pub(super) const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// Goods that are counted and priced: singular and plural.
pub(super) const GOODS: [(&str, &str); 48] = [
    ("apron", "aprons"),
    ("backpack", "backpacks"),
    ("basket", "baskets"),
    ("blanket", "blankets"),
    ("bracelet", "bracelets"),
    ("broom", "brooms"),
    ("bucket", "buckets"),
    ("cable", "cables"),
    ("calendar", "calendars"),
    ("candle", "candles"),
    ("chair", "chairs"),
    ("cushion", "cushions"),
    ("doll", "dolls"),
    ("drum", "drums"),
    ("fan", "fans"),
    ("flag", "flags"),
    ("folder", "folders"),
    ("globe", "globes"),
    ("helmet", "helmets"),
    ("jacket", "jackets"),
    ("kettle", "kettles"),
    ("kite", "kites"),
    ("ladder", "ladders"),
    ("lantern", "lanterns"),
    ("mug", "mugs"),
    ("napkin", "napkins"),
    ("notebook", "notebooks"),
    ("padlock", "padlocks"),
    ("pillow", "pillows"),
    ("plate", "plates"),
    ("poster", "posters"),
    ("puzzle", "puzzles"),
    ("racket", "rackets"),
    ("rope", "ropes"),
    ("rug", "rugs"),
    ("saddle", "saddles"),
    ("shovel", "shovels"),
    ("stool", "stools"),
    ("suitcase", "suitcases"),
    ("tent", "tents"),
    ("thermos", "thermoses"),
    ("towel", "towels"),
    ("tray", "trays"),
    ("umbrella", "umbrellas"),
    ("vase", "vases"),
    ("violin", "violins"),
    ("wallet", "wallets"),
    ("wreath", "wreaths"),
];

/// One entry of `from`, which must not be empty.
pub(super) fn one<T: Copy>(rng: &mut impl Rng, from: &[T]) -> T {
    from[below(rng, from.len() as u32) as usize]
}

/// `count` different entries of `from` in random order; `count` must not exceed its length.
pub(super) fn several<T: Copy>(rng: &mut impl Rng, from: &[T], count: usize) -> Vec<T> {
    let mut pool = from.to_vec();
    for place in 0..count {
        let other = place + below(rng, (pool.len() - place) as u32) as usize;
        pool.swap(place, other);
    }
    pool.truncate(count);
    pool
}

/// A uniform number from `least` to `most`, both included.
pub(super) fn between(rng: &mut impl Rng, least: i64, most: i64) -> i64 {
    least + i64::from(below(rng, (most - least + 1) as u32))
}

/// A uniform place from `least` to `most`, both included.
pub(super) fn place(rng: &mut impl Rng, least: usize, most: usize) -> usize {
    least + below(rng, (most - least + 1) as u32) as usize
}

/// `a, b and c`.
pub(super) fn listed(things: &[impl AsRef<str>]) -> String {
    let things: Vec<&str> = things.iter().map(AsRef::as_ref).collect();
    match things.as_slice() {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// `a key`, `an apple`.
pub(super) fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {noun}")
}

/// The text with its first letter in upper case.
pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        format!("{}{}", first.to_ascii_uppercase(), letters.as_str())
    })
}

/// An amount of cents, not negative, as `$1250` or `$12.50`.
pub(super) fn money(cents: i64) -> String {
    match cents % 100 {
        0 => format!("${}", cents / 100),
        rest => format!("${}.{rest:02}", cents / 100),
    }
}

/// The ordinal of a number from one to ten.
pub(super) const fn ordinal(number: usize) -> &'static str {
    const ORDINALS: [&str; 10] = [
        "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
        "tenth",
    ];
    ORDINALS[number - 1]
}

/// A number from zero to twenty in letters.
pub(super) const fn number(number: usize) -> &'static str {
    const NUMBERS: [&str; 21] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ];
    NUMBERS[number]
}

/// Tokens for a short chain of thought: more where a level needs more steps.
pub(super) const fn answer_tokens(level: u8) -> u32 {
    if level <= 3 { 512 } else { 1_024 }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_word_stands_twice_in_its_list() {
        let lists: [&[&str]; 5] = [&FIRST_NAMES, &PLACES, &OBJECTS, &ANIMALS, &COLOURS];
        for list in lists {
            let different: HashSet<&str> = list.iter().copied().collect();
            assert_eq!(different.len(), list.len(), "{list:?}");
            assert!(
                list.iter()
                    .all(|word| word.bytes().all(|byte| byte.is_ascii_alphabetic()))
            );
        }
        let goods: HashSet<&str> = GOODS.iter().map(|(_, plural)| *plural).collect();
        assert_eq!(goods.len(), GOODS.len());
    }

    #[test]
    fn lists_and_amounts_read_as_people_write_them() {
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&["a", "b"]), "a and b");
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
        assert_eq!(
            (money(1_250), money(1_200)),
            ("$12.50".to_owned(), "$12".to_owned())
        );
        assert_eq!(money(1_205), "$12.05");
        assert_eq!(capitalised("the key"), "The key");
        assert_eq!((ordinal(1), ordinal(10)), ("first", "tenth"));
    }
}
