//! Made-up answers of the read API: for looking at pages and for their tests, never measured.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use domain::api::{
    DATA_LICENCE, Facet, Facets, FamilyScore, Figure, FrontierAnswer, HardwareAnswer, HardwareRow,
    ImportedBeside, LeftOut, Membership, ModelRow, ModelsAnswer, Objective, Problem,
    ProvenanceLine, RecordDetail, RecordSummary, RepetitionPoint, ResultDetail, ResultRow,
    ResultsAnswer, SetupRow,
};
use domain::hardware::{Confidence, HardwareKind, Price, PriceKind};
use domain::query::FrontierQuery;
use domain::tier::Tier;

// Named, because this file is a module of the example and of the library's tests.
#[path = "energy.rs"]
mod energy;
#[path = "engines.rs"]
mod engines;
#[path = "gates.rs"]
pub(crate) mod gates;
#[path = "variants.rs"]
mod variants;

/// A result that every sample but the empty one has.
pub(crate) const RESULT: &str = "00000000000000a0";
/// Its record.
pub(crate) const RECORD: &str = "7d1f0c2b9ae64f5580c1d2e3f405162738495a6b7c8d9eaf00112233445566aa";
/// The machine of the plain sample.
pub(crate) const UNKNOWN_SETUP: &str = "unknown-0a1b2c3d";

const NO_METER: &str =
    "no power counter: /sys/class/powercap is empty, as on most virtual machines";
const NO_PRICE: &str = "not recorded: this machine is not a known setup";

/// What a scripted collector answers.
#[derive(Clone)]
struct Sample {
    frontier: FrontierAnswer,
    valid: bool,
    hardware: HardwareAnswer,
}

/// One machine, no price, no meter: what a first quickstart shows.
pub(crate) fn plain() -> Router {
    let rows = family();
    let mut answer = frontier(vec![Objective::Quality, Objective::Decode], rows);
    answer.objectives_reason = Some(
        "Weighed are quality and decode speed, because fewer than two different prices are known."
            .to_owned(),
    );
    answer.answer = "Best quality: Joulemark reference 3.5M F16 (82.9 %, 1,466 tok/s), not to be told apart from \
                     Joulemark reference 3.5M Q8_0; fastest above 65 %: Joulemark reference 1.8M Q8_0 (4,120 tok/s)."
        .into();
    answer.unpriced = answer.measured;
    serve(Sample {
        frontier: answer,
        valid: true,
        hardware: hardware(),
    })
}

/// Several setups with prices and joules, some over the budget, some without a price.
pub(crate) fn priced() -> Router {
    let mut rows = Vec::new();
    let setups = [
        ("mini-16", "Small desktop, 16 GB", 599.0, 9.0, 0.61),
        ("pc-rtx-3060", "PC with RTX 3060 12 GB", 920.0, 31.0, 0.74),
        ("pc-rtx-3090", "PC with used RTX 3090", 1_450.0, 48.0, 0.86),
        ("laptop-32", "Laptop, 32 GB", 1_699.0, 14.0, 0.78),
        ("mini-64", "Small desktop, 64 GB", 1_999.0, 22.0, 0.88),
    ];
    for (i, (slug, name, usd, speed, quality)) in setups.into_iter().enumerate() {
        for (j, (quant, faster, worse)) in [("Q8_0", 0.7, 0.0), ("Q4_K", 1.0, 0.015)]
            .into_iter()
            .enumerate()
        {
            let id = 0xa0 + (i * 2 + j) as u64;
            let mut row = row(
                id,
                "Sample 8B",
                quant,
                quality - worse,
                speed * faster,
                8_000_000_000,
            );
            row.setup = slug.into();
            row.setup_name = name.into();
            row.chip = name.into();
            priced_at(&mut row, usd);
            energy::measured(&mut row, "wall.ac", 40.0 + 3.0 * speed);
            rows.push(row);
        }
    }
    let standing = [
        Membership::On,
        Membership::Tied,
        Membership::On,
        Membership::Tied,
        Membership::On,
        Membership::Tied,
        Membership::Dominated,
        Membership::Dominated,
        Membership::Tied,
        Membership::Dominated,
    ];
    for (row, standing) in rows.iter_mut().zip(standing) {
        stand(row, standing);
    }
    let mut answer = frontier(vec![Objective::Price, Objective::Quality], rows);
    for (id, name, usd, quality) in [
        (0xe0, "Workstation, 128 GB", 4_800.0, 0.93),
        (0xe1, "Server, 2 cards", 9_900.0, 0.95),
    ] {
        let mut row = row(id, "Sample 8B", "F16", quality, 40.0, 8_000_000_000);
        row.setup_name = name.into();
        row.setup = format!("setup-{id:x}");
        priced_at(&mut row, usd);
        answer.left_out.push(LeftOut {
            reason: format!("costs ${usd}, the budget is $2,000"),
            code: "over-budget".to_owned(),
            row,
        });
    }
    let unpriced = row(0xf0, "Sample 8B", "Q4_K", 0.81, 17.0, 8_000_000_000);
    answer.left_out.push(LeftOut {
        row: unpriced,
        code: "no-price".to_owned(),
        reason: NO_PRICE.to_owned(),
    });
    answer.unpriced = 1;
    answer.answer = "Best quality: Sample 8B Q8_0 (86.0 %, 34 tok/s, $1,450), not to be told apart from Sample 8B \
                     Q8_0 on Small desktop, 64 GB; fewest joules above 65 %: the same."
        .into();
    serve(Sample {
        frontier: answer,
        valid: true,
        hardware: hardware(),
    })
}

