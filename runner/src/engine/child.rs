//! An engine of another build of this program, running as a child process.
//!
//! Lifecycle: [`ChildEngine::load`] starts a fresh process (`PROGRAM arm ARGUMENTS`), hears its
//! greeting and has it load; `unload`, a broken protocol, or dropping the engine ends it and all it
//! started. The child says every token as it is made ([`serve_arm`]), and the time of that is taken
//! here: whatever the child's clock says is never more than its own word. Bounds: no answer is
//! waited for longer than [`ChildOptions::patience`], nor past [`ChildOptions::until`]; no line is
//! longer than `MAX_LINE_BYTES`, no logits are more than `MAX_LOGITS_BYTES`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use domain::ids::Sha256Digest;
use domain::record::{EngineFacts, Settings, Speculation, SpeculationMethod, TokenSource};
use domain::text::Name;

use super::candle::THREADS_VARIABLES;
use super::{
    Capabilities, Engine, EngineError, GenerateRequest, Generated, Needs, Processes, Prompt,
    TokenEvent,
};

pub(crate) mod process;
mod protocol;
mod serve;
#[cfg(test)]
pub(crate) mod tests;

use process::{Process, Unheard};
use protocol::{About, Answer, Ask, Hello, VERSION, Version};
pub use serve::serve_arm;

/// The hidden verb of the command line that serves an arm.
pub const VERB: &str = "arm";

/// Longest line of a child.
const MAX_LINE_BYTES: usize = 16 << 20;
/// Most logits of one request.
const MAX_LOGITS_BYTES: u64 = 1 << 30;
/// How much later than a request's deadline its answer may come.
const DEADLINE_GRACE: Duration = Duration::from_secs(5);
/// How long an arm may take to end once its input has ended: it has nothing to save.
const END_GRACE: Duration = Duration::from_millis(200);

/// How a child is started, and how long it is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildOptions {
    /// The program; absent: this very one.
    pub program: Option<PathBuf>,
    /// Arguments behind the verb.
    pub arguments: Vec<String>,
    /// Put into its environment.
    pub environment: Vec<(String, String)>,
    /// Folder it runs in; absent: the current one.
    pub folder: Option<PathBuf>,
    /// Threads to compute with.
    pub threads: u32,
    /// Longest silence.
    pub patience: Duration,
    /// When everything has to be over; absent: whenever.
    pub until: Option<Instant>,
    /// SHA-256 of its file, for its facts.
    pub binary_sha256: Option<Sha256Digest>,
}

/// An engine in a child process.
#[derive(Debug)]
pub struct ChildEngine {
    options: ChildOptions,
    running: Option<Running>,
}

/// A child that greeted.
#[derive(Debug)]
struct Running {
    talk: Talk,
    about: About,
}

/// What is said to it and heard of it.
#[derive(Debug)]
struct Talk {
    process: Process,
    /// Its name in errors.
    program: String,
    started: Instant,
    patience: Duration,
    until: Option<Instant>,
}

impl ChildEngine {
    /// An engine of which nothing is started yet.
    pub fn new(options: ChildOptions) -> Self {
        Self {
            options,
            running: None,
        }
    }

    /// Asks the child. After an error that is not its engine's own word nothing is known of what it
    /// will say next, so it is ended.
    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Talk) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let running = self.running.as_mut().ok_or(EngineError::NotLoaded)?;
        let done = work(&mut running.talk);
        if matches!(&done, Err(error) if !matches!(error, EngineError::InChild { .. })) {
            self.running = None;
        }
        done
    }
}

impl Engine for ChildEngine {
    fn facts(&self) -> EngineFacts {
        let facts = self.running.as_ref().map(|running| &running.about.facts);
        EngineFacts {
            binary_sha256: self.options.binary_sha256,
            ..facts.cloned().unwrap_or_else(|| EngineFacts {
                name: Name::cleaned("candle"),
                version: Name::default(),
                commit: None,
                build_flags: Vec::new(),
                backend: Name::default(),
                args: Vec::new(),
                binary_sha256: None,
                image_digest: None,
            })
        }
    }

