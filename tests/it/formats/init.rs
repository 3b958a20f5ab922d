//! `lyrox init --from`, and `db new` in another tool's folder.

use crate::support::Project;

/// A project without a `lyrox.toml`; its `.env` names the database.
fn bare(name: &str) -> Project {
    let project = Project::new(name, "");
    project.remove("lyrox.toml");
    project
}

#[test]
fn a_folder_of_sqlx_is_recognised_and_runs() {
    let project = bare("f_init");
    project.write("migrations/0001_init.sql", "CREATE TABLE t (id int);\n");
    project.write("Cargo.toml", "[dependencies]\nsqlx = \"0.8\"\n");
    let run = project.lyrox(&["init", "--from", "auto", "--name", &project.name]);
    run.ok().says("sqlx in `Cargo.toml` and 1 file like `migrations/0001_init.sql`").says("1 version");
    let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
    assert!(
        text.contains("format = \"sqlx\"") && text.contains("dir = \"migrations\"") && !text.contains("url ="),
        "{text}"
    );
    project.lyrox(&["config", "check"]).ok().says("1 version");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["init", "--from", "auto"]).exit(2).says("exists");

    project.lyrox(&["db", "new", "more of it"]).ok().says("migrations/0002_more_of_it.sql");
    project.lyrox(&["db", "new", "more", "--store", "postgres,mongodb"]).exit(2).says("the project has no mongodb");
}

#[test]
fn what_the_files_leave_open_the_history_decides() {
    let project = bare("f_open");
    project.write("migrations/1_a.up.sql", "CREATE TABLE t (id int);\n");
    project.write("migrations/1_a.down.sql", "DROP TABLE t;\n");
    let run = project.lyrox(&["init", "--from", "auto"]);
    run.exit(2).says("fit several tools").says("sqlx").says("lyrox init --from");
    assert!(!project.path("lyrox.toml").exists());

    project.sql("CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)");
    project.lyrox(&["init", "--from", "auto"]).ok().says("`public._sqlx_migrations`, 0 rows of sqlx");
}

#[test]
fn rails_is_named_by_its_files_and_by_its_table() {
    let project = bare("f_rails");
    project.write("db/migrate/20240101000000_create_users.rb", "class CreateUsers\nend\n");
    project.lyrox(&["init", "--from", "auto"]).exit(2).says("those of Rails").says("lyrox db baseline");

    project.write("migrations/001-a.sql", "SELECT 1;\n");
    project.sql("CREATE TABLE schema_migrations (version varchar PRIMARY KEY)");
    project.sql("CREATE TABLE ar_internal_metadata (key varchar PRIMARY KEY)");
    project.lyrox(&["init", "--from", "auto"]).exit(2).says("migrated by Rails").says("lyrox init --from plain");
    project.lyrox(&["init", "--from", "plain"]).ok().says("of Rails");
}

#[test]
fn the_variable_of_the_url_is_found_and_nothing_else_is_written() {
    let project = bare("f_url");
    let url = project.postgres.clone();
    project.write(".env", &format!("export APP_DB='{url}'\n"));
    project.write("migrations/001-a.sql", "CREATE TABLE t (id int);\n");
    project.lyrox(&["init", "--from", "auto"]).ok();
    let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
    assert!(text.contains("url = \"${APP_DB}\"") && !text.contains("postgres://"), "{text}");
    assert!(!project.path("seeds").exists() && !project.path(".gitignore").exists());
    project.lyrox(&["db", "migrate"]).ok();
}

#[test]
fn nothing_to_run_and_an_unknown_format_are_told() {
    let project = bare("f_none");
    project.lyrox(&["init", "--from", "auto"]).exit(2).says("no migrations of a tool that lyrox knows");
    project.lyrox(&["init", "--from", "sqlx"]).exit(2).says("no migrations of sqlx");
    project.lyrox(&["init", "--from", "knex"]).exit(2).says("golang-migrate");
    project.write("lyrox.toml", "[redis]\n[migrations]\nformat = \"sqlx\"\n");
    project.lyrox(&["config", "check"]).exit(2).says("no PostgreSQL");
    project.write("lyrox.toml", "[postgres]\n[migrations]\nplaceholders = { a = \"b\" }\n");
    project.lyrox(&["config", "check"]).exit(2).says("Flyway");
}
