//! A scripted record's joules by hand, and everything that must keep them unpublished.

use domain::energy::phases::CLOSURE_LIMIT;
use domain::hardware::Catalogue;
use domain::record::{
    Context, EnergyClaim, EstimatedEnergy, Gpu, MeasuredEnergy, MeterKind, MeterTrace, PhaseKind,
    Record, SamplerCost, UnavailableEnergy, UnavailableReason,
};
use domain::scope::{Scope, ScopeKey};
use domain::text::Name;

use crate::derive::tests::received;
use crate::derive::{CellResult, derive, results};
use crate::fixtures;

use super::*;

fn published(records: &[Record]) -> CellResult {
    let derived: Vec<_> = records
        .iter()
        .zip(1..)
        .map(|(record, number)| derive(record, received(number, 1)))
        .collect();
    let mut results = results(&derived, &Catalogue::default());
    assert_eq!(results.len(), 1, "one cell");
    results.remove(0)
}

fn row(record: &Record) -> ResultRow {
    published(std::slice::from_ref(record)).row
}

#[track_caller]
fn near(value: Option<f64>, expected: f64) {
    let off = value.map(|value| (value / expected - 1.0).abs());
    assert!(off.is_some_and(|off| off < 2e-3), "{value:?} {expected}");
}

/// Every column that holds joules or watts.
fn joule_columns(row: &ResultRow) -> Vec<(&'static str, Option<f64>)> {
    vec![
        ("joules_per_correct_answer", row.joules_per_correct_answer),
        ("accuracy_per_joule", row.accuracy_per_joule),
        ("ipw", row.ipw),
        (
            "net_joules_per_correct_answer",
            row.net_joules_per_correct_answer,
        ),
        ("mean_watts", row.mean_watts),
        ("joules_per_prompt_token", row.joules_per_prompt_token),
        ("prefill_watts", row.prefill_watts),
        ("joules_per_output_token", row.joules_per_output_token),
        (
            "net_joules_per_output_token",
            row.net_joules_per_output_token,
        ),
        ("decode_watts", row.decode_watts),
        ("joules_per_request", row.joules_per_request),
        ("idle_loaded_watts", row.idle_loaded_watts),
        ("idle_unloaded_watts", row.idle_unloaded_watts),
    ]
}

#[test]
fn every_column_of_the_package_is_what_the_script_says() {
    let row = row(&fixtures::metered_package(1));
    assert_eq!(row.energy_scope.as_deref(), Some("cpu.pkg"));
    assert_eq!(row.energy_method.as_deref(), Some("loops"));
    // 2 s at 60 W over 4,000 prompt tokens.
    near(row.joules_per_prompt_token, 0.03);
    assert_eq!(row.joules_per_prompt_token_n, Some(4_000));
    // 4 s at 40 W, less 60 prompt tokens, over 4,000 tokens after each request's first.
    let per_output = (160.0 - 60.0 * 0.03) / 4_000.0;
    near(row.joules_per_output_token, per_output);
    assert_eq!(row.joules_per_output_token_n, Some(4_000));
    near(
        row.net_joules_per_output_token,
        (160.0 - 60.0 * 0.03 - 20.0 * 4.0) / 4_000.0,
    );
    // 2 s at 44.5 W over 80 requests.
    near(row.joules_per_request, 89.0 / 80.0);
    assert_eq!(row.joules_per_request_n, Some(80));
    for (watts, expected) in [
        (row.prefill_watts, 60.0),
        (row.decode_watts, 40.0),
        (row.idle_loaded_watts, 20.0),
        (row.idle_unloaded_watts, 16.0),
        (row.mean_watts, 50.0),
    ] {
        near(watts, expected);
    }
    // 105 questions of 20 ms at 50 W, of which 84 are right.
    let per_correct = 105.0 * 0.02 * 50.0 / 84.0;
    near(row.joules_per_correct_answer, per_correct);
    near(row.accuracy_per_joule, 1.0 / per_correct);
    near(row.ipw, 84.0 / 105.0 / 50.0);
    near(row.net_joules_per_correct_answer, per_correct * 30.0 / 50.0);
    assert_eq!(row.energy_reason, None);
    assert_eq!(
        (row.prefill_energy_reason, row.decode_energy_reason),
        (None, None)
    );
    assert_eq!(row.energy_update_ms, Some(1.0));
    assert!(row.energy_ticks.is_some_and(|ticks| ticks >= 10.0));
    near(row.energy_accuracy, 0.05);
    assert!(
        row.energy_closure
            .is_some_and(|ratio| (ratio - 1.0).abs() < CLOSURE_LIMIT)
    );
    near(row.sampler_share, 4.0 / 13_000.0);
    assert_eq!(row.battery_hours, None);
    assert_eq!(row.flags, "public-seed");
}

