//! A GGUF's header alone, of any tensor type and over all of its parts: for saying what weights are.
//!
//! candle's parser refuses a file with a single type that it cannot compute with (IQ, MXFP4, ternary), so this one is
//! built from the parts of `gguf-rs-lib`. Its own reader of a whole file is not used because that refuses the dashes
//! in keys such as `gpt-oss.block_count` and version 2.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::Value;
use gguf_rs_lib::format::endian::{read_u32, read_u64};
use gguf_rs_lib::format::{
    GGUF_MAX_METADATA_COUNT, GGUF_MAX_TENSOR_COUNT, GGUFTensorType, GGUFValueType, MetadataValue,
    TensorInfo,
};

use super::{GgufError, Keys, cleaned};

/// The longest header that is read: the largest vocabularies take a twentieth of it.
const MAX_HEADER_BYTES: u64 = 256 << 20;

/// The longest key.
const MAX_KEY_BYTES: u64 = 65_535;

/// Most parts of one model.
const MAX_PARTS: u32 = 1_000;

/// Where tensors begin is a multiple of this, unless `general.alignment` says otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;

/// Metadata and tensor descriptions of a model in one or several files.
#[derive(Debug)]
pub struct Header {
    files: Vec<PathBuf>,
    metadata: HashMap<String, Value>,
    tensors: BTreeMap<String, StoredTensor>,
}

/// A tensor as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    /// Dimensions, the one that varies slowest first.
    pub shape: Vec<u64>,
    /// The type's name, such as `Q4_K`.
    pub dtype: &'static str,
    /// Its length in the file.
    pub bytes: u64,
    /// Which of [`Header::files`] it lies in.
    pub file: usize,
    /// Its first byte in that file.
    pub start: u64,
}

impl StoredTensor {
    /// Numbers in it.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

impl Header {
    /// Reads the header of a model; of several files `path` is the first, and all must be there.
    ///
    /// Allocates at most a small multiple of the headers' own length, whatever they claim.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let mut header = Self::read_file(path)?;
        let parts = header.number("split.count")?.unwrap_or(1);
        if parts <= 1 {
            return Ok(header);
        }
        let number = header.number("split.no")?.unwrap_or(0);
        let names = (parts <= MAX_PARTS)
            .then(|| part_names(path, parts))
            .flatten();
        let Some(names) = names.filter(|_| number == 0) else {
            return Err(GgufError::NotTheFirst {
                path: path.to_owned(),
                part: number.saturating_add(1),
                parts,
            });
        };
        for name in names.into_iter().skip(1) {
            let part = Self::read_file(&name)?;
            for (tensor, mut stored) in part.tensors {
                stored.file = header.files.len();
                if header.tensors.insert(tensor.clone(), stored).is_some() {
                    return Err(header.bad_tensor(&tensor, "stands in two parts"));
                }
            }
            header.files.push(name);
        }
        if let Some(count) = header.number("split.tensors.count")?
            && count as usize != header.tensors.len()
        {
            let problem = format!(
                "is {count}, but the parts hold {} tensors",
                header.tensors.len()
            );
            return Err(header.bad_key("split.tensors.count", problem));
        }
        Ok(header)
    }

    /// The files, in order.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> &BTreeMap<String, StoredTensor> {
        &self.tensors
    }

    fn read_file(path: &Path) -> Result<Self, GgufError> {
        let io = |source| GgufError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        Self::read(path, BufReader::new(file), length)
    }

    /// Reads one file's header from the beginning of `reader`; its tensors must end within `length` bytes.
    pub(crate) fn read(
        path: &Path,
        reader: impl Read + Seek,
        length: u64,
    ) -> Result<Self, GgufError> {
        let refused = |reason: String| GgufError::Header {
            path: path.to_owned(),
            reason: cleaned(&reason),
        };
        let mut reader = reader.take(MAX_HEADER_BYTES);
        let raw = read_raw(&mut reader).map_err(refused)?;
        let mut header = Self {
            files: vec![path.to_owned()],
            metadata: raw.metadata,
            tensors: BTreeMap::new(),
        };
        let read = MAX_HEADER_BYTES - reader.limit();
        let alignment = match header.number("general.alignment")? {
            Some(0) => return Err(header.bad_key("general.alignment", "is 0")),
            found => found.map_or(DEFAULT_ALIGNMENT, u64::from),
        };
        let start = read.next_multiple_of(alignment);
        for info in raw.tensors {
            let mut stored =
                stored(&info).map_err(|problem| header.bad_tensor(&info.name, problem))?;
            let begin = start.checked_add(info.offset);
            let end = begin.and_then(|begin| begin.checked_add(stored.bytes));
            stored.start = begin.unwrap_or(u64::MAX);
            if end.is_none_or(|end| end > length) {
                let problem = format!(
                    "needs {} bytes beyond byte {}, but the file ends at {length}",
                    stored.bytes, info.offset
                );
                return Err(header.bad_tensor(&info.name, problem));
            }
            if header.tensors.insert(info.name.clone(), stored).is_some() {
                return Err(header.bad_tensor(&info.name, "stands there twice"));
            }
        }
        header.check_overlaps()?;
        Ok(header)
    }

    /// Refuses tensors that share bytes, in a header of one file.
    fn check_overlaps(&self) -> Result<(), GgufError> {
        let mut spans: Vec<_> = self.tensors.iter().collect();
        spans.sort_by_key(|(_, stored)| stored.start);
        for pair in spans.windows(2) {
            let ((first, before), (second, after)) = (pair[0], pair[1]);
            if before.start + before.bytes > after.start {
                let problem = format!("lies over the tensor {}", cleaned(first));
                return Err(self.bad_tensor(second, problem));
            }
        }
        Ok(())
    }
}

