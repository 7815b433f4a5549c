//! `/records`: envelopes in, and what became of them.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, LOCATION};
use axum::response::{IntoResponse, Response};
use domain::api::{DATA_LICENCE, Problem, Receipt, RecordDetail, RecordSummary, RecordsAnswer};
use domain::envelope::{self, Envelope, MAX_ENVELOPE_BYTES};
use domain::gate::record::{self as gate, GateRecord};
use domain::ids::ContentId;
use domain::import::sealed::{self, Import};
use domain::record::{PAYLOAD_TYPE, Record};
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::ask::{Ask, Format, List, json, split_ending};
use super::csv;
use super::problem::ApiError;
use crate::collector::{Collector, off_the_loop};
use crate::ingest::IngestError;
use crate::snapshot;
use crate::store::envelope::StoredEnvelope;

/// So much of a body that is too long is read and dropped, so that a sender who is still
/// writing hears the answer; nothing of it is kept.
const MAX_DROPPED_BYTES: usize = 16 << 20;

/// What every envelope but a long gate's fits into, and what one permit of the work is for.
const USUAL_BYTES: usize = 1_500_000;

/// Permits that a longer one takes beside its own.
const MORE_PERMITS: u32 = (MAX_ENVELOPE_BYTES / USUAL_BYTES) as u32;

/// How long a body may take: slow senders hold room that others wait for.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Submits one signed record, one gate, or one foreign file in its importer's envelope. Safe to repeat: a copy gets the first one's answer.
#[utoipa::path(
    post,
    path = "/api/v1/records",
    request_body(content = serde_json::Value, content_type = "application/vnd.dsse+json", description = "A DSSE envelope of one record, gate or import, at most 11,500,000 bytes, not compressed."),
    responses(
        (status = 201, description = "Accepted (a quarantined record too)", body = Receipt),
        (status = 200, description = "Accepted before: the answer of then", body = Receipt),
        (status = 400, description = "malformed-envelope", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "unknown-key, bad-signature", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "key-revoked, wrong-audience", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "too-large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "encoding", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "schema-violation", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "overloaded, db-down: send it again", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn submit(
    State(collector): State<Collector>,
    request: Request,
) -> Result<Response, ApiError> {
    let headers = request.headers();
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(ApiError::Encoding(
            "Send the envelope as it is, without Content-Encoding.",
        ));
    }
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if !kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case(envelope::MEDIA_TYPE)
    {
        return Err(ApiError::Encoding(
            "Send Content-Type: application/vnd.dsse+json.",
        ));
    }
    let Ok(_room) = collector.in_work().try_acquire() else {
        return Err(ApiError::Overloaded);
    };
    let body = read_envelope(request, collector.in_work());
    let (body, _more_room) = tokio::time::timeout(BODY_WITHIN, body)
        .await
        .map_err(|_| ApiError::TooSlow)??;
    let accepted = collector.ingest(body).await?;
    let status = if accepted.new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let place = format!("/api/v1/records/{}", accepted.receipt.content_id);
    Ok((status, [(LOCATION, place)], Json(accepted.receipt)).into_response())
}

/// The body, counted while it is read, and the room that a long one takes as long as it is worked on.
async fn read_envelope(
    request: Request,
    in_work: &Semaphore,
) -> Result<(Vec<u8>, Option<SemaphorePermit<'_>>), ApiError> {
    let too_large = || ApiError::from(IngestError::TooLarge);
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|n| n.to_str().ok()?.parse().ok());
    let mut too_long = announced.is_some_and(|bytes: u64| bytes > MAX_ENVELOPE_BYTES as u64);
    if too_long && request.headers().contains_key(EXPECT) {
        // The sender waits for leave to send, and does not get it.
        return Err(too_large());
    }
    let (mut kept, mut seen) = (Vec::new(), 0_usize);
    let mut more_room = None;
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::Body)?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        seen += data.len();
        too_long |= seen > MAX_ENVELOPE_BYTES;
        if too_long {
            kept = Vec::new();
            if seen > MAX_DROPPED_BYTES {
                break;
            }
        } else {
            if seen > USUAL_BYTES && more_room.is_none() {
                let room = in_work.try_acquire_many(MORE_PERMITS);
                more_room = Some(room.map_err(|_| ApiError::Overloaded)?);
            }
            kept.extend_from_slice(data);
        }
    }
    if too_long {
        Err(too_large())
    } else {
        Ok((kept, more_room))
    }
}

