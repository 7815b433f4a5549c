//! What goes wrong with a page, and the page that says so.

use askama::Template;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use thiserror::Error;

use crate::layout::Layout;
use crate::results::ReadError;

/// Why a page could not be shown.
#[derive(Debug, Error)]
pub(crate) enum PageError {
    /// Nothing lives under this address.
    #[error("find {0}")]
    NotFound(String),
    /// The collector gave no usable answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A template refused its view.
    #[error("render the page: {0}")]
    Render(#[from] askama::Error),
    /// A feed could not be written.
    #[error("write the feed: {0}")]
    Feed(String),
    /// A chart could not be drawn.
    #[error("draw the chart: {0}")]
    Draw(String),
}

#[derive(Template)]
#[template(path = "pages/error.html")]
struct ErrorPage {
    layout: Layout,
    heading: &'static str,
    text: String,
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, heading, text) = match &self {
            Self::NotFound(what) => (
                StatusCode::NOT_FOUND,
                "Nothing lives here",
                format!("There is no {what}. It may have been mistyped, or withdrawn; the lists below have all there is."),
            ),
            Self::Read(ReadError::Refused { status, .. }) if *status == StatusCode::NOT_FOUND => (
                StatusCode::NOT_FOUND,
                "Nothing lives here",
                "The collector knows nothing under this address. It may have been mistyped, or withdrawn; \
                 the lists below have all there is."
                    .to_owned(),
            ),
            Self::Read(ReadError::Refused { detail, .. }) => (
                StatusCode::BAD_REQUEST,
                "The question could not be understood",
                format!("The collector says: {detail}"),
            ),
            Self::Read(ReadError::Away(_)) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The collector does not answer",
                "The numbers live in the collector, and it cannot be reached now. Nothing is lost: \
                 please try again in half a minute."
                    .to_owned(),
            ),
            Self::Read(_) | Self::Render(_) | Self::Draw(_) | Self::Feed(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "This page is broken",
                "That is our mistake, and it is in our log. The other pages may well work.".to_owned(),
            ),
        };
        if status.is_server_error() {
            tracing::error!(error = %self, status = status.as_u16(), "failed to show a page");
        }
        let page = ErrorPage {
            layout: Layout::new("", heading, text.clone()),
            heading,
            text,
        };
        let body = page.render().unwrap_or_else(|_| heading.to_owned());
        let mut response = (status, Html(body)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("30"));
        }
        response
    }
}
