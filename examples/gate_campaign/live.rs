//! Gates whose truth is known, one after another in an order drawn beforehand.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use domain::gate::policy::Policy;
use domain::gate::record::{GateRecord, PolicyOrigin, PolicyUsed, Purpose};
use domain::gate::verdict::judge;
use domain::ids::Sha256Digest;
use domain::record::{Audience, SetupRef};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use runner::gate::run::{GateEvent, GateOptions, ModelPair, run};
use runner::meter::wall::MetersFile;
use runner::sweep::Machine;
use runner::variant::round_tensor;
use serde::{Deserialize, Serialize};

use crate::blocks::threads;
use crate::{Campaign, NEVER, POLICY, burn};

/// What a policy that gates answers has beside.
const ANSWERS: &str = include_str!("answers.toml");

/// What is true of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Truth {
    /// Both arms are the same.
    Same,
    /// The candidate computes every 19th decode pass twice, by the calibration of `REPEATED` 5.0 % more
    /// time.
    FivePercent,
    /// Every 48th: 2.0 % more time.
    TwoPercent,
    /// The same, other programs load the cores meanwhile.
    SameDisturbed,
    /// Every 19th, likewise.
    FivePercentDisturbed,
    /// The candidate processes every prompt twice: other work is done, and every answer stays as it was.
    SameAnswers,
    /// One tensor of the candidate's weights is rounded to 2 bits and stored as it was.
    RoundedTensor,
}

impl Truth {
    /// Each and how many gates of it.
    pub(crate) const PLANNED: [(Self, usize); 7] = [
        (Self::Same, 30),
        (Self::FivePercent, 20),
        (Self::TwoPercent, 20),
        (Self::SameDisturbed, 6),
        (Self::FivePercentDisturbed, 6),
        (Self::SameAnswers, 3),
        (Self::RoundedTensor, 3),
    ];

    /// What the base's program and the candidate's are told beside: as many characters of the same kind,
    /// because what a program is told may move its timing by itself (see page.md).
    fn arguments(self) -> (&'static str, &'static str) {
        match self {
            Self::Same | Self::SameDisturbed | Self::RoundedTensor => ("", ""),
            Self::FivePercent | Self::FivePercentDisturbed => {
                (NEVER, " --repeat-pass-every 0000000019")
            }
            Self::TwoPercent => (NEVER, " --repeat-pass-every 0000000048"),
            Self::SameAnswers => (
                " --repeat-prompt-every 4294967295",
                " --repeat-prompt-every 0000000001",
            ),
        }
    }

    /// Whether answers are gated, too.
    pub(crate) fn asks_for_answers(self) -> bool {
        matches!(self, Self::SameAnswers | Self::RoundedTensor)
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

/// Folder of the gates that count.
pub(crate) const FOLDER: &str = "live";

/// Folder of gates whose base was not told as much as the candidate: kept for what they show.
pub(crate) const UNMATCHED: &str = "live-unmatched";

/// Where a gate is kept, by its place in the drawn order.
fn path(campaign: &Campaign, folder: &str, number: usize) -> PathBuf {
    let name = format!("{number:03}.json.gz");
    campaign.out.join(folder).join(name)
}

/// What was finished, in the drawn order.
pub(crate) fn read(campaign: &Campaign, folder: &str) -> anyhow::Result<Vec<Finished>> {
    let paths = (0..order().len()).map(|number| path(campaign, folder, number));
    let kept = paths.filter(|path| path.exists());
    kept.map(|path| read_one(&path).with_context(|| format!("failed to read {}", path.display())))
        .collect()
}

fn read_one(path: &Path) -> anyhow::Result<Finished> {
    Ok(serde_json::from_reader(GzDecoder::new(File::open(path)?))?)
}

/// Keeps a gate as a whole or not at all.
fn keep(path: &Path, finished: &Finished) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let mut file = GzEncoder::new(File::create(&new)?, Compression::best());
    serde_json::to_writer(&mut file, finished)?;
    file.finish()?.sync_all()?;
    Ok(fs::rename(&new, path)?)
}

/// Every gate of a lane that is not finished, in the drawn order; the disturbed ones, which take longest, last.
pub(crate) fn run_all(campaign: &Campaign, lane: Lane) -> anyhow::Result<()> {
    let mut gates: Vec<(usize, Truth)> = order().into_iter().enumerate().collect();
    gates.sort_by_key(|(_, truth)| truth.is_disturbed());
    fs::create_dir_all(campaign.out.join(FOLDER))?;
    for (_, &(number, truth)) in lane.of_these(&gates) {
        let path = path(campaign, FOLDER, number);
        if path.exists() {
            continue;
        }
        if campaign.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let record = gate(campaign, truth, number as u64)?;
        if record.interrupted {
            return Ok(());
        }
        let judgement = judge(&record)?;
        eprintln!(
            "gate {} of {}: {truth:?}: {}",
            number + 1,
            gates.len(),
            judgement.headline
        );
        let finished = Finished { truth, record };
        keep(&path, &finished)?;
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

/// What of a list this process measures: each `of`-th, from `number` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lane {
    pub(crate) number: usize,
    pub(crate) of: usize,
}

impl Lane {
    /// Those, with their places.
    pub(crate) fn of_these<T>(self, all: &[T]) -> impl Iterator<Item = (usize, &T)> {
        all.iter().enumerate().skip(self.number).step_by(self.of)
    }
}

/// The weights with one tensor rounded, made when they are not there yet.
fn rounded(campaign: &Campaign, data: &Path) -> anyhow::Result<PathBuf> {
    let path = data.join("rounded.gguf");
    if !path.exists() {
        let new = data.join(format!("rounded-{}.gguf", std::process::id()));
        round_tensor(&campaign.weights, "token_embd.weight", &new)?;
        fs::rename(&new, &path)?;
    }
    Ok(path)
}

fn gate(campaign: &Campaign, truth: Truth, number: u64) -> anyhow::Result<GateRecord> {
    let data = std::env::temp_dir().join("joulemark-gate-campaign");
    fs::create_dir_all(&data)?;
    let text = if truth.asks_for_answers() {
        format!("{POLICY}{ANSWERS}")
    } else {
        POLICY.to_owned()
    };
    let candidate_weights = match truth {
        Truth::RoundedTensor => rounded(campaign, &data)?,
        _ => campaign.weights.clone(),
    };
    let (base, candidate) = truth.arguments();
    let options = GateOptions {
        purpose: Purpose::Gate,
        policy: Policy::parse("the campaign's policy", &text)?,
        policy_used: PolicyUsed {
            sha256: Sha256Digest::of(text.as_bytes()),
            text,
            origin: PolicyOrigin::File,
            commit: None,
        },
        base: campaign.arm(base)?,
        candidate: campaign.arm(candidate)?,
        models: vec![ModelPair {
            name: campaign.model.clone(),
            base: campaign.weights.clone(),
            candidate: candidate_weights,
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
        data,
        threads: threads(),
        stop: Arc::clone(&campaign.stop),
    };
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
