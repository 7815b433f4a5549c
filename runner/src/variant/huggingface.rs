//! A GGUF of the reference family as the folder that Hugging Face's transformers, MLX and vLLM load.
//!
//! Runs for what [`CandleEngine`](crate::engine::candle::CandleEngine) runs: architecture `llama`, byte-level
//! vocabulary. The numbers are those of the GGUF in the same type, F32 or F16 (in which the norms, F32 in a GGUF, are
//! rounded too, as a float16 checkpoint has them). The same GGUF and program version give the same bytes.

use std::borrow::Cow;
use std::collections::HashMap;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use domain::byte_tokenizer::ByteTokenizer;
use domain::ids::Sha256Digest;
use safetensors::Dtype;
use safetensors::tensor::View;
use serde_json::{Value, json};

use super::quantise::{MAKER, keys};
use super::{VariantError, as_text};
use crate::engine::candle::{Dimensions, tokenizer};
use crate::gguf::{Gguf, Keys, cleaned, type_label};

/// The file of the model's dimensions.
pub(super) const CONFIG: &str = "config.json";
/// The file of the weights, where they are one file.
pub(super) const WEIGHTS: &str = "model.safetensors";
/// The file of the vocabulary.
pub(super) const TOKENIZER: &str = "tokenizer.json";
/// The file of the special tokens and of the chat template.
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The object in [`CONFIG`] that says what was made of what, with the keys of [`keys`] without their prefix.
pub(super) const OURS: &str = "joulemark";

/// The largest number that F16 does not round to infinity lies below this.
const F16_OVERFLOW: f32 = 65_520.0;

/// The folder's files by name.
pub(super) type Files = Vec<(&'static str, Vec<u8>)>;

/// The files for an open GGUF whose digest is known; a quantised one is refused.
pub(super) fn files(gguf: &mut Gguf, digest: &Sha256Digest) -> Result<Files, VariantError> {
    let dtype = stored_type(gguf)?;
    let dimensions = Dimensions::read(gguf)?;
    let (vocabulary, begins_with_bos) = tokenizer(gguf, dimensions.vocabulary)?;
    let tied = gguf.tensor("output.weight").is_none();
    let tokens = gguf.required(
        "tokenizer.ggml.tokens",
        gguf.texts("tokenizer.ggml.tokens")?,
    )?;
    let config = config(gguf, digest, &dimensions, dtype, &vocabulary, tied)?;
    let weights = weights(gguf, &dimensions, dtype, tied)?;
    let generation = json!({
        "bos_token_id": vocabulary.bos(),
        "eos_token_id": vocabulary.eos(),
        "do_sample": false,
    });
    let mut tokenizer_config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[vocabulary.bos() as usize],
        "eos_token": tokens[vocabulary.eos() as usize],
        "add_bos_token": begins_with_bos,
        "clean_up_tokenization_spaces": false,
        "model_max_length": dimensions.context,
    });
    if let Some(template) = gguf.text("tokenizer.chat_template")? {
        tokenizer_config["chat_template"] = json!(template);
    }
    Ok(vec![
        (CONFIG, as_text(&config)),
        (WEIGHTS, weights),
        (
            TOKENIZER,
            as_text(&tokenizer_json(&tokens, &vocabulary, begins_with_bos)),
        ),
        (TOKENIZER_CONFIG, as_text(&tokenizer_config)),
        ("generation_config.json", as_text(&generation)),
    ])
}

/// F32 if every matrix is, else F16.
fn stored_type(gguf: &Gguf) -> Result<GgmlDType, VariantError> {
    let mut found = GgmlDType::F32;
    for (name, info) in gguf.tensors() {
        match info.ggml_dtype {
            GgmlDType::F32 => {}
            GgmlDType::F16 => found = GgmlDType::F16,
            other => {
                return Err(VariantError::NoHuggingFaceForm {
                    path: gguf.path().to_owned(),
                    problem: format!(
                        "{} is stored as {}; only F16 and F32 are written",
                        cleaned(name),
                        type_label(other)
                    ),
                });
            }
        }
    }
    Ok(found)
}

fn config(
    gguf: &Gguf,
    digest: &Sha256Digest,
    dimensions: &Dimensions,
    dtype: GgmlDType,
    vocabulary: &ByteTokenizer,
    tied: bool,
) -> Result<Value, VariantError> {
    let dtype = match dtype {
        GgmlDType::F32 => "float32",
        _ => "float16",
    };
    let source = match gguf.text(keys::SOURCE)? {
        Some(source) => source.to_owned(),
        None => digest.to_string(),
    };
    Ok(json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": dimensions.vocabulary,
        "hidden_size": dimensions.width,
        "intermediate_size": dimensions.feed_forward,
        "num_hidden_layers": dimensions.layers,
        "num_attention_heads": dimensions.heads,
        "num_key_value_heads": dimensions.kv_heads,
        "head_dim": dimensions.head_dim,
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "max_position_embeddings": dimensions.context,
        "rms_norm_eps": f64_of(dimensions.rms_epsilon),
        "rope_theta": dimensions.rope_base,
        "tie_word_embeddings": tied,
        "bos_token_id": vocabulary.bos(),
        "eos_token_id": vocabulary.eos(),
        "torch_dtype": dtype,
        OURS: {
            "model": gguf.required("general.name", gguf.text("general.name")?)?,
            "source_sha256": source,
            "pruning.method": gguf.text(keys::METHOD)?.unwrap_or("none"),
            "pruning.ratio_ppm": gguf.number(keys::RATIO)?.unwrap_or(0),
            "pruning.recipe": gguf.text(keys::RECIPE)?,
            "made_by": MAKER,
        },
    }))
}

