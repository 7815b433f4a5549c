//! What makes a measurement INVALID, and what a gate's end says when several things went wrong.

use super::*;
use crate::gate::record::Sample;
use crate::statistics::bootstrap::Resampler;

/// One sentence speaks against the gate, and nothing passes.
fn refused(record: &GateRecord, why: &str) {
    let judgement = judged(record);
    assert_eq!(judgement.verdict, Verdict::Invalid, "{why}");
    assert_eq!(judgement.exit_code, 4, "{why}");
    assert!(
        (judgement.findings.iter()).any(|finding| finding.contains(why)),
        "{why}: {:?}",
        judgement.findings
    );
    assert!(judgement.headline.starts_with("INVALID: "));
}

fn samples(record: &mut GateRecord, arm: Arm) -> impl Iterator<Item = &mut Sample> {
    slots(record)
        .filter(move |slot| slot.arm == arm)
        .flat_map(|slot| &mut slot.samples)
}

fn slots_of(record: &mut GateRecord, arm: Arm) -> impl Iterator<Item = &mut Slot> {
    slots(record).filter(move |slot| slot.arm == arm)
}

#[test]
fn nothing_measured_is_never_pass() {
    let mut record = of_effect(0.0).record();
    record.stages.clear();
    refused(&record, "nothing was measured");
    record.cells.clear();
    refused(&record, "nothing was measured");
}

#[test]
fn another_amount_of_work_is_told() {
    let mut record = of_effect(0.0).record();
    for sample in samples(&mut record, Arm::Candidate) {
        sample.units -= 1;
    }
    refused(
        &record,
        "did other work: candidate 3 times 62, base 3 times 63",
    );

    let mut record = of_effect(0.0).record();
    let last = slots(&mut record).last().expect("there are slots");
    last.samples[0].costs.push(1_000_000);
    refused(&record, "did other work");
}

#[test]
fn a_cost_of_nothing_is_no_cost() {
    for arm in [Arm::Base, Arm::Candidate] {
        let mut record = of_effect(0.0).record();
        let sample = samples(&mut record, arm).next().expect("there are slots");
        sample.costs[1] = 0;
        let why = format!("a slot of the {} arm measured nothing", arm.as_str());
        refused(&record, &why);
        let mut record = of_effect(0.0).record();
        samples(&mut record, arm).for_each(|sample| sample.units = 0);
        refused(&record, "measured nothing");
    }
}

#[test]
fn a_slot_without_the_sample_is_told() {
    let mut record = of_effect(0.0).record();
    let slot = slots(&mut record).nth(5).expect("there are slots");
    slot.samples.clear();
    refused(&record, "says nothing of it");
}

#[test]
fn two_repetitions_are_too_few() {
    let mut record = of_effect(0.0).record();
    for slot in slots(&mut record) {
        slot.samples[0].costs.truncate(2);
    }
    refused(&record, "repeated it 2 times only");
}

#[test]
fn a_machine_that_was_not_the_same_for_both_is_told() {
    let mut record = of_effect(-0.03).record();
    for slot in slots(&mut record).filter(|slot| slot.arm == Arm::Base) {
        slot.control_copy_ns += slot.control_copy_ns / 20;
    }
    refused(&record, "the runner's own copy of memory");
    assert_eq!(judged(&record).cells[0].verdict, Verdict::Invalid);

    let mut record = of_effect(0.0).record();
    slots(&mut record).for_each(|slot| slot.control_multiply_ns = 0);
    refused(&record, "took no time at all");
}

#[test]
fn a_control_that_differs_by_less_than_the_practical_zero_is_none() {
    let mut record = of_effect(0.0).record();
    for slot in slots(&mut record) {
        slot.control_multiply_ns = match slot.arm {
            Arm::Base => 10_000_000,
            Arm::Candidate => 10_040_000,
        };
    }
    assert_eq!(judged(&record).verdict, Verdict::Pass);
}

