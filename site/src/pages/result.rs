//! One cell: every published number, every repetition, where it comes from, how to repeat it.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::api::{Figure, ProvenanceLine, RecordDetail, RecordSummary, ResultDetail, ResultRow};

use super::rows::{Bar, RowView, Share, price};
use crate::charts::{DotsChart, PowerChart};
use crate::error::PageError;
use crate::format::{self, Cell, Quantity};
use crate::layout::{Layout, render};
use crate::routes::Site;
use crate::{names, twins};

mod energy;

use energy::{Energy, ScopeLine};

/// Signatures are checked again for so many of the newest records; each has its own page.
const CHECKED_RECORDS: usize = 8;
/// More records are counted, not listed.
const MAX_RECORDS: usize = 50;
/// More repetitions stay in the twin.
const MAX_REPETITIONS: usize = 200;

#[derive(Template)]
#[template(path = "pages/result.html")]
struct ResultPage {
    layout: Layout,
    row: RowView,
    theory: Theory,
    energy: Option<Energy>,
    power: Option<PowerChart>,
    scopes: Vec<ScopeLine>,
    no_energy: String,
    model_href: String,
    cards: Vec<Card>,
    views: Option<Views>,
    families: Vec<Family>,
    chart: Option<DotsChart>,
    repetitions: Vec<Repetition>,
    more_repetitions: usize,
    provenance: Vec<ProvenanceLine>,
    records: Vec<RecordView>,
    more_records: usize,
    reproduce: String,
    received: String,
    suite: Option<String>,
    chip: String,
    backend: String,
    workload: String,
    conditions: String,
    noise: Option<String>,
}

/// One group of figures: the one that a reader looks for first, and what belongs to it.
struct Card {
    name: &'static str,
    main: Cell,
    note: String,
    more: Vec<Named>,
}

struct Named {
    name: String,
    cell: Cell,
}

/// Measured against possible.
struct Theory {
    /// The collector's sentence.
    sentence: Option<String>,
    share: Option<Share>,
    decode: Cell,
    reached: Cell,
    ceiling: Cell,
    /// What the ceiling rests on.
    basis: Option<String>,
    /// Why there is none.
    reason: String,
    /// Of prefill, against the arithmetic.
    prefill: Cell,
    prefill_share: Option<Share>,
}

