//! `/frontier`: the one question this project answers.

use axum::extract::State;
use axum::response::Response;
use domain::api::{FrontierAnswer, Problem};
use domain::query::FrontierQuery;

use super::ask::{Ask, Format, drawn, json};
use super::problem::{ApiError, bad_fields};
use super::{csv, results};
use crate::collector::Collector;
use crate::frontier;

/// The non-dominated results within a budget.
#[utoipa::path(
    get,
    path = "/api/v1/frontier",
    params(
        ("budget" = Option<f64>, Query, description = "US dollars; 2000 if not given"),
        ("axes" = Option<String>, Query, description = "Two or three of price, quality, decode, joules, joined by '-'"),
        ("min-decode" = Option<f64>, Query, description = "Tokens per second"),
        ("min-quality" = Option<f64>, Query, description = "Percent"),
        ("max-joules" = Option<f64>, Query, description = "Joules per correct answer"),
        ("scope" = Option<String>, Query, description = "Energy scope whose joules are compared; that of the most results if not given"),
        ("across-scopes" = Option<u8>, Query, description = "1: joules of different scopes side by side, which are not comparable"),
        ("imported" = Option<u8>, Query, description = "1: results of other tools beside, with no standing"),
        ("tier" = Option<String>, Query, description = "Lowest tier shown"),
        ("workload" = Option<String>, Query, description = "Workload"),
        ("suite" = Option<String>, Query, description = "Suite version"),
        ("engine" = Option<Vec<String>>, Query, description = "Any of"),
        ("model" = Option<Vec<String>>, Query, description = "Any of"),
        ("setup" = Option<Vec<String>>, Query, description = "Any of"),
        ("vendor" = Option<Vec<String>>, Query, description = "Any of"),
        ("price.{setup}" = Option<f64>, Query, description = "The reader's own price of a setup, in US dollars"),
        ("format" = Option<String>, Query, description = "json or csv (the rows); so do .json, .csv and Accept"),
    ),
    responses(
        (status = 200, description = "The answer", body = FrontierAnswer),
        (status = 304, description = "The reader's copy still holds"),
        (status = 400, description = "bad-query", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn answer(
    State(collector): State<Collector>,
    ask: Ask,
) -> Result<Response, ApiError> {
    let query = FrontierQuery::parse(&ask.query).map_err(|errors| bad_fields(&errors))?;
    let snapshot = collector.snapshot();
    let canonical = query.canonical();
    // The draws take milliseconds of computing, and are not made for a reader who has the answer.
    if let Some(unchanged) = ask.unchanged(&collector, &snapshot, &canonical) {
        return Ok(unchanged);
    }
    let (asked, tier) = (snapshot.clone(), collector.default_tier());
    let judge = collector.clone();
    let answer = drawn(&collector, move || {
        let mut answer = frontier::answer(asked.results(), &query, tier, asked.data_version());
        if query.imported {
            let rows = frontier::imported::beside(asked.imports(), &query, judge.catalogue());
            answer.imported_reason = frontier::imported::why_none(&rows, &query);
            answer.imported = rows;
        }
        answer
    })
    .await?;
    Ok(
        ask.answer(&collector, &snapshot, &canonical, || match ask.format {
            Format::Json => json(&answer),
            Format::Csv => csv::table(&results::columns(), &answer.rows),
        }),
    )
}
