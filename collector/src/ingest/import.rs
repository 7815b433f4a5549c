//! From a verified foreign file to a stored one: whom it is for, whether it reads as what it says,
//! and whether anything in it must not be stored.

use std::sync::Arc;

use domain::api::{ProblemPlace, Receipt};
use domain::envelope::Verified;
use domain::import::sealed::{Import, SCHEMA, SealedError};
use domain::tier::Tier;

use super::admit::{check_audience, is_a_time, store};
use super::{Accepted, IngestError};
use crate::collector::{Collector, off_the_loop};
use crate::derive::Received;
use crate::imports::ImportedFile;

/// Reads a verified file and stores it, in one transaction.
pub(super) async fn admit(
    collector: &Collector,
    verified: Verified<Import>,
) -> Result<Accepted, IngestError> {
    if let Some(known) = super::admit::known(collector, verified.content_id()).await? {
        return Ok(known);
    }
    let audience = collector.audience();
    // Reading takes up to a few hundred megabytes for a moment, whatever the envelope's length.
    let room = Arc::clone(collector.in_reading()).acquire_owned().await;
    let room = room.map_err(|_| IngestError::TooLarge)?;
    let (verified, mut file) = off_the_loop(move || {
        let import = verified.value();
        check_audience(import.audience, audience)?;
        if import.schema.as_str() != SCHEMA {
            return Err(refused("/schema", "another schema".to_owned()));
        }
        if !is_a_time(import.imported_ms) {
            return Err(refused(
                "/imported_ms",
                "a time after the year 9999".to_owned(),
            ));
        }
        let received = Received {
            content_id: verified.content_id(),
            key_id: verified.key_id(),
            tier: Tier::Imported,
            // Set by the database's clock when it is stored.
            received_ms: 0,
            findings: Vec::new(),
        };
        let file = ImportedFile::admit(import, received).map_err(|error| unread(&error))?;
        drop(room);
        Ok::<_, IngestError>((verified, file))
    })
    .await?;
    store(collector, &verified, move |received_ms| {
        file.received_at(received_ms);
        let summary = file.summary();
        Receipt {
            status: "accepted".to_owned(),
            content_id: summary.content_id,
            tier: summary.tier,
            result: None,
            findings: summary.findings,
            received_at: summary.received_at,
        }
    })
    .await
}

/// Where a file cannot be taken as stated; the file's own words are not repeated.
fn unread(error: &SealedError) -> IngestError {
    match error {
        SealedError::Import(_) => refused("/packed", "no file of a known tool".to_owned()),
        SealedError::Packed { what, .. } => refused("/packed", (*what).to_owned()),
        SealedError::Secret { what, places, .. } => refused(
            "/packed",
            format!("{places} places in {what} look like a command line, an address or a secret"),
        ),
        SealedError::OtherFormat { found, .. } => {
            refused("/format", format!("it reads as {found}"))
        }
    }
}

fn refused(pointer: &str, code: String) -> IngestError {
    IngestError::Schema(vec![ProblemPlace {
        pointer: pointer.to_owned(),
        code,
    }])
}
