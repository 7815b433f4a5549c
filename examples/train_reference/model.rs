//! The Llama architecture in candle, trained whole sequences at a time.
//!
//! Matrices are kept as `[inputs, outputs]`, so that neither pass transposes them; files hold
//! `[outputs, inputs]`.

use candle_core::{DType, Device, Result, Tensor, Var};
use clap::ValueEnum;
use domain::byte_tokenizer::VOCABULARY_SIZE;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use crate::data::Packed;
use crate::ops::{attention, rms_norm, swiglu};

/// Components of the residual stream: k-quants need a multiple of 256.
pub(crate) const WIDTH: usize = 256;
/// Components of the feed-forward layer, likewise a multiple of 256.
pub(crate) const FFN_WIDTH: usize = 768;
/// Components of one attention head.
pub(crate) const HEAD_DIM: usize = 32;
/// Added to the mean square in every norm.
pub(crate) const NORM_EPSILON: f32 = 1e-5;
/// Base of the rotary frequencies.
pub(crate) const ROPE_BASE: f32 = 10_000.0;

/// Which model of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Size {
    /// One layer.
    S,
    /// Two layers.
    M,
    /// Four layers.
    L,
}

impl Size {
    pub(crate) const fn layers(self) -> usize {
        match self {
            Self::S => 1,
            Self::M => 2,
            Self::L => 4,
        }
    }

    /// The name in file names and in the file's metadata.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::S => "joulemark-reference-0.9m",
            Self::M => "joulemark-reference-1.8m",
            Self::L => "joulemark-reference-3.5m",
        }
    }
}

/// One trained tensor under its name in the GGUF file.
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) var: Var,
    pub(crate) role: Role,
}

/// What a parameter is, which decides how it starts and how it is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The tied token embedding, `[vocabulary, width]`.
    Embedding,
    /// A matrix `[inputs, outputs]` that reads the residual stream.
    Reader,
    /// A matrix `[inputs, outputs]` that writes to the residual stream.
    Writer,
    /// The weight of a norm.
    Norm,
}

impl Role {
    pub(crate) const fn is_matrix(self) -> bool {
        matches!(self, Self::Reader | Self::Writer)
    }
}

/// Tensors of one layer: `blk.N.` goes before the name.
const LAYER: [(&str, usize, usize, Role); 9] = [
    ("attn_norm", 1, WIDTH, Role::Norm),
    ("attn_q", WIDTH, WIDTH, Role::Reader),
    ("attn_k", WIDTH, WIDTH, Role::Reader),
    ("attn_v", WIDTH, WIDTH, Role::Reader),
    ("attn_output", WIDTH, WIDTH, Role::Writer),
    ("ffn_norm", 1, WIDTH, Role::Norm),
    ("ffn_gate", WIDTH, FFN_WIDTH, Role::Reader),
    ("ffn_up", WIDTH, FFN_WIDTH, Role::Reader),
    ("ffn_down", FFN_WIDTH, WIDTH, Role::Writer),
];

/// A model: the embedding, nine tensors per layer, and the last norm, in this order.
pub(crate) struct Model {
    parameters: Vec<Parameter>,
}

impl Model {
    /// A model whose tensors come from `make`, which is given name, shape and role of each.
    pub(crate) fn build(
        layers: usize,
        mut make: impl FnMut(&str, &[usize], Role) -> Result<Tensor>,
    ) -> Result<Self> {
        let mut parameters = Vec::with_capacity(layers * LAYER.len() + 2);
        let mut add = |name: String, shape: &[usize], role| -> Result<()> {
            let var = Var::from_tensor(&make(&name, shape, role)?)?;
            parameters.push(Parameter { name, var, role });
            Ok(())
        };
        add(
            "token_embd.weight".to_owned(),
            &[VOCABULARY_SIZE, WIDTH],
            Role::Embedding,
        )?;
        for layer in 0..layers {
            for (name, inputs, outputs, role) in LAYER {
                let shape = if role == Role::Norm {
                    vec![outputs]
                } else {
                    vec![inputs, outputs]
                };
                add(format!("blk.{layer}.{name}.weight"), &shape, role)?;
            }
        }
        add("output_norm.weight".to_owned(), &[WIDTH], Role::Norm)?;
        Ok(Self { parameters })
    }

    /// A model with random weights.
    pub(crate) fn random(layers: usize, rng: &mut ChaCha8Rng) -> Result<Self> {
        Self::build(layers, |_, shape, role| initial(shape, role, 0.02, rng))
    }

    /// A deeper model that answers as `self` does: the added layers come first and write nothing yet.
    ///
    /// There they can learn to tell the trained layers what those missed: positions and neighbours.
    pub(crate) fn grown(&self, layers: usize, rng: &mut ChaCha8Rng) -> Result<Self> {
        let added = LAYER.len() * layers.saturating_sub(self.layers());
        let mut place = 0;
        Self::build(layers, |_, shape, role| {
            let here = place;
            place += 1;
            match here {
                0 => self.parameters[0].var.copy(),
                _ if here <= added => initial(shape, role, 0.0, rng),
                _ => self.parameters[here - added].var.copy(),
            }
        })
    }

    pub(crate) fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    pub(crate) fn layers(&self) -> usize {
        self.parameters.len() / LAYER.len()
    }

    /// The logits `[answer tokens, vocabulary]` at the places that predict an answer token.
    pub(crate) fn logits(&self, batch: &Packed) -> Result<Tensor> {
        let tensor = |place: usize| self.parameters[place].var.as_tensor();
        let predicting = Tensor::new(batch.predicting.as_slice(), &Device::Cpu)?;
        let mut x =
            tensor(0).index_select(&Tensor::new(batch.tokens.as_slice(), &Device::Cpu)?, 0)?;
        for layer in 0..self.layers() {
            let weight = |place: usize| tensor(1 + layer * LAYER.len() + place);
            let normed = rms_norm(&x, weight(0))?;
            let [q, k, v] = [1, 2, 3].map(|place| normed.matmul(weight(place)));
            let mut mixed = attention(&q?, &k?, &v?, batch.lengths.clone())?;
            if layer + 1 == self.layers() {
                // Past the last attention nothing reads the other places.
                x = x.index_select(&predicting, 0)?;
                mixed = mixed.index_select(&predicting, 0)?;
            }
            x = (x + mixed.matmul(weight(4))?)?;
            let normed = rms_norm(&x, weight(5))?;
            let gated = swiglu(&normed.matmul(weight(6))?, &normed.matmul(weight(7))?)?;
            x = (x + gated.matmul(weight(8))?)?;
        }
        rms_norm(&x, tensor(self.parameters.len() - 1))?.matmul(&tensor(0).t()?)
    }
}

/// A tensor to begin with; `writing` is the spread of matrices that write to the residual stream.
fn initial(shape: &[usize], role: Role, writing: f32, rng: &mut ChaCha8Rng) -> Result<Tensor> {
    let spread = match role {
        Role::Embedding => 0.05,
        Role::Reader => 0.06,
        Role::Writer => writing,
        Role::Norm => return Tensor::ones(shape, DType::F32, &Device::Cpu),
    };
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| spread * normal(rng)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// A standard normal number by the Box-Muller transform.
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let mut uniform = || (f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0;
    let (radius, angle) = (uniform(), uniform());
    ((-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()) as f32
}
