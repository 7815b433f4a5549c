//! The family `extraction`: a letter read into JSON of a stated schema.
//!
//! Two kinds of letter, an order and a booking. Level 1 asks for four facts as they stand; then dates
//! have to be normalised (2), lists and `null` where the letter says nothing are added (3), nested
//! objects, prices and truth values (4), and at level 5 the letter takes back or changes what it
//! said, and tells of an earlier order or stay.

use rand_core::Rng;
use serde_json::{Map, Value, json};

use super::super::draw::below;
use super::words::{
    FIRST_NAMES, GOODS, MONTHS, PLACES, between, capitalised, listed, number as number_word, one,
    several,
};
use super::{Check, Drawn};

/// Tokens that an answer may have besides those of its JSON, of which none is shorter than a byte.
const TOKENS_BESIDES: u32 = 512;

/// A letter under construction: each fact joins the text, the schema and the answer.
struct Letter {
    sentences: Vec<String>,
    schema: Vec<String>,
    answer: Map<String, Value>,
}

impl Letter {
    fn new() -> Self {
        Self {
            sentences: Vec::new(),
            schema: Vec::new(),
            answer: Map::new(),
        }
    }

    fn say(&mut self, sentence: impl Into<String>) {
        self.sentences.push(sentence.into());
    }

    fn ask(&mut self, key: &str, schema: &str, value: impl Into<Value>) {
        self.schema.push(format!("  \"{key}\": {schema}"));
        self.answer.insert(key.to_owned(), value.into());
    }
}

pub(super) fn draw(rng: &mut impl Rng, level: u8) -> Drawn {
    let writer = format!("{} {}", one(rng, &FIRST_NAMES), one(rng, &SURNAMES));
    let letter = if below(rng, 2) == 0 {
        order(rng, level, &writer)
    } else {
        booking(rng, level, &writer)
    };
    let greeting = one(
        rng,
        &[
            "Hello,",
            "Dear team,",
            "Good morning,",
            "Dear Sir or Madam,",
            "Hi there,",
        ],
    );
    let closing = one(
        rng,
        &[
            "Best regards,",
            "Thank you,",
            "Kind regards,",
            "Yours,",
            "Many thanks,",
        ],
    );
    let body = letter.sentences.join(" ");
    let schema = letter.schema.join(",\n");
    let answer = Value::Object(letter.answer);
    let text = format!("```json\n{answer}\n```");
    Drawn {
        prompt: format!(
            "Read this letter and take the facts out of it.\n\n---\n{greeting}\n\n{body}\n\n{closing}\n{writer}\n---\n\n\
             Answer with one JSON object of this form, where each value is described instead of given:\n\n\
             {{\n{schema}\n}}\n\nAll keys must be there and no others. Copy names, codes and phone numbers as they \
             stand in the letter. Give the JSON object in a fenced block (between lines of three backticks) at the \
             end of your reply."
        ),
        max_answer_tokens: text.len() as u32 + TOKENS_BESIDES,
        answer: text,
        check: Check::Json(answer),
    }
}

