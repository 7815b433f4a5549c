//! Who stands on the frontier, as far as the measurements can tell.
//!
//! In each draw accounts, their records and those records' repetitions are resampled, as for the
//! published intervals, and the suite's items are resampled
//! within their families once for all cells: results that answered the same items keep their
//! pairs, and families weigh the same, as in the published mean. Prices do not move. p is the share of draws in which nothing dominates the result.
//! On: p >= 0.9. Tied: p >= 0.1, or not dominated by the published values. Dominated: else.
//!
//! Each cell and each family has its own stream of draws, seeded by the data version and its
//! name: other results coming or going do not change a cell's draws.

use std::collections::{BTreeMap, BTreeSet};

use domain::api::{Membership, Objective};
use domain::ids::Sha256Digest;
use domain::statistics::bootstrap::Resampler;
use domain::statistics::pareto::{dominates, non_dominated};
use domain::suite::Family;

use super::{Candidate, turned};
use crate::derive::ItemKey;

/// Draws behind a membership.
const DRAWS: usize = 1_000;

/// Elementary steps one answer may take; larger fronts make fewer draws, never below
/// [`MIN_DRAWS`]. 1,000 draws of 2,000 results with 210 items and two objectives fit in.
const MAX_STEPS: usize = 1_000_000_000;

const MIN_DRAWS: usize = 50;

/// Where one candidate stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Standing {
    pub(super) membership: Membership,
    /// Share of the draws in which nothing dominates it.
    pub(super) p: f64,
    /// Of the candidates on the published staircase that dominate it: the one that stands
    /// most often, then the best in the first objective. Only for dominated ones.
    pub(super) dominated_by: Option<usize>,
    /// Share of the draws in which its quality reaches that of the best published one.
    pub(super) reaches_best_quality: f64,
}

/// Standings of candidates that have a value in every objective.
pub(super) fn standings(
    candidates: &[Candidate],
    objectives: &[Objective],
    data_version: &str,
) -> Vec<Standing> {
    let published: Vec<[f64; 3]> = candidates
        .iter()
        .map(|candidate| {
            point(objectives, |objective| {
                objective.of(&candidate.row).unwrap_or(f64::NAN)
            })
        })
        .collect();
    let stands = non_dominated(&published, objectives.len());
    let best = best_quality(candidates);
    let mut universe = Universe::of(candidates, data_version);
    let mut sources: Vec<Source> = candidates
        .iter()
        .map(|candidate| Source::of(candidate, &universe, data_version))
        .collect();

    let draws = draws(candidates, objectives) as usize;
    let mut not_dominated = vec![0usize; candidates.len()];
    let mut reaches = vec![0usize; candidates.len()];
    let mut points = published.clone();
    let mut qualities = vec![0.0; candidates.len()];
    for _ in 0..draws {
        universe.draw();
        for (index, source) in sources.iter_mut().enumerate() {
            let drawn = source.draw(&universe.weights);
            let row = &candidates[index].row;
            qualities[index] = drawn.quality.or(row.quality).unwrap_or(f64::NEG_INFINITY);
            points[index] = point(objectives, |objective| match objective {
                Objective::Price => row.price_usd.unwrap_or(f64::NAN),
                Objective::Quality => qualities[index],
                Objective::Decode => drawn
                    .decode
                    .or(row.decode_tokens_per_second)
                    .unwrap_or(f64::NAN),
                Objective::Joules => drawn
                    .joules
                    .or(row.joules_per_correct_answer)
                    .unwrap_or(f64::NAN),
            });
        }
        for (count, stands) in not_dominated
            .iter_mut()
            .zip(non_dominated(&points, objectives.len()))
        {
            *count += usize::from(stands);
        }
        if let Some(best) = best {
            for (count, quality) in reaches.iter_mut().zip(&qualities) {
                *count += usize::from(*quality >= qualities[best]);
            }
        }
    }
    let share = |count: usize| count as f64 / draws as f64;
    let p: Vec<f64> = not_dominated.into_iter().map(share).collect();
    (0..candidates.len())
        .map(|index| {
            let membership = match p[index] {
                p if p >= 0.9 => Membership::On,
                p if p >= 0.1 || stands[index] => Membership::Tied,
                _ => Membership::Dominated,
            };
            let dominator = || {
                (0..candidates.len())
                    .filter(|other| {
                        stands[*other]
                            && dominates(&published[*other], &published[index], objectives.len())
                    })
                    .max_by(|a, b| {
                        let first = published[*a][0].total_cmp(&published[*b][0]);
                        p[*a].total_cmp(&p[*b]).then(first).then(b.cmp(a))
                    })
            };
            Standing {
                membership,
                p: p[index],
                dominated_by: if membership == Membership::Dominated {
                    dominator()
                } else {
                    None
                },
                reaches_best_quality: share(reaches[index]),
            }
        })
        .collect()
}

fn point(objectives: &[Objective], value: impl Fn(Objective) -> f64) -> [f64; 3] {
    let mut point = [0.0; 3];
    for (axis, objective) in point.iter_mut().zip(objectives) {
        *axis = turned(*objective, value(*objective));
    }
    point
}

/// The candidate of best published quality, then of best speed; the first by id among equals.
pub(super) fn best_quality(candidates: &[Candidate]) -> Option<usize> {
    let quality = |index: usize| candidates[index].row.quality;
    let speed = |index: usize| {
        candidates[index]
            .row
            .decode_tokens_per_second
            .unwrap_or(0.0)
    };
    (0..candidates.len())
        .filter(|index| quality(*index).is_some())
        .max_by(|a, b| {
            let by_quality = quality(*a)
                .unwrap_or(0.0)
                .total_cmp(&quality(*b).unwrap_or(0.0));
            by_quality
                .then(speed(*a).total_cmp(&speed(*b)))
                .then(b.cmp(a))
        })
}

