//! Home and frontier: the question as a form, the answer, the chart, the table.

mod form;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use domain::api::{FrontierAnswer, ImportedBeside, LeftOut, Membership, Objective, ResultRow};
use domain::query::{FieldError, FrontierQuery};
use url::form_urlencoded;

use self::form::Form;
use super::rows::{Remark, RowView, missing_everywhere, missing_theory};
use crate::charts::FrontierChart;
use crate::error::PageError;
use crate::layout::{Layout, Twin, render};
use crate::routes::Site;
use crate::{format, names};

/// Budgets with an address of their own.
pub(crate) const PRESETS: [u32; 6] = [500, 1_000, 2_000, 5_000, 10_000, 25_000];
/// More rows stay in the twins.
const MAX_ROWS: usize = 200;
/// More results of one reason are counted, not listed.
const MAX_LEFT_OUT: usize = 24;
/// Below this many results a live page loads itself again.
const FEW: usize = 12;
/// Seconds between two loads of a live page.
const REFRESH_SECONDS: u32 = 5;

#[derive(Template)]
#[template(path = "pages/home.html")]
struct Home {
    layout: Layout,
    heading: String,
    form: Form,
    presets: Vec<(String, String)>,
    /// The API's sentence.
    answer: String,
    counts: String,
    reason: Option<String>,
    chart: Option<FrontierChart>,
    table: Table,
    left_out: Vec<Group>,
    /// Results of other tools, when the reader asked for them.
    imported: Vec<ImportedLine>,
    /// Why there are none, though the reader asked.
    imported_reason: Option<String>,
    state: Shown,
}

/// One result of another tool.
struct ImportedLine {
    name: String,
    test: String,
    tool: String,
    decode: String,
    price: Option<String>,
    price_note: String,
    href: String,
}

/// What the page is about to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Nothing was measured yet.
    Nothing,
    /// Results exist, none fits the question.
    NoneFits,
    /// There are rows.
    Rows,
}

struct Table {
    rows: Vec<RowView>,
    total: usize,
    hidden: usize,
    with_joules: bool,
    with_price: bool,
    with_setup: bool,
    notes: Vec<String>,
}

struct Group {
    title: String,
    reason: Option<String>,
    items: Vec<(String, String, String)>,
    more: usize,
}

/// `GET /` and `GET /frontier?…`.
pub(crate) async fn show(
    State(site): State<Site>,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    let raw = raw.unwrap_or_default();
    match FrontierQuery::parse(&raw) {
        Ok(query) if query.canonical() == raw => {
            page(&site, StatusCode::OK, &query, &raw, &[]).await
        }
        Ok(query) => Ok(Redirect::to(&address("/frontier", &query.canonical())).into_response()),
        Err(errors) => {
            let readable = without(&raw, &errors);
            let query = FrontierQuery::parse(&readable).unwrap_or_default();
            page(&site, StatusCode::BAD_REQUEST, &query, &raw, &errors).await
        }
    }
}

/// `GET /frontier/under-2000`: the same question under an address that can be indexed.
pub(crate) async fn preset(
    State(site): State<Site>,
    Path(preset): Path<String>,
) -> Result<Response, PageError> {
    let budget = PRESETS
        .into_iter()
        .find(|budget| preset == format!("under-{budget}"));
    let Some(budget) = budget else {
        return Err(PageError::NotFound(format!(
            "frontier /frontier/{}",
            names::segment(&preset)
        )));
    };
    let query = FrontierQuery {
        budget_usd: f64::from(budget),
        ..FrontierQuery::default()
    };
    page(&site, StatusCode::OK, &query, &query.canonical(), &[]).await
}

/// `GET /frontier.svg?…`: the wide drawing as a file.
pub(crate) async fn drawing(
    State(site): State<Site>,
    RawQuery(raw): RawQuery,
) -> Result<Response, PageError> {
    let query = FrontierQuery::parse(&raw.unwrap_or_default())
        .map_err(|_| PageError::NotFound("chart for a question that cannot be read".to_owned()))?;
    let (answer, _) = site
        .client
        .read::<FrontierAnswer>(&address("/api/v1/frontier", &query.canonical()))
        .await?;
    let chart = FrontierChart::new(&answer)?.ok_or_else(|| {
        PageError::NotFound("chart: no result has a place on its axes".to_owned())
    })?;
    Ok((
        [(CONTENT_TYPE, "image/svg+xml")],
        chart.standalone().render()?,
    )
        .into_response())
}

