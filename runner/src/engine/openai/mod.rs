//! Any server that speaks `OpenAI`'s completions over HTTP: llama.cpp, vLLM, MLX, Ollama, LM Studio.
//!
//! A server is started for each weights file or runs already. Once it answers, a few small
//! requests find out what it can do ([`OpenAiEngine::load`]); the best of it is used, and what was
//! used stands in its facts. Tokens are counted by the most trustworthy source (`count`), and two
//! figures that contradict each other fail the request.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::ids::Sha256Digest;
use domain::matrix::{Endpoint, EngineKind, EngineSpec, OpenAiSpec, Server, WeightsForm};
use domain::record::{EngineFacts, Finish, Settings, Speculation, SpeculationMethod, TokenSource};
use domain::text::Name;
use reqwest::header::HeaderValue;
use serde_json::Value;

use super::{
    Capabilities, Engine, EngineError, GenerateRequest, Generated, Needs, Processes, Prompt,
    Sampling, Stream, TokenEvent,
};
use crate::gguf::Gguf;
use crate::gguf::Keys as _;

mod count;
mod events;
mod facts;
mod flavour;
mod request;
mod server;
#[cfg(test)]
mod tests;
mod vocabulary;
mod wire;

use count::{Asked, count};
use events::{Heard, Listener, Timings};
use flavour::{Flavour, Program};
use request::{Ban, Form, Level};
use server::Launched;
use vocabulary::Vocabulary;
use wire::{Ended, Target, Wire};

/// Streams at once of a server that does not say how many it takes.
const MAX_STREAMS: u32 = 64;

/// What probing requests ask; long enough to fill the blocks that prefix caches work in.
const PROBE: &str = "A kettle on a stove and a model on a desk have one thing in common: both turn \
                     energy into something that somebody wanted, and both are easy to misjudge by \
                     looking.";
/// Longest silences that a probing request may take as a whole.
const PROBE_STALLS: u32 = 4;
/// Prompt tokens that a server may be silent over for another longest silence.
const TOKENS_PER_STALL: u32 = 1_024;
/// A prompt that most models end their answer to soon.
const SHORT_ANSWER: &str = "Q: 2+3\nA:";
/// What tells whether the server takes chat messages.
const CHAT: &str = "2+3?";
/// Output tokens of a probing request.
const PROBE_TOKENS: u32 = 8;
/// Output tokens within which an answer that ends by itself has ended.
const END_WITHIN_TOKENS: u32 = 24;
/// Tokens of a context that probing prompts leave free, for chat templates among others.
const PROBE_ROOM_TOKENS: u32 = 64;

/// A server that speaks `OpenAI`'s completions.
#[derive(Debug)]
pub struct OpenAiEngine {
    spec: EngineSpec,
    how: OpenAiSpec,
    threads: u32,
    key: Option<HeaderValue>,
    surroundings: Surroundings,
    loaded: Option<Loaded>,
}

/// What a server that is started here is started in.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Put into its environment.
    pub environment: Vec<(String, String)>,
    /// Folder it runs in; absent: the current one.
    pub folder: Option<PathBuf>,
}

#[derive(Debug)]
struct Loaded {
    wire: Wire,
    served: Served,
}

/// A server that answers, and what was learned of it.
#[derive(Debug)]
struct Served {
    launched: Option<Launched>,
    needs: Needs,
    flavour: Flavour,
    form: Form,
    vocabulary: Vocabulary,
    /// Tokens that the server puts around a text; unknown where it does not count prompts.
    extra: Option<u32>,
    capabilities: Capabilities,
    facts: EngineFacts,
    requests: AtomicU64,
}

/// One of several streams to a server.
struct HttpStream<'a> {
    wire: Wire,
    served: &'a Served,
}

impl OpenAiEngine {
    /// An engine of this spec, with nothing started; a server that is started here computes with
    /// `threads`. An error if the spec is of another kind or its key cannot be read.
    pub fn new(spec: &EngineSpec, threads: u32) -> Result<Self, EngineError> {
        let EngineKind::OpenAi(how) = &spec.kind else {
            return Err(EngineError::NotOffered {
                what: format!("a server named {:?}", spec.name),
            });
        };
        let key = how.api_key_file.as_deref().map(read_key).transpose()?;
        Ok(Self {
            spec: spec.clone(),
            how: how.clone(),
            threads,
            key,
            surroundings: Surroundings::default(),
            loaded: None,
        })
    }

