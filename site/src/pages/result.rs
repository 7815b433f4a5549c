//! One cell: every published number, every repetition, where it comes from, how to repeat it.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::api::{ProvenanceLine, RecordDetail, RecordSummary, ResultDetail};

use super::rows::{Bar, RowView, price};
use crate::charts::DotsChart;
use crate::error::PageError;
use crate::format::{self, Cell, Quantity};
use crate::layout::{Layout, render};
use crate::routes::Site;
use crate::{names, twins};

/// Signatures are checked again for so many of the newest records; each has its own page.
const CHECKED_RECORDS: usize = 8;
/// More records are counted, not listed.
const MAX_RECORDS: usize = 50;
/// More repetitions stay in the twin.
const MAX_REPETITIONS: usize = 200;

#[derive(Template)]
#[template(path = "pages/result.html")]
struct ResultPage {
    layout: Layout,
    row: RowView,
    figures: Vec<Named>,
    families: Vec<Family>,
    chart: Option<DotsChart>,
    repetitions: Vec<Repetition>,
    more_repetitions: usize,
    provenance: Vec<ProvenanceLine>,
    records: Vec<RecordView>,
    more_records: usize,
    reproduce: String,
    received: String,
    suite: Option<String>,
    chip: String,
    backend: String,
}

struct Named {
    name: &'static str,
    note: String,
    cell: Cell,
}

struct Family {
    name: String,
    description: String,
    right: String,
    accuracy: String,
    interval: String,
    bar: Option<Bar>,
}

struct Repetition {
    rep: u32,
    record: String,
    record_href: String,
    decode: Option<String>,
    prefill: Option<String>,
    ttft: Option<String>,
    void: Option<String>,
}

/// A record in a list.
struct RecordView {
    href: String,
    short: String,
    tier: &'static str,
    received: String,
    outcome: String,
    signature: &'static str,
    findings: Vec<String>,
    envelope: String,
}

/// `GET /results/{id}` and its JSON twin.
pub(crate) async fn show(
    State(site): State<Site>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let (id, format) = twins::split(&id);
    let path = format!("/api/v1/results/{}", names::segment(id));
    match format {
        None => {}
        Some(twins::Format::Json) => return twins::pass(&site, &path, twins::Format::Json).await,
        Some(twins::Format::Csv) => {
            return Err(PageError::NotFound(
                "CSV of a single result: take /results.csv".to_owned(),
            ));
        }
    }
    let (detail, age) = site.client.read::<ResultDetail>(&path).await?;
    let mut signatures = Vec::new();
    for record in detail.records.iter().take(CHECKED_RECORDS) {
        let path = format!("/api/v1/records/{}", names::segment(&record.content_id));
        let checked = site.client.read::<RecordDetail>(&path).await;
        signatures.push(
            checked
                .ok()
                .filter(|(_, age)| age.is_none())
                .map(|(record, _)| record.signature_valid),
        );
    }
    let mut page = view(&detail, &signatures)?;
    page.layout.age = age;
    let twins = page.layout.twins.clone();
    render(StatusCode::OK, &page, &twins)
}

fn view(detail: &ResultDetail, signatures: &[Option<bool>]) -> Result<ResultPage, PageError> {
    let row = RowView::new(&detail.row);
    let title = format!("{} on {}", names::full(&detail.row), detail.row.setup_name);
    let description = format!(
        "Quality {}; decode {}.",
        format::quality(&detail.row).in_words(),
        format::decode(&detail.row).in_words()
    );
    let mut layout = Layout::new("", title, description);
    layout.twins = twins::json_of(&row.href);
    let records = detail.records.iter().enumerate().take(MAX_RECORDS);
    Ok(ResultPage {
        layout,
        figures: figures(detail),
        families: families(detail),
        chart: DotsChart::new(&detail.repetitions, detail.row.decode())?,
        repetitions: detail
            .repetitions
            .iter()
            .take(MAX_REPETITIONS)
            .map(repetition)
            .collect(),
        more_repetitions: detail.repetitions.len().saturating_sub(MAX_REPETITIONS),
        provenance: detail.provenance.clone(),
        records: records
            .map(|(i, one)| record(one, signatures.get(i).copied().flatten()))
            .collect(),
        more_records: detail.records.len().saturating_sub(MAX_RECORDS),
        reproduce: detail.reproduce.clone(),
        received: format::time(&detail.row.received_at),
        suite: detail.row.suite.clone(),
        chip: Some(&detail.row.chip)
            .filter(|chip| !detail.row.setup_name.contains(chip.as_str()))
            .cloned()
            .unwrap_or_default(),
        backend: detail.row.backend.clone(),
        row,
    })
}

