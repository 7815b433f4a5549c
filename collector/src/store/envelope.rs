//! Table `envelope`: the signed bytes, as they came.

use domain::envelope::{self, Opened};
use domain::ids::{ContentId, KeyId};
use domain::tier::Tier;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::envelope_id::ReadUpTo;
use super::{Store, StoreError, fixed};

/// The verified parts of an envelope, about to be stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewEnvelope<'a> {
    pub(crate) content_id: ContentId,
    pub(crate) key_id: KeyId,
    pub(crate) payload_type: &'a str,
    pub(crate) payload: &'a [u8],
    pub(crate) signature: &'a [u8; 64],
}

/// A stored envelope with what was decided about it. The bytes are not verified yet.
#[derive(Debug, Clone)]
pub(crate) struct StoredEnvelope {
    pub(crate) content_id: ContentId,
    pub(crate) at: ReadUpTo,
    pub(crate) key_id: KeyId,
    pub(crate) public_key: [u8; 32],
    pub(crate) payload_type: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: [u8; 64],
    pub(crate) tier: Tier,
    pub(crate) findings: Vec<String>,
}

impl StoredEnvelope {
    /// The parts as an envelope taken apart, to be verified like any other.
    pub(crate) fn open(&self) -> Opened {
        envelope::open_parts(
            self.payload_type.clone(),
            self.payload.clone(),
            self.key_id,
            self.signature,
        )
    }
}

/// Stores an envelope whose id was claimed in the same transaction.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    envelope: NewEnvelope<'_>,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        INSERT INTO envelope (content_id, key_id, payload_type, payload, signature)
        VALUES ($1, $2, $3, $4, $5)
        "#,
        &envelope.content_id.0,
        &envelope.key_id.0,
        envelope.payload_type,
        envelope.payload,
        envelope.signature
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// The envelopes with these ids, in no particular order; unknown ids are left out.
    pub(crate) async fn envelopes(
        &self,
        ids: &[ContentId],
    ) -> Result<Vec<StoredEnvelope>, StoreError> {
        let ids: Vec<Vec<u8>> = ids.iter().map(|id| id.0.to_vec()).collect();
        let rows = sqlx::query!(
            r#"
            SELECT
                content_id,
                envelope_id.seq,
                (extract(epoch FROM envelope_id.received_at) * 1000)::bigint AS "received_ms!",
                runner_key.key_id,
                runner_key.public_key,
                envelope.payload_type,
                envelope.payload,
                envelope.signature,
                record.tier,
                record.findings AS "findings: Json<Vec<String>>"
            FROM envelope_id
            JOIN envelope USING (content_id)
            JOIN record USING (content_id)
            JOIN runner_key USING (key_id)
            WHERE content_id = ANY($1)
            "#,
            &ids
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let name = hex::encode(&row.content_id);
                Ok(StoredEnvelope {
                    content_id: ContentId(fixed("envelope", &name, &row.content_id)?),
                    at: ReadUpTo {
                        seq: row.seq,
                        received_ms: row.received_ms,
                    },
                    key_id: KeyId(fixed("envelope", &name, &row.key_id)?),
                    public_key: fixed("runner_key", &name, &row.public_key)?,
                    payload_type: row.payload_type,
                    payload: row.payload,
                    signature: fixed("envelope", &name, &row.signature)?,
                    tier: row.tier.parse().map_err(|_| StoreError::Corrupt {
                        table: "record",
                        row: name.clone(),
                        what: "its tier is none of ours",
                    })?,
                    findings: row.findings.0,
                })
            })
            .collect()
    }

    /// One envelope.
    pub(crate) async fn envelope(
        &self,
        id: ContentId,
    ) -> Result<Option<StoredEnvelope>, StoreError> {
        Ok(self.envelopes(&[id]).await?.pop())
    }
}
