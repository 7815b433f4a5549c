//! What a reader should beware of in one record, each with the numbers that it rests on.

use std::collections::BTreeMap;

use domain::record::{Context, KvState, PhaseKind, Record};
use domain::speeds::{self, Part};
use domain::statistics::{coefficient_of_variation, median};
use domain::text::Name;

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

/// Change of the clock under load over which it was not steady.
const STEADY_CLOCK: f64 = 0.02;

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
        ("throttled", throttled(record).or_else(|| thermal(record))),
        ("power-limited", power_limited(record)),
        ("not-steady", not_steady(record)),
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

/// Share of the time, on the host that has most of it, in which reasons to slow down held that
/// `asked` knows: a reading holds until the next one. `None` where nobody read the reasons.
pub(super) fn share_of_time(record: &Record, asked: impl Fn(&[Name]) -> bool) -> Option<f64> {
    let mut hosts: BTreeMap<u32, Vec<(u64, bool)>> = BTreeMap::new();
    for context in &record.context {
        if let Some(reasons) = &context.throttle_reasons {
            let held = asked(reasons);
            hosts
                .entry(context.host)
                .or_default()
                .push((context.at_ns, held));
        }
    }
    let share = |mut readings: Vec<(u64, bool)>| {
        readings.sort_unstable();
        let (first, last) = (readings.first()?.0, readings.last()?.0);
        let held: u64 = readings
            .windows(2)
            .filter(|pair| pair[0].1)
            .map(|pair| pair[1].0 - pair[0].0)
            .sum();
        (last > first).then(|| held as f64 / (last - first) as f64)
    };
    hosts.into_values().filter_map(share).max_by(f64::total_cmp)
}

fn any_like(part: &'static str) -> impl Fn(&[Name]) -> bool {
    move |reasons| reasons.iter().any(|reason| reason.as_str().contains(part))
}

/// A graphics processor says why it slows down, and not for how long.
fn thermal(record: &Record) -> Option<String> {
    let share =
        share_of_time(record, any_like("thermal-slowdown")).filter(|share| *share > THROTTLED)?;
    Some(format!(
        "heat slowed the graphics processor down {} % of the time",
        number(100.0 * share)
    ))
}

fn power_limited(record: &Record) -> Option<String> {
    let share = share_of_time(record, any_like("power-cap")).filter(|share| *share > THROTTLED)?;
    Some(format!(
        "the power limit held the clock down {} % of the time",
        number(100.0 * share)
    ))
}

/// Medians of the clock's first and second half of readings under load.
fn not_steady(record: &Record) -> Option<String> {
    let load = [
        PhaseKind::PrefillLoop,
        PhaseKind::DecodeLoop,
        PhaseKind::MixedLoop,
        PhaseKind::Quality,
    ];
    let work = || {
        record
            .phases
            .iter()
            .filter(|phase| load.contains(&phase.phase))
    };
    let start = work().map(|phase| phase.start_ns).min()?;
    let end = work().map(|phase| phase.end_ns).max()?;
    let drift = |host: u32| {
        let readings = record
            .context
            .iter()
            .filter(|context| context.host == host && (start..=end).contains(&context.at_ns));
        let mut clocks: Vec<(u64, u64)> = readings
            .filter_map(|context| Some((context.at_ns, context.clock_mhz?)))
            .collect();
        clocks.sort_unstable();
        let clocks: Vec<f64> = clocks.into_iter().map(|(_, mhz)| mhz as f64).collect();
        if clocks.len() < 4 {
            return None;
        }
        let (early, late) = clocks.split_at(clocks.len() / 2);
        let early = median(early).filter(|mhz| *mhz > 0.0)?;
        Some(median(late)? / early - 1.0)
    };
    let drift = record
        .hosts
        .iter()
        .filter_map(|host| drift(host.host))
        .max_by(|a, b| a.abs().total_cmp(&b.abs()))
        .filter(|drift| drift.abs() > STEADY_CLOCK)?;
    Some(format!(
        "the clock changed by {} % under load",
        number(100.0 * drift)
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
