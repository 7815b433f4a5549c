//! The connection to one meter: pages asked on the thread that reads, and logins.
//!
//! One answer is one reading: no proxy, no redirects, at most [`LIMIT`] and [`MAX_BYTES`]. The
//! stamps stand around the request that was answered, not around a login before it. Digest
//! (RFC 7616) and basic logins are made when the meter asks for them, and remembered: devices that
//! let a nonce serve again need one request, older ones two
//! (<https://shelly-api-docs.shelly.cloud/gen2/General/Authentication>).

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use digest_auth::{AuthContext, WwwAuthenticateHeader};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::super::ReadError;
use crate::clock::Clock;

/// Longest time of one request, connecting included.
pub(super) const LIMIT: Duration = Duration::from_secs(2);

/// Longest answer that is read.
pub(super) const MAX_BYTES: usize = 64 * 1_024;

/// A password or token is a line.
const MAX_SECRET_BYTES: u64 = 4_096;

/// How the meter lets one in, as the user named it: secrets stay in their files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    Open,
    Password { user: String, file: PathBuf },
    Token { file: PathBuf },
}

/// The refusal of a login.
pub(super) fn login() -> ReadError {
    ReadError::Permission {
        fix: "give this meter's user and password_file, or its token_file, in meters.toml",
    }
}

/// A text that is never shown.
#[derive(Clone)]
pub(super) struct Secret(String);

impl Secret {
    /// The one line of a file.
    pub(super) fn read(file: &Path) -> Result<Self, ReadError> {
        // The path may name a person, and refusals can be published.
        let unread = |error: &io::Error| {
            let kind = error.kind();
            ReadError::Transport(format!("its password or token file cannot be read: {kind}"))
        };
        let length = fs::metadata(file).map_err(|error| unread(&error))?.len();
        if length > MAX_SECRET_BYTES {
            return Err(unread(&io::ErrorKind::FileTooLarge.into()));
        }
        let text = fs::read_to_string(file).map_err(|error| unread(&error))?;
        Ok(Self(text.trim().to_owned()))
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What the meter asked for at the last login.
#[derive(Debug)]
enum Challenge {
    None,
    Basic,
    Digest(Box<WwwAuthenticateHeader>),
}

/// A page that was answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// Clock before the request.
    pub(super) before_ns: u64,
    /// Clock after the last byte.
    pub(super) after_ns: u64,
    /// The page.
    pub(super) body: Value,
}

/// One answer of any status.
struct Heard {
    before_ns: u64,
    after_ns: u64,
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// A connection to a meter.
#[derive(Debug)]
pub(super) struct Link {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    client: Client,
    login: Option<(String, Secret)>,
    challenge: Challenge,
}

impl Link {
    /// Reads the secrets; connects with the first page.
    pub(super) fn new(access: &Access) -> Result<Self, ReadError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let mut login = None;
        match access {
            Access::Open => {}
            Access::Password { user, file } => login = Some((user.clone(), Secret::read(file)?)),
            Access::Token { file } => {
                let token = Secret::read(file)?;
                let mut header = HeaderValue::try_from(format!("Bearer {}", token.reveal()))
                    .map_err(|_| {
                        ReadError::Transport("its token has a character no header may have".into())
                    })?;
                header.set_sensitive(true);
                headers.insert(AUTHORIZATION, header);
            }
        }
        let unusable = |what: &str| ReadError::Transport(format!("{what} cannot be set up"));
        let client = Client::builder()
            .default_headers(headers)
            .redirect(Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|_| unusable("the HTTP client"))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|_| unusable("a runtime"))?;
        Ok(Self {
            runtime: Some(runtime),
            client,
            login,
            challenge: Challenge::None,
        })
    }

    /// The JSON page at `url`.
    pub(super) fn get(&mut self, url: &Url, clock: &dyn Clock) -> Result<Answer, ReadError> {
        let mut heard = self.exchange(url, clock)?;
        if heard.status == 401 && self.login.is_some() {
            self.challenge = challenge_of(&heard.headers);
            if !matches!(self.challenge, Challenge::None) {
                heard = self.exchange(url, clock)?;
            }
        }
        match heard.status {
            200 => {}
            401 | 403 => return Err(login()),
            status => {
                let what = format!("it answers with HTTP status {status}");
                return Err(ReadError::Transport(what));
            }
        }
        let body = serde_json::from_slice(&heard.body)
            .map_err(|_| ReadError::Transport("its answer is no JSON".to_owned()))?;
        Ok(Answer {
            before_ns: heard.before_ns,
            after_ns: heard.after_ns,
            body,
        })
    }

