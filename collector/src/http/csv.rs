//! CSV: the rows of the JSON as a table, under the same names, unit last.
//!
//! A missing figure is an empty cell, with the reason in the column beside it. Lists become one
//! cell (`a; b`), objects become columns (`price_usd`). The header is there without rows too.
//! A text that a spreadsheet would run as a formula (it begins with `=`, `+`, `-`, `@`, a tab or
//! a carriage return) gets a leading `'`, as the OWASP advises; numbers are never touched, and
//! the JSON has every text exactly.

use serde::Serialize;
use serde_json::{Map, Value};

/// What a media type calls it; `header=present` by RFC 4180.
pub(crate) const MEDIA_TYPE: &str = "text/csv; charset=utf-8; header=present";

/// Rows under `columns`; what a row has beyond them is left out, what it lacks is empty.
pub(crate) fn table<T: Serialize>(columns: &[String], rows: &[T]) -> Vec<u8> {
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let flat = flat_object(row);
        lines.push(
            columns
                .iter()
                .map(|column| flat.get(column).map(cell))
                .collect(),
        );
    }
    write(columns, lines)
}

/// The column names of a row, in its own order. Optional objects must be present in `row`.
pub(crate) fn columns_of<T: Serialize>(row: &T) -> Vec<String> {
    flat_object(row).keys().cloned().collect()
}

/// Every leaf of a JSON value with its RFC 6901 pointer: a table of any value.
pub(crate) fn leaves(value: &Value) -> Vec<u8> {
    let mut lines = Vec::new();
    collect_leaves(value, String::new(), &mut lines);
    write(&["pointer".to_owned(), "value".to_owned()], lines)
}

fn collect_leaves(value: &Value, pointer: String, lines: &mut Vec<Vec<Option<String>>>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let key = key.replace('~', "~0").replace('/', "~1");
                collect_leaves(value, format!("{pointer}/{key}"), lines);
            }
        }
        Value::Array(array) => {
            for (index, value) in array.iter().enumerate() {
                collect_leaves(value, format!("{pointer}/{index}"), lines);
            }
        }
        leaf => lines.push(vec![Some(pointer), Some(cell(leaf))]),
    }
}

fn write(header: &[String], lines: Vec<Vec<Option<String>>>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    let in_memory = "writing to memory does not fail, and every line has the header's length";
    writer.write_record(header).expect(in_memory);
    for line in lines {
        writer
            .write_record(line.into_iter().map(Option::unwrap_or_default))
            .expect(in_memory);
    }
    writer.into_inner().expect(in_memory)
}

fn flat_object<T: Serialize>(row: &T) -> Map<String, Value> {
    let value = serde_json::to_value(row).expect("rows have only values that JSON has");
    let mut flat = Map::new();
    flatten(value, "", &mut flat);
    flat
}

fn flatten(value: Value, prefix: &str, flat: &mut Map<String, Value>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let name = if prefix.is_empty() {
                    key
                } else {
                    format!("{prefix}_{key}")
                };
                flatten(value, &name, flat);
            }
        }
        other => drop(flat.insert(prefix.to_owned(), other)),
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => safe(text.clone()),
        Value::Array(parts) => safe(parts.iter().map(plain).collect::<Vec<_>>().join("; ")),
        Value::Object(_) => safe(value.to_string()),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A text that no spreadsheet runs.
fn safe(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::api::ResultRow;
    use serde_json::json;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).expect("CSV of texts is text")
    }

    #[test]
    fn the_header_is_there_without_rows() {
        let columns = columns_of(&ResultRow::default());
        let csv = text(table::<ResultRow>(&columns, &[]));
        assert!(
            csv.starts_with("id,tier,model,") && csv.lines().count() == 1,
            "{csv}"
        );
    }

    #[test]
    fn missing_is_empty_and_never_zero() {
        let columns = columns_of(&ResultRow::default());
        let row = ResultRow {
            quality_reason: Some("not asked".to_owned()),
            ..ResultRow::default()
        };
        let csv = text(table(&columns, &[row]));
        let place = columns
            .iter()
            .position(|column| column == "quality")
            .expect("a column");
        let cells: Vec<_> = csv.lines().nth(1).expect("one row").split(',').collect();
        assert_eq!(cells[place], "");
        assert!(csv.contains("not asked"));
    }

    #[test]
    fn a_formula_is_defused_and_a_negative_number_is_not() {
        let columns = ["name".to_owned(), "change".to_owned()];
        let row = json!({"name": "=HYPERLINK(\"http://x\",\"a,b\")", "change": -3.5});
        assert_eq!(
            text(table(&columns, &[row])),
            "name,change\r\n\"'=HYPERLINK(\"\"http://x\"\",\"\"a,b\"\")\",-3.5\r\n"
        );
    }

    #[test]
    fn any_value_is_a_table_of_its_leaves() {
        let value = json!({"a": [1, {"b/c": null}], "d": "e"});
        assert_eq!(
            text(leaves(&value)),
            "pointer,value\r\n/a/0,1\r\n/a/1/b~1c,\r\n/d,e\r\n"
        );
    }
}
