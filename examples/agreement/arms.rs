//! The engines that are compared, each measured one slot at a time.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use domain::ids::Sha256Digest;
use domain::matrix::{
    Declared, Endpoint, EngineKind, EngineSpec, LlamaBenchSpec, OpenAiSpec, RepetitionSettings,
    Server, WeightsForm, WorkloadSpec,
};
use domain::record::{EngineFacts, Repetition, Settings};
use domain::speeds;
use runner::clock::RealClock;
use runner::context::ContextReader;
use runner::engine::candle::CandleEngine;
use runner::engine::{Engine, EngineError, Needs, SelfTimed};
use runner::measure::{Bench, Covering, Samples, Stopped, Timing, time_workload};
use runner::meter::sampler::Sampler;

use crate::Arguments;

/// Which engine an arm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// llama-bench as people call it: output from an empty context.
    LlamaBench,
    /// llama-bench with the prompt's length as depth: output where a request's output is.
    LlamaBenchBehind,
    /// A llama.cpp server, over HTTP.
    Server,
    /// candle, in this process.
    Candle,
}

/// One figure of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    PrefillClient,
    PrefillEngine,
    DecodeClient,
    DecodeEngine,
}

/// Speeds of one slot in tokens per second; `None` where a view does not exist.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slot {
    prefill_client: Option<f64>,
    prefill_engine: Option<f64>,
    decode_client: Option<f64>,
    decode_engine: Option<f64>,
    /// What the client's time to first token has beyond the engine's own prompt time, per request.
    pub(crate) beyond_ms: Option<f64>,
}

impl Slot {
    pub(crate) fn figure(&self, figure: Figure) -> Option<f64> {
        match figure {
            Figure::PrefillClient => self.prefill_client,
            Figure::PrefillEngine => self.prefill_engine,
            Figure::DecodeClient => self.decode_client,
            Figure::DecodeEngine => self.decode_engine,
        }
    }
}

/// One engine with its weights.
pub(crate) struct Arm {
    pub(crate) who: Who,
    engine: Box<dyn Engine>,
    needs: Needs,
    /// Repetitions of one slot of an engine that times itself; found in its first slot.
    repetitions: Option<u32>,
}

/// Every engine that is there, and why the others are not.
pub(crate) fn all(
    arguments: &Arguments,
    workload: &WorkloadSpec,
    threads: u32,
) -> Result<(Vec<Arm>, Vec<String>)> {
    let needs = Needs {
        context_tokens: workload.context_tokens(),
        streams: 1,
    };
    let arm = |who, engine| Arm {
        who,
        engine,
        needs,
        repetitions: None,
    };
    let mut arms = vec![arm(Who::Candle, Box::new(CandleEngine::new()?))];
    let mut absent = Vec::new();
    for who in [Who::LlamaBench, Who::LlamaBenchBehind] {
        let spec = spec(
            "llama-bench",
            EngineKind::LlamaBench(LlamaBenchSpec {
                program: arguments.llama_bench.clone(),
                args: Vec::new(),
            }),
        );
        let mut engine = runner::engine::open(&spec, threads)?;
        match engine.load(&arguments.model, needs) {
            Err(error @ EngineError::NotStarted { .. }) => {
                absent.push(format!("failed to {error}"));
            }
            _ => arms.push(arm(who, engine)),
        }
    }
    absent.dedup();
    match server_command(arguments) {
        Ok(command) => {
            let declared = if arguments.server.is_some() {
                Declared::default()
            } else {
                declared(&command)
            };
            let spec = EngineSpec {
                declared,
                ..server(command)
            };
            arms.push(arm(Who::Server, runner::engine::open(&spec, threads)?));
        }
        Err(reason) => absent.push(reason),
    }
    Ok((arms, absent))
}

fn spec(name: &str, kind: EngineKind) -> EngineSpec {
    EngineSpec {
        name: name.to_owned(),
        kind,
        declared: Declared::default(),
        machines: None,
    }
}

fn server(command: Vec<String>) -> EngineSpec {
    let kind = OpenAiSpec {
        server: Server::Launched {
            command,
            ready_seconds: 300.0,
        },
        weights: WeightsForm::Gguf,
        endpoint: Endpoint::Completions,
        model: None,
        tokenizer: None,
        system_prompt: None,
        api_key_file: None,
        stall_seconds: 60.0,
    };
    spec("llama.cpp-server", EngineKind::OpenAi(kind))
}

/// What our own server does not say over HTTP: the wheel's version, and llama.cpp's defaults, which it leaves alone.
fn declared(command: &[String]) -> Declared {
    let version = Command::new(&command[0])
        .args([&command[1], "--version"])
        .output();
    let version = version.ok().filter(|output| output.status.success());
    Declared {
        version: version.map(|output| {
            format!(
                "xllamacpp {}",
                String::from_utf8_lossy(&output.stdout).trim()
            )
        }),
        backend: Some("cpu".to_owned()),
        kv_type_k: Some("f16".to_owned()),
        kv_type_v: Some("f16".to_owned()),
        ..Declared::default()
    }
}

