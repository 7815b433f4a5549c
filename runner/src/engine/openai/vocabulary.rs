//! How texts become tokens, as far as it is known on this side.

use std::path::Path;

use domain::byte_tokenizer::ByteTokenizer;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::wire::Wire;
use crate::engine::{EngineError, Prompt, candle};
use crate::gguf::Gguf;
use crate::gguf::Keys as _;
use crate::prompt::fit_bytes;

/// Requests that the search for a cut may take.
const MAX_TRIES: u32 = 64;

/// Share of its model's vocabulary that a tokenizer holds at least: models are padded to round
/// numbers, by less than a hundredth in those seen.
const LEAST_SHARE: f64 = 0.9;

/// A vocabulary.
#[derive(Debug)]
pub(super) enum Vocabulary {
    /// One token per byte.
    Bytes {
        tokenizer: Box<ByteTokenizer>,
        begins_with_bos: bool,
    },
    /// Whatever a `tokenizer.json` says.
    Json(Box<Tokenizer>),
    /// The server tells on request.
    Asked(TokenizePage),
    /// Not known.
    Unknown,
}

/// A server's own page for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenizePage {
    LlamaCpp,
    Vllm,
}

impl Vocabulary {
    /// The weights file's own, if its tokens are bytes. One of another kind is no fault here:
    /// someone else may know it.
    pub(super) fn of_gguf(gguf: &Gguf) -> Option<Self> {
        let tokens = gguf.texts("tokenizer.ggml.tokens").ok()??;
        let (tokenizer, begins_with_bos) = candle::tokenizer(gguf, tokens.len()).ok()?;
        Some(Self::Bytes {
            tokenizer: Box::new(tokenizer),
            begins_with_bos,
        })
    }

    /// That of a `tokenizer.json`; a vocabulary of single bytes is recognised as one. An error if
    /// it cannot be that of weights which know `known` tokens.
    pub(super) fn of_json(
        path: &Path,
        eos: Option<u32>,
        known: Option<u64>,
    ) -> Result<Self, EngineError> {
        let unreadable = |what: String| EngineError::Unsupported {
            path: path.to_owned(),
            what: crate::gguf::cleaned(&what),
        };
        let tokenizer =
            Tokenizer::from_file(path).map_err(|error| unreadable(error.to_string()))?;
        let size = tokenizer.get_vocab_size(true) as u64;
        if let Some(known) = known
            && (size > known || (size as f64) < known as f64 * LEAST_SHARE)
        {
            return Err(unreadable(format!(
                "it has {size} tokens, the weights know {known}: it belongs to another model"
            )));
        }
        Ok(match Self::bytes_of(&tokenizer, eos) {
            Some(bytes) => bytes,
            None => Self::Json(Box::new(tokenizer)),
        })
    }

    fn bytes_of(tokenizer: &Tokenizer, eos: Option<u32>) -> Option<Self> {
        let mut tokens: Vec<(String, u32)> = tokenizer.get_vocab(true).into_iter().collect();
        tokens.sort_by_key(|&(_, id)| id);
        let whole = tokens.iter().zip(0..).all(|((_, id), place)| *id == place);
        let tokens: Vec<String> = tokens.into_iter().map(|(text, _)| text).collect();
        let with = tokenizer.encode("a", true).ok()?.get_ids().to_vec();
        let without = tokenizer.encode("a", false).ok()?.get_ids().to_vec();
        let (begins_with_bos, bos) = match with.as_slice() {
            [bos, rest @ ..] if rest == without => (true, *bos),
            rest if rest == without => (false, 0),
            _ => return None,
        };
        let found = ByteTokenizer::from_tokens(&tokens, bos, eos.unwrap_or(bos)).ok()?;
        whole.then_some(Self::Bytes {
            tokenizer: Box::new(found),
            begins_with_bos,
        })
    }

    /// Each byte is a token.
    pub(super) fn is_bytes(&self) -> bool {
        matches!(self, Self::Bytes { .. })
    }

    /// Tokens of a text without what is put before it; `None` where only the server knows.
    pub(super) fn count_here(&self, text: &str) -> Option<u32> {
        match self {
            Self::Bytes { .. } => Some(text.len() as u32),
            Self::Json(tokenizer) => tokenizer
                .encode_fast(text, false)
                .ok()
                .map(|encoding| encoding.len() as u32),
            Self::Asked(_) | Self::Unknown => None,
        }
    }

    /// Tokens of a text with what is put before it; `None` where only the server knows.
    pub(super) fn whole_count_here(&self, text: &str) -> Option<u32> {
        match self {
            Self::Bytes {
                begins_with_bos, ..
            } => Some(text.len() as u32 + u32::from(*begins_with_bos)),
            Self::Json(tokenizer) => tokenizer
                .encode_fast(text, true)
                .ok()
                .map(|encoding| encoding.len() as u32),
            Self::Asked(_) | Self::Unknown => None,
        }
    }

    /// Tokens of a text without what is put before it; `None` where nobody knows.
    pub(super) fn count(&self, text: &str, wire: &Wire) -> Result<Option<u32>, EngineError> {
        match self {
            Self::Asked(page) => Ok(Some(page.ids(text, false, wire)?.len() as u32)),
            _ => Ok(self.count_here(text)),
        }
    }

