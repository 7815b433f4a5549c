//! For a pull request: one comment, found again by its hidden marker, at most as long as GitHub takes.
//!
//! Labels come from whoever wrote the policy or the weights file: they are shown as code with every
//! mark of punctuation spelled out, so that none is Markdown, HTML, a mention or a link.

use std::fmt::Write as _;

use domain::gate::verdict::{CellJudgement, Judgement, QualityJudgement};
use domain::gate::{Metric, Verdict};

use super::{
    About, badness, costs, direction, evidence, interval, margins, measured, name, percent,
    remarks, result,
};
use crate::exit::Exit;

/// Longest comment, in bytes; GitHub counts characters, which are never more.
pub(crate) const MAX_BYTES: usize = 65_535;

/// What the titles of the tables and the count of hidden rows take.
const TITLES_BYTES: usize = 1_000;

/// Longest sentence or label, in bytes as it is written, and most sentences of one kind. All of
/// them together leave room for rows.
const MAX_SENTENCE_BYTES: usize = 800;
const MAX_SENTENCES: usize = 10;

/// The comment.
pub(crate) fn comment(judgement: &Judgement, about: &About) -> String {
    let mut text = format!("<!-- joulemark gate {} -->\n", marker(&about.setup));
    let _ = writeln!(
        text,
        "### joulemark {}\n",
        if about.has_verdict() {
            format!("gate: {}", judgement.verdict.as_str())
        } else {
            "compare".to_owned()
        }
    );
    if about.has_verdict() {
        let _ = writeln!(text, "{}\n", sentence(&judgement.headline));
    }
    axes(&mut text, judgement, about);
    sentences(&mut text, "Against the measurement", &judgement.findings);
    let mut tail = String::new();
    answers(&mut tail, &judgement.quality);
    sentences(&mut tail, "Worth knowing", &judgement.notes);
    foot(&mut tail, judgement, about);
    let budget = MAX_BYTES.saturating_sub(text.len() + tail.len() + TITLES_BYTES);
    cells(&mut text, judgement, about, budget);
    text.push_str(&tail);
    debug_assert!(text.len() <= MAX_BYTES, "{} bytes", text.len());
    text
}

/// The short comment of a gate that measured nothing.
pub(crate) fn nothing(exit: Exit, why: &str) -> String {
    // Only what was measured regresses.
    let what = if exit == Exit::No {
        "the result is lost"
    } else {
        "nothing was measured"
    };
    format!(
        "### joulemark gate: {what}\n\n{}\n\nExit code {}.\n",
        sentence(why),
        exit.code()
    )
}

/// Speed, memory, energy, answers: base → candidate of the worst cell of each.
fn axes(text: &mut String, judgement: &Judgement, about: &About) {
    let verdict_head = if about.has_verdict() {
        " verdict |"
    } else {
        ""
    };
    let verdict_rule = if about.has_verdict() { "---|" } else { "" };
    let _ = writeln!(text, "| axis | base → candidate | change |{verdict_head}");
    let _ = writeln!(text, "|---|---|---|{verdict_rule}");
    let mut row = |axis: &str, words: String, change: String, verdict: Option<Verdict>| {
        let verdict = match (about.has_verdict(), verdict) {
            (true, Some(verdict)) => format!(" {} |", word(verdict)),
            (true, None) => " – |".to_owned(),
            (false, _) => String::new(),
        };
        let _ = writeln!(text, "| {axis} | {words} | {change} |{verdict}");
    };
    let speed: &[Metric] = &[Metric::Decode, Metric::Prefill, Metric::Ttft, Metric::Time];
    for (axis, metrics) in [
        ("speed", speed),
        ("memory", &[Metric::PeakBytes][..]),
        ("energy", &[Metric::Energy][..]),
    ] {
        let worst = judgement
            .cells
            .iter()
            .filter(|cell| metrics.contains(&cell.metric))
            .max_by(|a, b| {
                let effect = |cell: &CellJudgement| cell.effect.unwrap_or(f64::NEG_INFINITY);
                badness(a.verdict)
                    .cmp(&badness(b.verdict))
                    .then(effect(a).total_cmp(&effect(b)))
            });
        match worst {
            Some(cell) => {
                let words = costs(cell).unwrap_or_else(|| "not measured".to_owned());
                let change = change(cell);
                row(
                    axis,
                    format!("{words} ({})", code(&name(cell))),
                    change,
                    Some(cell.verdict),
                );
            }
            // Memory is a cell like any other; the three axes are always there.
            None if axis == "memory" => {}
            None => row(axis, "not gated".to_owned(), String::new(), None),
        }
    }
    let worst = judgement
        .quality
        .iter()
        .max_by_key(|model| badness(model.verdict));
    match worst {
        Some(model) => row(
            "quality",
            format!("{} ({})", sentence(&model.said), code(&model.model)),
            String::new(),
            Some(model.verdict),
        ),
        None => row("quality", "not gated".to_owned(), String::new(), None),
    }
    text.push('\n');
}

