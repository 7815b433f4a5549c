//! What no honest record says: checks against physics and against the record itself.
//!
//! Broken rules do not refuse a record: it is stored, quarantined and shown with the reason.
//! So every bound must hold for every real machine. Bandwidth and compute are those of the
//! machine's profile; where there is none, or where the weights fit in a cache (tiny models on
//! a CPU do, and run far above memory bandwidth), an absolute bound takes their place that no
//! single device reaches. The checks are pure and total: no record makes them panic.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::energy::MAX_DEVICE_POWER;
use crate::hardware::HardwareProfile;
use crate::record::{
    Finish, KvKind, KvState, MeterKind, Record, Repetition, Request, SpeculationMethod,
};
use crate::scope::Scope;

/// Measured over theoretical speed up to which a data sheet may be off.
const SHEET_TOLERANCE: f64 = 1.05;

/// Weights up to this size may be served from a cache: the largest last-level caches of one
/// processor hold about 1.1 GB (AMD EPYC 9684X).
const CACHE_RESIDENT_BYTES: f64 = 1.2e9;

/// No single device reads weights faster, caches included: `HBM3e` delivers 8 TB/s (NVIDIA B200),
/// on-chip memories of graphics processors and large CPUs stay below 40 TB/s.
const MAX_BYTES_PER_SECOND: f64 = 4e13;

/// No stream of any machine makes more passes: a pass is a chain of dependent layers, and
/// 10 microseconds for one is below what a single kernel launch or thread hand-over costs.
const MAX_PASSES_PER_SECOND: f64 = 1e5;

/// No single device computes faster: dense FP4 of NVIDIA's Blackwell is 1e16 FLOP/s.
const MAX_FLOP_PER_SECOND: f64 = 2e16;

/// The fastest number format of a device against its FP16 peak: FP4 on Blackwell.
const FASTEST_FORMAT: f64 = 4.0;

/// Gap vectors at least this long that are equal were copied.
const COPY_MIN_GAPS: usize = 16;

/// Time per request that belongs to neither TTFT nor gaps, such as making the next prompt.
const BETWEEN_REQUESTS_NS: u64 = 20_000_000;

/// A rule of this page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Spans run forward, follow each other, and add up.
    Times,
    /// Token counts fit each other and the workload.
    Tokens,
    /// No repetition is a copy of another.
    Copy,
    /// Decoding does not read faster than memory delivers.
    Decode,
    /// Prefill does not compute faster than the device can.
    Prefill,
    /// Weights and cache fit in memory.
    Fit,
    /// Meters say what a device can draw.
    Joules,
    /// Answers lie within the quality phase.
    Quality,
    /// Shares are shares; sizes fit each other.
    Ranges,
    /// A cold cache is cold.
    Cold,
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which.
    pub rule: Rule,
    /// What was found first, in words with numbers.
    pub detail: String,
}

/// All broken rules, at most one finding each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Findings {
    /// In the order of [`Rule`].
    pub findings: Vec<Finding>,
}

impl Rule {
    /// The rule's name, as in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Times => "times",
            Self::Tokens => "tokens",
            Self::Copy => "copy",
            Self::Decode => "decode",
            Self::Prefill => "prefill",
            Self::Fit => "fit",
            Self::Joules => "joules",
            Self::Quality => "quality",
            Self::Ranges => "ranges",
            Self::Cold => "cold",
        }
    }
}

impl Findings {
    /// A rule is broken: the record belongs in quarantine.
    pub fn broken(&self) -> bool {
        !self.findings.is_empty()
    }

    /// Each finding as `rule: detail`.
    pub fn in_words(&self) -> Vec<String> {
        self.findings
            .iter()
            .map(|finding| format!("{}: {}", finding.rule.as_str(), finding.detail))
            .collect()
    }
}

