//! The door as strangers meet it: what is refused leaves no trace, what is taken in is taken in
//! once, and what is read leads back to the signed bytes.

use std::collections::BTreeSet;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK};
use axum::http::{Request, StatusCode};
use domain::api::{
    BuildRow, CompareAnswer, EngineRow, EnginesAnswer, FrontierAnswer, Health, ModelDetail,
    ModelsAnswer, Problem, Receipt, RecordDetail, RecordsAnswer, ResultDetail, ResultsAnswer,
    TasksAnswer, Told,
};
use domain::envelope::{self, Envelope};
use domain::hardware::Catalogue;
use domain::record::{PAYLOAD_TYPE, Record};
use domain::text::Name;
use domain::tier::Tier;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sqlx::PgPool;
use tower::ServiceExt as _;
use utoipa::OpenApi as _;

use super::*;
use crate::collector::CollectorOptions;
use crate::fixtures;
use crate::ingest::IngestError;
use crate::postgres::TestDatabase;

mod gates_come_in;

struct Door {
    collector: Collector,
    router: Router,
    pool: PgPool,
}

/// A response, read whole.
struct Answer {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    fn header(&self, name: impl axum::http::header::AsHeaderName) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("ASCII"))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

impl Door {
    /// A collector on a fresh database, which allows the fixtures' key.
    async fn open() -> Self {
        let database = TestDatabase::fresh().await;
        let options = CollectorOptions {
            default_tier: Tier::SelfReported,
            allowed_keys: None,
        };
        let collector = Collector::open(&database.connect_options(), Catalogue::default(), options)
            .await
            .expect("a fresh database");
        let key = fixtures::signing_key().verifying_key();
        collector
            .allow_key(&key, &Name::cleaned("fixtures"))
            .await
            .expect("allowed");
        let pool = PgPool::connect_with(database.connect_options())
            .await
            .expect("connects");
        Self {
            router: router(collector.clone()),
            collector,
            pool,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("never fails");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn submit(&self, envelope: impl Into<Body>) -> Answer {
        self.send(submission(envelope)).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).expect("a request"))
            .await
    }

    /// Rows of the three raw tables together.
    async fn rows(&self) -> i64 {
        sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM envelope_id) + (SELECT count(*) FROM envelope)
                  + (SELECT count(*) FROM record)",
        )
        .fetch_one(&self.pool)
        .await
        .expect("tables")
    }

    /// Refused with this status and code, as a problem, and without a trace.
    async fn refuses(&self, request: Request<Body>, status: StatusCode, code: &str) -> Problem {
        let before = self.rows().await;
        let answer = self.send(request).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header(CONTENT_TYPE), "application/problem+json");
        let problem: Problem = answer.json();
        assert_eq!(problem.code, code, "{problem:?}");
        assert_eq!(problem.kind, format!("/problems/{code}"));
        assert_eq!(problem.status, status.as_u16());
        assert_eq!(self.rows().await, before, "nothing is stored");
        problem
    }
}

fn submission(envelope: impl Into<Body>) -> Request<Body> {
    Request::post("/api/v1/records")
        .header(CONTENT_TYPE, envelope::MEDIA_TYPE)
        .body(envelope.into())
        .expect("a request")
}

/// A signed envelope of whatever JSON.
fn signed(record: &Value) -> Body {
    let payload = serde_json::to_vec(record).expect("JSON");
    fixtures::sealed(PAYLOAD_TYPE, &payload).into()
}

fn spoiled(change: impl FnOnce(&mut Envelope)) -> Body {
    let bytes = fixtures::envelope(&fixtures::record(1));
    let mut envelope: Envelope = serde_json::from_slice(&bytes).expect("an envelope");
    change(&mut envelope);
    serde_json::to_vec(&envelope).expect("JSON").into()
}

