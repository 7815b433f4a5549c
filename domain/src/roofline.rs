//! How fast a cell could be: bytes per pass over bandwidth, arithmetic per token over compute.
//!
//! One decode pass reads the active weights once and the cache of every stream; no machine
//! decodes faster than it reads. A prefill computes two operations per active parameter and
//! token, and attention on top. Both ceilings leave out what they cannot know (activations,
//! other experts of other streams, query heads beyond the cached ones), so they are upper
//! bounds, and the measured share of them is a lower one.
//!
//! Bandwidth is what the runner's own probe read from a working set of that size, because the
//! weights of a small model sit in a cache and are read faster than memory is; where it did not
//! probe (GPUs), the data sheet. What is unknown is a reason, never a guess.

use thiserror::Error;

use crate::hardware::{Catalogue, HardwareKind, HardwareProfile};
use crate::record::{
    EngineFacts, Host, KvKind, KvState, Record, Settings, SetupRef, SplitMethod, VariantFacts,
    Workload,
};
use crate::text::Name;

/// A working set that is read this much faster than memory is served by caches.
const FASTER_THAN_MEMORY: f64 = 1.1;

/// Share of the probed ceiling over which a measured speed contradicts the probe.
pub const ABOVE_ROOFLINE: f64 = 1.05;

/// What of a record the ceilings rest on.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The weights.
    pub variant: &'a VariantFacts,
    /// How they and the cache are held.
    pub settings: &'a Settings,
    /// What is asked.
    pub workload: &'a Workload,
    /// The inference program.
    pub engine: &'a EngineFacts,
    /// The machines.
    pub hosts: &'a [Host],
    /// How they share the work.
    pub setup: &'a SetupRef,
}

impl<'a> Subject<'a> {
    /// The subject of a record.
    pub fn of(record: &'a Record) -> Self {
        Self {
            variant: &record.variant,
            settings: &record.settings,
            workload: &record.workload,
            engine: &record.engine,
            hosts: &record.hosts,
            setup: &record.setup,
        }
    }
}

/// What a bandwidth or an arithmetic rate rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The runner's own probe on this machine.
    Probe,
    /// The maker's figure.
    DataSheet,
}

impl Basis {
    /// As the API says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::DataSheet => "data sheet",
        }
    }
}

/// How fast the working set can be read, by all hosts that work on one token together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bandwidth {
    /// Bytes per second.
    pub bytes_s: f64,
    /// What that rests on.
    pub basis: Basis,
    /// Caches hold the working set: memory bandwidth is not what bounds it.
    pub from_cache: bool,
    /// The data sheet's figure of the same memory, when it is known.
    pub sheet_bytes_s: Option<f64>,
}

/// The most that one stream can decode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeCeiling {
    /// Bytes that one pass reads.
    pub bytes_per_pass: f64,
    /// What they are read with.
    pub bandwidth: Bandwidth,
    /// Tokens per second of one stream.
    pub tokens_per_second: f64,
    /// Streams may need different experts: more is read than is counted here.
    pub approximate: bool,
}

/// The most that prompts can be processed with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrefillCeiling {
    /// Operations per prompt token, a multiply-add being two.
    pub flop_per_token: f64,
    /// Operations per second.
    pub flop_s: f64,
    /// What that rests on.
    pub basis: Basis,
    /// Prompt tokens per second.
    pub tokens_per_second: f64,
}

