//! This host's side: one session at a time, on this host's clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use domain::ids::Sha256Digest;
use domain::record::{Host, MeterTrace};
use domain::text::Name;
use serde::Deserialize;

use super::{
    ClockNow, Info, KeyJoules, MAX_MARKS, Marked, Opened, PROTOCOL, Problem, SESSION_SECONDS,
    SpanJoules, Stopped,
};
use crate::clock::Clock;
use crate::meter::Meters;
use crate::meter::replay::{MeterFacts, keyed};
use crate::meter::sampler::Sampler;

/// This host's meters, and the session that reads them.
pub struct Desk {
    info: Info,
    /// Digest of the token, so that comparing takes the same time whatever is sent.
    token: Option<Sha256Digest>,
    clock: Arc<dyn Clock>,
    sampler: Sampler,
    session: Mutex<Option<Session>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// A session, open or over.
#[derive(Debug)]
struct Session {
    id: String,
    /// Time zero of its traces, on this host's clock.
    started_ns: u64,
    /// When every meter was first read, each mark and the stop, on this host's clock.
    marks_ns: Vec<u64>,
    last_request_ns: u64,
    stopped: Option<Stopped>,
}

/// Why a request is refused.
type Refused = (StatusCode, String);

impl Desk {
    /// A desk for the meters of this host.
    pub fn new(host: Host, meters: Meters, token: Option<&str>, clock: Arc<dyn Clock>) -> Self {
        let info = Info {
            protocol: PROTOCOL,
            program: Name::cleaned(concat!("joulemark ", env!("CARGO_PKG_VERSION"))),
            host,
            meters: MeterFacts::of(meters.meters.iter().map(|meter| meter.info())),
            refused: meters.refused.iter().map(super::Refused::from).collect(),
            unavailable: meters.unavailable,
        };
        Self {
            info,
            token: token.map(|token| Sha256Digest::of(token.as_bytes())),
            sampler: Sampler::spawn(meters.meters, Arc::clone(&clock)),
            clock,
            session: Mutex::new(None),
        }
    }

    /// What this host says of itself.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Gives up a session that nobody has asked about for too long.
    pub fn expire(&self) {
        let mut session = self.lock();
        let now_ns = self.clock.now_ns();
        let is_over = session.as_ref().is_some_and(|session| {
            now_ns.saturating_sub(session.last_request_ns) > SESSION_SECONDS * 1_000_000_000
        });
        if is_over && session.take().is_some_and(|one| one.stopped.is_none()) {
            tracing::warn!("a session was given up: nothing was asked for ten minutes");
            self.sampler.stop();
        }
    }

    fn open(&self) -> Result<Opened, Refused> {
        self.expire();
        let mut session = self.lock();
        let now_ns = self.clock.now_ns();
        if let Some(open) = session.as_ref().filter(|session| session.stopped.is_none()) {
            let idle = now_ns.saturating_sub(open.last_request_ns) / 1_000_000_000;
            return Err((
                StatusCode::CONFLICT,
                format!(
                    "another session is open, last asked {idle} s ago: stop its leader, or wait \
                     until {SESSION_SECONDS} s have passed"
                ),
            ));
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| {
            let what = "the system has no randomness".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, what)
        })?;
        self.sampler.start(now_ns);
        // The leader's load and warm-up come next, under which update periods show.
        self.sampler.probe();
        let opened = Session {
            id: hex::encode(id),
            started_ns: now_ns,
            marks_ns: vec![self.clock.now_ns()],
            last_request_ns: now_ns,
            stopped: None,
        };
        let answer = opened.opened();
        *session = Some(opened);
        Ok(answer)
    }

    fn keep(&self, id: &str) -> Result<Opened, Refused> {
        Ok(self.of(id, &mut self.lock())?.opened())
    }

    fn mark(&self, id: &str) -> Result<Marked, Refused> {
        let mut held = self.lock();
        let session = self.of(id, &mut held)?;
        if session.stopped.is_some() {
            return Err((StatusCode::CONFLICT, "the session is over".to_owned()));
        }
        if session.marks_ns.len() >= MAX_MARKS {
            let what = format!("a session holds {MAX_MARKS} marks: stop it and open another");
            return Err((StatusCode::CONFLICT, what));
        }
        let now_ns = self.clock.now_ns();
        self.sampler.mark();
        session.marks_ns.push(now_ns);
        Ok(Marked {
            mark: session.marks_ns.len() - 1,
            now_ns,
        })
    }

    fn stop(&self, id: &str) -> Result<Stopped, Refused> {
        let mut held = self.lock();
        let session = self.of(id, &mut held)?;
        if let Some(stopped) = &session.stopped {
            return Ok(stopped.clone());
        }
        let stopped_ns = self.clock.now_ns();
        let sampled = self.sampler.stop();
        let stopped = Stopped {
            started_ns: session.started_ns,
            stopped_ns,
            traces: sampled.traces,
            trouble: sampled.trouble.or_else(|| self.info.unavailable.clone()),
            cost: sampled.cost,
        };
        session.marks_ns.push(stopped_ns);
        session.stopped = Some(stopped.clone());
        Ok(stopped)
    }

