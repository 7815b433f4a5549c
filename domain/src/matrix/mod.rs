//! What is swept: models x quantisations x pruning x engines x workloads, with rules.
//!
//! A cell of the full product is kept if it fits at least one `[[include]]` rule (or there is
//! none), unless it fits an `[[exclude]]` rule. An axis that a rule does not name fits always.
//! Every error names file, line and key. Bounds: [`MAX_CELLS`], [`MAX_ITEMS`],
//! [`MAX_PROMPT_TOKENS`], [`MAX_OUTPUT_TOKENS`], [`MAX_REPETITIONS`]; beyond them the file is
//! refused, because the record of a cell has a bounded size.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use toml::Spanned;

use crate::ids::Sha256Digest;
use crate::suite::Suite;

mod engines;
mod pruning;
pub mod source;
mod workload;

pub use engines::{
    CANDLE, Declared, Endpoint, EngineKind, EngineSpec, HERE, LlamaBenchSpec, MAX_ENGINES,
    MachineHost, Machines, OpenAiSpec, Server, WeightsForm,
};
pub use pruning::{PruneRecipe, RECIPES, UnknownRecipe};
pub use workload::{MAX_CONCURRENCY, MAX_SAMPLES, Verifier, WARM_SHARE, WorkloadSpec};

use engines::RawEngine;
use source::{Source, unknown};
pub(crate) use workload::RawWorkload;

/// Quantisations that a variant can be made in, from widest to narrowest, and [`AS_IS`].
///
/// Those that end in `_S`, `_M` or `_L` are llama.cpp's mixes of several types. The others store every matrix in the
/// one type that they are named by, unlike llama.cpp's `Q5_K`, `Q4_K` and `Q3_K`, which stand for the `_M` mixes, and
/// its `Q2_K`, which is a mix as well.
pub const QUANTISATIONS: [&str; 20] = [
    "F16", "BF16", "Q8_0", "Q6_K", "Q5_1", "Q5_K_M", "Q5_K_S", "Q5_K", "Q5_0", "Q4_1", "Q4_K_M",
    "Q4_K_S", "Q4_K", "Q4_0", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q3_K", "Q2_K", AS_IS,
];

/// The weights file as it is, whatever its quantisation.
pub const AS_IS: &str = "as-is";

/// Most cells of one sweep.
pub const MAX_CELLS: usize = 1_000;
/// Most answers of one cell: suite items times samples.
pub const MAX_ITEMS: u32 = 1_000;
/// Most tokens that thinking may have before an answer.
pub const MAX_THINKING_TOKENS: u32 = 32_768;
/// Longest prompt of a workload.
pub const MAX_PROMPT_TOKENS: u32 = 65_536;
/// Longest forced output of a workload: the gaps of all repetitions must fit one record.
pub const MAX_OUTPUT_TOKENS: u32 = 4_096;
/// Most repetitions of one cell.
pub const MAX_REPETITIONS: u32 = 30;
/// Most discarded warm-ups of one cell.
pub const MAX_WARMUPS: u32 = 10;

/// Why a matrix was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("read {file}, line {line}, at {key}: {what}")]
pub struct MatrixError {
    /// The file as it was named.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Table and key.
    pub key: String,
    /// What is wrong and what to do.
    pub what: String,
}

/// A checked matrix.
#[derive(Debug, Clone)]
pub struct Matrix {
    file: String,
    models: Vec<ModelEntry>,
    quantisations: Vec<String>,
    pruning: Vec<PruneRecipe>,
    engines: Vec<EngineSpec>,
    workloads: Vec<WorkloadSpec>,
    include: Vec<Rule>,
    exclude: Vec<Rule>,
    /// Which items are asked.
    pub quality: QualitySettings,
    /// How long and how often is measured.
    pub repetitions: RepetitionSettings,
}

/// One thing to measure on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatrixCell {
    /// Name of the model.
    pub model: String,
    /// Its source weights, relative to the models folder.
    pub file: String,
    /// One of [`QUANTISATIONS`].
    pub quantisation: String,
    /// Pruning.
    pub pruning: PruneRecipe,
    /// Name of the engine.
    pub engine: String,
    /// What is asked while timed.
    pub workload: WorkloadSpec,
}

