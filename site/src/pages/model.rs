//! One model: what quantisation and pruning cost, and every result.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use domain::api::{
    Figure, ModelDetail, ModelsAnswer, Objective, ResultRow, Told, VariantFamily, VariantGroup,
    VariantRow,
};
use url::form_urlencoded;

use super::rows::{RowView, missing_everywhere, missing_theory};
use crate::charts::{Kind, LossChart, LossRow, Measure, Point, TradeoffChart};
use crate::error::PageError;
use crate::format::{self, Cell, Quantity};
use crate::layout::{Layout, render};
use crate::routes::Site;
use crate::{names, twins};

/// More results stay in the twin.
const MAX_ROWS: usize = 200;
/// More variants stay in the twin.
const MAX_VARIANTS: usize = 60;

#[derive(Template)]
#[template(path = "pages/model.html")]
struct ModelPage {
    layout: Layout,
    name: String,
    arch: String,
    params: String,
    variants: String,
    loss: Option<Loss>,
    rows: Vec<RowView>,
    caption: &'static str,
    notes: Vec<String>,
    with_joules: bool,
    with_setup: bool,
    with_model: bool,
}

/// What quantisation and pruning cost on one setup.
struct Loss {
    /// Where the variants were compared.
    place: String,
    /// Other places, with their addresses.
    elsewhere: Vec<(String, String)>,
    /// What the figures say, or why there is no reference.
    answer: String,
    chart: Option<LossChart>,
    speed: Option<TradeoffChart>,
    joules: Option<TradeoffChart>,
    /// Why there is no picture of joules.
    no_joules: Option<String>,
    rows: Vec<VariantView>,
    with_fidelity: bool,
    fidelity_note: Option<String>,
    families: Option<FamilyTable>,
    levels: Vec<LevelTable>,
}

/// A variant for the table.
struct VariantView {
    href: String,
    name: String,
    is_reference: bool,
    size: String,
    bits: String,
    share: Option<String>,
    quality: Cell,
    unextractable: Option<u32>,
    points: Cell,
    verdict: &'static str,
    needed: Option<String>,
    traded: Option<String>,
    kl: Cell,
    kl_tail: Option<String>,
    top1: Option<String>,
    agreement: Cell,
    decode: Cell,
    faster: Option<String>,
    joules: Cell,
}

/// Accuracy by family, one line per variant.
struct FamilyTable {
    families: Vec<(String, String)>,
    lines: Vec<FamilyLine>,
}

struct FamilyLine {
    href: String,
    name: String,
    cells: Vec<Option<FamilyCell>>,
}

struct FamilyCell {
    accuracy: String,
    interval: String,
    items: u32,
    unextractable: u32,
}

/// One family by level.
struct LevelTable {
    family: String,
    description: String,
    levels: Vec<u8>,
    lines: Vec<FamilyLine>,
}

/// `GET /models/{slug}`, and its twins.
pub(crate) async fn show(
    State(site): State<Site>,
    Path(slug): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let (slug, format) = twins::split(&slug);
    let asked = twins::asked(query);
    let path = format!("/api/v1/models/{}{asked}", names::segment(slug));
    if let Some(format) = format {
        return twins::pass(&site, &path, format).await;
    }
    let (detail, age) = site.client.read::<ModelDetail>(&path).await?;
    let (answer, _) = site.client.read::<ModelsAnswer>("/api/v1/models").await?;
    let model = answer.models.into_iter().find(|model| model.slug == slug);
    let mut results = model.map_or_else(Vec::new, |model| model.results);
    side_by_side(&mut results);
    let mut layout = Layout::new(
        "/models",
        detail.name.clone(),
        format!(
            "What quantisation and pruning do to {}: quality, speed, memory.",
            detail.name
        ),
    );
    layout.age = age;
    let own = format!("/models/{}", names::segment(slug));
    layout.twins = twins::of(&own, &asked);
    let page = page(layout, &detail, &results)?;
    render(StatusCode::OK, &page, &page.layout.twins)
}

