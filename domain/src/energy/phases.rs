//! Joules of prefill, of decode and of whole requests, by the method that the record names.
//!
//! The first output token belongs to prefill; loading and warm-up belong to neither.
//!
//! - `direct`: real requests, split at the first token, where the meter resolves both parts.
//! - `loops`: a prefill loop (one output token each) gives joules per prompt token; of a decode
//!   loop, the prefill of its short prompts is taken off, which a brief prefill loop of the same
//!   short prompts tells: one pass costs more than its few tokens' share of a long prompt. A loop is written as consecutive phases of one kind, its blocks: the figure is the
//!   ratio of sums over all of them, and their own ratios tell how well it repeats.
//! - `regression`: see [`super::regression`].
//!
//! What was not resolved is [`Missing`], with the reason in words: never a number.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::curve::SpanEnergy;
use super::meters::ScopeMeters;
use super::regression::{self, Fitted, RequestEnergy};
use super::{MAX_EDGE_SHARE, MIN_TICKS};
use crate::record::{AttributionMethod, Phase, PhaseKind, Record, Repetition, UnavailableReason};
use crate::scope::Scope;
use crate::speeds;
use crate::units::{Joules, Seconds, Watts};

/// Share of a decode loop that its prefill may take where that was worked out from longer prompts.
pub const PREFILL_SHARE: f64 = 0.02;

/// The same where it was measured on prompts as short as the loop's own.
pub const MEASURED_PREFILL_SHARE: f64 = 0.10;

/// How far real requests may be from what prefill and decode say they take.
pub const CLOSURE_LIMIT: f64 = 0.03;

/// How far idle power may drift over a sweep.
pub const DRIFT_LIMIT: f64 = 0.05;

/// Update periods that each part of a real request must hold to be split.
pub const DIRECT_TICKS: u64 = 50;

/// What a plug's electronics may be off by besides its share: the vendors state 0.3 W.
const PLUG_FLOOR: Watts = Watts(0.3);

/// Joules of a record by phase, all of one scope key.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseEnergy {
    /// How joules were given to prefill and decode.
    pub method: AttributionMethod,
    /// Prefill; its tokens are prompt tokens.
    pub prefill: Result<PhaseJoules, Missing>,
    /// Decode; its tokens are output tokens without each request's first.
    pub decode: Result<PhaseJoules, Missing>,
    /// Whole real requests; their tokens are all output tokens.
    pub request: Result<PhaseJoules, Missing>,
    /// Real requests against the sum of prefill and decode, where the three were measured apart and
    /// the meter tells the former within [`CLOSURE_LIMIT`].
    pub closure: Option<Closure>,
    /// Phases and the gaps between them against the whole record.
    pub total: Option<Total>,
    /// Idle, weights loaded.
    pub idle_loaded: Result<MeanPower, Missing>,
    /// Idle, nothing loaded.
    pub idle_unloaded: Result<MeanPower, Missing>,
    /// Change of `idle_unloaded` from its first phase to its last, as a share of the first;
    /// `None` unless the record holds two.
    pub drift: Option<f64>,
}

/// Joules of all spans of one phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PhaseJoules {
    /// Joules.
    pub joules: Joules,
    /// Tokens.
    pub tokens: f64,
    /// Requests.
    pub requests: f64,
    /// Length of the spans.
    pub seconds: f64,
    /// Update periods of the slowest meter; of several spans that were measured one by one, within
    /// their mean.
    pub ticks: u64,
    /// Half-width of the 95 % interval as a share, from quantisation and repetition.
    pub repeatability: f64,
    /// Of that, repetition; `None` where fewer than two parts were resolved.
    pub repetition: Option<f64>,
    /// As `repeatability`, with sensor and clock; `None` where a sensor's accuracy is not stated.
    pub accuracy: Option<f64>,
    /// Mean power.
    pub watts: Watts,
}

impl PhaseJoules {
    /// Joules per token.
    pub fn per_token(&self) -> Joules {
        Joules(self.joules.0 / self.tokens)
    }

    /// Joules per request.
    pub fn per_request(&self) -> Joules {
        Joules(self.joules.0 / self.requests)
    }
}

/// Mean power while nothing was asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanPower {
    /// Mean power.
    pub watts: Watts,
    /// Bound of what reading at discrete moments may get wrong, as a share.
    pub error: f64,
    /// Length.
    pub seconds: f64,
    /// Update periods of the slowest meter.
    pub ticks: u64,
}

