//! Making a variant's tensors and metadata.
//!
//! Every matrix takes the wanted type; vectors (norms) stay `f32`. A matrix whose rows are no multiple of the type's
//! block takes `Q8_0`, or failing that `F16`, and the metadata counts such matrices. All tensors of the result stand
//! in memory at once, so a variant needs about the source's size of it.

use std::collections::BTreeMap;

use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use domain::ids::Sha256Digest;

use super::prune::{
    dropped_layers, elements_in, layer_of, parts_per_million, renumbered, zero_smallest,
};
use super::{MadeType, PruneRecipe, VariantError, VariantSpec};
use crate::gguf::{Gguf, cleaned, type_label};

/// Who made a file: part of its bytes and of the cache's key, so a later version never passes off an older file.
pub(super) const MAKER: &str = concat!("joulemark ", env!("CARGO_PKG_VERSION"));

/// Metadata keys of made files.
pub(super) mod keys {
    pub(in crate::variant) const SOURCE: &str = "joulemark.source_sha256";
    pub(in crate::variant) const QUANTISATION: &str = "joulemark.quantisation";
    pub(in crate::variant) const FALLBACKS: &str = "joulemark.quantisation.fallbacks";
    pub(in crate::variant) const METHOD: &str = "joulemark.pruning.method";
    pub(in crate::variant) const RATIO: &str = "joulemark.pruning.ratio_ppm";
    pub(in crate::variant) const RECIPE: &str = "joulemark.pruning.recipe";
    pub(in crate::variant) const MADE_BY: &str = "joulemark.made_by";
}

/// A made file's content.
pub(super) struct Made {
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, QTensor>,
}

/// The source already is the variant: nothing is removed and all its matrices have the wanted type.
pub(super) fn is_the_source(spec: &VariantSpec, wanted: MadeType, source: &Gguf) -> bool {
    let mut matrices = source
        .tensors()
        .into_values()
        .filter(|info| info.shape.rank() > 1)
        .peekable();
    spec.prune == PruneRecipe::None
        && matrices.peek().is_some()
        && matrices.all(|info| info.ggml_dtype == wanted.dtype)
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

    let architecture =
        source.required("general.architecture", source.text("general.architecture")?)?;
    let block_count = format!("{architecture}.block_count");
    let layers = source.required(&block_count, source.number(&block_count)?)?;
    let dropped = dropped_layers(&spec.prune, layers).map_err(|problem| VariantError::Prune {
        path: path.clone(),
        recipe: spec.prune.clone(),
        problem,
    })?;

    let elements: BTreeMap<String, u64> = source
        .tensors()
        .into_iter()
        .map(|(name, info)| (name.to_owned(), info.shape.elem_count() as u64))
        .collect();
    let mut removed = elements_in(&dropped, &elements);
    let mut fallbacks = 0_u32;
    let mut tensors = BTreeMap::new();
    for name in elements.keys() {
        let Some(new_name) = renumbered(name, &dropped) else {
            continue;
        };
        let convert = |error| VariantError::Convert {
            path: path.clone(),
            tensor: cleaned(name),
            source: Box::new(error),
        };
        let mut tensor = source
            .read(name)?
            .dequantize(&Device::Cpu)
            .map_err(convert)?;
        if let PruneRecipe::Magnitude { ratio_ppm } = spec.prune
            && tensor.rank() > 1
            && layer_of(name).is_some()
        {
            let (pruned, zeroed) = zero_smallest(&tensor, ratio_ppm).map_err(convert)?;
            tensor = pruned;
            removed += zeroed;
        }
        let dtype = stored_type(&tensor, wanted.dtype);
        fallbacks += u32::from(tensor.rank() > 1 && dtype != wanted.dtype);
        tensors.insert(
            new_name,
            QTensor::quantize(&tensor, dtype).map_err(convert)?,
        );
    }

    let mut metadata: BTreeMap<String, Value> = source
        .metadata()
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    // The writer aligns to the format's default, whatever the source did.
    metadata.remove("general.alignment");
    let text = |text: &str| Value::String(text.to_owned());
    let total = elements.values().sum();
    metadata.extend(
        [
            (
                block_count.as_str(),
                Value::U32(layers - dropped.len() as u32),
            ),
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
    Ok(Made { metadata, tensors })
}

/// The word that [`domain::record::PruningMethod`] is spelled with.
fn method(recipe: &PruneRecipe) -> &'static str {
    match recipe {
        PruneRecipe::None => "none",
        PruneRecipe::Layers(_) | PruneRecipe::LayersAt(_) => "layer",
        PruneRecipe::Magnitude { .. } => "unstructured",
    }
}

fn stored_type(tensor: &Tensor, wanted: GgmlDType) -> GgmlDType {
    let fits = |dtype: GgmlDType| {
        tensor
            .dims()
            .last()
            .is_some_and(|row| row.is_multiple_of(dtype.block_size()))
    };
    if tensor.rank() < 2 {
        GgmlDType::F32
    } else if fits(wanted) {
        wanted
    } else if fits(GgmlDType::Q8_0) {
        GgmlDType::Q8_0
    } else {
        GgmlDType::F16
    }
}
