//! The family `retrieval`: a fact that stands at a chosen depth of a long text.
//!
//! The text is a storekeeper's notes: many entries of one form, some of which share the person or
//! the goods with the one that is asked for, never both. The level chooses the length (about 200,
//! 500, 1,200, 2,500 and 5,000 words); the item's number chooses the depth: `index % 5` fourths of
//! the way through, so 0, 25, 50, 75 or 100 %. From level 3 on the answer needs a second entry, which
//! stands at the depth two further on, around the end.
//!
//! A depth is a stretch of entries, not one of them: else who copies from the last entry whatever is
//! asked would be right once in five. The place is drawn from the fifth of the text that lies at that
//! depth, of long texts from 20 entries. So all entries of a short text hold the fact equally often,
//! and no rule could be better: one in about 11 at level 1, 25 at level 2, 65 at level 3; at levels 4
//! and 5 no place holds it more than once in a hundred times.

use std::collections::BTreeSet;

use rand_core::Rng;

use super::super::draw::below;
use super::words::{FIRST_NAMES, GOODS, PLACES, answer_tokens, between, one, several};
use super::{Check, Drawn};

/// Words of the text by level.
const WORDS: [usize; 5] = [200, 500, 1_200, 2_500, 5_000];
/// Depths at which the fact may stand, in equal steps from the beginning to the end.
const DEPTHS: u32 = 5;
/// Most entries among which a depth is drawn.
const STRETCH_ENTRIES: u32 = 20;

