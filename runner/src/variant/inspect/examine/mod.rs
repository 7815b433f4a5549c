//! What a GGUF is, whoever made it: its numbers are read, not only its header.
//!
//! Every tensor is read once, in pieces of [`PIECE`] numbers, so memory is bounded whatever the file's size. Looked
//! for are traces of an earlier, coarser quantisation ([`grid`]), numbers that are not finite, tensors that are all
//! zero, patterns of zeros, tensors and layers that stand there twice, and whether the file is what it claims
//! ([`claim`]).
//!
//! What cannot be told: an earlier quantisation to 6 or 8 bits beneath `Q8_0` (to 5 bits where outliers take the range),
//! one to more than 3 bits beneath `Q6_K`, to 8 bits beneath `BF16`, and any beneath a type of 5 bits or fewer, because
//! the type's own steps are as coarse; one by vectors rather than steps (AQLM, `QuIP#`), or after which weights were
//! trained further or merged. A model that was trained on a coarse grid (ternary, MXFP4) looks like one that was
//! quantised to it, because it is one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::Device;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use domain::record::PruningMethod;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{is_zeroing, layer_of};
use crate::gguf::{GgufError, Header, Keys, StoredTensor, cleaned, type_label};
use crate::variant::prune::is_layer_matrix;
use crate::variant::quantise::{keys, method};
use crate::variant::{PruneRecipe, VariantError};

mod claim;
mod grid;

#[cfg(test)]
mod tests;

pub use claim::Agreement;
pub(super) use claim::mix;
use grid::Run;

/// Numbers that are read at once: whole blocks of every type.
const PIECE: usize = 1 << 16;

/// Weights of a sampled block.
const BLOCK: usize = 32;

/// Blocks that are sampled of a tensor, evenly over it.
const SAMPLED_BLOCKS: u64 = 256;

/// Sampled runs below which nothing is said of a tensor.
const LEAST_RUNS: u32 = 32;

/// Share of the runs that must lie on a grid.
const MOST_RUNS: f64 = 0.9;

/// Most different values of a 4-bit code, even or not.
const CODES_OF_FOUR_BITS: usize = 16;

/// Non-zero values that a block must have for its different ones to tell anything.
const LEAST_CODES: usize = 24;

/// Sizes of groups that patterns of zeros are searched in.
const GROUPS: [usize; 3] = [4, 8, 16];

/// Groups in a thousand that may break a pattern of zeros.
const BROKEN_GROUPS_PPM: u64 = 1_000;

/// Share by which zeros may exceed those of a pattern: small weights become zero by rounding.
const FURTHER_ZEROS: f64 = 0.05;

/// Types whose numbers are read here.
const READ: [GgmlDType; 13] = [
    GgmlDType::F32,
    GgmlDType::F16,
    GgmlDType::BF16,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

/// Types that store each block above a least value of its own, so that no code stands for zero.
const WITHOUT_ZERO: [&str; 5] = ["Q4_1", "Q5_1", "Q2_K", "Q4_K", "Q5_K"];

/// What an examination found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Examined {
    /// Tensors.
    pub tensors: u32,
    /// Files.
    pub files: u32,
    /// Bits of the files for each weight.
    pub file_bits_per_weight: f64,
    /// Bits of the tensors alone for each weight.
    pub tensor_bits_per_weight: f64,
    /// The mix that the types of the layers' matrices are, as llama.cpp calls it.
    pub mix: String,
    /// What the file says of itself.
    pub claims: Vec<Claim>,
    /// Types whose numbers cannot be read here, so that nothing below is said of them.
    pub unread_types: Vec<String>,
    /// Longest context that it says, in tokens.
    pub context_tokens: Option<u32>,
    /// It has a chat template.
    pub has_chat_template: bool,
    /// Experts, and how many of them a token passes.
    pub experts: Option<(u32, u32)>,
    /// Matrices that look made from a coarser quantisation, by type and bits.
    pub requantised: Vec<Suspicion>,
    /// Matrices that this could be told of.
    pub told_matrices: u32,
    /// What the file says of its pruning, and what is found of it; `None` if it says nothing.
    pub pruning: Option<SaidPruning>,
    /// Share of exact zeros among the weights of unquantised matrices; `None` without such.
    pub zero_share: Option<f64>,
    /// A pattern of zeros.
    pub zero_pattern: Option<ZeroPattern>,
    /// Tensors of zeros alone.
    pub zero_tensors: Vec<String>,
    /// Tensors that hold a number that is not finite.
    pub not_finite: Vec<String>,
    /// Layers with the same matrices, bit by bit.
    pub same_layers: Vec<Vec<u32>>,
    /// Other matrices that are the same, bit by bit.
    pub same_tensors: Vec<Vec<String>>,
}

