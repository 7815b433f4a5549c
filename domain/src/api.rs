//! The read API's types: what the collector answers, and all that the site lives on.
//!
//! Rows are flat, so that JSON and CSV carry the same columns under the same names, unit last.
//! A figure that was not measured is `null` (an empty CSV cell), with the reason in the column
//! beside it; it is never 0. RFC 3339 UTC for times.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::hardware::{Confidence, HardwareKind, Price, PriceKind};
use crate::tier::Tier;

/// The licence of all published data.
pub const DATA_LICENCE: &str = "CC-BY-4.0";

/// A published figure with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// Median (speeds, bytes) or proportion (quality) or ratio of sums (joules).
    pub value: f64,
    /// 95 % interval, low and high; `None` below the repetitions that one needs.
    pub ci95: Option<(f64, f64)>,
    /// Observations behind it.
    pub n: u32,
}

macro_rules! result_rows {
    ($($(#[$doc:meta])* $name:ident: $value:ident $low:ident $high:ident $n:ident,)*) => {
        /// One cell's published numbers: a variant on a setup with an engine build and a workload.
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
        pub struct ResultRow {
            /// Names the cell: the first 16 hex digits of the digest of its identity.
            pub id: String,
            /// How far it is trusted.
            pub tier: Option<Tier>,
            /// Model family member.
            pub model: String,
            /// Its name in URLs.
            pub model_slug: String,
            /// Quantisation label.
            pub quant: String,
            /// `none`, or how it was pruned.
            pub pruning: String,
            /// Removed share of the source's parameters, in percent.
            pub pruning_percent: f64,
            /// The weights.
            pub variant_sha256: String,
            /// Their length.
            pub variant_bytes: u64,
            /// Parameters.
            pub params_total: u64,
            /// Length in bits over parameters.
            pub bits_per_weight: f64,
            /// Setup as one can buy it, or `unknown-…` with the machine's fingerprint.
            pub setup: String,
            /// Its name.
            pub setup_name: String,
            /// The processor that answered, as it names itself.
            pub chip: String,
            /// Inference program.
            pub engine: String,
            /// Its version.
            pub engine_version: String,
            /// Its build: commit if known, and flags.
            pub engine_build: String,
            /// Its name in URLs.
            pub engine_slug: String,
            /// Names the build in URLs: 12 hex digits of the digest of name, version, commit,
            /// flags and backend.
            pub engine_build_id: String,
            /// Such as `cpu`.
            pub backend: String,
            /// Workload.
            pub workload: String,
            /// Tokens of context before the prompt.
            pub depth_tokens: u32,
            /// `cold`, `warm_prefix` or `exact_hit`.
            pub kv_state: String,
            /// Streams at once.
            pub concurrency: u32,
            /// Answers per suite item; the picked one is scored, all are paid for.
            pub samples: u32,
            /// Suite version, if one was asked.
            pub suite: Option<String>,
            $(
                $(#[$doc])*
                pub $value: Option<f64>,
                /// Low end of its 95 % interval.
                pub $low: Option<f64>,
                /// High end of its 95 % interval.
                pub $high: Option<f64>,
                /// Observations behind it.
                pub $n: Option<u32>,
            )*
            /// Why quality is missing.
            pub quality_reason: Option<String>,
            /// Why decode speed is missing.
            pub decode_reason: Option<String>,
            /// Share of items of which any sample is right: an upper bound for every verifier,
            /// on no front. `null` with one sample.
            pub oracle_quality: Option<f64>,
            /// Bytes that one decode pass reads: weights, and the KV cache of all streams.
            pub bytes_per_pass: Option<f64>,
            /// Bytes per second that the machine's memory (or cache, for so small a working set)
            /// delivers, and that the ceiling rests on.
            pub bandwidth_bytes_per_second: Option<f64>,
            /// `probe` (measured on this machine) or `data sheet`.
            pub bandwidth_basis: Option<String>,
            /// Decode tokens per second of one stream that this bandwidth allows.
            pub decode_ceiling_tokens_per_second: Option<f64>,
            /// Measured against possible, in one sentence with numbers.
            pub roofline: Option<String>,
            /// Why there is no ceiling.
            pub roofline_reason: Option<String>,
            /// What `noisy`, `unstable`, `busy` and the like rest on, in words with numbers;
            /// `null` when there is nothing to beware of.
            pub noise_reason: Option<String>,
            /// Words such as `noisy`, `unstable` or `public-seed`, joined by spaces; empty when
            /// there is nothing to beware of.
            pub flags: String,
            /// What the joules cover.
            pub energy_scope: Option<String>,
            /// Why joules are missing.
            pub energy_reason: Option<String>,
            /// How joules were given to prefill and decode: `direct`, `loops` or `regression`.
            pub energy_method: Option<String>,
            /// Why joules per prompt token are missing, such as `below meter resolution`.
            pub prefill_energy_reason: Option<String>,
            /// Why joules per output token are missing.
            pub decode_energy_reason: Option<String>,
            /// Update period of the slowest meter behind the joules, in milliseconds.
            pub energy_update_ms: Option<f64>,
            /// Its update periods within the shortest phase that joules are published of.
            pub energy_ticks: Option<f64>,
            /// How far the joules may be off from the truth besides their interval: sensor and
            /// clock, as a share. `null`: not stated by the vendor.
            pub energy_accuracy: Option<f64>,
            /// Joules of the real requests over what prefill and decode say they should be; 1 is
            /// perfect.
            pub energy_closure: Option<f64>,
            /// CPU time of reading the meters, as a share of the time measured.
            pub sampler_share: Option<f64>,
            /// Hours that a full battery lasts at this use, where joules are those of a battery.
            pub battery_hours: Option<f64>,
            /// US dollars without tax, of the setup.
            pub price_usd: Option<f64>,
            /// When.
            pub price_date: Option<String>,
            /// What kind of price.
            pub price_kind: Option<PriceKind>,
            /// Why the price is missing.
            pub price_reason: Option<String>,
            /// When the newest record arrived.
            pub received_at: String,
            /// Records behind the row.
            pub records: u32,
            /// Content id of the newest record: leads to the signed bytes.
            pub record: String,
            /// On the asked frontier, tied, or dominated; `null` outside a frontier.
            pub membership: Option<Membership>,
            /// Share of the draws in which it is not dominated.
            pub p_on_frontier: Option<f64>,
            /// The row that dominates it.
            pub dominated_by: Option<String>,
        }

        impl ResultRow {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> Option<Figure> {
                    Some(Figure {
                        value: self.$value?,
                        ci95: self.$low.zip(self.$high),
                        n: self.$n?,
                    })
                }
            )*

            /// Sets a figure by its column name; used by the collector alone.
            pub fn set_figure(&mut self, column: &str, figure: Figure) {
                match column {
                    $(stringify!($value) => {
                        self.$value = Some(figure.value);
                        self.$low = figure.ci95.map(|ci| ci.0);
                        self.$high = figure.ci95.map(|ci| ci.1);
                        self.$n = Some(figure.n);
                    })*
                    other => unreachable!("{other} is no figure of a result row"),
                }
            }
        }
    };
}

result_rows! {
    /// Suite mean, 0 to 1.
    quality: quality quality_ci95_low quality_ci95_high quality_n,
    /// Decode tokens per second of one stream, client view.
    decode: decode_tokens_per_second decode_tokens_per_second_ci95_low decode_tokens_per_second_ci95_high decode_tokens_per_second_n,
    /// Prefill tokens per second, client view: prompt tokens over TTFT, a lower bound.
    prefill: prefill_tokens_per_second prefill_tokens_per_second_ci95_low prefill_tokens_per_second_ci95_high prefill_tokens_per_second_n,
    /// Time to the first token in milliseconds.
    ttft: ttft_ms ttft_ms_ci95_low ttft_ms_ci95_high ttft_ms_n,
    /// 95th percentile of the time to the first token in milliseconds, over requests; below 20
    /// requests there is none.
    ttft_p95: ttft_ms_p95 ttft_ms_p95_ci95_low ttft_ms_p95_ci95_high ttft_ms_p95_n,
    /// Time per output token after the first, in milliseconds: 1000 / decode.
    tpot: tpot_ms tpot_ms_ci95_low tpot_ms_ci95_high tpot_ms_n,
    /// Median gap between token events in milliseconds. n counts gaps.
    itl_p50: itl_ms_p50 itl_ms_p50_ci95_low itl_ms_p50_ci95_high itl_ms_p50_n,
    /// 90th percentile of the gaps in milliseconds.
    itl_p90: itl_ms_p90 itl_ms_p90_ci95_low itl_ms_p90_ci95_high itl_ms_p90_n,
    /// 99th percentile of the gaps in milliseconds; below 100 gaps there is none.
    itl_p99: itl_ms_p99 itl_ms_p99_ci95_low itl_ms_p99_ci95_high itl_ms_p99_n,
    /// Decode tokens per second by the engine's own clock.
    engine_decode: engine_decode_tokens_per_second engine_decode_tokens_per_second_ci95_low engine_decode_tokens_per_second_ci95_high engine_decode_tokens_per_second_n,
    /// Prefill tokens per second by the engine's own clock.
    engine_prefill: engine_prefill_tokens_per_second engine_prefill_tokens_per_second_ci95_low engine_prefill_tokens_per_second_ci95_high engine_prefill_tokens_per_second_n,
    /// All tokens that all streams emit while all are active, per second; with one stream the
    /// same as decode, and left out.
    aggregate_decode: aggregate_decode_tokens_per_second aggregate_decode_tokens_per_second_ci95_low aggregate_decode_tokens_per_second_ci95_high aggregate_decode_tokens_per_second_n,
    /// 10th percentile of the streams' decode speeds.
    slow_stream: stream_decode_tokens_per_second_p10 stream_decode_tokens_per_second_p10_ci95_low stream_decode_tokens_per_second_p10_ci95_high stream_decode_tokens_per_second_p10_n,
    /// Measured decode as a share of what the memory allows; with one stream this is MBU.
    decode_of_theory: decode_of_theory decode_of_theory_ci95_low decode_of_theory_ci95_high decode_of_theory_n,
    /// Measured prefill as a share of what the arithmetic allows.
    prefill_of_theory: prefill_of_theory prefill_of_theory_ci95_low prefill_of_theory_ci95_high prefill_of_theory_n,
    /// Seconds from question to answer, all samples and the verifier included. n counts items.
    seconds_per_answer: seconds_per_answer seconds_per_answer_ci95_low seconds_per_answer_ci95_high seconds_per_answer_n,
    /// Peak resident memory in bytes.
    peak_memory: peak_memory_bytes peak_memory_bytes_ci95_low peak_memory_bytes_ci95_high peak_memory_bytes_n,
    /// Joules over all questions divided by the number answered correctly.
    joules_per_correct: joules_per_correct_answer joules_per_correct_answer_ci95_low joules_per_correct_answer_ci95_high joules_per_correct_answer_n,
    /// Its reciprocal: right answers per joule, intelligence per joule.
    accuracy_per_joule: accuracy_per_joule accuracy_per_joule_ci95_low accuracy_per_joule_ci95_high accuracy_per_joule_n,
    /// Share of right answers over mean watts in question spans, to compare with arXiv 2511.07885.
    ipw: ipw ipw_ci95_low ipw_ci95_high ipw_n,
    /// As `joules_per_correct_answer`, less idle power with the weights loaded times time.
    net_joules_per_correct: net_joules_per_correct_answer net_joules_per_correct_answer_ci95_low net_joules_per_correct_answer_ci95_high net_joules_per_correct_answer_n,
    /// Joules per prompt token of a prefill of the workload's length; the first output token
    /// belongs to it. n counts tokens.
    joules_per_prompt_token: joules_per_prompt_token joules_per_prompt_token_ci95_low joules_per_prompt_token_ci95_high joules_per_prompt_token_n,
    /// Joules of one whole request of the workload. n counts requests.
    joules_per_request: joules_per_request joules_per_request_ci95_low joules_per_request_ci95_high joules_per_request_n,
    /// Mean watts while prompts are processed. n counts meter ticks.
    prefill_watts: prefill_watts prefill_watts_ci95_low prefill_watts_ci95_high prefill_watts_n,
    /// Mean watts while tokens are emitted. n counts meter ticks.
    decode_watts: decode_watts decode_watts_ci95_low decode_watts_ci95_high decode_watts_n,
    /// Mean watts, idle, weights loaded. n counts meter ticks.
    idle_loaded_watts: idle_loaded_watts idle_loaded_watts_ci95_low idle_loaded_watts_ci95_high idle_loaded_watts_n,
    /// Mean watts, idle, nothing loaded, at the ends of the sweep. n counts meter ticks.
    idle_unloaded_watts: idle_unloaded_watts idle_unloaded_watts_ci95_low idle_unloaded_watts_ci95_high idle_unloaded_watts_n,
    /// As `joules_per_output_token`, less idle power with the weights loaded times time.
    net_joules_per_output_token: net_joules_per_output_token net_joules_per_output_token_ci95_low net_joules_per_output_token_ci95_high net_joules_per_output_token_n,
    /// Joules per output token at the workload's depth. n counts tokens.
    joules_per_output_token: joules_per_output_token joules_per_output_token_ci95_low joules_per_output_token_ci95_high joules_per_output_token_n,
    /// Mean watts over the question spans of one record, the latest that was scored. n counts its
    /// items.
    mean_watts: mean_watts mean_watts_ci95_low mean_watts_ci95_high mean_watts_n,
}

/// Where a result stands against the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Membership {
    /// Not dominated in at least 90 % of the draws.
    On,
    /// In 10 to 90 %, or not dominated by the published values.
    Tied,
    /// In fewer than 10 %.
    Dominated,
}

impl Membership {
    /// The word of the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Tied => "tied",
            Self::Dominated => "dominated",
        }
    }
}