fn page(
    layout: Layout,
    detail: &ModelDetail,
    results: &[ResultRow],
) -> Result<ModelPage, PageError> {
    let engines = names::Engines::of(results.iter());
    let joules = missing_everywhere(
        "Joules per correct answer",
        results.iter().map(|row| {
            (
                row.joules_per_correct_answer.is_some(),
                row.energy_reason.as_deref(),
            )
        }),
    );
    let one_setup = results
        .windows(2)
        .all(|pair| pair[0].setup == pair[1].setup);
    let mut notes: Vec<String> = joules
        .iter()
        .filter(|_| !results.is_empty())
        .cloned()
        .collect();
    if let (true, Some(first)) = (one_setup, results.first()) {
        notes.insert(
            0,
            format!("All of it was measured on {}.", first.setup_name),
        );
    }
    notes.extend(missing_theory(results));
    let mut digests: Vec<&str> = results
        .iter()
        .map(|row| row.variant_sha256.as_str())
        .collect();
    digests.sort_unstable();
    digests.dedup();
    Ok(ModelPage {
        layout,
        name: detail.name.clone(),
        arch: detail.arch.clone(),
        params: format::count(detail.params_total),
        variants: format::plural(digests.len(), "variant"),
        loss: loss(detail)?,
        rows: results
            .iter()
            .take(MAX_ROWS)
            .map(|row| RowView::among(row, &engines))
            .collect(),
        caption: if results.len() > MAX_ROWS {
            "The first results, largest weights first; the JSON of all models has all"
        } else {
            "Every result, largest weights first; of one workload the fastest first"
        },
        with_setup: !one_setup,
        with_model: false,
        with_joules: joules.is_none(),
        notes,
    })
}

fn loss(detail: &ModelDetail) -> Result<Option<Loss>, PageError> {
    let Some(group) = detail
        .group
        .as_ref()
        .filter(|_| !detail.variants.is_empty())
    else {
        return Ok(None);
    };
    let reference = detail.reference.as_deref().unwrap_or_default();
    let base = detail
        .variants
        .iter()
        .find(|variant| variant.result == reference);
    let base_name = base.map_or_else(|| "the reference".to_owned(), name);
    let chart = LossChart::new(
        format!("Quality lost against {base_name}"),
        &loss_rows(&detail.variants, reference),
    )?;
    let decode = |row: &VariantRow| figure(row.decode_tokens_per_second, decode_ci95(row));
    let speed = TradeoffChart::new(
        "speed",
        format!("Quality against decode speed of {}’s variants", detail.name),
        Measure::Objective(Objective::Decode),
        &points(&detail.variants, reference, decode),
    )?;
    // Scopes do not share an axis: drawn is the one of most variants.
    let mut scopes: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &detail.variants {
        if let Some(scope) = row.energy_scope.as_deref() {
            *scopes.entry(scope).or_default() += 1;
        }
    }
    let scope = scopes
        .iter()
        .max_by_key(|(_, variants)| **variants)
        .map(|(scope, _)| *scope);
    let per_answer = |row: &VariantRow| {
        figure(row.joules_per_correct_answer, joules_ci95(row))
            .filter(|_| row.energy_scope.as_deref() == scope)
    };
    let joules = TradeoffChart::new(
        "joules",
        format!(
            "Quality against joules per correct answer ({})",
            scope.unwrap_or_default()
        ),
        Measure::Objective(Objective::Joules),
        &points(&detail.variants, reference, per_answer),
    )?;
    let no_joules = joules.is_none().then(|| {
        let mut reasons = detail.variants.iter();
        let reason = reasons.find_map(|row| row.energy_reason.clone());
        reason.unwrap_or_else(|| "fewer than two variants have joules of one scope".to_owned())
    });
    let with_fidelity = detail
        .variants
        .iter()
        .any(|row| row.kl_mean_nats.is_some() || row.top1_agreement.is_some());
    let fidelity_note = (!with_fidelity).then(|| {
        let mut reasons = detail.variants.iter().filter(|row| row.result != reference);
        let why = reasons.find_map(|row| row.fidelity_reason.as_deref());
        format!(
            "No KL divergence: {}.",
            why.unwrap_or("no engine gave logits")
        )
    });
    Ok(Some(Loss {
        place: place(group),
        elsewhere: detail
            .groups
            .iter()
            .filter(|other| *other != group)
            .map(|other| (address(&detail.slug, other), place(other)))
            .collect(),
        answer: answer(detail, base),
        chart,
        speed,
        joules,
        no_joules,
        rows: detail
            .variants
            .iter()
            .take(MAX_VARIANTS)
            .map(|row| view(row, row.result == reference))
            .collect(),
        with_fidelity,
        fidelity_note,
        families: families(detail),
        levels: levels(detail),
    }))
}