/// Something that a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// Where it says so.
    pub place: &'static str,
    /// What.
    pub says: &'static str,
    /// Whether it is so.
    pub agreement: Agreement,
}

/// Pruning that a file says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SaidPruning {
    /// How.
    pub method: PruningMethod,
    /// What it says was done, as it stands there.
    pub recipe: Option<String>,
    /// Share of the source's parameters that it says went.
    pub share: f64,
    /// What it says does not fit together: another recipe than method, a share without a method, more zeros than went.
    pub contradicts_itself: bool,
    /// Of a method that leaves zeros, those that are found; `None` of other methods and where numbers cannot be read.
    pub zeroed: Option<Zeroed>,
}

/// Zeros that pruning is said to have left.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Zeroed {
    /// Exact zeros in the matrices of layers, as a share of all parameters.
    pub share: f64,
    /// Some of those matrices are of a type with a least value per block, which has no code for zero.
    pub has_types_without_zero: bool,
}

/// Matrices that look made from a coarser quantisation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suspicion {
    /// Type that they are stored in.
    pub dtype: String,
    /// Bits that would have done.
    pub bits: u32,
    /// Levels of such a grid.
    pub levels: u32,
    /// Its levels are evenly spaced; else there are only so few different values.
    pub is_even: bool,
    /// How many matrices.
    pub matrices: u32,
    /// Share of their sampled runs of weights that lie on so few levels.
    pub share: f64,
    /// Runs that were sampled.
    pub runs: u32,
    /// One of them.
    pub example: String,
}

/// `zeros` of each group of `group` weights are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ZeroPattern {
    /// Weights kept in a group.
    pub kept: u32,
    /// Weights of a group.
    pub group: u32,
    /// Matrices with it.
    pub matrices: u32,
}

/// Reads a GGUF through (of several files: the first) and says what it is.
pub fn examine(path: &Path) -> Result<Examined, VariantError> {
    let header = Header::open(path)?;
    let mut files = Vec::new();
    let mut bytes = 0;
    for path in header.files() {
        let fault = |source| GgufError::Io {
            path: path.clone(),
            source,
        };
        let file = File::open(path).map_err(fault)?;
        bytes += file.metadata().map_err(fault)?.len();
        files.push(file);
    }
    let mut seen = BTreeMap::new();
    for (name, stored) in header.tensors() {
        let file = &mut files[stored.file];
        seen.insert(name.as_str(), read(&header, name, stored, file)?);
    }
    Ok(summed(&header, bytes, &seen)?)
}

/// What was seen of one tensor.
#[derive(Debug, Default)]
struct Seen {
    digest: [u8; 32],
    is_read: bool,
    elements: u64,
    zeros: u64,
    has_not_finite: bool,
    /// Sampled runs that tell something, and of those the ones that need at most 2^place levels.
    runs: u32,
    runs_within_bits: [u32; 9],
    /// Sampled blocks that tell something, and those with few different values.
    blocks: u32,
    blocks_of_few: u32,
    /// By group size, how many groups have so many zeros.
    groups: [[u64; 17]; GROUPS.len()],
}

