//! The family `arithmetic`: word problems of two to eight steps.
//!
//! A story keeps one running amount and tells what happens to it; a level has more steps, larger
//! numbers and, from the third on, sentences with numbers that do not matter. Every amount on the
//! way is a whole number of pieces, kilometres or cents, and never negative.

use rand_core::Rng;

use super::super::draw::below;
use super::words::{
    FIRST_NAMES, GOODS, PLACES, WEEKDAYS, answer_tokens, between, money, number, one, place,
    several,
};
use super::{Check, Drawn};

pub(super) fn draw(rng: &mut impl Rng, level: u8) -> Drawn {
    let mut story = Story::begin(level);
    let question = match below(rng, 5) {
        0 => stock(rng, &mut story),
        1 => order(rng, &mut story),
        2 => journey(rng, &mut story),
        3 => wages(rng, &mut story),
        _ => factory(rng, &mut story),
    };
    story.tell_aside(rng);
    let (hundredths, answer) = if story.is_money {
        (
            story.amount,
            format!("{}.{:02}", story.amount / 100, story.amount % 100),
        )
    } else {
        (story.amount * 100, story.amount.to_string())
    };
    let unit = if story.is_money {
        "the amount in dollars"
    } else {
        "the number"
    };
    Drawn {
        prompt: format!(
            "{} {question}\nEnd with one line that starts with \"Answer:\" followed by {unit} \
             alone.",
            story.sentences.join(" ")
        ),
        answer: format!("Answer: {answer}"),
        max_answer_tokens: answer_tokens(level),
        check: Check::Number { hundredths },
    }
}

/// What has been told so far.
struct Story {
    level: i64,
    sentences: Vec<String>,
    /// Sentences with numbers that do not matter, not yet told.
    asides: Vec<String>,
    /// The running amount: pieces, kilometres or cents.
    amount: i64,
    is_money: bool,
    /// Operations still to be told.
    steps: i64,
    /// The last operation was a single step.
    is_plain: bool,
}

/// What happens to the amount.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Add(i64),
    AddProduct(i64, i64),
    Take(i64),
    TakeProduct(i64, i64),
    Times(i64),
    /// Share it out: one part of so many is left.
    Divide(i64),
    /// One part of so many goes away.
    TakePart(i64),
    /// So many per cent go away.
    TakePercent(i64),
}

impl Operation {
    /// The amount after it, if that is a whole number above zero.
    fn on(self, amount: i64) -> Option<i64> {
        let exact = |whole: i64, part: i64| (whole % part == 0).then(|| whole / part);
        let after = match self {
            Self::Add(more) => amount + more,
            Self::AddProduct(count, each) => amount + count * each,
            Self::Take(less) => amount - less,
            Self::TakeProduct(count, each) => amount - count * each,
            Self::Times(factor) => amount * factor,
            Self::Divide(parts) => exact(amount, parts)?,
            Self::TakePart(parts) => amount - exact(amount, parts)?,
            Self::TakePercent(percent) => amount - exact(amount * percent, 100)?,
        };
        (after > 0).then_some(after)
    }

    /// Steps that a reader makes.
    const fn steps(self) -> i64 {
        match self {
            Self::Add(_) | Self::Take(_) | Self::Times(_) | Self::Divide(_) => 1,
            Self::AddProduct(..)
            | Self::TakeProduct(..)
            | Self::TakePart(_)
            | Self::TakePercent(_) => 2,
        }
    }
}

impl Story {
    fn begin(level: u8) -> Self {
        Self {
            level: i64::from(level),
            sentences: Vec::new(),
            asides: Vec::new(),
            amount: 0,
            is_money: false,
            steps: [2, 3, 4, 6, 8][level as usize - 1],
            is_plain: false,
        }
    }

    /// Makes the operation and tells it, unless it does not fit the steps left or the amount.
    fn tell(&mut self, operation: Operation, sentence: String) -> bool {
        let is_plain = operation.steps() == 1;
        // From the third level on, no two plain sums in a row while there is room for more.
        let is_dull = self.level >= 3 && is_plain && self.is_plain && self.steps > 2;
        if operation.steps() > self.steps || is_dull {
            return false;
        }
        let Some(after) = operation.on(self.amount) else {
            return false;
        };
        self.amount = after;
        self.steps -= operation.steps();
        self.is_plain = is_plain;
        self.sentences.push(sentence);
        true
    }

