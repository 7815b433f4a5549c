//! Bytes of known models by arithmetic, the choice of bandwidth, and laws of all ceilings.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::json::parse_strict;
use crate::record::BandwidthPoint;

fn record() -> Record {
    parse_strict(include_bytes!("../../fixtures/record.json")).expect("the fixture is a record")
}

fn close(value: f64, expected: f64) -> bool {
    (value / expected - 1.0).abs() < 1e-9
}

/// A model by the shapes of its own config, its parameters in so many bits each.
fn model(kv: Value, change: impl FnOnce(&mut VariantFacts)) -> VariantFacts {
    let mut variant = record().variant;
    variant.kv = serde_json::from_value(kv).expect("layers");
    change(&mut variant);
    variant
}

fn layers(
    kind: &str,
    layers: u32,
    elements: u64,
    window: Option<u64>,
    state: Option<u64>,
) -> Value {
    json!({"kind": kind, "layers": layers, "elements_per_token": elements,
           "window_tokens": window, "state_elements": state})
}

fn half_precision() -> Settings {
    let mut settings = record().settings;
    settings.kv_type_k = Some(Name::cleaned("f16"));
    settings.kv_type_v = Some(Name::cleaned("f16"));
    settings
}

fn curve(points: &[(u64, u64)]) -> Vec<BandwidthPoint> {
    let point = |(working_set_bytes, bytes_s): &(u64, u64)| BandwidthPoint {
        working_set_bytes: *working_set_bytes,
        bytes_s: *bytes_s,
    };
    points.iter().map(point).collect()
}

fn catalogue(toml: &str) -> Catalogue {
    let text = format!(
        "profile = \"hardware\"\nslug = \"chip\"\nname = \"Chip\"\nvendor = \"V\"\nsources = []\nconfidence = \"high\"\n{toml}"
    );
    Catalogue::parse([("chip.toml", text.as_str())]).expect("a profile")
}

fn ceiling(record: &Record, catalogue: &Catalogue) -> Result<DecodeCeiling, NoCeiling> {
    decode_ceiling(&Subject::of(record), catalogue, Some(1.0))
}

#[test]
fn caches_of_known_models_have_their_known_sizes() {
    let settings = half_precision();
    // Llama 3.1 8B: 32 layers, 8 KV heads of 128: 2 x 8 x 128 elements, 128 KiB a token.
    let llama = model(json!([layers("full", 32, 2_048, None, None)]), |_| {});
    assert!(close(kv_bytes(&llama, &settings, 1.0), 131_072.0));
    // DeepSeek-V3: 61 layers, a latent of 512 and a rotary key of 64: 70,272 bytes a token.
    let deepseek = model(json!([layers("latent", 61, 576, None, None)]), |_| {});
    assert!(close(kv_bytes(&deepseek, &settings, 1.0), 70_272.0));
    // Gemma 3 27B: 10 full and 52 sliding layers of 1,024 tokens, 16 KV heads of 128.
    let gemma = model(
        json!([
            layers("full", 10, 4_096, None, None),
            layers("window", 52, 4_096, Some(1_024), None),
        ]),
        |_| {},
    );
    assert!(close(
        kv_bytes(&gemma, &settings, 8_192.0),
        2.0 * 4_096.0 * (10.0 * 8_192.0 + 52.0 * 1_024.0)
    ));
    // Qwen3-Next 80B: 12 full layers, 36 whose state stays the same.
    let hybrid = model(
        json!([
            layers("full", 12, 1_024, None, None),
            layers("state", 36, 0, None, Some(524_288)),
        ]),
        |_| {},
    );
    let grown = kv_bytes(&hybrid, &settings, 9_000.0) - kv_bytes(&hybrid, &settings, 1_000.0);
    assert!(close(grown, 8_000.0 * 12.0 * 1_024.0 * 2.0));
}

