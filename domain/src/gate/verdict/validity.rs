//! What speaks against a measurement. It fails closed: nothing measured is never PASS.

use std::collections::BTreeSet;

use super::shape::name;
use super::values::{
    Place, block_value, counted, counts, outputs, sample, stage, values, values_of_means,
    was_measured,
};
use crate::gate::looks::LOOKS;
use crate::gate::policy::{Axis, GatedWorkload, Policy};
use crate::gate::rank::{MAX_VALUES, Walsh};
use crate::gate::record::{GateCell, GateModel, GateRecord, Purpose, Slot, Stage, StageKind};
use crate::gate::{Arm, Metric};
use crate::matrix::fits;
use crate::statistics::median;
use crate::text::Name;

/// One side's error of the control probe's 99 % interval.
const CONTROL_ERROR: f64 = 0.005;

/// Void blocks that are forgiven, whatever their share.
const VOID_BLOCKS: usize = 2;

/// Blocks of a stage that may have been ended early, by as many people who stopped the gate and went on
/// with it later.
const STOPPED_BLOCKS: usize = 6;

/// Points of throttled time by which the arms may differ.
const THROTTLED: f64 = 0.10;

/// What a command may claim above what was stamped.
const CLAIMED_ABOVE: f64 = 1.02;

/// Points by which the shares claimed of what was stamped may differ between the arms.
const CLAIMED_APART: f64 = 0.05;

/// Points by which the effect may differ between medians and means of repetitions.
const LUMPED: f64 = 0.05;

/// One side's error of the limit of what is put off.
const PUT_OFF_ERROR: f64 = 0.005;

/// Nanoseconds that a slot may always go on for longer: programs of different libraries do not end
/// equally fast.
const PUT_OFF_NS: f64 = 1e6;

/// Share of the counted time by which the candidate's slots may last longer outside of it before it is
/// noted: programs need not start equally fast.
const UNCOUNTED: f64 = 0.05;

/// Fewest repetitions of a slot.
const REPETITIONS: usize = 3;

/// The axis that a metric belongs to.
pub(super) fn axis(metric: Metric) -> Axis {
    match metric {
        Metric::Decode | Metric::Prefill | Metric::Ttft | Metric::Time => Axis::Speed,
        Metric::PeakBytes => Axis::Memory,
        Metric::Energy => Axis::Energy,
    }
}

/// An axis, as people read it.
pub(super) fn axis_name(axis: Axis) -> &'static str {
    match axis {
        Axis::Speed => "speed",
        Axis::Memory => "memory",
        Axis::Energy => "energy",
        Axis::Quality => "quality",
    }
}

/// What speaks against the whole measurement, in sentences. `gated` are the available cell-metrics.
pub(super) fn of_measurement(record: &GateRecord, policy: &Policy, gated: &[Place]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut blocks = record.stages.iter().flat_map(|stage| &stage.blocks);
    let ended_early = record.interrupted || record.failure.is_some();
    let is_silent = !blocks.any(counts) && record.quality.is_empty();
    if (gated.is_empty() && record.quality.is_empty()) || (is_silent && !ended_early) {
        findings.push("nothing was measured".to_owned());
    }
    if record.purpose != Purpose::Compare {
        findings.extend(uncovered(record, policy, gated));
    }
    for stage in &record.stages {
        findings.extend(too_many_void(stage));
        findings.extend((PROBES.into_iter()).filter_map(|probe| control(stage, policy, probe)));
    }
    findings.extend(throttled(record));
    findings
}