impl MatrixCell {
    /// The cell in one line: model, quantisation, pruning if any, workload, engine if it is not
    /// our own.
    pub fn label(&self) -> String {
        let pruning = match &self.pruning {
            PruneRecipe::None => String::new(),
            label => format!(" {label}"),
        };
        let engine = if self.engine == CANDLE {
            String::new()
        } else {
            format!(" on {}", self.engine)
        };
        format!(
            "{} {}{pruning} {}{engine}",
            self.model, self.quantisation, self.workload.id
        )
    }
}

/// Which suite items are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QualitySettings {
    /// The suite.
    pub suite: Suite,
    /// How many items; 0 asks none. Under 100 no quality is published.
    pub items: u32,
    /// A variant is compared with its source token by token, where the engine gives logits and items are asked.
    pub fidelity: bool,
    /// Tokens that a model may think before each answer, on top of the item's own bound. None
    /// unless it is stated: a model that thinks longer is another deal in seconds and joules, so
    /// nobody gets it by default, and results say which budget they had.
    pub thinking_tokens: u32,
}

impl Default for QualitySettings {
    fn default() -> Self {
        Self {
            suite: Suite::ReferenceV1,
            items: 210,
            fidelity: true,
            thinking_tokens: 0,
        }
    }
}

/// How long and how often is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RepetitionSettings {
    /// At least so many repetitions; under 6 there is no interval.
    pub min: u32,
    /// At most so many.
    pub max: u32,
    /// Most warm-ups.
    pub warmup_max: u32,
    /// A repetition lasts at least this long ...
    pub min_seconds: f64,
    /// ... or emits this many tokens, whichever comes first; absent: time alone counts.
    pub or_output_tokens: Option<u32>,
    /// Measuring stops when the interval's half-width is at most this share of the median.
    pub target_half_width_percent: f64,
    /// ... or when the repetitions of a cell took this long.
    pub minutes_per_cell: f64,
    /// With several streams, all repetitions of a cell together last at least this long.
    pub concurrency_seconds: f64,
    /// Longest wait between cells for the machine to cool, where a temperature is readable.
    pub cool_seconds: f64,
    /// Least length of the prefill loop and of the decode loop that joules are taken from, where
    /// there is a meter; a slow meter makes them longer (100 of its update periods).
    pub energy_seconds: f64,
    /// Idle, nothing loaded, at each end of a sweep, where there is a meter; at least 20 of its
    /// update periods. 0 leaves it out.
    pub idle_unloaded_seconds: f64,
    /// Idle, weights loaded, once per cell, likewise.
    pub idle_loaded_seconds: f64,
}

impl Default for RepetitionSettings {
    fn default() -> Self {
        Self {
            min: 6,
            max: MAX_REPETITIONS,
            warmup_max: MAX_WARMUPS,
            min_seconds: 2.0,
            or_output_tokens: None,
            target_half_width_percent: 2.0,
            minutes_per_cell: 10.0,
            concurrency_seconds: 60.0,
            cool_seconds: 60.0,
            energy_seconds: 10.0,
            idle_unloaded_seconds: 30.0,
            idle_loaded_seconds: 10.0,
        }
    }
}

/// What a person picks out of a matrix; an empty list keeps everything.
#[derive(Debug, Clone, Default)]
pub struct CellFilter {
    /// Model names.
    pub models: Vec<String>,
    /// Quantisations.
    pub quantisations: Vec<String>,
    /// Pruning labels.
    pub pruning: Vec<String>,
    /// Engine names.
    pub engines: Vec<String>,
    /// Workload ids.
    pub workloads: Vec<String>,
}

