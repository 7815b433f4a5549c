//! Removing weights: whole layers, heads and experts, or the smallest of each matrix.
//!
//! A recipe becomes [`Cuts`], which say of this one model what goes; each tensor then passes through them on its way
//! into the made file. What is measured for a choice stands in the file beside the recipe.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::quantized::gguf_file::Value;
use candle_core::{D, DType, Device, Tensor};
use domain::corpus;
use domain::suite::Suite;

use super::quantise::keys;
use super::{PruneRecipe, VariantError};
use crate::engine::candle::{Dimensions, Importance, importance};
use crate::gguf::{Gguf, GgufError, Keys, cleaned};

/// What a recipe takes from one model.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    /// Whole layers.
    pub(super) dropped: BTreeSet<u32>,
    /// The smallest weights of the matrices of layers.
    zeroes: Option<Zeroes>,
    /// Parts of matrices that go, by the tensor's name.
    parts: BTreeMap<String, Part>,
    /// Parameters that stay in the file and are passed no more.
    idle: u64,
    /// Metadata that changes.
    pub(super) metadata: BTreeMap<String, Value>,
}

/// Which weights become zero.
#[derive(Debug, Clone, Copy)]
enum Zeroes {
    /// This share of a matrix, in millionths.
    Share(u32),
    /// All but `keep` of every `of` neighbours in a row.
    Groups { keep: usize, of: usize },
}

/// Equal blocks of a tensor along one dimension, of which some stay.
#[derive(Debug)]
struct Part {
    dimension: usize,
    blocks: usize,
    kept: Vec<u32>,
}

impl Cuts {
    /// What `recipe` means for an open source of `layers` layers.
    pub(super) fn of(
        recipe: &PruneRecipe,
        source: &mut Gguf,
        architecture: &str,
        layers: u32,
    ) -> Result<Self, VariantError> {
        let mut cuts = Self::default();
        match *recipe {
            PruneRecipe::None => {}
            PruneRecipe::Layers(_) | PruneRecipe::LayersAt(_) => {
                cuts.dropped = dropped_layers(recipe, layers).map_err(misfit(source, recipe))?;
            }
            PruneRecipe::LayersByImportance(count) => {
                let measured = measured(source)?;
                cuts.dropped =
                    least_layers(&measured.layers, count).map_err(misfit(source, recipe))?;
                cuts.note(in_words("layer", &measured.layers, &cuts.dropped));
            }
            PruneRecipe::Heads { ratio_ppm } => cuts.heads(ratio_ppm, recipe, source)?,
            PruneRecipe::Magnitude { ratio_ppm } => cuts.zeroes = Some(Zeroes::Share(ratio_ppm)),
            PruneRecipe::NofM { keep, of } => {
                cuts.zeroes = Some(Zeroes::Groups {
                    keep: keep as usize,
                    of: of as usize,
                });
                let uneven = source.tensors().into_iter().find(|(name, info)| {
                    let row = info.shape.dims().last().copied().unwrap_or(0);
                    is_layer_matrix(name, info.shape.rank()) && !row.is_multiple_of(of as usize)
                });
                if let Some((name, info)) = uneven {
                    let problem = format!(
                        "{} is {:?}, whose rows are no multiple of {of}",
                        cleaned(name),
                        info.shape.dims()
                    );
                    return Err(misfit(source, recipe)(problem));
                }
            }
            PruneRecipe::Experts(count) => {
                cuts.experts(count, recipe, source, architecture, layers)?;
            }
            PruneRecipe::ExpertsUsed(count) => {
                cuts.experts_used(count, recipe, source, architecture)?;
            }
        }
        if !cuts.dropped.is_empty() {
            cuts.shorten_lists(source, architecture, layers);
            let left = layers - cuts.dropped.len() as u32;
            (cuts.metadata).insert(format!("{architecture}.block_count"), Value::U32(left));
        }
        Ok(cuts)
    }

