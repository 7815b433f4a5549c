//! Which traces are added, and that no other trace changes what they come to.

use super::*;
use crate::energy::script::{ENGINE, MS, measured};
use crate::record::{Gpu, MeterKind, MeterTrace};
use crate::scope::Scope;
use crate::text::Name;

/// What another reader is, and how it differs from the first.
type Twin = (&'static str, fn(&mut MeterTrace));

fn joules(record: &Record) -> Result<Joules, UnavailableReason> {
    let (first, last) = (&record.phases[1], record.phases.last().expect("phases"));
    ScopeMeters::of(record)?
        .in_span(first.start_ns, last.end_ns)
        .map(|energy| energy.joules)
}

/// The same trace as another source, device or scope would give it.
fn twin(record: &Record, change: impl FnOnce(&mut MeterTrace)) -> MeterTrace {
    let mut twin = record.meters[0].clone();
    change(&mut twin);
    twin
}

fn claim(record: &mut Record, scopes: &[Scope], meters: &[u32]) {
    let EnergyClaim::Measured(claim) = &mut record.energy else {
        panic!("measured")
    };
    claim.scope = ScopeKey::of(scopes).expect("a legal key");
    claim.meters = meters.to_vec();
}

#[test]
fn another_meter_changes_no_others_joules_and_nothing_is_counted_twice() {
    let alone = measured();
    let truth = joules(&alone).expect("measured");
    let others: [Twin; 6] = [
        ("perf reads the package too", |t| {
            t.meter = Name::cleaned("perf");
        }),
        ("an interface shows it twice", |_| {}),
        ("the platform holds it", |t| t.scope = Scope::PlatformPsys),
        ("the module holds it", |t| t.scope = Scope::Module),
        ("its cores are part of it", |t| t.scope = Scope::CpuCore),
        ("a power meter", |t| {
            t.kind = MeterKind::Power;
            t.meter = Name::cleaned("hwmon");
            t.device = Name::cleaned("socket");
            t.v =
                t.v.iter()
                    .enumerate()
                    .map(|(i, _)| 90_000_000 + i as u64)
                    .collect();
        }),
    ];
    for (what, change) in others {
        let mut record = alone.clone();
        record.meters.push(twin(&alone, change));
        assert_eq!(joules(&record), Ok(truth), "{what}");
        for (key, meters) in ScopeMeters::every(&record) {
            if key.scope.scopes() == [Scope::CpuPkg] {
                assert_eq!(key.meters, [0], "{what}");
                assert!(meters.is_ok());
            }
        }
        // Nor can a claim add it.
        claim(&mut record, &[Scope::CpuPkg], &[0, 1]);
        assert_eq!(
            joules(&record),
            Err(UnavailableReason::ScopeMismatch),
            "{what}"
        );
    }
    // Two packages are one sum, and one of them is none.
    let mut two = alone.clone();
    two.meters.push(twin(&alone, |trace| {
        trace.device = Name::cleaned("package-1");
    }));
    assert_eq!(joules(&two), Err(UnavailableReason::ScopeMismatch));
    claim(&mut two, &[Scope::CpuPkg], &[1, 0]);
    let both = joules(&two).expect("two packages").0;
    assert!((both / truth.0 - 2.0).abs() < 1e-9);
}

#[test]
fn a_claim_that_leaves_out_work_is_refused() {
    let mut record = measured();
    let gpu = Gpu {
        gpu: 0,
        name: Name::cleaned("card"),
        driver: None,
        memory_bytes: None,
        power_limit_mw: None,
        uuid_hash: None,
        used: true,
    };
    record.hosts[0].gpus.push(gpu);
    assert_eq!(joules(&record), Err(UnavailableReason::ScopeMismatch));
    let board = twin(&record, |trace| {
        trace.scope = Scope::GpuBoard;
        trace.device = Name::cleaned("gpu-0");
        trace.meter = Name::cleaned("nvml");
    });
    record.meters.push(board);
    claim(&mut record, &[Scope::CpuPkg, Scope::GpuBoard], &[0, 1]);
    assert!(joules(&record).is_ok());
    let named: Vec<String> = ScopeMeters::every(&record)
        .iter()
        .map(|(key, _)| format!("{} {}", key.scope, key.holds_the_work))
        .collect();
    assert_eq!(
        named,
        ["cpu.pkg+gpu.board true", "gpu.board true", "cpu.pkg false"]
    );
    // A second host without such a meter leaves no total.
    let mut second = record.hosts[0].clone();
    second.host = 1;
    record.hosts.push(second);
    assert_eq!(joules(&record), Err(UnavailableReason::ScopeMismatch));
    assert!(ScopeMeters::every(&record).is_empty());
    for index in 0..2 {
        let there = MeterTrace {
            host: 1,
            clock_error_ns: Some(2 * MS),
            ..record.meters[index].clone()
        };
        record.meters.push(there);
    }
    claim(
        &mut record,
        &[Scope::CpuPkg, Scope::GpuBoard],
        &[0, 1, 2, 3],
    );
    assert!(joules(&record).is_ok());
}

#[test]
fn a_far_hosts_clock_is_part_of_the_error() {
    let mut record = measured();
    let span = |record: &Record| {
        let meters = ScopeMeters::of(record).expect("measured");
        let (first, last) = (&record.phases[1], record.phases.last().expect("phases"));
        meters
            .in_span(first.start_ns, last.end_ns)
            .expect("resolved")
    };
    let near = span(&record);
    record.meters[0].clock_error_ns = Some(10 * MS);
    let far = span(&record);
    assert_eq!(near.joules, far.joules);
    // 10 ms of the load's mean power, or of that next to an edge.
    let watts = ENGINE.decode_watts..ENGINE.prefill_watts;
    assert!(watts.contains(&(far.clock.0 / 0.01)), "{far:?}");
    assert!((far.error.0 - near.error.0 - far.clock.0).abs() < 1e-9);
    assert_eq!(near.clock, Joules(0.0));
}