/// The same with joules on an axis; half of the rows of another scope, side by side by the
/// reader's act, or left out.
pub(crate) fn joules(across_scopes: bool) -> Router {
    let mut rows = family();
    for (number, row) in rows.iter_mut().enumerate() {
        let scope = if number % 3 == 1 {
            "wall.ac"
        } else {
            "cpu.pkg"
        };
        energy::measured(row, scope, if number % 3 == 1 { 71.0 } else { 38.0 });
    }
    let (mut others, own): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .partition(|row| !across_scopes && row.energy_scope.as_deref() != Some("cpu.pkg"));
    let mut answer = frontier(vec![Objective::Joules, Objective::Quality], own);
    for row in &mut others {
        row.membership = None;
        row.p_on_frontier = None;
    }
    answer.left_out = others
        .into_iter()
        .map(|row| LeftOut {
            row,
            code: "other-scope".to_owned(),
            reason: "joules of wall.ac; this frontier compares cpu.pkg".to_owned(),
        })
        .collect();
    answer.energy_scope = (!across_scopes).then(|| "cpu.pkg".to_owned());
    answer.across_scopes = across_scopes;
    answer.facets.scopes = [("cpu.pkg", 8), ("wall.ac", 4)]
        .map(|(scope, count)| Facet {
            value: scope.to_owned(),
            name: scope.to_owned(),
            count,
        })
        .to_vec();
    answer.measured = (answer.rows.len() + answer.left_out.len()) as u32;
    answer.answer = if across_scopes {
        "Joules of cpu.pkg and wall.ac stand side by side: they cover different silicon, so nothing \
         is called the most frugal."
    } else {
        "Best quality: Joulemark reference 3.5M F16 (82.9 %, 2.8 J per correct answer, cpu.pkg)."
    }
    .into();
    serve(Sample {
        frontier: answer,
        valid: true,
        hardware: hardware(),
    })
}

/// One model through several engines on one machine, with every kind of workload.
pub(crate) fn engines() -> Router {
    let rows = engines::side_by_side();
    let mut answer = frontier(vec![Objective::Quality, Objective::Decode], rows);
    answer.left_out = engines::beside();
    answer.objectives_reason = Some(
        "Weighed are quality and decode speed, because fewer than two different prices are known."
            .to_owned(),
    );
    answer.answer = "Best quality: Joulemark reference 3.5M F16 with mlx-lm (83.1 %, 1,190 tok/s), not to be told \
                     apart from the same with llama.cpp (82.9 %, 2,870 tok/s); fastest above 65 %: Joulemark \
                     reference 3.5M Q8_0 with llama.cpp (4,150 tok/s)."
        .into();
    answer.measured = (answer.rows.len() + answer.left_out.len()) as u32;
    answer.unpriced = answer.measured;
    for row in answer.left_out.iter().map(|one| &one.row) {
        let name = row.workload.clone();
        match answer
            .facets
            .workloads
            .iter_mut()
            .find(|facet| facet.value == name)
        {
            Some(facet) => facet.count += 1,
            None => answer.facets.workloads.push(Facet {
                value: name.clone(),
                name,
                count: 1,
            }),
        }
    }
    let mut hardware = hardware();
    hardware.setups.push(setup(
        engines::TWO_HOSTS,
        "Two small desktops and a cable",
        &["2 x mini-soc"],
        None,
    ));
    serve(Sample {
        frontier: answer,
        valid: true,
        hardware,
    })
}

