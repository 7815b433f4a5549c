//! Made-up gates, series and changes.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::api::DATA_LICENCE;
use domain::gate::verdict::{CellJudgement, Confirmed, Judgement, QualityJudgement};
use domain::gate::{Metric, Verdict};
use domain::history::{
    BlockValues, ChangeRow, ChangeState, EpochRow, GateAnswer, GateRow, GatesAnswer, LedgerRow,
    RegressionsAnswer, SeriesAnswer, SeriesPoint, SeriesRow,
};
use domain::query::RegressionsQuery;
use domain::tier::Tier;

use super::{RECORD, Sample, Scripted, UNKNOWN_SETUP, refuse, wants_csv};

/// A gate that regressed, and did so again.
pub(crate) const REGRESSED: &str =
    "1a00000000000000000000000000000000000000000000000000000000000000";
/// A gate that passed.
pub(crate) const PASSED: &str = "1b00000000000000000000000000000000000000000000000000000000000000";
/// A gate that does not count.
pub(crate) const INVALID: &str = "1c00000000000000000000000000000000000000000000000000000000000000";
/// A gate that could not tell.
const OPEN: &str = "1d00000000000000000000000000000000000000000000000000000000000000";
/// Gates of a build against itself.
const AGAINST_ITSELF: [&str; 2] = [
    "1e00000000000000000000000000000000000000000000000000000000000000",
    "1f00000000000000000000000000000000000000000000000000000000000000",
];
/// One that is known to the collector is a signed record too.
pub(super) fn is_known(content_id: &str) -> bool {
    listed().any(|(id, _, _)| id == content_id)
}

const DAY: f64 = 86_400.0;
/// 2026-10-06, a midnight in UTC.
const FIRST: f64 = 1_791_244_800.0;
const SCRIPT: &str = "<script>alert(1)</script>\u{0}\u{202e}\u{ffff}&\"'";

fn listed() -> impl Iterator<Item = (&'static str, &'static str, Verdict)> {
    [
        (REGRESSED, "gate", Verdict::Regressed),
        (PASSED, "gate", Verdict::Pass),
        (OPEN, "gate", Verdict::Inconclusive),
        (INVALID, "gate", Verdict::Invalid),
        (AGAINST_ITSELF[0], "aa", Verdict::Pass),
        (AGAINST_ITSELF[1], "aa", Verdict::Pass),
    ]
    .into_iter()
}

/// A number in -1..1 that looks as if drawn by chance, the same at every call.
fn noise(place: u32) -> f64 {
    let mixed = place.wrapping_mul(2_654_435_761) ^ (place << 7).wrapping_mul(40_503);
    f64::from(mixed % 2_000) / 1_000.0 - 1.0
}

fn series_row(engine: &str, slug: &str, metric: &str) -> SeriesRow {
    SeriesRow {
        id: format!("{slug}-{}", metric.split('_').next().unwrap_or_default()),
        key_id: format!("{:064x}", 0xbeef),
        setup: UNKNOWN_SETUP.to_owned(),
        model: "Joulemark reference 3.5M".to_owned(),
        variant: "Q8_0".to_owned(),
        variant_sha256: format!("{:064x}", 0xa8),
        engine: engine.to_owned(),
        engine_slug: slug.to_owned(),
        backend: "cpu".to_owned(),
        workload: "pp64-tg64".to_owned(),
        metric: metric.to_owned(),
        energy_scope: None,
        points: 40,
        epochs: 2,
        latest: Some(match metric {
            "ttft_ms" => 18.2,
            "peak_bytes" => 73.4e6,
            _ => 1_466.0,
        }),
        has_canary: slug == "candle" && metric.starts_with("decode"),
    }
}

fn all_series() -> Vec<SeriesRow> {
    vec![
        series_row("candle", "candle", "decode_tokens_per_second"),
        series_row("candle", "candle", "peak_bytes"),
        series_row("candle", "candle", "ttft_ms"),
        series_row("llama.cpp", "llama-cpp", "decode_tokens_per_second"),
        SeriesRow {
            id: "no-points".to_owned(),
            points: 0,
            epochs: 0,
            latest: None,
            ..series_row("llama.cpp", "llama-cpp", "prefill_tokens_per_second")
        },
    ]
}

