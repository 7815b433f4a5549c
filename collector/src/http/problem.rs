//! Refusals and failures as RFC 9457 `application/problem+json`.
//!
//! One `match` turns every error into status, code and words. No SQL, no path and no echo of the
//! request leave the house; what happened inside is logged here, once.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::api::{Problem, ProblemPlace};
use domain::query::FieldError;

use crate::ingest::IngestError;
use crate::store::StoreError;

/// The media type of every refusal.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// Seconds after which a request that failed for a passing reason may be sent again.
const RETRY_AFTER_SECONDS: &str = "2";

/// Why a request was not answered as asked.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// Nothing has this address.
    NotFound,
    /// The address has other methods.
    MethodNotAllowed,
    /// The query cannot be read: which parameters.
    BadQuery(Vec<ProblemPlace>),
    /// The body has an encoding or a type that is not taken here.
    Encoding(&'static str),
    /// The body did not arrive whole.
    Body,
    /// An envelope was refused.
    Ingest(IngestError),
    /// The store did not answer.
    Store(StoreError),
    /// More is in work than there is room for.
    Overloaded,
    /// It took longer than its bound.
    TooSlow,
    /// A panic: a bug.
    Bug,
}

impl From<IngestError> for ApiError {
    fn from(error: IngestError) -> Self {
        match error {
            IngestError::Store(error) => Self::Store(error),
            other => Self::Ingest(other),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// One parameter that cannot be read.
pub(crate) fn bad_parameter(name: &str, why: &str) -> ApiError {
    // A name that the API does not know is the sender's text.
    let known = name.len() <= 80
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    ApiError::BadQuery(vec![ProblemPlace {
        pointer: if known {
            name.to_owned()
        } else {
            String::new()
        },
        code: why.to_owned(),
    }])
}

/// Every parameter that cannot be read.
pub(crate) fn bad_fields(errors: &[FieldError]) -> ApiError {
    let places =
        errors
            .iter()
            .flat_map(|error| match bad_parameter(&error.field, &error.message) {
                ApiError::BadQuery(places) => places,
                _ => Vec::<ProblemPlace>::new(),
            });
    ApiError::BadQuery(places.collect())
}

impl ApiError {
    /// Status, code, title, what to do.
    fn parts(&self) -> (StatusCode, &'static str, &'static str, String) {
        use StatusCode as S;
        let fixed = |status, code, title, detail: &str| (status, code, title, detail.to_owned());
        match self {
            Self::NotFound => fixed(
                S::NOT_FOUND,
                "not-found",
                "Nothing has this address",
                "See /api/v1/openapi.json for what there is.",
            ),
            Self::MethodNotAllowed => fixed(
                S::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "This address has other methods",
                "See /api/v1/openapi.json for what there is.",
            ),
            Self::BadQuery(_) => fixed(
                S::BAD_REQUEST,
                "bad-query",
                "The query cannot be read",
                "The errors name each parameter and what would be right.",
            ),
            Self::Encoding(detail) => fixed(
                S::UNSUPPORTED_MEDIA_TYPE,
                "encoding",
                "The body has an encoding or a type that is not taken here",
                detail,
            ),
            Self::Body => fixed(
                S::BAD_REQUEST,
                "malformed-envelope",
                "The body did not arrive whole",
                "Send it again.",
            ),
            Self::Ingest(error) => ingest_parts(error),
            Self::Store(StoreError::Unavailable(_)) => fixed(
                S::SERVICE_UNAVAILABLE,
                "db-down",
                "The database does not answer",
                "Send it again after a while: a repeated submission is stored once.",
            ),
            Self::Store(StoreError::Overloaded(_)) | Self::Overloaded | Self::TooSlow => fixed(
                S::SERVICE_UNAVAILABLE,
                "overloaded",
                "It took longer than its bound",
                "Send it again after a while: a repeated submission is stored once.",
            ),
            Self::Store(_) | Self::Bug => fixed(
                S::INTERNAL_SERVER_ERROR,
                "bug",
                "The collector made a mistake",
                "It was logged under this answer's x-request-id.",
            ),
        }
    }

    fn log(&self) {
        match self {
            Self::Store(error) => {
                tracing::error!(error = error as &dyn std::error::Error, "the store failed");
            }
            Self::Overloaded | Self::TooSlow => tracing::warn!("a request was shed: {self:?}"),
            Self::Bug => tracing::error!("a request panicked"),
            _ => tracing::debug!("a request was refused: {self:?}"),
        }
    }

    /// Places in the request.
    fn places(&self) -> &[ProblemPlace] {
        match self {
            Self::BadQuery(places) | Self::Ingest(IngestError::Schema(places)) => places,
            _ => &[],
        }
    }
}

fn ingest_parts(error: &IngestError) -> (StatusCode, &'static str, &'static str, String) {
    use StatusCode as S;
    let (status, code, title, detail) = match error {
        IngestError::TooLarge => (
            S::PAYLOAD_TOO_LARGE,
            "too-large",
            "The envelope is too long",
            "A record has at most 1,048,576 bytes, a gate 8,388,608, an envelope 11,500,000.",
        ),
        IngestError::Malformed(what) => {
            let title = "This is not an envelope";
            return (S::BAD_REQUEST, "malformed-envelope", title, what.clone());
        }
        IngestError::UnknownKey => (
            S::UNAUTHORIZED,
            "unknown-key",
            "This key is not allowed here",
            "Ask the collector's operator to add the public key to its file of allowed keys.",
        ),
        IngestError::KeyRevoked => (
            S::FORBIDDEN,
            "key-revoked",
            "This key was revoked",
            "Make a new key and have it allowed.",
        ),
        IngestError::BadSignature => (
            S::UNAUTHORIZED,
            "bad-signature",
            "The signature does not fit",
            "The bytes were changed after signing, or another key signed them.",
        ),
        IngestError::Schema(_) => (
            S::UNPROCESSABLE_ENTITY,
            "schema-violation",
            "The payload is not a record of this schema",
            "The errors name each place.",
        ),
        IngestError::WrongAudience => (
            S::FORBIDDEN,
            "wrong-audience",
            "The record was sealed for another collector",
            "Measure again for this collector; its audience is in /api/v1/health.",
        ),
        IngestError::Store(_) => unreachable!("kept apart by From<IngestError>"),
    };
    (status, code, title, detail.to_owned())
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let (status, code, title, detail) = self.parts();
        let retryable = status == StatusCode::SERVICE_UNAVAILABLE;
        let problem = Problem {
            kind: format!("/problems/{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail,
            code: code.to_owned(),
            retryable,
            errors: self.places().to_vec(),
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if retryable {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("DSSE"));
        }
        response
    }
}
