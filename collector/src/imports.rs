//! Results of other tools: the stored files, read again.
//!
//! A layer of its own. Nothing here enters a cell, a median or a front; rows are mapped from the
//! packed bytes by `domain::import` alone, at admission and again at every start.

use std::sync::Arc;

use domain::api::{ImportRow, RecordSummary};
use domain::ids::{KeyId, Sha256Digest};
use domain::import::Imported;
use domain::import::sealed::{About, Import, SealedError};
use domain::tier::Tier;

use crate::derive::{Received, rfc3339};

/// One stored foreign file.
#[derive(Debug, Clone)]
pub struct ImportedFile {
    /// Its way here.
    pub received: Received,
    /// What holds for the whole file, in words.
    pub notes: Vec<String>,
    /// Its rows, in the file's order.
    pub rows: Vec<Arc<ImportRow>>,
    imported_ms: u64,
    same: (Sha256Digest, About),
}

impl ImportedFile {
    /// Reads what an import holds, and refuses what must not be stored.
    pub fn admit(import: &Import, received: Received) -> Result<Self, SealedError> {
        Ok(Self::of(import, received, import.admitted()?))
    }

    /// Reads again what was stored.
    pub fn load(import: &Import, received: Received) -> Result<Self, SealedError> {
        Ok(Self::of(import, received, import.stored()?))
    }

    fn of(import: &Import, received: Received, imported: Imported) -> Self {
        let rows = (0..).zip(imported.rows).map(|(number, row)| ImportRow {
            id: format!("{}-{number}", received.content_id),
            import: received.content_id.to_string(),
            key_id: received.key_id.to_string(),
            received_at: rfc3339(received.received_ms),
            file: import.file.to_string(),
            file_sha256: import.file_sha256.to_string(),
            redactions: import.redactions,
            setup: import.about.setup.as_ref().map(ToString::to_string),
            variant_sha256: import.about.variant_sha256.map(|digest| digest.to_string()),
            source: import.about.source.as_ref().map(ToString::to_string),
            licence: import.about.licence.as_ref().map(ToString::to_string),
            row,
        });
        Self {
            rows: rows.map(Arc::new).collect(),
            notes: imported.notes,
            imported_ms: import.imported_ms,
            same: (import.packed_sha256, import.about.clone()),
            received,
        }
    }

    /// What makes it the same file again, of one key: what is packed and what is said about it.
    pub(crate) fn identity(&self) -> (KeyId, &(Sha256Digest, About)) {
        (self.received.key_id, &self.same)
    }

    /// Sets the time of receipt, once the database gave it.
    pub(crate) fn received_at(&mut self, received_ms: i64) {
        self.received.received_ms = received_ms;
        for row in &mut self.rows {
            Arc::make_mut(row).received_at = rfc3339(received_ms);
        }
    }

    /// Its line in a listing of envelopes.
    pub fn summary(&self) -> RecordSummary {
        let failed = self
            .rows
            .iter()
            .filter(|row| row.row.failed.is_some())
            .count();
        RecordSummary {
            content_id: self.received.content_id.to_string(),
            key_id: self.received.key_id.to_string(),
            tier: Tier::Imported,
            received_at: rfc3339(self.received.received_ms),
            started_at: i64::try_from(self.imported_ms)
                .map(rfc3339)
                .unwrap_or_default(),
            outcome: format!("{} imported rows, {failed} of them failed", self.rows.len()),
            result: None,
            findings: self.received.findings.clone(),
        }
    }
}
