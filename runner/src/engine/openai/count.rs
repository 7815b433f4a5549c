//! How many tokens a stream held. Tokens are counted, never chunks, and what is said twice must
//! agree.
//!
//! Two habits of honest servers are allowed for, both seen on llama.cpp and MLX: the end token is
//! counted when the model ends its answer by itself, and the bytes of a character that the end of
//! the output cut in two are held back for good (at most [`HELD_BACK`] tokens).

use domain::record::{Finish, TokenSource};

use super::events::Heard;
use super::vocabulary::Vocabulary;

/// Tokens that may lack their text at the end of an output: a character of UTF-8 has four bytes.
const HELD_BACK: u32 = 3;

/// How far a count may exceed the tokens of the text, by a vocabulary that is known here: a model
/// need not choose the tokens that the tokenizer would.
const OTHER_TOKENS: f64 = 1.25;

/// What was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Output tokens at most.
    pub(super) max_tokens: u32,
    /// Prompt tokens that the server must have found, where they are known.
    pub(super) prompt_tokens: Option<u32>,
    /// Prompt tokens where the server says nothing and they are not known for sure.
    pub(super) assumed_tokens: Option<u32>,
    /// The end tokens, where they are known.
    pub(super) eos: &'a [u32],
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) prompt_tokens: u32,
    pub(super) cached_tokens: Option<u32>,
    pub(super) output_tokens: u32,
    pub(super) reasoning_tokens: u32,
    /// Of each piece, and one more for tokens without text behind the last; `None` if all 1.
    pub(super) event_tokens: Option<Vec<u32>>,
    pub(super) source: TokenSource,
}

/// Counts a stream's tokens; an error says which two figures contradict each other, or that there
/// are none.
pub(super) fn count(
    heard: &Heard,
    finish: Finish,
    asked: Asked<'_>,
    vocabulary: &Vocabulary,
) -> Result<Counted, String> {
    let pieces = heard.pieces.len() as u32;
    let (said, source) = match said(heard, finish, pieces)? {
        Some(said) => said,
        None => (
            retokenised(heard, vocabulary).ok_or_else(|| {
                "it does not count its tokens (no usage, no timings): give the engine a \
                 tokenizer = \"…/tokenizer.json\""
                    .to_owned()
            })?,
            TokenSource::Retokenized,
        ),
    };
    if said > asked.max_tokens {
        let most = asked.max_tokens;
        return Err(format!(
            "it counts {said} output tokens, but {most} were asked"
        ));
    }
    if said < pieces {
        return Err(format!(
            "it counts {said} output tokens, but sent {pieces} pieces of output"
        ));
    }
    let output = said - u32::from(ends_counted(heard, finish, asked, said, source, vocabulary));
    check_text(heard, finish, output, source, vocabulary)?;
    let (prompt_tokens, cached_tokens) = prompt(heard, asked)?;
    let (event_tokens, source) = share_out(heard, output, source, vocabulary)?;
    let reasoning_tokens = reasoning(heard, event_tokens.as_deref(), output)?;
    Ok(Counted {
        prompt_tokens,
        cached_tokens,
        output_tokens: output,
        reasoning_tokens,
        event_tokens,
        source,
    })
}

/// The server's own total and where it stands; totals of two places must agree.
fn said(heard: &Heard, finish: Finish, pieces: u32) -> Result<Option<(u32, TokenSource)>, String> {
    let by_ids = Some(heard.ids.len() as u32).filter(|&ids| ids > 0);
    let by_timings = heard.timings.and_then(|timings| timings.predicted_n);
    let by_usage = heard.usage.and_then(|usage| usage.completion_tokens);
    // A stream that was cut at the deadline has no last word; its lines may each have one.
    let last = heard.pieces.last().and_then(|piece| piece.so_far);
    if let (Some(timings), Some(usage)) = (by_timings, by_usage)
        && timings != usage
        && finish != Finish::Timeout
    {
        return Err(format!(
            "its usage counts {usage} output tokens, its timings {timings}"
        ));
    }
    // The end token need not be among the ids.
    if let (Some(ids), Some(usage)) = (by_ids, by_usage)
        && finish != Finish::Timeout
        && ids != usage
        && !(finish == Finish::Stop && ids.abs_diff(usage) == 1)
    {
        return Err(format!(
            "its usage counts {usage} output tokens, but it sent {ids} token ids"
        ));
    }
    let said = by_ids
        .map(|ids| (ids, TokenSource::Ids))
        .or(by_timings.map(|timings| (timings, TokenSource::Timings)))
        .or(by_usage.map(|usage| (usage, TokenSource::Usage)))
        .or(last.map(|last| (last, TokenSource::Usage)))
        .or((pieces == 0 && finish == Finish::Timeout).then_some((0, TokenSource::Usage)));
    Ok(said)
}

