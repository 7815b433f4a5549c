//! An engine that computes nothing: it answers from a script, so that everything above the seam can be tested.
//!
//! It calls itself `scripted` in every record it takes part in, so its numbers cannot pass for measurements.

use std::fmt;
use std::path::{Path, PathBuf};

use domain::byte_tokenizer::ByteTokenizer;
use domain::record::{EngineFacts, Finish, Settings, Speculation, SpeculationMethod, TokenSource};
use domain::text::Name;

use super::{
    Capabilities, Engine, EngineError, GenerateRequest, Generated, Needs, Prompt, TokenEvent,
};
use crate::prompt::fit_bytes;

/// A piece of pretended work, told to the script's `work` closure before it counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Weights are loaded.
    Load,
    /// A prompt of so many tokens is processed.
    Prefill(u32),
    /// One token is produced.
    Token,
}

/// Decides whether something fails, and how.
type Fault<T> = Box<dyn FnMut(T) -> Option<EngineError> + Send>;

/// Answers from closures; see the builder methods for what each decides.
pub struct ScriptedEngine {
    answer: Box<dyn FnMut(&str) -> String + Send>,
    work: Box<dyn FnMut(Work) + Send>,
    load_fault: Fault<PathBuf>,
    request_fault: Fault<u32>,
    emitted: Box<dyn FnMut(u32, u32) -> u32 + Send>,
    requests: u32,
    loaded: bool,
}

impl fmt::Debug for ScriptedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedEngine")
            .field("requests", &self.requests)
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
    /// An engine that answers nothing at once and never fails.
    pub fn new() -> Self {
        Self {
            answer: Box::new(|_| String::new()),
            work: Box::new(|_| ()),
            load_fault: Box::new(|_| None),
            request_fault: Box::new(|_| None),
            emitted: Box::new(|_, asked| asked),
            requests: 0,
            loaded: false,
        }
    }

    /// The answer to a text prompt.
    #[must_use]
    pub fn answers(mut self, answer: impl FnMut(&str) -> String + Send + 'static) -> Self {
        self.answer = Box::new(answer);
        self
    }

    /// What work costs: advance a virtual clock here, or sleep.
    #[must_use]
    pub fn works(mut self, work: impl FnMut(Work) + Send + 'static) -> Self {
        self.work = Box::new(work);
        self
    }

    /// Which weights fail to load, and how.
    #[must_use]
    pub fn failing_loads(
        mut self,
        mut fault: impl FnMut(&Path) -> Option<EngineError> + Send + 'static,
    ) -> Self {
        self.load_fault = Box::new(move |path| fault(&path));
        self
    }

    /// Which requests fail, counted from 0 over the engine's life, and how.
    #[must_use]
    pub fn failing_requests(
        mut self,
        fault: impl FnMut(u32) -> Option<EngineError> + Send + 'static,
    ) -> Self {
        self.request_fault = Box::new(fault);
        self
    }

    /// How many tokens come when so many are forced, by request number: a faulty engine emits another count.
    #[must_use]
    pub fn emitting(mut self, emitted: impl FnMut(u32, u32) -> u32 + Send + 'static) -> Self {
        self.emitted = Box::new(emitted);
        self
    }

    /// Requests received so far.
    pub fn requests(&self) -> u32 {
        self.requests
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
        Capabilities {
            client_view: true,
            token_prompts: true,
            token_source: TokenSource::Ids,
            bans_eos: true,
            disables_prompt_cache: true,
            reuses_prefix: false,
            reports_cached_tokens: true,
            engine_view: false,
            logits: false,
            max_streams: 1,
        }
    }

    fn fit_prompt(&mut self, text: &str, tokens: u32) -> Result<Prompt, EngineError> {
        fit_bytes(&ByteTokenizer::reference(), true, text, tokens)
    }

    fn load(&mut self, weights: &Path, _needs: Needs) -> Result<(), EngineError> {
        self.loaded = false;
        if let Some(fault) = (self.load_fault)(weights.to_owned()) {
            return Err(fault);
        }
        (self.work)(Work::Load);
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
        let number = self.requests;
        self.requests += 1;
        if let Some(fault) = (self.request_fault)(number) {
            return Err(fault);
        }

        let tokenizer = ByteTokenizer::reference();
        let (prompt_tokens, mut script) = match &request.prompt {
            Prompt::Text(text) => (
                text.len() as u32 + 1,
                tokenizer.encode(&(self.answer)(text)),
            ),
            Prompt::Exact { length, .. } => (*length, Vec::new()),
        };
        let mut length = request.max_output_tokens as usize;
        if request.ban_eos {
            length = (self.emitted)(number, request.max_output_tokens) as usize;
            script.resize(length.max(script.len()), u32::from(b'.'));
        }
        let finish = if script.len() >= length {
            Finish::Length
        } else {
            Finish::Stop
        };
        script.truncate(length);

        (self.work)(Work::Prefill(prompt_tokens));
        for _ in &script {
            (self.work)(Work::Token);
            on_event(TokenEvent { visible: true });
        }
        Ok(Generated {
            prompt_tokens,
            text: String::from_utf8_lossy(&tokenizer.decode(&script)).into_owned(),
            output_tokens: script.len() as u32,
            reasoning_tokens: 0,
            output: script,
            event_tokens: None,
            token_source: TokenSource::Ids,
            passes: None,
            accepted_tokens: None,
            finish,
            engine_prefill_ns: None,
            engine_decode_ns: None,
            cached_tokens: None,
        })
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
