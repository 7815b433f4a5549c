//! Every block of a gate as a dot: one row for each cell and metric, a line at zero, and where the
//! tolerance ends.

use std::fmt::Write as _;

use askama::Template;
use askama::filters::HtmlSafe;

use super::axes::{Axis, Measure};
use super::canvas::{self, Canvas, Line, Room};
use super::theme::{INK, SCALE, Shape};
use crate::error::PageError;
use crate::names::{cut, drawable};

/// More rows are not drawn; the table has them.
const MAX_ROWS: usize = 24;
/// How far dots of one row are moved up and down so that they do not hide one another, shown pixels.
const SPREAD: [i32; 6] = [-7, 7, -4, 4, -10, 10];

/// One cell-metric.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BlockRow {
    /// What it is called.
    pub(crate) name: String,
    /// ln(candidate / base) of each block.
    pub(crate) values: Vec<f64>,
    /// Estimate, as a share.
    pub(crate) effect: Option<f64>,
    /// Its limits; absent where unbounded.
    pub(crate) low: Option<f64>,
    /// See `low`.
    pub(crate) high: Option<f64>,
    /// What is tolerated, as a share.
    pub(crate) tolerance: f64,
}

impl BlockRow {
    /// The blocks that have a place, in percent.
    fn percents(&self) -> impl Iterator<Item = f64> {
        let percents = self.values.iter().map(|value| 100.0 * value.exp_m1());
        percents.filter(|value| Measure::Change.admits(*value))
    }
}

/// A row's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    y: i32,
    /// The dots, as one path of points.
    dots: String,
    effect: Option<i32>,
    /// From, to; whether each end is bounded.
    interval: Option<(i32, i32, bool, bool)>,
    tolerance: Option<i32>,
    label: String,
}

/// One of the two drawings.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/blocks_drawing.html")]
pub(crate) struct BlocksDrawing {
    shape: Shape,
    width: i32,
    height: i32,
    canvas: Canvas,
    title: String,
    axis: &'static str,
    /// Names stand above their rows, not beside them.
    is_above: bool,
    half_row: i32,
    marks: Vec<Mark>,
    is_standalone: bool,
}

impl HtmlSafe for BlocksDrawing {}

/// The chart of one gate's blocks.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/blocks_chart.html")]
pub(crate) struct BlocksChart {
    wide: BlocksDrawing,
    narrow: BlocksDrawing,
    undrawn: usize,
    has_tolerance: bool,
}

impl HtmlSafe for BlocksChart {}

impl BlocksChart {
    /// `None` when no block has a value.
    pub(crate) fn new(rows: &[BlockRow], has_tolerance: bool) -> Result<Option<Self>, PageError> {
        let fitting: Vec<&BlockRow> = rows
            .iter()
            .filter(|row| row.percents().next().is_some())
            .collect();
        let drawn = &fitting[..fitting.len().min(MAX_ROWS)];
        let drawing = |shape| drawing(shape, drawn, has_tolerance);
        let (Some(wide), Some(narrow)) = (drawing(Shape::Wide)?, drawing(Shape::Narrow)?) else {
            return Ok(None);
        };
        Ok(Some(Self {
            wide,
            narrow,
            undrawn: fitting.len() - drawn.len(),
            has_tolerance,
        }))
    }

    /// The wide drawing as a file of its own.
    pub(crate) fn standalone(mut self) -> BlocksDrawing {
        self.wide.is_standalone = true;
        self.wide
    }
}

