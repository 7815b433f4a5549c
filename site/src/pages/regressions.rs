//! What became slower, hungrier or larger, how far that is proven, and which gates were run.

use askama::Template;
use askama::filters::HtmlSafe;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use domain::gate::{Metric, Verdict};
use domain::history::{ChangeRow, ChangeState, GateRow, LedgerRow, RegressionsAnswer, SeriesRow};
use domain::ids::Slug;
use domain::query::{FieldError, RegressionsQuery};
use domain::tier::Tier;

use crate::charts::state_word;
use crate::error::PageError;
use crate::format::{self, Cell, Quantity};
use crate::layout::{Layout, Twin, render};
use crate::routes::Site;
use crate::{names, twins};

/// More changes stay in the twins.
const MAX_CHANGES: usize = 100;
/// More gates stay in the twins.
const MAX_GATES: usize = 50;
/// More series stay in the twins.
const MAX_SERIES: usize = 200;
/// More paired runs are asked for by the table's order, one after the other.
const MAX_ASKED: usize = 10;

#[derive(Template)]
#[template(path = "pages/regressions.html")]
struct RegressionsPage {
    layout: Layout,
    /// The engine asked about, as addresses spell it.
    engine: Option<String>,
    engines: Vec<String>,
    days: [DayField; 2],
    /// What is wrong with the rest of the question.
    errors: Vec<String>,
    /// How many changes stand in each state, in words.
    headline: String,
    /// Days or an engine were asked for: what is missing may lie beyond.
    is_narrowed: bool,
    changes: Vec<ChangeView>,
    hidden_changes: usize,
    asked: Vec<AskedView>,
    states: Vec<StateView>,
    gates: GatesTable,
    aa: GatesTable,
    aa_words: String,
    ledger: Vec<LedgerView>,
    series: Vec<SeriesView>,
    hidden_series: usize,
}

impl RegressionsPage {
    fn is_asked(&self, engine: &str) -> bool {
        self.engine.as_deref() == Some(engine)
    }

    /// Whether a command leaves something to the reader.
    fn has_gaps(&self) -> bool {
        (self.asked.iter()).any(|one| one.command.contains('<'))
    }
}

/// A day that the reader may choose.
struct DayField {
    key: &'static str,
    label: &'static str,
    value: String,
    error: Option<String>,
}

/// Gates below each other.
#[derive(Template)]
#[template(path = "components/gates_table.html")]
struct GatesTable {
    name: &'static str,
    list: Vec<GateView>,
    hidden: usize,
}

impl HtmlSafe for GatesTable {}

impl GatesTable {
    fn new(name: &'static str, gates: &[&GateRow]) -> Self {
        Self {
            name,
            list: gates
                .iter()
                .take(MAX_GATES)
                .map(|gate| gate_view(gate))
                .collect(),
            hidden: gates.len().saturating_sub(MAX_GATES),
        }
    }
}

/// A state and what it means.
struct StateView {
    word: &'static str,
    meaning: &'static str,
}

/// A change, as tables have it.
pub(crate) struct ChangeView {
    pub(crate) anchor: String,
    pub(crate) state: &'static str,
    pub(crate) meaning: &'static str,
    /// The gate's word, where a paired run said it.
    pub(crate) verdict: Option<VerdictView>,
    pub(crate) series: SeriesView,
    pub(crate) effect: String,
    pub(crate) direction: &'static str,
    pub(crate) noise: Option<String>,
    pub(crate) p: String,
    pub(crate) good: String,
    pub(crate) bad: String,
    /// `good..bad`, as a version control reads it.
    pub(crate) commits: Option<String>,
    pub(crate) at: String,
    pub(crate) points: String,
    pub(crate) note: Option<String>,
    pub(crate) gates: Vec<(String, String)>,
    /// The command that would tell, where none has.
    pub(crate) paired_run: Option<String>,
}

/// A paired run that is asked for.
struct AskedView {
    name: String,
    state: &'static str,
    command: String,
}

/// A verdict's word and look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VerdictView {
    pub(crate) word: &'static str,
    pub(crate) class: &'static str,
}

/// A gate in a list.
struct GateView {
    href: String,
    verdict: VerdictView,
    headline: String,
    base: String,
    candidate: String,
    setup: String,
    worst: Option<String>,
    effect: Option<String>,
    mde: Option<String>,
    blocks: u32,
    time: String,
    measured: String,
    tier: &'static str,
    is_quarantined: bool,
}

