//! What a Hugging Face folder says of its weights: `config.json` and the headers of its safetensors.
//!
//! Plain types and MLX's own quantisation are read; another packing (GPTQ, AWQ, FP4) is refused by name, since its
//! tensors do not say how many weights they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use domain::ids::Sha256Digest;
use domain::record::{KvKind, KvLayout, Pruning, PruningMethod, VariantFacts};
use domain::text::Name;
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde_json::Value;

use super::{ALL_PPM, Kind, Shares, digest, weight_file};
use crate::variant::VariantError;
use crate::variant::huggingface::{CONFIG, OURS, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS};

/// The longest text file that is read: tokenizers of a quarter million words take half of it.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// The longest header of a safetensors file, as the crate has it.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Keys of layers that keep something else than every token, in models whose `config.json` lists no `layer_types`.
const OTHER_LAYERS: [&str; 8] = [
    "attn_layer_indices",
    "attn_layer_period",
    "conv_L_cache",
    "full_attention_interval",
    "hybrid_override_pattern",
    "layers_block_type",
    "mamba_d_state",
    "ssm_state_size",
];

/// Facts of a folder.
pub(super) fn inspect(folder: &Path) -> Result<VariantFacts, VariantError> {
    let folder = Folder { path: folder };
    let whole = folder
        .json(CONFIG)?
        .ok_or_else(|| folder.bad(CONFIG, "is missing"))?;
    // A model that sees as well keeps the text part's numbers apart.
    let config = match whole.get("text_config") {
        Some(text) if text.is_object() => text,
        _ => &whole,
    };
    let config = Config { folder, config };
    let packing = Packing::of(&config, &whole)?;

    let names = folder.weights()?;
    let mut files = Vec::new();
    let mut tensors = BTreeMap::new();
    for name in &names {
        tensors.extend(folder.tensors(name)?);
        files.push(weight_file(&folder.path.join(name))?);
    }

    let layers = config.required("num_hidden_layers")?;
    let experts_total = config.number(&["num_experts", "num_local_experts", "n_routed_experts"])?;
    let experts_total = experts_total.filter(|&count| count > 0);
    let experts_used = config
        .number(&[
            "num_experts_per_tok",
            "num_experts_per_token",
            "top_k_experts",
        ])?
        .filter(|_| experts_total.is_some());

    let mut shares = Shares::default();
    let (mut routed, mut ahead) = (0, 0);
    let mut bytes_by_type: BTreeMap<String, u64> = BTreeMap::new();
    for (name, tensor) in &tensors {
        let kind = kind(name, layers);
        let elements = packing.elements(name, tensor, &tensors);
        shares.add(kind, elements, tensor.bytes);
        match kind {
            Kind::Routed => routed += elements,
            Kind::Ahead => ahead += elements,
            _ => {}
        }
        if tensor.shape.len() > 1 {
            *bytes_by_type.entry(packing.label(tensor)).or_default() += tensor.bytes;
        }
    }
    let quant = bytes_by_type
        .into_iter()
        .max_by_key(|&(_, bytes)| bytes)
        .map_or("F32".to_owned(), |(label, _)| label);
    let idle = match experts_total.zip(experts_used) {
        Some((total, used)) => routed / u64::from(total) * u64::from(total.saturating_sub(used)),
        None => 0,
    };

    let ours = whole.get(OURS);
    let folder_name = folder.path.file_name().map(|name| name.to_string_lossy());
    let model = ours
        .and_then(|ours| ours.get("model"))
        .or_else(|| whole.get("_name_or_path"))
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .or(folder_name.as_deref())
        .unwrap_or("unnamed");
    Ok(VariantFacts {
        sha256: digest(&files),
        files,
        repo: None,
        revision: None,
        // A made folder is named by its digest, which says nothing more.
        path: folder_name
            .as_deref()
            .filter(|_| ours.is_none())
            .map(Name::cleaned),
        model: Name::cleaned(model),
        arch: Name::cleaned(config.text("model_type")?),
        quant: Name::cleaned(&quant),
        types: Vec::new(),
        vocab_size: config.required("vocab_size")?,
        template_sha256: folder.template()?,
        tokenizer_sha256: folder.digest_of_first(&[TOKENIZER, "tokenizer.model"])?,
        params_total: shares.elements,
        params_active: shares.elements - idle - ahead,
        experts_total,
        experts_used,
        dense_bytes: shares.dense,
        embedding_bytes: shares.embedding,
        head_bytes: shares.head.unwrap_or(shares.embedding),
        shared_expert_bytes: experts_total.map(|_| shares.shared),
        routed_expert_bytes: experts_total.map(|_| shares.routed),
        kv: layouts(&config, layers)?,
        pruning: pruning(folder, ours)?,
    })
}

