//! From a source GGUF to concrete weights files: pruned, quantised, named by their SHA-256.
//!
//! A variant starts from an original in F32, F16 or BF16; pruning comes before quantising. What was done stands in
//! the made file's metadata (`joulemark.*`), so [`inspect()`] needs nothing but the file. The same source, spec and
//! program version give the same bytes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use candle_core::quantized::GgmlDType;
use domain::ids::Sha256Digest;
use domain::matrix::AS_IS;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::engine::EngineError;
use crate::gguf::{GgufError, type_label};

mod cache;
mod huggingface;
mod inspect;
mod prune;
mod quantise;

#[cfg(test)]
mod tests;

pub use cache::VariantCache;
pub use inspect::{Agreement, Claim, Examined, Suspicion, ZeroPattern, examine, inspect};

/// One variant to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantSpec {
    /// The original weights.
    pub source: PathBuf,
    /// Type of the matrices.
    pub quant: Quantisation,
    /// What is removed before quantising.
    pub prune: PruneRecipe,
}

/// Type that a variant's matrices are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantisation {
    /// Half precision.
    F16,
    /// 8 bits in blocks of 32.
    Q8_0,
    /// 6 bits in blocks of 256.
    Q6K,
    /// 4 bits in blocks of 256.
    Q4K,
    /// 4 bits in blocks of 32.
    Q4_0,
    /// 2 bits in blocks of 256.
    Q2K,
    /// Whatever the source has: the file stays as it is.
    AsIs,
}

impl Quantisation {
    /// All that can be made, from large to small.
    pub const ALL: [Self; 6] = [
        Self::F16,
        Self::Q8_0,
        Self::Q6K,
        Self::Q4K,
        Self::Q4_0,
        Self::Q2K,
    ];

    /// As GGUF's world spells it.
    pub fn label(self) -> &'static str {
        self.made().map_or(AS_IS, |made| type_label(made.dtype))
    }

    /// What matrices become; `None` if nothing is made.
    fn made(self) -> Option<MadeType> {
        let (dtype, file_type) = match self {
            Self::F16 => (GgmlDType::F16, 1),
            Self::Q8_0 => (GgmlDType::Q8_0, 7),
            Self::Q6K => (GgmlDType::Q6K, 18),
            Self::Q4K => (GgmlDType::Q4K, 14),
            Self::Q4_0 => (GgmlDType::Q4_0, 2),
            Self::Q2K => (GgmlDType::Q2K, 10),
            Self::AsIs => return None,
        };
        Some(MadeType { dtype, file_type })
    }
}

/// The type of a made file's matrices.
#[derive(Debug, Clone, Copy)]
struct MadeType {
    dtype: GgmlDType,
    /// `general.file_type`: the `llama_ftype` in which all matrices have this type
    /// (<https://github.com/ggml-org/llama.cpp/blob/master/include/llama.h>).
    file_type: u32,
}

impl fmt::Display for Quantisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl FromStr for Quantisation {
    type Err = SpecError;
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let found = Self::ALL
            .into_iter()
            .chain([Self::AsIs])
            .find(|quantisation| quantisation.label().eq_ignore_ascii_case(text));
        found.ok_or_else(|| SpecError::Quantisation(text.chars().take(80).collect()))
    }
}

/// What is removed from the source weights.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PruneRecipe {
    /// Nothing.
    None,
    /// So many whole layers from the middle; the first and the last stay.
    Layers(u32),
    /// These whole layers, counted from 0.
    LayersAt(Vec<u32>),
    /// In every matrix of every layer the smallest weights become zero, up to this share of them. Nothing is trained
    /// afterwards. The file stays as large as it was, because zeros are stored like any other number.
    Magnitude {
        /// Share of each matrix in millionths.
        ratio_ppm: u32,
    },
}

impl fmt::Display for PruneRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Layers(count) => write!(f, "layers-{count}"),
            Self::LayersAt(drop) => {
                let list: Vec<String> = drop.iter().map(u32::to_string).collect();
                write!(f, "layers-at-{}", list.join("+"))
            }
            Self::Magnitude { ratio_ppm } => {
                let (whole, rest) = (ratio_ppm / 10_000, ratio_ppm % 10_000);
                if rest == 0 {
                    write!(f, "magnitude-{whole}%")
                } else {
                    write!(
                        f,
                        "magnitude-{whole}.{}%",
                        format!("{rest:04}").trim_end_matches('0')
                    )
                }
            }
        }
    }
}

