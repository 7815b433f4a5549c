//! What no honest record says: checks against physics and against the record itself.
//!
//! Broken rules do not refuse a record: it is stored, quarantined and shown with the reason.
//! So every bound must hold for every real machine. Bandwidth and compute are those of the
//! machines' profiles, added up; where there is none, or where the weights fit in a cache (tiny models on
//! a CPU do, and run far above memory bandwidth), an absolute bound takes their place that no
//! single device reaches. The checks are pure and total: no record makes them panic.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::energy::{EnergyCurve, MAX_DEVICE_POWER, ScopeMeters};
use crate::hardware::{Catalogue, HardwareProfile};
use crate::record::{
    Finish, Host, KvState, MeterKind, MeterTrace, Phase, PhaseKind, Record, Repetition, Request,
    SpeculationMethod,
};
use crate::roofline::{
    active_file_bytes, active_weight_bytes, computed_params, kv_bytes, mean_context_tokens,
};
use crate::scope::Scope;
use crate::speeds::{self, Part, last_event_ns};

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

/// Share of its context or prompt that a warm request must at least have had cached, in percent.
const WARM_PERCENT: u64 = 90;

/// An engine may hold matrices wider or narrower than the file does (a file of 16 bits held in
/// four, one of four bits held in 32), but not without bound: who claims to read next to nothing
/// would have no roofline.
const HELD_AT_LEAST: f64 = 0.95;
const HELD_AT_MOST: f64 = 8.0;

/// Work takes at least this share of what the same meters saw idle in the same run.
const LEAST_OF_IDLE: f64 = 0.8;

/// A device draws its power limit, and for moments a little more.
const OVER_LIMIT: f64 = 1.10;

/// The worst supply passes on this share of what it takes from the wall.
const LEAST_SUPPLY: f64 = 0.8;

/// Spans at least this long are held against a power limit: shorter peaks are real.
const LIMIT_SPAN_NS: u64 = 1_000_000_000;

/// No battery of a machine that one person carries holds more, in micro-watt-hours.
const MAX_BATTERY_UWH: u64 = 10_000_000_000;

/// Most tokens that guessing ahead accepts per pass on average: drafts are some ten tokens long.
const MAX_TOKENS_PER_PASS: f64 = 64.0;

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
    /// A cold cache is cold, and a warm one warm.
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

