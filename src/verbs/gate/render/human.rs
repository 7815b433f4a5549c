//! For a person at a terminal: the headline, one line per cell and metric, worst first.

use std::fmt::Write as _;

use domain::gate::Verdict;
use domain::gate::verdict::{CellJudgement, Judgement, QualityJudgement};

use super::{
    About, badness, costs, direction, evidence, interval, margins, measured, name, percent,
    remarks, result, time,
};

/// The whole answer, without a line break at its end.
pub(crate) fn text(judgement: &Judgement, about: &About, has_colour: bool) -> String {
    let mut text = String::new();
    let mut add = |line: &str| {
        let _ = writeln!(text, "{line}");
    };
    let pen = Pen { has_colour };
    if about.has_verdict() {
        add(&pen.headline(judgement));
        add("");
    }
    for cell in &judgement.cells {
        add(&pen.cell(cell, judgement, about.has_verdict()));
        // A comparison says how the two differ, and what it differs by is its answer.
        let more = if about.has_verdict() {
            remarks(cell)
        } else {
            costs(cell).into_iter().chain(cell.reason.clone()).collect()
        };
        for remark in more {
            add(&format!("    {remark}"));
        }
    }
    let mut quality: Vec<&QualityJudgement> = judgement.quality.iter().collect();
    quality.sort_by_key(|model| std::cmp::Reverse(badness(model.verdict)));
    for model in quality {
        add(&format!(
            "quality {} {}: {}",
            model.model,
            pen.verdict(model.verdict),
            model.said
        ));
    }
    for (kind, said) in [
        ("against it", &judgement.findings),
        ("note", &judgement.notes),
    ] {
        for sentence in said {
            add(&format!("{kind}: {sentence}"));
        }
    }
    add("");
    for (at, arm) in ["base     ", "candidate"].into_iter().enumerate() {
        add(&match &about.typed[at] {
            Some(typed) => format!("{arm}  {typed} ({})", about.arms[at]),
            None => format!("{arm}  {}", about.arms[at]),
        });
    }
    add(&format!(
        "measured   {} on {}",
        measured(judgement),
        about.setup
    ));
    if about.has_verdict() {
        add(&format!("decided by {}", margins(judgement)));
        add(&format!(
            "policy     {} ({})",
            judgement.policy_sha256, about.policy
        ));
    }
    add(&format!("seed       {}", judgement.seed));
    if let Some(rate) = about.false_alarms.as_ref().filter(|_| about.has_verdict()) {
        add(&format!("A/A        {rate}"));
    }
    let _ = write!(text, "result     {}", result(about));
    text
}

/// One cell and metric in one line.
pub(crate) fn line(cell: &CellJudgement, judgement: &Judgement, has_verdict: bool) -> String {
    Pen { has_colour: false }.cell(cell, judgement, has_verdict)
}

/// Writes verdicts with or without colour.
struct Pen {
    has_colour: bool,
}

impl Pen {
    fn cell(&self, cell: &CellJudgement, judgement: &Judgement, has_verdict: bool) -> String {
        let mut words = vec![name(cell)];
        if cell.effect.is_some() {
            words.push(percent(cell.effect));
            words.push(interval(cell.low, cell.high));
        }
        words.extend(direction(cell).map(str::to_owned));
        if has_verdict {
            words.push(self.verdict(cell.verdict));
        }
        let mut evidence = evidence(cell);
        evidence.push(time(judgement.seconds));
        words.push(format!("({})", evidence.join(", ")));
        words.join(" ")
    }

    fn headline(&self, judgement: &Judgement) -> String {
        let word = judgement.verdict.as_str();
        match judgement.headline.strip_prefix(word) {
            Some(rest) => format!("{}{rest}", self.verdict(judgement.verdict)),
            None => format!(
                "{}: {}",
                self.verdict(judgement.verdict),
                judgement.headline
            ),
        }
    }

    fn verdict(&self, verdict: Verdict) -> String {
        if !self.has_colour {
            return verdict.as_str().to_owned();
        }
        let colour = match verdict {
            Verdict::Pass | Verdict::Improved => 32,
            Verdict::Regressed => 31,
            Verdict::Inconclusive => 33,
            Verdict::Invalid => 35,
        };
        format!("\x1b[1;{colour}m{}\x1b[0m", verdict.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::gate::render::tests::{about, cell, judgement};

    #[test]
    fn the_line_says_all_at_a_glance() {
        let judgement = judgement(vec![cell(Verdict::Regressed)]);
        insta::assert_snapshot!(
            line(&judgement.cells[0], &judgement, true),
            @"decode mini pp64/tg64 +2.4% [+1.6,+3.1] slower REGRESSED (16 blocks, sd 0.9%, MDE 2%, 7m40s)"
        );
    }

    #[test]
    fn a_person_reads_the_verdict_first_and_the_evidence_below() {
        let judgement = judgement(vec![
            cell(Verdict::Regressed),
            cell(Verdict::Inconclusive),
            cell(Verdict::Pass),
        ]);
        insta::assert_snapshot!(text(&judgement, &about(), false));
    }

    #[test]
    fn arms_are_told_apart_as_they_were_typed_and_only_here() {
        let judgement = judgement(vec![cell(Verdict::Pass)]);
        let about = About {
            arms: [
                "python3, program 01".to_owned(),
                "python3, program 01".to_owned(),
            ],
            typed: [Some("python3 old.py".to_owned()), None],
            ..about()
        };
        let said = text(&judgement, &about, false);
        assert!(
            said.contains("base       python3 old.py (python3, program 01)\n"),
            "{said}"
        );
        assert!(said.contains("candidate  python3, program 01\n"), "{said}");
        let comment = super::super::markdown::comment(&judgement, &about);
        assert!(!comment.contains("old.py"), "{comment}");
    }

    #[test]
    fn a_comparison_has_no_verdict() {
        let judgement = judgement(vec![cell(Verdict::Regressed)]);
        let about = About {
            purpose: domain::gate::record::Purpose::Compare,
            ..about()
        };
        let text = text(&judgement, &about, false);
        assert!(!text.contains("REGRESSED"), "{text}");
        assert!(text.contains("3.21 ms/token → 3.29 ms/token"), "{text}");
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        let judgement = judgement(vec![cell(Verdict::Regressed)]);
        assert!(!text(&judgement, &about(), false).contains('\x1b'));
        assert!(text(&judgement, &about(), true).contains("\x1b[1;31mREGRESSED\x1b[0m"));
    }

    #[test]
    fn a_cell_that_was_not_measured_shows_no_number() {
        let mut cell = cell(Verdict::Invalid);
        (cell.effect, cell.low, cell.high) = (None, None, None);
        (cell.block_sd, cell.mde, cell.blocks) = (None, None, 0);
        let judgement = judgement(vec![cell]);
        insta::assert_snapshot!(
            line(&judgement.cells[0], &judgement, true),
            @"decode mini pp64/tg64 INVALID (0 blocks, 7m40s)"
        );
    }
}
