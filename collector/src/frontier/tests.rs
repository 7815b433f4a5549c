//! Frontiers of handmade rows: membership, reasons, words.

use domain::ids::Sha256Digest;
use domain::suite::{Family, Suite};
use proptest::prelude::*;

use super::*;
use crate::derive::{ItemKey, ItemSample, Samples, ScopeEnergy};

/// A cell whose repetitions lie within `spread` of `decode` and which answers the suite's
/// first 210 items, `quality` of them correctly (those of lowest hash first, so that a better
/// cell answers what a worse one does, and more).
fn cell(id: &str, quality: f64, decode: f64, spread: f64, price: Option<f64>) -> CellResult {
    let mut ids = Suite::ReferenceV1.plan(210);
    ids.sort_by_key(|id| Sha256Digest::of(id.to_string().as_bytes()));
    let right = (quality * 210.0).round() as usize;
    let items = ids.into_iter().enumerate().map(|(rank, id)| {
        let key = ItemKey {
            seed: Sha256Digest([0; 32]),
            family: id.family,
            level: id.level,
            index: id.index,
        };
        (key, ItemSample::of(rank < right))
    });
    let repetitions: Vec<f64> = (0..7)
        .map(|i| decode * (1.0 + spread * (f64::from(i) - 3.0) / 3.0))
        .collect();
    let quality = right as f64 / 210.0;
    let row = ResultRow {
        id: id.to_owned(),
        tier: Some(Tier::SelfReported),
        model: id.to_owned(),
        model_slug: id.to_owned(),
        quant: "F16".to_owned(),
        pruning: "none".to_owned(),
        setup: format!("setup-{id}"),
        setup_name: format!("Setup {id}"),
        engine: "candle".to_owned(),
        workload: "pp32-tg24".to_owned(),
        suite: Some(Suite::ReferenceV1.name().to_owned()),
        quality: Some(quality),
        quality_ci95_low: Some((quality - 0.06).max(0.0)),
        quality_ci95_high: Some((quality + 0.06).min(1.0)),
        quality_n: Some(210),
        decode_tokens_per_second: Some(decode),
        decode_tokens_per_second_ci95_low: Some(repetitions[0]),
        decode_tokens_per_second_ci95_high: Some(repetitions[6]),
        decode_tokens_per_second_n: Some(7),
        energy_reason: Some("no power counter on this machine".to_owned()),
        price_usd: price,
        price_reason: price.is_none().then(|| "not recorded".to_owned()),
        ..ResultRow::default()
    };
    CellResult {
        row,
        energies: Vec::new(),
        power: std::sync::Arc::default(),
        workload: crate::derive::tests::record().workload,
        families: Vec::new(),
        fidelity: Err("not compared".to_owned()),
        pruning_recipe: None,
        repetitions: Vec::new(),
        provenance: Vec::new(),
        records: Vec::new(),
        reproduce: String::new(),
        vendors: std::collections::BTreeSet::new(),
        comparable: "pp32-tg24 x".to_owned(),
        failed: None,
        samples: Samples {
            decode: vec![vec![repetitions]],
            items: items.collect(),
            ..Samples::default()
        },
    }
}

fn ask(cells: &[CellResult], query: &str) -> FrontierAnswer {
    let query = FrontierQuery::parse(query).expect("a question");
    answer(cells, &query, Tier::SelfReported, "v1")
}

fn memberships(answer: &FrontierAnswer) -> Vec<(&str, Membership)> {
    answer
        .rows
        .iter()
        .filter_map(|row| Some((row.id.as_str(), row.membership?)))
        .collect()
}

fn codes(answer: &FrontierAnswer) -> Vec<(&str, &str)> {
    answer
        .left_out
        .iter()
        .map(|left| (left.row.id.as_str(), left.code.as_str()))
        .collect()
}

/// A family on one machine: larger is better and slower.
fn family() -> Vec<CellResult> {
    vec![
        cell("large", 0.85, 900.0, 0.02, None),
        cell("medium", 0.60, 1_700.0, 0.02, None),
        cell("small", 0.30, 3_100.0, 0.02, None),
        cell("bad", 0.25, 1_000.0, 0.02, None),
    ]
}

#[test]
fn without_prices_quality_is_weighed_against_speed() {
    let answer = ask(&family(), "");
    assert_eq!(answer.objectives, [Objective::Quality, Objective::Decode]);
    assert!(
        answer
            .objectives_reason
            .as_ref()
            .is_some_and(|reason| reason.starts_with("No price is known"))
    );
    let (on, dominated) = (Membership::On, Membership::Dominated);
    assert_eq!(
        memberships(&answer),
        [
            ("large", on),
            ("medium", on),
            ("small", on),
            ("bad", dominated)
        ]
    );
    assert_eq!(answer.rows[3].dominated_by.as_deref(), Some("medium"));
    assert_eq!(
        (answer.measured, answer.on, answer.tied, answer.unpriced),
        (4, 3, 0, 4)
    );
    assert_eq!(
        answer.answer,
        "Best quality: large F16 on Setup large (85 %, 79–91 %, 900 tok/s); it is also the fastest above 80 %."
    );
    assert!(answer.left_out.is_empty());
}

