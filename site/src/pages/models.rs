//! Models: what was measured.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::api::ModelsAnswer;

use crate::error::PageError;
use crate::layout::{Layout, render};
use crate::routes::Site;
use crate::{format, names, twins};

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