/// Just started.
pub(crate) fn empty() -> Router {
    let mut answer = frontier(vec![Objective::Quality, Objective::Decode], Vec::new());
    answer.answer = "Nothing has been measured yet.".into();
    answer.facets = Facets::default();
    serve(Sample {
        frontier: answer,
        valid: true,
        hardware: HardwareAnswer {
            data_version: "0".to_owned(),
            hardware: Vec::new(),
            setups: Vec::new(),
        },
    })
}

/// Names that want to be markup, reorder the page, or never end; numbers that are none.
pub(crate) fn hostile() -> Router {
    let script = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>";
    let long = "W".repeat(256);
    let turned = "\u{202e}gnihtemos\u{202c} مرحبا";
    let mut rows = family();
    rows.truncate(4);
    for (row, name) in rows
        .iter_mut()
        .zip([script, long.as_str(), turned, "&amp;\u{0}\u{7}"])
    {
        row.model = name.into();
        row.quant = name.into();
        row.setup_name = name.into();
        row.chip = name.into();
        row.engine = name.into();
        row.engine_version = name.into();
        row.engine_build = name.into();
        // The first keeps the family's build, so that its page is a hostile one.
        if name != script {
            row.engine_build_id = format!("{:0>12}", name.len());
        }
        row.backend = name.into();
        row.workload = name.into();
        row.kv_state = name.into();
        row.noise_reason = Some(name.to_owned());
        row.roofline = Some(name.to_owned());
        row.roofline_reason = Some(name.to_owned());
        row.bandwidth_basis = Some(name.to_owned());
        row.flags = name.chars().take(40).collect();
        row.energy_reason = Some(name.to_owned());
    }
    rows[1].decode_tokens_per_second = Some(0.0);
    rows[1].decode_of_theory = None;
    rows[2].decode_of_theory = Some(1e300);
    rows[3].decode_of_theory = Some(-1.0);
    stand(&mut rows[1], Membership::Dominated);
    rows[2].quality = Some(0.0);
    rows[2].quality_ci95_low = Some(0.0);
    rows[3].quality = Some(1.0);
    rows[3].quality_ci95_high = Some(1.0);
    let mut answer = frontier(vec![Objective::Quality, Objective::Decode], rows);
    answer.answer = script.into();
    answer.objectives_reason = Some(script.to_owned());
    answer.facets.engines.push(Facet {
        value: script.to_owned(),
        name: script.to_owned(),
        count: 1,
    });
    answer.facets.models.push(Facet {
        value: script.to_owned(),
        name: script.to_owned(),
        count: 1,
    });
    answer.left_out.push(LeftOut {
        row: answer.rows[0].clone(),
        code: script.to_owned(),
        reason: script.to_owned(),
    });
    let mut hardware = hardware();
    hardware.hardware[0].sources = vec!["javascript:alert(1)".to_owned(), script.to_owned()];
    hardware.setups[0].name = script.into();
    serve(Sample {
        frontier: answer,
        valid: false,
        hardware,
    })
}

fn family() -> Vec<ResultRow> {
    use Membership::{Dominated, On, Tied};
    let three = "Joulemark reference 3.5M";
    let cells: [(&str, &str, f64, f64, Membership); 12] = [
        (three, "F16", 0.829, 1_466.0, On),
        ("Joulemark reference 1.8M", "Q8_0", 0.662, 4_120.0, On),
        ("Joulemark reference 0.9M", "Q8_0", 0.448, 7_830.0, On),
        (three, "Q8_0", 0.824, 2_310.0, Tied),
        ("Joulemark reference 0.9M", "Q4_K", 0.429, 8_020.0, Tied),
        (three, "Q4_K", 0.795, 2_260.0, Tied),
        ("Joulemark reference 1.8M", "F16", 0.667, 2_790.0, Tied),
        (
            "Joulemark reference 1.8M",
            "Q4_K",
            0.619,
            4_010.0,
            Dominated,
        ),
        ("Joulemark reference 0.9M", "F16", 0.443, 5_240.0, Dominated),
        (three, "Q2_K", 0.281, 2_190.0, Dominated),
        (three, "Q8_0", 0.412, 2_870.0, Dominated),
        (three, "Q8_0", 0.701, 2_300.0, Dominated),
    ];
    let mut rows: Vec<ResultRow> = cells
        .iter()
        .enumerate()
        .map(|(i, (model, quant, quality, speed, standing))| {
            let params = if model.contains("3.5") {
                3_519_744
            } else if model.contains("1.8") {
                1_812_224
            } else {
                927_488
            };
            let mut row = row(0xa0 + i as u64, model, quant, *quality, *speed, params);
            engines::held_against_memory(&mut row);
            stand(&mut row, *standing);
            row
        })
        .collect();
    for (row, pruning) in rows[10..].iter_mut().zip(["layer", "unstructured"]) {
        row.pruning = pruning.into();
        row.pruning_percent = 25.0;
    }
    rows[9].flags = "noisy".into();
    rows
}

