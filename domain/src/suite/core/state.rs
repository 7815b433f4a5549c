//! The family `state`: what a number of moves leaves behind.
//!
//! Things in boxes, things in people's hands, or people in a queue. A level has more moves, more
//! things and, from the third on, moves that depend on where something is. The answer is always the
//! place of several things at once or a whole order, so that it cannot be guessed.

use rand_core::Rng;

use super::super::draw::below;
use super::words::{
    COLOURS, FIRST_NAMES, OBJECTS, answer_tokens, capitalised, listed, number, one, place, several,
    with_article,
};
use super::{Check, Drawn};

pub(super) fn draw(rng: &mut impl Rng, level: u8) -> Drawn {
    let (told, question, answer) = match below(rng, 3) {
        0 => boxes(rng, level),
        1 => hands(rng, level),
        _ => queue(rng, level),
    };
    Drawn {
        prompt: format!("{}\n\n{question}", told.join(" ")),
        answer: format!("Answer: {}", answer.join(", ")),
        max_answer_tokens: answer_tokens(level),
        check: Check::List(answer),
    }
}

/// Sentences, the question, and the words of the answer.
type Story = (Vec<String>, String, Vec<String>);

/// Moves that a level tells.
const fn moves(level: u8) -> usize {
    [3, 6, 9, 14, 20][level as usize - 1]
}

/// A word that leads from one sentence to the next, or none.
fn lead(rng: &mut impl Rng, sentence: &str) -> String {
    match below(rng, 5) {
        0 => format!("Then {sentence}"),
        1 => format!("Next, {sentence}"),
        2 => format!("After that, {sentence}"),
        _ => capitalised(sentence),
    }
}

/// Whether the next move depends on the state: never below level three.
fn is_conditional(rng: &mut impl Rng, level: u8) -> bool {
    let share = [0, 0, 25, 35, 45][level as usize - 1];
    below(rng, 100) < share
}

/// Two different numbers below `n`.
fn pair(rng: &mut impl Rng, n: usize) -> (usize, usize) {
    let first = below(rng, n as u32) as usize;
    let second = (first + 1 + below(rng, n as u32 - 1) as usize) % n;
    (first, second)
}

/// Things moved between coloured boxes.
fn boxes(rng: &mut impl Rng, level: u8) -> Story {
    let colours = several(rng, &COLOURS, [5, 5, 5, 6, 7][level as usize - 1]);
    let things = several(rng, &OBJECTS, [3, 4, 5, 6, 7][level as usize - 1]);
    let mover = one(rng, &FIRST_NAMES);
    let mut at: Vec<usize> = things
        .iter()
        .map(|_| below(rng, colours.len() as u32) as usize)
        .collect();
    let boxes: Vec<String> = colours
        .iter()
        .map(|colour| format!("{} box", with_article(colour)))
        .collect();
    let mut told = vec![format!(
        "There are {} boxes on a table: {}.",
        number(colours.len()),
        listed(&boxes)
    )];
    for (thing, &place) in things.iter().zip(&at) {
        told.push(format!("The {thing} is in the {} box.", colours[place]));
    }
    for _ in 0..moves(level) {
        let sentence = box_move(rng, level, mover, &colours, &things, &mut at);
        told.push(lead(rng, &sentence));
    }
    let asked = several(
        rng,
        &(0..things.len()).collect::<Vec<_>>(),
        3 + usize::from(level > 3),
    );
    let names: Vec<String> = asked
        .iter()
        .map(|&thing| format!("the {}", things[thing]))
        .collect();
    let question = format!(
        "In which boxes are {} now?\n\
         End with one line that starts with \"Answer:\" followed by the colours of these boxes, in \
         that order, separated by commas (a colour may come more than once).",
        listed(&names)
    );
    let answer = asked
        .iter()
        .map(|&thing| colours[at[thing]].to_owned())
        .collect();
    (told, question, answer)
}

