//! Files of tools that are not read, told apart from those that are.

use super::{Claim, Document, READERS};

/// What an unclaimed file looks like, and what to give instead.
pub(super) fn found(document: &Document, claims: &[Claim; READERS.len()]) -> String {
    let looks = claims.iter().find_map(|claim| match claim {
        Claim::Looks(what) => Some((*what).to_owned()),
        _ => None,
    });
    looks.unwrap_or_else(|| shape(document))
}

/// What stands in it, for a person who has to find out which file it is.
fn shape(document: &Document) -> String {
    if let Some(line) = document.cut {
        return format!("the JSON that begins in line {line} is cut off; give the whole file");
    }
    if let Some((_, object)) = document.objects().next() {
        let keys: Vec<&str> = object.keys().take(8).map(String::as_str).collect();
        return format!("JSON or YAML with the keys {}", keys.join(", "));
    }
    if let Some(table) = document.tables.first().or(document.csv.as_ref()) {
        return format!("a table with the columns {}", table.header.join(", "));
    }
    if !document.values.is_empty() {
        return "JSON without any object in it".to_owned();
    }
    "text in which no results of a tool were found".to_owned()
}
