//! Memory bandwidth: every core adds up its part of a buffer, 64 bits at a time, in vectors.
//!
//! Several accumulators keep more loads under way than one chain of additions would: a plain
//! scalar loop waits for its own sums and reads about a third less than the memory gives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::team::Team;
use super::{BandwidthPoint, CACHES_IN_MEMORY_SET, Limits, MIN_WORKING_SET_BYTES, ProbeError};

/// Least bytes that one thread reads of a working set.
const MIN_PART_BYTES: u64 = 16 << 10;

/// Bytes that one pass reads at least: small sets are read over and over, so that starting the
/// threads does not count.
const MIN_PASS_BYTES: u64 = 128 << 20;

/// Passes over one working set.
const MIN_PASSES: u32 = 4;
const MAX_PASSES: u32 = 12;

/// A cache line; aligned, so that no load straddles two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u64; 8]);

/// What the bandwidth probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bandwidth {
    /// Bytes per second from memory; `None` where the largest working set is under four times the
    /// caches, which may have served part of it.
    pub memory_bytes_s: Option<u64>,
    /// Bytes per second by working set, ascending in size; the last is the largest.
    pub curve: Vec<BandwidthPoint>,
    /// All last-level caches, where the system says.
    pub cache_bytes: Option<u64>,
}

/// Reads working sets of rising size with so many threads, within about `budget`.
///
/// The largest is read first, so that a slow machine loses points of the curve and never the
/// memory's.
pub fn bandwidth(
    limits: Limits,
    threads: usize,
    budget: Duration,
) -> Result<Bandwidth, ProbeError> {
    let end = Instant::now() + budget;
    let threads = threads.max(1);
    let largest = limits.largest_bytes();
    let sizes = smaller_sizes(largest, threads);
    let readers = Readers::new(largest, threads)?;
    let memory = readers.best(largest, budget / 3)?;
    let mut curve = Vec::with_capacity(sizes.len() + 1);
    for (done, size) in sizes.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        curve.push(readers.best(*size, left / (sizes.len() - done) as u32)?);
    }
    curve.push(memory);
    Ok(Bandwidth {
        memory_bytes_s: limits
            .cache_bytes
            .is_none_or(|cache| {
                memory.working_set_bytes >= cache.saturating_mul(CACHES_IN_MEMORY_SET)
            })
            .then_some(memory.bytes_s),
        curve,
        cache_bytes: limits.cache_bytes,
    })
}

/// Reads one working set of about so many bytes with so many threads, within about `budget`.
pub fn bandwidth_of(
    working_set_bytes: u64,
    threads: usize,
    budget: Duration,
) -> Result<BandwidthPoint, ProbeError> {
    let threads = threads.max(1);
    Readers::new(working_set_bytes, threads)?.best(working_set_bytes, budget)
}

/// Doubling sizes below `largest`.
pub(super) fn smaller_sizes(largest: u64, threads: usize) -> Vec<u64> {
    let smallest = MIN_WORKING_SET_BYTES.max(MIN_PART_BYTES * threads as u64);
    std::iter::successors(Some(smallest.next_power_of_two()), |size| {
        size.checked_mul(2)
    })
    .take_while(|size| *size < largest)
    .collect()
}

/// Threads with their parts of the buffer.
struct Readers {
    team: Team<Vec<Line>>,
    threads: u64,
}

impl Readers {
    fn new(bytes: u64, threads: usize) -> Result<Self, ProbeError> {
        let team = Team::<Vec<Line>>::gather(threads)?;
        let threads = threads as u64;
        let lines = part_lines(bytes, threads);
        let refused = Arc::new(AtomicBool::new(false));
        let failed = Arc::clone(&refused);
        team.run(move |part| {
            if part.try_reserve_exact(lines).is_err() {
                failed.store(true, Ordering::Relaxed);
                return;
            }
            // Written by its reader, with numbers: an untouched page would be the one zero page.
            part.extend((0..lines as u64).map(|index| Line([index; 8])));
        })?;
        if refused.load(Ordering::Relaxed) {
            return Err(ProbeError::Memory { bytes });
        }
        Ok(Self { team, threads })
    }

    /// The best of several passes over the first so many bytes.
    fn best(&self, bytes: u64, budget: Duration) -> Result<BandwidthPoint, ProbeError> {
        let lines = part_lines(bytes, self.threads);
        let working_set_bytes = lines as u64 * size_of::<Line>() as u64 * self.threads;
        let rounds = MIN_PASS_BYTES.div_ceil(working_set_bytes);
        let end = Instant::now() + budget;
        let mut best = Duration::MAX;
        for pass in 0..MAX_PASSES {
            if pass >= MIN_PASSES && Instant::now() >= end {
                break;
            }
            let took = self.team.run(move |part| {
                for _ in 0..rounds {
                    std::hint::black_box(sum(std::hint::black_box(&part[..lines])));
                }
            })?;
            best = best.min(took);
        }
        let read = (working_set_bytes * rounds) as f64;
        Ok(BandwidthPoint {
            working_set_bytes,
            bytes_s: (read / best.as_secs_f64().max(1e-9)) as u64,
        })
    }
}

