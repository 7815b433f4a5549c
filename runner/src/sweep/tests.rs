//! Whole sweeps with a scripted engine over real variants, on a virtual clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU32;

use domain::energy::ScopeMeters;
use domain::energy::phases::attribute;
use domain::envelope;
use domain::record::{AttributionMethod, EnergyClaim, PAYLOAD_TYPE, UnavailableReason};
use domain::scope::Scope;
use domain::suite::Suite;
use tempfile::TempDir;

use super::*;
use crate::clock::VirtualClock;
use crate::engine::EngineError;
use crate::engine::scripted::{ScriptedEngine, Work};
use crate::gguf::fixture::Fixture;
use crate::meter::Meter;
use crate::meter::scripted::ScriptedMeter;

const MATRIX: &str = r#"
quantisations = ["F16", "Q8_0"]
[[models]]
name = "a"
path = "a-f16.gguf"
[[models]]
name = "b"
path = "b-f16.gguf"
[[workloads]]
id = "pp32-tg8"
prompt_tokens = 32
output_tokens = 8
[quality]
items = 42
[repetitions]
max = 8
warmup_max = 3
min_seconds = 0.25
"#;

struct Bed {
    folder: TempDir,
    clock: Arc<VirtualClock>,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("models")).expect("a folder");
        for (name, layers) in [("a", 1), ("b", 2)] {
            let fixture = Fixture {
                layers,
                ..Fixture::tiny()
            };
            let path = folder.path().join(format!("models/{name}-f16.gguf"));
            fixture.write(&path);
        }
        Self {
            folder,
            clock: Arc::new(VirtualClock::default()),
        }
    }

    fn options(&self) -> SweepOptions {
        let path = self.folder.path();
        SweepOptions {
            matrix: Matrix::parse("m.toml", MATRIX).expect("valid"),
            filter: CellFilter::default(),
            models: path.join("models"),
            data: path.join("data"),
            meters: MetersFile::default(),
            spool: Arc::new(Spool::open(&path.join("data/spool")).expect("opens")),
            key: Arc::new(RunnerKey::load_or_make(&path.join("data/key.pem")).expect("a key")),
            audience: Audience::Any,
            catalogue: Catalogue::default(),
            suite_seed: Suite::ReferenceV1.public_seed(),
            estimate: None,
            fresh: false,
            stop: Arc::default(),
        }
    }

    fn machine(&self, meters: Vec<Box<dyn Meter>>) -> Machine {
        let survey = host::survey(self.folder.path());
        let mut found = meter::discover(self.folder.path(), &survey.host, &MetersFile::default());
        found.meters = meters;
        Machine {
            context: ContextReader::new(self.folder.path(), 2),
            clock: self.clock.clone(),
            meters: found,
            available_bytes: None,
            is_probed: false,
            survey,
        }
    }

    /// An engine that knows every answer and takes a millisecond per token.
    fn engine(&self) -> ScriptedEngine {
        let clock = Arc::clone(&self.clock);
        let known: BTreeMap<_, _> =
            quality::items(Suite::ReferenceV1, &Suite::ReferenceV1.public_seed(), 42)
                .into_iter()
                .map(|item| (item.prompt, item.answer))
                .collect();
        ScriptedEngine::new()
            .answers(move |prompt| known.get(prompt).cloned().unwrap_or_default())
            .works(move |work| match work {
                Work::Load => clock.advance(Duration::from_millis(50)),
                Work::Prefill(tokens) => {
                    clock.advance(Duration::from_micros(u64::from(tokens) * 100));
                }
                Work::Token => clock.advance(Duration::from_millis(1)),
            })
    }
}

/// Every record of a spool, verified as a collector would.
fn records(options: &SweepOptions) -> Vec<Record> {
    let pending = options.spool.pending().expect("listed");
    let read = |id| options.spool.read(id).expect("readable").expect("whole");
    pending
        .into_iter()
        .map(|id| {
            let opened = envelope::open(&read(id).bytes).expect("an envelope");
            let verified = opened
                .verify::<Record>(&options.key.public(), PAYLOAD_TYPE)
                .expect("honest");
            verified.value().clone()
        })
        .collect()
}

/// One engine, whatever the spec.
fn alone(engine: ScriptedEngine) -> Engines {
    let mut engine = Some(engine);
    Engines::opened_by(move |_| Ok(Box::new(engine.take().expect("opened once"))))
}

