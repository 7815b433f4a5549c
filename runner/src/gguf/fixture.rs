//! Small GGUF files with seeded random weights, for this crate's tests.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use domain::byte_tokenizer as bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Dimensions of a model to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fixture {
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) feed_forward: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) dtype: GgmlDType,
    pub(crate) tied: bool,
}

impl Fixture {
    /// A model of a few kilobytes: one layer, width 32.
    pub(crate) fn tiny() -> Self {
        Self {
            layers: 1,
            width: 32,
            feed_forward: 64,
            heads: 4,
            kv_heads: 2,
            dtype: GgmlDType::F16,
            tied: true,
        }
    }

    /// The shape of the largest reference model.
    pub(crate) fn reference() -> Self {
        Self {
            layers: 4,
            width: 256,
            feed_forward: 768,
            heads: 8,
            kv_heads: 8,
            dtype: GgmlDType::F16,
            tied: true,
        }
    }

    pub(crate) fn head_dim(&self) -> usize {
        self.width / self.heads
    }

    pub(crate) fn metadata(&self) -> BTreeMap<String, Value> {
        let text = |text: &str| Value::String(text.to_owned());
        let number = |number: usize| Value::U32(number as u32);
        let texts =
            |items: Vec<String>| Value::Array(items.into_iter().map(Value::String).collect());
        let entries = [
            ("general.architecture", text("llama")),
            ("general.name", text("fixture")),
            ("general.file_type", number(1)),
            ("llama.context_length", number(8_192)),
            ("llama.embedding_length", number(self.width)),
            ("llama.block_count", number(self.layers)),
            ("llama.feed_forward_length", number(self.feed_forward)),
            ("llama.attention.head_count", number(self.heads)),
            ("llama.attention.head_count_kv", number(self.kv_heads)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("llama.rope.dimension_count", number(self.head_dim())),
            ("llama.rope.freq_base", Value::F32(10_000.0)),
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text("default")),
            ("tokenizer.ggml.tokens", texts(bytes::tokens())),
            (
                "tokenizer.ggml.token_type",
                Value::Array(bytes::token_types().into_iter().map(Value::I32).collect()),
            ),
            ("tokenizer.ggml.merges", texts(bytes::merges())),
            ("tokenizer.ggml.bos_token_id", Value::U32(bytes::BOS)),
            ("tokenizer.ggml.eos_token_id", Value::U32(bytes::EOS)),
            ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
        ];
        entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    /// Names, dimensions and values of all weights, drawn from one seed.
    pub(crate) fn weights(&self) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
        let (width, wide) = (self.width, self.feed_forward);
        let kv = self.kv_heads * self.head_dim();
        let mut shapes = vec![
            (
                "token_embd.weight".to_owned(),
                vec![bytes::VOCABULARY_SIZE, width],
            ),
            ("output_norm.weight".to_owned(), vec![width]),
        ];
        if !self.tied {
            shapes.push((
                "output.weight".to_owned(),
                vec![bytes::VOCABULARY_SIZE, width],
            ));
        }
        for layer in 0..self.layers {
            for (name, shape) in [
                ("attn_norm", vec![width]),
                ("attn_q", vec![width, width]),
                ("attn_k", vec![kv, width]),
                ("attn_v", vec![kv, width]),
                ("attn_output", vec![width, width]),
                ("ffn_norm", vec![width]),
                ("ffn_gate", vec![wide, width]),
                ("ffn_up", vec![wide, width]),
                ("ffn_down", vec![width, wide]),
            ] {
                shapes.push((format!("blk.{layer}.{name}.weight"), shape));
            }
        }
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        shapes
            .into_iter()
            .map(|(name, shape)| {
                let count = shape.iter().product();
                let values = if shape.len() == 1 {
                    (0..count).map(|_| 1.0 + 0.1 * uniform(&mut rng)).collect()
                } else {
                    let scale = 3.0_f32.sqrt() / (shape[1] as f32).sqrt();
                    (0..count).map(|_| scale * uniform(&mut rng)).collect()
                };
                (name, (shape, values))
            })
            .collect()
    }

    pub(crate) fn tensors(&self) -> BTreeMap<String, QTensor> {
        self.weights()
            .into_iter()
            .map(|(name, (shape, values))| {
                let dtype = if shape.len() == 1 {
                    GgmlDType::F32
                } else {
                    self.dtype
                };
                let tensor = Tensor::from_vec(values, shape, &Device::Cpu)
                    .expect("as many values as the shape says");
                (
                    name,
                    QTensor::quantize(&tensor, dtype).expect("rows of whole blocks"),
                )
            })
            .collect()
    }

    pub(crate) fn write(&self, path: &Path) {
        write(path, &self.metadata(), &self.tensors());
    }
}

pub(crate) fn write(
    path: &Path,
    metadata: &BTreeMap<String, Value>,
    tensors: &BTreeMap<String, QTensor>,
) {
    let mut file = BufWriter::new(File::create(path).expect("a new file"));
    super::write(&mut file, metadata, tensors).expect("written");
}

/// From -1 to 1.
fn uniform(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0
}