/// Checks a record; `hardware` is the profile of the machine when it is known.
pub fn check(record: &Record, hardware: Option<&HardwareProfile>) -> Findings {
    let checks = [
        (Rule::Times, times(record)),
        (Rule::Tokens, tokens(record)),
        (Rule::Copy, copies(record)),
        (Rule::Decode, decode(record, hardware)),
        (Rule::Prefill, prefill(record, hardware)),
        (Rule::Fit, fit(record)),
        (Rule::Joules, joules(record)),
        (Rule::Quality, quality(record)),
        (Rule::Ranges, ranges(record)),
        (Rule::Cold, cold(record)),
    ];
    let findings = checks
        .into_iter()
        .filter_map(|(rule, outcome)| outcome.err().map(|detail| Finding { rule, detail }))
        .collect();
    Findings { findings }
}

/// Sound, or what is broken in words.
type Check = Result<(), String>;

fn ensure(holds: bool, detail: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(detail()) }
}

/// Repetitions that count, with their place in words.
fn counting(record: &Record) -> impl Iterator<Item = &Repetition> {
    record
        .repetitions
        .iter()
        .filter(|rep| !rep.warmup && rep.void.is_none())
}

/// The last token's moment; `None` without a token, or beyond what a clock can say.
fn last_event_ns(request: &Request) -> Option<u64> {
    let gaps_us = request
        .gaps_us
        .iter()
        .try_fold(0u64, |sum, gap| sum.checked_add(*gap))?;
    request
        .first_event_ns?
        .checked_add(gaps_us.checked_mul(1_000)?)
}

/// Seconds from the first token to the last, and the tokens emitted in them.
fn decode_span(request: &Request) -> Option<(f64, f64)> {
    let first = request.first_event_ns?;
    let seconds = last_event_ns(request)?.checked_sub(first)? as f64 / 1e9;
    let in_first_event = match &request.event_tokens {
        Some(tokens) => *tokens.first()?,
        None => 1,
    };
    let tokens = f64::from(request.output_tokens.checked_sub(in_first_event)?);
    Some((seconds, tokens))
}

fn times(record: &Record) -> Check {
    // `started_ms` and `ended_ms` are labels: a wall clock may be set back during an honest run.
    for rep in &record.repetitions {
        ensure(rep.end_ns > rep.start_ns, || {
            format!("repetition {} does not run forward", rep.rep)
        })?;
    }
    for pair in record.repetitions.windows(2) {
        ensure(pair[1].start_ns >= pair[0].end_ns, || {
            format!(
                "repetition {} starts before the one before it ends",
                pair[1].rep
            )
        })?;
    }
    for phase in &record.phases {
        ensure(phase.end_ns >= phase.start_ns, || {
            "a phase does not run forward".into()
        })?;
    }
    counting(record).try_for_each(repetition_times)
}

fn repetition_times(rep: &Repetition) -> Check {
    let place = rep.rep;
    let wall_ns = rep.end_ns - rep.start_ns;
    let mut streams: BTreeMap<u32, (u64, u64, u64)> = BTreeMap::new();
    for request in &rep.requests {
        let (Some(first), Some(last)) = (request.first_event_ns, last_event_ns(request)) else {
            continue;
        };
        let visible = request.first_visible_ns;
        let ordered = rep.start_ns <= request.sent_ns
            && request.sent_ns < first
            && last
                <= rep
                    .end_ns
                    .saturating_add(1_000 * request.gaps_us.len() as u64)
            && visible.is_none_or(|visible| visible >= first);
        ensure(ordered, || {
            format!("a request of repetition {place} leaves its span")
        })?;
        ensure(request.gaps_us.is_empty() || last > first, || {
            format!("repetition {place} emits its tokens in no time")
        })?;
        let (busy, ended, count) = streams.entry(request.stream).or_default();
        // Gaps are whole microseconds: each may be off by one half.
        let rounding = 1_000 * (request.gaps_us.len() as u64 + 1);
        ensure(request.sent_ns.saturating_add(rounding) >= *ended, || {
            format!("requests of one stream overlap in repetition {place}")
        })?;
        *busy = busy.saturating_add(last - request.sent_ns);
        *ended = last;
        *count += 1;
    }
    for (busy, _, count) in streams.into_values() {
        let between = BETWEEN_REQUESTS_NS
            .saturating_mul(count + 1)
            .max(wall_ns / 100);
        ensure(busy.saturating_add(between) >= wall_ns, || {
            format!(
                "TTFT and gaps of repetition {place} add up to {:.3} s of {:.3} s",
                busy as f64 / 1e9,
                wall_ns as f64 / 1e9
            )
        })?;
    }
    Ok(())
}