fn row(id: u64, model: &str, quant: &str, quality: f64, speed: f64, params: u64) -> ResultRow {
    let bits = match quant {
        "F16" => 16.0,
        "Q8_0" => 8.5,
        "Q2_K" => 2.6,
        _ => 4.5,
    };
    let mut row = ResultRow {
        id: format!("{id:016x}"),
        tier: Some(Tier::SelfReported),
        model: model.to_owned(),
        model_slug: model.to_lowercase().replace([' ', '.'], "-"),
        quant: quant.to_owned(),
        pruning: "none".to_owned(),
        variant_sha256: format!("{id:064x}"),
        variant_bytes: (params as f64 * bits / 8.0) as u64,
        params_total: params,
        bits_per_weight: bits,
        setup: UNKNOWN_SETUP.to_owned(),
        setup_name: "unknown hardware (Sample CPU, 2 cores, 8 GB)".to_owned(),
        chip: "Sample CPU".to_owned(),
        engine: "candle".to_owned(),
        engine_version: "0.11.1".to_owned(),
        engine_build: "sample".to_owned(),
        engine_slug: "candle".to_owned(),
        engine_build_id: "aa00bb11cc22".to_owned(),
        kv_state: "cold".to_owned(),
        concurrency: 1,
        samples: 1,
        roofline_reason: Some(
            "no bandwidth is known of this machine: no probe, no data sheet".to_owned(),
        ),
        backend: "cpu".to_owned(),
        workload: "s".to_owned(),
        suite: Some("reference-v1".to_owned()),
        energy_reason: Some(NO_METER.to_owned()),
        price_reason: Some(NO_PRICE.to_owned()),
        received_at: "2026-11-18T14:02:33Z".to_owned(),
        records: 1,
        record: RECORD.to_owned(),
        ..ResultRow::default()
    };
    let half = 1.96 * (quality * (1.0 - quality) / 210.0).sqrt();
    row.set_figure(
        "quality",
        Figure {
            value: quality,
            ci95: Some((quality - half, (quality + half).min(1.0))),
            n: 210,
        },
    );
    row.set_figure("decode_tokens_per_second", figure(speed, 0.018, 8));
    row.set_figure("prefill_tokens_per_second", figure(speed * 3.1, 0.031, 8));
    row.set_figure("ttft_ms", figure(20_000.0 / speed, 0.022, 8));
    row.set_figure(
        "peak_memory_bytes",
        Figure {
            value: 41e6 + params as f64 * bits / 8.0,
            ci95: None,
            n: 8,
        },
    );
    row
}

/// With an interval of so large a share to both sides.
fn figure(value: f64, share: f64, n: u32) -> Figure {
    Figure {
        value,
        ci95: Some((value * (1.0 - share), value * (1.0 + share))),
        n,
    }
}

fn stand(row: &mut ResultRow, standing: Membership) {
    row.membership = Some(standing);
    row.p_on_frontier = Some(match standing {
        Membership::On => 0.97,
        Membership::Tied => 0.41,
        Membership::Dominated => 0.004,
    });
}

fn priced_at(row: &mut ResultRow, usd: f64) {
    row.price_usd = Some(usd);
    row.price_date = Some("2026-11-10".to_owned());
    row.price_kind = Some(PriceKind::Street);
    row.price_reason = None;
}

/// The first row that is no worse in both objectives.
fn dominator(row: &ResultRow, rows: &[ResultRow], objectives: &[Objective]) -> Option<String> {
    let no_worse = |other: &ResultRow, objective: &Objective| {
        objective
            .of(other)
            .zip(objective.of(row))
            .is_some_and(|(theirs, ours)| {
                if objective.higher_is_better() {
                    theirs >= ours
                } else {
                    theirs <= ours
                }
            })
    };
    let wins =
        |other: &&ResultRow| other.id != row.id && objectives.iter().all(|o| no_worse(other, o));
    rows.iter().find(wins).map(|other| other.id.clone())
}

