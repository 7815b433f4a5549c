//! Example records: gates as a runner would have written them, with effects and noise that are known.
//!
//! For the tests of everything that reads such records (verdict, collector, site, reports). Nothing
//! here was measured; no program of Joulemark calls it.

use super::record::{
    ArmFacts, ArmKind, Block, GateCell, GateModel, GateRecord, PolicyOrigin, PolicyUsed, Purpose,
    SCHEMA, Sample, SeedOrigin, Slot, Stage, StageKind,
};
use super::{Arm, Metric, coin, order, stage_seed};
use crate::ids::{Sha256Digest, Slug};
use crate::record::{
    Audience, Host, KvState, Pruning, PruningMethod, RunnerFacts, SetupRef, VariantFacts,
    WeightFile, Workload,
};
use crate::scope::Scope;
use crate::statistics::bootstrap::Resampler;
use crate::text::Name;

/// Timed repetitions of every slot.
const REPETITIONS: usize = 3;

/// A slot's length, and the rest before it.
const SLOT_NS: u64 = 1_000_000_000;
const REST_NS: u64 = 100_000_000;

/// How long every slot goes on behind its last stamp.
const TAIL_NS: u64 = 1_000_000;

/// A gate to make a record of. Change what a test is about, then call [`Example::record`].
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// What was asked.
    pub purpose: Purpose,
    /// Its cells; those of one model stand together.
    pub cells: Vec<ExampleCell>,
    /// Put behind the policy's workloads: margins, waivers, tables.
    pub policy: String,
    /// Put before the policy's first table: alpha, budget, what is required.
    pub policy_head: String,
    /// Blocks of the measuring stage.
    pub blocks: u32,
    /// Blocks of the confirmation; 0 leaves the stage out.
    pub confirmation: u32,
    /// Blocks of the layout stage, whose effect is none; 0 leaves the stage out.
    pub layout: u32,
    /// Blocks after which the last decision falls.
    pub last_look: u32,
    /// Standard deviation of a block, as a logarithm.
    pub block_sd: f64,
    /// Seed of coins and noise.
    pub seed: [u8; 32],
}

/// One cell of an [`Example`].
#[derive(Debug, Clone, PartialEq)]
pub struct ExampleCell {
    /// Its model.
    pub model: String,
    /// Its workload; empty of a command.
    pub workload: String,
    /// What is gated, and the share of the base's cost that the candidate's differs by.
    pub effects: Vec<(Metric, f64)>,
}

impl Default for Example {
    /// Decode of one cell, 16 blocks, the same program in both arms, a spread of 0.6 %.
    fn default() -> Self {
        Self::of("mini", "pp64-tg64", &[(Metric::Decode, 0.0)])
    }
}

impl Example {
    /// One cell, as [`Example::default`] otherwise.
    pub fn of(model: &str, workload: &str, effects: &[(Metric, f64)]) -> Self {
        Self {
            purpose: Purpose::Gate,
            cells: Vec::new(),
            policy: String::new(),
            policy_head: String::new(),
            blocks: 16,
            confirmation: 0,
            layout: 0,
            last_look: 16,
            block_sd: 0.006,
            seed: [7; 32],
        }
        .with(model, workload, effects)
    }

    /// With one more cell.
    #[must_use]
    pub fn with(mut self, model: &str, workload: &str, effects: &[(Metric, f64)]) -> Self {
        self.cells.push(ExampleCell {
            model: model.to_owned(),
            workload: workload.to_owned(),
            effects: effects.to_vec(),
        });
        self
    }

