//! What a gate came to, as people, pull requests, test reports and programs read it.
//!
//! Renderers are pure: a judgement and what it is about come in, text goes out. Labels are hostile
//! text; each format escapes them in its own way.

use domain::gate::record::{ArmFacts, GateRecord, PolicyOrigin, Purpose, SeedOrigin};
use domain::gate::verdict::{CellJudgement, Judgement};
use domain::gate::{Metric, Verdict};
use domain::ids::ContentId;
use domain::text::Name;

use crate::cli::gate::Mode;
use crate::exit::Exit;

pub(crate) mod github;
pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod junit;
pub(crate) mod markdown;
pub(crate) mod plan;

/// What a judgement is about, in words.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// What was asked.
    pub(crate) purpose: Purpose,
    /// The setup, or the machine's fingerprint.
    pub(crate) setup: String,
    /// The arms: base and candidate.
    pub(crate) arms: [String; 2],
    /// What was typed for them: for the person who typed it, and nobody else.
    pub(crate) typed: [Option<String>; 2],
    /// Where the policy was read.
    pub(crate) policy: String,
    /// The environment: what, and what it is.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// The command that measures the same again.
    pub(crate) reproduce: String,
    /// The sealed result; absent where it could not be sealed.
    pub(crate) content_id: Option<ContentId>,
    /// How often gates of one arm against itself said REGRESSED on this setup, in words.
    pub(crate) false_alarms: Option<String>,
}

impl About {
    /// What a record is about.
    pub(crate) fn of(record: &GateRecord, content_id: Option<ContentId>) -> Self {
        Self {
            purpose: record.purpose,
            setup: setup(record),
            arms: [arm(&record.base), arm(&record.candidate)],
            typed: [None, None],
            policy: policy(record),
            environment: environment(record),
            reproduce: reproduce(record),
            content_id,
            false_alarms: None,
        }
    }

    /// Whether verdicts are spoken: a comparison has none.
    pub(crate) fn has_verdict(&self) -> bool {
        self.purpose != Purpose::Compare
    }
}

fn setup(record: &GateRecord) -> String {
    if let Some(slug) = &record.setup.slug {
        return slug.to_string();
    }
    let hosts = record.hosts.first();
    hosts.map_or_else(
        || "unknown machine".to_owned(),
        |host| format!("machine-{}", short(&host.fingerprint.to_string(), 8)),
    )
}

fn arm(facts: &ArmFacts) -> String {
    let mut words = vec![facts.label.to_string()];
    let named_by_commit = |commit: &str| facts.label.as_str().contains(short(commit, 7));
    if let Some(commit) = &facts.commit
        && !named_by_commit(commit.as_str())
    {
        words.push(format!("commit {}", short(commit.as_str(), 12)));
    }
    if let Some(binary) = &facts.binary_sha256 {
        words.push(format!("program {}", short(&binary.to_string(), 12)));
    }
    words.join(", ")
}

fn policy(record: &GateRecord) -> String {
    let commit = record.policy.commit.as_ref();
    match record.policy.origin {
        PolicyOrigin::BaseRef => commit.map_or_else(
            || "of the base ref".to_owned(),
            |commit| format!("of the base ref at {}", short(commit.as_str(), 12)),
        ),
        PolicyOrigin::File => "of a file that was named".to_owned(),
        PolicyOrigin::BuiltIn => "built in".to_owned(),
        PolicyOrigin::Typed => "with what was typed".to_owned(),
    }
}

fn environment(record: &GateRecord) -> Vec<(&'static str, String)> {
    let mut rows = vec![("setup", setup(record))];
    for host in &record.hosts {
        let chip = host
            .chip
            .as_ref()
            .map_or("unknown processor", |c| c.as_str());
        let mut words = format!("{chip}, {} cores", host.cpu_cores);
        if host.is_virtual == Some(true) {
            words.push_str(", a virtual machine");
        }
        rows.push(("machine", words));
        let parts = [
            Some(&host.os),
            host.os_version.as_ref(),
            host.kernel.as_ref(),
        ];
        let parts: Vec<&str> = parts.into_iter().flatten().map(Name::as_str).collect();
        rows.push(("system", parts.join(" ")));
        for gpu in &host.gpus {
            rows.push(("graphics", gpu.name.to_string()));
        }
    }
    for (what, arm) in [
        ("base engine", &record.base),
        ("candidate engine", &record.candidate),
    ] {
        if let Some(engine) = &arm.engine {
            let words = format!("{} {} on {}", engine.name, engine.version, engine.backend);
            rows.push((what, words));
        }
    }
    rows.push(("runner", format!("joulemark {}", record.runner.version)));
    rows
}

