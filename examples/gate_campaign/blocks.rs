//! Records blocks of one arm and another, or itself, as a gate would, one line of JSON each.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::gate::record::{Block, Slot};
use domain::gate::{Arm, coin, order};
use domain::ids::Sha256Digest;
use runner::clock::{Clock as _, RealClock};
use runner::gate::arm::ArmSpec;
use runner::gate::control::Control;
use runner::gate::slot::{Around, Asked, AskedCell, Slotted, run_slot};
use runner::host;
use serde::{Deserialize, Serialize};

use crate::{Campaign, NEVER};

/// The file's first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    /// What the base's program is told beside.
    #[serde(default)]
    pub(crate) base: String,
    /// What the candidate's is told; both are told nothing where it is the base again.
    #[serde(default)]
    pub(crate) candidate: String,
    /// What the coins are drawn from.
    pub(crate) seed: Sha256Digest,
    /// Requests in one repetition.
    pub(crate) requests: u32,
    /// The measured program.
    pub(crate) binary_sha256: Sha256Digest,
    /// Processor as it names itself.
    pub(crate) chip: String,
    /// Logical cores as the survey of the machine counts them: those that it may use.
    pub(crate) cpu_cores: u32,
    /// Cores that the campaign and all that it started were held on.
    pub(crate) cores_allowed: usize,
    /// Threads of the engine.
    pub(crate) threads: u32,
    /// When it began, Unix milliseconds.
    pub(crate) started_ms: u64,
}

/// Threads of the engine: as `joulemark sweep` takes them.
pub(crate) fn threads() -> u32 {
    host::survey(Path::new("/"))
        .host
        .cpu_cores
        .saturating_sub(1)
        .max(1)
}

/// A recording: its file, and what the programs are told beside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recording {
    file: &'static str,
    base: &'static str,
    candidate: &'static str,
}

/// Of an arm against itself.
pub(crate) const AA: Recording = Recording {
    file: "aa-blocks.jsonl",
    base: "",
    candidate: "",
};

/// Of slow-downs great enough to say what share of a token's time a pass is, and every how many passes
/// one is repeated in them. The latter two have a base that was told as much as the candidate.
pub(crate) const REPEATED: [(u32, Recording); 4] = [
    (
        1,
        Recording {
            file: "every-pass-unmatched-blocks.jsonl",
            base: "",
            candidate: " --repeat-pass-every 1",
        },
    ),
    (
        4,
        Recording {
            file: "every-4th-pass-unmatched-blocks.jsonl",
            base: "",
            candidate: " --repeat-pass-every 4",
        },
    ),
    (
        1,
        Recording {
            file: "every-pass-blocks.jsonl",
            base: NEVER,
            candidate: " --repeat-pass-every 0000000001",
        },
    ),
    (
        4,
        Recording {
            file: "every-4th-pass-blocks.jsonl",
            base: NEVER,
            candidate: " --repeat-pass-every 0000000004",
        },
    ),
];

/// Of an arm against itself with one more argument that asks for no work: one that changes no step of
/// the program, and one whose counter is counted and never comes to its end; and whether the arms'
/// memory began at a random place. That it did not can be recorded no more. The last two were
/// recorded at the same time.
pub(crate) const ARGUMENTS: [(bool, Recording); 6] = [
    (
        false,
        Recording {
            file: "no-bytes-argument-blocks.jsonl",
            base: "",
            candidate: " --read-bytes-per-token 0000000000",
        },
    ),
    (
        false,
        Recording {
            file: "never-argument-blocks.jsonl",
            base: "",
            candidate: NEVER,
        },
    ),
    (
        true,
        Recording {
            file: "no-bytes-argument-displaced-blocks.jsonl",
            base: "",
            candidate: " --read-bytes-per-token 0000000000",
        },
    ),
    (
        true,
        Recording {
            file: "never-argument-displaced-blocks.jsonl",
            base: "",
            candidate: NEVER,
        },
    ),
    (
        false,
        Recording {
            file: "never-argument-again-blocks.jsonl",
            base: "",
            candidate: NEVER,
        },
    ),
    (
        true,
        Recording {
            file: "never-argument-displaced-again-blocks.jsonl",
            base: "",
            candidate: NEVER,
        },
    ),
];

impl Recording {
    /// What the candidate is told.
    pub(crate) fn argument(&self) -> &'static str {
        self.candidate.trim_start()
    }

    /// Whether both programs are told as much.
    pub(crate) fn is_matched(&self) -> bool {
        self.base.len() == self.candidate.len()
    }

    /// Where its blocks are.
    pub(crate) fn path(&self, campaign: &Campaign) -> PathBuf {
        campaign.out.join(self.file)
    }
}

/// What was recorded.
pub(crate) fn read(path: &Path) -> anyhow::Result<(Header, Vec<Block>)> {
    let file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
    let mut lines = BufReader::new(file).lines();
    let header = lines.next().context("the file is empty")??;
    let header = serde_json::from_str(&header).context("failed to read the first line")?;
    let mut blocks = Vec::new();
    for line in lines {
        // A line that a crash cut off is measured again.
        match serde_json::from_str(&line?) {
            Ok(block) => blocks.push(block),
            Err(_) => break,
        }
    }
    Ok((header, blocks))
}

