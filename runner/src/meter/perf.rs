//! RAPL counters through the kernel's perf events, where those may be read.

use std::path::Path;

use super::Found;

/// What there is.
pub fn discover(_root: &Path) -> Found {
    Found::default()
}
