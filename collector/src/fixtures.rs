//! Records for tests: small, plausible, and told apart by a number; with meters or without.

use domain::envelope::{self, SigningKey};
use domain::gate::Metric;
use domain::gate::fixtures::Example;
use domain::gate::record::GateRecord;
use domain::json::parse_strict;
use domain::record::{
    AttributionMethod, Averaging, EnergyClaim, MeasuredEnergy, MeterKind, MeterTrace, PAYLOAD_TYPE,
    Phase, PhaseKind, Record, SamplerCost, UpdateBasis,
};
use domain::scope::{Scope, ScopeKey};
use domain::suite::{self, Suite};
use domain::text::Name;
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

/// Phases of [`metered`]: kind, first and last second, watts of the package, and of each of its
/// blocks requests, prompt and output tokens.
const SCRIPT: [(PhaseKind, f64, f64, f64, u32, u64, u64); 6] = [
    (PhaseKind::Quality, 0.5, 2.8, 50.0, 0, 0, 0),
    (PhaseKind::IdleUnloaded, 3.0, 4.0, 16.0, 0, 0, 0),
    (PhaseKind::IdleLoaded, 4.0, 5.0, 20.0, 0, 0, 0),
    (PhaseKind::PrefillLoop, 5.0, 7.0, 60.0, 50, 800, 50),
    (PhaseKind::DecodeLoop, 7.0, 11.0, 40.0, 1, 12, 801),
    (PhaseKind::MixedLoop, 11.0, 13.0, 44.5, 16, 256, 272),
];

/// Blocks that each loop of [`metered`] is written as.
const BLOCKS: u32 = 5;

/// Watts outside of the phases of [`metered`].
const BETWEEN_WATTS: f64 = 25.0;

/// A record whose package was read by a counter and whose plug by a wall meter, the headline.
/// The plug sees a quarter more than the package, and 10 W. Each question takes 20 ms.
pub(crate) fn metered(number: u64) -> Record {
    let mut record = record(number);
    record.phases[0].end_ns = (1e9 * SCRIPT[0].2) as u64;
    let answers = record.quality.iter_mut().flat_map(|all| &mut all.items);
    for (answer, place) in answers.zip(0_u64..) {
        answer.start_ns = 500_000_000 + 21_000_000 * place;
        answer.end_ns = answer.start_ns + 20_000_000;
    }
    for (phase, start, end, _, requests, tokens_in, tokens_out) in SCRIPT.into_iter().skip(1) {
        let blocks = if requests == 0 { 1 } else { BLOCKS };
        let edge = |block: u32| {
            let share = f64::from(block) / f64::from(blocks);
            (1e9 * (start + (end - start) * share)).round() as u64
        };
        record.phases.extend((0..blocks).map(|block| Phase {
            phase,
            rep: None,
            host: 0,
            start_ns: edge(block),
            end_ns: edge(block + 1),
            requests,
            tokens_in,
            tokens_out,
        }));
    }
    record.meters = vec![package(&|watts| watts), wall(&|watts| 1.25 * watts + 10.0)];
    record.energy = EnergyClaim::Measured(MeasuredEnergy {
        scope: ScopeKey::of(&[Scope::WallAc]).expect("one scope"),
        meters: vec![1],
        method: AttributionMethod::Loops,
    });
    record.sampler = Some(SamplerCost {
        cpu_ns: 4_000_000,
        span_ns: 13_000_000_000,
        reads: 4_000,
    });
    record
}

/// [`metered`] with the package alone.
pub(crate) fn metered_package(number: u64) -> Record {
    let mut record = metered(number);
    record.meters.truncate(1);
    record.energy = EnergyClaim::Measured(MeasuredEnergy {
        scope: ScopeKey::of(&[Scope::CpuPkg]).expect("one scope"),
        meters: vec![0],
        method: AttributionMethod::Loops,
    });
    record
}

/// Watts of the script at a second.
fn watts_at(second: f64) -> f64 {
    let phase = SCRIPT.iter().find(|one| one.1 <= second && second < one.2);
    phase.map_or(BETWEEN_WATTS, |one| one.3)
}

