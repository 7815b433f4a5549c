//! Power counters: what is read, by whom, and why there may be nothing to read.
//!
//! A meter only reads; joules are worked out from the raw readings by `domain::energy`, on both
//! sides alike. Nothing is estimated here: [`energy_claim`] answers an estimate only if the user
//! gave the watts, and then in its own arm.

use std::fmt;
use std::path::Path;

use domain::record::{
    AttributionMethod, Averaging, EnergyClaim, EstimatedEnergy, Host, MeasuredEnergy, MeterKind,
    MeterTrace, UnavailableEnergy, UnavailableReason, UpdateBasis,
};
use domain::scope::{Scope, ScopeKey};
use domain::text::Name;
use thiserror::Error;

use crate::clock::Clock;

pub mod powercap;
pub mod sampler;
pub mod scripted;

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
            Self::NotSupported => UnavailableReason::NotSupported,
            Self::Stale => UnavailableReason::Stale,
            Self::Reset => UnavailableReason::Reset,
            Self::Implausible(_) => UnavailableReason::Implausible,
            Self::Transport(_) => UnavailableReason::Transport,
        }
    }
}

/// The meters of a machine, and why there are none if there are none.
#[derive(Debug)]
pub struct Meters {
    /// What can be read.
    pub meters: Vec<Box<dyn Meter>>,
    /// Why nothing can be, if nothing can.
    pub unavailable: Option<UnavailableEnergy>,
}

/// Finds the power counters under `root` (`/` outside of tests).
pub fn discover(root: &Path, host: &Host) -> Meters {
    let found = powercap::discover(root);
    if !found.meters.is_empty() {
        let boxed = |meter: powercap::PowercapMeter| Box::new(meter) as Box<dyn Meter>;
        return Meters {
            meters: found.meters.into_iter().map(boxed).collect(),
            unavailable: None,
        };
    }
    let (reason, detail) = match found.refused {
        Some(error) => (error.reason(), error.to_string()),
        None if host.is_virtual == Some(true) => (
            UnavailableReason::VirtualMachine,
            "no powercap zones: this is a virtual machine; measure on the bare machine".to_owned(),
        ),
        None if host.container == Some(true) => (
            UnavailableReason::Absent,
            "no powercap zones in this container; mount /sys/class/powercap or measure outside"
                .to_owned(),
        ),
        None => (
            UnavailableReason::Absent,
            "no powercap zones under /sys/class/powercap".to_owned(),
        ),
    };
    Meters {
        meters: Vec::new(),
        unavailable: Some(UnavailableEnergy {
            reason,
            detail: Name::cleaned(&detail),
        }),
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

/// Scopes known to hold the whole processor, widest first. Modelled power (`soc.model`) is never a
/// measurement; parts of a package do not hold it all.
const CONTAIN_CPU: [Scope; 7] = [
    Scope::WallAc,
    Scope::Battery,
    Scope::SystemDc,
    Scope::PlatformPsys,
    Scope::Module,
    Scope::SocPkg,
    Scope::CpuPkg,
];

/// The scope of the headline that meters of these scopes and kinds would give.
pub fn headline_scope(meters: &[(Scope, MeterKind)]) -> Option<Scope> {
    CONTAIN_CPU.into_iter().find(|wanted| {
        let fits =
            |(scope, kind): &(Scope, MeterKind)| scope == wanted && *kind != MeterKind::Model;
        meters.iter().any(fits)
    })
}

/// Which meters carry the headline: the widest scope known to contain the CPU, every device of
/// it. `None` if no trace is of such a scope. Scopes of which none contains the other never mix.
pub fn choose_headline(traces: &[MeterTrace]) -> Option<(ScopeKey, Vec<u32>)> {
    let used: Vec<_> = traces
        .iter()
        .filter(|trace| trace.used)
        .map(|trace| (trace.scope, trace.kind))
        .collect();
    let scope = headline_scope(&used)?;
    let of_scope =
        |trace: &MeterTrace| trace.scope == scope && trace.used && trace.kind != MeterKind::Model;
    let meters = (0..)
        .zip(traces)
        .filter(|(_, trace)| of_scope(trace))
        .map(|(index, _)| index)
        .collect();
    Some((ScopeKey::of(&[scope]).ok()?, meters))
}

/// What a record says about its joules.
pub fn energy_claim(
    traces: &[MeterTrace],
    unavailable: Option<UnavailableEnergy>,
    estimate: Option<&Estimate>,
) -> EnergyClaim {
    if let Some((scope, meters)) = choose_headline(traces) {
        let chosen = |index: &u32| &traces[*index as usize];
        if meters.iter().map(chosen).all(|trace| trace.v.len() >= 2) {
            return EnergyClaim::Measured(MeasuredEnergy {
                scope,
                meters,
                method: AttributionMethod::Loops,
            });
        }
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
            gpus: Vec::new(),
        }
    }

    #[test]
    fn the_widest_scope_that_holds_the_processor_is_the_headline() {
        let traces = [
            trace(Scope::CpuCore, 2),
            trace(Scope::CpuPkg, 2),
            trace(Scope::CpuDram, 2),
            trace(Scope::CpuPkg, 2),
        ];
        let (key, meters) = choose_headline(&traces).expect("two packages");
        assert_eq!(
            (key.to_string(), meters),
            ("cpu.pkg".to_owned(), vec![1, 3])
        );
        assert!(
            choose_headline(&traces[..1]).is_none(),
            "cores are not the whole processor"
        );
        let wider = [trace(Scope::CpuPkg, 2), trace(Scope::PlatformPsys, 2)];
        assert_eq!(
            choose_headline(&wider).map(|(key, _)| key.to_string()),
            Some("platform.psys".to_owned())
        );
    }

    #[test]
    fn nothing_is_estimated_unless_asked() {
        let reason = || {
            Some(UnavailableEnergy {
                reason: UnavailableReason::VirtualMachine,
                detail: Name::cleaned("vm"),
            })
        };
        assert!(
            matches!(energy_claim(&[], reason(), None), EnergyClaim::Unavailable(why) if Some(&why) == reason().as_ref())
        );
        let estimate = Estimate {
            mean_mw: 65_000,
            basis: Name::cleaned("--estimate"),
        };
        assert!(matches!(
            energy_claim(&[], reason(), Some(&estimate)),
            EnergyClaim::Estimated(_)
        ));
        let read = [trace(Scope::CpuPkg, 2)];
        assert!(
            matches!(
                energy_claim(&read, None, Some(&estimate)),
                EnergyClaim::Measured(_)
            ),
            "a measurement wins"
        );
        let silent = [trace(Scope::CpuPkg, 1)];
        assert!(matches!(
            energy_claim(&silent, None, None),
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
            let found = discover(root.path(), &host(is_virtual, container));
            assert!(found.meters.is_empty());
            assert_eq!(found.unavailable.map(|why| why.reason), Some(reason));
        }
    }
}
