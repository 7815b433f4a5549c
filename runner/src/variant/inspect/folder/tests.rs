//! Folders that this program makes, and small ones of other makers.

use std::collections::HashMap;
use std::fs;

use safetensors::tensor::TensorView;
use serde_json::json;

use super::*;
use crate::gguf::fixture::Fixture;
use crate::variant::{PruneRecipe, Quantisation, VariantCache, VariantSpec, inspect};

/// Writes one file of zeros.
fn write(path: &Path, tensors: &[(&str, Dtype, &[usize])]) {
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, dtype, shape)| vec![0; shape.iter().product::<usize>() * dtype.bitsize() / 8])
        .collect();
    let views: Vec<(&str, TensorView)> = tensors
        .iter()
        .zip(&data)
        .map(|((name, dtype, shape), data)| {
            let view = TensorView::new(*dtype, shape.to_vec(), data);
            (*name, view.expect("as many bytes as the shape says"))
        })
        .collect();
    let bytes = safetensors::serialize(views, None::<HashMap<String, String>>);
    fs::write(path, bytes.expect("serialised")).expect("written");
}

/// A folder with a `config.json` of these keys beside the usual ones.
fn folder(keys: &Value, tensors: &[(&str, Dtype, &[usize])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut config = json!({
        "model_type": "other",
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 32,
        "vocab_size": 64,
    });
    for (key, value) in keys.as_object().expect("keys") {
        config[key] = value.clone();
    }
    fs::write(folder.path().join(CONFIG), config.to_string()).expect("written");
    if !tensors.is_empty() {
        write(&folder.path().join(WEIGHTS), tensors);
    }
    folder
}

const EMBEDDING: (&str, Dtype, &[usize]) = ("model.embed_tokens.weight", Dtype::BF16, &[64, 32]);

#[test]
fn a_made_folder_says_the_same_as_the_gguf_it_was_made_of() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let source = home.path().join("source.gguf");
    let fixture = Fixture {
        layers: 4,
        tied: false,
        ..Fixture::tiny()
    };
    fixture.write(&source);
    let cache = VariantCache::new(home.path().join("variants"));
    for prune in [PruneRecipe::None, PruneRecipe::Layers(1)] {
        let spec = VariantSpec {
            source: source.clone(),
            quant: Quantisation::F16,
            prune,
        };
        let gguf = inspect(&cache.make(&spec).expect("made")).expect("inspected");
        let made = cache.make_huggingface(&spec).expect("made");
        let found = inspect(&made).expect("inspected");
        let weights = fs::read(made.join(WEIGHTS)).expect("read");
        assert_eq!(found.sha256, Sha256Digest::of(&weights));
        assert_eq!(
            (&found.model, &found.arch, &found.quant, &found.path),
            (&gguf.model, &gguf.arch, &gguf.quant, &None)
        );
        assert_eq!(
            (found.params_total, found.params_active, found.vocab_size),
            (gguf.params_total, gguf.params_active, gguf.vocab_size)
        );
        assert_eq!(
            (found.embedding_bytes, found.head_bytes, &found.kv),
            (gguf.embedding_bytes, gguf.head_bytes, &gguf.kv)
        );
        // Norms are F32 in the one and F16 in the other.
        let norms = (2 * u64::from(gguf.kv[0].layers) + 1) * 32;
        assert_eq!(found.dense_bytes, gguf.dense_bytes - 2 * norms);
        let original = Sha256Digest::of(&fs::read(&source).expect("read"));
        let expected = Pruning {
            source_sha256: Some(original),
            ..gguf.pruning
        };
        assert_eq!(found.pruning, expected);
        assert!(found.tokenizer_sha256.is_some() && found.template_sha256.is_none());
    }
}

#[test]
fn weights_that_mlx_packed_are_counted_by_their_bits() {
    let keys = json!({"quantization": {
        "group_size": 32, "bits": 4, "model.layers.1.mlp.up_proj": {"group_size": 32, "bits": 8},
    }});
    let folder = folder(
        &keys,
        &[
            EMBEDDING,
            ("model.layers.0.mlp.up_proj.weight", Dtype::U32, &[64, 4]),
            ("model.layers.0.mlp.up_proj.scales", Dtype::F16, &[64, 1]),
            ("model.layers.0.mlp.up_proj.biases", Dtype::F16, &[64, 1]),
            ("model.layers.1.mlp.up_proj.weight", Dtype::U32, &[64, 8]),
            ("model.layers.1.mlp.up_proj.scales", Dtype::F16, &[64, 1]),
            ("model.layers.1.mlp.up_proj.biases", Dtype::F16, &[64, 1]),
        ],
    );
    let facts = inspect(folder.path()).expect("inspected");
    assert_eq!(facts.params_total, 3 * 64 * 32);
    assert_eq!(facts.dense_bytes, 64 * 16 + 64 * 32 + 4 * 64 * 2);
    assert_eq!((facts.head_bytes, facts.embedding_bytes), (4_096, 4_096));
    // 64 x 12 words of 4 bytes against 64 x 32 numbers of 2.
    assert_eq!(facts.quant.as_str(), "BF16");
}

