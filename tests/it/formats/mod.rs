//! Other tools' folders with a history written by hand, as those tools write it: what lyrox makes of it, and what it
//! writes there. One file a tool; the tools themselves are met in `interop`.

mod plain;
mod sqlx;

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