#[test]
fn intervals_hold_their_figures_and_turn_with_the_reciprocal() {
    let row = row(&fixtures::metered_package(1));
    for figure in [
        row.joules_per_correct(),
        row.accuracy_per_joule(),
        row.ipw(),
        row.net_joules_per_correct(),
        row.joules_per_prompt_token(),
        row.joules_per_output_token(),
        row.net_joules_per_output_token(),
        row.joules_per_request(),
    ] {
        let figure = figure.expect("measured");
        let (low, high) = figure.ci95.expect("resolved");
        assert!(
            0.0 < low && low <= figure.value && figure.value <= high,
            "{figure:?}"
        );
    }
    let (low, high) = row
        .joules_per_correct()
        .and_then(|f| f.ci95)
        .expect("resolved");
    near(row.accuracy_per_joule_ci95_low, 1.0 / high);
    near(row.accuracy_per_joule_ci95_high, 1.0 / low);
}

#[test]
fn two_scopes_stand_side_by_side_and_change_nothing_of_each_other() {
    let both = published(&[fixtures::metered(1)]);
    let alone = published(&[fixtures::metered_package(1)]);
    assert_eq!(both.row.energy_scope.as_deref(), Some("wall.ac"));
    near(both.row.decode_watts, 60.0);
    let idle = both.row.idle_loaded_watts.expect("measured");
    assert!(
        (idle / 35.0 - 1.0).abs() < 0.01,
        "half a sample of work at its edge: {idle}"
    );
    let scopes: Vec<_> = both
        .energies
        .iter()
        .map(|energy| {
            (
                energy.scope.as_str(),
                energy.is_headline,
                energy.holds_the_work,
            )
        })
        .collect();
    assert_eq!(scopes, [("wall.ac", true, true), ("cpu.pkg", false, true)]);
    assert_eq!(both.energies[0].row, both.row);
    let package = both.at_scope("cpu.pkg").expect("measured");
    assert_eq!(joule_columns(&package.row), joule_columns(&alone.row));
    let detail = both.detail("v");
    assert_eq!(detail.energies.len(), 2);
    assert_eq!(
        detail.energies[1].joules_per_output_token,
        alone.row.joules_per_output_token
    );
    assert!(
        detail.energies[1]
            .meters
            .starts_with("powercap package-0 (cpu.pkg, energy counter")
    );
    assert_eq!(detail.energies[1].reason, None);
}

#[test]
fn power_over_time_is_thin_and_follows_the_script() {
    let detail = published(&[fixtures::metered(1)]).detail("v");
    assert_eq!(detail.power.len(), 2);
    for series in &detail.power {
        assert!(
            (20..=400).contains(&series.points.len()),
            "{}",
            series.points.len()
        );
        assert!(series.points.is_sorted_by(|a, b| a.0 < b.0));
        let phases: Vec<_> = series.phases.iter().map(|phase| phase.0.as_str()).collect();
        assert_eq!(
            phases,
            [
                "quality",
                "idle_unloaded",
                "idle_loaded",
                "prefill_loop",
                "decode_loop",
                "mixed_loop"
            ]
        );
    }
    let package = &detail.power[0];
    let decoding = package
        .points
        .iter()
        .filter(|point| (8.0..10.5).contains(&point.0));
    for (_, watts) in decoding {
        near(Some(*watts), 40.0);
    }
}

/// A change that spoils a record, and what its joules must then say.
type Spoils = fn(&mut Record);

fn package_of(record: &mut Record) -> &mut MeterTrace {
    &mut record.meters[0]
}

/// The package's first reading at or after a second.
fn place(record: &Record, second: f64) -> usize {
    let at_ns = (1e9 * second) as u64;
    record.meters[0].t_ns.partition_point(|at| *at < at_ns)
}

/// Keeps the readings that `stays` knows by their second.
fn keep(record: &mut Record, stays: impl Fn(f64) -> bool) {
    let trace = package_of(record);
    let kept: Vec<usize> = (0..trace.t_ns.len())
        .filter(|index| stays(trace.t_ns[*index] as f64 / 1e9))
        .collect();
    trace.t_ns = kept.iter().map(|index| trace.t_ns[*index]).collect();
    trace.v = kept.iter().map(|index| trace.v[*index]).collect();
    trace.latency_ns.truncate(trace.t_ns.len());
}

