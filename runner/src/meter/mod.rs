//! Power counters: what is read, by whom, and why there may be nothing to read.
//!
//! A meter only reads; joules are worked out from the raw readings by `domain::energy`, on both
//! sides alike. Nothing is estimated here: [`energy_claim`] answers an estimate only if the user
//! gave the watts, and then in its own arm.

use std::fmt;
use std::path::Path;

use domain::energy::keys::{KeyMeters, Seat, keys};
use domain::record::{
    AttributionMethod, Averaging, EnergyClaim, EstimatedEnergy, Host, MeasuredEnergy, MeterKind,
    MeterTrace, UnavailableEnergy, UnavailableReason, UpdateBasis,
};
use domain::scope::Scope;
use domain::text::Name;
use thiserror::Error;

use crate::clock::Clock;

pub mod apple;
pub mod battery;
pub mod hwmon;
pub mod nvml;
pub mod perf;
pub mod powercap;
pub mod remote;
pub mod replay;
pub mod sampler;
pub mod scripted;
mod sysfs;
pub mod wall;
pub mod watch;

/// One power counter of this machine.
pub trait Meter: Send + fmt::Debug {
    /// What it is and covers.
    fn info(&self) -> &MeterInfo;
    /// One reading, stamped before and after.
    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError>;
}

/// What a meter is: the facts that travel with its readings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterInfo {
    /// Kind of source, such as `powercap`.
    pub meter: Name,
    /// Device, such as `package-0`.
    pub device: Name,
    /// What it covers.
    pub scope: Scope,
    /// What it reports.
    pub kind: MeterKind,
    /// How the device averages.
    pub averaging: Averaging,
    /// Averaging window.
    pub window_ns: Option<u64>,
    /// Update period.
    pub update_ns: Option<u64>,
    /// How that is known.
    pub update_basis: UpdateBasis,
    /// Value at which a counter wraps.
    pub wrap_uj: Option<u64>,
    /// Stated accuracy.
    pub sensor_ppm: Option<u32>,
    /// Where readings come from.
    pub origin: Name,
    /// Who may read it, in words.
    pub privilege: &'static str,
    /// How far away it is.
    pub reach: Reach,
}

impl MeterInfo {
    /// What tells which sums it may be part of, on a host.
    pub fn seat(&self, host: u32) -> Seat<'_> {
        Seat {
            host,
            meter: self.meter.as_str(),
            device: self.device.as_str(),
            scope: self.scope,
            kind: self.kind,
            used: true,
            update_ns: self.update_ns,
        }
    }
}

/// How far away a meter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Read in well under a millisecond: a phase waits for its edge.
    Local,
    /// Read over a network: a phase does not wait, the readings around the edge tell.
    Network,
}

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Clock before the read.
    pub before_ns: u64,
    /// Clock after it.
    pub after_ns: u64,
    /// The device's own stamp.
    pub source_ns: Option<u64>,
    /// Micro-joules of a counter, micro-watts otherwise.
    pub value: u64,
}

/// Why a reading failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// It is gone.
    #[error("find the power counter")]
    Absent,
    /// Not allowed.
    #[error("read the power counter: permission denied; {fix}")]
    Permission {
        /// What to do.
        fix: &'static str,
    },
    /// The device cannot.
    #[error("read the power counter: the device does not support it")]
    NotSupported,
    /// A battery that does not discharge.
    #[error(
        "read the power counter: the machine is on mains, so its battery tells nothing; unplug it"
    )]
    OnMains,
    /// It would tell of others' work, too.
    #[error("read the power counter: {why}")]
    Shared {
        /// Of whose, and what to do.
        why: &'static str,
    },
    /// It stopped changing.
    #[error("read the power counter: it stopped changing")]
    Stale,
    /// It was reset.
    #[error("read the power counter: it was reset")]
    Reset,
    /// It says something impossible.
    #[error("read the power counter: it says {0:?}")]
    Implausible(String),
    /// Reading failed otherwise.
    #[error("read the power counter: {0}")]
    Transport(String),
}

impl ReadError {
    /// The reason as a record has it.
    pub fn reason(&self) -> UnavailableReason {
        match self {
            Self::Absent => UnavailableReason::Absent,
            Self::Permission { .. } => UnavailableReason::Permission,
            Self::NotSupported | Self::OnMains | Self::Shared { .. } => {
                UnavailableReason::NotSupported
            }
            Self::Stale => UnavailableReason::Stale,
            Self::Reset => UnavailableReason::Reset,
            Self::Implausible(_) => UnavailableReason::Implausible,
            Self::Transport(_) => UnavailableReason::Transport,
        }
    }
}

