//! Where a verdict goes: standard output, a test report, a job of GitHub Actions.
//!
//! Files are opened before anything is measured, so that a path that cannot be written is a mistake of
//! the command line and costs no measurement.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use domain::gate::record::GateRecord;
use domain::gate::verdict::Judgement;

use super::after::After;
use super::render::{About, github, human, json, junit, markdown};
use crate::cli::gate::{GateFormat, Github, Mode, Shown};
use crate::exit::{Failure, OrExit as _};
use crate::output;

/// Who is told, and how.
#[derive(Debug)]
pub(super) struct Told {
    format: GateFormat,
    mode: Mode,
    no_color: Option<OsString>,
    is_github: bool,
    /// Where the sealed result goes.
    out: Option<Sink>,
    junit: Option<Sink>,
    summary: Option<Sink>,
    outputs: Option<Sink>,
}

impl Told {
    /// Standard output alone.
    pub(super) fn new(shown: &Shown, mode: Mode) -> Self {
        Self {
            format: shown.format,
            mode,
            no_color: shown.no_color.clone(),
            is_github: false,
            out: None,
            junit: None,
            summary: None,
            outputs: None,
        }
    }

    /// Opens every file that was named. Those that could be opened are told of a failure with the rest.
    pub(super) fn open(
        &mut self,
        shown: &Shown,
        junit: Option<&Path>,
        github: &Github,
    ) -> Result<(), Failure> {
        self.is_github = github.job.as_deref() == Some("true");
        if self.is_github {
            self.summary = Sink::open(github.summary.as_deref()).or_infrastructure()?;
            self.outputs = Sink::open(github.outputs.as_deref()).or_infrastructure()?;
        }
        self.junit = Sink::open(junit).context("--junit").or_usage()?;
        self.out = Sink::open(shown.out.as_deref())
            .context("--out")
            .or_usage()?;
        Ok(())
    }

    /// Speaks a verdict. The bytes are the sealed envelope, where there is one.
    pub(super) fn verdict(
        &self,
        judgement: &Judgement,
        about: &About,
        record: &GateRecord,
        envelope: Option<&[u8]>,
    ) -> Result<(), Failure> {
        let text = match self.format {
            GateFormat::Human => human::text(
                judgement,
                about,
                output::may_colour(self.no_color.as_deref()),
            ),
            GateFormat::Md => markdown::comment(judgement, about),
            GateFormat::Json => {
                let document = json::document(judgement, record, about.content_id.zip(envelope))
                    .context("failed to write the result as JSON")
                    .or_infrastructure()?;
                serde_json::to_string_pretty(&document).or_infrastructure()?
            }
        };
        output::line(&text)
            .context("failed to print the result")
            .or_infrastructure()
    }

    /// Writes a sealed result into the file of `--out`, in place of an earlier one.
    pub(super) fn sealed(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        put(&mut self.out, |sink| sink.replace(bytes))
    }

    /// Writes what was spoken where else it was asked for: a test report, annotations and the summary
    /// of a job.
    pub(super) fn reports(&mut self, judgement: &Judgement, about: &About, after: &mut After) {
        let report = junit::report(judgement, about)
            .context("failed to write the test report")
            .or_infrastructure();
        if let Some(report) = after.take(report) {
            after.take(put(&mut self.junit, |sink| sink.replace(report.as_bytes())));
        }
        if !self.is_github {
            return;
        }
        // Standard error, which the job's runner reads as well: standard output is the result.
        for annotation in github::annotations(judgement) {
            output::say(&annotation);
        }
        let comment = markdown::comment(judgement, about);
        after.take(put(&mut self.summary, |sink| sink.add(&comment)));
    }

    /// Tells a job how it ends: last of all, since it may end worse than the verdict.
    pub(super) fn ends(&mut self, judgement: &Judgement, after: &mut After) {
        let written = self.out.as_ref().filter(|sink| sink.is_written);
        let path = written.map(|sink| sink.path.display().to_string());
        let end = (after.exit(), after.trouble());
        let outputs = github::outputs(judgement, end, self.mode, path.as_deref());
        after.take(put(&mut self.outputs, |sink| sink.add(&outputs)));
    }

