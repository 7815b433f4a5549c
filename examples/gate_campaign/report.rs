//! What the campaign comes to, as the page docs/gate-honesty.md.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use domain::gate::looks::Rule;
use domain::gate::rank::{MAX_VALUES, Walsh};
use domain::gate::record::GateRecord;
use domain::gate::replay::{Recorded, replay, slot_values};
use domain::gate::verdict::{Judgement, judge};
use domain::gate::{Arm, Metric, Verdict, order};
use domain::statistics::proportion::clopper_pearson;
use domain::statistics::{median, median_absolute_deviation};

use crate::live::{Finished, Truth};
use crate::rules::{Dealt, RULES, count};
use crate::{Campaign, blocks, live};

/// Gates replayed at each planted effect.
const REPLAYS: u32 = 2_000;

/// Planted shares.
const PLANTED: [f64; 7] = [0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08];

/// Comparisons by each other rule.
const COMPARISONS: u32 = 1_000;

/// Prints the page.
pub(crate) fn print(campaign: &Campaign) -> anyhow::Result<()> {
    let (header, recorded) = blocks::read(&blocks::AA.path(campaign))?;
    let slots = slot_values(&recorded, 0, Metric::Decode);
    let values: Vec<f64> = (recorded.iter().zip(&slots))
        .map(|(_, slots)| (slots[1] + slots[2] - slots[0] - slots[3]) / 2.0)
        .collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", include_str!("page.md").trim_end())?;
    let seconds = slot_seconds(&recorded);
    writeln!(
        out,
        "\n## The recorded blocks\n\n{} blocks of one build against itself, {} slots of {:.2} s (median), on {}, held on {} core(s), {} thread(s) for the engine.\nThe standard deviation of a block is {:.2} % ({:.2} % by the median absolute deviation).",
        slots.len(),
        slots.len() * 4,
        median(&seconds).context("no slots")?,
        header.chip,
        header.cores_allowed,
        header.threads,
        100.0 * deviation(&values),
        100.0 * 1.4826 * median_absolute_deviation(&values).context("no blocks")?,
    )?;
    calibrated(campaign, &mut out)?;
    argued(campaign, &mut out)?;
    replayed(campaign, &slots, &mut out)?;
    others(&slots, &mut out)?;
    writeln!(
        out,
        "\n## Live\n\nWhole gates of real programs, in an order drawn beforehand, the disturbed last; about half of those of the same arm were measured before the slow-downs were changed and not again.\nEach truth's own count, never merged with the replays. A gate ends as soon as it can decide, so that its effect leans to what ended it."
    )?;
    lived(&live::read(campaign, live::FOLDER)?, &mut out)?;
    writeln!(
        out,
        "\n## Live, the arguments not matched\n\nWhat was measured while the candidate was told more than the base (every 16th pass twice for +5 %, every 40th for +2 %); it counts for nothing above."
    )?;
    lived(&live::read(campaign, live::UNMATCHED)?, &mut out)
}

fn slot_seconds(blocks: &[domain::gate::record::Block]) -> Vec<f64> {
    let slots = blocks.iter().flat_map(|block| &block.slots);
    slots
        .map(|slot| (slot.end_ns - slot.start_ns) as f64 / 1e9)
        .collect()
}

fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (n - 1.0)).sqrt()
}

/// What share of a token's time a pass is.
fn calibrated(campaign: &Campaign, out: &mut impl std::io::Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "\n## How great the slow-downs are\n\nRecorded blocks of slow-downs great enough to measure; Hodges-Lehmann estimates with exact signed-rank 95 % intervals.\n\n| every k-th pass twice: k | the base is told as much | blocks | decode takes longer by % | k times that: one pass, in % of a token's time |\n|---:|---|---:|---:|---:|"
    )?;
    for (k, recording) in blocks::REPEATED {
        let path = recording.path(campaign);
        let matched = if recording.is_matched() { "yes" } else { "no" };
        if !path.exists() {
            writeln!(out, "| {k} | {matched} | not measured | | |")?;
            continue;
        }
        let effects = recorded_effects(&path)?;
        let [effect, low, high] = estimate(&effects)?;
        let k_times = f64::from(k);
        writeln!(
            out,
            "| {k} | {matched} | {} | {effect:.1} ({low:.1} to {high:.1}) | {:.0} ({:.0} to {:.0}) |",
            effects.len(),
            k_times * effect,
            k_times * low,
            k_times * high,
        )?;
    }
    Ok(())
}

