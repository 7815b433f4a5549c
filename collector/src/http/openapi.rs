//! `/openapi.json`: the contract, made from the very handlers and types.

use axum::extract::State;
use axum::response::Response;
use utoipa::OpenApi;

use super::ask::{Ask, json};
use super::problem::ApiError;
use super::{
    compare, engines, frontier, gates, hardware, health, imports, models, records, regressions,
    results, tasks,
};
use crate::collector::Collector;

/// The document.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Joulemark read API",
        description = "Signed measurements of local AI: quality, speed, cost and joules. \
                       Lists and answers are JSON or CSV (`?format=csv`, a `.csv` ending, or \
                       `Accept: text/csv`). In CSV a missing figure is an empty cell with its \
                       reason in the column beside it, and a text that a spreadsheet would run \
                       gets a leading apostrophe. Refusals are RFC 9457 problems. Data is \
                       CC-BY-4.0.",
        license(name = "Apache-2.0 OR MIT"),
    ),
    paths(
        records::submit,
        records::list,
        records::detail,
        records::envelope,
        results::list,
        results::detail,
        frontier::answer,
        compare::answer,
        models::list,
        models::detail,
        tasks::answer,
        engines::list,
        engines::detail,
        engines::build,
        hardware::list,
        imports::list,
        imports::file,
        gates::list,
        gates::detail,
        regressions::answer,
        regressions::series,
        health::show,
        show,
    )
)]
pub(super) struct Document;

/// This document.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value))
)]
pub(super) async fn show(
    State(collector): State<Collector>,
    ask: Ask,
) -> Result<Response, ApiError> {
    ask.without_parameters()?;
    let ask = ask.as_json();
    Ok(ask.answer(&collector, &collector.snapshot(), "", || {
        json(&Document::openapi())
    }))
}