fn points(row: &SeriesRow) -> Vec<SeriesPoint> {
    let level = row.latest.unwrap_or_default();
    (0..row.points)
        .map(|number| {
            let epoch = u32::from(number >= 14);
            let driver = if epoch == 0 { 0.95 } else { 1.0 };
            let code = if number >= 28 && row.has_canary {
                0.967
            } else {
                1.0
            };
            let value = level * driver * code * (1.0 + 0.004 * noise(number));
            let seconds = FIRST + f64::from(number) * DAY + 1_800.0 * noise(number + 99);
            SeriesPoint {
                record: RECORD.to_owned(),
                measured_at: rfc3339(seconds),
                measured_seconds: seconds,
                build: format!("{} 0.11.{number}", row.engine),
                commit: Some(format!("{:040x}", 0xc0_0000 + number)),
                value,
                low: Some(value * 0.994),
                high: Some(value * 1.007),
                canary: (row.has_canary && number != 20)
                    .then(|| level * 0.97 * driver * (1.0 + 0.004 * noise(number + 500))),
                epoch,
            }
        })
        .collect()
}

fn rfc3339(seconds: f64) -> String {
    jiff::Timestamp::from_second(seconds as i64).map_or_else(|_| String::new(), |t| t.to_string())
}

fn change(state: ChangeState, series: SeriesRow, effect: f64, day: f64) -> ChangeRow {
    let at = FIRST + day * DAY;
    let id = serde_json::to_string(&state).unwrap_or_default();
    ChangeRow {
        id: format!("{}-{}", id.trim_matches('"'), series.id),
        group: format!("{}-{day}", series.engine_slug),
        state,
        note: (state == ChangeState::Environment)
            .then(|| "the canary moved by 4 % at the same point".to_owned()),
        is_regression: effect > 0.0,
        effect,
        effect_over_noise: Some(effect / 0.004),
        p: if state == ChangeState::Suspect {
            0.03
        } else {
            0.000_4
        },
        last_good: format!("0.11.{}", day - 1.0),
        first_bad: format!("0.11.{day}"),
        last_good_commit: Some(format!("aa00bb11cc22{:028}", 0)),
        first_bad_commit: Some(format!("bb11cc22dd33{:028}", 0)),
        at: rfc3339(at),
        at_seconds: at,
        updated_at: rfc3339(at + 2.0 * DAY),
        points_before: 14,
        points_after: 12,
        paired_run: "git switch --detach bb11cc22dd33 && joulemark gate --base-ref aa00bb11cc22 \
                     --model reference-3.5M-q8_0.gguf --workload 64/64"
            .to_owned(),
        gates: if state == ChangeState::Confirmed {
            vec![REGRESSED.to_owned()]
        } else {
            Vec::new()
        },
        series,
    }
}

fn changes() -> Vec<ChangeRow> {
    let series = |at: usize| all_series().swap_remove(at);
    vec![
        change(ChangeState::Confirmed, series(0), 0.034, 28.0),
        change(ChangeState::Confirmed, series(3), -0.051, 22.0),
        change(ChangeState::Certified, series(2), 0.021, 30.0),
        change(ChangeState::Suspect, series(0), 0.009, 36.0),
        change(ChangeState::Environment, series(1), 0.04, 18.0),
    ]
}

fn cell(metric: Metric, verdict: Verdict, effect: f64) -> CellJudgement {
    CellJudgement {
        label: "mini pp64/tg64".to_owned(),
        model: "Joulemark reference 3.5M Q8_0".to_owned(),
        metric,
        verdict,
        reason: None,
        effect: Some(effect),
        low: Some(effect - 0.006),
        high: Some(effect + 0.005),
        blocks: 16,
        block_sd: Some(0.009),
        mde: Some(0.011),
        practical_zero: 0.005,
        tolerance: metric.tolerance(),
        small_regression: false,
        minutes_to_settle: None,
        waived: None,
        confirmation: None,
        base_cost: Some(682_000.0),
        candidate_cost: Some(682_000.0 * (1.0 + effect)),
    }
}