/// Tokens of the joined text, where the vocabulary is at hand.
fn retokenised(heard: &Heard, vocabulary: &Vocabulary) -> Option<u32> {
    let mut total = 0;
    for text in [&heard.reasoning, &heard.text] {
        total += if text.is_empty() {
            0
        } else {
            vocabulary.count_here(text)?
        };
    }
    Some(total)
}

/// The server's total includes the end token, which is no output.
fn ends_counted(
    heard: &Heard,
    finish: Finish,
    asked: Asked<'_>,
    said: u32,
    source: TokenSource,
    vocabulary: &Vocabulary,
) -> bool {
    if finish != Finish::Stop || said == 0 || source == TokenSource::Retokenized {
        return false;
    }
    if source == TokenSource::Ids {
        return heard
            .ids
            .last()
            .is_some_and(|last| asked.eos.contains(last));
    }
    let exact = exact_length(heard, vocabulary);
    let last = heard.pieces.last().map_or(Some(0), |piece| piece.so_far);
    match (exact, last) {
        (Some(exact), _) => said > exact,
        // A count that rose behind the last text rose for the end token.
        (None, Some(last)) => said > last,
        (None, None) => said == heard.pieces.len() as u32 + 1,
    }
}

/// The text shows every byte.
fn whole(heard: &Heard) -> bool {
    !heard.text.contains('\u{fffd}') && !heard.reasoning.contains('\u{fffd}')
}

/// Tokens of the text where each byte is one, and the text shows every byte.
fn exact_length(heard: &Heard, vocabulary: &Vocabulary) -> Option<u32> {
    (whole(heard) && vocabulary.is_bytes())
        .then(|| (heard.text.len() + heard.reasoning.len()) as u32)
}

/// A vocabulary of single bytes shows what was made: the count cannot be less than the text, nor
/// more than the text and what may have been held back. Any other that is known here bounds the
/// count from above, less sharply. Special tokens print as nothing, so a server whose count rises
/// line by line, or who says the ids, is believed beyond that.
fn check_text(
    heard: &Heard,
    finish: Finish,
    output: u32,
    source: TokenSource,
    vocabulary: &Vocabulary,
) -> Result<(), String> {
    let shown = source == TokenSource::Ids || heard.timed_pieces && heard.timings.is_some();
    let Some(exact) = exact_length(heard, vocabulary) else {
        let again = whole(heard)
            .then(|| retokenised(heard, vocabulary))
            .flatten();
        return match again {
            Some(again)
                if !shown
                    && f64::from(output)
                        > f64::from(again) * OTHER_TOKENS + f64::from(HELD_BACK) =>
            {
                Err(format!(
                    "it counts {output} output tokens, but its text makes {again}"
                ))
            }
            _ => Ok(()),
        };
    };
    let late = finish == Finish::Timeout;
    if output < exact && !late || output > exact + HELD_BACK && !shown {
        return Err(format!(
            "it counts {output} output tokens, but its text holds {exact}"
        ));
    }
    Ok(())
}