/// Readings that are not there, or are nonsense.
fn broken_readings() -> Vec<(&'static str, Spoils)> {
    vec![
        ("an empty trace", |r| keep(r, |_| false)),
        ("one reading", |r| keep(r, |at| at < 5e-4)),
        ("two readings", |r| keep(r, |at| at < 1.2e-3)),
        ("none of the questions", |r| keep(r, |at| at > 2.9)),
        ("none of the loops", |r| keep(r, |at| at < 4.9)),
        ("none since the decode loop's middle", |r| {
            keep(r, |at| at < 9.0);
        }),
        ("a hole in the questions", |r| {
            keep(r, |at| !(1.0..2.0).contains(&at));
        }),
        ("fewer values than times", |r| {
            package_of(r).v.truncate(3_000);
        }),
        ("fewer times than values", |r| {
            package_of(r).t_ns.truncate(3_000);
        }),
        ("times that run backward", |r| package_of(r).t_ns.reverse()),
        ("frozen from the start", |r| package_of(r).v.fill(7_000_000)),
        ("nothing but zeros", |r| package_of(r).v.fill(0)),
        ("nothing but the largest number", |r| {
            package_of(r).v.fill(u64::MAX);
        }),
        ("frozen in the decode loop", |r| {
            let from = place(r, 8.0);
            let last = package_of(r).v[from];
            package_of(r).v[from..].fill(last);
        }),
        ("reset in the prefill loop", |r| {
            let from = place(r, 6.0);
            let last = package_of(r).v[from];
            package_of(r).v[from..].iter_mut().for_each(|v| *v -= last);
        }),
        ("one reading of the largest number", |r| {
            let at = place(r, 1.5);
            package_of(r).v[at] = u64::MAX;
        }),
        ("one reading of zero", |r| {
            let at = place(r, 12.0);
            package_of(r).v[at] = 0;
        }),
    ]
}

/// Meters that are there and tell nothing of the work.
fn useless_meters() -> Vec<(&'static str, Spoils)> {
    vec![
        ("no meter", |r| r.meters.clear()),
        ("a vendor's model", |r| {
            package_of(r).kind = MeterKind::Model;
        }),
        ("not used", |r| package_of(r).used = false),
        ("another host's", |r| package_of(r).host = 1),
        ("a second host without a meter", |r| {
            let mut second = r.hosts[0].clone();
            second.host = 1;
            r.hosts.push(second);
        }),
        ("a card that no meter sees", |r| {
            r.hosts[0].gpus.push(card());
        }),
        ("too slow a counter", |r| {
            package_of(r).update_ns = Some(3_000_000_000);
        }),
        ("a claim of nothing", |r| claimed(r, &[])),
        ("a claim of a meter that is not there", |r| claimed(r, &[9])),
        ("a claim of a meter twice", |r| claimed(r, &[0, 0])),
        ("unavailable", |r| {
            r.energy = EnergyClaim::Unavailable(UnavailableEnergy {
                reason: UnavailableReason::Permission,
                detail: Name::cleaned("root only"),
            });
        }),
        ("estimated", |r| {
            r.energy = EnergyClaim::Estimated(EstimatedEnergy {
                basis: Name::cleaned("rated power"),
                mean_mw: 65_000,
            });
        }),
    ]
}

/// Work that was not done, or not counted.
fn missing_work() -> Vec<(&'static str, Spoils)> {
    fn without(record: &mut Record, kind: PhaseKind) {
        record.phases.retain(|phase| phase.phase != kind);
    }
    vec![
        ("no phases", |r| r.phases.clear()),
        ("no prefill loop", |r| without(r, PhaseKind::PrefillLoop)),
        ("no decode loop", |r| without(r, PhaseKind::DecodeLoop)),
        ("no real requests", |r| without(r, PhaseKind::MixedLoop)),
        ("no idling", |r| without(r, PhaseKind::IdleLoaded)),
        ("no tokens", |r| {
            for phase in &mut r.phases {
                (phase.tokens_in, phase.tokens_out) = (0, 0);
            }
        }),
        ("no answers", |r| r.quality = None),
    ]
}

