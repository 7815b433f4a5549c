//! Which token follows: the most likely one, or one drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::engine::{EngineError, Sampling};

/// Chooses the tokens of one answer.
#[derive(Debug)]
pub(super) enum Choice {
    /// The most likely one; of equals the one with the smallest id, so that answers are reproducible.
    Greedy,
    /// One draw per token from the softmax of the logits over the temperature. The same seed gives the same draws.
    Drawn {
        temperature: f64,
        rng: Box<ChaCha8Rng>,
    },
}

impl Choice {
    pub(super) fn new(sampling: Sampling) -> Result<Self, EngineError> {
        match sampling {
            Sampling::Greedy => Ok(Self::Greedy),
            Sampling::Drawn {
                temperature_ppm: 0, ..
            } => Err(EngineError::NotOffered {
                what: "draws at a temperature of 0".to_owned(),
            }),
            Sampling::Drawn {
                temperature_ppm,
                seed,
            } => Ok(Self::Drawn {
                temperature: f64::from(temperature_ppm) / 1e6,
                rng: Box::new(ChaCha8Rng::seed_from_u64(seed)),
            }),
        }
    }

    /// A token that is not `banned`; `None` where the logits leave none, or one of them is no number.
    pub(super) fn choose(&mut self, logits: &[f32], banned: Option<u32>) -> Option<u32> {
        let allowed = || {
            (0_u32..)
                .zip(logits.iter().copied())
                .filter(|&(token, _)| Some(token) != banned)
        };
        if logits.iter().any(|logit| logit.is_nan()) {
            return None;
        }
        let first = (0, f32::NEG_INFINITY);
        let best = allowed().fold(
            first,
            |best, next| if next.1 > best.1 { next } else { best },
        );
        if !best.1.is_finite() {
            return None;
        }
        let Self::Drawn { temperature, rng } = self else {
            return Some(best.0);
        };
        // Against the largest one, so that nothing overflows however low the temperature is.
        let weight = |logit: f32| ((f64::from(logit) - f64::from(best.1)) / *temperature).exp();
        let total: f64 = allowed().map(|(_, logit)| weight(logit)).sum();
        // 53 random bits make every number of [0, 1) that an f64 tells apart.
        let drawn = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 * total;
        let mut passed = 0.0;
        let found = allowed().find(|&(_, logit)| {
            passed += weight(logit);
            passed > drawn
        });
        // Only if rounding left the sum a hair below the draw is there none.
        Some(found.unwrap_or(best).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 2.5, -3.0, 2.0, 0.0];

    fn drawn(temperature_ppm: u32, seed: u64) -> Choice {
        Choice::new(Sampling::Drawn {
            temperature_ppm,
            seed,
        })
        .expect("a temperature above 0")
    }

    fn draws(choice: &mut Choice, count: usize, banned: Option<u32>) -> Vec<u32> {
        (0..count)
            .map(|_| choice.choose(&LOGITS, banned).expect("a token"))
            .collect()
    }

    #[test]
    fn of_equally_likely_tokens_the_first_is_the_greedy_one() {
        let mut greedy = Choice::Greedy;
        assert_eq!(greedy.choose(&[0.5, 3.0, 3.0], None), Some(1));
        assert_eq!(greedy.choose(&[0.5, 3.0, 3.0], Some(1)), Some(2));
    }

    #[test]
    fn draws_come_as_often_as_their_probabilities_say() {
        for (temperature_ppm, banned) in [(1_000_000, None), (500_000, None), (2_000_000, Some(1))]
        {
            let count = 40_000;
            let weights: Vec<f64> = (0..)
                .zip(LOGITS)
                .map(|(token, logit)| {
                    if Some(token) == banned {
                        0.0
                    } else {
                        (f64::from(logit) * 1e6 / f64::from(temperature_ppm)).exp()
                    }
                })
                .collect();
            let total: f64 = weights.iter().sum();
            let tokens = draws(&mut drawn(temperature_ppm, 3), count, banned);
            for (token, weight) in (0..).zip(weights) {
                let share = weight / total;
                let found = tokens.iter().filter(|&&found| found == token).count() as f64;
                // Five standard deviations of a binomial count.
                let spread = 5.0 * (count as f64 * share * (1.0 - share)).sqrt();
                assert!(
                    (found - count as f64 * share).abs() <= spread,
                    "token {token} at {temperature_ppm} came {found} times of {count}"
                );
            }
        }
    }

    #[test]
    fn a_temperature_near_0_chooses_as_greedily_as_greedy() {
        assert_eq!(draws(&mut drawn(1, 9), 100, None), [1; 100]);
        assert_eq!(draws(&mut drawn(1, 9), 100, Some(1)), [3; 100]);
        let zero = Sampling::Drawn {
            temperature_ppm: 0,
            seed: 9,
        };
        assert!(matches!(
            Choice::new(zero),
            Err(EngineError::NotOffered { .. })
        ));
    }

    #[test]
    fn the_seed_decides_the_draws() {
        let first = draws(&mut drawn(1_000_000, 5), 64, None);
        assert_eq!(first, draws(&mut drawn(1_000_000, 5), 64, None));
        assert_ne!(first, draws(&mut drawn(1_000_000, 6), 64, None));
    }

    #[test]
    fn logits_without_a_choice_give_none() {
        for mut choice in [Choice::Greedy, drawn(1_000_000, 1)] {
            assert_eq!(choice.choose(&[1.0, f32::NAN], None), None);
            assert_eq!(choice.choose(&[f32::NEG_INFINITY; 2], None), None);
            assert_eq!(choice.choose(&[1.0, f32::INFINITY], None), None);
            assert_eq!(choice.choose(&[1.0], Some(0)), None);
            assert_eq!(choice.choose(&[], None), None);
            assert_eq!(choice.choose(&[f32::NEG_INFINITY, 1.0], None), Some(1));
        }
    }
}
