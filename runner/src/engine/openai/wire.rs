//! One connection to a server: JSON asked and answered, and streams read line by line.
//!
//! Each stream has its own wire, that is its own runtime and connections, because engines are
//! called on plain threads. Every read is bounded in bytes; pages have to be there in time as a
//! whole, and streams may not fall silent.

use std::io;
use std::time::{Duration, Instant};

use domain::text::Name;
use futures_util::StreamExt;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, SERVER};
use reqwest::{Client, Response};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};
use tokio_util::io::StreamReader;

use crate::engine::EngineError;

/// Longest line of a stream: a token with log probabilities takes a few kilobytes.
pub(super) const MAX_LINE_BYTES: usize = 1 << 20;

/// Longest JSON answer: a chat template and a list of models.
const MAX_ANSWER_BYTES: usize = 8 << 20;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection to one server.
#[derive(Debug)]
pub(super) struct Wire {
    runtime: Runtime,
    client: Client,
    target: Target,
}

/// Where a server is and how patient to be with it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Address without `/v1`, as it may be shown: the matrix refuses credentials in it.
    pub(super) url: String,
    /// The `Authorization` header, marked as sensitive.
    pub(super) key: Option<HeaderValue>,
    /// Longest silence of a stream that has begun, and longest time that a page may take.
    pub(super) stall: Duration,
}

/// A JSON answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// HTTP status.
    pub(super) status: u16,
    /// The `Server` header.
    pub(super) server: String,
    /// The body, `Null` if it is not JSON.
    pub(super) body: Value,
}

/// What the reader of a stream wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another line.
    Line,
    /// Nothing: the stream is at its end.
    End,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The reader had all it wanted.
    Wanted,
    /// The server closed before.
    Closed,
    /// The deadline passed.
    Late,
}