/// A folder of weights.
#[derive(Clone, Copy)]
struct Folder<'a> {
    path: &'a Path,
}

/// A tensor as it is stored.
struct Tensor {
    dtype: Dtype,
    shape: Vec<u64>,
    bytes: u64,
}

impl Folder<'_> {
    fn bad(self, file: &str, problem: impl Into<String>) -> VariantError {
        VariantError::BadFolder {
            path: self.path.join(file),
            problem: problem.into(),
        }
    }

    /// A file's bytes, `None` if it is not there.
    fn bytes(self, file: &str) -> Result<Option<Vec<u8>>, VariantError> {
        let path = self.path.join(file);
        let opened = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened,
        };
        let mut bytes = Vec::new();
        opened
            .and_then(|file| file.take(MAX_TEXT_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|source| VariantError::Io {
                doing: "read",
                path,
                source,
            })?;
        if bytes.len() as u64 > MAX_TEXT_BYTES {
            return Err(self.bad(file, format!("is longer than {MAX_TEXT_BYTES} bytes")));
        }
        Ok(Some(bytes))
    }

    fn json(self, file: &str) -> Result<Option<Value>, VariantError> {
        let Some(bytes) = self.bytes(file)? else {
            return Ok(None);
        };
        let value = serde_json::from_slice(&bytes);
        value
            .map(Some)
            .map_err(|error| self.bad(file, format!("is no JSON: {error}")))
    }

    fn digest_of_first(self, files: &[&str]) -> Result<Option<Sha256Digest>, VariantError> {
        for file in files {
            if let Some(bytes) = self.bytes(file)? {
                return Ok(Some(Sha256Digest::of(&bytes)));
            }
        }
        Ok(None)
    }

    fn template(self) -> Result<Option<Sha256Digest>, VariantError> {
        let apart = self.digest_of_first(&["chat_template.jinja"])?;
        if apart.is_some() {
            return Ok(apart);
        }
        let config = self.json(TOKENIZER_CONFIG)?;
        let template = config
            .as_ref()
            .and_then(|config| config.get("chat_template"));
        Ok(template
            .and_then(Value::as_str)
            .map(|text| Sha256Digest::of(text.as_bytes())))
    }

    /// The weights' file names, in order.
    fn weights(self) -> Result<Vec<String>, VariantError> {
        const INDEX: &str = "model.safetensors.index.json";
        let Some(index) = self.json(INDEX)? else {
            return Ok(vec![WEIGHTS.to_owned()]);
        };
        let names = index.get("weight_map").and_then(Value::as_object);
        let names: Option<BTreeSet<&str>> =
            names.and_then(|map| map.values().map(Value::as_str).collect());
        let names = names
            .filter(|names| !names.is_empty())
            .ok_or_else(|| self.bad(INDEX, "has no weight_map of file names"))?;
        // The names come from a file that anybody may have written.
        match names
            .iter()
            .find(|name| name.contains(['/', '\\']) || name.starts_with('.'))
        {
            Some(_) => Err(self.bad(INDEX, "names a file outside the folder")),
            None => Ok(names.into_iter().map(str::to_owned).collect()),
        }
    }

    fn tensors(self, name: &str) -> Result<BTreeMap<String, Tensor>, VariantError> {
        let path = self.path.join(name);
        let io = |source| VariantError::Io {
            doing: "read",
            path: path.clone(),
            source,
        };
        let mut file = File::open(&path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut prefix = [0; 8];
        file.read_exact(&mut prefix).map_err(io)?;
        let header_length = u64::from_le_bytes(prefix);
        if header_length > MAX_HEADER_BYTES.min(length) {
            return Err(self.bad(name, "claims an impossible header"));
        }
        let mut header = vec![0; header_length as usize];
        file.read_exact(&mut header).map_err(io)?;
        let header: Metadata = serde_json::from_slice(&header)
            .map_err(|error| self.bad(name, format!("has no usable header: {error}")))?;
        if 8 + header_length + header.data_len() as u64 != length {
            return Err(self.bad(name, "is not as long as its header says"));
        }
        let tensors = header.tensors().into_iter().map(|(name, info)| {
            let tensor = Tensor {
                dtype: info.dtype,
                shape: info.shape.iter().map(|&dim| dim as u64).collect(),
                bytes: (info.data_offsets.1 - info.data_offsets.0) as u64,
            };
            (name, tensor)
        });
        Ok(tensors.collect())
    }
}

