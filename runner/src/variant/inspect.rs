//! What a weights file says of itself, as it stands in a record.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::quantized::gguf_file::TensorInfo;
use domain::ids::Sha256Digest;
use domain::record::{KvKind, KvLayout, Pruning, PruningMethod, VariantFacts, WeightFile};
use domain::text::Name;

use super::quantise::keys;
use super::{VariantError, digest_of_file};
use crate::gguf::{Gguf, GgufError, stored_bytes, type_label};

/// Facts of a weights file, from its bytes alone; texts in it are cut and cleaned as [`Name`]s.
pub fn inspect(path: &Path) -> Result<VariantFacts, VariantError> {
    let gguf = Gguf::open(path)?;
    let sha256 = digest_of_file(path)?;
    let architecture = gguf.required("general.architecture", gguf.text("general.architecture")?)?;
    let number = |key: &str| gguf.number(&format!("{architecture}.{key}"));
    let file_name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let made_here = gguf.text(keys::SOURCE)?.is_some();

    let tensors = gguf.tensors();
    let Some(embedding) = tensors.get("token_embd.weight") else {
        let tensor = "token_embd.weight".to_owned();
        return Err(GgufError::MissingTensor {
            path: path.to_owned(),
            tensor,
        }
        .into());
    };
    let vocab_size = u32::try_from(embedding.shape.dims()[0])
        .map_err(|_| gguf.bad_tensor("token_embd.weight", "has more rows than any vocabulary"))?;

    let experts_total = number("expert_count")?.filter(|&count| count > 0);
    let experts_used = number("expert_used_count")?.filter(|_| experts_total.is_some());
    let shares = Shares::of(&tensors);
    let idle_routed = match experts_total.zip(experts_used) {
        Some((total, used)) => {
            shares.routed.elements / u64::from(total) * u64::from(total.saturating_sub(used))
        }
        None => 0,
    };
    let total: u64 = [
        &shares.dense,
        &shares.embedding,
        &shares.head,
        &shares.shared,
        &shares.routed,
    ]
    .iter()
    .map(|share| share.elements)
    .sum();

    Ok(VariantFacts {
        sha256,
        files: vec![WeightFile {
            sha256,
            bytes: gguf.bytes(),
        }],
        repo: None,
        revision: None,
        // A made file is named by its digest, which says nothing more.
        path: file_name
            .filter(|_| !made_here)
            .map(|name| Name::cleaned(&name)),
        model: Name::cleaned(gguf.required("general.name", gguf.text("general.name")?)?),
        arch: Name::cleaned(architecture),
        quant: Name::cleaned(majority_type(&tensors)),
        vocab_size,
        template_sha256: gguf
            .text("tokenizer.chat_template")?
            .map(|text| Sha256Digest::of(text.as_bytes())),
        tokenizer_sha256: tokenizer_digest(&gguf)?,
        params_total: total,
        params_active: total - idle_routed,
        experts_total,
        experts_used,
        dense_bytes: shares.dense.bytes,
        embedding_bytes: shares.embedding.bytes,
        head_bytes: if shares.head.elements > 0 {
            shares.head.bytes
        } else {
            shares.embedding.bytes
        },
        shared_expert_bytes: experts_total.map(|_| shares.shared.bytes),
        routed_expert_bytes: experts_total.map(|_| shares.routed.bytes),
        kv: vec![kv_layout(&gguf, architecture)?],
        pruning: pruning(&gguf)?,
    })
}

/// Elements and bytes of a kind of tensor.
#[derive(Default)]
struct Share {
    elements: u64,
    bytes: u64,
}

/// A file's tensors by what a pass reads of them.
#[derive(Default)]
struct Shares {
    dense: Share,
    embedding: Share,
    head: Share,
    shared: Share,
    routed: Share,
}

