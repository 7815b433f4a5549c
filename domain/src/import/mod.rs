//! Results of other tools, read as they are: formats, their quirks, and what their numbers mean.
//!
//! [`read`] is pure and total: any bytes give rows or an error that says what was found and what
//! would be right. A file is recognised by what only its tool writes; one that merely looks like it
//! is refused, never misread. A failed run (all zeros, a header without rows, no tokens) is a row
//! with `failed`, never a speed. Nothing is computed that the file does not say or imply by its
//! tool's own definition, which each format's file states with its source; 0 written for "not
//! measured" becomes nothing. Command lines are left out of rows, and [`redact()`] takes them and
//! whatever looks like a secret out of the bytes before anything is stored.
//!
//! Imported figures never meet measured ones: they have their own type, tier and pages.

mod aiperf;
mod document;
mod exo;
mod figures;
mod genai_bench;
mod guidellm;
mod inferencex;
mod llama_batched_bench;
mod llama_bench;
mod llama_benchy;
mod lm_eval;
mod localscore;
mod lookalike;
mod names;
mod redact;
pub mod sealed;
mod tidy;
mod vllm;

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use document::Document;

pub use redact::redact;

/// A tool's output format.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// llama.cpp's `llama-bench`, JSON, JSONL, CSV, SQL-less; also inside a captured log.
    LlamaBench,
    /// llama.cpp's `llama-batched-bench`, JSONL or its table.
    LlamaBatchedBench,
    /// `llama-benchy`, JSON or its table.
    LlamaBenchy,
    /// exo's `bench/exo_bench.py`.
    ExoBench,
    /// exo's `bench/exo_eval.py`.
    ExoEval,
    /// `EleutherAI`'s lm-evaluation-harness, results files.
    LmEval,
    /// `InferenceX` (`InferenceMAX`) aggregates.
    InferenceX,
    /// `LocalScore` submissions.
    LocalScore,
    /// `vllm bench serve --save-result`.
    VllmBenchServe,
    /// guidellm reports, JSON or YAML.
    Guidellm,
    /// genai-bench runs.
    GenaiBench,
    /// NVIDIA `AIPerf` exports.
    Aiperf,
}

/// What a row is about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum RowKind {
    /// Prompt processing alone.
    Prefill,
    /// Token generation alone.
    Decode,
    /// Both in one figure: shown, never ranked.
    Mixed,
    /// Requests, each with prompt and output, and a figure for each part; mostly to a server.
    Serving,
    /// Answers scored by another tool.
    Quality,
}