/// What one source of readings came to.
#[derive(Debug, Default)]
pub struct Found {
    /// What can be read.
    pub meters: Vec<Box<dyn Meter>>,
    /// What is there and cannot be.
    pub refused: Vec<Refusal>,
}

/// A meter that is there and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Kind of source, such as `powercap`.
    pub meter: &'static str,
    /// Device, where one is known.
    pub device: Option<Name>,
    /// Why not, with the fix if there is one.
    pub error: ReadError,
}

/// The meters of a machine, and why there are none if there are none.
#[derive(Debug)]
pub struct Meters {
    /// What can be read.
    pub meters: Vec<Box<dyn Meter>>,
    /// What is there and cannot be.
    pub refused: Vec<Refusal>,
    /// Why nothing can be read, if nothing can.
    pub unavailable: Option<UnavailableEnergy>,
}

/// Finds the power counters under `root` (`/` outside of tests), and the meters that the user named.
pub fn discover(root: &Path, host: &Host, named: &wall::MetersFile) -> Meters {
    let mut found = Found::default();
    for source in [
        powercap::discover(root),
        perf::discover(root),
        nvml::discover(root),
        hwmon::discover(root),
        apple::discover(),
        battery::discover(root),
        wall::discover(named),
    ] {
        found.meters.extend(source.meters);
        found.refused.extend(source.refused);
    }
    let unavailable = found.meters.is_empty().then(|| {
        let (reason, detail) = why_none(&found.refused, host);
        UnavailableEnergy {
            reason,
            detail: Name::cleaned(&detail),
        }
    });
    Meters {
        meters: found.meters,
        refused: found.refused,
        unavailable,
    }
}

/// The refusal that a user can do something about, else what the machine is.
fn why_none(refused: &[Refusal], host: &Host) -> (UnavailableReason, String) {
    let fixable = |refusal: &&Refusal| matches!(refusal.error, ReadError::Permission { .. });
    let telling = refused.iter().find(fixable).or(refused.first());
    match telling {
        Some(refusal) => (
            refusal.error.reason(),
            format!("{}: failed to {}", refusal.meter, refusal.error),
        ),
        None if host.is_virtual == Some(true) => (
            UnavailableReason::VirtualMachine,
            "no power counter: this is a virtual machine; measure on the bare machine, or name a \
             wall meter in meters.toml"
                .to_owned(),
        ),
        None if host.container == Some(true) => (
            UnavailableReason::Absent,
            "no power counter in this container; mount /sys/class/powercap or measure outside"
                .to_owned(),
        ),
        None => (
            UnavailableReason::Absent,
            "no power counter on this machine; a wall meter can be named in meters.toml".to_owned(),
        ),
    }
}

/// Mean watts that a user asked to assume, with what they are based on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Estimate {
    /// Mean power.
    pub mean_mw: u64,
    /// What it is based on, such as `--estimate`.
    pub basis: Name,
}

