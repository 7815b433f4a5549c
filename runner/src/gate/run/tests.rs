//! Whole gates over scripted slots, on a virtual clock.

use std::cell::RefCell;
use std::fs;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use domain::gate::Verdict;
use domain::gate::policy::Axis;
use domain::gate::record::{
    ArmKind, Block, FailureKind, Greedy, PolicyOrigin, Sample, Slot, Stage,
};
use domain::gate::{Metric, stage_seed};
use domain::record::{EngineFacts, Settings, Speculation, SpeculationMethod};
use domain::scope::Scope;
use domain::statistics::bootstrap::Resampler;
use tempfile::TempDir;

use super::*;
use crate::clock::{RealClock, VirtualClock};
use crate::context::ContextReader;
use crate::gate::keep::recover;
use crate::gate::slot::{AskedCell, TimedSpan};
use crate::gguf::fixture::Fixture;
use crate::meter::scripted::{PowerTimeline, Script};
use crate::meter::wall::MetersFile;
use crate::meter::{self, Meter};

/// One cell, decode alone.
const POLICY: &str = r#"
[[workloads]]
id = "pp32-tg9"
prompt_tokens = 32
output_tokens = 9
metrics = ["decode"]
"#;

const SLOT: Duration = Duration::from_secs(2);

/// A slot as a script sees it: its number from 0 (those that were tried out first), whose it is,
/// the model's weights, and what it is asked.
struct Seen<'a> {
    number: u32,
    arm: Arm,
    label: &'a str,
    asked: &'a Asked<'a>,
}

/// What a scripted slot does: the logarithm of its cost over what it costs at rest.
type Play<'a> = dyn FnMut(&Seen) -> Result<f64, SlotError> + 'a;

struct Bed {
    folder: TempDir,
    clock: Arc<VirtualClock>,
    policy: String,
}

impl Bed {
    fn new(policy: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["mini", "midi"] {
            let path = folder.path().join(format!("{name}.gguf"));
            Fixture::tiny().write(&path);
        }
        Self {
            folder,
            clock: Arc::new(VirtualClock::default()),
            policy: policy.to_owned(),
        }
    }

    fn options(&self, purpose: Purpose) -> GateOptions {
        let path = |name: &str| self.folder.path().join(name);
        GateOptions {
            purpose,
            policy: Policy::parse("gate.toml", &self.policy).expect("a policy"),
            policy_used: PolicyUsed {
                sha256: Sha256Digest::of(self.policy.as_bytes()),
                text: self.policy.clone(),
                origin: PolicyOrigin::BaseRef,
                commit: None,
            },
            base: ArmSpec::parse("candle:before").expect("an arm"),
            candidate: ArmSpec::parse("candle:after").expect("an arm"),
            models: vec![ModelPair {
                name: "mini".to_owned(),
                base: path("mini.gguf"),
                candidate: path("mini.gguf"),
            }],
            seed: Some((Sha256Digest([42; 32]), SeedOrigin::Collector)),
            budget: None,
            continues: None,
            layout: None,
            known_block_sds: Vec::new(),
            setup: SetupRef {
                slug: None,
                interconnect: None,
                split: None,
            },
            audience: Audience::Any,
            data: path("data"),
            threads: 2,
            stop: Arc::default(),
        }
    }

    /// As [`Self::options`], of two commands.
    fn commands(&self, purpose: Purpose) -> GateOptions {
        GateOptions {
            base: ArmSpec::parse("kernel --old").expect("an arm"),
            candidate: ArmSpec::parse("kernel --new").expect("an arm"),
            models: Vec::new(),
            ..self.options(purpose)
        }
    }

    fn machine(&self, meters: Vec<Box<dyn Meter>>) -> Machine {
        let root = self.folder.path();
        let survey = host::survey(root);
        let mut found = meter::discover(root, &survey.host, &MetersFile::default());
        found.meters = meters;
        Machine {
            context: ContextReader::new(root, 2),
            clock: self.clock.clone(),
            meters: found,
            available_bytes: None,
            is_probed: false,
            survey,
        }
    }

    fn run(&self, options: &GateOptions, play: &mut Play) -> Result<GateRecord, GateError> {
        self.run_watched(options, play, &mut |_| ())
    }

    fn run_watched(
        &self,
        options: &GateOptions,
        play: &mut Play,
        on_event: &mut dyn FnMut(GateEvent),
    ) -> Result<GateRecord, GateError> {
        let mut machine = self.machine(Vec::new());
        run_with(options, &mut machine, self.hands(play), on_event)
    }

    /// Scripted hands: slots of two seconds, a steady probe, answers that are alike, and a build
    /// that succeeds without doing anything.
    fn hands<'a>(&self, play: &'a mut Play) -> Hands<'a> {
        let clock = Arc::clone(&self.clock);
        let mut number = 0;
        Hands {
            slot: Box::new(move |arm, spec, asked, around| {
                let start_ns = clock.now_ns() - around.zero_ns;
                let seen = Seen {
                    number,
                    arm,
                    label: &spec.label,
                    asked,
                };
                number += 1;
                let cost = play(&seen)?;
                clock.advance(SLOT);
                let end_ns = clock.now_ns() - around.zero_ns;
                Ok(slotted(spec, asked, (start_ns, end_ns), cost))
            }),
            climb: Box::new(|pair, _, _, _| Ok(alike(pair.model))),
            probe: Box::new(|| Probed {
                multiply_ns: 10_000_000,
                copy_ns: 8_000_000,
            }),
            build: Box::new(|_, _, _, _| Ok(())),
        }
    }
}

/// What a slot of this arm gives whose costs are all greater by the exponential of `cost`.
fn slotted(spec: &ArmSpec, asked: &Asked, (start_ns, end_ns): (u64, u64), cost: f64) -> Slotted {
    let mut samples = Vec::new();
    let mut spans = Vec::new();
    for cell in asked.cells {
        samples.extend(samples_of(cell, cost));
        spans.push(TimedSpan {
            cell: cell.cell,
            start_ns: start_ns + 100_000_000,
            end_ns,
            tokens: 41,
        });
    }
    let is_command = spec.kind == ArmKind::Command;
    Slotted {
        start_ns,
        end_ns,
        samples,
        spans,
        binary_sha256: Some(Sha256Digest::of(spec.words[0].as_bytes())),
        engine: (!is_command).then(engine),
        settings: (!is_command).then(settings),
        output_sha256: None,
        request_seconds: vec![0.05; asked.cells.len()],
    }
}

