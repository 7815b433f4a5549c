//! What of a card can be read: its energy counter, its power, and the power of its module.
//!
//! Counter and power bear one device name: one of them is the headline, the other its check, and
//! they are never added.

use std::fmt;
use std::sync::Arc;

use domain::record::{Averaging, MeterKind, UpdateBasis};
use domain::scope::Scope;
use domain::text::Name;
use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::Sampling;
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::FieldValueSample;
use nvml_wrapper::structs::device::{CudaComputeCapability, FieldId};
use nvml_wrapper::sys_exports::field_id::NVML_FI_DEV_POWER_INSTANT;

use super::module::module_power;
use super::{Card, METER, read_error};
use crate::clock::Clock;
use crate::meter::{Meter, MeterInfo, Reach, ReadError, Reading};

/// Until it is probed: the slow end of what cards do, 10 to 100 ms. On A100 and H100 the sensor
/// sees a quarter of each such period (arXiv 2312.02741).
const UPDATE_NS: u64 = 100_000_000;

/// Sensor prior of the energy method: 5 %.
const SENSOR_PPM: u32 = 50_000;

/// GA100. Up to it `nvmlDeviceGetPowerUsage` tells the power of the moment, on later chips a mean
/// of the last second
/// (<https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html>).
const LAST_INSTANT: (i32, i32) = (8, 0);

/// Window of that mean.
const WINDOW_NS: u64 = 1_000_000_000;

/// A stamp older than this is no stamp of a fresh value in Unix time.
const MAX_AGE_US: i128 = 10_000_000;

/// How much later than our clock the driver's may be: both are the system's own, read a moment
/// apart, ours to a millisecond.
const MAX_LEAD_US: i128 = 2_000;

impl Card {
    /// Its meters, and why one that it should have cannot be read.
    pub(super) fn meters(self: &Arc<Self>) -> (Vec<Box<dyn Meter>>, Option<ReadError>) {
        if let Some(why) = self.shared() {
            return (Vec::new(), Some(ReadError::Shared { why }));
        }
        let scope = if self.is_in_soc() {
            Scope::GpuRail
        } else {
            Scope::GpuBoard
        };
        let mut meters: Vec<Box<dyn Meter>> = Vec::new();
        let mut offer = |source: Source, scope| {
            source.read(&self.device)?;
            meters.push(Box::new(NvmlMeter {
                info: self.info(source, scope),
                card: Arc::clone(self),
                source,
                last: None,
            }));
            Ok(())
        };
        let counted = offer(Source::Energy, scope);
        let powered = offer(Source::Instant, scope)
            .or_else(|error| match self.averaging() {
                // Of later chips nobody says what the samples are means of.
                (Averaging::Instant, _) => offer(Source::Samples, scope),
                _ => Err(error),
            })
            .or_else(|_| offer(Source::Usage, scope));
        // Only where a module has one GPU: two GPUs of one module would tell its power twice.
        let of_module = if self.name.contains("GH200") {
            offer(Source::Module, Scope::Module)
        } else {
            Ok(())
        };
        // What a chip lacks is no news as long as it has another way; what fails is.
        let failed = [counted, powered, of_module]
            .into_iter()
            .filter_map(Result::err);
        let refused = failed
            .max_by_key(|error| *error != ReadError::NotSupported)
            .filter(|error| meters.is_empty() || *error != ReadError::NotSupported);
        (meters, refused)
    }

    /// How power is averaged where the call does not say it, and over how long.
    fn averaging(&self) -> (Averaging, Option<u64>) {
        match self.device.cuda_compute_capability() {
            Ok(CudaComputeCapability { major, minor }) if (major, minor) <= LAST_INSTANT => {
                (Averaging::Instant, None)
            }
            Ok(_) => (Averaging::Window, Some(WINDOW_NS)),
            Err(_) => (Averaging::Unknown, None),
        }
    }

