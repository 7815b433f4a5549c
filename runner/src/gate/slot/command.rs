//! A slot of a command: it prints one line of JSON when a repetition is done, and its arrival is stamped.
//!
//! A repetition costs the time since the line before it, or since the process was started. The first
//! line of each metric is the warm-up. What the command says of its own time is kept beside it and
//! decides nothing. How long it goes on behind its last line is kept, and judged between the arms.
//! Bounds: a line's length, their number, and the slot's limit.

use std::process::Command;
use std::time::{Duration, Instant};

use domain::gate::Metric;
use domain::gate::record::{FailureKind, Sample};
use domain::ids::Sha256Digest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::super::arm::ArmSpec;
use super::{Around, Asked, SlotError, Slotted, binary_sha256};
use crate::engine::child::process::{Process, Unheard};
use crate::gguf::cleaned;

/// Longest line.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Most lines: a slot has a few.
const MAX_LINES: usize = 1_000;
/// Fewest repetitions behind the warm-up.
const MIN_COUNTED: usize = 3;
/// At most one line in so many may come together with the one before it.
const ONCE_SHARE: usize = 4;
/// How long a program may take to end, however short its repetitions are. A coarse net: the judge
/// compares how long the arms take.
const END_GRACE_NS: u64 = 250_000_000;
/// Letters of a line that an error shows.
const SHOWN: usize = 60;

/// What is read of a line; whatever else it holds is the command's own.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default = "time")]
    metric: String,
    #[serde(default = "one")]
    units: u64,
    /// Its own word on how long it took.
    seconds: Option<f64>,
    ns: Option<u64>,
    /// What it computed, so that slots can be compared.
    output: Option<String>,
}

fn time() -> String {
    Metric::Time.as_str().to_owned()
}

fn one() -> u64 {
    1
}

/// Every repetition of one metric.
#[derive(Debug)]
struct Series {
    metric: Metric,
    warm: bool,
    units: u64,
    costs: Vec<u64>,
    /// Absent once a line made no claim.
    claimed_ns: Option<Vec<u64>>,
}

/// What was heard.
#[derive(Default)]
struct Heard {
    lines: usize,
    /// Lines behind warm-ups that came together with the one before.
    at_once: usize,
    series: Vec<Series>,
    output: Sha256,
    has_output: bool,
}

/// Runs the slot.
pub(super) fn run(arm: &ArmSpec, asked: &Asked, around: &Around) -> Result<Slotted, SlotError> {
    let binary_sha256 = binary_sha256(arm).map_err(|error| SlotError::of_engine(arm, &error))?;
    let failed = |what: &str| SlotError::failed(arm, FailureKind::Infrastructure, what);
    let [cell] = asked.cells else {
        return Err(failed("a command is one cell"));
    };
    let until = Instant::now() + asked.limit;
    let start_ns = around.now_ns();
    let mut process = start(arm)?;
    let mut heard = Heard::default();
    let last_ns = match heard.listen(&mut process, start_ns, until, around) {
        Ok(last_ns) => last_ns,
        Err(Fault::Stopped) => return Err(SlotError::Interrupted),
        Err(Fault::Failed(what)) => {
            // Its own last words say more, if it died of something.
            drop(process.end(Duration::ZERO));
            return Err(failed(&format!("{what}{}", process.last_words())));
        }
        Err(Fault::Late) => {
            drop(process.end(Duration::ZERO));
            let seconds = asked.limit.as_secs_f64();
            let words = process.last_words();
            return Err(failed(&format!(
                "it was stopped after {seconds:.0} s, having printed {} lines{words}",
                heard.lines
            )));
        }
    };
    let allowed_ns = (heard.mean_ns() / 2).max(END_GRACE_NS);
    let ended = process.end(Duration::from_nanos(
        (last_ns + allowed_ns).saturating_sub(around.now_ns()),
    ));
    let end_ns = around.now_ns();
    let (status, by_itself) =
        ended.map_err(|error| failed(&format!("it could not be waited for: {error}")))?;
    if by_itself && !status.success() {
        let words = process.last_words();
        return Err(failed(&format!("it ended with {status}{words}")));
    }
    if heard.lines == 0 {
        let words = process.last_words();
        return Err(failed(&format!("it printed nothing{words}")));
    }
    if !by_itself || end_ns - last_ns > allowed_ns {
        return Err(SlotError::failed(
            arm,
            FailureKind::OtherWork,
            "it went on working after its last line",
        ));
    }
    heard.check().map_err(|what| failed(&what))?;
    if heard.came_together() {
        return Err(SlotError::Together {
            label: arm.label.clone(),
            what: "its lines came at once, so that nothing could be timed: flush the output after \
                   each line, and let a repetition last at least a few milliseconds"
                .to_owned(),
            whole_ns: end_ns - start_ns,
        });
    }
    let tail_ns = end_ns - last_ns;
    Ok(Slotted {
        start_ns,
        end_ns,
        request_seconds: vec![heard.mean_ns() as f64 / 1e9],
        output_sha256: heard
            .has_output
            .then(|| Sha256Digest(heard.output.finalize().into())),
        samples: heard
            .series
            .into_iter()
            .map(|series| Sample {
                cell: cell.cell,
                metric: series.metric,
                units: series.units,
                costs: series.costs,
                tail_ns: Some(tail_ns),
                claimed_ns: series.claimed_ns,
            })
            .collect(),
        spans: Vec::new(),
        binary_sha256: Some(binary_sha256),
        engine: None,
        settings: None,
    })
}

