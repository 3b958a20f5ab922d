//! Smoke tests on disk: `smoke/*.toml`. Reads and checks the files; knows no server.
//!
//! A file holds `[[test]]` tables: a name, tags, `commit`, and `[[test.step]]` tables. A step names one
//! store and what to send it, what to `save` from the answer, and what to `expect` of it. What was saved
//! is used in later steps as `{{name}}`; `{{prefix}}` is the Redis key prefix and `{{run}}` the marker of
//! this run, which every text that a test writes should hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::Path as FilePath;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::text;
use crate::config::{Config, Period, unknown_field};
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;

/// Names that every test may use without saving them.
pub const GIVEN: [&str; 2] = ["prefix", "run"];

/// One declared test.
#[derive(Clone, Debug)]
pub struct Test {
    /// `declared.` and the name in small letters and underscores; unique within the project.
    pub id: String,
    /// Its name as written.
    pub name: String,
    /// What `--tag` selects it by.
    pub tags: Vec<String>,
    /// Every step is committed, on a connection of its own, and removed after the test.
    pub commit: bool,
    /// What it does, in order.
    pub steps: Vec<Step>,
    /// What its line says when it passes; `{{name}}` is still in it.
    pub say: Option<String>,
    /// What to do when it fails.
    pub hint: Option<String>,
    /// Where its name stands.
    pub place: Place,
}

/// One step of a test.
#[derive(Clone, Debug)]
pub struct Step {
    /// Whom it speaks to.
    pub store: StoreKind,
    /// SQL, a MongoDB command as extended JSON, or a Redis command; `{{name}}` is still in it.
    pub text: String,
    /// What later steps may use: the name, and where in the answer it is.
    pub save: BTreeMap<String, Path>,
    /// What has to be true of the answer.
    pub expect: Expect,
    /// Where its text begins.
    pub place: Place,
}

/// What has to be true of an answer. Empty: that it is no error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// How many rows, documents or elements come back (or are changed, where none come back).
    pub rows: Option<u64>,
    /// What the answer holds.
    pub value: Option<Expected>,
    /// It is an error: its SQLSTATE, code, code's name, or a part of its text.
    pub error: Option<String>,
    /// The time to live of the step's first key lies in this range, both ends included.
    pub ttl: Option<(Duration, Duration)>,
    /// The answer is there after this long.
    pub within: Option<Duration>,
}

/// What an answer holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// The first column of the first row, or the whole reply.
    First(Value),
    /// Values at paths.
    At(Vec<(Path, Value)>),
}

