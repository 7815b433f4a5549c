//! A series over time: a line per epoch through its points, where epochs begin, where it changed.
//!
//! The same picture is drawn again by `trends.js` where scripts run; this one needs none.

use askama::Template;
use askama::filters::HtmlSafe;
use domain::history::{ChangeState, SeriesAnswer, SeriesPoint};

use super::axes::{Axis, Measure};
use super::canvas::{self, Canvas, Line, Room};
use super::theme::{BLUE, GREEN};
use super::theme::{CANARY, GREY, LINE, SCALE, Shape, VERMILION};
use crate::error::PageError;
use crate::format::{self, Quantity};
use crate::names::{cut, drawable, segment};

/// Older points are not drawn here; the twins have them, and so has the drawing of the script.
const MAX_POINTS: usize = 400;
/// More changes or epochs get no line of their own.
const MAX_MARKS: usize = 40;
/// Width of a letter as a share of its height, at most about.
const LETTER: f64 = 0.56;

/// Where equal steps lie on the axis of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spacing {
    /// Equal differences.
    Linear,
    /// Equal ratios.
    Logarithmic,
}

/// The unit a series is shown in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Unit {
    /// From the API's number to the shown one.
    pub(crate) factor: f64,
    /// Such as `tok/s`; empty for a metric that this program does not know.
    pub(crate) name: &'static str,
}

impl Unit {
    /// The unit that suits the newest value.
    pub(crate) fn of(series: &SeriesAnswer) -> Self {
        let newest = series.points.last().map_or(1.0, |point| point.value);
        Quantity::of_metric(&series.series.metric).map_or(
            Self {
                factor: 1.0,
                name: "",
            },
            |quantity| {
                let (factor, name) = quantity.unit(newest);
                Self { factor, name }
            },
        )
    }
}

/// A measurement's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dot {
    x: i32,
    y: i32,
    whisker: Option<(i32, i32)>,
    href: String,
    title: String,
}

/// A vertical line: an epoch's beginning, or a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    x: i32,
    title: String,
    colour: &'static str,
    /// A paired run said so: filled.
    is_proven: bool,
}

/// Words beside a vertical line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    x: i32,
    y: i32,
    anchor: &'static str,
    words: String,
}

/// One of the two drawings.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/history_drawing.html")]
pub(crate) struct HistoryDrawing {
    shape: Shape,
    width: i32,
    height: i32,
    canvas: Canvas,
    title: String,
    unit: &'static str,
    epochs: Vec<Mark>,
    changes: Vec<Mark>,
    labels: Vec<Label>,
    dots: Vec<Dot>,
    is_standalone: bool,
}

impl HtmlSafe for HistoryDrawing {}

/// The chart of one series.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/history_chart.html")]
pub(crate) struct HistoryChart {
    headline: String,
    wide: HistoryDrawing,
    narrow: HistoryDrawing,
    has_canary: bool,
    has_changes: bool,
    has_breaks: bool,
    undrawn: usize,
    /// For the script, which draws the same from the JSON twin.
    json: String,
    unit: Unit,
    spacing: Spacing,
}

impl HtmlSafe for HistoryChart {}

impl HistoryChart {
    /// `None` when no point has a place.
    pub(crate) fn new(
        headline: String,
        series: &SeriesAnswer,
        spacing: Spacing,
    ) -> Result<Option<Self>, PageError> {
        let unit = Unit::of(series);
        let scene = Scene::new(&headline, series, unit, spacing);
        let (Some(wide), Some(narrow)) =
            (scene.drawing(Shape::Wide)?, scene.drawing(Shape::Narrow)?)
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            has_canary: scene.points.iter().any(|point| point.canary.is_some()),
            has_changes: !wide.changes.is_empty(),
            has_breaks: !wide.epochs.is_empty(),
            undrawn: series.points.len() - scene.points.len(),
            json: format!("/series/{}.json", segment(&series.series.id)),
            spacing,
            unit,
            wide,
            narrow,
            headline,
        }))
    }

    /// The wide drawing as a file of its own.
    pub(crate) fn standalone(mut self) -> HistoryDrawing {
        self.wide.is_standalone = true;
        self.wide
    }
}

struct Scene<'a> {
    title: &'a str,
    series: &'a SeriesAnswer,
    points: Vec<&'a SeriesPoint>,
    unit: Unit,
    value: Measure,
}

