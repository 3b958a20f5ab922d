//! `setup` from nothing: LYROX OS on servers of its own, as the README's first command does it; and a
//! project that `init` makes.

use std::path::Path;

use crate::support::{Output, sql};

/// A folder without databases of the shared servers: its own `.lyrox/`, stopped at the end.
pub struct Alone(tempfile::TempDir);

impl Alone {
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("lyrox-it-setup-").tempdir().expect("a folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// LYROX OS, as it stands at the root of the repository.
    pub fn lyrox_os() -> Self {
        let alone = Self::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for part in ["lyrox.toml", ".env.example", "migrations", "seeds", "smoke"] {
            copy(&root.join(part), &alone.path().join(part));
        }
        alone
    }

    /// A program in this folder, in a clean environment.
    pub fn command(&self, program: &str) -> std::process::Command {
        let mut command = std::process::Command::new(program);
        command.current_dir(self.path()).env_clear().stdin(std::process::Stdio::null());
        for name in ["PATH", "HOME", "USER", "LYROX_CACHE_DIR", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// Runs lyrox in this folder.
    pub fn lyrox(&self, arguments: &[&str]) -> Output {
        let output = self.command(crate::support::servers::binary()).args(arguments).output().expect("lyrox");
        Output::new(arguments, &output)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.lyrox(&["-q", "down"]);
    }
}

/// Copies a file or a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).expect("a folder");
        for entry in std::fs::read_dir(from).expect("a folder").flatten() {
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::copy(from, to).expect("a copy");
    }
}

fn outcomes(run: &Output) -> (usize, usize) {
    let report = run.json();
    let count = |name: &str| usize::try_from(report["totals"][name].as_u64().expect("a total")).expect("a number");
    (count("pass"), count("fail"))
}

#[test]
fn lyrox_os_goes_from_nothing_to_verified_and_a_second_run_changes_nothing() {
    let alone = Alone::lyrox_os();
    let first = alone.lyrox(&["setup", "--output", "json"]);
    first.ok();
    let (passed, failed) = outcomes(&first);
    assert!(passed > 40 && failed == 0, "{first}");
    for part in ["postgres", "mongodb", "redis"] {
        let items = first.json()["items"].as_array().expect("items").clone();
        let of = |change: &str| items.iter().filter(|item| item["store"] == part && item["change"] == change).count();
        assert!(of("started") == 1 && of("applied") >= 1 && of("created") >= 1, "{part}\n{first}");
    }
    let urls = lyrox::servers::running(alone.path()).expect("running servers");
    let owner = urls.postgres_direct.expect("PostgreSQL");
    let application = urls.postgres.expect("PostgreSQL");
    let value = |url: &str, query: &str| sql(url, query).map(|rows| rows[0][0].clone().unwrap_or_default());
    assert_eq!(value(&owner, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").expect("a count"), "7");
    let hash =
        value(&owner, "SELECT \"passwordHash\" FROM \"User\" WHERE email = 'pedro@example.com'").expect("a hash");
    assert!(hash.starts_with("$argon2id$") && !hash.contains("temp-password"), "{hash}");
    // The application's own login sees nothing without a tenant, and one company with it.
    assert_eq!(value(&application, "SELECT count(*) FROM \"Company\"").expect("a count"), "0");
    let born = value(&owner, "SELECT id FROM \"Company\" WHERE name = 'Emilio Born Coaching'").expect("an id");
    let seen = format!("BEGIN; SELECT set_config('app.tenant', '{born}', true); SELECT name FROM \"Company\"; COMMIT");
    let rows = sql(&application, &seen).expect("rows");
    assert_eq!(rows.last().and_then(|row| row[0].clone()).as_deref(), Some("Emilio Born Coaching"), "{rows:?}");
    assert!(sql(&application, "SELECT \"passwordHash\" FROM \"User\"").is_err(), "the hash is not granted");

    let everything = "SELECT string_agg(md5(t::text), ',' ORDER BY t::text) FROM (SELECT xmin, u::text FROM \"User\" u UNION ALL SELECT xmin, s::text FROM \"Sale\" s) t";
    let before = value(&owner, everything).expect("rows");
    let second = alone.lyrox(&["setup", "--output", "json"]);
    second.ok();
    for item in second.json()["items"].as_array().expect("items") {
        let change = item["change"].as_str().unwrap_or("unchanged");
        assert_eq!(change, "unchanged", "{second}");
    }
    assert_eq!(value(&owner, everything).expect("rows"), before, "no row was written again");

    let human = alone.lyrox(&["setup"]);
    human.ok().says("lyrox-os is verified").says("PASS:").says("Emilio Born Coaching");
    assert!(!human.stdout.contains(['\u{1b}', '\r']), "a pipe gets no escapes");
}

#[test]
fn a_new_project_runs_at_once() {
    let alone = Alone::new();
    alone.lyrox(&["init", "--name", "shop"]).ok().says("now run: lyrox setup");
    alone.lyrox(&["init"]).exit(2).says("exists");
    alone.lyrox(&["setup"]).ok().says("shop is verified");
    alone.lyrox(&["down"]).ok().says("stopped");
}