/// A series in a list.
pub(crate) struct SeriesView {
    pub(crate) href: String,
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) setup: String,
    pub(crate) points: u32,
    pub(crate) epochs: u32,
    pub(crate) latest: Cell,
}

struct LedgerView {
    cell: String,
    metric: String,
    engine: String,
    setup: String,
    gates: u32,
    effect: String,
    latest: String,
}

/// `GET /regressions?from=&to=`; an engine in the query moves into the path.
pub(crate) async fn list(
    State(site): State<Site>,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    show(&site, None, &raw.unwrap_or_default()).await
}

/// `GET /regressions/{engine}?from=&to=` and its twins.
pub(crate) async fn engine(
    State(site): State<Site>,
    Path(engine): Path<String>,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    let raw = raw.unwrap_or_default();
    let (name, format) = twins::split(&engine);
    let slug: Slug = name
        .parse()
        .map_err(|_| PageError::NotFound(format!("engine {}", names::cut(name, 64))))?;
    if let Some(format) = format {
        let path = api_path(&with_engine(&raw, &slug));
        return twins::pass(&site, &path, format).await;
    }
    show(&site, Some(slug), &raw).await
}

async fn show(site: &Site, engine: Option<Slug>, raw: &str) -> Result<Response, PageError> {
    let (query, errors) = match RegressionsQuery::parse(raw) {
        Ok(mut query) => {
            let moved = query.engine.take();
            let spelled = query.canonical();
            if moved.is_some() || spelled != raw {
                let path = page_path(moved.or(engine).as_ref());
                return Ok(Redirect::to(&address(&path, &spelled)).into_response());
            }
            (query, Vec::new())
        }
        Err(errors) => (RegressionsQuery::default(), errors),
    };
    let path = page_path(engine.as_ref());
    let days = query.canonical();
    let asked = RegressionsQuery { engine, ..query };
    let (answer, age) = site
        .client
        .read::<RegressionsAnswer>(&api_path(&asked.canonical()))
        .await?;
    let status = if errors.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::BAD_REQUEST
    };
    let mut page = view(answer, &asked, &errors);
    page.layout.age = age;
    page.layout.twins = twins::of(&path, &address("", &days));
    page.layout.twins.push(feed());
    render(status, &page, &page.layout.twins)
}

/// The feed of confirmed changes.
pub(crate) fn feed() -> Twin {
    Twin {
        href: "/regressions.atom".to_owned(),
        kind: "application/atom+xml",
        name: "Atom feed of confirmed changes",
    }
}

fn page_path(engine: Option<&Slug>) -> String {
    engine.map_or_else(
        || "/regressions".to_owned(),
        |engine| format!("/regressions/{engine}"),
    )
}

fn api_path(query: &str) -> String {
    address("/api/v1/regressions", query)
}

fn address(path: &str, query: &str) -> String {
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    }
}

/// The raw query with the engine of the path in it: what cannot be read, the API refuses.
fn with_engine(raw: &str, slug: &Slug) -> String {
    if raw.is_empty() {
        format!("engine={slug}")
    } else {
        format!("engine={slug}&{raw}")
    }
}

