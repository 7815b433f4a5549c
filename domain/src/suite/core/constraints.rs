//! The family `constraints`: a text of the model's own that keeps to rules a program can check.
//!
//! Higher levels have more rules that touch each other: lines whose first letters spell a word, of
//! so many words each, without a letter, with given words in a given order.
//! Every item is solvable: its answer is a text that the generator wrote and checked.

use std::collections::BTreeSet;
use std::fmt;

use rand_core::Rng;

use super::super::draw::{below, pick};
use super::words::{ANIMALS, GOODS, OBJECTS, answer_tokens, between, capitalised, one, several};
use super::{Check, Drawn};

/// One checkable demand on a text.
///
/// A word is what stands between spaces, without marks around it and in any case; what has no
/// letter or digit is none. Blank lines do not count, and the number of a numbered line is no part
/// of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::suite) enum Constraint {
    /// Exactly so many words.
    Words(usize),
    /// At most so many words.
    AtMostWords(usize),
    /// Exactly so many sentences, the last one ended.
    Sentences(usize),
    /// Exactly so many lines.
    Lines(usize),
    /// Exactly so many words in every line.
    WordsPerLine(usize),
    /// This word occurs.
    Contains(String),
    /// The first occurrence of one word comes before that of the other.
    Before(String, String),
    /// This letter, in lower case, does not occur in either case.
    Without(char),
    /// No word has more letters.
    LongestWord(usize),
    /// No capital letter.
    LowerCase,
    /// This is the first word.
    First(String),
    /// These are the last words.
    Last(Vec<String>),
    /// Every line starts with this word.
    EveryLineStarts(String),
    /// Lines are numbered from one: `1. `, `2. `.
    Numbered,
    /// The first words of the lines are in alphabetical order.
    Sorted,
    /// The first letters of the lines spell this word.
    Acrostic(String),
    /// No word is used twice.
    NoWordTwice,
}

impl Constraint {
    /// Whether a text keeps to it.
    pub(in crate::suite) fn holds(&self, text: &str) -> bool {
        let lines: Vec<&str> = lines(text).collect();
        let words: Vec<String> = lines.iter().copied().flat_map(words).collect();
        let place = |wanted: &str| words.iter().position(|word| word == wanted);
        match self {
            Self::Words(count) => words.len() == *count,
            Self::AtMostWords(count) => words.len() <= *count,
            Self::Sentences(count) => sentences(text) == Some(*count),
            Self::Lines(count) => lines.len() == *count,
            Self::WordsPerLine(count) => lines
                .iter()
                .copied()
                .all(|line| self::words(line).count() == *count),
            Self::Contains(word) => place(word).is_some(),
            Self::Before(left, right) => place(left)
                .zip(place(right))
                .is_some_and(|(left, right)| left < right),
            Self::Without(letter) => !text.chars().any(|c| c.to_ascii_lowercase() == *letter),
            Self::LongestWord(letters) => words
                .iter()
                .all(|word| word.chars().filter(|c| c.is_alphabetic()).count() <= *letters),
            Self::LowerCase => !text.chars().any(char::is_uppercase),
            Self::First(word) => words.first() == Some(word),
            Self::Last(phrase) => words.ends_with(phrase),
            Self::EveryLineStarts(word) => lines
                .iter()
                .copied()
                .all(|line| self::words(line).next().as_ref() == Some(word)),
            Self::Numbered => {
                let bodies = text.lines().map(str::trim).filter(|line| !line.is_empty());
                bodies
                    .zip(1..)
                    .all(|(line, number)| line.starts_with(&format!("{number}. ")))
            }
            Self::Sorted => {
                let firsts = lines.iter().copied().map(|line| self::words(line).next());
                firsts.is_sorted()
            }
            Self::Acrostic(word) => {
                let initials = lines
                    .iter()
                    .filter_map(|line| line.chars().find(|c| c.is_alphanumeric()));
                initials.map(|c| c.to_ascii_lowercase()).eq(word.chars())
            }
            Self::NoWordTwice => words.iter().collect::<BTreeSet<_>>().len() == words.len(),
        }
    }
}

