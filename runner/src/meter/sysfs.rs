//! Attribute files of sysfs, each opened once and read from its start every time.
//!
//! A file that is gone, that may not be read, or that holds anything but the number it should is
//! a [`ReadError`]: no content stands for a number that was not there.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

use super::{ReadError, Reading};
use crate::clock::Clock;

/// Longer than any number or word that is read.
const LONGEST: usize = 128;

/// Linux' "no such device" and "no data available".
const ENODEV: i32 = 19;
const ENODATA: i32 = 61;

/// One open attribute.
#[derive(Debug)]
pub(super) struct Attribute {
    file: File,
    fix: &'static str,
}

impl Attribute {
    /// Opens it; `fix` is what to do where it may not be read.
    pub(super) fn open(path: &Path, fix: &'static str) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(|error| read_error(&error, fix))?;
        Ok(Self { file, fix })
    }

    /// The number it holds now.
    pub(super) fn number<N: FromStr>(&self) -> Result<N, ReadError> {
        let text = self.text()?;
        text.parse().map_err(|_| implausible(&text))
    }

    /// The trimmed text it holds now.
    pub(super) fn text(&self) -> Result<String, ReadError> {
        let mut buffer = [0; LONGEST];
        let length = self
            .file
            .read_at(&mut buffer, 0)
            .map_err(|error| read_error(&error, self.fix))?;
        Ok(String::from_utf8_lossy(&buffer[..length]).trim().to_owned())
    }
}

/// The number in a file that is read once; `None` where there is no such file.
pub(super) fn number<N: FromStr>(path: &Path, fix: &'static str) -> Result<Option<N>, ReadError> {
    match Attribute::open(path, fix) {
        Ok(attribute) => attribute.number().map(Some),
        Err(ReadError::Absent) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A reading, stamped on both sides.
pub(super) fn stamped(
    clock: &dyn Clock,
    read: impl FnOnce() -> Result<u64, ReadError>,
) -> Result<Reading, ReadError> {
    let before_ns = clock.now_ns();
    let value = read()?;
    Ok(Reading {
        before_ns,
        after_ns: clock.now_ns(),
        source_ns: None,
        value,
    })
}

/// Something that was said and cannot be.
pub(super) fn implausible(said: impl Display) -> ReadError {
    ReadError::Implausible(said.to_string())
}

/// What a failed system call means.
pub(super) fn read_error(error: &io::Error, fix: &'static str) -> ReadError {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::NotFound, _) | (_, Some(ENODEV)) => ReadError::Absent,
        (io::ErrorKind::PermissionDenied, _) => ReadError::Permission { fix },
        (io::ErrorKind::Unsupported, _) | (_, Some(ENODATA)) => ReadError::NotSupported,
        _ => ReadError::Transport(error.to_string()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use tempfile::TempDir;

    /// A tree of files under a root of its own.
    pub(in crate::meter) fn tree(files: &[(&str, &str)]) -> TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            write(&root, path, text);
        }
        root
    }

    /// Writes one file of a tree.
    pub(in crate::meter) fn write(root: &TempDir, path: &str, text: &str) {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("has one")).expect("a folder");
        fs::write(path, text).expect("writable");
    }

    #[test]
    fn whatever_is_no_number_is_an_error_that_quotes_it() {
        let root = tree(&[("a", "12\n")]);
        let attribute = Attribute::open(&root.path().join("a"), "ask").expect("there");
        assert_eq!(attribute.number(), Ok(12_u64));
        for bad in [
            "",
            "\n",
            "lots",
            "-1",
            "1.5",
            "99999999999999999999",
            "0x10",
            "1 2",
        ] {
            write(&root, "a", bad);
            let quoted = ReadError::Implausible(bad.trim().to_owned());
            assert_eq!(attribute.number::<u64>(), Err(quoted), "{bad:?}");
        }
        write(&root, "a", &"9".repeat(LONGEST + 1));
        assert!(attribute.number::<u64>().is_err());
        assert_eq!(number::<u64>(&root.path().join("b"), "ask"), Ok(None));
    }

    proptest! {
        #[test]
        fn no_content_but_a_number_becomes_one(
            text in prop_oneof!["\\PC{0,24}", "[-+ 0-9a-f.x\n]{0,24}", "[0-9]{1,24}\n"]
        ) {
            let root = tree(&[("a", &text)]);
            let attribute = Attribute::open(&root.path().join("a"), "ask").expect("there");
            let digits = text.trim().strip_prefix('+').unwrap_or(text.trim());
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            match attribute.number::<u64>() {
                Ok(number) => {
                    prop_assert!(is_number);
                    let plain = digits.trim_start_matches('0');
                    let read = number.to_string();
                    prop_assert_eq!(read.trim_start_matches('0'), plain);
                }
                Err(error) => {
                    prop_assert!(!is_number || digits.trim_start_matches('0').len() >= 20);
                    prop_assert!(matches!(error, ReadError::Implausible(_)));
                }
            }
        }
    }

    #[test]
    fn system_errors_are_told_apart() {
        let of = |code| read_error(&io::Error::from_raw_os_error(code), "ask");
        assert_eq!(of(2), ReadError::Absent);
        assert_eq!(of(ENODEV), ReadError::Absent);
        assert_eq!(of(13), ReadError::Permission { fix: "ask" });
        assert_eq!(of(1), ReadError::Permission { fix: "ask" });
        assert_eq!(of(ENODATA), ReadError::NotSupported);
        assert_eq!(of(95), ReadError::NotSupported);
        assert!(matches!(of(5), ReadError::Transport(_)));
    }
}
