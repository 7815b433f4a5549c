//! Records that contradict themselves are not judged at all.

use super::*;
use crate::gate::record::ArmKind;

/// The record, changed so, is refused with these words.
fn contradicts(change: impl Fn(&mut GateRecord), why: &str) {
    let mut record = regressed().record();
    change(&mut record);
    match judge(&record) {
        Err(JudgeError::Contradiction(what)) => assert!(what.contains(why), "{why}: {what}"),
        other => panic!("{why}: {other:?}"),
    }
    assert!(block_values(&record).is_empty());
}

fn first(record: &mut GateRecord) -> &mut Block {
    &mut record.stages[0].blocks[0]
}

#[test]
fn a_tampered_coin_is_refused() {
    contradicts(|record| first(record).coin ^= true, "is not the seed's");
    contradicts(
        |record| first(record).slots.swap(0, 1),
        "not in its coin's order",
    );
    contradicts(
        |record| {
            // The other coin, with slots to match.
            let block = first(record);
            block.coin ^= true;
            for slot in &mut block.slots {
                slot.arm = match slot.arm {
                    Arm::Base => Arm::Candidate,
                    Arm::Candidate => Arm::Base,
                };
            }
        },
        "is not the seed's",
    );
    // A model's name is part of what its coins are drawn from.
    contradicts(
        |record| record.models[0].name = name("another"),
        "is not the seed's",
    );
}

#[test]
fn a_seed_that_was_chosen_later_is_refused() {
    contradicts(
        |record| record.seed = Sha256Digest([9; 32]),
        "seed of the measuring stage",
    );
    contradicts(
        |record| {
            // A confirmation with a seed of somebody's choice, and its coins.
            let chosen = [9; 32];
            let stage: &mut Stage = &mut record.stages[1];
            stage.seed = Sha256Digest(chosen);
            for block in &mut stage.blocks {
                block.coin = coin(&chosen, "mini", block.index);
            }
        },
        "seed of the confirmation stage",
    );
}

#[test]
fn blocks_that_were_left_out_are_missed() {
    let why = "none may be left out";
    contradicts(|record| drop(record.stages[0].blocks.remove(3)), why);
    contradicts(|record| record.stages[0].blocks.swap(3, 4), why);
    contradicts(
        |record| {
            let blocks = record.stages[0].blocks.clone();
            record.stages[0].blocks.extend(blocks);
        },
        why,
    );
}

#[test]
fn what_is_beyond_every_bound_is_refused() {
    contradicts(|record| record.last_look = 20, "where none is planned");
    contradicts(|record| record.last_look = 0, "where none is planned");
    contradicts(
        |record| record.ended_ms = record.started_ms - 1,
        "ended before",
    );
    contradicts(
        |record| (record.started_ms, record.ended_ms) = (u64::MAX, u64::MAX),
        "no day of any calendar",
    );
    contradicts(
        |record| record.schema = name("joulemark.gate.v0"),
        "its schema",
    );
    contradicts(|record| record.policy.text.push('#'), "digest");
    contradicts(
        |record| {
            record.policy.text = "#".repeat((64 << 10) + 1);
            record.policy.sha256 = Sha256Digest::of(record.policy.text.as_bytes());
        },
        "more than 65536 bytes",
    );
    contradicts(
        |record| record.stages.push(record.stages[0].clone()),
        "two measuring stages",
    );
    contradicts(
        |record| {
            for at in 0..256 {
                let mut more = record.cells[0].clone();
                more.label = name(&format!("cell {at}"));
                record.cells.push(more);
            }
        },
        "more than 256 cells",
    );
    let many = Example {
        blocks: 64,
        last_look: 48,
        ..of_effect(0.0)
    };
    let error = judge(&many.record()).expect_err("64 blocks are too many");
    assert!(error.to_string().contains("beyond the 63"), "{error}");
}

#[test]
fn places_that_are_not_there_are_refused() {
    let absent = "a model that it has not";
    contradicts(|record| record.cells[0].model = 7, absent);
    contradicts(|record| first(record).model = 7, absent);
    let not_gated = "not gated there";
    contradicts(
        |record| first(record).slots[0].samples[0].cell = 7,
        not_gated,
    );
    contradicts(
        |record| first(record).slots[0].samples[0].metric = Metric::Energy,
        not_gated,
    );
    contradicts(
        |record| {
            let samples = &mut first(record).slots[0].samples;
            samples.push(samples[0].clone());
        },
        "twice",
    );
    contradicts(
        |record| first(record).slots[0].samples[0].claimed_ns = Some(vec![1]),
        "another number of times",
    );
    contradicts(
        |record| {
            let slot = first(record).slots[3].clone();
            first(record).slots.push(slot);
        },
        "more than four slots",
    );
    contradicts(
        |record| first(record).slots[1].start_ns = first(record).slots[0].start_ns,
        "overlap",
    );
    contradicts(|record| first(record).slots[1].end_ns = 0, "overlap");
}

#[test]
fn an_engine_without_weights_is_refused() {
    contradicts(|record| record.models[0].base = None, "which weights");
    contradicts(|record| record.models[0].candidate = None, "which weights");
    contradicts(
        |record| {
            record.models[0].base = None;
            record.models[0].candidate = None;
            record.base.kind = ArmKind::Command;
        },
        "only commands have none",
    );
}

#[test]
fn names_that_mean_two_things_are_refused() {
    contradicts(
        |record| record.models.push(record.models[0].clone()),
        "one name",
    );
    let twice = "two of its cells";
    contradicts(|record| record.cells.push(record.cells[0].clone()), twice);
    contradicts(|record| record.cells[0].label = name(ALL_CELLS), twice);
    contradicts(
        |record| record.cells[0].metrics.push(Metric::Decode),
        "a metric twice",
    );
    contradicts(
        |record| {
            record.cells[0].unavailable = vec![UnavailableMetric {
                metric: Metric::Energy,
                reason: name("no meter"),
            }];
        },
        "lacks one that is not gated",
    );
}

#[test]
fn evidence_of_answers_that_nobody_asked_for_is_refused() {
    contradicts(
        |record| record.quality = vec![evidence(true)],
        "does not ask for",
    );
    contradicts(
        |record| record.quality = vec![evidence(true), evidence(true)],
        "twice",
    );
    contradicts(
        |record| {
            record.quality = vec![evidence(true)];
            record.quality[0].model = 3;
        },
        "there is none such",
    );
}

#[test]
fn a_policy_that_is_none_is_told_with_its_line() {
    let mut record = of_effect(0.0).record();
    record.policy.text = "alpha_percent = 500\n".to_owned();
    record.policy.sha256 = Sha256Digest::of(record.policy.text.as_bytes());
    let error = judge(&record).expect_err("500 % is no error rate");
    assert!(error.to_string().contains("line 1"), "{error}");
}
