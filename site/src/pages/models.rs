//! Models: each with its variants, by what quantisation and pruning cost and save.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::api::ModelsAnswer;

use super::rows::{RowView, missing_everywhere};
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
    results.sort_by(|a, b| {
        (
            b.variant_bytes,
            &a.variant_sha256,
            &a.setup,
            &a.workload,
            &a.id,
        )
            .cmp(&(
                a.variant_bytes,
                &b.variant_sha256,
                &b.setup,
                &b.workload,
                &b.id,
            ))
    });
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
    let page = ModelPage {
        layout,
        name: model.name,
        arch: model.arch,
        params: format::count(model.params_total),
        variants: format::plural(model.variants as usize, "variant"),
        rows: results.iter().take(MAX_ROWS).map(RowView::new).collect(),
        caption: if results.len() > MAX_ROWS {
            "The first results, largest weights first; the JSON has all"
        } else {
            "Every variant, largest weights first; bars run from 0 to 100 %, with the 95 % interval"
        },
        with_setup: !one_setup,
        with_model: false,
        with_joules: joules.is_none(),
        notes,
    };
    render(StatusCode::OK, &page, &page.layout.twins)
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
        assert_eq!(
            get(&site(sample::plain()), "/models/none").await.status,
            StatusCode::NOT_FOUND
        );
    }
}
