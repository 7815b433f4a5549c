//! Made-up answers about one model's variants, about tasks, and about imported files.

use domain::api::{
    DATA_LICENCE, FamilyScore, ImportRow, ImportsAnswer, ModelDetail, PassingResult, ResultRow,
    TaskRow, TasksAnswer, Told, VariantFamily, VariantGroup, VariantRow,
};
use domain::import::{Format, Row, RowKind};

const FAMILIES: [(&str, &str); 3] = [
    ("addition", "Adds two numbers."),
    ("recall", "Looks up one of several keys."),
    ("sort", "Puts letters in order."),
];

/// The model's variants on the setup of its first row.
pub(super) fn detail(slug: &str, rows: &[ResultRow]) -> Option<ModelDetail> {
    let own: Vec<&ResultRow> = rows.iter().filter(|row| row.model_slug == slug).collect();
    let first = *own.first()?;
    let same = |row: &&&ResultRow| {
        row.setup == first.setup
            && row.engine_slug == first.engine_slug
            && row.workload == first.workload
    };
    let group_of = |row: &ResultRow, variants: usize| VariantGroup {
        setup: row.setup.clone(),
        engine: row.engine_slug.clone(),
        workload: row.workload.clone(),
        suite: row.suite.clone(),
        variants: variants as u32,
    };
    let mut grouped: Vec<&ResultRow> = own.iter().filter(same).copied().collect();
    grouped.sort_by_key(|row| (row.pruning != "none", u64::MAX - row.variant_bytes));
    let group = group_of(first, grouped.len());
    let mut groups = vec![group.clone()];
    if let Some(other) = own.iter().find(|row| !same(row)) {
        groups.push(group_of(other, 1));
    }
    let reference = grouped
        .iter()
        .find(|row| row.quant == "F16" && row.pruning == "none")
        .copied();
    Some(ModelDetail {
        data_version: "5f0c1e".to_owned(),
        licence: DATA_LICENCE.to_owned(),
        slug: slug.to_owned(),
        name: first.model.clone(),
        arch: "llama".to_owned(),
        params_total: first.params_total,
        group: Some(group),
        groups,
        reference: reference.map(|row| row.id.clone()),
        reference_reason: reference
            .is_none()
            .then(|| "only quantised variants were measured".to_owned()),
        families: grouped.iter().flat_map(|row| families(row)).collect(),
        variants: grouped.iter().map(|row| variant(row, reference)).collect(),
    })
}

fn variant(row: &ResultRow, reference: Option<&ResultRow>) -> VariantRow {
    let mut variant = VariantRow {
        result: row.id.clone(),
        variant_sha256: row.variant_sha256.clone(),
        quant: row.quant.clone(),
        pruning: row.pruning.clone(),
        pruning_recipe: (row.pruning == "layer").then(|| "layers-1".to_owned()),
        pruning_percent: row.pruning_percent,
        variant_bytes: row.variant_bytes,
        bits_per_weight: row.bits_per_weight,
        quality: row.quality,
        quality_ci95_low: row.quality_ci95_low,
        quality_ci95_high: row.quality_ci95_high,
        quality_n: row.quality_n,
        quality_reason: row.quality_reason.clone(),
        unextractable: Some(u32::from(row.quant == "Q2_K") * 7),
        decode_tokens_per_second: row.decode_tokens_per_second,
        decode_tokens_per_second_ci95_low: row.decode_tokens_per_second_ci95_low,
        decode_tokens_per_second_ci95_high: row.decode_tokens_per_second_ci95_high,
        decode_reason: row.decode_reason.clone(),
        joules_per_correct_answer: row.joules_per_correct_answer,
        joules_per_correct_answer_ci95_low: row.joules_per_correct_answer_ci95_low,
        joules_per_correct_answer_ci95_high: row.joules_per_correct_answer_ci95_high,
        energy_scope: row.energy_scope.clone(),
        energy_reason: row.energy_reason.clone(),
        ..VariantRow::default()
    };
    let Some((reference, (own, theirs))) =
        reference.and_then(|base| Some((base, row.quality.zip(base.quality)?)))
    else {
        return variant;
    };
    variant.bytes_of_reference = Some(row.variant_bytes as f64 / reference.variant_bytes as f64);
    variant.decode_of_reference = row
        .decode_tokens_per_second
        .zip(reference.decode_tokens_per_second)
        .map(|(own, theirs)| own / theirs);
    if row.id == reference.id {
        return variant;
    }
    let points = 100.0 * (own - theirs);
    let half = 2.0 + points.abs() / 8.0;
    variant.quality_points = Some(points);
    variant.quality_points_ci95_low = Some(points - half);
    variant.quality_points_ci95_high = Some(points + half);
    variant.told = Some(if points.abs() > half {
        Told::Worse
    } else {
        Told::NotApart
    });
    variant.paired_items = row.quality_n;
    variant.lost = Some((-2.1 * points).max(0.0) as u32 + 2);
    variant.gained = Some(2);
    variant.mcnemar_p = Some(0.02);
    variant.items_needed = Some(12_400);
    variant.greedy_agreement = Some((1.0 + points / 60.0).clamp(0.0, 1.0));
    variant.greedy_agreement_ci95_low = Some((0.95 + points / 60.0).clamp(0.0, 1.0));
    variant.greedy_agreement_ci95_high = Some((1.03 + points / 60.0).clamp(0.0, 1.0));
    variant.greedy_agreement_n = row.quality_n;
    let kl = 0.000_4 + points * points / 2_000.0;
    variant.kl_mean_nats = Some(kl);
    variant.kl_mean_nats_ci95_low = Some(kl * 0.9);
    variant.kl_mean_nats_ci95_high = Some(kl * 1.1);
    variant.kl_p999_nats = Some(kl * 40.0);
    variant.top1_agreement = Some((0.999 + points / 120.0).clamp(0.0, 1.0));
    variant.fidelity_tokens = Some(3_900);
    variant
}