/// As the collector answers: on, tied, dominated; only dominated rows name another.
fn frontier(objectives: Vec<Objective>, mut rows: Vec<ResultRow>) -> FrontierAnswer {
    rows.sort_by_key(|row| row.membership);
    let by: Vec<_> = rows
        .iter()
        .map(|row| {
            (row.membership == Some(Membership::Dominated))
                .then(|| dominator(row, &rows, &objectives))
                .flatten()
        })
        .collect();
    for (row, by) in rows.iter_mut().zip(by) {
        row.dominated_by = by;
    }
    let standing = |wanted: Membership| {
        rows.iter()
            .filter(|row| row.membership == Some(wanted))
            .count() as u32
    };
    let mut models: Vec<Facet> = Vec::new();
    for row in &rows {
        match models
            .iter_mut()
            .find(|facet| facet.value == row.model_slug)
        {
            Some(facet) => facet.count += 1,
            None => models.push(Facet {
                value: row.model_slug.clone(),
                name: row.model.clone(),
                count: 1,
            }),
        }
    }
    let mut engines: Vec<Facet> = Vec::new();
    for row in &rows {
        match engines
            .iter_mut()
            .find(|facet| facet.value == row.engine_slug)
        {
            Some(facet) => facet.count += 1,
            None => engines.push(Facet {
                value: row.engine_slug.clone(),
                name: row.engine.clone(),
                count: 1,
            }),
        }
    }
    let one = |value: &str| {
        vec![Facet {
            value: value.to_owned(),
            name: value.to_owned(),
            count: rows.len() as u32,
        }]
    };
    FrontierAnswer {
        energy_scope: None,
        across_scopes: false,
        data_version: "5f0c1e".to_owned(),
        licence: DATA_LICENCE.to_owned(),
        query: String::new(),
        objectives,
        objectives_reason: None,
        budget_usd: 2_000.0,
        suite: Some("reference-v1".to_owned()).filter(|_| !rows.is_empty()),
        workload: Some("s".to_owned()).filter(|_| !rows.is_empty()),
        tier_floor: Tier::SelfReported,
        answer: String::new(),
        measured: rows.len() as u32,
        on: standing(Membership::On),
        tied: standing(Membership::Tied),
        unpriced: 0,
        draws: if rows.is_empty() { 0 } else { 1_000 },
        left_out: Vec::new(),
        facets: Facets {
            workloads: one("s"),
            suites: one("reference-v1"),
            models,
            engines,
            ..Facets::default()
        },
        rows,
        imported: Vec::new(),
        imported_reason: None,
    }
}

fn setup(slug: &str, name: &str, parts: &[&str], usd: Option<f64>) -> SetupRow {
    SetupRow {
        slug: slug.to_owned(),
        name: name.to_owned(),
        parts: parts.iter().map(|part| (*part).to_owned()).collect(),
        price: usd.map(|usd| Price {
            usd,
            date: "2026-11-10".to_owned(),
            kind: PriceKind::Street,
            source: "https://example.com/shop".to_owned(),
            note: None,
        }),
        price_reason: usd.is_none().then(|| "nobody recorded one".to_owned()),
        results: 2,
    }
}

