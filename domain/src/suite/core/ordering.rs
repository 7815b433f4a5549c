//! The family `ordering`: put things into the one order that all clues allow.
//!
//! The generator draws an order, then true clues until enumeration leaves that order alone, then
//! takes away every clue that the others make superfluous. Higher levels have more things and lose
//! the direct clues. The answer is the whole order, at least five things long, so that a guess is
//! right less than once in a hundred times even for one who has read who takes part.

use rand_core::Rng;

use super::super::draw::below;
use super::words::{
    self, ANIMALS, COLOURS, FIRST_NAMES, answer_tokens, capitalised, listed, number, one, ordinal,
    several,
};
use super::{Check, Drawn};

pub(super) fn draw(rng: &mut impl Rng, level: u8) -> Drawn {
    let count = [5, 5, 6, 6, 7][level as usize - 1];
    let scene = one(rng, &SCENES);
    let names = scene.names(rng, count);
    let orders = permutations(count);
    let solution = one(rng, &orders.iter().collect::<Vec<_>>());
    let clues = clues(rng, level, solution, &orders);
    // The introduction must not tell the order: it lists in an order of its own.
    let introduced: Vec<&str> = {
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_unstable_by_key(|&thing| &names[thing]);
        order.iter().map(|&thing| names[thing].as_str()).collect()
    };
    let lines: Vec<String> = clues
        .iter()
        .map(|clue| format!("- {}.", capitalised(&scene.tell(clue, &names))))
        .collect();
    let answer: Vec<String> = solution
        .iter()
        .map(|&thing| answer_word(&names[thing]))
        .collect();
    Drawn {
        prompt: format!(
            "{}\n{}\n\n{} There is exactly one possible order.\n\
             End with one line that starts with \"Answer:\" followed by the {} {}, separated by \
             commas.",
            scene.introduce(&introduced),
            lines.join("\n"),
            scene.question,
            scene.answer,
            scene.direction,
        ),
        answer: format!("Answer: {}", answer.join(", ")),
        max_answer_tokens: answer_tokens(level),
        check: Check::List(answer),
    }
}

/// Something true of an order; things and places are numbered from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clue {
    /// The thing has this place.
    At(usize, usize),
    /// It has not.
    NotAt(usize, usize),
    /// The thing has one of two places.
    Either(usize, usize, usize),
    /// The first is somewhere before the second.
    Before(usize, usize),
    /// The first is directly before the second.
    Directly(usize, usize),
    /// They are next to each other, either way round.
    Adjacent(usize, usize),
    /// They are not next to each other.
    Apart(usize, usize),
    /// So many others stand between them, either way round.
    Gap(usize, usize, usize),
    /// The first is somewhere between the two others.
    Between(usize, usize, usize),
    /// If the first is before the second, so is the third before the fourth.
    Implies([usize; 4]),
    /// One of the two has the place.
    OneOf(usize, usize, usize),
}

impl Clue {
    /// A clue about random things that is true of the order, given as the place of each thing; none
    /// if what was drawn is not true.
    fn draw(rng: &mut impl Rng, level: u8, places: &[usize]) -> Option<Self> {
        let things: Vec<usize> = (0..places.len()).collect();
        let chosen = several(rng, &things, 4);
        let [a, b, c, d] = [chosen[0], chosen[1], chosen[2], chosen[3]];
        let place = below(rng, places.len() as u32) as usize;
        let kinds: &[u8] = match level {
            1 => &[0, 3, 4, 4],
            2 => &[0, 1, 3, 4, 5],
            3 => &[1, 3, 3, 5, 7, 8],
            4 => &[1, 2, 5, 6, 7, 8, 10],
            _ => &[1, 2, 6, 7, 8, 9, 9, 10],
        };
        let clue = match one(rng, kinds) {
            0 => Self::At(a, places[a]),
            1 => Self::NotAt(a, place),
            2 => Self::Either(a, places[a].min(place), places[a].max(place)),
            3 => Self::Before(a, b),
            4 => Self::Directly(a, b),
            5 => Self::Adjacent(a, b),
            6 => Self::Apart(a, b),
            7 => Self::Gap(a, b, words::place(rng, 1, places.len() - 3)),
            8 => Self::Between(a, b, c),
            9 => Self::Implies([a, b, c, d]),
            _ => Self::OneOf(a, b, place),
        };
        let said = match clue {
            Self::Either(_, first, second) => first != second,
            _ => true,
        };
        (said && clue.holds(places)).then_some(clue)
    }