async fn page(
    site: &Site,
    status: StatusCode,
    query: &FrontierQuery,
    typed: &str,
    errors: &[FieldError],
) -> Result<Response, PageError> {
    let canonical = query.canonical();
    let (answer, age) = site
        .client
        .read::<FrontierAnswer>(&address("/api/v1/frontier", &canonical))
        .await?;
    let live = site.options.live.load(Ordering::Relaxed) && errors.is_empty();
    let mut home = view(&answer, query, typed, errors)?;
    home.layout.age = age;
    home.layout.refresh =
        (live && answer.rows.len() + answer.left_out.len() < FEW).then_some(REFRESH_SECONDS);
    let twins = home.layout.twins.clone();
    let mut response = render(status, &home, &twins)?;
    if home.layout.refresh.is_some() {
        // Kept for longer than the page waits, a copy would hide what has arrived since.
        response
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    Ok(response)
}

fn view(
    answer: &FrontierAnswer,
    query: &FrontierQuery,
    typed: &str,
    errors: &[FieldError],
) -> Result<Home, PageError> {
    let canonical = query.canonical();
    let twin = |name, ending, kind| Twin {
        href: address(&format!("/frontier.{ending}"), &canonical),
        kind,
        name,
    };
    let heading = format!(
        "What local AI can you get for {}?",
        format::usd(answer.budget_usd)
    );
    let mut layout = Layout::new("/", heading.clone(), answer.answer.clone());
    layout.twins = vec![
        twin("JSON", "json", "application/json"),
        twin("CSV", "csv", "text/csv"),
    ];
    let chart = FrontierChart::new(answer)?;
    if chart.is_some() {
        layout.twins.push(twin("SVG", "svg", "image/svg+xml"));
    }
    let state = match (
        answer.rows.is_empty(),
        answer.measured == 0 && answer.left_out.is_empty(),
    ) {
        (true, true) => Shown::Nothing,
        (true, false) => Shown::NoneFits,
        (false, _) => Shown::Rows,
    };
    Ok(Home {
        layout,
        heading,
        form: Form::new(answer, query, typed, errors),
        presets: PRESETS
            .into_iter()
            .map(|budget| {
                (
                    format!("/frontier/under-{budget}"),
                    format::usd(f64::from(budget)),
                )
            })
            .collect(),
        answer: answer.answer.clone(),
        counts: counts(answer),
        reason: answer.objectives_reason.clone(),
        chart,
        table: table(answer),
        left_out: groups(answer),
        imported: answer.imported.iter().map(imported_line).collect(),
        imported_reason: answer.imported_reason.clone(),
        state,
    })
}

fn counts(answer: &FrontierAnswer) -> String {
    let mut text = format!(
        "{} measured, {} on the frontier, {} tied, {} without a price",
        answer.measured, answer.on, answer.tied, answer.unpriced
    );
    if let Some(newest) = answer
        .rows
        .iter()
        .filter_map(|row| row.price_date.as_deref())
        .max()
    {
        let _ = write!(text, "; newest price of {newest}");
    }
    let _ = write!(text, "; {} or better", answer.tier_floor.as_str());
    let workload = answer.workload.as_deref();
    let workload = workload.map(|name| form::workload(answer, name));
    for (name, value) in [("suite", answer.suite.clone()), ("workload", workload)] {
        text += &value
            .map(|value| format!("; {name} {value}"))
            .unwrap_or_default();
    }
    text
}

fn table(answer: &FrontierAnswer) -> Table {
    let rows = &answer.rows;
    let joules = missing_everywhere(
        "Joules per correct answer",
        rows.iter().map(|row| {
            (
                row.joules_per_correct_answer.is_some(),
                row.energy_reason.as_deref(),
            )
        }),
    );
    let price = missing_everywhere(
        "Price",
        rows.iter()
            .map(|row| (row.price_usd.is_some(), row.price_reason.as_deref())),
    );
    let theory = missing_theory(rows);
    let engines = engines_of(answer);
    let one_setup = rows.windows(2).all(|pair| pair[0].setup == pair[1].setup);
    let mut notes: Vec<String> = [&joules, &price, &theory]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    if let (true, Some(first)) = (one_setup, rows.first()) {
        notes.insert(
            0,
            format!("All of it was measured on {}.", first.setup_name),
        );
    }
    let by_id: BTreeMap<&str, &ResultRow> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let views = rows.iter().take(MAX_ROWS).map(|row| {
        let mut view = RowView::among(row, &engines);
        view.remark = remark(row, &by_id, &answer.objectives, &engines);
        view
    });
    Table {
        rows: views.collect(),
        total: rows.len(),
        hidden: rows.len().saturating_sub(MAX_ROWS),
        with_joules: joules.is_none(),
        with_price: price.is_none(),
        with_setup: !one_setup,
        notes,
    }
}

/// By whom and by how much a dominated row is dominated, or which objective keeps a row on the
/// frontier that another beats in the two that are drawn.
fn remark(
    row: &ResultRow,
    by_id: &BTreeMap<&str, &ResultRow>,
    objectives: &[Objective],
    engines: &names::Engines,
) -> Option<Remark> {
    match row.membership? {
        Membership::Dominated => dominator(row, by_id, objectives, engines),
        Membership::On => third_objective(row, by_id, objectives),
        Membership::Tied => None,
    }
}

fn dominator(
    row: &ResultRow,
    by_id: &BTreeMap<&str, &ResultRow>,
    objectives: &[Objective],
    engines: &names::Engines,
) -> Option<Remark> {
    let id = row.dominated_by.as_ref()?;
    let winner = by_id.get(id.as_str());
    let name = winner.map_or_else(|| id.clone(), |winner| engines.full(winner));
    Some(Remark {
        text: "by".to_owned(),
        link: Some((names::result_path(id), name)),
        more: winner
            .map(|winner| by_how_much(row, winner, objectives))
            .unwrap_or_default(),
    })
}

fn third_objective(
    row: &ResultRow,
    by_id: &BTreeMap<&str, &ResultRow>,
    objectives: &[Objective],
) -> Option<Remark> {
    let [x, y, third] = objectives else {
        return None;
    };
    let beaten_in_two = by_id.values().any(|other| {
        [x, y].into_iter().all(|objective| {
            objective
                .of(other)
                .zip(objective.of(row))
                .is_some_and(|(theirs, ours)| {
                    if objective.higher_is_better() {
                        theirs > ours
                    } else {
                        theirs < ours
                    }
                })
        })
    });
    beaten_in_two.then(|| Remark {
        text: format!(
            "on by {}",
            if *third == Objective::Joules {
                "energy"
            } else {
                third.as_str()
            }
        ),
        link: None,
        more: String::new(),
    })
}

fn by_how_much(row: &ResultRow, winner: &ResultRow, objectives: &[Objective]) -> String {
    let parts: Vec<String> = objectives
        .iter()
        .filter_map(|objective| {
            let (theirs, ours) = (objective.of(winner)?, objective.of(row)?);
            match objective {
                Objective::Quality if theirs - ours >= 0.000_5 => Some(format!(
                    "+{} points",
                    format::number((theirs - ours) * 100.0, 1)
                )),
                Objective::Price if ours - theirs >= 1.0 => {
                    Some(format!("{} less", format::usd(ours - theirs)))
                }
                Objective::Decode if ours > 0.0 && theirs / ours >= 1.005 => {
                    Some(format!("{}× as fast", format::number(theirs / ours, 2)))
                }
                Objective::Joules if theirs > 0.0 && ours / theirs >= 1.005 => Some(format!(
                    "{} % of the joules",
                    format::number(100.0 * theirs / ours, 0)
                )),
                _ => None,
            }
        })
        .collect();
    parts.join(", ")
}

/// Labels for the engines of all that the page names.
fn engines_of(answer: &FrontierAnswer) -> names::Engines {
    let beside = answer.left_out.iter().map(|one| &one.row);
    names::Engines::of(answer.rows.iter().chain(beside))
}

fn groups(answer: &FrontierAnswer) -> Vec<Group> {
    let left_out: &[LeftOut] = &answer.left_out;
    let engines = engines_of(answer);
    let mut codes: Vec<&str> = Vec::new();
    for one in left_out {
        if !codes.contains(&one.code.as_str()) {
            codes.push(&one.code);
        }
    }
    codes
        .into_iter()
        .map(|code| {
            let members: Vec<&LeftOut> = left_out.iter().filter(|one| one.code == code).collect();
            let shared = members
                .windows(2)
                .all(|pair| pair[0].reason == pair[1].reason);
            let items = members
                .iter()
                .take(MAX_LEFT_OUT)
                .map(|one| {
                    let reason = if shared {
                        String::new()
                    } else {
                        one.reason.clone()
                    };
                    (
                        names::result_path(&one.row.id),
                        engines.full(&one.row),
                        reason,
                    )
                })
                .collect();
            Group {
                title: format!(
                    "{}: {}",
                    title_of(code),
                    format::plural(members.len(), "result")
                ),
                reason: members
                    .first()
                    .filter(|_| shared)
                    .map(|one| one.reason.clone()),
                items,
                more: members.len().saturating_sub(MAX_LEFT_OUT),
            }
        })
        .collect()
}

fn title_of(code: &str) -> String {
    match code {
        "over-budget" => "Over the budget".to_owned(),
        "no-price" => "No price known".to_owned(),
        "no-joules" => "No joules at this scope".to_owned(),
        "no-quality" => "No quality published".to_owned(),
        "no-decode" => "No decode speed published".to_owned(),
        "too-slow" => "Too slow".to_owned(),
        "below-quality" => "Below the asked quality".to_owned(),
        "below-tier" => "Below the asked tier".to_owned(),
        "no-interval" => "Too few repetitions".to_owned(),
        "too-many-joules" => "Too many joules".to_owned(),
        "failed" => "Could not be measured".to_owned(),
        "other-workload" => "Of another workload".to_owned(),
        "other-suite" => "Of another suite".to_owned(),
        "other-scope" => "Of another energy scope".to_owned(),
        other => other.replace('-', " "),
    }
}

/// A path with its query, if there is one.
fn address(path: &str, query: &str) -> String {
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    }
}

