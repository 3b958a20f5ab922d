//! Smoke tests on disk: `smoke/*.toml`. Reads and checks the files; knows no server.
//!
//! A file holds `[vars]` and `[[test]]` tables: a name, tags, `commit`, for which tenants, how long it may
//! take, and `[[test.step]]` tables. A step names one store and what to send it, in which session, what to
//! `save` from the answer, and what to `expect` of it. What was saved is used in later steps as `{{name}}`;
//! `{{prefix}}` is the Redis key prefix, `{{tenant}}` the tenant's key and `{{run}}` the marker of this run,
//! which every text that a test writes should hold.

mod expect;
mod path;
mod place;
mod read;
mod variables;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

pub use path::Path;
pub use read::{count, read_all};

use crate::error::Place;
use crate::kind::StoreKind;

/// Names that every test may use without saving them.
pub const GIVEN: [&str; 2] = ["prefix", "run"];
/// The name that tests of tenants may use besides.
pub const TENANT: &str = "tenant";

/// One declared test.
#[derive(Clone, Debug)]
pub struct Test {
    /// `declared.` and the name in small letters and underscores; unique within the project.
    pub id: String,
    /// Its name as written.
    pub name: String,
    /// What `--tag` selects it by.
    pub tags: Vec<String>,
    /// Every step is committed and removed after the test.
    pub commit: bool,
    /// What its line says when it passes; `{{name}}` is still in it.
    pub say: Option<String>,
    /// What to do when it fails.
    pub hint: Option<String>,
    /// Whom it acts for.
    pub tenants: Tenants,
    /// All of it is done after this long.
    pub within: Option<Duration>,
    /// The whole test is tried again where it fails.
    pub retry: Retry,
    /// The file's own variables.
    pub vars: BTreeMap<String, Variable>,
    /// What it does, in order.
    pub steps: Vec<Step>,
    /// Where its name stands.
    pub place: Place,
}

/// Whom a test acts for: as the application's role, with the tenant set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tenants {
    /// For nobody: as lyrox's own role.
    #[default]
    None,
    /// For every tenant that the tenant table lists, one after the other.
    All,
    /// For these.
    These(Vec<String>),
}

/// How often something that failed is tried again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// After the first failure.
    pub times: u32,
    /// The time between two attempts.
    pub every: Duration,
}

/// A variable of a file's `[vars]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Variable {
    /// As written; a text may hold `{{run}}`, `{{prefix}}` and `{{tenant}}`.
    Given(Value),
    /// A variable of the environment or of `.env`, and what stands in for it.
    Environment {
        /// Its name.
        name: String,
        /// Used where it is unset; none: the test is skipped.
        default: Option<Value>,
    },
}

/// One step of a test.
#[derive(Clone, Debug)]
pub struct Step {
    /// Whom it speaks to.
    pub store: StoreKind,
    /// SQL, a MongoDB command as extended JSON, or a Redis command; `{{name}}` is still in it.
    pub text: String,
    /// The session it is sent in; none: the test's own.
    pub session: Option<String>,
    /// The session is closed and opened anew before the step.
    pub reconnect: bool,
    /// The step is tried again where it fails.
    pub retry: Retry,
    /// What later steps may use: the name, and where in the answer it is.
    pub save: BTreeMap<String, Path>,
    /// What has to be true of the answer.
    pub expect: Expect,
    /// Where its text begins.
    pub place: Place,
}

/// What has to be true of an answer. Empty: that it is no error.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// How many rows, documents or elements come back (or are changed, where none come back).
    pub rows: Option<Amount>,
    /// What the answer holds.
    pub value: Option<Expected>,
    /// What is true of values at paths.
    pub json: Vec<Claim>,
    /// It is an error: its SQLSTATE, code, code's name, or a part of its text.
    pub error: Option<String>,
    /// The time to live of the step's first key lies in this range, both ends included.
    pub ttl: Option<(Duration, Duration)>,
    /// The answer is there after this long.
    pub within: Option<Duration>,
}

/// A number of things, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// At least.
    pub low: u64,
    /// At most.
    pub high: u64,
}

