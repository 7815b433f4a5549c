//! `meters.toml`: the meters that a user names, checked line by line.
//!
//! Each entry says what the number covers. Two entries of one scope would be two answers to one
//! question, so they are refused, but for the power and the counter of one meter under one name.
//! Nothing here is read from the network or from secret files yet.

use std::path::PathBuf;

use domain::matrix::MatrixError;
use domain::matrix::source::Source;
use domain::record::Averaging;
use domain::scope::Scope;
use domain::text::Name;
use reqwest::Url;
use serde::Deserialize;
use thiserror::Error;
use toml::Spanned;

use super::http::Access;
use super::pointer::{Field, Stamp, Unit, UnitFrom};
use super::{Facts, kind_of};

/// Most meters of one file.
const MAX_METERS: usize = 16;

/// How old a page may be by its own stamp, if the file does not say.
const MAX_AGE_SECONDS: f64 = 60.0;

/// Longest time that the file may state, a day.
const MAX_SECONDS: f64 = 86_400.0;

/// What is wrong with a file of meters, and where.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(transparent)]
pub struct MetersFileError(#[from] MatrixError);

/// The meters that a user named.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetersFile {
    pub(super) meters: Vec<Named>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Named {
    pub(super) name: Name,
    pub(super) scope: Scope,
    pub(super) url: Url,
    pub(super) covers: Option<Name>,
    pub(super) access: Access,
    pub(super) asked: Asked,
}

/// How it is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    Shelly { component: Option<String> },
    Tasmota,
    Json { field: Field, facts: Facts },
}

impl Asked {
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::Shelly { .. } => "shelly",
            Self::Tasmota => "tasmota",
            Self::Json { .. } => "json",
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    meter: Vec<Spanned<RawMeter>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Shelly,
    Tasmota,
    Json,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMeter {
    name: Name,
    kind: Kind,
    url: String,
    scope: Option<Scope>,
    covers: Option<Name>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    component: Option<String>,
    pointer: Option<String>,
    unit: Option<Unit>,
    unit_pointer: Option<String>,
    averaging: Option<Averaging>,
    window_seconds: Option<f64>,
    update_seconds: Option<f64>,
    timestamp_pointer: Option<String>,
    max_age_seconds: Option<f64>,
    wrap: Option<f64>,
    accuracy_percent: Option<f64>,
}

impl MetersFile {
    /// Reads the text of `file`.
    pub fn parse(file: &str, text: &str) -> Result<Self, MetersFileError> {
        let source = Source { file, text };
        let raw: RawFile = toml::from_str(text).map_err(|error| source.parse_error(&error))?;
        if raw.meter.len() > MAX_METERS {
            let what = format!("{} meters: at most {MAX_METERS} are read", raw.meter.len());
            return Err(source.error_on(1, what).into());
        }
        let mut meters: Vec<Named> = Vec::new();
        for raw in raw.meter {
            let entry = Entry {
                source,
                offset: raw.span().start,
            };
            let named = raw.into_inner().check(&entry)?;
            for other in &meters {
                entry.agrees(&named, other)?;
            }
            meters.push(named);
        }
        Ok(Self { meters })
    }
}

/// Where an entry stands, for errors.
struct Entry<'a> {
    source: Source<'a>,
    offset: usize,
}

