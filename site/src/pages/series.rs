//! One series: how a figure of one engine on one machine moved from build to build.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Redirect, Response};
use domain::history::{SeriesAnswer, SeriesPoint};

use super::regressions::{ChangeView, SeriesView, change_view, metric_words, series_view};
use crate::charts::{HistoryChart, Spacing, Unit};
use crate::error::PageError;
use crate::layout::{Layout, Twin, render};
use crate::routes::Site;
use crate::{assets, format, names, twins};

/// Older points stay in the twins.
const MAX_POINTS: usize = 50;

#[derive(Template)]
#[template(path = "pages/series.html")]
struct SeriesPage {
    layout: Layout,
    /// Stylesheet and scripts of the drawing that scripts make.
    plot_style: String,
    scripts: [String; 2],
    plot_licence: String,
    series: SeriesView,
    metric: String,
    variant_sha256: String,
    has_canary: bool,
    chart: Option<HistoryChart>,
    /// Where the same series stands on the other axis.
    other_scale: (String, &'static str),
    changes: Vec<ChangeView>,
    epochs: Vec<EpochView>,
    points: Vec<PointView>,
    hidden: usize,
    unit: Unit,
}

struct EpochView {
    number: u32,
    begins: String,
    changed: String,
}

struct PointView {
    measured: String,
    build: String,
    commit: Option<String>,
    value: String,
    interval: Option<String>,
    canary: Option<String>,
    epoch: u32,
    href: String,
}

/// `GET /series/{id}?scale=log` and its twins.
pub(crate) async fn show(
    State(site): State<Site>,
    Path(id): Path<String>,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    let raw = raw.unwrap_or_default();
    let spacing = if asks_for_logarithms(&raw) {
        Spacing::Logarithmic
    } else {
        Spacing::Linear
    };
    if let Some(id) = id.strip_suffix(".svg") {
        return drawing(&site, id, spacing).await;
    }
    let (id, format) = twins::split(&id);
    let path = format!("/api/v1/series/{}", names::segment(id));
    if let Some(format) = format {
        return twins::pass(&site, &path, format).await;
    }
    let spelled = match spacing {
        Spacing::Linear => "",
        Spacing::Logarithmic => "scale=log",
    };
    if spelled != raw {
        let page = format!("/series/{}", names::segment(id));
        let page = [page.as_str(), spelled].join(if spelled.is_empty() { "" } else { "?" });
        return Ok(Redirect::to(&page).into_response());
    }
    let (answer, age) = site.client.read::<SeriesAnswer>(&path).await?;
    let mut page = view(&answer, spacing)?;
    page.layout.age = age;
    render(StatusCode::OK, &page, &page.layout.twins)
}

fn asks_for_logarithms(raw: &str) -> bool {
    url::form_urlencoded::parse(raw.as_bytes())
        .take(100)
        .any(|(key, value)| key == "scale" && value == "log")
}

/// `GET /series/{id}.svg`: the wide drawing as a file.
async fn drawing(site: &Site, id: &str, spacing: Spacing) -> Result<Response, PageError> {
    let path = format!("/api/v1/series/{}", names::segment(id));
    let (answer, _) = site.client.read::<SeriesAnswer>(&path).await?;
    let chart = HistoryChart::new(headline(&answer), &answer, spacing)?.ok_or_else(|| {
        PageError::NotFound("chart: no point of this series has a place on its axes".to_owned())
    })?;
    let kind = [(CONTENT_TYPE, "image/svg+xml")];
    Ok((kind, chart.standalone().render()?).into_response())
}

/// What the chart shows, in a sentence without a verdict of its own.
fn headline(answer: &SeriesAnswer) -> String {
    let series = series_view(&answer.series);
    format!(
        "{}, {}: {} of {}",
        series.what,
        series.name,
        format::plural(answer.points.len(), "record"),
        format::plural(answer.epochs.len().max(1), "epoch"),
    )
}

fn view(answer: &SeriesAnswer, spacing: Spacing) -> Result<SeriesPage, PageError> {
    let series = series_view(&answer.series);
    let headline = headline(answer);
    let mut layout = Layout::new(
        "/regressions",
        format!("{}, {}", series.name, series.what),
        format!("How {headline} moved from build to build."),
    );
    let chart = HistoryChart::new(headline, answer, spacing)?;
    let query = match spacing {
        Spacing::Linear => "",
        Spacing::Logarithmic => "?scale=log",
    };
    layout.twins = twins::of(&series.href, "");
    if chart.is_some() {
        layout.twins.push(Twin {
            href: format!("{}.svg{query}", series.href),
            kind: "image/svg+xml",
            name: "SVG",
        });
    }
    let unit = Unit::of(answer);
    let other_scale = match spacing {
        Spacing::Linear => (format!("{}?scale=log", series.href), "logarithmic"),
        Spacing::Logarithmic => (series.href.clone(), "linear"),
    };
    let newest = answer.points.iter().rev();
    Ok(SeriesPage {
        layout,
        plot_style: assets::PLOT_STYLE.path(),
        scripts: [assets::PLOT.path(), assets::TRENDS.path()],
        plot_licence: assets::PLOT_LICENCE.path(),
        metric: metric_words(&answer.series),
        variant_sha256: answer.series.variant_sha256.clone(),
        has_canary: answer.series.has_canary,
        chart,
        other_scale,
        changes: answer.changes.iter().map(change_view).collect(),
        epochs: answer
            .epochs
            .iter()
            .map(|epoch| EpochView {
                number: epoch.epoch + 1,
                begins: format::time(&epoch.begins_at),
                changed: epoch.changed.clone(),
            })
            .collect(),
        points: newest
            .take(MAX_POINTS)
            .map(|point| point_view(point, unit))
            .collect(),
        hidden: answer.points.len().saturating_sub(MAX_POINTS),
        unit,
        series,
    })
}

fn point_view(point: &SeriesPoint, unit: Unit) -> PointView {
    let shown = |value: f64| format::rough(value * unit.factor);
    PointView {
        measured: format::time(&point.measured_at),
        build: point.build.clone(),
        commit: point
            .commit
            .as_deref()
            .map(|commit| commit.chars().take(12).collect()),
        value: shown(point.value),
        interval: point
            .low
            .zip(point.high)
            .map(|(low, high)| format!("{}–{}", shown(low), shown(high))),
        canary: point.canary.map(shown),
        epoch: point.epoch + 1,
        href: format!("/records/{}", names::segment(&point.record)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::tests::{get, site};

    #[tokio::test]
    async fn a_trend_is_drawn_without_scripts_and_names_what_scripts_need() {
        let page = get(&site(sample::priced()), "/series/candle-decode").await;
        assert_eq!(page.status, StatusCode::OK);
        for part in [
            "role=\"img\" aria-labelledby=\"history-wide-title\"",
            "data-json=\"/series/candle-decode.json\"",
            "data-unit=\"tok/s\"",
            "confirmed +3.4",
            "the canary",
        ] {
            assert!(page.body.contains(part), "{part}");
        }
        for script in [assets::PLOT.path(), assets::TRENDS.path()] {
            assert!(
                page.body
                    .contains(&format!("<script defer src=\"{script}\">"))
            );
        }
        let json = get(&site(sample::priced()), "/series/candle-decode.json").await;
        let answer: SeriesAnswer = serde_json::from_str(&json.body).expect("the API's bytes");
        assert!(answer.points.len() > 20);
    }

    #[tokio::test]
    async fn scripts_stand_on_trends_alone() {
        let site = site(sample::priced());
        for path in ["/", "/regressions", "/models", "/methodology"] {
            assert!(!get(&site, path).await.body.contains("<script"), "{path}");
        }
    }

    #[tokio::test]
    async fn the_axis_is_part_of_the_address_and_has_one_spelling() {
        let site = site(sample::priced());
        let page = get(&site, "/series/candle-decode?scale=log").await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.body.contains("data-scale=\"log\""));
        let other = get(&site, "/series/candle-decode?scale=linear&x=1").await;
        assert_eq!(other.status, StatusCode::SEE_OTHER);
        assert_eq!(other.location.as_deref(), Some("/series/candle-decode"));
    }

    #[tokio::test]
    async fn a_series_without_points_says_so_and_has_no_drawing() {
        let site = site(sample::priced());
        let page = get(&site, "/series/no-points").await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(
            page.body.contains("No record of this series"),
            "{}",
            page.body
        );
        assert!(!page.body.contains("<svg class=\"chart"));
        let svg = get(&site, "/series/no-points.svg").await;
        assert_eq!(svg.status, StatusCode::NOT_FOUND);
        assert_eq!(
            get(&site, "/series/none").await.status,
            StatusCode::NOT_FOUND
        );
    }

    #[tokio::test]
    async fn the_drawing_is_also_a_file() {
        let svg = get(&site(sample::priced()), "/series/candle-decode.svg").await;
        assert_eq!(svg.content_type, "image/svg+xml");
        assert!(svg.body.starts_with("<svg") && svg.body.contains("fill=\"#FFFFFF\""));
    }
}