    /// What is left of a tensor whose layer stays, and how many of its weights went.
    pub(super) fn apply(&self, name: &str, tensor: Tensor) -> candle_core::Result<(Tensor, u64)> {
        if let Some(zeroes) = self.zeroes
            && is_layer_matrix(name, tensor.rank())
        {
            return match zeroes {
                Zeroes::Share(ratio_ppm) => zero_smallest(&tensor, ratio_ppm),
                Zeroes::Groups { keep, of } => zero_in_groups(&tensor, keep, of),
            };
        }
        let Some(part) = self.parts.get(name) else {
            return Ok((tensor, 0));
        };
        let kept = part.of(&tensor)?;
        let removed = tensor.elem_count() - kept.elem_count();
        Ok((kept, removed as u64))
    }

    /// Whether weights become zero and stay where they are.
    pub(super) fn zeroes(&self) -> bool {
        self.zeroes.is_some()
    }

    /// Parameters that go with whole layers, and those that stay and no token passes any more.
    pub(super) fn removed_whole(&self, elements: &BTreeMap<String, u64>) -> u64 {
        self.idle + elements_in(&self.dropped, elements)
    }

    fn note(&mut self, importance: String) {
        (self.metadata).insert(keys::IMPORTANCE.to_owned(), Value::String(importance));
    }

    /// Removes the groups of heads that add least, as many in every layer, because a model has one number of heads.
    fn heads(
        &mut self,
        ratio_ppm: u32,
        recipe: &PruneRecipe,
        source: &mut Gguf,
    ) -> Result<(), VariantError> {
        let measured = measured(source)?;
        let Dimensions {
            layers,
            heads,
            kv_heads,
            head_dim,
            ..
        } = Dimensions::read(source)?;
        let removed = (kv_heads as u64 * u64::from(ratio_ppm) / 1_000_000) as usize;
        if removed == 0 {
            let problem = if kv_heads == heads {
                format!("less than one of its {heads} heads per layer would go")
            } else {
                format!(
                    "less than one of its {kv_heads} groups of heads per layer would go, and the {} heads that share \
                     keys and values go together",
                    heads / kv_heads
                )
            };
            return Err(misfit(source, recipe)(problem));
        }
        let mut words = Vec::new();
        for (layer, groups) in (0..layers).zip(&measured.groups) {
            let dropped = least(groups, removed);
            let kept: Vec<u32> = (0..kv_heads as u32)
                .filter(|group| !dropped.contains(group))
                .collect();
            for (part, dimension) in [
                ("attn_q", 0),
                ("attn_k", 0),
                ("attn_v", 0),
                ("attn_output", 1),
            ] {
                let part = format!("blk.{layer}.{part}.weight");
                let kept = Part {
                    dimension,
                    blocks: kv_heads,
                    kept: kept.clone(),
                };
                self.parts.insert(part, kept);
            }
            words.push(format!(
                "layer {layer}: {}",
                in_words("group", groups, &dropped)
            ));
        }
        self.note(words.join("; "));
        let left = kv_heads - removed;
        for (key, number) in [
            ("llama.attention.head_count", heads / kv_heads * left),
            ("llama.attention.head_count_kv", left),
            // Without these the width is divided by the number of heads, which is another one now.
            ("llama.attention.key_length", head_dim),
            ("llama.attention.value_length", head_dim),
            ("llama.rope.dimension_count", head_dim),
        ] {
            self.metadata
                .insert(key.to_owned(), Value::U32(number as u32));
        }
        Ok(())
    }

