//! Engines and their builds: how far from theory each is, the worst gap first.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::api::{BuildRow, EngineRow, EnginesAnswer};

use super::rows::RowView;
use crate::error::PageError;
use crate::format::{self, Cell, Quantity};
use crate::layout::{Layout, Twin, render};
use crate::routes::Site;
use crate::{names, twins};

/// More results stay in the twins.
const MAX_ROWS: usize = 200;

#[derive(Template)]
#[template(path = "pages/engines.html")]
struct EnginesPage {
    layout: Layout,
    engines: Vec<EngineView>,
}

/// An engine in the list; its shares are those of its newest build.
struct EngineView {
    href: Option<String>,
    name: String,
    builds: usize,
    results: usize,
    newest: Option<BuildView>,
}

#[derive(Template)]
#[template(path = "pages/engine.html")]
struct EnginePage {
    layout: Layout,
    name: String,
    builds: Vec<BuildView>,
}

/// A build in a list.
struct BuildView {
    href: Option<String>,
    version: String,
    flags: String,
    backend: String,
    results: usize,
    with_ceiling: u32,
    worst: Cell,
    median: Cell,
    received: String,
}

#[derive(Template)]
#[template(path = "pages/build.html")]
struct BuildPage {
    layout: Layout,
    engine: String,
    engine_href: Option<String>,
    build: BuildView,
    id: String,
    rows: Vec<RowView>,
    hidden: usize,
    with_setup: bool,
    only_setup: Option<(String, Option<String>)>,
}

/// `GET /engines`.
pub(crate) async fn list(State(site): State<Site>) -> Result<Response, PageError> {
    let (answer, age) = site.client.read::<EnginesAnswer>("/api/v1/engines").await?;
    let mut layout = Layout::new(
        "/engines",
        "Engines",
        "Every inference program that was measured, and how far from theory it is.",
    );
    layout.twins = both("/engines");
    layout.age = age;
    let engines = answer.engines.iter().map(|engine| EngineView {
        href: names::engine_path(&engine.slug),
        name: engine.name.clone(),
        builds: engine.builds.len(),
        results: engine.builds.iter().map(|build| build.rows.len()).sum(),
        newest: engine.builds.first().map(build_view),
    });
    let page = EnginesPage {
        engines: engines.collect(),
        layout,
    };
    render(StatusCode::OK, &page, &page.layout.twins)
}

/// `GET /engines/{slug}` and its twins.
pub(crate) async fn show(
    State(site): State<Site>,
    Path(slug): Path<String>,
) -> Result<Response, PageError> {
    let (slug, format) = twins::split(&slug);
    let path = format!("/api/v1/engines/{}", names::segment(slug));
    if let Some(format) = format {
        return twins::pass(&site, &path, format).await;
    }
    let (engine, age) = site.client.read::<EngineRow>(&path).await?;
    let mut layout = Layout::new(
        "/engines",
        engine.name.clone(),
        format!(
            "The builds of {} that were measured, and how far from theory each is.",
            engine.name
        ),
    );
    layout.twins = both(&format!("/engines/{}", names::segment(slug)));
    layout.age = age;
    let page = EnginePage {
        layout,
        name: engine.name.clone(),
        builds: engine.builds.iter().map(build_view).collect(),
    };
    render(StatusCode::OK, &page, &page.layout.twins)
}

