//! Record v1: everything that measuring one cell produced, raw.
//!
//! The collector derives every published number from these samples; nothing derived stands
//! here. There are no floats and no maps. Units are the last word of a key: `_ns` since the
//! record's start on one monotonic clock, `_ms` Unix time, `_uj`, `_uw`, `_mw`, `_ppm`,
//! `_bytes`. What is unknown is `null`, and its key is still there: a payload is accepted only
//! if writing the parsed record again yields the same JSON value (see [`crate::json`]).

use serde::{Deserialize, Serialize};

use crate::ids::{Sha256Digest, Slug};
use crate::scope::{Scope, ScopeKey};
use crate::text::{Answer, Name};

/// The `schema` of this version.
pub const SCHEMA: &str = "joulemark.record.v1";

/// The DSSE payload type of this version.
pub const PAYLOAD_TYPE: &str = "application/vnd.joulemark.record.v1+json";

/// The longest record in bytes.
pub const MAX_RECORD_BYTES: usize = 1 << 20;

/// One cell's measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: Name,
    /// The collector this record is meant for: SHA-256 of its id, or `"any"`.
    pub audience: Audience,
    /// Random id of the sweep; its cells pair.
    pub sweep: Sha256Digest,
    /// Challenge number, once collectors issue them.
    pub challenge: Option<u64>,
    /// Wall-clock start, Unix milliseconds; a label only.
    pub started_ms: u64,
    /// Wall-clock end, Unix milliseconds; a label only.
    pub ended_ms: u64,
    /// How measuring ended.
    pub outcome: Outcome,
    /// The class of the failure, in the engine's words.
    pub outcome_class: Option<Name>,
    /// Long arrays kept apart; none yet.
    pub blob_sha256: Option<Sha256Digest>,
    /// Collector-timed windows; none yet.
    pub windows: Option<Vec<Window>>,
    /// The transparency log's checkpoint last seen; none yet.
    pub checkpoint: Option<Checkpoint>,
    /// The task suite that was asked; `null` when only speed was measured.
    pub suite: Option<SuiteRef>,
    /// The program that measured.
    pub runner: RunnerFacts,
    /// What was measured on, as one can buy it.
    pub setup: SetupRef,
    /// The machines.
    pub hosts: Vec<Host>,
    /// The inference program.
    pub engine: EngineFacts,
    /// Engine settings that change speed or answers.
    pub settings: Settings,
    /// The weights.
    pub variant: VariantFacts,
    /// What was asked of the engine while it was timed.
    pub workload: Workload,
    /// Every repetition, void ones included.
    pub repetitions: Vec<Repetition>,
    /// Spans that energy is attributed to.
    pub phases: Vec<Phase>,
    /// Raw readings of every power counter.
    pub meters: Vec<MeterTrace>,
    /// Which meters carry the headline, or why there is none.
    pub energy: EnergyClaim,
    /// What reading the meters itself took; absent where none was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampler: Option<SamplerCost>,
    /// What the machine was like at phase edges.
    pub context: Vec<Context>,
    /// The suite's answers; `null` when no suite was asked.
    pub quality: Option<Quality>,
    /// Teacher-forced comparison with the reference weights.
    pub fidelity: Option<Fidelity>,
}

/// Who a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Audience {
    /// Sealed before enrolment: at most self-reported.
    Any,
    /// One collector.
    Collector(Sha256Digest),
}

impl TryFrom<String> for Audience {
    type Error = crate::ids::IdError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "any" {
            Ok(Self::Any)
        } else {
            text.parse().map(Self::Collector)
        }
    }
}

impl From<Audience> for String {
    fn from(audience: Audience) -> String {
        match audience {
            Audience::Any => "any".to_owned(),
            Audience::Collector(id) => id.to_string(),
        }
    }
}

