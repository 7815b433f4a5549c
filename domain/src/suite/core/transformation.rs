//! The family `transformation`: a text changed step by step, exactly as told.
//!
//! The level is the number of steps, from one to five, done one after the other on lines of words.

use rand_core::Rng;

use super::super::draw::below;
use super::words::{
    ANIMALS, COLOURS, OBJECTS, answer_tokens, between, capitalised, listed, one, ordinal, several,
};
use super::{Check, Drawn};

/// Lines of words, no two of which are equal.
type Text = Vec<Vec<String>>;

/// Lines, and words in each, by level.
const SIZES: [(usize, usize); 5] = [(4, 3), (5, 3), (6, 4), (7, 4), (8, 4)];

/// One change of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    SpacesForCommas,
    SortLines,
    ReverseLines,
    ReverseWords,
    SwapLines(usize, usize),
    FirstToEnd,
    DropWord(usize),
    DropLinesWith(Vec<String>),
    KeepEvery(usize),
    Replace(Vec<(String, String)>),
    Capitals(usize),
    ReverseLetters(usize),
    NumberLines,
    JoinWords(&'static str),
    Shift(u8),
}

pub(super) fn draw(rng: &mut impl Rng, level: u8) -> Drawn {
    let (height, width) = SIZES[usize::from(level) - 1];
    loop {
        let pool = several(rng, &pool(), height * width + 4);
        let (used, spare) = pool.split_at(height * width);
        let given: Text = used
            .chunks(width)
            .map(|line| line.iter().map(|&word| word.to_owned()).collect())
            .collect();
        if let Some((steps, result)) = steps(rng, usize::from(level), &given, spare) {
            return drawn(rng, level, &given, &steps, result);
        }
    }
}

/// Different words, in the order of their lists.
fn pool() -> Vec<&'static str> {
    let colours = COLOURS.iter().filter(|colour| !OBJECTS.contains(colour));
    OBJECTS
        .iter()
        .chain(&ANIMALS)
        .chain(colours)
        .copied()
        .collect()
}

/// Draws `count` steps, each of which changes the text, and does them.
fn steps(
    rng: &mut impl Rng,
    count: usize,
    given: &Text,
    spare: &[&str],
) -> Option<(Vec<Step>, Text)> {
    // What needs small letters and single spaces comes before what takes them away.
    let order = several(rng, &[1, 2, 3, 4, 5, 6, 7, 8, 9], 9);
    let late = 10 + below(rng, 2);
    // Shifted letters are for the last level, half of the time.
    let last = if count == 5 { 13 } else { 12 } + below(rng, 2);
    let mut kinds: Vec<u32> = order.into_iter().take(count).collect();
    if below(rng, 6) == 0 {
        kinds[0] = 0;
    }
    if count >= 3 || below(rng, 4) == 0 {
        kinds[count - 1] = last;
    }
    if count >= 4 || count >= 2 && below(rng, 3) == 0 {
        let place = if kinds[count - 1] == last {
            count - 2
        } else {
            count - 1
        };
        kinds[place] = late;
    }
    let (mut text, mut steps) = (given.clone(), Vec::new());
    for kind in kinds {
        let step = Step::draw(rng, kind, &text, spare)?;
        let changed = step.applied(&text);
        // The commas are not in the words, so that their step alone changes nothing here.
        if changed == text && step != Step::SpacesForCommas || changed.len() < 2 {
            return None;
        }
        text = changed;
        steps.push(step);
    }
    Some((steps, text))
}

impl Step {
    /// A step of a kind that suits the text; none where nothing of that kind does.
    fn draw(rng: &mut impl Rng, kind: u32, text: &Text, spare: &[&str]) -> Option<Self> {
        let height = text.len();
        let width = text.first()?.len();
        Some(match kind {
            0 => Self::SpacesForCommas,
            1 => Self::SortLines,
            2 => Self::ReverseLines,
            3 => Self::ReverseWords,
            4 => {
                let left = under(rng, height - 1);
                Self::SwapLines(left, left + 1 + under(rng, height - 1 - left))
            }
            5 => Self::FirstToEnd,
            6 => Self::DropWord(under(rng, width)).unless(width < 3)?,
            7 => {
                let lines = some_lines(rng, text, 2);
                Self::DropLinesWith(lines.iter().map(|line| one_of(rng, line)).collect())
                    .unless(height < 4)?
            }
            8 => Self::KeepEvery(between(rng, 2, 3) as usize).unless(height < 6)?,
            9 => {
                let lines = some_lines(rng, text, 3);
                let mut pairs: Vec<(String, String)> = lines
                    .iter()
                    .zip(spare)
                    .map(|(line, &to)| (one_of(rng, line), to.to_owned()))
                    .collect();
                pairs.sort_unstable();
                Self::Replace(pairs)
            }
            10 => Self::Capitals(under(rng, width)),
            11 => Self::ReverseLetters(under(rng, width)),
            12 => Self::NumberLines,
            13 => Self::JoinWords(one(rng, &["-", "/", "_", ", ", "; "])),
            _ => Self::Shift(between(rng, 1, 3) as u8),
        })
    }

    fn unless(self, unfit: bool) -> Option<Self> {
        (!unfit).then_some(self)
    }

