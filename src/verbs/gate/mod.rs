//! `joulemark gate`, `compare` and `aa`: base against candidate, measured in random order.
//!
//! `options` says what was asked, `measure` runs it, `sealed` reads results again, `render` writes
//! what it came to. The verdict is `domain::gate`'s alone.

mod aa;
mod after;
mod arms;
mod earlier;
mod measure;
mod options;
mod render;
mod sealed;
mod told;

use domain::gate::record::{GateRecord, Purpose};

use self::after::After;
use self::measure::Kept;
use self::options::Wanted;
use self::render::About;
use self::sealed::Continued;
use self::told::Told;
use crate::cli::gate::{Compare, Gate, GateFormat, Github, Mode, Shown};
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::output;

pub(crate) use aa::aa;

/// `joulemark gate`.
pub(crate) async fn gate(args: Gate, config: Config) -> Outcome {
    let mut told = Told::new(&args.shown, args.mode);
    let outcome = match told.open(&args.shown, args.junit.as_deref(), &args.github) {
        Err(failure) => Err(failure),
        Ok(()) if args.judge.is_some() => judged(&args, &config, &mut told),
        Ok(()) => gated(args, &config, &mut told).await,
    };
    if let Err(failure) = &outcome {
        told.nothing(failure);
    }
    outcome
}

async fn gated(args: Gate, config: &Config, told: &mut Told) -> Outcome {
    let audience = measure::audience(collector(&args.shown, args.dry_run)).await?;
    let wanted = Wanted {
        purpose: Purpose::Gate,
        pair: args.pair,
        asked: args.asked,
        policy: args.policy.policy,
        mode: args.mode,
        continues: None,
        audience,
    };
    if args.dry_run {
        return planned(wanted, config, &args.shown).await;
    }
    let kept = Kept::open(config)?;
    let (continues, came_to) = match &args.continues {
        None => (None, Exit::Fine),
        Some(folder) if folder.is_dir() => {
            let (continued, came_to) = recovered(sealed::recovered(folder, config)?, &kept, told)?;
            (Some(continued), came_to)
        }
        Some(file) => (Some(sealed::continued(file, config)?), Exit::Fine),
    };
    let wanted = Wanted {
        continues,
        ..wanted
    };
    let outcome = measured(wanted, config, &args.shown, &kept, told).await;
    outcome.map_err(|failure| Failure {
        // What was recovered was sealed: that more cannot be measured takes nothing of it back.
        exit: match came_to {
            Exit::No => Exit::No,
            _ => failure.exit,
        },
        ..failure
    })
}

/// Speaks of what a gate had come to that ended without a result, then seals and keeps it. Only what
/// is sealed is gone on with.
fn recovered(
    record: GateRecord,
    kept: &Kept,
    told: &mut Told,
) -> Result<(Continued, Exit), Failure> {
    let measured = kept.judge(record)?;
    let judgement = &measured.judgement;
    // Standard error: standard output is the whole gate's.
    let about = About::of(&measured.record, measured.content_id());
    output::say("recovered, as it stands:");
    output::say(&render::human::text(judgement, &about, false));
    output::say("");
    let came_to = match Exit::of_gate(judgement.exit_code) {
        Exit::No => Exit::No,
        _ => Exit::Fine,
    };
    let sealed = measured.sealed.and_then(|sealed| {
        kept.put(&sealed)?;
        told.sealed(&sealed.bytes)?;
        Ok(sealed)
    });
    let sealed = sealed.map_err(|failure| Failure {
        exit: failure.exit.or_worse(came_to),
        error: failure.error.context(format!(
            "{}; what was recovered could not be kept",
            judgement.headline
        )),
    })?;
    let continued = Continued {
        content_id: sealed.content_id,
        record: measured.record,
    };
    Ok((continued, came_to))
}