    /// The same, started in these surroundings.
    #[must_use]
    pub fn in_surroundings(mut self, surroundings: Surroundings) -> Self {
        self.surroundings = surroundings;
        self
    }

    fn stall(&self) -> Duration {
        // The matrix bounds it.
        Duration::try_from_secs_f64(self.how.stall_seconds).unwrap_or(Duration::from_secs(30))
    }

    /// Starts the server, or finds the running one.
    fn reach(
        &self,
        weights: &Path,
        needs: Needs,
    ) -> Result<(Target, Option<Launched>, Duration), EngineError> {
        let target = |url: String| Target {
            url,
            key: self.key.clone(),
            stall: self.stall(),
        };
        match &self.how.server {
            Server::Running { url } => Ok((target(url.clone()), None, self.stall())),
            Server::Launched {
                command,
                ready_seconds,
            } => {
                let ready = Duration::try_from_secs_f64(*ready_seconds).unwrap_or(self.stall());
                let port = server::free_port()?;
                let words = server::filled(command, weights, self.threads, needs, port);
                let launched = Launched::start(&words, &self.surroundings)?;
                let target = target(format!("http://127.0.0.1:{port}"));
                launched.wait(&target, ready)?;
                Ok((target, Some(launched), ready.max(self.stall())))
            }
        }
    }

    /// How texts become tokens: bytes by the file, else the spec's `tokenizer.json` or the
    /// folder's, else whatever the server tells.
    fn vocabulary(
        &self,
        weights: &Path,
        gguf: Option<&Gguf>,
        eos: Option<u32>,
        flavour: &Flavour,
    ) -> Result<Vocabulary, EngineError> {
        if let Some(bytes) = gguf.and_then(Vocabulary::of_gguf) {
            return Ok(bytes);
        }
        let beside = weights.join("tokenizer.json");
        let json = match &self.how.tokenizer {
            Some(path) => Some(PathBuf::from(path)),
            None if beside.is_file() => Some(beside),
            None => None,
        };
        match json {
            Some(path) => Vocabulary::of_json(&path, eos, vocabulary_size(weights, gguf)),
            None => Ok(flavour
                .tokenize_page()
                .map_or(Vocabulary::Unknown, Vocabulary::Asked)),
        }
    }

    fn serve(&self, weights: &Path, needs: Needs) -> Result<Loaded, EngineError> {
        if !weights.exists() {
            return Err(EngineError::Unsupported {
                path: weights.to_owned(),
                what: "there is no such file or folder".to_owned(),
            });
        }
        let (target, launched, patience) = self.reach(weights, needs)?;
        let mut wire = Wire::new(&target)?;
        let flavour = Flavour::of(&wire, self.how.model.as_deref())?;
        // A file of a type that is unknown here may still be known to the server.
        let gguf = match self.how.weights {
            WeightsForm::Gguf => Gguf::open(weights).ok(),
            WeightsForm::HuggingFace => None,
        };
        if let Some(what) = flavour.contradicts(weights, gguf.as_ref()) {
            return Err(EngineError::OtherWeights {
                url: target.url.clone(),
                what,
            });
        }
        let eos = end_tokens(weights, gguf.as_ref());
        let vocabulary = self.vocabulary(weights, gguf.as_ref(), eos.first().copied(), &flavour)?;
        let form = Form {
            endpoint: self.how.endpoint,
            model: self.how.model.clone().or_else(|| flavour.model_name()),
            system_prompt: self.how.system_prompt.clone(),
            eos,
            level: Level::Full,
            ban: Ban::Every,
            token_prompts: false,
        };
        let max_streams = match launched {
            Some(_) => needs.streams,
            None => flavour.slots.unwrap_or(MAX_STREAMS).min(MAX_STREAMS),
        };
        // A server that stayed up must not meet a salt again.
        let salt = getrandom::u64().map_err(|error| EngineError::Crashed {
            reason: format!("no randomness for cache salts: {error}"),
        })?;
        let mut served = Served {
            capabilities: Capabilities {
                client_view: true,
                token_prompts: false,
                token_source: TokenSource::Usage,
                bans_eos: false,
                disables_prompt_cache: false,
                reuses_prefix: false,
                reports_cached_tokens: false,
                engine_view: false,
                logits: false,
                chat: false,
                max_streams,
            },
            facts: facts::unknown(&self.spec),
            launched,
            needs,
            flavour,
            form,
            vocabulary,
            extra: None,
            requests: AtomicU64::new(salt),
        };
        // The first answer may have to wait until the weights are loaded.
        wire.set_stall(patience);
        served.learn(&mut wire, self.stall())?;
        served.facts = facts::of(
            &self.spec,
            &self.how,
            self.threads,
            weights,
            gguf.as_ref(),
            &served,
        );
        Ok(Loaded { wire, served })
    }
}

