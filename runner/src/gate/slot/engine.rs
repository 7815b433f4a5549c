//! A slot of an engine: loaded, warmed up, asked, and timed at this edge.

use std::path::Path;
use std::time::Instant;

use domain::gate::Metric;
use domain::gate::policy::GatedWorkload;
use domain::gate::record::{FailureKind, Sample};
use domain::ids::Sha256Digest;
use domain::record::{Finish, KvState};
use sha2::{Digest as _, Sha256};

use super::super::arm::ArmSpec;
use super::{Around, Asked, AskedCell, SlotError, Slotted, TimedSpan, binary_sha256};
use crate::context::ContextReader;
use crate::engine::{Engine, EngineError, GenerateRequest, Generated, Needs, Prompt, Sampling};
use crate::prompt::Prompts;

/// One request out of so many of a repetition is asked to warm up; at least one.
const WARM_UP_SHARE: u32 = 4;
/// Time between tokens that an answer may go on behind its last one, and how long it may at least: a
/// server says a few things more, and a system may hold back what is small. A coarse net: the judge
/// compares how long the arms go on.
const LATE_TOKENS: u64 = 4;
const LATE_NS: u64 = 50_000_000;

/// Runs the slot.
pub(super) fn run(arm: &ArmSpec, asked: &Asked, around: &Around) -> Result<Slotted, SlotError> {
    let fault = |error: EngineError| SlotError::of_engine(arm, &error);
    let Some(weights) = asked.weights else {
        let what = "an engine needs weights: name models in the policy";
        return Err(SlotError::failed(arm, FailureKind::Infrastructure, what));
    };
    let cells = cells(arm, asked)?;
    let binary_sha256 = binary_sha256(arm).map_err(fault)?;
    let until = Instant::now() + asked.limit;
    let mut engine = arm
        .engine(weights, asked.threads, asked.limit, Some(until))
        .map_err(fault)?;

    let start_ns = around.now_ns();
    engine.load(weights, needs(&cells)).map_err(fault)?;
    let mut slot = EngineSlot {
        arm,
        around,
        until,
        engine: engine.as_mut(),
        context: ContextReader::new(Path::new("/"), asked.threads),
        output: Sha256::new(),
        has_output: false,
        spans: Vec::new(),
    };
    let mut prompts = slot.prompts(&cells, asked)?;
    for (cell, prompts) in cells.iter().zip(&mut prompts) {
        slot.warm_up(cell, &mut prompts.warm_up)?;
    }
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); cells.len()];
    for _ in 0..asked.repetitions {
        for ((cell, prompts), costs) in cells.iter().zip(&mut prompts).zip(&mut costs) {
            costs.push(slot.repetition(cell, prompts.timed.by_ref())?);
        }
    }
    for (cell, costs) in cells.iter().zip(&costs) {
        slot.check_late_work(cell, costs)?;
    }
    let EngineSlot {
        output,
        has_output,
        spans,
        ..
    } = slot;
    let (facts, settings) = (engine.facts(), engine.settings());
    engine.unload();
    let end_ns = around.now_ns();

    let of = |cell: u32| spans.iter().filter(move |span| span.cell == cell);
    let seconds = |cell: &Cell| {
        let requests = u64::from(asked.repetitions) * u64::from(cell.requests);
        let ns: u64 = of(cell.place).map(|span| span.end_ns - span.start_ns).sum();
        ns as f64 / 1e9 / requests.max(1) as f64
    };
    Ok(Slotted {
        start_ns,
        end_ns,
        samples: cells
            .iter()
            .zip(&costs)
            .flat_map(|(cell, costs)| cell.samples(costs))
            .collect(),
        request_seconds: cells.iter().map(seconds).collect(),
        spans,
        binary_sha256: Some(binary_sha256),
        engine: Some(facts),
        settings: Some(settings),
        output_sha256: has_output.then(|| Sha256Digest(output.finalize().into())),
    })
}

/// One cell of an engine.
struct Cell<'a> {
    /// Its place in the record.
    place: u32,
    gated: &'a GatedWorkload,
    requests: u32,
}

