//! What a gate can decide, before it measures: blocks, detectable effect, and which policies never could.
//!
//! The error of a false REGRESSED is divided beforehand. Half goes to the cell-metrics, equally; half
//! to the metrics, equally, and there to the mean over a metric's cells, which sees a slow-down of
//! everything sooner than any cell. A metric with one cell has no such mean: the cell takes that part.

use std::collections::BTreeSet;

use super::Metric;
use super::looks::{LOOKS, Look};
use super::policy::Policy;
use super::rank::quantile;
use super::record::KnownSd;

/// Standard deviation of a block, as a logarithm, that is planned with while none is known.
pub const ASSUMED_BLOCK_SD: f64 = 0.015;

/// Power of the detectable effect.
pub const POWER: f64 = 0.9;

/// Blocks of the rows of [`FACTORS`].
const FACTOR_BLOCKS: [f64; 3] = [16.0, 24.0, 48.0];

/// What the error is divided by in the columns of [`FACTORS`]: 1, and twice 12 and 72 cell-metrics.
const FACTOR_PARTS: [f64; 3] = [1.0, 24.0, 144.0];

/// Effect above the practical zero, in block standard deviations, that is found with [`POWER`]:
/// the worse of normal blocks and of Student's t with four degrees of freedom, as two simulations found
/// it; the second is `cargo run -p domain --example gate_tables`, the greater of both stands here.
const FACTORS: [[f64; 3]; 3] = [[1.07, 1.67, 2.15], [0.78, 1.09, 1.26], [0.53, 0.71, 0.80]];

/// One-sided 95 % quantile of the normal distribution.
const Z95_ONE_SIDED: f64 = 1.644_853_626_951_472_2;

/// Share of alpha that one cell-metric has; `gated` holds the metric of every gated cell-metric,
/// this one's too. 0 where nothing is gated.
pub fn cell_share(metric: Metric, gated: &[Metric]) -> f64 {
    if gated.is_empty() {
        return 0.0;
    }
    let alone = gated.iter().filter(|other| **other == metric).count() < 2;
    let lent = if alone { suite_share(gated) } else { 0.0 };
    0.5 / gated.len() as f64 + lent
}

/// Share of alpha that the mean over the cells of one metric has, where it has several.
pub fn suite_share(gated: &[Metric]) -> f64 {
    let metrics = gated.iter().collect::<BTreeSet<_>>().len();
    if metrics == 0 {
        0.0
    } else {
        0.5 / metrics as f64
    }
}

/// The effect, as a logarithm, that is found with [`POWER`] after so many blocks: the practical zero
/// and [`factor`] standard deviations. `None` where no look can find anything.
pub fn mde(
    block_sd: f64,
    blocks: usize,
    alpha: f64,
    share: f64,
    practical_zero: f64,
) -> Option<f64> {
    factor(blocks, alpha, share).map(|factor| practical_zero + factor * block_sd)
}

/// Detectable effect above the practical zero in block standard deviations, after `blocks` blocks,
/// by a cell-metric that has `share` of `alpha`.
///
/// The table below, straight in one over the root of the blocks and straight in the logarithm of what 5 %
/// is divided by (another alpha is another divisor of the same 5 %); beyond the table the outermost
/// lines go on. `None` where no look within these blocks can say REGRESSED.
pub fn factor(blocks: usize, alpha: f64, share: f64) -> Option<f64> {
    looks_within(blocks).find(|look| can_reject(look, alpha * share))?;
    let divisor = (0.05 / (alpha * share)).ln();
    let rows = FACTORS.map(|row| along(divisor, FACTOR_PARTS.map(f64::ln), row));
    let [few, some, many] = FACTOR_BLOCKS.map(|row| 1.0 / row.sqrt());
    // The roots fall as blocks grow; `along` wants them rising.
    let rising = [rows[2], rows[1], rows[0]];
    let root = 1.0 / (blocks as f64).sqrt();
    Some(along(root, [many, some, few], rising).max(0.0))
}

/// The line through the two of three points that lie around `x`, or next to it.
fn along(x: f64, xs: [f64; 3], ys: [f64; 3]) -> f64 {
    let at = usize::from(x > xs[1]);
    let slope = (ys[at + 1] - ys[at]) / (xs[at + 1] - xs[at]);
    ys[at] + slope * (x - xs[at])
}

