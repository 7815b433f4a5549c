//! Dates against the calendar, tables against a reader of the prompt.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::laws::{self, matches};
use super::super::words::{MONTHS, WEEKDAYS, ordinal};
use super::calendar::{Date, nth_working_day};
use super::*;

proptest! {
    #[test]
    fn a_question_is_well_formed(seed: [u8; 32], level in 1_u8..=5) {
        laws::a_question_is_well_formed(draw, seed, level);
    }

    #[test]
    fn a_date_comes_back_from_its_parts(day in -200_000_i64..200_000) {
        let (year, month, in_month) = Date(day).parts();
        prop_assert!((1..=12).contains(&month) && (1..=31).contains(&in_month));
        prop_assert_eq!(Date::new(year, month, in_month), Date(day));
        prop_assert_eq!((Date(day).weekday() + 1) % 7, Date(day + 1).weekday());
    }

    #[test]
    fn a_reader_with_a_calendar_gives_the_answer(seed: [u8; 32], level in 1_u8..=5) {
        let question = laws::drawn(draw, seed, level);
        if !question.prompt.contains('|') {
            let answer = answer_from_calendar(&question.prompt);
            prop_assert_eq!(format!("Answer: {answer}"), question.answer, "{}", question.prompt);
        }
    }

    #[test]
    fn a_reader_of_the_table_gives_the_answer(seed: [u8; 32], level in 1_u8..=5) {
        let question = laws::drawn(draw, seed, level);
        if let Some(answer) = answer_from_table(&question.prompt) {
            prop_assert_eq!(format!("Answer: {answer}"), question.answer, "{}", question.prompt);
        } else {
            prop_assert!(!question.prompt.contains('|'), "{}", question.prompt);
        }
    }
}

#[test]
fn known_dates_have_their_known_weekdays() {
    // 1970 began on a Thursday; the moon landing was on a Sunday; 2000 was a leap year, 1900 not.
    let known = [
        ((1970, 1, 1), 0, 3),
        ((1969, 7, 20), -165, 6),
        ((2000, 2, 29), 11_016, 1),
        ((2000, 3, 1), 11_017, 2),
        ((2024, 2, 29), 19_782, 3),
        ((1900, 3, 1), -25_508, 3),
        ((1900, 2, 28), -25_509, 2),
        ((2027, 3, 14), 20_891, 6),
    ];
    for ((year, month, day), number, weekday) in known {
        let date = Date::new(year, month, day);
        assert_eq!((date.0, date.weekday()), (number, weekday), "{date}");
        assert_eq!(date.parts(), (year, month, day));
    }
    assert_eq!(Date::new(987, 6, 5).to_string(), "987-06-05");
    assert_eq!(Date::new(2027, 3, 4).to_string(), "2027-03-04");
}

#[test]
fn weekdays_of_a_month_are_counted_from_its_first() {
    // November 2026 begins on a Sunday.
    assert_eq!(Date::nth_weekday(2026, 11, 6, 1), Date::new(2026, 11, 1));
    assert_eq!(Date::nth_weekday(2026, 11, 0, 1), Date::new(2026, 11, 2));
    assert_eq!(Date::nth_weekday(2026, 11, 3, 4), Date::new(2026, 11, 26));
}

#[test]
fn working_days_skip_weekends_and_holidays() {
    let friday = Date::new(2026, 11, 20);
    assert_eq!(nth_working_day(friday, 1, &[]), Date::new(2026, 11, 23));
    assert_eq!(nth_working_day(friday, 5, &[]), Date::new(2026, 11, 27));
    let holidays = [Date::new(2026, 11, 23), Date::new(2026, 11, 26)];
    assert_eq!(
        nth_working_day(friday, 2, &holidays),
        Date::new(2026, 11, 25)
    );
    assert_eq!(
        nth_working_day(friday, 3, &holidays),
        Date::new(2026, 11, 27)
    );
}

#[test]
fn a_blind_guess_is_right_once_in_a_hundred() {
    laws::a_blind_guess_is_right_once_in_a_hundred(draw);
}