impl FromStr for PruneRecipe {
    type Err = SpecError;
    fn from_str(text: &str) -> Result<Self, SpecError> {
        let recipe = if text == "none" {
            Some(Self::None)
        } else if let Some(list) = text.strip_prefix("layers-at-") {
            list.split('+')
                .map(|layer| layer.parse().ok())
                .collect::<Option<_>>()
                .map(Self::LayersAt)
        } else if let Some(count) = text.strip_prefix("layers-") {
            count
                .parse()
                .ok()
                .filter(|&count| count > 0)
                .map(Self::Layers)
        } else {
            let percent = text
                .strip_prefix("magnitude-")
                .and_then(|rest| rest.strip_suffix('%'));
            percent
                .and_then(ratio_ppm)
                .map(|ratio_ppm| Self::Magnitude { ratio_ppm })
        };
        recipe.ok_or_else(|| SpecError::Prune(text.chars().take(80).collect()))
    }
}

/// Millionths from a percentage above 0 and below 100 with at most four decimals.
fn ratio_ppm(percent: &str) -> Option<u32> {
    let (whole, decimals) = percent.split_once('.').unwrap_or((percent, ""));
    if decimals.len() > 4
        || !(whole.bytes().chain(decimals.bytes())).all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let ratio = whole.parse::<u32>().ok()?.checked_mul(10_000)?
        + format!("{decimals:0<4}").parse::<u32>().ok()?;
    (1..1_000_000).contains(&ratio).then_some(ratio)
}

/// Why a text is no quantisation or no pruning.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// Not a quantisation.
    #[error("read {0:?} as a quantisation: choose F16, Q8_0, Q6_K, Q4_K, Q4_0, Q2_K or as-is")]
    Quantisation(String),
    /// Not a pruning.
    #[error(
        "read {0:?} as a pruning: choose none, layers-N (drop N from the middle), layers-at-I+J (drop these) or \
         magnitude-P% (zero the smallest P percent)"
    )]
    Prune(String),
}

/// Why a variant could not be made or inspected.
#[derive(Debug, Error)]
pub enum VariantError {
    /// The source is damaged or lacks something.
    #[error(transparent)]
    File(#[from] GgufError),
    /// The source was quantised before; doing it again would stack unknown losses.
    #[error("make a variant of {}: {tensor} is stored as {dtype}; start from F32, F16 or BF16 weights", path.display())]
    AlreadyQuantised {
        /// The source.
        path: PathBuf,
        /// A quantised tensor in it.
        tensor: String,
        /// Its type.
        dtype: &'static str,
    },
    /// The source was itself made by this program.
    #[error("make a variant of {}: it was made from other weights; start from those", path.display())]
    AlreadyMade {
        /// The source.
        path: PathBuf,
    },
    /// The recipe does not fit the source.
    #[error("prune {} by {recipe}: {problem}", path.display())]
    Prune {
        /// The source.
        path: PathBuf,
        /// The recipe.
        recipe: PruneRecipe,
        /// Why it does not fit.
        problem: String,
    },
    /// No Hugging Face folder can be made of it.
    #[error("write {} as a Hugging Face folder: {problem}", path.display())]
    NoHuggingFaceForm {
        /// The GGUF.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A Hugging Face folder is damaged or not understood.
    #[error("read {}: it {problem}", path.display())]
    BadFolder {
        /// The file in it.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The weights are of an architecture or with a vocabulary that this program does not compute with.
    #[error(transparent)]
    Foreign(#[from] EngineError),
    /// A file could not be read or written.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Converting numbers failed.
    #[error("convert {tensor} of {}: {source}", path.display())]
    Convert {
        /// The source.
        path: PathBuf,
        /// The tensor, or the file as a whole.
        tensor: String,
        /// What candle said.
        source: Box<candle_core::Error>,
    },
}

/// JSON as files hold it.
fn as_text(value: &serde_json::Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// SHA-256 of a file's bytes, read in pieces.
pub(crate) fn digest_of_file(path: &Path) -> Result<Sha256Digest, VariantError> {
    let fault = |source| VariantError::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    };
    let mut file = std::fs::File::open(path).map_err(fault)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut file, &mut piece).map_err(fault)? {
            0 => return Ok(Sha256Digest(hasher.finalize().into())),
            length => hasher.update(&piece[..length]),
        }
    }
}
