//! llama.cpp's `llama-bench`: a program that loads the weights, times itself and prints what it found.
//!
//! There is no client view: nothing is asked and nothing is stamped, so its results meet only each other. It times
//! prompt (`pp`) and output (`tg`) in separate runs of its own, each warmed up by one discarded run; output starts
//! behind `depth` tokens, not behind the prompt, and its tokens are random, not sampled. Its `pg` test mixes both and
//! is never asked for.
//!
//! Every call of [`Engine::time_itself`] starts the program anew, weights included, in a process group of its own;
//! none of the group outlives the call. `load` makes the shortest possible run, from which the build and the size of
//! the model are read. Bounds: `LOAD_SECONDS` for that run, the caller's deadline for the others, and those of
//! `run` for what is printed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use domain::ids::Sha256Digest;
use domain::matrix::{Declared, EngineKind, EngineSpec, LlamaBenchSpec};
use domain::record::{EngineFacts, Settings, Speculation, SpeculationMethod, TokenSource};
use domain::text::Name;

use super::{
    Capabilities, Engine, EngineError, GenerateRequest, Generated, Needs, Processes, Prompt,
    SelfTimed, SelfTiming, TokenEvent,
};
use crate::gguf::Gguf;

mod output;
mod run;

#[cfg(test)]
mod tests;

use output::Row;

/// Longest first run in seconds: it reads the whole file, perhaps from a slow disk.
const LOAD_SECONDS: u64 = 900;

/// How far its count of parameters may be from the file's: versions differ in what they count.
const PARAMETERS_TOLERANCE: f64 = 0.01;

/// Where people get the program.
const HOW_TO_GET: &str = "install llama.cpp (https://github.com/ggml-org/llama.cpp, or `brew install llama.cpp`), put \
                          llama-bench on PATH or name it with program = \"/…/llama-bench\"";

/// What the runner sets; further arguments that set it again make more tests than were asked for.
const OURS: &str =
    "-m, -p, -n, -d, -t, -r and -o are set by the runner, and every other option takes one value";

/// `llama-bench` as an engine that times itself.
#[derive(Debug)]
pub struct LlamaBenchEngine {
    name: Name,
    spec: LlamaBenchSpec,
    declared: Declared,
    threads: u32,
    loaded: Option<Loaded>,
}

/// Weights that the program has run once.
#[derive(Debug)]
struct Loaded {
    weights: PathBuf,
    parameters: u64,
    said: Row,
    binary_sha256: Option<Sha256Digest>,
}

impl LlamaBenchEngine {
    /// The engine that `spec` describes, computing with so many threads. Nothing is run yet.
    pub fn new(spec: &EngineSpec, threads: u32) -> Result<Self, EngineError> {
        let EngineKind::LlamaBench(bench) = &spec.kind else {
            return Err(EngineError::NotOffered {
                what: format!("llama-bench as {}", spec.name),
            });
        };
        Ok(Self {
            name: Name::cleaned(&spec.name),
            spec: bench.clone(),
            declared: spec.declared.clone(),
            threads,
            loaded: None,
        })
    }

    fn command(&self, weights: &Path, asked: &SelfTimed) -> Command {
        let mut command = Command::new(&self.spec.program);
        command.args(["-o", "jsonl", "-m"]).arg(weights);
        let mut number = |option: &str, value: u32| {
            command.args([option.to_owned(), value.to_string()]);
        };
        number("-p", asked.prompt_tokens);
        number("-n", asked.output_tokens);
        number("-t", self.threads);
        number("-r", asked.repetitions);
        // Programs from before April 2025 do not know depth.
        if asked.depth_tokens > 0 {
            number("-d", asked.depth_tokens);
        }
        command.args(&self.spec.args);
        command
    }

    /// Runs the program; rows of a model with another number of parameters are refused.
    fn rows(
        &self,
        weights: &Path,
        parameters: u64,
        asked: &SelfTimed,
    ) -> Result<(Vec<Row>, Option<Sha256Digest>), EngineError> {
        let program = &self.spec.program;
        let finished =
            run::run(self.command(weights, asked), program, asked.deadline).map_err(|error| {
                match error {
                    EngineError::Crashed { reason } => from_words(reason, weights),
                    other => other,
                }
            })?;
        let rows = output::rows(&finished.stdout).map_err(|what| self.misunderstood(what))?;
        let tolerance = (parameters as f64 * PARAMETERS_TOLERANCE) as u64;
        let differs = |row: &&Row| row.model_n_params.abs_diff(parameters) > tolerance;
        match rows.iter().find(differs) {
            Some(row) => Err(EngineError::OtherWeights {
                url: program.clone(),
                what: format!(
                    "it ran a model of {} parameters, {} holds {parameters}",
                    row.model_n_params,
                    weights.display()
                ),
            }),
            None => Ok((rows, finished.binary_sha256)),
        }
    }

    fn misunderstood(&self, what: String) -> EngineError {
        EngineError::Output {
            program: self.spec.program.clone(),
            what,
        }
    }
}