fn samples_of(cell: &AskedCell, cost: f64) -> Vec<Sample> {
    let sample = |metric, units: u64| Sample {
        cell: cell.cell,
        metric,
        units,
        costs: vec![(1e6 * units as f64 * cost.exp()) as u64; 3],
        tail_ns: Some(10_000),
        claimed_ns: None,
    };
    let Some(gated) = &cell.workload else {
        return vec![sample(Metric::Time, 1)];
    };
    let requests = u64::from(cell.requests);
    gated
        .metrics
        .iter()
        .filter_map(|metric| match metric {
            Metric::Decode => Some(sample(*metric, 8 * requests)),
            Metric::Prefill => Some(sample(*metric, 32 * requests)),
            // Joules are added by what reads the meters.
            Metric::Energy => None,
            _ => Some(sample(*metric, 1)),
        })
        .collect()
}

fn engine() -> EngineFacts {
    EngineFacts {
        name: Name::cleaned("candle"),
        version: Name::cleaned("1"),
        commit: None,
        build_flags: Vec::new(),
        backend: Name::cleaned("cpu"),
        args: Vec::new(),
        binary_sha256: None,
        image_digest: None,
    }
}

fn settings() -> Settings {
    Settings {
        kv_type_k: None,
        kv_type_v: None,
        gpu_layers: None,
        flash_attention: None,
        speculation: Speculation {
            method: SpeculationMethod::None,
            draft_sha256: None,
            length: None,
        },
        weight_bytes_per_pass: None,
    }
}

/// Evidence of answers that are identical.
fn alike(model: u32) -> QualityEvidence {
    let digest = Sha256Digest([5; 32]);
    QualityEvidence {
        model,
        corpus_sha256: Sha256Digest([1; 32]),
        greedy: Some(Greedy {
            documents: 8,
            tokens: 512,
            base_tokens_sha256: digest,
            candidate_tokens_sha256: digest,
            base_logits_sha256: Some(digest),
            candidate_logits_sha256: Some(digest),
        }),
        forced: None,
        items: None,
        unavailable: None,
    }
}

/// Slots that spread by `sd`, with so much more cost in the candidate's.
fn noisy(sd: f64, effect: f64) -> impl FnMut(&Seen) -> Result<f64, SlotError> {
    let mut draws = Resampler::new([9; 32]);
    move |seen| {
        // Twelve uniform draws less their mean: one standard deviation.
        let normal = (0..12).map(|_| draws.share()).sum::<f64>() - 6.0;
        let more = match seen.arm {
            Arm::Base => 0.0,
            Arm::Candidate => f64::ln_1p(effect),
        };
        Ok(sd * normal + more)
    }
}

/// A machine whose blocks spread by 0.4 %.
fn quiet() -> KnownSd {
    KnownSd {
        metric: Metric::Decode,
        ppm: 4_000,
        blocks: 200,
    }
}

fn stage(record: &GateRecord, kind: StageKind) -> Option<&Stage> {
    record.stages.iter().find(|stage| stage.kind == kind)
}

fn blocks(record: &GateRecord, kind: StageKind) -> &[Block] {
    stage(record, kind).map_or(&[], |stage| &stage.blocks)
}

fn said(record: &GateRecord) -> (Verdict, u8) {
    let judgement = judge(record).expect("a record that can be judged");
    (judgement.verdict, judgement.exit_code)
}

/// The folder of the only gate that was run.
fn kept(options: &GateOptions) -> PathBuf {
    let mut folders = fs::read_dir(options.data.join("gates")).expect("a folder");
    let folder = folders
        .next()
        .expect("a gate was run")
        .expect("readable")
        .path();
    assert!(folders.next().is_none(), "one gate was run");
    folder
}

fn died(label: &str) -> SlotError {
    SlotError::Failed {
        label: label.to_owned(),
        kind: FailureKind::Infrastructure,
        what: "it died of signal 9".to_owned(),
    }
}

#[test]
fn a_change_that_costs_nothing_passes_and_every_block_is_on_disk() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let mut events = Vec::new();
    let record = bed
        .run_watched(&options, &mut noisy(0.004, 0.0), &mut |event| {
            events.push(event);
        })
        .expect("a record");
    assert_eq!(said(&record), (Verdict::Pass, 0));
    assert_eq!(blocks(&record, StageKind::Measuring).len(), 12);
    assert!(stage(&record, StageKind::Confirmation).is_none());
    let folder = kept(&options);
    let seed = fs::read_to_string(folder.join("seed")).expect("on disk");
    assert_eq!(seed, record.seed.to_string());
    let again = recover(&folder).expect("readable");
    assert_eq!(again.stages, record.stages);
    assert_eq!(
        (again.interrupted, again.ended_ms),
        (false, record.ended_ms)
    );
    // The seed is there before the first slot, and the plan before that.
    let place = |is: fn(&GateEvent) -> bool| events.iter().position(is).expect("it happened");
    let planned = place(|event| matches!(event, GateEvent::Planned(_)));
    let seeded = place(|event| matches!(event, GateEvent::Seeded(_)));
    let slot = place(|event| matches!(event, GateEvent::Slot { .. }));
    assert!(planned < seeded && seeded < slot);
    let looks = events
        .iter()
        .filter(|event| matches!(event, GateEvent::Looked { .. }));
    assert_eq!(looks.count(), 1);
}

#[test]
fn a_slow_down_regresses_and_is_confirmed_by_a_seed_of_its_own() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let record = bed
        .run(&options, &mut noisy(0.004, 0.05))
        .expect("a record");
    assert_eq!(said(&record), (Verdict::Regressed, 1));
    let confirmation = stage(&record, StageKind::Confirmation).expect("confirmed");
    assert_eq!(
        confirmation.seed.0,
        stage_seed(&record.seed.0, StageKind::Confirmation)
    );
    assert_ne!(confirmation.seed, record.seed);
    assert!(confirmation.blocks.len() >= 12);
    assert!(stage(&record, StageKind::Layout).is_none());
}

#[test]
fn a_machine_that_slows_down_all_the_time_blames_nobody() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let mut noise = noisy(0.004, 0.0);
    let mut play = |seen: &Seen| {
        // Ten percent over the longest gate, and a jump of six half-way to its first look.
        let jump = if seen.number > 26 { 0.06 } else { 0.0 };
        Ok(noise(seen)? + 0.10 * f64::from(seen.number) / 192.0 + jump)
    };
    let record = bed.run(&options, &mut play).expect("a record");
    assert_eq!(said(&record).0, Verdict::Pass);
}