#[test]
fn an_unknown_price_is_never_zero() {
    let mut cells = family();
    let answer = ask(&cells, "axes=price-quality");
    assert!(answer.rows.is_empty());
    assert!(codes(&answer).iter().all(|(_, code)| *code == "no-price"));
    assert_eq!(
        answer.answer,
        "No measured result fits this question: 4 without a price."
    );
    cells[0].row.price_usd = Some(1_850.0);
    cells[1].row.price_usd = Some(600.0);
    let answer = ask(&cells, "");
    assert_eq!(answer.objectives, [Objective::Price, Objective::Quality]);
    assert_eq!(answer.objectives_reason, None);
    assert_eq!(
        memberships(&answer),
        [("medium", Membership::On), ("large", Membership::On)]
    );
    assert!(
        answer.answer.contains("(85 %, 79–91 %, 900 tok/s, $1,850)"),
        "{}",
        answer.answer
    );
    assert_eq!(answer.unpriced, 2);
}

#[test]
fn the_readers_price_counts_as_a_price() {
    let answer = ask(&family(), "price.setup-large=1500&price.setup-small=300");
    assert_eq!(answer.objectives, [Objective::Price, Objective::Quality]);
    let rows: Vec<_> = answer
        .rows
        .iter()
        .map(|row| (row.id.as_str(), row.price_kind))
        .collect();
    assert_eq!(
        rows,
        [
            ("small", Some(PriceKind::Reader)),
            ("large", Some(PriceKind::Reader))
        ]
    );
    let single = ask(&family(), "price.setup-large=1500");
    assert!(
        single
            .objectives_reason
            .is_some_and(|reason| reason.contains("Only one price is known ($1,500)"))
    );
    let within = ask(
        &family(),
        "price.setup-large=1500&price.setup-small=300&budget=1000",
    );
    assert_eq!(within.objectives, [Objective::Quality, Objective::Decode]);
    assert!(
        within
            .objectives_reason
            .is_some_and(|reason| reason.contains("within the budget ($300)"))
    );
}

#[test]
fn two_noisy_copies_are_both_tied() {
    let mut cells = family();
    cells.push(cell("large-again", 0.85, 903.0, 0.03, None));
    let answer = ask(&cells, "");
    for id in ["large", "large-again"] {
        assert!(
            memberships(&answer).contains(&(id, Membership::Tied)),
            "{:?}",
            memberships(&answer)
        );
    }
    assert!(
        answer.answer.contains("not to be told apart from"),
        "{}",
        answer.answer
    );
}

#[test]
fn exact_copies_do_not_dominate_each_other() {
    let mut cells = vec![
        cell("a", 0.8, 100.0, 0.0, None),
        cell("b", 0.8, 100.0, 0.0, None),
    ];
    cells.push(cell("worse", 0.5, 50.0, 0.0, None));
    let answer = ask(&cells, "");
    assert_eq!(
        memberships(&answer),
        [
            ("a", Membership::On),
            ("b", Membership::On),
            ("worse", Membership::Dominated)
        ]
    );
}

#[test]
fn what_is_left_out_says_why() {
    let mut cells = family();
    cells[0].row.price_usd = Some(2_500.0);
    cells[1].row.price_usd = Some(700.0);
    cells[2].row.price_usd = Some(500.0);
    cells.push(cell("other", 0.9, 800.0, 0.01, Some(100.0)));
    cells[4].comparable = "pp8-tg8 x".to_owned();
    cells[4].row.workload = "pp8-tg8".to_owned();
    cells.push(cell("failed", 0.9, 800.0, 0.01, Some(100.0)));
    cells[5].failed = Some("out of memory".to_owned());
    cells.push(cell("imported", 0.9, 800.0, 0.01, Some(100.0)));
    cells[6].row.tier = Some(Tier::Imported);
    let answer = ask(&cells, "min-decode=2000");
    assert_eq!(
        codes(&answer),
        [
            ("imported", "below-tier"),
            ("failed", "failed"),
            ("bad", "no-price"),
            ("other", "other-workload"),
            ("large", "over-budget"),
            ("medium", "too-slow"),
        ]
    );
    assert_eq!(answer.left_out[4].reason, "$2,500: $500 over the budget");
    assert_eq!(memberships(&answer), [("small", Membership::On)]);
    assert_eq!(answer.measured, 5);
    assert_eq!(
        codes(&ask(&cells, "workload=pp8-tg8&tier=self-reported")).len(),
        6
    );
}

