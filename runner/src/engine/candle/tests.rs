//! The forward pass against plain loops, against itself, and against damaged files.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use domain::byte_tokenizer::{BOS, EOS, VOCABULARY_SIZE};
use domain::record::{Finish, Outcome};
use proptest::prelude::*;
use tempfile::TempDir;

use super::model::Rows;
use super::*;
use crate::engine::Sampling;
use crate::gguf::GgufError;
use crate::gguf::fixture::{self, Fixture};

const PROMPT: [u32; 6] = [BOS, 72, 101, 108, 108, 111];

/// A fixture's file, loaded. The folder lives as long as the file is needed.
fn loaded(fixture: &Fixture) -> (CandleEngine, TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    fixture.write(&path);
    let mut engine = CandleEngine::new().expect("a CPU");
    engine.load(&path, NEEDS).expect("a whole file");
    (engine, folder, path)
}

const NEEDS: Needs = Needs {
    context_tokens: 1_024,
    streams: 1,
};

fn request(prompt: &[u32], max_output_tokens: u32, ban_eos: bool) -> GenerateRequest {
    GenerateRequest {
        prompt: Prompt::Exact {
            tokens: prompt.to_vec(),
            text: String::new(),
            length: prompt.len() as u32,
        },
        max_output_tokens,
        ban_eos,
        deadline: None,
        sampling: Sampling::Greedy,
        reuse_cache: false,
    }
}

fn assert_close(left: &[Vec<f32>], right: &[Vec<f32>], tolerance: f32) {
    assert_eq!(left.len(), right.len());
    for (position, (left, right)) in left.iter().zip(right).enumerate() {
        let worst = left
            .iter()
            .zip(right)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst <= tolerance, "position {position} differs by {worst}");
    }
}

/// What the engine should compute, in plain loops: one token after another, one head after another.
fn by_hand(fixture: &Fixture, tokens: &[u32]) -> Vec<Vec<f32>> {
    let weights: BTreeMap<String, Vec<f32>> = fixture
        .tensors()
        .into_iter()
        .map(|(name, tensor)| {
            let flat = tensor
                .dequantize(&Device::Cpu)
                .and_then(|tensor| tensor.flatten_all());
            (
                name,
                flat.and_then(|tensor| tensor.to_vec1()).expect("values"),
            )
        })
        .collect();
    let weight = |layer: usize, part: &str| &weights[&format!("blk.{layer}.{part}.weight")];
    let product = |matrix: &[f32], input: &[f32]| -> Vec<f32> {
        matrix
            .chunks(input.len())
            .map(|row| row.iter().zip(input).map(|(a, b)| a * b).sum())
            .collect()
    };
    let normed = |input: &[f32], weight: &[f32]| -> Vec<f32> {
        let square = input.iter().map(|x| x * x).sum::<f32>() / input.len() as f32;
        input
            .iter()
            .zip(weight)
            .map(|(x, w)| x / (square + 1e-5).sqrt() * w)
            .collect()
    };
    let turned = |vector: &[f32], position: usize| -> Vec<f32> {
        let head_dim = fixture.head_dim();
        vector
            .chunks(2)
            .enumerate()
            .flat_map(|(pair, xy)| {
                let exponent = -2.0 * (pair % (head_dim / 2)) as f32 / head_dim as f32;
                let (sin, cos) = (position as f32 * 10_000_f32.powf(exponent)).sin_cos();
                [xy[0] * cos - xy[1] * sin, xy[0] * sin + xy[1] * cos]
            })
            .collect()
    };

    let (head_dim, group) = (fixture.head_dim(), fixture.heads / fixture.kv_heads);
    let mut keys = vec![Vec::new(); fixture.layers];
    let mut values = vec![Vec::new(); fixture.layers];
    let mut logits = Vec::new();
    for (position, &token) in tokens.iter().enumerate() {
        let row = token as usize * fixture.width;
        let mut hidden = weights["token_embd.weight"][row..row + fixture.width].to_vec();
        for layer in 0..fixture.layers {
            let input = normed(&hidden, weight(layer, "attn_norm"));
            let queries = turned(&product(weight(layer, "attn_q"), &input), position);
            keys[layer].push(turned(&product(weight(layer, "attn_k"), &input), position));
            values[layer].push(product(weight(layer, "attn_v"), &input));
            let mut mixed = Vec::new();
            for (head, query) in queries.chunks(head_dim).enumerate() {
                let place = head / group * head_dim..(head / group + 1) * head_dim;
                let scores: Vec<f32> = keys[layer]
                    .iter()
                    .map(|key| {
                        query
                            .iter()
                            .zip(&key[place.clone()])
                            .map(|(q, k)| q * k)
                            .sum::<f32>()
                    })
                    .map(|score| (score / (head_dim as f32).sqrt()).exp())
                    .collect();
                let total: f32 = scores.iter().sum();
                mixed.extend(place.map(|column| {
                    scores
                        .iter()
                        .zip(&values[layer])
                        .map(|(score, value)| score / total * value[column])
                        .sum::<f32>()
                }));
            }
            let output = product(weight(layer, "attn_output"), &mixed);
            hidden.iter_mut().zip(output).for_each(|(x, y)| *x += y);
            let input = normed(&hidden, weight(layer, "ffn_norm"));
            let gate = product(weight(layer, "ffn_gate"), &input);
            let up = product(weight(layer, "ffn_up"), &input);
            let gated: Vec<f32> = gate
                .iter()
                .zip(up)
                .map(|(g, u)| g / (1.0 + (-g).exp()) * u)
                .collect();
            let output = product(weight(layer, "ffn_down"), &gated);
            hidden.iter_mut().zip(output).for_each(|(x, y)| *x += y);
        }
        let head = weights
            .get("output.weight")
            .unwrap_or(&weights["token_embd.weight"]);
        logits.push(product(
            head,
            &normed(&hidden, &weights["output_norm.weight"]),
        ));
    }
    logits
}

