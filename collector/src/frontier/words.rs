//! The answer in one sentence, and numbers as sentences need them.

use std::collections::{BTreeMap, BTreeSet};

use domain::api::{LeftOut, Membership, ResultRow};
use domain::query::FrontierQuery;

use super::Candidate;
use super::choose::why_barred;
use super::membership::{Standing, best_quality};
use crate::numbers::{grouped, number};

/// Results are not told apart when the other one is as good in more than this share of draws.
const NOT_TOLD_APART: f64 = 0.025;

/// Names listed before "and N more".
const NAMES: usize = 3;

/// Best quality and what cannot be told apart from it; the fastest and the most frugal above
/// the reader's quality floor, or else above the best quality less five points, rounded down
/// to a multiple of five. What is unknown is not mentioned.
pub(super) fn sentence(
    shown: &[Candidate],
    standings: &[Standing],
    query: &FrontierQuery,
    left_out: &[LeftOut],
) -> String {
    let names = Names::of(shown);
    let Some(best) = best_quality(shown) else {
        return without_quality(shown, &names, left_out);
    };
    let best_row = &shown[best].row;
    let mut parts = vec![format!(
        "Best quality: {} ({})",
        names.of_row(best_row),
        facts(best_row)
    )];
    let twins: Vec<String> = (0..shown.len())
        .filter(|index| *index != best && standings[*index].membership != Membership::Dominated)
        .filter(|index| standings[*index].reaches_best_quality > NOT_TOLD_APART)
        .map(|index| names.of_row(&shown[index].row))
        .collect();
    if !twins.is_empty() {
        parts[0] = format!("{}, not to be told apart from {}", parts[0], listed(&twins));
    }
    let floor = query.min_quality_percent.unwrap_or_else(|| {
        let percent = 100.0 * best_row.quality.unwrap_or(0.0);
        ((percent - 5.0) / 5.0).floor().max(0.0) * 5.0
    });
    let is_above = |row: &ResultRow| row.quality.is_some_and(|quality| 100.0 * quality >= floor);
    let rows: Vec<&ResultRow> = shown.iter().map(|candidate| &candidate.row).collect();
    let above: Vec<&ResultRow> = rows.iter().copied().filter(|row| is_above(row)).collect();
    let floor_words = if floor > 0.0 {
        format!(" above {} %", number(floor))
    } else {
        String::new()
    };
    if let Some((row, speed)) = most(&above, |row| row.decode_tokens_per_second) {
        parts.push(if row.id == best_row.id {
            format!("it is also the fastest{floor_words}")
        } else {
            format!(
                "fastest{floor_words}: {} ({} tok/s)",
                names.of_row(row),
                number(speed)
            )
        });
    }
    // Joules of different scopes are not ranked, nor are those that are on no front.
    let metered: Vec<&ResultRow> = shown
        .iter()
        .filter(|candidate| is_above(&candidate.row))
        .filter(|candidate| candidate.energy().is_some_and(|e| why_barred(e).is_none()))
        .map(|candidate| &candidate.row)
        .filter(|row| row.joules_per_correct_answer.is_some())
        .collect();
    let scopes = scopes_of(if query.across_scopes { &rows } else { &metered });
    let frugal = most(&metered, |row| {
        row.joules_per_correct_answer.map(|joules| -joules)
    });
    if let (Some((row, turned)), 1) = (frugal, scopes.len()) {
        let scope = row.energy_scope.as_deref().unwrap_or("scope not recorded");
        let joules = number(-turned);
        parts.push(format!(
            "fewest joules{floor_words}: {} ({joules} J per correct answer, {scope})",
            names.of_row(row)
        ));
    }
    let mut sentence = format!("{}.", parts.join("; "));
    let scopes = scopes_of(&rows);
    if query.across_scopes && scopes.len() > 1 {
        let scopes: Vec<String> = scopes.into_iter().map(str::to_owned).collect();
        let words = format!(
            " The joules cover different things ({}): they cannot be compared.",
            listed(&scopes)
        );
        sentence.push_str(&words);
    }
    sentence
}

/// What the rows' joules cover.
fn scopes_of<'a>(rows: &[&'a ResultRow]) -> BTreeSet<&'a str> {
    let metered = rows
        .iter()
        .filter(|row| row.joules_per_correct_answer.is_some());
    metered
        .filter_map(|row| row.energy_scope.as_deref())
        .collect()
}

