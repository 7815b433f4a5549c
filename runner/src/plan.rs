//! What a sweep will do: cells in seeded random order, with time and memory, and what is
//! skipped and why. Pure.
//!
//! The order is random between cells, so that a machine that warms up or gets busier does not
//! favour one model. Times and sizes are estimates from file sizes and token counts, for a person
//! to decide and for a bar to move; nothing of them enters a record.

use std::time::Duration;

use domain::ids::Sha256Digest;
use domain::matrix::{
    AS_IS, EngineKind, EngineSpec, HERE, MachineHost, MatrixCell, PruneRecipe, RepetitionSettings,
    WorkloadSpec,
};
use domain::record::{KvKind, KvState, VariantFacts};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::measure::{
    REPETITIONS_BYTES, SHORT_LOOP, idle_seconds, is_direct, least_bytes, loop_seconds,
};
use crate::quality::Questions;

/// The matrix of `joulemark quickstart`.
pub const QUICKSTART_MATRIX: &str = include_str!("../quickstart-matrix.toml");

/// Guess before anything was measured: bytes of weights that a slow machine reads per second.
const GUESSED_BYTES_PER_SECOND: f64 = 4e9;
/// Guess: what one forward pass of a tiny model costs besides its weights.
const GUESSED_PASS_SECONDS: f64 = 0.3e-3;
/// Guess: prompt tokens that cost as much as one token of output.
const GUESSED_PREFILL_GAIN: f64 = 16.0;
/// What the program itself needs, and room for activations.
const OWN_MEMORY_BYTES: u64 = 128 << 20;

/// What a sweep will do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The sweep's id: random once, kept when it is resumed; it orders the cells and seeds the
    /// prompts.
    pub sweep: Sha256Digest,
    /// To be measured, in this order.
    pub cells: Vec<PlannedCell>,
    /// Not measured, and why.
    pub skipped: Vec<SkippedCell>,
    /// Measured before an interruption.
    pub finished: usize,
}

impl Plan {
    /// Estimated time of the cells to be measured.
    pub fn seconds(&self) -> f64 {
        self.cells.iter().map(|cell| cell.seconds).sum()
    }

    /// Estimated memory of the largest cell.
    pub fn memory_bytes(&self) -> u64 {
        self.cells
            .iter()
            .map(|cell| cell.memory_bytes)
            .max()
            .unwrap_or(0)
    }
}

/// A cell to be measured.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedCell {
    /// What.
    pub cell: MatrixCell,
    /// Digest of its source weights.
    pub source_sha256: Sha256Digest,
    /// Identifies it within a resumed sweep: what is asked, of which bytes.
    pub key: Sha256Digest,
    /// Estimated time.
    pub seconds: f64,
    /// Estimated memory.
    pub memory_bytes: u64,
}

/// A cell that is not measured.
#[derive(Debug, Clone, PartialEq)]
pub struct SkippedCell {
    /// What.
    pub cell: MatrixCell,
    /// Why, and what to do.
    pub reason: String,
}

/// What the plan depends on besides the cells.
#[derive(Debug)]
pub struct Circumstances<'a> {
    /// The sweep's id.
    pub sweep: Sha256Digest,
    /// How long and how often.
    pub repetitions: &'a RepetitionSettings,
    /// What every cell is asked.
    pub questions: &'a Questions,
    /// Memory that can be used, where it is known.
    pub available_bytes: Option<u64>,
    /// What the cells' engines are: they need memory differently, and not all need ours.
    pub engines: &'a [EngineSpec],
    /// How often the slowest meter updates that carries the joules of this machine, zero where that
    /// is not known: for joules, phases are added. `None` without a meter.
    pub update: Option<Duration>,
    /// Keys of cells that an interrupted sweep finished.
    pub finished: &'a [Sha256Digest],
}

/// What is known of a model file: its facts, and the longest context it is made for.
pub type SourceFacts = (VariantFacts, Option<u32>);

