//! Strict JSON: a signed payload means one thing, or it is refused.
//!
//! `serde_json` alone is too kind: duplicate keys in a `Value` are resolved silently, a struct
//! is read from an array, a missing `Option` from nothing. Parsing a typed value and writing
//! it again must therefore give the same JSON value, key by key; integers stay within what
//! every JSON reader represents exactly (2^53 - 1).

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

/// The largest integer that every JSON reader keeps exact.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Why a payload was refused.
#[derive(Debug, Error)]
pub enum StrictError {
    /// Not JSON, or not of the type: unknown field, duplicate key, wrong type, refused text.
    #[error("parse the payload: {0}")]
    Parse(#[from] serde_json::Error),
    /// Parsed, but it says the same thing in another shape (an array for an object, a missing
    /// `null`, a float for an integer). The pointer (RFC 6901) tells where.
    #[error("accept the payload's shape at {pointer:?}: {what}")]
    Shape {
        /// RFC 6901 pointer.
        pointer: String,
        /// What differs.
        what: &'static str,
    },
}

impl StrictError {
    /// Where in the payload, as an RFC 6901 pointer; empty when the parser cannot say.
    pub fn pointer(&self) -> &str {
        match self {
            Self::Parse(_) => "",
            Self::Shape { pointer, .. } => pointer,
        }
    }
}

/// Parses `bytes` as exactly the JSON that writing the value again would give
/// (whitespace, key order and escapes aside).
pub fn parse_strict<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<T, StrictError> {
    // The typed parse comes first: in structs it refuses duplicate keys, which `Value` hides.
    let typed: T = serde_json::from_slice(bytes)?;
    let given: Value = serde_json::from_slice(bytes)?;
    let meant = serde_json::to_value(&typed)?;
    same_shape(&given, &meant, &mut String::new())?;
    Ok(typed)
}

fn same_shape(given: &Value, meant: &Value, pointer: &mut String) -> Result<(), StrictError> {
    let refuse = |pointer: &str, what| {
        Err(StrictError::Shape {
            pointer: pointer.to_owned(),
            what,
        })
    };
    match (given, meant) {
        (Value::Object(given), Value::Object(meant)) => {
            for (key, value) in meant {
                let depth = push(pointer, key);
                match given.get(key) {
                    Some(other) => same_shape(other, value, pointer)?,
                    None => return refuse(pointer, "a required key is missing (unknown is null)"),
                }
                pointer.truncate(depth);
            }
            match given.keys().find(|key| !meant.contains_key(*key)) {
                Some(key) => {
                    push(pointer, key);
                    refuse(pointer, "an unknown key")
                }
                None => Ok(()),
            }
        }
        (Value::Array(given), Value::Array(meant)) if given.len() == meant.len() => {
            for (index, (given, meant)) in given.iter().zip(meant).enumerate() {
                let depth = push(pointer, &index.to_string());
                same_shape(given, meant, pointer)?;
                pointer.truncate(depth);
            }
            Ok(())
        }
        (Value::Number(number), Value::Number(meant)) if number == meant => {
            let magnitude = number
                .as_u64()
                .or_else(|| number.as_i64().map(i64::unsigned_abs));
            match magnitude {
                Some(n) if n <= MAX_SAFE_INTEGER => Ok(()),
                Some(_) => refuse(pointer, "an integer above 2^53 - 1"),
                None => refuse(pointer, "a number that is no integer"),
            }
        }
        (given, meant) if given == meant => Ok(()),
        _ => refuse(pointer, "another shape than the schema's"),
    }
}

/// Appends one escaped reference token; returns the length to go back to.
fn push(pointer: &mut String, token: &str) -> usize {
    let depth = pointer.len();
    pointer.push('/');
    pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
    depth
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        count: u64,
        note: Option<String>,
    }

    fn parse(text: &str) -> Result<Sample, StrictError> {
        parse_strict(text.as_bytes())
    }

    #[test]
    fn spacing_and_key_order_are_free() {
        let parsed = parse(" {\"note\": null,\n \"count\": 3} ").expect("same value");
        assert_eq!(
            parsed,
            Sample {
                count: 3,
                note: None
            }
        );
    }

    #[test]
    fn every_trap_of_the_parser_is_refused() {
        for (trap, text) in [
            ("duplicate key", r#"{"count":1,"count":2,"note":null}"#),
            ("unknown key", r#"{"count":1,"note":null,"more":1}"#),
            ("array for a struct", "[1,null]"),
            ("missing null", r#"{"count":1}"#),
            ("float for an integer", r#"{"count":1.0,"note":null}"#),
            (
                "unsafe integer",
                r#"{"count":9007199254740992,"note":null}"#,
            ),
            ("trailing bytes", r#"{"count":1,"note":null} {}"#),
            ("not UTF-8 escape", r#"{"count":1,"note":"\ud800"}"#),
        ] {
            assert!(parse(text).is_err(), "{trap}: {text}");
        }
    }

    #[test]
    fn the_error_points_at_the_place() {
        let error = parse_strict::<Vec<Sample>>(br#"[{"count":1,"note":null},{"count":2}]"#)
            .expect_err("missing null");
        assert_eq!(error.pointer(), "/1/note");
    }

    #[test]
    fn deep_nesting_ends_in_an_error() {
        assert!(parse_strict::<Value>("[".repeat(100_000).as_bytes()).is_err());
    }
}