#[test]
fn the_published_items_do_not_change() {
    assert_eq!(
        laws::golden(super::super::Family::Tables),
        "fb345399d24b11c181d6a2f27622940a33335fcb74feecdd1e6a01986040f00f"
    );
}

/// A day of the calendar.
struct Day {
    year: usize,
    month: &'static str,
    in_month: usize,
    weekday: &'static str,
}

/// Every day of the years asked about, made by going from one to the next: no formula.
static CALENDAR: LazyLock<Vec<Day>> = LazyLock::new(|| {
    let mut days: Vec<Day> = Vec::new();
    for year in 1880..=2115 {
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let lengths = [
            31,
            28 + usize::from(is_leap),
            31,
            30,
            31,
            30,
            31,
            31,
            30,
            31,
            30,
            31,
        ];
        for (month, length) in MONTHS.into_iter().zip(lengths) {
            for day in 1..=length {
                // 1880 began on a Thursday.
                let weekday = WEEKDAYS[(days.len() + 3) % 7];
                days.push(Day {
                    year,
                    month,
                    in_month: day,
                    weekday,
                });
            }
        }
    }
    days
});

/// What the prompt asks of the calendar, by its words alone.
fn answer_from_calendar(prompt: &str) -> String {
    let question = prompt.lines().next().expect("a question");
    let words: Vec<&str> = question
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
        .collect();
    let number = |word: &str| word.parse::<usize>().ok();
    let after = |word: &str| {
        let at = words.iter().position(|it| *it == word).expect("the word");
        let number = words[at + 1..].iter().find_map(|word| number(word));
        number.expect("a number after it")
    };
    let mut dates = Vec::new();
    let mut counted = Vec::new();
    for (at, three) in words.windows(3).enumerate() {
        if let (Some(day), true, Some(year)) = (
            number(three[0]),
            MONTHS.contains(&three[1]),
            number(three[2]),
        ) {
            let found = CALENDAR
                .iter()
                .position(|it| (it.year, it.month, it.in_month) == (year, three[1], day))
                .expect("a day of these years");
            let told = [words.get(at.wrapping_sub(1)), words.get(at + 5)];
            for weekday in told
                .into_iter()
                .flatten()
                .filter(|it| WEEKDAYS.contains(it))
            {
                assert_eq!(*weekday, CALENDAR[found].weekday, "{question}");
            }
            dates.push(found);
        }
        if three[2] == "of" && WEEKDAYS.contains(&three[1]) {
            let count = (1..=4)
                .find(|&count| ordinal(count) == three[0])
                .expect("an ordinal");
            let (month, year) = (words[at + 3], number(words[at + 4]));
            let (found, _) = CALENDAR
                .iter()
                .enumerate()
                .filter(|(_, it)| it.month == month && Some(it.year) == year)
                .filter(|(_, it)| it.weekday == three[1])
                .nth(count - 1)
                .expect("every month has four");
            counted.push(found);
        }
    }
    let start = *counted.first().unwrap_or(&dates[0]);
    if question.contains("How many days after ") {
        let end = if counted.is_empty() {
            dates[1]
        } else {
            counted[1]
        };
        return (end - start).to_string();
    }
    let end = if question.contains("working day") {
        let placed = dates.pop().expect("the day of the order");
        let count = words.iter().find_map(|word| {
            ["th", "st", "nd", "rd"]
                .iter()
                .find_map(|end| number(word.strip_suffix(end)?))
        });
        let works = |&day: &usize| !CALENDAR[day].weekday.starts_with('S') && !dates.contains(&day);
        (placed + 1..)
            .filter(works)
            .nth(count.expect("a count") - 1)
            .expect("a day")
    } else if question.contains(" every ") {
        start + after("every") * (after("number") - 1)
    } else if question.contains(" before that day") {
        start - 7 * after("exactly") - after("weeks")
    } else if question.contains("days from today") {
        start + after("date")
    } else {
        start + after("exactly")
    };
    let Day {
        year,
        month,
        in_month: day,
        weekday,
    } = &CALENDAR[end];
    let month = MONTHS.iter().position(|it| it == month).expect("a month") + 1;
    format!("{weekday}, {year}-{month:02}-{day:02}")
}

