//! Results of other tools: a layer of their own, in no median and on no front.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, HeaderValue};
use axum::response::Response;
use domain::api::{ImportRow, ImportsAnswer};

use crate::error::PageError;
use crate::format;
use crate::layout::{Layout, render};
use crate::names;
use crate::routes::Site;
use crate::twins;

#[derive(Template)]
#[template(path = "pages/imports.html")]
struct ImportsPage {
    layout: Layout,
    rows: Vec<ImportView>,
    next: Option<String>,
}

struct ImportView {
    tool: String,
    test: String,
    model: String,
    /// As the file says.
    place: String,
    /// As the importer says.
    setup: Option<String>,
    prefill: Option<String>,
    decode: Option<String>,
    ttft: Option<String>,
    other: Vec<String>,
    failed: Option<String>,
    notes: Vec<String>,
    file: String,
    file_href: String,
    record_href: String,
    source: Option<String>,
    source_href: Option<String>,
    licence: Option<String>,
    redactions: u32,
}

/// `GET /imports`.
pub(crate) async fn show(
    State(site): State<Site>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let asked = twins::asked(query);
    let path = format!("/api/v1/imports{asked}");
    let (answer, age) = site.client.read::<ImportsAnswer>(&path).await?;
    let mut layout = Layout::new(
        "",
        "Imported results",
        "Results of other tools, as their files say: shown apart from what was measured here.",
    );
    layout.age = age;
    layout.twins = twins::of("/imports", &asked);
    let page = ImportsPage {
        layout,
        rows: answer.rows.iter().map(view).collect(),
        next: answer
            .next
            .map(|cursor| format!("/imports?cursor={}", names::segment(&cursor))),
    };
    render(StatusCode::OK, &page, &page.layout.twins)
}

/// `GET /imports/{id}/file`: the API's bytes, never shown as a page.
pub(crate) async fn file(
    State(site): State<Site>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let path = format!("/api/v1/imports/{}/file", names::segment(&id));
    let mut response = twins::pass(&site, &path, twins::Format::Json).await?;
    response
        .headers_mut()
        .insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(response)
}

fn view(import: &ImportRow) -> ImportView {
    let row = &import.row;
    let known = |parts: &[&Option<String>]| {
        let given: Vec<&str> = parts.iter().filter_map(|part| part.as_deref()).collect();
        given.join(", ")
    };
    let speed = |value: Option<f64>, sd: Option<f64>| {
        value.map(|value| match sd {
            Some(sd) => format!("{} ± {}", format::rough(value), format::rough(sd)),
            None => format::rough(value),
        })
    };
    let mut other = Vec::new();
    let mut add = |name: &str, value: Option<f64>, unit: &str| {
        if let Some(value) = value {
            other.push(format!("{name} {}{unit}", format::rough(value)));
        }
    };
    add(
        "all streams",
        row.aggregate_decode_tokens_per_second,
        " tok/s",
    );
    add("TPOT", row.tpot_ms, " ms");
    add("request", row.request_ms, " ms");
    add("", row.joules_per_output_token, " J per output token");
    add("", row.energy_joules, " J");
    if let (Some(metric), Some(score)) = (&row.metric, row.score) {
        let spread = row
            .score_se
            .map_or_else(String::new, |se| format!(" ± {}", format::rough(se)));
        other.push(format!("{metric} {}{spread}", format::rough(score)));
    }
    let source = import.source.clone();
    ImportView {
        tool: row
            .format
            .map_or_else(String::new, |format| format.to_string()),
        test: row.test.clone(),
        model: known(&[&row.model, &row.quant]),
        place: known(&[
            &row.hardware,
            &row.backend,
            &row.engine,
            &row.engine_version,
        ]),
        setup: import.setup.clone(),
        prefill: speed(
            row.prefill_tokens_per_second,
            row.prefill_tokens_per_second_sd,
        ),
        decode: speed(
            row.decode_tokens_per_second,
            row.decode_tokens_per_second_sd,
        ),
        ttft: row.ttft_ms.map(format::rough),
        other,
        failed: row.failed.clone(),
        notes: row.notes.clone(),
        file: import.file.clone(),
        file_href: format!("/imports/{}/file", names::segment(&import.import)),
        record_href: format!("/records/{}", names::segment(&import.import)),
        source_href: source
            .as_deref()
            .filter(|url| url.starts_with("https://"))
            .map(str::to_owned),
        source,
        licence: import.licence.clone(),
        redactions: import.redactions,
    }
}

#[cfg(test)]
mod tests {
    use crate::sample;
    use crate::tests::{get, site};

    #[tokio::test]
    async fn a_failed_run_has_no_speed_and_every_file_leads_to_its_bytes() {
        let page = get(&site(sample::priced()), "/imports").await;
        for part in [
            "61.4 ± 0.3",
            "none of 640 requests was completed",
            "/file\"",
            "in no median",
        ] {
            assert!(page.body.contains(part), "{part}");
        }
        let empty = get(&site(sample::empty()), "/imports").await;
        assert!(empty.body.contains("joulemark import FILE"));
    }

    #[tokio::test]
    async fn a_frontier_has_imported_rows_only_when_asked_and_draws_them_without_standing() {
        let asked = "/frontier?axes=price-decode&imported=1";
        let page = get(&site(sample::priced()), asked).await;
        assert!(page.body.contains("Imported, by your choice"));
        assert!(
            page.body
                .contains("imported: another tool’s figure, with no standing")
        );
        let plain = get(&site(sample::priced()), "/frontier?axes=price-decode").await;
        assert!(!plain.body.contains("Imported, by your choice"));
    }

    #[tokio::test]
    async fn hostile_names_stay_text() {
        let page = get(&site(sample::hostile()), "/imports").await;
        assert!(!page.body.contains("<script>alert"));
    }
}
