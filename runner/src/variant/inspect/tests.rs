//! Headers of the shapes of published models, without their weights.
//!
//! A shape is that of the model's `config.json` on huggingface.co (`FACTS` names the repositories), its tensors are
//! those of `load_arch_tensors` in <https://github.com/ggml-org/llama.cpp/tree/master/src/models>.

use std::fs;
use std::io::Cursor;

use domain::record::{KvKind, KvLayout};

use super::*;

const F32: u32 = 0;
const F16: u32 = 1;
const MXFP4: u32 = 39;
/// Fits no type of any version.
const UNKNOWN: u32 = 9_999;

/// A metadata value.
#[derive(Clone)]
enum Entry {
    Number(u32),
    Text(&'static str),
    Numbers(Vec<u32>),
    Truths(Vec<bool>),
}

/// A header to write: the format's bytes, put together without the library that reads them.
struct Shape {
    architecture: &'static str,
    entries: Vec<(String, Entry)>,
    /// Name, dimensions (the slowest first), type.
    tensors: Vec<(String, Vec<u64>, u32)>,
}

impl Shape {
    fn new(architecture: &'static str, layers: u64, width: u64) -> Self {
        let shape = Self {
            architecture,
            entries: vec![
                ("general.architecture".to_owned(), Entry::Text(architecture)),
                ("general.name".to_owned(), Entry::Text("a shape")),
            ],
            tensors: Vec::new(),
        };
        shape
            .number("block_count", layers)
            .number("embedding_length", width)
    }

    fn entry(mut self, name: &str, entry: Entry) -> Self {
        self.entries
            .push((format!("{}.{name}", self.architecture), entry));
        self
    }

    fn number(self, name: &str, number: u64) -> Self {
        let number = u32::try_from(number).expect("a small number");
        self.entry(name, Entry::Number(number))
    }

    /// Heads and their width, as most files say them.
    fn heads(self, heads: u64, kv_heads: u64, head_dim: u64) -> Self {
        self.number("attention.head_count", heads)
            .number("attention.head_count_kv", kv_heads)
            .number("attention.key_length", head_dim)
            .number("attention.value_length", head_dim)
    }

    fn experts(self, count: u64, used: u64) -> Self {
        self.number("expert_count", count)
            .number("expert_used_count", used)
    }

    fn tensor(&mut self, name: &str, shape: &[u64]) {
        let dtype = if shape.len() > 1 { F16 } else { F32 };
        self.typed(name, shape, dtype);
    }

    fn typed(&mut self, name: &str, shape: &[u64], dtype: u32) {
        self.tensors.push((name.to_owned(), shape.to_vec(), dtype));
    }

    fn ends(&mut self, vocabulary: u64, width: u64, tied: bool) {
        self.tensor("token_embd.weight", &[vocabulary, width]);
        self.tensor("output_norm.weight", &[width]);
        if !tied {
            self.tensor("output.weight", &[vocabulary, width]);
        }
    }

    /// Queries, keys, values and their output, with the widths of all heads together.
    fn attention(&mut self, layer: u64, width: u64, queries: u64, keys: u64) {
        for (part, shape) in [
            ("attn_q", [queries, width]),
            ("attn_k", [keys, width]),
            ("attn_v", [keys, width]),
            ("attn_output", [width, queries]),
        ] {
            self.tensor(&format!("blk.{layer}.{part}.weight"), &shape);
        }
        self.tensor(&format!("blk.{layer}.attn_norm.weight"), &[width]);
        self.tensor(&format!("blk.{layer}.ffn_norm.weight"), &[width]);
    }

    /// Gate, up and down; `suffix` as in `_shexp`.
    fn feed_forward(&mut self, layer: u64, width: u64, inner: u64, suffix: &str) {
        for (part, shape) in [
            ("gate", [inner, width]),
            ("up", [inner, width]),
            ("down", [width, inner]),
        ] {
            self.tensor(&format!("blk.{layer}.ffn_{part}{suffix}.weight"), &shape);
        }
    }

