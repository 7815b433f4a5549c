//! Identifiers: 32-byte digests spelled as 64 lower-case hex digits, and slugs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Why a text is not an identifier.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum IdError {
    /// Not exactly 64 lower-case hexadecimal digits.
    #[error("read {0:?} as a digest: 64 lower-case hexadecimal digits are needed")]
    Digest(String),
    /// Not `[a-z0-9-]{1,64}`.
    #[error("read {0:?} as a slug: 1 to 64 of a-z, 0-9 and '-' are needed")]
    Slug(String),
}

macro_rules! digest_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_digest(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

digest_id! {
    /// SHA-256 of an envelope's pre-authentication encoding: names one signed record.
    ContentId
}
digest_id! {
    /// SHA-256 of an ed25519 public key: a lookup hint, never a decision.
    KeyId
}
digest_id! {
    /// Any other SHA-256: of a weights file, a binary, a prompt, a collector's id.
    Sha256Digest
}

impl Sha256Digest {
    /// Digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

fn parse_digest(text: &str) -> Result<[u8; 32], IdError> {
    let refuse = || IdError::Digest(text.chars().take(80).collect());
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != 64 || !text.bytes().all(lower_hex) {
        return Err(refuse());
    }
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).map_err(|_| refuse())?;
    Ok(digest)
}

/// A name in URLs: 1 to 64 of `a-z`, `0-9` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(String);

impl Slug {
    /// The slug's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest slug to a free text: lower-cased, every run of other characters one `-`.
    /// Empty when nothing of the text is left.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut slug = String::new();
        for c in text.chars().map(|c| c.to_ascii_lowercase()) {
            if c.is_ascii_alphanumeric() {
                slug.push(c);
            } else if !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
            if slug.len() == 64 {
                break;
            }
        }
        slug.trim_end_matches('-').parse().ok()
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Slug {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Slug(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for Slug {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Slug> for String {
    fn from(slug: Slug) -> String {
        slug.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_spelling() {
        let id = Sha256Digest::of(b"joule");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(
            id.to_string()
                .to_uppercase()
                .parse::<Sha256Digest>()
                .is_err()
        );
        assert!("ab".parse::<Sha256Digest>().is_err());
    }

    #[test]
    fn a_slug_is_made_from_any_text() {
        let slug = Slug::from_text("Mac Studio (M1 Max, 64 GB)").map(String::from);
        assert_eq!(slug.as_deref(), Some("mac-studio-m1-max-64-gb"));
        assert_eq!(Slug::from_text("  \u{202e} "), None);
    }
}