/// Reads one tensor piece by piece.
fn read(
    header: &Header,
    name: &str,
    stored: &StoredTensor,
    file: &mut File,
) -> Result<Seen, GgufError> {
    let fault = |source| GgufError::Io {
        path: header.files()[stored.file].clone(),
        source,
    };
    file.seek(SeekFrom::Start(stored.start)).map_err(fault)?;
    let dtype = READ
        .into_iter()
        .find(|known| type_label(*known) == stored.dtype);
    let piece_bytes = match dtype {
        Some(dtype) => PIECE / dtype.block_size() * dtype.type_size(),
        None => PIECE,
    };
    let mut seen = Seen {
        is_read: dtype.is_some(),
        elements: stored.elements(),
        ..Seen::default()
    };
    let blocks = (stored.elements() / BLOCK as u64).max(1);
    let mut sample = Sample::of(blocks);
    let mut hasher = Sha256::new();
    let mut left = stored.bytes;
    let mut piece = vec![0; piece_bytes];
    while left > 0 {
        let length = left.min(piece_bytes as u64) as usize;
        let raw = &mut piece[..length];
        file.read_exact(raw).map_err(fault)?;
        hasher.update(&*raw);
        left -= length as u64;
        if let Some(dtype) = dtype {
            let values = numbers(dtype, raw)
                .map_err(|error| header.bad_tensor(name, format!("cannot be read: {error}")))?;
            seen.add(&values, dtype, raw, stored.shape.len() > 1, &mut sample);
        }
    }
    seen.digest = hasher.finalize().into();
    Ok(seen)
}

/// The numbers of whole blocks.
fn numbers(dtype: GgmlDType, raw: &[u8]) -> candle_core::Result<Vec<f32>> {
    if dtype == GgmlDType::F32 {
        let words = raw.as_chunks::<4>().0.iter();
        return Ok(words.map(|word| f32::from_le_bytes(*word)).collect());
    }
    let elements = raw.len() / dtype.type_size() * dtype.block_size();
    let tensor = qtensor_from_ggml(dtype, raw, vec![elements], &Device::Cpu)?;
    tensor.dequantize(&Device::Cpu)?.to_vec1()
}

/// Which blocks are looked at: one of each stretch, at a place that wanders, so that no column is favoured.
struct Sample {
    stretch: u64,
    block: u64,
}

impl Sample {
    fn of(blocks: u64) -> Self {
        Self {
            stretch: blocks.div_ceil(SAMPLED_BLOCKS),
            block: 0,
        }
    }

    /// Whether the next block is one of them.
    fn takes_next(&mut self) -> bool {
        let (stretch, place) = (self.block / self.stretch, self.block % self.stretch);
        self.block += 1;
        // The golden ratio's multiples spread evenly.
        place == stretch.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.stretch
    }
}

impl Seen {
    fn add(
        &mut self,
        values: &[f32],
        dtype: GgmlDType,
        raw: &[u8],
        is_matrix: bool,
        sample: &mut Sample,
    ) {
        self.zeros += values.iter().filter(|value| **value == 0.0).count() as u64;
        self.has_not_finite |= values.iter().any(|value| !value.is_finite());
        if !is_matrix {
            return;
        }
        for (counts, size) in self.groups.iter_mut().zip(GROUPS) {
            for group in values.chunks_exact(size) {
                counts[group.iter().filter(|value| **value == 0.0).count()] += 1;
            }
        }
        for (number, block) in values.chunks_exact(BLOCK).enumerate() {
            if sample.takes_next() && may_be_finer(dtype) {
                self.look(block, dtype, raw, number);
            }
        }
    }

    /// Looks at the `number`-th block of a piece.
    fn look(&mut self, block: &[f32], dtype: GgmlDType, raw: &[u8], number: usize) {
        let (different, all) = grid::different(block);
        if all >= LEAST_CODES && different > 1 {
            self.blocks += 1;
            self.blocks_of_few += u32::from(different <= CODES_OF_FOUR_BITS);
        }
        for (half, run) in block.chunks_exact(grid::RUN).enumerate() {
            let at = (number * BLOCK + half * grid::RUN) / grid::RUN;
            let Some(half_step) = half_step(dtype, raw, at) else {
                continue;
            };
            let most = run
                .iter()
                .fold(0.0, |most: f64, value| most.max(f64::from(value.abs())));
            let error = |value: f64| match dtype {
                // Half a unit of the last place, of numbers too small for a full one half the smallest.
                GgmlDType::F16 => value.abs() * 2_f64.powi(-11) + 2_f64.powi(-25),
                GgmlDType::BF16 => value.abs() * 2_f64.powi(-8),
                // Multiplying and adding in F32 rounds by the larger of the terms.
                GgmlDType::F32 => (value.abs() + most) * 2_f64.powi(-22),
                _ => half_step * 1.01,
            };
            match grid::look(run, error) {
                Run::Nothing => {}
                Run::NoGrid => self.runs += 1,
                Run::Levels(levels) => {
                    self.runs += 1;
                    let bits = (levels - 1).ilog2() as usize + 1;
                    for count in self.runs_within_bits.iter_mut().skip(bits) {
                        *count += 1;
                    }
                }
            }
        }
    }

