//! exo's `bench/exo_bench.py` and `bench/exo_eval.py`.

use super::{Claim, Document, Fault, Rows};

/// Whether a file is the speed bench's.
pub(super) fn claims_bench(document: &Document) -> Claim {
    let _ = document;
    Claim::No
}

/// Its rows.
pub(super) fn bench(document: &Document) -> Rows {
    let _ = document;
    Err(Fault::new("the file", "it is not read yet"))
}

/// Whether a file is the evaluation's.
pub(super) fn claims_eval(document: &Document) -> Claim {
    let _ = document;
    Claim::No
}

/// Its rows.
pub(super) fn eval(document: &Document) -> Rows {
    let _ = document;
    Err(Fault::new("the file", "it is not read yet"))
}