impl<'a> Scene<'a> {
    fn new(title: &'a str, series: &'a SeriesAnswer, unit: Unit, spacing: Spacing) -> Self {
        let value = Measure::Value {
            logarithmic: spacing == Spacing::Logarithmic,
        };
        let fitting: Vec<&SeriesPoint> = series
            .points
            .iter()
            .filter(|point| {
                Measure::Time.admits(point.measured_seconds)
                    && value.admits(point.value * unit.factor)
            })
            .collect();
        Self {
            points: fitting[fitting.len().saturating_sub(MAX_POINTS)..].to_vec(),
            title,
            series,
            unit,
            value,
        }
    }

    /// What has a place on the axis of values, in the shown unit.
    fn shown(&self, value: f64) -> Option<f64> {
        Some(value * self.unit.factor).filter(|value| self.value.admits(*value))
    }

    fn drawing(&self, shape: Shape) -> Result<Option<HistoryDrawing>, PageError> {
        let (across, down) = shape.ticks();
        let times = self.points.iter().map(|point| point.measured_seconds);
        let values = self.points.iter().flat_map(|point| {
            [Some(point.value), point.low, point.high, point.canary]
                .into_iter()
                .flatten()
                .filter_map(|value| self.shown(value))
        });
        let x = Axis::fit(
            Measure::Time,
            times,
            across.min(if across > 4 { 7 } else { 3 }),
        );
        let y = Axis::fit(self.value, values, down);
        let (Some(x), Some(y)) = (x, y) else {
            return Ok(None);
        };
        let (width, height) = match shape {
            Shape::Wide => (960, 400),
            Shape::Narrow => (360, 360),
        };
        let top = if self.series.changes.is_empty() {
            30
        } else {
            82
        };
        let room = Room {
            width: width * SCALE,
            height: height * SCALE,
            top: top * SCALE,
            right: 16 * SCALE,
            bottom: 4 * SCALE,
            left_labels: 62 * SCALE,
            bottom_labels: 26 * SCALE,
        };
        let canvas = canvas::draw(shape, room, &x, &y, &[], &self.lines())?;
        let (epochs, mut labels) = self.epochs(shape, &x, &canvas);
        let (changes, words) = self.changes(shape, &x, &canvas);
        labels.extend(words);
        Ok(Some(HistoryDrawing {
            shape,
            width: room.width,
            height: room.height,
            title: drawable(self.title),
            unit: self.unit.name,
            dots: self.dots(&x, &y, &canvas),
            canvas,
            epochs,
            changes,
            labels,
            is_standalone: false,
        }))
    }

    /// Points of one epoch after the other, and their canaries: no line runs over a break.
    fn lines(&self) -> Vec<Line> {
        let epochs = self
            .points
            .chunk_by(|before, after| before.epoch == after.epoch);
        epochs
            .flat_map(|points| {
                let through = |figure: &dyn Fn(&SeriesPoint) -> Option<f64>| -> Vec<(f64, f64)> {
                    let place = |point: &&SeriesPoint| {
                        Some((point.measured_seconds, self.shown(figure(point)?)?))
                    };
                    points.iter().filter_map(place).collect()
                };
                [
                    Line {
                        points: through(&|point| point.canary),
                        colour: CANARY,
                        width: 5,
                        dashed: true,
                    },
                    Line {
                        points: through(&|point| Some(point.value)),
                        colour: LINE,
                        width: 6,
                        dashed: false,
                    },
                ]
            })
            .filter(|line| line.points.len() >= 2)
            .collect()
    }

    fn dots(&self, x: &Axis, y: &Axis, canvas: &Canvas) -> Vec<Dot> {
        let dot = |point: &&SeriesPoint| {
            let (low, high) = (point.low, point.high);
            let ends = low.zip(high).map(|(low, high)| {
                let end = |value: f64| {
                    y.place_within(value * self.unit.factor, canvas.bottom, canvas.top)
                };
                (end(low), end(high))
            });
            let value = |value: f64| format::rough(value * self.unit.factor);
            let interval = low.zip(high).map_or_else(String::new, |(low, high)| {
                format!(" ({}–{})", value(low), value(high))
            });
            Some(Dot {
                x: x.place(point.measured_seconds, canvas.left, canvas.right)?,
                y: y.place(point.value * self.unit.factor, canvas.bottom, canvas.top)?,
                whisker: ends,
                href: format!("/records/{}", segment(&point.record)),
                title: drawable(&format!(
                    "{}, {}: {} {}{interval}",
                    format::time(&point.measured_at),
                    cut(&point.build, 60),
                    value(point.value),
                    self.unit.name,
                )),
            })
        };
        self.points.iter().filter_map(dot).collect()
    }

