//! Questions about dates of the Gregorian calendar.

use std::fmt;

use rand_core::Rng;

use super::super::super::draw::below;
use super::super::Check;
use super::super::words::{FIRST_NAMES, MONTHS, WEEKDAYS, between, number, one, ordinal};
use super::{Asked, whole};

/// A day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Date(pub(super) i64);

impl Date {
    /// The day of that year, month from one and day from one.
    ///
    /// Years are counted from March, so that the leap day is the last day of its year.
    pub(super) const fn new(year: i64, month: i64, day: i64) -> Self {
        let year = if month <= 2 { year - 1 } else { year };
        let months_since_march = (month + 9) % 12;
        let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
        let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        Self(365 * year + leap_days + day_of_year - 719_468)
    }

    /// Year, month from one, day from one.
    pub(super) const fn parts(self) -> (i64, i64, i64) {
        // A first guess that is never too late: a year is 365 days at least and 366 at most.
        let longest_or_shortest = if self.0 < 0 { 365 } else { 366 };
        let mut year = 1970 + self.0.div_euclid(longest_or_shortest);
        while Self::new(year + 1, 1, 1).0 <= self.0 {
            year += 1;
        }
        let mut month = 12;
        while Self::new(year, month, 1).0 > self.0 {
            month -= 1;
        }
        (year, month, self.0 - Self::new(year, month, 1).0 + 1)
    }

    /// Monday is zero; 1970 began on a Thursday.
    pub(super) const fn weekday(self) -> usize {
        (self.0 + 3).rem_euclid(7) as usize
    }

    const fn plus(self, days: i64) -> Self {
        Self(self.0 + days)
    }

    /// The `count`-th such weekday of a month, `count` from one.
    pub(super) const fn nth_weekday(year: i64, month: i64, weekday: usize, count: i64) -> Self {
        let first = Self::new(year, month, 1);
        let wait = (weekday + 7 - first.weekday()) % 7;
        first.plus(wait.cast_signed() as i64 + 7 * (count - 1))
    }

    /// A day of the years given, both included.
    fn draw(rng: &mut impl Rng, first_year: i64, last_year: i64) -> Self {
        Self(between(
            rng,
            Self::new(first_year, 1, 1).0,
            Self::new(last_year, 12, 31).0,
        ))
    }

    /// As it is told: `14 March 2027`.
    fn told(self) -> String {
        let (year, month, day) = self.parts();
        format!("{day} {} {year}", MONTHS[month as usize - 1])
    }

    /// As it is told with its weekday: `Sunday, 14 March 2027`.
    fn told_in_full(self) -> String {
        format!("{}, {}", WEEKDAYS[self.weekday()], self.told())
    }

    /// The answer that has both weekday and date.
    fn weekday_and_date(self) -> Check {
        Check::List(vec![WEEKDAYS[self.weekday()].to_owned(), self.to_string()])
    }
}

/// As it is answered: `2027-03-14`.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.parts();
        write!(f, "{year}-{month:02}-{day:02}")
    }
}

const WEEKDAY_AND_DATE: &str = "the weekday and the date, separated by a comma, in the form \
                                \"Monday, 2001-12-31\"";

pub(super) fn ask(rng: &mut impl Rng, level: u8) -> Asked {
    match (level, below(rng, 2)) {
        (1, _) => later(rng),
        (2, 0) => apart(rng, 2021, 2039, 60, 400),
        (2, _) => weeks_and_days(rng),
        (3, 0) => nth_weekday(rng),
        (3, _) => apart(rng, 2021, 2039, 500, 2_500),
        (4, 0) => recurring(rng),
        (4, _) => from_weekday_to_weekday(rng),
        (_, 0) => apart(rng, 1880, 2110, 9_000, 30_000),
        _ => working_days(rng),
    }
}

/// Days after a day.
fn later(rng: &mut impl Rng) -> Asked {
    let start = Date::draw(rng, 2021, 2039);
    let days = between(rng, 8, 60);
    let name = one(rng, &FIRST_NAMES);
    let told = start.told_in_full();
    let question = match below(rng, 3) {
        0 => format!(
            "Today is {told}. What is the date {days} days from today, and which weekday is it?"
        ),
        1 => format!(
            "{name} borrows a book on {told} and has to bring it back exactly {days} days later. On \
             which weekday and date is that?"
        ),
        _ => format!(
            "A parcel is sent on {told} and arrives exactly {days} days later. On which weekday and \
             date does it arrive?"
        ),
    };
    Asked {
        question,
        form: WEEKDAY_AND_DATE.to_owned(),
        check: start.plus(days).weekday_and_date(),
    }
}

/// Weeks and days before a day.
fn weeks_and_days(rng: &mut impl Rng) -> Asked {
    let end = Date::draw(rng, 2021, 2039);
    let (weeks, days) = (between(rng, 5, 30), between(rng, 1, 6));
    let name = one(rng, &FIRST_NAMES);
    let day_word = if days == 1 { "day" } else { "days" };
    Asked {
        question: format!(
            "{name} has an exam on {} and begins to study exactly {weeks} weeks and {days} \
             {day_word} before that day. On which weekday and date does {name} begin?",
            end.told_in_full()
        ),
        form: WEEKDAY_AND_DATE.to_owned(),
        check: end.plus(-7 * weeks - days).weekday_and_date(),
    }
}

