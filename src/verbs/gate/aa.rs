//! `joulemark aa`: how often the gate cries wolf here, live and replayed, and how much blocks spread.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Context as _;
use domain::gate::Verdict;
use domain::gate::looks::Rule;
use domain::gate::plan::cell_share;
use domain::gate::policy::Policy;
use domain::gate::record::{GateRecord, KnownSd, Purpose};
use domain::gate::replay::{Rates, Recorded, measured, replay, slot_values};
use domain::ids::ContentId;
use domain::statistics::proportion::clopper_pearson;
use runner::gate::aa::{block_sds, keep_block_sds};
use runner::sweep::Machine;
use serde_json::{Value, json};

use super::after::After;
use super::measure::{self, Kept, Measured};
use super::options::{Here, Wanted};
use super::render::{blocks, share};
use super::told::Told;
use crate::cli::gate::{Aa, GateFormat, Github, Mode, Pair};
use crate::config::Config;
use crate::exit::{Exit, Failure, OrExit as _, Outcome};
use crate::output;

/// Confidence of both rates' intervals.
const CONFIDENCE: f64 = 0.95;

/// Live gates of one arm against itself, as far as they were counted on this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Live {
    gates: u32,
    regressed: u32,
}

/// `joulemark aa`.
pub(crate) async fn aa(args: Aa, config: Config) -> Outcome {
    let mut told = Told::new(&args.shown, Mode::Advisory);
    told.open(&args.shown, None, &Github::default())?;
    let kept = Kept::open(&config)?;
    let audience = measure::audience(args.shown.collector.as_deref()).await?;
    let wanted = Wanted {
        purpose: Purpose::Aa,
        pair: Pair {
            // Typed once, it is both.
            candidate: args.arm.clone(),
            base: args.arm,
            base_ref: args.base_ref,
            base_model: None,
            candidate_model: None,
            seed: None,
        },
        asked: args.asked,
        policy: args.policy.policy,
        mode: Mode::Advisory,
        continues: None,
        audience,
    };
    let gates = args.gates;
    let of = config.clone();
    let folder = config.data().join("gates");
    let (records, policy) =
        measure::stoppable(&folder, args.shown.progress, move |stop, progress| {
            let here = Here::look(&of, wanted.asked.setup.as_deref())?;
            let meters = of.meters()?;
            let prepared = wanted.prepare(&of, &here, stop, progress)?;
            let setup = here.machine.survey;
            let mut machine = || Machine {
                survey: setup.clone(),
                ..Machine::here(&meters)
            };
            let done = runner::gate::aa::aa(
                &prepared.options,
                gates,
                &mut machine,
                &mut |gate, event| {
                    progress.tell_of(gate + 1, gates, &event);
                },
            )
            .map_err(measure::failed)?;
            let records: Vec<GateRecord> = done.into_iter().map(|(record, _)| record).collect();
            Ok((records, prepared.options.policy))
        })
        .await?;
    let measured = records
        .into_iter()
        .map(|record| kept.judge(record))
        .collect::<Result<Vec<_>, _>>()?;
    let mut answer = Answer::of(measured, &policy, args.replays);
    let mut after = After::of(answer.exit());
    after.take(answer.count(&config));
    let text = match args.shown.format {
        GateFormat::Json => serde_json::to_string_pretty(&answer.document()).or_infrastructure()?,
        GateFormat::Human => answer.lines().join("\n"),
        GateFormat::Md => {
            let item = |line: String| format!("- {line}");
            answer
                .lines()
                .into_iter()
                .map(item)
                .collect::<Vec<_>>()
                .join("\n")
        }
    };
    let printed = output::line(&text).context("failed to print the result");
    after.take(printed.or_infrastructure());
    let mut lines = Vec::new();
    for gate in answer.measured {
        let Some(sealed) = after.take(gate.sealed) else {
            continue;
        };
        after.take(kept.put(&sealed));
        lines.extend_from_slice(&sealed.bytes);
        lines.push(b'\n');
    }
    after.take(told.sealed(&lines));
    after.take(kept.send(args.shown.collector.as_deref(), audience).await);
    Ok(after.exit())
}

/// How often live gates of one arm against itself said REGRESSED on the setup of a record, in words.
pub(super) fn known(config: &Config, record: &GateRecord) -> Result<Option<String>, Failure> {
    let live = read(&counted_at(config, record))?;
    Ok((live.gates > 0).then(|| live.in_words()))
}

