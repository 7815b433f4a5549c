//! An engine that computes nothing: it answers from a script, so that everything above the seam can be tested.
//!
//! It calls itself `scripted` in every record it takes part in, so its numbers cannot pass for measurements.

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use domain::byte_tokenizer::ByteTokenizer;
use domain::record::{EngineFacts, Finish, Settings, Speculation, SpeculationMethod, TokenSource};
use domain::text::Name;

use super::{
    Capabilities, Engine, EngineError, GenerateRequest, Generated, Needs, Prompt, SelfTimed,
    SelfTiming, Stream, TokenEvent,
};
use crate::prompt::fit_bytes;

/// A piece of pretended work, told to the script's `work` closure before it counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Weights are loaded.
    Load,
    /// So many tokens of a prompt are processed: those that no cache served.
    Prefill(u32),
    /// One token is produced.
    Token,
}

/// Decides whether something fails, and how.
type Fault<T> = Box<dyn FnMut(T) -> Option<EngineError> + Send>;

/// Answers from closures; see the builder methods for what each decides.
pub struct ScriptedEngine {
    script: Mutex<Script>,
    turns: Turns,
    capabilities: Capabilities,
    loaded: bool,
}

/// What all streams share.
struct Script {
    answer: Box<dyn FnMut(&str) -> String + Send>,
    work: Box<dyn FnMut(Work) + Send>,
    load_fault: Fault<PathBuf>,
    request_fault: Fault<u32>,
    emitted: Box<dyn FnMut(u32, u32) -> u32 + Send>,
    event_tokens: Box<dyn FnMut(u32) -> Option<Vec<u32>> + Send>,
    cached: Box<dyn FnMut(u32, u32) -> Option<u32> + Send>,
    timing: Box<dyn FnMut(u32) -> SelfTiming + Send>,
    reasoning_tokens: u32,
    /// The prompt that the cache holds.
    kept: Vec<u32>,
    requests: u32,
    self_timed: u32,
}

impl fmt::Debug for ScriptedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedEngine")
            .field("requests", &self.requests())
            .field("loaded", &self.loaded)
            .finish_non_exhaustive()
    }
}

impl Default for ScriptedEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl ScriptedEngine {
    /// An engine that answers nothing at once, caches nothing and never fails.
    pub fn new() -> Self {
        let script = Script {
            answer: Box::new(|_| String::new()),
            work: Box::new(|_| ()),
            load_fault: Box::new(|_| None),
            request_fault: Box::new(|_| None),
            emitted: Box::new(|_, asked| asked),
            event_tokens: Box::new(|_| None),
            cached: Box::new(|_, _| Some(0)),
            timing: Box::new(|_| SelfTiming {
                prefill_ns: 1,
                decode_ns: 1,
            }),
            reasoning_tokens: 0,
            kept: Vec::new(),
            requests: 0,
            self_timed: 0,
        };
        Self {
            script: Mutex::new(script),
            turns: Turns::default(),
            capabilities: Capabilities {
                client_view: true,
                token_prompts: true,
                token_source: TokenSource::Ids,
                bans_eos: true,
                disables_prompt_cache: true,
                reuses_prefix: false,
                reports_cached_tokens: true,
                engine_view: false,
                logits: false,
                chat: false,
                max_streams: 1,
            },
            loaded: false,
        }
    }

    /// The answer to a text prompt.
    #[must_use]
    pub fn answers(self, answer: impl FnMut(&str) -> String + Send + 'static) -> Self {
        self.lock().answer = Box::new(answer);
        self
    }

    /// What work costs: advance a virtual clock here, or sleep.
    #[must_use]
    pub fn works(self, work: impl FnMut(Work) + Send + 'static) -> Self {
        self.lock().work = Box::new(work);
        self
    }

    /// Which weights fail to load, and how.
    #[must_use]
    pub fn failing_loads(
        self,
        mut fault: impl FnMut(&Path) -> Option<EngineError> + Send + 'static,
    ) -> Self {
        self.lock().load_fault = Box::new(move |path| fault(&path));
        self
    }

    /// Which requests fail, counted from 0 over the engine's life, and how.
    #[must_use]
    pub fn failing_requests(
        self,
        fault: impl FnMut(u32) -> Option<EngineError> + Send + 'static,
    ) -> Self {
        self.lock().request_fault = Box::new(fault);
        self
    }

