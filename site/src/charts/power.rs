//! Power over time as one record's meters read it, with the phases that joules are published of.

use askama::Template;
use askama::filters::HtmlSafe;
use domain::api::PowerSeries;

use super::axes::{Axis, Measure};
use super::canvas::{self, Canvas, Line, Room};
use super::theme::{INK, LINE, POWER, SCALE, Shape};
use crate::error::PageError;
use crate::format;
use crate::names;

/// More meters are not drawn; their joules stand in the table.
const MAX_SERIES: usize = 3;
/// A step this many times longer than the usual one is a hole.
const HOLE: f64 = 2.5;
/// A phase narrower than this share of the drawing gets a band and no word.
const LEAST_LABELLED: f64 = 0.07;

/// The word of a phase inside the drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PhaseLabel {
    x: i32,
    y: i32,
    words: String,
}

/// One of the two drawings.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/power_drawing.html")]
pub(crate) struct PowerDrawing {
    shape: Shape,
    width: i32,
    height: i32,
    canvas: Canvas,
    title: String,
    phases: Vec<PhaseLabel>,
}

impl HtmlSafe for PowerDrawing {}

/// A meter and the look of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    colour: &'static str,
    dashed: bool,
    words: String,
}

/// The chart of one record's power.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/power_chart.html")]
pub(crate) struct PowerChart {
    wide: PowerDrawing,
    narrow: PowerDrawing,
    keys: Vec<Key>,
    undrawn: usize,
    summary: Vec<String>,
}

impl HtmlSafe for PowerChart {}

impl PowerChart {
    /// `None` when no meter has two points.
    pub(crate) fn new(series: &[PowerSeries]) -> Result<Option<Self>, PageError> {
        let drawable: Vec<&PowerSeries> = series
            .iter()
            .filter(|one| admitted(one).count() >= 2)
            .collect();
        let drawn = &drawable[..drawable.len().min(MAX_SERIES)];
        let (Some(wide), Some(narrow)) =
            (drawing(Shape::Wide, drawn)?, drawing(Shape::Narrow, drawn)?)
        else {
            return Ok(None);
        };
        let keys = drawn
            .iter()
            .zip(looks())
            .map(|(one, (_, colour, dashed))| Key {
                colour,
                dashed,
                words: format!("{} ({})", names::drawable(&one.meter), one.scope),
            });
        Ok(Some(Self {
            wide,
            narrow,
            keys: keys.collect(),
            undrawn: drawable.len() - drawn.len(),
            summary: drawn.iter().map(|one| in_words(one)).collect(),
        }))
    }
}

