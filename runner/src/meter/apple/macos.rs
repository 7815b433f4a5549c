//! The calls into macmon, and nothing else. Checked against the source of macmon 0.10.0; nobody
//! has run it on a real machine yet.

use std::fmt;

use macmon::sources::{IOReport, SMC, cfio_integer_value};

use super::model::{Channel, EnergyModel};
use super::system::SystemPower;
use crate::meter::ReadError;

/// Opens the SMC.
pub(super) fn system() -> Result<Smc, ReadError> {
    SMC::new().map(Smc).map_err(|error| failed(error.as_ref()))
}

/// Subscribes to the energy model.
pub(super) fn model() -> Result<Reports, ReadError> {
    let channels = vec![("Energy Model", None)];
    IOReport::new(channels)
        .map(Reports)
        .map_err(|error| failed(error.as_ref()))
}

/// macmon tells what is absent only in words.
fn failed(error: &dyn std::error::Error) -> ReadError {
    match error.to_string().as_str() {
        "AppleSMC not found" | "No IOReport channels found" => ReadError::Absent,
        "SMC key not found" => ReadError::NotSupported,
        other => ReadError::Transport(other.to_owned()),
    }
}

/// The SMC's connection.
pub(super) struct Smc(SMC);

impl fmt::Debug for Smc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Smc")
    }
}

impl SystemPower for Smc {
    fn watts(&mut self) -> Result<f32, ReadError> {
        self.0
            .read_float_val("PSTR")
            .map_err(|error| failed(error.as_ref()))
    }
}

/// The energy model's subscription.
pub(super) struct Reports(IOReport);

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reports")
    }
}

// SAFETY: the subscription holds owned Core Foundation objects, whose reference counts are atomic
// and which belong to no thread; `&mut self` lets one thread at a time use them.
#[expect(unsafe_code, reason = "macmon's subscription holds raw pointers")]
unsafe impl Send for Reports {}

impl EnergyModel for Reports {
    fn deltas(&mut self) -> Result<Vec<Channel>, ReadError> {
        // One sample after no wait: its differences are those since the last call.
        let samples = self.0.get_samples(0, 1);
        let channels = samples.into_iter().flat_map(|(channels, _)| {
            channels.map(|channel| Channel {
                delta: cfio_integer_value(channel.item),
                group: channel.group,
                channel: channel.channel,
                unit: channel.unit,
            })
        });
        Ok(channels.collect())
    }
}
