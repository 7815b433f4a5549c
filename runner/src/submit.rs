//! Sends what the outbox holds, until the collector has acknowledged it.
//!
//! Idempotent: the content id names the record, and a record that the collector has already is
//! acknowledged again. Network failures, 408, 429 and 5xx are retried in rounds with growing,
//! jittered pauses; any other refusal parks the file in `bad` with the problem beside it. A key
//! that is not yet allowed there and a record for another collector spoil nothing: both wait.
//! No file blocks those behind it: a round tries each once, but ends when nobody answers. An answer that is no receipt for the
//! sent bytes (such as a login page's 200) acknowledges nothing. Bounds: [`DrainOptions`];
//! answers are read to at most 64 KiB.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::api::{Health, Problem, Receipt};
use domain::envelope::{Envelope, MEDIA_TYPE};
use domain::ids::{ContentId, Sha256Digest};
use domain::record::Audience;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use thiserror::Error;

use crate::spool::{Pending, Spool, SpoolError};

/// Longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1_024;

/// Why submitting stopped.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// The outbox failed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The HTTP client cannot be built.
    #[error("set up the HTTP client: {0}")]
    Client(reqwest::Error),
    /// The collector cannot be asked.
    #[error("ask the collector at {url}: {what}")]
    Collector {
        /// Its address.
        url: String,
        /// What went wrong.
        what: String,
    },
}

/// How patient to be.
#[derive(Debug, Clone, Copy)]
pub struct DrainOptions {
    /// First pause between rounds.
    pub min_pause: Duration,
    /// Longest pause.
    pub max_pause: Duration,
    /// Rounds after the first.
    pub retries: usize,
    /// Limit of one request.
    pub timeout: Duration,
    /// The collector's id, where it is known: records sealed for another one stay at home.
    pub audience: Option<Sha256Digest>,
}

impl Default for DrainOptions {
    /// About five minutes in all.
    fn default() -> Self {
        Self {
            min_pause: Duration::from_millis(500),
            max_pause: Duration::from_secs(30),
            retries: 14,
            timeout: Duration::from_secs(30),
            audience: None,
        }
    }
}

/// What became of the outbox.
#[derive(Debug, Clone, Default)]
pub struct DrainReport {
    /// Stored now.
    pub accepted: Vec<Receipt>,
    /// The collector had them already.
    pub already: Vec<Receipt>,
    /// Refused for good, now in `bad`.
    pub refused: Vec<(ContentId, Problem)>,
    /// Torn on disc, now in `bad`.
    pub torn: usize,
    /// Kept for the collector they were sealed for.
    pub elsewhere: usize,
    /// Still waiting when patience ended.
    pub left: usize,
    /// Why the last of those was not taken.
    pub last_failure: Option<String>,
}

/// Sends everything that waits in `spool` to the collector at `url`.
pub async fn drain(
    spool: &Spool,
    url: &str,
    options: DrainOptions,
) -> Result<DrainReport, SubmitError> {
    let client = client(options.timeout)?;
    let address = format!("{}/api/v1/records", url.trim_end_matches('/'));
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(options.min_pause)
        .with_max_delay(options.max_pause)
        .with_max_times(options.retries)
        .build();
    let mut report = DrainReport::default();
    loop {
        let mut asked_pause = Duration::ZERO;
        let (mut later, mut waiting, mut elsewhere) = (0, 0, 0);
        let pending = spool.pending()?;
        for (tried, content_id) in pending.iter().copied().enumerate() {
            let Some(record) = spool.read(content_id)? else {
                report.torn += 1;
                continue;
            };
            if is_for_another(&record, options.audience) {
                elsewhere += 1;
                continue;
            }
            match send(&client, &address, &record).await {
                Verdict::Acknowledged { receipt, fresh } => {
                    spool.acknowledge(content_id)?;
                    let list = if fresh {
                        &mut report.accepted
                    } else {
                        &mut report.already
                    };
                    list.push(receipt);
                }
                Verdict::Refused(problem) => {
                    tracing::warn!(record.id = %content_id, code = problem.code, "the collector refused a record: {}", problem.detail);
                    spool.park(content_id, &problem)?;
                    report.refused.push((content_id, problem));
                }
                Verdict::Waits(why) => {
                    waiting += 1;
                    report.last_failure = Some(why);
                }
                Verdict::Later { why, pause } => {
                    later += 1;
                    asked_pause = asked_pause.max(pause);
                    report.last_failure = Some(why);
                }
                Verdict::Unreachable(why) => {
                    later += pending.len() - tried;
                    report.last_failure = Some(why);
                    break;
                }
            }
        }
        (report.left, report.elsewhere) = (later + waiting, elsewhere);
        if later == 0 {
            if waiting == 0 {
                report.last_failure = None;
            }
            return Ok(report);
        }
        let Some(pause) = pauses.next() else {
            return Ok(report);
        };
        // Full jitter: runners that lost one collector do not come back at the same moment.
        let pause = pause
            .mul_f64(random_fraction())
            .max(asked_pause.min(options.max_pause));
        tokio::time::sleep(pause).await;
    }
}