/// Why a cell has no ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NoCeiling {
    /// Neither probe nor data sheet.
    #[error("the memory bandwidth was not probed, and no data sheet of it is known")]
    Bandwidth,
    /// Neither probe nor data sheet of the unit that computes.
    #[error("the arithmetic was not probed, and no data sheet of it is known")]
    Compute,
    /// Several hosts, and the record does not say how they work together.
    #[error("several machines, and how they share the work is not recorded")]
    UnsaidSplit,
    /// A split whose slowest part cannot be told.
    #[error("the machines share the work by {0}, which has no simple ceiling")]
    Split(&'static str),
    /// Several graphics processors in one host.
    #[error("several graphics processors, and how they share the work is not recorded")]
    SeveralGpus,
    /// Some layers on the GPU, others not.
    #[error("the layers are shared between graphics processor and processor")]
    PartlyOnGpu,
    /// Speculation without a count of passes.
    #[error("tokens are guessed ahead, and the passes were not counted")]
    Passes,
    /// Neither a processor nor a known accelerator.
    #[error("the device that it computes on is not recorded")]
    UnknownDevice,
    /// Nothing is read or computed.
    #[error("the record names no bytes or operations per token")]
    Nothing,
}

/// Bytes of the file's weights that one pass of one stream reads: dense ones, shared experts,
/// the used share of the routed ones, the output head; the embedding is looked up, not read.
pub fn active_file_bytes(variant: &VariantFacts) -> f64 {
    let routed = variant.routed_expert_bytes.unwrap_or(0) as f64;
    let share = match (variant.experts_used, variant.experts_total) {
        (Some(used), Some(total)) if total > 0 => f64::from(used.min(total)) / f64::from(total),
        _ => 1.0,
    };
    always_read(variant) + share * routed
}

/// As [`active_file_bytes`], or as the engine says: it may hold matrices wider or narrower than
/// the file does.
pub fn active_weight_bytes(variant: &VariantFacts, settings: &Settings) -> f64 {
    settings
        .weight_bytes_per_pass
        .map_or_else(|| active_file_bytes(variant), |bytes| bytes as f64)
}

fn always_read(variant: &VariantFacts) -> f64 {
    variant.dense_bytes as f64
        + variant.head_bytes as f64
        + variant.shared_expert_bytes.unwrap_or(0) as f64
}

/// Bytes of one stream's cache at so many tokens: windows hold at most their width, a constant
/// state does not grow. Where the types are not recorded, 16 bits.
pub fn kv_bytes(variant: &VariantFacts, settings: &Settings, tokens: f64) -> f64 {
    let width = f64::midpoint(
        element_bytes(settings.kv_type_k.as_ref()),
        element_bytes(settings.kv_type_v.as_ref()),
    );
    kv_elements(variant, tokens) * width
}

/// Elements of one stream's cache at so many tokens.
fn kv_elements(variant: &VariantFacts, tokens: f64) -> f64 {
    let of_layer = |layer: &crate::record::KvLayout| {
        let cached = match (layer.kind, layer.window_tokens) {
            (KvKind::State, _) => return layer.state_elements.unwrap_or(0) as f64,
            (KvKind::Window, Some(window)) => tokens.min(window as f64),
            _ => tokens,
        };
        cached * layer.elements_per_token as f64
    };
    let layers = variant.kv.iter();
    layers
        .map(|layer| f64::from(layer.layers) * of_layer(layer))
        .sum()
}

/// Bytes of one cached element: blocks of 32 with their scales in GGML's types
/// (<https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h>).
fn element_bytes(kind: Option<&Name>) -> f64 {
    match kind.map(Name::as_str) {
        Some("f32") => 4.0,
        Some("q8_0") => 34.0 / 32.0,
        Some("fp8" | "fp8_e4m3" | "fp8_e5m2") => 1.0,
        Some("q5_1") => 24.0 / 32.0,
        Some("q5_0") => 22.0 / 32.0,
        Some("q4_1") => 20.0 / 32.0,
        Some("q4_0" | "iq4_nl") => 18.0 / 32.0,
        _ => 2.0,
    }
}

/// Tokens in a stream's cache halfway through its output.
pub fn mean_context_tokens(workload: &Workload) -> f64 {
    f64::from(workload.depth_tokens)
        + f64::from(workload.prompt_tokens)
        + f64::from(workload.output_tokens) / 2.0
}

/// Bytes that one decode pass of so many streams reads.
fn bytes_per_pass(subject: &Subject<'_>, streams: f64) -> f64 {
    let Subject {
        variant, settings, ..
    } = subject;
    let cache = kv_bytes(variant, settings, mean_context_tokens(subject.workload));
    active_weight_bytes(variant, settings) + streams * cache
}

