//! Engines of a matrix: which programs answer, how they are started or reached, and what the
//! user declares of them because no server says it.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::MatrixError;
use super::source::Source;
use crate::ids::Slug;
use crate::record::{SpeculationMethod, Split};

/// Most engines of one matrix.
pub const MAX_ENGINES: usize = 32;

/// The engine of a matrix that names none: candle, in this process.
pub const CANDLE: &str = "candle";

/// One engine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EngineSpec {
    /// What the matrix calls it; the record's engine name.
    pub name: String,
    /// What it is and how it is driven.
    pub kind: EngineKind,
    /// What the user says of it; a server's own word goes before it.
    pub declared: Declared,
    /// The machines it runs on, where that is not this one alone.
    pub machines: Option<Machines>,
}

/// What an engine is and how it is driven.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum EngineKind {
    /// candle, in this process.
    Candle,
    /// A server that speaks `OpenAI`'s completions over HTTP.
    OpenAi(OpenAiSpec),
    /// llama.cpp's `llama-bench`, a program that times itself.
    LlamaBench(LlamaBenchSpec),
}

/// A server that speaks `OpenAI`'s completions over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpenAiSpec {
    /// Started here for each weights file, or running already.
    pub server: Server,
    /// Which form of the weights it loads.
    pub weights: WeightsForm,
    /// Which endpoint is asked.
    pub endpoint: Endpoint,
    /// What the server calls the model; asked of the server where absent.
    pub model: Option<String>,
    /// A `tokenizer.json` beside which prompts are cut; absent: the weights' own, or the
    /// server's.
    pub tokenizer: Option<String>,
    /// Put before every chat; only its digest is recorded.
    pub system_prompt: Option<String>,
    /// File that holds the key which the server asks for; never recorded.
    pub api_key_file: Option<String>,
    /// Silence of the server after which a request has failed.
    pub stall_seconds: f64,
}

/// Where a server comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Server {
    /// Started for each weights file, stopped after it. In its words, `{weights}`, `{port}`,
    /// `{threads}`, `{streams}` and `{context}` (tokens of one stream) are filled in.
    Launched {
        /// Program and arguments.
        command: Vec<String>,
        /// How long it may take until it answers.
        ready_seconds: f64,
    },
    /// Running at this address, with one model that the matrix names.
    Running {
        /// Such as `http://127.0.0.1:8000`.
        url: String,
    },
}

/// Form of the weights that a server loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightsForm {
    /// One GGUF file.
    Gguf,
    /// A folder with `config.json`, `tokenizer.json` and safetensors.
    HuggingFace,
}

/// Endpoint of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// `/v1/completions`: the prompt as it is.
    Completions,
    /// `/v1/chat/completions`: inside the model's chat template.
    Chat,
}

/// llama.cpp's `llama-bench`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LlamaBenchSpec {
    /// The program; found on PATH when it is a bare name.
    pub program: String,
    /// Further arguments.
    pub args: Vec<String>,
}

/// What the user says of an engine. Nothing is assumed where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Declared {
    /// Version.
    pub version: Option<String>,
    /// Source commit.
    pub commit: Option<String>,
    /// Flags of the build.
    pub build_flags: Vec<String>,
    /// Such as `cpu`, `cuda`, `metal`.
    pub backend: Option<String>,
    /// Type of cached keys.
    pub kv_type_k: Option<String>,
    /// Type of cached values.
    pub kv_type_v: Option<String>,
    /// Layers on the GPU.
    pub gpu_layers: Option<u32>,
    /// Flash attention.
    pub flash_attention: Option<bool>,
    /// How tokens are guessed ahead; absent: not at all.
    pub speculation: Option<SpeculationMethod>,
}

/// The machines an engine runs on, where that is not this one alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machines {
    /// The setup's profile, if there is one.
    pub setup: Option<Slug>,
    /// How several are connected.
    pub interconnect: Option<String>,
    /// How several share the work.
    pub split: Option<Split>,
    /// Each of them.
    pub hosts: Vec<MachineHost>,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineHost {
    /// Its hardware profile, where the survey does not tell.
    pub profile: Option<Slug>,
    /// What `joulemark doctor --json` printed on it: a file, relative to the current folder; or
    /// [`HERE`].
    pub survey: String,
    /// Address of `joulemark meter serve` on it, such as `http://10.0.0.7:8461`; absent: its joules
    /// are not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<String>,
    /// File of the token that this server asks for, relative to the current folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter_token_file: Option<String>,
}

