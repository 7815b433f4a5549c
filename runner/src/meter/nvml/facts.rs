//! Facts of the cards: what they are, which of them the engine uses, and how they fare.

use std::collections::BTreeSet;

use domain::ids::Sha256Digest;
use domain::record::{Context, Gpu, Host, MeterTrace};
use domain::text::Name;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{
    Clock, PerformancePolicy, PerformanceState, TemperatureSensor,
};

use super::{Card, Gpus, METER};
use crate::meter::MeterInfo;

/// Keeps a UUID out of records: who knows a card's UUID can tell that it is the one, and nobody
/// reads a UUID from a record.
const UUID_SALT: &str = "joulemark gpu uuid v1";

/// Why clocks are held down, in the words of records. Not among them: an idle card, and clocks
/// that its owner set.
const REASONS: [(ThrottleReasons, &str); 6] = [
    (ThrottleReasons::SW_POWER_CAP, "gpu-power-cap"),
    (ThrottleReasons::HW_SLOWDOWN, "hw-slowdown"),
    (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "hw-power-brake"),
    (ThrottleReasons::HW_THERMAL_SLOWDOWN, "hw-thermal-slowdown"),
    (ThrottleReasons::SW_THERMAL_SLOWDOWN, "sw-thermal-slowdown"),
    (ThrottleReasons::SYNC_BOOST, "gpu-sync-boost"),
];

/// Which cards an engine uses, and who else is on them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuUse {
    /// Every card.
    pub cards: Vec<CardUse>,
    /// Other processes that compute on the cards in use; `None` where no card is used, or
    /// processes cannot be told apart.
    pub foreign: Option<u32>,
    /// Cards of other machines are taken to be used: nobody here can ask their driver.
    pub elsewhere: bool,
}

/// Whether an engine uses one card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardUse {
    /// The card's name, as its meters bear it.
    pub device: Name,
    /// As in the host's facts.
    pub uuid_hash: Sha256Digest,
    /// The engine uses it.
    pub used: bool,
}

impl GpuUse {
    /// Where no driver can be asked.
    pub fn elsewhere(backend: &str) -> Self {
        Self {
            elsewhere: computes_on_cards(backend).unwrap_or(true),
            ..Self::default()
        }
    }

    /// A meter of this machine covers a card that does not work.
    pub fn is_idle(&self, meter: &MeterInfo) -> bool {
        let same = |card: &CardUse| meter.device == card.device && !card.used;
        meter.meter.as_str() == METER && self.cards.iter().any(same)
    }

    /// Writes into the hosts' cards and into their meters which of them worked.
    pub fn apply(&self, hosts: &mut [Host], traces: &mut [MeterTrace]) {
        for gpu in hosts.iter_mut().flat_map(|host| &mut host.gpus) {
            let same = |card: &&CardUse| gpu.uuid_hash == Some(card.uuid_hash);
            let here = self.cards.iter().find(same);
            gpu.used = here.map_or(self.elsewhere, |card| card.used);
        }
        for trace in traces
            .iter_mut()
            .filter(|trace| trace.meter.as_str() == METER)
        {
            let same = |card: &&CardUse| trace.device == card.device;
            if let Some(card) = self.cards.iter().find(same) {
                trace.used = card.used;
            }
        }
    }
}

impl Gpus {
    /// What the cards are; which of them is used is not known before an engine runs.
    pub fn facts(&self) -> Vec<Gpu> {
        let facts = |card: &Card| Gpu {
            gpu: card.index,
            // What a slice of a card does is not what the card can do.
            name: if card.is_mig() {
                Name::cleaned(&format!("{} (MIG on)", card.name))
            } else {
                Name::cleaned(&card.name)
            },
            driver: self.driver.clone(),
            memory_bytes: card.device.memory_info().ok().map(|memory| memory.total),
            power_limit_mw: card.device.enforced_power_limit().ok().map(u64::from),
            uuid_hash: Some(card.uuid_hash()),
            used: false,
        };
        self.cards.iter().map(|card| facts(card)).collect()
    }

    /// Whether one of them is part of an `SoC`, whose memory is the processor's, too.
    pub fn share_memory(&self) -> bool {
        self.cards.iter().any(|card| card.is_in_soc())
    }

    /// Which cards are used by an engine of these processes and this backend.
    ///
    /// The driver lists who computes on a card. Where the engine is on no list, its processes may
    /// be out of sight or bear other numbers there (a container): then what it says of its backend
    /// counts, and an engine that computes on graphics processors is taken to use every card that
    /// it can see, so that no joule is left out. `lists_are_whole`: whoever is on no list does not
    /// compute on a card.
    pub fn in_use(
        &self,
        pids: Option<&BTreeSet<u32>>,
        lists_are_whole: bool,
        backend: &str,
    ) -> GpuUse {
        let lists: Vec<BTreeSet<u32>> = self.cards.iter().map(|card| card.pids()).collect();
        let own = |list: &BTreeSet<u32>| pids.is_some_and(|pids| !pids.is_disjoint(list));
        let is_listed = lists.iter().any(own);
        let by_backend = computes_on_cards(backend).unwrap_or(!(lists_are_whole && pids.is_some()));
        let used = |list| if is_listed { own(list) } else { by_backend };
        let foreign = is_listed.then(|| {
            let on_used = lists.iter().filter(|list| own(list)).flatten();
            let others: BTreeSet<_> = on_used
                .filter(|pid| pids.is_some_and(|pids| !pids.contains(pid)))
                .collect();
            others.len() as u32
        });
        let cards = self.cards.iter().zip(&lists);
        GpuUse {
            cards: cards
                .map(|(card, list)| CardUse {
                    device: card.label.clone(),
                    uuid_hash: card.uuid_hash(),
                    used: used(list),
                })
                .collect(),
            foreign,
            ..GpuUse::elsewhere(backend)
        }
    }

