//! Table `record`: what was decided when an envelope came in, and what was answered.

use domain::api::Receipt;
use domain::ids::ContentId;
use domain::tier::Tier;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::{Store, StoreError};

/// Stores the decision and the answer, in the transaction that stored the envelope.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    id: ContentId,
    tier: Tier,
    findings: &[String],
    answer: &Receipt,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        INSERT INTO record (content_id, tier, findings, answer)
        VALUES ($1, $2, $3, $4)
        "#,
        &id.0,
        tier.as_str(),
        Json(findings) as _,
        Json(answer) as _
    )
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// The answer that was given when this envelope first came in; `None` when it never did.
    pub(crate) async fn answer(&self, id: ContentId) -> Result<Option<Receipt>, StoreError> {
        let answer = sqlx::query_scalar!(
            r#"SELECT answer AS "answer: Json<Receipt>" FROM record WHERE content_id = $1"#,
            &id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(answer.map(|answer| answer.0))
    }
}
