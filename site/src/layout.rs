//! What every page shares: title, navigation, alternates, banners.

use std::time::Duration;

use askama::Template;
use axum::http::header::LINK;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};

use crate::error::PageError;

/// A twin of the page in another format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Twin {
    /// Path and query.
    pub(crate) href: String,
    /// Media type.
    pub(crate) kind: &'static str,
    /// `JSON`, `CSV`, `SVG`, or what a feed has.
    pub(crate) name: &'static str,
}

/// Navigation: path, name.
pub(crate) const NAVIGATION: [(&str, &str); 8] = [
    ("/", "Frontier"),
    ("/models", "Models"),
    ("/tasks", "Tasks"),
    ("/engines", "Engines"),
    ("/hardware", "Hardware"),
    ("/regressions", "Regressions"),
    ("/methodology", "Methodology"),
    ("/glossary", "Glossary"),
];

/// The frame around a page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    /// The stylesheet's path.
    pub(crate) style: String,
    /// The icon's path.
    pub(crate) icon: String,
    /// Of the window.
    pub(crate) title: String,
    /// One sentence for search engines and link previews.
    pub(crate) description: String,
    /// Path of the navigation entry that is this page.
    pub(crate) section: &'static str,
    /// The same in other formats.
    pub(crate) twins: Vec<Twin>,
    /// Age of the data when the collector is away.
    pub(crate) age: Option<Duration>,
    /// Seconds until the page loads itself again.
    pub(crate) refresh: Option<u32>,
}

impl Layout {
    /// A page under a navigation entry.
    pub(crate) fn new(
        section: &'static str,
        title: impl Into<String>,
        description: impl Into<String>,
    ) -> Self {
        Self {
            style: crate::assets::STYLE.path(),
            icon: crate::assets::ICON.path(),
            title: title.into(),
            description: description.into(),
            section,
            ..Self::default()
        }
    }

    /// The page lies under this entry of the navigation.
    pub(crate) fn is_here(&self, path: &str) -> bool {
        self.section == path
    }

    /// The banner's age in words.
    pub(crate) fn age_in_words(&self) -> Option<String> {
        self.age.map(crate::format::age)
    }
}

/// Renders a page with its twins announced in `Link` headers.
pub(crate) fn render(
    status: StatusCode,
    page: &impl Template,
    twins: &[Twin],
) -> Result<Response, PageError> {
    let mut response = (status, Html(page.render()?)).into_response();
    for twin in twins {
        let link = format!("<{}>; rel=\"alternate\"; type=\"{}\"", twin.href, twin.kind);
        if let Ok(value) = HeaderValue::from_str(&link) {
            response.headers_mut().append(LINK, value);
        }
    }
    Ok(response)
}
