//! Where a series changed: rank-CUSUM for suspects, the permutation maximum for what is certified.
//!
//! At every split of a series the ranks of the points before are summed; how far the sum is from
//! what it would be in any other order, in standard deviations, is the split's statistic (Wilcoxon's
//! rank sum). The best split is the one where it is largest. What chance makes of the largest is
//! seen by shuffling the points and taking the largest again, so that having chosen the split is
//! paid for. (A. N. Pettitt, *A non-parametric approach to the change-point problem*, Applied
//! Statistics 28 (1979), 126-135; the permutation of the maximum after J. Antoch, M. Huskova,
//! *Permutation tests in change point analysis*, Statistics & Probability Letters 53 (2001), 37-46.)
//!
//! Ranks make spikes harmless. Points that follow each other must be exchangeable where nothing
//! changed; where they are not (a machine that drifts for days), shuffling chunks of [`CHUNK`]
//! points keeps the dependence inside ([`certified_in_chunks`]), at the price of late answers. So a
//! certified change is no alert yet: only a paired gate confirms it.
//!
//! Values are positive, of one epoch, oldest first: costs, or costs over a canary's. Shifts are
//! natural logarithms of after / before. Bounds: a suspect looks at [`RECENT`] points; the caller
//! bounds what it certifies (999 draws over n points cost about n microseconds).

use sha2::{Digest as _, Sha256};

use crate::statistics::bootstrap::Resampler;
use crate::statistics::median;

/// Points that a suspect is looked for in.
pub const RECENT: usize = 60;
/// p of a suspect, at most.
pub const SUSPECT_P: f64 = 0.05;
/// Points after a suspect's split, at least.
pub const SUSPECT_AFTER: usize = 3;
/// p of a certified change, at most.
pub const CERTIFIED_P: f64 = 0.005;
/// Points on each side of a certified change, at least; before a suspect's split as well.
pub const SEGMENT: usize = 4;
/// Shift of a certified change, at least, as a logarithm: 1 %, above every practical zero.
pub const LEAST_SHIFT: f64 = 0.009_950_330_853_168_083;
/// Draws behind every p, which therefore is 0.001 or more.
pub const DRAWS: usize = 999;
/// Points that stay together where their order may matter.
pub const CHUNK: usize = 5;

/// One change of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Index of the first point after.
    pub at: usize,
    /// Share of the shuffled series whose best split is as good; the series itself counts as one.
    pub p: f64,
    /// ln(after / before), of the medians of the segments on both sides.
    pub shift: f64,
    /// Standard deviation of ln(value) in the segment before; 0 where all are equal.
    pub noise: f64,
    /// Points of the segment before.
    pub before: usize,
    /// Points of the segment after, up to the next change or the end.
    pub after: usize,
}

/// The change that the last [`RECENT`] points are suspect of, if any. The shuffles are drawn from a
/// digest of these points: the same points always give the same answer.
pub fn suspect(values: &[f64]) -> Option<Change> {
    let logs = logarithms(values)?;
    let from = logs.len().saturating_sub(RECENT);
    let recent = &logs[from..];
    let mut digest = Sha256::new();
    for value in recent {
        digest.update(value.to_bits().to_be_bytes());
    }
    let mut draws = Resampler::new(digest.finalize().into());
    let test = Test {
        before: SEGMENT,
        after: SUSPECT_AFTER,
        chunk: 1,
        p: SUSPECT_P,
    };
    let (split, p) = test.split(recent, &mut draws)?;
    Some(described(&logs, [from, from + split, logs.len()], p))
}

/// Every change that is certain beyond the choice of its split, oldest first: the best split of the
/// whole, then of what lies on both sides of it, and so on.
pub fn certified(values: &[f64], seed: [u8; 32]) -> Vec<Change> {
    changes(values, 1, seed)
}

/// The same for a series of which no paired run can be made any more: neighbours may depend on each
/// other, so whole chunks of [`CHUNK`] points are shuffled. What it finds stays unconfirmed.
pub fn certified_in_chunks(values: &[f64], seed: [u8; 32]) -> Vec<Change> {
    changes(values, CHUNK, seed)
}

/// Which hypotheses fall when at most a share `q` of those that fall may be true: the largest i with
/// p(i) <= i q / m takes all up to it. (Y. Benjamini, Y. Hochberg, *Controlling the false discovery
/// rate*, Journal of the Royal Statistical Society B 57 (1995), 289-300.)
pub fn benjamini_hochberg(p: &[f64], q: f64) -> Vec<bool> {
    let mut sorted = p.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = p.len() as f64;
    let limit = (1..=p.len())
        .rev()
        .map(|rank| (sorted[rank - 1], rank as f64 * q / count))
        .find(|(p, allowed)| p <= allowed)
        .map(|(p, _)| p);
    p.iter()
        .map(|p| limit.is_some_and(|limit| *p <= limit))
        .collect()
}

/// How a split is looked for.
struct Test {
    /// Points before, at least.
    before: usize,
    /// Points after, at least.
    after: usize,
    /// Points that stay together when shuffled.
    chunk: usize,
    /// p at most.
    p: f64,
}