#[test]
fn a_stop_keeps_what_was_finished_and_the_gate_goes_on_with_the_same_coins() {
    let bed = Bed::new(POLICY);
    let mut options = bed.options(Purpose::Gate);
    let stop = Arc::clone(&options.stop);
    let mut noise = noisy(0.004, 0.0);
    let mut play = |seen: &Seen| {
        // In the third slot of the sixth block, behind two that were tried out.
        if seen.number == 2 + 5 * 4 + 2 {
            stop.store(true, Ordering::Relaxed);
            return Err(SlotError::Interrupted);
        }
        noise(seen)
    };
    let record = bed.run(&options, &mut play).expect("a record");
    assert!(record.interrupted);
    assert_eq!(said(&record), (Verdict::Inconclusive, 130));
    let done = blocks(&record, StageKind::Measuring);
    assert_eq!(done.len(), 6);
    assert_eq!(done[5].slots.len(), 2);

    options.stop.store(false, Ordering::Relaxed);
    let before = record.clone();
    options.continues = Some((ContentId([3; 32]), record));
    let after = bed.run(&options, &mut noisy(0.004, 0.0)).expect("a record");
    assert_eq!(after.continues, Some(ContentId([3; 32])));
    assert_eq!(
        (after.seed, after.started_ms),
        (before.seed, before.started_ms)
    );
    let blocks = blocks(&after, StageKind::Measuring);
    assert_eq!(blocks[..6], before.stages[0].blocks);
    assert_eq!(said(&after), (Verdict::Pass, 0));
    let whole = blocks.iter().filter(|block| block.slots.len() == 4).count();
    assert_eq!((whole, blocks.len()), (12, 13));
}

#[test]
fn a_result_with_other_arms_or_no_look_left_is_not_gone_on_with() {
    let bed = Bed::new(POLICY);
    let mut options = bed.options(Purpose::Gate);
    options.budget = Some(Duration::from_mins(3));
    options.known_block_sds = vec![quiet()];
    let record = bed
        .run(&options, &mut noisy(0.004, 0.012))
        .expect("a record");
    let refusal = |options: &GateOptions| match bed.run(options, &mut noisy(0.004, 0.0)) {
        Err(GateError::Refused { exit, what }) => (exit, what),
        other => panic!("not refused: {other:?}"),
    };
    options.continues = Some((ContentId([3; 32]), record.clone()));
    options.candidate = ArmSpec::parse("candle:another").expect("an arm");
    let (exit, what) = refusal(&options);
    assert_eq!(exit, 2);
    assert!(what.contains("the candidate is another program"), "{what}");
    options.candidate = bed.options(Purpose::Gate).candidate;
    let mut spent = GateRecord {
        last_look: 48,
        ..record
    };
    let done = spent.stages[0].blocks.clone();
    // As good as measured: only their number is looked at.
    spent.stages[0].blocks = done.iter().cycle().take(48).cloned().collect();
    options.continues = Some((ContentId([3; 32]), spent));
    let (exit, what) = refusal(&options);
    assert_eq!(exit, 2);
    assert!(what.contains("start a new gate"), "{what}");
}

#[test]
fn the_budget_sets_the_last_look_and_what_cannot_decide_is_refused_before_measuring() {
    let bed = Bed::new(POLICY);
    let mut options = bed.options(Purpose::Gate);
    let mut slots = 0;
    let mut planned = |options: &GateOptions| {
        let mut play = |_: &Seen| {
            slots += 1;
            Ok(0.0)
        };
        let machine = bed.machine(Vec::new());
        plan_with(options, &machine, bed.hands(&mut play)).expect("a plan")
    };
    let plan = planned(&options);
    assert_eq!((plan.last_look, plan.refused), (48, None));
    // Four slots of two seconds a block, and the probe takes no scripted time.
    assert!(
        (plan.minutes - 48.0 * 8.0 / 60.0).abs() < 0.01,
        "{}",
        plan.minutes
    );
    assert_eq!(
        plan.cells,
        [("mini pp32-tg9".to_owned(), vec!["decode".to_owned()])]
    );

    options.budget = Some(Duration::from_mins(1));
    let (exit, what) = planned(&options).refused.expect("refused");
    assert_eq!(exit, 2);
    assert!(what.contains("allow 2 minutes"), "{what}");

    options.budget = Some(Duration::from_secs(16 * 8 + 1));
    let plan = planned(&options);
    assert_eq!(plan.last_look, 16);
    let (exit, what) = plan.refused.expect("refused");
    assert_eq!(exit, 3);
    assert!(what.contains("(24 blocks) would do"), "{what}");
    assert!(plan.detectable[0].mde > 0.02);

    options.known_block_sds = vec![quiet()];
    let plan = planned(&options);
    assert_eq!(plan.refused, None);
    assert_eq!(plan.detectable[0].known_from_blocks, 200);
    assert_eq!(slots, 8, "a plan tries one slot of each arm");

    options.known_block_sds.clear();
    let refused = bed.run(&options, &mut noisy(0.004, 0.0));
    assert!(
        matches!(refused, Err(GateError::Refused { exit: 3, .. })),
        "{refused:?}"
    );
    assert!(
        !options.data.exists(),
        "nothing is kept of what was not measured"
    );
}

#[test]
fn a_candidate_that_dies_ends_the_gate_with_the_record_as_it_stands() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let mut play = |seen: &Seen| match (seen.number, seen.arm) {
        (20.., Arm::Candidate) => Err(died(seen.label)),
        _ => Ok(0.0),
    };
    let record = bed.run(&options, &mut play).expect("a record");
    let failure = record.failure.as_ref().expect("it failed");
    assert_eq!(
        (failure.arm, failure.kind),
        (Some(Arm::Candidate), FailureKind::Infrastructure)
    );
    assert_eq!(said(&record), (Verdict::Invalid, 5));
    let blocks = blocks(&record, StageKind::Measuring);
    assert_eq!(blocks.len(), 5);
    assert!(blocks[..4].iter().all(|block| block.slots.len() == 4));
    assert_eq!(
        recover(&kept(&options)).expect("readable").stages,
        record.stages
    );
}

#[test]
fn an_arm_that_dies_when_it_is_tried_is_in_a_record_without_blocks() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let mut play = |seen: &Seen| match seen.arm {
        Arm::Base => Ok(0.0),
        Arm::Candidate => Err(died(seen.label)),
    };
    let record = bed.run(&options, &mut play).expect("a record");
    let failure = record.failure.as_ref().expect("it failed");
    assert_eq!(failure.arm, Some(Arm::Candidate));
    assert_eq!(said(&record), (Verdict::Invalid, 5));
    assert!(record.stages.is_empty());
}

/// Runs a gate whose slots are changed by `change` after they were made.
fn run_changed(
    bed: &Bed,
    options: &GateOptions,
    change: &mut dyn FnMut(u32, Arm, &mut Slotted),
) -> GateRecord {
    try_changed(bed, options, Vec::new(), change).expect("a record")
}

