//! What is swept: models x quantisations x pruning x workloads, with rules.
//!
//! A cell of the full product is kept if it fits at least one `[[include]]` rule (or there is
//! none), unless it fits an `[[exclude]]` rule. An axis that a rule does not name fits always.
//! Every error names file, line and key. Bounds: [`MAX_CELLS`], [`MAX_ITEMS`],
//! [`MAX_PROMPT_TOKENS`], [`MAX_OUTPUT_TOKENS`], [`MAX_REPETITIONS`]; beyond them the file is
//! refused, because the record of a cell has a bounded size.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use toml::Spanned;

use crate::ids::{Sha256Digest, Slug};
use crate::suite;

/// Quantisations that a variant can be made in, from widest to narrowest.
pub const QUANTISATIONS: [&str; 6] = ["F16", "Q8_0", "Q6_K", "Q4_K", "Q4_0", "Q2_K"];

/// Most cells of one sweep.
pub const MAX_CELLS: usize = 1_000;
/// Most suite items asked per cell.
pub const MAX_ITEMS: u32 = 1_000;
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
    pruning: Vec<PruneLabel>,
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
    pub pruning: PruneLabel,
    /// What is asked while timed.
    pub workload: WorkloadSpec,
}

impl MatrixCell {
    /// The cell in one line: model, quantisation, pruning if any, workload.
    pub fn label(&self) -> String {
        let pruning = match self.pruning {
            PruneLabel::None => String::new(),
            label => format!(" {label}"),
        };
        format!(
            "{} {}{pruning} {}",
            self.model, self.quantisation, self.workload.id
        )
    }
}

/// Prompt and forced output of the timed requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkloadSpec {
    /// Its name.
    pub id: Slug,
    /// Prompt tokens, the begin-of-sequence token included.
    pub prompt_tokens: u32,
    /// Output tokens.
    pub output_tokens: u32,
}

/// How a variant is pruned, as written in a matrix: `none`, `layers-N`, `magnitude-N%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PruneLabel {
    /// Not at all.
    None,
    /// So many whole layers.
    Layers(u32),
    /// The smallest weights of every matrix, in percent.
    MagnitudePercent(u32),
}

impl fmt::Display for PruneLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Layers(count) => write!(f, "layers-{count}"),
            Self::MagnitudePercent(percent) => write!(f, "magnitude-{percent}%"),
        }
    }
}

impl FromStr for PruneLabel {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str, range: std::ops::RangeInclusive<u32>| {
            digits.parse().ok().filter(|n| range.contains(n))
        };
        let layers = || {
            text.strip_prefix("layers-")
                .and_then(|n| number(n, 1..=1_000))
                .map(Self::Layers)
        };
        let magnitude = || {
            let digits = text.strip_prefix("magnitude-")?.strip_suffix('%')?;
            number(digits, 1..=99).map(Self::MagnitudePercent)
        };
        if text == "none" {
            return Ok(Self::None);
        }
        layers().or_else(magnitude).ok_or_else(|| {
            format!("{text:?} is no pruning: write none, layers-1 or magnitude-30% (1 to 99)")
        })
    }
}