/// The rule as the prompt states it.
impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Words(count) => write!(f, "The text has exactly {count} words."),
            Self::AtMostWords(count) => write!(f, "The text has at most {count} words."),
            Self::Sentences(count) => write!(
                f,
                "The text has exactly {count} sentences; each ends with a full stop, a question mark or an exclamation \
                 mark, and these marks are used for nothing else."
            ),
            Self::Lines(count) => write!(f, "The text has exactly {count} lines."),
            Self::WordsPerLine(count) => write!(f, "Every line has exactly {count} words."),
            Self::Contains(word) => write!(f, "The word \"{word}\" occurs."),
            Self::Before(left, right) => {
                write!(f, "The word \"{left}\" occurs for the first time before the word \"{right}\" does.")
            }
            Self::Without(letter) => write!(f, "The letter \"{letter}\" does not occur anywhere."),
            Self::LongestWord(letters) => write!(f, "No word has more than {letters} letters."),
            Self::LowerCase => f.write_str("There are no capital letters at all."),
            Self::First(word) => write!(f, "The first word of the text is \"{word}\"."),
            Self::Last(phrase) => {
                let (count, phrase) = (phrase.len(), phrase.join(" "));
                write!(f, "The last {count} words of the text are \"{phrase}\".")
            }
            Self::EveryLineStarts(word) => write!(f, "Every line starts with the word \"{word}\"."),
            Self::Numbered => f.write_str(
                "The lines are numbered: the first starts with \"1. \", the second with \"2. \" and so on. The numbers \
                 do not count as words.",
            ),
            Self::Sorted => f.write_str("The first words of the lines are in alphabetical order."),
            Self::Acrostic(word) => {
                write!(f, "The first letters of the lines, read from top to bottom, spell \"{word}\".")
            }
            Self::NoWordTwice => f.write_str("No word is used more than once, not even short ones like \"the\"."),
        }
    }
}

/// The lines that are not blank, trimmed and without numbers.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| {
        let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
        match rest.strip_prefix(". ") {
            Some(body) if rest.len() < line.len() => body.trim_start(),
            _ => line,
        }
    })
}

fn words(line: &str) -> impl Iterator<Item = String> {
    line.split_whitespace()
        .map(|word| {
            word.trim_matches(|c: char| !c.is_alphanumeric())
                .to_lowercase()
        })
        .filter(|word| !word.is_empty())
}

/// How many sentences a text has; none where its last one is not ended.
fn sentences(text: &str) -> Option<usize> {
    let closing = ['"', '\'', ')', '*', '_', '\u{201d}', '\u{2019}'];
    let ends = |word: &&str| word.trim_end_matches(closing).ends_with(['.', '!', '?']);
    let last = text.split_whitespace().next_back()?;
    ends(&last).then(|| text.split_whitespace().filter(ends).count())
}

pub(super) fn draw(rng: &mut impl Rng, level: u8) -> Drawn {
    loop {
        let verse = level > 3 || level == 3 && below(rng, 2) == 0;
        let attempt = if verse {
            verse_of(rng, level)
        } else {
            prose_of(rng, level)
        };
        if let Some((rules, answer)) = attempt
            && rules.iter().all(|rule| rule.holds(&answer))
        {
            return drawn(rng, level, rules, &answer, verse);
        }
    }
}

fn drawn(
    rng: &mut impl Rng,
    level: u8,
    rules: Vec<Constraint>,
    answer: &str,
    verse: bool,
) -> Drawn {
    let opening = one(
        rng,
        &[
            "Write a short text in English that keeps to all of these rules:",
            "Write a short English text. All of the following must be true of it:",
            "I need a short text in English that follows each of these rules:",
        ],
    );
    let listed: Vec<String> = rules.iter().map(|rule| format!("- {rule}")).collect();
    let (listed, ending) = (
        listed.join("\n"),
        if verse {
            "End with a line that says only \"Answer:\", followed by the lines of the text and nothing after them."
        } else {
            "End with \"Answer:\" on a new line, followed by the text and nothing after it."
        },
    );
    Drawn {
        prompt: format!(
            "{opening}\n\n{listed}\n\nThe text may be about anything and need not be good. A word is what stands \
             between spaces, without the punctuation around it; \"Lamp\" and \"lamp\" are the same word, \"lamps\" is \
             another one.\n\n{ending}"
        ),
        answer: format!("Answer:{}{answer}", if verse { '\n' } else { ' ' }),
        max_answer_tokens: answer_tokens(level),
        check: Check::Constraints(rules),
    }
}