fn box_move(
    rng: &mut impl Rng,
    level: u8,
    mover: &str,
    colours: &[&str],
    things: &[&str],
    at: &mut [usize],
) -> String {
    if is_conditional(rng, level) {
        let (seen, moved) = pair(rng, things.len());
        // Half of the conditions hold.
        let place = match below(rng, 2) {
            0 => at[seen],
            _ => below(rng, colours.len() as u32) as usize,
        };
        let (then, otherwise) = pair(rng, colours.len());
        let text = format!(
            "if the {0} is in the {1} box, {mover} puts the {2} into the {3} box; otherwise, {mover} \
             puts the {2} into the {4} box.",
            things[seen], colours[place], things[moved], colours[then], colours[otherwise]
        );
        at[moved] = if at[seen] == place { then } else { otherwise };
        return text;
    }
    let thing = below(rng, things.len() as u32) as usize;
    let (from, to) = pair(rng, colours.len());
    match below(rng, if level == 1 { 3 } else { 6 }) {
        3 if at.contains(&from) => {
            for place in at.iter_mut().filter(|place| **place == from) {
                *place = to;
            }
            format!(
                "{mover} takes everything out of the {} box and puts it into the {} box.",
                colours[from], colours[to]
            )
        }
        4 => {
            for place in at.iter_mut() {
                *place = match *place {
                    was if was == from => to,
                    was if was == to => from,
                    was => was,
                };
            }
            format!(
                "{mover} swaps the contents of the {} box and the {} box.",
                colours[from], colours[to]
            )
        }
        5 => {
            let other = (thing + 1 + below(rng, things.len() as u32 - 1) as usize) % things.len();
            at[thing] = at[other];
            format!(
                "{mover} moves the {} to the box that the {} is in.",
                things[thing], things[other]
            )
        }
        _ => {
            let to = if at[thing] == to { from } else { to };
            at[thing] = to;
            format!(
                "{mover} moves the {} to the {} box.",
                things[thing], colours[to]
            )
        }
    }
}

/// Things that change hands.
fn hands(rng: &mut impl Rng, level: u8) -> Story {
    let count = [5, 5, 5, 6, 7][level as usize - 1];
    let people = several(rng, &FIRST_NAMES, count);
    let things = several(rng, &OBJECTS, count);
    let mut held: Vec<usize> = (0..count).collect();
    let mut told = vec![format!("{} each hold one thing.", listed(&people))];
    for (person, thing) in people.iter().zip(&things) {
        told.push(format!("{person} holds the {thing}."));
    }
    for _ in 0..moves(level) {
        let sentence = hand_move(rng, level, &people, &things, &mut held);
        told.push(lead(rng, &sentence));
    }
    let asked = several(rng, &(0..count).collect::<Vec<_>>(), count);
    let names: Vec<&str> = asked.iter().map(|&person| people[person]).collect();
    let question = format!(
        "What do {} hold now?\n\
         End with one line that starts with \"Answer:\" followed by the names of these things, in \
         that order, separated by commas.",
        listed(&names)
    );
    let answer = asked
        .iter()
        .map(|&person| things[held[person]].to_owned())
        .collect();
    (told, question, answer)
}