/// The text model's numbers.
struct Config<'a> {
    folder: Folder<'a>,
    config: &'a Value,
}

impl Config<'_> {
    /// The first of these keys that is there and not null.
    fn number(&self, keys: &[&str]) -> Result<Option<u32>, VariantError> {
        let found = keys
            .iter()
            .find_map(|&key| Some((key, self.config.get(key)?)).filter(|(_, v)| !v.is_null()));
        let Some((key, value)) = found else {
            return Ok(None);
        };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number
            .map(Some)
            .ok_or_else(|| self.bad(&format!("{key} is no whole number of at most 32 bits")))
    }

    fn required(&self, key: &str) -> Result<u32, VariantError> {
        self.number(&[key])?
            .ok_or_else(|| self.bad(&format!("{key} is missing")))
    }

    fn text(&self, key: &str) -> Result<&str, VariantError> {
        let text = self.config.get(key).and_then(Value::as_str);
        text.ok_or_else(|| self.bad(&format!("{key} is missing")))
    }

    fn bad(&self, problem: &str) -> VariantError {
        self.folder.bad(CONFIG, format!("is not usable: {problem}"))
    }
}

/// How weights are packed into tensors.
enum Packing {
    /// One number each.
    Plain,
    /// MLX's: `bits` of each weight in 32-bit words, with scales and biases beside them.
    Mlx {
        bits: u64,
        /// Other widths of some matrices.
        exceptions: BTreeMap<String, u64>,
    },
}

impl Packing {
    fn of(config: &Config, whole: &Value) -> Result<Self, VariantError> {
        let said = |key| whole.get(key).filter(|value| value.is_object());
        if let Some(mlx) = said("quantization") {
            let width = |value: &Value| {
                let bits = value.get("bits").and_then(Value::as_u64);
                bits.filter(|bits| (1..=32).contains(bits))
            };
            let bits = width(mlx).ok_or_else(|| config.bad("quantization has no bits"))?;
            let exceptions = mlx.as_object().into_iter().flatten();
            let exceptions = exceptions
                .filter_map(|(name, value)| Some((name.clone(), width(value)?)))
                .collect();
            return Ok(Self::Mlx { bits, exceptions });
        }
        match said("quantization_config") {
            None => Ok(Self::Plain),
            Some(other) => {
                let method = other.get("quant_method").and_then(Value::as_str);
                let method = Name::cleaned(method.unwrap_or("an unnamed method"));
                Err(config.bad(&format!(
                    "its weights are packed by {method}, which is not understood here"
                )))
            }
        }
    }

    fn elements(&self, name: &str, tensor: &Tensor, all: &BTreeMap<String, Tensor>) -> u64 {
        let stored = tensor.shape.iter().product();
        let Self::Mlx { bits, exceptions } = self else {
            return stored;
        };
        let Some((matrix, part)) = name.rsplit_once('.') else {
            return stored;
        };
        let packed = all
            .get(&format!("{matrix}.weight"))
            .is_some_and(|weight| weight.dtype == Dtype::U32);
        match part {
            "weight" if packed => stored * 32 / exceptions.get(matrix).unwrap_or(bits),
            // They serve to unpack the weights and are none.
            "scales" | "biases" if packed => 0,
            _ => stored,
        }
    }

    fn label(&self, tensor: &Tensor) -> String {
        match self {
            Self::Mlx { bits, .. } if tensor.dtype == Dtype::U32 => format!("MLX-{bits}bit"),
            _ => tensor.dtype.to_string(),
        }
    }
}

/// By the names that transformers and MLX give.
fn kind(name: &str, layers: u32) -> Kind {
    const OTHER_SENSES: [&str; 5] = ["vision", "visual", "audio", "multi_modal", "mtp."];
    let layer = name
        .split_once("layers.")
        .and_then(|(_, rest)| rest.split('.').next()?.parse::<u32>().ok());
    if OTHER_SENSES.iter().any(|word| name.contains(word))
        || layer.is_some_and(|layer| layer >= layers)
    {
        Kind::Ahead
    } else if name.contains("embed_tokens") {
        Kind::LookedUp
    } else if name.starts_with("lm_head.") || name.contains(".lm_head.") {
        Kind::Head
    } else if name.contains("shared_expert") {
        Kind::Shared
    } else if name.contains(".experts.") || name.contains(".switch_mlp.") {
        Kind::Routed
    } else {
        Kind::Dense
    }
}