    /// Removes the experts of each layer whose rows in the router are shortest: without data, the length of its row is
    /// the one thing that favours an expert over the others.
    fn experts(
        &mut self,
        count: u32,
        recipe: &PruneRecipe,
        source: &mut Gguf,
        architecture: &str,
        layers: u32,
    ) -> Result<(), VariantError> {
        let (total, used) = experts(source, architecture, recipe)?;
        if count >= total || total - count < used {
            let problem = format!(
                "it has {total} experts per layer and sends each token to {used}, which have to stay"
            );
            return Err(misfit(source, recipe)(problem));
        }
        let names: Vec<String> = source.tensors().into_keys().map(str::to_owned).collect();
        let mut words = Vec::new();
        for layer in 0..layers {
            let router = format!("blk.{layer}.ffn_gate_inp.weight");
            if source.tensor(&router).is_none() {
                // Some models begin with dense layers.
                continue;
            }
            let path = source.path().to_owned();
            let convert = |error| VariantError::Convert {
                path,
                tensor: router.clone(),
                source: Box::new(error),
            };
            let stored = source
                .tensor(&router)
                .map(|info| info.shape.dims().to_vec());
            if !matches!(stored.as_deref(), Some(&[rows, _]) if rows == total as usize) {
                let problem = format!("is {stored:?}, not {total} experts x width");
                return Err(source.bad_tensor(&router, problem).into());
            }
            let rows = (source.read(&router)?)
                .dequantize(&Device::Cpu)
                .and_then(|rows| rows.sqr()?.sum(D::Minus1)?.sqrt()?.to_vec1::<f32>())
                .map_err(convert)?;
            let rows: Vec<f64> = rows.into_iter().map(f64::from).collect();
            let dropped = least(&rows, count as usize);
            words.push(format!(
                "layer {layer}: {}",
                in_words("expert", &rows, &dropped)
            ));
            let kept: Vec<u32> = (0..total).filter(|at| !dropped.contains(at)).collect();
            for name in &names {
                let by_expert = layer_of(name).is_some_and(|(at, part)| {
                    at == layer
                        && (part.contains("_exps.")
                            || part.starts_with("ffn_gate_inp.")
                            || part.starts_with("exp_probs_b"))
                });
                if by_expert {
                    let kept = Part {
                        dimension: 0,
                        blocks: total as usize,
                        kept: kept.clone(),
                    };
                    self.parts.insert(name.clone(), kept);
                }
            }
        }
        if words.is_empty() {
            return Err(misfit(source, recipe)(
                "none of its layers has a router".to_owned(),
            ));
        }
        self.note(words.join("; "));
        self.metadata.insert(
            format!("{architecture}.expert_count"),
            Value::U32(total - count),
        );
        Ok(())
    }

    fn experts_used(
        &mut self,
        count: u32,
        recipe: &PruneRecipe,
        source: &Gguf,
        architecture: &str,
    ) -> Result<(), VariantError> {
        let (total, used) = experts(source, architecture, recipe)?;
        if count >= used {
            let problem = format!("it sends each token to {used} of its {total} experts already");
            return Err(misfit(source, recipe)(problem));
        }
        self.metadata.insert(
            format!("{architecture}.expert_used_count"),
            Value::U32(count),
        );
        let routed: u64 = source
            .tensors()
            .into_iter()
            .filter(|(name, _)| name.contains("_exps."))
            .map(|(_, info)| info.shape.elem_count() as u64)
            .sum();
        self.idle = routed / u64::from(total) * u64::from(used - count);
        Ok(())
    }

    /// Lists in the metadata with an entry per layer lose those of the layers that go.
    fn shorten_lists(&mut self, source: &Gguf, architecture: &str, layers: u32) {
        let prefix = format!("{architecture}.");
        for (key, value) in source.metadata() {
            if let Value::Array(items) = value
                && items.len() == layers as usize
                && key.starts_with(&prefix)
            {
                let left = (0..layers)
                    .zip(items)
                    .filter(|(layer, _)| !self.dropped.contains(layer))
                    .map(|(_, item)| item.clone())
                    .collect();
                self.metadata.insert(key.to_owned(), Value::Array(left));
            }
        }
    }
}

impl Part {
    /// The blocks of a tensor that stay, in their order.
    fn of(&self, tensor: &Tensor) -> candle_core::Result<Tensor> {
        let length = tensor.dim(self.dimension)?;
        if !length.is_multiple_of(self.blocks) {
            candle_core::bail!(
                "its dimensions {:?} are not in {} parts",
                tensor.dims(),
                self.blocks
            );
        }
        let block = length / self.blocks;
        let kept = self
            .kept
            .iter()
            .map(|&at| tensor.narrow(self.dimension, at as usize * block, block))
            .collect::<candle_core::Result<Vec<_>>>()?;
        // A single block would still be a view of the whole, which candle's quantising takes for the whole.
        Tensor::cat(&kept, self.dimension)?.force_contiguous()
    }
}

