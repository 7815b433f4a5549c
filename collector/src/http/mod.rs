//! HTTP: the route table, and the manners of every route.
//!
//! From the outside in: request id > log > panics become answers > 30 s in all > the route.
//! Bounds of connections stand in [`serve()`]. Answers are computed from one snapshot, so that
//! numbers of one answer belong together, and carry a strong ETag.

use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;

mod ask;
mod compare;
mod csv;
mod engines;
mod frontier;
mod gates;
mod hardware;
mod health;
mod imports;
mod models;
mod openapi;
mod problem;
mod records;
mod regressions;
mod results;
mod serve;
mod tasks;

pub use serve::serve;

use crate::collector::Collector;
use problem::ApiError;

/// Where the API lives.
pub const PREFIX: &str = "/api/v1";

/// The longest that a request may take, its body included.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Requests are named by us: a client's own id is not taken into the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The whole API under [`PREFIX`], refusals included; merge it with any other router.
pub fn router(collector: Collector) -> Router {
    let mut api = Router::new();
    for (path, methods) in routes().into_iter().chain(twins()) {
        api = api.route(&path, methods);
    }
    let layers = ServiceBuilder::new()
        .layer(from_fn(drop_foreign_request_id))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(|request: &Request| {
                    let extensions = request.extensions();
                    let route = extensions
                        .get::<MatchedPath>()
                        .map_or("", MatchedPath::as_str);
                    let id = request
                        .headers()
                        .get(REQUEST_ID)
                        .and_then(|id| id.to_str().ok());
                    tracing::info_span!(
                        "collector.request",
                        http.method = %request.method(),
                        http.route = route,
                        request.id = id,
                    )
                })
                // Failures are logged where they are understood, once.
                .on_failure(()),
        )
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(CatchPanicLayer::custom(
            |_: Box<dyn std::any::Any + Send>| ApiError::Bug.into_response(),
        ))
        .layer(from_fn(manners));
    let api = api
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(layers)
        .with_state(collector);
    Router::new().nest(PREFIX, api)
}

/// The route table.
fn routes() -> Vec<(String, MethodRouter<Collector>)> {
    let others: [(&str, MethodRouter<Collector>); 12] = [
        ("/records", post(records::submit)),
        ("/records/{content_id}", get(records::detail)),
        ("/records/{content_id}/envelope", get(records::envelope)),
        ("/results/{id}", get(results::detail)),
        ("/models/{slug}", get(models::detail)),
        ("/engines/{slug}", get(engines::detail)),
        ("/engines/{slug}/{build}", get(engines::build)),
        ("/imports/{content_id}/file", get(imports::file)),
        ("/gates/{content_id}", get(gates::detail)),
        ("/series/{id}", get(regressions::series)),
        ("/health", get(health::show)),
        ("/openapi.json", get(openapi::show)),
    ];
    (others.into_iter().chain(tables()))
        .map(|(path, methods)| (path.to_owned(), methods))
        .collect()
}

/// The same answers under an address that says the format. (Routes that end in an id take the
/// ending with the id.)
fn twins() -> Vec<(String, MethodRouter<Collector>)> {
    let with_ending = |(path, methods): (&str, MethodRouter<Collector>)| {
        [".json", ".csv"].map(|ending| (format!("{path}{ending}"), methods.clone()))
    };
    tables().into_iter().flat_map(with_ending).collect()
}

/// The part of it that is tables.
fn tables() -> [(&'static str, MethodRouter<Collector>); 11] {
    [
        ("/records", get(records::list)),
        ("/results", get(results::list)),
        ("/frontier", get(frontier::answer)),
        ("/compare", get(compare::answer)),
        ("/models", get(models::list)),
        ("/tasks", get(tasks::answer)),
        ("/engines", get(engines::list)),
        ("/hardware", get(hardware::list)),
        ("/imports", get(imports::list)),
        ("/gates", get(gates::list)),
        ("/regressions", get(regressions::answer)),
    ]
}

async fn drop_foreign_request_id(mut request: Request, next: Next) -> Response {
    request.headers_mut().remove(REQUEST_ID);
    next.run(request).await
}

/// What holds for every route: a bound on its time, and headers.
async fn manners(request: Request, next: Next) -> Response {
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TooSlow.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if read {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    response
}

#[cfg(test)]
mod tests;