/// Goes on until there are so many blocks.
pub(crate) fn record(
    campaign: &Campaign,
    recording: &Recording,
    wanted: u32,
) -> anyhow::Result<()> {
    let path = recording.path(campaign);
    let (header, mut blocks) = if path.exists() {
        read(&path)?
    } else {
        (begin(campaign, recording)?, Vec::new())
    };
    let mut file = rewrite(&path, &header, &blocks)?;
    let (base, candidate) = (
        campaign.arm(&header.base)?,
        campaign.arm(&header.candidate)?,
    );
    let clock = RealClock::default();
    let mut control = Control::default();
    let around = Around {
        clock: &clock,
        zero_ns: clock.now_ns(),
        sampler: None,
        stop: &campaign.stop,
    };
    while (blocks.len() as u32) < wanted && !campaign.stop.load(Ordering::Relaxed) {
        let index = blocks.len() as u32;
        let coin = coin(&header.seed.0, &campaign.model, index);
        let mut slots = Vec::new();
        for arm_of_slot in order(coin) {
            let probed = control.probe(&clock);
            let program = match arm_of_slot {
                Arm::Base => &base,
                Arm::Candidate => &candidate,
            };
            let slotted = slot(campaign, program, &header, &around)?;
            ensure!(
                slotted.binary_sha256 == Some(header.binary_sha256),
                "failed to go on: {} was begun with another build of the program; move it away",
                path.display()
            );
            slots.push(Slot {
                arm: arm_of_slot,
                start_ns: slotted.start_ns,
                end_ns: slotted.end_ns,
                control_multiply_ns: probed.multiply_ns,
                control_copy_ns: probed.copy_ns,
                throttled_ns: None,
                output_sha256: None,
                samples: slotted.samples,
            });
        }
        let block = Block {
            model: 0,
            index,
            coin,
            void: None,
            slots,
        };
        writeln!(file, "{}", serde_json::to_string(&block)?)?;
        file.sync_data()?;
        blocks.push(block);
        eprintln!("block {} of {wanted}", index + 1);
    }
    ensure!(
        blocks.len() as u32 >= wanted,
        "stopped after {} of {wanted} blocks: run it again to go on",
        blocks.len()
    );
    Ok(())
}

/// The header of a new file: how many requests make a slot long enough is tried out.
fn begin(campaign: &Campaign, recording: &Recording) -> anyhow::Result<Header> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let survey = host::survey(Path::new("/"));
    let clock = RealClock::default();
    let mut header = Header {
        base: recording.base.to_owned(),
        candidate: recording.candidate.to_owned(),
        seed: Sha256Digest(seed),
        requests: 1,
        binary_sha256: Sha256Digest([0; 32]),
        chip: survey
            .host
            .chip
            .as_ref()
            .map_or("not recorded", |chip| chip.as_str())
            .to_owned(),
        cpu_cores: survey.host.cpu_cores,
        cores_allowed: std::thread::available_parallelism()?.get(),
        threads: threads(),
        started_ms: clock.unix_ms(),
    };
    let around = Around {
        clock: &clock,
        zero_ns: clock.now_ns(),
        sampler: None,
        stop: &campaign.stop,
    };
    let tried = slot(campaign, &campaign.arm(recording.base)?, &header, &around)?;
    header.binary_sha256 = tried
        .binary_sha256
        .context("the slot does not say which program it ran")?;
    let request_seconds = tried.request_seconds[0];
    let repetitions = f64::from(campaign.policy.repetitions);
    header.requests = (campaign.policy.slot_seconds / repetitions / request_seconds).ceil() as u32;
    Ok(header)
}

fn slot(
    campaign: &Campaign,
    arm: &ArmSpec,
    header: &Header,
    around: &Around,
) -> anyhow::Result<Slotted> {
    let cells = [AskedCell {
        cell: 0,
        workload: Some(campaign.policy.workloads[0].clone()),
        requests: header.requests,
    }];
    let asked = Asked {
        weights: Some(&campaign.weights),
        cells: &cells,
        repetitions: campaign.policy.repetitions,
        limit: Duration::try_from_secs_f64(campaign.policy.slot_limit_seconds)?,
        threads: header.threads,
        prompt_seed: header.seed,
    };
    Ok(run_slot(arm, &asked, around)?)
}

/// The file with what is whole in it, open for more.
fn rewrite(path: &Path, header: &Header, blocks: &[Block]) -> anyhow::Result<File> {
    let whole = path.with_extension("new");
    let mut file = File::create(&whole)?;
    writeln!(file, "{}", serde_json::to_string(header)?)?;
    for block in blocks {
        writeln!(file, "{}", serde_json::to_string(block)?)?;
    }
    file.sync_all()?;
    std::fs::rename(&whole, path)?;
    Ok(OpenOptions::new().append(true).open(path)?)
}
