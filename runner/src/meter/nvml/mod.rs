//! NVIDIA graphics processors through NVML, the library of NVIDIA's driver.
//!
//! Lifecycle: the library is opened once and stays open until the program ends, as its devices are
//! shared by meters, the host's facts and its state. Devices are told apart by UUID: NVML's own
//! order is that of the bus, CUDA's another. A machine without the library or without the driver
//! has nothing to say and is not refused anything; a library that is there and does not start is.
//!
//! A missing symbol fails its own call alone, so an older driver loses only what it lacks. A
//! function that answers with an error gives a [`ReadError`], never a number.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use domain::text::Name;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::{Found, ReadError, Refusal};

mod counters;
mod facts;
mod module;
#[cfg(test)]
mod tests;

pub use facts::{CardUse, GpuUse};

/// Name of this source in records.
const METER: &str = "nvml";

const PERMISSION_FIX: &str =
    "let this user open /dev/nvidiactl and /dev/nvidia* (in a container: pass the devices in)";

/// What there is.
pub fn discover(root: &Path) -> Found {
    match here(root) {
        Ok(Some(gpus)) => gpus.meters(),
        Ok(None) => Found::default(),
        Err(error) => Found {
            meters: Vec::new(),
            refused: vec![Refusal {
                meter: METER,
                device: None,
                error,
            }],
        },
    }
}

/// This machine's graphics processors; `None` where NVIDIA's driver is not. The driver belongs to
/// the system that runs, so a replaced `root` has none.
pub fn here(root: &Path) -> Result<Option<Gpus>, ReadError> {
    static HERE: OnceLock<Result<Option<Gpus>, ReadError>> = OnceLock::new();
    if root == Path::new("/") {
        HERE.get_or_init(|| Gpus::open(None)).clone()
    } else {
        Ok(None)
    }
}

/// The graphics processors that the driver showed when it was opened.
#[derive(Debug, Clone)]
pub struct Gpus {
    cards: Vec<Arc<Card>>,
    /// Why the others do not tell their name: they fell off the bus, or are not for this user.
    mute: Vec<ReadError>,
    driver: Option<Name>,
}

impl Gpus {
    /// Opens the driver's library, or another one that speaks as it does.
    pub fn open(library: Option<&Path>) -> Result<Option<Self>, ReadError> {
        let mut builder = Nvml::builder();
        if let Some(path) = library {
            builder.lib_path(path.as_os_str());
        }
        let nvml: &'static Nvml = match builder.init() {
            Ok(nvml) => Box::leak(Box::new(nvml)),
            Err(
                NvmlError::LibloadingError(_)
                | NvmlError::LibraryNotFound
                | NvmlError::DriverNotLoaded,
            ) => return Ok(None),
            Err(NvmlError::LibRmVersionMismatch) => {
                return Err(ReadError::Transport(
                    "the driver in the kernel and its library are of different versions; \
                     restart the machine after an update of the driver"
                        .to_owned(),
                ));
            }
            Err(error) => return Err(read_error(error)),
        };
        let count = nvml.device_count().map_err(read_error)?;
        let (mut cards, mut mute) = (Vec::new(), Vec::new());
        for index in 0..count {
            let device = nvml.device_by_index(index);
            match device.and_then(|device| Card::new(index, device)) {
                Ok(card) => cards.push(Arc::new(card)),
                Err(error) => mute.push(read_error(error)),
            }
        }
        let driver = nvml.sys_driver_version().ok();
        Ok((count > 0).then(|| Self {
            cards,
            mute,
            driver: driver.map(|version| Name::cleaned(&version)),
        }))
    }

    fn meters(&self) -> Found {
        let mut found = Found::default();
        let refusal = |device, error| Refusal {
            meter: METER,
            device,
            error,
        };
        for card in &self.cards {
            let (meters, refused) = card.meters();
            found.meters.extend(meters);
            let refused = refused.map(|error| refusal(Some(card.label.clone()), error));
            found.refused.extend(refused);
        }
        let mute = self.mute.iter().cloned();
        found.refused.extend(mute.map(|error| refusal(None, error)));
        found
    }
}

/// One device of the driver.
struct Card {
    device: Device<'static>,
    index: u32,
    uuid: String,
    /// Its name in records: the beginning of its UUID, which stays the same in whatever order
    /// devices are listed.
    label: Name,
    name: String,
}

impl Card {
    fn new(index: u32, device: Device<'static>) -> Result<Self, NvmlError> {
        let uuid = device.uuid()?;
        let short: String = uuid.trim_start_matches("GPU-").chars().take(8).collect();
        Ok(Self {
            label: Name::cleaned(&format!("gpu-{short}")),
            name: device.name()?,
            index,
            uuid,
            device,
        })
    }

    /// Why its counter would tell of others' work too, if it would.
    fn shared(&self) -> Option<&'static str> {
        const MIG: &str = "MIG is on: the slices of the GPU have no counter of their own; \
             turn it off (nvidia-smi -mig 0) to measure joules";
        const VGPU: &str = "this is a virtual GPU (vGPU), a share of a real one whose power only \
             its host can read; measure on the host";
        let mig = self.is_mig().then_some(MIG);
        mig.or(self.is_virtual().then_some(VGPU))
    }

    #[cfg(not(target_os = "macos"))]
    fn is_virtual(&self) -> bool {
        use nvml_wrapper::enum_wrappers::device::GpuVirtualizationMode;
        let mode = self.device.virtualization_mode();
        matches!(mode, Ok(GpuVirtualizationMode::Vgpu))
    }

    /// The wrapper cannot ask it there, and there is no driver that would answer.
    #[cfg(target_os = "macos")]
    fn is_virtual(&self) -> bool {
        false
    }

    fn is_mig(&self) -> bool {
        self.device.mig_mode().is_ok_and(|mode| mode.current == 1)
    }

    /// A graphics processor without memory of its own is part of an `SoC`: its power is that of
    /// one rail, not of a board. DGX Spark's GB10 is such a one, whatever a later driver says of
    /// its memory.
    fn is_in_soc(&self) -> bool {
        let named = self.name.split(|c: char| !c.is_ascii_alphanumeric());
        named.into_iter().any(|word| word == "GB10")
            || matches!(self.device.memory_info(), Err(NvmlError::NotSupported))
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Card")
            .field("label", &self.label)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a failure of NVML means for a reading.
fn read_error(error: NvmlError) -> ReadError {
    match error {
        NvmlError::NotSupported
        | NvmlError::FunctionNotFound
        | NvmlError::FailedToLoadSymbol(_) => ReadError::NotSupported,
        NvmlError::NoPermission => ReadError::Permission {
            fix: PERMISSION_FIX,
        },
        NvmlError::GpuLost
        | NvmlError::NotFound
        | NvmlError::DriverNotLoaded
        | NvmlError::Uninitialized => ReadError::Absent,
        other => ReadError::Transport(other.to_string()),
    }
}