/// The collector's id, which records are sealed for.
pub async fn audience(url: &str, timeout: Duration) -> Result<Sha256Digest, SubmitError> {
    let fail = |what: String| SubmitError::Collector {
        url: url.to_owned(),
        what,
    };
    let address = format!("{}/api/v1/health", url.trim_end_matches('/'));
    let response = client(timeout)?
        .get(address)
        .send()
        .await
        .map_err(|error| fail(in_words(&error)))?;
    let status = response.status();
    let body = read_bounded(response).await.map_err(fail)?;
    let health: Health = serde_json::from_slice(&body)
        .map_err(|_| fail(format!("it answered {status}, which is no health report")))?;
    let id: Sha256Digest = health
        .audience
        .parse()
        .map_err(|_| fail("its health report has no id".to_owned()))?;
    Ok(id)
}

enum Verdict {
    Acknowledged {
        receipt: Receipt,
        fresh: bool,
    },
    Refused(Problem),
    /// Asking again does not help, a person can: the key is not allowed yet.
    Waits(String),
    Later {
        why: String,
        pause: Duration,
    },
    /// Nobody answers: the records behind would only wait as long.
    Unreachable(String),
}

/// What of a payload says whom it is for.
#[derive(Deserialize)]
struct Addressed {
    audience: Audience,
}

/// Sealed for a collector other than this one. What cannot be read is the collector's to refuse.
fn is_for_another(pending: &Pending, collector: Option<Sha256Digest>) -> bool {
    let audience = || {
        let envelope: Envelope = serde_json::from_slice(&pending.bytes).ok()?;
        let payload = STANDARD.decode(envelope.payload).ok()?;
        let addressed: Addressed = serde_json::from_slice(&payload).ok()?;
        Some(addressed.audience)
    };
    match (collector, audience()) {
        (Some(here), Some(Audience::Collector(there))) => here != there,
        _ => false,
    }
}

fn client(timeout: Duration) -> Result<Client, SubmitError> {
    let agent = concat!("joulemark/", env!("CARGO_PKG_VERSION"));
    let builder = Client::builder()
        .timeout(timeout)
        .connect_timeout(timeout)
        .user_agent(agent);
    // A record goes to the collector that was named and nowhere else.
    builder
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(SubmitError::Client)
}

async fn send(client: &Client, address: &str, pending: &Pending) -> Verdict {
    let later = |why: String| Verdict::Later {
        why,
        pause: Duration::ZERO,
    };
    let request = client
        .post(address)
        .header(CONTENT_TYPE, MEDIA_TYPE)
        .body(pending.bytes.clone());
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() || error.is_timeout() => {
            return Verdict::Unreachable(in_words(&error));
        }
        Err(error) => return later(in_words(&error)),
    };
    let status = response.status();
    let pause = retry_after(&response);
    let body = match read_bounded(response).await {
        Ok(body) => body,
        Err(what) => return later(what),
    };
    if matches!(status, StatusCode::OK | StatusCode::CREATED) {
        return match serde_json::from_slice::<Receipt>(&body) {
            Ok(receipt) if receipt.content_id == pending.content_id.to_string() => {
                Verdict::Acknowledged {
                    receipt,
                    fresh: status == StatusCode::CREATED,
                }
            }
            _ => later(format!("the answer {status} is no receipt for this record")),
        };
    }
    let retried = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        );
    if status.is_client_error() && !retried {
        let problem = problem(status, &body);
        return match problem.code.as_str() {
            "unknown-key" => Verdict::Waits(format!(
                "this machine's key is not allowed there ({}); `joulemark key show` prints it",
                problem.detail
            )),
            _ => Verdict::Refused(problem),
        };
    }
    Verdict::Later {
        why: format!("the collector answered {status}"),
        pause,
    }
}

