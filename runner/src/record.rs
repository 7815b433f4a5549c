//! Puts one cell's raw samples and the facts around them together as a record.

use std::collections::BTreeSet;

use domain::ids::Sha256Digest;
use domain::matrix::WorkloadSpec;
use domain::record::{
    AttributionMethod, Audience, EngineFacts, Fidelity, Host, MeterTrace, Outcome, Record,
    RunnerFacts, SCHEMA, Settings, SetupRef, SuiteRef, UnavailableEnergy, UnavailableReason,
    VariantFacts, Workload,
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
    /// Watts to assume, if the user asked.
    pub estimate: Option<Estimate>,
    /// Why there are no meters, if there are none.
    pub no_meters: Option<UnavailableEnergy>,
}

/// What answered.
#[derive(Debug, Clone)]
pub struct Machines {
    /// The setup, if recognised.
    pub setup: SetupRef,
    /// The machines.
    pub hosts: Vec<Host>,
    /// Which of them is this one, if it is more than the client.
    pub here: Option<u32>,
}

impl Machines {
    /// The engine ran on this machine alone, so that its counters cover the work.
    pub fn are_this_one(&self) -> bool {
        self.here.is_some() && self.hosts.len() == 1
    }
}

/// What is a cell's own.
#[derive(Debug)]
pub struct CellFacts {
    /// The machines.
    pub machines: Machines,
    /// The engine.
    pub engine: EngineFacts,
    /// Its settings.
    pub settings: Settings,
    /// The weights.
    pub variant: VariantFacts,
    /// What was asked.
    pub workload: WorkloadSpec,
    /// The samples.
    pub samples: Samples,
    /// The meters' readings, each trace with the number of its host.
    pub sampled: Sampled,
    /// How far it is from its source, where that was compared.
    pub fidelity: Option<Fidelity>,
    /// How it ended.
    pub outcome: Outcome,
    /// In a few words.
    pub outcome_class: Option<String>,
    /// Wall clock at the end.
    pub ended_ms: u64,
}

/// The record of one cell.
pub fn assemble(sweep: &SweepFacts, cell: CellFacts) -> Record {
    // What the machine was like was read here: it says nothing of machines that did the work
    // elsewhere.
    let here = cell.machines.here;
    let mut context = cell.samples.context;
    context.retain_mut(|seen| here.inspect(|host| seen.host = *host).is_some());
    let mut phases = cell.samples.phases;
    for phase in &mut phases {
        phase.host = here.unwrap_or(0);
    }
    let hosts = &cell.machines.hosts;
    // Each trace has its host's number: the sampler brings none of a machine that did no work.
    let mut traces = cell.sampled.traces;
    traces.retain(|trace| hosts.iter().any(|host| host.host == trace.host));
    let no_meters_here = sweep.no_meters.clone().filter(|_| here.is_some());
    let unavailable = cell.sampled.trouble.or(no_meters_here).or_else(|| {
        let alone = cell.machines.are_this_one();
        (!alone).then(|| mismatch(&traces, hosts))
    });
    let reads = !traces.is_empty();
    let method = cell.samples.method.unwrap_or(AttributionMethod::Loops);
    let energy = energy_claim(&traces, hosts, method, unavailable, sweep.estimate.as_ref());
    // An engine that only times itself was asked no item; a cell that failed was to be asked.
    let was_asked = cell.samples.quality.is_some() || cell.outcome != Outcome::Ok;
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
        suite: sweep.suite.clone().filter(|_| was_asked),
        runner: sweep.runner.clone(),
        setup: cell.machines.setup,
        hosts: cell.machines.hosts,
        engine: cell.engine,
        settings: cell.settings,
        variant: cell.variant,
        workload: workload(&cell.workload, method),
        repetitions: cell.samples.repetitions,
        phases,
        meters: traces,
        energy,
        sampler: cell.sampled.cost.filter(|_| reads),
        context,
        quality: cell.samples.quality,
        fidelity: cell.fidelity,
    }
}

/// Why the joules of several hosts are no total: what each of them was read by.
fn mismatch(traces: &[MeterTrace], hosts: &[Host]) -> UnavailableEnergy {
    let of = |host: &Host| {
        let own = traces.iter().filter(|trace| trace.host == host.host);
        let scopes: BTreeSet<&str> = own.map(|trace| trace.scope.as_str()).collect();
        let scopes: Vec<_> = scopes.into_iter().collect();
        match scopes.as_slice() {
            [] => format!("host {}: no meter was read", host.host),
            scopes => format!("host {}: {}", host.host, scopes.join(", ")),
        }
    };
    let each: Vec<String> = hosts.iter().map(of).collect();
    UnavailableEnergy {
        reason: UnavailableReason::ScopeMismatch,
        detail: Name::cleaned(&each.join("; ")),
    }
}

