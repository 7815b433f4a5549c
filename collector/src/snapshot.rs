//! The snapshot: everything that is published, derived from the raw payloads, in memory.
//!
//! Built at the start and extended when a record was stored here, when another collector on the
//! same database says so, and every half minute in case a message was lost. Readers hold an
//! `Arc` of one snapshot, so an answer is of one piece, and reading goes on while the database
//! is away. Every payload is verified again before it is parsed: records whose bytes no longer fit
//! their signature are logged and listed with that finding, and count nowhere.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::api::{ImportRow, RecordSummary};
use domain::envelope::{self, Verified};
use domain::gate::record::{self as gate, GateRecord};
use domain::hardware::Catalogue;
use domain::ids::ContentId;
use domain::import::sealed::{self, Import};
use domain::record::{PAYLOAD_TYPE, PruningMethod, Record};
use domain::tier::Tier;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::collector::off_the_loop;
use crate::derive::{self, CellResult, DerivedRecord, Received};
use crate::gates::{self, JudgedGate};
use crate::history::{self, History};
use crate::imports::ImportedFile;
use crate::store::envelope::StoredEnvelope;
use crate::store::envelope_id::ReadUpTo;
use crate::store::{Store, StoreError};

/// A message from another collector may get lost; this is how late one is noticed then.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The least time between two snapshots: records stored meanwhile share the next one.
const REST: Duration = Duration::from_millis(200);

/// Wait before listening again after the connection broke.
const LISTEN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Envelopes read at once: at most 1 MiB each, but for gates, which may have 8.
const BATCH: usize = 32;

/// Imported rows of one key that are shown; its older files are listed as envelopes alone.
const MAX_ROWS_OF_KEY: usize = 20_000;

/// Everything published, of one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    data_version: String,
    records: Vec<RecordSummary>,
    results: Vec<CellResult>,
    models: Vec<ModelFacts>,
    imports: Vec<Arc<ImportRow>>,
    gates: Vec<Arc<JudgedGate>>,
    history: History,
}

/// What a model is, whatever was made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFacts {
    /// Its name in URLs.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Architecture.
    pub arch: String,
    /// Parameters of the unpruned model; of the largest variant while only pruned ones are known.
    pub params_total: u64,
}

impl Snapshot {
    /// Changes when any published number may have changed: a short digest over the rules of
    /// derivation, the catalogue, and the stored records with their tiers.
    pub fn data_version(&self) -> &str {
        &self.data_version
    }

    /// Every record, newest first.
    pub fn records(&self) -> &[RecordSummary] {
        &self.records
    }

    /// Every result, by id.
    pub fn results(&self) -> &[CellResult] {
        &self.results
    }

    /// Every model with a plausible record, by slug.
    pub fn models(&self) -> &[ModelFacts] {
        &self.models
    }

    /// Rows of other tools' files, newest file first.
    pub fn imports(&self) -> &[Arc<ImportRow>] {
        &self.imports
    }

    /// Gates, newest first.
    pub fn gates(&self) -> &[Arc<JudgedGate>] {
        &self.gates
    }

    /// One gate.
    pub fn gate(&self, content_id: &str) -> Option<&JudgedGate> {
        let found = |gate: &&Arc<JudgedGate>| gate.row.content_id == content_id;
        self.gates.iter().find(found).map(Arc::as_ref)
    }

    /// Series over time, their changes, and the drift ledger.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// One result.
    pub fn result(&self, id: &str) -> Option<&CellResult> {
        self.results.iter().find(|result| result.row.id == id)
    }

    /// One record.
    pub fn record(&self, content_id: &str) -> Option<&RecordSummary> {
        self.records
            .iter()
            .find(|record| record.content_id == content_id)
    }
}

