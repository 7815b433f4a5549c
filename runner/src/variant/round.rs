//! One tensor rounded to 2 bits and stored as it was: a loss of quality at unchanged speed, to try a gate with.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use candle_core::Device;
use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};

use super::VariantError;
use crate::gguf::{self, Gguf, cleaned};

/// Metadata key that names the tensor.
const ROUNDED: &str = "joulemark.rounded_tensor";

/// Numbers that are rounded together.
const BLOCK: usize = 256;

/// Writes `source` to `target` with the numbers of `tensor` rounded to those that `Q2_K` can say. Its
/// type stays, so that the same kernels read as many bytes: only what they say is worse. The tensor's
/// numbers have to be a multiple of 256.
pub fn round_tensor(source: &Path, tensor: &str, target: &Path) -> Result<(), VariantError> {
    let mut gguf = Gguf::open(source)?;
    let convert = |name: &str| {
        let (path, tensor) = (source.to_owned(), cleaned(name));
        move |error| VariantError::Convert {
            path,
            tensor,
            source: Box::new(error),
        }
    };
    let stored = gguf.read(tensor)?;
    let rounded = rounded(&stored).map_err(convert(tensor))?;
    let mut metadata: BTreeMap<String, Value> = gguf
        .metadata()
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    // The writer aligns to the format's default, whatever the source did.
    metadata.remove("general.alignment");
    metadata.insert(ROUNDED.to_owned(), Value::String(tensor.to_owned()));
    let names: Vec<String> = gguf.tensors().into_keys().map(str::to_owned).collect();
    let mut tensors = BTreeMap::new();
    for name in names.into_iter().filter(|name| name != tensor) {
        let kept = gguf.read(&name)?;
        tensors.insert(name, kept);
    }
    tensors.insert(tensor.to_owned(), rounded);

    let fault = |error| VariantError::Io {
        doing: "write",
        path: target.to_owned(),
        source: error,
    };
    let mut writer = BufWriter::new(File::create(target).map_err(fault)?);
    gguf::write(&mut writer, &metadata, &tensors).map_err(convert("the made file"))?;
    writer.flush().map_err(fault)
}

fn rounded(stored: &QTensor) -> candle_core::Result<QTensor> {
    let plain = stored.dequantize(&Device::Cpu)?;
    let shape = plain.shape().clone();
    let rows = plain.reshape(((), BLOCK))?;
    let coarse = QTensor::quantize(&rows, GgmlDType::Q2K)?.dequantize(&Device::Cpu)?;
    QTensor::quantize(&coarse.reshape(shape)?, stored.dtype())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::fixture::Fixture;

    #[test]
    fn only_the_named_tensor_changes_and_nothing_of_its_size() {
        let folder = tempfile::tempdir().expect("a folder");
        let (source, target) = (folder.path().join("a.gguf"), folder.path().join("b.gguf"));
        Fixture::tiny().write(&source);
        let changed = "blk.0.ffn_down.weight";
        round_tensor(&source, changed, &target).expect("rounded");
        let open = |path: &Path| Gguf::open(path).expect("a GGUF");
        let (mut before, mut after) = (open(&source), open(&target));
        let names: Vec<String> = before.tensors().into_keys().map(str::to_owned).collect();
        for name in names {
            let numbers = |gguf: &mut Gguf| {
                let stored = gguf.read(&name).expect("a tensor");
                let plain = stored
                    .dequantize(&Device::Cpu)
                    .and_then(|t| t.flatten_all());
                let plain = plain.and_then(|t| t.to_vec1::<f32>()).expect("numbers");
                (stored.dtype(), stored.shape().clone(), plain)
            };
            let (a, b) = (numbers(&mut before), numbers(&mut after));
            assert_eq!((a.0, &a.1), (b.0, &b.1), "{name}");
            let is_same =
                a.2.iter()
                    .zip(&b.2)
                    .all(|(a, b)| a.to_bits() == b.to_bits());
            assert_eq!(is_same, name != changed, "{name}");
        }
        // Four levels in each sixteen numbers.
        let rounded = after.read(changed).map(|tensor| {
            let plain = tensor
                .dequantize(&Device::Cpu)
                .and_then(|t| t.flatten_all());
            plain.and_then(|t| t.to_vec1::<f32>()).expect("numbers")
        });
        for sixteen in rounded.expect("a tensor").chunks(16) {
            let mut levels: Vec<u32> = sixteen.iter().map(|number| number.to_bits()).collect();
            levels.sort_unstable();
            levels.dedup();
            assert!(levels.len() <= 4, "{levels:?}");
        }
    }

    #[test]
    fn a_tensor_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("a.gguf");
        Fixture::tiny().write(&source);
        let error = round_tensor(&source, "blk.9.magic", &folder.path().join("b.gguf"));
        assert!(
            error
                .expect_err("no such tensor")
                .to_string()
                .contains("blk.9.magic")
        );
    }
}
