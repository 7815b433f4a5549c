//! The public site: HTML and SVG made on the server, from the read API alone.
//!
//! A request's way through this room: [`routes`](router) finds the page; the page asks the read
//! API through [`results::Client`], a tower service, so that it makes no difference whether the
//! collector lives in this process or behind a URL; it turns the answer into a view struct whose
//! every number went through `format`, draws charts from it (`charts`), and renders a template
//! that escapes everything. The site decides nothing: membership, intervals and sentences are the
//! collector's. A figure that the API does not have reads "not recorded", with the reason.
//!
//! Nothing here touches the database, and nothing needs JavaScript: on trends alone a script draws
//! over the static drawing.

mod assets;
mod badges;
mod cache;
mod charts;
mod error;
mod feeds;
mod format;
mod layout;
mod names;
mod pages;
pub mod results;
mod routes;
#[cfg(test)]
#[path = "../examples/preview/sample.rs"]
mod sample;
#[cfg(test)]
mod tests;
mod twins;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use routes::router;

/// What the caller may choose about the pages.
#[derive(Debug, Clone, Default)]
pub struct SiteOptions {
    /// True while a sweep is still delivering: pages with few rows then say so and reload
    /// themselves. Clear it when the last result is in.
    pub live: Arc<AtomicBool>,
}