fn hardware() -> HardwareAnswer {
    let part =
        |slug: &str, name: &str, kind, memory: Option<f64>, bandwidth: Option<f64>| HardwareRow {
            slug: slug.to_owned(),
            name: name.to_owned(),
            vendor: "Sample Maker".to_owned(),
            kind,
            memory_gb: memory,
            unified: None,
            memory_bandwidth_gb_s: bandwidth,
            fp16_dense_tflops: None,
            fp16_basis: None,
            tdp_w: Some(350.0),
            idle_w: None,
            release_date: Some("2020-09".to_owned()),
            confidence: Confidence::High,
            sources: vec!["https://example.com/sheet".to_owned()],
            results: 0,
        };
    HardwareAnswer {
        data_version: "5f0c1e".to_owned(),
        hardware: vec![
            part(
                "rtx-3090",
                "RTX 3090",
                HardwareKind::Gpu,
                Some(24.0),
                Some(936.0),
            ),
            part(
                "mini-soc",
                "Small desktop",
                HardwareKind::Soc,
                Some(16.0),
                None,
            ),
        ],
        setups: vec![
            setup(
                "pc-rtx-3090",
                "PC with used RTX 3090",
                &["1 x rtx-3090"],
                Some(1_450.0),
            ),
            setup(
                "pc-2-rtx-3090",
                "PC with two used RTX 3090",
                &["2 x rtx-3090"],
                None,
            ),
            setup(
                "pc-rtx-3060",
                "PC with RTX 3060 12 GB",
                &["1 x rtx-3060"],
                Some(920.0),
            ),
            setup(
                "mini-16",
                "Small desktop, 16 GB",
                &["1 x mini-soc"],
                Some(599.0),
            ),
            setup(
                "mini-64",
                "Small desktop, 64 GB",
                &["1 x mini-soc"],
                Some(1_999.0),
            ),
            setup(
                "laptop-32",
                "Laptop, 32 GB",
                &["1 x mini-soc"],
                Some(1_699.0),
            ),
            setup(
                "setup-e0",
                "Workstation, 128 GB",
                &["1 x mini-soc"],
                Some(4_800.0),
            ),
            setup(
                "setup-e1",
                "Server, 2 cards",
                &["2 x rtx-3090"],
                Some(9_900.0),
            ),
        ],
    }
}

impl Sample {
    fn rows(&self) -> Vec<ResultRow> {
        let beside = self.frontier.left_out.iter().map(|one| &one.row);
        let mut rows: Vec<ResultRow> = self.frontier.rows.iter().chain(beside).cloned().collect();
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        rows.dedup_by(|a, b| a.id == b.id);
        rows
    }

    fn summary(&self) -> RecordSummary {
        RecordSummary {
            content_id: RECORD.to_owned(),
            key_id: format!("{:064x}", 0xbeef),
            tier: if self.valid {
                Tier::SelfReported
            } else {
                Tier::Quarantined
            },
            received_at: "2026-11-18T14:02:33Z".to_owned(),
            started_at: "2026-11-18T14:01:58Z".to_owned(),
            outcome: "ok".to_owned(),
            result: Some(RESULT.to_owned()),
            findings: if self.valid {
                Vec::new()
            } else {
                vec!["decode-roofline: faster than <b>memory</b> can deliver".to_owned()]
            },
        }
    }

    fn detail(&self, row: ResultRow) -> ResultDetail {
        let speed = row.decode_tokens_per_second.unwrap_or(100.0);
        let wobble = [
            0.0, -0.011, 0.006, 0.013, -0.004, 0.009, -0.015, 0.002, 0.004, -0.007,
        ];
        let family = |name: &str, description: &str, correct: u32| FamilyScore {
            family: name.to_owned(),
            description: description.to_owned(),
            correct,
            items: 30,
            unextractable: 0,
            accuracy: f64::from(correct) / 30.0,
            accuracy_ci95_low: (f64::from(correct) / 30.0 - 0.16).max(0.0),
            accuracy_ci95_high: (f64::from(correct) / 30.0 + 0.12).min(1.0),
        };
        let two_hosts = row.setup == engines::TWO_HOSTS;
        let line = |label: &str, value: Option<&str>| ProvenanceLine {
            label: label.to_owned(),
            value: value.map(str::to_owned),
        };
        ResultDetail {
            energies: energy::scopes(&row),
            power: energy::power(&row),
            data_version: "5f0c1e".to_owned(),
            licence: DATA_LICENCE.to_owned(),
            families: vec![
                family("addition", "adds two numbers of several digits", 29),
                family("copy", "repeats a text", 30),
                family("sort", "sorts digits", 27),
                family("brackets", "says whether brackets balance", 19),
            ],
            levels: Vec::new(),
            repetitions: wobble
                .iter()
                .zip(0..)
                .map(|(off, rep)| RepetitionPoint {
                    record: RECORD.to_owned(),
                    rep,
                    void: (rep < 2).then(|| "warm-up".to_owned()),
                    decode_tokens_per_second: Some(speed * (1.0 + off)),
                    prefill_tokens_per_second: Some(speed * 3.1 * (1.0 - off)),
                    ttft_ms: (rep != 4).then_some(20_000.0 / speed),
                })
                .collect(),
            provenance: vec![
                line("Weights", Some(&row.variant_sha256)),
                line("Source repository", None),
                line("Engine build", Some("sample")),
                line("Kernel", Some("6.1.0")),
                line("Power limit", None),
                line(
                    "Hosts",
                    two_hosts.then_some("Sample CPU, 2 cores, 8 GB; Sample CPU, 4 cores, 64 GB"),
                ),
                line("Interconnect", two_hosts.then_some("Thunderbolt 5")),
                line(
                    "Split",
                    two_hosts.then_some("pipeline: host 0: layers 0-1; host 1: layers 2-3"),
                ),
            ],
            records: vec![self.summary()],
            reproduce: format!(
                "joulemark sweep --models reference-models --model {} --quant {} --prune none --workload s",
                row.model_slug, row.quant
            ),
            row,
        }
    }
}