    fn settings(&self) -> Settings {
        let settings = self.running.as_ref().map(|running| &running.about.settings);
        settings.cloned().unwrap_or(Settings {
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
        })
    }

    fn capabilities(&self) -> Capabilities {
        let running = self.running.as_ref();
        running.map_or(NOTHING_YET, |running| running.about.capabilities)
    }

    fn processes(&self) -> Processes {
        let running = self.running.as_ref();
        Processes::Children(
            running
                .map(|running| running.talk.process.id())
                .into_iter()
                .collect(),
        )
    }

    fn load(&mut self, weights: &Path, needs: Needs) -> Result<(), EngineError> {
        self.unload();
        self.running = Some(Running::start(&self.options)?);
        let weights = std::path::absolute(weights).unwrap_or_else(|_| weights.to_owned());
        let loaded = self.with(|talk| {
            talk.ask(&Ask::Load { weights, needs })?;
            match talk.answer(None, 0)? {
                Answer::Loaded(about) => Ok(*about),
                other => Err(talk.unexpected(&other)),
            }
        });
        match (loaded, &mut self.running) {
            (Ok(about), Some(running)) => {
                running.about = about;
                Ok(())
            }
            (Ok(_), None) => Err(EngineError::NotLoaded),
            (Err(error), _) => {
                self.unload();
                Err(error)
            }
        }
    }

    fn unload(&mut self) {
        if let Some(mut running) = self.running.take() {
            // Dropping it would kill it; an arm that hears the end of its input ends by itself.
            let _ = running.talk.process.end(END_GRACE);
        }
    }

    fn fit_prompt(&mut self, text: &str, tokens: u32) -> Result<Prompt, EngineError> {
        self.with(|talk| {
            talk.ask(&Ask::FitPrompt {
                text: text.to_owned(),
                tokens,
            })?;
            match talk.answer(None, 0)? {
                Answer::Prompt(prompt) => Ok(prompt),
                other => Err(talk.unexpected(&other)),
            }
        })
    }