    fn joules(&self, id: &str, from: usize, to: usize) -> Result<SpanJoules, Refused> {
        let mut held = self.lock();
        let session = self.of(id, &mut held)?;
        let Some(stopped) = &session.stopped else {
            let what = "joules are worked out once the session is stopped".to_owned();
            return Err((StatusCode::CONFLICT, what));
        };
        let at = |mark: usize| {
            let ns = session.marks_ns.get(mark).copied();
            ns.map(|ns| ns - stopped.started_ns).ok_or_else(|| {
                let last = session.marks_ns.len() - 1;
                let what = format!("there is no mark {mark}: the last is {last}");
                (StatusCode::BAD_REQUEST, what)
            })
        };
        let (from_ns, to_ns) = (at(from)?, at(to)?);
        let traces: Vec<&MeterTrace> = stopped.traces.iter().collect();
        let host = std::slice::from_ref(&self.info.host);
        let keys = keyed(&traces, host, |_| (from_ns, to_ns))
            .into_iter()
            .map(|(key, energy)| KeyJoules {
                scope: key.scope,
                energy_joules: energy.ok().map(|energy| energy.joules.0),
                error_joules: energy.ok().map(|energy| energy.error.0),
                ticks: energy.ok().map(|energy| energy.ticks),
                unavailable: energy.err(),
            })
            .collect();
        Ok(SpanJoules {
            from_ns,
            to_ns,
            keys,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Session>> {
        // What a panic left half done is at worst a session that is given up.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of this id, kept from expiring.
    fn of<'a>(
        &self,
        id: &str,
        held: &'a mut MutexGuard<'_, Option<Session>>,
    ) -> Result<&'a mut Session, Refused> {
        let session = held.as_mut().filter(|session| session.id == id);
        let session = session.ok_or_else(|| {
            let what = "there is no such session: it was given up, or another was opened";
            (StatusCode::NOT_FOUND, what.to_owned())
        })?;
        session.last_request_ns = self.clock.now_ns();
        Ok(session)
    }
}

impl Session {
    fn opened(&self) -> Opened {
        Opened {
            session: self.id.clone(),
            started_ns: self.started_ns,
        }
    }
}

/// The routes of a desk.
pub fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/v1/info", get(info))
        .route("/v1/clock", get(clock))
        .route("/v1/sessions", post(open))
        .route("/v1/sessions/{id}", get(keep))
        .route("/v1/sessions/{id}/mark", post(mark))
        .route("/v1/sessions/{id}/stop", post(stop))
        .route("/v1/sessions/{id}/joules", get(joules))
        .layer(middleware::from_fn_with_state(Arc::clone(&desk), guarded))
        .with_state(desk)
}

async fn guarded(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let Some(token) = desk.token else {
        return next.run(request).await;
    };
    let sent = request.headers().get(AUTHORIZATION);
    let sent = sent.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if sent.is_some_and(|sent| Sha256Digest::of(sent.as_bytes()) == token) {
        next.run(request).await
    } else {
        let what = "send the token of --token-file as `Authorization: Bearer TOKEN`".to_owned();
        refusal((StatusCode::UNAUTHORIZED, what))
    }
}

fn refusal((status, error): Refused) -> Response {
    (status, Json(Problem { error })).into_response()
}

async fn info(State(desk): State<Arc<Desk>>) -> Json<Info> {
    Json(desk.info.clone())
}

async fn clock(State(desk): State<Arc<Desk>>) -> Json<ClockNow> {
    let now_ns = desk.clock.now_ns();
    Json(ClockNow { now_ns })
}

async fn open(State(desk): State<Arc<Desk>>) -> Response {
    answered(move || desk.open()).await
}

async fn keep(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Response {
    answered(move || desk.keep(&id)).await
}

async fn mark(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Response {
    answered(move || desk.mark(&id)).await
}

async fn stop(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Response {
    answered(move || desk.stop(&id)).await
}

/// Two marks.
#[derive(Debug, Deserialize)]
struct Between {
    from: usize,
    to: usize,
}

async fn joules(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    Query(Between { from, to }): Query<Between>,
) -> Response {
    answered(move || desk.joules(&id, from, to)).await
}

/// Reading meters blocks, so that it is done beside the threads that serve.
async fn answered<T: serde::Serialize + Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(answer)) => Json(answer).into_response(),
        Ok(Err(refused)) => refusal(refused),
        Err(_) => {
            let what = "reading the meters ended in a panic".to_owned();
            refusal((StatusCode::INTERNAL_SERVER_ERROR, what))
        }
    }
}