/// Whatever is taken from a good record, or broken in it, the figures that rested on it are gone,
/// with a reason, and the others are what they were: nothing missing becomes a number.
#[test]
fn no_missing_reading_becomes_a_published_number() {
    let honest = fixtures::metered_package(1);
    let good = joule_columns(&row(&honest));
    assert!(good.iter().all(|(_, value)| value.is_some()), "{good:?}");
    let spoils = [broken_readings(), useless_meters(), missing_work()].concat();
    for (name, spoil) in spoils {
        let mut record = honest.clone();
        spoil(&mut record);
        let row = row(&record);
        let columns = joule_columns(&row);
        assert!(
            columns.iter().any(|(_, value)| value.is_none()),
            "{name}: {columns:?}"
        );
        for ((column, value), (_, before)) in columns.iter().zip(&good) {
            let before = before.expect("checked above");
            let same = value.is_none_or(|value| (value / before - 1.0).abs() < 0.02);
            assert!(same, "{name}: {column} is {value:?}, was {before}");
        }
        let energy = row.energy_reason.as_ref();
        let has_reason = |value: Option<f64>, own: Option<&String>| {
            value.is_some() || own.or(energy).is_some_and(|reason| !reason.is_empty())
        };
        let prefill = row.prefill_energy_reason.as_ref();
        let decode = row.decode_energy_reason.as_ref();
        assert!(
            has_reason(row.joules_per_correct_answer, None)
                && has_reason(row.joules_per_prompt_token, prefill)
                && has_reason(row.joules_per_output_token, decode),
            "{name}: {row:?}"
        );
    }
}

fn card() -> Gpu {
    Gpu {
        gpu: 0,
        name: Name::cleaned("A card"),
        driver: None,
        memory_bytes: None,
        power_limit_mw: None,
        uuid_hash: None,
        used: true,
    }
}

/// Claims these meters, of the package.
fn claimed(record: &mut Record, meters: &[u32]) {
    claim(record, &[Scope::CpuPkg], meters);
}

fn claim(record: &mut Record, scopes: &[Scope], meters: &[u32]) {
    let EnergyClaim::Measured(MeasuredEnergy { method, .. }) = record.energy else {
        panic!("the fixture is measured")
    };
    record.energy = EnergyClaim::Measured(MeasuredEnergy {
        scope: ScopeKey::of(scopes).expect("a legal key"),
        meters: meters.to_vec(),
        method,
    });
}

#[test]
fn a_claim_that_lies_about_its_meters_yields_no_joules_at_any_scope() {
    let lies: Vec<(&str, Spoils)> = vec![
        ("a second reader of the package added", |r| {
            let mut twin = r.meters[0].clone();
            twin.meter = Name::cleaned("perf");
            r.meters.push(twin);
            claim(r, &[Scope::CpuPkg], &[0, 2]);
        }),
        ("the plug's joules under the package's name", |r| {
            claim(r, &[Scope::CpuPkg], &[1]);
        }),
        ("the package's joules under the plug's name", |r| {
            claim(r, &[Scope::WallAc], &[0]);
        }),
        ("both added", |r| claim(r, &[Scope::WallAc], &[0, 1])),
        ("a sum without its card", |r| {
            claim(r, &[Scope::CpuPkg, Scope::GpuBoard], &[0]);
        }),
        ("a part for the whole", |r| {
            r.meters[0].scope = Scope::CpuCore;
            claim(r, &[Scope::CpuCore], &[0]);
        }),
        ("a package for a card's work", |r| {
            r.hosts[0].gpus.push(card());
            r.hosts[0].unified = Some(false);
            claim(r, &[Scope::CpuPkg], &[0]);
        }),
    ];
    for (name, lie) in lies {
        let mut record = fixtures::metered(1);
        lie(&mut record);
        let result = published(&[record]);
        let columns = joule_columns(&result.row);
        assert!(
            columns.iter().all(|(_, value)| value.is_none()),
            "{name}: {columns:?}"
        );
        assert_eq!(result.energies, [], "{name}");
        assert!(result.row.energy_reason.is_some(), "{name}");
        assert_eq!(result.row.energy_scope, None, "{name}");
    }
}

/// The record with readings of the machine's condition at each phase's edges.
fn in_context(mut record: Record, change: impl Fn(&mut Context, f64)) -> Record {
    let edges: Vec<u64> = record
        .phases
        .iter()
        .flat_map(|phase| [phase.start_ns, phase.end_ns])
        .collect();
    record.context = edges
        .into_iter()
        .map(|at_ns| {
            let mut context: Context = serde_json::from_value(serde_json::json!({
                "at_ns": at_ns, "host": 0, "power_source": "mains", "power_mode": null,
                "governor": null, "thermal_level": null, "temp_mc": null, "clock_mhz": 3_000,
                "power_limit_mw": null, "pstate": null, "throttle_reasons": [],
                "throttle_ns": 0, "foreign_gpu_processes": 0, "load_ppm": null,
                "pressure_ppm": null, "swap_bytes": null, "driver": null, "firmware": null,
            }))
            .expect("a context");
            change(&mut context, at_ns as f64 / 1e9);
            context
        })
        .collect();
    record
}

