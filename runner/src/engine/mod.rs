//! The seam between measuring and inference: whatever answers prompts stands behind [`Engine`].
//!
//! Lifecycle: `load`, then any number of `generate` (or `streams`, for several requests at once),
//! then `unload` or the next `load`. What an engine can do is known once it is loaded, and is asked
//! of [`Engine::capabilities`]; the best way it offers is used, and what was used stands in its
//! facts. An engine never measures energy and stamps nothing for the reader: the caller takes its
//! own times in `on_event`. The engine's own clock stands beside them in [`Generated`].

use std::path::{Path, PathBuf};
use std::time::Instant;

use domain::matrix::{EngineKind, EngineSpec};
use domain::record::{EngineFacts, Finish, Outcome, Settings, TokenSource};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::gguf::GgufError;

pub mod candle;
pub mod child;
pub mod children;
pub mod llama_bench;
pub mod openai;
pub mod scripted;

/// An inference program that can be measured.
pub trait Engine: Send {
    /// Name, version and build, as they stand in a record; of a server complete once it is loaded.
    /// `args` say everything of the harness that changes behaviour: endpoint, how the end token is
    /// banned and caches are kept out, digest of system prompt and chat template.
    fn facts(&self) -> EngineFacts;

    /// Settings that change speed or answers.
    fn settings(&self) -> Settings;

    /// What it can do; of a server known once it is loaded.
    fn capabilities(&self) -> Capabilities;

    /// Where it runs, for memory and paging.
    fn processes(&self) -> Processes {
        Processes::Here
    }

    /// Loads weights in place of what was loaded before; after an error nothing is loaded. A server
    /// is started and waited for, or one that runs is checked to serve these weights.
    fn load(&mut self, weights: &Path, needs: Needs) -> Result<(), EngineError>;

    /// Frees the weights; a server that was started is stopped.
    fn unload(&mut self);

    /// The longest beginning of `text` that is exactly `tokens` long with whatever the engine puts
    /// before it; an error if the text is too short or cannot be cut there.
    fn fit_prompt(&mut self, text: &str, tokens: u32) -> Result<Prompt, EngineError>;

    /// Answers one request, calling `on_event` right after each piece of output arrived. Pieces
    /// without content are not reported.
    ///
    /// The end-of-sequence token is neither an output token nor reported.
    fn generate(
        &mut self,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError>;

    /// Logits at every position of `tokens`, one row per position, where it offers
    /// [`Capabilities::logits`].
    fn logits(&mut self, _tokens: &[u32]) -> Result<Vec<Vec<f32>>, EngineError> {
        Err(EngineError::NotOffered {
            what: "logits".to_owned(),
        })
    }

    /// So many streams that answer at the same time, each for one thread; an error beyond
    /// [`Capabilities::max_streams`].
    fn streams(&mut self, count: u32) -> Result<Vec<Box<dyn Stream + '_>>, EngineError> {
        Err(EngineError::NotOffered {
            what: format!("{count} requests at once"),
        })
    }

    /// Runs the workload by itself and says how long it took, for engines without
    /// [`Capabilities::client_view`].
    fn time_itself(&mut self, _asked: &SelfTimed) -> Result<Vec<SelfTiming>, EngineError> {
        Err(EngineError::NotOffered {
            what: "its own timing".to_owned(),
        })
    }
}

/// Makes the engine of a spec, with nothing loaded. What is started here computes with so many
/// threads.
pub fn open(spec: &EngineSpec, threads: u32) -> Result<Box<dyn Engine>, EngineError> {
    Ok(match &spec.kind {
        EngineKind::Candle => Box::new(candle::CandleEngine::new()?),
        EngineKind::OpenAi(_) => Box::new(openai::OpenAiEngine::new(spec, threads)?),
        EngineKind::LlamaBench(_) => Box::new(llama_bench::LlamaBenchEngine::new(spec, threads)?),
    })
}

/// One of several streams.
pub trait Stream: Send {
    /// As [`Engine::generate`].
    fn generate(
        &mut self,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError>;
}

/// What an engine can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a thing of its own that an engine offers or not"
)]
pub struct Capabilities {
    /// It hands tokens over as they are made, so that the caller can stamp them. Without it there
    /// is only [`Engine::time_itself`], and nothing can be asked.
    pub client_view: bool,
    /// Prompts go over as token ids, so that both sides mean the same tokens.
    pub token_prompts: bool,
    /// Who counts tokens, at best.
    pub token_source: TokenSource,
    /// The end token can be banned, so that outputs have the asked length.
    pub bans_eos: bool,
    /// Its prompt cache can be kept out of a request.
    pub disables_prompt_cache: bool,
    /// It keeps a prompt's beginning for the next request that shares it.
    pub reuses_prefix: bool,
    /// It says how many prompt tokens came from a cache.
    pub reports_cached_tokens: bool,
    /// It times itself beside the client.
    pub engine_view: bool,
    /// Logits of every position can be had.
    pub logits: bool,
    /// Takes [`Prompt::Chat`].
    pub chat: bool,
    /// Requests at once.
    pub max_streams: u32,
}

