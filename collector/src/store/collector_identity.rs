//! Table `collector_identity`: who this collector is, once and for all.

use domain::ids::Sha256Digest;

use super::{Store, StoreError, fixed};

impl Store {
    /// This collector's audience: the SHA-256 of its random id. At the first start the id is
    /// `fresh`; of several collectors starting at once on one database, one wins.
    pub(crate) async fn audience(&self, fresh: &[u8; 32]) -> Result<Sha256Digest, StoreError> {
        sqlx::query!(
            "INSERT INTO collector_identity (random_id) VALUES ($1) ON CONFLICT DO NOTHING",
            fresh
        )
        .execute(&self.pool)
        .await?;
        let id = sqlx::query_scalar!("SELECT random_id FROM collector_identity")
            .fetch_one(&self.pool)
            .await?;
        let id: [u8; 32] = fixed("collector_identity", &"of this collector", &id)?;
        Ok(Sha256Digest::of(&id))
    }
}