/// Builds the first snapshot and starts the task that keeps it up to date, which ends with the
/// last receiver.
pub(crate) async fn keep(
    store: Store,
    catalogue: Arc<Catalogue>,
    stored: Arc<Notify>,
) -> Result<(watch::Receiver<Arc<Snapshot>>, JoinHandle<()>), StoreError> {
    let mut builder = Builder::new(store.clone(), catalogue);
    // Listening starts before reading, so that nothing falls between.
    let listener = store.listen().await?;
    builder.read().await?;
    let first = builder.snapshot().await.ok_or(StoreError::Corrupt {
        table: "record",
        row: "of all cells".to_owned(),
        what: "deriving the results panicked: a bug, see the log",
    })?;
    let (sender, receiver) = watch::channel(Arc::new(first));
    let task = tokio::spawn(refresh(builder, listener, stored, sender));
    Ok((receiver, task))
}

async fn refresh(
    mut builder: Builder,
    listener: PgListener,
    stored: Arc<Notify>,
    sender: watch::Sender<Arc<Snapshot>>,
) {
    let mut listener = Some(listener);
    while !sender.is_closed() {
        tokio::select! {
            () = stored.notified() => {}
            () = heard(&builder.store, &mut listener) => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        match builder.read().await {
            Ok(0) => {}
            Ok(_) => {
                if let Some(snapshot) = builder.snapshot().await {
                    sender.send_replace(Arc::new(snapshot));
                }
            }
            // Reading goes on from the last snapshot; the next look catches up.
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the snapshot was not brought up to date"
            ),
        }
        tokio::time::sleep(REST).await;
    }
}

/// Waits for a message of another collector, or for a broken connection to be made again: then
/// messages may have been missed. Safe to drop at any point.
async fn heard(store: &Store, listener: &mut Option<PgListener>) {
    if let Some(live) = listener {
        if let Err(error) = live.recv().await {
            tracing::warn!(%error, "listening for other collectors broke off");
            *listener = None;
        }
    } else {
        tokio::time::sleep(LISTEN_AGAIN_AFTER).await;
        *listener = store.listen().await.ok();
    }
}

/// What was read so far, and how to read on.
struct Builder {
    store: Store,
    catalogue: Arc<Catalogue>,
    catalogue_digest: [u8; 32],
    read: ReadUpTo,
    known: HashSet<ContentId>,
    derived: Arc<Vec<DerivedRecord>>,
    imported: Arc<Vec<ImportedFile>>,
    /// Newest first.
    gates: Arc<Vec<Arc<JudgedGate>>>,
    /// What was found in the series, so that only those that grew are searched again.
    found: Arc<Mutex<history::Found>>,
    /// Records that could not be read again, with their time of receipt.
    unread: Arc<Vec<(i64, RecordSummary)>>,
}

impl Builder {
    fn new(store: Store, catalogue: Arc<Catalogue>) -> Self {
        Self {
            catalogue_digest: digest_of(&catalogue),
            store,
            catalogue,
            read: ReadUpTo::default(),
            known: HashSet::new(),
            derived: Arc::default(),
            imported: Arc::default(),
            gates: Arc::default(),
            found: Arc::default(),
            unread: Arc::default(),
        }
    }

    /// Reads and derives what is new; how many records that was.
    async fn read(&mut self) -> Result<usize, StoreError> {
        let mut new = self.store.content_ids_since(self.read).await?;
        new.retain(|id| !self.known.contains(id));
        for ids in new.chunks(BATCH) {
            let envelopes = self.store.envelopes(ids).await?;
            let loaded = off_the_loop(move || envelopes.iter().map(load).collect::<Vec<_>>()).await;
            for (id, at, record) in loaded {
                self.known.insert(id);
                self.read.seq = self.read.seq.max(at.seq);
                self.read.received_ms = self.read.received_ms.max(at.received_ms);
                match record {
                    Ok(Read::Record(record)) => Arc::make_mut(&mut self.derived).push(*record),
                    Ok(Read::Import(file)) => Arc::make_mut(&mut self.imported).push(*file),
                    Ok(Read::Gate(gate)) => {
                        let gates = Arc::make_mut(&mut self.gates);
                        gates.push(Arc::new(*gate));
                        gates.sort_by_key(|gate| {
                            let received = &gate.received;
                            (Reverse(received.received_ms), received.content_id)
                        });
                    }
                    Err(summary) => {
                        Arc::make_mut(&mut self.unread).push((at.received_ms, *summary));
                    }
                }
            }
        }
        Ok(new.len())
    }