    fn applied(&self, text: &Text) -> Text {
        let mut text = text.clone();
        match self {
            Self::SpacesForCommas => {}
            Self::SortLines => text.sort_unstable(),
            Self::ReverseLines => text.reverse(),
            Self::ReverseWords => text.iter_mut().for_each(|line| line.reverse()),
            Self::SwapLines(left, right) => text.swap(*left, *right),
            Self::FirstToEnd => text.iter_mut().for_each(|line| line.rotate_left(1)),
            Self::DropWord(place) => text.iter_mut().for_each(|line| {
                line.remove(*place);
            }),
            Self::DropLinesWith(words) => {
                text.retain(|line| !line.iter().any(|word| words.contains(word)));
            }
            Self::KeepEvery(step) => {
                text = text.into_iter().skip(step - 1).step_by(*step).collect();
            }
            Self::Replace(pairs) => {
                for word in text.iter_mut().flatten() {
                    if let Some((_, to)) = pairs.iter().find(|(from, _)| from == word) {
                        word.clone_from(to);
                    }
                }
            }
            Self::Capitals(place) => text
                .iter_mut()
                .for_each(|line| line[*place].make_ascii_uppercase()),
            Self::ReverseLetters(place) => text.iter_mut().for_each(|line| {
                line[*place] = line[*place].chars().rev().collect();
            }),
            Self::NumberLines => {
                for (line, number) in text.iter_mut().zip(1..) {
                    line.insert(0, format!("{number}."));
                }
            }
            Self::JoinWords(mark) => text
                .iter_mut()
                .for_each(|line| *line = vec![line.join(mark)]),
            Self::Shift(places) => {
                for word in text.iter_mut().flatten() {
                    *word = word
                        .bytes()
                        .map(|letter| shifted(letter, *places))
                        .collect();
                }
            }
        }
        text
    }

    fn told(&self) -> String {
        let nth = |place: &usize| ordinal(place + 1);
        match self {
            Self::SpacesForCommas => "Replace every comma by one space.".to_owned(),
            Self::SortLines => "Sort the lines alphabetically by their first words.".to_owned(),
            Self::ReverseLines => "Put the lines in reverse order, so that the last line comes first.".to_owned(),
            Self::ReverseWords => {
                "Within every line, put the words in reverse order; the lines stay where they are.".to_owned()
            }
            Self::SwapLines(left, right) => {
                format!("Swap the {} line and the {} line.", nth(left), nth(right))
            }
            Self::FirstToEnd => "Move the first word of every line to the end of that line.".to_owned(),
            Self::DropWord(place) => format!("Delete the {} word of every line.", nth(place)),
            Self::DropLinesWith(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("Delete every line that has the word {} in it.", words.join(" or the word "))
            }
            Self::KeepEvery(2) => "Keep only every second line: the second, the fourth and so on.".to_owned(),
            Self::KeepEvery(_) => "Keep only every third line: the third, the sixth and so on.".to_owned(),
            Self::Replace(pairs) => {
                let pairs: Vec<String> =
                    pairs.iter().map(|(from, to)| format!("\"{from}\" by \"{to}\"")).collect();
                format!("Replace {}.", listed(&pairs))
            }
            Self::Capitals(place) => {
                format!("Write the {} word of every line in capital letters.", nth(place))
            }
            Self::ReverseLetters(place) => {
                format!("Spell the {} word of every line backwards.", nth(place))
            }
            Self::NumberLines => {
                "Number the lines: put \"1. \" before the first, \"2. \" before the second and so on.".to_owned()
            }
            Self::JoinWords(mark) => {
                format!("Put \"{mark}\" between the words of every line instead of the spaces.")
            }
            Self::Shift(places) => format!(
                "Replace every letter by the one that comes {} later in the alphabet, where a follows after z; capital \
                 letters stay capital.",
                ["one place", "two places", "three places"][usize::from(*places) - 1]
            ),
        }
    }
}

fn some_lines<'a>(rng: &mut impl Rng, text: &'a Text, count: usize) -> Vec<&'a Vec<String>> {
    let lines: Vec<&Vec<String>> = text.iter().collect();
    several(rng, &lines, count.min(lines.len()))
}

/// A place among `count`.
fn under(rng: &mut impl Rng, count: usize) -> usize {
    below(rng, count as u32) as usize
}

fn one_of(rng: &mut impl Rng, words: &[String]) -> String {
    words[under(rng, words.len())].clone()
}

/// The letter `places` later in the alphabet, around its end; what is no letter stays.
fn shifted(byte: u8, places: u8) -> char {
    let base = if byte.is_ascii_uppercase() {
        b'A'
    } else {
        b'a'
    };
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' => char::from(base + (byte - base + places) % 26),
        other => char::from(other),
    }
}

fn drawn(rng: &mut impl Rng, level: u8, given: &Text, steps: &[Step], result: Text) -> Drawn {
    let commas = steps.contains(&Step::SpacesForCommas);
    let given: Vec<String> = given
        .iter()
        .map(|line| line.join(if commas { "," } else { " " }))
        .collect();
    let opening = one(
        rng,
        &[
            "Here is a text:",
            "This is the text to work on:",
            "Take these lines:",
        ],
    );
    let task = if let [only] = steps {
        format!("Change the text in this way: {}", only.told())
    } else {
        let told = steps
            .iter()
            .zip(1..)
            .map(|(step, number)| format!("{number}. {}", step.told()));
        let told = told.collect::<Vec<_>>().join("\n");
        format!(
            "Do these {} steps one after the other, each on what the one before it gave:\n\n{told}",
            ["two", "three", "four", "five"][steps.len() - 2]
        )
    };
    let result: Vec<String> = result.into_iter().map(|line| line.join(" ")).collect();
    Drawn {
        prompt: format!(
            "{opening}\n\n```\n{}\n```\n\n{}\n\nGive the final result, and only that, in a fenced block (between lines \
             of three backticks) at the end of your reply.",
            given.join("\n"),
            capitalised(&task)
        ),
        answer: format!("```\n{}\n```", result.join("\n")),
        max_answer_tokens: answer_tokens(level),
        check: Check::Lines(result),
    }
}

#[cfg(test)]
mod tests;
