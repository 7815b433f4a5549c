//! What a file claims to be, and what its types make of it.

use std::collections::BTreeMap;

use crate::gguf::StoredTensor;

/// `general.file_type`: the numbers of `llama_ftype`
/// (<https://github.com/ggml-org/llama.cpp/blob/master/include/llama.h>).
const FILE_TYPES: [(u32, &str); 35] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4_MOE"),
    // Names of files alone.
    (u32::MAX, "MXFP4"),
    (u32::MAX, "NVFP4"),
];

/// Names of K-quants in file names that stand for no single `llama_ftype`.
const LOOSE: [&str; 9] = [
    "Q2_K_L", "Q3_K", "Q3_K_XL", "Q4_K", "Q4_K_L", "Q4_K_XL", "Q5_K", "Q5_K_L", "Q5_K_XL",
];

/// What `general.file_type` stands for.
pub(super) fn of_file_type(number: u32) -> Option<&'static str> {
    let known = FILE_TYPES.iter().find(|(known, _)| *known == number);
    known
        .map(|(_, label)| *label)
        .filter(|_| number != u32::MAX)
}

/// The longest label that stands in a name as a word of its own.
pub(super) fn in_name(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    let labels = FILE_TYPES.iter().map(|(_, label)| *label).chain(LOOSE);
    let stands_alone = |label: &&str| {
        name.match_indices(*label).any(|(at, _)| {
            let (before, after) = (&name[..at], &name[at + label.len()..]);
            let is_word = |c: char| c.is_ascii_alphanumeric();
            !before.ends_with(is_word) && !after.starts_with(is_word)
        })
    };
    labels.filter(stands_alone).max_by_key(|label| label.len())
}

/// The mix that the layers' matrices look like, by the rules of llama.cpp's `quantize`; embedding and head, which
/// those mixes store finer, are left out where there are layers.
pub(in crate::variant::inspect) fn mix(tensors: &BTreeMap<String, StoredTensor>) -> String {
    let mut elements: BTreeMap<&str, u64> = BTreeMap::new();
    let matrices = || tensors.iter().filter(|(_, stored)| stored.shape.len() > 1);
    let has_layers = matrices().any(|(name, _)| name.starts_with("blk."));
    for (_, stored) in matrices().filter(|(name, _)| !has_layers || name.starts_with("blk.")) {
        *elements.entry(stored.dtype).or_default() += stored.elements();
    }
    let Some((&most, _)) = elements.iter().max_by_key(|(_, elements)| **elements) else {
        return "F32".to_owned();
    };
    let has = |dtype: &str| elements.contains_key(dtype);
    let suffix = match most {
        _ if elements.len() == 1 => "",
        "Q3_K" if has("Q4_K") => "_M",
        "Q3_K" if has("Q5_K") => "_L",
        "Q4_K" | "Q5_K" if has("Q6_K") => "_M",
        "Q4_K" if has("Q5_K") => "_S",
        _ => "",
    };
    format!("{most}{suffix}")
}

/// How a claim and a mix agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// It is what it says.
    Same,
    /// The same type for most weights, in another mix.
    OtherMix,
    /// Another type for most weights.
    Other,
}

/// Compares what is claimed with what is there.
pub(super) fn agreement(claim: &str, mix: &str) -> Agreement {
    if claim == mix {
        Agreement::Same
    } else if base(claim) != base(mix) {
        Agreement::Other
    } else if mix == base(mix) || claim == base(claim) {
        // All of one type is what a mix is called that needs no finer one, and a bare type names any of its mixes.
        Agreement::Same
    } else {
        Agreement::OtherMix
    }
}

/// A label without the size of its mix: `Q4_K` of `Q4_K_M`, `IQ3` of `IQ3_XXS`.
fn base(label: &str) -> &str {
    if label.starts_with("IQ") {
        return &label[..3];
    }
    let label = label.strip_suffix("_MOE").unwrap_or(label);
    ["_XL", "_S", "_M", "_L"]
        .into_iter()
        .find_map(|size| label.strip_suffix(size))
        .unwrap_or(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(types: &[(&str, &'static str)]) -> BTreeMap<String, StoredTensor> {
        let tensor = |dtype| StoredTensor {
            shape: vec![256, 256],
            dtype,
            bytes: 1,
            file: 0,
            start: 0,
        };
        types
            .iter()
            .map(|(name, dtype)| ((*name).to_owned(), tensor(dtype)))
            .collect()
    }

    #[test]
    fn mixes_are_called_as_llama_cpp_calls_them() {
        let of = |types: &[(&str, &'static str)]| mix(&stored(types));
        let (up, gate, down) = (
            "blk.0.ffn_up.weight",
            "blk.0.ffn_gate.weight",
            "blk.0.ffn_down.weight",
        );
        assert_eq!(
            of(&[(up, "Q4_K"), (gate, "Q4_K"), (down, "Q6_K")]),
            "Q4_K_M"
        );
        assert_eq!(
            of(&[(up, "Q4_K"), (gate, "Q4_K"), (down, "Q5_K")]),
            "Q4_K_S"
        );
        assert_eq!(
            of(&[(up, "Q5_K"), (gate, "Q5_K"), (down, "Q6_K")]),
            "Q5_K_M"
        );
        assert_eq!(
            of(&[(up, "Q3_K"), (gate, "Q3_K"), (down, "Q4_K")]),
            "Q3_K_M"
        );
        assert_eq!(
            of(&[(up, "Q3_K"), (gate, "Q3_K"), (down, "Q5_K")]),
            "Q3_K_L"
        );
        let head = [
            (up, "Q4_K"),
            ("output.weight", "Q6_K"),
            ("token_embd.weight", "Q6_K"),
        ];
        assert_eq!(of(&head), "Q4_K", "the head is no part of the mix");
        assert_eq!(of(&[("v.patch.weight", "F16")]), "F16");
        assert_eq!(of(&[]), "F32");
    }

    #[test]
    fn a_name_is_searched_for_the_longest_label_that_stands_alone() {
        assert_eq!(in_name("Llama-3.1-8B-Instruct-Q4_K_M.gguf"), Some("Q4_K_M"));
        assert_eq!(in_name("model-UD-q4_k_xl.gguf"), Some("Q4_K_XL"));
        assert_eq!(in_name("model.bf16.gguf"), Some("BF16"));
        assert_eq!(in_name("gpt-oss-20b-mxfp4.gguf"), Some("MXFP4"));
        assert_eq!(in_name("joulemark-reference-0.9m-f16.gguf"), Some("F16"));
        assert_eq!(in_name("SURFF16X.gguf"), None);
        assert_eq!(of_file_type(15), Some("Q4_K_M"));
        assert_eq!(of_file_type(u32::MAX), None);
        assert_eq!(of_file_type(4), None, "a type that was removed");
    }

    #[test]
    fn a_claim_agrees_with_what_is_there_or_not() {
        assert_eq!(agreement("Q4_K_M", "Q4_K_M"), Agreement::Same);
        assert_eq!(agreement("Q4_K_M", "Q4_K_S"), Agreement::OtherMix);
        assert_eq!(agreement("Q4_K_S", "Q4_K"), Agreement::Same);
        assert_eq!(agreement("Q4_K_XL", "Q4_K_M"), Agreement::OtherMix);
        assert_eq!(agreement("F16", "Q8_0"), Agreement::Other);
        assert_eq!(agreement("IQ3_M", "IQ3_S"), Agreement::OtherMix);
        assert_eq!(agreement("MXFP4_MOE", "MXFP4"), Agreement::Same);
        assert_eq!(agreement("Q8_0", "Q4_0"), Agreement::Other);
    }
}
