//! Keys and values of the tokens seen so far, and the rotary tables for their positions.

use candle_core::{DType, Device, Result, Tensor};

use super::dimensions::Dimensions;
use super::{computing, reserve};
use crate::engine::EngineError;

/// The cache grows in whole blocks of this many tokens, so that requests of about one length share one allocation.
const BLOCK: usize = 256;

/// Preallocated for a whole request; a pass writes into it in place and nothing is ever concatenated.
#[derive(Debug)]
pub(super) struct Cache {
    dimensions: Dimensions,
    device: Device,
    /// Tokens that fit.
    capacity: usize,
    /// Tokens held.
    pub(super) length: usize,
    /// Per layer, each kv heads x capacity x head width.
    layers: Vec<(Tensor, Tensor)>,
    /// Capacity x half the head width.
    rotations: Option<(Tensor, Tensor)>,
}

impl Cache {
    /// An empty cache that holds no memory yet.
    pub(super) fn new(dimensions: &Dimensions, device: &Device) -> Self {
        Self {
            dimensions: *dimensions,
            device: device.clone(),
            capacity: 0,
            length: 0,
            layers: Vec::new(),
            rotations: None,
        }
    }

    /// Forgets all tokens and makes room for `tokens` of them; the caller has bounded these by the context.
    pub(super) fn clear(&mut self, tokens: usize) -> std::result::Result<(), EngineError> {
        self.length = 0;
        if tokens > self.capacity {
            let capacity = tokens.next_multiple_of(BLOCK);
            let Dimensions {
                layers,
                kv_heads,
                head_dim,
                ..
            } = self.dimensions;
            let bytes = [2 * layers, kv_heads, head_dim, size_of::<f32>()]
                .into_iter()
                .try_fold(capacity as u64, |product, factor| {
                    product.checked_mul(factor as u64)
                });
            self.capacity = 0;
            self.layers.clear();
            reserve("the cache of keys and values", bytes)?;
            self.allocate(capacity)
                .map_err(computing("allocate the cache of keys and values"))?;
            self.capacity = capacity;
        }
        Ok(())
    }

    /// Stores a pass's keys and values (kv heads x tokens x head width) after those held, and returns views of all.
    pub(super) fn extend(
        &self,
        layer: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let (all_keys, all_values) = &self.layers[layer];
        let length = self.length + keys.dim(1)?;
        all_keys.slice_set(keys, 1, self.length)?;
        all_values.slice_set(values, 1, self.length)?;
        Ok((
            all_keys.narrow(1, 0, length)?,
            all_values.narrow(1, 0, length)?,
        ))
    }

    /// Cosines and sines for the next `tokens` positions.
    pub(super) fn rotations(&self, tokens: usize) -> Result<(Tensor, Tensor)> {
        let (cos, sin) = self
            .rotations
            .as_ref()
            .expect("clear() made room before any pass");
        Ok((
            cos.narrow(0, self.length, tokens)?,
            sin.narrow(0, self.length, tokens)?,
        ))
    }

    fn allocate(&mut self, capacity: usize) -> Result<()> {
        let Dimensions {
            layers,
            kv_heads,
            head_dim,
            rope_base,
            ..
        } = self.dimensions;
        let room = || Tensor::zeros((kv_heads, capacity, head_dim), DType::F32, &self.device);
        self.layers = (0..layers)
            .map(|_| Ok((room()?, room()?)))
            .collect::<Result<_>>()?;

        // Attention divides the products of queries and keys by the root of the head width. A rotation is linear, so
        // the fourth root in both tables does the same without an operation of its own.
        let scale = (head_dim as f64).powf(-0.25);
        let half = head_dim / 2;
        let angle = |position: usize, pair: usize| {
            position as f64 * rope_base.powf(-2.0 * pair as f64 / head_dim as f64)
        };
        let table = |function: fn(f64) -> f64| {
            let values: Vec<f32> = (0..capacity * half)
                .map(|place| (scale * function(angle(place / half, place % half))) as f32)
                .collect();
            Tensor::from_vec(values, (capacity, half), &self.device)
        };
        self.rotations = Some((table(f64::cos)?, table(f64::sin)?));
        Ok(())
    }
}