/// Words that a text of one level may use.
struct Vocabulary {
    without: Option<char>,
    longest: usize,
}

impl Vocabulary {
    fn allows(&self, word: &str) -> bool {
        word.len() <= self.longest && !self.without.is_some_and(|letter| word.contains(letter))
    }

    /// `count` different nouns in random order.
    fn nouns(&self, rng: &mut impl Rng, count: usize) -> Option<Vec<&'static str>> {
        let goods = GOODS.iter().map(|(one, _)| one);
        let nouns: BTreeSet<&str> = OBJECTS
            .iter()
            .chain(&ANIMALS)
            .chain(goods)
            .copied()
            .collect();
        let nouns: Vec<&str> = nouns.into_iter().filter(|word| self.allows(word)).collect();
        (nouns.len() >= count).then(|| several(rng, &nouns, count))
    }

    /// All other words in random order.
    fn others(&self, rng: &mut impl Rng) -> Vec<&'static str> {
        let others: Vec<&str> = OTHERS
            .into_iter()
            .filter(|word| self.allows(word))
            .collect();
        several(rng, &others, others.len())
    }

    fn phrase(&self, rng: &mut impl Rng) -> Option<Vec<String>> {
        let phrase: Vec<&str> = one(rng, &PHRASES).split(' ').collect();
        let allowed = phrase.iter().all(|word| self.allows(word));
        allowed.then(|| phrase.into_iter().map(str::to_owned).collect())
    }
}

/// Rules on sentences, and a text that keeps to them.
fn prose_of(rng: &mut impl Rng, level: u8) -> Option<(Vec<Constraint>, String)> {
    let vocabulary = Vocabulary {
        without: (level == 3).then(|| char::from(pick(rng, b"bcdfgkmpvwy"))),
        longest: usize::MAX,
    };
    let (least, most, parts) = match level {
        1 => (8, 15, 1),
        2 => (12, 18, 2 + below(rng, 2) as usize),
        _ => (16, 24, 2 + below(rng, 3) as usize),
    };
    let count = between(rng, least, most) as usize;
    let nouns = vocabulary.nouns(rng, if level == 1 { 2 } else { 3 })?;
    let mut words: Vec<String> = vocabulary
        .others(rng)
        .into_iter()
        .take(count)
        .map(str::to_owned)
        .collect();
    let mut rules = match level {
        1 => vec![Constraint::Words(count)],
        2 => vec![
            Constraint::Sentences(parts),
            Constraint::AtMostWords(count + between(rng, 4, 7) as usize),
        ],
        _ => vec![Constraint::Sentences(parts), Constraint::Words(count)],
    };
    rules.extend(
        nouns
            .iter()
            .map(|&noun| Constraint::Contains(noun.to_owned())),
    );
    rules.extend(vocabulary.without.map(Constraint::Without));
    let options = several(rng, &[0, 1, 2], usize::from(level) - 1);
    let lower = options.contains(&0);
    let mut room = 0..words.len();
    if lower {
        rules.push(Constraint::LowerCase);
    }
    if options.contains(&1) {
        rules.push(Constraint::First(words.first()?.clone()));
        room.start = 1;
    }
    if options.contains(&2) {
        let phrase = vocabulary.phrase(rng)?;
        room.end -= phrase.len();
        words.truncate(room.end);
        words.extend(phrase.iter().cloned());
        rules.push(Constraint::Last(phrase));
    }
    let places: Vec<usize> = room.collect();
    for (place, noun) in several(rng, &places, nouns.len()).into_iter().zip(nouns) {
        noun.clone_into(words.get_mut(place)?);
    }
    let sentences = words.chunks(words.len().div_ceil(parts)).map(|words| {
        let sentence = format!("{}.", words.join(" "));
        if lower {
            sentence
        } else {
            capitalised(&sentence)
        }
    });
    Some((rules, sentences.collect::<Vec<_>>().join(" ")))
}

