//! Pages of words: methodology, glossary, robots, and the one for addresses that lead nowhere.

use askama::Template;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::error::PageError;
use crate::layout::{Layout, render};
use crate::names;

#[derive(Template)]
#[template(path = "pages/methodology.html")]
struct Methodology {
    layout: Layout,
}

#[derive(Template)]
#[template(path = "pages/glossary.html")]
struct Glossary {
    layout: Layout,
}

/// `GET /methodology`.
pub(crate) async fn methodology() -> Result<Response, PageError> {
    let layout = Layout::new(
        "/methodology",
        "Methodology",
        "What each number means, how it is measured, when two results count as different.",
    );
    render(StatusCode::OK, &Methodology { layout }, &[])
}

/// `GET /glossary`.
pub(crate) async fn glossary() -> Result<Response, PageError> {
    let layout = Layout::new("/glossary", "Glossary", "The words of these pages.");
    render(StatusCode::OK, &Glossary { layout }, &[])
}

/// `GET /robots.txt`: pages may be indexed; the API and the endless questions are for people.
pub(crate) async fn robots() -> Response {
    (
        [(CONTENT_TYPE, "text/plain; charset=utf-8")],
        "User-agent: *\nDisallow: /api/\nDisallow: /frontier?\n",
    )
        .into_response()
}

/// Everything else.
pub(crate) async fn nothing(uri: Uri) -> PageError {
    PageError::NotFound(format!("page {}", names::cut(uri.path(), 80)))
}
