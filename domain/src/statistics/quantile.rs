//! Quantiles of pooled observations, and their intervals from sections.
//!
//! Token gaps and waits follow each other closely, so an interval that takes each for
//! independent would be far too narrow. Sectioning uses what is independent, the repetitions:
//! the spread of each repetition's own quantile around the pooled one, with Student's t (M. K.
//! Nakayama, *Confidence intervals for quantiles using sectioning when applying
//! variance-reduction techniques*, ACM TOMACS 24(4), 2014). Short sections make it wider.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::interval::MIN_VALUES;

/// The quantile `share` of sorted values, between neighbours in proportion (R's type 7).
/// `None` of nothing.
pub fn quantile_of_sorted(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let below = place.floor() as usize;
    let low = *sorted.get(below)?;
    let high = *sorted.get(below + 1).unwrap_or(&low);
    Some(low + (high - low) * (place - below as f64))
}

/// The quantile `share` of values in any order.
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, share)
}

/// The 95 % interval around a pooled quantile, from the same quantile of each section; `None`
/// below [`MIN_VALUES`] sections. The low end is never below 0.
pub fn section_interval(pooled: f64, sections: &[f64]) -> Option<(f64, f64)> {
    if sections.len() < MIN_VALUES {
        return None;
    }
    let freedom = sections.len() as f64 - 1.0;
    let squares: f64 = sections.iter().map(|own| (own - pooled).powi(2)).sum();
    let t = StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(0.975);
    let half = t * (squares / freedom / sections.len() as f64).sqrt();
    Some(((pooled - half).max(0.0), pooled + half))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: Option<f64>, b: f64) -> bool {
        a.is_some_and(|a| (a - b).abs() < 1e-9)
    }

    #[test]
    fn quantiles_of_known_samples() {
        let sorted: Vec<f64> = (1..=101).map(f64::from).collect();
        assert!(close(quantile_of_sorted(&sorted, 0.5), 51.0));
        assert!(close(quantile_of_sorted(&sorted, 0.99), 100.0));
        assert!(close(quantile(&[4.0, 1.0, 3.0, 2.0], 0.5), 2.5));
        assert!(close(quantile(&[4.0, 1.0, 3.0, 2.0], 1.0), 4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_interval_is_that_of_students_t() {
        // Six sections around 10 with a standard deviation of 1: t(5) = 2.570582.
        let half = (5.0f64 / 6.0).sqrt();
        let sections = [10.0 - half, 10.0 + half].repeat(3);
        let (low, high) = section_interval(10.0, &sections).expect("six");
        let expected = 2.570_581_835_6 / 6.0f64.sqrt();
        assert!((high - 10.0 - expected).abs() < 1e-6, "{high}");
        assert!((10.0 - low - expected).abs() < 1e-6, "{low}");
        assert_eq!(section_interval(10.0, &sections[..5]), None);
    }

    proptest! {
        #[test]
        fn quantiles_rise_with_their_share(values in prop::collection::vec(0.0..1e6f64, 1..60)) {
            let at = |share| quantile(&values, share).expect("not empty");
            prop_assert!(at(0.1) <= at(0.5) && at(0.5) <= at(0.9) && at(0.9) <= at(0.99));
            let (low, high) = (at(0.0), at(1.0));
            prop_assert!(values.iter().all(|value| (low..=high).contains(value)));
        }
    }
}