/// What the cell needs of a loaded engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Longest context of one stream: prompt and output.
    pub context_tokens: u32,
    /// Streams at once.
    pub streams: u32,
}

/// Where an engine's memory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Processes {
    /// In this process.
    Here,
    /// In these processes of this machine, children included.
    Children(Vec<u32>),
    /// Out of sight: another machine, or a server that was not started here.
    Unknown,
}

/// What is asked of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// The prompt.
    pub prompt: Prompt,
    /// Output tokens at most; 0 processes the prompt and emits nothing.
    pub max_output_tokens: u32,
    /// The end-of-sequence token may not be chosen, so the output has exactly the asked length.
    pub ban_eos: bool,
    /// When to stop with [`Finish::Timeout`]; looked at before every forward pass, or while waiting
    /// for a server. A moment of this process: another one is told how much time is left.
    #[serde(skip)]
    pub deadline: Option<Instant>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// A cached beginning of the prompt may be used, and this prompt be kept for others. Where it
    /// may not, caches are kept out if the engine offers that.
    pub reuse_cache: bool,
}

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sampling {
    /// The most likely one.
    Greedy,
    /// Drawn.
    Drawn {
        /// Temperature in millionths, above 0.
        temperature_ppm: u32,
        /// Seed of the draws of one answer.
        seed: u64,
    },
}

/// A prompt as text, or of an exact length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prompt {
    /// Tokenised by the engine, which puts the begin token before it if the weights file asks for that.
    Text(String),
    /// One message of a user, put into the model's chat template by the engine; where it offers
    /// [`Capabilities::chat`].
    Chat(String),
    /// Exactly these tokens; made by [`Engine::fit_prompt`].
    Exact {
        /// The tokens, the begin token included; empty where the engine takes only text.
        tokens: Vec<u32>,
        /// What they spell, without the begin token, for engines that take only text.
        text: String,
        /// How many tokens it is.
        length: u32,
    },
}

/// A piece of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenEvent {
    /// Part of the answer, not of the reasoning before it.
    pub visible: bool,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generated {
    /// Prompt tokens processed, the begin token included.
    pub prompt_tokens: u32,
    /// Prompt tokens that came from a cache, where the engine knows.
    pub cached_tokens: Option<u32>,
    /// Output tokens, reasoning included.
    pub output_tokens: u32,
    /// Of those, reasoning.
    pub reasoning_tokens: u32,
    /// Output token ids, where the engine says them; else empty.
    pub output: Vec<u32>,
    /// Tokens of each reported event, in order; `None` when every event was one token.
    pub event_tokens: Option<Vec<u32>>,
    /// Who counted.
    pub token_source: TokenSource,
    /// The visible output as text; bytes that are no UTF-8 became U+FFFD.
    pub text: String,
    /// Why it stopped.
    pub finish: Finish,
    /// From the request's start until the first token was chosen, by the engine's own clock.
    pub engine_prefill_ns: Option<u64>,
    /// From the first chosen token to the last choice, by the engine's own clock; `None` without a second choice.
    pub engine_decode_ns: Option<u64>,
    /// Forward passes of the output, where speculation makes them fewer than tokens and the engine says so.
    pub passes: Option<u32>,
    /// Guessed tokens that were accepted, likewise.
    pub accepted_tokens: Option<u32>,
}

/// A workload for an engine that times itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelfTimed {
    /// Prompt tokens.
    pub prompt_tokens: u32,
    /// Output tokens.
    pub output_tokens: u32,
    /// Context before both.
    pub depth_tokens: u32,
    /// Repetitions.
    pub repetitions: u32,
    /// When to give up.
    pub deadline: Option<Instant>,
}

