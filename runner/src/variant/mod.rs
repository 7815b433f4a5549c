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
use domain::matrix::{AS_IS, QUANTISATIONS};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::engine::EngineError;
use crate::gguf::{GgufError, type_label};

mod cache;
mod huggingface;
mod inspect;
mod mixes;
mod prune;
mod quantise;
mod round;

#[cfg(test)]
mod tests;

pub use cache::VariantCache;
pub use domain::matrix::PruneRecipe;
pub use inspect::{
    Agreement, Claim, Examined, SaidPruning, Suspicion, ZeroPattern, Zeroed, examine, inspect,
};
pub use mixes::Mix;
pub use round::round_tensor;

/// One variant to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantSpec {
    /// The original weights.
    pub source: PathBuf,
    /// Types of the matrices.
    pub quant: Quantisation,
    /// What is removed before quantising.
    pub prune: PruneRecipe,
}

/// What a variant's matrices are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantisation {
    /// Half precision.
    F16,
    /// Half precision with the range of `f32`.
    BF16,
    /// 8 bits in blocks of 32.
    Q8_0,
    /// 6 bits in blocks of 256.
    Q6K,
    /// 5 bits in blocks of 32, each with a least value.
    Q5_1,
    /// 5 bits in blocks of 256.
    Q5K,
    /// 5 bits in blocks of 32.
    Q5_0,
    /// 4 bits in blocks of 32, each with a least value.
    Q4_1,
    /// 4 bits in blocks of 256.
    Q4K,
    /// 4 bits in blocks of 32.
    Q4_0,
    /// 3 bits in blocks of 256.
    Q3K,
    /// 2 bits in blocks of 256.
    Q2K,
    /// Several types, as llama.cpp mixes them.
    Mix(Mix),
    /// Whatever the source has: the file stays as it is.
    AsIs,
}

impl Quantisation {
    /// All that can be made, from large to small.
    pub const ALL: [Self; 19] = [
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q6K,
        Self::Q5_1,
        Self::Mix(Mix::Q5KM),
        Self::Mix(Mix::Q5KS),
        Self::Q5K,
        Self::Q5_0,
        Self::Q4_1,
        Self::Mix(Mix::Q4KM),
        Self::Mix(Mix::Q4KS),
        Self::Q4K,
        Self::Q4_0,
        Self::Mix(Mix::Q3KL),
        Self::Mix(Mix::Q3KM),
        Self::Mix(Mix::Q3KS),
        Self::Q3K,
        Self::Q2K,
    ];

    /// As GGUF's world spells it.
    ///
    /// Names without `_S`, `_M` or `_L` mean that every matrix has this type, unlike llama.cpp's `Q5_K`, `Q4_K` and
    /// `Q3_K`, which stand for the `_M` mixes, and its `Q2_K`, which is a mix as well.
    pub fn label(self) -> &'static str {
        match self {
            Self::Mix(Mix::Q5KM) => "Q5_K_M",
            Self::Mix(Mix::Q5KS) => "Q5_K_S",
            Self::Mix(Mix::Q4KM) => "Q4_K_M",
            Self::Mix(Mix::Q4KS) => "Q4_K_S",
            Self::Mix(Mix::Q3KL) => "Q3_K_L",
            Self::Mix(Mix::Q3KM) => "Q3_K_M",
            Self::Mix(Mix::Q3KS) => "Q3_K_S",
            pure => pure.made().map_or(AS_IS, |made| type_label(made.dtype)),
        }
    }

    /// What matrices become; `None` if nothing is made.
    fn made(self) -> Option<MadeType> {
        let (dtype, file_type) = match self {
            Self::F16 => (GgmlDType::F16, 1),
            Self::BF16 => (GgmlDType::BF16, 32),
            Self::Q8_0 => (GgmlDType::Q8_0, 7),
            Self::Q6K => (GgmlDType::Q6K, 18),
            Self::Q5_1 => (GgmlDType::Q5_1, 9),
            Self::Q5K => (GgmlDType::Q5K, 16),
            Self::Q5_0 => (GgmlDType::Q5_0, 8),
            Self::Q4_1 => (GgmlDType::Q4_1, 3),
            Self::Q4K => (GgmlDType::Q4K, 14),
            Self::Q4_0 => (GgmlDType::Q4_0, 2),
            Self::Q3K => (GgmlDType::Q3K, 11),
            Self::Q2K => (GgmlDType::Q2K, 10),
            Self::Mix(mix) => {
                let file_type = match mix {
                    Mix::Q5KM => 17,
                    Mix::Q5KS => 16,
                    Mix::Q4KM => 15,
                    Mix::Q4KS => 14,
                    Mix::Q3KL => 13,
                    Mix::Q3KM => 12,
                    Mix::Q3KS => 11,
                };
                return Some(MadeType {
                    dtype: mix.base(),
                    mix: Some(mix),
                    file_type,
                });
            }
            Self::AsIs => return None,
        };
        Some(MadeType {
            dtype,
            mix: None,
            file_type,
        })
    }
}

/// The types of a made file's matrices.
#[derive(Debug, Clone, Copy)]
struct MadeType {
    /// That of all of them, or of those that the mix does not widen.
    dtype: GgmlDType,
    mix: Option<Mix>,
    /// `general.file_type`: the `llama_ftype` of the mix, or the nearest one to all matrices having one type
    /// (<https://github.com/ggml-org/llama.cpp/blob/master/include/llama.h>).
    file_type: u32,
}

impl fmt::Display for Quantisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl FromStr for Quantisation {
    type Err = UnknownQuantisation;
    fn from_str(text: &str) -> Result<Self, UnknownQuantisation> {
        let found = Self::ALL
            .into_iter()
            .chain([Self::AsIs])
            .find(|quantisation| quantisation.label().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownQuantisation(text.chars().take(80).collect()))
    }
}

/// Why a text is no quantisation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("read {0:?} as a quantisation: choose {known}", known = QUANTISATIONS.join(", "))]
pub struct UnknownQuantisation(String);

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
    /// llama.cpp mixes types for this architecture by rules of its own, which are not known here.
    #[error("make {quant} of {}: llama.cpp has rules of its own for {architecture}; choose a quantisation of one type, such as Q4_K", path.display())]
    UnknownMix {
        /// The source.
        path: PathBuf,
        /// The mix.
        quant: Quantisation,
        /// Its architecture.
        architecture: String,
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
