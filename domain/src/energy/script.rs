//! Machines on a script, for tests: power over time is known exactly, meters see it through their
//! update period, jitter, wrap and faults, and a sampler reads them as the runner's does.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::phases::{PhaseEnergy, attribute};
use super::{ScopeMeters, TICKED_FROM_NS};
use crate::record::{
    AttributionMethod, Averaging, EnergyClaim, Finish, MeasuredEnergy, MeterKind, MeterTrace,
    Phase, PhaseKind, Record, Repetition, Request, TokenSource, UpdateBasis,
};
use crate::scope::{Scope, ScopeKey};
use crate::text::Name;

pub(in crate::energy) const MS: u64 = 1_000_000;
pub(in crate::energy) const S: u64 = 1_000 * MS;

/// A seeded source of numbers.
pub(in crate::energy) struct Dice(ChaCha8Rng);

impl Dice {
    pub(in crate::energy) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Evenly in [0, 1).
    pub(in crate::energy) fn share(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / 4_294_967_296.0
    }

    /// Evenly in [low, high).
    pub(in crate::energy) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + (self.share() * (high - low) as f64) as u64
    }
}

/// Power over time, from 0 on, in steps.
#[derive(Debug, Clone, Default)]
pub(in crate::energy) struct Power {
    /// Moment at which the step ends, joules at its end, watts in it.
    steps: Vec<(u64, f64, f64)>,
}

impl Power {
    pub(in crate::energy) fn end_ns(&self) -> u64 {
        self.steps.last().map_or(0, |step| step.0)
    }

    pub(in crate::energy) fn push(&mut self, length_ns: u64, watts: f64) {
        let (at, joules) = self.steps.last().map_or((0, 0.0), |step| (step.0, step.1));
        let more = watts * length_ns as f64 / 1e9;
        self.steps.push((at + length_ns, joules + more, watts));
    }

    /// Joules used until a moment.
    pub(in crate::energy) fn joules(&self, at_ns: u64) -> f64 {
        let step = self.steps.partition_point(|step| step.0 < at_ns);
        match self.steps.get(step) {
            Some((until, joules, watts)) => joules - watts * (until - at_ns) as f64 / 1e9,
            None => self.steps.last().map_or(0.0, |step| step.1),
        }
    }

    pub(in crate::energy) fn joules_between(&self, from_ns: u64, to_ns: u64) -> f64 {
        self.joules(to_ns) - self.joules(from_ns)
    }
}

/// What goes wrong with a meter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::energy) enum Fault {
    None,
    /// The value stays from then on.
    Freeze(u64),
    /// The counter begins at 0 again.
    Reset(u64),
    /// The counter shows so many micro-joules less from then on.
    Negative(u64, u64),
    /// Reads fail from then until then.
    Outage(u64, u64),
}

/// A counter as a sampler sees it.
#[derive(Debug, Clone, Copy)]
pub(in crate::energy) struct Counter {
    pub(in crate::energy) period_ns: u64,
    /// Each update comes up to this share of a period early or late.
    pub(in crate::energy) jitter: f64,
    pub(in crate::energy) seed: u64,
    /// What it shows at the start.
    pub(in crate::energy) offset_uj: u64,
    pub(in crate::energy) wrap_uj: Option<u64>,
    /// The sampler waits for its changes.
    pub(in crate::energy) waits: bool,
    pub(in crate::energy) fault: Fault,
}

impl Counter {
    pub(in crate::energy) fn every(period_ns: u64, seed: u64) -> Self {
        Self {
            period_ns,
            jitter: 0.2,
            seed,
            offset_uj: 7_000_000,
            wrap_uj: Some(262_143_328_850),
            waits: period_ns >= TICKED_FROM_NS,
            fault: Fault::None,
        }
    }

