//! A diagnosis for a person: one line per check, what to do below it, the verdict last.

use std::fmt::Write as _;

use super::{Ability, Diagnosis, Status};

/// Writes it out, in colour if asked.
pub fn render(diagnosis: &Diagnosis, colour: bool) -> String {
    let paint = |code: &str, text: &str| {
        if colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    };
    let width = diagnosis
        .checks
        .iter()
        .map(|check| check.id.chars().count())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for check in &diagnosis.checks {
        let (code, mark) = match check.status {
            Status::Pass => ("32", "✓"),
            Status::Warn => ("33", "!"),
            Status::Fail => ("31", "✗"),
            Status::Skip => ("2", "·"),
        };
        let gap = width - check.id.chars().count();
        let _ = writeln!(
            text,
            "  {} {}{:gap$}  {}",
            paint(code, mark),
            paint("1", &check.id),
            "",
            check.evidence
        );
        for line in check.fix.iter().flat_map(|fix| fix.lines()) {
            let arrow = paint("2", &format!("→ {line}"));
            let _ = writeln!(text, "    {:width$}  {arrow}", "");
        }
    }
    let _ = writeln!(text, "\nThis machine can measure");
    let can = &diagnosis.can_measure;
    for (what, ability) in [
        ("speed", &can.speed),
        ("joules", &can.joules),
        ("quality", &can.quality),
    ] {
        let Ability { can, scope, why } = ability;
        let answer = match (can, scope) {
            (true, Some(scope)) => format!("yes ({scope})"),
            (true, None) => "yes".to_owned(),
            (false, _) => "no".to_owned(),
        };
        let answer = paint(if *can { "32" } else { "31" }, &answer);
        let _ = writeln!(text, "  {what:8} {answer}: {why}");
    }
    let of = |status| {
        let ids: Vec<&str> = diagnosis
            .checks
            .iter()
            .filter(|check| check.status == status)
            .map(|check| check.id.as_str())
            .collect();
        (!ids.is_empty()).then(|| ids.join(", "))
    };
    if let Some(ids) = of(Status::Warn) {
        let _ = writeln!(text, "What may spoil it: {ids}");
    }
    match of(Status::Fail) {
        None => text.push_str("Verdict: fit\n"),
        Some(ids) => {
            let _ = writeln!(text, "Verdict: unfit, because of {ids}");
        }
    }
    text
}