/// How many draws the standings are based on; none without candidates.
pub(super) fn draws(candidates: &[Candidate], objectives: &[Objective]) -> u32 {
    let n = candidates.len();
    if n == 0 {
        return 0;
    }
    let samples: usize = candidates
        .iter()
        .map(|candidate| {
            let samples = &candidate.cell.samples;
            samples.items.len() + 8 * samples.decode.iter().flatten().map(Vec::len).sum::<usize>()
        })
        .sum();
    let comparisons = if objectives.len() > 2 { n * n } else { 16 * n };
    (MAX_STEPS / (samples + comparisons).max(1)).clamp(MIN_DRAWS, DRAWS) as u32
}

/// Every item that any candidate answered, by family and seed.
struct Universe {
    strata: Vec<Stratum>,
    positions: BTreeMap<ItemKey, usize>,
    /// How often each item was drawn.
    weights: Vec<f64>,
}

/// The items of one family and seed: neighbours in the universe.
struct Stratum {
    first: usize,
    items: usize,
    resampler: Resampler,
}

impl Universe {
    fn of(candidates: &[Candidate], data_version: &str) -> Self {
        let mut by_stratum: BTreeMap<(Sha256Digest, Family), BTreeSet<ItemKey>> = BTreeMap::new();
        for key in candidates
            .iter()
            .flat_map(|candidate| candidate.cell.samples.items.keys())
        {
            by_stratum
                .entry((key.seed, key.family))
                .or_default()
                .insert(*key);
        }
        let mut universe = Self {
            strata: Vec::new(),
            positions: BTreeMap::new(),
            weights: Vec::new(),
        };
        for ((seed, family), items) in by_stratum {
            let first = universe.positions.len();
            let name = format!("items {seed} {}", family.name());
            let resampler = stream(data_version, &name);
            universe.strata.push(Stratum {
                first,
                items: items.len(),
                resampler,
            });
            for (offset, key) in items.into_iter().enumerate() {
                universe.positions.insert(key, first + offset);
            }
        }
        universe.weights = vec![0.0; universe.positions.len()];
        universe
    }

    fn draw(&mut self) {
        self.weights.fill(0.0);
        for stratum in &mut self.strata {
            for _ in 0..stratum.items {
                self.weights[stratum.first + stratum.resampler.index(stratum.items)] += 1.0;
            }
        }
    }
}

/// What one candidate's draws are made of.
struct Source<'a> {
    decode: &'a [Vec<Vec<f64>>],
    items: Vec<ItemShare>,
    has_joules: bool,
    /// Items drawn of each family, and right answers among them.
    tally: Vec<(f64, f64)>,
    resampler: Resampler,
    scratch: Vec<f64>,
}

struct ItemShare {
    position: usize,
    /// Place of its family in the tally.
    family: usize,
    correct: f64,
    joules: Option<f64>,
}

struct Drawn {
    quality: Option<f64>,
    decode: Option<f64>,
    joules: Option<f64>,
}

impl<'a> Source<'a> {
    fn of(candidate: &Candidate<'a>, universe: &Universe, data_version: &str) -> Self {
        let samples = &candidate.cell.samples;
        let scope = candidate.row.energy_scope.as_deref().unwrap_or_default();
        let joules = samples.joules.get(scope);
        let joules_of = |key: &ItemKey| joules.and_then(|all| all.get(key)).copied();
        let mut families: Vec<Family> = samples.items.keys().map(|key| key.family).collect();
        families.sort_unstable();
        families.dedup();
        let place = |family| families.binary_search(&family).unwrap_or_default();
        let items = samples
            .items
            .iter()
            .map(|(key, item)| ItemShare {
                position: universe.positions[key],
                family: place(key.family),
                correct: f64::from(u8::from(item.correct)),
                joules: joules_of(key),
            })
            .collect();
        Self {
            decode: &samples.decode,
            items,
            tally: vec![(0.0, 0.0); families.len()],
            has_joules: candidate.row.joules_per_correct_answer.is_some()
                && samples.items.keys().all(|key| joules_of(key).is_some()),
            resampler: stream(data_version, &format!("repetitions {}", candidate.row.id)),
            scratch: Vec::new(),
        }
    }

    fn draw(&mut self, weights: &[f64]) -> Drawn {
        self.tally.fill((0.0, 0.0));
        let mut joules = 0.0;
        for item in &self.items {
            let weight = weights[item.position];
            let family = &mut self.tally[item.family];
            family.0 += weight;
            family.1 += weight * item.correct;
            // Read only where every item has its own.
            joules += weight * item.joules.unwrap_or(f64::NAN);
        }
        let drawn = || self.tally.iter().filter(|(asked, _)| *asked > 0.0);
        let correct: f64 = drawn().map(|(_, correct)| correct).sum();
        let families = drawn().count() as f64;
        let mean = drawn().map(|(asked, correct)| correct / asked).sum::<f64>() / families;
        let asked = families > 0.0;
        let per_correct = if correct > 0.0 {
            joules / correct
        } else {
            f64::INFINITY
        };
        Drawn {
            quality: asked.then_some(mean),
            decode: self
                .resampler
                .median_of_medians(self.decode, &mut self.scratch),
            joules: (self.has_joules && asked).then_some(per_correct),
        }
    }
}

fn stream(data_version: &str, name: &str) -> Resampler {
    let text = format!(
        "joulemark frontier {}:{data_version} {name}",
        data_version.len()
    );
    Resampler::new(Sha256Digest::of(text.as_bytes()).0)
}