/// Likewise, with these meters.
fn try_changed(
    bed: &Bed,
    options: &GateOptions,
    meters: Vec<Box<dyn Meter>>,
    change: &mut dyn FnMut(u32, Arm, &mut Slotted),
) -> Result<GateRecord, GateError> {
    let mut play = noisy(0.004, 0.0);
    let Hands {
        mut slot,
        climb,
        probe,
        build,
    } = bed.hands(&mut play);
    let mut number = 0;
    let hands = Hands {
        slot: Box::new(move |arm, spec, asked, around| {
            let mut slotted = slot(arm, spec, asked, around)?;
            change(number, arm, &mut slotted);
            number += 1;
            Ok(slotted)
        }),
        climb,
        probe,
        build,
    };
    let mut machine = bed.machine(meters);
    run_with(options, &mut machine, hands, &mut |_| ())
}

#[test]
fn a_stop_is_heeded_once_the_block_under_way_is_finished() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let stop = Arc::clone(&options.stop);
    let mut noise = noisy(0.004, 0.0);
    let mut play = |seen: &Seen| {
        // In the third slot of the sixth block.
        if seen.number == 2 + 5 * 4 + 2 {
            stop.store(true, Ordering::Relaxed);
        }
        let is_stopped = seen.number > 2 + 6 * 4;
        assert!(!is_stopped, "no block begins after it");
        noise(seen)
    };
    let record = bed.run(&options, &mut play).expect("a record");
    assert!(record.interrupted);
    let done = blocks(&record, StageKind::Measuring);
    assert_eq!(done.len(), 6);
    assert!(done.iter().all(|block| block.slots.len() == 4));
    assert_eq!(said(&record), (Verdict::Inconclusive, 130));
}

#[test]
fn an_arm_that_tells_of_more_than_the_base_did_is_told_of() {
    // When it is tried, and later, when the base may, too.
    for (from, blamed) in [(0, Arm::Candidate), (9, Arm::Candidate), (9, Arm::Base)] {
        let bed = Bed::new("slot_seconds = 1.0\n");
        let options = bed.commands(Purpose::Gate);
        let record = run_changed(&bed, &options, &mut |number, arm, slotted| {
            if arm == blamed && number >= from {
                let more = Sample {
                    metric: Metric::Prefill,
                    ..slotted.samples[0].clone()
                };
                slotted.samples.push(more);
            }
        });
        let failure = record.failure.as_ref().expect("it failed");
        assert_eq!(
            (failure.arm, failure.kind),
            (Some(blamed), FailureKind::OtherWork)
        );
        assert!(failure.what.as_str().contains("it tells of prefill"));
        assert_eq!(said(&record), (Verdict::Invalid, 4));
    }
}

#[test]
fn what_an_arm_puts_off_until_nothing_is_timed_ends_the_gate() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let record = run_changed(&bed, &options, &mut |_, arm, slotted| {
        if arm == Arm::Candidate {
            slotted.samples[0].tail_ns = Some(20_000_000);
        }
    });
    let judgement = judge(&record).expect("judged");
    assert_eq!(
        (judgement.verdict, judgement.exit_code),
        (Verdict::Invalid, 4)
    );
    assert!(
        judgement.headline.contains("goes on for"),
        "{}",
        judgement.headline
    );
}

/// Slots of these numbers whose lines are read together, after so many nanoseconds.
fn together(numbers: &'static [u32], whole_ns: u64) -> impl FnMut(&Seen) -> Result<f64, SlotError> {
    let mut noise = noisy(0.004, 0.0);
    move |seen| {
        if numbers.contains(&seen.number) {
            return Err(SlotError::Together {
                label: seen.label.to_owned(),
                what: "its lines came at once".to_owned(),
                whole_ns,
            });
        }
        noise(seen)
    }
}

#[test]
fn lines_that_are_read_together_once_may_be_the_machines_doing() {
    let bed = Bed::new("slot_seconds = 1.0\n");
    let options = bed.commands(Purpose::Gate);
    let like = SLOT.as_nanos() as u64 * 6 / 5;
    let record = bed.run(&options, &mut together(&[9], like));
    let record = record.expect("a record");
    assert_eq!(said(&record), (Verdict::Pass, 0));
    let void: Vec<_> = (blocks(&record, StageKind::Measuring).iter())
        .filter_map(|block| block.void.as_ref())
        .map(Name::as_str)
        .collect();
    let [why] = &void[..] else { panic!("{void:?}") };
    assert!(why.ends_with("arm were read together"), "{why}");

    // When it is tried, when the slot lasted longer, and when the same arm does it again.
    let again: &[u32] = &[9, 10, 11, 12, 13, 14, 15, 16];
    for (numbers, whole_ns) in [(&[1][..], like), (&[9], like * 2), (again, like)] {
        let record = bed.run(&options, &mut together(numbers, whole_ns));
        let record = record.expect("a record");
        let failure = record.failure.as_ref().expect("it failed");
        assert_eq!(failure.kind, FailureKind::Infrastructure, "{numbers:?}");
        assert!(failure.what.as_str().contains("at once"), "{numbers:?}");
        assert_eq!(said(&record), (Verdict::Invalid, 5));
    }
}

#[test]
fn a_hole_in_the_readings_makes_a_block_void_once_and_loses_joules_the_second_time() {
    for (until_ms, times_lost) in [(26_800, 0), (60_000, 1)] {
        let bed = Bed::new(&POLICY.replace("[\"decode\"]", "[\"decode\", \"energy\"]"));
        let options = bed.options(Purpose::Gate);
        let timeline = PowerTimeline::idle(20.0);
        let mut script = Script::counter(Scope::CpuPkg, &timeline, Duration::from_millis(20));
        script.outage_ns = 26_700_000_000..until_ms * 1_000_000;
        let record = try_changed(&bed, &options, vec![script.meter()], &mut |_, _, _| ());
        let record = record.expect("a record");
        let blocks = blocks(&record, StageKind::Measuring);
        let void = blocks.iter().filter_map(|block| block.void.as_ref());
        let void: Vec<&str> = void.map(Name::as_str).collect();
        let [why] = &void[..] else { panic!("{void:?}") };
        assert!(why.starts_with("joules of mini pp32-tg9: "), "{why}");
        let lost = &record.cells[0].unavailable;
        assert_eq!(lost.len(), times_lost, "{lost:?}, {void:?}");
        let verdict = [Verdict::Pass, Verdict::Invalid][times_lost];
        assert_eq!(said(&record).0, verdict);
    }
}

