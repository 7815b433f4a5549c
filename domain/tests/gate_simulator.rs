//! The gate on scripted machines: the coin keeps what it promises, and no simpler design does.
//!
//! Bounds are exact binomial limits, one time in 10,000 wrong; seeds are fixed, so a test that
//! passes keeps passing. `cargo run -p domain --example gate_tables` prints the rates.

mod simulator;

use domain::gate::fixtures::Example;
use domain::gate::plan::{cell_share, factor};
use domain::gate::record::GateRecord;
use domain::gate::verdict::judge;
use domain::gate::{Arm, Metric, Verdict, rivals};
use domain::history::change::{self, certified, certified_in_chunks};
use domain::statistics::proportion::clopper_pearson;
use simulator::{
    Design, Dice, Machine, Noise, Rate, Said, Series, Tails, bare, false_alarms, family_alarms,
    power_at, rule, said, sequential_false_alarms, shifts_found,
};

const RUNS: u32 = 4_000;

/// The limits of the true rate, one time in 10,000 wrong on each side.
fn limits(rate: Rate) -> (f64, f64) {
    clopper_pearson(rate.count, rate.runs, 0.9998)
}

fn at_most(rate: Rate, nominal: f64) -> bool {
    limits(rate).0 <= nominal
}

fn exceeds(rate: Rate, nominal: f64) -> bool {
    limits(rate).0 > nominal
}

fn machine(noise: Noise, effect: f64) -> Machine {
    Machine {
        noise,
        tails: Tails::T4,
        block_sd: 0.01,
        effect,
    }
}

#[test]
fn the_coin_keeps_its_error_on_every_noise() {
    for noise in Noise::ALL {
        let once = false_alarms(noise, Design::Coin, RUNS);
        assert!(at_most(once, 0.01), "{noise:?} {once:?}");
        let looks = sequential_false_alarms(noise, Design::Coin, 48, RUNS / 2);
        assert!(at_most(looks, 0.05), "{noise:?} {looks:?}");
        // And it does find something: the share of error that it may spend is spent.
        assert!(limits(looks).1 > 0.02, "{noise:?} {looks:?}");
    }
}

#[test]
fn all_of_the_base_before_all_of_the_candidate_is_rejected() {
    for (noise, least) in [(Noise::Ramp, 0.9), (Noise::Step, 0.9), (Noise::Walk, 0.2)] {
        let rate = false_alarms(noise, Design::InTurn, RUNS);
        assert!(exceeds(rate, least), "{noise:?} {rate:?}");
    }
}

#[test]
fn abab_is_rejected() {
    let rate = false_alarms(Noise::Ramp, Design::Abab, RUNS);
    assert!(exceeds(rate, 0.02), "{rate:?}");
}

#[test]
fn abba_without_a_coin_is_rejected() {
    let rate = false_alarms(Noise::Periodic, Design::Abba, RUNS);
    assert!(exceeds(rate, 0.3), "{rate:?}");
    let looks = sequential_false_alarms(Noise::Periodic, Design::Abba, 48, RUNS / 8);
    assert!(exceeds(looks, 0.3), "{looks:?}");
}

#[test]
fn what_is_no_worse_than_the_practical_zero_seldom_regresses_and_two_percent_seldom_passes() {
    let runs = 500;
    for noise in Noise::ALL {
        for effect in [0.0, 0.005] {
            let said = said(&machine(noise, effect), 1, 48, runs);
            assert!(at_most(said.regressed, 0.05), "{noise:?} {effect} {said:?}");
        }
        for effect in [0.02, 0.03, 0.05] {
            let said = said(&machine(noise, effect), 1, 48, runs);
            assert!(at_most(said.passed, 0.05), "{noise:?} {effect} {said:?}");
        }
        // Between the two either word is right; that there is one of the three is all.
        let Said {
            regressed,
            passed,
            inconclusive,
            blocks,
        } = said(&machine(noise, 0.01), 1, 48, runs);
        assert_eq!(regressed.count + passed.count + inconclusive.count, runs);
        assert!((12.0..=48.0).contains(&blocks), "{blocks}");
    }
}