/// The first look after which an effect as large as the tolerance is found with [`POWER`]; `None`
/// where none is. Both margins are logarithms.
pub fn blocks_needed(
    block_sd: f64,
    alpha: f64,
    share: f64,
    practical_zero: f64,
    tolerance: f64,
) -> Option<usize> {
    let enough = |blocks| {
        mde(block_sd, blocks, alpha, share, practical_zero).is_some_and(|mde| mde <= tolerance)
    };
    (LOOKS.into_iter().map(|look| look.blocks)).find(|blocks| enough(*blocks))
}

/// What is known of a metric's block standard deviation: the value, as a logarithm, and from how
/// many blocks; [`ASSUMED_BLOCK_SD`] and 0 where nothing is.
pub fn block_sd(known: &[KnownSd], metric: Metric) -> (f64, u32) {
    (known.iter().find(|sd| sd.metric == metric))
        .map_or((ASSUMED_BLOCK_SD, 0), |sd| (sd.ppm as f64 / 1e6, sd.blocks))
}

/// Blocks of the last look that fits into so many minutes, where one block of every model takes
/// `seconds_per_block`; `None` where not even the first look does.
pub fn last_look_within(minutes: f64, seconds_per_block: f64) -> Option<usize> {
    (LOOKS.into_iter().rev())
        .map(|look| look.blocks)
        .find(|blocks| *blocks as f64 * seconds_per_block <= minutes * 60.0)
}

/// Blocks of the very last look.
pub fn most_blocks() -> usize {
    LOOKS[LOOKS.len() - 1].blocks
}

/// The fewest items with which a third rung can pass at all: those that, were not one answered
/// differently, put Tango's one-sided 95 % limit of the share lost, z²/(items + z²), under the margin.
pub fn least_items(margin: f64) -> u32 {
    let square = Z95_ONE_SIDED * Z95_ONE_SIDED;
    (square * (1.0 - margin) / margin).floor() as u32 + 1
}

/// Why a gate by this policy could never decide, and what to change; `None` where it could.
/// `gated` holds the metric of every gated cell-metric, `last_look` the blocks that are planned.
pub fn never_decides(policy: &Policy, gated: &[Metric], last_look: usize) -> Option<String> {
    if gated.is_empty() {
        return Some("nothing is gated: list workloads and metrics in the policy".to_owned());
    }
    let m = gated.len();
    let of = if m == 1 {
        "the one gated cell".to_owned()
    } else {
        format!("one of {m} gated cell-metrics")
    };
    for (error, word) in [
        (least_alpha(policy, gated), "REGRESSED"),
        (policy.beta, "PASS"),
    ] {
        if looks_within(last_look).any(|look| can_reject(&look, error)) {
            continue;
        }
        let needed = LOOKS.into_iter().find(|look| can_reject(look, error));
        return Some(match needed {
            Some(look) => format!(
                "{last_look} blocks can never say {word} of {of} at an error of {:.3} %: \
                 plan {} blocks or more (a greater budget), or gate fewer cells",
                100.0 * error,
                look.blocks
            ),
            None => format!(
                "no number of blocks up to {} can say {word} of {of} at an error of {:.3} %: \
                 gate fewer cells or allow a greater error",
                most_blocks(),
                100.0 * error
            ),
        });
    }
    let quality = policy.quality.as_ref()?;
    let least = least_items(quality.margin);
    (quality.items < least).then(|| {
        format!(
            "{} items can never show that fewer than {:.1} % are lost, even if every answer is the \
             same: ask {least} or more, or allow a greater margin",
            quality.items,
            100.0 * quality.margin
        )
    })
}

/// The smallest part of alpha that any gated cell-metric has.
fn least_alpha(policy: &Policy, gated: &[Metric]) -> f64 {
    let shares = gated.iter().map(|metric| cell_share(*metric, gated));
    policy.alpha * shares.fold(1.0, f64::min)
}

fn looks_within(blocks: usize) -> impl Iterator<Item = Look> {
    (LOOKS.into_iter()).take_while(move |look| look.blocks <= blocks)
}

/// Whether the look can ever exclude anything at its part of the error.
fn can_reject(look: &Look, error: f64) -> bool {
    quantile(look.blocks, error * look.share).is_some()
}

#[cfg(test)]
mod tests;