    /// The snapshot of what was read; `None`, logged, when deriving it panicked: one bad result
    /// must not end the task that keeps all others up to date.
    async fn snapshot(&self) -> Option<Snapshot> {
        let (derived, catalogue) = (Arc::clone(&self.derived), Arc::clone(&self.catalogue));
        let (unread, imported) = (Arc::clone(&self.unread), Arc::clone(&self.imported));
        let (gates, found) = (Arc::clone(&self.gates), Arc::clone(&self.found));
        let data_version = self.data_version();
        off_the_loop(move || {
            let build = || {
                let mut newest_first: Vec<_> = derived
                    .iter()
                    .map(|record| (record.received.received_ms, record.summary()))
                    .chain(
                        imported
                            .iter()
                            .map(|file| (file.received.received_ms, file.summary())),
                    )
                    .chain(
                        gates
                            .iter()
                            .map(|gate| (gate.received.received_ms, gate.summary())),
                    )
                    .chain(unread.iter().cloned())
                    .collect();
                newest_first.sort_by(|(a_ms, a), (b_ms, b)| {
                    b_ms.cmp(a_ms).then_with(|| a.content_id.cmp(&b.content_id))
                });
                Snapshot {
                    data_version,
                    records: newest_first
                        .into_iter()
                        .map(|(_, summary)| summary)
                        .collect(),
                    results: derive::results(&derived, &catalogue),
                    models: models(&derived),
                    imports: import_rows(&imported),
                    history: history::build(
                        &derived,
                        &gates,
                        &mut found.lock().unwrap_or_else(PoisonError::into_inner),
                    ),
                    gates: gates.to_vec(),
                }
            };
            let built = catch_unwind(AssertUnwindSafe(build));
            built
                .inspect_err(|_| tracing::error!("deriving the results panicked"))
                .ok()
        })
        .await
    }

    fn data_version(&self) -> String {
        let derived = self.derived.iter().map(|record| &record.received);
        let imported = self.imported.iter().map(|file| &file.received);
        let gates = self.gates.iter().map(|gate| &gate.received);
        let mut records: Vec<_> = derived
            .chain(imported)
            .chain(gates)
            .map(|received| (received.content_id, received.tier))
            .collect();
        records.sort();
        let mut hasher = Sha256::new();
        for rules in [
            derive::RULES_VERSION,
            gates::RULES_VERSION,
            history::RULES_VERSION,
        ] {
            hasher.update(rules.to_le_bytes());
        }
        hasher.update(self.catalogue_digest);
        for (id, tier) in records {
            hasher.update(id.0);
            hasher.update([tier as u8]);
        }
        let mut unread: Vec<_> = self.unread.iter().map(|(_, one)| &one.content_id).collect();
        unread.sort();
        for id in unread {
            hasher.update(id);
        }
        let digest: [u8; 32] = hasher.finalize().into();
        hex::encode(&digest[..8])
    }
}

/// A record, or the line in a listing of one that cannot be read again.
type Loaded = (ContentId, ReadUpTo, Result<Read, Box<RecordSummary>>);

/// What a stored envelope holds.
enum Read {
    Record(Box<DerivedRecord>),
    Import(Box<ImportedFile>),
    Gate(Box<JudgedGate>),
}