#[test]
fn slots_are_as_long_as_the_faster_arm_needs() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let record = run_changed(&bed, &options, &mut |_, arm, slotted| {
        if arm == Arm::Candidate {
            slotted.request_seconds = vec![0.01];
        }
    });
    let repetitions = f64::from(options.policy.repetitions);
    let requests = (options.policy.slot_seconds / (repetitions * 0.01)).ceil() as u64;
    let sample = &blocks(&record, StageKind::Measuring)[0].slots[0].samples[0];
    assert_eq!(sample.units, 8 * requests);
}

#[test]
fn a_result_that_could_not_be_sealed_is_refused_before_measuring() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let refused = try_changed(&bed, &options, Vec::new(), &mut |_, _, slotted| {
        slotted.samples[0].costs = vec![1_000_000; 5_000];
    });
    let Err(GateError::Refused { exit: 2, what }) = refused else {
        panic!("not refused: {refused:?}");
    };
    assert!(what.contains("can be sealed"), "{what}");
}

#[test]
fn a_lost_metric_is_lost_in_what_outlives_a_crash_too() {
    let bed = Bed::new(&POLICY.replace("[\"decode\"]", "[\"decode\", \"energy\"]"));
    let options = bed.options(Purpose::Gate);
    let timeline = PowerTimeline::idle(20.0);
    let script = Script::counter(Scope::CpuPkg, &timeline, Duration::from_millis(20));
    let record = try_changed(
        &bed,
        &options,
        vec![script.meter()],
        &mut |number, _, slotted| {
            if number == 20 {
                slotted.spans[0].end_ns = slotted.spans[0].start_ns + 1_000;
            }
        },
    )
    .expect("a record");
    assert_eq!(record.cells[0].unavailable.len(), 1);
    let again = recover(&kept(&options)).expect("readable");
    assert_eq!(again.cells, record.cells);
    assert_eq!(again.stages, record.stages);
}

#[test]
fn only_a_loss_behind_the_first_block_leaves_samples_of_what_is_missing() {
    for (lost_in, leaves_some) in [(4, false), (20, true)] {
        let bed = Bed::new(&POLICY.replace("[\"decode\"]", "[\"decode\", \"energy\"]"));
        let options = bed.options(Purpose::Gate);
        let timeline = PowerTimeline::idle(20.0);
        let script = Script::counter(Scope::CpuPkg, &timeline, Duration::from_millis(20));
        let shorten = &mut |number, _, slotted: &mut Slotted| {
            if number == lost_in {
                slotted.spans[0].end_ns = slotted.spans[0].start_ns + 1_000;
            }
        };
        let record = try_changed(&bed, &options, vec![script.meter()], shorten);
        let record = record.expect("a record");
        let slots = (blocks(&record, StageKind::Measuring).iter()).flat_map(|block| &block.slots);
        let mut samples = slots.flat_map(|slot| &slot.samples);
        let has_joules = samples.any(|told| told.metric == Metric::Energy);
        assert_eq!(has_joules, leaves_some, "lost in slot {lost_in}");
    }
}

/// A gate that was stopped in its third block, and options to go on with it.
fn stopped(bed: &Bed) -> (GateRecord, GateOptions) {
    let mut options = bed.options(Purpose::Gate);
    let stop = Arc::clone(&options.stop);
    let mut noise = noisy(0.004, 0.0);
    let mut play = |seen: &Seen| {
        stop.store(seen.number >= 12, Ordering::Relaxed);
        noise(seen)
    };
    let record = bed.run(&options, &mut play).expect("a record");
    options.stop = Arc::default();
    options.continues = Some((ContentId([3; 32]), record.clone()));
    (record, options)
}

#[test]
fn each_part_of_a_gate_keeps_a_folder_of_its_own() {
    let bed = Bed::new(POLICY);
    let (before, options) = stopped(&bed);
    let first = kept(&options);
    let after = bed.run(&options, &mut noisy(0.004, 0.0)).expect("a record");
    assert_eq!(recover(&first).expect("readable").stages, before.stages);
    let second = PathBuf::from(format!("{}-2", first.display()));
    assert_eq!(recover(&second).expect("readable").stages, after.stages);
}

#[test]
fn a_gate_never_goes_on_to_an_earlier_look_than_it_had_planned() {
    let bed = Bed::new(POLICY);
    let (before, mut options) = stopped(&bed);
    assert_eq!(before.last_look, 48);
    // Enough for the first look, which would be one that was picked after the fact.
    options.budget = Some(Duration::from_mins(2));
    let refused = bed.run(&options, &mut noisy(0.004, 0.0));
    assert!(
        matches!(&refused, Err(GateError::Refused { exit: 2, what }) if what.contains("48 blocks")),
        "{refused:?}"
    );
}

#[test]
fn a_gate_does_not_go_on_under_other_conditions() {
    let bed = Bed::new(POLICY);
    let (before, mut options) = stopped(&bed);
    let mut refusal = |before: GateRecord, change: &mut dyn FnMut(u32, Arm, &mut Slotted)| {
        options.continues = Some((ContentId([3; 32]), before));
        match try_changed(&bed, &options, Vec::new(), change) {
            Err(GateError::Refused { exit: 2, what }) => what,
            other => panic!("not refused: {other:?}"),
        }
    };
    let threads = refusal(before.clone(), &mut |_, _, slotted| {
        let engine = slotted.engine.as_mut().expect("an engine");
        engine.args.push(Name::cleaned("threads=1"));
    });
    assert!(threads.contains("threads"), "{threads}");
    let settings = refusal(before.clone(), &mut |_, arm, slotted| {
        if arm == Arm::Candidate {
            slotted.settings.as_mut().expect("an engine").gpu_layers = Some(3);
        }
    });
    assert!(settings.contains("the candidate's engine"), "{settings}");
    let mut elsewhere = before.clone();
    elsewhere.hosts[0].fingerprint = Sha256Digest([9; 32]);
    let elsewhere = refusal(elsewhere, &mut |_, _, _| ());
    assert!(elsewhere.contains("the machine"), "{elsewhere}");
    let mut other = before;
    other.setup.slug = Some("another".parse().expect("a slug"));
    let other = refusal(other, &mut |_, _, _| ());
    assert!(other.contains("the setup"), "{other}");
}

