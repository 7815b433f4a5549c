//! What weights say of themselves, as it stands in a record.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use domain::ids::Sha256Digest;
use domain::record::{Pruning, PruningMethod, TypeShare, VariantFacts, WeightFile};
use domain::text::Name;

use super::quantise::keys;
use super::{VariantError, digest_of_file};
use crate::gguf::{GgufError, Header, Keys, StoredTensor};

mod caches;
mod examine;
mod folder;

#[cfg(test)]
mod tests;

pub use examine::{
    Agreement, Claim, Examined, SaidPruning, Suspicion, ZeroPattern, Zeroed, examine,
};

/// Facts of weights, from their bytes alone; texts in them are cut and cleaned as [`Name`]s.
///
/// `path` is a GGUF file (of several: the first), or a folder with `config.json` and safetensors.
pub fn inspect(path: &Path) -> Result<VariantFacts, VariantError> {
    if path.is_dir() {
        return folder::inspect(path);
    }
    let header = Header::open(path)?;
    let files = header
        .files()
        .iter()
        .map(|file| weight_file(file))
        .collect::<Result<Vec<_>, _>>()?;
    facts(&header, files).map_err(VariantError::File)
}

/// A file's digest and length.
fn weight_file(path: &Path) -> Result<WeightFile, VariantError> {
    let bytes = std::fs::metadata(path).map_err(|source| VariantError::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(WeightFile {
        sha256: digest_of_file(path)?,
        bytes: bytes.len(),
    })
}

/// The digest of weights: that of their one file, or of their files' digests in order.
fn digest(files: &[WeightFile]) -> Sha256Digest {
    match files {
        [file] => file.sha256,
        files => {
            let digests: Vec<u8> = files.iter().flat_map(|file| file.sha256.0).collect();
            Sha256Digest::of(&digests)
        }
    }
}

/// Facts from a header and the digests of its files.
fn facts(header: &Header, files: Vec<WeightFile>) -> Result<VariantFacts, GgufError> {
    let architecture =
        header.required("general.architecture", header.text("general.architecture")?)?;
    let number = |key: &str| header.per_layer(&format!("{architecture}.{key}"));
    let file_name = header
        .path()
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let made_here = header.text(keys::SOURCE)?.is_some();

    let tensors = header.tensors();
    let Some(embedding) = tensors.get(EMBEDDING) else {
        return Err(GgufError::MissingTensor {
            path: header.path().to_owned(),
            tensor: EMBEDDING.to_owned(),
        });
    };
    let vocab_size = u32::try_from(embedding.shape[0])
        .map_err(|_| header.bad_tensor(EMBEDDING, "has more rows than any vocabulary"))?;

    let experts_total = number("expert_count")?
        .map(|experts| experts.largest())
        .filter(|&count| count > 0);
    let experts_used = number("expert_used_count")?.filter(|_| experts_total.is_some());
    let layers = caches::layers(header, architecture)?;
    let mut shares = Shares::default();
    let mut idle = 0;
    for (name, stored) in tensors {
        let kind = kind(name, layers);
        shares.add(kind, stored.elements(), stored.bytes);
        idle += match (kind, &experts_used) {
            (Kind::Ahead, _) => stored.elements(),
            (Kind::Routed, Some(used)) => {
                let used = used.of(layer_of(name).unwrap_or(0)).unwrap_or(0);
                // Experts are the slowest dimension of their tensors.
                let experts = stored.shape[0].max(1);
                stored.elements() / experts * experts.saturating_sub(u64::from(used))
            }
            _ => 0,
        };
    }

    Ok(VariantFacts {
        sha256: digest(&files),
        files,
        repo: None,
        revision: None,
        // A made file is named by its digest, which says nothing more.
        path: file_name
            .filter(|_| !made_here)
            .map(|name| Name::cleaned(&name)),
        model: Name::cleaned(header.required("general.name", header.text("general.name")?)?),
        arch: Name::cleaned(architecture),
        quant: Name::cleaned(&examine::mix(tensors)),
        types: types(tensors),
        vocab_size,
        template_sha256: header
            .text("tokenizer.chat_template")?
            .map(|text| Sha256Digest::of(text.as_bytes())),
        tokenizer_sha256: tokenizer_digest(header)?,
        params_total: shares.elements,
        params_active: shares.elements - idle,
        experts_total,
        experts_used: experts_used.map(|used| used.largest()),
        dense_bytes: shares.dense,
        embedding_bytes: shares.embedding,
        head_bytes: shares.head.unwrap_or(embedding.bytes),
        shared_expert_bytes: experts_total.map(|_| shares.shared),
        routed_expert_bytes: experts_total.map(|_| shares.routed),
        kv: caches::layouts(header, architecture)?,
        pruning: pruning(header)?,
    })
}

/// The table that tokens are looked up in.
const EMBEDDING: &str = "token_embd.weight";

/// What a pass reads of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// All of it.
    Dense,
    /// A row per token.
    LookedUp,
    /// All of it, at the end.
    Head,
    /// All of it: an expert that every token passes.
    Shared,
    /// The experts that a token is sent to.
    Routed,
    /// Nothing: it guesses tokens ahead, or understands pictures or sound.
    Ahead,
}

