//! The read API's client: one tower service, in process or behind a URL.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use domain::api::Problem;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt};
use url::Url;

use super::last_good::LastGood;

/// Longer answers are refused: the API pages its lists far below this.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// A page waits no longer than this for the collector.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why the read API gave no usable answer.
#[derive(Debug, Error)]
pub enum ReadError {
    /// No answer, or one that says it cannot; and none is remembered.
    #[error("reach the collector: {0}")]
    Away(String),
    /// The API refused the request.
    #[error("have {path} answered: status {status}, {detail}")]
    Refused {
        /// Asked path and query.
        path: String,
        /// Its status.
        status: StatusCode,
        /// Its words.
        detail: String,
    },
    /// The answer is not what the API promises.
    #[error("read the answer to {path}: {source}")]
    Unreadable {
        /// Asked path and query.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The HTTP client could not be built.
    #[error("set up the read API's client: {0}")]
    SetUp(#[from] reqwest::Error),
}

/// One answer of the read API.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status; never 3xx or 5xx.
    pub status: StatusCode,
    /// As the API spelled it.
    pub content_type: String,
    /// The body, to the byte.
    pub bytes: Bytes,
    /// Set when the collector is away and this is its last good answer.
    pub age: Option<Duration>,
}

/// Asks the read API. Cheap to clone; clones share what they remember.
#[derive(Clone)]
pub struct Client {
    api: BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>,
    last_good: Arc<LastGood>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A collector in this process: its router serves `/api/v1/…`.
    pub fn in_process(api: Router) -> Self {
        Self::over(ServiceExt::<Request<Body>>::map_err(api, BoxError::from))
    }

    /// A collector behind a URL, such as `https://joulemark.example/`. It answers there itself:
    /// where it would redirect to is not asked, so that it cannot send this process elsewhere.
    pub fn remote(base: Url) -> Result<Self, ReadError> {
        let http = reqwest::Client::builder()
            .timeout(DEADLINE)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let mut base = String::from(base);
        base.truncate(base.trim_end_matches('/').len());
        Ok(Self::over(tower::service_fn(
            move |request: Request<Body>| {
                let (http, base) = (http.clone(), base.clone());
                async move {
                    let mut asked = http.get(format!("{base}{}", request.uri()));
                    if let Some(accept) = request.headers().get(ACCEPT) {
                        asked = asked.header(ACCEPT, accept);
                    }
                    // The body stays a stream: `ask` reads and counts it piece by piece.
                    let answer: Response<reqwest::Body> = asked.send().await?.into();
                    Ok::<_, BoxError>(answer.map(Body::new))
                }
            },
        )))
    }

    fn over<S>(api: S) -> Self
    where
        S: tower::Service<Request<Body>, Response = Response<Body>, Error = BoxError>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self {
            api: BoxCloneSyncService::new(api),
            last_good: Arc::default(),
        }
    }

    /// The answer's bytes, whatever its status below 500; the last good ones with their age
    /// when the collector is away.
    pub async fn fetch(&self, path: &str, accept: &'static str) -> Result<Answer, ReadError> {
        let key = format!("{accept} {path}");
        match self.ask(path, accept).await {
            Ok(answer) => {
                if answer.status == StatusCode::OK {
                    self.last_good
                        .keep(&key, &answer.content_type, &answer.bytes);
                }
                Ok(answer)
            }
            Err(why) => {
                let Some(last) = self.last_good.recall(&key) else {
                    return Err(ReadError::Away(why.to_string()));
                };
                tracing::warn!(path, error = %why, "the collector is away, its last good answer is shown");
                Ok(Answer {
                    status: StatusCode::OK,
                    age: Some(last.age()),
                    content_type: last.content_type,
                    bytes: last.bytes,
                })
            }
        }
    }

    /// A parsed answer and, when the collector is away, its age.
    pub async fn read<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<(T, Option<Duration>), ReadError> {
        let answer = self.fetch(path, "application/json").await?;
        if answer.status != StatusCode::OK {
            let detail = serde_json::from_slice::<Problem>(&answer.bytes)
                .map_or_else(|_| "without a reason".to_owned(), |problem| problem.detail);
            return Err(ReadError::Refused {
                path: path.to_owned(),
                status: answer.status,
                detail,
            });
        }
        let parsed =
            serde_json::from_slice(&answer.bytes).map_err(|source| ReadError::Unreadable {
                path: path.to_owned(),
                source,
            })?;
        Ok((parsed, answer.age))
    }

