//! Writes a model as a GGUF file that llama.cpp and this project's engine load, and reads it back.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use domain::byte_tokenizer::{self, BOS, EOS, PAD, VOCABULARY_SIZE};

use crate::model::{FFN_WIDTH, HEAD_DIM, Model, NORM_EPSILON, ROPE_BASE, Role, Size, WIDTH};

/// Rotary positions have no fixed end; this is what engines are told they may reserve.
const CONTEXT_LENGTH: u32 = 8192;
/// `general.file_type` of a file with F16 matrices.
const FILE_TYPE_F16: u32 = 1;

/// Writes matrices as F16 and norms as F32.
pub(crate) fn write(path: &Path, model: &Model, size: Size) -> Result<()> {
    let mut tensors = Vec::new();
    for parameter in model.parameters() {
        let weights = parameter.var.as_tensor();
        let (weights, kind) = match parameter.role {
            Role::Embedding => (weights.clone(), GgmlDType::F16),
            Role::Reader | Role::Writer => (weights.t()?.contiguous()?, GgmlDType::F16),
            Role::Norm => (weights.clone(), GgmlDType::F32),
        };
        tensors.push((parameter.name.as_str(), QTensor::quantize(&weights, kind)?));
    }
    let tensors: Vec<(&str, &QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| (*name, tensor))
        .collect();
    let metadata = metadata(size);
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();

    let unfinished = path.with_extension("unfinished");
    let write = || -> Result<()> {
        gguf_file::write(
            &mut BufWriter::new(File::create(&unfinished)?),
            &metadata,
            &tensors,
        )?;
        Ok(fs::rename(&unfinished, path)?)
    };
    write().with_context(|| format!("write the model {}", path.display()))
}

/// Reads a file that [`write`] wrote, with its weights as rounded there.
pub(crate) fn read(path: &Path) -> Result<Model> {
    let read = || -> Result<Model> {
        let mut file = BufReader::new(File::open(path)?);
        let content = gguf_file::Content::read(&mut file)?;
        let layers = content
            .metadata
            .get("llama.block_count")
            .context("it lacks llama.block_count")?
            .to_u32()?;
        Ok(Model::build(layers as usize, |name, _, role| {
            let weights = content
                .tensor(&mut file, name, &Device::Cpu)?
                .dequantize(&Device::Cpu)?;
            if role.is_matrix() {
                weights.t()?.contiguous()
            } else {
                Ok::<Tensor, _>(weights)
            }
        })?)
    };
    read().with_context(|| format!("read the model {}", path.display()))
}

fn metadata(size: Size) -> Vec<(&'static str, Value)> {
    let text = |text: &str| Value::String(text.to_owned());
    let number = |number: usize| Value::U32(number as u32);
    let texts = |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
    let token_types = byte_tokenizer::token_types()
        .into_iter()
        .map(Value::I32)
        .collect();
    vec![
        ("general.architecture", text("llama")),
        ("general.name", text(size.name())),
        ("general.license", text("apache-2.0 OR mit")),
        ("general.file_type", Value::U32(FILE_TYPE_F16)),
        ("general.alignment", Value::U32(32)),
        ("llama.context_length", Value::U32(CONTEXT_LENGTH)),
        ("llama.embedding_length", number(WIDTH)),
        ("llama.block_count", number(size.layers())),
        ("llama.feed_forward_length", number(FFN_WIDTH)),
        ("llama.attention.head_count", number(WIDTH / HEAD_DIM)),
        ("llama.attention.head_count_kv", number(WIDTH / HEAD_DIM)),
        (
            "llama.attention.layer_norm_rms_epsilon",
            Value::F32(NORM_EPSILON),
        ),
        ("llama.rope.dimension_count", number(HEAD_DIM)),
        ("llama.rope.freq_base", Value::F32(ROPE_BASE)),
        ("llama.vocab_size", number(VOCABULARY_SIZE)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("default")),
        ("tokenizer.ggml.tokens", texts(byte_tokenizer::tokens())),
        ("tokenizer.ggml.token_type", Value::Array(token_types)),
        ("tokenizer.ggml.merges", texts(byte_tokenizer::merges())),
        ("tokenizer.ggml.bos_token_id", Value::U32(BOS)),
        ("tokenizer.ggml.eos_token_id", Value::U32(EOS)),
        ("tokenizer.ggml.padding_token_id", Value::U32(PAD)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
        ("tokenizer.ggml.add_eos_token", Value::Bool(false)),
    ]
}
