//! What was typed after `gate`, `compare` and `aa`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Progress;

/// `joulemark gate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    joulemark gate                                         the working tree against the merge base, by .joulemark/gate.toml\n  \
    joulemark gate --dry-run                               cells, blocks, minutes, and what could be detected\n  \
    joulemark gate --base 'python3 old.py' --candidate 'python3 new.py'\n  \
    joulemark gate --base candle:old/joulemark --candidate candle: --model 'joulemark-reference-*.gguf' --workload 64/64\n  \
    joulemark gate --continue result.json --out result.json    go on where the budget ended\n  \
    joulemark gate --continue DATA/gates/FOLDER            go on where a crash ended it\n  \
    joulemark gate --judge result.json --format md         decide a sealed result again; measures nothing\n\n\
    An arm is `candle:PROGRAM` (a build of joulemark; `candle:` alone is this one), `server:COMMAND LINE`\n\
    (an OpenAI-compatible server with {weights} and {port} filled in), or a command that prints one line of\n\
    JSON for each repetition. What a policy says, how a verdict falls and what it means: docs/gate.md.\n\n\
    Exit codes: 0 pass or improved, 1 regressed, 2 usage or a policy that could never decide,\n\
    3 inconclusive, 4 invalid measurement, 5 infrastructure (build, crash of an arm, network),\n\
    130 interrupted (what was finished is kept). No flag changes an exit code.")]
pub(crate) struct Gate {
    #[command(flatten)]
    pub(crate) pair: Pair,
    #[command(flatten)]
    pub(crate) asked: Asked,
    #[command(flatten)]
    pub(crate) policy: PolicyFile,
    /// Print the plan and what it could detect; tries one slot of each arm and measures nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on from a sealed result of this machine: same seed and arms, the next planned looks; or from
    /// the folder below the data folder's gates/ that a gate left behind when it crashed, which is sealed
    /// first.
    #[arg(long = "continue", value_name = "RESULT|FOLDER", conflicts_with_all = ["dry_run", "seed"])]
    pub(crate) continues: Option<PathBuf>,
    /// Decide a sealed result again from its raw samples, and measure nothing.
    #[arg(long, value_name = "RESULT", conflicts_with_all = [
        "base", "candidate", "policy", "model", "base_model", "candidate_model", "workload", "budget",
        "dry_run", "continues", "seed", "setup", "out",
    ])]
    pub(crate) judge: Option<PathBuf>,
    /// With --judge: the public key that must have sealed it, 64 hexadecimal digits
    /// [default: this machine's].
    #[arg(long, value_name = "HEX", requires = "judge")]
    pub(crate) key: Option<String>,
    /// `required` reads the policy from the base ref alone and refuses --seed, --policy, --workload and
    /// what names models; `advisory` changes titles, never the exit code.
    #[arg(long, value_enum, default_value_t = Mode::Advisory)]
    pub(crate) mode: Mode,
    /// Write the verdict as `JUnit` too: failure is REGRESSED, skipped INCONCLUSIVE, error INVALID.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) shown: Shown,
    #[command(flatten)]
    pub(crate) github: Github,
}

/// `joulemark compare`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    joulemark compare --base 'python3 old.py' --candidate 'python3 new.py' --budget 3m\n  \
    joulemark compare --base candle: --candidate candle: --base-model q8.gguf --candidate-model q4.gguf --workload 64/64\n\n\
    The gate's measurement without policy or verdict.\n\n\
    Exit codes: 0 it was measured, 2 usage, 4 invalid measurement, 5 infrastructure, 130 interrupted.")]
pub(crate) struct Compare {
    #[command(flatten)]
    pub(crate) pair: Pair,
    #[command(flatten)]
    pub(crate) asked: Asked,
    /// Print the plan and measure nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

/// `joulemark aa`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    joulemark aa --arm 'python3 bench.py' --gates 10\n  \
    joulemark aa                              the base of .joulemark/gate.toml against itself\n\n\
    Prints how often the gate would say REGRESSED although nothing changed: live, over whole gates, and\n\
    over re-randomised replays of the recorded blocks. Each with its own interval; they are never merged.\n\
    The spread of the blocks is kept, and later gates on this machine are planned with it.\n\n\
    Exit codes: 0 it was measured, 2 usage, 4 invalid measurement, 5 infrastructure, 130 interrupted.")]
pub(crate) struct Aa {
    /// What is gated against itself [default: the base that the policy's `[arms]` build].
    #[arg(long, value_name = "SPEC")]
    pub(crate) arm: Option<String>,
    /// Where the base is taken from, without --arm [default: origin/HEAD, else main].
    #[arg(long, value_name = "REF", conflicts_with = "arm")]
    pub(crate) base_ref: Option<String>,
    /// Live gates.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) gates: u32,
    /// Replays of the recorded blocks with other coins.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) replays: u32,
    #[command(flatten)]
    pub(crate) asked: Asked,
    #[command(flatten)]
    pub(crate) policy: PolicyFile,
    #[command(flatten)]
    pub(crate) shown: Shown,
}

/// The two that are compared.
#[derive(Debug, Args)]
pub(crate) struct Pair {
    /// What stood before [default: the merge base of HEAD and --base-ref, built by the policy's `[arms]`].
    #[arg(long, value_name = "SPEC")]
    pub(crate) base: Option<String>,
    /// What changed [default: the working tree, built by the policy's `[arms]`].
    #[arg(long, value_name = "SPEC")]
    pub(crate) candidate: Option<String>,
    /// The branch that the change is compared with, and that the policy is read from
    /// [default: origin/HEAD, else origin/main or main].
    #[arg(long, value_name = "REF", env = "JOULEMARK_BASE_REF")]
    pub(crate) base_ref: Option<String>,
    /// The base's weights, where weights are what changed.
    #[arg(
        long,
        value_name = "FILE",
        requires = "candidate_model",
        conflicts_with = "model"
    )]
    pub(crate) base_model: Option<PathBuf>,
    /// The candidate's weights, where weights are what changed.
    #[arg(long, value_name = "FILE", requires = "base_model")]
    pub(crate) candidate_model: Option<PathBuf>,
    /// Seed of the coins, 64 hexadecimal digits: for replays only.
    #[arg(long, value_name = "HEX")]
    pub(crate) seed: Option<String>,
}

