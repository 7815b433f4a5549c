//! Two to six results side by side: their figures, what can be told apart, what differs in how
//! they came about. Nothing is divided across suites, workloads or energy scopes.

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::api::{CompareAnswer, Delta, ResultRow};
use url::form_urlencoded;

use crate::error::PageError;
use crate::format::{self, Cell, Quantity};
use crate::layout::{Layout, Twin, render};
use crate::names;
use crate::results::ReadError;
use crate::routes::Site;

/// As many as stand side by side on a page.
const MOST: usize = 6;

#[derive(Template)]
#[template(path = "pages/compare.html")]
struct ComparePage {
    layout: Layout,
    /// What was asked, to be changed.
    asked: String,
    /// Why there is no comparison.
    refusal: Option<String>,
    results: Vec<Head>,
    figures: Vec<(&'static str, Vec<Cell>)>,
    deltas: Vec<Against>,
    differs: Vec<(String, Vec<Option<String>>)>,
}

/// A result at the head of its column.
struct Head {
    href: String,
    name: String,
    setup: String,
}

/// One result against the base.
struct Against {
    name: String,
    lines: Vec<DeltaLine>,
}

struct DeltaLine {
    figure: &'static str,
    /// The change in words, or why there is none.
    change: String,
    fine: String,
    /// Which of the two is better, or that this cannot be told.
    verdict: &'static str,
}

/// `GET /compare?r=a,b`; `r` may also be given several times, as a form does.
pub(crate) async fn show(
    State(site): State<Site>,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    let ids = ids(&raw.unwrap_or_default());
    let asked = ids.join(",");
    let refuse = |status, words: String| {
        let page = ComparePage::without(&asked, words);
        render(status, &page, &[])
    };
    if ids.len() < 2 {
        return refuse(
            StatusCode::OK,
            "A comparison needs two to six results: tick them on a model’s page, or give their ids."
                .to_owned(),
        );
    }
    if ids.len() > MOST {
        return refuse(
            StatusCode::BAD_REQUEST,
            format!(
                "{} results do not fit side by side: at most {MOST}.",
                ids.len()
            ),
        );
    }
    let path = format!("/api/v1/compare?r={}", names::segment(&asked));
    match site.client.read::<CompareAnswer>(&path).await {
        Ok((answer, age)) => {
            let mut page = ComparePage::of(&answer, &asked);
            page.layout.age = age;
            let twins = page.layout.twins.clone();
            render(StatusCode::OK, &page, &twins)
        }
        Err(ReadError::Refused { status, detail, .. }) if status.is_client_error() => {
            refuse(status, detail)
        }
        Err(other) => Err(other.into()),
    }
}

/// The ids, each once, in the order given.
fn ids(query: &str) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for (key, value) in form_urlencoded::parse(query.as_bytes()).take(100) {
        if key != "r" {
            continue;
        }
        for id in value.split(',').map(str::trim).filter(|id| !id.is_empty()) {
            let id: String = id.chars().take(64).collect();
            if !ids.contains(&id) && ids.len() <= MOST {
                ids.push(id);
            }
        }
    }
    ids
}

impl ComparePage {
    fn without(asked: &str, refusal: String) -> Self {
        Self {
            layout: Layout::new("", "Compare results".to_owned(), refusal.clone()),
            asked: asked.to_owned(),
            refusal: Some(refusal),
            results: Vec::new(),
            figures: Vec::new(),
            deltas: Vec::new(),
            differs: Vec::new(),
        }
    }

    fn of(answer: &CompareAnswer, asked: &str) -> Self {
        let rows = &answer.rows;
        let engines = names::Engines::of(rows.iter());
        let name = |row: &ResultRow| engines.full(row);
        let title = rows.iter().map(name).collect::<Vec<_>>().join(" against ");
        let mut layout = Layout::new("", title.clone(), format!("{title}, measured."));
        let twin = |name, ending, kind| Twin {
            href: format!("/compare.{ending}?r={}", names::segment(asked)),
            kind,
            name,
        };
        layout.twins = vec![
            twin("JSON", "json", "application/json"),
            twin("CSV", "csv", "text/csv"),
        ];
        Self {
            layout,
            asked: asked.to_owned(),
            refusal: None,
            results: rows
                .iter()
                .map(|row| Head {
                    href: names::result_path(&row.id),
                    name: name(row),
                    setup: row.setup_name.clone(),
                })
                .collect(),
            figures: figures(rows),
            deltas: rows
                .iter()
                .skip(1)
                .map(|row| Against {
                    name: name(row),
                    lines: answer
                        .deltas
                        .iter()
                        .filter(|delta| delta.id == row.id)
                        .map(line)
                        .collect(),
                })
                .collect(),
            differs: answer
                .differs
                .iter()
                .map(|line| (line.label.clone(), line.values.clone()))
                .collect(),
        }
    }
}

/// A figure of a row.
type Of = fn(&ResultRow) -> Cell;