/// Arms that were built from commits are built so again; what was typed stays with who typed it.
fn reproduce(record: &GateRecord) -> String {
    let seed = match record.seed_origin {
        SeedOrigin::Given => format!(" --seed {}", record.seed),
        SeedOrigin::System | SeedOrigin::Collector => String::new(),
    };
    match (&record.base.commit, &record.candidate.commit) {
        (Some(base), Some(candidate)) => format!(
            "git checkout {} && joulemark gate --base-ref {}{seed}",
            short(candidate.as_str(), 12),
            short(base.as_str(), 12),
        ),
        (Some(base), None) => format!(
            "joulemark gate --base-ref {}{seed}",
            short(base.as_str(), 12)
        ),
        _ => format!("joulemark gate --base 'BASE' --candidate 'CANDIDATE'{seed}"),
    }
}

/// What the end of a gate is to a check: `success`, `failure`, or `neutral`, which counts as passing.
pub(crate) fn conclusion(exit: Exit, mode: Mode) -> &'static str {
    match (exit, mode) {
        (Exit::Fine, _) => "success",
        (_, Mode::Required) => "failure",
        (_, Mode::Advisory) => "neutral",
    }
}

/// What a gate comes to that ended before anything was measured: never a pass.
pub(crate) fn verdict_of_nothing(exit: Exit) -> Verdict {
    match exit {
        Exit::Inconclusive => Verdict::Inconclusive,
        // Of what was recovered.
        Exit::No => Verdict::Regressed,
        _ => Verdict::Invalid,
    }
}

/// How bad a verdict is; greater is worse.
pub(crate) fn badness(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Improved => 0,
        Verdict::Pass => 1,
        Verdict::Inconclusive => 2,
        Verdict::Invalid => 3,
        Verdict::Regressed => 4,
    }
}

/// The sealed result's id, or that there is none.
pub(crate) fn result(about: &About) -> String {
    about
        .content_id
        .map_or_else(|| "not sealed".to_owned(), |id| id.to_string())
}

/// The first characters of a digest.
pub(crate) fn short(text: &str, length: usize) -> &str {
    text.get(..length).unwrap_or(text)
}

/// `+2.4%`; `unknown` where there is none.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(
        || "unknown".to_owned(),
        |share| format!("{}%", signed(share)),
    )
}

/// `0.9%`, of what has no sign.
pub(crate) fn share(share: f64) -> String {
    format!("{}%", trimmed(100.0 * share))
}

/// `[+1.6,+3.1]`, in percent; a side without a limit is infinite.
pub(crate) fn interval(low: Option<f64>, high: Option<f64>) -> String {
    let side = |limit: Option<f64>, none: &str| limit.map_or_else(|| none.to_owned(), signed);
    format!("[{},{}]", side(low, "-∞"), side(high, "+∞"))
}

fn signed(share: f64) -> String {
    let percent = (1000.0 * share).round() / 10.0;
    // Not -0.0.
    format!("{:+.1}", percent + 0.0)
}

/// One decimal, unless it is a whole number.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// `7m40s`.
pub(crate) fn time(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}s"),
        (h, m, _) => format!("{h}h{m:02}m"),
    }
}

/// In which direction it is shown to differ, if it is.
pub(crate) fn direction(cell: &CellJudgement) -> Option<&'static str> {
    if cell.low.is_some_and(|low| low > 0.0) {
        Some(cell.metric.worse())
    } else if cell.high.is_some_and(|high| high < 0.0) {
        Some(cell.metric.better())
    } else {
        None
    }
}

/// `decode mini pp64/tg64`.
pub(crate) fn name(cell: &CellJudgement) -> String {
    format!("{} {}", cell.metric.as_str(), cell.label)
}