    async fn ask(&self, path: &str, accept: &'static str) -> Result<Answer, BoxError> {
        let request = Request::get(path)
            .header(ACCEPT, accept)
            .body(Body::empty())?;
        let whole = async {
            let response = self.api.clone().oneshot(request).await?;
            let (head, body) = response.into_parts();
            if head.status.is_server_error() {
                return Err(format!("status {}", head.status).into());
            }
            if head.status.is_redirection() {
                let target = head.headers.get(LOCATION);
                return Err(format!(
                    "status {}, to {target:?}: redirects are not followed, name the collector's own address",
                    head.status
                )
                .into());
            }
            let content_type = head
                .headers
                .get(CONTENT_TYPE)
                .and_then(|kind| kind.to_str().ok())
                .unwrap_or("application/octet-stream")
                .to_owned();
            let bytes = axum::body::to_bytes(body, MAX_ANSWER_BYTES).await?;
            Ok::<_, BoxError>(Answer {
                status: head.status,
                content_type,
                bytes,
                age: None,
            })
        };
        tokio::time::timeout(DEADLINE, whole).await?
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::routing::get;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn the_last_good_answer_is_given_with_its_age_while_the_collector_is_away() {
        let away = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&away);
        let api = Router::new().route(
            "/n",
            get(move || async move {
                if switch.load(Ordering::Relaxed) {
                    Err(StatusCode::SERVICE_UNAVAILABLE)
                } else {
                    Ok("7")
                }
            }),
        );
        let client = Client::in_process(api);
        let (n, age) = client.read::<u32>("/n").await.expect("answered");
        assert_eq!((n, age), (7, None));
        away.store(true, Ordering::Relaxed);
        let (n, age) = client.read::<u32>("/n").await.expect("remembered");
        assert_eq!(n, 7);
        assert!(age.is_some());
        let never_asked = client.read::<u32>("/n?other").await;
        assert!(
            matches!(never_asked, Err(ReadError::Away(_))),
            "{never_asked:?}"
        );
    }

    #[tokio::test]
    async fn a_collector_behind_a_url_answers_the_same_to_the_byte() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let base = format!("http://{}/", listener.local_addr().expect("bound"));
        let server =
            tokio::spawn(async move { axum::serve(listener, crate::sample::plain()).await });
        let remote = Client::remote(Url::parse(&base).expect("a URL")).expect("a client");
        let local = Client::in_process(crate::sample::plain());
        for (path, kind) in [
            ("/api/v1/frontier?budget=500", "application/json"),
            ("/api/v1/frontier", "text/csv"),
            ("/api/v1/results/none", "application/json"),
        ] {
            let far = remote.fetch(path, kind).await.expect("answered");
            let near = local.fetch(path, kind).await.expect("answered");
            assert_eq!(
                (far.status, far.content_type),
                (near.status, near.content_type),
                "{path}"
            );
            assert_eq!(far.bytes, near.bytes, "{path}");
        }
        server.abort();
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let base = format!("http://{}/", listener.local_addr().expect("bound"));
        let api = Router::new()
            .route("/n", get(|| async { axum::response::Redirect::to("/7") }))
            .route("/7", get(|| async { "7" }));
        let server = tokio::spawn(async move { axum::serve(listener, api).await });
        let client = Client::remote(Url::parse(&base).expect("a URL")).expect("a client");
        assert_eq!(client.read::<u32>("/7").await.expect("answered").0, 7);
        let sent_on = client.read::<u32>("/n").await;
        assert!(
            matches!(&sent_on, Err(ReadError::Away(why)) if why.contains("redirects")),
            "{sent_on:?}"
        );
        server.abort();
    }

    #[tokio::test]
    async fn an_answer_without_end_is_left_at_the_bound() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let base = format!("http://{}/", listener.local_addr().expect("bound"));
        let server = tokio::spawn(async move {
            let (mut peer, _) = listener.accept().await?;
            peer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            let zeros = vec![b'0'; 1 << 20];
            let mut sent = 0;
            while peer.write_all(&zeros).await.is_ok() {
                sent += zeros.len();
            }
            Ok::<_, std::io::Error>(sent)
        });
        let client = Client::remote(Url::parse(&base).expect("a URL")).expect("a client");
        let read = client.read::<u32>("/n").await;
        assert!(matches!(read, Err(ReadError::Away(_))), "{read:?}");
        drop(client);
        let sent = server.await.expect("not stopped").expect("written");
        assert!(
            sent < 2 * MAX_ANSWER_BYTES,
            "{sent} bytes, and what the sockets hold, were taken"
        );
    }

    #[tokio::test]
    async fn a_collector_behind_a_url_that_nobody_serves_is_away() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let base = Url::parse(&format!("http://127.0.0.1:{port}/")).expect("a URL");
        let client = Client::remote(base).expect("a client");
        assert!(matches!(
            client.read::<u32>("/n").await,
            Err(ReadError::Away(_))
        ));
    }
}