/// The survey of the machine that measures, which need not be written to a file.
pub const HERE: &str = "here";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEngine {
    name: Spanned<String>,
    kind: Spanned<RawKind>,
    command: Option<Spanned<Vec<String>>>,
    ready_seconds: Option<Spanned<f64>>,
    url: Option<Spanned<String>>,
    weights: Option<WeightsForm>,
    endpoint: Option<Endpoint>,
    model: Option<String>,
    tokenizer: Option<String>,
    system_prompt: Option<String>,
    api_key_file: Option<String>,
    stall_seconds: Option<Spanned<f64>>,
    program: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    version: Option<String>,
    commit: Option<String>,
    #[serde(default)]
    build_flags: Vec<String>,
    backend: Option<String>,
    kv_type_k: Option<String>,
    kv_type_v: Option<String>,
    gpu_layers: Option<u32>,
    flash_attention: Option<bool>,
    speculation: Option<SpeculationMethod>,
    machines: Option<Spanned<Machines>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum RawKind {
    Candle,
    #[serde(rename = "openai")]
    OpenAi,
    LlamaBench,
}

impl EngineSpec {
    /// candle, in this process.
    pub fn candle() -> Self {
        Self {
            name: CANDLE.to_owned(),
            kind: EngineKind::Candle,
            declared: Declared::default(),
            machines: None,
        }
    }

    /// Form of the weights that it loads.
    pub fn weights(&self) -> WeightsForm {
        match &self.kind {
            EngineKind::OpenAi(spec) => spec.weights,
            EngineKind::Candle | EngineKind::LlamaBench(_) => WeightsForm::Gguf,
        }
    }

    /// It is running already, with weights that were chosen when it was started.
    pub fn is_running(&self) -> bool {
        matches!(&self.kind, EngineKind::OpenAi(spec) if matches!(spec.server, Server::Running { .. }))
    }
}

impl RawEngine {
    /// Where it stands in the file.
    pub(super) fn at(&self) -> usize {
        self.name.span().start
    }

    pub(super) fn checked(self, source: &Source) -> Result<EngineSpec, MatrixError> {
        let at = self.name.span().start;
        let name = self.name.get_ref().clone();
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_+".contains(c);
        if name.is_empty() || name.len() > 40 || !name.chars().all(plain) {
            let what = format!("{name:?} is no name: 1 to 40 letters, digits and .-_+");
            return Err(source.error(at, what));
        }
        let kind = match *self.kind.get_ref() {
            RawKind::Candle => EngineKind::Candle,
            RawKind::OpenAi => EngineKind::OpenAi(self.open_ai(source)?),
            RawKind::LlamaBench => EngineKind::LlamaBench(LlamaBenchSpec {
                program: self
                    .program
                    .clone()
                    .unwrap_or_else(|| "llama-bench".to_owned()),
                args: self.args.clone(),
            }),
        };
        self.check_foreign_keys(source)?;
        self.check_machines(source)?;
        Ok(EngineSpec {
            name,
            kind,
            declared: Declared {
                version: self.version,
                commit: self.commit,
                build_flags: self.build_flags,
                backend: self.backend,
                kv_type_k: self.kv_type_k,
                kv_type_v: self.kv_type_v,
                gpu_layers: self.gpu_layers,
                flash_attention: self.flash_attention,
                speculation: self.speculation,
            },
            machines: self.machines.map(Spanned::into_inner),
        })
    }

    fn open_ai(&self, source: &Source) -> Result<OpenAiSpec, MatrixError> {
        let seconds = |value: &Option<Spanned<f64>>, absent: f64| match value {
            None => Ok(absent),
            Some(value) if (0.1..=3_600.0).contains(value.get_ref()) => Ok(*value.get_ref()),
            Some(value) => {
                let what = format!("{} is outside 0.1 to 3600", value.get_ref());
                Err(source.error(value.span().start, what))
            }
        };
        let server = match (&self.command, &self.url) {
            (Some(command), None) => {
                let words = command.get_ref();
                let uses = |hole: &str| words.iter().any(|word| word.contains(hole));
                if words.first().is_none_or(String::is_empty)
                    || !uses("{port}")
                    || !uses("{weights}")
                {
                    let what = "a command names the program first and uses {weights} and {port}";
                    return Err(source.error(command.span().start, what.to_owned()));
                }
                Server::Launched {
                    command: words.clone(),
                    ready_seconds: seconds(&self.ready_seconds, 120.0)?,
                }
            }
            (None, Some(url)) => {
                let text = url.get_ref().trim_end_matches('/');
                let rest = text
                    .strip_prefix("http://")
                    .or_else(|| text.strip_prefix("https://"));
                if rest.is_none_or(str::is_empty) || text.contains(['@', '?', '#', ' ']) {
                    let what = "write a url such as http://127.0.0.1:8000, without user or query";
                    return Err(source.error(url.span().start, what.to_owned()));
                }
                Server::Running {
                    url: text.strip_suffix("/v1").unwrap_or(text).to_owned(),
                }
            }
            _ => {
                let what = "an openai engine has either a command that starts it or a url";
                return Err(source.error(self.name.span().start, what.to_owned()));
            }
        };
        Ok(OpenAiSpec {
            server,
            weights: self.weights.unwrap_or(WeightsForm::Gguf),
            endpoint: self.endpoint.unwrap_or(Endpoint::Completions),
            model: self.model.clone(),
            tokenizer: self.tokenizer.clone(),
            system_prompt: self.system_prompt.clone(),
            api_key_file: self.api_key_file.clone(),
            stall_seconds: seconds(&self.stall_seconds, 30.0)?,
        })
    }

    /// Keys that the kind has no use for: a typing error had better not pass in silence.
    fn check_foreign_keys(&self, source: &Source) -> Result<(), MatrixError> {
        let http = [
            ("command", self.command.is_some()),
            ("ready_seconds", self.ready_seconds.is_some()),
            ("url", self.url.is_some()),
            ("weights", self.weights.is_some()),
            ("endpoint", self.endpoint.is_some()),
            ("model", self.model.is_some()),
            ("tokenizer", self.tokenizer.is_some()),
            ("system_prompt", self.system_prompt.is_some()),
            ("api_key_file", self.api_key_file.is_some()),
            ("stall_seconds", self.stall_seconds.is_some()),
        ];
        let bench = [
            ("program", self.program.is_some()),
            ("args", !self.args.is_empty()),
        ];
        let kind = *self.kind.get_ref();
        let foreign = http
            .iter()
            .filter(|_| kind != RawKind::OpenAi)
            .chain(bench.iter().filter(|_| kind != RawKind::LlamaBench))
            .find(|(_, given)| *given);
        match foreign {
            Some((key, _)) => {
                let what = format!("{key} means nothing to an engine of this kind: remove it");
                Err(source.error(self.kind.span().start, what))
            }
            None => Ok(()),
        }
    }

    fn check_machines(&self, source: &Source) -> Result<(), MatrixError> {
        let Some(machines) = &self.machines else {
            return match &self.url {
                Some(url) if !is_loopback(url.get_ref()) => {
                    let what = "the server is on another machine: say which in [engines.machines], \
                                or its speed would be published as this one's";
                    Err(source.error(url.span().start, what.to_owned()))
                }
                _ => Ok(()),
            };
        };
        let at = machines.span().start;
        let machines = machines.get_ref();
        let count = machines.hosts.len();
        if !(1..=64).contains(&count) {
            let what = format!("an engine runs on 1 to 64 machines, {count} are listed");
            return Err(source.error(at, what));
        }
        if count > 1 && (machines.interconnect.is_none() || machines.split.is_none()) {
            let what = "say how several machines are connected and share the work: interconnect \
                        and split = { method = \"tensor\", layout = \"...\" }";
            return Err(source.error(at, what.to_owned()));
        }
        Ok(())
    }
}

/// The address is of this machine.
fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.rsplit_once(':').map_or(host, |(host, _)| host),
    };
    host == "localhost"
        || host
            .parse::<core::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