    /// A number that grows with the level: from `least` to `most` at the first, and up to three
    /// times that at the last.
    fn size(&self, rng: &mut impl Rng, least: i64, most: i64) -> i64 {
        between(rng, least, most * (self.level + 1) / 2)
    }

    /// Puts the asides in among the sentences, anywhere after the first: none below level three.
    fn tell_aside(&mut self, rng: &mut impl Rng) {
        let count = [0, 0, 1, 2, 3][self.level as usize - 1];
        let asides: Vec<usize> = (0..self.asides.len()).collect();
        for aside in several(rng, &asides, count) {
            let place = place(rng, 1, self.sentences.len());
            self.sentences.insert(place, self.asides[aside].clone());
        }
    }
}

/// Things in a shop.
fn stock(rng: &mut impl Rng, story: &mut Story) -> String {
    let people = several(rng, &FIRST_NAMES, 2);
    let (_, things) = one(rng, &GOODS);
    let place = one(rng, &PLACES);
    let day = below(rng, 6) as usize;
    story.amount = story.size(rng, 60, 240);
    story.sentences.push(match below(rng, 3) {
        0 => format!(
            "{} runs a shop in {place} and has {} {things} in stock.",
            people[0], story.amount
        ),
        1 => format!(
            "On {} morning, a shop in {place} has {} {things} in stock.",
            WEEKDAYS[day], story.amount
        ),
        _ => format!(
            "There are {} {things} in a warehouse in {place}.",
            story.amount
        ),
    });
    story.asides = vec![
        format!("The building is {} years old.", between(rng, 12, 90)),
        format!(
            "{} has worked in the building for {} years.",
            people[1],
            between(rng, 2, 9)
        ),
        format!("The doors open at {} o'clock.", between(rng, 7, 10)),
        format!("The next town is {} kilometres away.", between(rng, 11, 48)),
    ];
    while story.steps > 0 {
        let (count, each) = (story.size(rng, 3, 9), story.size(rng, 4, 12));
        let few = story.size(rng, 5, 40);
        let parts = between(rng, 2, 5);
        match below(rng, 8) {
            0 => story.tell(
                Operation::AddProduct(count, each),
                format!("A delivery brings {count} boxes with {each} {things} in each."),
            ),
            1 => story.tell(
                Operation::Add(few),
                format!("Another {few} {things} are delivered."),
            ),
            2 => story.tell(
                Operation::TakeProduct(count, each),
                format!("Then {count} customers buy {each} {things} each."),
            ),
            3 => story.tell(
                Operation::Take(few),
                format!("After that, {few} {things} are sold."),
            ),
            4 => story.tell(
                Operation::Take(few),
                format!(
                    "It turns out that {few} of the {things} are damaged, and they are thrown away."
                ),
            ),
            5 => story.tell(
                Operation::TakePart(parts),
                format!(
                    "Next, {} of the {things} then in stock are sold.",
                    part(parts)
                ),
            ),
            6 if story.amount < 600 => story.tell(
                Operation::Times(2),
                format!("A large delivery arrives and doubles the number of {things} in stock."),
            ),
            _ => story.tell(
                Operation::Add(few),
                format!("Customers bring back {few} {things}, which go back into stock."),
            ),
        };
    }
    format!("How many {things} are in stock now?")
}

/// `a third` and the like.
const fn part(parts: i64) -> &'static str {
    match parts {
        2 => "half",
        3 => "a third",
        4 => "a quarter",
        _ => "a fifth",
    }
}

/// A price in cents: whole or half dollars at first, any cents later.
fn price(rng: &mut impl Rng, level: i64, least_dollars: i64, most_dollars: i64) -> i64 {
    let step = [50, 25, 10, 5, 5][level as usize - 1];
    between(rng, least_dollars * 100 / step, most_dollars * 100 / step) * step
}

