//! Unbiased draws from a random stream, the same on every platform.

use rand_core::Rng;

/// A uniform number in `0..n`; `n` must not be zero.
///
/// Values of the incomplete last stretch of the 32-bit range are thrown away, so no result is
/// favoured.
pub(super) fn below(rng: &mut impl Rng, n: u32) -> u32 {
    let limit = u32::MAX - u32::MAX % n;
    loop {
        let value = rng.next_u32();
        if value < limit {
            return value % n;
        }
    }
}

/// `count` different entries of `alphabet` in random order; `count` must not exceed its length.
pub(super) fn distinct(rng: &mut impl Rng, alphabet: &[u8], count: usize) -> Vec<u8> {
    let mut pool = alphabet.to_vec();
    for place in 0..count {
        let other = place + below(rng, (pool.len() - place) as u32) as usize;
        pool.swap(place, other);
    }
    pool.truncate(count);
    pool
}

/// One entry of `alphabet`, which must not be empty.
pub(super) fn pick(rng: &mut impl Rng, alphabet: &[u8]) -> u8 {
    alphabet[below(rng, alphabet.len() as u32) as usize]
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn every_value_below_the_bound_is_drawn_about_equally_often() {
        let mut rng = ChaCha8Rng::from_seed([7; 32]);
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            counts[below(&mut rng, 6) as usize] += 1;
        }
        assert!(
            counts.iter().all(|&count| (9_500..10_500).contains(&count)),
            "{counts:?}"
        );
    }

    #[test]
    fn distinct_letters_do_not_repeat() {
        let mut rng = ChaCha8Rng::from_seed([7; 32]);
        for _ in 0..1_000 {
            let mut letters = distinct(&mut rng, b"abcdefgh", 8);
            letters.sort_unstable();
            assert_eq!(letters, b"abcdefgh");
        }
    }
}
