//! What measuring costs: the runner's loop around an engine against the bare engine.
//!
//! `cargo bench -p runner --bench measuring_loop`. The smallest reference model on candle is the worst case: nothing
//! else that is measured makes tokens faster. Both arms answer the same prompts, in one process. The measured arm is
//! one repetition as a sweep makes it, with the making of its prompts, the stamp of every token, the state of the
//! machine before and after, and the size of its record; the bare arm is `Engine::generate` with a callback that does
//! nothing.
//!
//! Criterion shows each arm for itself, one after the other, and so with whatever the machine did meanwhile. The
//! report at the end interleaves the arms (bare, measured, measured, bare) and compares within each block. Its last
//! line takes an engine that computes nothing: what is left is the loop's own cost, which a busy machine hides least.

use std::error::Error;
use std::io::{Write as _, stdout};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use domain::byte_tokenizer::ByteTokenizer;
use domain::ids::Sha256Digest;
use domain::matrix::{RepetitionSettings, WorkloadSpec};
use domain::record::{EngineFacts, Finish, PhaseKind, Settings, TokenSource};
use domain::statistics::interval::{MedianInterval, median_interval};
use domain::statistics::median;
use runner::clock::RealClock;
use runner::context::ContextReader;
use runner::engine::candle::{CandleEngine, THREADS_VARIABLES, threads};
use runner::engine::{
    Capabilities, Engine, EngineError, GenerateRequest, Generated, Needs, Prompt, Sampling,
    TokenEvent,
};
use runner::measure::{Bench, Covering, Samples, Timing, time_workload};
use runner::meter::sampler::Sampler;
use runner::prompt::{Prompts, fit_bytes};

const WEIGHTS: &str = "../reference-models/joulemark-reference-0.9m-f16.gguf";
const PROMPT_TOKENS: u32 = 128;
const OUTPUT_TOKENS: u32 = 64;
/// Requests of one repetition: few, so that what is done once per repetition weighs more than in a sweep.
const REQUESTS: u32 = 4;
/// Interleaved blocks of the report.
const BLOCKS: usize = 150;

/// Nanoseconds of one repetition.
#[derive(Clone, Copy)]
struct Spent {
    /// All of it.
    wall: f64,
    /// Its decoding, by the engine's own clock.
    decode: f64,
}

/// One repetition of one arm.
type Arm<'a> = fn(&mut Arms<'a>) -> Spent;

/// One engine with what both arms need.
struct Arms<'a> {
    engine: &'a mut dyn Engine,
    sampler: Sampler,
    context: ContextReader,
}

impl<'a> Arms<'a> {
    fn new(engine: &'a mut dyn Engine) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
        Self {
            engine,
            sampler: Sampler::spawn(Vec::new(), Arc::new(RealClock::default())),
            context: ContextReader::new(Path::new("/"), cores),
        }
    }

    fn bare(&mut self) -> Spent {
        let mut prompts = Prompts::new(Sha256Digest([1; 32]), 0);
        let requests: Vec<_> = (0..REQUESTS)
            .map(|_| GenerateRequest {
                prompt: self
                    .engine
                    .fit_prompt(&prompts.next(PROMPT_TOKENS), PROMPT_TOKENS)
                    .expect("the text is longer"),
                max_output_tokens: OUTPUT_TOKENS,
                ban_eos: true,
                deadline: Instant::now().checked_add(Duration::from_mins(10)),
                sampling: Sampling::Greedy,
                reuse_cache: false,
            })
            .collect();
        let began = Instant::now();
        let mut decode = 0;
        for request in &requests {
            let answer = self
                .engine
                .generate(request, &mut |_| ())
                .expect("the model answers");
            decode += answer.engine_decode_ns.unwrap_or(0);
        }
        Spent {
            wall: began.elapsed().as_nanos() as f64,
            decode: decode as f64,
        }
    }