/// What a gate came to, worst cell first.
pub(crate) fn judgement(verdict: Verdict) -> Judgement {
    let effect = if verdict == Verdict::Regressed {
        0.034
    } else {
        0.001
    };
    let mut worst = cell(Metric::Decode, verdict, effect);
    let (mut findings, mut notes) = (Vec::new(), Vec::new());
    let headline = match verdict {
        Verdict::Regressed => {
            worst.confirmation = Some(Confirmed {
                verdict,
                effect: 0.031,
                low: Some(0.024),
                high: None,
                blocks: 24,
            });
            "decode of mini pp64/tg64 became 3.4 % slower, twice."
        }
        Verdict::Pass | Verdict::Improved => {
            notes.push("The policy was read from the base ref.".to_owned());
            "nothing gated is worse than tolerated."
        }
        Verdict::Inconclusive => {
            worst.minutes_to_settle = Some(7.5);
            worst.low = None;
            worst.block_sd = Some(0.031);
            worst.mde = Some(0.033);
            "16 blocks could have found 3.3 %, asked are 2 %; about 8 more minutes settle it."
        }
        Verdict::Invalid => {
            findings.push("the control probe moved by 4 % between the arms.".to_owned());
            worst = CellJudgement {
                effect: None,
                low: None,
                high: None,
                blocks: 0,
                block_sd: None,
                mde: None,
                base_cost: None,
                candidate_cost: None,
                ..worst
            };
            "the machine changed under the measurement: run it again when it is quiet."
        }
    };
    let others = [
        CellJudgement {
            label: "all cells".to_owned(),
            ..cell(Metric::Prefill, Verdict::Pass, 0.008)
        },
        CellJudgement {
            small_regression: true,
            waived: Some("until 2026-12-31, up to 8 %: the new tokenizer".to_owned()),
            base_cost: Some(18.2e6),
            candidate_cost: Some(18.3e6),
            ..cell(Metric::Ttft, Verdict::Pass, 0.012)
        },
    ];
    let measured = verdict != Verdict::Invalid;
    Judgement {
        verdict,
        exit_code: match verdict {
            Verdict::Pass | Verdict::Improved => 0,
            Verdict::Regressed => 1,
            Verdict::Inconclusive => 3,
            Verdict::Invalid => 4,
        },
        headline: format!("{}: {headline}", verdict.as_str()),
        cells: std::iter::once(worst)
            .chain(others.into_iter().filter(|_| measured))
            .collect(),
        quality: vec![QualityJudgement {
            model: "Joulemark reference 3.5M Q8_0".to_owned(),
            verdict: Verdict::Pass,
            rung: Some(2),
            said: "every bound lies within its margin".to_owned(),
            dnll_nats: Some((0.000_2, -0.000_1, 0.000_6)),
            kld_nats: Some((0.000_4, 0.000_7)),
            kld_p999_nats: Some(0.021),
            top1_agreement: Some(0.998_2),
            items: None,
        }],
        findings,
        notes,
        blocks: if measured { 16 } else { 2 },
        void_blocks: u32::from(!measured),
        seconds: 460.0,
        multiplicity: 3,
        alpha: 0.05,
        beta: 0.05,
        seed: format!("{:064x}", 0x5eed),
        policy_sha256: format!("{:064x}", 0x90),
    }
}