fn families(row: &ResultRow) -> Vec<VariantFamily> {
    let Some(quality) = row.quality else {
        return Vec::new();
    };
    let score = |name: &str, description: &str, items: u32, shift: f64| {
        let share = (quality + shift).clamp(0.0, 1.0);
        let correct = (share * f64::from(items)).round() as u32;
        FamilyScore {
            family: name.to_owned(),
            description: description.to_owned(),
            correct,
            items,
            unextractable: 0,
            accuracy: f64::from(correct) / f64::from(items),
            accuracy_ci95_low: (share - 0.1).max(0.0),
            accuracy_ci95_high: (share + 0.08).min(1.0),
        }
    };
    FAMILIES
        .into_iter()
        .zip([-0.2, -0.05, 0.2])
        .flat_map(|((name, description), shift)| {
            (0..=3_u8).map(move |level| {
                let harder = 0.1 * (2.0 - f64::from(level));
                let (items, shift) = match level {
                    0 => (60, shift),
                    _ => (20, shift + harder),
                };
                (name, description, level, items, shift)
            })
        })
        .map(|(name, description, level, items, shift)| VariantFamily {
            result: row.id.clone(),
            level,
            score: score(name, description, items, shift),
        })
        .collect()
}

/// Tasks, and the cheapest setup that passes.
pub(super) fn tasks(rows: &[ResultRow]) -> TasksAnswer {
    let priced: Vec<&ResultRow> = rows.iter().filter(|row| row.price_usd.is_some()).collect();
    let row = |name: &str, description: &str, level: u8| {
        let best = priced.get(usize::from(level)).filter(|_| level < 3);
        TaskRow {
            family: name.to_owned(),
            description: description.to_owned(),
            level,
            results: rows.len() as u32,
            passing: u32::from(best.is_some()) * 3,
            cheapest: best.map(|row| PassingResult {
                id: row.id.clone(),
                model: row.model.clone(),
                quant: row.quant.clone(),
                setup: row.setup.clone(),
                setup_name: row.setup_name.clone(),
                price_usd: row.price_usd.unwrap_or_default(),
                price_date: row.price_date.clone().unwrap_or_default(),
                decode_tokens_per_second: row.decode_tokens_per_second,
                correct: 58,
                items: 60,
                accuracy_ci95_low: 0.885,
                accuracy_ci95_high: 0.996,
            }),
            reason: best
                .is_none()
                .then(|| "no result’s interval lies above 80 %".to_owned()),
        }
    };
    TasksAnswer {
        data_version: "5f0c1e".to_owned(),
        licence: DATA_LICENCE.to_owned(),
        suite: "reference-v1".to_owned(),
        suites: vec!["reference-v1".to_owned(), "core-v1".to_owned()],
        pass: 0.8,
        rows: FAMILIES
            .into_iter()
            .flat_map(|(name, description)| (0..=3).map(move |level| (name, description, level)))
            .map(|(name, description, level)| row(name, description, level))
            .collect(),
    }
}

/// Two files of other tools.
pub(super) fn imports(is_benign: bool, results: &[ResultRow]) -> ImportsAnswer {
    let name = if is_benign {
        "Sample 8B Q4_K - Medium".to_owned()
    } else {
        results[0].model.clone()
    };
    let import = |number: u32, row: Row| ImportRow {
        id: format!("{:064x}-{number}", 7),
        import: super::RECORD.to_owned(),
        key_id: format!("{:064x}", 0xbeef),
        received_at: "2026-11-18T14:02:33Z".to_owned(),
        file: "bench.json".to_owned(),
        file_sha256: format!("{:064x}", 8),
        redactions: number,
        source: Some("https://example.org/post".to_owned()),
        licence: Some("MIT".to_owned()),
        row,
        ..ImportRow::default()
    };
    let rows = if results.is_empty() {
        Vec::new()
    } else {
        vec![
            import(
                0,
                Row {
                    format: Some(Format::LlamaBench),
                    kind: Some(RowKind::Decode),
                    test: "tg128".to_owned(),
                    model: Some(name.clone()),
                    hardware: Some("Sample GPU".to_owned()),
                    decode_tokens_per_second: Some(61.4),
                    decode_tokens_per_second_sd: Some(0.3),
                    notes: vec!["flash attention on".to_owned()],
                    ..Row::default()
                },
            ),
            import(
                1,
                Row {
                    format: Some(Format::VllmBenchServe),
                    kind: Some(RowKind::Serving),
                    test: "200 prompts".to_owned(),
                    model: Some(name),
                    failed: Some("none of 640 requests was completed".to_owned()),
                    ..Row::default()
                },
            ),
        ]
    };
    ImportsAnswer {
        data_version: "5f0c1e".to_owned(),
        licence: DATA_LICENCE.to_owned(),
        rows,
        next: None,
    }
}
