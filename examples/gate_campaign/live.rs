//! Gates whose truth is known, one after another in an order drawn beforehand.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use domain::gate::record::{GateRecord, PolicyOrigin, PolicyUsed, Purpose};
use domain::gate::verdict::judge;
use domain::ids::Sha256Digest;
use domain::record::{Audience, SetupRef};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use runner::gate::run::{GateEvent, GateOptions, ModelPair, run};
use runner::meter::wall::MetersFile;
use runner::sweep::Machine;
use serde::{Deserialize, Serialize};

use crate::blocks::threads;
use crate::{Campaign, POLICY, burn};

/// What is true of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Truth {
    /// Both arms are the same.
    Same,
    /// The candidate computes every 20th decode pass twice.
    FivePercent,
    /// Every 50th.
    TwoPercent,
    /// The same, other programs load the cores meanwhile.
    SameDisturbed,
    /// Every 20th, likewise.
    FivePercentDisturbed,
}

impl Truth {
    /// Each and how many gates of it.
    pub(crate) const PLANNED: [(Self, usize); 5] = [
        (Self::Same, 30),
        (Self::FivePercent, 20),
        (Self::TwoPercent, 20),
        (Self::SameDisturbed, 10),
        (Self::FivePercentDisturbed, 10),
    ];

    /// Every so many decode passes one is computed twice.
    fn every(self) -> Option<u32> {
        match self {
            Self::Same | Self::SameDisturbed => None,
            Self::FivePercent | Self::FivePercentDisturbed => Some(20),
            Self::TwoPercent => Some(50),
        }
    }

    fn is_disturbed(self) -> bool {
        matches!(self, Self::SameDisturbed | Self::FivePercentDisturbed)
    }
}

/// One finished gate: everything raw.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finished {
    /// What is true of it.
    pub(crate) truth: Truth,
    /// What it measured.
    pub(crate) record: GateRecord,
}

fn path(campaign: &Campaign) -> PathBuf {
    campaign.out.join("live.jsonl")
}

/// What was finished.
pub(crate) fn read(campaign: &Campaign) -> anyhow::Result<Vec<Finished>> {
    let path = path(campaign);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let lines = BufReader::new(File::open(&path)?).lines();
    lines
        .map(|line| {
            serde_json::from_str(&line?)
                .with_context(|| format!("failed to read a gate in {}", path.display()))
        })
        .collect()
}

/// Every gate that is not finished, in the drawn order.
pub(crate) fn run_all(campaign: &Campaign) -> anyhow::Result<()> {
    let finished = read(campaign)?;
    let order = order();
    for (number, truth) in order.iter().enumerate().skip(finished.len()) {
        if campaign.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let record = gate(campaign, *truth, number as u64)?;
        if record.interrupted {
            return Ok(());
        }
        let judgement = judge(&record)?;
        eprintln!(
            "gate {} of {}: {truth:?}: {}",
            number + 1,
            order.len(),
            judgement.headline
        );
        let line = serde_json::to_string(&Finished {
            truth: *truth,
            record,
        })?;
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path(campaign))?;
        writeln!(file, "{line}")?;
        file.sync_data()?;
    }
    Ok(())
}

/// Every planned gate, shuffled by a fixed seed: drift of the machine meets every truth alike.
fn order() -> Vec<Truth> {
    let mut order: Vec<Truth> = (Truth::PLANNED.iter())
        .flat_map(|(truth, count)| std::iter::repeat_n(*truth, *count))
        .collect();
    let mut random = ChaCha8Rng::seed_from_u64(6);
    for last in (1..order.len()).rev() {
        order.swap(last, random.next_u64() as usize % (last + 1));
    }
    order
}

fn gate(campaign: &Campaign, truth: Truth, number: u64) -> anyhow::Result<GateRecord> {
    let candidate = match truth.every() {
        None => campaign.plain()?,
        Some(every) => campaign.slowed(every)?,
    };
    let options = GateOptions {
        purpose: Purpose::Gate,
        policy: campaign.policy.clone(),
        policy_used: PolicyUsed {
            sha256: Sha256Digest::of(POLICY.as_bytes()),
            text: POLICY.to_owned(),
            origin: PolicyOrigin::File,
            commit: None,
        },
        base: campaign.plain()?,
        candidate,
        models: vec![ModelPair {
            name: "joulemark-reference-0.9m".to_owned(),
            base: campaign.weights.clone(),
            candidate: campaign.weights.clone(),
        }],
        seed: None,
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
        data: std::env::temp_dir().join("joulemark-gate-campaign"),
        threads: threads(),
        stop: Arc::clone(&campaign.stop),
    };
    std::fs::create_dir_all(&options.data)?;
    let machine = Machine::here(&MetersFile::default());
    let mut on_event = |event: GateEvent| {
        if let GateEvent::Note(note) = event {
            eprintln!("{note}");
        }
    };
    if !truth.is_disturbed() {
        return Ok(run(&options, machine, &mut on_event)?);
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let disturbing = scope.spawn(|| burn::disturb(number, &over));
        let record = run(&options, machine, &mut on_event);
        over.store(true, Ordering::Relaxed);
        disturbing
            .join()
            .map_err(|_| anyhow::anyhow!("failed to disturb: its thread panicked"))??;
        Ok(record?)
    })
}
