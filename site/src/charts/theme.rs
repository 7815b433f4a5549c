//! Sizes and colours. Everything is drawn at four times its size, since plotters places on
//! whole pixels, and scaled back by the `viewBox`.
//!
//! Colours are Okabe-Ito's and always come with a shape or a word. The stylesheet swaps ink and
//! grid by their attribute values when the reader prefers a dark page.

use plotters::style::RGBColor;

/// Drawn units per shown pixel.
pub(super) const SCALE: i32 = 4;
/// Axis lines, text, outlines: `svg [stroke="#000000"]` in the stylesheet.
pub(super) const INK: RGBColor = RGBColor(0, 0, 0);
/// Grid lines.
pub(super) const GRID: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);
/// Regions: beyond the budget, interval bands, gutters.
pub(super) const REGION: RGBColor = RGBColor(0xF1, 0xEF, 0xEA);
/// The staircase and other lines through data.
pub(super) const LINE: RGBColor = RGBColor(0x00, 0x72, 0xB2);

/// The second line of a power trace.
pub(super) const POWER: RGBColor = RGBColor(0xD5, 0x5E, 0x00);

/// What a series is held against.
pub(super) const CANARY: RGBColor = RGBColor(0x6B, 0x72, 0x80);

/// Marks, fast speed class.
pub(super) const BLUE: &str = "#0072B2";
/// Middle speed class.
pub(super) const GREEN: &str = "#009E73";
/// Slow speed class.
pub(super) const VERMILION: &str = "#D55E00";
/// What is not part of the comparison.
pub(super) const GREY: &str = "#6B7280";

/// plotters divides font sizes by this when it writes SVG.
const FONT_SHRINK: f64 = 1.24;

/// One of the two drawings of a chart; the stylesheet shows the one that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// For screens of 640 px and more.
    Wide,
    /// For phones.
    Narrow,
}

impl Shape {
    /// Its name in classes and ids.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::Narrow => "narrow",
        }
    }

    /// Ticks of one axis, at most about so many.
    pub(super) fn ticks(self) -> (usize, usize) {
        match self {
            Self::Wide => (8, 7),
            Self::Narrow => (4, 6),
        }
    }

    /// Text height in drawn units.
    pub(super) fn text(self) -> i32 {
        match self {
            Self::Wide => 52,
            Self::Narrow => 56,
        }
    }

    /// The same as plotters wants it.
    pub(super) fn plotters_text(self) -> f64 {
        f64::from(self.text()) * FONT_SHRINK
    }

    /// Labels inside the drawing, at most.
    pub(super) fn labels(self) -> usize {
        match self {
            Self::Wide => 7,
            Self::Narrow => 4,
        }
    }
}