    /// The bits that would have done, whether evenly spaced, and the share and number of runs that say so.
    fn coarser(&self) -> Option<(u32, bool, f64, u32)> {
        let even = [2, 3, 4, 5, 6, 8].into_iter().find_map(|bits| {
            let share = f64::from(self.runs_within_bits[bits]) / f64::from(self.runs.max(1));
            (share >= MOST_RUNS).then_some((bits as u32, true, share, self.runs))
        });
        let few = f64::from(self.blocks_of_few) / f64::from(self.blocks.max(1));
        let uneven = (few >= MOST_RUNS && self.blocks >= LEAST_RUNS / 2).then_some((
            4,
            false,
            few,
            self.blocks,
        ));
        even.filter(|_| self.runs >= LEAST_RUNS)
            .filter(|even| uneven.is_none() || even.0 <= 4)
            .or(uneven)
    }

    fn is_told(&self) -> bool {
        self.runs >= LEAST_RUNS || self.blocks >= LEAST_RUNS / 2
    }

    /// The pattern of its zeros, as weights kept and group size.
    fn zero_pattern(&self) -> Option<(u32, u32)> {
        let share = self.zeros as f64 / self.elements as f64;
        GROUPS
            .into_iter()
            .zip(&self.groups)
            .find_map(|(size, counts)| {
                let all: u64 = counts.iter().sum();
                let mut fewer = 0;
                let zeros = counts.iter().take(size + 1).position(|count| {
                    fewer += count;
                    fewer * 1_000_000 > all * BROKEN_GROUPS_PPM
                })?;
                let expected = zeros as f64 / size as f64;
                let is_pattern = zeros > 0 && zeros < size && share <= expected + FURTHER_ZEROS;
                is_pattern.then_some(((size - zeros) as u32, size as u32))
            })
    }
}

/// Whether a type has room for the trace of a coarser one.
fn may_be_finer(dtype: GgmlDType) -> bool {
    matches!(
        dtype,
        GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 | GgmlDType::Q8_0 | GgmlDType::Q6K
    )
}

/// Half the step between the codes of the `at`-th run of `raw`; zero where there are none.
fn half_step(dtype: GgmlDType, raw: &[u8], at: usize) -> Option<f64> {
    let half = |bytes: &[u8]| {
        let word = bytes.try_into().ok().map(u16::from_le_bytes)?;
        Some(f64::from(f16_value(word)).abs() / 2.0)
    };
    match dtype {
        // https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h: scale, then 32 codes.
        GgmlDType::Q8_0 => {
            let block = raw.get(at * grid::RUN / 32 * 34..)?;
            half(block.get(..2)?)
        }
        // 192 bytes of codes, the scale of each run, their common factor.
        GgmlDType::Q6K => {
            let block = raw.get(at / 16 * 210..)?.get(..210)?;
            let scale = f64::from(block[192 + at % 16].cast_signed());
            Some(half(&block[208..])? * scale.abs())
        }
        _ => Some(0.0),
    }
}

/// A half-precision number; subnormal ones too.
fn f16_value(word: u16) -> f32 {
    let (exponent, fraction) = (i32::from(word >> 10 & 0x1f), f32::from(word & 0x3ff));
    let size = match exponent {
        0 => fraction * 2_f32.powi(-24),
        31 => f32::INFINITY,
        _ => (1_024.0 + fraction) * 2_f32.powi(exponent - 25),
    };
    if word >> 15 == 1 { -size } else { size }
}