/// Colours come with a dash, so that they are not alone in telling lines apart.
fn looks() -> [(plotters::style::RGBColor, &'static str, bool); MAX_SERIES] {
    [
        (LINE, "#0072B2", false),
        (POWER, "#D55E00", true),
        (INK, "#000000", true),
    ]
}

fn admitted(series: &PowerSeries) -> impl Iterator<Item = (f64, f64)> {
    let fits =
        |(at, watts): &(f64, f64)| Measure::Seconds.admits(*at) && Measure::Watts.admits(*watts);
    series.points.iter().copied().filter(fits)
}

/// Points without a hole between them: where readings say nothing, no line is drawn.
fn runs(series: &PowerSeries) -> Vec<Vec<(f64, f64)>> {
    let points: Vec<(f64, f64)> = admitted(series).collect();
    let mut steps: Vec<f64> = points
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect();
    steps.sort_by(f64::total_cmp);
    let usual = steps.get(steps.len() / 2).copied().unwrap_or(0.0);
    let mut runs: Vec<Vec<(f64, f64)>> = Vec::new();
    for point in points {
        match runs.last_mut() {
            Some(run)
                if run
                    .last()
                    .is_some_and(|last| point.0 - last.0 <= HOLE * usual) =>
            {
                run.push(point);
            }
            _ => runs.push(vec![point]),
        }
    }
    runs
}

fn drawing(shape: Shape, series: &[&PowerSeries]) -> Result<Option<PowerDrawing>, PageError> {
    let (across, down) = shape.ticks();
    let points = || series.iter().flat_map(|one| admitted(one));
    let x = Axis::fit(Measure::Seconds, points().map(|point| point.0), across);
    // Power is compared with nothing drawn: the axis begins there.
    let watts = points().map(|point| point.1).chain([0.0]);
    let y = Axis::fit(Measure::Watts, watts, down.min(5));
    let (Some(x), Some(y)) = (x, y) else {
        return Ok(None);
    };
    let (width, height) = match shape {
        Shape::Wide => (960, 280),
        Shape::Narrow => (360, 260),
    };
    let room = Room {
        width: width * SCALE,
        height: height * SCALE,
        top: 30 * SCALE,
        right: 16 * SCALE,
        bottom: 4 * SCALE,
        left_labels: 58 * SCALE,
        bottom_labels: 26 * SCALE,
    };
    let (x_low, x_high) = x.ends();
    let (y_low, y_high) = y.ends();
    let phases = series.first().map(|one| one.phases.as_slice());
    let phases: Vec<(&str, f64, f64)> = phases
        .unwrap_or_default()
        .iter()
        .map(|(name, from, until)| (name.as_str(), from.max(x_low), until.min(x_high)))
        .filter(|(_, from, until)| from < until)
        .collect();
    // Every second stretch is shaded, so that neighbours are told apart.
    let regions: Vec<_> = merged(&phases)
        .into_iter()
        .step_by(2)
        .map(|(_, from, until)| [(from, y_low), (until, y_high)])
        .collect();
    let lines: Vec<Line> = series
        .iter()
        .zip(looks())
        .flat_map(|(one, (colour, _, dashed))| {
            runs(one).into_iter().map(move |points| Line {
                points,
                colour,
                width: 6,
                dashed,
            })
        })
        .collect();
    let canvas = canvas::draw(shape, room, &x, &y, &regions, &lines)?;
    let labels = merged(&phases)
        .into_iter()
        .filter(|(_, from, until)| {
            (until - from) / (x_high - x_low) >= LEAST_LABELLED * narrowness(shape)
        })
        .filter_map(|(name, from, until)| {
            Some(PhaseLabel {
                x: x.place(f64::midpoint(from, until), canvas.left, canvas.right)?,
                y: canvas.top - 8 * SCALE,
                words: name.replace('_', " "),
            })
        })
        .collect();
    Ok(Some(PowerDrawing {
        shape,
        width: room.width,
        height: room.height,
        canvas,
        title: format!(
            "Power over time, watts, of {}",
            format::plural(series.len(), "meter")
        ),
        phases: labels,
    }))
}

fn narrowness(shape: Shape) -> f64 {
    match shape {
        Shape::Wide => 1.0,
        Shape::Narrow => 3.0,
    }
}

/// Neighbours of one name as one stretch: the blocks of a loop, the repetitions.
fn merged<'a>(phases: &[(&'a str, f64, f64)]) -> Vec<(&'a str, f64, f64)> {
    let mut stretches: Vec<(&str, f64, f64)> = Vec::new();
    for (name, from, until) in phases {
        match stretches.last_mut() {
            Some(last) if last.0 == *name => last.2 = until.max(last.2),
            _ => stretches.push((name, *from, *until)),
        }
    }
    stretches
}

/// A meter's line in words: least, mean and most.
fn in_words(series: &PowerSeries) -> String {
    let watts: Vec<f64> = admitted(series).map(|point| point.1).collect();
    let least = watts.iter().copied().fold(f64::INFINITY, f64::min);
    let most = watts.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!(
        "{} ({}): {} points, {} to {} W",
        names::drawable(&series.meter),
        series.scope,
        watts.len(),
        format::rough(least),
        format::rough(most),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series(points: Vec<(f64, f64)>, phases: Vec<(String, f64, f64)>) -> PowerSeries {
        PowerSeries {
            meter: "powercap package-0".to_owned(),
            scope: "cpu.pkg".to_owned(),
            points,
            phases,
        }
    }

    #[test]
    fn one_point_is_no_line() {
        let alone = series(vec![(1.0, 20.0)], Vec::new());
        assert_eq!(PowerChart::new(&[alone]).expect("fine"), None);
        assert_eq!(PowerChart::new(&[]).expect("fine"), None);
    }

    #[test]
    fn no_line_runs_over_a_hole() {
        let points = [1.0, 2.0, 3.0, 9.0, 10.0].map(|at| (at, 20.0)).to_vec();
        let lengths: Vec<usize> = runs(&series(points, Vec::new()))
            .iter()
            .map(Vec::len)
            .collect();
        assert_eq!(lengths, [3, 2]);
    }

    #[test]
    fn the_blocks_of_a_loop_are_one_stretch() {
        let phases = [
            ("load", 0.0, 1.0),
            ("decode_loop", 1.0, 2.0),
            ("decode_loop", 2.0, 3.0),
            ("quality", 3.0, 9.0),
        ];
        assert_eq!(merged(&phases)[1], ("decode_loop", 1.0, 3.0));
        assert_eq!(merged(&phases).len(), 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_readings_are_drawn_or_left_out(
            points in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..30),
            phases in proptest::collection::vec(("[a-z_]{1,9}", any::<f64>(), any::<f64>()), 0..5),
        ) {
            let fitting = points
                .iter()
                .filter(|(at, watts)| Measure::Seconds.admits(*at) && Measure::Watts.admits(*watts))
                .count();
            let chart = PowerChart::new(&[series(points, phases)]).expect("drawable");
            prop_assert_eq!(chart.is_some(), fitting >= 2);
            for label in chart.into_iter().flat_map(|chart| chart.wide.phases) {
                prop_assert!(label.x >= 0);
            }
        }
    }
}
