//! Statistics that runner and collector share: medians, exact intervals, seeded resampling.
//!
//! Every function is pure and total on finite numbers. Values come from measurements that were
//! checked to be finite, so NaN is excluded by contract; should one slip in, sorting by
//! [`f64::total_cmp`] keeps every function free of panics.

pub mod bootstrap;
pub mod interval;
pub mod paired;
pub mod pareto;
pub mod planner;
pub mod proportion;
pub mod quantile;
pub mod stratified;
pub mod trend;

/// The middle value; the mean of the two middle ones for an even count. `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    median_of_sorted(&sorted)
}

/// The median of values that are sorted already.
pub fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Median absolute deviation from the median, in the values' unit and unscaled.
pub fn median_absolute_deviation(values: &[f64]) -> Option<f64> {
    let center = median(values)?;
    let distances: Vec<_> = values.iter().map(|value| (value - center).abs()).collect();
    median(&distances)
}

/// Coefficient of variation: the sample's standard deviation (n - 1) over its mean.
/// `None` below two values or for a mean that is not positive.
pub fn coefficient_of_variation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean > 0.0).then(|| (squares / (n - 1.0)).sqrt() / mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: Option<f64>, b: f64) -> bool {
        a.is_some_and(|a| (a - b).abs() < 1e-12)
    }

    #[test]
    fn medians_and_spreads_of_known_samples() {
        assert!(close(median(&[3.0, 1.0, 2.0]), 2.0));
        assert!(close(median(&[4.0, 1.0, 2.0, 3.0]), 2.5));
        assert!(close(
            median_absolute_deviation(&[1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0]),
            1.0
        ));
        assert!(close(coefficient_of_variation(&[9.0, 10.0, 11.0]), 0.1));
    }

    #[test]
    fn nothing_has_no_median_and_one_value_no_spread() {
        assert_eq!(median(&[]), None);
        assert_eq!(median_absolute_deviation(&[]), None);
        assert_eq!(coefficient_of_variation(&[5.0]), None);
        assert_eq!(coefficient_of_variation(&[0.0, 0.0]), None);
    }

    proptest! {
        #[test]
        fn the_median_lies_between_the_extremes(values in prop::collection::vec(-1e6..1e6f64, 1..50)) {
            let middle = median(&values).expect("not empty");
            prop_assert!(values.iter().any(|v| *v <= middle) && values.iter().any(|v| *v >= middle));
        }
    }
}
