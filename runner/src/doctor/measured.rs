//! What the doctor times: the clock's cost, the timer's lateness, the sampler's cost, the probes.
//!
//! Everything here takes a bounded time, together about six seconds where there is a meter.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::record::{Host, SamplerCost};
use domain::statistics::interval::{MedianInterval, median_interval};

use crate::clock::Clock;
use crate::meter::Meter;
use crate::meter::sampler::Sampler;
use crate::probe::{self, Bandwidth, Limits, ProbeError};

/// Stamps taken to learn what one costs.
const STAMPS: usize = 20_000;

/// Sleeps taken to learn how late they end, and how long each is.
const SLEEPS: usize = 100;
const SLEEP: Duration = Duration::from_millis(1);

/// How the sampler's cost is measured: pairs of blocks of arithmetic, one with the sampler off, one
/// with it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// How many.
    pub pairs: usize,
    /// How long each of the two is.
    pub length: Duration,
}

impl Blocks {
    /// As the doctor does it, in about two seconds.
    pub const BRIEF: Self = Self {
        pairs: 10,
        length: Duration::from_millis(100),
    };

    /// For a figure to be published, in about twelve seconds.
    pub const WHOLE: Self = Self {
        pairs: 24,
        length: Duration::from_millis(250),
    };
}

/// What the sampler takes from the machine that it measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerLoad {
    /// Arithmetic with the sampler on over arithmetic with it off.
    pub speed: MedianInterval,
    /// CPU time of its threads while it was on, of all blocks together.
    pub cost: Option<SamplerCost>,
}

impl SamplerLoad {
    /// CPU time of the sampler's threads over the time in which they sampled: a share of one core.
    pub fn cpu_share(&self) -> Option<f64> {
        let cost = self.cost.filter(|cost| cost.span_ns > 0)?;
        Some(cost.cpu_ns as f64 / cost.span_ns as f64)
    }
}

/// What was timed.
#[derive(Debug)]
pub struct Measured {
    /// The clock.
    pub stamps: Stamps,
    /// How late a sleep of a millisecond ends.
    pub lateness_ns: Percentiles,
    /// What the sampler costs; `None` without a meter.
    pub sampler: Option<Result<SamplerLoad, String>>,
    /// Memory.
    pub bandwidth: Result<Bandwidth, ProbeError>,
    /// Arithmetic.
    pub compute_flop_s: Result<u64, ProbeError>,
}

/// What reading the clock is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamps {
    /// From one stamp to the next.
    pub cost_ns: Percentiles,
    /// The smallest step that the clock was seen to make; `None` if it never moved.
    pub resolution_ns: Option<u64>,
    /// How often it ran backwards.
    pub backwards: u32,
}

/// Middle and tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percentiles {
    /// Half are at most this.
    pub p50: u64,
    /// 99 of 100 are at most this.
    pub p99: u64,
}

impl Percentiles {
    fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).saturating_sub(1);
            values.get(rank).copied().unwrap_or_default()
        };
        Self {
            p50: at(50),
            p99: at(99),
        }
    }
}

/// Times everything on this machine.
pub fn measure(
    root: &Path,
    host: &Host,
    clock: &Arc<dyn Clock>,
    meters: Vec<Box<dyn Meter>>,
) -> Measured {
    let threads = host.cpu_cores.max(1) as usize;
    Measured {
        stamps: stamps(clock.as_ref()),
        lateness_ns: lateness(clock.as_ref()),
        sampler: (!meters.is_empty()).then(|| sampler_cost(meters, clock, threads, Blocks::BRIEF)),
        bandwidth: probe::bandwidth(Limits::of(root), threads, probe::BANDWIDTH_BUDGET),
        compute_flop_s: probe::compute(threads, probe::COMPUTE_BUDGET),
    }
}

/// Reads the clock over and over.
pub(super) fn stamps(clock: &dyn Clock) -> Stamps {
    let all: Vec<u64> = (0..=STAMPS).map(|_| clock.now_ns()).collect();
    let steps = all.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    Stamps {
        cost_ns: Percentiles::of(steps.clone().collect()),
        resolution_ns: steps.filter(|step| *step > 0).min(),
        backwards: all.windows(2).filter(|pair| pair[1] < pair[0]).count() as u32,
    }
}

/// Sleeps over and over.
pub(super) fn lateness(clock: &dyn Clock) -> Percentiles {
    let late = (0..SLEEPS).map(|_| {
        let start = clock.now_ns();
        clock.sleep(SLEEP);
        (clock.now_ns() - start).saturating_sub(SLEEP.as_nanos() as u64)
    });
    Percentiles::of(late.collect())
}

/// Does the same arithmetic with the sampler off and on, on, off, and so forth, so that neither arm
/// is the later one more often. The interval is of the ratios of neighbours, which a drift of the
/// machine hits alike.
///
/// # Errors
/// A reason in words: the arithmetic failed, or there are too few pairs for an interval.
pub fn sampler_cost(
    meters: Vec<Box<dyn Meter>>,
    clock: &Arc<dyn Clock>,
    threads: usize,
    blocks: Blocks,
) -> Result<SamplerLoad, String> {
    let sampler = Sampler::spawn(meters, Arc::clone(clock));
    let work = || probe::mean_compute(threads, blocks.length).map_err(|error| error.to_string());
    let mut sum: Option<SamplerCost> = None;
    let mut sampled = || {
        sampler.start(clock.now_ns());
        let speed = work();
        if let Some(cost) = sampler.stop().cost {
            let before = sum.unwrap_or(SamplerCost {
                cpu_ns: 0,
                span_ns: 0,
                reads: 0,
            });
            sum = Some(SamplerCost {
                cpu_ns: before.cpu_ns + cost.cpu_ns,
                span_ns: before.span_ns + cost.span_ns,
                reads: before.reads + cost.reads,
            });
        }
        speed
    };
    let mut ratios = Vec::with_capacity(blocks.pairs);
    for pair in 0..blocks.pairs {
        let (off, on) = if pair % 2 == 0 {
            let off = work()?;
            (off, sampled()?)
        } else {
            let on = sampled()?;
            (work()?, on)
        };
        ratios.push(on / off);
    }
    let speed = median_interval(&ratios).ok_or("too few pairs for an interval")?;
    Ok(SamplerLoad { speed, cost: sum })
}
