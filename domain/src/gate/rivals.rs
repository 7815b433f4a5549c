//! What other tools' rules would say of the same slots: for the comparison in the documentation.
//!
//! Nothing here decides a gate. Each rule gets what its tool would see: costs of the base and of the
//! candidate (times, bytes), not which slots belong to one block. All of them take the values of an
//! arm for independent draws, which slots one after the other on a warm machine are not; what that
//! costs is what the comparison shows.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::statistics::bootstrap::Resampler;

/// What a rule says of the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Said {
    /// It costs more.
    Worse,
    /// It costs less.
    Better,
    /// Neither is said.
    NoChange,
}

/// Level of criterion's and of the plain t-test.
const LEVEL: f64 = 0.05;

/// Relative change that criterion takes for noise, by its defaults.
const NOISE: f64 = 0.01;

/// Resamples of each of criterion's two bootstraps: it takes 100,000 by its defaults and advises
/// against fewer than 1,000. Fewer make its limits coarser, not wider.
const RESAMPLES: usize = 5_000;

/// criterion's rule with its defaults: the change is "detected" where the Welch t statistic is
/// beyond what resampling both arms from one pool gives in 95 % of all cases, and then called
/// "regressed" or "improved" where the whole 95 % percentile interval of mean / mean - 1, each arm
/// resampled by itself, lies beyond 1 % of noise. `NoChange` below two values of an arm.
///
/// Source: criterion 0.8.2, `analysis/compare.rs` (both bootstraps), `stats/mod.rs` (p of the
/// smaller tail, doubled), `report.rs` (`compare_to_threshold`), defaults in `lib.rs`; the user's guide:
/// <https://bheisler.github.io/criterion.rs/book/analysis.html>.
pub fn criterion(base: &[f64], candidate: &[f64], seed: [u8; 32]) -> Said {
    let Some(seen) = welch(base, candidate) else {
        return Said::NoChange;
    };
    let mut draws = Resampler::new(seed);
    let pool = [base, candidate].concat();
    let mut arms = (vec![0.0; base.len()], vec![0.0; candidate.len()]);
    let (mut below, mut counted) = (0, 0);
    for _ in 0..RESAMPLES {
        resample(&pool, &mut arms.0, &mut draws);
        resample(&pool, &mut arms.1, &mut draws);
        if let Some(chance) = welch(&arms.0, &arms.1) {
            counted += 1;
            below += usize::from(chance.t < seen.t);
        }
    }
    // As criterion does, what has no t is left out.
    let p = 2.0 * below.min(counted - below) as f64 / counted as f64;
    if counted == 0 || p >= LEVEL {
        return Said::NoChange;
    }
    let mut changes: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            resample(base, &mut arms.0, &mut draws);
            resample(candidate, &mut arms.1, &mut draws);
            mean(&arms.1) / mean(&arms.0) - 1.0
        })
        .collect();
    changes.sort_unstable_by(f64::total_cmp);
    let tail = (RESAMPLES as f64 * LEVEL / 2.0) as usize;
    if changes[tail] > NOISE {
        Said::Worse
    } else if changes[RESAMPLES - 1 - tail] < -NOISE {
        Said::Better
    } else {
        Said::NoChange
    }
}

/// hyperfine's comparison as people read it: it prints "ran r ± s times faster", where r is the
/// greater mean over the smaller and s = r sqrt((sd/mean)^2 + (sd/mean)^2) of both arms, standard
/// deviations of single runs; read as a difference where r - s is still above 1. It claims no error
/// rate and warns of none. `NoChange` below two values of an arm.
///
/// Source: hyperfine, `src/benchmark/relative_speed.rs`,
/// <https://github.com/sharkdp/hyperfine/blob/master/src/benchmark/relative_speed.rs>.
pub fn hyperfine(base: &[f64], candidate: &[f64]) -> Said {
    if base.len() < 2 || candidate.len() < 2 {
        return Said::NoChange;
    }
    let (before, after) = (mean(base), mean(candidate));
    let ratio = before.max(after) / before.min(after);
    let spread =
        ratio * (variance(base) / before.powi(2) + variance(candidate) / after.powi(2)).sqrt();
    // Also where a mean is nothing, or not a number.
    if !(ratio.is_finite() && ratio - spread > 1.0) {
        Said::NoChange
    } else if after > before {
        Said::Worse
    } else {
        Said::Better
    }
}

/// The textbook's two-sided t-test for unequal variances at 5 %. `NoChange` where it has no answer:
/// below two values of an arm, or where none of them differ.
///
/// Source: B. L. Welch, *The generalization of "Student's" problem when several different population
/// variances are involved*, Biometrika 34 (1947), 28-35.
pub fn t_test(base: &[f64], candidate: &[f64]) -> Said {
    match welch(base, candidate) {
        Some(welch) if welch.p() < LEVEL => {
            if welch.t > 0.0 {
                Said::Worse
            } else {
                Said::Better
            }
        }
        _ => Said::NoChange,
    }
}