#[test]
fn the_types_of_the_cache_have_their_block_sizes() {
    let llama = model(json!([layers("full", 32, 2_048, None, None)]), |_| {});
    let at = |kind: &str| {
        let mut settings = half_precision();
        settings.kv_type_k = Some(Name::cleaned(kind));
        settings.kv_type_v = Some(Name::cleaned(kind));
        kv_bytes(&llama, &settings, 1.0) / 65_536.0
    };
    for (kind, bytes) in [
        ("f32", 4.0),
        ("bf16", 2.0),
        ("q8_0", 1.0625),
        ("q5_1", 0.75),
        ("q4_0", 0.5625),
    ] {
        assert!(close(at(kind), bytes), "{kind}");
    }
}

#[test]
fn a_mixture_reads_its_used_experts_and_a_cache_must_hold_them_all() {
    // Qwen3 30B-A3B at 16 bits: 48 layers of 128 experts with three matrices of 2,048 x 768, of
    // which 8 are used: 1.81 of 28.99 billion parameters.
    let experts: u64 = 48 * 128 * 3 * 2_048 * 768;
    let mut record = record();
    record.settings = half_precision();
    record.variant = model(json!([layers("full", 48, 1_024, None, None)]), |variant| {
        variant.routed_expert_bytes = Some(2 * experts);
        (variant.experts_total, variant.experts_used) = (Some(128), Some(8));
        variant.dense_bytes = 1_900_000_000;
        variant.head_bytes = 2 * 151_936 * 2_048;
    });
    let used = 2.0 * experts as f64 / 16.0;
    let read = active_weight_bytes(&record.variant, &record.settings);
    assert!(close(read, 1.9e9 + 4.0 * 151_936.0 * 1_024.0 + used));
    // 3.3 billion active parameters less the embedding, by the model's card.
    assert!((read / 2.0 / 3.0e9 - 1.0).abs() < 0.05, "{read}");
    record.hosts[0].bandwidth_curve = curve(&[(8_000_000_000, 100_000_000_000)]);
    record.hosts[0].bandwidth_probe_bytes_s = Some(50_000_000_000);
    let one = ceiling(&record, &Catalogue::default()).expect("probed");
    assert!(
        close(one.bandwidth.bytes_s, 5e10),
        "60 GB are in no cache of 8 GB"
    );
    assert!(!one.approximate);
    record.workload.concurrency = 4;
    assert!(
        ceiling(&record, &Catalogue::default())
            .expect("probed")
            .approximate
    );
}

#[test]
fn an_engine_that_says_its_bytes_is_believed() {
    let mut record = record();
    record.settings.weight_bytes_per_pass = Some(14_000_000);
    assert!(close(
        active_weight_bytes(&record.variant, &record.settings),
        1.4e7
    ));
    record.settings.weight_bytes_per_pass = None;
    assert!(close(
        active_weight_bytes(&record.variant, &record.settings),
        6_900_000.0 + 147_456.0
    ));
}

#[test]
fn what_a_cache_holds_is_read_at_the_caches_speed() {
    let mut record = record();
    // 7.05 MB of weights and 44 tokens of 2,048 elements in f32.
    let per_pass = 7_047_456.0 + 44.0 * 2_048.0 * 4.0;
    record.hosts[0].bandwidth_curve =
        curve(&[(1 << 20, 80_000_000_000), (1 << 28, 40_000_000_000)]);
    let found = ceiling(&record, &Catalogue::default()).expect("probed");
    assert!(close(found.bytes_per_pass, per_pass));
    assert!(
        found.bandwidth.from_cache,
        "no figure of memory stands against it"
    );
    let place = (per_pass / f64::from(1 << 20)).log2() / 8.0;
    assert!(close(found.bandwidth.bytes_s, 8e10 - 4e10 * place));
    assert!(close(
        found.tokens_per_second,
        found.bandwidth.bytes_s / per_pass
    ));
    // Beyond the curve it is memory.
    record.hosts[0].bandwidth_curve = curve(&[(1 << 20, 80_000_000_000)]);
    assert_eq!(
        ceiling(&record, &Catalogue::default()),
        Err(NoCeiling::Bandwidth)
    );
    record.hosts[0].bandwidth_probe_bytes_s = Some(20_000_000_000);
    let found = ceiling(&record, &Catalogue::default()).expect("probed");
    assert!(!found.bandwidth.from_cache && close(found.bandwidth.bytes_s, 2e10));
}