/// The same speeds by the runner's clock and by the engine's.
struct Views {
    rows: Vec<(&'static str, Cell, Cell)>,
    sentence: String,
    /// The sentence is a warning.
    disagree: bool,
}

struct Family {
    name: String,
    description: String,
    right: String,
    accuracy: String,
    interval: String,
    bar: Option<Bar>,
}

struct Repetition {
    rep: u32,
    record: String,
    record_href: String,
    decode: Option<String>,
    prefill: Option<String>,
    ttft: Option<String>,
    void: Option<String>,
}

/// A record in a list.
struct RecordView {
    href: String,
    short: String,
    tier: &'static str,
    received: String,
    outcome: String,
    signature: &'static str,
    findings: Vec<String>,
    envelope: String,
}

/// `GET /results/{id}` and its JSON twin.
pub(crate) async fn show(
    State(site): State<Site>,
    Path(id): Path<String>,
) -> Result<Response, PageError> {
    let (id, format) = twins::split(&id);
    let path = format!("/api/v1/results/{}", names::segment(id));
    match format {
        None => {}
        Some(twins::Format::Json) => return twins::pass(&site, &path, twins::Format::Json).await,
        Some(twins::Format::Csv) => {
            return Err(PageError::NotFound(
                "CSV of a single result: take /results.csv".to_owned(),
            ));
        }
    }
    let (detail, age) = site.client.read::<ResultDetail>(&path).await?;
    let mut signatures = Vec::new();
    for record in detail.records.iter().take(CHECKED_RECORDS) {
        let path = format!("/api/v1/records/{}", names::segment(&record.content_id));
        let checked = site.client.read::<RecordDetail>(&path).await;
        signatures.push(
            checked
                .ok()
                .filter(|(_, age)| age.is_none())
                .map(|(record, _)| record.signature_valid),
        );
    }
    let mut page = view(&detail, &signatures)?;
    page.layout.age = age;
    let twins = page.layout.twins.clone();
    render(StatusCode::OK, &page, &twins)
}

fn view(detail: &ResultDetail, signatures: &[Option<bool>]) -> Result<ResultPage, PageError> {
    let row = RowView::new(&detail.row);
    let title = format!("{} on {}", names::full(&detail.row), detail.row.setup_name);
    let description = format!(
        "Quality {}; decode {}.",
        format::quality(&detail.row).in_words(),
        format::decode(&detail.row).in_words()
    );
    let mut layout = Layout::new("", title, description);
    layout.twins = twins::json_of(&row.href);
    let records = detail.records.iter().enumerate().take(MAX_RECORDS);
    Ok(ResultPage {
        layout,
        theory: theory(&detail.row),
        energy: Energy::of(&detail.row),
        power: PowerChart::new(&detail.power)?,
        scopes: energy::scopes(detail),
        model_href: format!("/models/{}", names::segment(&detail.row.model_slug)),
        no_energy: detail
            .row
            .energy_reason
            .clone()
            .unwrap_or_else(|| "the reason is not recorded".to_owned()),
        cards: cards(&detail.row),
        views: views(&detail.row),
        families: families(detail),
        chart: DotsChart::new(&detail.repetitions, detail.row.decode())?,
        repetitions: detail
            .repetitions
            .iter()
            .take(MAX_REPETITIONS)
            .map(repetition)
            .collect(),
        more_repetitions: detail.repetitions.len().saturating_sub(MAX_REPETITIONS),
        provenance: detail.provenance.clone(),
        records: records
            .map(|(i, one)| record(one, signatures.get(i).copied().flatten()))
            .collect(),
        more_records: detail.records.len().saturating_sub(MAX_RECORDS),
        reproduce: detail.reproduce.clone(),
        received: format::time(&detail.row.received_at),
        suite: detail.row.suite.clone(),
        chip: Some(&detail.row.chip)
            .filter(|chip| !detail.row.setup_name.contains(chip.as_str()))
            .cloned()
            .unwrap_or_default(),
        backend: detail.row.backend.clone(),
        workload: detail.row.workload.clone(),
        conditions: names::conditions(&detail.row),
        noise: detail.row.noise_reason.clone(),
        row,
    })
}

fn named(name: impl Into<String>, cell: Cell) -> Named {
    Named {
        name: name.into(),
        cell,
    }
}

fn cards(row: &ResultRow) -> Vec<Card> {
    let scope = row
        .energy_scope
        .as_ref()
        .map(|scope| format!(", scope {scope}"))
        .unwrap_or_default();
    let energy = row.energy_reason.as_deref();
    let speed = row.decode_reason.as_deref();
    let (usd, price_note) = price(row);
    let (price, price_note) = match usd {
        Some(usd) => (Cell::words(usd), price_note),
        None => (Cell::missing(&price_note), String::new()),
    };
    let card = |name, main, note: &str| Card {
        name,
        main,
        note: note.to_owned(),
        more: Vec::new(),
    };
    let mut cards = vec![
        quality_card(row),
        decode_card(row),
        Card {
            more: own_clock(row.prefill(), row.engine_prefill()),
            ..card(
                "Prefill",
                Cell::new(Quantity::Speed, row.prefill(), speed),
                match row.kv_state.as_str() {
                    "warm_prefix" => {
                        "uncached prompt tokens over time to first token: a lower bound"
                    }
                    _ => "prompt tokens over time to first token: a lower bound",
                },
            )
        },
        Card {
            more: vec![named(
                "95th percentile",
                Cell::new(
                    Quantity::Milliseconds,
                    row.ttft_p95(),
                    row.ttft().map(|_| "needs 20 requests").or(speed),
                ),
            )],
            ..card(
                "Time to first token",
                Cell::new(Quantity::Milliseconds, row.ttft(), speed),
                "median",
            )
        },
        card(
            "Peak memory",
            Cell::new(Quantity::Bytes, row.peak_memory(), None),
            "resident, of the engine’s processes",
        ),
        Card {
            more: vec![
                named(
                    "intelligence per joule",
                    Cell::new(Quantity::PerJoule, row.accuracy_per_joule(), energy),
                ),
                named(
                    "per output token",
                    Cell::new(
                        Quantity::Joules,
                        row.joules_per_output_token(),
                        row.decode_energy_reason.as_deref().or(energy),
                    ),
                ),
                named(
                    "mean power",
                    Cell::new(Quantity::Watts, row.mean_watts(), energy),
                ),
            ],
            ..card(
                "Energy",
                format::joules(row),
                &format!("per correct answer{scope}"),
            )
        },
        card("Price of the setup", price, &price_note),
    ];
    // What a whole card lacks for one reason is explained once.
    for card in &mut cards {
        for figure in &mut card.more {
            if figure.cell.reason == card.main.reason {
                figure.cell.reason.clear();
            }
        }
    }
    cards
}

fn quality_card(row: &ResultRow) -> Card {
    let reason = row.quality_reason.as_deref();
    let mut more = Vec::new();
    if row.samples > 1 {
        more.push(named(
            format!(
                "any of the {} right: an upper bound for every way to pick",
                row.samples
            ),
            Cell::alone(Quantity::Quality, row.oracle_quality, reason),
        ));
    }
    if row.samples > 1 || row.seconds_per_answer.is_some() {
        more.push(named(
            "time per answer",
            Cell::new(Quantity::Seconds, row.seconds_per_answer(), reason),
        ));
    }
    let note = match row.samples {
        0 | 1 => "share of the suite’s items answered right".to_owned(),
        n => format!("share of the suite’s items of which the answer picked from {n} is right"),
    };
    Card {
        name: "Quality",
        main: format::quality(row),
        note,
        more,
    }
}

/// The engine's figure where the client has none.
fn own_clock(client: Option<Figure>, engine: Option<Figure>) -> Vec<Named> {
    let engine = engine.filter(|_| client.is_none());
    engine
        .map(|figure| {
            let cell = Cell::new(Quantity::Speed, Some(figure), None);
            named("by the engine’s own clock", cell)
        })
        .into_iter()
        .collect()
}

fn decode_card(row: &ResultRow) -> Card {
    let speed = row.decode_reason.as_deref();
    let mut more = own_clock(row.decode(), row.engine_decode());
    if row.concurrency > 1 {
        more.push(named(
            format!("all {} streams together", row.concurrency),
            Cell::new(Quantity::Speed, row.aggregate_decode(), speed),
        ));
        more.push(named(
            "10th percentile of the streams",
            Cell::new(Quantity::Speed, row.slow_stream(), speed),
        ));
    }
    let too_few = row.itl_p50().map(|_| "needs 100 gaps").or(speed);
    for (name, figure, reason) in [
        ("per token after the first", row.tpot(), speed),
        ("gap between tokens, median", row.itl_p50(), speed),
        ("gap, 90th percentile", row.itl_p90(), speed),
        ("gap, 99th percentile", row.itl_p99(), too_few),
    ] {
        let cell = Cell::new(Quantity::Milliseconds, figure, reason);
        more.push(named(name, cell));
    }
    let note = match row.concurrency {
        0 | 1 => "one stream, client view".to_owned(),
        n => format!("each of {n} streams, median, client view"),
    };
    Card {
        name: "Decode",
        main: format::decode(row),
        note,
        more,
    }
}

fn theory(row: &ResultRow) -> Theory {
    let ceiling = row.decode_ceiling_tokens_per_second;
    let reason = [&row.roofline_reason, &row.decode_reason]
        .into_iter()
        .find_map(Option::as_deref);
    Theory {
        sentence: row.roofline.clone(),
        share: Share::of(row.decode_of_theory()),
        decode: format::decode(row),
        reached: format::of_theory(row),
        ceiling: Cell::alone(Quantity::Speed, ceiling, reason),
        basis: ceiling.and_then(|_| basis(row)),
        reason: reason.unwrap_or("the reason is not recorded").to_owned(),
        prefill: Cell::new(Quantity::OfTheory, row.prefill_of_theory(), None),
        prefill_share: Share::of(row.prefill_of_theory()),
    }
}

fn basis(row: &ResultRow) -> Option<String> {
    let bandwidth = row.bandwidth_bytes_per_second?;
    let source = match row.bandwidth_basis.as_deref() {
        Some("probe") => "measured on this machine".to_owned(),
        Some(other) => format!("by its {other}"),
        None => "of unrecorded origin".to_owned(),
    };
    let bytes = row
        .bytes_per_pass
        .map(|bytes| format::bytes(bytes.round() as u64));
    let reads = match (bytes, row.concurrency) {
        (None, _) => String::new(),
        (Some(bytes), 0 | 1) => {
            format!("; each token reads {bytes}, the weights and what was said before (KV cache)")
        }
        (Some(bytes), n) => format!(
            "; one token of all {n} streams reads {bytes}, the weights once and what was said \
             before (KV cache) for each"
        ),
    };
    Some(format!(
        "The ceiling rests on {} GB/s, {source}{reads}.",
        format::rough(bandwidth / 1e9)
    ))
}

/// `None` where neither clock has a speed.
fn views(row: &ResultRow) -> Option<Views> {
    let disagree = row.flags.split(' ').any(|flag| flag == "views-disagree");
    let client = (row.decode(), row.prefill());
    let engine = (row.engine_decode(), row.engine_prefill());
    let known = |pair: (Option<Figure>, Option<Figure>)| pair.0.is_some() || pair.1.is_some();
    let apart = apart(row)
        .map(|apart| format!(": by its own, the engine decodes {apart} than the runner saw"));
    let apart = apart.unwrap_or_default();
    let sentence = match (known(client), known(engine)) {
        (false, false) => return None,
        (false, true) => {
            "The engine timed itself, and nobody stamped its tokens from outside. Such a result \
                          stands on no frontier and is compared only with others of its kind."
                .to_owned()
        }
        (true, false) => {
            "This engine does not report its own times; the client’s view stands alone.".to_owned()
        }
        (true, true) if disagree => format!(
            "The two clocks disagree{apart}. Both are shown; the client’s view is the one that is \
             ranked, for it is what a user gets."
        ),
        (true, true) => format!("The two clocks agree within 5 %{apart}."),
    };
    let speed = row.decode_reason.as_deref();
    let cells = |client, engine| {
        let client = Cell::new(Quantity::Speed, client, speed).bare();
        (client, Cell::new(Quantity::Speed, engine, None).bare())
    };
    let (decode, prefill) = (cells(client.0, engine.0), cells(client.1, engine.1));
    // What stands alone stands above already.
    let rows =
        [("Decode", decode), ("Prefill", prefill)].map(|(name, (ours, its))| (name, ours, its));
    Some(Views {
        rows: rows.into_iter().filter(|_| known(engine)).collect(),
        sentence,
        disagree: disagree && known(client) && known(engine),
    })
}

/// `0.8 % faster`: the engine's own decode speed against the client's.
fn apart(row: &ResultRow) -> Option<String> {
    let ratio = row.engine_decode()?.value / row.decode()?.value;
    let percent = format::trimmed((ratio - 1.0).abs() * 100.0, 1);
    let word = if ratio < 1.0 { "slower" } else { "faster" };
    ratio
        .is_finite()
        .then(|| format!("{percent}\u{a0}% {word}"))
}

fn families(detail: &ResultDetail) -> Vec<Family> {
    let percent = |share: f64| format::number(share * 100.0, 1);
    detail
        .families
        .iter()
        .map(|family| {
            let ci95 = (family.accuracy_ci95_low, family.accuracy_ci95_high);
            Family {
                name: family.family.clone(),
                description: family.description.clone(),
                right: format!("{} of {}", family.correct, family.items),
                accuracy: percent(family.accuracy),
                interval: format!("{}–{}", percent(ci95.0), percent(ci95.1)),
                bar: Bar::of(Some(family.accuracy), Some(ci95)),
            }
        })
        .collect()
}

fn repetition(point: &domain::api::RepetitionPoint) -> Repetition {
    Repetition {
        rep: point.rep,
        record: names::cut(&point.record, 10),
        record_href: format!("/records/{}", names::segment(&point.record)),
        decode: point.decode_tokens_per_second.map(format::rough),
        prefill: point.prefill_tokens_per_second.map(format::rough),
        ttft: point.ttft_ms.map(format::rough),
        void: point.void.clone(),
    }
}

fn record(summary: &RecordSummary, valid: Option<bool>) -> RecordView {
    let href = format!("/records/{}", names::segment(&summary.content_id));
    RecordView {
        envelope: format!("{href}/envelope"),
        href,
        short: names::cut(&summary.content_id, 16),
        tier: summary.tier.as_str(),
        received: format::time(&summary.received_at),
        outcome: summary.outcome.clone(),
        signature: signature_word(valid),
        findings: summary.findings.clone(),
    }
}

/// The state of a signature in words.
fn signature_word(valid: Option<bool>) -> &'static str {
    match valid {
        Some(true) => "valid",
        Some(false) => "does not verify",
        None => "not checked now: see the record",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::tests::{get, site};

    #[tokio::test]
    async fn every_number_has_unit_interval_and_n_or_says_that_it_is_not_recorded() {
        let answer = get(
            &site(sample::plain()),
            &format!("/results/{}", sample::RESULT),
        )
        .await;
        assert_eq!(answer.status, StatusCode::OK);
        for words in [
            "tok/s",
            "n = 210",
            "not recorded",
            "signature valid",
            "joulemark sweep",
        ] {
            assert!(answer.body.contains(words), "{words}");
        }
    }

    #[tokio::test]
    async fn the_twin_is_the_apis_bytes() {
        let page = get(
            &site(sample::plain()),
            &format!("/results/{}.json", sample::RESULT),
        )
        .await;
        assert_eq!(page.content_type, "application/json");
        let detail: ResultDetail = serde_json::from_str(&page.body).expect("JSON");
        assert_eq!(detail.row.id, sample::RESULT);
    }

    async fn page(id: &str) -> String {
        let answer = get(&site(sample::engines()), &format!("/results/{id}")).await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.body
    }

    #[tokio::test]
    async fn clocks_that_disagree_are_both_shown_and_the_reason_is_told() {
        let body = page("00000000000000a6").await;
        assert!(
            body.contains(
                "The two clocks disagree: by its own, the engine decodes 9.4\u{a0}% faster"
            )
        );
        assert!(body.contains(">3,020<") && body.contains(">3,304<"));
        assert!(body.contains("decode varies by 7.4 % between repetitions"));
        let agree = page("00000000000000a0").await;
        assert!(agree.contains("The two clocks agree within 5 %"));
        let alone = page("00000000000000a2").await;
        assert!(alone.contains("does not report its own times"));
    }

    #[tokio::test]
    async fn an_engine_that_timed_itself_has_no_client_view_and_no_ceiling() {
        let body = page("00000000000000b2").await;
        assert!(body.contains("The engine timed itself"));
        assert!(body.contains("4,310") && body.contains("by the engine’s own clock"));
        assert!(body.contains("No share of theory: "));
        assert!(
            !body.contains("class=\"share\""),
            "no bar without a ceiling"
        );
    }

    #[tokio::test]
    async fn streams_and_samples_are_told_apart_from_one_answer_at_a_time() {
        let four = page("00000000000000b0").await;
        for words in [
            "4,630",
            "all 4 streams together",
            "1,130",
            "4 streams at once",
        ] {
            assert!(four.contains(words), "{words}");
        }
        let best = page("00000000000000b3").await;
        for words in [
            "93.8",
            "an upper bound for every way to pick",
            "0.184 s",
            "4 answers to each question",
        ] {
            assert!(best.contains(words), "{words}");
        }
        assert!(!best.contains("streams together"));
        assert!(
            page("00000000000000b1")
                .await
                .contains("warm prefix: 4,096 tokens")
        );
    }

    #[tokio::test]
    async fn what_is_above_theory_is_shown_and_flagged() {
        let body = page("00000000000000b5").await;
        assert!(body.contains("112.7") && body.contains("above theory: faster than the memory"));
    }

    #[tokio::test]
    async fn several_machines_have_a_reason_in_place_of_a_ceiling() {
        let body = page("00000000000000b4").await;
        assert!(body.contains("No share of theory: <bdi>a token passes the two machines"));
        assert!(body.contains("Thunderbolt 5") && body.contains("host 1: layers 2-3"));
    }

    #[tokio::test]
    async fn an_unknown_result_is_a_helpful_404() {
        let answer = get(&site(sample::plain()), "/results/nothing").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(answer.body.contains("href=\"/models\""));
    }
}
