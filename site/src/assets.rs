//! Stylesheet and icon: compiled in, served under names that carry their digest, so that
//! a browser may keep them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

/// One file of `static/`.
pub(crate) struct Asset {
    name: String,
    content_type: &'static str,
    body: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, body: &'static str) -> Self {
        let digest = hex::encode(&Sha256::digest(body.as_bytes())[..6]);
        Self {
            name: format!("{stem}-{digest}.{extension}"),
            content_type,
            body,
        }
    }

    /// Its path on this site.
    pub(crate) fn path(&self) -> String {
        format!("/static/{}", self.name)
    }
}

/// The one stylesheet.
pub(crate) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "site",
        "css",
        "text/css; charset=utf-8",
        include_str!("../static/site.css"),
    )
});
/// The icon.
pub(crate) static ICON: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "icon",
        "svg",
        "image/svg+xml",
        include_str!("../static/icon.svg"),
    )
});

/// `GET /static/{name}`.
pub(crate) async fn show(Path(name): Path<String>) -> Response {
    for asset in [&*STYLE, &*ICON] {
        if asset.name == name {
            return immutable(asset);
        }
    }
    StatusCode::NOT_FOUND.into_response()
}

/// `GET /favicon.ico` and `/favicon.svg`: browsers ask for these names unbidden.
pub(crate) async fn icon() -> Response {
    (
        [
            (CONTENT_TYPE, ICON.content_type),
            (CACHE_CONTROL, "max-age=86400"),
        ],
        ICON.body,
    )
        .into_response()
}

fn immutable(asset: &Asset) -> Response {
    (
        [
            (CONTENT_TYPE, asset.content_type),
            (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        ],
        asset.body,
    )
        .into_response()
}