/// Bytes of tensors by kind, and elements of all.
#[derive(Debug, Default)]
struct Shares {
    elements: u64,
    dense: u64,
    embedding: u64,
    head: Option<u64>,
    shared: u64,
    routed: u64,
}

impl Shares {
    fn add(&mut self, kind: Kind, elements: u64, bytes: u64) {
        self.elements += elements;
        match kind {
            Kind::Dense => self.dense += bytes,
            Kind::LookedUp => self.embedding += bytes,
            Kind::Head => *self.head.get_or_insert(0) += bytes,
            Kind::Shared => self.shared += bytes,
            Kind::Routed => self.routed += bytes,
            Kind::Ahead => {}
        }
    }
}

fn kind(name: &str, layers: u32) -> Kind {
    match name {
        EMBEDDING | "per_layer_token_embd.weight" | "position_embd.weight" => Kind::LookedUp,
        "output.weight" => Kind::Head,
        _ if layer_of(name).is_some_and(|layer| layer >= layers) => Kind::Ahead,
        _ if name.contains("_shexp.") => Kind::Shared,
        _ if name.contains("_exps.") => Kind::Routed,
        _ => Kind::Dense,
    }
}

fn layer_of(name: &str) -> Option<u32> {
    super::prune::layer_of(name).map(|(layer, _)| layer)
}

/// What is stored in which type, most bytes first.
fn types(tensors: &BTreeMap<String, StoredTensor>) -> Vec<TypeShare> {
    let mut shares: BTreeMap<&str, TypeShare> = BTreeMap::new();
    for stored in tensors.values() {
        let share = shares.entry(stored.dtype).or_insert_with(|| TypeShare {
            dtype: Name::cleaned(stored.dtype),
            tensors: 0,
            elements: 0,
            bytes: 0,
        });
        share.tensors += 1;
        share.elements += stored.elements();
        share.bytes += stored.bytes;
    }
    let mut shares: Vec<_> = shares.into_values().collect();
    shares.sort_by_key(|share| Reverse(share.bytes));
    shares
}

/// Digest of everything that decides how text becomes tokens; each part is preceded by its length.
fn tokenizer_digest(gguf: &Header) -> Result<Option<Sha256Digest>, GgufError> {
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

/// Pruning as the file's metadata tells it; a file without a word of it was not pruned here.
fn pruning(gguf: &Header) -> Result<Pruning, GgufError> {
    let method = match gguf.text(keys::METHOD)? {
        None => PruningMethod::None,
        Some(word) => serde_json::from_value(word.into()).map_err(|_| {
            gguf.bad_key(keys::METHOD, format!("is {:?}", crate::gguf::cleaned(word)))
        })?,
    };
    // Zeros that quantising moved are weights again.
    let removed = share(gguf, keys::RATIO)?.unwrap_or(0);
    let zeros = share(gguf, keys::ZEROS)?.filter(|_| is_zeroing(method));
    let recipe = gguf.text(keys::RECIPE)?.filter(|&recipe| recipe != "none");
    let source = gguf.text(keys::SOURCE)?.map(str::parse).transpose();
    Ok(Pruning {
        method,
        ratio_ppm: zeros.map_or(removed, |zeros| zeros.min(removed)),
        source_sha256: source.map_err(|_| gguf.bad_key(keys::SOURCE, "is no SHA-256"))?,
        // Nothing is trained after pruning here.
        healed: (method != PruningMethod::None).then_some(false),
        recipe: recipe.map(Name::cleaned),
    })
}

/// A share in millionths, if the key is there.
fn share(gguf: &Header, key: &str) -> Result<Option<u32>, GgufError> {
    match gguf.number(key)? {
        Some(ppm) if ppm > ALL_PPM => Err(gguf.bad_key(
            key,
            format!("is {ppm}: no share is larger than {ALL_PPM}, which is all"),
        )),
        ppm => Ok(ppm),
    }
}

/// Everything, in millionths.
const ALL_PPM: u32 = 1_000_000;

/// Whether weights become zero and stay in the file.
fn is_zeroing(method: PruningMethod) -> bool {
    matches!(method, PruningMethod::Unstructured | PruningMethod::NM)
}