    fn generate(
        &mut self,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError> {
        self.with(|talk| talk.generate(request, on_event))
    }

    fn logits(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, EngineError> {
        self.with(|talk| talk.logits(tokens))
    }
}

/// Of a child that was not started: as little as can be promised.
const NOTHING_YET: Capabilities = Capabilities {
    client_view: true,
    token_prompts: false,
    token_source: TokenSource::Ids,
    bans_eos: false,
    disables_prompt_cache: false,
    reuses_prefix: false,
    reports_cached_tokens: false,
    engine_view: false,
    logits: false,
    chat: false,
    max_streams: 1,
};

impl Running {
    fn start(options: &ChildOptions) -> Result<Self, EngineError> {
        let not_started = |program: &str, error: &std::io::Error| EngineError::NotStarted {
            program: program.to_owned(),
            reason: error.to_string(),
        };
        let path = match &options.program {
            Some(path) => path.clone(),
            None => {
                std::env::current_exe().map_err(|error| not_started("this very program", &error))?
            }
        };
        let program = name_of(&path);
        let mut command = Command::new(&path);
        command.arg(VERB).args(&options.arguments);
        for variable in THREADS_VARIABLES {
            command.env(variable, options.threads.to_string());
        }
        command.envs(
            options
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        );
        if let Some(folder) = &options.folder {
            command.current_dir(folder);
        }
        let started = Instant::now();
        let process =
            Process::start(command, true).map_err(|error| not_started(&program, &error))?;
        let mut talk = Talk {
            process,
            program,
            started,
            patience: options.patience,
            until: options.until,
        };
        let about = talk.greeting()?;
        Ok(Self { talk, about })
    }
}

impl Talk {
    fn greeting(&mut self) -> Result<About, EngineError> {
        let until = self.wait_until(None);
        let line = match self.process.line(MAX_LINE_BYTES, until, None) {
            Ok(Some(line)) => line,
            Ok(None) => return Err(self.died()),
            Err(unheard) => return Err(self.silent(&unheard, 0)),
        };
        match serde_json::from_slice::<Version>(line).map(|version| version.joulemark_arm) {
            Ok(VERSION) => {}
            Ok(other) => {
                return Err(self.broken(format!(
                    "it speaks version {other} of the arms' protocol and this program {VERSION}: \
                     compare builds that speak the same"
                )));
            }
            Err(_) => {
                return Err(self.broken(
                    "its first line is no greeting of an arm: is it a build of joulemark?"
                        .to_owned(),
                ));
            }
        }
        serde_json::from_slice::<Hello>(line)
            .map(|hello| hello.about)
            .map_err(|error| self.broken(format!("its greeting: {error}")))
    }

    fn generate(
        &mut self,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError> {
        let left = request
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        self.ask(&Ask::Generate {
            request: request.clone(),
            left_ms: left.map(|left| left.as_millis() as u64),
        })?;
        let most = request.max_output_tokens;
        let mut events = 0;
        loop {
            match self.answer(request.deadline, events)? {
                Answer::Event(event) => {
                    on_event(event);
                    events += 1;
                    if events > most {
                        return Err(self.other_work(format!("it sent more than {most} tokens")));
                    }
                }
                Answer::Generated(generated) => {
                    return match contradiction(request, &generated, events) {
                        Some(what) => Err(self.other_work(what)),
                        None => Ok(*generated),
                    };
                }
                other => return Err(self.unexpected(&other)),
            }
        }
    }

    fn logits(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, EngineError> {
        let unusable = |error: std::io::Error| EngineError::Crashed {
            reason: format!("no file to hand logits over: {error}"),
        };
        let mut file = tempfile::NamedTempFile::new().map_err(unusable)?;
        self.ask(&Ask::Logits {
            tokens: tokens.to_vec(),
            file: file.path().to_owned(),
        })?;
        let (rows, columns) = match self.answer(None, 0)? {
            Answer::Logits { rows, columns } => (rows, columns),
            other => return Err(self.unexpected(&other)),
        };
        let length = file.as_file().metadata().map_err(unusable)?.len();
        let whole = rows
            .checked_mul(columns)
            .and_then(|values| values.checked_mul(size_of::<f32>() as u64));
        if rows != tokens.len() as u64 || columns == 0 || whole != Some(length) {
            return Err(self.broken(format!(
                "logits of {rows} positions and {columns} tokens in {length} bytes, where {} \
                 positions were asked for",
                tokens.len()
            )));
        }
        if length > MAX_LOGITS_BYTES {
            return Err(self.broken(format!("logits of {length} bytes")));
        }
        let mut bytes = Vec::with_capacity(length as usize);
        file.read_to_end(&mut bytes).map_err(unusable)?;
        let row_bytes = columns as usize * size_of::<f32>();
        Ok(bytes
            .chunks(row_bytes)
            .map(|row| {
                row.chunks_exact(size_of::<f32>())
                    .map(|value| f32::from_le_bytes(value.try_into().expect("four bytes")))
                    .collect()
            })
            .collect())
    }

    fn ask(&mut self, ask: &Ask) -> Result<(), EngineError> {
        let mut line = serde_json::to_vec(ask).map_err(|error| EngineError::NotOffered {
            what: format!("what cannot be said in JSON ({error})"),
        })?;
        line.push(b'\n');
        let until = self.wait_until(None);
        self.process
            .send(&line, until)
            .map_err(|unheard| self.silent(&unheard, 0))
    }

    /// The next answer; the child's error as ours.
    fn answer(&mut self, deadline: Option<Instant>, events: u32) -> Result<Answer, EngineError> {
        let until = self.wait_until(deadline);
        let line = match self.process.line(MAX_LINE_BYTES, until, None) {
            Ok(Some(line)) => line,
            Ok(None) => return Err(self.died()),
            Err(unheard) => return Err(self.silent(&unheard, events)),
        };
        match serde_json::from_slice(line) {
            Ok(Answer::Failed {
                outcome,
                of_the_request,
                reason,
            }) => Err(EngineError::InChild {
                program: self.program.clone(),
                reason: Name::cleaned(&reason).to_string(),
                outcome,
                of_the_request,
            }),
            Ok(answer) => Ok(answer),
            Err(error) => {
                let start = String::from_utf8_lossy(&line[..line.len().min(40)]);
                let what = format!(
                    "{:?} is no answer ({error})",
                    Name::cleaned(&start).as_str()
                );
                Err(self.broken(what))
            }
        }
    }

    /// Until when the next line is waited for.
    fn wait_until(&self, deadline: Option<Instant>) -> Instant {
        let now = Instant::now();
        let patient = now + self.patience;
        let late = deadline.map(|deadline| deadline.max(now) + DEADLINE_GRACE);
        [late, self.until]
            .into_iter()
            .flatten()
            .fold(patient, Instant::min)
    }

    fn silent(&mut self, unheard: &Unheard, events: u32) -> EngineError {
        match unheard {
            Unheard::Late if self.until.is_some_and(|until| Instant::now() >= until) => {
                EngineError::NotFinished {
                    program: self.program.clone(),
                    seconds: self.started.elapsed().as_secs_f64(),
                }
            }
            Unheard::Late => EngineError::Stalled {
                url: self.program.clone(),
                seconds: self.patience.as_secs_f64(),
                events,
            },
            // It is gone, which says more than its pipe does.
            Unheard::Pipe(_) => self.died(),
            Unheard::Stopped | Unheard::TooLong(_) => self.broken(format!("failed to {unheard}")),
        }
    }

    fn died(&mut self) -> EngineError {
        let program = &self.program;
        let how = match self.process.end(END_GRACE) {
            Ok((status, true)) => format!("ended with {status}"),
            Ok((_, false)) => "closed its output and went on".to_owned(),
            Err(error) => format!("could not be waited for ({error})"),
        };
        let words = self.process.last_words();
        EngineError::Crashed {
            reason: format!("{program} {how}{words}"),
        }
    }

    fn unexpected(&self, answer: &Answer) -> EngineError {
        let answer = match answer {
            Answer::Loaded(_) => "that it has loaded",
            Answer::Prompt(_) => "a prompt",
            Answer::Event(_) => "a token",
            Answer::Generated(_) => "the end of an answer",
            Answer::Logits { .. } => "logits",
            Answer::Failed { .. } => "an error",
        };
        self.broken(format!("it sent {answer}, which was not asked for"))
    }

    fn other_work(&self, what: String) -> EngineError {
        EngineError::OtherWork {
            program: self.program.clone(),
            what,
        }
    }

    fn broken(&self, what: String) -> EngineError {
        EngineError::Output {
            program: self.program.clone(),
            what,
        }
    }
}

/// How a child's last word contradicts what was asked or heard.
fn contradiction(request: &GenerateRequest, generated: &Generated, events: u32) -> Option<String> {
    let tokens = generated.output_tokens;
    let counted = match &generated.event_tokens {
        Some(counts) if counts.len() != events as usize => None,
        Some(counts) => counts.iter().try_fold(0_u32, |sum, k| sum.checked_add(*k)),
        None => Some(events),
    };
    let sent = match &request.prompt {
        Prompt::Exact { length, .. } => Some(*length),
        Prompt::Text(_) | Prompt::Chat(_) => None,
    };
    let named = generated.output.len();
    if counted != Some(tokens) || tokens > request.max_output_tokens {
        Some(format!(
            "it sent {events} pieces of output and counts {tokens} tokens of {} asked for",
            request.max_output_tokens
        ))
    } else if named != 0 && named != tokens as usize {
        Some(format!("it names {named} tokens and counts {tokens}"))
    } else if sent.is_some_and(|sent| sent != generated.prompt_tokens) {
        let processed = generated.prompt_tokens;
        Some(format!(
            "it read {processed} prompt tokens where others were sent"
        ))
    } else {
        None
    }
}

/// A program's name for errors: without its folder.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    Name::cleaned(&name.to_string_lossy()).to_string()
}