#[test]
fn two_percent_are_found_as_often_as_the_tables_say() {
    // The design's table: per cent REGRESSED of one of m cells at +2 %, by block sd, m and blocks, and
    // wrong PASS; block values of t4.
    for (block_sd, multiplicity, last, found, wrong) in [
        (0.006, 12, 24, 99.0, 1.0),
        (0.010, 12, 24, 98.0, 1.5),
        (0.010, 72, 24, 95.0, 1.5),
        (0.010, 72, 48, 99.0, 1.5),
        (0.015, 12, 24, 87.0, 2.2),
        (0.015, 12, 48, 98.0, 2.2),
        (0.015, 72, 24, 72.0, 2.2),
        (0.015, 72, 48, 98.0, 2.2),
        (0.025, 12, 24, 38.0, 3.3),
        (0.025, 12, 48, 86.0, 3.3),
        (0.025, 72, 24, 19.0, 3.3),
        (0.025, 72, 48, 72.0, 3.3),
    ] {
        let of = |tails| {
            let machine = Machine {
                noise: Noise::None,
                tails,
                block_sd,
                effect: 0.02,
            };
            said(&machine, multiplicity, last, 800)
        };
        let near = |rate: Rate, percent: f64| {
            let (low, high) = limits(rate);
            // The table is rounded, and comes of simulations itself.
            (100.0 * low - 1.0..=100.0 * high + 1.0).contains(&percent)
        };
        let blocks = of(Tails::T4Blocks);
        let what = format!("sd {block_sd}, m {multiplicity}, {last} blocks: {blocks:?}");
        assert!(near(blocks.regressed, found), "{what}");
        assert!(near(blocks.passed, wrong), "{what}");
        assert!(at_most(blocks.passed, 0.05), "{what}");
        // Means of slots are closer to normal, which ranks make less of.
        let slots = of(Tails::T4);
        assert!(
            limits(slots.regressed).1 >= found / 100.0 - 0.1,
            "{slots:?}"
        );
        assert!(at_most(slots.passed, 0.05), "{slots:?}");
    }
}

#[test]
fn five_percent_are_found_in_sixteen_blocks_and_an_unchanged_candidate_passes() {
    for block_sd in [0.006, 0.010, 0.015] {
        let at = |effect| Machine {
            block_sd,
            ..machine(Noise::None, effect)
        };
        let slow = said(&at(0.05), 1, 16, RUNS / 4);
        assert!(slow.regressed.percent() >= 99.0, "{block_sd} {slow:?}");
        let same = said(&at(0.0), 12, 48, RUNS / 4);
        assert!(same.inconclusive.percent() <= 2.0, "{block_sd} {same:?}");
        assert!(same.blocks < 18.0, "{block_sd} {same:?}");
    }
}

#[test]
fn twelve_cells_together_keep_the_error_of_one_gate() {
    let runs = 250;
    let cells = 12;
    let alarms = |noise, effect, rule| family_alarms(&machine(noise, effect), cells, rule, runs);
    for noise in Noise::ALL {
        let rate = alarms(noise, 0.0, bare(rule(cells)));
        assert!(at_most(rate, 0.05), "{noise:?} {rate:?}");
    }
    // Every cell at the practical zero, the worst that is no regression.
    let rate = alarms(Noise::None, 0.005, rule(cells));
    assert!(at_most(rate, 0.05), "{rate:?}");
    // A slow-down of all.
    let rate = alarms(Noise::None, 0.02, rule(cells));
    assert!(rate.percent() >= 99.0, "{rate:?}");
}

/// Twelve cells of one model, 48 blocks and as many to confirm, no practical zero, and a tolerance that
/// next to nothing passes: whatever error the verdict may spend, it spends.
fn twelve_cells(seed: [u8; 32]) -> Example {
    let mut example = Example::of("mini", "cell-0", &[(Metric::Decode, 0.0)]);
    for cell in 1..12 {
        example = example.with("mini", &format!("cell-{cell}"), &[(Metric::Decode, 0.0)]);
    }
    Example {
        policy_head: "practical_zero_percent = 0.0".to_owned(),
        policy: "[margins]\ndecode = 0.01\n".to_owned(),
        blocks: 48,
        confirmation: 48,
        last_look: 48,
        seed,
        ..example
    }
}

/// Writes what such a machine would have shown into a record's slots, in the order in which they
/// were run and by the coins that stand there: the candidate's effect in the first `worse` cells, none
/// in the others. The control probe is quiet.
fn rerun(record: &mut GateRecord, machine: &Machine, worse: usize, dice: &mut Dice) {
    for stage in &mut record.stages {
        let around = machine.noise.over(4 * stage.blocks.len(), dice);
        let slots = stage.blocks.iter_mut().flat_map(|block| &mut block.slots);
        for (slot, around) in slots.zip(around) {
            (slot.control_multiply_ns, slot.control_copy_ns) = (10_000_000, 10_000_000);
            for sample in &mut slot.samples {
                let changed = slot.arm == Arm::Candidate && (sample.cell as usize) < worse;
                let planted = if changed { machine.effect.ln_1p() } else { 0.0 };
                let cost = around + planted + machine.block_sd * dice.of(machine.tails);
                sample.costs.fill((1e9 * cost.exp()).round() as u64);
            }
        }
    }
}