/// Plans `cells`; `source` answers what is known of a model file, or why nothing is.
pub fn plan(
    cells: Vec<MatrixCell>,
    mut source: impl FnMut(&str) -> Result<SourceFacts, String>,
    circumstances: &Circumstances,
) -> Plan {
    let mut plan = Plan {
        sweep: circumstances.sweep,
        cells: Vec::new(),
        skipped: Vec::new(),
        finished: 0,
    };
    for cell in cells {
        match planned(&cell, source(&cell.file), circumstances) {
            Ok(planned) if circumstances.finished.contains(&planned.key) => plan.finished += 1,
            Ok(planned) => plan.cells.push(planned),
            Err(reason) => plan.skipped.push(SkippedCell { cell, reason }),
        }
    }
    shuffle(&mut plan.cells, circumstances.sweep);
    let idle = circumstances
        .update
        .and_then(|update| idle_seconds(circumstances.repetitions.idle_unloaded_seconds, update));
    if let (Some(idle), [first, .., last]) = (idle, &mut plan.cells[..]) {
        first.seconds += idle;
        last.seconds += idle;
    } else if let (Some(idle), [only]) = (idle, &mut plan.cells[..]) {
        only.seconds += 2.0 * idle;
    }
    plan
}

/// Remaining time of a sweep: the estimate of what is left, scaled by how the finished cells
/// compare with theirs.
#[derive(Debug, Clone, Default)]
pub struct Eta {
    estimated: f64,
    measured: f64,
}

impl Eta {
    /// Learns from a finished cell.
    pub fn finished(&mut self, estimated_seconds: f64, measured_seconds: f64) {
        self.estimated += estimated_seconds;
        self.measured += measured_seconds;
    }

    /// What cells estimated at so many seconds will take.
    pub fn of(&self, estimated_seconds: f64) -> f64 {
        let scale = if self.estimated > 0.0 {
            self.measured / self.estimated
        } else {
            1.0
        };
        estimated_seconds * scale
    }
}

fn planned(
    cell: &MatrixCell,
    source: Result<SourceFacts, String>,
    circumstances: &Circumstances,
) -> Result<PlannedCell, String> {
    let (source, model_context) = source?;
    fits_the_model(&cell.pruning, &source)?;
    if cell.quantisation == AS_IS && cell.pruning != PruneRecipe::None {
        return Err(
            "weights that are taken as they are cannot be pruned: pruning = none".to_owned(),
        );
    }
    fits_a_record(&cell.workload, circumstances.repetitions)?;
    let weight_bytes = weight_bytes(cell, &source);
    let asked = if times_itself(cell, circumstances) {
        0
    } else {
        circumstances.questions.context_tokens(source.vocab_size)
    };
    let tokens = context_tokens(&cell.workload, asked, model_context);
    let kv_elements = kv_elements(&source, &cell.workload, tokens);
    let memory_bytes = match memory_of(cell, circumstances.engines) {
        // Weights, once more while they are repacked, and a cache in four bytes.
        Memory::Repacked => 2 * weight_bytes + 4 * kv_elements + OWN_MEMORY_BYTES,
        Memory::Once => weight_bytes + 2 * kv_elements + OWN_MEMORY_BYTES,
        Memory::Elsewhere => OWN_MEMORY_BYTES,
    };
    if let Some(available) = circumstances
        .available_bytes
        .filter(|available| *available < memory_bytes)
    {
        return Err(format!(
            "needs about {} MB of memory, {} MB are free: close programs, or choose a smaller variant",
            memory_bytes >> 20,
            available >> 20
        ));
    }
    let meaning = format!("{}\0{}", cell.label(), source.sha256);
    Ok(PlannedCell {
        cell: cell.clone(),
        source_sha256: source.sha256,
        key: Sha256Digest::of(meaning.as_bytes()),
        seconds: seconds(cell, weight_bytes, source.vocab_size, circumstances),
        memory_bytes,
    })
}

/// How an engine takes memory of this machine.
enum Memory {
    /// candle, which repacks matrices into a form of its own.
    Repacked,
    /// Another program that is started here.
    Once,
    /// A server that holds its weights already, or other machines.
    Elsewhere,
}