/// What layers cache; empty where `config.json` does not say it in words that are known here.
fn layouts(config: &Config, layers: u32) -> Result<Vec<KvLayout>, VariantError> {
    let layout = |kind, layers, elements_per_token, window_tokens| KvLayout {
        kind,
        layers,
        elements_per_token,
        window_tokens,
        state_elements: None,
    };
    if let Some(rank) = config.number(&["kv_lora_rank"])? {
        let rope = config.required("qk_rope_head_dim")?;
        let elements = u64::from(rank) + u64::from(rope);
        return Ok(vec![layout(KvKind::Latent, layers, elements, None)]);
    }
    let heads = config.required("num_attention_heads")?;
    let kv_heads = config.number(&["num_key_value_heads"])?.unwrap_or(heads);
    let head_dim = match config.number(&["head_dim"])? {
        Some(head_dim) => head_dim,
        None => config
            .required("hidden_size")?
            .checked_div(heads)
            .ok_or_else(|| config.bad("num_attention_heads is 0"))?,
    };
    let elements = 2 * u64::from(kv_heads) * u64::from(head_dim);
    let windowed = config.config.get("use_sliding_window") != Some(&Value::Bool(false));
    let window = config.number(&["sliding_window", "attention_chunk_size"])?;
    let window = window.filter(|_| windowed).map(u64::from);

    let Some(kinds) = config.config.get("layer_types").and_then(Value::as_array) else {
        let other = OTHER_LAYERS
            .iter()
            .any(|key| config.config.get(key).is_some());
        // A window without a list is on all layers of some models and on every other one of others.
        if other || window.is_some() {
            return Ok(Vec::new());
        }
        return Ok(vec![layout(KvKind::Full, layers, elements, None)]);
    };
    let count = |names: &[&str]| {
        let kinds = kinds.iter().filter_map(Value::as_str);
        kinds.filter(|kind| names.contains(kind)).count() as u32
    };
    let full = count(&["full_attention"]);
    let slid = count(&["sliding_attention", "chunked_attention"]);
    if full + slid != layers || (slid > 0 && window.is_none()) {
        return Ok(Vec::new());
    }
    let mut layouts = Vec::new();
    if full > 0 {
        layouts.push(layout(KvKind::Full, full, elements, None));
    }
    if slid > 0 {
        layouts.push(layout(KvKind::Window, slid, elements, window));
    }
    Ok(layouts)
}

/// Pruning as the folder's maker tells it, if that was this program.
fn pruning(folder: Folder, ours: Option<&Value>) -> Result<Pruning, VariantError> {
    let Some(ours) = ours else {
        return Ok(Pruning {
            method: PruningMethod::None,
            ratio_ppm: 0,
            source_sha256: None,
            healed: None,
            recipe: None,
        });
    };
    let bad = |key: &str| folder.bad(CONFIG, format!("is not usable: {OURS}.{key}"));
    let get = |key: &str| ours.get(key).cloned().ok_or_else(|| bad(key));
    let method = serde_json::from_value(get("pruning.method")?);
    let method = method.map_err(|_| bad("pruning.method"))?;
    let ratio_ppm: Option<u32> = serde_json::from_value(get("pruning.ratio_ppm")?).ok();
    let ratio_ppm = ratio_ppm.filter(|&ppm| ppm <= ALL_PPM);
    let source = serde_json::from_value(get("source_sha256")?);
    Ok(Pruning {
        method,
        ratio_ppm: ratio_ppm.ok_or_else(|| bad("pruning.ratio_ppm"))?,
        source_sha256: Some(source.map_err(|_| bad("source_sha256"))?),
        // Nothing is trained after pruning here.
        healed: (method != PruningMethod::None).then_some(false),
        // Folders of earlier versions do not say it.
        recipe: (ours.get("pruning.recipe").and_then(Value::as_str))
            .filter(|&recipe| recipe != "none")
            .map(Name::cleaned),
    })
}

#[cfg(test)]
mod tests;