#[test]
fn the_control_sees_blocks_of_many_models_together() {
    let mut record = six(0.0, 0.006).record();
    assert_eq!(record.stages[0].blocks.len(), 144);
    assert_eq!(judged(&record).verdict, Verdict::Pass);
    for slot in slots(&mut record).filter(|slot| slot.arm == Arm::Candidate) {
        slot.control_copy_ns += slot.control_copy_ns / 50;
    }
    refused(&record, "the runner's own copy of memory");
}

fn with_void(void: usize) -> GateRecord {
    let mut record = Example {
        blocks: 24,
        last_look: 24,
        ..of_effect(0.0)
    }
    .record();
    for block in record.stages[0].blocks.iter_mut().take(void) {
        block.void = Some(name("the machine slept"));
    }
    record
}

#[test]
fn void_blocks_do_not_count_and_many_of_them_invalidate() {
    let judgement = judged(&with_void(2));
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert_eq!((judgement.blocks, judgement.void_blocks), (22, 2));
    refused(
        &with_void(3),
        "3 of 24 blocks of the measuring stage do not count (2 may): the machine slept",
    );
}

#[test]
fn a_gate_may_be_stopped_and_gone_on_with_a_few_times() {
    let stopped = |times: usize| {
        let mut record = with_void(2);
        for block in record.stages[0].blocks.iter_mut().skip(2).take(times) {
            block.slots.truncate(2);
        }
        record
    };
    let judgement = judged(&stopped(6));
    assert_eq!(judgement.verdict, Verdict::Pass, "{}", judgement.headline);
    assert_eq!((judgement.blocks, judgement.void_blocks), (16, 8));
    // Ending blocks early is no way to be rid of them.
    refused(
        &stopped(7),
        "7 of 24 blocks of the measuring stage ended early (6 may)",
    );
}

#[test]
fn a_confirmation_that_says_nothing_of_a_cell_in_a_block_is_told() {
    let mut record = regressed().record();
    record.stages[1].blocks[3].slots[2].samples.clear();
    refused(&record, "says nothing of it");
}

#[test]
fn repetitions_that_do_the_work_of_others_are_told() {
    // The candidate takes half as long again, and puts out what it did all at once.
    for every in [1, 2] {
        let mut record = Example::of("sh", "", &[(Metric::Time, 0.0)]).record();
        for sample in samples(&mut record, Arm::Candidate).step_by(every) {
            let all = sample.costs.iter().sum::<u64>() * 3 / 2;
            sample.costs = vec![all - 2_000_000, 1_000_000, 1_000_000];
        }
        refused(&record, "its repetitions are not alike");
        // Of few blocks it may be a busy machine.
        record.stages[0].blocks.truncate(11);
        assert_eq!(judged(&record).findings, [] as [String; 0]);
    }
    // Hiccups of a few blocks are none of that, however long they are, nor is what both arms do.
    let mut record = Example::of("sh", "", &[(Metric::Time, 0.0)]).record();
    for sample in samples(&mut record, Arm::Candidate).step_by(8) {
        sample.costs[1] *= 200;
    }
    assert_eq!(judged(&record).verdict, Verdict::Pass);
    // Nor are a few in the first blocks, after which a gate must not end.
    let mut first = record.clone();
    first.stages[0].blocks.truncate(2);
    for sample in samples(&mut first, Arm::Candidate) {
        sample.costs[1] *= 2;
    }
    assert_eq!(judged(&first).verdict, Verdict::Inconclusive);
    let mut record = Example::of("sh", "", &[(Metric::Time, 0.0)]).record();
    for arm in [Arm::Base, Arm::Candidate] {
        for sample in samples(&mut record, arm) {
            sample.costs[2] = sample.costs[0] * 2;
        }
    }
    assert_eq!(judged(&record).verdict, Verdict::Pass);
}

