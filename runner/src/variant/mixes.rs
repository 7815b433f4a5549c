//! Which type each matrix of a llama.cpp mix is stored in.
//!
//! A mix such as `Q4_K_M` gives the matrices that lose most by quantisation a wider type: the values of attention and
//! the second matrix of the feed-forward in some layers, and the output head. The rules are facts of llama.cpp's
//! `llama_tensor_get_type_impl` and `tensor_type_fallback`
//! (<https://github.com/ggml-org/llama.cpp/blob/master/src/llama-quant.cpp>), without an importance matrix; a mix named
//! here therefore has the types that `llama-quantize` gives. The numbers in them are candle's, which rounds otherwise.

use candle_core::quantized::GgmlDType;

use super::prune::layer_of;
use crate::gguf::{GgufError, Keys};

/// A mix that llama.cpp makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mix {
    /// Mostly 5 bits, a third of the sensitive matrices in 6.
    Q5KM,
    /// 5 bits, the head in 6.
    Q5KS,
    /// Mostly 4 bits, a third of the sensitive matrices in 6.
    Q4KM,
    /// Mostly 4 bits, the sensitive matrices of the first layers in 5.
    Q4KS,
    /// Mostly 3 bits, the sensitive matrices in 5.
    Q3KL,
    /// Mostly 3 bits, the sensitive matrices in 4 or 5.
    Q3KM,
    /// 3 bits, the head in 6.
    Q3KS,
}

impl Mix {
    /// The type that is not widened.
    pub(super) fn base(self) -> GgmlDType {
        match self {
            Self::Q5KM | Self::Q5KS => GgmlDType::Q5K,
            Self::Q4KM | Self::Q4KS => GgmlDType::Q4K,
            Self::Q3KL | Self::Q3KM | Self::Q3KS => GgmlDType::Q3K,
        }
    }
}

/// What the rules ask of a model.
#[derive(Debug, Clone)]
pub(super) struct Traits {
    layers: u64,
    experts: u32,
    /// The embedding is the output head too.
    tied: bool,
    /// A Llama of 80 layers with shared keys: its value matrices are small beside the rest.
    is_70b: bool,
    /// Layers whose attention has values, in order.
    with_values: Vec<u32>,
}

impl Traits {
    /// Reads them of a model with these keys and tensors; `Err` names an architecture for which llama.cpp has rules of
    /// its own.
    pub(super) fn read<'a>(
        keys: &impl Keys,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Result<Self, String>, GgufError> {
        let key = "general.architecture";
        let architecture = keys.required(key, keys.text(key)?)?;
        if matches!(architecture, "falcon" | "glm5-next") {
            return Ok(Err(architecture.to_owned()));
        }
        let first = |name: &str| {
            let numbers = keys.per_layer(&format!("{architecture}.{name}"))?;
            Ok(numbers.and_then(|numbers| numbers.of(0)).unwrap_or(0))
        };
        let layers = first("block_count")?;
        let heads = first("attention.head_count")?;
        let kv_heads = match first("attention.head_count_kv")? {
            0 => heads,
            shared => shared,
        };
        let mut tied = true;
        let mut with_values = Vec::new();
        for name in names {
            tied &= name != HEAD;
            if Role::of(name) == Role::Values {
                with_values.extend(layer_of(name).map(|(layer, _)| layer));
            }
        }
        with_values.sort_unstable();
        Ok(Ok(Self {
            layers: u64::from(layers),
            experts: first("expert_count")?,
            tied,
            is_70b: architecture == "llama" && layers == 80 && heads != kv_heads,
            with_values,
        }))
    }
}

/// The output head, where it is not the embedding.
const HEAD: &str = "output.weight";

/// What a matrix does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Head,
    Embedding,
    /// Values: alone, in one matrix with queries and keys, or compressed together with the keys.
    Values,
    Keys,
    AttentionOutput,
    FeedForwardOutput,
    Other,
}

