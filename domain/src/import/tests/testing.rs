//! Reading in tests: hand-made files, real ones, and what must hold of all of them.

use proptest::prelude::*;

use super::{foreign, foreign_root};
use crate::import::{Format, ImportError, Imported, Row, read, redact};

/// All real files of a folder with their names, none where it is missing.
pub(in crate::import) fn real_folder(folder: &str) -> Vec<(String, Vec<u8>)> {
    let entries = foreign_root().and_then(|it| std::fs::read_dir(it.join(folder)).ok());
    let files = entries.into_iter().flatten().filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        Some((name, std::fs::read(entry.path()).ok()?))
    });
    files.collect()
}

/// A real file, read.
pub(in crate::import) fn real(path: &str, format: Format) -> Option<Imported> {
    let imported = read(path, &foreign(path)?).expect("a real file is read");
    assert_eq!(imported.format, format, "{path}");
    Some(imported)
}

/// A hand-made file's rows and notes.
pub(in crate::import) fn rows(text: &str, format: Format) -> Imported {
    let imported = read("hand-made.json", text.as_bytes()).expect("a hand-made file is read");
    assert_eq!(imported.format, format);
    imported
}

/// A hand-made file's one row.
pub(in crate::import) fn one(text: &str, format: Format) -> Row {
    let mut rows = rows(text, format).rows;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

/// What a file that is not read looks like.
pub(in crate::import) fn unknown(text: &str) -> String {
    match read("hand-made.json", text.as_bytes()) {
        Err(ImportError::Unknown { found, .. }) => found,
        other => panic!("it should be unknown, and is {other:?}"),
    }
}

/// The figure is this, but for the last digits.
pub(in crate::import) fn close(figure: Option<f64>, expected: f64) {
    assert!(
        figure.is_some_and(|it| (it - expected).abs() <= 1e-9 * expected.abs()),
        "{figure:?} should be {expected}"
    );
}

/// Whether some note says this.
pub(in crate::import) fn says(notes: &[String], what: &str) -> bool {
    notes.iter().any(|it| it.contains(what))
}

/// Nothing private of the file is in what was made of it.
pub(in crate::import) fn keeps_private(imported: &Imported, secrets: &[&str]) {
    let said = serde_json::to_string(imported).expect("rows are JSON");
    for secret in secrets {
        assert!(!said.contains(secret), "{secret} is in {said}");
    }
}

/// Without what is never stored, the file reads alike and none of these is in it.
pub(in crate::import) fn redacts(text: &str, secrets: &[&str]) {
    let (kept, places) = redact(text.as_bytes());
    assert!(places > 0);
    let kept_text = String::from_utf8_lossy(&kept);
    for secret in secrets {
        assert!(!kept_text.contains(secret), "{secret} is in {kept_text}");
    }
    let before = read("hand-made.json", text.as_bytes());
    assert_eq!(read("hand-made.json", &kept), before);
}

/// Bytes changed, cut and doubled anywhere give rows or an error, and a row gives figures that
/// can be ones or says that it failed.
pub(in crate::import) fn survives_damage(text: &str) {
    for part in 0..32 {
        check(&text.as_bytes()[..text.len() * part / 32]);
    }
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0_u8..5);
    let edits = prop::collection::vec(edit, 1..6);
    let mut runner = prop::test_runner::TestRunner::new(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&edits, |edits| {
            let mut bytes = text.as_bytes().to_vec();
            for (index, byte, kind) in edits {
                if bytes.is_empty() {
                    break;
                }
                let at = index.index(bytes.len());
                match kind {
                    0 => bytes[at] = byte,
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, b"-0123456789.eE{}[]\",:"[usize::from(byte) % 21]),
                    3 => bytes.truncate(at.max(1)),
                    _ => bytes.splice(at..at, *b"null").for_each(drop),
                }
            }
            check(&bytes);
            Ok(())
        })
        .expect("no damage breaks the reader");
}

fn check(bytes: &[u8]) {
    let Ok(imported) = read("damaged.json", bytes) else {
        return;
    };
    for row in &imported.rows {
        let figures = [
            row.decode_tokens_per_second,
            row.aggregate_decode_tokens_per_second,
            row.ttft_ms,
            row.tpot_ms,
            row.itl_ms,
            row.request_ms,
            row.energy_joules,
            row.joules_per_output_token,
        ];
        for figure in figures.into_iter().flatten() {
            assert!(figure.is_finite() && figure >= 0.0, "{row:?}");
            assert!(row.failed.is_none(), "{row:?}");
        }
    }
}
