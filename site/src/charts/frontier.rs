//! The frontier: every answered row as a mark, a staircase through the non-dominated published
//! values, whiskers on what is on or tied, gutters for what lacks a coordinate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use askama::Template;
use askama::filters::HtmlSafe;
use domain::api::{FrontierAnswer, ImportedBeside, LeftOut, Membership, Objective, ResultRow};

use super::axes::{Axis, Measure};
use super::canvas::{self, Canvas, Line, Room};
use super::labels::{self, Area, Label};
use super::theme::{BLUE, GREEN, GREY, INK, LINE, SCALE, Shape, VERMILION};
use crate::error::PageError;
use crate::{format, names};

/// More marks are not drawn; dominated ones are dropped first.
const MAX_MARKS: usize = 2_000;

/// What a mark says by its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Filled circle.
    On,
    /// Ring.
    Tied,
    /// Cross.
    Dominated,
    /// Small dot in the region beyond the budget.
    Beyond,
    /// Diamond in a gutter: a coordinate is not recorded.
    Unknown,
    /// Triangle: another tool's figure, with no standing.
    Imported,
}

/// A linked mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Its shape.
    pub(crate) kind: Kind,
    /// Place in drawn units.
    pub(crate) x: i32,
    /// Place in drawn units.
    pub(crate) y: i32,
    /// The result's id.
    pub(crate) id: String,
    /// The result's page.
    pub(crate) href: String,
    /// Everything about it in words.
    pub(crate) title: String,
    /// Speed class.
    pub(crate) colour: &'static str,
    /// Interval lines with caps, as path data.
    pub(crate) whiskers: String,
}

impl Mark {
    /// Path data of its shape.
    pub(crate) fn path(&self) -> String {
        let (x, y) = (self.x, self.y);
        let circle = |r: i32| {
            format!(
                "M{} {y}a{r} {r} 0 1 0 {} 0a{r} {r} 0 1 0 {} 0z",
                x - r,
                2 * r,
                -2 * r
            )
        };
        match self.kind {
            Kind::On => circle(26),
            Kind::Tied => circle(24),
            Kind::Beyond => circle(12),
            Kind::Dominated => {
                format!("M{} {}l34 34M{} {}l-34 34", x - 17, y - 17, x + 17, y - 17)
            }
            Kind::Unknown => format!("M{x} {}l22 22l-22 22l-22 -22z", y - 22),
            Kind::Imported => format!("M{x} {}l24 40h-48z", y - 24),
        }
    }
}

/// A line of text in the drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    x: i32,
    y: i32,
    anchor: &'static str,
    words: String,
    /// A warning, not a label.
    loud: bool,
}

/// One of the two drawings.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/frontier_drawing.html")]
pub(crate) struct Drawing {
    /// Wide or narrow.
    pub(crate) shape: Shape,
    width: i32,
    height: i32,
    /// plotters' part.
    pub(crate) canvas: Canvas,
    title: String,
    description: String,
    texts: Vec<Text>,
    /// Not reached by Tab: the table has them.
    pub(crate) faint: Vec<Mark>,
    /// On and tied, left to right.
    pub(crate) marks: Vec<Mark>,
    labels: Vec<Label>,
    standalone: bool,
}

impl HtmlSafe for Drawing {}

/// An entry of the legend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LegendEntry {
    mark: Mark,
    words: String,
}

/// Chart with legend and text alternatives.
#[derive(Debug, Clone, PartialEq, Template)]
#[template(path = "components/frontier_chart.html")]
pub(crate) struct FrontierChart {
    headline: String,
    wide: Drawing,
    narrow: Drawing,
    legend: Vec<LegendEntry>,
    notes: Vec<String>,
    summary: Vec<String>,
}

impl HtmlSafe for FrontierChart {}

/// The horizontal and the vertical axis of two objectives.
fn axes_of(objectives: &[Objective]) -> Option<(Objective, Objective)> {
    let rank = |objective: &Objective| match objective {
        Objective::Price => 0,
        Objective::Joules => 1,
        Objective::Decode => 2,
        Objective::Quality => 3,
    };
    let mut pair = [*objectives.first()?, *objectives.get(1)?];
    pair.sort_by_key(rank);
    Some((pair[0], pair[1]))
}

/// How an objective is called within a sentence.
fn noun(objective: Objective) -> &'static str {
    match objective {
        Objective::Price => "price",
        Objective::Quality => "quality",
        Objective::Decode => "decode speed",
        Objective::Joules => "joules per correct answer",
    }
}