/// How measuring a cell ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Measured.
    Ok,
    /// Out of memory.
    Oom,
    /// Memory was paged: published, unranked.
    Paging,
    /// A bound on time was hit.
    Timeout,
    /// The engine died or answered nonsense.
    Crash,
    /// The engine cannot run this variant.
    Unsupported,
    /// Stopped by a person; what was finished is kept.
    Interrupted,
}

/// A collector-timed window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Its number.
    pub window: u64,
    /// Start.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
    /// SHA-256 of transcript and token times.
    pub commit_sha256: Sha256Digest,
}

/// A transparency log's size and root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Number of leaves.
    pub size: u64,
    /// Tree root.
    pub root: Sha256Digest,
}

/// A suite's version, generators and seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteRef {
    /// Such as `reference-v1`.
    pub version: Name,
    /// Digest of the generators; a record of other generators cannot be scored.
    pub digest: Sha256Digest,
    /// Seed the items were made from.
    pub seed: Sha256Digest,
}

/// The runner program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunnerFacts {
    /// Version.
    pub version: Name,
    /// Source commit, 40 hex digits.
    pub commit: Option<Name>,
    /// SHA-256 of the running executable.
    pub binary_sha256: Option<Sha256Digest>,
    /// Target triple.
    pub target: Name,
}

/// A setup one can buy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupRef {
    /// Its profile; `null` when the machine was not recognised.
    pub slug: Option<Slug>,
    /// How several hosts are connected.
    pub interconnect: Option<Name>,
    /// How several hosts share the work; absent where one host does it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
}

/// How several hosts share one model's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The kind of split.
    pub method: SplitMethod,
    /// Which host does what, such as `host 0: layers 0-19; host 1: layers 20-31`.
    pub layout: Name,
}

/// Kinds of splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitMethod {
    /// Every matrix is divided: all hosts work on each token at once.
    Tensor,
    /// Layers are divided: a token passes the hosts one after the other.
    Pipeline,
    /// Experts are divided.
    Expert,
    /// One host processes prompts, another emits tokens.
    PrefillDecode,
    /// Every host holds the whole model and takes requests of its own.
    Replica,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Index, 0 for the leader.
    pub host: u32,
    /// Hardware profile, when recognised.
    pub profile: Option<Slug>,
    /// Digest of the machine's kind (chip, cores, memory, GPUs): no serial, name or user.
    pub fingerprint: Sha256Digest,
    /// Operating system.
    pub os: Name,
    /// Its version.
    pub os_version: Option<Name>,
    /// Kernel release.
    pub kernel: Option<Name>,
    /// Processor as it names itself.
    pub chip: Option<Name>,
    /// Logical cores that the runner may use.
    pub cpu_cores: u32,
    /// Installed memory.
    pub memory_bytes: Option<u64>,
    /// One memory for CPU and GPU.
    pub unified: Option<bool>,
    /// A virtual machine.
    #[serde(rename = "virtual")]
    pub is_virtual: Option<bool>,
    /// Inside a container.
    pub container: Option<bool>,
    /// Memory bandwidth measured by the runner's own probe.
    pub bandwidth_probe_bytes_s: Option<u64>,
    /// What the same probe reads from smaller working sets, which caches serve: ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bandwidth_curve: Vec<BandwidthPoint>,
    /// Arithmetic measured by the runner's own probe: FP32 multiply-adds of all cores, each
    /// counted as two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_probe_flop_s: Option<u64>,
    /// Energy that its full battery holds now, in micro-watt-hours; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery_full_uwh: Option<u64>,
    /// Graphics processors.
    pub gpus: Vec<Gpu>,
}

/// How fast a working set of one size is read, over and over, by all cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandwidthPoint {
    /// Size of what is read, over all threads.
    pub working_set_bytes: u64,
    /// Bytes read per second.
    pub bytes_s: u64,
}

