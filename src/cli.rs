//! What was typed. What it means stands in `config`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

pub(crate) mod gate;

/// Joulemark measures local AI: quality, speed, cost and joules, on real machines.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    max_term_width = 100,
    after_help = "Examples:\n  \
        joulemark quickstart                     measure the reference models here and open the frontier\n  \
        joulemark sweep --dry-run                what model-matrix.toml would measure, and for how long\n  \
        joulemark sweep --collector URL          measure it and submit each result\n  \
        joulemark gate                           did this change make it slower, hungrier or worse?\n  \
        joulemark doctor                         what this machine can measure, and what would spoil it\n  \
        joulemark serve                          collector and site on one port\n\n\
        Exit codes: 0 fine (a gate: pass or improved), 1 the answer is no (regressed), 2 usage or a bad\n\
        file, 3 inconclusive, 4 invalid measurement, 5 infrastructure, 130 interrupted (what was\n\
        finished is kept)."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
    /// Folders that several verbs share.
    #[command(flatten)]
    pub(crate) folders: Folders,
    /// More log lines on standard error; twice for all.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
}

/// Folders.
#[derive(Debug, Args)]
pub(crate) struct Folders {
    /// Where database, keys, spool and made variants are kept [default: ~/.local/share/joulemark,
    /// as root /var/lib/joulemark].
    #[arg(long, global = true, env = "JOULEMARK_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Folder of GGUF models [default: reference-models/ beside the workspace].
    #[arg(long, global = true, env = "JOULEMARK_MODELS", value_name = "DIR")]
    pub(crate) models: Option<PathBuf>,
    /// Folder of hardware profiles [default: hardware-profiles/ beside the workspace].
    #[arg(long, global = true, env = "JOULEMARK_PROFILES", value_name = "DIR")]
    pub(crate) profiles: Option<PathBuf>,
    /// Wall plugs and other meters that answer over the network [default: meters.toml in the data
    /// folder, if it is there].
    #[arg(long, global = true, env = "JOULEMARK_METERS", value_name = "FILE")]
    pub(crate) meters: Option<PathBuf>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Everything on this machine: database, collector and site, a short sweep of the reference
    /// models, the frontier.
    Quickstart(Quickstart),
    /// Run collector and site on one port.
    Serve(Serve),
    /// Measure model-matrix.toml on this machine.
    Sweep(Sweep),
    /// Whether a change made it slower, hungrier or worse: base against candidate, by a policy.
    Gate(Box<gate::Gate>),
    /// How two builds, settings or commands differ; no policy, no verdict.
    Compare(Box<gate::Compare>),
    /// How often the gate cries wolf here: one arm against itself.
    Aa(Box<gate::Aa>),
    /// Send what the spool still holds.
    Submit(Submit),
    /// Read result files of other tools, and submit them as imported.
    Import(Import),
    /// What this machine can measure, what would spoil it, and the fix. Changes nothing.
    Doctor(Doctor),
    /// What the power meters of this machine say: live, from a recording, or to a leading runner.
    #[command(subcommand)]
    Meter(Meter),
    /// Make and show the key that signs.
    #[command(subcommand)]
    Key(Key),
    /// Make and inspect weights files.
    #[command(subcommand)]
    Variant(Variant),
    /// Serve this build's engine to a gate, on standard input and output.
    #[command(hide = true)]
    Arm,
    /// Print a shell completion script.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Write man pages into a folder.
    Man {
        /// The folder.
        dir: PathBuf,
    },
}

/// `joulemark quickstart`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    joulemark quickstart\n  \
    joulemark quickstart --exit-when-done --format json > frontier.json\n\n\
    Run again, it adds to the same data; interrupted, it goes on where it stopped.")]
pub(crate) struct Quickstart {
    /// Stop after printing the frontier, instead of serving it until Ctrl-C.
    #[arg(long)]
    pub(crate) exit_when_done: bool,
    /// How to print the frontier.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Matrix to measure instead of the built-in one of twelve cells.
    #[arg(long, value_name = "FILE")]
    pub(crate) matrix: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
    #[command(flatten)]
    pub(crate) database: Database,
}

/// `joulemark serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address to listen on.
    #[arg(
        long,
        default_value = "127.0.0.1:8460",
        env = "JOULEMARK_LISTEN",
        value_name = "ADDR"
    )]
    pub(crate) listen: SocketAddr,
    /// Only the collector's API.
    #[arg(long, conflicts_with = "site_only")]
    pub(crate) api_only: bool,
    /// Only the site, reading another collector.
    #[arg(long, requires = "collector")]
    pub(crate) site_only: bool,
    /// The collector to read, with --site-only.
    #[arg(long, value_name = "URL", requires = "site_only")]
    pub(crate) collector: Option<String>,
    /// File of allowed public keys, one a line in hex, with an optional label
    /// [default: allowed-keys in the data folder].
    #[arg(long, value_name = "FILE")]
    pub(crate) allowed_keys: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) database: Database,
}