#[test]
fn joules_of_something_else_than_the_work_are_void_at_every_scope() {
    type Change<'a> = &'a dyn Fn(&mut Context, f64);
    let reasons = |context: &mut Context, reason: &str| {
        context.throttle_reasons = Some(vec![Name::cleaned(reason)]);
    };
    let quiet = published(&[in_context(fixtures::metered(1), |_, _| {})]);
    assert!(quiet.row.joules_per_correct_answer.is_some());
    assert_eq!(quiet.row.flags, "public-seed");
    let voids: [(&str, Change); 4] = [
        (
            "the power source changed from mains to battery",
            &|context, at| {
                if at > 8.0 {
                    context.power_source = Some(Name::cleaned("battery"));
                }
            },
        ),
        (
            "a power brake or hardware slowdown held ",
            &|context, at| {
                if (7.0..8.0).contains(&at) {
                    reasons(context, "hw-power-brake");
                }
            },
        ),
        (
            "a power brake or hardware slowdown held ",
            &|context, at| {
                if (7.0..8.0).contains(&at) {
                    reasons(context, "hw-slowdown");
                }
            },
        ),
        (
            "2 other processes used the graphics processor",
            &|context, at| {
                if at > 8.0 {
                    context.foreign_gpu_processes = Some(2);
                }
            },
        ),
    ];
    for (words, change) in voids {
        let result = published(&[in_context(fixtures::metered(1), change)]);
        let reason = result.row.energy_reason.clone().unwrap_or_default();
        assert!(reason.starts_with(words), "{reason}");
        assert!(
            joule_columns(&result.row)
                .iter()
                .all(|(_, value)| value.is_none())
        );
        for energy in &result.energies {
            assert_eq!(energy.row.joules_per_correct_answer, None, "{words}");
        }
        assert!(
            result.row.decode_tokens_per_second.is_some(),
            "speeds stand"
        );
    }
    let mut sliced = fixtures::metered(1);
    sliced.hosts[0].gpus.push(card());
    sliced.hosts[0].gpus[0].name = Name::cleaned("NVIDIA A100-SXM4-40GB MIG 1g.5gb");
    let reason = row(&sliced).energy_reason.unwrap_or_default();
    assert!(reason.contains("MIG"), "{reason}");
}

#[test]
fn what_a_reader_should_beware_of_is_flagged_and_said() {
    let flags = |record: &Record| {
        let row = row(record);
        (row.flags, row.noise_reason.unwrap_or_default())
    };
    let mut open = fixtures::metered_package(1);
    for phase in &mut open.phases {
        if phase.phase == PhaseKind::MixedLoop {
            (phase.tokens_in, phase.tokens_out) = (512, 544);
        }
    }
    let (raised, words) = flags(&open);
    assert_eq!(raised, "public-seed not-closed");
    assert!(words.starts_with("real requests took 0.49"), "{words}");
    assert!(
        row(&open).joules_per_output_token.is_some(),
        "it stays on the page"
    );
    let mut costly = fixtures::metered_package(1);
    costly.sampler = Some(SamplerCost {
        cpu_ns: 100_000_000,
        span_ns: 10_000_000_000,
        reads: 1,
    });
    assert_eq!(
        flags(&costly),
        (
            "public-seed sampler-cost".to_owned(),
            "reading the meters took 1 % of a core".to_owned()
        )
    );
    let limited = in_context(fixtures::metered_package(1), |context, _| {
        context.throttle_reasons = Some(vec![Name::cleaned("gpu-power-cap")]);
    });
    assert!(flags(&limited).0.contains("power-limited"));
    let hot = in_context(fixtures::metered_package(1), |context, at| {
        if (7.0..8.0).contains(&at) {
            let reasons = ["hw-slowdown", "hw-thermal-slowdown"];
            context.throttle_reasons = Some(reasons.map(Name::cleaned).into());
        }
    });
    assert!(flags(&hot).0.contains("throttled"));
    assert!(
        row(&hot).joules_per_output_token.is_some(),
        "heat is no void"
    );
    let slowing = in_context(fixtures::metered_package(1), |context, at| {
        context.clock_mhz = Some(3_000 - (20.0 * at) as u64);
    });
    let (raised, words) = flags(&slowing);
    assert!(
        raised.contains("not-steady") && words.contains("the clock changed by -"),
        "{words}"
    );
}

