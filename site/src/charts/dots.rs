//! Every repetition as a dot, with the median and its interval behind them.

use askama::Template;
use askama::filters::HtmlSafe;
use domain::api::{Figure, RepetitionPoint};

use super::axes::{Axis, Measure};
use super::canvas::{self, Canvas, Line, Room};
use super::theme::{LINE, SCALE, Shape};
use crate::error::PageError;
use crate::format;

/// More dots are not drawn; the twin has all.
const MAX_DOTS: usize = 500;

/// One repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dot {
    x: i32,
    y: i32,
    counts: bool,
    title: String,
}

/// One of the two drawings.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/dots_drawing.html")]
pub(crate) struct DotsDrawing {
    shape: Shape,
    width: i32,
    height: i32,
    canvas: Canvas,
    title: String,
    dots: Vec<Dot>,
}

impl HtmlSafe for DotsDrawing {}

/// The chart of one cell's repetitions.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/dots_chart.html")]
pub(crate) struct DotsChart {
    wide: DotsDrawing,
    narrow: DotsDrawing,
    counted: usize,
    void: usize,
    undrawn: usize,
}

impl HtmlSafe for DotsChart {}

impl DotsChart {
    /// Decode speed of every repetition; `None` when none has one.
    pub(crate) fn new(
        repetitions: &[RepetitionPoint],
        median: Option<Figure>,
    ) -> Result<Option<Self>, PageError> {
        let measured: Vec<(usize, f64, &RepetitionPoint)> = repetitions
            .iter()
            .enumerate()
            .filter_map(|(i, point)| Some((i + 1, point.decode_tokens_per_second?, point)))
            .filter(|(_, speed, _)| Measure::Speed.admits(*speed))
            .collect();
        let undrawn = measured.len().saturating_sub(MAX_DOTS);
        let measured = &measured[..measured.len() - undrawn];
        let (Some(wide), Some(narrow)) = (
            drawing(Shape::Wide, measured, median)?,
            drawing(Shape::Narrow, measured, median)?,
        ) else {
            return Ok(None);
        };
        let counted = measured
            .iter()
            .filter(|(_, _, point)| point.void.is_none())
            .count();
        Ok(Some(Self {
            wide,
            narrow,
            counted,
            void: measured.len() - counted,
            undrawn,
        }))
    }
}

fn drawing(
    shape: Shape,
    measured: &[(usize, f64, &RepetitionPoint)],
    median: Option<Figure>,
) -> Result<Option<DotsDrawing>, PageError> {
    let (across, down) = shape.ticks();
    let band = median.and_then(|figure| figure.ci95);
    let speeds = measured
        .iter()
        .map(|(_, speed, _)| *speed)
        .chain(band.into_iter().flat_map(|(low, high)| [low, high]));
    let y = Axis::fit(Measure::Speed, speeds, down.min(5));
    let x = Axis::fit(
        Measure::Ordinal,
        measured.iter().map(|(number, _, _)| *number as f64),
        across,
    );
    let (Some(x), Some(y)) = (x, y) else {
        return Ok(None);
    };
    let (width, height) = match shape {
        Shape::Wide => (960, 260),
        Shape::Narrow => (360, 260),
    };
    let room = Room {
        width: width * SCALE,
        height: height * SCALE,
        top: 12 * SCALE,
        right: 16 * SCALE,
        bottom: 4 * SCALE,
        left_labels: 58 * SCALE,
        bottom_labels: 26 * SCALE,
    };
    let (x_low, x_high) = x.ends();
    let inside = |value: f64| y.holds(value);
    let regions: Vec<_> = band
        .filter(|(low, high)| inside(*low) && inside(*high))
        .map(|(low, high)| [(x_low, low), (x_high, high)])
        .into_iter()
        .collect();
    let lines: Vec<_> = median
        .map(|figure| figure.value)
        .filter(|value| inside(*value))
        .map(|value| Line {
            points: vec![(x_low, value), (x_high, value)],
            colour: LINE,
            width: 6,
            dashed: true,
        })
        .into_iter()
        .collect();
    let canvas = canvas::draw(shape, room, &x, &y, &regions, &lines)?;
    let dots = measured
        .iter()
        .filter_map(|(number, speed, point)| {
            let why = point
                .void
                .as_ref()
                .map(|why| format!(", does not count: {why}"))
                .unwrap_or_default();
            Some(Dot {
                x: x.place(*number as f64, canvas.left, canvas.right)?,
                y: y.place(*speed, canvas.bottom, canvas.top)?,
                counts: point.void.is_none(),
                title: format!(
                    "repetition {}: {} tok/s{why}",
                    point.rep,
                    format::rough(*speed)
                ),
            })
        })
        .collect();
    let title = format!(
        "Decode speed of {}, tokens per second",
        format::plural(measured.len(), "repetition")
    );
    Ok(Some(DotsDrawing {
        shape,
        width: room.width,
        height: room.height,
        canvas,
        title,
        dots,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point(rep: u32, speed: Option<f64>, void: Option<String>) -> RepetitionPoint {
        RepetitionPoint {
            record: "r".into(),
            rep,
            void,
            decode_tokens_per_second: speed,
            prefill_tokens_per_second: None,
            ttft_ms: None,
        }
    }

    #[test]
    fn what_was_not_measured_is_no_dot() {
        assert_eq!(
            DotsChart::new(&[point(0, None, Some("warm-up".into()))], None).expect("fine"),
            None
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn dots_lie_inside_the_frame(
            speeds in proptest::collection::vec(any::<f64>(), 1..40),
            median in any::<f64>(),
        ) {
            let points: Vec<_> = speeds.iter().zip(0..).map(|(speed, rep)| point(rep, Some(*speed), None)).collect();
            let figure = Figure { value: median, ci95: Some((median - 1.0, median + 1.0)), n: 6 };
            if let Some(chart) = DotsChart::new(&points, Some(figure)).expect("drawable") {
                for drawing in [&chart.wide, &chart.narrow] {
                    let canvas = &drawing.canvas;
                    prop_assert_eq!(drawing.dots.len(), speeds.iter().filter(|s| Measure::Speed.admits(**s)).count());
                    for dot in &drawing.dots {
                        prop_assert!((canvas.left..=canvas.right).contains(&dot.x));
                        prop_assert!((canvas.top..=canvas.bottom).contains(&dot.y));
                    }
                }
            }
        }
    }
}