fn view(
    answer: RegressionsAnswer,
    asked: &RegressionsQuery,
    errors: &[FieldError],
) -> RegressionsPage {
    // What nobody measured is not free of regressions.
    let is_empty = answer.series.is_empty() && answer.gates.is_empty();
    let headline = if is_empty && answer.changes.is_empty() {
        "Nothing was measured twice yet.".to_owned()
    } else {
        headline(&answer.changes, &answer.gates)
    };
    let layout = Layout::new(
        "/regressions",
        asked.engine.as_ref().map_or_else(
            || "Regressions".to_owned(),
            |engine| format!("Regressions of {engine}"),
        ),
        headline.clone(),
    );
    let changes: Vec<ChangeView> = answer
        .changes
        .iter()
        .take(MAX_CHANGES)
        .map(change_view)
        .collect();
    let day = |key, label, value: Option<String>| {
        let error = errors.iter().find(|error| error.field == key);
        let typed = error.map(|error| error.given.clone());
        DayField {
            key,
            label,
            value: typed.or(value).unwrap_or_default(),
            error: error.map(|error| error.message.clone()),
        }
    };
    let open = |change: &&ChangeView| change.paired_run.is_some();
    let (aa, gates): (Vec<&GateRow>, Vec<&GateRow>) =
        answer.gates.iter().partition(|gate| gate.purpose == "aa");
    RegressionsPage {
        layout,
        engine: asked.engine.as_ref().map(Slug::to_string),
        days: [
            day("from", "From day", asked.from.map(|day| day.to_string())),
            day("to", "To day", asked.to.map(|day| day.to_string())),
        ],
        is_narrowed: *asked != RegressionsQuery::default(),
        errors: errors
            .iter()
            .filter(|error| !DAYS.contains(&error.field.as_str()))
            .map(|error| format!("{}: {}", error.field, error.message))
            .collect(),
        headline,
        hidden_changes: answer.changes.len() - changes.len(),
        asked: changes
            .iter()
            .filter(open)
            .take(MAX_ASKED)
            .map(|change| AskedView {
                name: format!("{}, {}", change.series.name, change.series.what),
                state: change.state,
                command: change.paired_run.clone().unwrap_or_default(),
            })
            .collect(),
        changes,
        states: STATES
            .into_iter()
            .map(|state| StateView {
                word: state_word(state),
                meaning: meaning(state),
            })
            .collect(),
        gates: GatesTable::new("Gates", &gates),
        aa_words: against_itself(&aa),
        aa: GatesTable::new("Gates of a build against itself", &aa),
        ledger: answer.ledger.iter().map(ledger_view).collect(),
        hidden_series: answer.series.len().saturating_sub(MAX_SERIES),
        series: answer
            .series
            .iter()
            .take(MAX_SERIES)
            .map(series_view)
            .collect(),
        engines: answer.engines,
    }
}

/// Fields that have an error of their own.
const DAYS: [&str; 2] = ["from", "to"];

const STATES: [ChangeState; 6] = [
    ChangeState::Confirmed,
    ChangeState::Certified,
    ChangeState::Suspect,
    ChangeState::Environment,
    ChangeState::NotReproduced,
    ChangeState::WentAway,
];

/// What a state means, in a sentence.
fn meaning(state: ChangeState) -> &'static str {
    match state {
        ChangeState::Confirmed => {
            "A paired run of both builds on one machine said so. Only this alerts."
        }
        ChangeState::Certified => {
            "The series changed, by a test that pays for choosing the place. No paired run has said so yet."
        }
        ChangeState::Suspect => {
            "The newest points look different. That proves nothing: it asks for the paired run."
        }
        ChangeState::Environment => {
            "The canary, a pinned build measured beside it, moved as well: the machine or its surroundings, not the engine."
        }
        ChangeState::NotReproduced => "A paired run of both builds did not find it.",
        ChangeState::WentAway => "Later points are back where they were.",
    }
}

/// How many changes stand where, and what the gates said, in a sentence each.
fn headline(changes: &[ChangeRow], gates: &[GateRow]) -> String {
    let counted: Vec<&GateRow> = (gates.iter())
        .filter(|gate| gate.purpose == "gate" && gate.tier != Tier::Quarantined)
        .collect();
    let regressed = counted
        .iter()
        .filter(|gate| gate.verdict == Verdict::Regressed);
    let said = match (regressed.count(), counted.len()) {
        (0, _) => String::new(),
        (regressed, all) => format!(
            " Of {} below, {regressed} said REGRESSED.",
            format::plural(all, "gate")
        ),
    };
    let count = |state: ChangeState, worse: bool| {
        let alike = |change: &&ChangeRow| change.state == state && change.is_regression == worse;
        changes.iter().filter(alike).count()
    };
    let open = changes.iter().filter(|change| waits(change)).count();
    let worse = format::plural(count(ChangeState::Confirmed, true), "regression");
    let better = format::plural(count(ChangeState::Confirmed, false), "improvement");
    let confirmed = match (
        count(ChangeState::Confirmed, true),
        count(ChangeState::Confirmed, false),
    ) {
        (0, 0) => "No regression of a series is confirmed".to_owned(),
        (0, _) => format!("No regression of a series is confirmed, but {better}"),
        (1, 0) => format!("{worse} is confirmed"),
        (_, 0) => format!("{worse} are confirmed"),
        (_, _) => format!("{worse} and {better} are confirmed"),
    };
    let waiting = match open {
        0 => String::new(),
        1 => "; 1 change waits for its paired run".to_owned(),
        n => format!("; {n} changes wait for their paired runs"),
    };
    format!("{confirmed}{waiting}.{said}")
}

