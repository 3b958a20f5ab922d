//! graphile-migrate's committed files and `graphile_migrate.migrations`.

use super::{project, rows};
use crate::support::Project;

/// Of `CREATE TABLE t (id int);` as the first file.
const FIRST: &str = "sha1:9d425143f6c0084d58f4289ec9a78d367155bf76";
/// Of no file.
const OTHER: &str = "sha1:4e0ec2b9d9d7b9b2c4c0d9f3a2b9c0b5d2a1e0f3";

const TABLE: &str = "CREATE SCHEMA graphile_migrate; CREATE TABLE graphile_migrate.migrations (hash text PRIMARY KEY, \
    previous_hash text REFERENCES graphile_migrate.migrations, filename text NOT NULL, date timestamptz NOT NULL DEFAULT now())";

fn hash(body: &str, previous: &str) -> String {
    use sha1::{Digest as _, Sha1};
    let text = format!("{previous}\n{}", body.trim());
    let digest = Sha1::digest(format!("{}\n", text.trim()).as_bytes());
    format!("sha1:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn graphile() -> Project {
    let project = project("graphile", "");
    project.write(
        "migrations/committed/000001-init.sql",
        &format!("--! Previous: -\n--! Hash: {FIRST}\n--! Message: init\n\nCREATE TABLE t (id int);\n"),
    );
    project
}

fn second(project: &Project, body: &str) -> String {
    let hash = hash(body, FIRST);
    project.write("migrations/committed/000002.sql", &format!("--! Previous: {FIRST}\n--! Hash: {hash}\n\n{body}"));
    hash
}

#[test]
fn what_its_history_says_is_taken_over_and_the_chain_goes_on() {
    let project = graphile();
    let hash = second(&project, "--! no-transaction\nCREATE INDEX CONCURRENTLY t_id ON t (id);\n");
    project.sql(TABLE);
    project.sql("CREATE TABLE t (id int)");
    project.sql(&format!(
        "INSERT INTO graphile_migrate.migrations VALUES ('{FIRST}', NULL, '000001.sql', '2024-01-02 03:04:05+00')"
    ));
    project.lyrox(&["db", "status"]).ok().says("2024-01-02 03:04").says("1 applied, 1 pending");
    project.lyrox(&["db", "migrate"]).ok().says("1 applied by graphile-migrate");
    rows(
        &project,
        "SELECT hash, previous_hash, filename, date > now() - interval '5 minutes' FROM graphile_migrate.migrations ORDER BY filename",
        &[&[FIRST, "-", "000001.sql", "f"], &[&hash, FIRST, "000002.sql", "t"]],
    );
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn an_empty_database_gets_both_tables() {
    let project = graphile();
    project.lyrox(&["db", "migrate"]).ok();
    rows(
        &project,
        "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace = 'graphile_migrate'::regnamespace AND relkind = 'r'",
        &[&["current migrations"]],
    );
    rows(
        &project,
        "SELECT hash, previous_hash, filename FROM graphile_migrate.migrations",
        &[&[FIRST, "-", "000001.sql"]],
    );
}

#[test]
fn edits_broken_chains_and_files_below_the_newest_are_refused() {
    let project = graphile();
    second(&project, "CREATE TABLE u (id int);\n");
    project.lyrox(&["db", "migrate"]).ok();
    let file = "migrations/committed/000002.sql";
    let text = std::fs::read_to_string(project.path(file)).expect("a file");
    project.write(file, &text.replace("int", "bigint"));
    project.lyrox(&["db", "migrate"]).exit(6).says("was edited after it was committed").says("000002.sql:2");
    // Uncommitted, edited and committed anew: the history has the old hash.
    second(&project, "CREATE TABLE u (id bigint);\n");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-EDITED");
    project.write(file, &text.replace(FIRST, OTHER));
    project.lyrox(&["db", "migrate"]).exit(6).says("does not follow the file before it");
    project.remove(file);
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-MISSING").says("000002.sql");
}

#[test]
fn work_in_progress_is_left_alone_and_told() {
    let project = graphile();
    project.write("migrations/current.sql", "-- Enter migration here\n");
    project.lyrox(&["db", "migrate"]).ok().never_says("current.sql");
    project.write("migrations/current.sql", "CREATE TABLE work (id int);\n");
    project
        .lyrox(&["db", "migrate"])
        .ok()
        .says("`migrations/current.sql` is not committed")
        .says("npx graphile-migrate commit");
    rows(&project, "SELECT to_regclass('work') IS NULL", &[&["t"]]);
    project.lyrox(&["db", "new", "more"]).exit(2).says("current.sql").says("npx graphile-migrate commit");
}
