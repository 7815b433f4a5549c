//! For a job of GitHub Actions: annotations, and the outputs of a step.

use domain::gate::Verdict;
use domain::gate::verdict::Judgement;

use super::{conclusion, human, name, verdict_of_nothing};
use crate::cli::gate::Mode;
use crate::exit::Exit;

/// One workflow command for each cell that regressed and is not waived, and for answers.
pub(crate) fn annotations(judgement: &Judgement) -> Vec<String> {
    let cells = judgement
        .cells
        .iter()
        .filter(|cell| cell.verdict == Verdict::Regressed && cell.waived.is_none())
        .map(|cell| error(&name(cell), &human::line(cell, judgement, true)));
    let answers = judgement
        .quality
        .iter()
        .filter(|model| model.verdict == Verdict::Regressed)
        .map(|model| error(&format!("quality {}", model.model), &model.said));
    cells.chain(answers).collect()
}

fn error(title: &str, message: &str) -> String {
    format!("::error title={}::{}", property(title), data(message))
}

/// <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>, as the
/// toolkit escapes them: a message could otherwise end its line and begin a command of its own.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// The outputs, one `name=value` a line. Effect and MDE are percent of the worst cell. The end is the
/// program's, which is worse than the judgement's where something went wrong behind it: `trouble`.
pub(crate) fn outputs(
    judgement: &Judgement,
    (exit, trouble): (Exit, Option<&str>),
    mode: Mode,
    result: Option<&str>,
) -> String {
    let title = match trouble {
        Some(trouble) => format!("{}; but {trouble}", judgement.headline),
        None => judgement.headline.clone(),
    };
    let worst = judgement.cells.first();
    let percent = |share: Option<f64>| {
        share.map_or_else(String::new, |share| format!("{:.2}", 100.0 * share))
    };
    lines(&[
        ("verdict", judgement.verdict.as_str()),
        ("exit-code", &exit.code().to_string()),
        ("conclusion", conclusion(exit, mode)),
        ("title", &title),
        ("result-path", result.unwrap_or_default()),
        ("worst-cell", &worst.map(name).unwrap_or_default()),
        ("effect", &percent(worst.and_then(|cell| cell.effect))),
        ("mde", &percent(worst.and_then(|cell| cell.mde))),
    ])
}

/// The outputs of a gate that measured nothing.
pub(crate) fn outputs_of_nothing(exit: Exit, mode: Mode, why: &str) -> String {
    lines(&[
        ("verdict", verdict_of_nothing(exit).as_str()),
        ("exit-code", &exit.code().to_string()),
        ("conclusion", conclusion(exit, mode)),
        ("title", why),
        ("result-path", ""),
        ("worst-cell", ""),
        ("effect", ""),
        ("mde", ""),
    ])
}

fn lines(outputs: &[(&str, &str)]) -> String {
    // A value must not begin a line of its own, which would be another output.
    let line =
        |(name, value): &(&str, &str)| format!("{name}={}\n", value.replace(['\r', '\n'], " "));
    outputs.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::gate::render::tests::{cell, judgement};

    #[test]
    fn only_what_regressed_is_annotated() {
        let mut waived = cell(Verdict::Regressed);
        waived.waived = Some("known".to_owned());
        let others = [Verdict::Pass, Verdict::Inconclusive, Verdict::Invalid].map(cell);
        let mut cells = vec![cell(Verdict::Regressed), waived];
        cells.extend(others);
        let said = annotations(&judgement(cells));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("::error title=decode mini pp64/tg64::decode"));
    }

    #[test]
    fn a_hostile_label_is_one_annotation_and_one_output() {
        let mut hostile = cell(Verdict::Regressed);
        hostile.label = "x\n::set-env name=A::b, 100%: y\r\nverdict=PASS".to_owned();
        let judgement = judgement(vec![hostile]);
        let said = annotations(&judgement).remove(0);
        assert!(!said.contains(['\n', '\r']), "{said}");
        assert!(said.contains("100%25"), "{said}");
        let outputs = outputs(&judgement, (Exit::No, None), Mode::Required, None);
        assert_eq!(outputs.lines().count(), 8, "{outputs}");
        assert!(outputs.starts_with("verdict=REGRESSED\nexit-code=1\nconclusion=failure\n"));
    }

    #[test]
    fn an_advisory_gate_is_neutral_and_keeps_its_exit_code() {
        let judgement = judgement(vec![cell(Verdict::Regressed)]);
        let outputs = outputs(
            &judgement,
            (Exit::No, None),
            Mode::Advisory,
            Some("result.json"),
        );
        insta::assert_snapshot!(outputs);
    }

    #[test]
    fn a_pass_that_could_not_be_kept_is_no_success() {
        let judgement = judgement(vec![cell(Verdict::Pass)]);
        let trouble = Some("failed to write gate.xml: the disk is full");
        let outputs = outputs(
            &judgement,
            (Exit::Infrastructure, trouble),
            Mode::Required,
            None,
        );
        assert!(outputs.starts_with("verdict=PASS\nexit-code=5\nconclusion=failure\n"));
        assert!(
            outputs.contains("; but failed to write gate.xml"),
            "{outputs}"
        );
    }
}
