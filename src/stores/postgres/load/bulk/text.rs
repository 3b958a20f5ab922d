//! Rows in the text form of COPY: what every type reads.

use serde_json::Value as Json;

use crate::stores::source::{Cell, Row};

/// How the cells of a column become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As they are.
    Plain,
    /// A list of JSON is an array.
    Array,
    /// An array whose items are JSON themselves.
    ArrayOfJson,
    /// A text of a JSON source is a JSON text.
    Json,
}

/// Adds a row.
pub fn encode(row: &Row, kinds: &[Kind], has_json_texts: bool, out: &mut Vec<u8>) {
    for (at, kind) in kinds.iter().enumerate() {
        if at > 0 {
            out.push(b'\t');
        }
        match (row.cell(at), kind) {
            (Cell::Null, _) => out.extend_from_slice(b"\\N"),
            (Cell::Text(text), Kind::Json) if has_json_texts => escape(&Json::from(text).to_string(), out),
            (Cell::Json(json), Kind::Array | Kind::ArrayOfJson) => match serde_json::from_str(json) {
                Ok(list @ Json::Array(_)) => escape(&array(&list, *kind == Kind::ArrayOfJson), out),
                _ => escape(json, out),
            },
            (Cell::Text(text) | Cell::Json(text), _) => escape(text, out),
        }
    }
    out.push(b'\n');
}

fn escape(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t')) {
        out.extend_from_slice(&rest[..at]);
        let letter = match rest[at] {
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            other => other,
        };
        out.extend_from_slice(&[b'\\', letter]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// A list as PostgreSQL writes an array.
pub fn array(value: &Json, is_json: bool) -> String {
    let Json::Array(items) = value else { return item(value, is_json) };
    let is_list = |value: &Json| value.is_array() && !is_json;
    let items: Vec<String> =
        items.iter().map(|value| if is_list(value) { array(value, is_json) } else { item(value, is_json) }).collect();
    format!("{{{}}}", items.join(","))
}

fn item(value: &Json, is_json: bool) -> String {
    let text = match value {
        Json::Null => return "NULL".into(),
        Json::String(text) if !is_json => text.clone(),
        other => other.to_string(),
    };
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_means_something_to_copy_is_escaped() {
        let mut row = Row::default();
        row.push_text("a\tb\nc\r\\N");
        row.push_null();
        row.push_text("");
        row.push_json("[\"x\\\"y\", null, 1, [2]]");
        row.push_text("t");
        let mut out = Vec::new();
        let kinds = [Kind::Plain, Kind::Plain, Kind::Plain, Kind::Array, Kind::Json];
        encode(&row, &kinds, true, &mut out);
        let wanted = "a\\tb\\nc\\r\\\\N\t\\N\t\t{\"x\\\\\"y\",NULL,\"1\",{\"2\"}}\t\"t\"\n";
        assert_eq!(String::from_utf8_lossy(&out), wanted);
    }

    #[test]
    fn lists_are_arrays() {
        assert_eq!(array(&json!([[1, 2], [3, null]]), false), "{{\"1\",\"2\"},{\"3\",NULL}}");
        assert_eq!(array(&json!([{ "a": [1] }, "b"]), true), "{\"{\\\"a\\\":[1]}\",\"\\\"b\\\"\"}");
        assert_eq!(array(&json!([]), false), "{}");
    }
}
