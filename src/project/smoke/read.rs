//! Reads `smoke/*.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;

use serde::Deserialize;
use toml::Spanned;

use super::expect::{RawExpect, Values, names, period_at};
use super::place::{Source, refuse};
use super::variables::{is_name, variables};
use super::{GIVEN, Path, Retry, Step, TENANT, Tenants, Test, Variable, placeholders};
use crate::config::{Config, unknown_field};
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::project::text;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    vars: Option<Spanned<Values>>,
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
    tenant: Option<Spanned<String>>,
    tenants: Option<Spanned<RawTenants>>,
    within: Option<Spanned<String>>,
    retries: Option<u32>,
    every: Option<Spanned<String>>,
    #[serde(default)]
    step: Vec<RawStep>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawTenants {
    Word(String),
    These(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStep {
    postgres: Option<Spanned<String>>,
    mongodb: Option<Spanned<String>>,
    redis: Option<Spanned<String>>,
    session: Option<Spanned<String>>,
    #[serde(default)]
    reconnect: bool,
    retries: Option<u32>,
    every: Option<Spanned<String>>,
    #[serde(default)]
    save: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    expect: RawExpect,
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
    let source = Source { shown, text };
    let vars = file.vars.as_ref().map(|vars| variables(source, vars)).transpose()?.unwrap_or_default();
    file.test.into_iter().map(|raw| test(source, raw, &vars, stores)).collect()
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

fn test(source: Source<'_>, raw: RawTest, vars: &BTreeMap<String, Variable>, stores: &[StoreKind]) -> Result<Test> {
    let place = source.place(&raw.name);
    let tenants = tenants(source, &raw)?;
    let within = raw.within.as_ref().map(|within| period_at(source, within)).transpose()?;
    let retry = retry(source, raw.retries, raw.every.as_ref(), &place)?;
    let name = raw.name.into_inner();
    if name.trim().is_empty() {
        return Err(refuse("a smoke test has no name", place));
    }
    if raw.step.is_empty() {
        return Err(refuse(format!("`{name}` has no step"), place)
            .hint("[[test.step]] with postgres, mongodb or redis = \"what to send\""));
    }
    let mut known: BTreeSet<String> = GIVEN.iter().map(|name| (*name).to_owned()).chain(vars.keys().cloned()).collect();
    if tenants != Tenants::None {
        known.insert(TENANT.into());
    }
    let mut steps = Vec::new();
    for raw in raw.step {
        let step = step(source, raw, &place, stores)?;
        let sent = placeholders(&step.text).into_iter().map(|(_, name)| name);
        for used in sent.chain(names(&step.expect)) {
            known_name(used, &known, &step.place)?;
        }
        known.extend(step.save.keys().cloned());
        steps.push(step);
    }
    if let Some(say) = &raw.say {
        for (_, used) in placeholders(say.get_ref()) {
            known_name(used, &known, &source.place(say))?;
        }
    }
    let slug: String =
        name.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect::<String>();
    let slug = slug.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
    Ok(Test {
        id: format!("declared.{slug}"),
        name,
        tags: raw.tags,
        commit: raw.commit,
        say: raw.say.map(Spanned::into_inner),
        hint: raw.hint,
        tenants,
        within,
        retry,
        vars: vars.clone(),
        steps,
        place,
    })
}

/// A name that is given, or that an earlier step saved.
fn known_name(used: &str, known: &BTreeSet<String>, place: &Place) -> Result<()> {
    if known.contains(used) {
        return Ok(());
    }
    let error = refuse(format!("`{{{{{used}}}}}` is not saved by an earlier step"), place.clone());
    if used == TENANT {
        return Err(error.hint("tenants = \"all\" or tenant = \"KEY\" in the test gives it"));
    }
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(name, used), name))
        .filter(|(distance, name)| *distance <= name.len().max(used.len()) / 2)
        .min();
    Err(match nearest {
        Some((_, nearest)) => error.hint(format!("did you mean `{{{{{nearest}}}}}`?")),
        None => error.hint(format!("save = {{ {used} = \"rows[0].id\" }} in a step before it, or [vars] in the file")),
    })
}

fn tenants(source: Source<'_>, raw: &RawTest) -> Result<Tenants> {
    match (&raw.tenant, &raw.tenants) {
        (None, None) => Ok(Tenants::None),
        (Some(key), None) if !key.get_ref().is_empty() => Ok(Tenants::These(vec![key.get_ref().clone()])),
        (Some(key), None) => Err(refuse("`tenant` is no key", source.place(key))),
        (Some(key), Some(_)) => Err(refuse("a test has both `tenant` and `tenants`", source.place(key))),
        (None, Some(which)) => match which.get_ref() {
            RawTenants::Word(word) if word == "all" => Ok(Tenants::All),
            RawTenants::These(keys) if !keys.is_empty() && keys.iter().all(|key| !key.is_empty()) => {
                Ok(Tenants::These(keys.clone()))
            }
            _ => {
                Err(refuse("`tenants` cannot be read", source.place(which)).hint("tenants = \"all\" or [\"KEY\", ...]"))
            }
        },
    }
}

fn retry(source: Source<'_>, times: Option<u32>, every: Option<&Spanned<String>>, place: &Place) -> Result<Retry> {
    let given = every.map(|every| period_at(source, every)).transpose()?;
    match (times, given) {
        (None, Some(_)) => {
            Err(refuse("`every` stands without `retries`", place.clone()).hint("retries = 3, every = \"200ms\""))
        }
        (Some(times), _) if times > 1000 => {
            Err(refuse(format!("{times} retries are too many"), place.clone()).hint("at most 1000"))
        }
        (times, every) => {
            Ok(Retry { times: times.unwrap_or(0), every: every.unwrap_or(std::time::Duration::from_millis(200)) })
        }
    }
}

fn step(source: Source<'_>, raw: RawStep, test: &Place, stores: &[StoreKind]) -> Result<Step> {
    let mut given =
        [(StoreKind::Postgres, raw.postgres), (StoreKind::Mongodb, raw.mongodb), (StoreKind::Redis, raw.redis)]
            .into_iter()
            .filter_map(|(store, text)| Some((store, text?)));
    let Some((store, sent)) = given.next() else {
        return Err(refuse("a step names no store", test.clone())
            .hint("postgres = \"SELECT 1\", mongodb = '{ \"ping\": 1 }' or redis = \"PING\""));
    };
    if let Some((_, other)) = given.next() {
        return Err(refuse("a step names two stores", source.place(&other)).hint("make two steps of it"));
    }
    let at = source.place(&sent);
    if !stores.contains(&store) {
        return Err(refuse(format!("a step speaks to {store}, which the project does not have"), at)
            .hint(format!("add a section [{store}] to lyrox.toml")));
    }
    let sent = sent.into_inner();
    if sent.trim().is_empty() {
        return Err(refuse("a step sends nothing", at));
    }
    if let Some(session) = raw.session.as_ref().filter(|session| session.get_ref().trim().is_empty()) {
        return Err(refuse("a session has no name", source.place(session)));
    }
    let mut save = BTreeMap::new();
    for (name, path) in raw.save {
        let at = source.place(&path);
        if !is_name(&name) {
            return Err(refuse(format!("`{name}` cannot be a name to save under"), at)
                .hint("letters, digits, `_` and `-`; `prefix`, `run` and `tenant` are taken"));
        }
        let path = Path::parse(path.get_ref()).map_err(|why| refuse("a path cannot be read", at).why(why))?;
        save.insert(name, path);
    }
    if raw.expect.ttl.is_some() && store != StoreKind::Redis {
        return Err(refuse(format!("`ttl` means nothing to {store}"), at).hint("ttl is for steps with redis"));
    }
    let has_more = raw.expect.has_more_than_error() || !save.is_empty();
    let expect = raw.expect.read(source, &at)?;
    if expect.error.is_some() && has_more {
        return Err(refuse("a step that expects an error has nothing else to expect or save", at));
    }
    Ok(Step {
        store,
        text: sent,
        session: raw.session.map(Spanned::into_inner),
        reconnect: raw.reconnect,
        retry: retry(source, raw.retries, raw.every.as_ref(), &at)?,
        save,
        expect,
        place: at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::smoke::{Amount, Expected, Is};
    use std::time::Duration;

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
        assert_eq!(steps[0].expect.rows, Some(Amount { low: 1, high: 1 }));
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

    const MORE: &str = r#"
[vars]
mail = "{{run}}@example.invalid"
token = { env = "API_TOKEN", default = "none" }

[[test]]
name = "All"
tenants = "all"
say = "Found {{mail}} of {{tenant}}"
within = "2s"
retries = 1
[[test.step]]
postgres = "SELECT {{token}}, {{tenant}}"
session = "a"
reconnect = true
retries = 3
every = "50ms"
expect = { rows = "1..", value = { "$.rows[0].mail" = "{{mail}}" }, json = [
  { path = "$.rows[*].id", count = "2..3" }, { path = "$.rows[0].mail", matches = "^.+@", not = "x" } ] }
"#;

    #[test]
    fn variables_tenants_retries_sessions_and_claims_are_read() {
        let tests = one(MORE).expect("tests");
        let test = &tests[0];
        assert_eq!(test.tenants, Tenants::All);
        assert_eq!(test.within, Some(Duration::from_secs(2)));
        assert_eq!(test.retry, Retry { times: 1, every: Duration::from_millis(200) });
        assert!(matches!(&test.vars["token"], Variable::Environment { name, default: Some(_) } if name == "API_TOKEN"));
        let step = &test.steps[0];
        assert_eq!((step.session.as_deref(), step.reconnect), (Some("a"), true));
        assert_eq!(step.retry, Retry { times: 3, every: Duration::from_millis(50) });
        assert_eq!(step.expect.rows, Some(Amount { low: 1, high: u64::MAX }));
        assert!(matches!(step.expect.json[0].is[0], Is::Counting(Amount { low: 2, high: 3 })));
        assert_eq!(step.expect.json[1].is.len(), 2);
        for (text, says) in [
            ("[vars]\nrun = 1\n", "`run` cannot be a variable"),
            ("[vars]\na = \"{{b}}\"\n", "holds `{{b}}`"),
            ("[[test]]\nname = \"a\"\n[[test.step]]\nredis = \"GET {{tenant}}\"\n", "{{tenant}}"),
            ("[[test]]\nname = \"a\"\nsay = \"{{x}}\"\n[[test.step]]\nredis = \"PING\"\n", "{{x}}"),
            ("[[test]]\nname = \"a\"\ntenants = \"some\"\n[[test.step]]\nredis = \"PING\"\n", "`tenants`"),
            ("[[test]]\nname = \"a\"\nevery = \"1s\"\n[[test.step]]\nredis = \"PING\"\n", "without `retries`"),
            (
                "[[test]]\nname = \"a\"\n[[test.step]]\nredis = \"PING\"\nexpect = { json = [{ path = \"$.a\" }] }\n",
                "expectation",
            ),
            ("[[test]]\nname = \"a\"\n[[test.step]]\nredis = \"PING\"\nexpect = { rows = \"5..1\" }\n", "expectation"),
            ("[[test]]\nname = \"a\"\n[[test.step]]\nredis = \"PING\"\nexpect = { value = \"{{y}}\" }\n", "{{y}}"),
        ] {
            let error = one(text).expect_err(text);
            assert!(error.what().contains(says), "{text}: {error:?}");
        }
    }
}
