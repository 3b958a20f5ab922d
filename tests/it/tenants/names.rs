//! P12: no name of a tenant reaches SQL, a pattern or a key unquoted or shared. Ten thousand hostile names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use lyrox::engine::tenant::Tenant;
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;

use super::Own;

/// Pieces that have broken quoting, patterns, paths and terminals.
const PIECES: &[&str] = &[
    "'",
    "\"",
    "\\",
    ";",
    "--",
    "/*",
    "*/",
    "$$",
    "$1",
    "%",
    "_",
    "*",
    "?",
    "[",
    "]",
    "^",
    "{",
    "}",
    "{}",
    ":",
    "~",
    "&",
    "@",
    "+@all",
    "allkeys",
    "on",
    "nopass",
    ">x",
    "#",
    " ",
    "\t",
    "\u{1b}[31m",
    "\u{200b}",
    "\u{202e}",
    "é",
    "e\u{301}",
    "日本",
    "İ",
    "ı",
    "ß",
    "🦀",
    "pg_",
    "pg_catalog",
    "public",
    "lyrox",
    "admin",
    "information_schema",
    "t_",
    "T_",
    "a",
    "B",
    "0",
    "9",
    "drop table company",
    "'; DROP SCHEMA lyrox CASCADE; --",
    "{{prefix}}",
    "${HOME}",
    "../..",
    ".",
    "..",
    "null",
    "NULL",
    "default",
    "template1",
    "postgres",
    "\u{7f}",
    "-",
    "=",
    ",",
    "|",
    "auth0|",
    "00000000-0000-4000-8000-000000000001",
];

fn fuzzed(random: &mut impl rand::Rng, longest: usize) -> String {
    let mut text = String::new();
    for _ in 0..random.random_range(1..8) {
        text.push_str(PIECES.choose(random).expect("a piece"));
        if random.random_bool(0.3) {
            let _ = write!(text, "{}", random.random_range(0..1000));
        }
    }
    while text.len() > longest {
        text.pop();
    }
    text
}

/// The rule, written a second time.
fn is_slug(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=40).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_')
        && text != "lyrox"
}

/// Every object of the cluster and the database that has a name of its own, with its schema.
fn catalog(own: &Own) -> BTreeSet<String> {
    // Roles and databases are the whole server's, where others are at work: those that a name of ours could have made.
    let query = "SELECT 'role ' || rolname FROM pg_roles WHERE rolname ~ '{own}' OR {hostile:rolname} UNION ALL \
        SELECT 'database ' || datname FROM pg_database WHERE datname ~ '{own}' OR {hostile:datname} UNION ALL \
        SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_' UNION ALL \
        SELECT 'relation ' || relnamespace::regnamespace || '.' || relname FROM pg_class WHERE relnamespace::regnamespace::text !~ '^pg_' UNION ALL \
        SELECT 'function ' || pronamespace::regnamespace || '.' || proname FROM pg_proc WHERE pronamespace::regnamespace::text !~ '^pg_'";
    // None of lyrox's making is without `t_`; whatever slipped through has a piece, or a character that no other name has.
    let hostile =
        |name: &str| format!("({name} ~ '[^a-z0-9_-]' OR {name} ~ '^(t_[^i]|x|auth0|null|admin|default|public)')");
    let query = query.replace("{own}", &own.name);
    let query =
        query.replace("{hostile:rolname}", &hostile("rolname")).replace("{hostile:datname}", &hostile("datname"));
    own.sql(&query).into_iter().filter_map(|row| row[0].clone()).collect()
}

