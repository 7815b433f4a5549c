//! From a record, or a foreign file, to its envelope: exact bytes, one signature.

use domain::envelope;
use domain::gate::record::{self as gate, GateRecord};
use domain::ids::ContentId;
use domain::import::sealed::{self, Import};
use domain::json;
use domain::record::{PAYLOAD_TYPE, Record};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::keys::RunnerKey;

/// Why a record was not sealed.
#[derive(Debug, Error)]
pub enum SealError {
    /// Longer than a collector takes.
    #[error("seal the record: {bytes} bytes are more than the {most} allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// What its type allows.
        most: usize,
    },
    /// A collector would refuse its shape.
    #[error("seal the record: {0}")]
    Shape(#[from] json::StrictError),
    /// Not JSON.
    #[error("write the record as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// A record ready to travel.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Its name.
    pub content_id: ContentId,
    /// The envelope's bytes.
    pub bytes: Vec<u8>,
}

/// Signs a record's exact bytes, after checking that a collector's strict parser would take them.
pub fn seal(record: &Record, key: &RunnerKey) -> Result<Sealed, SealError> {
    sealed(record, PAYLOAD_TYPE, key)
}

/// Signs a foreign file and what is said about it, likewise.
pub fn seal_import(import: &Import, key: &RunnerKey) -> Result<Sealed, SealError> {
    sealed(import, sealed::PAYLOAD_TYPE, key)
}

/// Signs what a gate measured, likewise.
pub fn seal_gate(record: &GateRecord, key: &RunnerKey) -> Result<Sealed, SealError> {
    sealed(record, gate::PAYLOAD_TYPE, key)
}

fn sealed<T: Serialize + DeserializeOwned>(
    payload: &T,
    payload_type: &str,
    key: &RunnerKey,
) -> Result<Sealed, SealError> {
    let payload = serde_json::to_vec(payload)?;
    let (bytes, most) = (payload.len(), envelope::max_payload_bytes(payload_type));
    if bytes > most {
        return Err(SealError::TooLong { bytes, most });
    }
    json::parse_strict::<T>(&payload)?;
    let (content_id, envelope) = envelope::sign(payload_type, &payload, key.signing());
    Ok(Sealed {
        content_id,
        bytes: serde_json::to_vec(&envelope)?,
    })
}