/// An order of goods with prices.
fn order(rng: &mut impl Rng, story: &mut Story) -> String {
    story.is_money = true;
    let people = several(rng, &FIRST_NAMES, 2);
    let (name, place) = (people[0], one(rng, &PLACES));
    let mut goods = several(rng, &GOODS, 9);
    story.sentences.push(match below(rng, 3) {
        0 => format!("{name} puts together an order for a school in {place}."),
        1 => format!("{name} is buying things for a hotel in {place}."),
        _ => format!("{name} orders from a catalogue for a club in {place}."),
    });
    story.asides = vec![
        format!("The catalogue has {} pages.", between(rng, 40, 300)),
        format!(
            "{} ordered {} things there last year.",
            people[1],
            between(rng, 3, 30)
        ),
        format!("The parcel will weigh {} kilograms.", between(rng, 3, 40)),
        format!("Delivery takes {} days.", between(rng, 2, 9)),
    ];
    let mut lines = 0;
    while story.steps > 0 {
        let (one_thing, things) = goods[goods.len() - 1];
        let count = story.size(rng, 3, 12);
        let each = price(rng, story.level, 2, 30);
        let fee = price(rng, story.level, 3, 20);
        let told = match below(rng, 6) {
            // The first thing ordered: a product alone, counted as one step more than it is.
            _ if lines == 0 => {
                story.steps += 1;
                story.tell(
                    Operation::AddProduct(count, each),
                    format!(
                        "The order begins with {count} {things} at {} each.",
                        money(each)
                    ),
                )
            }
            0 | 1 if goods.len() > 1 => story.tell(
                Operation::AddProduct(count, each),
                format!("{name} adds {count} {things} at {} each.", money(each)),
            ),
            2 if goods.len() > 1 => story.tell(
                Operation::Add(each),
                format!("One {one_thing} for {} is added.", money(each)),
            ),
            3 => story.tell(
                Operation::Take(fee),
                format!("A voucher takes {} off the total so far.", money(fee)),
            ),
            4 => {
                let percent = one(rng, &[5, 10, 20, 25, 50]);
                story.tell(
                    Operation::TakePercent(percent),
                    format!("A discount of {percent} percent is taken off the total so far."),
                )
            }
            _ => story.tell(
                Operation::Add(fee),
                format!(
                    "A fee of {} for {} is added.",
                    money(fee),
                    one(
                        rng,
                        &["wrapping", "insurance", "handling", "express delivery"]
                    )
                ),
            ),
        };
        if told {
            lines += 1;
            if goods.len() > 1 {
                goods.pop();
            }
        }
    }
    "What is the total of the order in the end?".to_owned()
}

/// Kilometres travelled.
fn journey(rng: &mut impl Rng, story: &mut Story) -> String {
    let people = several(rng, &FIRST_NAMES, 2);
    let name = people[0];
    let places = several(rng, &PLACES, 2);
    let trip = between(rng, 30, 260) * (story.level + 1) / 2;
    story.amount = trip;
    story.sentences.push(format!(
        "{name} sets out from {} and covers {trip} kilometres on the first day.",
        places[0]
    ));
    story.asides = vec![
        format!("The backpack weighs {} kilograms.", between(rng, 6, 19)),
        format!(
            "{} made a journey of {} kilometres last year.",
            people[1],
            between(rng, 200, 900)
        ),
        format!(
            "A night in a hostel costs {} dollars.",
            between(rng, 18, 70)
        ),
        format!("{name} is {} years old.", between(rng, 19, 71)),
    ];
    while story.steps > 0 {
        let hours = story.size(rng, 2, 5);
        let way = story.size(rng, 10, 60);
        match below(rng, 6) {
            0 => {
                let speed = between(rng, 8, 24) * 5;
                story.tell(
                    Operation::AddProduct(hours, speed),
                    format!(
                        "Then comes a train ride of {hours} hours at {speed} kilometres per hour."
                    ),
                )
            }
            1 => {
                let speed = between(rng, 12, 22);
                story.tell(
                    Operation::AddProduct(hours, speed),
                    format!("{name} cycles for {hours} hours at {speed} kilometres per hour."),
                )
            }
            2 => story.tell(
                Operation::Add(way),
                format!("Next, a bus takes {name} {way} kilometres further."),
            ),
            3 => {
                let days = story.size(rng, 2, 5);
                let daily = between(rng, 11, 29);
                story.tell(
                    Operation::AddProduct(days, daily),
                    format!("For {days} days, {name} walks {daily} kilometres a day."),
                )
            }
            4 if story.steps == 1 && story.amount < 2_000 => story.tell(
                Operation::Times(2),
                format!("Then {name} goes back to {} by the same way.", places[0]),
            ),
            _ => story.tell(
                Operation::Add(way),
                format!("{name} drives another {way} kilometres in a rented car."),
            ),
        };
    }
    format!("How many kilometres has {name} travelled in all?")
}