/// What both arms are asked, and where.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    /// Weights: a file, or a pattern in the models folder; repeatable [default: the policy's].
    #[arg(long, value_name = "FILE|PATTERN")]
    pub(crate) model: Vec<String>,
    /// Tokens of prompt and output, such as 64/64; repeatable [default: the policy's].
    #[arg(long, value_name = "P/G", value_parser = shape)]
    pub(crate) workload: Vec<Shape>,
    /// Most time for the measuring blocks, such as 12m or 90s; confirming comes on top
    /// [default: the policy's].
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) budget: Option<Duration>,
    /// The setup that this machine is, as in hardware-profiles/ [default: as recognised].
    #[arg(long, value_name = "SLUG")]
    pub(crate) setup: Option<String>,
    /// Threads that engines compute with [default: one fewer than the cores].
    #[arg(long, value_name = "N", env = "JOULEMARK_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

/// The policy, where it is not the base ref's.
#[derive(Debug, Args)]
pub(crate) struct PolicyFile {
    /// A policy to go by instead of the base ref's .joulemark/gate.toml.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
}

/// Where results go.
#[derive(Debug, Args)]
pub(crate) struct Shown {
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = GateFormat::Human)]
    pub(crate) format: GateFormat,
    /// Write the sealed result into this file, which --continue, --judge and `submit` read.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Submit the result at once; without it `joulemark submit` does.
    #[arg(long, env = "JOULEMARK_COLLECTOR", value_name = "URL")]
    pub(crate) collector: Option<String>,
    /// Progress on standard error.
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    pub(crate) progress: Progress,
    /// No colour; without it, colour goes to terminals only.
    #[arg(long, env = "NO_COLOR", value_name = "ANY", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    pub(crate) no_color: Option<OsString>,
}

/// What a job of GitHub Actions says of itself.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Github {
    /// Whether this is one.
    #[arg(
        long = "github-actions",
        hide = true,
        env = "GITHUB_ACTIONS",
        value_name = "true"
    )]
    pub(crate) job: Option<String>,
    /// Where its summary is appended.
    #[arg(
        long = "github-step-summary",
        hide = true,
        env = "GITHUB_STEP_SUMMARY",
        value_name = "FILE"
    )]
    pub(crate) summary: Option<PathBuf>,
    /// Where its outputs are appended.
    #[arg(
        long = "github-output",
        hide = true,
        env = "GITHUB_OUTPUT",
        value_name = "FILE"
    )]
    pub(crate) outputs: Option<PathBuf>,
}

/// How to print a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GateFormat {
    /// One line per cell and metric, worst first.
    Human,
    /// Judgement, raw record and envelope in one document.
    Json,
    /// A comment for a pull request.
    Md,
}

/// What a verdict is to the pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// It must pass.
    Required,
    /// It is told.
    Advisory,
}

/// Tokens of prompt and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) prompt_tokens: u32,
    pub(crate) output_tokens: u32,
}

fn shape(text: &str) -> Result<Shape, String> {
    let number = |text: &str| text.parse().ok().filter(|n| (1..=1_000_000).contains(n));
    text.split_once('/')
        .and_then(|(prompt, output)| {
            Some(Shape {
                prompt_tokens: number(prompt)?,
                output_tokens: number(output)?,
            })
        })
        .ok_or_else(|| "tokens of prompt and output are needed, such as 64/64".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| (1..=86_400).contains(&duration.as_secs()))
        .ok_or_else(|| "a time from 1s to 24h is needed, such as 12m or 90s".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn budgets_and_shapes_are_read_as_people_write_them() {
        assert_eq!(duration("12m"), Ok(Duration::from_mins(12)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_mins(90)));
        for bad in ["12", "-3m", "0s", "2 days", "soon"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        let wanted = Shape {
            prompt_tokens: 64,
            output_tokens: 16,
        };
        assert_eq!(shape("64/16"), Ok(wanted));
        for bad in ["64", "64/0", "64/x", "/"] {
            assert!(shape(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_result_that_is_judged_again_is_not_measured() {
        let both = ["joulemark", "gate", "--judge", "r.json", "--base", "x"];
        assert!(Cli::try_parse_from(both).is_err());
        assert!(Cli::try_parse_from(["joulemark", "gate", "--key", "00"]).is_err());
    }
}