#[test]
fn other_packings_are_refused_by_name() {
    let keys = json!({"quantization_config": {"quant_method": "gptq", "bits": 4}});
    let folder = folder(&keys, &[EMBEDDING]);
    let error = inspect(folder.path()).expect_err("refused").to_string();
    assert!(error.contains("gptq") && error.contains(CONFIG), "{error}");
}

#[test]
fn experts_and_the_layers_that_guess_ahead_are_told_apart() {
    let keys = json!({"num_experts": 4, "num_experts_per_tok": 1});
    let folder = folder(
        &keys,
        &[
            EMBEDDING,
            (
                "model.layers.0.mlp.switch_mlp.up_proj.weight",
                Dtype::BF16,
                &[4, 16, 32],
            ),
            (
                "model.layers.1.mlp.experts.3.up_proj.weight",
                Dtype::BF16,
                &[16, 32],
            ),
            (
                "model.layers.1.mlp.shared_expert.up_proj.weight",
                Dtype::BF16,
                &[16, 32],
            ),
            ("model.layers.2.mlp.up_proj.weight", Dtype::BF16, &[16, 32]),
            ("vision_tower.patch.weight", Dtype::BF16, &[16, 32]),
        ],
    );
    let facts = inspect(folder.path()).expect("inspected");
    let matrix = 16 * 32;
    assert_eq!(facts.params_total, 64 * 32 + 8 * matrix);
    assert_eq!(facts.params_active, 64 * 32 + 5 * matrix / 4 + matrix);
    assert_eq!(facts.routed_expert_bytes, Some(2 * 5 * matrix));
    assert_eq!(facts.shared_expert_bytes, Some(2 * matrix));
    assert_eq!(facts.dense_bytes, 0);
}

#[test]
fn caches_are_said_only_where_the_config_tells_them() {
    let kv = |keys: Value| {
        inspect(folder(&keys, &[EMBEDDING]).path())
            .expect("inspected")
            .kv
    };
    let layout = |kind, layers, elements_per_token, window_tokens| KvLayout {
        kind,
        layers,
        elements_per_token,
        window_tokens,
        state_elements: None,
    };
    assert_eq!(kv(json!({})), [layout(KvKind::Full, 2, 2 * 2 * 8, None)]);
    assert_eq!(
        kv(json!({"head_dim": 16, "sliding_window": 128,
            "layer_types": ["sliding_attention", "full_attention"]})),
        [
            layout(KvKind::Full, 1, 2 * 2 * 16, None),
            layout(KvKind::Window, 1, 2 * 2 * 16, Some(128))
        ]
    );
    assert_eq!(
        kv(json!({"sliding_window": 128, "use_sliding_window": false})),
        [layout(KvKind::Full, 2, 2 * 2 * 8, None)]
    );
    assert_eq!(
        kv(json!({"kv_lora_rank": 24, "qk_rope_head_dim": 8})),
        [layout(KvKind::Latent, 2, 32, None)]
    );
    for untold in [
        json!({"sliding_window": 128}),
        json!({"mamba_d_state": 16}),
        json!({"layer_types": ["linear_attention", "full_attention"]}),
    ] {
        assert_eq!(kv(untold), []);
    }
}

#[test]
fn several_files_are_one_model_and_none_lies_elsewhere() {
    let folder = folder(&json!({}), &[]);
    let path = |name: &str| folder.path().join(name);
    assert!(matches!(
        inspect(folder.path()),
        Err(VariantError::Io { .. })
    ));
    write(&path("a.safetensors"), &[EMBEDDING]);
    write(
        &path("b.safetensors"),
        &[("lm_head.weight", Dtype::BF16, &[64, 32])],
    );
    let index = |second: &str| {
        let map = json!({"weight_map": {"model.embed_tokens.weight": "a.safetensors", "lm_head.weight": second}});
        fs::write(path("model.safetensors.index.json"), map.to_string()).expect("written");
    };
    index("b.safetensors");
    let facts = inspect(folder.path()).expect("inspected");
    assert_eq!((facts.files.len(), facts.params_total), (2, 2 * 64 * 32));
    let digests: Vec<u8> = facts.files.iter().flat_map(|file| file.sha256.0).collect();
    assert_eq!(facts.sha256, Sha256Digest::of(&digests));

    index("../b.safetensors");
    let error = inspect(folder.path()).expect_err("refused").to_string();
    assert!(error.contains("outside"), "{error}");
    index("b.safetensors");
    let whole = fs::read(path("a.safetensors")).expect("read");
    for damaged in [
        &whole[..whole.len() - 1],
        &whole[..20],
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        fs::write(path("a.safetensors"), damaged).expect("written");
        let error = inspect(folder.path()).expect_err("damaged").to_string();
        assert!(error.contains("a.safetensors"), "{error}");
    }
}
