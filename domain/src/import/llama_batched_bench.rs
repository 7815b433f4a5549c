//! llama.cpp's `llama-batched-bench`.

use super::{Claim, Document, Fault, Rows};

/// Whether a file is one of these.
pub(super) fn claims(document: &Document) -> Claim {
    let _ = document;
    Claim::No
}

/// Its rows.
pub(super) fn rows(document: &Document) -> Rows {
    let _ = document;
    Err(Fault::new("the file", "it is not read yet"))
}
