//! What may disturb a block from outside: neither arm's doing, so the block does not count.
//!
//! A suspended machine or a clock that was set, another power source, another program on the
//! graphics processors. Load of other programs on the processor is not among them: it is as likely
//! in either arm's slots, which the coins see to.

use std::collections::BTreeSet;

use domain::record::Context;

use crate::engine::Processes;
use crate::sweep::Machine;

/// By how much the wall clock may run apart from the steady one within a block: what keeps time
/// over a network corrects by less than a thousandth.
const APART_MS: u64 = 1_000;
const APART_SHARE: u64 = 1_000;

/// The machine as it was when a block began.
#[derive(Debug)]
pub(super) struct Watch {
    wall_ms: u64,
    steady_ns: u64,
    power_source: Option<String>,
    clients: Option<BTreeSet<u32>>,
}

impl Watch {
    /// Looks at the machine before the block's first slot. `backend` is what the arms compute on.
    pub(super) fn begin(machine: &Machine, backend: &str) -> Self {
        Self {
            wall_ms: machine.clock.unix_ms(),
            steady_ns: machine.clock.now_ns(),
            power_source: power_source(machine),
            clients: clients(machine, backend),
        }
    }

    /// What has disturbed the block since, between two of its slots.
    pub(super) fn disturbance(&self, machine: &Machine, backend: &str) -> Option<String> {
        let steady_ms = (machine.clock.now_ns() - self.steady_ns) / 1_000_000;
        let wall_ms = machine.clock.unix_ms().checked_sub(self.wall_ms);
        let apart_ms = wall_ms.map_or(u64::MAX, |wall_ms| wall_ms.abs_diff(steady_ms));
        if apart_ms > APART_MS + steady_ms / APART_SHARE {
            return Some("the machine was suspended or its clock was set".to_owned());
        }
        let source = power_source(machine);
        if source != self.power_source {
            let name =
                |source: &Option<String>| source.clone().unwrap_or_else(|| "unknown".to_owned());
            return Some(format!(
                "the power source changed from {} to {}",
                name(&self.power_source),
                name(&source)
            ));
        }
        // None of ours runs between slots, so whoever computes there is another.
        (clients(machine, backend) != self.clients)
            .then(|| "other programs on the graphics processor came or went".to_owned())
    }
}

/// For how long the machine has held its clocks down since it started, in nanoseconds; absent
/// where it does not say.
pub(super) fn throttled_ns(machine: &Machine, backend: &str) -> Option<u64> {
    state(machine, backend).throttle_ns
}

fn state(machine: &Machine, backend: &str) -> Context {
    machine.context.read_with(0, &Processes::Unknown, backend)
}

fn power_source(machine: &Machine) -> Option<String> {
    machine.context.read(0).power_source.map(String::from)
}

/// Programs on the graphics processors, where the arms compute on some.
fn clients(machine: &Machine, backend: &str) -> Option<BTreeSet<u32>> {
    let usage = machine.context.gpus_in_use(&Processes::Unknown, backend);
    let is_used = usage.cards.iter().any(|card| card.used);
    is_used.then(|| machine.context.gpu_clients())
}