    /// Whether it is true, given the place of each thing.
    fn holds(self, places: &[usize]) -> bool {
        let at = |thing: usize| places[thing];
        match self {
            Self::At(a, place) => at(a) == place,
            Self::NotAt(a, place) => at(a) != place,
            Self::Either(a, first, second) => at(a) == first || at(a) == second,
            Self::Before(a, b) => at(a) < at(b),
            Self::Directly(a, b) => at(a) + 1 == at(b),
            Self::Adjacent(a, b) => at(a).abs_diff(at(b)) == 1,
            Self::Apart(a, b) => at(a).abs_diff(at(b)) != 1,
            Self::Gap(a, b, others) => at(a).abs_diff(at(b)) == others + 1,
            Self::Between(a, b, c) => at(b).min(at(c)) < at(a) && at(a) < at(b).max(at(c)),
            Self::Implies([a, b, c, d]) => at(a) > at(b) || at(c) < at(d),
            Self::OneOf(a, b, place) => at(a) == place || at(b) == place,
        }
    }
}

/// Clues that leave one order, none of which the others make superfluous.
fn clues(rng: &mut impl Rng, level: u8, solution: &[usize], orders: &[Vec<usize>]) -> Vec<Clue> {
    let truth = places(solution);
    let all: Vec<Vec<usize>> = orders.iter().map(|order| places(order)).collect();
    let mut left: Vec<&Vec<usize>> = all.iter().collect();
    let mut clues: Vec<Clue> = Vec::new();
    while left.len() > 1 {
        let Some(clue) = Clue::draw(rng, level, &truth) else {
            continue;
        };
        // The place itself may be told once, or the puzzle would be no puzzle.
        let told = |clue: &Clue| matches!(clue, Clue::At(..));
        if told(&clue) && clues.iter().any(told) {
            continue;
        }
        let fewer: Vec<&Vec<usize>> = left
            .iter()
            .copied()
            .filter(|order| clue.holds(order))
            .collect();
        if fewer.len() < left.len() {
            left = fewer;
            clues.push(clue);
        }
    }
    let mut kept = clues.len();
    while kept > 0 {
        kept -= 1;
        let clue = clues.remove(kept);
        let still = all
            .iter()
            .filter(|order| clues.iter().all(|clue| clue.holds(order)))
            .count();
        if still > 1 {
            clues.insert(kept, clue);
        }
    }
    several(rng, &clues, clues.len())
}

/// The place of each thing in an order.
fn places(order: &[usize]) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    for (place, &thing) in order.iter().enumerate() {
        places[thing] = place;
    }
    places
}

/// Every order of so many things.
fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![vec![]];
    for thing in 0..count {
        orders = orders
            .iter()
            .flat_map(|order: &Vec<usize>| {
                (0..=order.len()).map(move |place| {
                    let mut longer = order.clone();
                    longer.insert(place, thing);
                    longer
                })
            })
            .collect();
    }
    orders
}

/// What is put in order, and how one speaks of it.
#[derive(Clone, Copy)]
struct Scene {
    names: Names,
    intro: &'static str,
    /// `finished`, `stands`: third person singular, then as it follows `did not` or `does not`.
    verb: &'static str,
    negated: &'static str,
    before: &'static str,
    directly: &'static str,
    /// Two things next to each other, after `stand` or the like.
    adjacent: &'static str,
    between: &'static str,
    gap: (&'static str, &'static str),
    /// `{k}` is the ordinal of a place.
    place: &'static str,
    question: &'static str,
    answer: &'static str,
    direction: &'static str,
}

#[derive(Clone, Copy)]
enum Names {
    People,
    Animals,
    Books,
}

