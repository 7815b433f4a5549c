//! `/gates`: verdicts on pairs of builds, recomputed here from the raw samples.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use domain::api::{DATA_LICENCE, Problem};
use domain::gate::verdict::{CellJudgement, Confirmed};
use domain::gate::{Metric, Verdict};
use domain::history::{GateAnswer, GateRow, GatesAnswer};
use domain::tier::Tier;

use super::ask::{Ask, Format, List, json, split_ending};
use super::csv;
use super::problem::ApiError;
use crate::collector::Collector;
use crate::gates::JudgedGate;

/// Every gate, newest first; quarantined ones too, which count nowhere.
#[utoipa::path(
    get,
    path = "/api/v1/gates",
    params(
        ("limit" = Option<u32>, Query, description = "Rows, 1 to 1000; 100 if not given"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
        ("format" = Option<String>, Query, description = "json or csv; so do .json, .csv and Accept"),
    ),
    responses(
        (status = 200, description = "One page; Link: rel=next leads on", body = GatesAnswer),
        (status = 304, description = "The reader's copy still holds"),
        (status = 400, description = "bad-query", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(collector): State<Collector>,
    ask: Ask,
) -> Result<Response, ApiError> {
    let snapshot = collector.snapshot();
    let list = List {
        all: snapshot.gates(),
        name: |gate: &Arc<JudgedGate>| &gate.row.content_id,
        row: |gate| gate.row.clone(),
        columns,
    };
    ask.paged(&collector, &snapshot, &list, |rows, next| GatesAnswer {
        data_version: snapshot.data_version().to_owned(),
        licence: DATA_LICENCE.to_owned(),
        rows,
        next,
    })
}

/// One gate: what it comes to, and the blocks that it comes from. `/records/{content_id}/envelope`
/// has the signed bytes.
#[utoipa::path(
    get,
    path = "/api/v1/gates/{content_id}",
    params(
        ("content_id" = String, Path, description = "64 hexadecimal digits"),
        ("format" = Option<String>, Query, description = "json or csv (the cells, worst first)"),
    ),
    responses(
        (status = 200, description = "The gate", body = GateAnswer),
        (status = 304, description = "The reader's copy still holds"),
        (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn detail(
    State(collector): State<Collector>,
    Path(id): Path<String>,
    ask: Ask,
) -> Result<Response, ApiError> {
    ask.without_parameters()?;
    let (id, _) = split_ending(&id);
    let snapshot = collector.snapshot();
    let gate = snapshot.gate(id).ok_or(ApiError::NotFound)?;
    Ok(ask.answer(&collector, &snapshot, "", || match ask.format {
        Format::Json => json(&gate.detail(snapshot.data_version())),
        Format::Csv => csv::table(&cell_columns(), &gate.judgement.cells),
    }))
}

/// The columns of a list of gates.
pub(super) fn columns() -> Vec<String> {
    csv::columns_of(&GateRow {
        content_id: String::new(),
        key_id: String::new(),
        tier: Tier::SelfReported,
        received_at: String::new(),
        measured_at: String::new(),
        purpose: String::new(),
        setup: String::new(),
        engine: String::new(),
        engine_slug: String::new(),
        base: String::new(),
        candidate: String::new(),
        verdict: Verdict::Inconclusive,
        headline: String::new(),
        worst_cell: None,
        effect: None,
        mde: None,
        blocks: 0,
        seconds: 0.0,
    })
}

/// The columns of a gate's cells.
pub(super) fn cell_columns() -> Vec<String> {
    csv::columns_of(&CellJudgement {
        label: String::new(),
        model: String::new(),
        metric: Metric::Decode,
        verdict: Verdict::Inconclusive,
        reason: None,
        effect: None,
        low: None,
        high: None,
        blocks: 0,
        block_sd: None,
        mde: None,
        practical_zero: 0.0,
        tolerance: 0.0,
        small_regression: false,
        minutes_to_settle: None,
        waived: None,
        confirmation: Some(Confirmed {
            verdict: Verdict::Inconclusive,
            effect: 0.0,
            low: None,
            high: None,
            blocks: 0,
        }),
        base_cost: None,
        candidate_cost: None,
    })
}