fn part_lines(bytes: u64, threads: u64) -> usize {
    (bytes / threads / size_of::<Line>() as u64).max(1) as usize
}

/// The wrapping sum of every word, by the widest vectors that this processor has.
pub(super) fn sum(lines: &[Line]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has AVX-512F, asked on the line above.
            #[expect(unsafe_code, reason = "vector instructions that were asked for")]
            return unsafe { sum_avx512(lines) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2, asked on the line above.
            #[expect(unsafe_code, reason = "vector instructions that were asked for")]
            return unsafe { sum_avx2(lines) };
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        // SAFETY: the processor has NEON, asked on the line above.
        #[expect(unsafe_code, reason = "vector instructions that were asked for")]
        return unsafe { sum_neon(lines) };
    }
    sum_plain(lines)
}

/// Without intrinsics: eight chains side by side, which compilers turn into vectors.
pub(super) fn sum_plain(lines: &[Line]) -> u64 {
    let mut sums = [0_u64; 8];
    for Line(words) in lines {
        for (sum, word) in sums.iter_mut().zip(words) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "aligned loads through pointers")]
fn sum_avx512(lines: &[Line]) -> u64 {
    use std::arch::x86_64::{
        __m512i, _mm512_add_epi64, _mm512_load_si512, _mm512_reduce_add_epi64, _mm512_setzero_si512,
    };
    const CHAINS: usize = 8;
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    let mut blocks = lines.chunks_exact(CHAINS);
    for block in &mut blocks {
        for (sum, line) in sums.iter_mut().zip(block) {
            // SAFETY: a line is 64 bytes, aligned to 64, and initialised.
            let words = unsafe { _mm512_load_si512(std::ptr::from_ref(line).cast::<__m512i>()) };
            *sum = _mm512_add_epi64(*sum, words);
        }
    }
    let rest = sum_plain(blocks.remainder());
    sums.iter().fold(rest, |all, sum| {
        all.wrapping_add(_mm512_reduce_add_epi64(*sum) as u64)
    })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[expect(unsafe_code, reason = "aligned loads through pointers")]
fn sum_avx2(lines: &[Line]) -> u64 {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi64, _mm256_extract_epi64, _mm256_load_si256, _mm256_setzero_si256,
    };
    const LINES: usize = 4;
    let mut sums = [_mm256_setzero_si256(); 2 * LINES];
    let mut blocks = lines.chunks_exact(LINES);
    for block in &mut blocks {
        for (pair, line) in sums.chunks_exact_mut(2).zip(block) {
            let half = std::ptr::from_ref(line).cast::<__m256i>();
            // SAFETY: a line is two halves of 32 bytes, aligned to 64, and initialised.
            let (low, high) = unsafe { (_mm256_load_si256(half), _mm256_load_si256(half.add(1))) };
            pair[0] = _mm256_add_epi64(pair[0], low);
            pair[1] = _mm256_add_epi64(pair[1], high);
        }
    }
    let rest = sum_plain(blocks.remainder());
    sums.iter().fold(rest, |all, sum| {
        all.wrapping_add(_mm256_extract_epi64::<0>(*sum) as u64)
            .wrapping_add(_mm256_extract_epi64::<1>(*sum) as u64)
            .wrapping_add(_mm256_extract_epi64::<2>(*sum) as u64)
            .wrapping_add(_mm256_extract_epi64::<3>(*sum) as u64)
    })
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
#[expect(unsafe_code, reason = "loads through pointers")]
fn sum_neon(lines: &[Line]) -> u64 {
    use std::arch::aarch64::{vaddq_u64, vaddvq_u64, vdupq_n_u64, vld1q_u64};
    const LINES: usize = 4;
    let mut sums = [vdupq_n_u64(0); 4 * LINES];
    let mut blocks = lines.chunks_exact(LINES);
    for block in &mut blocks {
        for (four, Line(words)) in sums.chunks_exact_mut(4).zip(block) {
            for (sum, pair) in four.iter_mut().zip(words.chunks_exact(2)) {
                // SAFETY: a pair is two initialised words.
                *sum = vaddq_u64(*sum, unsafe { vld1q_u64(pair.as_ptr()) });
            }
        }
    }
    let rest = sum_plain(blocks.remainder());
    sums.iter()
        .fold(rest, |all, sum| all.wrapping_add(vaddvq_u64(*sum)))
}
