//! `/hardware`: what one can buy, with sourced facts, and what was measured on it.

use axum::extract::State;
use axum::response::Response;
use domain::api::{HardwareAnswer, HardwareRow, Problem, SetupRow};
use domain::hardware::{
    Catalogue, Confidence, HardwareKind, HardwareProfile, Price, PriceKind, SetupProfile,
};

use super::ask::{Ask, Format, json};
use super::csv;
use super::problem::{ApiError, bad_parameter};
use crate::collector::Collector;
use crate::snapshot::Snapshot;

/// Every part and every setup, by slug.
#[utoipa::path(
    get,
    path = "/api/v1/hardware",
    params(
        ("format" = Option<String>, Query, description = "json, or csv (one table)"),
        ("table" = Option<String>, Query, description = "Of CSV: hardware (if not given) or setups"),
    ),
    responses(
        (status = 200, description = "Hardware and setups", body = HardwareAnswer),
        (status = 304, description = "The reader's copy still holds"),
        (status = 400, description = "bad-query", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    State(collector): State<Collector>,
    ask: Ask,
) -> Result<Response, ApiError> {
    let setups_table = match ask.query.as_str() {
        "" | "table=hardware" => false,
        "table=setups" => true,
        _ => {
            return Err(bad_parameter(
                "table",
                "hardware or setups is needed, and nothing else",
            ));
        }
    };
    let snapshot = collector.snapshot();
    Ok(ask.answer(&collector, &snapshot, &ask.query, || {
        let answer = answer(collector.catalogue(), &snapshot);
        match ask.format {
            Format::Json => json(&answer),
            Format::Csv if setups_table => csv::table(&setup_columns(), &answer.setups),
            Format::Csv => csv::table(&hardware_columns(), &answer.hardware),
        }
    }))
}

fn answer(catalogue: &Catalogue, snapshot: &Snapshot) -> HardwareAnswer {
    let on_setup = |slug: &str| {
        snapshot
            .results()
            .iter()
            .filter(|result| result.row.setup == slug)
            .count() as u32
    };
    let setups: Vec<_> = catalogue
        .all_setups()
        .iter()
        .map(|setup| setup_row(setup, on_setup(setup.slug.as_str())))
        .collect();
    let hardware = catalogue.all_hardware().iter().map(|hardware| {
        let with_it = catalogue.all_setups().iter().filter(|setup| {
            setup
                .parts
                .iter()
                .any(|part| part.hardware == hardware.slug)
        });
        let results = with_it.map(|setup| on_setup(setup.slug.as_str())).sum();
        hardware_row(hardware, results)
    });
    HardwareAnswer {
        data_version: snapshot.data_version().to_owned(),
        hardware: hardware.collect(),
        setups,
    }
}

fn hardware_row(hardware: &HardwareProfile, results: u32) -> HardwareRow {
    HardwareRow {
        slug: hardware.slug.to_string(),
        name: hardware.name.to_string(),
        vendor: hardware.vendor.to_string(),
        kind: hardware.kind,
        memory_gb: hardware.memory_gb,
        unified: hardware.unified,
        memory_bandwidth_gb_s: hardware.memory_bandwidth_gb_s,
        fp16_dense_tflops: hardware.fp16_dense_tflops,
        fp16_basis: hardware.fp16_basis.clone(),
        tdp_w: hardware.tdp_w,
        idle_w: hardware.idle_w,
        release_date: hardware.release_date.clone(),
        confidence: hardware.confidence,
        sources: hardware.sources.clone(),
        results,
    }
}

fn setup_row(setup: &SetupProfile, results: u32) -> SetupRow {
    let price = setup.price().cloned();
    SetupRow {
        slug: setup.slug.to_string(),
        name: setup.name.to_string(),
        parts: setup
            .parts
            .iter()
            .map(|p| format!("{} x {}", p.count, p.hardware))
            .collect(),
        price_reason: price
            .is_none()
            .then(|| "not recorded: no sourced price is known".to_owned()),
        price,
        results,
    }
}

/// The columns of the table of hardware.
pub(super) fn hardware_columns() -> Vec<String> {
    csv::columns_of(&HardwareRow {
        slug: String::new(),
        name: String::new(),
        vendor: String::new(),
        kind: HardwareKind::Soc,
        memory_gb: None,
        unified: None,
        memory_bandwidth_gb_s: None,
        fp16_dense_tflops: None,
        fp16_basis: None,
        tdp_w: None,
        idle_w: None,
        release_date: None,
        confidence: Confidence::High,
        sources: Vec::new(),
        results: 0,
    })
}

/// The columns of the table of setups. The optional price is present here, so that its
/// columns are.
pub(super) fn setup_columns() -> Vec<String> {
    csv::columns_of(&SetupRow {
        slug: String::new(),
        name: String::new(),
        parts: Vec::new(),
        price: Some(Price {
            usd: 0.0,
            date: String::new(),
            kind: PriceKind::List,
            source: String::new(),
            note: None,
        }),
        price_reason: None,
        results: 0,
    })
}
