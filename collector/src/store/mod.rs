//! The store: all SQL of the project, checked against the schema at compile time, one file per
//! table.
//!
//! A `Store` is a pool of at most 16 connections. Whoever waits longer than
//! 2 s for one, a statement longer than 5 s and a lock longer than 2 s end in
//! [`StoreError::Overloaded`] or [`StoreError::Unavailable`]: the caller tries again later.
//! The store never judges: what enters was verified before.

use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgTransaction};
use thiserror::Error;

pub(crate) mod collector_identity;
pub mod database;
pub(crate) mod envelope;
pub(crate) mod envelope_id;
pub(crate) mod record;
pub(crate) mod runner_key;

/// Connections at once.
const MAX_CONNECTIONS: u32 = 16;

/// How long one waits for a connection.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(2);

/// The notification sent when a record was stored.
const RECORD_STORED: &str = "record_stored";

/// Why the store did not do as asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database cannot be reached, or went away: try again later.
    #[error("reach the database")]
    Unavailable(#[source] sqlx::Error),
    /// It took longer than its bound: try again later.
    #[error("finish within the database's time limits")]
    Overloaded(#[source] sqlx::Error),
    /// A migration failed: the text names it.
    #[error("bring the database's schema up to date")]
    Migrate(#[source] MigrateError),
    /// A row that this program cannot have written.
    #[error("read {table} {row}: {what}")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// Its key.
        row: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A statement failed for a reason of its own: a bug.
    #[error("run a statement")]
    Statement(#[source] sqlx::Error),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = match &error {
            sqlx::Error::Database(database) => database.code().map(std::borrow::Cow::into_owned),
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Io(_) => return Self::Unavailable(error),
            _ => return Self::Statement(error),
        };
        // https://www.postgresql.org/docs/current/errcodes-appendix.html
        match code.as_deref().unwrap_or_default() {
            // query_canceled (statement_timeout), lock_not_available, deadlock_detected
            "57014" | "55P03" | "40P01" => Self::Overloaded(error),
            // Connection exceptions, insufficient resources, operator intervention, idle timeouts
            code if ["08", "53", "57"]
                .iter()
                .any(|class| code.starts_with(class))
                || code == "25P03" =>
            {
                Self::Unavailable(error)
            }
            _ => Self::Statement(error),
        }
    }
}

/// The collector's database.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
}

impl Store {
    /// Brings the schema up to date, over a connection without time limits.
    pub async fn migrate(options: &PgConnectOptions) -> Result<(), StoreError> {
        let mut connection = PgConnection::connect_with(options).await?;
        sqlx::migrate!("../migrations")
            .run(&mut connection)
            .await
            .map_err(StoreError::Migrate)?;
        connection.close().await?;
        Ok(())
    }

    /// Connects. The first connection is made without the pool, because a pool retries a dead
    /// server until its time is up and then says only that the time was up.
    pub async fn connect(options: &PgConnectOptions) -> Result<Self, StoreError> {
        let options = options
            .clone()
            .application_name("joulemark collector")
            .options([
                ("statement_timeout", "5s"),
                ("lock_timeout", "2s"),
                ("idle_in_transaction_session_timeout", "10s"),
                ("synchronous_commit", "on"),
                ("default_transaction_isolation", "read committed"),
            ]);
        PgConnection::connect_with(&options).await?.close().await?;
        let pool = PgPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_WITHIN)
            .connect_with(options)
            .await?;
        Ok(Self { pool })
    }

    /// One READ COMMITTED transaction; dropped without a commit, nothing of it stays.
    pub(crate) async fn begin(&self) -> Result<PgTransaction<'static>, StoreError> {
        Ok(self.pool.begin().await?)
    }

    /// Whether the database answers.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query_scalar!(r#"SELECT 1 AS "one!""#)
            .fetch_one(&self.pool)
            .await?;
        Ok(())
    }

    /// Tells every collector on this database that a record was stored.
    pub(crate) async fn notify_stored(&self) -> Result<(), StoreError> {
        sqlx::query!("SELECT pg_notify($1, '')", RECORD_STORED)
            .fetch_one(&self.pool)
            .await?;
        Ok(())
    }

    /// Hears from every collector on this database.
    pub(crate) async fn listen(&self) -> Result<PgListener, StoreError> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(RECORD_STORED).await?;
        Ok(listener)
    }

    /// Ends every connection.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// A fixed-length column as an array.
fn fixed<const N: usize>(
    table: &'static str,
    row: &dyn std::fmt::Display,
    bytes: &[u8],
) -> Result<[u8; N], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt {
        table,
        row: row.to_string(),
        what: "a column has another length than its constraint allows",
    })
}

#[cfg(test)]
mod tests;
