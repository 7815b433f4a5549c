//! What a reader asked for: which format, which parameters, which version they have already.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::csv;
use super::problem::{ApiError, bad_parameter};
use crate::collector::{Collector, off_the_loop};
use crate::snapshot::Snapshot;

/// The most rows of one page.
const MAX_LIMIT: usize = 1_000;

/// Rows of a page when the reader does not say.
const DEFAULT_LIMIT: usize = 100;

/// Readers may keep an answer so long, then must ask whether it still holds.
const CACHE_POLICY: &str = "public, max-age=30, must-revalidate";

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Csv,
}

/// A read request, apart from the path's own parameters.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) format: Format,
    /// The path without a format's ending.
    path: String,
    /// The query without `format`.
    pub(crate) query: String,
    if_none_match: Option<String>,
}

/// A list that is read page by page.
pub(crate) struct List<'a, T, R> {
    /// All of it.
    pub(crate) all: &'a [T],
    /// What a cursor names.
    pub(crate) name: fn(&T) -> &str,
    /// Its row in the answer.
    pub(crate) row: fn(&T) -> R,
    /// The columns of its table.
    pub(crate) columns: fn() -> Vec<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) limit: usize,
    /// The row after which it starts.
    pub(crate) after: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Ask {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Nested routers see the path without their prefix.
        let path = parts
            .extensions
            .get::<axum::extract::OriginalUri>()
            .map_or_else(|| parts.uri.path(), |uri| uri.path())
            .to_owned();
        let (path, ending) = split_ending(&path);
        let mut format = ending;
        let mut query = String::new();
        for pair in parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|p| !p.is_empty())
        {
            match pair.split_once('=') {
                Some(("format", "json")) => format = Some(Format::Json),
                Some(("format", "csv")) => format = Some(Format::Csv),
                Some(("format", _)) => {
                    return Err(bad_parameter("format", "json or csv is needed"));
                }
                _ => {
                    let joint = if query.is_empty() { "" } else { "&" };
                    let _ = write!(query, "{joint}{pair}");
                }
            }
        }
        let header = |name| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        Ok(Self {
            format: format.unwrap_or_else(|| accepted(header(ACCEPT).unwrap_or_default())),
            path: path.to_owned(),
            query,
            if_none_match: header(IF_NONE_MATCH).map(str::to_owned),
        })
    }
}

/// The format of whichever known type is named first; JSON when none is.
fn accepted(accept: &str) -> Format {
    let at = |kind| accept.find(kind).unwrap_or(usize::MAX);
    if at("text/csv") < at("application/json") {
        Format::Csv
    } else {
        Format::Json
    }
}

/// A path segment's format ending, split off.
pub(crate) fn split_ending(path: &str) -> (&str, Option<Format>) {
    if let Some(stem) = path.strip_suffix(".csv") {
        (stem, Some(Format::Csv))
    } else if let Some(stem) = path
        .strip_suffix(".json")
        .filter(|stem| !stem.ends_with("/openapi"))
    {
        (stem, Some(Format::Json))
    } else {
        (path, None)
    }
}

impl Ask {
    /// Refuses parameters where there are none.
    pub(crate) fn without_parameters(&self) -> Result<(), ApiError> {
        match form(&self.query).next() {
            None => Ok(()),
            Some((name, _)) => Err(bad_parameter(&name, "only format is known here")),
        }
    }

    /// One page of a list, and the address of the next one. Its JSON is what `answer` makes of the
    /// page's rows and the next one's cursor.
    pub(crate) fn paged<T, R: Serialize, A: Serialize>(
        &self,
        collector: &Collector,
        snapshot: &Snapshot,
        list: &List<'_, T, R>,
        answer: impl FnOnce(Vec<R>, Option<String>) -> A,
    ) -> Result<Response, ApiError> {
        let page = self.page()?;
        let (here, next) = page.of(list.all, list.name)?;
        let mut response = self.answer(collector, snapshot, &page.spelling(), || {
            let rows: Vec<R> = here.iter().map(list.row).collect();
            match self.format {
                Format::Csv => csv::table(&(list.columns)(), &rows),
                Format::Json => json(&answer(rows, next.clone())),
            }
        });
        if let Some(cursor) = &next {
            self.link_next(&mut response, &page, cursor);
        }
        Ok(response)
    }

    /// `limit` and `cursor`, and nothing else.
    fn page(&self) -> Result<Page, ApiError> {
        let mut page = Page {
            limit: DEFAULT_LIMIT,
            after: None,
        };
        for (name, value) in form(&self.query) {
            match name.as_str() {
                "limit" => {
                    page.limit = value
                        .parse()
                        .ok()
                        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                        .ok_or_else(|| {
                            bad_parameter("limit", "a number from 1 to 1000 is needed")
                        })?;
                }
                "cursor" => {
                    let row = hex::decode(&value)
                        .ok()
                        .and_then(|row| String::from_utf8(row).ok());
                    let row = row.ok_or_else(|| bad_parameter("cursor", UNKNOWN_CURSOR))?;
                    page.after = Some(row);
                }
                other => {
                    return Err(bad_parameter(
                        other,
                        "only limit, cursor and format are known here",
                    ));
                }
            }
        }
        Ok(page)
    }