impl Keys for Header {
    fn path(&self) -> &Path {
        &self.files[0]
    }

    fn entry(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }
}

/// The name of the type in candle's complaint that it does not know it.
pub(super) fn unknown_type(complaint: &str) -> Option<String> {
    let number = complaint.split_once("unknown dtype for tensor ")?.1;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(type_name(digits.parse().ok()?))
}

fn type_name(number: u32) -> String {
    GGUFTensorType::from_u32(number).map_or_else(
        |_| format!("type {number}"),
        |dtype| dtype.name().to_owned(),
    )
}

/// What stands in a header.
struct Raw {
    metadata: HashMap<String, Value>,
    tensors: Vec<TensorInfo>,
}

fn read_raw(reader: &mut impl Read) -> Result<Raw, String> {
    let text = |error: gguf_rs_lib::GGUFError| error.to_string();
    let mut magic = [0; 4];
    reader
        .read_exact(&mut magic)
        .map_err(|error| error.to_string())?;
    if &magic != b"GGUF" {
        return Err(format!("its magic number is {magic:02x?}"));
    }
    // Version 2 differs in nothing but the order of bytes that it allows, and is what candle writes; the library's own
    // check lets 3 alone pass.
    match read_u32(reader).map_err(text)? {
        2 | 3 => {}
        other => return Err(format!("its version is {other}, not 2 or 3")),
    }
    let tensor_count = read_u64(reader).map_err(text)?;
    let key_count = read_u64(reader).map_err(text)?;
    if key_count > GGUF_MAX_METADATA_COUNT || tensor_count > GGUF_MAX_TENSOR_COUNT {
        return Err(format!(
            "it claims {key_count} keys and {tensor_count} tensors"
        ));
    }
    let mut metadata = HashMap::new();
    for _ in 0..key_count {
        let key = read_key(reader)?;
        let kind = read_u32(reader)
            .and_then(GGUFValueType::from_u32)
            .map_err(text)?;
        let value = MetadataValue::read_from(reader, kind).map_err(text)?;
        metadata.insert(key, value_of(value));
    }
    let tensors = (0..tensor_count)
        .map(|_| TensorInfo::read_from(reader).map_err(text))
        .collect::<Result<_, _>>()?;
    Ok(Raw { metadata, tensors })
}

fn read_key(reader: &mut impl Read) -> Result<String, String> {
    let length = read_u64(reader).map_err(|error| error.to_string())?;
    if length > MAX_KEY_BYTES {
        return Err(format!("a key of {length} bytes stands in it"));
    }
    let mut key = vec![0; length as usize];
    reader
        .read_exact(&mut key)
        .map_err(|error| error.to_string())?;
    String::from_utf8(key).map_err(|_| "a key is no UTF-8".to_owned())
}

fn value_of(value: MetadataValue) -> Value {
    match value {
        MetadataValue::U8(number) => Value::U8(number),
        MetadataValue::I8(number) => Value::I8(number),
        MetadataValue::U16(number) => Value::U16(number),
        MetadataValue::I16(number) => Value::I16(number),
        MetadataValue::U32(number) => Value::U32(number),
        MetadataValue::I32(number) => Value::I32(number),
        MetadataValue::U64(number) => Value::U64(number),
        MetadataValue::I64(number) => Value::I64(number),
        MetadataValue::F32(number) => Value::F32(number),
        MetadataValue::F64(number) => Value::F64(number),
        MetadataValue::Bool(truth) => Value::Bool(truth),
        MetadataValue::String(text) => Value::String(text),
        MetadataValue::Array(array) => {
            Value::Array(array.values.into_iter().map(value_of).collect())
        }
    }
}

fn stored(info: &TensorInfo) -> Result<StoredTensor, String> {
    let dtype = GGUFTensorType::from_u32(info.tensor_type).map_err(|error| error.to_string())?;
    let shape: Vec<u64> = info.dimensions.iter().rev().copied().collect();
    let elements = shape
        .iter()
        .try_fold(1_u64, |product, &dim| product.checked_mul(dim))
        .filter(|&elements| elements > 0)
        .ok_or_else(|| format!("has impossible dimensions {shape:?}"))?;
    let block = dtype.block_size() as u64;
    if block == 0 || !shape.last().is_some_and(|row| row.is_multiple_of(block)) {
        return Err(format!(
            "has rows that are no multiple of {block}: {shape:?}"
        ));
    }
    let bytes = dtype
        .checked_calculate_size(elements)
        .ok_or_else(|| format!("is impossibly large: {shape:?}"))?;
    Ok(StoredTensor {
        shape,
        dtype: dtype.name(),
        bytes,
        file: 0,
        start: 0,
    })
}

/// The names of all parts, as `llama-gguf-split` gives them: `NAME-00001-of-00003.gguf`.
fn part_names(first: &Path, parts: u32) -> Option<Vec<PathBuf>> {
    let name = first.file_name()?.to_str()?;
    let stem = name.strip_suffix(&format!("-00001-of-{parts:05}.gguf"))?;
    let name = |part| first.with_file_name(format!("{stem}-{part:05}-of-{parts:05}.gguf"));
    Some((1..=parts).map(name).collect())
}