    fn measured(&mut self) -> Spent {
        let workload = WorkloadSpec::simple(
            "pp128-tg64".parse().expect("a slug"),
            PROMPT_TOKENS,
            OUTPUT_TOKENS,
        );
        let settings = RepetitionSettings {
            min: 1,
            max: 1,
            warmup_max: 0,
            min_seconds: 600.0,
            or_output_tokens: Some(REQUESTS * OUTPUT_TOKENS),
            ..RepetitionSettings::default()
        };
        let clock = RealClock::default();
        let mut samples = Samples::begin(&clock);
        let mut bench = Bench {
            engine: self.engine,
            sampler: &self.sampler,
            meters: Covering::default(),
            clock: &clock,
            context: &self.context,
            stop: &AtomicBool::new(false),
            on_progress: &mut |_| (),
        };
        let timing = Timing {
            workload: &workload,
            settings: &settings,
            sweep: Sha256Digest([1; 32]),
        };
        time_workload(&mut bench, timing, &mut samples).expect("the model is measured");
        let mut loops = samples
            .phases
            .iter()
            .filter(|phase| phase.phase == PhaseKind::MixedLoop);
        let span = loops.next().expect("one repetition was asked for");
        assert_eq!(span.requests, REQUESTS, "both arms do the same work");
        let requests = samples.repetitions.iter().flat_map(|rep| &rep.requests);
        Spent {
            wall: (span.end_ns - span.start_ns) as f64,
            decode: requests
                .filter_map(|request| request.engine_decode_ns)
                .sum::<u64>() as f64,
        }
    }

    /// Both arms, as often as there are blocks, each bare, measured, measured, bare.
    fn blocks(&mut self) -> Vec<(Spent, Spent)> {
        let both = |a: Spent, b: Spent| Spent {
            wall: a.wall + b.wall,
            decode: a.decode + b.decode,
        };
        (0..BLOCKS)
            .map(|_| {
                let (first, second, third, fourth) =
                    (self.bare(), self.measured(), self.measured(), self.bare());
                (both(first, fourth), both(second, third))
            })
            .collect()
    }
}

/// Makes its tokens in no time.
struct Nothing(ByteTokenizer);

impl Engine for Nothing {
    fn facts(&self) -> EngineFacts {
        unreachable!("no record is written")
    }