#[test]
fn from_raw_slots_to_the_exit_code_the_error_is_kept_and_a_worse_cell_found() {
    let runs = 40;
    let mut unchanged = 0;
    let (mut first, mut both) = (0, 0);
    for noise in Noise::ALL {
        unchanged += runs;
        both += Rate::of(runs, 7, |dice| {
            let mut record = twelve_cells(dice.seed()).record();
            rerun(&mut record, &machine(noise, 0.0), 0, dice);
            let judgement = judge(&record).expect("a whole record");
            assert_ne!(judgement.verdict, Verdict::Invalid, "{judgement:?}");
            let of_cells =
                |cell: &domain::gate::verdict::CellJudgement| cell.confirmation.is_some();
            first += u32::from(judgement.cells.iter().any(of_cells));
            judgement.exit_code == 1
        })
        .count;
    }
    let rate = |count| Rate {
        count,
        runs: unchanged,
    };
    assert!(at_most(rate(first), 0.05), "{first} of {unchanged}");
    assert!(at_most(rate(both), 0.05 * 0.05), "{both} of {unchanged}");
    let found = Rate::of(runs, 8, |dice| {
        let mut record = twelve_cells(dice.seed()).record();
        rerun(&mut record, &machine(Noise::None, 0.03), 1, dice);
        let judgement = judge(&record).expect("a whole record");
        let worst = &judgement.cells[0];
        judgement.exit_code == 1 && worst.label.contains("cell-0")
    });
    assert!(found.percent() >= 95.0, "{found:?}");
}

#[test]
fn the_detectable_effect_is_detected_nine_times_in_ten() {
    for last in [16, 24, 48] {
        for multiplicity in [1, 12, 72] {
            let share = cell_share(Metric::Decode, &vec![Metric::Decode; multiplicity]);
            let c = factor(last, 0.05, share).expect("a look that can reject");
            let of = |tails| power_at(c, multiplicity, last, tails, 500);
            let (normal, t4) = (of(Tails::Normal), of(Tails::T4Blocks));
            let worse = if normal.count < t4.count { normal } else { t4 };
            let (low, high) = limits(worse);
            let what = format!("{last} blocks, m {multiplicity}, c {c}: {normal:?} {t4:?}");
            assert!(low - 0.01 <= 0.9 && 0.9 <= high + 0.01, "{what}");
        }
    }
}

#[test]
fn other_tools_rules_alarm_where_the_machine_drifts() {
    type Says = fn(&[f64], &[f64], [u8; 32]) -> rivals::Said;
    let runs = 200;
    let alarm = |noise, design, rule: Says| {
        Rate::of(runs, 6, |dice| {
            let (base, candidate) = machine(noise, 0.0).costs(design, 16, dice);
            let seed = dice.seed();
            rule(&base, &candidate, seed) == rivals::Said::Worse
        })
    };
    let t_test: Says = |base, candidate, _| rivals::t_test(base, candidate);
    let hyperfine: Says = |base, candidate, _| rivals::hyperfine(base, candidate);
    for noise in [Noise::Ramp, Noise::Step] {
        let rate = alarm(noise, Design::InTurn, rivals::criterion);
        assert!(exceeds(rate, 0.8), "criterion {noise:?} {rate:?}");
        let rate = alarm(noise, Design::InTurn, t_test);
        assert!(exceeds(rate, 0.8), "t-test {noise:?} {rate:?}");
    }
    let rate = alarm(Noise::Ramp, Design::InTurn, hyperfine);
    assert!(exceeds(rate, 0.05), "hyperfine {rate:?}");
    // Where nothing disturbs, the t-test keeps its half of 5 %.
    let rate = alarm(Noise::None, Design::Coin, t_test);
    assert!(at_most(rate, 0.025), "{rate:?}");
}

#[test]
fn chance_is_seldom_taken_for_a_change_of_a_series() {
    for series in [Series::Iid, Series::Spiky] {
        let rate = series.false_changes(certified, 1_000);
        assert!(at_most(rate, change::CERTIFIED_P), "{series:?} {rate:?}");
        let suspected = |values: &[f64], _| change::suspect(values).into_iter().collect();
        let rate = series.false_changes(suspected, 1_000);
        assert!(at_most(rate, change::SUSPECT_P), "{series:?} {rate:?}");
    }
}

#[test]
fn points_that_depend_on_their_neighbours_need_chunks() {
    let runs = 600;
    // Single points shuffled promise 0.5 % and break it: that is why a paired run has the last word.
    let points = Series::Dependent.false_changes(certified, runs);
    assert!(exceeds(points, change::CERTIFIED_P), "{points:?}");
    assert!(at_most(points, 0.13), "{points:?}");
    let chunks = Series::Dependent.false_changes(certified_in_chunks, runs);
    assert!(at_most(chunks, 0.01), "{chunks:?}");
}

#[test]
fn a_shift_of_two_standard_deviations_is_certified_within_a_dozen_points() {
    let runs = 400;
    // The design's figures: 20, 71 and 88 per cent after 5, 8 and 12 points; chunks need longer.
    for (after, percent) in [(5, 20.0), (8, 71.0), (12, 88.0)] {
        let found = shifts_found(certified, after, runs);
        assert!(100.0 * limits(found).1 >= percent, "{after} {found:?}");
    }
    let chunks = shifts_found(certified_in_chunks, 12, runs);
    assert!(exceeds(chunks, 0.3), "{chunks:?}");
}