/// Where variants were compared, in one line.
fn place(group: &VariantGroup) -> String {
    let suite = group
        .suite
        .as_ref()
        .map_or_else(String::new, |suite| format!(", suite {suite}"));
    format!(
        "{} with {}, workload {}{suite} ({})",
        group.setup,
        group.engine,
        group.workload,
        format::plural(group.variants as usize, "variant")
    )
}

fn address(slug: &str, group: &VariantGroup) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("engine", &group.engine)
        .append_pair("setup", &group.setup);
    if let Some(suite) = &group.suite {
        query.append_pair("suite", suite);
    }
    query.append_pair("workload", &group.workload);
    format!("/models/{}?{}", names::segment(slug), query.finish())
}

/// What the figures say: the smallest file that cannot be told apart, and the worst loss.
fn answer(detail: &ModelDetail, base: Option<&VariantRow>) -> String {
    let Some(base) = base else {
        let why = detail
            .reference_reason
            .as_deref()
            .unwrap_or("none was measured");
        return format!("Nothing to compare with: no unquantised, unpruned variant here ({why}).");
    };
    let told = |wanted: Told| {
        detail
            .variants
            .iter()
            .filter(move |row| row.told == Some(wanted))
    };
    let smallest = told(Told::NotApart).min_by_key(|row| row.variant_bytes);
    let worst = told(Told::Worse).min_by(|a, b| {
        let points = |row: &VariantRow| row.quality_points.unwrap_or(0.0);
        points(a).total_cmp(&points(b))
    });
    let others = || {
        detail
            .variants
            .iter()
            .filter(|row| row.result != base.result)
    };
    if others().all(|row| row.told.is_none()) {
        return format!(
            "{} stands alone here: nothing else was compared with it.",
            name(base)
        );
    }
    let first = match smallest {
        Some(row) => format!(
            "The smallest that cannot be told apart from {}{} is {} ({}, {} of the size).",
            name(base),
            row.lost.and(row.paired_items).map_or_else(
                || " by their means".to_owned(),
                |items| format!(" on {}", format::plural(items as usize, "item"))
            ),
            name(row),
            format::bytes(row.variant_bytes),
            percent(row.bytes_of_reference),
        ),
        None => format!(
            "Each that was compared with {} can be told apart from it.",
            name(base)
        ),
    };
    match worst {
        Some(row) => format!(
            "{first} {} loses most: {} points.",
            name(row),
            signed(row.quality_points.unwrap_or(0.0)),
        ),
        None => first,
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(
        || "not recorded".to_owned(),
        |share| format!("{} %", format::number(100.0 * share, 0)),
    )
}

fn signed(points: f64) -> String {
    let text = format::number(points, 1);
    if points > 0.0 {
        format!("+{text}")
    } else {
        text
    }
}

/// `Q4_K`, or `F16, layers-1`.
fn name(row: &VariantRow) -> String {
    match (&row.pruning_recipe, row.pruning.as_str()) {
        (_, "" | "none") => row.quant.clone(),
        (Some(recipe), _) => format!("{}, {recipe}", row.quant),
        (None, method) => format!(
            "{}, {method}-pruned {} %",
            row.quant,
            format::trimmed(row.pruning_percent, 1)
        ),
    }
}

fn figure(value: Option<f64>, ci95: Option<(f64, f64)>) -> Option<Figure> {
    value.map(|value| Figure { value, ci95, n: 0 })
}

fn quality_ci95(row: &VariantRow) -> Option<(f64, f64)> {
    row.quality_ci95_low.zip(row.quality_ci95_high)
}

fn points_ci95(row: &VariantRow) -> Option<(f64, f64)> {
    row.quality_points_ci95_low
        .zip(row.quality_points_ci95_high)
}

fn decode_ci95(row: &VariantRow) -> Option<(f64, f64)> {
    row.decode_tokens_per_second_ci95_low
        .zip(row.decode_tokens_per_second_ci95_high)
}

fn joules_ci95(row: &VariantRow) -> Option<(f64, f64)> {
    row.joules_per_correct_answer_ci95_low
        .zip(row.joules_per_correct_answer_ci95_high)
}

fn loss_rows(variants: &[VariantRow], reference: &str) -> Vec<LossRow> {
    variants
        .iter()
        .filter(|row| row.result != reference)
        .filter_map(|row| {
            let points = row.quality_points?;
            let ci95 = points_ci95(row);
            let interval = ci95.map_or_else(String::new, |(low, high)| {
                format!(" ({} to {})", signed(low), signed(high))
            });
            Some(LossRow {
                href: names::result_path(&row.result),
                name: names::drawable(&name(row)),
                points,
                ci95,
                is_not_apart: row.told == Some(Told::NotApart),
                words: names::drawable(&format!(
                    "{}: {} points{interval}, {}",
                    name(row),
                    signed(points),
                    verdict(row.told)
                )),
            })
        })
        .collect()
}

fn points(
    variants: &[VariantRow],
    reference: &str,
    across: impl Fn(&VariantRow) -> Option<Figure>,
) -> Vec<Point> {
    variants
        .iter()
        .filter_map(|row| {
            let (x, y) = across(row).zip(row.quality)?;
            let kind = match row.pruning.as_str() {
                _ if row.result == reference => Kind::Reference,
                "" | "none" => Kind::Quantised,
                _ => Kind::Pruned,
            };
            Some(Point {
                href: names::result_path(&row.result),
                name: names::drawable(&name(row)),
                kind,
                x: x.value,
                x_ci95: x.ci95,
                y,
                y_ci95: quality_ci95(row),
                words: names::drawable(&format!(
                    "{}: {} right, {}",
                    name(row),
                    percent(Some(y)),
                    format::rough(x.value)
                )),
            })
        })
        .collect()
}

fn verdict(told: Option<Told>) -> &'static str {
    match told {
        Some(Told::Better) => "better",
        Some(Told::Worse) => "worse",
        Some(Told::NotApart) => "cannot be told apart",
        None => "",
    }
}

