//! The Llama architecture's forward pass.
//!
//! Activations are `f32`, tokens x width. Attention works on heads x tokens x head width; grouped queries share a
//! key by being further rows of the same product, so keys and values are never copied per head.

use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{Device, Result, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim, swiglu};
use candle_nn::rotary_emb::rope_i;

use super::cache::Cache;
use super::dimensions::Dimensions;
use super::weights::{Loader, Matrix};
use super::{computing, reserve};
use crate::engine::EngineError;
use crate::gguf::{self, Gguf};

/// A prompt goes through in pieces of at most this many tokens.
const LONGEST_PIECE: usize = 512;

/// A piece is shorter where its attention scores would be more than this many numbers (256 MiB).
const MOST_SCORES: usize = 1 << 26;

/// Positions for which logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// The last one, to choose the next token.
    Last,
    /// All, to compare models.
    All,
}

/// Sees what passes through the layers while they are computed.
pub(super) trait Tap {
    /// A layer's input and output, tokens x width.
    fn layer(&mut self, layer: usize, input: &Tensor, output: &Tensor) -> Result<()>;

    /// What a layer's heads give, tokens x (heads x head width), and the matrix that adds it to what passes through.
    fn heads(&mut self, layer: usize, mixed: &Tensor, output: &Matrix) -> Result<()>;
}

/// Weights on the device.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) dimensions: Dimensions,
    device: Device,
    /// Kept as it is stored: a lookup dequantises the rows it needs and nothing else.
    embedding: Arc<QTensor>,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Matrix,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Tensor,
    /// Queries, keys and values.
    attention_inputs: Matrix,
    attention_output: Matrix,
    feed_forward_norm: Tensor,
    /// Gate and up.
    feed_forward_inputs: Matrix,
    feed_forward_output: Matrix,
}