/// A cost in the unit in which people think of it.
pub(crate) fn cost(metric: Metric, value: f64) -> String {
    let scaled = |steps: &[(f64, &str)], per: &str| {
        let (size, unit) = steps
            .iter()
            .copied()
            .find(|(size, _)| value >= *size)
            .unwrap_or(steps[steps.len() - 1]);
        let value = value / size;
        let decimals = match value {
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        format!("{value:.decimals$} {unit}{per}")
    };
    let nanoseconds = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
    match metric {
        Metric::Decode | Metric::Prefill => scaled(&nanoseconds, "/token"),
        Metric::Time => scaled(&nanoseconds, "/unit"),
        Metric::Ttft => scaled(&nanoseconds, ""),
        Metric::PeakBytes => scaled(
            &[
                (1_073_741_824.0, "GiB"),
                (1_048_576.0, "MiB"),
                (1024.0, "KiB"),
                (1.0, "bytes"),
            ],
            "",
        ),
        Metric::Energy => scaled(&[(1e6, "J"), (1e3, "mJ"), (1.0, "µJ")], "/token"),
    }
}

/// `3.21 ms/token → 3.29 ms/token`, where both are known.
pub(crate) fn costs(cell: &CellJudgement) -> Option<String> {
    let (base, candidate) = (cell.base_cost?, cell.candidate_cost?);
    Some(format!(
        "{} → {}",
        cost(cell.metric, base),
        cost(cell.metric, candidate)
    ))
}

/// `1 block`, `12 blocks`.
pub(crate) fn blocks(count: u32) -> String {
    format!("{count} {}", if count == 1 { "block" } else { "blocks" })
}

/// What stands in the brackets of a line: blocks, spread, what could be found.
pub(crate) fn evidence(cell: &CellJudgement) -> Vec<String> {
    let mut words = vec![blocks(cell.blocks)];
    words.extend(cell.block_sd.map(|sd| format!("sd {}", share(sd))));
    words.extend(cell.mde.map(|mde| format!("MDE {}", share(mde))));
    words
}

/// What else is to be said of a cell, in sentences.
pub(crate) fn remarks(cell: &CellJudgement) -> Vec<String> {
    let mut remarks = Vec::new();
    remarks.extend(cell.reason.clone());
    if let Some(second) = &cell.confirmation {
        remarks.push(format!(
            "measured again with a new seed: {} {} {} ({} blocks)",
            percent(Some(second.effect)),
            interval(second.low, second.high),
            second.verdict.as_str(),
            second.blocks,
        ));
    }
    if cell.small_regression {
        remarks.push(format!(
            "a small regression: above the practical zero of {}, within the tolerance of {}",
            share(cell.practical_zero),
            share(cell.tolerance),
        ));
    }
    if let Some(minutes) = cell.minutes_to_settle {
        remarks.push(format!(
            "about {} of further blocks would settle it (--continue)",
            time(60.0 * minutes)
        ));
    }
    if let Some(waiver) = &cell.waived {
        remarks.push(format!("waived: {waiver}"));
    }
    remarks
}

/// What decided: margins, errors, multiplicity.
pub(crate) fn margins(judgement: &Judgement) -> String {
    let mut tolerated: Vec<(Metric, f64)> = Vec::new();
    for cell in &judgement.cells {
        if !tolerated.iter().any(|(metric, _)| *metric == cell.metric) {
            tolerated.push((cell.metric, cell.tolerance));
        }
    }
    tolerated.sort_by_key(|(metric, _)| *metric);
    let tolerated: Vec<String> = tolerated
        .into_iter()
        .map(|(metric, tolerance)| format!("{} {}", metric.as_str(), share(tolerance)))
        .collect();
    let zero = judgement.cells.first().map_or_else(String::new, |cell| {
        format!(
            "d0 {}, d1 {}; ",
            share(cell.practical_zero),
            tolerated.join(", ")
        )
    });
    format!(
        "{zero}alpha {} over {} cell-metrics, beta {}",
        share(judgement.alpha),
        judgement.multiplicity,
        share(judgement.beta),
    )
}

/// How much was measured.
pub(crate) fn measured(judgement: &Judgement) -> String {
    let void = match judgement.void_blocks {
        0 => String::new(),
        void => format!(", {void} void"),
    };
    format!(
        "{}{void}, {}",
        blocks(judgement.blocks),
        time(judgement.seconds)
    )
}

#[cfg(test)]
pub(crate) mod tests;
