//! `/regressions` and `/series`: what moved, where it changed, and how far that is proven.

use axum::extract::{Path, State};
use axum::response::Response;
use domain::api::{DATA_LICENCE, Problem};
use domain::history::{
    ChangeRow, ChangeState, RegressionsAnswer, SeriesAnswer, SeriesPoint, SeriesRow,
};
use domain::query::RegressionsQuery;

use super::ask::{Ask, Format, json, split_ending};
use super::csv;
use super::problem::{ApiError, bad_fields};
use crate::collector::Collector;
use crate::snapshot::Snapshot;

/// Gates of one answer; `/gates` has all.
const MAX_GATES: usize = 100;

/// Changes of figures over time, the newest gates, every series, and the drift ledger.
#[utoipa::path(
    get,
    path = "/api/v1/regressions",
    params(
        ("engine" = Option<String>, Query, description = "Of this engine, as addresses spell it; all if not given"),
        ("from" = Option<String>, Query, description = "Changes and gates from this day on, YYYY-MM-DD UTC"),
        ("to" = Option<String>, Query, description = "Until the end of this day"),
        ("format" = Option<String>, Query, description = "json or csv (the changes); so do .json, .csv and Accept"),
    ),
    responses(
        (status = 200, description = "Changes, confirmed first", body = RegressionsAnswer),
        (status = 304, description = "The reader's copy still holds"),
        (status = 400, description = "bad-query", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn answer(
    State(collector): State<Collector>,
    ask: Ask,
) -> Result<Response, ApiError> {
    let query = RegressionsQuery::parse(&ask.query).map_err(|errors| bad_fields(&errors))?;
    let snapshot = collector.snapshot();
    Ok(ask.answer(&collector, &snapshot, &query.canonical(), || {
        let answer = regressions(&snapshot, &query);
        match ask.format {
            Format::Json => json(&answer),
            Format::Csv => csv::table(&columns(), &answer.changes),
        }
    }))
}

fn regressions(snapshot: &Snapshot, query: &RegressionsQuery) -> RegressionsAnswer {
    let history = snapshot.history();
    let is_engine = |slug: &str| query.engine.as_ref().is_none_or(|one| one.as_str() == slug);
    let (from, to) = (
        query.from.map(|day| day.to_string()),
        query.to.map(|day| day.to_string()),
    );
    // A day is the first ten characters of a time, and days are ordered as their spellings are.
    let in_time = |at: &str| {
        let day = at.get(..10);
        from.as_deref().is_none_or(|from| day >= Some(from))
            && to
                .as_deref()
                .is_none_or(|to| day.is_some_and(|day| day <= to))
    };
    let changes = history.changes().iter();
    let gates = snapshot.gates().iter().map(|gate| &gate.row);
    let series = history.series().iter().map(|one| &one.row);
    RegressionsAnswer {
        data_version: snapshot.data_version().to_owned(),
        licence: DATA_LICENCE.to_owned(),
        engine: query.engine.as_ref().map(ToString::to_string),
        engines: history.engines().to_vec(),
        changes: changes
            .filter(|change| is_engine(&change.series.engine_slug) && in_time(&change.at))
            .cloned()
            .collect(),
        gates: gates
            .filter(|gate| is_engine(&gate.engine_slug) && in_time(&gate.measured_at))
            .take(MAX_GATES)
            .cloned()
            .collect(),
        series: series
            .filter(|series| is_engine(&series.engine_slug))
            .cloned()
            .collect(),
        ledger: (history.ledger().iter())
            .filter(|row| is_engine(&row.engine_slug))
            .cloned()
            .collect(),
        from,
        to,
    }
}

/// One figure over time.
#[utoipa::path(
    get,
    path = "/api/v1/series/{id}",
    params(
        ("id" = String, Path, description = "16 hexadecimal digits"),
        ("format" = Option<String>, Query, description = "json or csv (the points)"),
    ),
    responses(
        (status = 200, description = "Its points, epochs and changes", body = SeriesAnswer),
        (status = 304, description = "The reader's copy still holds"),
        (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn series(
    State(collector): State<Collector>,
    Path(id): Path<String>,
    ask: Ask,
) -> Result<Response, ApiError> {
    ask.without_parameters()?;
    let (id, _) = split_ending(&id);
    let snapshot = collector.snapshot();
    let history = snapshot.history();
    let one = history.one(id).ok_or(ApiError::NotFound)?;
    Ok(ask.answer(&collector, &snapshot, "", || {
        let points: Vec<SeriesPoint> = one.points().collect();
        match ask.format {
            Format::Csv => csv::table(&point_columns(), &points),
            Format::Json => json(&SeriesAnswer {
                data_version: snapshot.data_version().to_owned(),
                licence: DATA_LICENCE.to_owned(),
                series: one.row.clone(),
                points,
                epochs: one.epochs.clone(),
                changes: (history.changes().iter())
                    .filter(|change| change.series.id == one.row.id)
                    .cloned()
                    .collect(),
            }),
        }
    }))
}

/// The columns of a list of changes.
pub(super) fn columns() -> Vec<String> {
    csv::columns_of(&ChangeRow {
        id: String::new(),
        group: String::new(),
        series: SeriesRow::default(),
        state: ChangeState::Suspect,
        note: None,
        is_regression: false,
        effect: 0.0,
        effect_over_noise: None,
        p: 0.0,
        last_good: String::new(),
        first_bad: String::new(),
        last_good_commit: None,
        first_bad_commit: None,
        at: String::new(),
        at_seconds: 0.0,
        updated_at: String::new(),
        points_before: 0,
        points_after: 0,
        paired_run: String::new(),
        gates: Vec::new(),
    })
}

/// The columns of a series' points.
pub(super) fn point_columns() -> Vec<String> {
    csv::columns_of(&SeriesPoint {
        record: String::new(),
        measured_at: String::new(),
        measured_seconds: 0.0,
        build: String::new(),
        commit: None,
        value: 0.0,
        low: None,
        high: None,
        canary: None,
        epoch: 0,
    })
}
