//! Planned looks: after how many blocks a decision may fall, and how much error each may spend.
//!
//! The error is divided beforehand and added up (union bound), so that looking several times costs
//! nothing that was not paid for. Of a cell only its own blocks decide.

use super::Verdict;
use super::rank::Walsh;

/// A time at which a decision may fall.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// Blocks.
    pub blocks: usize,
    /// Share of the error that is spent here.
    pub share: f64,
}

/// Every look; a budget ends them early, and what it leaves unspent may be spent by going on.
pub const LOOKS: [Look; 5] = [
    Look {
        blocks: 12,
        share: 0.10,
    },
    Look {
        blocks: 16,
        share: 0.15,
    },
    Look {
        blocks: 24,
        share: 0.25,
    },
    Look {
        blocks: 32,
        share: 0.25,
    },
    Look {
        blocks: 48,
        share: 0.25,
    },
];

/// What one cell-metric is decided by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// Effect that counts as none, as a logarithm, 0 or more.
    pub practical_zero: f64,
    /// Effect that is tolerated, as a logarithm, above the practical zero.
    pub tolerance: f64,
    /// Error of saying REGRESSED, this cell's part of the gate's, over all looks.
    pub alpha: f64,
    /// Error of saying PASS, over all looks.
    pub beta: f64,
}

/// What a look saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Blocks looked at.
    pub blocks: usize,
    /// Hodges-Lehmann estimate of ln(candidate / base).
    pub effect: f64,
    /// Lower limit at this look's part of alpha.
    pub low: f64,
    /// Upper limit at this look's part of beta.
    pub high: f64,
    /// PASS, IMPROVED or REGRESSED; INCONCLUSIVE where the look decides nothing.
    pub verdict: Verdict,
}

/// Looks at `values`, spending `share` of the rule's errors. `None` where there is nothing to look
/// at: no value, too many, or one that is not finite.
pub fn look(values: &[f64], share: f64, rule: &Rule) -> Option<Seen> {
    let walsh = Walsh::of(values)?;
    let (low, high) = (
        walsh.lower(rule.alpha * share),
        walsh.upper(rule.beta * share),
    );
    let verdict = if high < rule.tolerance {
        if walsh.upper(rule.alpha * share) < -rule.practical_zero {
            Verdict::Improved
        } else {
            Verdict::Pass
        }
    } else if low > rule.practical_zero {
        Verdict::Regressed
    } else {
        Verdict::Inconclusive
    };
    Some(Seen {
        blocks: values.len(),
        effect: walsh.effect(),
        low,
        high,
        verdict,
    })
}

/// The first look that decides, or the last that was possible; `None` before the first.
///
/// `values` are a cell's blocks in order; looks beyond `last_look` blocks are not taken.
pub fn decide(values: &[f64], rule: &Rule, last_look: usize) -> Option<Seen> {
    let mut last = None;
    for planned in LOOKS {
        if planned.blocks > last_look || planned.blocks > values.len() {
            break;
        }
        let seen = look(&values[..planned.blocks], planned.share, rule)?;
        if seen.verdict != Verdict::Inconclusive {
            return Some(seen);
        }
        last = Some(seen);
    }
    last
}

#[cfg(test)]
mod tests;