fn tokens(record: &Record) -> Check {
    for rep in counting(record) {
        let place = rep.rep;
        for request in &rep.requests {
            let counted = match (&request.event_tokens, request.first_event_ns) {
                (_, None) => Some(0),
                (None, Some(_)) => u64::try_from(request.gaps_us.len())
                    .ok()
                    .map(|gaps| gaps + 1),
                (Some(tokens), Some(_)) => (tokens.len() == request.gaps_us.len() + 1)
                    .then(|| tokens.iter().map(|k| u64::from(*k)).sum()),
            };
            ensure(counted == Some(u64::from(request.output_tokens)), || {
                format!(
                    "repetition {place}: token events do not add up to {} tokens",
                    request.output_tokens
                )
            })?;
            let parts_fit = request.reasoning_tokens <= request.output_tokens
                && request
                    .cached_tokens
                    .is_none_or(|cached| cached <= request.prompt_tokens)
                && request
                    .accepted_tokens
                    .is_none_or(|accepted| accepted <= request.output_tokens);
            ensure(parts_fit, || {
                format!("repetition {place}: a part exceeds its whole")
            })?;
            let asked = &record.workload;
            ensure(
                request.output_tokens == asked.output_tokens
                    || (request.finish == Finish::Stop && !asked.eos_banned),
                || {
                    format!(
                        "repetition {place}: {} tokens emitted, {} asked",
                        request.output_tokens, asked.output_tokens
                    )
                },
            )?;
            let with_context = asked.prompt_tokens.saturating_add(asked.depth_tokens);
            ensure(
                [asked.prompt_tokens, with_context].contains(&request.prompt_tokens),
                || {
                    format!(
                        "repetition {place}: a prompt of {} tokens, {} asked",
                        request.prompt_tokens, asked.prompt_tokens
                    )
                },
            )?;
        }
    }
    Ok(())
}

fn copies(record: &Record) -> Check {
    let mut seen: BTreeMap<&[u64], u32> = BTreeMap::new();
    for rep in counting(record) {
        for request in rep
            .requests
            .iter()
            .filter(|r| r.gaps_us.len() >= COPY_MIN_GAPS)
        {
            if let Some(other) = seen.insert(&request.gaps_us, rep.rep) {
                return Err(format!(
                    "repetitions {other} and {} share all their gaps",
                    rep.rep
                ));
            }
        }
    }
    Ok(())
}

/// Bytes of weights read per pass: routed experts by the used share, no embedding look-up.
fn active_bytes(record: &Record) -> f64 {
    let variant = &record.variant;
    let routed = match (
        variant.routed_expert_bytes,
        variant.experts_used,
        variant.experts_total,
    ) {
        (Some(bytes), Some(used), Some(total)) if total > 0 => {
            bytes as f64 * f64::from(used.min(total)) / f64::from(total)
        }
        (bytes, _, _) => bytes.unwrap_or(0) as f64,
    };
    variant.dense_bytes as f64
        + variant.head_bytes as f64
        + variant.shared_expert_bytes.unwrap_or(0) as f64
        + routed
}

/// Bytes of the KV cache at a number of tokens.
fn kv_bytes(record: &Record, tokens: f64) -> f64 {
    let width = |kind: Option<&crate::text::Name>| match kind.map(crate::text::Name::as_str) {
        Some("f32") => 4.0,
        Some("q8_0") => 34.0 / 32.0,
        Some("q4_0" | "q4_1" | "q5_0" | "q5_1") => 18.0 / 32.0,
        _ => 2.0,
    };
    let settings = &record.settings;
    let bytes_per_element = f64::midpoint(
        width(settings.kv_type_k.as_ref()),
        width(settings.kv_type_v.as_ref()),
    );
    let elements = |layer: &crate::record::KvLayout| {
        let cached = match (layer.kind, layer.window_tokens) {
            (KvKind::State, _) => return layer.state_elements.unwrap_or(0) as f64,
            (KvKind::Window, Some(window)) => tokens.min(window as f64),
            _ => tokens,
        };
        cached * layer.elements_per_token as f64
    };
    record
        .variant
        .kv
        .iter()
        .map(|layer| f64::from(layer.layers) * elements(layer) * bytes_per_element)
        .sum()
}