    fn epochs(&self, shape: Shape, x: &Axis, canvas: &Canvas) -> (Vec<Mark>, Vec<Label>) {
        let mut shelf = Shelf::new(
            shape,
            canvas,
            [canvas.bottom - 10 * SCALE, canvas.bottom - 28 * SCALE],
        );
        let mut labels = Vec::new();
        let breaks = self.series.epochs.iter().filter(|epoch| epoch.epoch > 0);
        let marks = breaks.take(MAX_MARKS).filter_map(|epoch| {
            // The line stands where the epoch's first point does.
            let first = self
                .points
                .iter()
                .find(|point| point.epoch == epoch.epoch)?;
            let at = x.place(first.measured_seconds, canvas.left, canvas.right)?;
            let changed = drawable(&epoch.changed);
            labels.extend(shelf.put(at, &[&changed, &format!("epoch {}", epoch.epoch + 1)]));
            Some(Mark {
                x: at,
                title: format!("epoch {}: {changed}", epoch.epoch + 1),
                colour: GREY,
                is_proven: false,
            })
        });
        (marks.collect(), labels)
    }

    fn changes(&self, shape: Shape, x: &Axis, canvas: &Canvas) -> (Vec<Mark>, Vec<Label>) {
        let mut shelf = Shelf::new(
            shape,
            canvas,
            [canvas.top - 22 * SCALE, canvas.top - 40 * SCALE],
        );
        let mut labels = Vec::new();
        // Confirmed ones first: where room is scarce, they have it.
        let marks = self
            .series
            .changes
            .iter()
            .take(MAX_MARKS)
            .filter_map(|change| {
                let at = x.place(change.at_seconds, canvas.left, canvas.right)?;
                let state = super::state_word(change.state);
                let words = format!("{state} {}", format::change(change.effect));
                labels.extend(shelf.put(at, &[&words, state]));
                Some(Mark {
                    x: at,
                    title: words,
                    colour: match (change.state, change.is_regression) {
                        (ChangeState::Confirmed | ChangeState::Certified, true) => VERMILION,
                        (ChangeState::Confirmed | ChangeState::Certified, false) => GREEN,
                        (ChangeState::Suspect, _) => BLUE,
                        _ => GREY,
                    },
                    is_proven: change.state == ChangeState::Confirmed,
                })
            });
        (marks.collect(), labels)
    }
}

/// Two lines of words beside marks; what has no room on either is left to the list below the chart.
struct Shelf {
    rows: [(i32, Vec<(i32, i32)>); 2],
    left: i32,
    right: i32,
    letter: f64,
}

impl Shelf {
    fn new(shape: Shape, canvas: &Canvas, baselines: [i32; 2]) -> Self {
        Self {
            rows: baselines.map(|baseline| (baseline, Vec::new())),
            left: canvas.left,
            right: canvas.right,
            letter: f64::from(shape.text()) * LETTER,
        }
    }