impl CellFilter {
    /// The cells that are picked; a value that fits no cell is an error that says what would.
    pub fn pick(&self, cells: Vec<MatrixCell>) -> Result<Vec<MatrixCell>, String> {
        let axes: [(&str, &[String]); 5] = [
            ("model", &self.models),
            ("quantisation", &self.quantisations),
            ("pruning", &self.pruning),
            ("engine", &self.engines),
            ("workload", &self.workloads),
        ];
        for (axis, wanted) in axes {
            let known = distinct(cells.iter().map(|cell| axis_value(cell, axis)));
            if let Some(value) = wanted.iter().find(|value| !known.contains(value)) {
                return Err(unknown(axis, value, &known));
            }
        }
        let keeps = |cell: &MatrixCell| {
            axes.iter()
                .all(|(axis, wanted)| wanted.is_empty() || wanted.contains(&axis_value(cell, axis)))
        };
        Ok(cells.into_iter().filter(keeps).collect())
    }
}

#[derive(Debug, Clone)]
struct ModelEntry {
    name: Option<String>,
    path: String,
    line: usize,
}

#[derive(Debug, Clone)]
struct Rule {
    table: &'static str,
    line: usize,
    axes: Vec<(&'static str, Vec<Located>)>,
}

#[derive(Debug, Clone)]
struct Located {
    value: String,
    line: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMatrix {
    models: Spanned<Vec<Spanned<RawModel>>>,
    quantisations: Spanned<Vec<Spanned<String>>>,
    pruning: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    engines: Vec<RawEngine>,
    workloads: Spanned<Vec<RawWorkload>>,
    #[serde(default)]
    include: Vec<Spanned<RawRule>>,
    #[serde(default)]
    exclude: Vec<Spanned<RawRule>>,
    quality: Option<Spanned<QualitySettings>>,
    repetitions: Option<Spanned<RepetitionSettings>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    name: Option<String>,
    path: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    model: Option<Vec<Spanned<String>>>,
    quantisation: Option<Vec<Spanned<String>>>,
    pruning: Option<Vec<Spanned<String>>>,
    engine: Option<Vec<Spanned<String>>>,
    workload: Option<Vec<Spanned<String>>>,
}

impl Matrix {
    /// Parses and checks a matrix; `file` is only named in errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, MatrixError> {
        let source = Source { file, text };
        let raw: RawMatrix = toml::from_str(text).map_err(|error| source.parse_error(&error))?;
        let quantisations = checked_list(
            &source,
            raw.quantisations.get_ref(),
            "quantisation",
            |value| {
                if QUANTISATIONS.contains(&value) {
                    Ok(value.to_owned())
                } else {
                    Err(unknown(
                        "quantisation",
                        value,
                        &QUANTISATIONS.map(str::to_owned),
                    ))
                }
            },
        )?;
        let pruning = match &raw.pruning {
            Some(list) => checked_list(&source, list, "pruning", |value| {
                value
                    .parse()
                    .map_err(|error: UnknownRecipe| error.to_string())
            })?,
            None => vec![PruneRecipe::None],
        };
        for (empty, span, what) in [
            (
                raw.models.get_ref().is_empty(),
                raw.models.span(),
                "no model",
            ),
            (
                quantisations.is_empty(),
                raw.quantisations.span(),
                "no quantisation",
            ),
            (
                raw.workloads.get_ref().is_empty(),
                raw.workloads.span(),
                "no workload",
            ),
        ] {
            if empty {
                return Err(source.error(span.start, format!("{what} is listed: add one")));
            }
        }
        let quality = checked_quality(&source, raw.quality)?;
        let workloads = raw
            .workloads
            .into_inner()
            .iter()
            .map(|workload| workload.checked(&source, quality.items))
            .collect::<Result<Vec<_>, _>>()?;
        let models = raw.models.into_inner().into_iter();
        let matrix = Self {
            file: file.to_owned(),
            models: models
                .map(|model| checked_model(&source, model))
                .collect::<Result<_, _>>()?,
            quantisations,
            pruning,
            engines: checked_engines(&source, raw.engines)?,
            workloads,
            include: raw
                .include
                .into_iter()
                .map(|rule| located_rule(&source, "include", rule))
                .collect(),
            exclude: raw
                .exclude
                .into_iter()
                .map(|rule| located_rule(&source, "exclude", rule))
                .collect(),
            quality,
            repetitions: checked_repetitions(&source, raw.repetitions)?,
        };
        Ok(matrix)
    }

