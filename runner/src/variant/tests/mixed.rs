//! Mixes: each matrix has the type that llama.cpp gives it.
//!
//! `llama_cpp_types.txt` was read from files that `llama_model_quantize` of llama.cpp b11434
//! wrote for models of these shapes: per model and mix the types of each role, `*N` for N layers in a row.

use std::fmt::Write as _;

use super::*;

/// Models whose types were asked of llama.cpp: name, shape and number of experts.
fn models() -> [(&'static str, Fixture, u32); 6] {
    let wide = Fixture {
        feed_forward: 256,
        ..Fixture::reference()
    };
    [
        ("reference", Fixture::reference(), 0),
        (
            "deep",
            Fixture {
                layers: 24,
                kv_heads: 2,
                tied: false,
                ..wide
            },
            0,
        ),
        ("moe", Fixture { layers: 16, ..wide }, 8),
        ("moe4", Fixture { layers: 2, ..wide }, 4),
        (
            "narrow",
            Fixture {
                layers: 3,
                width: 64,
                heads: 2,
                feed_forward: 256,
                ..Fixture::tiny()
            },
            0,
        ),
        (
            "tiny",
            Fixture {
                layers: 3,
                ..Fixture::tiny()
            },
            0,
        ),
    ]
}

/// A model's matrices in the order of their names: role, layer and length of a row.
fn matrices(fixture: &Fixture, experts: u32) -> Vec<(String, Option<usize>, usize)> {
    let suffix = if experts > 0 { "_exps" } else { "" };
    let (width, wide) = (fixture.width, fixture.feed_forward);
    let mut roles = vec![
        ("attn_k".to_owned(), width),
        ("attn_output".to_owned(), width),
        ("attn_q".to_owned(), width),
        ("attn_v".to_owned(), width),
        (format!("ffn_down{suffix}"), wide),
        (format!("ffn_gate{suffix}"), width),
        (format!("ffn_up{suffix}"), width),
    ];
    let mut all = Vec::new();
    for (role, columns) in roles.drain(..) {
        let layers = (0..fixture.layers).map(|layer| (role.clone(), Some(layer), columns));
        all.extend(layers);
    }
    if !fixture.tied {
        all.push(("output".to_owned(), None, width));
    }
    all.push(("token_embd".to_owned(), None, width));
    all
}

fn name(role: &str, layer: Option<usize>) -> String {
    match layer {
        Some(layer) => format!("blk.{layer}.{role}.weight"),
        None => format!("{role}.weight"),
    }
}

/// One line as the file has it.
fn line(model: &str, fixture: &Fixture, experts: u32, mix: Mix) -> String {
    let mut metadata = fixture.metadata();
    metadata.insert("llama.expert_count".to_owned(), Value::U32(experts));
    let keys = quantise::Pruned {
        path: Path::new("model.gguf"),
        metadata: &metadata,
    };
    let matrices = matrices(fixture, experts);
    let names: Vec<String> = (matrices.iter())
        .map(|(role, layer, _)| name(role, *layer))
        .collect();
    let traits = mixes::Traits::read(&keys, names.iter().map(String::as_str))
        .expect("keys")
        .expect("a llama");
    // Types of a role with the number of layers in a row that have them.
    let mut roles: Vec<(&str, Vec<(&str, u32)>)> = Vec::new();
    for ((role, _, columns), name) in matrices.iter().zip(&names) {
        let ideal = mixes::wanted(mix, name, *columns, &traits);
        let label = type_label(mixes::fallback(ideal, *columns));
        if roles.last().is_none_or(|(last, _)| last != role) {
            roles.push((role, Vec::new()));
        }
        let (_, runs) = roles.last_mut().expect("just pushed");
        match runs.last_mut() {
            Some((last, count)) if *last == label => *count += 1,
            _ => runs.push((label, 1)),
        }
    }
    let words = roles.into_iter().map(|(role, runs)| {
        let mut words = role.to_owned();
        for (label, count) in runs {
            let times = if count > 1 {
                format!("*{count}")
            } else {
                String::new()
            };
            write!(words, " {label}{times}").expect("a String takes any text");
        }
        words
    });
    let words: Vec<String> = words.collect();
    format!("{model} {}: {}", Quantisation::Mix(mix), words.join(", "))
}

fn mixes_made() -> impl Iterator<Item = Mix> {
    Quantisation::ALL
        .into_iter()
        .filter_map(|quant| match quant {
            Quantisation::Mix(mix) => Some(mix),
            _ => None,
        })
}

#[test]
fn every_matrix_has_the_type_that_llama_cpp_gives_it() {
    let theirs: Vec<&str> = include_str!("llama_cpp_types.txt").lines().collect();
    let mut ours = Vec::new();
    for (model, fixture, experts) in models() {
        ours.extend(mixes_made().map(|mix| line(model, &fixture, experts, mix)));
    }
    assert_eq!(ours, theirs);
}

#[test]
fn a_made_mix_holds_its_types_and_runs() {
    let workshop = Workshop::of(&Fixture {
        layers: 3,
        ..Fixture::reference()
    });
    let path = workshop
        .make(Quantisation::Mix(Mix::Q4KM), PruneRecipe::None)
        .expect("made");
    let gguf = Gguf::open(&path).expect("opens");
    let of = |name: &str| gguf.tensor(name).map(|info| info.ggml_dtype);
    assert_eq!(of("token_embd.weight"), Some(GgmlDType::Q6K));
    assert_eq!(of("blk.0.attn_v.weight"), Some(GgmlDType::Q4K));
    assert_eq!(of("blk.2.attn_v.weight"), Some(GgmlDType::Q6K));
    assert_eq!(of("blk.2.ffn_down.weight"), Some(GgmlDType::Q6K));
    assert_eq!(of("blk.2.attn_norm.weight"), Some(GgmlDType::F32));
    let number = |key: &str| gguf.number(key).expect("a number");
    assert_eq!(number("general.file_type"), Some(15));
    assert_eq!(number("joulemark.quantisation.fallbacks"), Some(0));
    assert_eq!(
        gguf.text("joulemark.quantisation").expect("a text"),
        Some("Q4_K_M")
    );
    assert!(logits(&path).iter().all(|logit| logit.is_finite()));
}

#[test]
fn a_mix_is_that_of_the_layers_that_are_left() {
    let workshop = Workshop::of(&Fixture {
        layers: 4,
        ..Fixture::reference()
    });
    let path = workshop
        .make(Quantisation::Mix(Mix::Q4KM), PruneRecipe::Layers(1))
        .expect("made");
    let gguf = Gguf::open(&path).expect("opens");
    let wide = |layer: u32| {
        let info = gguf.tensor(&format!("blk.{layer}.ffn_down.weight"));
        info.is_some_and(|info| info.ggml_dtype == GgmlDType::Q6K)
    };
    // Of three layers the last alone has more bits, of four the last two.
    assert_eq!([0, 1, 2].map(wide), [false, false, true]);
}

#[test]
fn architectures_with_rules_of_their_own_are_refused() {
    let workshop = Workshop::of(&Fixture::tiny());
    let mut metadata = Fixture::tiny().metadata();
    metadata.insert(
        "general.architecture".to_owned(),
        Value::String("falcon".to_owned()),
    );
    metadata.insert("falcon.block_count".to_owned(), Value::U32(1));
    fixture::write(&workshop.source, &metadata, &Fixture::tiny().tensors());
    let made = workshop.make(Quantisation::Mix(Mix::Q3KM), PruneRecipe::None);
    let error = made.expect_err("refused").to_string();
    assert!(
        error.contains("falcon") && error.contains("Q3_K_M"),
        "{error}"
    );
    assert!(workshop.make(Quantisation::Q8_0, PruneRecipe::None).is_ok());
}