/// The line in a listing of a stored record.
pub(crate) fn summary_of(stored: &StoredEnvelope) -> RecordSummary {
    match load(stored).2 {
        Ok(Read::Record(record)) => record.summary(),
        Ok(Read::Import(file)) => file.summary(),
        Ok(Read::Gate(gate)) => gate.summary(),
        Err(summary) => *summary,
    }
}

/// Verifies, parses and derives one stored envelope.
fn load(stored: &StoredEnvelope) -> Loaded {
    let (id, at) = (stored.content_id, stored.at);
    let received = Received {
        content_id: id,
        key_id: stored.key_id,
        tier: stored.tier,
        received_ms: at.received_ms,
        findings: stored.findings.clone(),
    };
    // It was read once before it was stored; a newer program may still stumble over it.
    let read = if stored.payload_type == sealed::PAYLOAD_TYPE {
        verified::<Import>(stored, sealed::PAYLOAD_TYPE).and_then(|verified| {
            let file = catch_unwind(AssertUnwindSafe(|| {
                ImportedFile::load(verified.value(), received)
            }));
            match file {
                Ok(Ok(file)) => Ok(Read::Import(Box::new(file))),
                Ok(Err(error)) => {
                    tracing::warn!(record.id = %id, %error, "a stored file of another tool is no longer read");
                    Err(unread(stored, "import: this collector no longer reads it"))
                }
                Err(_) => Err(stumbled(stored)),
            }
        })
    } else if stored.payload_type == gate::PAYLOAD_TYPE {
        verified::<GateRecord>(stored, gate::PAYLOAD_TYPE).and_then(|verified| {
            let judge = || JudgedGate::judge(verified.value(), received, stored.public_key);
            match catch_unwind(AssertUnwindSafe(judge)) {
                Ok(Ok(gate)) => Ok(Read::Gate(Box::new(gate))),
                Ok(Err(error)) => {
                    tracing::warn!(record.id = %id, %error, "a stored gate is no longer judged");
                    Err(unread(stored, "gate: this collector no longer judges it"))
                }
                Err(_) => Err(stumbled(stored)),
            }
        })
    } else {
        verified::<Record>(stored, PAYLOAD_TYPE).and_then(|verified| {
            let derive = || derive::derive(verified.value(), received);
            catch_unwind(AssertUnwindSafe(derive))
                .map(|record| Read::Record(Box::new(record)))
                .map_err(|_| stumbled(stored))
        })
    };
    (id, at, read)
}

/// What was signed, if that is what is stored.
fn verified<T: DeserializeOwned + Serialize>(
    stored: &StoredEnvelope,
    payload_type: &'static str,
) -> Result<Verified<T>, Box<RecordSummary>> {
    let id = stored.content_id;
    let verified = envelope::public_key(&stored.public_key)
        .map_err(|error| error.to_string())
        .and_then(|key| {
            let opened = stored.open();
            opened
                .verify::<T>(&key, payload_type)
                .map_err(|error| error.to_string())
        });
    match verified {
        Ok(verified) if verified.content_id() == id => Ok(verified),
        Ok(_) => {
            tracing::error!(record.id = %id, "a stored envelope has another content id: it counts nowhere");
            Err(unread(stored, CHANGED))
        }
        Err(error) => {
            tracing::error!(record.id = %id, error, "a stored envelope is not what was signed: it counts nowhere");
            Err(unread(stored, CHANGED))
        }
    }
}

fn stumbled(stored: &StoredEnvelope) -> Box<RecordSummary> {
    tracing::error!(record.id = %stored.content_id, "deriving a stored envelope panicked: it counts nowhere");
    unread(stored, "derivation: this collector stumbled over it")
}