/// What the gates came to.
#[derive(Debug)]
struct Answer {
    measured: Vec<Measured>,
    /// Of this run.
    now: Live,
    /// Of this machine so far.
    ever: Live,
    /// Recorded blocks dealt out anew; absent where they are too few.
    replayed: Option<Rates>,
    /// Spread of the blocks, as kept.
    block_sds: Vec<KnownSd>,
}

impl Answer {
    fn of(measured: Vec<Measured>, policy: &Policy, replays: u32) -> Self {
        let valid = valid(&measured);
        let now = Live {
            gates: valid.len() as u32,
            regressed: measured
                .iter()
                .filter(|gate| counts(gate) && gate.judgement.verdict == Verdict::Regressed)
                .count() as u32,
        };
        Self {
            replayed: replayed(&valid, policy, replays),
            measured,
            now,
            ever: now,
            block_sds: Vec::new(),
        }
    }

    /// Counts these gates among those of this machine, and keeps how much their blocks spread.
    fn count(&mut self, config: &Config) -> Result<(), Failure> {
        let valid = valid(&self.measured);
        let Some(record) = valid.first() else {
            return Ok(());
        };
        let file = counted_at(config, record);
        let before = read(&file)?;
        self.ever.gates += before.gates;
        self.ever.regressed += before.regressed;
        keep(&file, self.ever)?;
        let host = record
            .hosts
            .first()
            .context("the record names no machine")
            .or_infrastructure()?;
        self.block_sds = keep_block_sds(
            config.data(),
            record.setup.slug.as_ref(),
            host.fingerprint,
            &block_sds(&valid),
        )
        .context("failed to keep the spread of the blocks")
        .or_infrastructure()?;
        Ok(())
    }

    fn exit(&self) -> Exit {
        let codes = self.measured.iter().map(|gate| gate.judgement.exit_code);
        // REGRESSED and INCONCLUSIVE are what is counted here.
        let bad = codes.filter(|code| !matches!(code, 0 | 1 | 3)).max();
        bad.map_or(Exit::Fine, Exit::of_gate)
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for gate in &self.measured {
            let judgement = &gate.judgement;
            lines.push(format!(
                "{} after {} ({})",
                judgement.verdict.as_str(),
                blocks(judgement.blocks),
                named(gate.content_id()),
            ));
            // What is not counted says why.
            if !counts(gate) {
                lines.push(format!("    {}", judgement.headline));
            }
        }
        lines.push(format!("live: {}", self.now.in_words()));
        if self.ever != self.now {
            lines.push(format!(
                "live, all runs on this machine: {}",
                self.ever.in_words()
            ));
        }
        lines.push(match &self.replayed {
            Some(rates) => format!(
                "replayed: {}; PASS or IMPROVED {}, INCONCLUSIVE {}; its gates share the recorded \
                 blocks, so that the interval is of the coins alone",
                Live {
                    gates: rates.gates,
                    regressed: rates.regressed
                }
                .of("replays"),
                rates.passed + rates.improved,
                rates.inconclusive,
            ),
            None => "replayed: not possible, too few blocks were recorded".to_owned(),
        });
        for sd in &self.block_sds {
            lines.push(format!(
                "block standard deviation of {}: {} from {} blocks, kept for later plans",
                sd.metric.as_str(),
                share(sd.ppm as f64 / 1e6),
                sd.blocks,
            ));
        }
        lines
    }

    fn document(&self) -> Value {
        json!({
            "gates": self.measured.iter().map(|gate| json!({
                "content_id": gate.content_id(),
                "judgement": gate.judgement,
            })).collect::<Vec<_>>(),
            "live": self.now.document(),
            "live_ever": self.ever.document(),
            "replayed": self.replayed.map(|rates| json!({
                "gates": rates.gates,
                "alarmed": rates.alarmed,
                "regressed": rates.regressed,
                "improved": rates.improved,
                "passed": rates.passed,
                "inconclusive": rates.inconclusive,
                "blocks": rates.blocks,
                "regressed_95": clopper_pearson(rates.regressed, rates.gates, CONFIDENCE),
            })),
            "block_sds": self.block_sds,
        })
    }
}

impl Live {
    fn in_words(self) -> String {
        self.of("live gates of one arm against itself")
    }