/// What a frontier weighs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// US dollars, down.
    Price,
    /// Suite mean, up.
    Quality,
    /// Decode tokens per second, up.
    Decode,
    /// Joules per correct answer, down.
    Joules,
}

impl Objective {
    /// Every objective.
    pub const ALL: [Self; 4] = [Self::Price, Self::Quality, Self::Decode, Self::Joules];

    /// The word of the URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Quality => "quality",
            Self::Decode => "decode",
            Self::Joules => "joules",
        }
    }

    /// A larger value is better.
    pub fn higher_is_better(self) -> bool {
        matches!(self, Self::Quality | Self::Decode)
    }

    /// The published value of a row.
    pub fn of(self, row: &ResultRow) -> Option<f64> {
        match self {
            Self::Price => row.price_usd,
            Self::Quality => row.quality,
            Self::Decode => row.decode_tokens_per_second,
            Self::Joules => row.joules_per_correct_answer,
        }
    }
}

/// `GET /api/v1/frontier`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FrontierAnswer {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// [`DATA_LICENCE`].
    pub licence: String,
    /// The question as understood, in its canonical spelling, without defaults.
    pub query: String,
    /// What was weighed: two or three.
    pub objectives: Vec<Objective>,
    /// Why these objectives, when the reader did not choose them.
    pub objectives_reason: Option<String>,
    /// The budget in US dollars.
    pub budget_usd: f64,
    /// Suite version, workload and tier floor that the rows share.
    pub suite: Option<String>,
    /// Workload.
    pub workload: Option<String>,
    /// Energy scope that the joules of the rows share, when joules are weighed or bounded; `null`
    /// when they are not, or the reader crosses scopes.
    pub energy_scope: Option<String>,
    /// The reader asked for joules of different scopes side by side: they are not comparable, and
    /// whatever shows them says so.
    pub across_scopes: bool,
    /// Lowest tier shown.
    pub tier_floor: Tier,
    /// One sentence.
    pub answer: String,
    /// Cells measured at or above the tier floor.
    pub measured: u32,
    /// On the frontier.
    pub on: u32,
    /// Tied.
    pub tied: u32,
    /// Without a price.
    pub unpriced: u32,
    /// Seeded draws that membership is based on; 0 without rows.
    pub draws: u32,
    /// On (in order of the first objective), tied, dominated.
    pub rows: Vec<ResultRow>,
    /// Results that are not on the chart, and why.
    pub left_out: Vec<LeftOut>,
    /// Results of other tools that have a decode speed, newest file first, when the reader asked
    /// for them: beside the rows, with no standing, never weighed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imported: Vec<ImportedBeside>,
    /// Why there are none, when the reader asked for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_reason: Option<String>,
    /// Choices that the data offers.
    pub facets: Facets,
}

