//! `/health`: whether this collector can do its work.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use domain::api::Health;

use crate::collector::Collector;

/// `ok` when the database answers; reading goes on while it does not.
#[utoipa::path(
    get,
    path = "/api/v1/health",
    responses(
        (status = 200, description = "Everything works", body = Health),
        (status = 503, description = "The database does not answer; reads still do", body = Health),
    )
)]
pub(super) async fn show(State(collector): State<Collector>) -> Response {
    let (code, status) = match collector.store().ping().await {
        Ok(()) => (StatusCode::OK, "ok"),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the database does not answer"
            );
            (StatusCode::SERVICE_UNAVAILABLE, "database-down")
        }
    };
    let snapshot = collector.snapshot();
    let health = Health {
        status: status.to_owned(),
        audience: collector.audience().to_string(),
        data_version: snapshot.data_version().to_owned(),
        records: snapshot.records().len() as u64,
    };
    (code, [(CACHE_CONTROL, "no-store")], Json(health)).into_response()
}