/// The query without the fields that could not be read.
fn without(raw: &str, errors: &[FieldError]) -> String {
    let cut = |key: &str| key.chars().take(80).collect::<String>();
    let pairs = form_urlencoded::parse(raw.as_bytes())
        .filter(|(key, _)| !errors.iter().any(|e| e.field == cut(key)));
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

fn imported_line(one: &ImportedBeside) -> ImportedLine {
    let row = &one.import.row;
    let given = [&row.model, &row.quant, &row.hardware];
    let name: Vec<&str> = given.iter().filter_map(|part| part.as_deref()).collect();
    ImportedLine {
        name: if name.is_empty() {
            "model not recorded".to_owned()
        } else {
            name.join(", ")
        },
        test: row.test.clone(),
        tool: row
            .format
            .map_or_else(String::new, |format| format.to_string()),
        decode: row
            .decode_tokens_per_second
            .map_or_else(String::new, format::rough),
        price: one.price_usd.map(format::usd),
        price_note: one
            .price_date
            .clone()
            .or_else(|| one.price_reason.clone())
            .unwrap_or_else(|| "your price".to_owned()),
        href: format!("/imports/{}/file", names::segment(&one.import.import)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::tests::{get, site};

    #[tokio::test]
    async fn another_spelling_is_sent_to_the_one_address() {
        let answer = get(
            &site(sample::plain()),
            "/frontier?min-decode=&budget=%241,850",
        )
        .await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!(answer.location.as_deref(), Some("/frontier?budget=1850"));
    }

    #[tokio::test]
    async fn a_bad_value_is_answered_at_its_field_with_what_was_typed() {
        let answer = get(
            &site(sample::plain()),
            "/frontier?budget=lots&min-decode=20",
        )
        .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.body.contains("value=\"lots\""));
        assert!(answer.body.contains("value=\"20\""));
        assert!(answer.body.contains("id=\"budget-error\""));
        assert!(answer.body.contains("<table"), "the whole page is there");
    }

    #[tokio::test]
    async fn an_unknown_key_is_named() {
        let answer = get(&site(sample::plain()), "/frontier?%3Cb%3E=1").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.body.contains("unknown key"));
        assert!(!answer.body.contains("<b>="));
    }

    #[tokio::test]
    async fn twins_are_announced_and_carry_the_same_question() {
        let answer = get(&site(sample::plain()), "/frontier?budget=5000").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(
            answer
                .links
                .iter()
                .any(|link| link.contains("</frontier.csv?budget=5000>; rel=\"alternate\""))
        );
    }

    #[tokio::test]
    async fn a_live_page_with_few_rows_loads_itself_again_and_says_so() {
        let live = site(sample::empty());
        live.options.live.store(true, Ordering::Relaxed);
        let answer = get(&live, "/").await;
        assert_eq!(
            answer.cache, "no-cache",
            "a copy of half a minute ago would hide what arrived"
        );
        assert!(answer.body.contains("http-equiv=\"refresh\""));
        assert!(answer.body.contains("fills as results arrive"));
        let still = get(&site(sample::empty()), "/").await;
        assert!(!still.body.contains("http-equiv=\"refresh\""));
    }

    #[tokio::test]
    async fn where_no_price_is_known_the_reader_can_give_one() {
        let answer = get(&site(sample::plain()), "/").await;
        assert!(
            answer
                .body
                .contains(&format!("name=\"price.{}\"", sample::UNKNOWN_SETUP))
        );
        assert!(!answer.body.contains("$0"));
    }

    #[tokio::test]
    async fn engines_are_told_apart_and_can_be_chosen() {
        let all = get(&site(sample::engines()), "/").await;
        for words in [
            "with <a href=\"/engines/llama-cpp/0011223344aa\"><bdi>llama.cpp b4400</bdi></a>",
            "F16 with llama.cpp b4400",
            "name=\"engine\" value=\"mlx-lm\"",
            ">F16, mlx-lm</text>",
            "s-c4, 4 at once (1)",
        ] {
            assert!(all.body.contains(words), "{words}");
        }
        let chosen = get(
            &site(sample::engines()),
            "/frontier?engine=candle&engine=mlx-lm",
        )
        .await;
        assert_eq!(chosen.status, StatusCode::OK);
        for engine in ["candle", "mlx-lm"] {
            assert!(
                chosen
                    .body
                    .contains(&format!("name=\"engine\" value=\"{engine}\" checked"))
            );
        }
        assert!(chosen.body.contains("with <a href=\"/engines/candle/"));
        assert!(
            chosen.body.contains("…, mlx-lm</text>"),
            "of a long label the engine survives"
        );
        assert!(!chosen.body.contains("with <a href=\"/engines/llama-cpp/"));
    }

    #[tokio::test]
    async fn presets_are_pages_and_other_words_are_not() {
        assert_eq!(
            get(&site(sample::plain()), "/frontier/under-500")
                .await
                .status,
            StatusCode::OK
        );
        assert_eq!(
            get(&site(sample::plain()), "/frontier/under-501")
                .await
                .status,
            StatusCode::NOT_FOUND
        );
    }

    #[tokio::test]
    async fn the_drawing_is_a_file_of_its_own() {
        let answer = get(&site(sample::plain()), "/frontier.svg").await;
        assert_eq!(answer.content_type, "image/svg+xml");
        assert!(answer.body.trim_start().starts_with("<svg"));
        assert_eq!(
            get(&site(sample::empty()), "/frontier.svg").await.status,
            StatusCode::NOT_FOUND
        );
    }

    #[test]
    fn dominance_is_told_in_units() {
        let row = ResultRow {
            quality: Some(0.6),
            decode_tokens_per_second: Some(1_000.0),
            ..ResultRow::default()
        };
        let winner = ResultRow {
            quality: Some(0.65),
            decode_tokens_per_second: Some(1_500.0),
            ..ResultRow::default()
        };
        let told = by_how_much(
            &row,
            &winner,
            &[Objective::Quality, Objective::Decode, Objective::Price],
        );
        assert_eq!(told, "+5.0 points, 1.50× as fast");
    }

    #[test]
    fn against_a_quality_of_0_points_are_told_all_the_same() {
        let of = |quality| ResultRow {
            quality: Some(quality),
            ..ResultRow::default()
        };
        let told = by_how_much(&of(0.0), &of(0.5), &[Objective::Quality, Objective::Decode]);
        assert_eq!(told, "+50.0 points");
    }

    #[test]
    fn only_a_row_that_is_on_is_kept_there_by_an_objective() {
        let of = |id: &str, membership, quality, price_usd, joules| ResultRow {
            id: id.to_owned(),
            membership: Some(membership),
            quality: Some(quality),
            price_usd: Some(price_usd),
            joules_per_correct_answer: Some(joules),
            ..ResultRow::default()
        };
        let best = of("a", Membership::On, 0.9, 500.0, 9.0);
        let frugal = of("b", Membership::On, 0.8, 600.0, 1.0);
        let tied = of("c", Membership::Tied, 0.8, 600.0, 1.1);
        let by_id = [&best, &frugal, &tied]
            .map(|row| (row.id.as_str(), row))
            .into();
        let objectives = [Objective::Price, Objective::Quality, Objective::Joules];
        let told =
            |row| remark(row, &by_id, &objectives, &names::Engines::default()).map(|one| one.text);
        assert_eq!(told(&best), None);
        assert_eq!(told(&frugal).as_deref(), Some("on by energy"));
        assert_eq!(told(&tied), None);
    }
}