/// An imported row beside a frontier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImportedBeside {
    /// The row.
    pub import: ImportRow,
    /// Price of the setup that its importer named, in US dollars.
    pub price_usd: Option<f64>,
    /// When.
    pub price_date: Option<String>,
    /// Why there is no price.
    pub price_reason: Option<String>,
}

/// A result outside the asked frontier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeftOut {
    /// Its row, so that a page can show what is known.
    pub row: ResultRow,
    /// Such as `over-budget`, `no-price`, `too-slow`, `below-quality`, `no-joules`, `below-tier`;
    /// of joules that were measured and are on no front: `other-scope`, `partial-scope`,
    /// `regression`, `not-closed`.
    pub code: String,
    /// In words.
    pub reason: String,
}

/// Choices that the data offers, sorted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Facets {
    /// Workloads.
    pub workloads: Vec<Facet>,
    /// Engines.
    pub engines: Vec<Facet>,
    /// Models, by slug.
    pub models: Vec<Facet>,
    /// Setups, by slug.
    pub setups: Vec<Facet>,
    /// Suites.
    pub suites: Vec<Facet>,
    /// Joule scopes at which results can be compared; one result may count at several.
    pub scopes: Vec<Facet>,
}

/// One choice and how many results it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Facet {
    /// Value in the URL.
    pub value: String,
    /// What a reader calls it.
    pub name: String,
    /// Results.
    pub count: u32,
}