fn memory_of(cell: &MatrixCell, engines: &[EngineSpec]) -> Memory {
    let spec = engines.iter().find(|spec| spec.name == cell.engine);
    match spec {
        Some(spec) if spec.is_running() || spec.machines.is_some() => Memory::Elsewhere,
        Some(spec) if spec.kind != EngineKind::Candle => Memory::Once,
        _ => Memory::Repacked,
    }
}

/// Whether a model has what is to be removed, as far as its facts tell.
fn fits_the_model(recipe: &PruneRecipe, source: &VariantFacts) -> Result<(), String> {
    let layers = layers(source);
    let problem = match recipe {
        PruneRecipe::Layers(count) if layers <= count.saturating_add(1) => {
            format!("{count} of its {layers} layers cannot be dropped: the first and the last stay")
        }
        PruneRecipe::LayersByImportance(count) if layers <= *count => {
            format!("{count} of its {layers} layers cannot be dropped: at least one stays")
        }
        PruneRecipe::LayersAt(drop) if drop.iter().any(|&layer| layer >= layers) => {
            format!("it has {layers} layers, counted from 0: {recipe} names others")
        }
        PruneRecipe::Experts(_) | PruneRecipe::ExpertsUsed(_) if source.experts_total.is_none() => {
            format!("it is a dense model: {recipe} needs experts")
        }
        _ => return Ok(()),
    };
    Err(problem)
}

fn layers(source: &VariantFacts) -> u32 {
    source.kv.iter().map(|kind| kind.layers).sum()
}

/// Share of the source's weights that a recipe leaves in the file. Heads and experts are not subtracted: their part of
/// a layer is not among the facts.
fn kept_share(recipe: &PruneRecipe, source: &VariantFacts) -> f64 {
    let dropped = match recipe {
        PruneRecipe::Layers(count) | PruneRecipe::LayersByImportance(count) => f64::from(*count),
        PruneRecipe::LayersAt(drop) => drop.len() as f64,
        _ => return 1.0,
    };
    let in_layers = source.dense_bytes
        + source.shared_expert_bytes.unwrap_or(0)
        + source.routed_expert_bytes.unwrap_or(0);
    let file: u64 = source.files.iter().map(|file| file.bytes).sum();
    1.0 - dropped / f64::from(layers(source).max(1)) * in_layers as f64 / file.max(1) as f64
}

/// Tokens of context that one stream is loaded with: what is timed, and what the longest item takes
/// as far as the model's own context goes.
pub(crate) fn context_tokens(workload: &WorkloadSpec, asked: u32, model: Option<u32>) -> u32 {
    let asked = model.map_or(asked, |model| asked.min(model));
    workload.context_tokens().max(asked)
}

/// The engine only times itself, and is asked nothing.
fn times_itself(cell: &MatrixCell, circumstances: &Circumstances) -> bool {
    let mut engines = circumstances.engines.iter();
    let spec = engines.find(|spec| spec.name == cell.engine);
    spec.is_some_and(|spec| matches!(spec.kind, EngineKind::LlamaBench(_)))
}

/// Whether repetitions stay within the bounds of a record, or what to change.
fn fits_a_record(workload: &WorkloadSpec, repetitions: &RepetitionSettings) -> Result<(), String> {
    let bytes = least_bytes(workload, repetitions);
    if workload.concurrency > 1 && bytes > REPETITIONS_BYTES {
        return Err(format!(
            "{} streams of {} output tokens need about {} KB of a record, {} KB are there: fewer \
             streams, shorter outputs or a smaller min",
            workload.concurrency,
            workload.output_tokens,
            bytes >> 10,
            REPETITIONS_BYTES >> 10
        ));
    }
    Ok(())
}