#[test]
fn a_graphics_processor_goes_by_its_sheet_and_not_by_the_processors_probe() {
    let mut record = record();
    record.hosts[0].bandwidth_probe_bytes_s = Some(20_000_000_000);
    record.hosts[0].compute_probe_flop_s = Some(100_000_000_000);
    record.hosts[0].profile = Some("chip".parse().expect("a slug"));
    let card = catalogue("kind = \"gpu\"\nmemory_bandwidth_gb_s = 1000\nfp16_dense_tflops = 100");
    let on_cpu = ceiling(&record, &card).expect("probed");
    assert_eq!(on_cpu.bandwidth.basis, Basis::Probe);
    assert_eq!(
        on_cpu.bandwidth.sheet_bytes_s, None,
        "the card's memory is another"
    );
    let compute = prefill_ceiling(&Subject::of(&record), &card).expect("probed");
    assert_eq!(
        (compute.basis, close(compute.flop_s, 1e11)),
        (Basis::Probe, true)
    );
    record.engine.backend = Name::cleaned("CUDA");
    let on_gpu = ceiling(&record, &card).expect("a sheet");
    assert_eq!(on_gpu.bandwidth.basis, Basis::DataSheet);
    assert!(close(on_gpu.bandwidth.bytes_s, 1e12));
    assert!(close(
        prefill_ceiling(&Subject::of(&record), &card)
            .expect("a sheet")
            .flop_s,
        1e14
    ));
    record.settings.gpu_layers = Some(2);
    assert_eq!(ceiling(&record, &card), Err(NoCeiling::PartlyOnGpu));
    record.settings.gpu_layers = Some(99);
    assert!(ceiling(&record, &card).is_ok());
}

#[test]
fn machines_add_up_where_they_read_one_token_together() {
    let mut record = record();
    record.hosts[0].bandwidth_probe_bytes_s = Some(20_000_000_000);
    let alone = ceiling(&record, &Catalogue::default()).expect("probed");
    let mut second = record.hosts[0].clone();
    (second.host, second.bandwidth_probe_bytes_s) = (1, Some(30_000_000_000));
    record.hosts.push(second);
    assert_eq!(
        ceiling(&record, &Catalogue::default()),
        Err(NoCeiling::UnsaidSplit)
    );
    let mut by = |method| {
        record.setup.split = Some(crate::record::Split {
            method,
            layout: Name::cleaned("even"),
        });
        ceiling(&record, &Catalogue::default()).map(|found| found.tokens_per_second)
    };
    let speed = alone.tokens_per_second;
    assert!(by(SplitMethod::Tensor).is_ok_and(|found| close(found, 2.5 * speed)));
    assert!(by(SplitMethod::Replica).is_ok_and(|found| close(found, 1.5 * speed)));
    for (method, word) in [
        (SplitMethod::Pipeline, "layers"),
        (SplitMethod::Expert, "experts"),
        (SplitMethod::PrefillDecode, "phase"),
    ] {
        assert_eq!(by(method), Err(NoCeiling::Split(word)));
    }
}