    fn of(self, what: &str) -> String {
        if self.gates == 0 {
            return format!("none of the {what} was valid");
        }
        let (low, high) = clopper_pearson(self.regressed, self.gates, CONFIDENCE);
        format!(
            "{} of {} {what} REGRESSED (95 %: {} to {})",
            self.regressed,
            self.gates,
            share(low),
            share(high)
        )
    }

    fn document(self) -> Value {
        let interval =
            (self.gates > 0).then(|| clopper_pearson(self.regressed, self.gates, CONFIDENCE));
        json!({
            "gates": self.gates,
            "regressed": self.regressed,
            "regressed_95": interval,
        })
    }
}

/// A gate that was not valid, or was stopped, says nothing about false alarms.
fn counts(gate: &Measured) -> bool {
    gate.judgement.verdict != Verdict::Invalid && !gate.record.interrupted
}

fn valid(measured: &[Measured]) -> Vec<GateRecord> {
    let counted = measured.iter().filter(|gate| counts(gate));
    counted.map(|gate| gate.record.clone()).collect()
}

fn named(result: Option<ContentId>) -> String {
    result.map_or_else(|| "not sealed".to_owned(), |id| id.to_string())
}

/// The blocks of all gates dealt out anew; `None` where one cell has too few.
fn replayed(records: &[GateRecord], policy: &Policy, replays: u32) -> Option<Rates> {
    let first = records.first()?;
    let cells: Vec<_> = first
        .cells
        .iter()
        .enumerate()
        .flat_map(|(place, cell)| {
            let is_there = |metric: &domain::gate::Metric| {
                cell.unavailable
                    .iter()
                    .all(|missing| missing.metric != *metric)
            };
            let metrics = cell.metrics.iter().copied().filter(is_there);
            metrics
                .map(move |metric| (place, metric))
                .collect::<Vec<_>>()
        })
        .collect();
    let gated: Vec<_> = cells.iter().map(|(_, metric)| *metric).collect();
    let mut cells: Vec<_> = cells
        .into_iter()
        .map(|(place, metric)| {
            let rule = Rule {
                practical_zero: policy.practical_zero.ln_1p(),
                tolerance: policy.tolerance(metric).ln_1p(),
                alpha: policy.alpha * cell_share(metric, &gated),
                beta: policy.beta,
            };
            (rule, slot_values(measured(records), place, metric))
        })
        .collect();
    // Models stop when they are decided: what all have is replayed.
    let shortest = cells.iter().map(|(_, slots)| slots.len()).min()?;
    for (_, slots) in &mut cells {
        slots.truncate(shortest);
    }
    let recorded = Recorded {
        cells,
        alpha: policy.alpha,
        last_look: first.last_look as usize,
    };
    replay(&recorded, 0.0, replays, first.seed.0)
}

/// Where the live gates of a setup are counted.
fn counted_at(config: &Config, record: &GateRecord) -> PathBuf {
    let name = record.setup.slug.as_ref().map_or_else(
        || {
            let host = record.hosts.first();
            host.map_or_else(|| "unknown".to_owned(), |host| host.fingerprint.to_string())
        },
        ToString::to_string,
    );
    config.data().join("aa").join(format!("{name}-live.json"))
}

fn read(file: &std::path::Path) -> Result<Live, Failure> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Live::default()),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("failed to read {}", file.display()))
                .or_infrastructure();
        }
    };
    serde_json::from_slice(&bytes)
        .with_context(|| format!("failed to read {}: remove it to count anew", file.display()))
        .or_infrastructure()
}

fn keep(file: &std::path::Path, live: Live) -> Result<(), Failure> {
    let text = serde_json::to_vec(&live).or_infrastructure()?;
    let made = file.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(file, &text))
        .with_context(|| format!("failed to write {}", file.display()))
        .or_infrastructure()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_comes_with_its_interval() {
        let rate = Live {
            gates: 30,
            regressed: 0,
        };
        assert_eq!(
            rate.in_words(),
            "0 of 30 live gates of one arm against itself REGRESSED (95 %: 0% to 11.6%)"
        );
    }

    #[test]
    fn no_gate_is_no_rate() {
        assert!(Live::default().in_words().contains("none"));
        assert_eq!(Live::default().document()["regressed_95"], Value::Null);
    }
}