#[test]
fn the_forward_pass_agrees_with_plain_loops() {
    let base = Fixture {
        layers: 2,
        ..Fixture::tiny()
    };
    for fixture in [
        base,
        Fixture {
            dtype: GgmlDType::F32,
            ..base
        },
        Fixture {
            dtype: GgmlDType::BF16,
            ..base
        },
        Fixture {
            kv_heads: 4,
            ..base
        },
        Fixture {
            kv_heads: 1,
            ..base
        },
        Fixture {
            tied: false,
            ..base
        },
    ] {
        let (mut engine, ..) = loaded(&fixture);
        assert_close(
            &engine.logits(&PROMPT).expect("logits"),
            &by_hand(&fixture, &PROMPT),
            2e-4,
        );
    }
}

#[test]
fn every_quantisation_runs_and_the_finer_ones_stay_close() {
    let base = Fixture {
        layers: 1,
        dtype: GgmlDType::F32,
        ..Fixture::reference()
    };
    let (mut engine, ..) = loaded(&base);
    let exact = engine.logits(&PROMPT).expect("logits");
    let spread = exact.concat().iter().map(|x| x.abs()).fold(0.0, f32::max);
    for (dtype, share) in [
        (GgmlDType::F16, 0.001),
        (GgmlDType::BF16, 0.02),
        (GgmlDType::Q8_0, 0.05),
        (GgmlDType::Q6K, 0.1),
        (GgmlDType::Q5K, 0.2),
        (GgmlDType::Q5_0, 0.2),
        (GgmlDType::Q5_1, 0.2),
        (GgmlDType::Q4K, 0.4),
        (GgmlDType::Q4_0, 0.4),
        (GgmlDType::Q4_1, 0.4),
        (GgmlDType::Q3K, 0.8),
        (GgmlDType::Q2K, 1.5),
    ] {
        let (mut engine, ..) = loaded(&Fixture { dtype, ..base });
        assert_close(
            &engine.logits(&PROMPT).expect("logits"),
            &exact,
            share * spread,
        );
    }
}