    /// The policy's text: one workload for each that a cell has.
    pub fn policy_text(&self) -> String {
        let mut text = format!("{}\n", self.policy_head);
        let mut told: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if cell.workload.is_empty() || told.contains(&cell.workload.as_str()) {
                continue;
            }
            told.push(&cell.workload);
            let metrics: Vec<String> = (cell.effects.iter())
                .map(|(metric, _)| format!("{:?}", metric.as_str()))
                .collect();
            let (id, metrics) = (&cell.workload, metrics.join(", "));
            let [prompt, output] = tokens(id);
            text += &["[[workloads]]\nprompt_tokens = ", &prompt.to_string()].concat();
            text += &["\noutput_tokens = ", &output.to_string(), "\n"].concat();
            text += &["id = \"", id, "\"\nmetrics = [", &metrics, "]\n"].concat();
        }
        text + &self.policy
    }

    /// The record.
    pub fn record(&self) -> GateRecord {
        let text = self.policy_text();
        let models = self.models();
        let kind = if self.cells.iter().all(|cell| cell.workload.is_empty()) {
            ArmKind::Command
        } else {
            ArmKind::Candle
        };
        let mut record = GateRecord {
            schema: name(SCHEMA),
            audience: Audience::Any,
            purpose: self.purpose,
            policy: PolicyUsed {
                sha256: Sha256Digest::of(text.as_bytes()),
                text,
                origin: PolicyOrigin::BaseRef,
                commit: Some(name(&"b".repeat(40))),
            },
            seed: Sha256Digest(self.seed),
            seed_origin: SeedOrigin::System,
            continues: None,
            last_look: self.last_look,
            // 2026-05-01T00:00:00Z
            started_ms: 1_777_593_600_000,
            ended_ms: 1_777_594_200_000,
            runner: RunnerFacts {
                version: name("0.1.0"),
                commit: None,
                binary_sha256: None,
                target: name("x86_64-unknown-linux-gnu"),
            },
            setup: SetupRef {
                slug: None,
                interconnect: None,
                split: None,
            },
            hosts: vec![host()],
            base: arm(kind, "base", b"one program"),
            candidate: arm(kind, "candidate", b"one program"),
            models: (models.iter())
                .map(|model| self.gate_model(model))
                .collect(),
            cells: (self.cells.iter())
                .map(|cell| gate_cell(cell, &models))
                .collect(),
            stages: Vec::new(),
            quality: Vec::new(),
            known_block_sds: Vec::new(),
            failure: None,
            interrupted: false,
        };
        let mut now_ns = 0;
        for (kind, blocks) in [
            (StageKind::Measuring, self.blocks),
            (StageKind::Confirmation, self.confirmation),
            (StageKind::Layout, self.layout),
        ] {
            if blocks > 0 {
                record.stages.push(self.stage(kind, blocks, &mut now_ns));
            }
        }
        record
    }

    /// Models in the order of the cells.
    fn models(&self) -> Vec<&str> {
        let mut models: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !models.contains(&cell.model.as_str()) {
                models.push(&cell.model);
            }
        }
        models
    }

    fn gate_model(&self, model: &str) -> GateModel {
        let mut of_model = self.cells.iter().filter(|cell| cell.model == model);
        let is_command = of_model.all(|cell| cell.workload.is_empty());
        let weights = (!is_command).then(|| variant(model));
        GateModel {
            name: name(model),
            base: weights.clone(),
            candidate: weights,
        }
    }

    /// Blocks of every model in turn.
    fn stage(&self, kind: StageKind, blocks: u32, now_ns: &mut u64) -> Stage {
        let seed = stage_seed(&self.seed, kind);
        let mut noise = Resampler::new(Sha256Digest::of(&seed).0);
        let mut stage = Stage {
            kind,
            seed: Sha256Digest(seed),
            blocks: Vec::new(),
            binary_sha256: (kind == StageKind::Layout).then(|| Sha256Digest::of(b"shuffled")),
            unavailable: None,
        };
        for index in 0..blocks {
            for (at, model) in self.models().into_iter().enumerate() {
                let coin = coin(&seed, model, index);
                let slots = order(coin).map(|arm| {
                    *now_ns += REST_NS;
                    let start_ns = *now_ns;
                    *now_ns += SLOT_NS;
                    Slot {
                        arm,
                        start_ns,
                        end_ns: *now_ns,
                        control_multiply_ns: noisy(10_000_000, 0.01 * normal(&mut noise)),
                        control_copy_ns: noisy(12_000_000, 0.01 * normal(&mut noise)),
                        throttled_ns: None,
                        output_sha256: None,
                        samples: self.samples(model, kind, arm, &mut noise),
                    }
                });
                stage.blocks.push(Block {
                    model: at as u32,
                    index,
                    coin,
                    void: None,
                    slots: slots.into(),
                });
            }
        }
        stage
    }

    fn samples(
        &self,
        model: &str,
        kind: StageKind,
        arm: Arm,
        noise: &mut Resampler,
    ) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (at, cell) in self.cells.iter().enumerate() {
            if cell.model != model {
                continue;
            }
            for (metric, effect) in &cell.effects {
                let changed = arm == Arm::Candidate && kind != StageKind::Layout;
                let planted = if changed { effect.ln_1p() } else { 0.0 };
                // A block's value is the difference of two means of two: its spread is a slot's.
                let slot = planted + self.block_sd * normal(noise);
                let (units, cost) = typical(*metric);
                samples.push(Sample {
                    cell: at as u32,
                    metric: *metric,
                    units,
                    costs: vec![noisy(units * cost, slot); REPETITIONS],
                    tail_ns: tail_ns(*metric),
                    claimed_ns: None,
                });
            }
        }
        samples
    }
}

/// Sets the values of a cell-metric's blocks: every cost of the base is what it was, every cost of
/// the candidate the base's times e to the block's value. Blocks beyond the values stay as they are.
pub fn set_values(
    record: &mut GateRecord,
    kind: StageKind,
    cell: u32,
    metric: Metric,
    values: &[f64],
) {
    let model = record.cells[cell as usize].model;
    let stages = record.stages.iter_mut().filter(|stage| stage.kind == kind);
    let blocks = (stages.flat_map(|stage| &mut stage.blocks)).filter(|block| block.model == model);
    for (block, value) in blocks.zip(values) {
        for slot in &mut block.slots {
            let of_candidate = slot.arm == Arm::Candidate;
            let samples = slot.samples.iter_mut();
            for sample in samples.filter(|of| of.cell == cell && of.metric == metric) {
                let (units, cost) = typical(metric);
                let planted = if of_candidate { *value } else { 0.0 };
                sample.costs = vec![noisy(units * cost, planted); REPETITIONS];
            }
        }
    }
}