/// How often the gate raised an alarm over nothing, as far as the listed gates tell.
fn against_itself(aa: &[&GateRow]) -> String {
    let counted = aa.iter().filter(|gate| gate.tier != Tier::Quarantined);
    let of = |verdict| {
        counted
            .clone()
            .filter(|gate| gate.verdict == verdict)
            .count()
    };
    format!(
        "Of {} of a build against itself, {} said REGRESSED, {} IMPROVED, {} INCONCLUSIVE, {} INVALID.",
        format::plural(counted.clone().count(), "gate"),
        of(Verdict::Regressed),
        of(Verdict::Improved),
        of(Verdict::Inconclusive),
        of(Verdict::Invalid),
    )
}

/// A change as tables have it.
pub(crate) fn change_view(change: &ChangeRow) -> ChangeView {
    let gates = change.gates.iter();
    ChangeView {
        anchor: change.id.clone(),
        state: state_word(change.state),
        meaning: meaning(change.state),
        verdict: (change.state == ChangeState::Confirmed).then(|| {
            verdict_view(if change.is_regression {
                Verdict::Regressed
            } else {
                Verdict::Improved
            })
        }),
        series: series_view(&change.series),
        effect: format::change(change.effect),
        direction: direction(&change.series.metric, change.is_regression),
        noise: change
            .effect_over_noise
            .map(|ratio| format::number(ratio.abs(), 1)),
        p: if change.p < 0.001 {
            "p < 0.001".to_owned()
        } else {
            format!("p = {}", format::trimmed(change.p, 3))
        },
        good: change.last_good.clone(),
        bad: change.first_bad.clone(),
        commits: commits(change),
        at: format::time(&change.at),
        points: format!(
            "{} before, {} after",
            change.points_before, change.points_after
        ),
        note: change.note.clone(),
        gates: gates
            .map(|id| (gate_path(id), names::cut(id, 13)))
            .collect(),
        paired_run: waits(change).then(|| change.paired_run.clone()),
    }
}

/// Whether a paired run may still tell.
fn waits(change: &ChangeRow) -> bool {
    matches!(change.state, ChangeState::Certified | ChangeState::Suspect)
        && !change.paired_run.is_empty()
}

/// `good..bad`, where both are known.
fn commits(change: &ChangeRow) -> Option<String> {
    let good = change.last_good_commit.as_deref()?;
    let bad = change.first_bad_commit.as_deref()?;
    let short = |commit: &str| commit.chars().take(12).collect::<String>();
    Some(format!("{}..{}", short(good), short(bad)))
}

/// In which direction a metric of the results moved, in the gate's words.
pub(crate) fn direction(metric: &str, is_worse: bool) -> &'static str {
    let metric = match Quantity::of_metric(metric) {
        Some(Quantity::Joules) => Metric::Energy,
        Some(Quantity::Bytes) => Metric::PeakBytes,
        Some(_) => Metric::Decode,
        None => return if is_worse { "worse" } else { "better" },
    };
    if is_worse {
        metric.worse()
    } else {
        metric.better()
    }
}

/// A series as lists have it.
pub(crate) fn series_view(series: &SeriesRow) -> SeriesView {
    let latest = match Quantity::of_metric(&series.metric) {
        Some(quantity) => Cell::alone(quantity, series.latest, None),
        None => series.latest.map_or_else(
            || Cell::missing(""),
            |value| Cell::words(format::rough(value)),
        ),
    };
    SeriesView {
        href: format!("/series/{}", names::segment(&series.id)),
        // Joined from several names: none of them may reorder the others.
        name: names::drawable(&format!(
            "{}: {} {}",
            series.engine, series.model, series.variant
        )),
        what: names::drawable(&format!("{}, {}", metric_words(series), series.workload)),
        setup: series.setup.clone(),
        points: series.points,
        epochs: series.epochs,
        latest,
    }
}