    /// One request. Once more where the connection broke at once: a meter may have closed the one
    /// that was kept since the last reading.
    fn exchange(&mut self, url: &Url, clock: &dyn Clock) -> Result<Heard, ReadError> {
        match self.request(url, clock) {
            Err(Trouble::Broken) => self.request(url, clock),
            other => other,
        }
        .map_err(|trouble| ReadError::Transport(trouble.in_words()))
    }

    fn request(&mut self, url: &Url, clock: &dyn Clock) -> Result<Heard, Trouble> {
        let mut request = self.client.get(url.clone());
        if let Some((user, password)) = &self.login {
            match &mut self.challenge {
                Challenge::None => {}
                Challenge::Basic => request = request.basic_auth(user, Some(password.reveal())),
                Challenge::Digest(prompt) => {
                    let query = url
                        .query()
                        .map_or(String::new(), |query| format!("?{query}"));
                    let path = format!("{}{query}", url.path());
                    let context = AuthContext::new(user.as_str(), password.reveal(), path);
                    let answer = prompt.respond(&context).map_err(|_| Trouble::Login)?;
                    let mut header = HeaderValue::try_from(answer.to_header_string())
                        .map_err(|_| Trouble::Login)?;
                    header.set_sensitive(true);
                    request = request.header(AUTHORIZATION, header);
                }
            }
        }
        let runtime = self.runtime.as_ref().ok_or(Trouble::Broken)?;
        let before_ns = clock.now_ns();
        let (status, headers, body) = runtime.block_on(async {
            let work = async {
                let mut response = request.send().await?;
                let status = response.status().as_u16();
                let headers = std::mem::take(response.headers_mut());
                Ok::<_, Trouble>((status, headers, bounded(response).await?))
            };
            tokio::time::timeout(LIMIT, work)
                .await
                .map_err(|_| Trouble::Late)?
        })?;
        Ok(Heard {
            before_ns,
            after_ns: clock.now_ns(),
            status,
            headers,
            body,
        })
    }
}

impl Drop for Link {
    /// Not waited for, because a runtime may not wait within another.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Why a request came to nothing.
#[derive(Debug)]
enum Trouble {
    NoConnection,
    Broken,
    Late,
    TooLong,
    Login,
}

impl Trouble {
    /// Without the address, which reqwest's own words have in them.
    fn in_words(&self) -> String {
        match self {
            Self::NoConnection => {
                "no connection; check its url in meters.toml and that it is on".to_owned()
            }
            Self::Broken => "the connection broke".to_owned(),
            Self::Late => format!("no answer within {} s", LIMIT.as_secs()),
            Self::TooLong => format!("its answer is longer than {MAX_BYTES} bytes"),
            Self::Login => "its login cannot be answered".to_owned(),
        }
    }
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        if error.is_connect() {
            Self::NoConnection
        } else {
            Self::Broken
        }
    }
}

async fn bounded(mut response: Response) -> Result<Vec<u8>, Trouble> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await? {
        if body.len() + piece.len() > MAX_BYTES {
            return Err(Trouble::TooLong);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// What the meter asks for; digest before basic, which shows the password to the whole network.
fn challenge_of(headers: &HeaderMap) -> Challenge {
    let mut basic = Challenge::None;
    // Only ASCII passes `to_str`, which the digest's parser relies on.
    let offers = headers.get_all(WWW_AUTHENTICATE).into_iter();
    for offer in offers.filter_map(|offer| offer.to_str().ok()) {
        let scheme = offer.split_whitespace().next().unwrap_or_default();
        if scheme.eq_ignore_ascii_case("digest") {
            if let Ok(prompt) = digest_auth::parse(&offer["digest".len()..]) {
                return Challenge::Digest(Box::new(prompt));
            }
        } else if scheme.eq_ignore_ascii_case("basic") {
            basic = Challenge::Basic;
        }
    }
    basic
}
