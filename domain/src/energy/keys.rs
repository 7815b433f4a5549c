//! Which figures a set of meters gives: every scope key that is covered on every host, the
//! headline first.
//!
//! The headline is the first key, in the order of the table below, that is known to contain all
//! that did the work: every graphics processor that was used, the processor if none was. Modelled
//! power is never a measurement. Meters of one scope on one host are added only where they are
//! different devices; a second reader of the same device is left out of the sum and serves as a
//! check.

use crate::record::{Host, MeterKind, MeterTrace};
use crate::scope::{Scope, ScopeKey};

/// Every key that is published, in the order in which a headline is chosen.
const ORDER: [&[Scope]; 14] = [
    &[Scope::WallAc],
    &[Scope::Battery],
    &[Scope::SystemDc],
    &[Scope::PlatformPsys],
    &[Scope::Module],
    &[Scope::SocPkg],
    &[Scope::CpuDram, Scope::CpuPkg, Scope::GpuBoard],
    &[Scope::CpuPkg, Scope::GpuBoard],
    &[Scope::CpuPkg],
    &[Scope::GpuBoard],
    &[Scope::GpuRail],
    &[Scope::CpuCore],
    &[Scope::CpuUncore],
    &[Scope::CpuDram],
];

/// What is known of a meter before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat<'a> {
    /// Host that it is on.
    pub host: u32,
    /// Kind of source, such as `powercap`.
    pub meter: &'a str,
    /// Device.
    pub device: &'a str,
    /// What it covers.
    pub scope: Scope,
    /// What it reports.
    pub kind: MeterKind,
    /// The engine used what it covers.
    pub used: bool,
    /// Its update period, where one is known.
    pub update_ns: Option<u64>,
}

impl<'a> From<&'a MeterTrace> for Seat<'a> {
    fn from(trace: &'a MeterTrace) -> Self {
        Self {
            host: trace.host,
            meter: trace.meter.as_str(),
            device: trace.device.as_str(),
            scope: trace.scope,
            kind: trace.kind,
            used: trace.used,
            update_ns: trace.update_ns,
        }
    }
}

/// A key, the meters whose joules are added under it, and whether it holds all that worked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyMeters {
    /// What the sum covers.
    pub scope: ScopeKey,
    /// Indices into the seats.
    pub meters: Vec<u32>,
    /// It is known to contain every graphics processor that was used, the processor if none was.
    pub holds_the_work: bool,
}

/// Every key that is covered on all `hosts`, those that hold the work first: the first of them, if
/// it holds the work, is the headline.
pub fn keys(seats: &[Seat<'_>], hosts: &[Host]) -> Vec<KeyMeters> {
    let mut found: Vec<KeyMeters> = ORDER
        .into_iter()
        .filter_map(|scopes| {
            let mut meters = Vec::new();
            for host in hosts {
                for scope in scopes {
                    let chosen = of_scope(seats, host.host, *scope);
                    if chosen.is_empty() {
                        return None;
                    }
                    meters.extend(chosen);
                }
            }
            meters.sort_unstable();
            // A host that is listed twice does not count twice.
            meters.dedup();
            let holds = |host: &Host| holds_the_work(scopes, seats, host);
            Some(KeyMeters {
                scope: ScopeKey::of(scopes).ok().filter(|_| !meters.is_empty())?,
                meters,
                holds_the_work: hosts.iter().all(holds),
            })
        })
        .collect();
    // Stable: within both halves the table's order stays.
    found.sort_by_key(|key| !key.holds_the_work);
    found
}

/// A counter whose steps are this many times rarer than its device's power samples is a check on
/// them, not the other way round: a plug's total in steps of minutes.
const RARER: u64 = 5;

/// The meters of one scope on one host that are added: one per device, counters before power, all
/// from one source unless they are graphics cards, which different vendors' sources report.
fn of_scope(seats: &[Seat<'_>], host: u32, scope: Scope) -> Vec<u32> {
    let fits = |seat: &Seat<'_>| {
        (seat.host, seat.scope) == (host, scope) && seat.used && seat.kind != MeterKind::Model
    };
    let mut candidates: Vec<(u32, &Seat<'_>)> =
        (0..).zip(seats).filter(|(_, seat)| fits(seat)).collect();
    // Stable, so that of equals the first that was found stands.
    candidates.sort_by_key(|(_, seat)| (is_coarse(seat, seats), seat.kind != MeterKind::Counter));
    let source = candidates.first().map(|(_, seat)| seat.meter);
    let mut taken: Vec<&Seat<'_>> = Vec::new();
    let mut chosen = Vec::new();
    for (index, seat) in candidates {
        let another_source = Some(seat.meter) != source && scope != Scope::GpuBoard;
        let same = |other: &&Seat<'_>| (other.meter, other.device) == (seat.meter, seat.device);
        if !another_source && !taken.iter().any(same) {
            taken.push(seat);
            chosen.push(index);
        }
    }
    chosen
}

/// A counter that its own device's power samples outdo.
fn is_coarse(seat: &Seat<'_>, seats: &[Seat<'_>]) -> bool {
    let sampled = seats.iter().filter(|other| {
        other.kind == MeterKind::Power
            && (other.host, other.scope, other.meter, other.device)
                == (seat.host, seat.scope, seat.meter, seat.device)
    });
    let outdone = |power: &Seat<'_>| match (seat.update_ns, power.update_ns) {
        (None, _) => true,
        (Some(steps), Some(samples)) => steps > samples.saturating_mul(RARER),
        (Some(_), None) => false,
    };
    seat.kind == MeterKind::Counter && sampled.into_iter().any(outdone)
}