/// What a series measures, in words.
pub(crate) fn metric_words(series: &SeriesRow) -> String {
    let words = match series.metric.as_str() {
        "decode_tokens_per_second" => "decode speed",
        "prefill_tokens_per_second" => "prefill speed",
        "engine_decode_tokens_per_second" => "decode speed by the engine’s own clock",
        "engine_prefill_tokens_per_second" => "prefill speed by the engine’s own clock",
        "ttft_ms" => "time to first token",
        "joules_per_output_token" => "joules per output token",
        "peak_bytes" => "peak memory",
        other => other,
    };
    match &series.energy_scope {
        Some(scope) => format!("{words} ({scope})"),
        None => words.to_owned(),
    }
}

/// A verdict's word and look. No green and no red inside the noise.
pub(crate) fn verdict_view(verdict: Verdict) -> VerdictView {
    VerdictView {
        word: verdict.as_str(),
        class: match verdict {
            Verdict::Pass | Verdict::Improved => "good",
            Verdict::Regressed => "bad",
            Verdict::Inconclusive => "open",
            Verdict::Invalid => "void",
        },
    }
}

/// The verdict of a gate; a comparison has none.
pub(crate) fn said(purpose: &str, verdict: Verdict) -> VerdictView {
    if purpose == "compare" && verdict != Verdict::Invalid {
        return VerdictView {
            word: "no verdict asked",
            class: "open",
        };
    }
    verdict_view(verdict)
}

/// A headline without the verdict that it begins with, where that stands beside it.
pub(crate) fn without_word(headline: &str, verdict: Verdict) -> String {
    headline
        .strip_prefix(verdict.as_str())
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(headline)
        .to_owned()
}

/// A gate's page.
pub(crate) fn gate_path(content_id: &str) -> String {
    format!("/gates/{}", names::segment(content_id))
}

fn gate_view(gate: &GateRow) -> GateView {
    GateView {
        href: gate_path(&gate.content_id),
        verdict: said(&gate.purpose, gate.verdict),
        headline: without_word(&gate.headline, gate.verdict),
        base: gate.base.clone(),
        candidate: gate.candidate.clone(),
        setup: gate.setup.clone(),
        worst: gate.worst_cell.clone(),
        effect: gate.effect.map(format::change),
        mde: gate.mde.map(format::percent),
        blocks: gate.blocks,
        time: format::duration(gate.seconds),
        measured: format::time(&gate.measured_at),
        tier: gate.tier.as_str(),
        is_quarantined: gate.tier == Tier::Quarantined,
    }
}