#[test]
fn work_behind_what_is_timed_is_told() {
    // An arm that is twice as fast by its lines, and does the other half behind the last one.
    for metric in [Metric::Decode, Metric::Time] {
        let workload = if metric == Metric::Time {
            ""
        } else {
            "pp64-tg64"
        };
        let mut record = Example::of("mini", workload, &[(metric, -0.5)]).record();
        assert_eq!(judged(&record).verdict, Verdict::Improved);
        for sample in samples(&mut record, Arm::Candidate) {
            let counted_ns: u64 = sample.costs.iter().sum();
            *sample.tail_ns.as_mut().expect("of time") += counted_ns;
        }
        refused(&record, "a slot of the candidate goes on for");
    }
    // Two percent in the confirmation alone.
    let mut record = regressed().record();
    let slots = record.stages[1]
        .blocks
        .iter_mut()
        .flat_map(|of| &mut of.slots);
    for slot in slots.filter(|slot| slot.arm == Arm::Candidate) {
        slot.samples[0].tail_ns = Some(20_000_000);
    }
    refused(&record, "a slot of the candidate goes on for");
    let mut record = of_effect(0.0).record();
    let last = slots_of(&mut record, Arm::Base).last();
    last.expect("there are slots").samples[0].tail_ns = None;
    refused(&record, "the base arm does not say how long it went on");
}

#[test]
fn time_that_no_figure_holds_is_noted_where_nothing_is_slower() {
    let mut record = of_effect(0.0).record();
    assert_eq!(judged(&record).notes, [] as [String; 0]);
    for slot in slots_of(&mut record, Arm::Base) {
        slot.end_ns -= 200_000_000;
    }
    let judgement = judged(&record);
    assert_eq!(judgement.verdict, Verdict::Pass);
    let notes = judgement.notes.join("; ");
    assert!(
        notes.contains("ms longer than one of the base where nothing is counted"),
        "{notes}"
    );
}

#[test]
fn ends_that_are_slow_by_chance_put_nothing_off() {
    // Anything up to ten milliseconds in a slot of a second, in both arms.
    for seed in 0..50 {
        let mut draws = Resampler::new([seed; 32]);
        let mut record = of_effect(0.0).record();
        for slot in slots(&mut record) {
            slot.samples[0].tail_ns = Some((1e7 * draws.share()) as u64);
        }
        // One that hung for half a second.
        let last = slots_of(&mut record, Arm::Candidate).last();
        last.expect("there are slots").samples[0].tail_ns = Some(500_000_000);
        assert_eq!(judged(&record).verdict, Verdict::Pass, "seed {seed}");
    }
    // Always four milliseconds longer, and that is less than the practical zero; always one longer in
    // slots of a tenth of a second; always shorter.
    for (base, candidate, shorter) in [(1, 5, 1), (1, 2, 10), (300, 1, 1)] {
        let mut record = of_effect(0.0).record();
        for slot in slots(&mut record) {
            let milliseconds = match slot.arm {
                Arm::Base => base,
                Arm::Candidate => candidate,
            };
            let sample = &mut slot.samples[0];
            sample.costs.iter_mut().for_each(|cost| *cost /= shorter);
            sample.tail_ns = Some(milliseconds * 1_000_000);
        }
        assert_eq!(judged(&record).verdict, Verdict::Pass);
    }
}

#[test]
fn what_was_measured_and_then_lost_is_not_left_out() {
    for head in ["", "required = [\"speed\", \"energy\"]"] {
        let mut record = with_energy(head);
        for slot in slots(&mut record).skip(20) {
            slot.samples
                .retain(|sample| sample.metric != Metric::Energy);
        }
        refused(&record, "measured at first and then lost: no meter covers");
        let judgement = judged(&record);
        assert_eq!(
            judgement.multiplicity, 2,
            "the error stays divided as it was"
        );
        assert_eq!(judgement.findings.len(), 1);
        let decode = |cell: &&CellJudgement| cell.metric == Metric::Decode;
        let decode = judgement.cells.iter().find(decode).expect("a cell");
        assert_eq!(decode.verdict, Verdict::Pass);
        // Before the first block was whole nothing was known of it.
        for slot in slots(&mut record).skip(3) {
            slot.samples
                .retain(|sample| sample.metric != Metric::Energy);
        }
        let judgement = judged(&record);
        assert_eq!(judgement.exit_code, if head.is_empty() { 0 } else { 4 });
        assert_eq!(judgement.multiplicity, 1);
    }
}

