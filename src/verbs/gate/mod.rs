//! `joulemark gate`, `compare` and `aa`: base against candidate, measured in random order.
//!
//! `options` says what was asked, `measure` runs it, `sealed` reads results again, `render` writes
//! what it came to. The verdict is `domain::gate`'s alone.

mod aa;
mod earlier;
mod measure;
mod options;
mod render;
mod sealed;
mod told;

use domain::gate::record::Purpose;

use self::measure::Kept;
use self::options::Wanted;
use self::render::About;
use self::told::Told;
use crate::cli::gate::{Compare, Gate, GateFormat, Github, Mode, Shown};
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::output;

pub(crate) use aa::aa;

/// `joulemark gate`.
pub(crate) async fn gate(args: Gate, config: Config) -> Outcome {
    let told = Told {
        format: args.shown.format,
        mode: args.mode,
        junit: args.junit.clone(),
        github: args.github.clone(),
        no_color: args.shown.no_color.clone(),
        result: args.shown.out.clone(),
    };
    let outcome = if args.judge.is_some() {
        judged(&args, &config, &told)
    } else {
        gated(args, &config, &told).await
    };
    if let Err(failure) = &outcome {
        told.nothing(failure)?;
    }
    outcome
}

async fn gated(args: Gate, config: &Config, told: &Told) -> Outcome {
    let continues = match &args.continues {
        Some(file) => Some(sealed::continued(file, config)?),
        None => None,
    };
    let wanted = Wanted {
        purpose: Purpose::Gate,
        pair: args.pair,
        asked: args.asked,
        policy: args.policy.policy,
        mode: args.mode,
        continues,
        audience: measure::audience(collector(&args.shown, args.dry_run)).await?,
    };
    if args.dry_run {
        return planned(wanted, config, &args.shown).await;
    }
    measured(wanted, config, &args.shown, told).await
}

/// `joulemark compare`.
pub(crate) async fn compare(args: Compare, config: Config) -> Outcome {
    let told = Told {
        format: args.shown.format,
        mode: Mode::Advisory,
        junit: None,
        github: Github::default(),
        no_color: args.shown.no_color.clone(),
        result: args.shown.out.clone(),
    };
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
    measured(wanted, &config, &args.shown, &told).await
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

async fn measured(wanted: Wanted, config: &Config, shown: &Shown, told: &Told) -> Outcome {
    let kept = Kept::open(config)?;
    let audience = wanted.audience;
    let record = measure::record(wanted, config, shown.progress).await?;
    let mut measured = kept.put(record)?;
    let known = earlier::note(config.data(), &measured.record);
    measured.judgement.notes.extend(known);
    if let Some(file) = &shown.out {
        measure::write(file, &measured.sealed.bytes)?;
    }
    let about = About {
        false_alarms: aa::known(config, &measured.record)?,
        ..About::of(&measured.record, measured.sealed.content_id)
    };
    told.result(&measured.judgement, &about, &measured.sealed.bytes)?;
    let sent = kept.send(shown.collector.as_deref(), audience).await?;
    // What it came to counts for more than where it went.
    Ok(match Exit::of_gate(measured.judgement.exit_code) {
        Exit::Fine => sent,
        other => other,
    })
}

/// The collector that is asked for its id; a plan is sent nowhere.
fn collector(shown: &Shown, dry_run: bool) -> Option<&str> {
    shown.collector.as_deref().filter(|_| !dry_run)
}

/// Decides a sealed result again.
fn judged(args: &Gate, config: &Config, told: &Told) -> Outcome {
    let file = args.judge.as_ref().expect("asked for with --judge");
    let read = sealed::read(file, args.key.as_deref(), config)?;
    let record = read.verified.value();
    if record.purpose != Purpose::Gate {
        return Err(options::usage(format!(
            "failed to judge {}: it was measured by `joulemark {}`, which is no gate and has no \
             verdict; measure with `joulemark gate`",
            file.display(),
            match record.purpose {
                Purpose::Compare => "compare",
                Purpose::Aa => "aa",
                Purpose::Gate => "gate",
            }
        )));
    }
    if args.mode == Mode::Required {
        options::refuse_what_loosened(record)?;
    }
    let judgement = domain::gate::verdict::judge(record).map_err(|error| Failure {
        exit: Exit::Invalid,
        error: anyhow::Error::new(error).context("failed to judge the result"),
    })?;
    let about = About::of(record, read.verified.content_id());
    told.result(&judgement, &about, &read.envelope)?;
    Ok(Exit::of_gate(judgement.exit_code))
}
