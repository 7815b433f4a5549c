//! `/results`: the published numbers, cell by cell.

use axum::extract::{Path, State};
use axum::response::Response;
use domain::api::{DATA_LICENCE, Problem, ResultDetail, ResultRow, ResultsAnswer};

use super::ask::{Ask, Format, List, json, split_ending};
use super::csv;
use super::problem::ApiError;
use crate::collector::Collector;
use crate::derive::CellResult;

/// Every result, by id.
#[utoipa::path(
    get,
    path = "/api/v1/results",
    params(
        ("limit" = Option<u32>, Query, description = "Rows, 1 to 1000; 100 if not given"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("format" = Option<String>, Query, description = "json or csv; so do .json, .csv and Accept"),
    ),
    responses(
        (status = 200, description = "One page; Link: rel=next leads on", body = ResultsAnswer),
        (status = 304, description = "The reader's copy still holds"),
        (status = 400, description = "bad-query", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(collector): State<Collector>,
    ask: Ask,
) -> Result<Response, ApiError> {
    let snapshot = collector.snapshot();
    let list = List {
        all: snapshot.results(),
        name: |result: &CellResult| &result.row.id,
        row: |result| result.row.clone(),
        columns,
    };
    ask.paged(&collector, &snapshot, &list, |rows, next| ResultsAnswer {
        data_version: snapshot.data_version().to_owned(),
        licence: DATA_LICENCE.to_owned(),
        rows,
        next,
    })
}

/// One result with everything that stands behind it.
#[utoipa::path(
    get,
    path = "/api/v1/results/{id}",
    params(
        ("id" = String, Path, description = "16 hexadecimal digits"),
        ("format" = Option<String>, Query, description = "json, or csv (the row of published numbers)"),
    ),
    responses(
        (status = 200, description = "The result", body = ResultDetail),
        (status = 304, description = "The reader's copy still holds"),
        (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn detail(
    State(collector): State<Collector>,
    Path(id): Path<String>,
    ask: Ask,
) -> Result<Response, ApiError> {
    ask.without_parameters()?;
    let (id, _) = split_ending(&id);
    let snapshot = collector.snapshot();
    let result = snapshot.result(id).ok_or(ApiError::NotFound)?;
    Ok(ask.answer(&collector, &snapshot, "", || match ask.format {
        Format::Json => json(&result.detail(snapshot.data_version())),
        Format::Csv => csv::table(&columns(), std::slice::from_ref(&result.row)),
    }))
}

/// The columns of every table of results.
pub(super) fn columns() -> Vec<String> {
    csv::columns_of(&ResultRow::default())
}
