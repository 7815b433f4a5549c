//! One model's variants: quality against speed, or against joules.

use std::fmt::Write as _;

use askama::Template;
use askama::filters::HtmlSafe;
use domain::api::Objective;

use super::axes::{Axis, Measure};
use super::canvas::{self, Canvas, Room};
use super::labels::{self, Area, Label};
use super::theme::{SCALE, Shape};
use crate::error::PageError;

/// More points are not drawn; the table has them.
const MAX_POINTS: usize = 60;

/// What was done to the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Neither quantised nor pruned.
    Reference,
    /// Quantised only.
    Quantised,
    /// Pruned, quantised or not.
    Pruned,
}

/// One variant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    /// Its result's page.
    pub(crate) href: String,
    /// What it is called.
    pub(crate) name: String,
    /// What was done to it.
    pub(crate) kind: Kind,
    /// Across.
    pub(crate) x: f64,
    /// Its interval.
    pub(crate) x_ci95: Option<(f64, f64)>,
    /// Quality, 0 to 1.
    pub(crate) y: f64,
    /// Its interval.
    pub(crate) y_ci95: Option<(f64, f64)>,
    /// In words.
    pub(crate) words: String,
}

/// A point's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    x: i32,
    y: i32,
    whiskers: String,
    kind: Kind,
    href: String,
    title: String,
}

impl Mark {
    /// Its outline; shape tells the kind without colour.
    fn path(&self) -> String {
        let (x, y) = (self.x, self.y);
        match self.kind {
            Kind::Reference => format!("M{} {}h52v52h-52z", x - 26, y - 26),
            Kind::Quantised => format!("M{} {y}a26 26 0 1 0 52 0a26 26 0 1 0 -52 0", x - 26),
            Kind::Pruned => format!("M{x} {}l34 34l-34 34l-34 -34z", y - 34),
        }
    }

    fn colour(&self) -> &'static str {
        match self.kind {
            Kind::Reference => "#000000",
            Kind::Quantised => super::theme::BLUE,
            Kind::Pruned => super::theme::VERMILION,
        }
    }
}

/// One of the two drawings.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/tradeoff_drawing.html")]
pub(crate) struct TradeoffDrawing {
    shape: Shape,
    /// Tells the ids of two such charts on one page apart.
    id: &'static str,
    width: i32,
    height: i32,
    canvas: Canvas,
    title: String,
    across: &'static str,
    up: &'static str,
    marks: Vec<Mark>,
    labels: Vec<Label>,
}

impl HtmlSafe for TradeoffDrawing {}

/// The chart.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/tradeoff_chart.html")]
pub(crate) struct TradeoffChart {
    headline: String,
    wide: TradeoffDrawing,
    narrow: TradeoffDrawing,
    has_pruned: bool,
    undrawn: usize,
}

impl HtmlSafe for TradeoffChart {}

impl TradeoffChart {
    /// Quality up, `across` to the right; `None` when fewer than two variants have both.
    pub(crate) fn new(
        id: &'static str,
        headline: String,
        across: Measure,
        points: &[Point],
    ) -> Result<Option<Self>, PageError> {
        let quality = Measure::Objective(Objective::Quality);
        let mut fitting: Vec<&Point> = points
            .iter()
            .filter(|point| across.admits(point.x) && quality.admits(point.y))
            .collect();
        if fitting.len() < 2 {
            return Ok(None);
        }
        // The reference is labelled first, then the best.
        fitting.sort_by(|a, b| {
            let is_reference = |point: &Point| point.kind == Kind::Reference;
            is_reference(b)
                .cmp(&is_reference(a))
                .then_with(|| b.y.total_cmp(&a.y))
        });
        let drawn = &fitting[..fitting.len().min(MAX_POINTS)];
        let (Some(wide), Some(narrow)) = (
            drawing(Shape::Wide, id, &headline, across, drawn)?,
            drawing(Shape::Narrow, id, &headline, across, drawn)?,
        ) else {
            return Ok(None);
        };
        Ok(Some(Self {
            headline,
            wide,
            narrow,
            has_pruned: drawn.iter().any(|point| point.kind == Kind::Pruned),
            undrawn: points.len() - drawn.len(),
        }))
    }
}

