//! How rows are called on every page, and the paths they live under.

use std::collections::BTreeMap;

use domain::api::ResultRow;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::format;

/// `Q4_K`, or `F16, layer-pruned 25 %`.
pub(crate) fn variant(row: &ResultRow) -> String {
    if row.pruning.is_empty() || row.pruning == "none" {
        return row.quant.clone();
    }
    format!(
        "{}, {}-pruned {}\u{a0}%",
        row.quant,
        row.pruning,
        format::trimmed(row.pruning_percent, 1)
    )
}

/// Model and variant in one line.
pub(crate) fn full(row: &ResultRow) -> String {
    format!("{} {}", row.model, variant(row))
}

/// `llama.cpp b4321`.
pub(crate) fn engine(row: &ResultRow) -> String {
    format!("{} {}", row.engine, row.engine_version)
        .trim()
        .to_owned()
}

/// How the engines of rows that stand side by side are told apart: by name and version, and by
/// build where two builds share these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Engines(BTreeMap<(String, String), String>);

impl Engines {
    /// Labels for the builds of all these rows.
    pub(crate) fn of<'a>(rows: impl Iterator<Item = &'a ResultRow>) -> Self {
        let mut names: BTreeMap<(String, String), String> = BTreeMap::new();
        for row in rows {
            names.entry(build(row)).or_insert_with(|| engine(row));
        }
        let mut shared: BTreeMap<&str, usize> = BTreeMap::new();
        for name in names.values() {
            *shared.entry(name).or_default() += 1;
        }
        let labels = names.iter().map(|((slug, build), name)| {
            let label = if shared[name.as_str()] > 1 {
                format!("{name}, build {}", cut(build, 12))
            } else {
                name.clone()
            };
            ((slug.clone(), build.clone()), label)
        });
        Self(labels.collect())
    }

    /// There is something to tell apart.
    pub(crate) fn differ(&self) -> bool {
        self.0.len() > 1
    }

    /// What tells this row's engine from the others; `None` when all rows share one build.
    pub(crate) fn label(&self, row: &ResultRow) -> Option<&str> {
        self.0
            .get(&build(row))
            .filter(|_| self.differ())
            .map(String::as_str)
    }

    /// What little room allows: the name alone where all its results are of one build.
    pub(crate) fn short(&self, row: &ResultRow) -> String {
        let builds = self.0.keys().filter(|(slug, _)| *slug == row.engine_slug);
        match self.label(row) {
            Some(label) if builds.count() > 1 => label.to_owned(),
            _ => row.engine.clone(),
        }
    }

    /// The row's full name, with its engine where engines differ.
    pub(crate) fn full(&self, row: &ResultRow) -> String {
        match self.label(row) {
            Some(label) => format!("{} with {label}", full(row)),
            None => full(row),
        }
    }
}

fn build(row: &ResultRow) -> (String, String) {
    (row.engine_slug.clone(), row.engine_build_id.clone())
}

/// The workload with what sets it apart from the plain one (nothing cached, no context, one
/// stream, one answer): `pp128-tg64, 4 at once`.
pub(crate) fn workload(row: &ResultRow) -> String {
    let mut words = vec![row.workload.clone()];
    let depth = || format::number(f64::from(row.depth_tokens), 0);
    match row.kv_state.as_str() {
        "warm_prefix" => words.push(format!("{} tokens cached before", depth())),
        "exact_hit" => words.push("whole prompt cached before".to_owned()),
        "cold" | "" if row.depth_tokens > 0 => {
            words.push(format!("behind {} tokens of context", depth()));
        }
        "cold" | "" => {}
        other => words.push(other.to_owned()),
    }
    if row.concurrency > 1 {
        words.push(format!("{} at once", row.concurrency));
    }
    if row.samples > 1 {
        words.push(format!("best of {}", row.samples));
    }
    words.join(", ")
}

/// What the workload holds equal, spelled out.
pub(crate) fn conditions(row: &ResultRow) -> String {
    let depth = format::number(f64::from(row.depth_tokens), 0);
    let cache = match (row.kv_state.as_str(), row.depth_tokens) {
        ("warm_prefix", _) => {
            format!(
                "warm prefix: {depth} tokens of context are in the cache before the clock starts"
            )
        }
        ("exact_hit", _) => {
            "exact hit: the whole prompt is in the cache before the clock starts".to_owned()
        }
        ("cold", 0) => "cold: nothing is cached before, and nothing precedes the prompt".to_owned(),
        ("cold", _) => {
            format!("cold: {depth} tokens of context precede the prompt and are read with it")
        }
        ("", _) => "state of the cache not recorded".to_owned(),
        (other, _) => other.to_owned(),
    };
    let streams = match row.concurrency {
        0 | 1 => "one request at a time".to_owned(),
        n => format!("{n} streams at once"),
    };
    let samples = match row.samples {
        0 | 1 => "one answer to each question".to_owned(),
        n => format!("{n} answers to each question, of which one is picked and all are paid for"),
    };
    format!("{cache}; {streams}; {samples}.")
}

/// One of a row's flags, as a reader meets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flag {
    pub(crate) word: String,
    /// What it warns of; empty for a flag that this program does not know.
    pub(crate) meaning: &'static str,
}

/// A row's flags in words.
pub(crate) fn flags(row: &ResultRow) -> Vec<Flag> {
    row.flags.split_whitespace().map(flag).collect()
}