/// Where PostgreSQL is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Database {
    /// A PostgreSQL to use instead of the private one in the data folder.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: Option<String>,
}

/// `joulemark sweep`.
#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// What to measure.
    #[arg(long, default_value = "model-matrix.toml", value_name = "FILE")]
    pub(crate) matrix: PathBuf,
    /// Print the plan and measure nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Submit each result as it is measured.
    #[arg(long, env = "JOULEMARK_COLLECTOR", value_name = "URL")]
    pub(crate) collector: Option<String>,
    /// Forget an unfinished sweep of this matrix and start anew.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Only this model; repeatable.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Vec<String>,
    /// Only this quantisation; repeatable.
    #[arg(long, value_name = "TYPE")]
    pub(crate) quant: Vec<String>,
    /// Only this pruning recipe; repeatable.
    #[arg(long, value_name = "RECIPE")]
    pub(crate) prune: Vec<String>,
    /// Only this engine; repeatable.
    #[arg(long, value_name = "NAME")]
    pub(crate) engine: Vec<String>,
    /// Only this workload; repeatable.
    #[arg(long, value_name = "ID")]
    pub(crate) workload: Vec<String>,
    /// How to print plan and summary.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) measuring: Measuring,
}

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Measuring {
    /// Threads the engine computes with [default: one fewer than the cores].
    #[arg(long, value_name = "N", env = "JOULEMARK_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Where no power counter exists, state this mean power as an estimate. It is kept apart from
    /// measurements and enters no frontier.
    #[arg(long, value_name = "WATTS")]
    pub(crate) estimate_watts: Option<f64>,
    /// Progress on standard error.
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    pub(crate) progress: Progress,
}

/// `joulemark submit`.
#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// The collector.
    #[arg(
        long,
        env = "JOULEMARK_COLLECTOR",
        value_name = "URL",
        required_unless_present = "dry_run"
    )]
    pub(crate) collector: Option<String>,
    /// Print what would be sent and send nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `joulemark import`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    joulemark import llama-bench.json                 what it says, kept for `joulemark submit`\n  \
    joulemark import --dry-run --format json *.json   what they say, and nothing kept\n  \
    joulemark import --setup mac-mini-m4-16gb --source https://example.org/post results.jsonl\n\n\
    Read are files of llama-bench, llama-batched-bench, llama-benchy, exo bench and eval, lm-eval,\n\
    InferenceX, LocalScore, vllm bench serve, guidellm, genai-bench and aiperf. Command lines and\n\
    secrets are taken out before anything is kept. Imported results have a tier of their own.\n\n\
    Exit codes: 0 every file was read, 1 the collector refused one, 2 a file was not read (the\n\
    others are kept all the same), 5 the collector could not be reached (they are kept).")]
pub(crate) struct Import {
    /// The files; - reads standard input.
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Say what they hold and keep nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Submit them at once.
    #[arg(
        long,
        env = "JOULEMARK_COLLECTOR",
        value_name = "URL",
        conflicts_with = "dry_run"
    )]
    pub(crate) collector: Option<String>,
    /// Setup that they were measured on, as in hardware-profiles/.
    #[arg(long, value_name = "SLUG")]
    pub(crate) setup: Option<String>,
    /// SHA-256 of the weights that were measured.
    #[arg(long, value_name = "SHA256")]
    pub(crate) variant: Option<String>,
    /// Where they were published.
    #[arg(long, value_name = "URL")]
    pub(crate) source: Option<String>,
    /// Under which licence.
    #[arg(long, value_name = "TEXT")]
    pub(crate) licence: Option<String>,
    /// How to print what was read.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// `joulemark doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 fit (warnings allowed), 1 unfit, 5 a probe could not run.\n\n\
    Its JSON is what the matrix of another machine names as the survey of this one."
)]
pub(crate) struct Doctor {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Whose engines to look for [default: model-matrix.toml, if it is here].
    #[arg(long, value_name = "FILE")]
    pub(crate) matrix: Option<PathBuf>,
    /// Threads that an engine would get [default: one fewer than the cores].
    #[arg(long, value_name = "N", env = "JOULEMARK_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// No colour; without it, colour goes to terminals only.
    #[arg(long, env = "NO_COLOR", value_name = "ANY", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    pub(crate) no_color: Option<std::ffi::OsString>,
}

