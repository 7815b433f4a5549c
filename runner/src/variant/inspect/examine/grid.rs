//! Whether numbers lie on a coarser grid than their type needs: the trace that an earlier quantisation leaves.
//!
//! Every block quantisation stores a run of weights as whole multiples of one step, most of them above one offset, and
//! no run is shorter than 16. Storing the result in a finer type moves each number by at most that type's rounding. So
//! 16 neighbouring weights of a requantised file lie, within that rounding, on an even grid of few levels; 16 weights
//! of an honest one do not: with a grid so coarse that a number falls on it by chance at most two times in five, which
//! is the coarsest that is tried, all of a dozen free numbers do so once in some hundred thousand runs.

/// Weights of one run.
pub(super) const RUN: usize = 16;

/// Non-zero values below which a run tells nothing; zeros may be pruned ones.
const LEAST_VALUES: usize = 10;

/// The most steps that are tried: those of 8 bits.
const MOST_STEPS: u32 = 255;

/// Steps that must be resolvable for a run to tell anything.
const LEAST_STEPS: u32 = 3;

/// The largest chance at which a number may fall on a grid that is tried.
const LARGEST_CHANCE: f64 = 0.4;

/// What a run of weights tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    /// Too few values, or all too close together for their type.
    Nothing,
    /// They lie on no grid that the type could tell from its own.
    NoGrid,
    /// They lie on an even grid of so many levels, of several grids the coarsest.
    Levels(u32),
}

/// Looks at one run; `error` is by how much storing may have moved a value.
pub(super) fn look(run: &[f32], error: impl Fn(f64) -> f64) -> Run {
    let mut values: Vec<f64> = run.iter().map(|&value| f64::from(value)).collect();
    values.retain(|value| *value != 0.0);
    if values.len() < LEAST_VALUES || values.iter().any(|value| !value.is_finite()) {
        return Run::Nothing;
    }
    values.sort_by(f64::total_cmp);
    values.dedup_by(|a, b| a.total_cmp(b).is_eq());
    let (low, high) = (values[0], values[values.len() - 1]);
    let range = high - low;
    if values.len() < 2 {
        return Run::Nothing;
    }
    // The outermost values lie on the grid and fix it, each with an error of its own.
    let inner: Vec<(f64, f64)> = values[1..values.len() - 1]
        .iter()
        .map(|&value| {
            let at = (value - low) / range;
            (
                at,
                error(value) + (1.0 - at) * error(low) + at * error(high),
            )
        })
        .collect();
    let slack: f64 = inner.iter().map(|(_, slack)| 2.0 * slack).sum();
    let chance = slack / range / inner.len().max(1) as f64;
    let is_resolvable = |steps: u32| chance * f64::from(steps) <= LARGEST_CHANCE;
    if !is_resolvable(LEAST_STEPS) {
        return Run::Nothing;
    }
    let fewest = values.len() as u32 - 1;
    for steps in (fewest..=MOST_STEPS).take_while(|&steps| is_resolvable(steps)) {
        let count = f64::from(steps);
        let fits = |&(at, slack): &(f64, f64)| {
            let place = at * count;
            (place - place.round()).abs() * range <= slack * count
        };
        if inner.iter().all(fits) {
            return Run::Levels(steps + 1);
        }
    }
    Run::NoGrid
}

/// How many different non-zero values stand in `block`, and how many non-zero ones at all.
pub(super) fn different(block: &[f32]) -> (usize, usize) {
    let mut bits: Vec<u32> = block
        .iter()
        .filter(|value| **value != 0.0)
        .map(|value| value.to_bits())
        .collect();
    let all = bits.len();
    bits.sort_unstable();
    bits.dedup();
    (bits.len(), all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: fn(f64) -> f64 = |value| value.abs() * 1e-7;

    #[test]
    fn numbers_on_a_grid_are_told_from_numbers_beside_it() {
        let on: Vec<f32> = (0..16_u8)
            .map(|number| 0.25 * f32::from(number * 7 % 16) - 1.7)
            .collect();
        assert_eq!(look(&on, EXACT), Run::Levels(16));
        let mut beside = on.clone();
        beside[5] += 0.1;
        assert_ne!(look(&beside, EXACT), Run::Levels(16));
        // Moved by less than the type may move them, they are on it again.
        assert_eq!(look(&beside, |_| 0.051), Run::NoGrid, "not resolvable");
        beside[5] -= 0.09;
        assert_eq!(look(&beside, |_| 0.01), Run::Levels(16));
    }

    #[test]
    fn what_is_the_same_everywhere_or_mostly_zero_tells_nothing() {
        assert_eq!(look(&[0.0; 16], EXACT), Run::Nothing);
        assert_eq!(look(&[1.0; 16], EXACT), Run::Nothing);
        let mut few = [0.0; 16];
        few[..4].copy_from_slice(&[0.1, 0.2, 0.3, 0.4]);
        assert_eq!(look(&few, EXACT), Run::Nothing);
        assert_eq!(look(&[f32::NAN; 16], EXACT), Run::Nothing);
        assert_eq!(different(&[0.0, 1.0, 1.0, -1.0]), (2, 3));
    }
}