/// Bytes that successive passes read in all: other tokens need other experts, so that a cache
/// has to hold them all to help.
fn working_set_bytes(subject: &Subject<'_>, per_pass: f64) -> f64 {
    let variant = subject.variant;
    let unused = variant.routed_expert_bytes.unwrap_or(0) as f64 + always_read(variant)
        - active_file_bytes(variant);
    per_pass + unused.max(0.0)
}

/// The most tokens per second that one stream can decode when every pass gives
/// `tokens_per_pass` (1 without speculation; `None` when it speculates and nobody counted).
pub fn decode_ceiling(
    subject: &Subject<'_>,
    catalogue: &Catalogue,
    tokens_per_pass: Option<f64>,
) -> Result<DecodeCeiling, NoCeiling> {
    let tokens_per_pass = tokens_per_pass.ok_or(NoCeiling::Passes)?;
    let split = together(subject)?;
    let hosts = subject.hosts.len().max(1) as f64;
    let streams = f64::from(subject.workload.concurrency.max(1));
    // Replicas share the streams out: at best each serves an equal part of them.
    let streams = match split {
        Together::Replicas => (streams / hosts).floor().max(1.0),
        Together::Alone | Together::Tensor => streams,
    };
    let per_pass = bytes_per_pass(subject, streams);
    if per_pass <= 0.0 {
        return Err(NoCeiling::Nothing);
    }
    let working_set = match split {
        Together::Tensor => working_set_bytes(subject, per_pass) / hosts,
        Together::Alone | Together::Replicas => working_set_bytes(subject, per_pass),
    };
    let all: Vec<Bandwidth> = subject
        .hosts
        .iter()
        .map(|host| host_bandwidth(host, subject, catalogue, working_set))
        .collect::<Result<_, _>>()?;
    let bandwidth = match split {
        Together::Tensor => all.into_iter().reduce(|a, b| Bandwidth {
            bytes_s: a.bytes_s + b.bytes_s,
            basis: if a.basis == b.basis {
                a.basis
            } else {
                Basis::DataSheet
            },
            from_cache: a.from_cache && b.from_cache,
            sheet_bytes_s: a.sheet_bytes_s.zip(b.sheet_bytes_s).map(|(a, b)| a + b),
        }),
        Together::Alone | Together::Replicas => all
            .into_iter()
            .max_by(|a, b| a.bytes_s.total_cmp(&b.bytes_s)),
    };
    let bandwidth = bandwidth.ok_or(NoCeiling::Bandwidth)?;
    Ok(DecodeCeiling {
        bytes_per_pass: per_pass,
        bandwidth,
        tokens_per_second: bandwidth.bytes_s * tokens_per_pass / per_pass,
        approximate: streams > 1.0 && subject.variant.routed_expert_bytes.unwrap_or(0) > 0,
    })
}

/// The most prompt tokens per second of one request.
pub fn prefill_ceiling(
    subject: &Subject<'_>,
    catalogue: &Catalogue,
) -> Result<PrefillCeiling, NoCeiling> {
    let split = together(subject)?;
    let flop_per_token = flop_per_prompt_token(subject);
    if flop_per_token <= 0.0 {
        return Err(NoCeiling::Nothing);
    }
    let all: Vec<(f64, Basis)> = subject
        .hosts
        .iter()
        .map(|host| host_compute(host, subject, catalogue))
        .collect::<Result<_, _>>()?;
    let best = match split {
        Together::Tensor => all.into_iter().reduce(|a, b| {
            let basis = if a.1 == b.1 { a.1 } else { Basis::DataSheet };
            (a.0 + b.0, basis)
        }),
        Together::Alone | Together::Replicas => all.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)),
    };
    let (flop_s, basis) = best.ok_or(NoCeiling::Compute)?;
    Ok(PrefillCeiling {
        flop_per_token,
        flop_s,
        basis,
        tokens_per_second: flop_s / flop_per_token,
    })
}