fn drawing(
    shape: Shape,
    id: &'static str,
    title: &str,
    across: Measure,
    points: &[&Point],
) -> Result<Option<TradeoffDrawing>, PageError> {
    let (ticks_across, ticks_up) = shape.ticks();
    let ends = |ci95: Option<(f64, f64)>, value: f64| {
        let (low, high) = ci95.unwrap_or((value, value));
        [value, low, high]
    };
    let up = Measure::Objective(Objective::Quality);
    let x = Axis::fit(
        across,
        points.iter().flat_map(|point| ends(point.x_ci95, point.x)),
        ticks_across,
    );
    let y = Axis::fit(
        up,
        points.iter().flat_map(|point| ends(point.y_ci95, point.y)),
        ticks_up,
    );
    let (Some(x), Some(y)) = (x, y) else {
        return Ok(None);
    };
    let (width, height) = match shape {
        Shape::Wide => (960, 420),
        Shape::Narrow => (360, 380),
    };
    let room = Room {
        width: width * SCALE,
        height: height * SCALE,
        top: 30 * SCALE,
        right: 18 * SCALE,
        bottom: 22 * SCALE,
        left_labels: 54 * SCALE,
        bottom_labels: 26 * SCALE,
    };
    let canvas = canvas::draw(shape, room, &x, &y, &[], &[])?;
    let mut marks = Vec::new();
    let mut wanted = Vec::new();
    for point in points {
        let at_x = x.place(point.x, canvas.left, canvas.right);
        let at_y = y.place(point.y, canvas.bottom, canvas.top);
        let Some((at_x, at_y)) = at_x.zip(at_y) else {
            continue;
        };
        let mut whiskers = String::new();
        if let Some((low, high)) = point.x_ci95 {
            let low = x.place_within(low, canvas.left, canvas.right);
            let high = x.place_within(high, canvas.left, canvas.right);
            let _ = write!(whiskers, "M{low} {at_y}H{high}");
        }
        if let Some((low, high)) = point.y_ci95 {
            let low = y.place_within(low, canvas.bottom, canvas.top);
            let high = y.place_within(high, canvas.bottom, canvas.top);
            let _ = write!(whiskers, "M{at_x} {low}V{high}");
        }
        marks.push(Mark {
            x: at_x,
            y: at_y,
            whiskers,
            kind: point.kind,
            href: point.href.clone(),
            title: point.words.clone(),
        });
        wanted.push((at_x, at_y, point.name.clone()));
    }
    let taken = wanted
        .iter()
        .map(|(x, y, _)| Area::around((*x, *y), (*x, *y), 36))
        .collect();
    let labels = labels::place(shape, &canvas, wanted, taken);
    Ok(Some(TradeoffDrawing {
        shape,
        id,
        width: room.width,
        height: room.height,
        canvas,
        title: title.to_owned(),
        across: across.title(),
        up: up.title(),
        marks,
        labels,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(x: f64, y: f64) -> Point {
        Point {
            href: "/results/a".to_owned(),
            name: "Q4_K".to_owned(),
            kind: Kind::Quantised,
            x,
            x_ci95: Some((x * 0.9, x * 1.1)),
            y,
            y_ci95: Some((y - 0.05, y + 0.05)),
            words: String::new(),
        }
    }

    #[test]
    fn one_variant_is_no_tradeoff() {
        let measure = Measure::Objective(Objective::Decode);
        let alone = TradeoffChart::new("speed", String::new(), measure, &[point(9.0, 0.5)]);
        assert_eq!(alone.expect("fine"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_figures_are_drawn_inside_the_frame_or_left_out(
            values in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..30),
        ) {
            let points: Vec<_> = values.iter().map(|(x, y)| point(*x, *y)).collect();
            let measure = Measure::Objective(Objective::Joules);
            let chart = TradeoffChart::new("joules", String::new(), measure, &points);
            if let Some(chart) = chart.expect("drawable") {
                for drawing in [&chart.wide, &chart.narrow] {
                    for mark in &drawing.marks {
                        prop_assert!((drawing.canvas.left..=drawing.canvas.right).contains(&mark.x));
                        prop_assert!((drawing.canvas.top..=drawing.canvas.bottom).contains(&mark.y));
                    }
                }
            }
        }
    }
}