#[test]
fn prefill_counts_parameters_and_what_attention_looks_at() {
    let mut record = record();
    record.hosts[0].compute_probe_flop_s = Some(100_000_000_000);
    let at = |record: &Record| {
        prefill_ceiling(&Subject::of(record), &Catalogue::default())
            .expect("probed")
            .flop_per_token
    };
    // 2 x 3,482,880, less the embedding's share of the bytes, which is also the head's; and, at 16
    // tokens on average, 2 x 16 x 2,048.
    let layers = 6_965_760.0 * 6_900_000.0 / 7_047_456.0;
    assert!(close(at(&record), layers + 65_536.0));
    record.workload.depth_tokens = 4_096;
    assert!(close(at(&record), layers + 2.0 * 2_064.0 * 2_048.0));
    record.workload.kv_state = KvState::WarmPrefix;
    assert!(close(at(&record), layers + 2.0 * 4_112.0 * 2_048.0));
    record.hosts[0].compute_probe_flop_s = None;
    assert_eq!(
        prefill_ceiling(&Subject::of(&record), &Catalogue::default()),
        Err(NoCeiling::Compute)
    );
}

#[test]
fn speculation_needs_its_passes() {
    let mut record = record();
    record.hosts[0].bandwidth_probe_bytes_s = Some(20_000_000_000);
    let with = |tokens| decode_ceiling(&Subject::of(&record), &Catalogue::default(), tokens);
    assert_eq!(with(None), Err(NoCeiling::Passes));
    let (one, two) = (with(Some(1.0)), with(Some(2.0)));
    assert!(one.is_ok_and(|one| {
        two.is_ok_and(|two| close(two.tokens_per_second, 2.0 * one.tokens_per_second))
    }));
}

proptest! {
    #[test]
    fn more_context_or_more_streams_never_raise_a_ceiling(
        depth in 0..200_000u32, more in 0..200_000u32, streams in 1..64u32, others in 0..64u32,
        memory in 1..1_000_000_000_000u64, cache in 0..1_000_000_000_000u64
    ) {
        let mut record = record();
        record.hosts[0].bandwidth_probe_bytes_s = Some(memory);
        record.hosts[0].compute_probe_flop_s = Some(memory);
        record.hosts[0].bandwidth_curve =
            curve(&[(1 << 20, memory.saturating_add(cache)), (1 << 30, memory)]);
        record.workload.depth_tokens = depth;
        record.workload.concurrency = streams;
        let subject = |record: &Record| {
            let subject = Subject::of(record);
            let decode = decode_ceiling(&subject, &Catalogue::default(), Some(1.0));
            let prefill = prefill_ceiling(&subject, &Catalogue::default());
            (decode.expect("probed").tokens_per_second, prefill.expect("probed").tokens_per_second)
        };
        let before = subject(&record);
        record.workload.depth_tokens = depth.saturating_add(more);
        record.workload.concurrency = streams + others;
        let after = subject(&record);
        prop_assert!(after.0 <= before.0 * (1.0 + 1e-9) && after.1 <= before.1);
    }

    #[test]
    fn no_facts_make_a_ceiling_that_is_no_number(values in prop::collection::vec(
        prop_oneof![Just(0), Just(u64::MAX), any::<u64>()], 16)
    ) {
        let mut record = record();
        let mut values = values.into_iter();
        let mut next = || values.next().unwrap_or(3);
        record.hosts[0].bandwidth_probe_bytes_s = Some(next());
        record.hosts[0].bandwidth_curve = curve(&[(next(), next()), (next(), next())]);
        record.hosts[0].compute_probe_flop_s = Some(next());
        record.variant.routed_expert_bytes = Some(next());
        (record.variant.experts_total, record.variant.experts_used) =
            (Some(next() as u32), Some(next() as u32));
        (record.variant.dense_bytes, record.variant.params_active) = (next(), next());
        record.settings.weight_bytes_per_pass = Some(next());
        record.workload.concurrency = next() as u32;
        record.workload.depth_tokens = next() as u32;
        let subject = Subject::of(&record);
        if let Ok(found) = decode_ceiling(&subject, &Catalogue::default(), Some(1.0)) {
            prop_assert!(found.tokens_per_second.is_finite() && found.tokens_per_second > 0.0);
        }
        if let Ok(found) = prefill_ceiling(&subject, &Catalogue::default()) {
            prop_assert!(found.tokens_per_second.is_finite() && found.tokens_per_second > 0.0);
        }
    }
}