    /// Every cell that the rules keep, models first. `files` are the names in the models
    /// folder, which patterns with `*` are matched against.
    pub fn expand(&self, files: &[String]) -> Result<Vec<MatrixCell>, MatrixError> {
        let models = self.resolve_models(files)?;
        let mut product = Vec::new();
        for (model, file) in &models {
            for quantisation in &self.quantisations {
                for pruning in &self.pruning {
                    for engine in &self.engines {
                        for workload in &self.workloads {
                            product.push(MatrixCell {
                                model: model.clone(),
                                file: file.clone(),
                                quantisation: quantisation.clone(),
                                pruning: pruning.clone(),
                                engine: engine.name.clone(),
                                workload: workload.clone(),
                            });
                        }
                    }
                }
            }
        }
        for rule in self.include.iter().chain(&self.exclude) {
            self.check_rule(rule, &product)?;
        }
        let kept = |cell: &MatrixCell| {
            (self.include.is_empty() || self.include.iter().any(|rule| rule.fits(cell)))
                && !self.exclude.iter().any(|rule| rule.fits(cell))
        };
        product.retain(kept);
        if product.is_empty() || product.len() > MAX_CELLS {
            let what = format!(
                "the rules keep {} cells: 1 to {MAX_CELLS} are needed",
                product.len()
            );
            return Err(self.error(1, "the rules", what));
        }
        self.check_running_engines(&product)?;
        Ok(product)
    }

    /// The engines, at least one.
    pub fn engines(&self) -> &[EngineSpec] {
        &self.engines
    }

    /// A server that runs already serves the one variant it was started with.
    fn check_running_engines(&self, cells: &[MatrixCell]) -> Result<(), MatrixError> {
        for engine in self.engines.iter().filter(|engine| engine.is_running()) {
            let variants = distinct(
                cells
                    .iter()
                    .filter(|cell| cell.engine == engine.name)
                    .map(|cell| format!("{} {} {}", cell.model, cell.quantisation, cell.pruning)),
            );
            if variants.len() > 1 {
                let what = format!(
                    "the server of {:?} runs with one variant, the rules give it {}: name its \
                     model and quantisation in an [[include]]",
                    engine.name,
                    variants.len()
                );
                return Err(self.error(1, "[[engines]] url", what));
            }
        }
        Ok(())
    }

    /// Identifies what a sweep of `cells` measures and how; comments and spelling of the file
    /// do not matter.
    ///
    /// # Panics
    /// Never: plain data is JSON.
    pub fn digest(&self, cells: &[MatrixCell]) -> Sha256Digest {
        let used: Vec<_> = self
            .engines
            .iter()
            .filter(|engine| cells.iter().any(|cell| cell.engine == engine.name))
            .collect();
        let meaning = (cells, used, &self.quality, &self.repetitions);
        Sha256Digest::of(&serde_json::to_vec(&meaning).expect("plain data is JSON"))
    }

    fn resolve_models(&self, files: &[String]) -> Result<Vec<(String, String)>, MatrixError> {
        let mut models: Vec<(String, String)> = Vec::new();
        for entry in &self.models {
            let found: Vec<String> = if entry.path.contains('*') {
                let mut fitting: Vec<_> = files
                    .iter()
                    .filter(|file| fits(&entry.path, file))
                    .cloned()
                    .collect();
                fitting.sort();
                fitting
            } else {
                vec![entry.path.clone()]
            };
            if found.is_empty() {
                let what = format!("no file in the models folder fits {:?}", entry.path);
                return Err(self.error(entry.line, "[[models]] path", what));
            }
            for file in found {
                let name = entry.name.clone().unwrap_or_else(|| stem(&file));
                if models.iter().any(|(other, _)| *other == name) {
                    let what = format!("a model {name:?} is there already: give each its own name");
                    return Err(self.error(entry.line, "[[models]] name", what));
                }
                models.push((name, file));
            }
        }
        Ok(models)
    }