fn view(row: &VariantRow, is_reference: bool) -> VariantView {
    let share = |value: Option<f64>, ci95, n: Option<u32>, reason: Option<&str>| {
        let figure = value.map(|value| Figure {
            value,
            ci95,
            n: n.unwrap_or(0),
        });
        Cell::new(Quantity::Quality, figure, reason).bare()
    };
    let points = match row.quality_points {
        Some(points) => Cell {
            value: Some(signed(points)),
            interval: points_ci95(row)
                .map(|(low, high)| format!("{} to {}", signed(low), signed(high))),
            n: row.paired_items,
            ..Cell::missing("")
        },
        None if is_reference => Cell::words("reference".to_owned()),
        None => Cell::missing(
            row.quality_reason
                .as_deref()
                .unwrap_or("nothing to compare it with"),
        ),
    };
    let kl = row.kl_mean_nats.map(|value| Figure {
        value,
        ci95: row.kl_mean_nats_ci95_low.zip(row.kl_mean_nats_ci95_high),
        n: row.fidelity_tokens.unwrap_or(0),
    });
    // The reference is not held against itself.
    let unless_reference = |cell: Cell| {
        if is_reference {
            Cell::words("—".to_owned())
        } else {
            cell
        }
    };
    VariantView {
        href: names::result_path(&row.result),
        name: name(row),
        is_reference,
        size: format::bytes(row.variant_bytes),
        bits: format::trimmed(row.bits_per_weight, 2),
        share: row
            .bytes_of_reference
            .filter(|_| !is_reference)
            .map(|share| percent(Some(share))),
        quality: share(
            row.quality,
            quality_ci95(row),
            row.quality_n,
            row.quality_reason.as_deref(),
        ),
        unextractable: row.unextractable.filter(|&count| count > 0),
        points,
        verdict: verdict(row.told),
        needed: row
            .items_needed
            .filter(|_| row.told == Some(Told::NotApart))
            .map(|items| format::number(f64::from(items), 0)),
        traded: row
            .lost
            .zip(row.gained)
            .map(|(lost, gained)| format!("{lost} lost, {gained} gained")),
        kl: unless_reference(Cell::new(Quantity::Nats, kl, row.fidelity_reason.as_deref()).bare()),
        kl_tail: row.kl_p999_nats.map(format::rough),
        top1: row
            .top1_agreement
            .map(|share| format!("{} %", format::number(100.0 * share, 1))),
        agreement: unless_reference(share(
            row.greedy_agreement,
            row.greedy_agreement_ci95_low
                .zip(row.greedy_agreement_ci95_high),
            row.greedy_agreement_n,
            None,
        )),
        decode: Cell::alone(
            Quantity::Speed,
            row.decode_tokens_per_second,
            row.decode_reason.as_deref(),
        )
        .bare(),
        faster: row
            .decode_of_reference
            .filter(|_| !is_reference)
            .map(|ratio| format!("{}×", format::number(ratio, 2))),
        joules: Cell::alone(
            Quantity::Joules,
            row.joules_per_correct_answer,
            row.energy_reason.as_deref(),
        ),
    }
}