fn figures(detail: &ResultDetail) -> Vec<Named> {
    let row = &detail.row;
    let scope = row
        .energy_scope
        .as_ref()
        .map(|scope| format!("scope {scope}"))
        .unwrap_or_default();
    let energy = row.energy_reason.as_deref();
    let speed = row.decode_reason.as_deref();
    let (usd, price_note) = price(row);
    let price = Cell {
        value: usd,
        unit: "",
        interval: None,
        n: 0,
        reason: if row.price_usd.is_none() {
            price_note.clone()
        } else {
            String::new()
        },
        with_unit: false,
    };
    let named = |name, note: &str, cell| Named {
        name,
        note: note.to_owned(),
        cell,
    };
    vec![
        named(
            "Quality",
            "share of the suite's items answered right",
            format::quality(row),
        ),
        named("Decode", "one stream, client view", format::decode(row)),
        named(
            "Prefill",
            "prompt tokens over time to first token: a lower bound",
            Cell::new(Quantity::Speed, row.prefill(), speed),
        ),
        named(
            "Time to first token",
            "median",
            Cell::new(Quantity::Milliseconds, row.ttft(), speed),
        ),
        named(
            "Peak memory",
            "resident, of the whole runner process; under quickstart, collector and site are in it",
            Cell::new(Quantity::Bytes, row.peak_memory(), None),
        ),
        named("Joules per correct answer", &scope, format::joules(row)),
        named(
            "Joules per output token",
            &scope,
            Cell::new(Quantity::Joules, row.joules_per_output_token(), energy),
        ),
        named(
            "Mean power",
            &scope,
            Cell::new(Quantity::Watts, row.mean_watts(), energy),
        ),
        named(
            "Price of the setup",
            if row.price_usd.is_some() {
                &price_note
            } else {
                ""
            },
            price,
        ),
    ]
}

fn families(detail: &ResultDetail) -> Vec<Family> {
    let percent = |share: f64| format::number(share * 100.0, 1);
    detail
        .families
        .iter()
        .map(|family| {
            let ci95 = (family.accuracy_ci95_low, family.accuracy_ci95_high);
            Family {
                name: family.family.clone(),
                description: family.description.clone(),
                right: format!("{} of {}", family.correct, family.items),
                accuracy: percent(family.accuracy),
                interval: format!("{}–{}", percent(ci95.0), percent(ci95.1)),
                bar: Bar::of(Some(family.accuracy), Some(ci95)),
            }
        })
        .collect()
}

fn repetition(point: &domain::api::RepetitionPoint) -> Repetition {
    Repetition {
        rep: point.rep,
        record: names::cut(&point.record, 10),
        record_href: format!("/records/{}", names::segment(&point.record)),
        decode: point.decode_tokens_per_second.map(format::rough),
        prefill: point.prefill_tokens_per_second.map(format::rough),
        ttft: point.ttft_ms.map(format::rough),
        void: point.void.clone(),
    }
}

fn record(summary: &RecordSummary, valid: Option<bool>) -> RecordView {
    let href = format!("/records/{}", names::segment(&summary.content_id));
    RecordView {
        envelope: format!("{href}/envelope"),
        href,
        short: names::cut(&summary.content_id, 16),
        tier: summary.tier.as_str(),
        received: format::time(&summary.received_at),
        outcome: summary.outcome.clone(),
        signature: signature_word(valid),
        findings: summary.findings.clone(),
    }
}

/// The state of a signature in words.
fn signature_word(valid: Option<bool>) -> &'static str {
    match valid {
        Some(true) => "valid",
        Some(false) => "does not verify",
        None => "not checked now: see the record",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::tests::{get, site};

    #[tokio::test]
    async fn every_number_has_unit_interval_and_n_or_says_that_it_is_not_recorded() {
        let answer = get(
            &site(sample::plain()),
            &format!("/results/{}", sample::RESULT),
        )
        .await;
        assert_eq!(answer.status, StatusCode::OK);
        for words in [
            "tok/s",
            "n = 210",
            "not recorded",
            "signature valid",
            "joulemark sweep",
        ] {
            assert!(answer.body.contains(words), "{words}");
        }
    }

    #[tokio::test]
    async fn the_twin_is_the_apis_bytes() {
        let page = get(
            &site(sample::plain()),
            &format!("/results/{}.json", sample::RESULT),
        )
        .await;
        assert_eq!(page.content_type, "application/json");
        let detail: ResultDetail = serde_json::from_str(&page.body).expect("JSON");
        assert_eq!(detail.row.id, sample::RESULT);
    }

    #[tokio::test]
    async fn an_unknown_result_is_a_helpful_404() {
        let answer = get(&site(sample::plain()), "/results/nothing").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(answer.body.contains("href=\"/models\""));
    }
}