/// Days from one day to another.
fn apart(rng: &mut impl Rng, first_year: i64, last_year: i64, least: i64, most: i64) -> Asked {
    let days = between(rng, least, most);
    let last = Date::new(last_year, 12, 31).0 - days;
    let first = Date(between(rng, Date::new(first_year, 1, 1).0, last));
    Asked {
        question: format!(
            "How many days after {} is {}? (The day after a day is 1 day after it.)",
            first.told(),
            first.plus(days).told()
        ),
        form: "the number of days".to_owned(),
        check: whole(days),
    }
}

/// The third Tuesday of a month, and a number of days after it.
fn nth_weekday(rng: &mut impl Rng) -> Asked {
    let year = between(rng, 2021, 2039);
    let month = between(rng, 3, 12);
    let weekday = below(rng, 7) as usize;
    let count = between(rng, 1, 4);
    let days = between(rng, 10, 45);
    let name = one(rng, &FIRST_NAMES);
    Asked {
        question: format!(
            "1 January {year} is a {}. {name} starts a course on the {} {} of {} {year} and \
             finishes it exactly {days} days later. On which weekday and date does {name} finish?",
            WEEKDAYS[Date::new(year, 1, 1).weekday()],
            ordinal(count as usize),
            WEEKDAYS[weekday],
            MONTHS[month as usize - 1],
        ),
        form: WEEKDAY_AND_DATE.to_owned(),
        check: Date::nth_weekday(year, month, weekday, count)
            .plus(days)
            .weekday_and_date(),
    }
}

/// The n-th time of something that comes again.
fn recurring(rng: &mut impl Rng) -> Asked {
    let start = Date::draw(rng, 2021, 2037);
    let (every, times) = (between(rng, 9, 40), between(rng, 8, 25));
    let name = one(rng, &FIRST_NAMES);
    let deed = one(
        rng,
        &[
            "waters a cactus",
            "cleans an aquarium",
            "winds an old clock",
            "backs up a computer",
            "has a piano lesson",
        ],
    );
    Asked {
        question: format!(
            "{name} {deed} every {every} days. The first time is on {}. On which weekday and date \
             is time number {times}? (The first time is number 1.)",
            start.told_in_full()
        ),
        form: WEEKDAY_AND_DATE.to_owned(),
        check: start.plus(every * (times - 1)).weekday_and_date(),
    }
}

/// Days from the n-th weekday of one month to that of another, a year or more later.
fn from_weekday_to_weekday(rng: &mut impl Rng) -> Asked {
    let year = between(rng, 2021, 2037);
    let later = year + between(rng, 1, 3);
    let mut told = Vec::new();
    let mut dates = Vec::new();
    for year in [year, later] {
        let (month, weekday) = (between(rng, 1, 12), below(rng, 7) as usize);
        let count = between(rng, 1, 4);
        told.push(format!(
            "the {} {} of {} {year}",
            ordinal(count as usize),
            WEEKDAYS[weekday],
            MONTHS[month as usize - 1]
        ));
        dates.push(Date::nth_weekday(year, month, weekday, count));
    }
    Asked {
        question: format!(
            "1 January {year} is a {}. How many days after {} is {}? (The day after a day is 1 day \
             after it.)",
            WEEKDAYS[Date::new(year, 1, 1).weekday()],
            told[0],
            told[1]
        ),
        form: "the number of days".to_owned(),
        check: whole(dates[1].0 - dates[0].0),
    }
}

/// A deadline in working days, with holidays on the way.
fn working_days(rng: &mut impl Rng) -> Asked {
    let start = Date::draw(rng, 2021, 2039);
    let days = between(rng, 15, 50);
    let mut holidays: Vec<Date> = Vec::new();
    while holidays.len() < 3 {
        let day = start.plus(between(rng, 2, days));
        if day.weekday() < 5 && !holidays.contains(&day) {
            holidays.push(day);
        }
    }
    holidays.sort_unstable();
    let told: Vec<String> = holidays.iter().map(|day| day.told()).collect();
    Asked {
        question: format!(
            "Saturdays and Sundays are not working days, and neither are these {} holidays: {}. All \
             other days are working days. An order placed on {} is ready on the {days}th working \
             day after that day (the day of the order itself is not counted). On which weekday and \
             date is it ready?",
            number(told.len()),
            told.join("; "),
            start.told_in_full(),
        )
        .replace("1th ", "1st ")
        .replace("2th ", "2nd ")
        .replace("3th ", "3rd "),
        form: WEEKDAY_AND_DATE.to_owned(),
        check: nth_working_day(start, days, &holidays).weekday_and_date(),
    }
}

/// The `count`-th working day after a day.
pub(super) fn nth_working_day(start: Date, count: i64, holidays: &[Date]) -> Date {
    let mut day = start;
    let mut left = count;
    while left > 0 {
        day = day.plus(1);
        if day.weekday() < 5 && !holidays.contains(&day) {
            left -= 1;
        }
    }
    day
}