impl Entry<'_> {
    fn error(&self, key: &str, what: impl Into<String>) -> MatrixError {
        self.source.error_in(self.offset, key, what.into())
    }

    /// Two meters that can stand in one file.
    fn agrees(&self, one: &Named, other: &Named) -> Result<(), MatrixError> {
        let pair = [kind_of(one), kind_of(other)];
        let is_check = one.scope == other.scope
            && pair[0].is_some()
            && pair[1].is_some()
            && pair[0] != pair[1];
        if one.name == other.name && !is_check {
            let what = format!(
                "{:?} is named already: give every meter a name of its own (only the power and \
                 the counter of one json meter share one)",
                one.name.as_str()
            );
            return Err(self.error("name", what));
        }
        if one.scope == other.scope && one.name != other.name {
            let what = format!(
                "{:?} and {:?} both cover {} of this machine: which one is it? Keep one; a machine \
                 on two plugs needs one meter before both",
                other.name.as_str(),
                one.name.as_str(),
                one.scope
            );
            return Err(self.error("name", what));
        }
        Ok(())
    }

    fn seconds(&self, key: &str, value: Option<f64>) -> Result<Option<u64>, MatrixError> {
        match value {
            Some(seconds) if !(seconds > 0.0 && seconds <= MAX_SECONDS) => {
                let what = format!("{seconds} s: write a time over 0 and up to {MAX_SECONDS} s");
                Err(self.error(key, what))
            }
            Some(seconds) => Ok(Some((seconds * 1e9) as u64)),
            None => Ok(None),
        }
    }

    fn pointer(&self, key: &str, value: Option<String>) -> Result<Option<String>, MatrixError> {
        match value {
            Some(pointer) if !(pointer.is_empty() || pointer.starts_with('/')) => {
                let what =
                    format!("{pointer:?} is no JSON pointer: it begins with /, such as /state");
                Err(self.error(key, what))
            }
            other => Ok(other),
        }
    }
}

impl RawMeter {
    fn check(mut self, entry: &Entry<'_>) -> Result<Named, MatrixError> {
        if self.name.as_str().is_empty() {
            return Err(entry.error("name", "name the meter, such as \"desk plug\""));
        }
        self.refuse_others_keys(entry)?;
        let url = self.url(entry)?;
        let access = self.access(entry)?;
        let scope = match (self.scope, self.kind) {
            (Some(Scope::SocModel), _) => {
                let what = "soc.model is Apple's model of itself: a meter of yours measures \
                            something, name that";
                return Err(entry.error("scope", what));
            }
            (Some(scope), Kind::Json) => scope,
            (None, Kind::Json) => {
                let what = "add scope: what the number covers, such as \"wall.ac\" for a plug";
                return Err(entry.error("kind", what));
            }
            (None | Some(Scope::WallAc), Kind::Shelly | Kind::Tasmota) => Scope::WallAc,
            (Some(_), Kind::Shelly | Kind::Tasmota) => {
                let what = "a plug covers wall.ac: take this out, or name the number of another \
                            device as kind = \"json\"";
                return Err(entry.error("scope", what));
            }
        };
        let asked = match self.kind {
            Kind::Shelly => Asked::Shelly {
                component: self.component.take(),
            },
            Kind::Tasmota => Asked::Tasmota,
            Kind::Json => self.json(entry)?,
        };
        Ok(Named {
            name: self.name,
            scope,
            url,
            covers: self.covers,
            access,
            asked,
        })
    }

    /// A key that another kind of meter has would be ignored here: that is told instead.
    fn refuse_others_keys(&self, entry: &Entry<'_>) -> Result<(), MatrixError> {
        let json_only = [
            ("pointer", self.pointer.is_some()),
            ("unit", self.unit.is_some()),
            ("unit_pointer", self.unit_pointer.is_some()),
            ("averaging", self.averaging.is_some()),
            ("window_seconds", self.window_seconds.is_some()),
            ("update_seconds", self.update_seconds.is_some()),
            ("timestamp_pointer", self.timestamp_pointer.is_some()),
            ("max_age_seconds", self.max_age_seconds.is_some()),
            ("wrap", self.wrap.is_some()),
            ("accuracy_percent", self.accuracy_percent.is_some()),
        ];
        let is_json = self.kind == Kind::Json;
        if let Some((key, _)) = json_only.iter().find(|(_, given)| *given && !is_json) {
            return Err(entry.error(key, "only a meter of kind \"json\" has this: take it out"));
        }
        if self.component.is_some() && self.kind != Kind::Shelly {
            let what = "only a meter of kind \"shelly\" has this: take it out";
            return Err(entry.error("component", what));
        }
        Ok(())
    }