/// What one repetition cost.
#[derive(Debug, Clone, Default)]
struct Cost {
    requests: u64,
    /// Until the first token, of all requests together.
    first_token_ns: u64,
    /// From the first piece of output to the last.
    decode_ns: u64,
    /// From the last piece of output to the answer's end.
    late_ns: u64,
    prompt_tokens: u64,
    /// Tokens behind the first piece of output.
    decoded_tokens: u64,
    peak_bytes: Option<u64>,
}

/// The prompts of one cell.
struct CellPrompts {
    warm_up: std::vec::IntoIter<Prompt>,
    timed: std::vec::IntoIter<Prompt>,
}

struct EngineSlot<'a> {
    arm: &'a ArmSpec,
    around: &'a Around<'a>,
    until: Instant,
    engine: &'a mut dyn Engine,
    context: ContextReader,
    output: Sha256,
    has_output: bool,
    spans: Vec<TimedSpan>,
}

/// The cells, each with its workload: one cold stream, as the coins need every slot to be alike.
fn cells<'a>(arm: &ArmSpec, asked: &Asked<'a>) -> Result<Vec<Cell<'a>>, SlotError> {
    let refused = |what: &str| SlotError::failed(arm, FailureKind::Infrastructure, what);
    let cell = |cell: &'a AskedCell| {
        let Some(gated) = &cell.workload else {
            return Err(refused(
                "an engine needs a workload: name one in the policy",
            ));
        };
        let workload = &gated.workload;
        if workload.concurrency != 1 || workload.kv_state != KvState::Cold {
            return Err(refused(&format!(
                "the workload {} cannot be gated: a gate asks one cold request at a time",
                workload.id
            )));
        }
        Ok(Cell {
            place: cell.cell,
            gated,
            requests: cell.requests.max(1),
        })
    };
    asked.cells.iter().map(cell).collect()
}

/// What all cells together need.
fn needs(cells: &[Cell]) -> Needs {
    let contexts = cells
        .iter()
        .map(|cell| cell.gated.workload.context_tokens());
    Needs {
        context_tokens: contexts.max().unwrap_or(0),
        streams: 1,
    }
}

impl Cell<'_> {
    fn prompt_tokens(&self) -> u32 {
        let workload = &self.gated.workload;
        workload.depth_tokens + workload.prompt_tokens
    }

    /// The cell's samples: of what is gated all that was measured.
    fn samples(&self, costs: &[Cost]) -> Vec<Sample> {
        let metrics = self.gated.metrics.iter();
        metrics
            .filter_map(|&metric| {
                let late_ns = || costs.iter().map(|cost| cost.late_ns).sum();
                let (units, costs, tail_ns) = match metric {
                    Metric::Decode => {
                        let (units, stretched) = decode(self, costs)?;
                        (units, stretched, Some(late_ns()))
                    }
                    Metric::Prefill => (
                        costs.first()?.prompt_tokens,
                        costs.iter().map(|cost| cost.first_token_ns).collect(),
                        Some(late_ns()),
                    ),
                    Metric::Ttft => (
                        1,
                        costs
                            .iter()
                            .map(|cost| cost.first_token_ns / cost.requests)
                            .collect(),
                        // As its costs are: of one request.
                        Some(costs.iter().map(|cost| cost.late_ns / cost.requests).sum()),
                    ),
                    Metric::PeakBytes => (
                        1,
                        costs
                            .iter()
                            .map(|cost| cost.peak_bytes)
                            .collect::<Option<_>>()?,
                        None,
                    ),
                    Metric::Energy | Metric::Time => return None,
                };
                Some(Sample {
                    cell: self.place,
                    metric,
                    units,
                    costs,
                    tail_ns,
                    claimed_ns: None,
                })
            })
            .collect()
    }
}

