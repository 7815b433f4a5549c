//! Making a variant's tensors and metadata.
//!
//! Every matrix takes the wanted type, or the one that the wanted mix gives it; vectors (norms) stay `f32`, and the few
//! matrices that llama.cpp never quantises keep their type. A matrix whose rows are no multiple of the type's block
//! takes `Q8_0`, or failing that `F16` (in a mix what llama.cpp takes), and the metadata counts such matrices. All
//! tensors of the result stand in memory at once, so a variant needs about the source's size of it.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Device;
use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use domain::ids::Sha256Digest;

use super::prune::{Cuts, parts_per_million, renumbered, still_zero};
use super::{MadeType, Mix, PruneRecipe, VariantError, VariantSpec, mixes};
use crate::gguf::{Gguf, Keys, cleaned, type_label};

/// Who made a file: part of its bytes and of the cache's key, so a later version never passes off an older file.
pub(super) const MAKER: &str = concat!("joulemark ", env!("CARGO_PKG_VERSION"));

/// Metadata keys of made files.
pub(super) mod keys {
    pub(in crate::variant) const SOURCE: &str = "joulemark.source_sha256";
    pub(in crate::variant) const QUANTISATION: &str = "joulemark.quantisation";
    pub(in crate::variant) const FALLBACKS: &str = "joulemark.quantisation.fallbacks";
    pub(in crate::variant) const METHOD: &str = "joulemark.pruning.method";
    pub(in crate::variant) const RATIO: &str = "joulemark.pruning.ratio_ppm";
    /// What is still zero of that share, if quantising moved some of the zeros.
    pub(in crate::variant) const ZEROS: &str = "joulemark.pruning.zeros_ppm";
    pub(in crate::variant) const RECIPE: &str = "joulemark.pruning.recipe";
    /// What the choice was made by: measured numbers in words.
    pub(in crate::variant) const IMPORTANCE: &str = "joulemark.pruning.importance";
    pub(in crate::variant) const MADE_BY: &str = "joulemark.made_by";
}

/// A made file's content.
pub(super) struct Made {
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, QTensor>,
}

/// The source already is the variant: nothing is removed and all its matrices have the wanted types.
pub(super) fn is_the_source(
    spec: &VariantSpec,
    wanted: MadeType,
    source: &Gguf,
) -> Result<bool, VariantError> {
    if spec.prune != PruneRecipe::None {
        return Ok(false);
    }
    let types = Types::of(spec, wanted, source, source.tensors().into_keys())?;
    let mut matrices = source
        .tensors()
        .into_iter()
        .filter(|(_, info)| info.shape.rank() > 1)
        .peekable();
    Ok(matrices.peek().is_some()
        && matrices.all(|(name, info)| {
            let ideal = types.ideal(name, info.shape.dims());
            keeps_its_type(name) || info.ggml_dtype == ideal
        }))
}

/// Makes the variant of an open source whose digest is known.
pub(super) fn make(
    spec: &VariantSpec,
    wanted: MadeType,
    source: &mut Gguf,
    digest: &Sha256Digest,
) -> Result<Made, VariantError> {
    let path = source.path().to_owned();
    if source.text(keys::SOURCE)?.is_some() {
        return Err(VariantError::AlreadyMade { path });
    }
    for (name, info) in source.tensors() {
        if !matches!(
            info.ggml_dtype,
            GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16
        ) {
            let dtype = type_label(info.ggml_dtype);
            return Err(VariantError::AlreadyQuantised {
                path,
                tensor: cleaned(name),
                dtype,
            });
        }
    }

    let key = "split.count";
    if let Some(parts) = source.number(key)?.filter(|&parts| parts > 1) {
        let problem = format!("is {parts}: join the parts first (llama-gguf-split --merge)");
        return Err(source.bad_key(key, problem).into());
    }
    let key = "general.architecture";
    let architecture = source.required(key, source.text(key)?)?.to_owned();
    let key = format!("{architecture}.block_count");
    let layers = source.required(&key, source.number(&key)?)?;
    let mut cuts = Cuts::of(&spec.prune, source, &architecture, layers)?;

    let mut metadata: BTreeMap<String, Value> = source
        .metadata()
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    // The writer aligns to the format's default, whatever the source did.
    metadata.remove("general.alignment");
    metadata.append(&mut cuts.metadata);

    let elements: BTreeMap<String, u64> = source
        .tensors()
        .into_iter()
        .map(|(name, info)| (name.to_owned(), info.shape.elem_count() as u64))
        .collect();
    let names: BTreeMap<String, String> = elements
        .keys()
        .filter_map(|name| Some((name.clone(), renumbered(name, &cuts.dropped)?)))
        .collect();
    // A mix is made for the model that is left, as if the pruned file had been given to llama.cpp.
    let pruned = Pruned {
        path: &path,
        metadata: &metadata,
    };
    let types = Types::of(spec, wanted, &pruned, names.values().map(String::as_str))?;
    let mut removed = cuts.removed_whole(&elements);
    let mut moved = 0;
    let mut fallbacks = 0_u32;
    let mut tensors = BTreeMap::new();
    for (name, new_name) in &names {
        let convert = |error| VariantError::Convert {
            path: path.clone(),
            tensor: cleaned(name),
            source: Box::new(error),
        };
        let stored = source.read(name)?;
        let tensor = stored.dequantize(&Device::Cpu).map_err(convert)?;
        let (tensor, gone) = cuts.apply(name, tensor).map_err(convert)?;
        removed += gone;
        let dtype = if tensor.rank() < 2 {
            GgmlDType::F32
        } else if keeps_its_type(new_name) {
            stored.dtype()
        } else {
            let ideal = types.ideal(new_name, tensor.dims());
            let dtype = types.stored(ideal, tensor.dims());
            fallbacks += u32::from(dtype != ideal);
            dtype
        };
        let stored = QTensor::quantize(&tensor, dtype).map_err(convert)?;
        if cuts.zeroes() && gone > 0 {
            let now = stored.dequantize(&Device::Cpu).map_err(convert)?;
            moved += gone.saturating_sub(still_zero(&tensor, &now).map_err(convert)?);
        }
        tensors.insert(new_name.clone(), stored);
    }

    let text = |text: &str| Value::String(text.to_owned());
    let total = elements.values().sum();
    metadata.extend(
        [
            ("general.file_type", Value::U32(wanted.file_type)),
            ("general.quantization_version", Value::U32(2)),
            (keys::SOURCE, text(&digest.to_string())),
            (keys::QUANTISATION, text(spec.quant.label())),
            (keys::FALLBACKS, Value::U32(fallbacks)),
            (keys::METHOD, text(method(&spec.prune))),
            (keys::RATIO, Value::U32(parts_per_million(removed, total))),
            (keys::RECIPE, text(&spec.prune.to_string())),
            (keys::MADE_BY, text(MAKER)),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    if moved > 0 {
        let left = parts_per_million(removed - moved, total);
        metadata.insert(keys::ZEROS.to_owned(), Value::U32(left));
    }
    Ok(Made { metadata, tensors })
}

/// Metadata of a model between pruning and quantising.
pub(super) struct Pruned<'a> {
    pub(super) path: &'a Path,
    pub(super) metadata: &'a BTreeMap<String, Value>,
}

impl Keys for Pruned<'_> {
    fn path(&self) -> &Path {
        self.path
    }

    fn entry(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }
}