/// Devices that may have worked together.
fn devices(record: &Record) -> f64 {
    let gpus = record
        .hosts
        .iter()
        .flat_map(|host| &host.gpus)
        .filter(|gpu| gpu.used)
        .count();
    gpus.max(record.hosts.len()).clamp(1, 1_024) as f64
}

fn decode(record: &Record, hardware: Option<&HardwareProfile>) -> Check {
    let active = active_bytes(record);
    let sheet = hardware
        .and_then(|profile| profile.memory_bandwidth_gb_s)
        .map(|gb_s| gb_s * 1e9)
        .filter(|_| active > CACHE_RESIDENT_BYTES);
    let (bandwidth, known) = match sheet {
        Some(bandwidth) => (
            bandwidth * devices(record) * SHEET_TOLERANCE,
            "its data sheet",
        ),
        None => (MAX_BYTES_PER_SECOND * devices(record), "any device"),
    };
    let workload = &record.workload;
    let streams = f64::from(workload.concurrency.max(1));
    let depth = f64::from(workload.depth_tokens)
        + f64::from(workload.prompt_tokens)
        + f64::from(workload.output_tokens) / 2.0;
    let per_pass = active + streams * kv_bytes(record, depth);
    let speculates = record.settings.speculation.method != SpeculationMethod::None;
    for rep in counting(record) {
        for request in &rep.requests {
            let Some((seconds, tokens)) = decode_span(request) else {
                continue;
            };
            if seconds <= 0.0 || tokens <= 0.0 {
                continue;
            }
            let tokens_per_pass = match request.passes {
                Some(passes) if speculates && passes > 0 => {
                    (f64::from(request.output_tokens) / f64::from(passes)).max(1.0)
                }
                _ => 1.0,
            };
            let passes_per_second = tokens / seconds / tokens_per_pass;
            let place = rep.rep;
            ensure(passes_per_second <= MAX_PASSES_PER_SECOND, || {
                format!(
                    "repetition {place}: {passes_per_second:.0} passes per second, no machine makes \
                     {MAX_PASSES_PER_SECOND:.0}"
                )
            })?;
            let read = passes_per_second * per_pass;
            ensure(read <= bandwidth, || {
                format!(
                    "repetition {place}: {:.1} GB/s would be read, {known} delivers {:.1}",
                    read / 1e9,
                    bandwidth / 1e9
                )
            })?;
        }
    }
    Ok(())
}

fn prefill(record: &Record, hardware: Option<&HardwareProfile>) -> Check {
    let peak = hardware
        .and_then(|profile| profile.fp16_dense_tflops)
        .map_or(MAX_FLOP_PER_SECOND, |tflops| {
            tflops * 1e12 * FASTEST_FORMAT * SHEET_TOLERANCE
        })
        * devices(record);
    let per_token = 2.0 * record.variant.params_active as f64;
    for rep in counting(record) {
        for request in &rep.requests {
            let ttft = request
                .first_event_ns
                .and_then(|first| first.checked_sub(request.sent_ns));
            let Some(seconds) = ttft.filter(|ns| *ns > 0).map(|ns| ns as f64 / 1e9) else {
                continue;
            };
            let fresh = request
                .prompt_tokens
                .saturating_sub(request.cached_tokens.unwrap_or(0));
            let needed = per_token * f64::from(fresh) / seconds;
            ensure(needed <= peak, || {
                format!(
                    "repetition {}: prefill would compute {:.2} TFLOP/s, the device does {:.2}",
                    rep.rep,
                    needed / 1e12,
                    peak / 1e12
                )
            })?;
        }
    }
    Ok(())
}