fn drawing(
    shape: Shape,
    rows: &[&BlockRow],
    has_tolerance: bool,
) -> Result<Option<BlocksDrawing>, PageError> {
    let (across, _) = shape.ticks();
    let values = rows.iter().flat_map(|row| {
        let limits = [row.effect, row.low, row.high].into_iter().flatten();
        let tolerance = has_tolerance.then_some(row.tolerance);
        let shares = limits.chain(tolerance).map(|share| 100.0 * share);
        row.percents().chain(shares)
    });
    // Zero is where nothing changed: always in sight.
    let x = Axis::fit(Measure::Change, values.chain([0.0]), across);
    let numbers = (0..rows.len()).map(|number| -(number as f64));
    let y = Axis::fit(Measure::Rows, numbers, 1);
    let (Some(x), Some(y)) = (x, y) else {
        return Ok(None);
    };
    let (width, row, left, letters) = match shape {
        Shape::Wide => (960, 34, 300, 40),
        Shape::Narrow => (360, 56, 12, 44),
    };
    let count = i32::try_from(rows.len()).unwrap_or(i32::MAX / 10_000);
    let room = Room {
        width: width * SCALE,
        height: (64 + row * count + row / 2) * SCALE,
        top: 8 * SCALE,
        right: 16 * SCALE,
        bottom: 24 * SCALE,
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
    let place = |percent: f64| x.place(percent, canvas.left, canvas.right);
    let end = |share: f64| x.place_within(100.0 * share, canvas.left, canvas.right);
    let marks = rows.iter().enumerate().filter_map(|(number, row)| {
        let y = y.place(-(number as f64), canvas.bottom, canvas.top)?;
        let mut dots = String::new();
        for (percent, spread) in row.percents().zip(SPREAD.into_iter().cycle()) {
            if let Some(x) = place(percent) {
                let _ = write!(dots, "M{x} {}h0", y + spread * SCALE);
            }
        }
        Some(Mark {
            y,
            dots,
            effect: row.effect.and_then(|share| place(100.0 * share)),
            interval: row.effect.map(|_| {
                (
                    row.low.map_or(canvas.left, end),
                    row.high.map_or(canvas.right, end),
                    row.low.is_some(),
                    row.high.is_some(),
                )
            }),
            tolerance: place(100.0 * row.tolerance).filter(|_| has_tolerance),
            label: drawable(&cut(&row.name, letters)),
        })
    });
    Ok(Some(BlocksDrawing {
        shape,
        width: room.width,
        height: room.height,
        title: "What each block says, by cell: candidate against base, percent of cost".to_owned(),
        axis: Measure::Change.title(),
        is_above: shape == Shape::Narrow,
        half_row: row * SCALE * 2 / 5,
        marks: marks.collect(),
        canvas,
        is_standalone: false,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(values: Vec<f64>) -> BlockRow {
        BlockRow {
            name: "decode mini pp64/tg64".to_owned(),
            values,
            effect: Some(0.012),
            low: None,
            high: Some(0.018),
            tolerance: 0.02,
        }
    }

    #[test]
    fn without_a_block_there_is_no_chart() {
        assert_eq!(BlocksChart::new(&[], true).expect("fine"), None);
        let nothing = row(vec![f64::NAN, f64::INFINITY]);
        assert_eq!(BlocksChart::new(&[nothing], true).expect("fine"), None);
    }

    #[test]
    fn an_open_limit_reaches_the_frame_and_has_no_end() {
        let chart = BlocksChart::new(&[row(vec![0.01, 0.02, 0.0])], true);
        let wide = chart.expect("fine").expect("drawn").wide;
        let (from, to, low_is_bounded, high_is_bounded) =
            wide.marks[0].interval.expect("an effect has one");
        assert_eq!(from, wide.canvas.left);
        assert!(to < wide.canvas.right);
        assert_eq!((low_is_bounded, high_is_bounded), (false, true));
    }

    #[test]
    fn a_tolerance_is_drawn_only_where_there_was_a_policy() {
        let rows = [row(vec![0.01, 0.02, 0.0])];
        for has_tolerance in [true, false] {
            let chart = BlocksChart::new(&rows, has_tolerance).expect("fine");
            let mark = &chart.expect("drawn").wide.marks[0];
            assert_eq!(mark.tolerance.is_some(), has_tolerance);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_blocks_are_drawn_or_left_out(
            values in proptest::collection::vec(any::<f64>(), 0..70),
            effect in any::<f64>(),
        ) {
            let fits = |value: &f64| Measure::Change.admits(100.0 * value.exp_m1());
            let any_fits = values.iter().any(fits);
            let row = BlockRow { effect: Some(effect), ..row(values.clone()) };
            let chart = BlocksChart::new(&[row], true).expect("drawable");
            prop_assert_eq!(chart.is_some(), any_fits);
            for mark in chart.into_iter().flat_map(|chart| chart.narrow.marks) {
                let dots = mark.dots.matches('M').count();
                prop_assert_eq!(dots, values.iter().filter(|value| fits(value)).count());
            }
        }
    }
}
