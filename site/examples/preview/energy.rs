//! Made-up joules: rows of two scopes, a power trace, a comparison.

use domain::api::{
    CompareAnswer, DATA_LICENCE, Delta, DifferingLine, EnergyRow, PowerSeries, ResultRow,
};

use super::figure;

/// Gives a row joules of a scope, as if its card drew `watts` while it answers.
pub(super) fn measured(row: &mut ResultRow, scope: &str, watts: f64) {
    let speed = row.decode_tokens_per_second.unwrap_or(10.0);
    let per_token = watts / speed;
    let quality = row.quality.unwrap_or(0.5);
    let per_answer = 90.0 * per_token / quality;
    let net = 1.0 - 0.22;
    for (column, figure) in [
        ("joules_per_correct_answer", figure(per_answer, 0.07, 210)),
        ("accuracy_per_joule", figure(1.0 / per_answer, 0.07, 210)),
        ("ipw", figure(quality / watts, 0.08, 210)),
        (
            "net_joules_per_correct_answer",
            figure(per_answer * net, 0.08, 210),
        ),
        ("joules_per_output_token", figure(per_token, 0.012, 5_120)),
        (
            "net_joules_per_output_token",
            figure(per_token * net, 0.016, 5_120),
        ),
        (
            "joules_per_prompt_token",
            figure(per_token / 9.0, 0.019, 40_960),
        ),
        ("joules_per_request", figure(per_token * 150.0, 0.02, 48)),
        ("prefill_watts", figure(watts * 1.12, 0.01, 110)),
        ("decode_watts", figure(watts, 0.01, 104)),
        ("mean_watts", figure(watts * 0.94, 0.02, 210)),
        ("idle_loaded_watts", figure(watts * 0.22, 0.01, 100)),
        ("idle_unloaded_watts", figure(watts * 0.19, 0.01, 300)),
    ] {
        row.set_figure(column, figure);
    }
    row.energy_scope = Some(scope.to_owned());
    row.energy_reason = None;
    row.energy_method = Some("loops".to_owned());
    row.energy_update_ms = Some(100.0);
    row.energy_ticks = Some(104.0);
    row.energy_accuracy = Some(0.05);
    row.energy_closure = Some(1.008);
    row.sampler_share = Some(0.0017);
}

/// The row's own scope and a narrower one beside it.
pub(super) fn scopes(row: &ResultRow) -> Vec<EnergyRow> {
    let Some(scope) = row.energy_scope.clone() else {
        return Vec::new();
    };
    let own = EnergyRow {
        scope,
        is_headline: true,
        holds_the_work: true,
        meters: "shelly plug (power samples, period 1000 ms)".to_owned(),
        joules_per_correct_answer: row.joules_per_correct_answer,
        joules_per_correct_answer_ci95_low: row.joules_per_correct_answer_ci95_low,
        joules_per_correct_answer_ci95_high: row.joules_per_correct_answer_ci95_high,
        joules_per_prompt_token: row.joules_per_prompt_token,
        joules_per_output_token: row.joules_per_output_token,
        mean_watts: row.mean_watts,
        idle_loaded_watts: row.idle_loaded_watts,
        reason: None,
    };
    let card = EnergyRow {
        scope: "gpu.board".to_owned(),
        is_headline: false,
        meters: "nvml gpu-3f2a91c0 (energy counter, period 100 ms)".to_owned(),
        joules_per_output_token: row.joules_per_output_token.map(|joules| joules * 0.61),
        mean_watts: row.mean_watts.map(|watts| watts * 0.6),
        joules_per_correct_answer: None,
        joules_per_correct_answer_ci95_low: None,
        joules_per_correct_answer_ci95_high: None,
        reason: Some("the run was too short for the power counter".to_owned()),
        ..own.clone()
    };
    vec![own, card]
}

/// Load, warm-up, both loops and the suite.
pub(super) fn power(row: &ResultRow) -> Vec<PowerSeries> {
    let (Some(scope), Some(watts), Some(idle)) =
        (&row.energy_scope, row.decode_watts, row.idle_loaded_watts)
    else {
        return Vec::new();
    };
    let phases = [
        ("load", 0.0, 4.0, idle * 1.6),
        ("idle_loaded", 4.0, 14.0, idle),
        ("warmup", 14.0, 20.0, watts),
        ("mixed_loop", 20.0, 38.0, watts * 1.03),
        ("prefill_loop", 38.0, 48.0, watts * 1.12),
        ("decode_loop", 48.0, 59.0, watts),
        ("quality", 59.0, 80.0, watts * 0.94),
    ];
    let at = |second: f64| {
        let phase = phases
            .iter()
            .find(|(_, from, until, _)| (*from..*until).contains(&second));
        let wobble = 1.0 + 0.02 * (second * 2.7).sin();
        phase.map_or(idle, |(_, _, _, watts)| *watts) * wobble
    };
    let series = |meter: &str, scope: &str, share: f64| PowerSeries {
        meter: meter.to_owned(),
        scope: scope.to_owned(),
        points: (1..160)
            .map(|half| f64::from(half) / 2.0)
            .map(|second| (second, at(second) * share))
            .collect(),
        phases: phases
            .iter()
            .map(|(name, from, until, _)| ((*name).to_owned(), *from, *until))
            .collect(),
    };
    vec![
        series("shelly plug", scope, 1.0),
        series("nvml gpu-3f2a91c0", "gpu.board", 0.6),
    ]
}

/// Two rows against each other: joules only within one scope.
pub(super) fn compare(rows: Vec<ResultRow>) -> CompareAnswer {
    let base = rows[0].clone();
    let ratio = |of: Option<f64>, to: Option<f64>| Some(of? / to?);
    let deltas = rows
        .iter()
        .skip(1)
        .flat_map(|row| {
            let same_scope = row.energy_scope == base.energy_scope;
            let of = |name: &str, value: Option<f64>, half: f64| Delta {
                id: row.id.clone(),
                figure: name.to_owned(),
                value,
                ci95_low: value.map(|value| value - half),
                ci95_high: value.map(|value| value + half),
                paired: name.starts_with("joules") || name == "quality",
                reason: value
                    .is_none()
                    .then(|| "joules of two scopes: cpu.pkg and wall.ac".to_owned()),
                ..Delta::default()
            };
            [
                of(
                    "quality",
                    row.quality.zip(base.quality).map(|(a, b)| 100.0 * (a - b)),
                    2.1,
                ),
                of(
                    "decode_tokens_per_second",
                    ratio(row.decode_tokens_per_second, base.decode_tokens_per_second),
                    0.02,
                ),
                of(
                    "joules_per_correct_answer",
                    ratio(
                        row.joules_per_correct_answer,
                        base.joules_per_correct_answer,
                    )
                    .filter(|_| same_scope),
                    0.05,
                ),
            ]
        })
        .collect();
    CompareAnswer {
        data_version: "5f0c1e".to_owned(),
        licence: DATA_LICENCE.to_owned(),
        deltas,
        differs: vec![
            DifferingLine {
                label: "Quantisation".to_owned(),
                values: rows.iter().map(|row| Some(row.quant.clone())).collect(),
            },
            DifferingLine {
                label: "Power limit".to_owned(),
                values: (0..rows.len())
                    .map(|n| (n > 0).then(|| "350 W".to_owned()))
                    .collect(),
            },
        ],
        rows,
    }
}
