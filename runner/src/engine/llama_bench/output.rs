//! What `llama-bench` prints with `-o jsonl`: a line of JSON per test, among lines of its log.
//!
//! Fields: <https://github.com/ggml-org/llama.cpp/blob/master/tools/llama-bench/README.md>. Keys that are not needed
//! are not looked at, since every version adds some. All errors here are what follows "understand the output of
//! llama-bench: ".

use serde::Deserialize;

use super::OURS;
use crate::gguf::cleaned;

/// One test: a prompt, or an output, repeated.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Row {
    build_commit: Option<String>,
    build_number: Option<u64>,
    pub(super) backends: Option<String>,
    gpu_info: Option<String>,
    pub(super) model_n_params: u64,
    pub(super) n_batch: Option<u32>,
    pub(super) n_ubatch: Option<u32>,
    pub(super) type_k: Option<String>,
    pub(super) type_v: Option<String>,
    n_gpu_layers: Option<i64>,
    pub(super) flash_attn: Option<FlashAttention>,
    n_prompt: u32,
    n_gen: u32,
    #[serde(default)]
    n_depth: u32,
    avg_ns: f64,
    samples_ns: Vec<u64>,
}

/// A truth in older versions; a number in newer ones, where -1 leaves it to the program.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum FlashAttention {
    Truth(bool),
    Number(i64),
}

impl FlashAttention {
    /// `None` where the program chose and does not say what.
    pub(super) fn is_on(&self) -> Option<bool> {
        match self {
            Self::Truth(on) => Some(*on),
            Self::Number(number) => (*number >= 0).then_some(*number > 0),
        }
    }
}

impl Row {
    /// Such as `b6123`; a build outside a repository has no number.
    pub(super) fn version(&self) -> Option<String> {
        self.build_number
            .filter(|&number| number > 0)
            .map(|number| format!("b{number}"))
    }

    /// The source commit.
    pub(super) fn commit(&self) -> Option<String> {
        self.build_commit
            .clone()
            .filter(|commit| !commit.is_empty() && commit != "unknown")
    }

    /// The graphics processor it names.
    pub(super) fn gpu(&self) -> Option<&str> {
        self.gpu_info.as_deref().filter(|name| !name.is_empty())
    }

    /// Layers that it was told to put on the GPU; `None` without a GPU, and where the program chose (-1).
    pub(super) fn gpu_layers(&self) -> Option<u32> {
        self.gpu()?;
        u32::try_from(self.n_gpu_layers?).ok()
    }

    /// Its times, if they are as many as were asked for and make the mean that it states.
    pub(super) fn samples(&self, repetitions: u32) -> Result<&[u64], String> {
        let test = format!("pp{} tg{}", self.n_prompt, self.n_gen);
        let samples = &self.samples_ns;
        if samples.len() != repetitions as usize {
            return Err(format!(
                "{} times for {test}, {repetitions} repetitions were asked for",
                samples.len()
            ));
        }
        if samples.contains(&0) {
            return Err(format!("a time of 0 ns for {test}"));
        }
        let mean = samples.iter().map(|&ns| ns as f64).sum::<f64>() / samples.len() as f64;
        // It divides whole numbers, so its mean may be almost 1 ns less.
        if (mean - self.avg_ns).abs() > 1.0 + mean * 1e-6 {
            return Err(format!(
                "the times for {test} have a mean of {mean:.0} ns, it says {:.0} ns",
                self.avg_ns
            ));
        }
        Ok(samples)
    }
}

/// The tests in what was printed: a line each.
pub(super) fn rows(printed: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (index, line) in printed.lines().enumerate() {
        if line.trim_start().starts_with('{') {
            let row = serde_json::from_str(line).map_err(|error| {
                let error = cleaned(&error.to_string());
                format!("line {} is cut off or lacks something: {error}", index + 1)
            })?;
            rows.push(row);
        }
    }
    if rows.is_empty() {
        let first = printed.lines().find(|line| !line.trim().is_empty());
        return Err(match first {
            Some(line) => format!("no line of it is JSON; it begins with {:?}", cleaned(line)),
            None => "it is empty".to_owned(),
        });
    }
    Ok(rows)
}

/// The one row of a test.
pub(super) fn one(rows: &[Row], prompt: u32, output: u32, depth: u32) -> Result<&Row, String> {
    let test = |row: &Row| (row.n_prompt, row.n_gen, row.n_depth);
    let name = |(prompt, output, depth): (u32, u32, u32)| format!("pp{prompt} tg{output} d{depth}");
    let wanted = (prompt, output, depth);
    let mut found = rows.iter().filter(|row| test(row) == wanted);
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row),
        (None, _) => {
            let there: Vec<_> = rows.iter().map(|row| name(test(row))).collect();
            Err(format!(
                "{} is missing among its tests ({})",
                name(wanted),
                there.join(", ")
            ))
        }
        _ => Err(format!("several tests are {}: {OURS}", name(wanted))),
    }
}