    /// The first of the wordings that fits beside `at`.
    fn put(&mut self, at: i32, wordings: &[&str]) -> Option<Label> {
        let air = 4 * SCALE;
        for words in wordings.iter().filter(|words| !words.is_empty()) {
            let width = (words.chars().count() as f64 * self.letter) as i32;
            for (anchor, from, to) in [
                ("start", at + air, at + air + width),
                ("end", at - air - width, at - air),
            ] {
                if from < self.left || to > self.right {
                    continue;
                }
                for (baseline, taken) in &mut self.rows {
                    if taken.iter().all(|(a, b)| to + air < *a || *b + air < from) {
                        taken.push((from, to));
                        return Some(Label {
                            x: if anchor == "start" { from } else { to },
                            y: *baseline,
                            anchor,
                            words: (*words).to_owned(),
                        });
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use domain::history::{ChangeRow, EpochRow, SeriesRow};
    use proptest::prelude::*;

    use super::*;

    fn answer(points: Vec<SeriesPoint>) -> SeriesAnswer {
        SeriesAnswer {
            data_version: String::new(),
            licence: String::new(),
            series: SeriesRow {
                metric: "decode_tokens_per_second".to_owned(),
                ..SeriesRow::default()
            },
            epochs: vec![EpochRow {
                epoch: 1,
                begins_at: String::new(),
                changed: "driver 1 became driver 2".to_owned(),
            }],
            points,
            changes: Vec::new(),
        }
    }

    fn point(at: f64, value: f64, epoch: u32) -> SeriesPoint {
        SeriesPoint {
            record: "00".to_owned(),
            measured_at: String::new(),
            measured_seconds: at,
            build: "b1".to_owned(),
            commit: None,
            value,
            low: Some(value * 0.99),
            high: Some(value * 1.01),
            canary: None,
            epoch,
        }
    }

    fn chart(answer: &SeriesAnswer) -> Option<HistoryChart> {
        HistoryChart::new("Decode speed".to_owned(), answer, Spacing::Linear).expect("drawable")
    }

    #[test]
    fn without_a_point_there_is_no_chart() {
        assert_eq!(chart(&answer(Vec::new())), None);
        assert_eq!(chart(&answer(vec![point(1.0, f64::NAN, 0)])), None);
    }

    #[test]
    fn no_line_runs_over_an_epochs_break_and_the_break_is_labelled() {
        let points: Vec<SeriesPoint> = (0..6)
            .map(|day| point(1.7e9 + f64::from(day) * 86_400.0, 30.0, u32::from(day > 2)))
            .collect();
        let answer = answer(points);
        let scene = Scene::new("", &answer, Unit::of(&answer), Spacing::Linear);
        let lengths: Vec<usize> = scene.lines().iter().map(|line| line.points.len()).collect();
        assert_eq!(lengths, [3, 3]);
        let wide = chart(&answer).expect("drawn").wide;
        assert_eq!(wide.epochs.len(), 1);
        assert_eq!(wide.labels[0].words, "driver 1 became driver 2");
        assert_eq!(wide.epochs[0].x, wide.dots[3].x);
    }

    #[test]
    fn a_break_without_room_for_its_words_has_its_number() {
        let points = (0..6)
            .map(|day| point(1.7e9 + f64::from(day) * 86_400.0, 30.0, u32::from(day > 2)))
            .collect();
        let mut answer = answer(points);
        answer.epochs[0].changed = "word ".repeat(80);
        let narrow = chart(&answer).expect("drawn").narrow;
        assert_eq!(narrow.labels[0].words, "epoch 2");
    }

    #[test]
    fn what_a_paired_run_said_is_filled_and_what_only_looks_so_is_hollow() {
        let mut answer = answer(vec![point(1.7e9, 30.0, 0), point(1.8e9, 29.0, 0)]);
        for state in [ChangeState::Confirmed, ChangeState::Suspect] {
            answer.changes.push(ChangeRow {
                id: "c".to_owned(),
                group: String::new(),
                note: None,
                series: SeriesRow::default(),
                state,
                is_regression: true,
                effect: 0.034,
                effect_over_noise: None,
                p: 0.001,
                last_good: "a".to_owned(),
                first_bad: "b".to_owned(),
                last_good_commit: None,
                first_bad_commit: None,
                at: String::new(),
                at_seconds: 1.75e9,
                updated_at: String::new(),
                points_before: 1,
                points_after: 1,
                paired_run: String::new(),
                gates: Vec::new(),
            });
        }
        let wide = chart(&answer).expect("drawn").wide;
        let proven: Vec<bool> = wide.changes.iter().map(|mark| mark.is_proven).collect();
        assert_eq!(proven, [true, false]);
        assert!(wide.labels[0].words.starts_with("confirmed +3.4"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_series_is_drawn_inside_its_frame_or_left_out(
            points in proptest::collection::vec((any::<f64>(), any::<f64>(), 0_u32..4), 0..30),
            is_logarithmic in any::<bool>(),
        ) {
            let points = points.into_iter().map(|(at, value, epoch)| point(at, value, epoch)).collect();
            let spacing = if is_logarithmic { Spacing::Logarithmic } else { Spacing::Linear };
            let chart = HistoryChart::new(String::new(), &answer(points), spacing).expect("drawable");
            for drawing in chart.into_iter().flat_map(|chart| [chart.wide, chart.narrow]) {
                prop_assert!(!drawing.dots.is_empty());
                for dot in &drawing.dots {
                    prop_assert!((drawing.canvas.left..=drawing.canvas.right).contains(&dot.x));
                    let (low, high) = dot.whisker.unwrap_or((dot.y, dot.y));
                    for y in [dot.y, low, high] {
                        prop_assert!((drawing.canvas.top..=drawing.canvas.bottom).contains(&y));
                    }
                }
            }
        }
    }
}