/// A day of some year, and ways to write it.
#[derive(Clone, Copy)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    fn draw(rng: &mut impl Rng) -> Self {
        Self {
            year: between(rng, 2024, 2029),
            month: between(rng, 1, 12),
            day: between(rng, 1, 20),
        }
    }

    fn later(self, days: i64) -> Self {
        Self {
            day: self.day + days,
            ..self
        }
    }

    fn iso(self) -> String {
        format!("{}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// As people write it, the month by its name.
    fn written(self, rng: &mut impl Rng) -> String {
        let Self { year, month, day } = self;
        let month = MONTHS[month as usize - 1];
        let suffix = match day {
            1 | 21 => "st",
            2 | 22 => "nd",
            3 | 23 => "rd",
            _ => "th",
        };
        match below(rng, 4) {
            0 => format!("{day} {month} {year}"),
            1 => format!("{month} {day}, {year}"),
            2 => format!("the {day}{suffix} of {month} {year}"),
            _ => format!("{month} {day}{suffix}, {year}"),
        }
    }
}

fn order(rng: &mut impl Rng, level: u8, writer: &str) -> Letter {
    let mut letter = Letter::new();
    let (city, former_city) = two_places(rng);
    let number = code(rng);
    letter.say(match below(rng, 3) {
        0 => format!("this is {writer} from {city}, and I would like to place an order."),
        1 => format!(
            "my name is {writer}, I live in {city}, and I want to order something from you."
        ),
        _ => format!("please take down an order: I am {writer}, and I live in {city}."),
    });
    if let Some(first) = letter.sentences.first_mut() {
        *first = capitalised(first);
    }
    letter.ask("customer", "string, first name and surname", writer);
    letter.ask("city", "string, where the customer lives", city);
    if level == 5 {
        let (pieces, goods) = (between(rng, 2, 90), one(rng, &GOODS).1);
        letter.say(format!(
            "Last year, when I still lived in {former_city}, I bought {pieces} {goods} from you under the order number \
             {}, which is settled.",
            code(rng)
        ));
    }
    if level >= 2 {
        letter.say(match below(rng, 2) {
            0 => format!("The number of this order is {number}."),
            _ => format!("Please file it under the order number {number}."),
        });
        letter.ask("order_number", "string", number);
    }
    items(rng, level, &mut letter);
    if level >= 2 {
        let day = Date::draw(rng);
        let told = day.written(rng);
        let mut due = day;
        letter.say(match below(rng, 2) {
            0 => format!("The delivery should come on {told}."),
            _ => format!("Please deliver everything on {told}."),
        });
        if level == 5 {
            let days = between(rng, 2, 7);
            due = day.later(days);
            letter.say(format!(
                "No, on second thoughts, deliver it {} days after that date instead.",
                number_word(days as usize)
            ));
        }
        letter.ask(
            "delivery_date",
            "string, the final delivery date as YYYY-MM-DD",
            due.iso(),
        );
    }
    if level >= 3 {
        phone(rng, &mut letter);
    }
    if level >= 4 {
        let house = between(rng, 2, 180);
        let (street, to) = (one(rng, &STREETS), one(rng, &PLACES));
        letter.say(format!("Send the parcel to {house} {street} in {to}."));
        letter.ask(
            "ship_to",
            "{\"street\": string, house number and street, \"city\": string}",
            json!({"street": format!("{house} {street}"), "city": to}),
        );
        let wrapped = below(rng, 2) == 0;
        letter.say(if wrapped {
            "It is a present, so I would like it gift-wrapped."
        } else {
            "There is no need for gift wrapping."
        });
        letter.ask("gift_wrap", "boolean", wrapped);
    }
    letter
}

/// What is ordered: one kind of goods at levels 1 and 2, then a list.
fn items(rng: &mut impl Rng, level: u8, letter: &mut Letter) {
    let count = match level {
        1 | 2 => 1,
        3 => between(rng, 2, 3),
        4 => between(rng, 3, 4),
        _ => between(rng, 4, 5),
    };
    let goods = several(rng, &GOODS, count as usize);
    let mut pieces: Vec<i64> = goods.iter().map(|_| between(rng, 2, 60)).collect();
    if let ([(one, many)], [pieces]) = (goods.as_slice(), pieces.as_slice()) {
        letter.say(format!("I need {pieces} {many}."));
        letter.ask("item", "string, the article in the singular", *one);
        letter.ask("quantity", "integer", *pieces);
        return;
    }
    let prices: Vec<i64> = goods.iter().map(|_| 5 * between(rng, 31, 1_900)).collect();
    let told: Vec<String> = goods
        .iter()
        .zip(pieces.iter().zip(&prices))
        .map(|((_, many), (pieces, cents))| match level {
            3 => format!("{pieces} {many}"),
            _ => format!(
                "{pieces} {many} at ${}.{:02} each",
                cents / 100,
                cents % 100
            ),
        })
        .collect();
    letter.say(format!("I need {}.", listed(&told)));
    let mut dropped = None;
    if level == 5 {
        let changed = below(rng, count as u32) as usize;
        let gone = (changed + 1 + below(rng, count as u32 - 1) as usize) % count as usize;
        let more = between(rng, 61, 99);
        letter.say(format!(
            "Sorry, I have just counted again: make that {more} {} in all, and leave out the {} altogether.",
            goods[changed].1, goods[gone].1
        ));
        pieces[changed] = more;
        dropped = Some(gone);
    }
    let wanted = goods.iter().zip(pieces.iter().zip(&prices)).enumerate();
    let list: Vec<Value> = wanted
        .filter(|(place, _)| Some(*place) != dropped)
        .map(|(_, ((one, _), (pieces, cents)))| match level {
            3 => json!({"name": one, "quantity": pieces}),
            _ => json!({"name": one, "quantity": pieces, "unit_price": dollars(*cents)}),
        })
        .collect();
    let schema = match level {
        3 => {
            "[{\"name\": string, the article in the singular, \"quantity\": integer}], in the order of the letter"
        }
        _ => {
            "[{\"name\": string, the article in the singular, \"quantity\": integer, \"unit_price\": number, in \
             dollars}], only what is wanted in the end, in the order of the letter"
        }
    };
    letter.ask("items", schema, list);
}

fn booking(rng: &mut impl Rng, level: u8, writer: &str) -> Letter {
    let mut letter = Letter::new();
    let (city, former_city) = two_places(rng);
    let nights = between(rng, 2, 7);
    let number = code(rng);
    letter.say(match below(rng, 3) {
        0 => format!("I am writing to book a stay at your hotel in {city}. The guest is {writer}."),
        1 => format!("Please reserve a stay in {city} in the name of {writer}."),
        _ => format!("My name is {writer}, and I plan to stay at your house in {city}."),
    });
    letter.ask("guest", "string, first name and surname", writer);
    letter.ask("city", "string, where the guest will stay", city);
    if level == 5 {
        let year = between(rng, 2015, 2023);
        let day = Date {
            year,
            ..Date::draw(rng)
        }
        .written(rng);
        letter.say(format!(
            "I remember your hotel in {former_city} well, where I arrived on {day} under the booking code {}.",
            code(rng)
        ));
    }
    if level >= 2 {
        letter.say(match below(rng, 2) {
            0 => format!("The booking code is {number}."),
            _ => format!("Your colleague gave me the booking code {number} for this stay."),
        });
        letter.ask("booking_code", "string, of this stay", number);
        let day = Date::draw(rng);
        let mut arrival = day;
        letter.say(format!("I arrive on {}.", day.written(rng)));
        if level == 5 {
            let days = between(rng, 1, 2);
            arrival = day.later(days);
            let days = if days == 1 { "one day" } else { "two days" };
            letter.say(format!(
                "Wait, my train was changed, so I arrive {days} later than that."
            ));
        }
        letter.ask(
            "arrival",
            "string, the final date of arrival as YYYY-MM-DD",
            arrival.iso(),
        );
    }
    letter.say(format!(
        "I will stay for {} nights.",
        number_word(nights as usize)
    ));
    letter.ask("nights", "integer", nights);
    if level == 1 {
        let guests = between(rng, 2, 40);
        letter.say(format!("We are {guests} people in all."));
        letter.ask("people", "integer", guests);
    }
    if level >= 3 {
        rooms(rng, level, &mut letter);
        phone(rng, &mut letter);
    }
    if level >= 4 {
        let breakfast = below(rng, 2) == 0;
        let plate = below(rng, 2) == 0;
        letter.say(if breakfast {
            "We would all like breakfast."
        } else {
            "We do not need breakfast."
        });
        let car = code(rng);
        letter.say(if plate {
            format!("I come by car and need a place to park it; its number plate is {car}.")
        } else {
            "I do not come by car.".to_owned()
        });
        letter.ask(
            "extras",
            "{\"breakfast\": boolean, \"number_plate\": string or null if there is no car}",
            json!({"breakfast": breakfast, "number_plate": plate.then_some(car)}),
        );
    }
    letter
}

/// The rooms of a booking, each for somebody.
fn rooms(rng: &mut impl Rng, level: u8, letter: &mut Letter) {
    let count = i64::from(level) - 1;
    let people = several(rng, &FIRST_NAMES, count as usize + 1);
    let mut rooms: Vec<(&str, &str, i64)> = people
        .iter()
        .take(count as usize)
        .map(|&person| {
            (
                person,
                one(rng, &["single", "double", "family"]),
                5 * between(rng, 9, 60),
            )
        })
        .collect();
    let told: Vec<String> = rooms
        .iter()
        .map(|(person, kind, price)| match level {
            3 => format!("a {kind} room for {person}"),
            _ => format!("a {kind} room for {person} at ${price} a night"),
        })
        .collect();
    letter.say(format!("Please reserve {}.", listed(&told)));
    if level == 5 {
        let changed = below(rng, count as u32) as usize;
        let gone = (changed + 1 + below(rng, count as u32 - 1) as usize) % count as usize;
        let instead = people[count as usize];
        letter.say(format!(
            "I have just heard that {instead} comes instead of {} and takes over that room, and that {} cannot come at \
             all, so please do not book that one.",
            rooms[changed].0, rooms[gone].0
        ));
        rooms[changed].0 = instead;
        rooms.remove(gone);
    }
    let list: Vec<Value> = rooms
        .iter()
        .map(|(person, kind, price)| match level {
            3 => json!({"for": person, "type": kind}),
            _ => json!({"for": person, "type": kind, "price_per_night": price}),
        })
        .collect();
    let schema = match level {
        3 => {
            "[{\"for\": string, first name, \"type\": \"single\", \"double\" or \"family\"}], in the order of the letter"
        }
        _ => {
            "[{\"for\": string, first name, \"type\": \"single\", \"double\" or \"family\", \"price_per_night\": number, \
             in dollars}], only rooms wanted in the end, in the order of the letter"
        }
    };
    letter.ask("rooms", schema, list);
}

/// A telephone number, or that there is none.
fn phone(rng: &mut impl Rng, letter: &mut Letter) {
    let number = format!("555-{:04}", below(rng, 10_000));
    let known = below(rng, 3) > 0;
    if known {
        letter.say(match below(rng, 2) {
            0 => format!("You can reach me at {number}."),
            _ => format!("If anything is unclear, call {number}."),
        });
    } else {
        letter.say("Please answer in writing only.");
    }
    letter.ask(
        "phone",
        "string, or null if the letter gives none",
        known.then_some(number),
    );
}

fn two_places(rng: &mut impl Rng) -> (&'static str, &'static str) {
    let places = several(rng, &PLACES, 2);
    (places[0], places[1])
}

/// Such as `KX-4071`.
fn code(rng: &mut impl Rng) -> String {
    let letters = [b'A', b'A'].map(|a| char::from(a + below(rng, 26) as u8));
    format!("{}{}-{:04}", letters[0], letters[1], below(rng, 10_000))
}

/// An amount as a JSON number: `12.5`, `12`.
fn dollars(cents: i64) -> Value {
    if cents % 100 == 0 {
        json!(cents / 100)
    } else {
        // Below 2^53 both numbers are exact, and their quotient is the nearest value everywhere.
        json!(cents as f64 / 100.0)
    }
}

const SURNAMES: [&str; 40] = [
    "Abbott",
    "Baker",
    "Carver",
    "Dalton",
    "Ellison",
    "Farrow",
    "Gardner",
    "Hartley",
    "Ingram",
    "Jansen",
    "Keller",
    "Lindqvist",
    "Marlow",
    "Novak",
    "Okafor",
    "Palmer",
    "Quigley",
    "Ramsey",
    "Sato",
    "Thornton",
    "Underhill",
    "Vargas",
    "Weber",
    "Yilmaz",
    "Zimmer",
    "Bianchi",
    "Castro",
    "Dubois",
    "Eriksen",
    "Fischer",
    "Gupta",
    "Haddad",
    "Ivanova",
    "Jovanovic",
    "Kowalski",
    "Larsen",
    "Moreau",
    "Nakamura",
    "Osei",
    "Petrov",
];

const STREETS: [&str; 24] = [
    "Mill Lane",
    "Harbour Street",
    "Oak Avenue",
    "Church Road",
    "Station Road",
    "Garden Street",
    "Bridge Street",
    "King Street",
    "Park Lane",
    "Market Square",
    "Hill Road",
    "River Walk",
    "Castle Street",
    "Meadow Lane",
    "Chapel Street",
    "Forest Road",
    "Lake View",
    "Orchard Way",
    "School Lane",
    "Tower Street",
    "Victoria Road",
    "West Street",
    "York Place",
    "Quarry Road",
];

#[cfg(test)]
mod tests;
