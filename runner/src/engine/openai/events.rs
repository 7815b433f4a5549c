//! From the lines of a stream to what was heard: pieces of output, counts, timings, the end.

use serde::Deserialize;
use serde_json::Value;

use super::wire::{LineReader, Next, error_of, short};
use crate::engine::TokenEvent;

/// Output text beyond which a stream is given up: more than the longest output at a long
/// token's length.
const MAX_TEXT_BYTES: usize = 16 << 20;

/// Pieces or ids beyond what was asked that are still read, so that a server which says the end
/// token's id too is heard to its end.
const SPARE: u32 = 4;

/// A piece of output that was reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// It holds some of the answer, not reasoning alone.
    pub(super) visible: bool,
    /// Bytes of its text.
    pub(super) bytes: u32,
    /// Tokens made since the stream's start, by the server's word in this line.
    pub(super) so_far: Option<u32>,
}

/// What a stream said.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Reported pieces, in order.
    pub(super) pieces: Vec<Piece>,
    /// The answer.
    pub(super) text: String,
    /// The reasoning before it.
    pub(super) reasoning: String,
    /// Ids of the output tokens, where the server says them.
    pub(super) ids: Vec<u32>,
    /// Why it stopped, in the server's word.
    pub(super) finish: Option<String>,
    /// The last `usage`.
    pub(super) usage: Option<Usage>,
    /// The last `timings`.
    pub(super) timings: Option<Timings>,
    /// The server's name for its build.
    pub(super) fingerprint: Option<String>,
    /// Each piece of text came with a count from `timings`.
    pub(super) timed_pieces: bool,
    /// Each piece of text came with a count from `usage`.
    pub(super) used_pieces: bool,
}

/// `usage`, as far as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Usage {
    pub(super) prompt_tokens: Option<u32>,
    pub(super) completion_tokens: Option<u32>,
    pub(super) prompt_tokens_details: Option<PromptDetails>,
    pub(super) completion_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct PromptDetails {
    pub(super) cached_tokens: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct OutputDetails {
    pub(super) reasoning_tokens: Option<u32>,
}

/// llama.cpp's `timings`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct Timings {
    pub(super) cache_n: Option<u32>,
    pub(super) prompt_n: Option<u32>,
    pub(super) prompt_ms: Option<f64>,
    pub(super) predicted_n: Option<u32>,
    pub(super) predicted_ms: Option<f64>,
    pub(super) draft_n: Option<u32>,
    pub(super) draft_n_accepted: Option<u32>,
}

#[derive(Deserialize)]
struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
    timings: Option<Timings>,
    system_fingerprint: Option<String>,
    #[serde(default)]
    error: Value,
    object: Option<String>,
}

#[derive(Deserialize)]
struct Choice {
    text: Option<String>,
    delta: Option<Delta>,
    finish_reason: Option<String>,
    token_ids: Option<Vec<u32>>,
}

#[derive(Deserialize, Default)]
struct Delta {
    content: Option<String>,
    reasoning_content: Option<String>,
    reasoning: Option<String>,
}

/// Reads a stream's lines and reports every piece of output right after it was parsed.
pub(super) struct Listener<'a> {
    heard: Heard,
    max_tokens: u32,
    on_event: &'a mut dyn FnMut(TokenEvent),
}

impl<'a> Listener<'a> {
    /// Hears an answer of so many tokens at most.
    pub(super) fn new(max_tokens: u32, on_event: &'a mut dyn FnMut(TokenEvent)) -> Self {
        let heard = Heard {
            timed_pieces: true,
            used_pieces: true,
            ..Heard::default()
        };
        Self {
            heard,
            max_tokens,
            on_event,
        }
    }

    pub(super) fn into_heard(self) -> Heard {
        self.heard
    }