#[test]
fn other_work_than_the_bases_ends_the_gate() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let fails = |change: &mut dyn FnMut(u32, Arm, &mut Slotted), words: &str| {
        let record = run_changed(&bed, &options, change);
        let failure = record.failure.as_ref().expect("it failed");
        assert_eq!(failure.kind, FailureKind::OtherWork);
        assert!(failure.what.as_str().contains(words), "{}", failure.what);
        assert_eq!(said(&record), (Verdict::Invalid, 4));
        failure.arm
    };
    let is_late = |number: u32, arm: Arm| number > 10 && arm == Arm::Candidate;
    let fewer = &mut |number, arm, slotted: &mut Slotted| {
        if is_late(number, arm) {
            slotted.samples[0].units -= 1;
        }
    };
    assert_eq!(fails(fewer, "units of work"), Some(Arm::Candidate));
    let rebuilt = &mut |number, arm, slotted: &mut Slotted| {
        if is_late(number, arm) {
            slotted.binary_sha256 = Some(Sha256Digest([7; 32]));
        }
    };
    assert_eq!(fails(rebuilt, "changed on disk"), Some(Arm::Candidate));
    let silent = &mut |number, arm, slotted: &mut Slotted| {
        if is_late(number, arm) {
            slotted.samples.clear();
        }
    };
    assert_eq!(fails(silent, "it gave no decode"), Some(Arm::Candidate));
    let mini = options.models[0].base.clone();
    let swapped = &mut |number, _, _: &mut Slotted| {
        if number == 10 {
            let mut bytes = fs::read(&mini).expect("readable");
            bytes.push(0);
            fs::write(&mini, bytes).expect("writable");
        }
    };
    fails(swapped, "the weights changed");
}

#[test]
fn a_suspended_machine_makes_a_block_void_and_it_is_redone_with_the_next_coin() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let clock = Arc::clone(&bed.clock);
    let mut noise = noisy(0.004, 0.0);
    let mut play = |seen: &Seen| {
        if seen.number == 12 {
            clock.suspend(Duration::from_mins(5));
        }
        noise(seen)
    };
    let mut void = Vec::new();
    let record = bed
        .run_watched(&options, &mut play, &mut |event| {
            if let GateEvent::Void(why) = event {
                void.push(why);
            }
        })
        .expect("a record");
    assert_eq!(void, ["the machine was suspended or its clock was set"]);
    let blocks = blocks(&record, StageKind::Measuring);
    assert_eq!(blocks.len(), 13);
    assert_eq!(
        blocks.iter().filter(|block| block.void.is_some()).count(),
        1
    );
    assert_eq!(said(&record), (Verdict::Pass, 0));
}

#[test]
fn what_breaks_while_the_machine_sleeps_is_no_arms_failure_until_it_is_too_often() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let clock = Arc::clone(&bed.clock);
    let mut play = |seen: &Seen| {
        if seen.number < 2 {
            return Ok(0.0);
        }
        clock.suspend(Duration::from_mins(5));
        Err(died(seen.label))
    };
    let record = bed.run(&options, &mut play).expect("a record");
    let failure = record.failure.as_ref().expect("it ended");
    assert_eq!(
        (failure.arm, failure.kind),
        (None, FailureKind::Environment)
    );
    assert_eq!(blocks(&record, StageKind::Measuring).len(), 3);
    assert_eq!(said(&record), (Verdict::Invalid, 4));
}

#[test]
fn another_power_source_makes_a_block_void() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let battery = bed.folder.path().join("sys/class/power_supply/BAT0");
    fs::create_dir_all(&battery).expect("a folder");
    let mut noise = noisy(0.004, 0.0);
    let mut play = |seen: &Seen| {
        if seen.number == 9 {
            fs::write(battery.join("status"), "Discharging").expect("writable");
        }
        noise(seen)
    };
    let record = bed.run(&options, &mut play).expect("a record");
    let void: Vec<_> = (blocks(&record, StageKind::Measuring).iter())
        .filter_map(|block| block.void.as_ref())
        .map(Name::as_str)
        .collect();
    assert_eq!(void, ["the power source changed from unknown to battery"]);
    assert_eq!(said(&record).0, Verdict::Pass);
}

#[test]
fn a_command_is_one_cell_and_its_lines_say_what_is_measured() {
    let bed = Bed::new("slot_seconds = 1.0\n");
    let options = bed.commands(Purpose::Gate);
    let record = bed
        .run(&options, &mut noisy(0.004, 0.05))
        .expect("a record");
    assert_eq!(record.cells.len(), 1);
    assert_eq!(record.cells[0].label.as_str(), "kernel");
    assert_eq!(record.cells[0].metrics, [Metric::Time]);
    assert_eq!(
        (&record.models[0].base, &record.base.engine),
        (&None, &None)
    );
    assert_eq!(said(&record), (Verdict::Regressed, 1));
    let mixed = GateOptions {
        candidate: ArmSpec::parse("candle:after").expect("an arm"),
        ..bed.commands(Purpose::Gate)
    };
    let refused = bed.run(&mixed, &mut noisy(0.0, 0.0));
    assert!(
        matches!(refused, Err(GateError::Refused { exit: 2, .. })),
        "{refused:?}"
    );
}

#[test]
fn a_comparison_has_its_blocks_and_no_verdict() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Compare);
    let record = bed
        .run(&options, &mut noisy(0.004, 0.05))
        .expect("a record");
    assert_eq!(blocks(&record, StageKind::Measuring).len(), 16);
    assert!(stage(&record, StageKind::Confirmation).is_none());
    assert_eq!(said(&record).1, 0);
}

#[test]
fn models_take_turns_and_a_decided_one_leaves_its_time_to_the_others() {
    let bed = Bed::new(POLICY);
    let mut options = bed.options(Purpose::Gate);
    let midi = bed.folder.path().join("midi.gguf");
    options.models.push(ModelPair {
        name: "midi".to_owned(),
        base: midi.clone(),
        candidate: midi.clone(),
    });
    let mut calm = noisy(0.004, 0.0);
    let mut slots = 0;
    let mut play = |seen: &Seen| {
        if seen.asked.weights != Some(&midi) {
            return calm(seen);
        }
        // Slower by five percent in five of eight blocks, faster by as much in three: neither is
        // ever shown.
        let is_faster = [1, 4, 6].contains(&(slots / 4 % 8));
        // The two that were tried out are in no block.
        slots += u32::from(seen.number >= 4);
        Ok(match seen.arm {
            Arm::Base => 0.0,
            Arm::Candidate if is_faster => -0.05,
            Arm::Candidate => 0.05,
        })
    };
    let record = bed.run(&options, &mut play).expect("a record");
    let turns: Vec<u32> = blocks(&record, StageKind::Measuring)
        .iter()
        .map(|block| block.model)
        .collect();
    assert_eq!(turns[..6], [0, 1, 0, 1, 0, 1]);
    let of = |model| turns.iter().filter(|turn| **turn == model).count();
    assert!(of(0) <= 16, "{}", of(0));
    assert_eq!(of(1), 48);
    assert_eq!(said(&record), (Verdict::Inconclusive, 3));
}

