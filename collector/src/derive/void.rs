//! What makes joules void: they were read, and are of something else than the work.

use domain::energy::ScopeMeters;
use domain::record::{Context, Gpu, Record, UnavailableReason};
use domain::scope::{Scope, ScopeKey};
use domain::text::Name;

use super::trouble;
use crate::numbers::number;

/// Share of the time in which a device was slowed down from outside.
const SLOWED: f64 = 0.01;

/// The claimed meters are those that may be added for a headline. Broken readings are no lie:
/// they show at their key.
pub(super) fn claimed(record: &Record) -> Result<(), String> {
    match ScopeMeters::of(record) {
        Err(UnavailableReason::ScopeMismatch) => {
            Err("the claimed meters are not those that may be added for all that worked".to_owned())
        }
        _ => Ok(()),
    }
}

/// Why the joules of a key are void, if they are.
pub(super) fn of(record: &Record, scope: &ScopeKey) -> Option<String> {
    power_source(record)
        .or_else(|| slowed(record))
        .or_else(|| partitioned(record, scope))
        .or_else(|| foreign(record, scope))
}

/// Mains at one moment, battery at another, on one host.
fn power_source(record: &Record) -> Option<String> {
    for host in &record.hosts {
        let mut sources = of_host(record, host.host).filter_map(|c| c.power_source.as_ref());
        let first = sources.next();
        if let Some(other) = sources.find(|source| Some(*source) != first) {
            let first = first.map_or("", |name| name.as_str());
            return Some(format!("the power source changed from {first} to {other}"));
        }
    }
    None
}

/// Power brake and hardware slowdown: not what a buyer gets. Heat makes a card say that its
/// hardware slows down, too; that is what a buyer gets, and a label.
fn slowed(record: &Record) -> Option<String> {
    let by_hardware = |reasons: &[Name]| {
        let any = |name: &str| reasons.iter().any(|reason| reason.as_str() == name);
        any("hw-power-brake") || (any("hw-slowdown") && !any("hw-thermal-slowdown"))
    };
    let share = trouble::share_of_time(record, by_hardware).filter(|share| *share > SLOWED)?;
    Some(format!(
        "a power brake or hardware slowdown held {} % of the time",
        number(100.0 * share)
    ))
}

/// A slice of a graphics processor has no counter of its own.
fn partitioned(record: &Record, scope: &ScopeKey) -> Option<String> {
    let is_slice = |gpu: &Gpu| gpu.used && gpu.name.as_str().contains("MIG ");
    let sliced = record
        .hosts
        .iter()
        .flat_map(|host| &host.gpus)
        .any(is_slice);
    (sliced && sees_graphics(record, scope)).then(|| {
        "the graphics processor is partitioned (MIG): its counter counts others' work, too"
            .to_owned()
    })
}

fn foreign(record: &Record, scope: &ScopeKey) -> Option<String> {
    let counted = |context: &Context| context.foreign_gpu_processes;
    let most = record.context.iter().filter_map(counted).max();
    let most = most.filter(|processes| *processes > 0 && sees_graphics(record, scope))?;
    Some(format!(
        "{most} other processes used the graphics processor"
    ))
}

/// A graphics processor's work may be within the key's joules.
fn sees_graphics(record: &Record, scope: &ScopeKey) -> bool {
    let apart = |one: &Scope| match one {
        Scope::CpuCore | Scope::CpuDram => true,
        Scope::CpuPkg => record.hosts.iter().all(|host| host.unified == Some(false)),
        _ => false,
    };
    !scope.scopes().iter().all(apart)
}

fn of_host(record: &Record, host: u32) -> impl Iterator<Item = &Context> {
    record
        .context
        .iter()
        .filter(move |context| context.host == host)
}
