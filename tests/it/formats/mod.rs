//! Other tools' folders with a history written by hand, as those tools write it: what lyrox makes of it, and what it
//! writes there. One file a tool; the tools themselves are met in `interop`.

mod dbmate;
mod drizzle;
mod flyway;
mod golang_migrate;
mod golang_migrate_mongodb;
mod goose;
mod graphile;
mod init;
mod node_pg_migrate;
mod plain;
mod prisma;
mod refinery;
mod sqlx;
mod supabase;

use super::support::Project;

/// A project with PostgreSQL alone in another tool's format; `extra` goes below `[migrations]`.
pub fn project(format: &str, extra: &str) -> Project {
    let project = Project::new(&format!("f_{}", format.replace('-', "_")), "");
    project.write(
        "lyrox.toml",
        &format!("[project]\nname = \"{}\"\n[postgres]\n[migrations]\nformat = \"{format}\"\n{extra}\n", project.name),
    );
    project
}

/// Fails unless a query answers these rows; a NULL is `-`.
#[track_caller]
pub fn rows(project: &Project, query: &str, wanted: &[&[&str]]) {
    let found = project.sql(query);
    let found: Vec<Vec<String>> =
        found.into_iter().map(|row| row.into_iter().map(|cell| cell.unwrap_or_else(|| "-".into())).collect()).collect();
    assert_eq!(found, wanted, "{query}");
}

/// Does something while another session holds an advisory lock of the project's database.
pub fn held(project: &Project, key: i64, work: impl FnOnce()) {
    use ::sqlx::Connection as _;
    let mut connection = crate::support::block_on(async {
        let mut connection = ::sqlx::PgConnection::connect(&project.postgres).await.expect("a connection");
        ::sqlx::query("SELECT pg_advisory_lock($1)").bind(key).execute(&mut connection).await.expect("a lock");
        connection
    });
    work();
    crate::support::block_on(async {
        ::sqlx::query("SELECT 1").execute(&mut connection).await.expect("a session");
        connection.close().await.expect("an end");
    });
}
