//! `/tasks`: the cheapest setup that passes a kind of task.

use axum::extract::State;
use axum::response::Response;
use domain::api::{PassingResult, Problem, TaskRow, TasksAnswer};
use domain::query::TasksQuery;

use super::ask::{Ask, Format, json};
use super::csv;
use super::problem::{ApiError, bad_fields};
use crate::collector::Collector;
use crate::tasks;

/// By family and level: the results that surely pass, and the cheapest of them.
#[utoipa::path(
    get,
    path = "/api/v1/tasks",
    params(
        ("suite" = Option<String>, Query, description = "Suite version; core-v1 if it has results, else that of the most results"),
        ("pass" = Option<f64>, Query, description = "Percent of right answers that passes, 1 to 99; 80 if not given"),
        ("format" = Option<String>, Query, description = "json or csv (the rows); so do .json, .csv and Accept"),
    ),
    responses(
        (status = 200, description = "One row per family and level", body = TasksAnswer),
        (status = 304, description = "The reader's copy still holds"),
        (status = 400, description = "bad-query", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn answer(
    State(collector): State<Collector>,
    ask: Ask,
) -> Result<Response, ApiError> {
    let query = TasksQuery::parse(&ask.query).map_err(|errors| bad_fields(&errors))?;
    let snapshot = collector.snapshot();
    let (results, tier) = (snapshot.results(), collector.default_tier());
    let answer = tasks::answer(results, &query, tier, snapshot.data_version())
        .map_err(|errors| bad_fields(&errors))?;
    Ok(ask.answer(&collector, &snapshot, &query.canonical(), || {
        match ask.format {
            Format::Json => json(&answer),
            Format::Csv => csv::table(&columns(), &answer.rows),
        }
    }))
}

/// The columns of the table of tasks.
pub(super) fn columns() -> Vec<String> {
    csv::columns_of(&TaskRow {
        cheapest: Some(PassingResult::default()),
        ..TaskRow::default()
    })
}