    /// The answer of one snapshot: 304 when the reader has it already, else what `write` makes.
    /// `question` is the canonical spelling of the parameters.
    pub(crate) fn answer(
        &self,
        collector: &Collector,
        snapshot: &Snapshot,
        question: &str,
        write: impl FnOnce() -> Vec<u8>,
    ) -> Response {
        if let Some(unchanged) = self.unchanged(collector, snapshot, question) {
            return unchanged;
        }
        let mut headers = self.cache_headers(collector, snapshot, question);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type()));
        (headers, write()).into_response()
    }

    /// An answer that holds for this request only.
    pub(crate) fn fresh(&self, body: Vec<u8>) -> Response {
        let headers = [
            (CONTENT_TYPE, self.media_type()),
            (CACHE_CONTROL, "no-cache"),
            (VARY, "accept"),
        ];
        (headers, body).into_response()
    }

    fn media_type(&self) -> &'static str {
        match self.format {
            Format::Json => "application/json",
            Format::Csv => csv::MEDIA_TYPE,
        }
    }

    /// 304 when the reader has the answer already.
    pub(crate) fn unchanged(
        &self,
        collector: &Collector,
        snapshot: &Snapshot,
        question: &str,
    ) -> Option<Response> {
        let tag = self.tag(collector, snapshot.data_version(), question);
        let have = self.if_none_match.as_deref()?;
        names(have, &tag).then(|| {
            let headers = self.cache_headers(collector, snapshot, question);
            (StatusCode::NOT_MODIFIED, headers).into_response()
        })
    }

    /// The same question where there is only JSON.
    pub(crate) fn as_json(&self) -> Self {
        Self {
            format: Format::Json,
            ..self.clone()
        }
    }

    fn cache_headers(
        &self,
        collector: &Collector,
        snapshot: &Snapshot,
        question: &str,
    ) -> HeaderMap {
        let tag = self.tag(collector, snapshot.data_version(), question);
        let tag = HeaderValue::from_str(&tag).expect("hex digits in quotes");
        HeaderMap::from_iter([
            (ETAG, tag),
            (CACHE_CONTROL, HeaderValue::from_static(CACHE_POLICY)),
            (VARY, HeaderValue::from_static("accept")),
        ])
    }

    /// A strong tag: it changes with the data, the question, the format, this collector's
    /// settings and this program's version.
    fn tag(&self, collector: &Collector, data_version: &str, question: &str) -> String {
        let mut hasher = Sha256::new();
        for part in [
            env!("CARGO_PKG_VERSION"),
            collector.default_tier().as_str(),
            &self.path,
            question,
            match self.format {
                Format::Json => "json",
                Format::Csv => "csv",
            },
        ] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let digest: [u8; 32] = hasher.finalize().into();
        format!("\"{data_version}-{}\"", hex::encode(&digest[..8]))
    }

    /// Adds the address of the next page.
    fn link_next(&self, response: &mut Response, page: &Page, cursor: &str) {
        let format = match self.format {
            Format::Json => "json",
            Format::Csv => "csv",
        };
        let link = format!(
            "<{}?cursor={cursor}&format={format}&limit={}>; rel=\"next\"",
            self.path, page.limit
        );
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(LINK, link);
        }
    }
}

const UNKNOWN_CURSOR: &str = "it names no row: start again without it";

impl Page {
    /// The rows of this page, and the cursor of the next one.
    pub(crate) fn of<'a, T>(
        &self,
        rows: &'a [T],
        name: impl Fn(&T) -> &str,
    ) -> Result<(&'a [T], Option<String>), ApiError> {
        let start = match &self.after {
            None => 0,
            Some(after) => {
                let found = rows.iter().position(|row| name(row) == after);
                found.ok_or_else(|| bad_parameter("cursor", UNKNOWN_CURSOR))? + 1
            }
        };
        let end = rows.len().min(start + self.limit);
        let page = &rows[start..end];
        let next = (end < rows.len()).then(|| page.last().map(|row| hex::encode(name(row))));
        Ok((page, next.flatten()))
    }

    /// Its canonical spelling.
    pub(crate) fn spelling(&self) -> String {
        format!(
            "{}\n{}",
            self.limit,
            self.after.as_deref().unwrap_or_default()
        )
    }
}

/// Work that takes a core for milliseconds: off the loop, and no more of it at once than there is room for.
/// Ask for it once the reader is known not to have the answer.
pub(crate) async fn drawn<T: Send + 'static>(
    collector: &Collector,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let room = Arc::clone(collector.in_drawing()).acquire_owned().await;
    let room = room.map_err(|_| ApiError::Overloaded)?;
    let drawn = off_the_loop(move || {
        let made = work();
        // Given back when the work ends, though nobody may wait for it any more.
        drop(room);
        made
    });
    Ok(drawn.await)
}

/// JSON of an answer of ours.
pub(crate) fn json<T: Serialize>(answer: &T) -> Vec<u8> {
    serde_json::to_vec(answer).expect("answers have only values that JSON has")
}

/// Whether an `If-None-Match` names the tag; weak tags compare equal there (RFC 9110, 13.1.2).
fn names(have: &str, tag: &str) -> bool {
    have.split(',')
        .map(str::trim)
        .any(|have| have == "*" || have.trim_start_matches("W/") == tag)
}

/// The decoded pairs of a query.
fn form(query: &str) -> impl Iterator<Item = (String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // The known parameters have values of letters and digits: an escape is not needed.
            (name.to_owned(), value.to_owned())
        })
}