fn sweep(
    options: &SweepOptions,
    machine: Machine,
    engine: ScriptedEngine,
) -> (SweepReport, Vec<String>) {
    let mut events = Vec::new();
    let report = run(options, machine, alone(engine), &mut |event| {
        events.push(match event {
            SweepEvent::Planned(plan) => format!("planned {}", plan.cells.len()),
            SweepEvent::Skipped(skipped) => format!("skipped {}", skipped.cell.label()),
            SweepEvent::CellStarted { number, of, .. } => format!("started {number}/{of}"),
            SweepEvent::CellFinished(summary) => format!("finished {:?}", summary.outcome),
            SweepEvent::CellLost { .. } => "lost".to_owned(),
            SweepEvent::Progress(_) | SweepEvent::Comparing { .. } => return,
        });
    });
    (report.expect("sweeps"), events)
}

#[test]
fn every_cell_is_measured_sealed_and_stored() {
    let bed = Bed::new();
    let options = bed.options();
    let (report, events) = sweep(&options, bed.machine(Vec::new()), bed.engine());
    assert!(report.is_whole());
    assert_eq!(events[..3], ["planned 4", "started 1/4", "finished Ok"]);
    let records = records(&options);
    assert_eq!(records.len(), 4);
    assert_eq!(
        records
            .iter()
            .map(|record| record.variant.sha256)
            .collect::<BTreeSet<_>>()
            .len(),
        4
    );
    for record in &records {
        assert_eq!(record.sweep, report.sweep);
        assert_eq!(record.engine.name.as_str(), "scripted");
        assert_eq!(
            record.quality.as_ref().map(|quality| quality.items.len()),
            Some(42)
        );
        assert!(
            matches!(&record.energy, EnergyClaim::Unavailable(why) if why.reason == UnavailableReason::Absent)
        );
        let kinds: Vec<_> = record.phases.iter().map(|phase| phase.phase).collect();
        assert_eq!((kinds[0], kinds[1]), (PhaseKind::Load, PhaseKind::Warmup));
        assert_eq!(kinds.last(), Some(&PhaseKind::Quality));
        assert!(serde_json::to_vec(record).expect("JSON").len() < 100_000);
    }
    for cell in &report.recorded {
        let tally = cell.answers.expect("was asked");
        assert_eq!((tally.right, tally.items, tally.unextractable), (42, 42, 0));
        assert!((cell.decode.expect("six repetitions").median - 1_000.0).abs() < 1.0);
    }
}

#[test]
fn one_failing_cell_is_published_as_failed_and_the_rest_goes_on() {
    let bed = Bed::new();
    let options = bed.options();
    let loads = AtomicU32::new(0);
    let engine = bed.engine().failing_loads(move |_| {
        let second = loads.fetch_add(1, Ordering::Relaxed) == 1;
        second.then_some(EngineError::OutOfMemory {
            what: "the weights",
            bytes: 1 << 40,
        })
    });
    let (report, events) = sweep(&options, bed.machine(Vec::new()), engine);
    assert_eq!(
        events
            .iter()
            .filter(|event| *event == "finished Ok")
            .count(),
        3
    );
    assert!(!report.is_whole());
    let failed: Vec<_> = records(&options)
        .into_iter()
        .filter(|record| record.outcome != Outcome::Ok)
        .collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].outcome, Outcome::Oom);
    assert_eq!(
        failed[0].outcome_class.as_ref().map(Name::as_str),
        Some("out of memory")
    );
    let (again, _) = sweep(&options, bed.machine(Vec::new()), bed.engine());
    assert_eq!(
        again.recorded.len(),
        4,
        "a complete sweep is followed by a new one"
    );
}

#[test]
fn a_panicking_engine_crashes_its_cell_alone() {
    let bed = Bed::new();
    let options = bed.options();
    let engine = bed.engine().failing_requests(|number| {
        assert!(number != 20, "a scripted panic about /some/path");
        None
    });
    let (report, _) = sweep(&options, bed.machine(Vec::new()), engine);
    let outcomes: Vec<_> = report.recorded.iter().map(|cell| cell.outcome).collect();
    assert_eq!(
        outcomes,
        [Outcome::Crash, Outcome::Ok, Outcome::Ok, Outcome::Ok]
    );
    let crashed = records(&options)
        .into_iter()
        .find(|record| record.outcome == Outcome::Crash)
        .expect("one");
    assert!(
        !serde_json::to_string(&crashed)
            .expect("JSON")
            .contains("/some/path")
    );
    assert!(
        !crashed.repetitions.is_empty(),
        "what was measured before is kept"
    );
}