const SCENES: [Scene; 6] = [
    Scene {
        names: Names::People,
        intro: "{n} runners took part in a race: {names}. No two of them finished at the same time.",
        verb: "finished",
        negated: "did not finish",
        before: "before",
        directly: "directly before",
        adjacent: "finished directly one after the other, in one order or the other",
        between: "finished somewhere between",
        gap: ("runner finished", "runners finished"),
        place: "in {k} place",
        question: "In which order did they finish?",
        answer: "names",
        direction: "from the first to finish to the last",
    },
    Scene {
        names: Names::People,
        intro: "{n} people stand in a queue: {names}. The first place is at the front.",
        verb: "stands",
        negated: "does not stand",
        before: "ahead of",
        directly: "directly ahead of",
        adjacent: "stand directly next to each other",
        between: "stands somewhere between",
        gap: ("person stands", "people stand"),
        place: "in {k} place",
        question: "In which order do they stand?",
        answer: "names",
        direction: "from front to back",
    },
    Scene {
        names: Names::Books,
        intro: "{n} books stand on a shelf: {names}. Places are counted from the left.",
        verb: "stands",
        negated: "does not stand",
        before: "to the left of",
        directly: "directly to the left of",
        adjacent: "stand directly next to each other",
        between: "stands somewhere between",
        gap: ("book stands", "books stand"),
        place: "in {k} place",
        question: "In which order do the books stand?",
        answer: "colours of the books",
        direction: "from left to right",
    },
    Scene {
        names: Names::People,
        intro: "{n} people live in a house of {n} floors, one on each floor: {names}. The first \
                floor is the lowest.",
        verb: "lives",
        negated: "does not live",
        before: "below",
        directly: "directly below",
        adjacent: "live on neighbouring floors",
        between: "lives on a floor somewhere between those of",
        gap: ("person lives", "people live"),
        place: "on the {k} floor",
        question: "Who lives where?",
        answer: "names",
        direction: "from the lowest floor to the highest",
    },
    Scene {
        names: Names::People,
        intro: "{n} people give talks at a conference, one after the other: {names}.",
        verb: "speaks",
        negated: "does not speak",
        before: "before",
        directly: "directly before",
        adjacent: "speak directly one after the other, in one order or the other",
        between: "speaks at some time between",
        gap: ("person speaks", "people speak"),
        place: "in {k} place",
        question: "In which order do they speak?",
        answer: "names",
        direction: "from the first speaker to the last",
    },
    Scene {
        names: Names::Animals,
        intro: "{n} animals live in a row of {n} cages, one in each cage: {names}. Cages are \
                counted from the entrance.",
        verb: "lives",
        negated: "does not live",
        before: "nearer to the entrance than",
        directly: "in the cage directly before that of",
        adjacent: "live in neighbouring cages",
        between: "lives somewhere between",
        gap: ("animal lives", "animals live"),
        place: "in the {k} cage",
        question: "Which animal lives where?",
        answer: "animals",
        direction: "from the cage nearest to the entrance to the farthest",
    },
];

impl Scene {
    /// What the things are called in a sentence.
    fn names(&self, rng: &mut impl Rng, count: usize) -> Vec<String> {
        let words = match self.names {
            Names::People => {
                return several(rng, &FIRST_NAMES, count)
                    .iter()
                    .map(|&name| name.to_owned())
                    .collect();
            }
            Names::Animals => several(rng, &ANIMALS, count),
            Names::Books => several(rng, &COLOURS, count),
        };
        let noun = match self.names {
            Names::Books => " book",
            _ => "",
        };
        words
            .iter()
            .map(|word| format!("the {word}{noun}"))
            .collect()
    }

    fn introduce(&self, names: &[&str]) -> String {
        let text = self.intro.replace("{names}", &listed(names));
        capitalised(&text.replace("{n}", number(names.len())))
    }

    /// The clue as a sentence without its full stop.
    fn tell(&self, clue: &Clue, names: &[String]) -> String {
        let name = |thing: usize| names[thing].as_str();
        let place = |place: usize| self.place.replace("{k}", ordinal(place + 1));
        let verb = self.verb;
        match *clue {
            Clue::At(a, at) => format!("{} {verb} {}", name(a), place(at)),
            Clue::NotAt(a, at) => format!("{} {} {}", name(a), self.negated, place(at)),
            Clue::Either(a, first, second) => {
                format!(
                    "{} {verb} either {} or {}",
                    name(a),
                    place(first),
                    place(second)
                )
            }
            Clue::Before(a, b) => {
                format!("{} {verb} somewhere {} {}", name(a), self.before, name(b))
                    .replace("somewhere nearer", "nearer")
            }
            Clue::Directly(a, b) => format!("{} {verb} {} {}", name(a), self.directly, name(b)),
            Clue::Adjacent(a, b) => format!("{} and {} {}", name(a), name(b), self.adjacent),
            Clue::Apart(a, b) => format!(
                "it is not the case that {} and {} {}",
                name(a),
                name(b),
                self.adjacent
            ),
            Clue::Gap(a, b, 1) => {
                format!(
                    "exactly one {} between {} and {}",
                    self.gap.0,
                    name(a),
                    name(b)
                )
            }
            Clue::Gap(a, b, others) => format!(
                "exactly {} {} between {} and {}",
                number(others),
                self.gap.1,
                name(a),
                name(b)
            ),
            Clue::Between(a, b, c) => {
                format!("{} {} {} and {}", name(a), self.between, name(b), name(c))
            }
            Clue::Implies([a, b, c, d]) => format!(
                "if {} {verb} {before} {}, then {} {verb} {before} {}",
                name(a),
                name(b),
                name(c),
                name(d),
                before = self.before
            ),
            Clue::OneOf(a, b, at) => {
                format!("either {} or {} {verb} {}", name(a), name(b), place(at))
            }
        }
    }
}

/// What a thing is called in the answer.
fn answer_word(name: &str) -> String {
    name.trim_start_matches("the ")
        .trim_end_matches(" book")
        .to_owned()
}

#[cfg(test)]
mod tests;
