//! From the policy's text to the checked policy: percent become shares, mistakes are named.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use jiff::civil::Date;
use serde::Deserialize;
use toml::value::Datetime;
use toml::{Spanned, Value};

use super::super::Metric;
use super::super::record::{ArmKind, MAX_CELLS, MAX_POLICY_BYTES};
use super::{
    ArmsPolicy, Axis, GatedWorkload, MAX_COMMAND_BYTES, MAX_COMMANDS, MAX_ITEMS, Policy,
    PolicyError, QualityPolicy, Waiver,
};
use crate::matrix::source::Source;
use crate::matrix::{MAX_REPETITIONS, RawWorkload, WorkloadSpec, checked_path};
use crate::suite::Suite;
use crate::text::Name;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    required: Option<Spanned<Vec<Spanned<Axis>>>>,
    alpha_percent: Option<Spanned<f64>>,
    beta_percent: Option<Spanned<f64>>,
    practical_zero_percent: Option<Spanned<f64>>,
    budget_minutes: Option<Spanned<f64>>,
    repetitions: Option<Spanned<u32>>,
    slot_seconds: Option<Spanned<f64>>,
    cool_down_seconds: Option<Spanned<f64>>,
    slot_limit_seconds: Option<Spanned<f64>>,
    #[serde(default)]
    models: Vec<Spanned<String>>,
    #[serde(default)]
    margins: RawMargins,
    quality: Option<RawQuality>,
    arms: Option<RawArms>,
    #[serde(default)]
    workloads: Vec<RawGated>,
    #[serde(default)]
    waivers: Vec<RawWaiver>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawMargins {
    decode: Option<Spanned<f64>>,
    prefill: Option<Spanned<f64>>,
    ttft: Option<Spanned<f64>>,
    peak_bytes: Option<Spanned<f64>>,
    energy: Option<Spanned<f64>>,
    time: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQuality {
    suite: Option<Suite>,
    items: Option<Spanned<u32>>,
    alpha_percent: Option<Spanned<f64>>,
    margin_points: Option<Spanned<f64>>,
    dnll_nats: Option<Spanned<f64>>,
    kld_nats: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawArms {
    kind: Spanned<ArmKind>,
    #[serde(default)]
    build: Vec<Spanned<String>>,
    run: Spanned<String>,
    #[serde(default)]
    layout_build: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGated {
    id: Spanned<String>,
    prompt_tokens: Spanned<u32>,
    output_tokens: Spanned<u32>,
    metrics: Option<Spanned<Vec<Spanned<Metric>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWaiver {
    cell: Spanned<String>,
    metric: Spanned<Metric>,
    limit_percent: Spanned<f64>,
    reason: Spanned<String>,
    expires: Spanned<Datetime>,
}

/// Percent that an error rate may have: above a half, a coin would do.
const ERROR_PERCENT: RangeInclusive<f64> = 0.001..=49.999;
/// Percent that a margin may have.
const MARGIN_PERCENT: RangeInclusive<f64> = 0.01..=100.0;

pub(super) fn parse(file: &str, text: &str) -> Result<Policy, PolicyError> {
    let source = Source { file, text };
    if text.len() > MAX_POLICY_BYTES {
        let what = format!(
            "{} bytes are more than the {MAX_POLICY_BYTES} that a record holds: shorten it",
            text.len()
        );
        return Err(source.error_on(1, what));
    }
    let raw: RawPolicy = toml::from_str(text).map_err(|error| source.parse_error(&error))?;
    let workloads = checked_workloads(&source, &raw)?;
    let zero_percent = number(
        &source,
        raw.practical_zero_percent.as_ref(),
        0.5,
        0.0..=20.0,
    )?;
    let slot_seconds = number(&source, raw.slot_seconds.as_ref(), 1.0, 0.01..=600.0)?;
    let slot_limit_seconds = number(
        &source,
        raw.slot_limit_seconds.as_ref(),
        120.0,
        1.0..=3_600.0,
    )?;
    if slot_limit_seconds <= slot_seconds {
        let what = format!(
            "a slot may take {slot_limit_seconds} s and one workload alone is timed for {slot_seconds} s: raise slot_limit_seconds"
        );
        let key = raw
            .slot_limit_seconds
            .as_ref()
            .or(raw.slot_seconds.as_ref());
        return Err(source.error(key.map_or(0, |key| key.span().start), what));
    }
    let budget_minutes = raw.budget_minutes.as_ref();
    let policy = Policy {
        required: checked_required(&source, &raw, &workloads)?,
        alpha: number(&source, raw.alpha_percent.as_ref(), 5.0, ERROR_PERCENT)? / 100.0,
        beta: number(&source, raw.beta_percent.as_ref(), 5.0, ERROR_PERCENT)? / 100.0,
        practical_zero: zero_percent / 100.0,
        tolerances: checked_margins(&source, &raw, zero_percent, &workloads)?,
        budget_minutes: match budget_minutes {
            None => None,
            budget => Some(number(&source, budget, 0.0, 0.1..=1_440.0)?),
        },
        repetitions: count(&source, raw.repetitions.as_ref(), 3, 3..=MAX_REPETITIONS)?,
        slot_seconds,
        cool_down_seconds: number(&source, raw.cool_down_seconds.as_ref(), 0.0, 0.0..=600.0)?,
        slot_limit_seconds,
        quality: match &raw.quality {
            None => None,
            Some(quality) => Some(checked_quality(&source, quality)?),
        },
        arms: match &raw.arms {
            None => None,
            Some(arms) => Some(checked_arms(&source, arms, &raw)?),
        },
        models: checked_models(&source, &raw.models)?,
        workloads,
        waivers: Vec::new(),
    };
    Ok(Policy {
        waivers: checked_waivers(&source, &raw.waivers, &policy)?,
        ..policy
    })
}

pub(super) fn typed(
    file: &str,
    text: &str,
    models: &[String],
    workloads: &[WorkloadSpec],
) -> Result<String, PolicyError> {
    let source = Source { file, text };
    let policy = parse(file, text)?;
    let mut table: toml::Table =
        toml::from_str(text).map_err(|error| source.parse_error(&error))?;
    if !models.is_empty() {
        let models = models.iter().cloned().map(Value::String).collect();
        table.insert("models".to_owned(), Value::Array(models));
    }
    if !workloads.is_empty() {
        let mut gated: Vec<Metric> = Vec::new();
        for metric in policy.workloads.iter().flat_map(|own| &own.metrics) {
            if !gated.contains(metric) {
                gated.push(*metric);
            }
        }
        let metrics = gated.iter().map(|metric| metric.as_str().into()).collect();
        let metrics = (!gated.is_empty()).then_some(Value::Array(metrics));
        let workloads = workloads.iter().map(|workload| {
            let mut row = toml::Table::new();
            row.insert("id".to_owned(), workload.id.as_str().into());
            row.insert("prompt_tokens".to_owned(), workload.prompt_tokens.into());
            row.insert("output_tokens".to_owned(), workload.output_tokens.into());
            row.extend(
                metrics
                    .clone()
                    .map(|metrics| ("metrics".to_owned(), metrics)),
            );
            Value::Table(row)
        });
        table.insert("workloads".to_owned(), Value::Array(workloads.collect()));
    }
    let typed = format!(
        "# Typed in place of the policy's own: {}.\n\n{table}",
        match (models, workloads) {
            (_, []) => "models",
            ([], _) => "workloads",
            _ => "models and workloads",
        }
    );
    // What was typed may be what no policy may say.
    parse("the policy with what was typed", &typed)?;
    Ok(typed)
}

/// A number within its range, ends included, or what holds where there is none.
fn number(
    source: &Source,
    value: Option<&Spanned<f64>>,
    absent: f64,
    range: RangeInclusive<f64>,
) -> Result<f64, PolicyError> {
    let Some(value) = value else {
        return Ok(absent);
    };
    let found = *value.get_ref();
    if range.contains(&found) {
        return Ok(found);
    }
    let what = format!(
        "{found} is outside {} to {}: correct it, or leave it out",
        range.start(),
        range.end()
    );
    Err(source.error(value.span().start, what))
}

/// A count within its range, ends included, or what holds where there is none.
fn count(
    source: &Source,
    value: Option<&Spanned<u32>>,
    absent: u32,
    range: RangeInclusive<u32>,
) -> Result<u32, PolicyError> {
    match value {
        None => Ok(absent),
        Some(value) if range.contains(value.get_ref()) => Ok(*value.get_ref()),
        Some(value) => {
            let what = format!(
                "{} is outside {} to {}: correct it, or leave it out",
                value.get_ref(),
                range.start(),
                range.end()
            );
            Err(source.error(value.span().start, what))
        }
    }
}

fn at_most(
    source: &Source,
    count: usize,
    most: usize,
    at: Option<usize>,
    what: &str,
) -> Result<(), PolicyError> {
    if count <= most {
        return Ok(());
    }
    let what = format!("{count} {what} are more than {most}: drop some");
    Err(source.error(at.unwrap_or(0), what))
}

fn checked_models(source: &Source, models: &[Spanned<String>]) -> Result<Vec<String>, PolicyError> {
    let first = models.first().map(|model| model.span().start);
    at_most(source, models.len(), MAX_CELLS, first, "models")?;
    let mut checked = Vec::new();
    for model in models {
        let path = checked_path(source, model)?;
        if checked.contains(&path) {
            let what = format!("{path:?} is listed twice: drop one");
            return Err(source.error(model.span().start, what));
        }
        checked.push(path);
    }
    Ok(checked)
}

fn checked_workloads(source: &Source, raw: &RawPolicy) -> Result<Vec<GatedWorkload>, PolicyError> {
    let first = raw.workloads.first().map(|gated| gated.id.span().start);
    at_most(source, raw.workloads.len(), MAX_CELLS, first, "workloads")?;
    let mut checked: Vec<GatedWorkload> = Vec::new();
    for gated in &raw.workloads {
        let at = gated.id.span().start;
        let simple = RawWorkload::simple(
            gated.id.clone(),
            gated.prompt_tokens.clone(),
            gated.output_tokens.clone(),
        );
        let workload = simple.checked(source, 0)?;
        if checked.iter().any(|other| other.workload.id == workload.id) {
            let what = format!(
                "a workload {:?} is there already: give each its own id",
                workload.id.as_str()
            );
            return Err(source.error(at, what));
        }
        checked.push(GatedWorkload {
            workload,
            metrics: match &gated.metrics {
                None => vec![Metric::Decode, Metric::Prefill],
                Some(metrics) => checked_metrics(source, metrics)?,
            },
        });
    }
    Ok(checked)
}

fn checked_metrics(
    source: &Source,
    metrics: &Spanned<Vec<Spanned<Metric>>>,
) -> Result<Vec<Metric>, PolicyError> {
    let refuse = |at: usize, what: &str| Err(source.error(at, what.to_owned()));
    if metrics.get_ref().is_empty() {
        return refuse(
            metrics.span().start,
            "nothing is gated of this workload: list a metric, or drop the workload",
        );
    }
    let mut checked = Vec::new();
    for metric in metrics.get_ref() {
        let at = metric.span().start;
        let metric = *metric.get_ref();
        if metric == Metric::Time {
            return refuse(
                at,
                "time is what commands are gated by, and they have no workloads: list decode, prefill or ttft",
            );
        }
        if checked.contains(&metric) {
            let what = format!("{:?} is listed twice: drop one", metric.as_str());
            return refuse(at, &what);
        }
        checked.push(metric);
    }
    Ok(checked)
}

/// Whether a policy with these workloads may gate the metric: the metrics that they list, or, where
/// there is none, any, since a command line may name the arms.
fn is_gated(workloads: &[GatedWorkload], metric: Metric) -> bool {
    workloads.is_empty()
        || workloads
            .iter()
            .any(|gated| gated.metrics.contains(&metric))
}

fn checked_required(
    source: &Source,
    raw: &RawPolicy,
    workloads: &[GatedWorkload],
) -> Result<Vec<Axis>, PolicyError> {
    let first = raw
        .workloads
        .first()
        .map_or(0, |gated| gated.id.span().start);
    let missing = |axis: Axis, at: usize| {
        let metrics = axis.metrics();
        if metrics.is_empty() || metrics.iter().any(|metric| is_gated(workloads, *metric)) {
            return None;
        }
        let known: Vec<_> = (metrics.iter().filter(|metric| **metric != Metric::Time))
            .map(|metric| metric.as_str())
            .collect();
        let what = format!(
            "{} is required and no workload lists {}: add it to the metrics, or change required",
            axis.as_str(),
            known.join(" or ")
        );
        Some(source.error(at, what))
    };
    let Some(list) = &raw.required else {
        let mut required = vec![Axis::Speed];
        required.extend(raw.quality.is_some().then_some(Axis::Quality));
        return match missing(Axis::Speed, first) {
            Some(error) => Err(error),
            None => Ok(required),
        };
    };
    if list.get_ref().is_empty() {
        let what =
            "nothing is required, so nothing is gated: list speed, memory, energy or quality";
        return Err(source.error(list.span().start, what.to_owned()));
    }
    let mut required = Vec::new();
    for axis in list.get_ref() {
        let at = axis.span().start;
        let axis = *axis.get_ref();
        if required.contains(&axis) {
            let what = format!("{:?} is listed twice: drop one", axis.as_str());
            return Err(source.error(at, what));
        }
        if axis == Axis::Quality && raw.quality.is_none() {
            let what =
                "quality is required and nothing says how it is judged: add a [quality] table";
            return Err(source.error(at, what.to_owned()));
        }
        if let Some(error) = missing(axis, at) {
            return Err(error);
        }
        required.push(axis);
    }
    Ok(required)
}

fn checked_margins(
    source: &Source,
    raw: &RawPolicy,
    zero_percent: f64,
    workloads: &[GatedWorkload],
) -> Result<BTreeMap<Metric, f64>, PolicyError> {
    let margins = &raw.margins;
    let mut tolerances = BTreeMap::new();
    for (metric, margin) in [
        (Metric::Decode, &margins.decode),
        (Metric::Prefill, &margins.prefill),
        (Metric::Ttft, &margins.ttft),
        (Metric::PeakBytes, &margins.peak_bytes),
        (Metric::Energy, &margins.energy),
        (Metric::Time, &margins.time),
    ] {
        let name = metric.as_str();
        let Some(margin) = margin else {
            // A share such as 0.02 times 100 is not always the nearest number to 2.
            let percent = (metric.tolerance() * 1e4).round() / 1e2;
            if is_gated(workloads, metric) && percent <= zero_percent {
                let what = format!(
                    "{name} tolerates {percent} % unless [margins] says more, which is not above the practical \
                     zero of {zero_percent} %: lower practical_zero_percent, or add {name} to [margins]"
                );
                let zero = raw.practical_zero_percent.as_ref();
                return Err(source.error(zero.map_or(0, |zero| zero.span().start), what));
            }
            continue;
        };
        let at = margin.span().start;
        let percent = number(source, Some(margin), 0.0, MARGIN_PERCENT)?;
        if percent <= zero_percent {
            let what = format!(
                "{percent} % is not above the practical zero of {zero_percent} %: raise it, or lower \
                 practical_zero_percent"
            );
            return Err(source.error(at, what));
        }
        if !is_gated(workloads, metric) {
            let what = format!(
                "no workload lists {name}: add it to the metrics of one, or drop the margin"
            );
            return Err(source.error(at, what));
        }
        tolerances.insert(metric, percent / 100.0);
    }
    Ok(tolerances)
}

fn checked_quality(source: &Source, raw: &RawQuality) -> Result<QualityPolicy, PolicyError> {
    let number =
        |value: &Option<Spanned<f64>>, absent, range| number(source, value.as_ref(), absent, range);
    Ok(QualityPolicy {
        suite: raw.suite.unwrap_or(Suite::ReferenceV1),
        items: count(source, raw.items.as_ref(), 420, 1..=MAX_ITEMS)?,
        alpha: number(&raw.alpha_percent, 1.0, ERROR_PERCENT)? / 100.0,
        margin: number(&raw.margin_points, 1.0, 0.01..=50.0)? / 100.0,
        dnll_nats: number(&raw.dnll_nats, 0.002, 1e-6..=10.0)?,
        kld_nats: number(&raw.kld_nats, 0.01, 1e-6..=10.0)?,
    })
}

fn checked_arms(
    source: &Source,
    raw: &RawArms,
    policy: &RawPolicy,
) -> Result<ArmsPolicy, PolicyError> {
    let kind = *raw.kind.get_ref();
    let run = checked_command(source, &raw.run)?;
    let lacks = |hole: &str| !run.contains(hole);
    if kind == ArmKind::Server && (lacks("{weights}") || lacks("{port}")) {
        let what =
            "the command line of a server uses {weights} and {port}: put both where it takes them";
        return Err(source.error(raw.run.span().start, what.to_owned()));
    }
    if kind == ArmKind::Command {
        let unused = [
            (
                policy.models.first().map(|model| model.span().start),
                "weights",
            ),
            (
                policy.workloads.first().map(|gated| gated.id.span().start),
                "workloads",
            ),
        ];
        for (at, what) in unused {
            if let Some(at) = at {
                let what = format!(
                    "the arms are commands, which have no {what}: drop them, or change the kind of [arms]"
                );
                return Err(source.error(at, what));
            }
        }
        if policy.quality.is_some() {
            let what = "the arms are commands, whose answers nobody can read: drop [quality], or change kind";
            return Err(source.error(raw.kind.span().start, what.to_owned()));
        }
    }
    let layout_build = checked_commands(source, &raw.layout_build)?;
    if let Some(first) = raw.layout_build.first()
        && !layout_build
            .iter()
            .any(|command| command.contains("{seed}"))
    {
        let what = "no command uses {seed}, so the order would stay as it is: put {seed} where the linker takes it";
        return Err(source.error(first.span().start, what.to_owned()));
    }
    Ok(ArmsPolicy {
        kind,
        build: checked_commands(source, &raw.build)?,
        run,
        layout_build,
    })
}

fn checked_commands(
    source: &Source,
    commands: &[Spanned<String>],
) -> Result<Vec<String>, PolicyError> {
    let first = commands.first().map(|command| command.span().start);
    at_most(source, commands.len(), MAX_COMMANDS, first, "commands")?;
    commands
        .iter()
        .map(|command| checked_command(source, command))
        .collect()
}

fn checked_command(source: &Source, command: &Spanned<String>) -> Result<String, PolicyError> {
    let text = command.get_ref();
    let at = command.span().start;
    if text.trim().is_empty() {
        return Err(source.error(at, "the command is empty: name a program".to_owned()));
    }
    if text.len() > MAX_COMMAND_BYTES || text.contains('\0') {
        let what = format!(
            "a command has at most {MAX_COMMAND_BYTES} bytes and no NUL: put it into a script"
        );
        return Err(source.error(at, what));
    }
    Ok(text.clone())
}

fn checked_waivers(
    source: &Source,
    raw: &[RawWaiver],
    policy: &Policy,
) -> Result<Vec<Waiver>, PolicyError> {
    let first = raw.first().map(|waiver| waiver.cell.span().start);
    at_most(source, raw.len(), MAX_CELLS, first, "waivers")?;
    let mut waivers: Vec<Waiver> = Vec::new();
    for waiver in raw {
        let metric = *waiver.metric.get_ref();
        let name = metric.as_str();
        let cell = checked_text(
            source,
            &waiver.cell,
            "the cell's label as the gate prints it",
        )?;
        if !is_gated(&policy.workloads, metric) {
            let what =
                format!("no workload lists {name}: there is nothing to waive, drop the waiver");
            return Err(source.error(waiver.metric.span().start, what));
        }
        if waivers
            .iter()
            .any(|other| other.cell == cell && other.metric == metric)
        {
            let what = format!("{name} of {cell:?} is waived twice: drop one");
            return Err(source.error(waiver.cell.span().start, what));
        }
        let limit = number(source, Some(&waiver.limit_percent), 0.0, MARGIN_PERCENT)? / 100.0;
        if limit <= policy.tolerance(metric) {
            let what = format!(
                "{} % is not above what {name} is tolerated anyway: raise it, or drop the waiver",
                waiver.limit_percent.get_ref()
            );
            return Err(source.error(waiver.limit_percent.span().start, what));
        }
        waivers.push(Waiver {
            cell,
            metric,
            limit,
            reason: checked_text(source, &waiver.reason, "why it may be worse for a while")?,
            expires: checked_day(source, &waiver.expires)?,
        });
    }
    Ok(waivers)
}

/// A line that reports repeat.
fn checked_text(
    source: &Source,
    text: &Spanned<String>,
    wanted: &str,
) -> Result<String, PolicyError> {
    let at = text.span().start;
    let text = text.get_ref().trim();
    if text.is_empty() {
        return Err(source.error(at, format!("it is empty: write {wanted}")));
    }
    match Name::new(text) {
        Ok(name) => Ok(name.into()),
        Err(error) => Err(source.error(at, format!("cannot {error}: write {wanted}"))),
    }
}

fn checked_day(source: &Source, day: &Spanned<Datetime>) -> Result<Date, PolicyError> {
    let found = day.get_ref();
    let date = match (found.date, found.time, found.offset) {
        (Some(date), None, None) => {
            let year = i16::try_from(date.year).ok();
            let (month, day) = (i8::try_from(date.month).ok(), i8::try_from(date.day).ok());
            year.zip(month)
                .zip(day)
                .and_then(|((year, month), day)| Date::new(year, month, day).ok())
        }
        _ => None,
    };
    date.ok_or_else(|| {
        let what = format!("{found} is no day: write the last one it holds, such as 2026-12-31");
        source.error(day.span().start, what)
    })
}