/// What an argument does that asks for no work.
fn argued(campaign: &Campaign, out: &mut impl std::io::Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "\n## What one more argument does\n\nRecorded blocks of the program, told nothing, against itself with one argument that asks for no work; likewise estimated.\nThe last two were recorded at the same time, each on a core of its own; the others one pair after the other.\n\n| the candidate is told | its memory begins | blocks | decode takes longer by % | standard deviation of a block, % |\n|---|---|---:|---:|---:|"
    )?;
    for (displaced, recording) in blocks::ARGUMENTS {
        let begins = if displaced {
            "at random"
        } else {
            "where it falls"
        };
        let path = recording.path(campaign);
        let argument = recording.argument();
        if !path.exists() {
            writeln!(out, "| `{argument}` | {begins} | not measured | | |")?;
            continue;
        }
        let effects = recorded_effects(&path)?;
        let [effect, low, high] = estimate(&effects)?;
        writeln!(
            out,
            "| `{argument}` | {begins} | {} | {effect:+.1} ({low:+.1} to {high:+.1}) | {:.1} |",
            effects.len(),
            100.0 * deviation(&effects),
        )?;
    }
    Ok(())
}

/// What each recorded block says: the logarithm of by how much decode took longer in the candidate's slots.
fn recorded_effects(path: &Path) -> anyhow::Result<Vec<f64>> {
    let (_, recorded) = blocks::read(path)?;
    let slots = slot_values(&recorded, 0, Metric::Decode);
    let effects = (recorded.iter().zip(&slots)).map(|(block, slots)| {
        let signs = order(block.coin).map(|arm| match arm {
            Arm::Base => -0.5,
            Arm::Candidate => 0.5,
        });
        slots
            .iter()
            .zip(signs)
            .map(|(value, sign)| value * sign)
            .sum()
    });
    Ok(effects.collect())
}

/// Of so many blocks the estimate and its 95 % limits, in percent.
fn estimate(effects: &[f64]) -> anyhow::Result<[f64; 3]> {
    // The exact limits take so many values: means of neighbours are as symmetrical as what they are of.
    let together = effects.len().div_ceil(MAX_VALUES).max(1);
    let means: Vec<f64> = (effects.chunks(together))
        .map(|some| some.iter().sum::<f64>() / some.len() as f64)
        .collect();
    let walsh = Walsh::of(&means).context("no blocks")?;
    let limits = [walsh.effect(), walsh.lower(0.025), walsh.upper(0.025)];
    Ok(limits.map(|log| 100.0 * log.exp_m1()))
}

/// A share of counts with its interval.
fn share(of: u32, n: u32) -> String {
    let (low, high) = clopper_pearson(of, n, 0.95);
    format!(
        "{:.1} ({:.1} to {:.1})",
        100.0 * f64::from(of) / f64::from(n.max(1)),
        100.0 * low,
        100.0 * high
    )
}

fn replayed(
    campaign: &Campaign,
    slots: &[[f64; 4]],
    out: &mut impl std::io::Write,
) -> anyhow::Result<()> {
    let policy = &campaign.policy;
    let rule = Rule {
        practical_zero: policy.practical_zero.ln_1p(),
        tolerance: policy.tolerance(Metric::Decode).ln_1p(),
        alpha: policy.alpha,
        beta: policy.beta,
    };
    let recorded = Recorded {
        cells: vec![(rule, slots.to_vec())],
        alpha: policy.alpha,
        last_look: 48,
    };
    writeln!(
        out,
        "\n## Replayed\n\n{REPLAYS} gates for each planted ratio: blocks drawn anew from those recorded, every coin tossed again, the ratio put on the candidate's slots; looks, alarms and confirmation as in a gate.\nThey share the noise of one recording, so that their intervals say how well the replay is known and not how the next recording would do.\n\n| planted | REGRESSED % | IMPROVED % | PASS % | INCONCLUSIVE % | blocks, mean |\n|---:|---:|---:|---:|---:|---:|"
    )?;
    for (number, planted) in (0_u8..).zip(PLANTED) {
        let rates = replay(&recorded, planted, REPLAYS, [number; 32])
            .context("failed to replay: fewer blocks than the last look needs")?;
        writeln!(
            out,
            "| {:+.1} % | {} | {} | {} | {} | {:.1} |",
            planted * 100.0,
            share(rates.regressed, rates.gates),
            share(rates.improved, rates.gates),
            share(rates.passed, rates.gates),
            share(rates.inconclusive, rates.gates),
            rates.blocks as f64 / f64::from(rates.gates)
        )?;
    }
    Ok(())
}