/// Measures what the layers and heads of a source do, on the project's corpus.
fn measured(source: &Gguf) -> Result<Importance, VariantError> {
    // The models that this engine reads have a byte for a token, and are trained on this suite's tasks.
    let documents = corpus::documents(Suite::ReferenceV1);
    let texts: Vec<String> = documents.iter().map(corpus::Document::text).collect();
    tracing::info!(
        file.path = %source.path().display(),
        texts = texts.len(),
        "measuring what each layer and head does, to prune by it"
    );
    let measured = importance(source.path(), &texts)?;
    tracing::info!(tokens = measured.tokens, layers = ?measured.layers, "measured what each layer and head does");
    Ok(measured)
}

/// The places of the `count` smallest; of equals the first.
fn least(values: &[f64], count: usize) -> BTreeSet<u32> {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_by(|&a, &b| values[a as usize].total_cmp(&values[b as usize]));
    order.into_iter().take(count).collect()
}

fn least_layers(importance: &[f64], count: u32) -> Result<BTreeSet<u32>, String> {
    if count as usize >= importance.len() {
        return Err(format!(
            "the model has {} layers, of which at least one stays",
            importance.len()
        ));
    }
    Ok(least(importance, count as usize))
}

/// Measured values one after the other, as they stand in the made file: four decimals, which processors agree on.
fn in_words(what: &str, values: &[f64], dropped: &BTreeSet<u32>) -> String {
    let one = |(at, value): (u32, &f64)| {
        let gone = if dropped.contains(&at) {
            " removed"
        } else {
            ""
        };
        format!("{what} {at} {value:.4}{gone}")
    };
    let all: Vec<String> = (0..).zip(values).map(one).collect();
    all.join(", ")
}

/// Experts of each layer, and how many of them each token is sent to.
fn experts(
    source: &Gguf,
    architecture: &str,
    recipe: &PruneRecipe,
) -> Result<(u32, u32), VariantError> {
    let total = source.number(&format!("{architecture}.expert_count"))?;
    let Some(total) = total.filter(|&total| total > 0) else {
        let problem = "it is a dense model: it has no experts".to_owned();
        return Err(misfit(source, recipe)(problem));
    };
    let key = format!("{architecture}.expert_used_count");
    let used: Result<u32, GgufError> = source.required(&key, source.number(&key)?);
    Ok((total, used?))
}

fn misfit<'a>(
    source: &'a Gguf,
    recipe: &'a PruneRecipe,
) -> impl Fn(String) -> VariantError + use<'a> {
    move |problem| VariantError::Prune {
        path: source.path().to_owned(),
        recipe: recipe.clone(),
        problem,
    }
}

/// The layers that go by their number alone; `Err` says why the recipe does not fit a model of so many.
fn dropped_layers(recipe: &PruneRecipe, layers: u32) -> Result<BTreeSet<u32>, String> {
    match recipe {
        PruneRecipe::Layers(count) => {
            if count.saturating_add(2) > layers {
                return Err(format!(
                    "the model has {layers} layers, of which the first and the last stay"
                ));
            }
            let first = (layers - count) / 2;
            Ok((first..first + count).collect())
        }
        PruneRecipe::LayersAt(drop) => {
            let drop: BTreeSet<u32> = drop.iter().copied().collect();
            if let Some(absent) = drop.iter().find(|&&layer| layer >= layers) {
                return Err(format!(
                    "layer {absent} is none of the model's {layers}, counted from 0"
                ));
            }
            if drop.is_empty() || drop.len() as u32 == layers {
                return Err(format!(
                    "at least one of the model's {layers} layers has to go and one to stay"
                ));
            }
            Ok(drop)
        }
        _ => Ok(BTreeSet::new()),
    }
}

/// The tensor's name once `dropped` layers are gone; `None` if it goes with one.
pub(super) fn renumbered(name: &str, dropped: &BTreeSet<u32>) -> Option<String> {
    match layer_of(name) {
        None => Some(name.to_owned()),
        Some((layer, _)) if dropped.contains(&layer) => None,
        Some((layer, part)) => {
            let before = dropped.range(..layer).count() as u32;
            Some(format!("blk.{}.{part}", layer - before))
        }
    }
}

