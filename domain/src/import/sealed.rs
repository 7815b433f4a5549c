//! A foreign file as it travels: redacted, packed, in the envelope of whoever imports it.
//!
//! The collector unpacks it, checks that nothing in it looks like a command line or a secret, and
//! maps it by [`read`] itself: rows are never trusted from the importer. What only the
//! importer knows (which setup that was, where the file was published) stands beside it, under the
//! importer's name.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Format, ImportError, Imported, MAX_FILE_BYTES, read, redact};
use crate::ids::{Sha256Digest, Slug};
use crate::record::Audience;
use crate::text::Name;

/// The `schema` of this version.
pub const SCHEMA: &str = "joulemark.import.v1";

/// The DSSE payload type of this version.
pub const PAYLOAD_TYPE: &str = "application/vnd.joulemark.import.v1+json";

/// One foreign file and what its importer says about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// [`SCHEMA`].
    pub schema: Name,
    /// The collector it is meant for.
    pub audience: Audience,
    /// When it was imported, Unix milliseconds; a label only.
    pub imported_ms: u64,
    /// The file's name, without folders.
    pub file: Name,
    /// Which tool wrote it.
    pub format: Format,
    /// SHA-256 of the file as it was on the importer's disk.
    pub file_sha256: Sha256Digest,
    /// Its length.
    pub file_bytes: u64,
    /// Places that [`redact()`] took out before it was packed.
    pub redactions: u32,
    /// SHA-256 of what is packed.
    pub packed_sha256: Sha256Digest,
    /// The file without those places: deflated (RFC 1951), in base64.
    pub packed: String,
    /// About the measurement.
    pub about: About,
}

/// What the file itself does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The setup it was measured on.
    pub setup: Option<Slug>,
    /// The weights.
    pub variant_sha256: Option<Sha256Digest>,
    /// Where it was published.
    pub source: Option<Name>,
    /// Under which licence.
    pub licence: Option<Name>,
}

/// Why a file was not packed or not accepted.
#[derive(Debug, Error)]
pub enum SealedError {
    /// It was not read.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The packed bytes are not what the statement says.
    #[error("unpack {file}: {what}")]
    Packed {
        /// The file's name.
        file: Name,
        /// What is wrong.
        what: &'static str,
    },
    /// Something in it, or in what is said about it, must not be stored.
    #[error(
        "store {file}: {places} places in {what} look like a command line, an address or a secret"
    )]
    Secret {
        /// The file's name.
        file: Name,
        /// Where.
        what: &'static str,
        /// How many.
        places: u32,
    },
    /// It is another tool's.
    #[error("store {file}: it was given as {given}, and reads as {found}")]
    OtherFormat {
        /// The file's name.
        file: Name,
        /// As stated.
        given: Format,
        /// As read.
        found: Format,
    },
}