/// `GET /engines/{slug}/{build}` and its twins.
pub(crate) async fn build(
    State(site): State<Site>,
    Path((slug, build)): Path<(String, String)>,
) -> Result<Response, PageError> {
    let (build, format) = twins::split(&build);
    let place = format!("{}/{}", names::segment(&slug), names::segment(build));
    let path = format!("/api/v1/engines/{place}");
    if let Some(format) = format {
        return twins::pass(&site, &path, format).await;
    }
    let (build, age) = site.client.read::<BuildRow>(&path).await?;
    let mut layout = Layout::new(
        "/engines",
        format!("{} {}", build.engine, build.version),
        format!(
            "What {} {} reaches of what each machine’s memory allows, the worst gap first.",
            build.engine, build.version
        ),
    );
    layout.twins = both(&format!("/engines/{place}"));
    layout.age = age;
    let one_setup = build
        .rows
        .windows(2)
        .all(|pair| pair[0].setup == pair[1].setup);
    let page = BuildPage {
        layout,
        engine_href: names::engine_path(&build.engine_slug),
        id: build.build.clone(),
        rows: build.rows.iter().take(MAX_ROWS).map(RowView::new).collect(),
        hidden: build.rows.len().saturating_sub(MAX_ROWS),
        with_setup: !one_setup,
        only_setup: build
            .rows
            .first()
            .filter(|_| one_setup)
            .map(|row| (row.setup_name.clone(), names::setup_path(&row.setup))),
        engine: build.engine.clone(),
        build: build_view(&build),
    };
    render(StatusCode::OK, &page, &page.layout.twins)
}

fn both(page: &str) -> Vec<Twin> {
    let mut twins = twins::json_of(page);
    twins.push(Twin {
        href: format!("{page}.csv"),
        kind: "text/csv",
        name: "CSV",
    });
    twins
}

fn build_view(build: &BuildRow) -> BuildView {
    let share = |value| {
        Cell::alone(
            Quantity::OfTheory,
            value,
            Some("none of its results has a ceiling"),
        )
        .bare()
    };
    BuildView {
        href: names::build_path(&build.engine_slug, &build.build),
        version: build.version.clone(),
        flags: build.flags.clone(),
        backend: build.backend.clone(),
        results: build.rows.len(),
        with_ceiling: build.with_ceiling,
        worst: share(build.worst_of_theory),
        median: share(build.median_of_theory),
        received: format::time(&build.received_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::tests::{get, site};

    /// A build that has a worst gap, a result above theory, and one without a ceiling.
    const LLAMA_BUILD: &str = "/engines/llama-cpp/0011223344aa";

    #[tokio::test]
    async fn a_build_has_its_worst_gap_first_and_what_has_no_ceiling_last() {
        let page = get(&site(sample::engines()), LLAMA_BUILD).await;
        assert_eq!(page.status, StatusCode::OK);
        let places: Vec<usize> = ["s-c4, 4 at once", "above theory", "nothing to hold"]
            .into_iter()
            .map(|words| page.body.find(words).expect(words))
            .collect();
        assert!(places.is_sorted(), "{places:?}");
    }

    #[tokio::test]
    async fn every_engine_is_listed_with_its_builds() {
        let site = site(sample::engines());
        let list = get(&site, "/engines").await;
        for name in ["candle", "llama.cpp", "mlx-lm", "llama-bench"] {
            assert!(list.body.contains(name), "{name}");
        }
        let engine = get(&site, "/engines/llama-cpp").await;
        assert!(engine.body.contains("b4321") && engine.body.contains("b4400"));
        assert_eq!(
            get(&site, "/engines/none").await.status,
            StatusCode::NOT_FOUND
        );
        let none = get(&site, "/engines/llama-cpp/none").await;
        assert_eq!(none.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn twins_are_the_apis_bytes() {
        let site = site(sample::engines());
        let json = get(&site, "/engines.json").await;
        let list: EnginesAnswer = serde_json::from_str(&json.body).expect("JSON");
        assert_eq!(list.engines.len(), 4);
        let json = get(&site, &format!("{LLAMA_BUILD}.json")).await;
        let build: BuildRow = serde_json::from_str(&json.body).expect("JSON");
        let csv = get(&site, &format!("{LLAMA_BUILD}.csv")).await;
        assert_eq!(csv.content_type, "text/csv; charset=utf-8");
        assert_eq!(csv.body.lines().count(), 1 + build.rows.len());
    }
}
