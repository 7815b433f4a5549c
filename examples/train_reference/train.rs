//! The training loop: batches, steps, the learning curve, checkpoints.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use candle_nn::loss::cross_entropy;
use domain::suite::Family;
use sha2::{Digest, Sha256};

use crate::checkpoint::{self, Progress};
use crate::data::{self, Packed};
use crate::evaluate::{Tally, grade};
use crate::export;
use crate::model::{Model, Size};
use crate::optimiser::Optimiser;
use crate::parallel::parallel;

/// Items graded for every row of the learning curve; their seed is not the published one.
const CURVE_ITEMS: u32 = 420;
/// Time between checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_mins(2);
/// Share of the run in which the rate rises from zero.
const WARM_UP: f64 = 0.02;
/// Share of the run after which the rate falls linearly to zero.
const FALL_FROM: f64 = 0.3;

/// What a run is to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) size: Size,
    pub(crate) length: Length,
    pub(crate) parts: usize,
    pub(crate) peak: f64,
    pub(crate) seed: u64,
    pub(crate) workers: usize,
    pub(crate) curve_every: u64,
    pub(crate) folder: PathBuf,
    pub(crate) start: Start,
}

/// What a run starts from.
#[derive(Debug, Clone)]
pub(crate) enum Start {
    /// Random weights.
    Random,
    /// The checkpoint of a shallower model: so most steps of a deep model are taken at the price of
    /// a shallow one.
    Grow { size: Size, checkpoint: PathBuf },
    /// The run's own checkpoint.
    Resume,
}

/// When a run is over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    Steps(u64),
    Minutes(f64),
}

impl Length {
    /// The share of the run that is done.
    fn done(self, progress: Progress) -> f64 {
        match self {
            Self::Steps(steps) => progress.step as f64 / steps as f64,
            Self::Minutes(minutes) => progress.milliseconds as f64 / 60_000.0 / minutes,
        }
    }
}

/// Trains to the end and writes the model beside the checkpoint and the curve; returns the file's
/// path.
pub(crate) fn train(plan: &Plan) -> Result<PathBuf> {
    fs::create_dir_all(&plan.folder)
        .with_context(|| format!("make the folder {}", plan.folder.display()))?;
    let file = |ending: &str| plan.folder.join(format!("{}{ending}", plan.size.name()));
    let checkpoint = file(".safetensors");
    let mut weights = data::stream("weights", plan.seed, plan.size.layers() as u64);
    let (model, mut optimiser, mut progress) = match &plan.start {
        Start::Random => begin(Model::random(plan.size.layers(), &mut weights)?, plan.seed)?,
        Start::Grow {
            size,
            checkpoint: shallow,
        } => {
            let (shallow, _, _) = checkpoint::load(shallow, size.layers())?;
            let model = shallow.grown(plan.size.layers(), &mut weights)?;
            begin(model, plan.seed)?
        }
        Start::Resume => checkpoint::load(&checkpoint, plan.size.layers())?,
    };
    ensure!(
        progress.seed == plan.seed,
        "resume: the checkpoint has seed {}, not {}",
        progress.seed,
        plan.seed
    );
    let mut curve = Curve::open(&file("-curve.csv"), progress.step)?;
    let mut saved = Instant::now();
    let mut losses = Vec::new();
    while plan.length.done(progress) < 1.0 {
        let begun = Instant::now();
        let batch = data::training_batch(plan.seed, plan.size, progress.step, plan.parts);
        let (loss, gradients) = gradients(&model, &batch, plan.workers)?;
        let rate = plan.peak * rate(plan.length.done(progress));
        optimiser.update(&model, &gradients, progress.step + 1, rate, plan.workers)?;
        progress.step += 1;
        progress.tokens += batch
            .iter()
            .map(|part| part.tokens.len() as u64)
            .sum::<u64>();
        progress.milliseconds += begun.elapsed().as_millis() as u64;
        losses.push(loss);
        let over = plan.length.done(progress) >= 1.0;
        if over || progress.step.is_multiple_of(plan.curve_every) {
            let mean = losses.iter().sum::<f64>() / losses.len() as f64;
            losses.clear();
            curve.add(&model, plan, progress, rate, mean)?;
        }
        if over || saved.elapsed() >= CHECKPOINT_EVERY {
            checkpoint::save(&checkpoint, &model, &optimiser, progress)?;
            saved = Instant::now();
        }
    }
    let model_file = file("-f16.gguf");
    export::write(&model_file, &model, plan.size)?;
    Ok(model_file)
}

