//! How far a result is trusted.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Trust tiers in rising order. Only the first three have a maker so far.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Broke a plausibility rule: stored, with the reason, in no aggregate.
    Quarantined,
    /// A foreign file in its importer's envelope: a layer of its own, on no frontier.
    Imported,
    /// A valid, plausible record of one runner.
    SelfReported,
    /// Repeated by others on the same setup.
    Corroborated,
    /// Witnessed and re-scored by the collector.
    Verified,
    /// Measured by the operator's own machines.
    Farm,
}

impl Tier {
    /// Every tier, lowest first.
    pub const ALL: [Self; 6] = [
        Self::Quarantined,
        Self::Imported,
        Self::SelfReported,
        Self::Corroborated,
        Self::Verified,
        Self::Farm,
    ];

    /// The name used in JSON, URLs and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quarantined => "quarantined",
            Self::Imported => "imported",
            Self::SelfReported => "self-reported",
            Self::Corroborated => "corroborated",
            Self::Verified => "verified",
            Self::Farm => "farm",
        }
    }
}

impl FromStr for Tier {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|tier| tier.as_str() == text)
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::as_str).join(", ");
                format!("{text:?} is no tier: one of {names}")
            })
    }
}