    fn settings(&self) -> Settings {
        unreachable!("no record is written")
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
            chat: false,
            max_streams: 1,
        }
    }

    fn load(&mut self, _weights: &Path, _needs: Needs) -> Result<(), EngineError> {
        Ok(())
    }

    fn unload(&mut self) {}

    fn fit_prompt(&mut self, text: &str, tokens: u32) -> Result<Prompt, EngineError> {
        fit_bytes(&self.0, true, text, tokens)
    }

    fn generate(
        &mut self,
        request: &GenerateRequest,
        on_event: &mut dyn FnMut(TokenEvent),
    ) -> Result<Generated, EngineError> {
        for _ in 0..request.max_output_tokens {
            on_event(TokenEvent { visible: true });
        }
        Ok(Generated {
            prompt_tokens: PROMPT_TOKENS,
            cached_tokens: Some(0),
            output_tokens: request.max_output_tokens,
            reasoning_tokens: 0,
            output: vec![65; request.max_output_tokens as usize],
            event_tokens: None,
            token_source: TokenSource::Ids,
            text: String::new(),
            finish: Finish::Length,
            engine_prefill_ns: None,
            engine_decode_ns: None,
            passes: None,
            accepted_tokens: None,
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    settle();
    let mut engine = CandleEngine::new()?;
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join(WEIGHTS);
    let needs = Needs {
        context_tokens: PROMPT_TOKENS + OUTPUT_TOKENS,
        streams: 1,
    };
    engine.load(&weights, needs)?;
    let mut candle = Arms::new(&mut engine);
    let mut nothing = Nothing(ByteTokenizer::reference());
    let mut nothing = Arms::new(&mut nothing);

    let mut criterion = Criterion::default().configure_from_args();
    each_for_itself(&mut criterion, "candle", &mut candle);
    each_for_itself(&mut criterion, "nothing", &mut nothing);
    report(&candle.blocks(), &nothing.blocks())?;
    criterion.final_summary();
    Ok(())
}

/// Criterion's view of both arms: seconds per repetition.
fn each_for_itself<'a>(criterion: &mut Criterion, engine: &str, arms: &mut Arms<'a>) {
    let mut group = criterion.benchmark_group("repetition");
    group.throughput(Throughput::Elements(u64::from(REQUESTS * OUTPUT_TOKENS)));
    let both: [(&str, Arm<'a>); 2] = [("bare", Arms::bare), ("measured", Arms::measured)];
    for (name, arm) in both {
        group.bench_function(BenchmarkId::new(name, engine), |bencher| {
            bencher.iter_custom(|times| {
                let wall: f64 = (0..times).map(|_| arm(arms).wall).sum();
                Duration::from_nanos(wall as u64)
            });
        });
    }
    group.finish();
}

/// The interleaved comparison.
fn report(candle: &[(Spent, Spent)], nothing: &[(Spent, Spent)]) -> Result<(), Box<dyn Error>> {
    let over = |blocks: &[(Spent, Spent)], value: fn(&(Spent, Spent)) -> f64| {
        median_interval(&blocks.iter().map(value).collect::<Vec<_>>()).ok_or("too few blocks")
    };
    let decoding = over(candle, |(bare, measured)| measured.decode / bare.decode)?;
    let share = over(candle, |(bare, measured)| {
        (measured.wall - bare.wall) / bare.decode
    })?;
    let alone = over(nothing, |(bare, measured)| measured.wall - bare.wall)?;
    let decode = candle.iter().map(|(bare, _)| bare.decode);
    let decode = median(&decode.collect::<Vec<_>>()).ok_or("too few blocks")?;
    // Two repetitions of each arm make a block; a request's first token is outside of decoding.
    let tokens = f64::from(2 * REQUESTS * (OUTPUT_TOKENS - 1));

    let mut out = stdout().lock();
    writeln!(
        out,
        "\n{BLOCKS} blocks of bare, measured, measured, bare; {REQUESTS} requests of {PROMPT_TOKENS} + {OUTPUT_TOKENS} \
         tokens each; candle, {} thread(s), {:.0} tok/s in decoding; medians with their 95 % intervals:",
        threads(),
        tokens / (decode / 1e9)
    )?;
    writeln!(
        out,
        "decode time by the engine's clock, measured / bare: {}",
        shown(decoding, 1.0, 4)
    )?;
    writeln!(
        out,
        "the whole loop's cost in % of decode time: {}",
        shown(share, 100.0, 2)
    )?;
    writeln!(
        out,
        "the same cost taken with an engine that does nothing, in % of that decode time: {} ({:.2} us a token)",
        shown(alone, 100.0 / decode, 2),
        alone.median / tokens / 1e3
    )?;
    Ok(())
}

fn shown(interval: MedianInterval, scale: f64, digits: usize) -> String {
    let [median, low, high] =
        [interval.median, interval.low, interval.high].map(|value| value * scale);
    format!("{median:.digits$} [{low:.digits$}, {high:.digits$}]")
}

/// As the program does: one core stays free, since threads that wait by spinning stall when one of them loses its
/// core. candle reads the number from the environment, so the benchmark starts itself anew.
fn settle() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = cores.saturating_sub(1).max(1);
    if threads() == wanted {
        return;
    }
    let program = std::env::current_exe().expect("this program has a file");
    let mut anew = Command::new(program);
    anew.args(std::env::args_os().skip(1));
    for variable in THREADS_VARIABLES {
        anew.env(variable, wanted.to_string());
    }
    panic!("failed to start anew: {}", anew.exec());
}