/// An imported row's value for an objective, where it is one of ours.
fn of_import(objective: Objective, one: &ImportedBeside) -> Option<f64> {
    match objective {
        Objective::Price => one.price_usd,
        Objective::Decode => one.import.row.decode_tokens_per_second,
        Objective::Quality | Objective::Joules => None,
    }
}

/// A row and how it is shown.
struct Placed<'a> {
    row: &'a ResultRow,
    kind: Kind,
}

impl FrontierChart {
    /// `None` when no row has a place: the page then says so in words.
    pub(crate) fn new(answer: &FrontierAnswer) -> Result<Option<Self>, PageError> {
        let Some((x, y)) = axes_of(&answer.objectives) else {
            return Ok(None);
        };
        let admits = |objective: Objective, row: &ResultRow| {
            objective
                .of(row)
                .is_some_and(|value| Measure::Objective(objective).admits(value))
        };
        let (mut rows, mut undrawn) = (Vec::new(), 0_usize);
        for row in &answer.rows {
            let kind = match row.membership {
                Some(Membership::On) => Kind::On,
                Some(Membership::Tied) => Kind::Tied,
                _ => Kind::Dominated,
            };
            if admits(x, row) && admits(y, row) {
                rows.push(Placed { row, kind });
            } else {
                undrawn += 1;
            }
        }
        rows.sort_by_key(|placed| placed.kind == Kind::Dominated);
        undrawn += rows.len().saturating_sub(MAX_MARKS);
        rows.truncate(MAX_MARKS);
        let left_out = |wanted: fn(&LeftOut) -> bool| {
            answer
                .left_out
                .iter()
                .filter(move |one| wanted(one))
                .map(|one| &one.row)
                .take(MAX_MARKS / 4)
        };
        let beyond: Vec<_> = left_out(|one| one.code == "over-budget")
            .filter(|row| x == Objective::Price && admits(x, row) && admits(y, row))
            .collect();
        let without = |missing: Objective, known: Objective| -> Vec<&ResultRow> {
            left_out(|one| one.code.starts_with("no-"))
                .filter(|row| missing.of(row).is_none() && admits(known, row))
                .collect()
        };
        let (no_x, no_y) = (without(x, y), without(y, x));
        let imported = match (x, y) {
            (Objective::Price, Objective::Decode) => answer.imported.iter().collect(),
            // Their quality and joules are not ours.
            _ => Vec::new(),
        };
        if rows.is_empty()
            && beyond.is_empty()
            && no_x.is_empty()
            && no_y.is_empty()
            && imported.is_empty()
        {
            return Ok(None);
        }
        let scene = Scene {
            answer,
            engines: names::Engines::of(
                answer
                    .rows
                    .iter()
                    .chain(answer.left_out.iter().map(|one| &one.row)),
            ),
            x,
            y,
            rows,
            beyond,
            no_x,
            no_y,
            imported,
        };
        let (Some(wide), Some(narrow)) =
            (scene.drawing(Shape::Wide)?, scene.drawing(Shape::Narrow)?)
        else {
            return Ok(None);
        };
        let mut notes = Vec::new();
        if undrawn > 0 {
            notes.push(format!(
                "{} on this page {} no place on these axes; the table has them.",
                format::plural(undrawn, "result"),
                if undrawn == 1 { "has" } else { "have" },
            ));
        }
        Ok(Some(Self {
            headline: scene.title(),
            legend: scene.legend(),
            summary: scene.summary(),
            wide,
            narrow,
            notes,
        }))
    }

    /// The wide drawing as a file of its own.
    pub(crate) fn standalone(mut self) -> Drawing {
        self.wide.standalone = true;
        self.wide
    }

    /// Both drawings.
    #[cfg(test)]
    pub(crate) fn drawings(&self) -> [&Drawing; 2] {
        [&self.wide, &self.narrow]
    }
}

struct Scene<'a> {
    answer: &'a FrontierAnswer,
    engines: names::Engines,
    x: Objective,
    y: Objective,
    rows: Vec<Placed<'a>>,
    beyond: Vec<&'a ResultRow>,
    no_x: Vec<&'a ResultRow>,
    no_y: Vec<&'a ResultRow>,
    imported: Vec<&'a ImportedBeside>,
}