    /// Moments of its updates, with the value from then on.
    fn updates(&self, power: &Power) -> Vec<(u64, u64)> {
        let mut dice = Dice::new(self.seed);
        let period = self.period_ns as f64;
        // The last update before the start may be up to a period ago.
        let mut updates = vec![(0, self.value(power, 0))];
        let mut at = period * dice.share();
        while at < power.end_ns() as f64 {
            let moment = at as u64;
            let shown = match self.fault {
                Fault::Freeze(from) => moment.min(from),
                _ => moment,
            };
            updates.push((moment, self.value(power, shown)));
            at += period * (1.0 + self.jitter * (2.0 * dice.share() - 1.0));
        }
        updates
    }

    fn value(&self, power: &Power, at_ns: u64) -> u64 {
        let total = self.offset_uj + (power.joules(at_ns) * 1e6) as u64;
        let shown = match self.fault {
            Fault::Reset(at) if at_ns >= at => {
                total - self.offset_uj - (power.joules(at) * 1e6) as u64
            }
            Fault::Negative(at, less) if at_ns >= at => total - less,
            _ => total,
        };
        self.wrap_uj.map_or(shown, |range| shown % range)
    }

    /// Read from start to end, and at `marks`.
    pub(in crate::energy) fn read(&self, power: &Power, marks: &[u64]) -> MeterTrace {
        let updates = self.updates(power);
        let shown = |at: u64| {
            let next = updates.partition_point(|update| update.0 <= at);
            updates[next.saturating_sub(1)].1
        };
        let mut marks = marks.to_vec();
        marks.sort_unstable();
        let ticked = self.waits;
        let usual = if ticked {
            (self.period_ns / 5).clamp(4 * MS, 50 * MS)
        } else {
            50 * MS
        };
        // Time, width, value.
        let mut readings: Vec<(u64, u64, u64)> = Vec::new();
        let mut last: Option<(u64, u64)> = None;
        let mut at = 0;
        let mut mark = 0;
        while at < power.end_ns() {
            let due = marks.get(mark) == Some(&at);
            mark += usize::from(due);
            let failing = matches!(self.fault, Fault::Outage(from, to) if (from..to).contains(&at));
            if !failing {
                let value = shown(at);
                let kept = readings.last().map_or(0, |reading| reading.0);
                match last {
                    Some((before, old)) if ticked && value != old => {
                        readings.push((before.midpoint(at), at - before, value));
                    }
                    _ if !ticked || due || last.is_none() || at - kept > S => {
                        readings.push((at, 20_000, value));
                    }
                    _ => {}
                }
                last = Some((at, value));
            }
            let near = marks
                .get(mark)
                .is_some_and(|next| *next < at + 2 * self.period_ns);
            let step = if ticked && near { 2 * MS } else { usual };
            at = marks
                .get(mark)
                .map_or(at + step, |next| (at + step).min(*next));
        }
        readings.sort_unstable_by_key(|reading| reading.0);
        let mut trace = trace(MeterKind::Counter, Some(self.period_ns), self.wrap_uj);
        trace.t_ns = readings.iter().map(|reading| reading.0).collect();
        trace.latency_ns = readings.iter().map(|reading| reading.1).collect();
        trace.v = readings.iter().map(|reading| reading.2).collect();
        trace
    }
}

/// Samples of power every `period_ns`.
pub(in crate::energy) fn sampled(
    power: &Power,
    period_ns: u64,
    averaging: Averaging,
    window_ns: u64,
) -> MeterTrace {
    let mut trace = trace(MeterKind::Power, Some(period_ns), None);
    trace.averaging = averaging;
    trace.window_ns = (window_ns > 0).then_some(window_ns);
    for i in 0..=power.end_ns() / period_ns {
        let at = i * period_ns;
        let watts = if window_ns > 0 {
            let from = at.saturating_sub(window_ns);
            power.joules_between(from, at) / (at - from).max(1) as f64 * 1e9
        } else {
            power.joules_between(at, at + 1_000) / 1e-6
        };
        trace.t_ns.push(at);
        trace.latency_ns.push(20_000);
        // The last digit of a sensor never stands still.
        trace.v.push((watts * 1e6) as u64 + i % 2 * 100);
    }
    trace
}

