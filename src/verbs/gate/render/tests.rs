//! Judgements made by hand.

use domain::gate::verdict::{Confirmed, QualityJudgement};

use super::*;

/// A cell that came to a verdict.
pub(crate) fn cell(verdict: Verdict) -> CellJudgement {
    let (effect, low, high) = match verdict {
        Verdict::Regressed => (0.024, 0.016, 0.031),
        Verdict::Improved => (-0.05, -0.061, -0.042),
        Verdict::Inconclusive | Verdict::Invalid => (0.009, -0.004, 0.027),
        Verdict::Pass => (-0.0003, -0.008, 0.0079),
    };
    let is_regressed = verdict == Verdict::Regressed;
    CellJudgement {
        label: "mini pp64/tg64".to_owned(),
        model: "mini".to_owned(),
        metric: Metric::Decode,
        verdict,
        reason: (verdict == Verdict::Invalid).then(|| "another unit of work".to_owned()),
        effect: Some(effect),
        low: Some(low),
        high: Some(high),
        blocks: 16,
        block_sd: Some(0.009),
        mde: Some(0.02),
        practical_zero: 0.005,
        tolerance: 0.02,
        small_regression: false,
        minutes_to_settle: (verdict == Verdict::Inconclusive).then_some(14.0),
        waived: None,
        confirmation: is_regressed.then_some(Confirmed {
            verdict: Verdict::Regressed,
            effect: 0.022,
            low: Some(0.011),
            high: Some(0.03),
            blocks: 16,
        }),
        base_cost: Some(3_210_000.0),
        candidate_cost: Some(3_210_000.0 * (1.0 + effect)),
    }
}

/// What these cells come to, with answers that are the same.
pub(crate) fn judgement(cells: Vec<CellJudgement>) -> Judgement {
    let worst = cells
        .iter()
        .map(|cell| cell.verdict)
        .max_by_key(|v| badness(*v));
    let verdict = worst.unwrap_or(Verdict::Invalid);
    Judgement {
        verdict,
        exit_code: match verdict {
            Verdict::Pass | Verdict::Improved => 0,
            Verdict::Regressed => 1,
            Verdict::Inconclusive => 3,
            Verdict::Invalid => 4,
        },
        headline: format!("{}: one sentence about the worst", verdict.as_str()),
        multiplicity: cells.len() as u32,
        cells,
        quality: vec![QualityJudgement {
            model: "mini".to_owned(),
            verdict: Verdict::Pass,
            rung: Some(1),
            said: "identical on 12 texts".to_owned(),
            dnll_nats: None,
            kld_nats: None,
            kld_p999_nats: None,
            top1_agreement: None,
            items: None,
        }],
        findings: Vec::new(),
        notes: vec!["the policy is the built-in one".to_owned()],
        blocks: 16,
        void_blocks: 1,
        seconds: 460.0,
        alpha: 0.05,
        beta: 0.05,
        seed: "5e".repeat(32),
        policy_sha256: "90".repeat(32),
    }
}

/// What it is about.
pub(crate) fn about() -> About {
    About {
        purpose: Purpose::Gate,
        setup: "mac-mini-m4-16gb".to_owned(),
        arms: ["old, program 0123456789ab".to_owned(), "new".to_owned()],
        typed: [None, None],
        policy: "built in".to_owned(),
        environment: vec![("machine", "a chip, 4 cores".to_owned())],
        reproduce: "joulemark gate --base-ref 0123456789ab".to_owned(),
        content_id: Some(ContentId([7; 32])),
        false_alarms: Some("0 of 30 live gates REGRESSED (95 %: 0 to 11.6 %)".to_owned()),
    }
}

#[test]
fn numbers_are_written_as_people_write_them() {
    assert_eq!(percent(Some(0.024)), "+2.4%");
    assert_eq!(percent(Some(-0.000_3)), "+0.0%");
    assert_eq!(percent(None), "unknown");
    assert_eq!(interval(None, Some(0.031)), "[-∞,+3.1]");
    assert_eq!(share(0.02), "2%");
    assert_eq!(share(0.009), "0.9%");
    assert_eq!(time(460.0), "7m40s");
    assert_eq!(time(59.6), "1m00s");
    assert_eq!(time(7_260.0), "2h01m");
    assert_eq!(cost(Metric::Decode, 3_210_000.0), "3.21 ms/token");
    assert_eq!(cost(Metric::PeakBytes, 123.0 * 1_048_576.0), "123 MiB");
    assert_eq!(cost(Metric::Energy, 12_300.0), "12.3 mJ/token");
    assert_eq!(cost(Metric::Time, 0.5), "0.50 ns/unit");
}

#[test]
fn a_direction_is_named_only_where_it_is_shown() {
    assert_eq!(direction(&cell(Verdict::Regressed)), Some("slower"));
    assert_eq!(direction(&cell(Verdict::Improved)), Some("faster"));
    assert_eq!(direction(&cell(Verdict::Inconclusive)), None);
}

#[test]
fn no_mode_makes_a_regression_a_success() {
    assert_eq!(conclusion(Exit::No, Mode::Required), "failure");
    assert_eq!(conclusion(Exit::No, Mode::Advisory), "neutral");
    assert_eq!(conclusion(Exit::Fine, Mode::Required), "success");
    assert_eq!(
        conclusion(Exit::Infrastructure, Mode::Required),
        "failure",
        "a pass that could not be kept"
    );
}