impl Engine for OpenAiEngine {
    fn facts(&self) -> EngineFacts {
        match &self.loaded {
            Some(loaded) => loaded.served.facts.clone(),
            None => facts::unknown(&self.spec),
        }
    }

    fn settings(&self) -> Settings {
        let declared = &self.spec.declared;
        let name = |text: &Option<String>| text.as_deref().map(Name::cleaned);
        Settings {
            kv_type_k: name(&declared.kv_type_k),
            kv_type_v: name(&declared.kv_type_v),
            gpu_layers: declared.gpu_layers,
            flash_attention: declared.flash_attention,
            speculation: Speculation {
                method: declared.speculation.unwrap_or(SpeculationMethod::None),
                draft_sha256: None,
                length: None,
            },
            weight_bytes_per_pass: None,
        }
    }

    fn capabilities(&self) -> Capabilities {
        match &self.loaded {
            Some(loaded) => loaded.served.capabilities,
            None => Capabilities {
                client_view: true,
                token_prompts: false,
                token_source: TokenSource::Usage,
                bans_eos: false,
                disables_prompt_cache: false,
                reuses_prefix: false,
                reports_cached_tokens: false,
                engine_view: false,
                logits: false,
                chat: false,
                max_streams: MAX_STREAMS,
            },
        }
    }

    fn processes(&self) -> Processes {
        let launched = self
            .loaded
            .as_ref()
            .and_then(|loaded| loaded.served.launched.as_ref());
        launched.map_or(Processes::Unknown, |launched| {
            Processes::Children(launched.processes())
        })
    }

    fn load(&mut self, weights: &Path, needs: Needs) -> Result<(), EngineError> {
        self.unload();
        self.loaded = Some(self.serve(weights, needs)?);
        Ok(())
    }

    fn unload(&mut self) {
        // Dropping a server that was started stops it.
        self.loaded = None;
    }

    fn fit_prompt(&mut self, text: &str, tokens: u32) -> Result<Prompt, EngineError> {
        let Loaded { wire, served } = self.loaded.as_ref().ok_or(EngineError::NotLoaded)?;
        if served.form.token_prompts {
            return served.vocabulary.fit_ids(text, tokens, wire);
        }
        let extra = served.extra.ok_or_else(|| EngineError::NoPrompt {
            tokens,
            reason: "the server does not count prompts, so what it puts around them is unknown"
                .to_owned(),
        })?;
        served.vocabulary.fit_text(text, tokens, extra, wire)
    }

    fn generate(
        &mut self,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError> {
        let Loaded { wire, served } = self.loaded.as_ref().ok_or(EngineError::NotLoaded)?;
        served.generate(wire, request, on_event)
    }

    fn streams(&mut self, count: u32) -> Result<Vec<Box<dyn Stream + '_>>, EngineError> {
        let Loaded { wire, served } = self.loaded.as_ref().ok_or(EngineError::NotLoaded)?;
        if count > served.capabilities.max_streams {
            return Err(EngineError::NotOffered {
                what: format!("{count} requests at once"),
            });
        }
        (0..count)
            .map(|_| {
                let wire = Wire::new(wire.target())?;
                Ok(Box::new(HttpStream { wire, served }) as Box<dyn Stream>)
            })
            .collect()
    }
}