#[test]
fn ten_thousand_hostile_names_make_nothing_but_their_own_places() {
    let own = Own::row("tn_fuzz");
    // The registry is there: what comes now is the names' doing.
    own.create("first", &["--slug", &own.slug("first"), "--no-credentials"]);
    let before = catalog(&own);
    let mut random = rand::rng();
    let mut csv = String::from("key,slug\n");
    let mut asked: Vec<(String, Option<String>)> = Vec::new();
    let mut keys = BTreeSet::new();
    while asked.len() < 10_000 {
        // The end makes the key, and so its digest, this run's own: users belong to the whole server.
        let key = format!("{}.{}", fuzzed(&mut random, 300), own.name);
        let slug = match random.random_range(0..4) {
            0 => Some(fuzzed(&mut random, 60)),
            1 => Some(format!("{}_{}", own.name, random.random_range(0..4000))),
            _ => None,
        };
        // An empty field is no slug; a line end within quotes is covered elsewhere.
        if slug.as_deref() == Some("") || !keys.insert(key.clone()) {
            continue;
        }
        let field = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let _ = writeln!(csv, "{},{}", field(&key), slug.as_deref().map(field).unwrap_or_default());
        asked.push((key, slug));
    }
    own.write("t.csv", &csv);
    let run = own.lyrox(&["tenant", "create", "--from-file", "t.csv", "--no-credentials", "--output", "json"]);
    run.exit(7);
    // A name is refused for what it is, not because a server choked on it.
    let report = run.json();
    let choked = report["items"].as_array().expect("items").iter().find(|item| {
        item["outcome"] == "fail"
            && !["LYX-TENANT-NAME", "LYX-TENANT-CLASH"].contains(&item["code"].as_str().unwrap_or(""))
    });
    assert_eq!(choked, None);
    // What the rule says: the form of the key, the form of the slug, and that the first with a slug has it.
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    let mut taken = BTreeSet::from([own.slug("first")]);
    for (key, slug) in &asked {
        let slug = match slug {
            Some(slug) if is_slug(slug) => slug.clone(),
            Some(_) => continue,
            None => match Tenant::new(key, None) {
                Ok(tenant) => tenant.slug().to_owned(),
                Err(_) => continue,
            },
        };
        assert!(is_slug(&slug), "{key:?} {slug}");
        if key.len() <= 255 && taken.insert(slug.clone()) {
            expected.insert(key.clone(), slug);
        }
    }
    let rows = own.sql("SELECT key, slug FROM lyrox.tenants WHERE state = 'active' AND key <> 'first'");
    let made: BTreeMap<String, String> =
        rows.into_iter().map(|row| (row[0].clone().expect("a key"), row[1].clone().expect("a slug"))).collect();
    let refused = asked.len() - expected.len();
    assert!(refused > 1000 && expected.len() > 1000, "{} made, {refused} refused", expected.len());
    let missing: Vec<_> = expected.iter().filter(|(key, slug)| made.get(*key) != Some(slug)).take(3).collect();
    let extra: Vec<_> = made.iter().filter(|(key, _)| !expected.contains_key(*key)).take(3).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:?}, unexpected {extra:?}");
    assert_eq!(run.json()["data"]["failed"], refused);
    assert_eq!(
        own.sql_value("SELECT count(*) FROM lyrox.tenants WHERE state <> 'active'"),
        "0",
        "a refusal leaves no record"
    );
    assert_eq!(own.sql_value("SELECT count(*) FROM company"), (made.len() + 1).to_string());
    // Nothing came to be in the catalog.
    let after = catalog(&own);
    assert_eq!(after.symmetric_difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
    // Each user has one pattern, and it is its own slug's.
    let redis::Value::Array(lines) = own.acl(&["LIST"]).expect("a list") else { panic!("no list") };
    let lines = lines.into_iter().map(|line| redis::from_redis_value::<String>(line).expect("a line"));
    let mut users = BTreeSet::new();
    for line in lines.filter(|line| line.contains(&format!("~{}", own.prefix))) {
        let words: Vec<&str> = line.split(' ').collect();
        let slug = words[1].strip_prefix("t_").expect("a tenant's user").to_owned();
        let patterns: Vec<&&str> = words.iter().filter(|word| word.starts_with(['~', '&', '%'])).collect();
        let own_pattern = format!("{}{{{slug}}}:*", own.prefix);
        assert_eq!(patterns, [&format!("~{own_pattern}").as_str(), &format!("&{own_pattern}").as_str()], "{line}");
        users.insert(slug);
    }
    let mut slugs: BTreeSet<String> = made.values().cloned().collect();
    slugs.insert(own.slug("first"));
    assert_eq!(users, slugs);
}

#[test]
fn hostile_names_make_schemas_of_their_slugs_only() {
    let own = Own::own_place("tn_names", "schema");
    own.create("first", &["--slug", &own.slug("first"), "--no-credentials"]);
    let before = catalog(&own);
    let mut expected = before.clone();
    for (number, key) in PIECES.iter().enumerate().filter(|(number, _)| number % 6 == 0) {
        let slug = own.slug(&format!("s{number}"));
        own.create(&format!("x{key}"), &["--slug", &slug, "--no-credentials"]);
        for object in [
            "schema t_{}",
            "role t_{}",
            "relation t_{}.sale",
            "relation t_{}.sale_pkey",
            "relation t_{}.setting",
            "relation t_{}.setting_pkey",
        ] {
            expected.insert(object.replace("{}", &slug));
        }
    }
    for slug in ["pg_x\"; --", "A", "", "a-b", "1a", "a*", "a]", "{a}", "lyrox", &"a".repeat(41)] {
        own.lyrox(&["tenant", "create", "key", &format!("--slug={slug}"), "--no-credentials"])
            .exit(2)
            .says("LYX-TENANT-NAME");
    }
    assert_eq!(catalog(&own), expected);
}