fn summed(header: &Header, bytes: u64, seen: &BTreeMap<&str, Seen>) -> Result<Examined, GgufError> {
    let tensors = header.tensors();
    let elements: u64 = tensors.values().map(StoredTensor::elements).sum();
    let tensor_bytes: u64 = tensors.values().map(|stored| stored.bytes).sum();
    let per_weight = |bytes: u64| bytes as f64 * 8.0 / elements.max(1) as f64;
    let architecture = header.text("general.architecture")?.unwrap_or_default();
    let number = |key: &str| header.per_layer(&format!("{architecture}.{key}"));
    let experts = number("expert_count")?.map_or(0, |count| count.largest());
    let used = number("expert_used_count")?.map_or(0, |count| count.largest());
    let names = |which: &dyn Fn(&Seen) -> bool| -> Vec<String> {
        let chosen = seen.iter().filter(|(_, seen)| which(seen));
        chosen.map(|(name, _)| cleaned(name)).collect()
    };
    let mut unread_types: Vec<String> = tensors
        .values()
        .map(|stored| stored.dtype.to_owned())
        .filter(|dtype| READ.into_iter().all(|known| type_label(known) != dtype))
        .collect();
    unread_types.sort();
    unread_types.dedup();
    let is_plain = |name: &str| {
        let stored = &tensors[name];
        stored.shape.len() > 1 && ["F32", "F16", "BF16"].contains(&stored.dtype)
    };
    let plain = || seen.iter().filter(|(name, _)| is_plain(name));
    let plain_elements: u64 = plain().map(|(_, seen)| seen.elements).sum();
    let plain_zeros: u64 = plain().map(|(_, seen)| seen.zeros).sum();
    let mix = mix(tensors);
    let (same_layers, same_tensors) = same(header, seen);
    Ok(Examined {
        tensors: tensors.len() as u32,
        files: header.files().len() as u32,
        file_bits_per_weight: per_weight(bytes),
        tensor_bits_per_weight: per_weight(tensor_bytes),
        claims: claims(header, &mix)?,
        mix,
        unread_types,
        context_tokens: number("context_length")?.map(|tokens| tokens.largest()),
        has_chat_template: header.text("tokenizer.chat_template")?.is_some(),
        experts: (experts > 0).then_some((experts, used)),
        requantised: suspicions(tensors, seen),
        told_matrices: seen.values().filter(|seen| seen.is_told()).count() as u32,
        pruning: said_pruning(header, seen, elements)?,
        zero_share: (plain_elements > 0).then(|| plain_zeros as f64 / plain_elements as f64),
        zero_pattern: zero_pattern(seen),
        zero_tensors: names(&|seen| seen.is_read && seen.zeros == seen.elements),
        not_finite: names(&|seen| seen.has_not_finite),
        same_layers,
        same_tensors,
    })
}

/// What the file says of its pruning, beside the zeros that are there.
fn said_pruning(
    header: &Header,
    seen: &BTreeMap<&str, Seen>,
    elements: u64,
) -> Result<Option<SaidPruning>, GgufError> {
    let told = super::pruning(header)?;
    let removed = super::share(header, keys::RATIO)?.unwrap_or(0);
    let zeros = super::share(header, keys::ZEROS)?;
    if told.method == PruningMethod::None && removed == 0 && told.recipe.is_none() {
        return Ok(None);
    }
    // A share of zero may be one of less than a millionth, which this program makes of nothing but zeroed weights.
    let is_nothing = removed == 0 && !is_zeroing(told.method);
    // Recipes are texts, and those of later versions may not be known here.
    let recipe = told.recipe.map(|text| text.to_string());
    let known: Option<PruneRecipe> = recipe.as_deref().and_then(|text| text.parse().ok());
    let word = header.text(keys::METHOD)?.unwrap_or("none");
    let contradicts_itself = told.method == PruningMethod::None
        || is_nothing
        || known.is_some_and(|recipe| method(&recipe) != word)
        || zeros.is_some_and(|zeros| zeros > removed || !is_zeroing(told.method));

    let tensors = header.tensors();
    let pruned = || {
        seen.iter()
            .filter(|(name, _)| is_layer_matrix(name, tensors[**name].shape.len()))
    };
    let is_found = is_zeroing(told.method) && pruned().all(|(_, seen)| seen.is_read);
    let zeroed = is_found.then(|| Zeroed {
        share: pruned().map(|(_, seen)| seen.zeros).sum::<u64>() as f64 / elements.max(1) as f64,
        has_types_without_zero: pruned()
            .any(|(name, _)| WITHOUT_ZERO.contains(&tensors[*name].dtype)),
    });
    Ok(Some(SaidPruning {
        method: told.method,
        recipe,
        share: f64::from(removed) / 1e6,
        contradicts_itself,
        zeroed,
    }))
}

