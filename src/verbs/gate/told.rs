//! Where a verdict goes: standard output, a test report, a job of GitHub Actions.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use domain::gate::verdict::Judgement;

use super::measure::write;
use super::render::{About, github, human, json, junit, markdown};
use crate::cli::gate::{GateFormat, Github, Mode};
use crate::exit::{Failure, OrExit as _};
use crate::output;

/// Who is told, and how.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) format: GateFormat,
    pub(super) mode: Mode,
    pub(super) junit: Option<PathBuf>,
    pub(super) github: Github,
    pub(super) no_color: Option<OsString>,
    /// Where the sealed result was written.
    pub(super) result: Option<PathBuf>,
}

impl Told {
    /// Tells of a result whose envelope is given.
    pub(super) fn result(
        &self,
        judgement: &Judgement,
        about: &About,
        envelope: &[u8],
    ) -> Result<(), Failure> {
        let text = match self.format {
            GateFormat::Human => human::text(
                judgement,
                about,
                output::may_colour(self.no_color.as_deref()),
            ),
            GateFormat::Md => markdown::comment(judgement, about),
            GateFormat::Json => {
                let document = json::document(judgement, about.content_id, envelope);
                let document = document
                    .context("failed to write the result as JSON")
                    .or_infrastructure()?;
                serde_json::to_string_pretty(&document).or_infrastructure()?
            }
        };
        output::line(&text).or_infrastructure()?;
        if let Some(file) = &self.junit {
            let report = junit::report(judgement, about)
                .context("failed to write the test report")
                .or_infrastructure()?;
            write(file, report.as_bytes())?;
        }
        if !self.is_github() {
            return Ok(());
        }
        // Standard error, which the job's runner reads as well: standard output is the result.
        for annotation in github::annotations(judgement) {
            output::say(&annotation);
        }
        let path = self.result.as_ref().map(|path| path.display().to_string());
        let outputs = github::outputs(judgement, self.mode, path.as_deref());
        append(self.github.github_output.as_deref(), &outputs)?;
        let comment = markdown::comment(judgement, about);
        append(self.github.github_step_summary.as_deref(), &comment)
    }

    /// Tells of a gate that measured nothing; the failure itself is told where the program ends.
    pub(super) fn nothing(&self, failure: &Failure) -> Result<(), Failure> {
        let why = format!("{:#}", failure.error);
        let exit = failure.exit;
        if let Some(file) = &self.junit {
            let report = junit::nothing(exit, &why)
                .context("failed to write the test report")
                .or_infrastructure()?;
            write(file, report.as_bytes())?;
        }
        if !self.is_github() {
            return Ok(());
        }
        let outputs = github::outputs_of_nothing(exit, self.mode, &why);
        append(self.github.github_output.as_deref(), &outputs)?;
        let comment = markdown::nothing(exit, &why);
        append(self.github.github_step_summary.as_deref(), &comment)
    }

    fn is_github(&self) -> bool {
        self.github.github_actions.as_deref() == Some("true")
    }
}

fn append(file: Option<&Path>, text: &str) -> Result<(), Failure> {
    let Some(file) = file else {
        return Ok(());
    };
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("failed to write to {}", file.display()))
        .or_infrastructure()
}