impl Stream for HttpStream<'_> {
    fn generate(
        &mut self,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError> {
        self.served.generate(&self.wire, request, on_event)
    }
}

impl Served {
    fn generate(
        &self,
        wire: &Wire,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError> {
        if let (Some(_), Prompt::Exact { length, .. }) = (&self.launched, &request.prompt)
            && length.saturating_add(request.max_output_tokens) > self.needs.context_tokens
        {
            return Err(EngineError::PromptTooLong {
                prompt: u64::from(*length),
                output: request.max_output_tokens,
                context: self.needs.context_tokens,
            });
        }
        let (heard, ended) = self.listen(wire, request, on_event)?;
        self.understand(wire, request, heard, ended, on_event)
    }

    /// Sends a request and hears its answer to the end.
    fn listen(
        &self,
        wire: &Wire,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<(Heard, Ended), EngineError> {
        let empty = match &request.prompt {
            Prompt::Text(text) | Prompt::Chat(text) => text.is_empty(),
            Prompt::Exact { length, .. } => *length == 0,
        };
        if empty {
            return Err(EngineError::EmptyPrompt);
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let body = self.form.body(request, number);
        let mut nothing = |_: TokenEvent| ();
        let on_event = if request.max_output_tokens == 0 {
            &mut nothing
        } else {
            on_event
        };
        let mut listener = Listener::new(request.max_output_tokens.max(1), on_event);
        let first = self.first_piece(&request.prompt, wire.target().stall);
        let path = self.form.path(&request.prompt);
        let ended = wire.stream(path, &body, first, request.deadline, &mut listener);
        match ended {
            Ok(ended) => Ok((listener.into_heard(), ended)),
            Err(error) => {
                if let Some(launched) = &self.launched {
                    launched.check()?;
                }
                Err(error)
            }
        }
    }

    /// Longest silence before the first piece of output: a long prompt takes its time.
    fn first_piece(&self, prompt: &Prompt, stall: Duration) -> Duration {
        let tokens = match prompt {
            Prompt::Exact { length, .. } => *length,
            // No vocabulary makes more tokens than bytes.
            Prompt::Text(text) | Prompt::Chat(text) => self
                .vocabulary
                .count_here(text)
                .unwrap_or(u32::try_from(text.len()).unwrap_or(u32::MAX)),
        };
        stall.saturating_add(stall.saturating_mul(tokens) / TOKENS_PER_STALL)
    }

    /// What was heard, counted and checked.
    fn understand(
        &self,
        wire: &Wire,
        request: &GenerateRequest,
        heard: Heard,
        ended: Ended,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError> {
        let path = self.form.path(&request.prompt);
        let broken = |what: String| wire.protocol(path, &what);
        let asked = Asked {
            max_tokens: request.max_output_tokens.max(1),
            prompt_tokens: self.prompt_tokens(&request.prompt),
            assumed_tokens: if heard.usage.is_some() || heard.timings.is_some() {
                None
            } else {
                self.assumed_tokens(&request.prompt)
            },
            eos: &self.form.eos,
        };
        let finish = finish(&heard, ended, asked.max_tokens).map_err(broken)?;
        let counted = count(&heard, finish, asked, &self.vocabulary).map_err(broken)?;
        let timings = heard.timings;
        let (prefill, decode) = engine_view(timings);
        let accepted = timings
            .filter(|timings| timings.draft_n.is_some_and(|drafted| drafted > 0))
            .and_then(|timings| timings.draft_n_accepted);
        let mut generated = Generated {
            prompt_tokens: counted.prompt_tokens,
            cached_tokens: counted.cached_tokens,
            output_tokens: counted.output_tokens,
            reasoning_tokens: counted.reasoning_tokens,
            output: heard.ids,
            event_tokens: counted.event_tokens,
            token_source: counted.source,
            text: heard.text,
            finish,
            engine_prefill_ns: prefill,
            engine_decode_ns: decode,
            passes: accepted.map(|accepted| counted.output_tokens.saturating_sub(accepted)),
            accepted_tokens: accepted,
        };
        generated.output.truncate(generated.output_tokens as usize);
        if request.max_output_tokens == 0 {
            generated.output_tokens = 0;
            generated.reasoning_tokens = 0;
            generated.output.clear();
            generated.event_tokens = None;
            generated.text.clear();
            generated.engine_decode_ns = None;
            return Ok(generated);
        }
        // Tokens without text behind the last piece came with the end of the stream.
        let told = generated.event_tokens.as_ref().map_or(0, Vec::len);
        if told > heard.pieces.len() {
            on_event(TokenEvent { visible: true });
        }
        Ok(generated)
    }

    /// Tokens that the server must find in a prompt, where they are known.
    fn prompt_tokens(&self, prompt: &Prompt) -> Option<u32> {
        if let Some(ids) = self.form.ids(prompt) {
            return Some(ids.len() as u32);
        }
        match (prompt, self.extra) {
            (Prompt::Exact { length, .. }, _) => Some(*length),
            (Prompt::Text(text), Some(extra)) if self.vocabulary.is_bytes() => {
                Some(text.len() as u32 + extra)
            }
            // Other vocabularies may merge a text's end with what follows it.
            (Prompt::Text(_) | Prompt::Chat(_), _) => None,
        }
    }

    /// Tokens of a text prompt by this side's vocabulary, for servers that do not count it.
    fn assumed_tokens(&self, prompt: &Prompt) -> Option<u32> {
        match (self.form.endpoint, prompt) {
            (Endpoint::Completions, Prompt::Text(text)) => self.vocabulary.whole_count_here(text),
            _ => None,
        }
    }

    /// Finds out what the server can do, by small requests that are thrown away.
    fn learn(&mut self, wire: &mut Wire, stall: Duration) -> Result<(), EngineError> {
        let room = self.needs.context_tokens.saturating_sub(PROBE_ROOM_TOKENS);
        let text = &PROBE[..(room as usize).clamp(8, PROBE.len())];

        let first = self.first_answer(wire, text)?;
        wire.set_stall(stall);
        self.capabilities.token_source = first.token_source;
        self.capabilities.engine_view = first.engine_prefill_ns.is_some();
        self.capabilities.reports_cached_tokens = first.cached_tokens.is_some();
        let inside = self.vocabulary.count(text, wire)?;
        self.extra = inside.and_then(|inside| first.prompt_tokens.checked_sub(inside));
        if let (Some(inside), None) = (inside, self.extra) {
            let counted = first.prompt_tokens;
            let what = format!("it counts {counted} prompt tokens in a text of {inside}");
            let path = self.form.path(&Prompt::Text(String::new()));
            return Err(wire.protocol(path, &what));
        }

        if self.form.endpoint == Endpoint::Completions {
            self.learn_token_prompts(wire, text)?;
        }
        self.learn_ban(wire)?;
        self.learn_cache(wire, text)?;
        self.learn_chat(wire)
    }

    /// Whether chat messages are taken beside what is timed.
    fn learn_chat(&mut self, wire: &Wire) -> Result<(), EngineError> {
        if self.form.endpoint == Endpoint::Chat {
            self.capabilities.chat = true;
            return Ok(());
        }
        let message = Prompt::Chat(CHAT.to_owned());
        let answer = self.answer(wire, &probe(message, PROBE_TOKENS, false, false, wire));
        self.capabilities.chat = match answer {
            Ok(_) => true,
            // No such page, no template that it could apply, or no context that holds one.
            Err(EngineError::Refused { .. } | EngineError::Protocol { .. }) => {
                tracing::debug!("the server takes no chat messages");
                false
            }
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// The first answer, asking for less each time that the server refuses what it does not know.
    fn first_answer(&mut self, wire: &Wire, text: &str) -> Result<Generated, EngineError> {
        loop {
            let request = probe(
                Prompt::Text(text.to_owned()),
                PROBE_TOKENS,
                true,
                false,
                wire,
            );
            let (heard, ended) = match self.hear(wire, &request) {
                Ok(heard) => heard,
                Err(error) => {
                    // MLX answers 404 to whatever it cannot do, others 500.
                    let refused = matches!(
                        error,
                        EngineError::Refused {
                            status: 400 | 404 | 422 | 500,
                            ..
                        }
                    );
                    let Some(less) = self.form.level.less().filter(|_| refused) else {
                        return Err(error);
                    };
                    tracing::debug!(%error, "the server refuses a request; it is asked for less");
                    self.form.level = less;
                    continue;
                }
            };
            if let Some(fingerprint) = &heard.fingerprint {
                self.flavour.read_fingerprint(fingerprint);
            }
            return self.understand(wire, &request, heard, ended, &mut |_| ());
        }
    }

    /// Hears a probing request's answer; one that is cut at its deadline teaches nothing.
    fn hear(&self, wire: &Wire, request: &GenerateRequest) -> Result<(Heard, Ended), EngineError> {
        let (heard, ended) = self.listen(wire, request, &mut |_| ())?;
        if ended == Ended::Late {
            let pieces = heard.pieces.len() as u32;
            let patience = wire.target().stall * PROBE_STALLS;
            return Err(wire.stalled(self.form.path(&request.prompt), patience, pieces));
        }
        Ok((heard, ended))
    }

    /// The same, understood.
    fn answer(&self, wire: &Wire, request: &GenerateRequest) -> Result<Generated, EngineError> {
        let (heard, ended) = self.hear(wire, request)?;
        self.understand(wire, request, heard, ended, &mut |_| ())
    }

    fn learn_token_prompts(&mut self, wire: &Wire, text: &str) -> Result<(), EngineError> {
        let Some(tokens) = self.vocabulary.ids(text, wire)? else {
            return Ok(());
        };
        let prompt = Prompt::Exact {
            length: tokens.len() as u32,
            text: text.to_owned(),
            tokens,
        };
        self.form.token_prompts = true;
        let answer = self.answer(wire, &probe(prompt, 1, true, false, wire));
        self.form.token_prompts = match answer {
            Ok(_) => true,
            // Refused, or counted otherwise: it reads them as something else.
            Err(EngineError::Refused { .. } | EngineError::Protocol { .. }) => false,
            Err(error) => return Err(error),
        };
        self.capabilities.token_prompts = self.form.token_prompts;
        Ok(())
    }

    /// Which means keeps the end token out: each is tried alone on a prompt that the model ends
    /// its answer to by itself. Where it does not end, what the program is known for is used.
    fn learn_ban(&mut self, wire: &Wire) -> Result<(), EngineError> {
        let by_bias = (!self.form.eos.is_empty()).then_some(Ban::LogitBias);
        let means: Vec<Ban> = match self.form.level {
            Level::Full => [Some(Ban::IgnoreEos), by_bias, Some(Ban::MinTokens)]
                .into_iter()
                .flatten()
                .collect(),
            Level::Standard => by_bias.into_iter().collect(),
            Level::Bare => Vec::new(),
        };
        let ask = |served: &Self, ban: bool| {
            let prompt = Prompt::Text(SHORT_ANSWER.to_owned());
            let request = probe(prompt, END_WITHIN_TOKENS, ban, false, wire);
            served.answer(wire, &request)
        };
        let natural = ask(self, false)?;
        self.form.ban = if natural.finish == Finish::Stop {
            let mut works = Ban::Nothing;
            for one in means {
                self.form.ban = one;
                let forced = ask(self, true)?;
                if forced.finish == Finish::Length && forced.output_tokens == END_WITHIN_TOKENS {
                    works = one;
                    break;
                }
            }
            works
        } else {
            match self.flavour.program {
                Program::LlamaCpp | Program::Vllm if self.form.level == Level::Full => {
                    Ban::IgnoreEos
                }
                Program::Mlx => by_bias.unwrap_or(Ban::Nothing),
                _ if means.is_empty() => Ban::Nothing,
                _ => Ban::Every,
            }
        };
        self.capabilities.bans_eos = self.form.ban != Ban::Nothing;
        Ok(())
    }

    /// Whether a repeated prompt is found in a cache, and whether that can be kept from happening.
    fn learn_cache(&mut self, wire: &Wire, text: &str) -> Result<(), EngineError> {
        if !self.capabilities.reports_cached_tokens {
            return Ok(());
        }
        let cached = |reuse: bool| {
            let request = probe(Prompt::Text(text.to_owned()), 1, false, reuse, wire);
            self.answer(wire, &request)
                .map(|answer| answer.cached_tokens)
        };
        cached(true)?;
        let warm = cached(true)?;
        let cold = cached(false)?;
        self.capabilities.reuses_prefix = warm > Some(0);
        self.capabilities.disables_prompt_cache = cold == Some(0);
        Ok(())
    }
}

/// A request whose answer only teaches, and has to come soon.
fn probe(
    prompt: Prompt,
    tokens: u32,
    ban_eos: bool,
    reuse_cache: bool,
    wire: &Wire,
) -> GenerateRequest {
    GenerateRequest {
        prompt,
        max_output_tokens: tokens,
        ban_eos,
        deadline: Instant::now().checked_add(wire.target().stall * PROBE_STALLS),
        sampling: Sampling::Greedy,
        reuse_cache,
    }
}

/// Why it stopped.
fn finish(heard: &Heard, ended: Ended, max_tokens: u32) -> Result<Finish, String> {
    match (ended, heard.finish.as_deref()) {
        (Ended::Late, _) => Ok(Finish::Timeout),
        (_, Some("length")) => Ok(Finish::Length),
        (_, Some(word @ ("abort" | "error"))) => {
            Err(format!("it gave up (finish_reason {word:?})"))
        }
        (_, Some(_)) => Ok(Finish::Stop),
        (Ended::Wanted, None) => {
            let said = heard.usage.and_then(|usage| usage.completion_tokens);
            Ok(if said == Some(max_tokens) {
                Finish::Length
            } else {
                Finish::Stop
            })
        }
        (Ended::Closed, None) => Err(format!(
            "it closed the stream after {} pieces of output, before its end",
            heard.pieces.len()
        )),
    }
}

/// Nanoseconds of prompt and output by the server's own clock. llama.cpp's `predicted_ms` runs
/// from the first chosen token to the last.
fn engine_view(timings: Option<Timings>) -> (Option<u64>, Option<u64>) {
    let nanoseconds = |milliseconds: Option<f64>| {
        milliseconds
            .filter(|ms| ms.is_finite() && *ms >= 0.0)
            .map(|ms| (ms * 1e6).round() as u64)
    };
    let Some(timings) = timings else {
        return (None, None);
    };
    let several = timings.predicted_n.is_some_and(|made| made > 1);
    (
        nanoseconds(timings.prompt_ms),
        nanoseconds(timings.predicted_ms).filter(|_| several),
    )
}

/// Tokens that the weights know, where they say it.
fn vocabulary_size(weights: &Path, gguf: Option<&Gguf>) -> Option<u64> {
    if let Some(gguf) = gguf {
        let tokens = gguf.texts("tokenizer.ggml.tokens").ok()??;
        return Some(tokens.len() as u64);
    }
    let text = std::fs::read_to_string(weights.join("config.json")).ok()?;
    let config: Value = serde_json::from_str(&text).ok()?;
    config
        .get("vocab_size")
        .or_else(|| config["text_config"].get("vocab_size"))?
        .as_u64()
}

/// The end tokens that the weights name.
fn end_tokens(weights: &Path, gguf: Option<&Gguf>) -> Vec<u32> {
    if let Some(gguf) = gguf {
        let key = "tokenizer.ggml.eos_token_id";
        return gguf.number(key).ok().flatten().into_iter().collect();
    }
    let named = |file: &str| {
        let text = std::fs::read_to_string(weights.join(file)).ok()?;
        let config: Value = serde_json::from_str(&text).ok()?;
        let ids = match config.get("eos_token_id")? {
            Value::Array(ids) => ids.clone(),
            id => vec![id.clone()],
        };
        ids.iter()
            .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
            .collect::<Option<Vec<u32>>>()
    };
    named("generation_config.json")
        .or_else(|| named("config.json"))
        .unwrap_or_default()
}

/// The key in a file, as a header that no log prints.
fn read_key(path: &str) -> Result<HeaderValue, EngineError> {
    let unusable = |what: String| EngineError::Unsupported {
        path: PathBuf::from(path),
        what,
    };
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    let mut header = HeaderValue::from_str(&format!("Bearer {}", text.trim()))
        .map_err(|_| unusable("it holds no key of one line".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Digest of a text.
fn digest(text: &str) -> Sha256Digest {
    Sha256Digest::of(text.as_bytes())
}