#[test]
fn an_interrupted_sweep_measures_only_the_rest() {
    let bed = Bed::new();
    let first = {
        let options = bed.options();
        let stop = Arc::clone(&options.stop);
        let mut finished = 0;
        let report = run(
            &options,
            bed.machine(Vec::new()),
            alone(bed.engine()),
            &mut |event| match event {
                SweepEvent::CellFinished(_) => finished += 1,
                // In the middle of the third cell.
                SweepEvent::Progress(progress)
                    if finished == 2 && progress.phase == PhaseKind::Quality =>
                {
                    stop.store(true, Ordering::Relaxed);
                }
                _ => {}
            },
        )
        .expect("sweeps");
        assert!(report.interrupted);
        assert_eq!(report.recorded.len(), 2);
        report.sweep
    };
    let options = bed.options();
    assert_eq!(
        plan_sweep(&options, &bed.machine(Vec::new()), &mut alone(bed.engine()))
            .expect("plans")
            .finished,
        2
    );
    let (report, _) = sweep(&options, bed.machine(Vec::new()), bed.engine());
    assert_eq!(
        (
            report.sweep,
            report.finished_before.len(),
            report.recorded.len()
        ),
        (first, 2, 2)
    );
    let records = records(&options);
    assert_eq!(records.len(), 4);
    assert_eq!(
        records
            .iter()
            .map(|record| record.variant.sha256)
            .collect::<BTreeSet<_>>()
            .len(),
        4
    );
}

#[test]
fn a_missing_model_is_skipped_with_the_reason() {
    let bed = Bed::new();
    fs::remove_file(bed.folder.path().join("models/b-f16.gguf")).expect("was there");
    let options = bed.options();
    let (report, events) = sweep(&options, bed.machine(Vec::new()), bed.engine());
    assert_eq!((report.recorded.len(), report.skipped.len()), (2, 2));
    assert_eq!(
        events
            .iter()
            .filter(|event| event.starts_with("skipped b "))
            .count(),
        2
    );
    assert!(
        report.skipped[0].reason.contains("--models"),
        "{}",
        report.skipped[0].reason
    );
    assert!(report.is_whole(), "a skipped cell is no failure");
}

#[test]
fn a_counter_makes_the_joules_measured_and_a_guess_stays_a_guess() {
    let bed = Bed::new();
    let options = bed.options();
    let meter = ScriptedMeter::steady(Scope::CpuPkg, 30);
    sweep(&options, bed.machine(vec![Box::new(meter)]), bed.engine());
    for record in records(&options) {
        assert!(
            matches!(&record.energy, EnergyClaim::Measured(claim) if claim.scope.to_string() == "cpu.pkg")
        );
        assert!(
            record
                .phases
                .iter()
                .any(|phase| phase.phase == PhaseKind::DecodeLoop)
        );
        assert_eq!(record.meters.len(), 1);
        assert!(record.meters[0].v.is_sorted());
    }
    let bed = Bed::new();
    let estimate = Some(Estimate {
        mean_mw: 65_000,
        basis: Name::cleaned("--estimate"),
    });
    let options = SweepOptions {
        estimate,
        ..bed.options()
    };
    sweep(&options, bed.machine(Vec::new()), bed.engine());
    assert!(
        records(&options)
            .iter()
            .all(|record| matches!(record.energy, EnergyClaim::Estimated(_)))
    );
}

/// The records of a sweep in the order of their cells.
fn in_order(options: &SweepOptions) -> Vec<Record> {
    let mut records = records(options);
    records.sort_by_key(|record| record.started_ms);
    records
}

fn kinds(record: &Record) -> Vec<PhaseKind> {
    let mut kinds: Vec<_> = record.phases.iter().map(|phase| phase.phase).collect();
    kinds.dedup();
    kinds
}

#[test]
fn a_metered_sweep_is_idle_at_its_ends_and_once_per_load() {
    let bed = Bed::new();
    let options = bed.options();
    let meter = ScriptedMeter::steady(Scope::CpuPkg, 30);
    sweep(&options, bed.machine(vec![Box::new(meter)]), bed.engine());
    let records = in_order(&options);
    let loaded = [
        PhaseKind::Load,
        PhaseKind::IdleLoaded,
        PhaseKind::Warmup,
        PhaseKind::MixedLoop,
        PhaseKind::PrefillLoop,
        PhaseKind::DecodeLoop,
        PhaseKind::PrefillLoop,
        PhaseKind::Quality,
    ];
    let unloaded = [PhaseKind::IdleUnloaded];
    assert_eq!(kinds(&records[0]), [&unloaded[..], &loaded].concat());
    assert_eq!(kinds(&records[1]), loaded);
    assert_eq!(kinds(&records[2]), loaded);
    assert_eq!(kinds(&records[3]), [&loaded[..], &unloaded].concat());
    for record in &records {
        let phases = || record.phases.iter();
        let length = |kind| {
            let of = phases().filter(move |phase| phase.phase == kind);
            of.map(|phase| phase.end_ns - phase.start_ns).max()
        };
        assert!(length(PhaseKind::IdleLoaded) >= Some(10_000_000_000));
        assert!(length(PhaseKind::IdleUnloaded).is_none_or(|ns| ns >= 30_000_000_000));
        assert!(
            phases().all(|phase| {
                let seen = |at: u64| record.context.iter().any(|seen| seen.at_ns >= at);
                seen(phase.end_ns)
            }),
            "the machine's state is noted after every phase"
        );
        assert!(record.context.len() <= 16, "{}", record.context.len());
    }
}

