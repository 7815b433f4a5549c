//! `/compare`: results side by side.

use axum::extract::State;
use axum::response::Response;
use domain::api::{CompareAnswer, Delta, Problem};
use domain::query::CompareQuery;

use super::ask::{Ask, Format, drawn, json};
use super::csv;
use super::problem::{ApiError, bad_fields};
use crate::collector::Collector;
use crate::compare;
use crate::derive::CellResult;

/// Two to six results, the others against the first.
#[utoipa::path(
    get,
    path = "/api/v1/compare",
    params(
        ("r" = String, Query, description = "Two to six ids of results, joined by commas; the first is the base"),
        ("format" = Option<String>, Query, description = "json or csv (the deltas); so do .json, .csv and Accept"),
    ),
    responses(
        (status = 200, description = "Rows, deltas against the first, and differing provenance", body = CompareAnswer),
        (status = 304, description = "The reader's copy still holds"),
        (status = 400, description = "bad-query", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "not-found: one of them is not there", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn answer(
    State(collector): State<Collector>,
    ask: Ask,
) -> Result<Response, ApiError> {
    let query = CompareQuery::parse(&ask.query).map_err(|errors| bad_fields(&errors))?;
    let snapshot = collector.snapshot();
    if query.results.iter().any(|id| snapshot.result(id).is_none()) {
        return Err(ApiError::NotFound);
    }
    let canonical = query.canonical();
    if let Some(unchanged) = ask.unchanged(&collector, &snapshot, &canonical) {
        return Ok(unchanged);
    }
    let asked = snapshot.clone();
    let answer = drawn(&collector, move || {
        let ids = query.results.iter();
        let results: Vec<&CellResult> = ids.filter_map(|id| asked.result(id)).collect();
        compare::answer(&results, asked.data_version())
    })
    .await?;
    Ok(
        ask.answer(&collector, &snapshot, &canonical, || match ask.format {
            Format::Json => json(&answer),
            Format::Csv => csv::table(&columns(), &answer.deltas),
        }),
    )
}

/// The columns of the table of deltas.
pub(super) fn columns() -> Vec<String> {
    csv::columns_of(&Delta::default())
}