    /// The same for each of so many experts, and who chooses among them.
    fn routed(&mut self, layer: u64, width: u64, inner: u64, experts: u64, dtype: u32) {
        self.tensor(
            &format!("blk.{layer}.ffn_gate_inp.weight"),
            &[experts, width],
        );
        for (part, shape) in [
            ("gate", [experts, inner, width]),
            ("up", [experts, inner, width]),
            ("down", [experts, width, inner]),
        ] {
            self.typed(
                &format!("blk.{layer}.ffn_{part}_exps.weight"),
                &shape,
                dtype,
            );
        }
    }

    /// The header's bytes, and the length of the file that it begins.
    fn bytes(&self) -> (Vec<u8>, u64) {
        let mut bytes = b"GGUF".to_vec();
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend((text.len() as u64).to_le_bytes());
            bytes.extend(text.as_bytes());
        };
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        for (key, entry) in &self.entries {
            text(&mut bytes, key);
            match entry {
                Entry::Number(number) => {
                    bytes.extend(4_u32.to_le_bytes());
                    bytes.extend(number.to_le_bytes());
                }
                Entry::Text(content) => {
                    bytes.extend(8_u32.to_le_bytes());
                    text(&mut bytes, content);
                }
                Entry::Numbers(list) => {
                    bytes.extend(9_u32.to_le_bytes());
                    bytes.extend(4_u32.to_le_bytes());
                    bytes.extend((list.len() as u64).to_le_bytes());
                    bytes.extend(list.iter().flat_map(|number| number.to_le_bytes()));
                }
                Entry::Truths(list) => {
                    bytes.extend(9_u32.to_le_bytes());
                    bytes.extend(7_u32.to_le_bytes());
                    bytes.extend((list.len() as u64).to_le_bytes());
                    bytes.extend(list.iter().map(|&truth| u8::from(truth)));
                }
            }
        }
        let mut offset = 0_u64;
        for (name, shape, dtype) in &self.tensors {
            text(&mut bytes, name);
            bytes.extend((shape.len() as u32).to_le_bytes());
            bytes.extend(shape.iter().rev().flat_map(|dim| dim.to_le_bytes()));
            bytes.extend(dtype.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            let elements: u64 = shape.iter().product();
            let stored = match *dtype {
                F32 => 4 * elements,
                MXFP4 => elements / 32 * 17,
                _ => 2 * elements,
            };
            offset += stored.next_multiple_of(32);
        }
        let length = (bytes.len() as u64).next_multiple_of(32) + offset;
        (bytes, length)
    }

    fn header(&self) -> Result<Header, GgufError> {
        let (bytes, length) = self.bytes();
        Header::read(Path::new("shape.gguf"), Cursor::new(bytes), length)
    }