/// `GET /api/v1/results`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResultsAnswer {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// [`DATA_LICENCE`].
    pub licence: String,
    /// By id, from the cursor on.
    pub rows: Vec<ResultRow>,
    /// Opaque cursor of the next page, if there is one.
    pub next: Option<String>,
}

/// `GET /api/v1/results/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResultDetail {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// [`DATA_LICENCE`].
    pub licence: String,
    /// The published numbers.
    pub row: ResultRow,
    /// Accuracy by family.
    pub families: Vec<FamilyScore>,
    /// Accuracy by family and level, in the suite's order, levels from one.
    pub levels: Vec<VariantFamily>,
    /// Joules at every scope that was measured, that of the row first; empty where none was.
    pub energies: Vec<EnergyRow>,
    /// Power over time in the newest record with readings, one series per meter, thinned.
    pub power: Vec<PowerSeries>,
    /// Each repetition that counts, and each that does not, with the reason.
    pub repetitions: Vec<RepetitionPoint>,
    /// Provenance, line by line; `null` reads "not recorded".
    pub provenance: Vec<ProvenanceLine>,
    /// The records behind it, newest first.
    pub records: Vec<RecordSummary>,
    /// The command that measures this cell again.
    pub reproduce: String,
}

/// Joules of one result at one scope. Figures of two scopes are never compared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct EnergyRow {
    /// What the joules cover.
    pub scope: String,
    /// The one that the result's row carries.
    pub is_headline: bool,
    /// It is known to contain every processor that worked.
    pub holds_the_work: bool,
    /// The meters, in words.
    pub meters: String,
    /// Joules per correct answer.
    pub joules_per_correct_answer: Option<f64>,
    /// Low end of its 95 % interval.
    pub joules_per_correct_answer_ci95_low: Option<f64>,
    /// High end of its 95 % interval.
    pub joules_per_correct_answer_ci95_high: Option<f64>,
    /// Joules per prompt token.
    pub joules_per_prompt_token: Option<f64>,
    /// Joules per output token.
    pub joules_per_output_token: Option<f64>,
    /// Mean watts over question spans.
    pub mean_watts: Option<f64>,
    /// Mean watts, idle, weights loaded.
    pub idle_loaded_watts: Option<f64>,
    /// Why what is missing is missing.
    pub reason: Option<String>,
}

