//! Joules per token from requests of varied length, for endpoints that cannot be steered.

use super::phases::Missing;
use crate::statistics::bootstrap::{DRAWS, Resampler};

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

/// Least squares over at least [`MIN_REQUESTS`] requests of varied length. `seed` names the draws
/// behind the intervals.
pub fn fit(requests: &[RequestEnergy], seed: [u8; 32]) -> Result<Fit, Missing> {
    if requests.len() < MIN_REQUESTS {
        return Err(Missing::because(&format!(
            "a regression needs {MIN_REQUESTS} requests that the meter resolves, there are {}",
            requests.len()
        )));
    }
    let all: Sums = requests.iter().fold(Sums::default(), Sums::with);
    if !all.lengths_vary() {
        return Err(Missing::because(
            "a regression needs requests of varied prompt and output length",
        ));
    }
    let figures = all
        .figures()
        .ok_or_else(|| Missing::because("no joules per token fit these requests"))?;
    let mut resampler = Resampler::new(seed);
    let mut draws: [Vec<f64>; 5] = Default::default();
    for _ in 0..DRAWS {
        let drawn = (0..requests.len()).map(|_| &requests[resampler.index(requests.len())]);
        let drawn = drawn.fold(Sums::default(), Sums::with).figures();
        for (draws, value) in draws.iter_mut().zip(drawn.unwrap_or([f64::INFINITY; 5])) {
            draws.push(value);
        }
    }
    let mut fitted = figures.into_iter().zip(&mut draws).map(|(value, draws)| {
        draws.sort_by(f64::total_cmp);
        let interval = Fitted {
            value,
            low: draws[DRAWS / 40],
            high: draws[DRAWS - 1 - DRAWS / 40],
        };
        (value.is_finite() && interval.high.is_finite()).then_some(interval)
    });
    let mut next = || fitted.next().flatten();
    let uncertain = || Missing::because("no interval holds the joules per token of these requests");
    Ok(Fit {
        watts: next().ok_or_else(uncertain)?,
        per_prompt_token: next().ok_or_else(uncertain)?,
        per_output_token: next().ok_or_else(uncertain)?,
        gross_per_prompt_token: next(),
        gross_per_output_token: next(),
        requests: requests.len(),
    })
}

/// Least share of either length's squares that the other must not explain.
const LEAST_VARIATION: f64 = 0.01;

/// Sums of products of seconds, prompt tokens, output tokens, and of each with joules.
#[derive(Default)]
struct Sums {
    products: [[f64; 3]; 3],
    with_joules: [f64; 3],
    /// Of the requests that were timed at their first token: prefill seconds, prompt tokens,
    /// decode seconds, output tokens.
    timed: [f64; 4],
}

impl Sums {
    fn with(mut self, request: &RequestEnergy) -> Self {
        let row = [request.seconds, request.tokens_in, request.tokens_out];
        for i in 0..3 {
            for k in 0..3 {
                self.products[i][k] += row[i] * row[k];
            }
            self.with_joules[i] += row[i] * request.joules;
        }
        if let Some(prefill) = request.prefill_seconds {
            let decode = (request.seconds - prefill).max(0.0);
            let timed = [prefill, request.tokens_in, decode, request.tokens_out];
            for (sum, value) in self.timed.iter_mut().zip(timed) {
                *sum += value;
            }
        }
        self
    }

    fn lengths_vary(&self) -> bool {
        let (own, cross) = (&self.products, self.products[1][2]);
        let both = own[1][1] * own[2][2];
        both > 0.0 && 1.0 - cross * cross / both > LEAST_VARIATION
    }

    /// The three coefficients, and gross joules per prompt and output token (infinite where no
    /// request was timed at its first token).
    fn figures(&self) -> Option<[f64; 5]> {
        let [watts, prompt, output] = self.best()?;
        let gross = |own: f64, seconds: f64, tokens: f64| {
            if tokens > 0.0 {
                own + watts * seconds / tokens
            } else {
                f64::INFINITY
            }
        };
        let [prefill_s, tokens_in, decode_s, tokens_out] = self.timed;
        Some([
            watts,
            prompt,
            output,
            gross(prompt, prefill_s, tokens_in),
            gross(output, decode_s, tokens_out),
        ])
    }

    /// Of all subsets of the three coefficients whose solution has none that is negative, that of
    /// the least squares: with three, trying all of them is the shortest exact method.
    fn best(&self) -> Option<[f64; 3]> {
        let subsets = (1u8..8).filter_map(|subset| {
            let kept = |i: usize| subset & (1 << i) != 0;
            let solution = self.solve(kept)?;
            let explained: f64 = (0..3).map(|i| solution[i] * self.with_joules[i]).sum();
            let fits = solution.iter().all(|x| *x >= 0.0 && x.is_finite());
            fits.then_some((explained, solution))
        });
        subsets
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .map(|(_, solution)| solution)
    }

    /// The normal equations of the kept coefficients, the others 0; `None` where these cannot be
    /// told apart.
    fn solve(&self, kept: impl Fn(usize) -> bool) -> Option<[f64; 3]> {
        let mut rows = [[0.0; 4]; 3];
        let scale = |i: usize| self.products[i][i].sqrt();
        for (i, row) in rows.iter_mut().enumerate() {
            if !kept(i) {
                row[i] = 1.0;
                continue;
            }
            if scale(i) <= 0.0 {
                return None;
            }
            for k in (0..3).filter(|k| kept(*k)) {
                row[k] = self.products[i][k] / scale(i) / scale(k).max(f64::MIN_POSITIVE);
            }
            row[3] = self.with_joules[i] / scale(i);
        }
        // Gauss and Jordan; the matrix is symmetric and not negative, so the diagonal serves.
        for pivot in 0..3 {
            let head = rows[pivot];
            if head[pivot] < 1e-9 {
                return None;
            }
            for (i, row) in rows.iter_mut().enumerate() {
                let factor = if i == pivot {
                    1.0 - 1.0 / head[pivot]
                } else {
                    row[pivot] / head[pivot]
                };
                for (value, above) in row.iter_mut().zip(head) {
                    *value -= factor * above;
                }
            }
        }
        let value = |i: usize| if kept(i) { rows[i][3] / scale(i) } else { 0.0 };
        Some([value(0), value(1), value(2)])
    }
}