#[test]
fn joules_by_phase_come_out_of_a_sweep_as_they_went_in() {
    let bed = Bed::new();
    // Of a long output, the pass of a loop's short prompts is a small share.
    let long = MATRIX.replace("output_tokens = 8", "output_tokens = 160");
    let options = SweepOptions {
        matrix: Matrix::parse("m.toml", &long).expect("valid"),
        ..bed.options()
    };
    let meter = ScriptedMeter::steady(Scope::CpuPkg, 30);
    sweep(&options, bed.machine(vec![Box::new(meter)]), bed.engine());
    for record in in_order(&options) {
        let meters = ScopeMeters::of(&record).expect("measured");
        let phases = attribute(&record, &meters);
        let near = |found: f64, truth: f64| (found / truth - 1.0).abs() < 0.01;
        let decode = phases.decode.expect("a decode loop was run");
        assert!(near(decode.per_token().0, 0.030), "30 W for 1 ms");
        let prefill = phases.prefill.expect("a prefill loop was run");
        // 100 us a token, and the first output token's millisecond over 32.
        assert!(near(prefill.per_token().0, 30.0 * (0.000_1 + 0.001 / 32.0)));
        let closure = phases.closure.expect("real requests were run");
        assert!(closure.holds(), "{closure:?}");
        assert!(near(phases.idle_loaded.expect("was idle").watts.0, 30.0));
    }
}

#[test]
fn an_engine_that_cannot_be_forced_leaves_a_fit_and_no_speeds() {
    let bed = Bed::new();
    let options = bed.options();
    let meter = ScriptedMeter::steady(Scope::CpuPkg, 30);
    let engine = bed
        .engine()
        .unforced()
        .emitting(|n, asked| asked - 1 - n % 2);
    let (report, _) = sweep(&options, bed.machine(vec![Box::new(meter)]), engine);
    assert!(report.recorded.iter().all(|cell| cell.decode.is_none()));
    for record in in_order(&options) {
        assert_eq!(record.outcome, Outcome::Ok);
        assert!(!record.workload.eos_banned);
        let method = AttributionMethod::Regression;
        assert!(matches!(&record.energy, EnergyClaim::Measured(claim) if claim.method == method));
        assert!(!kinds(&record).contains(&PhaseKind::DecodeLoop));
    }
}

#[test]
fn a_filter_sweeps_only_what_was_picked() {
    let bed = Bed::new();
    let filter = CellFilter {
        quantisations: vec!["Q8_0".to_owned()],
        ..CellFilter::default()
    };
    let options = SweepOptions {
        filter,
        ..bed.options()
    };
    let (report, _) = sweep(&options, bed.machine(Vec::new()), bed.engine());
    assert_eq!(report.recorded.len(), 2);
    let wrong = CellFilter {
        models: vec!["c".to_owned()],
        ..CellFilter::default()
    };
    let options = SweepOptions {
        filter: wrong,
        ..options
    };
    assert!(matches!(
        plan_sweep(&options, &bed.machine(Vec::new()), &mut alone(bed.engine())),
        Err(SweepError::Filter(_))
    ));
}

