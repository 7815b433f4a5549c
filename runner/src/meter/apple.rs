//! Apple's counters: SMC system power, and the `IOReport` breakdown.

use super::Found;

/// What there is.
pub fn discover() -> Found {
    Found::default()
}