/// Goods that somebody signed for.
#[derive(Debug, Clone)]
struct Entry {
    person: &'static str,
    goods: &'static str,
    place: &'static str,
    pieces: i64,
    room: i64,
    code: String,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
enum Question {
    Code,
    Room,
    Pieces,
    /// The room that the goods were moved to, by the code of the entry.
    Moved,
    /// The pieces of two people together.
    Together,
}

/// What no two entries share.
struct Taken {
    pairs: BTreeSet<(&'static str, &'static str)>,
    codes: BTreeSet<String>,
}

pub(super) fn draw(rng: &mut impl Rng, level: u8, index: u32) -> Drawn {
    let mut taken = Taken {
        pairs: BTreeSet::new(),
        codes: BTreeSet::new(),
    };
    let people = several(rng, &FIRST_NAMES, 2);
    let goods = one(rng, &GOODS).1;
    let needle = entry(rng, &mut taken, Some(people[0]), Some(goods));
    let question = if level < 3 {
        one(rng, &[Question::Code, Question::Room, Question::Pieces])
    } else {
        one(rng, &[Question::Moved, Question::Together])
    };
    let second = match question {
        Question::Moved => {
            let room = other_room(rng, needle.room);
            Some((moved(rng, &needle.code, room), room))
        }
        Question::Together => {
            let other = entry(rng, &mut taken, Some(people[1]), Some(goods));
            Some((told(rng, &other), other.pieces))
        }
        _ => None,
    };
    let Entry {
        person,
        pieces,
        room,
        code,
        ..
    } = &needle;
    let other = people[1];
    let (asked, kind, answer) = match (question, &second) {
        (Question::Code, _) => (
            format!("{person} signed for some {goods}. Under which code were they filed?"),
            "the code",
            code.clone(),
        ),
        (Question::Pieces, _) => (
            format!("How many {goods} did {person} sign for?"),
            "the number",
            pieces.to_string(),
        ),
        (Question::Together, Some((_, more))) => (
            format!("How many {goods} did {person} and {other} sign for, both taken together?"),
            "the number",
            (pieces + more).to_string(),
        ),
        (Question::Moved, Some((_, room))) => (
            format!("{person} signed for some {goods}. In which room are they now?"),
            "the number of the room",
            room.to_string(),
        ),
        (_, _) => (
            format!("{person} signed for some {goods}. In which room were they put?"),
            "the number of the room",
            room.to_string(),
        ),
    };
    let needle_text = told(rng, &needle);
    let moves = level >= 3;
    let mut notes = distractors(
        rng,
        &mut taken,
        WORDS[usize::from(level) - 1],
        &needle,
        moves,
    );
    let depth = index % DEPTHS;
    if let Some((text, _)) = second {
        notes.insert(at_depth(rng, notes.len(), (depth + 2) % DEPTHS), text);
    }
    notes.insert(at_depth(rng, notes.len(), depth), needle_text);
    Drawn {
        prompt: prompt(rng, &notes, &asked, kind, moves),
        answer: format!("Answer: {answer}"),
        max_answer_tokens: answer_tokens(level),
        check: match answer.parse::<i64>() {
            Ok(number) => Check::Number {
                hundredths: 100 * number,
            },
            Err(_) => Check::Text(answer),
        },
    }
}

/// Where to insert among `count` notes to stand at about that depth.
fn at_depth(rng: &mut impl Rng, count: usize, depth: u32) -> usize {
    let (start, length) = stretch(count, depth);
    ((start + below(rng, length)) / (4 * DEPTHS)) as usize
}

/// The places at that depth for one more among `count` notes: the first and how many, in twentieths
/// of a place, so that the stretches of a short text cover it evenly.
fn stretch(count: usize, depth: u32) -> (u32, u32) {
    let places = count as u32 + 1;
    let length = (4 * places).min(4 * DEPTHS * STRETCH_ENTRIES);
    let start = (4 * DEPTHS * places - length) * depth / (DEPTHS - 1);
    (start, length)
}

fn prompt(rng: &mut impl Rng, notes: &[String], asked: &str, kind: &str, moves: bool) -> String {
    let opening = one(
        rng,
        &[
            "Read these notes of a storekeeper. A question about them follows at the end.",
            "Below is the notebook of a storehouse. After it you will be asked one question.",
            "These are all entries of a storekeeper's book, followed by a question.",
        ],
    );
    let order = if moves {
        " The entries are in no particular order; goods that were moved were moved once, whether that is noted before \
         or after their own entry."
    } else {
        " The entries are in no particular order."
    };
    format!(
        "{opening}{order}\n\n{}\n\nQuestion: {asked}\n\nEnd with one line that starts with \"Answer:\" followed by \
         {kind} and nothing else.",
        notes.join("\n")
    )
}

/// Notes of about so many words, none of which is about the same goods of the same person.
fn distractors(
    rng: &mut impl Rng,
    taken: &mut Taken,
    words: usize,
    needle: &Entry,
    moves: bool,
) -> Vec<String> {
    let (mut notes, mut count) = (Vec::new(), 0);
    while count < words {
        let near = below(rng, 8);
        let person = (near == 0).then_some(needle.person);
        let goods = (near == 1 || near == 2).then_some(needle.goods);
        let entry = entry(rng, taken, person, goods);
        let mut note = told(rng, &entry);
        if below(rng, 3) == 0 {
            note = format!("{note} {}", one(rng, &ASIDES));
        }
        count += note.split(' ').count();
        notes.push(note);
        if moves && below(rng, 3) == 0 {
            let room = other_room(rng, entry.room);
            let note = moved(rng, &entry.code, room);
            count += note.split(' ').count();
            let place = below(rng, notes.len() as u32 + 1) as usize;
            notes.insert(place, note);
        }
    }
    notes
}

/// An entry whose person and goods, where not given, and code no other entry has.
fn entry(
    rng: &mut impl Rng,
    taken: &mut Taken,
    person: Option<&'static str>,
    goods: Option<&'static str>,
) -> Entry {
    let (person, goods) = loop {
        let pair = (
            person.unwrap_or_else(|| one(rng, &FIRST_NAMES)),
            goods.unwrap_or_else(|| one(rng, &GOODS).1),
        );
        // Of one person or one kind of goods there are too few to wait for a free one.
        if taken.pairs.insert(pair) {
            break pair;
        }
        let pair = (one(rng, &FIRST_NAMES), one(rng, &GOODS).1);
        if taken.pairs.insert(pair) {
            break pair;
        }
    };
    let code = loop {
        let letters = [b'A', b'A'].map(|a| char::from(a + below(rng, 26) as u8));
        let code = format!("{}{}-{}", letters[0], letters[1], between(rng, 100, 999));
        if taken.codes.insert(code.clone()) {
            break code;
        }
    };
    Entry {
        person,
        goods,
        place: one(rng, &PLACES),
        pieces: between(rng, 12, 480),
        room: between(rng, 101, 899),
        code,
    }
}

fn other_room(rng: &mut impl Rng, room: i64) -> i64 {
    let other = between(rng, 101, 898);
    if other < room { other } else { other + 1 }
}

/// The entry in one of several wordings, each of which gives all of its facts.
fn told(rng: &mut impl Rng, entry: &Entry) -> String {
    let Entry {
        person,
        goods,
        place,
        pieces,
        room,
        code,
    } = entry;
    match below(rng, 5) {
        0 => format!(
            "{person} from the office in {place} signed for {pieces} {goods}, which were put in room {room} and filed \
             under {code}."
        ),
        1 => format!(
            "Received from {place}: {pieces} {goods}. {person} signed for them; they were filed under {code} and put \
             in room {room}."
        ),
        2 => format!(
            "The {pieces} {goods} that {person} signed for came from {place}, were filed under {code} and went to room \
             {room}."
        ),
        3 => format!(
            "Put in room {room} and filed under {code}: {pieces} {goods} from {place}, for which {person} signed."
        ),
        _ => format!(
            "Filed under {code}: {pieces} {goods}, brought from {place} and put in room {room}. The signature is \
             {person}'s."
        ),
    }
}

/// A note that goods were moved, which names only their code.
fn moved(rng: &mut impl Rng, code: &str, room: i64) -> String {
    match below(rng, 4) {
        0 => format!("What was filed under {code} was later moved to room {room}."),
        1 => {
            format!("Because of a leak, the goods with the code {code} were moved to room {room}.")
        }
        2 => format!("Moved to room {room} to make space: everything that is filed under {code}."),
        _ => format!(
            "Two porters carried the goods filed under {code} to room {room}, where they have been since."
        ),
    }
}

/// Remarks that say nothing of any goods.
const ASIDES: [&str; 24] = [
    "It rained all morning, and the yard was full of puddles.",
    "The lift was out of order again.",
    "The kettle in the corner has begun to whistle by itself.",
    "Nobody could find the good stapler.",
    "The cat slept on the scales until noon.",
    "A driver asked the way twice and left in the wrong direction.",
    "The new lamp over the gate flickers.",
    "Lunch was late, and the soup was cold.",
    "Someone has drawn a ship on the wall of the corridor.",
    "The ink froze during the night.",
    "The telephone rang, but the line was dead.",
    "The big clock runs slow since the repair.",
    "We swept the stairs and oiled the hinges.",
    "The inspector is expected, though nobody knows when.",
    "The radio played the same song all day.",
    "A window was left open, and papers flew about.",
    "The keys hang on the wrong hooks.",
    "The stove smokes when the wind turns.",
    "The paint on the south door is still wet.",
    "There was a letter from the head office, which said nothing new.",
    "The apprentice dropped a tray and laughed.",
    "The weighing took longer than usual.",
    "A swallow has built its nest above the ramp.",
    "The old forklift started at the first try.",
];

#[cfg(test)]
mod tests;