impl Scene<'_> {
    fn title(&self) -> String {
        let (on, tied) = (self.answer.on as usize, self.answer.tied as usize);
        let tied = if tied == 0 {
            String::new()
        } else {
            format!(", {tied} not to be told apart from it")
        };
        format!(
            "{} against {}: {} on the frontier{tied}",
            capital(noun(self.y)),
            noun(self.x),
            format::plural(on, "result"),
        )
    }

    /// Values that an axis must hold: all places, and the intervals of what is on or tied.
    fn extent(&self, objective: Objective) -> Vec<f64> {
        let others = self
            .beyond
            .iter()
            .chain(&self.no_x)
            .chain(&self.no_y)
            .copied();
        let mut values: Vec<f64> = self
            .rows
            .iter()
            .map(|placed| placed.row)
            .chain(others)
            .filter_map(|row| objective.of(row))
            .collect();
        // What nobody measured here stretches no axis, unless there is nothing else.
        if values.is_empty() {
            let imported = self.imported.iter();
            values.extend(imported.filter_map(|one| of_import(objective, one)));
        }
        for placed in self
            .rows
            .iter()
            .filter(|placed| matches!(placed.kind, Kind::On | Kind::Tied))
        {
            values.extend(
                interval(objective, placed.row)
                    .into_iter()
                    .flat_map(|(low, high)| [low, high]),
            );
        }
        values
    }

    fn drawing(&self, shape: Shape) -> Result<Option<Drawing>, PageError> {
        let (across, down) = shape.ticks();
        let x = Axis::fit(Measure::Objective(self.x), self.extent(self.x), across);
        let y = Axis::fit(Measure::Objective(self.y), self.extent(self.y), down);
        let (Some(x), Some(y)) = (x, y) else {
            return Ok(None);
        };
        let room = self.room(shape);
        let (x_low, x_high) = x.ends();
        let (y_low, y_high) = y.ends();
        let budget = self.answer.budget_usd;
        let (mut regions, mut lines) = (Vec::new(), Vec::new());
        if self.x == Objective::Price && x.holds(budget) {
            regions.push([(budget, y_low), (x_high, y_high)]);
            lines.push(Line {
                points: vec![(budget, y_low), (budget, y_high)],
                colour: INK,
                width: 5,
                dashed: true,
            });
        }
        let stairs = if self.crosses_scopes() {
            Vec::new()
        } else {
            self.staircase((x_low, x_high), (y_low, y_high))
        };
        if !stairs.is_empty() {
            lines.push(Line {
                points: stairs.clone(),
                colour: LINE,
                width: 9,
                dashed: false,
            });
        }
        let canvas = canvas::draw(shape, room, &x, &y, &regions, &lines)?;
        let texts = self.texts(shape, room, &canvas, &x);
        let (faint, marks) = self.marks(room.width, &canvas, &x, &y);
        let taken = self.taken(&marks, &stairs, &canvas, &x, &y);
        let labels = labels::place(shape, &canvas, self.wanted_labels(&marks), taken);
        Ok(Some(Drawing {
            shape,
            width: room.width,
            height: room.height,
            title: self.title(),
            description: self.description(),
            canvas,
            texts,
            faint,
            marks,
            labels,
            standalone: false,
        }))
    }

    fn room(&self, shape: Shape) -> Room {
        let (width, height, left_labels, gutter) = match shape {
            Shape::Wide => (960, 540, 58, 96),
            Shape::Narrow => (360, 480, 52, 58),
        };
        Room {
            width: width * SCALE,
            height: height * SCALE,
            top: 36 * SCALE,
            right: if self.no_x.is_empty() { 16 } else { gutter } * SCALE,
            bottom: if self.no_y.is_empty() { 26 } else { 70 } * SCALE,
            left_labels: left_labels * SCALE,
            bottom_labels: 26 * SCALE,
        }
    }

    /// What is written at an axis; joules with what they cover.
    fn axis_title(&self, objective: Objective) -> String {
        let title = Measure::Objective(objective).title();
        match &self.answer.energy_scope {
            _ if objective != Objective::Joules => title.to_owned(),
            _ if self.answer.across_scopes => format!("{title}, of different scopes"),
            Some(scope) => format!("{title}, {scope}"),
            None => title.to_owned(),
        }
    }

    /// The reader put joules side by side that are not of the same silicon.
    fn crosses_scopes(&self) -> bool {
        self.answer.across_scopes && self.answer.objectives.contains(&Objective::Joules)
    }

    fn texts(&self, shape: Shape, room: Room, canvas: &Canvas, x: &Axis) -> Vec<Text> {
        let log = |objective: Objective| {
            if Measure::Objective(objective).is_logarithmic() {
                ", log"
            } else {
                ""
            }
        };
        let mut texts = vec![
            Text {
                x: 4 * SCALE,
                y: canvas.top - 16 * SCALE,
                anchor: "start",
                words: format!("↑ {}{}", self.axis_title(self.y), log(self.y)),
                loud: false,
            },
            Text {
                x: canvas.right,
                y: room.height - 8 * SCALE,
                anchor: "end",
                words: format!("{}{} →", self.axis_title(self.x), log(self.x)),
                loud: false,
            },
        ];
        if self.crosses_scopes() {
            let words = match shape {
                Shape::Wide => {
                    "Joules of different scopes: they are not comparable with one another"
                }
                Shape::Narrow => "Different scopes: not comparable",
            };
            texts.push(Text {
                x: canvas.left + 8 * SCALE,
                y: canvas.top + shape.text() + 2 * SCALE,
                anchor: "start",
                words: words.to_owned(),
                loud: true,
            });
        }
        let middle = i32::midpoint(canvas.right, room.width);
        if !self.no_x.is_empty() {
            for (i, word) in (0..).zip(["no", noun(self.x).split(' ').next().unwrap_or_default()]) {
                texts.push(Text {
                    x: middle,
                    y: canvas.top + shape.text() * (4 + 5 * i) / 4,
                    anchor: "middle",
                    words: word.to_owned(),
                    loud: false,
                });
            }
        }
        if !self.no_y.is_empty() {
            texts.push(Text {
                x: 4 * SCALE,
                y: gutter_line(canvas) + shape.text() / 3,
                anchor: "start",
                words: format!("no {}", noun(self.y).split(' ').next().unwrap_or_default()),
                loud: false,
            });
        }
        if self.x == Objective::Price
            && let Some(at) = x.place(self.answer.budget_usd, canvas.left, canvas.right)
        {
            let end = at > i32::midpoint(canvas.left, canvas.right);
            texts.push(Text {
                x: if end { at - 16 } else { at + 16 },
                y: canvas.bottom - 24,
                anchor: if end { "end" } else { "start" },
                words: format!("budget {}", format::usd(self.answer.budget_usd)),
                loud: false,
            });
        }
        texts
    }

    fn marks(&self, width: i32, canvas: &Canvas, x: &Axis, y: &Axis) -> (Vec<Mark>, Vec<Mark>) {
        let at = |row: &ResultRow| {
            let across = x.place(self.x.of(row)?, canvas.left, canvas.right)?;
            let down = y.place(self.y.of(row)?, canvas.bottom, canvas.top)?;
            Some((across, down))
        };
        let (mut faint, mut marks) = (Vec::new(), Vec::new());
        for placed in &self.rows {
            let Some((across, down)) = at(placed.row) else {
                continue;
            };
            let mut mark = self.mark(placed.row, placed.kind, across, down);
            if placed.kind == Kind::Dominated {
                faint.push(mark);
            } else {
                mark.whiskers = self.whiskers(placed.row, (across, down), canvas, x, y);
                marks.push(mark);
            }
        }
        for row in &self.beyond {
            faint.extend(at(row).map(|(across, down)| self.mark(row, Kind::Beyond, across, down)));
        }
        let right = i32::midpoint(canvas.right, width);
        for row in &self.no_x {
            let down = self
                .y
                .of(row)
                .and_then(|value| y.place(value, canvas.bottom, canvas.top));
            faint.extend(down.map(|down| self.mark(row, Kind::Unknown, right, down)));
        }
        for row in &self.no_y {
            let across = self
                .x
                .of(row)
                .and_then(|value| x.place(value, canvas.left, canvas.right));
            faint.extend(
                across.map(|across| self.mark(row, Kind::Unknown, across, gutter_line(canvas))),
            );
        }
        for one in &self.imported {
            faint.extend(self.imported_mark(one, canvas, x, y));
        }
        marks.sort_by_key(|mark| (mark.x, mark.y));
        (faint, marks)
    }

    fn imported_mark(
        &self,
        one: &ImportedBeside,
        canvas: &Canvas,
        x: &Axis,
        y: &Axis,
    ) -> Option<Mark> {
        let row = &one.import.row;
        let across = x.place(of_import(self.x, one)?, canvas.left, canvas.right)?;
        let down = y.place(of_import(self.y, one)?, canvas.bottom, canvas.top)?;
        Some(Mark {
            kind: Kind::Imported,
            x: across,
            y: down,
            id: one.import.id.clone(),
            href: "/imports".to_owned(),
            title: names::drawable(&format!(
                "{} {}{}: imported, not measured here, with no standing. Decode {} tok/s",
                row.model.as_deref().unwrap_or("model not recorded"),
                row.test,
                row.depth_tokens
                    .filter(|&depth| depth > 0)
                    .map_or_else(String::new, |depth| format!(" behind {depth} tokens")),
                format::rough(row.decode_tokens_per_second.unwrap_or_default()),
            )),
            colour: GREY,
            whiskers: String::new(),
        })
    }

    fn mark(&self, row: &ResultRow, kind: Kind, x: i32, y: i32) -> Mark {
        let standing = match kind {
            Kind::On => "on the frontier",
            Kind::Tied => "tied with the frontier",
            Kind::Dominated => "dominated",
            Kind::Beyond => "over the budget",
            Kind::Unknown => "not placed: a coordinate is not recorded",
            Kind::Imported => "imported",
        };
        let mut title = format!(
            "{}: {standing}. Quality {}; decode {}",
            names::drawable(&self.engines.full(row)),
            format::quality(row).in_words(),
            format::decode(row).in_words(),
        );
        if let (Some(_), Some(scope)) = (row.joules_per_correct_answer, &row.energy_scope) {
            let joules = format::joules(row).in_words();
            let _ = write!(title, "; {joules} per correct answer, {scope}");
        }
        if let Some(usd) = row.price_usd {
            let _ = write!(
                title,
                "; {} {}",
                names::drawable(&row.setup_name),
                format::usd(usd)
            );
        }
        Mark {
            kind,
            x,
            y,
            id: row.id.clone(),
            href: names::result_path(&row.id),
            title,
            colour: self.colour(row, kind),
            whiskers: String::new(),
        }
    }

    fn colour(&self, row: &ResultRow, kind: Kind) -> &'static str {
        match kind {
            Kind::Dominated | Kind::Beyond | Kind::Unknown | Kind::Imported => GREY,
            _ if self.classed() => speed_class(row).0,
            _ => BLUE,
        }
    }

    /// Colour tells the speed only where no axis does.
    fn classed(&self) -> bool {
        self.x != Objective::Decode && self.y != Objective::Decode
    }

    fn whiskers(
        &self,
        row: &ResultRow,
        (across, down): (i32, i32),
        canvas: &Canvas,
        x: &Axis,
        y: &Axis,
    ) -> String {
        let mut path = String::new();
        if let Some((low, high)) = interval(self.y, row) {
            let (from, to) = (
                y.place_within(low, canvas.bottom, canvas.top),
                y.place_within(high, canvas.bottom, canvas.top),
            );
            let _ = write!(
                path,
                "M{across} {from}V{to}M{} {from}h24M{} {to}h24",
                across - 12,
                across - 12
            );
        }
        if let Some((low, high)) = interval(self.x, row) {
            let (from, to) = (
                x.place_within(low, canvas.left, canvas.right),
                x.place_within(high, canvas.left, canvas.right),
            );
            let _ = write!(
                path,
                "M{from} {down}H{to}M{from} {}v24M{to} {}v24",
                down - 12,
                down - 12
            );
        }
        path
    }

    /// Corners of the staircase in data coordinates, from the best of the first axis on.
    fn staircase(&self, x_ends: (f64, f64), y_ends: (f64, f64)) -> Vec<(f64, f64)> {
        let worst = |objective: Objective, ends: (f64, f64)| {
            if objective.higher_is_better() {
                ends.0
            } else {
                ends.1
            }
        };
        let better = |objective: Objective, a: f64, b: f64| {
            if objective.higher_is_better() {
                a > b
            } else {
                a < b
            }
        };
        let mut points: Vec<(f64, f64)> = self
            .rows
            .iter()
            .filter(|placed| placed.row.dominated_by.is_none())
            .filter_map(|placed| Some((self.x.of(placed.row)?, self.y.of(placed.row)?)))
            .collect();
        points.sort_by(|a, b| {
            let order = a.0.total_cmp(&b.0);
            let order = if self.x.higher_is_better() {
                order.reverse()
            } else {
                order
            };
            order.then_with(|| {
                if self.y.higher_is_better() {
                    b.1.total_cmp(&a.1)
                } else {
                    a.1.total_cmp(&b.1)
                }
            })
        });
        let mut corners: Vec<(f64, f64)> = Vec::new();
        let mut best: Option<f64> = None;
        for (x, y) in points {
            match best {
                None => corners.push((x, worst(self.y, y_ends))),
                Some(height) if better(self.y, y, height) => corners.push((x, height)),
                Some(_) => continue,
            }
            corners.push((x, y));
            best = Some(y);
        }
        if let Some(height) = best {
            corners.push((worst(self.x, x_ends), height));
        }
        corners
    }

    /// Marks, their whiskers, and the staircase.
    fn taken(
        &self,
        marks: &[Mark],
        stairs: &[(f64, f64)],
        canvas: &Canvas,
        x: &Axis,
        y: &Axis,
    ) -> Vec<Area> {
        let across = |value: f64| x.place_within(value, canvas.left, canvas.right);
        let down = |value: f64| y.place_within(value, canvas.bottom, canvas.top);
        let mut taken: Vec<Area> = marks
            .iter()
            .map(|mark| Area::around((mark.x, mark.y), (mark.x, mark.y), 30))
            .collect();
        for step in stairs.windows(2) {
            let corner = |(x, y): (f64, f64)| (across(x), down(y));
            taken.push(Area::around(corner(step[0]), corner(step[1]), 4));
        }
        for placed in self
            .rows
            .iter()
            .filter(|placed| placed.kind != Kind::Dominated)
        {
            let Some(mark) = marks.iter().find(|mark| mark.id == placed.row.id) else {
                continue;
            };
            if let Some((low, high)) = interval(self.y, placed.row) {
                taken.push(Area::around((mark.x, down(low)), (mark.x, down(high)), 6));
            }
            if let Some((low, high)) = interval(self.x, placed.row) {
                taken.push(Area::around(
                    (across(low), mark.y),
                    (across(high), mark.y),
                    6,
                ));
            }
        }
        taken
    }

    /// Names without the words that all of them begin with, on before tied. Where setups
    /// differ, the setup belongs to the name, and the engine where names would be equal.
    fn wanted_labels(&self, marks: &[Mark]) -> Vec<(i32, i32, String)> {
        let several = self
            .rows
            .windows(2)
            .any(|pair| pair[0].row.setup != pair[1].row.setup);
        let mut told: BTreeMap<(String, &str), BTreeSet<(&str, &str)>> = BTreeMap::new();
        for row in self.rows.iter().map(|placed| placed.row) {
            let builds = told.entry((names::full(row), &row.setup)).or_default();
            builds.insert((&row.engine_slug, &row.engine_build_id));
        }
        let mut wanted: Vec<(&Mark, Option<String>, Vec<String>)> = Vec::new();
        for mark in marks {
            let Some(placed) = self.rows.iter().find(|placed| placed.row.id == mark.id) else {
                continue;
            };
            let mut name = names::full(placed.row);
            let namesakes = told.get(&(name.clone(), placed.row.setup.as_str()));
            let engine = namesakes
                .filter(|builds| builds.len() > 1)
                .map(|_| names::drawable(&self.engines.short(placed.row)));
            if several {
                let _ = write!(name, ", {}", placed.row.setup_name);
            }
            let words = names::drawable(&name)
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            wanted.push((mark, engine, words));
        }
        wanted.sort_by_key(|(mark, ..)| mark.kind == Kind::Tied);
        let shared = wanted.first().map_or(0, |(.., first)| {
            (0..first.len().saturating_sub(1))
                .take_while(|i| {
                    wanted
                        .iter()
                        .all(|(.., words)| words.len() > i + 1 && words[*i] == first[*i])
                })
                .count()
        });
        let shared = if wanted.len() > 1 { shared } else { 0 };
        wanted
            .into_iter()
            .map(|(mark, engine, words)| {
                let name = words[shared..].join(" ");
                // Of a long label the engine survives: it is what tells namesakes apart.
                let text = match engine {
                    Some(engine) => {
                        let room = labels::MAX_LETTERS.saturating_sub(engine.chars().count() + 2);
                        format!("{}, {engine}", names::cut(&name, room.max(8)))
                    }
                    None => name,
                };
                (mark.x, mark.y, text)
            })
            .collect()
    }

    fn legend(&self) -> Vec<LegendEntry> {
        let entry = |kind: Kind, colour: &'static str, words: &str| LegendEntry {
            mark: Mark {
                kind,
                x: 40,
                y: 40,
                id: String::new(),
                href: String::new(),
                title: String::new(),
                colour,
                whiskers: String::new(),
            },
            words: words.to_owned(),
        };
        let mut legend = vec![
            entry(
                Kind::On,
                if self.classed() { GREY } else { BLUE },
                "on the frontier",
            ),
            entry(
                Kind::Tied,
                if self.classed() { GREY } else { BLUE },
                "tied: not to be told apart",
            ),
            entry(Kind::Dominated, GREY, "dominated"),
        ];
        if !self.beyond.is_empty() {
            legend.push(entry(Kind::Beyond, GREY, "over the budget"));
        }
        if !(self.no_x.is_empty() && self.no_y.is_empty()) {
            legend.push(entry(Kind::Unknown, GREY, "a coordinate is not recorded"));
        }
        if !self.imported.is_empty() {
            legend.push(entry(
                Kind::Imported,
                GREY,
                "imported: another tool’s figure, with no standing",
            ));
        }
        if self.classed() {
            for colour in [BLUE, GREEN, VERMILION, GREY] {
                let class = self
                    .rows
                    .iter()
                    .filter(|placed| placed.kind != Kind::Dominated)
                    .map(|placed| speed_class(placed.row))
                    .find(|class| class.0 == colour);
                legend.extend(class.map(|(colour, words)| entry(Kind::On, colour, words)));
            }
        }
        legend
    }

    fn description(&self) -> String {
        let line = if self.crosses_scopes() {
            "no line is drawn, as joules of different scopes are not comparable"
        } else {
            "the staircase joins the results that no other beats in both"
        };
        format!(
            "Horizontal: {}. Vertical: {}. Whiskers are 95 % intervals; {line}.",
            self.axis_title(self.x),
            self.axis_title(self.y),
        )
    }

    /// The chart in words, frontier points only; the table has all.
    fn summary(&self) -> Vec<String> {
        self.rows
            .iter()
            .filter(|placed| matches!(placed.kind, Kind::On | Kind::Tied))
            .map(|placed| self.mark(placed.row, placed.kind, 0, 0).title)
            .collect()
    }
}

