//! Hardware and setups: sourced facts, dated prices, what was measured on them.

use std::time::Duration;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::api::{HardwareAnswer, HardwareRow, ResultRow, ResultsAnswer, SetupRow};
use domain::hardware::{Confidence, HardwareKind};

use super::rows::RowView;
use crate::error::PageError;
use crate::layout::{Layout, render};
use crate::routes::Site;
use crate::{format, names, twins};

/// More results stay in the lists of all results.
const MAX_ROWS: usize = 200;
/// The collector's list is read for a setup's results up to so many pages of 1,000.
const MAX_PAGES: usize = 8;

#[derive(Template)]
#[template(path = "pages/hardware.html")]
struct HardwarePage {
    layout: Layout,
    parts: Vec<PartView>,
    setups: Vec<SetupView>,
}

#[derive(Template)]
#[template(path = "pages/part.html")]
struct PartPage {
    layout: Layout,
    part: PartView,
    facts: Vec<(&'static str, Option<String>)>,
    sources: Vec<Source>,
    setups: Vec<SetupView>,
}

#[derive(Template)]
#[template(path = "pages/setup.html")]
struct SetupPage {
    layout: Layout,
    setup: SetupView,
    source: Option<Source>,
    rows: Vec<RowView>,
    caption: String,
    /// What was not read.
    note: Option<String>,
    with_joules: bool,
    with_setup: bool,
    with_model: bool,
}

struct PartView {
    href: String,
    name: String,
    vendor: String,
    kind: &'static str,
    memory: Option<String>,
    bandwidth: Option<String>,
    compute: Option<String>,
    released: Option<String>,
    results: u32,
}

impl PartView {
    /// The table's columns that may be missing.
    fn columns(&self) -> [Option<&str>; 4] {
        [&self.memory, &self.bandwidth, &self.compute, &self.released].map(|value| value.as_deref())
    }
}

struct SetupView {
    href: String,
    name: String,
    /// Text and, where the part has a page, its path.
    parts: Vec<(String, Option<String>)>,
    price: Option<String>,
    price_note: String,
    results: u32,
}

struct Source {
    text: String,
    /// Only web addresses become links.
    href: Option<String>,
}

impl Source {
    fn new(text: &str) -> Self {
        let is_web = text.starts_with("https://") || text.starts_with("http://");
        Self {
            text: text.to_owned(),
            href: is_web.then(|| text.to_owned()),
        }
    }
}

async fn read(site: &Site) -> Result<(HardwareAnswer, Layout), PageError> {
    let (answer, age) = site
        .client
        .read::<HardwareAnswer>("/api/v1/hardware")
        .await?;
    let mut layout = Layout::new(
        "/hardware",
        "Hardware",
        "Parts, machines and setups: sourced facts, dated prices, results.",
    );
    layout.age = age;
    layout.twins = twins::json_of("/hardware");
    Ok((answer, layout))
}

/// `GET /hardware`.
pub(crate) async fn list(State(site): State<Site>) -> Result<Response, PageError> {
    let (answer, layout) = read(&site).await?;
    let page = HardwarePage {
        layout,
        parts: answer.hardware.iter().map(part_view).collect(),
        setups: answer
            .setups
            .iter()
            .map(|setup| setup_view(setup, &answer))
            .collect(),
    };
    render(StatusCode::OK, &page, &page.layout.twins)
}

/// `GET /hardware/{slug}`.
pub(crate) async fn show(
    State(site): State<Site>,
    Path(slug): Path<String>,
) -> Result<Response, PageError> {
    let (answer, mut layout) = read(&site).await?;
    let row = answer
        .hardware
        .iter()
        .find(|row| row.slug == slug)
        .ok_or_else(|| PageError::NotFound(format!("hardware {}", names::cut(&slug, 64))))?;
    layout.title.clone_from(&row.name);
    let number = |value: Option<f64>, unit: &str| {
        value.map(|value| format!("{} {unit}", format::rough(value)))
    };
    let confidence = match row.confidence {
        Confidence::High => "high: two independent sources or a vendor document agree",
        Confidence::Medium => "medium: one good source, or partly derived",
    };
    let page = PartPage {
        layout,
        facts: vec![
            ("Memory", number(row.memory_gb, "GB")),
            (
                "One memory for CPU and GPU",
                row.unified
                    .map(|yes| if yes { "yes" } else { "no" }.to_owned()),
            ),
            (
                "Memory bandwidth, data sheet",
                number(row.memory_bandwidth_gb_s, "GB/s"),
            ),
            (
                "FP16 compute, dense, data sheet",
                number(row.fp16_dense_tflops, "TFLOPS"),
            ),
            ("Which compute that is", row.fp16_basis.clone()),
            ("Rated power", number(row.tdp_w, "W")),
            ("Whole machine, idle, at the wall", number(row.idle_w, "W")),
            ("First sold", row.release_date.clone()),
            ("Confidence", Some(confidence.to_owned())),
        ],
        sources: row
            .sources
            .iter()
            .map(|source| Source::new(source))
            .collect(),
        setups: answer
            .setups
            .iter()
            .filter(|setup| setup.parts.iter().any(|part| part_slug(part) == row.slug))
            .map(|setup| setup_view(setup, &answer))
            .collect(),
        part: part_view(row),
    };
    render(StatusCode::OK, &page, &page.layout.twins)
}

/// `GET /setups/{slug}`.
pub(crate) async fn setup(
    State(site): State<Site>,
    Path(slug): Path<String>,
) -> Result<Response, PageError> {
    let (answer, mut layout) = read(&site).await?;
    let row = answer
        .setups
        .iter()
        .find(|row| row.slug == slug)
        .ok_or_else(|| PageError::NotFound(format!("setup {}", names::cut(&slug, 64))))?;
    layout.title.clone_from(&row.name);
    let (here, unread, results_age) = measured_on(&site, row).await?;
    layout.age = layout.age.or(results_age);
    let engines = names::Engines::of(here.iter());
    let page = SetupPage {
        layout,
        setup: setup_view(row, &answer),
        source: row.price.as_ref().map(|price| Source::new(&price.source)),
        caption: match (here.len() > MAX_ROWS, unread) {
            (true, _) => format!("The first {MAX_ROWS} results on this setup"),
            (false, true) => "Some of the results on this setup".to_owned(),
            (false, false) => "All results on this setup".to_owned(),
        },
        note: unread.then(|| {
            format!(
                "Looked for among the collector's first {} results; it has more.",
                format::number((MAX_PAGES * 1_000) as f64, 0)
            )
        }),
        with_joules: here
            .iter()
            .any(|row| row.joules_per_correct_answer.is_some()),
        with_setup: false,
        with_model: true,
        rows: here
            .iter()
            .take(MAX_ROWS)
            .map(|row| RowView::among(row, &engines))
            .collect(),
    };
    render(StatusCode::OK, &page, &page.layout.twins)
}

/// Results on a setup, whether some may lie beyond [`MAX_PAGES`], and the age of an answer of
/// before. Reading ends early when as many were found as the setup has, or a page can show.
async fn measured_on(
    site: &Site,
    setup: &SetupRow,
) -> Result<(Vec<ResultRow>, bool, Option<Duration>), PageError> {
    let wanted = (setup.results as usize).min(MAX_ROWS + 1);
    let (mut here, mut oldest) = (Vec::new(), None);
    let mut path = "/api/v1/results?limit=1000".to_owned();
    for _ in 0..MAX_PAGES {
        let (page, age) = site.client.read::<ResultsAnswer>(&path).await?;
        oldest = oldest.max(age);
        here.extend(page.rows.into_iter().filter(|row| row.setup == setup.slug));
        let Some(cursor) = page.next.filter(|_| here.len() < wanted) else {
            return Ok((here, false, oldest));
        };
        path = format!(
            "/api/v1/results?limit=1000&cursor={}",
            names::segment(&cursor)
        );
    }
    Ok((here, true, oldest))
}

fn part_view(row: &HardwareRow) -> PartView {
    PartView {
        href: format!("/hardware/{}", names::segment(&row.slug)),
        name: row.name.clone(),
        vendor: row.vendor.clone(),
        kind: match row.kind {
            HardwareKind::Gpu => "graphics card",
            HardwareKind::Cpu => "processor",
            HardwareKind::Soc => "whole machine or board",
        },
        memory: row.memory_gb.map(format::rough),
        bandwidth: row.memory_bandwidth_gb_s.map(format::rough),
        compute: row.fp16_dense_tflops.map(format::rough),
        released: row.release_date.clone(),
        results: row.results,
    }
}

fn setup_view(row: &SetupRow, answer: &HardwareAnswer) -> SetupView {
    let (price, price_note) = match &row.price {
        Some(price) => (
            Some(format::usd(price.usd)),
            format!("{} {}", price.kind.in_words(), price.date),
        ),
        None => (None, row.price_reason.clone().unwrap_or_default()),
    };
    let parts = row.parts.iter().map(|part| {
        let slug = part_slug(part);
        match answer.hardware.iter().find(|row| row.slug == slug) {
            Some(hardware) => {
                let count = part.split(' ').next().filter(|count| *count != "1");
                let text = count.map_or_else(
                    || hardware.name.clone(),
                    |count| format!("{count} × {}", hardware.name),
                );
                (text, Some(format!("/hardware/{}", names::segment(slug))))
            }
            None => (part.clone(), None),
        }
    });
    SetupView {
        href: format!("/setups/{}", names::segment(&row.slug)),
        name: row.name.clone(),
        parts: parts.collect(),
        price,
        price_note,
        results: row.results,
    }
}

/// The slug in `2 x rtx-3090`.
fn part_slug(part: &str) -> &str {
    part.rsplit(' ').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use axum::extract::RawQuery;
    use axum::routing;
    use axum::{Json, Router};

    use super::*;
    use crate::sample;
    use crate::tests::{get, site};

    /// The sample's hardware; one result of a setup on page `on` of `pages` pages.
    fn paged(on: usize, pages: usize) -> Router {
        let list = move |RawQuery(query): RawQuery| async move {
            let query = query.unwrap_or_default();
            let (_, cursor) = query.rsplit_once("cursor=").unwrap_or(("", "1"));
            let page: usize = cursor.parse().unwrap_or(1);
            let row = |setup: &str| ResultRow {
                id: format!("{page:016x}"),
                model: "Far away".to_owned(),
                setup: setup.to_owned(),
                ..ResultRow::default()
            };
            Json(ResultsAnswer {
                data_version: "1".to_owned(),
                licence: String::new(),
                rows: vec![row(if page == on { "pc-rtx-3090" } else { "mini-16" })],
                next: (page < pages).then(|| (page + 1).to_string()),
            })
        };
        Router::new()
            .route("/api/v1/results", routing::get(list))
            .fallback_service(sample::plain())
    }

    #[tokio::test]
    async fn results_on_a_later_page_of_the_list_are_found() {
        let page = get(&site(paged(3, 5)), "/setups/pc-rtx-3090").await;
        assert!(page.body.contains("Far away"), "{}", page.body);
        assert!(page.body.contains("All results on this setup"));
    }

    #[tokio::test]
    async fn where_the_list_is_too_long_to_read_the_page_says_so() {
        let none_yet = get(&site(paged(100, 100)), "/setups/pc-rtx-3090").await;
        assert!(
            !none_yet.body.contains("Nothing yet"),
            "it cannot know that"
        );
        assert!(none_yet.body.contains("first 8,000 results; it has more"));
        let one = get(&site(paged(2, 100)), "/setups/pc-rtx-3090").await;
        assert!(one.body.contains("Some of the results on this setup"));
    }

    #[tokio::test]
    async fn facts_that_nobody_recorded_say_so() {
        let page = get(&site(sample::plain()), "/hardware/rtx-3090").await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.body.contains("not recorded"));
        assert_eq!(
            get(&site(sample::plain()), "/hardware/none").await.status,
            StatusCode::NOT_FOUND
        );
    }

    #[tokio::test]
    async fn a_price_always_stands_with_its_date_and_kind() {
        let page = get(&site(sample::plain()), "/setups/pc-rtx-3090").await;
        assert!(
            page.body.contains("$1,450") && page.body.contains("street price 2026-11-10"),
            "{}",
            page.body
        );
    }

    #[test]
    fn a_source_that_is_no_web_address_is_no_link() {
        assert_eq!(Source::new("javascript:alert(1)").href, None);
        assert!(Source::new("https://example.com/").href.is_some());
    }
}