    fn facts(&self) -> VariantFacts {
        let header = self.header().expect("a header");
        let file = WeightFile {
            sha256: Sha256Digest([1; 32]),
            bytes: self.bytes().1,
        };
        facts(&header, vec![file]).expect("facts")
    }
}

/// Published figures of a model, in billions, with the share by which its file may differ from them and why.
struct Fact {
    name: &'static str,
    total: f64,
    active: f64,
    active_may_differ: f64,
}

/// From the repositories named `hf_repo`: their `config.json` and model cards.
const FACTS: [Fact; 10] = [
    // meta-llama/Llama-3.1-8B-Instruct
    fact("llama", 8.03, 8.03, 0.01),
    // Qwen/Qwen3-8B
    fact("qwen3", 8.191, 8.191, 0.01),
    // Qwen/Qwen3-30B-A3B-Instruct-2507: the maker rounds 3.35 to 3.3.
    fact("qwen3moe", 30.53, 3.3, 0.02),
    // openai/gpt-oss-20b: the maker leaves the embedding (0.58) out of the 3.6 active ones.
    fact("gpt-oss", 20.9, 3.6 + 0.579, 0.01),
    // google/gemma-3-27b-it: the text part of 27.43
    fact("gemma3", 27.01, 27.01, 0.01),
    // deepseek-ai/DeepSeek-V3: the maker's 37 leave the embedding (0.93) out and round.
    fact("deepseek2", 671.0, 37.0 + 0.927, 0.02),
    // zai-org/GLM-4.5-Air, with its prediction head: 106.9 without. The maker's 12 leave embedding and head (1.24) out.
    fact("glm4moe", 110.5, 12.0 + 1.24, 0.02),
    // Qwen/Qwen3-Next-80B-A3B-Instruct: the maker's 3 leave embedding and head (0.62) out and round.
    fact("qwen3next", 80.0, 3.0 + 0.622, 0.1),
    // LiquidAI/LFM2-8B-A1B: the maker rounds.
    fact("lfm2moe", 8.34, 1.5, 0.05),
    // ibm-granite/granite-4.0-h-micro
    fact("granitehybrid", 3.191, 3.191, 0.01),
];

const fn fact(name: &'static str, total: f64, active: f64, active_may_differ: f64) -> Fact {
    Fact {
        name,
        total,
        active,
        active_may_differ,
    }
}

fn llama_3_1_8b() -> Shape {
    let mut shape = Shape::new("llama", 32, 4_096).heads(32, 8, 128);
    shape.ends(128_256, 4_096, false);
    for layer in 0..32 {
        shape.attention(layer, 4_096, 4_096, 1_024);
        shape.feed_forward(layer, 4_096, 14_336, "");
    }
    shape
}

fn qwen3_8b() -> Shape {
    let mut shape = Shape::new("qwen3", 36, 4_096).heads(32, 8, 128);
    shape.ends(151_936, 4_096, false);
    for layer in 0..36 {
        shape.attention(layer, 4_096, 4_096, 1_024);
        shape.tensor(&format!("blk.{layer}.attn_q_norm.weight"), &[128]);
        shape.tensor(&format!("blk.{layer}.attn_k_norm.weight"), &[128]);
        shape.feed_forward(layer, 4_096, 12_288, "");
    }
    shape
}

fn qwen3_30b_a3b() -> Shape {
    let mut shape = Shape::new("qwen3moe", 48, 2_048)
        .heads(32, 4, 128)
        .experts(128, 8);
    shape.ends(151_936, 2_048, false);
    for layer in 0..48 {
        shape.attention(layer, 2_048, 4_096, 512);
        shape.routed(layer, 2_048, 768, 128, F16);
    }
    shape
}

fn gpt_oss_20b() -> Shape {
    let mut shape = Shape::new("gpt-oss", 24, 2_880)
        .heads(64, 8, 64)
        .experts(32, 4)
        .number("attention.sliding_window", 128);
    shape.ends(201_088, 2_880, false);
    for layer in 0..24 {
        shape.attention(layer, 2_880, 4_096, 512);
        shape.routed(layer, 2_880, 2_880, 32, MXFP4);
        for part in ["gate", "up", "down"] {
            let name = format!("blk.{layer}.ffn_{part}_exps.bias");
            shape.typed(&name, &[32, 2_880], F32);
        }
        shape.tensor(&format!("blk.{layer}.attn_sinks.weight"), &[64]);
    }
    shape
}

fn gemma_3_27b() -> Shape {
    let mut shape = Shape::new("gemma3", 62, 5_376)
        .heads(32, 16, 128)
        .number("attention.sliding_window", 1_024);
    shape.ends(262_144, 5_376, true);
    for layer in 0..62 {
        shape.attention(layer, 5_376, 4_096, 2_048);
        shape.feed_forward(layer, 5_376, 21_504, "");
    }
    shape
}

fn deepseek_v3() -> Shape {
    let mut shape = Shape::new("deepseek2", 61, 7_168)
        .number("attention.head_count", 128)
        .number("attention.head_count_kv", 1)
        .number("attention.key_length", 576)
        .number("attention.value_length", 512)
        .number("attention.key_length_mla", 192)
        .number("attention.value_length_mla", 128)
        .number("attention.kv_lora_rank", 512)
        .number("rope.dimension_count", 64)
        .experts(256, 8)
        .number("expert_shared_count", 1);
    shape.ends(129_280, 7_168, false);
    for layer in 0..61 {
        for (part, dims) in [
            ("attn_q_a", vec![1_536, 7_168]),
            ("attn_q_b", vec![128 * 192, 1_536]),
            ("attn_kv_a_mqa", vec![576, 7_168]),
            ("attn_k_b", vec![128, 512, 128]),
            ("attn_v_b", vec![128, 128, 512]),
            ("attn_output", vec![7_168, 128 * 128]),
        ] {
            shape.tensor(&format!("blk.{layer}.{part}.weight"), &dims);
        }
        if layer < 3 {
            shape.feed_forward(layer, 7_168, 18_432, "");
        } else {
            shape.routed(layer, 7_168, 2_048, 256, F16);
            shape.feed_forward(layer, 7_168, 2_048, "_shexp");
        }
    }
    shape
}

fn glm_4_5_air() -> Shape {
    let mut shape = Shape::new("glm4moe", 47, 4_096)
        .heads(96, 8, 128)
        .experts(128, 8)
        .number("nextn_predict_layers", 1);
    shape.ends(151_552, 4_096, false);
    for layer in 0..47 {
        shape.attention(layer, 4_096, 12_288, 1_024);
        if layer == 0 {
            shape.feed_forward(layer, 4_096, 10_944, "");
        } else {
            shape.routed(layer, 4_096, 1_408, 128, F16);
            shape.feed_forward(layer, 4_096, 1_408, "_shexp");
        }
    }
    for part in ["embed_tokens", "shared_head_head"] {
        let name = format!("blk.46.nextn.{part}.weight");
        shape.tensor(&name, &[151_552, 4_096]);
    }
    shape.tensor("blk.46.nextn.eh_proj.weight", &[4_096, 8_192]);
    shape
}

fn qwen3_next_80b_a3b() -> Shape {
    let mut shape = Shape::new("qwen3next", 48, 2_048)
        .heads(16, 2, 256)
        .experts(512, 10)
        .number("ssm.conv_kernel", 4)
        .number("ssm.inner_size", 4_096)
        .number("ssm.state_size", 128)
        .number("ssm.time_step_rank", 32)
        .number("ssm.group_count", 16)
        .number("full_attention_interval", 4);
    shape.ends(151_936, 2_048, false);
    for layer in 0..48 {
        if layer % 4 == 3 {
            // Queries carry a gate as wide as themselves.
            shape.attention(layer, 2_048, 4_096, 512);
            shape.tensor(&format!("blk.{layer}.attn_gate.weight"), &[4_096, 2_048]);
        } else {
            for (part, dims) in [
                ("attn_qkv", [8_192, 2_048]),
                ("attn_gate", [4_096, 2_048]),
                ("ssm_conv1d", [8_192, 4]),
                ("ssm_ba", [64, 2_048]),
                ("ssm_out", [2_048, 4_096]),
            ] {
                shape.tensor(&format!("blk.{layer}.{part}.weight"), &dims);
            }
        }
        shape.routed(layer, 2_048, 512, 512, F16);
        shape.feed_forward(layer, 2_048, 512, "_shexp");
    }
    shape
}

fn lfm2_8b_a1b() -> Shape {
    let attends = [2, 6, 10, 14, 18, 21];
    let kv_heads = (0..24).map(|layer| if attends.contains(&layer) { 8 } else { 0 });
    let mut shape = Shape::new("lfm2moe", 24, 2_048)
        .number("attention.head_count", 32)
        .entry(
            "attention.head_count_kv",
            Entry::Numbers(kv_heads.collect()),
        )
        .number("shortconv.l_cache", 3)
        .experts(32, 4);
    shape.ends(65_536, 2_048, true);
    for layer in 0..24 {
        if attends.contains(&(layer as u32)) {
            shape.attention(layer, 2_048, 2_048, 512);
        } else {
            shape.tensor(
                &format!("blk.{layer}.shortconv.in_proj.weight"),
                &[6_144, 2_048],
            );
            shape.tensor(
                &format!("blk.{layer}.shortconv.out_proj.weight"),
                &[2_048, 2_048],
            );
            shape.tensor(&format!("blk.{layer}.shortconv.conv.weight"), &[2_048, 3]);
        }
        if layer < 2 {
            shape.feed_forward(layer, 2_048, 7_168, "");
        } else {
            shape.routed(layer, 2_048, 1_792, 32, F16);
        }
    }
    shape
}

fn granite_4_0_h_micro() -> Shape {
    let kv_heads = (0..40).map(|layer| if layer % 10 == 5 { 8 } else { 0 });
    let mut shape = Shape::new("granitehybrid", 40, 2_048)
        .number("attention.head_count", 32)
        .entry(
            "attention.head_count_kv",
            Entry::Numbers(kv_heads.collect()),
        )
        .number("ssm.conv_kernel", 4)
        .number("ssm.inner_size", 4_096)
        .number("ssm.state_size", 128)
        .number("ssm.time_step_rank", 64)
        .number("ssm.group_count", 1);
    shape.ends(100_352, 2_048, true);
    for layer in 0..40 {
        if layer % 10 == 5 {
            shape.attention(layer, 2_048, 2_048, 512);
        } else {
            shape.tensor(&format!("blk.{layer}.ssm_in.weight"), &[8_512, 2_048]);
            shape.tensor(&format!("blk.{layer}.ssm_conv1d.weight"), &[4_352, 4]);
            shape.tensor(&format!("blk.{layer}.ssm_out.weight"), &[2_048, 4_096]);
        }
        shape.feed_forward(layer, 2_048, 8_192, "");
    }
    shape
}

#[test]
fn parameters_of_published_models_are_those_that_their_makers_state() {
    let shapes = [
        llama_3_1_8b(),
        qwen3_8b(),
        qwen3_30b_a3b(),
        gpt_oss_20b(),
        gemma_3_27b(),
        deepseek_v3(),
        glm_4_5_air(),
        qwen3_next_80b_a3b(),
        lfm2_8b_a1b(),
        granite_4_0_h_micro(),
    ];
    for (shape, fact) in shapes.iter().zip(FACTS) {
        assert_eq!(shape.architecture, fact.name);
        let found = shape.facts();
        let (total, active) = (
            found.params_total as f64 / 1e9,
            found.params_active as f64 / 1e9,
        );
        let off = |found: f64, stated: f64| (found / stated - 1.0).abs();
        assert!(
            off(total, fact.total) < 0.01,
            "{}: {total} in all, {} stated",
            fact.name,
            fact.total
        );
        assert!(
            off(active, fact.active) < fact.active_may_differ,
            "{}: {active} active, {} stated",
            fact.name,
            fact.active
        );
        let bytes = found.dense_bytes
            + found.embedding_bytes
            + found.routed_expert_bytes.unwrap_or(0)
            + found.shared_expert_bytes.unwrap_or(0);
        assert!(bytes <= found.files[0].bytes, "{}", fact.name);
    }
}

fn tokens(kind: KvKind, layers: u32, elements_per_token: u64, window: Option<u64>) -> KvLayout {
    KvLayout {
        kind,
        layers,
        elements_per_token,
        window_tokens: window,
        state_elements: None,
    }
}

fn state(layers: u32, elements: u64) -> KvLayout {
    KvLayout {
        state_elements: Some(elements),
        ..tokens(KvKind::State, layers, 0, None)
    }
}

#[test]
fn caches_of_published_models_follow_from_their_layers() {
    let full = |layers, elements| tokens(KvKind::Full, layers, elements, None);
    let window = |layers, elements, length| tokens(KvKind::Window, layers, elements, Some(length));
    for (shape, expected) in [
        (llama_3_1_8b(), vec![full(32, 2 * 8 * 128)]),
        (qwen3_30b_a3b(), vec![full(48, 2 * 4 * 128)]),
        (
            gpt_oss_20b(),
            vec![window(12, 2 * 8 * 64, 128), full(12, 2 * 8 * 64)],
        ),
        (
            gemma_3_27b(),
            vec![window(52, 2 * 16 * 128, 1_024), full(10, 2 * 16 * 128)],
        ),
        (
            deepseek_v3(),
            vec![tokens(KvKind::Latent, 61, 512 + 64, None)],
        ),
        (glm_4_5_air(), vec![full(46, 2 * 8 * 128)]),
        // Convolution over 3 tokens of queries, keys and values; a square of 128 for each of 32 heads.
        (
            qwen3_next_80b_a3b(),
            vec![state(36, 3 * 8_192 + 32 * 128 * 128), full(12, 2 * 2 * 256)],
        ),
        (
            lfm2_8b_a1b(),
            vec![state(18, 2 * 2_048), full(6, 2 * 8 * 64)],
        ),
        (
            granite_4_0_h_micro(),
            vec![state(36, 3 * 4_352 + 4_096 * 128), full(4, 2 * 8 * 64)],
        ),
    ] {
        assert_eq!(shape.facts().kv, expected, "{}", shape.architecture);
    }
}

#[test]
fn a_files_own_pattern_of_windows_comes_before_the_usual_one() {
    let shape = || {
        let mut shape = Shape::new("gemma3", 4, 64)
            .heads(4, 2, 16)
            .number("attention.sliding_window", 512);
        shape.ends(32, 64, true);
        shape
    };
    let layers = |shape: Shape| -> Vec<(KvKind, u32)> {
        let kv = shape.facts().kv;
        kv.iter()
            .map(|layout| (layout.kind, layout.layers))
            .collect()
    };
    let pattern = "attention.sliding_window_pattern";
    assert_eq!(layers(shape()), [(KvKind::Window, 4)]);
    assert_eq!(
        layers(shape().number(pattern, 2)),
        [(KvKind::Window, 2), (KvKind::Full, 2)]
    );
    let listed = Entry::Truths(vec![true, false, false, false]);
    assert_eq!(
        layers(shape().entry(pattern, listed)),
        [(KvKind::Window, 1), (KvKind::Full, 3)]
    );
    let short = shape().entry(pattern, Entry::Truths(vec![true, false]));
    let header = short.header().expect("a header");
    let error = facts(&header, Vec::new()).expect_err("two layers are missing");
    assert!(error.to_string().contains(pattern), "{error}");

    // Mistral's first model says a window that llama.cpp does not use.
    let mut plain = Shape::new("llama", 4, 64)
        .heads(4, 2, 16)
        .number("attention.sliding_window", 4_096);
    plain.ends(32, 64, true);
    assert_eq!(layers(plain), [(KvKind::Full, 4)]);
}

#[test]
fn layers_that_share_a_cache_or_only_think_keep_none_of_their_own() {
    let mut shape = Shape::new("gemma4", 6, 64)
        .heads(4, 1, 32)
        .number("attention.key_length_swa", 16)
        .number("attention.value_length_swa", 16)
        .number("attention.sliding_window", 512)
        .number("attention.shared_kv_layers", 2)
        .entry(
            "attention.sliding_window_pattern",
            Entry::Truths(vec![true, true, false, true, true, false]),
        );
    shape.ends(32, 64, true);
    assert_eq!(
        shape.facts().kv,
        [
            tokens(KvKind::Window, 3, 32, Some(512)),
            tokens(KvKind::Full, 1, 64, None)
        ]
    );

    // Mamba, feed-forward, attention, Mamba.
    let mut shape = Shape::new("nemotron_h", 4, 64)
        .number("attention.head_count", 4)
        .entry("attention.head_count_kv", Entry::Numbers(vec![0, 0, 2, 0]))
        .entry("feed_forward_length", Entry::Numbers(vec![0, 256, 0, 0]))
        .number("ssm.conv_kernel", 4)
        .number("ssm.inner_size", 128)
        .number("ssm.state_size", 16)
        .number("ssm.group_count", 2);
    shape.ends(32, 64, true);
    assert_eq!(
        shape.facts().kv,
        [
            state(2, 3 * (128 + 2 * 2 * 16) + 16 * 128),
            tokens(KvKind::Full, 1, 2 * 2 * 16, None)
        ]
    );
}

#[test]
fn a_latent_cache_is_claimed_only_of_files_that_are_run_with_one() {
    let mut shape = Shape::new("deepseek2", 2, 64)
        .heads(4, 4, 24)
        .number("attention.kv_lora_rank", 32)
        .number("rope.dimension_count", 8);
    shape.ends(32, 64, true);
    assert_eq!(shape.facts().kv, [tokens(KvKind::Full, 2, 4 * 48, None)]);
}

#[test]
fn types_that_are_not_computed_with_are_still_counted_and_unknown_ones_are_named() {
    let facts = gpt_oss_20b().facts();
    assert_eq!(facts.quant.as_str(), "MXFP4");
    let experts = 24 * 3 * 32 * 2_880 * 2_880_u64;
    let biases = 24 * 3 * 32 * 2_880 * 4;
    assert_eq!(facts.routed_expert_bytes, Some(experts / 32 * 17 + biases));

    let mut shape = Shape::new("llama", 1, 64).heads(4, 4, 16);
    shape.ends(32, 64, true);
    shape.typed("blk.0.attn_q.weight", &[64, 64], UNKNOWN);
    let error = shape.header().expect_err("no such type").to_string();
    assert!(error.contains("9999"), "{error}");
}

#[test]
fn a_header_that_claims_more_than_the_file_holds_is_refused() {
    let mut shape = Shape::new("llama", 1, 64).heads(4, 4, 16);
    shape.ends(32, 64, true);
    let (bytes, length) = shape.bytes();
    let path = Path::new("cut.gguf");
    let read = |bytes: &[u8], length| Header::read(path, Cursor::new(bytes.to_vec()), length);
    assert!(read(&bytes, length).is_ok());
    assert!(matches!(
        read(&bytes, length - 32),
        Err(GgufError::BadTensor { .. })
    ));
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end], length).is_err(), "cut at {end}");
    }
    let blocks = Shape::new("llama", 1 << 31, 64).heads(4, 4, 16);
    let mut blocks = blocks;
    blocks.ends(32, 64, true);
    let header = blocks.header().expect("a header");
    let error = facts(&header, Vec::new()).expect_err("no model has so many layers");
    assert!(error.to_string().contains("block_count"), "{error}");
}