/// Bytes of the variant's weights: the file's own where it is taken as it is.
fn weight_bytes(cell: &MatrixCell, source: &VariantFacts) -> u64 {
    let file: u64 = source.files.iter().map(|file| file.bytes).sum();
    if cell.quantisation == AS_IS && file > 0 {
        return file;
    }
    let bits = source.params_total as f64 * bits_per_weight(&cell.quantisation);
    (bits / 8.0 * kept_share(&cell.pruning, source)) as u64
}

/// Elements that the caches of all streams hold when they are full.
fn kv_elements(source: &VariantFacts, workload: &WorkloadSpec, tokens: u32) -> u64 {
    let tokens = u64::from(tokens);
    let of_layer = |kind: &domain::record::KvLayout| match (kind.kind, kind.window_tokens) {
        (KvKind::State, _) => kind.state_elements.unwrap_or(0),
        (KvKind::Window, Some(window)) => kind.elements_per_token * tokens.min(window),
        _ => kind.elements_per_token * tokens,
    };
    let layers = source.kv.iter();
    let stream: u64 = layers
        .map(|kind| u64::from(kind.layers) * of_layer(kind))
        .sum();
    stream * u64::from(workload.concurrency)
}

fn seconds(
    cell: &MatrixCell,
    weight_bytes: u64,
    vocab_size: u32,
    circumstances: &Circumstances,
) -> f64 {
    let (workload, settings) = (&cell.workload, circumstances.repetitions);
    let pass = GUESSED_PASS_SECONDS + weight_bytes as f64 / GUESSED_BYTES_PER_SECOND;
    let prefill = |tokens: u32| f64::from(tokens) / GUESSED_PREFILL_GAIN * pass;
    let (prompt, depth) = (workload.prompt_tokens, workload.depth_tokens);
    // What is timed of a request, and what is loaded for it before.
    let (timed, untimed) = match workload.kv_state {
        KvState::Cold => (prefill(depth + prompt), 0.0),
        KvState::WarmPrefix => (prefill(prompt), prefill(depth)),
        KvState::ExactHit => (0.0, prefill(depth + prompt)),
    };
    let streams = f64::from(workload.concurrency);
    let output = f64::from(workload.output_tokens);
    // Guess: streams at once gain nothing, as on a processor without units to spare.
    let request = (timed + output * pass) * streams;
    let (lasts, warms) = if workload.concurrency > 1 {
        let share = settings.concurrency_seconds / f64::from(settings.min);
        (share.max(3.0 * request), settings.min_seconds.max(request))
    } else {
        let by_tokens = settings
            .or_output_tokens
            .map_or(f64::INFINITY, |tokens| f64::from(tokens) / output * request);
        let lasts = settings.min_seconds.min(by_tokens).max(request);
        (lasts, lasts)
    };
    let whole = |lasts: f64| lasts * (1.0 + untimed / request);
    // Warm-ups mostly end after three; repetitions mostly take a few more than the least.
    let repetitions = 3.0 * whole(warms) + f64::from(settings.min) * 1.5 * whole(lasts);
    let times_itself = times_itself(cell, circumstances);
    let questions = circumstances.questions;
    let asked = questions.items.iter().filter(|_| !times_itself);
    let passes: f64 = asked.map(|item| questions.passes(item, vocab_size)).sum();
    let quality = passes * f64::from(workload.samples) * pass;
    let energy = match update_for(cell, circumstances) {
        Some(update) => {
            let decode = output * pass;
            let idle = idle_seconds(settings.idle_loaded_seconds, update).unwrap_or(0.0);
            // Whole requests, in as many blocks as an interval needs.
            let of = |request: f64| loop_seconds(settings, update).max(6.0 * request);
            let prefill_loop = match workload.kv_state {
                KvState::ExactHit => 0.0,
                KvState::Cold | KvState::WarmPrefix => of(timed * streams),
            };
            let decode_loop = match (workload.kv_state, depth) {
                (KvState::Cold, 0) => of((f64::from(prompt) + output) * pass * streams),
                // Behind a context only where the engine turns out to keep one.
                (KvState::WarmPrefix, _) => of((f64::from(prompt) + output) * pass),
                (KvState::Cold | KvState::ExactHit, _) => 0.0,
            };
            if times_itself || is_direct(timed, decode, workload.concurrency, update) {
                idle
            } else {
                // A quarter of a loop more tells what the short prompts took.
                let short_loop = if decode_loop > 0.0 {
                    SHORT_LOOP * loop_seconds(settings, update)
                } else {
                    0.0
                };
                idle + prefill_loop + decode_loop + short_loop
            }
        }
        None => 0.0,
    };
    let making = weight_bytes as f64 / 50e6;
    repetitions + quality + energy + making
}