/// Real requests against what prefill and decode say that they take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Closure {
    /// Joules of the real requests.
    pub measured: Joules,
    /// Their tokens times the joules per token of prefill and of decode.
    pub predicted: Joules,
    /// Measured over predicted.
    pub ratio: f64,
}

impl Closure {
    /// Within [`CLOSURE_LIMIT`].
    pub fn holds(&self) -> bool {
        (self.ratio - 1.0).abs() <= CLOSURE_LIMIT
    }
}

/// Phases and the gaps between them, each measured alone, against one measurement of the whole. A
/// gap that the meter does not resolve is what lies between the phases around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Total {
    /// Joules from the first phase's start to the last one's end.
    pub joules: Joules,
    /// Sum of phases and gaps.
    pub parts: Joules,
    /// Their difference as a share of the whole.
    pub share: f64,
}

/// Why a figure is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The meters' reason; `None` where the record does not hold what the figure needs.
    pub reason: Option<UnavailableReason>,
    /// In a reader's words, such as `below meter resolution (7 of 10 ticks)`.
    pub words: String,
}

impl Missing {
    /// The record does not hold what the figure needs.
    pub fn because(words: &str) -> Self {
        Self {
            reason: None,
            words: words.to_owned(),
        }
    }

    /// Fewer update periods than are needed.
    pub fn too_few_ticks(held: u64, needed: u64) -> Self {
        Self {
            reason: Some(UnavailableReason::BelowResolution),
            words: format!("below meter resolution ({held} of {needed} ticks)"),
        }
    }

    /// The meters gave no joules of these spans.
    fn of(reason: UnavailableReason, meters: &ScopeMeters, spans: &[Span]) -> Self {
        if reason != UnavailableReason::BelowResolution {
            return Self {
                reason: Some(reason),
                words: reason.in_words().to_owned(),
            };
        }
        let whole = spans.first().zip(spans.last());
        let ticks = whole
            .and_then(|(first, last)| meters.measured(first.0, last.1).ok())
            .map_or(0, |energy| energy.ticks);
        if ticks < MIN_TICKS {
            return Self::too_few_ticks(ticks, MIN_TICKS);
        }
        Self {
            reason: Some(reason),
            words: format!(
                "below meter resolution (edges uncertain by over {:.0} %)",
                MAX_EDGE_SHARE * 100.0
            ),
        }
    }
}

/// Start and end on the record's clock, in nanoseconds.
type Span = (u64, u64);

/// Joules of a record's phases as `meters` measured them.
pub fn attribute(record: &Record, meters: &ScopeMeters) -> PhaseEnergy {
    let mixed = real_requests(record, meters);
    let (prefill, decode) = match meters.method {
        AttributionMethod::Direct => direct(record, meters),
        AttributionMethod::Loops => loops(record, meters, mixed.as_ref().ok()),
        AttributionMethod::Regression => regressed(record, meters),
    };
    let request = mixed.and_then(|mixed| {
        let closure = closure(&mixed, prefill.as_ref().ok(), decode.as_ref().ok());
        let values = mixed.values(|block| block.joules / block.requests);
        let figure = phase(meters, &mixed.energy, mixed.seconds, &values)?;
        let figure = PhaseJoules {
            tokens: mixed.tokens_out,
            requests: mixed.requests,
            ..figure
        };
        Ok((figure, closure))
    });
    let closure = request.as_ref().ok().and_then(|(_, closure)| *closure);
    PhaseEnergy {
        method: meters.method,
        prefill,
        decode,
        request: request.map(|(figure, _)| figure),
        closure,
        total: total(record, meters),
        idle_loaded: idle(record, meters, PhaseKind::IdleLoaded),
        idle_unloaded: idle(record, meters, PhaseKind::IdleUnloaded),
        drift: drift(record, meters),
    }
}

/// The loops of real requests. An engine that only times itself runs none: its spans hold starting
/// and loading, too.
fn real_requests(record: &Record, meters: &ScopeMeters) -> Result<Pool, Missing> {
    let mut requests = record.repetitions.iter().flat_map(|rep| &rep.requests);
    if requests.any(|request| request.first_event_ns.is_some()) {
        Pool::of(record, meters, PhaseKind::MixedLoop)
    } else {
        Err(Missing::because("no real requests were timed"))
    }
}

