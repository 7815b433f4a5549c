//! A Llama model's dimensions, read from GGUF metadata and checked before anything is allocated by them.

use crate::engine::EngineError;
use crate::gguf::{self, Gguf, GgufError};

/// No published model comes near this in any dimension; below it, products of two dimensions cannot overflow.
const LARGEST_DIMENSION: u32 = 1 << 24;

/// Dimensions of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Dimensions {
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) feed_forward: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context: u32,
    pub(crate) rope_base: f64,
    pub(crate) rms_epsilon: f32,
}

impl Dimensions {
    /// Reads the `llama.*` keys; what this engine would compute wrongly is refused, never ignored.
    pub(crate) fn read(gguf: &Gguf) -> Result<Self, EngineError> {
        let unsupported = |what: String| EngineError::Unsupported {
            path: gguf.path().to_owned(),
            what,
        };
        let architecture =
            gguf.required("general.architecture", gguf.text("general.architecture")?)?;
        if architecture != "llama" {
            let architecture = gguf::cleaned(architecture);
            return Err(unsupported(format!(
                "its architecture is {architecture:?}; this engine runs llama only"
            )));
        }

        let width = required(gguf, "llama.embedding_length")?;
        let heads = required(gguf, "llama.attention.head_count")?;
        let kv_heads = dimension(gguf, "llama.attention.head_count_kv")?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            let problem = format!("is {kv_heads}, which does not divide the {heads} heads");
            return Err(gguf
                .bad_key("llama.attention.head_count_kv", problem)
                .into());
        }
        let head_dim = match dimension(gguf, "llama.attention.key_length")? {
            Some(length) => length,
            None if width.is_multiple_of(heads) => width / heads,
            None => {
                let problem = format!("is {heads}, which does not divide the width of {width}");
                return Err(gguf.bad_key("llama.attention.head_count", problem).into());
            }
        };
        if !head_dim.is_multiple_of(2) {
            return Err(unsupported(format!(
                "its heads have an odd width of {head_dim}"
            )));
        }
        for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
            if let Some(other) = dimension(gguf, key)?.filter(|&other| other != head_dim) {
                return Err(unsupported(format!(
                    "{key} is {other}; only the heads' width of {head_dim} is supported"
                )));
            }
        }
        match gguf.text("llama.rope.scaling.type")? {
            None | Some("none") => {}
            Some(kind) => {
                return Err(unsupported(format!(
                    "it scales rotary positions ({:?})",
                    gguf::cleaned(kind)
                )));
            }
        }
        for key in ["llama.expert_count", "llama.attention.sliding_window"] {
            if gguf.number(key)?.is_some_and(|number| number > 0) {
                return Err(unsupported(format!(
                    "it sets {key}, which this engine does not implement"
                )));
            }
        }

        let embedding = "token_embd.weight";
        let vocabulary = match gguf.tensor(embedding).map(|info| info.shape.dims()) {
            Some(&[rows, columns]) if columns == width && rows <= LARGEST_DIMENSION as usize => {
                rows
            }
            Some(dims) => {
                return Err(gguf
                    .bad_tensor(embedding, format!("is {dims:?}, not tokens x {width}"))
                    .into());
            }
            None => {
                let missing = GgufError::MissingTensor {
                    path: gguf.path().to_owned(),
                    tensor: embedding.to_owned(),
                };
                return Err(missing.into());
            }
        };
        Ok(Self {
            layers: required(gguf, "llama.block_count")?,
            width,
            feed_forward: required(gguf, "llama.feed_forward_length")?,
            heads,
            kv_heads,
            head_dim,
            vocabulary,
            context: required(gguf, "llama.context_length")? as u32,
            rope_base: positive(gguf, "llama.rope.freq_base")?.unwrap_or(10_000.0),
            rms_epsilon: epsilon(gguf)?,
        })
    }
}

fn required(gguf: &Gguf, key: &str) -> Result<usize, GgufError> {
    gguf.required(key, dimension(gguf, key)?)
}

fn dimension(gguf: &Gguf, key: &str) -> Result<Option<usize>, GgufError> {
    match gguf.number(key)? {
        Some(0) => Err(gguf.bad_key(key, "is 0")),
        Some(number) if number > LARGEST_DIMENSION => {
            Err(gguf.bad_key(key, format!("is {number}, beyond belief")))
        }
        number => Ok(number.map(|number| number as usize)),
    }
}

fn positive(gguf: &Gguf, key: &str) -> Result<Option<f64>, GgufError> {
    match gguf.decimal(key)? {
        Some(number) if number <= 0.0 => {
            Err(gguf.bad_key(key, format!("is {number}, but must be positive")))
        }
        number => Ok(number),
    }
}

fn epsilon(gguf: &Gguf) -> Result<f32, GgufError> {
    let key = "llama.attention.layer_norm_rms_epsilon";
    gguf.required(key, positive(gguf, key)?)
        .map(|epsilon| epsilon as f32)
}
