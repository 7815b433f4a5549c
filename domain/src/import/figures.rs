//! Figures out of nested JSON, and the names beside them, alike for every server benchmark.
//!
//! These tools write 0 for what they did not measure, so a zero is no figure. What cannot be one,
//! such as a negative time, is taken away and noted with every row's last look.

use serde_json::{Map, Value};

use super::document::{as_count, as_number};
use super::names;

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// The value at the end of a path of keys.
pub(super) fn at<'a>(object: &'a Object, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(object.get(*first)?, |value, key| value.get(key))
}

/// The object at the end of a path of keys.
pub(super) fn object_at<'a>(object: &'a Object, path: &[&str]) -> Option<&'a Object> {
    at(object, path)?.as_object()
}

/// The text at the end of a path of keys; an empty one, and "None" of Python, are none.
pub(super) fn text_at<'a>(object: &'a Object, path: &[&str]) -> Option<&'a str> {
    let text = at(object, path)?.as_str()?.trim();
    (!text.is_empty() && text != "None").then_some(text)
}

/// The whole number at the end of a path of keys, zero included.
pub(super) fn count_at(object: &Object, path: &[&str]) -> Option<u64> {
    as_count(at(object, path)?)
}

/// The figure at the end of a path, times a factor: of seconds to milliseconds, say.
pub(super) fn scaled(object: &Object, path: &[&str], factor: f64) -> Option<f64> {
    Some(as_number(at(object, path)?)? * factor).filter(|it| it.is_finite() && *it != 0.0)
}

/// The figure at the end of a path.
pub(super) fn figure(object: &Object, path: &[&str]) -> Option<f64> {
    scaled(object, path, 1.0)
}

/// A mean count of tokens, to the nearest whole one.
pub(super) fn tokens(mean: Option<f64>) -> Option<u64> {
    mean.map(|it| it.round() as u64).filter(|it| *it > 0)
}

/// Units of one stream at this time for each, per second.
pub(super) fn per_second(each_ms: Option<f64>) -> Option<f64> {
    each_ms.map(|it| 1000.0 / it).filter(|it| it.is_finite())
}

/// Whether two figures that should be one differ by more than one in a hundred.
pub(super) fn differ(one: f64, other: f64) -> bool {
    (one - other).abs() > 0.01 * one.abs().max(other.abs())
}

/// The model's name, unless it is a server's address or a word for none.
pub(super) fn model(named: &str) -> Option<String> {
    if named.contains("://") {
        return None;
    }
    let name = names::model(named);
    (!matches!(name.as_str(), "" | "." | ".." | "~" | "None")).then_some(name)
}

/// Seconds since 1970 as a date and time of day in UTC.
pub(super) fn utc(seconds: f64) -> Option<String> {
    // Years 1970 to 9999; anything else is no time of a measurement.
    if !(1.0..253_402_300_800.0).contains(&seconds) {
        return None;
    }
    let seconds = seconds as i64;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days to a civil date, in eras of 400 years that begin on 1 March of the year 0.
    let from_era = days + 719_468;
    let (era, of_era) = (from_era / 146_097, from_era % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year + 400 * era + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    Some(format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
    ))
}

/// Reading in tests: hand-made files, real ones, and what must hold of all of them.
#[cfg(test)]
pub(super) mod testing {
    use proptest::prelude::*;

    use super::super::tests::{foreign, foreign_root};
    use super::super::{Format, ImportError, Imported, Row, read, redact};

