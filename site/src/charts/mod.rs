//! Charts: plotters draws frame, grid, ticks and lines; templates append the marks, which are links.
//!
//! A chart is first marshalled into a struct that holds only places inside its frame, then
//! drawn. Values that have no place (NaN, infinities, 0 on a logarithmic axis) are counted and
//! said, never put onto the frame.

mod axes;
mod canvas;
mod dots;
mod frontier;
mod labels;
mod loss;
mod power;
mod theme;
mod tradeoff;

pub(crate) use axes::Measure;
pub(crate) use dots::DotsChart;
pub(crate) use frontier::FrontierChart;
pub(crate) use loss::{LossChart, LossRow};
pub(crate) use power::PowerChart;
pub(crate) use tradeoff::{Kind, Point, TradeoffChart};
