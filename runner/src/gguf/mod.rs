//! Reading GGUF files with suspicion, and writing them deterministically.
//!
//! Parsing is candle's; this room adds what hostile or damaged files need: every tensor's bounds are checked against
//! the file before anything of its size is allocated, and every error names the file and the key or tensor.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::{self, Content, TensorInfo, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use domain::text::Name;
use thiserror::Error;

mod header;
mod keys;

#[cfg(test)]
pub(crate) mod fixture;

pub use header::{Header, StoredTensor};
pub use keys::{Keys, PerLayer};

/// Why a weights file cannot be used.
#[derive(Debug, Error)]
pub enum GgufError {
    /// The file cannot be opened or read.
    #[error("read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The header does not parse.
    #[error("read {}: its header is not that of a usable GGUF file: {reason}; fetch or make the file again", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A tensor's type is one that candle does not know.
    #[error("read {}: a tensor is stored as {dtype}, which is not computed with here", path.display())]
    UnknownType {
        /// The file.
        path: PathBuf,
        /// The type.
        dtype: String,
    },
    /// The file is one of several, and not the first.
    #[error("read {}: it is part {part} of {parts}; name the first one, NAME-00001-of-{parts:05}.gguf", path.display())]
    NotTheFirst {
        /// The file.
        path: PathBuf,
        /// Its number, counted from 1.
        part: u32,
        /// How many there are.
        parts: u32,
    },
    /// A metadata key is absent.
    #[error("read {}: the key {key} is missing", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A metadata key holds something else than it should.
    #[error("read {}: the key {key} {problem}", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor is absent.
    #[error("read {}: the tensor {tensor} is missing", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor's description or data is impossible.
    #[error("read {}: the tensor {tensor} {problem}", path.display())]
    BadTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// An open GGUF file whose tensors all lie inside it.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    content: Content,
    reader: BufReader<File>,
    bytes: u64,
}

impl Gguf {
    /// Opens a file and checks its header; no tensor is read yet.
    ///
    /// Allocates at most a small multiple of the header's own length, whatever the header claims.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let io = |source| GgufError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let mut reader = BufReader::new(file);
        let content = read_header(&mut reader).map_err(|reason| {
            let path = path.to_owned();
            match header::unknown_type(&reason) {
                Some(dtype) => GgufError::UnknownType { path, dtype },
                None => GgufError::Header {
                    path,
                    reason: cleaned(&reason),
                },
            }
        })?;
        let gguf = Self {
            path: path.to_owned(),
            content,
            reader,
            bytes,
        };
        let mut claimed = 0_u64;
        for (name, info) in &gguf.content.tensor_infos {
            gguf.check_bounds(name, info)?;
            claimed = claimed.saturating_add(stored_bytes(info));
        }
        // Each within the file, but over one another: reading them all would take more memory than the file is long.
        if claimed > bytes {
            return Err(GgufError::Header {
                path: path.to_owned(),
                reason: format!("its tensors overlap: {claimed} bytes in a file of {bytes}"),
            });
        }
        Ok(gguf)
    }

    /// Length of the whole file in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All metadata, sorted by key.
    pub fn metadata(&self) -> BTreeMap<&str, &Value> {
        self.content
            .metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value))
            .collect()
    }

    /// All tensors' descriptions, sorted by name.
    pub fn tensors(&self) -> BTreeMap<&str, &TensorInfo> {
        self.content
            .tensor_infos
            .iter()
            .map(|(name, info)| (name.as_str(), info))
            .collect()
    }

    /// One tensor's description, if the file has it.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.content.tensor_infos.get(name)
    }

    /// Reads one tensor onto the CPU.
    pub fn read(&mut self, name: &str) -> Result<QTensor, GgufError> {
        let Some(info) = self.content.tensor_infos.get(name) else {
            return Err(GgufError::MissingTensor {
                path: self.path.clone(),
                tensor: cleaned(name),
            });
        };
        info.read(
            &mut self.reader,
            self.content.tensor_data_offset,
            &Device::Cpu,
        )
        .map_err(|error| self.bad_tensor(name, format!("cannot be read: {error}")))
    }

    /// Refuses a tensor whose size overflows, breaks its blocks, or reaches past the end of the file.
    fn check_bounds(&self, name: &str, info: &TensorInfo) -> Result<(), GgufError> {
        let dims = info.shape.dims();
        if dims.is_empty() || dims.contains(&0) {
            return Err(self.bad_tensor(
                name,
                format!("has no elements: its dimensions are {dims:?}"),
            ));
        }
        let overflow = || {
            self.bad_tensor(
                name,
                format!("is impossibly large: its dimensions are {dims:?}"),
            )
        };
        let elements = dims
            .iter()
            .try_fold(1_usize, |product, &dim| product.checked_mul(dim))
            .ok_or_else(overflow)?;
        let block = info.ggml_dtype.block_size();
        if !dims[dims.len() - 1].is_multiple_of(block) {
            return Err(self.bad_tensor(
                name,
                format!("has rows that are no multiple of {block}: {dims:?}"),
            ));
        }
        let bytes = (elements / block)
            .checked_mul(info.ggml_dtype.type_size())
            .ok_or_else(overflow)? as u64;
        let end = self
            .content
            .tensor_data_offset
            .checked_add(info.offset)
            .and_then(|start| start.checked_add(bytes));
        match end {
            Some(end) if end <= self.bytes => Ok(()),
            _ => Err(self.bad_tensor(
                name,
                format!(
                    "needs {bytes} bytes beyond byte {}, but the file ends at {}",
                    info.offset, self.bytes
                ),
            )),
        }
    }
}