fn cell(family: &VariantFamily) -> FamilyCell {
    let score = &family.score;
    let percent = |share: f64| format::number(100.0 * share, 0);
    FamilyCell {
        accuracy: format::number(100.0 * score.accuracy, 1),
        interval: format!(
            "{}–{}",
            percent(score.accuracy_ci95_low),
            percent(score.accuracy_ci95_high)
        ),
        items: score.items,
        unextractable: score.unextractable,
    }
}

/// One line per variant, in the table's order, with a cell for each of `columns`.
fn lines<K: PartialEq>(
    detail: &ModelDetail,
    columns: &[K],
    key: impl Fn(&VariantFamily) -> Option<K>,
) -> Vec<FamilyLine> {
    let of = |variant: &VariantRow, column: &K| {
        let mut own = detail.families.iter();
        own.find(|one| one.result == variant.result && key(one).as_ref() == Some(column))
            .map(cell)
    };
    let variants = detail.variants.iter().take(MAX_VARIANTS);
    variants
        .map(|variant| FamilyLine {
            href: names::result_path(&variant.result),
            name: name(variant),
            cells: columns.iter().map(|column| of(variant, column)).collect(),
        })
        .filter(|line| line.cells.iter().any(Option::is_some))
        .collect()
}

/// The families of a model's answers in the API's order, with what they ask.
fn family_names(detail: &ModelDetail) -> Vec<(String, String)> {
    let mut names: Vec<(String, String)> = Vec::new();
    for family in &detail.families {
        if !names.iter().any(|(name, _)| *name == family.score.family) {
            names.push((
                family.score.family.clone(),
                family.score.description.clone(),
            ));
        }
    }
    names
}

fn families(detail: &ModelDetail) -> Option<FamilyTable> {
    let families = family_names(detail);
    let columns: Vec<String> = families.iter().map(|(name, _)| name.clone()).collect();
    let lines = lines(detail, &columns, |one| {
        (one.level == 0).then(|| one.score.family.clone())
    });
    (!lines.is_empty()).then_some(FamilyTable { families, lines })
}