fn without_quality(shown: &[Candidate], names: &Names, left_out: &[LeftOut]) -> String {
    let rows: Vec<&ResultRow> = shown.iter().map(|candidate| &candidate.row).collect();
    if let Some((row, speed)) = most(&rows, |row| row.decode_tokens_per_second) {
        return format!("Fastest: {} ({} tok/s).", names.of_row(row), number(speed));
    }
    if left_out.is_empty() {
        return "Nothing was measured yet that fits this question.".to_owned();
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for left in left_out {
        *counts.entry(code_in_words(&left.code)).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(words, count)| (usize::MAX - count, *words));
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(words, count)| format!("{count} {words}"))
        .collect();
    format!(
        "No measured result fits this question: {}.",
        counts.join(", ")
    )
}

fn code_in_words(code: &str) -> &str {
    match code {
        "below-tier" => "below the asked tier",
        "failed" => "could not be measured",
        "no-quality" => "without a quality",
        "no-decode" => "without a decode speed",
        "no-interval" => "with too few repetitions",
        "no-price" => "without a price",
        "no-joules" => "without joules",
        "over-budget" => "over the budget",
        "too-slow" => "too slow",
        "below-quality" => "below the asked quality",
        "too-many-joules" => "with too many joules",
        "other-workload" => "of another workload",
        "other-suite" => "of another suite",
        "other-scope" => "of another energy scope",
        "partial-scope" => "whose joules leave out part of what worked",
        "regression" => "whose joules come from a regression",
        "not-closed" => "whose joules do not add up",
        other => other,
    }
}

/// The row with the largest value; the first by order among equals.
fn most<'a>(
    rows: &[&'a ResultRow],
    value: impl Fn(&ResultRow) -> Option<f64>,
) -> Option<(&'a ResultRow, f64)> {
    rows.iter()
        .filter_map(|row| Some((*row, value(row)?)))
        .reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// Quality, speed and price, as far as they are known.
fn facts(row: &ResultRow) -> String {
    let quality = row.quality().map(|figure| {
        let percent = 100.0 * figure.value;
        match figure.ci95 {
            Some((low, high)) => {
                let digits = usize::from(high - low < 0.02);
                let (low, high) = (100.0 * low, 100.0 * high);
                format!("{percent:.digits$} %, {low:.digits$}–{high:.digits$} %")
            }
            None => format!("{percent:.1} %"),
        }
    });
    let speed = row
        .decode_tokens_per_second
        .map(|speed| format!("{} tok/s", number(speed)));
    quality
        .into_iter()
        .chain(speed)
        .chain(row.price_usd.map(usd))
        .collect::<Vec<_>>()
        .join(", ")
}

fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMES);
    let shown = &names[..names.len() - more];
    match (shown, more) {
        (shown, 1..) => format!("{} and {more} more", shown.join(", ")),
        ([others @ .., last], _) if !others.is_empty() => {
            format!("{} and {last}", others.join(", "))
        }
        (shown, _) => shown.join(", "),
    }
}

/// What must be said to tell the shown rows apart.
struct Names {
    setups: bool,
    engines: bool,
}

impl Names {
    fn of(shown: &[Candidate]) -> Self {
        let differ = |value: fn(&ResultRow) -> &str| {
            shown
                .iter()
                .map(|candidate| value(&candidate.row))
                .collect::<BTreeSet<_>>()
                .len()
                > 1
        };
        Self {
            setups: differ(|row| &row.setup),
            engines: differ(|row| &row.engine),
        }
    }

    fn of_row(&self, row: &ResultRow) -> String {
        let pruning = match row.pruning.as_str() {
            "none" => String::new(),
            method => format!(" ({method}-pruned {:.0} %)", row.pruning_percent),
        };
        let engine = if self.engines {
            format!(" with {}", row.engine)
        } else {
            String::new()
        };
        let setup = if self.setups {
            format!(" on {}", row.setup_name)
        } else {
            String::new()
        };
        format!("{} {}{pruning}{engine}{setup}", row.model, row.quant)
    }
}

/// Whole dollars with thousands separators.
pub(super) fn usd(dollars: f64) -> String {
    format!("${}", grouped(dollars.round()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_a_person_writes_them() {
        assert_eq!(usd(1_850.0), "$1,850");
        assert_eq!(usd(1_234_567.4), "$1,234,567");
        for (value, text) in [
            (4_218.4, "4,218"),
            (31.04, "31"),
            (31.46, "31.5"),
            (0.421, "0.421"),
            (7.0, "7"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let names = |n: usize| {
            ["a", "b", "c", "d", "e"][..n]
                .iter()
                .map(|n| (*n).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(listed(&names(1)), "a");
        assert_eq!(listed(&names(2)), "a and b");
        assert_eq!(listed(&names(5)), "a, b, c and 2 more");
    }
}