/// Rules on lines, and lines that keep to them.
fn verse_of(rng: &mut impl Rng, level: u8) -> Option<(Vec<Constraint>, String)> {
    let letters: &[u8] = match level {
        3 => b"bfgkpvwy",
        4 => b"bcdfghkmpuwy",
        _ => b"acdhilnorstu",
    };
    let vocabulary = Vocabulary {
        without: Some(char::from(pick(rng, letters))),
        longest: if level == 5 { 7 } else { usize::MAX },
    };
    let (mut rules, mut firsts) = line_starts(rng, level, &vocabulary)?;
    let width = between(rng, 4, 6) as usize;
    rules.push(Constraint::WordsPerLine(width));
    let nouns = vocabulary.nouns(rng, if level == 5 { 3 } else { 2 })?;
    rules.extend(
        nouns
            .iter()
            .map(|&noun| Constraint::Contains(noun.to_owned())),
    );
    if level > 3 {
        let pairs = nouns.windows(2);
        rules.extend(pairs.map(|pair| Constraint::Before(pair[0].to_owned(), pair[1].to_owned())));
    }
    rules.extend(vocabulary.without.map(Constraint::Without));
    if level == 5 {
        rules.extend([
            Constraint::LongestWord(vocabulary.longest),
            Constraint::NoWordTwice,
        ]);
    }
    if level == 3 || below(rng, 2) == 0 {
        rules.push(Constraint::LowerCase);
    } else {
        for first in &mut firsts {
            *first = capitalised(first);
        }
    }
    let taken: Vec<String> = firsts.iter().map(|first| first.to_lowercase()).collect();
    let mut others = vocabulary.others(rng);
    others.retain(|word| !taken.iter().any(|first| first == word));
    let mut body: Vec<String> = others
        .into_iter()
        .take(firsts.len() * (width - 1))
        .map(str::to_owned)
        .collect();
    let mut room = body.len();
    if level > 3 {
        let phrase = vocabulary.phrase(rng)?;
        room = room.checked_sub(phrase.len())?;
        body.truncate(room);
        body.extend(phrase.iter().cloned());
        rules.push(Constraint::Last(phrase));
    }
    let mut places = several(rng, &(0..room).collect::<Vec<_>>(), nouns.len());
    places.sort_unstable();
    for (place, noun) in places.into_iter().zip(nouns) {
        noun.clone_into(&mut body[place]);
    }
    let numbered = rules.contains(&Constraint::Numbered);
    let lines =
        firsts
            .iter()
            .zip(body.chunks(width - 1))
            .zip(1..)
            .map(|((first, rest), number)| {
                let number = if numbered {
                    format!("{number}. ")
                } else {
                    String::new()
                };
                format!("{number}{first} {}", rest.join(" "))
            });
    Some((rules, lines.collect::<Vec<_>>().join("\n")))
}

/// Rules on how the lines start, and their first words.
fn line_starts(
    rng: &mut impl Rng,
    level: u8,
    vocabulary: &Vocabulary,
) -> Option<(Vec<Constraint>, Vec<String>)> {
    let others = vocabulary.others(rng);
    if level == 5 || level == 4 && below(rng, 2) == 0 {
        let words = if level == 5 {
            &LONG_WORDS
        } else {
            &SHORT_WORDS
        };
        let word = one(rng, words);
        let mut firsts: Vec<&str> = Vec::new();
        for initial in word.chars() {
            let fits = |other: &&&str| other.starts_with(initial) && !firsts.contains(other);
            firsts.push(others.iter().find(fits)?);
        }
        let firsts = firsts.into_iter().map(str::to_owned).collect();
        return Some((vec![Constraint::Acrostic(word.to_owned())], firsts));
    }
    let count = between(rng, i64::from(level), i64::from(level) + 2) as usize;
    let mut firsts: Vec<String> = others
        .iter()
        .take(count)
        .map(|&other| other.to_owned())
        .collect();
    let mut rules = vec![Constraint::Lines(count)];
    let kind = below(rng, 3);
    if level == 4 || kind == 0 {
        rules.push(Constraint::Numbered);
    }
    if level == 4 || kind == 1 {
        firsts.sort_unstable();
        rules.push(Constraint::Sorted);
    }
    if level == 3 && kind == 2 {
        let first = firsts.first()?.clone();
        firsts.fill(first.clone());
        rules.push(Constraint::EveryLineStarts(first));
    }
    Some((rules, firsts))
}