#[test]
fn required_joules_without_a_meter_are_refused_before_measuring() {
    let policy = format!("required = [\"speed\", \"energy\"]\n{POLICY}")
        .replace("[\"decode\"]", "[\"decode\", \"energy\"]");
    let bed = Bed::new(&policy);
    let options = bed.options(Purpose::Gate);
    assert!(options.policy.required.contains(&Axis::Energy));
    let Err(GateError::Refused { exit, what }) = bed.run(&options, &mut noisy(0.004, 0.0)) else {
        panic!("not refused");
    };
    assert_eq!(exit, 4);
    assert!(what.contains("the policy requires energy"), "{what}");
}

#[test]
fn joules_come_from_the_meter_that_covers_the_work() {
    let policy = POLICY.replace("[\"decode\"]", "[\"decode\", \"energy\"]");
    let bed = Bed::new(&policy);
    let options = bed.options(Purpose::Gate);
    let timeline = PowerTimeline::idle(20.0);
    let script = Script::counter(Scope::CpuPkg, &timeline, Duration::from_millis(20));
    let mut machine = bed.machine(vec![script.meter()]);
    let mut play = noisy(0.004, 0.0);
    let record = run_with(&options, &mut machine, bed.hands(&mut play), &mut |_| ());
    let record = record.expect("a record");
    assert_eq!(record.cells[0].scope, Some(Scope::CpuPkg));
    assert!(
        record.cells[0].unavailable.is_empty(),
        "{:?}",
        record.cells[0]
    );
    let slots = blocks(&record, StageKind::Measuring)
        .iter()
        .flat_map(|block| &block.slots);
    for Slot { samples, .. } in slots {
        let sample = samples
            .iter()
            .find(|sample| sample.metric == Metric::Energy);
        let sample = sample.expect("told");
        // 1.9 timed seconds of 20 W.
        let joules = sample.costs[0] as f64 / 1e6;
        assert!((joules - 38.0).abs() < 1.0, "{joules}");
        assert_eq!(sample.units, 41);
    }
    assert_eq!(said(&record).0, Verdict::Pass);
}

#[test]
fn without_a_meter_joules_that_are_not_required_are_left_out_with_the_reason() {
    let policy = POLICY.replace("[\"decode\"]", "[\"decode\", \"energy\"]");
    let bed = Bed::new(&policy);
    let record = bed
        .run(&bed.options(Purpose::Gate), &mut noisy(0.004, 0.0))
        .expect("a record");
    let [lack] = &record.cells[0].unavailable[..] else {
        panic!("joules are not there");
    };
    assert_eq!(lack.metric, Metric::Energy);
    assert!(
        lack.reason.as_str().contains("no power counter"),
        "{}",
        lack.reason
    );
    assert_eq!(said(&record), (Verdict::Pass, 0));
}

#[test]
fn answers_are_compared_before_the_first_block_where_the_policy_asks() {
    let bed = Bed::new(&format!("{POLICY}\n[quality]\nitems = 2000\n"));
    let options = bed.options(Purpose::Gate);
    let record = bed.run(&options, &mut noisy(0.004, 0.0)).expect("a record");
    assert_eq!(record.quality, [alike(0)]);
    let again = recover(&kept(&options)).expect("readable");
    assert_eq!(again.quality, record.quality);
}

/// A gate whose base is a program of its own in a folder that can be built again, and what the
/// build wrote.
fn layout(bed: &Bed, makes: Option<&'static str>, by_layout: f64) -> (GateRecord, PathBuf) {
    let folder = bed.folder.path().join("checkout");
    fs::create_dir_all(&folder).expect("a folder");
    let program = folder.join("program");
    fs::write(&program, "#!/bin/sh\n").expect("writable");
    make_executable(&program);
    let mut options = bed.options(Purpose::Gate);
    options.base.words = vec![program.to_string_lossy().into_owned()];
    options.layout = Some(LayoutBuild {
        commands: vec!["link --shuffle={seed}".to_owned()],
        folder,
        program: "program".to_owned(),
    });
    let base = options.base.label.clone();
    let mut draws = Resampler::new([11; 32]);
    let mut play = |seen: &Seen| {
        let noise = 0.004 * (draws.share() - 0.5);
        Ok(noise
            + match seen.label {
                label if label == base => 0.0,
                "after" => 0.05,
                _ => by_layout,
            })
    };
    let commands = Rc::new(RefCell::new(Vec::new()));
    let (asked, built) = (Rc::clone(&commands), program.clone());
    let hands = Hands {
        build: Box::new(move |commands, _, _, _| {
            asked.borrow_mut().extend_from_slice(commands);
            let text = makes.ok_or("the commands of layout_build failed")?;
            fs::write(&built, text).map_err(|error| error.to_string())
        }),
        ..bed.hands(&mut play)
    };
    let mut machine = bed.machine(Vec::new());
    let record = run_with(&options, &mut machine, hands, &mut |_| ()).expect("a record");
    let [command] = &commands.borrow()[..] else {
        panic!("built once");
    };
    let seed = command.strip_prefix("link --shuffle=").expect("as asked");
    assert!(seed.parse::<u32>().is_ok(), "{seed}");
    (record, program)
}

#[cfg(unix)]
fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("set");
}

/// A policy that asks for the layout guard.
fn guarded() -> String {
    format!(
        "{POLICY}\n[arms]\nkind = \"candle\"\nrun = \"program\"\n\
         layout_build = [\"link --shuffle={{seed}}\"]\n"
    )
}

#[test]
fn a_regression_that_layout_alone_does_not_make_stays_one() {
    let bed = Bed::new(&guarded());
    let (record, program) = layout(&bed, Some("#!/bin/sh\n# shuffled\n"), 0.0);
    let stage = stage(&record, StageKind::Layout).expect("begun");
    assert_eq!(stage.blocks.len(), 16);
    let shuffled = Sha256Digest::of(b"#!/bin/sh\n# shuffled\n");
    assert_eq!(stage.binary_sha256, Some(shuffled));
    assert_eq!(said(&record), (Verdict::Regressed, 1));
    // The base is as it was.
    assert_eq!(fs::read_to_string(program).expect("there"), "#!/bin/sh\n");
}