/// One repetition by an engine's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelfTiming {
    /// Time of the prompt.
    pub prefill_ns: u64,
    /// Time of the output tokens, each one pass.
    pub decode_ns: u64,
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
    /// The engine cannot do this.
    #[error("get {what} of this engine: it does not offer it")]
    NotOffered {
        /// What was asked.
        what: String,
    },
    /// A server could not be started.
    #[error("start {program}: {reason}")]
    NotStarted {
        /// The program.
        program: String,
        /// What is known, with the last lines it wrote.
        reason: String,
    },
    /// A server does not answer.
    #[error("reach {url}: {reason}; is the server running?")]
    Unreachable {
        /// Its address.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// A server refused the request.
    #[error("ask {url}: it answered {status}: {reason}")]
    Refused {
        /// Its address.
        url: String,
        /// HTTP status.
        status: u16,
        /// What it said, cut and cleaned.
        reason: String,
    },
    /// A server's answer is not what the protocol says, or contradicts itself.
    #[error("understand the answer of {url}: {what}")]
    Protocol {
        /// Its address.
        url: String,
        /// What is wrong.
        what: String,
    },
    /// A server fell silent.
    #[error("hear from {url}: nothing for {seconds} s, after {events} pieces of output")]
    Stalled {
        /// Its address.
        url: String,
        /// How long.
        seconds: f64,
        /// What had come.
        events: u32,
    },
    /// A server serves other weights than the matrix names.
    #[error("measure {url}: {what}")]
    OtherWeights {
        /// Its address.
        url: String,
        /// How they differ.
        what: String,
    },
    /// A program that times itself did not end in time.
    #[error("finish {program}: it was stopped after {seconds:.1} s")]
    NotFinished {
        /// The program.
        program: String,
        /// How long it ran.
        seconds: f64,
    },
    /// What a program printed is not what it should be.
    #[error("understand the output of {program}: {what}")]
    Output {
        /// The program.
        program: String,
        /// What is wrong.
        what: String,
    },
    /// A program did other work than it was asked for.
    #[error("get what was asked of {program}: {what}")]
    OtherWork {
        /// The program.
        program: String,
        /// How it differs.
        what: String,
    },
    /// An engine in another process failed by its own word.
    #[error("get an answer of {program}: it failed to {reason}")]
    InChild {
        /// The program.
        program: String,
        /// Its word, cleaned.
        reason: String,
        /// How a record calls it.
        outcome: Outcome,
        /// It lies in what was asked.
        of_the_request: bool,
    },
    /// The prompt cannot be made.
    #[error("make a prompt of {tokens} tokens: {reason}")]
    NoPrompt {
        /// Asked length.
        tokens: u32,
        /// Why not, and what to do.
        reason: String,
    },
}

impl EngineError {
    /// How a record calls this failure.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unsupported { .. }
            | Self::PromptTooLong { .. }
            | Self::NotOffered { .. }
            | Self::NoPrompt { .. } => Outcome::Unsupported,
            Self::Stalled { .. } | Self::NotFinished { .. } => Outcome::Timeout,
            Self::OutOfMemory { .. } | Self::DeviceOutOfMemory { .. } => Outcome::Oom,
            Self::InChild { outcome, .. } => *outcome,
            Self::File(_)
            | Self::EmptyPrompt
            | Self::TokenOutside { .. }
            | Self::NotLoaded
            | Self::NotFinite { .. }
            | Self::Compute { .. }
            | Self::Crashed { .. }
            | Self::NotStarted { .. }
            | Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::Protocol { .. }
            | Self::Output { .. }
            | Self::OtherWork { .. }
            | Self::OtherWeights { .. } => Outcome::Crash,
        }
    }

    /// It lies in what was asked, so that another request may be answered.
    pub fn is_of_the_request(&self) -> bool {
        matches!(
            self,
            Self::PromptTooLong { .. }
                | Self::EmptyPrompt
                | Self::InChild {
                    of_the_request: true,
                    ..
                }
                | Self::Refused {
                    status: 400 | 413 | 422,
                    ..
                }
        )
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
            Self::NotOffered { .. } => "not offered by the engine",
            Self::NotStarted { .. } => "server did not start",
            Self::Unreachable { .. } => "server unreachable",
            Self::Refused { .. } => "server refused the request",
            Self::Protocol { .. } => "server broke the protocol",
            Self::Stalled { .. } => "server fell silent",
            Self::OtherWeights { .. } => "server serves other weights",
            Self::NotFinished { .. } => "time limit",
            Self::Output { .. } => "output not understood",
            Self::OtherWork { .. } => "other work than was asked",
            Self::InChild { .. } => "engine in another process failed",
            Self::NoPrompt { .. } => "no prompt of the asked length",
        }
    }
}
