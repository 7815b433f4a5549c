//! `joulemark import`: reads other tools' files, shows what they say, and keeps them for a collector.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use domain::hardware::Catalogue;
use domain::ids::Slug;
use domain::import::sealed::{About, Import as Statement};
use domain::import::{Imported, MAX_FILE_BYTES, Row};
use domain::record::Audience;
use domain::text::Name;
use runner::keys::RunnerKey;
use runner::seal::seal_import;
use runner::spool::Spool;
use runner::submit::{DrainOptions, drain};
use serde_json::json;

use super::submit;
use crate::cli::{Format, Import};
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::output::{self, Report};

/// Reads every file; one that is not read keeps no other from being kept.
pub(crate) async fn run(args: Import, config: Config) -> Outcome {
    let about = about(&args, &config.catalogue()?)?;
    let audience = match &args.collector {
        Some(collector) => Audience::Collector(submit::id_of(collector).await?),
        None => Audience::Any,
    };
    let kept = if args.dry_run {
        None
    } else {
        Some(Kept::open(&config)?)
    };
    let mut read = Vec::new();
    let mut worst = Exit::Fine;
    for path in &args.files {
        let one = packed(path, &about, audience).and_then(|(statement, imported)| {
            if let Some(kept) = &kept {
                kept.put(&statement)?;
            }
            Ok((statement, imported))
        });
        match one {
            Ok((statement, imported)) => read.push((statement, imported)),
            Err(failure) => {
                worst = failure.exit;
                output::failure(&failure);
            }
        }
    }
    let for_people = matches!(args.format, Format::Human | Format::Md);
    if !(read.is_empty() && for_people) {
        report(&read).print(args.format).or_infrastructure()?;
    }
    for (statement, imported) in &read {
        tell(statement, imported);
    }
    let (Some(kept), Some(collector)) = (kept, &args.collector) else {
        if !args.dry_run && !read.is_empty() {
            output::say("kept in the spool: `joulemark submit --collector URL` sends it");
        }
        return Ok(worst);
    };
    let options = DrainOptions {
        audience: match audience {
            Audience::Collector(id) => Some(id),
            Audience::Any => None,
        },
        ..DrainOptions::default()
    };
    let drained = drain(&kept.spool, collector, options)
        .await
        .with_context(|| format!("failed to submit to {collector}; what was read is kept"))
        .or_infrastructure()?;
    let sent = submit::tell(&drained);
    Ok(if worst == Exit::Fine { sent } else { worst })
}

/// Where files are kept until a collector has them.
struct Kept {
    key: RunnerKey,
    spool: Spool,
}

impl Kept {
    fn open(config: &Config) -> Result<Self, Failure> {
        config.make_data_folder()?;
        Ok(Self {
            key: RunnerKey::load_or_make(&config.key())
                .context("failed to get the signing key")
                .or_infrastructure()?,
            spool: Spool::open(&config.spool())
                .context("failed to open the spool")
                .or_infrastructure()?,
        })
    }

    fn put(&self, statement: &Statement) -> Result<(), Failure> {
        let sealed = seal_import(statement, &self.key)
            .with_context(|| {
                format!(
                    "failed to keep {}: give a shorter part of it",
                    statement.file
                )
            })
            .or_usage()?;
        self.spool
            .put(&sealed)
            .with_context(|| format!("failed to keep {} in the spool", statement.file))
            .or_infrastructure()
    }
}

/// What only the importer knows, checked.
fn about(args: &Import, catalogue: &Catalogue) -> Result<About, Failure> {
    let setup = match &args.setup {
        Some(text) => {
            let slug: Slug = text
                .parse()
                .with_context(|| format!("failed to read --setup {text:?}"))
                .or_usage()?;
            if catalogue.setup(&slug).is_none() {
                let error = anyhow::anyhow!(
                    "--setup {slug} is no setup of hardware-profiles/: add its profile, or leave the flag out"
                );
                return Err(error).or_usage();
            }
            Some(slug)
        }
        None => None,
    };
    let name = |flag: &str, text: &Option<String>| match text {
        Some(text) => Name::new(text.as_str())
            .map(Some)
            .with_context(|| format!("failed to read {flag}"))
            .or_usage(),
        None => Ok(None),
    };
    let variant = args.variant.as_deref().map(str::parse).transpose();
    Ok(About {
        setup,
        variant_sha256: variant
            .context("failed to read --variant: 64 hexadecimal digits are needed")
            .or_usage()?,
        source: name("--source", &args.source)?,
        licence: name("--licence", &args.licence)?,
    })
}

fn packed(
    path: &Path,
    about: &About,
    audience: Audience,
) -> Result<(Statement, Imported), Failure> {
    let shown = path.display().to_string();
    let bytes = bounded(path)
        .with_context(|| format!("failed to read {shown}"))
        .or_usage()?;
    let name = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.file_name()
            .map_or_else(|| shown.clone(), |name| name.to_string_lossy().into_owned())
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let imported_ms = now.map_or(0, |since| since.as_millis() as u64);
    Statement::pack(&name, &bytes, about.clone(), audience, imported_ms)
        .with_context(|| format!("failed to import {shown}"))
        .or_usage()
}

/// A file's bytes, one more than are read at most, so that a longer one is told from a whole one.
fn bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(limit)
            .read_to_end(&mut bytes)?;
    } else {
        std::fs::File::open(path)?
            .take(limit)
            .read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn report(read: &[(Statement, Imported)]) -> Report {
    let rows = read
        .iter()
        .flat_map(|(statement, imported)| imported.rows.iter().map(|row| line(statement, row)));
    let files = read.iter().map(|(statement, imported)| {
        json!({
            "file": statement.file,
            "file_sha256": statement.file_sha256,
            "redactions": statement.redactions,
            "format": imported.format,
            "rows": imported.rows,
            "notes": imported.notes,
        })
    });
    Report {
        header: vec![
            "file",
            "tool",
            "model",
            "quant",
            "test",
            "prefill tok/s",
            "decode tok/s",
            "TTFT ms",
            "J/token",
            "score",
            "beware",
        ],
        rows: rows.collect(),
        json: json!({ "files": files.collect::<Vec<_>>() }),
        notes: Vec::new(),
    }
}

fn line(statement: &Statement, row: &Row) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "—".to_owned());
    let number = |value: Option<f64>, decimals: usize| {
        value.map_or_else(|| "—".to_owned(), |value| format!("{value:.decimals$}"))
    };
    let beware = row
        .failed
        .clone()
        .map_or_else(|| row.notes.join("; "), |why| format!("failed: {why}"));
    vec![
        statement.file.to_string(),
        statement.format.to_string(),
        text(&row.model),
        text(&row.quant),
        row.test.clone(),
        number(row.prefill_tokens_per_second, 1),
        number(row.decode_tokens_per_second, 1),
        number(row.ttft_ms, 1),
        number(row.joules_per_output_token, 3),
        number(row.score, 4),
        beware,
    ]
}

/// One file's line on standard error.
fn tell(statement: &Statement, imported: &Imported) {
    let failed = imported
        .rows
        .iter()
        .filter(|row| row.failed.is_some())
        .count();
    let mut told = format!(
        "{}: {}, {} rows",
        statement.file,
        statement.format,
        imported.rows.len()
    );
    if failed > 0 {
        let _ = write!(told, ", {failed} of them failed runs");
    }
    if statement.redactions > 0 {
        let _ = write!(
            told,
            ", {} places with command lines or secrets left out",
            statement.redactions
        );
    }
    output::say(&told);
    for note in &imported.notes {
        output::say(&format!("  {note}"));
    }
}