/// The layer a tensor belongs to, and its name within it.
pub(super) fn layer_of(name: &str) -> Option<(u32, &str)> {
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

/// A matrix of a layer that single weights may be taken from; a router's few decide about whole experts.
pub(super) fn is_layer_matrix(name: &str, rank: usize) -> bool {
    rank > 1 && layer_of(name).is_some() && !name.contains("ffn_gate_inp.")
}

/// Zeroes the `ratio_ppm` smallest weights by magnitude (of equals the first), and counts them.
fn zero_smallest(matrix: &Tensor, ratio_ppm: u32) -> candle_core::Result<(Tensor, u64)> {
    let mut values = flat(matrix)?;
    let count = (values.len() as u64 * u64::from(ratio_ppm) / 1_000_000) as usize;
    zero_least(&mut values, count);
    let pruned = Tensor::from_vec(values, matrix.shape(), &Device::Cpu)?;
    Ok((pruned, count as u64))
}

/// Zeroes all but the `keep` largest by magnitude of every `of` neighbours in a row, and counts the zeroed.
fn zero_in_groups(matrix: &Tensor, keep: usize, of: usize) -> candle_core::Result<(Tensor, u64)> {
    let mut values = flat(matrix)?;
    for group in values.chunks_exact_mut(of) {
        zero_least(group, of - keep);
    }
    let count = (values.len() / of * (of - keep)) as u64;
    let pruned = Tensor::from_vec(values, matrix.shape(), &Device::Cpu)?;
    Ok((pruned, count))
}

/// Zeros of a pruned matrix that are zero `now` that it is stored: a type with a least value per block (`Q4_K`) has no
/// code for zero, so there most of them move.
pub(super) fn still_zero(pruned: &Tensor, now: &Tensor) -> candle_core::Result<u64> {
    let (pruned, now) = (flat(pruned)?, flat(now)?);
    let stay = |(before, now): &(f32, f32)| *before == 0.0 && *now == 0.0;
    Ok(pruned.into_iter().zip(now).filter(stay).count() as u64)
}

fn flat(matrix: &Tensor) -> candle_core::Result<Vec<f32>> {
    matrix.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}

/// Zeroes the `count` smallest by magnitude; of equals the first.
fn zero_least(values: &mut [f32], count: usize) {
    if count == 0 {
        return;
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.select_nth_unstable_by(count - 1, |&a, &b| {
        values[a].abs().total_cmp(&values[b].abs()).then(a.cmp(&b))
    });
    for &place in &order[..count] {
        values[place] = 0.0;
    }
}

/// Parts of a million, rounded down.
pub(super) fn parts_per_million(removed: u64, of: u64) -> u32 {
    (u128::from(removed) * 1_000_000 / u128::from(of.max(1))) as u32
}

/// Elements of the tensors that go with `dropped` layers.
fn elements_in(dropped: &BTreeSet<u32>, elements: &BTreeMap<String, u64>) -> u64 {
    elements
        .iter()
        .filter(|(name, _)| layer_of(name).is_some_and(|(layer, _)| dropped.contains(&layer)))
        .map(|(_, count)| count)
        .sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layers_go_from_the_middle_and_the_rest_closes_up() {
        let drop = |count, layers| {
            dropped_layers(&PruneRecipe::Layers(count), layers).map(|set| set.into_iter().collect())
        };
        assert_eq!(drop(1, 4), Ok(vec![1]));
        assert_eq!(drop(2, 4), Ok(vec![1, 2]));
        assert_eq!(drop(3, 32), Ok(vec![14, 15, 16]));
        assert!(drop(3, 4).is_err() && drop(1, 2).is_err() && drop(u32::MAX, 4).is_err());

        let dropped = BTreeSet::from([1, 2]);
        assert_eq!(
            renumbered("blk.0.attn_q.weight", &dropped).as_deref(),
            Some("blk.0.attn_q.weight")
        );
        assert_eq!(renumbered("blk.2.attn_q.weight", &dropped), None);
        assert_eq!(
            renumbered("blk.3.attn_q.weight", &dropped).as_deref(),
            Some("blk.1.attn_q.weight")
        );
        assert_eq!(
            renumbered("output_norm.weight", &dropped).as_deref(),
            Some("output_norm.weight")
        );
    }

    #[test]
    fn named_layers_must_exist_and_some_must_stay() {
        let drop = |list: &[u32]| dropped_layers(&PruneRecipe::LayersAt(list.to_vec()), 2);
        assert_eq!(drop(&[1, 1]), Ok(BTreeSet::from([1])));
        assert!(drop(&[2]).is_err() && drop(&[]).is_err() && drop(&[0, 1]).is_err());
    }

    #[test]
    fn the_least_important_go_and_of_equals_the_first() {
        assert_eq!(least(&[0.3, 0.1, 0.2, 0.1], 1), BTreeSet::from([1]));
        assert_eq!(least(&[0.3, 0.1, 0.2, 0.1], 3), BTreeSet::from([1, 2, 3]));
        assert_eq!(least_layers(&[0.5, 0.4], 1), Ok(BTreeSet::from([1])));
        assert!(least_layers(&[0.5, 0.4], 2).is_err());
        assert_eq!(
            in_words("layer", &[0.5, 0.25], &BTreeSet::from([1])),
            "layer 0 0.5000, layer 1 0.2500 removed"
        );
    }

    #[test]
    fn blocks_are_cut_from_rows_and_from_columns() {
        let matrix = Tensor::arange(0_f32, 8.0, &Device::Cpu)
            .and_then(|values| values.reshape((4, 2)))
            .expect("a matrix");
        let cut = |dimension, blocks, kept: &[u32]| {
            let part = Part {
                dimension,
                blocks,
                kept: kept.to_vec(),
            };
            part.of(&matrix).and_then(|cut| cut.to_vec2::<f32>()).ok()
        };
        assert_eq!(cut(0, 2, &[1]), Some(vec![vec![4.0, 5.0], vec![6.0, 7.0]]));
        assert_eq!(
            cut(0, 4, &[0, 3]),
            Some(vec![vec![0.0, 1.0], vec![6.0, 7.0]])
        );
        assert_eq!(
            cut(1, 2, &[1]),
            Some(vec![vec![1.0], vec![3.0], vec![5.0], vec![7.0]])
        );
        assert_eq!(cut(0, 3, &[0]), None);
    }

    proptest! {
        #[test]
        fn exactly_the_stated_share_is_zeroed_and_it_is_the_smallest(
            values in prop::collection::vec(prop_oneof![-9.0..-0.1_f32, 0.1..9.0_f32, Just(1.0_f32)], 1..200),
            ratio_ppm in 0..1_000_000_u32,
        ) {
            let matrix = Tensor::from_vec(values.clone(), (values.len(), 1), &Device::Cpu).expect("a matrix");
            let (pruned, count) = zero_smallest(&matrix, ratio_ppm).expect("pruned");
            let pruned = flat(&pruned).expect("values");
            let zeros = pruned.iter().filter(|value| value.abs() == 0.0).count() as u64;
            prop_assert_eq!(zeros, count);
            prop_assert_eq!(count, values.len() as u64 * u64::from(ratio_ppm) / 1_000_000);
            let kept = pruned.iter().map(|v| v.abs()).filter(|v| *v > 0.0).fold(f32::INFINITY, f32::min);
            let gone = values.iter().zip(&pruned).filter(|(_, p)| p.abs() == 0.0).map(|(v, _)| v.abs());
            prop_assert!(gone.fold(0.0, f32::max) <= kept);
        }

        #[test]
        fn of_every_group_exactly_so_many_stay_and_they_are_the_largest(
            values in prop::collection::vec(prop_oneof![-9.0..-0.1_f32, 0.1..9.0_f32, Just(1.0_f32)], 24),
            of in prop::sample::select(vec![2_usize, 3, 4, 6, 12]),
            keep in 1_usize..12,
        ) {
            prop_assume!(keep < of);
            let matrix = Tensor::from_vec(values.clone(), (2, 12), &Device::Cpu).expect("a matrix");
            let (pruned, count) = zero_in_groups(&matrix, keep, of).expect("pruned");
            prop_assert_eq!(count as usize, 24 / of * (of - keep));
            for (before, after) in values.chunks(of).zip(flat(&pruned).expect("values").chunks(of)) {
                let mut sizes: Vec<f32> = before.iter().map(|value| value.abs()).collect();
                sizes.sort_by(|a, b| b.total_cmp(a));
                let mut left: Vec<f32> = after.iter().map(|value| value.abs()).filter(|size| *size > 0.0).collect();
                left.sort_by(|a, b| b.total_cmp(a));
                prop_assert_eq!(left.as_slice(), &sizes[..keep]);
            }
        }
    }
}