/// The collector's own problem, or one that says that it gave none.
fn problem(status: StatusCode, body: &[u8]) -> Problem {
    serde_json::from_slice(body).unwrap_or_else(|_| Problem {
        kind: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or("refused").to_owned(),
        status: status.as_u16(),
        detail: "the collector refused the record without a problem document".to_owned(),
        code: "unexplained".to_owned(),
        retryable: false,
        errors: Vec::new(),
    })
}

fn retry_after(response: &Response) -> Duration {
    let header = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok());
    Duration::from_secs(
        header
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0),
    )
}

async fn read_bounded(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| in_words(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err("the answer is longer than 64 KiB".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn in_words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        "nothing answers there".to_owned()
    } else {
        error.to_string()
    }
}

/// Uniform in [0, 1]; without randomness the whole pause.
fn random_fraction() -> f64 {
    getrandom::u32().map_or(1.0, |bits| f64::from(bits) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::tests::{sealed, spool};
    use std::collections::HashMap;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    /// Answers every request by a closure over the body's content id and the try's number.
    fn server(
        answer: impl Fn(ContentId, u32) -> (u16, String) + Send + 'static,
    ) -> (String, Arc<Mutex<HashMap<ContentId, u32>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let tries = Arc::new(Mutex::new(HashMap::new()));
        let counted = Arc::clone(&tries);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                        break;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a number");
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("the body");
                let content_id = domain::envelope::open(&body)
                    .map_or(ContentId([0; 32]), |opened| opened.content_id());
                let number = {
                    let mut tries = counted.lock().expect("one server");
                    let number = tries.entry(content_id).or_insert(0);
                    *number += 1;
                    *number
                };
                let (status, text) = answer(content_id, number);
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                    text.len()
                );
            }
        });
        (url, tries)
    }

    fn receipt(content_id: ContentId) -> String {
        format!(
            r#"{{"status":"accepted","content_id":"{content_id}","tier":"self-reported","result":null,"findings":[],"received_at":"2026-11-20T00:00:00Z"}}"#
        )
    }

    fn quick(retries: usize) -> DrainOptions {
        let tiny = Duration::from_millis(2);
        DrainOptions {
            min_pause: tiny,
            max_pause: tiny,
            retries,
            timeout: Duration::from_secs(20),
            audience: None,
        }
    }

    #[tokio::test]
    async fn a_busy_collector_is_asked_again_until_it_acknowledges() {
        let (_folder, spool) = spool();
        let record = sealed(b"{\"a\":1}");
        spool.put(&record).expect("stored");
        let (url, tries) = server(|id, number| {
            if number < 3 {
                (503, String::new())
            } else {
                (201, receipt(id))
            }
        });
        let report = drain(&spool, &url, quick(5)).await.expect("drains");
        assert_eq!((report.accepted.len(), report.left), (1, 0));
        assert_eq!(tries.lock().expect("done")[&record.content_id], 3);
        assert!(spool.pending().expect("listed").is_empty());
    }

    #[tokio::test]
    async fn a_refused_record_is_parked_and_the_rest_goes_on() {
        let (folder, spool) = spool();
        let records = [
            sealed(b"{\"a\":1}"),
            sealed(b"{\"a\":2}"),
            sealed(b"{\"a\":3}"),
        ];
        for record in &records {
            spool.put(record).expect("stored");
        }
        let bad = spool.pending().expect("listed")[0];
        let (url, _) = server(move |id, _| {
            if id == bad {
                (422, r#"{"type":"/problems/schema-violation","title":"t","status":422,"detail":"d","code":"schema-violation","retryable":false,"errors":[]}"#.to_owned())
            } else {
                (201, receipt(id))
            }
        });
        let report = drain(&spool, &url, quick(0)).await.expect("drains");
        assert_eq!(
            (report.accepted.len(), report.refused.len(), report.left),
            (2, 1, 0)
        );
        assert_eq!(report.refused[0].1.code, "schema-violation");
        let beside = std::fs::read_to_string(
            folder
                .path()
                .join("bad")
                .join(format!("{bad}.problem.json")),
        );
        assert!(beside.expect("written").contains("schema-violation"));
    }

    #[tokio::test]
    async fn an_unknown_key_spoils_nothing() {
        let (folder, spool) = spool();
        spool.put(&sealed(b"{\"a\":1}")).expect("stored");
        let (url, tries) = server(|_, _| {
            (401, r#"{"type":"/problems/unknown-key","title":"t","status":401,"detail":"d","code":"unknown-key","retryable":false,"errors":[]}"#.to_owned())
        });
        let report = drain(&spool, &url, quick(5)).await.expect("drains");
        assert_eq!((report.left, report.refused.len()), (1, 0));
        assert!(report.last_failure.is_some_and(|why| why.contains("key")));
        assert_eq!(tries.lock().expect("done").values().sum::<u32>(), 1);
        assert_eq!(
            std::fs::read_dir(folder.path().join("bad"))
                .expect("there")
                .count(),
            0
        );
    }

    #[tokio::test]
    async fn a_record_for_another_collector_stays_at_home() {
        let (_folder, spool) = spool();
        let (here, there) = (Sha256Digest::of(b"here"), Sha256Digest::of(b"there"));
        for audience in [here.to_string(), there.to_string(), "any".to_owned()] {
            let payload = format!(r#"{{"audience":"{audience}"}}"#);
            spool.put(&sealed(payload.as_bytes())).expect("stored");
        }
        let (url, _) = server(|id, _| (201, receipt(id)));
        let options = DrainOptions {
            audience: Some(here),
            ..quick(0)
        };
        let report = drain(&spool, &url, options).await.expect("drains");
        assert_eq!(
            (report.accepted.len(), report.elsewhere, report.left),
            (2, 1, 0)
        );
        assert_eq!(spool.pending().expect("listed").len(), 1);
    }

    #[tokio::test]
    async fn a_second_submission_is_acknowledged_again() {
        let (_folder, spool) = spool();
        let record = sealed(b"{\"a\":1}");
        let (url, _) = server(|id, number| (if number == 1 { 201 } else { 200 }, receipt(id)));
        for _ in 0..2 {
            spool.put(&record).expect("stored");
            let report = drain(&spool, &url, quick(0)).await.expect("drains");
            assert_eq!(report.accepted.len() + report.already.len(), 1);
        }
    }

    #[tokio::test]
    async fn what_is_no_receipt_acknowledges_nothing() {
        let (_folder, spool) = spool();
        spool.put(&sealed(b"{\"a\":1}")).expect("stored");
        for text in [
            "<html>log in</html>".to_owned(),
            receipt(ContentId([7; 32])),
        ] {
            let (url, _) = server(move |_, _| (200, text.clone()));
            let report = drain(&spool, &url, quick(1)).await.expect("drains");
            assert_eq!((report.left, report.accepted.len()), (1, 0));
        }
        assert_eq!(spool.pending().expect("listed").len(), 1);
    }

    #[tokio::test]
    async fn nobody_listening_keeps_everything() {
        let (_folder, spool) = spool();
        spool.put(&sealed(b"{\"a\":1}")).expect("stored");
        let free = TcpListener::bind("127.0.0.1:0")
            .expect("a free port")
            .local_addr()
            .expect("bound");
        let report = drain(&spool, &format!("http://{free}/"), quick(2))
            .await
            .expect("drains");
        assert_eq!(report.left, 1);
        assert!(report.last_failure.is_some());
    }

    #[tokio::test]
    async fn the_audience_is_the_collectors_id() {
        let id = Sha256Digest::of(b"collector");
        let (url, _) = server(move |_, _| {
            (
                200,
                format!(r#"{{"status":"ok","audience":"{id}","data_version":"0","records":0}}"#),
            )
        });
        let audience = audience(&url, Duration::from_secs(20))
            .await
            .expect("answers");
        assert_eq!(audience, id);
    }
}