impl Wire {
    pub(super) fn new(target: &Target) -> Result<Self, EngineError> {
        let unusable = |reason: String| EngineError::Unreachable {
            url: target.url.clone(),
            reason,
        };
        let mut headers = HeaderMap::new();
        if let Some(key) = &target.key {
            headers.insert(AUTHORIZATION, key.clone());
        }
        let client = Client::builder()
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would be measured too.
            .no_proxy()
            .tcp_nodelay(true)
            // Servers close idle connections (llama.cpp after five requests), and a runtime that
            // only runs during requests sees that too late: each request connects anew.
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT.min(target.stall))
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self {
            runtime,
            client,
            target: target.clone(),
        })
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Changes the longest silence.
    pub(super) fn set_stall(&mut self, stall: Duration) {
        self.target.stall = stall;
    }

    /// Asks for a page; an error only if nothing answers.
    pub(super) fn get(&self, path: &str) -> Result<Answer, EngineError> {
        let request = self.client.get(self.address(path));
        self.runtime
            .block_on(self.in_time(path, self.answer(path, request)))
    }

    /// Posts JSON; an error only if nothing answers.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Answer, EngineError> {
        let request = self.client.post(self.address(path)).json(body);
        self.runtime
            .block_on(self.in_time(path, self.answer(path, request)))
    }

    /// Posts JSON and hands every line of the streamed answer to `read`.
    ///
    /// Refusals, answers that are no stream, lines without end and silence are errors; so is what
    /// `read` returns. `first` is the longest silence before the first piece of output; `heard`
    /// counts the pieces.
    pub(super) fn stream<R>(
        &self,
        path: &str,
        body: &Value,
        first: Duration,
        deadline: Option<Instant>,
        reader: &mut R,
    ) -> Result<Ended, EngineError>
    where
        R: LineReader,
    {
        self.runtime.block_on(async {
            let reading = self.read_stream(path, body, first, reader);
            match deadline {
                None => reading.await,
                Some(at) => tokio::time::timeout_at(at.into(), reading)
                    .await
                    .unwrap_or(Ok(Ended::Late)),
            }
        })
    }

    async fn read_stream<R: LineReader>(
        &self,
        path: &str,
        body: &Value,
        first: Duration,
        reader: &mut R,
    ) -> Result<Ended, EngineError> {
        let request = self.client.post(self.address(path)).json(body);
        // Some servers answer at once, others with the first piece.
        let response = tokio::time::timeout(first, self.send(path, request))
            .await
            .map_err(|_| self.stalled(path, first, 0))??;
        let status = response.status();
        if !status.is_success() {
            let said = self.in_time(path, self.text(path, response)).await;
            let said = said.unwrap_or_default();
            return Err(self.refused(path, status.as_u16(), &said));
        }
        let content_type = header(&response, &CONTENT_TYPE);
        if content_type.contains("text/html") {
            return Err(self.protocol(path, "an HTML page in place of a stream of events"));
        }
        if content_type.contains("application/json") {
            let said = self.in_time(path, self.text(path, response)).await;
            let said = said.unwrap_or_default();
            if let Some(error) = error_in(&said) {
                return Err(self.protocol(path, &format!("an error: {error}")));
            }
            let what = "one JSON object at the end in place of a stream of events";
            return Err(self.protocol(path, what));
        }

        let bytes = response
            .bytes_stream()
            .map(|read| read.map_err(|error| io::Error::other(in_words(&error))));
        let codec = LinesCodec::new_with_max_length(MAX_LINE_BYTES);
        let mut lines = FramedRead::new(StreamReader::new(Box::pin(bytes)), codec);
        loop {
            let patience = if reader.heard() == 0 {
                first
            } else {
                self.target.stall
            };
            let line = tokio::time::timeout(patience, lines.next())
                .await
                .map_err(|_| self.stalled(path, patience, reader.heard()))?;
            let Some(line) = line else {
                return Ok(Ended::Closed);
            };
            let line = line.map_err(|error| self.unreadable(path, &error, reader.heard()))?;
            let next = reader
                .read(&line)
                .map_err(|what| self.protocol(path, &what))?;
            if next == Next::End {
                return Ok(Ended::Wanted);
            }
        }
    }

    /// What is done within the longest silence, however much comes meanwhile.
    async fn in_time<T>(
        &self,
        path: &str,
        done: impl Future<Output = Result<T, EngineError>>,
    ) -> Result<T, EngineError> {
        let patience = self.target.stall;
        tokio::time::timeout(patience, done)
            .await
            .unwrap_or_else(|_| Err(self.stalled(path, patience, 0)))
    }

    async fn answer(
        &self,
        path: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<Answer, EngineError> {
        let response = self.send(path, request).await?;
        let (status, server) = (response.status().as_u16(), header(&response, &SERVER));
        let said = self.text(path, response).await?;
        Ok(Answer {
            status,
            server,
            body: serde_json::from_str(&said).unwrap_or_default(),
        })
    }

    async fn send(
        &self,
        path: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<Response, EngineError> {
        request
            .send()
            .await
            .map_err(|error| EngineError::Unreachable {
                url: self.address(path),
                reason: in_words(&error),
            })
    }

    /// The body as text, up to the bound.
    async fn text(&self, path: &str, response: Response) -> Result<String, EngineError> {
        let mut bytes = Vec::new();
        let mut body = Box::pin(response.bytes_stream());
        while let Some(part) = body.next().await {
            let part = part.map_err(|error| EngineError::Unreachable {
                url: self.address(path),
                reason: in_words(&error),
            })?;
            bytes.extend_from_slice(&part);
            if bytes.len() > MAX_ANSWER_BYTES {
                let what = format!("its answer is longer than {MAX_ANSWER_BYTES} bytes");
                return Err(self.protocol(path, &what));
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.target.url)
    }

    pub(super) fn refused(&self, path: &str, status: u16, said: &str) -> EngineError {
        let reason = error_in(said).unwrap_or_else(|| short(said));
        EngineError::Refused {
            url: self.address(path),
            status,
            reason: if reason.is_empty() {
                "nothing more".to_owned()
            } else {
                reason
            },
        }
    }

    pub(super) fn protocol(&self, path: &str, what: &str) -> EngineError {
        EngineError::Protocol {
            url: self.address(path),
            what: short(what),
        }
    }

    pub(super) fn stalled(&self, path: &str, patience: Duration, events: u32) -> EngineError {
        EngineError::Stalled {
            url: self.address(path),
            seconds: patience.as_secs_f64(),
            events,
        }
    }

    fn unreadable(&self, path: &str, error: &LinesCodecError, heard: u32) -> EngineError {
        match error {
            LinesCodecError::MaxLineLengthExceeded => {
                let what = format!("a line is longer than {MAX_LINE_BYTES} bytes");
                self.protocol(path, &what)
            }
            LinesCodecError::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.protocol(path, "a line is not UTF-8")
            }
            LinesCodecError::Io(error) => {
                let what = format!("it broke off after {heard} pieces of output: {error}");
                self.protocol(path, &what)
            }
        }
    }
}

/// Reads the lines of a stream.
pub(super) trait LineReader {
    /// Reads one line; an error says what is wrong with it.
    fn read(&mut self, line: &str) -> Result<Next, String>;

    /// Pieces of output so far.
    fn heard(&self) -> u32;
}

fn header(response: &Response, name: &reqwest::header::HeaderName) -> String {
    let value = response.headers().get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_ascii_lowercase()
}

/// The message of an error body: `{"error": {"message": …}}`, `{"error": …}` or `{"message": …}`.
fn error_in(said: &str) -> Option<String> {
    error_of(&serde_json::from_str(said).ok()?)
}

/// As [`error_in`], for a parsed body.
pub(super) fn error_of(body: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(short);
    let error = body.get("error").filter(|error| !error.is_null());
    match error {
        Some(error) => text(error)
            .or_else(|| error.get("message").and_then(text))
            .or_else(|| Some(short(&error.to_string()))),
        None => body
            .get("message")
            .or_else(|| body.get("detail"))
            .and_then(text),
    }
}

/// A server's words, cut and cleaned.
pub(super) fn short(text: &str) -> String {
    Name::cleaned(text).to_string()
}

/// The network's words, without the address, which the error names already.
fn in_words(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_timeout() {
        "no connection in time".to_owned()
    } else {
        short(&cause.to_string())
    }
}
