//! Charts: plotters draws frame, grid, ticks and lines; templates append the marks, which are links.
//!
//! A chart is first marshalled into a struct that holds only places inside its frame, then
//! drawn. Values that have no place (NaN, infinities, 0 on a logarithmic axis) are counted and
//! said, never put onto the frame.

mod axes;
mod blocks;
mod canvas;
mod dots;
mod frontier;
mod history;
mod labels;
mod loss;
mod power;
mod theme;
mod tradeoff;

use domain::history::ChangeState;

pub(crate) use axes::Measure;
pub(crate) use blocks::{BlockRow, BlocksChart};
pub(crate) use dots::DotsChart;
pub(crate) use frontier::FrontierChart;
pub(crate) use history::{HistoryChart, Spacing, Unit};
pub(crate) use loss::{LossChart, LossRow};
pub(crate) use power::PowerChart;
pub(crate) use tradeoff::{Kind, Point, TradeoffChart};

/// A change's state in a word or two, inside charts and beside them.
pub(crate) fn state_word(state: ChangeState) -> &'static str {
    match state {
        ChangeState::Confirmed => "confirmed",
        ChangeState::Certified => "certified",
        ChangeState::Suspect => "suspect",
        ChangeState::Environment => "environment",
        ChangeState::NotReproduced => "not reproduced",
        ChangeState::WentAway => "went away",
    }
}