#[test]
fn joules_that_rise_with_the_heat_are_not_thermally_stable() {
    let heating = |share_per_second: f64| {
        let mut record = fixtures::metered_package(1);
        let trace = package_of(&mut record);
        let (mut grown, mut last) = (0.0, trace.v[0]);
        for index in 0..trace.v.len() {
            let at = trace.t_ns[index] as f64 / 1e9;
            let step = (trace.v[index] - last) as f64;
            last = trace.v[index];
            grown += step * (1.0 + share_per_second * (at - 7.0).clamp(0.0, 4.0));
            trace.v[index] = 5_000_000 + grown as u64;
        }
        row(&record).flags
    };
    assert_eq!(heating(0.0), "public-seed");
    assert!(
        heating(0.05).contains("not-thermally-stable"),
        "{}",
        heating(0.05)
    );
    assert!(heating(0.05).contains("unstable"));
}

#[test]
fn several_records_widen_the_interval_by_what_lies_between_them() {
    let scaled = |factor: f64, number| {
        let mut record = fixtures::metered_package(number);
        record.meters[0] = fixtures::package(&|watts| factor * watts);
        record
    };
    let alone = row(&scaled(1.0, 1));
    let three = published(&[scaled(1.0, 1), scaled(1.1, 2), scaled(0.9, 3)]).row;
    near(
        three.joules_per_output_token,
        alone.joules_per_output_token.expect("measured"),
    );
    assert_eq!(three.joules_per_output_token_n, Some(12_000));
    let width = |row: &ResultRow| {
        let (low, high) = row
            .joules_per_output_token()
            .and_then(|f| f.ci95)
            .expect("resolved");
        (high - low) / row.joules_per_output_token.expect("measured")
    };
    assert!(width(&alone) < 0.02, "{}", width(&alone));
    assert!(width(&three) > 0.15, "{}", width(&three));
}

#[test]
fn a_battery_lasts_as_long_as_its_joules() {
    let mut record = fixtures::metered_package(1);
    record.meters[0].scope = Scope::Battery;
    claim(&mut record, &[Scope::Battery], &[0]);
    assert_eq!(
        row(&record).battery_hours,
        None,
        "nobody said what it holds"
    );
    record.hosts[0].battery_full_uwh = Some(60_000_000);
    near(row(&record).battery_hours, 60.0 / 40.0);
}

/// The package's power by a second reader of the same device, `factor` times the counter's.
fn read_twice(factor: f64) -> Record {
    let mut record = fixtures::metered_package(1);
    let counter = &record.meters[0];
    let (mut times, mut watts) = (Vec::new(), Vec::new());
    for pair in 1..counter.t_ns.len() {
        let ns = counter.t_ns[pair] - counter.t_ns[pair - 1];
        let used = (counter.v[pair] - counter.v[pair - 1]) as f64;
        times.push(counter.t_ns[pair] - ns / 2);
        // Micro-joules in so many nanoseconds, in micro-watts, with a ripple that is not stale.
        watts.push((factor * used / (ns as f64 / 1e9)) as u64 + pair as u64 % 2);
    }
    let second = MeterTrace {
        meter: Name::cleaned("another reader"),
        kind: MeterKind::Power,
        averaging: domain::record::Averaging::Instant,
        latency_ns: vec![2_000; times.len()],
        t_ns: times,
        v: watts,
        ..counter.clone()
    };
    record.meters.push(second);
    record
}

#[test]
fn two_readers_of_one_device_must_agree() {
    let alone = row(&fixtures::metered_package(1));
    let agreeing = row(&read_twice(1.0));
    assert_eq!(joule_columns(&agreeing), joule_columns(&alone));
    assert_eq!(agreeing.flags, "public-seed");
    let warned = row(&read_twice(0.9));
    assert_eq!(joule_columns(&warned), joule_columns(&alone));
    assert_eq!(warned.flags, "public-seed counter-disagrees");
    let void = row(&read_twice(0.5));
    assert!(
        joule_columns(&void)
            .iter()
            .all(|(_, value)| value.is_none())
    );
    let reason = void.energy_reason.unwrap_or_default();
    assert!(
        reason.starts_with("the counter of package-0 says 2 times what its power comes to"),
        "{reason}"
    );
}