/// The decimal that a person would write for the number: 1e-5, not 9.999999747378752e-6. Readers round it back.
fn f64_of(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

/// Each byte is one token, so nothing is ever merged; `TemplateProcessing` puts the begin token first.
fn tokenizer_json(tokens: &[String], vocabulary: &ByteTokenizer, begins_with_bos: bool) -> Value {
    let special = |text: &str| text.chars().nth(1).is_some();
    let added: Vec<Value> = (0..)
        .zip(tokens)
        .filter(|(_, text)| special(text))
        .map(|(id, text): (u32, _)| {
            json!({
                "id": id, "content": text, "special": true,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            })
        })
        .collect();
    let ids: serde_json::Map<String, Value> = (0_u32..)
        .zip(tokens)
        .map(|(id, text)| (text.clone(), json!(id)))
        .collect();
    let bos = &tokens[vocabulary.bos() as usize];
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let begin = json!({"SpecialToken": {"id": bos, "type_id": 0}});
    let template = json!({
        "type": "TemplateProcessing",
        "single": [begin, sequence("A")],
        "pair": [begin, sequence("A"), sequence("B")],
        "special_tokens": {bos: {"id": bos, "ids": [vocabulary.bos()], "tokens": [bos]}},
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer":
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": if begins_with_bos { template } else { Value::Null },
        "decoder":
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": ids, "merges": [],
        },
    })
}

fn weights(
    gguf: &mut Gguf,
    dimensions: &Dimensions,
    dtype: GgmlDType,
    tied: bool,
) -> Result<Vec<u8>, VariantError> {
    let mut names = vec![
        (
            "token_embd.weight".to_owned(),
            "model.embed_tokens".to_owned(),
        ),
        ("output_norm.weight".to_owned(), "model.norm".to_owned()),
    ];
    if !tied {
        names.push(("output.weight".to_owned(), "lm_head".to_owned()));
    }
    for layer in 0..dimensions.layers {
        names.extend(LAYER_NAMES.map(|(ours, theirs)| {
            (
                format!("blk.{layer}.{ours}.weight"),
                format!("model.layers.{layer}.{theirs}"),
            )
        }));
    }
    let path = gguf.path().to_owned();
    let refused = |problem: String| VariantError::NoHuggingFaceForm {
        path: path.clone(),
        problem,
    };
    if let Some(&name) = gguf
        .tensors()
        .keys()
        .find(|&&name| names.iter().all(|(ours, _)| ours != name))
    {
        let name = cleaned(name);
        return Err(refused(format!("{name:?} has no place in a plain Llama")));
    }

    let mut tensors = Vec::with_capacity(names.len());
    for (ours, theirs) in names {
        let convert = |error| VariantError::Convert {
            path: path.clone(),
            tensor: ours.clone(),
            source: Box::new(error),
        };
        let stored = gguf.read(&ours)?;
        let mut tensor = stored.dequantize(&Device::Cpu).map_err(convert)?;
        let heads = match ours.rsplit('.').nth(1) {
            Some("attn_q") => Some(dimensions.heads),
            Some("attn_k") => Some(dimensions.kv_heads),
            _ => None,
        };
        if let Some(heads) = heads {
            tensor = by_halves(&tensor, heads, dimensions.head_dim).map_err(convert)?;
        }
        let values: Vec<f32> = (tensor.flatten_all())
            .and_then(|flat| flat.to_vec1())
            .map_err(convert)?;
        let fits = |value: f32| match dtype {
            GgmlDType::F32 => value.is_finite(),
            _ => value.abs() < F16_OVERFLOW,
        };
        if !values.into_iter().all(fits) {
            return Err(refused(format!(
                "{ours} holds a number that {} cannot",
                type_label(dtype)
            )));
        }
        let written = QTensor::quantize(&tensor, dtype)
            .and_then(|tensor| Ok(tensor.data()?.into_owned()))
            .map_err(convert)?;
        tensors.push((
            format!("{theirs}.weight"),
            Written {
                dtype: if dtype == GgmlDType::F32 {
                    Dtype::F32
                } else {
                    Dtype::F16
                },
                shape: tensor.dims().to_vec(),
                bytes: written,
            },
        ));
    }
    // transformers refuses a file that does not say this. One key only: the crate writes them in no fixed order.
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(tensors, Some(format)).map_err(|error| refused(error.to_string()))
}

/// A layer's matrices and norms: GGUF's names and those of `LlamaForCausalLM`.
const LAYER_NAMES: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The rows of each head with the two numbers of every rotated pair half a head apart.
///
/// GGUF's Llama keeps a pair in neighbouring rows, Hugging Face in the head's two halves; this undoes `permute` of
/// <https://github.com/ggml-org/llama.cpp/blob/master/convert_hf_to_gguf.py>.
fn by_halves(tensor: &Tensor, heads: usize, head_dim: usize) -> candle_core::Result<Tensor> {
    let columns = tensor.dims2()?.1;
    tensor
        .reshape((heads, head_dim / 2, 2, columns))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape((heads * head_dim, columns))
}

/// A tensor as it stands in the file.
struct Written {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Written {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests;