#[test]
fn values_of_a_void_block_are_not_looked_at() {
    let mut record = with_void(1);
    let first = &mut record.stages[0].blocks[0];
    let candidates = (first.slots.iter_mut()).filter(|slot| slot.arm == Arm::Candidate);
    for sample in candidates.flat_map(|slot| &mut slot.samples) {
        sample.costs.iter_mut().for_each(|cost| *cost *= 10);
    }
    let values = &block_values(&record)[0].values;
    assert_eq!(values.len(), 23);
    assert!(values.iter().all(|value| value.abs() < 0.1));
}

#[test]
fn clocks_held_down_for_one_arm_are_told() {
    let held = |candidate_ns: u64| {
        let mut record = of_effect(0.0).record();
        for slot in slots(&mut record) {
            let held = if slot.arm == Arm::Candidate {
                candidate_ns
            } else {
                0
            };
            slot.throttled_ns = Some(held);
        }
        record
    };
    assert_eq!(judged(&held(90_000_000)).verdict, Verdict::Pass);
    refused(
        &held(110_000_000),
        "held its clocks down for 0 % of the base's time and 11 %",
    );
}

fn claiming(base: f64, candidate: f64) -> GateRecord {
    let mut record = Example::of("sh", "", &[(Metric::Time, 0.0)]).record();
    for (arm, share) in [(Arm::Base, base), (Arm::Candidate, candidate)] {
        for sample in samples(&mut record, arm) {
            let claims = (sample.costs.iter()).map(|cost| (*cost as f64 * share) as u64);
            sample.claimed_ns = Some(claims.collect());
        }
    }
    record
}

#[test]
fn a_timer_that_tells_another_story_is_told() {
    assert_eq!(judged(&claiming(0.97, 0.95)).verdict, Verdict::Pass);
    refused(&claiming(0.97, 0.90), "its own timer tells another story");
    refused(&claiming(1.03, 1.03), "its own timer tells another story");
    let mut one = claiming(0.97, 0.97);
    samples(&mut one, Arm::Candidate).for_each(|sample| sample.claimed_ns = None);
    assert_eq!(judged(&one).verdict, Verdict::Pass);
}

fn with_energy(head: &str) -> GateRecord {
    let effects = [(Metric::Decode, 0.0), (Metric::Energy, 0.0)];
    let mut record = Example {
        policy_head: head.to_owned(),
        ..Example::of("mini", "pp64-tg64", &effects)
    }
    .record();
    record.cells[0].unavailable = vec![UnavailableMetric {
        metric: Metric::Energy,
        reason: name("no meter covers the engine"),
    }];
    record
}

fn without_energy(head: &str) -> GateRecord {
    let mut record = with_energy(head);
    for slot in slots(&mut record) {
        slot.samples
            .retain(|sample| sample.metric != Metric::Energy);
    }
    record
}

#[test]
fn a_required_axis_that_could_not_be_measured_invalidates() {
    let required = without_energy("required = [\"speed\", \"energy\"]");
    refused(
        &required,
        "energy of mini pp64-tg64 could not be measured: no meter covers the engine",
    );

    let judgement = judged(&without_energy(""));
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert_eq!(judgement.multiplicity, 1);
    let last = judgement.cells.last().expect("two cells");
    assert_eq!(last.verdict, Verdict::Invalid);
    assert_eq!(
        last.reason.as_deref(),
        Some("unavailable: no meter covers the engine")
    );
    assert!(judgement.notes[0].contains("no meter"));
}