#[test]
fn the_parts_of_a_split_model_are_inspected_together() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let name = |part: u32| folder.path().join(format!("m-{part:05}-of-00002.gguf"));
    let write = |part: u32, shape: Shape| {
        let mut shape = shape;
        for (key, number) in [
            ("split.no", part - 1),
            ("split.count", 2),
            ("split.tensors.count", 3),
        ] {
            shape.entries.push((key.to_owned(), Entry::Number(number)));
        }
        let (mut bytes, length) = shape.bytes();
        bytes.resize(length as usize, 0);
        fs::write(name(part), bytes).expect("written");
    };
    let mut first = Shape::new("llama", 1, 64).heads(4, 4, 16);
    first.ends(32, 64, true);
    write(1, first);
    assert!(matches!(
        inspect(&name(1)),
        Err(VariantError::File(GgufError::Io { .. }))
    ));
    let mut second = Shape::new("llama", 1, 64);
    second.tensor("output.weight", &[32, 64]);
    write(2, second);

    let facts = inspect(&name(1)).expect("inspected");
    assert_eq!(facts.params_total, 2 * 32 * 64 + 64);
    assert_eq!(facts.head_bytes, 2 * 32 * 64);
    let digests = [1, 2].map(|part| Sha256Digest::of(&fs::read(name(part)).expect("read")));
    assert_eq!(facts.files.len(), 2);
    assert_eq!(facts.files[1].sha256, digests[1]);
    assert_eq!(
        facts.sha256,
        Sha256Digest::of(&digests.map(|digest| digest.0).concat())
    );
    let error = inspect(&name(2)).expect_err("the second part").to_string();
    assert!(error.contains("part 2 of 2"), "{error}");
}