/// Adds joules per correct answer at a scope; the first one is the headline.
fn with_joules(cell: &mut CellResult, scope: &str, joules: f64) {
    let row = ResultRow {
        energy_scope: Some(scope.to_owned()),
        energy_method: Some("loops".to_owned()),
        joules_per_correct_answer: Some(joules),
        energy_reason: None,
        ..cell.row.clone()
    };
    let is_headline = cell.energies.is_empty();
    if is_headline {
        cell.row = row.clone();
    }
    cell.energies.push(ScopeEnergy {
        scope: scope.to_owned(),
        is_headline,
        holds_the_work: true,
        meters: "a meter".to_owned(),
        row,
    });
    let right = cell
        .samples
        .items
        .values()
        .filter(|item| item.correct)
        .count();
    let even = joules * right as f64 / cell.samples.items.len() as f64;
    let of_items = cell.samples.items.keys().map(|key| (*key, even)).collect();
    cell.samples.joules.insert(scope.to_owned(), of_items);
}

/// Two measured at the package, one at the wall and one without a meter.
fn metered_family() -> Vec<CellResult> {
    let mut cells = family();
    for (cell, scope) in cells.iter_mut().zip(["cpu.pkg", "cpu.pkg", "wall.ac"]) {
        with_joules(cell, scope, if scope == "cpu.pkg" { 0.5 } else { 9.0 });
    }
    cells
}

#[test]
fn a_result_takes_part_at_every_scope_that_it_measured() {
    let mut cells = metered_family();
    // The one at the wall was read at the package, too.
    with_joules(&mut cells[2], "cpu.pkg", 0.2);
    let answer = ask(&cells, "axes=quality-joules");
    assert_eq!(answer.energy_scope.as_deref(), Some("cpu.pkg"));
    assert_eq!(codes(&answer), [("bad", "no-joules")]);
    let small = answer
        .rows
        .iter()
        .find(|row| row.id == "small")
        .expect("in");
    assert_eq!(small.energy_scope.as_deref(), Some("cpu.pkg"));
    assert_eq!(small.joules_per_correct_answer, Some(0.2));
    assert!(answer.answer.contains("fewest joules"), "{}", answer.answer);
    // Asked for, the wall is compared, where only one was measured.
    let wall = ask(&cells, "axes=quality-joules&scope=wall.ac");
    assert_eq!(wall.energy_scope.as_deref(), Some("wall.ac"));
    assert_eq!(wall.rows.len(), 1);
    assert_eq!(wall.rows[0].joules_per_correct_answer, Some(9.0));
    assert_eq!(
        codes(&wall),
        [
            ("bad", "no-joules"),
            ("large", "other-scope"),
            ("medium", "other-scope")
        ]
    );
    // A scope chooses what is shown, without joules being weighed, too; and nobody is left out.
    let shown = ask(&cells, "axes=quality-decode&scope=wall.ac");
    assert_eq!((shown.energy_scope, shown.rows.len()), (None, 4));
    let scopes: Vec<_> = answer
        .facets
        .scopes
        .iter()
        .map(|facet| (facet.value.as_str(), facet.count))
        .collect();
    assert_eq!(scopes, [("cpu.pkg", 3), ("wall.ac", 1)]);
}

#[test]
fn who_crosses_scopes_is_told_and_gets_no_claim() {
    let answer = ask(&metered_family(), "axes=quality-joules&across-scopes=1");
    assert_eq!(codes(&answer), [("bad", "no-joules")]);
    assert_eq!((answer.energy_scope, answer.across_scopes), (None, true));
    assert_eq!(answer.rows.len(), 3);
    assert!(!answer.answer.contains("fewest"), "{}", answer.answer);
    assert!(
        answer.answer.ends_with(
            "The joules cover different things (cpu.pkg and wall.ac): they cannot be compared."
        ),
        "{}",
        answer.answer
    );
    let bounded = ask(
        &metered_family(),
        "axes=quality-decode&max-joules=1&across-scopes=1",
    );
    assert_eq!(
        codes(&bounded),
        [("bad", "no-joules"), ("small", "too-many-joules")]
    );
}