/// Time of the tokens behind the first. Where the first piece of output held several, fewer are left:
/// the time is then stretched to what all but one would have taken, so that repetitions compare.
fn decode(cell: &Cell, costs: &[Cost]) -> Option<(u64, Vec<u64>)> {
    let requests = u64::from(cell.requests);
    let units = requests * u64::from(cell.gated.workload.output_tokens.checked_sub(1)?);
    let stretched = |cost: &Cost| {
        let ns = u128::from(cost.decode_ns) * u128::from(units);
        u64::try_from(ns.checked_div(u128::from(cost.decoded_tokens))?).ok()
    };
    let costs = costs.iter().map(stretched).collect::<Option<Vec<_>>>()?;
    (units > 0).then_some((units, costs))
}

impl EngineSlot<'_> {
    fn fault(&self, error: &EngineError) -> SlotError {
        SlotError::of_engine(self.arm, error)
    }

    fn other_work(&self, what: &str) -> SlotError {
        SlotError::failed(self.arm, FailureKind::OtherWork, what)
    }

    /// Cuts every prompt before anything is timed. Both arms of a block get the same, no two of a
    /// slot begin alike.
    fn prompts(&mut self, cells: &[Cell], asked: &Asked) -> Result<Vec<CellPrompts>, SlotError> {
        let mut texts = Prompts::new(asked.prompt_seed, 0);
        let mut made = Vec::new();
        for cell in cells {
            let tokens = cell.prompt_tokens();
            let mut fit = |count: u32| {
                let fitted = (0..count)
                    .map(|_| self.engine.fit_prompt(&texts.next(tokens), tokens))
                    .collect::<Result<Vec<_>, _>>();
                fitted.map(Vec::into_iter)
            };
            let prompts = fit(cell.requests.div_ceil(WARM_UP_SHARE)).and_then(|warm_up| {
                Ok(CellPrompts {
                    warm_up,
                    timed: fit(cell.requests * asked.repetitions)?,
                })
            });
            made.push(prompts.map_err(|error| self.fault(&error))?);
        }
        Ok(made)
    }

    fn warm_up(
        &mut self,
        cell: &Cell,
        prompts: &mut dyn Iterator<Item = Prompt>,
    ) -> Result<(), SlotError> {
        for prompt in prompts {
            self.request(cell, prompt, &mut Cost::default())?;
        }
        Ok(())
    }

    fn repetition(
        &mut self,
        cell: &Cell,
        prompts: &mut dyn Iterator<Item = Prompt>,
    ) -> Result<Cost, SlotError> {
        let mut cost = Cost::default();
        let mut generated = Vec::with_capacity(cell.requests as usize);
        let peak = cell.gated.metrics.contains(&Metric::PeakBytes);
        let peak_was_reset = peak && self.context.reset_peak_of(&self.engine.processes());
        self.mark();
        let start_ns = self.around.now_ns();
        for prompt in prompts.take(cell.requests as usize) {
            generated.push(self.request(cell, prompt, &mut cost)?);
        }
        let end_ns = self.around.now_ns();
        self.mark();
        if peak {
            let processes = self.engine.processes();
            cost.peak_bytes = self.context.peak_bytes_of(&processes, peak_was_reset);
        }
        for answer in &generated {
            self.note_output(answer);
        }
        let outputs = generated
            .iter()
            .map(|answer| u64::from(answer.output_tokens));
        self.spans.push(TimedSpan {
            cell: cell.place,
            start_ns,
            end_ns,
            tokens: cost.prompt_tokens + outputs.sum::<u64>(),
        });
        Ok(cost)
    }

    /// Reads the meters at a repetition's edge.
    fn mark(&self) {
        if let Some(sampler) = self.around.sampler {
            sampler.mark();
        }
    }

    fn note_output(&mut self, answer: &Generated) {
        self.has_output |= answer.output_tokens > 0;
        if answer.output.is_empty() {
            self.output.update((answer.text.len() as u64).to_le_bytes());
            self.output.update(&answer.text);
        } else {
            self.output
                .update((answer.output.len() as u64).to_le_bytes());
            for token in &answer.output {
                self.output.update(token.to_le_bytes());
            }
        }
    }

    /// Sends one request, stamps what comes back, and adds its cost.
    fn request(
        &mut self,
        cell: &Cell,
        prompt: Prompt,
        cost: &mut Cost,
    ) -> Result<Generated, SlotError> {
        if self.around.stopped() {
            return Err(SlotError::Interrupted);
        }
        let workload = &cell.gated.workload;
        let request = GenerateRequest {
            prompt,
            max_output_tokens: workload.output_tokens,
            ban_eos: true,
            deadline: Some(self.until),
            sampling: Sampling::Greedy,
            reuse_cache: false,
        };
        let around = self.around;
        let (mut first_ns, mut last_ns, mut events) = (None, 0, 0_u64);
        let sent_ns = around.now_ns();
        let generated = self.engine.generate(&request, &mut |_| {
            last_ns = around.now_ns();
            first_ns.get_or_insert(last_ns);
            events += 1;
        });
        let ended_ns = around.now_ns();
        let generated = generated.map_err(|error| self.fault(&error))?;
        if generated.finish == Finish::Timeout {
            let what = "it was not done when the slot's time was up";
            return Err(SlotError::failed(
                self.arm,
                FailureKind::Infrastructure,
                what,
            ));
        }
        if let Some(what) = other_work(cell, &generated, events) {
            return Err(self.other_work(&what));
        }
        let first_ns = first_ns.unwrap_or(ended_ns);
        let first_tokens = generated
            .event_tokens
            .as_ref()
            .and_then(|counts| counts.first());
        let decoded = workload
            .output_tokens
            .saturating_sub(first_tokens.copied().unwrap_or(1));
        cost.requests += 1;
        cost.first_token_ns += first_ns - sent_ns;
        cost.decode_ns += last_ns.saturating_sub(first_ns);
        cost.late_ns += ended_ns - last_ns.max(first_ns);
        cost.prompt_tokens += u64::from(generated.prompt_tokens);
        cost.decoded_tokens += u64::from(decoded);
        Ok(generated)
    }

    /// Tokens that are said before they are made would leave the work behind the last of them. More
    /// than half of the repetitions have to: one may have waited for the machine.
    fn check_late_work(&self, cell: &Cell, costs: &[Cost]) -> Result<(), SlotError> {
        let late = |cost: &&Cost| {
            let token_ns = cost.decode_ns.checked_div(cost.decoded_tokens).unwrap_or(0);
            cost.late_ns / cost.requests > (LATE_TOKENS * token_ns).max(LATE_NS)
        };
        if costs.iter().filter(late).count() * 2 <= costs.len() {
            return Ok(());
        }
        let mean = |of: fn(&Cost) -> u64, by: fn(&Cost) -> u64| {
            let by: u64 = costs.iter().map(by).sum();
            costs.iter().map(of).sum::<u64>() as f64 / 1e6 / by.max(1) as f64
        };
        Err(self.other_work(&format!(
            "of {} it worked {:.1} ms after its last token, and took {:.1} ms for each before",
            cell.gated.workload.id,
            mean(|cost| cost.late_ns, |cost| cost.requests),
            mean(|cost| cost.decode_ns, |cost| cost.decoded_tokens),
        )))
    }
}

/// How an answer differs from what was asked.
fn other_work(cell: &Cell, generated: &Generated, events: u64) -> Option<String> {
    let workload = &cell.gated.workload;
    let (asked, made) = (workload.output_tokens, generated.output_tokens);
    let (sent, read) = (cell.prompt_tokens(), generated.prompt_tokens);
    if made != asked {
        return Some(format!(
            "it made {made} tokens where {asked} were asked for"
        ));
    }
    if read != sent {
        return Some(format!(
            "it read {read} prompt tokens where {sent} were sent"
        ));
    }
    let counts = generated.event_tokens.as_deref();
    let counted = counts.map_or(events, |counts| counts.iter().map(|k| u64::from(*k)).sum());
    let pieces = counts.map_or(events, |counts| counts.len() as u64);
    if counted != u64::from(made) || pieces != events {
        return Some(format!(
            "its {events} pieces of output do not add up to {made} tokens"
        ));
    }
    let cached = generated.cached_tokens.unwrap_or(0);
    (cached > 0).then(|| format!("{cached} tokens of a cold prompt came from a cache"))
}
