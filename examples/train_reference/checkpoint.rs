//! Saves and restores everything a run needs to go on: weights, running means, and how far it is.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor, safetensors};

use crate::model::Model;
use crate::optimiser::Optimiser;

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Steps taken.
    pub(crate) step: u64,
    /// Input tokens seen.
    pub(crate) tokens: u64,
    /// Milliseconds spent in steps; looking at the learning curve is not counted.
    pub(crate) milliseconds: u64,
    /// The seed of the weights and the batches.
    pub(crate) seed: u64,
}

/// Writes to a neighbouring file first, so that an interruption leaves the previous checkpoint
/// whole.
pub(crate) fn save(
    path: &Path,
    model: &Model,
    optimiser: &Optimiser,
    progress: Progress,
) -> Result<()> {
    let mut tensors = HashMap::new();
    for (place, parameter) in model.parameters().iter().enumerate() {
        tensors.insert(parameter.name.clone(), parameter.var.as_tensor().clone());
        tensors.insert(
            format!("{}:first", parameter.name),
            optimiser.first[place].clone(),
        );
        if let Some(second) = &optimiser.second[place] {
            tensors.insert(format!("{}:second", parameter.name), second.clone());
        }
    }
    let Progress {
        step,
        tokens,
        milliseconds,
        seed,
    } = progress;
    let numbers = [step, tokens, milliseconds, seed].map(u64::cast_signed);
    tensors.insert("progress".to_owned(), Tensor::new(&numbers, &Device::Cpu)?);
    let unfinished = path.with_extension("unfinished");
    safetensors::save(&tensors, &unfinished)
        .and_then(|()| Ok(fs::rename(&unfinished, path)?))
        .with_context(|| format!("write the checkpoint {}", path.display()))
}

/// Reads back what [`save`] wrote.
pub(crate) fn load(path: &Path, layers: usize) -> Result<(Model, Optimiser, Progress)> {
    let tensors = safetensors::load(path, &Device::Cpu)
        .with_context(|| format!("read the checkpoint {}", path.display()))?;
    let tensor = |name: &str| {
        tensors.get(name).cloned().ok_or_else(|| {
            candle_core::Error::Msg(format!("the checkpoint lacks {name}: was it another size?"))
        })
    };
    let model = Model::build(layers, |name, _, _| tensor(name))?;
    let mut optimiser = Optimiser::new(&model)?;
    for (place, parameter) in model.parameters().iter().enumerate() {
        optimiser.first[place] = tensor(&format!("{}:first", parameter.name))?;
        if let Some(second) = &mut optimiser.second[place] {
            *second = tensor(&format!("{}:second", parameter.name))?;
        }
    }
    let numbers = tensor("progress")?.to_vec1::<i64>()?;
    ensure!(
        numbers.len() == 4,
        "read the checkpoint {}: its progress has another form",
        path.display()
    );
    let [step, tokens, milliseconds, seed] =
        [0, 1, 2, 3].map(|place| numbers[place].cast_unsigned());
    Ok((
        model,
        optimiser,
        Progress {
            step,
            tokens,
            milliseconds,
            seed,
        },
    ))
}