#[test]
fn an_axis_without_any_cell_is_not_known() {
    let effects = [(Metric::Decode, 0.0), (Metric::PeakBytes, 0.0)];
    let mut record = Example {
        policy_head: "required = [\"speed\", \"memory\"]".to_owned(),
        ..Example::of("mini", "pp64-tg64", &effects)
    }
    .record();
    assert_eq!(judged(&record).verdict, Verdict::Pass);
    record.cells[0].metrics.pop();
    for slot in slots(&mut record) {
        slot.samples.pop();
    }
    refused(
        &record,
        "the policy requires memory, and nothing of it was measured",
    );
    refused(
        &record,
        "the policy gates pp64-tg64 of mini, and not all of it was measured",
    );
}

#[test]
fn a_workload_of_the_policy_that_was_left_out_is_told() {
    let mut record = Example::of("mini", "pp64-tg64", &[(Metric::Decode, 0.0)])
        .with("mini", "pp16-tg8", &[(Metric::Decode, 0.0)])
        .record();
    assert_eq!(judged(&record).verdict, Verdict::Pass);
    record.cells.pop();
    for slot in slots(&mut record) {
        slot.samples.pop();
    }
    refused(
        &record,
        "the policy gates pp16-tg8 of mini, and not all of it was measured",
    );
}

#[test]
fn a_workload_that_is_called_so_and_asks_less_is_none_of_the_policys() {
    let mut record = of_effect(0.0).record();
    let workload = record.cells[0].workload.as_mut();
    workload.expect("an engine's").output_tokens = 8;
    refused(
        &record,
        "the policy gates pp64-tg64 of mini, and not all of it was measured",
    );
}

#[test]
fn a_model_of_the_policy_that_was_left_out_is_told() {
    let gating = |models: &str| {
        let mut example = of_effect(0.0);
        example.policy_head = format!("models = {models}");
        example.record()
    };
    for models in [
        "[\"mini.gguf\"]",
        "[\"folder/m*.gguf\"]",
        "[\"mini.GGUF\"]",
        "[\"mi*\"]",
    ] {
        assert_eq!(judged(&gating(models)).verdict, Verdict::Pass, "{models}");
    }
    refused(
        &gating("[\"mini.gguf\", \"large-*.gguf\"]"),
        "the policy gates the model large-*.gguf, and it was not measured",
    );
}

#[test]
fn commands_are_not_what_a_policy_of_models_or_workloads_gates() {
    for policy in [
        "models = [\"*.gguf\"]\n",
        "[[workloads]]\nid = \"pp64-tg64\"\nprompt_tokens = 64\noutput_tokens = 64\n",
    ] {
        let mut record = Example::of("sh", "", &[(Metric::Time, 0.0)]).record();
        assert_eq!(judged(&record).verdict, Verdict::Pass);
        record.policy.text = policy.to_owned();
        record.policy.sha256 = Sha256Digest::of(policy.as_bytes());
        refused(&record, "the policy gates");
    }
}

#[test]
fn what_was_typed_is_gated_as_the_record_says() {
    let mut record = of_effect(0.0).record();
    let own = "models = [\"large.gguf\"]\n[[workloads]]\nid = \"pp512-tg8\"\n\
               prompt_tokens = 512\noutput_tokens = 8\n";
    let slug = crate::ids::Slug::from_text("pp64-tg64").expect("a slug");
    let workload = crate::matrix::WorkloadSpec::simple(slug, 64, 64);
    let mut of = |text: &str| {
        record.policy.text = text.to_owned();
        record.policy.sha256 = Sha256Digest::of(text.as_bytes());
        record.policy.origin = PolicyOrigin::Typed;
        record.cells[0].metrics = vec![Metric::Decode, Metric::Prefill];
        for slot in slots(&mut record) {
            let mut prefill = slot.samples[0].clone();
            prefill.metric = Metric::Prefill;
            slot.samples.truncate(1);
            slot.samples.push(prefill);
        }
        record.clone()
    };
    refused(&of(own), "the policy gates the model large.gguf");
    let models = ["mini.gguf".to_owned()];
    let typed = crate::gate::policy::typed("gate.toml", own, &models, &[workload]);
    let judgement = judged(&of(&typed.expect("a policy")));
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert!(judgement.notes[0].contains("what is gated was typed"));
}