/// A counter of the script's watts that steps every millisecond, read at each of its steps while
/// questions are asked, and every five after.
pub(crate) fn package(of: &dyn Fn(f64) -> f64) -> MeterTrace {
    let mut trace = meter("powercap", "package-0", Scope::CpuPkg, MeterKind::Counter);
    let mut microjoules = 5_000_000.0;
    for millisecond in 0..=13_100_u64 {
        if millisecond <= 3_000 || millisecond % 5 == 0 {
            trace.t_ns.push(millisecond * 1_000_000);
            trace.v.push(microjoules as u64);
        }
        microjoules += 1e3 * of(watts_at(millisecond as f64 / 1e3 + 5e-4));
    }
    trace.latency_ns = vec![2_000; trace.t_ns.len()];
    trace
}

/// A plug that says every 5 ms what it sees, with a ripple: what never changes is stale.
fn wall(of: &dyn Fn(f64) -> f64) -> MeterTrace {
    let mut trace = meter("shelly", "plug", Scope::WallAc, MeterKind::Power);
    trace.update_ns = Some(5_000_000);
    trace.averaging = Averaging::Instant;
    trace.sensor_ppm = Some(20_000);
    for step in 0..=2_620_u64 {
        trace.t_ns.push(step * 5_000_000);
        let ripple = if step % 2 == 0 { 1e5 } else { -1e5 };
        let watts = of(watts_at(step as f64 / 200.0));
        trace.v.push((1e6 * watts + ripple) as u64);
    }
    trace.latency_ns = vec![900_000; trace.t_ns.len()];
    trace
}

fn meter(name: &str, device: &str, scope: Scope, kind: MeterKind) -> MeterTrace {
    MeterTrace {
        meter: Name::cleaned(name),
        host: 0,
        device: Name::cleaned(device),
        scope,
        used: true,
        kind,
        averaging: Averaging::Unknown,
        window_ns: None,
        update_ns: Some(1_000_000),
        update_basis: UpdateBasis::Probed,
        wrap_uj: None,
        sensor_ppm: Some(50_000),
        origin: Name::cleaned("script"),
        clock_error_ns: None,
        t_ns: Vec::new(),
        latency_ns: Vec::new(),
        source_t_ns: None,
        v: Vec::new(),
    }
}

/// A record whose decode takes so much longer, as a share; its times still add up.
pub(crate) fn slowed(mut record: Record, slower: f64) -> Record {
    for repetition in &mut record.repetitions {
        let request = &mut repetition.requests[0];
        for gap in &mut request.gaps_us {
            *gap = (*gap as f64 * (1.0 + slower)).round() as u64;
        }
        let first_ns = request.first_event_ns.expect("the fixture has events");
        let gaps_us: u64 = request.gaps_us.iter().sum();
        repetition.end_ns = first_ns + 1_000 * gaps_us + 50_000;
    }
    record
}

/// The record of an engine that was built from a commit of one repeated hexadecimal digit.
pub(crate) fn at_commit(mut record: Record, digit: char) -> Record {
    record.engine.commit = Some(Name::cleaned(&digit.to_string().repeat(40)));
    record
}

/// A gate of the fixture's decode between two builds of its engine: the candidate differs by a
/// share of the base's cost, and what regressed was measured again.
pub(crate) fn gate_of(good: char, bad: char, effect: f64) -> GateRecord {
    let record = record(1);
    let workload = record.workload.id.to_string();
    let example = Example {
        confirmation: if effect > 0.02 { 16 } else { 0 },
        block_sd: 0.003,
        ..Example::of(
            record.variant.model.as_str(),
            &workload,
            &[(Metric::Decode, effect)],
        )
    };
    let mut gate = example.record();
    gate.hosts.clone_from(&record.hosts);
    for (arm, digit) in [(&mut gate.base, good), (&mut gate.candidate, bad)] {
        let built = at_commit(record.clone(), digit);
        arm.binary_sha256 = Some(domain::ids::Sha256Digest::of(&[digit as u8]));
        arm.commit.clone_from(&built.engine.commit);
        arm.engine = Some(built.engine);
        arm.settings = Some(built.settings);
    }
    gate.models[0].base = Some(record.variant.clone());
    gate.models[0].candidate = Some(record.variant);
    gate.cells[0].workload = Some(record.workload);
    gate
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
            "version": Suite::ReferenceV1.name(),
            "digest": hex::encode(Suite::ReferenceV1.digest()),
            "seed": hex::encode(Suite::ReferenceV1.public_seed()),
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
    let ids = Suite::ReferenceV1.plan(ITEMS).into_iter().enumerate();
    ids.map(|(place, id)| {
        let item = suite::item(&Suite::ReferenceV1.public_seed(), id);
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