/// Every cell, worst first; what passed is folded, what does not fit is counted.
fn cells(text: &mut String, judgement: &Judgement, about: &About, mut budget: usize) {
    let (passed, open): (Vec<_>, Vec<_>) = judgement
        .cells
        .iter()
        .partition(|cell| about.has_verdict() && badness(cell.verdict) <= badness(Verdict::Pass));
    let mut hidden = 0;
    if !open.is_empty() {
        hidden += table(text, &open, about, &mut budget);
        text.push('\n');
    }
    if !passed.is_empty() {
        let count = passed.len();
        let cells = if count == 1 { "cell" } else { "cells" };
        let _ = writeln!(text, "<details><summary>{count} {cells} passed</summary>\n");
        hidden += table(text, &passed, about, &mut budget);
        text.push_str("\n</details>\n\n");
    }
    if hidden > 0 {
        let _ = writeln!(
            text,
            "{hidden} of {} rows do not fit here; the result has them all.\n",
            judgement.cells.len()
        );
    }
}

/// A table; how many rows did not fit the budget of bytes, which is spent.
fn table(text: &mut String, cells: &[&CellJudgement], about: &About, budget: &mut usize) -> usize {
    let verdict_head = if about.has_verdict() {
        " verdict |"
    } else {
        ""
    };
    let verdict_rule = if about.has_verdict() { "---|" } else { "" };
    let _ = writeln!(
        text,
        "| cell | base → candidate | change |{verdict_head} evidence |"
    );
    let _ = writeln!(text, "|---|---|---|{verdict_rule}---|");
    for (shown, cell) in cells.iter().enumerate() {
        let mut evidence = evidence(cell);
        if about.has_verdict() {
            evidence.extend(remarks(cell));
        }
        let verdict = if about.has_verdict() {
            format!(" {} |", word(cell.verdict))
        } else {
            String::new()
        };
        let row = format!(
            "| {} | {} | {} |{verdict} {} |\n",
            code(&name(cell)),
            costs(cell).unwrap_or_default(),
            change(cell),
            sentence(&evidence.join("; ")),
        );
        if row.len() > *budget {
            return cells.len() - shown;
        }
        *budget -= row.len();
        text.push_str(&row);
    }
    0
}

fn change(cell: &CellJudgement) -> String {
    if cell.effect.is_none() {
        return String::new();
    }
    let direction = direction(cell).map_or_else(String::new, |word| format!(" {word}"));
    format!(
        "{} {}{direction}",
        percent(cell.effect),
        interval(cell.low, cell.high)
            .replace('[', "\\[")
            .replace(']', "\\]"),
    )
}

fn answers(text: &mut String, quality: &[QualityJudgement]) {
    if quality.len() < 2 {
        return;
    }
    let _ = writeln!(text, "<details><summary>Answers, by model</summary>\n");
    for model in quality.iter().take(MAX_SENTENCES) {
        let _ = writeln!(
            text,
            "- {} {}: {}",
            word(model.verdict),
            code(&model.model),
            sentence(&model.said)
        );
    }
    if let Some(hidden @ 1..) = quality.len().checked_sub(MAX_SENTENCES) {
        let _ = writeln!(text, "- and {hidden} more in the result");
    }
    text.push_str("\n</details>\n\n");
}

fn sentences(text: &mut String, title: &str, said: &[String]) {
    if said.is_empty() {
        return;
    }
    let _ = writeln!(text, "**{title}**\n");
    for one in said.iter().take(MAX_SENTENCES) {
        let _ = writeln!(text, "- {}", sentence(one));
    }
    if let Some(hidden @ 1..) = said.len().checked_sub(MAX_SENTENCES) {
        let _ = writeln!(text, "- and {hidden} more in the result");
    }
    text.push('\n');
}

fn foot(text: &mut String, judgement: &Judgement, about: &About) {
    let _ = writeln!(
        text,
        "<details><summary>Environment and how to repeat it</summary>\n"
    );
    let mut row = |what: &str, words: &str| {
        let _ = writeln!(text, "- {what}: {}", sentence(words));
    };
    row("base", &about.arms[0]);
    row("candidate", &about.arms[1]);
    for (what, words) in about.environment.iter().take(MAX_SENTENCES) {
        row(what, words);
    }
    row("measured", &measured(judgement));
    if about.has_verdict() {
        row("decided by", &margins(judgement));
        let policy = format!("{} ({})", judgement.policy_sha256, about.policy);
        row("policy SHA-256", &policy);
    }
    row("seed", &judgement.seed);
    if let Some(rate) = about.false_alarms.as_ref().filter(|_| about.has_verdict()) {
        row("gates of one arm against itself", rate);
    }
    row("result", &result(about));
    let _ = writeln!(text, "\n{}\n", code(&about.reproduce));
    text.push_str("</details>\n");
    if about.has_verdict() {
        text.push_str(
            "\nPASS means: shown to be no worse than the tolerance, for these two programs on this machine in \
             this run. It does not mean that nothing changed.\n",
        );
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Improved => "IMPROVED",
        Verdict::Regressed => "**REGRESSED**",
        Verdict::Inconclusive => "INCONCLUSIVE",
        Verdict::Invalid => "**INVALID**",
    }
}