fn hand_move(
    rng: &mut impl Rng,
    level: u8,
    people: &[&str],
    things: &[&str],
    held: &mut [usize],
) -> String {
    let chosen = several(rng, &(0..people.len()).collect::<Vec<_>>(), 4);
    let [a, b, c, d] = [chosen[0], chosen[1], chosen[2], chosen[3]];
    if is_conditional(rng, level) {
        let thing = match below(rng, 2) {
            0 => held[a],
            _ => below(rng, things.len() as u32) as usize,
        };
        if held[a] == thing {
            held.swap(a, b);
        } else {
            held.swap(c, d);
        }
        return format!(
            "if {0} holds the {1}, {0} and {2} swap what they hold; otherwise, {3} and {4} swap \
             what they hold.",
            people[a], things[thing], people[b], people[c], people[d]
        );
    }
    match below(rng, if level == 1 { 4 } else { 6 }) {
        4 => {
            // a's thing goes to b, b's to c, c's to a.
            held.swap(a, b);
            held.swap(a, c);
            format!(
                "three of them pass on what they hold at the same time: {0} to {1}, {1} to {2} and \
                 {2} to {0}.",
                people[a], people[b], people[c]
            )
        }
        5 => {
            let thing = things[held[b]];
            held.swap(a, b);
            format!("{} swaps with whoever holds the {thing}.", people[a])
        }
        3 => {
            let text = format!(
                "{} and {} trade the {} for the {}.",
                people[a], people[b], things[held[a]], things[held[b]]
            );
            held.swap(a, b);
            text
        }
        _ => {
            held.swap(a, b);
            format!("{} and {} swap what they hold.", people[a], people[b])
        }
    }
}

/// People who come to, move in and leave a queue.
fn queue(rng: &mut impl Rng, level: u8) -> Story {
    let counter = one(
        rng,
        &[
            "a bakery",
            "a ticket office",
            "a post office",
            "a museum",
            "a bank",
        ],
    );
    let start = 5 + usize::from(level > 3);
    let mut names = several(rng, &FIRST_NAMES, start + moves(level));
    let mut newcomers = names.split_off(start);
    let mut line = names;
    let mut told = vec![format!(
        "{} stand in a queue at {counter}, in this order from front to back.",
        listed(&line)
    )];
    for _ in 0..moves(level) {
        let sentence = queue_move(rng, level, &mut line, &mut newcomers);
        told.push(lead(rng, &sentence));
    }
    let question = "Who stands in the queue now, from front to back?\n\
         End with one line that starts with \"Answer:\" followed by all the names in that order, \
         separated by commas."
        .to_owned();
    (
        told,
        question,
        line.iter().map(|&name| name.to_owned()).collect(),
    )
}

fn queue_move(
    rng: &mut impl Rng,
    level: u8,
    line: &mut Vec<&'static str>,
    newcomers: &mut Vec<&'static str>,
) -> String {
    const MOST: usize = 8;
    if is_conditional(rng, level) {
        let (a, b) = pair(rng, line.len());
        let (first, second) = (line[a], line[b]);
        let text = format!(
            "if {first} stands somewhere ahead of {second}, the two of them swap places; otherwise, \
             {first} goes to the very back of the queue."
        );
        if a < b {
            line.swap(a, b);
        } else {
            let name = line.remove(a);
            line.push(name);
        }
        return text;
    }
    match below(rng, 6) {
        0 if line.len() > 5 => {
            format!(
                "{} reaches the counter, is served and leaves.",
                line.remove(0)
            )
        }
        1 if line.len() > 5 => {
            line.pop();
            "the last person in the queue gives up and leaves.".to_owned()
        }
        2 => {
            let place = place(rng, 1, line.len() - 1);
            let name = line.remove(place);
            line.insert(0, name);
            format!("{name} is called to the very front of the queue.")
        }
        3 => {
            let (a, b) = pair(rng, line.len());
            let text = format!("{} and {} swap places.", line[a], line[b]);
            line.swap(a, b);
            text
        }
        4 if level > 1 => {
            let last = line.len() - 1;
            line.swap(0, last);
            "the first and the last person in the queue swap places.".to_owned()
        }
        _ if line.len() < MOST => {
            let name = newcomers.pop().expect("one newcomer for every move");
            if below(rng, 2) == 0 {
                line.push(name);
                format!("{name} joins the queue at the back.")
            } else {
                let place = below(rng, line.len() as u32) as usize;
                let text = format!(
                    "{name} arrives and steps into the queue directly ahead of {}.",
                    line[place]
                );
                line.insert(place, name);
                text
            }
        }
        _ => {
            let name = line.remove(0);
            format!("{name}, who is at the front, is served and leaves.")
        }
    }
}

#[cfg(test)]
mod tests;