impl Import {
    /// Redacts, reads and packs a file; the rows are those that a collector will read of it.
    #[expect(
        clippy::missing_panics_doc,
        reason = "writing into memory does not fail"
    )]
    pub fn pack(
        file: &str,
        bytes: &[u8],
        about: About,
        audience: Audience,
        imported_ms: u64,
    ) -> Result<(Self, Imported), SealedError> {
        if bytes.len() > MAX_FILE_BYTES {
            return Err(SealedError::Import(ImportError::TooLong {
                file: file.to_owned(),
                bytes: bytes.len(),
            }));
        }
        let (redacted, redactions) = redact(bytes);
        let imported = read(file, &redacted)?;
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        let packed = encoder
            .write_all(&redacted)
            .and_then(|()| encoder.finish())
            .expect("writing into memory does not fail");
        let import = Self {
            schema: Name::cleaned(SCHEMA),
            audience,
            imported_ms,
            file: Name::cleaned(file),
            format: imported.format,
            file_sha256: Sha256Digest::of(bytes),
            file_bytes: bytes.len() as u64,
            redactions,
            packed_sha256: Sha256Digest::of(&redacted),
            packed: STANDARD.encode(packed),
            about,
        };
        import.says_no_secret()?;
        Ok((import, imported))
    }

    /// The packed file. Unpacking is bounded, whatever the packed bytes claim.
    pub fn unpack(&self) -> Result<Vec<u8>, SealedError> {
        let fault = |what| SealedError::Packed {
            file: self.file.clone(),
            what,
        };
        let packed = STANDARD
            .decode(&self.packed)
            .map_err(|_| fault("it is not base64"))?;
        let mut bytes = Vec::new();
        DeflateDecoder::new(packed.as_slice())
            .take(MAX_FILE_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|_| fault("it is not deflated"))?;
        if bytes.len() > MAX_FILE_BYTES {
            return Err(fault("it is longer than any file that is read"));
        }
        if Sha256Digest::of(&bytes) != self.packed_sha256 {
            return Err(fault("it is another file than the digest says"));
        }
        Ok(bytes)
    }

    /// Its rows, as a collector admits them: what is packed is what is said, and holds nothing that
    /// must not be stored.
    pub fn admitted(&self) -> Result<Imported, SealedError> {
        let fault = |what| SealedError::Packed {
            file: self.file.clone(),
            what,
        };
        self.says_no_secret()?;
        let bytes = self.unpack()?;
        let places = redact(&bytes).1;
        if places > 0 {
            return Err(self.secret("the file", places));
        }
        // Taking something out keeps the length, and nothing taken out keeps the file.
        if self.file_bytes != bytes.len() as u64 {
            return Err(fault("it is of another length than the file"));
        }
        if self.redactions == 0 && self.file_sha256 != self.packed_sha256 {
            return Err(fault("nothing was taken out, and it is another file"));
        }
        self.read_as_stated(&bytes)
    }

    /// Its rows, as a collector reads what it stored: whatever later rules would take out is taken
    /// out now.
    pub fn stored(&self) -> Result<Imported, SealedError> {
        self.read_as_stated(&self.shown()?)
    }

    /// The file as it may be shown.
    pub fn shown(&self) -> Result<Vec<u8>, SealedError> {
        Ok(redact(&self.unpack()?).0)
    }

    fn read_as_stated(&self, bytes: &[u8]) -> Result<Imported, SealedError> {
        let imported = read(self.file.as_str(), bytes)?;
        if imported.format == self.format {
            Ok(imported)
        } else {
            Err(SealedError::OtherFormat {
                file: self.file.clone(),
                given: self.format,
                found: imported.format,
            })
        }
    }

    /// What the importer says beside the file is published too.
    fn says_no_secret(&self) -> Result<(), SealedError> {
        let said = [
            ("its name", Some(&self.file)),
            ("its licence", self.about.licence.as_ref()),
        ];
        for (what, text) in said {
            let places = text.map_or(0, |text| redact(text.as_str().as_bytes()).1);
            if places > 0 {
                return Err(self.secret(what, places));
            }
        }
        // A source is an address, and public by its importer's will; what must not be in it is a
        // user, a password or a query that may hold a token.
        let source = self.about.source.as_ref().map_or("", Name::as_str);
        let private = source.contains('@') || source.contains('?') || source.contains(' ');
        if private {
            return Err(self.secret("its source (give the page without user and query)", 1));
        }
        Ok(())
    }

    fn secret(&self, what: &'static str, places: u32) -> SealedError {
        SealedError::Secret {
            file: self.file.clone(),
            what,
            places,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(bytes: &[u8]) -> Import {
        let packed = |bytes: &[u8]| {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(bytes).expect("memory");
            encoder.finish().expect("memory")
        };
        Import {
            schema: Name::cleaned(SCHEMA),
            audience: Audience::Any,
            imported_ms: 0,
            file: Name::cleaned("a.json"),
            format: Format::LlamaBench,
            file_sha256: Sha256Digest::of(bytes),
            file_bytes: bytes.len() as u64,
            redactions: 0,
            packed_sha256: Sha256Digest::of(bytes),
            packed: STANDARD.encode(packed(bytes)),
            about: About::default(),
        }
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let import = import(b"[1, 2]");
        assert_eq!(import.unpack().expect("whole"), b"[1, 2]");
    }

    #[test]
    fn a_bomb_is_cut_off_and_another_file_is_noticed() {
        let bomb = import(&vec![b' '; MAX_FILE_BYTES + 1]);
        assert!(bomb.packed.len() < 20_000, "{}", bomb.packed.len());
        let refused = bomb.unpack().expect_err("too long").to_string();
        assert!(refused.contains("longer than any file"), "{refused}");

        let mut other = import(b"[1]");
        other.packed_sha256 = Sha256Digest::of(b"[2]");
        assert!(other.unpack().is_err());
        other.packed = "!".to_owned();
        assert!(other.unpack().is_err());
    }

    #[test]
    fn what_is_said_beside_the_file_holds_no_secret_either() {
        let mut import = import(b"[1]");
        assert!(import.says_no_secret().is_ok());
        import.about.source = Some(Name::cleaned("https://example.org/post"));
        assert!(import.says_no_secret().is_ok());
        for source in [
            "https://bob:secret@example.org/x",
            "https://example.org/x?token=abc",
        ] {
            import.about.source = Some(Name::cleaned(source));
            let refused = import.says_no_secret().expect_err(source).to_string();
            assert!(refused.contains("without user and query"), "{refused}");
        }
    }
}