/// A label for a hidden comment: nothing in it can end one.
fn marker(setup: &str) -> String {
    let safe = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ' ');
    setup
        .chars()
        .map(|c| if safe(&c) { c } else { '-' })
        .take(80)
        .collect::<String>()
        // Two hyphens may not stand in a comment of HTML.
        .replace("--", "-.")
}

/// Hostile text as code. Inside the element Markdown still reads marks, so each is spelled out as a
/// number, which by `CommonMark` is never structure; mentions are not read in code.
fn code(text: &str) -> String {
    let mut safe = String::from("<code>");
    for c in text.chars() {
        if safe.len() > MAX_SENTENCE_BYTES {
            safe.push('…');
            break;
        }
        if c.is_alphanumeric() || matches!(c, ' ' | '-' | '/' | '=' | ',') {
            safe.push(c);
        } else {
            let _ = write!(safe, "&#{};", u32::from(c));
        }
    }
    safe.push_str("</code>");
    safe
}

/// A sentence of ours that may hold hostile labels: readable, and nothing in it is structure.
fn sentence(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        if safe.len() > MAX_SENTENCE_BYTES {
            safe.push('…');
            break;
        }
        match c {
            '\n' | '\r' | '\t' => safe.push(' '),
            '&' | '<' | '>' | '`' | '*' | '_' | '[' | ']' | '|' | '\\' | '~' | '!' => {
                let _ = write!(safe, "&#{};", u32::from(c));
            }
            // A mark of no width behind them: GitHub links users, issues and addresses only after
            // Markdown was read.
            '@' | '#' => {
                let _ = write!(safe, "{c}\u{200b}");
            }
            ':' => safe.push_str(":\u{2060}"),
            _ => safe.push(c),
        }
    }
    safe.replace(":\u{2060} ", ": ")
        .replace("www.", "www\u{200b}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::gate::render::tests::{about, cell, judgement};

    #[test]
    fn a_comment_tells_the_worst_first_and_folds_what_passed() {
        let all = [
            Verdict::Regressed,
            Verdict::Inconclusive,
            Verdict::Pass,
            Verdict::Improved,
        ];
        let comment = comment(&judgement(all.map(cell).into()), &about());
        assert!(comment.starts_with("<!-- joulemark gate mac-mini-m4-16gb -->\n"));
        insta::assert_snapshot!(comment);
    }

    #[test]
    fn hostile_labels_are_text() {
        let label =
            "a|b` <img src=x> @maintainer #1 [l](http://e.example) --> **x** &amp; www.e.example";
        let mut hostile = cell(Verdict::Regressed);
        hostile.label = label.to_owned();
        hostile.reason = Some(label.to_owned());
        let mut judgement = judgement(vec![hostile]);
        judgement.headline = format!("REGRESSED: {label}");
        judgement.quality[0].said = label.to_owned();
        let about = About {
            setup: "--> <script>".to_owned(),
            arms: [label.to_owned(), label.to_owned()],
            reproduce: label.to_owned(),
            ..about()
        };
        let comment = comment(&judgement, &about);
        for bad in ["<img", "<script", "@m", "#1 ", "](", "://", "www.e", "`"] {
            assert!(!comment.contains(bad), "{bad} in {comment}");
        }
        assert_eq!(
            comment.matches("-->").count(),
            1,
            "only the marker's own end"
        );
        let columns = |line: &&str| line.starts_with('|') && line.matches('|').count() != 5;
        assert_eq!(
            comment.lines().filter(columns).count(),
            3,
            "only the table of six columns"
        );
    }

    #[test]
    fn rows_that_do_not_fit_are_counted() {
        let long = |verdict| {
            let mut cell = cell(verdict);
            cell.label = "`".repeat(256);
            cell
        };
        let mut cells = vec![long(Verdict::Regressed); 1_000];
        cells.extend(vec![long(Verdict::Pass); 536]);
        let mut judgement = judgement(cells);
        judgement.findings = vec!["<".repeat(600); 100];
        judgement.notes = vec!["<".repeat(600); 100];
        let about = About {
            reproduce: "<".repeat(1_000),
            environment: vec![("machine", "<".repeat(256)); 64],
            ..about()
        };
        let comment = comment(&judgement, &about);
        assert!(comment.len() <= MAX_BYTES, "{}", comment.len());
        assert!(comment.contains("of 1536 rows do not fit"), "{comment}");
        assert!(comment.trim_end().ends_with("nothing changed."));
    }

    #[test]
    fn a_comparison_has_no_verdict_column() {
        let about = About {
            purpose: domain::gate::record::Purpose::Compare,
            ..about()
        };
        let comment = comment(&judgement(vec![cell(Verdict::Regressed)]), &about);
        assert!(!comment.contains("REGRESSED"), "{comment}");
        assert!(!comment.contains("passed"), "{comment}");
    }

    #[test]
    fn a_gate_that_measured_nothing_says_so() {
        let text = nothing(Exit::Infrastructure, "failed to build: <oops>");
        assert!(text.contains("nothing was measured") && text.contains("&#60;oops"));
    }
}
