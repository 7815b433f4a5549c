//! `/engines`: results by engine and build, the worst gap to what the memory allows first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::Response;
use domain::api::{BuildRow, EngineRow, EnginesAnswer, Problem};
use domain::statistics::median;
use serde::Serialize;

use super::ask::{Ask, Format, json, split_ending};
use super::problem::ApiError;
use super::{csv, results};
use crate::collector::Collector;
use crate::derive::CellResult;
use crate::snapshot::Snapshot;

/// A build's line in CSV; its results are the table of `/engines/{slug}/{build}`.
#[derive(Debug, Default, Serialize)]
struct BuildLine {
    engine_slug: String,
    engine: String,
    build: String,
    version: String,
    flags: String,
    backend: String,
    received_at: String,
    results: usize,
    with_ceiling: u32,
    worst_of_theory: Option<f64>,
    median_of_theory: Option<f64>,
}

/// Every engine with its builds and their results, by slug.
#[utoipa::path(
    get,
    path = "/api/v1/engines",
    params(("format" = Option<String>, Query, description = "json, or csv (one line per build)")),
    responses(
        (status = 200, description = "The engines", body = EnginesAnswer),
        (status = 304, description = "The reader's copy still holds"),
        (status = 400, description = "bad-query", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(collector): State<Collector>,
    ask: Ask,
) -> Result<Response, ApiError> {
    ask.without_parameters()?;
    let snapshot = collector.snapshot();
    Ok(ask.answer(&collector, &snapshot, "", || {
        let engines = engines(&snapshot);
        match ask.format {
            Format::Json => json(&EnginesAnswer {
                data_version: snapshot.data_version().to_owned(),
                engines,
            }),
            Format::Csv => table(engines.iter().flat_map(|engine| &engine.builds)),
        }
    }))
}

/// One engine with its builds, that of the newest record first.
#[utoipa::path(
    get,
    path = "/api/v1/engines/{slug}",
    params(
        ("slug" = String, Path, description = "The engine's name in URLs"),
        ("format" = Option<String>, Query, description = "json, or csv (one line per build)"),
    ),
    responses(
        (status = 200, description = "The engine", body = EngineRow),
        (status = 304, description = "The reader's copy still holds"),
        (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn detail(
    State(collector): State<Collector>,
    Path(slug): Path<String>,
    ask: Ask,
) -> Result<Response, ApiError> {
    ask.without_parameters()?;
    let (slug, _) = split_ending(&slug);
    let snapshot = collector.snapshot();
    let engine = engine(&snapshot, slug).ok_or(ApiError::NotFound)?;
    Ok(ask.answer(&collector, &snapshot, "", || match ask.format {
        Format::Json => json(&engine),
        Format::Csv => table(&engine.builds),
    }))
}

/// One build of an engine with its results, the worst gap to what the memory allows first.
#[utoipa::path(
    get,
    path = "/api/v1/engines/{slug}/{build}",
    params(
        ("slug" = String, Path, description = "The engine's name in URLs"),
        ("build" = String, Path, description = "12 hexadecimal digits"),
        ("format" = Option<String>, Query, description = "json, or csv (its results)"),
    ),
    responses(
        (status = 200, description = "The build", body = BuildRow),
        (status = 304, description = "The reader's copy still holds"),
        (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn build(
    State(collector): State<Collector>,
    Path((slug, build)): Path<(String, String)>,
    ask: Ask,
) -> Result<Response, ApiError> {
    ask.without_parameters()?;
    let (build, _) = split_ending(&build);
    let snapshot = collector.snapshot();
    let engine = engine(&snapshot, &slug).ok_or(ApiError::NotFound)?;
    let row = engine
        .builds
        .into_iter()
        .find(|row| row.build == build)
        .ok_or(ApiError::NotFound)?;
    Ok(ask.answer(&collector, &snapshot, "", || match ask.format {
        Format::Json => json(&row),
        Format::Csv => csv::table(&results::columns(), &row.rows),
    }))
}

/// The columns of the table of builds.
pub(super) fn columns() -> Vec<String> {
    csv::columns_of(&BuildLine::default())
}

fn table<'a>(builds: impl IntoIterator<Item = &'a BuildRow>) -> Vec<u8> {
    let lines: Vec<_> = builds.into_iter().map(line).collect();
    csv::table(&columns(), &lines)
}

fn engines(snapshot: &Snapshot) -> Vec<EngineRow> {
    let mut by_engine: BTreeMap<&str, Vec<&CellResult>> = BTreeMap::new();
    for result in measured(snapshot) {
        let of_engine = by_engine.entry(&result.row.engine_slug).or_default();
        of_engine.push(result);
    }
    by_engine
        .into_values()
        .filter_map(|results| of_results(&results, snapshot.data_version()))
        .collect()
}

/// Results that were measured: a server that could not be reached did not say its build.
fn measured(snapshot: &Snapshot) -> impl Iterator<Item = &CellResult> {
    let all = snapshot.results().iter();
    all.filter(|result| result.failed.is_none())
}

fn engine(snapshot: &Snapshot, slug: &str) -> Option<EngineRow> {
    let results: Vec<_> = measured(snapshot)
        .filter(|result| result.row.engine_slug == slug)
        .collect();
    of_results(&results, snapshot.data_version())
}

/// The engine that all of these results are of; `None` without any. Of several spellings of its
/// name, that of the newest build.
fn of_results(results: &[&CellResult], data_version: &str) -> Option<EngineRow> {
    let mut by_build: BTreeMap<&str, Vec<&CellResult>> = BTreeMap::new();
    for result in results {
        let of_build = by_build.entry(&result.row.engine_build_id).or_default();
        of_build.push(result);
    }
    let mut builds: Vec<BuildRow> = by_build
        .into_values()
        .filter_map(|results| of_build(&results, data_version))
        .collect();
    builds.sort_by(|a, b| (&b.received_at, &a.build).cmp(&(&a.received_at, &b.build)));
    let newest = builds.first()?;
    Some(EngineRow {
        data_version: data_version.to_owned(),
        slug: newest.engine_slug.clone(),
        name: newest.engine.clone(),
        builds,
    })
}

fn of_build(results: &[&CellResult], data_version: &str) -> Option<BuildRow> {
    let newest = results
        .iter()
        .max_by_key(|result| (&result.row.received_at, Reverse(&result.row.id)))?;
    let newest = &newest.row;
    let mut rows: Vec<_> = results.iter().map(|result| result.row.clone()).collect();
    rows.sort_by(|a, b| {
        let gap = |row: &domain::api::ResultRow| row.decode_of_theory.unwrap_or(f64::INFINITY);
        gap(a).total_cmp(&gap(b)).then_with(|| a.id.cmp(&b.id))
    });
    let shares: Vec<f64> = rows.iter().filter_map(|row| row.decode_of_theory).collect();
    let ceilings = rows
        .iter()
        .filter(|row| row.decode_ceiling_tokens_per_second.is_some());
    Some(BuildRow {
        data_version: data_version.to_owned(),
        engine_slug: newest.engine_slug.clone(),
        engine: newest.engine.clone(),
        build: newest.engine_build_id.clone(),
        version: newest.engine_version.clone(),
        flags: newest.engine_build.clone(),
        backend: newest.backend.clone(),
        received_at: newest.received_at.clone(),
        with_ceiling: ceilings.count() as u32,
        worst_of_theory: shares.first().copied(),
        median_of_theory: median(&shares),
        rows,
    })
}

fn line(build: &BuildRow) -> BuildLine {
    BuildLine {
        engine_slug: build.engine_slug.clone(),
        engine: build.engine.clone(),
        build: build.build.clone(),
        version: build.version.clone(),
        flags: build.flags.clone(),
        backend: build.backend.clone(),
        received_at: build.received_at.clone(),
        results: build.rows.len(),
        with_ceiling: build.with_ceiling,
        worst_of_theory: build.worst_of_theory,
        median_of_theory: build.median_of_theory,
    }
}