/// Power over time of one meter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PowerSeries {
    /// Meter and device.
    pub meter: String,
    /// What it covers.
    pub scope: String,
    /// Seconds since the record began, and mean watts since the point before.
    pub points: Vec<(f64, f64)>,
    /// Phases that the record holds: name, first and last second.
    pub phases: Vec<(String, f64, f64)>,
}

/// `GET /api/v1/compare?r=a,b`: two to six results side by side, the first as the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompareAnswer {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// [`DATA_LICENCE`].
    pub licence: String,
    /// The results, as asked.
    pub rows: Vec<ResultRow>,
    /// Each other result against the first, in the order of `rows`.
    pub deltas: Vec<Delta>,
    /// Provenance that differs: label, and the value of each result.
    pub differs: Vec<DifferingLine>,
}

/// One line of provenance in which results differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DifferingLine {
    /// What.
    pub label: String,
    /// By result; `null` when not recorded.
    pub values: Vec<Option<String>>,
}

/// One figure of a result over that of the base.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct Delta {
    /// The result.
    pub id: String,
    /// Column, such as `joules_per_correct_answer`.
    pub figure: String,
    /// This result's figure over the base's (of quality: the difference in points of 100);
    /// `null` where the two must not be divided.
    pub value: Option<f64>,
    /// Low end of its 95 % interval.
    pub ci95_low: Option<f64>,
    /// High end of its 95 % interval.
    pub ci95_high: Option<f64>,
    /// The same items were answered, and are compared one by one.
    pub paired: bool,
    /// Whether the two can be told apart, and which is better; `null` without an interval.
    pub told: Option<Told>,
    /// Of quality on the same items: those that both answered.
    pub paired_items: Option<u32>,
    /// Of those, items that the base answered rightly and this one wrongly.
    pub lost: Option<u32>,
    /// Items that this one answered rightly and the base wrongly.
    pub gained: Option<u32>,
    /// Two-sided p of the exact McNemar test on lost and gained, which decides `told`.
    pub mcnemar_p: Option<f64>,
    /// Of quality: items, the same for both, that would tell a difference of this size with 80 %
    /// power; `null` where none would.
    pub items_needed: Option<u32>,
    /// Why there is no value: another scope, suite, workload or sampling.
    pub reason: Option<String>,
}

/// Accuracy of one family.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct FamilyScore {
    /// Family.
    pub family: String,
    /// What it asks.
    pub description: String,
    /// Right answers.
    pub correct: u32,
    /// Items.
    pub items: u32,
    /// Of the wrong ones, those in which no answer could be found.
    pub unextractable: u32,
    /// Right over items.
    pub accuracy: f64,
    /// Clopper-Pearson 95 % interval.
    pub accuracy_ci95_low: f64,
    /// Clopper-Pearson 95 % interval.
    pub accuracy_ci95_high: f64,
}

/// What one model loses by quantisation and pruning, on one setup: `GET /api/v1/models/{slug}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelDetail {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// [`DATA_LICENCE`].
    pub licence: String,
    /// Its name in URLs.
    pub slug: String,
    /// Name.
    pub name: String,
    /// Architecture.
    pub arch: String,
    /// Parameters of the unpruned model.
    pub params_total: u64,
    /// Where its variants are compared: the asked setup, engine, workload and suite, or those with
    /// the most variants.
    pub group: Option<VariantGroup>,
    /// Every setup, engine, workload and suite in which variants were measured, most variants first.
    pub groups: Vec<VariantGroup>,
    /// The reference: the unquantised, unpruned variant in this group, by its result's id.
    pub reference: Option<String>,
    /// Why there is none.
    pub reference_reason: Option<String>,
    /// The group's variants: the unpruned, most bytes first, then the pruned, by kind and share.
    pub variants: Vec<VariantRow>,
    /// Accuracy by variant, family and level, in the suite's order; level 0 stands for all levels.
    pub families: Vec<VariantFamily>,
}

/// What variants must share to be compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct VariantGroup {
    /// Setup.
    pub setup: String,
    /// Engine's name in URLs.
    pub engine: String,
    /// Workload.
    pub workload: String,
    /// Suite.
    pub suite: Option<String>,
    /// Distinct weights files measured.
    pub variants: u32,
}

