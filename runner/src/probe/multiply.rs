//! Arithmetic: FP32 multiply-adds in registers, in so many independent chains that the units,
//! not their latency, are the limit.
//!
//! Matrix units (AMX, SME, tensor cores) are not used: the figure is a ceiling of the vector
//! units only.

use std::time::{Duration, Instant};

use super::ProbeError;
use super::team::Team;

/// Multiply-adds per lane and chain of one pass, about 5 ms at some gigahertz.
const STEPS: u64 = 1 << 20;

/// Passes, whatever the budget.
const MIN_PASSES: usize = 3;
const MAX_PASSES: usize = 1_000;

/// Operations per second of all threads, the best of several passes.
pub(super) fn flop_s(threads: usize, budget: Duration) -> Result<u64, ProbeError> {
    let passes = passes(threads, budget)?;
    let best = passes.iter().min().copied().unwrap_or(Duration::MAX);
    Ok(rate(threads, 1, best) as u64)
}

/// Operations per second of all threads over all passes of about `span`.
pub(super) fn mean_flop_s(threads: usize, span: Duration) -> Result<f64, ProbeError> {
    let passes = passes(threads, span)?;
    Ok(rate(threads, passes.len(), passes.iter().sum()))
}

fn passes(threads: usize, budget: Duration) -> Result<Vec<Duration>, ProbeError> {
    let team = Team::<()>::gather(threads)?;
    let end = Instant::now() + budget;
    let mut passes = Vec::new();
    while passes.len() < MIN_PASSES || (Instant::now() < end && passes.len() < MAX_PASSES) {
        passes.push(team.run(|()| {
            std::hint::black_box(work(std::hint::black_box(STEPS)));
        })?);
    }
    Ok(passes)
}

fn rate(threads: usize, passes: usize, took: Duration) -> f64 {
    let steps = STEPS * (threads * passes) as u64;
    2.0 * (steps * lanes()) as f64 / took.as_secs_f64().max(1e-9)
}

/// How the kernel of this processor is built: multiply-adds per step.
pub(super) fn lanes() -> u64 {
    (match vectors() {
        Vectors::Wide => wide::CHAINS * wide::LANES,
        Vectors::Plain => plain::CHAINS * plain::LANES,
        #[cfg(target_arch = "x86_64")]
        Vectors::Widest => widest::CHAINS * widest::LANES,
    }) as u64
}

/// So many steps of every chain; every lane starts at 1 and stays there, for `x * 0.5 + 0.5`
/// is 1: neither overflow nor denormals slow it down. The sum of all lanes.
pub(super) fn work(steps: u64) -> f32 {
    match vectors() {
        // SAFETY: the processor has these vectors, as `vectors` asked.
        #[expect(unsafe_code, reason = "vector instructions that were asked for")]
        Vectors::Wide => unsafe { wide::work(steps) },
        Vectors::Plain => plain::work(steps),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has these vectors, as `vectors` asked.
        #[expect(unsafe_code, reason = "vector instructions that were asked for")]
        Vectors::Widest => unsafe { widest::work(steps) },
    }
}

/// A half that the compiler cannot see: it would work the whole chain out beforehand.
fn half() -> f32 {
    std::hint::black_box(0.5)
}

#[derive(Clone, Copy)]
enum Vectors {
    /// AVX2 with FMA, or NEON.
    Wide,
    /// None that is known.
    Plain,
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Widest,
}

fn vectors() -> Vectors {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return Vectors::Widest;
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            return Vectors::Wide;
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        return Vectors::Wide;
    }
    Vectors::Plain
}

#[cfg(target_arch = "x86_64")]
mod widest {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};

    pub(super) const LANES: usize = 16;
    /// Two units of four cycles need 8; the 32 registers hold more.
    pub(super) const CHAINS: usize = 16;

    #[target_feature(enable = "avx512f")]
    pub(super) fn work(steps: u64) -> f32 {
        let half = _mm512_set1_ps(super::half());
        let mut chains = [_mm512_set1_ps(1.0); CHAINS];
        for _ in 0..steps {
            for chain in &mut chains {
                *chain = _mm512_fmadd_ps(*chain, half, half);
            }
        }
        chains
            .iter()
            .map(|chain| _mm512_reduce_add_ps(*chain))
            .sum()
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        _mm_cvtss_f32, _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps,
        _mm256_hadd_ps, _mm256_set1_ps,
    };

    pub(super) const LANES: usize = 8;
    /// Two units of five cycles need 10; the 16 registers hold 14 beside the constant.
    pub(super) const CHAINS: usize = 12;

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn work(steps: u64) -> f32 {
        let half = _mm256_set1_ps(super::half());
        let mut chains = [_mm256_set1_ps(1.0); CHAINS];
        for _ in 0..steps {
            for chain in &mut chains {
                *chain = _mm256_fmadd_ps(*chain, half, half);
            }
        }
        chains
            .iter()
            .map(|chain| {
                let pairs = _mm256_hadd_ps(*chain, *chain);
                let fours = _mm256_hadd_ps(pairs, pairs);
                _mm_cvtss_f32(_mm256_castps256_ps128(fours))
                    + _mm_cvtss_f32(_mm256_extractf128_ps::<1>(fours))
            })
            .sum()
    }
}

#[cfg(target_arch = "aarch64")]
mod wide {
    use std::arch::aarch64::{vaddvq_f32, vdupq_n_f32, vfmaq_f32};

    pub(super) const LANES: usize = 4;
    /// Four units of four cycles need 16; the 32 registers hold more.
    pub(super) const CHAINS: usize = 24;

    #[target_feature(enable = "neon")]
    pub(super) fn work(steps: u64) -> f32 {
        let half = vdupq_n_f32(super::half());
        let mut chains = [vdupq_n_f32(1.0); CHAINS];
        for _ in 0..steps {
            for chain in &mut chains {
                *chain = vfmaq_f32(half, *chain, half);
            }
        }
        chains.iter().map(|chain| vaddvq_f32(*chain)).sum()
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod wide {
    pub(super) use super::plain::{CHAINS, LANES};

    /// Never asked for: `vectors` names no wide ones here.
    #[expect(unsafe_code, reason = "as its vector siblings are called")]
    pub(super) unsafe fn work(steps: u64) -> f32 {
        super::plain::work(steps)
    }
}

mod plain {
    pub(super) const LANES: usize = 4;
    pub(super) const CHAINS: usize = 8;

    /// A multiplication and an addition: without the fused instruction `mul_add` is a call.
    pub(super) fn work(steps: u64) -> f32 {
        let half = super::half();
        let mut lanes = [1.0_f32; LANES * CHAINS];
        for _ in 0..steps {
            for lane in &mut lanes {
                *lane = half * *lane + half;
            }
        }
        lanes.iter().sum()
    }
}