fn fit(record: &Record) -> Check {
    if counting(record).next().is_none() || record.hosts.is_empty() {
        return Ok(());
    }
    let memory: Option<f64> = record
        .hosts
        .iter()
        .map(|host| {
            let cards = host
                .gpus
                .iter()
                .filter_map(|gpu| gpu.memory_bytes)
                .map(|b| b as f64)
                .sum::<f64>();
            let separate = if host.unified == Some(true) {
                0.0
            } else {
                cards
            };
            Some(host.memory_bytes? as f64 + separate)
        })
        .sum();
    // What a machine did not tell cannot be broken.
    let Some(memory) = memory else {
        return Ok(());
    };
    let workload = &record.workload;
    let tokens = f64::from(workload.depth_tokens)
        + f64::from(workload.prompt_tokens)
        + f64::from(workload.output_tokens);
    let weights: f64 = record
        .variant
        .files
        .iter()
        .map(|file| file.bytes as f64)
        .sum();
    let needed = weights + f64::from(workload.concurrency) * kv_bytes(record, tokens);
    ensure(needed <= memory, || {
        format!(
            "weights and cache need {:.1} GB of {:.1} GB",
            needed / 1e9,
            memory / 1e9
        )
    })?;
    for rep in counting(record) {
        ensure(
            rep.peak_bytes.is_none_or(|peak| peak as f64 <= memory),
            || format!("repetition {} used more memory than there is", rep.rep),
        )?;
    }
    Ok(())
}

fn joules(record: &Record) -> Check {
    let limit = MAX_DEVICE_POWER.0 * 1e6;
    for trace in &record.meters {
        let device = &trace.device;
        let lengths = [trace.v.len(), trace.latency_ns.len()];
        let source = trace
            .source_t_ns
            .as_ref()
            .map_or(trace.t_ns.len(), Vec::len);
        ensure(
            lengths
                .iter()
                .chain([&source])
                .all(|len| *len == trace.t_ns.len()),
            || format!("the arrays of meter {device} differ in length"),
        )?;
        ensure(trace.t_ns.windows(2).all(|pair| pair[0] <= pair[1]), || {
            format!("meter {device} was read backward in time")
        })?;
        if trace.kind != MeterKind::Counter {
            ensure(trace.v.iter().all(|uw| *uw as f64 <= limit), || {
                format!("meter {device} says more than {:.0} W", MAX_DEVICE_POWER.0)
            })?;
        }
        let power_limits = || {
            let gpus = record
                .hosts
                .iter()
                .filter(|host| host.host == trace.host)
                .flat_map(|host| &host.gpus);
            gpus.filter_map(|gpu| gpu.power_limit_mw).max()
        };
        let over_limit = |mean_uw: f64| match power_limits() {
            Some(mw) if trace.scope == Scope::GpuBoard => mean_uw > 1.10 * 1e3 * mw as f64,
            _ => false,
        };
        if let Some(mean) = mean_microwatts(trace) {
            ensure(mean <= limit && !over_limit(mean), || {
                format!(
                    "meter {device} says {:.0} W on average, more than the device draws",
                    mean / 1e6
                )
            })?;
        }
    }
    Ok(())
}

/// Mean power over a whole trace of at least a second, where it can be told without undoing
/// wraps: what a wrap or reset hides is judged when joules are integrated.
fn mean_microwatts(trace: &crate::record::MeterTrace) -> Option<f64> {
    let seconds = trace.t_ns.last()?.checked_sub(*trace.t_ns.first()?)? as f64 / 1e9;
    if seconds < 1.0 {
        return None;
    }
    match trace.kind {
        MeterKind::Counter => {
            let rising = trace.v.windows(2).all(|pair| pair[0] <= pair[1]);
            rising.then(|| {
                (*trace.v.last().unwrap_or(&0) - trace.v.first().unwrap_or(&0)) as f64 / seconds
            })
        }
        MeterKind::Power | MeterKind::Model => {
            Some(trace.v.iter().map(|uw| *uw as f64).sum::<f64>() / trace.v.len() as f64)
        }
    }
}

