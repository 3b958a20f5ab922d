//! The Supabase CLI's folder and `supabase_migrations.schema_migrations`.

use super::{project, rows};
use crate::support::Project;

fn supabase() -> Project {
    let project = project("supabase", "dir = \"supabase/migrations\"");
    project.write(
        "supabase/migrations/20240101000000_init.sql",
        "-- first\nCREATE TABLE t (id int);\n\nINSERT INTO t VALUES (1);\n",
    );
    project.write("supabase/migrations/20240102000000_more_of_it.sql", "CREATE TABLE u (id int); -- last\n;\n");
    project
}

#[test]
fn statements_are_compared_and_written_as_the_cli_cuts_them() {
    let project = supabase();
    project.sql("CREATE SCHEMA supabase_migrations");
    project.sql("CREATE TABLE supabase_migrations.schema_migrations (version text NOT NULL PRIMARY KEY, statements text[], name text)");
    project.sql(
        "INSERT INTO supabase_migrations.schema_migrations VALUES ('20240101000000', \
         ARRAY[E'-- first\\r\\nCREATE TABLE t (id int)', 'INSERT INTO t VALUES (1)'], 'init')",
    );
    project.lyrox(&["db", "status"]).ok().says("1 applied, 1 pending");
    project.lyrox(&["db", "migrate"]).ok().says("1 applied by Supabase CLI");
    rows(
        &project,
        "SELECT version, name, array_to_json(statements) FROM supabase_migrations.schema_migrations ORDER BY 1 DESC LIMIT 1",
        &[&["20240102000000", "more_of_it", r#"["CREATE TABLE u (id int)","-- last"]"#]],
    );
    project.lyrox(&["db", "status", "--check"]).ok().says("2 applied, 0 pending");
    project.sql("UPDATE supabase_migrations.schema_migrations SET statements = ARRAY['CREATE TABLE t (id bigint)'] WHERE name = 'init'");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-EDITED").says("20240101000000_init");
}

#[test]
fn the_first_layout_gets_the_columns_that_came_later() {
    let project = supabase();
    project.sql("CREATE SCHEMA supabase_migrations");
    project.sql("CREATE TABLE supabase_migrations.schema_migrations (version text NOT NULL PRIMARY KEY)");
    project.sql("INSERT INTO supabase_migrations.schema_migrations VALUES ('20240101000000')");
    project.lyrox(&["db", "migrate"]).ok();
    rows(
        &project,
        "SELECT version, name, statements IS NULL FROM supabase_migrations.schema_migrations ORDER BY 1",
        &[&["20240101000000", "-", "t"], &["20240102000000", "more_of_it", "f"]],
    );
    project.lyrox(&["db", "status", "--check"]).ok();
    project.write("supabase/migrations/20240101000000_init.sql", "CREATE TABLE t (id bigint);\n");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-EDITED");
}

#[test]
fn the_old_init_file_and_other_files_are_none_and_seeds_are_left_alone() {
    let project = supabase();
    project.write("supabase/migrations/20210101000000_init.sql", "SELECT 1 / 0;\n");
    project.write("supabase/migrations/notes.sql", "SELECT 1 / 0;\n");
    project.write("supabase/seed.sql", "SELECT 1 / 0;\n");
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT count(*) FROM supabase_migrations.schema_migrations", &[&["2"]]);
    rows(&project, "SELECT to_regclass('supabase_migrations.seed_files') IS NULL", &[&["t"]]);
}

#[test]
fn a_late_file_is_out_of_order_and_a_lost_one_missing() {
    let project = supabase();
    project.lyrox(&["db", "migrate"]).ok();
    project.write("supabase/migrations/20240101120000_late.sql", "SELECT 1;\n");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-ORDER");
    // As `db push --include-all`.
    project.write("supabase/migrations/20240101120000_late.sql", "-- lyrox: allow out-of-order\nSELECT 1;\n");
    project.lyrox(&["db", "migrate"]).ok();
    project.remove("supabase/migrations/20240101120000_late.sql");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-MISSING").says("20240101120000");
}

#[test]
fn a_failing_file_leaves_neither_table_nor_row() {
    let project = supabase();
    project.write("supabase/migrations/20240103000000_bad.sql", "CREATE TABLE w (id int);\nSELECT 1 / 0;\n");
    project.lyrox(&["db", "migrate"]).exit(1).says("division by zero");
    rows(&project, "SELECT count(*) FROM supabase_migrations.schema_migrations", &[&["2"]]);
    rows(&project, "SELECT to_regclass('w') IS NULL", &[&["t"]]);
    project.lyrox(&["db", "new", "next"]).ok().says("_next.sql");
}