    fn info(&self, source: Source, scope: Scope) -> MeterInfo {
        let (averaging, window_ns) = match source {
            Source::Usage => self.averaging(),
            _ => (Averaging::Instant, None),
        };
        MeterInfo {
            meter: Name::cleaned(METER),
            device: match source {
                // Another device than the card: its power checks no counter of the card.
                Source::Module => Name::cleaned(&self.label.as_str().replace("gpu", "module")),
                _ => self.label.clone(),
            },
            scope,
            kind: match source {
                Source::Energy => MeterKind::Counter,
                _ => MeterKind::Power,
            },
            averaging,
            window_ns,
            update_ns: Some(UPDATE_NS),
            update_basis: UpdateBasis::Assumed,
            // 64 bits of millijoules outlast any machine.
            wrap_uj: None,
            sensor_ppm: Some(SENSOR_PPM),
            origin: Name::cleaned(match source {
                Source::Energy => "nvmlDeviceGetTotalEnergyConsumption",
                Source::Instant => "NVML field 186",
                Source::Samples => "nvmlDeviceGetSamples",
                Source::Usage => "nvmlDeviceGetPowerUsage",
                Source::Module => "NVML field 186 of the module",
            }),
            privilege: "none",
            reach: Reach::Local,
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Total energy since the driver was loaded, Volta and later.
    Energy,
    /// Power of the moment, with the driver's stamp.
    Instant,
    /// The newest of the driver's own samples, with its stamp; up to GA100.
    Samples,
    /// Power as the chip averages it.
    Usage,
    /// Power of the moment of the module that the card is part of.
    Module,
}

/// A value in micro-joules or micro-watts, and the driver's stamp in Unix microseconds.
type Stamped = (u64, Option<i64>);

impl Source {
    fn read(self, device: &Device<'static>) -> Result<Stamped, ReadError> {
        let (milli, stamp_us) = match self {
            Self::Energy => (device.total_energy_consumption().map_err(read_error)?, None),
            Self::Instant => {
                let asked = [FieldId(NVML_FI_DEV_POWER_INSTANT)];
                let mut fields = device.field_values_for(&asked).map_err(read_error)?;
                let field = fields.pop().unwrap_or(Err(NvmlError::NoData));
                field_value(field.map_err(read_error)?)?
            }
            Self::Module => field_value(module_power(device).map_err(read_error)?)?,
            Self::Samples => {
                let samples = device.samples(Sampling::Power, None).map_err(read_error)?;
                let newest = samples
                    .into_iter()
                    .max_by_key(|sample| sample.timestamp)
                    .ok_or(ReadError::NotSupported)?;
                (whole(&newest.value)?, i64::try_from(newest.timestamp).ok())
            }
            Self::Usage => (u64::from(device.power_usage().map_err(read_error)?), None),
        };
        // A chip that runs this query draws power: 0 W is a sensor that does not answer.
        if milli == 0 && self != Self::Energy {
            return Err(ReadError::Implausible("0 W".to_owned()));
        }
        let micro = milli
            .checked_mul(1_000)
            .ok_or_else(|| ReadError::Implausible(milli.to_string()))?;
        Ok((micro, stamp_us))
    }
}

fn field_value(field: FieldValueSample) -> Result<(u64, Option<i64>), ReadError> {
    let value = field.value.map_err(read_error)?;
    Ok((whole(&value)?, Some(field.timestamp)))
}

fn whole(value: &SampleValue) -> Result<u64, ReadError> {
    match value {
        SampleValue::U32(value) => Some(u64::from(*value)),
        SampleValue::U64(value) => Some(*value),
        SampleValue::I64(value) => u64::try_from(*value).ok(),
        SampleValue::F64(_) => None,
    }
    .ok_or_else(|| ReadError::Implausible(format!("{value:?}")))
}

/// One value of a card.
struct NvmlMeter {
    info: MeterInfo,
    card: Arc<Card>,
    source: Source,
    /// The last stamp of the driver, and where it lies on our clock.
    last: Option<(i64, u64)>,
}

impl NvmlMeter {
    /// Where a driver's stamp lies on our clock; `None` if it is none that makes sense. One sample
    /// that is read twice keeps its place.
    fn place(&mut self, stamp_us: i64, now_ns: u64, unix_ms: u64) -> Option<u64> {
        let last = self.last;
        if let Some((same_us, placed_ns)) = last
            && same_us == stamp_us
        {
            return Some(placed_ns);
        }
        let age_us = i128::from(unix_ms) * 1_000 + 500 - i128::from(stamp_us);
        let placed = (-MAX_LEAD_US..=MAX_AGE_US)
            .contains(&age_us)
            .then(|| u64::try_from(i128::from(now_ns) - age_us.max(0) * 1_000).ok())
            .flatten()
            // The wall clock is set back now and then; ours is not.
            .filter(|placed| last.is_none_or(|(_, before)| before < *placed))?;
        self.last = Some((stamp_us, placed));
        Some(placed)
    }
}

impl fmt::Debug for NvmlMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NvmlMeter")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl Meter for NvmlMeter {
    fn info(&self) -> &MeterInfo {
        &self.info
    }

    fn read(&mut self, clock: &dyn Clock) -> Result<Reading, ReadError> {
        let before_ns = clock.now_ns();
        let (value, stamp_us) = self.source.read(&self.card.device)?;
        let after_ns = clock.now_ns();
        let unix_ms = clock.unix_ms();
        let source_ns = stamp_us.and_then(|stamp| self.place(stamp, after_ns, unix_ms));
        Ok(Reading {
            before_ns,
            after_ns,
            source_ns,
            value,
        })
    }
}
