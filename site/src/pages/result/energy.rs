//! The energy section of a result: gross and net joules of one scope, watts by phase, what the
//! figures rest on, and the other scopes that were measured.

use domain::api::{EnergyRow, Figure, ResultDetail, ResultRow};

use crate::format::{self, Cell, Quantity};

/// Energy of one result.
pub(super) struct Energy {
    /// What the joules cover.
    pub(super) scope: String,
    /// The finding in one sentence.
    pub(super) sentence: Option<String>,
    /// Figure, gross, net.
    pub(super) joules: Vec<(&'static str, Cell, Option<Cell>)>,
    /// Phase and mean watts.
    pub(super) watts: Vec<(&'static str, Cell)>,
    /// Intelligence per joule and its kin, with what each is for.
    pub(super) ratios: Vec<(&'static str, Cell, &'static str)>,
    /// What the figures rest on.
    pub(super) basis: Vec<String>,
}

/// Joules at one scope.
pub(super) struct ScopeLine {
    pub(super) scope: String,
    pub(super) remark: &'static str,
    pub(super) meters: String,
    pub(super) per_answer: Cell,
    pub(super) per_output_token: Cell,
    pub(super) watts: Cell,
}

impl Energy {
    /// `None` where no meter was read: the page then says why.
    pub(super) fn of(row: &ResultRow) -> Option<Self> {
        let scope = row.energy_scope.clone()?;
        let why = row.energy_reason.as_deref();
        let of_prefill = row.prefill_energy_reason.as_deref().or(why);
        let of_decode = row.decode_energy_reason.as_deref().or(why);
        let joules = |figure, why| Cell::new(Quantity::Joules, figure, why);
        let watts = |figure, why| Cell::new(Quantity::Watts, figure, why);
        Some(Self {
            sentence: sentence(row, &scope),
            joules: vec![
                (
                    "a correct answer",
                    joules(row.joules_per_correct(), why),
                    Some(joules(row.net_joules_per_correct(), why)),
                ),
                (
                    "an output token",
                    joules(row.joules_per_output_token(), of_decode),
                    Some(joules(row.net_joules_per_output_token(), of_decode)),
                ),
                (
                    "a prompt token",
                    joules(row.joules_per_prompt_token(), of_prefill),
                    None,
                ),
                (
                    "a whole request",
                    joules(row.joules_per_request(), why),
                    None,
                ),
            ],
            watts: vec![
                ("processing prompts", watts(row.prefill_watts(), of_prefill)),
                ("emitting tokens", watts(row.decode_watts(), of_decode)),
                ("answering the suite", watts(row.mean_watts(), why)),
                (
                    "idle, weights loaded",
                    watts(row.idle_loaded_watts(), Some("not in these records")),
                ),
                (
                    "idle, nothing loaded",
                    watts(
                        row.idle_unloaded_watts(),
                        Some("measured at the ends of a sweep, not in these records"),
                    ),
                ),
            ],
            ratios: vec![
                (
                    "Intelligence per joule",
                    Cell::new(Quantity::PerJoule, row.accuracy_per_joule(), why),
                    "right answers per joule, the reciprocal of joules per correct answer",
                ),
                (
                    "IPW",
                    Cell::new(Quantity::PerWatt, row.ipw(), why),
                    "share of right answers over mean watts: only to compare with arXiv 2511.07885",
                ),
            ],
            basis: basis(row),
            scope,
        })
    }
}

/// Every scope that was measured, unless the figures of the row say all.
pub(super) fn scopes(detail: &ResultDetail) -> Vec<ScopeLine> {
    let told = detail.row.energy_scope.is_some() && detail.energies.len() == 1;
    let lines = detail.energies.iter().filter(|_| !told);
    lines.map(scope_line).collect()
}

/// Such as "0.531 J per output token (cpu.pkg, loops, ±1.2 %)".
fn sentence(row: &ResultRow, scope: &str) -> Option<String> {
    let (figure, what) = match (row.joules_per_output_token(), row.joules_per_correct()) {
        (Some(figure), _) => (figure, "output token"),
        (None, Some(figure)) => (figure, "correct answer"),
        (None, None) => return None,
    };
    let joules = Cell::new(Quantity::Joules, Some(figure), None);
    let method = match (&row.energy_method, what) {
        (Some(method), "output token") => format!(", {method}"),
        _ => String::new(),
    };
    let half = half_width(figure)
        .map(|half| format!(", ±{} %", format::rough(100.0 * half)))
        .unwrap_or_default();
    Some(format!(
        "{} {} per {what} ({scope}{method}{half}).",
        joules.value?, joules.unit
    ))
}

/// Half of the interval as a share of the value.
fn half_width(figure: Figure) -> Option<f64> {
    let (low, high) = figure.ci95?;
    let half = (high - low) / 2.0 / figure.value;
    (half.is_finite() && half > 0.0).then_some(half)
}

fn basis(row: &ResultRow) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(method) = &row.energy_method {
        let meaning = match method.as_str() {
            "direct" => "real requests are split at their first token",
            "loops" => "prompts alone and tokens alone were repeated until the meter resolves them",
            "regression" => {
                "the engine cannot be steered: a fit over requests of different lengths, on no \
                 frontier"
            }
            _ => "as the record says",
        };
        lines.push(format!("Method: {method}; {meaning}."));
    }
    if let Some(period) = row.energy_update_ms {
        let ticks = row
            .energy_ticks
            .map(|ticks| {
                format!(
                    "; the shortest phase holds {} of them",
                    format::number(ticks, 0)
                )
            })
            .unwrap_or_default();
        lines.push(format!(
            "The slowest meter has a new value every {} ms{ticks}.",
            format::rough(period)
        ));
    }
    lines.push(match row.energy_accuracy {
        Some(share) => format!(
            "The intervals say how well this repeats; the sensor itself may be off by {} %.",
            format::rough(100.0 * share)
        ),
        None => "The intervals say how well this repeats; how exact the sensor is, its maker does \
                 not state."
            .to_owned(),
    });
    if let Some(closure) = row.energy_closure {
        lines.push(format!(
            "Real requests took {} % of what prompt and output tokens add up to.",
            format::trimmed(100.0 * closure, 1)
        ));
    }
    if let Some(share) = row.sampler_share {
        lines.push(format!(
            "Reading the meters took {} % of one processor core.",
            format::rough(100.0 * share)
        ));
    }
    if let Some(hours) = row.battery_hours {
        lines.push(format!(
            "A full battery lasts {} hours of emitting tokens.",
            format::rough(hours)
        ));
    }
    lines
}

fn scope_line(row: &EnergyRow) -> ScopeLine {
    let reason = row.reason.as_deref();
    let alone = |quantity, value| Cell::alone(quantity, value, reason);
    let per_answer = row.joules_per_correct_answer.map(|value| Figure {
        value,
        ci95: row
            .joules_per_correct_answer_ci95_low
            .zip(row.joules_per_correct_answer_ci95_high),
        n: 0,
    });
    ScopeLine {
        scope: row.scope.clone(),
        remark: match (row.is_headline, row.holds_the_work) {
            (true, _) => "the figures above",
            (false, true) => "holds all that worked",
            (false, false) => "a part of what worked",
        },
        meters: row.meters.clone(),
        per_answer: Cell {
            n: None,
            ..Cell::new(Quantity::Joules, per_answer, reason)
        },
        per_output_token: alone(Quantity::Joules, row.joules_per_output_token),
        watts: alone(Quantity::Watts, row.mean_watts),
    }
}