    /// Adds how the cards in use fare to the state of a host: the hottest, the slowest. Without a
    /// card in use it is the processor's state alone, and the time for which heat slowed any down.
    pub fn describe(&self, usage: &GpuUse, context: &mut Context) {
        // Of all cards, so that it only grows, whichever are in use when it is read: an idle card
        // is not slowed down by heat.
        let slowed: Vec<u64> = self
            .cards
            .iter()
            .filter_map(|card| card.thermal_ns())
            .collect();
        if !slowed.is_empty() {
            let slowed_ns: u64 = slowed.iter().sum();
            context.throttle_ns = Some(context.throttle_ns.unwrap_or(0) + slowed_ns);
        }
        let in_use = |card: &Card| {
            let same = |one: &CardUse| one.used && one.device == card.label;
            usage.cards.iter().any(same)
        };
        let cards: Vec<&Card> = self
            .cards
            .iter()
            .map(AsRef::as_ref)
            .filter(|card| in_use(card))
            .collect();
        if cards.is_empty() {
            return;
        }
        let hottest = cards.iter().filter_map(|card| card.temp_mc()).max();
        context.temp_mc = hottest.or(context.temp_mc);
        let clock = |card: &&Card| card.device.clock_info(Clock::SM).ok().map(u64::from);
        context.clock_mhz = cards.iter().filter_map(clock).min();
        let limit = |card: &&Card| card.device.enforced_power_limit().ok().map(u64::from);
        context.power_limit_mw = cards.iter().map(limit).sum();
        let state = |card: &&Card| pstate(card.device.performance_state().ok()?);
        let slowest = cards.iter().filter_map(state).max();
        context.pstate = slowest.map(|number| Name::cleaned(&format!("P{number}")));
        let reasons: Option<Vec<ThrottleReasons>> = cards
            .iter()
            .map(|card| card.device.current_throttle_reasons().ok())
            .collect();
        if let Some(reasons) = reasons {
            let all = ThrottleReasons::from_iter(reasons);
            let told = REASONS.iter().filter(|(reason, _)| all.contains(*reason));
            context
                .throttle_reasons
                .get_or_insert_default()
                .extend(told.map(|(_, word)| Name::cleaned(word)));
        }
        context.foreign_gpu_processes = usage.foreign;
        context.driver.clone_from(&self.driver);
        let firmware = cards
            .first()
            .and_then(|card| card.device.vbios_version().ok());
        context.firmware = firmware.map(|version| Name::cleaned(&version));
    }

    /// Every process that computes on one of them.
    pub fn clients(&self) -> BTreeSet<u32> {
        self.cards.iter().flat_map(|card| card.pids()).collect()
    }

    /// Temperature of the hottest card.
    pub fn temp_mc(&self) -> Option<i64> {
        self.cards.iter().filter_map(|card| card.temp_mc()).max()
    }
}

impl Card {
    fn uuid_hash(&self) -> Sha256Digest {
        Sha256Digest::of(format!("{UUID_SALT}\0{}", self.uuid).as_bytes())
    }

    /// Who computes on it; whoever only draws does not. Nobody where the driver does not say.
    fn pids(&self) -> BTreeSet<u32> {
        let processes = self.device.running_compute_processes();
        let processes = processes.unwrap_or_default().into_iter();
        processes.map(|process| process.pid).collect()
    }

    fn temp_mc(&self) -> Option<i64> {
        let celsius = self.device.temperature(TemperatureSensor::Gpu).ok()?;
        Some(i64::from(celsius) * 1_000)
    }

    /// Time for which heat has held its clocks down.
    fn thermal_ns(&self) -> Option<u64> {
        let violation = self.device.violation_status(PerformancePolicy::Thermal);
        Some(violation.ok()?.violation_time)
    }
}

/// Whether a backend is one of these cards, as far as its name tells.
fn computes_on_cards(backend: &str) -> Option<bool> {
    const CARDS: [&str; 5] = ["cuda", "tensorrt", "vulkan", "opencl", "gpu"];
    const OTHERS: [&str; 8] = [
        "cpu",
        "blas",
        "openblas",
        "accelerate",
        "metal",
        "rocm",
        "hip",
        "scripted",
    ];
    let backend = backend.to_lowercase();
    let says = |words: &[&str]| {
        let mut said = backend.split(|c: char| !c.is_ascii_alphanumeric());
        said.any(|word| words.contains(&word))
    };
    if says(&CARDS) {
        Some(true)
    } else {
        says(&OTHERS).then_some(false)
    }
}

fn pstate(state: PerformanceState) -> Option<u32> {
    let number = state.as_c();
    (number <= 15).then_some(number)
}
