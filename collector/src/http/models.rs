//! `/models`: what was measured, by model, and what one model loses by quantisation and pruning.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::response::Response;
use domain::api::{ModelDetail, ModelRow, ModelsAnswer, Problem, VariantRow};
use domain::query::ModelQuery;
use serde::Serialize;

use super::ask::{Ask, Format, drawn, json, split_ending};
use super::csv;
use super::problem::{ApiError, bad_fields};
use crate::collector::Collector;
use crate::snapshot::{ModelFacts, Snapshot};
use crate::variants;

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

/// One model's variants against its unquantised, unpruned one.
#[utoipa::path(
    get,
    path = "/api/v1/models/{slug}",
    params(
        ("slug" = String, Path, description = "The model's name in URLs"),
        ("setup" = Option<String>, Query, description = "Where variants are compared; the place with the most of them, then the newest, if not given"),
        ("engine" = Option<String>, Query, description = "The engine's name in URLs"),
        ("workload" = Option<String>, Query, description = "Workload"),
        ("suite" = Option<String>, Query, description = "Suite version"),
        ("format" = Option<String>, Query, description = "json or csv (the variants); so do .json, .csv and Accept"),
    ),
    responses(
        (status = 200, description = "Its variants", body = ModelDetail),
        (status = 304, description = "The reader's copy still holds"),
        (status = 400, description = "bad-query", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "not-found", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn detail(
    State(collector): State<Collector>,
    Path(slug): Path<String>,
    ask: Ask,
) -> Result<Response, ApiError> {
    let query = ModelQuery::parse(&ask.query).map_err(|errors| bad_fields(&errors))?;
    let (slug, _) = split_ending(&slug);
    let snapshot = collector.snapshot();
    let model = snapshot.models().iter().find(|model| model.slug == slug);
    let model = model.ok_or(ApiError::NotFound)?.clone();
    let canonical = query.canonical();
    if let Some(unchanged) = ask.unchanged(&collector, &snapshot, &canonical) {
        return Ok(unchanged);
    }
    // Planning items takes milliseconds per variant.
    let asked = snapshot.clone();
    let answer = drawn(&collector, move || {
        variants::answer(&model, asked.results(), &query, asked.data_version())
    });
    let answer = answer.await?.map_err(|errors| bad_fields(&errors))?;
    Ok(
        ask.answer(&collector, &snapshot, &canonical, || match ask.format {
            Format::Json => json(&answer),
            Format::Csv => csv::table(&variant_columns(), &answer.variants),
        }),
    )
}

/// The columns of the table of variants.
pub(super) fn variant_columns() -> Vec<String> {
    csv::columns_of(&VariantRow::default())
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