/// The headline that meters would give on these hosts, with the traces' indices.
pub fn headline(seats: &[Seat<'_>], hosts: &[Host]) -> Option<KeyMeters> {
    keys(seats, hosts)
        .into_iter()
        .next()
        .filter(|key| key.holds_the_work)
}

/// Indices of the meters of the headline; where there is none, of the first sum that is covered on
/// every host; empty where nothing is.
pub fn headline_or_part(seats: &[Seat<'_>], hosts: &[Host]) -> Vec<u32> {
    let first = keys(seats, hosts).into_iter().next();
    first.map(|key| key.meters).unwrap_or_default()
}

/// Marks the cards that sensors read as idle where the engine's backend computes on the processor
/// or on NVIDIA's cards, which NVML tells of; with any other backend they may have worked.
pub fn leave_idle_cards(traces: &mut [MeterTrace], backend: &str) {
    const ELSEWHERE: [&str; 6] = ["cpu", "blas", "openblas", "accelerate", "cuda", "tensorrt"];
    let backend = backend.to_lowercase();
    let mut said = backend.split(|c: char| !c.is_ascii_alphanumeric());
    if said.any(|word| ELSEWHERE.contains(&word)) {
        let sensed = traces
            .iter_mut()
            .filter(|trace| trace.scope == Scope::GpuBoard && trace.meter.as_str() == "hwmon");
        sensed.for_each(|trace| trace.used = false);
    }
}

/// What a record says about its joules.
pub fn energy_claim(
    traces: &[MeterTrace],
    hosts: &[Host],
    method: AttributionMethod,
    unavailable: Option<UnavailableEnergy>,
    estimate: Option<&Estimate>,
) -> EnergyClaim {
    let seats: Vec<Seat<'_>> = traces.iter().map(Seat::from).collect();
    // A wider meter that gave nothing does not hide a narrower one that did.
    let gave = |key: &KeyMeters| {
        let chosen = |index: &u32| &traces[*index as usize];
        key.holds_the_work
            && key
                .meters
                .iter()
                .map(chosen)
                .all(|trace| trace.v.len() >= 2)
    };
    if let Some(KeyMeters { scope, meters, .. }) = keys(&seats, hosts).into_iter().find(gave) {
        return EnergyClaim::Measured(MeasuredEnergy {
            scope,
            meters,
            method,
        });
    }
    if let Some(Estimate { mean_mw, basis }) = estimate {
        return EnergyClaim::Estimated(EstimatedEnergy {
            basis: basis.clone(),
            mean_mw: *mean_mw,
        });
    }
    EnergyClaim::Unavailable(unavailable.unwrap_or_else(|| UnavailableEnergy {
        reason: UnavailableReason::Transport,
        detail: Name::cleaned("no power counter of the whole processor gave two readings"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ids::Sha256Digest;

    fn trace(scope: Scope, readings: usize) -> MeterTrace {
        MeterTrace {
            meter: Name::cleaned("scripted"),
            host: 0,
            device: Name::cleaned("d"),
            scope,
            used: true,
            kind: MeterKind::Counter,
            averaging: Averaging::Instant,
            window_ns: None,
            update_ns: None,
            update_basis: UpdateBasis::Assumed,
            wrap_uj: None,
            sensor_ppm: None,
            origin: Name::cleaned("o"),
            clock_error_ns: None,
            t_ns: vec![0; readings],
            latency_ns: vec![0; readings],
            source_t_ns: None,
            v: vec![0; readings],
        }
    }

    fn host(is_virtual: Option<bool>, container: Option<bool>) -> Host {
        Host {
            host: 0,
            profile: None,
            fingerprint: Sha256Digest([0; 32]),
            os: Name::cleaned("linux"),
            os_version: None,
            kernel: None,
            chip: None,
            cpu_cores: 1,
            memory_bytes: None,
            unified: None,
            is_virtual,
            container,
            bandwidth_probe_bytes_s: None,
            bandwidth_curve: Vec::new(),
            compute_probe_flop_s: None,
            battery_full_uwh: None,
            gpus: Vec::new(),
        }
    }

    #[test]
    fn nothing_is_estimated_unless_asked() {
        let here = [host(None, None)];
        let reason = || {
            Some(UnavailableEnergy {
                reason: UnavailableReason::VirtualMachine,
                detail: Name::cleaned("vm"),
            })
        };
        assert!(
            matches!(energy_claim(&[], &here, AttributionMethod::Loops, reason(), None), EnergyClaim::Unavailable(why) if Some(&why) == reason().as_ref())
        );
        let estimate = Estimate {
            mean_mw: 65_000,
            basis: Name::cleaned("--estimate"),
        };
        assert!(matches!(
            energy_claim(
                &[],
                &here,
                AttributionMethod::Loops,
                reason(),
                Some(&estimate)
            ),
            EnergyClaim::Estimated(_)
        ));
        let read = [trace(Scope::CpuPkg, 2)];
        assert!(
            matches!(
                energy_claim(
                    &read,
                    &here,
                    AttributionMethod::Loops,
                    None,
                    Some(&estimate)
                ),
                EnergyClaim::Measured(_)
            ),
            "a measurement wins"
        );
        let silent = [trace(Scope::CpuPkg, 1)];
        assert!(matches!(
            energy_claim(&silent, &here, AttributionMethod::Loops, None, None),
            EnergyClaim::Unavailable(_)
        ));
    }

    #[test]
    fn a_machine_without_counters_says_why() {
        let root = tempfile::tempdir().expect("a folder");
        for (is_virtual, container, reason) in [
            (Some(true), Some(true), UnavailableReason::VirtualMachine),
            (Some(false), Some(true), UnavailableReason::Absent),
            (None, None, UnavailableReason::Absent),
        ] {
            let found = discover(
                root.path(),
                &host(is_virtual, container),
                &wall::MetersFile::default(),
            );
            assert!(found.meters.is_empty());
            assert_eq!(found.unavailable.map(|why| why.reason), Some(reason));
        }
    }
}
