//! For a program: judgement, raw record and the sealed envelope in one document.

use domain::gate::verdict::Judgement;
use domain::ids::ContentId;
use serde_json::{Value, json};

/// The document. The record is the envelope's payload, and both are as they were sealed.
pub(crate) fn document(
    judgement: &Judgement,
    content_id: ContentId,
    payload: &[u8],
    envelope: &[u8],
) -> serde_json::Result<Value> {
    Ok(json!({
        "judgement": judgement,
        "content_id": content_id,
        "record": serde_json::from_slice::<Value>(payload)?,
        "envelope": serde_json::from_slice::<Value>(envelope)?,
    }))
}