/// The rows of all files, newest file first: of the same file sent again the newest copy, and of one
/// key at most [`MAX_ROWS_OF_KEY`].
fn import_rows(files: &[ImportedFile]) -> Vec<Arc<ImportRow>> {
    let mut newest_first: Vec<_> = files.iter().collect();
    newest_first.sort_by_key(|file| (Reverse(file.received.received_ms), file.received.content_id));
    let (mut seen, mut kept) = (BTreeSet::new(), BTreeMap::new());
    let mut rows = Vec::new();
    for file in newest_first {
        let of_key: &mut usize = kept.entry(file.received.key_id).or_default();
        if *of_key + file.rows.len() > MAX_ROWS_OF_KEY || !seen.insert(file.identity()) {
            continue;
        }
        *of_key += file.rows.len();
        rows.extend(file.rows.iter().cloned());
    }
    rows
}

const CHANGED: &str = "signature: the stored bytes are no longer what was signed";

/// What is known of a record besides its bytes.
fn unread(stored: &StoredEnvelope, finding: &str) -> Box<RecordSummary> {
    let mut findings = stored.findings.clone();
    findings.push(finding.to_owned());
    Box::new(RecordSummary {
        content_id: stored.content_id.to_string(),
        key_id: stored.key_id.to_string(),
        tier: Tier::Quarantined,
        received_at: derive::rfc3339(stored.at.received_ms),
        started_at: String::new(),
        outcome: "not readable".to_owned(),
        result: None,
        findings,
    })
}

/// The models of plausible records: a function of the set of records, not of their order.
fn models(records: &[DerivedRecord]) -> Vec<ModelFacts> {
    let mut models = BTreeMap::new();
    for record in records
        .iter()
        .filter(|record| record.received.tier > Tier::Imported)
    {
        let variant = &record.facts.variant;
        let unpruned = variant.pruning.method == PruningMethod::None;
        let facts = ModelFacts {
            slug: record.facts.model_slug(),
            name: variant.model.to_string(),
            arch: variant.arch.to_string(),
            params_total: variant.params_total,
        };
        let rank = (
            unpruned,
            variant.params_total,
            Reverse(record.received.content_id),
        );
        models
            .entry(facts.slug.clone())
            .and_modify(|best: &mut (_, ModelFacts)| {
                if rank > best.0 {
                    *best = (rank, facts.clone());
                }
            })
            .or_insert((rank, facts));
    }
    models.into_values().map(|(_, facts)| facts).collect()
}

fn digest_of(catalogue: &Catalogue) -> [u8; 32] {
    let facts = (catalogue.all_hardware(), catalogue.all_setups());
    let text = serde_json::to_vec(&facts).expect("a catalogue has only values that JSON has");
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use domain::ids::KeyId;

    use super::*;
    use crate::fixtures;

    #[test]
    fn bytes_that_no_longer_verify_stay_listed_and_count_nowhere() {
        let key = fixtures::signing_key();
        let payload = serde_json::to_vec(&fixtures::record(1)).expect("JSON");
        let (content_id, sealed) = envelope::sign(PAYLOAD_TYPE, &payload, &key);
        let sealed = serde_json::to_vec(&sealed).expect("JSON");
        let opened = envelope::open(&sealed).expect("an envelope");
        let verified = opened
            .verify::<Record>(&key.verifying_key(), PAYLOAD_TYPE)
            .expect("honest");
        let mut stored = StoredEnvelope {
            content_id,
            at: ReadUpTo {
                seq: 1,
                received_ms: 1_790_000_100_000,
            },
            key_id: KeyId(verified.key_id().0),
            public_key: key.verifying_key().to_bytes(),
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload,
            signature: *verified.signature(),
            tier: Tier::SelfReported,
            findings: Vec::new(),
        };
        let honest = summary_of(&stored);
        assert!(honest.result.is_some() && honest.findings.is_empty());
        let last = stored.payload.len() - 2;
        stored.payload[last] ^= 1;
        let broken = summary_of(&stored);
        assert_eq!(
            (&broken.content_id, &broken.received_at),
            (&honest.content_id, &honest.received_at)
        );
        assert_eq!((broken.tier, broken.result), (Tier::Quarantined, None));
        assert_eq!(broken.findings, [CHANGED]);
    }
}