    fn chunk(&mut self, data: &str) -> Result<(), String> {
        let chunk: Chunk = match serde_json::from_str(data) {
            Ok(chunk) => chunk,
            Err(error) => return Err(format!("an event that is not understood: {error}")),
        };
        if !chunk.error.is_null() || chunk.object.as_deref() == Some("error") {
            let body: Value = serde_json::from_str(data).unwrap_or_default();
            let said = error_of(&body).unwrap_or_else(|| short(data));
            let events = self.heard.pieces.len();
            return Err(format!("an error after {events} pieces of output: {said}"));
        }
        if let Some(usage) = chunk.usage {
            self.heard.usage = Some(usage);
        }
        if let Some(timings) = chunk.timings {
            self.heard.timings = Some(timings);
        }
        if self.heard.fingerprint.is_none() {
            self.heard.fingerprint = chunk.system_fingerprint;
        }
        let Some(choice) = chunk.choices.and_then(|choices| choices.into_iter().next()) else {
            return Ok(());
        };
        if let Some(ids) = choice.token_ids {
            self.heard.ids.extend(ids);
            self.bounded(self.heard.ids.len(), "token ids")?;
        }
        if choice.finish_reason.is_some() {
            self.heard.finish = choice.finish_reason;
        }
        let delta = choice.delta.unwrap_or_default();
        let visible = choice.text.or(delta.content).unwrap_or_default();
        let hidden = delta
            .reasoning_content
            .or(delta.reasoning)
            .unwrap_or_default();
        if visible.is_empty() && hidden.is_empty() {
            return Ok(());
        }
        self.bounded(self.heard.pieces.len() + 1, "pieces of output")?;
        let event = TokenEvent {
            visible: !visible.is_empty(),
        };
        (self.on_event)(event);

        let timed = chunk.timings.and_then(|timings| timings.predicted_n);
        let used = chunk.usage.and_then(|usage| usage.completion_tokens);
        let ids = Some(self.heard.ids.len() as u32).filter(|&ids| ids > 0);
        self.heard.timed_pieces &= timed.is_some();
        self.heard.used_pieces &= used.is_some();
        self.heard.pieces.push(Piece {
            visible: event.visible,
            bytes: (visible.len() + hidden.len()) as u32,
            so_far: ids.or(timed).or(used),
        });
        self.heard.text.push_str(&visible);
        self.heard.reasoning.push_str(&hidden);
        if self.heard.text.len() + self.heard.reasoning.len() > MAX_TEXT_BYTES {
            return Err(format!("more than {MAX_TEXT_BYTES} bytes of output"));
        }
        Ok(())
    }
}

impl Listener<'_> {
    /// A server that does not stop is not heard for ever.
    fn bounded(&self, count: usize, of: &str) -> Result<(), String> {
        let most = self.max_tokens;
        if count > most.saturating_add(SPARE) as usize {
            return Err(format!(
                "it sent {count} {of}, but {most} tokens were asked"
            ));
        }
        Ok(())
    }
}

impl LineReader for Listener<'_> {
    fn read(&mut self, line: &str) -> Result<Next, String> {
        let Some(data) = line.strip_prefix("data:") else {
            // Comments keep the connection alive; other fields of the format say nothing here.
            let known = ["event:", "id:", "retry:"];
            return if line.trim().is_empty()
                || line.starts_with(':')
                || known.iter().any(|field| line.starts_with(field))
            {
                Ok(Next::Line)
            } else if line.trim_start().starts_with('<') {
                Err("an HTML page in place of a stream of events".to_owned())
            } else if line.trim_start().starts_with('{') {
                let body: Value = serde_json::from_str(line).unwrap_or_default();
                Err(error_of(&body).map_or_else(
                    || "one JSON object at the end in place of a stream of events".to_owned(),
                    |error| format!("an error: {error}"),
                ))
            } else {
                Err(format!("a line that is no event: {:?}", short(line)))
            };
        };
        match data.trim() {
            "" => Ok(Next::Line),
            "[DONE]" => Ok(Next::End),
            data => self.chunk(data).map(|()| Next::Line),
        }
    }

    fn heard(&self) -> u32 {
        self.heard.pieces.len() as u32
    }
}
