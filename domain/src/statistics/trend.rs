//! Whether values that follow each other drift: the least-squares line through them.

use statrs::distribution::{ContinuousCDF, StudentsT};

/// A line through equally spaced values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Change from one value to the next.
    pub slope: f64,
    /// Half-width of the slope's 95 % interval, by Student's t with n - 2 degrees of freedom.
    pub half_width: f64,
    /// Values.
    pub n: usize,
}

impl Trend {
    /// What the line changes by over all values.
    pub fn total(&self) -> f64 {
        self.slope * self.n as f64
    }

    /// Zero lies outside of the slope's interval.
    pub fn is_told_from_none(&self) -> bool {
        self.slope.abs() > self.half_width
    }
}

/// The trend of values in their order; `None` below four, which leave no scatter to judge by.
pub fn trend(values: &[f64]) -> Option<Trend> {
    let n = values.len();
    if n < 4 {
        return None;
    }
    let count = n as f64;
    let middle = (count - 1.0) / 2.0;
    let mean = values.iter().sum::<f64>() / count;
    let places = || (0..n).map(|i| i as f64 - middle);
    let spread: f64 = places().map(|x| x * x).sum();
    let slope = places()
        .zip(values)
        .map(|(x, y)| x * (y - mean))
        .sum::<f64>()
        / spread;
    let residual: f64 = places()
        .zip(values)
        .map(|(x, y)| (y - mean - slope * x).powi(2))
        .sum();
    let t = StudentsT::new(0.0, 1.0, count - 2.0)
        .ok()?
        .inverse_cdf(0.975);
    Some(Trend {
        slope,
        half_width: t * (residual / (count - 2.0) / spread).sqrt(),
        n,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_scatter_is_none() {
        let rising = trend(&[1.0, 2.1, 2.9, 4.0, 5.1, 5.9]).expect("six");
        assert!((rising.slope - 1.0).abs() < 0.02 && rising.is_told_from_none());
        assert!((rising.total() - 6.0).abs() < 0.2);
        let scatter = trend(&[1.0, 0.9, 1.1, 1.0, 1.1, 0.9]).expect("six");
        assert!(!scatter.is_told_from_none(), "{scatter:?}");
        assert_eq!(trend(&[1.0, 2.0, 3.0]), None);
    }

    #[test]
    fn the_interval_is_that_of_textbooks() {
        // y = 2, 4, 5, 4, 5 over x = 1..5: slope 0.6, standard error 0.2828, t(3) = 3.1824.
        let line = trend(&[2.0, 4.0, 5.0, 4.0, 5.0]).expect("five");
        assert!((line.slope - 0.6).abs() < 1e-12);
        assert!(
            (line.half_width - 3.182_446 * 0.282_843).abs() < 1e-5,
            "{line:?}"
        );
    }
}