/// Every record, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/records",
    params(
        ("limit" = Option<u32>, Query, description = "Rows, 1 to 1000; 100 if not given"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("format" = Option<String>, Query, description = "json or csv; so do .json, .csv and Accept"),
    ),
    responses(
        (status = 200, description = "One page; Link: rel=next leads on", body = RecordsAnswer),
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
        all: snapshot.records(),
        name: |record: &RecordSummary| &record.content_id,
        row: RecordSummary::clone,
        columns,
    };
    ask.paged(&collector, &snapshot, &list, |rows, next| RecordsAnswer {
        data_version: snapshot.data_version().to_owned(),
        licence: DATA_LICENCE.to_owned(),
        rows,
        next,
    })
}

/// The columns of a list of records.
pub(super) fn columns() -> Vec<String> {
    csv::columns_of(&RecordSummary {
        content_id: String::new(),
        key_id: String::new(),
        tier: domain::tier::Tier::SelfReported,
        received_at: String::new(),
        started_at: String::new(),
        outcome: String::new(),
        result: None,
        findings: Vec::new(),
    })
}

/// One record, verified again from the stored bytes at this request.
#[utoipa::path(
    get,
    path = "/api/v1/records/{content_id}",
    params(
        ("content_id" = String, Path, description = "64 hexadecimal digits"),
        ("format" = Option<String>, Query, description = "json or csv (every value with its pointer)"),
    ),
    responses(
        (status = 200, description = "The record", body = RecordDetail),
        (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "db-down", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn detail(
    State(collector): State<Collector>,
    Path(id): Path<String>,
    ask: Ask,
) -> Result<Response, ApiError> {
    ask.without_parameters()?;
    let (id, _) = split_ending(&id);
    let stored = stored(&collector, id).await?;
    let known = collector.snapshot().record(id).cloned();
    let detail = off_the_loop(move || {
        // One that was stored just now is not in the snapshot yet.
        let summary = known.unwrap_or_else(|| snapshot::summary_of(&stored));
        verified_detail(&stored, summary)
    })
    .await;
    Ok(ask.fresh(match ask.format {
        Format::Json => json(&detail),
        Format::Csv => csv::leaves(&detail.record),
    }))
}

fn verified_detail(stored: &StoredEnvelope, summary: RecordSummary) -> RecordDetail {
    let payload = envelope::public_key(&stored.public_key)
        .ok()
        .and_then(|key| {
            let opened = stored.open();
            if stored.payload_type == sealed::PAYLOAD_TYPE {
                let verified = opened.verify::<Import>(&key, sealed::PAYLOAD_TYPE).ok()?;
                serde_json::to_value(verified.value()).ok()
            } else if stored.payload_type == gate::PAYLOAD_TYPE {
                let verified = opened.verify::<GateRecord>(&key, gate::PAYLOAD_TYPE).ok()?;
                serde_json::to_value(verified.value()).ok()
            } else {
                let verified = opened.verify::<Record>(&key, PAYLOAD_TYPE).ok()?;
                serde_json::to_value(verified.value()).ok()
            }
        });
    RecordDetail {
        summary,
        public_key: hex::encode(stored.public_key),
        signature_valid: payload.is_some(),
        // What cannot be verified is not parsed: the envelope's route has the bytes.
        record: payload.unwrap_or(serde_json::Value::Null),
    }
}

/// The signed bytes: a DSSE envelope as it came in, but for the spelling of its JSON.
#[utoipa::path(
    get,
    path = "/api/v1/records/{content_id}/envelope",
    params(("content_id" = String, Path, description = "64 hexadecimal digits")),
    responses(
        (status = 200, description = "The envelope", body = serde_json::Value, content_type = "application/vnd.dsse+json"),
        (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "db-down", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn envelope(
    State(collector): State<Collector>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let stored = stored(&collector, &id).await?;
    let envelope: Envelope = envelope::reassemble(
        &stored.payload_type,
        &stored.payload,
        stored.key_id,
        &stored.signature,
    );
    Ok(([(CONTENT_TYPE, envelope::MEDIA_TYPE)], json(&envelope)).into_response())
}

pub(super) async fn stored(collector: &Collector, id: &str) -> Result<StoredEnvelope, ApiError> {
    let id: ContentId = id.parse().map_err(|_| ApiError::NotFound)?;
    collector
        .store()
        .envelope(id)
        .await?
        .ok_or(ApiError::NotFound)
}