fn figures(rows: &[ResultRow]) -> Vec<(&'static str, Vec<Cell>)> {
    let lines: [(&'static str, Of); 9] = [
        ("Quality", format::quality),
        ("Decode", format::decode),
        ("Prefill", |row| {
            Cell::new(Quantity::Speed, row.prefill(), None)
        }),
        ("Time to first token", |row| {
            Cell::new(Quantity::Milliseconds, row.ttft(), None)
        }),
        ("Energy scope", |row| match &row.energy_scope {
            Some(scope) => Cell::words(scope.clone()),
            None => Cell::missing(row.energy_reason.as_deref().unwrap_or_default()),
        }),
        ("Joules per correct answer", format::joules),
        ("Joules per output token", |row| {
            let why = row
                .decode_energy_reason
                .as_ref()
                .or(row.energy_reason.as_ref());
            Cell::new(
                Quantity::Joules,
                row.joules_per_output_token(),
                why.map(String::as_str),
            )
        }),
        ("Peak memory", |row| {
            Cell::new(Quantity::Bytes, row.peak_memory(), None)
        }),
        ("Price", |row| match super::rows::price(row) {
            (Some(usd), _) => Cell::words(usd),
            (None, why) => Cell::missing(&why),
        }),
    ];
    lines
        .into_iter()
        .map(|(name, of)| (name, rows.iter().map(of).collect::<Vec<_>>()))
        .filter(|(_, cells)| cells.iter().any(|cell| cell.value.is_some()))
        .collect()
}

/// Column, words, and whether more is better.
const FIGURES: [(&str, &str, bool); 7] = [
    ("quality", "quality", true),
    ("decode_tokens_per_second", "decode speed", true),
    ("prefill_tokens_per_second", "prefill speed", true),
    ("ttft_ms", "time to first token", false),
    (
        "joules_per_correct_answer",
        "joules per correct answer",
        false,
    ),
    ("joules_per_output_token", "joules per output token", false),
    ("accuracy_per_joule", "intelligence per joule", true),
];

fn line(delta: &Delta) -> DeltaLine {
    let known = FIGURES
        .iter()
        .find(|(column, _, _)| *column == delta.figure);
    let (_, figure, more_is_better) = *known.unwrap_or(&("", "another figure", true));
    let Some(value) = delta.value.filter(|value| value.is_finite()) else {
        return DeltaLine {
            figure,
            change: format!(
                "not compared: {}",
                delta
                    .reason
                    .as_deref()
                    .unwrap_or("the reason is not recorded")
            ),
            fine: String::new(),
            verdict: "",
        };
    };
    // Quality in points; everything else as a ratio, said as a change in percent.
    let is_points = delta.figure == "quality";
    let neutral = if is_points { 0.0 } else { 1.0 };
    let words = |value: f64| {
        if is_points {
            signed(value)
        } else {
            signed((value - 1.0) * 100.0)
        }
    };
    let unit = if is_points { "points" } else { "%" };
    let interval = delta.ci95_low.zip(delta.ci95_high);
    let pairing = if delta.paired {
        "paired over the same items"
    } else {
        "unpaired"
    };
    DeltaLine {
        figure,
        change: format!("{} {unit}", words(value)),
        fine: match interval {
            Some((low, high)) => format!("{} to {} {unit}, {pairing}", words(low), words(high)),
            None => format!("no interval, {pairing}"),
        },
        verdict: match interval {
            Some((low, high)) if low > neutral || high < neutral => {
                if (value > neutral) == more_is_better {
                    "better"
                } else {
                    "worse"
                }
            }
            Some(_) => "not to be told apart",
            None => "",
        },
    }
}

fn signed(value: f64) -> String {
    let text = format::rough(value);
    if value > 0.0 {
        format!("+{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(figure: &str, value: Option<f64>, ci95: Option<(f64, f64)>) -> Delta {
        Delta {
            id: "b".to_owned(),
            figure: figure.to_owned(),
            value,
            ci95_low: ci95.map(|ci| ci.0),
            ci95_high: ci95.map(|ci| ci.1),
            paired: true,
            reason: value
                .is_none()
                .then(|| "joules of cpu.pkg and wall.ac".to_owned()),
            ..Delta::default()
        }
    }

    #[test]
    fn ids_come_from_commas_and_from_a_form_alike() {
        assert_eq!(ids("r=a,b"), ["a", "b"]);
        assert_eq!(ids("r=a&r=b&r=a"), ["a", "b"]);
        assert_eq!(ids("q=a&r=+,"), Vec::<String>::new());
        assert_eq!(ids("r=1,2,3,4,5,6,7,8").len(), MOST + 1);
    }

    #[test]
    fn fewer_joules_and_more_quality_are_better_when_the_interval_says_so() {
        let joules = line(&delta(
            "joules_per_correct_answer",
            Some(0.8),
            Some((0.7, 0.9)),
        ));
        assert_eq!(
            (joules.change.as_str(), joules.verdict),
            ("−20 %", "better")
        );
        let speed = line(&delta(
            "decode_tokens_per_second",
            Some(0.8),
            Some((0.7, 1.1)),
        ));
        assert_eq!(speed.verdict, "not to be told apart");
        let quality = line(&delta("quality", Some(-3.0), Some((-5.0, -1.0))));
        assert_eq!(
            (quality.change.as_str(), quality.verdict),
            ("−3 points", "worse")
        );
    }

    #[test]
    fn what_must_not_be_divided_says_why() {
        let refused = line(&delta("joules_per_output_token", None, None));
        assert!(
            refused.change.contains("cpu.pkg and wall.ac"),
            "{}",
            refused.change
        );
        assert_eq!(refused.verdict, "");
    }
}