/// One graphics processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Index.
    pub gpu: u32,
    /// Name.
    pub name: Name,
    /// Driver version.
    pub driver: Option<Name>,
    /// Its memory.
    pub memory_bytes: Option<u64>,
    /// Power limit in force.
    pub power_limit_mw: Option<u64>,
    /// Salted digest of its UUID.
    pub uuid_hash: Option<Sha256Digest>,
    /// The engine used it.
    pub used: bool,
}

/// The inference program and its build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineFacts {
    /// Such as `candle`.
    pub name: Name,
    /// Version.
    pub version: Name,
    /// Source commit.
    pub commit: Option<Name>,
    /// Flags that change the code, such as `target-cpu=native`.
    pub build_flags: Vec<Name>,
    /// Such as `cpu`, `cuda`, `metal`.
    pub backend: Name,
    /// Arguments that change behaviour; never paths or secrets.
    pub args: Vec<Name>,
    /// SHA-256 of the engine's executable.
    pub binary_sha256: Option<Sha256Digest>,
    /// Container image.
    pub image_digest: Option<Name>,
}

/// Engine settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Type of the cached keys, such as `f32`.
    pub kv_type_k: Option<Name>,
    /// Type of the cached values.
    pub kv_type_v: Option<Name>,
    /// Layers on the GPU.
    pub gpu_layers: Option<u32>,
    /// Flash attention.
    pub flash_attention: Option<bool>,
    /// Speculative decoding.
    pub speculation: Speculation,
    /// Bytes of weights that one decode pass of this engine reads, where the engine says them:
    /// it may hold matrices wider or narrower than the file does. Absent: those of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_bytes_per_pass: Option<u64>,
}

/// Speculative decoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Speculation {
    /// How tokens are guessed.
    pub method: SpeculationMethod,
    /// Draft weights.
    pub draft_sha256: Option<Sha256Digest>,
    /// Tokens guessed at once.
    pub length: Option<u32>,
}

/// How tokens are guessed ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpeculationMethod {
    /// Not at all: one token per pass.
    None,
    /// A draft model.
    Draft,
    /// Heads of the model itself.
    Mtp,
    /// EAGLE.
    Eagle,
    /// N-grams of the context.
    Ngram,
}

/// A concrete weights file, as read from the file itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantFacts {
    /// Digest of the weights (of the shards' digests in order when there are several).
    pub sha256: Sha256Digest,
    /// The files.
    pub files: Vec<WeightFile>,
    /// Where it came from; for a made variant, the source's name.
    pub repo: Option<Name>,
    /// Revision there.
    pub revision: Option<Name>,
    /// File name there; never a path of this machine.
    pub path: Option<Name>,
    /// Model family member, as the file names it.
    pub model: Name,
    /// Architecture, such as `llama`.
    pub arch: Name,
    /// What the types of its matrices make it, such as `Q4_K` or `Q4_K_M`; bits per weight come from
    /// bytes, not from this.
    pub quant: Name,
    /// Types of its tensors, most bytes first; absent where they are not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<TypeShare>,
    /// Size of the vocabulary.
    pub vocab_size: u32,
    /// Digest of the chat template.
    pub template_sha256: Option<Sha256Digest>,
    /// Digest of the tokenizer.
    pub tokenizer_sha256: Option<Sha256Digest>,
    /// Parameters in all.
    pub params_total: u64,
    /// Parameters used per token.
    pub params_active: u64,
    /// Experts.
    pub experts_total: Option<u32>,
    /// Experts used per token.
    pub experts_used: Option<u32>,
    /// Bytes of the dense weights, without embedding and head.
    pub dense_bytes: u64,
    /// Bytes of the embedding table.
    pub embedding_bytes: u64,
    /// Bytes read for the output head per pass (the embedding's when they are tied).
    pub head_bytes: u64,
    /// Bytes of shared experts.
    pub shared_expert_bytes: Option<u64>,
    /// Bytes of all routed experts.
    pub routed_expert_bytes: Option<u64>,
    /// What is cached per token, by kind of layer.
    pub kv: Vec<KvLayout>,
    /// Pruning.
    pub pruning: Pruning,
}