/// Two operations per active parameter, and in attention at least four per pair of cached key
/// and value elements that a token looks at: a cached head serves one query head or more.
fn flop_per_prompt_token(subject: &Subject<'_>) -> f64 {
    let workload = subject.workload;
    let (depth, prompt) = (
        f64::from(workload.depth_tokens),
        f64::from(workload.prompt_tokens),
    );
    // A cold context is part of the prompt that is timed, a cached one lies before it.
    let seen = match workload.kv_state {
        KvState::Cold => f64::midpoint(depth, prompt),
        KvState::WarmPrefix | KvState::ExactHit => depth + prompt / 2.0,
    };
    2.0 * computed_params(subject.variant) + 2.0 * kv_elements(subject.variant, seen)
}

/// Active parameters that every prompt token is multiplied with. The embedding is looked up, and
/// the head is computed for one position of a prompt: both are taken off, by their share of the
/// bytes, as a record counts parameters only as a whole.
pub(crate) fn computed_params(variant: &VariantFacts) -> f64 {
    let layers = active_file_bytes(variant) - variant.head_bytes as f64;
    let tied = variant.head_bytes == variant.embedding_bytes;
    let untied_head = if tied { 0.0 } else { variant.head_bytes as f64 };
    let all = layers + variant.embedding_bytes as f64 + untied_head;
    if all > 0.0 {
        variant.params_active as f64 * layers.max(0.0) / all
    } else {
        variant.params_active as f64
    }
}

/// How the hosts work on one token, where that has a ceiling.
#[derive(Clone, Copy)]
enum Together {
    Alone,
    Tensor,
    Replicas,
}

fn together(subject: &Subject<'_>) -> Result<Together, NoCeiling> {
    if subject.hosts.len() < 2 {
        return Ok(Together::Alone);
    }
    match subject.setup.split.as_ref().map(|split| split.method) {
        None => Err(NoCeiling::UnsaidSplit),
        Some(SplitMethod::Tensor) => Ok(Together::Tensor),
        Some(SplitMethod::Replica) => Ok(Together::Replicas),
        Some(SplitMethod::Pipeline) => Err(NoCeiling::Split("layers")),
        Some(SplitMethod::Expert) => Err(NoCeiling::Split("experts")),
        Some(SplitMethod::PrefillDecode) => Err(NoCeiling::Split("phase")),
    }
}

/// The engine computes on a graphics processor; an error where neither that nor the processor is
/// said. Servers seldom tell, and a machine's facts may lack its cards.
fn on_gpu(host: &Host, engine: &EngineFacts) -> Result<bool, NoCeiling> {
    const GPU: [&str; 8] = [
        "cuda", "metal", "rocm", "hip", "vulkan", "sycl", "opencl", "gpu",
    ];
    const CPU: [&str; 4] = ["cpu", "blas", "openblas", "accelerate"];
    let backend = engine.backend.as_str().to_ascii_lowercase();
    let says = |words: &[&str]| {
        let mut said = backend.split(|c: char| !c.is_ascii_alphanumeric());
        said.any(|word| words.contains(&word))
    };
    if host.gpus.iter().any(|gpu| gpu.used) || says(&GPU) {
        Ok(true)
    } else if says(&CPU) {
        Ok(false)
    } else {
        Err(NoCeiling::UnknownDevice)
    }
}

fn check_gpus(host: &Host, subject: &Subject<'_>) -> Result<(), NoCeiling> {
    if host.gpus.iter().filter(|gpu| gpu.used).count() > 1 {
        return Err(NoCeiling::SeveralGpus);
    }
    let layers: u64 = subject
        .variant
        .kv
        .iter()
        .map(|layer| u64::from(layer.layers))
        .sum();
    match subject.settings.gpu_layers {
        Some(given) if u64::from(given) < layers => Err(NoCeiling::PartlyOnGpu),
        _ => Ok(()),
    }
}