fn begin(model: Model, seed: u64) -> Result<(Model, Optimiser, Progress)> {
    let optimiser = Optimiser::new(&model)?;
    let progress = Progress {
        step: 0,
        tokens: 0,
        milliseconds: 0,
        seed,
    };
    Ok((model, optimiser, progress))
}

fn rate(done: f64) -> f64 {
    let rise = done / WARM_UP;
    let fall = (1.0 - done) / (1.0 - FALL_FROM);
    rise.min(fall).clamp(1e-3, 1.0)
}

/// The mean loss per answer token over the whole batch, and its gradient per parameter.
fn gradients(model: &Model, batch: &[Packed], workers: usize) -> Result<(f64, Vec<Tensor>)> {
    let predictions: usize = batch.iter().map(|part| part.targets.len()).sum();
    let parts = parallel(batch.len(), workers, |place| {
        let part = &batch[place];
        let targets = Tensor::new(part.targets.as_slice(), &candle_core::Device::Cpu)?;
        let share = part.targets.len() as f64 / predictions as f64;
        let loss = (cross_entropy(&model.logits(part)?, &targets)? * share)?;
        let store = loss.backward()?;
        // Detached, since a gradient would otherwise hold on to the activations it was computed
        // from.
        let gradients = model
            .parameters()
            .iter()
            .map(|parameter| {
                store
                    .get(&parameter.var)
                    .expect("every parameter takes part in the loss")
                    .detach()
            })
            .collect::<Vec<_>>();
        Ok((f64::from(loss.to_scalar::<f32>()?), gradients))
    })?;
    let loss = parts.iter().map(|(loss, _)| loss).sum();
    let summed = parallel(model.parameters().len(), workers, |place| {
        let mut sum = parts[0].1[place].clone();
        for (_, gradients) in &parts[1..] {
            sum = (sum + &gradients[place])?;
        }
        Ok(sum)
    })?;
    Ok((loss, summed))
}

/// The learning curve: one CSV row every so many steps, repeated for people on standard error.
struct Curve {
    writer: csv::Writer<File>,
}

impl Curve {
    /// Opens the file anew, keeping the rows up to `step` when a run is resumed.
    fn open(path: &Path, step: u64) -> Result<Self> {
        let context = || format!("write the learning curve {}", path.display());
        let mut kept = Vec::new();
        if step > 0 {
            for row in csv::Reader::from_path(path)
                .with_context(context)?
                .records()
            {
                let row = row.with_context(context)?;
                if row
                    .get(0)
                    .and_then(|text| text.parse::<u64>().ok())
                    .is_some_and(|at| at <= step)
                {
                    kept.push(row);
                }
            }
        }
        let mut writer = csv::Writer::from_path(path).with_context(context)?;
        let fixed = [
            "step",
            "minutes",
            "tokens",
            "tokens_per_second",
            "rate",
            "loss",
            "accuracy",
        ];
        writer.write_record(fixed.into_iter().chain(Family::REFERENCE.map(Family::name)))?;
        for row in kept {
            writer.write_record(&row)?;
        }
        writer.flush()?;
        Ok(Self { writer })
    }

    fn add(
        &mut self,
        model: &Model,
        plan: &Plan,
        progress: Progress,
        rate: f64,
        loss: f64,
    ) -> Result<()> {
        let seed: [u8; 32] = Sha256::digest(b"joulemark reference-v1 learning curve").into();
        let graded = grade(model, &seed, CURVE_ITEMS, plan.workers)?;
        let minutes = progress.milliseconds as f64 / 60_000.0;
        let speed = progress.tokens as f64 / (minutes * 60.0);
        let overall = Tally::of(&graded).share();
        let shares = Family::REFERENCE.map(|family| Tally::of_family(&graded, family).share());
        let mut row = vec![
            progress.step.to_string(),
            format!("{minutes:.2}"),
            progress.tokens.to_string(),
            format!("{speed:.0}"),
            format!("{rate:.3}"),
            format!("{loss:.4}"),
            format!("{overall:.3}"),
        ];
        row.extend(shares.iter().map(|share| format!("{share:.3}")));
        self.writer.write_record(&row)?;
        self.writer.flush()?;
        let families: Vec<String> = Family::REFERENCE
            .iter()
            .zip(shares)
            .map(|(family, share)| format!("{family} {share:.2}"))
            .collect();
        let left = minutes / plan.length.done(progress) - minutes;
        eprintln!(
            "step {}, {minutes:.1} min, {left:.0} to go, {speed:.0} tokens/s, loss {loss:.3}, right {overall:.3}: {}",
            progress.step,
            families.join(", "),
        );
        Ok(())
    }
}