/// Units of one repetition, and the base's cost of one.
fn typical(metric: Metric) -> (u64, u64) {
    match metric {
        Metric::Decode => (63, 5_000_000),
        Metric::Prefill => (64, 1_000_000),
        Metric::Ttft => (1, 64_000_000),
        Metric::PeakBytes => (1, 2_000_000_000),
        Metric::Energy => (128, 40_000),
        Metric::Time => (1, 300_000_000),
    }
}

fn tail_ns(metric: Metric) -> Option<u64> {
    match metric {
        Metric::Decode | Metric::Prefill | Metric::Ttft | Metric::Time => Some(TAIL_NS),
        Metric::PeakBytes | Metric::Energy => None,
    }
}

fn noisy(cost: u64, logarithm: f64) -> u64 {
    (cost as f64 * logarithm.exp()).round() as u64
}

/// A standard normal draw, by Box and Muller.
fn normal(draws: &mut Resampler) -> f64 {
    let radius = (-2.0 * (1.0 - draws.share()).ln()).sqrt();
    radius * (std::f64::consts::TAU * draws.share()).cos()
}

fn name(text: &str) -> Name {
    Name::cleaned(text)
}

fn arm(kind: ArmKind, label: &str, program: &[u8]) -> ArmFacts {
    ArmFacts {
        kind,
        label: name(label),
        commit: Some(name(&label[..1].repeat(40))),
        binary_sha256: Some(Sha256Digest::of(program)),
        command_sha256: Sha256Digest::of(label.as_bytes()),
        engine: None,
        settings: None,
    }
}

fn gate_cell(cell: &ExampleCell, models: &[&str]) -> GateCell {
    let model = models.iter().position(|model| *model == cell.model);
    GateCell {
        label: name(format!("{} {}", cell.model, cell.workload).trim_end()),
        model: model.expect("every cell's model is among the models") as u32,
        workload: (!cell.workload.is_empty()).then(|| workload(&cell.workload)),
        metrics: cell.effects.iter().map(|(metric, _)| *metric).collect(),
        unavailable: Vec::new(),
        scope: (cell.effects.iter())
            .any(|(metric, _)| *metric == Metric::Energy)
            .then_some(Scope::CpuPkg),
    }
}

/// Prompt and output tokens of a workload such as `pp64-tg64`; 64 each of one that is named otherwise.
fn tokens(id: &str) -> [u32; 2] {
    let shape = (id.split_once("-tg")).and_then(|(prompt, output)| {
        let prompt = prompt.strip_prefix("pp")?.parse().ok()?;
        Some([prompt, output.parse().ok()?])
    });
    shape.unwrap_or([64, 64])
}

fn workload(id: &str) -> Workload {
    let [prompt_tokens, output_tokens] = tokens(id);
    Workload {
        id: Slug::from_text(id).expect("workloads of examples are slugs"),
        prompt_tokens,
        output_tokens,
        depth_tokens: 0,
        concurrency: 1,
        kv_state: KvState::Cold,
        samples: 1,
        verifier: None,
        eos_banned: true,
        prompt_sha256: None,
        temperature_ppm: 0,
        top_p_ppm: None,
        top_k: None,
        seed: None,
    }
}

fn variant(model: &str) -> VariantFacts {
    let sha256 = Sha256Digest::of(model.as_bytes());
    VariantFacts {
        sha256,
        files: vec![WeightFile {
            sha256,
            bytes: 1_000_000,
        }],
        repo: None,
        revision: None,
        path: None,
        model: name(model),
        arch: name("llama"),
        quant: name("Q4_K"),
        types: Vec::new(),
        vocab_size: 512,
        template_sha256: None,
        tokenizer_sha256: None,
        params_total: 1_000_000,
        params_active: 1_000_000,
        experts_total: None,
        experts_used: None,
        dense_bytes: 900_000,
        embedding_bytes: 50_000,
        head_bytes: 50_000,
        shared_expert_bytes: None,
        routed_expert_bytes: None,
        kv: Vec::new(),
        pruning: Pruning {
            method: PruningMethod::None,
            ratio_ppm: 0,
            source_sha256: None,
            healed: None,
            recipe: None,
        },
    }
}

fn host() -> Host {
    Host {
        host: 0,
        profile: None,
        fingerprint: Sha256Digest::of(b"a machine"),
        os: name("linux"),
        os_version: None,
        kernel: None,
        chip: Some(name("Example CPU")),
        cpu_cores: 2,
        memory_bytes: Some(8 << 30),
        unified: None,
        is_virtual: Some(true),
        container: None,
        bandwidth_probe_bytes_s: None,
        bandwidth_curve: Vec::new(),
        compute_probe_flop_s: None,
        battery_full_uwh: None,
        gpus: Vec::new(),
    }
}