/// A gate in full.
pub(crate) fn gate(content_id: &str, purpose: &str, verdict: Verdict) -> GateAnswer {
    let judgement = judgement(verdict);
    let worst = &judgement.cells[0];
    let row = GateRow {
        content_id: content_id.to_owned(),
        key_id: format!("{:064x}", 0xbeef),
        tier: Tier::SelfReported,
        received_at: "2026-11-18T14:20:33Z".to_owned(),
        measured_at: "2026-11-18T14:02:33Z".to_owned(),
        purpose: purpose.to_owned(),
        setup: UNKNOWN_SETUP.to_owned(),
        engine: "candle".to_owned(),
        engine_slug: "candle".to_owned(),
        base: "aa00bb11cc22".to_owned(),
        candidate: if purpose == "aa" {
            "aa00bb11cc22"
        } else {
            "bb11cc22dd33"
        }
        .to_owned(),
        verdict,
        headline: judgement.headline.clone(),
        worst_cell: Some(format!("{} {}", worst.metric.as_str(), worst.label)),
        effect: worst.effect,
        mde: worst.mde,
        blocks: judgement.blocks,
        seconds: judgement.seconds,
    };
    let blocks = judgement
        .cells
        .iter()
        .zip(1_u32..)
        .filter_map(|(cell, number)| {
            let effect = cell.effect?;
            let value = |block: u32| effect.ln_1p() + 0.012 * noise(block + 64 * number);
            Some(BlockValues {
                label: cell.label.clone(),
                metric: cell.metric,
                values: (0..16).map(value).collect(),
            })
        });
    GateAnswer {
        data_version: "5f0c1e".to_owned(),
        licence: DATA_LICENCE.to_owned(),
        blocks: blocks.collect(),
        row,
        public_key: format!("{:064x}", 0xfeed),
        judgement,
    }
}

impl Sample {
    fn regressions(&self, query: &RegressionsQuery) -> RegressionsAnswer {
        let is_empty = self.frontier.rows.is_empty();
        let of = |slug: &str| {
            let asked = query.engine.as_ref();
            !is_empty && asked.is_none_or(|engine| engine.as_str() == slug)
        };
        let gates = listed().map(|(id, purpose, verdict)| gate(id, purpose, verdict).row);
        let mut answer = RegressionsAnswer {
            data_version: "5f0c1e".to_owned(),
            licence: DATA_LICENCE.to_owned(),
            engine: query.engine.as_ref().map(ToString::to_string),
            from: query.from.map(|day| day.to_string()),
            to: query.to.map(|day| day.to_string()),
            engines: if is_empty {
                Vec::new()
            } else {
                vec!["candle".to_owned(), "llama-cpp".to_owned()]
            },
            changes: changes(),
            gates: gates.collect(),
            series: all_series(),
            ledger: vec![LedgerRow {
                setup: UNKNOWN_SETUP.to_owned(),
                engine: "candle".to_owned(),
                engine_slug: "candle".to_owned(),
                cell: "mini pp64/tg64".to_owned(),
                metric: "ttft".to_owned(),
                gates: 3,
                sum_ln: 0.033,
                effect: 0.033_55,
                latest_at: "2026-11-18T14:02:33Z".to_owned(),
            }],
        };
        answer.changes.retain(|row| of(&row.series.engine_slug));
        answer.gates.retain(|row| of(&row.engine_slug));
        answer.series.retain(|row| of(&row.engine_slug));
        answer.ledger.retain(|row| of(&row.engine_slug));
        if !self.valid {
            for change in &mut answer.changes {
                foul(&mut change.series);
                change.note = Some(SCRIPT.to_owned());
                change.last_good = SCRIPT.into();
                change.first_bad = SCRIPT.into();
                change.paired_run = SCRIPT.into();
            }
            for gate in &mut answer.gates {
                foul_gate(gate);
            }
            for series in &mut answer.series {
                foul(series);
            }
            answer.ledger[0].cell = SCRIPT.into();
            answer.ledger[0].metric = SCRIPT.into();
        }
        answer
    }
}

fn foul(series: &mut SeriesRow) {
    for field in [
        &mut series.setup,
        &mut series.model,
        &mut series.variant,
        &mut series.engine,
        &mut series.workload,
        &mut series.metric,
    ] {
        *field = SCRIPT.into();
    }
}

