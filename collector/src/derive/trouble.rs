//! What a reader should beware of in one record, each with the numbers that it rests on.

use std::collections::BTreeMap;

use domain::record::{Context, KvState, Record};
use domain::speeds::{self, Part};
use domain::statistics::coefficient_of_variation;

use super::cell;
use super::speed::counting;
use crate::numbers::number;

/// A client's and an engine's clock that differ by more disagree.
const VIEWS_APART: f64 = 0.05;

/// Spread of the last three warm-ups over which a cell never became steady.
const UNSTEADY: f64 = 0.03;

/// Runnable tasks beside the engine's own threads, averaged over a minute, over which others
/// were at work. A quiet two-core machine whose engine has one thread shows a load of 1.0 to
/// 1.3: the engine, the runner that waits for it, and the system's own errands.
const FOREIGN_TASKS: f64 = 1.0;

/// Share of ten seconds in which some task waited for a core, over which cores were fought for.
const WAITING: f64 = 0.10;

/// Share of the time in which the processor was slowed down.
const THROTTLED: f64 = 0.01;

/// Growth of swap that is more than a page left over: what voids a repetition when it is paged.
const SWAPPED_BYTES: u64 = 1 << 20;

/// One thing to beware of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The flag of the row.
    pub flag: &'static str,
    /// Why, with numbers.
    pub words: String,
}

/// Everything that spoils a record, in a fixed order.
pub(super) fn of(record: &Record) -> Vec<Trouble> {
    let found = [
        ("views-disagree", views_disagree(record)),
        ("cold-unproven", cold_unproven(record)),
        ("unsteady", unsteady(record)),
        ("busy", busy(record)),
        ("throttled", throttled(record)),
        ("swapping", swapping(record)),
    ];
    found
        .into_iter()
        .filter_map(|(flag, words)| {
            Some(Trouble {
                flag,
                words: words?,
            })
        })
        .collect()
}

/// Decode by both clocks, over the requests that have both.
fn views_disagree(record: &Record) -> Option<String> {
    let (mut client, mut engine) = (Part::default(), Part::default());
    for request in counting(record).flat_map(|rep| &rep.requests) {
        if let (Some(seen), Some(said)) = (
            speeds::decode_part(request),
            speeds::engine_decode_part(request),
        ) {
            (client, engine) = (client + seen, engine + said);
        }
    }
    let (client, engine) = (client.per_second()?, engine.per_second()?);
    ((client / engine - 1.0).abs() > VIEWS_APART).then(|| {
        format!(
            "the client saw {} tok/s where the engine says {}",
            number(client),
            number(engine)
        )
    })
}

fn cold_unproven(record: &Record) -> Option<String> {
    let unsaid = |request: &domain::record::Request| {
        request.first_event_ns.is_some() && request.cached_tokens.is_none()
    };
    let any = counting(record).flat_map(|rep| &rep.requests).any(unsaid);
    (record.workload.kv_state == KvState::Cold && any)
        .then(|| "the engine does not say how many prompt tokens a cache served".to_owned())
}

/// The last three warm-ups still spread; fewer say nothing.
fn unsteady(record: &Record) -> Option<String> {
    let speeds: Vec<f64> = record
        .repetitions
        .iter()
        .filter(|rep| rep.warmup && rep.void.is_none())
        .filter_map(speeds::decode_tokens_per_second)
        .collect();
    let last = speeds.get(speeds.len().checked_sub(3)?..)?;
    let spread = coefficient_of_variation(last).filter(|spread| *spread > UNSTEADY)?;
    Some(format!(
        "after {} warm-ups the last three still spread by {} %",
        speeds.len(),
        number(100.0 * spread)
    ))
}

/// What was read while or after the timed repetitions ran: load and pressure look back.
fn during(record: &Record) -> impl Iterator<Item = &Context> {
    let start = counting(record).map(|rep| rep.start_ns).min();
    record
        .context
        .iter()
        .filter(move |context| start.is_some_and(|start| context.at_ns > start))
}

fn busy(record: &Record) -> Option<String> {
    let cores = |host: u32| {
        let host = record.hosts.iter().find(|one| one.host == host);
        host.map(|host| f64::from(host.cpu_cores))
    };
    let threads = cell::threads(&record.engine).map(f64::from);
    let load = during(record)
        .filter_map(|context| {
            let cores = cores(context.host)?;
            // An engine that does not say its threads may have all of the cores.
            let own = threads.unwrap_or(cores).min(cores);
            Some(context.load_ppm? as f64 / 1e6 * cores - own)
        })
        .max_by(f64::total_cmp)
        .filter(|foreign| *foreign > FOREIGN_TASKS);
    let waiting = during(record)
        .filter_map(|context| context.pressure_ppm)
        .max()
        .map(|ppm| ppm as f64 / 1e6)
        .filter(|share| *share > WAITING);
    match (load, waiting) {
        (None, None) => None,
        (Some(load), None) => Some(format!(
            "beside the engine {} other tasks were at work",
            number(load)
        )),
        (None, Some(waiting)) => Some(format!(
            "some task waited for a core {} % of the time",
            number(100.0 * waiting)
        )),
        (Some(load), Some(waiting)) => Some(format!(
            "beside the engine {} other tasks were at work, and some task waited for a core {} % of the time",
            number(load),
            number(100.0 * waiting)
        )),
    }
}

/// First and last reading of a fact of each host.
fn growth(record: &Record, fact: impl Fn(&Context) -> Option<u64>) -> Vec<[(u64, u64); 2]> {
    let mut hosts: BTreeMap<u32, [(u64, u64); 2]> = BTreeMap::new();
    for context in &record.context {
        let Some(value) = fact(context) else { continue };
        let reading = (context.at_ns, value);
        let ends = hosts.entry(context.host).or_insert([reading, reading]);
        if reading.0 < ends[0].0 {
            ends[0] = reading;
        }
        if reading.0 >= ends[1].0 {
            ends[1] = reading;
        }
    }
    hosts.into_values().collect()
}

fn throttled(record: &Record) -> Option<String> {
    let share = growth(record, |context| context.throttle_ns)
        .into_iter()
        .filter_map(|[first, last]| {
            let span = last.0.checked_sub(first.0).filter(|span| *span > 0)?;
            Some(last.1.saturating_sub(first.1) as f64 / span as f64)
        })
        .max_by(f64::total_cmp)
        .filter(|share| *share > THROTTLED)?;
    Some(format!(
        "the processor was slowed down {} % of the time",
        number(100.0 * share)
    ))
}

fn swapping(record: &Record) -> Option<String> {
    let grown = growth(record, |context| context.swap_bytes)
        .into_iter()
        .map(|[first, last]| last.1.saturating_sub(first.1))
        .max()
        .filter(|bytes| *bytes > SWAPPED_BYTES)?;
    Some(format!("swap grew by {} MB", number(grown as f64 / 1e6)))
}
