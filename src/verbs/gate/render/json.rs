//! For a program: judgement, raw record and the sealed envelope in one document.

use anyhow::Context as _;
use domain::envelope::Envelope;
use domain::gate::record::GateRecord;
use domain::gate::verdict::Judgement;
use domain::ids::ContentId;
use serde_json::{Value, json};

/// The document. The record is the envelope's payload, and both are as they were sealed; of a
/// record that could not be sealed id and envelope are `null`.
pub(crate) fn document(
    judgement: &Judgement,
    record: &GateRecord,
    sealed: Option<(ContentId, &[u8])>,
) -> anyhow::Result<Value> {
    use base64::Engine as _;
    let Some((content_id, envelope)) = sealed else {
        return Ok(json!({
            "judgement": judgement,
            "content_id": null,
            "record": record,
            "envelope": null,
        }));
    };
    let envelope: Envelope = serde_json::from_slice(envelope).context("read the envelope")?;
    let payload = base64::engine::general_purpose::STANDARD
        .decode(&envelope.payload)
        .context("read the payload")?;
    Ok(json!({
        "judgement": judgement,
        "content_id": content_id,
        "record": serde_json::from_slice::<Value>(&payload).context("read the record")?,
        "envelope": envelope,
    }))
}
