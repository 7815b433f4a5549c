//! Results of other tools: the stored files, read again.
//!
//! A layer of its own. Nothing here enters a cell, a median or a front; rows are mapped from the
//! packed bytes by `domain::import` alone, at admission and again at every start.

use domain::api::{ImportRow, RecordSummary};
use domain::import::sealed::{Import, SealedError};
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
    pub rows: Vec<ImportRow>,
    imported_ms: u64,
}

impl ImportedFile {
    /// Reads what an import holds.
    pub fn read(import: &Import, received: Received) -> Result<Self, SealedError> {
        let imported = import.rows()?;
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
        Ok(Self {
            rows: rows.collect(),
            notes: imported.notes,
            imported_ms: import.imported_ms,
            received,
        })
    }

    /// Sets the time of receipt, once the database gave it.
    pub(crate) fn received_at(&mut self, received_ms: i64) {
        self.received.received_ms = received_ms;
        for row in &mut self.rows {
            row.received_at = rfc3339(received_ms);
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