#[test]
fn a_variant_is_compared_with_its_source_once_and_every_record_of_it_says_so() {
    let bed = Bed::new();
    let quick = MATRIX
        .replace("items = 42", "items = 7")
        .replace("max = 8", "min = 3\nmax = 3")
        .replace("min_seconds = 0.25", "min_seconds = 0.05");
    let longer =
        "\n[[workloads]]\nid = \"pp16-tg4\"\nprompt_tokens = 16\noutput_tokens = 4\n[quality]";
    let matrix = quick.replace("\n[quality]", longer);
    let filter = CellFilter {
        models: vec!["a".to_owned()],
        ..CellFilter::default()
    };
    let sweep = |matrix: &str| {
        let options = SweepOptions {
            matrix: Matrix::parse("m.toml", matrix).expect("valid"),
            filter: filter.clone(),
            fresh: true,
            ..bed.options()
        };
        let machine = Machine {
            clock: Arc::new(RealClock::default()),
            ..bed.machine(Vec::new())
        };
        let mut compared = 0;
        let report = run(&options, machine, Engines::real(1), &mut |event| {
            if let SweepEvent::Comparing { done, of } = event {
                compared += u32::from(done == of);
            }
        });
        assert!(report.expect("sweeps").is_whole());
        let sweep = records(&options);
        for id in options.spool.pending().expect("listed") {
            options.spool.acknowledge(id).expect("removed");
        }
        (sweep, compared)
    };
    let (records, compared) = sweep(&matrix);
    assert_eq!((records.len(), compared), (4, 1));
    let source = records
        .iter()
        .find(|record| record.variant.quant.as_str() == "F16")
        .expect("the source itself");
    for record in &records {
        let fidelity = record.fidelity.as_ref();
        if record.variant.sha256 == source.variant.sha256 {
            assert_eq!(fidelity, None, "it is its own reference");
        } else {
            let fidelity = fidelity.expect("compared");
            assert_eq!(fidelity.reference_sha256, source.variant.sha256);
            assert_eq!(fidelity.docs.len(), 693);
        }
    }
    let off = matrix.replace("items = 7", "items = 7\nfidelity = false");
    let (records, compared) = sweep(&off);
    assert_eq!(compared, 0);
    assert!(records.iter().all(|record| record.fidelity.is_none()));
}

#[test]
fn a_suite_of_chats_is_asked_scored_and_sealed() {
    let bed = Bed::new();
    let text = MATRIX.replace("items = 42", "suite = \"core-v1\"\nitems = 45");
    let options = SweepOptions {
        matrix: Matrix::parse("m.toml", &text).expect("valid"),
        suite_seed: Suite::CoreV1.public_seed(),
        ..bed.options()
    };
    let known: BTreeMap<_, _> = quality::items(Suite::CoreV1, &options.suite_seed, 45)
        .into_iter()
        .map(|item| (item.prompt, item.answer))
        .collect();
    let engine = ScriptedEngine::new()
        .answers(move |prompt| known.get(prompt).cloned().unwrap_or_default())
        .works({
            let clock = Arc::clone(&bed.clock);
            move |_| clock.advance(Duration::from_millis(1))
        })
        .chatting();
    let (report, _) = sweep(&options, bed.machine(Vec::new()), engine);
    assert!(report.is_whole());
    for cell in &report.recorded {
        let tally = cell.answers.expect("was asked");
        assert_eq!((tally.items, tally.unextractable), (45, 0));
        // One byte is one token here: the longest answers may be longer than their bound.
        assert!(tally.right > 40, "{tally:?}");
    }
    for record in records(&options) {
        let asked = record.suite.expect("a suite");
        assert_eq!(asked.version.as_str(), "core-v1");
        assert_eq!(asked.digest.0, Suite::CoreV1.digest());
        assert!(record.quality.expect("asked").asking.is_some());
    }
}

#[test]
fn four_samples_of_two_hundred_endless_answers_still_make_a_record() {
    let bed = Bed::new();
    let text = MATRIX
        .replace(
            "output_tokens = 8",
            "output_tokens = 8\nsamples = 4\nverifier = \"majority\"\ntemperature = 0.7",
        )
        .replace(
            "items = 42",
            "suite = \"core-v1\"\nitems = 200\nthinking_tokens = 4000",
        );
    let options = SweepOptions {
        matrix: Matrix::parse("m.toml", &text).expect("valid"),
        suite_seed: Suite::CoreV1.public_seed(),
        filter: CellFilter {
            models: vec!["a".to_owned()],
            quantisations: vec!["F16".to_owned()],
            ..CellFilter::default()
        },
        ..bed.options()
    };
    let engine = bed.engine().answers(|_| "\"\\\n\0".repeat(1 << 18));
    let (report, _) = sweep(&options, bed.machine(Vec::new()), engine);
    assert_eq!(report.recorded.len(), 1, "{:?}", report.lost);
    let record = records(&options).remove(0);
    assert_eq!(record.outcome, Outcome::Ok);
    let quality = record.quality.expect("asked");
    let bound = quality.asking.expect("chats").answer_bytes;
    assert_eq!(quality.items.len(), 800);
    assert!((200..2_048).contains(&bound), "{bound}");
    assert!(
        quality
            .items
            .iter()
            .all(|answer| answer.answer_bytes > Some(u64::from(bound)))
    );
}