fn holds_the_work(scopes: &[Scope], seats: &[Seat<'_>], host: &Host) -> bool {
    let used = host.gpus.iter().filter(|gpu| gpu.used).count();
    let wide = |scope: &Scope| scope.contains(Scope::CpuPkg);
    if used == 0 {
        // A card that nobody lists, but a meter reads and the engine may have used: only what
        // holds the whole machine is known to hold it.
        let unlisted = !of_scope(seats, host.host, Scope::GpuBoard).is_empty();
        let whole = |scope: &Scope| scope.contains(Scope::GpuBoard) && wide(scope);
        return scopes
            .iter()
            .any(|scope| if unlisted { whole(scope) } else { wide(scope) })
            && !scopes.contains(&Scope::GpuBoard);
    }
    let boards = of_scope(seats, host.host, Scope::GpuBoard).len();
    let holds_gpus = |scope: &Scope| match scope {
        Scope::WallAc | Scope::Battery | Scope::SystemDc | Scope::Module => true,
        // Every card that was used has a meter of its own.
        Scope::GpuBoard => boards == used,
        // One memory for both is the mark of a graphics processor inside the package.
        Scope::PlatformPsys | Scope::SocPkg | Scope::CpuPkg | Scope::GpuRail => {
            host.unified == Some(true)
        }
        _ => false,
    };
    scopes.iter().any(holds_gpus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Sha256Digest;
    use crate::record::Gpu;
    use crate::text::Name;

    fn host(number: u32, used_gpus: u32, unified: bool) -> Host {
        let gpu = |gpu| Gpu {
            gpu,
            name: Name::cleaned("card"),
            driver: None,
            memory_bytes: None,
            power_limit_mw: None,
            uuid_hash: None,
            used: true,
        };
        Host {
            host: number,
            profile: None,
            fingerprint: Sha256Digest([0; 32]),
            os: Name::cleaned("linux"),
            os_version: None,
            kernel: None,
            chip: None,
            cpu_cores: 1,
            memory_bytes: None,
            unified: Some(unified),
            is_virtual: None,
            container: None,
            bandwidth_probe_bytes_s: None,
            bandwidth_curve: Vec::new(),
            compute_probe_flop_s: None,
            battery_full_uwh: None,
            gpus: (0..used_gpus).map(gpu).collect(),
        }
    }

    fn seat(meter: &'static str, device: &'static str, scope: Scope) -> Seat<'static> {
        Seat {
            host: 0,
            meter,
            device,
            scope,
            kind: MeterKind::Counter,
            used: true,
            update_ns: Some(1_000_000),
        }
    }

    fn found(seats: &[Seat<'_>], host: Host) -> Vec<(String, Vec<u32>, bool)> {
        keys(seats, &[host])
            .into_iter()
            .map(|key| (key.scope.to_string(), key.meters, key.holds_the_work))
            .collect()
    }

    fn key(name: &str, meters: &[u32], holds: bool) -> (String, Vec<u32>, bool) {
        (name.to_owned(), meters.to_vec(), holds)
    }

    #[test]
    fn a_processor_is_held_by_its_packages_and_its_parts_stand_beside() {
        let seats = [
            seat("powercap", "package-0/core", Scope::CpuCore),
            seat("powercap", "package-0", Scope::CpuPkg),
            seat("powercap", "package-1", Scope::CpuPkg),
        ];
        assert_eq!(
            found(&seats, host(0, 0, false)),
            [key("cpu.pkg", &[1, 2], true), key("cpu.core", &[0], false)]
        );
    }

    #[test]
    fn a_second_reader_of_a_device_is_never_added() {
        let power = Seat {
            kind: MeterKind::Power,
            ..seat("nvml", "gpu-0", Scope::GpuBoard)
        };
        let seats = [
            seat("powercap", "package-0", Scope::CpuPkg),
            seat("perf", "package-0", Scope::CpuPkg),
            power,
            seat("nvml", "gpu-0", Scope::GpuBoard),
        ];
        assert_eq!(
            found(&seats, host(0, 1, false)),
            [
                key("cpu.pkg+gpu.board", &[0, 3], true),
                key("gpu.board", &[3], true),
                key("cpu.pkg", &[0], false),
            ]
        );
    }

    #[test]
    fn a_plug_is_read_by_its_power_and_checked_by_its_coarse_total() {
        let total = Seat {
            update_ns: None,
            ..seat("shelly", "plug", Scope::WallAc)
        };
        let power = Seat {
            kind: MeterKind::Power,
            update_ns: Some(1_000_000_000),
            ..total
        };
        let here = || host(0, 0, false);
        assert_eq!(found(&[total, power], here()), [key("wall.ac", &[1], true)]);
        let minutes = Seat {
            update_ns: Some(60_000_000_000),
            ..total
        };
        assert_eq!(
            found(&[minutes, power], here()),
            [key("wall.ac", &[1], true)]
        );
        let fine = Seat {
            update_ns: Some(1_000_000_000),
            ..total
        };
        assert_eq!(found(&[power, fine], here()), [key("wall.ac", &[1], true)]);
    }

    #[test]
    fn a_card_without_a_meter_leaves_no_headline() {
        let seats = [seat("nvml", "gpu-0", Scope::GpuBoard)];
        let of = |gpus| found(&seats, host(0, gpus, false));
        assert_eq!(of(2), [key("gpu.board", &[0], false)]);
        // Nobody lists the card: the processor's package may not be all that worked.
        let both = [seats[0], seat("powercap", "package-0", Scope::CpuPkg)];
        let unlisted = found(&both, host(0, 0, false));
        assert!(unlisted.iter().all(|(_, _, holds)| !holds), "{unlisted:?}");
        assert_eq!(of(0), [key("gpu.board", &[0], false)]);
        assert_eq!(of(1), [key("gpu.board", &[0], true)]);
    }

    #[test]
    fn a_chip_with_a_graphics_part_is_held_by_what_holds_both() {
        let seats = [
            seat("nvml", "gpu-0", Scope::GpuRail),
            seat("hwmon", "spbm pkg", Scope::SocPkg),
        ];
        assert_eq!(
            found(&seats, host(0, 1, true)),
            [key("soc.pkg", &[1], true), key("gpu.rail", &[0], true)]
        );
        assert!(!found(&seats, host(0, 1, false))[0].2);
    }

    #[test]
    fn a_model_an_idle_neighbour_and_a_host_without_a_meter_give_nothing() {
        let modelled = Seat {
            kind: MeterKind::Model,
            ..seat("ioreport", "soc", Scope::SocModel)
        };
        let idle = Seat {
            used: false,
            ..seat("nvml", "gpu-1", Scope::GpuBoard)
        };
        assert_eq!(found(&[modelled, idle], host(0, 0, true)), []);
        let here = [seat("shelly", "plug", Scope::WallAc)];
        assert_eq!(keys(&here, &[host(0, 0, false), host(1, 0, false)]), []);
        let both = [here[0], Seat { host: 1, ..here[0] }];
        let total = keys(&both, &[host(0, 0, false), host(1, 0, false)]);
        assert_eq!(
            (total[0].scope.to_string(), &total[0].meters),
            ("wall.ac".to_owned(), &vec![0, 1])
        );
    }
}
