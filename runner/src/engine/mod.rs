//! The seam between measuring and inference: whatever answers prompts stands behind [`Engine`].
//!
//! Lifecycle: `load`, then any number of `generate`, then `unload` or the next `load`. An engine keeps no state
//! between requests (every request is cold), never measures energy, and stamps nothing for the reader: the caller
//! takes its own times in `on_token`. Greedy decoding only.

use std::path::{Path, PathBuf};
use std::time::Instant;

use domain::record::{EngineFacts, Finish, Outcome, Settings};
use thiserror::Error;

use crate::gguf::GgufError;

pub mod candle;
pub mod scripted;

/// An inference program that can be measured.
pub trait Engine: Send {
    /// Name, version and build, as they stand in a record.
    fn facts(&self) -> EngineFacts;

    /// Settings that change speed or answers.
    fn settings(&self) -> Settings;

    /// Loads weights in place of what was loaded before; after an error nothing is loaded.
    fn load(&mut self, weights: &Path) -> Result<(), EngineError>;

    /// Frees the weights.
    fn unload(&mut self);

    /// Answers one request, calling `on_token` right after each output token was chosen.
    ///
    /// The end-of-sequence token is neither an output token nor reported.
    fn generate(
        &mut self,
        request: &GenerateRequest,
        on_token: &mut dyn FnMut(u32),
    ) -> Result<Generated, EngineError>;
}

/// What is asked of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerateRequest {
    /// The prompt.
    pub prompt: Prompt,
    /// Output tokens at most; 0 processes the prompt and emits nothing.
    pub max_output_tokens: u32,
    /// The end-of-sequence token may not be chosen, so the output has exactly the asked length.
    pub ban_eos: bool,
    /// When to stop with [`Finish::Timeout`]; looked at before every forward pass.
    pub deadline: Option<Instant>,
}

/// A prompt as text or as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Tokenised by the engine, which puts the begin token before it if the weights file asks for that.
    Text(String),
    /// Taken as they are.
    Tokens(Vec<u32>),
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Prompt tokens processed, the begin token included.
    pub prompt_tokens: u32,
    /// Output tokens.
    pub output: Vec<u32>,
    /// The output as text; bytes that are no UTF-8 became U+FFFD.
    pub text: String,
    /// Why it stopped.
    pub finish: Finish,
    /// From the request's start until the first token was chosen, by the engine's own clock.
    pub engine_prefill_ns: Option<u64>,
    /// From the first chosen token to the last choice, by the engine's own clock; `None` without a second choice.
    pub engine_decode_ns: Option<u64>,
    /// Prompt tokens that came from a cache, where the engine knows.
    pub cached_tokens: Option<u32>,
}

/// Why an engine failed.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The weights are whole, but this engine cannot run them.
    #[error("load {}: {what}", path.display())]
    Unsupported {
        /// The weights.
        path: PathBuf,
        /// What is not supported.
        what: String,
    },
    /// Memory does not suffice.
    #[error("hold {what} of {bytes} bytes in memory; choose a smaller variant or free memory")]
    OutOfMemory {
        /// What was to be held.
        what: &'static str,
        /// Its size.
        bytes: u64,
    },
    /// The accelerator's memory does not suffice.
    #[error("hold {what} in the accelerator's memory: {reason}")]
    DeviceOutOfMemory {
        /// What was to be held.
        what: &'static str,
        /// What the device said.
        reason: String,
    },
    /// The weights file is damaged or lacks something.
    #[error(transparent)]
    File(#[from] GgufError),
    /// Prompt and output do not fit the context.
    #[error(
        "fit {prompt} prompt and {output} output tokens into the model's context of {context} tokens"
    )]
    PromptTooLong {
        /// Prompt tokens.
        prompt: u64,
        /// Output tokens asked for.
        output: u32,
        /// The context's length.
        context: u32,
    },
    /// Nothing to continue.
    #[error("continue an empty prompt")]
    EmptyPrompt,
    /// A token id that the vocabulary lacks.
    #[error("look up token {token}: the vocabulary has {vocabulary} tokens")]
    TokenOutside {
        /// The id.
        token: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// `generate` before `load`.
    #[error("generate: no weights are loaded")]
    NotLoaded,
    /// The weights produce no numbers.
    #[error("compute finite logits with {}: its weights hold or cause a NaN; make or fetch the file again", path.display())]
    NotFinite {
        /// The weights.
        path: PathBuf,
    },
    /// The device or its library failed.
    #[error("{doing}: {source}")]
    Compute {
        /// What was being done.
        doing: &'static str,
        /// What candle said.
        source: candle_core::Error,
    },
    /// The engine died.
    #[error("keep the engine running: {reason}")]
    Crashed {
        /// What is known.
        reason: String,
    },
}

impl EngineError {
    /// How a record calls this failure.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unsupported { .. } | Self::PromptTooLong { .. } => Outcome::Unsupported,
            Self::OutOfMemory { .. } | Self::DeviceOutOfMemory { .. } => Outcome::Oom,
            Self::File(_)
            | Self::EmptyPrompt
            | Self::TokenOutside { .. }
            | Self::NotLoaded
            | Self::NotFinite { .. }
            | Self::Compute { .. }
            | Self::Crashed { .. } => Outcome::Crash,
        }
    }

    /// The failure's class in a few words; unlike the error's own text it never holds a path.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } => "unsupported weights",
            Self::OutOfMemory { .. } => "out of memory",
            Self::DeviceOutOfMemory { .. } => "out of accelerator memory",
            Self::File(_) => "bad weights file",
            Self::PromptTooLong { .. } => "prompt too long",
            Self::EmptyPrompt => "empty prompt",
            Self::TokenOutside { .. } => "token outside the vocabulary",
            Self::NotLoaded => "no weights loaded",
            Self::NotFinite { .. } => "logits not finite",
            Self::Compute { .. } => "computation failed",
            Self::Crashed { .. } => "engine crashed",
        }
    }
}
