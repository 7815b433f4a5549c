//! Prompts for timed requests: natural text behind a prefix that no other request has.
//!
//! The prefix defeats every cache (each request is cold), the text costs what text costs. The
//! same sweep gives the same text to all of its cells, so that cells pair.

use domain::byte_tokenizer::ByteTokenizer;
use domain::ids::Sha256Digest;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::engine::{EngineError, Prompt};

/// What every prompt is a window of; its digest is the workload's `prompt_sha256`.
pub const TEXT: &str = "\
A kettle on a stove and a model on a desk have one thing in common: both turn energy into \
something that somebody wanted, and both are easy to misjudge by looking. The kettle hums, the \
fan turns, and neither tells how much was spent. To know, one has to count what went in and what \
came out, over the same span, with an instrument that was there all along. Counting what went in \
is the harder half. A plug sees the whole machine, supply and all; a counter in the processor \
sees only the processor; a sensor on a card sees the card and a little of its neighbourhood. None \
of them is wrong, but they answer different questions, and a number without its question is worth \
little. Counting what came out looks simpler than it is. Tokens are not answers, answers are not \
right answers, and a fast machine that is often wrong may cost more for each thing it gets right \
than a slow one that seldom fails. So the useful figure is not how many words a second, nor how \
many watts, but how much energy went into every answer that was correct. Whoever compares two \
machines this way should let both do the same work, in the same order, more than once, and should \
say how far apart two runs of the same machine lie before saying that one machine beats another. \
A difference smaller than that is a difference of weather. The rest is bookkeeping: write down \
what was measured, when, with what, and keep the raw readings, because a mean that nobody can \
recompute is an opinion. And when there was nothing to read, say so. An empty field is honest; a \
zero in its place is a claim, and a guess dressed as a measurement is worse than both. ";

/// Letters of the unique prefix: 26^10 prefixes, so two requests do not meet.
const PREFIX_LETTERS: usize = 10;

/// Characters of text per token asked for: no tokenizer makes fewer tokens of English.
const CHARACTERS_PER_TOKEN: usize = 12;

/// The prompts of one cell, in order.
#[derive(Debug)]
pub struct Prompts {
    windows: ChaCha8Rng,
    prefixes: ChaCha8Rng,
}

impl Prompts {
    /// The prompts of one cell of `sweep` that was begun at `started_ms` (Unix time). The sweep
    /// seeds the windows, so that its cells get the same text; the moment seeds the prefixes with
    /// it, so that neither another cell nor the same one after an interruption begins a prompt
    /// alike: a server that runs on would have it cached.
    pub fn new(sweep: Sha256Digest, started_ms: u64) -> Self {
        let moment = [&sweep.0[..], &started_ms.to_le_bytes()].concat();
        Self {
            windows: ChaCha8Rng::from_seed(sweep.0),
            prefixes: ChaCha8Rng::from_seed(Sha256Digest::of(&moment).0),
        }
    }

    /// The next prompt's text, long enough for so many tokens: [`Engine::fit_prompt`] cuts it.
    ///
    /// [`Engine::fit_prompt`]: crate::engine::Engine::fit_prompt
    pub fn next(&mut self, tokens: u32) -> String {
        let mut text: String = (0..PREFIX_LETTERS)
            .map(|_| char::from(b'a' + below(&mut self.prefixes, 26) as u8))
            .collect();
        text.push(' ');
        let start = below(&mut self.windows, TEXT.len() as u32) as usize;
        let length = tokens as usize * CHARACTERS_PER_TOKEN;
        text.extend(TEXT.chars().cycle().skip(start).take(length));
        text
    }
}

/// Almost uniform, which is all that a window into a text needs.
fn below(rng: &mut ChaCha8Rng, n: u32) -> u32 {
    ((u64::from(rng.next_u32()) * u64::from(n)) >> 32) as u32
}

/// The beginning of `text` that is `tokens` long for a vocabulary of one token per byte.
pub fn fit_bytes(
    tokenizer: &ByteTokenizer,
    begins_with_bos: bool,
    text: &str,
    tokens: u32,
) -> Result<Prompt, EngineError> {
    let letters = (tokens as usize).saturating_sub(usize::from(begins_with_bos));
    let fault = |reason: &str| EngineError::NoPrompt {
        tokens,
        reason: reason.to_owned(),
    };
    let cut = text
        .get(..letters)
        .ok_or_else(|| fault("the text is shorter, or that would cut a character"))?;
    let bos = begins_with_bos.then(|| tokenizer.bos());
    let ids: Vec<u32> = bos.into_iter().chain(tokenizer.encode(cut)).collect();
    if ids.len() != tokens as usize {
        return Err(fault("the vocabulary is not of single bytes"));
    }
    Ok(Prompt::Exact {
        tokens: ids,
        text: cut.to_owned(),
        length: tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn prompts_are_long_enough_and_unique() {
        let mut prompts = Prompts::new(Sha256Digest([3; 32]), 0);
        let tokenizer = ByteTokenizer::reference();
        let seen: BTreeSet<_> = (0..2_000_u32)
            .map(|n| {
                let tokens = 16 + n % 500;
                let fitted = fit_bytes(&tokenizer, true, &prompts.next(tokens), tokens);
                match fitted.expect("long enough") {
                    Prompt::Exact { tokens, .. } => tokens,
                    Prompt::Text(_) | Prompt::Chat(_) => unreachable!("an exact prompt"),
                }
            })
            .collect();
        assert_eq!(seen.len(), 2_000);
        let starts: BTreeSet<_> = seen
            .iter()
            .map(|prompt| prompt[1..=PREFIX_LETTERS].to_vec())
            .collect();
        assert_eq!(starts.len(), 2_000, "no two share their beginning");
    }

    #[test]
    fn cells_of_a_sweep_share_their_text_and_no_beginning() {
        let of = |sweep: u8, moment| Prompts::new(Sha256Digest([sweep; 32]), moment).next(128);
        let (one, again) = (of(1, 7), of(1, 8));
        assert_eq!(one, of(1, 7));
        assert_ne!(one[..PREFIX_LETTERS], again[..PREFIX_LETTERS]);
        assert_eq!(one[PREFIX_LETTERS..], again[PREFIX_LETTERS..]);
        assert_ne!(one[PREFIX_LETTERS..], of(2, 7)[PREFIX_LETTERS..]);
    }
}