impl Serialize for PruneLabel {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which suite items are asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QualitySettings {
    /// The suite.
    pub suite: String,
    /// How many items; 0 asks none. Under 100 no quality is published.
    pub items: u32,
}

impl Default for QualitySettings {
    fn default() -> Self {
        Self {
            suite: suite::REFERENCE_V1.to_owned(),
            items: 210,
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
    /// Longest wait between cells for the machine to cool, where a temperature is readable.
    pub cool_seconds: f64,
    /// Length of the decode loop that joules are taken from, where there is a counter.
    pub energy_seconds: f64,
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
            cool_seconds: 60.0,
            energy_seconds: 10.0,
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
    /// Workload ids.
    pub workloads: Vec<String>,
}

impl CellFilter {
    /// The cells that are picked; a value that fits no cell is an error that says what would.
    pub fn pick(&self, cells: Vec<MatrixCell>) -> Result<Vec<MatrixCell>, String> {
        let axes: [(&str, &[String]); 4] = [
            ("model", &self.models),
            ("quantisation", &self.quantisations),
            ("pruning", &self.pruning),
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
struct RawWorkload {
    id: Spanned<String>,
    prompt_tokens: Spanned<u32>,
    output_tokens: Spanned<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    model: Option<Vec<Spanned<String>>>,
    quantisation: Option<Vec<Spanned<String>>>,
    pruning: Option<Vec<Spanned<String>>>,
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
            Some(list) => checked_list(&source, list, "pruning", str::parse)?,
            None => vec![PruneLabel::None],
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
        let workloads = raw
            .workloads
            .into_inner()
            .iter()
            .map(|workload| checked_workload(&source, workload))
            .collect::<Result<Vec<_>, _>>()?;
        let models = raw.models.into_inner().into_iter();
        let matrix = Self {
            file: file.to_owned(),
            models: models
                .map(|model| checked_model(&source, model))
                .collect::<Result<_, _>>()?,
            quantisations,
            pruning,
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
            quality: checked_quality(&source, raw.quality)?,
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
                    for workload in &self.workloads {
                        product.push(MatrixCell {
                            model: model.clone(),
                            file: file.clone(),
                            quantisation: quantisation.clone(),
                            pruning: *pruning,
                            workload: workload.clone(),
                        });
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
        Ok(product)
    }

    /// Identifies what a sweep of `cells` measures and how; comments and spelling of the file
    /// do not matter.
    ///
    /// # Panics
    /// Never: plain data is JSON.
    pub fn digest(&self, cells: &[MatrixCell]) -> Sha256Digest {
        let meaning = (cells, &self.quality, &self.repetitions);
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

fn checked_model(source: &Source, model: Spanned<RawModel>) -> Result<ModelEntry, MatrixError> {
    let line = source.line(model.span().start);
    let model = model.into_inner();
    let at = model.path.span().start;
    let path = model.path.into_inner();
    if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") {
        let what = format!("{path:?} is no file of the models folder: write its name there");
        return Err(source.error(at, what));
    }
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

fn checked_workload(source: &Source, workload: &RawWorkload) -> Result<WorkloadSpec, MatrixError> {
    let within = |value: &Spanned<u32>, low: u32, high: u32| {
        if (low..=high).contains(value.get_ref()) {
            Ok(*value.get_ref())
        } else {
            let what = format!("{} is outside {low} to {high}", value.get_ref());
            Err(source.error(value.span().start, what))
        }
    };
    Ok(WorkloadSpec {
        id: workload
            .id
            .get_ref()
            .parse()
            .map_err(|error: crate::ids::IdError| {
                source.error(workload.id.span().start, error.to_string())
            })?,
        // The begin-of-sequence token and a few bytes that make every prompt unique.
        prompt_tokens: within(&workload.prompt_tokens, 16, MAX_PROMPT_TOKENS)?,
        output_tokens: within(&workload.output_tokens, 2, MAX_OUTPUT_TOKENS)?,
    })
}

fn located_rule(source: &Source, table: &'static str, rule: Spanned<RawRule>) -> Rule {
    let line = source.line(rule.span().start);
    let rule = rule.into_inner();
    let axes = [
        ("model", rule.model),
        ("quantisation", rule.quantisation),
        ("pruning", rule.pruning),
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
    if quality.suite != suite::REFERENCE_V1 {
        let what = unknown("suite", &quality.suite, &[suite::REFERENCE_V1.to_owned()]);
        return Err(source.error_in(at, "suite", what));
    }
    if quality.items > MAX_ITEMS {
        let what = format!(
            "{} items are more than the {MAX_ITEMS} that one record holds",
            quality.items
        );
        return Err(source.error_in(at, "items", what));
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
        ("cool_seconds", settings.cool_seconds, 0.0, 600.0),
        ("energy_seconds", settings.energy_seconds, 0.5, 600.0),
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

/// A file's text, for errors that name line and key.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self
            .text
            .get(..offset)
            .unwrap_or(self.text)
            .matches('\n')
            .count()
    }

    fn error(&self, offset: usize, what: String) -> MatrixError {
        self.error_on(self.line(offset), what)
    }

    /// An error at `key` of the table that begins at `offset`.
    fn error_in(&self, offset: usize, key: &str, what: String) -> MatrixError {
        let start = self.line(offset);
        let spells_key = |line: &&str| {
            line.split('=')
                .next()
                .is_some_and(|left| left.trim() == key)
        };
        let ahead = self
            .text
            .lines()
            .skip(start.saturating_sub(1))
            .position(|line| spells_key(&line));
        self.error_on(start + ahead.unwrap_or(0), what)
    }

    fn error_on(&self, line: usize, what: String) -> MatrixError {
        MatrixError {
            file: self.file.to_owned(),
            line,
            key: self.key_on(line),
            what,
        }
    }

    /// Table header and key that the line stands under.
    fn key_on(&self, line: usize) -> String {
        let mut table = "";
        let mut key = "";
        for text in self.text.lines().take(line).map(str::trim) {
            if text.starts_with('[')
                && text.trim_end_matches(']').len() < text.len()
                && !text.contains(',')
            {
                (table, key) = (text, "");
            } else if let Some((left, _)) = text.split_once('=') {
                key = left.trim();
            }
        }
        [table, key]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn parse_error(&self, error: &toml::de::Error) -> MatrixError {
        let line = error.span().map_or(1, |span| self.line(span.start));
        let message = error.message().trim().to_owned();
        let mut quoted = message.split('`').skip(1).step_by(2);
        let suggestion = match (message.starts_with("unknown field"), quoted.next()) {
            (true, Some(wrong)) => {
                closest(wrong, quoted).map(|near| format!("; did you mean `{near}`?"))
            }
            _ => None,
        };
        self.error_on(line, message.clone() + &suggestion.unwrap_or_default())
    }
}

fn unknown(axis: &str, value: &str, known: &[String]) -> String {
    let near = closest(value, known.iter().map(String::as_str));
    let hint = near
        .map(|near| format!(" Did you mean {near:?}?"))
        .unwrap_or_default();
    format!(
        "{axis} {value:?} is unknown.{hint} Known: {}",
        known.join(", ")
    )
}

/// The candidate that needs the fewest edits, if they are few.
fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| {
            (
                edits(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}

/// Whether `text` fits a pattern in which `*` stands for any characters but `/`.
fn fits(pattern: &str, text: &str) -> bool {
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = r#"
quantisations = ["F16", "Q8_0", "Q4_K"]
pruning = ["none", "layers-1"]

[[models]]
name = "small"
path = "small-f16.gguf"

[[models]]
name = "large"
path = "large-f16.gguf"

[[workloads]]
id = "pp128-tg64"
prompt_tokens = 128
output_tokens = 64

[[include]]
pruning = ["none"]

[[include]]
model = ["large"]
quantisation = ["F16"]

[[exclude]]
model = ["sm*"]
quantisation = ["Q4_K"]

[repetitions]
min_seconds = 0.25
"#;

    fn error_of(from: &str, to: &str) -> MatrixError {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        match Matrix::parse("m.toml", &text) {
            Err(error) => error,
            Ok(matrix) => matrix.expand(&[]).expect_err("a mistake"),
        }
    }

    #[test]
    fn rules_keep_and_remove_cells() {
        let matrix = Matrix::parse("m.toml", GOOD).expect("valid");
        let labels: Vec<_> = matrix
            .expand(&[])
            .expect("cells")
            .iter()
            .map(MatrixCell::label)
            .collect();
        assert_eq!(
            labels,
            [
                "small F16 pp128-tg64",
                "small Q8_0 pp128-tg64",
                "large F16 pp128-tg64",
                "large F16 layers-1 pp128-tg64",
                "large Q8_0 pp128-tg64",
                "large Q4_K pp128-tg64",
            ]
        );
        assert!((matrix.repetitions.min_seconds - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_mistake_is_named_with_file_line_key_and_a_suggestion() {
        for (from, to, line, key, what) in [
            (
                "\"Q8_0\"",
                "\"Q8-0\"",
                2,
                "quantisations",
                "Did you mean \"Q8_0\"?",
            ),
            ("\"layers-1\"", "\"layer-1\"", 3, "pruning", "magnitude-30%"),
            (
                "prompt_tokens = 128",
                "promt_tokens = 128",
                15,
                "[[workloads]] promt_tokens",
                "did you mean `prompt_tokens`?",
            ),
            (
                "output_tokens = 64",
                "output_tokens = 99999",
                16,
                "[[workloads]] output_tokens",
                "outside 2 to 4096",
            ),
            (
                "output_tokens = 64",
                "output_tokens = \"64\"",
                16,
                "[[workloads]] output_tokens",
                "expected",
            ),
            (
                "model = [\"large\"]",
                "model = [\"larg\"]",
                22,
                "[[include]] model",
                "Did you mean \"large\"?",
            ),
            (
                "min_seconds = 0.25",
                "min_seconds = -1",
                30,
                "[repetitions] min_seconds",
                "outside 0.05 to 60",
            ),
            (
                "min_seconds = 0.25",
                "min_seconds = nan",
                30,
                "[repetitions] min_seconds",
                "outside",
            ),
            (
                "\"small-f16.gguf\"",
                "\"../small.gguf\"",
                7,
                "[[models]] path",
                "models folder",
            ),
            (
                "name = \"large\"",
                "name = \"small\"",
                9,
                "[[models]] name",
                "already",
            ),
            (
                "id = \"pp128-tg64\"",
                "id = \"PP 128\"",
                14,
                "[[workloads]] id",
                "slug",
            ),
        ] {
            let error = error_of(from, to);
            assert_eq!(
                (error.file.as_str(), error.line, error.key.as_str()),
                ("m.toml", line, key),
                "{error}"
            );
            assert!(error.what.contains(what), "{error}");
        }
    }

    #[test]
    fn a_rule_that_fits_nothing_is_refused() {
        let error = error_of(
            "model = [\"sm*\"]\n",
            "model = [\"small\"]\npruning = [\"none\"]\nworkload = [\"pp1\"]\n",
        );
        assert_eq!(error.key, "[[exclude]] workload", "{error}");
        let error = error_of(
            "[[exclude]]",
            "[[exclude]]\n[[exclude]]\nmodel = [\"x\"]\n[[exclude]]",
        );
        assert!(error.what.contains("unknown"), "{error}");
    }

    #[test]
    fn a_pattern_takes_every_fitting_file_by_its_own_name() {
        let text = GOOD.replace(
            "name = \"large\"\npath = \"large-f16.gguf\"",
            "path = \"large*.gguf\"",
        );
        let matrix = Matrix::parse("m.toml", &text).expect("valid");
        let files = [
            "large-f16.gguf".to_owned(),
            "large.txt".to_owned(),
            "other.gguf".to_owned(),
        ];
        let cells = matrix.expand(&files).expect("cells");
        assert!(
            cells
                .iter()
                .any(|cell| cell.model == "large" && cell.file == "large-f16.gguf")
        );
        assert!(matrix.expand(&[]).is_err(), "nothing fits the pattern");
    }

    #[test]
    fn the_digest_is_that_of_the_meaning() {
        let digest = |text: &str| {
            let matrix = Matrix::parse("m.toml", text).expect("valid");
            matrix.digest(&matrix.expand(&[]).expect("cells"))
        };
        assert_eq!(
            digest(GOOD),
            digest(&GOOD.replace("\n\n", "\n# a comment\n\n"))
        );
        assert_ne!(digest(GOOD), digest(&GOOD.replace("0.25", "0.5")));
    }

    #[test]
    fn a_filter_picks_cells_and_refuses_unknown_values() {
        let cells = Matrix::parse("m.toml", GOOD)
            .expect("valid")
            .expand(&[])
            .expect("cells");
        let picked = CellFilter {
            pruning: vec!["layers-1".to_owned()],
            ..CellFilter::default()
        };
        assert_eq!(picked.pick(cells.clone()).map(|kept| kept.len()), Ok(1));
        let wrong = CellFilter {
            models: vec!["lagre".to_owned()],
            ..CellFilter::default()
        };
        assert!(
            wrong
                .pick(cells)
                .expect_err("unknown")
                .contains("Did you mean \"large\"?")
        );
    }

    #[test]
    fn the_shipped_matrix_is_valid() {
        let text = include_str!("../../model-matrix.toml");
        let matrix =
            Matrix::parse("model-matrix.toml", text).unwrap_or_else(|error| panic!("{error}"));
        let cells = matrix.expand(&[]).unwrap_or_else(|error| panic!("{error}"));
        assert!(cells.iter().any(|cell| cell.pruning != PruneLabel::None));
    }

    proptest! {
        #[test]
        fn any_text_ends_in_an_answer(text in any::<String>()) {
            prop_assert!(Matrix::parse("m.toml", &text).is_err());
        }

        #[test]
        fn any_broken_line_ends_in_an_answer(line in 0_usize..40, with in "[ -~]{0,40}") {
            let text: Vec<_> = GOOD.lines().enumerate().map(|(i, old)| if i == line { with.as_str() } else { old }).collect();
            if let Ok(matrix) = Matrix::parse("m.toml", &text.join("\n")) {
                let _ = matrix.expand(&["small-f16.gguf".to_owned()]);
            }
        }

        #[test]
        fn a_pruning_label_is_read_back(percent in 1_u32..=99, layers in 1_u32..=1_000) {
            for label in [PruneLabel::None, PruneLabel::Layers(layers), PruneLabel::MagnitudePercent(percent)] {
                prop_assert_eq!(label.to_string().parse(), Ok(label));
            }
        }
    }
}