/// Where the value of each setting of `joulemark doctor` came from: its flag and the origin.
pub(crate) fn origins() -> Vec<(String, String)> {
    let mut command = Cli::command();
    command.build();
    // Parsed once already, so that this cannot fail; if it does, nothing is claimed.
    let Ok(matches) = command.clone().try_get_matches_from(std::env::args_os()) else {
        return Vec::new();
    };
    let Some((name, typed)) = matches.subcommand() else {
        return Vec::new();
    };
    let Some(verb) = command.find_subcommand(name) else {
        return Vec::new();
    };
    ["data", "models", "profiles", "meters", "matrix", "threads"]
        .into_iter()
        .filter_map(|id| {
            verb.get_arguments()
                .find(|argument| argument.get_id() == id)
        })
        .map(|argument| {
            let flag = format!("--{}", argument.get_id());
            let variable = argument.get_env().unwrap_or_default().to_string_lossy();
            let origin = match typed.value_source(argument.get_id().as_str()) {
                Some(ValueSource::CommandLine) => flag.clone(),
                Some(ValueSource::EnvVariable) => variable.into_owned(),
                _ => "default".to_owned(),
            };
            (flag, origin)
        })
        .collect()
}

/// `joulemark meter`.
#[derive(Debug, Subcommand)]
pub(crate) enum Meter {
    /// Show every meter that is found, live, until Ctrl-C.
    Watch(MeterWatch),
    /// Say what a recorded trace comes to.
    Replay(MeterReplay),
    /// Let a leading runner on another machine read the meters of this one.
    Serve(MeterServe),
}

/// `joulemark meter watch`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    joulemark meter watch\n  \
    joulemark meter watch --record trace.jsonl --seconds 60\n\n\
    A recording names this machine's parts, and nothing that names it or its user.")]
pub(crate) struct MeterWatch {
    /// Write every reading into this new file, which `joulemark meter replay` reads.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Stop after so many seconds.
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub(crate) seconds: Option<f64>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Lines::Human)]
    pub(crate) format: Lines,
}

/// How to print what goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lines {
    /// A table on a terminal, one plain line a second elsewhere.
    Human,
    /// One JSON object a second.
    Json,
}

/// `joulemark meter replay`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 some meter gave joules, 1 none did, 2 the file is no trace.")]
pub(crate) struct MeterReplay {
    /// What `joulemark meter watch --record` wrote.
    pub(crate) trace: PathBuf,
    /// From so many seconds of the trace.
    #[arg(long, value_name = "S")]
    pub(crate) from: Option<f64>,
    /// To so many seconds of the trace.
    #[arg(long, value_name = "S")]
    pub(crate) to: Option<f64>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// `joulemark meter serve`.
#[derive(Debug, Args)]
pub(crate) struct MeterServe {
    /// Address to listen on. Nothing is encrypted: for a trusted network only.
    #[arg(long, default_value = "127.0.0.1:8461", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// File of a token that the leader must send (its matrix names it as `meter_token_file`).
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=1e7).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("from 0.1 to 10000000 seconds".to_owned())
    }
}

/// `joulemark key`.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make the key, if there is none.
    New,
    /// Show key id, public key and file.
    Show,
}

/// `joulemark variant`.
#[derive(Debug, Subcommand)]
pub(crate) enum Variant {
    /// Quantise and prune a GGUF into the variant cache; prints the file or folder made.
    Make {
        /// Source GGUF.
        source: PathBuf,
        #[arg(
            long,
            default_value = "F16",
            help = "Quantisation: F16, BF16, Q8_0, Q6_K, Q5_1, Q5_K, Q5_0, Q4_1, Q4_K, Q4_0, Q3_K or Q2_K (all matrices in this type), or a mix of llama.cpp: Q5_K_M, Q5_K_S, Q4_K_M, Q4_K_S, Q3_K_L, Q3_K_M, Q3_K_S; or as-is"
        )]
        quant: String,
        /// Pruning: none; layers-1 (drop one from the middle), layers-at-1+2 (these, counted from 0) or
        /// layers-by-importance-1 (the one that does least, measured); heads-25%; magnitude-30% (zero the smallest);
        /// nm-2:4 (keep 2 of 4); experts-2 (drop 2 of every layer) or experts-used-1 (1 per token).
        #[arg(long, default_value = "none")]
        prune: String,
        /// What to write; only F16 and F32 have the Hugging Face form.
        #[arg(long, value_enum, default_value_t = Form::Gguf)]
        form: Form,
    },
    /// Say what weights are, read from the GGUF or Hugging Face folder itself.
    Inspect {
        /// The GGUF (of several files: the first), or a folder of config.json and safetensors.
        file: PathBuf,
        /// How to print it.
        #[arg(long, value_enum, default_value_t = Format::Human)]
        format: Format,
    },
}

/// Form of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// One GGUF file.
    Gguf,
    /// A folder that transformers, MLX and vLLM load.
    #[value(name = "huggingface")]
    HuggingFace,
}

/// How to print a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table.
    Human,
    /// JSON.
    Json,
    /// CSV.
    Csv,
    /// Markdown.
    Md,
}

/// How to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// A bar on a terminal, one plain line per phase elsewhere.
    Auto,
    /// Nothing.
    Never,
    /// One JSON object per event.
    Json,
}
