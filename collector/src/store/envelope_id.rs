//! Table `envelope_id`: what was ever accepted, once each, in order.

use domain::ids::ContentId;
use sqlx::PgConnection;

use super::{Store, StoreError, fixed};

/// A transaction that took a number commits at most so many numbers later, or within
/// [`LATE_MS`]: its statements and its idle time are bounded (see [`Store::connect`]).
const LATE_ROWS: i64 = 1_000;

/// See [`LATE_ROWS`].
const LATE_MS: i64 = 120_000;

/// How far the table was read: the highest number and time seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ReadUpTo {
    pub(crate) seq: i64,
    pub(crate) received_ms: i64,
}

/// Claims a content id. The time of receipt in Unix milliseconds, by the database's clock;
/// `None` when it was claimed before (waiting for whoever is claiming it right now).
pub(crate) async fn claim(
    connection: &mut PgConnection,
    id: ContentId,
) -> Result<Option<i64>, StoreError> {
    let received_ms = sqlx::query_scalar!(
        r#"
        INSERT INTO envelope_id (content_id)
        VALUES ($1)
        ON CONFLICT DO NOTHING
        RETURNING (extract(epoch FROM received_at) * 1000)::bigint AS "received_ms!"
        "#,
        &id.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(received_ms)
}

impl Store {
    /// Every id accepted after `read`, and again those shortly before: transactions commit in
    /// another order than they took their numbers.
    pub(crate) async fn content_ids_since(
        &self,
        read: ReadUpTo,
    ) -> Result<Vec<ContentId>, StoreError> {
        let ids = sqlx::query_scalar!(
            r#"
            SELECT content_id
            FROM envelope_id
            WHERE seq > $1 OR received_at >= to_timestamp($2::bigint / 1000.0)
            "#,
            read.seq - LATE_ROWS,
            read.received_ms - LATE_MS
        )
        .fetch_all(&self.pool)
        .await?;
        ids.iter()
            .map(|id| Ok(ContentId(fixed("envelope_id", &hex::encode(id), id)?)))
            .collect()
    }
}