fn flag(flag: &str) -> Flag {
    let (word, meaning) = match flag {
        "noisy" => ("noisy", "the repetitions of a record spread widely"),
        "spread-over-15-percent" => (
            "spread over 15\u{a0}%",
            "no record of it is steady: the speeds are a rough guide",
        ),
        "unstable" => (
            "unstable",
            "the interval of a speed reaches more than 5\u{a0}% from the median",
        ),
        "views-disagree" => (
            "clocks disagree",
            "the engine's own clock and the runner's differ by more than 5\u{a0}%",
        ),
        "above-roofline" => (
            "above theory",
            "faster than the memory was found to allow: one of the two is misjudged",
        ),
        "cold-unproven" => (
            "cold unproven",
            "the engine does not say how much of a prompt it had cached",
        ),
        "unsteady" => (
            "unsteady",
            "the warm-ups had not settled when the counting began",
        ),
        "busy" => ("busy", "other programs had the processor meanwhile"),
        "throttled" => ("throttled", "the processor slowed itself down meanwhile"),
        "swapping" => ("swapping", "memory was moved to disk meanwhile"),
        "answers-disagree" => (
            "answers disagree",
            "accounts that asked the same items differ on more than 5\u{a0}% of them",
        ),
        "other-suite" => (
            "other suite too",
            "another suite was answered before the one that is shown",
        ),
        "public-seed" => ("public seed", "the items can be looked up"),
        other => (other, ""),
    };
    Flag {
        word: word.to_owned(),
        meaning,
    }
}

/// At most `most` characters, cut with an ellipsis; for labels inside charts.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// The text without what XML refuses and what would reorder a drawing: control characters
/// and bidi controls.
pub(crate) fn drawable(text: &str) -> String {
    let bidi = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .filter(|c| !c.is_control() && !bidi(*c) && !matches!(c, '\u{fffe}' | '\u{ffff}'))
        .collect()
}

/// A result's page.
pub(crate) fn result_path(id: &str) -> String {
    format!("/results/{}", segment(id))
}

/// An engine's page; `None` where the name has no slug.
pub(crate) fn engine_path(slug: &str) -> Option<String> {
    (!slug.is_empty()).then(|| format!("/engines/{}", segment(slug)))
}

/// The page of an engine's build.
pub(crate) fn build_path(slug: &str, build: &str) -> Option<String> {
    let engine = engine_path(slug).filter(|_| !build.is_empty())?;
    Some(format!("{engine}/{}", segment(build)))
}

/// The setup's page, when the setup is one of the catalogue; unknown machines have none.
pub(crate) fn setup_path(slug: &str) -> Option<String> {
    (!slug.is_empty() && !slug.starts_with("unknown-"))
        .then(|| format!("/setups/{}", segment(slug)))
}

/// One segment of a path, whatever it holds.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

const SEGMENT: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_is_part_of_the_name() {
        let mut row = ResultRow {
            quant: "Q4_K".into(),
            pruning: "none".into(),
            ..ResultRow::default()
        };
        assert_eq!(variant(&row), "Q4_K");
        row.pruning = "layer".into();
        row.pruning_percent = 22.5;
        assert_eq!(variant(&row), "Q4_K, layer-pruned 22.5\u{a0}%");
    }

    fn built(engine: &str, version: &str, build: &str) -> ResultRow {
        ResultRow {
            model: "M".into(),
            quant: "F16".into(),
            engine: engine.into(),
            engine_version: version.into(),
            engine_slug: engine.to_lowercase(),
            engine_build_id: build.into(),
            ..ResultRow::default()
        }
    }

    #[test]
    fn engines_are_named_where_they_differ_and_builds_where_versions_do_not() {
        let rows = [built("candle", "0.11", "a1"), built("candle", "0.11", "a1")];
        assert_eq!(Engines::of(rows.iter()).full(&rows[0]), "M F16");
        let rows = [
            built("candle", "0.11", "a1"),
            built("llama.cpp", "b1", "b1"),
            built("llama.cpp", "b1", "b2"),
        ];
        let engines = Engines::of(rows.iter());
        let names = rows.each_ref().map(|row| engines.full(row));
        assert_eq!(
            names,
            [
                "M F16 with candle 0.11",
                "M F16 with llama.cpp b1, build b1",
                "M F16 with llama.cpp b1, build b2"
            ]
        );
    }

    #[test]
    fn a_workload_says_what_sets_it_apart() {
        let of = |kv_state: &str, depth_tokens, concurrency, samples| ResultRow {
            workload: "pp128-tg64".into(),
            kv_state: kv_state.into(),
            depth_tokens,
            concurrency,
            samples,
            ..ResultRow::default()
        };
        let words = [
            of("cold", 0, 1, 1),
            of("cold", 0, 4, 1),
            of("warm_prefix", 4_096, 1, 1),
            of("cold", 4_096, 2, 4),
            of("exact_hit", 0, 1, 1),
        ]
        .map(|row| workload(&row));
        assert_eq!(
            words,
            [
                "pp128-tg64",
                "pp128-tg64, 4 at once",
                "pp128-tg64, 4,096 tokens cached before",
                "pp128-tg64, behind 4,096 tokens of context, 2 at once, best of 4",
                "pp128-tg64, whole prompt cached before",
            ]
        );
    }

    #[test]
    fn what_xml_refuses_is_not_drawn() {
        assert_eq!(drawable("a\u{0}b\u{202e}c\n"), "abc");
    }

    #[test]
    fn a_hostile_id_stays_one_segment() {
        assert_eq!(result_path("../x?<y>"), "/results/..%2Fx%3F%3Cy%3E");
    }
}
