//! Which silicon a joule figure covers, and which figures may be added.
//!
//! The containment graph and the legal sums are those of the energy method: a sum is legal
//! only over meters none of which contains, or may overlap, another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

/// One energy scope.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
pub enum Scope {
    /// All behind one plug, supply loss included.
    #[serde(rename = "wall.ac")]
    WallAc,
    /// A laptop on discharge, panel included.
    #[serde(rename = "battery")]
    Battery,
    /// The whole machine behind its supply.
    #[serde(rename = "system.dc")]
    SystemDc,
    /// Intel's platform rail, vendor-defined.
    #[serde(rename = "platform.psys")]
    PlatformPsys,
    /// CPU, GPU and memory of a superchip.
    #[serde(rename = "module")]
    Module,
    /// A whole `SoC` package, memory chips outside.
    #[serde(rename = "soc.pkg")]
    SocPkg,
    /// Apple's modelled CPU, GPU, ANE and DRAM; always estimated.
    #[serde(rename = "soc.model")]
    SocModel,
    /// CPU package with its integrated GPU.
    #[serde(rename = "cpu.pkg")]
    CpuPkg,
    /// CPU cores.
    #[serde(rename = "cpu.core")]
    CpuCore,
    /// CPU uncore, usually the integrated GPU.
    #[serde(rename = "cpu.uncore")]
    CpuUncore,
    /// DIMMs.
    #[serde(rename = "cpu.dram")]
    CpuDram,
    /// A graphics card with VRAM and regulators.
    #[serde(rename = "gpu.board")]
    GpuBoard,
    /// VRAM.
    #[serde(rename = "gpu.mem")]
    GpuMem,
    /// The GPU part of an `SoC`.
    #[serde(rename = "gpu.rail")]
    GpuRail,
}

impl Scope {
    /// Every scope, widest first: the order in which a headline is chosen.
    pub const ALL: [Self; 14] = [
        Self::WallAc,
        Self::Battery,
        Self::SystemDc,
        Self::PlatformPsys,
        Self::Module,
        Self::SocPkg,
        Self::SocModel,
        Self::CpuPkg,
        Self::CpuCore,
        Self::CpuUncore,
        Self::CpuDram,
        Self::GpuBoard,
        Self::GpuMem,
        Self::GpuRail,
    ];

    /// The name used in records, JSON and URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WallAc => "wall.ac",
            Self::Battery => "battery",
            Self::SystemDc => "system.dc",
            Self::PlatformPsys => "platform.psys",
            Self::Module => "module",
            Self::SocPkg => "soc.pkg",
            Self::SocModel => "soc.model",
            Self::CpuPkg => "cpu.pkg",
            Self::CpuCore => "cpu.core",
            Self::CpuUncore => "cpu.uncore",
            Self::CpuDram => "cpu.dram",
            Self::GpuBoard => "gpu.board",
            Self::GpuMem => "gpu.mem",
            Self::GpuRail => "gpu.rail",
        }
    }
}