/// How two results' answers to the same items compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// The interval of the difference lies above zero.
    Better,
    /// It lies below.
    Worse,
    /// It holds zero: the two cannot be told apart by these items.
    NotApart,
}

/// One variant of a model, in CSV and JSON alike. Missing figures are `null`, the reason beside.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct VariantRow {
    /// The result whose figures these are.
    pub result: String,
    /// The weights.
    pub variant_sha256: String,
    /// Quantisation label.
    pub quant: String,
    /// `none`, or how it was pruned.
    pub pruning: String,
    /// What was removed, such as `layers-at-1+2`; `null` where the file does not say.
    pub pruning_recipe: Option<String>,
    /// Removed share of the source's parameters, in percent.
    pub pruning_percent: f64,
    /// Length of the weights.
    pub variant_bytes: u64,
    /// Length in bits over parameters.
    pub bits_per_weight: f64,
    /// Length over the reference's.
    pub bytes_of_reference: Option<f64>,
    /// Suite mean, 0 to 1: the mean of its families' accuracies.
    pub quality: Option<f64>,
    /// Low end of its 95 % interval.
    pub quality_ci95_low: Option<f64>,
    /// High end of its 95 % interval.
    pub quality_ci95_high: Option<f64>,
    /// Items behind it.
    pub quality_n: Option<u32>,
    /// Why quality is missing.
    pub quality_reason: Option<String>,
    /// Items in whose answer nothing could be found; they count as wrong.
    pub unextractable: Option<u32>,
    /// Quality less the reference's, in points of 100, on the same items.
    pub quality_points: Option<f64>,
    /// Low end of its 95 % interval.
    pub quality_points_ci95_low: Option<f64>,
    /// High end of its 95 % interval.
    pub quality_points_ci95_high: Option<f64>,
    /// Items that both answered.
    pub paired_items: Option<u32>,
    /// Items that the reference answered rightly and this one wrongly.
    pub lost: Option<u32>,
    /// Items that this one answered rightly and the reference wrongly.
    pub gained: Option<u32>,
    /// Two-sided p of the exact McNemar test on lost and gained.
    pub mcnemar_p: Option<f64>,
    /// Whether the two can be told apart.
    pub told: Option<Told>,
    /// Items, the same for both, that would tell a difference of this size with 80 % power, at
    /// this share of discordant items; `null` where none would.
    pub items_needed: Option<u32>,
    /// Share of items answered with the very same text as the reference, both greedy.
    pub greedy_agreement: Option<f64>,
    /// Low end of its 95 % interval.
    pub greedy_agreement_ci95_low: Option<f64>,
    /// High end of its 95 % interval.
    pub greedy_agreement_ci95_high: Option<f64>,
    /// Items behind it.
    pub greedy_agreement_n: Option<u32>,
    /// Mean KL divergence from the reference per token, in nats, teacher-forced.
    pub kl_mean_nats: Option<f64>,
    /// Low end of its 95 % interval, by document.
    pub kl_mean_nats_ci95_low: Option<f64>,
    /// High end of its 95 % interval.
    pub kl_mean_nats_ci95_high: Option<f64>,
    /// 99.9th percentile of the tokens' KL divergences, in nats; below 1,000 tokens there is none.
    pub kl_p999_nats: Option<f64>,
    /// Mean change of the negative log likelihood per token, in nats.
    pub delta_nll_nats: Option<f64>,
    /// Low end of its 95 % interval.
    pub delta_nll_nats_ci95_low: Option<f64>,
    /// High end of its 95 % interval.
    pub delta_nll_nats_ci95_high: Option<f64>,
    /// Share of tokens whose most likely choice is the reference's.
    pub top1_agreement: Option<f64>,
    /// Low end of its 95 % interval.
    pub top1_agreement_ci95_low: Option<f64>,
    /// High end of its 95 % interval.
    pub top1_agreement_ci95_high: Option<f64>,
    /// Tokens behind the four.
    pub fidelity_tokens: Option<u32>,
    /// Why they are missing.
    pub fidelity_reason: Option<String>,
    /// Decode tokens per second.
    pub decode_tokens_per_second: Option<f64>,
    /// Low end of its 95 % interval.
    pub decode_tokens_per_second_ci95_low: Option<f64>,
    /// High end of its 95 % interval.
    pub decode_tokens_per_second_ci95_high: Option<f64>,
    /// Why decode speed is missing.
    pub decode_reason: Option<String>,
    /// Decode speed over the reference's.
    pub decode_of_reference: Option<f64>,
    /// Joules over all questions divided by the number answered correctly.
    pub joules_per_correct_answer: Option<f64>,
    /// Low end of its 95 % interval.
    pub joules_per_correct_answer_ci95_low: Option<f64>,
    /// High end of its 95 % interval.
    pub joules_per_correct_answer_ci95_high: Option<f64>,
    /// Joules per output token.
    pub joules_per_output_token: Option<f64>,
    /// What the joules cover.
    pub energy_scope: Option<String>,
    /// Why joules are missing.
    pub energy_reason: Option<String>,
    /// Joules per output token over the reference's, at one scope.
    pub joules_of_reference: Option<f64>,
}

