//! An honest record of a tiny model passes; each lie is caught by its rule; nothing panics.

use proptest::prelude::*;

use super::*;
use crate::json::parse_strict;
use crate::record::{AnsweredItem, MeterTrace, SuiteRef};
use crate::text::{Answer, Name};

fn honest() -> Record {
    parse_strict(include_bytes!("../../fixtures/record.json")).expect("the fixture is a record")
}

fn profile(toml: &str) -> HardwareProfile {
    let text = format!(
        "slug = \"m\"\nname = \"M\"\nvendor = \"V\"\nkind = \"soc\"\nsources = []\nconfidence = \"high\"\n{toml}"
    );
    toml::from_str(&text).expect("a profile")
}

fn broken_by(change: impl FnOnce(&mut Record)) -> Vec<Rule> {
    let mut record = honest();
    change(&mut record);
    check(&record, None)
        .findings
        .into_iter()
        .map(|finding| finding.rule)
        .collect()
}

fn first_request(record: &mut Record) -> &mut Request {
    &mut record.repetitions[2].requests[0]
}

#[test]
fn an_honest_record_of_a_cache_resident_model_passes() {
    // 1,080 tok/s of 7 MB weights are 7.6 GB/s; a thousandth of that as bandwidth must not matter.
    assert_eq!(check(&honest(), None), Findings::default());
    assert_eq!(
        check(&honest(), Some(&profile("memory_bandwidth_gb_s = 0.01"))),
        Findings::default()
    );
    // Several thousand tokens per second of such a model are real, too.
    let rules = broken_by(|record| {
        for rep in &mut record.repetitions {
            for request in &mut rep.requests {
                request.gaps_us.iter_mut().for_each(|gap| *gap /= 6);
            }
        }
    });
    assert_eq!(rules, []);
}

#[test]
fn a_failed_record_without_repetitions_has_nothing_to_break() {
    assert_eq!(broken_by(|record| record.repetitions.clear()), []);
}

#[test]
fn each_lie_is_caught_by_its_rule() {
    assert_eq!(
        broken_by(|r| r.ended_ms = r.started_ms - 1),
        [],
        "wall times are labels"
    );
    assert_eq!(broken_by(|r| r.repetitions[3].start_ns = 0), [Rule::Times]);
    assert_eq!(
        broken_by(|r| first_request(r).first_event_ns = Some(0)),
        [Rule::Times]
    );
    assert_eq!(
        broken_by(|r| r.repetitions[7].end_ns += 200_000_000),
        [Rule::Times]
    );
    assert_eq!(
        broken_by(|r| first_request(r).output_tokens = 240),
        [Rule::Tokens]
    );
    assert_eq!(broken_by(|r| r.workload.output_tokens = 25), [Rule::Tokens]);
    assert_eq!(broken_by(|r| r.workload.prompt_tokens = 31), [Rule::Tokens]);
    assert_eq!(
        broken_by(|r| first_request(r).event_tokens = Some(vec![2; 24])),
        [Rule::Tokens]
    );
    assert_eq!(
        broken_by(|r| first_request(r).cached_tokens = Some(3)),
        [Rule::Cold]
    );
    assert_eq!(
        broken_by(|r| r.hosts[0].memory_bytes = Some(1_000_000)),
        [Rule::Fit]
    );
    assert_eq!(
        broken_by(|r| r.hosts[0].memory_bytes = None),
        [],
        "what a machine did not tell cannot be broken"
    );
    assert_eq!(
        broken_by(|r| r.variant.pruning.ratio_ppm = 1_000_001),
        [Rule::Ranges]
    );
    assert_eq!(
        broken_by(|r| r.variant.dense_bytes = 1 << 40),
        [Rule::Decode, Rule::Ranges]
    );
    assert_eq!(
        broken_by(|r| r.variant.files[0].bytes = 1 << 30),
        [Rule::Ranges]
    );
    assert_eq!(
        broken_by(
            |r| r.repetitions[4].requests[1].gaps_us = r.repetitions[3].requests[0].gaps_us.clone()
        )
        .first(),
        Some(&Rule::Copy)
    );
}

#[test]
fn a_million_tokens_per_second_is_no_machine() {
    let rules = broken_by(|record| {
        let request = first_request(record);
        request.gaps_us = vec![1; 23];
    });
    assert!(rules.contains(&Rule::Decode), "{rules:?}");
}

#[test]
fn memory_bandwidth_bounds_weights_that_no_cache_holds() {
    // 7 GB of weights at 1,080 tok/s are 7.6 TB/s.
    let mut record = honest();
    record.variant.dense_bytes *= 1_000;
    record.variant.files[0].bytes *= 1_000;
    record.variant.params_total *= 1_000;
    record.hosts[0].memory_bytes = record.hosts[0].memory_bytes.map(|bytes| bytes * 8);
    assert_eq!(check(&record, None), Findings::default());
    let findings = check(&record, Some(&profile("memory_bandwidth_gb_s = 1792.0")));
    assert_eq!(findings.findings.len(), 1);
    assert!(
        findings.in_words()[0].starts_with("decode: repetition 2: 7"),
        "{findings:?}"
    );
    assert!(!check(&record, Some(&profile("memory_bandwidth_gb_s = 8000.0"))).broken());
}