/// Money earned and spent.
fn wages(rng: &mut impl Rng, story: &mut Story) -> String {
    story.is_money = true;
    let people = several(rng, &FIRST_NAMES, 2);
    let (name, place) = (people[0], one(rng, &PLACES));
    story.amount = price(rng, story.level, 80, 400);
    story.sentences.push(format!(
        "{name} lives in {place} and has {} in a savings box.",
        money(story.amount)
    ));
    story.asides = vec![
        format!("The bus to work takes {} minutes.", between(rng, 8, 55)),
        format!(
            "{name} shares a flat with {} friends.",
            number(between(rng, 2, 5) as usize)
        ),
        format!(
            "{} earns {} an hour elsewhere.",
            people[1],
            money(between(rng, 12, 40) * 100)
        ),
        format!("The flat is on floor {}.", between(rng, 2, 14)),
    ];
    while story.steps > 0 {
        let hours = story.size(rng, 3, 12);
        let rate = price(rng, story.level, 11, 30);
        let sum = price(rng, story.level, 6, 70);
        let (thing, things) = one(rng, &GOODS);
        match below(rng, 7) {
            0 | 1 => story.tell(
                Operation::AddProduct(hours, rate),
                format!(
                    "{name} works {hours} hours for {} an hour and puts all the pay into the box.",
                    money(rate)
                ),
            ),
            2 => story.tell(
                Operation::Take(sum),
                format!(
                    "{name} takes out {} to pay for a {}.",
                    money(sum),
                    one(rng, &["repair", "train ticket", "dinner", "concert"])
                ),
            ),
            3 => {
                let count = story.size(rng, 2, 5);
                let each = price(rng, story.level, 2, 15);
                story.tell(
                    Operation::TakeProduct(count, each),
                    format!(
                        "{name} buys {count} {things} at {} each with money from the box.",
                        money(each)
                    ),
                )
            }
            4 => story.tell(
                Operation::Add(sum),
                format!(
                    "{name} sells an old {thing} for {}, which goes into the box.",
                    money(sum)
                ),
            ),
            5 => {
                let parts = between(rng, 2, 5);
                story.tell(
                    Operation::TakePart(parts),
                    format!(
                        "{name} then gives {} of the money in the box to {}.",
                        part(parts),
                        people[1]
                    ),
                )
            }
            _ => story.tell(
                Operation::Add(sum),
                format!("An aunt sends {}, which goes into the box too.", money(sum)),
            ),
        };
    }
    "How much money is in the box in the end?".to_owned()
}

/// Things made, sorted out and shared out.
fn factory(rng: &mut impl Rng, story: &mut Story) -> String {
    let people = several(rng, &FIRST_NAMES, 2);
    let (_, things) = one(rng, &GOODS);
    let place = one(rng, &PLACES);
    let (machines, hourly) = (story.size(rng, 3, 9), story.size(rng, 6, 24));
    story
        .sentences
        .push(format!("A factory in {place} makes {things}."));
    story.asides = vec![
        format!("The hall is {} metres long.", between(rng, 40, 140)),
        format!(
            "{} and {} other people work the night shift.",
            people[1],
            between(rng, 3, 20)
        ),
        format!("Each machine uses {} kilowatts.", between(rng, 4, 60)),
        format!("A lorry can carry {} pallets.", between(rng, 12, 34)),
    ];
    story.steps += 1;
    story.tell(
        Operation::AddProduct(machines, hourly),
        format!("In the first hour, {machines} machines make {hourly} {things} each, and all of them go into the store."),
    );
    while story.steps > 0 {
        let (count, each) = (story.size(rng, 2, 8), story.size(rng, 5, 20));
        let few = story.size(rng, 5, 30);
        let parts = between(rng, 2, 5);
        match below(rng, 6) {
            0 => story.tell(
                Operation::AddProduct(count, each),
                format!("Then {count} workers make {each} {things} each by hand and put them into the store."),
            ),
            1 => story.tell(
                Operation::Take(few),
                format!("{} checks the store, finds {few} faulty {things} and throws them away.", people[0]),
            ),
            2 => story.tell(
                Operation::TakeProduct(count, each),
                format!("From the store, {count} boxes of {each} {things} each are sent to customers."),
            ),
            3 => story.tell(
                Operation::TakePart(parts),
                format!("After that, {} of the {things} in the store are sent to a shop.", part(parts)),
            ),
            4 if story.steps == 1 => {
                let shops = between(rng, 2, 9);
                let told = story.tell(
                    Operation::Divide(shops),
                    format!("Finally, all the {things} in the store are shared out equally among {shops} shops."),
                );
                if told {
                    return format!("How many {things} does each shop get in this sharing?");
                }
                false
            }
            _ => story.tell(
                Operation::Add(few),
                format!("Another factory brings {few} {things} to the store."),
            ),
        };
    }
    format!("How many {things} are in the store now?")
}

#[cfg(test)]
mod tests;