fn claims(header: &Header, mix: &str) -> Result<Vec<Claim>, GgufError> {
    let file = header.path().file_name().map(|name| name.to_string_lossy());
    let said = [
        ("file name", file.as_deref().and_then(claim::in_name)),
        (
            "general.name",
            header.text("general.name")?.and_then(claim::in_name),
        ),
        (
            "general.file_type",
            header
                .number("general.file_type")?
                .and_then(claim::of_file_type),
        ),
    ];
    let claim = |(place, says): (&'static str, Option<&'static str>)| {
        says.map(|says| Claim {
            place,
            says,
            agreement: claim::agreement(says, mix),
        })
    };
    Ok(said.into_iter().filter_map(claim).collect())
}

fn suspicions(
    tensors: &BTreeMap<String, StoredTensor>,
    seen: &BTreeMap<&str, Seen>,
) -> Vec<Suspicion> {
    let mut found: BTreeMap<(&str, u32, bool), Suspicion> = BTreeMap::new();
    for (name, seen) in seen {
        let Some((bits, is_even, share, runs)) = seen.coarser() else {
            continue;
        };
        let dtype = tensors[*name].dtype;
        let suspicion = found.entry((dtype, bits, is_even)).or_insert(Suspicion {
            dtype: dtype.to_owned(),
            bits,
            levels: 1 << bits,
            is_even,
            matrices: 0,
            share: 0.0,
            runs: 0,
            example: cleaned(name),
        });
        suspicion.matrices += 1;
        let before = f64::from(suspicion.runs);
        suspicion.runs += runs;
        suspicion.share =
            (suspicion.share * before + share * f64::from(runs)) / f64::from(suspicion.runs);
    }
    found.into_values().collect()
}

/// The pattern that most matrices have.
fn zero_pattern(seen: &BTreeMap<&str, Seen>) -> Option<ZeroPattern> {
    let mut counts: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    for pattern in seen.values().filter_map(Seen::zero_pattern) {
        *counts.entry(pattern).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, matrices)| *matrices);
    most.map(|((kept, group), matrices)| ZeroPattern {
        kept,
        group,
        matrices,
    })
}

/// Layers whose matrices are all the same, and other matrices that are; none of zeros alone.
fn same(header: &Header, seen: &BTreeMap<&str, Seen>) -> (Vec<Vec<u32>>, Vec<Vec<String>>) {
    let matrices = || {
        seen.iter().filter(|(name, seen)| {
            header.tensors()[**name].shape.len() > 1 && seen.zeros < seen.elements
        })
    };
    let mut layers: BTreeMap<u32, Vec<[u8; 32]>> = BTreeMap::new();
    for (name, seen) in matrices() {
        if let Some(layer) = layer_of(name) {
            layers.entry(layer).or_default().push(seen.digest);
        }
    }
    let mut by_content: BTreeMap<Vec<[u8; 32]>, Vec<u32>> = BTreeMap::new();
    for (layer, digests) in layers {
        by_content.entry(digests).or_default().push(layer);
    }
    let mut same_layers: Vec<Vec<u32>> = by_content.into_values().collect();
    same_layers.retain(|layers| layers.len() > 1);
    same_layers.sort();

    let in_same_layer = |name: &str| {
        layer_of(name).is_some_and(|layer| same_layers.iter().flatten().any(|one| *one == layer))
    };
    let mut by_digest: BTreeMap<[u8; 32], Vec<String>> = BTreeMap::new();
    for (name, seen) in matrices().filter(|(name, _)| !in_same_layer(name)) {
        by_digest
            .entry(seen.digest)
            .or_default()
            .push(cleaned(name));
    }
    let mut same_tensors: Vec<Vec<String>> = by_digest.into_values().collect();
    same_tensors.retain(|names| names.len() > 1);
    same_tensors.sort();
    (same_layers, same_tensors)
}
