//! Power over time, as a record's meters say it: for a picture, not for a figure.

use domain::api::PowerSeries;
use domain::energy::phases::leading_phases;
use domain::energy::{EnergyCurve, MIN_TICKS};
use domain::record::{MeterTrace, Phase, PhaseKind, Record};

/// Points of one series at most.
const MAX_POINTS: u64 = 400;

/// One series for each meter that can be integrated, with the record's phases.
pub(super) fn series(record: &Record) -> Vec<PowerSeries> {
    let phases = phases(record);
    record
        .meters
        .iter()
        .filter_map(|trace| {
            let points = points(trace)?;
            Some(PowerSeries {
                meter: format!("{} {}", trace.meter, trace.device),
                scope: trace.scope.to_string(),
                points,
                phases: phases.clone(),
            })
        })
        .collect()
}

/// Mean power of equal stretches that the meter resolves; a stretch whose readings are spoiled
/// has no point.
fn points(trace: &MeterTrace) -> Option<Vec<(f64, f64)>> {
    let curve = EnergyCurve::of(trace).ok()?;
    let (first, last) = (*trace.t_ns.first()?, *trace.t_ns.last()?);
    let span = last.checked_sub(first)?;
    let readings = trace.t_ns.len() as u64;
    let ticks = match trace.update_ns.filter(|period| *period > 0) {
        Some(period) => span / period,
        None => readings,
    };
    let stretches = (ticks / (2 * MIN_TICKS)).clamp(1, MAX_POINTS);
    let edge = |number: u64| {
        first + (u128::from(span) * u128::from(number) / u128::from(stretches)) as u64
    };
    let points = (0..stretches).filter_map(|number| {
        let (from, to) = (edge(number), edge(number + 1));
        let joules = curve.in_span(from, to).ok()?.joules.0;
        Some((to as f64 / 1e9, joules / ((to - from) as f64 / 1e9)))
    });
    let points: Vec<(f64, f64)> = points.collect();
    (!points.is_empty()).then_some(points)
}

/// Phases in order; blocks of one kind that follow each other are one.
fn phases(record: &Record) -> Vec<(String, f64, f64)> {
    let mut own: Vec<&Phase> = leading_phases(record).collect();
    own.sort_by_key(|phase| phase.start_ns);
    let mut merged: Vec<(String, f64, f64)> = Vec::new();
    for phase in own {
        let (start, end) = (phase.start_ns as f64 / 1e9, phase.end_ns as f64 / 1e9);
        match merged.last_mut() {
            Some(last) if last.0 == word(phase.phase) => last.2 = last.2.max(end),
            _ => merged.push((word(phase.phase).to_owned(), start, end)),
        }
    }
    merged
}

/// The word of a phase, as in records.
fn word(phase: PhaseKind) -> &'static str {
    match phase {
        PhaseKind::Load => "load",
        PhaseKind::IdleUnloaded => "idle_unloaded",
        PhaseKind::IdleLoaded => "idle_loaded",
        PhaseKind::Warmup => "warmup",
        PhaseKind::PrefillLoop => "prefill_loop",
        PhaseKind::DecodeLoop => "decode_loop",
        PhaseKind::MixedLoop => "mixed_loop",
        PhaseKind::Quality => "quality",
    }
}
