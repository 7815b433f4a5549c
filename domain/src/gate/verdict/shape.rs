//! What a record must be before anything of it is believed: places in range, coins that follow from
//! the seed, arms that follow from the coins, looks that were planned.

use std::collections::{BTreeMap, BTreeSet};

use super::JudgeError;
use super::values::BLOCK_SLOTS;
use crate::gate::looks::LOOKS;
use crate::gate::record::{
    ArmKind, Block, GateCell, GateRecord, MAX_BLOCKS, MAX_CELLS, MAX_POLICY_BYTES, SCHEMA, Slot,
    Stage, StageKind,
};
use crate::gate::{coin, order, stage_seed};
use crate::ids::Sha256Digest;

/// The label of the mean over cells.
pub const ALL_CELLS: &str = "all cells";

/// Refuses a record that contradicts itself.
pub(super) fn check(record: &GateRecord) -> Result<(), JudgeError> {
    if record.schema.as_str() != SCHEMA {
        return contradiction(format!(
            "its schema is {:?}, this is {SCHEMA}",
            record.schema.as_str()
        ));
    }
    if record.policy.text.len() > MAX_POLICY_BYTES {
        return contradiction(format!("its policy has more than {MAX_POLICY_BYTES} bytes"));
    }
    if Sha256Digest::of(record.policy.text.as_bytes()) != record.policy.sha256 {
        return contradiction("the policy's digest is not that of its text".to_owned());
    }
    if !LOOKS
        .iter()
        .any(|look| look.blocks == record.last_look as usize)
    {
        return contradiction(format!(
            "its last look is after {} blocks, where none is planned",
            record.last_look
        ));
    }
    if record.ended_ms < record.started_ms {
        return contradiction("it ended before it started".to_owned());
    }
    check_cells(record)?;
    let mut kinds = BTreeSet::new();
    for stage in &record.stages {
        if !kinds.insert(stage.kind) {
            return contradiction(format!("it has two {} stages", name(stage.kind)));
        }
        check_stage(record, stage)?;
    }
    let mut judged = BTreeSet::new();
    for evidence in &record.quality {
        if evidence.model as usize >= record.models.len() || !judged.insert(evidence.model) {
            return contradiction(format!(
                "its evidence about answers names model {} twice, or there is none such",
                evidence.model
            ));
        }
    }
    Ok(())
}

/// A stage's kind, as people read it.
pub(super) fn name(kind: StageKind) -> &'static str {
    match kind {
        StageKind::Measuring => "measuring",
        StageKind::Confirmation => "confirmation",
        StageKind::Layout => "layout",
    }
}

fn check_cells(record: &GateRecord) -> Result<(), JudgeError> {
    if record.cells.len() > MAX_CELLS {
        return contradiction(format!("it has more than {MAX_CELLS} cells"));
    }
    let names: BTreeSet<&str> = (record.models.iter())
        .map(|model| model.name.as_str())
        .collect();
    if names.len() < record.models.len() {
        return contradiction("two of its models have one name, and so the same coins".to_owned());
    }
    let are_commands = [&record.base, &record.candidate]
        .iter()
        .all(|arm| arm.kind == ArmKind::Command);
    let unnamed = (record.models.iter())
        .find(|model| model.base.is_none() || model.candidate.is_none())
        .filter(|_| !are_commands);
    if let Some(model) = unnamed {
        return contradiction(format!(
            "it does not say which weights {} has, and only commands have none",
            model.name
        ));
    }
    let mut labels = BTreeSet::from([ALL_CELLS]);
    for GateCell {
        label,
        model,
        metrics,
        unavailable,
        ..
    } in &record.cells
    {
        if !labels.insert(label.as_str()) {
            return contradiction(format!("two of its cells are called {label}"));
        }
        if *model as usize >= record.models.len() {
            return contradiction(format!("the cell {label} is of a model that it has not"));
        }
        let distinct: BTreeSet<_> = metrics.iter().collect();
        let missing: BTreeSet<_> = unavailable.iter().map(|lack| &lack.metric).collect();
        if distinct.len() < metrics.len()
            || missing.len() < unavailable.len()
            || !missing.is_subset(&distinct)
        {
            return contradiction(format!(
                "the cell {label} names a metric twice, or lacks one that is not gated"
            ));
        }
    }
    Ok(())
}

fn check_stage(record: &GateRecord, stage: &Stage) -> Result<(), JudgeError> {
    let kind = name(stage.kind);
    if stage.seed.0 != stage_seed(&record.seed.0, stage.kind) {
        return contradiction(format!(
            "the seed of the {kind} stage does not follow from the record's"
        ));
    }
    let mut next: BTreeMap<u32, u32> = BTreeMap::new();
    for block in &stage.blocks {
        let Some(model) = record.models.get(block.model as usize) else {
            return contradiction(format!(
                "a block of the {kind} stage is of a model that it has not"
            ));
        };
        let place = || format!("block {} of {} ({kind})", block.index, model.name);
        let index = next.entry(block.model).or_default();
        if block.index != *index {
            return contradiction(format!(
                "{} stands where block {index} is due: none may be left out",
                place()
            ));
        }
        *index += 1;
        if *index as usize > MAX_BLOCKS {
            return contradiction(format!(
                "{} is beyond the {MAX_BLOCKS} that there may be",
                place()
            ));
        }
        if block.coin != coin(&stage.seed.0, model.name.as_str(), block.index) {
            return contradiction(format!("the coin of {} is not the seed's", place()));
        }
        check_slots(record, block, &place)?;
    }
    Ok(())
}

fn check_slots(
    record: &GateRecord,
    block: &Block,
    place: &dyn Fn() -> String,
) -> Result<(), JudgeError> {
    if block.slots.len() > BLOCK_SLOTS {
        return contradiction(format!("{} has more than four slots", place()));
    }
    let arms = block.slots.iter().map(|slot| slot.arm);
    if !arms.eq(order(block.coin).into_iter().take(block.slots.len())) {
        return contradiction(format!(
            "the arms of {} are not in its coin's order",
            place()
        ));
    }
    let mut from_ns = 0;
    for slot in &block.slots {
        if slot.start_ns < from_ns || slot.end_ns < slot.start_ns {
            return contradiction(format!("the slots of {} overlap", place()));
        }
        from_ns = slot.end_ns;
        check_samples(record, block, slot, place)?;
    }
    Ok(())
}

fn check_samples(
    record: &GateRecord,
    block: &Block,
    slot: &Slot,
    place: &dyn Fn() -> String,
) -> Result<(), JudgeError> {
    let mut told = BTreeSet::new();
    for sample in &slot.samples {
        let gated = (record.cells.get(sample.cell as usize))
            .is_some_and(|cell| cell.model == block.model && cell.metrics.contains(&sample.metric));
        if !gated || !told.insert((sample.cell, sample.metric)) {
            return contradiction(format!(
                "a slot of {} tells {} of cell {} twice, or it is not gated there",
                place(),
                sample.metric.as_str(),
                sample.cell
            ));
        }
        let claims = sample.claimed_ns.as_ref();
        if claims.is_some_and(|claims| claims.len() != sample.costs.len()) {
            return contradiction(format!(
                "a slot of {} claims another number of times than it was measured",
                place()
            ));
        }
    }
    Ok(())
}

fn contradiction<T>(what: String) -> Result<T, JudgeError> {
    Err(JudgeError::Contradiction(what))
}