    fn check_rule(&self, rule: &Rule, product: &[MatrixCell]) -> Result<(), MatrixError> {
        for (axis, values) in &rule.axes {
            let known = distinct(product.iter().map(|cell| axis_value(cell, axis)));
            for located in values {
                if !known.iter().any(|value| fits(&located.value, value)) {
                    let key = format!("[[{}]] {axis}", rule.table);
                    return Err(self.error(
                        located.line,
                        &key,
                        unknown(axis, &located.value, &known),
                    ));
                }
            }
        }
        if product.iter().any(|cell| rule.fits(cell)) {
            return Ok(());
        }
        let key = format!("[[{}]]", rule.table);
        Err(self.error(
            rule.line,
            &key,
            "the rule fits no cell: correct or remove it".to_owned(),
        ))
    }

    fn error(&self, line: usize, key: &str, what: String) -> MatrixError {
        MatrixError {
            file: self.file.clone(),
            line,
            key: key.to_owned(),
            what,
        }
    }
}

impl Rule {
    fn fits(&self, cell: &MatrixCell) -> bool {
        self.axes.iter().all(|(axis, values)| {
            let value = axis_value(cell, axis);
            values.iter().any(|pattern| fits(&pattern.value, &value))
        })
    }
}

fn axis_value(cell: &MatrixCell, axis: &str) -> String {
    match axis {
        "model" => cell.model.clone(),
        "quantisation" => cell.quantisation.clone(),
        "pruning" => cell.pruning.to_string(),
        "engine" => cell.engine.clone(),
        _ => cell.workload.id.to_string(),
    }
}

fn checked_list<T: PartialEq>(
    source: &Source,
    list: &[Spanned<String>],
    axis: &str,
    check: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, MatrixError> {
    let mut checked = Vec::new();
    for value in list {
        let item = check(value.get_ref()).map_err(|what| source.error(value.span().start, what))?;
        if checked.contains(&item) {
            return Err(source.error(
                value.span().start,
                format!("{axis} {:?} is listed twice", value.get_ref()),
            ));
        }
        checked.push(item);
    }
    Ok(checked)
}

/// A file of the models folder, or a pattern of such.
pub(crate) fn checked_path(source: &Source, path: &Spanned<String>) -> Result<String, MatrixError> {
    let text = path.get_ref();
    if text.is_empty() || text.starts_with('/') || text.split('/').any(|part| part == "..") {
        let what = format!("{text:?} is no file of the models folder: write its name there");
        return Err(source.error(path.span().start, what));
    }
    Ok(text.clone())
}

fn checked_model(source: &Source, model: Spanned<RawModel>) -> Result<ModelEntry, MatrixError> {
    let line = source.line(model.span().start);
    let model = model.into_inner();
    let at = model.path.span().start;
    let path = checked_path(source, &model.path)?;
    if model.name.is_some() && path.contains('*') {
        let what = "a pattern fits several files: leave out the name, each file's own is taken";
        return Err(source.error(at, what.to_owned()));
    }
    Ok(ModelEntry {
        name: model.name,
        path,
        line,
    })
}

/// candle alone, where no engine is named.
fn checked_engines(
    source: &Source,
    engines: Vec<RawEngine>,
) -> Result<Vec<EngineSpec>, MatrixError> {
    if engines.is_empty() {
        return Ok(vec![EngineSpec::candle()]);
    }
    if engines.len() > MAX_ENGINES {
        let what = format!("{} engines are more than {MAX_ENGINES}", engines.len());
        return Err(source.error(0, what));
    }
    let mut checked: Vec<EngineSpec> = Vec::new();
    for raw in engines {
        let at = raw.at();
        let engine = raw.checked(source)?;
        if checked.iter().any(|other| other.name == engine.name) {
            let what = format!(
                "an engine {:?} is there already: give each its own name",
                engine.name
            );
            return Err(source.error(at, what));
        }
        checked.push(engine);
    }
    Ok(checked)
}

fn located_rule(source: &Source, table: &'static str, rule: Spanned<RawRule>) -> Rule {
    let line = source.line(rule.span().start);
    let rule = rule.into_inner();
    let axes = [
        ("model", rule.model),
        ("quantisation", rule.quantisation),
        ("pruning", rule.pruning),
        ("engine", rule.engine),
        ("workload", rule.workload),
    ];
    let located = |value: Spanned<String>| Located {
        line: source.line(value.span().start),
        value: value.into_inner(),
    };
    let axes = axes
        .into_iter()
        .filter_map(|(axis, values)| Some((axis, values?.into_iter().map(located).collect())))
        .collect();
    Rule { table, line, axes }
}

fn checked_quality(
    source: &Source,
    quality: Option<Spanned<QualitySettings>>,
) -> Result<QualitySettings, MatrixError> {
    let Some(quality) = quality else {
        return Ok(QualitySettings::default());
    };
    let at = quality.span().start;
    let quality = quality.into_inner();
    if quality.items > MAX_ITEMS {
        let what = format!(
            "{} items are more than the {MAX_ITEMS} that one record holds",
            quality.items
        );
        return Err(source.error_in(at, "items", what));
    }
    let thinking = quality.thinking_tokens;
    if thinking > MAX_THINKING_TOKENS {
        let what = format!("{thinking} tokens of thinking are more than {MAX_THINKING_TOKENS}");
        return Err(source.error_in(at, "thinking_tokens", what));
    }
    if thinking > 0 && !quality.suite.is_chat() {
        let what = format!(
            "{} is answered without thinking: drop thinking_tokens, or ask core-v1",
            quality.suite
        );
        return Err(source.error_in(at, "thinking_tokens", what));
    }
    Ok(quality)
}

fn checked_repetitions(
    source: &Source,
    settings: Option<Spanned<RepetitionSettings>>,
) -> Result<RepetitionSettings, MatrixError> {
    let Some(settings) = settings else {
        return Ok(RepetitionSettings::default());
    };
    let at = settings.span().start;
    let settings = settings.into_inner();
    let ranges = [
        (
            "min",
            f64::from(settings.min),
            1.0,
            f64::from(MAX_REPETITIONS),
        ),
        (
            "max",
            f64::from(settings.max),
            f64::from(settings.min),
            f64::from(MAX_REPETITIONS),
        ),
        (
            "warmup_max",
            f64::from(settings.warmup_max),
            2.0,
            f64::from(MAX_WARMUPS),
        ),
        ("min_seconds", settings.min_seconds, 0.05, 60.0),
        (
            "target_half_width_percent",
            settings.target_half_width_percent,
            0.1,
            50.0,
        ),
        ("minutes_per_cell", settings.minutes_per_cell, 0.05, 600.0),
        (
            "concurrency_seconds",
            settings.concurrency_seconds,
            0.5,
            3_600.0,
        ),
        ("cool_seconds", settings.cool_seconds, 0.0, 600.0),
        ("energy_seconds", settings.energy_seconds, 0.5, 600.0),
        (
            "idle_unloaded_seconds",
            settings.idle_unloaded_seconds,
            0.0,
            600.0,
        ),
        (
            "idle_loaded_seconds",
            settings.idle_loaded_seconds,
            0.0,
            600.0,
        ),
    ];
    for (key, value, low, high) in ranges {
        if !(low..=high).contains(&value) {
            return Err(source.error_in(at, key, format!("{value} is outside {low} to {high}")));
        }
    }
    if settings.or_output_tokens == Some(0) {
        return Err(source.error_in(
            at,
            "or_output_tokens",
            "0 tokens measure nothing".to_owned(),
        ));
    }
    Ok(settings)
}

/// Whether `text` fits a pattern in which `*` stands for any characters but `/`.
pub fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            let reach = tail.find('/').unwrap_or(tail.len());
            (0..=reach).any(|at| tail.is_char_boundary(at) && fits(rest, &tail[at..]))
        }),
    }
}

fn stem(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    let name = name.strip_suffix(".gguf").unwrap_or(name);
    name.strip_suffix("-f16").unwrap_or(name).to_owned()
}

fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

#[cfg(test)]
mod tests;