/// Middle of the strip for rows without a vertical coordinate.
fn gutter_line(canvas: &Canvas) -> i32 {
    canvas.bottom + 48 * SCALE
}

fn interval(objective: Objective, row: &ResultRow) -> Option<(f64, f64)> {
    let figure = match objective {
        Objective::Price => None,
        Objective::Quality => row.quality(),
        Objective::Decode => row.decode(),
        Objective::Joules => row.joules_per_correct(),
    };
    figure?
        .ci95
        .filter(|(low, high)| low.is_finite() && high.is_finite())
}

/// Colour and words of a decode speed.
fn speed_class(row: &ResultRow) -> (&'static str, &'static str) {
    match row.decode_tokens_per_second {
        Some(speed) if speed >= 30.0 => (BLUE, "30 tok/s or more"),
        Some(speed) if speed >= 10.0 => (GREEN, "10 to 30 tok/s"),
        Some(_) => (VERMILION, "under 10 tok/s"),
        None => (GREY, "speed not recorded"),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use domain::api::Facets;
    use domain::tier::Tier;
    use proptest::prelude::*;

    use super::*;

    fn answer(objectives: &[Objective], rows: Vec<ResultRow>) -> FrontierAnswer {
        FrontierAnswer {
            energy_scope: None,
            across_scopes: false,
            data_version: "v".into(),
            licence: domain::api::DATA_LICENCE.into(),
            query: String::new(),
            objectives: objectives.to_vec(),
            objectives_reason: None,
            budget_usd: 2_000.0,
            suite: None,
            workload: None,
            tier_floor: Tier::SelfReported,
            answer: String::new(),
            measured: rows.len() as u32,
            on: 0,
            tied: 0,
            unpriced: 0,
            draws: 1_000,
            rows,
            left_out: Vec::new(),
            imported: Vec::new(),
            imported_reason: None,
            facets: Facets::default(),
        }
    }

    fn row(id: usize, membership: Membership, x: Option<f64>, y: Option<f64>) -> ResultRow {
        ResultRow {
            id: format!("{id:016x}"),
            membership: Some(membership),
            price_usd: x,
            quality: y,
            quality_n: Some(210),
            quality_ci95_low: y.map(|y| y - 0.05),
            quality_ci95_high: y.map(|y| y + 0.05),
            ..ResultRow::default()
        }
    }

    fn chart(answer: &FrontierAnswer) -> FrontierChart {
        FrontierChart::new(answer)
            .expect("drawable")
            .expect("has places")
    }

    #[test]
    fn the_staircase_steps_and_never_cuts_a_corner() {
        let rows = vec![
            row(1, Membership::On, Some(500.0), Some(0.4)),
            row(2, Membership::On, Some(1_000.0), Some(0.7)),
            ResultRow {
                dominated_by: Some("2".into()),
                ..row(3, Membership::Dominated, Some(1_200.0), Some(0.6))
            },
        ];
        let answer = answer(&[Objective::Price, Objective::Quality], rows);
        let rows = answer
            .rows
            .iter()
            .map(|row| Placed {
                row,
                kind: Kind::On,
            })
            .collect();
        let (x, y) = (Objective::Price, Objective::Quality);
        let scene = Scene {
            answer: &answer,
            engines: names::Engines::default(),
            x,
            y,
            rows,
            beyond: vec![],
            no_x: vec![],
            no_y: vec![],
            imported: Vec::new(),
        };
        assert_eq!(
            scene.staircase((100.0, 5_000.0), (0.0, 1.0)),
            [
                (500.0, 0.0),
                (500.0, 0.4),
                (1_000.0, 0.4),
                (1_000.0, 0.7),
                (5_000.0, 0.7)
            ]
        );
    }

    #[test]
    fn tab_walks_the_frontier_only_and_from_left_to_right() {
        let rows = vec![
            row(1, Membership::On, Some(900.0), Some(0.8)),
            row(2, Membership::On, Some(500.0), Some(0.4)),
            row(3, Membership::Tied, Some(700.0), Some(0.5)),
            row(4, Membership::Dominated, Some(800.0), Some(0.3)),
        ];
        let chart = chart(&answer(&[Objective::Quality, Objective::Price], rows));
        for drawing in chart.drawings() {
            assert!(drawing.marks.is_sorted_by_key(|mark| mark.x));
            assert_eq!(drawing.marks.len(), 3);
            assert_eq!(drawing.faint.len(), 1);
            let svg = drawing.render().expect("renders");
            assert_eq!(svg.matches("tabindex=\"-1\"").count(), 1);
            assert!(
                !svg.contains("style="),
                "a strict policy allows no inline style"
            );
        }
    }

    #[test]
    fn a_row_without_price_is_in_the_gutter_and_never_at_zero() {
        let mut asked = answer(
            &[Objective::Price, Objective::Quality],
            vec![row(1, Membership::On, Some(900.0), Some(0.8))],
        );
        asked.left_out.push(LeftOut {
            row: row(2, Membership::On, None, Some(0.9)),
            code: "no-price".into(),
            reason: "not recorded".into(),
        });
        for drawing in chart(&asked).drawings() {
            let gutter = drawing
                .faint
                .iter()
                .find(|mark| mark.kind == Kind::Unknown)
                .expect("drawn");
            assert!(gutter.x > drawing.canvas.right && gutter.x < drawing.width);
        }
    }

    #[test]
    fn nothing_to_place_is_no_chart() {
        let rows = vec![row(1, Membership::On, None, None)];
        assert!(
            FrontierChart::new(&answer(&[Objective::Price, Objective::Quality], rows))
                .expect("fine")
                .is_none()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn marks_lie_inside_the_frame_whatever_the_values(
            points in proptest::collection::vec((any::<Option<f64>>(), any::<Option<f64>>(), 0..3_u8), 0..12),
            tame in proptest::collection::vec((1.0..1e5_f64, 0.0..1.0_f64), 0..8),
        ) {
            let kinds = [Membership::On, Membership::Tied, Membership::Dominated];
            let tame = tame.into_iter().map(|(x, y)| (Some(x), Some(y), 0));
            let rows: Vec<_> = points
                .into_iter()
                .chain(tame)
                .enumerate()
                .map(|(i, (x, y, kind))| row(i, kinds[usize::from(kind)], x, y))
                .collect();
            let placeable = rows
                .iter()
                .filter(|row| {
                    row.price_usd.is_some_and(|x| Measure::Objective(Objective::Price).admits(x))
                        && row.quality.is_some_and(|y| (0.0..=1.0).contains(&y))
                })
                .count();
            let asked = answer(&[Objective::Price, Objective::Quality], rows);
            match FrontierChart::new(&asked).expect("drawable") {
                None => prop_assert_eq!(placeable, 0),
                Some(chart) => for drawing in chart.drawings() {
                    let all: Vec<_> = drawing.marks.iter().chain(&drawing.faint).collect();
                    prop_assert_eq!(all.len(), placeable);
                    for mark in all {
                        prop_assert!((drawing.canvas.left..=drawing.canvas.right).contains(&mark.x));
                        prop_assert!((drawing.canvas.top..=drawing.canvas.bottom).contains(&mark.y));
                    }
                },
            }
        }
    }
}