/// Words for the first letters of lines: different texts stay possible whatever letter is missing.
const SHORT_WORDS: [&str; 24] = [
    "bird", "boat", "calm", "cold", "dark", "dawn", "farm", "fire", "gold", "hill", "lake", "land",
    "leaf", "moon", "rain", "road", "sand", "ship", "snow", "song", "star", "tide", "wind", "wolf",
];
const LONG_WORDS: [&str; 24] = [
    "beacon", "bridge", "candle", "castle", "copper", "desert", "forest", "friend", "garden",
    "harbor", "island", "marble", "market", "meadow", "planet", "shadow", "silver", "spring",
    "stream", "summer", "temple", "timber", "winter", "wonder",
];

/// Ends of texts, three words each.
const PHRASES: [&str; 30] = [
    "before the storm",
    "under the bridge",
    "by the river",
    "after long nights",
    "in deep snow",
    "on the roof",
    "near our house",
    "with open eyes",
    "at first light",
    "behind the wall",
    "for many years",
    "until next spring",
    "without any doubt",
    "across the field",
    "along the coast",
    "beyond those hills",
    "like old friends",
    "under grey skies",
    "in his pocket",
    "with great care",
    "over the sea",
    "from far away",
    "against all odds",
    "just in case",
    "as they wished",
    "every single day",
    "on my desk",
    "to be sure",
    "in bright red",
    "by pure luck",
];

/// Words to fill a text with.
const OTHERS: [&str; 275] = [
    "about", "above", "across", "again", "all", "almost", "always", "among", "any", "apart",
    "asks", "autumn", "back", "bad", "bakes", "because", "before", "behind", "big", "bold", "both",
    "brave", "bring", "brings", "but", "buy", "call", "calm", "can", "carry", "catch", "children",
    "clean", "clear", "close", "cold", "comes", "cook", "cool", "dark", "deep", "did", "dinner",
    "does", "down", "draw", "dream", "drive", "dry", "dust", "each", "early", "eat", "eight",
    "empty", "end", "enjoy", "enough", "even", "ever", "every", "fair", "fall", "far", "fast",
    "few", "fill", "find", "fine", "five", "follow", "food", "for", "found", "free", "fresh",
    "from", "full", "gave", "gentle", "get", "gives", "glad", "gone", "good", "great", "grow",
    "had", "half", "happy", "hard", "has", "hear", "help", "her", "here", "hid", "high", "his",
    "hold", "home", "hope", "how", "huge", "hungry", "idea", "idle", "if", "in", "inside", "into",
    "invite", "iron", "is", "it", "its", "joins", "jump", "just", "keep", "kept", "kind", "knew",
    "know", "late", "laugh", "lay", "learn", "leave", "left", "less", "let", "light", "like",
    "little", "long", "look", "lost", "loud", "low", "made", "make", "many", "maybe", "men",
    "more", "most", "move", "much", "must", "my", "near", "neat", "never", "new", "next", "night",
    "nine", "no", "noise", "now", "often", "old", "on", "once", "one", "open", "our", "out",
    "over", "own", "paint", "past", "pay", "people", "plain", "play", "put", "quick", "quiet",
    "read", "ready", "rest", "rich", "ripe", "rise", "river", "round", "run", "safe", "same",
    "say", "see", "seven", "silent", "sing", "six", "slow", "small", "soft", "some", "soon",
    "stay", "still", "sunny", "tall", "tell", "than", "that", "the", "their", "them", "then",
    "they", "thin", "this", "those", "three", "time", "told", "took", "toward", "town", "tree",
    "true", "turn", "twice", "two", "under", "until", "up", "upon", "use", "usual", "very",
    "visit", "voice", "wait", "walk", "want", "warm", "was", "water", "way", "we", "well", "went",
    "were", "west", "wet", "what", "wheel", "when", "where", "while", "who", "wide", "wild",
    "will", "wind", "wise", "with", "wood", "word", "work", "write", "yard", "year", "yellow",
    "yes", "yet", "you", "young", "zero", "zest",
];

#[cfg(test)]
mod tests;
