//! Stylesheets, icon and the scripts of trends: compiled in, served under names that carry their digest, so that
//! a browser may keep them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

const SCRIPT: &str = "text/javascript; charset=utf-8";

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

/// The drawing library of trends, as published: see `static/vendor`.
pub(crate) static PLOT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "uplot-1.6.32",
        "js",
        SCRIPT,
        include_str!("../static/vendor/uplot-1.6.32/uPlot.iife.min.js"),
    )
});
/// Its stylesheet.
pub(crate) static PLOT_STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "uplot-1.6.32",
        "css",
        "text/css; charset=utf-8",
        include_str!("../static/vendor/uplot-1.6.32/uPlot.min.css"),
    )
});
/// Its licence, which goes wherever it goes.
pub(crate) static PLOT_LICENCE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "uplot-1.6.32-licence",
        "txt",
        "text/plain; charset=utf-8",
        include_str!("../static/vendor/uplot-1.6.32/LICENSE"),
    )
});
/// Our own script of trends.
pub(crate) static TRENDS: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("trends", "js", SCRIPT, include_str!("../static/trends.js")));

/// `GET /static/{name}`.
pub(crate) async fn show(Path(name): Path<String>) -> Response {
    for asset in [
        &*STYLE,
        &*ICON,
        &*PLOT,
        &*PLOT_STYLE,
        &*PLOT_LICENCE,
        &*TRENDS,
    ] {
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzipped(asset: &Asset) -> usize {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(asset.body.as_bytes()).expect("memory");
        packed.finish().expect("memory").len()
    }

    #[test]
    fn what_is_sent_along_stays_small() {
        let scripts = gzipped(&PLOT) + gzipped(&TRENDS);
        assert!(scripts <= 35_000, "{scripts} bytes of scripts on trends");
        let styles = gzipped(&STYLE) + gzipped(&PLOT_STYLE);
        assert!(styles <= 12_000, "{styles} bytes of styles on trends");
    }

    #[test]
    fn the_drawing_library_is_the_published_one() {
        let digest = |asset: &Asset| hex::encode(Sha256::digest(asset.body.as_bytes()));
        assert_eq!(
            digest(&PLOT),
            "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"
        );
        assert_eq!(
            digest(&PLOT_STYLE),
            "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"
        );
        assert!(PLOT_LICENCE.body.contains("MIT License"));
    }

    #[test]
    fn our_script_asks_nobody_else_and_writes_no_markup() {
        for banned in [
            "http:",
            "https:",
            "//cdn",
            "innerHTML",
            "eval(",
            "setAttribute(\"style",
        ] {
            assert!(!TRENDS.body.contains(banned), "{banned}");
        }
    }
}