fn profile_of<'a>(host: &Host, catalogue: &'a Catalogue) -> Option<&'a HardwareProfile> {
    catalogue.hardware(host.profile.as_ref()?)
}

fn host_bandwidth(
    host: &Host,
    subject: &Subject<'_>,
    catalogue: &Catalogue,
    working_set: f64,
) -> Result<Bandwidth, NoCeiling> {
    let on_gpu = on_gpu(host, subject.engine)?;
    let sheet_bytes_s = profile_of(host, catalogue)
        .filter(|profile| match profile.kind {
            HardwareKind::Gpu => on_gpu,
            HardwareKind::Cpu => !on_gpu,
            HardwareKind::Soc => true,
        })
        .and_then(|profile| profile.memory_bandwidth_gb_s)
        .map(|gb_s| gb_s * 1e9)
        .filter(|bytes_s| *bytes_s > 0.0);
    let sheet = || {
        Ok(Bandwidth {
            bytes_s: sheet_bytes_s.ok_or(NoCeiling::Bandwidth)?,
            basis: Basis::DataSheet,
            from_cache: false,
            sheet_bytes_s,
        })
    };
    if on_gpu {
        // The probe runs on the processor and says nothing of this memory.
        check_gpus(host, subject)?;
        return sheet();
    }
    let memory = host
        .bandwidth_probe_bytes_s
        .map(|bytes_s| bytes_s as f64)
        .filter(|bytes_s| *bytes_s > 0.0);
    match (probed_at(host, working_set), memory) {
        (Some(bytes_s), memory) => Ok(Bandwidth {
            bytes_s,
            basis: Basis::Probe,
            from_cache: memory.is_none_or(|memory| bytes_s > FASTER_THAN_MEMORY * memory),
            sheet_bytes_s,
        }),
        (None, Some(bytes_s)) => Ok(Bandwidth {
            bytes_s,
            basis: Basis::Probe,
            from_cache: false,
            sheet_bytes_s,
        }),
        (None, None) => sheet(),
    }
}

/// What the probe reads from a working set of this size, between its points in proportion to the
/// logarithm of the size; `None` beyond its largest one.
fn probed_at(host: &Host, working_set: f64) -> Option<f64> {
    let curve = &host.bandwidth_curve;
    let size = |at: usize| curve[at].working_set_bytes as f64;
    let speed = |at: usize| curve[at].bytes_s as f64;
    let above = (0..curve.len()).find(|at| size(*at) >= working_set)?;
    let Some(below) = above.checked_sub(1).filter(|at| size(*at) > 0.0) else {
        return Some(speed(above)).filter(|bytes_s| *bytes_s > 0.0);
    };
    let place = (working_set / size(below)).ln() / (size(above) / size(below)).ln();
    let bytes_s = speed(below) + (speed(above) - speed(below)) * place.clamp(0.0, 1.0);
    (bytes_s.is_finite() && bytes_s > 0.0).then_some(bytes_s)
}

/// Operations per second of the unit that the engine runs on. A processor's own probe goes
/// before a sheet, which for a chip with both is that of its graphics part.
fn host_compute(
    host: &Host,
    subject: &Subject<'_>,
    catalogue: &Catalogue,
) -> Result<(f64, Basis), NoCeiling> {
    let on_gpu = on_gpu(host, subject.engine)?;
    let sheet = profile_of(host, catalogue)
        .filter(|profile| on_gpu == (profile.kind != HardwareKind::Cpu))
        .and_then(|profile| profile.fp16_dense_tflops)
        .map(|tflops| (tflops * 1e12, Basis::DataSheet));
    if on_gpu {
        check_gpus(host, subject)?;
        return sheet.ok_or(NoCeiling::Compute);
    }
    host.compute_probe_flop_s
        .map(|flop_s| (flop_s as f64, Basis::Probe))
        .or(sheet)
        .filter(|(flop_s, _)| *flop_s > 0.0)
        .ok_or(NoCeiling::Compute)
}

#[cfg(test)]
mod tests;
