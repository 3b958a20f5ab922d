//! A place in an answer: `rows[0].id`, or a JSONPath (RFC 9535) that begins with `$`. Pure.

use std::fmt;

use serde_json::Value;
use serde_json_path::JsonPath;

/// A place in an answer: `rows[0].id`, `cursor.firstBatch[0].platform`, `[1]`, `$.rows[?@.n > 5].id`.
#[derive(Clone, Debug, PartialEq)]
pub enum Path {
    /// Keys and positions from the root on.
    Plain(Vec<Segment>),
    /// A query that may find any number of values, and its text.
    Query(String, Box<JsonPath>),
}

/// A step of a plain path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A member of an object.
    Key(String),
    /// A position in an array, from 0.
    Index(usize),
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('$') {
            let query = JsonPath::parse(text).map_err(|error| format!("`{text}` is no JSONPath: {error}"))?;
            return Ok(Self::Query(text.to_owned(), Box::new(query)));
        }
        let wrong = || format!("`{text}` is no path; write it like `rows[0].id` or `$.rows[*].id`");
        let mut segments = Vec::new();
        for (position, part) in text.split('.').enumerate() {
            let (key, mut rest) = part.find('[').map_or((part, ""), |at| part.split_at(at));
            if key.is_empty() && (position > 0 || rest.is_empty()) {
                return Err(wrong());
            }
            if !key.is_empty() {
                segments.push(Segment::Key(key.to_owned()));
            }
            while let Some(inner) = rest.strip_prefix('[') {
                let (index, after) = inner.split_once(']').ok_or_else(wrong)?;
                segments.push(Segment::Index(index.parse().map_err(|_| wrong())?));
                rest = after;
            }
            if !rest.is_empty() {
                return Err(wrong());
            }
        }
        Ok(Self::Plain(segments))
    }

    /// Every value at this path, in the order of the document.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Plain(segments) => segments
                .iter()
                .try_fold(value, |value, segment| match segment {
                    Segment::Key(key) => value.get(key),
                    Segment::Index(index) => value.get(index),
                })
                .into_iter()
                .collect(),
            Self::Query(_, query) => query.query(value).all(),
        }
    }

    /// What is at this path: the one value, several as an array, or nothing.
    pub fn get(&self, value: &Value) -> Option<Value> {
        match self.find(value).as_slice() {
            [] => None,
            [one] => Some((*one).clone()),
            many => Some(Value::Array(many.iter().map(|one| (*one).clone()).collect())),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments = match self {
            Self::Query(text, _) => return out.write_str(text),
            Self::Plain(segments) => segments,
        };
        for (position, segment) in segments.iter().enumerate() {
            match segment {
                Segment::Key(key) if position == 0 => out.write_str(key)?,
                Segment::Key(key) => write!(out, ".{key}")?,
                Segment::Index(index) => write!(out, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let value = json!({ "rows": [{ "id": 7 }], "a": { "b": [[1, 2]] } });
        for (path, found) in [("rows[0].id", Some("7")), ("a.b[0][1]", Some("2")), ("rows[1].id", None), ("x", None)] {
            let path = Path::parse(path).expect(path);
            assert_eq!(path.get(&value).map(|value| value.to_string()).as_deref(), found, "{path}");
        }
        assert!(Path::parse("[0]").expect("a path").get(&json!([1])).is_some());
        for path in ["", "a..b", "a[x]", "a[0", "a[0]b", ".a", "$[", "$.a[?@.b ==]"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn queries_find_several_values() {
        let value = json!({ "rows": [{ "id": 1, "n": 3 }, { "id": 2, "n": 9 }, { "id": 3, "n": 8 }] });
        for (path, found) in [
            ("$.rows[?@.n > 5].id", Some("[2,3]")),
            ("$.rows[?@.n == 9].id", Some("2")),
            ("$..id", Some("[1,2,3]")),
            ("$.rows[-1].id", Some("3")),
            ("$.rows[?@.n > 50].id", None),
        ] {
            let path = Path::parse(path).expect(path);
            assert_eq!(path.get(&value).map(|value| value.to_string()).as_deref(), found, "{path}");
        }
    }
}