impl Scope {
    /// What it is known to contain, directly.
    fn parts(self) -> &'static [Self] {
        match self {
            Self::WallAc => &[Self::Battery],
            Self::Battery => &[Self::SystemDc],
            Self::SystemDc => &[
                Self::PlatformPsys,
                Self::Module,
                Self::SocPkg,
                Self::SocModel,
            ],
            Self::PlatformPsys => &[Self::CpuPkg, Self::CpuDram],
            Self::Module => &[Self::CpuPkg, Self::CpuDram, Self::GpuBoard],
            Self::SocPkg => &[Self::CpuPkg, Self::GpuRail],
            Self::CpuPkg => &[Self::CpuCore, Self::CpuUncore],
            Self::GpuBoard => &[Self::GpuMem],
            Self::SocModel
            | Self::CpuCore
            | Self::CpuUncore
            | Self::CpuDram
            | Self::GpuMem
            | Self::GpuRail => &[],
        }
    }

    /// Whether all that `part` covers is known to be covered by this scope of the same host. What
    /// is neither contained nor [`Self::is_disjoint_from`] may overlap.
    pub fn contains(self, part: Self) -> bool {
        self == part || self.parts().iter().any(|own| own.contains(part))
    }

    /// Whether two scopes of one host are known to share nothing: the package, the DIMMs and a
    /// graphics card of one PC.
    pub fn is_disjoint_from(self, other: Self) -> bool {
        const DISJOINT: [Scope; 3] = [Scope::CpuPkg, Scope::CpuDram, Scope::GpuBoard];
        self != other && DISJOINT.contains(&self) && DISJOINT.contains(&other)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why scopes cannot form one figure.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ScopeError {
    /// Not one of the published sums.
    #[error("add joules of {0}: these scopes contain or may overlap one another")]
    Overlap(String),
    /// Not a scope's name.
    #[error("read {0:?} as an energy scope")]
    Unknown(String),
}

/// What one joule figure covers: a single scope, or one of the two published sums.
/// Figures are compared only within one key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "cpu.pkg")]
pub struct ScopeKey(Vec<Scope>);

impl ScopeKey {
    /// The key of meters read together; refuses every sum but the two that are known disjoint.
    pub fn of(scopes: &[Scope]) -> Result<Self, ScopeError> {
        let mut sorted = scopes.to_vec();
        sorted.sort_by_key(|scope| scope.as_str());
        let legal = matches!(
            sorted.as_slice(),
            [_] | [Scope::CpuPkg, Scope::GpuBoard]
                | [Scope::CpuDram, Scope::CpuPkg, Scope::GpuBoard]
        );
        let key = Self(sorted);
        if legal {
            Ok(key)
        } else {
            Err(ScopeError::Overlap(key.to_string()))
        }
    }

    /// The scopes that were added, sorted by name.
    pub fn scopes(&self) -> &[Scope] {
        &self.0
    }
}

impl fmt::Display for ScopeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|scope| scope.as_str()).collect();
        f.write_str(&names.join("+"))
    }
}

impl FromStr for ScopeKey {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let scopes = text
            .split('+')
            .map(|name| Scope::ALL.into_iter().find(|scope| scope.as_str() == name))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| ScopeError::Unknown(text.chars().take(80).collect()))?;
        Self::of(&scopes)
    }
}

impl TryFrom<String> for ScopeKey {
    type Error = ScopeError;
    fn try_from(text: String) -> Result<Self, ScopeError> {
        text.parse()
    }
}

impl From<ScopeKey> for String {
    fn from(key: ScopeKey) -> String {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scopes_known_disjoint_are_added() {
        use Scope::{CpuCore, CpuDram, CpuPkg, GpuBoard, PlatformPsys};
        assert_eq!(
            ScopeKey::of(&[GpuBoard, CpuPkg]).map(|k| k.to_string()),
            Ok("cpu.pkg+gpu.board".into())
        );
        assert!(ScopeKey::of(&[CpuPkg, CpuDram, GpuBoard]).is_ok());
        assert!(ScopeKey::of(&[CpuPkg, CpuCore]).is_err());
        assert!(ScopeKey::of(&[PlatformPsys, CpuPkg]).is_err());
        assert!(ScopeKey::of(&[CpuPkg, CpuPkg]).is_err());
        assert!(ScopeKey::of(&[]).is_err());
    }

    #[test]
    fn wider_scopes_contain_narrower_ones_and_only_three_are_disjoint() {
        assert!(Scope::WallAc.contains(Scope::GpuMem));
        assert!(Scope::Module.contains(Scope::CpuCore));
        assert!(!Scope::PlatformPsys.contains(Scope::GpuBoard));
        assert!(!Scope::SocPkg.contains(Scope::CpuDram));
        assert!(!Scope::CpuPkg.contains(Scope::CpuDram));
        for one in Scope::ALL {
            assert!(Scope::WallAc.contains(one), "{one}");
            for other in Scope::ALL {
                let exclusive = one.is_disjoint_from(other) && one.contains(other);
                assert!(!exclusive, "{one} and {other}");
                if one != other {
                    assert!(!(one.contains(other) && other.contains(one)));
                }
            }
        }
        for sum in ["cpu.pkg+gpu.board", "cpu.dram+cpu.pkg+gpu.board"] {
            let key: ScopeKey = sum.parse().expect("a published sum");
            for one in key.scopes() {
                let others = key.scopes().iter().filter(|other| *other != one);
                assert!(others.into_iter().all(|other| one.is_disjoint_from(*other)));
            }
        }
    }

    #[test]
    fn a_key_is_read_back_from_its_name() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), ScopeKey::of(&[scope]));
        }
        assert!("cpu".parse::<ScopeKey>().is_err());
    }
}