/// What of a file is stored in one type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeShare {
    /// Type, such as `Q4_K`.
    pub dtype: Name,
    /// Tensors of it.
    pub tensors: u32,
    /// Their elements.
    pub elements: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One file of weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightFile {
    /// Digest of the whole file.
    pub sha256: Sha256Digest,
    /// Its length.
    pub bytes: u64,
}

/// What layers of one kind cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvLayout {
    /// Kind of layer.
    pub kind: KvKind,
    /// How many.
    pub layers: u32,
    /// Elements per token and layer, keys and values together.
    pub elements_per_token: u64,
    /// Window of a sliding-window layer.
    pub window_tokens: Option<u64>,
    /// Elements of a constant state.
    pub state_elements: Option<u64>,
}

/// Kind of cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KvKind {
    /// Every token.
    Full,
    /// A sliding window.
    Window,
    /// Latent (MLA).
    Latent,
    /// A constant state.
    State,
}

/// What was removed from the source weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pruning {
    /// How.
    pub method: PruningMethod,
    /// Removed share of the source's parameters; of weights that were zeroed (unstructured, N:M) those that are zero
    /// in this file, since quantising moves zeros where its blocks have a least value. The recipe says what was meant.
    pub ratio_ppm: u32,
    /// The source weights.
    pub source_sha256: Option<Sha256Digest>,
    /// Trained again afterwards.
    pub healed: Option<bool>,
    /// What was removed, such as `layers-at-1+2` or `heads-25%`; absent where the file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Name>,
}

/// How weights were removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PruningMethod {
    /// Not pruned.
    None,
    /// Experts.
    Expert,
    /// Whole layers.
    Layer,
    /// Attention heads.
    Head,
    /// Width.
    Width,
    /// N of M weights.
    NM,
    /// Single weights, by magnitude.
    Unstructured,
}

/// What the engine was asked while it was timed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Such as `pp128-tg64`.
    pub id: Slug,
    /// Prompt tokens.
    pub prompt_tokens: u32,
    /// Output tokens, forced.
    pub output_tokens: u32,
    /// Tokens of context loaded before.
    pub depth_tokens: u32,
    /// Streams at once.
    pub concurrency: u32,
    /// State of the cache at the start.
    pub kv_state: KvState,
    /// Samples per item.
    pub samples: u32,
    /// Verifier that picks among samples.
    pub verifier: Option<Name>,
    /// The end-of-sequence token may not be emitted.
    pub eos_banned: bool,
    /// Digest of the prompt's token ids.
    pub prompt_sha256: Option<Sha256Digest>,
    /// Sampling temperature; 0 is greedy.
    pub temperature_ppm: u32,
    /// Nucleus.
    pub top_p_ppm: Option<u32>,
    /// Top k.
    pub top_k: Option<u32>,
    /// Sampling seed.
    pub seed: Option<u64>,
}

/// State of the KV cache at the start of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvState {
    /// Nothing cached.
    Cold,
    /// Context loaded, rate over the suffix.
    WarmPrefix,
    /// The whole prompt cached: TTFT only.
    ExactHit,
}

/// One repetition of the workload: one or more requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repetition {
    /// Number, counted from 0 over warm-ups and repetitions alike.
    pub rep: u32,
    /// Discarded by rule.
    pub warmup: bool,
    /// Why it does not count, if it does not.
    pub void: Option<Name>,
    /// Start.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
    /// Peak resident memory of the engine's process.
    pub peak_bytes: Option<u64>,
    /// Bytes paged in during it.
    pub paged_bytes: Option<u64>,
    /// Its requests.
    pub requests: Vec<Request>,
    /// Digest of the emitted token ids.
    pub transcript_sha256: Option<Sha256Digest>,
}

