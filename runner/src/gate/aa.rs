//! The gate against itself: how often it cries wolf, and how much blocks spread here.
//!
//! Both arms are the same program. What their blocks spread by is kept in the data folder, one file
//! a setup, so that later plans need not assume it.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use domain::gate::Metric;
use domain::gate::record::{GateRecord, KnownSd};
use domain::gate::verdict::{Judgement, block_values, judge};
use domain::ids::{Sha256Digest, Slug};

use super::run::{GateError, GateEvent, GateOptions, run};
use crate::sweep::Machine;

/// Blocks that a kept spread stands for at most: a machine changes, and what is measured now
/// counts as much as all that came before.
const MAX_KEPT_BLOCKS: u32 = 400;

/// Runs so many gates, one after the other, each on a machine that `machine` looks at anew; fewer
/// where a person stops it. `options` has the base as its candidate and the purpose of it.
pub fn aa(
    options: &GateOptions,
    gates: u32,
    machine: &mut dyn FnMut() -> Machine,
    on_event: &mut dyn FnMut(u32, GateEvent),
) -> Result<Vec<(GateRecord, Judgement)>, GateError> {
    let mut done = Vec::new();
    for gate in 0..gates {
        let record = run(options, machine(), &mut |event| on_event(gate, event))?;
        let judgement = judge(&record)?;
        let is_over = record.interrupted;
        done.push((record, judgement));
        if is_over {
            break;
        }
    }
    Ok(done)
}

/// Standard deviation of the blocks of gates of a build against itself, by metric: within each
/// gate and cell, then pooled over all of them.
pub fn block_sds(records: &[GateRecord]) -> Vec<KnownSd> {
    // Squares about the mean, degrees of freedom, blocks.
    let mut pooled: BTreeMap<Metric, (f64, usize, usize)> = BTreeMap::new();
    for record in records {
        let labels: Vec<&str> = record
            .cells
            .iter()
            .map(|cell| cell.label.as_str())
            .collect();
        let own = block_values(record).into_iter();
        for blocks in own.filter(|blocks| labels.contains(&blocks.label.as_str())) {
            let n = blocks.values.len();
            if n < 2 {
                continue;
            }
            let mean = blocks.values.iter().sum::<f64>() / n as f64;
            let squares: f64 = blocks.values.iter().map(|x| (x - mean).powi(2)).sum();
            let sum = pooled.entry(blocks.metric).or_default();
            *sum = (sum.0 + squares, sum.1 + n - 1, sum.2 + n);
        }
    }
    pooled
        .into_iter()
        .map(|(metric, (squares, freedom, blocks))| KnownSd {
            metric,
            ppm: ((squares / freedom as f64).sqrt() * 1e6).round() as u64,
            blocks: blocks as u32,
        })
        .collect()
}

/// The spreads that are kept for a setup, or for a machine's kind where it has no profile; none
/// where none are.
pub fn known_block_sds(
    data: &Path,
    setup: Option<&Slug>,
    fingerprint: Sha256Digest,
) -> Result<Vec<KnownSd>, GateError> {
    let path = path(data, setup, fingerprint);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| GateError::Keep {
            path,
            source: error.into(),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(GateError::Keep { path, source }),
    }
}

/// Adds spreads to those that are kept: variances are weighted by their blocks.
#[expect(clippy::missing_panics_doc, reason = "spreads are JSON")]
pub fn keep_block_sds(
    data: &Path,
    setup: Option<&Slug>,
    fingerprint: Sha256Digest,
    found: &[KnownSd],
) -> Result<Vec<KnownSd>, GateError> {
    let mut kept = known_block_sds(data, setup, fingerprint)?;
    for new in found {
        match kept.iter_mut().find(|old| old.metric == new.metric) {
            Some(old) => *old = joined(old, new),
            None => kept.push(new.clone()),
        }
    }
    let path = path(data, setup, fingerprint);
    let next = path.with_extension("next");
    let written = fs::create_dir_all(data.join("aa"))
        .and_then(|()| fs::write(&next, serde_json::to_vec(&kept).expect("spreads are JSON")))
        .and_then(|()| fs::rename(&next, &path));
    written.map_err(|source| GateError::Keep { path, source })?;
    Ok(kept)
}

fn joined(old: &KnownSd, new: &KnownSd) -> KnownSd {
    let part = |sd: &KnownSd| (sd.ppm as f64).powi(2) * f64::from(sd.blocks);
    let blocks = old.blocks + new.blocks;
    let variance = (part(old) + part(new)) / f64::from(blocks.max(1));
    KnownSd {
        metric: old.metric,
        ppm: variance.sqrt().round() as u64,
        blocks: blocks.min(MAX_KEPT_BLOCKS),
    }
}

fn path(data: &Path, setup: Option<&Slug>, fingerprint: Sha256Digest) -> PathBuf {
    let name = setup.map_or_else(|| fingerprint.to_string(), Slug::to_string);
    data.join("aa").join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sd(ppm: u64, blocks: u32) -> KnownSd {
        KnownSd {
            metric: Metric::Decode,
            ppm,
            blocks,
        }
    }

    #[test]
    fn spreads_are_kept_by_setup_and_joined_by_their_variance() {
        let data = tempfile::tempdir().expect("a folder");
        let kind = Sha256Digest([1; 32]);
        let known = |setup| known_block_sds(data.path(), setup, kind).expect("readable");
        assert_eq!(known(None), []);
        keep_block_sds(data.path(), None, kind, &[sd(3_000, 10)]).expect("kept");
        let joined = keep_block_sds(data.path(), None, kind, &[sd(4_000, 10)]).expect("kept");
        // The root of the mean of 9 and 16.
        assert_eq!(joined, [sd(3_536, 20)]);
        assert_eq!(known(None), joined);
        let slug: Slug = "somewhere-else".parse().expect("a slug");
        assert_eq!(known(Some(&slug)), []);
    }

    #[test]
    fn a_file_that_is_no_spread_is_told_of() {
        let data = tempfile::tempdir().expect("a folder");
        let kind = Sha256Digest([1; 32]);
        keep_block_sds(data.path(), None, kind, &[sd(3_000, 10)]).expect("kept");
        fs::write(path(data.path(), None, kind), "[{").expect("written");
        let error = known_block_sds(data.path(), None, kind).expect_err("torn");
        assert!(error.to_string().starts_with("keep "), "{error}");
    }
}
