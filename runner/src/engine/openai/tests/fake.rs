//! A server whose every habit can be chosen. It knows the reference vocabulary, one token per byte.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, Uri};
use axum::response::Response;
use futures_util::stream;
use tokio::sync::oneshot;

use super::*;

/// A part of an answer's body.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Text(String),
    Raw(Vec<u8>),
    Pause(Duration),
    /// So many bytes without a line's end.
    Flood(usize),
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) parts: Vec<Part>,
}

/// How an honest answer looks.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own")]
pub(super) struct Style {
    pub(super) usage: bool,
    pub(super) usage_per_event: bool,
    pub(super) timings: bool,
    pub(super) ids: bool,
    pub(super) cached: bool,
    /// Tokens per event.
    pub(super) tokens_per_event: usize,
    /// The end token is counted.
    pub(super) counts_end: bool,
    pub(super) takes_ids: bool,
    /// Keys that it knows; empty: any.
    pub(super) known_keys: Vec<&'static str>,
    /// What keeps the end away.
    pub(super) bans_by: Vec<&'static str>,
    pub(super) chat_extra: usize,
    /// Tokens of reasoning before the answer.
    pub(super) reasoning: usize,
    pub(super) letters: &'static str,
    /// Entries of `/v1/models`.
    pub(super) models: Value,
    /// Pauses between the spaces that it sends before each page.
    pub(super) trickles: Option<Duration>,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            usage: true,
            usage_per_event: false,
            timings: false,
            ids: false,
            cached: true,
            tokens_per_event: 1,
            counts_end: true,
            takes_ids: true,
            known_keys: Vec::new(),
            bans_by: vec!["ignore_eos"],
            chat_extra: 12,
            reasoning: 0,
            letters: "the quick brown fox jumps over the lazy dog and runs ",
            models: json!([{"id": "fake"}]),
            trickles: None,
        }
    }
}

/// The numbers that an answer says of itself, for lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub(super) prompt: usize,
    pub(super) output: usize,
    pub(super) cached: usize,
}

type Misbehave = Box<dyn Fn(&Value, &Style) -> Reply + Send + Sync>;

struct Habits {
    style: Style,
    armed: AtomicBool,
    misbehave: Misbehave,
    asked: Mutex<Vec<Value>>,
}

/// A running fake; stopped when dropped.
pub(super) struct Fake {
    pub(super) url: String,
    habits: Arc<Habits>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Honest for ever.
    pub(super) fn honest(style: Style) -> Self {
        Self::new(style, |body, style| style.answer(body))
    }

    /// Honest until [`Fake::arm`], then as told.
    pub(super) fn new(
        style: Style,
        misbehave: impl Fn(&Value, &Style) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let habits = Arc::new(Habits {
            style,
            armed: AtomicBool::new(false),
            misbehave: Box::new(misbehave),
            asked: Mutex::new(Vec::new()),
        });
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel::<()>();
        let state = Arc::clone(&habits);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                    .await
                    .expect("a port");
                tell.send(listener.local_addr().expect("an address"))
                    .expect("somebody waits");
                let app = Router::new().fallback(answer).with_state(state);
                let serving = axum::serve(listener, app);
                // Connections of stalled streams do not hold up the end of a test.
                tokio::select! {
                    served = serving => served.expect("serves"),
                    _ = stopped => {}
                }
            });
        });
        let address = told.recv().expect("it listens");
        Self {
            url: format!("http://{address}"),
            habits,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// From now on it misbehaves.
    pub(super) fn arm(&self) {
        self.habits.armed.store(true, Ordering::SeqCst);
    }

    /// The bodies it was sent.
    pub(super) fn asked(&self) -> Vec<Value> {
        self.habits.asked.lock().expect("no panic").clone()
    }

    /// An engine that is told of it, with little patience; weights of the reference family.
    pub(super) fn engine(&self, change: impl FnOnce(&mut OpenAiSpec)) -> OpenAiEngine {
        let url = self.url.clone();
        let mut spec = spec(Server::Running { url }, WeightsForm::Gguf);
        how(&mut spec).stall_seconds = 0.5;
        change(how(&mut spec));
        OpenAiEngine::new(&spec, 1).expect("a server's spec")
    }

    /// The same, loaded.
    pub(super) fn loaded(&self) -> OpenAiEngine {
        let mut engine = self.engine(|_| ());
        engine
            .load(&reference("0.9m"), NEEDS)
            .unwrap_or_else(|error| panic!("failed to {error}"));
        engine
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the fake did not panic");
        }
    }
}