/// The meters' update period where joules are read of the machines that a cell's engine runs on.
fn update_for(cell: &MatrixCell, circumstances: &Circumstances) -> Option<Duration> {
    let spec = circumstances
        .engines
        .iter()
        .find(|spec| spec.name == cell.engine);
    let machines = spec.and_then(|spec| spec.machines.as_ref());
    let is_read = |host: &MachineHost| host.survey == HERE || host.meter.is_some();
    circumstances
        .update
        .filter(|_| machines.is_none_or(|machines| machines.hosts.iter().all(is_read)))
}

/// Stored bits per weight by block layout (ggml's block sizes).
fn bits_per_weight(quantisation: &str) -> f64 {
    match quantisation {
        "Q8_0" => 8.5,
        "Q6_K" => 6.5625,
        "Q5_1" => 6.0,
        "Q5_K" | "Q5_0" => 5.5,
        "Q4_1" => 5.0,
        "Q4_K" | "Q4_0" => 4.5,
        "Q3_K" => 3.4375,
        "Q2_K" => 2.625,
        // Mixes: as llama.cpp gives them for Llama 3 8B, rounded up
        // (<https://github.com/ggml-org/llama.cpp/blob/master/tools/quantize/README.md>).
        "Q5_K_M" => 5.75,
        "Q5_K_S" => 5.6,
        "Q4_K_M" => 4.9,
        "Q4_K_S" => 4.7,
        "Q3_K_L" => 4.35,
        "Q3_K_M" => 4.05,
        "Q3_K_S" => 3.7,
        // F16 and BF16, and whatever a file is in whose bytes are not known.
        _ => 16.0,
    }
}