#[tokio::test]
async fn an_honest_record_is_stored_once_and_seen_at_once() {
    let door = Door::open().await;
    let envelope = fixtures::envelope(&fixtures::record(1));
    let answer = door.submit(envelope.clone()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let receipt: Receipt = answer.json();
    assert_eq!(
        (receipt.tier, receipt.findings.len()),
        (Tier::SelfReported, 0)
    );
    assert_eq!(door.rows().await, 3);

    let again = door.submit(envelope).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(
        again.body, answer.body,
        "a resend gets the first one's answer"
    );
    assert_eq!(door.rows().await, 3);

    door.collector.snapshot_of(1).await;
    let result = receipt.result.expect("it counts");
    let detail: ResultDetail = door.get(&format!("/api/v1/results/{result}")).await.json();
    assert_eq!(detail.records[0].content_id, receipt.content_id);
    assert!(
        detail.row.decode_tokens_per_second.is_some(),
        "{:?}",
        detail.row
    );
    assert_eq!(detail.row.quality, Some(0.8));
}

#[tokio::test]
async fn stored_bytes_keep_their_answer_when_the_rules_became_stricter() {
    let door = Door::open().await;
    let mut record = fixtures::record_json(1);
    record["audience"] = json!("cd".repeat(32));
    let payload = serde_json::to_vec(&record).expect("JSON");
    let key = fixtures::signing_key();
    let (id, _) = envelope::sign(PAYLOAD_TYPE, &payload, &key);
    let resend = || submission(fixtures::sealed(PAYLOAD_TYPE, &payload));
    door.refuses(resend(), StatusCode::FORBIDDEN, "wrong-audience")
        .await;
    // As if it had been accepted once.
    let receipt = Receipt {
        status: "accepted".to_owned(),
        content_id: id.to_string(),
        tier: Tier::SelfReported,
        result: None,
        findings: Vec::new(),
        received_at: "2026-11-20T00:00:00.000Z".to_owned(),
    };
    for statement in [
        "INSERT INTO envelope_id (content_id) VALUES ($1)",
        "INSERT INTO envelope SELECT $1, key_id, 'type', 'payload', sha256('a') || sha256('b')
             FROM runner_key",
    ] {
        sqlx::query(statement)
            .bind(id.0.to_vec())
            .execute(&door.pool)
            .await
            .expect("stored");
    }
    sqlx::query("INSERT INTO record VALUES ($1, 'self-reported', '[]', $2::jsonb)")
        .bind(id.0.to_vec())
        .bind(sqlx::types::Json(&receipt))
        .execute(&door.pool)
        .await
        .expect("stored");
    let answer = door.send(resend()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.json::<Receipt>(), receipt);
}

#[tokio::test]
async fn a_tampered_payload_is_refused() {
    let door = Door::open().await;
    let mut faster = fixtures::record_json(1);
    faster["repetitions"][1]["requests"][0]["gaps_us"][0] = json!(1);
    let payload = serde_json::to_vec(&faster).expect("JSON");
    let other = fixtures::sealed(PAYLOAD_TYPE, &payload);
    let other: Envelope = serde_json::from_slice(&other).expect("an envelope");
    let body = spoiled(|envelope| envelope.payload = other.payload);
    door.refuses(submission(body), StatusCode::UNAUTHORIZED, "bad-signature")
        .await;
}

#[tokio::test]
async fn a_flipped_signature_bit_is_refused() {
    let door = Door::open().await;
    let body = spoiled(|envelope| {
        let sig = &mut envelope.signatures[0].sig;
        let flipped = if sig.starts_with('A') { "B" } else { "A" };
        sig.replace_range(0..1, flipped);
    });
    door.refuses(submission(body), StatusCode::UNAUTHORIZED, "bad-signature")
        .await;
}

#[tokio::test]
async fn what_the_schema_does_not_say_is_refused() {
    let door = Door::open().await;
    let mut unknown_field = fixtures::record_json(1);
    unknown_field["smuggled"] = json!(100);
    let mut nul = fixtures::record_json(1);
    nul["variant"]["model"] = json!("model\0");
    let mut bidi = fixtures::record_json(1);
    bidi["hosts"][0]["chip"] = json!("\u{202e}pihc");
    let mut missing_null = fixtures::record_json(1);
    missing_null
        .as_object_mut()
        .expect("an object")
        .shift_remove("fidelity");
    let mut float = fixtures::record_json(1);
    float["started_ms"] = json!(1.0);
    let mut challenge = fixtures::record_json(1);
    challenge["challenge"] = json!(7);
    let mut other_suite = fixtures::record_json(1);
    other_suite["suite"]["digest"] = json!("00".repeat(32));
    let mut no_suite = fixtures::record_json(1);
    no_suite["suite"] = json!(null);
    let mut backwards = fixtures::record_json(1);
    backwards["repetitions"][2]["end_ns"] = json!(0);
    let mut contradiction = fixtures::record_json(1);
    contradiction["fidelity"] = json!({
        "reference_sha256": "00".repeat(32), "corpus_sha256": "00".repeat(32),
        "docs": [{"tokens": 2, "kld_nnat": 5, "dnll_nnat": 0, "top1_agree": 2,
                  "token_kld_nnat": [2, 2]}],
    });
    let mut after_9999 = fixtures::record_json(1);
    after_9999["started_ms"] = json!(253_402_300_800_000_u64);
    for (what, record) in [
        ("unknown field", unknown_field),
        ("NUL in a name", nul),
        ("bidi control in a name", bidi),
        ("missing null", missing_null),
        ("float", float),
        ("challenge never issued", challenge),
        ("unknown suite", other_suite),
        ("answers without a suite", no_suite),
        ("time running backwards", backwards),
        ("tokens that do not sum to their document", contradiction),
        ("time out of the calendar", after_9999),
    ] {
        let request = submission(signed(&record));
        let problem = door
            .refuses(
                request,
                StatusCode::UNPROCESSABLE_ENTITY,
                "schema-violation",
            )
            .await;
        assert!(!problem.errors.is_empty(), "{what}: the place is named");
        let said = serde_json::to_string(&problem).expect("JSON");
        assert!(
            !said.contains("smuggled") && !said.contains("u0000"),
            "no echo: {said}"
        );
    }
    let text = serde_json::to_string(&fixtures::record_json(1)).expect("JSON");
    let doubled = text.replacen('{', r#"{"schema":"joulemark.record.v1","#, 1);
    let request = submission(fixtures::sealed(PAYLOAD_TYPE, doubled.as_bytes()));
    door.refuses(
        request,
        StatusCode::UNPROCESSABLE_ENTITY,
        "schema-violation",
    )
    .await;
}

#[tokio::test]
async fn what_is_no_envelope_is_refused() {
    let door = Door::open().await;
    for body in [
        Body::from("not JSON"),
        Body::from("[]"),
        Body::empty(),
        spoiled(|envelope| envelope.signatures.clear()),
        spoiled(|envelope| envelope.payload = "not base64!".to_owned()),
    ] {
        door.refuses(
            submission(body),
            StatusCode::BAD_REQUEST,
            "malformed-envelope",
        )
        .await;
    }
}

#[tokio::test]
async fn whatever_byte_is_changed_the_envelope_is_refused() {
    use rand_core::{Rng as _, SeedableRng as _};
    let door = Door::open().await;
    let honest = fixtures::envelope(&fixtures::record(1));
    let mut rng = rand_chacha::ChaCha8Rng::from_seed([1; 32]);
    for _ in 0..300 {
        let mut bytes = honest.clone();
        let at = rng.next_u32() as usize % bytes.len();
        bytes[at] ^= 1 << (rng.next_u32() % 8);
        let answer = door.submit(bytes).await;
        assert!(
            answer.status.is_client_error(),
            "byte {at}: {}",
            answer.text()
        );
    }
    assert_eq!(door.rows().await, 0);
}

#[tokio::test]
async fn a_twelve_megabyte_body_is_refused_as_a_problem() {
    let door = Door::open().await;
    let status = StatusCode::PAYLOAD_TOO_LARGE;
    let announced = Request::post("/api/v1/records")
        .header(CONTENT_TYPE, envelope::MEDIA_TYPE)
        .header("content-length", "12000000")
        .body(Body::from(vec![b'x'; 12_000_000]))
        .expect("a request");
    door.refuses(announced, status, "too-large").await;
    // Without a length, chunk by chunk.
    let chunk = http_body_util::Full::new(Bytes::from(vec![b'x'; 12_000_000]));
    door.refuses(submission(Body::new(chunk)), status, "too-large")
        .await;
    let long_record = json!({"schema": "x".repeat(1_060_000)});
    door.refuses(
        submission(signed(&long_record)),
        StatusCode::UNPROCESSABLE_ENTITY,
        "schema-violation",
    )
    .await;
}

#[tokio::test]
async fn a_record_for_another_collector_is_refused() {
    let door = Door::open().await;
    let mut record = fixtures::record_json(1);
    record["audience"] = json!("ab".repeat(32));
    let request = submission(signed(&record));
    door.refuses(request, StatusCode::FORBIDDEN, "wrong-audience")
        .await;
    record["audience"] = json!(door.collector.audience().to_string());
    assert_eq!(
        door.submit(signed(&record)).await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn another_payload_type_is_refused() {
    let door = Door::open().await;
    let payload = serde_json::to_vec(&fixtures::record_json(1)).expect("JSON");
    let body = fixtures::sealed("application/vnd.joulemark.enrol.v1+json", &payload);
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    let problem = door
        .refuses(submission(body), status, "schema-violation")
        .await;
    assert_eq!(problem.errors[0].pointer, "/payloadType");
}

#[tokio::test]
async fn unknown_and_revoked_keys_are_refused() {
    let door = Door::open().await;
    let stranger = domain::envelope::SigningKey::from_bytes(&[9; 32]);
    let payload = serde_json::to_vec(&fixtures::record(1)).expect("JSON");
    let (_, envelope) = envelope::sign(PAYLOAD_TYPE, &payload, &stranger);
    let body = serde_json::to_vec(&envelope).expect("JSON");
    door.refuses(submission(body), StatusCode::UNAUTHORIZED, "unknown-key")
        .await;

    let key = envelope::key_id(&fixtures::signing_key().verifying_key());
    door.collector
        .revoke_key(key)
        .await
        .expect("allowed before");
    let request = submission(fixtures::envelope(&fixtures::record(1)));
    door.refuses(request, StatusCode::FORBIDDEN, "key-revoked")
        .await;
}

#[tokio::test]
async fn a_key_added_to_the_file_is_allowed_without_a_restart() {
    let database = TestDatabase::fresh().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("allowed-keys");
    let options = CollectorOptions {
        default_tier: Tier::SelfReported,
        allowed_keys: Some(file.clone()),
    };
    let collector = Collector::open(&database.connect_options(), Catalogue::default(), options)
        .await
        .expect("a fresh database");
    let submit = || collector.ingest(fixtures::envelope(&fixtures::record(1)));
    let refused = async || matches!(submit().await, Err(IngestError::UnknownKey));
    assert!(refused().await, "there is no file");
    std::fs::write(&file, "# none yet\n").expect("written");
    assert!(refused().await, "the file has no key");
    let key = hex::encode(fixtures::signing_key().verifying_key().as_bytes());
    std::fs::write(&file, format!("{key} laptop\n")).expect("written");
    assert!(submit().await.expect("allowed by the file").new);
}

#[tokio::test]
async fn a_compressed_or_mistyped_body_is_refused() {
    let door = Door::open().await;
    let envelope = fixtures::envelope(&fixtures::record(1));
    let compressed = Request::post("/api/v1/records")
        .header(CONTENT_TYPE, envelope::MEDIA_TYPE)
        .header(CONTENT_ENCODING, "gzip")
        .body(Body::from(envelope.clone()))
        .expect("a request");
    door.refuses(compressed, StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding")
        .await;
    let mistyped = Request::post("/api/v1/records")
        .body(Body::from(envelope))
        .expect("a request");
    door.refuses(mistyped, StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding")
        .await;
}

#[tokio::test]
async fn unknown_addresses_and_methods_are_problems_too() {
    let door = Door::open().await;
    let request = |method, path| {
        Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .expect("a request")
    };
    let not_found = StatusCode::NOT_FOUND;
    for path in [
        "/api/v1/nothing",
        "/api/v1/results/0123456789abcdef",
        "/api/v1/records/not-an-id",
        "/api/v1/records/not-an-id/envelope",
        "/api/v1/records/../../etc/passwd",
    ] {
        door.refuses(request("GET", path), not_found, "not-found")
            .await;
    }
    let not_allowed = StatusCode::METHOD_NOT_ALLOWED;
    for (method, path) in [("POST", "/api/v1/results"), ("DELETE", "/api/v1/records")] {
        door.refuses(request(method, path), not_allowed, "method-not-allowed")
            .await;
    }
}

#[tokio::test]
async fn bad_parameters_are_named() {
    let door = Door::open().await;
    for (path, parameter) in [
        ("/api/v1/results?limit=0", "limit"),
        ("/api/v1/results?limit=1001", "limit"),
        ("/api/v1/records?cursor=zz", "cursor"),
        ("/api/v1/records?page=2", "page"),
        ("/api/v1/models?format=xml", "format"),
        ("/api/v1/engines?sort=name", "sort"),
        ("/api/v1/hardware?table=prices", "table"),
        ("/api/v1/frontier?budget=lots", "budget"),
        ("/api/v1/gates?verdict=PASS", "verdict"),
        ("/api/v1/regressions?engine=A", "engine"),
        ("/api/v1/regressions?from=2026-11-21&to=2026-11-20", "to"),
    ] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let problem = door
            .refuses(request, StatusCode::BAD_REQUEST, "bad-query")
            .await;
        assert_eq!(problem.errors[0].pointer, parameter, "{path}");
    }
}

#[tokio::test]
async fn fifty_copies_at_once_are_stored_once() {
    let door = Door::open().await;
    let envelope = fixtures::envelope(&fixtures::record(1));
    let mut copies = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (router, request) = (door.router.clone(), submission(envelope.clone()));
        copies.spawn(async move {
            let response = router.oneshot(request).await.expect("never fails");
            let status = response.status();
            let body = response.into_body().collect().await.expect("a whole body");
            (status, body.to_bytes())
        });
    }
    let answers = copies.join_all().await;
    let created = answers
        .iter()
        .filter(|(status, _)| *status == StatusCode::CREATED)
        .count();
    assert_eq!(created, 1);
    assert!(
        answers
            .iter()
            .all(|(status, body)| status.is_success() && *body == answers[0].1)
    );
    assert_eq!(door.rows().await, 3);
}

#[tokio::test]
async fn an_implausible_record_is_quarantined_and_counts_nowhere() {
    let door = Door::open().await;
    let mut record = fixtures::record_json(1);
    record["repetitions"][2]["requests"][0]["gaps_us"] =
        record["repetitions"][1]["requests"][0]["gaps_us"].clone();
    let answer = door.submit(signed(&record)).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let receipt: Receipt = answer.json();
    assert_eq!(receipt.tier, Tier::Quarantined);
    assert!(!receipt.findings.is_empty());
    assert_eq!(receipt.result, None);
    let snapshot = door.collector.snapshot_of(1).await;
    assert!(snapshot.results().is_empty());
    assert_eq!(snapshot.records()[0].findings, receipt.findings);
}

#[tokio::test]
async fn a_record_leads_back_to_its_signed_bytes() {
    let door = Door::open().await;
    let record = fixtures::record(1);
    let receipt: Receipt = door.submit(fixtures::envelope(&record)).await.json();
    door.collector.snapshot_of(1).await;
    let path = format!("/api/v1/records/{}", receipt.content_id);
    let detail: RecordDetail = door.get(&path).await.json();
    assert!(detail.signature_valid);
    assert_eq!(detail.record, serde_json::to_value(&record).expect("JSON"));

    let raw = door.get(&format!("{path}/envelope")).await;
    assert_eq!(raw.header(CONTENT_TYPE), "application/vnd.dsse+json");
    let key = envelope::read_public_key(&detail.public_key).expect("a key");
    let opened = envelope::open(&raw.body).expect("an envelope");
    let verified = opened
        .verify::<Record>(&key, PAYLOAD_TYPE)
        .expect("verifies anywhere");
    assert_eq!(verified.content_id().to_string(), receipt.content_id);

    let csv = door.get(&format!("{path}.csv")).await;
    assert!(
        csv.text()
            .starts_with("pointer,value\r\n/schema,joulemark.record.v1\r\n")
    );
}

#[tokio::test]
async fn a_snapshot_is_rebuilt_from_the_raw_payloads() {
    let database = TestDatabase::fresh().await;
    let open = || async {
        let options = CollectorOptions {
            default_tier: Tier::SelfReported,
            allowed_keys: None,
        };
        Collector::open(&database.connect_options(), Catalogue::default(), options)
            .await
            .expect("a database")
    };
    let first = open().await;
    let other = open().await;
    let key = fixtures::signing_key().verifying_key();
    first
        .allow_key(&key, &Name::default())
        .await
        .expect("allowed");
    for number in 0..3 {
        let envelope = fixtures::envelope(&fixtures::record(number));
        assert!(first.ingest(envelope).await.expect("accepted").new);
    }
    let here = first.snapshot_of(3).await;
    let there = other.snapshot_of(3).await;
    assert_eq!(
        here.data_version(),
        there.data_version(),
        "another collector hears of it"
    );
    let rebuilt = open().await.snapshot();
    assert_eq!(here.data_version(), rebuilt.data_version());
    assert_eq!(here.records(), rebuilt.records());
    let rows = |results: &[crate::derive::CellResult]| {
        let rows: Vec<_> = results.iter().map(|result| result.row.clone()).collect();
        serde_json::to_vec(&rows).expect("JSON")
    };
    assert_eq!(
        rows(here.results()),
        rows(rebuilt.results()),
        "byte for byte (invariant 5)"
    );
    assert_eq!(
        first.audience(),
        other.audience(),
        "one identity per database"
    );
}

#[tokio::test]
async fn a_record_is_there_at_once_and_never_kept_by_readers() {
    let door = Door::open().await;
    for number in 1..4 {
        let answer = door
            .submit(fixtures::envelope(&fixtures::record(number)))
            .await;
        // The snapshot may or may not have it yet.
        let detail = door.get(answer.header("location")).await;
        assert_eq!(detail.status, StatusCode::OK, "{}", detail.text());
        assert_eq!(
            (detail.header("cache-control"), detail.header(ETAG)),
            ("no-cache", "")
        );
        let (receipt, detail): (Receipt, RecordDetail) = (answer.json(), detail.json());
        assert_eq!(detail.summary.content_id, receipt.content_id);
        assert_eq!(detail.summary.received_at, receipt.received_at);
        assert!(detail.signature_valid);
    }
}

#[tokio::test]
async fn every_list_has_json_and_csv_under_one_tag_each() {
    let door = Door::open().await;
    door.submit(fixtures::envelope(&fixtures::record(1))).await;
    door.collector.snapshot_of(1).await;
    for list in ["records", "results", "frontier", "models", "hardware"] {
        let json = door.get(&format!("/api/v1/{list}")).await;
        assert_eq!(json.status, StatusCode::OK, "{list}: {}", json.text());
        assert_eq!(json.header(CONTENT_TYPE), "application/json");
        assert_eq!(json.header("access-control-allow-origin"), "*");
        assert_eq!(
            json.header("cache-control"),
            "public, max-age=30, must-revalidate"
        );
        assert!(!json.header("x-request-id").is_empty());
        let csv = door.get(&format!("/api/v1/{list}.csv")).await;
        assert_eq!(
            csv.header(CONTENT_TYPE),
            "text/csv; charset=utf-8; header=present"
        );
        assert_eq!(
            csv.body,
            door.get(&format!("/api/v1/{list}?format=csv")).await.body
        );
        let accepting = Request::get(format!("/api/v1/{list}"))
            .header("accept", "text/csv")
            .body(Body::empty())
            .expect("a request");
        assert_eq!(csv.body, door.send(accepting).await.body, "{list}");
        assert_eq!(
            json.body,
            door.get(&format!("/api/v1/{list}.json")).await.body
        );
        let (json_tag, csv_tag) = (json.header(ETAG), csv.header(ETAG));
        assert!(
            json_tag.starts_with('"') && json_tag != csv_tag,
            "{json_tag} {csv_tag}"
        );
        let have = Request::get(format!("/api/v1/{list}"))
            .header(IF_NONE_MATCH, json_tag)
            .body(Body::empty())
            .expect("a request");
        let unchanged = door.send(have).await;
        assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED);
        assert!(unchanged.body.is_empty());
    }
    let before = door.get("/api/v1/results").await;
    door.submit(fixtures::envelope(&fixtures::record(2))).await;
    door.collector.snapshot_of(2).await;
    let after = door.get("/api/v1/results").await;
    assert_ne!(before.header(ETAG), after.header(ETAG), "new data, new tag");
}

#[tokio::test]
async fn pages_lead_to_every_row_once() {
    let door = Door::open().await;
    for number in 0..3 {
        door.submit(fixtures::envelope(&fixtures::record(number)))
            .await;
    }
    door.collector.snapshot_of(3).await;
    let mut seen = BTreeSet::new();
    let mut path = "/api/v1/records?limit=2".to_owned();
    loop {
        let answer = door.get(&path).await;
        let page: RecordsAnswer = answer.json();
        seen.extend(page.rows.iter().map(|row| row.content_id.clone()));
        let Some(link) = answer.headers.get(LINK) else {
            assert_eq!(page.next, None);
            break;
        };
        let link = link.to_str().expect("ASCII");
        path = link
            .trim_start_matches('<')
            .split('>')
            .next()
            .expect("an address")
            .to_owned();
    }
    assert_eq!(seen.len(), 3);
}

#[tokio::test]
async fn the_answers_are_of_the_promised_shapes() {
    let door = Door::open().await;
    door.submit(fixtures::envelope(&fixtures::record(1))).await;
    door.collector.snapshot_of(1).await;
    let frontier: FrontierAnswer = door.get("/api/v1/frontier?budget=500").await.json();
    assert!((frontier.budget_usd - 500.0).abs() < f64::EPSILON);
    let results: ResultsAnswer = door.get("/api/v1/results").await.json();
    assert_eq!(results.rows.len(), 1);
    let models: ModelsAnswer = door.get("/api/v1/models").await.json();
    assert_eq!(models.models[0].slug, "fixture-1l");
    assert_eq!(models.models[0].results.len(), 1);
    let health: Health = door.get("/api/v1/health").await.json();
    assert_eq!((health.status.as_str(), health.records), ("ok", 1));
    assert_eq!(health.audience, door.collector.audience().to_string());
}

#[tokio::test]
async fn engines_lead_to_builds_and_their_worst_gap_first() {
    let door = Door::open().await;
    let cell = |number: u64, change: fn(&mut Record)| {
        let mut record = fixtures::record(number);
        record.hosts[0].bandwidth_probe_bytes_s = Some(40_000_000_000);
        change(&mut record);
        fixtures::envelope(&record)
    };
    let cells: [fn(&mut Record); 4] = [
        |_| {},
        |record| {
            record.engine.args = vec![Name::cleaned("threads=1")];
            record.hosts[0].bandwidth_probe_bytes_s = Some(80_000_000_000);
        },
        |record| {
            record.engine.args = vec![Name::cleaned("threads=2")];
            record.hosts[0].bandwidth_probe_bytes_s = None;
        },
        |record| record.engine.version = Name::cleaned("2"),
    ];
    for (number, change) in cells.into_iter().enumerate() {
        let answer = door.submit(cell(number as u64, change)).await;
        assert_eq!(
            answer.json::<Receipt>().tier,
            Tier::SelfReported,
            "{}",
            answer.text()
        );
    }
    door.collector.snapshot_of(4).await;
    let all: EnginesAnswer = door.get("/api/v1/engines").await.json();
    assert_eq!(all.engines.len(), 1);
    let engine: EngineRow = door.get("/api/v1/engines/scripted").await.json();
    assert_eq!(engine, all.engines[0]);
    let versions: Vec<_> = engine
        .builds
        .iter()
        .map(|build| build.version.as_str())
        .collect();
    assert_eq!(versions, ["2", "1"], "the newest first");
    let path = format!("/api/v1/engines/scripted/{}", engine.builds[1].build);
    let answer = door.get(&path).await;
    let build: BuildRow = answer.json();
    assert_eq!(build, engine.builds[1]);
    let shares: Vec<_> = build.rows.iter().map(|row| row.decode_of_theory).collect();
    assert!(
        shares[0].is_some() && shares[0] < shares[1] && shares[2].is_none(),
        "{shares:?}"
    );
    assert_eq!((build.with_ceiling, build.worst_of_theory), (2, shares[0]));
    assert!(build.median_of_theory > shares[0] && build.median_of_theory < shares[1]);
    let have = Request::get(path.as_str())
        .header(IF_NONE_MATCH, answer.header(ETAG))
        .body(Body::empty())
        .expect("a request");
    assert_eq!(door.send(have).await.status, StatusCode::NOT_MODIFIED);
    for (table, lines) in [
        ("/api/v1/engines.csv".to_owned(), 3),
        ("/api/v1/engines/scripted.csv".to_owned(), 3),
        (format!("{path}.csv"), 4),
    ] {
        let answer = door.get(&table).await;
        assert_eq!(
            answer.text().lines().count(),
            lines,
            "{table}: {}",
            answer.text()
        );
    }
    for absent in [
        "/api/v1/engines/other",
        "/api/v1/engines/scripted/000000000000",
    ] {
        assert_eq!(door.get(absent).await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn results_side_by_side_are_of_a_promised_shape() {
    let door = Door::open().await;
    let mut second = fixtures::metered(2);
    second.engine.version = Name::cleaned("2");
    for v in &mut second.meters[1].v {
        *v /= 2;
    }
    let answers = &mut second.quality.as_mut().expect("answered").items;
    for item in answers.iter_mut().take(20) {
        item.answer = domain::text::Answer::cleaned("?");
    }
    let mut ids = Vec::new();
    for record in [fixtures::metered(1), second] {
        let answer = door.submit(fixtures::envelope(&record)).await;
        let receipt: Receipt = answer.json();
        assert_eq!(receipt.findings, Vec::<String>::new());
        ids.push(receipt.result.expect("it counts"));
    }
    door.collector.snapshot_of(2).await;
    let path = format!("/api/v1/compare?r={}", ids.join(","));
    let answer = door.get(&path).await;
    let compared: CompareAnswer = answer.json();
    let rows: Vec<&str> = compared.rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(rows, ids, "as asked");
    assert!(compared.differs.iter().any(|line| line.label == "Engine"));
    let csv = door.get(&path.replace("/compare", "/compare.csv")).await;
    assert_eq!(
        csv.header(CONTENT_TYPE),
        "text/csv; charset=utf-8; header=present"
    );
    insta::assert_snapshot!(csv.text());
    let have = Request::get(path.as_str())
        .header(IF_NONE_MATCH, answer.header(ETAG))
        .body(Body::empty())
        .expect("a request");
    assert_eq!(door.send(have).await.status, StatusCode::NOT_MODIFIED);
    // Joules of both scopes lead through to the answers of one result and of the frontier.
    let detail: ResultDetail = door
        .get(&format!("/api/v1/results/{}", ids[0]))
        .await
        .json();
    let scopes: Vec<&str> = detail
        .energies
        .iter()
        .map(|row| row.scope.as_str())
        .collect();
    assert_eq!(
        (scopes, detail.power.len()),
        (vec!["wall.ac", "cpu.pkg"], 2)
    );
    let asked = "/api/v1/frontier?axes=quality-joules&scope=cpu.pkg";
    let frontier: FrontierAnswer = door.get(asked).await.json();
    assert_eq!(frontier.energy_scope.as_deref(), Some("cpu.pkg"));
    assert_eq!(frontier.rows.len(), 2);
    for (path, status, code) in [
        ("/api/v1/compare", StatusCode::BAD_REQUEST, "bad-query"),
        (
            "/api/v1/compare?r=1,2",
            StatusCode::BAD_REQUEST,
            "bad-query",
        ),
        (
            "/api/v1/compare?r=0000000000000000,0000000000000001",
            StatusCode::NOT_FOUND,
            "not-found",
        ),
    ] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        door.refuses(request, status, code).await;
    }
}

#[tokio::test]
async fn a_models_variants_and_the_tasks_they_pass_are_answered() {
    let door = Door::open().await;
    let mut quantised = fixtures::record(2);
    quantised.variant.sha256 = domain::ids::Sha256Digest([2; 32]);
    quantised.variant.files[0].bytes = 1_790_000;
    quantised.variant.quant = Name::cleaned("Q4_K_M");
    let answers = &mut quantised.quality.as_mut().expect("answered").items;
    for item in answers.iter_mut().take(20) {
        item.answer = domain::text::Answer::cleaned("?");
    }
    for record in [fixtures::record(1), quantised] {
        let answer = door.submit(fixtures::envelope(&record)).await;
        assert_eq!(answer.json::<Receipt>().findings, Vec::<String>::new());
    }
    door.collector.snapshot_of(2).await;
    let path = "/api/v1/models/fixture-1l";
    let answer = door.get(path).await;
    let model: ModelDetail = answer.json();
    assert_eq!(model.variants.len(), 2);
    assert_eq!(
        (model.variants[1].lost, model.variants[1].told),
        (Some(16), Some(Told::Worse))
    );
    let tasks: TasksAnswer = door.get("/api/v1/tasks").await.json();
    assert_eq!(
        (tasks.suite.as_str(), tasks.rows.len()),
        ("reference-v1", 28)
    );
    for (table, lines) in [
        (format!("{path}.csv"), 3),
        ("/api/v1/tasks.csv".to_owned(), 29),
    ] {
        let csv = door.get(&table).await;
        assert_eq!(
            csv.header(CONTENT_TYPE),
            "text/csv; charset=utf-8; header=present"
        );
        assert_eq!(csv.text().lines().count(), lines, "{table}: {}", csv.text());
    }
    for path in [path, "/api/v1/tasks"] {
        let answer = door.get(path).await;
        let have = Request::get(path)
            .header(IF_NONE_MATCH, answer.header(ETAG))
            .body(Body::empty())
            .expect("a request");
        assert_eq!(door.send(have).await.status, StatusCode::NOT_MODIFIED);
    }
    for (path, what) in [
        (
            "/api/v1/models/fixture-1l?quant=Q4",
            "the known ones are engine, setup",
        ),
        (
            "/api/v1/models/fixture-1l?engine=other",
            "there are: scripted",
        ),
        ("/api/v1/tasks?budget=5", "the known ones are pass, suite"),
        (
            "/api/v1/tasks?suite=poetry",
            "there are: reference-v1, core-v1",
        ),
    ] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let problem = door
            .refuses(request, StatusCode::BAD_REQUEST, "bad-query")
            .await;
        assert!(problem.errors[0].code.contains(what), "{problem:?}");
    }
    let absent = door.get("/api/v1/models/other").await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn reading_goes_on_while_the_database_is_away() {
    let door = Door::open().await;
    door.submit(fixtures::envelope(&fixtures::record(1))).await;
    door.collector.snapshot_of(1).await;
    door.collector.close().await;
    assert_eq!(door.get("/api/v1/results").await.status, StatusCode::OK);
    let submitted = door.submit(fixtures::envelope(&fixtures::record(2))).await;
    assert_eq!(submitted.status, StatusCode::SERVICE_UNAVAILABLE);
    let problem: Problem = submitted.json();
    assert!(
        problem.retryable && problem.code == "db-down",
        "{problem:?}"
    );
    assert_eq!(submitted.header("retry-after"), "2");
    let health = door.get("/api/v1/health").await;
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn the_document_has_every_route_and_every_type() {
    let document = serde_json::to_value(openapi::Document::openapi()).expect("JSON");
    let documented: BTreeSet<_> = document["paths"]
        .as_object()
        .expect("paths")
        .keys()
        .cloned()
        .collect();
    let served: BTreeSet<_> = routes()
        .into_iter()
        .map(|(path, _)| format!("{PREFIX}{path}"))
        .collect();
    assert_eq!(documented, served);
    let text = document.to_string();
    let named = text.split("\"$ref\":\"#/components/schemas/").skip(1);
    for name in named.map(|rest| rest.split('"').next().expect("a name")) {
        assert!(
            document["components"]["schemas"][name].is_object(),
            "{name} is described"
        );
    }
    for schema in [
        "FrontierAnswer",
        "CompareAnswer",
        "ModelDetail",
        "VariantRow",
        "TasksAnswer",
        "EnergyRow",
        "BuildRow",
        "ResultRow",
        "RecordDetail",
        "Receipt",
        "Problem",
        "GatesAnswer",
        "GateAnswer",
        "RegressionsAnswer",
        "LedgerRow",
        "SeriesAnswer",
    ] {
        assert!(
            document["components"]["schemas"][schema].is_object(),
            "{schema}"
        );
    }
}

#[test]
fn the_columns_of_the_tables_are_a_promise() {
    let tables = [
        ("records", records::columns()),
        ("results", results::columns()),
        ("models", models::columns()),
        ("variants", models::variant_columns()),
        ("tasks", tasks::columns()),
        ("deltas", compare::columns()),
        ("builds", engines::columns()),
        ("hardware", hardware::hardware_columns()),
        ("setups", hardware::setup_columns()),
        ("gates", gates::columns()),
        ("gate cells", gates::cell_columns()),
        ("changes", regressions::columns()),
        ("series points", regressions::point_columns()),
    ];
    let text = tables.map(|(table, columns)| format!("{table}\n  {}\n", columns.join("\n  ")));
    insta::assert_snapshot!(text.concat());
}
