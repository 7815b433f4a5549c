//! `/models`: what was measured, by model.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::Response;
use domain::api::{ModelRow, ModelsAnswer, Problem};
use serde::Serialize;

use super::ask::{Ask, Format, json};
use super::csv;
use super::problem::ApiError;
use crate::collector::Collector;
use crate::snapshot::{ModelFacts, Snapshot};

/// A model's line in CSV; its results are those of `/results`.
#[derive(Debug, Default, Serialize)]
struct ModelLine {
    slug: String,
    name: String,
    arch: String,
    params_total: u64,
    variants: u32,
    results: usize,
}

/// Every model with its results, by slug.
#[utoipa::path(
    get,
    path = "/api/v1/models",
    params(("format" = Option<String>, Query, description = "json, or csv (one line per model)")),
    responses(
        (status = 200, description = "The models", body = ModelsAnswer),
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
        let models: Vec<_> = snapshot
            .models()
            .iter()
            .map(|model| row(model, &snapshot))
            .collect();
        match ask.format {
            Format::Json => json(&ModelsAnswer {
                data_version: snapshot.data_version().to_owned(),
                models,
            }),
            Format::Csv => {
                let lines: Vec<_> = models.iter().map(line).collect();
                csv::table(&columns(), &lines)
            }
        }
    }))
}

/// The columns of the table of models.
pub(super) fn columns() -> Vec<String> {
    csv::columns_of(&ModelLine::default())
}

fn row(model: &ModelFacts, snapshot: &Snapshot) -> ModelRow {
    let results: Vec<_> = snapshot
        .results()
        .iter()
        .filter(|result| result.row.model_slug == model.slug)
        .map(|result| result.row.clone())
        .collect();
    let variants: BTreeSet<_> = results.iter().map(|row| &row.variant_sha256).collect();
    ModelRow {
        slug: model.slug.clone(),
        name: model.name.clone(),
        arch: model.arch.clone(),
        params_total: model.params_total,
        variants: variants.len() as u32,
        results,
    }
}

fn line(model: &ModelRow) -> ModelLine {
    ModelLine {
        slug: model.slug.clone(),
        name: model.name.clone(),
        arch: model.arch.clone(),
        params_total: model.params_total,
        variants: model.variants,
        results: model.results.len(),
    }
}