fn quality(record: &Record) -> Check {
    let Some(quality) = &record.quality else {
        return Ok(());
    };
    ensure(record.suite.is_some(), || "answers without a suite".into())?;
    let phases: Vec<_> = record
        .phases
        .iter()
        .filter(|phase| phase.phase == crate::record::PhaseKind::Quality)
        .collect();
    let mut ended = 0;
    for item in &quality.items {
        let place = || format!("{} {} {}", item.family, item.level, item.index);
        ensure(item.end_ns > item.start_ns, || {
            format!("answer {} takes no time", place())
        })?;
        let inside = phases.is_empty()
            || phases
                .iter()
                .any(|p| p.start_ns <= item.start_ns && item.end_ns <= p.end_ns);
        ensure(inside, || {
            format!("answer {} lies outside the quality phase", place())
        })?;
        ensure(
            record.workload.concurrency > 1 || item.start_ns >= ended,
            || format!("answer {} starts before the one before it ends", place()),
        )?;
        ended = item.end_ns;
        let seconds = (item.end_ns - item.start_ns) as f64 / 1e9;
        ensure(
            f64::from(item.tokens_out) <= 1.0 + MAX_PASSES_PER_SECOND * seconds,
            || {
                format!(
                    "answer {} has {} tokens in {seconds:.6} s",
                    place(),
                    item.tokens_out
                )
            },
        )?;
        ensure(item.reasoning_tokens <= item.tokens_out, || {
            format!("answer {} reasons longer than it is", place())
        })?;
    }
    Ok(())
}

fn ranges(record: &Record) -> Check {
    let variant = &record.variant;
    let share = |ppm: u32| ppm <= 1_000_000;
    ensure(share(variant.pruning.ratio_ppm), || {
        "more pruned than there was".into()
    })?;
    ensure(record.workload.top_p_ppm.is_none_or(share), || {
        "top-p above 1".into()
    })?;
    ensure(record.workload.temperature_ppm <= 100_000_000, || {
        "a temperature above 100".into()
    })?;
    ensure(
        record.meters.iter().all(|m| m.sensor_ppm.is_none_or(share)),
        || "a sensor that may be off by more than all".into(),
    )?;
    ensure(variant.params_active <= variant.params_total, || {
        "more active parameters than there are".into()
    })?;
    // Nothing can be computed without parameters: who claims none has no roofline.
    ensure(
        variant.params_total > 0 && variant.params_active > 0,
        || "a model without parameters".into(),
    )?;
    let read = variant.dense_bytes as f64 + variant.routed_expert_bytes.unwrap_or(0) as f64;
    ensure(read > 0.0, || "a model without weights".into())?;
    // A roofline is only as good as the bytes it is computed from: they must make up the file.
    let file: f64 = variant.files.iter().map(|file| file.bytes as f64).sum();
    let tensors = variant.dense_bytes as f64
        + variant.embedding_bytes as f64
        + variant.shared_expert_bytes.unwrap_or(0) as f64
        + variant.routed_expert_bytes.unwrap_or(0) as f64;
    let largest = tensors.max(variant.dense_bytes as f64 + variant.head_bytes as f64);
    ensure(largest <= file * 1.01, || {
        format!("tensors of {largest:.0} bytes in a file of {file:.0}")
    })?;
    // Vocabulary and metadata beside the tensors: tens of megabytes in real files.
    let with_head = tensors + variant.head_bytes as f64;
    ensure(file <= 2.0 * with_head + 1e8, || {
        format!("a file of {file:.0} bytes with tensors of {with_head:.0}")
    })
}

fn cold(record: &Record) -> Check {
    if record.workload.kv_state != KvState::Cold {
        return Ok(());
    }
    let warm = counting(record).find(|rep| {
        rep.requests
            .iter()
            .any(|request| request.cached_tokens.unwrap_or(0) > 0)
    });
    match warm {
        Some(rep) => Err(format!(
            "repetition {} is called cold and had cached tokens",
            rep.rep
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