    /// How many tokens come when so many are forced, by request number: a faulty engine emits another count.
    #[must_use]
    pub fn emitting(self, emitted: impl FnMut(u32, u32) -> u32 + Send + 'static) -> Self {
        self.lock().emitted = Box::new(emitted);
        self
    }

    /// How many streams it answers at once.
    #[must_use]
    pub fn streaming(mut self, max_streams: u32) -> Self {
        self.capabilities.max_streams = max_streams;
        self
    }

    /// It keeps the last prompt that it may keep, and says how many prompt tokens came from there,
    /// by request number and the number that its cache holds: a faulty engine says something else.
    #[must_use]
    pub fn caching(mut self, cached: impl FnMut(u32, u32) -> Option<u32> + Send + 'static) -> Self {
        self.lock().cached = Box::new(cached);
        self.capabilities.reuses_prefix = true;
        self
    }

    /// It does not offer to ban the end token: [`Self::emitting`] says how many tokens come instead.
    #[must_use]
    pub fn unforced(mut self) -> Self {
        self.capabilities.bans_eos = false;
        self
    }

    /// It does not say how many prompt tokens came from a cache.
    #[must_use]
    pub fn silent_about_caches(mut self) -> Self {
        self.lock().cached = Box::new(|_, _| None);
        self.capabilities.reports_cached_tokens = false;
        self
    }

    /// How many tokens each event of an answer holds, by the answer's length; `None` is one each.
    #[must_use]
    pub fn chunking(
        self,
        event_tokens: impl FnMut(u32) -> Option<Vec<u32>> + Send + 'static,
    ) -> Self {
        self.lock().event_tokens = Box::new(event_tokens);
        self
    }

    /// It takes chat messages too.
    #[must_use]
    pub fn chatting(mut self) -> Self {
        self.capabilities.chat = true;
        self
    }

    /// So many tokens of every answer are reasoning.
    #[must_use]
    pub fn reasoning(self, tokens: u32) -> Self {
        self.lock().reasoning_tokens = tokens;
        self
    }

    /// It only times itself, by repetition counted from 0 over the engine's life.
    #[must_use]
    pub fn timing_itself(mut self, timing: impl FnMut(u32) -> SelfTiming + Send + 'static) -> Self {
        self.lock().timing = Box::new(timing);
        self.capabilities = Capabilities {
            client_view: false,
            token_source: TokenSource::Timings,
            engine_view: true,
            ..self.capabilities
        };
        self
    }

    /// Requests received so far.
    pub fn requests(&self) -> u32 {
        self.lock().requests
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        lock(&self.script)
    }
}

impl Engine for ScriptedEngine {
    fn facts(&self) -> EngineFacts {
        EngineFacts {
            name: Name::cleaned("scripted"),
            version: Name::cleaned(env!("CARGO_PKG_VERSION")),
            commit: None,
            build_flags: Vec::new(),
            backend: Name::cleaned("scripted"),
            args: Vec::new(),
            binary_sha256: None,
            image_digest: None,
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            kv_type_k: None,
            kv_type_v: None,
            gpu_layers: None,
            flash_attention: None,
            speculation: Speculation {
                method: SpeculationMethod::None,
                draft_sha256: None,
                length: None,
            },
            weight_bytes_per_pass: None,
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn fit_prompt(&mut self, text: &str, tokens: u32) -> Result<Prompt, EngineError> {
        fit_bytes(&ByteTokenizer::reference(), true, text, tokens)
    }

    fn load(&mut self, weights: &Path, _needs: Needs) -> Result<(), EngineError> {
        self.loaded = false;
        let mut script = self.lock();
        if let Some(fault) = (script.load_fault)(weights.to_owned()) {
            return Err(fault);
        }
        (script.work)(Work::Load);
        script.kept.clear();
        drop(script);
        self.loaded = true;
        Ok(())
    }

    fn unload(&mut self) {
        self.loaded = false;
    }

    fn generate(
        &mut self,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError> {
        if !self.loaded {
            return Err(EngineError::NotLoaded);
        }
        generate(&self.script, &|| (), request, on_event)
    }

    fn streams(&mut self, count: u32) -> Result<Vec<Box<dyn Stream + '_>>, EngineError> {
        if !self.loaded {
            return Err(EngineError::NotLoaded);
        }
        if count > self.capabilities.max_streams {
            return Err(EngineError::NotOffered {
                what: format!("{count} requests at once"),
            });
        }
        *self.turns.lock() = Turn {
            order: (0..count).collect(),
            taken: false,
        };
        let stream = |number| {
            Box::new(ScriptedStream {
                number,
                script: &self.script,
                turns: &self.turns,
            }) as Box<dyn Stream + '_>
        };
        Ok((0..count).map(stream).collect())
    }

    fn time_itself(&mut self, asked: &SelfTimed) -> Result<Vec<SelfTiming>, EngineError> {
        if !self.loaded {
            return Err(EngineError::NotLoaded);
        }
        let mut script = self.lock();
        let mut timings = Vec::new();
        for _ in 0..asked.repetitions {
            let number = script.self_timed;
            script.self_timed += 1;
            if let Some(fault) = (script.request_fault)(number) {
                return Err(fault);
            }
            (script.work)(Work::Prefill(asked.prompt_tokens));
            for _ in 0..asked.output_tokens {
                (script.work)(Work::Token);
            }
            timings.push((script.timing)(number));
        }
        Ok(timings)
    }
}

struct ScriptedStream<'a> {
    number: u32,
    script: &'a Mutex<Script>,
    turns: &'a Turns,
}

impl Stream for ScriptedStream<'_> {
    fn generate(
        &mut self,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError> {
        generate(
            self.script,
            &|| self.turns.take(self.number),
            request,
            on_event,
        )
    }
}

impl Drop for ScriptedStream<'_> {
    fn drop(&mut self) {
        self.turns.leave(self.number);
    }
}

