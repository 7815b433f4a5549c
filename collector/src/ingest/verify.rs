//! From bytes to a verified record: no judgement, no trace.

use domain::envelope::{self, MAX_ENVELOPE_BYTES, Opened, Verified, VerifyError};
use domain::gate::record::{self as gate, GateRecord};
use domain::import::sealed::{self, Import};
use domain::json::StrictError;
use domain::record::{PAYLOAD_TYPE, Record};

use super::IngestError;
use crate::collector::{Collector, off_the_loop};
use crate::store::runner_key::RunnerKey;
use domain::api::ProblemPlace;

/// What may be submitted.
pub(super) enum Submitted {
    /// Our own measurement.
    Record(Box<Verified<Record>>),
    /// Another tool's file.
    Import(Box<Verified<Import>>),
    /// A gate.
    Gate(Box<Verified<GateRecord>>),
}

/// Opens the envelope, finds its key, verifies and parses. The signature covers the type by which
/// the payload is parsed.
pub(super) async fn verify(
    collector: &Collector,
    bytes: Vec<u8>,
) -> Result<Submitted, IngestError> {
    if bytes.len() > MAX_ENVELOPE_BYTES {
        return Err(IngestError::TooLarge);
    }
    let opened = off_the_loop(move || envelope::open(&bytes)).await?;
    let most = envelope::max_payload_bytes(opened.payload_type());
    let key = active_key(collector, &opened).await?;
    let (submitted, payload_bytes) = off_the_loop(move || {
        let key = envelope::public_key(&key.public_key).map_err(|_| VerifyError::BadSignature)?;
        if opened.payload_type() == sealed::PAYLOAD_TYPE {
            let import = opened.verify::<Import>(&key, sealed::PAYLOAD_TYPE)?;
            let bytes = import.payload().len();
            return Ok((Submitted::Import(Box::new(import)), bytes));
        }
        if opened.payload_type() == gate::PAYLOAD_TYPE {
            let gate = opened.verify::<GateRecord>(&key, gate::PAYLOAD_TYPE)?;
            let bytes = gate.payload().len();
            return Ok((Submitted::Gate(Box::new(gate)), bytes));
        }
        let record = opened.verify::<Record>(&key, PAYLOAD_TYPE)?;
        let bytes = record.payload().len();
        Ok::<_, VerifyError>((Submitted::Record(Box::new(record)), bytes))
    })
    .await?;
    if payload_bytes > most {
        return Err(IngestError::TooLarge);
    }
    Ok(submitted)
}

async fn active_key(collector: &Collector, opened: &Opened) -> Result<RunnerKey, IngestError> {
    match collector.find_key(opened.key_id()).await? {
        None => Err(IngestError::UnknownKey),
        Some(key) if key.revoked => Err(IngestError::KeyRevoked),
        Some(key) => Ok(key),
    }
}

impl From<VerifyError> for IngestError {
    fn from(error: VerifyError) -> Self {
        let place = |pointer: &str, code: String| {
            Self::Schema(vec![ProblemPlace {
                pointer: pointer.to_owned(),
                code,
            }])
        };
        match error {
            VerifyError::Malformed(_) => Self::Malformed(
                "one JSON object with payloadType, payload in base64 and exactly one signature \
                 with keyid and sig is needed"
                    .to_owned(),
            ),
            VerifyError::BadSignature => Self::BadSignature,
            VerifyError::WrongType(_) => place("/payloadType", "wrong-type".to_owned()),
            // The parser's own words repeat what was sent; its place does not.
            VerifyError::Schema(StrictError::Parse(error)) => {
                let at = format!(
                    "unreadable at line {} column {}",
                    error.line(),
                    error.column()
                );
                place("", at)
            }
            // Unknown keys were refused by the parser, so the pointer names keys of the schema.
            VerifyError::Schema(StrictError::Shape { pointer, what }) => {
                place(&pointer, what.to_owned())
            }
        }
    }
}
