//! The route table.

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::get;

use crate::results::Client;
use crate::{SiteOptions, assets, badges, cache, feeds, pages, twins};

/// What handlers share.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// The read API.
    pub(crate) client: Client,
    /// The caller's choices.
    pub(crate) options: SiteOptions,
}

/// All pages, twins and assets. Unknown paths get the site's own 404 page by the router's
/// fallback: serve this router as the fallback of others (`api.fallback_service(site)`), or
/// send it what does not begin with `/api/`.
pub fn router(client: Client, options: SiteOptions) -> Router {
    Router::new()
        .route("/", get(pages::home::show))
        .route("/frontier", get(pages::home::show))
        .route("/frontier.svg", get(pages::home::drawing))
        .route("/frontier/{preset}", get(pages::home::preset))
        .route("/results/{id}", get(pages::result::show))
        .route("/records/{id}", get(pages::record::show))
        .route("/records/{id}/envelope", get(pages::record::envelope))
        .route("/models", get(pages::models::list))
        .route("/models/{slug}", get(pages::model::show))
        .route("/tasks", get(pages::tasks::show))
        .route("/imports", get(pages::imports::show))
        .route("/imports/{id}/file", get(pages::imports::file))
        .route("/engines", get(pages::engines::list))
        .route("/engines/{slug}", get(pages::engines::show))
        .route("/engines/{slug}/{build}", get(pages::engines::build))
        .route("/regressions", get(pages::regressions::list))
        .route("/regressions.atom", get(feeds::regressions))
        .route("/regressions/{engine}", get(pages::regressions::engine))
        .route("/series/{id}", get(pages::series::show))
        .route("/gates/{id}", get(pages::gate::show))
        .route("/badge/{kind}/{name}", get(badges::show))
        .route("/compare", get(pages::compare::show))
        .route("/hardware", get(pages::hardware::list))
        .route("/hardware/{slug}", get(pages::hardware::show))
        .route("/setups/{slug}", get(pages::hardware::setup))
        .route("/methodology", get(pages::words::methodology))
        .route("/glossary", get(pages::words::glossary))
        .route("/robots.txt", get(pages::words::robots))
        .route("/static/{name}", get(assets::show))
        .route("/favicon.ico", get(assets::icon))
        .route("/{list}", get(twins::list))
        .fallback(pages::words::nothing)
        .layer(from_fn(cache::headers))
        .with_state(Site { client, options })
}