/// A trace without readings.
pub(in crate::energy) fn trace(
    kind: MeterKind,
    update_ns: Option<u64>,
    wrap_uj: Option<u64>,
) -> MeterTrace {
    MeterTrace {
        meter: Name::cleaned("scripted"),
        host: 0,
        device: Name::cleaned("package-0"),
        scope: Scope::CpuPkg,
        used: true,
        kind,
        averaging: if kind == MeterKind::Counter {
            Averaging::Unknown
        } else {
            Averaging::Instant
        },
        window_ns: None,
        update_ns,
        update_basis: UpdateBasis::Assumed,
        wrap_uj,
        sensor_ppm: Some(50_000),
        origin: Name::cleaned("script"),
        clock_error_ns: None,
        t_ns: Vec::new(),
        latency_ns: Vec::new(),
        source_t_ns: None,
        v: Vec::new(),
    }
}

/// An engine whose joules per token are known, and what was asked of it.
#[derive(Debug, Clone)]
pub(in crate::energy) struct Scene {
    pub(in crate::energy) power: Power,
    pub(in crate::energy) phases: Vec<Phase>,
    pub(in crate::energy) repetitions: Vec<Repetition>,
    pub(in crate::energy) engine: Engine,
}

/// Speeds and watts of prefill and decode.
#[derive(Debug, Clone, Copy)]
pub(in crate::energy) struct Engine {
    pub(in crate::energy) prefill_tok_s: f64,
    pub(in crate::energy) prefill_watts: f64,
    pub(in crate::energy) decode_tok_s: f64,
    pub(in crate::energy) decode_watts: f64,
    pub(in crate::energy) idle_watts: f64,
}

impl Engine {
    pub(in crate::energy) fn joules_per_prompt_token(&self) -> f64 {
        self.prefill_watts / self.prefill_tok_s
    }

    /// Whole microseconds, as a request's stamps are.
    fn gap_us(&self) -> u64 {
        (1e6 / self.decode_tok_s) as u64
    }

    pub(in crate::energy) fn joules_per_output_token(&self) -> f64 {
        self.decode_watts * self.gap_us() as f64 / 1e6
    }
}

impl Scene {
    pub(in crate::energy) fn new(engine: Engine) -> Self {
        let mut power = Power::default();
        power.push(300 * MS, engine.idle_watts);
        Self {
            power,
            phases: Vec::new(),
            repetitions: Vec::new(),
            engine,
        }
    }

    pub(in crate::energy) fn pause(&mut self, length_ns: u64) {
        self.power.push(length_ns, self.engine.idle_watts);
    }

    pub(in crate::energy) fn idle(&mut self, kind: PhaseKind, length_ns: u64) {
        let start_ns = self.power.end_ns();
        self.pause(length_ns);
        self.phase(kind, None, start_ns, &[]);
    }

    /// One request, at once.
    pub(in crate::energy) fn request(&mut self, prompt_tokens: u32, output_tokens: u32) -> Request {
        let sent_ns = self.power.end_ns();
        let (engine, tokens) = (self.engine, |n: u32, speed: f64| {
            (f64::from(n) / speed * 1e9) as u64
        });
        self.power.push(
            tokens(prompt_tokens, engine.prefill_tok_s),
            engine.prefill_watts,
        );
        let first = self.power.end_ns();
        let decoded = output_tokens - 1;
        let gap_us = engine.gap_us();
        self.power
            .push(u64::from(decoded) * gap_us * 1_000, engine.decode_watts);
        Request {
            stream: 0,
            sent_ns,
            first_visible_ns: Some(first),
            first_event_ns: Some(first),
            gaps_us: vec![gap_us; decoded as usize],
            event_tokens: None,
            prompt_tokens,
            cached_tokens: Some(0),
            output_tokens,
            reasoning_tokens: 0,
            passes: None,
            accepted_tokens: None,
            token_source: TokenSource::Ids,
            finish: Finish::Length,
            engine_prefill_ns: None,
            engine_decode_ns: None,
        }
    }

    fn phase(&mut self, phase: PhaseKind, rep: Option<u32>, start_ns: u64, requests: &[Request]) {
        let sum = |of: fn(&Request) -> u32| requests.iter().map(|one| u64::from(of(one))).sum();
        self.phases.push(Phase {
            phase,
            rep,
            host: 0,
            start_ns,
            end_ns: self.power.end_ns(),
            requests: requests.len() as u32,
            tokens_in: sum(|one| one.prompt_tokens),
            tokens_out: sum(|one| one.output_tokens),
        });
    }

