//! Muon for the matrices, `AdamW` for the embedding and the norms.
//!
//! Muon (Jordan et al. 2024, <https://kellerjordan.github.io/posts/muon/>) replaces the momentum of
//! a matrix by the nearest orthogonal one, so that every direction learns alike.

use candle_core::{Result, Tensor};

use crate::model::{Model, Parameter};
use crate::parallel::parallel;

/// Peak step of Muon, in orthogonal units.
const MUON_RATE: f64 = 0.02;
/// Peak step of `AdamW`.
const ADAM_RATE: f64 = 0.004;
const MUON_MOMENTUM: f64 = 0.95;
const ADAM_BETAS: (f64, f64) = (0.9, 0.95);
const ADAM_EPSILON: f64 = 1e-8;
/// Share of a matrix taken away per unit of step: keeps the matrices from growing.
const WEIGHT_DECAY: f64 = 0.02;
const NEWTON_SCHULZ_STEPS: usize = 5;
/// Coefficients of the quintic iteration, from the reference above.
const NEWTON_SCHULZ: (f64, f64, f64) = (3.4445, -4.775, 2.0315);

/// Running means per parameter: the first of the gradient, the second of its square (`AdamW` only).
pub(crate) struct Optimiser {
    pub(crate) first: Vec<Tensor>,
    pub(crate) second: Vec<Option<Tensor>>,
}

impl Optimiser {
    pub(crate) fn new(model: &Model) -> Result<Self> {
        let parameters = model.parameters();
        let first = parameters
            .iter()
            .map(|parameter| parameter.var.zeros_like())
            .collect::<Result<_>>()?;
        let second = parameters
            .iter()
            .map(|parameter| {
                (!parameter.role.is_matrix())
                    .then(|| parameter.var.zeros_like())
                    .transpose()
            })
            .collect::<Result<_>>()?;
        Ok(Self { first, second })
    }

    /// One step; `step` counts from one, `rate` is the share of the peak rates.
    pub(crate) fn update(
        &mut self,
        model: &Model,
        gradients: &[Tensor],
        step: u64,
        rate: f64,
        workers: usize,
    ) -> Result<()> {
        let means = parallel(gradients.len(), workers, |place| {
            let (parameter, gradient) = (&model.parameters()[place], &gradients[place]);
            match &self.second[place] {
                None => Ok((muon(parameter, gradient, &self.first[place], rate)?, None)),
                Some(second) => {
                    let (first, second) =
                        adam(parameter, gradient, &self.first[place], second, step, rate)?;
                    Ok((first, Some(second)))
                }
            }
        })?;
        (self.first, self.second) = means.into_iter().unzip();
        Ok(())
    }
}

fn muon(parameter: &Parameter, gradient: &Tensor, momentum: &Tensor, rate: f64) -> Result<Tensor> {
    let momentum = ((momentum * MUON_MOMENTUM)? + gradient)?;
    let ahead = (gradient + (&momentum * MUON_MOMENTUM)?)?;
    let (inputs, outputs) = ahead.dims2()?;
    let scale = (outputs as f64 / inputs as f64).max(1.0).sqrt();
    let step = (orthogonal(&ahead)? * (MUON_RATE * rate * scale))?;
    let kept = (parameter.var.as_tensor() * (1.0 - MUON_RATE * rate * WEIGHT_DECAY))?;
    parameter.var.set(&(kept - step)?)?;
    Ok(momentum)
}

/// About the nearest matrix with orthonormal rows or columns, by Newton-Schulz iteration.
fn orthogonal(matrix: &Tensor) -> Result<Tensor> {
    let (rows, columns) = matrix.dims2()?;
    let wide = if rows > columns {
        matrix.t()?.contiguous()?
    } else {
        matrix.clone()
    };
    let norm = f64::from(wide.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?);
    let mut x = (wide / (norm + 1e-7))?;
    let (a, b, c) = NEWTON_SCHULZ;
    for _ in 0..NEWTON_SCHULZ_STEPS {
        let gram = x.matmul(&x.t()?)?;
        let mix = ((&gram * b)? + (gram.matmul(&gram)? * c)?)?;
        x = ((&x * a)? + mix.matmul(&x)?)?;
    }
    if rows > columns {
        x.t()?.contiguous()
    } else {
        Ok(x)
    }
}

fn adam(
    parameter: &Parameter,
    gradient: &Tensor,
    first: &Tensor,
    second: &Tensor,
    step: u64,
    rate: f64,
) -> Result<(Tensor, Tensor)> {
    let (beta1, beta2) = ADAM_BETAS;
    let first = ((first * beta1)? + (gradient * (1.0 - beta1))?)?;
    let second = ((second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
    let steps = i32::try_from(step).unwrap_or(i32::MAX);
    let mean = (&first / (1.0 - beta1.powi(steps)))?;
    let spread = ((&second / (1.0 - beta2.powi(steps)))?.sqrt()? + ADAM_EPSILON)?;
    let change = ((mean / spread)? * (ADAM_RATE * rate))?;
    parameter.var.set(&(parameter.var.as_tensor() - change)?)?;
    Ok((first, second))
}