fn levels(detail: &ModelDetail) -> Vec<LevelTable> {
    let tables = family_names(detail)
        .into_iter()
        .map(|(family, description)| {
            let mut levels: Vec<u8> = detail
                .families
                .iter()
                .filter(|one| one.score.family == family && one.level > 0)
                .map(|one| one.level)
                .collect();
            levels.sort_unstable();
            levels.dedup();
            LevelTable {
                lines: lines(detail, &levels, |one| {
                    (one.score.family == family).then_some(one.level)
                }),
                family,
                description,
                levels,
            }
        });
    tables.filter(|table| !table.levels.is_empty()).collect()
}

/// Largest weights first; the results of one variant, setup and workload stand together, the
/// fastest first, so that engines compare at a glance. A format of the same precision is the
/// same variant here, though it is another file.
fn side_by_side(results: &mut [ResultRow]) {
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for row in results.iter() {
        let size = sizes.entry(names::variant(row)).or_default();
        *size = row.variant_bytes.max(*size);
    }
    // By the engine's own clock after all by the client's: they are not compared.
    let slowness = |row: &ResultRow| {
        let client = row.decode_tokens_per_second;
        let engine = row.engine_decode_tokens_per_second;
        (client.is_none(), -client.or(engine).unwrap_or(0.0))
    };
    results.sort_by(|a, b| {
        let (ours, theirs) = (names::variant(a), names::variant(b));
        (sizes[&theirs], &ours, &a.setup)
            .cmp(&(sizes[&ours], &theirs, &b.setup))
            .then_with(|| names::workload(a).cmp(&names::workload(b)))
            .then_with(|| {
                let (ours, theirs) = (slowness(a), slowness(b));
                ours.0
                    .cmp(&theirs.0)
                    .then_with(|| ours.1.total_cmp(&theirs.1))
            })
            .then_with(|| a.id.cmp(&b.id))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::tests::{get, site};

    #[tokio::test]
    async fn a_model_page_has_all_its_variants_largest_first() {
        let page = get(&site(sample::plain()), "/models/joulemark-reference-3-5m").await;
        assert_eq!(page.status, StatusCode::OK);
        let (f16, q2) = (
            page.body.find("F16").expect("F16"),
            page.body.find("Q2_K").expect("Q2_K"),
        );
        assert!(f16 < q2);
        assert!(
            !page.body.contains("/engines/candle"),
            "with one engine there is nothing to tell apart"
        );
        assert_eq!(
            get(&site(sample::plain()), "/models/none").await.status,
            StatusCode::NOT_FOUND
        );
    }

    #[tokio::test]
    async fn losses_are_drawn_and_what_is_within_noise_is_not_called_a_loss() {
        let page = get(&site(sample::plain()), "/models/joulemark-reference-3-5m").await;
        assert!(page.body.contains("loss-wide-title") && page.body.contains("speed-wide-title"));
        assert!(
            page.body
                .contains("cannot be told apart from F16 on 210 items is Q8_0")
        );
        assert!(page.body.contains("No picture of quality against joules"));
        let with_joules = get(
            &site(sample::joules(false)),
            "/models/joulemark-reference-0-9m",
        )
        .await;
        assert!(with_joules.body.contains("joules-wide-title"), "one scope");
        for part in ["id=\"families\"", "by level", "7 without an answer"] {
            assert!(page.body.contains(part), "{part}");
        }
    }

    #[tokio::test]
    async fn engines_stand_side_by_side_the_fastest_first() {
        let page = get(&site(sample::engines()), "/models/joulemark-reference-3-5m").await;
        // Of F16 on the machine that has all three engines; the best of 4 is another workload.
        let of_one_workload: Vec<usize> = ["2,870", "1,466", "1,190", "2,840"]
            .into_iter()
            .map(|speed| page.body.find(&format!(">{speed}<")).expect(speed))
            .collect();
        assert!(of_one_workload.is_sorted(), "{of_one_workload:?}");
        for engine in ["llama.cpp b4400", "candle 0.11.1", "mlx-lm 0.29.1"] {
            assert!(page.body.contains(engine), "{engine}");
        }
    }
}