fn ledger_view(row: &LedgerRow) -> LedgerView {
    LedgerView {
        cell: row.cell.clone(),
        metric: row.metric.clone(),
        engine: row.engine.clone(),
        setup: row.setup.clone(),
        gates: row.gates,
        effect: format::change(row.effect),
        latest: format::time(&row.latest_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::tests::{get, site};

    #[tokio::test]
    async fn confirmed_changes_stand_first_with_the_gates_word_and_open_ones_ask_for_a_run() {
        let page = get(&site(sample::priced()), "/regressions").await;
        assert_eq!(page.status, StatusCode::OK);
        let at = |words: &str| page.body.find(words).unwrap_or_else(|| panic!("{words}"));
        assert!(at(">confirmed</span>") < at(">certified</span>"));
        assert!(at(">certified</span>") < at(">suspect</span>"));
        assert!(
            page.body
                .contains("1 regression and 1 improvement are confirmed")
        );
        assert!(page.body.contains("3.4\u{a0}% slower"));
        assert!(
            page.body.contains("joulemark gate --base-ref"),
            "{}",
            page.body
        );
        assert!(page.body.contains("aa00bb11cc22..bb11cc22dd33"));
    }

    #[tokio::test]
    async fn a_gate_that_passed_says_what_it_could_have_found() {
        let page = get(&site(sample::priced()), "/regressions").await;
        let row = page.body.split("<tr").find(|row| row.contains(">PASS<"));
        let row = row.expect("a gate passed");
        assert!(row.contains("1.1\u{a0}%"), "{row}");
        assert!(
            page.body
                .contains("Of 2 gates of a build against itself, 0 said REGRESSED")
        );
    }

    #[tokio::test]
    async fn other_spellings_lead_to_the_one_address() {
        let site = site(sample::priced());
        for (typed, address) in [
            ("/regressions?engine=candle", "/regressions/candle"),
            ("/regressions?engine=&from=&to=", "/regressions"),
            (
                "/regressions/candle?to=2026-11-20&from=2026-11-01",
                "/regressions/candle?from=2026-11-01&to=2026-11-20",
            ),
        ] {
            let answer = get(&site, typed).await;
            assert_eq!(answer.status, StatusCode::SEE_OTHER, "{typed}");
            assert_eq!(answer.location.as_deref(), Some(address));
            assert_eq!(
                get(&site, address).await.status,
                StatusCode::OK,
                "{address}"
            );
        }
    }

    #[tokio::test]
    async fn a_day_that_is_none_is_said_at_its_field_and_the_page_stays() {
        let page = get(&site(sample::priced()), "/regressions?from=yesterday").await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        assert!(page.body.contains("a day such as"), "{}", page.body);
        assert!(page.body.contains(">confirmed</span>"));
        assert_eq!(
            get(&site(sample::priced()), "/regressions/No%20Slug")
                .await
                .status,
            StatusCode::NOT_FOUND
        );
    }

    #[tokio::test]
    async fn before_anything_was_gated_the_page_says_how_to_get_there() {
        let page = get(&site(sample::empty()), "/regressions").await;
        assert_eq!(page.status, StatusCode::OK);
        for part in [
            "joulemark gate",
            "joulemark submit",
            "joulemark sweep",
            "joulemark aa",
        ] {
            assert!(page.body.contains(part), "{part}");
        }
        assert!(
            !page.body.contains("is confirmed"),
            "nothing measured proves nothing"
        );
    }

    #[tokio::test]
    async fn twins_carry_the_same_question() {
        let page = get(
            &site(sample::priced()),
            "/regressions/candle?from=2026-11-01",
        )
        .await;
        let csv = "/regressions/candle.csv?from=2026-11-01";
        assert!(
            page.links.iter().any(|link| link.contains(csv)),
            "{:?}",
            page.links
        );
        assert!(
            page.links
                .iter()
                .any(|link| link.contains("/regressions.atom"))
        );
        for path in [csv, "/regressions.json", "/regressions.csv", "/gates.json"] {
            let twin = get(&site(sample::priced()), path).await;
            assert_eq!(twin.status, StatusCode::OK, "{path}");
        }
    }

    #[tokio::test]
    async fn what_no_gate_can_tell_waits_for_none_and_what_the_reader_fills_in_is_said() {
        let json = get(&site(sample::priced()), "/regressions.json").await;
        let mut answer: RegressionsAnswer = serde_json::from_str(&json.body).expect("an answer");
        let shown = |answer: &RegressionsAnswer| {
            let page = view(answer.clone(), &RegressionsQuery::default(), &[]);
            page.render().expect("rendered")
        };
        let page = shown(&answer);
        assert!(page.contains("2 changes wait for their paired runs"));
        assert!(!page.contains("angle brackets"));
        let open: Vec<usize> = (0..answer.changes.len())
            .filter(|at| waits(&answer.changes[*at]))
            .collect();
        answer.changes[open[0]].paired_run = String::new();
        answer.changes[open[1]].paired_run = "joulemark gate --base '<command of x>'".to_owned();
        let page = shown(&answer);
        assert!(page.contains("1 change waits for its paired run"));
        assert!(page.contains("angle brackets"));
    }

    #[test]
    fn a_gate_that_regressed_is_not_hidden_behind_series_that_did_not() {
        let gate =
            |verdict| crate::sample::gates::gate(crate::sample::gates::PASSED, "gate", verdict).row;
        let said = headline(&[], &[gate(Verdict::Pass), gate(Verdict::Regressed)]);
        assert_eq!(
            said,
            "No regression of a series is confirmed. Of 2 gates below, 1 said REGRESSED."
        );
        let said = headline(&[], &[gate(Verdict::Pass)]);
        assert_eq!(said, "No regression of a series is confirmed.");
    }

    #[test]
    fn a_comparison_has_no_verdict_and_an_invalid_one_says_so() {
        assert_eq!(said("compare", Verdict::Pass).word, "no verdict asked");
        assert_eq!(said("compare", Verdict::Invalid).word, "INVALID");
        assert_eq!(said("gate", Verdict::Pass).word, "PASS");
    }
}