impl Model {
    /// Reads all weights; refuses a file with a tensor missing, of another shape, or left over.
    pub(super) fn load(
        gguf: &mut Gguf,
        dimensions: Dimensions,
        device: &Device,
    ) -> std::result::Result<Self, EngineError> {
        let stored = gguf
            .tensors()
            .values()
            .map(|info| gguf::stored_bytes(info))
            .sum();
        reserve("the weights", Some(stored))?;

        let Dimensions {
            width,
            vocabulary,
            feed_forward,
            heads,
            kv_heads,
            head_dim,
            ..
        } = dimensions;
        let mut loader = Loader::new(gguf, device);
        let embedding = loader.table("token_embd.weight", [vocabulary, width])?;
        let mut layers = Vec::new();
        for layer in 0..dimensions.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            layers.push(Layer {
                attention_norm: loader.vector(&name("attn_norm"), width)?,
                attention_inputs: loader.matrix(
                    [
                        (&name("attn_q"), heads * head_dim),
                        (&name("attn_k"), kv_heads * head_dim),
                        (&name("attn_v"), kv_heads * head_dim),
                    ],
                    width,
                )?,
                attention_output: loader
                    .matrix([(&name("attn_output"), width)], heads * head_dim)?,
                feed_forward_norm: loader.vector(&name("ffn_norm"), width)?,
                feed_forward_inputs: loader.matrix(
                    [
                        (&name("ffn_gate"), feed_forward),
                        (&name("ffn_up"), feed_forward),
                    ],
                    width,
                )?,
                feed_forward_output: loader.matrix([(&name("ffn_down"), width)], feed_forward)?,
            });
        }
        let norm = loader.vector("output_norm.weight", width)?;
        let head = if loader.has("output.weight") {
            loader.matrix([("output.weight", vocabulary)], width)?
        } else {
            Matrix::of_table(&embedding)
                .map_err(computing("share the embedding with the output head"))?
        };
        loader.finish()?;
        Ok(Self {
            dimensions,
            device: device.clone(),
            embedding,
            layers,
            norm,
            head,
        })
    }

    /// Bytes of weights that one pass over one token reads.
    pub(super) fn bytes_per_pass(&self) -> u64 {
        let layers = self.layers.iter().flat_map(|layer| {
            [
                &layer.attention_inputs,
                &layer.attention_output,
                &layer.feed_forward_inputs,
                &layer.feed_forward_output,
            ]
        });
        let norms = 4 * (2 * self.layers.len() + 1) as u64 * self.dimensions.width as u64;
        layers
            .chain([&self.head])
            .map(Matrix::bytes_per_pass)
            .sum::<u64>()
            + norms
    }

    /// Logits (rows x vocabulary) after `tokens`, which follow what `cache` holds and are then held by it too.
    pub(super) fn forward(&self, tokens: &[u32], cache: &mut Cache, rows: Rows) -> Result<Tensor> {
        let scores_per_token = self.dimensions.heads * (cache.length + tokens.len());
        let piece_length = (MOST_SCORES / scores_per_token).clamp(1, LONGEST_PIECE);
        let mut logits = Vec::new();
        let mut pieces = tokens.chunks(piece_length).peekable();
        while let Some(piece) = pieces.next() {
            let hidden = self.hidden(piece, cache, None)?;
            if rows == Rows::All {
                logits.push(self.logits(&hidden)?);
            } else if pieces.peek().is_none() {
                return self.logits(&hidden.narrow(0, piece.len() - 1, 1)?);
            }
        }
        Tensor::cat(&logits, 0)
    }

    /// Passes `tokens`, at most one piece of them, through the layers for what `tap` sees of it.
    pub(super) fn observe(
        &self,
        tokens: &[u32],
        cache: &mut Cache,
        tap: &mut dyn Tap,
    ) -> Result<()> {
        debug_assert!(tokens.len() <= LONGEST_PIECE, "a piece is short");
        self.hidden(tokens, cache, Some(tap)).map(|_| ())
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.head
            .forward(&rms_norm(hidden, &self.norm, self.dimensions.rms_epsilon)?)
    }

    fn hidden(
        &self,
        tokens: &[u32],
        cache: &mut Cache,
        mut tap: Option<&mut dyn Tap>,
    ) -> Result<Tensor> {
        let epsilon = self.dimensions.rms_epsilon;
        let rotations = cache.rotations(tokens.len())?;
        // A single token may look at everything before it, so decoding needs no mask.
        let mask = if tokens.len() > 1 {
            Some(self.mask(tokens.len(), cache.length)?)
        } else {
            None
        };
        let mut hidden = self
            .embedding
            .embedding(&Tensor::new(tokens, &self.device)?)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = rms_norm(&hidden, &layer.attention_norm, epsilon)?;
            let mixed = self.attention(index, layer, &normed, &rotations, mask.as_ref(), cache)?;
            let attended = (&hidden + layer.attention_output.forward(&mixed)?)?;
            let normed = rms_norm(&attended, &layer.feed_forward_norm, epsilon)?;
            let gated = swiglu(&layer.feed_forward_inputs.forward(&normed)?)?;
            let output = (attended + layer.feed_forward_output.forward(&gated)?)?;
            if let Some(tap) = &mut tap {
                tap.heads(index, &mixed, &layer.attention_output)?;
                tap.layer(index, &hidden, &output)?;
            }
            hidden = output;
        }
        cache.length += tokens.len();
        Ok(hidden)
    }

    /// What the heads of a layer give, side by side.
    fn attention(
        &self,
        index: usize,
        layer: &Layer,
        input: &Tensor,
        (cos, sin): &(Tensor, Tensor),
        mask: Option<&Tensor>,
        cache: &Cache,
    ) -> Result<Tensor> {
        let Dimensions {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.dimensions;
        let tokens = input.dim(0)?;
        let grouped = (kv_heads, heads / kv_heads * tokens, head_dim);

        let all = layer.attention_inputs.forward(input)?.reshape((
            tokens,
            heads + 2 * kv_heads,
            head_dim,
        ))?;
        let all = all.transpose(0, 1)?.contiguous()?;
        // Queries and keys turn by the same table, so they turn together.
        let turned =
            rope_i(&all.narrow(0, 0, heads + kv_heads)?.unsqueeze(0)?, cos, sin)?.squeeze(0)?;
        let queries = turned.narrow(0, 0, heads)?.reshape(grouped)?;
        let values = all.narrow(0, heads + kv_heads, kv_heads)?;
        let (keys, values) = cache.extend(index, &turned.narrow(0, heads, kv_heads)?, &values)?;

        let scores = queries.matmul(&keys.t()?)?;
        let scores = match mask {
            Some(mask) => {
                let shape = scores.shape().clone();
                let length = shape.dims()[2];
                scores
                    .reshape((heads, tokens, length))?
                    .broadcast_add(mask)?
                    .reshape(shape)?
            }
            None => scores,
        };
        let mixed = softmax_last_dim(&scores)?.matmul(&values)?;
        let mixed = mixed
            .reshape((heads, tokens, head_dim))?
            .transpose(0, 1)?
            .contiguous()?;
        mixed.reshape((tokens, heads * head_dim))
    }

    /// Tokens x positions: 0 where a token may look, minus infinity where it may not.
    fn mask(&self, tokens: usize, before: usize) -> Result<Tensor> {
        let length = before + tokens;
        let values: Vec<f32> = (0..tokens)
            .flat_map(|row| {
                (0..length).map(move |column| {
                    if column > before + row {
                        f32::NEG_INFINITY
                    } else {
                        0.0
                    }
                })
            })
            .collect();
        Tensor::from_vec(values, (tokens, length), &self.device)
    }
}
