//! How rows are called on every page, and the paths they live under.

use domain::api::ResultRow;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// `Q4_K`, or `F16, layer-pruned 25 %`.
pub(crate) fn variant(row: &ResultRow) -> String {
    if row.pruning.is_empty() || row.pruning == "none" {
        return row.quant.clone();
    }
    format!(
        "{}, {}-pruned {}\u{a0}%",
        row.quant,
        row.pruning,
        crate::format::trimmed(row.pruning_percent, 1)
    )
}

/// Model and variant in one line.
pub(crate) fn full(row: &ResultRow) -> String {
    format!("{} {}", row.model, variant(row))
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
        .filter(|c| !c.is_control() && !bidi(*c))
        .collect()
}

/// A result's page.
pub(crate) fn result_path(id: &str) -> String {
    format!("/results/{}", segment(id))
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

    #[test]
    fn what_xml_refuses_is_not_drawn() {
        assert_eq!(drawable("a\u{0}b\u{202e}c\n"), "abc");
    }

    #[test]
    fn a_hostile_id_stays_one_segment() {
        assert_eq!(result_path("../x?<y>"), "/results/..%2Fx%3F%3Cy%3E");
    }
}