fn others(slots: &[[f64; 4]], out: &mut impl std::io::Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "\n## Other rules on the same blocks\n\nEach rule has as many runs as a gate of 12 blocks, {COMPARISONS} times.\n*One after the other*: all runs of the base, then all of the candidate, as those tools are used.\n*By coins*: the same runs dealt out as a gate deals them, which they do not do.\nSaid is \"worse\"; at 0 % every one of them is a false alarm.\n\n| rule | dealt | +0 %: worse % | +0 %: better % | +2 %: worse % | +5 %: worse % |\n|---|---|---:|---:|---:|---:|"
    )?;
    for rule in &RULES {
        for dealt in [Dealt::OneAfterTheOther, Dealt::ByCoins] {
            let of = |planted: f64| count(rule, slots, dealt, planted.ln_1p(), COMPARISONS);
            let (none, two, five) = (of(0.0), of(0.02), of(0.05));
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} |",
                rule.name,
                match dealt {
                    Dealt::OneAfterTheOther => "one after the other",
                    Dealt::ByCoins => "by coins",
                },
                share(none.worse, none.comparisons),
                share(none.better, none.comparisons),
                share(two.worse, two.comparisons),
                share(five.worse, five.comparisons),
            )?;
        }
    }
    Ok(())
}

fn lived(finished: &[Finished], out: &mut impl std::io::Write) -> anyhow::Result<()> {
    writeln!(
        out,
        "\n| truth | gates | REGRESSED % | IMPROVED | PASS % | INCONCLUSIVE | of those not confirmed | INVALID | effect, median | block sd, median | minutes, median (most) |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    )?;
    let mut by_truth: BTreeMap<Truth, Vec<(&GateRecord, Judgement)>> = BTreeMap::new();
    for gate in finished {
        let judged = judge(&gate.record)?;
        by_truth
            .entry(gate.truth)
            .or_default()
            .push((&gate.record, judged));
    }
    for (truth, gates) in &by_truth {
        let n = gates.len() as u32;
        let said = |verdict| {
            let those = gates.iter().filter(|(_, judged)| judged.verdict == verdict);
            those.count() as u32
        };
        let of_cells = |figure: fn(&Judgement) -> Option<f64>| {
            let figures: Vec<f64> = gates.iter().filter_map(|(_, j)| figure(j)).collect();
            median(&figures).map_or("not measured".to_owned(), |share| {
                format!("{:+.2} %", share * 100.0)
            })
        };
        let unconfirmed = gates.iter().filter(|(_, judged)| {
            let reasons = judged
                .cells
                .iter()
                .filter_map(|cell| cell.reason.as_deref());
            reasons.into_iter().any(|reason| reason == "not-confirmed")
        });
        let minutes: Vec<f64> = (gates.iter()).map(|(_, j)| j.seconds / 60.0).collect();
        writeln!(
            out,
            "| {} | {n} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} ({:.1}) |",
            told(*truth),
            share(said(Verdict::Regressed), n),
            said(Verdict::Improved),
            share(said(Verdict::Pass) + said(Verdict::Improved), n),
            said(Verdict::Inconclusive),
            unconfirmed.count(),
            said(Verdict::Invalid),
            of_cells(|judged| judged.cells.first()?.effect),
            of_cells(|judged| judged.cells.first()?.block_sd).trim_start_matches('+'),
            median(&minutes).context("a truth has gates")?,
            minutes.iter().copied().fold(0.0, f64::max),
        )?;
    }
    answered(&by_truth, out)
}

/// The gates that looked at answers, one by one: what decided is no matter of chance.
fn answered(
    by_truth: &BTreeMap<Truth, Vec<(&GateRecord, Judgement)>>,
    out: &mut impl std::io::Write,
) -> anyhow::Result<()> {
    writeln!(
        out,
        "\n### Answers\n\n| truth | verdict | of answers | rung | what was seen | decode |\n|---|---|---|---:|---|---|"
    )?;
    let asked = by_truth
        .iter()
        .filter(|(truth, _)| truth.asks_for_answers());
    for (truth, judged) in
        asked.flat_map(|(truth, gates)| gates.iter().map(move |(_, j)| (truth, j)))
    {
        let (answers, decode) = (judged.quality.first(), judged.cells.first());
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            told(*truth),
            judged.verdict.as_str(),
            answers.map_or("none", |quality| quality.verdict.as_str()),
            answers
                .and_then(|quality| quality.rung)
                .map_or("none".to_owned(), |rung| rung.to_string()),
            answers.map_or("", |quality| quality.said.as_str()),
            decode.map_or("not measured", |cell| cell.verdict.as_str()),
        )?;
    }
    Ok(())
}

fn told(truth: Truth) -> &'static str {
    match truth {
        Truth::Same => "the same",
        Truth::FivePercent => "passes twice, +5 %",
        Truth::TwoPercent => "passes twice, +2 %",
        Truth::SameDisturbed => "the same, its core loaded by other programs",
        Truth::FivePercentDisturbed => "passes twice, +5 %, its core loaded by other programs",
        Truth::SameAnswers => "every prompt processed twice: answers the same",
        Truth::RoundedTensor => "one tensor rounded to 2 bits: decode the same",
    }
}
