//! The configuration: the example holds every key, unknown keys are refused with the nearest known one.

use std::collections::BTreeSet;

use lyrox::config::{self, Choice, Settings};

const EXAMPLE: &str = include_str!("../../config.example.toml");

/// The example with its commented-out keys switched on.
fn complete_example() -> String {
    let line = |line: &str| {
        let is_key = line.strip_prefix("# ").is_some_and(|rest| {
            let name = rest.split(" = ").next().unwrap_or("");
            rest.contains(" = ") && !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        });
        if is_key { line[2..].to_owned() } else { line.to_owned() }
    };
    EXAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Every key that the types know: `section.key`.
fn known_keys() -> BTreeSet<String> {
    fn walk(schema: &serde_json::Value, node: &serde_json::Value, path: &str, keys: &mut BTreeSet<String>) {
        let node = match node.get("$ref").and_then(|name| name.as_str()) {
            Some(name) => &schema["$defs"][name.rsplit('/').next().expect("a name")],
            None => node,
        };
        for option in node.get("anyOf").and_then(|any| any.as_array()).into_iter().flatten() {
            walk(schema, option, path, keys);
        }
        if let Some(items) = node.get("items") {
            walk(schema, items, path, keys);
        }
        for (name, value) in node.get("properties").and_then(|map| map.as_object()).into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            // Overrides in [env.NAME] repeat the sections.
            if path.starts_with("env.") {
                continue;
            }
            keys.insert(path.clone());
            walk(schema, value, &path, keys);
        }
        if let Some(values) = node.get("additionalProperties").filter(|values| values.is_object()) {
            let name = if path == "redis.keyspaces" { "sessions" } else { "*" };
            if path != "env" {
                walk(schema, values, &format!("{path}.{name}"), keys);
            }
        }
    }
    let schema = serde_json::to_value(schemars::schema_for!(Settings)).expect("JSON");
    let mut keys = BTreeSet::new();
    walk(&schema, &schema, "", &mut keys);
    keys
}

fn written_keys(table: &toml::Table, path: &str, keys: &mut BTreeSet<String>) {
    for (name, value) in table {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        keys.insert(path.clone());
        match value {
            toml::Value::Table(inner) => written_keys(inner, &path, keys),
            toml::Value::Array(items) => {
                for item in items.iter().filter_map(toml::Value::as_table) {
                    written_keys(item, &path, keys);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn the_example_holds_every_key_and_no_unknown_one() {
    let complete = complete_example();
    let table: toml::Table = complete.parse().unwrap_or_else(|error| panic!("{error}"));
    toml::from_str::<Settings>(&complete).unwrap_or_else(|error| panic!("{error}"));
    toml::from_str::<Settings>(EXAMPLE).unwrap_or_else(|error| panic!("{error}"));
    let mut written = BTreeSet::new();
    written_keys(&table, "", &mut written);
    let missing: Vec<_> = known_keys().into_iter().filter(|key| !written.contains(key)).collect();
    assert!(missing.is_empty(), "config.example.toml lacks {missing:?}");
}

#[test]
fn the_defaults_in_the_example_are_the_defaults_of_the_types() {
    let example: Settings = toml::from_str(EXAMPLE).expect("the example");
    let bare: Settings = toml::from_str("[postgres]\n[mongodb]\n[redis]\n[tenancy]\n").expect("bare sections");
    let (example_postgres, bare_postgres) = (example.postgres.expect("postgres"), bare.postgres.expect("postgres"));
    assert_eq!(example_postgres.url, bare_postgres.url);
    assert_eq!(example_postgres.direct_url, bare_postgres.direct_url);
    assert_eq!(example_postgres.schema, bare_postgres.schema);
    assert_eq!(example_postgres.lock_timeout, bare_postgres.lock_timeout);
    assert_eq!(example_postgres.app_role, bare_postgres.app_role);
    assert_eq!(example.mongodb.expect("mongodb").url, bare.mongodb.expect("mongodb").url);
    assert_eq!(example.redis.expect("redis").url, bare.redis.expect("redis").url);
    assert_eq!(example.migrations.dir, bare.migrations.dir);
    assert_eq!(example.migrations.transaction, bare.migrations.transaction);
    assert_eq!((example.seeds.dir, example.seeds.set), (bare.seeds.dir, bare.seeds.set));
    assert_eq!(example.smoke.dir, bare.smoke.dir);
    let (example_tenancy, bare_tenancy) = (example.tenancy.expect("tenancy"), bare.tenancy.expect("tenancy"));
    assert_eq!(example_tenancy.setting, bare_tenancy.setting);
    assert_eq!(example_tenancy.key_column, bare_tenancy.key_column);
}

fn load(text: &str) -> Result<config::Config, lyrox::error::Error> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("lyrox.toml"), text).expect("a file");
    config::load(&Choice { directory: Some(folder.path().to_path_buf()), ..Choice::default() })
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    let error = load("[project]\nname = \"x\"\n\n[postgres]\napp_rol = \"a\"\n").expect_err("an unknown key");
    assert_eq!(error.code().text(), "LYX-CONFIG-KEY");
    assert_eq!(error.place().map(|place| (place.line, place.column)), Some((5, 1)), "{error:?}");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("`app_role`")), "{error:?}");
}

#[test]
fn values_that_cannot_be_are_refused_with_their_line() {
    for (text, code) in [
        ("[project\n", "LYX-CONFIG-SYNTAX"),
        ("[postgres]\nlock_timeout = \"soon\"\n", "LYX-CONFIG-VALUE"),
        ("[postgres]\noptional = 3\n", "LYX-CONFIG-VALUE"),
        ("[migrations]\ntransaction = \"some\"\n", "LYX-CONFIG-VALUE"),
    ] {
        let error = load(text).expect_err(text);
        assert_eq!(error.code().text(), code, "{text}: {error:?}");
        assert!(error.place().is_some_and(|place| place.line > 0), "{text}: {error:?}");
    }
}

#[test]
fn an_environment_overrides_key_by_key_and_must_exist() {
    let text = "[postgres]\nschema = \"a\"\nurl = \"postgres://h/d\"\n[env.ci.postgres]\nschema = \"b\"\n";
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("lyrox.toml"), text).expect("a file");
    let choice = |environment: &str| Choice {
        directory: Some(folder.path().to_path_buf()),
        environment: Some(environment.to_owned()),
        ..Choice::default()
    };
    let postgres = config::load(&choice("ci")).expect("ci").settings.postgres.expect("postgres");
    assert_eq!((postgres.schema.as_str(), postgres.url.as_str()), ("b", "postgres://h/d"));
    let error = config::load(&choice("staging")).expect_err("no such environment");
    assert_eq!(error.code().text(), "LYX-CONFIG-ENVIRONMENT");
}
