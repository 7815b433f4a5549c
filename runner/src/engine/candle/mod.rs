//! candle, in process: own forward pass for the Llama architecture over quantised matrices.
//!
//! Runs GGUF files of architecture `llama` with a byte-level vocabulary. Greedy or drawn; one request at a time; every request
//! starts from an empty cache. The first passes after loading are slower, because candle repacks some quantised
//! matrices on first use: warm up before timing.

use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Tensor};
use domain::byte_tokenizer::ByteTokenizer;
use domain::record::{EngineFacts, Finish, Settings, Speculation, SpeculationMethod, TokenSource};
use domain::text::Name;

use super::{
    Capabilities, Engine, EngineError, GenerateRequest, Generated, Needs, Prompt, TokenEvent,
};
use crate::gguf::{self, Gguf, GgufError, Keys};
use crate::prompt::fit_bytes;

mod burden;
mod cache;
mod choice;
mod dimensions;
mod importance;
mod model;
mod weights;

#[cfg(test)]
mod tests;

pub use burden::Burden;
use burden::Burdened;
use cache::Cache;
use choice::Choice;
pub(crate) use dimensions::Dimensions;
pub(crate) use importance::{Importance, importance};
use model::{Model, Rows};

/// The in-process engine.
#[derive(Debug)]
pub struct CandleEngine {
    device: Device,
    loaded: Option<Loaded>,
    burden: Burdened,
}

/// One weights file, ready to answer.
#[derive(Debug)]
struct Loaded {
    path: PathBuf,
    model: Model,
    cache: Cache,
    tokenizer: ByteTokenizer,
    begins_with_bos: bool,
}

impl CandleEngine {
    /// An engine on this build's device, with nothing loaded.
    pub fn new() -> Result<Self, EngineError> {
        Ok(Self {
            device: device()?,
            loaded: None,
            burden: Burdened::default(),
        })
    }

    /// The same, slower by a known amount of work that changes no answer.
    #[must_use]
    pub fn burdened(mut self, burden: Burden) -> Self {
        self.burden = Burdened::with(burden);
        self
    }

    /// Bytes of weights that one decode pass reads, which differ from the file's where candle widens or repacks
    /// them; `None` before a file is loaded. The embedding lookup reads single rows and is not counted.
    pub fn weight_bytes_per_pass(&self) -> Option<u64> {
        self.loaded
            .as_ref()
            .map(|loaded| loaded.model.bytes_per_pass())
    }
}

/// Threads that candle computes with. It reads them from the environment ([`THREADS_VARIABLES`])
/// and otherwise takes every physical core.
pub fn threads() -> usize {
    candle_core::utils::get_num_threads()
}

/// The variables that candle reads its number of threads from: rayon's pool and its own.
pub const THREADS_VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];

impl Engine for CandleEngine {
    fn facts(&self) -> EngineFacts {
        EngineFacts {
            name: Name::cleaned("candle"),
            version: Name::cleaned(env!("JOULEMARK_CANDLE_VERSION")),
            commit: None,
            build_flags: env!("JOULEMARK_BUILD_FLAGS")
                .split_whitespace()
                .map(Name::cleaned)
                .collect(),
            backend: Name::cleaned(match self.device {
                Device::Cpu => "cpu",
                Device::Cuda(_) => "cuda",
                Device::Metal(_) => "metal",
            }),
            args: vec![Name::cleaned(&format!("threads={}", threads()))],
            binary_sha256: None,
            image_digest: None,
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            kv_type_k: Some(Name::cleaned("f32")),
            kv_type_v: Some(Name::cleaned("f32")),
            gpu_layers: None,
            flash_attention: Some(false),
            speculation: Speculation {
                method: SpeculationMethod::None,
                draft_sha256: None,
                length: None,
            },
            weight_bytes_per_pass: self.weight_bytes_per_pass(),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            client_view: true,
            token_prompts: true,
            token_source: TokenSource::Ids,
            bans_eos: true,
            disables_prompt_cache: true,
            reuses_prefix: false,
            reports_cached_tokens: true,
            engine_view: true,
            logits: true,
            chat: false,
            max_streams: 1,
        }
    }

    fn load(&mut self, weights: &Path, _needs: Needs) -> Result<(), EngineError> {
        // The old weights go first, so that two models never stand in memory at once.
        self.loaded = None;
        self.loaded = Some(Loaded::open(weights, &self.device)?);
        Ok(())
    }