/// A place in an answer: `rows[0].id`, `cursor.firstBatch[0].platform`, `[1]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no path; write it like `rows[0].id`");
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
        Ok(Self(segments))
    }

    /// The value at this path, if there is one.
    pub fn get<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(value, |value, segment| match segment {
            Segment::Key(key) => value.get(key),
            Segment::Index(index) => value.get(index),
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if position == 0 => out.write_str(key)?,
                Segment::Key(key) => write!(out, ".{key}")?,
                Segment::Index(index) => write!(out, "[{index}]")?,
            }
        }
        Ok(())
    }
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    test: Vec<RawTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTest {
    name: Spanned<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    commit: bool,
    say: Option<Spanned<String>>,
    hint: Option<String>,
    #[serde(default)]
    step: Vec<RawStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    postgres: Option<Spanned<String>>,
    mongodb: Option<Spanned<String>>,
    redis: Option<Spanned<String>>,
    #[serde(default)]
    save: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    expect: RawExpect,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExpect {
    rows: Option<u64>,
    value: Option<toml::Value>,
    error: Option<toml::Value>,
    ttl: Option<Spanned<String>>,
    within: Option<Spanned<String>>,
}

/// Reads the project's tests without contacting a server: `8 tests`.
///
/// # Errors
/// As [`read_all`].
pub fn count(config: &Config) -> Result<String> {
    let tests = read_all(&config.root, &config.settings.smoke.dir, &config.stores())?.len();
    Ok(format!("{tests} test{}", if tests == 1 { "" } else { "s" }))
}

/// Reads every file of the folder, in the order of their names. A folder that is not there holds none.
///
/// # Errors
/// `LYX-SMOKE-FILE` with the place: not TOML, an unknown key (with the nearest known one), a step
/// without a store, a `{{name}}` that nothing saved, a name used twice.
pub fn read_all(root: &FilePath, dir: &str, stores: &[StoreKind]) -> Result<Vec<Test>> {
    let folder = root.join(dir);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let unreadable = |error: std::io::Error| {
        Error::new(Code::FileKind, format!("cannot read `{dir}`")).why(error.to_string()).data("nothing was contacted")
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let name = name.to_string_lossy().into_owned();
        if name.ends_with(".toml") && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    let mut tests: Vec<Test> = Vec::new();
    for name in names {
        let shown = format!("{dir}/{name}");
        let text = text::normalise(&text::read(&folder.join(&name), &shown)?);
        for test in read(&shown, &text, stores)? {
            if let Some(other) = tests.iter().find(|other| other.id == test.id) {
                return Err(Error::new(Code::SmokeFile, format!("two smoke tests are named `{}`", test.name))
                    .why(format!("the other is at {}", other.place))
                    .at(test.place)
                    .data("nothing was contacted")
                    .hint("give one of them another name"));
            }
            tests.push(test);
        }
    }
    Ok(tests)
}

fn read(shown: &str, text: &str, stores: &[StoreKind]) -> Result<Vec<Test>> {
    let file: RawFile = toml::from_str(text).map_err(|error| syntax(shown, text, &error))?;
    file.test.into_iter().map(|raw| test(shown, text, raw, stores)).collect()
}

fn syntax(shown: &str, text: &str, error: &toml::de::Error) -> Error {
    let place = match error.span() {
        Some(span) => {
            let width = text.get(span.clone()).map_or(1, |part| part.lines().next().unwrap_or("").chars().count());
            Place::at_offset(shown, text, span.start, width.clamp(1, 40))
        }
        None => Place::file(shown),
    };
    let message = error.message().replace('\n', ", ");
    let failure = match unknown_field(&message) {
        Some((field, nearest)) => {
            let failure = Error::new(Code::SmokeFile, format!("`{field}` is no key of a smoke test"));
            match nearest {
                Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
                None => failure.hint("a step has postgres, mongodb or redis, and save and expect"),
            }
        }
        None => Error::new(Code::SmokeFile, format!("`{shown}` cannot be read")).why(message),
    };
    failure.at(place).data("nothing was contacted")
}

fn test(shown: &str, text: &str, raw: RawTest, stores: &[StoreKind]) -> Result<Test> {
    let place = place(shown, text, &raw.name);
    let name = raw.name.into_inner();
    let refuse = |what: String| Error::new(Code::SmokeFile, what).at(place.clone()).data("nothing was contacted");
    if name.trim().is_empty() {
        return Err(refuse("a smoke test has no name".into()));
    }
    if raw.step.is_empty() {
        return Err(refuse(format!("`{name}` has no step"))
            .hint("[[test.step]] with postgres, mongodb or redis = \"what to send\""));
    }
    let mut known: BTreeSet<String> = GIVEN.iter().map(|name| (*name).to_owned()).collect();
    let mut steps = Vec::new();
    for raw in raw.step {
        let step = step(shown, text, raw, &place, stores)?;
        known_only(&step.text, &step.place, &known)?;
        known.extend(step.save.keys().cloned());
        steps.push(step);
    }
    let say = match raw.say {
        None => None,
        Some(say) => {
            known_only(say.get_ref(), &self::place(shown, text, &say), &known)?;
            Some(say.into_inner())
        }
    };
    let slug: String =
        name.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect::<String>();
    let slug = slug.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
    Ok(Test {
        id: format!("declared.{slug}"),
        name,
        tags: raw.tags,
        commit: raw.commit,
        steps,
        say,
        hint: raw.hint,
        place,
    })
}

/// Refuses a `{{name}}` that no earlier step saves.
fn known_only(text: &str, place: &Place, known: &BTreeSet<String>) -> Result<()> {
    for (range, used) in placeholders(text) {
        if known.contains(used) {
            continue;
        }
        let nearest = known
            .iter()
            .map(|name| (strsim::damerau_levenshtein(name, used), name))
            .filter(|(distance, name)| *distance <= name.len().max(used.len()) / 2)
            .min();
        let error = Error::new(Code::SmokeFile, format!("`{}` is not saved by an earlier step", &text[range]))
            .at(place.clone())
            .data("nothing was contacted");
        return Err(match nearest {
            Some((_, nearest)) => error.hint(format!("did you mean `{{{{{nearest}}}}}`?")),
            None => error.hint(format!("save = {{ {used} = \"rows[0].id\" }} in a step before it")),
        });
    }
    Ok(())
}

fn step(shown: &str, text: &str, raw: RawStep, test: &Place, stores: &[StoreKind]) -> Result<Step> {
    let refuse = |what: String, place: Place| Error::new(Code::SmokeFile, what).at(place).data("nothing was contacted");
    let mut given =
        [(StoreKind::Postgres, raw.postgres), (StoreKind::Mongodb, raw.mongodb), (StoreKind::Redis, raw.redis)]
            .into_iter()
            .filter_map(|(store, text)| Some((store, text?)));
    let Some((store, sent)) = given.next() else {
        return Err(refuse("a step names no store".into(), test.clone())
            .hint("postgres = \"SELECT 1\", mongodb = '{ \"ping\": 1 }' or redis = \"PING\""));
    };
    if let Some((_, other)) = given.next() {
        return Err(refuse("a step names two stores".into(), place(shown, text, &other)).hint("make two steps of it"));
    }
    let at = place(shown, text, &sent);
    if !stores.contains(&store) {
        return Err(refuse(format!("a step speaks to {store}, which the project does not have"), at)
            .hint(format!("add a section [{store}] to lyrox.toml")));
    }
    let sent = sent.into_inner();
    if sent.trim().is_empty() {
        return Err(refuse("a step sends nothing".into(), at));
    }
    let mut save = BTreeMap::new();
    for (name, path) in raw.save {
        let at = place(shown, text, &path);
        if GIVEN.contains(&name.as_str()) || placeholders(&format!("{{{{{name}}}}}")).is_empty() {
            return Err(refuse(format!("`{name}` cannot be a name to save under"), at)
                .hint("letters, digits, `_` and `-`; `prefix` and `run` are taken"));
        }
        let path = Path::parse(path.get_ref()).map_err(|why| refuse("a path cannot be read".into(), at).why(why))?;
        save.insert(name, path);
    }
    if raw.expect.ttl.is_some() && store != StoreKind::Redis {
        return Err(refuse(format!("`ttl` means nothing to {store}"), at).hint("ttl is for steps with redis"));
    }
    let expect = expect(shown, text, raw.expect, &at)?;
    if expect.error.is_some() && (expect.rows.is_some() || expect.value.is_some() || !save.is_empty()) {
        return Err(refuse("a step that expects an error has nothing else to expect or save".into(), at));
    }
    Ok(Step { store, text: sent, save, expect, place: at })
}

fn expect(shown: &str, text: &str, raw: RawExpect, step: &Place) -> Result<Expect> {
    let refuse =
        |why: String, place: Place| Error::new(Code::SmokeFile, "an expectation cannot be read").why(why).at(place);
    let period = |text: &str| text.trim().parse::<Period>().map(Period::duration);
    let ttl = match &raw.ttl {
        None => None,
        Some(ttl) => {
            let at = || place(shown, text, ttl);
            let wrong =
                || refuse("a range is needed".into(), at()).hint("ttl = \"1s..24h\"").data("nothing was contacted");
            let (low, high) = ttl.get_ref().split_once("..").ok_or_else(wrong)?;
            let low = period(low).map_err(|why| refuse(why, at()))?;
            let high = period(high).map_err(|why| refuse(why, at()))?;
            if low > high {
                return Err(wrong());
            }
            Some((low, high))
        }
    };
    let within = match &raw.within {
        None => None,
        Some(within) => Some(period(within.get_ref()).map_err(|why| refuse(why, place(shown, text, within)))?),
    };
    let error = match raw.error {
        None => None,
        Some(toml::Value::String(error)) if !error.is_empty() => Some(error),
        Some(toml::Value::Integer(error)) => Some(error.to_string()),
        Some(_) => return Err(refuse("`error` is a code or a part of a message".into(), step.clone())),
    };
    let value = match raw.value {
        None => None,
        Some(toml::Value::Table(paths)) => {
            let mut at = Vec::new();
            for (path, value) in paths {
                let path = Path::parse(&path).map_err(|why| refuse(why, step.clone()))?;
                at.push((path, json(value)));
            }
            Some(Expected::At(at))
        }
        Some(value) => Some(Expected::First(json(value))),
    };
    Ok(Expect { rows: raw.rows, value, error, ttl, within })
}

fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(truth) => Value::Bool(truth),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(values) => Value::Array(values.into_iter().map(json).collect()),
        toml::Value::Table(table) => Value::Object(table.into_iter().map(|(key, value)| (key, json(value))).collect()),
    }
}