    /// Blocks of requests until each is `block_ns` long.
    pub(in crate::energy) fn blocks(
        &mut self,
        kind: PhaseKind,
        blocks: u32,
        block_ns: u64,
        lengths: (u32, u32),
    ) {
        for block in 0..blocks {
            let start_ns = self.power.end_ns();
            let mut requests = Vec::new();
            while self.power.end_ns() < start_ns + block_ns {
                requests.push(self.request(lengths.0, lengths.1));
            }
            self.phase(kind, Some(block), start_ns, &requests);
        }
    }

    /// Repetitions of real requests, with a pause after each.
    pub(in crate::energy) fn repetitions(
        &mut self,
        count: u32,
        requests: u32,
        lengths: (u32, u32),
        pause_ns: u64,
    ) {
        for _ in 0..count {
            let start_ns = self.power.end_ns();
            let made: Vec<Request> = (0..requests)
                .map(|_| self.request(lengths.0, lengths.1))
                .collect();
            let rep = self.repetitions.len() as u32;
            self.phase(PhaseKind::MixedLoop, Some(rep), start_ns, &made);
            self.repetitions.push(Repetition {
                rep,
                warmup: false,
                void: None,
                start_ns,
                end_ns: self.power.end_ns(),
                peak_bytes: None,
                paged_bytes: None,
                requests: made,
                transcript_sha256: None,
            });
            self.pause(pause_ns);
        }
    }

    /// Every edge of a phase.
    pub(in crate::energy) fn marks(&self) -> Vec<u64> {
        let edges = self
            .phases
            .iter()
            .flat_map(|one| [one.start_ns, one.end_ns]);
        let mut marks: Vec<u64> = edges.collect();
        marks.sort_unstable();
        marks.dedup();
        marks
    }

    /// The record of this scene as one counter saw it.
    pub(in crate::energy) fn record(&self, counter: Counter, method: AttributionMethod) -> Record {
        let mut power = self.power.clone();
        // The sampler stops a little later.
        power.push(3 * counter.period_ns + 100 * MS, self.engine.idle_watts);
        self.with_meters(vec![counter.read(&power, &self.marks())], method)
    }

    /// The record of this scene with these traces, the first of which is claimed.
    pub(in crate::energy) fn with_meters(
        &self,
        meters: Vec<MeterTrace>,
        method: AttributionMethod,
    ) -> Record {
        let mut record: Record =
            crate::json::parse_strict(include_bytes!("../../fixtures/record.json"))
                .expect("the fixture is a record");
        record.phases.clone_from(&self.phases);
        record.repetitions.clone_from(&self.repetitions);
        record.energy = EnergyClaim::Measured(MeasuredEnergy {
            scope: ScopeKey::of(&[meters[0].scope]).expect("one scope"),
            meters: vec![0],
            method,
        });
        record.meters = meters;
        record
    }
}

/// An engine on a discrete accelerator.
pub(in crate::energy) const ENGINE: Engine = Engine {
    prefill_tok_s: 2_000.0,
    prefill_watts: 180.0,
    decode_tok_s: 50.0,
    decode_watts: 110.0,
    idle_watts: 22.0,
};

/// A record with a counter of the package, 24 s of load.
pub(in crate::energy) fn measured() -> Record {
    let mut scene = Scene::new(ENGINE);
    scene.idle(PhaseKind::IdleLoaded, 5 * S);
    scene.blocks(PhaseKind::PrefillLoop, 6, 2 * S, (512, 1));
    scene.blocks(PhaseKind::DecodeLoop, 6, 2 * S, (16, 128));
    scene.record(Counter::every(20 * MS, 9), AttributionMethod::Loops)
}

/// Joules of its phases at the headline.
pub(in crate::energy) fn attributed(record: &Record) -> PhaseEnergy {
    attribute(record, &ScopeMeters::of(record).expect("measured"))
}