/// Welch's statistic, positive where the candidate's mean is greater.
#[derive(Debug, Clone, Copy)]
struct Welch {
    t: f64,
    freedom: f64,
}

impl Welch {
    /// Two-sided.
    fn p(self) -> f64 {
        StudentsT::new(0.0, 1.0, self.freedom)
            .map_or(1.0, |student| 2.0 * student.cdf(-self.t.abs()))
    }
}

fn welch(base: &[f64], candidate: &[f64]) -> Option<Welch> {
    if base.len() < 2 || candidate.len() < 2 {
        return None;
    }
    let share = |values: &[f64]| variance(values) / values.len() as f64;
    let (before, after) = (share(base), share(candidate));
    let both = before + after;
    let t = (mean(candidate) - mean(base)) / both.sqrt();
    let freedom = both.powi(2)
        / (before.powi(2) / (base.len() as f64 - 1.0)
            + after.powi(2) / (candidate.len() as f64 - 1.0));
    t.is_finite().then_some(Welch { t, freedom })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Of a sample, with n - 1.
fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    squares / (values.len() as f64 - 1.0)
}

fn resample(from: &[f64], into: &mut [f64], draws: &mut Resampler) {
    for value in into {
        *value = from[draws.index(from.len())];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The first example of <https://en.wikipedia.org/wiki/Welch%27s_t-test>: t 2.46, 25.0 degrees of
    // freedom, p 0.021.
    const FIRST: [f64; 15] = [
        27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7, 21.4,
    ];
    const SECOND: [f64; 15] = [
        27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5, 24.4,
    ];
    const SEED: [u8; 32] = [7; 32];

    fn times(values: &[f64], factor: f64) -> Vec<f64> {
        values.iter().map(|value| value * factor).collect()
    }

    #[test]
    fn welchs_test_has_the_known_values() {
        let welch = welch(&FIRST, &SECOND).expect("two samples");
        assert!((welch.t - 2.46).abs() < 0.005, "{welch:?}");
        assert!((welch.freedom - 25.0).abs() < 0.05, "{welch:?}");
        assert!((welch.p() - 0.021).abs() < 0.000_5, "{}", welch.p());
        assert_eq!(t_test(&FIRST, &SECOND), Said::Worse);
        assert_eq!(t_test(&SECOND, &FIRST), Said::Better);
        assert_eq!(t_test(&FIRST, &FIRST), Said::NoChange);
    }

    #[test]
    fn hyperfine_reads_the_spread_of_single_runs() {
        // Means 10 and 12, deviations 1 each: 1.2 +- 1.2 sqrt(0.01 + 0.00694) = 1.2 +- 0.156.
        let (base, slower) = ([9.0, 10.0, 11.0], [11.0, 12.0, 13.0]);
        assert_eq!(hyperfine(&base, &slower), Said::Worse);
        assert_eq!(hyperfine(&slower, &base), Said::Better);
        // 11.5 / 10 = 1.15 +- 0.152 does not leave 1.
        assert_eq!(hyperfine(&base, &[10.5, 11.5, 12.5]), Said::NoChange);
        // More runs do not change that: it is no test of the mean.
        let many = base.repeat(1_000);
        assert_eq!(hyperfine(&many, &times(&many, 1.1)), Said::NoChange);
        assert_eq!(t_test(&many, &times(&many, 1.1)), Said::Worse);
    }

    #[test]
    fn criterion_wants_significance_and_more_than_its_noise() {
        let base: Vec<f64> = (0..100)
            .map(|at| 100.0 + f64::from(at * 37 % 11) / 10.0)
            .collect();
        assert_eq!(criterion(&base, &times(&base, 1.02), SEED), Said::Worse);
        assert_eq!(criterion(&base, &times(&base, 0.98), SEED), Said::Better);
        assert_eq!(criterion(&base, &base, SEED), Said::NoChange);
        // Significant, within the noise threshold.
        assert_eq!(criterion(&base, &times(&base, 1.008), SEED), Said::NoChange);
        assert_eq!(t_test(&base, &times(&base, 1.008)), Said::Worse);
        // Beyond the threshold, not significant.
        let wide = [50.0, 150.0, 100.0, 90.0, 110.0];
        assert_eq!(criterion(&wide, &times(&wide, 1.05), SEED), Said::NoChange);
    }

    #[test]
    fn too_little_says_nothing() {
        for (base, candidate) in [
            (&[][..], &[][..]),
            (&[1.0][..], &[2.0][..]),
            (&[0.0, 0.0][..], &[1.0, 1.0][..]),
        ] {
            assert_eq!(criterion(base, candidate, SEED), Said::NoChange);
            assert_eq!(hyperfine(base, candidate), Said::NoChange);
            assert_eq!(t_test(base, candidate), Said::NoChange);
        }
    }
}
