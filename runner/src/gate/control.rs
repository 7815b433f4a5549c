//! The control probe: work that is no engine's, timed by the runner before every slot.
//!
//! A fixed multiplication of matrices and a fixed copy of memory, on one thread. Nothing that is
//! compared can change them, so if they differ between the arms, it was the machine that did.

use std::hint::black_box;

use crate::clock::Clock;

/// Rows and columns of the matrices, 17 million multiply-adds each time, and how often.
const SIDE: usize = 256;
const PRODUCTS: usize = 3;

/// Bytes that are copied, beyond most caches, and how often.
const COPY_BYTES: usize = 32 << 20;
const COPIES: usize = 2;

/// What one probe took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probed {
    /// The multiplication.
    pub multiply_ns: u64,
    /// The copy.
    pub copy_ns: u64,
}

/// The matrices and the memory, made once for a gate: pages that are new would be timed, too.
#[derive(Debug)]
pub struct Control {
    left: Vec<f32>,
    right: Vec<f32>,
    product: Vec<f32>,
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Default for Control {
    fn default() -> Self {
        // Small numbers that are no denormals, and sums that stay finite.
        let matrix = |step: usize| {
            let at = |i: usize| (i * step % 17) as f32 / 17.0 - 0.5;
            (0..SIDE * SIDE).map(at).collect()
        };
        Self {
            left: matrix(5),
            right: matrix(7),
            product: vec![0.0; SIDE * SIDE],
            from: vec![1; COPY_BYTES],
            to: vec![2; COPY_BYTES],
        }
    }
}

impl Control {
    /// Does the work once.
    pub fn probe(&mut self, clock: &dyn Clock) -> Probed {
        let start_ns = clock.now_ns();
        for _ in 0..PRODUCTS {
            multiply(
                black_box(&self.left),
                black_box(&self.right),
                &mut self.product,
            );
            black_box(&self.product);
        }
        let between_ns = clock.now_ns();
        for _ in 0..COPIES {
            self.to.copy_from_slice(black_box(&self.from));
            black_box(&self.to);
        }
        Probed {
            multiply_ns: between_ns - start_ns,
            copy_ns: clock.now_ns() - between_ns,
        }
    }
}

/// Row by row, so that the innermost loop runs along both matrices' rows.
fn multiply(left: &[f32], right: &[f32], product: &mut [f32]) {
    let rows = left.chunks_exact(SIDE).zip(product.chunks_exact_mut(SIDE));
    for (factors, sums) in rows {
        sums.fill(0.0);
        for (factor, row) in factors.iter().zip(right.chunks_exact(SIDE)) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += factor * value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RealClock;

    #[test]
    fn the_product_is_that_of_the_matrices() {
        let mut control = Control::default();
        let mut unit = vec![0.0; SIDE * SIDE];
        for at in 0..SIDE {
            unit[at * SIDE + at] = 1.0;
        }
        multiply(&unit, &control.right, &mut control.product);
        assert_eq!(control.product, control.right);
        multiply(&control.left, &unit, &mut control.product);
        assert_eq!(control.product, control.left);
    }

    #[test]
    fn a_probe_does_the_work_and_says_what_both_parts_took() {
        let mut control = Control::default();
        let probed = control.probe(&RealClock::default());
        assert!(probed.multiply_ns > 0 && probed.copy_ns > 0);
        assert_eq!(control.to, control.from);
        assert!(control.product.iter().any(|sum| *sum != 0.0));
    }
}