/// Checks a record; its hosts' profiles are those of the catalogue.
pub fn check(record: &Record, catalogue: &Catalogue) -> Findings {
    let checks = [
        (Rule::Times, times(record)),
        (Rule::Tokens, tokens(record)),
        (Rule::Copy, copies(record)),
        (Rule::Decode, decode(record, catalogue)),
        (Rule::Prefill, prefill(record, catalogue)),
        (Rule::Fit, fit(record)),
        (Rule::Joules, joules(record, catalogue)),
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

/// The engine timed the request itself: there are no events, and it is of one phase.
fn is_engine_only(request: &Request) -> bool {
    let (prompt, output) = (request.prompt_tokens, request.output_tokens);
    let phase = match (request.engine_prefill_ns, request.engine_decode_ns) {
        (Some(ns), None) => ns > 0 && prompt > 0 && output == 0,
        (None, Some(ns)) => ns > 0 && prompt == 0 && output > 0,
        _ => false,
    };
    phase && request.first_event_ns.is_none() && request.gaps_us.is_empty()
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
    engine_times(record)?;
    // Before a warm request its context is loaded, outside of any request's time.
    let closed_loop = record.workload.kv_state == KvState::Cold;
    counting(record).try_for_each(|rep| repetition_times(rep, closed_loop))
}

/// Engines that time themselves do not say when: together they were busy no longer than it took.
fn engine_times(record: &Record) -> Check {
    let (mut busy, mut wall) = (0.0, 0.0);
    for rep in counting(record) {
        let own = || {
            rep.requests
                .iter()
                .filter(|request| is_engine_only(request))
        };
        if own().next().is_none() {
            continue;
        }
        wall += (rep.end_ns - rep.start_ns) as f64;
        busy += own()
            .filter_map(|request| request.engine_prefill_ns.or(request.engine_decode_ns))
            .map(|ns| ns as f64)
            .sum::<f64>();
    }
    ensure(busy <= 1.01 * wall, || {
        format!(
            "the engine says it was busy for {:.3} s of {:.3} s",
            busy / 1e9,
            wall / 1e9
        )
    })
}

/// What one stream did in a repetition.
#[derive(Default)]
struct StreamTimes {
    /// In TTFT and gaps.
    busy_ns: u64,
    /// Its last token.
    ended_ns: u64,
    /// When it sent its last request.
    last_sent_ns: u64,
    requests: u64,
}

fn repetition_times(rep: &Repetition, closed_loop: bool) -> Check {
    let place = rep.rep;
    let mut streams: BTreeMap<u32, StreamTimes> = BTreeMap::new();
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
        let claimed = request
            .engine_prefill_ns
            .unwrap_or(0)
            .saturating_add(request.engine_decode_ns.unwrap_or(0));
        let waited = last - request.sent_ns;
        let allowed = waited.saturating_add((waited / 20).max(BETWEEN_REQUESTS_NS));
        ensure(claimed <= allowed, || {
            format!("in repetition {place} the engine's own clock says more time than passed")
        })?;
        let stream = streams.entry(request.stream).or_default();
        // Gaps are whole microseconds: each may be off by one half.
        let rounding = 1_000 * (request.gaps_us.len() as u64 + 1);
        ensure(
            request.sent_ns.saturating_add(rounding) >= stream.ended_ns,
            || format!("requests of one stream overlap in repetition {place}"),
        )?;
        stream.busy_ns = stream.busy_ns.saturating_add(last - request.sent_ns);
        stream.ended_ns = last;
        stream.last_sent_ns = request.sent_ns;
        stream.requests += 1;
    }
    if closed_loop {
        accounted_for(rep, &streams)
    } else {
        Ok(())
    }
}

/// Every stream asks again at once until all end together, so TTFT and gaps make up its time:
/// from the start to its last token, and of the last stream to the end. Nobody asks once another
/// stream has ended.
fn accounted_for(rep: &Repetition, streams: &BTreeMap<u32, StreamTimes>) -> Check {
    let place = rep.rep;
    let between = |requests: u64| {
        BETWEEN_REQUESTS_NS
            .saturating_mul(requests + 1)
            .max((rep.end_ns - rep.start_ns) / 100)
    };
    for stream in streams.values() {
        let own_ns = stream.ended_ns.saturating_sub(rep.start_ns);
        let told = stream.busy_ns.saturating_add(between(stream.requests));
        ensure(told >= own_ns, || {
            format!(
                "TTFT and gaps of repetition {place} add up to {:.3} s of {:.3} s",
                stream.busy_ns as f64 / 1e9,
                own_ns as f64 / 1e9
            )
        })?;
    }
    let Some(last) = streams.values().map(|stream| stream.ended_ns).max() else {
        return Ok(());
    };
    ensure(last.saturating_add(between(0)) >= rep.end_ns, || {
        format!(
            "the last token of repetition {place} comes {:.3} s before its end",
            (rep.end_ns - last) as f64 / 1e9
        )
    })?;
    let first_to_end = streams.values().map(|stream| stream.ended_ns).min();
    let last_to_ask = streams.values().map(|stream| stream.last_sent_ns).max();
    let together = first_to_end
        .zip(last_to_ask)
        .is_none_or(|(ended, asked)| asked <= ended.saturating_add(between(0)));
    ensure(together, || {
        format!("the streams of repetition {place} did not run together")
    })
}

fn tokens(record: &Record) -> Check {
    let requests = || counting(record).flat_map(|rep| &rep.requests);
    ensure(
        requests().all(is_engine_only) || !requests().any(is_engine_only),
        || "some requests are timed by the engine alone, others are not".into(),
    )?;
    for rep in counting(record) {
        let place = rep.rep;
        ensure(
            rep.requests
                .iter()
                .all(|request| request.stream < record.workload.concurrency.max(1)),
            || {
                format!(
                    "repetition {place}: more streams than {}",
                    record.workload.concurrency
                )
            },
        )?;
        let ran: BTreeSet<u32> = rep.requests.iter().map(|request| request.stream).collect();
        let one_by_one = rep.requests.iter().all(is_engine_only);
        ensure(
            ran.len() == record.workload.concurrency.max(1) as usize
                && !(one_by_one && record.workload.concurrency > 1),
            || {
                format!(
                    "repetition {place}: {} streams ran, {} are claimed",
                    ran.len(),
                    record.workload.concurrency
                )
            },
        )?;
        for request in &rep.requests {
            if is_engine_only(request) {
                engine_tokens(record, place, request)?;
                continue;
            }
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

/// A request of one phase has the asked tokens of that phase.
fn engine_tokens(record: &Record, place: u32, request: &Request) -> Check {
    let asked = &record.workload;
    let with_context = asked.prompt_tokens.saturating_add(asked.depth_tokens);
    let fits = if request.output_tokens > 0 {
        request.output_tokens == asked.output_tokens
    } else {
        [asked.prompt_tokens, with_context].contains(&request.prompt_tokens)
    };
    ensure(fits, || {
        format!(
            "repetition {place}: {} prompt and {} output tokens, {} and {} asked",
            request.prompt_tokens, request.output_tokens, asked.prompt_tokens, asked.output_tokens
        )
    })
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

/// What all hosts together can do at most: each as its profile says for all of its devices, or
/// else `unknown` for each of them. The second value: every host has a profile that says it.
fn all_hosts(
    record: &Record,
    catalogue: &Catalogue,
    sheet: impl Fn(&HardwareProfile) -> Option<f64>,
    unknown: f64,
) -> (f64, bool) {
    let devices = |host: &Host| {
        let gpus = host.gpus.iter().filter(|gpu| gpu.used).count();
        gpus.clamp(1, 1_024) as f64
    };
    let known = |host: &Host| sheet(catalogue.hardware(host.profile.as_ref()?)?);
    let sum = record
        .hosts
        .iter()
        .take(1_024)
        .map(|host| known(host).unwrap_or(unknown) * devices(host))
        .sum::<f64>();
    let all_known =
        !record.hosts.is_empty() && record.hosts.iter().all(|host| known(host).is_some());
    (if sum > 0.0 { sum } else { unknown }, all_known)
}

fn decode(record: &Record, catalogue: &Catalogue) -> Check {
    // What the engine says it reads may be less than the file; both bound what it can have read.
    let active = active_weight_bytes(&record.variant, &record.settings)
        .min(active_file_bytes(&record.variant));
    let cached_at_most = CACHE_RESIDENT_BYTES * record.hosts.len().max(1) as f64;
    let sheet = |profile: &HardwareProfile| {
        let gb_s = profile.memory_bandwidth_gb_s?;
        (active > cached_at_most).then_some(gb_s * 1e9 * SHEET_TOLERANCE)
    };
    let (bandwidth, from_sheet) = all_hosts(record, catalogue, sheet, MAX_BYTES_PER_SECOND);
    let known = if from_sheet {
        "its data sheet"
    } else {
        "any device"
    };
    let cache = kv_bytes(
        &record.variant,
        &record.settings,
        mean_context_tokens(&record.workload),
    );
    let within = |place: u32, read: f64| {
        ensure(read <= bandwidth, || {
            format!(
                "repetition {place}: {:.1} GB/s would be read, {known} delivers {:.1}",
                read / 1e9,
                bandwidth / 1e9
            )
        })
    };
    let streams = f64::from(record.workload.concurrency.max(1));
    for rep in counting(record) {
        let place = rep.rep;
        let mut most_per_pass = 1.0f64;
        for request in &rep.requests {
            let Some(speed) = decode_part(request).and_then(Part::per_second) else {
                continue;
            };
            let tokens_per_pass = tokens_per_pass(record, request);
            most_per_pass = most_per_pass.max(tokens_per_pass);
            let passes_per_second = speed / tokens_per_pass;
            ensure(passes_per_second <= MAX_PASSES_PER_SECOND, || {
                format!(
                    "repetition {place}: {passes_per_second:.0} passes per second, no machine makes \
                     {MAX_PASSES_PER_SECOND:.0}"
                )
            })?;
            // Other streams may wait meanwhile: what is sure is this one's own cache.
            within(place, passes_per_second * (active + cache))?;
        }
        // Together they share passes, of one token for each stream at most, and no caches.
        if let Some(all) = speeds::aggregate_tokens_per_second(rep).filter(|_| streams > 1.0) {
            let rounds = all / most_per_pass;
            within(place, rounds / streams * active + rounds * cache)?;
        }
    }
    Ok(())
}

/// By the client's clock; by the engine's where there is no other.
fn decode_part(request: &Request) -> Option<Part> {
    if is_engine_only(request) {
        speeds::engine_decode_part(request)
    } else {
        speeds::decode_part(request)
    }
}

fn tokens_per_pass(record: &Record, request: &Request) -> f64 {
    let speculates = record.settings.speculation.method != SpeculationMethod::None;
    match request.passes {
        Some(passes) if speculates && passes > 0 => {
            (f64::from(request.output_tokens) / f64::from(passes)).clamp(1.0, MAX_TOKENS_PER_PASS)
        }
        _ => 1.0,
    }
}

fn prefill(record: &Record, catalogue: &Catalogue) -> Check {
    let sheet = |profile: &HardwareProfile| {
        Some(profile.fp16_dense_tflops? * 1e12 * FASTEST_FORMAT * SHEET_TOLERANCE)
    };
    let (peak, _) = all_hosts(record, catalogue, sheet, MAX_FLOP_PER_SECOND);
    let per_token = 2.0 * computed_params(&record.variant);
    for rep in counting(record) {
        for request in &rep.requests {
            let part = if is_engine_only(request) {
                speeds::engine_prefill_part(request)
            } else {
                speeds::prefill_part(request)
            };
            // Where nobody counted what was cached, a warm prompt may have been cached whole.
            let counted =
                record.workload.kv_state == KvState::Cold || request.cached_tokens.is_some();
            let Some(speed) = part.filter(|_| counted).and_then(Part::per_second) else {
                continue;
            };
            let needed = per_token * speed;
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
    let needed = weights
        + f64::from(workload.concurrency) * kv_bytes(&record.variant, &record.settings, tokens);
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

fn joules(record: &Record, catalogue: &Catalogue) -> Check {
    for trace in &record.meters {
        readings(trace)?;
        within_limit(record, catalogue, trace)?;
    }
    above_idle(record)
}

/// The arrays fit each other, run forward, and hold no impossible power.
fn readings(trace: &MeterTrace) -> Check {
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
    ensure(trace.t_ns.is_sorted(), || {
        format!("meter {device} was read backward in time")
    })?;
    let limit = MAX_DEVICE_POWER.0 * 1e6;
    let possible = trace.kind == MeterKind::Counter || trace.v.iter().all(|uw| *uw as f64 <= limit);
    ensure(possible, || {
        format!("meter {device} says more than {:.0} W", MAX_DEVICE_POWER.0)
    })
}

/// Neither over the whole trace nor over any phase of a second does a device draw more than it
/// can.
fn within_limit(record: &Record, catalogue: &Catalogue, trace: &MeterTrace) -> Check {
    let limit = power_limit(record, catalogue, trace).unwrap_or(MAX_DEVICE_POWER.0);
    let curve = EnergyCurve::of(trace).ok();
    let of_phase = |phase: &Phase| {
        let ns = phase.end_ns.checked_sub(phase.start_ns)?;
        let energy = curve.as_ref().filter(|_| ns >= LIMIT_SPAN_NS)?;
        let joules = energy.in_span(phase.start_ns, phase.end_ns).ok()?.joules;
        Some(joules.0 / (ns as f64 / 1e9))
    };
    let whole = mean_microwatts(trace).map(|uw| uw / 1e6);
    let most = whole
        .into_iter()
        .chain(record.phases.iter().filter_map(of_phase))
        .max_by(f64::total_cmp);
    ensure(most.is_none_or(|watts| watts <= limit), || {
        format!(
            "meter {} says {:.0} W on average, more than the {limit:.0} W that the device draws",
            trace.device,
            most.unwrap_or_default()
        )
    })
}

/// The most that what a meter covers can draw, where anything tells it: the card's limit in
/// force, or the profile of the whole machine. A plug sees the supply's loss, too.
fn power_limit(record: &Record, catalogue: &Catalogue, trace: &MeterTrace) -> Option<f64> {
    let host = record.hosts.iter().find(|host| host.host == trace.host)?;
    let whole_machine = || catalogue.hardware(host.profile.as_ref()?)?.max_wall_w;
    let watts = match trace.scope {
        Scope::GpuBoard => {
            let limits = host.gpus.iter().filter_map(|gpu| gpu.power_limit_mw);
            limits.max()? as f64 / 1e3
        }
        Scope::WallAc => whole_machine()? / LEAST_SUPPLY,
        _ => return None,
    };
    Some(OVER_LIMIT * watts).filter(|watts| *watts < MAX_DEVICE_POWER.0)
}

/// Work takes no less than idling did, by the same meters in the same run. The quietest idle
/// stretch counts: what disturbed another one says nothing of the work.
fn above_idle(record: &Record) -> Check {
    let Ok(meters) = ScopeMeters::of(record) else {
        return Ok(());
    };
    let resolved = |phase: &Phase| {
        let joules = meters.in_span(phase.start_ns, phase.end_ns).ok()?.joules.0;
        Some((joules, (phase.end_ns - phase.start_ns) as f64 / 1e9))
    };
    let of = |kinds: &[PhaseKind]| -> Vec<(f64, f64)> {
        let phases = record.phases.iter();
        phases
            .filter(|phase| kinds.contains(&phase.phase))
            .filter_map(resolved)
            .collect()
    };
    let idle = of(&[PhaseKind::IdleLoaded, PhaseKind::IdleUnloaded])
        .into_iter()
        .map(|(joules, seconds)| joules / seconds)
        .min_by(f64::total_cmp);
    let (joules, seconds) = of(&[
        PhaseKind::PrefillLoop,
        PhaseKind::DecodeLoop,
        PhaseKind::MixedLoop,
        PhaseKind::Quality,
    ])
    .into_iter()
    .fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
    let Some(idle) = idle.filter(|_| seconds > 0.0) else {
        return Ok(());
    };
    ensure(joules >= LEAST_OF_IDLE * idle * seconds, || {
        format!(
            "working took {:.1} W where idling took {idle:.1} W",
            joules / seconds
        )
    })
}

/// Mean power over a whole trace of at least a second, where it can be told without undoing
/// wraps: what a wrap or reset hides is judged when joules are integrated.
fn mean_microwatts(trace: &MeterTrace) -> Option<f64> {
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
    probes(record)?;
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
    let battery = |host: &Host| {
        host.battery_full_uwh
            .is_none_or(|uwh| (1..=MAX_BATTERY_UWH).contains(&uwh))
    };
    ensure(record.hosts.iter().all(battery), || {
        "a battery that no machine has".into()
    })?;
    ensure(record.sampler.is_none_or(|cost| cost.span_ns > 0), || {
        "power was sampled in no time".into()
    })?;
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
    let held = record
        .settings
        .weight_bytes_per_pass
        .map(|bytes| bytes as f64);
    let in_file = active_file_bytes(variant);
    ensure(
        held.is_none_or(|held| (HELD_AT_LEAST * in_file..=HELD_AT_MOST * in_file).contains(&held)),
        || {
            format!(
                "a pass that reads {:.0} bytes of weights, of which the file has {in_file:.0}",
                held.unwrap_or(0.0)
            )
        },
    )?;
    // Vocabulary and metadata beside the tensors: tens of megabytes in real files.
    let with_head = tensors + variant.head_bytes as f64;
    ensure(file <= 2.0 * with_head + 1e8, || {
        format!("a file of {file:.0} bytes with tensors of {with_head:.0}")
    })
}

/// What a probe found, as far as any machine goes.
fn probes(record: &Record) -> Check {
    for host in &record.hosts {
        let delivered = |bytes_s: u64| bytes_s > 0 && bytes_s as f64 <= MAX_BYTES_PER_SECOND;
        let curve = &host.bandwidth_curve;
        let read = host
            .bandwidth_probe_bytes_s
            .into_iter()
            .chain(curve.iter().map(|point| point.bytes_s));
        let sizes: Vec<u64> = curve.iter().map(|point| point.working_set_bytes).collect();
        let computed = host.compute_probe_flop_s;
        ensure(
            read.into_iter().all(delivered)
                && sizes.is_sorted_by(|a, b| a < b)
                && computed.is_none_or(|flop_s| flop_s > 0 && flop_s as f64 <= MAX_FLOP_PER_SECOND),
            || format!("host {}: a probe found what no machine delivers", host.host),
        )?;
    }
    Ok(())
}

fn cold(record: &Record) -> Check {
    let workload = &record.workload;
    let least = |cacheable: u32| u64::from(cacheable) * WARM_PERCENT;
    let unlike = |request: &&Request| {
        let Some(cached) = request.cached_tokens else {
            return false;
        };
        let percent = 100 * u64::from(cached);
        match workload.kv_state {
            KvState::Cold => cached > 0,
            KvState::WarmPrefix => percent < least(workload.depth_tokens),
            KvState::ExactHit => percent < least(request.prompt_tokens),
        }
    };
    let name = match workload.kv_state {
        KvState::Cold => "cold",
        KvState::WarmPrefix => "behind a cached context",
        KvState::ExactHit => "cached whole",
    };
    for rep in counting(record) {
        if let Some(request) = rep.requests.iter().find(unlike) {
            return Err(format!(
                "repetition {} is called {name} and had {} of {} prompt tokens cached",
                rep.rep,
                request.cached_tokens.unwrap_or(0),
                request.prompt_tokens
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
