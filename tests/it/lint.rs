//! `db lint`: one bad migration a rule, a good project, ignore comments, levels and exit codes. No server is
//! started for any of it.

mod base;
mod forms;
mod passwords;
mod series;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use lyrox::engine::lint::rules::{self, RULES, Start, Theme};
use squawk_linter::Rule as Squawk;

use crate::support::Output;
use crate::support::servers::binary;

/// A folder with a project in it; no server belongs to it.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// All three stores; `extra` is appended to `lyrox.toml`.
    pub fn new(extra: &str) -> Self {
        let folder = Self(tempfile::Builder::new().prefix("lyrox-it-lint-").tempdir().expect("a folder"));
        folder.write("lyrox.toml", &format!("[project]\nname = \"shop\"\n[postgres]\n[mongodb]\n[redis]\n{extra}"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(self, file: &str, text: &str) -> Self {
        self.put(file, text);
        self
    }

    pub fn put(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    pub fn lyrox(&self, arguments: &[&str]) -> Output {
        lyrox(self.path(), arguments)
    }

    /// The rules found, by file, from `db lint --output json` with more arguments.
    pub fn rules(&self, arguments: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
        found(self.path(), arguments).1
    }
}

/// Runs lyrox in a folder, in a clean environment.
pub fn lyrox(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Output::new(arguments, &command.output().expect("lyrox runs"))
}

/// The exit code and the rules found, by file.
pub fn found(folder: &Path, arguments: &[&str]) -> (i32, BTreeMap<String, BTreeSet<String>>) {
    let mut all = vec!["db", "lint", "--output", "json"];
    all.extend(arguments);
    let run = lyrox(folder, &all);
    let report = run.json();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for item in report["items"].as_array().expect("items").iter().filter(|item| item["outcome"] != "pass") {
        assert_eq!(item["code"], "LYX-LINT", "{run}");
        let file = item["location"]["file"].as_str().unwrap_or_else(|| panic!("no file\n{run}"));
        assert!(item["location"]["line"].is_u64() && item["location"]["column"].is_u64(), "{run}");
        found.entry(file.to_owned()).or_default().insert(item["title"].as_str().expect("a rule").to_owned());
    }
    (run.code, found)
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lint").join(name)
}

/// The files of a fixture, each with the rule that its name promises; none for what others build upon.
fn promised(folder: &Path) -> BTreeMap<String, Option<String>> {
    let files = std::fs::read_dir(folder.join("migrations")).expect("migrations").flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names
        .map(|name| {
            let rule = name.split_once('_').and_then(|(_, rest)| rest.split_once(".up.")).expect("a rule's name").0;
            let rule = (!rule.starts_with("base")).then(|| rule.to_owned());
            (format!("migrations/{name}"), rule)
        })
        .collect()
}

#[test]
fn every_rule_finds_its_bad_migration_and_no_other() {
    let mut proved = BTreeSet::new();
    for name in ["bad", "strict"] {
        let folder = fixture(name);
        let (code, found) = found(&folder, &[]);
        assert_eq!(code, 1);
        for (file, rule) in promised(&folder) {
            let expected: BTreeSet<String> = rule.clone().into_iter().collect();
            assert_eq!(found.get(&file).cloned().unwrap_or_default(), expected, "{name}/{file}");
            proved.extend(rule);
        }
    }
    let known: BTreeSet<String> = RULES.iter().map(|rule| rule.name.to_owned()).collect();
    assert_eq!(proved, known, "a rule without a bad migration, or a file for none");
}

#[test]
fn every_rule_of_squawk_is_known_by_its_name() {
    let ours: BTreeSet<String> =
        RULES.iter().filter(|rule| rule.theme == Theme::Squawk).map(|rule| rule.name.to_owned()).collect();
    // An alias of two others, and the rule about ignore comments, which lyrox has for its own as well.
    let not_of_its_own = |rule: &Squawk| matches!(rule, Squawk::RequireTimeoutSettings | Squawk::UnusedIgnore);
    let theirs = enum_iterator::all::<Squawk>().filter(|rule| !not_of_its_own(rule)).map(|rule| rule.to_string());
    assert_eq!(ours, theirs.collect());
    for rule in enum_iterator::all::<Squawk>().filter(|rule| !not_of_its_own(rule)) {
        let found = rules::find(&rule.to_string()).expect("a rule");
        let is_handled = matches!(found.start, Start::Handled(_));
        assert_eq!(
            found.start == Start::On,
            !rule.is_opt_in() && !is_handled && rule != Squawk::RequireStatementTimeout,
            "{rule}"
        );
    }
}

#[test]
fn a_good_project_has_nothing_to_find() {
    let run = lyrox(&fixture("good"), &["db", "lint"]);
    run.ok().says("nothing found in 13 files");
    assert_eq!(found(&fixture("good"), &[]), (0, BTreeMap::new()));
}

#[test]
fn the_project_of_this_repository_has_no_error() {
    lyrox(Path::new(env!("CARGO_MANIFEST_DIR")), &["db", "lint"]).ok();
}

const DROPS: &str = "ALTER TABLE a DROP COLUMN b;\nALTER TABLE a DROP COLUMN c;\n";

#[test]
fn comments_switch_a_rule_off_for_a_file_or_for_a_statement() {
    let places = |text: &str| {
        let folder = Folder::new("").write("migrations/1_a.up.sql", text);
        let report = folder.lyrox(&["db", "lint", "--output", "json"]).json();
        let items = report["items"].as_array().expect("items").clone();
        items.iter().filter_map(|item| item["location"]["line"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(places(DROPS), [1, 2]);
    assert_eq!(places(&format!("-- lyrox: lint ignore ban-drop-column\n{DROPS}")), [] as [u64; 0]);
    assert_eq!(places(&format!("-- squawk-ignore-file ban-drop-column\n{DROPS}")), [] as [u64; 0]);
    assert_eq!(places(&format!("-- squawk-ignore ban-drop-column\n{DROPS}")), [3]);
    let below = DROPS.replace("b;\n", "b;\n-- lyrox: lint ignore ban-drop-column\n-- nobody reads it\n\n");
    assert_eq!(places(&below), [1]);
    let other = DROPS.replace("b;\n", "b;\n-- lyrox: lint ignore ban-drop-table\n");
    assert_eq!(places(&other), [1, 3]);
}

#[test]
fn comments_work_in_the_files_of_every_store() {
    let folder = Folder::new("")
        .write(
            "migrations/1_a.up.json",
            "[\n  { \"ping\": 1 },\n  // lyrox: lint ignore mongodb-drop\n  {\n    \"drop\": \"a\" },\n  { \"drop\": \"b\" }\n]\n",
        )
        .write("migrations/1_a.up.redis", "PING\n# lyrox: lint ignore redis-keys\nKEYS a*\nFLUSHALL\n");
    let report = folder.lyrox(&["db", "lint", "--output", "json"]).json();
    let lines: Vec<_> = report["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| (item["title"].clone(), item["location"]["line"].clone()))
        .collect();
    assert_eq!(lines, [("mongodb-drop".into(), 6.into()), ("redis-flush".into(), 4.into())]);
}

#[test]
fn a_comment_that_names_no_rule_is_told() {
    let folder =
        Folder::new("").write("migrations/1_a.up.sql", "SELECT 1;\n-- lyrox: lint ignore ban-drop-colum\nSELECT 2;\n");
    folder
        .lyrox(&["db", "lint"])
        .ok()
        .says("unused-ignore")
        .says("did you mean `ban-drop-column`?")
        .says("1_a.up.sql:2:23");
}

#[test]
fn the_configuration_switches_rules_on_and_off() {
    let with = |lint: &str| Folder::new(&format!("[lint]\n{lint}\n")).write("migrations/1_a.up.sql", DROPS);
    assert_eq!(with("ignore = [\"ban-drop-column\"]").rules(&[]), BTreeMap::new());
    let found = with("enable = [\"prefer-robust-stmts\", \"require-statement-timeout\"]").rules(&[]);
    let expected = ["ban-drop-column", "require-statement-timeout"].map(str::to_owned);
    assert_eq!(found["migrations/1_a.up.sql"], BTreeSet::from(expected));
    with("ignore = [\"ban-drop-colunm\"]").lyrox(&["db", "lint"]).exit(2).says("did you mean `ban-drop-column`?");
    with("pg_version = \"new\"").lyrox(&["db", "lint"]).exit(2).says("pg_version");
    with("ignores = []").lyrox(&["db", "lint"]).exit(2).says("did you mean `ignore`?");
}

#[test]
fn what_lyrox_does_itself_is_not_asked_for() {
    let rules = |extra: &str, text: &str| {
        let found = Folder::new(extra).write("migrations/1_a.up.sql", text).rules(&[]);
        found.into_values().flatten().collect::<Vec<_>>()
    };
    let index = "ALTER INDEX a SET (fillfactor = 70);\n";
    assert_eq!(rules("", index), [] as [&str; 0]);
    assert_eq!(rules("", &format!("-- lyrox: lock-timeout 0s\n{index}")), ["require-lock-timeout"]);
    let wants = "[lint]\nenable = [\"require-statement-timeout\"]\n";
    assert_eq!(rules(wants, index), ["require-statement-timeout"]);
    assert_eq!(rules(wants, &format!("-- lyrox: statement-timeout 1m\n{index}")), [] as [&str; 0]);
    // A file whose statements cannot share a transaction runs them one by one.
    let concurrent = "CREATE INDEX CONCURRENTLY a ON t (b);\nCREATE INDEX CONCURRENTLY c ON t (d);\n";
    assert_eq!(rules("", concurrent), [] as [&str; 0]);
    assert_eq!(
        rules("[migrations]\ntransaction = \"all\"\n", concurrent),
        ["ban-concurrent-index-creation-in-transaction"]
    );
    // A table that the same transaction makes is nobody's yet; one that a journaled file makes may be in use.
    let new = "CREATE TABLE t (b text);\nCREATE INDEX a ON t (b);\n";
    assert_eq!(rules("", new), [] as [&str; 0]);
    assert_eq!(rules("", &format!("-- lyrox: no-transaction\n{new}")), ["require-concurrent-index-creation"]);
}

#[test]
fn a_warning_alone_ends_with_0_and_an_error_with_1() {
    let folder = Folder::new("").write("migrations/1_a.up.sql", "CREATE TABLE a (b varchar(10));\n");
    folder.lyrox(&["db", "lint"]).ok().says("warning prefer-text-field").says("1 warning in 1 file");
    folder.put("migrations/2_b.up.sql", DROPS);
    let run = folder.lyrox(&["db", "lint"]);
    run.exit(1).says("2 errors, 1 warning in 2 files").says("LYX-LINT, exit 1").says("migrations/2_b.up.sql:1:15");
    run.says("    1 | ALTER TABLE a DROP COLUMN b;").says("      |               ^^^^^^^^^^^^^");
    folder.lyrox(&["db", "lint", "migrations/1_a.up.sql"]).ok().says("in 1 file");
    folder.lyrox(&["db", "lint", "migrations"]).exit(1);
    folder.lyrox(&["db", "lint", "--only", "redis"]).ok();
    folder.lyrox(&["db", "lint", "nowhere.sql"]).exit(2).says("LYX-FILE-MISSING");
    folder.lyrox(&["db", "lint", "lyrox.toml"]).exit(2).says("is no migration of the project");
}

#[test]
fn a_file_that_cannot_be_read_is_a_finding() {
    let folder = Folder::new("")
        .write("migrations/1_a.up.sql", "SELECT 'never closed;\n")
        .write("migrations/2_a.up.json", "[ { \"drop\": \"a\" }, ")
        .write("migrations/3_a.up.json", "[ { \"find\": \"a\", \"find\": \"b\" } ]")
        .write("migrations/4_a.up.redis", "SET a 'b\n")
        .write("migrations/5_a.up.json", "{ \"ping\": 1 }");
    let found = folder.rules(&[]);
    assert_eq!(found.len(), 5);
    assert!(found.values().all(|rules| rules.iter().eq(["syntax-error"])), "{found:?}");
}

#[test]
fn every_rule_is_listed() {
    let folder = Folder::new("[lint]\nignore = [\"redis-keys\"]\n");
    let run = folder.lyrox(&["db", "lint", "--rules"]);
    run.ok();
    assert!(RULES.iter().all(|rule| run.stdout.contains(rule.name) && run.stdout.contains(rule.title)), "{run}");
    run.says("off      redis-keys").says("error    redis-flush").says("off      tenant-rls-missing");
    let report = folder.lyrox(&["db", "lint", "--rules", "--output", "json"]).json();
    assert_eq!(report["data"]["rules"].as_array().map(Vec::len), Some(RULES.len()));
}

#[test]
fn thousands_of_terms_are_no_matter() {
    let terms = vec!["a = 1"; 5_000].join(" OR ");
    let nested = format!("{}1{}", "(".repeat(400), ")".repeat(400));
    let folder = Folder::new("")
        .write("migrations/1_a.up.sql", &format!("SELECT 1 WHERE {terms};\nSELECT {nested};\n"))
        .write("migrations/2_a.up.json", &format!("[{{ \"a\": {}{} }}]", "[".repeat(5_000), "]".repeat(5_000)));
    let found = folder.rules(&[]);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["migrations/2_a.up.json"]);
}