/// A probe's name, and the logarithm of its time beside a slot.
type Probe = (&'static str, fn(&Slot) -> Option<f64>);

const PROBES: [Probe; 2] = [
    ("multiplication", |slot| logarithm(slot.control_multiply_ns)),
    ("copy of memory", |slot| logarithm(slot.control_copy_ns)),
];

fn logarithm(value: u64) -> Option<f64> {
    (value > 0).then(|| (value as f64).ln())
}

/// What the policy wants to know and the record does not tell.
fn uncovered(record: &GateRecord, policy: &Policy, gated: &[Place]) -> Vec<String> {
    let mut findings = Vec::new();
    for required in &policy.required {
        let known = match required {
            Axis::Quality => policy.quality.is_some(),
            of => gated.iter().any(|place| axis(place.metric) == *of),
        };
        if !known {
            findings.push(format!(
                "the policy requires {}, and nothing of it was measured",
                axis_name(*required)
            ));
        }
        for (at, cell) in record.cells.iter().enumerate() {
            for lack in &cell.unavailable {
                let place = Place {
                    cell: at,
                    metric: lack.metric,
                };
                // What was lost later speaks against its cell alone.
                if axis(lack.metric) == *required && !was_measured(record, place) {
                    findings.push(format!(
                        "the policy requires {}, and {} of {} could not be measured: {}",
                        axis_name(*required),
                        lack.metric.as_str(),
                        cell.label,
                        lack.reason
                    ));
                }
            }
        }
    }
    for pattern in &policy.models {
        if !record.models.iter().any(|model| is_of(model, pattern)) {
            findings.push(format!(
                "the policy gates the model {pattern}, and it was not measured"
            ));
        }
    }
    for (at, model) in (0..).zip(&record.models) {
        for asked in &policy.workloads {
            let mut cells = record.cells.iter().filter(|cell| cell.model == at);
            if !cells.any(|cell| tells(cell, asked)) {
                findings.push(format!(
                    "the policy gates {} of {}, and not all of it was measured",
                    asked.workload.id, model.name
                ));
            }
        }
    }
    findings
}

/// Whether the model is of a file that the policy's pattern names. Of commands none is.
fn is_of(model: &GateModel, pattern: &str) -> bool {
    let file = pattern.rsplit('/').next().unwrap_or(pattern);
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let name = model.name.as_str();
    model.base.is_some() && (fits(stem, name) || fits(file, &format!("{name}.gguf")))
}

/// Whether the cell is what the policy asks, and gated by all that it names.
fn tells(cell: &GateCell, asked: &GatedWorkload) -> bool {
    let wanted = &asked.workload;
    let is_asked = cell.workload.as_ref().is_some_and(|of| {
        (
            &of.id,
            of.prompt_tokens,
            of.output_tokens,
            of.depth_tokens,
            of.concurrency,
        ) == (
            &wanted.id,
            wanted.prompt_tokens,
            wanted.output_tokens,
            wanted.depth_tokens,
            wanted.concurrency,
        )
    });
    is_asked && (asked.metrics.iter()).all(|metric| cell.metrics.contains(metric))
}

/// Blocks that were disturbed or stopped, where they are too many to be chance. A person who stops
/// a gate disturbs nothing, so that the two are counted apart.
fn too_many_void(stage: &Stage) -> Vec<String> {
    let all = stage.blocks.len();
    let lost = || stage.blocks.iter().filter(|block| !counts(block));
    let void = lost().filter(|block| block.void.is_some()).count();
    let stopped = lost().count() - void;
    let forgiven = VOID_BLOCKS.max(all / 10);
    let reasons: BTreeSet<&str> = (stage.blocks.iter())
        .filter_map(|block| block.void.as_ref())
        .map(Name::as_str)
        .collect();
    let mut findings = Vec::new();
    if void > forgiven {
        let why: Vec<&str> = reasons.into_iter().collect();
        findings.push(format!(
            "{void} of {all} blocks of the {} stage do not count ({forgiven} may): {}",
            name(stage.kind),
            why.join("; ")
        ));
    }
    if stopped > STOPPED_BLOCKS {
        findings.push(format!(
            "{stopped} of {all} blocks of the {} stage ended early ({STOPPED_BLOCKS} may)",
            name(stage.kind)
        ));
    }
    findings
}

/// Fixed work of the runner's own that took longer beside one arm than beside the other.
fn control(stage: &Stage, policy: &Policy, (probe, of): Probe) -> Option<String> {
    let blocks = stage.blocks.iter().filter(|block| counts(block));
    let values: Vec<Option<f64>> = blocks.map(|block| block_value(block, of)).collect();
    if values.contains(&None) {
        return Some(format!("the control probe's {probe} took no time at all"));
    }
    let values: Vec<f64> = values.into_iter().flatten().collect();
    let walsh = Walsh::of(&thinned(&values))?;
    let (low, high) = (walsh.lower(CONTROL_ERROR), walsh.upper(CONTROL_ERROR));
    let zero = policy.practical_zero.ln_1p();
    (low > zero || high < -zero).then(|| {
        format!(
            "the runner's own {probe}, which no arm can change, differed by {:+.1} % \
             ({:+.1} to {:+.1}) between the arms of the {} stage: the machine was not the same for both",
            100.0 * walsh.effect().exp_m1(),
            100.0 * low.exp_m1(),
            100.0 * high.exp_m1(),
            name(stage.kind)
        )
    })
}

/// As many means of neighbours as signed ranks are counted for: each block has a coin of its own, so
/// that means of them are as symmetrical as they are.
fn thinned(values: &[f64]) -> Vec<f64> {
    let size = values.len().div_ceil(MAX_VALUES).max(1);
    (values.chunks(size))
        .map(|chunk| chunk.iter().sum::<f64>() / chunk.len() as f64)
        .collect()
}

/// Clocks held down for one arm more than for the other. It never makes a block void: a candidate
/// may be what heats the machine.
fn throttled(record: &GateRecord) -> Option<String> {
    let share = |arm: Arm| {
        let slots = (record.stages.iter())
            .flat_map(|stage| &stage.blocks)
            .filter(|block| counts(block))
            .flat_map(|block| &block.slots)
            .filter(|slot| slot.arm == arm);
        let (mut held, mut all) = (0.0, 0.0);
        for slot in slots {
            if let Some(throttled) = slot.throttled_ns {
                held += throttled as f64;
                all += (slot.end_ns - slot.start_ns) as f64;
            }
        }
        (all > 0.0).then(|| held / all)
    };
    let (base, candidate) = (share(Arm::Base)?, share(Arm::Candidate)?);
    ((base - candidate).abs() > THROTTLED).then(|| {
        format!(
            "the machine held its clocks down for {:.0} % of the base's time and {:.0} % of the \
             candidate's: cool it, or rest longer before each slot",
            100.0 * base,
            100.0 * candidate
        )
    })
}

/// What speaks against one cell-metric.
pub(super) fn of_cell(record: &GateRecord, policy: &Policy, place: Place) -> Option<String> {
    let cell = record.cells.get(place.cell)?;
    let blocks = (record.stages.iter())
        .flat_map(|stage| &stage.blocks)
        .filter(|block| block.model == cell.model);
    let is_time = axis(place.metric) == Axis::Speed;
    let mut work = BTreeSet::new();
    let mut fewest = usize::MAX;
    for block in blocks {
        for slot in &block.slots {
            let Some(sample) = sample(slot, place) else {
                if counts(block) {
                    return Some(format!(
                        "a slot of the {} arm says nothing of it",
                        slot.arm.as_str()
                    ));
                }
                continue;
            };
            if sample.units == 0 || sample.costs.is_empty() || sample.costs.contains(&0) {
                return Some(format!(
                    "a slot of the {} arm measured nothing of it",
                    slot.arm.as_str()
                ));
            }
            if is_time && sample.tail_ns.is_none() {
                return Some(format!(
                    "a slot of the {} arm does not say how long it went on behind it",
                    slot.arm.as_str()
                ));
            }
            fewest = fewest.min(sample.costs.len());
            work.insert((sample.units, sample.costs.len(), slot.arm));
        }
    }
    let amounts: BTreeSet<_> = work
        .iter()
        .map(|(units, times, _)| (units, times))
        .collect();
    if amounts.len() > 1 {
        let said: Vec<String> = (work.iter())
            .map(|(units, times, arm)| format!("{} {times} times {units}", arm.as_str()))
            .collect();
        return Some(format!("did other work: {}", said.join(", ")));
    }
    if is_time && fewest < REPETITIONS {
        return Some(format!(
            "a slot repeated it {fewest} times only; {REPETITIONS} are the least"
        ));
    }
    other_outputs(record, policy, cell.model)
        .or_else(|| put_off(record, policy, place))
        .or_else(|| lumped(record, policy, place))
        .or_else(|| claims(record, place))
}

/// Where a command put out something else than the base, which repeats itself: they do not compute the
/// same, unless the policy asks of answers whether they are as good.
///
/// A comparison may be of two ways to two answers, and the gate against itself of one that is not always
/// repeated.
pub(super) fn other_outputs(record: &GateRecord, policy: &Policy, model: u32) -> Option<String> {
    let is_command = (record.models.get(model as usize)).is_some_and(|model| model.base.is_none());
    if record.purpose != Purpose::Gate || policy.quality.is_some() || !is_command {
        return None;
    }
    let outputs = outputs(record, model);
    outputs.are_others().then(|| {
        format!(
            "the arms do not compute the same: in {} of {} blocks the candidate put out something else \
             than the base, which repeated itself; mend it, or let `output` hold only what has to be the \
             same, such as a rounded sum",
            outputs.apart, outputs.blocks
        )
    })
}

/// Work of the candidate's that is put off until nothing is stamped any more: behind what was counted
/// it goes on for longer than the base, by more than the practical zero of the base's counted time.
/// The limit is one of signed ranks over the blocks, which a slow end now and then does not move.
fn put_off(record: &GateRecord, policy: &Policy, place: Place) -> Option<String> {
    let model = record.cells.get(place.cell)?.model;
    let tail_ns = |slot: &Slot| Some(sample(slot, place)?.tail_ns? as f64);
    let of_stage = |kind: StageKind| {
        let stage = stage(record, kind)?;
        let counted_ns: Vec<f64> = (counted(stage, model).flat_map(|block| &block.slots))
            .filter(|slot| slot.arm == Arm::Base)
            .filter_map(|slot| sample(slot, place))
            .map(|sample| sample.costs.iter().map(|cost| *cost as f64).sum())
            .collect();
        let counted_ns = median(&counted_ns)?;
        let longer_ns: Vec<f64> = counted(stage, model)
            .filter_map(|block| block_value(block, tail_ns))
            .collect();
        let walsh = Walsh::of(&longer_ns)?;
        let allowed_ns = (policy.practical_zero * counted_ns).max(PUT_OFF_NS);
        (walsh.lower(PUT_OFF_ERROR) > allowed_ns).then(|| {
            format!(
                "a slot of the candidate goes on for {:.1} ms longer than one of the base behind \
                 the {:.1} ms that are counted ({:.1} ms may be): what is put off until nothing \
                 is timed is not measured. Do all work before it is told, and end soon after",
                walsh.effect() / 1e6,
                counted_ns / 1e6,
                allowed_ns / 1e6
            )
        })
    };
    [StageKind::Measuring, StageKind::Confirmation]
        .into_iter()
        .find_map(of_stage)
}

/// Whether the candidate's slots last longer than the base's where nothing is counted: before and between
/// what is, and behind it. Nothing is wrong with a program that starts more slowly; but what it does
/// there is in no figure.
pub(super) fn uncounted(record: &GateRecord, model: u32) -> Option<String> {
    let measuring = stage(record, StageKind::Measuring)?;
    let counted_ns = |slot: &Slot| {
        let samples = slot.samples.iter();
        let timed = samples.filter(|sample| {
            matches!(
                sample.metric,
                Metric::Time | Metric::Decode | Metric::Prefill
            )
        });
        timed.flat_map(|sample| &sample.costs).sum::<u64>()
    };
    let usual_ns: Vec<f64> = (counted(measuring, model).flat_map(|block| &block.slots))
        .map(|slot| counted_ns(slot) as f64)
        .collect();
    let allowed_ns = UNCOUNTED * median(&usual_ns)?;
    let rest_ns = |slot: &Slot| {
        let whole_ns = slot.end_ns.checked_sub(slot.start_ns)?;
        Some(whole_ns as f64 - counted_ns(slot) as f64)
    };
    let longer_ns: Vec<f64> = counted(measuring, model)
        .filter_map(|block| block_value(block, rest_ns))
        .collect();
    let walsh = Walsh::of(&longer_ns)?;
    (allowed_ns > 0.0 && walsh.lower(PUT_OFF_ERROR) > allowed_ns).then(|| {
        format!(
            "a slot of the candidate lasts {:.1} ms longer than one of the base where nothing is \
             counted (start, loading, warm-up, and what no metric tells of): see that no work was moved \
             there",
            walsh.effect() / 1e6
        )
    })
}

/// Where medians and means of the repetitions do not see the same effect: some of an arm's repetitions
/// do the work of others, or wait for it, which the median would take for speed.
///
/// Told of enough blocks for a look, by the error that a PASS has in all: what the medians could pass by
/// is seen here first, and a machine that is busy elsewhere is not taken for it.
fn lumped(record: &GateRecord, policy: &Policy, place: Place) -> Option<String> {
    [StageKind::Measuring, StageKind::Confirmation]
        .into_iter()
        .find_map(|kind| {
            let medians = values(record, kind, place);
            let means = values_of_means(record, kind, place);
            let apart: Vec<f64> = (means.iter().zip(&medians))
                .map(|(mean, median)| mean - median)
                .collect();
            let walsh = Walsh::of(&apart).filter(|_| apart.len() >= LOOKS[0].blocks)?;
            let is_lumped =
                walsh.lower(policy.beta) > LUMPED || walsh.upper(policy.beta) < -LUMPED;
            let [median, mean] = [&medians, &means].map(|values| Walsh::of(values));
            let (median, mean) = (median?.effect(), mean?.effect());
            is_lumped.then(|| {
                format!(
                    "its repetitions are not alike: by their medians the candidate's cost differs by \
                     {:+.1} %, by their means by {:+.1} %",
                    100.0 * median.exp_m1(),
                    100.0 * mean.exp_m1()
                )
            })
        })
}

/// Where a command tells its own time: whether that is the time that was stamped.
fn claims(record: &GateRecord, place: Place) -> Option<String> {
    let share = |arm: Arm| {
        let shares: Vec<f64> = (record.stages.iter())
            .flat_map(|stage| &stage.blocks)
            .filter(|block| counts(block))
            .flat_map(|block| &block.slots)
            .filter(|slot| slot.arm == arm)
            .filter_map(|slot| sample(slot, place))
            .filter_map(|sample| {
                let claimed: f64 = (sample.claimed_ns.as_ref()?.iter())
                    .map(|claim| *claim as f64)
                    .sum();
                let stamped: f64 = sample.costs.iter().map(|cost| *cost as f64).sum();
                (stamped > 0.0).then_some(claimed / stamped)
            })
            .collect();
        median(&shares)
    };
    let shares = [Arm::Base, Arm::Candidate].map(share);
    let above = shares.iter().flatten().any(|share| *share > CLAIMED_ABOVE);
    let apart = matches!(shares, [Some(base), Some(candidate)]
        if (base - candidate).abs() > CLAIMED_APART);
    let said = |share: Option<f64>| {
        share.map_or("nothing".to_owned(), |share| {
            format!("{:.0} %", 100.0 * share)
        })
    };
    (above || apart).then(|| {
        format!(
            "its own timer tells another story: the base claims {} of the time that was stamped \
             outside, the candidate {}",
            said(shares[0]),
            said(shares[1])
        )
    })
}
