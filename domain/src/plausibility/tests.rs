//! An honest record of a tiny model passes; each lie is caught by its rule; nothing panics.

use proptest::prelude::*;

use super::*;
use crate::json::parse_strict;
use crate::record::{
    AnsweredItem, AttributionMethod, EnergyClaim, MeasuredEnergy, MeterTrace, SuiteRef,
};
use crate::scope::ScopeKey;
use crate::text::{Answer, Name};

fn honest() -> Record {
    parse_strict(include_bytes!("../../fixtures/record.json")).expect("the fixture is a record")
}

/// Judged by a profile of the first machine.
fn with_profile(record: &Record, toml: &str) -> Findings {
    let text = format!(
        "profile = \"hardware\"\nslug = \"m\"\nname = \"M\"\nvendor = \"V\"\nkind = \"soc\"\nsources = []\nconfidence = \"high\"\n{toml}"
    );
    let catalogue = Catalogue::parse([("m.toml", text.as_str())]).expect("a profile");
    let mut record = record.clone();
    record.hosts[0].profile = Some("m".parse().expect("a slug"));
    check(&record, &catalogue)
}

fn alone(record: &Record) -> Findings {
    check(record, &Catalogue::default())
}

fn broken_by(change: impl FnOnce(&mut Record)) -> Vec<Rule> {
    let mut record = honest();
    change(&mut record);
    alone(&record)
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
    assert_eq!(alone(&honest()), Findings::default());
    assert_eq!(
        with_profile(&honest(), "memory_bandwidth_gb_s = 0.01"),
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
    assert_eq!(alone(&record), Findings::default());
    let findings = with_profile(&record, "memory_bandwidth_gb_s = 1792.0");
    assert_eq!(findings.findings.len(), 1);
    assert!(
        findings.in_words()[0].starts_with("decode: repetition 2: 7"),
        "{findings:?}"
    );
    assert!(!with_profile(&record, "memory_bandwidth_gb_s = 8000.0").broken());
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
    let fast = with_profile(&honest(), "fp16_dense_tflops = 0.001");
    assert_eq!(fast.findings[0].rule, Rule::Prefill);
    assert!(!with_profile(&honest(), "fp16_dense_tflops = 1.0").broken());
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

/// Watts of ten seconds each, sampled ten times a second, as the package's joules: idle, then two
/// loops.
fn working(watts: [f64; 3]) -> Record {
    let mut record = honest();
    let mut trace = meter("power", &[]);
    for step in 0..=300_u64 {
        trace.t_ns.push(step * 100_000_000);
        let place = (step / 100).min(2) as usize;
        // What never changes is stale.
        let ripple = if step % 2 == 0 { 1e5 } else { -1e5 };
        trace.v.push((1e6 * watts[place] + ripple) as u64);
        trace.latency_ns.push(1);
    }
    trace.update_ns = Some(100_000_000);
    record.meters.push(trace);
    record.phases = [
        PhaseKind::IdleLoaded,
        PhaseKind::PrefillLoop,
        PhaseKind::DecodeLoop,
    ]
    .into_iter()
    .zip(0..)
    .map(|(phase, place): (PhaseKind, u64)| Phase {
        phase,
        rep: None,
        host: 0,
        start_ns: (10 * place) * 1_000_000_000,
        end_ns: (10 * place + 10) * 1_000_000_000,
        requests: 1,
        tokens_in: 1,
        tokens_out: 1,
    })
    .collect();
    claim(&mut record, Scope::CpuPkg);
    record
}

fn claim(record: &mut Record, scope: Scope) {
    record.meters[0].scope = scope;
    record.energy = EnergyClaim::Measured(MeasuredEnergy {
        scope: ScopeKey::of(&[scope]).expect("one scope"),
        meters: vec![0],
        method: AttributionMethod::Loops,
    });
}

#[test]
fn work_takes_no_less_than_this_runs_idling() {
    assert_eq!(rules(&working([20.0, 60.0, 40.0])), []);
    // A tiny model hardly moves a large machine, and noise may go either way.
    assert_eq!(rules(&working([100.0, 99.0, 97.0])), []);
    assert_eq!(rules(&working([100.0, 70.0, 75.0])), [Rule::Joules]);
    // What cannot be integrated breaks no rule: it has no joules.
    let mut unclaimed = working([100.0, 70.0, 75.0]);
    unclaimed.meters[0].used = false;
    assert_eq!(rules(&unclaimed), []);
    let mut never_idle = working([100.0, 70.0, 75.0]);
    never_idle.phases.remove(0);
    assert_eq!(rules(&never_idle), []);
    // Of several idle stretches, the quietest one counts.
    let mut disturbed = working([100.0, 70.0, 75.0]);
    disturbed.phases[1].phase = PhaseKind::IdleUnloaded;
    assert_eq!(rules(&disturbed), []);
}

#[test]
fn nothing_draws_more_than_it_can() {
    let board = |limit_mw: Option<u64>, watts: f64| {
        let mut record = working([20.0, 60.0, watts]);
        record.hosts[0].gpus.push(crate::record::Gpu {
            gpu: 0,
            name: Name::cleaned("card"),
            driver: None,
            memory_bytes: None,
            power_limit_mw: limit_mw,
            uuid_hash: None,
            used: true,
        });
        claim(&mut record, Scope::GpuBoard);
        rules(&record)
    };
    assert_eq!(board(Some(200_000), 215.0), [], "a little over is real");
    assert_eq!(board(Some(200_000), 230.0), [Rule::Joules]);
    assert_eq!(board(None, 4_000.0), []);
    let plug = |watts: f64| {
        let mut record = working([20.0, 60.0, watts]);
        claim(&mut record, Scope::WallAc);
        let findings = with_profile(&record, "max_wall_w = 200");
        findings
            .findings
            .into_iter()
            .map(|f| f.rule)
            .collect::<Vec<_>>()
    };
    assert_eq!(plug(270.0), [], "the supply's loss, and a little over");
    assert_eq!(plug(280.0), [Rule::Joules]);
}

#[test]
fn a_battery_and_a_sampler_are_of_this_world() {
    assert_eq!(
        broken_by(|r| r.hosts[0].battery_full_uwh = Some(72_000_000)),
        []
    );
    for uwh in [0, u64::MAX] {
        let broken = broken_by(|r| r.hosts[0].battery_full_uwh = Some(uwh));
        assert_eq!(broken, [Rule::Ranges]);
    }
    let cost = |span_ns| {
        broken_by(|record| {
            record.sampler = Some(crate::record::SamplerCost {
                cpu_ns: 1,
                span_ns,
                reads: 1,
            });
        })
    };
    assert_eq!((cost(1_000), cost(0)), (vec![], vec![Rule::Ranges]));
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
        answer_bytes: None,
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
                asking: None,
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

/// A request so much later.
fn put_off(request: &mut Request, ns: u64) {
    request.sent_ns += ns;
    request.first_event_ns = request.first_event_ns.map(|at| at + ns);
    request.first_visible_ns = request.first_event_ns;
}

/// Two streams for one: the second asks 1 ms after the first and answers as slowly.
fn in_two_streams(mut record: Record) -> Record {
    record.workload.concurrency = 2;
    for (number, rep) in record.repetitions.iter_mut().enumerate() {
        let later = 2_000_000 * number as u64;
        (rep.start_ns, rep.end_ns) = (rep.start_ns + later, rep.end_ns + later + 1_000_000);
        rep.requests.iter_mut().for_each(|r| put_off(r, later));
        let mut second = rep.requests.clone();
        for request in &mut second {
            request.stream = 1;
            put_off(request, 1_000_000);
            request.gaps_us.rotate_left(5);
        }
        rep.requests.extend(second);
    }
    record
}

fn rules(record: &Record) -> Vec<Rule> {
    let findings = alone(record).findings;
    findings.into_iter().map(|finding| finding.rule).collect()
}

#[test]
fn streams_that_run_together_pass_and_others_do_not() {
    let honest = in_two_streams(honest());
    assert_eq!(alone(&honest), Findings::default());
    let mut unasked = honest.clone();
    unasked.workload.concurrency = 1;
    assert_eq!(rules(&unasked), [Rule::Tokens]);
    // The second stream starts once the first has ended.
    let mut apart = honest.clone();
    let rep = &mut apart.repetitions[7];
    let later = rep.end_ns - rep.start_ns + 100_000_000;
    for request in rep
        .requests
        .iter_mut()
        .filter(|request| request.stream == 1)
    {
        put_off(request, later);
    }
    rep.end_ns += later;
    assert_eq!(rules(&apart), [Rule::Times]);
    // A stream that idles between its requests was not measured in a closed loop.
    let mut idle = honest;
    let rep = &mut idle.repetitions[7];
    for request in rep
        .requests
        .iter_mut()
        .filter(|request| request.sent_ns > rep.start_ns + 20_000_000)
    {
        put_off(request, 200_000_000);
    }
    rep.end_ns += 200_000_000;
    assert_eq!(rules(&idle), [Rule::Times]);
}

#[test]
fn all_streams_together_read_no_faster_than_the_memory() {
    // 7 GB of weights: alone each stream makes 1,080 passes a second, 7.6 TB/s.
    let mut record = in_two_streams(honest());
    record.variant.dense_bytes *= 1_000;
    record.variant.files[0].bytes *= 1_000;
    record.variant.params_total *= 1_000;
    record.hosts[0].memory_bytes = record.hosts[0].memory_bytes.map(|bytes| bytes * 8);
    let shared = with_profile(&record, "memory_bandwidth_gb_s = 8000.0");
    assert_eq!(shared, Findings::default(), "streams share their passes");
    // A wide cache that every stream reads for itself: 24 GB/s for one, 50 for both.
    let mut wide = in_two_streams(honest());
    wide.variant.kv[0].elements_per_token = 2_000_000_000;
    wide.hosts[0].memory_bytes = Some(u64::MAX);
    assert_eq!(rules(&wide), [Rule::Decode]);
}

#[test]
fn a_cached_context_counts_and_has_to_be_cached() {
    let mut record = honest();
    record.workload.kv_state = KvState::WarmPrefix;
    record.workload.depth_tokens = 100;
    for rep in &mut record.repetitions {
        for request in &mut rep.requests {
            (request.prompt_tokens, request.cached_tokens) = (132, Some(100));
        }
        // Contexts are loaded in between, untimed.
        rep.end_ns += 500_000;
    }
    for (number, rep) in record.repetitions.iter_mut().enumerate() {
        let later = 1_000_000_000 * number as u64;
        (rep.start_ns, rep.end_ns) = (rep.start_ns + later, rep.end_ns + later + 900_000_000);
        for request in &mut rep.requests {
            put_off(request, later);
        }
    }
    assert_eq!(alone(&record), Findings::default());
    first_request(&mut record).cached_tokens = Some(89);
    assert_eq!(rules(&record), [Rule::Cold]);
    first_request(&mut record).cached_tokens = None;
    assert_eq!(rules(&record), [], "what nobody counted cannot be broken");
    record.workload.kv_state = KvState::ExactHit;
    assert_eq!(rules(&record), [Rule::Cold], "100 of 132 are no whole hit");
}

/// As llama-bench reports it: each phase by its own clock, no events.
fn timed_by_the_engine() -> Record {
    let mut record = honest();
    for rep in &mut record.repetitions {
        rep.requests.truncate(2);
        let (prompt, output) = (32, 24);
        for (request, is_prefill) in rep.requests.iter_mut().zip([true, false]) {
            (request.first_event_ns, request.first_visible_ns) = (None, None);
            request.gaps_us.clear();
            request.prompt_tokens = if is_prefill { prompt } else { 0 };
            request.output_tokens = if is_prefill { 0 } else { output };
            request.engine_prefill_ns = is_prefill.then_some(12_000_000);
            request.engine_decode_ns = (!is_prefill).then_some(22_000_000);
        }
    }
    record
}

#[test]
fn an_engine_that_times_itself_is_judged_by_its_own_clock() {
    let honest = timed_by_the_engine();
    assert_eq!(alone(&honest), Findings::default());
    let broken = |change: fn(&mut Request)| {
        let mut record = honest.clone();
        record.repetitions[3].requests.iter_mut().for_each(change);
        rules(&record)
    };
    let shorter = |request: &mut Request| {
        request.engine_decode_ns = request.engine_decode_ns.map(|_| 100);
    };
    assert_eq!(broken(shorter), [Rule::Decode]);
    let longer = |request: &mut Request| {
        request.engine_decode_ns = request.engine_decode_ns.map(|_| 1_000_000_000);
    };
    assert_eq!(broken(longer), [Rule::Times]);
    let more = |request: &mut Request| request.output_tokens *= 2;
    assert_eq!(broken(more), [Rule::Tokens]);
    let both = |request: &mut Request| {
        (request.engine_prefill_ns, request.engine_decode_ns) = (Some(1), Some(1));
    };
    assert_eq!(broken(both), [Rule::Tokens]);
}

#[test]
fn shared_out_counts_add_up() {
    let mut record = honest();
    for request in record
        .repetitions
        .iter_mut()
        .flat_map(|rep| &mut rep.requests)
    {
        let mut tokens = vec![1; 23];
        tokens[4] = 2;
        request.gaps_us.pop();
        request.event_tokens = Some(tokens);
        request.token_source = crate::record::TokenSource::Apportioned;
    }
    assert_eq!(rules(&record), []);
}

#[test]
fn machines_with_profiles_of_their_own_are_added_up() {
    let mut record = honest();
    record.variant.dense_bytes *= 1_000;
    record.variant.files[0].bytes *= 1_000;
    record.variant.params_total *= 1_000;
    record.hosts[0].memory_bytes = record.hosts[0].memory_bytes.map(|bytes| bytes * 8);
    let mut second = record.hosts[0].clone();
    second.host = 1;
    record.hosts.push(second);
    let hardware = |slug: &str, gb_s: u32| {
        format!(
            "profile = \"hardware\"\nslug = \"{slug}\"\nname = \"M\"\nvendor = \"V\"\nkind = \"soc\"\nsources = []\nconfidence = \"high\"\nmemory_bandwidth_gb_s = {gb_s}"
        )
    };
    let judged = |fast: u32, slow: u32| {
        let (fast, slow) = (hardware("fast", fast), hardware("slow", slow));
        let files = [("f.toml", fast.as_str()), ("s.toml", slow.as_str())];
        let catalogue = Catalogue::parse(files).expect("profiles");
        let mut record = record.clone();
        for (host, slug) in record.hosts.iter_mut().zip(["fast", "slow"]) {
            host.profile = Some(slug.parse().expect("a slug"));
        }
        check(&record, &catalogue)
    };
    // 7.6 TB/s are read.
    assert_eq!(judged(6_000, 2_000), Findings::default());
    assert_eq!(judged(2_000, 2_000).findings[0].rule, Rule::Decode);
}

#[test]
fn an_engine_does_not_read_next_to_nothing() {
    assert_eq!(
        broken_by(|r| r.settings.weight_bytes_per_pass = Some(14_000_000)),
        []
    );
    for bytes in [0, 100_000, u64::MAX] {
        assert_eq!(
            broken_by(|r| r.settings.weight_bytes_per_pass = Some(bytes)),
            [Rule::Ranges]
        );
    }
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
        prop_assert!(alone(&record).findings.len() <= 10);
    }
}
