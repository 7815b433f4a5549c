//! Questions about Markdown tables.

use rand_core::Rng;

use super::super::super::draw::below;
use super::super::Check;
use super::super::words::{FIRST_NAMES, PLACES, between, one, several};
use super::{Asked, whole};

/// What a table is about.
struct Theme {
    intro: &'static str,
    /// Headers of the columns: who, where, what, how many, how much each.
    who: &'static str,
    place: &'static str,
    kind: &'static str,
    count: &'static str,
    each: &'static str,
    kinds: [&'static str; 6],
    /// The product of the last two columns, in words and by its rule.
    product: &'static str,
    rule: &'static str,
    /// Least and most of the last two columns.
    counts: (i64, i64),
    eaches: (i64, i64),
}

const THEMES: [Theme; 5] = [
    Theme {
        intro: "This table lists orders.",
        who: "Customer",
        place: "City",
        kind: "Product",
        count: "Units",
        each: "Unit price",
        kinds: ["lamp", "chair", "clock", "table", "mirror", "shelf"],
        product: "order value",
        rule: "Units times Unit price",
        counts: (2, 60),
        eaches: (11, 95),
    },
    Theme {
        intro: "This table lists the people who worked for a company last month.",
        who: "Worker",
        place: "City",
        kind: "Department",
        count: "Hours",
        each: "Hourly pay",
        kinds: ["sales", "design", "support", "finance", "research", "legal"],
        product: "pay",
        rule: "Hours times Hourly pay",
        counts: (20, 160),
        eaches: (14, 70),
    },
    Theme {
        intro: "This table lists drivers and what they drove this year.",
        who: "Driver",
        place: "Depot",
        kind: "Vehicle",
        count: "Trips",
        each: "Kilometres per trip",
        kinds: ["van", "truck", "bus", "bicycle", "tram", "taxi"],
        product: "distance",
        rule: "Trips times Kilometres per trip",
        counts: (12, 140),
        eaches: (3, 90),
    },
    Theme {
        intro: "This table lists what farms brought to market.",
        who: "Farmer",
        place: "Market",
        kind: "Crop",
        count: "Sacks",
        each: "Kilograms per sack",
        kinds: ["wheat", "barley", "oats", "rye", "maize", "rice"],
        product: "weight",
        rule: "Sacks times Kilograms per sack",
        counts: (5, 120),
        eaches: (12, 60),
    },
    Theme {
        intro: "This table lists teachers and the courses they gave.",
        who: "Teacher",
        place: "School",
        kind: "Subject",
        count: "Lessons",
        each: "Pupils per lesson",
        kinds: [
            "music", "history", "physics", "drawing", "Spanish", "biology",
        ],
        product: "attendance",
        rule: "Lessons times Pupils per lesson",
        counts: (4, 90),
        eaches: (6, 35),
    },
];

/// One row; place and kind are words.
#[derive(Debug, Clone, Copy)]
struct Row {
    who: &'static str,
    place: &'static str,
    kind: &'static str,
    count: i64,
    each: i64,
}

impl Row {
    const fn product(&self) -> i64 {
        self.count * self.each
    }
}

struct Table {
    theme: &'static Theme,
    places: Vec<&'static str>,
    kinds: Vec<&'static str>,
    rows: Vec<Row>,
}

pub(super) fn ask(rng: &mut impl Rng, level: u8) -> Asked {
    // A drawn table may have no row that a question is about, or a tie: then another is drawn.
    loop {
        let table = Table::draw(rng, level);
        let choice = below(rng, 2);
        let asked = match (level, choice) {
            (1, 0) => table.sum_at_place(rng),
            (1, _) => table.first_three(),
            (2, 0) => table.sum_of_kind_above(rng),
            (2, _) => table.first_three_elsewhere(rng),
            (3, 0) => table.products_at_place(rng),
            (3, _) => table.greatest_product(),
            (4, 0) => table.greatest_place(rng),
            (4, _) => table.products_of_two_places(rng),
            (_, 0) => table.joined_greatest_place(rng),
            _ => table.joined_products(rng),
        };
        if let Some(asked) = asked {
            return asked;
        }
    }
}

impl Table {
    fn draw(rng: &mut impl Rng, level: u8) -> Self {
        let theme = &THEMES[below(rng, THEMES.len() as u32) as usize];
        let count = [6, 8, 10, 12, 15][level as usize - 1];
        let places = several(rng, &PLACES, 3 + usize::from(level > 3));
        let kinds = several(rng, &theme.kinds, 3 + usize::from(level > 3));
        let prices: Vec<i64> = kinds
            .iter()
            .map(|_| between(rng, theme.eaches.0, theme.eaches.1))
            .collect();
        let rows = several(rng, &FIRST_NAMES, count)
            .into_iter()
            .map(|who| {
                let kind = below(rng, kinds.len() as u32) as usize;
                Row {
                    who,
                    place: one(rng, &places),
                    kind: kinds[kind],
                    count: between(rng, theme.counts.0, theme.counts.1),
                    // At the last level it depends on the kind alone, and has a table of its own.
                    each: match level {
                        5 => prices[kind],
                        _ => between(rng, theme.eaches.0, theme.eaches.1),
                    },
                }
            })
            .collect();
        Self {
            theme,
            places,
            kinds,
            rows,
        }
    }