fn place<T>(shown: &str, text: &str, value: &Spanned<T>) -> Place {
    let span = value.span();
    let width = text.get(span.clone()).map_or(1, |part| part.lines().next().unwrap_or("").chars().count());
    Place::at_offset(shown, text, span.start, width.clamp(1, 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELVINO: &str = r#"
[[test]]
name = "Create conversation"
tags = ["conversation"]

[[test.step]]
postgres = "INSERT INTO conversations (id) VALUES ('c-{{run}}') RETURNING id"
save = { conversation = "rows[0].id" }
expect = { rows = 1, within = "50ms" }

[[test.step]]
redis = "SET {{prefix}}session:{{conversation}} x EX 60"
expect = { value = "OK", ttl = "1s..24h" }

[[test.step]]
mongodb = '{ "find": "c", "filter": {} }'
expect = { value = { "cursor.firstBatch[0].platform" = "web" } }
"#;

    fn one(text: &str) -> Result<Vec<Test>> {
        read("smoke/t.toml", text, &StoreKind::ALL)
    }

    #[test]
    fn the_documented_form_is_read() {
        let tests = one(HELVINO).expect("tests");
        assert_eq!(tests[0].id, "declared.create_conversation");
        let steps = &tests[0].steps;
        assert_eq!((steps[0].place.line, steps[1].place.line), (7, 12));
        assert_eq!(steps[0].save["conversation"].to_string(), "rows[0].id");
        assert_eq!(steps[0].expect.rows, Some(1));
        assert_eq!(steps[1].expect.ttl, Some((Duration::from_secs(1), Duration::from_secs(86_400))));
        assert!(matches!(&steps[2].expect.value, Some(Expected::At(at)) if at[0].1 == "web"));
    }

    #[test]
    fn mistakes_are_refused_with_line_and_nearest_name() {
        let cases = [
            ("[[test]]\nname = \"a\"\ntag = [\"x\"]\n", 3, "`tags`"),
            ("[[test]]\nname = \"a\"\n[[test.step]]\npostgre = \"SELECT 1\"\n", 4, "`postgres`"),
            ("[[test]]\nname = \"a\"\n[[test.step]]\nredis = \"GET {{prefx}}a\"\n", 4, "{{prefix}}"),
            ("[[test]]\nname = \"a\"\n[[test.step]]\nredis = \"PING\"\nexpect = { valu = 1 }\n", 5, "`value`"),
        ];
        for (text, line, hint) in cases {
            let error = one(text).expect_err(text);
            assert_eq!(error.code(), Code::SmokeFile, "{text}");
            assert_eq!(error.place().map(|place| place.line), Some(line), "{error:?}");
            assert!(error.hint_text().is_some_and(|text| text.contains(hint)), "{error:?} {:?}", error.hint_text());
        }
        for text in [
            "[[test]]\nname = \"a\"\n",
            "[[test]]\nname = \"a\"\n[[test.step]]\nsave = {}\n",
            "[[test]]\nname = \"a\"\n[[test.step]]\nredis = \"A\"\npostgres = \"B\"\n",
            "[[test]]\nname = \"a\"\n[[test.step]]\npostgres = \"B\"\nexpect = { ttl = \"1s..2s\" }\n",
            "[[test]]\nname = \"a\"\n[[test.step]]\nredis = \"B\"\nexpect = { ttl = \"3s..2s\" }\n",
            "[[test]]\nname = \"a\"\n[[test.step]]\nredis = \"B\"\nsave = { run = \"a\" }\n",
        ] {
            assert_eq!(one(text).expect_err(text).code(), Code::SmokeFile, "{text}");
        }
    }

    #[test]
    fn paths_lead_to_values() {
        let value = serde_json::json!({ "rows": [{ "id": 7 }], "a": { "b": [[1, 2]] } });
        for (path, found) in [("rows[0].id", Some("7")), ("a.b[0][1]", Some("2")), ("rows[1].id", None), ("x", None)] {
            let path = Path::parse(path).expect(path);
            assert_eq!(path.get(&value).map(Value::to_string).as_deref(), found, "{path}");
        }
        assert!(Path::parse("[0]").expect("a path").get(&serde_json::json!([1])).is_some());
        for path in ["", "a..b", "a[x]", "a[0", "a[0]b", ".a"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn only_whole_names_are_placeholders() {
        let names = |text| placeholders(text).into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(names("a {{b}}{{c-d}} {{{e}}}"), ["b", "c-d", "e"]);
        assert!(names("{{}} {{a b}} {\"a\":{\"b\":1}} {{a").is_empty());
    }
}
