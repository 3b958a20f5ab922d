//! Prisma Migrate's folders and `_prisma_migrations`.

use super::{project, rows};
use crate::support::Project;

/// SHA-256 of `CREATE TABLE t (id int);` and a line end.
const LF: &str = "12c83f983b0c94b9c7010dcc92149589d5fb01a3d32af8f6d699545d95db9040";
/// The same with CR LF.
const CRLF: &str = "30cea62cdaee464f711b5a9f1f7b7a63a5d676cb81e1ffb9c1be5f0ba944da6d";
/// The first one as versions before 2.20 wrote it.
const LEGACY: &str = "12c83f983bc94b9c71dcc92149589d5fb1a3d32af8f6d699545d95db9040";

const TABLE: &str = "CREATE TABLE _prisma_migrations (id VARCHAR(36) PRIMARY KEY NOT NULL, checksum VARCHAR(64) NOT NULL, \
    finished_at TIMESTAMPTZ, migration_name VARCHAR(255) NOT NULL, logs TEXT, rolled_back_at TIMESTAMPTZ, \
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(), applied_steps_count INTEGER NOT NULL DEFAULT 0)";

fn prisma() -> Project {
    let project = project("prisma", "dir = \"prisma/migrations\"");
    project.write("prisma/migrations/migration_lock.toml", "provider = \"postgresql\"\n");
    project.write("prisma/migrations/20240101000000_init/migration.sql", "CREATE TABLE t (id int);\n");
    project
}

fn insert(project: &Project, id: &str, name: &str, checksum: &str, finished: bool, rolled_back: bool) {
    let moment = |is_there: bool| if is_there { "'2024-01-02 03:04:05+00'" } else { "NULL" };
    project.sql(&format!(
        "INSERT INTO _prisma_migrations VALUES ('{id}', '{checksum}', {}, '{name}', NULL, {}, '2024-01-02 03:04:04+00', 1)",
        moment(finished),
        moment(rolled_back)
    ));
}

#[test]
fn what_its_history_says_is_taken_over_and_the_rest_applied() {
    let project = prisma();
    project.write("prisma/migrations/20240102000000_more/migration.sql", "CREATE TABLE u (id int);\r\n");
    project.sql(TABLE);
    // Tried once and resolved, then applied: one name, two rows.
    insert(&project, "a", "20240101000000_init", LF, false, true);
    insert(&project, "b", "20240101000000_init", LF, true, false);
    project.lyrox(&["db", "status"]).ok().says("2024-01-02 03:04").says("1 applied, 1 pending");
    project.lyrox(&["db", "migrate"]).ok().says("1 applied by Prisma");
    rows(
        &project,
        "SELECT migration_name, length(id), id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-4', checksum = encode(sha256(convert_to(E'CREATE TABLE u (id int);\\r\\n', 'UTF8')), 'hex'), \
         finished_at >= started_at, started_at > now() - interval '5 minutes', logs, rolled_back_at, applied_steps_count \
         FROM _prisma_migrations WHERE id NOT IN ('a', 'b')",
        &[&["20240102000000_more", "36", "t", "t", "t", "t", "-", "-", "1"]],
    );
    project.lyrox(&["db", "status", "--check"]).ok().says("2 applied, 0 pending");
    project.lyrox(&["db", "smoke-test"]).ok();
}

#[test]
fn line_ends_and_lost_zeros_are_no_edit_and_edits_are() {
    let project = prisma();
    project.sql(TABLE);
    for checksum in [LF, CRLF, LEGACY] {
        project.sql("TRUNCATE _prisma_migrations");
        insert(&project, "a", "20240101000000_init", checksum, true, false);
        project.lyrox(&["db", "status", "--check"]).ok();
    }
    project.write("prisma/migrations/20240101000000_init/migration.sql", "\u{feff}CREATE TABLE t (id int);\n");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-EDITED");
    project.write("prisma/migrations/20240101000000_init/migration.sql", "CREATE TABLE t (id bigint);\n");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-EDITED").says("migration.sql");
}