#[test]
fn a_model_of_nothing_has_no_roofline_to_pass() {
    for change in [
        (|record: &mut Record| record.variant.params_active = 0) as fn(&mut Record),
        |record| (record.variant.params_total, record.variant.params_active) = (0, 0),
        |record| record.variant.dense_bytes = 0,
    ] {
        let rules = broken_by(change);
        assert!(rules.contains(&Rule::Ranges), "{rules:?}");
    }
}

#[test]
fn compute_bounds_prefill() {
    // 32 tokens in 12 ms with 3.5 M parameters are 18 GFLOP/s.
    let fast = check(&honest(), Some(&profile("fp16_dense_tflops = 0.001")));
    assert_eq!(fast.findings[0].rule, Rule::Prefill);
    assert!(!check(&honest(), Some(&profile("fp16_dense_tflops = 1.0"))).broken());
}

fn meter(kind: &str, v: &[u64]) -> MeterTrace {
    let t_ns: Vec<u64> = (0..v.len() as u64).map(|i| i * 1_000_000_000).collect();
    serde_json::from_value(serde_json::json!({
        "meter": "scripted", "host": 0, "device": "package-0", "scope": "cpu.pkg", "used": true,
        "kind": kind, "averaging": "instant", "window_ns": null, "update_ns": 1_000_000,
        "update_basis": "assumed", "wrap_uj": null, "sensor_ppm": null, "origin": "script",
        "latency_ns": vec![1; v.len()], "t_ns": t_ns, "source_t_ns": null, "v": v,
    }))
    .expect("a meter")
}

#[test]
fn a_device_draws_what_a_device_can_draw() {
    let with = |trace: MeterTrace| broken_by(|record| record.meters.push(trace));
    assert_eq!(with(meter("power", &[40_000_000, 41_000_000])), []);
    assert_eq!(
        with(meter("power", &[40_000_000, 6_000_000_000])),
        [Rule::Joules]
    );
    assert_eq!(with(meter("counter", &[0, 40_000_000, 80_000_000])), []);
    assert_eq!(
        with(meter("counter", &[0, 40_000_000_000, 80_000_000_000])),
        [Rule::Joules]
    );
    let mut ragged = meter("counter", &[0, 1]);
    ragged.v.pop();
    assert_eq!(with(ragged), [Rule::Joules]);
}

#[test]
fn answers_follow_each_other_within_their_phase() {
    let answer = |start_ns, end_ns| AnsweredItem {
        family: Name::cleaned("copy"),
        level: 1,
        index: 0,
        sample: 0,
        answer: Answer::cleaned("ab"),
        picked: true,
        tokens_in: 8,
        tokens_out: 3,
        reasoning_tokens: 0,
        finish: Finish::Stop,
        start_ns,
        end_ns,
    };
    let with = |spans: &[(u64, u64)], suite: bool| {
        broken_by(|record| {
            let digest = record.sweep;
            record.suite = suite.then(|| SuiteRef {
                version: Name::cleaned("reference-v1"),
                digest,
                seed: digest,
            });
            let items = spans
                .iter()
                .map(|(start, end)| answer(*start, *end))
                .collect();
            record.quality = Some(crate::record::Quality {
                items,
                transcript_sha256: None,
            });
        })
    };
    assert_eq!(with(&[(0, 5_000_000), (5_000_000, 9_000_000)], true), []);
    assert_eq!(
        with(&[(0, 5_000_000), (4_000_000, 9_000_000)], true),
        [Rule::Quality]
    );
    assert_eq!(with(&[(5, 5)], true), [Rule::Quality]);
    assert_eq!(with(&[(0, 1_000)], true), [Rule::Quality]);
    assert_eq!(with(&[(0, 5_000_000)], false), [Rule::Quality]);
}

proptest! {
    #[test]
    fn no_numbers_make_it_panic(values in prop::collection::vec(prop_oneof![Just(0), Just(u64::MAX), any::<u64>()], 24)) {
        let mut record = honest();
        let mut values = values.into_iter();
        let mut next = || values.next().unwrap_or(7);
        record.ended_ms = next();
        let rep = &mut record.repetitions[3];
        (rep.start_ns, rep.end_ns) = (next(), next());
        let request = &mut rep.requests[0];
        (request.sent_ns, request.first_event_ns) = (next(), Some(next()));
        (request.gaps_us[0], request.gaps_us[1]) = (next(), next());
        request.event_tokens = Some(vec![next() as u32; (next() % 30) as usize]);
        (request.output_tokens, request.prompt_tokens) = (next() as u32, next() as u32);
        request.passes = Some(next() as u32);
        record.variant.experts_total = Some(next() as u32);
        record.variant.experts_used = Some(next() as u32);
        (record.variant.dense_bytes, record.variant.params_active) = (next(), next());
        record.variant.kv[0].elements_per_token = next();
        record.workload.concurrency = next() as u32;
        record.workload.output_tokens = next() as u32;
        record.hosts[0].memory_bytes = Some(next());
        let mut trace = meter("counter", &[next(), next(), next()]);
        trace.t_ns[1] = next();
        record.meters.push(trace);
        prop_assert!(check(&record, None).findings.len() <= 10);
    }
}