#[test]
fn a_regression_that_layout_makes_too_is_none() {
    let bed = Bed::new(&guarded());
    let (record, _) = layout(&bed, Some("#!/bin/sh\n# shuffled\n"), 0.04);
    let judgement = judge(&record).expect("judged");
    assert_eq!(
        (judgement.verdict, judgement.exit_code),
        (Verdict::Inconclusive, 3)
    );
    assert_eq!(
        judgement.cells[0].reason.as_deref(),
        Some("layout-sensitive")
    );
}

#[test]
fn a_base_that_cannot_be_linked_again_leaves_the_regression_and_says_so() {
    for makes in [None, Some("#!/bin/sh\n")] {
        let bed = Bed::new(&guarded());
        let (record, program) = layout(&bed, makes, 0.0);
        let stage = stage(&record, StageKind::Layout).expect("begun");
        assert!(stage.blocks.is_empty());
        assert!(stage.unavailable.is_some());
        assert_eq!(said(&record), (Verdict::Regressed, 1));
        assert_eq!(fs::read_to_string(program).expect("there"), "#!/bin/sh\n");
    }
}

#[test]
fn a_torn_last_line_is_left_out_and_a_torn_other_one_is_told_of() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let record = bed.run(&options, &mut noisy(0.004, 0.0)).expect("a record");
    let folder = kept(&options);
    let path = folder.join("blocks.jsonl");
    let text = fs::read_to_string(&path).expect("there");
    fs::write(&path, &text[..text.len() - 40]).expect("writable");
    // The last line says how it ended: without it nobody knows that it did.
    let again = recover(&folder).expect("readable");
    assert_eq!(again.stages, record.stages);
    assert!(again.interrupted && again.ended_ms >= again.started_ms);
    let whole: Vec<&str> = text.lines().collect();
    let torn = whole[..whole.len() - 1].join("\n");
    fs::write(&path, &torn[..torn.len() - 40]).expect("writable");
    let again = recover(&folder).expect("readable");
    let all = blocks(&record, StageKind::Measuring);
    assert_eq!(blocks(&again, StageKind::Measuring), &all[..all.len() - 1]);
    fs::write(&path, text.replacen("\"slots\"", "\"slot", 1)).expect("writable");
    assert!(matches!(recover(&folder), Err(GateError::Keep { .. })));
}

#[test]
fn a_gate_that_failed_is_recovered_as_one_that_failed() {
    let bed = Bed::new(POLICY);
    let options = bed.options(Purpose::Gate);
    let mut noise = noisy(0.004, 0.0);
    let mut play = |seen: &Seen| {
        if seen.number == 9 {
            return Err(died("candidate"));
        }
        noise(seen)
    };
    let record = bed.run(&options, &mut play).expect("a record");
    assert!(record.failure.is_some());
    let again = recover(&kept(&options)).expect("readable");
    assert_eq!(
        (again.failure, again.interrupted),
        (record.failure, record.interrupted)
    );
}

/// Real processes and a real clock; only the probe is scripted, since unoptimised it takes seconds.
fn run_processes(options: &GateOptions, bed: &Bed) -> GateRecord {
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    let hands = Hands {
        probe: Box::new(|| Probed {
            multiply_ns: 10_000_000,
            copy_ns: 8_000_000,
        }),
        ..Hands::real(Arc::clone(&clock))
    };
    let mut machine = Machine {
        clock,
        ..bed.machine(Vec::new())
    };
    run_with(options, &mut machine, hands, &mut |_| ()).expect("a record")
}

#[test]
fn processes_are_measured_slot_by_slot_each_a_fresh_one() {
    let bed = Bed::new("# every default\n");
    let starts = bed.folder.path().join("starts");
    let command = format!(
        "sh -c 'echo x >> {}; for i in 1 2 3 4; do sleep 0.04; echo {{}}; done'",
        starts.display()
    );
    let options = GateOptions {
        base: ArmSpec::parse(&command).expect("an arm"),
        candidate: ArmSpec::parse(&format!("{command} again")).expect("an arm"),
        ..bed.commands(Purpose::Compare)
    };
    let record = run_processes(&options, &bed);
    assert_eq!(record.failure, None);
    let blocks = blocks(&record, StageKind::Measuring);
    // A busy machine may have heard the lines of a slot together.
    let whole = blocks.iter().filter(|block| block.void.is_none());
    assert_eq!(whole.count(), 16);
    let mut last_ns = 0;
    for slot in blocks.iter().flat_map(|block| &block.slots) {
        assert!(slot.start_ns >= last_ns, "slots do not overlap");
        last_ns = slot.end_ns;
        let [sample] = &slot.samples[..] else {
            panic!("one metric");
        };
        assert_eq!((sample.metric, sample.costs.len()), (Metric::Time, 3));
    }
    let started = fs::read_to_string(starts).expect("there").lines().count();
    let in_whole = 2 + 16 * 4;
    if blocks.len() == 16 {
        assert_eq!(started, in_whole);
    } else {
        assert!(started > in_whole);
    }
    assert_eq!(said(&record).1, 0);
}

#[test]
fn a_candidate_that_rewrites_the_bases_script_is_found_out() {
    let bed = Bed::new("# every default\n");
    let folder = bed.folder.path();
    let works = "for i in 1 2 3 4; do sleep 0.04; echo {}; done\n";
    fs::write(folder.join("base.sh"), works).expect("writable");
    let rewrites = format!("{works}echo '# slower' >> base.sh\n");
    fs::write(folder.join("candidate.sh"), rewrites).expect("writable");
    let arm = |text: &str| ArmSpec {
        folder: Some(folder.to_owned()),
        ..ArmSpec::parse(text).expect("an arm")
    };
    let options = GateOptions {
        base: arm("sh base.sh"),
        candidate: arm("sh candidate.sh"),
        ..bed.commands(Purpose::Gate)
    };
    let record = run_processes(&options, &bed);
    let failure = record.failure.as_ref().expect("it failed");
    assert_eq!(failure.kind, FailureKind::OtherWork);
    assert!(
        failure.what.as_str().contains("changed on disk"),
        "{failure:?}"
    );
    assert_eq!(said(&record), (Verdict::Invalid, 4));
}

#[test]
fn a_candidate_that_prints_nothing_is_never_passed() {
    let bed = Bed::new("# every default\n");
    let base = "sh -c 'for i in 1 2 3 4; do sleep 0.04; echo {}; done'";
    let options = GateOptions {
        base: ArmSpec::parse(base).expect("an arm"),
        candidate: ArmSpec::parse("sh -c true").expect("an arm"),
        ..bed.commands(Purpose::Gate)
    };
    let record = run_processes(&options, &bed);
    let failure = record.failure.as_ref().expect("it failed");
    assert_eq!(failure.arm, Some(Arm::Candidate));
    assert_eq!(said(&record), (Verdict::Invalid, 5));
}