fn serve(sample: Sample) -> Router {
    Router::new()
        .route("/api/v1/frontier", get(show_frontier))
        .route("/api/v1/results", get(show_results))
        .route("/api/v1/results/{id}", get(show_result))
        .route("/api/v1/compare", get(show_compare))
        .route("/api/v1/records/{id}", get(show_record))
        .route("/api/v1/records/{id}/envelope", get(show_envelope))
        .route("/api/v1/models", get(show_models))
        .route("/api/v1/models/{slug}", get(show_model))
        .route("/api/v1/tasks", get(show_tasks))
        .route("/api/v1/imports", get(show_imports))
        .route(
            "/api/v1/imports/{id}/file",
            get(|| async { "{\"n_prompt\": 512}" }),
        )
        .route("/api/v1/hardware", get(show_hardware))
        .route("/api/v1/regressions", get(gates::show_regressions))
        .route("/api/v1/series/{id}", get(gates::show_series))
        .route("/api/v1/gates", get(gates::show_gates))
        .route("/api/v1/gates/{id}", get(gates::show_gate))
        .route("/api/v1/engines", get(show_engines))
        .route("/api/v1/engines/{slug}", get(show_engine))
        .route("/api/v1/engines/{slug}/{build}", get(show_build))
        .with_state(Arc::new(sample))
}

type Scripted = State<Arc<Sample>>;

fn refuse(status: StatusCode, detail: &str) -> Response {
    let problem = Problem {
        kind: "/problems/sample".to_owned(),
        title: "Refused".to_owned(),
        status: status.as_u16(),
        detail: detail.to_owned(),
        code: "sample".to_owned(),
        retryable: false,
        errors: Vec::new(),
    };
    (status, Json(problem)).into_response()
}

async fn show_compare(State(sample): Scripted, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let asked = query
        .strip_prefix("r=")
        .unwrap_or_default()
        .replace("%2C", ",");
    let known = sample.rows();
    let rows: Vec<ResultRow> = asked
        .split(',')
        .filter_map(|id| known.iter().find(|row| row.id == id).cloned())
        .collect();
    if rows.len() < 2 {
        return refuse(StatusCode::NOT_FOUND, "no such results");
    }
    Json(energy::compare(rows)).into_response()
}

fn wants_csv(headers: &HeaderMap) -> bool {
    headers
        .get(ACCEPT)
        .is_some_and(|accept| accept == "text/csv")
}

fn csv(rows: &[ResultRow]) -> Response {
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    (
        [(CONTENT_TYPE, "text/csv; charset=utf-8")],
        format!("id\n{}\n", ids.join("\n")),
    )
        .into_response()
}

async fn show_frontier(
    State(sample): Scripted,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Ok(query) = FrontierQuery::parse(&query.unwrap_or_default()) else {
        return refuse(StatusCode::BAD_REQUEST, "the question cannot be read");
    };
    let mut answer = sample.frontier.clone();
    answer.query = query.canonical();
    if !query.engines.is_empty() {
        let wanted = |row: &ResultRow| {
            query
                .engines
                .iter()
                .any(|slug| slug.as_str() == row.engine_slug)
        };
        answer.rows.retain(wanted);
        answer.left_out.retain(|one| wanted(&one.row));
    }
    answer.budget_usd = query.budget_usd;
    if query.imported {
        let rows = variants::imports(sample.valid, &sample.rows()).rows;
        let measured = rows.into_iter().filter(|one| one.row.failed.is_none());
        answer.imported = measured
            .map(|import| ImportedBeside {
                import,
                price_usd: Some(799.0),
                price_date: Some("2026-11-10".to_owned()),
                price_reason: None,
            })
            .collect();
    }
    if let Some(objectives) = query.objectives {
        answer.objectives = objectives;
    }
    if wants_csv(&headers) {
        csv(&answer.rows)
    } else {
        Json(answer).into_response()
    }
}

