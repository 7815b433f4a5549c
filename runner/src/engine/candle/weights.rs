//! Matrices of a GGUF file on their way to the device.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Module, Result, Tensor};

use super::computing;
use crate::engine::EngineError;
use crate::gguf::{Gguf, GgufError, Keys};

/// Takes tensors out of a file one by one, checking shapes; at the end nothing may be left over.
#[derive(Debug)]
pub(super) struct Loader<'a> {
    gguf: &'a mut Gguf,
    device: &'a Device,
    left: BTreeSet<String>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(gguf: &'a mut Gguf, device: &'a Device) -> Self {
        let left = gguf.tensors().into_keys().map(str::to_owned).collect();
        Self { gguf, device, left }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.left.contains(name)
    }

    /// A vector of finite `f32`, as norms are.
    pub(super) fn vector(
        &mut self,
        name: &str,
        length: usize,
    ) -> std::result::Result<Tensor, EngineError> {
        let stored = self.take(name, &[length])?;
        let vector = stored
            .dequantize(&Device::Cpu)
            .map_err(computing("read a vector"))?;
        let values: Vec<f32> = vector.to_vec1().map_err(computing("read a vector"))?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(self
                .gguf
                .bad_tensor(name, "holds a value that is not finite")
                .into());
        }
        vector
            .to_device(self.device)
            .map_err(computing("move a vector to the device"))
    }

    /// One matrix as it is stored, on the device.
    pub(super) fn table(
        &mut self,
        name: &str,
        shape: [usize; 2],
    ) -> std::result::Result<Arc<QTensor>, EngineError> {
        let stored = self.take(name, &shape)?;
        stack(&[stored], self.device)
            .map(Arc::new)
            .map_err(computing("move a matrix to the device"))
    }

    /// One or several matrices that multiply the same input; their outputs stand side by side.
    pub(super) fn matrix<const N: usize>(
        &mut self,
        parts: [(&str, usize); N],
        columns: usize,
    ) -> std::result::Result<Matrix, EngineError> {
        let mut stored = Vec::with_capacity(N);
        for (name, rows) in parts {
            stored.push(self.take(name, &[rows, columns])?);
        }
        Matrix::new(stored, self.device).map_err(computing("move a matrix to the device"))
    }

    /// Ends loading: a tensor that no part of the model asked for means that this is another architecture.
    pub(super) fn finish(self) -> std::result::Result<(), EngineError> {
        match self.left.first() {
            None => Ok(()),
            Some(name) => Err(EngineError::Unsupported {
                path: self.gguf.path().to_owned(),
                what: format!(
                    "it has a tensor {:?}, which this engine does not implement",
                    crate::gguf::cleaned(name)
                ),
            }),
        }
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> std::result::Result<QTensor, GgufError> {
        self.left.remove(name);
        let tensor = self.gguf.read(name)?;
        if tensor.shape().dims() != shape {
            let problem = format!(
                "is {:?}, but the metadata says {shape:?}",
                tensor.shape().dims()
            );
            return Err(self.gguf.bad_tensor(name, problem));
        }
        Ok(tensor)
    }
}

/// A weight matrix to multiply with.
#[derive(Debug)]
pub(super) struct Matrix {
    parts: Vec<QMatMul>,
    bytes_per_pass: u64,
}

impl Matrix {
    /// Stacks matrices of one type into one, so that a pass runs one large product in place of several small ones;
    /// mixed files (`Q4_K_M` and its like) keep their matrices apart.
    fn new(stored: Vec<QTensor>, device: &Device) -> Result<Self> {
        let one_type = stored
            .iter()
            .all(|tensor| tensor.dtype() == stored[0].dtype());
        let tensors = if one_type {
            vec![stack(&stored, device)?]
        } else {
            stored
                .into_iter()
                .map(|tensor| stack(&[tensor], device))
                .collect::<Result<_>>()?
        };
        let bytes_per_pass = tensors.iter().map(bytes_read).sum();
        let parts = tensors
            .into_iter()
            .map(|tensor| multiplier(Arc::new(tensor)))
            .collect::<Result<_>>()?;
        Ok(Self {
            parts,
            bytes_per_pass,
        })
    }

    /// The same numbers as a table that is already loaded, as tied embeddings are.
    pub(super) fn of_table(table: &Arc<QTensor>) -> Result<Self> {
        Ok(Self {
            bytes_per_pass: bytes_read(table),
            parts: vec![multiplier(Arc::clone(table))?],
        })
    }

    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        match self.parts.as_slice() {
            [part] => part.forward(input),
            parts => {
                let outputs: Vec<Tensor> = parts
                    .iter()
                    .map(|part| part.forward(input))
                    .collect::<Result<_>>()?;
                Tensor::cat(&outputs, 1)
            }
        }
    }

    pub(super) fn bytes_per_pass(&self) -> u64 {
        self.bytes_per_pass
    }
}

/// The rows of all `tensors`, which share type and columns, as one tensor on the device.
fn stack(tensors: &[QTensor], device: &Device) -> Result<QTensor> {
    let (_, columns) = tensors[0].shape().dims2()?;
    let mut rows = 0;
    let mut bytes = Vec::with_capacity(tensors.iter().map(QTensor::storage_size_in_bytes).sum());
    for tensor in tensors {
        rows += tensor.shape().dims2()?.0;
        bytes.extend_from_slice(&tensor.data()?);
    }
    QTensor::new(
        QStorage::from_data(Cow::Owned(bytes), device, tensors[0].dtype())?,
        (rows, columns),
    )
}

/// Quantised matrices multiply as they are stored; the others are widened to `f32` once.
///
/// Kept narrow, one thread of an AVX-512 machine decoded a 3.5 M model in F16 a quarter faster (912 against 735 tok/s),
/// but prefilled it four times slower (941 against 3,700 tok/s) and less exactly. `QMatMul::from_arc` would do the
/// same, but lets environment variables choose otherwise, and a record could not tell.
fn multiplier(tensor: Arc<QTensor>) -> Result<QMatMul> {
    Ok(match tensor.dtype() {
        GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 => {
            QMatMul::Tensor(tensor.dequantize(&tensor.device())?)
        }
        _ => QMatMul::QTensor(tensor),
    })
}

/// Bytes that multiplying one row of input by this matrix reads.
fn bytes_read(tensor: &QTensor) -> u64 {
    let elements = tensor.shape().elem_count() as u64;
    match tensor.dtype() {
        // Widened, see `multiplier`.
        GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 => 4 * elements,
        // candle's x86 kernels unpack the scales of Q4_K once: 3,072 bytes for 16 rows of 256 weights
        // (`TileQ4K` in candle-core's quantized/repack_x86.rs).
        GgmlDType::Q4K if repacks_q4k(tensor) => elements * 3_072 / (16 * 256),
        _ => tensor.storage_size_in_bytes() as u64,
    }
}

#[cfg(target_arch = "x86_64")]
fn repacks_q4k(tensor: &QTensor) -> bool {
    let rows = tensor.shape().dims()[0];
    tensor.device().is_cpu()
        && rows.is_multiple_of(16)
        && std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
}

#[cfg(not(target_arch = "x86_64"))]
fn repacks_q4k(_tensor: &QTensor) -> bool {
    false
}
