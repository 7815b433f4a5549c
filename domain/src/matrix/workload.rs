//! Workloads: what is asked of an engine while it is timed.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::source::Source;
use super::{MAX_ITEMS, MAX_OUTPUT_TOKENS, MAX_PROMPT_TOKENS, MatrixError};
use crate::ids::{IdError, Slug};
use crate::record::KvState;

/// Most streams at once.
pub const MAX_CONCURRENCY: u32 = 64;
/// Most samples per item.
pub const MAX_SAMPLES: u32 = 64;

/// Share of its context that a `warm_prefix` request must find cached.
pub const WARM_SHARE: f64 = 0.9;

/// What is asked of an engine while it is timed, and how its answers to a suite are sampled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkloadSpec {
    /// Its name.
    pub id: Slug,
    /// Prompt tokens behind the context, the begin-of-sequence token included where there is no
    /// context.
    pub prompt_tokens: u32,
    /// Output tokens.
    pub output_tokens: u32,
    /// Tokens of context before the prompt: processed with it when `cold`, cached before when
    /// `warm_prefix`.
    pub depth_tokens: u32,
    /// State of the KV cache at the start of a timed request.
    pub kv_state: KvState,
    /// Streams at once.
    pub concurrency: u32,
    /// Answers per suite item.
    pub samples: u32,
    /// What picks one of several samples.
    pub verifier: Option<Verifier>,
    /// Sampling temperature of the suite's answers in millionths; 0 is greedy. Timed requests
    /// are always greedy.
    pub temperature_ppm: u32,
}

impl WorkloadSpec {
    /// Cold, greedy, one stream, no context.
    pub fn simple(id: Slug, prompt_tokens: u32, output_tokens: u32) -> Self {
        Self {
            id,
            prompt_tokens,
            output_tokens,
            depth_tokens: 0,
            kv_state: KvState::Cold,
            concurrency: 1,
            samples: 1,
            verifier: None,
            temperature_ppm: 0,
        }
    }

    /// Tokens that a cache must hold: context, prompt and output of one stream.
    pub fn context_tokens(&self) -> u32 {
        self.depth_tokens + self.prompt_tokens + self.output_tokens
    }
}

/// What picks one of several samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verifier {
    /// The most frequent answer; of equals the one that came first.
    Majority,
}

impl Verifier {
    /// The word of matrix and record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Majority => "majority",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawWorkload {
    id: Spanned<String>,
    prompt_tokens: Spanned<u32>,
    output_tokens: Spanned<u32>,
    depth_tokens: Option<Spanned<u32>>,
    kv_state: Option<Spanned<KvState>>,
    concurrency: Option<Spanned<u32>>,
    samples: Option<Spanned<u32>>,
    verifier: Option<Verifier>,
    temperature: Option<Spanned<f64>>,
}

impl RawWorkload {
    /// Cold, greedy, one stream, no context.
    pub(crate) fn simple(
        id: Spanned<String>,
        prompt_tokens: Spanned<u32>,
        output_tokens: Spanned<u32>,
    ) -> Self {
        Self {
            id,
            prompt_tokens,
            output_tokens,
            depth_tokens: None,
            kv_state: None,
            concurrency: None,
            samples: None,
            verifier: None,
            temperature: None,
        }
    }

    /// The workload, beside which so many items are asked.
    pub(crate) fn checked(&self, source: &Source, items: u32) -> Result<WorkloadSpec, MatrixError> {
        let within = |value: &Spanned<u32>, low: u32, high: u32| {
            if (low..=high).contains(value.get_ref()) {
                Ok(*value.get_ref())
            } else {
                let what = format!("{} is outside {low} to {high}", value.get_ref());
                Err(source.error(value.span().start, what))
            }
        };
        let optional = |value: &Option<Spanned<u32>>, low, high, absent| {
            value
                .as_ref()
                .map_or(Ok(absent), |value| within(value, low, high))
        };
        let id: Slug = self
            .id
            .get_ref()
            .parse()
            .map_err(|error: IdError| source.error(self.id.span().start, error.to_string()))?;
        let spec = WorkloadSpec {
            id,
            // The begin-of-sequence token and a few bytes that make every prompt unique.
            prompt_tokens: within(&self.prompt_tokens, 16, MAX_PROMPT_TOKENS)?,
            output_tokens: within(&self.output_tokens, 2, MAX_OUTPUT_TOKENS)?,
            depth_tokens: optional(&self.depth_tokens, 0, MAX_PROMPT_TOKENS, 0)?,
            kv_state: self
                .kv_state
                .as_ref()
                .map_or(KvState::Cold, |state| *state.get_ref()),
            concurrency: optional(&self.concurrency, 1, MAX_CONCURRENCY, 1)?,
            samples: optional(&self.samples, 1, MAX_SAMPLES, 1)?,
            verifier: self.verifier,
            temperature_ppm: match &self.temperature {
                None => 0,
                Some(value) if (0.0..=2.0).contains(value.get_ref()) => {
                    (value.get_ref() * 1e6).round() as u32
                }
                Some(value) => {
                    let what = format!("{} is outside 0 to 2", value.get_ref());
                    return Err(source.error(value.span().start, what));
                }
            },
        };
        self.check_together(&spec, source)?;
        self.check_answers(&spec, items, source)?;
        Ok(spec)
    }

    /// Whether all answers fit one record.
    fn check_answers(
        &self,
        spec: &WorkloadSpec,
        items: u32,
        source: &Source,
    ) -> Result<(), MatrixError> {
        let (Some(samples), answers) = (&self.samples, items.saturating_mul(spec.samples)) else {
            return Ok(());
        };
        if answers <= MAX_ITEMS {
            return Ok(());
        }
        let fewer = match MAX_ITEMS / items {
            0 | 1 => String::new(),
            fewer => format!("take {fewer} samples, or "),
        };
        let what = format!(
            "{} answers to each of {items} items are {answers}, a record holds {MAX_ITEMS}: {fewer}ask \
             {} items",
            spec.samples,
            MAX_ITEMS / spec.samples
        );
        Err(source.error(samples.span().start, what))
    }

    /// Values that fit alone and not together.
    fn check_together(&self, spec: &WorkloadSpec, source: &Source) -> Result<(), MatrixError> {
        let refuse = |at: usize, what: &str| Err(source.error(at, what.to_owned()));
        if let Some(state) = &self.kv_state {
            if spec.kv_state == KvState::WarmPrefix && spec.depth_tokens == 0 {
                return refuse(
                    state.span().start,
                    "warm_prefix needs a context that is cached before: add depth_tokens",
                );
            }
            if spec.kv_state != KvState::Cold && spec.concurrency > 1 {
                return refuse(
                    state.span().start,
                    "only cold workloads run in several streams: drop concurrency or kv_state",
                );
            }
        }
        if let Some(samples) = &self.samples
            && spec.samples > 1
        {
            if spec.verifier.is_none() {
                return refuse(
                    samples.span().start,
                    "several samples need something that picks one: add verifier = \"majority\"",
                );
            }
            if spec.temperature_ppm == 0 {
                return refuse(
                    samples.span().start,
                    "greedy samples are all alike: add a temperature, such as 0.7",
                );
            }
        }
        Ok(())
    }
}
