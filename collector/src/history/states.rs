//! How far a change is proven: by the other tests of its day, by paired gates, by other machines,
//! and by what came after it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use domain::gate::Verdict;
use domain::gate::verdict::CellJudgement;
use domain::history::change::{SEGMENT, benjamini_hochberg};
use domain::history::{ChangeRow, ChangeState};
use domain::matrix::CANDLE;
use domain::record::{KvState, Workload};
use domain::statistics::median;

use super::Build;
use super::changes::{Candidate, Epoch, epochs};
use super::series::Gathered;
use crate::derive::{cell, quoted, rfc3339};
use crate::gates::{Asked, JudgedGate};

/// Share of one day's certified changes that may be false.
const FALSE_SHARE: f64 = 0.05;

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;

/// The practical zero: a change whose levels before and after are within this share went away, and a
/// machine that moved by less did not move.
const PRACTICAL_ZERO: f64 = 0.005;

/// Decides the state of every change; confirmed first, then by effect over noise.
pub(super) fn settle(
    gathered: &[Gathered<'_>],
    candidates: Vec<Candidate>,
    gates: &[Arc<JudgedGate>],
) -> Vec<ChangeRow> {
    let mut changes: Vec<Settled> = candidates.into_iter().map(Settled::of).collect();
    hold_to_the_day(gathered, &mut changes);
    ask_gates(gathered, &mut changes, gates);
    ask_other_machines(gathered, &mut changes);
    look_back(gathered, &mut changes);
    let mut rows: Vec<ChangeRow> = changes
        .iter()
        .map(|change| change.row(&gathered[change.found.series]))
        .collect();
    rows.sort_by(|a, b| {
        let size = |row: &ChangeRow| row.effect_over_noise.map_or(0.0, f64::abs);
        a.state
            .cmp(&b.state)
            .then_with(|| size(b).total_cmp(&size(a)))
            .then_with(|| a.id.cmp(&b.id))
    });
    // Two splits next to one border of builds are one change.
    let mut seen = BTreeSet::new();
    rows.retain(|row| seen.insert(row.id.clone()));
    rows
}

/// A change and what was made of it.
struct Settled {
    found: Candidate,
    /// Content ids of the gates of its two builds.
    gates: Vec<String>,
    /// When the gate came that decided.
    decided_ms: Option<i64>,
}

impl Settled {
    fn of(found: Candidate) -> Self {
        Self {
            found,
            gates: Vec::new(),
            decided_ms: None,
        }
    }

    fn is_code(&self) -> bool {
        self.found.state != ChangeState::Environment
    }

    fn row(&self, one: &Gathered<'_>) -> ChangeRow {
        let points = &one.series.points;
        let series = &one.series.row;
        let found = &self.found;
        let (good, bad) = found.builds(points);
        let first = &points[found.border.1];
        let group = group(one, found);
        // Where builds tell nothing, the first point after does.
        let which = if good == bad {
            first.record.to_string()
        } else {
            group.clone()
        };
        let is_open = matches!(found.state, ChangeState::Suspect | ChangeState::Certified);
        let untold = untellable(one).filter(|_| is_open).map(str::to_owned);
        let updated_ms = self.decided_ms.unwrap_or(points[found.newest].received_ms);
        ChangeRow {
            id: cell::short_digest(&[series.id.clone(), which]),
            group,
            series: series.clone(),
            state: found.state,
            note: found.note.clone().or(untold),
            is_regression: found.shift > 0.0,
            effect: found.shift.exp_m1(),
            effect_over_noise: found.noise.map(|noise| found.shift.abs() / noise),
            p: found.p,
            last_good: good.label(),
            first_bad: bad.label(),
            last_good_commit: good.commit().map(str::to_owned),
            first_bad_commit: bad.commit().map(str::to_owned),
            at: first.measured_at(),
            at_seconds: first.started_ms as f64 / 1e3,
            updated_at: rfc3339(updated_ms),
            points_before: found.before as u32,
            points_after: found.after as u32,
            paired_run: paired_run(one, found),
            gates: self.gates.clone(),
        }
    }
}

/// Names the changes of one engine between the same two builds.
fn group(one: &Gathered<'_>, found: &Candidate) -> String {
    let (good, bad) = found.builds(&one.series.points);
    cell::short_digest(&[one.series.row.engine.clone(), good.key(), bad.key()])
}

/// Many series are tested every day: of those that are certified on one day, a share at most may be
/// false (Benjamini-Hochberg over all series that had a point that day); the others stay suspects.
fn hold_to_the_day(gathered: &[Gathered<'_>], changes: &mut [Settled]) {
    let mut tested: BTreeMap<u64, usize> = BTreeMap::new();
    for one in gathered {
        let days = one
            .series
            .points
            .iter()
            .map(|point| point.started_ms / DAY_MS);
        for day in days.collect::<BTreeSet<u64>>() {
            *tested.entry(day).or_default() += 1;
        }
    }
    let mut days: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (place, change) in changes.iter().enumerate() {
        if change.found.state == ChangeState::Certified {
            let points = &gathered[change.found.series].series.points;
            let day = points[change.found.border.1].started_ms / DAY_MS;
            days.entry(day).or_default().push(place);
        }
    }
    for (day, places) in days {
        let mut p: Vec<f64> = places.iter().map(|at| changes[*at].found.p).collect();
        // A series in which nothing was certified has a p of at most 1.
        p.resize(tested[&day].max(places.len()), 1.0);
        let holds = benjamini_hochberg(&p, FALSE_SHARE);
        for (place, holds) in places.into_iter().zip(holds) {
            if !holds {
                let found = &mut changes[place].found;
                found.state = ChangeState::Suspect;
                found.note = Some(format!(
                    "certain by itself, but one of {} series of that day",
                    p.len()
                ));
            }
        }
    }
}

/// What a paired gate says about two builds.
struct Said<'a> {
    gate: &'a JudgedGate,
    cell: &'a CellJudgement,
}

/// The gates of a series' metric that decided, newest first.
fn said<'a>(one: &Gathered<'_>, gates: &HashMap<&str, Vec<&'a JudgedGate>>) -> Vec<Said<'a>> {
    let Some(metric) = one.metric.gated else {
        return Vec::new();
    };
    let row = &one.series.row;
    let asked = Asked {
        setup: &row.setup,
        key: &row.key_id,
        backend: &row.backend,
        variant: one.variant,
        workload: &one.facts.workload,
        speculation: one.facts.settings.speculation.method,
        metric,
        scope: row.energy_scope.as_deref(),
    };
    gates
        .get(row.setup.as_str())
        .into_iter()
        .flatten()
        .filter_map(|gate| {
            let cell = gate.answer(&asked)?;
            Some(Said { gate, cell })
        })
        .collect()
}

/// Whether the gate's arms are the builds on both sides.
fn is_pair(one: &Gathered<'_>, border: (usize, usize), said: &Said<'_>) -> bool {
    let points = &one.series.points;
    let builds = (&*points[border.0].build, &*points[border.1].build);
    said.gate.arms.are(&one.series.row.engine, builds)
}

/// The newest gate of both builds that says something of it confirms a change, or does not. A gate that found one
/// where no trend did yet is a change as well, if both builds were measured one after the other.
fn ask_gates(gathered: &[Gathered<'_>], changes: &mut Vec<Settled>, gates: &[Arc<JudgedGate>]) {
    let mut by_setup: HashMap<&str, Vec<&JudgedGate>> = HashMap::new();
    for gate in gates.iter().filter(|gate| gate.decides()) {
        by_setup.entry(&gate.row.setup).or_default().push(gate);
    }
    let mut own: Vec<Vec<usize>> = vec![Vec::new(); gathered.len()];
    for (place, change) in changes.iter().enumerate() {
        own[change.found.series].push(place);
    }
    for (series, one) in gathered.iter().enumerate() {
        let all = said(one, &by_setup);
        if all.is_empty() {
            continue;
        }
        for place in &own[series] {
            let change = &mut changes[*place];
            let border = change.found.border;
            let pairs = || all.iter().filter(|said| is_pair(one, border, said));
            change.gates = pairs()
                .map(|said| said.gate.row.content_id.clone())
                .collect();
            if change.is_code() {
                let shift = change.found.shift;
                let newest = pairs().find_map(|said| Some((said, reproduces(said.cell, shift)?)));
                if let Some((said, reproduced)) = newest {
                    decide(change, said, reproduced);
                }
            }
        }
        let known: BTreeSet<(usize, usize)> = own[series]
            .iter()
            .map(|at| changes[*at].found.border)
            .collect();
        for epoch in epochs(one) {
            changes.extend(by_gates_alone(series, one, &epoch, &all, &known));
        }
    }
}

/// Whether a gate saw a shift of a trend, a logarithm; `None` where it can neither say so nor exclude
/// it. PASS is about the tolerance, below which a change is one as well: what was shown to be worse
/// confirms it, and only an interval without it speaks against it.
pub(super) fn reproduces(cell: &CellJudgement, shift: f64) -> Option<bool> {
    let worse = shift > 0.0;
    match cell.verdict {
        Verdict::Regressed => Some(worse),
        Verdict::Improved => Some(!worse),
        Verdict::Pass if cell.small_regression && worse => Some(true),
        Verdict::Pass => {
            let effect = shift.exp_m1();
            let is_outside = cell.low.is_some_and(|low| effect < low)
                || cell.high.is_some_and(|high| effect > high);
            is_outside.then_some(false)
        }
        Verdict::Inconclusive | Verdict::Invalid => None,
    }
}

fn decide(change: &mut Settled, said: &Said<'_>, reproduced: bool) {
    change.found.state = if reproduced {
        ChangeState::Confirmed
    } else {
        ChangeState::NotReproduced
    };
    change.decided_ms = Some(said.gate.received.received_ms);
}

/// Changes between neighbouring builds that only a gate found.
fn by_gates_alone(
    series: usize,
    one: &Gathered<'_>,
    epoch: &Epoch,
    all: &[Said<'_>],
    known: &BTreeSet<(usize, usize)>,
) -> Vec<Settled> {
    let (points, places) = (&one.series.points, &epoch.places);
    let borders = places.windows(2).enumerate().filter_map(|(at, pair)| {
        let border = (pair[0], pair[1]);
        let is_new = points[border.0].build != points[border.1].build && !known.contains(&border);
        is_new.then_some((at, border))
    });
    borders
        .filter_map(|(at, border)| {
            let mut pairs = all.iter().filter(|said| is_pair(one, border, said));
            let newest = pairs.next()?;
            let changed = matches!(newest.cell.verdict, Verdict::Regressed | Verdict::Improved);
            let shift = newest.cell.effect.filter(|_| changed)?.ln_1p();
            let gates = [newest].into_iter().chain(pairs);
            Some(Settled {
                gates: gates.map(|said| said.gate.row.content_id.clone()).collect(),
                decided_ms: Some(newest.gate.received.received_ms),
                found: Candidate {
                    series,
                    state: ChangeState::Confirmed,
                    note: Some("found by a paired gate; no trend shows it yet".to_owned()),
                    shift,
                    noise: newest.cell.block_sd.filter(|sd| *sd > 0.0),
                    p: newest.gate.judgement.alpha,
                    border,
                    before: at + 1,
                    after: places.len() - at - 1,
                    newest: places[places.len() - 1],
                },
            })
        })
        .collect()
}

/// A change of code is one everywhere: where another machine measured the same builds, one has to have
/// moved the same way and none the other way, or nothing is confirmed.
fn ask_other_machines(gathered: &[Gathered<'_>], changes: &mut [Settled]) {
    let notes: Vec<Option<String>> = changes
        .iter()
        .map(|change| {
            let is_confirmed = change.found.state == ChangeState::Confirmed;
            is_confirmed
                .then(|| contradicted(gathered, changes, change))
                .flatten()
        })
        .collect();
    for (change, note) in changes.iter_mut().zip(notes) {
        if let Some(note) = note {
            change.found.state = ChangeState::Certified;
            change.found.note = Some(format!("a paired gate found it, but {note}"));
        }
    }
}

/// Why other machines do not let a change be confirmed.
fn contradicted(
    gathered: &[Gathered<'_>],
    changes: &[Settled],
    change: &Settled,
) -> Option<String> {
    let one = &gathered[change.found.series];
    let row = &one.series.row;
    let builds = change.found.builds(&one.series.points);
    let is_elsewhere = |other: &Gathered<'_>| {
        let its = &other.series.row;
        (&its.setup, &its.key_id) != (&row.setup, &row.key_id)
            && (&its.engine, &its.metric) == (&row.engine, &row.metric)
    };
    let worse = change.found.shift > 0.0;
    let mut agrees = false;
    let mut denies = None;
    for other in changes {
        let found = &other.found;
        let its = &gathered[found.series];
        let (good, bad) = found.builds(&its.series.points);
        let is_pair = builds.0.is_arm(good, true) && builds.1.is_arm(bad, true);
        if !is_elsewhere(its) || !is_pair {
            continue;
        }
        let is_same = is_same_cell(one, its);
        match found.state {
            ChangeState::Confirmed | ChangeState::Certified | ChangeState::Suspect => {
                if (found.shift > 0.0) != worse {
                    let setup = &its.series.row.setup;
                    return Some(format!(
                        "between the same builds {setup} moved the other way"
                    ));
                }
                agrees |= is_same;
            }
            ChangeState::NotReproduced if is_same => denies = Some(&its.series.row.setup),
            _ => {}
        }
    }
    if agrees {
        return None;
    }
    if let Some(setup) = denies {
        return Some(format!(
            "on {setup} a gate of the same builds did not reproduce it"
        ));
    }
    let mut others = gathered
        .iter()
        .filter(|other| is_elsewhere(other) && is_same_cell(one, other))
        .filter_map(|other| Some((other, shift_between(other, builds)?)))
        .peekable();
    let (first, _) = others.peek()?;
    let setup = &first.series.row.setup;
    let has_moved_alike =
        others.any(|(_, shift)| (shift > 0.0) == worse && shift.abs() > PRACTICAL_ZERO.ln_1p());
    (!has_moved_alike)
        .then(|| format!("{setup} measured the same builds and did not move that way"))
}

/// Whether two series ask the same work of the same weights.
fn is_same_cell(one: &Gathered<'_>, other: &Gathered<'_>) -> bool {
    one.variant == other.variant
        && one.series.row.energy_scope == other.series.row.energy_scope
        && cell::is_same_work(&one.facts.workload, &other.facts.workload)
}

/// How a series moved from one build to another, as a logarithm of costs: where it has enough points of
/// both in one epoch.
fn shift_between(one: &Gathered<'_>, builds: (&Build, &Build)) -> Option<f64> {
    epochs(one).into_iter().find_map(|epoch| {
        let values = epoch.values();
        let level = |build: &Build| {
            let own: Vec<f64> = (epoch.places.iter().zip(&values))
                .filter(|(place, _)| build.is_arm(&one.series.points[**place].build, true))
                .map(|(_, value)| *value)
                .collect();
            median(&own).filter(|_| own.len() >= SEGMENT)
        };
        Some((level(builds.1)? / level(builds.0)?).ln())
    })
}

/// A change whose level came back, by a later certified change of the same epoch, went away.
fn look_back(gathered: &[Gathered<'_>], changes: &mut [Settled]) {
    let mut by_series: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (place, change) in changes.iter().enumerate() {
        if change.is_code() {
            by_series
                .entry(change.found.series)
                .or_default()
                .push(place);
        }
    }
    for (series, mut own) in by_series {
        own.sort_by_key(|place| changes[*place].found.border);
        let one = &gathered[series];
        for epoch in epochs(one) {
            let (Some(first), Some(last)) = (epoch.places.first(), epoch.places.last()) else {
                continue;
            };
            let inside: Vec<usize> = own
                .iter()
                .copied()
                .filter(|place| (*first..=*last).contains(&changes[*place].found.border.1))
                .collect();
            let levels = levels(&epoch, inside.iter().map(|at| changes[*at].found.border.1));
            for at in 0..inside.len() {
                let back = (at + 1..inside.len()).find(|later| {
                    let (one, other) = (&changes[inside[at]].found, &changes[inside[*later]].found);
                    let proven = [ChangeState::Certified, ChangeState::Confirmed];
                    proven.contains(&other.state)
                        && one.shift * other.shift < 0.0
                        && (levels[later + 1] - levels[at]).abs() <= PRACTICAL_ZERO.ln_1p()
                });
                let Some(later) = back else { continue };
                let other = &changes[inside[later]];
                let build = other.found.builds(&one.series.points).1.label();
                let decided_ms = other
                    .decided_ms
                    .unwrap_or_else(|| one.series.points[other.found.newest].received_ms);
                let change = &mut changes[inside[at]];
                change.found.state = ChangeState::WentAway;
                change.found.note = Some(format!("it is back where it was since {build}"));
                change.decided_ms = Some(decided_ms);
            }
        }
    }
}

/// Middles of the segments between changes that begin at these points, as logarithms.
fn levels(epoch: &Epoch, begins: impl Iterator<Item = usize>) -> Vec<f64> {
    let values = epoch.values();
    let mut edges: Vec<usize> = begins
        .map(|point| epoch.places.partition_point(|place| *place < point))
        .collect();
    edges.insert(0, 0);
    edges.push(values.len());
    edges
        .windows(2)
        .map(|edge| median(&values[edge[0]..edge[1]]).map_or(f64::NAN, f64::ln))
        .collect()
}

/// Why no paired run can tell, where none can: gates ask what policies have words for.
fn untellable(one: &Gathered<'_>) -> Option<&'static str> {
    let workload = &one.facts.workload;
    let plain = Workload {
        depth_tokens: 0,
        concurrency: 1,
        kv_state: KvState::Cold,
        samples: 1,
        verifier: None,
        eos_banned: true,
        temperature_ppm: 0,
        top_p_ppm: None,
        top_k: None,
        ..workload.clone()
    };
    if one.metric.gated.is_none() {
        Some("no paired run can tell: gates do not go by the engine's own clock")
    } else if !cell::is_same_work(workload, &plain) {
        Some("no paired run can tell: gates do not ask such a workload")
    } else {
        None
    }
}

/// The command that tells, with all that is known; empty where none can. Of builds without commits, and
/// of weights without the name of a file, the reader has to say where they are.
fn paired_run(one: &Gathered<'_>, found: &Candidate) -> String {
    if untellable(one).is_some() {
        return String::new();
    }
    let (good, bad) = found.builds(&one.series.points);
    let (facts, workload) = (one.facts, &one.facts.workload);
    let mut words = if let (Some(good), Some(bad)) = (good.commit(), bad.commit()) {
        vec![format!(
            "git switch --detach {} && joulemark gate --base-ref {}",
            quoted(bad),
            quoted(good)
        )]
    } else {
        let name = &facts.engine.name;
        let arm = |build: &Build| {
            let label = build.label();
            quoted(&if name.as_str() == CANDLE {
                format!("{CANDLE}:<program of {name} {label}>")
            } else {
                format!("<command of {name} {label}>")
            })
        };
        let (base, candidate) = (arm(good), arm(bad));
        vec![format!(
            "joulemark gate --base {base} --candidate {candidate}"
        )]
    };
    let weights = facts.variant.path.as_ref().map_or_else(
        || {
            let row = &one.series.row;
            let digest: String = row.variant_sha256.chars().take(12).collect();
            format!("<weights of {} {} sha256:{digest}>", row.model, row.variant)
        },
        ToString::to_string,
    );
    words.push(format!("--model {}", quoted(&weights)));
    let (prompt, output) = (workload.prompt_tokens, workload.output_tokens);
    words.push(format!("--workload {prompt}/{output}"));
    words.extend(cell::threads(&facts.engine).map(|threads| format!("--threads {threads}")));
    words.join(" ")
}