async fn answer(
    State(habits): State<Arc<Habits>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let reply = if method == Method::POST && uri.path().ends_with("completions") {
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        habits.asked.lock().expect("no panic").push(body.clone());
        if habits.armed.load(Ordering::SeqCst) {
            (habits.misbehave)(&body, &habits.style)
        } else {
            habits.style.answer(&body)
        }
    } else {
        match uri.path() {
            "/health" => Reply::json(200, &json!({"status": "ok"})),
            "/v1/models" => Reply::json(200, &json!({"data": habits.style.models})),
            _ => Reply::json(404, &json!({"error": "Not Found"})),
        }
    };
    let mut parts = VecDeque::from(reply.parts);
    if let (Some(pause), Method::GET) = (habits.style.trickles, method) {
        let drops = [Part::Text(" ".to_owned()), Part::Pause(pause)];
        parts = drops.into_iter().cycle().take(200).chain(parts).collect();
    }
    let body = stream::unfold(parts, |mut parts| async move {
        let bytes = match parts.pop_front()? {
            Part::Text(text) => Bytes::from(text),
            Part::Raw(bytes) => Bytes::from(bytes),
            Part::Flood(left) => {
                let now = left.min(64 << 10);
                if left > now {
                    parts.push_front(Part::Flood(left - now));
                }
                Bytes::from(vec![b'x'; now])
            }
            Part::Pause(duration) => {
                tokio::time::sleep(duration).await;
                Bytes::new()
            }
        };
        Some((Ok::<_, Infallible>(bytes), parts))
    });
    Response::builder()
        .status(reply.status)
        .header("content-type", reply.content_type)
        .body(Body::from_stream(body))
        .expect("a response")
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            content_type: "application/json",
            parts: vec![Part::Text(body.to_string())],
        }
    }

    pub(super) fn stream(parts: Vec<Part>) -> Self {
        Self {
            status: 200,
            content_type: "text/event-stream",
            parts,
        }
    }

    /// The same stream with another text in its lines.
    pub(super) fn edited(mut self, edit: impl Fn(&str) -> String) -> Self {
        for part in &mut self.parts {
            if let Part::Text(text) = part {
                *text = edit(text);
            }
        }
        self
    }
}

/// One event as it is usually written.
pub(super) fn event(data: &Value) -> Part {
    Part::Text(format!("data: {data}\n\n"))
}

pub(super) fn done() -> Part {
    Part::Text("data: [DONE]\n\n".to_owned())
}

impl Style {
    /// Tokens of a request's prompt.
    pub(super) fn prompt_tokens(&self, body: &Value) -> usize {
        match (&body["prompt"], &body["messages"]) {
            (Value::Array(ids), _) => ids.len(),
            (Value::String(text), _) => text.len() + 1,
            (_, Value::Array(messages)) => {
                let content = |message: &Value| message["content"].as_str().map_or(0, str::len);
                messages.iter().map(content).sum::<usize>() + self.chat_extra
            }
            _ => panic!("no prompt in {body}"),
        }
    }

    /// Output tokens and whether the answer ends by itself.
    pub(super) fn output(&self, body: &Value) -> (usize, bool) {
        let most = body["max_tokens"].as_u64().expect("max_tokens") as usize;
        let banned = self.bans_by.iter().any(|key| body.get(key).is_some());
        if banned || most <= 3 {
            (most, false)
        } else {
            (3, true)
        }
    }

    pub(super) fn answer(&self, body: &Value) -> Reply {
        let mut keys = body.as_object().expect("an object").keys();
        if let Some(key) = keys
            .rfind(|key| !self.known_keys.is_empty() && !self.known_keys.contains(&key.as_str()))
        {
            let message = format!("Unrecognized request argument supplied: {key}");
            return Reply::json(422, &json!({"error": {"message": message}}));
        }
        if body["prompt"].is_array() && !self.takes_ids {
            return Reply::json(404, &json!({"error": "text input must be of type `str`"}));
        }
        let (output, ends) = self.output(body);
        let said = Said {
            prompt: self.prompt_tokens(body),
            output: output + usize::from(ends && self.counts_end),
            cached: 0,
        };
        self.says(body, said)
    }

    /// The stream, with these numbers in it.
    pub(super) fn says(&self, body: &Value, said: Said) -> Reply {
        let (output, ends) = self.output(body);
        let chat = body["messages"].is_array();
        let usage = |output: usize| {
            let mut usage = json!({"prompt_tokens": said.prompt, "completion_tokens": output});
            if self.cached {
                usage["prompt_tokens_details"] = json!({"cached_tokens": said.cached});
            }
            usage
        };
        let timings = |output: usize| {
            json!({
                "cache_n": said.cached, "prompt_n": said.prompt - said.cached, "prompt_ms": 2.5,
                "predicted_n": output, "predicted_ms": 0.5 * output as f64,
            })
        };
        let letters: Vec<char> = self.letters.chars().cycle().take(output).collect();
        let mut parts = Vec::new();
        let mut sent = 0;
        while sent < output {
            let reasons = sent < self.reasoning;
            let until = (sent + self.tokens_per_event).min(output);
            let until = if reasons {
                until.min(self.reasoning)
            } else {
                until
            };
            let piece: String = letters[sent..until].iter().collect();
            let mut choice = if !chat {
                json!({"text": piece, "finish_reason": null})
            } else if reasons {
                json!({"delta": {"reasoning_content": piece, "content": null}})
            } else {
                json!({"delta": {"content": piece}})
            };
            if self.ids {
                let ids: Vec<u32> = piece.bytes().map(u32::from).collect();
                choice["token_ids"] = json!(ids);
            }
            let mut chunk = json!({"choices": [choice]});
            if self.usage_per_event {
                chunk["usage"] = usage(until);
            }
            if self.timings {
                chunk["timings"] = timings(until);
            }
            parts.push(event(&chunk));
            sent = until;
        }
        let finish = if ends { "stop" } else { "length" };
        let mut last = if chat {
            json!({"choices": [{"delta": {}, "finish_reason": finish}]})
        } else {
            json!({"choices": [{"text": "", "finish_reason": finish}]})
        };
        if self.timings {
            last["timings"] = timings(said.output);
        }
        parts.push(event(&last));
        if self.usage && body.get("stream_options").is_some() {
            parts.push(event(&json!({"choices": [], "usage": usage(said.output)})));
        }
        parts.push(done());
        Reply::stream(parts)
    }
}
