//! An inference server that "uses" a known number of joules per prompt token and per output
//! token: it computes nothing, paces its events, and books what each token costs, so that the
//! error of a whole chain of measuring can be stated.
//!
//! Energy follows the plan of a request that is made when it arrives: so many seconds and joules
//! per prompt token, then per output token; idle power runs underneath all the time. Events leave
//! at or just after their planned moment.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// What tokens take, and what the machine draws when there is nothing to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    /// Time to process one prompt token.
    pub(crate) prompt_token_seconds: f64,
    /// Joules of one prompt token above idle.
    pub(crate) prompt_token_joules: f64,
    /// Time between two output tokens.
    pub(crate) output_token_seconds: f64,
    /// Joules of one output token above idle; the first one of a request belongs to prefill.
    pub(crate) output_token_joules: f64,
    /// Power underneath all of it.
    pub(crate) idle_watts: f64,
}

impl Costs {
    /// Joules of one prompt token, idle power included: what a meter of the whole must find.
    pub(crate) fn gross_prompt_token_joules(&self) -> f64 {
        self.prompt_token_joules + self.idle_watts * self.prompt_token_seconds
    }

    /// Joules of one output token, idle power included.
    pub(crate) fn gross_output_token_joules(&self) -> f64 {
        self.output_token_joules + self.idle_watts * self.output_token_seconds
    }
}

/// How answers look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Tokens in one event.
    pub(crate) tokens_per_event: usize,
    /// The server says how many tokens there were.
    pub(crate) says_usage: bool,
    /// What is written, again and again. A character of several bytes is several tokens of the
    /// reference vocabulary, and leaves with its last one.
    pub(crate) text: &'static str,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            tokens_per_event: 1,
            says_usage: true,
            text: "the quick brown fox jumps over the lazy dog and runs ",
        }
    }
}

/// Joules used so far, as a function of time.
#[derive(Debug)]
pub(crate) struct Ledger {
    began: Instant,
    idle_watts: f64,
    /// From, until (seconds since it began), joules above idle; in the order of arrival.
    work: Mutex<Vec<(f64, f64, f64)>>,
}

impl Ledger {
    /// Seconds since the server began.
    pub(crate) fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Joules used by a moment in seconds since the server began.
    pub(crate) fn joules_at(&self, seconds: f64) -> f64 {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |(from, until, joules): &(f64, f64, f64)| {
            joules * ((seconds - from) / (until - from)).clamp(0.0, 1.0)
        };
        self.idle_watts * seconds + work.iter().map(of).sum::<f64>()
    }

    fn book(&self, from: f64, until: f64, joules: f64) {
        if until > from {
            let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
            work.push((from, until, joules));
        }
    }
}

/// A running server; stopped when dropped.
#[derive(Debug)]
pub(crate) struct KnownJoules {
    /// Its address.
    pub(crate) url: String,
    /// What it used.
    pub(crate) ledger: Arc<Ledger>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Server {
    costs: Costs,
    style: Style,
    /// Update period of the counter that `/energy` shows.
    update_seconds: f64,
    ledger: Arc<Ledger>,
}

impl KnownJoules {
    /// Serves completions, and at `/energy` a counter of its joules that changes once in
    /// `update_seconds`.
    pub(crate) fn start(costs: Costs, style: Style, update_seconds: f64) -> Self {
        let ledger = Arc::new(Ledger {
            began: Instant::now(),
            idle_watts: costs.idle_watts,
            work: Mutex::default(),
        });
        let server = Server {
            costs,
            style,
            update_seconds,
            ledger: Arc::clone(&ledger),
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                let app = Router::new()
                    .route("/health", get(async || axum::Json(json!({"status": "ok"}))))
                    .route(
                        "/v1/models",
                        get(async || axum::Json(json!({"data": [{"id": "known-joules"}]}))),
                    )
                    .route("/energy", get(energy))
                    .route("/v1/completions", post(complete))
                    .with_state(server);
                tokio::select! {
                    served = axum::serve(listener, app).into_future() => served.expect("serves"),
                    _ = stopped => {}
                }
            });
        });
        Self {
            url,
            ledger,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for KnownJoules {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn energy(State(server): State<Server>) -> Response {
    let period = server.update_seconds;
    let shown = (server.ledger.now() / period).floor() * period;
    let joules = server.ledger.joules_at(shown);
    axum::Json(json!({"energy": {"total": joules}, "unit": "J"})).into_response()
}

async fn complete(State(server): State<Server>, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).expect("JSON");
    let prompt = match &asked["prompt"] {
        Value::Array(ids) => ids.len(),
        // The reference vocabulary has a token for each byte, and one that begins the text.
        Value::String(text) => text.len() + 1,
        other => panic!("no prompt: {other}"),
    };
    let most = asked["max_tokens"].as_u64().expect("max_tokens") as usize;
    let costs = server.costs;
    let ends = asked.get("ignore_eos").is_none() && most > 3;
    let output = if ends { 3 } else { most };

    let sent = server.ledger.now();
    let first = sent + prompt as f64 * costs.prompt_token_seconds;
    let last = first + (output.max(1) - 1) as f64 * costs.output_token_seconds;
    server
        .ledger
        .book(sent, first, prompt as f64 * costs.prompt_token_joules);
    server.ledger.book(
        first,
        last,
        (output.max(1) - 1) as f64 * costs.output_token_joules,
    );

    let began = server.ledger.began;
    let at = move |token: usize| {
        let seconds = first + token as f64 * costs.output_token_seconds;
        began + Duration::try_from_secs_f64(seconds).expect("a moment after the server began")
    };
    let mut events = Vec::new();
    let mut bytes = server.style.text.bytes().cycle();
    let (mut pending, mut sent_tokens) = (Vec::new(), 0);
    while sent_tokens < output {
        let until = (sent_tokens + server.style.tokens_per_event).min(output);
        pending.extend(bytes.by_ref().take(until - sent_tokens));
        sent_tokens = until;
        // What is no whole character waits for the rest, as servers do.
        let whole = match std::str::from_utf8(&pending) {
            Ok(_) => pending.len(),
            Err(broken) => broken.valid_up_to(),
        };
        let text: String = String::from_utf8_lossy(&pending[..whole]).into_owned();
        pending.drain(..whole);
        let chunk = json!({"choices": [{"text": text, "finish_reason": null}]});
        events.push((at(until - 1), format!("data: {chunk}\n\n")));
    }
    let finish = if ends { "stop" } else { "length" };
    let mut tail = format!(
        "data: {}\n\n",
        json!({"choices": [{"text": "", "finish_reason": finish}]})
    );
    if server.style.says_usage {
        let usage = json!({
            "prompt_tokens": prompt, "completion_tokens": output,
            "prompt_tokens_details": {"cached_tokens": 0},
        });
        let said = json!({"choices": [], "usage": usage});
        tail = format!("{tail}data: {said}\n\n");
    }
    tail += "data: [DONE]\n\n";
    events.push((at(output.max(1) - 1), tail));
    // A thread of its own keeps time better than the runtime's timers, which count milliseconds.
    let (send, receive) = tokio::sync::mpsc::channel(events.len());
    std::thread::spawn(move || {
        for (due, text) in events {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if send.blocking_send(text).is_err() {
                return;
            }
        }
    });
    let paced = stream::unfold(receive, async |mut receive| {
        let text: String = receive.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), receive))
    });
    (
        [(CONTENT_TYPE, "text/event-stream")],
        Body::from_stream(paced),
    )
        .into_response()
}
