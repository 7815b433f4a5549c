//! For test reports: failure is REGRESSED, skipped is INCONCLUSIVE, error is INVALID or that
//! nothing was measured.

use std::time::Duration;

use domain::gate::Verdict;
use domain::gate::verdict::Judgement;
use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{About, human, name, remarks, verdict_of_nothing};
use crate::exit::Exit;

/// Name of report and suite.
const SUITE: &str = "joulemark gate";

/// The report of a judgement.
pub(crate) fn report(judgement: &Judgement, about: &About) -> Result<String, SerializeError> {
    let mut suite = TestSuite::new(format!("{SUITE} ({})", about.setup));
    suite.set_time(Duration::try_from_secs_f64(judgement.seconds).unwrap_or_default());
    for (what, value) in &about.environment {
        suite.add_property((*what, value.as_str()));
    }
    suite.add_property(("seed", judgement.seed.as_str()));
    suite.add_property(("policy_sha256", judgement.policy_sha256.as_str()));
    for cell in &judgement.cells {
        let line = human::line(cell, judgement, true);
        // A waived cell does not fail, and its line says that it is one.
        let status = match cell.waived {
            Some(_) => TestCaseStatus::success(),
            None => status(cell.verdict, &line),
        };
        let mut case = TestCase::new(name(cell), status);
        case.set_classname(cell.model.as_str());
        let mut said = vec![line];
        said.extend(remarks(cell));
        case.set_system_out(said.join("\n"));
        suite.add_test_case(case);
    }
    for model in &judgement.quality {
        let mut case = TestCase::new(
            format!("quality {}", model.model),
            status(model.verdict, &model.said),
        );
        case.set_classname(model.model.as_str());
        case.set_system_out(model.said.as_str());
        suite.add_test_case(case);
    }
    let whole = match judgement.exit_code {
        0 | 1 | 3 => TestCaseStatus::success(),
        _ => status(Verdict::Invalid, &judgement.headline),
    };
    let mut whole = TestCase::new("the measurement is valid", whole);
    whole.set_classname(SUITE);
    whole.set_system_out(judgement.findings.join("\n"));
    suite.add_test_case(whole);
    written(suite)
}

/// The report of a gate that measured nothing.
pub(crate) fn nothing(exit: Exit, why: &str) -> Result<String, SerializeError> {
    let mut suite = TestSuite::new(SUITE);
    let mut case = TestCase::new("the gate runs", status(verdict_of_nothing(exit), why));
    case.set_classname(SUITE);
    suite.add_test_case(case);
    written(suite)
}

fn written(suite: TestSuite) -> Result<String, SerializeError> {
    let mut report = Report::new(SUITE);
    report.add_test_suite(suite);
    report.to_string()
}

fn status(verdict: Verdict, message: &str) -> TestCaseStatus {
    let mut status = match verdict {
        Verdict::Pass | Verdict::Improved => return TestCaseStatus::success(),
        Verdict::Regressed => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Inconclusive => TestCaseStatus::skipped(),
        Verdict::Invalid => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    status.set_type(verdict.as_str());
    status.set_message(message);
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::gate::render::tests::{about, cell, judgement};

    #[test]
    fn each_verdict_is_what_a_test_report_calls_it() {
        let all = [
            Verdict::Regressed,
            Verdict::Invalid,
            Verdict::Inconclusive,
            Verdict::Pass,
            Verdict::Improved,
        ];
        let report = report(&judgement(all.map(cell).into()), &about()).expect("a report");
        insta::assert_snapshot!(report);
    }

    #[test]
    fn a_waived_cell_does_not_fail_and_stays_visible() {
        let mut waived = cell(Verdict::Regressed);
        waived.waived = Some("until 2027-01-01, up to 4 %: <known>".to_owned());
        let mut judgement = judgement(vec![waived]);
        (judgement.verdict, judgement.exit_code) = (Verdict::Pass, 0);
        let report = report(&judgement, &about()).expect("a report");
        assert!(report.contains("failures=\"0\""), "{report}");
        assert!(report.contains("&lt;known&gt;"), "{report}");
    }

    #[test]
    fn a_gate_that_measured_nothing_is_an_error() {
        let report = nothing(
            Exit::Infrastructure,
            "failed to build: \u{0} no linker & co",
        )
        .expect("a report");
        assert!(report.contains("errors=\"1\""), "{report}");
        assert!(report.contains("&amp; co"), "{report}");
        let refused = nothing(Exit::Inconclusive, "12 more minutes are needed").expect("a report");
        assert!(refused.contains("<skipped"), "{refused}");
    }
}