/// Phases as the leading host ran them, whichever it is of several.
pub fn leading_phases(record: &Record) -> impl Iterator<Item = &Phase> {
    let leading = record.phases.first().map(|first| first.host);
    record
        .phases
        .iter()
        .filter(move |phase| Some(phase.host) == leading)
}

/// Phases of one kind as the leading host ran them, in order. Phases of a repetition that does not
/// count are left out.
fn phases_of(record: &Record, kind: PhaseKind) -> Vec<&Phase> {
    let counts = |number: u32| {
        let mut own = record.repetitions.iter().filter(|rep| rep.rep == number);
        own.all(counting)
    };
    let mut phases: Vec<&Phase> = leading_phases(record)
        .filter(|phase| phase.phase == kind && phase.end_ns > phase.start_ns)
        .filter(|phase| kind != PhaseKind::MixedLoop || phase.rep.is_none_or(counts))
        .collect();
    phases.sort_by_key(|phase| phase.start_ns);
    phases
}

fn counting(repetition: &Repetition) -> bool {
    !repetition.warmup && repetition.void.is_none()
}

fn seconds_of(spans: &[Span]) -> f64 {
    spans
        .iter()
        .map(|(from, to)| (to - from) as f64 / 1e9)
        .sum()
}

/// All blocks of one loop.
struct Pool {
    energy: SpanEnergy,
    seconds: f64,
    requests: f64,
    tokens_in: f64,
    tokens_out: f64,
    blocks: Vec<Block>,
}

/// Consecutive phases of a loop that together are resolved.
#[derive(Clone, Copy, Default)]
struct Block {
    joules: f64,
    requests: f64,
    tokens_in: f64,
    /// Without each request's first.
    tokens_decoded: f64,
}

impl Pool {
    fn of(record: &Record, meters: &ScopeMeters, kind: PhaseKind) -> Result<Self, Missing> {
        Self::of_those(record, meters, kind, |_| true)
    }

    /// Of the phases that fit alone.
    fn of_those(
        record: &Record,
        meters: &ScopeMeters,
        kind: PhaseKind,
        fits: impl Fn(&Phase) -> bool,
    ) -> Result<Self, Missing> {
        let phases: Vec<&Phase> = phases_of(record, kind)
            .into_iter()
            .filter(|phase| phase.requests > 0 && fits(phase))
            .collect();
        if phases.is_empty() {
            let what = match kind {
                PhaseKind::PrefillLoop => "no prefill loop was run",
                PhaseKind::DecodeLoop => "no decode loop was run",
                _ => "no real requests were run as a phase",
            };
            return Err(Missing::because(what));
        }
        let spans: Vec<Span> = phases
            .iter()
            .map(|one| (one.start_ns, one.end_ns))
            .collect();
        let energy = meters
            .over(&spans)
            .map_err(|reason| Missing::of(reason, meters, &spans))?;
        Ok(Self {
            energy,
            seconds: seconds_of(&spans),
            requests: phases.iter().map(|one| f64::from(one.requests)).sum(),
            tokens_in: phases.iter().map(|one| one.tokens_in as f64).sum(),
            tokens_out: phases.iter().map(|one| one.tokens_out as f64).sum(),
            blocks: blocks(&phases, meters),
        })
    }

    fn tokens_decoded(&self) -> f64 {
        self.tokens_out - self.requests
    }

    /// A figure of each block.
    fn values(&self, figure: impl Fn(&Block) -> f64) -> Vec<f64> {
        self.blocks.iter().map(figure).collect()
    }
}

/// Phases pooled with their neighbours until each pool is resolved; the last takes the rest.
fn blocks(phases: &[&Phase], meters: &ScopeMeters) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut counted, mut joules, mut ticks) = (Block::default(), 0.0, 0_u64);
    for (index, phase) in phases.iter().enumerate() {
        let Ok(energy) = meters.measured(phase.start_ns, phase.end_ns) else {
            return Vec::new();
        };
        joules += energy.joules.0;
        ticks = ticks.saturating_add(energy.ticks);
        counted.requests += f64::from(phase.requests);
        counted.tokens_in += phase.tokens_in as f64;
        counted.tokens_decoded += phase.tokens_out as f64 - f64::from(phase.requests);
        let whole = Block { joules, ..counted };
        if ticks >= MIN_TICKS {
            blocks.push(whole);
        } else if index + 1 == phases.len() {
            if let Some(last) = blocks.last_mut() {
                last.joules += whole.joules;
                last.requests += whole.requests;
                last.tokens_in += whole.tokens_in;
                last.tokens_decoded += whole.tokens_decoded;
            }
        } else {
            continue;
        }
        (counted, joules, ticks) = (Block::default(), 0.0, 0);
    }
    blocks
}