#[test]
fn a_prompt_in_one_pass_equals_token_by_token() {
    // Quantised products round their input as well, so a last digit that differs can move a value by one step.
    for (dtype, tolerance) in [
        (GgmlDType::F16, 1e-4),
        (GgmlDType::Q8_0, 0.05),
        (GgmlDType::Q4K, 0.2),
    ] {
        let (mut engine, ..) = loaded(&Fixture {
            dtype,
            kv_heads: 2,
            ..Fixture::reference()
        });
        let tokens: Vec<u32> = (0..40).map(|place| place * 37 % 256).collect();
        let at_once = engine.logits(&tokens).expect("logits");
        let loaded = engine.loaded.as_mut().expect("loaded");
        loaded.cache.clear(tokens.len()).expect("room");
        let one_by_one: Vec<Vec<f32>> = tokens
            .iter()
            .map(|&token| {
                let logits = loaded.pass(&[token], Rows::Last).expect("a pass");
                logits
                    .squeeze(0)
                    .and_then(|row| row.to_vec1())
                    .expect("one row")
            })
            .collect();
        assert_close(&at_once, &one_by_one, tolerance);
    }
}

#[test]
fn a_prompt_longer_than_one_piece_equals_plain_loops() {
    let fixture = Fixture::tiny();
    let (mut engine, ..) = loaded(&fixture);
    let tokens: Vec<u32> = (0..1_100).map(|place| place * 31 % 256).collect();
    let rows = engine.logits(&tokens).expect("logits");
    assert_close(&rows[1_090..], &by_hand(&fixture, &tokens)[1_090..], 1e-3);
}

#[test]
fn the_last_row_of_all_logits_is_the_row_for_the_last_position() {
    let (mut engine, ..) = loaded(&Fixture::tiny());
    let all = engine.logits(&PROMPT).expect("logits");
    let loaded = engine.loaded.as_mut().expect("loaded");
    loaded.cache.clear(PROMPT.len()).expect("room");
    let last = loaded
        .pass(&PROMPT, Rows::Last)
        .and_then(|row| row.to_vec2().map_err(computing("read")))
        .expect("a row");
    assert_eq!(all.len(), PROMPT.len());
    assert_close(&all[PROMPT.len() - 1..], &last, 1e-5);
}