impl Keys for Gguf {
    fn path(&self) -> &Path {
        &self.path
    }

    fn entry(&self, key: &str) -> Option<&Value> {
        self.content.metadata.get(key)
    }
}

/// Bytes that a checked tensor takes in its file.
pub fn stored_bytes(info: &TensorInfo) -> u64 {
    (info.shape.elem_count() / info.ggml_dtype.block_size() * info.ggml_dtype.type_size()) as u64
}

/// The type's name as GGUF's world spells it, such as `Q4_K`.
pub fn type_label(dtype: GgmlDType) -> &'static str {
    match dtype {
        GgmlDType::F32 => "F32",
        GgmlDType::F16 => "F16",
        GgmlDType::BF16 => "BF16",
        GgmlDType::Q4_0 => "Q4_0",
        GgmlDType::Q4_1 => "Q4_1",
        GgmlDType::Q5_0 => "Q5_0",
        GgmlDType::Q5_1 => "Q5_1",
        GgmlDType::Q8_0 => "Q8_0",
        GgmlDType::Q8_1 => "Q8_1",
        GgmlDType::Q2K => "Q2_K",
        GgmlDType::Q3K => "Q3_K",
        GgmlDType::Q4K => "Q4_K",
        GgmlDType::Q5K => "Q5_K",
        GgmlDType::Q6K => "Q6_K",
        GgmlDType::Q8K => "Q8_K",
    }
}

/// Writes a file whose bytes depend on nothing but its content: keys and tensors stand in sorted order.
pub fn write<W: Write + Seek>(
    writer: &mut W,
    metadata: &BTreeMap<String, Value>,
    tensors: &BTreeMap<String, QTensor>,
) -> candle_core::Result<()> {
    let metadata: Vec<_> = metadata
        .iter()
        .map(|(key, value)| (key.as_str(), value))
        .collect();
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    gguf_file::write(writer, &metadata, &tensors)
}

/// Parses the header. candle bounds every length by the file's size, but divides by `general.alignment`, so a file
/// that says 0 there panics inside it; a damaged file must end in an error, never in a dead sweep.
fn read_header(reader: &mut BufReader<File>) -> Result<Content, String> {
    match catch_unwind(AssertUnwindSafe(|| Content::read(reader))) {
        Ok(Ok(content)) => Ok(content),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it holds an impossible value".to_owned()),
    }
}

/// File texts are hostile: before one stands in an error it is made one short line.
pub(crate) fn cleaned(text: &str) -> String {
    Name::cleaned(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::fixture::{self, Fixture};
    use super::*;

    fn error_of(change: impl FnOnce(&mut BTreeMap<String, Value>)) -> GgufError {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.gguf");
        let fixture = Fixture::tiny();
        let mut metadata = fixture.metadata();
        change(&mut metadata);
        fixture::write(&path, &metadata, &fixture.tensors());
        Gguf::open(&path).expect_err("a damaged file")
    }

    #[test]
    fn a_file_that_is_no_gguf_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("notes.gguf");
        fs::write(&path, "not a model").expect("written");
        let error = Gguf::open(&path).expect_err("no GGUF").to_string();
        assert!(
            error.contains("notes.gguf") && error.contains("magic"),
            "{error}"
        );
        assert!(matches!(
            Gguf::open(&folder.path().join("absent.gguf")),
            Err(GgufError::Io { .. })
        ));
    }

    #[test]
    fn an_alignment_of_zero_is_an_error_and_no_panic() {
        let error = error_of(|metadata| {
            metadata.insert("general.alignment".to_owned(), Value::U32(0));
        });
        assert!(matches!(error, GgufError::Header { .. }), "{error}");
    }

    #[test]
    fn a_file_cut_within_its_tensors_names_a_tensor() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.gguf");
        Fixture::tiny().write(&path);
        let bytes = fs::read(&path).expect("read");
        fs::write(&path, &bytes[..bytes.len() - 4_096]).expect("written");
        let error = Gguf::open(&path).expect_err("cut");
        assert!(matches!(error, GgufError::BadTensor { .. }), "{error}");
    }

    #[test]
    fn numbers_are_read_from_any_integer_type_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("model.gguf");
        let fixture = Fixture::tiny();
        let mut metadata = fixture.metadata();
        for (key, value) in [
            ("signed", Value::I32(7)),
            ("negative", Value::I32(-7)),
            ("wide", Value::U64(1 << 40)),
            ("text", Value::String("7".to_owned())),
            ("endless", Value::F32(f32::NAN)),
        ] {
            metadata.insert(key.to_owned(), value);
        }
        fixture::write(&path, &metadata, &fixture.tensors());
        let gguf = Gguf::open(&path).expect("a whole file");
        assert_eq!(gguf.number("signed").expect("a number"), Some(7));
        assert_eq!(gguf.number("absent").expect("nothing"), None);
        for key in ["negative", "wide", "text"] {
            let error = gguf.number(key).expect_err("no 32-bit number").to_string();
            assert!(
                error.contains(key) && error.contains("model.gguf"),
                "{error}"
            );
        }
        assert!(gguf.decimal("endless").is_err());
    }
}
