//! Records for tests: small, plausible, and told apart by a number.

use domain::envelope::{self, SigningKey};
use domain::json::parse_strict;
use domain::record::{PAYLOAD_TYPE, Record};
use domain::suite;
use serde_json::{Value, json};

/// Repetitions, the first of them a warm-up.
const REPETITIONS: u64 = 8;

/// Task items.
const ITEMS: u32 = 105;

/// The key that signs the fixtures.
pub(crate) fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// A plausible record; `number` changes its sweep and its gaps, and so its content id.
pub(crate) fn record(number: u64) -> Record {
    let bytes = serde_json::to_vec(&record_json(number)).expect("JSON");
    parse_strict(&bytes).expect("the fixture follows the schema")
}

/// An envelope as it travels.
pub(crate) fn envelope(record: &Record) -> Vec<u8> {
    let payload = serde_json::to_vec(record).expect("a record is JSON");
    sealed(PAYLOAD_TYPE, &payload)
}

/// An envelope around any payload, signed by the fixtures' key.
pub(crate) fn sealed(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let (_, envelope) = envelope::sign(payload_type, payload, &signing_key());
    serde_json::to_vec(&envelope).expect("an envelope is JSON")
}

/// The same record as JSON, to be spoiled.
pub(crate) fn record_json(number: u64) -> Value {
    json!({
        "schema": "joulemark.record.v1",
        "audience": "any",
        "sweep": digest(&format!("sweep {number}")),
        "challenge": null,
        "started_ms": 1_763_654_400_000_u64,
        "ended_ms": 1_763_654_401_000_u64,
        "outcome": "ok",
        "outcome_class": null,
        "blob_sha256": null,
        "windows": null,
        "checkpoint": null,
        "suite": {
            "version": suite::REFERENCE_V1,
            "digest": hex::encode(suite::digest()),
            "seed": hex::encode(suite::PUBLIC_SEED),
        },
        "runner": {"version": "0.1.0", "commit": null, "binary_sha256": null, "target": "x86_64-unknown-linux-gnu"},
        "setup": {"slug": null, "interconnect": null},
        "hosts": hosts(),
        "engine": engine(),
        "settings": settings(),
        "variant": variant(),
        "workload": workload(),
        "repetitions": (0..REPETITIONS).map(|rep| repetition(number, rep)).collect::<Vec<_>>(),
        "phases": [{
            "phase": "quality", "rep": null, "host": 0, "start_ns": 500_000_000,
            "end_ns": 900_000_000, "requests": ITEMS, "tokens_in": ITEMS * 12, "tokens_out": ITEMS * 4,
        }],
        "meters": [],
        "energy": {"unavailable": {"reason": "virtual-machine", "detail": "no counter"}},
        "context": [],
        "quality": {"items": items(), "transcript_sha256": null},
        "fidelity": null,
    })
}

fn variant() -> Value {
    json!({
        "sha256": digest("weights"), "files": [{"sha256": digest("weights"), "bytes": 1_800_000}],
        "repo": null, "revision": null, "path": "model.gguf", "model": "fixture-1l",
        "arch": "llama", "quant": "F16", "vocab_size": 288, "template_sha256": null,
        "tokenizer_sha256": null, "params_total": 900_000, "params_active": 900_000,
        "experts_total": null, "experts_used": null, "dense_bytes": 1_600_000,
        "embedding_bytes": 147_456, "head_bytes": 147_456, "shared_expert_bytes": null,
        "routed_expert_bytes": null,
        "kv": [{"kind": "full", "layers": 1, "elements_per_token": 512, "window_tokens": null, "state_elements": null}],
        "pruning": {"method": "none", "ratio_ppm": 0, "source_sha256": null, "healed": null},
    })
}

fn workload() -> Value {
    json!({
        "id": "pp16-tg17", "prompt_tokens": 16, "output_tokens": 17, "depth_tokens": 0,
        "concurrency": 1, "kv_state": "cold", "samples": 1, "verifier": null,
        "eos_banned": true, "prompt_sha256": null, "temperature_ppm": 0, "top_p_ppm": null,
        "top_k": null, "seed": null,
    })
}

fn hosts() -> Value {
    json!([{
        "host": 0, "profile": null, "fingerprint": digest("machine"), "os": "Linux",
        "os_version": null, "kernel": null, "chip": "A <b>processor</b>", "cpu_cores": 2,
        "memory_bytes": 8_000_000_000_u64, "unified": null, "virtual": true, "container": null,
        "bandwidth_probe_bytes_s": null, "gpus": [],
    }])
}

fn engine() -> Value {
    json!({
        "name": "scripted", "version": "1", "commit": null, "build_flags": [], "backend": "cpu",
        "args": [], "binary_sha256": null, "image_digest": null,
    })
}

fn settings() -> Value {
    json!({
        "kv_type_k": "f32", "kv_type_v": "f32", "gpu_layers": null, "flash_attention": null,
        "speculation": {"method": "none", "draft_sha256": null, "length": null},
    })
}

fn repetition(number: u64, rep: u64) -> Value {
    let start = 20_000_000 * rep;
    let first = start + 2_100_000;
    let gaps: Vec<u64> = (0..16)
        .map(|gap| 500 + (number * 7 + rep * 3 + gap * 5) % 23)
        .collect();
    let end = first + 1_000 * gaps.iter().sum::<u64>() + 50_000;
    json!({
        "rep": rep, "warmup": rep == 0, "void": null, "start_ns": start, "end_ns": end,
        "peak_bytes": 12_000_000, "paged_bytes": null, "transcript_sha256": null,
        "requests": [{
            "stream": 0, "sent_ns": start + 100_000, "first_visible_ns": first,
            "first_event_ns": first, "gaps_us": gaps, "event_tokens": null, "prompt_tokens": 16,
            "cached_tokens": 0, "output_tokens": 17, "reasoning_tokens": 0, "passes": 17,
            "accepted_tokens": null, "token_source": "ids", "finish": "length",
            "engine_prefill_ns": null, "engine_decode_ns": null,
        }],
    })
}

/// Every fifth answer is wrong.
fn items() -> Vec<Value> {
    let ids = suite::plan(ITEMS).into_iter().enumerate();
    ids.map(|(place, id)| {
        let item = suite::item(&suite::PUBLIC_SEED, id);
        let answer = if place % 5 == 0 {
            "?".to_owned()
        } else {
            item.answer
        };
        let start = 500_000_000 + 3_000_000 * place as u64;
        json!({
            "family": id.family.name(), "level": id.level, "index": id.index, "sample": 0,
            "answer": answer, "picked": true, "tokens_in": item.prompt.len() + 1,
            "tokens_out": answer.len() + 1, "reasoning_tokens": 0, "finish": "stop",
            "start_ns": start, "end_ns": start + 2_000_000,
        })
    })
    .collect()
}

fn digest(text: &str) -> String {
    domain::ids::Sha256Digest::of(text.as_bytes()).to_string()
}