/// A line as an object; serde would take a list for one.
fn object(line: &[u8]) -> serde_json::Result<Line> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line)?;
    serde_json::from_value(object.into())
}

fn start(arm: &ArmSpec) -> Result<Process, SlotError> {
    let program = arm
        .program()
        .map_err(|error| SlotError::of_engine(arm, &error))?;
    let mut command = Command::new(program);
    command.args(arm.words.iter().skip(1));
    command.envs(arm.environment.iter().map(|(name, value)| (name, value)));
    if let Some(folder) = &arm.folder {
        command.current_dir(folder);
    }
    Process::start(command, false).map_err(|error| {
        let what = format!("it could not be started: {error}");
        SlotError::failed(arm, FailureKind::Infrastructure, &what)
    })
}

/// Why listening ended early.
enum Fault {
    Stopped,
    Late,
    Failed(String),
}

impl Heard {
    /// Reads every line until the output's end; when the last one came.
    fn listen(
        &mut self,
        process: &mut Process,
        start_ns: u64,
        until: Instant,
        around: &Around,
    ) -> Result<u64, Fault> {
        let mut last_ns = start_ns;
        // Whether nothing was waited for since the line before: an empty line is none, whether it was
        // waited for or came together with the next.
        let mut at_once = true;
        loop {
            at_once &= process.holds_line();
            let line = process.line(MAX_LINE_BYTES, until, Some(around.stop));
            let now_ns = around.now_ns();
            let line = match line {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(last_ns),
                Err(Unheard::Stopped) => return Err(Fault::Stopped),
                Err(Unheard::Late) => return Err(Fault::Late),
                Err(error) => {
                    return Err(Fault::Failed(format!("failed to {error}")));
                }
            };
            if line.trim_ascii().is_empty() {
                continue;
            }
            self.lines += 1;
            if self.lines > MAX_LINES {
                return Err(Fault::Failed(format!(
                    "it printed more than {MAX_LINES} lines: let one stand for more work"
                )));
            }
            self.note(line, now_ns - last_ns, at_once)
                .map_err(Fault::Failed)?;
            (last_ns, at_once) = (now_ns, true);
        }
    }

    fn note(&mut self, line: &[u8], cost_ns: u64, at_once: bool) -> Result<(), String> {
        let line: Line = object(line).map_err(|error| {
            let text = String::from_utf8_lossy(line);
            let start: String = cleaned(&text).chars().take(SHOWN).collect();
            format!("a line of it is no JSON object of a repetition ({error}): {start}")
        })?;
        let timed = [Metric::Time, Metric::Decode, Metric::Prefill, Metric::Ttft];
        let metric = timed
            .into_iter()
            .find(|metric| metric.as_str() == line.metric);
        let Some(metric) = metric else {
            let name: String = cleaned(&line.metric).chars().take(SHOWN).collect();
            return Err(format!(
                "it names the metric {name:?}; a command is timed by time, decode, prefill or ttft"
            ));
        };
        if line.units == 0 {
            return Err("it did 0 units of work: units is 1 or more".to_owned());
        }
        let claimed_ns = match (line.ns, line.seconds) {
            (Some(ns), _) => Some(ns),
            (None, Some(seconds)) => {
                let said = Duration::try_from_secs_f64(seconds)
                    .map_err(|_| format!("it says that a repetition took {seconds} s"))?;
                Some(said.as_nanos() as u64)
            }
            (None, None) => None,
        };
        let at = self
            .series
            .iter()
            .position(|series| series.metric == metric);
        let series = if let Some(at) = at {
            &mut self.series[at]
        } else {
            self.series.push(Series {
                metric,
                warm: false,
                units: line.units,
                costs: Vec::new(),
                claimed_ns: Some(Vec::new()),
            });
            self.series.last_mut().expect("one was pushed")
        };
        if !series.warm {
            series.warm = true;
            return Ok(());
        }
        if series.costs.is_empty() {
            series.units = line.units;
        } else if series.units != line.units {
            return Err(format!(
                "its repetitions of {} do {} units of work and then {}: every one has to do the same",
                metric.as_str(),
                series.units,
                line.units
            ));
        }
        series.costs.push(cost_ns);
        series.claimed_ns = series
            .claimed_ns
            .take()
            .zip(claimed_ns)
            .map(|(mut all, ns)| {
                all.push(ns);
                all
            });
        self.at_once += usize::from(at_once);
        if let Some(output) = line.output {
            self.has_output = true;
            self.output.update((output.len() as u64).to_le_bytes());
            self.output.update(output);
        }
        Ok(())
    }

    /// Mean time of a counted repetition.
    fn mean_ns(&self) -> u64 {
        let costs = || self.series.iter().flat_map(|series| &series.costs);
        costs()
            .sum::<u64>()
            .checked_div(costs().count() as u64)
            .unwrap_or(0)
    }

    fn check(&self) -> Result<(), String> {
        for Series { metric, costs, .. } in &self.series {
            if costs.len() < MIN_COUNTED {
                return Err(format!(
                    "it printed {} lines of {} and needs {}: a warm-up and {MIN_COUNTED} repetitions",
                    costs.len() + 1,
                    metric.as_str(),
                    MIN_COUNTED + 1
                ));
            }
        }
        Ok(())
    }

    /// Whether too many lines were read together: more than a few would carry the slot's median.
    fn came_together(&self) -> bool {
        let counted: usize = self.series.iter().map(|series| series.costs.len()).sum();
        self.at_once * ONCE_SHARE > counted
    }
}
