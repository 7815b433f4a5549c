//! Models: each with its variants, by what quantisation and pruning cost and save.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::api::{ModelsAnswer, ResultRow};

use super::rows::{RowView, missing_everywhere, missing_theory};
use crate::error::PageError;
use crate::layout::{Layout, render};
use crate::routes::Site;
use crate::{format, names, twins};

/// More results stay in the twin.
const MAX_ROWS: usize = 200;

#[derive(Template)]
#[template(path = "pages/models.html")]
struct ModelsPage {
    layout: Layout,
    models: Vec<ModelView>,
}

struct ModelView {
    href: String,
    name: String,
    arch: String,
    params: String,
    variants: u32,
    results: usize,
}

#[derive(Template)]
#[template(path = "pages/model.html")]
struct ModelPage {
    layout: Layout,
    name: String,
    arch: String,
    params: String,
    variants: String,
    rows: Vec<RowView>,
    caption: &'static str,
    notes: Vec<String>,
    with_joules: bool,
    with_setup: bool,
    with_model: bool,
}

/// `GET /models`.
pub(crate) async fn list(State(site): State<Site>) -> Result<Response, PageError> {
    let (answer, age) = site.client.read::<ModelsAnswer>("/api/v1/models").await?;
    let mut layout = Layout::new(
        "/models",
        "Models",
        "Every model that was measured, with its variants.",
    );
    layout.twins = twins::json_of("/models");
    layout.age = age;
    let models = answer
        .models
        .into_iter()
        .map(|model| ModelView {
            href: format!("/models/{}", names::segment(&model.slug)),
            name: model.name,
            arch: model.arch,
            params: format::count(model.params_total),
            variants: model.variants,
            results: model.results.len(),
        })
        .collect();
    let page = ModelsPage { layout, models };
    render(StatusCode::OK, &page, &page.layout.twins)
}

/// `GET /models/{slug}`.
pub(crate) async fn show(
    State(site): State<Site>,
    Path(slug): Path<String>,
) -> Result<Response, PageError> {
    let (answer, age) = site.client.read::<ModelsAnswer>("/api/v1/models").await?;
    let model = answer
        .models
        .into_iter()
        .find(|model| model.slug == slug)
        .ok_or_else(|| PageError::NotFound(format!("model {}", names::cut(&slug, 64))))?;
    let mut layout = Layout::new(
        "/models",
        model.name.clone(),
        format!(
            "What quantisation and pruning do to {}: quality, speed, memory.",
            model.name
        ),
    );
    layout.age = age;
    layout.twins = twins::json_of("/models");
    let mut results = model.results;
    side_by_side(&mut results);
    let engines = names::Engines::of(results.iter());
    let joules = missing_everywhere(
        "Joules per correct answer",
        results.iter().map(|row| {
            (
                row.joules_per_correct_answer.is_some(),
                row.energy_reason.as_deref(),
            )
        }),
    );
    let one_setup = results
        .windows(2)
        .all(|pair| pair[0].setup == pair[1].setup);
    let mut notes: Vec<String> = joules
        .iter()
        .filter(|_| !results.is_empty())
        .cloned()
        .collect();
    if let (true, Some(first)) = (one_setup, results.first()) {
        notes.insert(
            0,
            format!("All of it was measured on {}.", first.setup_name),
        );
    }
    let theory = missing_theory(&results);
    notes.extend(theory.iter().cloned());
    let page = ModelPage {
        layout,
        name: model.name,
        arch: model.arch,
        params: format::count(model.params_total),
        variants: format::plural(model.variants as usize, "variant"),
        rows: results
            .iter()
            .take(MAX_ROWS)
            .map(|row| RowView::among(row, &engines))
            .collect(),
        caption: if results.len() > MAX_ROWS {
            "The first results, largest weights first; the JSON has all"
        } else {
            "Every result, largest weights first; of one workload the fastest first"
        },
        with_setup: !one_setup,
        with_model: false,
        with_joules: joules.is_none(),
        notes,
    };
    render(StatusCode::OK, &page, &page.layout.twins)
}

/// Largest weights first; the results of one variant, setup and workload stand together, the
/// fastest first, so that engines compare at a glance. A format of the same precision is the
/// same variant here, though it is another file.
fn side_by_side(results: &mut [ResultRow]) {
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for row in results.iter() {
        let size = sizes.entry(names::variant(row)).or_default();
        *size = row.variant_bytes.max(*size);
    }
    // By the engine's own clock after all by the client's: they are not compared.
    let slowness = |row: &ResultRow| {
        let client = row.decode_tokens_per_second;
        let engine = row.engine_decode_tokens_per_second;
        (client.is_none(), -client.or(engine).unwrap_or(0.0))
    };
    results.sort_by(|a, b| {
        let (ours, theirs) = (names::variant(a), names::variant(b));
        (sizes[&theirs], &ours, &a.setup)
            .cmp(&(sizes[&ours], &theirs, &b.setup))
            .then_with(|| names::workload(a).cmp(&names::workload(b)))
            .then_with(|| {
                let (ours, theirs) = (slowness(a), slowness(b));
                ours.0
                    .cmp(&theirs.0)
                    .then_with(|| ours.1.total_cmp(&theirs.1))
            })
            .then_with(|| a.id.cmp(&b.id))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::tests::{get, site};

    #[tokio::test]
    async fn a_model_page_has_all_its_variants_largest_first() {
        let page = get(&site(sample::plain()), "/models/joulemark-reference-3-5m").await;
        assert_eq!(page.status, StatusCode::OK);
        let (f16, q2) = (
            page.body.find("F16").expect("F16"),
            page.body.find("Q2_K").expect("Q2_K"),
        );
        assert!(f16 < q2);
        assert!(
            !page.body.contains("/engines/candle"),
            "with one engine there is nothing to tell apart"
        );
        assert_eq!(
            get(&site(sample::plain()), "/models/none").await.status,
            StatusCode::NOT_FOUND
        );
    }

    #[tokio::test]
    async fn engines_stand_side_by_side_the_fastest_first() {
        let page = get(&site(sample::engines()), "/models/joulemark-reference-3-5m").await;
        // Of F16 on the machine that has all three engines; the best of 4 is another workload.
        let of_one_workload: Vec<usize> = ["2,870", "1,466", "1,190", "2,840"]
            .into_iter()
            .map(|speed| page.body.find(&format!(">{speed}<")).expect(speed))
            .collect();
        assert!(of_one_workload.is_sorted(), "{of_one_workload:?}");
        for engine in ["llama.cpp b4400", "candle 0.11.1", "mlx-lm 0.29.1"] {
            assert!(page.body.contains(engine), "{engine}");
        }
    }
}
