//! The machines an engine runs on: this one, or those that a matrix names.
//!
//! Another machine is described by what `joulemark doctor --json` printed on it, so that its facts
//! are read there and not typed in here.

use std::fs;
use std::path::{Path, PathBuf};

use domain::hardware::Catalogue;
use domain::ids::Slug;
use domain::matrix::{self, HERE, MachineHost};
use domain::record::{Host, SetupRef};
use domain::text::Name;
use serde::Deserialize;
use thiserror::Error;

use crate::record::Machines;

/// Longest survey file.
const MAX_SURVEY_BYTES: u64 = 1 << 20;

/// Why machines could not be described.
#[derive(Debug, Error)]
pub enum MachinesError {
    /// A survey cannot be read.
    #[error("read the survey {file}: {reason}; make it there with `joulemark doctor --json`")]
    Survey {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A slug that no profile has.
    #[error("find the {kind} profile {slug}: add it to the hardware profiles, or correct it")]
    Profile {
        /// `setup` or `hardware`.
        kind: &'static str,
        /// The slug.
        slug: Slug,
    },
}

/// What a survey file must hold; the rest of a doctor's report is not read.
#[derive(Deserialize)]
struct Survey {
    host: Host,
}

/// Describes the machines that a matrix names for an engine.
pub fn resolve(
    named: &matrix::Machines,
    here: &Host,
    catalogue: &Catalogue,
) -> Result<Machines, MachinesError> {
    let unknown = |kind, slug: &Slug| MachinesError::Profile {
        kind,
        slug: slug.clone(),
    };
    if let Some(slug) = &named.setup
        && catalogue.setup(slug).is_none()
    {
        return Err(unknown("setup", slug));
    }
    let mut hosts = Vec::new();
    for (number, machine) in (0..).zip(&named.hosts) {
        let mut host = described(machine, here)?;
        host.host = number;
        if let Some(slug) = &machine.profile {
            catalogue
                .hardware(slug)
                .ok_or_else(|| unknown("hardware", slug))?;
            host.profile = Some(slug.clone());
        }
        hosts.push(host);
    }
    Ok(Machines {
        setup: SetupRef {
            slug: named.setup.clone(),
            interconnect: named.interconnect.as_deref().map(Name::cleaned),
            split: named.split.clone(),
        },
        here: (0..)
            .zip(&named.hosts)
            .find(|(_, machine)| machine.survey == HERE)
            .map(|(number, _)| number),
        hosts,
    })
}

fn described(machine: &MachineHost, here: &Host) -> Result<Host, MachinesError> {
    if machine.survey == HERE {
        return Ok(here.clone());
    }
    let file = Path::new(&machine.survey);
    let fault = |reason: String| MachinesError::Survey {
        file: file.to_owned(),
        reason,
    };
    let length = fs::metadata(file)
        .map_err(|error| fault(error.to_string()))?
        .len();
    if length > MAX_SURVEY_BYTES {
        return Err(fault(format!("{length} bytes are no survey")));
    }
    let bytes = fs::read(file).map_err(|error| fault(error.to_string()))?;
    let survey: Survey =
        serde_json::from_slice(&bytes).map_err(|error| fault(error.to_string()))?;
    Ok(survey.host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::record::{Split, SplitMethod};

    fn named(hosts: Vec<MachineHost>) -> matrix::Machines {
        matrix::Machines {
            setup: None,
            interconnect: Some("loopback".to_owned()),
            split: Some(Split {
                method: SplitMethod::Replica,
                layout: Name::cleaned("one server on each"),
            }),
            hosts,
        }
    }

    fn machine(survey: &str) -> MachineHost {
        MachineHost {
            profile: None,
            survey: survey.to_owned(),
            meter: None,
            meter_token_file: None,
        }
    }

    fn here() -> Host {
        crate::host::survey(Path::new("/")).host
    }

    #[test]
    fn hosts_are_numbered_and_described_by_their_own_surveys() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("spark.json");
        let mut other = here();
        other.cpu_cores = 99;
        let report = serde_json::json!({"fit": true, "host": other});
        fs::write(&file, report.to_string()).expect("writable");
        let machines = resolve(
            &named(vec![machine(HERE), machine(file.to_str().expect("text"))]),
            &here(),
            &Catalogue::default(),
        )
        .expect("described");
        let cores: Vec<_> = machines.hosts.iter().map(|host| host.cpu_cores).collect();
        assert_eq!(cores, [here().cpu_cores, 99]);
        assert_eq!(machines.hosts[1].host, 1);
        assert!(
            !machines.are_this_one(),
            "counters here do not cover the other"
        );
        assert_eq!(machines.here, Some(0));
    }

    #[test]
    fn what_is_missing_is_named_with_the_way_out() {
        let gone = resolve(
            &named(vec![machine(HERE), machine("gone.json")]),
            &here(),
            &Catalogue::default(),
        );
        let text = gone.expect_err("no such file").to_string();
        assert!(
            text.contains("gone.json") && text.contains("doctor --json"),
            "{text}"
        );
        let mut unknown = named(vec![machine(HERE), machine(HERE)]);
        unknown.setup = Some("no-such-setup".parse().expect("a slug"));
        let text = resolve(&unknown, &here(), &Catalogue::default())
            .expect_err("no such profile")
            .to_string();
        assert!(text.contains("no-such-setup"), "{text}");
    }
}