    /// Tokens of a text with what is put before it.
    pub(super) fn ids(&self, text: &str, wire: &Wire) -> Result<Option<Vec<u32>>, EngineError> {
        match self {
            Self::Bytes {
                tokenizer,
                begins_with_bos,
            } => {
                let bos = begins_with_bos.then(|| tokenizer.bos());
                Ok(Some(
                    bos.into_iter().chain(tokenizer.encode(text)).collect(),
                ))
            }
            Self::Json(tokenizer) => Ok(tokenizer
                .encode(text, true)
                .ok()
                .map(|encoding| encoding.get_ids().to_vec())),
            Self::Asked(page) => page.ids(text, true, wire).map(Some),
            Self::Unknown => Ok(None),
        }
    }

    /// A prompt of token ids: the first `tokens` of the text's.
    pub(super) fn fit_ids(
        &self,
        text: &str,
        tokens: u32,
        wire: &Wire,
    ) -> Result<Prompt, EngineError> {
        if let Self::Bytes {
            tokenizer,
            begins_with_bos,
        } = self
        {
            return fit_bytes(tokenizer, *begins_with_bos, text, tokens);
        }
        let ids = self.ids(text, wire)?.ok_or_else(|| unknown(tokens))?;
        let Some(ids) = ids.get(..tokens as usize) else {
            return Err(too_short(tokens, ids.len()));
        };
        let text = match self {
            Self::Json(tokenizer) => tokenizer.decode(ids, true).ok(),
            Self::Asked(page) => page.text(ids, wire)?,
            Self::Bytes { .. } | Self::Unknown => None,
        };
        Ok(Prompt::Exact {
            tokens: ids.to_vec(),
            text: text.unwrap_or_default(),
            length: tokens,
        })
    }

    /// A prompt of text: the longest beginning that has `tokens` together with the `extra` that
    /// the server puts around it.
    pub(super) fn fit_text(
        &self,
        text: &str,
        tokens: u32,
        extra: u32,
        wire: &Wire,
    ) -> Result<Prompt, EngineError> {
        let Some(wanted) = tokens.checked_sub(extra).filter(|&wanted| wanted > 0) else {
            return Err(EngineError::NoPrompt {
                tokens,
                reason: format!("the server alone puts {extra} tokens around each"),
            });
        };
        let fitted = |cut: &str| Prompt::Exact {
            tokens: Vec::new(),
            text: cut.to_owned(),
            length: tokens,
        };
        // A cut inside a character is no text.
        let floor = |at: usize| text.floor_char_boundary(at);
        if self.is_bytes() {
            let cut = floor(wanted as usize);
            return if cut == wanted as usize {
                Ok(fitted(&text[..cut]))
            } else {
                Err(too_short(tokens, cut))
            };
        }
        let count = |at: usize| -> Result<u32, EngineError> {
            self.count(&text[..at], wire)?
                .ok_or_else(|| unknown(tokens))
        };
        // Counts almost always grow with the text, so halving finds the neighbourhood. No
        // tokenizer makes more tokens than bytes.
        let (mut low, mut high) = (0, text.len());
        let mut tries = 0;
        while low < high && tries < MAX_TRIES {
            tries += 1;
            let middle = floor(low.midpoint(high));
            let middle = if middle <= low { high } else { middle };
            let found = count(middle)?;
            if found <= wanted {
                if middle == high {
                    low = high;
                    break;
                }
                low = middle;
            } else if middle == high {
                break;
            } else {
                high = middle;
            }
        }
        if count(low)? == wanted {
            return Ok(fitted(&text[..low]));
        }
        // A token may end anywhere near: look at the cuts around.
        let mut near: Vec<usize> = (low.saturating_sub(24)..=(low + 24).min(text.len()))
            .filter(|&at| text.is_char_boundary(at))
            .collect();
        near.sort_by_key(|&at| std::cmp::Reverse(at));
        for at in near {
            if count(at)? == wanted {
                return Ok(fitted(&text[..at]));
            }
        }
        Err(EngineError::NoPrompt {
            tokens,
            reason: "the text is too short, or has no cut there".to_owned(),
        })
    }
}

impl TokenizePage {
    fn ids(self, text: &str, specials: bool, wire: &Wire) -> Result<Vec<u32>, EngineError> {
        let body = match self {
            Self::LlamaCpp => json!({"content": text, "add_special": specials}),
            Self::Vllm => json!({"prompt": text, "add_special_tokens": specials}),
        };
        let answer = wire.post("/tokenize", &body)?;
        let ids = answer.body.get("tokens").and_then(Value::as_array);
        let ids: Option<Vec<u32>> = ids.and_then(|ids| {
            ids.iter()
                .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
                .collect()
        });
        ids.ok_or_else(|| wire.protocol("/tokenize", "no token ids"))
    }

    fn text(self, ids: &[u32], wire: &Wire) -> Result<Option<String>, EngineError> {
        let answer = wire.post("/detokenize", &json!({"tokens": ids}))?;
        let key = match self {
            Self::LlamaCpp => "content",
            Self::Vllm => "prompt",
        };
        let text = answer.body.get(key).and_then(Value::as_str);
        Ok(text.map(str::to_owned))
    }
}

fn unknown(tokens: u32) -> EngineError {
    EngineError::NoPrompt {
        tokens,
        reason: "nobody says how this model's texts become tokens: give the engine a tokenizer = \
                 \"…/tokenizer.json\""
            .to_owned(),
    }
}

fn too_short(tokens: u32, found: usize) -> EngineError {
    EngineError::NoPrompt {
        tokens,
        reason: format!("the text has only {found}, or that would cut a character"),
    }
}