/// One request, stamped by the runner at its own edge (client view); the engine's own clock
/// stands beside it.
///
/// An engine that only times itself (`llama-bench`) has no client view: its requests have no
/// events, and are of one phase each: a prefill has prompt tokens, no output and
/// `engine_prefill_ns`; a decode has output tokens, no prompt and `engine_decode_ns`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Stream it ran in.
    pub stream: u32,
    /// Sent.
    pub sent_ns: u64,
    /// First token that a reader sees.
    pub first_visible_ns: Option<u64>,
    /// First token event.
    pub first_event_ns: Option<u64>,
    /// Gaps between token events in microseconds, one fewer than events.
    pub gaps_us: Vec<u64>,
    /// Tokens of each event; `null` when every event is one token.
    pub event_tokens: Option<Vec<u32>>,
    /// Prompt tokens.
    pub prompt_tokens: u32,
    /// Of those, served from a cache.
    pub cached_tokens: Option<u32>,
    /// Output tokens, reasoning included.
    pub output_tokens: u32,
    /// Of those, reasoning.
    pub reasoning_tokens: u32,
    /// Forward passes, where speculation makes them fewer than tokens.
    pub passes: Option<u32>,
    /// Guessed tokens that were accepted.
    pub accepted_tokens: Option<u32>,
    /// Who counted the tokens.
    pub token_source: TokenSource,
    /// Why it stopped.
    pub finish: Finish,
    /// The engine's own prefill time.
    pub engine_prefill_ns: Option<u64>,
    /// The engine's own decode time.
    pub engine_decode_ns: Option<u64>,
}

/// Who counted the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenSource {
    /// Token ids seen by the runner.
    Ids,
    /// The server's `usage`.
    Usage,
    /// The server's `timings`.
    Timings,
    /// The runner tokenised the joined text.
    Retokenized,
    /// The server's `usage` counts the request; which event held how many tokens was not said,
    /// and is shared out by the length of the events' texts.
    Apportioned,
}

/// Why generation stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model ended its answer.
    Stop,
    /// The asked length was reached.
    Length,
    /// A bound on time was hit.
    Timeout,
    /// The engine failed.
    Error,
}

/// A span that energy can be attributed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Which.
    pub phase: PhaseKind,
    /// Repetition it belongs to.
    pub rep: Option<u32>,
    /// Host.
    pub host: u32,
    /// Start.
    pub start_ns: u64,
    /// End.
    pub end_ns: u64,
    /// Requests in it.
    pub requests: u32,
    /// Prompt tokens processed.
    pub tokens_in: u64,
    /// Tokens emitted.
    pub tokens_out: u64,
}

/// Kind of phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    /// Loading the weights.
    Load,
    /// Idle, nothing loaded.
    IdleUnloaded,
    /// Idle, weights loaded.
    IdleLoaded,
    /// Warm-up.
    Warmup,
    /// Prefill only.
    PrefillLoop,
    /// Decode only.
    DecodeLoop,
    /// Real requests.
    MixedLoop,
    /// Task items.
    Quality,
}

/// Raw readings of one power counter. The arrays have one entry per reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeterTrace {
    /// Such as `powercap`.
    pub meter: Name,
    /// Host.
    pub host: u32,
    /// Device, such as `package-0`.
    pub device: Name,
    /// What it covers.
    pub scope: Scope,
    /// The engine used what it covers.
    pub used: bool,
    /// What `v` is.
    pub kind: MeterKind,
    /// How the device averages.
    pub averaging: Averaging,
    /// Averaging window.
    pub window_ns: Option<u64>,
    /// Update period.
    pub update_ns: Option<u64>,
    /// How the update period is known.
    pub update_basis: UpdateBasis,
    /// Value at which a counter wraps.
    pub wrap_uj: Option<u64>,
    /// The sensor's stated accuracy.
    pub sensor_ppm: Option<u32>,
    /// Where the reading comes from.
    pub origin: Name,
    /// By how much the times may be off against the record's clock: half the round trip to the
    /// host that read it. Absent for this host's own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_error_ns: Option<u64>,
    /// When each reading was taken: the middle of the read; of a reading that waited for the value
    /// to change, the middle of the time in which it did.
    pub t_ns: Vec<u64>,
    /// How long each read took, or the time within which the value changed.
    pub latency_ns: Vec<u64>,
    /// The driver's own stamp of each reading.
    pub source_t_ns: Option<Vec<u64>>,
    /// Micro-joules if a counter, micro-watts otherwise.
    pub v: Vec<u64>,
}