/// One variant's answers to one family, of one level or of all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct VariantFamily {
    /// The variant's result.
    pub result: String,
    /// 0 stands for all levels.
    pub level: u8,
    /// Its answers.
    #[serde(flatten)]
    pub score: FamilyScore,
}

/// Which setup is the cheapest that passes a kind of task: `GET /api/v1/tasks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TasksAnswer {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// [`DATA_LICENCE`].
    pub licence: String,
    /// Suite asked about.
    pub suite: String,
    /// Suites with results.
    pub suites: Vec<String>,
    /// Share of right answers that passes, 0 to 1.
    pub pass: f64,
    /// One row per family and level, in the suite's order; level 0 stands for all levels.
    pub rows: Vec<TaskRow>,
}

/// One family at one level, and the cheapest that passes it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct TaskRow {
    /// Family.
    pub family: String,
    /// What it asks.
    pub description: String,
    /// 0 stands for all levels.
    pub level: u8,
    /// Results with answers to it.
    pub results: u32,
    /// Of those, surely above the pass mark: their whole interval is.
    pub passing: u32,
    /// The cheapest of those with a price.
    pub cheapest: Option<PassingResult>,
    /// Why there is none.
    pub reason: Option<String>,
}

/// A result that passes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct PassingResult {
    /// Its id.
    pub id: String,
    /// Model.
    pub model: String,
    /// Quantisation.
    pub quant: String,
    /// Setup.
    pub setup: String,
    /// Its name.
    pub setup_name: String,
    /// Price in US dollars.
    pub price_usd: f64,
    /// When.
    pub price_date: String,
    /// Decode tokens per second.
    pub decode_tokens_per_second: Option<f64>,
    /// Right answers.
    pub correct: u32,
    /// Items.
    pub items: u32,
    /// Low end of the accuracy's 95 % interval.
    pub accuracy_ci95_low: f64,
    /// High end.
    pub accuracy_ci95_high: f64,
}

/// Results of other tools: `GET /api/v1/imports`. A layer of its own; in no median, and on no
/// frontier unless the reader asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImportsAnswer {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// [`DATA_LICENCE`] for our derivation; each row names its file's own.
    pub licence: String,
    /// Rows, newest file first, from the cursor on.
    pub rows: Vec<ImportRow>,
    /// Opaque cursor of the next page, if there is one.
    pub next: Option<String>,
}

/// One row of an imported file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct ImportRow {
    /// Names the row: the import's content id and the row's number.
    pub id: String,
    /// Content id of the importer's envelope: leads to the signed bytes and the raw file.
    pub import: String,
    /// The importer's key.
    pub key_id: String,
    /// When it was received, RFC 3339 UTC.
    pub received_at: String,
    /// The file's name.
    pub file: String,
    /// SHA-256 of the file as it was on the importer's disk.
    pub file_sha256: String,
    /// Command lines and secrets taken out of it before it was sent.
    pub redactions: u32,
    /// Setup, as the importer named it.
    pub setup: Option<String>,
    /// Weights, as the importer named them.
    pub variant_sha256: Option<String>,
    /// Where the file was published.
    pub source: Option<String>,
    /// The file's licence.
    pub licence: Option<String>,
    /// What the file says.
    #[serde(flatten)]
    pub row: crate::import::Row,
}

/// One repetition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RepetitionPoint {
    /// Content id of its record.
    pub record: String,
    /// Number within the record.
    pub rep: u32,
    /// `null` when it counts; `warm-up` or the reason otherwise.
    pub void: Option<String>,
    /// Decode tokens per second.
    pub decode_tokens_per_second: Option<f64>,
    /// Prefill tokens per second.
    pub prefill_tokens_per_second: Option<f64>,
    /// Time to the first token.
    pub ttft_ms: Option<f64>,
}

/// One line of provenance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProvenanceLine {
    /// What.
    pub label: String,
    /// Its value; `null` when not recorded.
    pub value: Option<String>,
}

/// One signed record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordSummary {
    /// Content id.
    pub content_id: String,
    /// The key that signed.
    pub key_id: String,
    /// Tier.
    pub tier: Tier,
    /// RFC 3339 UTC.
    pub received_at: String,
    /// The runner's own claim, RFC 3339 UTC; empty when the stored bytes cannot be read.
    pub started_at: String,
    /// `ok` or how it failed.
    pub outcome: String,
    /// The result it counts in; `null` when quarantined or failed.
    pub result: Option<String>,
    /// Broken plausibility rules, in words.
    pub findings: Vec<String>,
}

/// `GET /api/v1/records`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordsAnswer {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// [`DATA_LICENCE`].
    pub licence: String,
    /// Newest first, from the cursor on.
    pub rows: Vec<RecordSummary>,
    /// Opaque cursor of the next page, if there is one.
    pub next: Option<String>,
}

