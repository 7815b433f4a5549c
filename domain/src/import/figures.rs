//! Figures out of nested JSON, and the names beside them, alike for every server benchmark.
//!
//! These tools write 0 for what they did not measure, so a zero is no figure. What cannot be one,
//! such as a negative time, is taken away and noted with every row's last look.

use serde_json::{Map, Value};

use super::document::{as_count, as_number, clipped};
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

/// The text at the end of a path of keys, clipped; an empty one, and "None" of Python, are none.
pub(super) fn text_at<'a>(object: &'a Object, path: &[&str]) -> Option<&'a str> {
    let text = at(object, path)?.as_str()?.trim();
    (!text.is_empty() && text != "None").then_some(clipped(text))
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
            for (name, bytes) in super::super::tests::testing::real_folder(folder) {
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