#[test]
fn grouped_queries_equal_repeated_keys_and_values() {
    let grouped = Fixture {
        layers: 2,
        heads: 4,
        kv_heads: 2,
        dtype: GgmlDType::F32,
        ..Fixture::tiny()
    };
    let repeated = Fixture {
        kv_heads: 4,
        ..grouped
    };
    let mut tensors = grouped.tensors();
    for (name, tensor) in &mut tensors {
        if name.contains("attn_k.") || name.contains("attn_v.") {
            let rows = tensor.dequantize(&Device::Cpu).expect("values");
            let heads = rows
                .reshape((2, 1, grouped.head_dim(), grouped.width))
                .expect("two heads");
            let twice = heads
                .repeat((1, 2, 1, 1))
                .and_then(|heads| heads.reshape((grouped.width, grouped.width)));
            *tensor =
                QTensor::quantize(&twice.expect("four heads"), GgmlDType::F32).expect("stored");
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("repeated.gguf");
    fixture::write(&path, &repeated.metadata(), &tensors);
    let mut expanded = CandleEngine::new().expect("a CPU");
    expanded.load(&path, NEEDS).expect("a whole file");
    let (mut engine, ..) = loaded(&grouped);
    assert_close(
        &engine.logits(&PROMPT).expect("logits"),
        &expanded.logits(&PROMPT).expect("logits"),
        1e-5,
    );
}

#[test]
fn matrices_of_mixed_types_run_side_by_side() {
    let base = Fixture {
        layers: 1,
        ..Fixture::reference()
    };
    let mut tensors = base.tensors();
    let value = Fixture {
        dtype: GgmlDType::Q8_0,
        ..base
    }
    .tensors()
    .remove("blk.0.attn_v.weight")
    .expect("a matrix");
    tensors.insert("blk.0.attn_v.weight".to_owned(), value);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("mixed.gguf");
    fixture::write(&path, &base.metadata(), &tensors);
    let mut mixed = CandleEngine::new().expect("a CPU");
    mixed.load(&path, NEEDS).expect("a whole file");
    let (mut engine, ..) = loaded(&base);
    assert_close(
        &mixed.logits(&PROMPT).expect("logits"),
        &engine.logits(&PROMPT).expect("logits"),
        0.2,
    );
}

#[test]
fn a_request_reports_every_token_once_and_repeats_exactly() {
    let (mut engine, ..) = loaded(&Fixture::reference());
    let mut seen = 0;
    let first = engine
        .generate(&request(&PROMPT, 12, true), &mut |_| seen += 1)
        .expect("an answer");
    assert_eq!(seen, first.output.len());
    assert_eq!(
        (first.output.len(), first.finish, first.prompt_tokens),
        (12, Finish::Length, 6)
    );
    assert!(!first.output.contains(&EOS));
    assert!(first.engine_prefill_ns.is_some() && first.engine_decode_ns.is_some());
    // The cache is cleared, also after a longer request in between.
    engine
        .generate(&request(&[1; 300], 2, true), &mut |_| ())
        .expect("an answer");
    let again = engine
        .generate(&request(&PROMPT, 12, true), &mut |_| ())
        .expect("an answer");
    assert_eq!(again.output, first.output);
}

#[test]
fn text_prompts_begin_with_bos_as_the_file_says() {
    let (mut engine, folder, _) = loaded(&Fixture::tiny());
    let text = GenerateRequest {
        prompt: Prompt::Text("Hello".to_owned()),
        ..request(&[], 4, true)
    };
    let from_text = engine.generate(&text, &mut |_| ()).expect("an answer");
    let from_tokens = engine
        .generate(&request(&PROMPT, 4, true), &mut |_| ())
        .expect("an answer");
    assert_eq!(
        (from_text.prompt_tokens, &from_text.output),
        (6, &from_tokens.output)
    );

    let plain = folder.path().join("plain.gguf");
    let mut metadata = Fixture::tiny().metadata();
    metadata.remove("tokenizer.ggml.add_bos_token");
    fixture::write(&plain, &metadata, &Fixture::tiny().tensors());
    engine.load(&plain, NEEDS).expect("a whole file");
    assert_eq!(
        engine
            .generate(&text, &mut |_| ())
            .expect("an answer")
            .prompt_tokens,
        5
    );
}

/// A model that answers `token` whatever the prompt: without layers to speak of, and a head that sees only a bias-like
/// constant direction of the embedding.
fn always(token: usize) -> BTreeMap<String, QTensor> {
    let fixture = Fixture {
        tied: false,
        ..Fixture::tiny()
    };
    let mut tensors = fixture.tensors();
    let store = |values: Vec<f32>, rows: usize| {
        let tensor =
            Tensor::from_vec(values, (rows, fixture.width), &Device::Cpu).expect("a matrix");
        QTensor::quantize(&tensor, GgmlDType::F32).expect("stored")
    };
    let zeros = |rows: usize| vec![0.0; rows * fixture.width];
    tensors.insert(
        "token_embd.weight".to_owned(),
        store(vec![1.0; VOCABULARY_SIZE * fixture.width], VOCABULARY_SIZE),
    );
    tensors.insert(
        "blk.0.attn_output.weight".to_owned(),
        store(zeros(fixture.width), fixture.width),
    );
    let mut head = zeros(VOCABULARY_SIZE);
    head[token * fixture.width..(token + 1) * fixture.width].fill(1.0);
    let runner_up = 65 * fixture.width;
    head[runner_up..runner_up + fixture.width]
        .iter_mut()
        .for_each(|weight| *weight += 0.5);
    tensors.insert("output.weight".to_owned(), store(head, VOCABULARY_SIZE));
    tensors
}

#[test]
fn eos_ends_an_answer_unless_it_is_banned() {
    let fixture = Fixture {
        tied: false,
        ..Fixture::tiny()
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("silent.gguf");
    let mut tensors = always(EOS as usize);
    // The feed-forward part must not disturb the constant direction either.
    let silent = QTensor::quantize(
        &Tensor::zeros(
            (fixture.width, fixture.feed_forward),
            candle_core::DType::F32,
            &Device::Cpu,
        )
        .expect("zeros"),
        GgmlDType::F32,
    );
    tensors.insert("blk.0.ffn_down.weight".to_owned(), silent.expect("stored"));
    fixture::write(&path, &fixture.metadata(), &tensors);
    let mut engine = CandleEngine::new().expect("a CPU");
    engine.load(&path, NEEDS).expect("a whole file");

    let free = engine
        .generate(&request(&PROMPT, 4, false), &mut |_| panic!("no token"))
        .expect("an answer");
    assert_eq!(
        (free.finish, free.output.len(), free.engine_decode_ns),
        (Finish::Stop, 0, None)
    );
    let forced = engine
        .generate(&request(&PROMPT, 4, true), &mut |_| ())
        .expect("an answer");
    assert_eq!(
        (forced.finish, forced.text.as_str()),
        (Finish::Length, "AAAA")
    );
    let nothing = engine
        .generate(&request(&PROMPT, 0, true), &mut |_| panic!("no token"))
        .expect("prefill only");
    assert!(nothing.finish == Finish::Length && nothing.engine_prefill_ns.is_some());
}

#[test]
fn requests_that_cannot_be_answered_say_why() {
    let (mut engine, _folder, path) = loaded(&Fixture::tiny());
    let mut failure =
        |asked: GenerateRequest| engine.generate(&asked, &mut |_| ()).expect_err("refused");
    assert!(matches!(
        failure(request(&[], 1, true)),
        EngineError::EmptyPrompt
    ));
    assert!(matches!(
        failure(request(&[288], 1, true)),
        EngineError::TokenOutside {
            token: 288,
            vocabulary: 288
        }
    ));
    let long = failure(request(&vec![1; 8_000], 193, true));
    assert!(
        matches!(
            long,
            EngineError::PromptTooLong {
                prompt: 8_000,
                output: 193,
                context: 8_192
            }
        ),
        "{long}"
    );
    assert_eq!(
        failure(request(&[1], u32::MAX, true)).outcome(),
        Outcome::Unsupported
    );

    let late = GenerateRequest {
        deadline: Some(Instant::now()),
        ..request(&PROMPT, 4, true)
    };
    let stopped = engine.generate(&late, &mut |_| ()).expect("an early end");
    assert_eq!((stopped.finish, stopped.output.len()), (Finish::Timeout, 0));
    let later = GenerateRequest {
        deadline: Some(Instant::now() + Duration::from_mins(10)),
        ..late
    };
    assert_eq!(
        engine
            .generate(&later, &mut |_| ())
            .expect("an answer")
            .finish,
        Finish::Length
    );

    engine.unload();
    assert!(matches!(
        engine.generate(&later, &mut |_| ()),
        Err(EngineError::NotLoaded)
    ));
    engine.load(&path, NEEDS).expect("again");
    assert!(
        engine
            .load(&path.with_file_name("absent.gguf"), NEEDS)
            .is_err()
    );
    assert!(
        matches!(engine.logits(&PROMPT), Err(EngineError::NotLoaded)),
        "a failed load leaves nothing loaded"
    );
}

/// The error of loading a tiny file after a change to its metadata.
fn error_after(change: impl FnOnce(&mut BTreeMap<String, Value>)) -> EngineError {
    let fixture = Fixture::tiny();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    let mut metadata = fixture.metadata();
    change(&mut metadata);
    fixture::write(&path, &metadata, &fixture.tensors());
    CandleEngine::new()
        .expect("a CPU")
        .load(&path, NEEDS)
        .expect_err("a damaged file")
}

#[test]
fn every_needed_key_is_named_when_it_is_missing() {
    for key in [
        "general.architecture",
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon",
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.eos_token_id",
    ] {
        let error = error_after(|metadata| assert!(metadata.remove(key).is_some()));
        assert!(
            matches!(&error, EngineError::File(GgufError::MissingKey { .. })),
            "{error}"
        );
        assert!(
            error.to_string().contains(key) && error.to_string().contains("model.gguf"),
            "{error}"
        );
    }
}

#[test]
fn impossible_metadata_is_refused_by_key() {
    for (key, value) in [
        ("llama.attention.head_count", Value::U32(0)),
        ("llama.attention.head_count", Value::U32(7)),
        ("llama.attention.head_count_kv", Value::U32(3)),
        ("llama.feed_forward_length", Value::U32(u32::MAX)),
        ("llama.context_length", Value::String("long".to_owned())),
        (
            "llama.attention.layer_norm_rms_epsilon",
            Value::F32(f32::NAN),
        ),
        ("llama.rope.freq_base", Value::F32(-1.0)),
        (
            "tokenizer.ggml.tokens",
            Value::Array(vec![Value::String("a".to_owned())]),
        ),
    ] {
        let error = error_after(|metadata| {
            metadata.insert(key.to_owned(), value);
        });
        assert!(
            matches!(&error, EngineError::File(GgufError::BadKey { .. })),
            "{error}"
        );
        assert!(error.to_string().contains(key), "{error}");
    }
}

#[test]
fn what_would_be_computed_wrongly_is_unsupported() {
    for (key, value) in [
        ("general.architecture", Value::String("qwen3moe".to_owned())),
        ("llama.rope.scaling.type", Value::String("yarn".to_owned())),
        ("llama.rope.dimension_count", Value::U32(4)),
        ("llama.expert_count", Value::U32(8)),
        ("tokenizer.ggml.model", Value::String("llama".to_owned())),
    ] {
        let error = error_after(|metadata| {
            metadata.insert(key.to_owned(), value);
        });
        assert!(matches!(&error, EngineError::Unsupported { .. }), "{error}");
        assert_eq!(error.outcome(), Outcome::Unsupported);
    }
}

#[test]
fn tensors_missing_misshapen_or_left_over_are_named() {
    let fixture = Fixture::tiny();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    let norm = |values: Vec<f32>| {
        let length = values.len();
        let tensor = Tensor::from_vec(values, length, &Device::Cpu).expect("a vector");
        QTensor::quantize(&tensor, GgmlDType::F32).expect("stored")
    };
    let error = |change: &dyn Fn(&mut BTreeMap<String, QTensor>)| {
        let mut tensors = fixture.tensors();
        change(&mut tensors);
        fixture::write(&path, &fixture.metadata(), &tensors);
        CandleEngine::new()
            .expect("a CPU")
            .load(&path, NEEDS)
            .expect_err("a damaged file")
            .to_string()
    };
    let missing = error(&|tensors| assert!(tensors.remove("blk.0.ffn_up.weight").is_some()));
    assert!(
        missing.contains("blk.0.ffn_up.weight is missing"),
        "{missing}"
    );
    let misshapen = error(&|tensors| {
        assert!(
            tensors
                .insert("output_norm.weight".to_owned(), norm(vec![1.0; 31]))
                .is_some()
        );
    });
    assert!(
        misshapen.contains("output_norm.weight is [31]"),
        "{misshapen}"
    );
    let endless = error(&|tensors| {
        assert!(
            tensors
                .insert("output_norm.weight".to_owned(), norm(vec![f32::NAN; 32]))
                .is_some()
        );
    });
    assert!(
        endless.contains("output_norm.weight holds a value that is not finite"),
        "{endless}"
    );
    let left_over = error(&|tensors| {
        assert!(
            tensors
                .insert("rope_freqs.weight".to_owned(), norm(vec![1.0; 4]))
                .is_none()
        );
    });
    assert!(left_over.contains("rope_freqs.weight"), "{left_over}");
}

#[test]
fn a_nan_in_the_weights_ends_in_an_error_that_names_the_file() {
    let fixture = Fixture::tiny();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    let mut tensors = fixture.tensors();
    let poison =
        Tensor::full(f32::NAN, (fixture.width, fixture.width), &Device::Cpu).expect("a matrix");
    tensors.insert(
        "blk.0.attn_q.weight".to_owned(),
        QTensor::quantize(&poison, GgmlDType::F16).expect("stored"),
    );
    fixture::write(&path, &fixture.metadata(), &tensors);
    let mut engine = CandleEngine::new().expect("a CPU");
    engine.load(&path, NEEDS).expect("whole, if poisoned");
    let error = engine
        .generate(&request(&PROMPT, 2, true), &mut |_| ())
        .expect_err("no number");
    assert!(
        matches!(&error, EngineError::NotFinite { .. }) && error.to_string().contains("model.gguf"),
        "{error}"
    );
}

#[test]
fn memory_that_no_machine_has_is_an_error() {
    assert!(
        matches!(reserve("it", Some(1 << 62)), Err(EngineError::OutOfMemory { bytes, .. }) if bytes == 1 << 62)
    );
    assert!(matches!(
        reserve("it", None),
        Err(EngineError::OutOfMemory { .. })
    ));
    assert!(reserve("it", Some(1 << 10)).is_ok());
}

#[test]
fn facts_and_settings_say_what_ran() {
    let (engine, ..) = loaded(&Fixture::tiny());
    let facts = engine.facts();
    assert_eq!(
        (facts.name.as_str(), facts.backend.as_str()),
        ("candle", "cpu")
    );
    assert!(
        facts.version.as_str().starts_with("0."),
        "{:?}",
        facts.version
    );
    assert!(
        facts
            .build_flags
            .iter()
            .any(|flag| flag.as_str().starts_with("profile="))
    );
    assert_eq!(
        engine.settings().kv_type_k.map(String::from).as_deref(),
        Some("f32")
    );
    // F16 is held as f32: tied head of 288 x 32, layer matrices, and three norms.
    let matrices = 288 * 32 + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32;
    assert_eq!(
        engine.weight_bytes_per_pass(),
        Some(4 * (matrices + 3 * 32))
    );
}

#[test]
fn a_pass_reads_each_type_as_wide_as_candle_holds_it() {
    // (type, bytes of so many weights): candle-core's blocks, and 16 x 256 weights of its x86 tile for Q4_K. The tiles
    // of Q8_0 are as large as its blocks, and those of Q6_K serve several tokens at once only.
    let q4k = if cfg!(target_arch = "x86_64") {
        (3_072, 4_096)
    } else {
        (144, 256)
    };
    for (dtype, (bytes, weights)) in [
        (GgmlDType::F32, (4, 1)),
        (GgmlDType::F16, (4, 1)),
        (GgmlDType::BF16, (4, 1)),
        (GgmlDType::Q8_0, (34, 32)),
        (GgmlDType::Q6K, (210, 256)),
        (GgmlDType::Q4K, q4k),
        (GgmlDType::Q4_0, (18, 32)),
        (GgmlDType::Q2K, (84, 256)),
    ] {
        let fixture = Fixture {
            layers: 1,
            dtype,
            ..Fixture::reference()
        };
        let (engine, ..) = loaded(&fixture);
        let matrices = 288 * 256 + 4 * 256 * 256 + 3 * 768 * 256;
        let norms = 3 * 256 * 4;
        assert_eq!(
            engine.settings().weight_bytes_per_pass,
            Some(matrices / weights * bytes + norms),
            "{dtype:?}"
        );
    }
}

#[test]
fn drawn_answers_come_back_with_their_seed_and_greedy_ones_without() {
    let (mut engine, ..) = loaded(&Fixture::tiny());
    let mut answer = |sampling| {
        let asked = GenerateRequest {
            sampling,
            ..request(&PROMPT, 32, true)
        };
        engine
            .generate(&asked, &mut |_| ())
            .expect("answers")
            .output
    };
    let drawn = |temperature_ppm, seed| Sampling::Drawn {
        temperature_ppm,
        seed,
    };
    let first = answer(drawn(1_000_000, 1));
    assert_eq!(first.len(), 32);
    assert!(!first.contains(&EOS));
    assert_eq!(answer(drawn(1_000_000, 1)), first);
    assert_ne!(answer(drawn(1_000_000, 2)), first);
    assert_eq!(answer(drawn(1, 1)), answer(Sampling::Greedy));
}

/// Loading and asking must end, well or in an error, whatever the bytes are.
fn survives(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).expect("written");
    let mut engine = CandleEngine::new().expect("a CPU");
    match engine.load(&path, NEEDS) {
        Ok(()) => drop(engine.generate(&request(&PROMPT, 2, true), &mut |_| ())),
        Err(error) => assert!(error.to_string().contains("model.gguf"), "{error}"),
    }
}

fn tiny_bytes() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.gguf");
    let mut metadata = Fixture::tiny().metadata();
    metadata.insert("general.alignment".to_owned(), Value::U32(32));
    fixture::write(&path, &metadata, &Fixture::tiny().tensors());
    fs::read(&path).expect("read")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn flipped_bytes_never_end_the_program(flips in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..6)) {
        let mut bytes = tiny_bytes();
        for (place, value) in flips {
            let place = (place * bytes.len() as f64) as usize;
            bytes[place] = value;
        }
        survives(&bytes);
    }

    #[test]
    fn flipped_header_bytes_never_end_the_program(place in 0..2_000_usize, value in any::<u8>()) {
        let mut bytes = tiny_bytes();
        bytes[place] = value;
        survives(&bytes);
    }

    #[test]
    fn cut_files_never_end_the_program(keep in 0.0..1.0_f64) {
        let bytes = tiny_bytes();
        survives(&bytes[..(keep * bytes.len() as f64) as usize]);
    }

    #[test]
    fn arbitrary_bytes_never_end_the_program(tail in prop::collection::vec(any::<u8>(), 0..400)) {
        survives(&[b"GGUF\x03\0\0\0".as_slice(), &tail].concat());
    }
}