/// `GET /api/v1/records/{content id}`: the signed bytes stand under `/envelope`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordDetail {
    /// The record's place.
    pub summary: RecordSummary,
    /// The public key that verifies it, in hex.
    pub public_key: String,
    /// The signature verifies against the stored bytes, checked at this request.
    pub signature_valid: bool,
    /// The signed payload, as parsed.
    #[schema(value_type = Object)]
    pub record: serde_json::Value,
}

/// The collector's answer to a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// `accepted`; a quarantined record is accepted too.
    pub status: String,
    /// Content id.
    pub content_id: String,
    /// Tier it entered at.
    pub tier: Tier,
    /// Result it counts in, if it counts.
    pub result: Option<String>,
    /// Broken plausibility rules.
    pub findings: Vec<String>,
    /// RFC 3339 UTC.
    pub received_at: String,
}

/// `GET /api/v1/hardware`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HardwareAnswer {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// Parts and machines.
    pub hardware: Vec<HardwareRow>,
    /// Buyable bundles.
    pub setups: Vec<SetupRow>,
}

/// One part or machine. Missing facts are `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HardwareRow {
    /// Slug.
    pub slug: String,
    /// Name.
    pub name: String,
    /// Maker.
    pub vendor: String,
    /// Kind.
    pub kind: HardwareKind,
    /// Memory.
    pub memory_gb: Option<f64>,
    /// One memory for CPU and GPU.
    pub unified: Option<bool>,
    /// Data-sheet bandwidth.
    pub memory_bandwidth_gb_s: Option<f64>,
    /// Data-sheet compute.
    pub fp16_dense_tflops: Option<f64>,
    /// Which unit and accumulation that is of.
    pub fp16_basis: Option<String>,
    /// Rated power.
    pub tdp_w: Option<f64>,
    /// Whole machine, idle, at the wall.
    pub idle_w: Option<f64>,
    /// Month of first sale.
    pub release_date: Option<String>,
    /// How well the facts are known.
    pub confidence: Confidence,
    /// Sources.
    pub sources: Vec<String>,
    /// Results measured on it.
    pub results: u32,
}

/// One setup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SetupRow {
    /// Slug.
    pub slug: String,
    /// Name.
    pub name: String,
    /// Parts, as `count x slug`.
    pub parts: Vec<String>,
    /// The newest price.
    pub price: Option<Price>,
    /// Why there is none.
    pub price_reason: Option<String>,
    /// Results measured on it.
    pub results: u32,
}

/// `GET /api/v1/models`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelsAnswer {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// Models with their variants' results.
    pub models: Vec<ModelRow>,
}

/// One model and what is known of its variants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelRow {
    /// Slug.
    pub slug: String,
    /// Name.
    pub name: String,
    /// Architecture.
    pub arch: String,
    /// Parameters of the unpruned model.
    pub params_total: u64,
    /// Distinct weights files measured.
    pub variants: u32,
    /// Its results.
    pub results: Vec<ResultRow>,
}

/// `GET /api/v1/engines`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnginesAnswer {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// By slug.
    pub engines: Vec<EngineRow>,
}

/// One inference program; `GET /api/v1/engines/{slug}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EngineRow {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// Its name in URLs.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Its builds, newest record first.
    pub builds: Vec<BuildRow>,
}

/// One build of an engine; `GET /api/v1/engines/{slug}/{build}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BuildRow {
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// The engine's name in URLs.
    pub engine_slug: String,
    /// The engine's name.
    pub engine: String,
    /// Names the build in URLs.
    pub build: String,
    /// Version.
    pub version: String,
    /// Commit if known, and flags.
    pub flags: String,
    /// Such as `cpu`.
    pub backend: String,
    /// When its newest record arrived.
    pub received_at: String,
    /// Results with a ceiling.
    pub with_ceiling: u32,
    /// Smallest measured share of what the memory allows: the worst gap.
    pub worst_of_theory: Option<f64>,
    /// Median of those shares.
    pub median_of_theory: Option<f64>,
    /// Its results, the worst gap first, those without a ceiling last.
    pub rows: Vec<ResultRow>,
}

/// `GET /api/v1/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok` when the database answers.
    pub status: String,
    /// The collector's id: the audience of records sealed for it.
    pub audience: String,
    /// Changes when any published number may have changed.
    pub data_version: String,
    /// Records that answers are made from; one just accepted joins them within a second.
    pub records: u64,
}

/// RFC 9457 `application/problem+json`. No SQL, path or echo of the request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `/problems/{code}`.
    #[serde(rename = "type")]
    pub kind: String,
    /// In words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What to do.
    pub detail: String,
    /// Stable code.
    pub code: String,
    /// The same request may succeed later.
    pub retryable: bool,
    /// Places in the request.
    pub errors: Vec<ProblemPlace>,
}

/// One place in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemPlace {
    /// RFC 6901 pointer into the body, or the query parameter's name.
    pub pointer: String,
    /// What is wrong there.
    pub code: String,
}
