//! One gate: the verdict, what stands behind it, and how to find it again.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use domain::gate::verdict::{CellJudgement, Judgement, QualityJudgement};
use domain::gate::{Metric, Verdict};
use domain::history::GateAnswer;
use domain::tier::Tier;

use super::regressions::{VerdictView, gate_path, said, verdict_view, without_word};
use crate::charts::{BlockRow, BlocksChart};
use crate::error::PageError;
use crate::format::{self, Cell, Quantity};
use crate::layout::{Layout, Twin, render};
use crate::routes::Site;
use crate::{names, twins};

#[derive(Template)]
#[template(path = "pages/gate.html")]
struct GatePage {
    layout: Layout,
    content_id: String,
    public_key: String,
    envelope: String,
    badge: String,
    kind: &'static str,
    verdict: VerdictView,
    base: String,
    candidate: String,
    headline: String,
    /// What a PASS excludes, and what would have been found.
    promise: Option<String>,
    is_quarantined: bool,
    cells: Vec<CellView>,
    quality: Vec<QualityView>,
    findings: Vec<String>,
    notes: Vec<String>,
    chart: Option<BlocksChart>,
    facts: Vec<(&'static str, String)>,
    digests: Vec<(&'static str, String)>,
}

struct CellView {
    label: String,
    metric: &'static str,
    model: String,
    verdict: VerdictView,
    reason: Option<String>,
    effect: Option<String>,
    direction: &'static str,
    interval: String,
    blocks: u32,
    sd: Option<String>,
    mde: Option<String>,
    tolerance: String,
    small_regression: bool,
    settle: Option<String>,
    confirmation: Option<ConfirmedView>,
    waived: Option<String>,
    /// Base and candidate, in words.
    costs: Option<(String, String)>,
}

struct ConfirmedView {
    verdict: VerdictView,
    words: String,
}

struct QualityView {
    model: String,
    verdict: VerdictView,
    rung: &'static str,
    said: String,
    figures: Vec<String>,
}

/// `GET /gates/{content id}` and its twins.
pub(crate) async fn show(
    State(site): State<Site>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let (stem, is_drawing) = match id.strip_suffix(".svg") {
        Some(stem) => (stem, true),
        None => (id.as_str(), false),
    };
    let (id, format) = twins::split(stem);
    let path = format!("/api/v1/gates/{}", names::segment(id));
    if let Some(format) = format {
        return twins::pass(&site, &path, format).await;
    }
    let (answer, age) = site.client.read::<GateAnswer>(&path).await?;
    if is_drawing {
        let drawn = chart(&answer)?.ok_or_else(|| {
            PageError::NotFound("chart: no block of this gate has a value".to_owned())
        })?;
        let kind = [(CONTENT_TYPE, "image/svg+xml")];
        return Ok((kind, drawn.standalone().render()?).into_response());
    }
    let mut page = view(&answer)?;
    page.layout.age = age;
    render(StatusCode::OK, &page, &page.layout.twins)
}

fn chart(answer: &GateAnswer) -> Result<Option<BlocksChart>, PageError> {
    let judged = answer.judgement.cells.iter();
    let rows: Vec<BlockRow> = judged
        .filter_map(|cell| {
            let blocks = answer
                .blocks
                .iter()
                .find(|blocks| blocks.label == cell.label && blocks.metric == cell.metric)?;
            Some(BlockRow {
                name: format!("{} {}", cell.metric.as_str(), cell.label),
                values: blocks.values.clone(),
                effect: cell.effect,
                low: cell.low,
                high: cell.high,
                tolerance: cell.tolerance,
            })
        })
        .collect();
    BlocksChart::new(&rows, answer.row.purpose != "compare")
}

fn view(answer: &GateAnswer) -> Result<GatePage, PageError> {
    let (row, judgement) = (&answer.row, &answer.judgement);
    let path = gate_path(&row.content_id);
    let verdict = said(&row.purpose, judgement.verdict);
    let mut layout = Layout::new(
        "/regressions",
        format!("{}: {} against {}", verdict.word, row.candidate, row.base),
        judgement.headline.clone(),
    );
    let chart = chart(answer)?;
    layout.twins = twins::of(&path, "");
    if chart.is_some() {
        layout.twins.push(Twin {
            href: format!("{path}.svg"),
            kind: "image/svg+xml",
            name: "SVG",
        });
    }
    Ok(GatePage {
        layout,
        public_key: answer.public_key.clone(),
        envelope: format!("/records/{}/envelope", names::segment(&row.content_id)),
        badge: format!("/badge/gate/{}.svg", names::segment(&row.content_id)),
        kind: match row.purpose.as_str() {
            "aa" => "Gate of a build against itself",
            "compare" => "Comparison of two builds",
            _ => "Regression gate",
        },
        verdict,
        headline: without_word(&judgement.headline, judgement.verdict),
        base: row.base.clone(),
        candidate: row.candidate.clone(),
        promise: promise(row.purpose.as_str(), judgement),
        is_quarantined: row.tier == Tier::Quarantined,
        cells: judgement
            .cells
            .iter()
            .map(|cell| cell_view(&row.purpose, cell))
            .collect(),
        quality: judgement.quality.iter().map(quality_view).collect(),
        // The one finding there is stands in the headline.
        findings: match judgement.findings.as_slice() {
            [one] if judgement.headline.ends_with(one.as_str()) => Vec::new(),
            several => several.to_vec(),
        },
        notes: judgement.notes.clone(),
        chart,
        facts: facts(answer),
        digests: vec![
            ("Seed of the coins", judgement.seed.clone()),
            ("Policy, SHA-256", judgement.policy_sha256.clone()),
            ("Key", row.key_id.clone()),
        ],
        content_id: row.content_id.clone(),
    })
}

/// What a PASS says and what it cannot: the cell that could have hidden the most decides.
fn promise(purpose: &str, judgement: &Judgement) -> Option<String> {
    let passed = matches!(judgement.verdict, Verdict::Pass | Verdict::Improved);
    if !passed || purpose == "compare" {
        return None;
    }
    let excluded = judgement
        .cells
        .iter()
        .filter(|cell| cell.waived.is_none())
        .map(|cell| cell.tolerance)
        .fold(0.0, f64::max);
    let mdes: Option<Vec<f64>> = judgement.cells.iter().map(|cell| cell.mde).collect();
    let found = mdes.map_or_else(
        || "What it could have found is not recorded for every cell.".to_owned(),
        |mdes| {
            format!(
                "The smallest effect that it finds with 90\u{a0}% power is {} where it sees least; \
                 smaller ones pass unseen.",
                format::percent(mdes.into_iter().fold(0.0, f64::max))
            )
        },
    );
    let waived = judgement.cells.iter().any(|cell| cell.waived.is_some());
    let but = if waived { ", waived ones aside" } else { "" };
    Some(format!(
        "Shown: no gated figure{but} costs more than its tolerance, at most {}, with an error of {}. {found}",
        format::percent(excluded),
        format::percent(judgement.beta),
    ))
}

fn facts(answer: &GateAnswer) -> Vec<(&'static str, String)> {
    let (row, judgement) = (&answer.row, &answer.judgement);
    let void = match judgement.void_blocks {
        0 => String::new(),
        n => format!(", and {n} void"),
    };
    vec![
        ("Base", row.base.clone()),
        ("Candidate", row.candidate.clone()),
        ("Setup", row.setup.clone()),
        ("Blocks that counted", format!("{}{void}", judgement.blocks)),
        ("Time", format::duration(judgement.seconds)),
        ("Gated cell-metrics", judgement.multiplicity.to_string()),
        (
            "Error of any false REGRESSED",
            format::percent(judgement.alpha),
        ),
        ("Error of any false PASS", format::percent(judgement.beta)),
        ("Exit code", judgement.exit_code.to_string()),
        ("Measured", format::time(&row.measured_at)),
        ("Received", format::time(&row.received_at)),
        ("Trust", row.tier.as_str().to_owned()),
    ]
}

fn cell_view(purpose: &str, cell: &CellJudgement) -> CellView {
    let is_worse = cell.effect.is_some_and(|effect| effect > 0.0);
    CellView {
        label: cell.label.clone(),
        metric: cell.metric.as_str(),
        model: cell.model.clone(),
        verdict: said(purpose, cell.verdict),
        reason: cell.reason.clone(),
        effect: cell.effect.map(format::change),
        direction: if is_worse {
            cell.metric.worse()
        } else {
            cell.metric.better()
        },
        interval: format::changes(cell.low, cell.high),
        blocks: cell.blocks,
        sd: cell.block_sd.map(format::percent),
        mde: cell.mde.map(format::percent),
        tolerance: format::percent(cell.tolerance),
        small_regression: cell.small_regression,
        settle: cell
            .minutes_to_settle
            .map(|minutes| format::duration(60.0 * minutes)),
        confirmation: cell.confirmation.as_ref().map(|second| ConfirmedView {
            verdict: verdict_view(second.verdict),
            words: format!(
                "{} ({}) in {}",
                format::change(second.effect),
                format::changes(second.low, second.high),
                format::plural(second.blocks as usize, "block"),
            ),
        }),
        waived: cell.waived.clone(),
        costs: cell
            .base_cost
            .zip(cell.candidate_cost)
            .map(|(base, candidate)| {
                let words = |value| cost_in_words(cell.metric, value);
                (words(base), words(candidate))
            }),
    }
}

/// A cost as people read it. The time of a command is one of a unit of its work, which may be very small.
fn cost_in_words(metric: Metric, value: f64) -> String {
    let of_unit = |share: f64, unit| format!("{} {unit} per unit", format::rough(value / share));
    match metric {
        Metric::Time if value > 0.0 && value < 1e3 => of_unit(1.0, "ns"),
        Metric::Time if value > 0.0 && value < 1e6 => of_unit(1e3, "µs"),
        Metric::Time if value > 0.0 => of_unit(1e6, "ms"),
        _ => cost(metric, value).in_words(),
    }
}

/// A cost in the unit that readers know: speeds as tokens per second.
fn cost(metric: Metric, cost: f64) -> Cell {
    let known = Some(cost).filter(|cost| *cost > 0.0);
    match metric {
        Metric::Decode | Metric::Prefill => {
            Cell::alone(Quantity::Speed, known.map(|ns| 1e9 / ns), None)
        }
        Metric::Ttft | Metric::Time => {
            Cell::alone(Quantity::Milliseconds, known.map(|ns| ns / 1e6), None)
        }
        Metric::PeakBytes => Cell::alone(Quantity::Bytes, known, None),
        Metric::Energy => Cell::alone(Quantity::Joules, known.map(|uj| uj / 1e6), None),
    }
}

fn quality_view(quality: &QualityJudgement) -> QualityView {
    let nats = |value: f64| format::rough(value);
    let mut figures = Vec::new();
    if let Some((estimate, low, high)) = quality.dnll_nats {
        figures.push(format!(
            "mean change of the negative log likelihood {} nats per token ({} to {})",
            nats(estimate),
            nats(low),
            nats(high)
        ));
    }
    if let Some((estimate, high)) = quality.kld_nats {
        figures.push(format!(
            "mean KL divergence {} nats per token, at most {}",
            nats(estimate),
            nats(high)
        ));
    }
    if let Some(p999) = quality.kld_p999_nats {
        figures.push(format!(
            "99.9th percentile of the divergence {} nats",
            nats(p999)
        ));
    }
    if let Some(share) = quality.top1_agreement {
        figures.push(format!(
            "same likeliest token at {}",
            format::percent(share)
        ));
    }
    if let Some((asked, lost, gained)) = quality.items {
        figures.push(format!("{asked} items: {lost} lost, {gained} gained"));
    }
    QualityView {
        model: quality.model.clone(),
        verdict: verdict_view(quality.verdict),
        rung: match quality.rung {
            Some(1) => "1: identical tokens and logits",
            Some(2) => "2: token by token",
            Some(3) => "3: items answered",
            _ => "none decided",
        },
        said: quality.said.clone(),
        figures,
    }
}

#[cfg(test)]
mod tests {
    use domain::gate::fixtures::Example;
    use domain::gate::verdict::{block_values, judge};

    use super::*;
    use crate::sample;
    use crate::tests::{get, site};

    #[tokio::test]
    async fn a_regression_shows_both_measurements_and_how_to_find_it_again() {
        let path = format!("/gates/{}", sample::gates::REGRESSED);
        let page = get(&site(sample::priced()), &path).await;
        assert_eq!(page.status, StatusCode::OK);
        for part in [
            ">REGRESSED<",
            "+3.4\u{a0}% slower",
            "again with a new seed",
            "joulemark gate --judge gate.json --key 0000",
            "/envelope\"",
            "Seed of the coins",
        ] {
            assert!(page.body.contains(part), "{part}");
        }
        assert!(!page.body.contains("pass unseen"), "only a PASS promises");
    }

    #[tokio::test]
    async fn a_pass_says_what_it_excludes_and_what_it_cannot_see() {
        let path = format!("/gates/{}", sample::gates::PASSED);
        let page = get(&site(sample::priced()), &path).await;
        assert!(
            page.body
                .contains("finds with 90\u{a0}% power is 1.1\u{a0}%"),
            "{}",
            page.body
        );
    }

    #[test]
    fn a_pass_with_a_blind_cell_does_not_claim_a_smallest_effect() {
        let mut judgement = sample::gates::judgement(Verdict::Pass);
        judgement.cells[0].mde = None;
        let words = promise("gate", &judgement).expect("a PASS promises");
        assert!(words.contains("not recorded for every cell"), "{words}");
        assert_eq!(promise("compare", &judgement), None);
        assert!(words.contains("waived ones aside"), "{words}");
        judgement
            .cells
            .iter_mut()
            .for_each(|cell| cell.waived = None);
        let words = promise("gate", &judgement).expect("a PASS promises");
        assert!(!words.contains("waived"), "{words}");
    }

    #[tokio::test]
    async fn what_the_gate_itself_decides_of_raw_slots_is_shown() {
        let mut example = Example::of("mini", "pp64-tg64", &[(Metric::Decode, 0.05)]);
        example.confirmation = 16;
        let record = example.record();
        let judgement = judge(&record).expect("a record that can be judged");
        assert_eq!(judgement.verdict, Verdict::Regressed);
        let mut answer = sample::gates::gate(sample::gates::REGRESSED, "gate", Verdict::Pass);
        answer.judgement = judgement;
        answer.blocks = block_values(&record);
        let page = view(&answer).expect("drawable").render().expect("rendered");
        let headline = without_word(&answer.judgement.headline, Verdict::Regressed);
        assert!(!headline.contains("REGRESSED"), "{headline}");
        assert!(page.contains(">REGRESSED<") && page.contains("again with a new seed"));
        let drawn = page.split("stroke-linecap").next().expect("a drawing");
        let dots = drawn.rsplit("<path d=\"").next().expect("dots");
        assert_eq!(dots.matches("h0").count(), 16, "every block is a dot");
    }

    #[tokio::test]
    async fn the_drawing_is_also_a_file_and_the_json_the_apis_bytes() {
        let path = format!("/gates/{}", sample::gates::REGRESSED);
        let site = site(sample::priced());
        let svg = get(&site, &format!("{path}.svg")).await;
        assert_eq!(svg.content_type, "image/svg+xml");
        assert!(svg.body.contains("stroke-linecap=\"round\""));
        let json = get(&site, &format!("{path}.json")).await;
        serde_json::from_str::<GateAnswer>(&json.body).expect("the API's bytes");
        assert_eq!(
            get(&site, "/gates/none").await.status,
            StatusCode::NOT_FOUND
        );
    }

    #[tokio::test]
    async fn an_invalid_gate_says_what_speaks_against_it_and_draws_nothing_it_has_not() {
        let path = format!("/gates/{}", sample::gates::INVALID);
        let page = get(&site(sample::priced()), &path).await;
        assert!(page.body.contains(">INVALID<"));
        assert!(page.body.contains("the control probe moved"));
        assert!(page.body.contains("not measured"));
        assert!(!page.body.contains("<svg class=\"chart"));
    }

    #[test]
    fn costs_read_as_people_know_them() {
        assert_eq!(cost(Metric::Decode, 40e6).in_words(), "25.0 tok/s");
        assert_eq!(cost(Metric::Ttft, 32e6).in_words(), "32.0 ms");
        assert_eq!(cost(Metric::Energy, 512_000.0).in_words(), "0.512 J");
        assert_eq!(cost(Metric::Decode, 0.0).in_words(), "not recorded");
        let time = |ns| cost_in_words(Metric::Time, ns);
        assert_eq!(time(597.0), "597 ns per unit");
        assert_eq!(time(2_500.0), "2.5 µs per unit");
        assert_eq!(time(32e6), "32 ms per unit");
    }
}