/// `joulemark compare`.
pub(crate) async fn compare(args: Compare, config: Config) -> Outcome {
    let mut told = Told::new(&args.shown, Mode::Advisory);
    told.open(&args.shown, None, &Github::default())?;
    let wanted = Wanted {
        purpose: Purpose::Compare,
        pair: args.pair,
        asked: args.asked,
        policy: None,
        mode: Mode::Advisory,
        continues: None,
        audience: measure::audience(collector(&args.shown, args.dry_run)).await?,
    };
    if args.dry_run {
        return planned(wanted, &config, &args.shown).await;
    }
    let kept = Kept::open(&config)?;
    measured(wanted, &config, &args.shown, &kept, &mut told).await
}

async fn planned(wanted: Wanted, config: &Config, shown: &Shown) -> Outcome {
    let plan = measure::plan(wanted, config, shown.progress).await?;
    let text = match shown.format {
        GateFormat::Json => {
            serde_json::to_string_pretty(&render::plan::document(&plan)).or_infrastructure()?
        }
        GateFormat::Human | GateFormat::Md => render::plan::text(&plan, shown.format),
    };
    output::line(&text).or_infrastructure()?;
    Ok(match plan.refused {
        Some((exit, _)) => Exit::of_gate(exit),
        None => Exit::Fine,
    })
}

/// Measures, and speaks the verdict before anything else is done with it: nothing that fails behind it
/// hides it, or makes a regression anything else.
async fn measured(
    wanted: Wanted,
    config: &Config,
    shown: &Shown,
    kept: &Kept,
    told: &mut Told,
) -> Outcome {
    let audience = wanted.audience;
    let typed = [wanted.pair.base.clone(), wanted.pair.candidate.clone()];
    let record = measure::record(wanted, config, shown.progress).await?;
    let mut measured = kept.judge(record)?;
    let known = earlier::note(config.data(), &measured.record);
    measured.judgement.notes.extend(known);
    let judgement = &measured.judgement;
    let mut after = After::of(Exit::of_gate(judgement.exit_code));
    let false_alarms = after.take(aa::known(config, &measured.record)).flatten();
    let about = About {
        typed,
        false_alarms,
        ..About::of(&measured.record, measured.content_id())
    };
    let envelope = measured.envelope();
    after.take(told.verdict(judgement, &about, &measured.record, envelope));
    if let Some(sealed) = after.take(measured.sealed) {
        let is_kept = after.take(kept.put(&sealed)).is_some();
        after.take(told.sealed(&sealed.bytes));
        told.reports(judgement, &about, &mut after);
        if is_kept {
            after.take(kept.send(shown.collector.as_deref(), audience).await);
        }
    } else {
        told.reports(judgement, &about, &mut after);
    }
    told.ends(judgement, &mut after);
    Ok(after.exit())
}

/// The collector that is asked for its id; a plan is sent nowhere.
fn collector(shown: &Shown, dry_run: bool) -> Option<&str> {
    shown.collector.as_deref().filter(|_| !dry_run)
}

/// Decides a sealed result again.
fn judged(args: &Gate, config: &Config, told: &mut Told) -> Outcome {
    let file = args.judge.as_ref().expect("asked for with --judge");
    let read = sealed::read(file, args.key.as_deref(), config)?;
    let record = read.verified.value();
    sealed::refuse_other_purpose(record, file, "judge")?;
    if args.mode == Mode::Required {
        options::refuse_what_loosened(record)?;
    }
    let judgement = domain::gate::verdict::judge(record).map_err(|error| Failure {
        exit: Exit::Invalid,
        error: anyhow::Error::new(error).context("failed to judge the result"),
    })?;
    let about = About::of(record, Some(read.verified.content_id()));
    let mut after = After::of(Exit::of_gate(judgement.exit_code));
    after.take(told.verdict(&judgement, &about, record, Some(&read.envelope)));
    told.reports(&judgement, &about, &mut after);
    told.ends(&judgement, &mut after);
    Ok(after.exit())
}

#[cfg(test)]
mod tests;