/// What an answer holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// The first column of the first row, or the whole reply.
    First(Value),
    /// Values at paths.
    At(Vec<(Path, Value)>),
}

/// Something that is true of what is found at a path.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Where.
    pub path: Path,
    /// What.
    pub is: Vec<Is>,
}

/// What may be true of what is found at a path.
#[derive(Clone, Debug)]
pub enum Is {
    /// Something is there, or nothing.
    There(bool),
    /// The value, or for a query that finds several the array of them.
    Equal(Value),
    /// It is another one.
    Unequal(Value),
    /// The array has this element, the text this part; of a query: one of the values found is this.
    Holding(Value),
    /// The text matches.
    Like(Box<Regex>),
    /// So many values are found; of a single array: so many elements.
    Counting(Amount),
    /// The number is at least this.
    Least(f64),
    /// The number is at most this.
    Most(f64),
}

/// The `{{name}}`s of a text: where each stands, braces included, and its name.
pub fn placeholders(text: &str) -> Vec<(Range<usize>, &str)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = text[from..].find("{{").map(|at| from + at) {
        let inner = &text[start + 2..];
        let end = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-')).unwrap_or(inner.len());
        if end > 0 && inner[end..].starts_with("}}") {
            found.push((start..start + end + 4, &inner[..end]));
            from = start + end + 4;
        } else {
            from = start + 1;
        }
    }
    found
}

/// A value as the text it stands for: extended JSON such as `{ "$oid": "..." }` is the text within.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(object) => match object.values().next() {
            Some(Value::String(text)) if object.len() == 1 && object.keys().all(|key| key.starts_with('$')) => {
                text.clone()
            }
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// Puts values into a text that is no command: what a test says.
pub fn filled(text: &str, variables: &BTreeMap<String, Value>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut from = 0;
    for (range, name) in placeholders(text) {
        result.push_str(&text[from..range.start]);
        result.push_str(&variables.get(name).map(plain).unwrap_or_default());
        from = range.end;
    }
    result.push_str(&text[from..]);
    result
}

/// Puts values into what is expected: a text that is one placeholder becomes the value itself.
pub fn filled_value(value: &Value, variables: &BTreeMap<String, Value>) -> Value {
    match value {
        Value::String(text) => match placeholders(text).as_slice() {
            [] => value.clone(),
            [(range, name)] if range.len() == text.len() => variables.get(*name).cloned().unwrap_or(Value::Null),
            _ => Value::String(filled(text, variables)),
        },
        Value::Array(values) => Value::Array(values.iter().map(|value| filled_value(value, variables)).collect()),
        Value::Object(object) => {
            Value::Object(object.iter().map(|(key, value)| (key.clone(), filled_value(value, variables))).collect())
        }
        other => other.clone(),
    }
}

/// Every placeholder's name in a value.
pub(super) fn names_in<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.extend(placeholders(text).into_iter().map(|(_, name)| name)),
        Value::Array(values) => values.iter().for_each(|value| names_in(value, found)),
        Value::Object(object) => object.values().for_each(|value| names_in(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_whole_names_are_placeholders() {
        let names = |text| placeholders(text).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(names("a {{b}}{{c-d}} {{{e}}}"), ["b", "c-d", "e"]);
        assert!(names("{{}} {{a b}} {\"a\":{\"b\":1}} {{a").is_empty());
    }

    #[test]
    fn what_is_expected_may_hold_what_was_saved() {
        let variables = BTreeMap::from([
            ("id".to_owned(), json!({ "$oid": "65f0" })),
            ("n".to_owned(), json!(7)),
            ("t".to_owned(), json!("x")),
        ]);
        assert_eq!(filled("{{t}} has {{n}} of {{id}}", &variables), "x has 7 of 65f0");
        assert_eq!(
            filled_value(&json!({ "a": ["{{n}}", "n{{n}}"], "b": "{{id}}" }), &variables),
            json!({ "a": [7, "n7"], "b": { "$oid": "65f0" } })
        );
    }
}
