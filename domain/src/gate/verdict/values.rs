//! From raw samples to the values that decide: one per slot, one per block.

use std::collections::BTreeSet;

use crate::gate::record::{Block, GateRecord, Sample, Slot, Stage, StageKind};
use crate::gate::{Arm, Metric};
use crate::statistics::median;

/// Slots of a whole block.
pub(super) const BLOCK_SLOTS: usize = 4;

/// One cell-metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gate) struct Place {
    /// The cell's place in the record.
    pub(in crate::gate) cell: usize,
    /// What of it.
    pub(in crate::gate) metric: Metric,
}

/// The stage of that kind, where it was begun.
pub(super) fn stage(record: &GateRecord, kind: StageKind) -> Option<&Stage> {
    record.stages.iter().find(|stage| stage.kind == kind)
}

/// Whether a block counts: nothing disturbed it, and it has all its slots.
pub(in crate::gate) fn counts(block: &Block) -> bool {
    block.void.is_none() && block.slots.len() == BLOCK_SLOTS
}

/// The blocks of one model that count, in the order in which they were run.
pub(super) fn counted(stage: &Stage, model: u32) -> impl Iterator<Item = &Block> {
    (stage.blocks.iter()).filter(move |block| block.model == model && counts(block))
}

/// What the slot says of the cell-metric.
pub(in crate::gate) fn sample(slot: &Slot, place: Place) -> Option<&Sample> {
    (slot.samples.iter())
        .find(|sample| sample.cell as usize == place.cell && sample.metric == place.metric)
}

/// The median over the repetitions of ln(cost / units); `None` without repetitions, or where a cost
/// or the units are 0.
pub(in crate::gate) fn slot_value(sample: &Sample) -> Option<f64> {
    if sample.units == 0 || sample.costs.contains(&0) {
        return None;
    }
    let units = (sample.units as f64).ln();
    let values: Vec<f64> = (sample.costs.iter())
        .map(|cost| (*cost as f64).ln() - units)
        .collect();
    median(&values)
}

/// As [`slot_value`], of the mean over the repetitions.
fn slot_mean(sample: &Sample) -> Option<f64> {
    if sample.units == 0 || sample.costs.is_empty() {
        return None;
    }
    let sum: f64 = sample.costs.iter().map(|cost| *cost as f64).sum();
    (sum > 0.0).then(|| (sum / sample.costs.len() as f64).ln() - (sample.units as f64).ln())
}

/// The candidate's mean less the base's; `None` where a slot says nothing.
pub(super) fn block_value(block: &Block, of: impl Fn(&Slot) -> Option<f64>) -> Option<f64> {
    let mut difference = 0.0;
    for slot in &block.slots {
        let value = of(slot)?;
        difference += match slot.arm {
            Arm::Base => -value,
            Arm::Candidate => value,
        };
    }
    // Two slots of each arm.
    Some(difference / 2.0)
}

/// The values of a cell-metric's blocks that count, in order.
pub(super) fn values(record: &GateRecord, kind: StageKind, place: Place) -> Vec<f64> {
    values_by(record, kind, place, slot_value)
}

/// As [`values`], with the means over the repetitions in place of their medians.
pub(super) fn values_of_means(record: &GateRecord, kind: StageKind, place: Place) -> Vec<f64> {
    values_by(record, kind, place, slot_mean)
}

fn values_by(
    record: &GateRecord,
    kind: StageKind,
    place: Place,
    of: fn(&Sample) -> Option<f64>,
) -> Vec<f64> {
    let Some((stage, cell)) = stage(record, kind).zip(record.cells.get(place.cell)) else {
        return Vec::new();
    };
    counted(stage, cell.model)
        .filter_map(|block| block_value(block, |slot| of(sample(slot, place)?)))
        .collect()
}

/// Whether a whole block told the cell-metric: what is unavailable nevertheless was lost later.
pub(super) fn was_measured(record: &GateRecord, place: Place) -> bool {
    (record.stages.iter())
        .flat_map(|stage| &stage.blocks)
        .filter(|block| counts(block))
        .any(|block| (block.slots.iter()).all(|slot| sample(slot, place).is_some()))
}

/// The mean of several cells' values, round by round, as far as all have blocks.
pub(super) fn mean_values(record: &GateRecord, kind: StageKind, places: &[Place]) -> Vec<f64> {
    let all: Vec<Vec<f64>> = (places.iter())
        .map(|place| values(record, kind, *place))
        .collect();
    let rounds = all.iter().map(Vec::len).min().unwrap_or(0);
    (0..rounds)
        .map(|round| all.iter().map(|values| values[round]).sum::<f64>() / all.len() as f64)
        .collect()
}

/// The median cost of one arm over its slots of the measuring stage, in the metric's unit.
pub(super) fn median_cost(record: &GateRecord, place: Place, arm: Arm) -> Option<f64> {
    let model = record.cells.get(place.cell)?.model;
    let values: Vec<f64> = counted(stage(record, StageKind::Measuring)?, model)
        .flat_map(|block| &block.slots)
        .filter(|slot| slot.arm == arm)
        .filter_map(|slot| slot_value(sample(slot, place)?))
        .collect();
    median(&values).map(f64::exp)
}

/// Seconds that one block of the model takes, rests and probes between slots included: the mean
/// over its blocks that count. A rest before the first slot is taken to be as long as the others.
pub(super) fn block_seconds(record: &GateRecord, model: u32) -> Option<f64> {
    let seconds: Vec<f64> = counted(stage(record, StageKind::Measuring)?, model)
        .map(|block| {
            let span = block.slots[BLOCK_SLOTS - 1].end_ns - block.slots[0].start_ns;
            let busy: u64 = (block.slots.iter())
                .map(|slot| slot.end_ns - slot.start_ns)
                .sum();
            (span as f64 + (span - busy) as f64 / (BLOCK_SLOTS - 1) as f64) / 1e9
        })
        .collect();
    (!seconds.is_empty()).then(|| seconds.iter().sum::<f64>() / seconds.len() as f64)
}

/// The sample's standard deviation (n - 1); `None` below two values.
pub(in crate::gate) fn standard_deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (n - 1.0)).sqrt())
}

/// What the slots of a model put out, block by block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Outputs {
    /// Blocks any of whose slots put something out.
    pub(super) blocks: u32,
    /// Of those, the ones in which an arm put out something else than the other, or nothing.
    pub(super) apart: u32,
    /// Of those, the ones in which the base did not put out one thing twice, so that nothing can be held
    /// against it.
    pub(super) unsteady: u32,
}

impl Outputs {
    /// Whether the candidate put out something else than the base, which always repeated itself.
    pub(super) fn are_others(self) -> bool {
        self.apart > 0 && self.unsteady == 0
    }
}

/// Compares outputs within the blocks that count, whose slots were all asked the same.
pub(super) fn outputs(record: &GateRecord, model: u32) -> Outputs {
    let stages = (record.stages.iter()).filter(|stage| stage.kind != StageKind::Layout);
    let mut outputs = Outputs::default();
    for block in stages.flat_map(|stage| counted(stage, model)) {
        let of = |arm: Arm| -> BTreeSet<_> {
            let slots = block.slots.iter().filter(|slot| slot.arm == arm);
            slots.map(|slot| slot.output_sha256).collect()
        };
        let (base, candidate) = (of(Arm::Base), of(Arm::Candidate));
        if base.iter().chain(&candidate).all(Option::is_none) {
            continue;
        }
        outputs.blocks += 1;
        outputs.apart += u32::from(base != candidate);
        outputs.unsteady += u32::from(base.len() > 1 || base.contains(&None));
    }
    outputs
}
