//! Reading metadata keys: what is absent is none, what is there and wrong is an error that names the key.

use std::path::Path;

use candle_core::quantized::gguf_file::Value;

use super::{GgufError, cleaned};

/// Metadata of a GGUF file.
pub trait Keys {
    /// Where the file lies.
    fn path(&self) -> &Path;

    /// The value of a key.
    fn entry(&self, key: &str) -> Option<&Value>;

    /// A text, if the key is there.
    fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        value(self, key, "a text", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A whole number from 0 to `u32::MAX`, of whatever integer type, if the key is there.
    fn number(&self, key: &str) -> Result<Option<u32>, GgufError> {
        value(self, key, "a whole number of at most 32 bits", |value| {
            whole(value).filter(|_| !matches!(value, Value::Bool(_)))
        })
    }

    /// A whole number or truth value (0 or 1) per layer, if the key is there; one number stands for all layers.
    fn per_layer(&self, key: &str) -> Result<Option<PerLayer>, GgufError> {
        value(self, key, "whole numbers", |value| match value {
            Value::Array(items) => items.iter().map(whole).collect(),
            one => whole(one).map(|number| vec![number]),
        })
        .map(|found| found.map(PerLayer))
    }

    /// A finite decimal number, if the key is there.
    fn decimal(&self, key: &str) -> Result<Option<f64>, GgufError> {
        value(self, key, "a finite decimal number", |value| match *value {
            Value::F32(number) => Some(f64::from(number)).filter(|number| number.is_finite()),
            Value::F64(number) => Some(number).filter(|number| number.is_finite()),
            _ => None,
        })
    }

    /// A truth value, if the key is there.
    fn truth(&self, key: &str) -> Result<Option<bool>, GgufError> {
        value(self, key, "true or false", |value| value.to_bool().ok())
    }

    /// A list of texts, if the key is there.
    fn texts(&self, key: &str) -> Result<Option<Vec<String>>, GgufError> {
        value(self, key, "a list of texts", |value| {
            value
                .to_vec()
                .ok()?
                .iter()
                .map(|item| item.to_string().ok().cloned())
                .collect()
        })
    }

    /// `found`, or the error that `key` is missing.
    fn required<T>(&self, key: &str, found: Option<T>) -> Result<T, GgufError> {
        found.ok_or_else(|| GgufError::MissingKey {
            path: self.path().to_owned(),
            key: key.to_owned(),
        })
    }

    /// The error that `key` has a problem.
    fn bad_key(&self, key: &str, problem: impl Into<String>) -> GgufError {
        GgufError::BadKey {
            path: self.path().to_owned(),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    /// The error that `tensor` has a problem.
    fn bad_tensor(&self, tensor: &str, problem: impl Into<String>) -> GgufError {
        GgufError::BadTensor {
            path: self.path().to_owned(),
            tensor: cleaned(tensor),
            problem: problem.into(),
        }
    }
}

/// A number for each layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerLayer(Vec<u32>);

impl PerLayer {
    /// The same number for all.
    pub fn all(number: u32) -> Self {
        Self(vec![number])
    }

    /// The layer's number; `None` beyond a list that is too short.
    pub fn of(&self, layer: u32) -> Option<u32> {
        match self.0.as_slice() {
            [all] => Some(*all),
            list => list.get(layer as usize).copied(),
        }
    }

    /// The largest; 0 of an empty list.
    pub fn largest(&self) -> u32 {
        self.0.iter().copied().max().unwrap_or(0)
    }
}

fn whole(value: &Value) -> Option<u32> {
    match *value {
        Value::I8(number) => u32::try_from(number).ok(),
        Value::I16(number) => u32::try_from(number).ok(),
        Value::I32(number) => u32::try_from(number).ok(),
        Value::I64(number) => u32::try_from(number).ok(),
        Value::Bool(truth) => Some(u32::from(truth)),
        ref unsigned => (unsigned.to_u64().ok()).and_then(|number| number.try_into().ok()),
    }
}

fn value<'a, T>(
    keys: &'a (impl Keys + ?Sized),
    key: &str,
    wanted: &str,
    read: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>, GgufError> {
    match keys.entry(key) {
        None => Ok(None),
        Some(value) => read(value)
            .map(Some)
            .ok_or_else(|| keys.bad_key(key, format!("does not hold {wanted}"))),
    }
}