/// Every prompt is a window of one text behind its own prefix: the text's digest stands for them.
pub(crate) fn workload(spec: &WorkloadSpec, method: AttributionMethod) -> Workload {
    Workload {
        id: spec.id.clone(),
        prompt_tokens: spec.prompt_tokens,
        output_tokens: spec.output_tokens,
        depth_tokens: spec.depth_tokens,
        concurrency: spec.concurrency,
        kv_state: spec.kv_state,
        samples: spec.samples,
        verifier: spec
            .verifier
            .map(|verifier| Name::cleaned(verifier.as_str())),
        // Joules are fitted where, and only where, output lengths could not be forced.
        eos_banned: method != AttributionMethod::Regression,
        prompt_sha256: Some(Sha256Digest::of(prompt::TEXT.as_bytes())),
        temperature_ppm: spec.temperature_ppm,
        top_p_ppm: None,
        top_k: None,
        seed: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{ANSWERS_BYTES, REPETITIONS_BYTES, json_bytes};
    use crate::meter::sampler::Sampler;
    use crate::quality::tests::hostile;
    use crate::{host, plan};
    use domain::matrix::MAX_ITEMS;
    use domain::record::{
        Asking, Averaging, Context, EnergyClaim, MAX_RECORD_BYTES, MeterKind, Phase, PhaseKind,
        Quality, Repetition, TemplateSource, Thinking, UpdateBasis,
    };
    use domain::scope::Scope;

    /// Ten days in nanoseconds: no cell lasts longer.
    const LATE_NS: u64 = 864_000_000_000_000;
    const METERS: usize = 5;

    fn trace() -> MeterTrace {
        let readings = Sampler::bound(METERS);
        MeterTrace {
            meter: Name::cleaned("powercap"),
            host: 0,
            device: Name::cleaned("package-0"),
            scope: Scope::CpuPkg,
            used: true,
            kind: MeterKind::Counter,
            averaging: Averaging::Instant,
            window_ns: None,
            update_ns: Some(1_000_000),
            update_basis: UpdateBasis::Assumed,
            wrap_uj: Some(262_143_328_850),
            sensor_ppm: Some(50_000),
            origin: Name::cleaned("powercap msr"),
            clock_error_ns: None,
            t_ns: vec![LATE_NS; readings],
            latency_ns: vec![250_000; readings],
            source_t_ns: None,
            v: vec![262_143_328_850; readings],
        }
    }

    fn sweep() -> SweepFacts {
        SweepFacts {
            audience: Audience::Any,
            sweep: Sha256Digest([0; 32]),
            suite: None,
            runner: host::runner_facts(),
            estimate: None,
            no_meters: None,
        }
    }

    /// A cell without samples.
    fn cell(hosts: Vec<Host>, here: Option<u32>) -> CellFacts {
        let scripted = crate::engine::scripted::ScriptedEngine::new();
        CellFacts {
            machines: Machines {
                setup: SetupRef {
                    slug: None,
                    interconnect: None,
                    split: None,
                },
                hosts,
                here,
            },
            engine: crate::engine::Engine::facts(&scripted),
            settings: crate::engine::Engine::settings(&scripted),
            variant: plan::tests::facts(1, 1),
            workload: WorkloadSpec::simple("pp128-tg64".parse().expect("a slug"), 128, 64),
            samples: Samples::default(),
            sampled: Sampled::default(),
            fidelity: None,
            outcome: Outcome::Ok,
            outcome_class: None,
            ended_ms: LATE_NS,
        }
    }

    #[test]
    fn several_hosts_have_a_total_only_of_a_scope_that_all_of_them_read() {
        let survey = host::survey(std::path::Path::new("/"));
        let of = |number: u32| Host {
            host: number,
            gpus: Vec::new(),
            ..survey.host.clone()
        };
        let read = |host: u32, scope: Scope| MeterTrace {
            host,
            scope,
            ..trace()
        };
        let energy = |traces: Vec<MeterTrace>, here: Option<u32>| {
            let mut cell = cell(vec![of(0), of(1)], here);
            cell.sampled.traces = traces;
            let record = assemble(&sweep(), cell);
            (record.energy, record.meters.len())
        };
        let both = vec![read(0, Scope::CpuPkg), read(1, Scope::CpuPkg)];
        let (total, _) = energy(both, Some(0));
        assert!(
            matches!(&total, EnergyClaim::Measured(claim) if claim.meters == [0, 1]),
            "{total:?}"
        );
        for (traces, here, kept) in [
            (
                vec![read(0, Scope::CpuPkg), read(1, Scope::WallAc)],
                Some(0),
                2,
            ),
            (vec![read(0, Scope::CpuPkg)], Some(0), 1),
            (Vec::new(), None, 0),
        ] {
            let (none, lines) = energy(traces, here);
            let mismatch = UnavailableReason::ScopeMismatch;
            assert!(
                matches!(&none, EnergyClaim::Unavailable(why) if why.reason == mismatch),
                "{none:?}"
            );
            assert_eq!(lines, kept, "a host's own line stays");
        }
    }

    /// With repetitions of so many bytes, and so many hostile answers of a megabyte.
    fn full_record_bytes(repetitions_bytes: usize, answers: u32, samples_each: u32) -> usize {
        let survey = host::survey(std::path::Path::new("/"));
        let context = crate::context::ContextReader::new(std::path::Path::new("/"), 2);
        let phase = |rep| Phase {
            phase: PhaseKind::MixedLoop,
            rep: Some(rep),
            host: 0,
            start_ns: LATE_NS,
            end_ns: LATE_NS,
            requests: 100_000,
            tokens_in: 100_000_000,
            tokens_out: 100_000_000,
        };
        let gaps = repetitions_bytes / "1000000,".len();
        let repetition: Repetition = serde_json::from_value(serde_json::json!({
            "rep": 0, "warmup": false, "void": null, "start_ns": 0, "end_ns": LATE_NS, "peak_bytes": null,
            "paged_bytes": null, "transcript_sha256": null, "requests": [{
                "stream": 0, "sent_ns": 0, "first_visible_ns": 1, "first_event_ns": 1,
                "gaps_us": vec![1_000_000; gaps], "event_tokens": null, "prompt_tokens": 128,
                "cached_tokens": null, "output_tokens": 64, "reasoning_tokens": 0, "passes": null,
                "accepted_tokens": null, "token_source": "ids", "finish": "length",
                "engine_prefill_ns": 1, "engine_decode_ns": 1
            }]
        }))
        .expect("a repetition");
        let mut samples = Samples {
            zero_ns: 0,
            started_ms: LATE_NS,
            repetitions: vec![repetition],
            phases: (0..64).map(phase).collect(),
            method: Some(AttributionMethod::Loops),
            context: (0..16)
                .map(|_| context.read(LATE_NS))
                .collect::<Vec<Context>>(),
            quality: None,
        };
        let left = REPETITIONS_BYTES.saturating_sub(json_bytes(&samples.repetitions));
        let (items, answer_bytes) = hostile(answers, samples_each, ANSWERS_BYTES + left);
        samples.quality = Some(Quality {
            items,
            transcript_sha256: Some(Sha256Digest([0; 32])),
            asking: Some(Asking {
                template: TemplateSource::Server,
                thinking: Thinking::Apart,
                thinking_tokens: 32_768,
                answer_bytes,
            }),
        });
        let sampled = Sampled {
            traces: (0..METERS).map(|_| trace()).collect(),
            trouble: None,
            cost: None,
        };
        let cell = CellFacts {
            samples,
            sampled,
            ..cell(vec![survey.host], Some(0))
        };
        let facts = sweep();
        json_bytes(&assemble(&facts, cell))
    }

    #[test]
    fn a_record_with_every_bound_reached_fits() {
        // Where repetitions leave much, answers take it.
        for (repetitions_bytes, answers, samples) in [
            (REPETITIONS_BYTES, MAX_ITEMS, 1),
            (REPETITIONS_BYTES, 800, 4),
            (REPETITIONS_BYTES / 8, 800, 4),
        ] {
            let bytes = full_record_bytes(repetitions_bytes, answers, samples);
            assert!(bytes <= MAX_RECORD_BYTES, "{bytes} bytes");
            assert!(
                bytes > 8 * MAX_RECORD_BYTES / 10,
                "the bounds are reached: {bytes} bytes"
            );
        }
    }
}