    /// Tells of a gate that measured nothing; the failure itself is told where the program ends, and
    /// stays what it is whatever becomes of this.
    pub(super) fn nothing(&mut self, failure: &Failure) {
        let why = failure.told();
        let exit = failure.exit;
        let mut after = After::of(exit);
        let report = junit::nothing(exit, &why)
            .context("failed to write the test report")
            .or_infrastructure();
        if let Some(report) = after.take(report) {
            after.take(put(&mut self.junit, |sink| sink.replace(report.as_bytes())));
        }
        let comment = markdown::nothing(exit, &why);
        after.take(put(&mut self.summary, |sink| sink.add(&comment)));
        let outputs = github::outputs_of_nothing(exit, self.mode, &why);
        after.take(put(&mut self.outputs, |sink| sink.add(&outputs)));
    }
}

/// A file that is open before there is anything to write.
#[derive(Debug)]
struct Sink {
    path: PathBuf,
    file: File,
    /// It was not there before, and goes again if nothing comes to be written.
    is_new: bool,
    is_written: bool,
}

impl Sink {
    /// Opens a file that was named; what stands in it stays until something else is written.
    fn open(path: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let Some(path) = path else {
            return Ok(None);
        };
        let new = OpenOptions::new().write(true).create_new(true).open(path);
        let is_new = new.is_ok();
        let file = match new {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Created too, for a link to what is not there.
                OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(path)
            }
            file => file,
        };
        let file =
            file.with_context(|| format!("failed to open {} for writing", path.display()))?;
        Ok(Some(Self {
            path: path.to_owned(),
            file,
            is_new,
            is_written: false,
        }))
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Pipes and terminals have no length.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
            self.file.rewind()?;
        }
        self.write(bytes)
    }

    fn add(&mut self, text: &str) -> io::Result<()> {
        if self.file.metadata()?.is_file() {
            self.file.seek(io::SeekFrom::End(0))?;
        }
        self.write(text.as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.is_new = false;
        self.file.write_all(bytes)?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if self.is_new {
            // An empty file is no result; whose it is by now cannot be told.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Writes into a file, if there is one.
fn put(
    sink: &mut Option<Sink>,
    write: impl FnOnce(&mut Sink) -> io::Result<()>,
) -> Result<(), Failure> {
    let Some(sink) = sink else {
        return Ok(());
    };
    write(sink)
        .with_context(|| format!("failed to write {}", sink.path.display()))
        .or_infrastructure()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Option<Sink> {
        Sink::open(Some(path)).expect("writable")
    }

    #[test]
    fn a_file_is_as_it_was_until_there_is_something_to_write() {
        let folder = tempfile::tempdir().expect("a folder");
        let new = folder.path().join("new.json");
        let old = folder.path().join("old.json");
        fs::write(&old, "an earlier and longer result").expect("writable");
        drop((open(&new), open(&old)));
        assert!(!new.exists());
        let read = |path: &Path| fs::read_to_string(path).expect("there");
        assert_eq!(read(&old), "an earlier and longer result");

        let (mut sink, mut other) = (open(&new), open(&old));
        put(&mut sink, |sink| sink.replace(b"part")).expect("written");
        put(&mut sink, |sink| sink.replace(b"all")).expect("written");
        put(&mut other, |sink| sink.replace(b"later")).expect("written");
        drop((sink, other));
        assert_eq!((read(&new), read(&old)), ("all".into(), "later".into()));

        let mut sink = open(&old);
        put(&mut sink, |sink| sink.add(" and more")).expect("written");
        drop(sink);
        assert_eq!(read(&old), "later and more");
    }

    #[test]
    fn a_path_that_cannot_be_written_is_told_of_before_measuring() {
        let folder = tempfile::tempdir().expect("a folder");
        for bad in [folder.path().to_owned(), folder.path().join("none/r.json")] {
            let error = Sink::open(Some(&bad)).expect_err("no file");
            assert!(format!("{error:#}").contains(&bad.display().to_string()));
        }
    }
}
