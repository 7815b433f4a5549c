//! Table `runner_key`: the keys that may submit.

use domain::ids::KeyId;

use super::{Store, StoreError, fixed};

/// A key that was allowed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunnerKey {
    pub(crate) public_key: [u8; 32],
    pub(crate) revoked: bool,
}

impl Store {
    /// The key with this id, if it was ever allowed.
    pub(crate) async fn runner_key(&self, id: KeyId) -> Result<Option<RunnerKey>, StoreError> {
        let row = sqlx::query!(
            r#"
            SELECT
                public_key,
                revoked_at IS NOT NULL AS "revoked!"
            FROM runner_key
            WHERE key_id = $1
            "#,
            &id.0
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            Ok(RunnerKey {
                public_key: fixed("runner_key", &id, &row.public_key)?,
                revoked: row.revoked,
            })
        })
        .transpose()
    }

    /// Allows a key; one that is known already stays as it is (a revoked one revoked).
    pub(crate) async fn allow_runner_key(
        &self,
        id: KeyId,
        public_key: &[u8; 32],
        label: &str,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            r#"
            INSERT INTO runner_key (key_id, public_key, label)
            VALUES ($1, $2, $3)
            ON CONFLICT DO NOTHING
            "#,
            &id.0,
            public_key,
            label
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Revokes a key for good; whether there was one to revoke.
    pub(crate) async fn revoke_runner_key(&self, id: KeyId) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            r#"
            UPDATE runner_key
            SET revoked_at = clock_timestamp()
            WHERE key_id = $1 AND revoked_at IS NULL
            "#,
            &id.0
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
