//! Puts one cell's raw samples and the facts around them together as a record.

use domain::ids::Sha256Digest;
use domain::matrix::WorkloadSpec;
use domain::record::{
    Audience, EngineFacts, Host, KvState, Outcome, Record, RunnerFacts, SCHEMA, Settings, SetupRef,
    SuiteRef, VariantFacts, Workload,
};
use domain::text::Name;

use crate::measure::Samples;
use crate::meter::sampler::Sampled;
use crate::meter::{Estimate, energy_claim};
use crate::prompt;

/// What is the same for every cell of a sweep.
#[derive(Debug)]
pub struct SweepFacts {
    /// Whom the records are for.
    pub audience: Audience,
    /// The sweep.
    pub sweep: Sha256Digest,
    /// The suite, if one is asked.
    pub suite: Option<SuiteRef>,
    /// This program.
    pub runner: RunnerFacts,
    /// The setup, if recognised.
    pub setup: SetupRef,
    /// This machine.
    pub host: Host,
    /// The engine.
    pub engine: EngineFacts,
    /// Its settings.
    pub settings: Settings,
    /// Watts to assume, if the user asked.
    pub estimate: Option<Estimate>,
    /// Why there are no meters, if there are none.
    pub no_meters: Option<domain::record::UnavailableEnergy>,
}

/// What is a cell's own.
#[derive(Debug)]
pub struct CellFacts {
    /// The weights.
    pub variant: VariantFacts,
    /// What was asked.
    pub workload: WorkloadSpec,
    /// The samples.
    pub samples: Samples,
    /// The meters' readings.
    pub sampled: Sampled,
    /// How it ended.
    pub outcome: Outcome,
    /// In a few words.
    pub outcome_class: Option<String>,
    /// Wall clock at the end.
    pub ended_ms: u64,
}

/// The record of one cell.
pub fn assemble(sweep: &SweepFacts, cell: CellFacts) -> Record {
    let unavailable = cell.sampled.trouble.or_else(|| sweep.no_meters.clone());
    let energy = energy_claim(&cell.sampled.traces, unavailable, sweep.estimate.as_ref());
    Record {
        schema: Name::cleaned(SCHEMA),
        audience: sweep.audience,
        sweep: sweep.sweep,
        challenge: None,
        started_ms: cell.samples.started_ms,
        ended_ms: cell.ended_ms,
        outcome: cell.outcome,
        outcome_class: cell.outcome_class.map(|class| Name::cleaned(&class)),
        blob_sha256: None,
        windows: None,
        checkpoint: None,
        suite: sweep.suite.clone(),
        runner: sweep.runner.clone(),
        setup: sweep.setup.clone(),
        hosts: vec![sweep.host.clone()],
        engine: sweep.engine.clone(),
        settings: sweep.settings.clone(),
        variant: cell.variant,
        workload: workload(&cell.workload),
        repetitions: cell.samples.repetitions,
        phases: cell.samples.phases,
        meters: cell.sampled.traces,
        energy,
        context: cell.samples.context,
        quality: cell.samples.quality,
        fidelity: None,
    }
}

/// Every prompt is a window of one text behind its own prefix: the text's digest stands for them.
fn workload(spec: &WorkloadSpec) -> Workload {
    Workload {
        id: spec.id.clone(),
        prompt_tokens: spec.prompt_tokens,
        output_tokens: spec.output_tokens,
        depth_tokens: 0,
        concurrency: 1,
        kv_state: KvState::Cold,
        samples: 1,
        verifier: None,
        eos_banned: true,
        prompt_sha256: Some(Sha256Digest::of(prompt::TEXT.as_bytes())),
        temperature_ppm: 0,
        top_p_ppm: None,
        top_k: None,
        seed: None,
    }
}