#[test]
fn what_broke_decides_how_the_program_ends() {
    for (kind, exit) in [
        (FailureKind::Infrastructure, 5),
        (FailureKind::OtherWork, 4),
        (FailureKind::Environment, 4),
    ] {
        let mut record = of_effect(0.0).record();
        fail(&mut record, kind);
        let judgement = judged(&record);
        assert_eq!(
            (judgement.verdict, judgement.exit_code),
            (Verdict::Invalid, exit)
        );
        assert_eq!(
            judgement.headline,
            "INVALID: the candidate arm failed: it died in block 9"
        );
    }
    let mut before_any = of_effect(0.0).record();
    before_any.stages.clear();
    fail(&mut before_any, FailureKind::Infrastructure);
    assert_eq!(judged(&before_any).exit_code, 5);
}

#[test]
fn nothing_incomplete_hides_a_confirmed_regression() {
    for kind in [FailureKind::Infrastructure, FailureKind::OtherWork] {
        let mut record = regressed().record();
        fail(&mut record, kind);
        assert_eq!(judged(&record).exit_code, 1);
    }
    let mut record = regressed().record();
    record.interrupted = true;
    assert_eq!(judged(&record).exit_code, 1);

    // Nor does another cell's flaw.
    let effects = [(Metric::Decode, 0.04), (Metric::Prefill, 0.0)];
    let mut record = Example {
        confirmation: 16,
        ..Example::of("mini", "pp64-tg64", &effects)
    }
    .record();
    samples(&mut record, Arm::Candidate)
        .filter(|sample| sample.metric == Metric::Prefill)
        .for_each(|sample| sample.units += 1);
    let judgement = judged(&record);
    assert_eq!(
        (judgement.verdict, judgement.exit_code),
        (Verdict::Regressed, 1)
    );
    assert_eq!(judgement.cells[1].verdict, Verdict::Invalid);
    assert_eq!(judgement.findings.len(), 1);
}

#[test]
fn a_regression_in_a_doubtful_measurement_is_none() {
    let mut record = regressed().record();
    fail(&mut record, FailureKind::Environment);
    assert_eq!(judged(&record).exit_code, 4);
    let mut record = regressed().record();
    for slot in slots(&mut record).filter(|slot| slot.arm == Arm::Candidate) {
        slot.control_multiply_ns += slot.control_multiply_ns / 20;
    }
    refused(&record, "multiplication");
}

#[test]
fn a_person_who_stops_it_is_told_what_stands() {
    let mut record = Example {
        blocks: 9,
        ..of_effect(0.04)
    }
    .record();
    record.interrupted = true;
    let judgement = judged(&record);
    assert_eq!(
        (judgement.verdict, judgement.exit_code),
        (Verdict::Inconclusive, 130)
    );
    assert_eq!(
        judgement.headline,
        "INCONCLUSIVE: it was stopped after 9 blocks; --continue goes on from here"
    );
    // Stopped before the alarm could be confirmed: no regression.
    let mut record = of_effect(0.04).record();
    record.interrupted = true;
    let judgement = judged(&record);
    assert_eq!(judgement.exit_code, 130);
    assert_eq!(judgement.cells[0].reason.as_deref(), Some("not-confirmed"));
    // And with everything passed, the rest that was asked is still missing.
    let mut record = of_effect(0.0).record();
    record.interrupted = true;
    assert_eq!(judged(&record).exit_code, 130);
}
