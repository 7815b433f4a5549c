//! Proportions: exact intervals of right answers among items.

use statrs::distribution::{Beta, ContinuousCDF};

/// Clopper-Pearson interval of a proportion: the ends are beta quantiles, and coverage is at
/// least `confidence` whatever the truth (Clopper and Pearson, Biometrika 26, 1934).
///
/// Without items nothing is known: the whole range. `correct` above `n` is read as `n`.
pub fn clopper_pearson(correct: u32, n: u32, confidence: f64) -> (f64, f64) {
    let share = f64::from(correct.min(n)) / f64::from(n.max(1));
    clopper_pearson_of(share, f64::from(n), confidence)
}

/// The same of a share of so many items, which need not be whole: weighted families tell as much
/// as a fraction of the items in them.
pub(super) fn clopper_pearson_of(share: f64, items: f64, confidence: f64) -> (f64, f64) {
    let tail = (1.0 - confidence.clamp(0.0, 1.0)) / 2.0;
    let (right, wrong) = (share * items, (1.0 - share) * items);
    let low = if right <= 0.0 {
        0.0
    } else {
        beta_quantile(right, wrong + 1.0, tail)
    };
    let high = if wrong <= 0.0 {
        1.0
    } else {
        beta_quantile(right + 1.0, wrong, 1.0 - tail)
    };
    (low, high)
}

/// Wilson's score interval of a share of so many items, 95 % (E. B. Wilson, Journal of the
/// American Statistical Association 22, 1927).
pub(super) fn wilson(share: f64, items: f64) -> (f64, f64) {
    let z = super::paired::Z95;
    let square = z * z / items;
    let middle = (share + square / 2.0) / (1.0 + square);
    let half = z * (share * (1.0 - share) / items + square / (4.0 * items)).sqrt() / (1.0 + square);
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    Beta::new(a, b)
        .expect("both shapes are positive")
        .inverse_cdf(p)
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{Binomial, Discrete};

    #[test]
    fn ends_agree_with_known_values() {
        // As binom.test(x, n) of R prints them, and by bisection on exact binomial sums.
        for (x, n, low, high) in [
            (0, 10, 0.0, 0.308_497_1),
            (10, 10, 0.691_502_9, 1.0),
            (5, 10, 0.187_086_03, 0.812_913_97),
            (150, 210, 0.648_065_32, 0.774_344_12),
        ] {
            let (l, h) = clopper_pearson(x, n, 0.95);
            assert!(
                (l - low).abs() < 1e-6 && (h - high).abs() < 1e-6,
                "{x}/{n}: {l} {h}"
            );
        }
        assert_eq!(clopper_pearson(0, 0, 0.95), (0.0, 1.0));
    }

    #[test]
    fn ends_are_the_quantiles_that_define_them() {
        for n in [1, 7, 100, 210, 2_100] {
            for x in [1, n / 3 + 1, n] {
                let (low, _) = clopper_pearson(x, n, 0.95);
                let beta = Beta::new(f64::from(x), f64::from(n - x) + 1.0).expect("valid");
                assert!((beta.cdf(low) - 0.025).abs() < 1e-6, "{x}/{n}");
            }
        }
    }

    #[test]
    fn coverage_is_at_least_what_is_stated() {
        for n in [10, 50, 210] {
            for truth in [0.02, 0.1, 0.35, 0.5, 0.81, 0.97] {
                let law = Binomial::new(truth, n).expect("valid");
                let covered: f64 = (0..=n)
                    .filter(|x| {
                        let (low, high) = clopper_pearson(*x as u32, n as u32, 0.95);
                        low <= truth && truth <= high
                    })
                    .map(|x| law.pmf(x))
                    .sum();
                assert!(covered >= 0.95 - 1e-9, "n {n}, truth {truth}: {covered}");
            }
        }
    }
}