/// Fisher and Yates, seeded by the sweep.
fn shuffle<T>(items: &mut [T], sweep: Sha256Digest) {
    let mut rng = ChaCha8Rng::from_seed(sweep.0);
    for end in (1..items.len()).rev() {
        let at = (u64::from(rng.next_u32()) * (end as u64 + 1)) >> 32;
        items.swap(end, at as usize);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use domain::matrix::{Matrix, QualitySettings};
    use domain::record::{KvKind, KvLayout, Pruning, PruningMethod};
    use domain::text::Name;

    pub(crate) fn facts(params_total: u64, layers: u32) -> VariantFacts {
        VariantFacts {
            sha256: Sha256Digest::of(&params_total.to_le_bytes()),
            files: Vec::new(),
            repo: None,
            revision: None,
            path: None,
            model: Name::cleaned("m"),
            arch: Name::cleaned("llama"),
            quant: Name::cleaned("F16"),
            types: Vec::new(),
            vocab_size: 288,
            template_sha256: None,
            tokenizer_sha256: None,
            params_total,
            params_active: params_total,
            experts_total: None,
            experts_used: None,
            dense_bytes: 0,
            embedding_bytes: 0,
            head_bytes: 0,
            shared_expert_bytes: None,
            routed_expert_bytes: None,
            kv: vec![KvLayout {
                kind: KvKind::Full,
                layers,
                elements_per_token: 512,
                window_tokens: None,
                state_elements: None,
            }],
            pruning: Pruning {
                method: PruningMethod::None,
                ratio_ppm: 0,
                source_sha256: None,
                healed: None,
                recipe: None,
            },
        }
    }

    fn quickstart() -> (Matrix, Vec<MatrixCell>) {
        let matrix = Matrix::parse("quickstart", QUICKSTART_MATRIX).expect("valid");
        let cells = matrix.expand(&[]).expect("cells");
        (matrix, cells)
    }

    fn questions(settings: &QualitySettings) -> Questions {
        Questions::of(settings, settings.suite.public_seed())
    }

    fn planned_with(available: Option<u64>, finished: &[Sha256Digest], sweep: u8) -> Plan {
        let (matrix, cells) = quickstart();
        let circumstances = Circumstances {
            sweep: Sha256Digest([sweep; 32]),
            repetitions: &matrix.repetitions,
            questions: &questions(&matrix.quality),
            available_bytes: available,
            engines: matrix.engines(),
            update: None,
            finished,
        };
        let source = |file: &str| match file {
            file if file.contains("0.9m") => Ok((facts(930_000, 1), None)),
            file if file.contains("1.8m") => Err("the file is missing".to_owned()),
            _ => Ok((facts(3_480_000, 4), None)),
        };
        plan(cells, source, &circumstances)
    }

    #[test]
    fn quickstart_is_twelve_cells_of_about_half_a_minute_at_most() {
        let (_, cells) = quickstart();
        assert_eq!(cells.len(), 12);
        let plan = planned_with(None, &[], 1);
        assert!(
            plan.seconds() < 30.0 * plan.cells.len() as f64,
            "{}",
            plan.seconds()
        );
    }

    #[test]
    fn what_cannot_be_measured_is_skipped_with_the_reason() {
        let plan = planned_with(None, &[], 1);
        assert_eq!((plan.cells.len(), plan.skipped.len()), (9, 3));
        assert!(
            plan.skipped
                .iter()
                .all(|skipped| skipped.reason.contains("missing"))
        );
        let starved = planned_with(Some(1), &[], 1);
        assert!(starved.cells.is_empty());
        assert!(
            starved
                .skipped
                .iter()
                .any(|skipped| skipped.reason.contains("memory"))
        );
    }

    /// One cell of the quickstart with other axes, planned alone.
    fn planned_cell(
        change: impl Fn(&mut MatrixCell),
        facts: VariantFacts,
        items: u32,
    ) -> Result<PlannedCell, String> {
        let (matrix, mut cells) = quickstart();
        let cell = &mut cells[0];
        change(cell);
        let circumstances = Circumstances {
            sweep: Sha256Digest([1; 32]),
            repetitions: &matrix.repetitions,
            questions: &questions(&QualitySettings {
                items,
                ..matrix.quality.clone()
            }),
            available_bytes: None,
            engines: matrix.engines(),
            update: None,
            finished: &[],
        };
        planned(cell, Ok((facts, None)), &circumstances)
    }

    fn metered(update: Option<Duration>) -> Plan {
        let (matrix, cells) = quickstart();
        let circumstances = Circumstances {
            sweep: Sha256Digest([1; 32]),
            repetitions: &matrix.repetitions,
            questions: &questions(&matrix.quality),
            available_bytes: None,
            engines: matrix.engines(),
            update,
            finished: &[],
        };
        plan(cells, |_| Ok((facts(3_480_000, 4), None)), &circumstances)
    }

    #[test]
    fn joules_cost_loops_and_idling_by_the_meters_period() {
        let plain = metered(None);
        for (update, loops, idle, unloaded) in [
            (Duration::from_millis(100), 10.0, 2.0, 5.0),
            (Duration::from_secs(1), 100.0, 20.0, 20.0),
            (Duration::from_secs(2), 200.0, 40.0, 40.0),
        ] {
            let metered = metered(Some(update));
            let cells = metered.cells.len() as f64;
            let added = metered.seconds() - plain.seconds();
            let expected = cells * (2.25 * loops + idle) + 2.0 * unloaded;
            assert!((added - expected).abs() < 1e-6, "{added} for {expected}");
        }
        // Resolved without loops: a period of a microsecond.
        let direct = metered(Some(Duration::from_micros(1))).seconds() - plain.seconds();
        assert!((direct - (12.0 * 2.0 + 2.0 * 5.0)).abs() < 1e-6, "{direct}");
    }

    #[test]
    fn depth_streams_and_samples_cost_time_and_memory() {
        let of = |change: fn(&mut MatrixCell)| {
            planned_cell(change, facts(3_480_000, 4), 100).expect("can be measured")
        };
        let plain = of(|_| ());
        let deep = of(|cell| cell.workload.depth_tokens = 16_384);
        let warm = of(|cell| {
            cell.workload.depth_tokens = 16_384;
            cell.workload.kv_state = KvState::WarmPrefix;
        });
        let several = of(|cell| cell.workload.concurrency = 4);
        let sampled = of(|cell| cell.workload.samples = 4);
        for dearer in [&deep, &warm, &several, &sampled] {
            assert!(dearer.seconds > plain.seconds, "{dearer:?}");
        }
        let cache = |planned: &PlannedCell| planned.memory_bytes - plain.memory_bytes;
        // Four layers of 512 elements of four bytes.
        assert_eq!(cache(&deep), 16_384 * 4 * 512 * 4);
        assert_eq!(cache(&several), 3 * 192 * 4 * 512 * 4);
        assert_eq!(cache(&sampled), 0);
    }

    #[test]
    fn windows_and_states_are_held_by_no_more_than_they_keep() {
        let mut windowed = facts(1_000, 2);
        windowed.kv[0].kind = KvKind::Window;
        windowed.kv[0].window_tokens = Some(100);
        windowed.kv.push(KvLayout {
            kind: KvKind::State,
            layers: 3,
            elements_per_token: 0,
            window_tokens: None,
            state_elements: Some(7),
        });
        let mut workload = WorkloadSpec::simple("a".parse().expect("a slug"), 64, 16);
        assert_eq!(
            kv_elements(&windowed, &workload, workload.context_tokens()),
            2 * 512 * 80 + 21
        );
        workload.prompt_tokens = 640;
        assert_eq!(
            kv_elements(&windowed, &workload, workload.context_tokens()),
            2 * 512 * 100 + 21
        );
    }

    #[test]
    fn weights_as_they_are_have_the_files_own_bytes() {
        let mut source = facts(1_000_000, 2);
        source.files.push(domain::record::WeightFile {
            sha256: source.sha256,
            bytes: 555_555,
        });
        let as_is = |cell: &mut MatrixCell| AS_IS.clone_into(&mut cell.quantisation);
        let planned = planned_cell(as_is, source.clone(), 0).expect("can be measured");
        let cache = 2 * 512 * 4 * 192;
        assert_eq!(planned.memory_bytes, 2 * 555_555 + cache + OWN_MEMORY_BYTES);
        let pruned = |cell: &mut MatrixCell| {
            as_is(cell);
            cell.pruning = PruneRecipe::Magnitude { ratio_ppm: 300_000 };
        };
        let refused = planned_cell(pruned, source, 0).expect_err("cannot be pruned");
        assert!(refused.contains("as they are"), "{refused}");
    }

    #[test]
    fn every_quantisation_has_an_estimate_and_none_is_larger_than_the_one_before() {
        let bits: Vec<f64> = domain::matrix::QUANTISATIONS
            .into_iter()
            .filter(|&label| label != AS_IS)
            .map(bits_per_weight)
            .collect();
        assert!(bits.is_sorted_by(|wide, narrow| wide >= narrow), "{bits:?}");
        assert_eq!(bits.iter().filter(|&&bits| bits > 8.5).count(), 2);
    }

    #[test]
    fn dropped_layers_need_no_room_and_a_recipe_that_cannot_fit_is_told_at_once() {
        let mut source = facts(1_000_000, 4);
        source.dense_bytes = 1_500_000;
        source.files.push(domain::record::WeightFile {
            sha256: source.sha256,
            bytes: 2_000_000,
        });
        let planned = |text: &str| {
            let prune = |cell: &mut MatrixCell| cell.pruning = text.parse().expect("a recipe");
            planned_cell(prune, source.clone(), 0)
        };
        let memory = |text: &str| planned(text).expect("can be measured").memory_bytes;
        // Half of the layers are three eighths of the file.
        assert_eq!(
            memory("none") - memory("layers-by-importance-2"),
            2 * 2_000_000 * 3 / 8
        );
        assert_eq!(memory("layers-2"), memory("layers-at-1+2"));
        assert_eq!(memory("none"), memory("nm-2:4"));
        for (text, why) in [
            ("layers-3", "the first and the last"),
            ("layers-by-importance-4", "at least one stays"),
            ("layers-at-4", "names others"),
            ("experts-used-1", "dense"),
            ("experts-1", "dense"),
        ] {
            let refused = planned(text).expect_err(text);
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn a_suite_of_chats_costs_time_and_context_by_what_it_asks() {
        let of = |lines: &str, vocab_size: u32, model: Option<u32>| {
            let text = QUICKSTART_MATRIX.replace("suite = \"reference-v1\"", lines);
            let matrix = Matrix::parse("m.toml", &text).expect("valid");
            let cells = matrix.expand(&[]).expect("cells");
            let circumstances = Circumstances {
                sweep: Sha256Digest([1; 32]),
                repetitions: &matrix.repetitions,
                questions: &questions(&matrix.quality),
                available_bytes: None,
                engines: matrix.engines(),
                update: None,
                finished: &[],
            };
            let mut facts = facts(1_000_000_000, 4);
            facts.vocab_size = vocab_size;
            planned(&cells[0], Ok((facts, model)), &circumstances).expect("can be measured")
        };
        let short = of("suite = \"reference-v1\"", 32_000, None);
        let core = of("suite = \"core-v1\"", 32_000, None);
        let thinking = "suite = \"core-v1\"\nthinking_tokens = 4096";
        let thinks = of(thinking, 32_000, None);
        let bytes = of("suite = \"core-v1\"", 288, None);
        let narrow = of("suite = \"core-v1\"", 288, Some(2_048));
        // Two gigabytes a pass, half a second: 210 answers of hundreds of tokens take hours.
        let hours = (core.seconds - short.seconds) / 3_600.0;
        assert!((2.0..24.0).contains(&hours), "{hours} h");
        assert!(thinks.seconds > core.seconds + 210.0 * 1_000.0 * 0.5);
        assert!(bytes.seconds > core.seconds && bytes.memory_bytes > core.memory_bytes);
        assert!(core.memory_bytes > short.memory_bytes);
        assert_eq!(
            narrow.memory_bytes - short.memory_bytes,
            (2_048 - 192) * 4 * 512 * 4
        );
    }

    #[test]
    fn what_no_record_holds_is_refused_with_what_would_fit() {
        let wide = |cell: &mut MatrixCell| cell.workload.concurrency = 64;
        let refused = planned_cell(wide, facts(1_000, 2), 0).expect_err("too long a record");
        assert!(refused.contains("fewer streams"), "{refused}");
    }

    #[test]
    fn the_order_is_the_sweeps_own() {
        let order = |sweep| {
            planned_with(None, &[], sweep)
                .cells
                .iter()
                .map(|cell| cell.key)
                .collect::<Vec<_>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let sorted = |mut keys: Vec<Sha256Digest>| {
            keys.sort();
            keys
        };
        assert_eq!(sorted(order(1)), sorted(order(2)));
    }

    #[test]
    fn finished_cells_are_not_planned_again() {
        let all = planned_with(None, &[], 1);
        let again = planned_with(None, &[all.cells[0].key, all.cells[3].key], 1);
        assert_eq!((again.cells.len(), again.finished), (7, 2));
    }

    #[test]
    fn the_remaining_time_learns_from_finished_cells() {
        let mut eta = Eta::default();
        assert!((eta.of(10.0) - 10.0).abs() < 1e-9);
        eta.finished(10.0, 30.0);
        assert!((eta.of(10.0) - 30.0).abs() < 1e-9);
    }
}
