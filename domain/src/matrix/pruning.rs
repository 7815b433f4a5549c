//! Pruning recipes: what is removed from source weights, and how a recipe is written.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;

/// The longest group of an N of M pattern.
const MAX_GROUP: u32 = 64;

/// Every way of writing a recipe, for errors and help texts.
pub const RECIPES: &str = "none, layers-N (drop N from the middle), layers-at-I+J (drop these, counted from 0), \
     layers-by-importance-N (drop the N that change their input least), heads-P% (drop the attention heads that add \
     least), magnitude-P% (zero the smallest P percent), nm-N:M (keep the N largest of every M), experts-N (drop N \
     experts of every layer) or experts-used-N (N experts per token)";

/// What is removed from the source weights. Nothing is trained afterwards.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PruneRecipe {
    /// Nothing.
    None,
    /// So many whole layers from the middle; the first and the last stay.
    Layers(u32),
    /// So many whole layers: those that change what passes through them least, as measured on a corpus.
    LayersByImportance(u32),
    /// These whole layers, counted from 0.
    LayersAt(Vec<u32>),
    /// In every layer this share of its attention heads, rounded down: those that add least to what passes through,
    /// as measured on a corpus. Heads that share keys and values go together.
    Heads {
        /// Share of each layer's heads in millionths.
        ratio_ppm: u32,
    },
    /// In every matrix of every layer the smallest weights become zero, up to this share of them. The file stays as
    /// large as it was, because zeros are stored like any other number.
    Magnitude {
        /// Share of each matrix in millionths.
        ratio_ppm: u32,
    },
    /// In every matrix of every layer, of each group of neighbouring weights in a row the smallest become zero.
    NofM {
        /// Weights that stay of a group.
        keep: u32,
        /// Weights in a group.
        of: u32,
    },
    /// So many experts of every layer: those whose router rows are shortest.
    Experts(u32),
    /// No weights, but each token is sent to so many experts only.
    ExpertsUsed(u32),
}

impl fmt::Display for PruneRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Layers(count) => write!(f, "layers-{count}"),
            Self::LayersByImportance(count) => write!(f, "layers-by-importance-{count}"),
            Self::LayersAt(drop) => {
                let list: Vec<String> = drop.iter().map(u32::to_string).collect();
                write!(f, "layers-at-{}", list.join("+"))
            }
            Self::Heads { ratio_ppm } => write!(f, "heads-{}%", percent(*ratio_ppm)),
            Self::Magnitude { ratio_ppm } => write!(f, "magnitude-{}%", percent(*ratio_ppm)),
            Self::NofM { keep, of } => write!(f, "nm-{keep}:{of}"),
            Self::Experts(count) => write!(f, "experts-{count}"),
            Self::ExpertsUsed(count) => write!(f, "experts-used-{count}"),
        }
    }
}

impl FromStr for PruneRecipe {
    type Err = UnknownRecipe;
    fn from_str(text: &str) -> Result<Self, UnknownRecipe> {
        // The longer prefix first, where one begins with another.
        let recipe = if text == "none" {
            Some(Self::None)
        } else if let Some(list) = text.strip_prefix("layers-at-") {
            let layers: Option<Vec<u32>> = list.split('+').map(number).collect();
            layers.map(Self::LayersAt)
        } else if let Some(count) = text.strip_prefix("layers-by-importance-") {
            positive(count).map(Self::LayersByImportance)
        } else if let Some(count) = text.strip_prefix("layers-") {
            positive(count).map(Self::Layers)
        } else if let Some(count) = text.strip_prefix("experts-used-") {
            positive(count).map(Self::ExpertsUsed)
        } else if let Some(count) = text.strip_prefix("experts-") {
            positive(count).map(Self::Experts)
        } else if let Some(share) = text.strip_prefix("heads-") {
            ratio_ppm(share).map(|ratio_ppm| Self::Heads { ratio_ppm })
        } else if let Some(share) = text.strip_prefix("magnitude-") {
            ratio_ppm(share).map(|ratio_ppm| Self::Magnitude { ratio_ppm })
        } else {
            text.strip_prefix("nm-").and_then(n_of_m)
        };
        recipe.ok_or_else(|| UnknownRecipe(text.chars().take(80).collect()))
    }
}

