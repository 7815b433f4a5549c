//! What this machine can measure, what would spoil it, and the fix.
//!
//! Looking comes in two parts: [`measured`] times clock, timer, sampler, memory and arithmetic,
//! [`engines`] looks for what a matrix names, and the caller says what only it knows
//! ([`Surroundings`]); [`examine`] judges all of it and the files under a root, and changes
//! nothing. A fix is printed, never run. Nothing here names a process, user or serial number.

use std::path::{Path, PathBuf};

use domain::hardware::Catalogue;
use domain::record::Host;
use domain::text::Name;
use serde::Serialize;

use crate::host::Survey;
use crate::meter;
use crate::meter::wall::MetersFile;
use domain::energy::keys::Seat;

mod checks;
pub mod engines;
pub mod measured;
mod text;

pub use engines::EngineFinding;
pub use measured::Measured;
pub use text::render;

/// Where each check is explained; a check's id is the heading.
const DOC: &str = "docs/doctor.md";

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Pass,
    /// Measuring works; something may spoil it or is missing.
    Warn,
    /// Measuring does not work, or its numbers would be wrong.
    Fail,
    /// Does not apply, or could not be looked at; the evidence says which.
    Skip,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which, in a word.
    pub id: String,
    /// How it came out.
    pub status: Status,
    /// What was seen.
    pub evidence: String,
    /// What to do; absent where nothing needs doing or nothing can be done.
    pub fix: Option<String>,
    /// Where to read on.
    pub doc: String,
}

impl Check {
    /// A check without a fix.
    pub fn new(id: &str, status: Status, evidence: impl Into<String>) -> Self {
        Self {
            id: id.to_owned(),
            status,
            evidence: evidence.into(),
            fix: None,
            doc: format!("{DOC}#{}", id.split_once(' ').map_or(id, |(kind, _)| kind)),
        }
    }

    /// With what to do.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// Whether one kind of number can be had here, and why or why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ability {
    /// It can.
    pub can: bool,
    /// Of joules: which silicon the headline figure covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// In words.
    pub why: String,
}

/// What can be measured here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CanMeasure {
    /// Prefill and decode speed.
    pub speed: Ability,
    /// Energy.
    pub joules: Ability,
    /// Right answers.
    pub quality: Ability,
}

/// The whole answer. Its JSON is what another machine's matrix names as a host's survey.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// No check failed.
    pub fit: bool,
    /// What can be measured.
    pub can_measure: CanMeasure,
    /// Every check.
    pub checks: Vec<Check>,
    /// The machine, as its records describe it, probes included.
    pub host: Host,
    /// A check could not be made, for a reason that is not the machine's fitness.
    #[serde(skip)]
    pub incomplete: bool,
}

/// A weights file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// What only the caller knows.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The data folder.
    pub data: PathBuf,
    /// Space left there; `None` if the system does not say.
    pub disk_free_bytes: Option<u64>,
    /// Folder of models.
    pub models: PathBuf,
    /// Weights in it.
    pub model_files: Vec<ModelFile>,
    /// Threads that an engine would get.
    pub threads: u32,
    /// What a matrix names; `None` without a matrix.
    pub engines: Option<Vec<EngineFinding>>,
    /// The meters that the user named.
    pub meters: MetersFile,
    /// Checks of the caller's own rooms, put last.
    pub further: Vec<Check>,
}

/// Judges a machine. `survey` is already recognised; the probes' figures are put into its host.
pub fn examine(
    root: &Path,
    mut survey: Survey,
    catalogue: &Catalogue,
    around: Surroundings,
    measured: &Measured,
) -> Diagnosis {
    if let Ok(found) = &measured.bandwidth {
        survey.host.bandwidth_probe_bytes_s = found.memory_bytes_s;
        survey.host.bandwidth_curve.clone_from(&found.curve);
    }
    survey.host.compute_probe_flop_s = measured.compute_flop_s.as_ref().ok().copied();

    let found = meter::discover(root, &survey.host, &around.meters);
    let mut checks = checks::machine(root, &survey, catalogue, &around);
    checks.extend(checks::meters(&found));
    checks.extend(checks::engines(&around));
    checks.extend(checks::timing(root, measured));
    checks.extend(checks::probes(&survey.host, catalogue, measured));
    checks.extend(around.further);

    let fit = !checks.iter().any(|check| check.status == Status::Fail);
    Diagnosis {
        fit,
        can_measure: can_measure(&checks, &found, &survey.host),
        checks,
        host: survey.host,
        incomplete: measured.bandwidth.is_err() || measured.compute_flop_s.is_err(),
    }
}

fn can_measure(checks: &[Check], found: &meter::Meters, host: &Host) -> CanMeasure {
    let failed = |ids: &[&str]| {
        let broken: Vec<&str> = checks
            .iter()
            .filter(|check| check.status == Status::Fail)
            .map(|check| check.id.as_str())
            .filter(|id| ids.iter().any(|start| id.starts_with(start)))
            .collect();
        (!broken.is_empty()).then(|| format!("see {}", broken.join(", ")))
    };
    let ability = |ids: &[&str], why: &str| {
        let broken = failed(ids);
        Ability {
            can: broken.is_none(),
            scope: None,
            why: broken.unwrap_or_else(|| why.to_owned()),
        }
    };
    let seats: Vec<Seat<'_>> = found
        .meters
        .iter()
        .map(|meter| meter.info().seat(host.host))
        .collect();
    let scope = meter::headline(&seats, std::slice::from_ref(host)).map(|key| key.scope);
    let joules = match (scope, &found.unavailable) {
        (Some(scope), _) => Ability {
            can: true,
            scope: Some(scope.to_string()),
            why: "from this machine's own counters".to_owned(),
        },
        (None, Some(why)) => Ability {
            can: false,
            scope: None,
            why: why.detail.to_string(),
        },
        (None, None) => Ability {
            can: false,
            scope: None,
            why: "no counter covers the whole processor".to_owned(),
        },
    };
    CanMeasure {
        speed: ability(
            &["memory", "disk", "engines", "clock", "stamp"],
            "an engine, a clock and room for the models are here",
        ),
        joules,
        quality: ability(
            &["memory", "disk", "engines"],
            "answers need no quiet machine",
        ),
    }
}

/// A name as text, or a stand-in.
fn or_unknown(name: Option<&Name>) -> &str {
    name.map_or("unknown", Name::as_str)
}

#[cfg(test)]
mod tests;
