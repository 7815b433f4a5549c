//! `joulemark submit`: sends what the spool still holds.

use std::time::Duration;

use anyhow::Context as _;
use domain::envelope::Envelope;
use domain::ids::Sha256Digest;
use runner::spool::Spool;
use runner::submit::{DrainOptions, DrainReport, audience, drain};

use crate::cli::Submit;
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::output;

/// Drains the spool, or prints what it would send.
pub(crate) async fn run(args: Submit, config: Config) -> Outcome {
    let spool = Spool::open(&config.spool())
        .context("failed to open the spool")
        .or_infrastructure()?;
    let Some(collector) = args.collector.filter(|_| !args.dry_run) else {
        return print(&spool);
    };
    let options = DrainOptions {
        audience: Some(id_of(&collector).await?),
        ..DrainOptions::default()
    };
    let report = drain(&spool, &collector, options)
        .await
        .with_context(|| format!("failed to submit to {collector}"))
        .or_infrastructure()?;
    Ok(tell(&report))
}

/// The id of the collector at `url`.
pub(crate) async fn id_of(url: &str) -> Result<Sha256Digest, Failure> {
    audience(url, Duration::from_secs(10))
        .await
        .context("failed to ask the collector for its id: is it running?")
        .or_infrastructure()
}

/// Says what became of the spool: refused and torn records end in 1, waiting ones in 5.
pub(crate) fn tell(report: &DrainReport) -> Exit {
    output::say(&format!(
        "submitted: {} accepted, {} known already, {} refused, {} waiting",
        report.accepted.len(),
        report.already.len(),
        report.refused.len(),
        report.left,
    ));
    for (content_id, problem) in &report.refused {
        output::say(&format!(
            "refused {content_id}: {} ({}); kept in the spool's bad folder",
            problem.detail, problem.code
        ));
    }
    if report.torn > 0 {
        output::say(&format!(
            "{} torn on disc; kept in the spool's bad folder: measure again",
            report.torn
        ));
    }
    if report.elsewhere > 0 {
        output::say(&format!(
            "{} kept for the collector they were sealed for",
            report.elsewhere
        ));
    }
    if report.left > 0 {
        let why = report.last_failure.as_deref().unwrap_or("no answer");
        output::say(&format!(
            "what waits is kept; run `joulemark submit` again: {why}"
        ));
        Exit::Infrastructure
    } else if report.refused.is_empty() && report.torn == 0 {
        Exit::Fine
    } else {
        Exit::No
    }
}

/// One payload a line, exactly as it would be sent.
fn print(spool: &Spool) -> Outcome {
    use base64::Engine as _;
    for content_id in spool.pending().or_infrastructure()? {
        let Some(pending) = spool.read(content_id).or_infrastructure()? else {
            continue;
        };
        let envelope: Envelope = serde_json::from_slice(&pending.bytes).or_infrastructure()?;
        let payload = base64::engine::general_purpose::STANDARD
            .decode(envelope.payload)
            .or_infrastructure()?;
        output::line(&String::from_utf8_lossy(&payload)).or_infrastructure()?;
    }
    Ok(Exit::Fine)
}