impl Serialize for PruneRecipe {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a text is no pruning recipe.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("read {0:?} as a pruning: choose {RECIPES}")]
pub struct UnknownRecipe(String);

fn number(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

fn positive(digits: &str) -> Option<u32> {
    number(digits).filter(|&count| count > 0)
}

fn n_of_m(text: &str) -> Option<PruneRecipe> {
    let (keep, of) = text.split_once(':')?;
    let (keep, of) = (positive(keep)?, number(of)?);
    (keep < of && of <= MAX_GROUP).then_some(PruneRecipe::NofM { keep, of })
}

/// A percentage with the decimals that it needs.
fn percent(ratio_ppm: u32) -> String {
    let (whole, rest) = (ratio_ppm / 10_000, ratio_ppm % 10_000);
    let decimals = format!(".{rest:04}");
    format!(
        "{whole}{}",
        decimals.trim_end_matches('0').trim_end_matches('.')
    )
}

/// Millionths from a percentage above 0 and below 100 with at most four decimals.
fn ratio_ppm(text: &str) -> Option<u32> {
    let share = text.strip_suffix('%')?;
    let (whole, decimals) = share.split_once('.').unwrap_or((share, ""));
    if decimals.len() > 4 {
        return None;
    }
    let ratio = number(whole)?.checked_mul(10_000)? + number(&format!("{decimals:0<4}"))?;
    (1..1_000_000).contains(&ratio).then_some(ratio)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_recipe_is_refused_with_all_that_are() {
        for text in [
            "",
            "layers-0",
            "layers-+1",
            "layers-",
            "layers-at-",
            "layers-at-1+",
            "layers-by-importance-0",
            "heads-0%",
            "heads-25",
            "magnitude-0%",
            "magnitude-100%",
            "magnitude-+3%",
            "magnitude-3",
            "magnitude-.%",
            "nm-4:4",
            "nm-0:4",
            "nm-2",
            "nm-2:65",
            "experts-0",
            "experts-used-0",
            "none ",
        ] {
            let error = text.parse::<PruneRecipe>().expect_err(text).to_string();
            for known in [
                "layers-by-importance-N",
                "nm-N:M",
                "experts-used-N",
                "heads-P%",
            ] {
                assert!(error.contains(known), "{error}");
            }
        }
    }

    #[test]
    fn percentages_are_written_with_the_decimals_that_they_need() {
        for text in [
            "magnitude-30%",
            "magnitude-0.5%",
            "heads-12.3456%",
            "heads-25%",
        ] {
            let recipe: PruneRecipe = text.parse().expect("a recipe");
            assert_eq!(recipe.to_string(), text);
        }
    }

    fn recipe() -> impl Strategy<Value = PruneRecipe> {
        let count = 1..=u32::MAX;
        let ratio = 1..1_000_000_u32;
        prop_oneof![
            Just(PruneRecipe::None),
            count.clone().prop_map(PruneRecipe::Layers),
            count.clone().prop_map(PruneRecipe::LayersByImportance),
            prop::collection::vec(any::<u32>(), 1..5).prop_map(PruneRecipe::LayersAt),
            ratio
                .clone()
                .prop_map(|ratio_ppm| PruneRecipe::Heads { ratio_ppm }),
            ratio.prop_map(|ratio_ppm| PruneRecipe::Magnitude { ratio_ppm }),
            (2..=MAX_GROUP)
                .prop_flat_map(|of| (1..of, Just(of)))
                .prop_map(|(keep, of)| PruneRecipe::NofM { keep, of }),
            count.clone().prop_map(PruneRecipe::Experts),
            count.prop_map(PruneRecipe::ExpertsUsed),
        ]
    }

    proptest! {
        #[test]
        fn every_recipe_is_read_back(recipe in recipe()) {
            prop_assert_eq!(recipe.to_string().parse(), Ok(recipe));
        }

        #[test]
        fn any_text_ends_in_a_recipe_or_an_error(text in "\\PC{0,40}") {
            if let Ok(recipe) = text.parse::<PruneRecipe>() {
                prop_assert_eq!(recipe.to_string().parse(), Ok(recipe));
            }
        }
    }
}
