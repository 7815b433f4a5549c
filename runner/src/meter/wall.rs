//! Meters that a user names in `meters.toml`: wall plugs and whatever answers HTTP with a number.
//!
//! A vendor's plug is found out about once (`shelly`, `tasmota`) and then read like any other
//! page: a number of a known unit at a JSON pointer (`pointer`), over a connection of its own
//! (`http`) that works on the thread that reads, so that the sampler's cost has it in. What does
//! not answer is refused with the reason; no answer is ever taken for 0 W. A page's own stamp only
//! tells whether it is too old: clocks of two machines agree no better than the polling does.
//! Addresses and secrets stand in no error, name or record.

use std::thread;

use domain::record::{Averaging, MeterKind, UpdateBasis};
use domain::text::Name;
use reqwest::Url;

use super::{Found, Meter, MeterInfo, Reach, ReadError, Reading, Refusal};
use crate::clock::{Clock, RealClock};

mod file;
mod http;
mod pointer;
mod shelly;
mod tasmota;
#[cfg(test)]
mod tests;

pub use file::{MetersFile, MetersFileError};

use file::{Asked, Named};
use http::Link;
use pointer::Field;

/// Sensor prior of the energy method for plugs: 2 %; its 0.3 W beside that are told in the docs.
const PLUG_PPM: u32 = 20_000;

/// Update period of a plug's power, about a second, until it is probed.
const PLUG_UPDATE_NS: u64 = 1_000_000_000;

/// One number of one page.
#[derive(Debug, Clone, PartialEq)]
struct Page {
    url: Url,
    field: Field,
    facts: Facts,
}

/// What is known of the number beside its unit.
#[derive(Debug, Clone, PartialEq)]
struct Facts {
    averaging: Averaging,
    window_ns: Option<u64>,
    update_ns: Option<u64>,
    wrap_uj: Option<u64>,
    sensor_ppm: Option<u32>,
    /// Which device and field, without address or serial number.
    origin: String,
}

impl Facts {
    /// A plug's power: nobody says how it is averaged.
    fn plug_power(origin: String) -> Self {
        Self {
            averaging: Averaging::Unknown,
            window_ns: None,
            update_ns: Some(PLUG_UPDATE_NS),
            wrap_uj: None,
            sensor_ppm: Some(PLUG_PPM),
            origin,
        }
    }

    /// A plug's total: it checks the power, in steps that no vendor dates.
    fn plug_total(origin: String) -> Self {
        Self {
            averaging: Averaging::Instant,
            update_ns: None,
            ..Self::plug_power(origin)
        }
    }
}

/// A meter that is read over HTTP.
#[derive(Debug)]
struct HttpMeter {
    info: MeterInfo,
    link: Link,
    page: Page,
}

impl HttpMeter {
    /// A meter that has answered once.
    fn open(named: &Named, page: Page, clock: &dyn Clock) -> Result<Self, ReadError> {
        let mut link = Link::new(&named.access)?;
        let answer = link.get(&page.url, clock)?;
        let unit = page.field.unit(&answer.body)?;
        page.field.value(&answer.body, clock.unix_ms())?;
        let covers = named.covers.as_ref();
        let covers = covers.map_or(String::new(), |what| format!("; covers {what}"));
        let facts = &page.facts;
        let info = MeterInfo {
            meter: Name::cleaned(named.asked.as_str()),
            device: named.name.clone(),
            scope: named.scope,
            kind: unit.kind(),
            averaging: facts.averaging,
            window_ns: facts.window_ns,
            update_ns: facts.update_ns,
            update_basis: UpdateBasis::Assumed,
            wrap_uj: facts.wrap_uj,
            sensor_ppm: facts.sensor_ppm,
            origin: Name::cleaned(&format!("{}{covers}", facts.origin)),
            privilege: "whoever reaches it on the network, with its password or token if it has one",
            reach: Reach::Network,
        };
        Ok(Self { info, link, page })
    }
}

impl Meter for HttpMeter {
    fn info(&self) -> &MeterInfo {
        &self.info
    }

    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError> {
        let answer = self.link.get(&self.page.url, clock)?;
        let unit = self.page.field.unit(&answer.body)?;
        if unit.kind() != self.info.kind {
            return Err(ReadError::Implausible(format!("a unit of {unit} now")));
        }
        Ok(Reading {
            before_ns: answer.before_ns,
            after_ns: answer.after_ns,
            source_ns: None,
            value: self.page.field.value(&answer.body, clock.unix_ms())?,
        })
    }
}

/// What of them answers. All are asked at the same time, each for at most a few seconds.
pub fn discover(named: &MetersFile) -> Found {
    let clock = RealClock::default();
    let mut found = Found::default();
    // On threads of their own, because the caller may be asynchronous and reading is not.
    thread::scope(|scope| {
        let asked: Vec<_> = named
            .meters
            .iter()
            .map(|meter| (meter, scope.spawn(|| open(meter, &clock))))
            .collect();
        for (meter, thread) in asked {
            let lost = |_| vec![Err(ReadError::Transport("asking it failed".to_owned()))];
            for opened in thread.join().unwrap_or_else(lost) {
                match opened {
                    Ok(one) => found.meters.push(Box::new(one)),
                    Err(error) => {
                        let refusal = Refusal {
                            meter: meter.asked.as_str(),
                            device: Some(meter.name.clone()),
                            error,
                        };
                        // Power and total of one plug fail for one reason.
                        if !found.refused.contains(&refusal) {
                            found.refused.push(refusal);
                        }
                    }
                }
            }
        }
    });
    found
}

/// The readers of one meter, or why there are none: power, and the total that checks it.
fn open(named: &Named, clock: &dyn Clock) -> Vec<Result<HttpMeter, ReadError>> {
    match pages(named, clock) {
        Ok(pages) => pages
            .into_iter()
            .map(|page| HttpMeter::open(named, page, clock))
            .collect(),
        Err(error) => vec![Err(error)],
    }
}

fn pages(named: &Named, clock: &dyn Clock) -> Result<Vec<Page>, ReadError> {
    match &named.asked {
        Asked::Shelly { component } => {
            let mut link = Link::new(&named.access)?;
            shelly::pages(&mut link, &named.url, component.as_deref(), clock)
        }
        Asked::Tasmota => tasmota::pages(&named.url, &named.access),
        Asked::Json { field, facts } => Ok(vec![Page {
            url: named.url.clone(),
            field: field.clone(),
            facts: facts.clone(),
        }]),
    }
}

/// The kind of reading that two entries of one meter must differ in.
fn kind_of(named: &Named) -> Option<MeterKind> {
    match &named.asked {
        Asked::Json { field, .. } => field.fixed_unit().map(pointer::Unit::kind),
        Asked::Shelly { .. } | Asked::Tasmota => None,
    }
}