impl Engine for LlamaBenchEngine {
    fn facts(&self) -> EngineFacts {
        let declared = &self.declared;
        let said = self.loaded.as_ref().map(|loaded| &loaded.said);
        let or_declared = |said: Option<String>, declared: &Option<String>| {
            said.or_else(|| declared.clone())
                .map(|text| Name::cleaned(&text))
        };
        let unknown = || Name::cleaned("unknown");
        let backend = said.and_then(|row| row.backends.as_ref().map(|name| name.to_lowercase()));
        let words = ["threads", "n_batch", "n_ubatch", "gpu"];
        let values = [
            Some(self.threads.to_string()),
            said.and_then(|row| row.n_batch.map(|size| size.to_string())),
            said.and_then(|row| row.n_ubatch.map(|size| size.to_string())),
            said.and_then(Row::gpu).map(str::to_owned),
        ];
        let args = words
            .iter()
            .zip(values)
            .filter_map(|(word, value)| Some(format!("{word}={}", value?)))
            .chain(recordable(&self.spec.args));
        EngineFacts {
            name: self.name.clone(),
            version: or_declared(said.and_then(Row::version), &declared.version)
                .unwrap_or_else(unknown),
            commit: or_declared(said.and_then(Row::commit), &declared.commit),
            build_flags: declared
                .build_flags
                .iter()
                .map(|flag| Name::cleaned(flag))
                .collect(),
            backend: or_declared(backend, &declared.backend).unwrap_or_else(unknown),
            args: args.map(|word| Name::cleaned(&word)).collect(),
            binary_sha256: self.loaded.as_ref().and_then(|loaded| loaded.binary_sha256),
            image_digest: None,
        }
    }

    fn settings(&self) -> Settings {
        let declared = &self.declared;
        let said = self.loaded.as_ref().map(|loaded| &loaded.said);
        let kv_type = |said: Option<&String>, declared: &Option<String>| {
            said.or(declared.as_ref()).map(|kind| Name::cleaned(kind))
        };
        Settings {
            kv_type_k: kv_type(
                said.and_then(|row| row.type_k.as_ref()),
                &declared.kv_type_k,
            ),
            kv_type_v: kv_type(
                said.and_then(|row| row.type_v.as_ref()),
                &declared.kv_type_v,
            ),
            gpu_layers: said.and_then(Row::gpu_layers).or(declared.gpu_layers),
            flash_attention: said
                .and_then(|row| row.flash_attn.as_ref()?.is_on())
                .or(declared.flash_attention),
            // It has no draft model and guesses nothing.
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
            client_view: false,
            token_prompts: false,
            token_source: TokenSource::Timings,
            bans_eos: true,
            disables_prompt_cache: true,
            reuses_prefix: false,
            reports_cached_tokens: false,
            engine_view: true,
            logits: false,
            chat: false,
            max_streams: 1,
        }
    }

    /// Between two calls no process of it is there.
    fn processes(&self) -> Processes {
        Processes::Unknown
    }

    fn load(&mut self, weights: &Path, _needs: Needs) -> Result<(), EngineError> {
        self.loaded = None;
        let parameters = Gguf::open(weights)?
            .tensors()
            .values()
            .map(|info| info.shape.elem_count() as u64)
            .sum();
        let shortest = SelfTimed {
            prompt_tokens: 0,
            output_tokens: 1,
            depth_tokens: 0,
            repetitions: 1,
            deadline: Instant::now().checked_add(Duration::from_secs(LOAD_SECONDS)),
        };
        let (rows, binary_sha256) = self.rows(weights, parameters, &shortest)?;
        let said = output::one(&rows, 0, 1, 0).map_err(|what| self.misunderstood(what))?;
        self.loaded = Some(Loaded {
            weights: weights.to_owned(),
            parameters,
            said: said.clone(),
            binary_sha256,
        });
        Ok(())
    }

    fn unload(&mut self) {
        self.loaded = None;
    }

    fn fit_prompt(&mut self, _text: &str, _tokens: u32) -> Result<Prompt, EngineError> {
        Err(not_offered("a prompt"))
    }

    fn generate(
        &mut self,
        _request: &GenerateRequest,
        _on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError> {
        Err(not_offered("an answer"))
    }

    /// One run of the program with so many repetitions of each phase; the i-th prompt and the i-th output make the
    /// i-th repetition, though the program runs one phase after the other.
    fn time_itself(&mut self, asked: &SelfTimed) -> Result<Vec<SelfTiming>, EngineError> {
        let loaded = self.loaded.as_ref().ok_or(EngineError::NotLoaded)?;
        let (rows, _) = self.rows(&loaded.weights, loaded.parameters, asked)?;
        let samples = |prompt_tokens, output_tokens| {
            let row = output::one(&rows, prompt_tokens, output_tokens, asked.depth_tokens)?;
            row.samples(asked.repetitions)
        };
        let phases = samples(asked.prompt_tokens, 0)
            .and_then(|prefill| Ok((prefill, samples(0, asked.output_tokens)?)));
        let (prefill, decode) = phases.map_err(|what| self.misunderstood(what))?;
        let timings = prefill.iter().zip(decode);
        Ok(timings
            .map(|(&prefill_ns, &decode_ns)| SelfTiming {
                prefill_ns,
                decode_ns,
            })
            .collect())
    }
}

/// What kind of failure the last words of the program tell of.
fn from_words(reason: String, weights: &Path) -> EngineError {
    let words = reason.to_lowercase();
    if words.contains("out of memory") || words.contains("failed to allocate") {
        EngineError::DeviceOutOfMemory {
            what: "weights or cache",
            reason,
        }
    } else if words.contains("unknown model architecture") {
        EngineError::Unsupported {
            path: weights.to_owned(),
            what: reason,
        }
    } else {
        EngineError::Crashed { reason }
    }
}

fn not_offered(what: &str) -> EngineError {
    EngineError::NotOffered {
        what: what.to_owned(),
    }
}

/// Further arguments without what stays out of records: paths, and the one secret that the program takes.
fn recordable(args: &[String]) -> impl Iterator<Item = String> {
    let is_secret = |at: usize| {
        at.checked_sub(1)
            .is_some_and(|before| ["-hft", "--hf-token"].contains(&args[before].as_str()))
    };
    args.iter()
        .enumerate()
        .filter(move |&(at, word)| !word.contains('/') && !is_secret(at))
        .map(|(_, word)| word.clone())
}
