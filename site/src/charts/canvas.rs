//! plotters' part of a drawing: regions, frame, grid, ticks, lines.

use plotters::prelude::*;

use super::axes::Axis;
use super::theme::{GRID, INK, REGION, Shape};
use crate::error::PageError;

/// Room around the plotting area, in drawn units.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Whole drawing.
    pub(super) width: i32,
    /// Whole drawing.
    pub(super) height: i32,
    /// Above the frame.
    pub(super) top: i32,
    /// Right of the frame.
    pub(super) right: i32,
    /// Below the tick labels.
    pub(super) bottom: i32,
    /// Tick labels of the vertical axis.
    pub(super) left_labels: i32,
    /// Tick labels of the horizontal axis.
    pub(super) bottom_labels: i32,
}

/// A line through data coordinates.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Its corners.
    pub(super) points: Vec<(f64, f64)>,
    /// Its colour.
    pub(super) colour: RGBColor,
    /// In drawn units.
    pub(super) width: u32,
    /// Dashed lines are limits and medians, whole ones go through measured points.
    pub(super) dashed: bool,
}

/// A grey region between two corners in data coordinates.
pub(super) type Region = [(f64, f64); 2];

/// The finished part, and where its plotting area lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Canvas {
    /// SVG elements without the enclosing `svg`.
    pub(crate) inner: String,
    /// Left edge of the frame.
    pub(crate) left: i32,
    /// Right edge.
    pub(crate) right: i32,
    /// Upper edge.
    pub(crate) top: i32,
    /// Lower edge.
    pub(crate) bottom: i32,
}

/// Draws regions, then the grid, then lines.
pub(super) fn draw(
    shape: Shape,
    room: Room,
    x: &Axis,
    y: &Axis,
    regions: &[Region],
    lines: &[Line],
) -> Result<Canvas, PageError> {
    let mut svg = String::new();
    let edges = plot(&mut svg, shape, room, x, y, regions, lines)
        .map_err(|error| PageError::Draw(error.to_string()))?;
    let start = svg.find('>').map_or(0, |end| end + 1);
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    let inner = svg.get(start..end).unwrap_or_default().trim().to_owned();
    let (left, right, top, bottom) = edges;
    Ok(Canvas {
        inner,
        left,
        right,
        top,
        bottom,
    })
}

type DrawError = DrawingAreaErrorKind<std::io::Error>;

fn plot(
    svg: &mut String,
    shape: Shape,
    room: Room,
    x: &Axis,
    y: &Axis,
    regions: &[Region],
    lines: &[Line],
) -> Result<(i32, i32, i32, i32), DrawError> {
    let area =
        SVGBackend::with_string(svg, (room.width as u32, room.height as u32)).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin_top(room.top)
        .margin_right(room.right)
        .margin_bottom(room.bottom)
        .x_label_area_size(room.bottom_labels)
        .y_label_area_size(room.left_labels)
        .build_cartesian_2d(x.clone(), y.clone())?;
    chart.draw_series(
        regions
            .iter()
            .map(|corners| Rectangle::new(*corners, REGION.filled())),
    )?;
    let text = ("sans-serif", shape.plotters_text())
        .into_font()
        .color(&INK);
    chart
        .configure_mesh()
        .max_light_lines(0)
        .bold_line_style(GRID.stroke_width(4))
        .axis_style(INK.stroke_width(4))
        .label_style(text)
        .set_all_tick_mark_size(20)
        .draw()?;
    for line in lines {
        let style = line.colour.stroke_width(line.width);
        if line.dashed {
            chart.draw_series(DashedLineSeries::new(
                line.points.iter().copied(),
                24,
                20,
                style,
            ))?;
        } else {
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        }
    }
    let (across, down) = chart.plotting_area().get_pixel_range();
    drop(chart);
    area.present()?;
    Ok((across.start, across.end, down.start, down.end))
}