    /// The rows of all five columns.
    fn markdown(&self) -> String {
        let Theme {
            intro,
            who,
            place,
            kind,
            count,
            each,
            ..
        } = self.theme;
        let rows: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                format!(
                    "| {} | {} | {} | {} | {} |",
                    row.who, row.place, row.kind, row.count, row.each
                )
            })
            .collect();
        format!(
            "{intro}\n\n| {who} | {place} | {kind} | {count} | {each} |\n\
             | --- | --- | --- | --- | --- |\n{}\n",
            rows.join("\n")
        )
    }

    /// The rows without the last column, which has a second table by kind.
    fn two_tables(&self) -> Option<String> {
        let Theme {
            intro,
            who,
            place,
            kind,
            count,
            each,
            ..
        } = self.theme;
        let rows: Vec<String> = self
            .rows
            .iter()
            .map(|row| {
                format!(
                    "| {} | {} | {} | {} |",
                    row.who, row.place, row.kind, row.count
                )
            })
            .collect();
        let mut prices = Vec::new();
        for &name in &self.kinds {
            let row = self.rows.iter().find(|row| row.kind == name)?;
            prices.push(format!("| {name} | {} |", row.each));
        }
        Some(format!(
            "{intro}\n\n| {who} | {place} | {kind} | {count} |\n| --- | --- | --- | --- |\n{}\n\n\
             {each} depends on the {} alone:\n\n| {kind} | {each} |\n| --- | --- |\n{}\n",
            rows.join("\n"),
            kind.to_lowercase(),
            prices.join("\n")
        ))
    }

    /// The sum over the rows of a condition; none for fewer than `least` rows.
    fn sum(
        &self,
        least: usize,
        holds: impl Fn(&Row) -> bool,
        of: impl Fn(&Row) -> i64,
    ) -> Option<i64> {
        let values: Vec<i64> = self.rows.iter().filter(|row| holds(row)).map(of).collect();
        (values.len() >= least).then(|| values.iter().sum())
    }

    fn number(question: String, number: i64) -> Asked {
        Asked {
            question,
            form: "the number alone".to_owned(),
            check: whole(number),
        }
    }

    fn sum_at_place(&self, rng: &mut impl Rng) -> Option<Asked> {
        let place = one(rng, &self.places);
        let total = self.sum(2, |row| row.place == place, |row| row.count)?;
        Some(Self::number(
            format!(
                "{}\nWhat is the sum of the column \"{}\" over all rows in which \"{}\" is {place}?",
                self.markdown(),
                self.theme.count,
                self.theme.place
            ),
            total,
        ))
    }

    /// The names of the three rows with the largest values, if these are clear.
    fn largest_three(
        &self,
        holds: impl Fn(&Row) -> bool,
        of: impl Fn(&Row) -> i64,
    ) -> Option<Check> {
        let mut rows: Vec<&Row> = self.rows.iter().filter(|row| holds(row)).collect();
        rows.sort_by_key(|row| -of(row));
        let clear = rows.len() >= 5 && rows.windows(2).take(3).all(|two| of(two[0]) > of(two[1]));
        clear.then(|| Check::List(rows[..3].iter().map(|row| row.who.to_owned()).collect()))
    }

    fn first_three(&self) -> Option<Asked> {
        let check = self.largest_three(|_| true, |row| row.count)?;
        Some(Asked {
            question: format!(
                "{}\nWhich three rows have the largest values in the column \"{}\"?",
                self.markdown(),
                self.theme.count
            ),
            form: self.names_form(),
            check,
        })
    }

    fn names_form(&self) -> String {
        format!(
            "the three names in the column \"{}\" of these rows, from the largest value to the \
             smallest, separated by commas",
            self.theme.who
        )
    }

    fn sum_of_kind_above(&self, rng: &mut impl Rng) -> Option<Asked> {
        let kind = one(rng, &self.kinds);
        let (least, most) = self.theme.eaches;
        let limit = between(rng, least, least + (most - least) / 2);
        let total = self.sum(
            2,
            |row| row.kind == kind && row.each > limit,
            |row| row.count,
        )?;
        // Rows left out for each of the two reasons, or the condition would not matter.
        self.sum(
            1,
            |row| row.kind == kind && row.each <= limit,
            |row| row.count,
        )?;
        Some(Self::number(
            format!(
                "{}\nWhat is the sum of the column \"{}\" over all rows in which \"{}\" is {kind} \
                 and \"{}\" is greater than {limit}?",
                self.markdown(),
                self.theme.count,
                self.theme.kind,
                self.theme.each
            ),
            total,
        ))
    }

    fn first_three_elsewhere(&self, rng: &mut impl Rng) -> Option<Asked> {
        let place = one(rng, &self.places);
        let check = self.largest_three(|row| row.place != place, |row| row.each)?;
        self.sum(1, |row| row.place == place, |row| row.each)?;
        Some(Asked {
            question: format!(
                "{}\nLeave out all rows in which \"{}\" is {place}. Which three of the other rows \
                 have the largest values in the column \"{}\"?",
                self.markdown(),
                self.theme.place,
                self.theme.each
            ),
            form: self.names_form(),
            check,
        })
    }

    /// The product and how it is made, for a question.
    fn defined(&self) -> String {
        format!(
            "The {} of a row is {}.",
            self.theme.product, self.theme.rule
        )
    }

    fn products_at_place(&self, rng: &mut impl Rng) -> Option<Asked> {
        let place = one(rng, &self.places);
        let total = self.sum(3, |row| row.place == place, Row::product)?;
        Some(Self::number(
            format!(
                "{}\n{} What is the total {} of all rows in which \"{}\" is {place}?",
                self.markdown(),
                self.defined(),
                self.theme.product,
                self.theme.place
            ),
            total,
        ))
    }

    /// What the row or group with the greatest value is called, and that value.
    fn named(question: String, noun: &str, name: &str, value: i64) -> Asked {
        Asked {
            question,
            form: format!("{noun}, separated by a comma, as in \"Nobody, 123\""),
            check: Check::List(vec![name.to_owned(), value.to_string()]),
        }
    }

    fn greatest_product(&self) -> Option<Asked> {
        let best = self.rows.iter().max_by_key(|row| row.product())?;
        let ties = self
            .rows
            .iter()
            .filter(|row| row.product() == best.product())
            .count();
        (ties == 1).then(|| {
            Self::named(
                format!(
                    "{}\n{} Which row has the greatest {}?",
                    self.markdown(),
                    self.defined(),
                    self.theme.product
                ),
                &format!(
                    "the entry of that row in the column \"{}\" and the {} of that row",
                    self.theme.who, self.theme.product
                ),
                best.who,
                best.product(),
            )
        })
    }

    /// The place whose rows have the greatest total, and that total; every place must have rows.
    fn best_place(
        &self,
        holds: impl Fn(&Row) -> bool,
        of: impl Fn(&Row) -> i64,
    ) -> Option<(&'static str, i64)> {
        let mut totals = Vec::new();
        for &place in &self.places {
            totals.push((
                self.sum(1, |row| row.place == place && holds(row), &of)?,
                place,
            ));
        }
        totals.sort_unstable();
        let [.., second, first] = totals.as_slice() else {
            return None;
        };
        (first.0 > second.0).then_some((first.1, first.0))
    }

    fn greatest_place(&self, rng: &mut impl Rng) -> Option<Asked> {
        let kind = one(rng, &self.kinds);
        self.sum(1, |row| row.kind == kind, |row| row.count)?;
        let (place, total) = self.best_place(|row| row.kind != kind, |row| row.count)?;
        Some(Self::named(
            format!(
                "{}\nLeave out all rows in which \"{}\" is {kind}. Group the other rows by \"{}\". \
                 Which group has the greatest sum in the column \"{}\"?",
                self.markdown(),
                self.theme.kind,
                self.theme.place,
                self.theme.count
            ),
            &format!(
                "the {} of that group and that sum",
                self.theme.place.to_lowercase()
            ),
            place,
            total,
        ))
    }

    fn products_of_two_places(&self, rng: &mut impl Rng) -> Option<Asked> {
        let places = several(rng, &self.places, 2);
        let kind = one(rng, &self.kinds);
        let at = |row: &Row| places.contains(&row.place);
        let total = self.sum(4, |row| at(row) && row.kind != kind, Row::product)?;
        self.sum(1, |row| at(row) && row.kind == kind, Row::product)?;
        Some(Self::number(
            format!(
                "{}\n{} What is the total {} of all rows in which \"{}\" is {} or {} and \"{}\" is \
                 not {kind}?",
                self.markdown(),
                self.defined(),
                self.theme.product,
                self.theme.place,
                places[0],
                places[1],
                self.theme.kind
            ),
            total,
        ))
    }

    fn joined_greatest_place(&self, rng: &mut impl Rng) -> Option<Asked> {
        let kind = one(rng, &self.kinds);
        let (place, total) = self.best_place(|row| row.kind != kind, Row::product)?;
        Some(Self::named(
            format!(
                "{}\n{} Leave out all rows in which \"{}\" is {kind}. Group the other rows of the \
                 first table by \"{}\". Which group has the greatest total {}?",
                self.two_tables()?,
                self.defined(),
                self.theme.kind,
                self.theme.place,
                self.theme.product
            ),
            &format!(
                "the {} of that group and that total",
                self.theme.place.to_lowercase()
            ),
            place,
            total,
        ))
    }

    fn joined_products(&self, rng: &mut impl Rng) -> Option<Asked> {
        let place = one(rng, &self.places);
        let (least, most) = self.theme.counts;
        let limit = between(rng, least + (most - least) / 5, least + (most - least) / 2);
        let chosen = |row: &Row| row.place != place && row.count > limit;
        let total = self.sum(6, chosen, Row::product)?;
        self.sum(1, |row| row.place == place, Row::product)?;
        self.sum(
            1,
            |row| row.place != place && row.count <= limit,
            Row::product,
        )?;
        Some(Self::number(
            format!(
                "{}\n{} What is the total {} of all rows of the first table in which \"{}\" is not \
                 {place} and \"{}\" is greater than {limit}?",
                self.two_tables()?,
                self.defined(),
                self.theme.product,
                self.theme.place,
                self.theme.count
            ),
            total,
        ))
    }
}
