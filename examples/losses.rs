//! What quantisation and pruning cost, read from a collector, and whether the figures hold together.
//!
//! `cargo run --release --example losses -- http://127.0.0.1:8460 [MODEL ...]` after
//! `joulemark sweep --matrix quality-matrix.toml --collector http://127.0.0.1:8460`.
//!
//! Prints one table per model as Markdown, and checks two laws on what the collector published:
//!
//! - along a series that removes ever more (F16 to `Q2_K`; magnitude 30, 50, 70 %), no family is
//!   answered better after more was removed: no later interval lies wholly above an earlier one;
//! - along such a series KL divergence ranks the variants as accuracy does: of two whose quality
//!   intervals do not touch, the one with the higher KL is the worse one.
//!
//! Across kinds of pruning that need not hold: what differs there is listed, and Spearman's rank
//! correlation of KL and accuracy over all variants is printed.
//!
//! Exits with 1 when a law is broken.
#![expect(clippy::print_stdout, reason = "the tables are its result")]

use std::process::ExitCode;

use anyhow::Context as _;
use domain::api::{ModelDetail, ModelsAnswer, VariantRow};

/// Series in the order in which more and more is removed; each begins with the reference.
const SERIES: [&[&str]; 2] = [
    &[
        "F16 none",
        "Q8_0 none",
        "Q6_K none",
        "Q5_K none",
        "Q4_K_M none",
        "Q4_K none",
        "Q3_K none",
        "Q2_K none",
    ],
    &[
        "F16 none",
        "F16 magnitude-30%",
        "F16 magnitude-50%",
        "F16 magnitude-70%",
    ],
];

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let collector = arguments
        .next()
        .context("give the collector's address, such as http://127.0.0.1:8460")?;
    let collector = collector.trim_end_matches('/');
    let asked: Vec<String> = arguments.collect();
    let models: ModelsAnswer = read(&format!("{collector}/api/v1/models"))?;
    let slugs = models.models.into_iter().map(|model| model.slug);
    let mut broken = 0;
    for slug in slugs.filter(|slug| asked.is_empty() || asked.contains(slug)) {
        let detail: ModelDetail = read(&format!("{collector}/api/v1/models/{slug}"))?;
        print_table(&detail);
        let mut found = rising_families(&detail);
        let (broken_by_kl, exceptions): (Vec<_>, Vec<_>) = misranked(&detail)
            .into_iter()
            .partition(|(in_series, _)| *in_series);
        found.extend(broken_by_kl.into_iter().map(|(_, words)| words));
        for law in &found {
            println!("BROKEN: {law}");
        }
        for (_, words) in &exceptions {
            println!("Across kinds: {words}");
        }
        if let Some(rho) = spearman(&detail) {
            println!("Spearman's rank correlation of KL and accuracy lost: {rho:.3}");
        }
        println!();
        broken += found.len();
    }
    Ok(if broken == 0 {
        println!("Along every series no family rises, and KL ranks as accuracy does.");
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read<T: serde::de::DeserializeOwned>(url: &str) -> anyhow::Result<T> {
    let answer = reqwest::blocking::get(url)
        .and_then(reqwest::blocking::Response::error_for_status)
        .with_context(|| format!("failed to read {url}"))?;
    let text = answer.text()?;
    serde_json::from_str(&text).with_context(|| format!("failed to understand {url}"))
}

/// `F16 none`, `Q4_K magnitude-30%`.
fn name(row: &VariantRow) -> String {
    let pruning = row.pruning_recipe.as_deref().unwrap_or(&row.pruning);
    format!("{} {pruning}", row.quant)
}

fn print_table(detail: &ModelDetail) {
    let mut families: Vec<&str> = Vec::new();
    for family in detail.families.iter().filter(|one| one.level == 0) {
        if !families.contains(&family.score.family.as_str()) {
            families.push(&family.score.family);
        }
    }
    println!("### {}\n", detail.name);
    println!(
        "| variant | bits/weight | all, % | points against F16 | told | KL, nats | p99.9 | same first choice, % | same answers, % | {} |",
        families.join(" | ")
    );
    println!(
        "|---|---:|---:|---:|---|---:|---:|---:|---:|{}",
        "---:|".repeat(families.len())
    );
    for row in &detail.variants {
        let percent = |share: Option<f64>| {
            share.map_or_else(|| "—".to_owned(), |share| format!("{:.1}", 100.0 * share))
        };
        let points = row.quality_points.map_or_else(
            || "—".to_owned(),
            |points| {
                let low = row.quality_points_ci95_low.unwrap_or(f64::NAN);
                let high = row.quality_points_ci95_high.unwrap_or(f64::NAN);
                format!("{points:+.1} ({low:+.1} to {high:+.1})")
            },
        );
        let nats =
            |nats: Option<f64>| nats.map_or_else(|| "—".to_owned(), |nats| format!("{nats:.5}"));
        let told = row
            .told
            .map_or_else(String::new, |told| format!("{told:?}"));
        let by_family: Vec<String> = families
            .iter()
            .map(|family| {
                let own = detail.families.iter().find(|one| {
                    one.result == row.result && one.level == 0 && one.score.family == **family
                });
                percent(own.map(|one| one.score.accuracy))
            })
            .collect();
        println!(
            "| {} | {:.2} | {} | {points} | {told} | {} | {} | {} | {} | {} |",
            name(row),
            row.bits_per_weight,
            percent(row.quality),
            nats(row.kl_mean_nats),
            nats(row.kl_p999_nats),
            percent(row.top1_agreement),
            percent(row.greedy_agreement),
            by_family.join(" | "),
        );
    }
    println!();
}

/// Families that are surely answered better after more was removed.
fn rising_families(detail: &ModelDetail) -> Vec<String> {
    let mut found = Vec::new();
    for series in SERIES {
        let rows: Vec<&VariantRow> = series
            .iter()
            .filter_map(|wanted| detail.variants.iter().find(|row| name(row) == *wanted))
            .collect();
        for (number, earlier) in rows.iter().enumerate() {
            for later in &rows[number + 1..] {
                for before in &detail.families {
                    let after = detail.families.iter().find(|one| {
                        one.result == later.result
                            && one.level == before.level
                            && one.score.family == before.score.family
                    });
                    let (Some(after), true) = (after, before.result == earlier.result) else {
                        continue;
                    };
                    if after.score.accuracy_ci95_low > before.score.accuracy_ci95_high {
                        found.push(format!(
                            "{}, level {}: {} is above {}",
                            before.score.family,
                            before.level,
                            name(later),
                            name(earlier)
                        ));
                    }
                }
            }
        }
    }
    found
}

/// Ranks from 0, equals sharing their mean.
fn ranks(values: &[f64]) -> Vec<f64> {
    let below = |one: f64, strict: bool| {
        let counted = values.iter().filter(|other| {
            if strict {
                **other < one
            } else {
                **other <= one
            }
        });
        counted.count() as f64
    };
    let rank = |one: &f64| (below(*one, true) + below(*one, false) - 1.0) / 2.0;
    values.iter().map(rank).collect()
}

/// Spearman's rank correlation of KL and accuracy lost, over all variants that have both.
fn spearman(detail: &ModelDetail) -> Option<f64> {
    let both = |row: &VariantRow| row.kl_mean_nats.zip(row.quality.map(|quality| -quality));
    let (kl, lost): (Vec<f64>, Vec<f64>) = detail.variants.iter().filter_map(both).unzip();
    let (kl, lost) = (ranks(&kl), ranks(&lost));
    let mean = (kl.len().checked_sub(1)?) as f64 / 2.0;
    let sum = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum()
    };
    let rho = sum(&kl, &lost) / (sum(&kl, &kl) * sum(&lost, &lost)).sqrt();
    rho.is_finite().then_some(rho)
}

/// Pairs whose accuracies are surely apart and whose KL divergences are the other way round, and
/// whether both belong to one series.
fn misranked(detail: &ModelDetail) -> Vec<(bool, String)> {
    let in_series = |a: &VariantRow, b: &VariantRow| {
        let holds = |series: &&[&str]| {
            series.contains(&name(a).as_str()) && series.contains(&name(b).as_str())
        };
        SERIES.iter().any(holds)
    };
    let mut found = Vec::new();
    for worse in &detail.variants {
        for better in &detail.variants {
            let apart = worse
                .quality_ci95_high
                .zip(better.quality_ci95_low)
                .is_some_and(|(high, low)| high < low);
            let kl = worse.kl_mean_nats.zip(better.kl_mean_nats);
            if let (true, Some((of_worse, of_better))) = (apart, kl)
                && of_worse < of_better
            {
                let words = format!(
                    "KL of {} ({of_worse:.5}) is below that of {} ({of_better:.5}), which answers better",
                    name(worse),
                    name(better)
                );
                found.push((in_series(worse, better), words));
            }
        }
    }
    found
}