/// What reading the meters took of the machine that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerCost {
    /// CPU time of all sampling threads, by their own thread clocks.
    pub cpu_ns: u64,
    /// Time over which they sampled.
    pub span_ns: u64,
    /// Reads, those that showed no new value included.
    pub reads: u64,
}

/// What a meter's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MeterKind {
    /// Accumulated energy.
    Counter,
    /// Power.
    Power,
    /// A vendor's model, never a measurement.
    Model,
}

/// How a device averages power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Averaging {
    /// Not at all.
    Instant,
    /// Over a window before the reading.
    Window,
    /// The last value is held.
    Held,
    /// Unknown.
    Unknown,
}

/// How an update period is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdateBasis {
    /// Measured on this machine.
    Probed,
    /// From documentation.
    Assumed,
}

/// Measured, unavailable or estimated: three things that never add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum EnergyClaim {
    /// Joules were read.
    Measured(MeasuredEnergy),
    /// They were not, for this reason.
    Unavailable(UnavailableEnergy),
    /// The user asked for an estimate.
    Estimated(EstimatedEnergy),
}

/// Which meters carry the headline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredEnergy {
    /// What the joules cover.
    pub scope: ScopeKey,
    /// Indices into `meters`.
    pub meters: Vec<u32>,
    /// How joules are given to phases.
    pub method: AttributionMethod,
}

/// How joules are given to phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttributionMethod {
    /// Real requests split at the first token.
    Direct,
    /// Loops of one phase.
    Loops,
    /// Regression over requests of varied length.
    Regression,
}

/// Why there are no joules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnavailableEnergy {
    /// The reason.
    pub reason: UnavailableReason,
    /// What was looked for and found, and the fix if there is one.
    pub detail: Name,
}

/// Reasons for which a figure is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnavailableReason {
    /// No such counter.
    Absent,
    /// Not allowed to read it.
    Permission,
    /// The device says that it cannot.
    NotSupported,
    /// It stopped changing.
    Stale,
    /// It was reset during the span.
    Reset,
    /// It said something impossible.
    Implausible,
    /// Reading it failed.
    Transport,
    /// A hole in the readings.
    Gap,
    /// Fewer ticks than a figure needs.
    BelowResolution,
    /// Hosts report different scopes.
    ScopeMismatch,
    /// Virtual machines have no counter.
    VirtualMachine,
}

impl UnavailableReason {
    /// The reason in a reader's words.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Absent => "no power counter on this machine",
            Self::Permission => "the power counter may not be read by this user",
            Self::NotSupported => "the device does not report energy",
            Self::Stale => "the power counter stopped changing",
            Self::Reset => "the power counter was reset during the run",
            Self::Implausible => "the power counter reported something impossible",
            Self::Transport => "reading the power counter failed",
            Self::Gap => "the power readings have a hole",
            Self::BelowResolution => "the run was too short for the power counter",
            Self::ScopeMismatch => "the hosts report different energy scopes",
            Self::VirtualMachine => "a virtual machine without a power counter",
        }
    }
}

/// A stated guess, kept apart from measurements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EstimatedEnergy {
    /// What it is based on.
    pub basis: Name,
    /// Mean power assumed.
    pub mean_mw: u64,
}

