//! How much each layer and each group of heads does, measured on texts: for pruning by importance.
//!
//! Sums are taken in `f64` in the order of the texts, so a measurement repeats on the same kind of processor; another
//! one rounds differently in its last digits.

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};

use super::cache::Cache;
use super::model::Tap;
use super::weights::Matrix;
use super::{Dimensions, Loaded, computing};
use crate::engine::EngineError;

/// A cosine of something as short as this says nothing.
const SHORTEST: f32 = 1e-12;

/// What was measured of a model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Importance {
    /// Of each layer, 1 less the mean cosine between what goes in and what comes out: the Block Influence of `ShortGPT`
    /// (<https://arxiv.org/abs/2403.03853>). 0 is a layer that changes no direction.
    pub(crate) layers: Vec<f64>,
    /// Of each layer and in it of each group of heads that share keys and values, the mean length of what the group
    /// adds to what passes through.
    pub(crate) groups: Vec<Vec<f64>>,
    /// Tokens that were looked at.
    pub(crate) tokens: u64,
}

/// Measures the model in `path` on `texts`; the first token of each, which every other attends to, counts like the rest.
pub(crate) fn importance(
    path: &Path,
    texts: &[String],
) -> std::result::Result<Importance, EngineError> {
    // Not on an accelerator: the same file must give the same numbers wherever variants are made.
    let device = Device::Cpu;
    let loaded = Loaded::open(path, &device)?;
    let dimensions = loaded.model.dimensions;
    let mut cache = Cache::new(&dimensions, &device);
    let mut sums = Sums::new(&dimensions);
    for text in texts {
        let bos = loaded.begins_with_bos.then(|| loaded.tokenizer.bos());
        let tokens: Vec<u32> = bos
            .into_iter()
            .chain(loaded.tokenizer.encode(text))
            .collect();
        loaded.check(&tokens, 0)?;
        cache.clear(tokens.len())?;
        loaded
            .model
            .observe(&tokens, &mut cache, &mut sums)
            .map_err(computing("measure what each layer does"))?;
        sums.tokens += tokens.len() as u64;
    }
    let measured = sums.means();
    let finite = |value: &f64| value.is_finite();
    if !measured.layers.iter().all(finite) || !measured.groups.iter().flatten().all(finite) {
        return Err(EngineError::NotFinite {
            path: path.to_owned(),
        });
    }
    Ok(measured)
}

/// What is summed over tokens.
#[derive(Debug)]
struct Sums {
    dimensions: Dimensions,
    layers: Vec<f64>,
    groups: Vec<Vec<f64>>,
    tokens: u64,
}

impl Sums {
    fn new(dimensions: &Dimensions) -> Self {
        Self {
            dimensions: *dimensions,
            layers: vec![0.0; dimensions.layers],
            groups: vec![vec![0.0; dimensions.kv_heads]; dimensions.layers],
            tokens: 0,
        }
    }

    fn means(self) -> Importance {
        let tokens = self.tokens.max(1) as f64;
        let of = |sums: Vec<f64>| sums.into_iter().map(|sum| sum / tokens).collect();
        Importance {
            layers: of(self.layers),
            groups: self.groups.into_iter().map(of).collect(),
            tokens: self.tokens,
        }
    }
}

impl Tap for Sums {
    fn layer(&mut self, layer: usize, input: &Tensor, output: &Tensor) -> Result<()> {
        let product = values(&(input * output)?.sum(1)?)?;
        let lengths = values(&lengths(input)?)?
            .into_iter()
            .zip(values(&lengths(output)?)?);
        self.layers[layer] += product
            .into_iter()
            .zip(lengths)
            .map(|(product, (before, after))| {
                1.0 - f64::from(product / (before * after).max(SHORTEST))
            })
            .sum::<f64>();
        Ok(())
    }

    fn heads(&mut self, layer: usize, mixed: &Tensor, output: &Matrix) -> Result<()> {
        let Dimensions {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.dimensions;
        let columns = heads / kv_heads * head_dim;
        for (group, sum) in self.groups[layer].iter_mut().enumerate() {
            // What the group alone adds: the other groups' columns are zero.
            let alone: Vec<f32> = (0..heads * head_dim)
                .map(|column| f32::from(u8::from(column / columns == group)))
                .collect();
            let alone = Tensor::from_vec(alone, (1, heads * head_dim), &Device::Cpu)?;
            let added = output.forward(&mixed.broadcast_mul(&alone)?)?;
            *sum += values(&lengths(&added)?)?
                .into_iter()
                .map(f64::from)
                .sum::<f64>();
        }
        Ok(())
    }
}

/// The length of each row.
fn lengths(rows: &Tensor) -> Result<Tensor> {
    rows.sqr()?.sum(1)?.sqrt()
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.to_dtype(DType::F32)?.to_vec1()
}