    fn unload(&mut self) {
        self.loaded = None;
    }

    fn fit_prompt(&mut self, text: &str, tokens: u32) -> Result<Prompt, EngineError> {
        let loaded = self.loaded.as_ref().ok_or(EngineError::NotLoaded)?;
        fit_bytes(&loaded.tokenizer, loaded.begins_with_bos, text, tokens)
    }

    fn generate(
        &mut self,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError> {
        self.loaded
            .as_mut()
            .ok_or(EngineError::NotLoaded)?
            .generate(request, &mut self.burden, on_event)
    }

    fn logits(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, EngineError> {
        let loaded = self.loaded.as_mut().ok_or(EngineError::NotLoaded)?;
        loaded.check(tokens, 0)?;
        loaded.cache.clear(tokens.len())?;
        loaded
            .pass(tokens, Rows::All)?
            .to_vec2()
            .map_err(computing("read the logits"))
    }
}

impl Loaded {
    fn open(path: &Path, device: &Device) -> Result<Self, EngineError> {
        let mut gguf = Gguf::open(path).map_err(|error| match error {
            GgufError::UnknownType { path, dtype } => EngineError::Unsupported {
                path,
                what: format!("a tensor is stored as {dtype}"),
            },
            other => EngineError::File(other),
        })?;
        let dimensions = Dimensions::read(&gguf)?;
        let (tokenizer, begins_with_bos) = tokenizer(&gguf, dimensions.vocabulary)?;
        let model = Model::load(&mut gguf, dimensions, device)?;
        let cache = Cache::new(&model.dimensions, device);
        Ok(Self {
            path: path.to_owned(),
            model,
            cache,
            tokenizer,
            begins_with_bos,
        })
    }

    fn generate(
        &mut self,
        request: &GenerateRequest,
        burden: &mut Burdened,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError> {
        let started = Instant::now();
        let prompt = match &request.prompt {
            Prompt::Exact { tokens, .. } => tokens.clone(),
            Prompt::Text(text) => {
                let bos = self.begins_with_bos.then(|| self.tokenizer.bos());
                bos.into_iter().chain(self.tokenizer.encode(text)).collect()
            }
            Prompt::Chat(_) => {
                return Err(EngineError::NotOffered {
                    what: "an answer to a chat message".to_owned(),
                });
            }
        };
        self.check(&prompt, request.max_output_tokens)?;
        let mut choice = Choice::new(request.sampling)?;
        self.cache
            .clear(prompt.len() + request.max_output_tokens as usize)?;

        let late = || {
            request
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline)
        };
        let mut output = Vec::with_capacity(request.max_output_tokens.min(4_096) as usize);
        let mut input = prompt.as_slice();
        let mut next;
        let mut first_chosen = None;
        let mut last_chosen = None;
        let finish = loop {
            if late() {
                break Finish::Timeout;
            }
            let is_prompt = first_chosen.is_none();
            burden.bear(&self.model, input, is_prompt, &mut self.cache)?;
            let logits = self.pass(input, Rows::Last)?;
            let token = self.choose(&mut choice, &logits, request.ban_eos)?;
            last_chosen = first_chosen.is_some().then(Instant::now);
            first_chosen = first_chosen.or_else(|| Some(Instant::now()));
            if output.len() == request.max_output_tokens as usize {
                break Finish::Length;
            }
            if token == self.tokenizer.eos() {
                break Finish::Stop;
            }
            output.push(token);
            on_event(TokenEvent { visible: true });
            if output.len() == request.max_output_tokens as usize {
                break Finish::Length;
            }
            next = [token];
            input = &next;
        };

        Ok(Generated {
            prompt_tokens: prompt.len() as u32,
            text: String::from_utf8_lossy(&self.tokenizer.decode(&output)).into_owned(),
            output_tokens: output.len() as u32,
            reasoning_tokens: 0,
            output,
            event_tokens: None,
            token_source: TokenSource::Ids,
            passes: None,
            accepted_tokens: None,
            finish,
            engine_prefill_ns: first_chosen.map(|first| (first - started).as_nanos() as u64),
            engine_decode_ns: first_chosen
                .zip(last_chosen)
                .map(|(first, last)| (last - first).as_nanos() as u64),
            cached_tokens: Some(0),
        })
    }

    /// One forward pass over `tokens` after what the cache holds.
    fn pass(&mut self, tokens: &[u32], rows: Rows) -> Result<Tensor, EngineError> {
        self.model
            .forward(tokens, &mut self.cache, rows)
            .map_err(computing("compute a forward pass"))
    }

    fn choose(
        &self,
        choice: &mut Choice,
        logits: &Tensor,
        ban_eos: bool,
    ) -> Result<u32, EngineError> {
        let logits: Vec<f32> = logits
            .squeeze(0)
            .and_then(|row| row.to_vec1())
            .map_err(computing("read the logits"))?;
        let banned = ban_eos.then(|| self.tokenizer.eos());
        choice
            .choose(&logits, banned)
            .ok_or_else(|| EngineError::NotFinite {
                path: self.path.clone(),
            })
    }

    fn check(&self, prompt: &[u32], output: u32) -> Result<(), EngineError> {
        let Dimensions {
            context,
            vocabulary,
            ..
        } = self.model.dimensions;
        if prompt.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if let Some(&token) = prompt.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(EngineError::TokenOutside { token, vocabulary });
        }
        let length = prompt.len() as u64;
        if length + u64::from(output) > u64::from(context) {
            return Err(EngineError::PromptTooLong {
                prompt: length,
                output,
                context,
            });
        }
        Ok(())
    }
}

/// The one place that knows where this build computes.
fn device() -> Result<Device, EngineError> {
    let device = if cfg!(feature = "cuda") {
        Device::new_cuda(0)
    } else if cfg!(feature = "metal") {
        Device::new_metal(0)
    } else {
        Ok(Device::Cpu)
    };
    device.map_err(computing("open the accelerator this program was built for"))
}

/// The file's vocabulary, and whether a sequence begins with its begin token.
pub(crate) fn tokenizer(
    gguf: &Gguf,
    vocabulary: usize,
) -> Result<(ByteTokenizer, bool), EngineError> {
    let unsupported = |what: String| EngineError::Unsupported {
        path: gguf.path().to_owned(),
        what,
    };
    let kind = gguf.required("tokenizer.ggml.model", gguf.text("tokenizer.ggml.model")?)?;
    if kind != "gpt2" {
        let kind = gguf::cleaned(kind);
        return Err(unsupported(format!(
            "its tokenizer is {kind:?}; only byte-level gpt2 vocabularies are supported"
        )));
    }
    let tokens = gguf.required(
        "tokenizer.ggml.tokens",
        gguf.texts("tokenizer.ggml.tokens")?,
    )?;
    if tokens.len() != vocabulary {
        let problem = format!(
            "has {} tokens, but token_embd.weight has {vocabulary} rows",
            tokens.len()
        );
        return Err(gguf.bad_key("tokenizer.ggml.tokens", problem).into());
    }
    let special = |key| gguf.required(key, gguf.number(key)?);
    let (bos, eos) = (
        special("tokenizer.ggml.bos_token_id")?,
        special("tokenizer.ggml.eos_token_id")?,
    );
    let tokenizer = ByteTokenizer::from_tokens(&tokens, bos, eos)
        .map_err(|error| unsupported(format!("failed to {}", gguf::cleaned(&error.to_string()))))?;
    // Without the key llama.cpp adds no begin token to a gpt2 vocabulary either.
    let begins_with_bos = gguf.truth("tokenizer.ggml.add_bos_token")?.unwrap_or(false);
    Ok((tokenizer, begins_with_bos))
}

/// Wraps candle's error; an accelerator without memory says so only in its text.
fn computing(doing: &'static str) -> impl Fn(candle_core::Error) -> EngineError {
    move |source| {
        let reason = source.to_string();
        let lower = reason.to_lowercase();
        if lower.contains("out of memory") || lower.contains("out_of_memory") {
            EngineError::DeviceOutOfMemory {
                what: "weights or cache",
                reason,
            }
        } else {
            EngineError::Compute { doing, source }
        }
    }
}

/// Refuses what cannot be allocated with an error, where the allocator itself would end the program.
fn reserve(what: &'static str, bytes: Option<u64>) -> Result<(), EngineError> {
    let fits = bytes
        .and_then(|bytes| usize::try_from(bytes).ok())
        .is_some_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok());
    if fits {
        Ok(())
    } else {
        Err(EngineError::OutOfMemory {
            what,
            bytes: bytes.unwrap_or(u64::MAX),
        })
    }
}