#[test]
fn a_burden_changes_no_answer_and_repeats_the_passes_it_names() {
    use std::num::NonZeroU32;
    let prompts = [&PROMPT[..], &PROMPT[..3], &PROMPT[..5]];
    let answers = |engine: &mut CandleEngine| -> Vec<Vec<u32>> {
        prompts
            .iter()
            .map(|prompt| {
                let request = request(prompt, 21, true);
                let generated = engine.generate(&request, &mut |_| ());
                generated.expect("an answer").output
            })
            .collect()
    };
    let (mut plain, _folder, path) = loaded(&Fixture::tiny());
    let expected = answers(&mut plain);
    let exact = plain.logits(&PROMPT).expect("logits");
    for (passes, prompts, repeated) in [
        // 20 decode passes in each of three requests.
        (Some(1), None, 60),
        (Some(7), None, 60 / 7),
        (None, Some(2), 1),
        (Some(20), Some(1), 3 + 3),
    ] {
        let mut burdened = CandleEngine::new().expect("a CPU").burdened(Burden {
            repeat_pass_every: passes.and_then(NonZeroU32::new),
            repeat_prompt_every: prompts.and_then(NonZeroU32::new),
            read_bytes_per_token: 1 << 16,
        });
        burdened.load(&path, NEEDS).expect("a whole file");
        assert_eq!(answers(&mut burdened), expected);
        assert_eq!(burdened.burden.repeated, repeated);
        assert_eq!(burdened.logits(&PROMPT).expect("logits"), exact);
    }
}