    /// All real files of a folder with their names, none where it is missing.
    pub(in super::super) fn real_folder(folder: &str) -> Vec<(String, Vec<u8>)> {
        let entries = foreign_root().and_then(|it| std::fs::read_dir(it.join(folder)).ok());
        let files = entries.into_iter().flatten().filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            Some((name, std::fs::read(entry.path()).ok()?))
        });
        files.collect()
    }

    /// A real file, read.
    pub(in super::super) fn real(path: &str, format: Format) -> Option<Imported> {
        let imported = read(path, &foreign(path)?).expect("a real file is read");
        assert_eq!(imported.format, format, "{path}");
        Some(imported)
    }

    /// A hand-made file's rows and notes.
    pub(in super::super) fn rows(text: &str, format: Format) -> Imported {
        let imported = read("hand-made.json", text.as_bytes()).expect("a hand-made file is read");
        assert_eq!(imported.format, format);
        imported
    }

    /// A hand-made file's one row.
    pub(in super::super) fn one(text: &str, format: Format) -> Row {
        let mut rows = rows(text, format).rows;
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }

    /// What a file that is not read looks like.
    pub(in super::super) fn unknown(text: &str) -> String {
        match read("hand-made.json", text.as_bytes()) {
            Err(ImportError::Unknown { found, .. }) => found,
            other => panic!("it should be unknown, and is {other:?}"),
        }
    }

    /// The figure is this, but for the last digits.
    pub(in super::super) fn close(figure: Option<f64>, expected: f64) {
        assert!(
            figure.is_some_and(|it| (it - expected).abs() <= 1e-9 * expected.abs()),
            "{figure:?} should be {expected}"
        );
    }

    /// Whether some note says this.
    pub(in super::super) fn says(notes: &[String], what: &str) -> bool {
        notes.iter().any(|it| it.contains(what))
    }

    /// Nothing private of the file is in what was made of it.
    pub(in super::super) fn keeps_private(imported: &Imported, secrets: &[&str]) {
        let said = serde_json::to_string(imported).expect("rows are JSON");
        for secret in secrets {
            assert!(!said.contains(secret), "{secret} is in {said}");
        }
    }

    /// Without what is never stored, the file reads alike and none of these is in it.
    pub(in super::super) fn redacts(text: &str, secrets: &[&str]) {
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
    pub(in super::super) fn survives_damage(text: &str) {
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
}

#[cfg(test)]
mod tests {
    use super::super::document::Document;
    use super::super::{Claim, Format, READERS};
    use super::*;

    #[test]
    fn an_address_is_no_model() {
        assert_eq!(model("https://user:word@host.internal/v1"), None);
        assert_eq!(model("None"), None);
        assert_eq!(model("/"), None);
        assert_eq!(
            model("/home/someone/models/x.gguf").as_deref(),
            Some("x.gguf")
        );
    }

    #[test]
    fn seconds_become_a_date() {
        // Checked with `date -u -d @1783534401`, and for a leap day.
        assert_eq!(
            utc(1_783_534_401.9).as_deref(),
            Some("2026-07-08T18:13:21Z")
        );
        assert_eq!(
            utc(1_709_164_800.0).as_deref(),
            Some("2024-02-29T00:00:00Z")
        );
        assert_eq!(utc(0.0), None);
        assert_eq!(utc(f64::NAN), None);
        assert_eq!(utc(-5.0), None);
    }

    #[test]
    fn zero_is_not_measured() {
        let object = serde_json::json!({"a": {"b": 0.0, "d": 2.5, "e": "inf"}});
        let object = object.as_object().expect("an object");
        assert_eq!(figure(object, &["a", "b"]), None);
        assert_eq!(figure(object, &["a", "e"]), None);
        assert_eq!(scaled(object, &["a", "d"], 1000.0), Some(2500.0));
        assert_eq!(figure(object, &["a", "missing"]), None);
        assert_eq!(tokens(Some(-3.0)), None);
    }

    #[test]
    fn no_reader_claims_the_files_of_another() {
        let folders: [(&str, Option<Format>); 12] = [
            ("lm-eval", Some(Format::LmEval)),
            ("inferencex-agg", Some(Format::InferenceX)),
            ("vllm-bench-serve", Some(Format::VllmBenchServe)),
            ("guidellm", Some(Format::Guidellm)),
            ("genai-bench", Some(Format::GenaiBench)),
            ("aiperf", Some(Format::Aiperf)),
            ("localmaxxing", None),
            ("ml-energy", None),
            ("optimum-benchmark", None),
            ("exo-bench", None),
            ("localscore", None),
            ("llama-benchy", None),
        ];
        let ours = READERS
            .map(|it| (it.format, it.claims))
            .into_iter()
            .filter(|(format, _)| folders.iter().any(|(_, of)| *of == Some(*format)));
        let ours: Vec<_> = ours.collect();
        assert_eq!(ours.len(), 6);
        // Files that only describe a run, or hold its samples.
        let companions = ["meta.json", "experiment_metadata.json", "slice.jsonl"];
        for (folder, of) in folders {
            for (name, bytes) in testing::real_folder(folder) {
                let document = Document::read(&name, &bytes).expect("a real file is text");
                let is_companion = of.is_some() && companions.iter().any(|it| name.ends_with(it));
                for (format, claims) in &ours {
                    let claimed = claims(&document) == Claim::Yes;
                    let own = of == Some(*format) && !is_companion;
                    assert_eq!(claimed, own, "{format} and {folder}/{name}");
                }
            }
        }
    }
}