/// What a host was like at one moment. Every field is optional: a fact, not a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// When.
    pub at_ns: u64,
    /// Host.
    pub host: u32,
    /// Mains or battery.
    pub power_source: Option<Name>,
    /// Power mode of the operating system.
    pub power_mode: Option<Name>,
    /// CPU frequency governor.
    pub governor: Option<Name>,
    /// Thermal pressure level.
    pub thermal_level: Option<Name>,
    /// Temperature in thousandths of a degree Celsius.
    pub temp_mc: Option<i64>,
    /// Clock.
    pub clock_mhz: Option<u64>,
    /// Power limit in force.
    pub power_limit_mw: Option<u64>,
    /// Performance state.
    pub pstate: Option<Name>,
    /// Why the device slowed down.
    pub throttle_reasons: Option<Vec<Name>>,
    /// Time throttled so far.
    pub throttle_ns: Option<u64>,
    /// Other processes on the GPU.
    pub foreign_gpu_processes: Option<u32>,
    /// Load average over one minute per core, in millionths.
    pub load_ppm: Option<u64>,
    /// Share of time in which some task waited for a CPU, in millionths.
    pub pressure_ppm: Option<u64>,
    /// Swap in use.
    pub swap_bytes: Option<u64>,
    /// Driver.
    pub driver: Option<Name>,
    /// Firmware.
    pub firmware: Option<Name>,
}

/// The answers to a suite's items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// One per item and sample.
    pub items: Vec<AnsweredItem>,
    /// Digest of all emitted token ids in order.
    pub transcript_sha256: Option<Sha256Digest>,
    /// How the items were put to the model; absent where they were its plain prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asking: Option<Asking>,
}

/// How a suite's items were put to a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asking {
    /// Where the chat template came from.
    pub template: TemplateSource,
    /// What became of thinking.
    pub thinking: Thinking,
    /// Tokens that thinking may have, on top of the item's own bound.
    pub thinking_tokens: u32,
    /// Longest answer kept, in bytes: of a longer one its end.
    pub answer_bytes: u32,
}

/// Where the chat template came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateSource {
    /// No template: the item is a plain prompt.
    None,
    /// The server applies that of the weights.
    Model,
    /// The weights have none: the server applies one of its own.
    Server,
}

/// What became of thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thinking {
    /// None was seen.
    None,
    /// The server said it apart from the answer.
    Apart,
    /// It stood in the text between tags, and was cut.
    Tags,
}

/// One answer. The collector makes the item again from the seed and scores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnsweredItem {
    /// Family of the item.
    pub family: Name,
    /// Difficulty.
    pub level: u8,
    /// Number within family and level.
    pub index: u32,
    /// Which of N samples.
    pub sample: u32,
    /// The text that came back, without thinking.
    pub answer: Answer,
    /// Length in bytes of the whole text, where only its end was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_bytes: Option<u64>,
    /// The verifier picked this one.
    pub picked: bool,
    /// Prompt tokens.
    pub tokens_in: u32,
    /// Output tokens.
    pub tokens_out: u32,
    /// Of those, reasoning.
    pub reasoning_tokens: u32,
    /// Why it stopped.
    pub finish: Finish,
    /// Sent.
    pub start_ns: u64,
    /// Last token.
    pub end_ns: u64,
}

/// Teacher-forced comparison with the reference weights, by document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fidelity {
    /// The reference weights.
    pub reference_sha256: Sha256Digest,
    /// The corpus.
    pub corpus_sha256: Sha256Digest,
    /// Its documents.
    pub docs: Vec<FidelityDoc>,
}

/// One document's comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FidelityDoc {
    /// Tokens.
    pub tokens: u32,
    /// KL divergence from the reference, summed over its tokens, in billionths of a nat.
    pub kld_nnat: i64,
    /// Change of the negative log likelihood of its text, summed over its tokens, in billionths
    /// of a nat.
    pub dnll_nnat: i64,
    /// Tokens on which the first choice agrees.
    pub top1_agree: u32,
    /// KL divergence of each token in billionths of a nat; their sum is `kld_nnat`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_kld_nnat: Vec<i64>,
}