/// Types of the matrices of a variant.
enum Types {
    /// The same for all.
    One(GgmlDType),
    /// As llama.cpp mixes them for this model.
    Mixed(Mix, mixes::Traits),
}

impl Types {
    fn of<'a>(
        spec: &VariantSpec,
        wanted: MadeType,
        model: &impl Keys,
        names: impl Iterator<Item = &'a str>,
    ) -> Result<Self, VariantError> {
        let Some(mix) = wanted.mix else {
            return Ok(Self::One(wanted.dtype));
        };
        let traits = mixes::Traits::read(model, names)?;
        let traits = traits.map_err(|architecture| VariantError::UnknownMix {
            path: model.path().to_owned(),
            quant: spec.quant,
            architecture,
        })?;
        Ok(Self::Mixed(mix, traits))
    }

    /// The type of a matrix, whether its rows fit or not.
    fn ideal(&self, name: &str, dims: &[usize]) -> GgmlDType {
        match self {
            Self::One(dtype) => *dtype,
            Self::Mixed(mix, traits) => mixes::wanted(*mix, name, row(dims), traits),
        }
    }

    /// What it is stored in.
    fn stored(&self, ideal: GgmlDType, dims: &[usize]) -> GgmlDType {
        let fits = |dtype: &GgmlDType| row(dims).is_multiple_of(dtype.block_size());
        match self {
            Self::Mixed(..) => mixes::fallback(ideal, row(dims)),
            Self::One(_) => [ideal, GgmlDType::Q8_0]
                .into_iter()
                .find(fits)
                .unwrap_or(GgmlDType::F16),
        }
    }
}

fn row(dims: &[usize]) -> usize {
    dims.last().copied().unwrap_or(0)
}

/// Matrices that llama.cpp never quantises (`tensor_allows_quantization` in
/// <https://github.com/ggml-org/llama.cpp/blob/master/src/llama-quant.cpp>): small ones that decide much.
fn keeps_its_type(name: &str) -> bool {
    !name.ends_with("weight")
        || [
            "_norm.weight",
            "ffn_gate_inp.weight",
            "position_embd",
            "token_types",
            "ssm_conv1d",
            "shortconv.conv.weight",
            "attn_rel_b.weight",
        ]
        .iter()
        .any(|part| name.contains(part))
}

/// The word that [`domain::record::PruningMethod`] is spelled with.
pub(super) fn method(recipe: &PruneRecipe) -> &'static str {
    match recipe {
        PruneRecipe::None => "none",
        PruneRecipe::Layers(_) | PruneRecipe::LayersAt(_) | PruneRecipe::LayersByImportance(_) => {
            "layer"
        }
        PruneRecipe::Heads { .. } => "head",
        PruneRecipe::Magnitude { .. } => "unstructured",
        PruneRecipe::NofM { .. } => "n_m",
        PruneRecipe::Experts(_) | PruneRecipe::ExpertsUsed(_) => "expert",
    }
}
