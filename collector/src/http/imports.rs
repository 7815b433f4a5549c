//! `/imports`: results of other tools, and the files they were read from.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use domain::api::{DATA_LICENCE, ImportRow, ImportsAnswer, Problem};
use domain::envelope;
use domain::import::sealed::{Import, PAYLOAD_TYPE};

use super::ask::{Ask, List};
use super::csv;
use super::problem::ApiError;
use super::records::stored;
use crate::collector::{Collector, off_the_loop};

/// Rows of other tools' files, newest file first. They are in no median and on no front.
#[utoipa::path(
    get,
    path = "/api/v1/imports",
    params(
        ("limit" = Option<u32>, Query, description = "Rows, 1 to 1000; 100 if not given"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("format" = Option<String>, Query, description = "json or csv; so do .json, .csv and Accept"),
    ),
    responses(
        (status = 200, description = "One page; Link: rel=next leads on", body = ImportsAnswer),
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
        all: snapshot.imports(),
        name: |row: &Arc<ImportRow>| &row.id,
        row: |row| ImportRow::clone(row),
        columns,
    };
    ask.paged(&collector, &snapshot, &list, |rows, next| ImportsAnswer {
        data_version: snapshot.data_version().to_owned(),
        licence: DATA_LICENCE.to_owned(),
        rows,
        next,
    })
}

/// The columns of a list of imported rows.
pub(super) fn columns() -> Vec<String> {
    csv::columns_of(&ImportRow::default())
}

/// The file itself, without the command lines and secrets that its importer took out. Read it with
/// `joulemark import` to get the same rows.
#[utoipa::path(
    get,
    path = "/api/v1/imports/{content_id}/file",
    params(("content_id" = String, Path, description = "64 hexadecimal digits")),
    responses(
        (status = 200, description = "The bytes", body = String, content_type = "text/plain; charset=utf-8"),
        (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "db-down", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn file(
    State(collector): State<Collector>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let stored = stored(&collector, &id).await?;
    let bytes = off_the_loop(move || {
        let key = envelope::public_key(&stored.public_key).ok()?;
        let verified = stored.open().verify::<Import>(&key, PAYLOAD_TYPE).ok()?;
        verified.value().shown().ok()
    })
    .await
    .ok_or(ApiError::NotFound)?;
    // Anybody's bytes: never shown as a page of ours.
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment"),
    ];
    Ok((headers, bytes).into_response())
}
