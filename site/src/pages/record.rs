//! One signed record: who signed, whether the signature holds, what was found, the bytes.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::api::RecordDetail;

use crate::error::PageError;
use crate::layout::{Layout, render};
use crate::routes::Site;
use crate::{format, names, twins};

/// Characters of the record shown; the envelope has all.
const MAX_SHOWN: usize = 64 << 10;

#[derive(Template)]
#[template(path = "pages/record.html")]
struct RecordPage {
    layout: Layout,
    content_id: String,
    key_id: String,
    public_key: String,
    tier: &'static str,
    received: String,
    started: String,
    outcome: String,
    valid: bool,
    result: Option<String>,
    findings: Vec<String>,
    record: String,
    cut: bool,
    path: String,
}

/// `GET /records/{content id}` and its JSON twin.
pub(crate) async fn show(
    State(site): State<Site>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let (id, format) = twins::split(&id);
    let path = format!("/api/v1/records/{}", names::segment(id));
    match format {
        None => {}
        Some(twins::Format::Json) => return twins::pass(&site, &path, twins::Format::Json).await,
        Some(twins::Format::Csv) => {
            return Err(PageError::NotFound(
                "CSV of a record: it is JSON".to_owned(),
            ));
        }
    }
    let (detail, age) = site.client.read::<RecordDetail>(&path).await?;
    let mut page = view(detail);
    page.layout.age = age;
    let twins = page.layout.twins.clone();
    render(StatusCode::OK, &page, &twins)
}

/// `GET /records/{content id}/envelope`: the signed bytes, which never change.
pub(crate) async fn envelope(
    State(site): State<Site>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let path = format!("/api/v1/records/{}/envelope", names::segment(&id));
    let answer = site
        .client
        .fetch(&path, "application/vnd.dsse+json")
        .await?;
    if answer.status != StatusCode::OK {
        return Err(PageError::NotFound(format!(
            "record {}",
            names::cut(&id, 64)
        )));
    }
    let mut response = answer.bytes.into_response();
    let kind = HeaderValue::from_str(&answer.content_type)
        .unwrap_or_else(|_| HeaderValue::from_static("application/vnd.dsse+json"));
    response.headers_mut().insert(CONTENT_TYPE, kind);
    let for_ever = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(CACHE_CONTROL, for_ever);
    Ok(response)
}

fn view(detail: RecordDetail) -> RecordPage {
    let RecordDetail {
        summary,
        public_key,
        signature_valid,
        record,
    } = detail;
    let path = format!("/records/{}", names::segment(&summary.content_id));
    let pretty = serde_json::to_string_pretty(&record).unwrap_or_default();
    let shown: String = pretty.chars().take(MAX_SHOWN).collect();
    let mut layout = Layout::new(
        "",
        format!("Record {}", names::cut(&summary.content_id, 16)),
        "One signed record of raw samples.",
    );
    layout.twins = twins::json_of(&path);
    RecordPage {
        layout,
        tier: summary.tier.as_str(),
        received: format::time(&summary.received_at),
        started: format::time(&summary.started_at),
        outcome: summary.outcome,
        valid: signature_valid,
        result: summary.result.as_deref().map(names::result_path),
        findings: summary.findings,
        content_id: summary.content_id,
        key_id: summary.key_id,
        public_key,
        cut: shown.len() < pretty.len(),
        record: shown,
        path,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::extract::Request;
    use axum::middleware::{Next, from_fn};

    use super::*;
    use crate::sample;
    use crate::tests::{get, site};

    #[tokio::test]
    async fn a_signature_that_fails_is_said_loudly() {
        let page = get(
            &site(sample::hostile()),
            &format!("/records/{}", sample::RECORD),
        )
        .await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.body.contains("does not verify"));
        assert!(!page.body.contains("<script"));
    }

    #[tokio::test]
    async fn an_answer_of_before_is_not_called_checked_now() {
        let away = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&away);
        let api = sample::plain().layer(from_fn(move |request: Request, next: Next| {
            let away = switch.load(Ordering::Relaxed);
            async move {
                if away {
                    StatusCode::SERVICE_UNAVAILABLE.into_response()
                } else {
                    next.run(request).await
                }
            }
        }));
        let site = site(api);
        let path = format!("/records/{}", sample::RECORD);
        let claim = "it was checked for this page";
        assert!(get(&site, &path).await.body.contains(claim));
        away.store(true, Ordering::Relaxed);
        let page = get(&site, &path).await;
        assert!(page.body.contains("The collector does not answer"));
        assert!(!page.body.contains(claim));
        assert!(page.body.contains("when the collector answered last"));
    }

    #[tokio::test]
    async fn the_signed_bytes_are_passed_on_and_kept_for_ever() {
        let answer = get(
            &site(sample::plain()),
            &format!("/records/{}/envelope", sample::RECORD),
        )
        .await;
        assert_eq!(answer.content_type, "application/vnd.dsse+json");
        assert!(answer.cache.contains("immutable"));
        assert_eq!(
            get(&site(sample::plain()), "/records/00/envelope")
                .await
                .status,
            StatusCode::NOT_FOUND
        );
    }
}
