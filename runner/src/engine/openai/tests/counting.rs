//! Prompts are cut to an exact length by every kind of vocabulary.

use super::fake::{Fake, Style};
use super::*;
use crate::variant::{PruneRecipe, Quantisation, VariantCache, VariantSpec};

/// A vocabulary of words and parts of them, so that a cut changes the count in leaps.
pub(super) fn word_tokenizer(folder: &Path) -> PathBuf {
    let vocabulary: serde_json::Map<String, Value> =
        ["?", "ket", "tle", " ", "s", "st", "ove", "on", "a"]
            .iter()
            .zip(0..)
            .map(|(text, id)| ((*text).to_owned(), json!(id)))
            .collect();
    let letters = "kelovnt"
        .chars()
        .zip(20..)
        .map(|(letter, id)| (letter.to_string(), json!(id)));
    let vocabulary: serde_json::Map<String, Value> =
        vocabulary.into_iter().chain(letters).collect();
    let merges = [["s", "t"]];
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "?", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocabulary, "merges": merges
        }
    });
    let path = folder.join("tokenizer.json");
    std::fs::write(&path, file.to_string()).expect("written");
    path
}

#[test]
fn a_text_is_cut_where_its_tokens_are_as_many_as_asked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let vocabulary =
        Vocabulary::of_json(&word_tokenizer(folder.path()), None, None).expect("reads");
    assert!(!vocabulary.is_bytes());
    let fake = Fake::honest(Style::default());
    let target = Target {
        url: fake.url.clone(),
        key: None,
        stall: Duration::from_secs(1),
    };
    let wire = Wire::new(&target).expect("a wire");
    let text = "a kettle on a stove ".repeat(20);
    for (tokens, extra) in [(12, 0), (12, 5), (40, 1), (133, 0), (200, 0)] {
        let prompt = vocabulary
            .fit_text(&text, tokens, extra, &wire)
            .expect("a prompt");
        let Prompt::Exact {
            tokens: ids,
            text: cut,
            length,
        } = prompt
        else {
            panic!("an exact prompt");
        };
        assert!(ids.is_empty() && text.starts_with(&cut));
        assert_eq!(length, tokens);
        assert_eq!(vocabulary.count_here(&cut), Some(tokens - extra), "{cut:?}");

        let prompt = vocabulary.fit_ids(&text, tokens, &wire).expect("a prompt");
        assert!(
            matches!(prompt, Prompt::Exact { tokens: ids, .. } if ids.len() == tokens as usize)
        );
    }
    for (tokens, extra) in [(9_999, 0), (5, 5)] {
        let error = vocabulary
            .fit_text(&text, tokens, extra, &wire)
            .expect_err("impossible");
        assert!(matches!(error, EngineError::NoPrompt { .. }), "{error}");
    }
}

#[test]
fn a_folder_of_the_reference_family_is_known_to_be_of_bytes() {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let folder = VariantCache::new(cache.path())
        .make_huggingface(&VariantSpec {
            source: reference("0.9m"),
            quant: Quantisation::F16,
            prune: PruneRecipe::None,
        })
        .expect("the folder");
    let eos = end_tokens(&folder, None);
    assert_eq!(eos, [domain::byte_tokenizer::EOS]);
    let vocabulary =
        Vocabulary::of_json(&folder.join("tokenizer.json"), Some(eos[0]), None).expect("reads");
    assert!(vocabulary.is_bytes());
    let fake = Fake::honest(Style::default());
    let target = Target {
        url: fake.url.clone(),
        key: None,
        stall: Duration::from_secs(1),
    };
    let ids = vocabulary
        .ids("Hé", &Wire::new(&target).expect("a wire"))
        .expect("ids");
    assert_eq!(ids, Some(vec![256, 72, 0xc3, 0xa9]));
}

#[test]
fn a_count_far_above_what_the_text_makes_is_told_with_both_figures() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let vocabulary =
        Vocabulary::of_json(&word_tokenizer(folder.path()), None, None).expect("reads");
    let counted = |said: u32| {
        let piece = events::Piece {
            visible: true,
            bytes: 2,
            so_far: None,
        };
        let heard = Heard {
            pieces: vec![piece; 8],
            text: "st".repeat(8),
            usage: Some(events::Usage {
                prompt_tokens: Some(4),
                completion_tokens: Some(said),
                prompt_tokens_details: None,
                completion_tokens_details: None,
            }),
            ..Heard::default()
        };
        let asked = Asked {
            max_tokens: 64,
            prompt_tokens: None,
            assumed_tokens: None,
            eos: &[],
        };
        count(&heard, Finish::Length, asked, &vocabulary)
    };
    assert_eq!(counted(13).expect("near enough").output_tokens, 13);
    let error = counted(14).expect_err("too many");
    assert!(
        error.contains("14 output tokens") && error.contains("makes 8"),
        "{error}"
    );
}