impl Shares {
    fn of(tensors: &BTreeMap<&str, &TensorInfo>) -> Self {
        let mut shares = Self::default();
        for (&name, info) in tensors {
            let share = match name {
                "token_embd.weight" => &mut shares.embedding,
                "output.weight" => &mut shares.head,
                _ if name.contains("_shexp.") => &mut shares.shared,
                _ if name.contains("_exps.") => &mut shares.routed,
                _ => &mut shares.dense,
            };
            share.elements += info.shape.elem_count() as u64;
            share.bytes += stored_bytes(info);
        }
        shares
    }
}

/// The type that most bytes of the matrices are stored in, or of all tensors where there are no matrices.
fn majority_type(tensors: &BTreeMap<&str, &TensorInfo>) -> &'static str {
    let mut bytes: BTreeMap<&str, u64> = BTreeMap::new();
    let matrices = tensors.values().filter(|info| info.shape.rank() > 1);
    for info in matrices {
        *bytes.entry(type_label(info.ggml_dtype)).or_default() += stored_bytes(info);
    }
    bytes
        .into_iter()
        .max_by_key(|&(_, bytes)| bytes)
        .map_or("F32", |(label, _)| label)
}

/// Digest of everything that decides how text becomes tokens; each part is preceded by its length.
fn tokenizer_digest(gguf: &Gguf) -> Result<Option<Sha256Digest>, GgufError> {
    let Some(tokens) = gguf.texts("tokenizer.ggml.tokens")? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let mut add = |part: &[u8]| {
        bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    };
    for key in ["tokenizer.ggml.model", "tokenizer.ggml.pre"] {
        add(gguf.text(key)?.unwrap_or_default().as_bytes());
    }
    for list in [
        tokens,
        gguf.texts("tokenizer.ggml.merges")?.unwrap_or_default(),
    ] {
        add(&(list.len() as u64).to_le_bytes());
        for text in &list {
            add(text.as_bytes());
        }
    }
    for key in ["tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"] {
        add(&gguf.number(key)?.map(u32::to_le_bytes).unwrap_or_default());
    }
    add(&[u8::from(
        gguf.truth("tokenizer.ggml.add_bos_token")?.unwrap_or(false),
    )]);
    Ok(Some(Sha256Digest::of(&bytes)))
}

fn kv_layout(gguf: &Gguf, architecture: &str) -> Result<KvLayout, GgufError> {
    let key = |name: &str| format!("{architecture}.{name}");
    let required = |name: &str| gguf.required(&key(name), gguf.number(&key(name))?);
    let heads = required("attention.head_count")?;
    let kv_heads = gguf
        .number(&key("attention.head_count_kv"))?
        .unwrap_or(heads);
    let width = required("embedding_length")?;
    let by_width = width.checked_div(heads);
    let by_width = by_width.ok_or_else(|| gguf.bad_key(&key("attention.head_count"), "is 0"))?;
    let keys = gguf
        .number(&key("attention.key_length"))?
        .unwrap_or(by_width);
    let values = gguf
        .number(&key("attention.value_length"))?
        .unwrap_or(by_width);
    Ok(KvLayout {
        kind: KvKind::Full,
        layers: required("block_count")?,
        elements_per_token: u64::from(kv_heads) * (u64::from(keys) + u64::from(values)),
        window_tokens: None,
        state_elements: None,
    })
}

/// Pruning as the file's metadata tells it; a file without a word of it was not pruned here.
fn pruning(gguf: &Gguf) -> Result<Pruning, GgufError> {
    let method = match gguf.text(keys::METHOD)? {
        None | Some("none") => PruningMethod::None,
        Some("layer") => PruningMethod::Layer,
        Some("unstructured") => PruningMethod::Unstructured,
        Some(other) => {
            return Err(gguf.bad_key(
                keys::METHOD,
                format!("is {:?}", crate::gguf::cleaned(other)),
            ));
        }
    };
    let source = gguf.text(keys::SOURCE)?.map(str::parse).transpose();
    Ok(Pruning {
        method,
        ratio_ppm: gguf.number(keys::RATIO)?.unwrap_or(0),
        source_sha256: source.map_err(|_| gguf.bad_key(keys::SOURCE, "is no SHA-256"))?,
        // Nothing is trained after pruning here.
        healed: (method != PruningMethod::None).then_some(false),
    })
}