#[test]
fn a_failed_migration_stops_everything_until_it_is_resolved() {
    let project = prisma();
    project.write("prisma/migrations/20240102000000_more/migration.sql", "CREATE TABLE u (id int);\n");
    project.sql(TABLE);
    insert(&project, "a", "20240101000000_init", LF, false, false);
    project.sql(
        "UPDATE _prisma_migrations SET logs = E'A migration failed to apply.\\n\\nDatabase error:\\nERROR: no room\\n'",
    );
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(6).says("LYX-HISTORY-BROKEN").says("ERROR: no room").says("nothing was changed");
    run.says("npx prisma migrate resolve --rolled-back 20240101000000_init");
    rows(&project, "SELECT count(*) FROM pg_tables WHERE tablename = 'u'", &[&["0"]]);
    project.lyrox(&["db", "status", "--check"]).exit(6);
    project.sql("UPDATE _prisma_migrations SET rolled_back_at = now()");
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT count(*) FROM _prisma_migrations WHERE finished_at IS NOT NULL", &[&["2"]]);
}

#[test]
fn a_file_without_a_transaction_is_begun_before_it_runs_and_finished_behind_it() {
    let project = prisma();
    let text = "CREATE INDEX CONCURRENTLY t_id ON t (id);\nCREATE INDEX CONCURRENTLY t_no ON t (no);\n";
    project.write("prisma/migrations/20240102000000_index/migration.sql", text);
    project.lyrox(&["db", "migrate"]).exit(1).says("stopped after step 1");
    let open =
        "SELECT migration_name, finished_at IS NULL, applied_steps_count FROM _prisma_migrations ORDER BY started_at";
    rows(&project, open, &[&["20240101000000_init", "f", "1"], &["20240102000000_index", "t", "0"]]);
    project.write("prisma/migrations/20240102000000_index/migration.sql", &text.replace("(no)", "((id + 1))"));
    project.lyrox(&["db", "migrate"]).ok().says("going on at statement 2");
    rows(&project, open, &[&["20240101000000_init", "f", "1"], &["20240102000000_index", "f", "1"]]);
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn a_way_back_is_down_sql_and_is_recorded_as_rolled_back() {
    let project = prisma();
    project.write("prisma/migrations/20240101000000_init/down.sql", "DROP TABLE t;\n");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "rollback", "--yes"]).ok();
    rows(&project, "SELECT rolled_back_at IS NOT NULL FROM _prisma_migrations", &[&["t"]]);
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT count(*), count(rolled_back_at) FROM _prisma_migrations", &[&["2", "1"]]);
}

#[test]
fn a_recorded_migration_without_a_folder_is_missing_and_a_late_one_is_applied() {
    let project = prisma();
    project.lyrox(&["db", "migrate"]).ok();
    // As `migrate deploy`, which applies what is not applied, wherever it stands.
    project.write("prisma/migrations/20230101000000_late/migration.sql", "CREATE TABLE u (id int);\n");
    project.lyrox(&["db", "migrate"]).ok();
    insert(&project, "c", "20240103000000_gone", LF, true, false);
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-MISSING").says("20240103000000_gone");
}

#[test]
fn other_providers_prisma_8_and_another_schema_are_refused() {
    let project = prisma();
    project.write("prisma/migrations/migration_lock.toml", "provider = \"mysql\"\n");
    project.lyrox(&["db", "migrate"]).exit(2).says("mysql").says("migration_lock.toml");
    project.write("prisma/migrations/migration_lock.toml", "provider = \"postgresql\"\n");
    project.write(".env", &format!("DATABASE_URL='{}?schema=app'\n", project.postgres));
    project.lyrox(&["db", "migrate"]).exit(2).says("schema `app`").says("under [postgres]");
    project.write("prisma/migrations/app/20260101T0101_x/migration.json", "{}");
    project.write("prisma/migrations/app/20260101T0101_x/ops.json", "[]");
    project.lyrox(&["db", "migrate"]).exit(2).says("Prisma 8").says("nothing was changed");
}

#[test]
fn a_new_migration_is_a_folder() {
    let project = project("prisma", "dir = \"prisma/migrations\"");
    project.lyrox(&["db", "new", "first"]).ok().says("_first/migration.sql").says("migration_lock.toml");
    project.remove("lyrox.toml");
    project.write(
        "prisma/schema.prisma",
        "datasource db {\n  provider = \"postgresql\"\n  url = env(\"DATABASE_URL\")\n}\n",
    );
    project.lyrox(&["init", "--from", "auto"]).ok();
    let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("a configuration");
    assert!(text.contains("format = \"prisma\"") && text.contains("dir = \"prisma/migrations\""), "{text}");
}
