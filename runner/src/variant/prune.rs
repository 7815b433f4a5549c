//! Removing weights: whole layers, or the smallest of each matrix.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Result, Tensor};

use super::PruneRecipe;

/// What a recipe means for a model of so many layers; `Err` says why it does not fit.
pub(super) fn dropped_layers(
    recipe: &PruneRecipe,
    layers: u32,
) -> std::result::Result<BTreeSet<u32>, String> {
    match recipe {
        PruneRecipe::None | PruneRecipe::Magnitude { .. } => Ok(BTreeSet::new()),
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

/// Zeroes the `ratio_ppm` smallest weights by magnitude (of equals the first), and counts them.
pub(super) fn zero_smallest(matrix: &Tensor, ratio_ppm: u32) -> Result<(Tensor, u64)> {
    let mut values: Vec<f32> = matrix.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let count = (values.len() as u64 * u64::from(ratio_ppm) / 1_000_000) as usize;
    if count > 0 {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.select_nth_unstable_by(count - 1, |&a, &b| {
            values[a].abs().total_cmp(&values[b].abs()).then(a.cmp(&b))
        });
        for &place in &order[..count] {
            values[place] = 0.0;
        }
    }
    Ok((
        Tensor::from_vec(values, matrix.shape(), &Device::Cpu)?,
        count as u64,
    ))
}

/// Parts of a million, rounded down.
pub(super) fn parts_per_million(removed: u64, of: u64) -> u32 {
    (u128::from(removed) * 1_000_000 / u128::from(of.max(1))) as u32
}

/// Elements of the tensors that go with `dropped` layers.
pub(super) fn elements_in(dropped: &BTreeSet<u32>, elements: &BTreeMap<String, u64>) -> u64 {
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

    proptest! {
        #[test]
        fn exactly_the_stated_share_is_zeroed_and_it_is_the_smallest(
            values in prop::collection::vec(prop_oneof![-9.0..-0.1_f32, 0.1..9.0_f32, Just(1.0_f32)], 1..200),
            ratio_ppm in 0..1_000_000_u32,
        ) {
            let matrix = Tensor::from_vec(values.clone(), (values.len(), 1), &Device::Cpu).expect("a matrix");
            let (pruned, count) = zero_smallest(&matrix, ratio_ppm).expect("pruned");
            let pruned: Vec<f32> = pruned.flatten_all().and_then(|flat| flat.to_vec1()).expect("values");
            let zeros = pruned.iter().filter(|value| value.abs() == 0.0).count() as u64;
            prop_assert_eq!(zeros, count);
            prop_assert_eq!(count, values.len() as u64 * u64::from(ratio_ppm) / 1_000_000);
            let kept = pruned.iter().map(|v| v.abs()).filter(|v| *v > 0.0).fold(f32::INFINITY, f32::min);
            let gone = values.iter().zip(&pruned).filter(|(_, p)| p.abs() == 0.0).map(|(v, _)| v.abs());
            prop_assert!(gone.fold(0.0, f32::max) <= kept);
        }
    }
}
