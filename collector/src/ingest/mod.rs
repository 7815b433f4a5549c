//! Ingest: what happens to an envelope, in the only order that is safe.
//!
//! Byte cap > envelope > key known and active > signature > type > strict parse (`verify`) >
//! known already > audience, ranges > plausibility, tier > one transaction > answer (`admit`). Nothing is
//! parsed before its signature was verified, and nothing refused leaves a trace. The same
//! envelope may come any number of times, at once or years apart: it is stored once, and every
//! copy gets the first one's answer. Our own records, gates and other tools' files come through the one
//! door; the payload type, which the signature covers, says which it is.

use domain::api::{ProblemPlace, Receipt};
use thiserror::Error;

mod admit;
pub(crate) mod allowed_keys;
mod gate;
mod import;
mod verify;

use crate::collector::Collector;
use crate::store::StoreError;
use verify::Submitted;

/// What became of an envelope that was not refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The answer; for a resend, the first one's.
    pub receipt: Receipt,
    /// It was stored now; false for a resend.
    pub new: bool,
}

/// Why an envelope was refused. Nothing of it was stored.
#[derive(Debug, Error)]
pub enum IngestError {
    /// Longer than an envelope, or its payload longer than a record, may be.
    #[error("accept the envelope: it is too long")]
    TooLarge,
    /// Not an envelope: why, without its content.
    #[error("read the envelope: {0}")]
    Malformed(String),
    /// Signed by a key that was never allowed here.
    #[error("accept the key: it is not allowed here")]
    UnknownKey,
    /// Signed by a key that was revoked.
    #[error("accept the key: it was revoked")]
    KeyRevoked,
    /// The signature does not fit.
    #[error("verify the signature: it does not fit these bytes and this key")]
    BadSignature,
    /// Signed, but not a record of this schema: where.
    #[error("accept the payload: it is not a record of this schema")]
    Schema(Vec<ProblemPlace>),
    /// A record for another collector.
    #[error("accept the record: it was sealed for another collector")]
    WrongAudience,
    /// The store did not take it; the same envelope may succeed later.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Collector {
    /// Takes an envelope in, or says why not. Safe to repeat.
    #[tracing::instrument(name = "collector.ingest", skip_all, fields(record.id, record.tier))]
    pub async fn ingest(&self, envelope: Vec<u8>) -> Result<Accepted, IngestError> {
        let accepted = match verify::verify(self, envelope).await? {
            Submitted::Record(record) => admit::admit(self, *record).await?,
            Submitted::Import(file) => import::admit(self, *file).await?,
            Submitted::Gate(gate) => gate::admit(self, *gate).await?,
        };
        let span = tracing::Span::current();
        span.record("record.id", &accepted.receipt.content_id);
        span.record("record.tier", accepted.receipt.tier.as_str());
        if accepted.new {
            self.announce_stored().await;
        }
        Ok(accepted)
    }
}

#[cfg(test)]
mod tests;