impl Test {
    /// The best split and its p, where that is small enough.
    fn split(&self, values: &[f64], draws: &mut Resampler) -> Option<(usize, f64)> {
        let scores = scores(values);
        let (split, seen) = self.best(&scores)?;
        let allowed = (self.p * (DRAWS + 1) as f64).floor() as usize;
        let mut as_good = 1;
        let mut shuffled = scores.clone();
        for _ in 0..DRAWS {
            shuffle(&scores, &mut shuffled, self.chunk, draws);
            let chance = self.best(&shuffled).map_or(0.0, |(_, chance)| chance);
            as_good += usize::from(chance >= seen);
            if as_good > allowed {
                return None;
            }
        }
        Some((split, as_good as f64 / (DRAWS + 1) as f64))
    }

    /// Where the ranks differ most, and the square of how much; what all splits of one series have
    /// in common is left out. Sums of halves are exact, so equal splits are equal.
    fn best(&self, scores: &[f64]) -> Option<(usize, f64)> {
        let n = scores.len();
        let mut best = None;
        let mut most = 0.0;
        let mut sum = 0.0;
        for (at, score) in scores.iter().enumerate() {
            let split = at + 1;
            sum += score;
            if split < self.before || n - split < self.after {
                continue;
            }
            let statistic = sum * sum / (split * (n - split)) as f64;
            if statistic > most {
                most = statistic;
                best = Some((split, statistic));
            }
        }
        best
    }
}

fn changes(values: &[f64], chunk: usize, seed: [u8; 32]) -> Vec<Change> {
    let Some(logs) = logarithms(values) else {
        return Vec::new();
    };
    let test = Test {
        before: SEGMENT,
        after: SEGMENT,
        chunk,
        p: CERTIFIED_P,
    };
    let mut found: Vec<(usize, f64)> = Vec::new();
    let mut draws = Resampler::new(seed);
    let mut open = vec![(0, logs.len())];
    while let Some((from, to)) = open.pop() {
        let Some((split, p)) = test.split(&logs[from..to], &mut draws) else {
            continue;
        };
        let at = from + split;
        if described(&logs, [from, at, to], p).shift.abs() < LEAST_SHIFT {
            continue;
        }
        found.push((at, p));
        open.extend([(at, to), (from, at)]);
    }
    found.sort_unstable_by_key(|(at, _)| *at);
    let begins = |place: usize| place.checked_sub(1).map_or(0, |place| found[place].0);
    let ends = |place: usize| found.get(place + 1).map_or(logs.len(), |next| next.0);
    (found.iter().enumerate())
        .map(|(place, (at, p))| described(&logs, [begins(place), *at, ends(place)], *p))
        .collect()
}

/// A change by where its segments begin and end: first point of the one before, of the one after,
/// and the end. Each holds at least one point. `logs` are logarithms of values.
pub fn described(logs: &[f64], [from, at, to]: [usize; 3], p: f64) -> Change {
    let (before, after) = (&logs[from..at], &logs[at..to]);
    let middle = |segment: &[f64]| median(segment).unwrap_or(0.0);
    let mean = before.iter().sum::<f64>() / before.len() as f64;
    let squares: f64 = before.iter().map(|value| (value - mean).powi(2)).sum();
    Change {
        at,
        p,
        shift: middle(after) - middle(before),
        noise: (squares / (before.len() as f64 - 1.0)).sqrt(),
        before: before.len(),
        after: after.len(),
    }
}

/// `None` where a value has none: such a series cannot be judged.
fn logarithms(values: &[f64]) -> Option<Vec<f64>> {
    let positive = |value: &&f64| value.is_finite() && **value > 0.0;
    (values.iter().filter(positive).count() == values.len())
        .then(|| values.iter().map(|value| value.ln()).collect())
}

/// Each value's rank less the mean of all ranks; equal values share the mean of theirs.
fn scores(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
    let middle = (values.len() as f64 - 1.0) / 2.0;
    let mut scores = vec![0.0; values.len()];
    let mut rank = 0;
    for equals in order.chunk_by(|a, b| values[*a].total_cmp(&values[*b]).is_eq()) {
        let shared = rank as f64 + (equals.len() as f64 - 1.0) / 2.0;
        for place in equals {
            scores[*place] = shared - middle;
        }
        rank += equals.len();
    }
    scores
}

/// Puts `scores` into `shuffled` in a random order of its chunks; single points are shuffled in
/// place, which saves the copy.
fn shuffle(scores: &[f64], shuffled: &mut Vec<f64>, chunk: usize, draws: &mut Resampler) {
    if chunk == 1 {
        for last in (1..shuffled.len()).rev() {
            shuffled.swap(last, draws.index(last + 1));
        }
        return;
    }
    let mut order: Vec<&[f64]> = scores.chunks(chunk).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, draws.index(last + 1));
    }
    shuffled.clear();
    shuffled.extend(order.into_iter().flatten());
}

#[cfg(test)]
mod tests;