/// One result of a file. What the file does not say is `None`; units as the last word of a name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Row {
    /// Which tool.
    pub format: Option<Format>,
    /// What it is about.
    pub kind: Option<RowKind>,
    /// The row's own name in the file, such as `pp512` or `gsm8k exact_match,strict-match`.
    pub test: String,
    /// Why it is no result: the run failed, or says nothing. All figures are then `None`.
    pub failed: Option<String>,
    /// Model as the file names it, without folders.
    pub model: Option<String>,
    /// Quantisation as the file names it.
    pub quant: Option<String>,
    /// Bytes of the weights.
    pub model_bytes: Option<u64>,
    /// Parameters.
    pub params_total: Option<u64>,
    /// Hardware as the file names it.
    pub hardware: Option<String>,
    /// Inference program.
    pub engine: Option<String>,
    /// Its version or build.
    pub engine_version: Option<String>,
    /// Such as `CUDA`.
    pub backend: Option<String>,
    /// Version of the measuring tool.
    pub tool_version: Option<String>,
    /// When it was measured, as the file says.
    pub measured_at: Option<String>,
    /// Prompt tokens of one request.
    pub prompt_tokens: Option<u64>,
    /// Output tokens of one request.
    pub output_tokens: Option<u64>,
    /// Context before the prompt.
    pub depth_tokens: Option<u64>,
    /// Requests at once.
    pub concurrency: Option<u32>,
    /// Repetitions or requests behind the figures.
    pub n: Option<u64>,
    /// Requests that failed.
    pub failed_requests: Option<u64>,
    /// Prompt tokens per second of one stream.
    pub prefill_tokens_per_second: Option<f64>,
    /// Its sample standard deviation.
    pub prefill_tokens_per_second_sd: Option<f64>,
    /// Output tokens per second of one stream.
    pub decode_tokens_per_second: Option<f64>,
    /// Its sample standard deviation.
    pub decode_tokens_per_second_sd: Option<f64>,
    /// Prompt and output tokens together per second, of a mixed row.
    pub mixed_tokens_per_second: Option<f64>,
    /// Output tokens per second of all streams together.
    pub aggregate_decode_tokens_per_second: Option<f64>,
    /// Prompt tokens per second of all streams together.
    pub aggregate_prefill_tokens_per_second: Option<f64>,
    /// Time to the first token, mean.
    pub ttft_ms: Option<f64>,
    /// Its median.
    pub ttft_ms_p50: Option<f64>,
    /// Its 99th percentile.
    pub ttft_ms_p99: Option<f64>,
    /// Time per output token after the first, mean.
    pub tpot_ms: Option<f64>,
    /// Its median.
    pub tpot_ms_p50: Option<f64>,
    /// Gap between token events, mean.
    pub itl_ms: Option<f64>,
    /// From request to last token, mean.
    pub request_ms: Option<f64>,
    /// Joules over the whole row, where the tool measured them.
    pub energy_joules: Option<f64>,
    /// Joules per output token, where the tool measured them.
    pub joules_per_output_token: Option<f64>,
    /// What the joules cover, in our words.
    pub energy_scope: Option<String>,
    /// Task or benchmark of a quality row.
    pub task: Option<String>,
    /// Metric, with its filter.
    pub metric: Option<String>,
    /// Its value as the file has it.
    pub score: Option<f64>,
    /// Its standard error.
    pub score_se: Option<f64>,
    /// Items scored.
    pub items: Option<u64>,
    /// Right ones.
    pub correct: Option<u64>,
    /// What to beware of, in words.
    pub notes: Vec<String>,
}

/// A file, read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Imported {
    /// Which tool wrote it.
    pub format: Format,
    /// Its results, failed ones among them, in the file's order.
    pub rows: Vec<Row>,
    /// What holds for the whole file, in words.
    pub notes: Vec<String>,
}

/// Why a file was not read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ImportError {
    /// No tool's file, or that of one that is not read.
    #[error(
        "recognise {file}: {found}; files of these tools are read: {}",
        Format::list()
    )]
    Unknown {
        /// The file as it was named.
        file: String,
        /// What it looks like.
        found: String,
    },
    /// A tool's file, damaged or contradicting itself.
    #[error("read {file} as {format}: {at}: {what}")]
    Damaged {
        /// The file as it was named.
        file: String,
        /// Which tool's.
        format: Format,
        /// Line, row or key.
        at: String,
        /// What is wrong there.
        what: String,
    },
    /// Too long.
    #[error("read {file}: it has {bytes} bytes, at most {MAX_FILE_BYTES} are read")]
    TooLong {
        /// The file as it was named.
        file: String,
        /// Its length.
        bytes: usize,
    },
}

/// The longest file read, in bytes.
pub const MAX_FILE_BYTES: usize = 8 << 20;

/// The most rows of one file.
pub const MAX_ROWS: usize = 2_000;

impl Format {
    /// Every format.
    pub const ALL: [Self; 12] = [
        Self::LlamaBench,
        Self::LlamaBatchedBench,
        Self::LlamaBenchy,
        Self::ExoBench,
        Self::ExoEval,
        Self::LmEval,
        Self::InferenceX,
        Self::LocalScore,
        Self::VllmBenchServe,
        Self::Guidellm,
        Self::GenaiBench,
        Self::Aiperf,
    ];

    /// Its name in records and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LlamaBench => "llama-bench",
            Self::LlamaBatchedBench => "llama-batched-bench",
            Self::LlamaBenchy => "llama-benchy",
            Self::ExoBench => "exo-bench",
            Self::ExoEval => "exo-eval",
            Self::LmEval => "lm-eval",
            Self::InferenceX => "inference-x",
            Self::LocalScore => "local-score",
            Self::VllmBenchServe => "vllm-bench-serve",
            Self::Guidellm => "guidellm",
            Self::GenaiBench => "genai-bench",
            Self::Aiperf => "aiperf",
        }
    }

    /// All names, for a sentence.
    fn list() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads a file of any known format; `file` is only named in errors.