/// Prompt tokens and how many of them came from a cache.
fn prompt(heard: &Heard, asked: Asked<'_>) -> Result<(u32, Option<u32>), String> {
    let details = |usage: super::events::Usage| usage.prompt_tokens_details;
    let cached = heard
        .usage
        .and_then(details)
        .and_then(|details| details.cached_tokens)
        .or(heard.timings.and_then(|timings| timings.cache_n));
    let by_usage = heard.usage.and_then(|usage| usage.prompt_tokens);
    let by_timings = heard.timings.and_then(|timings| {
        timings
            .prompt_n
            .map(|prompt| prompt.saturating_add(timings.cache_n.unwrap_or(0)))
    });
    if let (Some(usage), Some(timings)) = (by_usage, by_timings)
        && usage != timings
    {
        return Err(format!(
            "its usage counts {usage} prompt tokens, its timings {timings}"
        ));
    }
    let said = by_usage.or(by_timings);
    if let (Some(said), Some(sent)) = (said, asked.prompt_tokens)
        && said != sent
    {
        return Err(format!(
            "it counts {said} prompt tokens, but {sent} were sent"
        ));
    }
    let prompt = said
        .or(asked.prompt_tokens)
        .or(asked.assumed_tokens)
        .ok_or_else(|| {
            "it does not count the prompt's tokens: give the engine a tokenizer = \
         \"…/tokenizer.json\""
                .to_owned()
        })?;
    match cached {
        Some(cached) if cached > prompt => Err(format!(
            "it found {cached} cached tokens in a prompt of {prompt}"
        )),
        cached => Ok((prompt, cached)),
    }
}

/// Tokens of each piece.
fn share_out(
    heard: &Heard,
    output: u32,
    source: TokenSource,
    vocabulary: &Vocabulary,
) -> Result<(Option<Vec<u32>>, TokenSource), String> {
    let pieces = &heard.pieces;
    if pieces.len() as u32 == output {
        return Ok((None, source));
    }
    if pieces.is_empty() {
        return Ok((Some(vec![output]), source));
    }
    let said: Option<Vec<u32>> = pieces.iter().map(|piece| piece.so_far).collect();
    if let Some(said) = said {
        let mut tokens = Vec::with_capacity(pieces.len() + 1);
        let mut before = 0;
        for now in said {
            if now <= before {
                return Err(format!(
                    "its count of output tokens went from {before} to {now} at a piece of output"
                ));
            }
            tokens.push(now - before);
            before = now;
        }
        match output.checked_sub(before) {
            Some(0) => {}
            Some(behind) => tokens.push(behind),
            None => {
                return Err(format!(
                    "it counts {output} output tokens at the end, but {before} before it"
                ));
            }
        }
        return Ok((Some(tokens), source));
    }
    let bytes: Vec<u32> = pieces.iter().map(|piece| piece.bytes).collect();
    if exact_length(heard, vocabulary) == Some(output) {
        return Ok((Some(bytes), source));
    }
    let source = match source {
        TokenSource::Retokenized => source,
        _ => TokenSource::Apportioned,
    };
    Ok((Some(apportion(&bytes, output)), source))
}

/// Shares `total` out in proportion to `weights`, at least 1 each; `total` is at least their
/// number. Largest remainders come by running sums, so that no piece is off by more than one.
fn apportion(weights: &[u32], total: u32) -> Vec<u32> {
    let extra = u64::from(total) - weights.len() as u64;
    let whole: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let (mut sum, mut given) = (0_u64, 0_u64);
    weights
        .iter()
        .map(|&weight| {
            sum += u64::from(weight);
            let due = (extra * sum).checked_div(whole).unwrap_or(0);
            let share = due - given;
            given = due;
            share as u32 + 1
        })
        .collect()
}

/// Reasoning tokens by the server's word, else those of the pieces that show nothing of the answer.
fn reasoning(heard: &Heard, event_tokens: Option<&[u32]>, output: u32) -> Result<u32, String> {
    let said = heard
        .usage
        .and_then(|usage| usage.completion_tokens_details)
        .and_then(|details| details.reasoning_tokens)
        .filter(|&said| said > 0 || heard.reasoning.is_empty());
    let reasoning = said.unwrap_or_else(|| {
        let hidden = heard.pieces.iter().enumerate();
        hidden
            .filter(|(_, piece)| !piece.visible)
            .map(|(at, _)| event_tokens.map_or(1, |tokens| tokens[at]))
            .sum()
    });
    if reasoning > output {
        return Err(format!(
            "it counts {reasoning} reasoning tokens among {output} output tokens"
        ));
    }
    Ok(reasoning)
}