/// A figure without its counts.
fn phase(
    meters: &ScopeMeters,
    energy: &SpanEnergy,
    seconds: f64,
    values: &[f64],
) -> Result<PhaseJoules, Missing> {
    let positive = energy.joules.0 > 0.0 && seconds > 0.0;
    if !positive || values.iter().any(|value| !value.is_finite()) {
        return Err(Missing::because("the meters counted nothing"));
    }
    let watts = energy.joules / Seconds(seconds);
    let repetition = half_width(values);
    let quantisation = energy.spread.0 / energy.joules.0;
    let repeatability = quantisation.hypot(repetition.unwrap_or(0.0));
    let clock = energy.clock.0 / energy.joules.0;
    let accuracy = meters.sensor_share().map(|sensor| {
        let floor = if meters.scope.scopes() == [Scope::WallAc] {
            PLUG_FLOOR.0 / watts.0
        } else {
            0.0
        };
        repeatability.hypot(sensor + floor).hypot(clock)
    });
    Ok(PhaseJoules {
        joules: energy.joules,
        tokens: 0.0,
        requests: 0.0,
        seconds,
        ticks: energy.ticks,
        repeatability,
        repetition,
        accuracy,
        watts,
    })
}

/// Half-width of Student's 95 % interval of the mean, as a share of it; `None` below two values.
fn half_width(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 || mean <= 0.0 {
        return None;
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let t = StudentsT::new(0.0, 1.0, n - 1.0).ok()?.inverse_cdf(0.975);
    Some(t * (squares / (n - 1.0) / n).sqrt() / mean)
}

type Figure = Result<PhaseJoules, Missing>;

/// Joules of the prefill of one of the decode loop's short prompts, and how far they may be off.
struct ShortPrefill {
    joules: f64,
    error_joules: f64,
}

/// Prompts of a loop that are at most this many times the decode loop's are its short prompts.
const SHORT: f64 = 1.25;

/// Prompt tokens of one request, those that no cache served.
fn prompt_tokens(phase: &Phase) -> f64 {
    phase.tokens_in as f64 / f64::from(phase.requests.max(1))
}

fn loops(record: &Record, meters: &ScopeMeters, mixed: Option<&Pool>) -> (Figure, Figure) {
    let decode_loop = phases_of(record, PhaseKind::DecodeLoop);
    let short_prompt = decode_loop
        .first()
        .map_or(0.0, |phase| SHORT * prompt_tokens(phase));
    let longest = phases_of(record, PhaseKind::PrefillLoop)
        .into_iter()
        .map(prompt_tokens)
        .fold(0.0, f64::max);
    // A workload of prompts as short as the decode loop's has one loop for both.
    let is_short = |phase: &Phase| prompt_tokens(phase) <= short_prompt;
    let is_asked = |phase: &Phase| longest <= short_prompt || !is_short(phase);
    let prefill =
        Pool::of_those(record, meters, PhaseKind::PrefillLoop, is_asked).and_then(|pool| {
            if pool.tokens_in <= 0.0 {
                return Err(Missing::because("the prefill loop processed no prompt"));
            }
            let values = pool.values(|block| block.joules / block.tokens_in);
            let figure = phase(meters, &pool.energy, pool.seconds, &values)?;
            Ok(PhaseJoules {
                tokens: pool.tokens_in,
                requests: pool.requests,
                ..figure
            })
        });
    let decode = Pool::of(record, meters, PhaseKind::DecodeLoop).and_then(|pool| {
        let decoded = pool.tokens_decoded();
        if decoded <= 0.0 {
            return Err(Missing::because("the decode loop emitted no second token"));
        }
        let short = Pool::of_those(record, meters, PhaseKind::PrefillLoop, is_short);
        let most = if short.is_ok() {
            MEASURED_PREFILL_SHARE
        } else {
            PREFILL_SHARE
        };
        let short = match (&short, &prefill) {
            _ if pool.tokens_in <= 0.0 => ShortPrefill {
                joules: 0.0,
                error_joules: 0.0,
            },
            (Ok(short), _) => ShortPrefill {
                joules: short.energy.joules.0 / short.requests,
                error_joules: short.energy.spread.0 / short.requests,
            },
            (Err(_), Ok(prefill)) => scaled(&pool, prefill),
            (Err(_), Err(_)) => solved(&pool, mixed)?,
        };
        let of_prefill = pool.requests * short.joules;
        if of_prefill > most * pool.energy.joules.0 {
            let words = format!(
                "prefill takes more than {:.0} % of the decode loop",
                most * 100.0
            );
            return Err(Missing::because(&words));
        }
        let values = pool
            .values(|block| (block.joules - block.requests * short.joules) / block.tokens_decoded);
        let energy = SpanEnergy {
            joules: Joules(pool.energy.joules.0 - of_prefill),
            spread: Joules(
                pool.energy
                    .spread
                    .0
                    .hypot(pool.requests * short.error_joules),
            ),
            ..pool.energy
        };
        let figure = phase(meters, &energy, pool.seconds, &values)?;
        Ok(PhaseJoules {
            tokens: decoded,
            requests: pool.requests,
            watts: pool.energy.joules / Seconds(pool.seconds),
            ..figure
        })
    });
    (prefill, decode)
}

/// Where no loop of short prompts was resolved: the prefill loop's joules by prompt token. What one
/// pass takes besides them may be a whole token's, and counts as error.
fn scaled(decode: &Pool, prefill: &PhaseJoules) -> ShortPrefill {
    let joules = decode.tokens_in / decode.requests * prefill.per_token().0;
    ShortPrefill {
        joules,
        error_joules: (joules * prefill.repeatability)
            .hypot(decode.energy.joules.0 / decode.tokens_out),
    }
}

/// Without a prefill loop, real requests give a second equation for the joules of one prompt token
/// and of one output token: enough for a share of at most [`PREFILL_SHARE`], not for a figure.
fn solved(decode: &Pool, mixed: Option<&Pool>) -> Result<ShortPrefill, Missing> {
    let mixed =
        mixed.ok_or_else(|| Missing::because("no other loop tells the share of prefill"))?;
    let determinant =
        decode.tokens_decoded() * mixed.tokens_in - mixed.tokens_decoded() * decode.tokens_in;
    if determinant <= 0.0 {
        return Err(Missing::because(
            "the decode loop has no larger share of output tokens",
        ));
    }
    let joules = (decode.tokens_decoded() * mixed.energy.joules.0
        - mixed.tokens_decoded() * decode.energy.joules.0)
        / determinant;
    // Noise may push a share that is nearly nothing below nothing; all of it counts as error.
    let joules = decode.tokens_in / decode.requests * joules.max(0.0);
    Ok(ShortPrefill {
        joules,
        error_joules: joules,
    })
}

/// Real requests, each split at its first token.
fn direct(record: &Record, meters: &ScopeMeters) -> (Figure, Figure) {
    let repetitions: Vec<&Repetition> = record
        .repetitions
        .iter()
        .filter(|rep| counting(rep))
        .collect();
    let prefill = |rep: &Repetition| {
        let spans = rep.requests.iter().filter_map(|request| {
            let part = speeds::prefill_part(request)?;
            Some(((request.sent_ns, request.first_event_ns?), part.tokens))
        });
        spans.collect::<Vec<_>>()
    };
    let decode = |rep: &Repetition| {
        let spans = rep.requests.iter().filter_map(|request| {
            let part = speeds::decode_part(request)?;
            let span = (request.first_event_ns?, speeds::last_event_ns(request)?);
            Some((span, part.tokens))
        });
        spans.collect::<Vec<_>>()
    };
    let of = |split: &dyn Fn(&Repetition) -> Vec<(Span, f64)>| {
        parts(
            meters,
            &repetitions.iter().map(|rep| split(rep)).collect::<Vec<_>>(),
        )
    };
    (of(&prefill), of(&decode))
}

/// Parts of requests, with their tokens, by repetition.
fn parts(meters: &ScopeMeters, repetitions: &[Vec<(Span, f64)>]) -> Figure {
    let mut spans: Vec<Span> = repetitions.iter().flatten().map(|part| part.0).collect();
    if spans.is_empty() {
        return Err(Missing::because("no request was timed at its first token"));
    }
    spans.sort_unstable();
    if spans.windows(2).any(|pair| pair[1].0 < pair[0].1) {
        return Err(Missing::because(
            "requests overlap: their phases cannot be told apart",
        ));
    }
    let period = meters
        .slowest_update_ns()
        .ok_or_else(|| Missing::because("the meter's update period is not known"))?;
    let total_ns: u64 = spans.iter().map(|(from, to)| to - from).sum();
    let ticks = total_ns / spans.len() as u64 / period.max(1);
    if ticks < DIRECT_TICKS {
        return Err(Missing::too_few_ticks(ticks, DIRECT_TICKS));
    }
    let energy = meters
        .over(&spans)
        .map_err(|reason| Missing::of(reason, meters, &spans))?;
    let mut values = Vec::new();
    for repetition in repetitions.iter().filter(|parts| !parts.is_empty()) {
        let (mut joules, mut tokens) = (0.0, 0.0);
        for ((from, to), own) in repetition {
            joules += meters
                .measured(*from, *to)
                .map_err(|reason| Missing::of(reason, meters, &[(*from, *to)]))?
                .joules
                .0;
            tokens += own;
        }
        values.push(joules / tokens);
    }
    let figure = phase(meters, &energy, seconds_of(&spans), &values)?;
    Ok(PhaseJoules {
        tokens: repetitions.iter().flatten().map(|part| part.1).sum(),
        requests: spans.len() as f64,
        ticks,
        ..figure
    })
}

/// Figures of a fit over all requests and questions.
fn regressed(record: &Record, meters: &ScopeMeters) -> (Figure, Figure) {
    let (requests, tokens) = observed(record, meters);
    let fit = match regression::fit(&requests, record.sweep.0) {
        Ok(fit) => fit,
        Err(missing) => return (Err(missing.clone()), Err(missing)),
    };
    let untimed = || Missing::because("no request was timed at its first token");
    let figure = |fitted: Option<Fitted>, tokens: f64, seconds: f64| {
        let fitted = fitted.ok_or_else(untimed)?;
        let joules = Joules(fitted.value * tokens);
        let half = (fitted.high - fitted.value).max(fitted.value - fitted.low);
        let energy = SpanEnergy {
            joules,
            error: Joules(half * tokens),
            spread: Joules(half * tokens),
            clock: Joules(0.0),
            ticks: tokens_ticks(meters, seconds),
        };
        let figure = phase(meters, &energy, seconds, &[])?;
        Ok(PhaseJoules {
            tokens,
            requests: fit.requests as f64,
            ..figure
        })
    };
    (
        figure(
            fit.gross_per_prompt_token,
            tokens.prompt,
            tokens.prefill_seconds,
        ),
        figure(
            fit.gross_per_output_token,
            tokens.output,
            tokens.decode_seconds,
        ),
    )
}

fn tokens_ticks(meters: &ScopeMeters, seconds: f64) -> u64 {
    let period = meters.slowest_update_ns().filter(|period| *period > 0);
    period.map_or(0, |period| (seconds * 1e9 / period as f64) as u64)
}

/// Tokens and time of the requests that were timed at their first token.
#[derive(Default)]
struct Timed {
    prompt: f64,
    output: f64,
    prefill_seconds: f64,
    decode_seconds: f64,
}

/// What a regression may use: requests, void ones too, as their lengths vary, and questions; each
/// must be resolved alone, and none of them may overlap another.
fn observed(record: &Record, meters: &ScopeMeters) -> (Vec<RequestEnergy>, Timed) {
    let mut timed = Timed::default();
    let mut spans: Vec<(Span, RequestEnergy)> = Vec::new();
    let repetitions = record.repetitions.iter().filter(|rep| !rep.warmup);
    for request in repetitions.flat_map(|rep| &rep.requests) {
        let Some(last) = speeds::last_event_ns(request) else {
            continue;
        };
        let own = RequestEnergy {
            seconds: last.saturating_sub(request.sent_ns) as f64 / 1e9,
            prefill_seconds: speeds::ttft_seconds(request),
            tokens_in: f64::from(speeds::uncached_tokens(request)),
            tokens_out: f64::from(request.output_tokens.saturating_sub(1)),
            joules: 0.0,
        };
        spans.push(((request.sent_ns, last), own));
    }
    for item in record.quality.iter().flat_map(|quality| &quality.items) {
        let own = RequestEnergy {
            seconds: item.end_ns.saturating_sub(item.start_ns) as f64 / 1e9,
            prefill_seconds: None,
            tokens_in: f64::from(item.tokens_in),
            tokens_out: f64::from(item.tokens_out.saturating_sub(1)),
            joules: 0.0,
        };
        spans.push(((item.start_ns, item.end_ns), own));
    }
    spans.sort_by_key(|(span, _)| *span);
    if spans.windows(2).any(|pair| pair[1].0.0 < pair[0].0.1) {
        return (Vec::new(), timed);
    }
    let mut requests = Vec::new();
    for ((from, to), own) in spans {
        let Ok(energy) = meters.in_span(from, to) else {
            continue;
        };
        if let Some(prefill) = own.prefill_seconds {
            timed.prompt += own.tokens_in;
            timed.output += own.tokens_out;
            timed.prefill_seconds += prefill;
            timed.decode_seconds += (own.seconds - prefill).max(0.0);
        }
        requests.push(RequestEnergy {
            joules: energy.joules.0,
            ..own
        });
    }
    (requests, timed)
}

fn closure(
    mixed: &Pool,
    prefill: Option<&PhaseJoules>,
    decode: Option<&PhaseJoules>,
) -> Option<Closure> {
    let predicted =
        mixed.tokens_in * prefill?.per_token().0 + mixed.tokens_decoded() * decode?.per_token().0;
    let told = mixed.energy.spread.0 <= CLOSURE_LIMIT * mixed.energy.joules.0;
    (told && predicted > 0.0).then(|| Closure {
        measured: mixed.energy.joules,
        predicted: Joules(predicted),
        ratio: mixed.energy.joules.0 / predicted,
    })
}

fn total(record: &Record, meters: &ScopeMeters) -> Option<Total> {
    let mut phases: Vec<Span> = leading_phases(record)
        .filter(|phase| phase.end_ns > phase.start_ns)
        .map(|phase| (phase.start_ns, phase.end_ns))
        .collect();
    phases.sort_unstable();
    let (start, end) = (phases.first()?.0, phases.last()?.1);
    let whole = meters.in_span(start, end).ok()?.joules;
    let mut parts = 0.0;
    let mut before: Option<(u64, f64)> = None;
    for (from, to) in phases {
        let (began, ended) = meters.edges(from, to).ok()?;
        if let Some((at, joules)) = before {
            let gap_ns = from.checked_sub(at)?;
            let long = meters
                .slowest_update_ns()
                .is_some_and(|period| gap_ns >= period.saturating_mul(MIN_TICKS));
            parts += if long {
                meters.measured(at, from).ok()?.joules.0
            } else if gap_ns > 0 {
                began - joules
            } else {
                0.0
            };
        }
        parts += ended - began;
        before = Some((to, ended));
    }
    (whole.0 > 0.0).then(|| Total {
        joules: whole,
        parts: Joules(parts),
        share: parts / whole.0 - 1.0,
    })
}

fn idle(record: &Record, meters: &ScopeMeters, kind: PhaseKind) -> Result<MeanPower, Missing> {
    let phases = phases_of(record, kind);
    if phases.is_empty() {
        return Err(Missing::because("no idle phase was run"));
    }
    let (mut joules, mut error, mut seconds, mut ticks) = (Joules(0.0), 0.0, 0.0, 0_u64);
    for phase in phases {
        let span = (phase.start_ns, phase.end_ns);
        let energy = meters
            .in_span(span.0, span.1)
            .map_err(|reason| Missing::of(reason, meters, &[span]))?;
        joules = joules + energy.joules;
        error += energy.error.0;
        seconds += seconds_of(&[span]);
        ticks = ticks.saturating_add(energy.ticks);
    }
    if joules.0 <= 0.0 {
        return Err(Missing::because("the meters counted nothing"));
    }
    Ok(MeanPower {
        watts: joules / Seconds(seconds),
        error: error / joules.0,
        seconds,
        ticks,
    })
}

fn drift(record: &Record, meters: &ScopeMeters) -> Option<f64> {
    let phases = phases_of(record, PhaseKind::IdleUnloaded);
    let [first, .., last] = phases.as_slice() else {
        return None;
    };
    let watts = |phase: &Phase| {
        let energy = meters.in_span(phase.start_ns, phase.end_ns).ok()?;
        let time = Seconds::between_ns(phase.start_ns, phase.end_ns)?;
        Some((energy.joules / time).0)
    };
    let before = watts(first)?;
    (before > 0.0).then_some(watts(last)? / before - 1.0)
}

#[cfg(test)]
mod tests;
