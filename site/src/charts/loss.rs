//! What each variant loses against the reference: one row each, a dot and its interval, a line at zero.

use askama::Template;
use askama::filters::HtmlSafe;

use super::axes::{Axis, Measure};
use super::canvas::{self, Canvas, Line, Room};
use super::theme::{INK, SCALE, Shape};
use crate::error::PageError;
use crate::names::cut;

/// More rows are not drawn; the table has them.
const MAX_ROWS: usize = 40;

/// One variant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LossRow {
    /// Its result's page.
    pub(crate) href: String,
    /// What it is called.
    pub(crate) name: String,
    /// Quality less the reference's, in points of 100.
    pub(crate) points: f64,
    /// Its interval.
    pub(crate) ci95: Option<(f64, f64)>,
    /// The interval holds zero.
    pub(crate) is_not_apart: bool,
    /// In words, for a pointer that rests on it.
    pub(crate) words: String,
}

/// A row's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    x: i32,
    y: i32,
    whisker: Option<(i32, i32)>,
    is_not_apart: bool,
    href: String,
    label: String,
    title: String,
}

/// One of the two drawings.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/loss_drawing.html")]
pub(crate) struct LossDrawing {
    shape: Shape,
    width: i32,
    height: i32,
    canvas: Canvas,
    title: String,
    axis: &'static str,
    marks: Vec<Mark>,
}

impl HtmlSafe for LossDrawing {}

/// The chart of one model's losses.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/loss_chart.html")]
pub(crate) struct LossChart {
    headline: String,
    wide: LossDrawing,
    narrow: LossDrawing,
    undrawn: usize,
}

impl HtmlSafe for LossChart {}

impl LossChart {
    /// `None` when no variant has a figure.
    pub(crate) fn new(headline: String, rows: &[LossRow]) -> Result<Option<Self>, PageError> {
        let fitting: Vec<&LossRow> = rows
            .iter()
            .filter(|row| Measure::Points.admits(row.points))
            .collect();
        let drawn = &fitting[..fitting.len().min(MAX_ROWS)];
        let (Some(wide), Some(narrow)) = (
            drawing(Shape::Wide, &headline, drawn)?,
            drawing(Shape::Narrow, &headline, drawn)?,
        ) else {
            return Ok(None);
        };
        Ok(Some(Self {
            headline,
            wide,
            narrow,
            undrawn: rows.len() - drawn.len(),
        }))
    }
}

fn drawing(shape: Shape, title: &str, rows: &[&LossRow]) -> Result<Option<LossDrawing>, PageError> {
    let (across, _) = shape.ticks();
    let ends = rows.iter().flat_map(|row| {
        let (low, high) = row.ci95.unwrap_or((row.points, row.points));
        [row.points, low.max(-100.0), high.min(100.0)]
    });
    // Zero is where the reference stands: always in sight.
    let x = Axis::fit(Measure::Points, ends.chain([0.0]), across);
    let y = Axis::fit(
        Measure::Rows,
        (0..rows.len()).map(|number| -(number as f64)),
        1,
    );
    let (Some(x), Some(y)) = (x, y) else {
        return Ok(None);
    };
    let (width, letters, left) = match shape {
        Shape::Wide => (960, 26, 210),
        Shape::Narrow => (360, 14, 122),
    };
    let room = Room {
        width: width * SCALE,
        height: (60 + 26 * i32::try_from(rows.len()).unwrap_or(i32::MAX / 1_000)) * SCALE,
        top: 8 * SCALE,
        right: 16 * SCALE,
        bottom: 22 * SCALE,
        left_labels: left * SCALE,
        bottom_labels: 26 * SCALE,
    };
    let (low, high) = y.ends();
    let zero = Line {
        points: vec![(0.0, low), (0.0, high)],
        colour: INK,
        width: 5,
        dashed: false,
    };
    let canvas = canvas::draw(shape, room, &x, &y, &[], &[zero])?;
    let marks = rows
        .iter()
        .enumerate()
        .filter_map(|(number, row)| {
            Some(Mark {
                x: x.place(row.points, canvas.left, canvas.right)?,
                y: y.place(-(number as f64), canvas.bottom, canvas.top)?,
                whisker: row.ci95.map(|(low, high)| {
                    (
                        x.place_within(low, canvas.left, canvas.right),
                        x.place_within(high, canvas.left, canvas.right),
                    )
                }),
                is_not_apart: row.is_not_apart,
                href: row.href.clone(),
                label: cut(&row.name, letters),
                title: row.words.clone(),
            })
        })
        .collect();
    Ok(Some(LossDrawing {
        shape,
        width: room.width,
        height: room.height,
        canvas,
        title: title.to_owned(),
        axis: Measure::Points.title(),
        marks,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(points: f64, ci95: Option<(f64, f64)>) -> LossRow {
        LossRow {
            href: "/results/a".to_owned(),
            name: "Q4_K".to_owned(),
            points,
            ci95,
            is_not_apart: false,
            words: String::new(),
        }
    }

    #[test]
    fn what_was_not_compared_is_not_drawn() {
        let chart = LossChart::new(String::new(), &[]).expect("fine");
        assert_eq!(chart, None);
        let chart = LossChart::new(String::new(), &[row(f64::NAN, None)]).expect("fine");
        assert_eq!(chart, None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_mark_lies_in_its_row_inside_the_frame(
            values in proptest::collection::vec((any::<f64>(), any::<f64>(), any::<f64>()), 1..50),
        ) {
            let rows: Vec<_> = values.iter().map(|(p, l, h)| row(*p, Some((*l, *h)))).collect();
            if let Some(chart) = LossChart::new(String::new(), &rows).expect("drawable") {
                for drawing in [&chart.wide, &chart.narrow] {
                    let canvas = &drawing.canvas;
                    let places: Vec<i32> = drawing.marks.iter().map(|mark| mark.y).collect();
                    prop_assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
                    for mark in &drawing.marks {
                        prop_assert!((canvas.left..=canvas.right).contains(&mark.x));
                        prop_assert!((canvas.top..=canvas.bottom).contains(&mark.y));
                    }
                }
            }
        }
    }
}