fn foul_gate(gate: &mut GateRow) {
    for field in [
        &mut gate.base,
        &mut gate.candidate,
        &mut gate.setup,
        &mut gate.headline,
        &mut gate.engine,
    ] {
        *field = SCRIPT.into();
    }
    gate.worst_cell = Some(SCRIPT.to_owned());
    gate.tier = Tier::Quarantined;
}

pub(super) async fn show_regressions(
    State(sample): Scripted,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Ok(query) = RegressionsQuery::parse(&query.unwrap_or_default()) else {
        return refuse(StatusCode::BAD_REQUEST, "the question cannot be read");
    };
    let answer = sample.regressions(&query);
    if wants_csv(&headers) {
        let ids: Vec<&str> = answer.changes.iter().map(|row| row.id.as_str()).collect();
        return csv(&ids);
    }
    Json(answer).into_response()
}

pub(super) async fn show_gates(State(sample): Scripted, headers: HeaderMap) -> Response {
    let answer = GatesAnswer {
        data_version: "5f0c1e".to_owned(),
        licence: DATA_LICENCE.to_owned(),
        rows: sample.regressions(&RegressionsQuery::default()).gates,
        next: None,
    };
    if wants_csv(&headers) {
        let ids = answer.rows.iter().map(|row| row.content_id.as_str());
        return csv(&ids.collect::<Vec<_>>());
    }
    Json(answer).into_response()
}

pub(super) async fn show_gate(
    State(sample): Scripted,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some((id, purpose, verdict)) = listed().find(|(known, _, _)| *known == id) else {
        return refuse(StatusCode::NOT_FOUND, "no such gate");
    };
    let mut answer = gate(id, purpose, verdict);
    if !sample.valid {
        foul_gate(&mut answer.row);
        answer.judgement.headline = SCRIPT.into();
        answer.judgement.findings.push(SCRIPT.to_owned());
        answer.judgement.notes.push(SCRIPT.to_owned());
        answer.judgement.quality[0].said = SCRIPT.into();
        for (cell, blocks) in answer.judgement.cells.iter_mut().zip(&mut answer.blocks) {
            cell.label = SCRIPT.into();
            blocks.label = SCRIPT.into();
            cell.reason = Some(SCRIPT.to_owned());
            cell.waived = Some(SCRIPT.to_owned());
            blocks.values[0] = f64::MAX;
        }
    }
    if wants_csv(&headers) {
        let labels = answer
            .judgement
            .cells
            .iter()
            .map(|cell| cell.label.as_str());
        return csv(&labels.collect::<Vec<_>>());
    }
    Json(answer).into_response()
}

pub(super) async fn show_series(
    State(sample): Scripted,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(series) = all_series().into_iter().find(|series| series.id == id) else {
        return refuse(StatusCode::NOT_FOUND, "no such series");
    };
    let points = points(&series);
    if wants_csv(&headers) {
        let times: Vec<&str> = points
            .iter()
            .map(|point| point.measured_at.as_str())
            .collect();
        return csv(&times);
    }
    let begins = |number: usize| points.get(number).map(|point| point.measured_at.clone());
    let epochs = [(0, 0, ""), (1, 14, "driver 550.1 became driver 560.2")];
    let mut answer = SeriesAnswer {
        data_version: "5f0c1e".to_owned(),
        licence: DATA_LICENCE.to_owned(),
        epochs: epochs
            .into_iter()
            .filter_map(|(epoch, first, changed)| {
                Some(EpochRow {
                    epoch,
                    begins_at: begins(first)?,
                    changed: changed.to_owned(),
                })
            })
            .collect(),
        changes: changes(),
        series,
        points,
    };
    answer.changes.retain(|change| change.series.id == id);
    if !sample.valid {
        foul(&mut answer.series);
        for epoch in &mut answer.epochs {
            epoch.changed = SCRIPT.into();
        }
        for point in &mut answer.points {
            point.build = SCRIPT.into();
        }
    }
    Json(answer).into_response()
}

fn csv(ids: &[&str]) -> Response {
    let kind = [(CONTENT_TYPE, "text/csv; charset=utf-8")];
    (kind, format!("id\n{}\n", ids.join("\n"))).into_response()
}