/// The command that starts the server, or why there is none.
fn server_command(arguments: &Arguments) -> Result<Vec<String>, String> {
    if let Some(command) = &arguments.server {
        return Ok(command.split_whitespace().map(str::to_owned).collect());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/engines/bin/python");
    if !python.exists() {
        return Err("a llama.cpp server: run .ci/engines, or name one with --server".to_owned());
    }
    let paths = [python, root.join("runner/servers/llama_cpp.py")];
    let paths = paths.iter().map(|path| path.display().to_string());
    let words = "--model {weights} --port {port} --threads {threads} --streams {streams} --context {context}";
    Ok(paths.chain(words.split(' ').map(str::to_owned)).collect())
}

impl Arm {
    pub(crate) fn label(&self) -> &'static str {
        match self.who {
            Who::LlamaBench => "llama-bench",
            Who::LlamaBenchBehind => "llama-bench, tg behind the prompt",
            Who::Server => "llama.cpp server, over HTTP",
            Who::Candle => "candle, in process",
        }
    }

    pub(crate) fn facts(&self) -> (EngineFacts, Settings) {
        (self.engine.facts(), self.engine.settings())
    }

    pub(crate) fn load(&mut self, weights: &Path) -> Result<()> {
        self.engine
            .load(weights, self.needs)
            .map_err(|error| anyhow!("failed to {error}"))
    }

    pub(crate) fn unload(&mut self) {
        self.engine.unload();
    }

    /// Measures for about so many seconds; `None` where the repetition is void.
    pub(crate) fn slot(
        &mut self,
        workload: &WorkloadSpec,
        prompts: Sha256Digest,
        seconds: f64,
    ) -> Result<Option<Slot>> {
        if !self.engine.capabilities().client_view {
            return self.own_slot(workload, seconds).map(Some);
        }
        let settings = RepetitionSettings {
            min: 1,
            max: 1,
            warmup_max: 1,
            min_seconds: seconds,
            or_output_tokens: None,
            ..RepetitionSettings::default()
        };
        let repetitions = self.time(workload, &settings, prompts)?;
        let repetition = repetitions
            .iter()
            .find(|repetition| !repetition.warmup)
            .ok_or_else(|| anyhow!("{} made no repetition", self.label()))?;
        if let Some(reason) = &repetition.void {
            eprintln!("void: {}: {reason}", self.label());
            return Ok(None);
        }
        Ok(Some(Slot {
            prefill_client: speeds::prefill_tokens_per_second(repetition),
            prefill_engine: speeds::engine_prefill_tokens_per_second(repetition),
            decode_client: speeds::decode_tokens_per_second(repetition),
            decode_engine: speeds::engine_decode_tokens_per_second(repetition),
            beyond_ms: beyond_ms(repetition),
        }))
    }

    /// Warm-ups and repetitions as a sweep makes them.
    pub(crate) fn time(
        &mut self,
        workload: &WorkloadSpec,
        settings: &RepetitionSettings,
        prompts: Sha256Digest,
    ) -> Result<Vec<Repetition>> {
        let label = self.label();
        let clock = RealClock::default();
        let mut samples = Samples::begin(&clock);
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        let mut bench = Bench {
            engine: self.engine.as_mut(),
            sampler: &Sampler::spawn(Vec::new(), Arc::new(RealClock::default())),
            meters: Covering::default(),
            clock: &clock,
            context: &ContextReader::new(Path::new("/"), cores),
            stop: &AtomicBool::new(false),
            on_progress: &mut |_| (),
        };
        let timing = Timing {
            workload,
            settings,
            sweep: prompts,
        };
        match time_workload(&mut bench, timing, &mut samples) {
            Ok(()) => Ok(samples.repetitions),
            Err(Stopped::Failed { class, .. }) => {
                Err(anyhow!("failed to measure {label}: {class}"))
            }
            Err(Stopped::Interrupted) => Err(anyhow!("interrupted")),
        }
    }

    /// One run of an engine that times itself.
    pub(crate) fn own_times(
        &mut self,
        workload: &WorkloadSpec,
        repetitions: u32,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let behind = self.who == Who::LlamaBenchBehind;
        let asked = SelfTimed {
            prompt_tokens: workload.prompt_tokens,
            output_tokens: workload.output_tokens,
            depth_tokens: if behind { workload.prompt_tokens } else { 0 },
            repetitions,
            deadline: None,
        };
        let timings = self
            .engine
            .time_itself(&asked)
            .map_err(|error| anyhow!("failed to {error}"))?;
        let seconds = |ns: u64| ns as f64 / 1e9;
        Ok(timings
            .iter()
            .map(|timing| (seconds(timing.prefill_ns), seconds(timing.decode_ns)))
            .unzip())
    }

    fn own_slot(&mut self, workload: &WorkloadSpec, seconds: f64) -> Result<Slot> {
        let repetitions = if let Some(repetitions) = self.repetitions {
            repetitions
        } else {
            let began = Instant::now();
            self.own_times(workload, 20)?;
            let each = began.elapsed().as_secs_f64() / 20.0;
            ensure!(each > 0.0, "the clock stands still");
            *self
                .repetitions
                .insert((seconds / each).clamp(5.0, 5_000.0) as u32)
        };
        let (prefill, decode) = self.own_times(workload, repetitions)?;
        let speed = |tokens: u32, seconds: &[f64]| {
            f64::from(tokens) * seconds.len() as f64 / seconds.iter().sum::<f64>()
        };
        Ok(Slot {
            // Behind a context a prompt is another workload.
            prefill_engine: (self.who == Who::LlamaBench)
                .then(|| speed(workload.prompt_tokens, &prefill)),
            decode_engine: Some(speed(workload.output_tokens, &decode)),
            ..Slot::default()
        })
    }
}

/// Mean of TTFT minus the engine's own prompt time over a repetition's requests.
fn beyond_ms(repetition: &Repetition) -> Option<f64> {
    let beyond: Option<Vec<f64>> = repetition
        .requests
        .iter()
        .map(|request| {
            let ttft = speeds::ttft_seconds(request)?;
            Some((ttft - request.engine_prefill_ns? as f64 / 1e9) * 1e3)
        })
        .collect();
    let beyond = beyond.filter(|values| !values.is_empty())?;
    Some(beyond.iter().sum::<f64>() / beyond.len() as f64)
}