/// The cells of a prompt's tables, header first, the line of dashes left out.
fn tables(prompt: &str) -> Vec<Vec<Vec<&str>>> {
    let mut tables: Vec<Vec<Vec<&str>>> = vec![vec![]];
    for line in prompt.lines() {
        if line.starts_with("| ---") {
            continue;
        }
        if let Some(row) = line.strip_prefix("| ") {
            let cells = row.trim_end_matches(" |").split(" | ").collect();
            tables.last_mut().expect("one at least").push(cells);
        } else if !tables.last().expect("one at least").is_empty() {
            tables.push(vec![]);
        }
    }
    tables.retain(|table| !table.is_empty());
    tables
}

/// What the prompt asks of its tables, by its words alone; none if it has no table.
fn answer_from_table(prompt: &str) -> Option<String> {
    let tables = tables(prompt);
    let mut rows = tables.first()?[1..].to_vec();
    let mut header = tables[0][0].clone();
    if let Some(second) = tables.get(1) {
        header.push(second[0][1]);
        for row in &mut rows {
            let found = second
                .iter()
                .find(|other| other[0] == row[2])
                .expect("a kind");
            row.push(found[1]);
        }
    }
    let column = |name: &str| header.iter().position(|it| *it == name).expect("a column");
    let number = |text: &str| text.parse::<i64>().expect("digits");
    let product = |row: &Vec<&str>| number(row[3]) * number(row[4]);
    let question = prompt.lines().rev().nth(1).expect("a question");
    let question = question
        .split_once(" of a row is ")
        .map_or(question, |(_, rest)| {
            rest.split_once(". ").expect("a question after it").1
        });
    let (rows, question) = match matches(question, "Leave out all rows in which \"*\" is *. *") {
        Some(left_out) => {
            rows.retain(|row| row[column(left_out[0])] != left_out[1]);
            (rows, left_out[2])
        }
        None => (rows, question),
    };
    if let Some((_, conditions)) = question
        .split_once("rows in which ")
        .or_else(|| question.split_once("rows of the first table in which "))
    {
        let conditions: Vec<&str> = conditions.trim_end_matches('?').split(" and ").collect();
        let chosen = rows.iter().filter(|row| {
            conditions.iter().all(|condition| {
                let (name, wanted) = condition[1..].split_once("\" is ").expect("a condition");
                let cell = row[column(name)];
                if let Some(limit) = wanted.strip_prefix("greater than ") {
                    number(cell) > number(limit)
                } else if let Some(other) = wanted.strip_prefix("not ") {
                    cell != other
                } else {
                    wanted.split(" or ").any(|one| one == cell)
                }
            })
        });
        let sum: i64 = match matches(question, "What is the sum of the column \"*\" over *") {
            Some(of) => chosen.map(|row| number(row[column(of[0])])).sum(),
            None => chosen.map(product).sum(),
        };
        return Some(sum.to_string());
    }
    let mut ranked: Vec<(i64, String)> = Vec::new();
    if question.contains("by \"") {
        let by = column(question.split_once("by \"")?.1.split_once('"')?.0);
        let of = question
            .split_once("column \"")
            .map(|(_, rest)| column(rest.trim_end_matches("\"?")));
        let mut groups: Vec<&str> = rows.iter().map(|row| row[by]).collect();
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            let rows = rows.iter().filter(|row| row[by] == group);
            let sum: i64 = rows
                .map(|row| of.map_or_else(|| product(row), |of| number(row[of])))
                .sum();
            ranked.push((sum, group.to_owned()));
        }
    } else if question.starts_with("Which row has the greatest ") {
        ranked.extend(rows.iter().map(|row| (product(row), row[0].to_owned())));
    } else {
        let of = column(question.split_once("column \"")?.1.trim_end_matches("\"?"));
        ranked.extend(rows.iter().map(|row| (number(row[of]), row[0].to_owned())));
        ranked.sort();
        let names: Vec<String> = ranked
            .into_iter()
            .rev()
            .take(3)
            .map(|(_, name)| name)
            .collect();
        return Some(names.join(", "));
    }
    ranked.sort();
    let (value, name) = ranked.pop()?;
    Some(format!("{name}, {value}"))
}
