//! The collector itself: a store, an identity, a catalogue, and the snapshot everybody reads.

use std::path::PathBuf;
use std::sync::Arc;

use domain::envelope::{VerifyingKey, key_id};
use domain::hardware::Catalogue;
use domain::ids::{KeyId, Sha256Digest};
use domain::text::Name;
use domain::tier::Tier;
use sqlx::postgres::PgConnectOptions;
use thiserror::Error;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;

use crate::ingest::allowed_keys::AllowedKeys;
use crate::snapshot::{self, Snapshot};
use crate::store::runner_key::RunnerKey;
use crate::store::{Store, StoreError};

/// Envelopes in work at once: one holds at most a few times its 1.5 MB, and a longer one counts as
/// several. More are told to come back later.
const MAX_IN_WORK: usize = 256;

/// Frontiers in computation at once: each takes a core for up to a second. More wait.
const MAX_IN_DRAWING: usize = 4;

/// Files of other tools read at once. More wait.
const MAX_IN_READING: usize = 2;

/// What whoever runs a collector decides.
#[derive(Debug, Clone)]
pub struct CollectorOptions {
    /// Lowest tier shown to a reader who does not choose one. Of a private collector that is
    /// self-reported; of a public one, corroborated.
    pub default_tier: Tier,
    /// The file in which keys are allowed (see `ingest/allowed_keys.rs`).
    pub allowed_keys: Option<PathBuf>,
}

/// Why a collector does not open.
#[derive(Debug, Error)]
pub enum CollectorError {
    /// The database's address is none.
    #[error("read the database's address: {0}")]
    Address(#[source] sqlx::Error),
    /// The database does not do as asked.
    #[error("open the collector's database")]
    Store(#[from] StoreError),
    /// The operating system has no randomness for the collector's id.
    #[error("draw the collector's random id: {0}")]
    Randomness(getrandom::Error),
}

/// A collector. Cheap to clone; the clones are one collector.
#[derive(Debug, Clone)]
pub struct Collector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    audience: Sha256Digest,
    catalogue: Arc<Catalogue>,
    default_tier: Tier,
    allowed_keys: AllowedKeys,
    in_work: Arc<Semaphore>,
    in_drawing: Arc<Semaphore>,
    in_reading: Arc<Semaphore>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Wakes the snapshot's task without the way through the database.
    stored: Arc<Notify>,
    refresher: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.refresher.abort();
    }
}

/// Reads a database's address, such as `postgres://user@host/name`.
pub fn database_address(url: &str) -> Result<PgConnectOptions, CollectorError> {
    url.parse().map_err(CollectorError::Address)
}

impl Collector {
    /// Opens the collector on a database: brings its schema up to date, finds or makes its
    /// identity, reads the allowed keys, and rebuilds the snapshot from the raw payloads.
    pub async fn open(
        database: &PgConnectOptions,
        catalogue: Catalogue,
        options: CollectorOptions,
    ) -> Result<Self, CollectorError> {
        Store::migrate(database).await?;
        let store = Store::connect(database).await?;
        let mut fresh = [0; 32];
        getrandom::fill(&mut fresh).map_err(CollectorError::Randomness)?;
        let audience = store.audience(&fresh).await?;
        let catalogue = Arc::new(catalogue);
        let stored = Arc::new(Notify::new());
        let (snapshot, refresher) =
            snapshot::keep(store.clone(), Arc::clone(&catalogue), Arc::clone(&stored)).await?;
        let collector = Self(Arc::new(Inner {
            store,
            audience,
            catalogue,
            default_tier: options.default_tier,
            allowed_keys: AllowedKeys::new(options.allowed_keys),
            in_work: Arc::new(Semaphore::new(MAX_IN_WORK)),
            in_drawing: Arc::new(Semaphore::new(MAX_IN_DRAWING)),
            in_reading: Arc::new(Semaphore::new(MAX_IN_READING)),
            snapshot,
            stored,
            refresher,
        }));
        collector.read_allowed_keys().await?;
        Ok(collector)
    }

    /// The collector's id as records name it: SHA-256 of the random id of its first start.
    pub fn audience(&self) -> Sha256Digest {
        self.0.audience
    }

    /// The hardware and setups it knows.
    pub fn catalogue(&self) -> &Catalogue {
        &self.0.catalogue
    }

    /// Lowest tier shown to a reader who does not choose one.
    pub fn default_tier(&self) -> Tier {
        self.0.default_tier
    }

    /// Everything derived, as of now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.snapshot.borrow())
    }

    /// Waits until the snapshot holds at least `records` records; for callers that have just
    /// submitted. It never ends if they are never stored: bound it.
    pub async fn snapshot_of(&self, records: usize) -> Arc<Snapshot> {
        let mut snapshot = self.0.snapshot.clone();
        match snapshot
            .wait_for(|snapshot| snapshot.records().len() >= records)
            .await
        {
            Ok(snapshot) => Arc::clone(&snapshot),
            // Its task lives as long as this collector.
            Err(_) => self.snapshot(),
        }
    }

    /// Allows a key to submit. Allowing it again changes nothing; a revoked key stays revoked.
    pub async fn allow_key(&self, key: &VerifyingKey, label: &Name) -> Result<KeyId, StoreError> {
        let id = key_id(key);
        self.0
            .store
            .allow_runner_key(id, key.as_bytes(), label.as_str())
            .await?;
        Ok(id)
    }

    /// Revokes a key for good: what it submits from now on is refused. Whether it was allowed.
    pub async fn revoke_key(&self, id: KeyId) -> Result<bool, StoreError> {
        self.0.store.revoke_runner_key(id).await
    }

    /// Ends the work on the snapshot and every connection to the database.
    pub async fn close(&self) {
        self.0.refresher.abort();
        self.0.store.close().await;
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    /// Room for one more envelope, if there is any.
    pub(crate) fn in_work(&self) -> &Arc<Semaphore> {
        &self.0.in_work
    }

    /// Room for files of other tools that are being read.
    pub(crate) fn in_reading(&self) -> &Arc<Semaphore> {
        &self.0.in_reading
    }

    /// Room to compute one more frontier.
    pub(crate) fn in_drawing(&self) -> &Arc<Semaphore> {
        &self.0.in_drawing
    }

    /// The key with this id; of one not known, the file of allowed keys is asked.
    pub(crate) async fn find_key(&self, id: KeyId) -> Result<Option<RunnerKey>, StoreError> {
        if let Some(key) = self.0.store.runner_key(id).await? {
            return Ok(Some(key));
        }
        self.read_allowed_keys().await?;
        self.0.store.runner_key(id).await
    }

    /// Has the snapshots of this and every other collector on the database catch up.
    pub(crate) async fn announce_stored(&self) {
        self.0.stored.notify_one();
        if let Err(error) = self.0.store.notify_stored().await {
            // Others look by themselves before long.
            tracing::warn!(%error, "other collectors were not told of a new record");
        }
    }

    async fn read_allowed_keys(&self) -> Result<(), StoreError> {
        if let Some((state, keys)) = self.0.allowed_keys.changed().await {
            for allowed in keys {
                self.allow_key(&allowed.key, &allowed.label).await?;
            }
            self.0.allowed_keys.take(state);
        }
        Ok(())
    }
}

/// Runs work that takes milliseconds of computing beside the threads that serve connections.
pub(crate) async fn off_the_loop<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("work that has begun is not cancelled"),
        },
    }
}