async fn show_results(State(sample): Scripted, headers: HeaderMap) -> Response {
    let rows = sample.rows();
    if wants_csv(&headers) {
        return csv(&rows);
    }
    let answer = ResultsAnswer {
        data_version: "5f0c1e".to_owned(),
        licence: DATA_LICENCE.to_owned(),
        rows,
        next: None,
    };
    Json(answer).into_response()
}

async fn show_result(State(sample): Scripted, Path(id): Path<String>) -> Response {
    match sample.rows().into_iter().find(|row| row.id == id) {
        Some(row) => Json(sample.detail(row)).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "no such result"),
    }
}

async fn show_record(State(sample): Scripted, Path(id): Path<String>) -> Response {
    if id != RECORD {
        return refuse(StatusCode::NOT_FOUND, "no such record");
    }
    let detail = RecordDetail {
        summary: sample.summary(),
        public_key: format!("{:064x}", 0xfeed),
        signature_valid: sample.valid,
        record: serde_json::json!({ "schema": 1, "sample": "<script>alert(1)</script>", "repetitions": [1, 2, 3] }),
    };
    Json(detail).into_response()
}

async fn show_envelope(Path(id): Path<String>) -> Response {
    if id != RECORD && !gates::is_known(&id) {
        return refuse(StatusCode::NOT_FOUND, "no such record");
    }
    (
        [(CONTENT_TYPE, "application/vnd.dsse+json")],
        "{\"payload\":\"e30=\"}",
    )
        .into_response()
}

async fn show_models(State(sample): Scripted) -> Response {
    let mut models: Vec<ModelRow> = Vec::new();
    for row in sample.rows() {
        match models.iter_mut().find(|model| model.slug == row.model_slug) {
            Some(model) => {
                let known = |one: &ResultRow| one.variant_sha256 == row.variant_sha256;
                model.variants += u32::from(!model.results.iter().any(known));
                model.results.push(row);
            }
            None => models.push(ModelRow {
                slug: row.model_slug.clone(),
                name: row.model.clone(),
                arch: "llama".to_owned(),
                params_total: row.params_total,
                variants: 1,
                results: vec![row],
            }),
        }
    }
    models.sort_by(|a, b| a.slug.cmp(&b.slug));
    Json(ModelsAnswer {
        data_version: "5f0c1e".to_owned(),
        models,
    })
    .into_response()
}

async fn show_model(State(sample): Scripted, Path(slug): Path<String>) -> Response {
    match variants::detail(&slug, &sample.rows()) {
        Some(detail) => Json(detail).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "no such model"),
    }
}

async fn show_tasks(State(sample): Scripted) -> Response {
    Json(variants::tasks(&sample.rows())).into_response()
}

async fn show_imports(State(sample): Scripted) -> Response {
    Json(variants::imports(sample.valid, &sample.rows())).into_response()
}

async fn show_hardware(State(sample): Scripted) -> Response {
    Json(&sample.hardware).into_response()
}

async fn show_engines(State(sample): Scripted, headers: HeaderMap) -> Response {
    let answer = engines::answer(&sample.rows());
    if wants_csv(&headers) {
        return csv(&sample.rows());
    }
    Json(answer).into_response()
}

async fn show_engine(
    State(sample): Scripted,
    Path(slug): Path<String>,
    headers: HeaderMap,
) -> Response {
    let answer = engines::answer(&sample.rows());
    match answer
        .engines
        .into_iter()
        .find(|engine| engine.slug == slug)
    {
        Some(engine) if wants_csv(&headers) => {
            let rows: Vec<_> = engine
                .builds
                .into_iter()
                .flat_map(|build| build.rows)
                .collect();
            csv(&rows)
        }
        Some(engine) => Json(engine).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "no such engine"),
    }
}

async fn show_build(
    State(sample): Scripted,
    Path((slug, build)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let answer = engines::answer(&sample.rows());
    let mut builds = answer.engines.into_iter().flat_map(|engine| engine.builds);
    match builds.find(|one| one.engine_slug == slug && one.build == build) {
        Some(build) if wants_csv(&headers) => csv(&build.rows),
        Some(build) => Json(build).into_response(),
        None => refuse(StatusCode::NOT_FOUND, "no such build"),
    }
}