pub fn read(file: &str, bytes: &[u8]) -> Result<Imported, ImportError> {
    let document = Document::read(file, bytes)?;
    let unknown = |found: String| ImportError::Unknown {
        file: file.to_owned(),
        found,
    };
    let claims = READERS.map(|reader| (reader, (reader.claims)(&document)));
    let claimed: Vec<Reader> = claims
        .iter()
        .filter(|(_, claim)| *claim == Claim::Yes)
        .map(|(reader, _)| *reader)
        .collect();
    let reader = match claimed.as_slice() {
        [reader] => *reader,
        [] => return Err(unknown(lookalike::found(&document, &claims.map(|it| it.1)))),
        several => {
            let names: Vec<&str> = several.iter().map(|it| it.format.name()).collect();
            return Err(unknown(format!(
                "results of several tools ({}); give each its own file",
                names.join(", ")
            )));
        }
    };
    let format = reader.format;
    let damaged = |at: String, what: String| ImportError::Damaged {
        file: file.to_owned(),
        format,
        at,
        what,
    };
    let (mut rows, mut notes) =
        (reader.rows)(&document).map_err(|fault| damaged(fault.at, fault.what))?;
    if rows.is_empty() {
        return Err(match document.cut {
            Some(line) => damaged(
                format!("line {line}"),
                "the value that begins here is cut off; give the whole file".to_owned(),
            ),
            None => damaged("the file".to_owned(), "it holds no results".to_owned()),
        });
    }
    if let Some(line) = document.cut {
        notes.push(format!(
            "the value that begins in line {line} is cut off; only what is whole was read"
        ));
    }
    if rows.len() > MAX_ROWS {
        notes.push(format!("only the first {MAX_ROWS} rows are kept"));
        rows.truncate(MAX_ROWS);
    }
    for row in &mut rows {
        row.format = Some(format);
        tidy::row(row);
    }
    notes.extend(document.notes);
    tidy::notes(&mut notes);
    Ok(Imported {
        format,
        rows,
        notes,
    })
}

/// Whether a file is a tool's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// It has what only this tool writes.
    Yes,
    /// It is about this tool or looks like its results, and is something else: what it is, and
    /// what to give instead.
    Looks(&'static str),
    /// It has nothing of it.
    No,
}

/// Why a tool's file is not read: where, and what is wrong there.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    at: String,
    what: String,
}

impl Fault {
    fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            what: what.into(),
        }
    }
}

/// Rows in the file's order, and what holds for the whole file.
type Rows = Result<(Vec<Row>, Vec<String>), Fault>;

/// One tool's part.
#[derive(Clone, Copy)]
struct Reader {
    format: Format,
    claims: fn(&Document) -> Claim,
    rows: fn(&Document) -> Rows,
}

macro_rules! readers {
    ($($format:ident: $claims:path, $rows:path;)*) => {
        /// All of them. A file that two claim is refused, so their order decides nothing.
        const READERS: [Reader; Format::ALL.len()] = [
            $(Reader { format: Format::$format, claims: $claims, rows: $rows }),*
        ];
    };
}

readers! {
    LlamaBench: llama_bench::claims, llama_bench::rows;
    LlamaBatchedBench: llama_batched_bench::claims, llama_batched_bench::rows;
    LlamaBenchy: llama_benchy::claims, llama_benchy::rows;
    ExoBench: exo::claims_bench, exo::bench;
    ExoEval: exo::claims_eval, exo::eval;
    LmEval: lm_eval::claims, lm_eval::rows;
    InferenceX: inferencex::claims, inferencex::rows;
    LocalScore: localscore::claims, localscore::rows;
    VllmBenchServe: vllm::claims, vllm::rows;
    Guidellm: guidellm::claims, guidellm::rows;
    GenaiBench: genai_bench::claims, genai_bench::rows;
    Aiperf: aiperf::claims, aiperf::rows;
}

#[cfg(test)]
mod tests;
