//! What this machine's memory and arithmetic can give: the ceilings that speeds are held against.
//!
//! [`bandwidth`] reads buffers of rising size with vector instructions on every core, so that the
//! curve shows each cache and then memory; [`compute`] does multiply-adds that need no memory.
//! Both are capacities, and whatever disturbs a pass only lowers it, so the best pass counts, as
//! in STREAM (<https://www.cs.virginia.edu/stream/ref.html>); a speed that is published is a
//! median instead, because it says what a user gets. Bounds: the caller's time budget, [`MAX_WORKING_SET_BYTES`],
//! a quarter of free memory.
//!
//! Threads are not pinned: each allocates and first writes the part that it then reads, so that
//! on machines with several memory nodes a part lies beside its reader.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use domain::record::{BandwidthPoint, Host};
use thiserror::Error;

use crate::host::{available_memory_bytes, text_of};

mod multiply;
mod read;
mod team;

pub use read::{Bandwidth, bandwidth, bandwidth_of};

/// The largest working set: enough for any single processor's caches but the very largest.
pub const MAX_WORKING_SET_BYTES: u64 = 4 << 30;

/// Smallest working set that is called memory's, whatever the caches.
const MIN_MEMORY_SET_BYTES: u64 = 256 << 20;

/// The smallest working set, unless there are so many threads that each would read next to nothing.
pub const MIN_WORKING_SET_BYTES: u64 = 256 << 10;

/// A working set this many times as large as the last cache is memory's, by STREAM's run rules.
pub const CACHES_IN_MEMORY_SET: u64 = 4;

/// How long the bandwidth probe takes, about.
pub const BANDWIDTH_BUDGET: Duration = Duration::from_millis(2_700);

/// How long the compute probe takes, about.
pub const COMPUTE_BUDGET: Duration = Duration::from_millis(300);

/// Why a probe did not run.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// No thread.
    #[error("start a thread of the probe")]
    Thread(#[source] io::Error),
    /// No memory.
    #[error("get {bytes} bytes of memory for the bandwidth probe: free some")]
    Memory {
        /// How much was asked.
        bytes: u64,
    },
    /// A thread ended early.
    #[error("finish the probe: one of its threads died")]
    Died,
}

/// What bounds the working sets on one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All last-level caches together; `None` where the system does not say.
    pub cache_bytes: Option<u64>,
    /// Memory that can be had without paging.
    pub available_bytes: Option<u64>,
}

impl Limits {
    /// The limits under `root` (`/` outside of tests).
    pub fn of(root: &Path) -> Self {
        Self {
            cache_bytes: last_level_cache_bytes(root),
            available_bytes: available_memory_bytes(root),
        }
    }

    /// The largest working set: so many caches as make it memory's, as far as the bounds allow.
    pub fn largest_bytes(self) -> u64 {
        let wanted = self
            .cache_bytes
            .map_or(1 << 30, |cache| cache.saturating_mul(CACHES_IN_MEMORY_SET));
        let allowed = self
            .available_bytes
            .map_or(1 << 30, |bytes| bytes / 4)
            .min(MAX_WORKING_SET_BYTES);
        wanted
            .max(MIN_MEMORY_SET_BYTES)
            .min(allowed)
            .max(MIN_WORKING_SET_BYTES)
    }
}

/// Runs both probes on all cores that the host has and writes what they found into its facts.
///
/// `bandwidth_probe_bytes_s` stays unknown where the largest working set that is allowed fits
/// the caches: what was read then was no memory.
pub fn apply(host: &mut Host, root: &Path) -> Result<Bandwidth, ProbeError> {
    let threads = host.cpu_cores.max(1) as usize;
    let found = bandwidth(Limits::of(root), threads, BANDWIDTH_BUDGET)?;
    host.bandwidth_probe_bytes_s = found.memory_bytes_s;
    host.bandwidth_curve.clone_from(&found.curve);
    host.compute_probe_flop_s = Some(compute(threads, COMPUTE_BUDGET)?);
    Ok(found)
}

/// FP32 multiply-adds per second of so many threads, each counted as two operations. Takes about
/// `budget`.
pub fn compute(threads: usize, budget: Duration) -> Result<u64, ProbeError> {
    multiply::flop_s(threads.max(1), budget)
}

/// The same, over all passes instead of the best: for comparing two arms, where what disturbs is
/// what is looked for.
pub fn mean_compute(threads: usize, span: Duration) -> Result<f64, ProbeError> {
    multiply::mean_flop_s(threads.max(1), span)
}

/// Every different cache of the highest level, added up: one processor may have several.
fn last_level_cache_bytes(root: &Path) -> Option<u64> {
    let cpus = fs::read_dir(root.join("sys/devices/system/cpu")).ok()?;
    let mut caches: Vec<(u32, String, u64)> = Vec::new();
    for cpu in cpus.filter_map(Result::ok) {
        let Ok(indices) = fs::read_dir(cpu.path().join("cache")) else {
            continue;
        };
        caches.extend(indices.filter_map(Result::ok).filter_map(|index| {
            let path = index.path();
            let level = text_of(&path, "level")?.parse().ok()?;
            let shared = text_of(&path, "shared_cpu_list")?;
            let kind = text_of(&path, "type")?;
            let bytes = size_bytes(&text_of(&path, "size")?)?;
            (kind != "Instruction").then_some((level, shared, bytes))
        }));
    }
    let highest = caches.iter().map(|(level, ..)| *level).max()?;
    caches.retain(|(level, ..)| *level == highest);
    caches.sort();
    caches.dedup();
    Some(caches.iter().map(|(.., bytes)| bytes).sum())
}

/// `32768K`, `480M` or plain bytes.
fn size_bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.strip_suffix('K') {
        Some(digits) => (digits, 1 << 10),
        None => text
            .strip_suffix('M')
            .map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests;