impl Role {
    fn of(name: &str) -> Self {
        let has = |part: &str| name.contains(part);
        match name {
            HEAD => Self::Head,
            "token_embd.weight" | "per_layer_token_embd.weight" => Self::Embedding,
            _ if ["attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight"]
                .into_iter()
                .any(has) =>
            {
                Self::Values
            }
            _ if has("attn_k.weight") => Self::Keys,
            _ if has("attn_output.weight") => Self::AttentionOutput,
            _ if has("ffn_down") => Self::FeedForwardOutput,
            _ => Self::Other,
        }
    }
}

/// The type of a matrix with rows of `columns`, before [`fallback`].
pub(super) fn wanted(mix: Mix, name: &str, columns: usize, model: &Traits) -> GgmlDType {
    let role = Role::of(name);
    if role == Role::Head || (model.tied && role == Role::Embedding) {
        return if columns.is_multiple_of(mix.base().block_size()) {
            GgmlDType::Q6K
        } else {
            GgmlDType::Q8_0
        };
    }
    let layer = layer_of(name).map_or(0, |(layer, _)| layer);
    let eight_experts = model.experts == 8;
    match role {
        Role::Values | Role::Keys if eight_experts => GgmlDType::Q8_0,
        Role::Values => of_values(mix, layer, model),
        Role::AttentionOutput => match mix {
            Mix::Q3KS | Mix::Q3KM | Mix::Q4KS | Mix::Q4KM if eight_experts => GgmlDType::Q5K,
            Mix::Q3KM => GgmlDType::Q4K,
            Mix::Q3KL if !eight_experts => GgmlDType::Q5K,
            _ => mix.base(),
        },
        Role::FeedForwardOutput => of_feed_forward(mix, u64::from(layer), model.layers),
        _ => mix.base(),
    }
}

fn of_values(mix: Mix, layer: u32, model: &Traits) -> GgmlDType {
    // llama.cpp counts the matrices that it meets, which a hybrid model has not in every layer.
    let place = model.with_values.iter().filter(|&&at| at < layer).count() as u64;
    let chosen = match mix {
        Mix::Q3KM if place < 2 => GgmlDType::Q5K,
        Mix::Q3KM => GgmlDType::Q4K,
        Mix::Q3KL => GgmlDType::Q5K,
        Mix::Q4KM | Mix::Q5KM if has_more_bits(place, model.with_values.len() as u64) => {
            GgmlDType::Q6K
        }
        Mix::Q4KS if place < 4 => GgmlDType::Q5K,
        _ => mix.base(),
    };
    match chosen {
        GgmlDType::Q3K | GgmlDType::Q4K if model.is_70b => GgmlDType::Q5K,
        chosen => chosen,
    }
}

fn of_feed_forward(mix: Mix, layer: u64, layers: u64) -> GgmlDType {
    match mix {
        Mix::Q3KM if layer < layers / 16 => GgmlDType::Q5K,
        Mix::Q3KM => GgmlDType::Q4K,
        Mix::Q3KL => GgmlDType::Q5K,
        Mix::Q4KM | Mix::Q5KM if has_more_bits(layer, layers) => GgmlDType::Q6K,
        Mix::Q4KS if layer < layers / 8 => GgmlDType::Q5K,
        _ => mix.base(),
    }
}

/// The first and the last eighth of the layers, and every third between.
fn has_more_bits(place: u64, of: u64) -> bool {
    place < of / 8 || place >= 7 * of / 8 || (place - of / 8) % 3 == 2
}

/// What llama.cpp stores in place of a type whose blocks do not divide rows of `columns`.
pub(super) fn fallback(wanted: GgmlDType, columns: usize) -> GgmlDType {
    let fits = |dtype: &GgmlDType| columns.is_multiple_of(dtype.block_size());
    let smaller = match wanted {
        GgmlDType::Q2K | GgmlDType::Q3K => GgmlDType::Q4_0,
        GgmlDType::Q4K => GgmlDType::Q5_0,
        GgmlDType::Q5K => GgmlDType::Q5_1,
        GgmlDType::Q6K => GgmlDType::Q8_0,
        other => other,
    };
    [wanted, smaller]
        .into_iter()
        .find(fits)
        .unwrap_or(GgmlDType::F16)
}