    fn url(&self, entry: &Entry<'_>) -> Result<Url, MatrixError> {
        let url = Url::parse(&self.url).map_err(|error| {
            let what = format!("no address ({error}): write one such as \"http://192.0.2.7\"");
            entry.error("url", what)
        })?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(entry.error(
                "url",
                "write an address that begins with http:// or https://",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let what = "an address may be shown: put the login in user and password_file";
            return Err(entry.error("url", what));
        }
        if self.kind != Kind::Json && url.query().is_some() {
            let what = "write the device's address alone; what to ask it is known";
            return Err(entry.error("url", what));
        }
        Ok(url)
    }

    fn access(&self, entry: &Entry<'_>) -> Result<Access, MatrixError> {
        match (&self.user, &self.password_file, &self.token_file) {
            (None, None, None) => Ok(Access::Open),
            (None, None, Some(file)) => Ok(Access::Token { file: file.clone() }),
            (user, Some(file), None) => Ok(Access::Password {
                // Both vendors know one user only, and call it so.
                user: user.clone().unwrap_or_else(|| "admin".to_owned()),
                file: file.clone(),
            }),
            (Some(_), None, None) => Err(entry.error("user", "add password_file")),
            (_, _, Some(_)) => {
                Err(entry.error("token_file", "name a token or a password, not both"))
            }
        }
    }

    fn json(&mut self, entry: &Entry<'_>) -> Result<Asked, MatrixError> {
        let pointer = entry.pointer("pointer", self.pointer.take())?;
        let pointer = pointer.ok_or_else(|| {
            let what = "add pointer: where the number stands in the answer, such as \"/state\"";
            entry.error("kind", what)
        })?;
        let unit_pointer = entry.pointer("unit_pointer", self.unit_pointer.take())?;
        let unit = match (self.unit, unit_pointer) {
            (Some(unit), None) => UnitFrom::Fixed(unit),
            (None, Some(pointer)) => UnitFrom::Page(pointer),
            (Some(_), Some(_)) => {
                return Err(entry.error("unit_pointer", "name unit or unit_pointer, not both"));
            }
            (None, None) => {
                let what = "add unit, such as \"W\" or \"kWh\", or the unit_pointer of a page \
                            that says it";
                return Err(entry.error("kind", what));
            }
        };
        let max_age = entry.seconds("max_age_seconds", self.max_age_seconds)?;
        let stamp = match (
            entry.pointer("timestamp_pointer", self.timestamp_pointer.take())?,
            max_age,
        ) {
            (Some(pointer), age) => Some(Stamp {
                pointer,
                max_age_ms: age.map_or((MAX_AGE_SECONDS * 1e3) as u64, |ns| ns / 1_000_000),
            }),
            (None, Some(_)) => {
                let what = "an age needs a stamp: add timestamp_pointer";
                return Err(entry.error("max_age_seconds", what));
            }
            (None, None) => None,
        };
        let averaging = self.averaging.unwrap_or(Averaging::Unknown);
        let window_ns = entry.seconds("window_seconds", self.window_seconds)?;
        if (averaging == Averaging::Window) != window_ns.is_some() {
            let what = "averaging = \"window\" and window_seconds belong together";
            return Err(entry.error("averaging", what));
        }
        let wrap_uj = match (self.wrap, self.unit) {
            (None, _) => None,
            (Some(wrap), Some(unit)) if unit.kind() == domain::record::MeterKind::Counter => {
                let most = unit.to_micro(wrap).ok().filter(|most| *most > 0);
                let what = "write the counter's largest value, in its unit";
                Some(most.ok_or_else(|| entry.error("wrap", what))?)
            }
            (Some(_), _) => {
                let what = "only a counter with a unit, such as \"kWh\", wraps";
                return Err(entry.error("wrap", what));
            }
        };
        let sensor_ppm = match self.accuracy_percent {
            Some(percent) if !(percent > 0.0 && percent <= 100.0) => {
                let what = "write the data sheet's accuracy in percent, over 0 and up to 100";
                return Err(entry.error("accuracy_percent", what));
            }
            stated => stated.map(|percent| (percent * 1e4).round() as u32),
        };
        let facts = Facts {
            averaging,
            window_ns,
            update_ns: entry.seconds("update_seconds", self.update_seconds)?,
            wrap_uj,
            sensor_ppm,
            origin: format!("JSON {pointer}"),
        };
        let field = Field {
            pointer,
            unit,
            stamp,
            veto: None,
        };
        Ok(Asked::Json { field, facts })
    }
}