#[test]
fn joules_that_prove_nothing_are_on_no_front() {
    type Change = fn(&mut ScopeEnergy);
    let spoiled = |change: Change| {
        let mut cells = metered_family();
        change(&mut cells[0].energies[0]);
        cells[0].row = cells[0].energies[0].row.clone();
        ask(&cells, "axes=quality-joules&scope=cpu.pkg")
    };
    let changes: [(&str, Change); 3] = [
        ("regression", |e| {
            e.row.energy_method = Some("regression".to_owned());
        }),
        ("not-closed", |e| {
            e.row.flags = "public-seed not-closed".to_owned();
        }),
        ("partial-scope", |e| e.holds_the_work = false),
    ];
    for (code, change) in changes {
        let answer = spoiled(change);
        assert!(
            codes(&answer).contains(&("large", code)),
            "{:?}",
            codes(&answer)
        );
        assert!(answer.rows.iter().all(|row| row.id != "large"));
    }
    // They stay on the page, and where joules are not weighed.
    let mut cells = metered_family();
    cells[0].energies[0].row.flags = "not-closed".to_owned();
    assert_eq!(ask(&cells, "axes=quality-decode").rows.len(), 4);
}

#[test]
fn joules_are_compared_within_one_scope() {
    let cells = metered_family();
    let answer = ask(&cells, "axes=quality-joules-decode");
    assert_eq!(
        codes(&answer),
        [("bad", "no-joules"), ("small", "other-scope")]
    );
    assert_eq!(
        answer.left_out[0].reason,
        "no power counter on this machine"
    );
    assert!(answer.answer.contains("fewest joules"), "{}", answer.answer);
    // A bound on joules is one on comparable joules, too.
    let bounded = ask(&cells, "axes=quality-decode&max-joules=20");
    assert!(codes(&bounded).contains(&("small", "other-scope")));
}

#[test]
fn nothing_measured_is_said_so() {
    let answer = ask(&[], "");
    assert_eq!(
        answer.answer,
        "Nothing was measured yet that fits this question."
    );
    assert_eq!((answer.measured, answer.on, answer.tied), (0, 0, 0));
    assert_eq!((answer.draws, ask(&family(), "").draws), (0, 1_000));
    assert_eq!(answer.facets, domain::api::Facets::default());
}

#[test]
fn facets_count_what_is_there() {
    let answer = ask(&family(), "model=large&model=bad");
    assert_eq!(answer.rows.len(), 2);
    assert_eq!(answer.facets.models.len(), 4);
    assert_eq!(answer.facets.engines[0].count, 4);
    assert!(answer.left_out.is_empty());
}

#[test]
fn a_family_without_right_answers_has_its_place_too() {
    let mut cells = family();
    for cell in &mut cells {
        for (key, item) in &mut cell.samples.items {
            item.correct &= key.family != Family::Sort;
        }
    }
    assert_eq!(ask(&cells, "").rows.len(), 4);
}

fn cells() -> impl Strategy<Value = Vec<CellResult>> {
    let one = (
        0.1..0.95f64,
        100.0..4_000.0f64,
        0.0..0.2f64,
        prop::option::of(100.0..3_000.0f64),
    );
    prop::collection::vec(one, 1..8).prop_map(|rows| {
        rows.into_iter()
            .enumerate()
            .map(|(i, (quality, decode, spread, price))| {
                cell(&format!("c{i}"), quality, decode, spread, price)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn what_the_published_values_leave_standing_is_never_called_dominated(
        cells in cells(),
        axes in prop::sample::select(vec!["quality-decode", "price-quality", "price-quality-decode"]),
    ) {
        let answer = ask(&cells, &format!("budget=100000&axes={axes}"));
        for row in &answer.rows {
            let beaten_by = |other: &&ResultRow| {
                let order: Vec<_> = answer.objectives.iter().map(|o| better(*o, other, row)).collect();
                order.iter().all(|o| o.is_le()) && order.iter().any(|o| o.is_lt())
            };
            let dominator = answer.rows.iter().find(beaten_by);
            if dominator.is_none() {
                prop_assert!(row.membership < Some(Membership::Dominated), "{row:?}");
            }
            if row.membership == Some(Membership::Dominated) {
                prop_assert!(row.dominated_by.is_some());
            }
            let p = row.p_on_frontier.expect("drawn");
            prop_assert!((0.0..=1.0).contains(&p));
        }
        prop_assert_eq!(answer.rows.len() + answer.left_out.len(), cells.len());
    }

    #[test]
    fn the_order_of_results_changes_nothing(cells in cells().prop_flat_map(|cells| (Just(cells.clone()), Just(cells).prop_shuffle()))) {
        prop_assert_eq!(ask(&cells.0, ""), ask(&cells.1, ""));
    }

    #[test]
    fn a_dominated_newcomer_moves_nobody(cells in cells()) {
        let before = ask(&cells, "axes=quality-decode");
        let mut more = cells;
        more.push(cell("newcomer", 0.0, 1.0, 0.0, None));
        let after = ask(&more, "axes=quality-decode");
        let old = |answer: &FrontierAnswer| -> Vec<ResultRow> {
            answer.rows.iter().filter(|row| row.id != "newcomer").cloned().collect()
        };
        prop_assert_eq!(old(&before), old(&after));
    }
}
