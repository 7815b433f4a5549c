//! Twins: every view also as JSON or CSV, which are the read API's bytes passed on.

use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderValue;
use axum::http::header::{AGE, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::error::PageError;
use crate::layout::Twin;
use crate::names::segment;
use crate::routes::Site;

/// A format that follows the dot of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The API's JSON.
    Json,
    /// The API's CSV.
    Csv,
}

impl Format {
    /// Media type asked of the API.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
        }
    }
}

/// Splits the format off the last segment of a path: neither slugs nor ids have a dot.
pub(crate) fn split(segment: &str) -> (&str, Option<Format>) {
    for (ending, format) in [(".json", Format::Json), (".csv", Format::Csv)] {
        if let Some(stem) = segment.strip_suffix(ending) {
            return (stem, Some(format));
        }
    }
    (segment, None)
}

/// The JSON twin of a page that has no query.
pub(crate) fn json_of(page: &str) -> Vec<Twin> {
    vec![Twin {
        href: format!("{page}.json"),
        kind: "application/json",
        name: "JSON",
    }]
}

/// The twins of a page whose question stands in its query: JSON and CSV of the same.
pub(crate) fn of(page: &str, asked: &str) -> Vec<Twin> {
    let twin = |name, ending, kind| Twin {
        href: format!("{page}.{ending}{asked}"),
        kind,
        name,
    };
    vec![
        twin("JSON", "json", "application/json"),
        twin("CSV", "csv", "text/csv"),
    ]
}

/// A query as it follows a path: with its question mark, or empty.
pub(crate) fn asked(query: Option<String>) -> String {
    let query = query.filter(|query| !query.is_empty());
    query.map_or_else(String::new, |query| format!("?{query}"))
}

/// Passes an answer on to the byte, refusals included.
pub(crate) async fn pass(site: &Site, path: &str, format: Format) -> Result<Response, PageError> {
    let answer = site.client.fetch(path, format.media_type()).await?;
    let mut response = (answer.status, answer.bytes).into_response();
    let kind = HeaderValue::from_str(&answer.content_type)
        .unwrap_or_else(|_| HeaderValue::from_static(format.media_type()));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    if let Some(age) = answer.age {
        response
            .headers_mut()
            .insert(AGE, HeaderValue::from(age.as_secs()));
    }
    Ok(response)
}

/// `GET /{list}.json` and `.csv` of the lists: results, models, engines, hardware, changes, gates.
pub(crate) async fn list(
    State(site): State<Site>,
    Path(list): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let (name, format) = split(&list);
    let path = match query {
        Some(query) if !query.is_empty() => format!("/api/v1/{name}?{query}"),
        _ => format!("/api/v1/{name}"),
    };
    match (name, format) {
        (
            "results" | "frontier" | "engines" | "compare" | "imports" | "tasks" | "regressions"
            | "gates",
            Some(format),
        ) => pass(&site, &path, format).await,
        ("models" | "hardware", Some(Format::Json)) => pass(&site, &path, Format::Json).await,
        _ => Err(PageError::NotFound(format!("page /{}", segment(&list)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dot_starts_the_format() {
        assert_eq!(split("00ff.json"), ("00ff", Some(Format::Json)));
        assert_eq!(split("frontier.csv"), ("frontier", Some(Format::Csv)));
        assert_eq!(split("00ff"), ("00ff", None));
    }
}