/// Streams work in turns, a piece each, so that a virtual clock runs the same way every time: a
/// stream keeps its turn from one piece of work until it asks for the next, or leaves.
#[derive(Default)]
struct Turns {
    turn: Mutex<Turn>,
    passed: Condvar,
}

#[derive(Default)]
struct Turn {
    order: VecDeque<u32>,
    /// The first of them has worked in this turn.
    taken: bool,
}

impl Turns {
    fn take(&self, number: u32) {
        let mut turn = self.lock();
        if turn.taken && turn.order.front() == Some(&number) {
            turn.order.rotate_left(1);
            turn.taken = false;
            self.passed.notify_all();
        }
        while turn.order.front() != Some(&number) {
            turn = self
                .passed
                .wait(turn)
                .unwrap_or_else(PoisonError::into_inner);
        }
        turn.taken = true;
    }

    fn leave(&self, number: u32) {
        let mut turn = self.lock();
        turn.taken &= turn.order.front() != Some(&number);
        turn.order.retain(|other| *other != number);
        self.passed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A closure that panicked left nothing half done here: other streams go on.
fn lock(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one request; `wait` ends when the next piece of work may be done.
fn generate(
    script: &Mutex<Script>,
    wait: &dyn Fn(),
    request: &GenerateRequest,
    on_event: &mut dyn FnMut(TokenEvent),
) -> Result<Generated, EngineError> {
    let tokenizer = ByteTokenizer::reference();
    wait();
    let mut held = lock(script);
    let number = held.requests;
    held.requests += 1;
    if let Some(fault) = (held.request_fault)(number) {
        return Err(fault);
    }
    let (prompt, mut output) = match &request.prompt {
        Prompt::Text(text) | Prompt::Chat(text) => {
            let output = tokenizer.encode(&(held.answer)(text));
            let bos = [tokenizer.bos()].into_iter();
            (bos.chain(tokenizer.encode(text)).collect(), output)
        }
        Prompt::Exact { tokens, .. } => (tokens.clone(), Vec::new()),
    };
    let cached_tokens = held.cached_tokens(number, &prompt, request.reuse_cache);
    let prompt_tokens = prompt.len() as u32;
    let mut length = request.max_output_tokens as usize;
    if request.ban_eos {
        length = (held.emitted)(number, request.max_output_tokens) as usize;
        output.resize(length.max(output.len()), u32::from(b'.'));
    }
    let finish = if output.len() >= length {
        Finish::Length
    } else {
        Finish::Stop
    };
    output.truncate(length);

    (held.work)(Work::Prefill(
        prompt_tokens.saturating_sub(cached_tokens.unwrap_or(0)),
    ));
    let output_tokens = output.len() as u32;
    let event_tokens = (held.event_tokens)(output_tokens);
    let reasoning_tokens = held.reasoning_tokens.min(output_tokens);
    drop(held);
    let singles = vec![1; output.len()];
    let mut emitted = 0;
    for tokens in event_tokens.as_ref().unwrap_or(&singles) {
        for _ in 0..*tokens {
            wait();
            (lock(script).work)(Work::Token);
        }
        emitted += tokens;
        on_event(TokenEvent {
            visible: emitted > reasoning_tokens,
        });
    }
    Ok(Generated {
        prompt_tokens,
        cached_tokens,
        output_tokens,
        reasoning_tokens,
        text: String::from_utf8_lossy(&tokenizer.decode(&output[reasoning_tokens as usize..]))
            .into_owned(),
        output,
        event_tokens,
        token_source: TokenSource::Ids,
        finish,
        engine_prefill_ns: None,
        engine_decode_ns: None,
        passes: None,
        accepted_tokens: None,
    })
}

impl Script {
    /// What the script says about the cache, which then keeps this prompt if it may.
    fn cached_tokens(&mut self, number: u32, prompt: &[u32], reuse: bool) -> Option<u32> {
        let shared = |kept: &[u32]| kept.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let held = if reuse { shared(&self.kept) as u32 } else { 0 };
        if reuse {
            self.kept = prompt.to_vec();
        }
        (self.cached)(number, held)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::engine::Sampling;

    fn request(prompt: Prompt, max_output_tokens: u32, ban_eos: bool) -> GenerateRequest {
        GenerateRequest {
            prompt,
            max_output_tokens,
            ban_eos,
            deadline: None,
            sampling: Sampling::Greedy,
            reuse_cache: false,
        }
    }

    const NEEDS: Needs = Needs {
        context_tokens: 64,
        streams: 1,
    };

    fn exact(length: u32) -> Prompt {
        fit_bytes(&ByteTokenizer::reference(), true, "abcdefgh", length).expect("long enough")
    }

    #[test]
    fn a_text_prompt_gets_its_scripted_answer_token_by_token() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let work = Arc::clone(&seen);
        let mut engine = ScriptedEngine::new()
            .answers(|prompt| prompt.chars().rev().collect())
            .works(move |done| work.lock().expect("one thread").push(done));
        engine.load(Path::new("any.gguf"), NEEDS).expect("loads");
        let mut events = 0;
        let answer = engine
            .generate(
                &request(Prompt::Text("abc".to_owned()), 8, false),
                &mut |_| events += 1,
            )
            .expect("answers");
        assert_eq!(
            (answer.text.as_str(), answer.finish, answer.prompt_tokens),
            ("cba", Finish::Stop, 4)
        );
        assert_eq!(events, answer.output.len());
        let seen = seen.lock().expect("one thread");
        assert_eq!(
            *seen,
            [
                Work::Load,
                Work::Prefill(4),
                Work::Token,
                Work::Token,
                Work::Token
            ]
        );
    }

    #[test]
    fn forced_output_has_the_asked_length_unless_the_script_miscounts() {
        let mut engine = ScriptedEngine::new()
            .emitting(|number, asked| if number == 1 { asked - 1 } else { asked });
        engine.load(Path::new("any.gguf"), NEEDS).expect("loads");
        let forced = request(exact(2), 5, true);
        let mut emitted = || {
            engine
                .generate(&forced, &mut |_| ())
                .expect("answers")
                .output
                .len()
        };
        assert_eq!([emitted(), emitted(), emitted()], [5, 4, 5]);
    }

    #[test]
    fn faults_come_where_the_script_puts_them() {
        let crashes = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&crashes);
        let mut engine = ScriptedEngine::new()
            .failing_loads(|path| {
                path.ends_with("big.gguf")
                    .then_some(EngineError::OutOfMemory {
                        what: "the weights",
                        bytes: 1 << 40,
                    })
            })
            .failing_requests(move |number| {
                (number == 1).then(|| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    EngineError::Crashed {
                        reason: "scripted".to_owned(),
                    }
                })
            });
        assert!(matches!(
            engine.load(Path::new("big.gguf"), NEEDS),
            Err(EngineError::OutOfMemory { .. })
        ));
        let asked = request(exact(1), 1, true);
        assert!(matches!(
            engine.generate(&asked, &mut |_| ()),
            Err(EngineError::NotLoaded)
        ));
        engine.load(Path::new("small.gguf"), NEEDS).expect("loads");
        assert!(engine.generate(&asked, &mut |_| ()).is_ok());
        assert!(matches!(
            engine.generate(&asked, &mut |_| ()),
            Err(EngineError::Crashed { .. })
        ));
        assert!(engine.generate(&asked, &mut |_| ()).is_ok());
        assert_eq!(crashes.load(Ordering::Relaxed), 1);
        assert_eq!(engine.facts().name.as_str(), "scripted");
    }
}
